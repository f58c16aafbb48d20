//! The reading side of a session: bytes to frames, parts to messages, messages to inboxes.
//!
//! ```text
//!   socket ─▶ lent buffer ─▶ Decoder ─▶ InFrame ─┬─ part ─▶ reassembly ─▶ inbox
//!                                                ├─ message ────────────▶ inbox
//!                                                └─ ping ─▶ pong; goodbye ─▶ end
//! ```
//!
//! A buffer is lent for each read and given back when it is empty, so that a silent peer holds none. What is left of an
//! incomplete frame is kept in a buffer of its own size while nothing comes.
//!
//! Limits: the channel's receive limit bounds a message, the peer's ledger everything that waits, and
//! [`crate::wire::Incomplete`] how long a message or frame may stay incomplete. Each ends the session with its reason. The
//! time that the reader itself waits, for a protocol or for its pace, is not counted against the peer. What a message means
//! is not checked here.

use super::buffers::{self, BUFFER, TURN};
use super::inbox::{Delivery, Inboxes, Incoming};
use super::ledger::{Claim, Ledger};
use super::pace::Pace;
use super::pulse::Pulse;
use super::supervise::EndsWith;
use super::tap::{Flow, Seen, Tap};
use crate::protocol::channel::Overflow;
use crate::reason::Reason;
use crate::switch::peer::{By, End, Peer};
use crate::wire::{Decoder, Fault, InFrame, Incomplete, Read, ReadHalf};
use bytes::{Bytes, BytesMut};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// The rest of a frame of up to this size is kept in a buffer of its own size while nothing comes.
const SMALL_REST: usize = 16 * 1024;
/// A read is not begun with less room than this, unless the decoder made it so.
const LEAST_ROOM: usize = 16 * 1024;

/// A buffer of a message that is put together: room for one of 64 KiB with what stands around it.
const PIECE: usize = 128 * 1024;

/// The first buffer, where the last message there was as long: room for one of 1 MiB, which is then never copied.
const FIRST: usize = (1 << 20) + 64 * 1024;

/// What is kept of one receiving channel between frames; the rest is in the session's [`super::layout::Layout`], at the same place.
#[derive(Default)]
pub(crate) struct RecvLane {
    /// The message that is put together, if one is.
    partial: Option<Box<Partial>>,
    /// How long the last one was, up to what a first buffer may be.
    last: u32,
}

/// A message that is put together.
///
/// ```text
///   first buffer: as long as the last message was (1 MiB), else doubled up to 128 KiB ─▶ further buffers of 128 KiB
///   whole: the only buffer as it is, or all of them in one, each given back when it was copied
/// ```
/// A long message grows by buffers of one size, so that one that never ends leaves nothing behind but itself.
#[derive(Debug, Default)]
pub(crate) struct Partial {
    /// Buffers that are full.
    before: Vec<BytesMut>,
    /// The buffer that is filled.
    data: BytesMut,
    /// Bytes it may take; they are on the ledger.
    room: usize,
    /// Bytes so far.
    len: usize,
    /// What it has on the ledger: the capacity of its buffers.
    claimed: usize,
    since: Option<Instant>,
    /// How long the last message here was.
    last: usize,
}

impl Partial {
    /// The next message where the last one was so long.
    fn after(last: u32) -> Self {
        Self { last: last as usize, ..Self::default() }
    }

    /// Appends a part; false when the ledger is full. The caller keeps the whole within `limit`.
    fn append(&mut self, mut part: &[u8], limit: usize, ledger: &Ledger, now: Instant) -> bool {
        self.since.get_or_insert(now);
        while !part.is_empty() {
            if self.data.len() == self.room && !self.grow(part.len(), limit, ledger) {
                return false;
            }
            let (fits, rest) = part.split_at(part.len().min(self.room - self.data.len()));
            self.data.extend_from_slice(fits);
            self.len += fits.len();
            part = rest;
        }
        true
    }

