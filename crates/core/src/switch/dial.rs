//! Whom to dial on one wire, and when: static peers for ever with back-off, other candidates once.
//!
//! ```text
//!   static:   wait ─▶ dialling ─▶ connected ─▶ (lost) ─▶ wait …   back-off doubling from backoff_first, ± a quarter,
//!                                                                  or by the wire's list of waits, which may end
//!   others:   offered (bounded queue) ┐
//!             sources, in turn ───────┴─▶ dialling ─▶ connected | forgotten; not again within history
//! ```
//!
//! The numbers are the wire's [`DialRules`]. Outbound slots bound both kinds. Static peers that are trusted or unconditional are
//! dialled beyond the slots, as they are let in beyond them; only the number of pending dials bounds them. A banned static peer
//! is not dialled until its ban is over.
//!
//! A pure state machine: the caller gives the time and randomness, does the dialling and reports.
//! A static peer's back-off starts anew only after a session that lasted [`DialRules::steady`], so that a peer
//! that accepts and drops us is not dialled in a tight loop.
//!
//! Limits: [`MAX_QUEUED`] offers wait; the history has [`MAX_HISTORY`] entries, of which the oldest is forgotten first.

use crate::candidate::{Candidate, Provenance};
use crate::id::PeerId;
use crate::preset::DialRules;
use crate::switch::source::Skip;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use tokio::time::Instant;

/// Candidates that may wait.
pub const MAX_QUEUED: usize = 1_024;
/// Candidates that are remembered as dialled lately.
pub const MAX_HISTORY: usize = 16_384;

/// Names a candidate: by identity where it is known, else by address.
pub(crate) type Key = String;

pub(crate) fn key(candidate: &Candidate) -> Key {
    match candidate.id {
        Some(id) => format!("{}:{id}", candidate.wire),
        None => format!("{}:{}", candidate.wire, candidate.authority()),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting(Instant),
    Dialling,
    Connected,
    /// The list of waits is at its end.
    GivenUp,
}

#[derive(Debug)]
struct Static {
    candidate: Candidate,
    /// Who answered there last, where the candidate does not say who it is.
    learned: Option<PeerId>,
    phase: Phase,
    failures: u32,
    /// How often no address was found in a row.
    unresolved: u32,
}

impl Static {
    fn id(&self) -> Option<PeerId> {
        self.candidate.id.or(self.learned)
    }
}

/// Where a candidate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CandidateState {
    /// It is dialled again after this time, when a slot is free.
    Waiting(Duration),
    /// A dial is under way.
    Dialling,
    /// It has a session.
    Connected,
    /// It failed too often, and is not dialled any more.
    GivenUp,
    /// It was offered, and waits for a slot.
    Queued,
}

/// Somebody who is to be dialled.
#[derive(Debug, Clone)]
pub struct CandidateStatus {
    /// Who, and where.
    pub candidate: Candidate,
    /// Who it is, or who answered there last.
    pub id: Option<PeerId>,
    /// Whether it is kept connected.
    pub is_static: bool,
    /// Where it stands.
    pub state: CandidateState,
    /// Dials that failed in a row.
    pub failures: u32,
}

/// How many dials may start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DialRoom {
    /// Dials that may start for free outbound slots.
    pub(crate) free: usize,
    /// Of those, how many wait for static peers.
    pub(crate) reserved: usize,
    /// Dials that may be under way beyond those that are.
    pub(crate) pending: usize,
}

/// Why a dial led to no session, as far as the plan is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Miss {
    /// To be tried again.
    Again,
    /// No address was found.
    NoAddress,
    /// It never will: it is ourselves.
    Hopeless,
}

/// The dial scheduler's state.
#[derive(Debug, Default)]
pub(crate) struct DialPlan {
    rules: DialRules,
    statics: BTreeMap<Key, Static>,
    queue: VecDeque<Candidate>,
    /// Candidates dialled lately, until when they rest.
    history: BTreeMap<Key, Instant>,
    /// The same in the order of their ends, with entries that were renewed since.
    order: VecDeque<(Instant, Key)>,
    under_way: BTreeSet<Key>,
    dialling: usize,
    /// Whether an offer has the next turn, or a source.
    offers_turn: bool,
}

impl DialPlan {
    pub(crate) fn new(rules: DialRules) -> Self {
        Self { rules, ..Self::default() }
    }

    /// Adds a peer to be kept connected. Adding it again dials it at once if it waits.
    pub(crate) fn add_static(&mut self, mut candidate: Candidate, now: Instant) {
        candidate.provenance = Provenance::Static;
        let entry = self.statics.entry(key(&candidate)).or_insert(Static {
            candidate: candidate.clone(),
            learned: None,
            phase: Phase::Waiting(now),
            failures: 0,
            unresolved: 0,
        });
        self.queue.retain(|queued| key(queued) != key(&candidate));
        entry.candidate = candidate;
        if entry.phase == Phase::GivenUp {
            entry.failures = 0;
        }
        if matches!(entry.phase, Phase::Waiting(_) | Phase::GivenUp) {
            entry.phase = Phase::Waiting(now);
        }
    }

