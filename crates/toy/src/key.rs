//! A node's key: an Ed25519 seed, kept as 64 hexadecimal digits in a file.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Bytes of a seed, and of a public key.
pub(crate) const KEY: usize = 32;

/// Why a key cannot be used.
#[derive(Debug)]
pub struct KeyError(String);

impl std::fmt::Display for KeyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for KeyError {}

/// A key pair. Its debug form is the public half.
pub struct ToyKey {
    pair: Ed25519KeyPair,
}

impl std::fmt::Debug for ToyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ToyKey({})", hex::encode(self.public()))
    }
}

impl ToyKey {
    /// The key of a seed.
    ///
    /// # Errors
    /// When the seed is refused.
    pub fn from_seed(seed: &[u8; KEY]) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed);
        Ok(Self { pair: pair.map_err(|_| KeyError("this seed makes no key".into()))? })
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// A file that cannot be read, or is no key.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let wrong = |what: &dyn std::fmt::Display| KeyError(format!("key file {}: {what}", path.display()));
        let mut text = String::new();
        let read = File::open(path).and_then(|file| file.take(4 * KEY as u64).read_to_string(&mut text));
        read.map_err(|error| wrong(&error))?;
        let mut seed = [0; KEY];
        hex::decode_to_slice(text.trim(), &mut seed).map_err(|_| wrong(&"not 64 hexadecimal digits"))?;
        Self::from_seed(&seed)
    }

    /// Writes a seed to a new file that only its owner may read.
    ///
    /// # Errors
    /// A file that is there already, or cannot be written.
    pub fn save_new(seed: &[u8; KEY], path: &Path) -> Result<(), KeyError> {
        let file = File::options().write(true).create_new(true).mode(0o600).open(path);
        let written = file.and_then(|mut file| writeln!(file, "{}", hex::encode(seed)));
        written.map_err(|error| KeyError(format!("cannot write {}: {error}", path.display())))
    }

    /// The public half: the node's identity.
    #[must_use]
    pub fn public(&self) -> [u8; KEY] {
        let mut out = [0; KEY];
        self.pair.public_key().as_ref().iter().zip(&mut out).for_each(|(from, to)| *to = *from);
        out
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }
}

/// Whether a signature is that of a public key.
pub(crate) fn verifies(public: &[u8; KEY], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public).verify(message, signature).is_ok()
}
