//! Files of keys and certificates: read with limits, written whole, keys wiped.
//!
//! Limits: [`MAX_FILE`] bytes a file, [`MAX_FILES`] files a folder. A key file that others may read is told on load
//! (`tracing`, level warn) and in [`crate::msp::PeerFolder::warnings`]. Writing makes a file of a random name beside
//! the target, with its mode, and renames it: a symbolic link at the target is replaced, never followed.

use super::MspError;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use zeroize::{Zeroize, Zeroizing};

/// Largest file read.
pub const MAX_FILE: u64 = 1 << 20;
/// Largest file of revocation lists.
pub const MAX_CRL_FILE: u64 = 64 << 20;
/// Most files read from one folder.
pub const MAX_FILES: usize = 1_000;

/// Key bytes that are wiped when they are dropped.
pub(crate) struct Secret(pub(crate) PrivateKeyDer<'static>);

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Something on disk that works, but should be changed. The text says how.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// A key that others than its owner may read.
    #[error("{path} can be read by others (mode {mode:03o}): chmod 600 {path}")]
    OpenKey {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Fabric's own peer refuses such a local MSP.
    #[error(
        "{path} names no administrator: Fabric asks for admincerts/, or for an admin unit in config.yaml"
    )]
    NoAdmin {
        /// The MSP folder.
        path: PathBuf,
    },
}

fn read(path: &Path, limit: u64, expected: &'static str) -> Result<Zeroizing<Vec<u8>>, MspError> {
    let failed = |error| MspError::Read { path: path.to_owned(), error, expected };
    let file = std::fs::File::open(path).map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len();
    if len > limit {
        let error = std::io::Error::other(format!("it is over {limit} bytes"));
        return Err(failed(error));
    }
    // Room for all of it at once: a buffer that grows leaves copies behind.
    let mut content = Zeroizing::new(Vec::with_capacity(len as usize + 1));
    file.take(limit).read_to_end(&mut content).map_err(failed)?;
    Ok(content)
}

/// The files of a folder, in the order of their names; none if there is no such folder.
pub(crate) fn optional_files(folder: &Path) -> Result<Vec<PathBuf>, MspError> {
    let failed = |error| MspError::Read { path: folder.to_owned(), error, expected: "a folder of files" };
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let files = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_file());
    let mut files: Vec<_> = files.take(MAX_FILES + 1).collect();
    if files.len() > MAX_FILES {
        return Err(failed(std::io::Error::other(format!("over {MAX_FILES} files"))));
    }
    files.sort();
    Ok(files)
}

/// As [`optional_files`], of a folder that must be there and not be empty.
pub(crate) fn files(folder: &Path, expected: &'static str) -> Result<Vec<PathBuf>, MspError> {
    let missing = || MspError::Missing { path: folder.to_owned(), expected };
    if !folder.is_dir() {
        let error = std::io::ErrorKind::NotFound.into();
        return Err(MspError::Read { path: folder.to_owned(), error, expected });
    }
    Some(optional_files(folder)?).filter(|files| !files.is_empty()).ok_or_else(missing)
}

/// The certificates of a file: at least one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, MspError> {
    let content = read(path, MAX_FILE, "a certificate in PEM")?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content).collect();
    let wrong = || MspError::Content { path: path.to_owned(), what: "certificate" };
    found.ok().filter(|found| !found.is_empty()).ok_or_else(wrong)
}

/// The certificates of all files.
pub(crate) fn all_certificates(files: &[PathBuf]) -> Result<Vec<CertificateDer<'static>>, MspError> {
    let lists: Result<Vec<_>, _> = files.iter().map(|path| certificates(path)).collect();
    Ok(lists?.into_iter().flatten().collect())
}

/// The revocation lists of all files of a folder that may be absent.
pub(crate) fn revocation_lists(
    folder: &Path,
) -> Result<Vec<CertificateRevocationListDer<'static>>, MspError> {
    let mut lists = Vec::new();
    for path in optional_files(folder)? {
        let content = read(&path, MAX_CRL_FILE, "a revocation list in PEM")?;
        let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&content).collect();
        let wrong = || MspError::Content { path: path.clone(), what: "revocation list" };
        lists.extend(found.ok().filter(|found| !found.is_empty()).ok_or_else(wrong)?);
    }
    Ok(lists)
}

/// A text file, if it is there.
pub(crate) fn optional_text(path: &Path) -> Result<Option<String>, MspError> {
    if !path.exists() {
        return Ok(None);
    }
    let content = read(path, MAX_FILE, "a text file")?;
    let wrong = |_| MspError::Content { path: path.to_owned(), what: "text" };
    std::str::from_utf8(&content).map(|text| Some(text.to_owned())).map_err(wrong)
}

/// A private key, with a warning if others may read it.
pub(crate) fn private_key(path: &Path, warnings: &mut Vec<Warning>) -> Result<Secret, MspError> {
    let content = read(path, MAX_FILE, "a private key in PEM")?;
    let wrong = |_| MspError::Content { path: path.to_owned(), what: "private key" };
    let key = PrivateKeyDer::from_pem_slice(&content).map(Secret).map_err(wrong)?;
    if let Some(warning) = open_key(path) {
        tracing::warn!(target: "switchboard::fabric", "{warning}");
        warnings.push(warning);
    }
    Ok(key)
}

#[cfg(unix)]
fn open_key(path: &Path) -> Option<Warning> {
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).ok()?.permissions()) & 0o777;
    (mode & 0o077 != 0).then(|| Warning::OpenKey { path: path.to_owned(), mode })
}

#[cfg(not(unix))]
fn open_key(_: &Path) -> Option<Warning> {
    None
}

/// Mode of a key file.
pub(crate) const SECRET: u32 = 0o600;
/// Mode of a certificate.
pub(crate) const PUBLIC: u32 = 0o644;

/// Writes a file whole, in place of one that is there, making its folder.
pub(crate) fn write(path: &Path, content: &[u8], mode: u32) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    // Random name, opened only if nothing is there, readable by the owner only.
    let mut file = tempfile::Builder::new().prefix(".part-").tempfile_in(folder)?;
    #[cfg(unix)]
    file.as_file().set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    #[cfg(not(unix))]
    let _ = mode;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    // A rename puts the file itself there, whatever link was there before.
    file.persist(path).map(drop).map_err(|failed| failed.error)
}

#[cfg(all(test, unix))]
mod tests;
