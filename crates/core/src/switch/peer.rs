//! A connected peer, as protocols and the program see it.

use crate::candidate::Provenance;
use crate::id::{Direction, PeerId};
use crate::protocol::channel::ChannelId;
use crate::protocol::info::Info;
use crate::protocol::io::ChannelSender;
use crate::protocol::{Protocol, ProtocolError};
use crate::reason::Reason;
use crate::session::flow::{Flow, Traffic};
use crate::session::outgoing::{ChannelStats, Outgoing, SendError};
use crate::text::printable;
use crate::wire::RemoteInfo;
use bytes::Bytes;
use parking_lot::RwLock;
use std::any::{Any, TypeId};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Who ended a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum By {
    /// This node.
    Us,
    /// The peer, with a reason or by closing.
    Peer,
    /// The connection broke.
    Network,
}

impl By {
    /// `us`, `peer` or `network`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Us => "us",
            Self::Peer => "peer",
            Self::Network => "network",
        }
    }
}

/// How a session ended.
#[derive(Debug, Clone)]
pub struct End {
    /// Why.
    pub reason: Reason,
    /// Who ended it.
    pub by: By,
    /// The error's own words, escaped.
    pub detail: Option<String>,
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.detail {
            Some(detail) => write!(f, "{} (by {}): {detail}", self.reason, self.by.as_str()),
            None => write!(f, "{} (by {})", self.reason, self.by.as_str()),
        }
    }
}

impl End {
    /// What a protocol's error means for the session.
    pub(crate) fn from_protocol(name: &str, error: &ProtocolError) -> Self {
        let reason = match error {
            ProtocolError::Breach(rule) => Reason::Breach(rule),
            ProtocolError::Useless => Reason::Useless,
            ProtocolError::Closed => Reason::Quitting,
            ProtocolError::Failed(_) => Reason::ProtocolError,
        };
        Self { reason, by: By::Us, detail: Some(printable(&format!("{name}: {error}"))) }
    }
}

/// One protocol shared with a peer.
pub(crate) struct SharedProtocol {
    pub(crate) name: String,
    pub(crate) version: u32,
    pub(crate) sender: ChannelSender,
    pub(crate) protocol: Option<Arc<dyn Protocol>>,
}

impl std::fmt::Debug for SharedProtocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.name, self.version)
    }
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) id: PeerId,
    pub(crate) direction: Direction,
    pub(crate) remote: SocketAddr,
    pub(crate) info: RemoteInfo,
    pub(crate) since: Instant,
    pub(crate) shared: Box<[SharedProtocol]>,
    pub(crate) outgoing: Arc<Outgoing>,
    pub(crate) end: Ending,
    /// One value a type; few, so a scan is the smallest map.
    pub(crate) data: RwLock<Vec<(TypeId, Arc<dyn Any + Send + Sync>)>>,
    pub(crate) stats: Stats,
    pub(crate) about: About,
}

/// How a session ended: said once, told to all who wait. (A `watch` channel takes four times the memory.)
#[derive(Debug, Default)]
pub(crate) struct Ending(OnceLock<End>, Notify);

impl Ending {
    fn set(&self, end: End) {
        if self.0.set(end).is_ok() {
            self.1.notify_waiters();
        }
    }

    async fn wait(&self) -> End {
        loop {
            // From its making on it hears what is said; what was said before is seen.
            let told = self.1.notified();
            if let Some(end) = self.0.get() {
                return end.clone();
            }
            told.await;
        }
    }
}

/// What the Switch knows of a peer beyond its session.
#[derive(Debug, Default)]
pub(crate) struct About {
    pub(crate) local: OnceLock<SocketAddr>,
    pub(crate) provenance: OnceLock<Provenance>,
    /// The marks below, or-ed.
    marks: AtomicU8,
    /// What its session counted is in the census for good.
    pub(crate) folded: AtomicBool,
}

pub(crate) const STATIC: u8 = 1;
pub(crate) const TRUSTED: u8 = 2;
pub(crate) const UNCONDITIONAL: u8 = 4;

impl About {
    pub(crate) fn mark(&self, mark: u8, on: bool) {
        if on {
            self.marks.fetch_or(mark, Ordering::Relaxed);
        } else {
            self.marks.fetch_and(!mark, Ordering::Relaxed);
        }
    }

