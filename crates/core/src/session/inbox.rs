//! The receiving side of one protocol in one session: a bounded inbox per channel.
//!
//! ```text
//!   reader ─deliver─▶ channel 0  ▇▇▇      ─┐
//!          ─deliver─▶ channel 1  ▇         ├─ recv: in order of arrival, or each channel apart
//!          ─deliver─▶ channel 2  ▇▇▇▇▇▇▇▇ ─┘
//! ```
//!
//! Limits: an inbox holds at most its window in bytes and [`MAX_MESSAGES`] messages. One message always fits
//! into an empty inbox. When an inbox is full, its channel's [`Overflow`] decides; other channels are not affected.
//!
//! A message that came in a buffer much larger than itself is copied out of it when it has to wait behind another, or when
//! that buffer is larger than one read's; it counts on the ledger as what it holds. A message that was put together from parts
//! brings its place on the ledger with it.

use crate::protocol::channel::{ChannelId, ChannelSpec, Overflow};
use crate::session::buffers::{BUFFER, Spares};
use crate::session::ledger::Ledger;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Messages that may wait in one inbox, however small they are.
pub const MAX_MESSAGES: usize = 16_384;

/// A message as a protocol receives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The channel it came on.
    pub channel: ChannelId,
    /// Its bytes.
    pub data: Bytes,
    /// When the last of it was read from the socket.
    pub at: Instant,
}

/// A whole message on its way into an inbox.
#[derive(Debug, Clone)]
pub(crate) struct Incoming {
    pub(crate) data: Bytes,
    pub(crate) at: Instant,
    /// Bytes of the buffer it is part of.
    pub(crate) holds: usize,
    /// Bytes that are on the ledger for it already.
    pub(crate) claimed: usize,
}

impl Incoming {
    /// A message in a buffer of its own.
    pub(crate) fn new(data: Bytes, at: Instant) -> Self {
        let holds = data.len();
        Self { data, at, holds, claimed: 0 }
    }
}

#[derive(Debug)]
struct Item {
    arrival: u64,
    at: Instant,
    /// What it takes of the ledger.
    charge: usize,
    data: Bytes,
}

static SPARE: Spares<VecDeque<Item>> = Spares::new();

/// One channel's inbox, from its first message on.
#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<Item>,
    bytes: usize,
    /// What its items take of the ledger.
    charged: usize,
    /// Nobody reads this channel any more.
    deaf: bool,
    /// Wakes who reads this channel apart from the others, where somebody does.
    apart: Option<Arc<Notify>>,
}

impl Queue {
    fn pop(&mut self) -> Option<Item> {
        let item = self.items.pop_front()?;
        self.bytes -= item.data.len();
        self.charged -= item.charge;
        Some(item)
    }

    /// Drops what waits; gives how many those were, and what they took of the ledger.
    fn clear(&mut self) -> (usize, usize) {
        let items = std::mem::take(&mut self.items);
        self.bytes = 0;
        (items.len(), std::mem::take(&mut self.charged))
    }
}

#[derive(Debug, Default)]
struct State {
    queues: Box<[Option<Box<Queue>>]>,
    /// Messages that wait, over all queues.
    waiting: usize,
    arrivals: u64,
    closed: bool,
    /// The protocol is done: what comes is dropped.
    deaf: bool,
    /// So is what comes for channels that are not read apart.
    left: bool,
}

impl State {
    /// The reader is about to wait: empty queues give their memory back.
    fn rest(&mut self) {
        for queue in self.used().filter(|queue| queue.items.is_empty()) {
            SPARE.drain(&mut queue.items);
        }
    }

    /// Drops what waits in some queues; gives what it took of the ledger.
    fn clear(&mut self, which: impl Fn(&Queue) -> bool) -> usize {
        let cleared = self.used().filter(|queue| which(queue)).map(Queue::clear);
        let (items, charged) = cleared.fold((0, 0), |sum, queue| (sum.0 + queue.0, sum.1 + queue.1));
        self.waiting -= items;
        charged
    }

