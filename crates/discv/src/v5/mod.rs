//! Node discovery, version 5: sealed packets, sessions, queries by distance, requests of protocols above.
//!
//! ```text
//!   datagram ─▶ packet (mask, header) ─▶ session (keys, handshakes) ─▶ message ─▶ state ─▶ actions
//!                                             ▲ budget                    │
//!                                             └ unreadable: WHOAREYOU     ├ serve: PING, FINDNODE, TALKREQ answered
//!                                                                         ├ call: answers matched with requests
//!                                                                         └ lookup: the nodes nearest to an id
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`packet`] [`crypto`] [`message`] | codecs: bytes in, bytes out |
//! | `session` | sessions by (id, address), handshakes, challenges |
//! | `budget` | how often strangers are answered |
//! | `call` | requests under way, and what is checked of their answers |
//! | `lookup` | one search |
//! | `talk` | [`TalkHandler`]: protocols above |
//! | `state` | [`V5`]: all of it |
//!
//! One socket may serve versions 4 and 5: [`packet::is_v5`] tells the packets apart.
//!
//! Never more bytes go out to an address that is not proven than came from it: a WHOAREYOU has 63 bytes, the
//! shortest packet that provokes one as many. Everything else is sealed with a session, whose making proves the address.

mod budget;
mod call;
pub mod crypto;
mod lookup;
pub mod message;
pub mod packet;
mod serve;
mod session;
mod state;
mod talk;

pub use call::{CallError, MAX_ACTIVE, MAX_QUEUED, MAX_QUEUED_PER_NODE};
pub use message::MAX_TALK;
pub use packet::is_v5;
pub use session::{CHALLENGE_LIFE, Dropped, MAX_CHALLENGES, MAX_SESSIONS, MAX_TRIES};
pub use state::{Action, Config, Counters, MAX_BOOTNODES, MAX_LOOKUPS, MAX_RANDOM, Outcome, Request, V5};
pub use talk::{MAX_TALKS, TALK_LIFE, TalkAnswer, TalkHandler, TalkTicket};

use crate::NodeId;
use std::net::SocketAddr;

/// A node at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer {
    /// Who.
    pub id: NodeId,
    /// Where.
    pub addr: SocketAddr,
}

#[cfg(test)]
mod tests;
