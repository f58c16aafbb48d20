//! A port that serves three wires: a dialler whose first bytes are late is still heard on its own wire, one that speaks
//! at once waits for nothing, and one that waits for the listener's word is offered comet in the end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use switchboard::wire::Wire;
use switchboard::{Candidate, Env, Switch, SwitchBuilder};
use switchboard_comet::{Comet, CometConfig};
use switchboard_devp2p::{Devp2p, Devp2pConfig};
use switchboard_fabric::{Fabric, FabricConfig, PeerFolder, keygen::keygen};
use switchboard_simnet::{Link, SimNet, run};
use tokio::io::{AsyncReadExt, copy};
use tokio::time::{Instant, sleep};

const LISTENER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
const DIALLER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 3));
const PORT: u16 = 26_656;
/// Two lost packets: the first is sent again after 1 s.
const LATE: Duration = Duration::from_secs(2);

fn devp2p(n: u8) -> Arc<Devp2p> {
    let key = switchboard_devp2p::NodeKey::from_bytes(&[n; 32]).unwrap();
    Arc::new(Devp2p::new(Devp2pConfig::new(Arc::new(key))))
}

fn comet(n: u8) -> Arc<Comet> {
    let key = switchboard_comet::NodeKey::from_seed(&[n; 32]).unwrap();
    Arc::new(Comet::new(CometConfig::new(Arc::new(key), "simnet")).unwrap())
}

/// Passes connections on; what their diallers send leaves `LATE` later than it came.
async fn proxy(env: Env) {
    let listener = env.net().listen((PROXY, PORT).into()).await.unwrap();
    loop {
        let near = listener.accept().await.unwrap();
        let far = env.net().connect((LISTENER, PORT).into()).await.unwrap();
        tokio::spawn(async move {
            let (mut from, mut to) = (near.reader, far.writer);
            sleep(LATE).await;
            let _ = copy(&mut from, &mut to).await;
        });
        tokio::spawn(async move {
            let (mut from, mut to) = (far.reader, near.writer);
            let _ = copy(&mut from, &mut to).await;
        });
    }
}

/// How long a session takes that is dialled at an address.
async fn dialled(env: Env, wire: Arc<dyn Wire>, whom: Candidate) -> Duration {
    let (name, began) = (wire.name(), Instant::now());
    let switch = SwitchBuilder::new(env).wire(wire).start().await.unwrap();
    let peer = switch.connect_to(whom).await;
    assert_eq!(peer.unwrap_or_else(|error| panic!("{name}: {error}")).id().wire(), name);
    let took = began.elapsed();
    switch.stop().await;
    took
}

struct World {
    net: SimNet,
    wires: [Arc<dyn Wire>; 3],
    others: [Arc<dyn Wire>; 3],
    _folder: tempfile::TempDir,
}

impl World {
    fn new(net: SimNet) -> Self {
        net.every_link(Link::new().latency(Duration::from_millis(25)));
        net.name("localhost", PROXY);
        let folder = tempfile::tempdir().unwrap();
        let then = std::time::UNIX_EPOCH + Duration::from_secs(switchboard_simnet::net::EPOCH - 400 * 86_400);
        let made = keygen(&folder.path().join("org"), "Org1MSP", 2, then).unwrap();
        let fabric = |n: usize| {
            let config = FabricConfig::new(PeerFolder::load(&made[n], "Org1MSP").unwrap());
            Arc::new(Fabric::new(config).unwrap())
        };
        let wires: [Arc<dyn Wire>; 3] = [devp2p(1), comet(1), fabric(0)];
        Self { net, wires, others: [devp2p(2), comet(2), fabric(1)], _folder: folder }
    }

    async fn listener(&self, wires: &[Arc<dyn Wire>]) -> Switch {
        let mut builder =
            SwitchBuilder::new(self.net.host(LISTENER).env()).listen((LISTENER, PORT).into(), &[]);
        for wire in wires {
            builder = builder.wire(Arc::clone(wire));
        }
        builder.start().await.unwrap()
    }
}

async fn late_diallers(net: SimNet) -> Vec<Duration> {
    let world = World::new(net);
    let listener = world.listener(&world.wires).await;
    tokio::spawn(proxy(world.net.host(PROXY).env()));
    sleep(Duration::from_millis(100)).await;
    let mut took = Vec::new();
    for (ours, theirs) in world.others.iter().zip(&world.wires) {
        let at: SocketAddr = (PROXY, PORT).into();
        let mut whom = theirs.parse(&theirs.own_url(at)).unwrap();
        if theirs.name() == switchboard_fabric::FABRIC {
            // The name that the certificate is for.
            "localhost".clone_into(&mut whom.host);
        }
        took.push(dialled(world.net.host(DIALLER).env(), Arc::clone(ours), whom).await);
    }
    listener.stop().await;
    took
}

#[test]
fn a_late_dialler_is_heard_on_its_own_wire() {
    for took in run::once(31, late_diallers).0 {
        assert!((LATE..LATE + Duration::from_secs(1)).contains(&took), "{took:?}");
    }
}

/// Times of a comet session, on a port of its own and on one that three wires share.
async fn prompt_dialler(net: SimNet) -> [Duration; 2] {
    let world = World::new(net);
    let mut took = Vec::new();
    for wires in [&world.wires[1..2], &world.wires[..]] {
        let listener = world.listener(wires).await;
        let whom = world.wires[1].parse(&world.wires[1].own_url((LISTENER, PORT).into())).unwrap();
        took.push(dialled(world.net.host(DIALLER).env(), Arc::clone(&world.others[1]), whom).await);
        listener.stop().await;
    }
    [took[0], took[1]]
}

/// CometBFT's dialler writes its key at once, while it reads (`p2p/conn/secret_connection.go`, `shareEphPubKey`), and so
/// does ours. A listener that has to hear it first answers a round trip later than one that speaks at once; how long it
/// would have waited costs nothing.
#[test]
fn a_prompt_comet_dialler_pays_one_round_trip_and_no_wait() {
    let [own, shared] = run::once(32, prompt_dialler).0;
    assert!(
        shared <= own + Duration::from_millis(51),
        "{own:?} on a port of its own, {shared:?} on a shared one"
    );
}

async fn silent_dialler(net: SimNet) -> (Vec<u8>, Duration) {
    let world = World::new(net);
    let listener = world.listener(&world.wires).await;
    let env = world.net.host(DIALLER).env();
    let (began, mut heard) = (Instant::now(), vec![0; 3]);
    let mut connection = env.net().connect((LISTENER, PORT).into()).await.unwrap();
    connection.reader.read_exact(&mut heard).await.unwrap();
    let took = began.elapsed();
    listener.stop().await;
    (heard, took)
}

#[test]
fn who_waits_for_the_listener_is_offered_comet_in_the_end() {
    let (heard, took) = run::once(33, silent_dialler).0;
    assert_eq!(heard, [0x22, 0x0a, 0x20], "SecretConnection's first bytes");
    let secs = Duration::from_secs;
    assert!((secs(5)..secs(6)).contains(&took), "{took:?}");
}
