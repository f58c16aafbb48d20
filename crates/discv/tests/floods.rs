//! Discovery on a real socket under floods, with an honest peer beside them.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)] // helpers of tests
#![allow(clippy::disallowed_methods)] // real sockets, in real time

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use switchboard::Env;
use switchboard_discv::Node;
use switchboard_discv::udp::{Discovery, DiscoveryConfig, Version};
use switchboard_discv::v4::packet::{Endpoint, Packet};
use switchboard_enr::NodeKey;

/// How long each flood lasts.
const FLOOD: Duration = Duration::from_secs(3);
/// Packets of a flood, at least.
const ENOUGH: u64 = 5_000;

async fn start(seed: u8) -> Discovery {
    let key = Arc::new(NodeKey::from_bytes(&[seed; 32]).unwrap());
    let config = DiscoveryConfig::new(key, "127.0.0.1:0".parse().unwrap());
    Discovery::start(config, Env::system().unwrap()).await.unwrap()
}

fn expiration() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 600
}

/// Packets of many keys, each signed: pings, or queries of who proved nothing.
fn packets(to: SocketAddr, query: bool) -> Vec<Vec<u8>> {
    let one = |n: u16| {
        let mut secret = [7; 32];
        secret[..2].copy_from_slice(&n.to_be_bytes());
        let key = NodeKey::from_bytes(&secret).unwrap();
        let packet = match query {
            true => Packet::FindNode { target: [n as u8; 64], expiration: expiration() },
            false => {
                let from = Endpoint::new("127.0.0.1:9".parse().unwrap(), 0);
                Packet::Ping { from, to: Endpoint::new(to, 0), expiration: expiration(), seq: None }
            }
        };
        packet.encode(&key).0
    };
    (1..=500).map(one).collect()
}

/// How often an honest peer asks, as `switchboard discv5 ping` does.
const TRIES: u32 = 3;
/// Pings that are sent at least: on a busy machine few fit into a flood's time.
const LEAST: u32 = 20;

/// The slowest of many pings of an honest peer, and how many of them were answered.
async fn honest(peer: &Discovery, target: &Node, version: Version, until: Instant) -> (Duration, u32, u32) {
    let (mut slowest, mut answered, mut asked) = (Duration::ZERO, 0, 0);
    while Instant::now() < until || asked < LEAST {
        let began = Instant::now();
        asked += 1;
        for _ in 0..TRIES {
            if peer.ping(version, target).await.is_ok() {
                answered += 1;
                slowest = slowest.max(began.elapsed());
                break;
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (slowest, answered, asked)
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) * 1_024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_honest_peer_is_answered_in_time_under_floods_and_memory_is_bounded() {
    let (node, peer) = (start(1).await, start(2).await);
    let target = Node::from_record(node.record()).unwrap();
    for version in [Version::V4, Version::V5] {
        peer.ping(version, &target).await.unwrap();
    }
    let at = node.local_addr();
    let garbage: Vec<Vec<u8>> =
        (0..500_usize).map(|n| (0..n * 2 + 63).map(|b| (b * 7 + n) as u8).collect()).collect();
    for (name, flood) in
        [("garbage", garbage), ("pings", packets(at, false)), ("findnode", packets(at, true))]
    {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&sent));
        let before = resident();
        let flooder = std::thread::spawn(move || {
            // From addresses other than the honest peer's.
            let sockets: Vec<_> = (2..10_u8)
                .map(|n| UdpSocket::bind((std::net::Ipv4Addr::new(127, 0, 9, n), 0)).unwrap())
                .collect();
            for (n, packet) in flood.iter().cycle().enumerate() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                if sockets[n % sockets.len()].send_to(packet, at).is_ok() {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                // Some ten thousand a second.
                if n % 100 == 99 {
                    std::thread::park_timeout(Duration::from_millis(8));
                }
            }
        });
        for version in [Version::V4, Version::V5] {
            let (slowest, answered, asked) =
                honest(&peer, &target, version, Instant::now() + FLOOD / 2).await;
            println!(
                "{name}: {version:?} {answered} of {asked} pings of an honest peer answered, slowest {slowest:.1?}"
            );
            assert!(answered * 10 >= asked * 9, "{name} {version:?}: {answered} of {asked}");
        }
        while sent.load(Ordering::Relaxed) <= ENOUGH {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stop.store(true, Ordering::Relaxed);
        flooder.join().unwrap();
        let (grown, sent) = (resident().saturating_sub(before), sent.load(Ordering::Relaxed));
        println!(
            "{name}: {sent} packets, memory grew by {} KiB; {:?}",
            grown >> 10,
            node.counters().await.unwrap()
        );
        assert!(grown < 32 << 20, "{name}: {grown} bytes");
    }
    node.stop().await.unwrap();
    peer.stop().await.unwrap();
}
