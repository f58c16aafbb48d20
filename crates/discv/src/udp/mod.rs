//! Discovery on a socket: one UDP port, both versions, one record. Usable without a Switch.
//!
//! ```text
//!   socket ─▶ up to 64 datagrams ─▶ v5's mask fits? ─yes─▶ v5 ─┐
//!                                         └─no──────────▶ v4 ─┼─▶ actions ─▶ one batch out
//!   handle (bounded channel of jobs) ─────────────────────────┘        ├─▶ answers of requests, events
//!   timer at the earliest next_wake ──────────────────────────┘        └─▶ own record: statements, new signature
//! ```
//!
//! | module | holds |
//! |---|---|
//! | `actor` | the task: owns the socket, both states and the record |
//! | `handle` | [`Discovery`]: requests, candidates, counters, events |
//! | `keep` | the records of nodes in the node's store |
//! | `mix` | [`Mix`]: candidates of several sources by turns; nodes of DNS lists |
//!
//! Network, wall clock and randomness come from [`switchboard::Env`], so the same task runs in a simulated network.
//!
//! Limits: [`MAX_JOBS`] jobs wait, [`MAX_PENDING`] requests are under way; what is over is refused ([`AskError::Busy`]).
//! A datagram for which the socket has no room is lost and counted. Records of nodes are written every
//! [`SAVE_EVERY`] if they changed, and at the end.

mod actor;
mod config;
mod handle;
mod keep;
mod mix;

pub use actor::{MAX_JOBS, MAX_PENDING, SAVE_EVERY};
pub use config::{Bootnode, DiscoveryConfig, StartError, Versions};
pub use handle::{AskError, Counters, Discovery, Event, Pong, Version};
pub use keep::{MAX_CHANGES, MAX_ROWS};
pub use mix::{Candidates, DnsNodes, MAX_PATIENCE, Mix, read_list};
