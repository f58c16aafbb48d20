//! A ledger in memory: for tests, simulations and nodes that keep nothing.

use super::error::LedgerError;
use super::transient::{Index, Put, Transient};
use super::types::{BlockStore, Commit, Missing, Options, Slot};
use crate::block::hash::Hash;
use crate::privdata::rwset;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
struct Kept {
    blocks: Vec<Bytes>,
    tip: Option<Hash>,
    private: BTreeMap<Slot, Bytes>,
    missing: BTreeMap<Slot, (String, Hash)>,
    expiry: BTreeMap<u64, BTreeSet<Slot>>,
    transient: BTreeMap<u64, Transient>,
    index: Index,
}

impl Kept {
    fn drop_transient(&mut self, numbers: Vec<u64>) -> usize {
        numbers.iter().for_each(|number| {
            self.index.remove(*number);
            self.transient.remove(number);
        });
        numbers.len()
    }
}

/// A ledger that is gone when its owner is.
#[derive(Debug)]
pub struct MemoryLedger {
    first: u64,
    kept: Mutex<Kept>,
}

impl Default for MemoryLedger {
    fn default() -> Self {
        Self::new(Options::default())
    }
}

impl MemoryLedger {
    /// An empty ledger.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { first: options.first, kept: Mutex::default() }
    }

    fn place(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.first)?).ok()
    }

    fn height_of(&self, kept: &Kept) -> u64 {
        self.first + kept.blocks.len() as u64
    }
}

impl BlockStore for MemoryLedger {
    fn height(&self) -> u64 {
        self.height_of(&self.kept.lock())
    }

    fn first(&self) -> u64 {
        self.first
    }

    fn tip(&self) -> Option<Hash> {
        self.kept.lock().tip
    }

    fn append(&self, commits: &[Commit]) -> Result<(), LedgerError> {
        let mut kept = self.kept.lock();
        for (expected, commit) in (self.height_of(&kept)..).zip(commits) {
            let found = commit.block.number();
            if found != expected {
                return Err(LedgerError::Order { expected, found });
            }
        }
        for commit in commits {
            kept.blocks.push(Bytes::copy_from_slice(commit.block.raw()));
            kept.tip = Some(commit.block.header_hash());
            let private =
                commit.private.iter().map(|(slot, set)| (slot.clone(), Bytes::copy_from_slice(set)));
            kept.private.extend(private);
            let missing = commit.missing.iter().cloned();
            kept.missing.extend(missing.map(|missing| (missing.slot, (missing.tx_id, missing.hash))));
            for expiry in &commit.expiry {
                kept.expiry.entry(expiry.at).or_default().insert(expiry.slot.clone());
            }
            for tx_id in &commit.served {
                let numbers = kept.index.of_tx(tx_id);
                kept.drop_transient(numbers);
            }
        }
        let height = self.height_of(&kept);
        let later = kept.expiry.split_off(&height);
        let ended = std::mem::replace(&mut kept.expiry, later);
        for slot in ended.into_values().flatten() {
            kept.private.remove(&slot);
            kept.missing.remove(&slot);
        }
        Ok(())
    }

    fn block(&self, number: u64) -> Result<Option<Bytes>, LedgerError> {
        let place = self.place(number);
        Ok(place.and_then(|place| self.kept.lock().blocks.get(place).cloned()))
    }

    fn range(&self, from: u64, to: u64, max_bytes: usize) -> Result<Vec<(u64, Bytes)>, LedgerError> {
        let (from, kept) = (from.max(self.first), self.kept.lock());
        let blocks = self.place(from).and_then(|place| kept.blocks.get(place..)).unwrap_or_default();
        let mut bytes = 0;
        let mut out = Vec::new();
        for (number, block) in (from..=to).zip(blocks) {
            bytes += block.len();
            if bytes > max_bytes && !out.is_empty() {
                break;
            }
            out.push((number, block.clone()));
        }
        Ok(out)
    }

    fn private_of(&self, block: u64) -> Result<Vec<(Slot, Bytes)>, LedgerError> {
        let kept = self.kept.lock();
        let of = kept.private.iter().filter(|(slot, _)| slot.block == block);
        Ok(of.map(|(slot, set)| (slot.clone(), set.clone())).collect())
    }

    fn missing(&self, below: u64, blocks: usize) -> Result<Vec<Missing>, LedgerError> {
        let kept = self.kept.lock();
        let mut seen = BTreeSet::new();
        let newest = kept.missing.iter().rev().filter(|(slot, _)| slot.block < below);
        let within = newest.take_while(|(slot, _)| {
            seen.insert(slot.block);
            seen.len() <= blocks
        });
        let of = |(slot, (tx_id, hash)): (&Slot, &(String, Hash))| Missing {
            slot: slot.clone(),
            tx_id: tx_id.clone(),
            hash: *hash,
        };
        Ok(within.map(of).collect())
    }

    fn reconcile(&self, found: &[(Slot, Bytes)]) -> Result<Vec<Slot>, LedgerError> {
        let mut kept = self.kept.lock();
        let mut filled = Vec::new();
        for (slot, set) in found {
            if kept.missing.get(slot).is_some_and(|(_, hash)| *hash == rwset::hash(set)) {
                kept.missing.remove(slot);
                kept.private.insert(slot.clone(), Bytes::copy_from_slice(set));
                filled.push(slot.clone());
            }
        }
        Ok(filled)
    }

    fn put_transient(&self, entry: &Transient) -> Result<(), LedgerError> {
        let mut kept = self.kept.lock();
        if let Put::Keep { number, evicted } = kept.index.put(entry)? {
            for (_, number) in evicted {
                kept.transient.remove(&number);
            }
            let (rwset, configs) =
                (Bytes::copy_from_slice(&entry.rwset), Bytes::copy_from_slice(&entry.configs));
            kept.transient.insert(number, Transient { rwset, configs, ..entry.clone() });
        }
        Ok(())
    }

    fn transient_of(&self, tx_id: &str) -> Result<Vec<Transient>, LedgerError> {
        let kept = self.kept.lock();
        let entries = kept.index.of_tx(tx_id).into_iter();
        Ok(entries.filter_map(|number| kept.transient.get(&number).cloned()).collect())
    }

    fn purge_transient(&self, below: u64) -> Result<usize, LedgerError> {
        let mut kept = self.kept.lock();
        let old = kept.index.below(below);
        Ok(kept.drop_transient(old))
    }

    fn transient_len(&self) -> usize {
        self.kept.lock().index.len()
    }
}
