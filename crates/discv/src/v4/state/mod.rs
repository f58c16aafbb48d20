//! What a node of discv4 answers, asks and remembers. No socket, no clock: packets and time are passed in.
//!
//! ```text
//!   ping from a stranger ─▶ pong, ping back ──pong──▶ proof of (id, address), 24 h ─▶ table
//!   findnode, enr-request: answered only to who is proven; else silence
//!
//!   own request:   proven, and pinged us within 24 h? ──yes──────────────────────▶ request ─▶ answer
//!                       └─no─▶ ping ─▶ pong ─▶ their ping, or 500 ms ─▶ request
//!   lookup:        3 requests at a time to the nearest 16 that were not asked, until all 16 have answered
//!   refresh:       start nodes and remembered nodes, lookup of ourselves, 3 random lookups
//! ```
//!
//! Limits: what a packet may cost is judged before its signature is ([`Rates`]). Strangers share one budget, so that a
//! flood of theirs takes nothing from nodes that have proven their address; each of those has one of its own. One address gets a
//! quarter of what strangers have, so that it does not keep all others from proving theirs. To an
//! address that proved nothing no more than three times the bytes go that came from it, and nothing but
//! pongs and pings. [`MAX_ASKS`] requests and [`MAX_LOOKUPS`] lookups are under way at once, more are refused;
//! what is remembered of strangers stands in maps of a fixed size. What is dropped is counted ([`Counters`]).
//!
//! Does not protect from one who owns addresses in many subnets; and who can read packets on the way can answer them in
//! another's name only from its own key.

mod ask;
mod lookup;
mod met;
mod serve;
mod told;

use super::packet::{Endpoint, Framed, Packet, PacketError, Received};
use crate::addr::{is_lan, is_special};
use crate::budget::{Bucket, Rate, Recent};
use crate::identity::Identity;
use crate::node::{Node, NodeId};
use crate::nodes::NodeDb;
use crate::table::{Offered, Table, TableLimits};
use crate::time::Now;
use ask::{Asks, Goal, Why};
use lookup::Lookups;
use met::Met;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeSet, VecDeque};
use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use switchboard_enr::Record;
use told::Told;

pub use ask::MAX_ASKS;
pub use lookup::{ALPHA, MAX_ASKED, MAX_LOOKUPS};

/// How long an answer is waited for (go-ethereum p2p/discover/v4_udp.go).
pub const TIMEOUT: Duration = Duration::from_millis(500);
/// How long our packets count.
pub const EXPIRATION: u64 = 20;
/// Packets that count for longer than this are dropped: they could be kept and sent again as long.
pub const MAX_EXPIRATION: u64 = 24 * 3_600;
/// To an address that proved nothing go at most so many times the bytes that came from it.
pub const AMPLIFICATION: usize = 3;
/// Timeouts in a row after which our clock may be wrong.
pub const CLOCK_DOUBT: u32 = 32;
/// So many nodes, with no other answer between them, whose times contradict our clock.
pub const CLOCK_CONTRADICTED: usize = 4;
/// How often nodes that do not answer any more are removed from the records.
const DB_INTERVAL: Duration = Duration::from_secs(3_600);
/// Addresses whose budgets are remembered.
const MAX_ADDRESSES: usize = 4_096;
/// Sockets whose packets are tried with one key first.
const MAX_SENDERS: usize = 512;
/// Strangers whose pings are remembered.
const MAX_STRANGERS: usize = 1_024;

/// How much is done for others. Addresses of a local network are exempt where a budget is by address.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Rates {
    /// Packets from addresses that have proven nothing, all together.
    pub strangers: Rate,
    /// Of these, packets from each address, of a local network, too.
    pub each_stranger: Rate,
    /// Answers to them, all together.
    pub stranger_answers: Rate,
    /// Packets from each address that is proven.
    pub each_known: Rate,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            strangers: Rate { per_sec: 2_000, burst: 4_000 },
            each_stranger: Rate { per_sec: 500, burst: 1_000 },
            stranger_answers: Rate { per_sec: 1_000, burst: 2_000 },
            each_known: Rate { per_sec: 200, burst: 400 },
        }
    }
}

