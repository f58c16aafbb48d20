//! The time, as the caller tells it: two clocks, since neither does the other's work.

use std::time::Duration;

/// What the clocks say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Since any fixed moment of this run; never goes back. Timeouts and intervals use it.
    pub mono: Duration,
    /// Seconds since 1970. Packets' expiration and what outlives a restart use it.
    pub unix: u64,
}

impl Now {
    /// Both clocks, so much later.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        let mono = self.mono.saturating_add(by);
        Self { mono, unix: self.unix.saturating_add(mono.as_secs().saturating_sub(self.mono.as_secs())) }
    }
}
