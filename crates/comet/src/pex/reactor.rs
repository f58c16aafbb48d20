//! The exchange as a service of a Switch: the shell around [`State`].
//!
//! ```text
//!   Switch ── next, outcome ──▶ Source   ┐
//!   peers  ◀── channel 0x00 ──▶ Protocol ├─ one State behind a lock ─▶ addrbook.json seconds after a change and at the end
//!   clock, ended sessions ────▶ Service  ┘
//! ```
//!
//! One [`Pex`] brings all three: [`switchboard::SwitchBuilder::service`] registers it beside a program's own reactors.
//!
//! ```
//! use std::sync::Arc;
//! use switchboard::net::memory::MemoryNetwork;
//! use switchboard::protocol::reactor::{Adapter, Reactor};
//! use switchboard::{BoxFuture, ChannelId, ChannelSpec, Env, Peer, ProtocolError, ProtocolSpec, SwitchBuilder};
//! use switchboard_comet::pex::{Options, Pex};
//! use switchboard_comet::{COMET, Comet, CometConfig, NodeKey};
//!
//! /// Counts what it is told.
//! struct Counter;
//!
//! impl Reactor for Counter {
//!     fn spec(&self) -> ProtocolSpec {
//!         ProtocolSpec::new("counter", 1, vec![ChannelSpec::new(0x50, 5)])
//!     }
//!
//!     fn receive<'a>(
//!         &'a self,
//!         peer: &'a Peer,
//!         _: ChannelId,
//!         message: bytes::Bytes,
//!     ) -> BoxFuture<'a, Result<(), ProtocolError>> {
//!         println!("{} bytes from {}", message.len(), peer.id());
//!         Box::pin(std::future::ready(Ok(())))
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
//! # runtime.block_on(async {
//! # let folder = tempfile::tempdir()?;
//! // A network in memory; a program that runs takes `Env::system()`.
//! let env = Env::seeded(Arc::new(MemoryNetwork::default()), 1_700_000_000, 1);
//! let key = Arc::new(NodeKey::load_or_create(&folder.path().join("node_key.json"), || env.random())?);
//! let mut options = Options::new(key.id());
//! options.state.seeds = vec!["34750f98bd59fcfc946da45aaabe933be154a4b5@203.0.113.7:26656".parse()?];
//! let book = folder.path().join("addrbook.json");
//! let pex = Pex::open(&book, options, env.clone())?;
//! let switch = SwitchBuilder::new(env)
//!     .wire(Arc::new(Comet::new(CometConfig::new(key, "my-chain"))?))
//!     .protocol_on(COMET, Arc::new(Adapter(Counter)))
//!     .service(Arc::new(pex.clone()))
//!     .listen("203.0.113.9:26656".parse()?, &[])
//!     .start()
//!     .await?;
//! println!("{} addresses are known", pex.look(|state| state.book().len()));
//! switch.stop().await;
//! assert!(book.exists(), "saved at the end, at the latest");
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! Limits: those of the state and the book; ten messages wait for a peer, and one that does not take them loses what
//! comes after. A breach ends the session with its rule as the reason; one that is due for a ban is reported
//! to the Switch, which bans the identity, and the address where it is outside the local network.
//!
//! When the book cannot be saved the operator is told (event `save_failed`), and it is tried again with the next turn; at the
//! end the service fails by it.
//! Not protected: whoever may write the file decides who is known.

