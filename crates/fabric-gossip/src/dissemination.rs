//! Gossip by push: messages are gathered for a moment, then each goes to a few peers that may have it.
//!
//! ```text
//!   add ─▶ buffer ──10 ms, or 10 messages──▶ per message: who may have it ─▶ 3 of them ─▶ send
//!                                             block       channel readers of our organisation
//!                                             leadership  the same, and all of them
//!                                             StateInfo   our organisation; the channel's, if its author has an external endpoint
//!                                             alive       by the origin's organisation (membership)
//! ```
//! (fabric gossip/gossip/batcher.go, gossip_impl.go) A message is forwarded on first sight and never back to whom it came from.
//!
//! Random choice alone leaves some peers out: with three copies a peer is missed with a chance of about e⁻³, and waits for the next
//! pull. So blocks go by a ring as well: all nodes order the channel's peers in the same way, another one for
//! each block, and two of the three copies go to the next two in this order ([`successors`]), one to a peer at random. The random copies
//! start the block in many places of the ring and the others close the gaps. It costs no more copies than Go's
//! choice and changes no byte; a Go peer in the ring just chooses at random.
//!
//! Limits: [`CAPACITY`] messages wait; more are not gossiped, and counted.

use crate::cx::below;
use crate::signed::SignedMessage;
use crate::types::{Channel, PkiId};
use rand::Rng;
use std::time::Duration;

/// Messages that may wait to be gossiped.
pub const CAPACITY: usize = 4_096;
/// Copies of a block that go along the ring, if so many are sent at all.
pub const ALONG_THE_RING: usize = 2;

/// What a message to be gossiped is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An alive message of this author.
    Alive(PkiId),
    /// A StateInfo of this author, in a channel when it is one of ours.
    StateInfo(PkiId, Option<Channel>),
    /// A block.
    Block(Channel, u64),
    /// A leadership message.
    Leadership(Channel),
}

/// A message to be gossiped.
#[derive(Debug, Clone)]
pub(crate) struct Emitted {
    pub(crate) message: SignedMessage,
    pub(crate) kind: Kind,
    /// From whom it came, when it is not ours.
    pub(crate) from: Option<PkiId>,
    left: usize,
}

/// The buffer.
#[derive(Debug)]
pub(crate) struct Emitter {
    waiting: Vec<Emitted>,
    flush: Option<Duration>,
    latency: Duration,
    burst: usize,
    iterations: usize,
    pub(crate) overflow: u64,
}

impl Emitter {
    pub(crate) fn new(latency: Duration, burst: usize, iterations: usize) -> Self {
        Self { waiting: Vec::new(), flush: None, latency, burst: burst.max(1), iterations, overflow: 0 }
    }

    /// Takes a message, unless pushing is turned off or the buffer is full.
    pub(crate) fn add(&mut self, message: SignedMessage, kind: Kind, from: Option<PkiId>, now: Duration) {
        if self.iterations == 0 {
            return;
        }
        if self.waiting.len() >= CAPACITY {
            self.overflow += 1;
            return;
        }
        self.waiting.push(Emitted { message, kind, from, left: self.iterations });
        let at = if self.waiting.len() >= self.burst { now } else { now + self.latency };
        self.flush = Some(self.flush.map_or(at, |flush| flush.min(at)));
    }

    /// What is to be sent now; what has iterations left stays for the next time.
    pub(crate) fn due(&mut self, now: Duration) -> Vec<Emitted> {
        if self.flush.is_none_or(|at| now < at) {
            return Vec::new();
        }
        let mut batch = std::mem::take(&mut self.waiting);
        batch.iter_mut().for_each(|emitted| emitted.left -= 1);
        self.waiting = batch.iter().filter(|emitted| emitted.left > 0).cloned().collect();
        self.flush = (!self.waiting.is_empty()).then(|| now + self.latency);
        batch
    }

    pub(crate) fn wake(&self) -> Option<Duration> {
        self.flush
    }
}

/// `count` of the peers at random, of those that `fits` lets through.
pub(crate) fn select<T: Clone>(
    peers: &[T],
    count: usize,
    rng: &mut impl Rng,
    mut fits: impl FnMut(&T) -> bool,
) -> Vec<T> {
    let mut chosen = Vec::with_capacity(count.min(peers.len()));
    if count >= peers.len() {
        chosen.extend(peers.iter().filter(|peer| fits(peer)).cloned());
        return chosen;
    }
    // Drawn in a random order without making the whole of it: a table of what was swapped.
    let mut swapped: Vec<(usize, usize)> = Vec::new();
    let at = |swapped: &[(usize, usize)], index: usize| {
        swapped.iter().rev().find(|(from, _)| *from == index).map_or(index, |(_, to)| *to)
    };
    for drawn in 0..peers.len() {
        if chosen.len() >= count {
            break;
        }
        // After some misses a plain pass over the rest is cheaper than a long table.
        if drawn > 64 {
            let start = below(rng, peers.len());
            let seen: std::collections::BTreeSet<usize> =
                (0..drawn).map(|index| at(&swapped, index)).collect();
            let rest = peers.iter().enumerate().cycle().skip(start).take(peers.len());
            let rest = rest.filter(|(index, _)| !seen.contains(index)).map(|(_, peer)| peer);
            chosen.extend(rest.filter(|peer| fits(peer)).take(count - chosen.len()).cloned());
            break;
        }
        let pick = drawn + below(rng, peers.len() - drawn);
        let (index, displaced) = (at(&swapped, pick), at(&swapped, drawn));
        swapped.push((pick, displaced));
        swapped.push((drawn, index));
        if let Some(peer) = peers.get(index)
            && fits(peer)
        {
            chosen.push(peer.clone());
        }
    }
    chosen
}

/// A peer's place in the order that belongs to a block (the finalizer of splitmix64).
fn place(peer: &PkiId, number: u64) -> (u64, PkiId) {
    let mut x = peer.head() ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (x ^ (x >> 31), *peer)
}

/// The next peers after `me` in the order of block `number`, leaving out `except`.
#[must_use]
pub fn successors(
    peers: &[PkiId],
    me: PkiId,
    number: u64,
    except: Option<PkiId>,
    count: usize,
) -> Vec<PkiId> {
    let mine = place(&me, number);
    let others = peers.iter().filter(|peer| **peer != me && Some(**peer) != except);
    // Those before us in the order come after all others: it is a ring.
    let mut order: Vec<_> = others.map(|peer| (place(peer, number) < mine, place(peer, number))).collect();
    let count = count.min(order.len());
    if count == 0 {
        return Vec::new();
    }
    order.select_nth_unstable(count - 1);
    order.truncate(count);
    order.sort_unstable();
    order.into_iter().map(|(_, (_, peer))| peer).collect()
}

/// To whom a block goes: along the ring, and the rest at random. `peers` are those that may have it.
pub(crate) fn spread(
    peers: &[PkiId],
    me: PkiId,
    number: u64,
    from: Option<PkiId>,
    count: usize,
    rng: &mut impl Rng,
) -> Vec<PkiId> {
    let along = ALONG_THE_RING.min(count.saturating_sub(1));
    let mut chosen = successors(peers, me, number, from, along);
    let rest = select(peers, count - chosen.len().min(count), rng, |peer| {
        *peer != me && Some(*peer) != from && !chosen.contains(peer)
    });
    chosen.extend(rest);
    chosen
}

#[cfg(test)]
mod tests;
