//! What a bootnode, a node with discovery and the queries keep to, through the built program.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, clippy::indexing_slicing)] // a test of a real program, in real time

mod common;

use common::{Program, bad, must, run, text};
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};
use switchboard::Env;
use switchboard_discv::udp::{Discovery, DiscoveryConfig};
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
    asker.stop().await;
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
    // It names no UDP port, as nothing answers discovery there: with one, it is the URL of a bootnode.
    let url = format!("{}?discport={}", url.split('?').next().unwrap(), silent.local_addr().unwrap().port());
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
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "five runs of a second each: {:?}",
            began.elapsed()
        );
    }
}
