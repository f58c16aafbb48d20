//! What a ledger takes and gives.

use super::error::LedgerError;
use super::transient::Transient;
use crate::block::Block;
use crate::block::hash::Hash;
use bytes::Bytes;

/// How a new ledger begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// The number of its first block: 1 without a genesis block, 0 with one. An existing ledger keeps its own.
    pub first: u64,
}

impl Options {
    /// Changes some of it.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

impl Default for Options {
    fn default() -> Self {
        Self { first: 1 }
    }
}

/// The place of a private set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// Block.
    pub block: u64,
    /// Place of the transaction in the block.
    pub transaction: u64,
    /// Namespace: the chaincode.
    pub namespace: String,
    /// Collection.
    pub collection: String,
}

/// A private set that a block names and that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Where it belongs.
    pub slot: Slot,
    /// The transaction's id.
    pub tx_id: String,
    /// The hash that it must have.
    pub hash: Hash,
}

/// When the contents of a slot end: with the commit of this block (block-to-live).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    /// The block.
    pub at: u64,
    /// What ends.
    pub slot: Slot,
}

/// A block to be stored, with what belongs to it.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The block.
    pub block: Block,
    /// Private sets of its transactions.
    pub private: Vec<(Slot, Bytes)>,
    /// Private sets that are not to be had now.
    pub missing: Vec<Missing>,
    /// When slots end.
    pub expiry: Vec<Expiry>,
    /// Transactions whose entries in the transient store have served.
    pub served: Vec<String>,
}

impl Commit {
    /// A block without private data.
    #[must_use]
    pub fn of(block: Block) -> Self {
        let (private, missing, expiry, served) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { block, private, missing, expiry, served }
    }
}

/// A channel's ledger. Its methods may wait for the disk: call them where waiting is allowed.
pub trait BlockStore: Send + Sync {
    /// The number that comes next.
    fn height(&self) -> u64;

    /// The number of the first block.
    fn first(&self) -> u64;

    /// The header hash of the last block; `None` when there is none.
    fn tip(&self) -> Option<Hash>;

    /// Stores blocks that follow the last, in order; all of them or none. When it returns they are durable.
    ///
    /// # Errors
    /// [`LedgerError::Order`], [`LedgerError::Storage`]; nothing is stored then.
    fn append(&self, commits: &[Commit]) -> Result<(), LedgerError>;

    /// A block's bytes as they came.
    ///
    /// # Errors
    /// [`LedgerError::Storage`].
    fn block(&self, number: u64) -> Result<Option<Bytes>, LedgerError>;

    /// The blocks `from ..= to` that are there, in order, until `max_bytes` are reached; always the first of them.
    ///
    /// # Errors
    /// [`LedgerError::Storage`].
    fn range(&self, from: u64, to: u64, max_bytes: usize) -> Result<Vec<(u64, Bytes)>, LedgerError>;

    /// The private sets of a block.
    ///
    /// # Errors
    /// [`LedgerError::Storage`].
    fn private_of(&self, block: u64) -> Result<Vec<(Slot, Bytes)>, LedgerError>;

    /// Whether any of the blocks `from ..= to` may have private sets: spares looking at each.
    ///
    /// # Errors
    /// [`LedgerError::Storage`].
    fn has_private(&self, from: u64, to: u64) -> Result<bool, LedgerError> {
        let _ = (from, to);
        Ok(true)
    }

    /// What is missing in blocks below `below`, newest first, of at most `blocks` blocks.
    ///
    /// # Errors
    /// [`LedgerError::Storage`].
    fn missing(&self, below: u64, blocks: usize) -> Result<Vec<Missing>, LedgerError>;

    /// Fills slots that are missing; what is not missing or has another hash is passed over. Gives the slots filled.
    ///
    /// # Errors
    /// [`LedgerError::Storage`]; nothing is stored then.
    fn reconcile(&self, found: &[(Slot, Bytes)]) -> Result<Vec<Slot>, LedgerError>;

    /// Keeps a private set that has no block yet. One that is there already is kept once.
    ///
    /// # Errors
    /// [`LedgerError::Transient`], [`LedgerError::Storage`].
    fn put_transient(&self, entry: &Transient) -> Result<(), LedgerError>;

    /// The private sets kept for a transaction, in the order they came.
    ///
    /// # Errors
    /// [`LedgerError::Storage`].
    fn transient_of(&self, tx_id: &str) -> Result<Vec<Transient>, LedgerError>;

    /// Forgets what was put into the transient store below a height. Gives how many entries.
    ///
    /// # Errors
    /// [`LedgerError::Storage`].
    fn purge_transient(&self, below: u64) -> Result<usize, LedgerError>;

    /// Entries in the transient store.
    fn transient_len(&self) -> usize;
}
