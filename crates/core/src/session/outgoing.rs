//! The sending side of a session: lanes filled by protocols, emptied by one writer task.
//!
//! ```text
//!   send ──slot──▶ lane ─┐
//!   send ──slot──▶ lane ─┼─ Scheduler ─▶ writer task ─▶ encoder ─▶ one write
//!   ping, pong, goodbye ─┘  (control frames go first)
//! ```
//!
//! Limits: a lane holds at most its queue length in messages, all lanes of a peer at most the senders'
//! share of its ledger in bytes. At the limit `send` waits up to its rules' time ([`SEND_TIMEOUT`] unless a wire says
//! otherwise), `try_send` answers `Full`. A message with a time to leave by is dropped when it is late, and counted.
//!
//! Each lane counts how long its messages waited ([`Delays`]), how many were late, and how often one starved: it waited
//! longer than the rules allow while others were sent. The first time a lane starves is told as an event.

use crate::reason::Reason;
use crate::session::buffers::Spares;
use crate::session::flow::Flows;
use crate::session::layout::Layout;
use crate::session::ledger::Ledger;
use crate::session::scheduler::{Pick, Scheduler};
use crate::wire::{Encoder, Rules};
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, TryAcquireError};
use tokio::time::Instant;

/// How long `send` waits for room, unless a wire's rules say otherwise.
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
    /// No room within the time that the session's rules give.
    #[error("no room in the send queue in time")]
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
    /// When it was last looked whether a lane starves.
    watched: Instant,
    /// Lanes that starve for the first time, and how long; told in [`Outgoing::alarm`].
    starving: Vec<(usize, Duration)>,
}

/// Bounds of the delays that are counted apart, in microseconds: each is four times the one before; what is above
/// the last counts in a further place.
pub const DELAY_BOUNDS: [u64; 11] =
    [16, 64, 256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216];

/// How many messages waited how long between `send` and the writer: one count for each of [`DELAY_BOUNDS`], one for above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Delays(pub [u64; DELAY_BOUNDS.len() + 1]);

impl Delays {
    /// A bound below which this share of the messages (0.0 to 1.0) waited; `None` when none was sent, or it is above the last.
    #[must_use]
    pub fn below(&self, share: f64) -> Option<Duration> {
        let all: u64 = self.0.iter().sum();
        let wanted = (all as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (count, bound) in self.0.iter().zip(DELAY_BOUNDS) {
            seen += *count;
            if seen >= wanted {
                return Some(Duration::from_micros(bound));
            }
        }
        None
    }
}

/// What a channel's lane has seen. Channels that share a lane share its counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChannelStats {
    /// Messages that wait.
    pub queued: usize,
    /// How long those that were sent had waited.
    pub delays: Delays,
    /// Messages dropped because their time was over.
    pub late: u64,
    /// Messages that waited too long while others were sent.
    pub starved: u64,
}

/// What senders share of a lane, from its first message on.
#[derive(Debug)]
struct LaneGate {
    slots: Semaphore,
    /// How long its messages waited.
    waits: LaneWaits,
    late: AtomicU64,
    starved: AtomicU64,
}

#[derive(Debug, Default)]
struct LaneWaits {
    counts: [AtomicU64; DELAY_BOUNDS.len() + 1],
    /// All of them together, in microseconds.
    sum: AtomicU64,
}

impl LaneGate {
    fn new(queue: usize) -> Self {
        Self {
            slots: Semaphore::new(queue.clamp(1, Semaphore::MAX_PERMITS)),
            waits: LaneWaits::default(),
            late: AtomicU64::new(0),
            starved: AtomicU64::new(0),
        }
    }

    fn waited(&self, delay: Duration) {
        let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        let place = DELAY_BOUNDS.iter().position(|bound| micros < *bound).unwrap_or(DELAY_BOUNDS.len());
        if let Some(count) = self.waits.counts.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.waits.sum.fetch_add(micros, Ordering::Relaxed);
    }
}

/// Where a channel's messages go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    layout: Arc<Layout>,
    lanes: Box<[OnceLock<Box<LaneGate>>]>,
    flows: Flows,
    pub(crate) wake: Notify,
    pub(crate) alarm: Notify,
    /// No more messages: tells senders that wait for bytes.
    shut: Notify,
    ledger: Arc<Ledger>,
    rules: Rules,
    pub(crate) messages: AtomicU64,
}

static SPARE: Spares<Vec<Pick>> = Spares::new();

/// What the writer found to do.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) control: Control,
    pub(crate) picks: Vec<Pick>,
    /// Messages still wait behind what was picked, and some messages are more urgent than others.
    pub(crate) more: bool,
}

