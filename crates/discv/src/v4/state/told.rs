//! Signed answers to findnode that still count.
//!
//! An answer names neither its request nor whom it is for, and most targets have the same nodes near them: half of all
//! keys are nearest to one bucket. So the signed packets are kept, by the nodes that they tell of, and sent again while
//! they are new. Each counts for as long as any other packet of ours, whenever it is sent.
//!
//! Limits: [`MAX_ANSWERS`] answers, of at most two packets each, for [`REUSED_FOR`] seconds. When there are more, all make
//! room: a requester that never repeats a target gains nothing from it. Those that are too old are cleared away as often as they
//! grow too old: an answer takes three kilobytes.

use super::EXPIRATION;
use crate::hash::HashMap;
use crate::identity::Identity;
use crate::node::{Node, NodeId};
use crate::time::Now;
use crate::v4::packet::{MAX_PACKET, NEIGHBOURS_PER_PACKET, Neighbour, Packet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Answers kept.
pub(super) const MAX_ANSWERS: usize = 256;
/// Seconds for which an answer is sent again.
pub(super) const REUSED_FOR: u64 = 5;

/// The packets of an answer.
type Packets = Arc<[Vec<u8>]>;

/// The nodes that an answer tells of, by id.
#[derive(Debug, PartialEq, Eq)]
struct Nodes(Vec<Node>);

impl Hash for Nodes {
    /// Eight bytes of an id tell nodes apart well enough for a map.
    fn hash<H: Hasher>(&self, state: &mut H) {
        for node in &self.0 {
            let NodeId([a, b, c, d, e, f, g, h, ..]) = node.id();
            state.write_u64(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Told {
    /// By the nodes that are told of; the order of the map is of no matter.
    answers: HashMap<Nodes, (u64, Packets)>,
    /// When those that were too old were cleared away.
    swept: u64,
}

impl Told {
    /// The packets that tell of these nodes, in any order.
    pub(super) fn packets(&mut self, mut nodes: Vec<Node>, by: &dyn Identity, now: Now) -> Packets {
        nodes.sort_unstable_by_key(Node::id);
        let nodes = Nodes(nodes);
        let fresh = |made: u64| made <= now.unix && now.unix - made < REUSED_FOR;
        if let Some((_, packets)) = self.answers.get(&nodes).filter(|(made, _)| fresh(*made)) {
            return packets.clone();
        }
        if !fresh(self.swept) {
            self.answers.retain(|_, (made, _)| fresh(*made));
            self.swept = now.unix;
        }
        let expiration = now.unix.saturating_add(EXPIRATION + REUSED_FOR);
        let sign = |nodes: &[Neighbour]| {
            let packet = Packet::Neighbours { nodes: nodes.to_vec(), expiration };
            let bytes = packet.encode(by).0;
            debug_assert!(bytes.len() <= MAX_PACKET);
            bytes
        };
        // An answer without nodes is an answer too.
        let told: Vec<Neighbour> = nodes.0.iter().map(Neighbour::from).collect();
        let packets: Packets = match told.as_slice() {
            [] => [sign(&[])].into(),
            nodes => nodes.chunks(NEIGHBOURS_PER_PACKET).map(sign).collect(),
        };
        if self.answers.len() >= MAX_ANSWERS {
            self.answers.clear();
        }
        self.answers.insert(nodes, (now.unix, packets.clone()));
        packets
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.answers.len()
    }
}
