//! The node key: a secp256k1 secret whose public key is the node's identity.
//!
//! ```text
//!   key file    64 hex digits (geth's `nodekey`); a line end after them is tolerated; mode 0600
//!   public key  64 bytes X ‖ Y on the wire, in hello and enode URLs (no leading 04)
//!   node id     keccak256(public key), 32 bytes
//! ```
//!
//! Limits: a key file over 1 KiB is not read. Secrets are wiped when dropped; that does not protect
//! from a reader of the process's memory while it runs.

mod secret;

use crate::keccak::keccak256;
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Message, PublicKey, SecretKey, ecdh};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::OnceLock;
use zeroize::Zeroizing;

/// Largest key file read.
const MAX_FILE: u64 = 1024;

/// A public key: a point on the curve, never the point at infinity.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodePublic {
    point: PublicKey,
}

/// Not a point on the curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a point on the curve")]
pub struct NotOnCurve;

impl NodePublic {
    /// Reads X ‖ Y.
    ///
    /// # Errors
    /// [`NotOnCurve`], also for coordinates over the field's prime.
    pub fn from_bytes(xy: &[u8; 64]) -> Result<Self, NotOnCurve> {
        let mut full = [4; 65];
        full[1..].copy_from_slice(xy);
        PublicKey::from_byte_array_uncompressed(full).map(|point| Self { point }).map_err(|_| NotOnCurve)
    }

    /// Reads the compressed form, 33 bytes.
    ///
    /// # Errors
    /// [`NotOnCurve`].
    pub fn from_compressed(bytes: &[u8; 33]) -> Result<Self, NotOnCurve> {
        PublicKey::from_byte_array_compressed(*bytes).map(|point| Self { point }).map_err(|_| NotOnCurve)
    }

    /// X ‖ Y.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 64] {
        let full = self.point.serialize_uncompressed();
        let mut xy = [0; 64];
        xy.copy_from_slice(&full[1..]);
        xy
    }

    /// The compressed form.
    #[must_use]
    pub fn compressed(&self) -> [u8; 33] {
        self.point.serialize()
    }

    /// The node id.
    #[must_use]
    pub fn node_id(&self) -> [u8; 32] {
        keccak256(&self.to_bytes())
    }

    /// Checks a signature r ‖ s over a digest.
    #[must_use]
    pub fn verifies(&self, digest: [u8; 32], signature: &[u8; 64]) -> bool {
        secp256k1::ecdsa::Signature::from_compact(signature)
            .is_ok_and(|s| self.point.verify(Message::from_digest(digest), &s).is_ok())
    }

    /// Whether this key made a signature r ‖ s ‖ v: true for what [`recover`] finds this key in, in three quarters of its
    /// time.
    ///
    /// Of v it only looks whether there can be one: r ‖ s with the other v, in which [`recover`] finds a key that nobody has,
    /// counts as this key's. v is the parity of a point that a check computes without its Y coordinate, and the library does not
    /// tell it; to compute it anew is the work that is saved. It gives nobody anything: who bends v has a signature of ours over
    /// the same digest before him and could send that, or r ‖ −s with the bent v, in which every implementation finds this
    /// key.
    #[must_use]
    pub fn is_signer(&self, digest: [u8; 32], signature: &[u8; 65]) -> bool {
        let [rs @ .., v] = signature;
        let read = secp256k1::ecdsa::Signature::from_compact(rs);
        *v < 2
            && read.is_ok_and(|mut signature| {
                // Of the two forms of a signature the library only takes the lower.
                signature.normalize_s();
                self.point.verify(Message::from_digest(digest), &signature).is_ok()
            })
    }
}

impl std::fmt::Debug for NodePublic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.to_bytes()))
    }
}

/// A secret key; wiped when dropped.
pub struct NodeKey {
    secret: SecretKey,
    /// Made when it is first asked for: of some keys nobody needs it.
    public: OnceLock<NodePublic>,
}

/// Why a key file is of no use. The text says what to change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The file cannot be read.
    #[error("cannot read the key file {path}: {error}")]
    Read {
        /// Which file.
        path: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// Not 64 hex digits, or a number that is no key.
    #[error(
        "{path} is not a node key: expected 64 hex digits that make a secp256k1 secret, as geth's nodekey file"
    )]
    Malformed {
        /// Which file.
        path: String,
    },
    /// The file cannot be written.
    #[error("cannot write the key file {path}: {error}")]
    Write {
        /// Which file.
        path: String,
        /// What the system said.
        error: std::io::Error,
    },
}

