//! The running connection with one peer: what reads, what writes, what waits, and what ends it.
//!
//! ```text
//!   socket ─▶ reader ─▶ reassembly ─▶ inboxes ─▶ protocol tasks ─▶ lanes ─▶ scheduler ─▶ writer ─▶ socket
//!                └── ping ─▶ pong ───────────────────────────────────────────────────────▲
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `run` | the session's tasks, from its start to its end |
//! | [`inbox`] | received messages that wait for their protocol |
//! | [`outgoing`] | lanes: messages that wait to be sent |
//! | [`scheduler`] | which lane sends next |
//! | [`ledger`] | bytes held, for each peer and in all |
//! | `pace` | bytes a second |

pub mod inbox;
pub mod ledger;
pub mod outgoing;
pub(crate) mod pace;
pub(crate) mod run;
pub mod scheduler;

pub use run::{GOODBYE_LIMIT, PROTOCOL_GRACE};
