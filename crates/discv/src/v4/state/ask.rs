//! What we ask of others: pings, and requests that need a proof on both sides first.
//!
//! ```text
//!   Pong ──pong──▶ TheirPing ──their ping, or 500 ms──▶ Reply ──answer──▶ ended
//!     └─500 ms: again, up to the goal's tries; then failed      └─500 ms: from the start again; then failed
//!   Waiting: another findnode to the same node is out; answers do not say which they answer
//! ```

use super::{Action, CLOCK_CONTRADICTED, CLOCK_DOUBT, Op, Outcome, State, TIMEOUT};
use crate::addr::{is_lan, may_relay};
use crate::hash::HashMap;
use crate::node::{Node, NodeId};
use crate::nodes::Version;
use crate::table::BUCKET_SIZE;
use crate::time::Now;
use crate::v4::packet::{self, Endpoint, Hash, NEIGHBOURS_PER_PACKET, Neighbour, Packet};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Requests under way at once; more are refused.
pub const MAX_ASKS: usize = 1_024;
/// Of these, pings back to strangers.
const MAX_BACK: usize = 256;
/// Of these, to one address that has proven nothing.
const MAX_BACK_EACH: usize = MAX_BACK / 4;
/// Neighbours may come in two packets. After one that may be the only one, the other is waited for so long.
const GRACE: Duration = Duration::from_millis(100);
/// How long a request waits for another one to the same node.
const TURN: Duration = Duration::from_secs(5);
/// An address where nobody answered a lookup is left alone for so long.
const SILENCE: Duration = Duration::from_secs(30);
/// Neighbours with lower ports are not taken: other services live there (go-ethereum p2p/discover/v4_udp.go).
const LOW_PORTS: u16 = 1_024;
/// Queries without an answer in a row after which a node leaves the table.
const MAX_FAILS: u8 = 5;

/// What is wanted of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    Ping,
    Nodes([u8; 64]),
    Record,
}

/// What it is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The table's check.
    Check,
    /// A stranger pinged.
    Back,
    /// A lookup.
    Lookup(u64),
    /// A newer record was announced.
    Renew,
    /// The caller asked.
    Op(Op),
    /// The caller wants the node's newest record; without an answer a lookup follows.
    Resolve(Op, bool),
}

impl Why {
    /// How often it is tried.
    fn tries(self) -> u8 {
        match self {
            Self::Back => 1,
            Self::Check | Self::Renew => 2,
            Self::Op(_) | Self::Resolve(..) => 3,
            Self::Lookup(_) => 4,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Pong(Hash),
    TheirPing,
    Waiting,
    Reply(Hash),
}

#[derive(Debug)]
pub(super) struct Ask {
    node: Node,
    goal: Goal,
    why: Why,
    stage: Stage,
    deadline: Duration,
    sent: Duration,
    tries: u8,
    got: Vec<Node>,
}

impl Ask {
    fn key(&self) -> (NodeId, IpAddr) {
        (self.node.id(), self.node.ip())
    }
}

/// Requests under way.
#[derive(Debug, Default)]
pub(super) struct Asks {
    all: BTreeMap<u64, Ask>,
    /// In the order they began. Only ever asked for a node, as the next one for an address.
    by_node: HashMap<(NodeId, IpAddr), Vec<u64>>,
    by_time: BTreeSet<(Duration, u64)>,
    addresses: HashMap<IpAddr, usize>,
    next: u64,
    back: usize,
}

impl Asks {
    fn insert(&mut self, ask: Ask) -> u64 {
        self.next += 1;
        let id = self.next;
        self.by_node.entry(ask.key()).or_default().push(id);
        self.by_time.insert((ask.deadline, id));
        *self.addresses.entry(ask.node.ip()).or_default() += 1;
        self.back += usize::from(ask.why == Why::Back);
        self.all.insert(id, ask);
        id
    }

    fn remove(&mut self, id: u64) -> Option<Ask> {
        let ask = self.all.remove(&id)?;
        self.by_time.remove(&(ask.deadline, id));
        if let Some(ids) = self.by_node.get_mut(&ask.key()) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_node.remove(&ask.key());
            }
        }
        if let Some(count) = self.addresses.get_mut(&ask.node.ip()) {
            *count -= 1;
            if *count == 0 {
                self.addresses.remove(&ask.node.ip());
            }
        }
        self.back -= usize::from(ask.why == Why::Back);
        Some(ask)
    }

    fn set(&mut self, id: u64, stage: Stage, deadline: Duration) {
        if let Some(ask) = self.all.get_mut(&id) {
            self.by_time.remove(&(ask.deadline, id));
            (ask.stage, ask.deadline) = (stage, deadline);
            self.by_time.insert((deadline, id));
        }
    }

