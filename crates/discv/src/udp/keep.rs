//! The records of nodes in the node's store, written behind.
//!
//! ```text
//!   store ─▶ all rows, once ─▶ NodeDb        NodeDb ─put, remove─▶ changes that wait ─▶ one batch ─▶ store
//! ```
//! [`NodeDb`](crate::NodeDb) holds every record in memory and changes it at once; what it changed waits here, the newest
//! change of each key, until the task has it written. A batch is stored whole or not at all. What could not be written
//! waits for the next time. A crash loses what was not written yet: nodes that were met in the last seconds.
//!
//! Limits: [`MAX_ROWS`] rows are read; [`MAX_CHANGES`] changes wait while the store fails, then the oldest keys are given up:
//! what they held can be learned anew from the network.

use crate::nodes::{KeyValue, MAX_NODES};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use switchboard::store::{Changes, Space, StoreError};

/// Rows that are read when the store is opened.
pub const MAX_ROWS: usize = 4 * MAX_NODES;
/// Changes that wait for the store.
pub const MAX_CHANGES: usize = 4 * MAX_NODES;
/// Rows read at a time.
const PAGE: usize = 512;

#[derive(Debug, Default)]
struct Waiting {
    /// What was read, until it is asked for.
    read: Vec<(Vec<u8>, Vec<u8>)>,
    changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl Waiting {
    fn change(&mut self, key: &[u8], value: Option<Vec<u8>>) {
        self.changes.insert(key.to_vec(), value);
        if self.changes.len() > MAX_CHANGES {
            self.changes.pop_first();
        }
    }
}

/// The records' place in a store, shared between who changes and who writes them.
#[derive(Debug, Clone)]
pub(super) struct Keep {
    space: Space,
    waiting: Arc<Mutex<Waiting>>,
    /// One batch at a time, so that an older one never comes after a newer.
    writing: Arc<tokio::sync::Mutex<()>>,
}

impl KeyValue for Keep {
    fn all(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        std::mem::take(&mut self.waiting().read)
    }

    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.waiting().change(key, Some(value.to_vec()));
    }

    fn remove(&mut self, key: &[u8]) {
        self.waiting().change(key, None);
    }
}

impl Keep {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // A panic elsewhere leaves the map as it was before or after one insertion.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what the store holds.
    pub(super) async fn open(space: Space) -> Result<Self, StoreError> {
        let mut read: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        while read.len() < MAX_ROWS {
            let after = read.last().map(|(key, _)| key.clone());
            let rows = space.scan(&[], after.as_deref(), PAGE).await?;
            let last = rows.len() < PAGE;
            read.extend(rows.into_iter().map(|(key, value)| (key.to_vec(), value.to_vec())));
            if last {
                break;
            }
        }
        let waiting = Waiting { read, changes: BTreeMap::new() };
        Ok(Self { space, waiting: Arc::new(Mutex::new(waiting)), writing: Arc::default() })
    }

    /// Writes what has changed.
    pub(super) async fn save(&self) -> Result<(), StoreError> {
        let _turn = self.writing.lock().await;
        let taken = std::mem::take(&mut self.waiting().changes);
        if taken.is_empty() {
            return Ok(());
        }
        let mut batch = Changes::new();
        for (key, value) in &taken {
            batch = match value {
                Some(value) => batch.put(self.space.name(), key.clone(), value.clone()),
                None => batch.delete(self.space.name(), key.clone()),
            };
        }
        let saved = self.space.apply(batch).await;
        if saved.is_err() {
            let mut waiting = self.waiting();
            for (key, value) in taken {
                waiting.changes.entry(key).or_insert(value);
            }
            while waiting.changes.len() > MAX_CHANGES {
                waiting.changes.pop_first();
            }
        }
        saved
    }

    /// Writes what has changed, and returns when the store has it for good.
    pub(super) async fn close(&self) -> Result<(), StoreError> {
        self.save().await?;
        self.space.flush().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchboard::store::MemoryStore;

    #[tokio::test]
    async fn what_is_saved_is_there_again_and_what_failed_is_tried_again() {
        let store = MemoryStore::new();
        let space = Space::new(Arc::new(store.clone()), "discovery");
        space.put(&b"old"[..], &b"1"[..]).await.unwrap();
        let mut keep = Keep::open(space.clone()).await.unwrap();
        assert_eq!(keep.all(), [(b"old".to_vec(), b"1".to_vec())]);
        assert!(keep.all().is_empty(), "what was read is given once");
        for n in 0..=255_u8 {
            for m in 0..4 {
                keep.put(&[n, m], &[n; 5]);
            }
        }
        keep.remove(b"old");
        keep.remove(&[3, 3]);
        store.fail(Some(StoreError::Full), 0);
        assert_eq!(keep.save().await, Err(StoreError::Full));
        // Newer than what failed.
        keep.put(&[5, 0], b"new");
        store.fail(None, 0);
        keep.close().await.unwrap();
        store.crash();
        let again = Keep::open(space).await.unwrap().all();
        assert_eq!(again.len(), 1_023);
        assert!(again.contains(&(vec![5, 0], b"new".to_vec())));
        assert!(!again.iter().any(|(key, _)| key == b"old" || key == &[3, 3]));
    }

    #[tokio::test]
    async fn nothing_is_written_when_nothing_changed_and_little_is_held_while_nothing_can_be_written() {
        let store = MemoryStore::new();
        let mut keep = Keep::open(Space::new(Arc::new(store.clone()), "discovery")).await.unwrap();
        store.fail(Some(StoreError::Full), 0);
        keep.save().await.unwrap();
        for n in 0..(MAX_CHANGES + 100) as u32 {
            keep.put(&n.to_be_bytes(), &[]);
            if n % 10_000 == 0 {
                assert_eq!(keep.save().await, Err(StoreError::Full));
            }
        }
        assert_eq!(keep.waiting().changes.len(), MAX_CHANGES);
    }
}
