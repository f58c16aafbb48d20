//! The order in which packets leave: the core's scheduler, priced by this wire, against the order a Go node was
//! seen to send in.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

use bytes::{Bytes, BytesMut};
use serde_json::Value;
use std::num::NonZeroU32;
use switchboard::session::scheduler::Scheduler;
use switchboard_comet::key::NodeKey;
use switchboard_comet::packet::Era;
use switchboard_comet::secret_connection::{Handshake, Sealer};
use switchboard_comet::session::{CometEncoder, MAX_MESSAGE};

fn sealer() -> Sealer {
    let key = NodeKey::from_seed(&[1; 32]).unwrap();
    let (mut to_a, mut to_b) = (BytesMut::new(), BytesMut::new());
    let mut left = Handshake::start(&[3; 32], &mut to_b).unwrap();
    let mut right = Handshake::start(&[4; 32], &mut to_a).unwrap();
    assert!(left.advance(&key, &mut to_a, &mut to_b).unwrap().is_none());
    right.advance(&key, &mut to_b, &mut to_a).unwrap().unwrap().sealer
}

/// Queues everything a case has and sends it all.
fn replay(case: &Value) -> Vec<(u64, usize, usize, bool)> {
    let channels: Vec<(u8, u32)> = case["channels"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| (c["id"].as_u64().unwrap() as u8, c["priority"].as_u64().unwrap() as u32))
        .collect();
    let encoder = CometEncoder::new(
        sealer(),
        Era::Protobuf,
        channels.iter().map(|(id, _)| (*id, MAX_MESSAGE)).collect(),
    );
    let mut scheduler = Scheduler::default();
    let lanes: Vec<usize> =
        channels.iter().map(|(_, priority)| scheduler.add(NonZeroU32::new(*priority).unwrap())).collect();
    for (lane, (id, _)) in lanes.iter().zip(&channels) {
        for size in case["queued_sizes"][format!("{id:02x}")].as_array().unwrap() {
            scheduler.push(*lane, u64::from(*id), Bytes::from(vec![0; size.as_u64().unwrap() as usize]));
        }
    }
    std::iter::from_fn(|| scheduler.next(&encoder))
        .map(|pick| (pick.wire_id, pick.data.len(), pick.cost, pick.last))
        .collect()
}

#[test]
fn the_order_a_go_node_sends_in() {
    let vectors: Value = serde_json::from_str(include_str!("vectors/scheduling.json")).unwrap();
    let cases = vectors["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 3);
    for case in cases {
        let recorded: Vec<_> = case["packets"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| {
                let number = |name: &str| p[name].as_u64().unwrap();
                (
                    number("ch"),
                    number("len") as usize,
                    number("wire_len") as usize,
                    p["eof"].as_bool().unwrap(),
                )
            })
            .collect();
        assert_eq!(replay(case), recorded, "{}", case["name"]);
    }
}
