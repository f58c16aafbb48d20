//! A fixed row of bits that knows how many are set: which chunks somebody holds.
//!
//! Limits: its length is given once (at most 2^20 chunks a cast, so 128 KiB); bits beyond are never set.

/// A row of bits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bits {
    words: Vec<u64>,
    len: u32,
    ones: u32,
}

impl Bits {
    /// `len` bits, none set.
    #[must_use]
    pub fn new(len: u32) -> Self {
        Self { words: vec![0; len.div_ceil(64) as usize], len, ones: 0 }
    }

    /// `len` bits, all set.
    #[must_use]
    pub fn full(len: u32) -> Self {
        let mut bits = Self::new(len);
        bits.set_range(0, len);
        bits
    }

    /// How many bits there are.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether there are no bits at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many are set.
    #[must_use]
    pub fn ones(&self) -> u32 {
        self.ones
    }

    /// Whether all are set.
    #[must_use]
    pub fn all(&self) -> bool {
        self.ones == self.len
    }

    /// Whether a bit is set.
    #[must_use]
    pub fn has(&self, i: u32) -> bool {
        self.word(i / 64) >> (i % 64) & 1 == 1
    }

    /// 64 bits, beginning with bit `64 · at`; zeros beyond the end.
    #[must_use]
    pub fn word(&self, at: u32) -> u64 {
        self.words.get(at as usize).copied().unwrap_or(0)
    }

    /// Sets a bit; `true` when it was not set before.
    pub fn set(&mut self, i: u32) -> bool {
        let fresh = i < self.len && !self.has(i);
        if let Some(word) = self.words.get_mut((i / 64) as usize).filter(|_| fresh) {
            *word |= 1 << (i % 64);
            self.ones += 1;
        }
        fresh
    }

    /// Sets `count` bits from `first` on, those that exist.
    pub fn set_range(&mut self, first: u32, count: u32) {
        let end = first.saturating_add(count).min(self.len);
        let mut at = first;
        while at < end {
            let upto = (at | 63).saturating_add(1).min(end);
            let mask = (u64::MAX >> (64 - (upto - at))) << (at % 64);
            if let Some(word) = self.words.get_mut((at / 64) as usize) {
                self.ones += (mask & !*word).count_ones();
                *word |= mask;
            }
            at = upto;
        }
    }

    /// Clears a bit.
    pub fn clear(&mut self, i: u32) {
        let was = self.has(i);
        if let Some(word) = self.words.get_mut((i / 64) as usize).filter(|_| was) {
            *word &= !(1 << (i % 64));
            self.ones -= 1;
        }
    }

    /// The first bit at or after `from` that is not set.
    #[must_use]
    pub fn next_clear(&self, from: u32) -> Option<u32> {
        let mut at = from;
        while at < self.len {
            let free = !self.word(at / 64) >> (at % 64);
            if free != 0 {
                return Some(at + free.trailing_zeros()).filter(|i| *i < self.len);
            }
            at = (at | 63) + 1;
        }
        None
    }

    /// The first run of set bits at or after `from`, as (first, count).
    #[must_use]
    pub fn next_run(&self, from: u32) -> Option<(u32, u32)> {
        let mut at = from;
        while at < self.len {
            let set = self.word(at / 64) >> (at % 64);
            if set != 0 {
                let first = at + set.trailing_zeros();
                return Some((first, self.next_clear(first).unwrap_or(self.len) - first));
            }
            at = (at | 63) + 1;
        }
        None
    }

    /// All runs of set bits.
    pub fn runs(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let after = |(first, count): (u32, u32)| first + count;
        std::iter::successors(self.next_run(0), move |run| self.next_run(after(*run)))
    }
}

#[cfg(test)]
mod tests;