    /// Stops keeping a peer connected. A live session is not touched.
    pub(crate) fn remove_static(&mut self, candidate: &Candidate) {
        self.statics.remove(&key(candidate));
    }

    /// Dials a static peer at once if it waits.
    pub(crate) fn dial_now(&mut self, id: &PeerId, now: Instant) {
        for entry in self.statics.values_mut().filter(|entry| entry.id().as_ref() == Some(id)) {
            if matches!(entry.phase, Phase::Waiting(_)) {
                entry.phase = Phase::Waiting(now);
            }
        }
    }

    /// Whether this identity is kept connected.
    pub(crate) fn is_static(&self, id: &PeerId) -> bool {
        self.statics.values().any(|entry| entry.id().as_ref() == Some(id))
    }

    /// Static peers that have no session and no dial under way: those that slots are reserved for.
    pub(crate) fn waiting(&self) -> usize {
        self.statics.values().filter(|entry| matches!(entry.phase, Phase::Waiting(_))).count()
    }

    /// Offers a candidate to be dialled once.
    pub(crate) fn offer(&mut self, candidate: Candidate, now: Instant) -> Result<(), Skip> {
        let k = key(&candidate);
        if let Some(skip) = self.rests(&k, now) {
            return Err(skip);
        }
        if self.queue.len() >= MAX_QUEUED {
            return Err(Skip::Full);
        }
        if !self.queue.iter().any(|queued| key(queued) == k && queued.addresses().eq(candidate.addresses())) {
            self.queue.push_back(candidate);
        }
        Ok(())
    }

    /// From now on this one rests.
    fn remember(&mut self, k: Key, now: Instant) {
        let until = now + self.rules.history;
        if self.history.insert(k.clone(), until) != Some(until) {
            self.order.push_back((until, k));
        }
        self.forget(now);
    }

    /// Forgets whose rest is over, and the oldest of too many.
    fn forget(&mut self, now: Instant) {
        while let Some((until, _)) = self.order.front()
            && (*until <= now || self.order.len() > MAX_HISTORY)
            && let Some((until, k)) = self.order.pop_front()
        {
            if self.history.get(&k) == Some(&until) {
                self.history.remove(&k);
            }
        }
    }

    /// Why somebody is not dialled now, by what the plan knows.
    fn rests(&mut self, k: &Key, now: Instant) -> Option<Skip> {
        self.forget(now);
        if self.under_way.contains(k) {
            Some(Skip::Dialling)
        } else if self.statics.contains_key(k) {
            Some(Skip::Static)
        } else {
            self.history.get(k).filter(|until| **until > now).map(|_| Skip::Lately)
        }
    }

    /// Static peers to dial now, given the room. `busy` tells whether an identity has a session already (an inbound
    /// one, say), is about to, or is banned: such a peer is not dialled. `passes` tells who is dialled beyond the free slots.
    pub(crate) fn statics(
        &mut self,
        now: Instant,
        room: DialRoom,
        busy: impl Fn(&PeerId) -> bool,
        passes: impl Fn(&PeerId) -> bool,
    ) -> Vec<Candidate> {
        let mut out = Vec::new();
        let slots = room.free.min(room.pending);
        for (k, entry) in &mut self.statics {
            let due = matches!(entry.phase, Phase::Waiting(at) if at <= now);
            let most = if entry.id().as_ref().is_some_and(&passes) { room.pending } else { slots };
            if !due || out.len() >= most || self.under_way.contains(k) {
                continue;
            }
            if entry.id().as_ref().is_some_and(&busy) {
                entry.phase = Phase::Waiting(now + self.rules.backoff_most);
                continue;
            }
            entry.phase = Phase::Dialling;
            self.under_way.insert(k.clone());
            out.push(entry.candidate.clone());
        }
        self.dialling += out.len();
        out
    }

    /// Others to dial now, up to `most`: offers and what `pull` gives take turns. `skip` tells who is not dialled, and
    /// `told` is given the reason.
    pub(crate) fn others(
        &mut self,
        now: Instant,
        most: usize,
        skip: impl Fn(&Candidate) -> Option<Skip>,
        mut pull: impl FnMut() -> Option<Candidate>,
        mut told: impl FnMut(&Candidate, Skip),
    ) -> Vec<Candidate> {
        let mut out = Vec::new();
        while out.len() < most {
            self.offers_turn = !self.offers_turn;
            let next = match self.offers_turn {
                true => self.queue.pop_front().or_else(&mut pull),
                false => pull().or_else(|| self.queue.pop_front()),
            };
            let Some(candidate) = next else { break };
            let k = key(&candidate);
            // Another address of the same peer may have been tried a moment ago.
            if let Some(why) = self.rests(&k, now).or_else(|| skip(&candidate)) {
                told(&candidate, why);
                continue;
            }
            self.remember(k.clone(), now);
            self.under_way.insert(k);
            self.dialling += 1;
            out.push(candidate);
        }
        out
    }

