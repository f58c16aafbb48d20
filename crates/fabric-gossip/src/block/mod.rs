//! Blocks as Fabric's orderers make them and peers pass them on: decoding, hashes, signatures, JSON.
//!
//! ```text
//!   Block { header 1 { number 1, previous_hash 2, data_hash 3 },
//!           data 2 { transaction 1 … }, metadata 3 { entry 1 … } }
//!   metadata entry 0  signatures { value 1, signature 2 { signature_header 1, signature 2, identifier_header 3 } … }
//!                  1  last config (before 1.4.1)   2  which transactions are valid   3  orderer   4  commit hash
//! ```
//! (fabric-protos common/common.proto) A [`Block`] keeps the bytes it was made of and hands out slices of them.
//!
//! Limits: [`MAX_BLOCK`] bytes, [`MAX_TRANSACTIONS`], [`MAX_METADATA`] entries, [`MAX_HASH`] bytes a hash. More is refused
//! before memory is taken for it. A block without header, data or metadata is one with faults, not a crash.
//!
//! Stricter than Fabric's Go code: a header, data or metadata that stands twice is refused, where protobuf would merge.
//! Not judged here: what transactions say. This is not an endorsement check.

mod block_file;
mod decoded;
pub mod hash;
pub mod json;
mod policy;
mod signatures;
pub mod transaction;
mod verify;
pub(crate) mod walk;

pub use block_file::{BlockFolder, FileFault};
pub use decoded::{Block, BlockFault, MAX_BLOCK, MAX_HASH, MAX_METADATA, MAX_TRANSACTIONS, build};
pub use policy::{OrdererPolicy, OrdererPolicyFault};
pub use signatures::{BlockSignature, MAX_SIGNATURES, OrdererSigned, Signer};
pub use verify::{BlockPolicy, Level, Link, PolicyFault, Verifier, VerifyFault};
pub use walk::Malformed;

#[cfg(test)]
pub(crate) mod tests;
