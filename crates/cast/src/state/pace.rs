//! How many messages one peer may have looked at in a time: a bucket that fills by the clock.
//!
//! A message over the rate is not refused: the reader waits, and the peer with it.
//!
//! Limits: [`BURST`] at once, [`RATE`] a second after that.

use std::time::Duration;
use tokio::time::Instant;

/// Messages taken at once. A peer that names its ranges one by one needs many.
pub const BURST: u64 = 8_192;
/// Messages taken a second after that.
pub const RATE: u64 = 4_096;

/// One peer's bucket.
#[derive(Debug)]
pub(crate) struct Pace {
    /// When the bucket would be full again if nothing more came.
    full_at: Instant,
}

impl Pace {
    pub(crate) fn new(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// Counts a message of this cost (1 for a small one). `Some`: wait until then before the next.
    pub(crate) fn count(&mut self, cost: u64, now: Instant) -> Option<Instant> {
        let each = Duration::from_secs(1) / RATE as u32;
        self.full_at = self.full_at.max(now) + each * u32::try_from(cost).unwrap_or(u32::MAX);
        let free = self.full_at.checked_sub(each * BURST as u32)?;
        (free > now).then_some(free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_a_flood_waits() {
        let mut now = Instant::now() + Duration::from_secs(60);
        let mut pace = Pace::new(now);
        assert!((0..BURST).all(|_| pace.count(1, now).is_none()));
        // From then on as many as the rate lets through, in ten seconds of a flood.
        let (end, mut taken) = (now + Duration::from_secs(10), 0);
        while now < end {
            now = pace.count(1, now).unwrap_or(now);
            taken += 1;
        }
        assert!((10 * RATE - 1..=10 * RATE + 1).contains(&taken), "{taken}");
        now += Duration::from_secs(10);
        assert!((0..BURST).all(|_| pace.count(1, now).is_none()), "quiet fills it again");
        assert!(pace.count(u64::MAX, now).is_some());
    }
}
