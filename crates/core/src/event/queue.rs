//! How events reach a reader that may be slow: bounded, in order, and never lost in silence.
//!
//! ```text
//!   event ─▶ kept: peers, services, bans ─────────────────▶ queue (MOST_KEPT) ─▶ recv
//!         └▶ plain: PLAIN_A_SECOND of a cause and second ──▶ the same queue, while it holds under MOST_PLAIN
//!                   └─ further ones ─▶ sums by cause ─▶ Summed, when the second is over and the queue is empty
//! ```
//!
//! When more than [`MOST_KEPT`] events wait, all are thrown away and the reader gets [`Event::Behind`] with all peers:
//! from there on its view is whole again. A [`PeerFeed`] works the same, for sessions only.
//!
//! Services start before the program has its Switch. Their first events wait for the first reader.
//!
//! Limits: there is one sum for each cause. Causes are made of fixed words, so there are few.

use super::{Cause, Event};
use crate::census::Tally;
use crate::id::PeerId;
use crate::switch::handle::PeerSet;
use crate::switch::peer::{End, Peer};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Events that wait for one reader before it counts as behind.
pub const MOST_KEPT: usize = 8_192;
/// When so many events wait, plain ones are summed at once.
pub const MOST_PLAIN: usize = 1_024;
/// Plain events of one cause that are told in one second; further ones are summed.
pub const PLAIN_A_SECOND: u64 = 16;
/// Events of services that are kept for the first reader.
const EARLY: usize = 64;
/// Over which time events are summed.
const SECOND: Duration = Duration::from_secs(1);

/// The Switch is gone and everything was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the switch is gone")]
pub struct Closed;

/// Why there is no event at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TryRecv {
    /// None waits.
    #[error("no event waits")]
    Empty,
    /// The Switch is gone and everything was read.
    #[error("the switch is gone")]
    Closed,
}

struct Sum {
    cause: Cause,
    since: Instant,
    told: u64,
    count: u64,
    ends: Option<(Box<Event>, Box<Event>)>,
}

/// One reader's queue: pure but for its lock.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<Event>,
    /// Few: a scan is the fastest map.
    sums: Vec<Sum>,
    /// Events thrown away since the reader fell behind.
    missed: Option<u64>,
    /// Plain events are summed only when too many wait.
    in_full: bool,
}

impl Queue {
    fn push(&mut self, event: &Event, now: Instant) {
        if let Some(missed) = &mut self.missed {
            *missed += 1;
            return;
        }
        if let Some(cause) = event.cause()
            && !self.tell(cause, event, now)
        {
            return;
        }
        if self.waiting.len() >= MOST_KEPT {
            self.missed = Some(self.waiting.len() as u64 + 1);
            self.waiting = VecDeque::new();
            return;
        }
        self.waiting.push_back(event.clone());
    }

    /// Whether a plain event is told by itself; else it is in its sum now.
    fn tell(&mut self, cause: Cause, event: &Event, now: Instant) -> bool {
        let crowded = self.waiting.len() >= MOST_PLAIN;
        let index = self.sums.iter().position(|sum| sum.cause == cause).unwrap_or_else(|| {
            self.sums.push(Sum { cause, since: now, told: 0, count: 0, ends: None });
            self.sums.len() - 1
        });
        let Some(sum) = self.sums.get_mut(index) else { return true };
        if sum.count == 0 && now.duration_since(sum.since) >= SECOND {
            (sum.since, sum.told) = (now, 0);
        }
        if sum.count == 0 && (self.in_full || sum.told < PLAIN_A_SECOND) && !crowded {
            sum.told += 1;
            return true;
        }
        sum.count += 1;
        match &mut sum.ends {
            Some((_, last)) => **last = event.clone(),
            None => sum.ends = Some((Box::new(event.clone()), Box::new(event.clone()))),
        }
        false
    }

    fn pop(&mut self, now: Instant) -> Option<Event> {
        if let Some(event) = self.waiting.pop_front() {
            return Some(event);
        }
        let due = |sum: &Sum| sum.count > 0 && now.duration_since(sum.since) >= SECOND;
        let index = self.sums.iter().position(due)?;
        let Sum { cause, since, count, ends, .. } = self.sums.swap_remove(index);
        let (first, last) = ends?;
        if count == 1 {
            return Some(*first);
        }
        Some(Event::Summed { cause, count, first, last, since: now.duration_since(since) })
    }