impl NodeKey {
    /// A key from its 32 bytes; `None` for zero or a number not below the curve's order.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        let secret = SecretKey::from_secret_bytes(*bytes).ok()?;
        Some(Self { secret, public: OnceLock::new() })
    }

    /// A new key from a source of random bytes.
    pub fn generate(mut random: impl FnMut() -> [u8; 32]) -> Self {
        loop {
            // All but one of 2^128 numbers are keys.
            if let Some(key) = Self::from_bytes(&random()) {
                return key;
            }
        }
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn load(path: &Path) -> Result<Self, KeyFileError> {
        let name = || path.display().to_string();
        let read = |error| KeyFileError::Read { path: name(), error };
        let mut text = Zeroizing::new(String::new());
        let file = std::fs::File::open(path).map_err(read)?;
        warn_if_open_to_others(&file, path);
        file.take(MAX_FILE).read_to_string(&mut text).map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData => KeyFileError::Malformed { path: name() },
            _ => read(error),
        })?;
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.trim_end_matches(['\r', '\n']), &mut *bytes)
            .ok()
            .and_then(|()| Self::from_bytes(&bytes))
            .ok_or_else(|| KeyFileError::Malformed { path: name() })
    }

    /// Writes a key file that only its owner may read; never over an existing one.
    ///
    /// # Errors
    /// [`KeyFileError::Write`].
    pub fn save(&self, path: &Path) -> Result<(), KeyFileError> {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let write = || {
            // For its owner only, under a name that nobody can guess and take before us.
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(Zeroizing::new(hex::encode(self.secret.as_secret_bytes())).as_bytes())?;
            file.as_file().sync_all()?;
            file.persist_noclobber(path).map_err(|taken| taken.error)?;
            std::fs::File::open(folder)?.sync_all()
        };
        write().map_err(|error| KeyFileError::Write { path: path.display().to_string(), error })
    }

    /// Reads a key file, or makes one where there is none.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn load_or_create(path: &Path, random: impl FnMut() -> [u8; 32]) -> Result<Self, KeyFileError> {
        match Self::load(path) {
            Err(KeyFileError::Read { error, .. }) if error.kind() == std::io::ErrorKind::NotFound => {
                let key = Self::generate(random);
                key.save(path)?;
                Ok(key)
            }
            other => other,
        }
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> NodePublic {
        *self.public.get_or_init(|| NodePublic { point: secret::public(&self.secret) })
    }

    /// The X coordinate of the shared point: ECDH as RLPx uses it.
    #[must_use]
    pub fn agree(&self, with: &NodePublic) -> Zeroizing<[u8; 32]> {
        let point = Zeroizing::new(ecdh::shared_secret_point(&with.point, &self.secret));
        let mut x = Zeroizing::new([0; 32]);
        x.iter_mut().zip(point.iter()).for_each(|(x, byte)| *x = *byte);
        x
    }

    /// The shared point in compressed form: ECDH as discv5 uses it.
    #[must_use]
    pub fn agree_compressed(&self, with: &NodePublic) -> Zeroizing<[u8; 33]> {
        let point = Zeroizing::new(ecdh::shared_secret_point(&with.point, &self.secret));
        // 02 for an even Y, 03 for an odd one, then X.
        let [.., last] = *point;
        let mut out = Zeroizing::new([2 | (last & 1); 33]);
        out.iter_mut().skip(1).zip(point.iter()).for_each(|(out, byte)| *out = *byte);
        out
    }

    /// A signature r ‖ s over a digest (RFC 6979: no randomness needed).
    #[must_use]
    pub fn sign(&self, digest: [u8; 32]) -> [u8; 64] {
        let [rs @ .., _] = self.sign_recoverable(digest);
        rs
    }

    /// The shared point, compressed: ECDH as discv5 uses it.
    #[must_use]
    pub fn agree_point(&self, with: &NodePublic) -> Zeroizing<[u8; 33]> {
        let point = Zeroizing::new(ecdh::shared_secret_point(&with.point, &self.secret));
        let mut out = Zeroizing::new([0; 33]);
        let (x, y) = point.split_at(32);
        let parity = y.last().map_or(0, |last| last & 1);
        let bytes = std::iter::once(2 | parity).chain(x.iter().copied());
        out.iter_mut().zip(bytes).for_each(|(out, byte)| *out = byte);
        out
    }

    /// A signature r ‖ s ‖ v over a digest, v 0 or 1 (RFC 6979: no randomness needed).
    #[must_use]
    pub fn sign_recoverable(&self, digest: [u8; 32]) -> [u8; 65] {
        secret::sign(&self.secret, digest)
    }
}

