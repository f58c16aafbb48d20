//! A folder of casts: what is in it, how many bytes, and how its files are opened.
//!
//! Whole and partial casts that no node works on any more stay until their bytes or their places are needed; then the
//! oldest goes first, with all its files. The folder is a cache: what should stay is moved elsewhere.
//!
//! Symbolic links are not followed: a file is opened only when its own entry is a plain file and the one that was
//! opened is that entry's. New files get an unguessable name first, and are made only if nothing has that name.
//!
//! Limits: `max` bytes; [`MAX_KEPT`] casts. Each counts its chunks, pages, record, and [`BASE`] bytes.

use super::file::{names, read_header};
use crate::CastId;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Casts kept in a folder, those of earlier times too.
pub const MAX_KEPT: usize = 4_096;
/// What a cast's entries cost beside its bytes.
pub(super) const BASE: u64 = 16 * 1024;
/// The ending of a file that is being written.
const TEMPORARY: &str = "tmp";
/// Entries of the folder looked at.
const MAX_ENTRIES: usize = 16 * MAX_KEPT;

#[derive(Debug)]
struct Kept {
    bytes: u64,
    /// Oldest first.
    order: u64,
    /// Whether a node works on it.
    live: bool,
}

#[derive(Debug, Default)]
struct Ledger {
    scanned: bool,
    used: u64,
    next: u64,
    kept: BTreeMap<CastId, Kept>,
}

/// A folder of casts.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) dir: PathBuf,
    max: u64,
    ledger: Mutex<Ledger>,
}

impl Disk {
    pub(super) fn new(dir: PathBuf, max: u64) -> Self {
        Self { dir, max, ledger: Mutex::default() }
    }

    /// The casts in the folder, the latest first.
    pub(super) fn list(&self) -> io::Result<Vec<CastId>> {
        let mut ledger = self.ledger.lock();
        self.scan(&mut ledger)?;
        let mut found: Vec<_> = ledger.kept.iter().map(|(id, kept)| (kept.order, *id)).collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        Ok(found.into_iter().map(|(_, id)| id).collect())
    }

    /// Counts what is there, once.
    fn scan(&self, ledger: &mut Ledger) -> io::Result<()> {
        if ledger.scanned {
            return Ok(());
        }
        let mut found: Vec<(SystemTime, CastId, u64)> = Vec::new();
        for entry in fs::read_dir(&self.dir)?.take(MAX_ENTRIES) {
            let path = entry?.path();
            if path.extension().is_some_and(|ending| ending == TEMPORARY) {
                // Of a run that was killed while it wrote.
                let ours =
                    path.file_name().and_then(|name| name.to_str()).is_some_and(|n| n.starts_with("cast-"));
                if ours {
                    let _ = fs::remove_file(&path);
                }
                continue;
            }
            let Some(id) = names::of_side(&path) else { continue };
            let Ok(header) = read_header(&path).map(|(_, header)| header) else { continue };
            if header.id() != id {
                tracing::warn!(target: "switchboard_cast", path = %path.display(),
                    "ignoring what is not the side file of a cast");
                continue;
            }
            let time = fs::symlink_metadata(&path).and_then(|meta| meta.modified());
            let bytes = names::all(&self.dir, &header).iter().map(|path| on_disk(path)).sum::<u64>() + BASE;
            found.push((time.unwrap_or(SystemTime::UNIX_EPOCH), id, bytes));
        }
        found.sort_unstable();
        for (_, id, bytes) in found {
            let order = ledger.next;
            ledger.next += 1;
            ledger.used += bytes;
            ledger.kept.insert(id, Kept { bytes, order, live: false });
        }
        ledger.scanned = true;
        Ok(())
    }

    /// A node works on a cast, or not any more.
    pub(super) fn live(&self, id: CastId, live: bool) {
        if let Some(kept) = self.ledger.lock().kept.get_mut(&id) {
            kept.live = live;
        }
    }

    /// Takes so many bytes for a cast, which is live from then on.
    ///
    /// # Errors
    /// `QuotaExceeded` when they are not there, though everything nobody works on is gone.
    pub(super) fn grow(&self, id: CastId, bytes: u64) -> io::Result<()> {
        let mut ledger = self.ledger.lock();
        self.scan(&mut ledger)?;
        loop {
            let places = ledger.kept.contains_key(&id) || ledger.kept.len() < MAX_KEPT;
            if places && ledger.used.saturating_add(bytes) <= self.max {
                break;
            }
            let idle = ledger.kept.iter().filter(|(other, kept)| !kept.live && **other != id);
            let Some(oldest) = idle.min_by_key(|(_, kept)| kept.order).map(|(id, _)| *id) else {
                let text =
                    format!("casts may have {} bytes of disk together, and {MAX_KEPT} places", self.max);
                return Err(io::Error::new(io::ErrorKind::QuotaExceeded, text));
            };
            self.delete(&mut ledger, oldest);
        }
        ledger.used += bytes;
        let order = ledger.next;
        let kept = ledger.kept.entry(id).or_insert(Kept { bytes: 0, order, live: true });
        kept.bytes += bytes;
        kept.live = true;
        ledger.next = order + 1;
        Ok(())
    }

    /// Deletes a cast's files.
    pub(super) fn remove(&self, id: CastId) {
        self.delete(&mut self.ledger.lock(), id);
    }

    fn delete(&self, ledger: &mut Ledger, id: CastId) {
        let side = self.dir.join(names::side(id));
        if let Ok((_, header)) = read_header(&side) {
            for path in names::all(&self.dir, &header) {
                let _ = fs::remove_file(path);
            }
        }
        if let Some(kept) = ledger.kept.remove(&id) {
            ledger.used = ledger.used.saturating_sub(kept.bytes);
        }
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> u64 {
        self.ledger.lock().used
    }
}

/// Bytes a file has on disk; holes count nothing where the system tells.
fn on_disk(path: &Path) -> u64 {
    let Ok(meta) = fs::symlink_metadata(path) else { return 0 };
    #[cfg(unix)]
    return std::os::unix::fs::MetadataExt::blocks(&meta).saturating_mul(512);
    #[cfg(not(unix))]
    return meta.len();
}

/// Opens a plain file that is there. Nothing else is opened, and no link is followed.
pub(super) fn open_plain(path: &Path, write: bool) -> io::Result<File> {
    let no_file = || io::Error::new(io::ErrorKind::InvalidInput, "not a plain file");
    let entry = fs::symlink_metadata(path)?;
    if !entry.file_type().is_file() {
        return Err(no_file());
    }
    let file = OpenOptions::new().read(true).write(write).open(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let opened = file.metadata()?;
        if (opened.dev(), opened.ino()) != (entry.dev(), entry.ino()) {
            return Err(no_file());
        }
    }
    Ok(file)
}

/// Whether a plain file has this name.
pub(super) fn is_plain(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_file())
}

/// Makes a file with these bytes under an unguessable name, then gives it its own, in place of whatever had that.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> io::Result<File> {
    // Keyed by the system's randomness, anew each time.
    let random = |n: u8| RandomState::new().hash_one(n);
    let name = format!("cast-{:016x}{:016x}.{TEMPORARY}", random(0), random(1));
    let temporary = path.with_file_name(name);
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(&temporary)?;
    let named = file.write_all(bytes).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = named {
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    Ok(file)
}
