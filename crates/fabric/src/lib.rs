//! Fabric gossip.
#![deny(clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::indexing_slicing))]
pub mod grpc;
pub mod message;
pub mod scan;
