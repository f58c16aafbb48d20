//! Marks that the tasks of one session leave for each other: when the peer was last heard, which ping is out, and
//! whether the reader should stop.
//!
//! Marks are microseconds since the session's start. Nothing here waits.

use crate::switch::peer::Peer;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;
use tokio::time::Instant;

/// The marks of one session.
#[derive(Debug)]
pub(crate) struct Pulse {
    start: Instant,
    heard: AtomicU64,
    ping: AtomicU64,
    held: AtomicBool,
    over: AtomicBool,
    reader: Mutex<Option<Waker>>,
}

impl Pulse {
    pub(crate) fn new(start: Instant) -> Self {
        Self {
            start,
            heard: AtomicU64::new(0),
            ping: AtomicU64::new(0),
            held: AtomicBool::new(false),
            over: AtomicBool::new(false),
            reader: Mutex::new(None),
        }
    }

    fn mark(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.start).as_micros() as u64
    }

    /// The peer was heard.
    pub(crate) fn hear(&self, at: Instant) {
        self.heard.store(self.mark(at), Ordering::Relaxed);
    }

    /// When the peer was last heard; now, while the reader waits for a protocol of ours: that the peer cannot be heard is
    /// not its fault.
    pub(crate) fn heard(&self, now: Instant) -> Instant {
        match self.held.load(Ordering::Relaxed) {
            true => now,
            false => self.start + Duration::from_micros(self.heard.load(Ordering::Relaxed)),
        }
    }

    /// The reader waits for a protocol of ours, or no longer.
    pub(crate) fn hold(&self, held: bool) {
        self.held.store(held, Ordering::Relaxed);
    }

    /// A ping goes out. The round trip is measured from the first that is not answered yet.
    pub(crate) fn ping(&self, now: Instant) {
        let _ = self.ping.compare_exchange(0, self.mark(now) + 1, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// A pong came: notes the round trip, if we asked.
    pub(crate) fn pong(&self, now: Instant, peer: &Peer) {
        let asked = self.ping.swap(0, Ordering::Relaxed);
        if asked > 0 {
            let rtt = (self.mark(now) + 1).saturating_sub(asked);
            peer.inner.stats.rtt_us.store(rtt.max(1), Ordering::Relaxed);
        }
    }

    /// The session is over: the reader keeps nothing from now on.
    pub(crate) fn stop(&self) {
        self.over.store(true, Ordering::SeqCst);
        if let Some(reader) = self.reader.lock().take() {
            reader.wake();
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// The reader is about to wait: [`Pulse::stop`] wakes it. Whether it was stopped in between.
    pub(crate) fn waits(&self, cx: &Context<'_>) -> bool {
        let mut reader = self.reader.lock();
        if reader.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            *reader = Some(cx.waker().clone());
        }
        drop(reader);
        self.is_over()
    }
}
