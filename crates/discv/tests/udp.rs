//! Discovery as a task: in a simulated network with loss and translation, and on loopback over a restart.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // helpers of tests

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use switchboard::Env;
use switchboard::store::{MemoryStore, Space, StoreError};
use switchboard_discv::udp::{AskError, Bootnode, Discovery, DiscoveryConfig, Version, Versions};
use switchboard_discv::{Node, NodeId};
use switchboard_enr::NodeKey;
use switchboard_simnet::{Link, Nat, run};
use tokio::time::{sleep, timeout};

fn key(number: u8) -> Arc<NodeKey> {
    Arc::new(NodeKey::from_bytes(&[number; 32]).unwrap())
}

fn enr(of: &Discovery) -> Bootnode {
    of.record().to_string().parse().unwrap()
}

async fn node(number: u8, env: &Env, at: SocketAddr, boot: Option<Bootnode>) -> Discovery {
    let mut config = DiscoveryConfig::new(key(number), at);
    config.bootnodes.extend(boot);
    config.tcp = Some(at.port());
    Discovery::start(config, env.clone()).await.unwrap()
}

#[test]
fn twenty_nodes_with_loss_know_one_another_in_both_versions_and_each_run_is_the_same() {
    const COUNT: u8 = 20;
    let (sizes, _) = run::twice(5, |net| async move {
        net.every_link(Link::new().latency(Duration::from_millis(20)).loss(50_000));
        let mut nodes: Vec<Discovery> = Vec::new();
        for number in 1..=COUNT {
            let host = net.host([10, 0, 0, number]);
            let boot = nodes.first().map(enr);
            nodes.push(node(number, &host.env(), SocketAddr::new(host.ip(), 30_303), boot).await);
        }
        sleep(Duration::from_secs(60)).await;
        let mut sizes = Vec::new();
        for one in &nodes {
            sizes.push(one.counters().await.unwrap().tables);
        }
        // Everybody finds the last one by its key and by its id.
        let target = key(COUNT).public();
        let first = &nodes[1];
        let by_key = first.lookup_key(target.to_bytes()).await.unwrap();
        let by_id = first.lookup(NodeId(target.node_id())).await.unwrap();
        assert_eq!(by_key.first().map(Node::id), Some(NodeId(target.node_id())));
        assert_eq!(by_id.first().map(Node::id), Some(NodeId(target.node_id())));
        for version in [Version::V4, Version::V5] {
            let found = timeout(Duration::from_secs(60), first.candidate(version)).await.unwrap().unwrap();
            assert_ne!(found.id(), first.id());
            assert!(found.tcp().is_some(), "{version:?}: a candidate to connect to");
        }
        for one in &nodes {
            one.stop().await.unwrap();
        }
        assert_eq!(nodes[0].counters().await, Err(AskError::Stopped));
        sizes
    });
    for [(four, live4), (five, live5)] in sizes {
        assert!(four >= 15 && live4 >= 10, "v4: {four} entries, {live4} live");
        assert!(five >= 15 && live5 >= 10, "v5: {five} entries, {live5} live");
    }
}

#[test]
fn behind_a_translation_the_record_learns_the_outer_address() {
    run::once(2, |net| async move {
        net.every_link(Link::new().latency(Duration::from_millis(10)));
        let mut nodes: Vec<Discovery> = Vec::new();
        for number in 1..=14 {
            let host = net.host([10, 0, 0, number]);
            let boot = nodes.first().map(enr);
            nodes.push(node(number, &host.env(), SocketAddr::new(host.ip(), 30_303), boot).await);
        }
        let inside = net.host([10, 7, 0, 1]);
        let outer = IpAddr::from([10, 9, 9, 9]);
        net.nat(inside.ip(), [10, 9, 9, 9], Nat::FullCone);
        let hidden =
            node(99, &inside.env(), SocketAddr::new(inside.ip(), 30_303), nodes.first().map(enr)).await;
        let before = hidden.record().seq();
        let mut records = hidden.records();
        let learned = async {
            while records.borrow_and_update().entries().ip() != Some(outer) {
                records.changed().await.unwrap();
            }
        };
        timeout(Duration::from_secs(600), learned).await.unwrap();
        assert!(hidden.record().seq() > before);
        // An address set by hand counts more than what anybody says.
        hidden.set_external(Some(IpAddr::from([10, 1, 1, 1])), Some(9)).await.unwrap();
        let set = "10.1.1.1:9".parse().unwrap();
        let told = async {
            while records.borrow_and_update().entries().udp_endpoint() != Some(set) {
                records.changed().await.unwrap();
            }
        };
        timeout(Duration::from_secs(1), told).await.unwrap();
    });
}

