//! What goes into the private data of a channel and what comes out.

use super::policy::Subject;
use crate::config;
use crate::ledger::{Commit, Slot, Transient};
use crate::signed::SignedMessage;
use crate::state::Ready;
use crate::types::{PkiId, StreamId};
use bytes::Bytes;
use std::time::Duration;
use switchboard_fabric::message::{Acknowledgement, Content, GossipMessage, Tag};

/// Digests of a request that is answered; more is refused as a whole.
pub const MAX_DIGESTS: usize = 1_024;
/// Digests of a request that is sent.
pub(crate) const ASKED_AT_ONCE: usize = 256;
/// Pushes that wait for acknowledgements.
pub const MAX_PUSHES: usize = 256;
/// Requests that wait to be answered.
pub const MAX_REQUESTS: usize = 100;
/// Bytes of a response.
pub const MAX_ANSWER: usize = 32 << 20;
/// Peers of a channel that are known.
pub const MAX_PEERS: usize = 4_096;
/// How long the answer of a peer is waited for (fabric gossip/privdata/pull.go, responseWaitTime).
pub(crate) const RESPONSE_WAIT: Duration = Duration::from_secs(5);
/// How long it is rested when all were asked (fabric gossip/privdata/pvtdataprovider.go, pullRetrySleepInterval).
pub(crate) const RETRY_REST: Duration = Duration::from_secs(1);

/// Options of a channel's private data.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// `peer.gossip.pvtData`.
    pub pvt_data: config::PvtData,
    /// Who we are to collection policies.
    pub own: Subject,
}

impl Options {
    /// Fabric's defaults for this peer.
    #[must_use]
    pub fn new(own: Subject) -> Self {
        Self { pvt_data: config::PvtData::default(), own }
    }

    /// Changes some of it.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

/// Names a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PushId(pub u64);

/// Something that happened.
#[derive(Debug)]
pub enum Input {
    /// Time went by: see [`super::PrivateData::deadline`].
    Tick,
    /// A live peer of the channel, with its height as it states it.
    Peer {
        /// Who.
        pki_id: PkiId,
        /// Who it is to collection policies.
        subject: Subject,
        /// Blocks it holds.
        height: u64,
    },
    /// A peer is dead, or left the channel.
    PeerGone(PkiId),
    /// Blocks that state transfer wants committed. One group at a time.
    Blocks(Vec<Ready>),
    /// A message with content `private_data`, `privateReq` or `privateRes` came.
    Message {
        /// From whom.
        from: PkiId,
        /// On which stream.
        stream: StreamId,
        /// Who the sender is to collection policies.
        subject: Subject,
        /// The message.
        message: SignedMessage,
        /// Whether the sender satisfies the channel's readers policy.
        reader: bool,
    },
    /// An [`Action::SendWithAck`] came to its end.
    Acked {
        /// Which.
        ticket: u64,
        /// Whether it was acknowledged.
        result: Result<(), Unacked>,
    },
    /// A [`Action::Serve`] is done with, whatever came of it.
    Served,
}

/// Why a push was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unacked {
    /// The peer refused it, and said why (escaped).
    #[error("refused: {0}")]
    Refused(String),
    /// It could not be sent.
    #[error("not sent: {0}")]
    NotSent(String),
    /// Nothing came in time.
    #[error("no acknowledgement in time")]
    Timeout,
}

/// Where to send an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// The stream.
    pub stream: StreamId,
    /// Whose it is.
    pub to: PkiId,
    /// The nonce of what is acknowledged.
    pub nonce: u64,
}

/// A request to be answered from the store.
#[derive(Debug, Clone, PartialEq)]
pub struct Serve {
    /// Where the answer goes.
    pub reply: Reply,
    /// Who the asker is to collection policies.
    pub subject: Subject,
    /// What is asked for.
    pub digests: Vec<switchboard_fabric::message::PvtDataDigest>,
}

