//! Two nodes say hello to each other, once over Ethereum's wire and once over CometBFT's.
#![allow(clippy::print_stdout)]

use std::sync::Arc;
use switchboard::text::printable_bytes;
use switchboard::{
    BoxFuture, ChannelId, ChannelIo, ChannelSpec, Env, Peer, Protocol, ProtocolError, ProtocolSpec, Switch,
    SwitchBuilder,
};
use switchboard_comet::{Comet, CometConfig};
use switchboard_devp2p::{Devp2p, Devp2pConfig};

const HELLO: ChannelId = ChannelId(1);

/// The protocol: one task a peer.
struct Greet;

impl Protocol for Greet {
    fn spec(&self) -> ProtocolSpec {
        // Priority 5; messages of at most 1 kB: a longer one ends the session before it is stored.
        ProtocolSpec::new("greet", 1, vec![ChannelSpec::new(HELLO.0, 5).recv_limit(1_000)])
    }

    fn run(self: Arc<Self>, peer: Peer, mut io: ChannelIo) -> BoxFuture<'static, Result<(), ProtocolError>> {
        Box::pin(async move {
            let words = format!("hello over {}", peer.id().wire());
            io.send(HELLO, words.into_bytes()).await.map_err(|_| ProtocolError::Closed)?;
            if let Some((_, message)) = io.recv().await {
                println!("{} says {:?}", peer.id(), printable_bytes(&message));
            }
            Ok(()) // done with this peer: the session ends
        })
    }
}

/// A node that serves both wires on one port.
async fn node() -> anyhow::Result<(Switch, [String; 2])> {
    let env = Env::system()?;
    let key = switchboard_devp2p::NodeKey::generate(|| env.random());
    let devp2p = Arc::new(Devp2p::new(Devp2pConfig::new(Arc::new(key))));
    let key = switchboard_comet::NodeKey::from_seed(&env.random())?;
    let comet = Arc::new(Comet::new(CometConfig::new(Arc::new(key), "my-chain"))?);
    let switch = SwitchBuilder::new(env)
        .wire(devp2p.clone())
        .wire(comet.clone())
        .protocol(Arc::new(Greet))
        .listen("127.0.0.1:0".parse()?, &[])
        .start()
        .await?;
    let at = switch.listening()[0].0;
    let urls = [devp2p.enode(at).to_string(), comet.address(at).to_string()];
    Ok((switch, urls))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (alice, urls) = node().await?;
    let (bob, _) = node().await?;
    let mut events = bob.events();
    for url in urls {
        bob.connect(&url).await?;
    }
    let mut ended = 0;
    while ended < 2 {
        if let switchboard::Event::PeerDropped { peer, end } = events.recv().await? {
            println!("{} is gone: {}", peer.id(), end.reason);
            ended += 1;
        }
    }
    alice.stop().await;
    bob.stop().await;
    Ok(())
}

#[test]
fn the_example_runs() {
    main().unwrap();
}