async fn on_loopback(
    number: u8,
    store: Option<MemoryStore>,
    versions: Versions,
    boot: Option<Bootnode>,
) -> Discovery {
    let mut config = DiscoveryConfig::new(key(number), "127.0.0.1:0".parse().unwrap());
    config.store = store.map(|store| Space::new(Arc::new(store), "discovery"));
    config.versions = versions;
    config.bootnodes.extend(boot);
    Discovery::start(config, Env::system().unwrap()).await.unwrap()
}

/// Waits until a table has an entry.
async fn knows(of: &Discovery, version: Version, whom: &Discovery) {
    let known = async {
        while !of.nodes(version).await.unwrap().iter().any(|(node, _)| node.id() == whom.id()) {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), known).await.unwrap();
}

/// Whoever stops it learns that the records are lost.
#[tokio::test]
async fn a_stop_tells_when_the_records_cannot_be_saved() {
    let store = MemoryStore::new();
    let other = on_loopback(1, None, Versions::BOTH, None).await;
    let first = on_loopback(2, Some(store.clone()), Versions::BOTH, Some(enr(&other))).await;
    let target = Node::from_record(other.record()).unwrap();
    first.ping(Version::V4, &target).await.unwrap();
    store.fail(Some(StoreError::Full), 0);
    assert_eq!(first.stop().await, Err(StoreError::Full));
    other.stop().await.unwrap();
}

#[tokio::test]
async fn nodes_are_remembered_over_a_restart_and_the_sequence_goes_on() {
    for versions in [Versions::BOTH, Versions { v4: false, v5: true }, Versions { v4: true, v5: false }] {
        let version = if versions.v4 { Version::V4 } else { Version::V5 };
        let store = MemoryStore::new();
        let other = on_loopback(1, None, versions, None).await;
        let first = on_loopback(2, Some(store.clone()), versions, Some(enr(&other))).await;
        let target = Node::from_record(other.record()).unwrap();
        first.ping(version, &target).await.unwrap();
        let seq = first.record().seq();
        first.stop().await.unwrap();
        // What is not on disk is gone.
        store.crash();
        let again = on_loopback(2, Some(store), versions, None).await;
        assert!(again.record().seq() > seq, "{versions:?}");
        knows(&again, version, &other).await;
        again.stop().await.unwrap();
        other.stop().await.unwrap();
    }
}

#[tokio::test]
async fn requests_are_answered_and_what_does_not_run_says_so() {
    let both = on_loopback(1, None, Versions::BOTH, None).await;
    let only5 = on_loopback(2, None, Versions { v4: false, v5: true }, None).await;
    let echo = |_: &switchboard_discv::v5::Peer, message: &[u8], _| {
        switchboard_discv::v5::TalkAnswer::Now(message.to_vec())
    };
    both.register_talk(b"echo", Box::new(echo)).await.unwrap();
    let target = Node::from_record(both.record()).unwrap();
    assert_eq!(only5.ping(Version::V5, &target).await.unwrap().seq, both.record().seq());
    assert_eq!(only5.talk(&target, b"echo", b"hello").await.unwrap(), b"hello");
    assert_eq!(only5.talk(&target, b"none", b"hello").await.unwrap(), b"");
    assert_eq!(only5.request_record(Version::V5, &target).await.unwrap().record(), Some(&both.record()));
    assert_eq!(only5.ping(Version::V4, &target).await, Err(AskError::NotRunning));
    // Nobody is there.
    let gone = on_loopback(3, None, Versions::BOTH, None).await;
    let nobody = Node::from_record(gone.record()).unwrap();
    gone.stop().await.unwrap();
    for version in [Version::V4, Version::V5] {
        assert_eq!(both.ping(version, &nobody).await, Err(AskError::NoAnswer), "{version:?}");
    }
    both.stop().await.unwrap();
    only5.stop().await.unwrap();
}

/// Whatever arrives, the task goes on, and counts it.
#[tokio::test]
async fn a_flood_of_nonsense_is_counted_and_changes_nothing() {
    let target = on_loopback(1, None, Versions::BOTH, None).await;
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for len in 0..1_500_usize {
        let bytes: Vec<u8> = (0..len).map(|at| (at * 31 + len) as u8).collect();
        socket.send_to(&bytes, target.local_addr()).await.unwrap();
        if len % 32 == 0 {
            // A full receive buffer would lose them unseen.
            target.counters().await.unwrap();
        }
    }
    let counted = async {
        while target.counters().await.unwrap().received < 1_000 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), counted).await.unwrap();
    let counters = target.counters().await.unwrap();
    assert_eq!((counters.sent, counters.tables), (0, [(0, 0); 2]), "{counters:?}");
    let other = on_loopback(2, None, Versions::BOTH, None).await;
    let node = Node::from_record(target.record()).unwrap();
    other.ping(Version::V4, &node).await.unwrap();
    other.ping(Version::V5, &node).await.unwrap();
}
