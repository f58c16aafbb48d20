//! A ring of nodes of one wire in this process: each dials its next neighbour.

use crate::fail::Fail;
use crate::wires::{self, Kind};
use std::path::{Path, PathBuf};
use std::time::Duration;
use switchboard::text::printable;
use switchboard::{Env, Event};
use switchboard_cast::{CastEvent, CastId};
use switchboard_node::{KeySource, Node};
use tokio::sync::{broadcast, mpsc};
use tokio::time::{Instant, timeout};

/// What a ring reports.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) wire: Kind,
    pub(crate) node: usize,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    Progress { held: u32, total: u32 },
    Done { hops: u8, path: PathBuf, after: Duration },
    Failed(String),
}

/// A running ring.
pub(crate) struct Ring {
    pub(crate) wire: Kind,
    nodes: Vec<Node>,
}

/// What the network is called, on wires that name theirs.
const NETWORK: &str = "switchboard-up";
/// How long the nodes may take to find their neighbours.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);

impl Ring {
    /// Starts the nodes and joins them; each keeps what it receives in a folder of its own below `data`.
    pub(crate) async fn start(wire: Kind, count: usize, data: &Path) -> Result<Self, Fail> {
        let env = Env::system().map_err(Fail::job)?;
        let mut nodes = Vec::with_capacity(count);
        for (n, key) in wire.0.network_keys(data, count, &env)?.into_iter().enumerate() {
            nodes.push(Self::node(wire, key, &data.join(format!("{wire}-{n}"))).await?);
        }
        let ring = Self { wire, nodes };
        for (n, node) in ring.nodes.iter().enumerate() {
            let next = &ring.nodes[(n + 1) % count];
            if count > 1 {
                node.switch().add_static(wires::parse(&next.url(wire.name()).unwrap_or_default())?.1).await;
            }
        }
        ring.joined().await?;
        Ok(ring)
    }

    async fn node(wire: Kind, key: KeySource, data: &Path) -> Result<Node, Fail> {
        let mut builder = Node::builder()
            .wires(&[wire.name()])
            .key(wire.name(), key)
            .set("protocol", "cast")
            .set("cast-dir", data.join("cast").display().to_string())
            .listen("127.0.0.1:0");
        if wire.has("network") {
            builder = builder.set("network", NETWORK);
        }
        Ok(builder.start().await?)
    }

    /// Waits until every node has its neighbours.
    async fn joined(&self) -> Result<(), Fail> {
        let wanted = self.nodes.len().saturating_sub(1).min(2);
        let mut last = String::new();
        let joined = async {
            for node in &self.nodes {
                let mut events = node.switch().events();
                while node.switch().peers().len() < wanted {
                    let Ok(Event::DialFailed { detail, .. }) = events.recv().await else { continue };
                    last = printable(&detail);
                    // Waiting would not help against that.
                    if is_crowded(&last) {
                        return;
                    }
                }
            }
            last.clear();
        };
        let late = timeout(CONNECT_LIMIT, joined).await.is_err();
        if late || !last.is_empty() {
            let (wire, limit) = (self.wire, CONNECT_LIMIT.as_secs());
            let why = if last.is_empty() { "nobody answered" } else { &last };
            return Err(Fail::job(format!("the {wire} ring did not form within {limit} s: {why}")));
        }
        Ok(())
    }

    /// Casts a file from the first node; steps of the others go to `steps`.
    pub(crate) async fn cast(&self, file: &Path, steps: &mpsc::Sender<Step>) -> Result<(), Fail> {
        let listeners: Vec<_> =
            self.nodes.iter().skip(1).filter_map(|node| Some(node.cast()?.events())).collect();
        let Some(first) = self.nodes.first().and_then(Node::cast) else { return Ok(()) };
        let id = first.start(file).await.map_err(Fail::usage)?;
        let began = Instant::now();
        for (n, events) in listeners.into_iter().enumerate() {
            tokio::spawn(follow(self.wire, n + 1, id, began, events, steps.clone()));
        }
        Ok(())
    }

    /// Stops all nodes.
    pub(crate) async fn stop(self) {
        let mut stops = tokio::task::JoinSet::new();
        for node in self.nodes {
            stops.spawn(async move { node.stop().await });
        }
        while stops.join_next().await.is_some() {}
    }
}

/// Reports one node's progress with one cast.
async fn follow(
    wire: Kind,
    node: usize,
    cast: CastId,
    began: Instant,
    mut events: broadcast::Receiver<CastEvent>,
    steps: mpsc::Sender<Step>,
) {
    loop {
        let what = match events.recv().await {
            Ok(CastEvent::Progress { id, held, total }) if id == cast => What::Progress { held, total },
            Ok(CastEvent::Done { id, hops, path, .. }) if id == cast => {
                What::Done { hops, path: path.unwrap_or_default(), after: began.elapsed() }
            }
            Ok(CastEvent::Failed { id, error }) if id == cast => What::Failed(error),
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => continue,
            Err(broadcast::error::RecvError::Closed) => return,
        };
        let over = !matches!(what, What::Progress { .. });
        if steps.send(Step { wire, node, what }).await.is_err() || over {
            return;
        }
    }
}

/// Whether a failure says that this process may open no more files.
pub(crate) fn is_crowded(text: &str) -> bool {
    text.contains("(os error 24)")
}
