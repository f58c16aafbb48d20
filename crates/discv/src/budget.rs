//! How much is done for whom: rates, and a map with a limit for what strangers make us remember.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

/// A rate with a burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many a second over time.
    pub per_sec: u32,
    /// How many at once after a pause.
    pub burst: u32,
}

/// A token bucket. One that was never used is full.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bucket {
    /// Nanoseconds until it is full again, seen from `at`.
    debt: u128,
    at: Duration,
}

impl Bucket {
    /// Takes one token; false when there is none.
    pub fn take(&mut self, rate: Rate, now: Duration) -> bool {
        let one = 1_000_000_000 / u128::from(rate.per_sec.max(1));
        self.debt = self.debt.saturating_sub(now.saturating_sub(self.at).as_nanos());
        self.at = self.at.max(now);
        if self.debt + one > one * u128::from(rate.burst) {
            return false;
        }
        self.debt += one;
        true
    }
}

/// A map of at most `max` entries: the one that was touched longest ago makes room.
///
/// Nobody sees the order of the hash map: it is only ever asked for a key.
#[derive(Debug)]
pub struct Recent<K, V> {
    entries: HashMap<K, (V, u64)>,
    /// Every touch, oldest first; those that a later one of the same key replaced are passed over.
    order: VecDeque<(u64, K)>,
    next: u64,
    max: usize,
}

impl<K: Hash + Eq + Copy, V> Recent<K, V> {
    /// An empty map for `max` entries, at least one.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new(), next: 0, max: max.max(1) }
    }

    /// Makes room for one more.
    fn evict(&mut self) {
        while let Some((stamp, key)) = self.order.pop_front() {
            if self.entries.get(&key).is_some_and(|(_, last)| *last == stamp) {
                self.entries.remove(&key);
                return;
            }
        }
    }

    /// The value of a key, which is made if it is not there.
    pub fn touch(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        let stamp = self.next;
        self.next += 1;
        if self.entries.len() >= self.max && !self.entries.contains_key(&key) {
            self.evict();
        }
        // Now and then the touches that were replaced are cleared away.
        if self.order.len() >= 2 * self.entries.len() + 64 {
            let entries = &self.entries;
            self.order.retain(|(stamp, key)| entries.get(key).is_some_and(|(_, last)| last == stamp));
        }
        self.order.push_back((stamp, key));
        let (value, at) = self.entries.entry(key).or_insert_with(|| (make(), stamp));
        *at = stamp;
        value
    }

    /// The value of a key; its age stays.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(value, _)| value)
    }

    /// Removes a key.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.entries.remove(key).map(|(value, _)| value)
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_then_its_rate() {
        let rate = Rate { per_sec: 10, burst: 5 };
        let mut bucket = Bucket::default();
        let mut take = |ms: u64| bucket.take(rate, Duration::from_millis(ms));
        assert_eq!((0..9).filter(|_| take(0)).count(), 5);
        assert!(!take(99) && take(100) && !take(100));
        assert_eq!((0..9).filter(|_| take(100_000)).count(), 5, "a pause fills it, and no more");
        assert!(!Bucket::default().take(Rate { per_sec: 1, burst: 0 }, Duration::ZERO));
    }

    #[test]
    fn the_one_touched_longest_ago_makes_room() {
        let mut recent = Recent::new(3);
        for key in [1, 2, 3, 1, 4] {
            recent.touch(key, || key * 10);
        }
        assert_eq!((1..5).filter_map(|k| recent.get(&k)).copied().collect::<Vec<_>>(), [10, 30, 40]);
        assert_eq!((recent.remove(&3), recent.remove(&3), recent.len()), (Some(30), None, 2));
        for key in 0..1_000 {
            recent.touch(key, || 0);
            assert!(recent.len() <= 3 && recent.order.len() <= 2 * recent.entries.len() + 64);
        }
        assert_eq!((997..1_000).filter(|key| recent.get(key).is_some()).count(), 3);
    }
}
