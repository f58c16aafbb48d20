//! A map that holds at most so many entries; the one used longest ago leaves for a new one.

use std::collections::BTreeMap;

/// The map. Every operation takes logarithmic time; order does not depend on hashes.
#[derive(Debug, Clone)]
pub(crate) struct Lru<K, V> {
    entries: BTreeMap<K, (u64, V)>,
    by_use: BTreeMap<u64, K>,
    tick: u64,
    capacity: usize,
}

impl<K: Ord + Clone, V> Lru<K, V> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { entries: BTreeMap::new(), by_use: BTreeMap::new(), tick: 0, capacity: capacity.max(1) }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The entry, which counts as used now.
    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let (used, value) = self.entries.get_mut(key)?;
        self.by_use.remove(used);
        self.tick += 1;
        *used = self.tick;
        self.by_use.insert(self.tick, key.clone());
        Some(value)
    }

    /// The entry, without counting as used.
    pub(crate) fn peek(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    /// Puts an entry; the one it replaces.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.tick += 1;
        self.by_use.insert(self.tick, key.clone());
        if let Some((used, old)) = self.entries.insert(key, (self.tick, value)) {
            self.by_use.remove(&used);
            return Some(old);
        }
        if self.entries.len() > self.capacity
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.entries.remove(&oldest);
        }
        None
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let (used, value) = self.entries.remove(key)?;
        self.by_use.remove(&used);
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::Lru;

    #[test]
    fn the_one_used_longest_ago_leaves() {
        let mut lru = Lru::new(2);
        lru.insert("a", 1);
        lru.insert("b", 2);
        assert_eq!(lru.get_mut(&"a"), Some(&mut 1));
        lru.insert("c", 3);
        assert_eq!((lru.peek(&"a"), lru.peek(&"b"), lru.peek(&"c")), (Some(&1), None, Some(&3)));
        assert_eq!(lru.insert("a", 4), Some(1));
        assert_eq!(lru.remove(&"c"), Some(3));
        assert_eq!((lru.len(), lru.remove(&"c")), (1, None));
        lru.insert("d", 5);
        lru.insert("e", 6);
        assert_eq!((lru.len(), lru.by_use.len(), lru.peek(&"a")), (2, 2, None));
    }
}
