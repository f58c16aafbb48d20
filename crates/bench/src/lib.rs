//! Measuring, the same for every wire: the `bench` protocol's plans, payloads, counting and driver.
//!
//! What the messages look like is the wire's matter (`interop/README.md`, "Protocol bench"); here is what
//! they have in common: which bytes are sent, how an echo series runs, what is counted and when clocks start.
//!
//! ```text
//!   run_echo   message 0 ▶ message 1 ▶ …   at most `in_flight` without a reply
//!              ◀ reply 0   ◀ reply 1       in order, each compared byte by byte
//!   run_bulk   message … message ▶ then "report?" ▶ ◀ Report   the clock stops when the report is here
//! ```
//!
//! Limits: one payload buffer of `size` + 64 KiB whatever the count ([`Messages`]), a fixed table for
//! latencies ([`Latencies`], each value to 1.6 %), `in_flight` start times. A reply or report that takes
//! more than [`PATIENCE`] ends the series with [`BenchError::Silence`].
//!
//! Does not protect from a peer that counts wrongly: a [`Report`] is the peer's word.

mod driven;

pub use driven::{Drive, Drivers, Ends};

use bytes::Bytes;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;
use switchboard::protocol::channel::ChannelId;
use switchboard::protocol::io::ChannelSender;
use switchboard::session::inbox::Inbox;
use switchboard::session::outgoing::SendError;
use tokio::time::Instant;

/// Longest wait for a reply or a report.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What the payload bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Payload {
    /// Bytes that do not compress, different from message to message.
    #[default]
    Random,
    /// Zeros: what a compressing wire makes of it shows.
    Zeros,
}

/// A series of echoes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct EchoPlan {
    /// Messages in all.
    pub count: u64,
    /// Bytes of each.
    pub size: usize,
    /// Messages without a reply at any moment (0 counts as 1).
    pub in_flight: usize,
}

impl EchoPlan {
    /// So many messages of this size, so many of them without a reply at any moment.
    #[must_use]
    pub const fn new(count: u64, size: usize, in_flight: usize) -> Self {
        Self { count, size, in_flight }
    }
}

/// A one-way flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BulkPlan {
    /// Bytes in all; the last message is shorter if they do not divide.
    pub bytes: u64,
    /// Bytes of a message (0 counts as 1).
    pub size: usize,
    /// What the bytes are.
    pub payload: Payload,
}

impl BulkPlan {
    /// So many bytes in messages of this size.
    #[must_use]
    pub const fn new(bytes: u64, size: usize, payload: Payload) -> Self {
        Self { bytes, size, payload }
    }

    /// How many messages the flow takes.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.bytes.div_ceil(self.size.max(1) as u64)
    }
}

/// Echoes at fixed times beside a one-way flow that keeps its channel full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct UrgentPlan {
    /// Echoes in all.
    pub count: u64,
    /// Bytes of each.
    pub size: usize,
    /// From one to the next.
    pub every: Duration,
    /// Bytes of each message of the flow.
    pub beside: usize,
}

impl UrgentPlan {
    /// So many echoes of this size, one in each such time, beside messages of `beside` bytes.
    #[must_use]
    pub const fn new(count: u64, size: usize, every: Duration, beside: usize) -> Self {
        Self { count, size, every, beside }
    }
}

/// What an echo series gave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EchoResult {
    /// Messages echoed.
    pub count: u64,
    /// Bytes of each.
    pub size: usize,
    /// From the first send to the last reply.
    pub seconds: f64,
    /// Messages a second.
    pub rate: f64,
    /// Median time from send to reply.
    pub p50_us: f64,
    /// 99 of 100 replies came within this time.
    pub p99_us: f64,
    /// The slowest reply.
    pub max_us: f64,
    /// 50 and 99 of 100 messages came to the other side within these times, where it says when they came ([`stamped`]).
    pub one_way_us: Option<(f64, f64)>,
}

/// What a one-way flow gave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BulkResult {
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Messages sent.
    pub sent_msgs: u64,
    /// What the peer says it counted; none on a wire that acknowledges the last message instead.
    pub report: Option<Report>,
    /// From the first send to the report's arrival.
    pub seconds: f64,
    /// 10^6 bytes a second over that time.
    pub mb_per_s: f64,
}

/// What the counting side saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Payload bytes.
    pub bytes: u64,
    /// Messages.
    pub messages: u64,
    /// From the first counted message to the request for the report.
    pub nanos: u64,
}

