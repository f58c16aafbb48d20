//! Private sets asked of peers, until they are there or time is up.
//!
//! ```text
//!   wanted ─▶ for each a peer: not asked in this round, a member of the collection, one that has not dropped it;
//!             who endorsed the transaction first ─▶ one request a peer ─▶ response, or 5 s
//!   all asked? ─▶ a second's rest, next round ─▶ … ─▶ everything there, or the deadline: done
//! ```
//! An answer counts when it is to what this peer was asked under this nonce and has the hash that the block names.
//!
//! Limits: each request names a part of what is wanted at most; answers are kept only for what is wanted, so memory is that of the
//! blocks' own private data.

use super::collections::Collection;
use super::policy::Subject;
use super::rwset;
use super::types::{ASKED_AT_ONCE, RESPONSE_WAIT, RETRY_REST, Refused};
use crate::ledger::Slot;
use crate::types::PkiId;
use bytes::Bytes;
use rand::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use switchboard::text::printable;
use switchboard_fabric::message::{PvtDataDigest, PvtDataElement};

/// A peer of the channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) subject: Subject,
    pub(crate) height: u64,
}

/// A private set that is wanted.
#[derive(Debug, Clone)]
pub(crate) struct Want {
    pub(crate) slot: Slot,
    /// Empty when it is reconciled, as Fabric's reconciler leaves it.
    pub(crate) tx_id: String,
    pub(crate) hash: [u8; 32],
    pub(crate) collection: Arc<Collection>,
    /// Who endorsed the transaction.
    pub(crate) endorsers: Vec<PkiId>,
}

impl Want {
    fn digest(&self) -> PvtDataDigest {
        PvtDataDigest {
            tx_id: self.tx_id.clone(),
            namespace: self.slot.namespace.clone(),
            collection: self.slot.collection.clone(),
            block_seq: self.slot.block,
            seq_in_block: self.slot.transaction,
        }
    }

    /// Whether a peer has dropped it, or is about to (fabric gossip/privdata/pull.go, purgedFilter).
    fn is_dropped_by(&self, peer: &Peer, margin: u64) -> bool {
        let live = self.collection.block_to_live;
        live != 0 && peer.height.saturating_add(margin) >= self.slot.block.saturating_add(live)
    }
}

#[derive(Debug)]
struct Open {
    want: Want,
    tried: BTreeSet<PkiId>,
    asked: bool,
}

#[derive(Debug)]
struct Asked {
    peer: PkiId,
    slots: BTreeSet<Slot>,
    until: Duration,
}

/// What a fetch wants done.
#[derive(Debug, PartialEq)]
pub(crate) struct Request {
    pub(crate) to: PkiId,
    pub(crate) nonce: u64,
    pub(crate) digests: Vec<PvtDataDigest>,
}

/// A fetch in progress.
#[derive(Debug)]
pub(crate) struct Fetch {
    open: BTreeMap<Slot, Open>,
    asked: BTreeMap<u64, Asked>,
    found: Vec<(Slot, Bytes)>,
    deadline: Duration,
    /// Since when peers are asked, if any was.
    asking: Option<Duration>,
    rest_until: Option<Duration>,
    /// Whether it goes round again when all were asked.
    again: bool,
    margin: u64,
}

impl Fetch {
    pub(crate) fn new(wants: Vec<Want>, again: bool, deadline: Duration, margin: u64) -> Self {
        let entry = |want: Want| (want.slot.clone(), Open { want, tried: BTreeSet::new(), asked: false });
        let open = wants.into_iter().map(entry).collect();
        Self {
            open,
            asked: BTreeMap::new(),
            found: Vec::new(),
            deadline,
            asking: None,
            rest_until: None,
            again,
            margin,
        }
    }

    /// Since when peers are asked; `None` while nobody was.
    pub(crate) fn asking(&self) -> Option<Duration> {
        self.asking
    }

    /// What was found so far.
    pub(crate) fn take_found(&mut self) -> Vec<(Slot, Bytes)> {
        std::mem::take(&mut self.found)
    }

    fn choose(&self, open: &Open, peers: &BTreeMap<PkiId, Peer>, rng: &mut dyn Rng) -> Option<PkiId> {
        let able = |(id, peer): &(&PkiId, &Peer)| {
            !open.tried.contains(*id)
                && open.want.collection.admits(&peer.subject)
                && !open.want.is_dropped_by(peer, self.margin)
        };
        let able: Vec<_> = peers.iter().filter(able).map(|(id, _)| *id).collect();
        let preferred: Vec<_> = able.iter().filter(|id| open.want.endorsers.contains(id)).copied().collect();
        let of = if preferred.is_empty() { able } else { preferred };
        of.get((rng.next_u64() % of.len().max(1) as u64) as usize).copied()
    }

