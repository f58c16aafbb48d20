//! Private read-write sets as they travel and as blocks name them by hash.
//!
//! ```text
//!   item of Payload.private_data   PvtDataPayload { tx_seq_in_block 1, payload 2 }
//!   its payload                    TxPvtReadWriteSet { data_model 1, ns_pvt_rwset 2 { namespace 1,
//!                                    collection_pvt_rwset 2 { collection_name 1, rwset 2 } … } … }
//!   hash in the block              SHA-256(rwset), the bytes as they stand there
//! ```
//! (fabric-protos gossip/message.proto, ledger/rwset/rwset.proto; fabric gossip/util/privdata.go)
//!
//! Limits: [`MAX_SETS`] collections of a transaction, names of [`MAX_NAME`] bytes. The sets' contents are not read.

use crate::block::Malformed;
use crate::block::transaction::MAX_NAME;
use crate::block::walk::{Writer, bytes_of, every, number_of};
use bytes::Bytes;
use sha2::{Digest, Sha256};

/// Most private sets of a transaction.
pub const MAX_SETS: usize = 1_024;

/// The hash by which a block names a private set.
#[must_use]
pub fn hash(rwset: &[u8]) -> [u8; 32] {
    Sha256::digest(rwset).into()
}

/// A private set of one collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrivateSet {
    /// Namespace: the chaincode.
    pub namespace: String,
    /// Collection.
    pub collection: String,
    /// The encoded set, as its hash covers it.
    pub rwset: Bytes,
}

/// The private sets of one transaction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TxPrivate {
    /// The transaction's place in its block.
    pub seq_in_block: u64,
    /// Its sets.
    pub sets: Vec<PrivateSet>,
}

fn name(bytes: &[u8]) -> Result<String, Malformed> {
    let short = Some(bytes).filter(|bytes| bytes.len() <= MAX_NAME).ok_or(Malformed)?;
    std::str::from_utf8(short).map(str::to_owned).map_err(|_| Malformed)
}

/// Reads an encoded `TxPvtReadWriteSet`.
///
/// # Errors
/// [`Malformed`], also for what is over the limits.
pub fn decode_sets(bytes: &Bytes) -> Result<Vec<PrivateSet>, Malformed> {
    let mut sets = Vec::new();
    for namespace in every(bytes, 2) {
        let namespace = namespace?;
        let of = name(bytes_of(namespace, 1)?.unwrap_or_default())?;
        for collection in every(namespace, 2) {
            let collection = collection?;
            if sets.len() == MAX_SETS {
                return Err(Malformed);
            }
            sets.push(PrivateSet {
                namespace: of.clone(),
                collection: name(bytes_of(collection, 1)?.unwrap_or_default())?,
                rwset: bytes.slice_ref(bytes_of(collection, 2)?.unwrap_or_default()),
            });
        }
    }
    Ok(sets)
}

/// Encodes a `TxPvtReadWriteSet`. Sets of one namespace that stand beside each other are put into one part.
#[must_use]
pub fn encode_sets(sets: &[PrivateSet]) -> Vec<u8> {
    let mut out = Writer::default();
    for group in sets.chunk_by(|a, b| a.namespace == b.namespace) {
        let mut part = Writer::default();
        part = part.bytes(1, group.first().map(|set| set.namespace.as_bytes()).unwrap_or_default());
        for set in group {
            let one = Writer::default().bytes(1, set.collection.as_bytes()).bytes(2, &set.rwset).done();
            part = part.message(2, &one);
        }
        out = out.message(2, &part.done());
    }
    out.done()
}

impl TxPrivate {
    /// Reads an item of `Payload.private_data`.
    ///
    /// # Errors
    /// [`Malformed`], also for what is over the limits.
    pub fn decode(bytes: &Bytes) -> Result<Self, Malformed> {
        let payload = bytes.slice_ref(bytes_of(bytes, 2)?.unwrap_or_default());
        Ok(Self { seq_in_block: number_of(bytes, 1)?, sets: decode_sets(&payload)? })
    }

    /// Encodes an item of `Payload.private_data`.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let sets = encode_sets(&self.sets);
        Writer::default().number(1, self.seq_in_block).bytes(2, &sets).done().into()
    }
}
