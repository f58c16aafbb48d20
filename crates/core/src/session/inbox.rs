//! The receiving side of one protocol in one session: a bounded inbox per channel.
//!
//! ```text
//!   reader ─deliver─▶ channel 0  ▇▇▇      ─┐
//!          ─deliver─▶ channel 1  ▇         ├─ recv: in order of arrival, or each channel apart
//!          ─deliver─▶ channel 2  ▇▇▇▇▇▇▇▇ ─┘
//! ```
//!
//! Limits: an inbox holds at most its window in bytes and [`MAX_MESSAGES`] messages; one message fits
//! into an empty inbox always. Behind [`COPY_AFTER`] others a small message is copied, so that a backlog of
//! small messages does not hold the read buffers they came in. A full inbox is the channel's [`Overflow`] case and concerns no other channel.

use crate::protocol::channel::{ChannelId, ChannelSpec, Overflow};
use crate::session::ledger::Ledger;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::Notify;

/// Messages that may wait in one inbox, however small they are.
pub const MAX_MESSAGES: usize = 16_384;
/// Messages that may wait in the buffers they were read into.
pub const COPY_AFTER: usize = 64;
/// A message smaller than this is copied out of its read buffer when it has to wait behind others.
const COPY_BELOW: usize = 16 * 1024;

#[derive(Debug)]
struct Queue {
    spec: ChannelSpec,
    items: VecDeque<(u64, Bytes)>,
    bytes: usize,
    /// Whether somebody reads this channel apart from the others.
    apart: bool,
    /// Nobody reads this channel any more.
    deaf: bool,
    wake: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    queues: Vec<Queue>,
    arrivals: u64,
    closed: bool,
    /// The protocol is done: what comes is dropped.
    deaf: bool,
}

/// The inboxes of one protocol in one session.
#[derive(Debug)]
pub(crate) struct Inboxes {
    state: Mutex<State>,
    wake: Notify,
    room: Notify,
    ledger: Arc<Ledger>,
}

/// What became of a received message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// It waits in the inbox; `pressed` when the inbox is more than half full.
    Queued { pressed: bool },
    /// The inbox is full; the message comes back.
    Full(Bytes, Overflow),
    /// The peer's ledger is full.
    OverCap,
    /// Nobody listens any more.
    Ignored,
}

impl Inboxes {
    pub(crate) fn new(specs: &[ChannelSpec], ledger: Arc<Ledger>) -> Self {
        let queue = |spec: &ChannelSpec| Queue {
            spec: *spec,
            items: VecDeque::new(),
            bytes: 0,
            apart: false,
            deaf: false,
            wake: Arc::new(Notify::new()),
        };
        let state = State { queues: specs.iter().map(queue).collect(), ..State::default() };
        Self { state: Mutex::new(state), wake: Notify::new(), room: Notify::new(), ledger }
    }

    pub(crate) fn deliver(&self, index: usize, message: Bytes) -> Delivery {
        let mut state = self.state.lock();
        if state.deaf || state.closed {
            return Delivery::Ignored;
        }
        let arrival = state.arrivals;
        let Some(queue) = state.queues.get_mut(index).filter(|q| !q.deaf) else { return Delivery::Ignored };
        let len = message.len();
        let full = queue.bytes + len > queue.spec.recv_window || queue.items.len() >= MAX_MESSAGES;
        if full && !queue.items.is_empty() {
            return Delivery::Full(message, queue.spec.overflow);
        }
        if !self.ledger.try_take(len) {
            return Delivery::OverCap;
        }
        let copy = queue.items.len() >= COPY_AFTER && len < COPY_BELOW;
        let message = if copy { Bytes::copy_from_slice(&message) } else { message };
        queue.items.push_back((arrival, message));
        queue.bytes += len;
        let pressed = queue.bytes * 2 > queue.spec.recv_window || queue.items.len() * 2 > MAX_MESSAGES;
        let apart = queue.apart.then(|| Arc::clone(&queue.wake));
        state.arrivals += 1;
        drop(state);
        match apart {
            Some(wake) => wake.notify_one(),
            None => self.wake.notify_one(),
        }
        Delivery::Queued { pressed }
    }

    /// Waits until something was taken out of an inbox.
    pub(crate) async fn room(&self) {
        self.room.notified().await;
    }

