//! The table of known nodes, by distance from us, and the schedule by which they are checked.
//!
//! ```text
//!   heard of ─▶ entry, not live ──answers──▶ entry, live ──answers checks──▶ slow list (0..9 s each)
//!      │              │ fails                    │ fails: checks / 3, fast list (0..3 s each)
//!      ▼ bucket full  ▼                          ▼ 0 checks left
//!   replacements ◀────┴── a random replacement takes the place of who is removed
//! ```
//!
//! A node is *proven* when it has just answered from its address ([`Table::proven`]); what others tell is
//! *heard* ([`Table::heard`]) and never changes where a known node is, unless its own record with a higher sequence
//! number says so.
//!
//! Limits (go-ethereum p2p/discover/table.go): 17 buckets of 16 entries and 10 replacements; 2 live entries of
//! one subnet in a bucket, 10 in the table ([`crate::addr::Subnet`]; local networks are exempt). Only live entries
//! count against them, so hearsay cannot use up the room of a subnet's true nodes. Of entries that are not live, a
//! bucket holds as many of one subnet again, and a proven node takes the place of one of them when the bucket is full.
//!
//! Does not protect from one who owns addresses in many subnets.

mod bucket;

use crate::addr::{Subnets, is_special};
use crate::node::{Node, NodeId};
use bucket::{Bucket, Entry};
use rand::{Rng, RngExt};
use std::net::IpAddr;
use std::time::Duration;

/// Number of buckets.
pub const BUCKETS: usize = 17;
/// Entries in a bucket, and nodes in an answer.
pub const BUCKET_SIZE: usize = 16;
/// Replacements beside a full bucket.
pub const REPLACEMENTS: usize = 10;
/// Distances up to this share the first bucket: so near, there is hardly anyone.
pub const NEAR: u16 = 240;
/// Longest pause between two checks in the list of new and doubtful nodes.
pub const FAST_INTERVAL: Duration = Duration::from_secs(3);
/// Longest pause between two checks in the list of nodes that answered their last one.
pub const SLOW_INTERVAL: Duration = Duration::from_secs(9);
/// A node that has just proven its address is not checked for so long: it has answered already.
pub const REST: Duration = Duration::from_secs(5);
/// A check that was never told the end of is forgotten after this time.
const CHECK_LIMIT: Duration = Duration::from_secs(30);

/// How many live nodes of one subnet a table takes.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct TableLimits {
    /// In one bucket.
    pub subnet_in_bucket: usize,
    /// In all buckets.
    pub subnet_in_table: usize,
}

impl Default for TableLimits {
    fn default() -> Self {
        Self { subnet_in_bucket: 2, subnet_in_table: 10 }
    }
}

/// What became of a node that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offered {
    /// It is a new entry.
    Added,
    /// It was an entry already.
    Known,
    /// Its bucket is full: it waits there for a place.
    Waiting,
    /// Its subnet has its share of live entries.
    SubnetFull,
    /// It is us, or its address can be nobody's.
    Unfit,
}

/// The table.
#[derive(Debug)]
pub struct Table {
    own: NodeId,
    limits: TableLimits,
    buckets: [Bucket; BUCKETS],
    /// Subnets of all live entries.
    live: Subnets,
    next_fast: Duration,
    next_slow: Duration,
}

impl Table {
    /// An empty table around our own id.
    #[must_use]
    pub fn new(own: NodeId, limits: TableLimits) -> Self {
        Self {
            own,
            limits,
            buckets: Default::default(),
            live: Subnets::default(),
            next_fast: Duration::ZERO,
            next_slow: Duration::ZERO,
        }
    }

    /// The bucket an id belongs to.
    fn index(&self, id: &NodeId) -> usize {
        usize::from(self.own.log_distance(id).max(NEAR) - NEAR).min(BUCKETS - 1)
    }

    fn bucket(&self, id: &NodeId) -> &Bucket {
        let [first, ..] = &self.buckets;
        self.buckets.get(self.index(id)).unwrap_or(first)
    }