use super::address::PeerAddress;
use super::book::file::{self, FileError};
use super::book::{Book, Kind};
use super::message::{CHANNEL, MAX_MESSAGE, Message};
use super::stamp::Stamp;
use super::state::{self, Action, BAN, DialResult, HangUp, Now, Slots, State};
use crate::key::NodeId;
use crate::netaddress::NetAddress;
use crate::trust;
use crate::wire::COMET;
use parking_lot::Mutex;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use switchboard::event::Change;
use switchboard::service::{Service, ServiceContext, ServiceError};
use switchboard::switch::peer::By;
use switchboard::switch::score::Misbehaviour;
use switchboard::switch::source::{Mark, Outcome, Pull, Room, Skip, Source, Wake};
use switchboard::{
    BoxFuture, Candidate, ChannelId, ChannelIo, ChannelSender, ChannelSpec, Direction, Env, Peer, PeerId,
    Protocol, ProtocolError, ProtocolSpec, Reason, WireName,
};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Name of the service, its protocol and its source.
pub const NAME: &str = "pex";
/// Weight of the channel (cometbft p2p/pex/pex_reactor.go `GetChannels`).
pub const PRIORITY: u32 = 1;
/// Messages that wait for one peer (the same).
pub const SEND_QUEUE: usize = 10;
/// Most outbound peers where the Switch has not said (cometbft config/config.go `MaxNumOutboundPeers`).
pub const OUTBOUND: usize = 10;
/// What a missed pong costs a peer in the trust metric: as many good events outweigh it.
const MISSED_PONG: u32 = 5;
/// Points of a missed pong.
const MISSED_PONG_POINTS: u32 = 100;
/// File of the trust metrics, beside the book.
const TRUST_FILE: &str = "trust_metric.json";

/// How the exchange is run.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Our ID: never dialled, never told.
    pub id: NodeId,
    /// Our addresses, where they are known: never dialled.
    pub own: Vec<PeerAddress>,
    /// IDs that are never told to anybody, nor kept.
    pub private: Vec<NodeId>,
    /// Only addresses that can be reached from outside are kept.
    pub strict: bool,
    /// Most outbound peers, until the Switch asks for somebody and says how many there may be.
    pub outbound: usize,
    /// Whether the trust metrics are kept beside the book.
    pub keep_trust: bool,
    /// Seeds, seed mode, times.
    pub state: state::Config,
}

impl Options {
    /// Changes some of it.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// CometBFT's defaults: a strict book, ten outbound peers, no seeds.
    #[must_use]
    pub fn new(id: NodeId) -> Self {
        Self {
            id,
            own: Vec::new(),
            private: Vec::new(),
            strict: true,
            outbound: OUTBOUND,
            keep_trust: true,
            state: state::Config::default(),
        }
    }
}

/// Peer exchange for a Switch; clones share it.
#[derive(Clone)]
pub struct Pex {
    shared: Arc<Shared>,
}

struct Shared {
    env: Env,
    file: Option<PathBuf>,
    keep_trust: bool,
    /// Where a corrupt book was put, and what was wrong with it.
    aside: Option<(PathBuf, String)>,
    inner: Mutex<Inner>,
    /// [`State::wake_at`] may be earlier than it was.
    sooner: Notify,
    wake: OnceLock<Wake>,
    context: OnceLock<ServiceContext>,
}

struct Inner {
    state: State,
    rng: StdRng,
    peers: BTreeMap<NodeId, (Peer, ChannelSender)>,
    slots: usize,
    saves_failed: u64,
}

/// What the lock's holder decided and others have to do.
#[derive(Default)]
struct Todo {
    wake: bool,
    save: bool,
    breach: Option<(&'static str, bool)>,
}

impl std::fmt::Debug for Pex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pex").field("file", &self.shared.file).finish_non_exhaustive()
    }
}

impl Pex {
    /// Opens the book of a file, or begins one that will be saved there. A corrupt file is put aside and told as the
    /// event `book_put_aside`.
    ///
    /// # Errors
    /// [`FileError`] when the file cannot be read, or not be put aside.
    pub fn open(path: &Path, options: Options, env: Env) -> Result<Self, FileError> {
        let mut rng = StdRng::from_seed(env.random());
        let opened = file::open(path, options.strict, Stamp::from(env.wall()), &mut rng)?;
        let aside = opened.aside.map(|(aside, error)| {
            tracing::error!(target: "switchboard::pex", %error, aside = %aside.display(), "a fresh book begins");
            (aside, error.to_string())
        });
        Ok(Self::make(opened.book, Some(path.to_owned()), aside, options, env))
    }

    /// Runs the exchange over a book that is kept nowhere.
    #[must_use]
    pub fn new(book: Book, options: Options, env: Env) -> Self {
        Self::make(book, None, None, options, env)
    }

