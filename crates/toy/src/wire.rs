//! The handshake, and the wire that runs it.

use crate::frames::{ToyDecoder, ToyEncoder, reason, word};
use crate::key::{KEY, ToyKey, verifies};
use bytes::BytesMut;
use std::sync::Arc;
use std::time::Duration;
use switchboard::net::Connection;
use switchboard::text::{printable, printable_bytes};
use switchboard::wire::{
    AddressError, Established, Fault, Gate, HandshakeError, Liveness, Offer, OpenGate, Probe, RemoteInfo,
    Rules, Sniff, Stage, Upgrade, Wire,
};
use switchboard::{BoxFuture, Candidate, Direction, Env, PeerId, Reason, WireName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

/// The wire's name.
pub const TOY: WireName = "toy";
/// Longest line of the handshake, its end included.
pub const MAX_LINE: usize = 4_096;
/// How long a step of the handshake may take.
pub const STEP_WITHIN: Duration = Duration::from_secs(5);
/// How often a session pings where nothing is said.
const PING_EVERY: Duration = Duration::from_secs(30);
/// How every connection begins.
const MAGIC: &str = "TOY/1 ";
/// Most protocols that are read of a list.
const MAX_PROTOCOLS: usize = 64;

/// The wire with one identity.
#[derive(Debug)]
pub struct Toy {
    key: Arc<ToyKey>,
    id: PeerId,
    ping_every: Duration,
}

/// What stood in a first line.
struct First {
    key: [u8; KEY],
    nonce: [u8; KEY],
}

impl Toy {
    /// The wire of a key; `None` never happens for a whole key.
    #[must_use]
    pub fn new(key: Arc<ToyKey>) -> Option<Self> {
        let id = PeerId::new(TOY, &key.public())?;
        Some(Self { key, id, ping_every: PING_EVERY })
    }

    /// Sets how often a session pings, and how long a pong may take.
    #[must_use]
    pub fn ping_every(mut self, every: Duration) -> Self {
        self.ping_every = every;
        self
    }

    async fn shake(
        &self,
        connection: Connection,
        whom: Option<PeerId>,
        direction: Direction,
        upgrade: &Upgrade,
        offer: Option<&Offer>,
    ) -> Result<Established, HandshakeError> {
        let mut lines = Lines { connection, src: BytesMut::new(), stage: Stage::Secure };
        let peer = step(Stage::Secure, self.prove(&mut lines, direction, &upgrade.env)).await??;
        if whom.is_some_and(|whom| whom != peer) {
            let detail = format!("{peer} answered").into();
            let fault = Fault { reason: Reason::WrongIdentity, detail };
            return Err(HandshakeError::Peer { stage: Stage::Secure, fault });
        }
        if let Err(refusal) = upgrade.gate.identity(peer, direction).await {
            let _ = timeout(STEP_WITHIN, lines.write(&format!("BYE {}", word(&refusal)))).await;
            return Err(HandshakeError::RefusedByUs(refusal));
        }
        lines.stage = Stage::Protocol;
        let theirs = step(Stage::Protocol, exchange(&mut lines, offer)).await??;
        let rules = Rules::living(Liveness::ping(self.ping_every, self.ping_every));
        Ok(lines.session(peer, &theirs, offer, rules))
    }

    /// Proves our key, and has theirs proven.
    async fn prove(
        &self,
        lines: &mut Lines,
        direction: Direction,
        env: &Env,
    ) -> Result<PeerId, HandshakeError> {
        let ours = First { key: self.key.public(), nonce: env.random() };
        let hello = format!("{MAGIC}{} {}", hex::encode(ours.key), hex::encode(ours.nonce));
        lines.write(&hello).await?;
        let line = lines.read().await?;
        let theirs = first(&line)
            .ok_or_else(|| HandshakeError::breach(Stage::Secure, "first line", "not TOY/1 KEY NONCE"))?;
        if theirs.key == ours.key {
            return Err(HandshakeError::RefusedByUs(Reason::SelfConnection));
        }
        let role = |direction| if direction == Direction::Outbound { b'i' } else { b'r' };
        let other = match direction {
            Direction::Inbound => Direction::Outbound,
            Direction::Outbound => Direction::Inbound,
        };
        let signature = self.key.sign(&claim(role(direction), &ours, &theirs));
        lines.write(&format!("PROOF {}", hex::encode(signature))).await?;
        let line = lines.read().await?;
        let proof = line.strip_prefix("PROOF ").and_then(|text| hex::decode(text).ok()).unwrap_or_default();
        if !verifies(&theirs.key, &claim(role(other), &theirs, &ours), &proof) {
            let fault = Fault { reason: Reason::InvalidIdentity, detail: "the key is not proven".into() };
            return Err(HandshakeError::Peer { stage: Stage::Secure, fault });
        }
        PeerId::new(TOY, &theirs.key)
            .ok_or_else(|| HandshakeError::breach(Stage::Secure, "identity", "an empty key"))
    }
}

/// What a side signs: its role, both keys, and the other's nonce.
fn claim(role: u8, own: &First, other: &First) -> Vec<u8> {
    [b"toy wire 1".as_slice(), &[role], &own.key, &other.key, &other.nonce].concat()
}

fn first(line: &str) -> Option<First> {
    let (key, nonce) = line.strip_prefix(MAGIC)?.split_once(' ')?;
    let mut first = First { key: [0; KEY], nonce: [0; KEY] };
    hex::decode_to_slice(key, &mut first.key).ok()?;
    hex::decode_to_slice(nonce, &mut first.nonce).ok()?;
    Some(first)
}

/// Tells our protocols and reads theirs; without an offer it reads theirs and says it has the same, as a probe does.
async fn exchange(lines: &mut Lines, offer: Option<&Offer>) -> Result<Vec<(String, u32)>, HandshakeError> {
    if let Some(offer) = offer {
        let ours: Vec<_> = offer.protocols.iter().map(|p| format!("{}/{}", p.name, p.version)).collect();
        lines.write(format!("HAVE {}", ours.join(" ")).trim_end()).await?;
    }
    let line = lines.read().await?;
    let list = line.strip_prefix("HAVE").ok_or_else(|| {
        HandshakeError::breach(Stage::Protocol, "protocols", format!("{:?}", printable(&line)))
    })?;
    if offer.is_none() {
        lines.write(&line).await?;
    }
    let one = |word: &str| {
        let (name, version) = word.rsplit_once('/')?;
        Some((name.to_owned(), version.parse().ok()?))
    };
    Ok(list.split(' ').filter_map(one).take(MAX_PROTOCOLS).collect())
}

async fn step<T>(stage: Stage, work: impl Future<Output = T>) -> Result<T, HandshakeError> {
    timeout(STEP_WITHIN, work).await.map_err(|_| HandshakeError::Timeout(stage))
}

/// A connection that is read and written line by line.
struct Lines {
    connection: Connection,
    src: BytesMut,
    stage: Stage,
}

impl Lines {
    async fn write(&mut self, line: &str) -> Result<(), HandshakeError> {
        let (stage, writer) = (self.stage, &mut self.connection.writer);
        let io = |error| HandshakeError::io(stage, error);
        writer.write_all(format!("{line}\n").as_bytes()).await.map_err(io)?;
        writer.flush().await.map_err(io)
    }

    /// The next line, without its end. A `BYE` is a refusal.
    async fn read(&mut self) -> Result<String, HandshakeError> {
        loop {
            if let Some(end) = self.src.iter().position(|byte| *byte == b'\n') {
                let line = self.src.split_to(end + 1);
                let text = std::str::from_utf8(line.get(..end).unwrap_or_default());
                let text =
                    text.map_err(|_| HandshakeError::breach(self.stage, "line", printable_bytes(&line)))?;
                return match text.strip_prefix("BYE ") {
                    Some(why) => Err(HandshakeError::refused_by_peer(reason(why))),
                    None => Ok(text.to_owned()),
                };
            }
            if self.src.len() >= MAX_LINE {
                return Err(HandshakeError::breach(self.stage, "line length", "the line does not end"));
            }
            let most = (MAX_LINE - self.src.len()) as u64;
            let mut limited = (&mut self.connection.reader).take(most);
            let read = limited.read_buf(&mut self.src).await;
            if read.map_err(|error| HandshakeError::io(self.stage, error))? == 0 {
                return Err(HandshakeError::Closed(self.stage));
            }
        }
    }

    fn session(
        self,
        peer: PeerId,
        theirs: &[(String, u32)],
        offer: Option<&Offer>,
        rules: Rules,
    ) -> Established {
        let channels = offer.map(|offer| offer.shared_with(theirs)).unwrap_or_default();
        let limit = |c: &switchboard::wire::SessionChannel| {
            Some((c.wire_id, offer?.channel(c.protocol, c.channel)?.recv_limit))
        };
        let limits = channels.iter().filter_map(limit).collect();
        let decoder = if offer.is_some() { ToyDecoder::new(limits) } else { ToyDecoder::any() };
        let capabilities = theirs.iter().map(|(name, version)| format!("{name}/{version}")).collect();
        Established {
            peer,
            holder: peer,
            info: RemoteInfo { name: "toy".into(), capabilities, ..RemoteInfo::default() },
            channels,
            encoder: Box::new(ToyEncoder),
            decoder: Box::new(decoder),
            reader: Box::new(self.connection.reader),
            writer: Box::new(self.connection.writer),
            leftover: self.src,
            rules,
        }
    }
}

/// Reads `toy://KEY@HOST:PORT`.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn parse(url: &str) -> Result<Candidate, AddressError> {
    let wrong = || AddressError(format!("{:?} is not toy://KEY@HOST:PORT", printable(url)));
    let (key, place) = url.strip_prefix("toy://").and_then(|rest| rest.split_once('@')).ok_or_else(wrong)?;
    let key = hex::decode(key).ok().filter(|key| key.len() == KEY).ok_or_else(wrong)?;
    let (host, port) = place.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Err(wrong());
    }
    Ok(Candidate::new(TOY, host.to_owned(), port).maybe_id(PeerId::new(TOY, &key)))
}

