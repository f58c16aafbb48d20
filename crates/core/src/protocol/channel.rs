//! A channel: one ordered flow of messages between two peers, with a priority, a bounded send queue and
//! a bounded inbox.
//!
//! ```text
//!   send ─▶ lane (send_queue messages) ─▶ wire ─▶ inbox (recv_window bytes) ─▶ recv
//! ```
//!
//! Limits: each is a field of [`ChannelSpec`]. A sender that reaches one gets a [`crate::SendError`]; on the receiving side
//! [`Overflow`] decides. The wire decides how a channel is numbered on it.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

/// A channel's number within its protocol. What it becomes on the wire (a message code, a channel
/// byte, a content number) is the wire's matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelId(pub u16);

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#04x}", self.0)
    }
}

/// What happens to a message whose channel inbox is full.
///
/// One byte stream carries all channels, so a full inbox can end in three ways only. The reader never
/// waits unless the protocol asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// End the session with [`crate::Reason::SlowProtocol`]. Nothing is lost unnoticed.
    Close,
    /// Drop the new message and count it.
    DropNew,
    /// Stop reading this session for up to the given time (all its channels wait, as TCP
    /// back-pressure), then close as [`Overflow::Close`] does.
    Wait(Duration),
}

/// What a protocol declares for one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelSpec {
    /// Number within the protocol.
    pub id: ChannelId,
    /// Weight in the scheduler: a channel of priority 10 gets ten times the bytes of one of priority 1.
    pub priority: NonZeroU32,
    /// Messages that may wait in the send queue of one peer.
    pub send_queue: usize,
    /// Largest message we accept, in bytes. A larger one is a breach and ends the session.
    pub recv_limit: usize,
    /// Bytes that may wait in the inbox of one peer; one message of any legal size always fits.
    pub recv_window: usize,
    /// What happens when the inbox is full.
    pub overflow: Overflow,
}

impl ChannelSpec {
    /// A channel with the given priority (0 counts as 1), a send queue of 64, messages of up to
    /// 1 MiB, an inbox of 4 MiB and [`Overflow::Close`].
    #[must_use]
    pub fn new(id: u16, priority: u32) -> Self {
        Self {
            id: ChannelId(id),
            priority: NonZeroU32::new(priority).unwrap_or(NonZeroU32::MIN),
            send_queue: 64,
            recv_limit: 1 << 20,
            recv_window: 4 << 20,
            overflow: Overflow::Close,
        }
    }

    /// Sets the send queue's length in messages (at least 1).
    #[must_use]
    pub fn send_queue(mut self, messages: usize) -> Self {
        self.send_queue = messages.max(1);
        self
    }

    /// Sets the largest accepted message; the inbox grows to twice that if it was smaller.
    #[must_use]
    pub fn recv_limit(mut self, bytes: usize) -> Self {
        self.recv_limit = bytes;
        self.recv_window = self.recv_window.max(bytes.saturating_mul(2));
        self
    }

    /// Sets the largest accepted message and the inbox's size, which may be smaller: a message larger than the
    /// inbox waits there alone.
    #[must_use]
    pub fn recv_limit_within(mut self, bytes: usize, window: usize) -> Self {
        (self.recv_limit, self.recv_window) = (bytes, window);
        self
    }

    /// Sets the inbox's size in bytes.
    #[must_use]
    pub fn recv_window(mut self, bytes: usize) -> Self {
        self.recv_window = bytes;
        self
    }

    /// Sets what happens when the inbox is full.
    #[must_use]
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }
}
