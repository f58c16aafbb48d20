//! An honest cast from one wire to another, through the node: one that gives on comet, one that takes on fabric.

use crate::node::Node as Attacked;
use crate::world::World;
use anyhow::{Context, bail};
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;
use switchboard::WireName;
use switchboard_cast::{CastEvent, CastId};
use switchboard_node::Node;
use switchboard_node::kit::KeySource;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout};

/// How long joining, and a cast, may take.
const LIMIT: Duration = Duration::from_secs(20);

/// Two honest nodes that know only the one under attack.
pub(crate) struct Crossing {
    giver: Node,
    taker: Node,
}

/// A node on one wire that keeps a session with the attacked one.
pub(crate) async fn member(
    world: &World,
    node: &Attacked,
    wire: WireName,
    key: KeySource,
    from: Ipv4Addr,
) -> anyhow::Result<Node> {
    let builder = Node::builder().wires(&[wire]).key(wire, key).set("protocol", "cast").env(world.env(from));
    let member = builder.start().await?;
    let mut events = member.switch().events();
    member.switch().add_static(node.candidate(wire, None)?).await;
    let joined = async {
        while member.switch().peers().is_empty() {
            if events.recv().await.is_err() {
                return;
            }
        }
    };
    if timeout(LIMIT, joined).await.is_err() {
        bail!("an honest node on {wire} found no place within {LIMIT:?}");
    }
    Ok(member)
}

impl Crossing {
    pub(crate) async fn join(world: &World, node: &Attacked) -> anyhow::Result<Self> {
        let giver =
            member(world, node, "comet", world.taker_key("comet"), Ipv4Addr::new(127, 2, 1, 1)).await?;
        let taker =
            member(world, node, "fabric", world.taker_key("fabric"), Ipv4Addr::new(127, 2, 2, 1)).await?;
        Ok(Self { giver, taker })
    }

    /// Casts a new file; how long until it is whole at the other end, none when it never is.
    pub(crate) async fn cast(&self, file: &Path) -> anyhow::Result<Option<Duration>> {
        let mut events = self.taker.cast().context("no cast here")?.events();
        let began = Instant::now();
        // Strangers may have reached the giver through the node, and taken its places.
        let Ok(id) = self.giver.cast().context("no cast here")?.start(file).await else { return Ok(None) };
        Ok(timeout(LIMIT, done(&mut events, id)).await.is_ok().then(|| began.elapsed()))
    }

    pub(crate) async fn leave(self) {
        self.giver.stop().await;
        self.taker.stop().await;
    }
}

async fn done(events: &mut tokio::sync::broadcast::Receiver<CastEvent>, wanted: CastId) {
    loop {
        match events.recv().await {
            Ok(CastEvent::Done { id, .. }) if id == wanted => return,
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}
