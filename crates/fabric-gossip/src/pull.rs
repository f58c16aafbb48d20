//! The pull engine: asks some peers what they have, then asks one owner for each thing that is missing.
//!
//! ```text
//!   initiator                                          responder
//!     hello(nonce) ──────────────────────────────────▶ keeps the nonce 1.5 s
//!     ◀─────────────────────────────── data_dig(nonce)  unless it has nothing
//!     gathers 1 s, or until all have answered
//!     data_req(nonce, items) ────────────────────────▶ only with a nonce kept, of the same peer
//!     ◀──────────────────────────── data_update(nonce)  taken for 2 s
//! ```
//! (fabric gossip/gossip/algo/pull.go) The engine knows nonces, names of items and times; messages, filters and stores are its
//! users'. Two things differ from Go, neither visible in bytes: the first phase ends as soon as all have answered, and
//! a pull from one peer that is known to have something newer may start between two intervals.
//!
//! Limits: [`MAX_ROUNDS`] pulls at a time; [`MAX_NONCES`] hellos answered at a time, [`MAX_NONCES_OF_ONE`] of one peer;
//! [`MAX_DIGESTS`] names per answer. What is beyond is not taken. A nonce is bound to the peer it was sent to or came from,
//! so nobody else can use it.

use crate::cx::below;
use crate::types::PkiId;
use rand::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Pulls that may run at a time.
pub const MAX_ROUNDS: usize = 8;
/// Hellos whose nonces are kept at a time.
pub const MAX_NONCES: usize = 4_096;
/// Of these, of one peer.
pub const MAX_NONCES_OF_ONE: usize = 16;
/// Names taken of one digest.
pub const MAX_DIGESTS: usize = 20_000;

/// The times of a pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// How long digests are gathered.
    pub digest: Duration,
    /// How long a responder takes requests.
    pub request: Duration,
    /// How long items are taken.
    pub response: Duration,
}

/// A message to be made and sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Out<K> {
    /// A hello.
    Hello {
        /// To whom.
        to: PkiId,
        /// With which nonce.
        nonce: u64,
    },
    /// A request for items.
    Request {
        /// To whom.
        to: PkiId,
        /// With which nonce.
        nonce: u64,
        /// Of what.
        items: Vec<K>,
    },
}

/// Why a message of a pull is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PullRefusal {
    /// Never seen, of another peer, or too late.
    #[error("a pull message with an unknown nonce")]
    Nonce,
    /// Too many at once.
    #[error("too many pulls at once")]
    TooMany,
}

#[derive(Debug)]
struct Asked<K> {
    peer: PkiId,
    answered: bool,
    items: BTreeSet<K>,
}

#[derive(Debug)]
struct Round<K> {
    /// By nonce.
    asked: BTreeMap<u64, Asked<K>>,
    until: Duration,
    gathering: bool,
}

/// What pulls did so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Pulls that began.
    pub begun: u64,
    /// Items that were asked for.
    pub asked: u64,
    /// Items of answers that came in time.
    pub answered: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.begun += other.begun;
        self.asked += other.asked;
        self.answered += other.answered;
    }
}

/// The pulls of one kind of item.
#[derive(Debug)]
pub struct Engine<K> {
    counts: Counts,
    times: Times,
    rounds: Vec<Round<K>>,
    incoming: BTreeMap<u64, (PkiId, Duration)>,
}

impl<K: Ord + Clone> Engine<K> {
    /// An engine with nothing to do.
    #[must_use]
    pub fn new(times: Times) -> Self {
        Self { counts: Counts::default(), times, rounds: Vec::new(), incoming: BTreeMap::new() }
    }

    /// Starts a pull from some peers. None is started while [`MAX_ROUNDS`] run.
    pub fn start(&mut self, peers: &[PkiId], now: Duration, rng: &mut impl Rng) -> Vec<Out<K>> {
        if peers.is_empty() || self.rounds.len() >= MAX_ROUNDS {
            return Vec::new();
        }
        let mut asked = BTreeMap::new();
        for peer in peers {
            let nonce = rng.next_u64().max(1);
            asked.insert(nonce, Asked { peer: *peer, answered: false, items: BTreeSet::new() });
        }
        let hellos =
            asked.iter().map(|(nonce, asked)| Out::Hello { to: asked.peer, nonce: *nonce }).collect();
        self.rounds.push(Round { asked, until: now + self.times.digest, gathering: true });
        self.counts.begun += 1;
        hellos
    }

    /// A hello came: keeps its nonce. The caller answers with its digest if it has one.
    ///
    /// # Errors
    /// [`PullRefusal::TooMany`].
    pub fn on_hello(&mut self, from: PkiId, nonce: u64, now: Duration) -> Result<(), PullRefusal> {
        self.incoming.retain(|_, (_, until)| *until > now);
        let of_one = self.incoming.values().filter(|(peer, _)| *peer == from).count();
        let taken = self.incoming.get(&nonce).is_some_and(|(peer, _)| *peer != from);
        if self.incoming.len() >= MAX_NONCES || of_one >= MAX_NONCES_OF_ONE || taken {
            return Err(PullRefusal::TooMany);
        }
        self.incoming.insert(nonce, (from, now + self.times.request));
        Ok(())
    }

