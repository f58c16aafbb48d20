//! What a wire must give: recognise first bytes, accept, dial; and from that a [`Session`]: who they
//! are, which channels both sides share, and the two halves that turn frames into bytes and back.
//!
//! Everything else is done once, in this crate: slicing order, queues, limits, liveness, one write for
//! many frames, reassembly.
//!
//! ```text
//!   Connection ──accept/dial──▶ secure handshake ──▶ Gate::identity ──▶ protocol handshake ──▶ Session
//! ```

use crate::BoxFuture;
use crate::candidate::Candidate;
use crate::env::Env;
use crate::id::{Direction, PeerId, WireName};
use crate::net::{BoxRead, BoxWrite, Connection};
use crate::protocol::channel::{ChannelId, ChannelSpec};
use crate::reason::Reason;
use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use std::time::Duration;

/// What the first bytes of a connection say about its wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sniff {
    /// These bytes can only be this wire.
    Yes,
    /// These bytes cannot be this wire.
    No,
    /// Too few bytes to tell.
    More,
}

/// What shares a send queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lanes {
    /// Each channel: a message may overtake one of another channel of the same protocol.
    PerChannel,
    /// Each protocol: its messages leave in the order they were sent, with the highest priority of its
    /// channels and the sum of their queue lengths. For wires whose protocols rely on that order.
    PerProtocol,
}

/// A network's handshake, framing and identity.
pub trait Wire: Send + Sync + 'static {
    /// The wire's name.
    fn name(&self) -> WireName;

    /// Our identity on this wire.
    fn local_id(&self) -> PeerId;

    /// Judges the first bytes an initiator sent (1 to 8 bytes are enough for every wire).
    fn sniff(&self, first: &[u8]) -> Sniff;

    /// Whether a listener of this wire sends before it has heard anything, so that a silent
    /// initiator may still be one of this wire.
    fn listener_speaks_first(&self) -> bool {
        false
    }

    /// What shares a send queue, and with it one order on the wire.
    fn lanes(&self) -> Lanes {
        Lanes::PerChannel
    }

    /// Whether this wire can carry the protocols registered for it: asked once, at the start.
    ///
    /// # Errors
    /// A sentence that says what does not fit, and why.
    fn check(&self, offer: &Offer) -> Result<(), String> {
        let _ = offer;
        Ok(())
    }

    /// Runs the responder's handshake. The wire bounds each of its steps in time.
    fn accept(
        &self,
        connection: Connection,
        upgrade: Upgrade,
    ) -> BoxFuture<'_, Result<Session, HandshakeError>>;

    /// Runs the initiator's handshake with `whom`. The wire bounds each of its steps in time.
    fn dial(
        &self,
        connection: Connection,
        whom: Candidate,
        upgrade: Upgrade,
    ) -> BoxFuture<'_, Result<Session, HandshakeError>>;

    /// Reads an address of this wire as users write it.
    ///
    /// # Errors
    /// A sentence that says what is wrong and what is expected.
    fn parse(&self, url: &str) -> Result<Candidate, AddressError>;
}

/// An address that cannot be read; the text says what is wrong and what form is expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AddressError(pub String);

/// What a handshake is given by the Switch.
#[derive(Clone)]
pub struct Upgrade {
    /// Randomness and wall clock.
    pub env: Env,
    /// The protocols offered on this wire.
    pub offer: Arc<Offer>,
    /// The second checkpoint.
    pub gate: Arc<dyn Gate>,
    /// Our listening address as peers may dial it, where we listen.
    pub listen: Option<std::net::SocketAddr>,
}

/// The protocols we offer on one wire, in the order of registration.
#[derive(Debug, Clone, Default)]
pub struct Offer {
    /// Each offered protocol.
    pub protocols: Vec<Offered>,
}

impl Offer {
    /// The spec of one channel.
    #[must_use]
    pub fn channel(&self, protocol: usize, channel: ChannelId) -> Option<&ChannelSpec> {
        let offered = self.protocols.iter().find(|p| p.index == protocol)?;
        offered.channels.iter().find(|c| c.id == channel)
    }
}

/// One offered protocol.
#[derive(Debug, Clone)]
pub struct Offered {
    /// Its place in the Switch's registry; goes into [`SessionChannel::protocol`].
    pub index: usize,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// How many message codes it takes where a wire numbers messages (highest channel id + 1 or more).
    pub length: u64,
    /// Its channels.
    pub channels: Vec<ChannelSpec>,
}

