//! The Switch: the one place that knows which peers there are and decides who may become one.
//!
//! ```text
//!   listener ─▶ ① access ─▶ handshake ─▶ ② identity ─▶ hello ─▶ ③ admission ─▶ session
//!   dial plan ─▶ connect ──▶ handshake ─▶ ② identity ─▶ hello ─▶ ③ admission ─▶ session
//!                 all three checkpoints are answered by one task, with a Reason
//! ```
//!
//! Checkpoints: ① after accept (access list, bans, throttle, pending slots), ② after the secure handshake
//! (self, bans, wrong or duplicate identity, address, subnet, slots), ③ after the protocol handshake (a shared
//! protocol, and ② again). Their rules are data: what a network does differently is its wire's [`crate::Preset`],
//! what the operator sets is [`access::Limits`]. Slots are counted for each wire.
//!
//! Two sessions with one peer, unless the preset says otherwise: the same direction twice → the new one is refused.
//! Both dialled each other at once (the older session is younger than the preset's `crossing_within`) → the session
//! dialled by the larger identity stays, the other ends; both sides decide the same. Otherwise the new one is refused.
//! A session that takes another's place waits as its successor until that has ended, inherits its slot, and is itself
//! what a later session is compared with: a peer that is being removed is never there twice.
//!
//! | file | holds |
//! |---|---|
//! | `actor`, `admission`, `dialling`, `bans` | the one task: its loop, checkpoints, dials, scores |
//! | `rules` | admission as functions |
//! | `connect` | accept and dial tasks |
//! | `pending` | inbound handshakes under way |
//! | [`access`] | limits, access list, throttle |
//! | [`filter`] | a program's own checks at ① and ③ |
//! | [`dial`] | whom to dial, and when |
//! | [`source`] | where candidates come from |
//! | [`score`] | misbehaviour and bans |
//! | `handle`, `builder`, [`peer`] | what programs hold |

pub mod access;
pub(crate) mod actor;
mod admission;
mod bans;
mod builder;
pub(crate) mod connect;
pub mod dial;
mod dialling;
pub mod filter;
pub(crate) mod handle;
pub mod peer;
mod pending;
mod rules;
pub mod score;
pub mod source;

pub use builder::{ListenSpec, StartError, SwitchBuilder};
pub use connect::ConnectError;
pub use handle::{PeerSet, ProtocolStatus, Switch};

#[cfg(test)]
mod tests;