    /// No more messages will come; what waits can still be read.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.queues.iter().for_each(|q| q.wake.notify_one());
        drop(state);
        self.wake.notify_one();
        self.room.notify_one();
    }

    /// The protocol is done: drops what waits and what will come.
    pub(crate) fn deafen(&self) {
        let mut state = self.state.lock();
        state.deaf = true;
        let mut bytes = 0;
        for queue in &mut state.queues {
            bytes += std::mem::take(&mut queue.bytes);
            queue.items.clear();
        }
        self.release(state, bytes);
    }

    /// Gives back what was taken out before the queue shows the room: else what comes into it might find the
    /// ledger full, which ends the session.
    fn release(&self, state: parking_lot::MutexGuard<'_, State>, bytes: usize) {
        self.ledger.give(bytes);
        drop(state);
        self.room.notify_one();
    }

    /// The oldest message over all channels that are not read apart. `Err(true)` when closed and empty.
    fn pop_any(&self) -> Result<(ChannelId, Bytes), bool> {
        let mut state = self.state.lock();
        let oldest = state
            .queues
            .iter_mut()
            .filter(|q| !q.apart)
            .filter_map(|q| q.items.front().map(|(arrival, _)| *arrival).map(|a| (a, q)))
            .min_by_key(|(arrival, _)| *arrival);
        let Some((_, queue)) = oldest else { return Err(state.closed) };
        let Some((_, message)) = queue.items.pop_front() else { return Err(false) };
        queue.bytes -= message.len();
        let id = queue.spec.id;
        self.release(state, message.len());
        Ok((id, message))
    }

    pub(crate) async fn recv(&self) -> Option<(ChannelId, Bytes)> {
        loop {
            match self.pop_any() {
                Ok(found) => return Some(found),
                Err(true) => return None,
                Err(false) => self.wake.notified().await,
            }
        }
    }

    pub(crate) fn try_recv(&self) -> Option<(ChannelId, Bytes)> {
        self.pop_any().ok()
    }

    fn pop_one(&self, index: usize) -> Result<Bytes, Option<Arc<Notify>>> {
        let mut state = self.state.lock();
        let closed = state.closed;
        let Some(queue) = state.queues.get_mut(index) else { return Err(None) };
        let Some((_, message)) = queue.items.pop_front() else {
            return Err((!closed).then(|| Arc::clone(&queue.wake)));
        };
        queue.bytes -= message.len();
        self.release(state, message.len());
        Ok(message)
    }

    async fn recv_one(&self, index: usize) -> Option<Bytes> {
        loop {
            match self.pop_one(index) {
                Ok(message) => return Some(message),
                Err(None) => return None,
                Err(Some(wake)) => wake.notified().await,
            }
        }
    }

    /// One channel's reader is gone: drops what waits there and what will come.
    fn deafen_one(&self, index: usize) {
        let mut state = self.state.lock();
        let Some(queue) = state.queues.get_mut(index) else { return };
        queue.deaf = true;
        queue.items.clear();
        let bytes = std::mem::take(&mut queue.bytes);
        self.release(state, bytes);
    }

    fn set_apart(&self, id: ChannelId) -> Option<usize> {
        let mut state = self.state.lock();
        let index = state.queues.iter().position(|q| q.spec.id == id)?;
        let queue = state.queues.get_mut(index)?;
        (!std::mem::replace(&mut queue.apart, true)).then_some(index)
    }
}

/// One channel's inbox, read apart from the others (for a task of its own).
#[derive(Debug)]
pub struct Inbox {
    inboxes: Arc<Inboxes>,
    index: usize,
}

impl Inbox {
    pub(crate) fn take(inboxes: &Arc<Inboxes>, id: ChannelId) -> Option<Self> {
        let index = inboxes.set_apart(id)?;
        Some(Self { inboxes: Arc::clone(inboxes), index })
    }

    /// The next message; `None` when the session is over and everything was read.
    pub async fn recv(&mut self) -> Option<Bytes> {
        self.inboxes.recv_one(self.index).await
    }

    /// A message that waits already, if there is one.
    pub fn try_recv(&mut self) -> Option<Bytes> {
        self.inboxes.pop_one(self.index).ok()
    }
}

/// What comes for a dropped inbox is dropped too; it fills nothing.
impl Drop for Inbox {
    fn drop(&mut self) {
        self.inboxes.deafen_one(self.index);
    }
}

#[cfg(test)]
mod tests;
