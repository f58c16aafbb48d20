//! What went over each channel of a session: counted by the session's own tasks, read by whoever asks.
//!
//! There is one counter for each of messages and bytes, in and out. A message counts when its last part was handed over. No
//! call waits, and no message is kept. A session shares few channels, so a scan is the fastest map.

use crate::protocol::channel::ChannelId;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One channel of one session.
#[derive(Debug)]
pub(crate) struct Flow {
    pub(crate) protocol: Arc<str>,
    pub(crate) channel: ChannelId,
    pub(crate) lane: usize,
    pub(crate) wire_id: u64,
    inbound: Count,
    outbound: Count,
}

#[derive(Debug, Default)]
struct Count {
    messages: AtomicU64,
    bytes: AtomicU64,
}

impl Count {
    fn read(&self) -> (u64, u64) {
        (self.messages.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

/// Messages and bytes of a channel, without the wire's framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Messages received.
    pub messages_in: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Messages sent.
    pub messages_out: u64,
    /// Bytes sent.
    pub bytes_out: u64,
}

impl std::ops::AddAssign for Traffic {
    fn add_assign(&mut self, more: Self) {
        self.messages_in += more.messages_in;
        self.bytes_in += more.bytes_in;
        self.messages_out += more.messages_out;
        self.bytes_out += more.bytes_out;
    }
}

impl Flow {
    pub(crate) fn new(protocol: Arc<str>, channel: ChannelId, lane: usize, wire_id: u64) -> Self {
        Self { protocol, channel, lane, wire_id, inbound: Count::default(), outbound: Count::default() }
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.inbound.messages.fetch_add(1, Ordering::Relaxed);
        self.inbound.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn sent(&self, bytes: usize, last: bool) {
        self.outbound.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if last {
            self.outbound.messages.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn traffic(&self) -> Traffic {
        let ((messages_in, bytes_in), (messages_out, bytes_out)) =
            (self.inbound.read(), self.outbound.read());
        Traffic { messages_in, bytes_in, messages_out, bytes_out }
    }
}