/// The key that made a signature r ‖ s ‖ v; `None` when there is none (v must be 0 to 3).
#[must_use]
pub fn recover(digest: [u8; 32], signature: &[u8; 65]) -> Option<NodePublic> {
    let (rs, v) = signature.split_at(64);
    let v = RecoveryId::try_from(i32::from(*v.first()?)).ok()?;
    let signature = RecoverableSignature::from_compact(rs, v).ok()?;
    let point = signature.recover_ecdsa(Message::from_digest(digest)).ok()?;
    Some(NodePublic { point })
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

impl Drop for NodeKey {
    fn drop(&mut self) {
        self.secret.non_secure_erase();
    }
}

impl std::fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NodeKey(public {:?})", self.public())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_agreement_are_the_same_point() {
        let (a, b) = (NodeKey::from_bytes(&[1; 32]).unwrap(), NodeKey::from_bytes(&[2; 32]).unwrap());
        let compressed = a.agree_compressed(&b.public());
        assert_eq!(*compressed, *b.agree_compressed(&a.public()));
        assert_eq!(compressed[1..], *a.agree(&b.public()));
        assert!(NodePublic::from_compressed(&compressed).is_ok() && matches!(compressed[0], 2 | 3));
    }

    #[cfg(unix)]
    #[test]
    fn a_key_file_is_its_owners_and_no_name_that_can_be_guessed_is_in_its_way() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let (path, key) = (folder.path().join("nodekey"), NodeKey::from_bytes(&[3; 32]).unwrap());
        let guess = folder.path().join(format!(".nodekey-{}.part", std::process::id()));
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), guess).unwrap();
        key.save(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(NodeKey::load(&path).unwrap().public(), key.public());
        assert!(key.save(&path).is_err(), "never over an existing one");
        let names: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "the key and the link: {names:?}");
    }

    #[test]
    fn a_signature_is_its_makers() {
        let key = NodeKey::from_bytes(&[1; 32]).unwrap();
        let signature = key.sign_recoverable([7; 32]);
        assert_eq!(recover([7; 32], &signature), Some(key.public()));
        assert_ne!(recover([8; 32], &signature), Some(key.public()));
        assert_eq!(signature[..64], key.sign([7; 32]));
        assert!(key.public().verifies([7; 32], &key.sign([7; 32])));
        assert!(!key.public().verifies([8; 32], &key.sign([7; 32])));
    }

    #[test]
    fn a_signer_is_who_is_recovered() {
        let (key, other) = (NodeKey::from_bytes(&[1; 32]).unwrap(), NodeKey::from_bytes(&[2; 32]).unwrap());
        for n in 0..64 {
            let digest = keccak256(&[n]);
            let mut signature = key.sign_recoverable(digest);
            assert!(
                key.public().is_signer(digest, &signature) && !other.public().is_signer(digest, &signature)
            );
            assert!(!key.public().is_signer([n; 32], &signature));
            // The other form of the same signature: the order of the curve less s, and the other parity.
            let s = SecretKey::from_secret_bytes(signature[32..64].try_into().unwrap()).unwrap().negate();
            signature[32..64].copy_from_slice(s.as_secret_bytes());
            signature[64] ^= 1;
            assert_eq!(recover(digest, &signature), Some(key.public()));
            assert!(key.public().is_signer(digest, &signature));
            // With the other parity alone nobody else's key is found that counts for anything: it is one that nobody has.
            signature[64] ^= 1;
            let stranger = recover(digest, &signature);
            assert!(stranger.is_some_and(|stranger| stranger != key.public() && stranger != other.public()));
            signature[64] = 4;
            assert!(!key.public().is_signer(digest, &signature));
            signature[3] ^= 1;
            assert!(!key.public().is_signer(digest, &signature));
        }
        assert!(!key.public().is_signer([1; 32], &[0; 65]) && !key.public().is_signer([1; 32], &[0xff; 65]));
    }

    #[test]
    fn signatures_are_those_of_the_library_whenever_it_is_blinded_anew() {
        let key = NodeKey::from_bytes(&[3; 32]).unwrap();
        for n in 0..=255 {
            let digest = keccak256(&[n]);
            let theirs =
                RecoverableSignature::sign_ecdsa_recoverable(Message::from_digest(digest), &key.secret);
            let (v, rs) = theirs.serialize_compact();
            let ours = key.sign_recoverable(digest);
            assert_eq!((&ours[..64], ours[64]), (&rs[..], v.to_u8()));
            let another = NodeKey::from_bytes(&digest).unwrap();
            assert_eq!(another.public().point, PublicKey::from_secret_key(&another.secret));
        }
    }
}
