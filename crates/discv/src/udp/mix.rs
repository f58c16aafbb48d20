//! Candidates of several sources by turns, and the nodes of DNS lists.
//!
//! ```text
//!   v4 ───▶ slot ─┐
//!   v5 ───▶ slot ─┼─▶ Mix: whose turn it is, if it comes within its patience; else whoever has one
//!   DNS ──▶ slot ─┘
//! ```
//! (go-ethereum p2p/enode/iter.go, `FairMix`) A source whose turn passes has half the patience next time, and all of it
//! again once it was on time. Each source runs one node ahead, no further: nothing is searched for while nobody asks.

use super::handle::{AskError, Discovery};
use crate::dns::{Client, Contents, Link, ListError, Step, Sync, SyncStep};
use crate::node::Node;
use crate::nodes::Version;
use std::sync::Arc;
use std::time::Duration;
use switchboard::{BoxFuture, Env};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

/// How long a source whose turn it is may take.
pub const MAX_PATIENCE: Duration = Duration::from_secs(5);
/// Wait before a source that refuses is asked again.
const REST: Duration = Duration::from_secs(1);

/// Gives nodes for ever, or until it ends.
pub trait Candidates: Send + 'static {
    /// The next one; `None` at the end.
    fn next(&mut self) -> BoxFuture<'_, Option<Node>>;
}

impl Candidates for (Discovery, Version) {
    fn next(&mut self) -> BoxFuture<'_, Option<Node>> {
        Box::pin(async move {
            loop {
                match self.0.candidate(self.1).await {
                    Ok(node) => return Some(node),
                    Err(AskError::Stopped | AskError::NotRunning) => return None,
                    Err(_) => sleep(REST).await,
                }
            }
        })
    }
}

/// Nodes of DNS lists.
#[derive(Debug)]
pub struct DnsNodes {
    client: Client,
    env: Env,
    start: Instant,
}

impl DnsNodes {
    /// Takes nodes from a client's lists, with the network's names.
    #[must_use]
    pub fn new(client: Client, env: Env) -> Self {
        Self { client, env, start: Instant::now() }
    }
}

impl Candidates for DnsNodes {
    fn next(&mut self) -> BoxFuture<'_, Option<Node>> {
        Box::pin(async move {
            loop {
                match self.client.step(self.start.elapsed()) {
                    Step::Node(record) => {
                        if let Some(node) = Node::from_record(Arc::new(*record)) {
                            return Some(node);
                        }
                    }
                    Step::Wait(None) => return None,
                    Step::Wait(Some(until)) => sleep_until(self.start + until).await,
                    Step::Ask(question) => {
                        let until = self.start + question.until;
                        match timeout_at(until, self.env.net().txt(&question.name)).await {
                            Ok(Ok(texts)) => {
                                if let Err(error) = self.client.answered(question.id, &texts) {
                                    tracing::info!(%error, "a DNS list gave an entry of no use");
                                }
                            }
                            Ok(Err(error)) => {
                                tracing::info!(name = question.name, %error, "a DNS list gave no answer");
                                self.client.failed(question.id);
                            }
                            Err(_) => self.client.failed(question.id),
                        }
                    }
                }
            }
        })
    }
}

/// Reads one list to its end, with the network's names: `burst` questions at once, then one each `every`. Who calls bounds
/// the wait.
///
/// # Errors
/// [`ListError`]: the list cannot be read.
pub async fn read_list(link: Link, every: Duration, burst: u32, env: &Env) -> Result<Contents, ListError> {
    let start = Instant::now();
    let mut list = Sync::new(link, every, burst);
    loop {
        match list.step(start.elapsed()) {
            SyncStep::Done(contents) => return Ok(*contents),
            SyncStep::Failed(error) => return Err(error),
            SyncStep::Wait(until) => sleep_until(start + until).await,
            SyncStep::Ask(question) => {
                match timeout_at(start + question.until, env.net().txt(&question.name)).await {
                    Ok(Ok(texts)) => list.answered(question.id, &texts),
                    Ok(Err(error)) => {
                        tracing::info!(name = question.name, %error, "a DNS list gave no answer");
                        list.failed(question.id);
                    }
                    Err(_) => list.failed(question.id),
                }
            }
        }
    }
}

#[derive(Debug)]
struct Slot {
    nodes: mpsc::Receiver<Node>,
    patience: Duration,
    ended: bool,
    task: JoinHandle<()>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Several sources as one.
#[derive(Debug, Default)]
pub struct Mix {
    slots: Vec<Slot>,
    turn: usize,
}

impl Mix {
    /// No source yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a source.
    pub fn add(&mut self, mut source: impl Candidates) {
        let (tell, nodes) = mpsc::channel(1);
        let task = tokio::spawn(async move {
            // Room first: a node is looked for only when there is a place for it.
            while let Ok(room) = tell.reserve().await {
                let Some(node) = source.next().await else { return };
                room.send(node);
            }
        });
        self.slots.push(Slot { nodes, patience: MAX_PATIENCE, ended: false, task });
    }

    /// The next node; `None` when every source has ended. Safe to drop half-way.
    pub async fn next(&mut self) -> Option<Node> {
        loop {
            if self.slots.iter().all(|slot| slot.ended) {
                return None;
            }
            let count = self.slots.len();
            let turn = self.turn % count;
            self.turn = (turn + 1) % count;
            let Some(slot) = self.slots.get_mut(turn).filter(|slot| !slot.ended) else { continue };
            match timeout(slot.patience, slot.nodes.recv()).await {
                Ok(Some(node)) => {
                    slot.patience = MAX_PATIENCE;
                    return Some(node);
                }
                Ok(None) => slot.ended = true,
                Err(_) => {
                    slot.patience /= 2;
                    let ready = self.slots.iter_mut().find_map(|slot| slot.nodes.try_recv().ok());
                    if ready.is_some() {
                        return ready;
                    }
                    // With no patience left anywhere this would spin.
                    sleep(Duration::from_millis(10)).await;
                }
            }
        }
    }
}
