//! Who signs packets, and how a packet's signer is found.
//!
//! A packet of discv4 does not say who sent it: the key is recovered from the signature. [`NodeKey`] does this with
//! secp256k1, as the network does. A simulation of many nodes may bring another scheme, whose cost is a hash.

use std::fmt::Debug;
use std::sync::Arc;
use switchboard_enr::keccak::keccak256;
use switchboard_enr::key::{NodeKey, NodePublic, recover};

/// A node's identity: its key, and what everyone can do with keys and signatures of the same scheme.
pub trait Identity: Debug + Send + Sync {
    /// The public key, 64 bytes; the node id is its Keccak-256.
    fn public(&self) -> [u8; 64];
    /// The hash that stands for bytes, in signatures and in front of packets: Keccak-256, as the network has it, unless a
    /// scheme says otherwise.
    fn digest(&self, bytes: &[u8]) -> [u8; 32] {
        keccak256(bytes)
    }
    /// A signature over a digest.
    fn sign(&self, digest: [u8; 32]) -> [u8; 65];
    /// The key that made a signature over a digest; `None` for a signature that nobody made.
    fn recover(&self, digest: [u8; 32], signature: &[u8; 65]) -> Option<[u8; 64]>;
    /// Whether a key made a signature over a digest, where that takes less work than [`Identity::recover`]; `false` says nothing.
    fn is_signer(&self, digest: [u8; 32], signature: &[u8; 65], key: &[u8; 64]) -> bool {
        let _ = (digest, signature, key);
        false
    }
    /// Whether 64 bytes are a key at all.
    fn is_key(&self, key: &[u8; 64]) -> bool;
}

impl Identity for NodeKey {
    fn public(&self) -> [u8; 64] {
        NodeKey::public(self).to_bytes()
    }

    fn sign(&self, digest: [u8; 32]) -> [u8; 65] {
        self.sign_recoverable(digest)
    }

    fn recover(&self, digest: [u8; 32], signature: &[u8; 65]) -> Option<[u8; 64]> {
        recover(digest, signature).map(|key| key.to_bytes())
    }

    fn is_signer(&self, digest: [u8; 32], signature: &[u8; 65], key: &[u8; 64]) -> bool {
        NodePublic::from_bytes(key).is_ok_and(|key| key.is_signer(digest, signature))
    }

    fn is_key(&self, key: &[u8; 64]) -> bool {
        NodePublic::from_bytes(key).is_ok()
    }
}

impl<T: Identity + ?Sized> Identity for Arc<T> {
    fn digest(&self, bytes: &[u8]) -> [u8; 32] {
        (**self).digest(bytes)
    }

    fn public(&self) -> [u8; 64] {
        (**self).public()
    }

    fn sign(&self, digest: [u8; 32]) -> [u8; 65] {
        (**self).sign(digest)
    }

    fn recover(&self, digest: [u8; 32], signature: &[u8; 65]) -> Option<[u8; 64]> {
        (**self).recover(digest, signature)
    }

    fn is_signer(&self, digest: [u8; 32], signature: &[u8; 65], key: &[u8; 64]) -> bool {
        (**self).is_signer(digest, signature, key)
    }

    fn is_key(&self, key: &[u8; 64]) -> bool {
        (**self).is_key(key)
    }
}
