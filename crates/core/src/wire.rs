//! What a wire implements: it recognises first bytes, accepts and dials. A finished handshake gives an [`Established`]: who
//! the peer is, which channels both sides share, the codec, and the two halves of the connection.
//!
//! Everything else is done once, in this crate: slicing order, queues, limits, liveness, one write for
//! many frames, reassembly.
//!
//! ```text
//!   Connection ──accept/dial──▶ secure handshake ──▶ Gate::identity ──▶ protocol handshake ──▶ Established
//! ```
//!
//! | part | holds |
//! |---|---|
//! | [`Wire`], [`Upgrade`], [`Offer`], [`Gate`], [`HandshakeError`] | the handshake |
//! | [`Established`], [`SessionChannel`], [`Rules`], [`Liveness`] | what a finished handshake hands over |
//! | [`ReadHalf`], [`WriteHalf`], [`Read`], [`Broken`] | how bytes come and go, and how that ends |
//! | [`Encoder`], [`Decoder`], [`OutFrame`], [`InFrame`], [`Fault`] | the frames |

mod codec;
mod established;
mod halves;

pub use codec::{Decoder, EncodeError, Encoder, Fault, InFrame, OutFrame};
pub use established::{Established, Incomplete, Liveness, Rules, SayError, SessionChannel, WhenDone};
pub use halves::{Broken, Read, ReadHalf, WriteHalf, io_end};

use crate::BoxFuture;
use crate::candidate::Candidate;
use crate::env::Env;
use crate::id::{Direction, PeerId, WireName};
use crate::net::{Connection, connect_host};
use crate::preset::Preset;
use crate::protocol::channel::{ChannelId, ChannelSpec};
use crate::reason::Reason;
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
///
/// ```
/// use switchboard::net::memory::MemoryWire;
/// use switchboard::wire::{Sniff, Wire};
///
/// let wire = MemoryWire::new(&[7]);
/// assert_eq!((wire.sniff(b"me"), wire.sniff(b"mem1"), wire.sniff(b"GET ")), (Sniff::More, Sniff::Yes, Sniff::No));
/// let candidate = wire.parse(&wire.own_url(([10, 0, 0, 1], 9_000).into()))?;
/// assert_eq!((candidate.wire, candidate.port), (wire.name(), 9_000));
/// # Ok::<(), switchboard::wire::AddressError>(())
/// ```
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

    /// What this wire's network expects of a Switch. Asked once, at the start.
    fn preset(&self) -> Preset {
        Preset::default()
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
    ) -> BoxFuture<'_, Result<Established, HandshakeError>>;

    /// Runs the initiator's handshake with `whom`. The wire bounds each of its steps in time.
    fn dial(
        &self,
        connection: Connection,
        whom: Candidate,
        upgrade: Upgrade,
    ) -> BoxFuture<'_, Result<Established, HandshakeError>>;

    /// Reads an address of this wire as users write it.
    ///
    /// # Errors
    /// A sentence that says what is wrong and what is expected.
    fn parse(&self, url: &str) -> Result<Candidate, AddressError>;

    /// Our own address as users and peers write it, where we are to be dialled at `listen`; [`Wire::parse`] reads it.
    fn own_url(&self, listen: std::net::SocketAddr) -> String {
        format!("{}://{listen}", self.name())
    }

    /// Shakes hands only to learn who is there and how far away, in the way a node of any network of this wire answers.
    /// `pings` round trips are measured; each bounds its own wait. [`Wire::probe`] connects first.
    fn probe_over(
        &self,
        connection: Connection,
        whom: Candidate,
        env: Env,
        pings: u32,
    ) -> BoxFuture<'_, Result<Probe, HandshakeError>> {
        let _ = (connection, whom, env, pings);
        Box::pin(std::future::ready(Err(HandshakeError::Local("this wire has no probe".into()))))
    }

    /// Dials an address only to learn who is there and how far away: one call for every wire.
    fn probe(&self, whom: Candidate, env: Env, pings: u32) -> BoxFuture<'_, Result<Probe, HandshakeError>> {
        Box::pin(async move {
            let began = tokio::time::Instant::now();
            let connection = connect(&env, &whom).await?;
            let connecting = began.elapsed();
            let mut probe = self.probe_over(connection, whom, env, pings).await?;
            probe.handshake += connecting;
            Ok(probe)
        })
    }
}

/// How long connecting may take outside any Switch.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How long a probe waits for one round trip.
pub const PROBE_PONG_WITHIN: Duration = Duration::from_secs(10);

/// Connects to somebody outside any Switch, within [`CONNECT_WITHIN`].
///
/// # Errors
/// Why not, as the first step of a handshake.
pub async fn connect(env: &Env, whom: &Candidate) -> Result<Connection, HandshakeError> {
    let connection = connect_host(&**env.net(), &whom.host, whom.port, CONNECT_WITHIN).await;
    connection.map_err(|error| match error.kind() {
        std::io::ErrorKind::TimedOut => HandshakeError::Timeout(Stage::Connect),
        _ => HandshakeError::Io { stage: Stage::Connect, error },
    })
}

