//! What protocols tell of themselves and of a peer, for an operator.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

mod common;
use common::net::Net;
use common::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use switchboard::protocol::Info;
use switchboard::{
    BoxFuture, ChannelIo, ChannelSpec, Peer, Protocol, ProtocolError, ProtocolSpec, SwitchBuilder,
};

/// Knows a peer once it has heard its greeting.
#[derive(Default)]
struct Head {
    greeted: AtomicBool,
}

impl Protocol for Head {
    fn spec(&self) -> ProtocolSpec {
        ProtocolSpec::new("head", 3, vec![ChannelSpec::new(0, 1)])
    }

    fn node_info(&self) -> Option<Info> {
        Some(vec![("height", 7_u64.into()), ("name", "a\nb".into())])
    }

    fn peer_info(&self, _: &Peer) -> Option<Info> {
        self.greeted.load(Ordering::Relaxed).then(|| vec![("greeted", true.into())])
    }

    fn run(self: Arc<Self>, peer: Peer, mut io: ChannelIo) -> BoxFuture<'static, Result<(), ProtocolError>> {
        Box::pin(async move {
            io.recv().await;
            self.greeted.store(true, Ordering::Relaxed);
            io.send(C0, "back").await?;
            peer.ended().await;
            Ok(())
        })
    }
}

#[tokio::test(start_paused = true)]
async fn protocols_tell_of_the_node_and_of_each_peer() {
    let net = Net::default().host([127, 0, 0, 1]);
    let hub: SwitchBuilder = builder(&net, 1);
    let hub = hub.protocol(Arc::new(Head::default())).start().await.unwrap();
    let told = hub.protocols();
    let [head] = &told[..] else { panic!("{told:?}") };
    assert_eq!((head.name.as_str(), head.version, &head.wires[..]), ("head", 3, &["memory"][..]));
    let info = head.info.clone().unwrap();
    assert_eq!(info[0], ("height", 7_u64.into()));
    assert_eq!(info[1], ("name", "a\nb".into()), "remote text is escaped when it is put in");

    let asks = made("head", vec![ChannelSpec::new(0, 1)], |peer, mut io| async move {
        // The other side shakes hands until it has heard us.
        peer.set(tokio::sync::Notify::new());
        peer.get::<tokio::sync::Notify>().unwrap().notified().await;
        io.send(C0, "hello").await?;
        io.recv().await;
        peer.ended().await;
        Ok(())
    });
    let other = builder(&net, 2).protocol(versioned(asks, 3)).start().await.unwrap();
    let (here, there) = join(&other, &hub).await;
    settle().await;
    assert_eq!(there.protocol_infos(), [("head", None)], "it still shakes hands");
    here.get::<tokio::sync::Notify>().unwrap().notify_one();
    settle().await;
    assert_eq!(there.protocol_infos(), [("head", Some(vec![("greeted", true.into())]))]);
    finish(&[&hub, &other]).await;
}

/// The same protocol with another version.
fn versioned(inner: Arc<dyn Protocol>, version: u32) -> Arc<dyn Protocol> {
    struct Versioned(Arc<dyn Protocol>, u32);
    impl Protocol for Versioned {
        fn spec(&self) -> ProtocolSpec {
            ProtocolSpec::new(&self.0.spec().name, self.1, self.0.spec().channels)
        }

        fn run(self: Arc<Self>, peer: Peer, io: ChannelIo) -> BoxFuture<'static, Result<(), ProtocolError>> {
            Arc::clone(&self.0).run(peer, io)
        }
    }
    Arc::new(Versioned(inner, version))
}
