//! Fabric gossip.
#![deny(clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::indexing_slicing))]
pub mod conn_establish;
pub mod grpc;
pub mod identity;
pub mod keygen;
pub mod message;
pub mod msp;
pub mod scan;
