//! Node lists in DNS (EIP-1459): reading them, finding nodes in them, making and signing them.
//!
//! | module | holds |
//! |---|---|
//! | `entry` | [`Root`], [`Entry`], [`Link`], [`struct@Hash`]: the texts |
//! | `tree` | [`Tree`], [`Signed`]: makes a list |
//! | `walk` | what of a list is still to be fetched; its limits |
//! | `client` | [`Client`]: random nodes of lists and the lists they link to |
//! | `sync` | [`Sync`]: one list to its end |
//!
//! The resolver is the caller's: both machines say which name to ask for and are given the texts.

mod client;
mod entry;
mod sync;
mod tree;
mod walk;

pub use client::{
    CACHE, Client, ListError, MAX_ANSWERS, MAX_LISTS, PATIENCE, Question, QuestionId, RECHECK, Step,
};
pub use entry::{Entry, EntryError, Hash, Link, MAX_TXT, Root};
pub use sync::{Contents, Sync, SyncStep};
pub use tree::{MAX_CHILDREN, MAX_NODES, Signed, Tree, TreeError};
pub use walk::{MAX_DEPTH, MAX_ENTRIES, ShapeError};

#[cfg(test)]
mod tests;