/// Which addresses discovery may talk to.
#[derive(Clone)]
pub struct Allow(pub Arc<dyn Fn(IpAddr) -> bool + Send + Sync>);

impl Debug for Allow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Allow(…)")
    }
}

/// What a node is set up with.
#[derive(Debug)]
#[non_exhaustive]
pub struct Config {
    /// Nodes to begin with.
    pub bootstrap: Vec<Node>,
    /// Addresses to talk to; all without it.
    pub allow: Option<Allow>,
    /// Limits of the table.
    pub table: TableLimits,
    /// Budgets.
    pub rates: Rates,
    /// Longest time between two refreshes; a young table is refreshed more often.
    pub refresh: Duration,
    /// What all random choices come from.
    pub seed: [u8; 32],
}

impl Config {
    /// Changes some of it.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// The network's usual numbers.
    #[must_use]
    pub fn new(bootstrap: Vec<Node>, seed: [u8; 32]) -> Self {
        let refresh = Duration::from_secs(30 * 60);
        Self { bootstrap, allow: None, table: TableLimits::default(), rates: Rates::default(), refresh, seed }
    }
}

/// Something that was asked for by the caller, until [`Action::Done`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Op(pub u64);

/// How something that was asked for ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The node answered a ping; the sequence number of its record, 0 for none.
    Pong {
        /// Sequence number of its record.
        seq: u64,
        /// From the ping that was answered to its pong.
        rtt: Duration,
    },
    /// Nodes that a node told of, or that a lookup found, nearest first.
    Nodes(Vec<Node>),
    /// The node, with its record.
    Record(Node),
    /// No answer, or none of use.
    Failed,
}

/// What the caller is to do, or may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send a packet.
    Send {
        /// Where to.
        to: SocketAddr,
        /// The packet.
        bytes: Vec<u8>,
    },
    /// What was asked for has ended.
    Done {
        /// What [`State::ping`] and its like gave.
        op: Op,
        /// How.
        outcome: Outcome,
    },
    /// A proven node says where our packets come from: for the own record's prediction.
    Stated {
        /// Its address.
        by: IpAddr,
        /// What it sees.
        endpoint: SocketAddr,
    },
    /// A node in the table has proven its address for the first time.
    Added(Node),
    /// A node's record was fetched.
    Record(Node),
    /// [`State::next_candidate`], which had nothing, has some now.
    Candidates,
    /// So many nodes answered with a time that is not ours, or so many requests in a row went unanswered, that our clock may be
    /// wrong.
    ClockDoubt,
}

/// What was received and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)] // the names say it
pub struct Counters {
    pub pings: u64,
    pub pongs: u64,
    pub find_nodes: u64,
    pub neighbours: u64,
    pub enr_requests: u64,
    pub enr_responses: u64,
    pub sent: u64,
    pub sent_bytes: u64,
    /// Dropped: over a budget.
    pub over_budget: u64,
    /// Dropped: address that we do not talk to, or our own key.
    pub not_allowed: u64,
    /// Dropped: malformed, or of no known kind.
    pub malformed: u64,
    /// Dropped: nobody's signature.
    pub bad_signatures: u64,
    /// Dropped: over its expiration, or one too far away.
    pub expired: u64,
    /// Dropped: a request of one who has not proven its address.
    pub unproven: u64,
    /// Dropped: an answer that nobody asked for, or from elsewhere.
    pub unsolicited: u64,
    /// Neighbours that cannot be meant.
    pub bad_neighbours: u64,
    /// Records that are not the answering node's.
    pub bad_records: u64,
    /// Requests of ours without an answer.
    pub timeouts: u64,
    /// Lookups that were started.
    pub lookups: u64,
}

/// What came of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It was one of discv4.
    Ours,
    /// It was not: another protocol on the same port may know it.
    Foreign,
}

