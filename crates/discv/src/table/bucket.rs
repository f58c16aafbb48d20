//! One bucket: entries, their replacements, and the subnets of both.

use super::{BUCKET_SIZE, CHECK_LIMIT, Live, Offered, REPLACEMENTS, REST};
use crate::addr::Subnets;
use crate::node::{Node, NodeId};
use rand::{Rng, RngExt};
use std::collections::VecDeque;
use std::time::Duration;

/// A node in a bucket.
#[derive(Debug)]
pub(super) struct Entry {
    /// The node's, beside it: buckets are searched for ids all the time.
    pub(super) id: NodeId,
    pub(super) node: Node,
    /// It has answered from this address, and its subnet counts.
    pub(super) live: bool,
    pub(super) checks: u32,
    /// It waits for its next check in the slow list, else in the fast one.
    pub(super) slow: bool,
    /// A check is under way since then.
    pub(super) checking: Option<Duration>,
    /// It has proven its address: no check before this.
    pub(super) rests_until: Duration,
}

impl Entry {
    fn new(node: Node) -> Self {
        let id = node.id();
        Self { id, node, live: false, checks: 0, slow: false, checking: None, rests_until: Duration::ZERO }
    }

    /// When it may be checked next. A check that was never told the end of ends by itself.
    pub(super) fn free_at(&self) -> Duration {
        self.checking.map_or(self.rests_until, |since| self.rests_until.max(since + CHECK_LIMIT))
    }

    pub(super) fn is_free(&self, now: Duration) -> bool {
        self.free_at() <= now
    }
}

#[derive(Debug, Default)]
pub(super) struct Bucket {
    pub(super) entries: Vec<Entry>,
    /// Newest first.
    pub(super) spares: VecDeque<(NodeId, Node)>,
    /// When an entry of the fast and of the slow list may be checked next.
    soonest: [Option<Duration>; 2],
    live: Subnets,
    /// Subnets of the entries that are not live.
    heard: Subnets,
    spare: Subnets,
}

impl Bucket {
    pub(super) fn position(&self, id: &NodeId) -> Option<usize> {
        self.entries.iter().position(|e| e.id == *id)
    }

    pub(super) fn get(&self, id: &NodeId) -> Option<&Entry> {
        self.entries.iter().find(|e| e.id == *id)
    }

    /// When an entry of a list may be checked next.
    pub(super) fn soonest(&self, slow: bool) -> Option<Duration> {
        let [fast_list, slow_list] = self.soonest;
        if slow { slow_list } else { fast_list }
    }

    /// To be called after each change of entries.
    pub(super) fn plan(&mut self) {
        let soonest = |slow| self.entries.iter().filter(|e| e.slow == slow).map(Entry::free_at).min();
        self.soonest = [soonest(false), soonest(true)];
    }

    fn spare_position(&self, id: &NodeId) -> Option<usize> {
        self.spares.iter().position(|(of, _)| of == id)
    }

    fn count(&mut self, at: usize, live: &mut Live<'_>) {
        let Some(entry) = self.entries.get(at) else { return };
        let ip = entry.node.ip();
        if entry.live {
            self.live.add(ip);
            live.all.add(ip);
        } else {
            self.heard.add(ip);
        }
    }

    fn uncount(&mut self, at: usize, live: &mut Live<'_>) {
        let Some(entry) = self.entries.get(at) else { return };
        let ip = entry.node.ip();
        if entry.live {
            self.live.remove(ip);
            live.all.remove(ip);
        } else {
            self.heard.remove(ip);
        }
    }

    fn push(&mut self, entry: Entry, live: &mut Live<'_>) {
        self.entries.push(entry);
        self.count(self.entries.len() - 1, live);
    }

    /// Changes an entry and keeps the counts true.
    fn change(&mut self, at: usize, live: &mut Live<'_>, change: impl FnOnce(&mut Entry)) {
        self.uncount(at, live);
        if let Some(entry) = self.entries.get_mut(at) {
            change(entry);
        }
        self.count(at, live);
    }

    fn take_spare(&mut self, at: usize) -> Option<Node> {
        let (_, node) = self.spares.remove(at)?;
        self.spare.remove(node.ip());
        Some(node)
    }

    fn wait(&mut self, node: Node, limit: usize) -> Offered {
        if let Some(at) = self.spare_position(&node.id()) {
            self.take_spare(at);
        }
        if !self.spare.has_room(node.ip(), limit) {
            return Offered::SubnetFull;
        }
        self.spare.add(node.ip());
        self.spares.push_front((node.id(), node));
        while self.spares.len() > REPLACEMENTS {
            self.take_spare(self.spares.len() - 1);
        }
        Offered::Waiting
    }