    fn has(&self, mark: u8) -> bool {
        self.marks.load(Ordering::Relaxed) & mark != 0
    }
}

/// Counters of one session.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    pub(crate) messages_in: AtomicU64,
    pub(crate) dropped: AtomicU64,
    /// Last round trip in microseconds, 0 when none was measured.
    pub(crate) rtt_us: AtomicU64,
}

/// A snapshot of a peer's counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerStats {
    /// Bytes read from the socket.
    pub bytes_in: u64,
    /// Bytes written to the socket.
    pub bytes_out: u64,
    /// Messages received.
    pub messages_in: u64,
    /// Messages sent.
    pub messages_out: u64,
    /// Messages dropped because an inbox was full.
    pub dropped: u64,
    /// The last round trip of the session's own ping.
    pub rtt: Option<Duration>,
}

/// One channel of a session.
#[derive(Debug, Clone)]
pub struct ChannelTraffic {
    /// The protocol's name.
    pub protocol: String,
    /// The channel.
    pub channel: ChannelId,
    /// Messages and bytes.
    pub traffic: Traffic,
    /// Which lane it is on.
    pub lane_index: usize,
    /// What its lane has seen; channels that share a lane share this.
    pub lane: ChannelStats,
}

/// A connected peer; cheap to clone, outlives its session.
#[derive(Clone)]
pub struct Peer {
    pub(crate) inner: Arc<Inner>,
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Peer({:?}, {} {})", self.id(), self.direction().as_str(), self.remote_addr())
    }
}