/// When the table is refreshed.
#[derive(Debug)]
struct Refresh {
    at: Duration,
    /// How long to wait after the next one; grows until the configured time.
    pause: Duration,
    /// Lookups of the refresh under way that are still to come.
    left: Option<u32>,
}

/// A node of discv4.
#[derive(Debug)]
pub struct State {
    identity: Arc<dyn Identity>,
    own: NodeId,
    config: Config,
    local: Endpoint,
    record: Option<Arc<Record>>,
    table: Table,
    db: NodeDb,
    rng: ChaCha8Rng,
    asks: Asks,
    lookups: Lookups,
    told: Told,
    met: Met,
    refresh: Refresh,
    db_at: Duration,
    /// When those who have not proven their address last pinged us.
    pinged: Recent<(NodeId, IpAddr), u64>,
    /// Bytes that may go to addresses that proved nothing.
    allowance: Recent<IpAddr, usize>,
    known: Recent<IpAddr, Bucket>,
    /// Who last proved a socket to be its own, and so is probably who signed the next packet from there.
    senders: Recent<SocketAddr, Node>,
    /// Addresses where nobody answered, and when.
    silent: Recent<IpAddr, Duration>,
    strangers: Bucket,
    each_stranger: Recent<IpAddr, Bucket>,
    stranger_answers: Bucket,
    timeouts_in_a_row: u32,
    /// Nodes that answered a ping with a time that is over, or too far away; emptied by every other answer.
    contradicting: BTreeSet<NodeId>,
    next_op: u64,
    actions: VecDeque<Action>,
    counters: Counters,
}

impl State {
    /// A node that knows nobody yet: the first [`State::wake`] starts it.
    #[must_use]
    pub fn new(identity: Arc<dyn Identity>, local: Endpoint, db: NodeDb, config: Config, now: Now) -> Self {
        let own = NodeId::of_key(&identity.public());
        Self {
            own,
            local,
            record: None,
            table: Table::new(own, config.table),
            db,
            rng: ChaCha8Rng::from_seed(config.seed),
            asks: Asks::default(),
            lookups: Lookups::default(),
            told: Told::default(),
            met: Met::default(),
            refresh: Refresh { at: now.mono, pause: Duration::from_secs(5), left: None },
            db_at: now.mono + DB_INTERVAL,
            pinged: Recent::new(MAX_STRANGERS),
            allowance: Recent::new(MAX_ADDRESSES),
            known: Recent::new(MAX_ADDRESSES),
            senders: Recent::new(MAX_SENDERS),
            silent: Recent::new(MAX_ADDRESSES),
            strangers: Bucket::default(),
            each_stranger: Recent::new(MAX_STRANGERS),
            stranger_answers: Bucket::default(),
            timeouts_in_a_row: 0,
            contradicting: BTreeSet::new(),
            next_op: 0,
            actions: VecDeque::new(),
            counters: Counters::default(),
            identity,
            config,
        }
    }

    /// Sets what we say of ourselves: where we believe to be, and our record.
    pub fn set_local(&mut self, local: Endpoint, record: Option<Arc<Record>>) {
        (self.local, self.record) = (local, record);
    }

    /// Our id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.own
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The node records.
    pub fn db(&mut self) -> &mut NodeDb {
        &mut self.db
    }

    /// What was received and what became of it.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The next thing to do. Ask until there is none, after each call that changes something.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`State::wake`] wants to be called next.
    #[must_use]
    pub fn next_wake(&self) -> Duration {
        let refresh = self.refresh.left.is_none().then_some(self.refresh.at);
        let times = [refresh, self.asks.next_deadline(), self.table.next_due(), self.lookups.next_walk()];
        times.into_iter().flatten().chain([self.db_at]).min().unwrap_or(self.db_at)
    }

    /// Does what is due.
    pub fn wake(&mut self, now: Now) {
        while let Some(id) = self.asks.pop_due(now.mono) {
            self.ask_timed_out(id, now);
        }
        if self.db_at <= now.mono {
            self.db_at = now.mono + DB_INTERVAL;
            self.db.expire(now);
        }
        if self.refresh.left.is_none() && self.refresh.at <= now.mono {
            self.start_refresh(now);
        }
        while let Some(node) = self.table.due(now.mono, &mut self.rng) {
            self.ask(node, Goal::Ping, Why::Check, now);
        }
        self.walk(now);
    }

