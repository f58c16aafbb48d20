//! Which channel sends next.
//!
//! ```text
//!   lane 1 (priority 1)   ▇▇▇▇▇▇▇▇            recently sent ÷ priority = 8
//!   lane 2 (priority 10)  ▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇    recently sent ÷ priority = 1.6   ◀─ sends next
//! ```
//!
//! Of the lanes with data, the one with the lowest recently-sent ÷ priority sends one slice; the first
//! registered wins a tie. What was sent recently fades by a fifth every two seconds, so that a channel
//! does not collect an advantage by being quiet.
//!
//! A message may have a deadline for its first byte. When it reaches the front of its lane after that, it is dropped
//! ([`Scheduler::drop_late`]). A message whose first part was sent is sent whole.
//!
//! Limits: the queues here are bounded by the session's sending side; a lane takes at most its
//! number of messages. The scheduler does not bound how long a low priority waits while higher ones
//! are always full: its share is small, never zero.

use crate::session::buffers::Spares;
use crate::wire::Encoder;
use bytes::Bytes;
use std::collections::VecDeque;
use std::num::NonZeroU32;
use tokio::time::Instant;

/// How often recently-sent fades, unless a wire's rules say otherwise.
pub const DECAY_EVERY: std::time::Duration = std::time::Duration::from_secs(2);

/// One lane: a channel's send queue in one session.
#[derive(Debug)]
struct Lane {
    priority: f32,
    /// From its first message on.
    used: Option<Box<Used>>,
}

#[derive(Debug, Default)]
struct Used {
    recently_sent: u64,
    queue: VecDeque<Queued>,
    /// Whether the message in front has begun to leave.
    begun: bool,
    /// When it last sent something.
    served: Option<Instant>,
}

/// A message that waits in a lane.
#[derive(Debug)]
struct Queued {
    wire_id: u64,
    data: Bytes,
    since: Instant,
    /// Until when it must have begun to leave.
    by: Option<Instant>,
}

static SPARE: Spares<VecDeque<Queued>> = Spares::new();

/// A slice chosen to be sent.
#[derive(Debug, Clone)]
pub struct Pick {
    /// Index of the lane.
    pub lane: usize,
    /// Its number on the wire.
    pub wire_id: u64,
    /// The bytes of this slice.
    pub data: Bytes,
    /// Whether the message ends with it.
    pub last: bool,
    /// What it counts in the account.
    pub cost: usize,
    /// When its message was queued.
    pub since: Instant,
}

/// Whether lanes of these priorities differ in how urgent they are.
pub(crate) fn are_ranked(priorities: impl Iterator<Item = NonZeroU32>) -> bool {
    !priorities.is_sorted_by(|one, other| one == other)
}

/// The lanes of one session and their accounts.
#[derive(Debug, Default)]
pub struct Scheduler {
    lanes: Vec<Lane>,
    waiting: usize,
    /// Messages waiting that must leave by a time.
    timed: usize,
}

impl Scheduler {
    /// A scheduler with room for so many lanes.
    pub(crate) fn with_room(lanes: usize) -> Self {
        Self { lanes: Vec::with_capacity(lanes), ..Self::default() }
    }

    /// Adds a lane; lanes added first win ties. Returns its index.
    pub fn add(&mut self, priority: NonZeroU32) -> usize {
        self.lanes.push(Lane {
            // Whole numbers up to 2^24 are exact, as on the wire this rule comes from.
            priority: priority.get() as f32,
            used: None,
        });
        self.lanes.len() - 1
    }

    /// Appends a message to a lane, for the channel with this number on the wire.
    pub fn push(&mut self, lane: usize, wire_id: u64, message: Bytes) {
        self.push_until(lane, wire_id, message, Instant::now(), None);
    }

    /// Appends a message that was queued at `since` and is dropped if it has not begun to leave by the time given.
    pub fn push_until(
        &mut self,
        lane: usize,
        wire_id: u64,
        data: Bytes,
        since: Instant,
        by: Option<Instant>,
    ) {
        if let Some(lane) = self.lanes.get_mut(lane) {
            let used = lane.used.get_or_insert_default();
            SPARE.fill(&mut used.queue);
            used.queue.push_back(Queued { wire_id, data, since, by });
            self.waiting += 1;
            self.timed += usize::from(by.is_some());
        }
    }

