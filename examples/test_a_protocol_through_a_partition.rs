//! A node is cut off and found again, in virtual time: minutes pass in milliseconds, the same way each run.
#![allow(clippy::print_stdout)]

use bytes::Bytes;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use switchboard::{
    BoxFuture, ChannelId, ChannelSpec, Event, Peer, ProtocolError, ProtocolSpec, Reactor, Switch,
    SwitchBuilder, protocol::reactor::Adapter, wire::Wire,
};
use switchboard_devp2p::{Devp2p, Devp2pConfig, NodeKey};
use switchboard_simnet::{Link, SimNet, run};
use tokio::time::sleep;

/// The protocol under test does nothing but be there.
struct Quiet;

impl Reactor for Quiet {
    fn spec(&self) -> ProtocolSpec {
        ProtocolSpec::new("quiet", 1, vec![ChannelSpec::new(0, 1)])
    }

    fn receive<'a>(
        &'a self,
        _: &'a Peer,
        _: ChannelId,
        _: Bytes,
    ) -> BoxFuture<'a, Result<(), ProtocolError>> {
        Box::pin(async { Ok(()) })
    }
}

fn ip(n: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, n).into()
}

/// A whole node, as in production, but for its host.
async fn node(net: &SimNet, n: u8, dial: Option<&str>) -> anyhow::Result<(Switch, String)> {
    let key = NodeKey::from_bytes(&[n; 32]).ok_or_else(|| anyhow::anyhow!("not a key"))?;
    let wire = Arc::new(Devp2p::new(Devp2pConfig::new(Arc::new(key))));
    let mut builder = SwitchBuilder::new(net.host(ip(n)).env()).listen((ip(n), 30_303).into(), &[]);
    if let Some(url) = dial {
        builder = builder.static_peer(wire.parse(url)?);
    }
    let switch = builder.wire(wire.clone()).protocol(Arc::new(Adapter(Quiet))).start().await?;
    let url = wire.enode(switch.listening()[0].0).to_string();
    Ok((switch, url))
}

async fn scenario(net: SimNet) -> anyhow::Result<()> {
    net.every_link(Link::new().latency(Duration::from_millis(80)).loss(1_000));
    let (alice, url) = node(&net, 1, None).await?;
    let (bob, _) = node(&net, 2, Some(&url)).await?;
    let mut events = bob.events();
    sleep(Duration::from_secs(5)).await;
    net.cut(&[ip(1)], &[ip(2)]);
    sleep(Duration::from_secs(300)).await;
    net.heal();
    sleep(Duration::from_secs(120)).await;
    while let Ok(event) = events.try_recv() {
        match event {
            Event::PeerAdded(_) => println!("connected"),
            Event::PeerDropped { end, .. } => println!("gone: {}", end.reason),
            Event::DialFailed { retry_in, detail, .. } => println!("{detail}; again in {retry_in:.1?}"),
            _ => {}
        }
    }
    anyhow::ensure!(bob.peers().len() == 1, "bob did not find alice again");
    alice.stop().await;
    bob.stop().await;
    Ok(())
}

fn main() -> anyhow::Result<()> {
    // Runs it twice and compares every delivered byte and its time.
    let (result, audit) = run::twice(42, scenario);
    println!("{audit}");
    result
}

#[test]
fn the_example_runs() {
    main().unwrap();
}
