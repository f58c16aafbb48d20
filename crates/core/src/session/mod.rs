//! The running connection with one peer: what reads, what writes, what waits, and what ends it.
//!
//! ```text
//!   socket ─▶ reader ─▶ reassembly ─▶ inboxes ─▶ protocol tasks ─▶ lanes ─▶ scheduler ─▶ writer ─▶ socket
//!                └── ping ─▶ pong ───────────────────────────────────────────────────────▲
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `assemble` | from a finished handshake to the parts of a session |
//! | `supervise` | its tasks, from their start to their end; what ends a session |
//! | `reader` | bytes to frames, parts to messages, messages to inboxes |
//! | `writer` | picks to frames, frames to bytes, one write for many |
//! | `liveness` | when to ping, when to give up |
//! | `pulse` | marks that the tasks leave for each other |
//! | [`inbox`] | received messages that wait for their protocol |
//! | [`outgoing`] | lanes: messages that wait to be sent |
//! | [`scheduler`] | which lane sends next |
//! | [`ledger`] | bytes held, for each peer and in all |
//! | `layout` | what the channels are, shared by sessions with the same |
//! | `buffers` | read and write buffers, lent for as long as there is something in them |
//! | `pace` | bytes a second |
//! | [`tap`] | sees every frame |
//! | [`flow`] | messages and bytes by channel |
//!
//! An idle session is three tasks and one for each protocol; it holds no buffer.

pub(crate) mod assemble;
pub(crate) mod buffers;
pub mod flow;
pub mod inbox;
pub(crate) mod layout;
pub mod ledger;
mod liveness;
pub mod outgoing;
pub(crate) mod pace;
mod pulse;
mod reader;
pub mod scheduler;
pub(crate) mod supervise;
pub mod tap;
mod writer;