    fn used(&mut self) -> impl Iterator<Item = &mut Queue> {
        self.queues.iter_mut().filter_map(Option::as_deref_mut)
    }

    /// The inbox of a channel, made if there is none yet.
    fn queue(&mut self, index: usize) -> Option<&mut Queue> {
        Some(self.queues.get_mut(index)?.get_or_insert_default())
    }
}

/// The inboxes of one protocol in one session.
#[derive(Debug)]
pub(crate) struct Inboxes {
    specs: Arc<[ChannelSpec]>,
    state: Mutex<State>,
    wake: Notify,
    room: Notify,
    ledger: Arc<Ledger>,
}

/// What became of a received message.
#[derive(Debug)]
pub(crate) enum Delivery {
    /// It waits in the inbox; `pressed` when the inbox is more than half full.
    Queued { pressed: bool },
    /// The inbox is full; the message comes back.
    Full(Incoming, Overflow),
    /// The peer's ledger is full.
    OverCap,
    /// Nobody listens any more.
    Ignored,
}

impl Inboxes {
    pub(crate) fn new(specs: Arc<[ChannelSpec]>, ledger: Arc<Ledger>) -> Self {
        let state = State { queues: specs.iter().map(|_| None).collect(), ..State::default() };
        Self { specs, state: Mutex::new(state), wake: Notify::new(), room: Notify::new(), ledger }
    }

    /// Puts a message into an inbox. What it has on the ledger is given back when it does not get in, but for
    /// [`Delivery::Full`], which gives it back with the message.
    pub(crate) fn deliver(&self, index: usize, message: Incoming) -> Delivery {
        let mut state = self.state.lock();
        let arrival = state.arrivals;
        let (closed, left) = (state.deaf || state.closed, state.left);
        let ignored = |queue: &&mut Queue| queue.deaf || left && queue.apart.is_none();
        let queue = if closed { None } else { state.queue(index).filter(|queue| !ignored(queue)) };
        let Some((queue, spec)) = queue.zip(self.specs.get(index)) else {
            drop(state);
            self.ledger.give(message.claimed);
            return Delivery::Ignored;
        };
        let len = message.data.len();
        let full = queue.bytes + len > spec.recv_window || queue.items.len() >= MAX_MESSAGES;
        if full && !queue.items.is_empty() {
            return Delivery::Full(message, spec.overflow);
        }
        let (waits, at) = (!queue.items.is_empty(), message.at);
        let Some((data, charge)) = self.admit(message, waits) else { return Delivery::OverCap };
        SPARE.fill(&mut queue.items);
        queue.items.push_back(Item { arrival, at, charge, data });
        queue.bytes += len;
        queue.charged += charge;
        let pressed = queue.bytes * 2 > spec.recv_window || queue.items.len() * 2 > MAX_MESSAGES;
        let apart = queue.apart.clone();
        state.arrivals += 1;
        state.waiting += 1;
        drop(state);
        match apart {
            Some(wake) => wake.notify_one(),
            None => self.wake.notify_one(),
        }
        Delivery::Queued { pressed }
    }

    /// Puts a message on the ledger as what it holds, copied out of its buffer where that is much larger.
    fn admit(&self, message: Incoming, waits: bool) -> Option<(Bytes, usize)> {
        let Incoming { data, holds, claimed, .. } = message;
        if claimed > 0 {
            return Some((data, claimed));
        }
        let (len, large) = (data.len(), holds > BUFFER);
        let much = holds > 2 * len;
        if !much && self.ledger.try_take(holds) {
            return Some((data, holds));
        }
        // Alone in its inbox it will be gone soon, and one read buffer is not counted.
        let as_it_is = much && !waits && !large;
        let copied = || if as_it_is { data } else { Bytes::copy_from_slice(&data) };
        self.ledger.try_take(len).then(|| (copied(), len))
    }

    /// Waits until something was taken out of an inbox.
    pub(crate) async fn room(&self) {
        self.room.notified().await;
    }

