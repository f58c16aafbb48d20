//! Node discovery of Ethereum: who is there, found by asking those who are known.
//!
//! ```text
//!   UDP packet ─▶ v4 / v5 state (event, now) ─▶ actions: packets to send, nodes found
//!                     │ proven endpoints, hearsay            │ when to wake
//!                     ▼                                      ▼
//!                   table ◀── node records (nodes)         the caller's socket and timer
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`node`] | [`Node`], [`NodeId`] and the XOR distance |
//! | [`addr`] | which addresses a node may name to which other, subnets, counts by subnet |
//! | [`table`] | [`Table`]: 17 buckets of known nodes and the schedule of their checks |
//! | [`nodes`] | [`NodeDb`]: what is remembered of nodes over a restart |
//! | [`budget`] | rates, and maps with a limit for what strangers make us remember |
//! | [`identity`] | [`Identity`]: signs packets; replaceable in simulations |
//! | [`v4`] [`v5`] | the two versions of the protocol |
//! | [`dns`] | lists of nodes in DNS (EIP-1459) |
//! | [`udp`] | the task that gives both versions a socket, a clock and a file |
//!
//! All but [`udp`] is pure: nothing opens a socket, reads a clock or draws randomness from the system; packets, [`Now`] and
//! a seed are passed in. The same inputs give the same outputs.
#![deny(clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::indexing_slicing))]

pub mod addr;
pub mod budget;
pub mod dns;
mod hash;
pub mod identity;
mod lru;
pub mod node;
pub mod nodes;
mod pace;
pub mod table;
#[cfg(test)]
mod testing;
mod time;
pub mod udp;
pub mod v4;
pub mod v5;

pub use identity::Identity;
pub use node::{Node, NodeId};
pub use nodes::NodeDb;
pub use table::Table;
pub use time::Now;