    /// Makes room for at least one of `more` bytes; false when the ledger is full.
    fn grow(&mut self, more: usize, limit: usize, ledger: &Ledger) -> bool {
        if self.room >= PIECE {
            self.before.push(std::mem::take(&mut self.data));
            self.room = 0;
        }
        let needed = (self.data.len() + more).min(PIECE);
        let wished = if self.before.is_empty() { self.last.max(self.room * 2) } else { PIECE };
        // The limit is that of the whole message.
        let left = limit.saturating_sub(self.len - self.data.len());
        let most = if self.before.is_empty() && self.room == 0 { FIRST } else { PIECE };
        let wanted = wished.min(most).min(left).max(needed);
        let room = if ledger.try_take(wanted - self.room) {
            wanted
        } else if ledger.try_take(needed - self.room) {
            needed
        } else {
            return false;
        };
        let mut grown = BytesMut::with_capacity(room);
        grown.extend_from_slice(&self.data);
        self.claimed += room - self.room;
        (self.data, self.room) = (grown, room);
        true
    }

    /// The whole message, with what it has on the ledger.
    fn finish(&mut self, ledger: &Ledger, at: Instant) -> Incoming {
        let Self { before, data, len, claimed, .. } = std::mem::take(self);
        self.last = len;
        if before.is_empty() {
            return Incoming { data: data.freeze(), at, holds: claimed, claimed };
        }
        // The system gives memory when it is written to, so this never holds much more than the message.
        let mut whole = BytesMut::with_capacity(len);
        before.into_iter().chain([data]).for_each(|piece| whole.extend_from_slice(&piece));
        ledger.give(claimed - len);
        Incoming { data: whole.freeze(), at, holds: len, claimed: len }
    }
}

/// The reader's state.
pub(crate) struct Reading {
    pub(crate) peer: Peer,
    pub(crate) decoder: Box<dyn Decoder>,
    pub(crate) reader: Box<dyn ReadHalf>,
    pub(crate) intake: Intake,
    /// As many as the session has channels.
    pub(crate) lanes: Box<[RecvLane]>,
    /// Lanes where a message is put together.
    pub(crate) partials: usize,
    /// Those of each protocol.
    pub(crate) inboxes: Box<[Arc<Inboxes>]>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) pace: Pace,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) incomplete: Incomplete,
    /// A message was given to a protocol since this task last let others run.
    pub(crate) delivered: bool,
    pub(crate) tap: Option<Arc<dyn Tap>>,
}

/// Bytes that were read and are not decoded yet.
pub(crate) struct Intake {
    buffer: BytesMut,
    /// The size of the buffer, when it was lent; 0 for one of its content's own size.
    room: usize,
    /// What it has on the ledger.
    counted: usize,
    /// Since when a frame is incomplete.
    since: Option<Instant>,
    /// When the last bytes came.
    at: Instant,
    /// How long we waited ourselves since then.
    excused: Duration,
}

impl Intake {
    pub(crate) fn new(leftover: BytesMut, now: Instant) -> Self {
        let since = (!leftover.is_empty()).then_some(now);
        let (buffer, room) = match leftover.capacity() {
            room if leftover.len() > SMALL_REST => (leftover, room),
            _ => (of_own_size(&leftover), 0),
        };
        Self { buffer, room, counted: 0, since, at: now, excused: Duration::ZERO }
    }

    /// The size of the buffer that a message in `data` is part of, or its own.
    fn holds(range: &std::ops::Range<usize>, room: usize, data: &Bytes) -> usize {
        if range.contains(&(data.as_ptr() as usize)) { room.max(data.len()) } else { data.len() }
    }

    /// Reads into a buffer with room. One that is lent for this and gets nothing goes back at once.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut dyn ReadHalf,
        most: usize,
    ) -> Poll<Result<Read, Fault>> {
        if self.room == 0 {
            let mut lent = buffers::lend();
            lent.extend_from_slice(&self.buffer);
            let read = reader.poll_read(cx, &mut lent, most);
            if read.is_pending() {
                buffers::take_back(lent);
            } else {
                (self.room, self.buffer) = (lent.capacity(), lent);
            }
            return read;
        }
        // Behind much of a frame the decoder has made the room it needs.
        let spare = self.buffer.capacity() - self.buffer.len();
        if spare == 0 || spare < LEAST_ROOM && self.buffer.len() <= SMALL_REST {
            let before = self.buffer.capacity();
            self.buffer.reserve(BUFFER);
            if self.buffer.capacity() != before {
                self.room = self.buffer.capacity();
            }
        }
        let read = reader.poll_read(cx, &mut self.buffer, most);
        if read.is_pending() && self.buffer.len() <= SMALL_REST {
            let rest = of_own_size(&self.buffer);
            self.give_back(rest);
        }
        read
    }

    /// Goes on with another buffer; the lent one goes back.
    fn give_back(&mut self, rest: BytesMut) {
        let buffer = std::mem::replace(&mut self.buffer, rest);
        if std::mem::take(&mut self.room) > 0 {
            buffers::take_back(buffer);
        }
    }

    /// Notes what is left after decoding; gives the size of the buffer that waits, where that is to be counted.
    fn settle(&mut self) -> usize {
        if self.buffer.is_empty() {
            self.since = None;
            self.give_back(BytesMut::new());
            return 0;
        }
        let room = self.room.max(self.buffer.capacity());
        if room > BUFFER || self.buffer.len() > BUFFER { room } else { 0 }
    }
}

