//! The transient store: private sets that peers or the own program gave, kept until the block that names them comes.
//!
//! ```text
//!   put ─▶ share of the sender left? ─▶ room left? ─ no ─▶ oldest entries of other peers go ─▶ kept
//!                 │no: refused                                                │none: refused
//!   block committed ─▶ entries of its transactions go       height ─▶ entries put long before go (retention)
//! ```
//! (fabric core/transientstore; gossip/privdata/pvtdataprovider.go) An entry's age counts from our own height when it came; what
//! the sender says of heights decides nothing.
//!
//! Limits: [`MAX_ENTRIES`], [`MAX_BYTES`]; of both one sender may hold a quarter. What the own program gave is never evicted.
//! Not protected from: several members of a collection that fill the store together can drive out what other peers
//! pushed; it is then pulled when its block comes.

use crate::block::Malformed;
use crate::block::walk::{Writer, bytes_of, number_of};
use crate::types::PkiId;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// Most entries.
pub const MAX_ENTRIES: usize = 16_384;
/// Most bytes of private sets and their configurations.
pub const MAX_BYTES: usize = 256 << 20;
/// The part of a limit that one sender may use up.
pub const SHARE: usize = 4;
/// After how many blocks entries go (fabric core.yaml pvtData.transientstoreMaxBlockRetention).
pub const RETENTION: u64 = 20_000;

/// Why an entry is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransientFault {
    /// The sender has its share in it already. The peer is at fault.
    #[error("the transient store holds too much of this sender")]
    Share,
    /// There is no room, and nothing that may go. We are.
    #[error("the transient store is full")]
    Full,
}

/// A private set that has no block yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transient {
    /// The transaction.
    pub tx_id: String,
    /// Namespace: the chaincode.
    pub namespace: String,
    /// Collection.
    pub collection: String,
    /// The encoded private set.
    pub rwset: Bytes,
    /// The collection's configuration as the sender gave it (an encoded CollectionConfigPackage).
    pub configs: Bytes,
    /// The height at which the sender simulated.
    pub simulated_at: u64,
    /// Our height when it came.
    pub received_at: u64,
    /// Who sent it; `None` for the own program.
    pub from: Option<PkiId>,
}

impl Transient {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let out = Writer::default().bytes(1, self.tx_id.as_bytes()).bytes(2, self.namespace.as_bytes());
        let out = out.bytes(3, self.collection.as_bytes()).bytes(4, &self.rwset).bytes(5, &self.configs);
        let out = out.number(6, self.simulated_at).number(7, self.received_at);
        out.bytes(8, self.from.as_ref().map(|from| &from.0[..]).unwrap_or_default()).done()
    }

    pub(crate) fn of_stored(bytes: &Bytes) -> Result<Self, Malformed> {
        let part = |field| bytes_of(bytes, field).map(Option::unwrap_or_default);
        let text = |field| Ok(std::str::from_utf8(part(field)?).map_err(|_| Malformed)?.to_owned());
        let from = part(8)?;
        Ok(Self {
            tx_id: text(1)?,
            namespace: text(2)?,
            collection: text(3)?,
            rwset: bytes.slice_ref(part(4)?),
            configs: bytes.slice_ref(part(5)?),
            simulated_at: number_of(bytes, 6)?,
            received_at: number_of(bytes, 7)?,
            from: if from.is_empty() { None } else { Some(PkiId::parse(from).ok_or(Malformed)?) },
        })
    }

    fn bytes(&self) -> usize {
        self.rwset.len()
            + self.configs.len()
            + self.tx_id.len()
            + self.namespace.len()
            + self.collection.len()
    }

    fn fingerprint(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for part in [self.namespace.as_bytes(), self.collection.as_bytes(), &self.rwset] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }
}

#[derive(Debug, Clone)]
struct Known {
    tx_id: String,
    fingerprint: [u8; 32],
    received_at: u64,
    bytes: usize,
    from: Option<PkiId>,
}