    /// The first of a node's requests that fits.
    fn find(&self, key: &(NodeId, IpAddr), fits: impl Fn(&Ask) -> bool) -> Option<u64> {
        let ids = self.by_node.get(key)?;
        ids.iter().copied().find(|id| self.all.get(id).is_some_and(&fits))
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// A request whose time is over; its deadline is to be set anew, or it removed.
    pub(super) fn pop_due(&mut self, now: Duration) -> Option<u64> {
        self.by_time.first().filter(|(at, _)| *at <= now).map(|(_, id)| *id)
    }

    /// Whether a packet from an address may answer something.
    pub(super) fn awaits(&self, ip: IpAddr) -> bool {
        self.at(ip) > 0
    }

    /// Requests under way to an address.
    fn at(&self, ip: IpAddr) -> usize {
        self.addresses.get(&ip).copied().unwrap_or(0)
    }

    pub(super) fn is_pinging(&self, id: &NodeId, ip: IpAddr) -> bool {
        self.find(&(*id, ip), |ask| matches!(ask.stage, Stage::Pong(_))).is_some()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.all.len(), self.by_time.len());
        assert_eq!(self.all.len(), self.by_node.values().map(Vec::len).sum::<usize>());
        self.all.len()
    }
}

impl State {
    /// Starts a request. When there are too many, or the address is not allowed, it fails at once.
    pub(super) fn ask(&mut self, node: Node, goal: Goal, why: Why, now: Now) {
        let crowded = || self.asks.at(node.ip()) >= MAX_BACK_EACH && !self.db.knows_address(node.ip());
        let full = self.asks.all.len() >= MAX_ASKS
            || (why == Why::Back && (self.asks.back >= MAX_BACK || crowded()));
        let told = matches!(why, Why::Lookup(_) | Why::Check);
        let full = full || (told && self.is_silent(node.ip(), now));
        let (stage, deadline) = (Stage::TheirPing, now.mono);
        let ask = Ask { node, goal, why, stage, deadline, sent: now.mono, tries: 0, got: Vec::new() };
        if full || !self.allows(ask.node.ip()) || ask.node.id() == self.own || ask.node.udp().port() == 0 {
            self.failed(ask, now);
            return;
        }
        let (node, ip) = (ask.node.id(), ask.node.ip());
        let bonded = self.db.is_proven(&node, ip, now) && self.db.has_pinged(&node, ip, now);
        let id = self.asks.insert(ask);
        if goal != Goal::Ping && bonded {
            self.send_request(id, now);
        } else {
            self.send_ping(id, now);
        }
    }

    /// Whether nobody at an address that others told of has answered, a moment ago and ever: it may be a victim's.
    fn is_silent(&self, ip: IpAddr, now: Now) -> bool {
        let since = self.silent.get(&ip).filter(|_| !self.db.knows_address(ip) && !is_lan(ip));
        since.is_some_and(|since| now.mono.saturating_sub(*since) < SILENCE)
    }

    fn send_ping(&mut self, id: u64, now: Now) {
        let Some(ask) = self.asks.all.get_mut(&id) else { return };
        ask.tries += 1;
        ask.sent = now.mono;
        let (to, why) = (ask.node.udp(), ask.why);
        let there = Endpoint::new(to, ask.node.tcp().map_or(0, |at| at.port()));
        let ping =
            Packet::Ping { from: self.local, to: there, expiration: Self::expiration(now), seq: self.seq() };
        let (bytes, hash) = ping.encode(&*self.identity);
        if why == Why::Back && !self.spend(to, bytes.len()) {
            self.asks.remove(id);
            return;
        }
        self.asks.set(id, Stage::Pong(hash), now.mono + TIMEOUT);
        self.send(to, bytes);
    }

    fn send_request(&mut self, id: u64, now: Now) {
        let Some(ask) = self.asks.all.get(&id) else { return };
        let (goal, to, key) = (ask.goal, ask.node.udp(), ask.key());
        let expiration = Self::expiration(now);
        let packet = match goal {
            Goal::Ping => return,
            Goal::Record => Packet::EnrRequest { expiration },
            Goal::Nodes(target) => {
                let out = |ask: &Ask| matches!((ask.goal, ask.stage), (Goal::Nodes(_), Stage::Reply(_)));
                if self.asks.find(&key, out).is_some() {
                    self.asks.set(id, Stage::Waiting, now.mono + TURN);
                    return;
                }
                Packet::FindNode { target, expiration }
            }
        };
        if let Some(ask) = self.asks.all.get_mut(&id) {
            ask.tries = ask.tries.max(1);
        }
        let (bytes, hash) = packet.encode(&*self.identity);
        self.asks.set(id, Stage::Reply(hash), now.mono + TIMEOUT);
        self.send(to, bytes);
    }

