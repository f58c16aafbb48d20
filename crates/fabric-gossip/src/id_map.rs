//! A sorted map by PKI-ID. A PKI-ID is a hash, so where one stands is guessed from its first bytes.
//!
//! ```text
//!   heads   [ 00a1…, 0b77…, 19c0…, … ]      first four bytes of each, in order: a guess is off by a few places
//!   order   [     2,     0,     1, … ]      where each one's slot is
//!   slots   [ PKI-ID and value, … ]         as they came
//! ```
//! A look-up reads some four lines of memory and two or three pages, where a tree with large values reads a dozen lines: a node looks
//! two peers up for each message, among hundreds, most of which are not in the processor's caches.
//!
//! Limits: none of its own, as its users have theirs; an insertion moves what stands behind it, 8 bytes each. Identities that were
//! made until their hashes lie together are found by bisection, in the logarithm of their number.

use crate::types::PkiId;

/// Places looked at one after another before the rest is bisected.
const STEPS: usize = 24;

/// What is kept of one id: together, so that finding it brings the start of the value along.
#[derive(Debug, Clone)]
#[repr(C)]
struct Slot<V> {
    id: PkiId,
    value: V,
}

/// A map by PKI-ID, in the order of PKI-IDs.
#[derive(Debug, Clone)]
pub(crate) struct IdMap<V> {
    heads: Vec<u32>,
    order: Vec<u32>,
    slots: Vec<Slot<V>>,
}

impl<V> Default for IdMap<V> {
    fn default() -> Self {
        Self { heads: Vec::new(), order: Vec::new(), slots: Vec::new() }
    }
}

fn head(id: &PkiId) -> u32 {
    (id.head() >> 32) as u32
}

impl<V> IdMap<V> {
    /// Where the first head stands that is not below this one.
    fn first(&self, head: u32) -> usize {
        let heads = self.heads.as_slice();
        let guess = ((u64::from(head) * heads.len() as u64) >> 32) as usize;
        let (before, after) = heads.split_at_checked(guess).unwrap_or((heads, &[]));
        let back = before.iter().rev().take(STEPS).take_while(|at| **at >= head).count();
        if back == STEPS {
            return before.partition_point(|at| *at < head);
        }
        if back > 0 {
            return guess - back;
        }
        match after.iter().take(STEPS).take_while(|at| **at < head).count() {
            STEPS => guess + after.partition_point(|at| *at < head),
            forth => guess + forth,
        }
    }

    /// Where an id stands in the order and among the slots, or where in the order it would.
    fn find(&self, id: &PkiId) -> Result<(usize, usize), usize> {
        let head = head(id);
        let mut place = self.first(head);
        while self.heads.get(place) == Some(&head) {
            let Some(at) = self.order.get(place).map(|at| *at as usize) else { break };
            match self.slots.get(at).map(|slot| slot.id.cmp(id)) {
                Some(std::cmp::Ordering::Equal) => return Ok((place, at)),
                Some(std::cmp::Ordering::Less) => place += 1,
                _ => break,
            }
        }
        Err(place)
    }

    pub(crate) fn get(&self, id: &PkiId) -> Option<&V> {
        let (_, at) = self.find(id).ok()?;
        self.slots.get(at).map(|slot| &slot.value)
    }

    pub(crate) fn get_mut(&mut self, id: &PkiId) -> Option<&mut V> {
        let (_, at) = self.find(id).ok()?;
        self.slots.get_mut(at).map(|slot| &mut slot.value)
    }

    pub(crate) fn contains_key(&self, id: &PkiId) -> bool {
        self.find(id).is_ok()
    }

    /// Puts a value in, and gives back the one that was there.
    pub(crate) fn insert(&mut self, id: PkiId, value: V) -> Option<V> {
        match self.find(&id) {
            Ok((_, at)) => self.slots.get_mut(at).map(|slot| std::mem::replace(&mut slot.value, value)),
            Err(place) => {
                self.heads.insert(place, head(&id));
                self.order.insert(place, self.slots.len() as u32);
                self.slots.push(Slot { id, value });
                None
            }
        }
    }

    pub(crate) fn remove(&mut self, id: &PkiId) -> Option<V> {
        let (place, at) = self.find(id).ok()?;
        // The last slot takes its place among the slots.
        if let Some(last) = self.slots.last().map(|slot| slot.id)
            && let Ok((of_last, _)) = self.find(&last)
            && let Some(moved) = self.order.get_mut(of_last)
        {
            *moved = at as u32;
        }
        self.heads.remove(place);
        self.order.remove(place);
        Some(self.slots.swap_remove(at).value)
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&PkiId, &mut V) -> bool) {
        let mut gone = Vec::new();
        for at in &self.order {
            if let Some(slot) = self.slots.get_mut(*at as usize)
                && !keep(&slot.id, &mut slot.value)
            {
                gone.push(slot.id);
            }
        }
        for id in gone {
            self.remove(&id);
        }
    }

    fn in_order(&self) -> impl Iterator<Item = &Slot<V>> {
        self.order.iter().filter_map(|at| self.slots.get(*at as usize))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&PkiId, &V)> {
        self.in_order().map(|slot| (&slot.id, &slot.value))
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &PkiId> {
        self.in_order().map(|slot| &slot.id)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.in_order().map(|slot| &slot.value)
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::pki_id;
    use rand::{Rng, SeedableRng};
    use std::collections::BTreeMap;

    /// The same as a tree, whatever is put in and taken out.
    fn like_a_tree(seed: u64, mut draw: impl FnMut(&mut rand_chacha::ChaCha12Rng) -> PkiId) {
        let mut rng = rand_chacha::ChaCha12Rng::seed_from_u64(seed);
        let (mut map, mut tree) = (IdMap::default(), BTreeMap::new());
        for n in 0..6_000u32 {
            let id = draw(&mut rng);
            match rng.next_u32() % 4 {
                0 => assert_eq!(map.remove(&id), tree.remove(&id)),
                _ => assert_eq!(map.insert(id, n), tree.insert(id, n)),
            }
            let other = draw(&mut rng);
            assert_eq!(map.get(&other), tree.get(&other));
            assert_eq!(map.get_mut(&other), tree.get_mut(&other));
            assert_eq!((map.contains_key(&id), map.len()), (tree.contains_key(&id), tree.len()));
            if n % 500 == 0 {
                map.retain(|_, value| *value % 3 > 0);
                tree.retain(|_, value| *value % 3 > 0);
            }
        }
        assert!(map.iter().eq(tree.iter()) && map.keys().eq(tree.keys()) && map.values().eq(tree.values()));
        assert!(!map.is_empty());
        map.retain(|_, _| false);
        assert!(map.is_empty() && map.get(&draw(&mut rng)).is_none());
    }

    #[test]
    fn a_map_of_hashes() {
        like_a_tree(1, |rng| pki_id(&(rng.next_u32() % 2_000).to_be_bytes()));
    }

    /// Ids that somebody made so that the guess is always wrong, and ids that differ in their last byte only.
    #[test]
    fn a_map_of_ids_that_lie_together() {
        for first in [0x00, 0x7f, 0xff] {
            like_a_tree(2, |rng| {
                let mut id = [first; 32];
                id[3] = rng.next_u32() as u8;
                id[31] = (rng.next_u32() % 8) as u8;
                PkiId(id)
            });
        }
        like_a_tree(3, |rng| {
            let mut id = [[0x00, 0xff][(rng.next_u32() % 2) as usize]; 32];
            id[2..4].copy_from_slice(&(rng.next_u32() as u16 % 600).to_be_bytes());
            PkiId(id)
        });
    }
}
