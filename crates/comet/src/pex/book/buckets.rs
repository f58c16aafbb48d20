//! One half of the book: places of addresses, sorted into buckets.

use crate::pex::below;
use rand::Rng;

/// Buckets of places; the number of buckets is fixed.
#[derive(Debug, Clone)]
pub(super) struct Buckets {
    of: Vec<Vec<u16>>,
    /// A bit for each bucket that is not empty.
    filled: Vec<u64>,
}

impl Buckets {
    pub(super) fn new(count: usize) -> Self {
        Self { of: vec![Vec::new(); count], filled: vec![0; count.div_ceil(64)] }
    }

    pub(super) fn get(&self, bucket: u8) -> &[u16] {
        self.of.get(usize::from(bucket)).map(Vec::as_slice).unwrap_or_default()
    }

    pub(super) fn push(&mut self, bucket: u8, slot: u16) {
        if let Some(slots) = self.of.get_mut(usize::from(bucket)) {
            slots.push(slot);
            self.mark(bucket, true);
        }
    }

    pub(super) fn remove(&mut self, bucket: u8, slot: u16) {
        let Some(slots) = self.of.get_mut(usize::from(bucket)) else { return };
        // The order stays: buckets are walked, and the same run must walk them in the same order.
        slots.retain(|other| *other != slot);
        if slots.is_empty() {
            self.mark(bucket, false);
        }
    }

    /// An address of a random bucket among those that are not empty.
    pub(super) fn pick<R: Rng + ?Sized>(&self, rng: &mut R) -> Option<u16> {
        let filled: usize = self.filled.iter().map(|word| word.count_ones() as usize).sum();
        if filled == 0 {
            return None;
        }
        let slots = self.get(self.nth_filled(below(rng, filled))?);
        slots.get(below(rng, slots.len())).copied()
    }

    fn nth_filled(&self, mut n: usize) -> Option<u8> {
        for (at, word) in self.filled.iter().enumerate() {
            let ones = word.count_ones() as usize;
            if n < ones {
                let mut rest = *word;
                (0..n).for_each(|_| rest &= rest - 1);
                return u8::try_from(at * 64 + rest.trailing_zeros() as usize).ok();
            }
            n -= ones;
        }
        None
    }

    fn mark(&mut self, bucket: u8, filled: bool) {
        let bit = 1 << (bucket % 64);
        if let Some(word) = self.filled.get_mut(usize::from(bucket / 64)) {
            if filled {
                *word |= bit;
            } else {
                *word &= !bit;
            }
        }
    }

    /// Bytes held.
    pub(super) fn memory(&self) -> usize {
        let slots: usize = self.of.iter().map(|slots| slots.capacity() * size_of::<u16>()).sum();
        slots + self.of.len() * size_of::<Vec<u16>>() + self.filled.len() * 8
    }
}
