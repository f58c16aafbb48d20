//! How fast a session may send and receive, in bytes a second.
//!
//! ```text
//!   moved n bytes ─▶ paid for until  max(paid, now − BURST) + n ÷ rate  ─▶ wait until then
//! ```
//! A pause of up to [`BURST`] is made up for. At most a tenth of a second's worth is moved at a time, so that goodbyes do
//! not wait long. A single frame may be larger; the wait for it comes afterwards. Pings and pongs never wait.
//! A limit on receiving leaves bytes in the socket, so that TCP slows the sender down. (The same limits as cometbft
//! libs/flowrate, by another method: no samples, no clock but ours.)

use std::num::NonZeroU64;
use std::time::Duration;
use tokio::time::Instant;

/// What may be made up for after a pause.
const BURST: Duration = Duration::from_millis(100);

/// One direction's pace; without a rate it never asks to wait.
#[derive(Debug)]
pub(crate) struct Pace {
    rate: Option<NonZeroU64>,
    paid: Option<Instant>,
}

impl Pace {
    pub(crate) fn new(rate: Option<NonZeroU64>) -> Self {
        Self { rate, paid: None }
    }

    /// Bytes to move at a time, up to `most`.
    pub(crate) fn step(&self, most: usize) -> usize {
        let tenth = |rate: NonZeroU64| usize::try_from(rate.get() / 10).unwrap_or(usize::MAX).max(1);
        self.rate.map_or(most, |rate| tenth(rate).min(most))
    }

    /// Counts bytes that were moved; says until when to wait, if at all.
    pub(crate) fn moved(&mut self, bytes: usize, now: Instant) -> Option<Instant> {
        let rate = self.rate?;
        let nanos = bytes as u128 * 1_000_000_000 / u128::from(rate.get());
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let from = self.paid.map_or(now, |paid| paid.max(earliest));
        // Beyond what the clock can tell, no more is added.
        let paid = from.checked_add(takes).unwrap_or(from);
        self.paid = Some(paid);
        (paid > now).then_some(paid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(rate: u64) -> Pace {
        Pace::new(NonZeroU64::new(rate))
    }

    #[test]
    fn no_rate_no_wait() {
        let mut pace = pace(0);
        assert_eq!(pace.moved(usize::MAX, Instant::now()), None);
        assert_eq!(pace.step(64), 64);
    }

    #[test]
    fn bytes_are_paid_for_at_the_rate() {
        let (mut pace, start) = (pace(1000), Instant::now());
        assert_eq!(pace.moved(500, start), Some(start + Duration::from_millis(500)));
        // More before it is paid for comes on top.
        assert_eq!(pace.moved(250, start), Some(start + Duration::from_millis(750)));
        let later = start + Duration::from_millis(750);
        assert_eq!(pace.moved(100, later), Some(later + Duration::from_millis(100)));
    }

    #[test]
    fn a_pause_is_made_up_for_up_to_the_burst() {
        let (mut pace, start) = (pace(1000), Instant::now());
        pace.moved(1, start);
        let later = start + Duration::from_secs(100);
        assert_eq!(pace.moved(100, later), None, "a burst of 0.1 s");
        assert_eq!(pace.moved(100, later), Some(later + Duration::from_millis(100)));
    }

    #[test]
    fn steps_are_small_and_never_nothing() {
        assert_eq!((pace(1).step(100), pace(1000).step(4096), pace(1 << 40).step(4096)), (1, 100, 4096));
    }

    #[test]
    fn absurd_numbers_do_not_overflow() {
        let mut pace = pace(1);
        for _ in 0..4 {
            let _ = pace.moved(usize::MAX, Instant::now());
        }
        let _ = self::pace(u64::MAX).moved(usize::MAX, Instant::now());
    }
}