impl Batch {
    /// Nothing is found for a while.
    pub(crate) fn rest(&mut self) {
        SPARE.drain(&mut self.picks);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.picks.is_empty() && !self.control.ping && !self.control.pong && self.control.goodbye.is_none()
    }
}

impl Outgoing {
    /// The sending side of a session with these lanes and channels.
    pub(crate) fn new(layout: Arc<Layout>, ledger: Arc<Ledger>, rules: Rules) -> Self {
        let mut scheduler = Scheduler::with_room(layout.lanes().len());
        for (priority, _) in layout.lanes() {
            scheduler.add(*priority);
        }
        let now = Instant::now();
        let (control, starving) = (Control::default(), Vec::new());
        let state = State { scheduler, control, closed: false, decayed: now, watched: now, starving };
        let (state, messages) = (Mutex::new(state), AtomicU64::new(0));
        let (wake, alarm, shut) = (Notify::new(), Notify::new(), Notify::new());
        let lanes = layout.lanes().iter().map(|_| OnceLock::new()).collect();
        let flows = Flows::new(Arc::clone(&layout));
        Self { state, layout, lanes, flows, wake, alarm, shut, ledger, rules, messages }
    }

    /// What lanes and channels there are.
    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The rules of the session.
    pub(crate) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// What went over each channel.
    pub(crate) fn flows(&self) -> &Flows {
        &self.flows
    }

    /// How many lanes there are.
    pub(crate) fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// What is kept of a lane, once a message was sent there.
    fn used(&self, lane: usize) -> Option<&LaneGate> {
        self.lanes.get(lane)?.get().map(|gate| &**gate)
    }

    /// How long all messages of a lane have waited together.
    pub(crate) fn delayed(&self, lane: usize) -> Duration {
        self.used(lane)
            .map_or(Duration::ZERO, |gate| Duration::from_micros(gate.waits.sum.load(Ordering::Relaxed)))
    }

    /// Bytes held for the peer, in both directions.
    pub(crate) fn held(&self) -> usize {
        self.ledger.held()
    }

    fn gate(&self, route: Route, len: usize) -> Result<&LaneGate, SendError> {
        if len > route.max_message {
            return Err(SendError::TooLarge { len, limit: route.max_message });
        }
        let place = self.lanes.get(route.lane).ok_or(SendError::NotShared)?;
        if let Some(gate) = place.get() {
            return Ok(gate);
        }
        let (_, queue) = self.layout.lanes().get(route.lane).ok_or(SendError::NotShared)?;
        // Made under the lock, so that the end finds it, or it finds the end.
        let state = self.state.lock();
        Ok(place.get_or_init(|| {
            let gate = LaneGate::new(*queue);
            if state.closed {
                gate.slots.close();
            }
            Box::new(gate)
        }))
    }

    /// Queues a message if there is room; `within` is how long it may wait to leave.
    pub(crate) fn try_send(
        &self,
        route: Route,
        message: Bytes,
        within: Option<Duration>,
    ) -> Result<(), SendError> {
        self.offer(route, message, within)?.map_or(Ok(()), |_| Err(SendError::Full))
    }

    pub(crate) async fn send(
        &self,
        route: Route,
        message: Bytes,
        within: Option<Duration>,
    ) -> Result<(), SendError> {
        match self.offer(route, message, within)? {
            None => Ok(()),
            // Rare, and large: the future of a message that fits at once is small without it.
            Some(message) => Box::pin(self.send_when_room(route, message, within)).await,
        }
    }

    /// Queues a message if there is room; else gives it back.
    fn offer(
        &self,
        route: Route,
        message: Bytes,
        within: Option<Duration>,
    ) -> Result<Option<Bytes>, SendError> {
        let gate = self.gate(route, message.len())?;
        let slot = match gate.slots.try_acquire() {
            Ok(slot) => slot,
            Err(TryAcquireError::NoPermits) => return Ok(Some(message)),
            Err(TryAcquireError::Closed) => return Err(SendError::Closed),
        };
        if !self.ledger.try_take_to_send(message.len()) {
            return Ok(Some(message));
        }
        slot.forget();
        self.push(route, message, within).map(|()| None)
    }

    async fn send_when_room(
        &self,
        route: Route,
        message: Bytes,
        within: Option<Duration>,
    ) -> Result<(), SendError> {
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
        tokio::time::timeout(self.rules.send_within, room).await.unwrap_or(Err(SendError::Timeout))?;
        self.push(route, message, within)
    }

