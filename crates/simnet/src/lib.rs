//! A network that exists only in memory and in virtual time, for tests of whole nodes.
//!
//! ```text
//!   SimNet ──▶ Host (an IP address; implements core's Network) ──▶ Env ──▶ Switch, wires, protocols: as they are
//!      └─ Path: one direction between two hosts
//!            write ─▶ buffer (bounded) ─▶ bandwidth ─▶ latency + jitter + retransmissions ─▶ read
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`link`] | what a link is like: latency, jitter, bandwidth, loss, buffer |
//! | `path` | when bytes arrive: one direction between two hosts, cuts |
//! | `pipe` | one direction of one connection: a byte stream with back-pressure |
//! | [`datagrams`] | datagram sockets, address translation, DNS TXT |
//! | [`net`] | hosts, listeners, connecting, partitions, crashes |
//! | [`audit`] | the hash over everything delivered |
//! | [`run`](mod@run) | a scenario on a runtime of its own with a paused clock |
//!
//! Code under test is not changed for it: it takes its network, wall clock and randomness from
//! [`switchboard::Env`] and its timers from tokio, and both are virtual here. Time moves only when every task
//! waits, so an hour of silence costs nothing.
//!
//! **Same seed, same hash.** Jitter and loss come from a generator per direction, seeded with the network's seed and
//! the two addresses. Every delivered segment is folded into a SHA-256 ([`audit::Audit`]); two runs of one
//! scenario with one seed must give the same hash ([`run::twice`] checks it).
//!
//! ```
//! use std::time::Duration;
//! use switchboard::net::Network;
//! use switchboard_simnet::{Link, run};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! let (word, audit) = run::once(7, |net| async move {
//!     net.every_link(Link::new().latency(Duration::from_millis(40)));
//!     let (a, b) = (net.host([10, 0, 0, 1]), net.host([10, 0, 0, 2]));
//!     let listener = b.listen((b.ip(), 30_303).into()).await?;
//!     let mut dialled = a.connect(listener.local_addr()).await?;
//!     let mut accepted = listener.accept().await?;
//!     dialled.writer.write_all(b"hello").await?;
//!     let mut word = [0; 5];
//!     accepted.reader.read_exact(&mut word).await?;
//!     std::io::Result::Ok(word)
//! });
//! assert_eq!(&word?, b"hello");
//! assert_eq!(audit.bytes, 5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What it is not: a model of TCP. There is no slow start, no congestion control and no acknowledgement on the way back; a
//! stream is never reordered or corrupted. Timers of tokio tick in milliseconds, so an arrival is
//! seen at the next whole millisecond. Work costs no time: only links do.

pub mod audit;
pub mod datagrams;
pub mod link;
pub mod net;
mod path;
mod pipe;
pub mod run;

pub use audit::Audit;
pub use datagrams::Nat;
pub use link::Link;
pub use net::{Host, SimNet};
