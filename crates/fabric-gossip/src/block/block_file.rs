//! A folder of block files, as `peer channel fetch N N.block` writes them: the block source of a node without an orderer.
//!
//! ```text
//!   DIR/1.block   DIR/2.block   …      each one encoded common.Block, put there by a rename
//! ```
//! Limits: files of up to [`MAX_BLOCK`]; a longer one is a fault, not read. Files with other names are not looked at. A
//! block whose header has another number than its file's name is a fault.

use super::decoded::{Block, BlockFault, MAX_BLOCK};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Why a block file is of no use. The operator, or whoever writes the folder, is at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileFault {
    /// It cannot be read.
    #[error("cannot read {path}: {error}")]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// It is no block.
    #[error(
        "{path} holds no block: {fault}: write it with `peer channel fetch`, then rename it into the folder"
    )]
    Block {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        fault: BlockFault,
    },
    /// It is another block.
    #[error("{path} holds block {found}, its name says another")]
    Number {
        /// Which.
        path: PathBuf,
        /// The number in the header.
        found: u64,
    },
}

/// A folder of block files.
#[derive(Debug, Clone)]
pub struct BlockFolder(PathBuf);

impl BlockFolder {
    /// The folder at a path; it may be empty, and may come to be later.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Where the file of a block lies.
    #[must_use]
    pub fn path(&self, number: u64) -> PathBuf {
        self.0.join(format!("{number}.block"))
    }

    /// Reads one file, whatever its name.
    ///
    /// # Errors
    /// [`FileFault`].
    pub fn read(path: &Path) -> Result<Block, FileFault> {
        let failed = |error| FileFault::Read { path: path.to_owned(), error };
        let wrong = |fault| FileFault::Block { path: path.to_owned(), fault };
        let file = std::fs::File::open(path).map_err(failed)?;
        let mut content = Vec::new();
        file.take(MAX_BLOCK as u64 + 1).read_to_end(&mut content).map_err(failed)?;
        Block::decode(content.into()).map_err(wrong)
    }

    /// Reads the file of a block; `None` when it is not there (yet).
    ///
    /// # Errors
    /// [`FileFault`].
    pub fn block(&self, number: u64) -> Result<Option<Block>, FileFault> {
        let path = self.path(number);
        match Self::read(&path) {
            Ok(block) if block.number() == number => Ok(Some(block)),
            Ok(block) => Err(FileFault::Number { path, found: block.number() }),
            Err(FileFault::Read { error, .. }) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(fault) => Err(fault),
        }
    }
}
