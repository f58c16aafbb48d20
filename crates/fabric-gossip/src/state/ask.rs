//! Whom to ask for which blocks.
//!
//! ```text
//!   missing numbers, from the next on, as far as the window, the memory and the peers' heights go
//!      ─▶ runs of up to batchSize + 1 ─▶ each to a peer that holds it, has the fewest batches to answer, and is not resting
//! ```
//! A batch is given up after `responseTimeout`: its peer rests, twice as long each time, and the blocks are asked of another. When a
//! batch was late or blocks are large, batches become shorter, so that one answer fits into a message and a slow link.

use super::types::{MAX_LATE, MAX_PEERS, MEMORY, PER_PEER, WINDOW};
use crate::types::PkiId;
use rand::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Bytes that one answer should have at most; Fabric's largest message has 100 MiB.
const ANSWER: usize = 16 << 20;
/// What a block is taken to have before one came.
const GUESS: usize = 64 << 10;
/// Longest rest of a peer that does not answer.
const LONGEST_REST: Duration = Duration::from_secs(60);
/// How long an answer to a batch that was given up is still taken.
const TOO_LATE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, Default)]
struct Source {
    height: u64,
    asked: usize,
    misses: u32,
    rests_until: Duration,
}

/// A batch that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) peer: PkiId,
    pub(crate) start: u64,
    pub(crate) end: u64,
    at: Duration,
}

/// Peers with their heights, and what they were asked.
#[derive(Debug, Default)]
pub(crate) struct Asking {
    peers: BTreeMap<PkiId, Source>,
    batches: BTreeMap<u64, Batch>,
    late: BTreeMap<u64, Batch>,
    /// Blocks of a batch: shrinks with lateness, grows with answers.
    length: u64,
    /// Mean bytes of a block.
    mean: usize,
}

impl Asking {
    pub(crate) fn new() -> Self {
        Self { length: u64::MAX, mean: GUESS, ..Self::default() }
    }

    /// A peer stated its height. When there are too many, the one with the lowest goes.
    pub(crate) fn peer(&mut self, pki_id: PkiId, height: u64) {
        self.peers.entry(pki_id).or_default().height = height;
        if self.peers.len() > MAX_PEERS {
            let lowest = self.peers.iter().min_by_key(|(_, source)| source.height).map(|(id, _)| *id);
            if let Some(lowest) = lowest {
                self.gone(&lowest);
            }
        }
    }

    pub(crate) fn gone(&mut self, pki_id: &PkiId) {
        self.peers.remove(pki_id);
        self.batches.retain(|_, batch| batch.peer != *pki_id);
        self.late.retain(|_, batch| batch.peer != *pki_id);
    }

    /// The greatest height anybody states.
    pub(crate) fn highest(&self) -> u64 {
        self.peers.values().map(|source| source.height).max().unwrap_or_default()
    }

    pub(crate) fn peers(&self) -> usize {
        self.peers.len()
    }

    fn length(&self, most: u64) -> u64 {
        let fit = (ANSWER / self.mean.max(1)).max(1) as u64;
        self.length.min(most).min(fit).max(1)
    }

    /// Whom to ask for a run that begins at `start`: of those who hold it and are free, the least busy, by chance among equals.
    fn choose(&self, start: u64, now: Duration, rng: &mut dyn Rng) -> Option<PkiId> {
        let free =
            |source: &Source| source.height > start && source.asked < PER_PEER && source.rests_until <= now;
        let able = || self.peers.iter().filter(|(_, source)| free(source));
        let best = able().map(|(_, source)| (source.misses, source.asked)).min()?;
        let equal: Vec<_> =
            able().filter(|(_, source)| (source.misses, source.asked) == best).map(|(id, _)| *id).collect();
        let place = (rng.next_u64() % equal.len().max(1) as u64) as usize;
        equal.get(place).copied()
    }

