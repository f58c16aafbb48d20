//! The sending side of a session: lanes filled by protocols, emptied by one writer task.
//!
//! ```text
//!   send ──slot──▶ lane ─┐
//!   send ──slot──▶ lane ─┼─ Scheduler ─▶ writer task ─▶ encoder ─▶ one write
//!   ping, pong, goodbye ─┘  (control frames go first)
//! ```
//!
//! Limits: a lane holds at most its queue length in messages, all lanes of a peer at most the senders'
//! share of its ledger in bytes. At the limit `send` waits up to [`SEND_TIMEOUT`], `try_send` answers `Full`.

use crate::reason::Reason;
use crate::session::ledger::Ledger;
use crate::session::scheduler::{DECAY_EVERY, Pick, Scheduler};
use crate::wire::Encoder;
use bytes::Bytes;
use parking_lot::Mutex;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

/// How long `send` waits for room (`cometbft p2p/conn/connection.go`, defaultSendTimeout).
pub const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes gathered for one write. A high-priority message waits for at most this much.
pub(crate) const BATCH_BYTES: usize = 64 * 1024;

/// Why a message was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The queue, or the peer's ledger, is full (only from `try_send`).
    #[error("the send queue is full")]
    Full,
    /// No room within [`SEND_TIMEOUT`].
    #[error("no room in the send queue for {} s", SEND_TIMEOUT.as_secs())]
    Timeout,
    /// The session is over.
    #[error("the session is over")]
    Closed,
    /// The peer does not share this channel.
    #[error("the peer does not share this channel")]
    NotShared,
    /// The message is larger than the wire can carry.
    #[error("message of {len} bytes is larger than this wire's limit of {limit}")]
    TooLarge {
        /// The message's bytes.
        len: usize,
        /// The wire's limit for the channel.
        limit: usize,
    },
}

/// Frames that are not messages.
#[derive(Debug, Default)]
pub(crate) struct Control {
    pub(crate) ping: bool,
    pub(crate) pong: bool,
    pub(crate) goodbye: Option<Reason>,
    /// Whether queued messages go out before the goodbye.
    pub(crate) drain: bool,
}

#[derive(Debug)]
struct State {
    scheduler: Scheduler,
    control: Control,
    closed: bool,
    decayed: Instant,
}

#[derive(Debug)]
struct LaneGate {
    slots: Semaphore,
}

/// Where a channel's messages go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Route {
    pub(crate) lane: usize,
    pub(crate) wire_id: u64,
    /// Largest message the wire can carry there, in bytes.
    pub(crate) max_message: usize,
}

/// The shared part between senders and the writer.
#[derive(Debug)]
pub(crate) struct Outgoing {
    state: Mutex<State>,
    lanes: Vec<LaneGate>,
    pub(crate) wake: Notify,
    /// No more messages: tells senders that wait for bytes.
    shut: Notify,
    ledger: Arc<Ledger>,
    pub(crate) messages: AtomicU64,
}

/// What the writer found to do.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) control: Control,
    pub(crate) picks: Vec<Pick>,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.picks.is_empty() && !self.control.ping && !self.control.pong && self.control.goodbye.is_none()
    }
}

impl Outgoing {
    /// Lanes with the given priorities and queue lengths, in this order.
    pub(crate) fn new(specs: &[(NonZeroU32, usize)], ledger: Arc<Ledger>) -> Self {
        let mut scheduler = Scheduler::default();
        let mut lanes = Vec::with_capacity(specs.len());
        for (priority, queue) in specs {
            scheduler.add(*priority);
            lanes.push(LaneGate { slots: Semaphore::new((*queue).clamp(1, Semaphore::MAX_PERMITS)) });
        }
        let state = State { scheduler, control: Control::default(), closed: false, decayed: Instant::now() };
        let (state, messages) = (Mutex::new(state), AtomicU64::new(0));
        Self { state, lanes, wake: Notify::new(), shut: Notify::new(), ledger, messages }
    }

    fn gate(&self, route: Route, len: usize) -> Result<&LaneGate, SendError> {
        if len > route.max_message {
            return Err(SendError::TooLarge { len, limit: route.max_message });
        }
        self.lanes.get(route.lane).ok_or(SendError::NotShared)
    }

    pub(crate) fn try_send(&self, route: Route, message: Bytes) -> Result<(), SendError> {
        let gate = self.gate(route, message.len())?;
        let slot = gate.slots.try_acquire().map_err(|e| match e {
            tokio::sync::TryAcquireError::NoPermits => SendError::Full,
            tokio::sync::TryAcquireError::Closed => SendError::Closed,
        })?;
        if !self.ledger.try_take_to_send(message.len()) {
            return Err(SendError::Full);
        }
        slot.forget();
        self.push(route, message)
    }

