//! The state among real peers: sessions of the wire, the clock, keys, the disk.
//!
//! ```text
//!   wire ─▶ Shell: one lock around the node's state ─▶ outbox a peer ─▶ session, dialled by the Switch
//!                 └─▶ ChannelJob a channel: state transfer ─▶ private data ─▶ ledger, off the async threads ─▶ height
//!                                           └── sources: folders of block files and of private data
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`node`] [`events`] | [`Shell`]: inputs in, actions out; what it tells |
//! | [`channel`] [`durations`] | [`ChannelJob`]: what is kept of one channel, and how long that takes |
//! | [`source`] [`private_source`] | blocks and private data from a folder |
//! | [`service`] | [`GossipService`]: all of it as a service of the Switch |
//! | [`crypto`] [`known`] | the host's services over keys and MSPs, with what they remember |
//! | `precheck` | signatures checked before the lock |
//! | [`outbox`] [`dials`] [`links`] | sends in order, dials |
//!
//! Limits stand in each module. Not protected from: a host whose disk is slower than the blocks come: they wait in state
//! transfer's bounds, then are refused and asked for again.

pub mod channel;
pub mod crypto;
pub mod dials;
pub mod durations;
pub mod events;
pub mod known;
pub mod links;
pub mod node;
pub mod outbox;
mod precheck;
pub mod private_source;
pub mod service;
pub mod source;

pub use channel::{ChannelFigures, ChannelJob, ChannelSetup};
pub use crypto::MspCrypto;
pub use durations::{Durations, Times};
pub use events::{ShellEvent, StateSaid};
pub use known::KnownPeers;
pub use links::Links;
pub use node::{Load, Shell, UnsentCounts};
pub use service::{Beginning, External, GossipService, Joining};

#[cfg(test)]
mod tests;
