//! The wire: from a connection to a session.
//!
//! ```text
//!   initiator                               recipient
//!     │ ── auth ─────────────────────────────▶ │  ┐
//!     │ ◀───────────────────────────── ack ──  │  ┘ 5 s
//!     │     the Switch's gate on both sides; a refusal is said in place of hello
//!     │ ── hello ─────▶         ◀───── hello ─ │    5 s, both at once
//!     │     keccak256(hello's key) = proven id; capabilities matched
//!     │ ◀──────────── frames ────────────────▶ │
//! ```
//! (go-ethereum p2p/server.go, p2p/transport.go)
//!
//! Limits: handshake packets are at most 2,048 bytes, and so is the payload of hello or of what comes in its
//! place. A channel id is the message code within its capability. Not protected: who dials whom shows, and see
//! [`crate::frame`].

use crate::caps;
use crate::eth::{self, MAX_STATUS, Status};
use crate::frame::{MAX_BODY, Opener, Sealer};
use crate::handshake::{HandshakeFault, Initiator, MAX_PACKET, MIN_PACKET, Randomness, packet_len, respond};
use crate::message::{self, BASE_LENGTH, Capability, DISCONNECT, HELLO, Hello, MAX_HELLO};
use crate::session::{Code, RlpxDecoder, RlpxEncoder, fault};
use bytes::{Bytes, BytesMut};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use switchboard::net::Connection;
use switchboard::preset::Preset;
use switchboard::wire::{
    AddressError, Established, Fault, HandshakeError, InFrame, Incomplete, Lanes, Liveness, Offer, OutFrame,
    Read, RemoteInfo, Rules, SessionChannel, Sniff, Stage, Upgrade, WhenDone, Wire,
};
use switchboard::{BoxFuture, Candidate, Direction, Env, PeerId, Reason, WireName};
use switchboard_enr::enode::{Endpoint, Enode};
use switchboard_enr::key::{NodeKey, NodePublic};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// The wire's name.
pub const DEVP2P: WireName = "devp2p";
/// Bytes read at a time during the handshake.
const READ_CHUNK: usize = 2048;
/// How long a goodbye in place of hello may take to write (go-ethereum p2p/transport.go, discWriteTimeout).
const GOODBYE_WITHIN: Duration = Duration::from_secs(1);
/// How long a write may make no progress (`go-ethereum p2p/server.go`, frameWriteTimeout).
const WRITE_WITHIN: Duration = Duration::from_secs(20);

/// How long a frame may stay incomplete: beyond the idle limit, which so tells of a peer that fell silent.
const INCOMPLETE: Incomplete = Incomplete::new(Duration::from_secs(60), 16 * 1024);

/// What sessions keep to: as go-ethereum, where the first protocol that returns ends the session with reason 8.
fn rules(liveness: Liveness) -> Rules {
    Rules::living(liveness)
        .write_within(WRITE_WITHIN)
        .goodbye_within(GOODBYE_WITHIN)
        .incomplete(INCOMPLETE)
        .when_done(WhenDone::First)
}

/// How a node behaves on this wire.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Devp2pConfig {
    /// The node's key.
    pub key: Arc<NodeKey>,
    /// The client name said in hello.
    pub client_name: String,
    /// Time for each step of the handshake (go-ethereum p2p/transport.go, handshakeTimeout).
    pub step_within: Duration,
    /// How liveness is shown: a ping every 15 s, at most 30 s of silence (go-ethereum p2p/peer.go, p2p/server.go).
    pub liveness: Liveness,
}

impl Devp2pConfig {
    /// What a node calls itself where nothing else is said.
    pub const CLIENT_NAME: &str = concat!("switchboard/v", env!("CARGO_PKG_VERSION"));

    /// Changes some of it.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// The network's own defaults.
    #[must_use]
    pub fn new(key: Arc<NodeKey>) -> Self {
        Self {
            key,
            client_name: Self::CLIENT_NAME.to_owned(),
            step_within: Duration::from_secs(5),
            liveness: Liveness::default().with(|alive| {
                alive.ping_every = Some(Duration::from_secs(15));
                alive.pong_within = None;
                alive.idle_limit = Some(Duration::from_secs(30));
            }),
        }
    }
}

