//! One live session: a reader, a writer, the protocols' tasks and a watch over liveness.
//!
//! ```text
//!   socket ─▶ reader ─▶ reassembly ─▶ inboxes ─▶ protocol tasks ─▶ lanes ─▶ writer ─▶ socket
//!                └── ping ─▶ pong ──────────────────────────────────────────▲
//! ```
//!
//! Pings, pongs and goodbyes never pass through user code. The first reason to end counts; then the
//! goodbye is written (within [`GOODBYE_LIMIT`]; what was queued goes before it, for up to half of that time,
//! unless somebody is at fault), protocols get [`PROTOCOL_GRACE`] to finish, and every task ends.
//!
//! Limits: per channel the receive limit and inbox window, per peer the ledger. Nothing here protects a
//! protocol from messages it should not trust.

use crate::net::{BoxRead, BoxWrite};
use crate::protocol::channel::{ChannelSpec, Overflow};
use crate::protocol::io::ChannelIo;
use crate::protocol::{Protocol, ProtocolError};
use crate::reason::Reason;
use crate::session::inbox::{Delivery, Inboxes};
use crate::session::ledger::Ledger;
use crate::session::outgoing::{BATCH_BYTES, Batch, Outgoing};
use crate::session::pace::Pace;
use crate::switch::peer::{By, End, Peer};
use crate::text::printable;
use crate::wire::{Decoder, Encoder, Fault, InFrame, Liveness, OutFrame};
use bytes::{Bytes, BytesMut};
use std::num::NonZeroU64;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

/// How long a write may make no progress (`go-ethereum p2p/server.go`, frameWriteTimeout).
const WRITE_LIMIT: Duration = Duration::from_secs(20);
/// How long the goodbye, with what is queued before it, may take (`go-ethereum p2p/transport.go`, discWriteTimeout).
pub const GOODBYE_LIMIT: Duration = Duration::from_secs(1);
/// How long protocols may take to finish once their inboxes are closed.
pub const PROTOCOL_GRACE: Duration = Duration::from_secs(3);
/// How long we keep reading after our goodbye, so that the peer reads it before the socket is reset.
const LINGER: Duration = Duration::from_millis(500);
/// How long a failed write waits for the reader to find the peer's goodbye, which tells more.
const LAST_WORDS: Duration = Duration::from_millis(250);
/// Room made for each read.
const READ_CHUNK: usize = 64 * 1024;
/// A write buffer larger than this is given back after use.
const KEEP_BUFFER: usize = 256 * 1024;

/// The session's marks are cut to this; what was heard in the step of a ping counts as its answer.
const CLOCK_STEP: Duration = Duration::from_micros(1);

/// One receiving channel of the session.
pub(crate) struct RecvLane {
    pub(crate) wire_id: u64,
    pub(crate) spec: ChannelSpec,
    pub(crate) inboxes: Arc<Inboxes>,
    /// Index of the channel in its protocol's inboxes.
    pub(crate) index: usize,
    pub(crate) partial: BytesMut,
}

/// A protocol about to run.
pub(crate) struct Task {
    pub(crate) name: String,
    pub(crate) protocol: Arc<dyn Protocol>,
    pub(crate) io: ChannelIo,
}

/// Everything a session runs on.
pub(crate) struct Parts {
    pub(crate) peer: Peer,
    pub(crate) encoder: Box<dyn Encoder>,
    pub(crate) decoder: Box<dyn Decoder>,
    pub(crate) reader: BoxRead,
    pub(crate) writer: BoxWrite,
    pub(crate) leftover: BytesMut,
    pub(crate) liveness: Liveness,
    pub(crate) lanes: Vec<RecvLane>,
    pub(crate) tasks: Vec<Task>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) rates: Rates,
}

/// Bytes a second.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rates {
    pub(crate) send: Option<NonZeroU64>,
    pub(crate) recv: Option<NonZeroU64>,
}

/// Marks of the session's clock, in microseconds since its start.
#[derive(Default)]
struct Pulse {
    heard: AtomicU64,
    pong: AtomicU64,
    /// The reader waits for a protocol of ours: the peer cannot be heard, which is not its fault.
    held: AtomicBool,
}