/// What a probe learnt.
#[derive(Debug)]
#[non_exhaustive]
pub struct Probe {
    /// The proven identity.
    pub id: PeerId,
    /// What they said of themselves.
    pub info: RemoteInfo,
    /// How long it took until they were known.
    pub handshake: Duration,
    /// Round trips, in the order they were measured.
    pub round_trips: Vec<Duration>,
    /// Why fewer round trips were measured than were asked for.
    pub cut: Option<HandshakeError>,
}

impl Probe {
    /// Who was found, without round trips.
    #[must_use]
    pub fn new(id: PeerId, info: RemoteInfo, handshake: Duration) -> Self {
        Self { id, info, handshake, round_trips: Vec::new(), cut: None }
    }

    /// Adds a round trip, or the reason why there are no more; says whether to go on.
    pub fn add(&mut self, measured: Result<Duration, HandshakeError>) -> bool {
        match measured {
            Ok(round_trip) => self.round_trips.push(round_trip),
            Err(error) => self.cut = Some(error),
        }
        self.cut.is_none()
    }
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

    /// The channels that both sides have, for a wire with no numbering of its own: numbered through the shared
    /// protocols in the order of their names, so that both sides agree. `theirs` lists names and versions.
    #[must_use]
    pub fn shared_with(&self, theirs: &[(String, u32)]) -> Vec<SessionChannel> {
        let has = |ours: &&Offered| theirs.iter().any(|(name, v)| (name, v) == (&ours.name, &ours.version));
        let mut common: Vec<_> = self.protocols.iter().filter(has).collect();
        common.sort_by_key(|ours| (&ours.name, ours.version));
        let (mut out, mut base) = (Vec::new(), 0_u64);
        for Offered { index, channels, length, .. } in common {
            out.extend(channels.iter().map(|spec| SessionChannel {
                protocol: *index,
                channel: spec.id,
                wire_id: base.saturating_add(u64::from(spec.id.0)),
            }));
            base = base.saturating_add(*length);
        }
        out
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
    /// How it rides on the wire.
    pub placement: Placement,
}

/// How a protocol rides on a wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Placement {
    /// Its channel numbers are the wire's own, and its messages what the wire carries there.
    #[default]
    Native,
    /// It knows nothing of the wire: its channel numbers are its own, its messages are bytes. A wire whose numbers or
    /// messages have a meaning finds a place and a wrapping for it.
    Plain,
}

/// The checkpoint in the middle of a handshake: the identity is proven, nothing else is known.
pub trait Gate: Send + Sync {
    /// May a session with this identity go on? The wire tells the peer the reason if it can.
    fn identity(&self, id: PeerId, direction: Direction) -> BoxFuture<'_, Result<(), Reason>>;

    /// The same for an identity that is one of several its holder has, see [`Established::holder`].
    fn identity_of(
        &self,
        holder: PeerId,
        id: PeerId,
        direction: Direction,
    ) -> BoxFuture<'_, Result<(), Reason>> {
        let _ = holder;
        self.identity(id, direction)
    }
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
    #[error("refused by the peer: {reason}{}", said(.words))]
    RefusedByPeer {
        /// What it gave as its reason.
        reason: Reason,
        /// Its own words, escaped, where it had any (a gRPC status, for example).
        words: Option<String>,
    },
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

fn said(words: &Option<String>) -> String {
    words.as_ref().map_or_else(String::new, |words| format!(" ({words})"))
}

impl HandshakeError {
    /// The peer refused us, with no words of its own.
    #[must_use]
    pub fn refused_by_peer(reason: Reason) -> Self {
        Self::RefusedByPeer { reason, words: None }
    }

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

    /// How far the handshake came.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match self {
            Self::Peer { stage, .. }
            | Self::Timeout(stage)
            | Self::Closed(stage)
            | Self::Io { stage, .. } => *stage,
            Self::RefusedByPeer { .. } | Self::Probed(_) => Stage::Protocol,
            Self::RefusedByUs(_) => Stage::Secure,
            Self::Local(_) => Stage::Connect,
        }
    }

    /// The reason, in the common vocabulary.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Peer { fault, .. } => fault.reason.clone(),
            Self::RefusedByPeer { reason, .. } | Self::RefusedByUs(reason) => reason.clone(),
            Self::Probed(_) => Reason::Requested,
            Self::Timeout(_) => Reason::HandshakeTimeout,
            Self::Closed(_) => Reason::RemoteClosed,
            Self::Io { .. } => Reason::NetworkError,
            Self::Local(_) => Reason::LocalFault,
        }
    }
}