    /// Takes a packet.
    pub fn receive(&mut self, now: Now, from: SocketAddr, bytes: &[u8]) -> Taken {
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        let Some(framed) = Framed::read(bytes, &*self.identity) else { return Taken::Foreign };
        if !self.allows(from.ip()) || from.port() == 0 {
            self.counters.not_allowed += 1;
        } else if !self.has_budget(from.ip(), now) {
            self.counters.over_budget += 1;
        } else {
            let probably = self.senders.touched(&from).map(|node| &*node);
            match framed.open(&*self.identity, probably) {
                Ok(received) => self.handle(received, from, bytes.len(), now),
                Err(PacketError::Signature) => self.counters.bad_signatures += 1,
                Err(_) => self.counters.malformed += 1,
            }
        }
        Taken::Ours
    }

    fn allows(&self, ip: IpAddr) -> bool {
        !is_special(ip) && self.config.allow.as_ref().is_none_or(|allow| allow.0(ip))
    }

    /// Whether a packet from an address may cost us the work of its signature.
    fn has_budget(&mut self, ip: IpAddr, now: Now) -> bool {
        let known = self.db.knows_address(ip);
        if !known && !self.asks.awaits(ip) {
            let rates = self.config.rates;
            return self.each_stranger.touch(ip, Bucket::default).take(rates.each_stranger, now.mono)
                && self.strangers.take(rates.strangers, now.mono);
        }
        // An address that was only asked for a proof may still be anybody's, also in a local network.
        known && is_lan(ip)
            || self.known.touch(ip, Bucket::default).take(self.config.rates.each_known, now.mono)
    }

    fn handle(&mut self, received: Received, from: SocketAddr, len: usize, now: Now) {
        if received.id == self.own {
            self.counters.not_allowed += 1;
            return;
        }
        let expiration = received.packet.expiration().unwrap_or(now.unix);
        if expiration < now.unix || expiration > now.unix.saturating_add(MAX_EXPIRATION) {
            self.counters.expired += 1;
            if let Packet::Pong { ping, .. } = received.packet {
                self.on_other_time(received.id, from.ip(), ping);
            }
            return;
        }
        let Received { key, id, hash, packet } = received;
        match packet {
            Packet::Ping { from: said, .. } => {
                self.counters.pings += 1;
                let node = Node::identified(id, key, from.ip(), from.port(), said.tcp);
                self.on_ping(node, hash, len, now);
            }
            Packet::Pong { to, ping, seq, .. } => {
                self.counters.pongs += 1;
                self.on_pong(id, from, to, ping, seq.unwrap_or(0), now);
            }
            Packet::FindNode { target, .. } => {
                self.counters.find_nodes += 1;
                self.on_find_node(id, from, &target, now);
            }
            Packet::Neighbours { nodes, .. } => {
                self.counters.neighbours += 1;
                self.on_neighbours(id, from.ip(), &nodes, now);
            }
            Packet::EnrRequest { .. } => {
                self.counters.enr_requests += 1;
                self.on_enr_request(id, from, hash, now);
            }
            Packet::EnrResponse { request, record } => {
                self.counters.enr_responses += 1;
                self.on_enr_response(id, from.ip(), &request, &record, now);
            }
        }
    }

    fn send(&mut self, to: SocketAddr, bytes: Vec<u8>) {
        self.counters.sent += 1;
        self.counters.sent_bytes += bytes.len() as u64;
        self.actions.push_back(Action::Send { to, bytes });
    }

    fn expiration(now: Now) -> u64 {
        now.unix.saturating_add(EXPIRATION)
    }

    fn seq(&self) -> Option<u64> {
        self.record.as_ref().map(|record| record.seq())
    }