    /// Dials somebody the program asked for, whenever it was dialled last. `false` when that is under way.
    pub(crate) fn ask(&mut self, candidate: &Candidate, now: Instant) -> bool {
        let k = key(candidate);
        if !self.under_way.insert(k.clone()) {
            return false;
        }
        if let Some(entry) = self.statics.get_mut(&k) {
            entry.phase = Phase::Dialling;
        }
        self.remember(k, now);
        self.dialling += 1;
        true
    }

    /// Whether there is nobody to dial.
    pub(crate) fn is_empty(&self) -> bool {
        self.statics.is_empty() && self.queue.is_empty()
    }

    /// Dials under way.
    pub(crate) fn dialling(&self) -> usize {
        self.dialling
    }

    fn over(&mut self, k: &Key) {
        // One end too many is no underflow.
        if self.under_way.remove(k) {
            self.dialling = self.dialling.saturating_sub(1);
        }
    }

    /// A dial ended without a session. Gives when it is tried again.
    pub(crate) fn failed(
        &mut self,
        candidate: &Candidate,
        now: Instant,
        miss: Miss,
        jitter: u64,
    ) -> Option<Duration> {
        let k = key(candidate);
        self.over(&k);
        if miss == Miss::Hopeless {
            self.statics.remove(&k);
            return None;
        }
        let entry = self.statics.get_mut(&k)?;
        if miss == Miss::NoAddress {
            let wait = self.rules.resolve_first.saturating_mul(1 << entry.unresolved.min(10));
            entry.unresolved = entry.unresolved.saturating_add(1);
            let wait = wait.min(self.rules.resolve_most);
            entry.phase = Phase::Waiting(now + wait);
            return Some(wait);
        }
        entry.unresolved = 0;
        entry.wait(now, jitter, &self.rules)
    }

    /// Who answered a dial, before it is decided whether they stay.
    pub(crate) fn identified(&mut self, candidate: &Candidate, id: PeerId) {
        if let Some(entry) = self.statics.get_mut(&key(candidate)) {
            entry.learned = Some(id);
        }
    }

    /// A dial became a session.
    pub(crate) fn connected(&mut self, candidate: &Candidate) {
        let k = key(candidate);
        self.over(&k);
        if let Some(entry) = self.statics.get_mut(&k) {
            entry.phase = Phase::Connected;
        }
    }

    /// A session ended. `candidate` for one we dialled; an inbound session's id may be a static peer's too.
    pub(crate) fn lost(
        &mut self,
        candidate: Option<&Candidate>,
        id: PeerId,
        lasted: Duration,
        now: Instant,
        jitter: u64,
    ) {
        let dialled = candidate.map(key);
        for (k, entry) in &mut self.statics {
            let concerns = dialled.as_ref() == Some(k) || entry.id() == Some(id);
            if !concerns || entry.phase == Phase::Dialling {
                continue;
            }
            if lasted >= self.rules.steady || entry.phase == Phase::GivenUp {
                entry.failures = 0;
            }
            entry.wait(now, jitter, &self.rules);
        }
    }

    /// Everybody the plan knows now: static peers, dials under way, those that wait.
    pub(crate) fn status(&self, now: Instant) -> Vec<CandidateStatus> {
        let of = |candidate: &Candidate, id, is_static, state, failures| CandidateStatus {
            candidate: candidate.clone(),
            id,
            is_static,
            state,
            failures,
        };
        let kept = self.statics.values().map(|entry| {
            let state = match entry.phase {
                Phase::Waiting(at) => CandidateState::Waiting(at.saturating_duration_since(now)),
                Phase::Dialling => CandidateState::Dialling,
                Phase::Connected => CandidateState::Connected,
                Phase::GivenUp => CandidateState::GivenUp,
            };
            of(&entry.candidate, entry.id(), true, state, entry.failures)
        });
        let offered =
            self.queue.iter().map(|candidate| of(candidate, candidate.id, false, CandidateState::Queued, 0));
        kept.chain(offered).collect()
    }

    /// When `statics` may have something new to give, of those static peers that could be dialled then.
    pub(crate) fn wake(&self, could: impl Fn(Option<&PeerId>) -> bool) -> Option<Instant> {
        let waiting = |e: &Static| match e.phase {
            Phase::Waiting(at) if could(e.id().as_ref()) => Some(at),
            _ => None,
        };
        self.statics.values().filter_map(waiting).min()
    }
}

impl Static {
    /// Begins the next wait; `None` when there is none any more.
    fn wait(&mut self, now: Instant, jitter: u64, rules: &DialRules) -> Option<Duration> {
        let wait = match &rules.redial {
            Some(redial) => redial.wait(self.failures, jitter),
            None => Some(self.doubled(jitter, rules)),
        };
        self.failures = self.failures.saturating_add(1);
        self.phase = wait.map_or(Phase::GivenUp, |wait| Phase::Waiting(now + wait));
        wait
    }

    fn doubled(&self, jitter: u64, rules: &DialRules) -> Duration {
        let base = rules.backoff_first.saturating_mul(1 << self.failures.min(10)).min(rules.backoff_most);
        // Between three and five quarters, so that two nodes do not stay in step.
        base * 3 / 4 + base / 2 * (jitter % 1_000) as u32 / 1_000
    }
}

#[cfg(test)]
mod tests;