/// The counting side. The clock starts with the first message.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counter {
    bytes: u64,
    messages: u64,
    first: Option<Instant>,
}

impl Counter {
    /// Counts a message of `bytes` payload bytes.
    pub fn count(&mut self, bytes: usize) {
        self.first.get_or_insert_with(Instant::now);
        self.bytes = self.bytes.saturating_add(bytes as u64);
        self.messages = self.messages.saturating_add(1);
    }

    /// The report so far; counting starts over.
    pub fn take(&mut self) -> Report {
        let Self { bytes, messages, first } = std::mem::take(self);
        let nanos = first.map_or(0, |first| u64::try_from(first.elapsed().as_nanos()).unwrap_or(u64::MAX));
        Report { bytes, messages, nanos }
    }
}

/// Message `n` of a series, without copying: windows into one buffer that start 61 bytes apart, so that
/// 65,536 neighbours differ (from about 8 bytes of size on). The same size gives the same messages.
#[derive(Debug, Clone)]
pub struct Messages {
    buffer: Bytes,
    size: usize,
}

/// How far the windows of [`Messages`] move before they start over.
const WINDOW: usize = 1 << 16;

impl Messages {
    /// Messages of `size` bytes.
    #[must_use]
    pub fn new(size: usize, payload: Payload) -> Self {
        let buffer = match payload {
            Payload::Zeros => vec![0; size],
            Payload::Random => {
                let mut buffer = vec![0; size.saturating_add(WINDOW)];
                ChaCha20Rng::seed_from_u64(size as u64).fill_bytes(&mut buffer);
                buffer
            }
        };
        Self { buffer: buffer.into(), size }
    }

    /// The message with this number.
    #[must_use]
    pub fn get(&self, n: u64) -> Bytes {
        let room = self.buffer.len().saturating_sub(self.size);
        let start = if room == 0 { 0 } else { (n % WINDOW as u64) as usize * 61 % room };
        self.buffer.slice(start..start + self.size)
    }
}

/// Times, kept as counts in a fixed table: 64 steps to each power of two of nanoseconds.
#[derive(Debug, Clone)]
pub struct Latencies {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

/// Steps to a power of two, as a power of two.
const STEP_BITS: u32 = 6;

impl Default for Latencies {
    fn default() -> Self {
        Self { counts: vec![0; ((64 - STEP_BITS as usize) + 1) << STEP_BITS], total: 0, max: 0 }
    }
}

impl Latencies {
    /// Where a time is counted: exact below 64 ns, then by its highest seven bits.
    fn place(nanos: u64) -> usize {
        let shift = (64 - STEP_BITS - 1).saturating_sub(nanos.leading_zeros());
        ((shift as usize) << STEP_BITS) + (nanos >> shift) as usize
    }

    /// The largest time counted at a place.
    fn value(place: usize) -> u64 {
        let shift = (place >> STEP_BITS).saturating_sub(1) as u32;
        let steps = (place - ((shift as usize) << STEP_BITS)) as u64;
        ((u128::from(steps) + 1) << shift).saturating_sub(1).min(u128::from(u64::MAX)) as u64
    }

    /// Records one time.
    pub fn record(&mut self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get_mut(Self::place(nanos)) {
            *count += 1;
        }
        self.total += 1;
        self.max = self.max.max(nanos);
    }

    /// How many times were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.total
    }

