//! `cast`: one file to every node, hop by hop, every chunk checked before it is kept or passed on.
//!
//! The bytes and rules stand in `docs/cast.md`. One [`Cast`] serves all wires of a node; each wire gets
//! its own [`Cast::protocol`] with the channel numbers and the wrapping of that wire:
//!
//! ```no_run
//! # async fn f() -> Result<(), Box<dyn std::error::Error>> {
//! use switchboard_cast::{Cast, ChannelMap, Config, FileStores};
//! let cast = Cast::new(Config::default(), FileStores::new("casts")?);
//! cast.resume().await?;                             // what an earlier run left
//! let protocol = cast.protocol(ChannelMap::plain(0)); // give it to the SwitchBuilder
//! let id = cast.start("big.iso").await?;
//! # Ok(()) }
//! ```
//!
//! | file | holds |
//! |---|---|
//! | [`manifest`] | header, id, pages |
//! | [`message`] | the messages' bytes |
//! | `state` | who holds what, what to ask of whom: no IO, no clock |
//! | [`store`] | where chunks live |
//! | `node`, `protocol` | the handle, and the tasks of each session |
//!
//! Limits: those of each file; events beyond [`EVENT_BACKLOG`] are lost to a slow listener, which is told so.
//!
//! Does not hide the content, or who holds it, from peers; anybody connected may start a cast. Limit the
//! peers, or turn [`Config::receive`] off.

pub mod bits;
pub mod manifest;
pub mod message;
mod node;
mod protocol;
mod state;
pub mod store;

pub use manifest::{CastId, Hash, Header, Malformed, Manifest};
pub use message::{Flow, Message, Part};
pub use node::{Cast, CastEvent, Config, EVENT_BACKLOG, StartError};
pub use protocol::{CastProtocol, ChannelMap, Framing};
pub use state::{
    ABANDONED, BURST, CastStatus, GATHER, IN_FLIGHT, IN_FLIGHT_BYTES, MAX_CASTS, MAX_HAD, MAX_LOADED,
    MAX_OWN, MAX_PARTIAL, MAX_PER_PEER, MAX_UPLOADS, PAGE_CREDIT, PATIENCE, RATE, REPEAT, REPEAT_MOST,
    STALLED, UNSERVED,
};
pub use store::{FileStores, MAX_KEPT, MemoryStore, MemoryStores, SourceStore, Stop, Store, StoreFactory};

#[cfg(test)]
mod tests;
