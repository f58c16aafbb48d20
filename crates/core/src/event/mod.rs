//! What a Switch tells the program: one event for each thing that happened, with its reason.
//!
//! | what happened | event |
//! |---|---|
//! | a session began, ended | [`Event::PeerAdded`], [`Event::PeerDropped`], always in pairs |
//! | another identity than the dialled one stays | [`Event::IdentitySwitched`] |
//! | somebody dialled us: our rules refused | [`Event::Refused`] |
//! | somebody dialled us: anything else went wrong | [`Event::HandshakeFailed`] |
//! | somebody dialled us only to learn who we are | [`Event::Probed`] |
//! | a dial of ours led to no session, whoever refused | [`Event::DialFailed`] |
//! | connections wait that we cannot accept | [`Event::AcceptFailed`] |
//! | a channel of a session gets no turn to send | [`Event::ChannelStarved`] |
//! | somebody was banned | [`Event::BanAdded`] |
//! | a service said something, or failed | [`Event::Service`], [`Event::ServiceFailed`] |
//! | many of one kind in one second | [`Event::Summed`] in their place |
//! | the reader was too slow | [`Event::Behind`] |
//!
//! Nothing is lost in silence: see [`Events`] for what is summed and what is not.

mod queue;

use crate::candidate::Candidate;
use crate::id::{Direction, PeerId, WireName};
use crate::protocol::channel::ChannelId;
use crate::reason::Reason;
use crate::switch::peer::{End, Peer};
use crate::switch::score::Ban;
use std::net::SocketAddr;
use std::time::Duration;

pub(crate) use queue::Publisher;
pub use queue::{Change, Closed, Events, MOST_KEPT, MOST_PLAIN, PLAIN_A_SECOND, PeerFeed, TryRecv};

/// Something that happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A session began.
    PeerAdded(Peer),
    /// A session ended.
    PeerDropped {
        /// The peer; its counters stay readable.
        peer: Peer,
        /// Why, and who ended it.
        end: End,
    },
    /// A dialled peer proved another identity than the one asked for, and stays, as its wire allows.
    IdentitySwitched {
        /// Whom we dialled.
        candidate: Candidate,
        /// Who it is.
        id: PeerId,
    },
    /// An inbound connection was refused before, in or after its handshake, by our own rules.
    Refused {
        /// The other end.
        remote: SocketAddr,
        /// Who dialled.
        direction: Direction,
        /// The identity, where it was proven.
        id: Option<PeerId>,
        /// Why.
        reason: Reason,
    },
    /// The handshake of an inbound connection failed.
    HandshakeFailed {
        /// The other end.
        remote: SocketAddr,
        /// Who dialled.
        direction: Direction,
        /// The wire, where it was known.
        wire: Option<WireName>,
        /// Why.
        reason: Reason,
        /// The error's words, escaped.
        detail: String,
    },
    /// Somebody connected, proved an identity, asked who we are, and left.
    Probed {
        /// The other end.
        remote: SocketAddr,
        /// Who it is.
        id: PeerId,
    },
    /// The system gives us no connections where we listen, mostly for want of files. Told once, until one was accepted
    /// again; we go on trying.
    AcceptFailed {
        /// Where we listen.
        listening: SocketAddr,
        /// What the system said.
        detail: String,
    },
    /// A dial did not lead to a session. The only event of that dial, also when we refused whom we reached.
    DialFailed {
        /// Whom we dialled.
        candidate: Candidate,
        /// Why.
        reason: Reason,
        /// The error's words, escaped.
        detail: String,
        /// When it is tried again; `None` for never.
        retry_in: Option<Duration>,
    },
    /// What waits on a channel got no turn for longer than its session's rules allow, while others were sent: their priority
    /// leaves it no room. Told once for each channel of a session.
    ChannelStarved {
        /// The peer.
        peer: Peer,
        /// The protocol and its channel; of several that share a lane, the first.
        channel: (String, ChannelId),
        /// How long it has waited.
        waited: Duration,
    },
    /// Somebody was banned, by points or by the operator.
    BanAdded(Ban),
    /// A service tells something of its own.
    Service(ServiceEvent),
    /// A service failed.
    ServiceFailed {
        /// Its name.
        service: String,
        /// Its words, escaped.
        detail: String,
        /// When it is started again; `None` for never.
        restart_in: Option<Duration>,
    },
    /// Further events of one cause, counted instead of told.
    Summed {
        /// What they have in common.
        cause: Cause,
        /// How many there were.
        count: u64,
        /// The first of them.
        first: Box<Event>,
        /// The last of them.
        last: Box<Event>,
        /// Since when they were counted.
        since: Duration,
    },
    /// The reader fell behind by more than is kept, and what waited was thrown away: these are the peers now.
    Behind {
        /// All peers.
        peers: Vec<Peer>,
        /// The state they are of; see [`Change`].
        revision: u64,
        /// How many events were thrown away.
        missed: u64,
    },
}

/// What a service tells: a name and some values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceEvent {
    /// The service's name.
    pub service: String,
    /// What happened, as a short stable word such as `member_alive`.
    pub what: &'static str,
    /// Values by name, remote text escaped by whoever made them.
    pub fields: Vec<(&'static str, String)>,
}

/// What events that are summed have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cause {
    /// `refused`, `handshake_failed`, `probed`, `dial_failed`, `accept_failed` or `channel_starved`.
    pub kind: &'static str,
    /// The wire, where it was known.
    pub wire: Option<WireName>,
    /// The reason's code; empty for a probe.
    pub reason: &'static str,
}

impl Event {
    /// What it may be summed by; `None` for what is never summed.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        let cause = |kind, wire, reason| Some(Cause { kind, wire, reason });
        match self {
            Self::Refused { id, reason, .. } => cause("refused", id.map(|id| id.wire()), reason.code()),
            Self::HandshakeFailed { wire, reason, .. } => cause("handshake_failed", *wire, reason.code()),
            Self::Probed { id, .. } => cause("probed", Some(id.wire()), ""),
            Self::DialFailed { candidate, reason, .. } => {
                cause("dial_failed", Some(candidate.wire), reason.code())
            }
            Self::AcceptFailed { .. } => cause("accept_failed", None, ""),
            Self::ChannelStarved { peer, .. } => cause("channel_starved", Some(peer.id().wire()), ""),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
