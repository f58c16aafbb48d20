//! A running node, asked and told: an HTTP API, events as a stream, metrics.
//!
//! ```text
//!   DATA/admin.sock (mode 0600, same user) ─┐
//!   --admin 127.0.0.1:PORT ─────────────────┼─▶ guard ─▶ router ─▶ Control (the node) and its Switch
//!     elsewhere: a token                    │     └ connections, rate, Host, Origin, token, body, time
//!   client (commands) ──────────────────────┘
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`control`] | what a node must offer to be administered |
//! | [`api`] | the requests, by path; their schema stands in `docs/admin.md` |
//! | [`metrics`] | what `/metrics` tells |
//! | [`serve`] | sockets, connections and their limits |
//! | [`guard`] | who may ask |
//! | [`client`] | asks, over either kind of socket |
//! | [`event`], [`time`] | events and times as JSON |
//!
//! The crate knows no wire and no protocol. Limits stand in [`serve`] and [`guard`]; what they do not protect from:
//! whoever has the user's rights on this machine, or the token, may do all that the node can.

pub mod api;
pub mod client;
pub mod control;
pub mod event;
pub mod guard;
pub mod metrics;
pub mod serve;
mod stall;
pub mod time;

pub use control::{About, Certificate, Control, Figure, Kind};
pub use guard::Token;
pub use serve::{Admin, AdminError, Config};
