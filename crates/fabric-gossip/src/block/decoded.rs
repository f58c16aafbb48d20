//! A block, read from bytes.

use super::hash::{self, Hash};
use super::transaction;
use super::walk::{Fields, Malformed, Value, Writer};
use bytes::Bytes;

/// Largest block: the largest message a Fabric peer takes (fabric core.yaml peer.maxRecvMsgSize, 100 MiB).
pub const MAX_BLOCK: usize = 100 << 20;
/// Most transactions in a block. Orderers batch 500 by default.
pub const MAX_TRANSACTIONS: usize = 1 << 18;
/// Most metadata entries; Fabric has five.
pub const MAX_METADATA: usize = 16;
/// Longest previous or data hash; Fabric's are 32 bytes.
pub const MAX_HASH: usize = 64;

/// Why bytes are no block. Whoever made them is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockFault {
    /// Not protobuf.
    #[error("not a block: {0}")]
    Malformed(#[from] Malformed),
    /// Longer than a block may be.
    #[error("a block of {0} bytes, over {MAX_BLOCK}")]
    TooLong(usize),
    /// A part that must be there is not.
    #[error("a block without {0}")]
    Absent(&'static str),
    /// A part that stands more than once.
    #[error("a block with {0} twice")]
    Twice(&'static str),
    /// More entries than allowed.
    #[error("a block with over {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many are allowed.
        limit: usize,
    },
    /// A hash longer than any.
    #[error("a {0} of over {MAX_HASH} bytes")]
    Hash(&'static str),
}

/// A decoded block. Cheap to clone but for two lists of slices; it keeps the buffer it was decoded from alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    raw: Bytes,
    number: u64,
    previous_hash: Bytes,
    data_hash: Bytes,
    transactions: Vec<Bytes>,
    metadata: Vec<Bytes>,
}

#[derive(Default)]
struct Parts<'a> {
    header: Option<&'a [u8]>,
    data: Option<&'a [u8]>,
    metadata: Option<&'a [u8]>,
}

fn set<'a>(part: &mut Option<&'a [u8]>, value: &'a [u8], name: &'static str) -> Result<(), BlockFault> {
    if part.replace(value).is_some() { Err(BlockFault::Twice(name)) } else { Ok(()) }
}

fn list(raw: &Bytes, part: &[u8], what: &'static str, limit: usize) -> Result<Vec<Bytes>, BlockFault> {
    let mut entries = Vec::new();
    for field in Fields::of(part) {
        match field? {
            (1, Value::Bytes(_)) if entries.len() == limit => {
                return Err(BlockFault::TooMany { what, limit });
            }
            (1, Value::Bytes(entry)) => entries.push(raw.slice_ref(entry)),
            (1, _) => return Err(Malformed.into()),
            _ => {}
        }
    }
    Ok(entries)
}

impl Block {
    /// Reads a block.
    ///
    /// # Errors
    /// [`BlockFault`]. Nothing is said of hashes or signatures here: see [`super::Verifier`].
    pub fn decode(raw: Bytes) -> Result<Self, BlockFault> {
        if raw.len() > MAX_BLOCK {
            return Err(BlockFault::TooLong(raw.len()));
        }
        let mut parts = Parts::default();
        for field in Fields::of(&raw) {
            match field? {
                (1, Value::Bytes(value)) => set(&mut parts.header, value, "header")?,
                (2, Value::Bytes(value)) => set(&mut parts.data, value, "data")?,
                (3, Value::Bytes(value)) => set(&mut parts.metadata, value, "metadata")?,
                (1..=3, _) => return Err(Malformed.into()),
                _ => {}
            }
        }
        let header = parts.header.ok_or(BlockFault::Absent("header"))?;
        let (mut number, mut previous_hash, mut data_hash) = (0, Bytes::new(), Bytes::new());
        for field in Fields::of(header) {
            match field? {
                (1, Value::Varint(value)) => number = value,
                (2, Value::Bytes(value)) => previous_hash = raw.slice_ref(value),
                (3, Value::Bytes(value)) => data_hash = raw.slice_ref(value),
                (1..=3, _) => return Err(Malformed.into()),
                _ => {}
            }
        }
        if previous_hash.len() > MAX_HASH {
            return Err(BlockFault::Hash("previous hash"));
        }
        if data_hash.len() > MAX_HASH {
            return Err(BlockFault::Hash("data hash"));
        }
        let data = parts.data.ok_or(BlockFault::Absent("data"))?;
        let transactions = list(&raw, data, "transactions", MAX_TRANSACTIONS)?;
        let metadata = list(&raw, parts.metadata.unwrap_or_default(), "metadata entries", MAX_METADATA)?;
        Ok(Self { number, previous_hash, data_hash, transactions, metadata, raw })
    }

