//! Where a cast's chunks live: a file, memory, or the source's own file.
//!
//! Only checked chunks and pages are written. Every call may block; [`Store::inline`] says whether it is
//! short enough to be made on an async thread.
//!
//! Limits: all casts of a factory share its bytes ([`FileStores`], [`MemoryStores`]); a write that would pass them
//! is `QuotaExceeded`, after what no cast uses any more was dropped, oldest first. A store that fails ends that
//! cast on this node, not the session, and not the node.
//!
//! Does not protect from others who change the files: a chunk read back is not checked again (the peer
//! it goes to checks it), except after a restart, when everything is.

mod disk;
mod file;
mod memory;
mod record;
mod source;

pub use disk::MAX_KEPT;
pub use file::{FileStore, FileStores};
pub use memory::{MemoryStore, MemoryStores};
pub use source::SourceStore;

use super::bits::Bits;
use super::manifest::Header;
use super::state::PageSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Tells long work to end. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    own: Arc<AtomicBool>,
    other: Option<Arc<AtomicBool>>,
}

impl Stop {
    /// From now on everything that looks here ends.
    pub fn stop(&self) {
        self.own.store(true, Ordering::Relaxed);
    }

    /// Stopped when this or that one is.
    pub(crate) fn or(&self, other: &Self) -> Self {
        Self { own: Arc::clone(&self.own), other: Some(Arc::clone(&other.own)) }
    }

    /// # Errors
    /// `TimedOut` once it was stopped.
    pub fn check(&self) -> io::Result<()> {
        let set = |flag: &Arc<AtomicBool>| flag.load(Ordering::Relaxed);
        if set(&self.own) || self.other.as_ref().is_some_and(set) {
            // Not `Interrupted`: readers try that again.
            return Err(io::Error::new(io::ErrorKind::TimedOut, "stopped"));
        }
        Ok(())
    }
}

/// Holds the chunks of one cast.
pub trait Store: Send + Sync + 'static {
    /// Fills `out` from `offset` on. Only asked for chunks that were written.
    ///
    /// # Errors
    /// What the file system says.
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Keeps a checked chunk.
    ///
    /// # Errors
    /// What the file system says.
    fn write(&self, offset: u64, chunk: &[u8]) -> io::Result<()>;

    /// Keeps a checked page, so that a restarted node can check its chunks.
    ///
    /// # Errors
    /// What the file system says.
    fn write_page(&self, page: u16, hashes: &[u8]) -> io::Result<()> {
        let _ = (page, hashes);
        Ok(())
    }

    /// Fills `out` with a page that was kept.
    ///
    /// # Errors
    /// `NotFound` when it was not kept, or what the file system says.
    fn read_page(&self, page: u16, out: &mut [u8]) -> io::Result<()> {
        let _ = (page, out);
        Err(io::ErrorKind::NotFound.into())
    }

    /// The cast is given up: what was kept goes. Writes fail from now on.
    ///
    /// # Errors
    /// What the file system says.
    fn remove(&self) -> io::Result<()> {
        Ok(())
    }

    /// Every chunk is there: makes the file durable and gives it its final name.
    ///
    /// # Errors
    /// What the file system says.
    fn finish(&self) -> io::Result<()> {
        Ok(())
    }

    /// Writes down what a restart needs to know.
    ///
    /// # Errors
    /// What the file system says.
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    /// Where the file is now, if it is one.
    fn path(&self) -> Option<PathBuf> {
        None
    }

    /// Whether calls are short enough for an async thread (and hashing with them).
    fn inline(&self) -> bool {
        false
    }
}

/// Pages of a cast.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pages(pub(crate) PageSet);

impl Pages {
    /// Adds a page.
    pub fn set(&mut self, page: u16) {
        self.0.set(page);
    }

    /// Whether it is there.
    #[must_use]
    pub fn has(&self, page: u16) -> bool {
        self.0.has(page)
    }
}

/// A store that was made or found again.
pub struct Opened {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The pages found, each checked against the header.
    pub pages: Pages,
    /// The chunks found, each checked against its page.
    pub held: Bits,
    /// How far from the source we were when it was made.
    pub hops: u8,
}

impl Opened {
    /// A store with nothing in it.
    #[must_use]
    pub fn empty(store: Arc<dyn Store>, header: &Header, hops: u8) -> Self {
        Self { store, pages: Pages::default(), held: Bits::new(header.chunks()), hops }
    }
}

/// Makes stores for casts that are learnt, and finds those of an earlier run.
pub trait StoreFactory: Send + Sync + 'static {
    /// The store of a cast: what an earlier run left, checked anew, or an empty one. Looks at `stop` between chunks.
    ///
    /// # Errors
    /// What the file system says, that the cast is too large for this kind of store, or that it was stopped.
    fn open(&self, header: &Header, hops: u8, stop: &Stop) -> io::Result<Opened>;

    /// The casts an earlier run left, the latest first, at most as many as a node keeps.
    ///
    /// # Errors
    /// What the file system says.
    fn resume(&self) -> io::Result<Vec<Header>> {
        Ok(Vec::new())
    }

    /// Whether [`StoreFactory::open`] is short enough for an async thread.
    fn inline(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests;
