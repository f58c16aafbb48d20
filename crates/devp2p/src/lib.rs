//! The wire of Ethereum: RLPx handshake and frames, hello, capabilities.
//!
//! ```text
//! TCP ─ auth/ack (ECIES) ─ frames (AES-CTR, keccak MAC) ─ hello, then snappy messages by code
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`keccak`] [`key`] [`ecies`] [`rlp`] [`handshake`] [`frame`] [`message`] [`caps`] [`enr`] [`enode`] | codecs: bytes in, bytes out; the caller gives randomness |
//! | [`session`] | frames of a running session, for the core's encoder and decoder |
//! | [`wire`] | [`Devp2p`], the handshake over a connection; [`probe`], which any network's node accepts |
//! | [`mod@bench`] | a capability to measure with |
#![deny(clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::indexing_slicing))]

pub mod bench;
pub mod caps;
pub mod ecies;
pub mod enode;
pub mod enr;
pub mod frame;
pub mod handshake;
pub mod keccak;
pub mod key;
pub mod message;
pub mod rlp;
pub mod session;
pub mod wire;

pub use key::{NodeKey, NodePublic};
pub use wire::{DEVP2P, Devp2p, Devp2pConfig, probe};
