//! Helpers of this crate's tests: an identity that costs a hash, keys at chosen distances.

use crate::identity::Identity;
use crate::node::{Node, NodeId};
use crate::time::Now;
use std::net::IpAddr;
use std::time::Duration;
use switchboard_enr::keccak::{keccak256, keccak256_of};

/// Signs with a hash that everybody can make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HashIdentity(pub(crate) u64);

fn key_of(first: &[u8; 32]) -> [u8; 64] {
    let mut key = [0; 64];
    key[..32].copy_from_slice(first);
    key[32..].copy_from_slice(first);
    key
}

impl Identity for HashIdentity {
    fn public(&self) -> [u8; 64] {
        key_of(&keccak256(&self.0.to_be_bytes()))
    }

    fn sign(&self, digest: [u8; 32]) -> [u8; 65] {
        let key = self.public();
        let mut out = [0; 65];
        out[..32].copy_from_slice(&key[..32]);
        out[32..64].copy_from_slice(&keccak256_of(&[&key[..32], b"signed", &digest]));
        out
    }

    fn recover(&self, digest: [u8; 32], signature: &[u8; 65]) -> Option<[u8; 64]> {
        let first: [u8; 32] = signature[..32].try_into().unwrap();
        let fits = keccak256_of(&[&first, b"signed", &digest]) == signature[32..64];
        fits.then(|| key_of(&first))
    }

    fn is_key(&self, key: &[u8; 64]) -> bool {
        key[..32] == key[32..]
    }
}

pub(crate) fn key(n: u64) -> [u8; 64] {
    HashIdentity(n).public()
}

pub(crate) fn id(n: u64) -> NodeId {
    NodeId::of_key(&key(n))
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn node(n: u64, at: &str) -> Node {
    Node::new(key(n), ip(at), 30_303, 30_303)
}

/// The first `count` keys from `from` on whose ids are this far from `own`.
pub(crate) fn keys_at(own: NodeId, distance: u16, from: u64, count: usize) -> Vec<u64> {
    (from..).filter(|n| id(*n).log_distance(&own) == distance).take(count).collect()
}

pub(crate) fn at(secs: u64) -> Now {
    Now { mono: Duration::from_secs(secs), unix: 1_800_000_000 + secs }
}