    /// When a sum is due.
    fn wake(&self) -> Option<Instant> {
        self.sums.iter().filter(|sum| sum.count > 0).map(|sum| sum.since + SECOND).min()
    }
}

/// What waits for a reader of sessions.
#[derive(Default)]
struct Changes {
    waiting: VecDeque<Change>,
    behind: bool,
}

#[derive(Default)]
struct Reader<Q> {
    queue: Mutex<Q>,
    notify: Notify,
}

/// What services tell while the Switch starts, for its first reader: the newest [`EARLY`]. `None` since there was one.
struct Early(Option<VecDeque<Event>>);

impl Default for Early {
    fn default() -> Self {
        Self(Some(VecDeque::new()))
    }
}

/// Hands events to all readers. The Switch holds it; when it is dropped the readers see the end.
#[derive(Default)]
pub(crate) struct Publisher {
    readers: Mutex<Vec<Weak<Reader<Queue>>>>,
    early: Mutex<Early>,
    feeds: Mutex<Vec<Weak<Reader<Changes>>>>,
    pub(crate) tally: Tally,
    closed: Arc<AtomicBool>,
}

impl Publisher {
    /// Events from now on; for the first reader also what services have told while the Switch started.
    pub(crate) fn subscribe(&self, peers: &PeerSet) -> Events {
        let reader = Arc::<Reader<Queue>>::default();
        if let Some(events) = self.early.lock().0.take() {
            reader.queue.lock().waiting = events;
        }
        self.readers.lock().push(Arc::downgrade(&reader));
        Events { reader, peers: peers.clone(), closed: Arc::clone(&self.closed) }
    }

    /// Sessions from now on, beginning with all there are.
    pub(crate) fn feed(&self, peers: &PeerSet) -> PeerFeed {
        let reader = Arc::<Reader<Changes>>::default();
        reader.queue.lock().behind = true;
        self.feeds.lock().push(Arc::downgrade(&reader));
        PeerFeed { reader, peers: peers.clone(), closed: Arc::clone(&self.closed) }
    }

    /// Tells all readers. Sessions are told through [`Publisher::change`] as well, under the lock of the peer set.
    pub(crate) fn emit(&self, event: &Event) {
        self.tally.event(event);
        if matches!(event, Event::Service(_)) {
            self.keep_early(event);
        }
        let now = Instant::now();
        self.readers.lock().retain(|reader| {
            let Some(reader) = reader.upgrade() else { return false };
            reader.queue.lock().push(event, now);
            reader.notify.notify_one();
            true
        });
    }

    fn keep_early(&self, event: &Event) {
        if let Some(events) = &mut self.early.lock().0 {
            if events.len() >= EARLY {
                events.pop_front();
            }
            events.push_back(event.clone());
        }
    }

    /// Tells the feeds what changed. The caller holds the peer set's lock for writing.
    pub(crate) fn change(&self, change: &Change) {
        self.feeds.lock().retain(|feed| {
            let Some(feed) = feed.upgrade() else { return false };
            let mut queue = feed.queue.lock();
            if !queue.behind {
                if queue.waiting.len() >= MOST_KEPT {
                    (queue.waiting, queue.behind) = (VecDeque::new(), true);
                } else {
                    queue.waiting.push_back(change.clone());
                }
            }
            drop(queue);
            feed.notify.notify_one();
            true
        });
    }

    /// No more events come: readers see the end when they have read what waits.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.readers.lock().drain(..).filter_map(|r| r.upgrade()).for_each(|r| r.notify.notify_one());
        self.feeds.lock().drain(..).filter_map(|r| r.upgrade()).for_each(|r| r.notify.notify_one());
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.close();
    }
}

/// What happens, for one reader, from the moment it subscribed.
///
/// Sessions, services and bans are told one by one and in order. Refusals, failed handshakes, probes and failed dials
/// are told one by one as long as there are few of one cause in a second; further ones come as [`Event::Summed`].
/// A reader that leaves more than [`MOST_KEPT`] events unread gets [`Event::Behind`].
pub struct Events {
    reader: Arc<Reader<Queue>>,
    peers: PeerSet,
    closed: Arc<AtomicBool>,
}

