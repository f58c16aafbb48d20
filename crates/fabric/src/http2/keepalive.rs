//! HTTP/2 pings that find out whether a silent peer is still there: how often, and how long an answer may take. The session
//! sends them, as it does every wire's.
//!
//! A Go peer ends a connection with ENHANCE_YOUR_CALM when pings come more often than each [`FLOOR`]
//! (fabric internal/pkg/comm/config.go, ServerMinInterval). So a shorter interval cannot be made.

use std::time::Duration;

/// Shortest time between two pings that a Go peer takes.
pub const FLOOR: Duration = Duration::from_secs(60);
/// How long an answer may take (fabric peer.keepalive.client.timeout).
const WITHIN: Duration = Duration::from_secs(20);

/// How often we ping, and how long the answer may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepAlive {
    every: Duration,
    within: Duration,
}

/// The interval or the time to answer cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeepAliveError {
    /// Peers would end the connection.
    #[error(
        "keepalive pings every {0:?} are too many: Fabric peers end connections that ping more often than each 60s"
    )]
    TooOften(Duration),
    /// Nothing could be answered.
    #[error("the time to answer a keepalive ping must be more than 0")]
    NoTime,
}

impl KeepAlive {
    /// A ping `every` so often (at least [`FLOOR`]), to be answered `within` that time (more than 0).
    ///
    /// # Errors
    /// [`KeepAliveError`].
    pub fn new(every: Duration, within: Duration) -> Result<Self, KeepAliveError> {
        if every < FLOOR {
            return Err(KeepAliveError::TooOften(every));
        }
        if within.is_zero() {
            return Err(KeepAliveError::NoTime);
        }
        Ok(Self { every, within })
    }

    /// Time between pings.
    #[must_use]
    pub fn every(&self) -> Duration {
        self.every
    }

    /// Time for the answer.
    #[must_use]
    pub fn within(&self) -> Duration {
        self.within
    }
}

impl Default for KeepAlive {
    /// Fabric's own: 60 s and 20 s (fabric core.yaml, peer.keepalive.client).
    fn default() -> Self {
        Self { every: FLOOR, within: WITHIN }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_holds() {
        let within = Duration::from_secs(1);
        assert!(KeepAlive::new(FLOOR, within).is_ok());
        let fast = FLOOR - Duration::from_millis(1);
        assert_eq!(KeepAlive::new(fast, within), Err(KeepAliveError::TooOften(fast)));
        assert_eq!(KeepAlive::new(FLOOR, Duration::ZERO), Err(KeepAliveError::NoTime));
        assert_eq!(KeepAlive::default(), KeepAlive::new(FLOOR, WITHIN).unwrap());
    }
}