/// The devp2p wire.
#[derive(Debug, Clone)]
pub struct Devp2p {
    config: Devp2pConfig,
    id: PeerId,
}

fn peer_id(key: &NodePublic) -> PeerId {
    // 32 bytes are a legal identity.
    PeerId::new(DEVP2P, &key.node_id()).unwrap_or_else(|| unreachable!("a node id has 32 bytes"))
}

impl Devp2p {
    /// A wire with the given configuration.
    #[must_use]
    pub fn new(config: Devp2pConfig) -> Self {
        let id = peer_id(&config.key.public());
        Self { config, id }
    }

    /// Our address as peers write it, where we listen on `listen` (TCP only: no discovery port).
    #[must_use]
    pub fn enode(&self, listen: SocketAddr) -> Enode {
        let host = listen.ip().to_canonical().to_string();
        let endpoint = Some(Endpoint { host, tcp: listen.port(), udp: 0 });
        Enode { key: self.config.key.public(), endpoint }
    }

    async fn shake(
        &self,
        connection: Connection,
        whom: Option<NodePublic>,
        upgrade: Upgrade,
    ) -> Result<Established, HandshakeError> {
        let direction = if whom.is_some() { Direction::Outbound } else { Direction::Inbound };
        let capability =
            |p: &switchboard::wire::Offered| Capability { name: p.name.clone(), version: p.version.into() };
        let ours = self.hello(upgrade.offer.protocols.iter().map(capability).collect())?;
        let mut secure = Secure::establish(connection, &self.config, whom, &upgrade.env).await?;
        let peer = peer_id(&secure.remote);
        if let Err(reason) = upgrade.gate.identity(peer, direction).await {
            secure.say_goodbye(&reason, false).await;
            return Err(HandshakeError::RefusedByUs(reason));
        }
        let theirs = self.within(Stage::Protocol, secure.exchange(Some(&ours))).await?;
        secure.check_key(&theirs).await?;
        Ok(secure.session(peer, &theirs, &upgrade.offer, &self.config, false))
    }

    /// Our hello, encoded; too large a one no node would read.
    fn hello(&self, capabilities: Vec<Capability>) -> Result<Vec<u8>, HandshakeError> {
        let (name, key) = (self.config.client_name.clone(), self.config.key.public().to_bytes());
        let encoded = Hello { version: message::VERSION, name, capabilities, port: 0, key }.encode();
        if encoded.len() < MAX_HELLO {
            return Ok(encoded);
        }
        Err(HandshakeError::Local(
            "our hello would be over 2048 bytes: shorten client_name or offer fewer protocols".into(),
        ))
    }

    async fn within<T>(
        &self,
        stage: Stage,
        step: impl Future<Output = Result<T, HandshakeError>>,
    ) -> Result<T, HandshakeError> {
        timeout(self.config.step_within, step).await.unwrap_or(Err(HandshakeError::Timeout(stage)))
    }
}

impl Wire for Devp2p {
    fn name(&self) -> WireName {
        DEVP2P
    }

    fn local_id(&self) -> PeerId {
        self.id
    }

    /// The first two bytes are a size; those of TLS (`16 03`) and comet (`22 0a`) are larger than any.
    fn sniff(&self, first: &[u8]) -> Sniff {
        match first.first_chunk::<2>() {
            Some(prefix) if packet_len(*prefix).is_ok() => Sniff::Yes,
            Some(_) => Sniff::No,
            None => match first.first() {
                Some(high) if usize::from(*high) > MAX_PACKET >> 8 => Sniff::No,
                _ => Sniff::More,
            },
        }
    }

    /// Protocols rely on the order of their codes.
    fn lanes(&self) -> Lanes {
        Lanes::PerProtocol
    }

