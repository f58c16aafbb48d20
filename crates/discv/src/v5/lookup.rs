//! One search for the nodes nearest to an id.
//!
//! ```text
//!   the 16 nearest known ─▶ ask 3 at a time for their nodes near the target ─▶ nearer ones take places
//!                                     └─ all of the 16 have answered: done
//! ```
//! Who does not answer is asked again when nobody else is left to ask, so that lost packets lose no node and nodes
//! that are gone do not hold the search up; after [`TRIES`] it is no result.
//!
//! (spec: discv5-theory.md; go-ethereum p2p/discover/lookup.go, v5_udp.go `lookupDistances`)

use crate::{Node, NodeId};
use std::collections::{BTreeMap, BTreeSet};

/// Nodes a search is for.
pub(super) const RESULT: usize = 16;
/// Nodes kept, so that others can take the places of those that do not answer.
const KEPT: usize = 3 * RESULT;
/// Questions at once (go-ethereum: `alpha`).
const PARALLEL: usize = 3;
/// Distances asked for at once.
const DISTANCES: usize = 3;
/// The distance at which a node tells its own record.
pub(super) const DISTANCES_SELF: [u64; 1] = [0];
/// Nodes asked for the rim of the result.
const WIDENED: usize = 6;
/// Questions to one node. A first one takes four packets, of which one in ten may be lost: with six, one node in 600 is missed.
const TRIES: u8 = 6;
/// Nodes one search looks at; a search in a network of millions sees a few hundred.
const MAX_SEEN: usize = 2048;

/// How a question ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    Answered,
    /// Packets of the answer were lost: the node is there, and is asked again for the rest.
    Partly,
    Unanswered,
}

/// A search.
#[derive(Debug)]
pub(super) struct Lookup {
    target: NodeId,
    /// The nearest so far, by distance.
    nearest: BTreeMap<[u8; 32], Node>,
    seen: BTreeSet<NodeId>,
    asked: BTreeSet<NodeId>,
    /// How often a node has not answered.
    failed: BTreeMap<NodeId, u8>,
    /// Who was asked for the rim.
    widened: BTreeSet<NodeId>,
    /// Distances of nodes to be asked again.
    again: BTreeSet<[u8; 32]>,
    running: usize,
}

impl Lookup {
    pub(super) fn new(own: NodeId, target: NodeId, start: Vec<Node>) -> Self {
        let mut lookup = Self {
            target,
            nearest: BTreeMap::new(),
            seen: [own].into(),
            asked: BTreeSet::new(),
            failed: BTreeMap::new(),
            widened: BTreeSet::new(),
            again: BTreeSet::new(),
            running: 0,
        };
        for node in start {
            lookup.hear(node);
        }
        lookup
    }

    pub(super) fn target(&self) -> NodeId {
        self.target
    }

    /// Takes a node that was told; false when it was known.
    pub(super) fn hear(&mut self, node: Node) -> bool {
        if self.seen.len() >= MAX_SEEN || !self.seen.insert(node.id()) {
            return false;
        }
        self.nearest.insert(node.id().distance(&self.target), node);
        if self.nearest.len() > KEPT {
            self.nearest.pop_last();
        }
        true
    }

    /// Whom to ask next, and for which distances.
    pub(super) fn next(&mut self) -> Option<(Node, Vec<u64>)> {
        if self.running >= PARALLEL {
            return None;
        }
        let mut nearest = self.nearest.iter().take(RESULT);
        let fresh = nearest.find(|(_, node)| !self.asked.contains(&node.id()));
        let mut nearest = self.nearest.iter().take(RESULT);
        let Some((at, node)) = fresh.or_else(|| nearest.find(|(at, _)| self.again.contains(*at))) else {
            return self.widen();
        };
        let (at, node) = (*at, node.clone());
        self.again.remove(&at);
        self.asked.insert(node.id());
        self.running += 1;
        let distances = distances(&self.target, &node.id());
        Some((node, distances))
    }

