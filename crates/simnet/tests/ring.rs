//! Twenty nodes in a ring, each a whole Switch: a message floods hop by hop, through a cut and a crash too.
#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests

use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use switchboard::net::memory::{MEMORY, MemoryWire};
use switchboard::protocol::reactor::Adapter;
use switchboard::wire::{Liveness, Wire};
use switchboard::{
    BoxFuture, Candidate, ChannelId, ChannelSpec, Peer, ProtocolError, ProtocolSpec, Reactor, Switch,
    SwitchBuilder,
};
use switchboard_simnet::{Link, SimNet, run};
use tokio::time::{Instant, sleep, timeout};

const NODES: u8 = 20;
const FLOOD: ChannelId = ChannelId(1);

/// Passes every new message on to every peer but its sender.
#[derive(Default)]
struct Flood {
    peers: Mutex<Vec<Peer>>,
    seen: Mutex<BTreeSet<Bytes>>,
    /// When the last new message came.
    last: Mutex<Option<Instant>>,
}

impl Flood {
    async fn spread(&self, message: Bytes, but: Option<&Peer>) {
        if !self.seen.lock().insert(message.clone()) {
            return;
        }
        *self.last.lock() = Some(Instant::now());
        let peers = self.peers.lock().clone();
        for peer in peers.iter().filter(|peer| Some(*peer) != but) {
            let _ = peer.send("flood", FLOOD, message.clone()).await;
        }
    }
}

impl Reactor for Flood {
    fn spec(&self) -> ProtocolSpec {
        ProtocolSpec::new("flood", 1, vec![ChannelSpec::new(FLOOD.0, 1)])
    }

    fn add_peer(&self, peer: &Peer) {
        self.peers.lock().push(peer.clone());
    }

    fn receive<'a>(
        &'a self,
        peer: &'a Peer,
        _: ChannelId,
        message: Bytes,
    ) -> BoxFuture<'a, Result<(), ProtocolError>> {
        Box::pin(async move {
            self.spread(message, Some(peer)).await;
            Ok(())
        })
    }

    fn remove_peer(&self, peer: &Peer, _: &switchboard::switch::peer::End) {
        self.peers.lock().retain(|p| p != peer);
    }
}

struct Node {
    switch: Switch,
    flood: Arc<Adapter<Flood>>,
}

fn ip(n: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, n + 1).into()
}

fn addr(n: u8) -> SocketAddr {
    (ip(n), 9_000).into()
}

async fn node(net: &SimNet, n: u8) -> Node {
    let next = (n + 1) % NODES;
    let flood = Arc::new(Adapter(Flood::default()));
    let liveness = Liveness::default().with(|alive| {
        alive.ping_every = Some(Duration::from_secs(5));
        alive.pong_within = Some(Duration::from_secs(10));
        alive.idle_limit = None;
    });
    let wire = Arc::new(MemoryWire::new(&[n + 1; 8]).liveness(liveness)) as Arc<dyn Wire>;
    let (host, port) = (ip(next).to_string(), addr(next).port());
    let switch = SwitchBuilder::new(net.host(ip(n)).env())
        .wire(wire)
        .protocol(Arc::clone(&flood) as Arc<_>)
        .listen(addr(n), &[])
        .static_peer(Candidate::new(MEMORY, host, port))
        .start()
        .await
        .unwrap();
    Node { switch, flood }
}

async fn ring(net: &SimNet) -> Vec<Node> {
    let mut nodes = Vec::new();
    for n in 0..NODES {
        nodes.push(node(net, n).await);
    }
    settled(&nodes).await;
    nodes
}

/// Waits until every node has both of its neighbours.
async fn settled(nodes: &[Node]) {
    let whole = async {
        while nodes.iter().any(|node| node.flood.0.peers.lock().len() < 2) {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(300), whole).await.expect("the ring never closed");
}

async fn reaches(nodes: &[Node], message: &'static [u8], count: usize) {
    let have = || nodes.iter().filter(|n| n.flood.0.seen.lock().contains(message)).count();
    let arrived = async {
        while have() < count {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let done = timeout(Duration::from_secs(120), arrived).await;
    assert!(done.is_ok(), "{} of {count} nodes have the message", have());
}

async fn flood(net: SimNet) -> Duration {
    let link = Link::new().latency(Duration::from_millis(20)).jitter(Duration::from_millis(5));
    net.every_link(link.bandwidth(1_000_000));
    let nodes = ring(&net).await;
    let start = Instant::now();
    nodes[0].flood.0.spread(Bytes::from_static(b"news"), None).await;
    reaches(&nodes, b"news", NODES.into()).await;
    let took = nodes.iter().filter_map(|n| *n.flood.0.last.lock()).max().unwrap() - start;
    for node in &nodes {
        node.switch.stop().await;
    }
    took
}

#[test]
fn a_flood_takes_half_the_ring_and_the_same_hash_twice() {
    let (took, audit) = run::twice(11, flood);
    // Ten hops of 20 to 25 ms, each seen at the next whole millisecond.
    let (least, most) = (Duration::from_millis(200), Duration::from_millis(270));
    assert!((least..most).contains(&took), "{took:?}");
    let (_, other) = run::twice(12, flood);
    assert_ne!(audit.hash, other.hash);
}

#[test]
fn a_halved_ring_is_whole_again_after_the_cut() {
    run::twice(13, |net| async move {
        net.every_link(Link::new().latency(Duration::from_millis(20)));
        let nodes = ring(&net).await;
        let (left, right): (Vec<_>, Vec<_>) = (0..NODES).map(ip).partition(|ip| *ip < self::ip(NODES / 2));
        net.cut(&left, &right);
        nodes[3].flood.0.spread(Bytes::from_static(b"left"), None).await;
        reaches(&nodes, b"left", usize::from(NODES) / 2).await;
        // Long enough for pings to tell that the far side is gone.
        sleep(Duration::from_secs(60)).await;
        assert_eq!(nodes[0].flood.0.peers.lock().len(), 1, "a silent neighbour was kept");
        net.heal();
        settled(&nodes).await;
        nodes[3].flood.0.spread(Bytes::from_static(b"all"), None).await;
        reaches(&nodes, b"all", NODES.into()).await;
        for node in &nodes {
            node.switch.stop().await;
        }
    });
}

#[test]
fn a_crashed_node_is_dialled_until_it_is_back() {
    run::twice(14, |net| async move {
        net.every_link(Link::new().latency(Duration::from_millis(20)));
        let nodes = ring(&net).await;
        net.crash(ip(5));
        sleep(Duration::from_secs(30)).await;
        assert!(nodes[5].flood.0.peers.lock().is_empty());
        nodes[4].flood.0.spread(Bytes::from_static(b"without 5"), None).await;
        reaches(&nodes, b"without 5", usize::from(NODES) - 1).await;
        net.restart(ip(5));
        settled(&nodes).await;
        nodes[6].flood.0.spread(Bytes::from_static(b"with 5"), None).await;
        reaches(&nodes, b"with 5", NODES.into()).await;
    });
}
