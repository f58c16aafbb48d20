//! What a Switch tells the program: one event for each thing that happened, with its reason.
//!
//! | what happened | event |
//! |---|---|
//! | a session began, ended | [`Event::PeerAdded`], [`Event::PeerDropped`], always in pairs |
//! | somebody dialled us: our rules refused | [`Event::Refused`] |
//! | somebody dialled us: anything else went wrong | [`Event::HandshakeFailed`] |
//! | somebody dialled us only to learn who we are | [`Event::Probed`] |
//! | a dial of ours led to no session, whoever refused | [`Event::DialFailed`] |
//! | connections wait that we cannot accept | [`Event::AcceptFailed`] |

use crate::candidate::Candidate;
use crate::id::{Direction, PeerId, WireName};
use crate::reason::Reason;
use crate::switch::peer::{End, Peer};
use std::net::SocketAddr;
use std::time::Duration;

/// Something that happened. A subscriber that falls more than 1,024 events behind loses the oldest.
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
}