    /// The bytes it was decoded from.
    #[must_use]
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// The same block in a buffer of its own, so that it does not keep a larger one alive.
    ///
    /// # Errors
    /// As [`Block::decode`]; not for a block that was decoded once.
    pub fn detached(&self) -> Result<Self, BlockFault> {
        Self::decode(Bytes::copy_from_slice(&self.raw))
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The header hash of the block before, as this one says.
    #[must_use]
    pub fn previous_hash(&self) -> &[u8] {
        &self.previous_hash
    }

    /// The hash of the transactions, as the header says.
    #[must_use]
    pub fn stated_data_hash(&self) -> &[u8] {
        &self.data_hash
    }

    /// Its transactions: encoded envelopes.
    #[must_use]
    pub fn transactions(&self) -> &[Bytes] {
        &self.transactions
    }

    /// Its metadata entries.
    #[must_use]
    pub fn metadata(&self) -> &[Bytes] {
        &self.metadata
    }

    /// The header as it is hashed and signed.
    #[must_use]
    pub fn header_bytes(&self) -> Vec<u8> {
        hash::header_bytes(self.number, &self.previous_hash, &self.data_hash)
    }

    /// The hash of the header.
    #[must_use]
    pub fn header_hash(&self) -> Hash {
        hash::header_hash(self.number, &self.previous_hash, &self.data_hash)
    }

    /// The hash that the transactions have.
    #[must_use]
    pub fn data_hash(&self) -> Hash {
        hash::data_hash(&self.transactions)
    }

    /// The channel that its first transaction names, as it stands there (remote text).
    ///
    /// # Errors
    /// [`BlockFault`] when there is no transaction, or none that says it.
    pub fn channel(&self) -> Result<&[u8], BlockFault> {
        let first = self.transactions.first().ok_or(BlockFault::Absent("transactions"))?;
        transaction::channel_of(first)?.ok_or(BlockFault::Absent("channel header"))
    }

    /// Whether it has data, none of which is an envelope that names a channel.
    #[must_use]
    pub fn is_opaque(&self) -> bool {
        let names = |data: &Bytes| matches!(transaction::channel_of(data), Ok(Some(_)));
        !self.transactions.is_empty() && !self.transactions.iter().any(names)
    }

    /// Whether a transaction was found valid, where a peer wrote that down: Fabric's code 0 is valid.
    /// `None` when the block does not say, as none that comes from an orderer does.
    #[must_use]
    pub fn is_valid(&self, transaction: usize) -> Option<bool> {
        let filter = self.metadata.get(2).filter(|filter| filter.len() == self.transactions.len())?;
        filter.get(transaction).map(|code| *code == 0)
    }

    /// Number of the last configuration block, as the orderer's metadata says.
    ///
    /// # Errors
    /// [`BlockFault`].
    pub fn last_config(&self) -> Result<u64, BlockFault> {
        super::signatures::last_config(self)
    }
}

/// Encodes a block of these parts, with the data hash that they have.
#[must_use]
pub fn build(number: u64, previous_hash: &[u8], transactions: &[Bytes], metadata: &[Bytes]) -> Bytes {
    let data_hash = hash::data_hash(transactions);
    let header = Writer::default().number(1, number).bytes(2, previous_hash).bytes(3, &data_hash).done();
    let list = |entries: &[Bytes]| {
        entries.iter().fold(Writer::default(), |writer, entry| writer.message(1, entry)).done()
    };
    let out = Writer::default().message(1, &header).message(2, &list(transactions));
    out.message(3, &list(metadata)).done().into()
}