    fn make(
        mut book: Book,
        file: Option<PathBuf>,
        aside: Option<(PathBuf, String)>,
        options: Options,
        env: Env,
    ) -> Self {
        book.set_own_id(options.id);
        options.own.iter().for_each(|own| book.add_own(*own));
        book.add_private(options.private);
        let now = Self::now_of(&env);
        let saved = file.as_deref().filter(|_| options.keep_trust).and_then(read_trust);
        let trust = saved.and_then(|text| trust::Store::from_json(options.state.trust, &text, now.at).ok());
        let trust = trust.unwrap_or_else(|| trust::Store::new(options.state.trust, now.at));
        let rng = StdRng::from_seed(env.random());
        let state = State::new(options.state, book, trust, now);
        let inner = Inner { state, rng, peers: BTreeMap::new(), slots: options.outbound, saves_failed: 0 };
        let shared = Shared {
            env,
            file,
            keep_trust: options.keep_trust,
            aside,
            inner: Mutex::new(inner),
            sooner: Notify::new(),
            wake: OnceLock::new(),
            context: OnceLock::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    fn now_of(env: &Env) -> Now {
        Now { at: Instant::now(), wall: Stamp::from(env.wall()) }
    }

    fn now(&self) -> Now {
        Self::now_of(&self.shared.env)
    }

    /// Looks at the state.
    pub fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.shared.inner.lock().state)
    }

    /// Changes the book, for the operator.
    pub fn change_book<T>(&self, change: impl FnOnce(&mut Book) -> T) -> T {
        change(self.shared.inner.lock().state.book_mut())
    }

    /// A peer was of use, by the standard of a program's own protocol: it becomes old in the book.
    pub fn good(&self, id: &NodeId) {
        let now = self.now();
        self.shared.inner.lock().state.good(id, now);
    }

    /// Something was wrong with a peer, so many times: it is picked less, and hung up on when it is worth too little.
    pub fn bad(&self, id: &NodeId, times: u32) {
        self.shared.inner.lock().state.bad(id, times);
    }

    /// Does to peers what the state decided; the rest is for the caller, without the lock.
    fn act(&self, inner: &Inner, actions: Vec<Action>) -> Todo {
        let mut todo = Todo::default();
        let send = |id: &NodeId, message| {
            let Some((peer, sender)) = inner.peers.get(id) else { return };
            if let Err(error) = sender.try_send(ChannelId(CHANNEL.into()), message) {
                tracing::debug!(target: "switchboard::pex", peer = %peer.id(), %error, "not sent");
            }
        };
        for action in actions {
            match action {
                Action::Ask(id) => send(&id, Message::request()),
                Action::Answer { peer, addresses } => send(&peer, Message::answer(&addresses)),
                // What waits is sent before a goodbye, so `flush` needs nothing of its own.
                Action::HangUp { peer, why, flush: _ } => {
                    if let Some((peer, _)) = inner.peers.get(&peer) {
                        peer.disconnect(reason(why));
                    }
                }
                Action::Breach { peer, rule, ban } => {
                    if let Some((peer, _)) = inner.peers.get(&peer) {
                        // The first reason counts: it is the rule, and not the ban that follows.
                        peer.disconnect(Reason::Breach(rule));
                    }
                    todo.breach = Some((rule, ban.is_some()));
                }
                Action::Wake => todo.wake = true,
                Action::Save => todo.save = true,
            }
        }
        todo
    }

    /// Runs `change` on the state and does what follows, but for breaches and saving.
    fn with(&self, change: impl FnOnce(&mut Inner, Now) -> Vec<Action>) -> Todo {
        let now = self.now();
        let (todo, sooner) = {
            let mut inner = self.shared.inner.lock();
            let before = inner.state.wake_at();
            let actions = change(&mut inner, now);
            let todo = self.act(&inner, actions);
            (todo, inner.state.wake_at() < before)
        };
        if sooner {
            self.shared.sooner.notify_one();
        }
        if todo.wake
            && let Some(wake) = self.shared.wake.get()
        {
            wake.now();
        }
        todo
    }