    /// Whether a peer could still come to give it: not when all who could have dropped it.
    fn is_lost(&self, want: &Want, peers: &BTreeMap<PkiId, Peer>) -> bool {
        let mut members = peers.values().filter(|peer| want.collection.admits(&peer.subject)).peekable();
        members.peek().is_some() && members.all(|peer| want.is_dropped_by(peer, self.margin))
    }

    /// Goes on; gives what to send, or `None` when it is over.
    pub(crate) fn step(
        &mut self,
        peers: &BTreeMap<PkiId, Peer>,
        now: Duration,
        rng: &mut dyn Rng,
    ) -> Option<Vec<Request>> {
        let over: Vec<_> =
            self.asked.iter().filter(|(_, asked)| asked.until <= now).map(|(n, _)| *n).collect();
        over.iter().for_each(|nonce| self.close(*nonce));
        if self.open.is_empty() || now >= self.deadline {
            return None;
        }
        if self.rest_until.is_some_and(|until| until > now) {
            return Some(Vec::new());
        }
        if self.rest_until.take().is_some() {
            self.open.values_mut().for_each(|open| open.tried.clear());
        }
        let mut chosen: BTreeMap<PkiId, Vec<Slot>> = BTreeMap::new();
        for (slot, open) in self.open.iter().filter(|(_, open)| !open.asked) {
            if let Some(peer) = self.choose(open, peers, rng) {
                chosen.entry(peer).or_default().push(slot.clone());
            }
        }
        let mut requests = Vec::new();
        for (to, slots) in chosen {
            for slots in slots.chunks(ASKED_AT_ONCE) {
                let nonce = rng.next_u64().max(1);
                if self.asked.contains_key(&nonce) {
                    continue;
                }
                let mut digests = Vec::new();
                for slot in slots {
                    if let Some(open) = self.open.get_mut(slot) {
                        open.asked = true;
                        open.tried.insert(to);
                        digests.push(open.want.digest());
                    }
                }
                let until = now.saturating_add(RESPONSE_WAIT);
                let slots = slots.iter().cloned().collect();
                self.asked.insert(nonce, Asked { peer: to, slots, until });
                requests.push(Request { to, nonce, digests });
            }
        }
        if !requests.is_empty() {
            self.asking.get_or_insert(now);
        }
        if self.asked.is_empty() {
            let lost = self.open.values().all(|open| self.is_lost(&open.want, peers));
            if !self.again || lost {
                return None;
            }
            self.rest_until = Some(now.saturating_add(RETRY_REST));
        }
        Some(requests)
    }

    fn close(&mut self, nonce: u64) {
        let Some(asked) = self.asked.remove(&nonce) else { return };
        for slot in &asked.slots {
            if let Some(open) = self.open.get_mut(slot) {
                open.asked = false;
            }
        }
    }

    /// A peer is gone: what it was asked is asked of others.
    pub(crate) fn gone(&mut self, peer: &PkiId) {
        let of: Vec<_> =
            self.asked.iter().filter(|(_, asked)| asked.peer == *peer).map(|(n, _)| *n).collect();
        of.iter().for_each(|nonce| self.close(*nonce));
    }

    /// Whether a peer was asked something under this nonce.
    pub(crate) fn is_of(&self, from: &PkiId, nonce: u64) -> bool {
        self.asked.get(&nonce).is_some_and(|asked| asked.peer == *from)
    }

    /// Takes an answer; gives how many sets came, and what is wrong with it.
    pub(crate) fn answered(&mut self, nonce: u64, elements: &[PvtDataElement]) -> (usize, Option<Refused>) {
        let (mut count, mut fault) = (0, None);
        for element in elements {
            let Some(digest) = &element.digest else {
                fault = Some(Refused::Absent("digest"));
                break;
            };
            let slot = Slot {
                block: digest.block_seq,
                transaction: digest.seq_in_block,
                namespace: digest.namespace.clone(),
                collection: digest.collection.clone(),
            };
            let asked = self.asked.get(&nonce).is_some_and(|asked| asked.slots.contains(&slot));
            let open = self.open.get(&slot).filter(|open| asked && open.want.tx_id == digest.tx_id);
            let Some(open) = open else {
                // Twice in one answer is the same as not asked for.
                fault = Some(Refused::NotAsked);
                break;
            };
            if element.payload.is_empty() {
                continue;
            }
            match element.payload.iter().find(|set| rwset::hash(set) == open.want.hash) {
                Some(set) => {
                    self.found.push((slot.clone(), Bytes::copy_from_slice(set)));
                    self.open.remove(&slot);
                    count += 1;
                }
                None => fault = Some(Refused::Hash(printable(&slot.collection))),
            }
        }
        self.close(nonce);
        (count, fault)
    }

    /// When to go on at the latest.
    pub(crate) fn wakes(&self) -> Duration {
        let asked = self.asked.values().map(|asked| asked.until);
        asked.chain(self.rest_until).chain([self.deadline]).min().unwrap_or(self.deadline)
    }
}