/// What is in a transient store and whose it is; decides what is kept. The contents lie elsewhere.
#[derive(Debug, Default)]
pub(crate) struct Index {
    entries: BTreeMap<u64, Known>,
    by_tx: BTreeMap<String, BTreeSet<u64>>,
    /// Of peers only: what may be evicted, oldest first.
    by_age: BTreeSet<(u64, u64)>,
    held: BTreeMap<Option<PkiId>, (usize, usize)>,
    bytes: usize,
    next: u64,
}

/// What a put comes to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Put {
    /// It is there already.
    Known,
    /// Keep it under this number, and drop these first.
    Keep { number: u64, evicted: Vec<(String, u64)> },
}

impl Index {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Enters what lies in the store at a start.
    pub(crate) fn load(&mut self, number: u64, entry: &Transient) {
        self.enter(number, entry);
        self.next = self.next.max(number.saturating_add(1));
    }

    fn enter(&mut self, number: u64, entry: &Transient) {
        let (bytes, fingerprint) = (entry.bytes(), entry.fingerprint());
        let (tx_id, received_at, from) = (entry.tx_id.clone(), entry.received_at, entry.from);
        self.by_tx.entry(tx_id.clone()).or_default().insert(number);
        if from.is_some() {
            self.by_age.insert((received_at, number));
        }
        let held = self.held.entry(from).or_default();
        *held = (held.0 + 1, held.1 + bytes);
        self.bytes += bytes;
        self.entries.insert(number, Known { tx_id, fingerprint, received_at, bytes, from });
    }

    pub(crate) fn remove(&mut self, number: u64) -> Option<(String, u64)> {
        let known = self.entries.remove(&number)?;
        if let Some(numbers) = self.by_tx.get_mut(&known.tx_id) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by_tx.remove(&known.tx_id);
            }
        }
        self.by_age.remove(&(known.received_at, number));
        if let Some(held) = self.held.get_mut(&known.from) {
            *held = (held.0.saturating_sub(1), held.1.saturating_sub(known.bytes));
            if held.0 == 0 {
                self.held.remove(&known.from);
            }
        }
        self.bytes = self.bytes.saturating_sub(known.bytes);
        Some((known.tx_id, number))
    }

    /// Decides on an entry and enters it.
    pub(crate) fn put(&mut self, entry: &Transient) -> Result<Put, TransientFault> {
        let fingerprint = entry.fingerprint();
        let numbers = self.by_tx.get(&entry.tx_id).into_iter().flatten();
        if numbers.filter_map(|number| self.entries.get(number)).any(|known| known.fingerprint == fingerprint)
        {
            return Ok(Put::Known);
        }
        let bytes = entry.bytes();
        let (entries, held) = self.held.get(&entry.from).copied().unwrap_or_default();
        if entry.from.is_some() && (entries >= MAX_ENTRIES / SHARE || held + bytes > MAX_BYTES / SHARE) {
            return Err(TransientFault::Share);
        }
        if bytes > MAX_BYTES {
            return Err(TransientFault::Full);
        }
        // Find out what must go before anything goes.
        let (mut left, mut room) = (self.entries.len(), self.bytes);
        let mut going = Vec::new();
        let mut oldest = self.by_age.iter();
        while left >= MAX_ENTRIES || room + bytes > MAX_BYTES {
            let (_, number) = oldest.next().ok_or(TransientFault::Full)?;
            room -= self.entries.get(number).map_or(0, |known| known.bytes);
            left -= 1;
            going.push(*number);
        }
        let evicted = going.into_iter().filter_map(|number| self.remove(number)).collect();
        let number = self.next;
        self.next += 1;
        self.enter(number, entry);
        Ok(Put::Keep { number, evicted })
    }

    /// The entries of a transaction.
    pub(crate) fn of_tx(&self, tx_id: &str) -> Vec<u64> {
        self.by_tx.get(tx_id).into_iter().flatten().copied().collect()
    }

    /// The entries that came below a height, whoever sent them.
    pub(crate) fn below(&self, height: u64) -> Vec<u64> {
        let old = self.entries.iter().filter(|(_, known)| known.received_at < height);
        old.map(|(number, _)| *number).collect()
    }
}
