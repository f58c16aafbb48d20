//! What others are told: the answers to PING, FINDNODE and TALKREQ.
//!
//! Only who has a session is answered, so its address is proven. FINDNODE is answered with at most
//! [`super::call::MAX_NODES`] records of nodes that answered us, in at most [`super::call::MAX_PARTS`] packets;
//! whoever asks from outside learns nothing of a local network.

use super::call::{MAX_NODES, MAX_PARTS};
use super::message::{Message, RequestId};
use crate::addr::may_relay;
use crate::table::Table;
use crate::{Node, NodeId};
use std::collections::BTreeSet;
use std::net::IpAddr;
use switchboard_enr::Record;

/// Bytes of records in one packet (go-ethereum: `packNodes`).
const PACKED: usize = 1000;
/// The largest distance.
const FARTHEST: u64 = 256;

/// The records at these distances that `asker` may be told.
pub(super) fn records(
    table: &Table,
    local: &Record,
    asker: IpAddr,
    distances: &[u64],
    all: bool,
) -> Vec<Vec<u8>> {
    let mut asked = BTreeSet::new();
    let mut out = Vec::new();
    for distance in distances.iter().copied().filter(|d| *d <= FARTHEST) {
        if !asked.insert(distance) {
            continue;
        }
        if distance == 0 {
            out.push(local.encode());
        }
        let distance = u16::try_from(distance).unwrap_or_default();
        let nodes = if all { at(table, local, distance) } else { table.live_at(distance) };
        let told = nodes.iter().filter(|node| may_relay(asker, node.ip()));
        out.extend(told.filter_map(|node| Some(node.record()?.encode())));
        if out.len() >= MAX_NODES {
            break;
        }
    }
    out.truncate(MAX_NODES);
    out
}

/// Every node at this distance, whether it answered us or not.
fn at(table: &Table, local: &Record, distance: u16) -> Vec<Node> {
    let own = NodeId(local.key().node_id());
    let nodes = table.nodes().filter(|(node, _)| own.log_distance(&node.id()) == distance);
    nodes.map(|(node, _)| node.clone()).collect()
}

/// The packets of an answer; one, when there is nothing to tell.
pub(super) fn pack(id: RequestId, records: Vec<Vec<u8>>) -> Vec<Message> {
    let mut parts: Vec<Vec<Vec<u8>>> = vec![Vec::new()];
    let mut size = 0;
    for record in records {
        if size > 0 && size + record.len() > PACKED {
            if parts.len() >= usize::from(MAX_PARTS) {
                break;
            }
            parts.push(Vec::new());
            size = 0;
        }
        size += record.len();
        if let Some(part) = parts.last_mut() {
            part.push(record);
        }
    }
    let total = u8::try_from(parts.len()).unwrap_or(MAX_PARTS);
    parts.into_iter().map(|records| Message::Nodes { id, total, records }).collect()
}
