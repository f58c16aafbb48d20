//! One live session from its start to its end: its tasks, the first reason to end, the goodbye, and what is left.
//!
//! ```text
//!   socket ─▶ reader ─▶ reassembly ─▶ inboxes ─▶ protocol tasks ─▶ lanes ─▶ writer ─▶ socket
//!                └── ping ─▶ pong ──────────────────────────────────────────▲
//! ```
//!
//! Pings, pongs and goodbyes never pass through user code. The first reason to end counts; then the
//! goodbye is written (within [`Rules::goodbye_within`]; what was queued goes before it, for up to half of that time,
//! unless somebody is at fault), protocols get [`Rules::finish_within`] to finish, and every task ends. A session that ends
//! because it holds most of a full ledger gives its bytes back at once: its protocols read nothing more.
//!
//! Nothing here protects a protocol from messages it should not trust.

use super::inbox::Inboxes;
use super::ledger::Ledger;
use super::liveness::{LivenessWatch, Tick};
use super::outgoing::Outgoing;
use super::pace::Pace;
use super::pulse::Pulse;
use super::reader::{Intake, Reading, RecvLane};
use super::tap::Tap;
use super::writer::Writing;
use crate::event::{Event, Publisher};
use crate::id::PeerId;
use crate::protocol::io::ChannelIo;
use crate::protocol::{Protocol, ProtocolError};
use crate::reason::Reason;
use crate::switch::peer::{By, End, Peer};
use crate::text::printable;
use crate::wire::{Decoder, Encoder, ReadHalf, Rules, WhenDone, WriteHalf};
use bytes::BytesMut;
use std::num::NonZeroU64;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tracing::Instrument;

/// A protocol about to run.
pub(crate) struct Task {
    pub(crate) name: Arc<str>,
    pub(crate) protocol: Arc<dyn Protocol>,
    pub(crate) io: ChannelIo,
}

/// Everything a session runs on.
pub(crate) struct Parts {
    pub(crate) peer: Peer,
    pub(crate) encoder: Box<dyn Encoder>,
    pub(crate) decoder: Box<dyn Decoder>,
    pub(crate) reader: Box<dyn ReadHalf>,
    pub(crate) writer: Box<dyn WriteHalf>,
    pub(crate) leftover: BytesMut,
    pub(crate) rules: Rules,
    pub(crate) tasks: Vec<Task>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) rates: Rates,
    pub(crate) tap: Option<Arc<dyn Tap>>,
    pub(crate) events: Arc<Publisher>,
}

/// Bytes a second.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rates {
    pub(crate) send: Option<NonZeroU64>,
    pub(crate) recv: Option<NonZeroU64>,
}

/// The tasks of a session that has begun.
struct Running {
    peer: Peer,
    outgoing: Arc<Outgoing>,
    inboxes: Vec<Arc<Inboxes>>,
    pulse: Arc<Pulse>,
    ledger: Arc<Ledger>,
    protocols: JoinSet<(Arc<str>, Result<(), ProtocolError>)>,
    writing: Worker,
    reading: Worker,
    events: Arc<Publisher>,
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
pub(crate) struct EndsWith(pub(crate) Peer);

impl Drop for EndsWith {
    fn drop(&mut self) {
        let detail = Some("a task of the session failed".to_owned());
        self.0.end(End { reason: Reason::LocalFault, by: By::Us, detail });
    }
}

/// Says how a protocol ended with a peer, whatever ended it.
struct Told<'a> {
    name: &'a str,
    how: &'static str,
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        tracing::trace!(target: "switchboard::protocol", protocol = self.name, "{}", self.how);
    }
}

/// Runs a session to its end. The parts are boxed, as a future has room for its arguments until it ends, and they move into
/// their tasks at once.
pub(crate) async fn run(id: PeerId, parts: Box<Parts>) -> (PeerId, End) {
    let mut running = begin(*parts);
    let end = running.supervise().await;
    running.finish(&end).await;
    (id, end)
}

/// Starts the tasks.
fn begin(parts: Parts) -> Running {
    let Parts { peer, encoder, decoder, reader, writer, leftover, rules, tasks, ledger, .. } = parts;
    let Parts { rates, tap, events, .. } = parts;
    let outgoing = Arc::clone(&peer.inner.outgoing);
    let pulse = Arc::new(Pulse::new(peer.inner.since));
    let inboxes: Vec<_> = tasks.iter().map(|t| Arc::clone(&t.io.inboxes)).collect();
    let span = tracing::info_span!(target: "switchboard::session", "peer", id = %peer.id(), wire = peer.id().wire(),
        direction = peer.direction().as_str());
    let mut protocols = JoinSet::new();
    for Task { name, protocol, io } in prepare(&peer, tasks) {
        let (peer, inboxes) = (peer.clone(), Arc::clone(&io.inboxes));
        let runs = async move {
            tracing::trace!(target: "switchboard::protocol", protocol = &*name, "starts");
            let mut told = Told { name: &name, how: "failed: it panicked or was aborted" };
            let result = protocol.run(peer, io).await;
            told.how = if result.is_ok() { "returned" } else { "failed" };
            if let Err(error) = &result {
                let error = printable(&error.to_string());
                tracing::trace!(target: "switchboard::protocol", protocol = &*name, %error);
            }
            drop(told);
            inboxes.deafen();
            (name, result)
        };
        protocols.spawn(runs.instrument(span.clone()));
    }
    // Each task has one place for its state: it is used where the task captured it.
    let mut writing = Writing {
        peer: peer.clone(),
        outgoing: Arc::clone(&outgoing),
        encoder,
        writer,
        pace: Pace::new(rates.send),
        write_within: rules.write_within,
        tap: tap.clone(),
    };
    let mut reading = Reading {
        peer: peer.clone(),
        decoder,
        reader,
        intake: Intake::new(leftover, Instant::now()),
        lanes: outgoing.layout().places().iter().map(|_| RecvLane::default()).collect(),
        partials: 0,
        inboxes: inboxes.clone().into(),
        ledger: Arc::clone(&ledger),
        pace: Pace::new(rates.recv),
        pulse: Arc::clone(&pulse),
        incomplete: rules.incomplete,
        delivered: false,
        tap,
    };
    Running {
        peer,
        outgoing,
        inboxes,
        pulse,
        ledger,
        protocols,
        writing: Worker::spawn(async move { writing.run().await }.instrument(span.clone())),
        reading: Worker::spawn(async move { reading.run().await }.instrument(span)),
        events,
    }
}

