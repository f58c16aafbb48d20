//! What a link is like.

use std::time::Duration;

/// Bytes of one segment: the unit that is paced, lost and hashed.
pub const SEGMENT: usize = 16 * 1024;

/// One direction between two hosts. The default is perfect: no delay, no limit, no loss, 256 KiB of buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Link {
    /// Time a byte travels.
    pub latency: Duration,
    /// Up to this much is added to each segment's latency, evenly spread. A stream keeps its order, datagrams
    /// do not.
    pub jitter: Duration,
    /// Bytes a second, shared by all connections of this direction; `None` for no limit.
    pub bandwidth: Option<u64>,
    /// Segments lost, of a million. A stream loses nothing: each loss delays the segment, and all behind it,
    /// by a retransmission. A datagram that is lost is gone.
    pub loss: u32,
    /// Datagrams that arrive twice, of a million. Streams are never duplicated.
    pub duplicate: u32,
    /// Bytes of one connection that were written and not yet read. A writer waits beyond it, so one connection gets at
    /// most `buffer` bytes a latency.
    pub buffer: usize,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            bandwidth: None,
            loss: 0,
            duplicate: 0,
            buffer: 256 * 1024,
        }
    }
}

impl Link {
    /// A perfect link.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the latency.
    #[must_use]
    pub fn latency(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }

    /// Sets the jitter.
    #[must_use]
    pub fn jitter(mut self, jitter: Duration) -> Self {
        self.jitter = jitter;
        self
    }

    /// Limits the bytes a second (at least 1).
    #[must_use]
    pub fn bandwidth(mut self, bytes_per_second: u64) -> Self {
        self.bandwidth = Some(bytes_per_second.max(1));
        self
    }

    /// Sets the share of lost segments, of a million (at most half of them).
    #[must_use]
    pub fn loss(mut self, per_million: u32) -> Self {
        self.loss = per_million.min(500_000);
        self
    }

    /// Sets the share of datagrams that arrive twice, of a million.
    #[must_use]
    pub fn duplicate(mut self, per_million: u32) -> Self {
        self.duplicate = per_million.min(1_000_000);
        self
    }

    /// Sets the bytes of a connection that may be on their way (at least 1).
    #[must_use]
    pub fn buffer(mut self, bytes: usize) -> Self {
        self.buffer = bytes.max(1);
        self
    }

    /// How long a sender waits before it sends a lost segment again (a kernel waits 200 ms or more).
    pub(crate) fn retransmission(&self) -> Duration {
        (self.latency * 3).max(Duration::from_millis(200))
    }
}
