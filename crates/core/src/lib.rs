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
//!
//! The words, one meaning each:
//!
//! | word | is | where |
//! |---|---|---|
//! | Switch | the one place that knows the peers and decides who becomes one | [`Switch`] |
//! | Checkpoints | the three moments at which the Switch decides, each with a Reason | [`switch`] |
//! | Peer | a connected node, as programs and protocols see it | [`Peer`] |
//! | PeerId | who a peer is: bytes that its wire proves | [`PeerId`] |
//! | PeerSet | the connected peers: listed, filtered, looked up | [`PeerSet`] |
//! | Candidate | somebody who may be dialled | [`Candidate`] |
//! | Source | gives candidates when asked | [`Source`] |
//! | Service | background work that lives with the Switch | [`Service`] |
//! | Score | misbehaviour counted, up to a Ban | [`switch::score`] |
//! | Preset | a network's numbers and rules of admission | [`Preset`] |
//! | Store | what survives a restart | [`Store`] |
//! | Protocol | a task for each peer that shares it | [`Protocol`] |
//! | Reactor | the same as callbacks | [`Reactor`] |
//! | Channel | one ordered flow of messages, with its priority and limits | [`protocol::channel`], [`ChannelSpec`] |
//! | Lane | a channel's send queue in one session | [`session::outgoing`], [`wire::Lanes`] |
//! | Scheduler | which lane sends next | [`session::scheduler::Scheduler`] |
//! | Wire | a network's handshake, framing and identity | [`wire::Wire`] |
//! | Session | the running connection with a peer | [`session`] |
//! | Ledger | bytes held, for each peer and in all | [`session::ledger::Ledger`] |
//! | Census | what a Switch counts, by fixed words | [`census`] |
//! | Reason | why something happened | [`Reason`] |
//! | Event | what the Switch tells the program | [`Event`] |

pub mod candidate;
pub mod census;
pub mod env;
pub mod event;
pub mod id;
pub mod net;
pub mod preset;
pub mod protocol;
pub mod reason;
pub mod service;
pub mod session;
pub mod store;
pub mod switch;
pub mod text;
pub mod wire;

pub use candidate::Candidate;
pub use env::Env;
pub use event::{Event, Events};
pub use id::{Direction, PeerId, WireName};
pub use preset::Preset;
pub use protocol::{
    ChannelId, ChannelIo, ChannelSender, ChannelSpec, Overflow, Protocol, ProtocolError, ProtocolSpec,
    Reactor, Typed,
};
pub use reason::Reason;
pub use service::{Service, ServiceContext};
pub use session::inbox::{Inbox, Received};
pub use session::outgoing::SendError;
pub use session::tap::Tap;
pub use store::{MemoryStore, Store};
pub use switch::access::{AccessList, Limits};
pub use switch::peer::{By, End, Peer};
pub use switch::score::{Ban, Misbehaviour};
pub use switch::source::Source;
pub use switch::{ConnectError, PeerSet, Switch, SwitchBuilder};

/// A boxed future, so that traits with async methods stay usable as trait objects.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
