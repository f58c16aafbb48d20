//! A rate limit: so many at once, then one each so often. Pure: the caller says what time it is.

use std::time::Duration;

/// One rate. Two words of state, whatever the burst.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    every: Duration,
    slack: Duration,
    /// When everything taken so far would have been due at an even pace.
    due: Option<Duration>,
}

impl Pace {
    /// `burst` at once, then one each `every`.
    pub(crate) fn new(every: Duration, burst: u32) -> Self {
        Self { every, slack: every * burst.saturating_sub(1), due: None }
    }

    /// When the next may be taken; `None`: now.
    pub(crate) fn wait(&self, now: Duration) -> Option<Duration> {
        let free = self.due?.checked_sub(self.slack)?;
        (free > now).then_some(free)
    }

    /// Takes one, if one may be taken now.
    pub(crate) fn take(&mut self, now: Duration) -> bool {
        if self.wait(now).is_some() {
            return false;
        }
        let start = self.due.map_or(now, |due| due.max(now));
        self.due = Some(start + self.every);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_an_even_pace() {
        let start = Duration::from_secs(1000);
        let mut pace = Pace::new(Duration::from_millis(100), 3);
        assert_eq!((0..5).filter(|_| pace.take(start)).count(), 3);
        assert_eq!(pace.wait(start), Some(start + Duration::from_millis(100)));
        let later = start + Duration::from_millis(100);
        assert_eq!((0..5).filter(|_| pace.take(later)).count(), 1);
        let rested = start + Duration::from_secs(9);
        assert_eq!((0..5).filter(|_| pace.take(rested)).count(), 3);
    }
}