    /// A digest came; `items` are those of it that are missing here. When all have answered, the requests are returned at once.
    ///
    /// # Errors
    /// [`PullRefusal::Nonce`].
    pub fn on_digest(
        &mut self,
        from: PkiId,
        nonce: u64,
        items: impl IntoIterator<Item = K>,
        now: Duration,
        rng: &mut impl Rng,
    ) -> Result<Vec<Out<K>>, PullRefusal> {
        let round = self.rounds.iter_mut().find(|round| round.gathering && round.asked.contains_key(&nonce));
        let round = round.ok_or(PullRefusal::Nonce)?;
        let asked =
            round.asked.get_mut(&nonce).filter(|asked| asked.peer == from).ok_or(PullRefusal::Nonce)?;
        asked.answered = true;
        asked.items.extend(items.into_iter().take(MAX_DIGESTS));
        if round.asked.values().all(|asked| asked.answered) {
            let requests = Self::request(round, self.times, now, rng);
            return Ok(self.counted(requests));
        }
        Ok(Vec::new())
    }

    /// A request came: whether its nonce was kept for this peer.
    ///
    /// # Errors
    /// [`PullRefusal::Nonce`].
    pub fn on_request(&mut self, from: PkiId, nonce: u64, now: Duration) -> Result<(), PullRefusal> {
        match self.incoming.get(&nonce) {
            Some((peer, until)) if *peer == from && *until > now => Ok(()),
            _ => Err(PullRefusal::Nonce),
        }
    }

    /// Items came: which ones were asked of this peer under this nonce. What else is in the answer is not to be taken.
    ///
    /// # Errors
    /// [`PullRefusal::Nonce`].
    pub fn on_update(&mut self, from: PkiId, nonce: u64, now: Duration) -> Result<BTreeSet<K>, PullRefusal> {
        let fits = |round: &&mut Round<K>| !round.gathering && round.until > now;
        let mut rounds = self.rounds.iter_mut().filter(fits);
        let asked = rounds.find_map(|round| round.asked.get_mut(&nonce)).filter(|asked| asked.peer == from);
        let items = asked.map(|asked| std::mem::take(&mut asked.items));
        let items = items.filter(|items| !items.is_empty()).ok_or(PullRefusal::Nonce)?;
        self.counts.answered += items.len() as u64;
        Ok(items)
    }

    /// Ends what is due; returns the requests of rounds whose gathering is over.
    pub fn tick(&mut self, now: Duration, rng: &mut impl Rng) -> Vec<Out<K>> {
        self.rounds.retain(|round| round.gathering || round.until > now);
        let times = self.times;
        let due = self.rounds.iter_mut().filter(|round| round.gathering && round.until <= now);
        let requests = due.flat_map(|round| Self::request(round, times, now, rng)).collect();
        self.rounds.retain(|round| !round.asked.is_empty());
        self.counted(requests)
    }

    fn counted(&mut self, requests: Vec<Out<K>>) -> Vec<Out<K>> {
        for request in &requests {
            if let Out::Request { items, .. } = request {
                self.counts.asked += items.len() as u64;
            }
        }
        requests
    }

    /// What pulls did so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Gives each missing item to one of its owners, and turns the round to the second phase.
    fn request(round: &mut Round<K>, times: Times, now: Duration, rng: &mut impl Rng) -> Vec<Out<K>> {
        let mut owners: BTreeMap<K, Vec<u64>> = BTreeMap::new();
        for (nonce, asked) in &mut round.asked {
            for item in std::mem::take(&mut asked.items) {
                owners.entry(item).or_default().push(*nonce);
            }
        }
        for (item, nonces) in owners {
            let chosen = nonces.get(below(rng, nonces.len()));
            if let Some(asked) = chosen.and_then(|nonce| round.asked.get_mut(nonce)) {
                asked.items.insert(item);
            }
        }
        round.asked.retain(|_, asked| !asked.items.is_empty());
        round.gathering = false;
        round.until = now + times.response;
        let request = |(nonce, asked): (&u64, &Asked<K>)| Out::Request {
            to: asked.peer,
            nonce: *nonce,
            items: asked.items.iter().cloned().collect(),
        };
        round.asked.iter().map(request).collect()
    }

    /// Whether an item is asked for already.
    #[must_use]
    pub fn is_asked(&self, item: &K) -> bool {
        self.rounds
            .iter()
            .any(|round| !round.gathering && round.asked.values().any(|asked| asked.items.contains(item)))
    }

    /// When to tick next.
    #[must_use]
    pub fn wake(&self) -> Option<Duration> {
        self.rounds.iter().map(|round| round.until).min()
    }
}

#[cfg(test)]
mod tests;
