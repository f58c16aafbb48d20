//! Two nodes say hello to each other over Ethereum's wire, CometBFT's and Fabric's, with one protocol.
#![allow(clippy::print_stdout)]

use std::sync::Arc;
use switchboard::text::printable_bytes;
use switchboard::{
    BoxFuture, ChannelId, ChannelIo, ChannelSpec, Peer, Protocol, ProtocolError, ProtocolSpec,
};
use switchboard_node::Node;

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
            io.send(HELLO, format!("hello over {}", peer.id().wire()).into_bytes()).await?;
            if let Some((_, message)) = io.recv().await {
                println!("{} says {:?}", peer.id(), printable_bytes(&message));
            }
            Ok(()) // done with this peer: the session ends
        })
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let [alice, bob] = Node::local()?;
    let (alice, bob) = (alice.protocol(Greet).start().await?, bob.protocol(Greet).start().await?);
    for url in alice.urls() {
        let peer = bob.connect(&url).await?;
        println!("{} is gone: {}", peer.id(), peer.ended().await.reason);
    }
    alice.stop().await;
    bob.stop().await;
    Ok(())
}

#[test]
fn the_example_runs() {
    main().unwrap();
}
