//! What survives a restart: bytes under keys, in named spaces.
//!
//! ```text
//!   space ("switch.bans", "pex.book" …)
//!     └─ key (1 to 512 bytes, ordered bytewise) ─▶ value (up to 16 MiB)
//!   apply(Changes)   all of them or none      flush()   what was applied before is on disk
//! ```
//!
//! A form on disk stands in the crate that assembles nodes; [`MemoryStore`] is for nodes that keep nothing, and
//! for tests: it can be made to fail, and to lose what was not flushed, as a machine that loses power does.
//!
//! Limits: [`MAX_KEY`] and [`MAX_VALUE`]; a scan gives at most as many rows as asked for. Not protected: values are
//! not encrypted, and who can write the file can change them.

use crate::BoxFuture;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Longest key, in bytes.
pub const MAX_KEY: usize = 512;
/// Longest value, in bytes.
pub const MAX_VALUE: usize = 16 << 20;

/// Why something could not be stored or read. Always a local fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk, or a quota, is full.
    #[error("the store is full: free some space under the data folder")]
    Full,
    /// The system refused to read or write.
    #[error("the store cannot be read or written: {0}")]
    Io(String),
    /// What was read is not what was written.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
    /// An empty key, or a key or value over its limit.
    #[error("{what} of {len} bytes; the limit is {limit}")]
    Size {
        /// `key` or `value`.
        what: &'static str,
        /// Its bytes.
        len: usize,
        /// The limit.
        limit: usize,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// One row of a scan.
pub type Row = (Bytes, Bytes);

/// Keeps bytes under keys. Every method may be called at any time, from many tasks.
pub trait Store: Send + Sync + 'static {
    /// The value under a key.
    fn get<'a>(&'a self, space: &'a str, key: &'a [u8]) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>>;

    /// Up to `most` rows whose key begins with `prefix`, in the order of their keys, those after the key
    /// `after` only, where it is given.
    fn scan<'a>(
        &'a self,
        space: &'a str,
        prefix: &'a [u8],
        after: Option<&'a [u8]>,
        most: usize,
    ) -> BoxFuture<'a, Result<Vec<Row>, StoreError>>;

    /// Makes all changes, or none of them. Later reads see them at once.
    fn apply(&self, changes: Changes) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Returns when everything applied before is on disk.
    fn flush(&self) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// Puts and deletes that are made together, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    rows: Vec<Change>,
}

/// One put (`value` is there) or delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The space.
    pub space: String,
    /// The key.
    pub key: Bytes,
    /// The new value; `None` deletes.
    pub value: Option<Bytes>,
}

impl Changes {
    /// No changes yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a value.
    #[must_use]
    pub fn put(mut self, space: &str, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        self.rows.push(Change { space: space.to_owned(), key: key.into(), value: Some(value.into()) });
        self
    }

    /// Deletes a key; it need not be there.
    #[must_use]
    pub fn delete(mut self, space: &str, key: impl Into<Bytes>) -> Self {
        self.rows.push(Change { space: space.to_owned(), key: key.into(), value: None });
        self
    }

    /// The changes in order, each within the limits.
    ///
    /// # Errors
    /// [`StoreError::Size`] for the first that is not.
    pub fn checked(self) -> Result<Vec<Change>, StoreError> {
        for Change { key, value, .. } in &self.rows {
            let size = |what, len, limit| Err(StoreError::Size { what, len, limit });
            match value {
                _ if key.is_empty() || key.len() > MAX_KEY => size("key", key.len(), MAX_KEY)?,
                Some(value) if value.len() > MAX_VALUE => size("value", value.len(), MAX_VALUE)?,
                _ => {}
            }
        }
        Ok(self.rows)
    }
}

/// One space of a store; cheap to clone.
#[derive(Clone)]
pub struct Space {
    store: Arc<dyn Store>,
    name: Arc<str>,
}

