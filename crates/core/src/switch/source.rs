//! Where candidates come from: sources are asked for one when a slot is free, and told what became of it.
//!
//! ```text
//!   Switch ── next(room) ──▶ Source          only while a slot is free; several sources take turns
//!          ◀── Pull::Candidate ──
//!          ── outcome(candidate, Outcome) ──▶  Skipped | Failed | Connected … Ended
//!          ── marked(candidate, Mark) ──▶      good, bad or attempted, as programs and services judge a peer
//!   Source ── Wake::now() ──▶ Switch         "ask me again"
//! ```
//!
//! A source is a state machine: its methods return at once. One whose candidates are found by waiting (a lookup)
//! does that in a [`crate::service::Service`] and hands them over through [`queue`], which makes the producer wait
//! until a candidate is wanted.
//!
//! Limits: a source is asked at most [`MAX_PULLS`] times in one turn; one that only gives candidates
//! that are skipped is asked again after [`PULL_REST`]. A source bounds its own memory.

use crate::BoxFuture;
use crate::candidate::Candidate;
use crate::id::{PeerId, WireName};
use crate::reason::Reason;
use crate::switch::peer::By;
use crate::wire::Stage;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How often a source is asked in one turn.
pub const MAX_PULLS: usize = 32;
/// How long a source rests that gave only candidates that were skipped.
pub const PULL_REST: Duration = Duration::from_secs(1);

/// How much room there is on one wire, when a source is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Room {
    /// Outbound slots that nobody has, and that no dial under way may take.
    pub free: usize,
    /// Outbound slots in all.
    pub slots: usize,
    /// Dials under way.
    pub dialling: usize,
    /// Inbound sessions.
    pub inbound: usize,
    /// Outbound sessions.
    pub outbound: usize,
}

/// A source's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pull {
    /// Dial this one.
    Candidate(Candidate),
    /// Nobody before this moment, or a [`Wake`].
    Until(Instant),
    /// Nobody before a [`Wake`].
    Nothing,
}

/// Why a candidate that a source gave was not dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Skip {
    /// It has a session already.
    Connected,
    /// A dial of it is under way.
    Dialling,
    /// Its own handshake with us is under way.
    Arriving,
    /// It was dialled lately.
    Lately,
    /// It is kept connected anyway.
    Static,
    /// It is this node.
    Ourselves,
    /// It is banned, or the access list denies it.
    Denied,
    /// Its network has as many outbound sessions as one may have.
    Subnet,
    /// It is of another wire than its source.
    OtherWire,
    /// It has no address, and nobody resolves its identity.
    NoAddress,
    /// As many candidates wait as may.
    Full,
    /// The Switch stopped.
    Stopped,
}

/// What became of a candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It was not dialled.
    Skipped(Skip),
    /// The dial led to no session.
    Failed {
        /// How far it came.
        stage: Stage,
        /// Why.
        reason: Reason,
        /// Who ended it.
        by: By,
        /// Who answered, where that was proven.
        proven: Option<PeerId>,
    },
    /// It became a peer.
    Connected {
        /// Who it is.
        id: PeerId,
    },
    /// Its session ended.
    Ended {
        /// Who it was.
        id: PeerId,
        /// Why.
        reason: Reason,
        /// Who ended it.
        by: By,
        /// How long the session lasted.
        lifetime: Duration,
    },
}

/// What programs and services say of a candidate or peer (`cometbft p2p/pex/addrbook.go`: good, bad, attempted).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mark {
    /// It was useful.
    Good,
    /// It is not to be dialled for a while.
    Bad,
    /// It was tried without success.
    Attempted,
}

/// Gives candidates of one wire when asked.
pub trait Source: Send + Sync + 'static {
    /// Its name, as [`crate::candidate::Provenance`] and events tell it.
    fn name(&self) -> &'static str;

    /// The wire of its candidates.
    fn wire(&self) -> WireName;

    /// Called once, before the first `next`: how to say that there is somebody again.
    fn attach(&self, wake: Wake) {
        let _ = wake;
    }

    /// Somebody to dial. Asked only while a slot is free.
    fn next(&self, room: &Room, now: Instant) -> Pull;

    /// What became of a candidate this source gave.
    fn outcome(&self, candidate: &Candidate, outcome: &Outcome, now: Instant) {
        let _ = (candidate, outcome, now);
    }

    /// What is said of a peer or candidate of this wire, whoever gave it.
    fn marked(&self, candidate: &Candidate, mark: Mark, now: Instant) {
        let _ = (candidate, mark, now);
    }
}

/// Finds the addresses of an identity.
pub trait Resolver: Send + Sync + 'static {
    /// The wire of the identities it knows.
    fn wire(&self) -> WireName;

    /// The candidate with its addresses (and key); `None` when it is not found. The caller bounds the wait.
    fn resolve<'a>(&'a self, candidate: &'a Candidate) -> BoxFuture<'a, Option<Candidate>>;
}

/// Makes the Switch ask its sources again; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Wake {
    pub(crate) notify: Arc<Notify>,
}

impl Wake {
    /// Ask again now.
    pub fn now(&self) {
        self.notify.notify_one();
    }
}

#[derive(Default)]
struct Queued {
    waiting: Mutex<VecDeque<Candidate>>,
    wake: Mutex<Option<Wake>>,
    wanted: Notify,
}

/// The producer's end of [`queue`].
#[derive(Clone)]
pub struct Producer {
    queued: Arc<Queued>,
    most: usize,
}

/// The source's end of [`queue`].
struct QueueSource {
    name: &'static str,
    wire: WireName,
    queued: Arc<Queued>,
}

/// A source fed by a task: at most `most` candidates (1 or more) wait, then the task waits.
#[must_use]
pub fn queue(name: &'static str, wire: WireName, most: usize) -> (Producer, Arc<dyn Source>) {
    let queued = Arc::new(Queued::default());
    let source = QueueSource { name, wire, queued: Arc::clone(&queued) };
    (Producer { queued, most: most.max(1) }, Arc::new(source))
}

impl Producer {
    /// Hands a candidate over, as soon as there is room for it.
    pub async fn give(&self, candidate: Candidate) {
        loop {
            let wanted = self.queued.wanted.notified();
            {
                let mut waiting = self.queued.waiting.lock();
                if waiting.len() < self.most {
                    waiting.push_back(candidate);
                    break;
                }
            }
            wanted.await;
        }
        if let Some(wake) = &*self.queued.wake.lock() {
            wake.now();
        }
    }
}

impl Source for QueueSource {
    fn name(&self) -> &'static str {
        self.name
    }

    fn wire(&self) -> WireName {
        self.wire
    }

    fn attach(&self, wake: Wake) {
        *self.queued.wake.lock() = Some(wake);
    }

    fn next(&self, _: &Room, _: Instant) -> Pull {
        let next = self.queued.waiting.lock().pop_front();
        self.queued.wanted.notify_waiters();
        next.map_or(Pull::Nothing, Pull::Candidate)
    }
}