impl Events {
    /// Tells every event by itself, however many there are of one cause, as long as the reader keeps up: fewer than
    /// [`MOST_PLAIN`] wait. For tools and tests that must see each one.
    #[must_use]
    pub fn in_full(self) -> Self {
        self.reader.queue.lock().in_full = true;
        self
    }

    /// The next event. Safe to drop half-way.
    ///
    /// # Errors
    /// [`Closed`].
    pub async fn recv(&mut self) -> Result<Event, Closed> {
        loop {
            match self.try_recv() {
                Ok(event) => return Ok(event),
                Err(TryRecv::Closed) => return Err(Closed),
                Err(TryRecv::Empty) => {}
            }
            let wake = self.reader.queue.lock().wake();
            tokio::select! {
                () = self.reader.notify.notified() => {}
                () = sleep_until(wake) => {}
            }
        }
    }

    /// How many events wait, a sum that is not due yet included.
    #[must_use]
    pub fn len(&self) -> usize {
        let queue = self.reader.queue.lock();
        let sums = queue.sums.iter().filter(|sum| sum.count > 0).count();
        queue.waiting.len() + sums + usize::from(queue.missed.is_some())
    }

    /// Whether no event waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// An event that waits already.
    ///
    /// # Errors
    /// [`TryRecv`].
    pub fn try_recv(&mut self) -> Result<Event, TryRecv> {
        // Before the look into the queue: what comes in between is then seen there.
        let closed = self.closed.load(Ordering::Acquire);
        let missed = self.reader.queue.lock().missed;
        if missed.is_some() {
            return Ok(self.peers.read(|peers, revision| {
                let missed = self.reader.queue.lock().missed.take().unwrap_or_default();
                Event::Behind { peers: peers.values().cloned().collect(), revision, missed }
            }));
        }
        let event = self.reader.queue.lock().pop(Instant::now());
        event.ok_or(if closed { TryRecv::Closed } else { TryRecv::Empty })
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Events({} wait)", self.reader.queue.lock().waiting.len())
    }
}

/// A change of the peer set. Each has the next revision.
#[derive(Debug, Clone)]
pub enum Change {
    /// All peers: the first thing a feed gives, and what it gives after it fell behind.
    All {
        /// The peers.
        peers: Vec<Peer>,
        /// The state they are of: the next change has the next number.
        revision: u64,
    },
    /// A session began.
    Added {
        /// The peer.
        peer: Peer,
        /// The state after it.
        revision: u64,
    },
    /// A session ended.
    Dropped {
        /// The peer.
        peer: Peer,
        /// Why, and who ended it.
        end: End,
        /// The state after it.
        revision: u64,
    },
}

impl Change {
    /// The peer that came or went.
    #[must_use]
    pub fn id(&self) -> Option<PeerId> {
        match self {
            Self::All { .. } => None,
            Self::Added { peer, .. } | Self::Dropped { peer, .. } => Some(peer.id()),
        }
    }

    /// The state after it.
    #[must_use]
    pub fn revision(&self) -> u64 {
        match self {
            Self::All { revision, .. } | Self::Added { revision, .. } | Self::Dropped { revision, .. } => {
                *revision
            }
        }
    }
}

/// Every session that begins or ends, in order and without loss.
pub struct PeerFeed {
    reader: Arc<Reader<Changes>>,
    peers: PeerSet,
    closed: Arc<AtomicBool>,
}

impl PeerFeed {
    /// The next change; `None` when the Switch is gone. Safe to drop half-way.
    pub async fn next(&mut self) -> Option<Change> {
        loop {
            let closed = self.closed.load(Ordering::Acquire);
            if let Some(change) = self.try_next() {
                return Some(change);
            }
            if closed {
                return None;
            }
            self.reader.notify.notified().await;
        }
    }

    /// A change that waits already.
    pub fn try_next(&mut self) -> Option<Change> {
        let behind = self.reader.queue.lock().behind;
        if behind {
            // Nothing changes while the peer set is read, so the snapshot and what follows fit together.
            return Some(self.peers.read(|peers, revision| {
                self.reader.queue.lock().behind = false;
                Change::All { peers: peers.values().cloned().collect(), revision }
            }));
        }
        self.reader.queue.lock().waiting.pop_front()
    }
}

impl std::fmt::Debug for PeerFeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PeerFeed({} wait)", self.reader.queue.lock().waiting.len())
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