/// The checkpoint in the middle of a handshake: the identity is proven, nothing else is known.
pub trait Gate: Send + Sync {
    /// May a session with this identity go on? The wire tells the peer the reason if it can.
    fn identity(&self, id: PeerId, direction: Direction) -> BoxFuture<'_, Result<(), Reason>>;
}

/// A gate that lets everybody pass, for tools and tests that have no Switch.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenGate;

impl Gate for OpenGate {
    fn identity(&self, _: PeerId, _: Direction) -> BoxFuture<'_, Result<(), Reason>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// What is known of the other side after the handshake. All text is remote: print it through [`crate::text`].
#[derive(Debug, Clone, Default)]
pub struct RemoteInfo {
    /// Client name, moniker or MSP id.
    pub name: String,
    /// Protocols or channels they announced, as text (`bench/1`, `0x70`).
    pub capabilities: Vec<String>,
    /// Network name, where the wire has one.
    pub network: Option<String>,
    /// Where they say they listen.
    pub listen: Option<String>,
    /// Further fields of the wire, by name.
    pub fields: Vec<(&'static str, String)>,
}

/// A channel both sides share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionChannel {
    /// Index of the protocol, from [`Offered::index`].
    pub protocol: usize,
    /// The channel within the protocol.
    pub channel: ChannelId,
    /// Its number on this session's wire.
    pub wire_id: u64,
}

/// How a session shows it is alive. Any received byte counts as life for `idle_limit`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Liveness {
    /// Send a ping at this interval.
    pub ping_every: Option<Duration>,
    /// A ping must be answered, or any other byte arrive, within this time.
    pub pong_within: Option<Duration>,
    /// Longest silence.
    pub idle_limit: Option<Duration>,
}

/// A finished handshake: everything needed to run the session.
pub struct Session {
    /// The proven identity.
    pub peer: PeerId,
    /// What they said of themselves.
    pub info: RemoteInfo,
    /// The shared channels, in the order the scheduler breaks ties by.
    pub channels: Vec<SessionChannel>,
    /// Frames to bytes.
    pub encoder: Box<dyn Encoder>,
    /// Bytes to frames.
    pub decoder: Box<dyn Decoder>,
    /// The reading half. An `io::Error` that holds a [`Fault`] is that fault; so it is of the writing half.
    pub reader: BoxRead,
    /// The writing half.
    pub writer: BoxWrite,
    /// Bytes that were read with the handshake and belong to the first frames.
    pub leftover: BytesMut,
    /// How liveness is shown.
    pub liveness: Liveness,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("peer", &self.peer).field("info", &self.info).finish_non_exhaustive()
    }
}

/// A frame to be sent.
#[derive(Debug)]
pub enum OutFrame<'a> {
    /// A slice of a message; `last` on its final slice. A message may be empty.
    Data {
        /// The channel's number on the wire.
        wire_id: u64,
        /// At most [`Encoder::slice`] bytes.
        data: &'a [u8],
        /// Whether the message ends here.
        last: bool,
    },
    /// "Are you there?"
    Ping,
    /// "I am."
    Pong,
    /// The session ends, and why. A wire without such a frame writes nothing.
    Goodbye(&'a Reason),
}

/// Turns frames into bytes. No IO, no clock.
pub trait Encoder: Send {
    /// How many bytes of a message with `remaining` bytes left go into the next frame (whole messages: `remaining`).
    fn slice(&self, wire_id: u64, remaining: usize) -> usize;

    /// Bytes that frame costs in the scheduler's account.
    fn cost(&self, wire_id: u64, len: usize, last: bool) -> usize;

    /// Largest message this channel can carry to this peer, in bytes.
    fn max_message(&self, wire_id: u64) -> usize;

    /// Appends one frame to `out`. May hold bytes back until [`Encoder::finish`].
    ///
    /// # Errors
    /// Only for frames a caller should not have made (too large) or when the session's key stream is used up.
    fn encode(&mut self, frame: OutFrame<'_>, out: &mut BytesMut) -> Result<(), EncodeError>;

    /// Appends whatever `encode` held back. Called before each write.
    ///
    /// # Errors
    /// When the session's key stream is used up.
    fn finish(&mut self, out: &mut BytesMut) -> Result<(), EncodeError> {
        let _ = out;
        Ok(())
    }
}

/// A frame that cannot be encoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// More bytes than the wire can carry in one message.
    #[error("message of {len} bytes is larger than the wire's limit of {limit}")]
    TooLarge {
        /// The message's bytes.
        len: usize,
        /// The wire's limit.
        limit: usize,
    },
    /// The channel is not one of this session.
    #[error("channel {0:#x} is not shared with this peer")]
    NotShared(u64),
    /// A counter or key stream is used up.
    #[error("the session's key stream is used up")]
    Exhausted,
}

