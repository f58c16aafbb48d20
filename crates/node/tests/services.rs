//! A service of a program's own, whose protocol shares its state and knows nothing of wires, on all of them.
#![allow(clippy::unwrap_used)] // helpers of tests

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use switchboard::service::{Service, ServiceContext, ServiceError};
use switchboard::wire::Placement;
use switchboard::{
    BoxFuture, ChannelId, ChannelIo, ChannelSpec, Peer, Protocol, ProtocolError, ProtocolSpec, WireName,
};
use switchboard_node::Node;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);
const COUNT: ChannelId = ChannelId(0);

/// Counts greetings: the service and its protocol look at one number.
#[derive(Default)]
struct Counter {
    heard: Arc<AtomicU64>,
}

struct Counting(Arc<AtomicU64>);

impl Protocol for Counting {
    fn spec(&self) -> ProtocolSpec {
        ProtocolSpec::new("counter", 1, vec![ChannelSpec::new(COUNT.0, 1).recv_limit(100)])
    }

    fn run(self: Arc<Self>, _: Peer, mut io: ChannelIo) -> BoxFuture<'static, Result<(), ProtocolError>> {
        Box::pin(async move {
            io.send(COUNT, "one").await?;
            if io.recv().await.is_some() {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        })
    }
}

impl Service for Counter {
    fn name(&self) -> &str {
        "counter"
    }

    fn protocol(&self) -> Option<(Arc<dyn Protocol>, Option<WireName>)> {
        Some((Arc::new(Counting(Arc::clone(&self.heard))), None))
    }

    fn placement(&self) -> Placement {
        Placement::Plain
    }

    fn figures(&self) -> Vec<(&'static str, String)> {
        vec![("heard", self.heard.load(Ordering::Relaxed).to_string())]
    }

    fn run(self: Arc<Self>, context: ServiceContext) -> BoxFuture<'static, Result<(), ServiceError>> {
        Box::pin(async move {
            context.stopping().await;
            Ok(())
        })
    }
}

#[tokio::test]
async fn a_services_protocol_rides_on_every_wire() {
    let [alice, bob] = Node::local().unwrap();
    let (ours, theirs) = (Arc::new(Counter::default()), Arc::new(Counter::default()));
    let alice = alice.service(Arc::<Counter>::clone(&ours)).start().await.unwrap();
    let bob = bob.service(Arc::<Counter>::clone(&theirs)).start().await.unwrap();
    for url in alice.urls() {
        let peer = timeout(PATIENCE, bob.connect(&url)).await.unwrap().unwrap();
        assert!(peer.protocols().any(|(name, _)| name == "counter"), "{url}");
        let both = async {
            while [&ours, &theirs].iter().any(|counter| counter.heard.load(Ordering::Relaxed) == 0) {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, both).await.unwrap();
        peer.disconnect(switchboard::Reason::Requested);
        timeout(PATIENCE, peer.ended()).await.unwrap();
        [&ours, &theirs].iter().for_each(|counter| counter.heard.store(0, Ordering::Relaxed));
    }
    let told = alice.switch().protocols();
    let counter = told.iter().find(|protocol| protocol.name == "counter").unwrap();
    assert_eq!(counter.wires.len(), 3, "{told:?}");
    let cast = told.iter().find(|protocol| protocol.name == "cast").unwrap();
    assert_eq!(cast.info.as_ref().unwrap()[0], ("casts", 0_u64.into()));
    assert!(alice.switch().services().iter().any(|service| service.name == "counter"));
    alice.stop().await;
    bob.stop().await;
}