    /// Queues a message whose slot and bytes are taken.
    fn push(&self, route: Route, message: Bytes, within: Option<Duration>) -> Result<(), SendError> {
        let (len, now) = (message.len(), Instant::now());
        let by = within.and_then(|within| now.checked_add(within));
        let mut state = self.state.lock();
        if state.closed {
            drop(state);
            self.ledger.give(len);
            return Err(SendError::Closed);
        }
        state.scheduler.push_until(route.lane, route.wire_id, message, now, by);
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    /// Messages waiting in a lane.
    pub(crate) fn queued(&self, lane: usize) -> usize {
        self.state.lock().scheduler.queued(lane)
    }

    /// What a lane has seen.
    pub(crate) fn stats(&self, lane: usize) -> Option<ChannelStats> {
        let Some(gate) = self.lanes.get(lane)?.get() else { return Some(ChannelStats::default()) };
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Some(ChannelStats {
            queued: self.queued(lane),
            delays: Delays(gate.waits.counts.each_ref().map(load)),
            late: load(&gate.late),
            starved: load(&gate.starved),
        })
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
        let state = self.state.lock();
        self.lanes.iter().filter_map(OnceLock::get).for_each(|gate| gate.slots.close());
        drop(state);
        self.shut.notify_waiters();
        self.wake.notify_one();
    }

    /// Takes what the next write should hold: `most` bytes of messages or one slice, and none when that is 0. The
    /// goodbye comes when nothing else is left.
    pub(crate) fn fill(&self, batch: &mut Batch, encoder: &dyn Encoder, most: usize) {
        let mut state = self.state.lock();
        batch.control.ping = std::mem::take(&mut state.control.ping);
        batch.control.pong = std::mem::take(&mut state.control.pong);
        if state.scheduler.waiting() > 0 {
            self.pick(&mut state, batch, encoder, most);
        }
        let waits = state.scheduler.waiting() > 0;
        batch.more = waits && self.layout.lanes_are_ranked();
        if !waits {
            batch.control.goodbye = state.control.goodbye.take();
            if batch.is_empty() {
                state.scheduler.rest();
            }
        }
    }

    /// Takes messages that wait, in the scheduler's order.
    fn pick(&self, state: &mut State, batch: &mut Batch, encoder: &dyn Encoder, most: usize) {
        let now = Instant::now();
        let every = self.rules.fade_every.max(Duration::from_millis(1));
        let passed = now.saturating_duration_since(state.decayed);
        if passed >= every {
            let times = passed.as_nanos() / every.as_nanos();
            // After 256 times nothing is left of any account.
            (0..times.min(256)).for_each(|_| state.scheduler.decay());
            state.decayed += every * u32::try_from(times).unwrap_or(u32::MAX);
        }
        let mut freed = 0;
        state.scheduler.drop_late(now, |lane, len| {
            freed += len;
            if let Some(gate) = self.used(lane) {
                gate.late.fetch_add(1, Ordering::Relaxed);
                gate.slots.add_permits(1);
            }
        });
        self.ledger.give(freed);
        let mut bytes = 0;
        while bytes < most {
            let Some(pick) = state.scheduler.next(encoder) else { break };
            bytes += pick.cost;
            if pick.last
                && let Some(gate) = self.used(pick.lane)
            {
                gate.waited(now.saturating_duration_since(pick.since));
            }
            state.scheduler.serve(pick.lane, now);
            SPARE.fill(&mut batch.picks);
            batch.picks.push(pick);
        }
        if bytes > 0 && now.saturating_duration_since(state.watched) >= self.rules.starved_after / 2 {
            state.watched = now;
            self.watch(state, now);
        }
    }

    /// Counts the lanes whose next message has waited too long although others were sent.
    fn watch(&self, state: &mut State, now: Instant) {
        let State { scheduler, starving, .. } = state;
        for (lane, since) in scheduler.fronts() {
            let waits = now.saturating_duration_since(since);
            let Some(gate) = self.used(lane).filter(|_| waits > self.rules.starved_after) else {
                continue;
            };
            if gate.starved.fetch_add(1, Ordering::Relaxed) == 0 {
                // At most once a lane, so this is as long as there are lanes.
                starving.push((lane, waits));
                self.alarm.notify_one();
            }
        }
    }

    /// Lanes that began to starve since this was asked, and how long each had waited.
    pub(crate) fn starving(&self) -> Vec<(usize, Duration)> {
        std::mem::take(&mut self.state.lock().starving)
    }

    /// Gives back what sent slices held.
    pub(crate) fn sent(&self, picks: &[Pick]) {
        self.ledger.give(picks.iter().map(|pick| pick.data.len()).sum());
        for pick in picks {
            if let Some(channel) = self.layout.find(pick.wire_id) {
                self.flows.sent(channel, pick.data.len(), pick.last);
            }
            if pick.last {
                self.messages.fetch_add(1, Ordering::Relaxed);
                if let Some(gate) = self.used(pick.lane) {
                    gate.slots.add_permits(1);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
