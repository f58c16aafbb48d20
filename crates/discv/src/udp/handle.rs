//! What a program sees of running discovery.

use super::actor::{Actor, Job};
use super::config::{DiscoveryConfig, StartError};
use crate::v5::{CallError, TalkHandler};
use crate::{Node, NodeId, v4, v5};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use switchboard::Env;
use switchboard::net::Datagrams;
use switchboard::store::StoreError;
use switchboard_enr::Record;
use tokio::sync::{Mutex, broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

pub use crate::nodes::Version;

/// Events that wait for a slow reader.
const EVENTS: usize = 1_024;

/// Why a request has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// Nobody answered, or nothing of use.
    #[error("no answer")]
    NoAnswer,
    /// The node's answer, or the request, was of no use.
    #[error(transparent)]
    Call(CallError),
    /// Too much is under way already.
    #[error("too many requests are under way")]
    Busy,
    /// The version does not run.
    #[error("this version of discovery does not run here")]
    NotRunning,
    /// Discovery has stopped.
    #[error("discovery has stopped")]
    Stopped,
}

/// A node is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pong {
    /// The sequence number of its record; 0 for none.
    pub seq: u64,
    /// From the request to its answer, a handshake included.
    pub rtt: Duration,
}

/// What happens.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A node is new in a table.
    Added(Version, Node),
    /// A node's record was fetched.
    Record(Version, Node),
    /// Our own record is another now.
    Local(Arc<Record>),
    /// So many requests in a row went unanswered that our clock may be wrong.
    ClockDoubt,
}

/// What was received, dropped and sent so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// discv4's.
    pub v4: v4::state::Counters,
    /// discv5's.
    pub v5: v5::Counters,
    /// Datagrams received.
    pub received: u64,
    /// Datagrams of neither version.
    pub foreign: u64,
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams that the socket had no room for.
    pub lost: u64,
    /// Entries of the tables, and how many of them are live: of version 4, then 5.
    pub tables: [(usize, usize); 2],
}

/// Running discovery. Clones share it; it runs until [`Discovery::stop`], or until the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Discovery {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    id: NodeId,
    addr: SocketAddr,
    jobs: mpsc::Sender<Job>,
    record: watch::Receiver<Arc<Record>>,
    events: broadcast::Sender<Event>,
    stop: watch::Sender<bool>,
    task: Mutex<Option<JoinHandle<Result<(), StoreError>>>>,
}

