//! Sessions: what they say, and what is said to them.

use super::{
    Action, BAN, CRAWL_ANSWER_WITHIN, DISTRUST_BELOW, GOOD_AFTER, HANG_UP_WITHIN, HangUp, LOOK_EVERY,
    MAX_CRAWL_QUEUE, Now, Peer, PeerState, Requests, Round, SEED_BIAS, SEED_PAUSE, SHORT_SESSION, Slots,
    State,
};
use crate::key::NodeId;
use crate::netaddress::NetAddress;
use crate::pex::address::PeerAddress;
use crate::pex::below;
use crate::pex::book::Added;
use crate::pex::message::{Answer, Message};
use rand::Rng;
use switchboard::Direction;

impl State {
    /// A session begins.
    pub fn connected<R: Rng + ?Sized>(&mut self, peer: Peer, now: Now, rng: &mut R) -> Vec<Action> {
        let mut actions = Vec::new();
        let id = peer.id;
        self.dialing.remove(&id);
        self.trust.good(&id, 1);
        let seen = PeerAddress::new(id, peer.ip, peer.port);
        let outbound = peer.direction == Direction::Outbound;
        let learnt = if outbound { (!self.is_seed(&id)).then_some(seen) } else { listening(&peer) };
        if let Some(address) = learnt
            && self.book.add(address, seen, now.wall, rng) == Ok(Added::New)
        {
            self.counters.learnt += 1;
            self.queue(address);
            if !outbound {
                self.hurry(now);
                actions.push(Action::Wake);
            }
        }
        self.peers.insert(
            id,
            PeerState {
                peer,
                since: now.at,
                requests: Requests::None,
                asked: None,
                last_asked: None,
                answered: None,
                hung_up: false,
                good: false,
            },
        );
        if outbound && (self.config.seed_mode || self.book.need_more()) {
            self.ask(id, now, &mut actions);
        }
        actions
    }

    /// A session has ended.
    pub fn disconnected(&mut self, id: &NodeId, now: Now) {
        let Some(peer) = self.peers.remove(id) else { return };
        self.trust.disconnected(id);
        let short = now.at.saturating_duration_since(peer.since) < SHORT_SESSION;
        if peer.peer.direction == Direction::Outbound && short && !peer.hung_up && !peer.good {
            self.book.mark_attempt(id, now.wall);
        }
    }

    /// A message came.
    pub fn received<R: Rng + ?Sized>(
        &mut self,
        id: &NodeId,
        message: &[u8],
        now: Now,
        rng: &mut R,
    ) -> Vec<Action> {
        let mut actions = Vec::new();
        match self.peers.get(id) {
            // Its end was decided already; what is on the way does not matter any more.
            None | Some(PeerState { hung_up: true, .. }) => return actions,
            Some(_) => {}
        }
        match Message::decode(message) {
            Ok(Message::Request) => self.requested(id, now, rng, &mut actions),
            Ok(Message::Addresses(answer)) => self.told(id, &answer, now, rng, &mut actions),
            Err(error) => self.breach(*id, error.rule(), error.bans(), now, &mut actions),
        }
        actions
    }

    fn requested<R: Rng + ?Sized>(&mut self, id: &NodeId, now: Now, rng: &mut R, actions: &mut Vec<Action>) {
        let interval = self.config.ensure_every / 3;
        let seed_mode = self.config.seed_mode;
        let Some(state) = self.peers.get_mut(id) else { return };
        if seed_mode && state.peer.direction == Direction::Inbound {
            if state.answered.is_some() {
                return;
            }
            state.answered = Some(now.at);
            let persistent = state.peer.persistent;
            let addresses = self.book.selection_with_bias(SEED_BIAS, rng);
            self.answer(*id, addresses, actions);
            if !persistent {
                actions.push(Action::HangUp { peer: *id, why: HangUp::Answered, flush: true });
            }
            return;
        }
        state.requests = match state.requests {
            Requests::None => Requests::One,
            Requests::One => Requests::Last(now.at),
            Requests::Last(last) if now.at.saturating_duration_since(last) < interval => {
                self.breach(*id, "pex request too soon", true, now, actions);
                return;
            }
            Requests::Last(_) => Requests::Last(now.at),
        };
        let addresses = self.book.selection(rng);
        self.answer(*id, addresses, actions);
    }

