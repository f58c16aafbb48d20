//! The wire of Hyperledger Fabric gossip (1.4 to 3): mutual TLS, a gRPC stream, signed envelopes.
//!
//! ```text
//! TCP ─ TLS, certificates on both sides ─ HTTP/2 ─ gossip.Gossip/GossipStream ─ signed ConnEstablish, then envelopes
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`message`] [`scan`] [`tags`] [`grpc`] [`identity`] [`sign`] [`conn_establish`] | codecs: bytes in, bytes out |
//! | [`msp`] [`policy`] | who is trusted, and may be a peer |
//! | [`keygen`] | an organisation's keys and certificates, made and renewed |
//! | [`tls`] [`http2`] [`session`] | the layers of a running session |
//! | [`wire`] | [`Fabric`], the handshake over a connection; [`probe()`], to learn who is there |
//! | [`gossip`] | the one protocol, which hands contents to handlers |
//! | [`mod@bench`] | echoes and flows to measure with |
//! | [`cast`] | how `cast` rides on this wire |
#![deny(clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::indexing_slicing))]

pub mod bench;
pub mod cast;
pub mod conn_establish;
pub mod gossip;
pub mod grpc;
pub mod http2;
pub mod identity;
pub mod keygen;
pub mod message;
pub mod msp;
pub mod plain;
pub mod policy;
pub mod scan;
pub mod session;
pub mod sign;
pub mod tags;
pub mod tls;
pub mod wire;

pub use msp::{Msp, PeerFolder, Trust};
pub use policy::{MspPolicy, PeerPolicy};
pub use wire::{CONNECT_WITHIN, FABRIC, Fabric, FabricConfig, Security, probe};