    /// Drops the messages in front of their lanes whose time is over; tells lane and bytes of each.
    pub fn drop_late(&mut self, now: Instant, mut dropped: impl FnMut(usize, usize)) {
        if self.timed == 0 {
            return;
        }
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            let Some(lane) = &mut lane.used else { continue };
            while let Some(front) = lane.queue.front() {
                if lane.begun || front.by.is_none_or(|by| now < by) {
                    break;
                }
                dropped(index, front.data.len());
                lane.queue.pop_front();
                self.waiting -= 1;
                self.timed -= 1;
            }
        }
    }

    /// Since when each lane with messages waits: since the first of them was queued, or it last sent something.
    pub fn fronts(&self) -> impl Iterator<Item = (usize, Instant)> {
        self.lanes.iter().enumerate().filter_map(|(index, lane)| {
            let Used { queue, served, .. } = &**lane.used.as_ref()?;
            let since = queue.front()?.since;
            Some((index, served.map_or(since, |served| served.max(since))))
        })
    }

    /// A lane has sent something.
    pub(crate) fn serve(&mut self, lane: usize, now: Instant) {
        if let Some(used) = self.lanes.get_mut(lane).and_then(|lane| lane.used.as_mut()) {
            used.served = Some(now);
        }
    }

    /// Messages waiting, over all lanes.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Messages waiting in one lane.
    #[must_use]
    pub fn queued(&self, lane: usize) -> usize {
        self.lanes.get(lane).and_then(|lane| lane.used.as_ref()).map_or(0, |used| used.queue.len())
    }

    /// Takes the next slice, sized and priced by the wire's encoder.
    pub fn next(&mut self, wire: &dyn Encoder) -> Option<Pick> {
        if self.waiting == 0 {
            return None;
        }
        let (mut best, mut least) = (None, f32::INFINITY);
        for (index, lane) in self.lanes.iter().enumerate() {
            let Some(used) = lane.used.as_ref().filter(|used| !used.queue.is_empty()) else { continue };
            let ratio = used.recently_sent as f32 / lane.priority;
            if ratio < least {
                (best, least) = (Some(index), ratio);
            }
        }
        let index = best?;
        let lane = self.lanes.get_mut(index)?.used.as_mut()?;
        let front = lane.queue.front_mut()?;
        let (wire_id, since) = (front.wire_id, front.since);
        // A slice of nothing would never end the message.
        let size = wire.slice(wire_id, front.data.len()).max(1).min(front.data.len());
        let last = size == front.data.len();
        lane.begun = !last;
        let data = if last {
            let whole = lane.queue.pop_front()?;
            self.waiting -= 1;
            self.timed -= usize::from(whole.by.is_some());
            whole.data
        } else {
            front.data.split_to(size)
        };
        let cost = wire.cost(wire_id, data.len(), last);
        lane.recently_sent += cost as u64;
        Some(Pick { lane: index, wire_id, data, last, cost, since })
    }

    fn used(&mut self) -> impl Iterator<Item = &mut Used> {
        self.lanes.iter_mut().filter_map(|lane| lane.used.as_deref_mut())
    }

    /// Nothing waits, and the writer is about to: empty lanes keep no room.
    pub fn rest(&mut self) {
        for used in self.used().filter(|used| used.queue.is_empty()) {
            SPARE.drain(&mut used.queue);
        }
    }

    /// Fades every account by a fifth.
    pub fn decay(&mut self) {
        for used in self.used() {
            used.recently_sent = (used.recently_sent as f64 * 0.8) as u64;
        }
    }

    /// Drops everything that waits; gives the bytes dropped.
    pub fn clear(&mut self) -> usize {
        (self.waiting, self.timed) = (0, 0);
        let mut bytes = 0;
        for used in self.used() {
            used.begun = false;
            bytes += std::mem::take(&mut used.queue).iter().map(|m| m.data.len()).sum::<usize>();
        }
        bytes
    }
}

#[cfg(test)]
mod tests;