    /// 30 s between connections of one address, 35 s between dials of one node, two dials for each free slot
    /// (go-ethereum p2p/server.go inboundThrottleTime, p2p/dial.go dialHistoryExpiration and freeDialSlots); a slot
    /// changes hands when all were taken for five minutes (eth/dropper.go: 3 to 7), and no /16 gets more than a few.
    fn preset(&self) -> Preset {
        Preset::new().admission(|rules| rules.throttle = Duration::from_secs(30)).dial(|rules| {
            rules.history = Duration::from_secs(35);
            rules.per_slot = 2;
            rules.per_wide_subnet = Some(4);
            rules.rotate = Some(Duration::from_secs(300));
        })
    }

    fn own_url(&self, listen: SocketAddr) -> String {
        self.enode(listen).to_string()
    }

    fn probe_over(
        &self,
        connection: Connection,
        whom: Candidate,
        env: Env,
        pings: u32,
    ) -> BoxFuture<'_, Result<switchboard::wire::Probe, HandshakeError>> {
        Box::pin(async move {
            let began = tokio::time::Instant::now();
            Ok(probe(connection, &whom, &self.config, &env).await?.into_probe(began, pings).await)
        })
    }

    fn accept(
        &self,
        connection: Connection,
        upgrade: Upgrade,
    ) -> BoxFuture<'_, Result<Established, HandshakeError>> {
        Box::pin(self.shake(connection, None, upgrade))
    }

    fn dial(
        &self,
        connection: Connection,
        whom: Candidate,
        upgrade: Upgrade,
    ) -> BoxFuture<'_, Result<Established, HandshakeError>> {
        Box::pin(async move { self.shake(connection, Some(key_of(&whom)?), upgrade).await })
    }

    fn parse(&self, url: &str) -> Result<Candidate, AddressError> {
        parse(url)
    }
}

/// The public key a candidate must prove; this wire cannot dial without it.
fn key_of(whom: &Candidate) -> Result<NodePublic, HandshakeError> {
    let bytes: Option<&[u8; 64]> = whom.key.as_ref().try_into().ok();
    let key = bytes.and_then(|bytes| NodePublic::from_bytes(bytes).ok());
    let missing = "a devp2p node cannot be dialled without its public key";
    let key = key.ok_or_else(|| HandshakeError::Local(missing.into()))?;
    if whom.id.is_some_and(|id| id != peer_id(&key)) {
        return Err(HandshakeError::Local("the candidate's id is not that of its public key".into()));
    }
    Ok(key)
}

/// Reads an enode URL or a node record with an address.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn parse(url: &str) -> Result<Candidate, AddressError> {
    let shown = switchboard::text::printable(url);
    let enode = Enode::parse(url).map_err(|error| AddressError(format!("{shown}: {error}")))?;
    let endpoint =
        enode.endpoint.ok_or_else(|| AddressError(format!("{shown} has no address: add @host:port")))?;
    if endpoint.tcp == 0 {
        return Err(AddressError(format!("{shown} has no TCP port to dial")));
    }
    let key = Bytes::copy_from_slice(&enode.key.to_bytes());
    Ok(Candidate::new(DEVP2P, endpoint.host, endpoint.tcp).id(peer_id(&enode.key)).key(key))
}

