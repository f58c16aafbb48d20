//! How much is done for whom: rates, and a map with a limit for what strangers make us remember.

use crate::hash::HashMap;
use std::collections::{VecDeque, hash_map};
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
    debt: u64,
    /// Nanoseconds.
    at: u64,
}

impl Bucket {
    /// Takes one token; false when there is none.
    pub fn take(&mut self, rate: Rate, now: Duration) -> bool {
        let one = 1_000_000_000 / u64::from(rate.per_sec.max(1));
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        self.debt = self.debt.saturating_sub(now.saturating_sub(self.at));
        self.at = self.at.max(now);
        if self.debt + one > one * u64::from(rate.burst) {
            return false;
        }
        self.debt += one;
        true
    }
}

/// A map of at most `max` entries: one that was not touched for long makes room.
///
/// ```text
///   queue, oldest first:  a  b  c …     full: the first goes, or to the end of the queue if it was touched while it stood there
/// ```
/// So a touch costs one look into the map, and an entry its place in the queue.
///
/// Nobody sees the order of the hash map: it is only ever asked for a key.
#[derive(Debug)]
pub struct Recent<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// By the number they were queued under; those that were removed since then are passed over.
    queue: VecDeque<(u64, K)>,
    next: u64,
    max: usize,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    queued: u64,
    /// Touched since it was queued.
    touched: bool,
}

impl<K: Hash + Eq + Copy, V> Recent<K, V> {
    /// An empty map for `max` entries, at least one.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { entries: HashMap::default(), queue: VecDeque::new(), next: 0, max: max.max(1) }
    }

    /// Makes room for one more. Ends: what goes to the end of the queue is not touched any more.
    fn evict(&mut self) {
        while let Some((number, key)) = self.queue.pop_front() {
            match self.entries.get_mut(&key).filter(|entry| entry.queued == number) {
                Some(entry) if entry.touched => {
                    entry.touched = false;
                    self.queue.push_back((number, key));
                }
                Some(_) => return drop(self.entries.remove(&key)),
                None => {}
            }
        }
    }

    /// The value of a key, which is made if it is not there.
    pub fn touch(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        if self.entries.len() >= self.max && !self.entries.contains_key(&key) {
            self.evict();
        }
        let Self { entries, queue, next, .. } = self;
        match entries.entry(key) {
            hash_map::Entry::Occupied(entry) => {
                let entry = entry.into_mut();
                entry.touched = true;
                &mut entry.value
            }
            hash_map::Entry::Vacant(place) => {
                *next += 1;
                queue.push_back((*next, key));
                &mut place.insert(Entry { value: make(), queued: *next, touched: false }).value
            }
        }
    }

    /// The value of a key, which counts as touched.
    pub fn touched(&mut self, key: &K) -> Option<&mut V> {
        let entry = self.entries.get_mut(key)?;
        entry.touched = true;
        Some(&mut entry.value)
    }

    /// The value of a key; its age stays.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|entry| &entry.value)
    }

    /// Removes a key.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let removed = self.entries.remove(key)?;
        // Now and then the places that were left are cleared away.
        if self.queue.len() >= 2 * self.entries.len() + 64 {
            let entries = &self.entries;
            self.queue.retain(|(number, key)| entries.get(key).is_some_and(|entry| entry.queued == *number));
        }
        Some(removed.value)
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
    fn one_that_was_not_touched_makes_room() {
        let mut recent = Recent::new(3);
        for key in [1, 2, 3, 1, 4] {
            recent.touch(key, || key * 10);
        }
        assert_eq!((1..5).filter_map(|k| recent.get(&k)).copied().collect::<Vec<_>>(), [10, 30, 40]);
        assert_eq!((recent.remove(&3), recent.remove(&3), recent.len()), (Some(30), None, 2));
        for key in 0..1_000 {
            recent.touch(key, || 0);
            assert!(recent.len() <= 3 && recent.queue.len() <= 2 * recent.entries.len() + 64);
        }
        assert_eq!((997..1_000).filter(|key| recent.get(key).is_some()).count(), 3);
    }

    #[test]
    fn one_that_is_touched_again_and_again_stays_however_many_pass() {
        let mut recent = Recent::new(8);
        for key in 1..1_000 {
            recent.touch(0, || key);
            recent.touch(key, || 0);
            assert!(recent.len() <= 8 && recent.queue.len() <= 8);
        }
        assert_eq!(recent.get(&0), Some(&1), "it was never made anew");
    }

    #[test]
    fn what_comes_and_goes_leaves_no_places() {
        let mut recent = Recent::new(100);
        for key in 0..10_000 {
            recent.touch(key % 3, || 0);
            recent.remove(&(key % 3));
            assert!(recent.is_empty() && recent.queue.len() < 66);
        }
    }
}