    /// No more messages will come; what waits can still be read.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.used().filter_map(|queue| queue.apart.as_ref()).for_each(|wake| wake.notify_one());
        drop(state);
        self.wake.notify_one();
        self.room.notify_one();
    }

    /// The protocol is done: drops what waits and what will come.
    pub(crate) fn deafen(&self) {
        let mut state = self.state.lock();
        state.deaf = true;
        let bytes = state.clear(|_| true);
        self.release(state, bytes);
    }

    /// Nobody reads the channels any more that are not read apart.
    pub(crate) fn leave(&self) {
        let mut state = self.state.lock();
        state.left = true;
        let bytes = state.clear(|queue| queue.apart.is_none());
        self.release(state, bytes);
    }

    /// Gives back what was taken out before the queue shows the room: else what comes into it might find the
    /// ledger full, which ends the session.
    fn release(&self, state: parking_lot::MutexGuard<'_, State>, bytes: usize) {
        self.ledger.give(bytes);
        drop(state);
        self.room.notify_one();
    }

    /// The oldest message over all wanted channels that are not read apart. `Err(true)` when closed and none waits there.
    fn pop_any(&self, wanted: impl Fn(ChannelId) -> bool) -> Result<Received, bool> {
        let mut state = self.state.lock();
        if state.waiting == 0 {
            state.rest();
            return Err(state.closed);
        }
        let oldest = self
            .specs
            .iter()
            .zip(&mut state.queues)
            .filter_map(|(spec, queue)| Some((spec.id, queue.as_deref_mut()?)))
            .filter(|(id, queue)| queue.apart.is_none() && wanted(*id))
            .filter_map(|(id, queue)| Some((queue.items.front()?.arrival, id, queue)))
            .min_by_key(|(arrival, ..)| *arrival);
        let Some((_, channel, queue)) = oldest else {
            state.rest();
            return Err(state.closed);
        };
        let Some(Item { at, charge, data, .. }) = queue.pop() else { return Err(false) };
        state.waiting -= 1;
        self.release(state, charge);
        Ok(Received { channel, data, at })
    }

    pub(crate) async fn recv(&self, wanted: impl Fn(ChannelId) -> bool) -> Option<Received> {
        loop {
            match self.pop_any(&wanted) {
                Ok(found) => return Some(found),
                Err(true) => return None,
                Err(false) => self.wake.notified().await,
            }
        }
    }

    pub(crate) fn try_recv(&self) -> Option<Received> {
        self.pop_any(|_| true).ok()
    }

    fn pop_one(&self, index: usize) -> Result<Received, Option<Arc<Notify>>> {
        let mut state = self.state.lock();
        let closed = state.closed;
        let queue = state.queue(index).zip(self.specs.get(index));
        let Some((queue, ChannelSpec { id: channel, .. })) = queue else { return Err(None) };
        let Some(Item { at, charge, data, .. }) = queue.pop() else {
            SPARE.drain(&mut queue.items);
            return Err(queue.apart.clone().filter(|_| !closed));
        };
        state.waiting -= 1;
        self.release(state, charge);
        Ok(Received { channel: *channel, data, at })
    }

    async fn recv_one(&self, index: usize) -> Option<Received> {
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
        let Some(queue) = state.queue(index) else { return };
        queue.deaf = true;
        let (items, bytes) = queue.clear();
        state.waiting -= items;
        self.release(state, bytes);
    }

    fn set_apart(&self, id: ChannelId) -> Option<usize> {
        let mut state = self.state.lock();
        let index = self.specs.iter().position(|spec| spec.id == id)?;
        let queue = state.queue(index)?;
        if queue.apart.is_some() {
            return None;
        }
        queue.apart = Some(Arc::default());
        Some(index)
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
        Some(self.receive().await?.data)
    }

    /// The next message, with when it came; `None` as from [`Inbox::recv`].
    pub async fn receive(&mut self) -> Option<Received> {
        self.inboxes.recv_one(self.index).await
    }

    /// A message that waits already, if there is one.
    pub fn try_recv(&mut self) -> Option<Bytes> {
        Some(self.inboxes.pop_one(self.index).ok()?.data)
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
