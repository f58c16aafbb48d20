//! When a persistent peer is dialled again.
//!
//! ```text
//! lost ─▶ at once ─▶ 19 × 5 s ─▶ 5 s + 3 s ─▶ 3^2 s ─▶ 3^3 s ─▶ … ─▶ 3^10 s (16 h) ─▶ every 3^10 s, for ever
//!         each wait has a random part of up to 3 s on top
//! ```
//! (cometbft p2p/switch.go `reconnectToPeer`: `reconnectAttempts` 20, `reconnectInterval` 5 s,
//! `reconnectBackOffAttempts` 10, `reconnectBackOffBaseSeconds` 3, `dialRandomizerIntervalMilliseconds` 3,000)
//!
//! The Go code gives up at the end of its list, about a day after the peer was lost: [`Plan::give_up`]. Here that is not the
//! default: an operator who named a peer wants it back.
//!
//! Limits: none of these waits depends on anything a peer says.

use std::time::Duration;
use switchboard::preset::Redial;

/// Tries at short intervals.
pub const SHORT_TRIES: u32 = 20;
/// The short interval.
pub const SHORT_WAIT: Duration = Duration::from_secs(5);
/// Tries at growing intervals.
pub const LONG_TRIES: u32 = 10;
/// What the growing intervals grow by: the i-th is 3^i s.
pub const GROWTH: u64 = 3;
/// The random part of each wait, and the time within which the peers of a start are dialled.
pub const JITTER: Duration = Duration::from_secs(3);

/// What an operator may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Plan {
    /// Whether a peer is given up at the end of the list, as the Go code does.
    pub give_up: bool,
    /// No wait is longer than this, before the random part.
    pub most: Option<Duration>,
}

impl Plan {
    /// The waits, for the Switch.
    #[must_use]
    pub fn redial(&self) -> Redial {
        let bounded = |wait: Duration| self.most.map_or(wait, |most| wait.min(most));
        let grown = |i: u32| Duration::from_secs(GROWTH.pow(i));
        let short = (1..SHORT_TRIES).map(|_| SHORT_WAIT);
        // The last short wait and the first long one have no try between them.
        let joint = SHORT_WAIT + grown(1);
        let long = (2..=LONG_TRIES).map(grown);
        let waits = [Duration::ZERO].into_iter().chain(short).chain([joint]).chain(long).map(bounded);
        let redial = Redial::new(waits.collect(), bounded(grown(LONG_TRIES))).jitter(JITTER);
        if self.give_up { redial.then_never() } else { redial }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_the_documented_one() {
        let Redial { waits, jitter, after, .. } = Plan::default().redial();
        let seconds: Vec<_> = waits.iter().map(Duration::as_secs).collect();
        assert_eq!(seconds.len(), 30, "tries until the Go code gives up");
        assert_eq!(seconds[..21], [&[0][..], &[5; 19], &[8]].concat());
        assert_eq!(seconds[21..], [9, 27, 81, 243, 729, 2_187, 6_561, 19_683, 59_049]);
        // 24.6 hours of growing waits, as cometbft issue 3519 counts them.
        assert_eq!(seconds.iter().sum::<u64>() - 20 * 5, 88_572);
        assert_eq!((jitter, after), (JITTER, Some(Duration::from_secs(59_049))));
    }

    #[test]
    fn an_operator_may_bound_it_or_end_it() {
        let most = Some(Duration::from_secs(60));
        let Redial { waits, after, .. } = Plan { give_up: false, most }.redial();
        assert_eq!((waits.len(), waits.iter().max().copied(), after), (30, most, most));
        assert_eq!(Plan { give_up: true, most }.redial().after, None);
    }
}
