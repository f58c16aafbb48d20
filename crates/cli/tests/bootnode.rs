//! What a bootnode, a node with discovery and the queries keep to, through the built program.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, clippy::indexing_slicing)] // a test of a real program, in real time

mod common;

use common::{Program, bad, must, run, text};
use serde_json::Value;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use switchboard::Env;
use switchboard_discv::udp::{Discovery, DiscoveryConfig, Version};
use switchboard_discv::v4::packet::{Endpoint, Packet};
use switchboard_discv::{Node, NodeId};
use switchboard_enr::{Enode, NodeKey, Record};

fn boot(more: &[&str]) -> (Program, Value) {
    let args = ["bootnode", "--json", "--stdin-stop", "--listen", "127.0.0.1:0"];
    let mut node = Program::start(&[&args[..], more].concat(), &[]);
    let ready = node.wait("ready");
    (node, ready)
}

fn field<'a>(ready: &'a Value, name: &str) -> &'a str {
    ready["devp2p"][name].as_str().unwrap_or_else(|| panic!("{ready:#}"))
}

const NODE: [&str; 6] = ["--wire", "devp2p", "--listen", "127.0.0.1:0", "--discovery", "v4,v5"];

#[test]
fn port_zero_gives_tcp_and_udp_one_number() {
    let (mut node, ready) = Program::node(&NODE);
    let enode = Enode::parse(field(&ready, "enode")).unwrap().endpoint.unwrap();
    assert_eq!(enode.tcp, enode.udp);
    // The address that is listened on stands in the record at once.
    let record = Record::parse(field(&ready, "enr")).unwrap();
    let at = format!("127.0.0.1:{}", enode.udp).parse().ok();
    assert_eq!((record.entries().udp_endpoint(), record.entries().tcp_endpoint()), (at, at));
    let id = hex::encode(record.key().node_id());
    assert_eq!(field(&ready, "id"), id);
    assert_eq!(node.stop(), 0);
    let (mut node, ready) = boot(&[]);
    let record = Record::parse(field(&ready, "enr")).unwrap();
    assert_eq!(record.entries().ip(), Some([127, 0, 0, 1].into()));
    assert_eq!(record.entries().tcp_endpoint(), None, "a bootnode takes no TCP");
    assert_eq!(node.stop(), 0);
}

#[test]
fn further_entries_stand_in_the_record() {
    let (mut node, ready) = Program::node(&[&NODE[..], &["--enr-entry", "eth=c7c684fc64ec0480"]].concat());
    let record = Record::parse(field(&ready, "enr")).unwrap();
    assert_eq!(record.entries().get_raw("eth").map(hex::encode).as_deref(), Some("c7c684fc64ec0480"));
    assert_eq!(node.stop(), 0);
    let form = "KEY=HEX";
    for (wrong, why) in
        [("eth", form), ("eth=zz", form), ("=c0", form), ("ip=847f000001", "own"), ("eth=c7", "RLP")]
    {
        bad(&[&["node"], &NODE[..], &["--enr-entry", wrong]].concat(), why);
    }
}

/// Whether a node tells of another within a time; asks with one identity, so that no table fills with strangers.
async fn tells_of(asker: &Discovery, ready: &Value, whom: NodeId, within: Duration) -> bool {
    let record = Record::parse(field(ready, "enr")).unwrap();
    let node = Node::from_record(Arc::new(record)).unwrap();
    let until = Instant::now() + within;
    let mut told = false;
    while Instant::now() < until {
        let near = asker.find_near(&node, [7; 64]).await.unwrap_or_default();
        told |= near.iter().any(|node| node.id() == whom);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    told
}

/// It is killed without a word; who it met and its sequence number are there again.
#[tokio::test]
async fn what_a_killed_bootnode_knew_it_knows_again() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let data = text(&data);
    let env = Env::system().unwrap();
    let key = Arc::new(NodeKey::generate(|| env.random()));
    let config = DiscoveryConfig::new(key, "127.0.0.1:0".parse().unwrap());
    let asker = Discovery::start(config, env).await.unwrap();
    let (mut other, met) = boot(&[]);
    let url = field(&met, "enr");
    let id = NodeId(Record::parse(url).unwrap().key().node_id());
    let start = Instant::now();
    let mut seq = 0;
    // What it learned is written within seconds: try, for longer each time, until it was.
    for attempt in 1.. {
        assert!(start.elapsed() < Duration::from_secs(120), "nothing outlives a kill");
        let (mut node, ready) = boot(&["--data", data, "--bootnode", url]);
        let record = Record::parse(field(&ready, "enr")).unwrap();
        assert!(record.seq() > seq, "a sequence number never comes again: {} after {seq}", record.seq());
        seq = record.seq();
        let known = tells_of(&asker, &ready, id, Duration::from_secs(6 * attempt)).await;
        node.signal("KILL");
        node.exit();
        // Again, without being told of anybody.
        let (mut node, ready) = boot(&["--data", data]);
        let record = Record::parse(field(&ready, "enr")).unwrap();
        assert!(record.seq() > seq, "{} after {seq}", record.seq());
        seq = record.seq();
        let again = tells_of(&asker, &ready, id, Duration::from_secs(2)).await;
        assert_eq!(node.stop(), 0);
        if known && again {
            break;
        }
    }
    assert_eq!(other.stop(), 0);
    asker.stop().await.unwrap();
}

