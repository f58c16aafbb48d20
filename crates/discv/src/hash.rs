//! The hasher of this crate's maps, whose keys are ids and addresses that strangers choose.
//!
//! ```text
//!   sum = secret;  for each 8 bytes:  sum = high ⊕ low half of (sum ⊕ bytes) × other secret
//! ```
//! The two secrets are drawn once in a process, so nobody can tell beforehand which keys meet. Every such map has a limit: keys that
//! meet all the same cost a walk through one map of that many. A packet is looked up a dozen times, and the
//! standard library's hasher takes three times as long.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::OnceLock;

/// A hash map with this hasher.
pub(crate) type HashMap<K, V> = std::collections::HashMap<K, V, Keyed>;
/// A hash set with this hasher.
pub(crate) type HashSet<K> = std::collections::HashSet<K, Keyed>;

/// Makes hashers with the secrets of this process.
#[derive(Clone, Copy)]
pub(crate) struct Keyed {
    start: u64,
    factor: u64,
}

impl Default for Keyed {
    fn default() -> Self {
        static SECRETS: OnceLock<(u64, u64)> = OnceLock::new();
        let draw = || {
            let random = RandomState::new();
            (random.hash_one(0_u64), random.hash_one(1_u64) | 1)
        };
        let (start, factor) = *SECRETS.get_or_init(draw);
        Self { start, factor }
    }
}

impl std::fmt::Debug for Keyed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keyed(…)")
    }
}

impl BuildHasher for Keyed {
    type Hasher = Folded;

    fn build_hasher(&self) -> Folded {
        Folded { sum: self.start, factor: self.factor }
    }
}

/// A hash under way.
#[derive(Clone)]
pub(crate) struct Folded {
    sum: u64,
    factor: u64,
}

impl std::fmt::Debug for Folded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Folded(…)")
    }
}

impl Folded {
    #[inline]
    fn mix(&mut self, word: u64) {
        let product = u128::from(self.sum ^ word) * u128::from(self.factor);
        self.sum = (product as u64) ^ ((product >> 64) as u64);
    }
}

impl Hasher for Folded {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.mix(u64::from_le_bytes(*word)));
        if !rest.is_empty() {
            let mut last = [0; 8];
            last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            self.mix(u64::from_le_bytes(last) ^ (rest.len() as u64) << 56);
        }
    }

    #[inline]
    fn write_u8(&mut self, number: u8) {
        self.mix(number.into());
    }

    #[inline]
    fn write_u16(&mut self, number: u16) {
        self.mix(number.into());
    }

    #[inline]
    fn write_u32(&mut self, number: u32) {
        self.mix(number.into());
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.mix(number);
    }

    #[inline]
    fn write_usize(&mut self, number: usize) {
        self.mix(number as u64);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::id;
    use std::net::IpAddr;

    /// Keys that differ little are spread as well as those that differ much, by the bits a map looks at: low and high ones.
    #[test]
    fn keys_are_spread() {
        let keyed = Keyed::default();
        let most = |hashes: Vec<u64>| {
            let (mut low, mut high) = ([0; 128], [0; 128]);
            for hash in &hashes {
                low[(hash & 127) as usize] += 1;
                high[(hash >> 57) as usize] += 1;
            }
            low.into_iter().chain(high).max().unwrap()
        };
        let ids = most((0..12_800).map(|n| keyed.hash_one(id(n))).collect());
        let addresses = |n: u32| IpAddr::from(n.to_be_bytes());
        let near = most((0..12_800).map(|n| keyed.hash_one(addresses(n))).collect());
        let far = most((0..12_800).map(|n| keyed.hash_one(addresses(n << 16))).collect());
        // 100 on average; by chance hardly more than half as many again.
        assert!(ids < 160 && near < 200 && far < 200, "{ids} {near} {far}");
    }

    #[test]
    fn what_is_equal_has_one_hash_and_what_is_not_another() {
        let keyed = Keyed::default();
        assert_eq!(keyed.hash_one(id(1)), Keyed::default().hash_one(id(1)));
        let texts: [&[u8]; 6] = [b"", b"\0", b"\0\0", b"12345678", b"12345678\0", b"1234567"];
        let hashes: std::collections::BTreeSet<_> = texts.iter().map(|text| keyed.hash_one(text)).collect();
        assert_eq!(hashes.len(), texts.len());
        assert_ne!(keyed.hash_one(id(1)), Keyed { start: 1, factor: 3 }.hash_one(id(1)), "the secrets count");
    }
}
