//! The file a cast starts from, read in place.
//!
//! Limits: read only. If the file's length or time of change differs from when it was hashed, reads fail
//! and peers hear `missing`, instead of chunks that would make them end the session.

use super::file::PositionedFile;
use super::{Stop, Store};
use crate::manifest::{Header, Manifest, name_allowed};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A file that was hashed and is now served.
#[derive(Debug)]
pub struct SourceStore {
    file: PositionedFile,
    path: PathBuf,
    seen: (u64, Option<SystemTime>),
}

fn state(file: &File) -> io::Result<(u64, Option<SystemTime>)> {
    let meta = file.metadata()?;
    Ok((meta.len(), meta.modified().ok()))
}

impl SourceStore {
    /// Hashes a file. Its name becomes the label, if it can be one; else the label is empty.
    ///
    /// # Errors
    /// What the file system says, `InvalidInput` past a limit, `InvalidData` when the file changed meanwhile.
    pub fn open(path: &Path, chunk_size: u32) -> io::Result<(Self, Manifest)> {
        Self::open_until(path, chunk_size, &Stop::default())
    }

    /// As [`SourceStore::open`], but ends when told to.
    ///
    /// # Errors
    /// Those, and that it was stopped.
    pub fn open_until(path: &Path, chunk_size: u32, stop: &Stop) -> io::Result<(Self, Manifest)> {
        let file = File::open(path)?;
        let seen = state(&file)?;
        let name = path.file_name().and_then(|name| name.to_str()).filter(|name| name_allowed(name));
        let manifest =
            Manifest::build(Stoppable { file: &file, stop }, chunk_size, name.unwrap_or_default())?;
        let store = Self { file: PositionedFile::new(file), path: path.to_owned(), seen };
        store.check(&manifest.header)?;
        Ok((store, manifest))
    }

    fn check(&self, header: &Header) -> io::Result<()> {
        if self.seen.0 == header.size() { self.unchanged() } else { Err(changed()) }
    }

    fn unchanged(&self) -> io::Result<()> {
        if self.file.with(state)? == self.seen { Ok(()) } else { Err(changed()) }
    }
}

struct Stoppable<'a> {
    file: &'a File,
    stop: &'a Stop,
}

impl Read for Stoppable<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.stop.check()?;
        self.file.read(out)
    }
}

fn changed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the file changed after it was hashed")
}

impl Store for SourceStore {
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.unchanged()?;
        self.file.read(offset, out)
    }

    fn write(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn path(&self) -> Option<PathBuf> {
        Some(self.path.clone())
    }
}
