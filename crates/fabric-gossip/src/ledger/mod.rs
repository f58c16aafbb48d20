//! What a peer keeps of a channel: its blocks, their private data, and private data that waits for its block.
//!
//! ```text
//!   DIR/CHANNEL.ledger       blocks        number                            ─▶ the block as it came
//!                            private       block, transaction, ns, collection ─▶ the private set
//!                            missing       block, transaction, ns, collection ─▶ transaction id, expected hash
//!                            expiry        at block, …                        ─▶ what block-to-live ends then
//!                            transient     transaction id, count              ─▶ a private set that has no block yet
//! ```
//! A commit is one durable transaction: blocks, private data, what is missing and what expires become visible together or not at all,
//! wherever the process ends. The height is not stored; it follows from the last block, so it cannot disagree with it.
//!
//! A node without a genesis block starts at height 1, as Fabric's peers do whose ledger holds the genesis block only: its first
//! block is 1 ([`Options::first`]).
//!
//! Limits: the transient store's are in [`transient`]; a read of several blocks ends at a number of bytes given by the caller.
//! Does not protect from a disk that loses what it said was written, nor from an operator who deletes files.

mod disk;
mod error;
mod memory;
pub mod transient;
mod types;
pub mod walk;

pub use disk::{CACHE, DiskLedger, channels};
pub use error::LedgerError;
pub use memory::MemoryLedger;
pub use transient::{Transient, TransientFault};
pub use types::{BlockStore, Commit, Expiry, Missing, Options, Slot};
pub use walk::{Report, Walk, WalkFault};

#[cfg(test)]
mod tests;
