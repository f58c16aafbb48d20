//! A node's identity: an ed25519 key, the file it lives in, and the ID made from it.
//!
//! ```text
//! file  {"priv_key":{"type":"tendermint/PrivKeyEd25519","value":"<base64: seed 32 ‖ public 32>"}}
//!       one line, no newline, mode 0600
//! ID    first 20 bytes of SHA-256(public 32), written as 40 lower-case hex digits
//! ```
//! (cometbft p2p/key.go, crypto/ed25519/ed25519.go)
//!
//! Limits: a key file of more than 4 KiB is not read. A file whose public half does not belong to its
//! seed is refused (the Go code would sign with one key and show another). The file is not encrypted:
//! whoever reads it is this node.
//!
//! A signature is checked by the strict rules of RFC 8032 as aws-lc has them; the Go code accepts the
//! slightly larger set of ZIP-215. Honest signers cannot tell the difference.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Bytes of an ID (cometbft crypto/crypto.go `AddressSize`).
pub const ID_LEN: usize = 20;
/// The type name in the key file (cometbft crypto/ed25519/ed25519.go).
pub const KEY_TYPE: &str = "tendermint/PrivKeyEd25519";
/// Longest key file read.
pub const MAX_KEY_FILE: u64 = 4096;

/// Why there is no key: a local fault, for the operator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("node key file {}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file's content is not a node key.
    #[error("node key file {}: {error}; restore it from a backup, or move it away and a new identity is made", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: KeyFormatError,
    },
}

/// What is wrong with a key file's text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFormatError {
    /// Not the expected JSON.
    #[error("not a node key in JSON: {0}")]
    Json(String),
    /// Another kind of key.
    #[error("key type {0:?} is not \"tendermint/PrivKeyEd25519\"")]
    Type(String),
    /// Not base64.
    #[error("the key's value is not base64")]
    Base64,
    /// Not 64 bytes.
    #[error("the key's value has {0} bytes, not 64")]
    Length(usize),
    /// Public and private half do not belong together, or are no key at all.
    #[error("the key's public half does not belong to its private half")]
    Inconsistent,
    /// Larger than any key file.
    #[error("larger than {MAX_KEY_FILE} bytes")]
    TooLarge,
}

#[derive(Serialize, Deserialize)]
struct KeyFile<'a> {
    #[serde(borrow)]
    priv_key: KeyText<'a>,
}

#[derive(Serialize, Deserialize)]
struct KeyText<'a> {
    r#type: std::borrow::Cow<'a, str>,
    value: std::borrow::Cow<'a, str>,
}

/// A proven or claimed node: the first 20 bytes of the hash of its public key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub [u8; ID_LEN]);

impl NodeId {
    /// The ID that belongs to a public key.
    #[must_use]
    pub fn of(public: &[u8; 32]) -> Self {
        let hash = digest(&SHA256, public);
        let mut id = [0; ID_LEN];
        id.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
        Self(id)
    }

    /// Reads 40 hex digits. Upper case is accepted, as the Go code does when it parses addresses.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut id = [0; ID_LEN];
        hex::decode_to_slice(text, &mut id).ok()?;
        Some(Self(id))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 40];
        hex::encode_to_slice(self.0, &mut text).map_err(|_| fmt::Error)?;
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({self})")
    }
}

/// The node's key pair.
pub struct NodeKey {
    seed: Zeroizing<[u8; 32]>,
    pair: Ed25519KeyPair,
    public: [u8; 32],
}

