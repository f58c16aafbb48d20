//! Watches CometBFT's own channels without decoding them: how much of what flows. Off unless registered.
//!
//! ```text
//! announces 0x20–0x23, 0x30, 0x38, 0x40, 0x60, 0x61 ─▶ nodes of the network keep us ─▶ messages and bytes, counted
//! ```
//! It claims no height, relays nothing, answers nothing, and dials nobody itself: it rides on sessions with peers that
//! the operator named, and takes one slot of each.
//!
//! Limits: a message as long as the channel allows is taken and thrown away; of those that wait, [`WINDOW`] bytes a
//! channel and peer, what comes beyond is dropped and counted by the session.

use crate::channels::{KNOWN, KnownChannel};
use crate::pex::message::CHANNEL as PEX;
use crate::wire::COMET;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use switchboard::service::{Service, ServiceContext, ServiceError};
use switchboard::{
    BoxFuture, ChannelIo, ChannelSpec, Overflow, Peer, Protocol, ProtocolError, ProtocolSpec, WireName,
};

/// Bytes that may wait in one channel's inbox, of one peer.
pub const WINDOW: usize = 64 << 10;
/// Name of the service and its protocol.
pub const NAME: &str = "monitor";

/// What came on one channel, from all peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// The channel.
    pub channel: &'static KnownChannel,
    /// Messages.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
}

#[derive(Debug, Default)]
struct Counts {
    rows: [(AtomicU64, AtomicU64); KNOWN.len()],
}

/// Counts what flows; clones share the counters.
#[derive(Debug, Clone, Default)]
pub struct Monitor {
    counts: Arc<Counts>,
}

/// The channels watched: all but the exchange, which has a protocol of its own.
fn watched() -> impl Iterator<Item = &'static KnownChannel> {
    KNOWN.iter().filter(|channel| channel.id != PEX)
}

impl Monitor {
    /// Nothing has come yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What came so far, by channel.
    #[must_use]
    pub fn flows(&self) -> Vec<Flow> {
        let rows = KNOWN.iter().zip(&self.counts.rows).filter(|(channel, _)| channel.id != PEX);
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        rows.map(|(channel, (messages, bytes))| Flow {
            channel,
            messages: count(messages),
            bytes: count(bytes),
        })
        .collect()
    }

    fn count(&self, id: u16, len: usize) {
        let mut rows = KNOWN.iter().zip(&self.counts.rows);
        if let Some((_, (messages, bytes))) = rows.find(|(channel, _)| u16::from(channel.id) == id) {
            messages.fetch_add(1, Ordering::Relaxed);
            bytes.fetch_add(len as u64, Ordering::Relaxed);
        }
    }
}

impl Protocol for Monitor {
    fn spec(&self) -> ProtocolSpec {
        let channel = |known: &KnownChannel| {
            ChannelSpec::new(known.id.into(), known.priority.into())
                .send_queue(1)
                .recv_limit_within(known.recv_limit, WINDOW)
                .overflow(Overflow::DropNew)
        };
        ProtocolSpec::new(NAME, 1, watched().map(channel).collect())
    }

    fn run(self: Arc<Self>, _: Peer, mut io: ChannelIo) -> BoxFuture<'static, Result<(), ProtocolError>> {
        Box::pin(async move {
            while let Some((channel, message)) = io.recv().await {
                self.count(channel.0, message.len());
            }
            Ok(())
        })
    }
}

impl Service for Monitor {
    fn name(&self) -> &str {
        NAME
    }

    fn protocol(&self) -> Option<(Arc<dyn Protocol>, Option<WireName>)> {
        Some((Arc::new(self.clone()), Some(COMET)))
    }

    fn figures(&self) -> Vec<(&'static str, String)> {
        let flows = self.flows().into_iter().filter(|flow| flow.messages > 0);
        flows
            .map(|flow| (flow.channel.name, format!("{} messages, {} bytes", flow.messages, flow.bytes)))
            .collect()
    }

    fn run(self: Arc<Self>, context: ServiceContext) -> BoxFuture<'static, Result<(), ServiceError>> {
        Box::pin(async move {
            context.stopping().await;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchboard::ChannelId;

    #[test]
    fn it_announces_all_but_the_exchange_and_counts_by_channel() {
        let monitor = Monitor::new();
        let channels = monitor.spec().channels;
        assert_eq!(channels.len(), KNOWN.len() - 1);
        assert!(channels.iter().all(|spec| spec.id != ChannelId(0) && spec.recv_window == WINDOW));
        monitor.count(0x22, 100);
        monitor.count(0x22, 11);
        monitor.count(0x70, 5);
        let flows = monitor.flows();
        let votes = flows.iter().find(|flow| flow.channel.id == 0x22).unwrap();
        assert_eq!((votes.messages, votes.bytes), (2, 111));
        assert_eq!(flows.iter().map(|flow| flow.messages).sum::<u64>(), 2);
        assert_eq!(Service::figures(&monitor), [("consensus_vote", "2 messages, 111 bytes".to_owned())]);
    }
}
