//! The smallest wire: states an identity, lists protocols, sends whole messages.
//!
//! ```text
//!   hello    "mem1" ‖ id length u8 ‖ id ‖ count u8 ‖ count × (name length u8 ‖ name ‖ version u32)
//!   frame    kind u8 ‖ channel u64 ‖ length u32 ‖ bytes      kinds: 0 message, 1 ping, 2 pong, 3 goodbye (channel = code)
//! ```
//!
//! Limits: a message is at most 16 MiB, a hello at most 16 KiB. Over a limit the session ends with a
//! breach. Nothing is encrypted or proven.

use crate::BoxFuture;
use crate::candidate::Candidate;
use crate::id::{Direction, MAX_ID, PeerId, WireName};
use crate::net::Connection;
use crate::preset::{OtherIdentity, Preset};
use crate::reason::Reason;
use crate::wire::{
    AddressError, Decoder, EncodeError, Encoder, Established, Fault, HandshakeError, InFrame, Liveness,
    Offer, OutFrame, RemoteInfo, Rules, Sniff, Stage, Upgrade, Wire,
};
use bytes::{Buf, BufMut, BytesMut};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The wire's name.
pub const MEMORY: WireName = "memory";
const MAGIC: &[u8; 4] = b"mem1";
const MAX_MESSAGE: usize = 16 << 20;
const HEADER: usize = 13;
const STEP_LIMIT: Duration = Duration::from_secs(5);

/// A wire for tests: believes what the other side says.
#[derive(Debug, Clone)]
pub struct MemoryWire {
    id: PeerId,
    rules: Rules,
    preset: Preset,
    holder_bytes: usize,
}

impl MemoryWire {
    /// A wire with the given identity (1 to 32 bytes; anything else counts as one zero byte).
    #[must_use]
    pub fn new(id: &[u8]) -> Self {
        let id = PeerId::new(MEMORY, id).or_else(|| PeerId::new(MEMORY, &[0]));
        // One byte is a legal identity, so the second always exists; the first is the common case.
        let id = id.unwrap_or_else(|| unreachable!("one byte is a legal identity"));
        Self { id, rules: Rules::default(), preset: Preset::default(), holder_bytes: MAX_ID }
    }

    /// Sets how liveness is shown (default: not at all).
    #[must_use]
    pub fn liveness(mut self, liveness: Liveness) -> Self {
        self.rules.liveness = liveness;
        self
    }

    /// Sets what its sessions keep to.
    #[must_use]
    pub fn rules(mut self, rules: Rules) -> Self {
        self.rules = rules;
        self
    }

    /// Sets the rules of the network (default: the neutral ones).
    #[must_use]
    pub fn preset(mut self, preset: Preset) -> Self {
        self.preset = preset;
        self
    }

    /// Identities with the same first `bytes` bytes are those of one holder (default: each has its own).
    #[must_use]
    pub fn holders(mut self, bytes: usize) -> Self {
        self.holder_bytes = bytes;
        self
    }

    async fn shake(
        &self,
        mut connection: Connection,
        direction: Direction,
        whom: Option<PeerId>,
        upgrade: Upgrade,
    ) -> Result<Established, HandshakeError> {
        let stage = Stage::Secure;
        let io = |error| HandshakeError::io(stage, error);
        connection.writer.write_all(&hello(&self.id, &upgrade.offer)).await.map_err(io)?;
        connection.writer.flush().await.map_err(io)?;
        let mut start = [0; 5];
        connection.reader.read_exact(&mut start).await.map_err(io)?;
        let [magic @ .., length] = start;
        if &magic != MAGIC {
            return Err(HandshakeError::breach(stage, "magic", "not this wire"));
        }
        let mut id = vec![0; usize::from(length)];
        connection.reader.read_exact(&mut id).await.map_err(io)?;
        let peer = PeerId::new(MEMORY, &id).ok_or_else(|| {
            HandshakeError::breach(stage, "identity length", "identity of 0 or over 32 bytes")
        })?;
        let holder = id.get(..self.holder_bytes).and_then(|start| PeerId::new(MEMORY, start)).unwrap_or(peer);
        if let Err(reason) = upgrade.gate.identity_of(holder, peer, direction).await {
            let mut out = BytesMut::new();
            let _ = MemoryEncoder.encode(OutFrame::Goodbye(&reason), &mut out);
            let _ = connection.writer.write_all(&out).await;
            return Err(HandshakeError::RefusedByUs(reason));
        }
        let other = whom.is_some_and(|whom| whom != peer);
        if other && self.preset.admission.other_identity == OtherIdentity::Refuse {
            let fault = Fault { reason: Reason::WrongIdentity, detail: "not the identity dialled".into() };
            return Err(HandshakeError::Peer { stage, fault });
        }
        let mut theirs = Vec::new();
        for _ in 0..connection.reader.read_u8().await.map_err(io)? {
            let mut name = vec![0; usize::from(connection.reader.read_u8().await.map_err(io)?)];
            connection.reader.read_exact(&mut name).await.map_err(io)?;
            let version = connection.reader.read_u32().await.map_err(io)?;
            theirs.push((String::from_utf8_lossy(&name).into_owned(), version));
        }
        let capabilities = theirs.iter().map(|(name, version)| format!("{name}/{version}")).collect();
        Ok(Established {
            peer,
            holder,
            info: RemoteInfo { name: peer.to_string(), capabilities, ..RemoteInfo::default() },
            channels: upgrade.offer.shared_with(&theirs),
            encoder: Box::new(MemoryEncoder),
            decoder: Box::new(MemoryDecoder),
            reader: Box::new(connection.reader),
            writer: Box::new(connection.writer),
            leftover: BytesMut::new(),
            rules: self.rules,
        })
    }
}

