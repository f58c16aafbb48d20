//! What orderers signed of a block.
//!
//! ```text
//!   metadata entry 0: Metadata { value 1, signature 2 { signature_header 1, signature 2, identifier_header 3 } … }
//!   signed bytes      value ‖ signature_header ‖ header bytes       (identifier_header in place of an absent signature_header)
//!   signature_header  { creator 1, nonce 2 }                        identifier_header { identifier 1, nonce 2 }
//! ```
//! (fabric protoutil/blockutils.go, BlockSignatureVerifier; fabric-protos common/common.proto) The header names data by its hash and
//! the block before by its own, so the signatures cover everything but the other metadata entries.
//!
//! Limits: [`MAX_SIGNATURES`], more is refused. Each costs a signature check, so the limit is also one on work.

use super::decoded::{Block, BlockFault};
use super::walk::{Malformed, bytes_of, every, number_of};
use bytes::Bytes;

/// Most signatures on a block.
pub const MAX_SIGNATURES: usize = 128;

/// Who signed, as the signature says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signer {
    /// A serialized identity.
    Identity(Bytes),
    /// A number in the channel's list of consenters (Fabric 3, BFT orderers).
    Consenter(u32),
}

/// One orderer's signature on a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockSignature {
    /// Who.
    pub signer: Signer,
    /// The header that is part of what is signed.
    pub header: Bytes,
    /// The signature.
    pub signature: Bytes,
}

/// The signatures on a block, with what is common to the bytes they are over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrdererSigned {
    value: Bytes,
    block_header: Vec<u8>,
    signatures: Vec<BlockSignature>,
}

impl OrdererSigned {
    /// Takes the signatures out of a block.
    ///
    /// # Errors
    /// [`BlockFault`].
    pub fn of(block: &Block) -> Result<Self, BlockFault> {
        let entry = block.metadata().first().filter(|entry| !entry.is_empty());
        let entry = entry.ok_or(BlockFault::Absent("signatures in its metadata"))?;
        let value = entry.slice_ref(bytes_of(entry, 1)?.unwrap_or_default());
        let mut signatures = Vec::new();
        for signature in every(entry, 2) {
            let signature = signature?;
            if signatures.len() == MAX_SIGNATURES {
                return Err(BlockFault::TooMany { what: "signatures", limit: MAX_SIGNATURES });
            }
            let part = |number| bytes_of(signature, number).map(Option::unwrap_or_default);
            let (by_identity, by_number) = (part(1)?, part(3)?);
            let (header, signer) = if by_identity.is_empty() && !by_number.is_empty() {
                let number = u32::try_from(number_of(by_number, 1)?).map_err(|_| Malformed)?;
                (by_number, Signer::Consenter(number))
            } else {
                let creator = bytes_of(by_identity, 1)?.unwrap_or_default();
                (by_identity, Signer::Identity(entry.slice_ref(creator)))
            };
            let (header, signature) = (entry.slice_ref(header), entry.slice_ref(part(2)?));
            signatures.push(BlockSignature { signer, header, signature });
        }
        Ok(Self { value, block_header: block.header_bytes(), signatures })
    }

    /// The signatures, in their order.
    #[must_use]
    pub fn signatures(&self) -> &[BlockSignature] {
        &self.signatures
    }

    /// The bytes that a signature is over.
    #[must_use]
    pub fn payload(&self, signature: &BlockSignature) -> Vec<u8> {
        [&self.value[..], &signature.header, &self.block_header].concat()
    }
}

/// Number of the last configuration block: of the signed metadata since 1.4.1, of an entry of its own before.
pub(crate) fn last_config(block: &Block) -> Result<u64, BlockFault> {
    let value = |entry: usize| -> Result<&[u8], BlockFault> {
        let entry = block.metadata().get(entry).map(|entry| &entry[..]).unwrap_or_default();
        Ok(bytes_of(entry, 1)?.unwrap_or_default())
    };
    let (signed, old) = (value(0)?, value(1)?);
    let last_config = match (signed.is_empty(), old.is_empty()) {
        (false, _) => bytes_of(signed, 1)?,
        (true, false) => Some(old),
        (true, true) => None,
    };
    Ok(number_of(last_config.ok_or(BlockFault::Absent("last config in its metadata"))?, 1)?)
}
