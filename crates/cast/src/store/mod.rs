//! Where a cast's chunks live: a file, memory, or the source's own file.
//!
//! Only checked chunks and pages are written. Every call may block; [`Store::inline`] says whether it is
//! short enough to be made on an async thread.
//!
//! Limits: [`MemoryStores`] refuses casts over its size; files are bounded by the disk, and by
//! [`super::Config::max_bytes`]. A store that fails ends that cast on this node, not the session.
//!
//! Does not protect from others who change the files: a chunk read back is not checked again (the peer
//! it goes to checks it), except after a restart, when everything is.

mod file;
mod source;

pub use file::{FileStore, FileStores};
pub use source::SourceStore;

use super::bits::Bits;
use super::manifest::Header;
use bytes::Bytes;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

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

    /// Every chunk is there: makes the file durable and gives it its final name.
    ///
    /// # Errors
    /// What the file system says.
    fn finish(&self) -> io::Result<()> {
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

/// A store that was made or found again.
pub struct Opened {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The pages found, each checked against the header; as many entries as the header has pages.
    pub pages: Vec<Option<Bytes>>,
    /// The chunks found, each checked against its page.
    pub held: Bits,
    /// How far from the source we were when it was made.
    pub hops: u8,
}

impl Opened {
    /// A store with nothing in it.
    #[must_use]
    pub fn empty(store: Arc<dyn Store>, header: &Header, hops: u8) -> Self {
        Self { store, pages: vec![None; header.pages().len()], held: Bits::new(header.chunks()), hops }
    }
}

/// Makes stores for casts that are learnt, and finds those of an earlier run.
pub trait StoreFactory: Send + Sync + 'static {
    /// The store of a cast: what an earlier run left, checked anew, or an empty one.
    ///
    /// # Errors
    /// What the file system says, or that the cast is too large for this kind of store.
    fn open(&self, header: &Header, hops: u8) -> io::Result<Opened>;

    /// The casts an earlier run left, in a stable order.
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

/// Chunks in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    chunks: RwLock<BTreeMap<u64, Bytes>>,
}

impl MemoryStore {
    /// A store that holds these bytes as chunks of `chunk_size`.
    #[must_use]
    pub fn full(mut bytes: Bytes, chunk_size: u32) -> Self {
        let (mut chunks, mut offset) = (BTreeMap::new(), 0);
        while !bytes.is_empty() {
            let chunk = bytes.split_to(bytes.len().min(chunk_size.max(1) as usize));
            let len = chunk.len() as u64;
            chunks.insert(offset, chunk);
            offset += len;
        }
        Self { chunks: RwLock::new(chunks) }
    }

    /// All bytes, in order.
    #[must_use]
    pub fn contents(&self) -> Vec<u8> {
        self.chunks.read().values().flat_map(|chunk| chunk.iter().copied()).collect()
    }
}

impl Store for MemoryStore {
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let chunks = self.chunks.read();
        let chunk = chunks.get(&offset).filter(|chunk| chunk.len() == out.len());
        out.copy_from_slice(chunk.ok_or(io::ErrorKind::NotFound)?);
        Ok(())
    }

    fn write(&self, offset: u64, chunk: &[u8]) -> io::Result<()> {
        self.chunks.write().insert(offset, Bytes::copy_from_slice(chunk));
        Ok(())
    }

    fn inline(&self) -> bool {
        true
    }
}

/// Keeps casts in memory, those up to `max` bytes. Tells which it made, so that a program can read them.
#[derive(Debug, Default)]
pub struct MemoryStores {
    max: u64,
    made: RwLock<BTreeMap<super::CastId, Arc<MemoryStore>>>,
}

impl MemoryStores {
    /// Takes casts of up to `max` bytes.
    #[must_use]
    pub fn new(max: u64) -> Arc<Self> {
        Arc::new(Self { max, made: RwLock::default() })
    }

    /// The store of a cast.
    #[must_use]
    pub fn get(&self, id: super::CastId) -> Option<Arc<MemoryStore>> {
        self.made.read().get(&id).cloned()
    }
}

impl StoreFactory for MemoryStores {
    fn open(&self, header: &Header, hops: u8) -> io::Result<Opened> {
        if header.size() > self.max {
            let text = format!("cast of {} bytes: at most {} are kept in memory", header.size(), self.max);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        let store = Arc::new(MemoryStore::default());
        self.made.write().insert(header.id(), Arc::clone(&store));
        Ok(Opened::empty(store, header, hops))
    }

    fn inline(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
