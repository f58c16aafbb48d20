//! Node and peers in go-ethereum's shape.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // helpers of tests

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