/// A copy in a buffer of its own size; nothing takes none.
fn of_own_size(rest: &[u8]) -> BytesMut {
    if rest.is_empty() { BytesMut::new() } else { BytesMut::from(rest) }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.release();
        drop(EndsWith(self.peer.clone()));
    }
}

/// What one frame asks of the reader.
enum Step {
    Done,
    Pressed,
    Wait { lane: usize, message: Incoming, limit: Duration },
}

impl Reading {
    pub(crate) async fn run(&mut self) {
        let end = self.read_until_end().await;
        self.release();
        self.peer.end(end);
        // After the end only the peer's close matters: what still comes is thrown away, so that the
        // kernel does not answer our goodbye's acknowledgement with a reset.
        let Self { reader, intake, .. } = self;
        while matches!(
            poll_fn(|cx| intake.poll(cx, &mut **reader, usize::MAX)).await,
            Ok(Read::Bytes(_) | Read::Pong)
        ) {
            intake.buffer.clear();
        }
    }

    /// Drops the messages that are not complete.
    fn release(&mut self) {
        let mut held = std::mem::take(&mut self.intake.counted);
        held +=
            self.lanes.iter_mut().filter_map(|lane| lane.partial.take()).map(|p| p.claimed).sum::<usize>();
        self.partials = 0;
        self.intake.buffer.clear();
        self.intake.give_back(BytesMut::new());
        self.ledger.give(held);
    }

    /// Puts what waits for the rest of its frame on the ledger, where it is more than any read leaves.
    fn account(&mut self) -> Result<(), End> {
        let waiting = self.intake.settle();
        if !self.ledger.try_take(waiting) {
            return Err(over_cap());
        }
        self.intake.counted = waiting;
        Ok(())
    }

    /// Until when what is incomplete must be whole, if anything is.
    fn deadline(&self) -> Option<Instant> {
        if self.partials == 0 && self.intake.since.is_none() {
            return None;
        }
        let parts = self.lanes.iter().filter_map(|lane| lane.partial.as_ref()).map(|p| (p.since, p.len));
        let frame = (self.intake.since, self.intake.buffer.len());
        parts
            .chain([frame])
            .filter_map(|(since, bytes)| since?.checked_add(self.incomplete.allowed(bytes)))
            .min()
    }

    /// Time that we waited ourselves is not the peer's.
    fn excuse(&mut self, waited: Duration) {
        self.intake.excused += waited;
        let parts = self.lanes.iter_mut().filter_map(|lane| lane.partial.as_mut()).map(|p| &mut p.since);
        for since in parts.chain([&mut self.intake.since]).flatten() {
            *since += waited;
        }
    }

