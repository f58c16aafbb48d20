//! Which chunks a peer says it holds, at a cost that does not grow with what it says.
//!
//! ```text
//!   have(first, count) ─▶ whole pages: one bit each     edges: 1,024 bits a page, from the peer's allowance
//!                     └─▶ todo: the pages that may hold something to ask for
//! ```
//!
//! Limits: one message looks at no more than 64 words of 64 bits, whatever its range. A peer's partial pages,
//! over all casts, come out of one allowance ([`MAX_PARTIAL`]); what does not fit is not remembered, as if it
//! had not been said.

use super::MAX_PARTIAL;
use crate::manifest::{MAX_PAGES, PAGE_CHUNKS, page_of};
use std::collections::BTreeMap;

const WORDS: usize = (MAX_PAGES / 64) as usize;
/// Words of a page's chunks.
pub(super) const PAGE_WORDS: u32 = PAGE_CHUNKS / 64;

/// A set of a cast's pages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PageSet([u64; WORDS]);

impl PageSet {
    /// The pages `from` … `upto` − 1.
    pub(crate) fn range(from: u16, upto: u16) -> Self {
        let mut set = Self::default();
        for (at, word) in set.0.iter_mut().enumerate() {
            let base = at as u32 * 64;
            let low = u32::from(from).saturating_sub(base).min(64);
            let high = u32::from(upto).saturating_sub(base).min(64);
            *word = ones(high) & !ones(low);
        }
        set
    }

    pub(crate) fn has(&self, page: u16) -> bool {
        self.0.get(usize::from(page / 64)).is_some_and(|word| word >> (page % 64) & 1 == 1)
    }

    pub(crate) fn set(&mut self, page: u16) {
        if let Some(word) = self.0.get_mut(usize::from(page / 64)) {
            *word |= 1 << (page % 64);
        }
    }

    pub(crate) fn clear(&mut self, page: u16) {
        if let Some(word) = self.0.get_mut(usize::from(page / 64)) {
            *word &= !(1 << (page % 64));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(word, other)| *word |= other);
    }

    /// What is in this set and not in the other.
    pub(crate) fn without(mut self, other: &Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(word, other)| *word &= !other);
        self
    }

    /// What is in both.
    pub(crate) fn and(mut self, other: &Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(word, other)| *word &= other);
        self
    }

    pub(crate) fn first(&self) -> Option<u16> {
        let (at, word) = self.0.iter().enumerate().find(|(_, word)| **word != 0)?;
        Some((at as u32 * 64 + word.trailing_zeros()) as u16)
    }
}

/// The lowest `n` bits.
fn ones(n: u32) -> u64 {
    if n >= 64 { u64::MAX } else { (1 << n) - 1 }
}

/// What one peer says of one cast.
#[derive(Debug)]
pub(super) struct Claims {
    chunks: u32,
    full: PageSet,
    part: BTreeMap<u16, [u64; PAGE_WORDS as usize]>,
    /// Pages where something may be open to ask this peer for.
    pub(super) todo: PageSet,
}

impl Claims {
    pub(super) fn new(chunks: u32) -> Self {
        Self { chunks, full: PageSet::default(), part: BTreeMap::new(), todo: PageSet::default() }
    }

    fn page_chunks(&self, page: u16) -> u32 {
        self.chunks.saturating_sub(u32::from(page) * PAGE_CHUNKS).min(PAGE_CHUNKS)
    }

    /// Something of these pages can be asked again: those the peer holds some of come back. Whether there are any.
    pub(super) fn reopen(&mut self, mut pages: PageSet) -> bool {
        let mut any = false;
        while let Some(page) = pages.first() {
            pages.clear(page);
            if self.full.has(page) || self.part.contains_key(&page) {
                self.todo.set(page);
                any = true;
            }
        }
        any
    }

    /// Partial pages kept.
    pub(super) fn partial(&self) -> usize {
        self.part.len()
    }

    /// 64 chunks of a page.
    pub(super) fn word(&self, page: u16, at: u32) -> u64 {
        if self.full.has(page) {
            return ones(self.page_chunks(page).saturating_sub(at * 64));
        }
        self.part.get(&page).and_then(|words| words.get(at as usize)).copied().unwrap_or(0)
    }

    /// The peer holds these chunks, which must exist. `used` counts its partial pages.
    pub(super) fn add(&mut self, first: u32, count: u32, used: &mut usize) {
        let end = first.saturating_add(count).min(self.chunks);
        if first >= end {
            return;
        }
        let (low, high) = (page_of(first), page_of(end - 1));
        self.add_edge(low, first, end, used);
        if high > low {
            self.add_edge(high, first, end, used);
        }
        if high > low + 1 {
            let fresh = PageSet::range(low + 1, high).without(&self.full);
            self.full.add(&fresh);
            self.todo.add(&fresh);
            while let Some(page) = self.part.range(low + 1..high).next().map(|(page, _)| *page) {
                self.part.remove(&page);
                *used = used.saturating_sub(1);
            }
        }
    }

    /// The part of a range that lies in one page.
    fn add_edge(&mut self, page: u16, first: u32, end: u32, used: &mut usize) {
        if self.full.has(page) {
            return;
        }
        let (start, size) = (u32::from(page) * PAGE_CHUNKS, self.page_chunks(page));
        let (low, high) = (first.saturating_sub(start), (end - start).min(size));
        if low > 0 || high < size {
            if !self.part.contains_key(&page) && *used >= MAX_PARTIAL {
                return;
            }
            let words = self.part.entry(page).or_insert_with(|| {
                *used += 1;
                [0; PAGE_WORDS as usize]
            });
            let (mut fresh, mut all) = (false, true);
            for (at, word) in words.iter_mut().enumerate() {
                let base = at as u32 * 64;
                let said = ones(high.saturating_sub(base)) & !ones(low.saturating_sub(base));
                fresh |= said & !*word != 0;
                *word |= said;
                all &= *word == ones(size.saturating_sub(base));
            }
            if fresh {
                self.todo.set(page);
            }
            if !all {
                return;
            }
        }
        if self.part.remove(&page).is_some() {
            *used = used.saturating_sub(1);
        }
        self.full.set(page);
        self.todo.set(page);
    }

    /// The peer does not hold that chunk.
    pub(super) fn remove(&mut self, index: u32, used: &mut usize) {
        let page = page_of(index);
        if self.full.has(page) {
            self.full.clear(page);
            if *used >= MAX_PARTIAL {
                return;
            }
            let size = self.page_chunks(page);
            *used += 1;
            self.part.insert(page, std::array::from_fn(|at| ones(size.saturating_sub(at as u32 * 64))));
        }
        let words = self.part.get_mut(&page);
        if let Some(word) = words.and_then(|words| words.get_mut((index % PAGE_CHUNKS / 64) as usize)) {
            *word &= !(1 << (index % 64));
        }
    }

    /// The peer does not have that page, so its chunks cannot be asked of it.
    pub(super) fn remove_page(&mut self, page: u16, used: &mut usize) {
        self.full.clear(page);
        self.todo.clear(page);
        if self.part.remove(&page).is_some() {
            *used = used.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests;
