//! Where an address stands in the book: SipHash-2-4 under a key made from the book's own.
//!
//! ```text
//! k    = first 16 bytes of SHA-256("addrbook" ‖ key text)
//! new  = H(1 ‖ source group ‖ H(0 ‖ group ‖ source group) mod 32) mod 256
//! old  = H(3 ‖ group ‖ H(2 ‖ ID ‖ IP ‖ port) mod 4) mod 64
//! ```
//! (the shape of cometbft p2p/pex/addrbook.go `calcNewBucket`, `calcOldBucket`)
//!
//! Placement is local: no peer sees it. The Go code hashes with a key that it makes anew at each start, so its
//! placement changes although its `key` is saved; here the saved key decides, and the placement stays.
//!
//! Whoever does not know the key cannot choose addresses for a bucket. It stands in the file, so whoever reads the
//! file can.

use crate::pex::address::{Group, PeerAddress};
use aws_lc_rs::digest::{SHA256, digest};
use std::net::IpAddr;

use super::{NEW_BUCKETS, NEW_BUCKETS_PER_GROUP, OLD_BUCKETS, OLD_BUCKETS_PER_GROUP};

/// The keyed hash of one book.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placement {
    k0: u64,
    k1: u64,
}

impl Placement {
    /// The placement of the book with this key.
    pub(crate) fn new(key: &str) -> Self {
        let hash = digest(&SHA256, &[b"addrbook", key.as_bytes()].concat());
        let half = |at: usize| {
            let bytes = hash.as_ref().get(at..at + 8).and_then(|half| half.try_into().ok());
            bytes.map_or(0, u64::from_le_bytes)
        };
        Self { k0: half(0), k1: half(8) }
    }

    /// The new bucket of an address told by somebody in the group `source`.
    pub(crate) fn new_bucket(self, group: Group, source: Group) -> u8 {
        let (group, source) = (group.to_bytes(), source.to_bytes());
        let spread = self.hash(&[&[0], &group, &source]) % NEW_BUCKETS_PER_GROUP as u64;
        (self.hash(&[&[1], &source, &[spread as u8]]) % NEW_BUCKETS as u64) as u8
    }

    /// The old bucket of an address.
    pub(crate) fn old_bucket(self, address: &PeerAddress, group: Group) -> u8 {
        let (v4, v6);
        let ip: &[u8] = match address.ip {
            IpAddr::V4(ip) => {
                v4 = ip.octets();
                &v4
            }
            IpAddr::V6(ip) => {
                v6 = ip.octets();
                &v6
            }
        };
        let spread = self.hash(&[&[2], &address.id.0, ip, &address.port.to_be_bytes()]);
        let spread = spread % OLD_BUCKETS_PER_GROUP as u64;
        (self.hash(&[&[3], &group.to_bytes(), &[spread as u8]]) % OLD_BUCKETS as u64) as u8
    }

    /// SipHash-2-4 over the parts as if they were one (at most 64 bytes in all).
    fn hash(self, parts: &[&[u8]]) -> u64 {
        let mut message = [0; 64];
        let mut len = 0;
        for byte in parts.iter().flat_map(|part| part.iter()) {
            if let Some(slot) = message.get_mut(len) {
                *slot = *byte;
                len += 1;
            }
        }
        siphash(self.k0, self.k1, message.get(..len).unwrap_or_default())
    }
}

/// SipHash-2-4 (Aumasson and Bernstein, 2012).
fn siphash(k0: u64, k1: u64, message: &[u8]) -> u64 {
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let words = message.chunks_exact(8);
    let rest = words.remainder();
    for word in words {
        let word = word.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        v[3] ^= word;
        round(&mut v);
        round(&mut v);
        v[0] ^= word;
    }
    let tail = rest.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let last = (message.len() as u64) << 56 | tail;
    v[3] ^= last;
    round(&mut v);
    round(&mut v);
    v[0] ^= last;
    v[2] ^= 0xff;
    (0..4).for_each(|_| round(&mut v));
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn round(v: &mut [u64; 4]) {
    let [a, b, c, d] = v;
    *a = a.wrapping_add(*b);
    *c = c.wrapping_add(*d);
    *b = b.rotate_left(13) ^ *a;
    *d = d.rotate_left(16) ^ *c;
    *a = a.rotate_left(32);
    *c = c.wrapping_add(*b);
    *a = a.wrapping_add(*d);
    *b = b.rotate_left(17) ^ *c;
    *d = d.rotate_left(21) ^ *a;
    *c = c.rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::NodeId;
    use std::collections::BTreeSet;

    #[test]
    fn siphash_of_its_paper() {
        let (k0, k1) = (0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);
        let message: Vec<u8> = (0..15).collect();
        assert_eq!(siphash(k0, k1, &message), 0xa129_ca61_49be_45e5);
        assert_eq!(siphash(k0, k1, &[]), 0x726f_db47_dd0e_0e31);
    }

    #[test]
    fn a_group_reaches_few_buckets() {
        let placement = Placement::new("5472fa544703d6169d0e6a3d");
        let attacker = Group::V4([6, 6]);
        let mut new = BTreeSet::new();
        for group in 0..=u16::MAX {
            new.insert(placement.new_bucket(Group::V4(group.to_be_bytes()), attacker));
        }
        assert!(new.len() <= NEW_BUCKETS_PER_GROUP && new.len() > 20, "{}", new.len());
        let mut old = BTreeSet::new();
        for n in 0..=u16::MAX {
            let [a, b] = n.to_be_bytes();
            let address = PeerAddress::new(NodeId([a; 20]), [6, 6, a, b].into(), n);
            old.insert(placement.old_bucket(&address, attacker));
        }
        assert!(old.len() <= OLD_BUCKETS_PER_GROUP && old.len() > 1, "{}", old.len());
    }

    #[test]
    fn another_key_places_otherwise() {
        let place = |key: &str| {
            let placement = Placement::new(key);
            let bucket = |n: u8| placement.new_bucket(Group::V4([n, 1]), Group::V4([1, n]));
            (0..50).map(bucket).collect::<Vec<_>>()
        };
        assert_eq!(place("a"), place("a"));
        assert_ne!(place("a"), place("b"));
    }
}