    /// A node answers the ping that it was just sent, so it is there; but by our clock its answer is over, or of a far future.
    pub(super) fn on_other_time(&mut self, id: NodeId, ip: IpAddr, ping: Hash) {
        let asked = self.asks.find(&(id, ip), |ask| ask.stage == Stage::Pong(ping)).is_some();
        if !asked || self.contradicting.len() >= CLOCK_CONTRADICTED || !self.contradicting.insert(id) {
            return;
        }
        if self.contradicting.len() == CLOCK_CONTRADICTED {
            self.actions.push_back(Action::ClockDoubt);
        }
    }

    pub(super) fn on_pong(
        &mut self,
        id: NodeId,
        from: SocketAddr,
        to: Endpoint,
        ping: Hash,
        seq: u64,
        now: Now,
    ) {
        let key = (id, from.ip());
        let Some(ask_id) = self.asks.find(&key, |ask| ask.stage == Stage::Pong(ping)) else {
            self.counters.unsolicited += 1;
            return;
        };
        self.timeouts_in_a_row = 0;
        self.contradicting.clear();
        let Some(ask) = self.asks.all.get(&ask_id) else { return };
        let (node, goal, why, rtt) = (ask.node.clone(), ask.goal, ask.why, now.mono.saturating_sub(ask.sent));
        self.prove(&node, now);
        if to.udp != 0 {
            self.actions
                .push_back(Action::Stated { by: from.ip(), endpoint: SocketAddr::new(to.ip, to.udp) });
        }
        if let Why::Lookup(lookup) = why {
            self.lookup_alive(lookup, &id);
        }
        if goal != Goal::Ping {
            if self.db.has_pinged(&id, from.ip(), now) {
                self.send_request(ask_id, now);
            } else {
                self.asks.set(ask_id, Stage::TheirPing, now.mono + TIMEOUT);
            }
            return;
        }
        self.asks.remove(ask_id);
        match why {
            Why::Check => {
                self.table.answered(&id, None, &mut self.rng);
                let known = self.table.get(&id).map_or(0, Node::seq);
                if seq > known {
                    self.ask(node, Goal::Record, Why::Renew, now);
                }
            }
            Why::Op(op) => self.done(op, Outcome::Pong { seq, rtt }),
            _ => {}
        }
    }

    /// A node has pinged us and was answered: it holds a proof of ours now.
    pub(super) fn they_pinged(&mut self, id: &NodeId, ip: IpAddr, now: Now) {
        while let Some(ask) = self.asks.find(&(*id, ip), |ask| ask.stage == Stage::TheirPing) {
            self.send_request(ask, now);
        }
    }

    pub(super) fn on_neighbours(&mut self, id: NodeId, from: IpAddr, told: &[Neighbour], now: Now) {
        let waits = |ask: &Ask| matches!((ask.goal, ask.stage), (Goal::Nodes(_), Stage::Reply(_)));
        let Some(ask_id) = self.asks.find(&(id, from), waits) else {
            self.counters.unsolicited += 1;
            return;
        };
        self.timeouts_in_a_row = 0;
        let mut good = Vec::new();
        for one in told {
            let (ip, port) = (one.endpoint.ip, one.endpoint.udp);
            let fits = port > LOW_PORTS && may_relay(from, ip) && self.allows(ip);
            match fits.then(|| self.met.node(one, |key| self.identity.is_key(key))).flatten() {
                Some(node) => good.push(node),
                None => self.counters.bad_neighbours += 1,
            }
        }
        let Some(ask) = self.asks.all.get_mut(&ask_id) else { return };
        for node in good {
            if ask.got.len() < BUCKET_SIZE
                && node.id() != self.own
                && ask.got.iter().all(|n| n.id() != node.id())
            {
                ask.got.push(node);
            }
        }
        // Sixteen are sent as twelve and four, in any order of arrival; any other number comes in one packet.
        let more = told.len() >= NEIGHBOURS_PER_PACKET || told.len() <= BUCKET_SIZE - NEIGHBOURS_PER_PACKET;
        if told.is_empty() || ask.got.len() >= BUCKET_SIZE || !more {
            self.reply_is_complete(ask_id, now);
        } else {
            let (stage, until) = (ask.stage, ask.deadline.min(now.mono + GRACE));
            self.asks.set(ask_id, stage, until);
        }
    }