    /// Decides on the next batch to ask for. `held` tells what need not be; `most` is the greatest length of a batch.
    #[allow(clippy::too_many_arguments)] // each is one fact of the moment
    pub(crate) fn next(
        &mut self,
        from: u64,
        target: u64,
        most: u64,
        held_bytes: usize,
        held: impl Fn(u64) -> bool,
        now: Duration,
        rng: &mut dyn Rng,
    ) -> Option<(u64, Batch)> {
        let end = target.min(from.saturating_add(WINDOW));
        let mut asked = BTreeSet::new();
        for batch in self.batches.values() {
            asked.extend(batch.start..=batch.end);
        }
        let expected = asked.len().saturating_mul(self.mean).saturating_add(held_bytes);
        let open = |number: u64| !held(number) && !asked.contains(&number);
        let start = (from..end).find(|number| open(*number))?;
        // The block that comes next is always asked for: nothing else can make room.
        let length = self.length(most);
        let room = (MEMORY.saturating_sub(expected) / self.mean.max(1)) as u64;
        let length = if start == from { length.min(room.max(1)) } else { length.min(room) };
        if length == 0 {
            return None;
        }
        let peer = self.choose(start, now, rng)?;
        let source = self.peers.get_mut(&peer)?;
        let last = end.min(source.height).min(start.saturating_add(length));
        let stop = (start..last).find(|number| !open(*number)).unwrap_or(last);
        source.asked += 1;
        let batch = Batch { peer, start, end: stop - 1, at: now };
        let nonce = std::iter::repeat_with(|| rng.next_u64()).find(|nonce| {
            *nonce != 0 && !self.batches.contains_key(nonce) && !self.late.contains_key(nonce)
        })?;
        self.batches.insert(nonce, batch);
        Some((nonce, batch))
    }

    /// Takes the batch that a peer answers.
    pub(crate) fn answered(&mut self, from: &PkiId, nonce: u64) -> Option<Batch> {
        if self.batches.get(&nonce).is_some_and(|batch| batch.peer == *from) {
            if let Some(source) = self.peers.get_mut(from) {
                source.asked = source.asked.saturating_sub(1);
            }
            return self.batches.remove(&nonce);
        }
        if self.late.get(&nonce).is_some_and(|batch| batch.peer == *from) {
            return self.late.remove(&nonce);
        }
        None
    }

    /// A peer's answer was of use.
    pub(crate) fn of_use(&mut self, peer: &PkiId, blocks: usize, bytes: usize) {
        if let Some(source) = self.peers.get_mut(peer) {
            (source.misses, source.rests_until) = (0, Duration::ZERO);
        }
        let mean = bytes / blocks.max(1);
        // Upwards at once, so that large blocks do not fill the memory; downwards slowly.
        self.mean = if mean > self.mean { mean } else { (self.mean * 7 + mean) / 8 }.max(1);
        self.length = self.length.saturating_add(1);
    }

    /// A peer did not answer, or with what is of no use: it rests.
    pub(crate) fn missed(&mut self, peer: &PkiId, timeout: Duration, now: Duration) {
        if let Some(source) = self.peers.get_mut(peer) {
            source.misses = source.misses.saturating_add(1);
            let rest = timeout.saturating_mul(1u32 << source.misses.min(8)).min(LONGEST_REST);
            source.rests_until = now.saturating_add(rest);
        }
    }

    /// Gives up batches that were not answered in time; gives how many, and whether the one with block `next` is among them.
    pub(crate) fn expire(&mut self, next: u64, timeout: Duration, most: u64, now: Duration) -> (usize, bool) {
        self.late.retain(|_, batch| batch.at.saturating_add(TOO_LATE) > now);
        let over: Vec<_> = self
            .batches
            .iter()
            .filter(|(_, batch)| batch.at.saturating_add(timeout) <= now)
            .map(|(nonce, batch)| (*nonce, *batch))
            .collect();
        let mut front = false;
        for (nonce, batch) in &over {
            self.batches.remove(nonce);
            if let Some(source) = self.peers.get_mut(&batch.peer) {
                source.asked = source.asked.saturating_sub(1);
            }
            self.missed(&batch.peer, timeout, now);
            front |= batch.start <= next && next <= batch.end;
            if self.late.len() < MAX_LATE {
                self.late.insert(*nonce, *batch);
            }
        }
        if !over.is_empty() {
            self.length = (self.length.min(most) / 2).max(1);
        }
        (over.len(), front)
    }

    /// When the next batch is to be given up or the next peer is rested.
    pub(crate) fn deadline(&self, timeout: Duration, now: Duration) -> Option<Duration> {
        let given_up = self.batches.values().map(|batch| batch.at.saturating_add(timeout));
        let rested = self.peers.values().map(|source| source.rests_until).filter(|until| *until > now);
        given_up.chain(rested).min()
    }
}
