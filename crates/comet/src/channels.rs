//! The channels of CometBFT's own reactors: names, priorities, limits.
//!
//! ```text
//! 0x00 pex    0x20 consensus state   0x21 consensus data   0x22 votes   0x23 vote set bits
//! 0x30 mempool   0x38 evidence   0x40 block sync   0x60 snapshots   0x61 chunks
//! ```
//! (cometbft v0.38, the `GetChannels` of each reactor)
//!
//! # A monitor
//! A node that only watches announces these channels, so that nodes of the network find one in common and keep it:
//! one `Protocol` a row, which receives and counts. It must not decode what it receives (the messages above
//! p2p differ between major versions), claims no height, relays nothing and answers nothing. What it costs
//! a peer is one slot, and the consensus messages that peer sends it, so it dials only whom the operator names and is
//! off by default. Its lanes stay empty; its inboxes hold as little as the row's `recv_limit` allows, and what does not
//! fit is dropped and counted, since a watcher has no one to answer to.

/// A channel as CometBFT 0.38 declares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownChannel {
    /// The channel byte.
    pub id: u8,
    /// What it is for; a name fit for metrics.
    pub name: &'static str,
    /// Its share when several channels have something to send.
    pub priority: u8,
    /// Messages that wait to be sent to one peer.
    pub send_queue: usize,
    /// Longest message, in bytes.
    pub recv_limit: usize,
    /// The protobuf message it carries.
    pub message: &'static str,
}

/// Longest consensus and evidence message (cometbft consensus/reactor.go, evidence/reactor.go `maxMsgSize`).
const MIB: usize = 1 << 20;

/// Every channel, by id.
pub const KNOWN: [KnownChannel; 10] = [
    channel(0x00, "pex", 1, 10, crate::pex::message::MAX_MESSAGE, "tendermint.p2p.Message"),
    channel(0x20, "consensus_state", 6, 100, MIB, "tendermint.consensus.Message"),
    channel(0x21, "consensus_data", 10, 100, MIB, "tendermint.consensus.Message"),
    channel(0x22, "consensus_vote", 7, 100, MIB, "tendermint.consensus.Message"),
    channel(0x23, "consensus_vote_set_bits", 1, 2, MIB, "tendermint.consensus.Message"),
    // A transaction of max_tx_bytes (1 MiB by default) inside two messages (mempool/reactor.go).
    channel(0x30, "mempool", 5, 1, MIB + 8, "tendermint.mempool.Message"),
    channel(0x38, "evidence", 6, 1, MIB, "tendermint.types.EvidenceList"),
    // The largest block, 100 MiB, and 5 bytes (blocksync/msgs.go).
    channel(0x40, "blocksync", 5, 1_000, 100 * MIB + 5, "tendermint.blocksync.Message"),
    channel(0x60, "statesync_snapshot", 5, 10, 4_000_000, "tendermint.statesync.Message"),
    channel(0x61, "statesync_chunk", 3, 10, 16_000_000, "tendermint.statesync.Message"),
];

const fn channel(
    id: u8,
    name: &'static str,
    priority: u8,
    send_queue: usize,
    recv_limit: usize,
    message: &'static str,
) -> KnownChannel {
    KnownChannel { id, name, priority, send_queue, recv_limit, message }
}

/// The channel with this byte, if it is one of CometBFT's own.
#[must_use]
pub fn known(id: u8) -> Option<&'static KnownChannel> {
    KNOWN.iter().find(|channel| channel.id == id)
}

/// The channel with this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static KnownChannel> {
    KNOWN.iter().find(|channel| channel.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node_info::MAX_CHANNELS;
    use crate::proto;

    #[test]
    fn each_id_and_name_once_and_all_fit_into_a_node_info() {
        assert!(KNOWN.len() <= MAX_CHANNELS);
        assert!(KNOWN.windows(2).all(|pair| pair[0].id < pair[1].id));
        for channel in &KNOWN {
            assert_eq!(known(channel.id), Some(channel));
            assert_eq!(named(channel.name), Some(channel));
            assert!(channel.priority > 0 && channel.send_queue > 0 && channel.recv_limit > 0);
        }
        assert_eq!((known(0x70), named("")), (None, None));
    }

    #[test]
    fn the_mempool_limit_is_one_transaction_in_its_messages() {
        let (mut txs, mut message) = (Vec::new(), Vec::new());
        proto::put_message_field(1, &vec![0; MIB], &mut txs);
        proto::put_message_field(1, &txs, &mut message);
        assert_eq!(known(0x30).unwrap().recv_limit, message.len());
    }
}