    fn reply_is_complete(&mut self, ask_id: u64, now: Now) {
        let Some(ask) = self.asks.remove(ask_id) else { return };
        let (id, ip) = ask.key();
        if !ask.got.is_empty() {
            self.db.set_fails(&id, ip, Version::V4, 0);
        }
        for node in &ask.got {
            self.table.heard(node.clone());
        }
        self.next_in_line(&(id, ip), now);
        match ask.why {
            Why::Lookup(lookup) => self.lookup_answered(lookup, &id, ask.got, now),
            Why::Op(op) => self.done(op, Outcome::Nodes(ask.got)),
            _ => {}
        }
    }

    /// The next findnode that waits for its turn.
    fn next_in_line(&mut self, key: &(NodeId, IpAddr), now: Now) {
        if let Some(next) = self.asks.find(key, |ask| ask.stage == Stage::Waiting) {
            self.send_request(next, now);
        }
    }

    pub(super) fn on_enr_response(
        &mut self,
        id: NodeId,
        from: IpAddr,
        request: &Hash,
        bytes: &[u8],
        now: Now,
    ) {
        let waits = |ask: &Ask| ask.goal == Goal::Record && ask.stage == Stage::Reply(*request);
        let Some(ask_id) = self.asks.find(&(id, from), waits) else {
            self.counters.unsolicited += 1;
            return;
        };
        self.timeouts_in_a_row = 0;
        let Some(ask) = self.asks.remove(ask_id) else { return };
        let Ok(record) = packet::record_of(bytes, &id) else {
            self.counters.bad_records += 1;
            self.failed(ask, now);
            return;
        };
        let record = Arc::new(record);
        self.db.set_record(&id, &record);
        let node = ask.node.with_record(record.clone());
        // The record may name another address: the table checks that one before it counts. One that names none,
        // or none that we may talk to, changes nothing but the record.
        let named =
            Node::from_record(record).filter(|named| self.allows(named.ip()) && may_relay(from, named.ip()));
        self.table.renewed(named.unwrap_or_else(|| node.clone()));
        self.actions.push_back(Action::Record(node.clone()));
        match ask.why {
            Why::Op(op) | Why::Resolve(op, _) => self.done(op, Outcome::Record(node)),
            _ => {}
        }
    }

    pub(super) fn ask_timed_out(&mut self, id: u64, now: Now) {
        let Some(ask) = self.asks.all.get(&id) else { return };
        match ask.stage {
            Stage::TheirPing => return self.send_request(id, now),
            Stage::Reply(_) if !ask.got.is_empty() => return self.reply_is_complete(id, now),
            Stage::Pong(_) | Stage::Reply(_) | Stage::Waiting => {}
        }
        self.counters.timeouts += 1;
        self.timeouts_in_a_row += 1;
        if self.timeouts_in_a_row == CLOCK_DOUBT {
            self.actions.push_back(Action::ClockDoubt);
        }
        let (key, tries, why) = (ask.key(), ask.tries, ask.why);
        if tries < why.tries() && ask.stage != Stage::Waiting {
            // From the start: it may have forgotten the proof.
            self.send_ping(id, now);
            if let Why::Lookup(lookup) = why {
                self.lookup_is_slow(lookup, &key.0, now);
            }
        } else if let Some(ask) = self.asks.remove(id) {
            self.failed(ask, now);
        }
        self.next_in_line(&key, now);
    }

    /// A request has ended without an answer.
    fn failed(&mut self, ask: Ask, now: Now) {
        let (id, ip) = ask.key();
        if matches!((ask.goal, ask.stage), (Goal::Nodes(_), Stage::Reply(_) | Stage::Pong(_))) {
            let fails = self.db.fails(&id, ip, Version::V4).saturating_add(1);
            self.db.set_fails(&id, ip, Version::V4, fails);
            if fails >= MAX_FAILS {
                self.table.drop_unhelpful(&id, &mut self.rng);
            }
        }
        match ask.why {
            Why::Check => {
                self.table.failed(&id, &mut self.rng);
            }
            Why::Lookup(lookup) => {
                if matches!(ask.stage, Stage::Pong(_)) {
                    *self.silent.touch(ip, || now.mono) = now.mono;
                }
                self.lookup_failed(lookup, &id, now);
            }
            Why::Op(op) => self.done(op, Outcome::Failed),
            Why::Resolve(op, looked_up) => self.not_resolved(op, ask.node, looked_up, now),
            Why::Back | Why::Renew => {}
        }
    }
}