/// A received frame.
#[derive(Debug, PartialEq, Eq)]
pub enum InFrame<'a> {
    /// A slice of a message, borrowed; the reassembly is this crate's.
    Part {
        /// The channel's number on the wire.
        wire_id: u64,
        /// The slice.
        data: &'a [u8],
        /// Whether the message ends here.
        last: bool,
    },
    /// A whole message.
    Message {
        /// The channel's number on the wire.
        wire_id: u64,
        /// The message.
        data: Bytes,
    },
    /// Answered by the session at once.
    Ping,
    /// An answer to our ping, or unsolicited.
    Pong,
    /// The peer ends the session.
    Goodbye(Reason),
    /// A frame the wire knows and ignores.
    Skip,
}

/// Turns bytes into frames. No IO, no clock. Knows the receive limit of each channel and judges
/// declared lengths before it spends memory.
pub trait Decoder: Send {
    /// Takes the next frame from the front of `src`; `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`Fault`] when the peer broke the wire's rules: the session ends with its reason.
    fn decode<'a>(&'a mut self, src: &'a mut BytesMut) -> Result<Option<InFrame<'a>>, Fault>;
}

/// What a peer did wrong: the reason told to it and the operator, and the detail for the log.
#[derive(Debug, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Fault {
    /// Why the session ends.
    pub reason: Reason,
    /// The codec's own error.
    pub detail: Box<dyn std::error::Error + Send + Sync>,
}

impl Fault {
    /// A breach of the named rule.
    pub fn breach(rule: &'static str, detail: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { reason: Reason::Breach(rule), detail: detail.into() }
    }
}

/// Which part of a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Connecting and finding out which wire it is.
    Connect,
    /// Keys and identity.
    Secure,
    /// Names, versions, capabilities.
    Protocol,
}

impl Stage {
    /// `connect`, `secure` or `protocol`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Secure => "secure",
            Self::Protocol => "protocol",
        }
    }
}

/// Why there is no session, and who is at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The peer broke a rule, or proved nothing.
    #[error("in the {} handshake: {fault}", stage.as_str())]
    Peer {
        /// Where.
        stage: Stage,
        /// What it did.
        fault: Fault,
    },
    /// The peer refused us and said why.
    #[error("refused by the peer: {0}")]
    RefusedByPeer(Reason),
    /// Our gate refused the peer. Only for its verdicts: what a wire itself finds wrong is [`HandshakeError::Peer`].
    #[error("refused by us: {0}")]
    RefusedByUs(Reason),
    /// The peer proved who it is and only asked who we are; it wants no session.
    #[error("{0} only asked who we are")]
    Probed(PeerId),
    /// A step took too long.
    #[error("the {} handshake timed out", .0.as_str())]
    Timeout(Stage),
    /// The peer closed without a word.
    #[error("the peer closed the connection in the {} handshake", .0.as_str())]
    Closed(Stage),
    /// The connection broke.
    #[error("connection failed in the {} handshake: {error}", stage.as_str())]
    Io {
        /// Where.
        stage: Stage,
        /// What the socket said.
        error: std::io::Error,
    },
    /// A fault of ours.
    #[error("local fault: {0}")]
    Local(Box<dyn std::error::Error + Send + Sync>),
}

impl HandshakeError {
    /// An IO error, with an early end told apart as [`HandshakeError::Closed`].
    #[must_use]
    pub fn io(stage: Stage, error: std::io::Error) -> Self {
        use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        match error.kind() {
            UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe => Self::Closed(stage),
            _ => Self::Io { stage, error },
        }
    }

    /// A breach of the named rule.
    pub fn breach(
        stage: Stage,
        rule: &'static str,
        detail: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Peer { stage, fault: Fault::breach(rule, detail) }
    }

    /// The reason, in the common vocabulary.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Peer { fault, .. } => fault.reason.clone(),
            Self::RefusedByPeer(reason) | Self::RefusedByUs(reason) => reason.clone(),
            Self::Probed(_) => Reason::Requested,
            Self::Timeout(_) => Reason::HandshakeTimeout,
            Self::Closed(_) => Reason::RemoteClosed,
            Self::Io { .. } => Reason::NetworkError,
            Self::Local(_) => Reason::LocalFault,
        }
    }
}