    fn answer(&mut self, peer: NodeId, mut addresses: Vec<PeerAddress>, actions: &mut Vec<Action>) {
        addresses.retain(|address| address.id != peer);
        self.counters.answered += 1;
        actions.push(Action::Answer { peer, addresses });
    }

    fn told<R: Rng + ?Sized>(
        &mut self,
        id: &NodeId,
        answer: &Answer,
        now: Now,
        rng: &mut R,
        actions: &mut Vec<Action>,
    ) {
        let Some(state) = self.peers.get_mut(id) else { return };
        if state.asked.take().is_none() {
            return self.breach(*id, "pex answer without request", true, now, actions);
        }
        // Told by the address we see: the one it claims could be in any group.
        let source = PeerAddress::new(*id, state.peer.ip, state.peer.port);
        let persistent = state.peer.persistent;
        let mut learnt = 0;
        for address in &answer.addresses {
            if self.book.add(*address, source, now.wall, rng) == Ok(Added::New) {
                learnt += 1;
                self.queue(*address);
            }
        }
        self.counters.told += (answer.addresses.len() + answer.without_id) as u64;
        self.counters.learnt += learnt;
        self.trust.good(id, 1);
        let ensure_every = self.config.ensure_every;
        if let Some(seed) = self.seeds.iter_mut().find(|seed| seed.address.id() == Some(*id)) {
            seed.useless = if learnt == 0 { (seed.useless + 1).min(8) } else { 0 };
            seed.not_before = now.at + (ensure_every * (1 << seed.useless)).min(SEED_PAUSE.max(ensure_every));
            // A seed's addresses are tried at once.
            if learnt > 0 && !self.config.seed_mode {
                self.next_round = now.at;
            }
        }
        if learnt > 0 {
            self.hurry(now);
            actions.push(Action::Wake);
        }
        if self.config.seed_mode && !persistent {
            self.good(id, now);
            self.hang_up(*id, HangUp::Crawled, actions);
        }
    }

    /// A session went well, by whatever standard a protocol has: its address becomes old.
    pub fn good(&mut self, id: &NodeId, now: Now) {
        self.book.mark_good(id, now.wall);
        self.trust.good(id, 1);
        if let Some(state) = self.peers.get_mut(id) {
            state.good = true;
        }
    }

    /// Something was wrong with a peer: a missed pong, a late answer.
    pub fn bad(&mut self, id: &NodeId, events: u32) {
        self.trust.bad(id, events);
    }

    fn breach(&mut self, peer: NodeId, rule: &'static str, ban: bool, now: Now, actions: &mut Vec<Action>) {
        if let Some(state) = self.peers.get_mut(&peer) {
            state.hung_up = true;
        }
        self.counters.breaches += 1;
        self.trust.bad(&peer, 10);
        if ban {
            self.book.mark_bad(&peer, now.wall.plus(BAN));
        }
        actions.push(Action::Breach { peer, rule, ban: ban.then_some(BAN) });
    }

    fn hang_up(&mut self, peer: NodeId, why: HangUp, actions: &mut Vec<Action>) {
        if let Some(state) = self.peers.get_mut(&peer) {
            state.hung_up = true;
        }
        actions.push(Action::HangUp { peer, why, flush: false });
    }

