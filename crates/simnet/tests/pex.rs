//! A network of comet nodes that know only one seed, on a paused clock: whole Switches, real handshakes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use switchboard::{Limits, Switch, SwitchBuilder};
use switchboard_comet::pex::book::Book;
use switchboard_comet::pex::{Options, PeerAddress, Pex};
use switchboard_comet::{COMET, Comet, CometConfig, NodeKey};
use switchboard_simnet::{Link, SimNet, run};
use tokio::time::sleep;

const PORT: u16 = 26_656;

fn key(n: u16) -> NodeKey {
    let mut seed = [7; 32];
    seed[..2].copy_from_slice(&n.to_be_bytes());
    NodeKey::from_seed(&seed).unwrap()
}

/// Every node in a /16 of its own.
fn ip(n: u16) -> IpAddr {
    let [high, low] = n.to_be_bytes();
    Ipv4Addr::new(20 + high, low, 0, 1).into()
}

fn address(n: u16) -> PeerAddress {
    PeerAddress::new(key(n).id(), ip(n), PORT)
}

async fn node(net: &SimNet, n: u16) -> Switch {
    let env = net.host(ip(n)).env();
    let mut options = Options::new(key(n).id());
    let mut slots = (40, 10);
    if n == 0 {
        options.state.seed_mode = true;
        slots = (256, 32);
    } else {
        options.state.seeds = vec![address(0).to_net_address()];
    }
    options.outbound = slots.1;
    let book = Book::with_key(format!("{n:024x}"), true);
    SwitchBuilder::new(env.clone())
        .wire(Arc::new(Comet::new(CometConfig::new(Arc::new(key(n)), "sim-net")).unwrap()))
        .service(Arc::new(Pex::new(book, options, env)))
        .limits(Limits::default().with(|limits| limits.wires = BTreeMap::from([(COMET, slots)])))
        .listen(SocketAddr::new(ip(n), PORT), &[])
        .start()
        .await
        .unwrap()
}

/// How many nodes one of them reaches over sessions, the seed left out.
fn reached(nodes: &[Switch]) -> usize {
    let ids: BTreeMap<_, _> =
        nodes.iter().enumerate().map(|(n, node)| (node.local_id(COMET).unwrap(), n)).collect();
    let (mut seen, mut next) = (BTreeSet::from([0]), vec![0]);
    while let Some(n) = next.pop() {
        for peer in nodes[n].peers().list() {
            if let Some(other) = ids.get(&peer.id())
                && seen.insert(*other)
            {
                next.push(*other);
            }
        }
    }
    seen.len()
}

fn network(count: u16) {
    let (after, _) = run::once(9, |net| async move {
        net.every_link(Link::new().latency(Duration::from_millis(40)));
        let seed = node(&net, 0).await;
        let mut nodes = Vec::new();
        for n in 1..=count {
            nodes.push(node(&net, n).await);
        }
        let mut after = 0;
        while reached(&nodes) < nodes.len() {
            assert!(after < 600, "{} of {count} are connected after ten minutes", reached(&nodes));
            sleep(Duration::from_secs(5)).await;
            after += 5;
        }
        for node in &nodes {
            node.stop().await;
        }
        seed.stop().await;
        after
    });
    eprintln!("{count} nodes are one network after {after} s; most memory in use: {}", most_memory());
}

/// What the system says of this process.
fn most_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    most.map_or_else(|| "unknown here".to_owned(), |most| most.trim().to_owned())
}

#[test]
fn two_hundred_nodes_become_one_network_from_one_seed() {
    network(200);
}

#[test]
#[ignore = "minutes in a debug build: cargo test --release -p switchboard-simnet --test pex -- --ignored"]
fn a_thousand_nodes_become_one_network_from_one_seed() {
    network(1_000);
}