impl Peer {
    /// The proven identity.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.inner.id
    }

    /// Who dialled.
    #[must_use]
    pub fn direction(&self) -> Direction {
        self.inner.direction
    }

    /// The socket address of the other end.
    #[must_use]
    pub fn remote_addr(&self) -> SocketAddr {
        self.inner.remote
    }

    /// Our own socket address in this session, where the network told it.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.inner.about.local.get().copied()
    }

    /// Who gave us the peer we dialled; `None` for one that dialled us.
    #[must_use]
    pub fn provenance(&self) -> Option<Provenance> {
        self.inner.about.provenance.get().copied()
    }

    /// Whether it is kept connected now.
    #[must_use]
    pub fn is_static(&self) -> bool {
        self.inner.about.has(STATIC)
    }

    /// Whether it is trusted now: let in beyond the slots, never banned.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.inner.about.has(TRUSTED)
    }

    /// Whether it is unconditional now: let in beyond the slots, and not counted.
    #[must_use]
    pub fn is_unconditional(&self) -> bool {
        self.inner.about.has(UNCONDITIONAL)
    }

    /// What the peer said of itself. Print it through [`crate::text::printable`].
    #[must_use]
    pub fn info(&self) -> &RemoteInfo {
        &self.inner.info
    }

    /// How long the session has lasted.
    #[must_use]
    pub fn lifetime(&self) -> Duration {
        self.inner.since.elapsed()
    }

    /// Names and versions of the shared protocols.
    pub fn protocols(&self) -> impl Iterator<Item = (&str, u32)> {
        self.inner.shared.iter().map(|s| (s.name.as_str(), s.version))
    }

    /// What each shared protocol has to tell of this peer ([`Protocol::peer_info`]); `None` while it still shakes hands.
    #[must_use]
    pub fn protocol_infos(&self) -> Vec<(&str, Option<Info>)> {
        let info =
            |shared: &SharedProtocol| shared.protocol.as_ref().and_then(|protocol| protocol.peer_info(self));
        self.inner.shared.iter().map(|shared| (shared.name.as_str(), info(shared))).collect()
    }

    /// Every shared channel with what went over it and what its lane has seen.
    #[must_use]
    pub fn traffic(&self) -> Vec<ChannelTraffic> {
        let outgoing = &self.inner.outgoing;
        let of = |flow: Flow<'_>| ChannelTraffic {
            protocol: flow.protocol.to_owned(),
            channel: flow.channel,
            traffic: flow.traffic,
            lane_index: flow.lane,
            lane: outgoing.stats(flow.lane).unwrap_or_default(),
        };
        outgoing.flows().all().map(of).collect()
    }

    /// Bytes held for this peer now: queued, being put together, waiting in inboxes.
    #[must_use]
    pub fn bytes_held(&self) -> usize {
        self.inner.outgoing.held()
    }

    /// The channels of a shared protocol.
    #[must_use]
    pub fn channels(&self, protocol: &str) -> Option<ChannelSender> {
        self.inner.shared.iter().find(|s| s.name == protocol).map(|s| s.sender.clone())
    }

    /// What each channel has seen: its protocol, its id, how long its messages waited.
    #[must_use]
    pub fn channel_stats(&self) -> Vec<(&str, ChannelId, ChannelStats)> {
        let mut all = Vec::new();
        for shared in self.inner.shared.iter() {
            let seen = shared.sender.ids().filter_map(|id| Some((id, shared.sender.stats(id)?)));
            all.extend(seen.map(|(id, stats)| (shared.name.as_str(), id, stats)));
        }
        all
    }

    /// Protocol and channel of a lane.
    pub(crate) fn channel_of(&self, lane: usize) -> Option<(String, ChannelId)> {
        let of = |shared: &SharedProtocol| Some((shared.name.clone(), shared.sender.of_lane(lane)?));
        self.inner.shared.iter().find_map(of)
    }

    /// Queues a message on a channel of a protocol, waiting for room as [`ChannelSender::send`] does.
    ///
    /// # Errors
    /// [`SendError`]; `NotShared` when the peer does not have the protocol or channel.
    pub async fn send(&self, protocol: &str, channel: ChannelId, message: Bytes) -> Result<(), SendError> {
        self.channels(protocol).ok_or(SendError::NotShared)?.send(channel, message).await
    }

    /// Queues a message if there is room at once.
    ///
    /// # Errors
    /// [`SendError`]; `Full` when there is no room.
    pub fn try_send(&self, protocol: &str, channel: ChannelId, message: Bytes) -> Result<(), SendError> {
        self.channels(protocol).ok_or(SendError::NotShared)?.try_send(channel, message)
    }

    /// Ends the session; the first reason given counts. Queued messages go out first (bounded), then the goodbye.
    pub fn disconnect(&self, reason: Reason) {
        self.end(End { reason, by: By::Us, detail: None });
    }

    pub(crate) fn end(&self, end: End) {
        self.inner.end.set(end);
    }

    /// Waits for the session's end.
    pub async fn ended(&self) -> End {
        self.inner.end.wait().await
    }

    /// The end if it is known; else that of a protocol that is done on our side.
    pub(crate) fn end_so_far(&self) -> End {
        let end = self.inner.end.0.get().cloned();
        end.unwrap_or(End { reason: Reason::Quitting, by: By::Us, detail: None })
    }

    /// Whether the session is over, or about to be.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.inner.end.0.get().is_some()
    }

    /// Keeps a value with the peer, one per type, for as long as somebody holds the peer.
    pub fn set<T: Any + Send + Sync>(&self, value: T) {
        let (of, value) = (TypeId::of::<T>(), Arc::new(value));
        let mut data = self.inner.data.write();
        match data.iter_mut().find(|(kept, _)| *kept == of) {
            Some((_, kept)) => *kept = value,
            None => data.push((of, value)),
        }
    }

    /// The value of this type kept with the peer.
    #[must_use]
    pub fn get<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let data = self.inner.data.read();
        let (_, value) = data.iter().find(|(kept, _)| *kept == TypeId::of::<T>())?;
        Arc::clone(value).downcast().ok()
    }

    /// The session's counters.
    #[must_use]
    pub fn stats(&self) -> PeerStats {
        let stats = &self.inner.stats;
        let rtt = stats.rtt_us.load(Ordering::Relaxed);
        PeerStats {
            bytes_in: stats.bytes_in.load(Ordering::Relaxed),
            bytes_out: stats.bytes_out.load(Ordering::Relaxed),
            messages_in: stats.messages_in.load(Ordering::Relaxed),
            messages_out: self.inner.outgoing.messages.load(Ordering::Relaxed),
            dropped: stats.dropped.load(Ordering::Relaxed),
            rtt: (rtt > 0).then(|| Duration::from_micros(rtt)),
        }
    }
}

impl PartialEq for Peer {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}