    /// The time within which this share (0 … 1) of all lie, in microseconds; 0 when nothing was recorded.
    #[must_use]
    pub fn percentile_us(&self, share: f64) -> f64 {
        let wanted = ((self.total as f64 * share.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut seen = 0;
        for (place, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Self::value(place).min(self.max) as f64 / 1e3;
            }
        }
        self.max as f64 / 1e3
    }

    /// The longest, in microseconds.
    #[must_use]
    pub fn max_us(&self) -> f64 {
        self.max as f64 / 1e3
    }
}

/// Why a series gave no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// A reply is not what was sent.
    #[error("reply {number} differs from what was sent ({got} bytes for {sent})")]
    Differs {
        /// The message's number.
        number: u64,
        /// Bytes of the reply.
        got: usize,
        /// Bytes sent.
        sent: usize,
    },
    /// Nothing came in time.
    #[error("no answer for {} s", PATIENCE.as_secs())]
    Silence,
    /// The session ended first.
    #[error("the session ended before the series did")]
    Ended,
    /// A message could not be queued.
    #[error(transparent)]
    Send(#[from] SendError),
    /// An answer cannot be read; the text names the rule it breaks.
    #[error("the answer is malformed: {0}")]
    Malformed(&'static str),
    /// The wire's `bench` has no channel that goes before another.
    #[error("no channel of this wire's bench goes before another")]
    NothingUrgent,
}

/// Where a series' messages go. A wire that wraps payloads wraps them here.
pub trait Sink: Send {
    /// Sends one payload, waiting for room.
    fn send(&mut self, payload: Bytes) -> impl Future<Output = Result<(), BenchError>> + Send;
}

/// Where an echo series' replies come from. A wire that wraps payloads unwraps them here.
pub trait Source: Send {
    /// The next reply's payload. Safe to drop half-way.
    fn recv(&mut self) -> impl Future<Output = Result<Bytes, BenchError>> + Send;
}

/// A channel whose messages are the payloads as they stand.
impl Sink for (ChannelSender, ChannelId) {
    async fn send(&mut self, payload: Bytes) -> Result<(), BenchError> {
        Ok(self.0.send(self.1, payload).await?)
    }
}

/// An inbox whose messages are the payloads as they stand.
impl Source for Inbox {
    async fn recv(&mut self) -> Result<Bytes, BenchError> {
        Self::recv(self).await.ok_or(BenchError::Ended)
    }
}

/// What has come back of an echo series.
struct Replies<'a> {
    messages: &'a Messages,
    /// When those that are still out were sent.
    under_way: VecDeque<Instant>,
    taken: u64,
    latencies: Latencies,
}

impl Replies<'_> {
    fn take(&mut self, reply: &Bytes) -> Result<(), BenchError> {
        let sent = self.under_way.pop_front().ok_or(BenchError::Malformed("a reply nobody asked for"))?;
        self.latencies.record(sent.elapsed());
        let (number, expected) = (self.taken, self.messages.get(self.taken));
        if *reply != expected {
            return Err(BenchError::Differs { number, got: reply.len(), sent: expected.len() });
        }
        self.taken += 1;
        Ok(())
    }
}

async fn next(source: &mut impl Source) -> Result<Bytes, BenchError> {
    tokio::time::timeout(PATIENCE, source.recv()).await.map_err(|_| BenchError::Silence)?
}

/// Runs an echo series. Sending and receiving run side by side, so that full buffers on the way cannot block both.
///
/// # Errors
/// [`BenchError`]: the first thing that went wrong.
pub async fn run_echo(
    plan: EchoPlan,
    sink: &mut impl Sink,
    source: &mut impl Source,
) -> Result<EchoResult, BenchError> {
    let messages = Messages::new(plan.size, Payload::Random);
    let in_flight = u64::try_from(plan.in_flight.max(1)).unwrap_or(u64::MAX);
    let mut replies = Replies {
        messages: &messages,
        under_way: VecDeque::new(),
        taken: 0,
        latencies: Latencies::default(),
    };
    let begin = Instant::now();
    let mut sent = 0;
    while replies.taken < plan.count {
        // One future does both: two that woke each other would go through the runtime's queue every time.
        while sent < plan.count && sent - replies.taken < in_flight {
            replies.under_way.push_back(Instant::now());
            let mut sending = pin!(sink.send(messages.get(sent)));
            sent += 1;
            loop {
                tokio::select! {
                    biased;
                    done = &mut sending => break done?,
                    reply = next(source) => replies.take(&reply?)?,
                }
            }
        }
        replies.take(&next(source).await?)?;
    }
    let latencies = replies.latencies;
    let seconds = begin.elapsed().as_secs_f64();
    Ok(EchoResult {
        count: plan.count,
        size: plan.size,
        seconds,
        rate: per_second(plan.count as f64, seconds),
        p50_us: latencies.percentile_us(0.5),
        p99_us: latencies.percentile_us(0.99),
        max_us: latencies.max_us(),
        one_way_us: None,
    })
}

/// Sends a one-way flow, then awaits `report`, which asks for the peer's report, where the wire has one, and waits
/// for it.
/// (On a wire whose flow opens with a start message, send that before.)
///
/// # Errors
/// [`BenchError`]: the first thing that went wrong.
pub async fn run_bulk(
    plan: BulkPlan,
    sink: &mut impl Sink,
    report: impl Future<Output = Result<Option<Report>, BenchError>> + Send,
) -> Result<BulkResult, BenchError> {
    let size = plan.size.max(1);
    let messages = Messages::new(size, plan.payload);
    let sent_msgs = plan.messages();
    let begin = Instant::now();
    let mut left = plan.bytes;
    for n in 0..sent_msgs {
        let now = usize::try_from(left).unwrap_or(usize::MAX).min(size);
        sink.send(messages.get(n).split_to(now)).await?;
        left -= now as u64;
    }
    let report = tokio::time::timeout(PATIENCE, report).await.map_err(|_| BenchError::Silence)??;
    let seconds = begin.elapsed().as_secs_f64();
    let mb_per_s = per_second(plan.bytes as f64 / 1e6, seconds);
    Ok(BulkResult { sent_bytes: plan.bytes, sent_msgs, report, seconds, mb_per_s })
}

