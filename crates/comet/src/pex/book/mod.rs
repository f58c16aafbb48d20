//! The address book: who is known, how well, and from whom.
//!
//! ```text
//!            told by somebody                       proven by a session
//!   add ──▶ new: 256 buckets × 64  ── mark_good ──▶ old: 64 buckets × 64
//!              │ full: a bad one goes,                 │ full: the oldest goes back to new
//!              ▼       else the oldest                 ▼
//!           forgotten                     mark_bad ──▶ banned, until a time
//! ```
//! (cometbft p2p/pex/addrbook.go, params.go, known_address.go)
//!
//! The guard against an eclipse: which new bucket an address gets depends on the group of who told it, and one
//! group reaches 32 of 256; which old bucket, on the address's own group, and one group reaches 4 of 64. So
//! whoever tells a million addresses out of one /16 replaces at most an eighth of the new ones. An ID that is
//! old keeps its address, whatever is told of it.
//!
//! Limits: 20,480 addresses at 120 bytes each, plus an index: under 5 MB however much is told.
//! [`MAX_BANNED`] bans (those that end first go), [`MAX_OWN`] own addresses and [`MAX_PRIVATE`] private IDs,
//! more are not taken. No call walks the whole book but [`Book::to_json`], [`Book::sorted`] and the
//! operator's `add_private`: an insertion walks a bucket, an answer of 250 addresses costs 250 draws.
//!
//! Where this differs from the Go code: buckets hold 64 and not 65 (one of 65 in a file is read); the address
//! that must leave a full old bucket does become new again; a ban holds also for an ID that is not in the book
//! and survives a restart; addresses without a port are refused; our own ID is refused at any address.
//!
//! Does not protect from an attacker with addresses in many groups.

mod buckets;
pub mod file;
mod hash;
pub mod import;
mod known;
mod selection;
mod table;

pub use known::{BAD_AFTER, JUST_TRIED, Kind, Known, MAX_FAILURES, MAX_RETRIES, MISSING_AFTER};
pub use selection::selection_len;
pub use table::{Added, Book, Refused};

/// Buckets of new addresses (cometbft p2p/pex/params.go `newBucketCount`).
pub const NEW_BUCKETS: usize = 256;
/// Buckets of old addresses (cometbft `oldBucketCount`).
pub const OLD_BUCKETS: usize = 64;
/// Addresses in a bucket (cometbft `newBucketSize`, `oldBucketSize`).
pub const BUCKET_SIZE: usize = 64;
/// New buckets that one source group reaches (cometbft `newBucketsPerGroup`).
pub const NEW_BUCKETS_PER_GROUP: usize = 32;
/// Old buckets that one group reaches (cometbft `oldBucketsPerGroup`).
pub const OLD_BUCKETS_PER_GROUP: usize = 4;
/// New buckets one address may be in (cometbft `maxNewBucketsPerAddress`).
pub const MAX_BUCKETS_PER_ADDRESS: usize = 4;
/// Below this size the book wants more (cometbft `needAddressThreshold`).
pub const NEED_MORE_BELOW: usize = 1_000;
/// How much of the book an answer holds, in percent (cometbft `getSelectionPercent`).
pub const SELECTION_PERCENT: usize = 23;
/// How many addresses an answer holds at least, if there are so many (cometbft `minGetSelection`).
pub const MIN_SELECTION: usize = 32;
/// How many it holds at most (cometbft `maxGetSelection`).
pub const MAX_SELECTION: usize = 250;
/// Bans remembered.
pub const MAX_BANNED: usize = 4_096;
/// Own addresses remembered.
pub const MAX_OWN: usize = 64;
/// Private IDs remembered.
pub const MAX_PRIVATE: usize = 4_096;

#[cfg(test)]
mod tests;