/// Dials as a mirror: reads the peer's hello first and answers with the same capabilities, so that a node
/// of any network keeps the session for a while, for a tool that wants to know who is there and how far
/// away. The session has no channels; what the peer sends on its own is skipped.
///
/// A node that speaks `eth` is answered with that alone and asked which chain it follows ([`crate::eth`]): what it says stands among
/// the fields of its info, or `eth_status` says why nothing does.
///
/// # Errors
/// As for any dial, without the checks of capabilities.
pub async fn probe(
    connection: Connection,
    candidate: &Candidate,
    config: &Devp2pConfig,
    env: &Env,
) -> Result<Established, HandshakeError> {
    let wire = Devp2p::new(config.clone());
    let mut secure = Secure::establish(connection, config, Some(key_of(candidate)?), env).await?;
    let peer = peer_id(&secure.remote);
    let mirrored = async {
        let theirs = secure.exchange(None).await?;
        let speaks = eth_of(&theirs.capabilities);
        let answer = match speaks {
            Some(version) => vec![Capability { name: eth::NAME.to_owned(), version: version.into() }],
            None => theirs.capabilities.clone(),
        };
        secure.send(HELLO, &wire.hello(answer)?, false).await?;
        Ok((theirs, speaks))
    };
    let (theirs, speaks) = wire.within(Stage::Protocol, mirrored).await?;
    secure.check_key(&theirs).await?;
    let mut session = secure.session(peer, &theirs, &Offer::default(), config, true);
    if let Some(version) = speaks {
        let status = timeout(eth::WITHIN, exchange_status(&mut session, version)).await;
        let fields = match status.unwrap_or_else(|_| Err("no answer in time".to_owned())) {
            Ok(status) => status.fields(),
            Err(why) => vec![("eth_status", format!("none: {why}"))],
        };
        session.info.fields.extend(fields);
    }
    Ok(session)
}

/// The highest version of `eth` among capabilities whose first message is known here.
fn eth_of(capabilities: &[Capability]) -> Option<u32> {
    let known = |version: &u32| {
        capabilities.iter().any(|cap| cap.name == eth::NAME && cap.version == u64::from(*version))
    };
    eth::VERSIONS.iter().map(|(version, _)| *version).rev().find(known)
}

/// Reads their status, then answers as one who follows no chain. `eth` alone is shared: its codes begin after the base's.
async fn exchange_status(session: &mut Established, version: u32) -> Result<Status, String> {
    let told = |error: &dyn std::fmt::Display| switchboard::text::printable(&error.to_string());
    loop {
        match session.decoder.decode(&mut session.leftover).map_err(|fault| told(&fault))? {
            Some(InFrame::Message { wire_id: BASE_LENGTH, data }) => {
                let theirs = Status::decode(version, &data).map_err(|error| told(&error))?;
                let answer = theirs.echo().encode();
                let frame = OutFrame::Data { wire_id: BASE_LENGTH, data: &answer, last: true };
                session.say(frame).await.map_err(|error| told(&error))?;
                return Ok(theirs);
            }
            Some(InFrame::Goodbye(reason)) => return Err(format!("the peer ended the session: {reason}")),
            Some(InFrame::Ping) => session.say(OutFrame::Pong).await.map_err(|error| told(&error))?,
            Some(_) => {}
            None => match session.read().await.map_err(|fault| told(&fault))? {
                Read::Over(end) => return Err(end.detail.unwrap_or_else(|| end.reason.to_string())),
                Read::Bytes(_) | Read::Pong => {}
            },
        }
    }
}

/// A node that closes at our first packet could not read it: it was sealed for another key.
fn wrong_key(error: HandshakeError) -> HandshakeError {
    match error {
        HandshakeError::Closed(stage) => {
            let detail = "it closed at our first packet: the public key in its address is probably wrong";
            HandshakeError::Peer {
                stage,
                fault: Fault { reason: Reason::RemoteClosed, detail: detail.into() },
            }
        }
        other => other,
    }
}

/// A connection whose other end has proven a key.
struct Secure {
    connection: Connection,
    remote: NodePublic,
    sealer: Sealer,
    opener: Opener,
    src: BytesMut,
    /// A recipient's ack, which leaves with what it says first: one packet and one wake-up less at either end.
    ack: Vec<u8>,
}

