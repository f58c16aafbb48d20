//! Nodes that others told of lately.
//!
//! A lookup hears of the same few nodes from everybody it asks. A node that is told of again as it was before needs no
//! second look at its key, no second hash for its id, and no second place in memory.
//!
//! Limits: [`SLOTS`] nodes, each in the one place that its key's first byte names, where the newest stays. Who fills all
//! of them with nodes of its own costs us what they would without this.

use crate::node::Node;
use crate::v4::packet::Neighbour;

/// Nodes that are remembered.
const SLOTS: u8 = 128;

/// Nodes by their key's first byte.
#[derive(Debug)]
pub(super) struct Met {
    slots: Box<[Option<Node>]>,
}

impl Default for Met {
    fn default() -> Self {
        Self { slots: (0..SLOTS).map(|_| None).collect() }
    }
}

impl Met {
    /// The node that was told of, if its key `is_key`.
    pub(super) fn node(&mut self, told: &Neighbour, is_key: impl FnOnce(&[u8; 64]) -> bool) -> Option<Node> {
        let [first, ..] = told.key;
        let slot = self.slots.get_mut(usize::from(first % SLOTS))?;
        if let Some(known) = slot.as_ref().filter(|known| Neighbour::from(*known) == *told) {
            return Some(known.clone());
        }
        let node = is_key(&told.key).then(|| Node::from(told))?;
        *slot = Some(node.clone());
        Some(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::node;

    #[test]
    fn what_is_told_again_is_looked_at_once_and_what_differs_anew() {
        let mut met = Met::default();
        let (one, moved) = (Neighbour::from(&node(1, "60.0.0.1")), Neighbour::from(&node(1, "60.0.0.2")));
        let mut looks = 0;
        for told in [&one, &one, &moved, &moved, &one] {
            let found = met.node(told, |_| {
                looks += 1;
                true
            });
            assert_eq!(found, Some(Node::from(told)));
        }
        assert_eq!(looks, 3);
        // A key that is none is never remembered as one.
        let bad = Neighbour::from(&node(2, "60.0.0.3"));
        assert!((0..2).all(|_| met.node(&bad, |_| false).is_none()));
        assert!(met.node(&bad, |_| true).is_some());
        // All keys together take no more places.
        (0..10_000).for_each(|n| drop(met.node(&Neighbour::from(&node(n, "60.0.0.1")), |_| true)));
        assert_eq!(met.slots.len(), usize::from(SLOTS));
    }
}
