//! The node's store on disk: redb behind the core's `Store`.
//!
//! ```text
//!   DATA/node.redb     one table: space, a zero byte and key ─▶ value
//!   apply ─▶ queue ─▶ a thread: one transaction for all that waits ─▶ on disk ─▶ apply returns
//! ```
//! A change that was applied survives a crash. One that was not has changed nothing.
//!
//! Limits: those of [`switchboard::store`]; [`BACKLOG`] batches wait for the disk, then `apply` waits. A disk that is full
//! fails the call that needs it and those after it until there is room; the node goes on.

use bytes::Bytes;
use redb::{Database, ReadableDatabase, TableDefinition};
use std::path::Path;
use std::sync::Arc;
use switchboard::BoxFuture;
use switchboard::store::{Change, Changes, Row, Store, StoreError};
use tokio::sync::{mpsc, oneshot};

/// Batches that wait for the disk.
pub const BACKLOG: usize = 256;
/// File in the data folder.
pub const FILE: &str = "node.redb";

/// Rows by space, a zero byte and key.
const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("node");

/// A store on disk. Clones share it.
#[derive(Clone)]
pub struct DiskStore {
    database: Arc<Database>,
    queue: mpsc::Sender<Job>,
}

impl std::fmt::Debug for DiskStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DiskStore")
    }
}

struct Job {
    changes: Vec<Change>,
    done: oneshot::Sender<Result<(), StoreError>>,
}

fn io(error: impl std::fmt::Display) -> StoreError {
    StoreError::Io(error.to_string())
}

fn storage(error: redb::StorageError) -> StoreError {
    match error {
        redb::StorageError::Io(error) if error.kind() == std::io::ErrorKind::StorageFull => StoreError::Full,
        redb::StorageError::Corrupted(what) => StoreError::Corrupt(what),
        other => io(other),
    }
}

/// The row's key in the table.
fn row(space: &str, key: &[u8]) -> Vec<u8> {
    [space.as_bytes(), &[0], key].concat()
}

impl DiskStore {
    /// Opens the store of a data folder, which is made if it is not there.
    ///
    /// # Errors
    /// A file that cannot be read or written, or that is no store.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let database = Database::create(folder.join(FILE)).map_err(io)?;
        let write = database.begin_write().map_err(io)?;
        write.open_table(TABLE).map_err(io)?;
        write.commit().map_err(io)?;
        let database = Arc::new(database);
        let (queue, jobs) = mpsc::channel(BACKLOG);
        let on_disk = Arc::clone(&database);
        std::thread::spawn(move || write_all(&on_disk, jobs));
        Ok(Self { database, queue })
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Database) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let database = Arc::clone(&self.database);
        tokio::task::spawn_blocking(move || read(&database)).await.map_err(io)?
    }

    async fn write(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        let (done, told) = oneshot::channel();
        self.queue.send(Job { changes, done }).await.map_err(|_| StoreError::Closed)?;
        told.await.map_err(|_| StoreError::Closed)?
    }
}

/// Writes batches until the store is dropped. What waits together is one transaction.
fn write_all(database: &Database, mut jobs: mpsc::Receiver<Job>) {
    while let Some(first) = jobs.blocking_recv() {
        let mut batch = vec![first];
        while batch.len() < BACKLOG
            && let Ok(next) = jobs.try_recv()
        {
            batch.push(next);
        }
        let result = commit(database, &batch);
        for job in batch {
            let _ = job.done.send(result.clone());
        }
    }
}

fn commit(database: &Database, batch: &[Job]) -> Result<(), StoreError> {
    let write = database.begin_write().map_err(io)?;
    {
        let mut table = write.open_table(TABLE).map_err(io)?;
        for change in batch.iter().flat_map(|job| &job.changes) {
            let key = row(&change.space, &change.key);
            match &change.value {
                Some(value) => drop(table.insert(key.as_slice(), value.as_ref()).map_err(storage)?),
                None => drop(table.remove(key.as_slice()).map_err(storage)?),
            }
        }
    }
    write.commit().map_err(|error| match error {
        redb::CommitError::Storage(error) => storage(error),
        other => io(other),
    })
}

impl Store for DiskStore {
    fn get<'a>(&'a self, space: &'a str, key: &'a [u8]) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>> {
        let key = row(space, key);
        Box::pin(self.read(move |database| {
            let table = database.begin_read().map_err(io)?.open_table(TABLE).map_err(io)?;
            let value = table.get(key.as_slice()).map_err(storage)?;
            Ok(value.map(|value| Bytes::copy_from_slice(value.value())))
        }))
    }

    fn scan<'a>(
        &'a self,
        space: &'a str,
        prefix: &'a [u8],
        after: Option<&'a [u8]>,
        most: usize,
    ) -> BoxFuture<'a, Result<Vec<Row>, StoreError>> {
        let begins = row(space, prefix);
        let after = after.map(|after| row(space, after));
        let skip = space.len() + 1;
        Box::pin(self.read(move |database| {
            let table = database.begin_read().map_err(io)?.open_table(TABLE).map_err(io)?;
            let from = after.clone().filter(|after| *after > begins).unwrap_or_else(|| begins.clone());
            let mut rows = Vec::new();
            for found in table.range(from.as_slice()..).map_err(storage)? {
                let (key, value) = found.map_err(storage)?;
                let key = key.value();
                if rows.len() >= most || !key.starts_with(&begins) {
                    break;
                }
                if after.as_deref().is_none_or(|after| key > after) {
                    let key = key.get(skip..).unwrap_or_default();
                    rows.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value.value())));
                }
            }
            Ok(rows)
        }))
    }

    fn apply(&self, changes: Changes) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.write(changes.checked()?).await })
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        // Every transaction is on disk when it returns; an empty one waits for those before it.
        Box::pin(self.write(Vec::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn rows_are_there_again_and_spaces_apart() {
        let dir = tempfile::tempdir().unwrap();
        let store = DiskStore::open(dir.path()).unwrap();
        let changes = Changes::new()
            .put("bans", &b"a1"[..], &b"one"[..])
            .put("bans", &b"a2"[..], &b"two"[..])
            .put("bans", &b"b"[..], &b"three"[..])
            .put("bansx", &b"a1"[..], &b"other"[..]);
        store.apply(changes).await.unwrap();
        store.apply(Changes::new().delete("bans", &b"b"[..])).await.unwrap();
        store.flush().await.unwrap();
        drop(store);
        // The thread lets go of the file when the last handle is gone.
        let store = loop {
            match DiskStore::open(dir.path()) {
                Ok(store) => break store,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        assert_eq!(store.get("bans", b"a1").await.unwrap().as_deref(), Some(&b"one"[..]));
        assert_eq!(store.get("bans", b"b").await.unwrap(), None);
        let rows = store.scan("bans", b"a", None, 10).await.unwrap();
        assert_eq!(rows.iter().map(|(key, _)| &key[..]).collect::<Vec<_>>(), [b"a1", b"a2"]);
        let rows = store.scan("bans", b"", Some(b"a1"), 10).await.unwrap();
        assert_eq!(rows.len(), 1, "after the first");
        assert_eq!(store.scan("bans", b"a", None, 1).await.unwrap().len(), 1, "no more than asked for");
    }

    #[tokio::test]
    async fn what_is_no_store_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), b"neither\n".repeat(1_000)).unwrap();
        assert!(DiskStore::open(dir.path()).is_err());
    }
}
