//! Inbound handshakes under way, and which of them yields when there are too many.
//!
//! ```text
//!   accepted ─▶ pending (unproven) ─ identity ─▶ pending (proven) ─▶ admitted, refused or failed
//!                   └─ all slots taken: the network with most pending handshakes gives its oldest
//! ```
//!
//! A network is a v4 /24 or a v6 /64. A victim is only taken when no slot is free; else the deadline of the handshake
//! ends it, which is never before 5 s. A handshake that is alone in its network yields only when every network has just one;
//! then the oldest of all yields. A peer that has proven an identity yields only when all slots are held by such peers, and
//! only in a network that holds more than a quarter of them: keys are free on some wires, addresses are not.
//!
//! Limits: as many entries as there are slots; choosing looks at each network once. Not protected: an attacker
//! with as many networks as there are slots looks like honest strangers.

use crate::id::PeerId;
use crate::switch::access::network_of;
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Numbers a pending handshake; never used twice.
pub(crate) type Number = u64;

struct Entry {
    network: IpNet,
    since: Instant,
    proven: Option<PeerId>,
    evicted: Arc<Notify>,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Pending {
    entries: BTreeMap<Number, Entry>,
    unproven: BTreeMap<IpNet, BTreeSet<(Instant, Number)>>,
    arriving: BTreeMap<PeerId, usize>,
    next: Number,
}

impl Pending {
    /// Takes a slot, if need be another's, which is told through its `Notify`. `None` when every slot is held by a
    /// proven identity, and none of their networks holds more than its share.
    pub(crate) fn enter(&mut self, ip: IpAddr, most: usize, now: Instant) -> Option<(Number, Arc<Notify>)> {
        if self.entries.len() >= most {
            let victim = self.victim().or_else(|| self.hoarder(most))?;
            if let Some(entry) = self.entries.get(&victim) {
                entry.evicted.notify_one();
            }
            self.leave(victim);
        }
        let (network, evicted) = (network_of(ip, 24, 64), Arc::<Notify>::default());
        let number = self.next;
        self.next += 1;
        self.unproven.entry(network).or_default().insert((now, number));
        let entry = Entry { network, since: now, proven: None, evicted: Arc::clone(&evicted) };
        self.entries.insert(number, entry);
        Some((number, evicted))
    }

    /// The oldest unproven handshake of the network that has most of them; of several, of that whose oldest is oldest.
    fn victim(&self) -> Option<Number> {
        let oldest = |held: &BTreeSet<(Instant, Number)>| held.first().copied();
        let most = self.unproven.values().max_by_key(|held| (held.len(), std::cmp::Reverse(oldest(held))))?;
        oldest(most).map(|(_, number)| number)
    }

    /// The oldest proven handshake of the network that holds most, if that is more than a quarter of the slots. Looked
    /// for only when nothing is unproven, among no more entries than there are slots.
    fn hoarder(&self, slots: usize) -> Option<Number> {
        let mut held: BTreeMap<IpNet, (usize, Number)> = BTreeMap::new();
        for (number, entry) in &self.entries {
            // Numbers rise with time, so the first is the oldest.
            held.entry(entry.network).or_insert((0, *number)).0 += 1;
        }
        let (count, oldest) =
            held.into_values().max_by_key(|(count, oldest)| (*count, std::cmp::Reverse(*oldest)))?;
        (count > 1 && count * 4 > slots).then_some(oldest)
    }

    /// Its identity is proven: it yields to unproven ones no more.
    pub(crate) fn proven(&mut self, number: Number, id: PeerId) {
        let Some(entry) = self.entries.get_mut(&number) else { return };
        if entry.proven.replace(id).is_none() {
            let key = (entry.since, number);
            let network = entry.network;
            self.drop_unproven(network, key);
            *self.arriving.entry(id).or_default() += 1;
        }
    }

    pub(crate) fn is_proven(&self, number: Number) -> bool {
        self.entries.get(&number).is_some_and(|entry| entry.proven.is_some())
    }

    /// Whether a handshake of this identity is under way.
    pub(crate) fn arriving(&self, id: &PeerId) -> bool {
        self.arriving.contains_key(id)
    }

    /// Gives a slot back. Again is no fault.
    pub(crate) fn leave(&mut self, number: Number) {
        let Some(Entry { network, since, proven, .. }) = self.entries.remove(&number) else { return };
        let Some(id) = proven else { return self.drop_unproven(network, (since, number)) };
        if let Some(count) = self.arriving.get_mut(&id) {
            *count -= 1;
            if *count == 0 {
                self.arriving.remove(&id);
            }
        }
    }

    fn drop_unproven(&mut self, network: IpNet, key: (Instant, Number)) {
        if let Some(held) = self.unproven.get_mut(&network) {
            held.remove(&key);
            if held.is_empty() {
                self.unproven.remove(&network);
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests;