    fn tick(&self) -> Todo {
        let connected = self.shared.context.get().map_or(0, |context| {
            let outbound = context.peers().directed(Direction::Outbound);
            outbound.iter().filter(|peer| peer.id().wire() == COMET).count()
        });
        self.with(|inner, now| {
            let dialing = inner.state.dialing().len();
            let slots = Slots { outbound: connected, dialing, max_outbound: inner.slots };
            let Inner { state, rng, .. } = inner;
            state.tick(slots, now, rng)
        })
    }

    /// Saves book and metrics as they are now.
    ///
    /// # Errors
    /// [`FileError`]; then the files are as they were.
    pub async fn save(&self) -> Result<(), FileError> {
        let Some(path) = self.shared.file.clone() else { return Ok(()) };
        let (book, trust) = {
            let inner = self.shared.inner.lock();
            let trust = self.shared.keep_trust.then(|| inner.state.trust().to_json());
            (inner.state.book().to_json(), trust)
        };
        let write = move || {
            file::save(&path, &book)?;
            trust.map_or(Ok(()), |trust| file::save(&trust_file(&path), &trust))
        };
        let written = tokio::task::spawn_blocking(write).await;
        written.unwrap_or_else(|error| {
            let path = self.shared.file.clone().unwrap_or_default();
            Err(FileError::Io { path, error: std::io::Error::other(error) })
        })
    }

    async fn save_or_tell(&self, context: &ServiceContext) {
        if let Err(error) = self.save().await {
            self.shared.inner.lock().saves_failed += 1;
            tracing::error!(target: "switchboard::pex", %error, "the address book is not saved");
            let detail = switchboard::text::printable(&error.to_string());
            context.emit("save_failed", vec![("detail", detail)]);
        }
    }

    /// A session has ended: what that says of the peer.
    async fn ended(&self, context: &ServiceContext, peer: &Peer, reason: &Reason) {
        let Some(id) = node_id(&peer.id()) else { return };
        if matches!(reason, Reason::PongTimeout | Reason::WriteTimeout) {
            self.bad(&id, MISSED_PONG);
            let wrong = Misbehaviour { points: MISSED_PONG_POINTS, what: "missed pong" };
            context.report(peer, wrong).await;
        }
    }
}

/// The reason a session gets; nobody is told it on this wire.
fn reason(why: HangUp) -> Reason {
    match why {
        HangUp::Answered | HangUp::Crawled | HangUp::Waited => Reason::Requested,
        HangUp::Silent => Reason::IdleTimeout,
        HangUp::Distrusted | HangUp::Crowding => Reason::Useless,
    }
}

fn trust_file(book: &Path) -> PathBuf {
    book.with_file_name(TRUST_FILE)
}

/// The saved metrics, if they are there and of a size that can be.
fn read_trust(book: &Path) -> Option<Vec<u8>> {
    let path = trust_file(book);
    let size = std::fs::metadata(&path).ok()?.len();
    if size > trust::MAX_TEXT as u64 {
        tracing::warn!(target: "switchboard::pex", path = %path.display(), size, "too large: not read");
        return None;
    }
    std::fs::read(path).ok()
}

fn node_id(id: &PeerId) -> Option<NodeId> {
    (id.wire() == COMET).then(|| id.as_bytes().try_into().ok().map(NodeId))?
}

fn candidate(address: &NetAddress) -> Option<Candidate> {
    let id = PeerId::new(COMET, &address.id()?.0)?;
    Some(Candidate::new(COMET, address.host().to_string(), address.port()).id(id))
}

fn net_address(candidate: &Candidate) -> Option<NetAddress> {
    let id = node_id(candidate.id.as_ref()?)?;
    NetAddress::parse(&format!("{id}@{}", candidate.authority())).ok()
}

/// A session as the state sees it.
fn seen(peer: &Peer) -> Option<state::Peer> {
    let remote = peer.remote_addr();
    Some(state::Peer {
        id: node_id(&peer.id())?,
        direction: peer.direction(),
        ip: remote.ip(),
        port: remote.port(),
        listen_addr: peer.info().listen.clone().unwrap_or_default(),
        persistent: peer.is_static(),
    })
}

