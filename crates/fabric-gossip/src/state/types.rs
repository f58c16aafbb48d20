//! What goes into state transfer and what comes out.

use crate::block::{Block, VerifyFault};
use crate::config;
use crate::signed::SignedMessage;
use crate::types::{PkiId, StreamId};
use bytes::Bytes;
use switchboard_fabric::message::Payload;

/// Blocks held or asked for ahead of the one that comes next: two commits, so that one fills while the other is written.
pub const WINDOW: u64 = 2_048;
/// Bytes of blocks held or asked for.
pub const MEMORY: usize = 64 << 20;
/// Batches asked of one peer at once.
pub const PER_PEER: usize = 4;
/// Peers whose heights are known.
pub const MAX_PEERS: usize = 4_096;
/// Batches that were given up and may still come.
pub const MAX_LATE: usize = 64;
/// Blocks of one commit. A commit waits for the disk twice, whatever it holds; catching up is as fast as it is large.
pub const COMMIT_GROUP: usize = 1_024;
/// Bytes of blocks of one commit, but for one block that is longer.
pub const COMMIT_BYTES: usize = 16 << 20;
/// How far behind a peer without state transfer is warned (fabric gossip/state/state.go, stragglerWarningThreshold).
pub const STRAGGLER: u64 = 100;

/// Options of a channel's state transfer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Options {
    /// `peer.gossip.state`.
    pub state: config::State,
    /// Whether this peer depends on others for blocks: leaders are elected, or it is not one.
    pub depends_on_peers: bool,
    /// `nonBlockingCommitMode`: blocks of the own source are refused, not waited with.
    pub non_blocking: bool,
}

impl Options {
    /// Changes some of it.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

/// Something that happened.
#[derive(Debug)]
pub enum Input {
    /// Time went by: see [`super::StateTransfer::deadline`].
    Tick,
    /// A live peer of the channel stated its height (StateInfo).
    Peer {
        /// Who.
        pki_id: PkiId,
        /// Blocks it holds.
        height: u64,
    },
    /// A peer is dead, or left the channel.
    PeerGone(PkiId),
    /// A block came by gossip.
    Gossiped {
        /// From whom.
        from: PkiId,
        /// The block.
        payload: Payload,
    },
    /// A block came from our own source: an orderer, or a folder.
    Offered(Block),
    /// A message with content `state_request` or `state_response` came.
    Message {
        /// From whom.
        from: PkiId,
        /// On which stream.
        stream: StreamId,
        /// The message.
        message: SignedMessage,
        /// Whether the sender satisfies the channel's readers policy.
        reader: bool,
    },
    /// A [`Action::Serve`] is done with, whatever came of it.
    Served,
    /// The blocks of an [`Action::Commit`] are stored.
    Committed,
    /// They could not be stored, none of them. They are asked for again.
    CommitFailed,
}

/// Something to do.
#[derive(Debug)]
pub enum Action {
    /// Send to a peer.
    Send {
        /// To whom.
        to: PkiId,
        /// What.
        message: SignedMessage,
    },
    /// Answer on a stream.
    Respond {
        /// Which.
        stream: StreamId,
        /// Whose it is.
        to: PkiId,
        /// What.
        message: SignedMessage,
    },
    /// Read blocks from the store, answer with [`super::answer`], then give [`Input::Served`].
    Serve(Serve),
    /// Store these blocks, in order; then give [`Input::Committed`] or [`Input::CommitFailed`]. There is one at a time.
    Commit(Vec<Ready>),
    /// Our height changed: tell it in StateInfo.
    Height(u64),
    /// There is room for blocks of our own source again, after [`Refused::Full`].
    Room,
    /// This peer falls behind and cannot catch up: state transfer is off, and it has no other source.
    Straggler {
        /// Our height.
        height: u64,
        /// A block that was gossiped.
        seen: u64,
    },
    /// Missing blocks could not be had; it is tried again after a while.
    Stalled {
        /// The block that is missing.
        next: u64,
        /// How often it was asked for.
        tries: u32,
    },
    /// Something was refused.
    Refused {
        /// Who sent it; `None` for our own source.
        from: Option<PkiId>,
        /// Why.
        why: Refused,
    },
}

/// A request to be answered from the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Serve {
    /// Who asked.
    pub to: PkiId,
    /// On which stream.
    pub stream: StreamId,
    /// The request's nonce.
    pub nonce: u64,
    /// First block.
    pub start: u64,
    /// Last block.
    pub end: u64,
}

/// A block to be committed.
#[derive(Debug, Clone)]
pub struct Ready {
    /// The block; checked, and following the one before.
    pub block: Block,
    /// Private data that came with it, not checked: items of `Payload.private_data`.
    pub private_data: Vec<Bytes>,
    /// Who sent it; `None` for our own source.
    pub from: Option<PkiId>,
}

/// Why something is refused. But for the last four, whoever sent it is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The message is of another channel.
    #[error("a message of another channel")]
    Channel,
    /// Neither a request nor a response, or with the wrong tag.
    #[error("not a state transfer message")]
    Content,
    /// The sender may not read the channel.
    #[error("the sender may not read the channel")]
    NotAReader,
    /// The request's end is before its start.
    #[error("blocks {start} to {end} are asked for, backwards")]
    Backwards {
        /// First.
        start: u64,
        /// Last.
        end: u64,
    },
    /// The request is for more than a batch.
    #[error("blocks {start} to {end} are asked for, a batch has {batch} and one")]
    TooMany {
        /// First.
        start: u64,
        /// Last.
        end: u64,
        /// Blocks of a batch.
        batch: u64,
    },
    /// The response answers nothing that this peer was asked.
    #[error("a response to nothing that was asked")]
    Unsolicited,
    /// The response holds nothing.
    #[error("an empty response")]
    Empty,
    /// The response holds a block that was not asked for.
    #[error("block {0} was not asked for")]
    NotAsked(u64),
    /// A message without a block.
    #[error("a payload without a block")]
    Absent,
    /// More private data than the block has transactions.
    #[error("block {0} with more private data than transactions")]
    PrivateData(u64),
    /// The block is not what it should be.
    #[error(transparent)]
    Block(#[from] VerifyFault),
    /// The block is stored or waits already.
    #[error("block {0} is known already")]
    Known(u64),
    /// The block is too far ahead.
    #[error("block {number} is too far ahead of height {height}")]
    Ahead {
        /// Its number.
        number: u64,
        /// Our height.
        height: u64,
    },
    /// There is no room: wait for [`Action::Room`] where it is our own source.
    #[error("no room for block {0}")]
    Full(u64),
    /// Too many requests wait.
    #[error("too many requests wait")]
    Busy,
}

/// What state transfer did, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Blocks stored.
    pub committed: u64,
    /// Batches asked for.
    pub asked: u64,
    /// Responses with at least one block that was of use.
    pub answered: u64,
    /// Batches that were not answered in time.
    pub late: u64,
    /// Requests answered.
    pub served: u64,
    /// Things refused.
    pub refused: u64,
    /// Most bytes held at a time.
    pub most_bytes: usize,
}
