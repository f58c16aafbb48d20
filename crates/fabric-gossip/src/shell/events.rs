//! What a program is told of a node's gossip and of its channels' ledgers.

use crate::actions::Event;
use crate::types::{Channel, PkiId};

/// What a program is told.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ShellEvent {
    /// What the state tells, but for what the shell handles itself.
    Gossip(Event),
    /// A block was stored, once a number.
    Block {
        /// Channel.
        channel: Channel,
        /// Its number.
        number: u64,
        /// SHA-256 of its bytes as they travel.
        sha256: [u8; 32],
    },
    /// What state transfer has to say.
    State {
        /// Channel.
        channel: Channel,
        /// What.
        said: StateSaid,
    },
    /// A private set came.
    PrivateData {
        /// Channel.
        channel: Channel,
        /// The transaction's id; empty for what was reconciled.
        tx_id: String,
        /// The chaincode.
        namespace: String,
        /// Collection.
        collection: String,
        /// Its block, where that is known.
        block: Option<u64>,
        /// How it came.
        source: crate::privdata::Source,
    },
    /// Private data of our own source was pushed, or could not be; then it is tried again.
    PrivatePushed {
        /// Channel.
        channel: Channel,
        /// The transaction's id; empty when the folder cannot be read.
        tx_id: String,
        /// The acknowledgements of each set, or why there were not enough.
        result: Result<Vec<usize>, String>,
    },
    /// The block source is of no use, as it stands.
    Source {
        /// Channel.
        channel: Channel,
        /// What is wrong, and what to change.
        why: String,
    },
}

/// What state transfer and private data have to say to an operator.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum StateSaid {
    /// This peer falls behind and cannot catch up.
    Straggler {
        /// Our height.
        height: u64,
        /// A block that was gossiped.
        seen: u64,
    },
    /// Missing blocks could not be had; it is tried again.
    Stalled {
        /// The block that is missing.
        next: u64,
    },
    /// Something was refused (escaped).
    Refused {
        /// Who sent it; `None` for our own source.
        from: Option<PkiId>,
        /// Why.
        why: String,
    },
    /// The ledger could not be written or read.
    Ledger(String),
    /// A block is committed without private sets that this peer should have.
    Missing {
        /// The block.
        block: u64,
        /// How many.
        count: usize,
    },
}