impl Space {
    /// A space of the given name.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, name: &str) -> Self {
        Self { store, name: name.into() }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value under a key.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.store.get(&self.name, key).await
    }

    /// Puts a value.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing changed.
    pub async fn put(&self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Result<(), StoreError> {
        self.store.apply(Changes::new().put(&self.name, key, value)).await
    }

    /// Deletes a key.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing changed.
    pub async fn delete(&self, key: impl Into<Bytes>) -> Result<(), StoreError> {
        self.store.apply(Changes::new().delete(&self.name, key)).await
    }

    /// Up to `most` rows whose key begins with `prefix`, those after `after` only, where it is given.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        most: usize,
    ) -> Result<Vec<Row>, StoreError> {
        self.store.scan(&self.name, prefix, after, most).await
    }

    /// Changes to be made together; each names its space, so that one call may reach several.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing changed.
    pub async fn apply(&self, changes: Changes) -> Result<(), StoreError> {
        self.store.apply(changes).await
    }

    /// Returns when everything applied before is on disk.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.store.flush().await
    }
}

impl std::fmt::Debug for Space {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Space({})", self.name)
    }
}

type Table = BTreeMap<(String, Bytes), Bytes>;

#[derive(Default)]
struct Memory {
    live: Table,
    /// What a crash leaves.
    flushed: Table,
    fails: Option<StoreError>,
    /// Writes that still succeed before `fails` begins.
    spared: usize,
}

/// A store in memory. Clones share it, so a node can be started again on what another left.
#[derive(Clone, Default)]
pub struct MemoryStore {
    memory: Arc<Mutex<Memory>>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// After `spared` more writes every call fails so; `None` heals it.
    pub fn fail(&self, error: Option<StoreError>, spared: usize) {
        let mut memory = self.memory.lock();
        (memory.fails, memory.spared) = (error, spared);
    }

    /// Forgets what was not flushed.
    pub fn crash(&self) {
        let mut memory = self.memory.lock();
        memory.live = memory.flushed.clone();
    }

    /// How many rows there are, in all spaces.
    #[must_use]
    pub fn len(&self) -> usize {
        self.memory.lock().live.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn with<T>(&self, writes: bool, act: impl FnOnce(&mut Memory) -> T) -> Result<T, StoreError> {
        let mut memory = self.memory.lock();
        if let Some(error) = memory.fails.clone() {
            match memory.spared {
                0 => return Err(error),
                _ => memory.spared -= usize::from(writes),
            }
        }
        Ok(act(&mut memory))
    }
}

impl Store for MemoryStore {
    fn get<'a>(&'a self, space: &'a str, key: &'a [u8]) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>> {
        Box::pin(async move {
            let row = (space.to_owned(), Bytes::copy_from_slice(key));
            self.with(false, |memory| memory.live.get(&row).cloned())
        })
    }

    fn scan<'a>(
        &'a self,
        space: &'a str,
        prefix: &'a [u8],
        after: Option<&'a [u8]>,
        most: usize,
    ) -> BoxFuture<'a, Result<Vec<Row>, StoreError>> {
        Box::pin(async move {
            let from = after.unwrap_or_default().max(prefix);
            let from = (space.to_owned(), Bytes::copy_from_slice(from));
            self.with(false, |memory| {
                let rows = memory.live.range(from..);
                let rows = rows.take_while(|((s, key), _)| s == space && key.starts_with(prefix));
                let later = rows.filter(|((_, key), _)| after.is_none_or(|after| key[..] > *after));
                later.take(most).map(|((_, key), value)| (key.clone(), value.clone())).collect()
            })
        })
    }

    fn apply(&self, changes: Changes) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let rows = changes.checked()?;
            self.with(true, |memory| {
                for Change { space, key, value } in rows {
                    match value {
                        Some(value) => drop(memory.live.insert((space, key), value)),
                        None => drop(memory.live.remove(&(space, key))),
                    }
                }
            })
        })
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.with(true, |memory| memory.flushed = memory.live.clone()) })
    }
}

#[cfg(test)]
mod tests;