/// A task of the session; ends with it, whatever happens.
struct Worker(Option<JoinHandle<()>>);

impl Worker {
    fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Some(tokio::spawn(task)))
    }

    /// Waits for its end. May be dropped and called again.
    async fn done(&mut self) {
        if let Some(handle) = &mut self.0 {
            let _ = handle.await;
            self.0 = None;
        }
    }

    /// Ends it, and waits until it is gone.
    async fn end(&mut self) {
        if let Some(handle) = &self.0 {
            handle.abort();
        }
        self.done().await;
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(handle) = &self.0 {
            handle.abort();
        }
    }
}

/// Ends the session when a task of it is gone before the end was known: it panicked.
struct EndsWith(Peer);

impl Drop for EndsWith {
    fn drop(&mut self) {
        let detail = Some("a task of the session failed".to_owned());
        self.0.end(End { reason: Reason::LocalFault, by: By::Us, detail });
    }
}

/// Runs a session to its end.
pub(crate) async fn run(parts: Parts) -> End {
    let Parts { peer, encoder, decoder, reader, writer, leftover, liveness, lanes, tasks, ledger, rates } =
        parts;
    let (send_pace, recv_pace) = (Pace::new(rates.send), Pace::new(rates.recv));
    let outgoing = Arc::clone(&peer.inner.outgoing);
    let pulse = Arc::new(Pulse::default());
    let all_inboxes: Vec<_> = tasks.iter().map(|t| Arc::clone(&t.io.inboxes)).collect();

    let mut protocols = JoinSet::new();
    for Task { name, protocol, io } in prepare(&peer, tasks) {
        let (peer, inboxes) = (peer.clone(), Arc::clone(&io.inboxes));
        protocols.spawn(async move {
            let result = protocol.run(peer, io).await;
            inboxes.deafen();
            (name, result)
        });
    }
    let mut writing =
        Worker::spawn(write_loop(peer.clone(), Arc::clone(&outgoing), encoder, writer, send_pace));
    let reading = Reading {
        peer: peer.clone(),
        decoder,
        reader,
        buffer: leftover,
        lanes,
        ledger,
        waiting: 0,
        pace: recv_pace,
        pulse: Arc::clone(&pulse),
    };
    let mut reading = Worker::spawn(reading.run());

    let end = supervise(&peer, &outgoing, &mut protocols, liveness, &pulse).await;

    all_inboxes.iter().for_each(|inboxes| inboxes.close());
    outgoing.goodbye(end.reason.clone(), end.by == By::Us && !is_fault(&end.reason));
    let mut said = tokio::time::timeout(GOODBYE_LIMIT / 2, writing.done()).await;
    if said.is_err() {
        outgoing.cut();
        said = tokio::time::timeout(GOODBYE_LIMIT / 2, writing.done()).await;
    }
    if said.is_ok() && end.by == By::Us {
        let _ = tokio::time::timeout(LINGER, reading.done()).await;
    }
    writing.end().await;
    reading.end().await;
    outgoing.abandon();
    let finish = async { while protocols.join_next().await.is_some() {} };
    if tokio::time::timeout(PROTOCOL_GRACE, finish).await.is_err() {
        tracing::debug!(target: "switchboard::session", peer = %peer.id(), "a protocol did not finish in time: aborted");
        protocols.shutdown().await;
    }
    all_inboxes.iter().for_each(|inboxes| inboxes.deafen());
    end
}

/// Lets every protocol prepare the peer before any runs; none runs when one panics.
fn prepare(peer: &Peer, tasks: Vec<Task>) -> Vec<Task> {
    for Task { name, protocol, .. } in &tasks {
        if catch_unwind(AssertUnwindSafe(|| protocol.prepare(peer))).is_err() {
            let detail = Some(printable(&format!("{name}: panicked while it prepared the peer")));
            peer.end(End { reason: Reason::ProtocolError, by: By::Us, detail });
            return Vec::new();
        }
    }
    tasks
}

