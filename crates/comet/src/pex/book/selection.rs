//! What the book tells others: random addresses, each once.

use super::{Kind, MAX_SELECTION, MIN_SELECTION, SELECTION_PERCENT, table::Book};
use crate::pex::address::PeerAddress;
use crate::pex::below;
use rand::Rng;
use std::collections::BTreeMap;

/// How many addresses of a book of `size` an answer holds: 23 %, at least 32 if there are so many, at most 250.
#[must_use]
pub fn selection_len(size: usize) -> usize {
    (size * SELECTION_PERCENT / 100).max(size.min(MIN_SELECTION)).min(MAX_SELECTION)
}

impl Book {
    /// Random addresses for an answer.
    #[must_use]
    pub fn selection<R: Rng + ?Sized>(&self, rng: &mut R) -> Vec<PeerAddress> {
        let size = self.len();
        let (new, old) = (self.list(Kind::New), self.list(Kind::Old));
        let at = |n: usize| old.get(n).or_else(|| new.get(n - old.len().min(n))).copied();
        self.addresses(draw(size, selection_len(size), rng).into_iter().filter_map(at))
    }

    /// Random addresses for an answer, of which `bias` percent are new (more where there are too few old ones, fewer
    /// where there are too few new ones). The new ones stand first.
    #[must_use]
    pub fn selection_with_bias<R: Rng + ?Sized>(&self, bias: u8, rng: &mut R) -> Vec<PeerAddress> {
        let (new, old) = (self.list(Kind::New), self.list(Kind::Old));
        let len = selection_len(self.len());
        // Rounded to the nearest, as the Go code does it.
        let wanted = (usize::from(bias.min(100)) * len * 2 + 100) / 200;
        let of_new = wanted.max(len.saturating_sub(old.len())).min(new.len());
        let of_old = (len - of_new).min(old.len());
        let new = draw(new.len(), of_new, rng).into_iter().filter_map(|n| new.get(n).copied());
        let mut found = self.addresses(new);
        let old = draw(old.len(), of_old, rng).into_iter().filter_map(|n| old.get(n).copied());
        found.extend(self.addresses(old));
        found
    }

    fn addresses(&self, slots: impl Iterator<Item = u16>) -> Vec<PeerAddress> {
        slots.filter_map(|slot| self.known_at(slot)).map(|known| known.address).collect()
    }
}

/// `count` different numbers out of `0..size` in random order: the first steps of a shuffle, of which only the
/// numbers that moved are remembered.
fn draw<R: Rng + ?Sized>(size: usize, count: usize, rng: &mut R) -> Vec<usize> {
    let mut moved = BTreeMap::new();
    (0..count.min(size))
        .map(|n| {
            let from = n + below(rng, size - n);
            let drawn = moved.get(&from).copied().unwrap_or(from);
            let here = moved.get(&n).copied().unwrap_or(n);
            moved.insert(from, here);
            drawn
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;
    use std::collections::BTreeSet;

    #[test]
    fn lengths() {
        let of = |size| selection_len(size);
        assert_eq!([of(0), of(1), of(32), of(33), of(139), of(140)], [0, 1, 32, 32, 32, 32]);
        assert_eq!([of(144), of(1_000), of(1_086), of(1_087), of(20_480)], [33, 230, 249, 250, 250]);
    }

    #[test]
    fn what_is_drawn_differs_and_everything_is_drawn_alike() {
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        for size in [0, 1, 2, 5, 40, 1_000] {
            let all = draw(size, size, &mut rng);
            assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), size, "{all:?}");
        }
        let mut seen = [0; 10];
        for _ in 0..20_000 {
            draw(10, 3, &mut rng).into_iter().for_each(|n| seen[n] += 1);
        }
        assert!(seen.iter().all(|n| (5_700..6_300).contains(n)), "{seen:?}");
    }
}
