//! What the wires of a node share, and what each has for itself.
#![allow(clippy::unwrap_used)] // helpers of tests

use std::time::Duration;
use switchboard_node::Node;

/// Identities that cost nothing take all slots of their wire (patterns P19, P23): the other wires have theirs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_on_one_wire_takes_no_slot_of_another() {
    let hub = Node::builder().wires(&["devp2p", "comet"]).listen("127.0.0.1:0").set("max-peers", "3");
    let hub = hub.start().await.unwrap();
    let dial = async |wire: &'static str| {
        let other = Node::builder().wires(&[wire]).start().await.unwrap();
        let came = other.connect(&hub.url(wire).unwrap()).await;
        let stays = match came {
            Ok(peer) => {
                // A refusal after the handshake ends the session; else the hub has it.
                let id = other.switch().local_id(wire).unwrap();
                let told = async {
                    loop {
                        match (peer.is_over(), hub.switch().peers().has(&id)) {
                            (true, _) => break false,
                            (_, true) => break true,
                            _ => tokio::time::sleep(Duration::from_millis(5)).await,
                        }
                    }
                };
                tokio::time::timeout(Duration::from_secs(60), told).await.unwrap()
            }
            Err(_) => false,
        };
        (other, stays)
    };
    let (mut crowd, mut inside) = (Vec::new(), 0);
    for _ in 0..8 {
        let (node, stays) = dial("comet").await;
        inside += usize::from(stays);
        crowd.push(node);
    }
    assert!((1..=3).contains(&inside), "{inside} of 8 have a comet slot");
    let (friend, stays) = dial("devp2p").await;
    assert!(stays, "the crowd on comet has taken the slots of devp2p");
    for node in crowd.iter().chain([&friend, &hub]) {
        node.stop().await;
    }
}