    fn ask(&mut self, peer: NodeId, now: Now, actions: &mut Vec<Action>) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        if state.asked.is_some() || state.hung_up {
            return;
        }
        (state.asked, state.last_asked) = (Some(now.at), Some(now.at));
        self.counters.asked += 1;
        actions.push(Action::Ask(peer));
    }

    /// A node without an outbound peer that learns an address need not wait for the next round.
    fn hurry(&mut self, now: Now) {
        let outbound = self.peers.values().any(|state| state.peer.direction == Direction::Outbound);
        if !self.config.seed_mode && !outbound && self.dialing.is_empty() {
            self.next_round = now.at;
        }
    }

    fn queue(&mut self, address: PeerAddress) {
        if self.config.seed_mode && self.to_crawl.len() < MAX_CRAWL_QUEUE {
            self.to_crawl.push_back(address);
        }
    }

    /// Does what is due. To be called at [`State::wake_at`]; earlier is harmless.
    pub fn tick<R: Rng + ?Sized>(&mut self, slots: Slots, now: Now, rng: &mut R) -> Vec<Action> {
        let mut actions = Vec::new();
        if now.at >= self.next_look {
            self.next_look = now.at + LOOK_EVERY;
            self.look(now, &mut actions);
        }
        if now.at >= self.next_round {
            // A tenth more or less, so that nodes that began together do not ask together.
            let every = self.config.ensure_every;
            let jitter = every.mul_f64(crate::pex::unit(rng) * 0.2);
            self.next_round = now.at + every.mul_f64(0.9) + jitter;
            self.begin_round(slots, now, rng, &mut actions);
        }
        if self.save_at().is_some_and(|due| now.at >= due) {
            self.saved = now.at;
            self.book.take_changed();
            actions.push(Action::Save);
        }
        actions
    }

    fn look(&mut self, now: Now, actions: &mut Vec<Action>) {
        self.trust.tick(now.at);
        self.dialing.retain(|_, dial| now.at.saturating_duration_since(dial.since) < super::DIAL_FORGOTTEN);
        let ids: Vec<NodeId> = self.peers.keys().copied().collect();
        for id in ids {
            let Some(state) = self.peers.get(&id) else { continue };
            let age = |since| now.at.saturating_duration_since(since);
            let persistent = state.peer.persistent;
            let outbound = state.peer.direction == Direction::Outbound;
            let late = state.answered.is_some_and(|at| age(at) >= HANG_UP_WITHIN);
            let why = if state.hung_up || persistent {
                None
            } else if self.config.seed_mode && late {
                Some(HangUp::Answered)
            } else if self.config.seed_mode && state.asked.is_some_and(|at| age(at) >= CRAWL_ANSWER_WITHIN) {
                Some(HangUp::Silent)
            } else if self.config.seed_mode && age(state.since) >= self.config.seed_wait {
                Some(HangUp::Waited)
            } else if self.trust.score(&id) < DISTRUST_BELOW {
                Some(HangUp::Distrusted)
            } else {
                None
            };
            if let Some(why) = why {
                if why == HangUp::Silent {
                    self.book.mark_attempt(&id, now.wall);
                }
                self.hang_up(id, why, actions);
            } else if outbound && !state.good && !self.config.seed_mode && age(state.since) >= GOOD_AFTER {
                self.good(&id, now);
            }
        }
    }

    fn begin_round<R: Rng + ?Sized>(
        &mut self,
        slots: Slots,
        now: Now,
        rng: &mut R,
        actions: &mut Vec<Action>,
    ) {
        let mut order: Vec<usize> = (0..self.seeds.len()).collect();
        for n in (1..order.len()).rev() {
            order.swap(n, below(rng, n + 1));
        }
        self.round = Round {
            picks: slots.free() * 3,
            seeds: order,
            few_groups: !self.book.has_groups(slots.max_outbound),
            ..Round::default()
        };
        if self.book.need_more() {
            self.book.reinstate(now.wall);
        }
        if self.config.seed_mode {
            self.forget_crawled(now);
            for address in self.book.selection(rng) {
                self.queue(address);
            }
        }
        if let Some(crowding) = self.crowding(slots) {
            self.hang_up(crowding, HangUp::Crowding, actions);
        }
        if slots.free() == 0 {
            return;
        }
        actions.push(Action::Wake);
        if self.book.need_more() && !self.config.seed_mode {
            // No peer is asked so often that it could take offence.
            let pause = self.config.ensure_every / 2;
            let rested = |state: &PeerState| {
                let rested = |at| now.at.saturating_duration_since(at) >= pause;
                state.asked.is_none() && state.last_asked.is_none_or(rested)
            };
            let ready = self.peers.iter().filter(|(_, state)| rested(state));
            let ready: Vec<NodeId> = ready.map(|(id, _)| *id).collect();
            if let Some(id) = ready.get(below(rng, ready.len())) {
                self.ask(*id, now, actions);
            }
        }
    }
}

/// Where an inbound peer says it listens. A name is not looked up; an unspecified address is the one we see it at.
fn listening(peer: &Peer) -> Option<PeerAddress> {
    let claimed = NetAddress::parse(&format!("{}@{}", peer.id, authority(&peer.listen_addr))).ok()?;
    let mut address = PeerAddress::of(&claimed)?;
    if address.ip.is_unspecified() {
        address = PeerAddress::new(peer.id, peer.ip, address.port);
    }
    Some(address)
}

/// The text behind `proto://`.
fn authority(listen_addr: &str) -> &str {
    listen_addr.split_once("://").map_or(listen_addr, |(_, rest)| rest)
}
