//! Two whole nodes over TCP.
#![allow(clippy::unwrap_used)] // helpers of tests may, as the tests themselves

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use switchboard::net::connect_host;
use switchboard::wire::Wire;
use switchboard::{Candidate, Env, Event, Reason, Switch, SwitchBuilder};
use switchboard_bench::{BulkPlan, Drive, EchoPlan, Payload};
use switchboard_fabric::bench;
use switchboard_fabric::keygen::keygen;
use switchboard_fabric::{Fabric, FabricConfig, PeerFolder, probe};

#[allow(clippy::disallowed_methods)]
fn peers(dir: &Path, name: &str, count: usize) -> Vec<PeerFolder> {
    let made = keygen(&dir.join(name), "Org1MSP", count, std::time::SystemTime::now()).unwrap();
    made.iter().map(|peer| PeerFolder::load(peer, "Org1MSP").unwrap()).collect()
}

fn wire(folder: PeerFolder) -> Arc<Fabric> {
    Arc::new(Fabric::new(FabricConfig::new(folder)).unwrap())
}

async fn listening(wire: Arc<Fabric>) -> (Switch, Candidate) {
    let local: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let builder = SwitchBuilder::new(Env::system().unwrap()).wire(wire).protocol(bench::server());
    let switch = builder.listen(local, &[]).start().await.unwrap();
    let at = switch.listening()[0].0;
    let candidate = switch.parse(&format!("fabric://{at}")).unwrap();
    (switch, candidate)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn echo_bulk_and_probe() {
    let dir = tempfile::tempdir().unwrap();
    let mut folders = peers(dir.path(), "org", 3);
    let (server, at) = listening(wire(folders.pop().unwrap())).await;
    let (protocol, mut drivers) = bench::driven();
    let client =
        SwitchBuilder::new(Env::system().unwrap()).wire(wire(folders.pop().unwrap())).protocol(protocol);
    let client = client.start().await.unwrap();
    let _ = client.offer(at.clone()).await;
    let mut driver = drivers.recv().await.unwrap();
    for size in [0, 1, 1023, 1024, 1025, 65_536, 1_000_000] {
        let result = driver.echo(EchoPlan::new(5, size, 2)).await.unwrap();
        assert_eq!(result.count, 5, "size {size}");
    }
    let bulk = driver.bulk(BulkPlan::new(8 << 20, 65_536, Payload::Random)).await.unwrap();
    assert_eq!(bulk.sent_msgs, 128);

    let env = Env::system().unwrap();
    let third = wire(folders.pop().unwrap());
    let limit = std::time::Duration::from_secs(5);
    let connection = connect_host(&**env.net(), &at.host, at.port, limit).await.unwrap();
    let mut probed = probe(connection, &at, &third, &env).await.unwrap();
    assert_eq!(Some(probed.peer), server.local_id("fabric"));
    probed.ping().await.unwrap();
    let mut events = server.events();
    drop(probed);
    match events.recv().await.unwrap() {
        Event::Probed { id, .. } => assert_eq!(id, third.local_id()),
        other => panic!("{other:?}"),
    }
    client.stop().await;
    loop {
        if let Event::PeerDropped { end, .. } = events.recv().await.unwrap() {
            assert_eq!(end.reason, Reason::RemoteClosed, "{end:?}");
            break;
        }
    }
    server.stop().await;
    assert_eq!(server.bytes_held(), 0);
}

/// The same MSP id from another CA: neither side takes the other, whoever dials.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_organisation_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let ours = peers(dir.path(), "ours", 1).remove(0);
    let foreign = peers(dir.path(), "foreign", 1).remove(0);
    let (server, at) = listening(wire(ours)).await;
    let client = SwitchBuilder::new(Env::system().unwrap()).wire(wire(foreign)).protocol(bench::driven().0);
    let client = client.start().await.unwrap();
    let mut events = client.events();
    let _ = client.offer(at).await;
    loop {
        if let Event::DialFailed { reason, .. } = events.recv().await.unwrap() {
            assert_eq!(reason, Reason::InvalidIdentity);
            break;
        }
    }
    assert!(server.peers().is_empty());
    client.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_pki_id_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut folders = peers(dir.path(), "org", 2);
    let (server, mut at) = listening(wire(folders.pop().unwrap())).await;
    at.id = switchboard::PeerId::new("fabric", &[7; 32]);
    let client = SwitchBuilder::new(Env::system().unwrap()).wire(wire(folders.pop().unwrap()));
    let client = client.protocol(bench::driven().0).start().await.unwrap();
    let mut events = client.events();
    let _ = client.offer(at).await;
    loop {
        if let Event::DialFailed { reason, .. } = events.recv().await.unwrap() {
            assert_eq!(reason, Reason::WrongIdentity);
            break;
        }
    }
    client.stop().await;
    server.stop().await;
}
