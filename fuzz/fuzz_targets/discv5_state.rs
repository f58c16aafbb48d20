//! A node of discv5 with a session: the input is cut into messages of its peer and packets of strangers.
#![no_main]

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use switchboard_discv::Node;
use switchboard_discv::v5::{Action, Config, MAX_CHALLENGES, V5};
use switchboard_enr::{NodeKey, Record};

const NOW: Duration = Duration::from_secs(1);

static KEYS: LazyLock<[Arc<NodeKey>; 2]> = LazyLock::new(|| {
    [1, 2].map(|byte| match NodeKey::from_bytes(&[byte; 32]) {
        Some(key) => Arc::new(key),
        None => unreachable!("small numbers are keys"),
    })
});

fn addr(at: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1 + u8::try_from(at).unwrap_or_default()], 30303))
}

fn record(at: usize) -> Arc<Record> {
    Arc::new(Record::signed(&KEYS[at], 1, addr(at).ip(), Some(30303), Some(30303)))
}

fn exchange(nodes: &mut [V5; 2]) {
    for _ in 0..64 {
        for at in 0..2 {
            while let Some(action) = nodes[at].next_action() {
                if let Action::Send { to, datagram } = action
                    && to == addr(1 - at)
                {
                    let _ = nodes[1 - at].packet(addr(at), &datagram, NOW);
                }
            }
        }
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut nodes = [0, 1].map(|at| V5::new(KEYS[at].clone(), record(at), Config::default(), [at as u8; 32]));
    let Some(other) = Node::from_record(record(1)) else { return };
    nodes[0].ping(&other, NOW);
    exchange(&mut nodes);
    for part in bytes.chunks(400) {
        let (first, rest) = part.split_first().unwrap_or((&0, &[]));
        match first % 4 {
            0 => drop(nodes[0].talk(&other, b"p", rest, NOW)),
            1 => drop(nodes[0].find_node(&other, &rest.iter().map(|b| u64::from(*b)).collect::<Vec<_>>(), NOW)),
            2 => drop(nodes[1].packet(addr(0), rest, NOW)),
            _ => nodes[1].tick(NOW + Duration::from_millis(u64::from(*first))),
        }
        exchange(&mut nodes);
        assert!(nodes[1].held()[1] <= MAX_CHALLENGES);
    }
});