/// The protocol's handle: services, protocols and sources are separate objects to a Switch.
struct Exchange(Pex);

/// Tells the state when the session's task ends, however it ends.
struct Present {
    pex: Pex,
    id: NodeId,
    peer: Peer,
}

impl Drop for Present {
    fn drop(&mut self) {
        let (id, peer) = (self.id, &self.peer);
        self.pex.with(|inner, now| {
            // A newer session of this identity may have taken the place.
            if inner.peers.get(&id).is_some_and(|(other, _)| other == peer) {
                inner.peers.remove(&id);
                inner.state.disconnected(&id, now);
            }
            Vec::new()
        });
    }
}

impl Protocol for Exchange {
    fn spec(&self) -> ProtocolSpec {
        let channel = ChannelSpec::new(CHANNEL.into(), PRIORITY).send_queue(SEND_QUEUE);
        ProtocolSpec::new(NAME, 1, vec![channel.recv_limit_within(MAX_MESSAGE, 4 * MAX_MESSAGE)])
    }

    fn run(self: Arc<Self>, peer: Peer, mut io: ChannelIo) -> BoxFuture<'static, Result<(), ProtocolError>> {
        Box::pin(async move {
            let pex = &self.0;
            let Some(seen) = seen(&peer) else { return Err(ProtocolError::Useless) };
            let id = seen.id;
            let sender = io.sender();
            pex.with(|inner, now| {
                inner.peers.insert(id, (peer.clone(), sender));
                let Inner { state, rng, .. } = inner;
                state.connected(seen, now, rng)
            });
            let _present = Present { pex: pex.clone(), id, peer: peer.clone() };
            while let Some((_, message)) = io.recv().await {
                let todo = pex.with(|inner, now| {
                    let Inner { state, rng, .. } = inner;
                    state.received(&id, &message, now, rng)
                });
                if let Some((rule, ban)) = todo.breach {
                    if let (true, Some(context)) = (ban, pex.shared.context.get()) {
                        let wrong = Misbehaviour { points: Misbehaviour::FATAL, what: rule };
                        context.report(&peer, wrong).await;
                    }
                    return Err(ProtocolError::Breach(rule));
                }
            }
            Ok(())
        })
    }
}

struct Candidates(Pex);

impl Source for Candidates {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wire(&self) -> WireName {
        COMET
    }

    fn attach(&self, wake: Wake) {
        // Called once.
        let _ = self.0.shared.wake.set(wake);
    }

    fn next(&self, room: &Room, _: Instant) -> Pull {
        let now = self.0.now();
        let mut inner = self.0.shared.inner.lock();
        inner.slots = room.slots;
        // What is free is the Switch's to say: it keeps slots for others, too.
        let taken = room.outbound + room.dialling;
        let slots =
            Slots { outbound: room.outbound, dialing: room.dialling, max_outbound: taken + room.free };
        let Inner { state, rng, .. } = &mut *inner;
        while let Some(dial) = state.next(slots, now, rng) {
            match candidate(&dial.address) {
                Some(candidate) => return Pull::Candidate(candidate),
                None => state.outcome(&dial.address, DialResult::Failed, now),
            }
        }
        Pull::Nothing
    }

    fn outcome(&self, candidate: &Candidate, outcome: &Outcome, _: Instant) {
        let Some(result) = dial_result(outcome) else { return };
        let Some(address) = net_address(candidate) else { return };
        let now = self.0.now();
        self.0.shared.inner.lock().state.outcome(&address, result, now);
    }

    fn marked(&self, candidate: &Candidate, mark: Mark, _: Instant) {
        let Some(id) = candidate.id.as_ref().and_then(node_id) else { return };
        let now = self.0.now();
        let mut inner = self.0.shared.inner.lock();
        match mark {
            Mark::Good => inner.state.good(&id, now),
            Mark::Bad => inner.state.book_mut().mark_bad(&id, now.wall.plus(BAN)),
            Mark::Attempted => inner.state.book_mut().mark_attempt(&id, now.wall),
        }
    }
}