    async fn read_until_end(&mut self) -> End {
        // Bytes that came since this task last waited, or gave others a turn.
        let mut flowed = 0;
        // Between channels of one priority nothing is urgent, and a turn for others costs the system a wake-up.
        let ranked = self.peer.inner.outgoing.layout().channels_are_ranked();
        loop {
            // From here on a message that is whole is on the ledger as such.
            self.ledger.give(std::mem::take(&mut self.intake.counted));
            if let Err(end) = self.drain_buffer().await.and_then(|()| self.account()) {
                return end;
            }
            if ranked && flowed >= TURN && std::mem::take(&mut self.delivered) {
                flowed = 0;
                // Bytes come without a pause. Without this turn a protocol that was given a message would run only when this task waits.
                tokio::task::yield_now().await;
            }
            let most = self.pace.step(usize::MAX);
            let deadline = self.deadline();
            let mut waited = false;
            let Self { reader, intake, pulse, .. } = self;
            let read = poll_fn(|cx| {
                if pulse.is_over() {
                    return Poll::Ready(None);
                }
                match intake.poll(cx, &mut **reader, most) {
                    Poll::Ready(read) => Poll::Ready(Some(read)),
                    Poll::Pending if pulse.waits(cx) => Poll::Ready(None),
                    Poll::Pending => {
                        waited = true;
                        Poll::Pending
                    }
                }
            });
            let read = match deadline {
                None => read.await,
                Some(deadline) => match tokio::time::timeout_at(deadline, read).await {
                    Ok(read) => read,
                    Err(_) => return breach("a message was not completed in time"),
                },
            };
            if waited {
                flowed = 0;
            }
            let now = Instant::now();
            match read {
                // Whoever ended it has said why.
                None => return self.peer.end_so_far(),
                Some(Ok(Read::Bytes(n))) => {
                    flowed += n;
                    self.peer.inner.stats.bytes_in.fetch_add(n as u64, Ordering::Relaxed);
                    self.pulse.hear(now);
                    (self.intake.at, self.intake.excused) = (now, Duration::ZERO);
                    self.intake.since.get_or_insert(now);
                    if let Some(until) = self.pace.moved(n, now) {
                        tokio::time::sleep_until(until).await;
                        self.excuse(now.elapsed());
                    }
                }
                Some(Ok(Read::Pong)) => {
                    self.pulse.hear(now);
                    self.pulse.pong(now, &self.peer);
                }
                Some(Ok(Read::Over(end))) => return end,
                Some(Err(fault)) => return End::from(&fault),
            }
        }
    }

    /// Handles every whole frame in the buffer.
    async fn drain_buffer(&mut self) -> Result<(), End> {
        let mut pressed = false;
        while let Some(step) = self.next_step()? {
            match step {
                Step::Done => {}
                Step::Pressed => pressed = true,
                Step::Wait { lane, message, limit } => {
                    let Some((inboxes, index)) = self.inbox(lane) else { continue };
                    let inboxes = Arc::clone(inboxes);
                    let bytes = message.data.len();
                    let began = Instant::now();
                    self.pulse.hold(true);
                    let waited = wait_for_room(&inboxes, index, message, limit, &self.ledger).await;
                    self.pulse.hear(Instant::now());
                    self.pulse.hold(false);
                    waited?;
                    self.excuse(began.elapsed());
                    self.received(lane, bytes);
                }
            }
        }
        if pressed {
            // A healthy protocol empties its inbox now; one that is stuck does not hold us up.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    fn next_step(&mut self) -> Result<Option<Step>, End> {
        let Self { decoder, intake, lanes, partials, ledger, pulse, peer, tap, .. } = self;
        let Intake { buffer, room, since, at, excused, .. } = intake;
        let start = buffer.as_ptr() as usize;
        let (range, room, at) = (start..start + buffer.len(), (*room).max(buffer.capacity()), *at);
        let frame = decoder.decode(buffer).map_err(|fault| End::from(&fault))?;
        let Some(frame) = frame else { return Ok(None) };
        if let Some(tap) = tap {
            tap.frame(peer, Flow::In, at, seen(&frame));
        }
        // What follows in the buffer came with it.
        *since = Some(at + *excused);
        let (lane, message) = match frame {
            InFrame::Part { wire_id, data, last } => {
                let (lane, limit) = find(peer, wire_id)?;
                let Some(state) = lanes.get_mut(lane) else { return Ok(Some(Step::Done)) };
                let RecvLane { partial, last: length } = state;
                if partial.as_ref().map_or(0, |partial| partial.len) + data.len() > limit {
                    return Err(breach("message over the channel's receive limit"));
                }
                if partial.is_none() && last {
                    (lane, Incoming::new(Bytes::copy_from_slice(data), at))
                } else {
                    let begun = partial.get_or_insert_with(|| {
                        *partials += 1;
                        Box::new(Partial::after(*length))
                    });
                    if !begun.append(data, limit, ledger, at) {
                        return Err(over_cap());
                    }
                    if !last {
                        return Ok(Some(Step::Done));
                    }
                    let whole = begun.finish(ledger, at);
                    (*length, *partial) = (begun.last.min(FIRST) as u32, None);
                    *partials -= 1;
                    (lane, whole)
                }
            }
            InFrame::Message { wire_id, data } => {
                let (lane, limit) = find(peer, wire_id)?;
                if data.len() > limit {
                    return Err(breach("message over the channel's receive limit"));
                }
                let holds = Intake::holds(&range, room, &data);
                (lane, Incoming { data, at, holds, claimed: 0 })
            }
            InFrame::Ping => {
                peer.inner.outgoing.pong();
                return Ok(Some(Step::Done));
            }
            InFrame::Pong => {
                pulse.pong(Instant::now(), peer);
                return Ok(Some(Step::Done));
            }
            InFrame::Goodbye(reason) => return Err(End { reason, by: By::Peer, detail: None }),
            InFrame::Skip => return Ok(Some(Step::Done)),
        };
        self.deliver(lane, message).map(Some)
    }

    /// A message is in its inbox.
    fn received(&mut self, lane: usize, bytes: usize) {
        self.delivered = true;
        let inner = &self.peer.inner;
        inner.stats.messages_in.fetch_add(1, Ordering::Relaxed);
        inner.outgoing.flows().received(lane, bytes);
    }

    /// Where the messages of a channel go.
    fn inbox(&self, lane: usize) -> Option<(&Arc<Inboxes>, usize)> {
        let place = self.peer.inner.outgoing.layout().places().get(lane)?;
        Some((self.inboxes.get(place.protocol)?, place.index))
    }

    fn deliver(&mut self, lane: usize, message: Incoming) -> Result<Step, End> {
        let stats = &self.peer.inner.stats;
        let Some((inboxes, index)) = self.inbox(lane) else { return Ok(Step::Done) };
        let bytes = message.data.len();
        match inboxes.deliver(index, message) {
            Delivery::Queued { pressed } => {
                self.received(lane, bytes);
                Ok(if pressed { Step::Pressed } else { Step::Done })
            }
            Delivery::Ignored => Ok(Step::Done),
            Delivery::OverCap => Err(over_cap()),
            Delivery::Full(message, Overflow::Wait(limit)) => Ok(Step::Wait { lane, message, limit }),
            Delivery::Full(message, overflow) => {
                self.ledger.give(message.claimed);
                if overflow == Overflow::Close {
                    return Err(slow());
                }
                if stats.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
                    let place = self.peer.inner.outgoing.layout().places().get(lane);
                    tracing::warn!(target: "switchboard::session", peer = %self.peer.id(),
                        channel = place.map(|place| tracing::field::display(place.spec.id)), "inbox full: dropping messages (told once a session)");
                }
                Ok(Step::Done)
            }
        }
    }
}

