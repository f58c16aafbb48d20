//! Ethereum devp2p.
pub mod keccak;
pub mod key;
pub mod ecies;
pub mod rlp;
pub mod handshake;
pub mod frame;