impl Secure {
    /// Runs the RLPx handshake as initiator (with the key to be proven) or recipient.
    async fn establish(
        mut connection: Connection,
        config: &Devp2pConfig,
        whom: Option<NodePublic>,
        env: &Env,
    ) -> Result<Self, HandshakeError> {
        let randomness = Randomness {
            ephemeral: env.random(),
            nonce: env.random(),
            sealing: env.random(),
            iv: env.random(),
            padding: env.random::<1>()[0],
        };
        let mut src = BytesMut::with_capacity(READ_CHUNK);
        let shake = async {
            let peer_fault = |fault: HandshakeFault| match fault {
                HandshakeFault::Randomness => HandshakeError::Local(fault.into()),
                HandshakeFault::Size(_) => {
                    HandshakeError::breach(Stage::Secure, "handshake packet size", fault)
                }
                _ => HandshakeError::breach(Stage::Secure, "handshake packet", fault),
            };
            let send_failed = |error| HandshakeError::io(Stage::Secure, error);
            let (remote, keys, ack) = match whom {
                Some(remote) => {
                    let initiator =
                        Initiator::start(&config.key, &remote, &randomness).map_err(peer_fault)?;
                    connection.writer.write_all(initiator.auth()).await.map_err(send_failed)?;
                    connection.writer.flush().await.map_err(send_failed)?;
                    // Who cannot read our first packet says nothing.
                    let ack = read_packet(&mut connection, &mut src).await.map_err(wrong_key)?;
                    (remote, initiator.finish(&ack).map_err(peer_fault)?, Vec::new())
                }
                None => {
                    let auth = read_packet(&mut connection, &mut src).await?;
                    let answer = respond(&config.key, &auth, &randomness).map_err(peer_fault)?;
                    (answer.remote, answer.keys, answer.ack)
                }
            };
            Ok((remote, keys, ack))
        };
        let (remote, keys, ack) = timeout(config.step_within, shake)
            .await
            .unwrap_or(Err(HandshakeError::Timeout(Stage::Secure)))?;
        let (sealer, opener) = keys.split();
        Ok(Self { connection, remote, sealer, opener, src, ack })
    }

    fn seal(&mut self, code: u64, payload: &[u8], snappy: bool) -> Result<BytesMut, HandshakeError> {
        let mut encoder = snappy.then(snap::raw::Encoder::new);
        let mut out = BytesMut::from(&*std::mem::take(&mut self.ack));
        let sealed = self.sealer.seal(code, payload, encoder.as_mut(), &mut out);
        sealed.map(|()| out).map_err(|error| HandshakeError::Local(error.into()))
    }

    /// Sends a message of the base protocol: plain up to hello.
    async fn send(&mut self, code: u64, payload: &[u8], snappy: bool) -> Result<(), HandshakeError> {
        let out = self.seal(code, payload, snappy)?;
        let failed = |error| HandshakeError::io(Stage::Protocol, error);
        self.connection.writer.write_all(&out).await.map_err(failed)?;
        self.connection.writer.flush().await.map_err(failed)
    }

    /// Says why there will be no session, and closes.
    async fn say_goodbye(&mut self, reason: &Reason, snappy: bool) {
        let say = async {
            self.send(DISCONNECT, &message::encode_disconnect(message::code_of(reason)), snappy).await?;
            let failed = |error| HandshakeError::io(Stage::Protocol, error);
            self.connection.writer.shutdown().await.map_err(failed)?;
            // Until they close: a close with unread bytes would reset the connection under our words.
            let mut rest = [0; 512];
            while self.connection.reader.read(&mut rest).await.map_err(failed)? > 0 {}
            Ok::<_, HandshakeError>(())
        };
        let _ = timeout(GOODBYE_WITHIN, say).await;
    }

    /// Sends our hello, if any, and reads theirs.
    async fn exchange(&mut self, ours: Option<&[u8]>) -> Result<Hello, HandshakeError> {
        if let Some(ours) = ours {
            self.send(HELLO, ours, false).await?;
        }
        let message = loop {
            // A frame's size counts the message code too.
            let opened = self.opener.open(&mut self.src, MAX_HELLO + 1);
            let peer = |error| HandshakeError::Peer { stage: Stage::Protocol, fault: fault(error) };
            if let Some(message) = opened.map_err(peer)? {
                break message;
            }
            read_more(&mut self.connection, &mut self.src, Stage::Protocol).await?;
        };
        match message.code {
            HELLO => Hello::decode(&message.payload)
                .map_err(|error| HandshakeError::breach(Stage::Protocol, "hello", error)),
            DISCONNECT => {
                let code = message::decode_disconnect(&message.payload);
                Err(HandshakeError::refused_by_peer(message::reason_of(code)))
            }
            code => {
                let detail = format!("code {code:#x} came first");
                Err(HandshakeError::breach(Stage::Protocol, "hello expected", detail))
            }
        }
    }

