//! Whole nodes on this wire: Switch, sessions and the bench protocol over pipes in memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;
use switchboard::net::memory::MemoryNetwork;
use switchboard::wire::Wire;
use switchboard::{
    BoxFuture, ChannelIo, ChannelSpec, Env, Event, Limits, Peer, Protocol, ProtocolError, ProtocolSpec,
    Reason, Switch, SwitchBuilder,
};
use switchboard_bench::{BulkPlan, Drive, EchoPlan, Payload};
use switchboard_comet::bench::{Bench, Driver};
use switchboard_comet::key::NodeKey;
use switchboard_comet::{Comet, CometConfig};
use tokio::sync::mpsc;
use tokio::time::timeout;

struct Node {
    switch: Switch,
    address: String,
    drivers: mpsc::Receiver<Driver>,
}

async fn node(net: &MemoryNetwork, seed: u8, change: impl FnOnce(&mut CometConfig)) -> Node {
    limited(net, seed, change, Limits::default()).await
}

async fn limited(
    net: &MemoryNetwork,
    seed: u8,
    change: impl FnOnce(&mut CometConfig),
    limits: Limits,
) -> Node {
    let mut config = CometConfig::new(Arc::new(NodeKey::from_seed(&[seed; 32]).unwrap()), "bench-net");
    config.moniker = format!("node {seed}");
    change(&mut config);
    let comet = Arc::new(Comet::new(config).unwrap());
    let (bench, drivers) = Bench::driven();
    let switch = SwitchBuilder::new(Env::seeded(Arc::new(net.clone()), 1_700_000_000, seed.into()))
        .wire(Arc::clone(&comet) as Arc<dyn Wire>)
        .protocol(bench)
        .limits(limits)
        .listen(SocketAddr::from(([10, 0, 0, seed], 26_656)), &[])
        .start()
        .await
        .unwrap();
    let address = comet.address(switch.listening()[0].0).to_string();
    Node { switch, address, drivers }
}

async fn driver(node: &mut Node) -> Driver {
    timeout(Duration::from_secs(20), node.drivers.recv()).await.expect("no session").unwrap()
}

#[tokio::test(start_paused = true)]
async fn two_nodes_echo_and_count() {
    let net = MemoryNetwork::default();
    let (mut a, b) = (node(&net, 1, |_| {}).await, node(&net, 2, |_| {}).await);
    a.switch.add_static(a.switch.parse(&b.address).unwrap()).await;
    let mut driver = driver(&mut a).await;
    assert_eq!(driver.peer().info().name, "node 2");
    for size in [0, 1, 1023, 1024, 1025, 65_536] {
        let result = driver.echo(EchoPlan::new(40, size, 8)).await.unwrap();
        assert_eq!((result.count, result.size), (40, size));
    }
    for size in [1, 4096, 100_000] {
        let plan = BulkPlan::new(1_000_000, size, Payload::Zeros);
        let plan = if size == 1 { BulkPlan::new(1000, size, Payload::Zeros) } else { plan };
        let result = driver.bulk(plan).await.unwrap();
        let report = result.report.unwrap();
        assert_eq!((report.bytes, report.messages), (plan.bytes, plan.messages()));
    }
    assert_eq!(b.switch.peers().len(), 1);
    a.switch.stop().await;
    b.switch.stop().await;
    assert!(b.switch.peers().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_session_outlives_its_pings() {
    let net = MemoryNetwork::default();
    let (mut a, b) = (node(&net, 1, |_| {}).await, node(&net, 2, |_| {}).await);
    a.switch.add_static(a.switch.parse(&b.address).unwrap()).await;
    let mut driver = driver(&mut a).await;
    let mut events = a.switch.events();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(events.try_recv().is_err(), "the idle session ended");
    assert!(driver.echo(EchoPlan::new(1, 10, 1)).await.is_ok());
    assert!(driver.peer().stats().rtt.is_some(), "a ping was answered");
}

#[tokio::test(start_paused = true)]
async fn another_network_is_refused_with_a_reason() {
    let net = MemoryNetwork::default();
    let (a, b) = (node(&net, 1, |_| {}).await, node(&net, 2, |c| c.network = "other".into()).await);
    let mut events = b.switch.events();
    let _ = a.switch.offer(a.switch.parse(&b.address).unwrap()).await;
    let reason = timeout(Duration::from_secs(20), async {
        loop {
            if let Event::HandshakeFailed { reason, .. } = events.recv().await.unwrap() {
                return reason;
            }
        }
    });
    assert_eq!(reason.await.unwrap(), Reason::Incompatible("network"));
}

#[tokio::test(start_paused = true)]
async fn rates_hold_a_whole_session() {
    let net = MemoryNetwork::default();
    let limits = Limits::default().with(|limits| limits.send_rate = NonZeroU64::new(100_000));
    let mut a = limited(&net, 1, |_| {}, limits).await;
    let b = node(&net, 2, |_| {}).await;
    a.switch.add_static(a.switch.parse(&b.address).unwrap()).await;
    let mut driver = driver(&mut a).await;
    let start = tokio::time::Instant::now();
    let plan = BulkPlan::new(500_000, 10_000, Payload::Random);
    driver.bulk(plan).await.unwrap();
    let took = start.elapsed().as_secs_f64();
    assert!((4.9..6.0).contains(&took), "{took} s for 5 s worth of bytes");
}

/// A program whose protocols do not fit on this wire hears of it at the start, not with each peer.
#[tokio::test(start_paused = true)]
async fn protocols_that_do_not_fit_are_told_at_the_start() {
    struct Idle(&'static str, u16);
    impl Protocol for Idle {
        fn spec(&self) -> ProtocolSpec {
            ProtocolSpec::new(self.0, 1, vec![ChannelSpec::new(self.1, 1)])
        }

        fn run(self: Arc<Self>, peer: Peer, _: ChannelIo) -> BoxFuture<'static, Result<(), ProtocolError>> {
            Box::pin(async move {
                peer.ended().await;
                Ok(())
            })
        }
    }
    for (first, second, expected) in [
        (
            0x20,
            0x20,
            "these protocols do not fit: comet: channel 0x20 stands there twice: change the setting of that name",
        ),
        (
            0x20,
            0x100,
            "these protocols do not fit: comet: protocol b has channel 0x100; this wire's channels are 0 to 0xff",
        ),
        (0x20, 0x21, ""),
    ] {
        let config = CometConfig::new(Arc::new(NodeKey::from_seed(&[1; 32]).unwrap()), "net");
        let started = SwitchBuilder::new(Env::seeded(Arc::new(MemoryNetwork::default()), 0, 1))
            .wire(Arc::new(Comet::new(config).unwrap()))
            .protocol(Arc::new(Idle("a", first)))
            .protocol(Arc::new(Idle("b", second)))
            .start()
            .await;
        let error = started.err().map_or_else(String::new, |error| error.to_string());
        assert_eq!(error, expected);
    }
}
