//! Which of two messages makes the other one void, and stores that keep what is left.
//!
//! ```text
//!   this, compared with that                        alive, StateInfo, leadership: of one author, the newer wins; equal is void
//!   block                                           same number is void; farther apart than the window: the older is void
//!   identity                                        of one PKI-ID: the new one is void
//!
//!   added ──TTL──▶ hidden, still refuses what it made void ──TTL──▶ gone        (no TTL: stays)
//! ```
//! (fabric gossip/protoext/msgcomparator.go, gossip/msgstore/msgs.go) [`compare`] is the rule; the stores are indexed by
//! author or number instead of comparing with each message held, and a test holds them to the rule.
//!
//! Limits: [`AuthorStore`] has a capacity; when it is full a new author is refused, since all it holds is signed and verified.
//! [`BlockStore`] holds the window and one more. Not protected from: a verified block with a huge number empties it.

use crate::id_map::IdMap;
use crate::types::{PkiId, Stamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// What a message is, for comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// An alive message.
    Alive(PkiId, Stamp),
    /// A StateInfo.
    StateInfo(PkiId, Stamp),
    /// A leadership message.
    Leadership(PkiId, Stamp),
    /// A block of one channel, by its number.
    Block(u64),
    /// An identity.
    Identity(PkiId),
    /// Anything else.
    Other,
}

/// What comparing a new message with one held gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Both stay.
    NoAction,
    /// The new one replaces the one held.
    Invalidates,
    /// The new one is void.
    Invalidated,
}

/// Compares a new message with one held; blocks at most `window` apart are both kept.
#[must_use]
pub fn compare(new: Subject, held: Subject, window: u64) -> Verdict {
    let by_time = |new: Stamp, held: Stamp| match new > held {
        true => Verdict::Invalidates,
        false => Verdict::Invalidated,
    };
    match (new, held) {
        (Subject::Alive(a, new), Subject::Alive(b, held))
        | (Subject::StateInfo(a, new), Subject::StateInfo(b, held))
        | (Subject::Leadership(a, new), Subject::Leadership(b, held))
            if a == b =>
        {
            by_time(new, held)
        }
        (Subject::Identity(a), Subject::Identity(b)) if a == b => Verdict::Invalidated,
        (Subject::Block(new), Subject::Block(held)) if new == held => Verdict::Invalidated,
        (Subject::Block(new), Subject::Block(held)) if new.abs_diff(held) <= window => Verdict::NoAction,
        (Subject::Block(new), Subject::Block(held)) if new > held => Verdict::Invalidates,
        (Subject::Block(_), Subject::Block(_)) => Verdict::Invalidated,
        _ => Verdict::NoAction,
    }
}

#[derive(Debug, Clone)]
#[repr(C)] // the stamp first: it is what is asked for
struct Held<T> {
    stamp: Stamp,
    added: Duration,
    /// Absent once it is hidden.
    value: Option<T>,
}

/// The newest message of each author.
#[derive(Debug, Clone)]
pub struct AuthorStore<T> {
    held: IdMap<Held<T>>,
    ttl: Option<Duration>,
    capacity: usize,
    next_sweep: Option<Duration>,
}

/// How often a store is swept: a hundredth of its TTL (gossip/msgstore/msgs.go).
fn sweep_after(ttl: Duration) -> Duration {
    ttl / 100
}

impl<T> AuthorStore<T> {
    /// An empty store.
    #[must_use]
    pub fn new(ttl: Option<Duration>, capacity: usize) -> Self {
        Self { held: IdMap::default(), ttl, capacity, next_sweep: None }
    }

    /// Whether [`add`](Self::add) would take a message.
    #[must_use]
    pub fn check(&self, author: PkiId, stamp: Stamp) -> bool {
        match self.held.get(&author) {
            Some(held) => stamp > held.stamp,
            None => self.held.len() < self.capacity,
        }
    }

    /// Adds a message, in place of the author's older one. Returns whether it was taken.
    pub fn add(&mut self, author: PkiId, stamp: Stamp, value: T, now: Duration) -> bool {
        if !self.check(author, stamp) {
            return false;
        }
        self.held.insert(author, Held { stamp, added: now, value: Some(value) });
        if let Some(ttl) = self.ttl {
            self.next_sweep.get_or_insert(now + sweep_after(ttl));
        }
        true
    }

