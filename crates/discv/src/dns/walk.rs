//! What of a subtree is still to be fetched.

use super::entry::{Entry, Hash};
use rand::Rng;
use std::collections::BTreeSet;

/// Names known of one subtree. A list of 100,000 records has fewer than 110,000.
pub const MAX_ENTRIES: usize = 110_000;
/// Branches above a leaf. Thirteen children a branch make 13⁸ leaves in eight levels.
pub const MAX_DEPTH: u8 = 16;

/// Which half of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Half {
    Links,
    Records,
}

/// One half of a list, as far as it is known.
///
/// Every name is fetched once, however often branches name it: so neither a loop nor a branch of thousand equal
/// children makes more work than there are names.
#[derive(Debug, Clone)]
pub(super) struct Walk {
    root: Hash,
    missing: Vec<(Hash, u8)>,
    seen: BTreeSet<Hash>,
    /// Where in `missing` the name stands that was picked last.
    picked: usize,
    /// Leaves that were reached.
    pub(super) leaves: usize,
}

/// Why an entry does not belong where it stands. The list's publisher is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShapeError {
    /// A record among links, or a link among records.
    #[error("a record among the links, or a link among the records")]
    Half,
    /// Too many branches above each other.
    #[error("more than {MAX_DEPTH} branches above each other")]
    Depth,
    /// Too many names.
    #[error("more than {MAX_ENTRIES} entries")]
    Entries,
}

impl Walk {
    pub(super) fn new(root: Hash) -> Self {
        let missing = vec![(root.clone(), 0)];
        Self { root, missing, seen: BTreeSet::new(), picked: 0, leaves: 0 }
    }

    pub(super) fn root(&self) -> &Hash {
        &self.root
    }

    pub(super) fn done(&self) -> bool {
        self.missing.is_empty()
    }

    /// A missing name, picked at random.
    pub(super) fn pick(&mut self, rng: &mut impl Rng) -> Option<&Hash> {
        self.picked = (rng.next_u64() % self.missing.len().max(1) as u64) as usize;
        self.missing.get(self.picked).map(|(hash, _)| hash)
    }

    /// The missing name that was learned last: with it leaves come in the list's order, the last one first.
    pub(super) fn last(&mut self) -> Option<&Hash> {
        self.picked = self.missing.len().saturating_sub(1);
        self.missing.last().map(|(hash, _)| hash)
    }

    fn place(&self, hash: &Hash) -> Option<usize> {
        let is = |(missing, _): &(Hash, u8)| missing == hash;
        if self.missing.get(self.picked).is_some_and(is) {
            return Some(self.picked);
        }
        self.missing.iter().position(is)
    }

    /// The entry of a missing name has come. False when it was not missing.
    pub(super) fn found(&mut self, half: Half, hash: &Hash, entry: &Entry) -> Result<bool, ShapeError> {
        let Some(at) = self.place(hash) else { return Ok(false) };
        let (hash, depth) = self.missing.swap_remove(at);
        self.seen.insert(hash);
        match (entry, half) {
            (Entry::Branch(_), _) if depth >= MAX_DEPTH => return Err(ShapeError::Depth),
            (Entry::Branch(children), _) => {
                for child in children {
                    if self.seen.len() >= MAX_ENTRIES {
                        return Err(ShapeError::Entries);
                    }
                    if self.seen.insert(child.clone()) {
                        self.missing.push((child.clone(), depth + 1));
                    }
                }
            }
            (Entry::Link(_), Half::Links) | (Entry::Record(_), Half::Records) => self.leaves += 1,
            _ => return Err(ShapeError::Half),
        }
        Ok(true)
    }
}
