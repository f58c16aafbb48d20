//! Peer exchange: how nodes of this network learn of each other.
//!
//! ```text
//! message   request and answer on channel 0x00         bytes in, bytes out
//! book      who is known, how well, from whom           256 new and 64 old buckets; addrbook.json
//! state     whom to ask, whom to dial, whom to hang up  (event, now) → actions; seed mode
//! ask       one question to one node, for tools        outside any Switch
//! reactor   the three as a service of a Switch           the shell: sockets, clock, disk
//! ```
//!
//! All but `ask` and the reactor is pure: no socket, no task, no clock, no randomness of its own. Only [`book::file`] touches files.

pub mod address;
pub mod ask;
pub mod book;
pub mod message;
pub mod reactor;
pub mod stamp;
pub mod state;

pub use address::{Group, PeerAddress};
pub use book::Book;
pub use message::Message;
pub use reactor::{Options, Pex};
pub use stamp::Stamp;
pub use state::State;

use rand::Rng;

/// A random number in `0..bound`; 0 when `bound` is 0.
pub(crate) fn below<R: Rng + ?Sized>(rng: &mut R, bound: usize) -> usize {
    ((u128::from(rng.next_u64()) * bound as u128) >> 64) as usize
}

/// A random number in 0.0..1.0.
pub(crate) fn unit<R: Rng + ?Sized>(rng: &mut R) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}
