//! Who an Ethereum node is and where it listens: keys, node records, node URLs.
//!
//! | module | holds |
//! |---|---|
//! | [`key`] | [`NodeKey`] and [`NodePublic`]: secp256k1 keys, signatures, ECDH, the key file |
//! | [`record`] | [`Record`]: signed node records (EIP-778) |
//! | [`local`] | [`LocalRecord`]: our own record, signed anew when it changes, with the address others see |
//! | [`enode`] | [`Enode`]: node addresses as users write them |
//! | [`keccak`] [`rlp`] | the hash and the encoding that those stand on |
//!
//! No sockets, no clock, no global randomness; it depends on nothing else of this workspace.
#![deny(clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::indexing_slicing))]

pub mod enode;
pub mod keccak;
pub mod key;
pub mod local;
pub mod record;
pub mod rlp;

pub use enode::Enode;
pub use key::{NodeKey, NodePublic};
pub use local::LocalRecord;
pub use record::Record;