    /// A node has answered a ping from its address.
    fn prove(&mut self, node: &Node, now: Now) {
        let Self { db, table, .. } = self;
        db.ponged(node, now, &mut |id| table.get(id).is_some());
        *self.senders.touch(node.udp(), || node.clone()) = node.clone();
        // From here on its answers do not count against what strangers are given.
        self.allowance.remove(&node.ip());
        self.each_stranger.remove(&node.ip());
        if let Some(then) = self.pinged.remove(&(node.id(), node.ip())) {
            self.db.pinged(&node.id(), node.ip(), Now { unix: then, ..now });
        }
        // One that others told of counts as new now.
        let was_live = self.table.is_live(&node.id());
        self.table.proven(node.clone(), now.mono);
        if !was_live && self.table.is_live(&node.id()) {
            self.actions.push_back(Action::Added(node.clone()));
        }
    }

    fn done(&mut self, op: Op, outcome: Outcome) {
        self.actions.push_back(Action::Done { op, outcome });
    }

    fn op(&mut self) -> Op {
        self.next_op += 1;
        Op(self.next_op)
    }

    /// Pings a node: [`Outcome::Pong`] or [`Outcome::Failed`].
    pub fn ping(&mut self, node: Node, now: Now) -> Op {
        let op = self.op();
        self.ask(node, Goal::Ping, Why::Op(op), now);
        op
    }

    /// Asks a node for the nodes near a key's id: [`Outcome::Nodes`] or [`Outcome::Failed`].
    pub fn find_node(&mut self, node: Node, target: [u8; 64], now: Now) -> Op {
        let op = self.op();
        self.ask(node, Goal::Nodes(target), Why::Op(op), now);
        op
    }

    /// Asks a node for its record: [`Outcome::Record`] or [`Outcome::Failed`].
    pub fn request_record(&mut self, node: Node, now: Now) -> Op {
        let op = self.op();
        self.ask(node, Goal::Record, Why::Op(op), now);
        op
    }

    /// Takes a node that the caller knows of, for example from a list. It gets into the table unless its place is
    /// taken, and counts once it has answered.
    pub fn add_known(&mut self, node: Node) -> Offered {
        if !self.allows(node.ip()) {
            return Offered::Unfit;
        }
        self.table.heard(node)
    }

    /// The start nodes, those remembered, then lookups: first of ourselves, then of random keys.
    fn start_refresh(&mut self, now: Now) {
        const SEEDS: usize = 30;
        const SEED_AGE: Duration = Duration::from_secs(5 * 24 * 3_600);
        const RANDOM_LOOKUPS: u32 = 3;
        let seeds = self.db.seeds(SEEDS, SEED_AGE, now, &mut self.rng);
        let nodes: Vec<Node> = self.config.bootstrap.iter().cloned().chain(seeds).collect();
        for node in nodes {
            if self.allows(node.ip()) {
                self.table.heard(node);
            }
        }
        self.refresh.left = Some(RANDOM_LOOKUPS);
        let own = self.identity.public();
        self.start_lookup(own, lookup::Purpose::Refresh, now);
    }

    /// A lookup of the refresh has ended: the next one, or the end.
    fn refresh_goes_on(&mut self, now: Now) {
        match self.refresh.left {
            Some(left) if left > 0 && !self.table.is_empty() => {
                self.refresh.left = Some(left - 1);
                let target = self.random_target();
                self.start_lookup(target, lookup::Purpose::Refresh, now);
            }
            _ => {
                self.refresh.left = None;
                let longest = self.config.refresh;
                if self.table.is_empty() {
                    self.refresh.pause = Duration::from_secs(5);
                }
                let pause = self.refresh.pause.min(longest);
                // Half of it is random, so that nodes that were started together do not stay in step.
                self.refresh.at = now.mono + pause.mul_f64(0.5 + 0.5 * self.rng.random::<f64>());
                self.refresh.pause = (pause * 3).min(longest);
            }
        }
    }

    fn random_target(&mut self) -> [u8; 64] {
        let mut target = [0; 64];
        self.rng.fill(&mut target[..]);
        target
    }
}

#[cfg(test)]
mod tests;
