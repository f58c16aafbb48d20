//! The hashes of a block, byte for byte as Fabric makes them.
//!
//! ```text
//!   header bytes   DER: SEQUENCE { INTEGER number, OCTET STRING previous hash, OCTET STRING data hash }
//!   header hash    SHA-256(header bytes): what the next block calls its previous hash
//!   data hash      SHA-256(transaction 0 ‖ transaction 1 ‖ …), without lengths between
//! ```
//! (fabric protoutil/blockutils.go, BlockHeaderBytes and ComputeBlockDataHash) Without lengths, transactions can be cut
//! elsewhere and keep the hash: so each must be a well-formed envelope, see [`super::Verifier`].

use sha2::{Digest, Sha256};

/// SHA-256.
pub type Hash = [u8; 32];

/// A DER element. Contents are shorter than 65,536 bytes: hashes are, by [`super::MAX_HASH`].
fn element(tag: u8, content: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    let len = content.len();
    match len {
        0..=0x7f => out.push(len as u8),
        0x80..=0xff => out.extend([0x81, len as u8]),
        _ => out.extend([0x82, (len >> 8) as u8, len as u8]),
    }
    out.extend_from_slice(content);
}

/// A header as it is hashed and signed.
#[must_use]
pub fn header_bytes(number: u64, previous_hash: &[u8], data_hash: &[u8]) -> Vec<u8> {
    let digits = number.to_be_bytes();
    let start = digits.iter().position(|b| *b != 0).unwrap_or(digits.len() - 1);
    let mut integer = Vec::with_capacity(9);
    let digits = digits.get(start..).unwrap_or_default();
    if digits.first().is_some_and(|b| b & 0x80 != 0) {
        integer.push(0);
    }
    integer.extend_from_slice(digits);
    let mut body = Vec::with_capacity(96);
    element(2, &integer, &mut body);
    element(4, previous_hash, &mut body);
    element(4, data_hash, &mut body);
    let mut out = Vec::with_capacity(100);
    element(0x30, &body, &mut out);
    out
}

/// The hash of a header.
#[must_use]
pub fn header_hash(number: u64, previous_hash: &[u8], data_hash: &[u8]) -> Hash {
    Sha256::digest(header_bytes(number, previous_hash, data_hash)).into()
}

/// The hash of a block's transactions.
pub fn data_hash<T: AsRef<[u8]>>(transactions: impl IntoIterator<Item = T>) -> Hash {
    let mut hash = Sha256::new();
    transactions.into_iter().for_each(|transaction| hash.update(transaction));
    hash.finalize().into()
}
