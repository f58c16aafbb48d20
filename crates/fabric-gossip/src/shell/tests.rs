#![allow(clippy::unwrap_used)] // tests

use super::known::{MAX_VERDICTS, Memo};
use super::links::{Links, candidate};
use super::outbox::{MAX_QUEUED, Out, Outbox, ledger};
use crate::signed::SignedMessage;
use crate::types::{Endpoint, PkiId};
use std::sync::Arc;
use switchboard::session::ledger::Ledger;
use switchboard::{BoxFuture, Candidate, PeerId, Reason};
use switchboard_fabric::message::{Content, DataMessage, GossipMessage, Payload, Tag};

fn message(bytes: usize) -> Out {
    let payload = Payload { seq_num: 1, data: vec![7; bytes].into(), private_data: Vec::new() };
    let content = Content::DataMsg(DataMessage { payload: Some(payload) });
    let message = SignedMessage::unsigned(GossipMessage::new(Tag::ChanAndOrg, b"ch", 0, content));
    Out { message, endpoint: None, stream: None }
}

#[test]
fn the_older_half_of_verdicts_is_forgotten() {
    let mut memo = Memo::default();
    let key = |n: usize| {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&(n as u64).to_be_bytes());
        key
    };
    for n in 0..=2 * MAX_VERDICTS {
        memo.put(key(n), n % 2 == 0);
        assert!(memo.len() <= 2 * MAX_VERDICTS);
        assert_eq!(memo.get(&key(n)), Some(n % 2 == 0));
    }
    assert_eq!(memo.get(&key(0)), None);
    assert_eq!(memo.get(&key(2 * MAX_VERDICTS - 1)), Some(false));
}

#[test]
fn an_outbox_is_bounded_by_count_and_by_bytes() {
    let mut outbox = Outbox::new(ledger(None));
    for _ in 0..5 {
        assert!(outbox.push(message(10), 5));
    }
    assert!(!outbox.push(message(10), 5), "a message too many");
    assert!(outbox.pop().is_some() && outbox.push(message(10), 5));
    assert_eq!(outbox.clear(), 5);
    assert!(outbox.push(message(MAX_QUEUED + 1), 5), "one is taken, however long");
    assert!(!outbox.push(message(1), 5), "bytes too many");
    assert!(outbox.pop().is_some() && outbox.push(message(1), 5), "room again");
    assert!(outbox.pop().is_some() && !outbox.is_empty(), "the last is being sent");
    assert!(outbox.pop().is_none() && outbox.is_empty());
}

/// Links to a node with a ledger, and no peers.
struct Node(Arc<Ledger>);

impl Links for Node {
    fn connect<'a>(&'a self, _: &'a Candidate) -> BoxFuture<'a, Result<PeerId, String>> {
        Box::pin(std::future::pending())
    }

    fn disconnect(&self, _: PkiId, _: Reason) {}

    fn ledger(&self, cap: usize) -> Arc<Ledger> {
        self.0.child(cap)
    }
}

#[tokio::test]
async fn what_waits_is_on_the_nodes_ledger_and_gives_way_when_that_is_full() {
    let ledger_of_node = Ledger::new(1 << 20);
    let node: Arc<dyn Links> = Arc::new(Node(Arc::clone(&ledger_of_node)));
    let mut outbox = Outbox::new(ledger(Some(&node)));
    let size = message(100_000).message.size();
    while outbox.push(message(100_000), 1_000) {}
    let all = outbox.len();
    assert_eq!(ledger_of_node.held(), all * size);
    assert!(all >= 7 && all * size <= (1 << 20) / 4 * 3, "{all} fill the share of senders");
    // One under way counts until it is sent.
    let under_way = outbox.pop();
    assert_eq!(ledger_of_node.held(), all * size);
    drop(under_way);
    assert_eq!(ledger_of_node.held(), (all - 1) * size);
    assert!(outbox.push(message(100_000), 1_000));
    // A session receives until the node is under pressure: who holds most is told.
    let session = ledger_of_node.child(1 << 20);
    let told = Arc::clone(outbox.ledger());
    assert!(session.try_take((1 << 20) / 4) && session.held() < told.held());
    told.told().await;
    assert_eq!(outbox.give_way(ledger(Some(&node))), all);
    assert_eq!(ledger_of_node.held(), session.held());
    assert!(outbox.push(message(100_000), 1_000), "it goes on");
    assert!(tokio::time::timeout(std::time::Duration::from_millis(1), outbox.ledger().told()).await.is_err());
    drop(outbox);
    assert_eq!(ledger_of_node.held(), session.held());
}

#[test]
fn endpoints_become_candidates_with_the_id_that_must_answer() {
    let endpoint = Endpoint::parse("peer0.example.org:7051").unwrap();
    let found = candidate(Some(PkiId([9; 32])), &endpoint).unwrap();
    assert_eq!((&found.host[..], found.port), ("peer0.example.org", 7051));
    assert_eq!(found.id.unwrap().as_bytes(), [9; 32]);
    assert_eq!(candidate(None, &endpoint).unwrap().id, None);
}
