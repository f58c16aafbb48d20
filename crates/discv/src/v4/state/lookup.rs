//! Lookups: the nodes nearest to a key's id, found by asking ever nearer ones.
//!
//! ```text
//!   candidates by distance:  answered  asking  asking  new  new …   (failed ones are passed over)
//!                            └──────── nearest 16: all are asked ────────┘
//!   ended when the nearest 16 that did not fail have all answered
//! ```
//! A node that did not answer its first packet no longer counts as one of the three that are asked at a time, so a
//! lookup goes on while it is asked again.
//!
//! Limits: [`MAX_LOOKUPS`] at once; of one lookup 64 candidates and [`MAX_ASKED`] nodes asked, two candidates
//! of one address unless it is local: a lookup fed with made-up nodes ends, and cannot aim many packets at a victim.

use super::ask::{Goal, Why};
use super::{Action, Op, Outcome, State};
use crate::addr::is_lan;
use crate::hash::HashSet;
use crate::node::{Node, NodeId};
use crate::table::BUCKET_SIZE;
use crate::time::Now;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

/// Nodes asked at a time.
pub const ALPHA: usize = 3;
/// Lookups under way at once; more are refused.
pub const MAX_LOOKUPS: usize = 32;
/// Nodes asked in one lookup.
pub const MAX_ASKED: usize = 128;
const MAX_CANDIDATES: usize = 64;
/// Nodes asked again and again while the lookup goes on.
const MAX_SLOW: usize = 13;
const PER_ADDRESS: usize = 2;
/// Candidates for the caller that are kept.
const MAX_FOUND: usize = 64;
/// Pause between two lookups of random keys (go-ethereum p2p/discover/lookup.go).
const WALK_PAUSE: Duration = Duration::from_secs(1);

/// What a lookup is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Refresh,
    Walk,
    Op(Op),
    Resolve(Op, NodeId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    New,
    Asking,
    /// Its first packet went unanswered.
    Slow,
    Answered,
    Failed,
}

#[derive(Debug)]
struct Candidate {
    distance: [u8; 32],
    /// The node's, beside it: candidates are searched for ids and counted by address all the time.
    id: NodeId,
    ip: IpAddr,
    node: Node,
    progress: Progress,
    /// It has answered something.
    alive: bool,
}

#[derive(Debug)]
struct Lookup {
    target: [u8; 64],
    target_id: NodeId,
    purpose: Purpose,
    /// Nearest first.
    candidates: Vec<Candidate>,
    /// Only ever asked for an id.
    seen: HashSet<NodeId>,
    asked: usize,
}

impl Lookup {
    fn add(&mut self, node: Node) {
        let (id, ip) = (node.id(), node.ip());
        if !self.seen.insert(id) {
            return;
        }
        let alike = |c: &&Candidate| c.ip == ip;
        if !is_lan(ip) && self.candidates.iter().filter(alike).count() >= PER_ADDRESS {
            return;
        }
        let distance = id.distance(&self.target_id);
        let at = self.candidates.partition_point(|c| c.distance < distance);
        let candidate = Candidate { distance, id, ip, node, progress: Progress::New, alive: false };
        self.candidates.insert(at, candidate);
        if self.candidates.len() > MAX_CANDIDATES
            && let Some(far) =
                self.candidates.iter().rposition(|c| matches!(c.progress, Progress::New | Progress::Failed))
        {
            self.candidates.remove(far);
        }
    }

    fn nearest(&mut self) -> impl Iterator<Item = &mut Candidate> {
        self.candidates.iter_mut().filter(|c| c.progress != Progress::Failed).take(BUCKET_SIZE)
    }

    fn count(&self, progress: Progress) -> usize {
        self.candidates.iter().filter(|c| c.progress == progress).count()
    }

    /// The next node to ask.
    fn next(&mut self) -> Option<Node> {
        if self.asked >= MAX_ASKED
            || self.count(Progress::Asking) >= ALPHA
            || self.count(Progress::Slow) >= MAX_SLOW
        {
            return None;
        }
        let next = self.nearest().find(|c| c.progress == Progress::New)?;
        next.progress = Progress::Asking;
        let node = next.node.clone();
        self.asked += 1;
        Some(node)
    }

    fn set(&mut self, id: &NodeId, progress: Progress) {
        let candidate = self.candidates.iter_mut().find(|c| c.id == *id);
        candidate.into_iter().for_each(|c| c.progress = progress);
    }

    fn is_over(&mut self) -> bool {
        let waits = |c: &mut Candidate| matches!(c.progress, Progress::Asking | Progress::Slow);
        let spent = self.asked >= MAX_ASKED;
        self.nearest().all(|c| c.progress == Progress::Answered || (spent && !waits(c)))
    }
}

/// Lookups under way, and what random ones found.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    all: BTreeMap<u64, Lookup>,
    next: u64,
    found: VecDeque<Node>,
    /// The caller has asked for candidates since the last were found.
    wanted: bool,
    walking: bool,
    walk_at: Duration,
}

impl Lookups {
    pub(super) fn next_walk(&self) -> Option<Duration> {
        (self.wanted && !self.walking).then_some(self.walk_at)
    }
}

