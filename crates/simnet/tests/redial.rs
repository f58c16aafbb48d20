//! A comet node whose persistent peer is away for more than a virtual day: whole Switches, the documented waits.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use switchboard::{
    BoxFuture, Candidate, ChannelIo, ChannelSpec, Event, Events, Peer, PeerId, Protocol, ProtocolError,
    ProtocolSpec, Switch, SwitchBuilder,
};
use switchboard_comet::redial::{JITTER, Plan};
use switchboard_comet::{COMET, Comet, CometConfig, NodeKey};
use switchboard_simnet::{Link, SimNet, run};
use tokio::time::{Instant, timeout};

const PORT: u16 = 26_656;
/// More than a dial to a host that refuses takes over these links.
const DIAL: Duration = Duration::from_secs(1);

/// Stays until the session ends.
struct Idle;

impl Protocol for Idle {
    fn spec(&self) -> ProtocolSpec {
        ProtocolSpec::new("idle", 1, vec![ChannelSpec::new(0x70, 1)])
    }

    fn run(self: Arc<Self>, _: Peer, mut io: ChannelIo) -> BoxFuture<'static, Result<(), ProtocolError>> {
        Box::pin(async move {
            while io.recv().await.is_some() {}
            Ok(())
        })
    }
}

fn key(n: u8) -> NodeKey {
    NodeKey::from_seed(&[n; 32]).unwrap()
}

fn ip(n: u8) -> IpAddr {
    Ipv4Addr::new(20, n, 0, 1).into()
}

async fn node(net: &SimNet, n: u8, persistent: Option<u8>) -> Switch {
    let comet = Comet::new(CometConfig::new(Arc::new(key(n)), "sim-net")).unwrap();
    let mut builder = SwitchBuilder::new(net.host(ip(n)).env())
        .wire(Arc::new(comet))
        .protocol(Arc::new(Idle))
        .listen(SocketAddr::new(ip(n), PORT), &[]);
    if let Some(other) = persistent {
        let id = PeerId::new(COMET, &key(other).id().0).unwrap();
        builder = builder.static_peer(Candidate::new(COMET, ip(other).to_string(), PORT).id(id));
    }
    builder.start().await.unwrap()
}

async fn until(events: &mut Events, limit: Duration, pleases: impl Fn(&Event) -> bool) -> Instant {
    let waiting = async { while !pleases(&events.recv().await.unwrap()) {} };
    timeout(limit, waiting).await.expect("the event came in time");
    Instant::now()
}

#[test]
fn a_persistent_peer_is_dialled_by_the_plan_and_never_given_up() {
    let (told, _) = run::once(3, |net| async move {
        net.every_link(Link::new().latency(Duration::from_millis(40)));
        let other = node(&net, 2, None).await;
        let first = node(&net, 1, Some(2)).await;
        let mut events = first.events();
        until(&mut events, Duration::from_secs(30), |event| matches!(event, Event::PeerAdded(_))).await;
        other.stop().await;
        let lost = until(&mut events, DIAL, |event| matches!(event, Event::PeerDropped { .. })).await;

        // Each try comes after its wait, its random part, and no later.
        let plan = Plan::default().redial();
        let after = plan.after.unwrap();
        let mut last = lost;
        for (n, wait) in plan.waits.iter().chain([&after, &after]).enumerate() {
            let limit = *wait + JITTER + DIAL;
            let tried = until(&mut events, limit, |event| matches!(event, Event::DialFailed { .. })).await;
            assert!(tried - last >= *wait, "try {n} came after {:?}, before {wait:?}", tried - last);
            last = tried;
        }
        let away = last - lost;
        assert!(away > Duration::from_secs(2 * 24 * 3_600));

        // It is back, and the next try finds it.
        let again = node(&net, 2, None).await;
        let added = |event: &Event| matches!(event, Event::PeerAdded(_));
        let back = until(&mut events, after + JITTER + DIAL, added).await - last;
        first.stop().await;
        again.stop().await;
        format!("away for {} h, back {} h after the last try", away.as_secs() / 3_600, back.as_secs() / 3_600)
    });
    eprintln!("{told}");
}
