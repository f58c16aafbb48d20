//! What private data blocks need, and where of it is at hand.
//!
//! ```text
//!   block ─▶ transactions that wrote to collections ─▶ of each: known collection? are we a member?
//!     member      came with the block and has the hash ─▶ or in the transient store ─▶ else wanted of peers
//!     no member   missing: reconciled if we become one
//! ```
//! (fabric gossip/privdata/pvtdataprovider.go)

use super::collections::Collections;
use super::fetch::Want;
use super::policy::Subject;
use super::rwset::{self, TxPrivate};
use super::types::Source;
use crate::block::transaction::Transaction;
use crate::ledger::{BlockStore, Commit, Expiry, LedgerError, Missing, Slot};
use crate::state::Ready;
use crate::types::PkiId;
use bytes::Bytes;
use prost::Message;
use std::collections::BTreeMap;
use switchboard_fabric::identity;
use switchboard_fabric::message::SerializedIdentity;

/// Blocks with their private data.
#[derive(Debug)]
pub(crate) struct Gathered {
    /// What is to be committed, in order.
    pub(crate) commits: Vec<Commit>,
    /// How many private sets each block is committed without.
    pub(crate) missing: BTreeMap<u64, usize>,
    /// What came, and how.
    pub(crate) here: Vec<(Slot, String, Source)>,
}

/// Blocks on their way to the ledger.
#[derive(Debug)]
pub(crate) struct Gathering {
    commits: Vec<Commit>,
    /// The place in `commits` of each block.
    place: BTreeMap<u64, usize>,
    /// What we should have and do not.
    pub(crate) wanted: BTreeMap<Slot, Want>,
    /// What came, and how.
    pub(crate) here: Vec<(Slot, String, Source)>,
}

fn pki_id(serialized: &Bytes) -> Option<PkiId> {
    let identity = SerializedIdentity::decode(serialized.clone()).ok()?;
    Some(PkiId(identity::pki_id(&identity.mspid, &identity.id_bytes)))
}

/// The private sets that came with a block, by slot; what cannot be read is passed over.
fn came_with(ready: &Ready) -> BTreeMap<Slot, Bytes> {
    let mut found = BTreeMap::new();
    for item in ready.private_data.iter().filter_map(|item| TxPrivate::decode(item).ok()) {
        for set in item.sets {
            let (block, transaction) = (ready.block.number(), item.seq_in_block);
            let slot = Slot { block, transaction, namespace: set.namespace, collection: set.collection };
            found.insert(slot, set.rwset);
        }
    }
    found
}

impl Gathering {
    /// Finds out what blocks need; takes what is at hand. `skip_invalid`: what invalid transactions wrote is not asked of peers.
    pub(crate) fn of(
        blocks: Vec<Ready>,
        collections: &Collections,
        own: &Subject,
        skip_invalid: bool,
        store: &dyn BlockStore,
    ) -> Result<Self, LedgerError> {
        let (commits, here) = (Vec::with_capacity(blocks.len()), Vec::new());
        let mut gathering = Self { commits, place: BTreeMap::new(), wanted: BTreeMap::new(), here };
        for ready in blocks {
            gathering.block(ready, collections, own, skip_invalid, store)?;
        }
        Ok(gathering)
    }

    fn block(
        &mut self,
        ready: Ready,
        collections: &Collections,
        own: &Subject,
        skip_invalid: bool,
        store: &dyn BlockStore,
    ) -> Result<(), LedgerError> {
        let mut at_hand = came_with(&ready);
        let block = ready.block.number();
        let mut commit = Commit::of(ready.block.clone());
        for (transaction, envelope) in ready.block.transactions().iter().enumerate() {
            // What is not understood names no private data.
            let Ok(found) = Transaction::decode(envelope) else { continue };
            if found.private.is_empty() {
                continue;
            }
            let endorsers: Vec<_> = found.endorsers.iter().filter_map(pki_id).collect();
            let invalid = ready.block.is_valid(transaction) == Some(false);
            let mut transient = None;
            for private in found.private {
                let (namespace, collection) = (private.namespace, private.collection);
                let known = collections.get(&namespace, &collection);
                let slot = Slot { block, transaction: transaction as u64, namespace, collection };
                if let Some(at) = known.as_ref().and_then(|collection| collection.ends_at(block)) {
                    commit.expiry.push(Expiry { at, slot: slot.clone() });
                }
                let Some(known) = known.filter(|known| known.admits(own)) else {
                    commit.missing.push(Missing { slot, tx_id: found.tx_id.clone(), hash: private.hash });
                    continue;
                };
                if let Some(set) = at_hand.remove(&slot).filter(|set| rwset::hash(set) == private.hash) {
                    self.here.push((slot.clone(), found.tx_id.clone(), Source::WithBlock));
                    commit.private.push((slot, set));
                    continue;
                }
                if transient.is_none() {
                    transient = Some(store.transient_of(&found.tx_id)?);
                }
                let kept = transient.iter().flatten().find(|kept| {
                    kept.namespace == slot.namespace
                        && kept.collection == slot.collection
                        && rwset::hash(&kept.rwset) == private.hash
                });
                if let Some(kept) = kept {
                    self.here.push((slot.clone(), found.tx_id.clone(), Source::Transient));
                    commit.private.push((slot, kept.rwset.clone()));
                } else if invalid && skip_invalid {
                    commit.missing.push(Missing { slot, tx_id: found.tx_id.clone(), hash: private.hash });
                } else {
                    let (tx_id, hash, endorsers) = (found.tx_id.clone(), private.hash, endorsers.clone());
                    let want = Want { slot: slot.clone(), tx_id, hash, collection: known, endorsers };
                    self.wanted.insert(slot, want);
                }
            }
            commit.served.push(found.tx_id);
        }
        self.place.insert(block, self.commits.len());
        self.commits.push(commit);
        Ok(())
    }

    /// Takes what peers gave; its hashes are checked.
    pub(crate) fn take(&mut self, found: Vec<(Slot, Bytes)>) -> usize {
        let mut count = 0;
        for (slot, set) in found {
            let Some(want) = self.wanted.remove(&slot) else { continue };
            if let Some(commit) = self.place.get(&slot.block).and_then(|place| self.commits.get_mut(*place)) {
                self.here.push((slot.clone(), want.tx_id, Source::Pulled));
                commit.private.push((slot, set));
                count += 1;
            }
        }
        count
    }

    /// The commits; what is still wanted is missing. Gives how many that are, by block.
    pub(crate) fn finish(mut self) -> Gathered {
        let mut missing = BTreeMap::new();
        for (slot, want) in std::mem::take(&mut self.wanted) {
            *missing.entry(slot.block).or_default() += 1;
            if let Some(commit) = self.place.get(&slot.block).and_then(|place| self.commits.get_mut(*place)) {
                commit.missing.push(Missing { slot, tx_id: want.tx_id, hash: want.hash });
            }
        }
        Gathered { commits: self.commits, missing, here: self.here }
    }
}
