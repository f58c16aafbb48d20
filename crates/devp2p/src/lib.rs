//! The wire of Ethereum: RLPx handshake and frames, hello, capabilities.
//!
//! ```text
//! TCP ─ auth/ack (ECIES) ─ frames (AES-CTR, keccak MAC) ─ hello, then snappy messages by code
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`ecies`] [`handshake`] [`frame`] [`message`] [`caps`] | codecs: bytes in, bytes out; the caller gives randomness |
//! | [`session`] | frames of a running session, for the core's encoder and decoder |
//! | [`wire`] | [`Devp2p`], the handshake over a connection; [`probe`], which any network's node accepts |
//! | [`mod@bench`] | a capability to measure with |
//! | [`eth`] | which chain a node follows: the first message of `eth` |
//! | [`requests`] | numbers, time-outs and limits of what a protocol asks a peer |
//!
//! Keys, records and addresses of nodes are `switchboard_enr`'s.
#![deny(clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::indexing_slicing))]

pub mod bench;
pub mod caps;
pub mod ecies;
pub mod eth;
pub mod frame;
pub mod handshake;
pub mod message;
pub mod requests;
pub mod session;
pub mod wire;

pub use switchboard_enr::{NodeKey, NodePublic};
pub use wire::{DEVP2P, Devp2p, Devp2pConfig, probe};
