//! Trouble on real threads and sockets: nodes that dial each other, talk, disconnect and stop at random moments.
//! Afterwards every event has its pair, every reactor was told of each end once, and nothing is held.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

mod common;

use bytes::Bytes;
use common::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use switchboard::net::TcpNetwork;
use switchboard::net::memory::MemoryWire;
use switchboard::protocol::channel::{ChannelId, ChannelSpec, Overflow};
use switchboard::protocol::reactor::Adapter;
use switchboard::protocol::{ProtocolError, ProtocolSpec};
use switchboard::{BoxFuture, Candidate, End, Env, Event, Peer, Reactor, Reason, Switch, SwitchBuilder};

const NODES: u8 = 5;
const ROUNDS: u64 = 1000;

/// Counts who is there; a peer must find what `init_peer` put.
#[derive(Default)]
struct Counting {
    there: Arc<AtomicI64>,
    added: Arc<AtomicI64>,
}

impl Reactor for Counting {
    fn spec(&self) -> ProtocolSpec {
        let waits =
            ChannelSpec::new(0, 3).recv_window(2_000).overflow(Overflow::Wait(Duration::from_secs(5)));
        ProtocolSpec::new("count", 1, vec![waits])
    }

    fn init_peer(&self, peer: &Peer) {
        peer.set(AtomicI64::new(0));
    }

    fn add_peer(&self, peer: &Peer) {
        assert_eq!(peer.get::<AtomicI64>().unwrap().fetch_add(1, Ordering::SeqCst), 0, "added twice");
        self.there.fetch_add(1, Ordering::SeqCst);
        self.added.fetch_add(1, Ordering::SeqCst);
    }

    fn receive<'a>(
        &'a self,
        _: &'a Peer,
        _: ChannelId,
        message: Bytes,
    ) -> BoxFuture<'a, Result<(), ProtocolError>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            if message.first() == Some(&255) { Err(ProtocolError::Breach("said so")) } else { Ok(()) }
        })
    }

    fn remove_peer(&self, peer: &Peer, _: &End) {
        assert_eq!(peer.get::<AtomicI64>().unwrap().fetch_add(1, Ordering::SeqCst), 1, "removed twice");
        self.there.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Follows a node's events to its stop: each peer comes and goes in turn, and all are gone in the end.
async fn follow(mut events: switchboard::Events) -> usize {
    let (mut there, mut sessions) = (BTreeMap::new(), 0);
    loop {
        match events.recv().await {
            Ok(Event::PeerAdded(peer)) => {
                sessions += 1;
                assert!(there.insert(peer.id(), peer).is_none(), "two sessions with one peer");
            }
            Ok(Event::PeerDropped { peer, .. }) => {
                assert_eq!(there.remove(&peer.id()), Some(peer), "dropped, but not there");
            }
            Ok(Event::Behind { missed, .. }) => panic!("{missed} events were lost"),
            Ok(_) => {}
            Err(switchboard::event::Closed) => {
                assert!(there.is_empty(), "never dropped: {:?}", there.keys());
                return sessions;
            }
        }
    }
}

async fn node(n: u8, counting: Counting) -> Switch {
    let limits = open_limits().with(|limits| {
        limits.bytes_per_peer = 100_000;
        limits.bytes_total = 300_000;
    });
    SwitchBuilder::new(Env::system().unwrap().with_network(Arc::new(TcpNetwork)))
        .wire(Arc::new(MemoryWire::new(&[n])))
        .limits(limits)
        .protocol(Arc::new(Adapter(counting)))
        .protocol(sink("talk", vec![ChannelSpec::new(0, 1)]))
        .listen(([127, 0, 0, 1], 0).into(), &[])
        .start()
        .await
        .unwrap()
}

/// One thing after another, drawn from the node's own dice.
async fn misbehave(switch: Switch, n: u8, others: Vec<Candidate>) {
    let mut dice = u64::from(n);
    let mut roll = move |sides: u64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % sides
    };
    for _ in 0..ROUNDS {
        let peers = switch.peers().list();
        if roll(4) == 0 {
            // Who waits for the next dial is dialled at once: so dials cross, also with ends.
            switch.add_static(others[roll(others.len() as u64) as usize].clone()).await;
        }
        let Some(peer) = peers.get(roll(peers.len().max(1) as u64) as usize) else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let size = 1 + roll(3_000) as usize;
        match roll(12) {
            0 => peer.disconnect(Reason::Useless),
            1 => {
                let _ = peer.try_send("count", C0, Bytes::from_static(&[255]));
            }
            2..5 => {
                let _ = switch.broadcast("talk", C0, &vec![1; size].into());
            }
            5..8 => {
                let send = peer.send("count", C0, vec![2; size].into());
                let _ = tokio::time::timeout(Duration::from_micros(size as u64), send).await;
            }
            8 => tokio::time::sleep(Duration::from_millis(roll(8))).await,
            _ => {
                let _ = peer.send("talk", C0, vec![3; size].into()).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nodes_in_trouble_leave_nothing_behind() {
    let (mut nodes, mut followers, mut counts) = (Vec::new(), Vec::new(), Vec::new());
    for n in 1..=NODES {
        let counting = Counting::default();
        counts.push((Arc::clone(&counting.there), Arc::clone(&counting.added)));
        let switch = node(n, counting).await;
        followers.push(tokio::spawn(follow(switch.events())));
        nodes.push(switch);
    }
    let mut trouble = tokio::task::JoinSet::new();
    for (n, node) in nodes.iter().enumerate() {
        let others = nodes.iter().enumerate().filter(|(m, _)| *m != n);
        let others = others.map(|(m, other)| if (n + m) % 2 == 0 { known(other) } else { address(other) });
        trouble.spawn(misbehave(node.clone(), n as u8, others.collect()));
    }
    tokio::time::timeout(Duration::from_secs(300), trouble.join_all())
        .await
        .expect("somebody waits for ever");
    for node in &nodes {
        node.stop().await;
        assert_eq!((node.bytes_held(), node.peers().len()), (0, 0));
    }
    drop(nodes);
    for (follower, (there, added)) in followers.into_iter().zip(counts) {
        let sessions = follower.await.unwrap();
        assert_eq!((there.load(Ordering::SeqCst), added.load(Ordering::SeqCst)), (0, sessions as i64));
    }
}
