//! A walk through a ledger that checks everything it can check by itself, for `fabric ledger DIR`.
//!
//! It checks that numbers have no holes, that each block can be read, has the data hash of its header and the hash of the block
//! before it, and that each private set has the hash its block names. Signatures are not checked: the policy at the time is not kept.
//!
//! [`Walk`] is an iterator over blocks, so a long ledger costs no memory; it ends at the end or after the first fault.

use super::error::LedgerError;
use super::types::BlockStore;
use crate::block::hash::Hash;
use crate::block::transaction::Transaction;
use crate::block::{Block, VerifyFault};
use crate::privdata::rwset;

/// Why a ledger is not whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalkFault {
    /// It cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A block that must be there is not.
    #[error("block {0} is missing")]
    Hole(u64),
    /// A block is not what it should be.
    #[error(transparent)]
    Block(#[from] VerifyFault),
    /// A private set is not the one its block names.
    #[error(
        "block {block}: the private set of {namespace}/{collection}, transaction {transaction}, is not the one it names"
    )]
    Private {
        /// Which block.
        block: u64,
        /// Which transaction.
        transaction: u64,
        /// Which namespace.
        namespace: String,
        /// Which collection.
        collection: String,
    },
}

/// What the walk tells of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The block.
    pub block: Block,
    /// Its header's hash.
    pub hash: Hash,
    /// Private sets stored with it.
    pub private: usize,
    /// Their bytes.
    pub private_bytes: usize,
}

/// A walk in progress.
pub struct Walk<'a> {
    store: &'a dyn BlockStore,
    next: u64,
    end: u64,
    before: Option<Hash>,
    chained: bool,
}

impl<'a> Walk<'a> {
    /// A walk through a whole ledger. Without `chained`, previous hashes are not checked: a node that verified nothing
    /// (`--verify-blocks none`) may hold blocks that do not chain.
    #[must_use]
    pub fn new(store: &'a dyn BlockStore, chained: bool) -> Self {
        Self { store, next: store.first(), end: store.height(), before: None, chained }
    }

    fn step(&mut self) -> Result<Report, WalkFault> {
        let number = self.next;
        let bytes = self.store.block(number)?.ok_or(WalkFault::Hole(number))?;
        let block = Block::decode(bytes).map_err(VerifyFault::Block)?;
        if block.number() != number {
            return Err(VerifyFault::Number { found: block.number(), announced: number }.into());
        }
        if self.chained {
            if block.data_hash() != block.stated_data_hash() {
                return Err(VerifyFault::DataHash(number).into());
            }
            if self.before.is_some_and(|before| before != block.previous_hash()) {
                return Err(VerifyFault::Chain(number).into());
            }
        }
        let hash = block.header_hash();
        self.before = Some(hash);
        let private = self.store.private_of(number)?;
        for (slot, set) in &private {
            let place = usize::try_from(slot.transaction).ok();
            let transaction = place.and_then(|place| block.transactions().get(place));
            let named =
                transaction.and_then(|envelope| Transaction::decode(envelope).ok()).is_some_and(|found| {
                    found.private.iter().any(|named| {
                        named.namespace == slot.namespace
                            && named.collection == slot.collection
                            && named.hash == rwset::hash(set)
                    })
                });
            if !named {
                let (namespace, collection) = (slot.namespace.clone(), slot.collection.clone());
                let transaction = slot.transaction;
                return Err(WalkFault::Private { block: number, transaction, namespace, collection });
            }
        }
        let private_bytes = private.iter().map(|(_, set)| set.len()).sum();
        Ok(Report { block, hash, private: private.len(), private_bytes })
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Report, WalkFault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.end {
            return None;
        }
        let step = self.step();
        self.next = if step.is_ok() { self.next + 1 } else { self.end };
        Some(step)
    }
}
