//! Whom to dial, and when: static peers for ever with back-off, other candidates once.
//!
//! ```text
//!   static:   wait ─▶ dialling ─▶ connected ─▶ (lost) ─▶ wait …   back-off 0.5 s doubling to 60 s, ± a quarter
//!   others:   queue (bounded) ─▶ dialling ─▶ connected | forgotten; not again within 35 s
//! ```
//!
//! Outbound slots bound both, but static peers that are trusted or unconditional: those are dialled beyond the
//! slots, as they are let in beyond them, and bounded by the pending dials only.
//!
//! A pure state machine: the caller gives the time and randomness, does the dialling and reports.
//! A static peer's back-off starts anew only after a session that lasted [`STEADY`], so that a peer
//! that accepts and drops us is not dialled in a tight loop.

use crate::candidate::Candidate;
use crate::id::PeerId;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tokio::time::Instant;

/// First wait after a failed dial or a lost session.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(500);
/// Longest wait.
pub const BACKOFF_MOST: Duration = Duration::from_secs(60);
/// A session this long counts as a success.
pub const STEADY: Duration = Duration::from_secs(30);
/// A candidate is not dialled again within this time (`go-ethereum p2p/dial.go`, dialHistoryExpiration).
pub const HISTORY: Duration = Duration::from_secs(35);
/// Candidates that may wait.
pub const MAX_QUEUED: usize = 1_024;

/// Names a candidate: by identity where it is known, else by address.
type Key = String;

fn key(candidate: &Candidate) -> Key {
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
}

#[derive(Debug)]
struct Static {
    candidate: Candidate,
    /// Who answered there last, where the candidate does not say who it is.
    learned: Option<PeerId>,
    phase: Phase,
    failures: u32,
}

impl Static {
    fn id(&self) -> Option<PeerId> {
        self.candidate.id.or(self.learned)
    }
}

/// How many dials may start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// Outbound slots that are free.
    pub(crate) free: usize,
    /// Dials that may be under way beyond those that are.
    pub(crate) pending: usize,
}

/// The dial scheduler's state.
#[derive(Debug, Default)]
pub(crate) struct DialPlan {
    statics: BTreeMap<Key, Static>,
    queue: VecDeque<Candidate>,
    /// Candidates dialled lately, until when they rest.
    history: BTreeMap<Key, Instant>,
    dialling: usize,
}

impl DialPlan {
    /// Adds a peer to be kept connected. Adding it again dials it at once if it waits.
    pub(crate) fn add_static(&mut self, candidate: Candidate, now: Instant) {
        let entry = self.statics.entry(key(&candidate)).or_insert(Static {
            candidate: candidate.clone(),
            learned: None,
            phase: Phase::Waiting(now),
            failures: 0,
        });
        self.queue.retain(|queued| key(queued) != key(&candidate));
        entry.candidate = candidate;
        if matches!(entry.phase, Phase::Waiting(_)) {
            entry.phase = Phase::Waiting(now);
        }
    }

    /// Stops keeping a peer connected. A live session is not touched.
    pub(crate) fn remove_static(&mut self, candidate: &Candidate) {
        self.statics.remove(&key(candidate));
    }

    /// Offers a candidate to be dialled once. `false` when the queue is full or it was dialled lately.
    pub(crate) fn offer(&mut self, candidate: Candidate, now: Instant) -> bool {
        self.history.retain(|_, until| *until > now);
        let k = key(&candidate);
        if self.queue.len() >= MAX_QUEUED || self.history.contains_key(&k) || self.statics.contains_key(&k) {
            return false;
        }
        if !self.queue.contains(&candidate) {
            self.queue.push_back(candidate);
        }
        true
    }

    /// Whom to dial now, given the room. `connected` tells whether an identity has a session already
    /// (an inbound one, say): such a peer is not dialled. `passes` tells who is dialled beyond the free slots.
    pub(crate) fn next(
        &mut self,
        now: Instant,
        room: Room,
        connected: impl Fn(&PeerId) -> bool,
        passes: impl Fn(&PeerId) -> bool,
    ) -> Vec<Candidate> {
        let mut out = Vec::new();
        let slots = room.free.min(room.pending);
        for entry in self.statics.values_mut() {
            let due = matches!(entry.phase, Phase::Waiting(at) if at <= now);
            let most = if entry.id().as_ref().is_some_and(&passes) { room.pending } else { slots };
            if !due || out.len() >= most {
                continue;
            }
            if entry.id().as_ref().is_some_and(&connected) {
                entry.phase = Phase::Waiting(now + BACKOFF_MOST);
                continue;
            }
            entry.phase = Phase::Dialling;
            out.push(entry.candidate.clone());
        }
        while out.len() < slots {
            let Some(candidate) = self.queue.pop_front() else { break };
            let k = key(&candidate);
            // Another address of the same peer was tried a moment ago.
            let lately = self.history.get(&k).is_some_and(|until| *until > now);
            if lately || candidate.id.as_ref().is_some_and(&connected) {
                continue;
            }
            self.history.insert(k, now + HISTORY);
            out.push(candidate);
        }
        self.started(out)
    }

    fn started(&mut self, out: Vec<Candidate>) -> Vec<Candidate> {
        self.dialling += out.len();
        out
    }

    /// Dials under way.
    pub(crate) fn dialling(&self) -> usize {
        self.dialling
    }

    /// A dial ended without a session. Gives when it is tried again. `hopeless` forgets a static peer (it is ourselves).
    pub(crate) fn failed(
        &mut self,
        candidate: &Candidate,
        now: Instant,
        hopeless: bool,
        jitter: u64,
    ) -> Option<Duration> {
        self.dialling = self.dialling.saturating_sub(1);
        let k = key(candidate);
        if hopeless {
            self.statics.remove(&k);
            return None;
        }
        let entry = self.statics.get_mut(&k)?;
        Some(entry.wait(now, jitter))
    }

    /// Who answered a dial, before it is decided whether they stay.
    pub(crate) fn identified(&mut self, candidate: &Candidate, id: PeerId) {
        if let Some(entry) = self.statics.get_mut(&key(candidate)) {
            entry.learned = Some(id);
        }
    }

    /// A dial became a session.
    pub(crate) fn connected(&mut self, candidate: &Candidate) {
        self.dialling = self.dialling.saturating_sub(1);
        if let Some(entry) = self.statics.get_mut(&key(candidate)) {
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
            if lasted >= STEADY {
                entry.failures = 0;
            }
            entry.wait(now, jitter);
        }
    }

    /// When `next` may have something new to give, of those static peers that could be dialled then.
    pub(crate) fn wake(&self, could: impl Fn(Option<&PeerId>) -> bool) -> Option<Instant> {
        let waiting = |e: &Static| match e.phase {
            Phase::Waiting(at) if could(e.id().as_ref()) => Some(at),
            _ => None,
        };
        self.statics.values().filter_map(waiting).min()
    }
}

impl Static {
    fn wait(&mut self, now: Instant, jitter: u64) -> Duration {
        let base = BACKOFF_FIRST.saturating_mul(1 << self.failures.min(10)).min(BACKOFF_MOST);
        self.failures = self.failures.saturating_add(1);
        // Between three and five quarters, so that two nodes do not stay in step.
        let wait = base * 3 / 4 + base / 2 * (jitter % 1_000) as u32 / 1_000;
        self.phase = Phase::Waiting(now + wait);
        wait
    }
}

#[cfg(test)]
mod tests;