    /// The message of an author, unless it is hidden.
    #[must_use]
    pub fn get(&self, author: &PkiId) -> Option<&T> {
        self.held.get(author)?.value.as_ref()
    }

    /// All messages that are not hidden, by author.
    pub fn iter(&self) -> impl Iterator<Item = (&PkiId, &T)> {
        self.held.iter().filter_map(|(author, held)| Some((author, held.value.as_ref()?)))
    }

    /// Forgets an author, its stamp as well.
    pub fn remove(&mut self, author: &PkiId) -> Option<T> {
        self.held.remove(author)?.value
    }

    /// Keeps only what the predicate wants.
    pub fn retain(&mut self, mut keep: impl FnMut(&PkiId, &T) -> bool) {
        self.held.retain(|author, held| held.value.as_ref().is_none_or(|value| keep(author, value)));
    }

    /// Hides and removes what is due. Returns the authors hidden now.
    pub fn sweep(&mut self, now: Duration) -> Vec<PkiId> {
        let Some(ttl) = self.ttl else { return Vec::new() };
        if self.next_sweep.is_none_or(|at| now < at) {
            return Vec::new();
        }
        let mut hidden = Vec::new();
        self.held.retain(|author, held| {
            if now >= held.added + ttl && held.value.take().is_some() {
                hidden.push(*author);
            }
            now < held.added + 2 * ttl
        });
        self.next_sweep = (!self.held.is_empty()).then(|| now + sweep_after(ttl));
        hidden
    }

    /// When to sweep next.
    #[must_use]
    pub fn wake(&self) -> Option<Duration> {
        self.next_sweep
    }

    /// Authors held, hidden ones too.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

/// The last blocks of a channel.
#[derive(Debug, Clone)]
pub struct BlockStore<T> {
    held: BTreeMap<u64, Held<T>>,
    ttl: Duration,
    window: u64,
    next_sweep: Option<Duration>,
}

impl<T> BlockStore<T> {
    /// An empty store of blocks that are at most `window` apart.
    #[must_use]
    pub fn new(ttl: Duration, window: u64) -> Self {
        Self { held: BTreeMap::new(), ttl, window, next_sweep: None }
    }

    /// Whether [`add`](Self::add) would take the block.
    #[must_use]
    pub fn check(&self, number: u64) -> bool {
        let newest = self.held.last_key_value().map_or(0, |(newest, _)| *newest);
        !self.held.contains_key(&number) && number.saturating_add(self.window) >= newest
    }

    /// Adds a block and drops those that are too old beside it. Returns whether it was taken.
    pub fn add(&mut self, number: u64, value: T, now: Duration) -> bool {
        if !self.check(number) {
            return false;
        }
        let oldest = number.saturating_sub(self.window);
        self.held = self.held.split_off(&oldest);
        self.held.insert(number, Held { stamp: Stamp::default(), added: now, value: Some(value) });
        self.next_sweep.get_or_insert(now + sweep_after(self.ttl));
        true
    }

    /// A block, unless it is hidden.
    #[must_use]
    pub fn get(&self, number: u64) -> Option<&T> {
        self.held.get(&number)?.value.as_ref()
    }

    /// Whether a block is held, hidden or not.
    #[must_use]
    pub fn knows(&self, number: u64) -> bool {
        self.held.contains_key(&number)
    }

    /// The newest number held.
    #[must_use]
    pub fn newest(&self) -> Option<u64> {
        self.held.last_key_value().map(|(number, _)| *number)
    }

    /// Blocks that are not hidden, by number.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.held.iter().filter_map(|(number, held)| Some((*number, held.value.as_ref()?)))
    }

    /// Hides and removes what is due.
    pub fn sweep(&mut self, now: Duration) {
        if self.next_sweep.is_none_or(|at| now < at) {
            return;
        }
        let ttl = self.ttl;
        self.held.retain(|_, held| {
            if now >= held.added + ttl {
                held.value = None;
            }
            now < held.added + 2 * ttl
        });
        self.next_sweep = (!self.held.is_empty()).then(|| now + sweep_after(ttl));
    }

    /// When to sweep next.
    #[must_use]
    pub fn wake(&self) -> Option<Duration> {
        self.next_sweep
    }
}

#[cfg(test)]
mod tests;