impl State {
    /// Starts a lookup; false when too many are under way.
    pub(super) fn start_lookup(&mut self, target: [u8; 64], purpose: Purpose, now: Now) -> bool {
        if self.lookups.all.len() >= MAX_LOOKUPS {
            self.lookup_ended(purpose, Vec::new(), now);
            return false;
        }
        self.counters.lookups += 1;
        let target_id = NodeId::of_key(&target);
        let seen = HashSet::from_iter([self.own]);
        let mut lookup = Lookup { target, target_id, purpose, candidates: Vec::new(), seen, asked: 0 };
        self.table.closest(&target_id, BUCKET_SIZE).into_iter().for_each(|node| lookup.add(node));
        if lookup.candidates.is_empty() {
            self.config.bootstrap.iter().for_each(|node| lookup.add(node.clone()));
        }
        self.lookups.next += 1;
        let id = self.lookups.next;
        self.lookups.all.insert(id, lookup);
        self.step(id, now);
        true
    }

    fn step(&mut self, id: u64, now: Now) {
        while let Some(lookup) = self.lookups.all.get_mut(&id)
            && let Some(node) = lookup.next()
        {
            let target = lookup.target;
            // A failure at once comes back here; it takes the node out, so this ends.
            self.ask(node, Goal::Nodes(target), Why::Lookup(id), now);
        }
        if self.lookups.all.get_mut(&id).is_some_and(Lookup::is_over)
            && let Some(lookup) = self.lookups.all.remove(&id)
        {
            let good = lookup.candidates.into_iter().filter(|c| c.progress != Progress::Failed || c.alive);
            let nodes = good.take(BUCKET_SIZE).map(|c| c.node).collect();
            self.lookup_ended(lookup.purpose, nodes, now);
        }
    }

    pub(super) fn lookup_answered(&mut self, id: u64, from: &NodeId, nodes: Vec<Node>, now: Now) {
        if let Some(lookup) = self.lookups.all.get_mut(&id) {
            lookup.set(from, Progress::Answered);
            nodes.into_iter().for_each(|node| lookup.add(node));
            self.step(id, now);
        }
    }

    pub(super) fn lookup_alive(&mut self, id: u64, from: &NodeId) {
        if let Some(lookup) = self.lookups.all.get_mut(&id) {
            let candidate = lookup.candidates.iter_mut().find(|c| c.id == *from);
            candidate.into_iter().for_each(|c| c.alive = true);
        }
    }

    pub(super) fn lookup_is_slow(&mut self, id: u64, from: &NodeId, now: Now) {
        if let Some(lookup) = self.lookups.all.get_mut(&id) {
            lookup.set(from, Progress::Slow);
            self.step(id, now);
        }
    }

    pub(super) fn lookup_failed(&mut self, id: u64, from: &NodeId, now: Now) {
        if let Some(lookup) = self.lookups.all.get_mut(&id) {
            // One that answered a ping is there, though it told of nobody.
            let alive = lookup.candidates.iter().any(|c| c.id == *from && c.alive);
            lookup.set(from, if alive { Progress::Answered } else { Progress::Failed });
            self.step(id, now);
        }
    }

    fn lookup_ended(&mut self, purpose: Purpose, nodes: Vec<Node>, now: Now) {
        match purpose {
            Purpose::Refresh => self.refresh_goes_on(now),
            Purpose::Op(op) => self.done(op, Outcome::Nodes(nodes)),
            Purpose::Walk => {
                self.lookups.walking = false;
                let before = self.lookups.found.len();
                for node in nodes {
                    if self.lookups.found.len() < MAX_FOUND {
                        self.lookups.found.push_back(node);
                    }
                }
                if before == 0 && !self.lookups.found.is_empty() {
                    self.lookups.wanted = false;
                    self.actions.push_back(Action::Candidates);
                }
            }
            Purpose::Resolve(op, id) => match nodes.into_iter().find(|node| node.id() == id) {
                Some(node) => self.ask(node, Goal::Record, Why::Resolve(op, true), now),
                None => self.done(op, Outcome::Failed),
            },
        }
    }

    /// Looks for the nodes nearest to a key's id: [`Outcome::Nodes`], without any when too many lookups are under way.
    pub fn lookup(&mut self, target: [u8; 64], now: Now) -> Op {
        let op = self.op();
        self.start_lookup(target, Purpose::Op(op), now);
        op
    }

    /// Finds a node's newest record: asks the node where it is believed to be, and where a lookup finds it if it does not
    /// answer. [`Outcome::Record`], whose address is where it answered, or [`Outcome::Failed`].
    pub fn resolve(&mut self, node: Node, now: Now) -> Op {
        let op = self.op();
        let known = self.table.get(&node.id()).cloned().unwrap_or(node);
        self.ask(known, Goal::Record, Why::Resolve(op, false), now);
        op
    }

    pub(super) fn not_resolved(&mut self, op: Op, node: Node, looked_up: bool, now: Now) {
        if looked_up {
            self.done(op, Outcome::Failed);
        } else {
            self.start_lookup(*node.key(), Purpose::Resolve(op, node.id()), now);
        }
    }

    /// A node to connect to, from lookups of random keys, which run only while candidates are asked for. `None`
    /// means that there are none yet: [`Action::Candidates`] tells when there are.
    pub fn next_candidate(&mut self, now: Now) -> Option<Node> {
        let next = self.lookups.found.pop_front();
        if next.is_none() {
            self.lookups.wanted = true;
            self.walk(now);
        }
        next
    }

    /// Starts a lookup of a random key, if one is wanted and due.
    pub(super) fn walk(&mut self, now: Now) {
        if self.lookups.next_walk().is_some_and(|at| at <= now.mono) {
            self.lookups.walking = true;
            self.lookups.walk_at = now.mono + WALK_PAUSE;
            let target = self.random_target();
            self.start_lookup(target, Purpose::Walk, now);
        }
    }
}