/// Resident memory of a process, in KiB.
fn resident(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Sends pings of five hundred keys, so many a second, until it is told to stop; how many went out.
fn flood(from: &str, to: SocketAddr, rate: u64, stop: &AtomicBool) -> u64 {
    let socket = UdpSocket::bind((from, 0)).unwrap();
    let own = Endpoint::new(socket.local_addr().unwrap(), 0);
    let expiration = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 600;
    let one = |n: u16| {
        let mut secret = [7; 32];
        secret[..2].copy_from_slice(&n.to_be_bytes());
        let ping = Packet::Ping { from: own, to: Endpoint::new(to, 0), expiration, seq: None };
        ping.encode(&NodeKey::from_bytes(&secret).unwrap()).0
    };
    let pings: Vec<_> = (1..=500).map(one).collect();
    let (mut sent, began) = (0, Instant::now());
    for ping in pings.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        sent += u64::from(socket.send_to(ping, to).is_ok());
        // Ahead of its rate it rests for a millisecond.
        if u128::from(sent) > began.elapsed().as_micros() * u128::from(rate) / 1_000_000 {
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
    sent
}

/// A bootnode on one processor, while one process floods it with pings: from an address that has proven nothing, then from the one
/// that the honest node has, which as one of this machine has no budget of its own. At ten times the rate the socket is full before the
/// bootnode reads: then the system decides whose packets are lost.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "by hand, on a quiet machine: FLOOD_SECONDS a flood (15), FLOOD_RATE pings a second (50000)"]
#[allow(clippy::print_stdout)] // figures
async fn pings_from_one_process_flood_a_bootnode_on_one_processor() {
    let given = |name, number| std::env::var(name).map_or(number, |text| text.parse().unwrap());
    let (seconds, rate) = (given("FLOOD_SECONDS", 15), given("FLOOD_RATE", 50_000));
    let dir = tempfile::tempdir().unwrap();
    let (mut node, ready) = boot(&["--data", text(&dir.path().join("data"))]);
    let pinned =
        std::process::Command::new("taskset").args(["-a", "-p", "-c", "0", &node.id().to_string()]).output();
    assert!(pinned.unwrap().status.success());
    let env = Env::system().unwrap();
    let key = Arc::new(NodeKey::generate(|| env.random()));
    let config = DiscoveryConfig::new(key, "127.0.0.1:0".parse().unwrap());
    let honest = Discovery::start(config, env).await.unwrap();
    let boot = Node::from_record(Arc::new(Record::parse(field(&ready, "enr")).unwrap())).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    for from in ["127.0.0.2", "127.0.0.1"] {
        let before = resident(node.id());
        stop.store(false, Ordering::Relaxed);
        let (ending, to) = (Arc::clone(&stop), boot.udp());
        let flooding = std::thread::spawn(move || flood(from, to, rate, &ending));
        let (mut asked, mut took, mut most) = (0, Vec::new(), before);
        let until = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < until {
            let began = Instant::now();
            asked += 1;
            // A bond where there is none yet, then what only who has one is answered.
            if honest.ping(Version::V4, &boot).await.is_ok()
                && honest.request_record(Version::V4, &boot).await.is_ok()
            {
                took.push(began.elapsed());
            }
            most = most.max(resident(node.id()));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        took.sort_unstable();
        let at = |share: usize| took.get(took.len() * share / 100).copied().unwrap_or_default();
        println!(
            "flood from {from}: {} of {asked} pings and queries answered, median {:.1?}, p99 {:.1?}; memory {before} KiB, at most {most}",
            took.len(),
            at(50),
            at(99),
        );
        if from == "127.0.0.1" {
            let end = Instant::now();
            assert_eq!(node.stop(), 0);
            println!("stopped in {:.2?} while the flood went on", end.elapsed());
        }
        stop.store(true, Ordering::Relaxed);
        println!("{} pings a second were sent", flooding.join().unwrap() / seconds);
        // Who floods from the honest node's own address takes what that has.
        assert!(from == "127.0.0.1" || took.len() * 2 > asked, "{} of {asked}", took.len());
    }
    honest.stop().await.unwrap();
}

#[test]
fn a_query_ends_within_its_time_whoever_is_silent() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("nodes.json");
    // An address of this machine where nobody answers.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let key = must(&["keygen", "--wire", "devp2p", "--out", text(&dir.path().join("key"))]);
    drop(key);
    let at = silent.local_addr().unwrap().to_string();
    let forms =
        must(&["id", "--wire", "devp2p", "--key", text(&dir.path().join("key")), "--at", &at, "--json"]);
    let url = forms.json()[0]["enode"].as_str().unwrap().to_owned();
    for version in ["discv4", "discv5"] {
        let began = Instant::now();
        let crawl = run(&[version, "crawl", "--bootnode", &url, "--out", text(&out), "--timeout", "1s"]);
        assert_eq!(crawl.code, 0, "{crawl:#?}");
        assert!(out.exists(), "what was found is written, also when it is nothing");
        let listen = run(&[version, "listen", "--bootnode", &url, "--timeout", "1s", "--json"]);
        assert_eq!(listen.code, 0, "{listen:#?}");
        for query in ["ping", "resolve", "request-enr"] {
            let asked = run(&[version, query, &url, "--timeout", "1s"]);
            assert_eq!(asked.code, 1, "{version} {query}: {asked:#?}");
        }
        // The default is 10 s for each.
        assert!(
            began.elapsed() < Duration::from_secs(45),
            "five runs of a second each: {:?}",
            began.elapsed()
        );
    }
}
