//! The wire of CometBFT and Tendermint (0.34 to 0.40): SecretConnection, NodeInfo, MConnection packets.
//!
//! ```text
//! TCP ─ SecretConnection frames (1044 bytes) ─ a byte stream ─ delimited NodeInfo, then delimited packets
//! ```
#![deny(clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::indexing_slicing))]

pub mod bench;
pub mod flow_rate;
pub mod key;
pub mod netaddress;
pub mod node_info;
pub mod packet;
pub mod proto;
pub mod secret_connection;
pub mod session;
pub mod throttle;
pub mod wire;

pub use key::{NodeId, NodeKey};
pub use wire::{COMET, Comet, CometConfig, probe};