impl NodeKey {
    /// The key made from 32 random bytes.
    ///
    /// # Errors
    /// [`KeyFormatError::Inconsistent`] should the crypto library refuse the seed.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, KeyFormatError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| KeyFormatError::Inconsistent)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| KeyFormatError::Inconsistent)?;
        Ok(Self { seed: Zeroizing::new(*seed), pair, public })
    }

    /// Reads the text of a key file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_json(text: &str) -> Result<Self, KeyFormatError> {
        let file: KeyFile<'_> = serde_json::from_str(text).map_err(|error| {
            // The message's own text may quote the file; the place is enough.
            KeyFormatError::Json(format!(
                "{:?} error at line {} column {}",
                error.classify(),
                error.line(),
                error.column()
            ))
        })?;
        if file.priv_key.r#type != KEY_TYPE {
            return Err(KeyFormatError::Type(switchboard::text::printable(&file.priv_key.r#type)));
        }
        let value = STANDARD.decode(file.priv_key.value.as_bytes()).map_err(|_| KeyFormatError::Base64)?;
        let value = Zeroizing::new(value);
        let Some((seed, public)) = value.split_first_chunk::<32>().filter(|_| value.len() == 64) else {
            return Err(KeyFormatError::Length(value.len()));
        };
        let key = Self::from_seed(seed)?;
        if key.public.as_slice() == public { Ok(key) } else { Err(KeyFormatError::Inconsistent) }
    }

    /// The text of the key file.
    #[must_use]
    pub fn to_json(&self) -> Zeroizing<String> {
        let mut value = Zeroizing::new(self.seed.to_vec());
        value.extend_from_slice(&self.public);
        let value = Zeroizing::new(STANDARD.encode(value.as_slice()));
        Zeroizing::new(format!(r#"{{"priv_key":{{"type":"{KEY_TYPE}","value":"{}"}}}}"#, value.as_str()))
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// When it cannot be read or is no key file.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let in_file = |error| KeyError::File { path: path.to_owned(), error };
        let in_text = |error| KeyError::Content { path: path.to_owned(), error };
        let file = std::fs::File::open(path).map_err(in_file)?;
        warn_if_open_to_others(&file, path);
        let mut text = Zeroizing::new(String::new());
        file.take(MAX_KEY_FILE + 1).read_to_string(&mut text).map_err(in_file)?;
        if text.len() as u64 > MAX_KEY_FILE {
            return Err(in_text(KeyFormatError::TooLarge));
        }
        Self::from_json(&text).map_err(in_text)
    }

    /// Writes a new key file; an existing one is left alone and is an error.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save_new(&self, path: &Path) -> Result<(), KeyError> {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let write = || {
            // For its owner only, under a name that nobody can guess and take before us.
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(self.to_json().as_bytes())?;
            file.as_file().sync_all()?;
            file.persist_noclobber(path).map_err(|taken| taken.error)?;
            std::fs::File::open(folder)?.sync_all()
        };
        write().map_err(|error| KeyError::File { path: path.to_owned(), error })
    }

    /// Reads the key file, or makes one from `seed()` where there is none.
    ///
    /// # Errors
    /// As [`NodeKey::load`] and [`NodeKey::save_new`].
    pub fn load_or_create(path: &Path, seed: impl FnOnce() -> [u8; 32]) -> Result<Self, KeyError> {
        match Self::load(path) {
            Err(KeyError::File { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                let seed = Zeroizing::new(seed());
                let key = Self::from_seed(&seed)
                    .map_err(|error| KeyError::Content { path: path.to_owned(), error })?;
                key.save_new(path)?;
                Ok(key)
            }
            other => other,
        }
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// The node's ID.
    #[must_use]
    pub fn id(&self) -> NodeId {
        NodeId::of(&self.public)
    }

    /// Signs.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut out = [0; 64];
        out.iter_mut().zip(self.pair.sign(message).as_ref()).for_each(|(to, from)| *to = *from);
        out
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey({})", self.id())
    }
}

/// Whether `signature` is that of `public` over `message`.
#[must_use]
pub fn verify(public: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    UnparsedPublicKey::new(&ED25519, public).verify(message, signature).is_ok()
}

/// The largest ID that shows `difficulty` bits of work: 2^(bits − difficulty) − 1, big-endian. A helper
/// of the Go module that nothing calls; kept for tools that mine IDs (cometbft p2p/key.go).
#[must_use]
pub fn pow_target(difficulty: u32, bits: u32) -> Vec<u8> {
    let ones = bits.saturating_sub(difficulty);
    (0..bits.div_ceil(8))
        .rev()
        .map(|byte| match ones.saturating_sub(byte * 8) {
            n @ 0..8 => ((1_u16 << n) - 1) as u8,
            _ => 0xff,
        })
        .collect()
}

#[cfg(unix)]
fn warn_if_open_to_others(file: &std::fs::File, path: &Path) {
    use std::os::unix::fs::MetadataExt;
    if file.metadata().is_ok_and(|meta| meta.mode() & 0o077 != 0) {
        tracing::warn!(path = %path.display(), "other users may read the node key file: set its mode to 0600");
    }
}

#[cfg(not(unix))]
fn warn_if_open_to_others(_: &std::fs::File, _: &Path) {}

#[cfg(test)]
mod tests;
