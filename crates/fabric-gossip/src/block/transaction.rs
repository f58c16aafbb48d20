//! What a transaction in a block tells of itself: channel, id, and the hashes of its private data.
//!
//! ```text
//!   Envelope { payload 1, signature 2 }       Payload { header 1, data 2 }
//!   header { channel_header 1 { type 1, channel_id 4, tx_id 5 }, signature_header 2 { creator 1 } }
//!   data of type 3 (endorser transaction): Transaction { action 1 { payload 2 } … }
//!     payload { action 2 { proposal_response_payload 1, endorsement 2 { endorser 1, signature 2 } … } }
//!     proposal_response_payload { extension 2 { results 1 } }
//!     results { ns_rwset 2 { namespace 1, collection_hashed_rwset 3 { name 1, hashed_rwset 2, pvt_rwset_hash 3 } … } … }
//! ```
//! (fabric-protos common/common.proto, peer/transaction.proto, ledger/rwset/rwset.proto; read as gossip/privdata/coordinator.go does)
//!
//! Everything here is text and bytes that a client and endorsers made; nothing is checked against their signatures.
//! Limits: [`MAX_NAMED`] private collections of a transaction, [`MAX_ENDORSERS`] endorsers, names of [`MAX_NAME`] bytes.
//! More makes the transaction one that is not understood; the block holds it all the same.

use super::hash::Hash;
use super::walk::{Fields, Malformed, Value, bytes_of, every, number_of};
use bytes::Bytes;

/// Type number of a configuration (fabric-protos common.HeaderType).
pub const CONFIG: u64 = 1;
/// Type number of an endorser transaction.
pub const ENDORSER_TRANSACTION: u64 = 3;
/// Most private collections read of a transaction.
pub const MAX_NAMED: usize = 1_024;
/// Most endorsers read of a transaction.
pub const MAX_ENDORSERS: usize = 128;
/// Longest transaction id, namespace or collection name, in bytes.
pub const MAX_NAME: usize = 512;

/// What a transaction tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transaction {
    /// Type of the channel header: [`CONFIG`], [`ENDORSER_TRANSACTION`] or another.
    pub kind: u64,
    /// The channel.
    pub channel: String,
    /// The transaction's id; empty for configurations.
    pub tx_id: String,
    /// The serialized identity of who made it.
    pub creator: Bytes,
    /// Whether the envelope has a signature (not whether it fits).
    pub signed: bool,
    /// Private data that it wrote.
    pub private: Vec<PrivateHash>,
    /// Serialized identities of who endorsed it.
    pub endorsers: Vec<Bytes>,
}

/// Private data that a transaction wrote, by the hash of it that everybody sees.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PrivateHash {
    /// Namespace: the chaincode.
    pub namespace: String,
    /// Collection.
    pub collection: String,
    /// SHA-256 of the encoded private read-write set.
    pub hash: Hash,
}

/// The channel header of an encoded envelope.
fn channel_header(envelope: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    let payload = bytes_of(envelope, 1)?.unwrap_or_default();
    let header = bytes_of(payload, 1)?.unwrap_or_default();
    bytes_of(header, 1)
}

/// The channel that an encoded envelope names; `None` without a channel header.
pub(crate) fn channel_of(envelope: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    match channel_header(envelope)? {
        Some(header) => Ok(Some(bytes_of(header, 4)?.unwrap_or_default())),
        None => Ok(None),
    }
}

/// Whether an encoded envelope is a configuration: those need no signature of their own.
pub(crate) fn is_config(envelope: &[u8]) -> bool {
    matches!(channel_header(envelope), Ok(Some(header)) if number_of(header, 1) == Ok(CONFIG))
}

