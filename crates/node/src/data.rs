//! The data folder: what a node keeps between runs, one node at a time.
//!
//! ```text
//!   DATA/lock          held while a node runs
//!   DATA/nodekey …     keys, by wire
//!   DATA/cast/         received files
//! ```
//! The lock is the system's own: it goes with the process, however that ends.

use crate::error::NodeError;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

/// File that is locked while a node runs.
const LOCK: &str = "lock";

/// A data folder that no other node uses.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    /// Held for its lock.
    _lock: File,
}

impl DataFolder {
    /// Takes the folder, which is made if it is not there.
    ///
    /// # Errors
    /// A folder that cannot be used, or that another node uses.
    pub fn take(path: &Path) -> Result<Self, NodeError> {
        let shown = path.display();
        let refuse = |what: &dyn std::fmt::Display| {
            NodeError::usage(format!(
                "cannot use the data folder {shown}: {what}: choose another with --data"
            ))
        };
        std::fs::create_dir_all(path).map_err(|e| refuse(&e))?;
        let lock = File::options().create(true).truncate(false).write(true).open(path.join(LOCK));
        let lock = lock.map_err(|e| refuse(&e))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(refuse(&"another node uses it")),
            Err(TryLockError::Error(error)) => Err(refuse(&error)),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A folder that goes with its owner.
///
/// # Errors
/// When there is no place for temporary folders.
pub fn scratch() -> Result<tempfile::TempDir, NodeError> {
    tempfile::tempdir().map_err(|e| {
        NodeError::usage(format!("no temporary folder: {e}: set TMPDIR to a folder that can be written"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_one_nodes_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let first = DataFolder::take(&data).unwrap();
        let said = DataFolder::take(&data).unwrap_err().to_string();
        assert!(said.ends_with("another node uses it: choose another with --data"), "{said}");
        drop(first);
        DataFolder::take(&data).unwrap();
    }
}