    /// At last the nearest are asked for the rim: an answer has 16 nodes, so the first one may have left some out.
    fn widen(&mut self) -> Option<(Node, Vec<u64>)> {
        let rim = self.nearest.values().nth(RESULT - 1)?.id().log_distance(&self.target);
        let mut nearest = self.nearest.values().take(WIDENED);
        let node = nearest.find(|node| !self.widened.contains(&node.id()))?.clone();
        self.widened.insert(node.id());
        self.running += 1;
        let rim = u64::from(rim);
        Some((node, vec![rim, rim.saturating_sub(1)]))
    }

    /// A question is over.
    pub(super) fn over(&mut self, id: &NodeId, end: Question) {
        if end == Question::Answered {
            self.running = self.running.saturating_sub(1);
            return;
        }
        let failed = self.failed.entry(*id).or_default();
        *failed += 1;
        let last = *failed >= TRIES;
        if last && end == Question::Unanswered {
            return self.give_up(id);
        }
        self.running = self.running.saturating_sub(1);
        if !last {
            self.again.insert(id.distance(&self.target));
        }
    }

    /// A question could not be asked, or not any more: the node is no result.
    pub(super) fn give_up(&mut self, id: &NodeId) {
        self.running = self.running.saturating_sub(1);
        self.nearest.remove(&id.distance(&self.target));
    }

    pub(super) fn done(&self) -> bool {
        let over =
            |(at, node): (&[u8; 32], &Node)| self.asked.contains(&node.id()) && !self.again.contains(at);
        let rim = self.nearest.len() < RESULT
            || self.nearest.values().take(WIDENED).all(|node| self.widened.contains(&node.id()));
        self.running == 0 && rim && self.nearest.iter().take(RESULT).all(over)
    }

    /// The nearest nodes that answered, nearest first.
    pub(super) fn result(self) -> Vec<Node> {
        self.nearest.into_values().take(RESULT).collect()
    }
}

/// The distances at which a node knows the neighbours of a target: that of the target, and those around it.
pub(super) fn distances(target: &NodeId, node: &NodeId) -> Vec<u64> {
    let at = u64::from(target.log_distance(node));
    let mut out = vec![at];
    for step in 1..=256 {
        if at + step <= 256 && out.len() < DISTANCES {
            out.push(at + step);
        }
        if at > step && out.len() < DISTANCES {
            out.push(at - step);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_answered_in_part_is_asked_again_and_stays_a_result() {
        let told = |n| crate::testing::node(n, "10.0.0.1");
        let mut lookup = Lookup::new(told(1).id(), told(2).id(), vec![told(3)]);
        for attempt in 1..=TRIES {
            assert_eq!(lookup.next().map(|(node, _)| node.id()), Some(told(3).id()), "{attempt}");
            assert!(!lookup.done());
            lookup.over(&told(3).id(), Question::Partly);
        }
        assert!(lookup.next().is_none() && lookup.done());
        assert_eq!(lookup.result().len(), 1);
        // A node that does not answer at all is not counted.
        let mut lookup = Lookup::new(told(1).id(), told(2).id(), vec![told(3)]);
        for _ in 0..TRIES {
            assert!(lookup.next().is_some());
            lookup.over(&told(3).id(), Question::Unanswered);
        }
        assert!(lookup.done() && lookup.result().is_empty());
    }

    #[test]
    fn three_distances_around_the_targets() {
        let id = |bit: usize| {
            let mut bytes = [0; 32];
            bytes[31 - bit / 8] = 1 << (bit % 8);
            NodeId(bytes)
        };
        let zero = NodeId([0; 32]);
        assert_eq!(distances(&zero, &id(255)), [256, 255, 254]);
        assert_eq!(distances(&zero, &id(254)), [255, 256, 254]);
        assert_eq!(distances(&zero, &id(99)), [100, 101, 99]);
        assert_eq!(distances(&zero, &id(0)), [1, 2, 3]);
        assert_eq!(distances(&zero, &zero), [0, 1, 2]);
    }
}
