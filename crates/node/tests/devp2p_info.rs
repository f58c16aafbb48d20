//! Node and peers in go-ethereum's shape.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // helpers of tests

use std::time::Duration;
use switchboard::Reason;
use switchboard_enr::Record;
use switchboard_node::Node;
use switchboard_node::wires::devp2p::info::{node_info, peer_info};

#[tokio::test]
async fn node_and_peer_are_told_in_the_shape_of_geth() {
    let [one, two] = Node::local::<2>().unwrap();
    let one = one.wires(&["devp2p"]).set("protocol", "bench").start().await.unwrap();
    let two = two.wires(&["devp2p"]).set("protocol", "bench").start().await.unwrap();
    let own = node_info(&one).unwrap();
    let peer = two.connect(own["enode"].as_str().unwrap()).await.unwrap();
    let told = peer_info(&peer).unwrap();
    assert_eq!(told["id"], own["id"]);
    assert_eq!(told["network"]["inbound"], false);
    assert_eq!(told["network"]["remoteAddress"], own["listenAddr"]);
    assert_eq!(told["caps"], serde_json::json!(["bench/1"]));
    assert_eq!(told["protocols"]["bench"], "handshake");
    assert!(told["enode"].as_str().unwrap().starts_with("enode://"));
    for field in ["id", "name", "enode", "enr", "ip", "ports", "listenAddr", "protocols"] {
        assert!(own.get(field).is_some(), "{field} in {own:#}");
    }
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&own["ports"]), ["discovery", "listener"]);
    assert_eq!(keys(&told["network"]), ["inbound", "localAddress", "remoteAddress", "static", "trusted"]);
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_chain_stands_in_the_record_and_parts_its_nodes_from_others() {
    let [one, two, three] = Node::local::<3>().unwrap();
    let start = async |node: switchboard_node::NodeBuilder, network: u64| {
        let chain = format!("{network}:{}:fc64ec04:1150000", "d4".repeat(32));
        let node = node.wires(&["devp2p"]).set("protocol", "bench").set("eth-chain", &chain);
        node.set("discovery", "v4,v5").start().await.unwrap()
    };
    let (one, two, three) = (start(one, 1).await, start(two, 1).await, start(three, 5).await);
    let own = node_info(&one).unwrap();
    let record = Record::parse(own["enr"].as_str().unwrap()).unwrap();
    let fork = record.entries().eth().unwrap();
    assert_eq!((fork.hash, fork.next), ([0xfc, 0x64, 0xec, 0x04], 1_150_000));
    let url = own["enode"].as_str().unwrap();
    let peer = two.connect(url).await.unwrap();
    let told = async {
        while peer_info(&peer).unwrap()["protocols"]["eth"]["eth_network"] != "1" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), told).await.unwrap();
    let other = three.connect(url).await.unwrap();
    let end = tokio::time::timeout(Duration::from_secs(60), other.ended()).await.unwrap();
    assert!(matches!(end.reason, Reason::Useless), "{end:?}");
    for node in [one, two, three] {
        node.stop().await;
    }
}
