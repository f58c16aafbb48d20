//! What the tests of version 5 share: keys, records, two nodes and the packets between them.

mod hostile;
mod network;
mod protocol;
mod vectors;

use super::*;
use crate::{Node, NodeId};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use switchboard_enr::{NodeKey, Record};

const START: Duration = Duration::from_secs(100);

fn key(number: u32) -> Arc<NodeKey> {
    let mut bytes = [7; 32];
    bytes[28..].copy_from_slice(&number.to_be_bytes());
    Arc::new(NodeKey::from_bytes(&bytes).unwrap())
}

/// Every test node has an address of its own in 127.0.0.0/8, so that the packets name their sender.
fn addr(number: u32) -> SocketAddr {
    let [_, a, b, c] = (number + 1).to_be_bytes();
    SocketAddr::from(([127, a, b, c], 30303))
}

fn record_at(number: u32, seq: u64, at: SocketAddr) -> Record {
    Record::signed(&key(number), seq, at.ip(), Some(at.port()), Some(at.port()))
}

fn record(number: u32, seq: u64) -> Record {
    record_at(number, seq, addr(number))
}

fn node(number: u32) -> Node {
    Node::from_record(Arc::new(record(number, 1))).unwrap()
}

fn v5(number: u32) -> V5 {
    let mut seed = [5; 32];
    seed[..4].copy_from_slice(&number.to_be_bytes());
    V5::new(key(number), Arc::new(record(number, 1)), Config::default(), seed)
}

/// Everything a node wants done.
fn actions(node: &mut V5) -> Vec<Action> {
    std::iter::from_fn(|| node.next_action()).collect()
}

/// The datagrams a node wants sent.
fn sent(node: &mut V5) -> Vec<(SocketAddr, Vec<u8>)> {
    let datagrams = actions(node).into_iter().filter_map(|action| match action {
        Action::Send { to, datagram } => Some((to, datagram)),
        _ => None,
    });
    datagrams.collect()
}

/// The one datagram a node wants sent.
fn one(node: &mut V5) -> Vec<u8> {
    let mut all = sent(node);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0).1
}

/// Two nodes with packets going back and forth until there are none; gives every action but sending.
fn settle(nodes: &mut [(SocketAddr, &mut V5)], now: Duration) -> Vec<Vec<Action>> {
    let mut told: Vec<Vec<Action>> = nodes.iter().map(|_| Vec::new()).collect();
    for _ in 0..1000 {
        let mut idle = true;
        for at in 0..nodes.len() {
            let from = nodes[at].0;
            while let Some(action) = nodes[at].1.next_action() {
                idle = false;
                match action {
                    Action::Send { to, datagram } => {
                        assert!((packet::MIN_PACKET..=packet::MAX_PACKET).contains(&datagram.len()));
                        if let Some((_, node)) = nodes.iter_mut().find(|(addr, _)| *addr == to) {
                            let _ = node.packet(from, &datagram, now);
                        }
                    }
                    other => told[at].push(other),
                }
            }
        }
        if idle {
            return told;
        }
    }
    panic!("packets without end");
}

fn outcomes(actions: &[Action]) -> Vec<Outcome> {
    let done = actions.iter().filter_map(|action| match action {
        Action::Done { outcome, .. } => Some(outcome.clone()),
        _ => None,
    });
    done.collect()
}

/// Nodes 1 and 2 with a session between them.
fn pair() -> (V5, V5) {
    let (mut a, mut b) = (v5(1), v5(2));
    a.ping(&node(2), START);
    let told = settle(&mut [(addr(1), &mut a), (addr(2), &mut b)], START);
    assert_eq!(outcomes(&told[0]), [Outcome::Pong { enr_seq: 1 }]);
    (a, b)
}

/// A datagram of node 1 for node 2 with a message of our choice, under their session.
fn sealed(a: &mut V5, message: &message::Message) -> Vec<u8> {
    a.seal_for_tests(&Peer { id: node(2).id(), addr: addr(2) }, &message.encode())
}