/// Waits for the first cause to end the session.
async fn supervise(
    peer: &Peer,
    outgoing: &Outgoing,
    protocols: &mut JoinSet<(String, Result<(), ProtocolError>)>,
    liveness: Liveness,
    pulse: &Pulse,
) -> End {
    let start = peer.inner.since;
    let mut watch = LivenessWatch::new(liveness, Instant::now());
    let none = protocols.is_empty();
    loop {
        tokio::select! {
            biased;
            end = peer.ended() => return end,
            Some(done) = protocols.join_next(), if !none => {
                if let Some(end) = judge(done, protocols.is_empty()) {
                    peer.end(end);
                }
            }
            () = watch.wait() => {
                let heard = match pulse.held.load(Ordering::Relaxed) {
                    true => Instant::now(),
                    false => start + Duration::from_micros(pulse.heard.load(Ordering::Relaxed)),
                };
                match watch.tick(Instant::now(), heard) {
                    Tick::Nothing => {}
                    Tick::Ping => {
                        // Measured from the first ping that is not answered yet.
                        let now = start.elapsed().as_micros() as u64 + 1;
                        let _ = pulse.pong.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
                        outgoing.ping();
                    }
                    Tick::Dead(reason) => peer.end(End { reason, by: By::Us, detail: None }),
                }
            }
        }
    }
}

/// Whether somebody is at fault: then nothing more is owed but the goodbye.
fn is_fault(reason: &Reason) -> bool {
    !matches!(
        reason,
        Reason::Requested
            | Reason::Quitting
            | Reason::TooManyPeers
            | Reason::AlreadyConnected
            | Reason::Useless
            | Reason::Incompatible(_)
    )
}

/// What the end of one protocol's task means for the session.
fn judge(
    done: Result<(String, Result<(), ProtocolError>), tokio::task::JoinError>,
    last: bool,
) -> Option<End> {
    let by = By::Us;
    match done {
        Ok((_, Ok(()) | Err(ProtocolError::Closed))) => {
            last.then_some(End { reason: Reason::Quitting, by, detail: None })
        }
        Ok((name, Err(error))) => Some(End::from_protocol(&name, &error)),
        // A panic in one protocol ends this session only.
        Err(join) => {
            Some(End { reason: Reason::ProtocolError, by, detail: Some(printable(&join.to_string())) })
        }
    }
}

/// What to do when the liveness timer fires.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Tick {
    Nothing,
    Ping,
    Dead(Reason),
}

/// When to ping and when to give up; a pure state machine but for `wait`.
pub(crate) struct LivenessWatch {
    rules: Liveness,
    next_ping: Option<Instant>,
    pinged: Option<Instant>,
    started: Instant,
    wake: Option<Instant>,
}

impl LivenessWatch {
    pub(crate) fn new(rules: Liveness, now: Instant) -> Self {
        let mut watch = Self {
            rules,
            next_ping: rules.ping_every.map(|d| now + d),
            pinged: None,
            started: now,
            wake: None,
        };
        watch.wake = watch.next_wake(now);
        watch
    }

    fn next_wake(&self, heard: Instant) -> Option<Instant> {
        let idle = self.rules.idle_limit.map(|d| heard.max(self.started) + d);
        let pong = self.pinged.and_then(|at| self.rules.pong_within.map(|d| at + d));
        [self.next_ping, idle, pong].into_iter().flatten().min()
    }