impl Running {
    /// Waits for the first cause to end the session.
    async fn supervise(&mut self) -> End {
        let Self { peer, outgoing, pulse, ledger, protocols, events, .. } = self;
        let rules = outgoing.rules();
        let mut watch = LivenessWatch::new(rules.liveness, Instant::now());
        let none = protocols.is_empty();
        loop {
            tokio::select! {
                biased;
                end = peer.ended() => return end,
                Some(done) = protocols.join_next(), if !none => {
                    if let Some(end) = judge(done, rules.when_done, protocols.is_empty()) {
                        peer.end(end);
                    }
                }
                () = ledger.told() => {
                    let detail = Some("it held most of the node's ledger, which is full".to_owned());
                    peer.end(End { reason: Reason::MemoryCap, by: By::Us, detail });
                }
                () = outgoing.alarm.notified() => {
                    for (lane, waited) in outgoing.starving() {
                        let Some(channel) = peer.channel_of(lane) else { continue };
                        tracing::warn!(target: "switchboard::session", peer = %peer.id(), protocol = channel.0,
                            channel = channel.1.0, waited_ms = waited.as_millis() as u64, "a channel starves");
                        events.emit(&Event::ChannelStarved { peer: peer.clone(), channel, waited });
                    }
                }
                () = watch.wait() => {
                    let now = Instant::now();
                    match watch.tick(now, pulse.heard(now)) {
                        Tick::Nothing => {}
                        Tick::Ping => {
                            pulse.ping(now);
                            outgoing.ping();
                        }
                        Tick::Dead(reason) => {
                            let words = if reason == Reason::PongTimeout { "no answer to a ping" } else { "silence" };
                            peer.end(End { reason, by: By::Us, detail: Some(words.to_owned()) });
                        }
                    }
                }
            }
        }
    }

    /// Says goodbye, lets the protocols finish and ends every task.
    async fn finish(&mut self, end: &End) {
        let Self { peer, outgoing, inboxes, pulse, protocols, writing, reading, .. } = self;
        let rules = outgoing.rules();
        pulse.stop();
        let scarce = end.reason == Reason::MemoryCap;
        inboxes.iter().for_each(|inboxes| if scarce { inboxes.deafen() } else { inboxes.close() });
        if scarce {
            // Those who wait for a message hear that there will be none.
            inboxes.iter().for_each(|inboxes| inboxes.close());
        }
        outgoing.goodbye(end.reason.clone(), end.by == By::Us && !is_fault(&end.reason));
        let half = rules.goodbye_within / 2;
        let mut said = tokio::time::timeout(half, writing.done()).await;
        if said.is_err() {
            outgoing.cut();
            said = tokio::time::timeout(half, writing.done()).await;
        }
        if said.is_ok() && end.by == By::Us {
            let _ = tokio::time::timeout(rules.linger, reading.done()).await;
        }
        writing.end().await;
        reading.end().await;
        outgoing.abandon();
        let finish = async { while protocols.join_next().await.is_some() {} };
        if tokio::time::timeout(rules.finish_within, finish).await.is_err() {
            tracing::debug!(target: "switchboard::session", peer = %peer.id(), "a protocol did not finish in time: aborted");
            protocols.shutdown().await;
        }
        inboxes.iter().for_each(|inboxes| inboxes.deafen());
    }
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
    done: Result<(Arc<str>, Result<(), ProtocolError>), tokio::task::JoinError>,
    when: WhenDone,
    last: bool,
) -> Option<End> {
    let by = By::Us;
    match done {
        Ok((_, Ok(()) | Err(ProtocolError::Closed))) => {
            let ends = last || when == WhenDone::First;
            ends.then_some(End { reason: Reason::Quitting, by, detail: None })
        }
        Ok((name, Err(error))) => Some(End::from_protocol(&name, &error)),
        // A panic in one protocol ends this session only.
        Err(join) => {
            Some(End { reason: Reason::ProtocolError, by, detail: Some(printable(&join.to_string())) })
        }
    }
}

#[cfg(test)]
mod tests;