    /// The key in hello must be the one that RLPx proved.
    async fn check_key(&mut self, theirs: &Hello) -> Result<(), HandshakeError> {
        if theirs.key == self.remote.to_bytes() {
            return Ok(());
        }
        // Their hello was read, as ours was: from here on they expect snappy.
        self.say_goodbye(&Reason::WrongIdentity, has_snappy(theirs)).await;
        let fault =
            Fault { reason: Reason::WrongIdentity, detail: "the key in hello is not the one proven".into() };
        Err(HandshakeError::Peer { stage: Stage::Protocol, fault })
    }

    fn session(
        self,
        peer: PeerId,
        theirs: &Hello,
        offer: &Offer,
        config: &Devp2pConfig,
        mirror: bool,
    ) -> Established {
        let snappy = has_snappy(theirs);
        let (mut channels, mut codes) = (Vec::new(), Vec::new());
        if mirror && eth_of(&theirs.capabilities).is_some() {
            codes.push(Code { code: BASE_LENGTH, limit: MAX_STATUS });
        }
        for shared in caps::shared(offer, &theirs.capabilities) {
            let Some(offered) = offer.protocols.iter().find(|p| p.index == shared.protocol) else { continue };
            for spec in &offered.channels {
                let code = shared.offset + u64::from(spec.id.0);
                channels.push(SessionChannel { protocol: shared.protocol, channel: spec.id, wire_id: code });
                codes.push(Code { code, limit: spec.recv_limit.min(MAX_BODY) });
            }
        }
        let listen = (theirs.port != 0).then(|| theirs.port.to_string());
        let info = RemoteInfo {
            name: theirs.name.clone(),
            capabilities: theirs.capabilities.iter().map(|c| format!("{}/{}", c.name, c.version)).collect(),
            network: None,
            listen,
            fields: vec![
                ("version", theirs.version.to_string()),
                ("public_key", format!("{:?}", self.remote)),
            ],
        };
        Established {
            peer,
            holder: peer,
            info,
            channels,
            encoder: Box::new(RlpxEncoder::new(self.sealer, snappy)),
            decoder: Box::new(RlpxDecoder::new(self.opener, snappy, codes, mirror)),
            reader: Box::new(self.connection.reader),
            writer: Box::new(self.connection.writer),
            leftover: self.src,
            rules: rules(config.liveness),
        }
    }
}

/// Whether messages after hello are compressed.
fn has_snappy(theirs: &Hello) -> bool {
    theirs.version >= message::VERSION
}

async fn read_more(
    connection: &mut Connection,
    src: &mut BytesMut,
    stage: Stage,
) -> Result<(), HandshakeError> {
    src.reserve(READ_CHUNK);
    match connection.reader.read_buf(src).await {
        Ok(0) => Err(HandshakeError::Closed(stage)),
        Ok(_) => Ok(()),
        Err(error) => Err(HandshakeError::io(stage, error)),
    }
}

/// Reads one handshake packet with its size prefix; what follows it stays in `src`.
async fn read_packet(connection: &mut Connection, src: &mut BytesMut) -> Result<BytesMut, HandshakeError> {
    loop {
        if let Some(prefix) = src.first_chunk::<2>() {
            let len = packet_len(*prefix)
                .map_err(|fault| HandshakeError::breach(Stage::Secure, "handshake packet size", fault))?;
            if src.len() >= len + 2 {
                return Ok(src.split_to(len + 2));
            }
        }
        read_more(connection, src, Stage::Secure).await?;
    }
}

const _: () = assert!(MIN_PACKET < MAX_PACKET && MAX_HELLO < MAX_BODY);
