//! A node whose clock the times of others contradict says so, with what to do.
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests
#![allow(clippy::disallowed_methods)] // the true time, beside a wrong one

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use switchboard::net::TcpNetwork;
use switchboard::{Env, Event};
use switchboard_node::settings::{Source, Values};
use switchboard_node::wires::devp2p::bootnode::{Bootnode, BootnodeConfig};
use switchboard_node::{KeySource, Node};
use tokio::time::timeout;

#[tokio::test]
async fn a_clock_that_proven_peers_contradict_is_told_with_its_remedy() {
    let env = Env::system().unwrap();
    let (mut others, mut urls) = (Vec::new(), Vec::new());
    for _ in 0..6 {
        let config = BootnodeConfig::new("127.0.0.1:0".parse().unwrap(), KeySource::Throwaway);
        let other = Bootnode::start(config, &env).await.unwrap();
        urls.push(
            other.ready()["devp2p"]["enode"]
                .as_str()
                .unwrap_or_else(|| panic!("{:#}", other.ready()))
                .to_owned(),
        );
        others.push(other);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut bootnodes = Values::default();
    bootnodes.set("bootnode", urls, Source::Flag);
    let node = Node::builder()
        .env(Env::seeded(Arc::new(TcpNetwork), now + 3_600, 1))
        .wires(&["devp2p"])
        .listen("127.0.0.1:0")
        .set("discovery", "v4")
        .values(bootnodes)
        .start()
        .await
        .unwrap();
    let mut events = node.switch().events();
    let told = async {
        loop {
            match events.recv().await.unwrap() {
                Event::Service(told) if told.what == "clock_doubt" => break told,
                _ => {}
            }
        }
    };
    let told = timeout(Duration::from_secs(60), told).await.unwrap();
    assert_eq!(told.fields, [("remedy", "set this machine's clock, as with an NTP service".to_owned())]);
    node.stop().await;
    for other in others {
        other.stop().await.unwrap();
    }
}
