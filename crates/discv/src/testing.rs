//! Helpers of this crate's tests: an identity that costs a hash, keys at chosen distances.

use crate::identity::Identity;
use crate::node::{Node, NodeId};
use crate::time::Now;
use std::net::IpAddr;
use std::time::Duration;

/// Simulations free on one thread what another one made, which the system's allocator answers with locks.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Signs with a hash that everybody can make, of a kind that costs next to nothing: networks of thousands sign millions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HashIdentity(pub(crate) u64);

/// A number made of a start and bytes.
fn mix(start: u64, bytes: &[u8]) -> u64 {
    const PRIME: u64 = 0x9e37_79b9_7f4a_7c15;
    bytes.chunks(8).fold(start ^ PRIME, |sum, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        let next = (sum ^ u64::from_le_bytes(word)).wrapping_mul(PRIME);
        next ^ (next >> 29)
    })
}

fn key_of(first: &[u8; 32]) -> [u8; 64] {
    let mut key = [0; 64];
    key[..32].copy_from_slice(first);
    key[32..].copy_from_slice(first);
    key
}

impl Identity for HashIdentity {
    fn public(&self) -> [u8; 64] {
        let mut first = [0; 32];
        for (at, part) in first.chunks_mut(8).enumerate() {
            part.copy_from_slice(&mix(at as u64, &self.0.to_be_bytes()).to_be_bytes());
        }
        key_of(&first)
    }

    fn digest(&self, bytes: &[u8]) -> [u8; 32] {
        let mut out = [0; 32];
        out[..8].copy_from_slice(&mix(bytes.len() as u64, bytes).to_be_bytes());
        out
    }

    fn sign(&self, digest: [u8; 32]) -> [u8; 65] {
        let key = self.public();
        let mut out = [0; 65];
        out[..32].copy_from_slice(&key[..32]);
        out[32..40].copy_from_slice(&mix(mix(1, &key[..32]), &digest).to_be_bytes());
        out
    }

    fn recover(&self, digest: [u8; 32], signature: &[u8; 65]) -> Option<[u8; 64]> {
        let first: [u8; 32] = signature[..32].try_into().unwrap();
        let fits = mix(mix(1, &first), &digest).to_be_bytes() == signature[32..40];
        (fits && signature[40..] == [0; 25]).then(|| key_of(&first))
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
