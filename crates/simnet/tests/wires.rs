//! Whole nodes over the real wires, with real handshakes and ciphers, on the virtual network.
#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use switchboard::wire::Wire;
use switchboard::{Protocol, Switch, SwitchBuilder};
use switchboard_bench::{BulkPlan, Drive, EchoPlan, Payload};
use switchboard_comet::{Comet, CometConfig};
use switchboard_devp2p::{Devp2p, Devp2pConfig};
use switchboard_simnet::{Link, SimNet, run};
use tokio::time::{Instant, sleep, timeout};

const NODES: u8 = 6;

fn ip(n: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, n + 1).into()
}

fn port(n: u8) -> SocketAddr {
    (ip(n), 26_656).into()
}

async fn start(
    net: &SimNet,
    n: u8,
    wire: Arc<dyn Wire>,
    protocol: Arc<dyn Protocol>,
    dial: Option<String>,
) -> Switch {
    let mut builder = SwitchBuilder::new(net.host(ip(n)).env()).listen(port(n), &[]);
    if let Some(url) = dial {
        builder = builder.static_peer(wire.parse(&url).unwrap());
    }
    builder.wire(wire).protocol(protocol).start().await.unwrap()
}

/// Waits until every node has `peers` peers.
async fn settled(nodes: &[Switch], peers: usize) {
    let whole = async {
        while nodes.iter().any(|node| node.peers().len() < peers) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(300), whole).await.expect("not everybody is connected");
}

async fn stop(nodes: &[Switch]) {
    for node in nodes {
        node.stop().await;
        assert_eq!(node.bytes_held(), 0);
    }
}

fn slow() -> Link {
    Link::new().latency(Duration::from_millis(25)).jitter(Duration::from_millis(3)).bandwidth(2_000_000)
}

const ECHO: EchoPlan = EchoPlan::new(10, 5_000, 2);
const BULK: BulkPlan = BulkPlan::new(2_000_000, 50_000, Payload::Random);

/// Node n dials node n - 1; the driver of the last node measures; then a cut, and all find together again.
macro_rules! scenario {
    ($name:ident, $bench:path, $wire:expr, $url:expr) => {
        async fn $name(net: SimNet) -> (Duration, Duration) {
            use $bench as bench;
            net.every_link(slow());
            let (mut nodes, mut before) = (Vec::new(), None);
            let (driven, mut drivers) = bench::Bench::driven();
            for n in 0..NODES {
                let wire = Arc::new($wire(n));
                let url = $url(&wire, port(n));
                let bench = if n == NODES - 1 { Arc::clone(&driven) } else { bench::Bench::server() };
                nodes.push(start(&net, n, wire, bench, before.replace(url)).await);
            }
            settled(&nodes, 1).await;
            let mut driver = drivers.recv().await.expect("no session to drive");
            let start = Instant::now();
            driver.echo(ECHO).await.expect("echo");
            let echo = start.elapsed();
            let report = driver.bulk(BULK).await.expect("bulk");
            assert_eq!(report.report.map(|r| r.bytes), Some(BULK.bytes));
            let bulk = start.elapsed() - echo;

            let (left, right): (Vec<_>, Vec<_>) = (0..NODES).map(ip).partition(|ip| *ip < self::ip(3));
            net.cut(&left, &right);
            sleep(Duration::from_secs(120)).await;
            assert_eq!(nodes[2].peers().len(), 1, "a silent neighbour was kept");
            net.heal();
            settled(&nodes[1..5], 2).await;
            stop(&nodes).await;
            (echo, bulk)
        }
    };
}

fn devp2p(n: u8) -> Devp2p {
    let key = switchboard_devp2p::NodeKey::from_bytes(&[n + 1; 32]).unwrap();
    Devp2p::new(Devp2pConfig::new(Arc::new(key)))
}

fn comet(n: u8) -> Comet {
    let key = switchboard_comet::NodeKey::from_seed(&[n + 1; 32]).unwrap();
    Comet::new(CometConfig::new(Arc::new(key), "simnet")).unwrap()
}

scenario!(over_devp2p, switchboard_devp2p::bench, devp2p, |wire: &Devp2p, at| wire.enode(at).to_string());
scenario!(over_comet, switchboard_comet::bench, comet, |wire: &Comet, at| wire.address(at).to_string());

/// Ten echoes of 5 kB, two at a time, are five round trips of 50 to 60 ms and the bytes' own time; 2 MB at 2 MB/s are a second.
fn plausible((echo, bulk): (Duration, Duration)) {
    let ms = Duration::from_millis;
    assert!((ms(250)..ms(420)).contains(&echo), "{echo:?}");
    assert!((ms(1_000)..ms(1_200)).contains(&bulk), "{bulk:?}");
}

#[test]
fn a_chain_over_devp2p_is_the_same_twice() {
    let (times, audit) = run::twice(21, over_devp2p);
    plausible(times);
    assert_ne!(audit.hash, run::once(22, over_devp2p).1.hash);
}

#[test]
fn a_chain_over_comet_is_the_same_twice() {
    let (times, audit) = run::twice(23, over_comet);
    plausible(times);
    assert_ne!(audit.hash, run::once(24, over_comet).1.hash);
}

/// Two nodes of one organisation. Keys and TLS draw on the operating system, so runs differ in their bytes.
async fn over_fabric(net: SimNet) -> Duration {
    use switchboard_fabric::{Fabric, FabricConfig, PeerFolder, bench, keygen::keygen};
    net.every_link(slow());
    let folder = tempfile::tempdir().unwrap();
    // TLS asks the system's clock, the rest of the wire asks Env's: certificates of 2025 are valid by both.
    let then = std::time::UNIX_EPOCH + Duration::from_secs(switchboard_simnet::net::EPOCH - 400 * 86_400);
    let made = keygen(&folder.path().join("org"), "Org1MSP", 2, then).unwrap();
    // The name that made certificates are for.
    net.name("localhost", ip(0));
    let (driven, mut drivers) = bench::driven();
    let (mut nodes, mut before) = (Vec::new(), None);
    for (n, peer) in (0..).zip(&made) {
        let config = FabricConfig::new(PeerFolder::load(peer, "Org1MSP").unwrap());
        let wire = Arc::new(Fabric::new(config).unwrap());
        let bench = if n == 1 { Arc::clone(&driven) } else { bench::server() };
        let url = before.replace(format!("fabric://localhost:{}", port(n).port()));
        nodes.push(start(&net, n, wire, bench, url).await);
    }
    settled(&nodes, 1).await;
    let mut driver = drivers.recv().await.expect("no session to drive");
    let start = Instant::now();
    driver.echo(ECHO).await.expect("echo");
    let echo = start.elapsed();
    net.cut(&[ip(0)], &[ip(1)]);
    sleep(Duration::from_secs(300)).await;
    assert!(nodes[1].peers().is_empty(), "a silent neighbour was kept");
    net.heal();
    settled(&nodes, 1).await;
    stop(&nodes).await;
    echo
}

#[test]
fn a_pair_over_fabric_heals() {
    let echo = run::once(25, over_fabric).0;
    assert!((Duration::from_millis(250)..Duration::from_millis(500)).contains(&echo), "{echo:?}");
}
