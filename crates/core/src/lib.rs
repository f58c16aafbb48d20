//! One peer-to-peer programming model for blockchain networks.
//!
//! A program registers [`Protocol`]s on a [`Switch`]; the Switch keeps [`Peer`]s over any [`wire::Wire`].
//! This crate knows no wire: those live in crates of their own, above it.
//!
//! The life of a message:
//!
//! ```text
//! Protocol.send ─▶ Lane ─▶ Scheduler ─▶ Wire encoder ─▶ one write for many frames ─▶ socket
//! socket ─▶ Wire decoder ─▶ reassembly ─▶ Channel inbox ─▶ Protocol.recv
//! ```

pub mod access;
pub mod bench;
pub mod candidate;
pub mod cast;
pub mod channel;
pub mod dial;
pub mod env;
pub mod event;
pub mod id;
pub mod inbox;
pub mod io;
pub mod ledger;
pub mod memory;
pub mod net;
pub mod outgoing;
mod pace;
pub mod peer;
pub mod protocol;
pub mod reactor;
pub mod reason;
pub mod scheduler;
pub mod session;
pub mod switch;
pub mod text;
pub mod wire;

pub use access::{AccessList, Limits};
pub use candidate::Candidate;
pub use channel::{ChannelId, ChannelSpec, Overflow};
pub use env::Env;
pub use event::Event;
pub use id::{Direction, PeerId, WireName};
pub use inbox::Inbox;
pub use io::{ChannelIo, ChannelSender};
pub use outgoing::SendError;
pub use peer::{By, End, Peer};
pub use protocol::{Protocol, ProtocolError, ProtocolSpec};
pub use reactor::Reactor;
pub use reason::Reason;
pub use switch::{Switch, SwitchBuilder};

/// A boxed future, so that traits with async methods stay usable as trait objects.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