    async fn wait(&self) {
        match self.wake {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// `heard` is when the last byte came: any byte after a ping counts as its answer.
    pub(crate) fn tick(&mut self, now: Instant, heard: Instant) -> Tick {
        if self.pinged.is_some_and(|at| heard + CLOCK_STEP > at) {
            self.pinged = None;
        }
        let tick = if self.rules.idle_limit.is_some_and(|d| now >= heard.max(self.started) + d) {
            Tick::Dead(Reason::IdleTimeout)
        } else if self.pinged.zip(self.rules.pong_within).is_some_and(|(at, d)| now >= at + d) {
            Tick::Dead(Reason::PongTimeout)
        } else if self.next_ping.is_some_and(|at| now >= at) {
            self.next_ping = self.rules.ping_every.map(|d| now + d);
            self.pinged.get_or_insert(now);
            Tick::Ping
        } else {
            Tick::Nothing
        };
        self.wake = self.next_wake(heard);
        tick
    }
}

/// Empties the lanes into the socket until the goodbye is said or the socket fails.
async fn write_loop(
    peer: Peer,
    outgoing: Arc<Outgoing>,
    mut encoder: Box<dyn Encoder>,
    mut writer: BoxWrite,
    mut pace: Pace,
) {
    let _ends = EndsWith(peer.clone());
    let mut out = BytesMut::with_capacity(READ_CHUNK);
    let mut batch = Batch::default();
    // Until when messages wait for their turn; pings and pongs do not.
    let mut rest = None;
    loop {
        outgoing.fill(&mut batch, &*encoder, if rest.is_some() { 0 } else { pace.step(BATCH_BYTES) });
        if batch.is_empty() {
            let Some(until) = rest else {
                outgoing.wake.notified().await;
                continue;
            };
            tokio::select! {
                biased;
                // The goodbye, and what goes before it, is not held up.
                _ = peer.ended() => (pace, rest) = (Pace::new(None), None),
                () = tokio::time::sleep_until(until) => rest = None,
                () = outgoing.wake.notified() => {}
            }
            continue;
        }
        let encoded = encode(&mut batch, &outgoing, &mut *encoder, &mut out);
        let leaving = batch.control.goodbye.take().is_some();
        if let Err(error) = encoded {
            peer.end(End { reason: Reason::LocalFault, by: By::Us, detail: Some(error.to_string()) });
            break;
        }
        if let Err(error) = write_out(&mut writer, &out, &peer.inner.stats.bytes_out).await {
            if error.kind() == std::io::ErrorKind::TimedOut {
                peer.end(End { reason: Reason::WriteTimeout, by: By::Us, detail: None });
            } else {
                let _ = tokio::time::timeout(LAST_WORDS, peer.ended()).await;
                peer.end(broken(&error));
            }
            break;
        }
        rest = pace.moved(out.len(), Instant::now());
        if out.capacity() > KEEP_BUFFER {
            out = BytesMut::with_capacity(READ_CHUNK);
        }
        out.clear();
        if leaving {
            let _ = writer.shutdown().await;
            break;
        }
    }
}

/// Writes all of `out`; `TimedOut` when nothing went out for [`WRITE_LIMIT`].
async fn write_out(writer: &mut BoxWrite, out: &[u8], counter: &AtomicU64) -> std::io::Result<()> {
    let mut rest = out;
    while !rest.is_empty() {
        let n = tokio::time::timeout(WRITE_LIMIT, writer.write(rest)).await??;
        if n == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        counter.fetch_add(n as u64, Ordering::Relaxed);
        rest = rest.get(n..).unwrap_or_default();
    }
    tokio::time::timeout(WRITE_LIMIT, writer.flush()).await?
}

/// What a failed read or write says: the wire found the peer at fault, the peer is gone without a word, or the network
/// is to blame.
fn broken(error: &std::io::Error) -> End {
    if let Some(fault) = error.get_ref().and_then(|inner| inner.downcast_ref::<Fault>()) {
        return at_fault(fault);
    }
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let (reason, by) = match error.kind() {
        ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof => (Reason::RemoteClosed, By::Peer),
        _ => (Reason::NetworkError, By::Network),
    };
    End { reason, by, detail: Some(printable(&error.to_string())) }
}

fn encode(
    batch: &mut Batch,
    outgoing: &Outgoing,
    encoder: &mut dyn Encoder,
    out: &mut BytesMut,
) -> Result<(), crate::wire::EncodeError> {
    // Given back first: whatever becomes of the encoder, nothing stays on the ledger.
    batch.picks.iter().for_each(|pick| outgoing.sent(pick));
    if std::mem::take(&mut batch.control.pong) {
        encoder.encode(OutFrame::Pong, out)?;
    }
    if std::mem::take(&mut batch.control.ping) {
        encoder.encode(OutFrame::Ping, out)?;
    }
    for pick in batch.picks.drain(..) {
        encoder.encode(OutFrame::Data { wire_id: pick.wire_id, data: &pick.data, last: pick.last }, out)?;
    }
    if let Some(reason) = &batch.control.goodbye {
        encoder.encode(OutFrame::Goodbye(reason), out)?;
    }
    encoder.finish(out)
}

/// The reader's state.
struct Reading {
    peer: Peer,
    decoder: Box<dyn Decoder>,
    reader: BoxRead,
    buffer: BytesMut,
    lanes: Vec<RecvLane>,
    ledger: Arc<Ledger>,
    /// Bytes of an incomplete frame that are on the ledger.
    waiting: usize,
    pace: Pace,
    pulse: Arc<Pulse>,
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
    Wait { lane: usize, message: Bytes, limit: Duration },
}

impl Reading {
    async fn run(mut self) {
        let end = self.read_until_end().await;
        self.release();
        self.peer.end(end);
        // After the end only the peer's close matters: what still comes is thrown away, so that the
        // kernel does not answer our goodbye's acknowledgement with a reset.
        self.buffer.clear();
        while matches!(self.reader.read_buf(&mut self.buffer).await, Ok(n) if n > 0) {
            self.buffer.clear();
        }
    }

    /// Drops the messages that are not complete.
    fn release(&mut self) {
        let held: usize = self.lanes.iter_mut().map(|lane| std::mem::take(&mut lane.partial).len()).sum();
        self.ledger.give(held + std::mem::take(&mut self.waiting));
    }

    /// Puts what waits for the rest of its frame on the ledger, where it is more than any read leaves.
    fn account(&mut self) -> Result<(), End> {
        let waiting = if self.buffer.len() > READ_CHUNK { self.buffer.len() } else { 0 };
        if !self.ledger.try_take(waiting) {
            return Err(over_cap());
        }
        self.waiting = waiting;
        Ok(())
    }

    async fn read_until_end(&mut self) -> End {
        loop {
            // From here on a message that is whole is on the ledger as such.
            self.ledger.give(std::mem::take(&mut self.waiting));
            if let Err(end) = self.drain_buffer().await.and_then(|()| self.account()) {
                return end;
            }
            self.buffer.reserve(READ_CHUNK);
            let most = self.pace.step(usize::MAX) as u64;
            match (&mut self.reader).take(most).read_buf(&mut self.buffer).await {
                Ok(0) => return End { reason: Reason::RemoteClosed, by: By::Peer, detail: None },
                Ok(n) => {
                    self.peer.inner.stats.bytes_in.fetch_add(n as u64, Ordering::Relaxed);
                    self.heard();
                    if let Some(until) = self.pace.moved(n, Instant::now()) {
                        tokio::time::sleep_until(until).await;
                    }
                }
                Err(error) => return broken(&error),
            }
        }
    }

    /// Marks the peer as alive now.
    fn heard(&self) {
        let now = self.peer.inner.since.elapsed().as_micros() as u64;
        self.pulse.heard.store(now, Ordering::Relaxed);
    }

    /// Handles every whole frame in the buffer.
    async fn drain_buffer(&mut self) -> Result<(), End> {
        let mut pressed = false;
        while let Some(step) = self.next_step()? {
            match step {
                Step::Done => {}
                Step::Pressed => pressed = true,
                Step::Wait { lane, message, limit } => {
                    let Some(state) = self.lanes.get(lane) else { continue };
                    let (inboxes, index) = (Arc::clone(&state.inboxes), state.index);
                    self.pulse.held.store(true, Ordering::Relaxed);
                    let waited = wait_for_room(&inboxes, index, message, limit).await;
                    self.heard();
                    self.pulse.held.store(false, Ordering::Relaxed);
                    waited?;
                    self.peer.inner.stats.messages_in.fetch_add(1, Ordering::Relaxed);
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
        let frame = self.decoder.decode(&mut self.buffer).map_err(|fault| at_fault(&fault))?;
        let Some(frame) = frame else { return Ok(None) };
        let (lane, message) = match frame {
            InFrame::Part { wire_id, data, last } => {
                let lane = find(&self.lanes, wire_id)?;
                let Some(state) = self.lanes.get_mut(lane) else { return Ok(Some(Step::Done)) };
                if state.partial.len() + data.len() > state.spec.recv_limit {
                    return Err(breach("message over the channel's receive limit"));
                }
                if state.partial.is_empty() && last {
                    (lane, Bytes::copy_from_slice(data))
                } else {
                    if !self.ledger.try_take(data.len()) {
                        return Err(over_cap());
                    }
                    state.partial.extend_from_slice(data);
                    if !last {
                        return Ok(Some(Step::Done));
                    }
                    self.ledger.give(state.partial.len());
                    (lane, state.partial.split().freeze())
                }
            }
            InFrame::Message { wire_id, data } => {
                let lane = find(&self.lanes, wire_id)?;
                if self.lanes.get(lane).is_some_and(|l| data.len() > l.spec.recv_limit) {
                    return Err(breach("message over the channel's receive limit"));
                }
                (lane, data)
            }
            InFrame::Ping => {
                self.peer.inner.outgoing.pong();
                return Ok(Some(Step::Done));
            }
            InFrame::Pong => {
                let asked = self.pulse.pong.swap(0, Ordering::Relaxed);
                if asked > 0 {
                    let rtt = (self.peer.inner.since.elapsed().as_micros() as u64 + 1).saturating_sub(asked);
                    self.peer.inner.stats.rtt_us.store(rtt.max(1), Ordering::Relaxed);
                }
                return Ok(Some(Step::Done));
            }
            InFrame::Goodbye(reason) => return Err(End { reason, by: By::Peer, detail: None }),
            InFrame::Skip => return Ok(Some(Step::Done)),
        };
        self.deliver(lane, message).map(Some)
    }

    fn deliver(&self, lane: usize, message: Bytes) -> Result<Step, End> {
        let stats = &self.peer.inner.stats;
        let Some(state) = self.lanes.get(lane) else { return Ok(Step::Done) };
        match state.inboxes.deliver(state.index, message) {
            Delivery::Queued { pressed } => {
                stats.messages_in.fetch_add(1, Ordering::Relaxed);
                Ok(if pressed { Step::Pressed } else { Step::Done })
            }
            Delivery::Ignored => Ok(Step::Done),
            Delivery::OverCap => Err(over_cap()),
            Delivery::Full(message, Overflow::Wait(limit)) => Ok(Step::Wait { lane, message, limit }),
            Delivery::Full(_, Overflow::DropNew) => {
                if stats.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
                    tracing::warn!(target: "switchboard::session", peer = %self.peer.id(),
                        channel = %state.spec.id, "inbox full: dropping messages (told once a session)");
                }
                Ok(Step::Done)
            }
            Delivery::Full(_, Overflow::Close) => Err(slow()),
        }
    }
}

/// Back-pressure, for a channel that asked for it: waits for its protocol to read.
async fn wait_for_room(inboxes: &Inboxes, index: usize, message: Bytes, limit: Duration) -> Result<(), End> {
    let waiting = async {
        let mut message = message;
        loop {
            match inboxes.deliver(index, message) {
                Delivery::Full(back, _) => {
                    message = back;
                    inboxes.room().await;
                }
                Delivery::OverCap => return Err(over_cap()),
                Delivery::Queued { .. } | Delivery::Ignored => return Ok(()),
            }
        }
    };
    tokio::time::timeout(limit, waiting).await.unwrap_or_else(|_| Err(slow()))
}

/// The lane of a wire's channel number. Sessions share few channels, so a scan is the fastest map.
fn find(lanes: &[RecvLane], wire_id: u64) -> Result<usize, End> {
    lanes.iter().position(|lane| lane.wire_id == wire_id).ok_or_else(|| breach("unknown channel"))
}

fn at_fault(fault: &Fault) -> End {
    let detail = Some(printable(&fault.detail.to_string()));
    End { reason: fault.reason.clone(), by: By::Us, detail }
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
