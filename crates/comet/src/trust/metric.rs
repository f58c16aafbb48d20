//! The metric of one peer.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How much an interval counts against the one after it (tendermint p2p/trust/metric.go
/// `defaultHistoryDataWeight`).
const FADE: f64 = 0.8;
/// Terms of the history's sum; those left out weigh less than 10^-49 together.
const TERMS: usize = 512;
/// `FADE` to the power of 1 to [`TERMS`].
const WEIGHTS: [f64; TERMS] = weights();

/// What the metric is made of (tendermint p2p/trust/config.go).
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// What this interval counts.
    pub proportional: f64,
    /// What the intervals before it count.
    pub integral: f64,
    /// How far back is looked.
    pub window: Duration,
    /// How long an interval is.
    pub interval: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            proportional: 0.4,
            integral: 0.6,
            window: Duration::from_secs(14 * 86_400),
            interval: Duration::from_secs(60),
        }
    }
}

impl Config {
    /// Changes some of it.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Intervals in the window, at least one.
    fn max_intervals(&self) -> u32 {
        let intervals = self.window.as_nanos() / self.interval.as_nanos().max(1);
        u32::try_from(intervals).unwrap_or(u32::MAX).max(1)
    }
}

/// What is saved of a metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// Intervals that passed.
    pub intervals: u32,
    /// What they were worth, the newest last.
    pub history: Vec<f64>,
}

/// How reliable one peer has been.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    proportional: f64,
    integral: f64,
    max_intervals: u32,
    intervals: u32,
    history: Vec<f64>,
    history_value: f64,
    good: f64,
    bad: f64,
    paused: bool,
}

impl Metric {
    /// A peer nothing is known of: worth 1.0.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            proportional: config.proportional,
            integral: config.integral,
            max_intervals: config.max_intervals(),
            intervals: 0,
            history: Vec::new(),
            history_value: 1.0,
            good: 0.0,
            bad: 0.0,
            paused: false,
        }
    }

    /// A peer with a past. Numbers that no metric has are brought into range.
    #[must_use]
    pub fn with_history(config: &Config, saved: &History) -> Self {
        let mut metric = Self::new(config);
        let skip = saved.history.len().saturating_sub(metric.most_history());
        let legal = |value: &f64| if value.is_finite() { value.clamp(0.0, 1.0) } else { 0.0 };
        metric.history = saved.history.iter().skip(skip).map(legal).collect();
        // So many numbers tell no more than 2^n intervals.
        let told = if metric.history.is_empty() { 0 } else { 1_u32 << metric.history.len().min(31) };
        metric.intervals = saved.intervals.min(metric.max_intervals).min(told);
        metric.history_value = metric.fold_history();
        metric
    }

    /// What is to be saved.
    #[must_use]
    pub fn history(&self) -> History {
        History { intervals: self.intervals, history: self.history.clone() }
    }

    /// Something went as it should.
    pub fn good(&mut self, events: u32) {
        self.resume();
        self.good += f64::from(events);
    }

    /// Something did not.
    pub fn bad(&mut self, events: u32) {
        self.resume();
        self.bad += f64::from(events);
    }

    /// Nothing counts until the next event.
    pub fn pause(&mut self) {
        self.paused = true;
    }

    /// Whether the peer is away.
    #[must_use]
    pub fn paused(&self) -> bool {
        self.paused
    }

    /// What the peer is worth, 0.0 to 1.0.
    #[must_use]
    pub fn value(&self) -> f64 {
        let total = self.good + self.bad;
        let now = if total > 0.0 { self.good / total } else { 1.0 };
        let fall = (now - self.history_value).min(0.0);
        (self.proportional * now + self.integral * self.history_value + fall).max(0.0)
    }

    /// What it is worth in percent, rounded down.
    #[must_use]
    pub fn score(&self) -> u8 {
        (self.value() * 100.0).floor().clamp(0.0, 100.0) as u8
    }

    /// An interval is over.
    pub fn next_interval(&mut self) {
        if self.paused {
            return;
        }
        self.history.push(self.value());
        if self.history.len() > self.most_history() {
            self.history.remove(0);
        }
        self.intervals = (self.intervals + 1).min(self.max_intervals);
        self.blend();
        self.history_value = self.fold_history();
        (self.good, self.bad) = (0.0, 0.0);
    }

    fn resume(&mut self) {
        if self.paused {
            (self.good, self.bad) = (0.0, 0.0);
            self.paused = false;
        }
    }

    fn most_history(&self) -> usize {
        self.max_intervals.ilog2() as usize + 1
    }

    /// Each number takes over a part of the next newer one; the older it is, the smaller the part.
    fn blend(&mut self) {
        let mut newer = None;
        let mut spread = 1.0;
        for value in self.history.iter_mut().rev() {
            if let Some(newer) = newer {
                spread *= 2.0;
                *value = (*value * (spread - 1.0) + newer) / spread;
            }
            newer = Some(*value);
        }
    }

    fn fold_history(&self) -> f64 {
        if self.intervals == 0 {
            return 1.0;
        }
        let (mut sum, mut weights) = (0.0, 0.0);
        for (weight, i) in WEIGHTS.iter().zip(0..self.intervals) {
            let back = i.checked_ilog2().unwrap_or(0) as usize;
            sum += self.history.iter().rev().nth(back).copied().unwrap_or_default() * weight;
            weights += weight;
        }
        sum / weights
    }
}

/// Powers by squaring, so that they round as Go's `math.Pow` does.
#[allow(clippy::indexing_slicing)] // evaluated by the compiler
const fn weights() -> [f64; TERMS] {
    let mut out = [1.0; TERMS];
    let mut n = 0;
    while n < TERMS {
        let (mut power, mut base, mut rest) = (1.0, FADE, n + 1);
        while rest != 0 {
            if rest & 1 == 1 {
                power *= base;
            }
            base *= base;
            rest >>= 1;
        }
        out[n] = power;
        n += 1;
    }
    out
}
