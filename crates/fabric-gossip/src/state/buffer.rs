//! Blocks that wait for their turn.
//!
//! Each number once; the first that came stays. What is held is counted in bytes of the blocks' own buffers.

use crate::block::Block;
use crate::types::PkiId;
use bytes::Bytes;
use std::collections::BTreeMap;

/// A block that waits.
#[derive(Debug, Clone)]
pub struct Held {
    /// The block, in a buffer of its own.
    pub block: Block,
    /// Private data that came with it.
    pub private_data: Vec<Bytes>,
    /// Who sent it; `None` for our own source.
    pub from: Option<PkiId>,
}

/// What a block costs beside its bytes: a slice for each transaction.
const SLICE: usize = size_of::<Bytes>();

impl Held {
    /// Bytes of memory it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let slices = self.block.transactions().len() + self.block.metadata().len() + self.private_data.len();
        self.block.raw().len() + self.private_data.iter().map(Bytes::len).sum::<usize>() + slices * SLICE
    }
}

/// Blocks by number.
#[derive(Debug, Default)]
pub struct Buffer {
    held: BTreeMap<u64, Held>,
    bytes: usize,
}

impl Buffer {
    /// Puts a block in; `false` when its number is there already.
    pub fn push(&mut self, held: Held) -> bool {
        let number = held.block.number();
        if self.held.contains_key(&number) {
            return false;
        }
        self.bytes += held.bytes();
        self.held.insert(number, held);
        true
    }

    /// Takes a block out.
    pub fn pop(&mut self, number: u64) -> Option<Held> {
        let held = self.held.remove(&number)?;
        self.bytes -= held.bytes();
        Some(held)
    }

    /// Drops everything that a peer sent.
    pub fn forget(&mut self, from: &PkiId) {
        let of: Vec<_> =
            self.held.iter().filter(|(_, held)| held.from.as_ref() == Some(from)).map(|(n, _)| *n).collect();
        of.into_iter().for_each(|number| drop(self.pop(number)));
    }

    /// Whether a number is there.
    #[must_use]
    pub fn holds(&self, number: u64) -> bool {
        self.held.contains_key(&number)
    }

    /// Blocks.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Bytes of memory the blocks take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes room by dropping the blocks furthest ahead, but none up to `keep`, until `bytes` fit into `limit`.
    /// `false` when they do not even so; then nothing is dropped.
    pub fn make_room(&mut self, bytes: usize, limit: usize, keep: u64) -> bool {
        let droppable: usize = self.held.range(keep.saturating_add(1)..).map(|(_, held)| held.bytes()).sum();
        if (self.bytes - droppable).saturating_add(bytes) > limit {
            return false;
        }
        while self.bytes.saturating_add(bytes) > limit {
            let Some(last) = self.held.last_key_value().map(|(number, _)| *number) else { break };
            self.pop(last);
        }
        true
    }
}
