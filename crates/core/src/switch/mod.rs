//! The Switch: the one place that knows which peers there are and decides who may become one.
//!
//! ```text
//!   listener ─▶ ① access ─▶ handshake ─▶ ② identity ─▶ hello ─▶ ③ admission ─▶ session
//!   dial plan ─▶ connect ──▶ handshake ─▶ ② identity ─▶ hello ─▶ ③ admission ─▶ session
//!                 all three checkpoints are answered by one task, with a Reason
//! ```
//!
//! Checkpoints: ① after accept (access list, pending slots, throttle), ② after the secure handshake
//! (self, wrong or duplicate identity, slots), ③ after the protocol handshake (a shared protocol, and ② again).
//!
//! Two sessions with one peer: the same direction twice → the new one is refused. Both dialled each other at
//! once (the older session is younger than [`SIMULTANEOUS`]) → the session dialled by the larger
//! identity stays, the other ends; both sides decide the same. Otherwise the new one is refused. A session that
//! takes another's place waits as its successor until that has ended, inherits its slot, and is itself what a
//! later session is compared with.

pub mod access;
mod actor;
mod builder;
mod connect;
pub mod dial;
mod handle;
pub mod peer;
mod rules;

pub use builder::{ListenSpec, StartError, SwitchBuilder};
pub use handle::{PeerSet, Switch};
pub use rules::SIMULTANEOUS;

#[cfg(test)]
mod tests;
