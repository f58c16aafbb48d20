//! The hasher of this crate's maps, whose keys are ids and addresses that strangers choose.
//!
//! The algorithm is `foldhash`. Its seeds are drawn once in a process from the operating system's generator, so nobody can tell
//! beforehand which keys meet. Every such map has a limit: keys that meet all the same cost a walk through one map of that many.
//! A packet is looked up a dozen times, and the standard library's hasher takes three times as long.

use foldhash::SharedSeed;
use foldhash::quality::{FoldHasher, SeedableRandomState};
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

/// A hash map with this hasher.
pub(crate) type HashMap<K, V> = std::collections::HashMap<K, V, Keyed>;
/// A hash set with this hasher.
pub(crate) type HashSet<K> = std::collections::HashSet<K, Keyed>;

/// Makes hashers with the seeds of this process.
#[derive(Clone)]
pub(crate) struct Keyed(SeedableRandomState);

impl Default for Keyed {
    fn default() -> Self {
        static SEEDS: OnceLock<(u64, SharedSeed)> = OnceLock::new();
        let draw = || {
            let random = RandomState::new();
            (random.hash_one(0_u64), SharedSeed::from_u64(random.hash_one(1_u64)))
        };
        let (own, shared) = SEEDS.get_or_init(draw);
        Self(SeedableRandomState::with_seed(*own, shared))
    }
}

impl std::fmt::Debug for Keyed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keyed(…)")
    }
}

impl BuildHasher for Keyed {
    type Hasher = FoldHasher<'static>;

    #[inline]
    fn build_hasher(&self) -> FoldHasher<'static> {
        self.0.build_hasher()
    }
}
