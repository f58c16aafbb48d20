//! When to ping and when to give up: a state machine over (now, last heard).
//!
//! ```text
//!   silence ─ ping_every ─▶ Ping ─ pong_within, nothing heard ─▶ Dead(PongTimeout)
//!           ─ idle_limit ──────────────────────────────────────▶ Dead(IdleTimeout)
//! ```
//!
//! Any bytes received after a ping answer it. Without rules it never wakes. The wire decides what a ping looks like. A peer
//! that answers pings may still be of no use.

use crate::reason::Reason;
use crate::wire::Liveness;
use std::time::Duration;
use tokio::time::Instant;

/// The session's marks are cut to this; what was heard in the step of a ping counts as its answer.
const CLOCK_STEP: Duration = Duration::from_micros(1);

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

    pub(crate) async fn wait(&self) {
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

#[cfg(test)]
mod tests;
