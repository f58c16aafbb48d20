//! Which channel sends next.
//!
//! ```text
//!   lane 1 (priority 1)   ▇▇▇▇▇▇▇▇            recently sent ÷ priority = 8
//!   lane 2 (priority 10)  ▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇    recently sent ÷ priority = 1.6   ◀─ sends next
//! ```
//!
//! Of the lanes with data, the one with the lowest recently-sent ÷ priority sends one slice; the first
//! registered wins a tie. What was sent recently fades by a fifth every two seconds, so that a channel
//! that was quiet for long does not hold the line for long either.
//!
//! Limits: the queues here are bounded by the session's sending side; a lane takes at most its
//! number of messages. The scheduler does not bound how long a low priority waits while higher ones
//! are always full: its share is small, never zero.

use crate::wire::Encoder;
use bytes::Bytes;
use std::collections::VecDeque;
use std::num::NonZeroU32;

/// How often recently-sent fades (`cometbft p2p/conn/connection.go`, updateStats).
pub const DECAY_EVERY: std::time::Duration = std::time::Duration::from_secs(2);

/// One lane: a channel's send queue in one session.
#[derive(Debug)]
struct Lane {
    priority: f32,
    recently_sent: u64,
    queue: VecDeque<(u64, Bytes)>,
}

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
}

/// The lanes of one session and their accounts.
#[derive(Debug, Default)]
pub struct Scheduler {
    lanes: Vec<Lane>,
    waiting: usize,
}

impl Scheduler {
    /// Adds a lane; lanes added first win ties. Returns its index.
    pub fn add(&mut self, priority: NonZeroU32) -> usize {
        self.lanes.push(Lane {
            // Whole numbers up to 2^24 are exact, as on the wire this rule comes from.
            priority: priority.get() as f32,
            recently_sent: 0,
            queue: VecDeque::new(),
        });
        self.lanes.len() - 1
    }

    /// Appends a message to a lane, for the channel with this number on the wire.
    pub fn push(&mut self, lane: usize, wire_id: u64, message: Bytes) {
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.queue.push_back((wire_id, message));
            self.waiting += 1;
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
        self.lanes.get(lane).map_or(0, |l| l.queue.len())
    }

    /// Takes the next slice, sized and priced by the wire's encoder.
    pub fn next(&mut self, wire: &dyn Encoder) -> Option<Pick> {
        if self.waiting == 0 {
            return None;
        }
        let (mut best, mut least) = (None, f32::INFINITY);
        for (index, lane) in self.lanes.iter().enumerate() {
            if lane.queue.is_empty() {
                continue;
            }
            let ratio = lane.recently_sent as f32 / lane.priority;
            if ratio < least {
                (best, least) = (Some(index), ratio);
            }
        }
        let index = best?;
        let lane = self.lanes.get_mut(index)?;
        let (wire_id, front) = lane.queue.front_mut()?;
        let wire_id = *wire_id;
        // A slice of nothing would never end the message.
        let size = wire.slice(wire_id, front.len()).max(1).min(front.len());
        let last = size == front.len();
        let data = if last { lane.queue.pop_front()?.1 } else { front.split_to(size) };
        if last {
            self.waiting -= 1;
        }
        let cost = wire.cost(wire_id, data.len(), last);
        lane.recently_sent += cost as u64;
        Some(Pick { lane: index, wire_id, data, last, cost })
    }

    /// Fades every account by a fifth.
    pub fn decay(&mut self) {
        for lane in &mut self.lanes {
            lane.recently_sent = (lane.recently_sent as f64 * 0.8) as u64;
        }
    }

    /// Drops everything that waits; gives the bytes dropped.
    pub fn clear(&mut self) -> usize {
        self.waiting = 0;
        self.lanes.iter_mut().flat_map(|lane| lane.queue.drain(..)).map(|(_, m)| m.len()).sum()
    }
}

#[cfg(test)]
mod tests;
