//! Dials: who is tried, who has to wait, who is given up.

use super::{BAN, CRAWL_AGAIN_AFTER, Dialing, MAX_ATTEMPTS, MAX_CRAWLED, Now, Slots, State};
use crate::key::NodeId;
use crate::netaddress::NetAddress;
use crate::pex::address::{Group, PeerAddress};
use crate::pex::unit;
use rand::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use switchboard::Direction;
use tokio::time::Instant;

/// The chance that an address worth nothing is dialled when it is picked: its way back.
const LEAST_TRUST: f64 = 0.02;

/// Where a candidate comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Out of the book.
    Book,
    /// Out of the book, to be asked and left again.
    Crawl,
    /// A configured seed.
    Seed,
}

/// Somebody to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dial {
    /// Who and where.
    pub address: NetAddress,
    /// Why.
    pub origin: Origin,
}

/// What became of a dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DialResult {
    /// A session has begun.
    Connected,
    /// Nobody there, or the handshake failed.
    Failed,
    /// We are connected to it or dialling it already.
    Busy,
    /// Another key answered there.
    WrongIdentity,
    /// It is of another network or version.
    Incompatible,
    /// It is ourselves.
    Own,
}

impl State {
    /// Somebody to dial, if a slot is free and there is somebody; to be called until it says `None`. Each one is to
    /// be answered by [`State::outcome`].
    pub fn next<R: Rng + ?Sized>(&mut self, slots: Slots, now: Now, rng: &mut R) -> Option<Dial> {
        if slots.free() == 0 {
            return None;
        }
        let found = if self.config.seed_mode {
            self.next_to_crawl(now, rng).map(|address| (address, Origin::Crawl))
        } else {
            self.next_of_book(slots, now, rng).map(|address| (address, Origin::Book))
        };
        if let Some((address, origin)) = found {
            self.round.handed_out += 1;
            self.hand_out(address.id, Some(address), now);
            return Some(Dial { address: address.to_net_address(), origin });
        }
        self.next_seed(now)
    }

    /// What became of a dial.
    pub fn outcome(&mut self, address: &NetAddress, result: DialResult, now: Now) {
        let Some(id) = address.id() else { return };
        self.dialing.remove(&id);
        let failed = !matches!(result, DialResult::Connected | DialResult::Busy);
        if failed {
            self.counters.failed += 1;
            self.round.failed += 1;
        }
        // What is known of an address says nothing of a seed, which may be named by another one.
        match result {
            DialResult::Connected => {}
            // It was not asked: a crawl may take it up again with the next round.
            DialResult::Busy => drop(self.crawled.remove(&id)),
            DialResult::Failed => self.book.mark_attempt(&id, now.wall),
            DialResult::WrongIdentity => self.book.remove(&id),
            DialResult::Incompatible => self.book.mark_bad(&id, now.wall.plus(BAN)),
            DialResult::Own => {
                if let Some(own) = PeerAddress::of(address) {
                    self.book.add_own(own);
                }
                self.book.remove(&id);
            }
        }
    }

    /// The chance of a new address to be picked, in percent: the more outbound peers there are, the higher
    /// (cometbft p2p/pex/pex_reactor.go `ensurePeers`).
    #[must_use]
    pub fn bias(outbound: usize) -> u8 {
        (outbound.min(8) * 10 + 10) as u8
    }

    fn next_of_book<R: Rng + ?Sized>(&mut self, slots: Slots, now: Now, rng: &mut R) -> Option<PeerAddress> {
        let bias = Self::bias(slots.outbound);
        let groups = self.outbound_groups();
        // An empty book must not use up the round: somebody may tell us of others yet.
        while self.round.picks > 0 && !self.book.is_empty() {
            self.round.picks -= 1;
            let Some(address) = self.book.pick(bias, rng).map(|known| known.address) else { continue };
            let free = !self.peers.contains_key(&address.id) && !self.dialing.contains_key(&address.id);
            if free
                && !self.crowded(&address, &groups, slots)
                && unit(rng) < self.trust.value(&address.id).max(LEAST_TRUST)
                && self.rested(&address.id, now, rng)
            {
                return Some(address);
            }
        }
        None
    }

    fn next_to_crawl<R: Rng + ?Sized>(&mut self, now: Now, rng: &mut R) -> Option<PeerAddress> {
        while let Some(address) = self.to_crawl.pop_front() {
            let id = address.id;
            // It may have left the book, or changed there, while it waited.
            let known = self.book.get(&id).is_some_and(|known| known.address == address);
            let recent = |at: &_| now.at.saturating_duration_since(*at) < CRAWL_AGAIN_AFTER;
            let free = !self.peers.contains_key(&id) && !self.dialing.contains_key(&id);
            if !known || !free || self.crawled.get(&id).is_some_and(recent) || !self.rested(&id, now, rng) {
                continue;
            }
            if self.crawled.len() >= MAX_CRAWLED {
                self.forget_crawled(now);
            }
            if self.crawled.len() < MAX_CRAWLED {
                self.crawled.insert(id, now.at);
                return Some(address);
            }
        }
        None
    }

