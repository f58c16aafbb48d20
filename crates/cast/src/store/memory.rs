//! Casts in memory.
//!
//! Limits: all casts of a [`MemoryStores`] share its bytes; those that no node uses any more go first, oldest
//! first, and there are at most [`MAX_KEPT`] of them.

use super::{MAX_KEPT, Opened, Stop, Store, StoreFactory};
use crate::CastId;
use crate::manifest::Header;
use bytes::Bytes;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// Chunks in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    chunks: RwLock<BTreeMap<u64, Bytes>>,
    pages: RwLock<BTreeMap<u16, Bytes>>,
    pool: Weak<Pool>,
    used: AtomicU64,
}

/// What the casts of one factory share.
#[derive(Debug, Default)]
struct Pool {
    max: u64,
    used: AtomicU64,
    made: RwLock<BTreeMap<u64, (CastId, Arc<MemoryStore>)>>,
}

impl Pool {
    /// Drops the oldest cast that nobody else uses.
    fn drop_one(&self) -> bool {
        let mut made = self.made.write();
        let idle = made.iter().find(|(_, (_, store))| Arc::strong_count(store) == 1).map(|(at, _)| *at);
        idle.is_some_and(|at| made.remove(&at).is_some())
    }
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
        Self::new(chunks, Weak::new())
    }

    fn new(chunks: BTreeMap<u64, Bytes>, pool: Weak<Pool>) -> Self {
        Self { chunks: RwLock::new(chunks), pages: RwLock::default(), pool, used: AtomicU64::new(0) }
    }

    /// All bytes, in order.
    #[must_use]
    pub fn contents(&self) -> Vec<u8> {
        self.chunks.read().values().flat_map(|chunk| chunk.iter().copied()).collect()
    }

    /// Takes so many bytes of what the casts share.
    fn grow(&self, bytes: usize) -> io::Result<()> {
        let Some(pool) = self.pool.upgrade() else { return Ok(()) };
        let bytes = bytes as u64;
        while pool.used.fetch_add(bytes, Ordering::Relaxed) + bytes > pool.max {
            pool.used.fetch_sub(bytes, Ordering::Relaxed);
            if !pool.drop_one() {
                let text = format!("casts in memory may have {} bytes together", pool.max);
                return Err(io::Error::new(io::ErrorKind::QuotaExceeded, text));
            }
        }
        self.used.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.used.fetch_sub(*self.used.get_mut(), Ordering::Relaxed);
        }
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
        if self.chunks.read().contains_key(&offset) {
            return Ok(());
        }
        self.grow(chunk.len())?;
        self.chunks.write().insert(offset, Bytes::copy_from_slice(chunk));
        Ok(())
    }

    // Pages are a 32nd part of the smallest chunks, and not counted.
    fn write_page(&self, page: u16, hashes: &[u8]) -> io::Result<()> {
        self.pages.write().insert(page, Bytes::copy_from_slice(hashes));
        Ok(())
    }

    fn read_page(&self, page: u16, out: &mut [u8]) -> io::Result<()> {
        let pages = self.pages.read();
        let found = pages.get(&page).filter(|found| found.len() == out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::NotFound)?);
        Ok(())
    }

    fn remove(&self) -> io::Result<()> {
        if let Some(pool) = self.pool.upgrade() {
            pool.made.write().retain(|_, (_, store)| !std::ptr::eq(Arc::as_ptr(store), self));
        }
        Ok(())
    }

    fn inline(&self) -> bool {
        true
    }
}

/// Keeps casts in memory. Tells which it made, so that a program can read them.
#[derive(Debug)]
pub struct MemoryStores {
    pool: Arc<Pool>,
    next: AtomicU64,
}

impl MemoryStores {
    /// Takes casts of up to `max` bytes, all together.
    #[must_use]
    pub fn new(max: u64) -> Arc<Self> {
        Arc::new(Self { pool: Arc::new(Pool { max, ..Pool::default() }), next: AtomicU64::new(0) })
    }

    /// The store of a cast.
    #[must_use]
    pub fn get(&self, id: CastId) -> Option<Arc<MemoryStore>> {
        let made = self.pool.made.read();
        made.values().rev().find(|(known, _)| *known == id).map(|(_, store)| Arc::clone(store))
    }
}

impl StoreFactory for MemoryStores {
    fn open(&self, header: &Header, hops: u8, _: &Stop) -> io::Result<Opened> {
        if header.size() > self.pool.max {
            let text =
                format!("cast of {} bytes: at most {} are kept in memory", header.size(), self.pool.max);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        while self.pool.made.read().len() >= MAX_KEPT && self.pool.drop_one() {}
        let store = Arc::new(MemoryStore::new(BTreeMap::new(), Arc::downgrade(&self.pool)));
        let at = self.next.fetch_add(1, Ordering::Relaxed);
        self.pool.made.write().insert(at, (header.id(), Arc::clone(&store)));
        Ok(Opened::empty(store, header, hops))
    }

    fn inline(&self) -> bool {
        true
    }
}
