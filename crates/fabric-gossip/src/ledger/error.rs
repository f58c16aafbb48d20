//! What goes wrong with a ledger.

use super::transient::TransientFault;
use std::path::PathBuf;

/// Why something was not stored or read. Nothing of it is a peer's fault but [`LedgerError::Transient`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// Blocks come in order only. The caller is at fault.
    #[error("block {found} was to be stored where {expected} comes next")]
    Order {
        /// The number that comes next.
        expected: u64,
        /// The number that came.
        found: u64,
    },
    /// The name cannot be that of a channel, and so not that of a file.
    #[error("{0:?} is no channel name: lower-case letters, digits, dots and dashes, a letter first")]
    Channel(String),
    /// The file is of another channel or format.
    #[error("{path} {what}: give --data another folder, or remove the file yourself")]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// In what it differs.
        what: String,
    },
    /// Another process has it open.
    #[error("{0} is in use by another process: stop that first")]
    InUse(PathBuf),
    /// The file or its folder cannot be used.
    #[error("the ledger {path}: {error}")]
    Storage {
        /// Which file.
        path: PathBuf,
        /// What the store or the system said.
        error: String,
    },
    /// The transient store refuses what a peer sent.
    #[error(transparent)]
    Transient(#[from] TransientFault),
}
