//! What went over each channel of a session: counted by the session's own tasks, read by whoever asks.
//!
//! There is one counter for each of messages and bytes, in and out. A message counts when its last part was handed over. No
//! call waits, and no message is kept. A channel has counters from its first message on.

use super::layout::Layout;
use crate::protocol::channel::ChannelId;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// The counters of a session's channels.
#[derive(Debug)]
pub(crate) struct Flows {
    layout: Arc<Layout>,
    counts: Box<[OnceLock<Box<Counts>>]>,
}

#[derive(Debug, Default)]
struct Counts {
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

/// One channel of a session, and what went over it so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flow<'a> {
    pub(crate) protocol: &'a str,
    pub(crate) channel: ChannelId,
    pub(crate) lane: usize,
    pub(crate) traffic: Traffic,
}

impl Flows {
    pub(crate) fn new(layout: Arc<Layout>) -> Self {
        let counts = layout.places().iter().map(|_| OnceLock::new()).collect();
        Self { layout, counts }
    }

    fn counts(&self, channel: usize) -> Option<&Counts> {
        self.counts.get(channel).map(|counts| &**counts.get_or_init(Box::default))
    }

    /// A message came on a channel, by its place in the layout.
    pub(crate) fn received(&self, channel: usize, bytes: usize) {
        let Some(Counts { inbound, .. }) = self.counts(channel) else { return };
        inbound.messages.fetch_add(1, Ordering::Relaxed);
        inbound.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Some of a message went out on a channel; `last` when that was the end of it.
    pub(crate) fn sent(&self, channel: usize, bytes: usize, last: bool) {
        let Some(Counts { outbound, .. }) = self.counts(channel) else { return };
        outbound.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if last {
            outbound.messages.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The channels with what went over each.
    pub(crate) fn all(&self) -> impl Iterator<Item = Flow<'_>> {
        self.layout.places().iter().zip(&self.counts).filter_map(|(place, counts)| {
            let protocol = &*self.layout.protocols().get(place.protocol)?.name;
            let traffic = counts.get().map_or_else(Traffic::default, |counts| {
                let (messages_in, bytes_in) = counts.inbound.read();
                let (messages_out, bytes_out) = counts.outbound.read();
                Traffic { messages_in, bytes_in, messages_out, bytes_out }
            });
            Some(Flow { protocol, channel: place.spec.id, lane: place.route.lane, traffic })
        })
    }
}