    /// Changes the bucket of an id, with what counts across all of them.
    fn change<T>(&mut self, id: &NodeId, change: impl FnOnce(&mut Bucket, &mut Live<'_>) -> T) -> T {
        let index = self.index(id);
        let mut live = Live { all: &mut self.live, limits: self.limits };
        let mut buckets = self.buckets.iter_mut();
        // `index` is below BUCKETS; the other arm takes the place of a panic that cannot be.
        let Some(bucket) = buckets.nth(index) else { unreachable!("17 buckets") };
        let changed = change(bucket, &mut live);
        bucket.plan();
        changed
    }

    /// Buckets in the order of their distance from a target: whoever is in one is nearer to it than all in the next.
    ///
    /// Bucket 1 to 16 differ from us in one of the 16 first bits, and agree in those before it. Where the target does so
    /// too, who differs there is nearer to it than we are, and the nearer the higher the bit; else farther.
    fn by_distance(&self, target: &NodeId) -> impl Iterator<Item = &Bucket> {
        let [high, low, ..] = self.own.distance(target);
        let bits = u16::from_be_bytes([high, low]);
        let differs = move |index: &usize| index.checked_sub(1).is_some_and(|bit| bits >> bit & 1 == 1);
        let nearer = (1..BUCKETS).rev().filter(differs);
        let farther = (1..BUCKETS).filter(move |index| !differs(index));
        nearer.chain([0]).chain(farther).filter_map(|index| self.buckets.get(index))
    }

    fn unfit(&self, node: &Node) -> bool {
        node.id() == self.own || is_special(node.ip()) || node.udp().port() == 0
    }

    /// Takes a node that others told of, or that a file or list names.
    pub fn heard(&mut self, node: Node) -> Offered {
        if self.unfit(&node) {
            return Offered::Unfit;
        }
        let id = node.id();
        // Most are known, and tell nothing new.
        if self.bucket(&id).get(&id).is_some_and(|entry| node.seq() <= entry.node.seq()) {
            return Offered::Known;
        }
        self.change(&id, |bucket, live| match bucket.position(&id) {
            Some(at) => {
                bucket.update_by_record(at, node, live);
                Offered::Known
            }
            None => bucket.hear(node, live),
        })
    }

    /// Takes a node that has just answered from its address. It is not checked again for [`REST`].
    pub fn proven(&mut self, node: Node, now: Duration) -> Offered {
        if self.unfit(&node) {
            return Offered::Unfit;
        }
        self.change(&node.id(), |bucket, live| bucket.prove(node, now, live))
    }

    /// The node to check now, if one is due: ping it, then call [`Table::answered`] or [`Table::failed`].
    pub fn due<R: Rng>(&mut self, now: Duration, rng: &mut R) -> Option<Node> {
        for slow in [false, true] {
            let (next, interval) = match slow {
                false => (&mut self.next_fast, FAST_INTERVAL),
                true => (&mut self.next_slow, SLOW_INTERVAL),
            };
            if *next > now {
                continue;
            }
            let free = |entry: &Entry| entry.slow == slow && entry.is_free(now);
            let due = |bucket: &&mut Bucket| bucket.soonest(slow).is_some_and(|at| at <= now);
            let counts = self.buckets.iter_mut().filter(due);
            let count = counts.map(|b| b.entries.iter().filter(|e| free(e)).count()).sum();
            if count == 0 {
                continue;
            }
            *next = now + interval.mul_f64(rng.random::<f64>());
            let mut pick = rng.random_range(0..count);
            for bucket in self.buckets.iter_mut().filter(due) {
                let here = bucket.entries.iter().filter(|e| free(e)).count();
                if let Some(entry) = bucket.entries.iter_mut().filter(|e| free(e)).nth(pick) {
                    entry.checking = Some(now);
                    let node = entry.node.clone();
                    bucket.plan();
                    return Some(node);
                }
                pick -= here.min(pick);
            }
        }
        None
    }

    /// When [`Table::due`] has something next; `None` while there is nobody to check.
    #[must_use]
    pub fn next_due(&self) -> Option<Duration> {
        let next = |slow: bool, list: Duration| {
            let soonest = self.buckets.iter().filter_map(|bucket| bucket.soonest(slow)).min();
            soonest.map(|at| at.max(list))
        };
        next(false, self.next_fast).into_iter().chain(next(true, self.next_slow)).min()
    }

    /// A checked node answered; `newer` is what its record of a higher sequence number says, if that was fetched.
    pub fn answered<R: Rng>(&mut self, id: &NodeId, newer: Option<Node>, rng: &mut R) {
        self.change(id, |bucket, live| {
            let Some(at) = bucket.position(id) else { return };
            if !bucket.answered(at, newer, live) {
                bucket.remove(at, live, rng);
            }
        });
    }

    /// An entry's newer record was fetched, and says this of it.
    pub fn renewed(&mut self, newer: Node) {
        self.change(&newer.id(), |bucket, live| {
            if let Some(at) = bucket.position(&newer.id()) {
                bucket.update_by_record(at, newer, live);
            }
        });
    }

    /// A checked node did not answer: its checks are divided by three. With none left it is removed, a random
    /// replacement takes its place, and the answer is true.
    pub fn failed<R: Rng>(&mut self, id: &NodeId, rng: &mut R) -> bool {
        self.change(id, |bucket, live| {
            let Some(at) = bucket.position(id) else { return false };
            let gone = bucket.failed(at);
            if gone {
                bucket.remove(at, live, rng);
            }
            gone
        })
    }

    /// Removes a node that fails to answer queries, if its bucket can spare it: at least a quarter is left.
    pub fn drop_unhelpful<R: Rng>(&mut self, id: &NodeId, rng: &mut R) -> bool {
        self.change(id, |bucket, live| match bucket.position(id) {
            Some(at) if bucket.entries.len() >= BUCKET_SIZE / 4 => {
                bucket.remove(at, live, rng);
                true
            }
            _ => false,
        })
    }

    /// Removes a node.
    pub fn remove<R: Rng>(&mut self, id: &NodeId, rng: &mut R) {
        self.change(id, |bucket, live| {
            if let Some(at) = bucket.position(id) {
                bucket.remove(at, live, rng);
            }
        });
    }

    /// The entry of a node.
    #[must_use]
    pub fn get(&self, id: &NodeId) -> Option<&Node> {
        self.bucket(id).get(id).map(|e| &e.node)
    }

    /// Whether a node is an entry that has answered from its address.
    #[must_use]
    pub fn is_live(&self, id: &NodeId) -> bool {
        self.bucket(id).get(id).is_some_and(|e| e.live)
    }

    /// How many checks a node has passed, less what failures took; `None` when it is no entry.
    #[must_use]
    pub fn checks(&self, id: &NodeId) -> Option<u32> {
        self.bucket(id).get(id).map(|e| e.checks)
    }

    /// The `count` entries nearest to an id, nearest first.
    #[must_use]
    pub fn closest(&self, target: &NodeId, count: usize) -> Vec<Node> {
        self.nearest(target, count, |_| true)
    }

    /// What to tell one who asks for the nodes nearest to an id: of live entries; while there are none, of all.
    #[must_use]
    pub fn closest_to_tell(&self, target: &NodeId, count: usize) -> Vec<Node> {
        let live = self.nearest(target, count, |e| e.live);
        if live.is_empty() { self.closest(target, count) } else { live }
    }

    /// The live entries at exactly this logarithmic distance from us.
    #[must_use]
    pub fn live_at(&self, distance: u16) -> Vec<Node> {
        let index = usize::from(distance.max(NEAR) - NEAR);
        let entries = self.buckets.get(index).into_iter().flat_map(|b| &b.entries);
        let fits = |e: &&Entry| e.live && self.own.log_distance(&e.id) == distance;
        entries.filter(fits).map(|e| e.node.clone()).collect()
    }

    fn nearest(&self, target: &NodeId, count: usize, fits: impl Fn(&Entry) -> bool) -> Vec<Node> {
        let mut found: Vec<([u8; 32], &Node)> = Vec::with_capacity(count + BUCKET_SIZE);
        for bucket in self.by_distance(target) {
            let before = found.len();
            let here = bucket.entries.iter().filter(|e| fits(e));
            found.extend(here.map(|e| (e.id.distance(target), &e.node)));
            if let Some(here) = found.get_mut(before..) {
                here.sort_unstable_by_key(|(distance, _)| *distance);
            }
            if found.len() >= count {
                break;
            }
        }
        found.into_iter().take(count).map(|(_, node)| node.clone()).collect()
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.buckets.iter().flat_map(|b| &b.entries)
    }

    /// All entries, and whether each is live, by distance bucket.
    pub fn nodes(&self) -> impl Iterator<Item = (&Node, bool)> {
        self.entries().map(|e| (&e.node, e.live))
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buckets.iter().map(|b| b.entries.len()).sum()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of live entries.
    #[must_use]
    pub fn live_len(&self) -> usize {
        self.entries().filter(|e| e.live).count()
    }

    /// Entries and replacements of each bucket, nearest bucket first.
    #[must_use]
    pub fn sizes(&self) -> [(usize, usize); BUCKETS] {
        let mut out = [(0, 0); BUCKETS];
        let sizes = self.buckets.iter().map(|b| (b.entries.len(), b.spares.len()));
        out.iter_mut().zip(sizes).for_each(|(out, size)| *out = size);
        out
    }
}

/// Live entries of the whole table, counted by subnet.
struct Live<'a> {
    all: &'a mut Subnets,
    limits: TableLimits,
}

impl Live<'_> {
    fn has_room(&self, ip: IpAddr, bucket: &Subnets) -> bool {
        self.all.has_room(ip, self.limits.subnet_in_table)
            && bucket.has_room(ip, self.limits.subnet_in_bucket)
    }
}

#[cfg(test)]
mod tests;