    pub(crate) async fn send(&self, route: Route, message: Bytes) -> Result<(), SendError> {
        match self.try_send(route, message.clone()) {
            Err(SendError::Full) => {}
            decided => return decided,
        }
        let gate = self.gate(route, message.len())?;
        let room = async {
            let shut = self.shut.notified();
            tokio::pin!(shut);
            shut.as_mut().enable();
            let slot = gate.slots.acquire().await.map_err(|_| SendError::Closed)?;
            tokio::select! {
                biased;
                () = self.ledger.take(message.len()) => {}
                () = shut => return Err(SendError::Closed),
            }
            slot.forget();
            Ok(())
        };
        tokio::time::timeout(SEND_TIMEOUT, room).await.unwrap_or(Err(SendError::Timeout))?;
        self.push(route, message)
    }

    /// Queues a message whose slot and bytes are taken.
    fn push(&self, route: Route, message: Bytes) -> Result<(), SendError> {
        let len = message.len();
        let mut state = self.state.lock();
        if state.closed {
            drop(state);
            self.ledger.give(len);
            return Err(SendError::Closed);
        }
        state.scheduler.push(route.lane, route.wire_id, message);
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    /// Messages waiting in a lane.
    pub(crate) fn queued(&self, lane: usize) -> usize {
        self.state.lock().scheduler.queued(lane)
    }

    pub(crate) fn ping(&self) {
        self.state.lock().control.ping = true;
        self.wake.notify_one();
    }

    /// Asks for a pong; several pings before the next write get one pong, so that a flood of pings
    /// costs the sender more than us.
    pub(crate) fn pong(&self) {
        self.state.lock().control.pong = true;
        self.wake.notify_one();
    }

    /// Ends the sending side: no new messages; queued ones go out first if `drain`; then the goodbye.
    pub(crate) fn goodbye(&self, reason: Reason, drain: bool) {
        let mut state = self.state.lock();
        if state.closed {
            return;
        }
        state.closed = true;
        state.control.goodbye = Some(reason);
        state.control.drain = drain;
        if !drain {
            let dropped = state.scheduler.clear();
            self.ledger.give(dropped);
        }
        drop(state);
        self.shut();
    }

    /// Drops what is queued, so that the goodbye comes next.
    pub(crate) fn cut(&self) {
        let dropped = self.state.lock().scheduler.clear();
        self.ledger.give(dropped);
        self.wake.notify_one();
    }

    /// Forgets what is left when the writer is gone.
    pub(crate) fn abandon(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let dropped = state.scheduler.clear();
        drop(state);
        self.ledger.give(dropped);
        self.shut();
    }

    fn shut(&self) {
        self.lanes.iter().for_each(|lane| lane.slots.close());
        self.shut.notify_waiters();
        self.wake.notify_one();
    }

    /// Takes what the next write should hold: `most` bytes of messages or one slice, and none when that is 0. The
    /// goodbye comes when nothing else is left.
    pub(crate) fn fill(&self, batch: &mut Batch, encoder: &dyn Encoder, most: usize) {
        let mut state = self.state.lock();
        let times = state.decayed.elapsed().as_secs() / DECAY_EVERY.as_secs();
        if times > 0 {
            // After 256 times nothing is left of any account.
            (0..times.min(256)).for_each(|_| state.scheduler.decay());
            state.decayed += DECAY_EVERY * u32::try_from(times).unwrap_or(u32::MAX);
        }
        batch.control.ping = std::mem::take(&mut state.control.ping);
        batch.control.pong = std::mem::take(&mut state.control.pong);
        let mut bytes = 0;
        while bytes < most {
            let Some(pick) = state.scheduler.next(encoder) else { break };
            bytes += pick.cost;
            batch.picks.push(pick);
        }
        if state.scheduler.waiting() == 0 {
            batch.control.goodbye = state.control.goodbye.take();
        }
    }

    /// Gives back what a sent slice held.
    pub(crate) fn sent(&self, pick: &Pick) {
        self.ledger.give(pick.data.len());
        if pick.last {
            self.messages.fetch_add(1, Ordering::Relaxed);
            if let Some(lane) = self.lanes.get(pick.lane) {
                lane.slots.add_permits(1);
            }
        }
    }
}

#[cfg(test)]
mod tests;
