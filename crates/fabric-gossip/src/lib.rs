//! Fabric gossip as pure state: membership, identities, dissemination, pull, channels, leader election.
//!
//! ```text
//!   shell: sockets, clock, signer ──(input, now)──▶ one state per node ──▶ actions: send, answer, handshake, ping, close, tell
//! ```
//! No socket, clock or global randomness is in here: time and a seed are passed in, so simulations run hundreds of peers
//! in one thread and the same seed gives the same run. Facts are those of Fabric's `gossip` packages.
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | every option `peer.gossip.*`, with Fabric's names and defaults |
//! | [`types`] [`signed`] [`host`] [`actions`] | what all modules speak of: names, envelopes as received, what the host supplies, what is to be done |
#![deny(clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::indexing_slicing))]

pub mod actions;
pub mod config;
pub mod host;
pub mod signed;
pub mod types;

pub use actions::{Action, Actions, CloseReason, Event};
pub use config::Config;
pub use host::{ChannelPolicy, CryptoService, Host, Refusal, SecurityAdvisor};
pub use signed::SignedMessage;
pub use types::{Channel, Endpoint, Member, Now, Org, PkiId, Remote, Stamp, StreamId, Ticket};