/// How a private set came to be here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A peer pushed it, or the own program gave it: it waits for its block.
    Pushed,
    /// It came with its block.
    WithBlock,
    /// It was in the transient store when its block came.
    Transient,
    /// A peer gave it when its block came.
    Pulled,
    /// A peer gave it later.
    Reconciled,
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
    /// Send under a fresh nonce and wait for the acknowledgement; then give [`Input::Acked`].
    SendWithAck {
        /// Names the result.
        ticket: u64,
        /// To whom.
        to: PkiId,
        /// What.
        message: SignedMessage,
        /// How long to wait.
        timeout: Duration,
    },
    /// Put into the transient store; where there is a reply, send [`ack`] there with what came of it.
    Keep {
        /// What.
        entry: Box<Transient>,
        /// Where to say so.
        reply: Option<Reply>,
    },
    /// Read from the store, answer with [`super::answer`], then give [`Input::Served`].
    Serve(Serve),
    /// Append to the ledger, then tell state transfer.
    Commit(Vec<Commit>),
    /// Fill slots of the ledger that are missing.
    Reconcile(Vec<(Slot, Bytes)>),
    /// Forget what came into the transient store below this height.
    Purge(u64),
    /// A push came to its end: acknowledgements of each collection, in the order they were given.
    Pushed {
        /// Which.
        push: PushId,
        /// What came of it.
        result: Result<Vec<usize>, PushFault>,
    },
    /// A private set is here.
    Here {
        /// The transaction's id; empty for what was reconciled.
        tx_id: String,
        /// Namespace: the chaincode.
        namespace: String,
        /// Collection.
        collection: String,
        /// Its block, where that is known.
        block: Option<u64>,
        /// How it came.
        source: Source,
    },
    /// Private data for blocks that are next was asked of peers, for so long.
    Pulled(Duration),
    /// The reconciler looked at all that is missing, in so much time.
    Reconciled(Duration),
    /// A block is committed without private sets that this peer should have.
    Missing {
        /// The block.
        block: u64,
        /// How many.
        count: usize,
    },
    /// Something was refused.
    Refused {
        /// Who sent it.
        from: PkiId,
        /// Why.
        why: Refused,
    },
}

/// Why something is refused. But for the last, whoever sent it is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The message is of another channel.
    #[error("a message of another channel")]
    Channel,
    /// No message of private data.
    #[error("not a message of private data")]
    Content,
    /// The sender may not read the channel.
    #[error("the sender may not read the channel")]
    NotAReader,
    /// A part that must be there is not.
    #[error("a message without {0}")]
    Absent(&'static str),
    /// A name that is too long.
    #[error("a name that is too long")]
    Name,
    /// The collection is not known here.
    #[error("collection {0:?} is not known here")]
    Collection(String),
    /// The sender may not have the collection's data.
    #[error("the sender is no member of collection {0:?}")]
    SenderNotEligible(String),
    /// We may not have it.
    #[error("this peer is no member of collection {0:?}")]
    WeAreNotEligible(String),
    /// Too many digests.
    #[error("{0} digests in one request")]
    Digests(usize),
    /// The response answers nothing that was asked.
    #[error("a response to nothing that was asked")]
    Unsolicited,
    /// An element that was not asked for.
    #[error("private data that was not asked for")]
    NotAsked,
    /// Data that has another hash than its block says.
    #[error("private data of {0:?} without the hash that its block names")]
    Hash(String),
    /// Too many requests wait.
    #[error("too many requests wait")]
    Busy,
}

/// Why private data was not pushed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PushFault {
    /// The collection is not known here.
    #[error("collection {0:?} is not known: give it with --collection")]
    Collection(String),
    /// Fewer peers may have it than must.
    #[error(
        "collection {collection:?} must reach {required} peers, and {eligible} that may have it are known"
    )]
    TooFew {
        /// Which.
        collection: String,
        /// How many must acknowledge.
        required: usize,
        /// How many there are.
        eligible: usize,
    },
    /// Fewer peers acknowledged than must.
    #[error(
        "collection {collection:?} must reach {required} peers, {acks} acknowledged; the last refusal: {last}"
    )]
    TooFewAcks {
        /// Which.
        collection: String,
        /// How many must acknowledge.
        required: usize,
        /// How many did.
        acks: usize,
        /// What the last that did not said (escaped).
        last: String,
    },
    /// Too many pushes wait.
    #[error("{MAX_PUSHES} pushes wait for acknowledgements")]
    Busy,
    /// Nothing was given.
    #[error("no private data")]
    Nothing,
}

/// What was done, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Pushes that reached as many peers as they must.
    pub pushed: u64,
    /// Private sets taken from pushes.
    pub received: u64,
    /// Private sets that peers gave when a block came.
    pub pulled: u64,
    /// Private sets that peers gave later.
    pub reconciled: u64,
    /// Private sets that blocks were committed without.
    pub missing: u64,
    /// Requests answered.
    pub served: u64,
    /// Things refused.
    pub refused: u64,
}

/// The acknowledgement of a pushed private set; `Err` says why it was not kept.
#[must_use]
pub fn ack(nonce: u64, result: Result<(), String>) -> SignedMessage {
    let content = Content::Ack(Acknowledgement { error: result.err().unwrap_or_default() });
    SignedMessage::unsigned(GossipMessage::new(Tag::Undefined, &[], nonce, content))
}