fn hello(id: &PeerId, offer: &Offer) -> BytesMut {
    let mut out = BytesMut::from(&MAGIC[..]);
    out.put_u8(id.as_bytes().len() as u8);
    out.put_slice(id.as_bytes());
    out.put_u8(offer.protocols.len().min(255) as u8);
    for protocol in offer.protocols.iter().take(255) {
        let name = protocol.name.as_bytes();
        let name = name.get(..255).unwrap_or(name);
        out.put_u8(name.len() as u8);
        out.put_slice(name);
        out.put_u32(protocol.version);
    }
    out
}

impl Wire for MemoryWire {
    fn name(&self) -> WireName {
        MEMORY
    }

    fn local_id(&self) -> PeerId {
        self.id
    }

    fn sniff(&self, first: &[u8]) -> Sniff {
        let n = first.len().min(MAGIC.len());
        match first.get(..n) == MAGIC.get(..n) {
            false => Sniff::No,
            true if n == MAGIC.len() => Sniff::Yes,
            true => Sniff::More,
        }
    }

    fn accept(
        &self,
        connection: Connection,
        upgrade: Upgrade,
    ) -> BoxFuture<'_, Result<Established, HandshakeError>> {
        Box::pin(async move {
            let shake = self.shake(connection, Direction::Inbound, None, upgrade);
            tokio::time::timeout(STEP_LIMIT, shake)
                .await
                .unwrap_or(Err(HandshakeError::Timeout(Stage::Secure)))
        })
    }

    fn dial(
        &self,
        connection: Connection,
        whom: Candidate,
        upgrade: Upgrade,
    ) -> BoxFuture<'_, Result<Established, HandshakeError>> {
        Box::pin(async move {
            let shake = self.shake(connection, Direction::Outbound, whom.id, upgrade);
            tokio::time::timeout(STEP_LIMIT, shake)
                .await
                .unwrap_or(Err(HandshakeError::Timeout(Stage::Secure)))
        })
    }

    fn preset(&self) -> Preset {
        self.preset.clone()
    }

    fn parse(&self, url: &str) -> Result<Candidate, AddressError> {
        let wrong = || AddressError(format!("{url:?} is not memory://host:port"));
        let rest = url.strip_prefix("memory://").ok_or_else(wrong)?;
        let addr: std::net::SocketAddr = rest.parse().map_err(|_| wrong())?;
        Ok(Candidate::new(MEMORY, addr.ip().to_string(), addr.port()))
    }
}

struct MemoryEncoder;

impl Encoder for MemoryEncoder {
    fn slice(&self, _: u64, remaining: usize) -> usize {
        remaining
    }

    fn cost(&self, _: u64, len: usize, _: bool) -> usize {
        len + HEADER
    }

    fn max_message(&self, _: u64) -> usize {
        MAX_MESSAGE
    }

    fn encode(&mut self, frame: OutFrame<'_>, out: &mut BytesMut) -> Result<(), EncodeError> {
        let (kind, channel, data): (u8, u64, &[u8]) = match frame {
            OutFrame::Data { wire_id, data, .. } => (0, wire_id, data),
            OutFrame::Ping => (1, 0, &[]),
            OutFrame::Pong => (2, 0, &[]),
            OutFrame::Goodbye(reason) => (3, code(reason), &[]),
        };
        out.reserve(HEADER + data.len());
        out.put_u8(kind);
        out.put_u64(channel);
        out.put_u32(data.len() as u32);
        out.put_slice(data);
        Ok(())
    }
}

/// The reasons a test may want to see at the other end.
const REASONS: [Reason; 8] = [
    Reason::Requested,
    Reason::Quitting,
    Reason::TooManyPeers,
    Reason::AlreadyConnected,
    Reason::SelfConnection,
    Reason::Useless,
    Reason::ProtocolError,
    Reason::SlowProtocol,
];

fn code(reason: &Reason) -> u64 {
    REASONS.iter().position(|r| r == reason).unwrap_or(REASONS.len()) as u64
}

struct MemoryDecoder;

impl Decoder for MemoryDecoder {
    fn decode<'a>(&'a mut self, src: &'a mut BytesMut) -> Result<Option<InFrame<'a>>, Fault> {
        let mut head: &[u8] = src;
        if head.len() < HEADER {
            return Ok(None);
        }
        let (kind, wire_id, len) = (head.get_u8(), head.get_u64(), head.get_u32() as usize);
        if len > MAX_MESSAGE {
            return Err(Fault::breach("frame size", format!("{len} bytes")));
        }
        if head.len() < len {
            let missing = len - head.len();
            src.reserve(missing.min(src.len().max(HEADER)));
            return Ok(None);
        }
        src.advance(HEADER);
        let data = src.split_to(len).freeze();
        Ok(Some(match kind {
            0 => InFrame::Message { wire_id, data },
            1 => InFrame::Ping,
            2 => InFrame::Pong,
            3 => {
                let known = REASONS.get(usize::try_from(wire_id).unwrap_or(usize::MAX)).cloned();
                InFrame::Goodbye(known.unwrap_or(Reason::Unknown(wire_id)))
            }
            _ => return Err(Fault::breach("frame kind", format!("kind {kind}"))),
        }))
    }
}