/// What an outcome says of the address; `None` when it says nothing.
fn dial_result(outcome: &Outcome) -> Option<DialResult> {
    Some(match outcome {
        Outcome::Skipped(Skip::Ourselves) => DialResult::Own,
        // It will not become dialable by waiting.
        Outcome::Skipped(Skip::Denied | Skip::NoAddress | Skip::OtherWire) => DialResult::Failed,
        Outcome::Skipped(_) => DialResult::Busy,
        Outcome::Failed { reason, by, .. } => match (reason, by) {
            (Reason::WrongIdentity, _) => DialResult::WrongIdentity,
            (Reason::Incompatible(_), _) => DialResult::Incompatible,
            (Reason::SelfConnection, _) => DialResult::Own,
            (Reason::AlreadyConnected | Reason::TooManyPeers | Reason::Quitting, By::Us) => DialResult::Busy,
            _ => DialResult::Failed,
        },
        Outcome::Connected { .. } => DialResult::Connected,
        _ => return None,
    })
}

impl Service for Pex {
    fn name(&self) -> &str {
        NAME
    }

    fn protocol(&self) -> Option<(Arc<dyn Protocol>, Option<WireName>)> {
        Some((Arc::new(Exchange(self.clone())), Some(COMET)))
    }

    fn source(&self) -> Option<Arc<dyn Source>> {
        Some(Arc::new(Candidates(self.clone())))
    }

    fn figures(&self) -> Vec<(&'static str, String)> {
        let inner = self.shared.inner.lock();
        let (book, counters) = (inner.state.book(), inner.state.counters());
        [
            ("addresses", book.len() as u64),
            ("new", book.count(Kind::New) as u64),
            ("old", book.count(Kind::Old) as u64),
            ("banned", book.bans().count() as u64),
            ("peers", inner.state.peers() as u64),
            ("asked", counters.asked),
            ("answered", counters.answered),
            ("told", counters.told),
            ("learnt", counters.learnt),
            ("breaches", counters.breaches),
            ("dials", counters.dials),
            ("dials_failed", counters.failed),
            ("saves_failed", inner.saves_failed),
        ]
        .map(|(name, value)| (name, value.to_string()))
        .to_vec()
    }

    fn start<'a>(&'a self, context: &'a ServiceContext) -> BoxFuture<'a, Result<(), ServiceError>> {
        Box::pin(async move {
            let _ = self.shared.context.set(context.clone());
            let id = self.shared.inner.lock().state.book().own_id();
            if let Some(id) = id {
                let listening = context.listening().iter().filter(|(_, wires)| wires.contains(&COMET));
                let own: Vec<_> = listening.map(|(at, _)| PeerAddress::new(id, at.ip(), at.port())).collect();
                self.change_book(|book| own.into_iter().for_each(|own| book.add_own(own)));
            }
            // Whether it can be saved is better known now than after two minutes.
            self.save().await.map_err(|error| ServiceError::new(error.to_string()))
        })
    }

    fn run(self: Arc<Self>, context: ServiceContext) -> BoxFuture<'static, Result<(), ServiceError>> {
        Box::pin(async move {
            if let Some((aside, error)) = &self.shared.aside {
                let name = aside.file_name().unwrap_or_default().to_string_lossy();
                let told = |text: &str| switchboard::text::printable(text);
                context.emit("book_put_aside", vec![("now", told(&name)), ("detail", told(error))]);
            }
            let mut feed = context.feed();
            loop {
                let due = self.look(State::wake_at);
                tokio::select! {
                    () = context.stopping() => break,
                    () = sleep_until(due) => {
                        if self.tick().save {
                            self.save_or_tell(&context).await;
                        }
                    }
                    () = self.shared.sooner.notified() => {}
                    change = feed.next() => match change {
                        Some(Change::Dropped { peer, end, .. }) => self.ended(&context, &peer, &end.reason).await,
                        Some(_) => {}
                        None => break,
                    },
                }
            }
            // What is not saved now is lost: the service, and with it the role, has failed.
            self.save().await.map_err(|error| {
                self.shared.inner.lock().saves_failed += 1;
                ServiceError::new(error.to_string())
            })
        })
    }
}