impl Discovery {
    /// Binds the socket and starts.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(config: DiscoveryConfig, env: Env) -> Result<Self, StartError> {
        let bind = env.net().bind(config.listen).await;
        let socket = bind.map_err(|error| StartError::Bind { addr: config.listen, error })?;
        Self::start_on(socket, config, env).await
    }

    /// Starts on a socket that is bound already.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start_on(
        socket: Arc<dyn Datagrams>,
        config: DiscoveryConfig,
        env: Env,
    ) -> Result<Self, StartError> {
        let (jobs, receiver) = mpsc::channel(super::MAX_JOBS);
        let (events, _) = broadcast::channel(EVENTS);
        let (stop, stopped) = watch::channel(false);
        let (actor, record) = Actor::new(socket, config, env, receiver, events.clone(), stopped).await?;
        let (id, addr) = (actor.id(), actor.local_addr());
        let task = Mutex::new(Some(tokio::spawn(actor.run())));
        Ok(Self { shared: Arc::new(Shared { id, addr, jobs, record, events, stop, task }) })
    }

    /// Our id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.shared.id
    }

    /// The bound address.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.addr
    }

    /// Our record as it is now.
    #[must_use]
    pub fn record(&self) -> Arc<Record> {
        self.shared.record.borrow().clone()
    }

    /// Our record, followed.
    #[must_use]
    pub fn records(&self) -> watch::Receiver<Arc<Record>> {
        self.shared.record.clone()
    }

    /// What happens from now on.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.events.subscribe()
    }

    /// Runs a job in the task and waits for what it gives.
    async fn with<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Actor) -> T + Send + 'static,
    ) -> Result<T, AskError> {
        let (tell, told) = oneshot::channel();
        let job: Job = Box::new(move |actor| drop(tell.send(job(actor))));
        self.shared.jobs.send(job).await.map_err(|_| AskError::Stopped)?;
        told.await.map_err(|_| AskError::Stopped)
    }

    async fn ask4(
        &self,
        start: impl FnOnce(&mut v4::State, crate::Now) -> v4::Op + Send + 'static,
    ) -> Result<v4::Outcome, AskError> {
        let answer = self.with(move |actor| actor.ask4(start)).await??;
        match answer.await.map_err(|_| AskError::Stopped)? {
            v4::Outcome::Failed => Err(AskError::NoAnswer),
            outcome => Ok(outcome),
        }
    }

    async fn ask5(
        &self,
        start: impl FnOnce(&mut v5::V5, Duration) -> v5::Request + Send + 'static,
    ) -> Result<v5::Outcome, AskError> {
        let answer = self.with(move |actor| actor.ask5(start)).await??;
        match answer.await.map_err(|_| AskError::Stopped)? {
            v5::Outcome::Failed(CallError::TimedOut) => Err(AskError::NoAnswer),
            v5::Outcome::Failed(CallError::Busy) => Err(AskError::Busy),
            v5::Outcome::Failed(error) => Err(AskError::Call(error)),
            outcome => Ok(outcome),
        }
    }

    /// Asks whether a node is there.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn ping(&self, version: Version, node: &Node) -> Result<Pong, AskError> {
        let (node, before) = (node.clone(), tokio::time::Instant::now());
        let (seq, rtt) = match version {
            Version::V4 => match self.ask4(move |v4, now| v4.ping(node, now)).await? {
                v4::Outcome::Pong { seq, rtt } => (seq, rtt),
                _ => return Err(AskError::NoAnswer),
            },
            Version::V5 => match self.ask5(move |v5, now| v5.ping(&node, now)).await? {
                v5::Outcome::Pong { enr_seq } => (enr_seq, before.elapsed()),
                _ => return Err(AskError::NoAnswer),
            },
        };
        Ok(Pong { seq, rtt })
    }

    /// Asks a node for its newest record.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn request_record(&self, version: Version, node: &Node) -> Result<Node, AskError> {
        let node = node.clone();
        self.record_of(match version {
            Version::V4 => Ok(self.ask4(move |v4, now| v4.request_record(node, now)).await?),
            Version::V5 => Err(self.ask5(move |v5, now| v5.request_record(&node, now)).await?),
        })
    }

    /// Asks a node for its newest record, and searches for it when it does not answer.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn resolve(&self, version: Version, node: &Node) -> Result<Node, AskError> {
        let node = node.clone();
        self.record_of(match version {
            Version::V4 => Ok(self.ask4(move |v4, now| v4.resolve(node, now)).await?),
            Version::V5 => Err(self.ask5(move |v5, now| v5.resolve(&node, now)).await?),
        })
    }

    #[allow(clippy::unused_self)] // a method among its like
    fn record_of(&self, outcome: Result<v4::Outcome, v5::Outcome>) -> Result<Node, AskError> {
        match outcome {
            Ok(v4::Outcome::Record(node)) | Err(v5::Outcome::Record(node)) => Ok(node),
            _ => Err(AskError::NoAnswer),
        }
    }

    fn nodes_of(outcome: Result<v4::Outcome, v5::Outcome>) -> Result<Vec<Node>, AskError> {
        match outcome {
            Ok(v4::Outcome::Nodes(nodes)) | Err(v5::Outcome::Nodes(nodes)) => Ok(nodes),
            _ => Err(AskError::NoAnswer),
        }
    }

    /// Searches for the nodes nearest to a key's id, with version 4: it speaks of keys, not ids.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn lookup_key(&self, target: [u8; 64]) -> Result<Vec<Node>, AskError> {
        Self::nodes_of(Ok(self.ask4(move |v4, now| v4.lookup(target, now)).await?))
    }

    /// Searches for the nodes nearest to an id, with version 5.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn lookup(&self, target: NodeId) -> Result<Vec<Node>, AskError> {
        Self::nodes_of(Err(self.ask5(move |v5, now| v5.lookup(target, now)).await?))
    }

    /// Asks one node for the nodes near a key's id, with version 4.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn find_near(&self, node: &Node, target: [u8; 64]) -> Result<Vec<Node>, AskError> {
        let node = node.clone();
        Self::nodes_of(Ok(self.ask4(move |v4, now| v4.find_node(node, target, now)).await?))
    }

    /// Asks one node for the nodes at distances from it, with version 5.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn find_at(&self, node: &Node, distances: &[u64]) -> Result<Vec<Node>, AskError> {
        let (node, distances) = (node.clone(), distances.to_vec());
        Self::nodes_of(Err(self.ask5(move |v5, now| v5.find_node(&node, &distances, now)).await?))
    }

    /// Sends a request of a protocol above discovery, with version 5; gives its answer.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn talk(&self, node: &Node, protocol: &[u8], message: &[u8]) -> Result<Vec<u8>, AskError> {
        let (node, protocol, message) = (node.clone(), protocol.to_vec(), message.to_vec());
        match self.ask5(move |v5, now| v5.talk(&node, &protocol, &message, now)).await? {
            v5::Outcome::Talk(answer) => Ok(answer),
            _ => Err(AskError::NoAnswer),
        }
    }

    /// Answers requests of a protocol above discovery, with version 5.
    ///
    /// # Errors
    /// [`AskError::NotRunning`], [`AskError::Stopped`].
    pub async fn register_talk(
        &self,
        protocol: &[u8],
        handler: Box<dyn TalkHandler>,
    ) -> Result<(), AskError> {
        let protocol = protocol.to_vec();
        self.with(move |actor| {
            actor.v5.as_mut().map(|v5| v5.register_talk(&protocol, handler)).ok_or(AskError::NotRunning)
        })
        .await?
    }

    /// A node somewhere in the network. Searches run only while somebody waits here; with nobody to ask it waits.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn candidate(&self, version: Version) -> Result<Node, AskError> {
        let answer = self.with(move |actor| actor.candidate(version)).await??;
        answer.await.map_err(|_| AskError::Stopped)
    }

    /// Takes a node that is known from elsewhere.
    ///
    /// # Errors
    /// [`AskError::Stopped`].
    pub async fn add_known(&self, node: Node) -> Result<(), AskError> {
        self.with(move |actor| actor.add_known(&node)).await
    }

    /// The entries of a table, and whether each is live.
    ///
    /// # Errors
    /// [`AskError::NotRunning`], [`AskError::Stopped`].
    pub async fn nodes(&self, version: Version) -> Result<Vec<(Node, bool)>, AskError> {
        self.with(move |actor| {
            let table = actor.table(version).ok_or(AskError::NotRunning)?;
            Ok(table.nodes().map(|(node, live)| (node.clone(), live)).collect())
        })
        .await?
    }

    /// What was received, dropped and sent so far.
    ///
    /// # Errors
    /// [`AskError::Stopped`].
    pub async fn counters(&self) -> Result<Counters, AskError> {
        self.with(|actor| actor.counters()).await
    }

    /// Sets the address that the record names whatever others say, and its UDP port; `None` goes back to what others
    /// say and to our own port.
    ///
    /// # Errors
    /// [`AskError::Stopped`].
    pub async fn set_external(&self, ip: Option<IpAddr>, udp: Option<u16>) -> Result<(), AskError> {
        self.with(move |actor| actor.set_external(ip, udp)).await
    }

    /// Sets the TCP port that the record names.
    ///
    /// # Errors
    /// [`AskError::Stopped`].
    pub async fn set_tcp(&self, port: Option<u16>) -> Result<(), AskError> {
        self.with(move |actor| actor.set_tcp(port)).await
    }

    /// Stops, and returns when the records of nodes are saved.
    ///
    /// # Errors
    /// [`StoreError`] when they are not; only the first caller is told.
    pub async fn stop(&self) -> Result<(), StoreError> {
        let _ = self.shared.stop.send(true);
        match self.shared.task.lock().await.take() {
            // A task that is gone has said why.
            Some(task) => task.await.unwrap_or(Ok(())),
            None => Ok(()),
        }
    }
}