    /// Forgets whom a crawl could try again anyway.
    pub(super) fn forget_crawled(&mut self, now: Now) {
        self.crawled.retain(|_, at| now.at.saturating_duration_since(*at) < CRAWL_AGAIN_AFTER);
    }

    /// A seed, when the book wants more and nothing else that this round tried is under way or has worked.
    fn next_seed(&mut self, now: Now) -> Option<Dial> {
        let hopeless = self.round.handed_out <= self.round.failed;
        if !self.book.need_more() || !hopeless {
            return None;
        }
        while let Some(n) = self.round.seeds.pop() {
            let Some(seed) = self.seeds.get_mut(n) else { continue };
            let Some(id) = seed.address.id() else { continue };
            let busy = self.peers.contains_key(&id) || self.dialing.contains_key(&id);
            // With nobody at all there is no reason to wait.
            if busy || (now.at < seed.not_before && !self.peers.is_empty()) || self.book.is_own_id(&id) {
                continue;
            }
            let address = seed.address.clone();
            self.round.handed_out += 1;
            self.hand_out(id, PeerAddress::of(&address), now);
            return Some(Dial { address, origin: Origin::Seed });
        }
        None
    }

    fn hand_out(&mut self, id: NodeId, address: Option<PeerAddress>, now: Now) {
        self.counters.dials += 1;
        let ip = address.map(|address| address.ip);
        self.dialing.insert(id, Dialing { since: now.at, ip });
    }

    /// Whether an address may be dialled again: after n failures, 2^n seconds and a random part of another one. After
    /// too many it is banned.
    fn rested<R: Rng + ?Sized>(&mut self, id: &NodeId, now: Now, rng: &mut R) -> bool {
        match self.book.tried(id, now.wall) {
            None => false,
            Some((0, _)) => true,
            Some((attempts, _)) if attempts > MAX_ATTEMPTS => {
                self.book.mark_bad(id, now.wall.plus(BAN));
                false
            }
            Some((attempts, ago)) => {
                ago >= Duration::from_secs(1 << attempts) + Duration::from_secs_f64(unit(rng))
            }
        }
    }

    /// The groups of all outbound peers and dials.
    fn outbound_groups(&self) -> Vec<Group> {
        let strict = self.book.strict();
        let outbound = self.peers.values().filter(|state| state.peer.direction == Direction::Outbound);
        let ips = outbound.map(|state| state.peer.ip);
        let dialled = self.dialing.iter().filter(|(id, _)| !self.peers.contains_key(id));
        ips.chain(dialled.filter_map(|(_, dial)| dial.ip)).map(|ip| Group::of(ip, strict)).collect()
    }

    /// Whether the address's group has its share of the outbound slots. In a book that takes private addresses, all
    /// may be of one group.
    fn crowded(&self, address: &PeerAddress, groups: &[Group], slots: Slots) -> bool {
        let group = address.group(true);
        self.book.strict()
            && groups.iter().filter(|other| **other == group).count() >= self.share(slots.max_outbound)
    }

    /// How many outbound slots one group may hold: a tenth, or half while too few groups are known to fill the others.
    fn share(&self, max_outbound: usize) -> usize {
        if self.round.few_groups { max_outbound.div_ceil(2).max(1) } else { (max_outbound / 10).max(1) }
    }

    /// The newest outbound peer of a group that holds more than its share, when others have no room, or are enough
    /// by themselves.
    pub(super) fn crowding(&self, slots: Slots) -> Option<NodeId> {
        if !self.book.strict() || self.config.seed_mode {
            return None;
        }
        let mut groups = BTreeMap::<Group, Vec<(Instant, NodeId)>>::new();
        for (id, state) in &self.peers {
            if state.peer.direction == Direction::Outbound && !state.peer.persistent && !state.hung_up {
                groups.entry(Group::of(state.peer.ip, true)).or_default().push((state.since, *id));
            }
        }
        let all: usize = groups.values().map(Vec::len).sum();
        let share = self.share(slots.max_outbound);
        let largest = groups.into_values().filter(|peers| peers.len() > share).max_by_key(Vec::len)?;
        let alone = all - largest.len() < slots.max_outbound / 2;
        if slots.free() > 0 && alone { None } else { largest.into_iter().max().map(|(_, id)| id) }
    }

    /// Whom dials are under way to.
    #[must_use]
    pub fn dialing(&self) -> BTreeSet<NodeId> {
        self.dialing.keys().copied().collect()
    }
}