    pub(super) fn hear(&mut self, node: Node, live: &Live<'_>) -> Offered {
        let limit = live.limits.subnet_in_bucket;
        if self.spare_position(&node.id()).is_some() {
            return Offered::Waiting;
        }
        if !live.has_room(node.ip(), &self.live) || !self.heard.has_room(node.ip(), limit) {
            return Offered::SubnetFull;
        }
        if self.entries.len() >= BUCKET_SIZE {
            return self.wait(node, limit);
        }
        self.heard.add(node.ip());
        self.entries.push(Entry::new(node));
        Offered::Added
    }

    pub(super) fn prove(&mut self, node: Node, now: Duration, live: &mut Live<'_>) -> Offered {
        if let Some(at) = self.position(&node.id()) {
            return self.prove_known(at, node, now, live);
        }
        if !live.has_room(node.ip(), &self.live) {
            return Offered::SubnetFull;
        }
        if self.entries.len() >= BUCKET_SIZE {
            let limit = live.limits.subnet_in_bucket;
            let Some(at) = self.entries.iter().position(|e| !e.live) else {
                return self.wait(node, limit);
            };
            self.uncount(at, live);
            let displaced = self.entries.remove(at).node;
            self.wait(displaced, limit);
        }
        if let Some(at) = self.spare_position(&node.id()) {
            self.take_spare(at);
        }
        let rests_until = now + REST;
        self.push(Entry { live: true, checks: 1, rests_until, ..Entry::new(node) }, live);
        Offered::Added
    }

    /// An entry has answered from `node`'s address, which may be another than it had.
    fn prove_known(&mut self, at: usize, node: Node, now: Duration, live: &mut Live<'_>) -> Offered {
        self.uncount(at, live);
        let room = live.has_room(node.ip(), &self.live);
        let Some(entry) = self.entries.get_mut(at) else { return Offered::Unfit };
        if room || entry.live && entry.node.ip() == node.ip() {
            let record = entry.node.record().filter(|old| node.seq() < old.seq()).cloned();
            entry.node = match record {
                Some(record) => node.with_record(record),
                None => node,
            };
            (entry.live, entry.checks) = (true, entry.checks.max(1));
            entry.rests_until = now + REST;
            self.count(at, live);
            return Offered::Known;
        }
        // It moved to, or is proven in, a subnet that has its share: it stays what it was.
        self.count(at, live);
        Offered::SubnetFull
    }

    /// Takes over what an entry's own record of a higher sequence number says.
    pub(super) fn update_by_record(&mut self, at: usize, node: Node, live: &mut Live<'_>) {
        let Some(entry) = self.entries.get(at) else { return };
        if node.record().is_none() || node.seq() <= entry.node.seq() {
            return;
        }
        let moved = node.udp() != entry.node.udp();
        self.change(at, live, |entry| {
            if moved {
                (entry.live, entry.slow) = (false, false);
            }
            entry.node = node;
        });
    }

    /// An entry passed a check; false when its subnet has no room for one more live entry.
    pub(super) fn answered(&mut self, at: usize, newer: Option<Node>, live: &mut Live<'_>) -> bool {
        let Some(entry) = self.entries.get_mut(at) else { return true };
        entry.checking = None;
        entry.checks = entry.checks.saturating_add(1);
        entry.slow = true;
        if !entry.live {
            let ip = entry.node.ip();
            if !live.has_room(ip, &self.live) {
                return false;
            }
            self.change(at, live, |entry| entry.live = true);
        }
        if let Some(newer) = newer {
            self.update_by_record(at, newer, live);
        }
        true
    }

    /// An entry failed a check; true when it has none left.
    pub(super) fn failed(&mut self, at: usize) -> bool {
        let Some(entry) = self.entries.get_mut(at) else { return false };
        entry.checking = None;
        entry.checks /= 3;
        entry.slow = false;
        entry.checks == 0
    }

    /// Removes an entry and gives its place to a random replacement.
    pub(super) fn remove<R: Rng>(&mut self, at: usize, live: &mut Live<'_>, rng: &mut R) {
        self.uncount(at, live);
        self.entries.remove(at);
        while !self.spares.is_empty() {
            let pick = rng.random_range(0..self.spares.len());
            let Some(node) = self.take_spare(pick) else { return };
            if self.hear(node, live) == Offered::Added {
                return;
            }
        }
    }
}
