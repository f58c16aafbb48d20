//! What a known node costs in memory.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // helpers of tests

use std::sync::Arc;
use switchboard_discv::nodes::MAX_NODES;
use switchboard_discv::{Node, NodeDb, Now};
use switchboard_enr::{NodeKey, Record};

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) * 1_024
}

#[test]
fn ten_thousand_known_nodes_cost_less_than_two_kilobytes_each() {
    let mut db = NodeDb::forgetful(MAX_NODES);
    let now = Now { mono: std::time::Duration::ZERO, unix: 1_800_000_000 };
    let before = resident();
    for n in 1..=MAX_NODES as u32 {
        let mut secret = [9; 32];
        secret[..4].copy_from_slice(&n.to_be_bytes());
        let key = NodeKey::from_bytes(&secret).unwrap();
        let [_, a, b, c] = n.to_be_bytes();
        let record = Record::signed(&key, u64::from(n), [40 + a, b, c, 1].into(), Some(30_303), Some(30_303));
        let node = Node::from_record(Arc::new(record)).unwrap();
        db.ponged(&node, now, &mut |_| false);
    }
    let each = resident().saturating_sub(before) / MAX_NODES as u64;
    println!("{} known nodes, {each} bytes each", db.len());
    assert_eq!(db.len(), MAX_NODES);
    // Without /proc there is nothing to judge.
    assert!(each < 2_048, "{each} bytes");
}
