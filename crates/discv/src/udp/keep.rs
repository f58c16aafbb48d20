//! The records of nodes in one file, written behind.
//!
//! ```text
//!   "switchboard nodes 1\n"  ‖  RLP [[key, value] …]  ‖  Keccak-256 of all before
//! ```
//! Changes are made in memory at once; the task has them written by a thread that may block: to a new file, synced, then
//! renamed over the old one. So the file is always whole: the last state written, or the one before.
//!
//! Limits: a file over [`MAX_FILE`] bytes is not read. One that is damaged is moved aside with a warning: what it held
//! can be learned anew from the network.

use crate::nodes::KeyValue;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use switchboard_enr::keccak::keccak256;
use switchboard_enr::rlp;

/// Largest file that is read, in bytes: five times what 10,000 nodes need.
pub const MAX_FILE: u64 = 64 << 20;
const MAGIC: &[u8] = b"switchboard nodes 1\n";

/// Why the file cannot be used. Always a local fault.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the node records {path}: {error}")]
pub struct KeepError {
    path: String,
    error: std::io::Error,
}

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// The records in memory, shared between who changes and who writes them.
#[derive(Debug, Clone)]
pub(super) struct Keep {
    path: Arc<PathBuf>,
    map: Arc<Mutex<Map>>,
    dirty: Arc<AtomicBool>,
}

impl KeyValue for Keep {
    fn all(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.map().iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.map().insert(key.to_vec(), value.to_vec());
        self.dirty.store(true, Ordering::Release);
    }

    fn remove(&mut self, key: &[u8]) {
        if self.map().remove(key).is_some() {
            self.dirty.store(true, Ordering::Release);
        }
    }
}

impl Keep {
    fn map(&self) -> std::sync::MutexGuard<'_, Map> {
        // A panic elsewhere leaves the map as it was before or after one insertion.
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the file; one that is not there is empty.
    pub(super) fn open(path: &Path) -> Result<Self, KeepError> {
        let failed = |error| KeepError { path: path.display().to_string(), error };
        let map = match File::open(path) {
            Ok(file) => {
                let mut bytes = Vec::new();
                file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
                read(&bytes).unwrap_or_else(|| {
                    let aside = path.with_extension("damaged");
                    tracing::warn!(file = %path.display(), aside = %aside.display(),
                        "the node records are damaged: they are moved aside and learned anew");
                    let _ = std::fs::rename(path, aside);
                    Map::new()
                })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Map::new(),
            Err(error) => return Err(failed(error)),
        };
        Ok(Self {
            path: Arc::new(path.to_owned()),
            map: Arc::new(Mutex::new(map)),
            dirty: Arc::new(AtomicBool::new(false)),
        })
    }

    /// Writes what has changed. Blocks.
    pub(super) fn save(&self) -> std::io::Result<()> {
        if !self.dirty.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let bytes = write(&self.map());
        let saved = replace(&self.path, &bytes);
        if saved.is_err() {
            self.dirty.store(true, Ordering::Release);
        }
        saved
    }
}

fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    // The rename itself must be on disk too.
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn write(map: &Map) -> Vec<u8> {
    let mut rows = Vec::new();
    for (key, value) in map {
        let mut row = Vec::new();
        rlp::put_string(key, &mut row);
        rlp::put_string(value, &mut row);
        rlp::put_list(&row, &mut rows);
    }
    let mut out = MAGIC.to_vec();
    rlp::put_list(&rows, &mut out);
    let sum = keccak256(&out);
    out.extend(sum);
    out
}

fn read(bytes: &[u8]) -> Option<Map> {
    let (all, sum) = bytes.split_last_chunk::<32>()?;
    if bytes.len() as u64 > MAX_FILE || keccak256(all) != *sum {
        return None;
    }
    let mut rest = all.strip_prefix(MAGIC)?;
    let mut rows = rlp::list(&mut rest).ok()?;
    let mut map = Map::new();
    while !rows.is_empty() {
        let mut row = rlp::list(&mut rows).ok()?;
        let key = rlp::string(&mut row).ok()?;
        map.insert(key.to_vec(), rlp::string(&mut row).ok()?.to_vec());
    }
    rest.is_empty().then_some(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_there_again_and_damage_is_seen_at_every_byte() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nodes");
        let mut keep = Keep::open(&path).unwrap();
        for n in 0..20_u8 {
            keep.put(&[n; 33], &vec![n; usize::from(n) * 10]);
        }
        keep.remove(&[3; 33]);
        keep.save().unwrap();
        let again = Keep::open(&path).unwrap();
        assert_eq!((again.all(), again.all().len()), (keep.all(), 19));
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bad = whole.clone();
            bad[at] ^= 1;
            assert!(read(&bad).is_none(), "byte {at} was changed");
            assert!(read(&whole[..at]).is_none(), "cut at {at}");
        }
        std::fs::write(&path, &whole[1..]).unwrap();
        assert!(Keep::open(&path).unwrap().all().is_empty());
        assert!(path.with_extension("damaged").exists() && !path.exists());
    }

    #[test]
    fn nothing_is_written_when_nothing_changed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nodes");
        let mut keep = Keep::open(&path).unwrap();
        keep.save().unwrap();
        assert!(!path.exists());
        keep.put(b"k", b"v");
        keep.save().unwrap();
        std::fs::remove_file(&path).unwrap();
        keep.save().unwrap();
        assert!(!path.exists());
    }
}