impl Wire for Toy {
    fn name(&self) -> WireName {
        TOY
    }

    fn local_id(&self) -> PeerId {
        self.id
    }

    fn sniff(&self, first: &[u8]) -> Sniff {
        let n = first.len().min(MAGIC.len());
        match first.get(..n) == MAGIC.as_bytes().get(..n) {
            false => Sniff::No,
            true if n == MAGIC.len() => Sniff::Yes,
            true => Sniff::More,
        }
    }

    fn own_url(&self, listen: std::net::SocketAddr) -> String {
        format!("toy://{}@{listen}", self.id)
    }

    fn accept(
        &self,
        connection: Connection,
        upgrade: Upgrade,
    ) -> BoxFuture<'_, Result<Established, HandshakeError>> {
        Box::pin(async move {
            let offer = Some(&*upgrade.offer);
            self.shake(connection, None, Direction::Inbound, &upgrade, offer).await
        })
    }

    fn dial(
        &self,
        connection: Connection,
        whom: Candidate,
        upgrade: Upgrade,
    ) -> BoxFuture<'_, Result<Established, HandshakeError>> {
        Box::pin(async move {
            let offer = Some(&*upgrade.offer);
            self.shake(connection, whom.id, Direction::Outbound, &upgrade, offer).await
        })
    }

    fn probe_over(
        &self,
        connection: Connection,
        whom: Candidate,
        env: Env,
        pings: u32,
    ) -> BoxFuture<'_, Result<Probe, HandshakeError>> {
        Box::pin(async move {
            let began = Instant::now();
            let gate: Arc<dyn Gate> = Arc::new(OpenGate);
            let upgrade = Upgrade { env, offer: Arc::default(), gate, listen: None };
            let session = self.shake(connection, whom.id, Direction::Outbound, &upgrade, None).await?;
            Ok(session.into_probe(began, pings).await)
        })
    }

    fn parse(&self, url: &str) -> Result<Candidate, AddressError> {
        parse(url)
    }
}