/// Runs echoes at their times while a flow keeps its channel full, until the last echo is back. A time is from the moment
/// an echo is due, so that one that could not even be sent counts, too.
///
/// # Errors
/// [`BenchError`]: the first thing that went wrong.
pub async fn run_urgent(
    plan: UrgentPlan,
    sink: &mut impl Sink,
    source: &mut impl Source,
    flow: &mut impl Sink,
) -> Result<EchoResult, BenchError> {
    let (small, large) =
        (Messages::new(plan.size, Payload::Random), Messages::new(plan.beside, Payload::Random));
    let begin = Instant::now();
    let filling = async {
        for n in 0.. {
            flow.send(large.get(n)).await?;
        }
        Ok::<_, BenchError>(())
    };
    let echoes = async {
        let (mut latencies, mut one_way) = (Latencies::default(), Latencies::default());
        let mut due = begin + FILLED;
        for n in 0..plan.count {
            tokio::time::sleep_until(due).await;
            let expected = to_stamp(&small.get(n));
            let due_at = wall().saturating_sub(nanos(due.elapsed()));
            sink.send(expected.clone()).await?;
            let reply = next(source).await?;
            latencies.record(due.elapsed());
            let (reply, came) = without_stamp(&reply);
            if reply != expected {
                return Err(BenchError::Differs { number: n, got: reply.len(), sent: expected.len() });
            }
            if came > 0 {
                one_way.record(Duration::from_nanos(came.saturating_sub(due_at)));
            }
            due = (due + plan.every).max(Instant::now());
        }
        Ok((latencies, one_way))
    };
    let (latencies, one_way) = tokio::select! {
        biased;
        done = echoes => done?,
        Err(error) = filling => return Err(error),
    };
    let seconds = begin.elapsed().as_secs_f64();
    Ok(EchoResult {
        count: plan.count,
        size: plan.size,
        seconds,
        rate: per_second(plan.count as f64, seconds),
        p50_us: latencies.percentile_us(0.5),
        p99_us: latencies.percentile_us(0.99),
        max_us: latencies.max_us(),
        one_way_us: (one_way.count() > 0).then(|| (one_way.percentile_us(0.5), one_way.percentile_us(0.99))),
    })
}

/// How a request begins whose echo says when it came: behind this, eight zeros become nanoseconds since 1970, big-endian.
const STAMP_ME: &[u8; 8] = b"stamp me";

/// The clock that two processes on one host share.
#[allow(clippy::disallowed_methods)] // each reads it at its own end, and the difference is what is measured
fn wall() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, nanos)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The echo of a payload that asks when it came; `None` for any other, which is echoed as it is.
#[must_use]
pub fn stamped(payload: &[u8]) -> Option<Bytes> {
    let rest = payload.strip_prefix(STAMP_ME)?.get(8..)?;
    Some([STAMP_ME.as_slice(), &wall().to_be_bytes(), rest].concat().into())
}

/// A payload that asks when it came, where it is long enough.
fn to_stamp(payload: &Bytes) -> Bytes {
    payload
        .get(16..)
        .map_or_else(|| payload.clone(), |rest| [STAMP_ME.as_slice(), &[0; 8], rest].concat().into())
}

/// A reply as it was sent, and when it came: 0 where that is not said.
fn without_stamp(reply: &Bytes) -> (Bytes, u64) {
    let stamp = reply.strip_prefix(STAMP_ME).and_then(|rest| rest.first_chunk::<8>());
    stamp.map_or_else(|| (reply.clone(), 0), |stamp| (to_stamp(reply), u64::from_be_bytes(*stamp)))
}

/// The flow has filled its channel by then.
const FILLED: Duration = Duration::from_millis(300);

/// A rate; 0 when no time passed.
fn per_second(amount: f64, seconds: f64) -> f64 {
    if seconds > 0.0 { amount / seconds } else { 0.0 }
}

#[cfg(test)]
mod tests;