fn seen<'a>(frame: &'a InFrame<'_>) -> Seen<'a> {
    match frame {
        InFrame::Part { wire_id, data, last } => Seen::Data { wire_id: *wire_id, data, last: *last },
        InFrame::Message { wire_id, data } => Seen::Data { wire_id: *wire_id, data, last: true },
        InFrame::Ping => Seen::Ping,
        InFrame::Pong => Seen::Pong,
        InFrame::Goodbye(reason) => Seen::Goodbye(reason),
        InFrame::Skip => Seen::Skipped,
    }
}

/// Back-pressure, for a channel that asked for it: waits for its protocol to read.
async fn wait_for_room(
    inboxes: &Inboxes,
    index: usize,
    message: Incoming,
    limit: Duration,
    ledger: &Ledger,
) -> Result<(), End> {
    // Given back however the wait ends.
    let mut claim = Claim::of(ledger, message.claimed);
    let deadline = tokio::time::sleep(limit);
    tokio::pin!(deadline);
    let mut waiting = message;
    loop {
        match inboxes.deliver(index, waiting) {
            Delivery::Full(back, _) => waiting = back,
            decided => {
                // The inbox has it, or gave it back.
                claim.hand_over();
                return if matches!(decided, Delivery::OverCap) { Err(over_cap()) } else { Ok(()) };
            }
        }
        tokio::select! {
            biased;
            () = inboxes.room() => {}
            () = &mut deadline => return Err(slow()),
        }
    }
}

/// The place of a wire's channel number, and the largest message accepted there.
fn find(peer: &Peer, wire_id: u64) -> Result<(usize, usize), End> {
    let layout = peer.inner.outgoing.layout();
    let found =
        layout.find(wire_id).and_then(|lane| Some((lane, layout.places().get(lane)?.spec.recv_limit)));
    found.ok_or_else(|| breach("unknown channel"))
}

fn breach(rule: &'static str) -> End {
    End { reason: Reason::Breach(rule), by: By::Us, detail: None }
}

fn over_cap() -> End {
    End { reason: Reason::MemoryCap, by: By::Us, detail: None }
}

fn slow() -> End {
    End { reason: Reason::SlowProtocol, by: By::Us, detail: None }
}

#[cfg(test)]
mod tests;