/// Whether an encoded envelope is one in the only form Fabric accepts: a payload, a signature, nothing else, in this order.
/// The data hash does not cover where one transaction ends, this does.
pub(crate) fn is_well_formed(envelope: &[u8]) -> bool {
    let mut expected = 1;
    let mut canonical = 0;
    for field in Fields::of(envelope) {
        let Ok((number, Value::Bytes(bytes))) = field else { return false };
        if number != expected || bytes.is_empty() {
            return false;
        }
        expected += 1;
        // A key of one byte and a length in as few bytes as it needs.
        canonical += 1 + (bytes.len().ilog2() as usize / 7 + 1) + bytes.len();
    }
    expected == 3 && canonical == envelope.len()
}

fn name(bytes: Option<&[u8]>) -> Result<String, Malformed> {
    let bytes = bytes.unwrap_or_default();
    let short = Some(bytes).filter(|bytes| bytes.len() <= MAX_NAME).ok_or(Malformed)?;
    std::str::from_utf8(short).map(str::to_owned).map_err(|_| Malformed)
}

/// The private collections that a namespace's part of the results names.
fn private(results: &[u8], found: &mut Vec<PrivateHash>) -> Result<(), Malformed> {
    for namespace in every(results, 2) {
        let namespace = namespace?;
        let name_of_it = name(bytes_of(namespace, 1)?)?;
        for collection in every(namespace, 3) {
            let collection = collection?;
            let hashed = bytes_of(collection, 2)?.unwrap_or_default();
            // Only read: nothing private is to be had. Writes are field 2, writes of metadata 3.
            let writes = every(hashed, 2).next().is_some() || every(hashed, 3).next().is_some();
            if !writes {
                continue;
            }
            let hash = bytes_of(collection, 3)?.unwrap_or_default().try_into().map_err(|_| Malformed)?;
            if found.len() == MAX_NAMED {
                return Err(Malformed);
            }
            let (namespace, collection) = (name_of_it.clone(), name(bytes_of(collection, 1)?)?);
            found.push(PrivateHash { namespace, collection, hash });
        }
    }
    Ok(())
}

impl Transaction {
    /// Reads an encoded envelope.
    ///
    /// # Errors
    /// [`Malformed`], also for what is over the limits.
    pub fn decode(envelope: &Bytes) -> Result<Self, Malformed> {
        let payload = bytes_of(envelope, 1)?.unwrap_or_default();
        let header = bytes_of(payload, 1)?.unwrap_or_default();
        let channel_header = bytes_of(header, 1)?.ok_or(Malformed)?;
        let signature_header = bytes_of(header, 2)?.unwrap_or_default();
        let mut transaction = Self {
            kind: number_of(channel_header, 1)?,
            channel: name(bytes_of(channel_header, 4)?)?,
            tx_id: name(bytes_of(channel_header, 5)?)?,
            creator: envelope.slice_ref(bytes_of(signature_header, 1)?.unwrap_or_default()),
            signed: bytes_of(envelope, 2)?.is_some_and(|signature| !signature.is_empty()),
            private: Vec::new(),
            endorsers: Vec::new(),
        };
        if transaction.kind == ENDORSER_TRANSACTION {
            // As Fabric's coordinator: the first action is the only one.
            let body = bytes_of(payload, 2)?.unwrap_or_default();
            if let Some(action) = every(body, 1).next().transpose()? {
                transaction.action(envelope, action)?;
            }
        }
        Ok(transaction)
    }

    fn action(&mut self, envelope: &Bytes, action: &[u8]) -> Result<(), Malformed> {
        let payload = bytes_of(action, 2)?.unwrap_or_default();
        let endorsed = bytes_of(payload, 2)?.unwrap_or_default();
        for endorsement in every(endorsed, 2).take(MAX_ENDORSERS) {
            let endorser = bytes_of(endorsement?, 1)?.unwrap_or_default();
            self.endorsers.push(envelope.slice_ref(endorser));
        }
        let response = bytes_of(endorsed, 1)?.unwrap_or_default();
        let extension = bytes_of(response, 2)?.unwrap_or_default();
        private(bytes_of(extension, 1)?.unwrap_or_default(), &mut self.private)
    }
}
