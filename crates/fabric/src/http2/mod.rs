//! HTTP/2 under gRPC, over the `h2` crate.
//!
//! ```text
//!   bytes ─▶ flood (counts control frames) ─▶ h2 ─▶ serve (calls, keepalive, end) ─▶ stream (reader, writer)
//!                                                  polled by connection: a task, or whoever reads and writes
//! ```
//! | module | holds |
//! |---|---|
//! | [`flood`] | the budget of frames that carry no data |
//! | [`keepalive`] | pings, and their 60 s floor |
//! | `connection` | who polls a connection |
//! | `serve` | the work of a connection, accepted or dialled |
//! | [`stream`] | a GossipStream as reader and writer |
//! | [`verdict`] | who is at fault when a connection ends |

pub(crate) mod connection;
pub mod flood;
pub mod keepalive;
pub(crate) mod serve;
pub mod stream;
pub mod verdict;

pub use keepalive::KeepAlive;
