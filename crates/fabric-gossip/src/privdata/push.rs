//! One push: private sets to as many peers as their collections want.
//!
//! ```text
//!   for each set: eligible peers ─▶ order: one of each organisation by chance, then the others by chance
//!     ─▶ the first maxPeerCount get it ─▶ one that refuses is replaced by the next ─▶ requiredPeerCount acks: done
//! ```
//! A peer that does not answer is not replaced: it may hold the data, and no more peers than maxPeerCount should.

use super::collections::Collection;
use super::policy::Subject;
use super::types::{PushFault, Unacked};
use crate::types::PkiId;
use rand::Rng;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use switchboard_fabric::message::PrivatePayload;

fn below(rng: &mut dyn Rng, count: usize) -> usize {
    (rng.next_u64() % count.max(1) as u64) as usize
}

/// Eligible peers in the order they are chosen: one of each organisation, then the others.
pub(crate) fn order(peers: &BTreeMap<PkiId, Subject>, rng: &mut dyn Rng) -> Vec<PkiId> {
    let mut by_org: BTreeMap<&str, Vec<PkiId>> = BTreeMap::new();
    for (pki_id, subject) in peers {
        by_org.entry(&subject.mspid).or_default().push(*pki_id);
    }
    let mut orgs: Vec<_> = by_org.into_values().collect();
    let (mut chosen, mut others) = (Vec::new(), Vec::new());
    while !orgs.is_empty() {
        let mut org = orgs.swap_remove(below(rng, orgs.len()));
        chosen.push(org.swap_remove(below(rng, org.len())));
        others.append(&mut org);
    }
    while !others.is_empty() {
        chosen.push(others.swap_remove(below(rng, others.len())));
    }
    chosen
}

/// One private set on its way.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) collection: Arc<Collection>,
    pub(crate) payload: PrivatePayload,
    next: VecDeque<PkiId>,
    sent: usize,
    open: usize,
    acks: usize,
    last: String,
}

impl Part {
    /// A set with its collection, to be sent to some of these peers.
    pub(crate) fn new(
        collection: Arc<Collection>,
        payload: PrivatePayload,
        eligible: &BTreeMap<PkiId, Subject>,
        rng: &mut dyn Rng,
    ) -> Result<Self, PushFault> {
        let required = collection.required_peers;
        if eligible.len() < required {
            let (collection, eligible) = (collection.name.clone(), eligible.len());
            return Err(PushFault::TooFew { collection, required, eligible });
        }
        let next = order(eligible, rng).into();
        let last = String::from("none answered");
        Ok(Self { collection, payload, next, sent: 0, open: 0, acks: 0, last })
    }

    /// Whom to send it to now.
    pub(crate) fn take(&mut self) -> Option<PkiId> {
        if self.sent >= self.collection.maximum_peers {
            return None;
        }
        let peer = self.next.pop_front()?;
        (self.sent, self.open) = (self.sent + 1, self.open + 1);
        Some(peer)
    }

    /// A peer answered, or did not in time.
    pub(crate) fn answered(&mut self, result: &Result<(), Unacked>) {
        self.open = self.open.saturating_sub(1);
        match result {
            Ok(()) => self.acks += 1,
            Err(why) => {
                self.last = why.to_string();
                // It does not hold the data, so another may.
                self.sent -= usize::from(*why != Unacked::Timeout);
            }
        }
    }

    fn is_done(&self) -> bool {
        self.open == 0
    }

    fn result(&self) -> Result<usize, PushFault> {
        let (required, acks) = (self.collection.required_peers, self.acks);
        if acks >= required {
            return Ok(acks);
        }
        let (collection, last) = (self.collection.name.clone(), self.last.clone());
        Err(PushFault::TooFewAcks { collection, required, acks, last })
    }
}

/// A push that waits for acknowledgements.
#[derive(Debug)]
pub(crate) struct Push {
    pub(crate) parts: Vec<Part>,
    pub(crate) until: Duration,
}

impl Push {
    /// What came of it; `None` while answers are waited for.
    pub(crate) fn result(&self) -> Option<Result<Vec<usize>, PushFault>> {
        self.parts.iter().all(Part::is_done).then(|| self.parts.iter().map(Part::result).collect())
    }
}
