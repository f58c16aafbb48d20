//! Rate limits in the manner of the Go code's flowrate: so many bytes a sample of 100 ms, and silence until
//! the next sample when they are used up.
//!
//! ```text
//! time    |0 ms ........... |100 ms .......... |200 ms …     clock rounded down to 20 ms
//! bytes   |≤ rate / 10      |≤ rate / 10       |
//! ```
//! (cometbft libs/flowrate/flowrate.go; `send_rate` and `recv_rate` in config/config.go)
//!
//! Pure: the caller gives the time since the session began, as a [`Duration`]. A rate of 0 means no limit.
//! Unused bytes of a sample are not saved up. A rate below 10 bytes a second still lets a byte a sample
//! through, so that nothing hangs.
//!
//! Two differences: what is counted here are bytes on the socket (frames), there bytes of
//! packets, so the same figure is some percent stricter here; and 0 is the default here, as TCP already
//! pushes back and limits on both sides of a link are known to upset each other.
//!
//! Not a protection from floods by itself: a limited reader only slows one session's socket.

use std::time::Duration;

/// A sample's length (flowrate's default sample rate).
pub const SAMPLE: Duration = Duration::from_millis(100);
/// The clock's step (flowrate/io.go `clockRate`).
pub const CLOCK_STEP: Duration = Duration::from_millis(20);
/// What the network's configuration files ask for by default, in bytes a second (cometbft config `send_rate`).
pub const NETWORK_DEFAULT: u64 = 5_120_000;

/// What may be moved now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowance {
    /// Up to so many bytes.
    Bytes(usize),
    /// Nothing before this time.
    NotBefore(Duration),
}

/// One direction's limit.
#[derive(Debug, Clone)]
pub struct FlowRate {
    rate: u64,
    sample_start: Duration,
    moved: u64,
}

impl FlowRate {
    /// A limit in bytes a second; 0 is none.
    #[must_use]
    pub fn new(rate: u64) -> Self {
        Self { rate, sample_start: Duration::ZERO, moved: 0 }
    }

    /// What may be moved at `now` out of `want` bytes.
    pub fn allowance(&mut self, now: Duration, want: usize) -> Allowance {
        if self.rate == 0 {
            return Allowance::Bytes(want);
        }
        self.roll(now);
        let left = self.per_sample().saturating_sub(self.moved);
        if left == 0 {
            return Allowance::NotBefore(self.sample_start.saturating_add(SAMPLE));
        }
        Allowance::Bytes(usize::try_from(left).unwrap_or(usize::MAX).min(want))
    }

    /// Counts bytes that were moved at `now`.
    pub fn moved(&mut self, now: Duration, bytes: usize) {
        if self.rate != 0 {
            self.roll(now);
            self.moved = self.moved.saturating_add(bytes as u64);
        }
    }

    fn per_sample(&self) -> u64 {
        (self.rate / 10).max(1)
    }

    /// Starts a new sample when the old one is over. Bytes moved beyond the limit are forgotten, as
    /// flowrate does: a batch may overshoot once.
    fn roll(&mut self, now: Duration) {
        let step = CLOCK_STEP.as_millis();
        let now = Duration::from_millis(u64::try_from(now.as_millis() / step * step).unwrap_or(u64::MAX));
        if now >= self.sample_start.saturating_add(SAMPLE) {
            self.sample_start = now;
            self.moved = 0;
        }
    }
}

#[cfg(test)]
mod tests;
