//! A node of discv5 as a state machine: datagrams and time in, actions out. No socket, no clock.
//!
//! ```text
//!   packet(from, bytes, now) ─┐
//!   tick(now) at next_wake() ─┼─▶ state ─▶ next_action(): send, a request is done, a node answered …
//!   lookup, ping, talk … ─────┘
//! ```
//! (spec: discv5-theory.md; go-ethereum p2p/discover/v5_udp.go, table.go) After each call the caller takes actions
//! until there are none; a call makes a few, never a number that a stranger chooses.
//!
//! What strangers can make us hold is bounded where it is held: sessions and challenges (`session`), addresses
//! (`budget`), answers outstanding (`talk`), the table. Requests of our own are bounded by `call`,
//! [`MAX_LOOKUPS`] and [`MAX_RANDOM`].
//!
//! Does not protect from one who owns addresses in many subnets and keys near every target.

mod receive;

use super::budget::Budget;
use super::call::{Answer, Ask, Call, CallError, Calls, Started};
use super::lookup::{DISTANCES_SELF, Lookup, Question};
use super::message::{MAX_TALK, RequestId};
use super::session::Sessions;
use super::talk::{TalkHandler, Talks};
use super::{Peer, packet};
use crate::lru::Lru;
use crate::table::{Offered, Table, TableLimits};
use crate::{Node, NodeId};
use ipnet::IpNet;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use switchboard_enr::{NodeKey, Record};

/// Searches under way.
pub const MAX_LOOKUPS: usize = 16;
/// Random nodes held until somebody takes them.
pub const MAX_RANDOM: usize = 128;
/// Nodes that were given to start from.
pub const MAX_BOOTNODES: usize = 64;
/// The pause after the first refresh; each further one is twice as long, up to [`Config::refresh`]. So the tables of a
/// network that starts all at once fill within seconds.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// With an empty table it is refreshed this often.
const LONELY: Duration = Duration::from_secs(10);
/// Searches for random ids in a refresh (go-ethereum table.go, `doRefresh`).
const REFRESH_LOOKUPS: usize = 3;
/// Failed questions of searches in a row after which a node leaves the table (go-ethereum: `maxFindnodeFailures`).
const MAX_FAILS: u8 = 5;
/// Nodes whose failures are remembered.
const FAILS_HELD: usize = 1024;

/// Records remembered so that their signatures are checked once: searches are told the same nodes again and again.
const RECORDS_HELD: usize = 1024;

/// How a node works. The defaults are go-ethereum's.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// How many nodes of one subnet the table takes.
    pub limits: TableLimits,
    /// How long each part of an answer may take.
    pub timeout: Duration,
    /// How often the table is refreshed by searches, once it has been running for a while.
    pub refresh: Duration,
    /// Tells also of nodes that have not answered us yet (go-ethereum: `NoFindnodeLivenessCheck`).
    pub tell_unchecked: bool,
    /// Only addresses in these networks are used; empty: all.
    pub restrict: Vec<IpNet>,
}

impl Config {
    /// Changes some of it.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: TableLimits::default(),
            timeout: Duration::from_millis(700),
            refresh: Duration::from_secs(30 * 60),
            tell_unchecked: false,
            restrict: Vec::new(),
        }
    }
}

/// Names a request until it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Request(u64);

/// What a request came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The node is there; its record has this sequence number.
    Pong {
        /// Of the node's record.
        enr_seq: u64,
    },
    /// Nodes that one node told, or that a search found, nearest first.
    Nodes(Vec<Node>),
    /// A node's newest record.
    Record(Node),
    /// The answer of a protocol above; remote bytes.
    Talk(Vec<u8>),
    /// Nothing.
    Failed(CallError),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Send a datagram.
    Send {
        /// To there.
        to: SocketAddr,
        /// These bytes.
        datagram: Vec<u8>,
    },
    /// We are about to send a request to this host: for [`switchboard_enr::LocalRecord::contacted`].
    Contacted(IpAddr),
    /// A node says where it sees us: for [`switchboard_enr::LocalRecord::stated`].
    Stated {
        /// Who says so.
        by: IpAddr,
        /// Where it sees us.
        endpoint: SocketAddr,
    },
    /// A node has answered a ping: for the records of nodes, and a candidate to connect to.
    Live(Node),
    /// A node is new in the table.
    Found(Node),
    /// A request is done.
    Done {
        /// Which.
        request: Request,
        /// What it came to.
        outcome: Outcome,
    },
    /// There are random nodes to take.
    RandomReady,
}

/// What was dropped, refused and ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Datagrams that are no packet.
    pub malformed: u64,
    /// Handshakes nobody asked for.
    pub unasked_handshakes: u64,
    /// Handshakes that prove nothing.
    pub bad_proofs: u64,
    /// Answers and WHOAREYOUs that fit no request.
    pub unasked_answers: u64,
    /// Packets without a session that were not answered.
    pub over_budget: u64,
    /// Malformed messages of nodes with a session.
    pub bad_messages: u64,
    /// Topic messages.
    pub topics: u64,
    /// Records of NODES that were refused.
    pub refused_records: u64,
    /// Requests of protocols above that were refused.
    pub refused_talks: u64,
    /// WHOAREYOUs sent.
    pub challenges: u64,
    /// Handshakes that others completed.
    pub handshakes: u64,
    /// Searches that had somebody to ask.
    pub lookups: u64,
}

/// Why something is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The caller wants the answer as it is.
    Request(Request),
    /// The caller wants the node's record.
    Record(Request),
    /// The caller wants the node, wherever it is.
    Resolve(Request),
    /// The table checks whether it is there.
    Check,
    /// It is there, and its record has changed.
    CheckRecord,
    /// It pinged us, and its record has changed.
    Update,
    /// A search.
    Lookup(u64),
}

/// Whom a search is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goal {
    Request(Request),
    Resolve(Request),
    Refresh,
    Random,
}

/// A node.
#[derive(Debug)]
pub struct V5 {
    id: NodeId,
    record: Arc<Record>,
    config: Config,
    rng: ChaCha20Rng,
    sessions: Sessions,
    budget: Budget,
    table: Table,
    bootnodes: Vec<Node>,
    calls: Calls,
    lookups: BTreeMap<u64, (Goal, Lookup)>,
    fails: Lru<NodeId, u8>,
    /// Records whose signatures were checked, by their bytes.
    seen: Lru<Vec<u8>, Node>,
    talks: Talks,
    random: VecDeque<Node>,
    refresh_at: Duration,
    pause: Duration,
    serial: u64,
    actions: VecDeque<Action>,
    counters: Counters,
}

impl V5 {
    /// A node with its key, its record and 32 random bytes, all randomness it will use.
    #[must_use]
    pub fn new(key: Arc<NodeKey>, record: Arc<Record>, config: Config, seed: [u8; 32]) -> Self {
        let id = NodeId(key.public().node_id());
        Self {
            id,
            record,
            rng: ChaCha20Rng::from_seed(seed),
            sessions: Sessions::new(key),
            budget: Budget::new(),
            table: Table::new(id, config.limits),
            config,
            bootnodes: Vec::new(),
            calls: Calls::default(),
            lookups: BTreeMap::new(),
            fails: Lru::new(FAILS_HELD),
            seen: Lru::new(RECORDS_HELD),
            talks: Talks::default(),
            random: VecDeque::new(),
            refresh_at: Duration::ZERO,
            pause: FIRST_PAUSE,
            serial: 0,
            actions: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// Our id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The record others are told.
    #[must_use]
    pub fn record(&self) -> &Arc<Record> {
        &self.record
    }

    /// Our record has changed: others are told the new one from now on.
    pub fn set_record(&mut self, record: Arc<Record>) {
        self.record = record;
    }

    /// The nodes known.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// What was dropped and refused so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What is held for others: sessions, challenges, addresses of strangers, answers outstanding.
    #[must_use]
    pub fn held(&self) -> [usize; 4] {
        let (sessions, challenges) = self.sessions.held();
        [sessions, challenges, self.budget.held(), self.talks.open()]
    }

    /// What is under way for ourselves: requests, requests that wait, searches.
    #[must_use]
    pub fn under_way(&self) -> [usize; 3] {
        let (active, waiting) = self.calls.held();
        [active, waiting, self.lookups.len()]
    }

    /// The next thing to do.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Whether a datagram is for this state machine; else it may be discv4's.
    #[must_use]
    pub fn is_mine(&self, datagram: &[u8]) -> bool {
        packet::is_v5(&self.id, datagram)
    }

    fn allowed(&self, ip: IpAddr) -> bool {
        allowed(&self.config.restrict, ip)
    }

    fn learn(&mut self, node: &Node) {
        if self.allowed(node.ip()) && self.table.heard(node.clone()) == Offered::Added {
            self.actions.push_back(Action::Found(node.clone()));
        }
    }

    /// A node has answered from its address.
    fn prove(&mut self, node: &Node, now: Duration) {
        // Without a record there is nothing to tell of it.
        let fit = node.record().is_some() && self.allowed(node.ip());
        if fit && self.table.proven(node.clone(), now) == Offered::Added {
            self.actions.push_back(Action::Found(node.clone()));
        }
    }

    /// Takes a node to start from; it is tried again with each refresh. At most [`MAX_BOOTNODES`] are kept.
    pub fn add_bootnode(&mut self, node: Node) {
        self.learn(&node);
        if self.bootnodes.len() < MAX_BOOTNODES && node.id() != self.id {
            self.bootnodes.push(node);
        }
    }

    /// Takes a node from elsewhere, for example from the records of an earlier run.
    pub fn add_known(&mut self, node: &Node) {
        self.learn(node);
    }

    /// Forgets a node.
    pub fn delete(&mut self, id: &NodeId) {
        self.table.remove(id, &mut self.rng);
    }

    /// Answers requests of a protocol above discovery.
    pub fn register_talk(&mut self, protocol: &[u8], handler: Box<dyn TalkHandler>) {
        self.talks.register(protocol, handler);
    }

    /// Stops to answer requests of a protocol above discovery.
    pub fn unregister_talk(&mut self, protocol: &[u8]) {
        self.talks.unregister(protocol);
    }

    // --- requests

    fn request(&mut self) -> Request {
        self.serial += 1;
        Request(self.serial)
    }

    fn begin(
        &mut self,
        node: &Node,
        ask: Ask,
        purpose: impl Fn(Request) -> Purpose,
        now: Duration,
    ) -> Request {
        let request = self.request();
        if !self.start(node.clone(), ask, purpose(request), now) {
            self.done(request, Outcome::Failed(CallError::Busy));
        }
        request
    }

    /// Asks whether a node is there.
    pub fn ping(&mut self, node: &Node, now: Duration) -> Request {
        self.begin(node, Ask::Ping, Purpose::Request, now)
    }

    /// Asks a node for the nodes it knows at these distances from itself.
    pub fn find_node(&mut self, node: &Node, distances: &[u64], now: Duration) -> Request {
        let distances = distances.iter().copied().take(super::message::MAX_DISTANCES).collect();
        self.begin(node, Ask::Nodes(distances), Purpose::Request, now)
    }

    /// Asks a node for its newest record.
    pub fn request_record(&mut self, node: &Node, now: Duration) -> Request {
        self.begin(node, Ask::Nodes(DISTANCES_SELF.to_vec()), Purpose::Record, now)
    }

    /// Asks a node for its newest record; when it does not answer, searches for it.
    pub fn resolve(&mut self, node: &Node, now: Duration) -> Request {
        self.begin(node, Ask::Nodes(DISTANCES_SELF.to_vec()), Purpose::Resolve, now)
    }

    /// Searches for a node of which only the id is known.
    pub fn resolve_id(&mut self, id: &NodeId, now: Duration) -> Request {
        if let Some(node) = self.table.get(id).cloned() {
            return self.resolve(&node, now);
        }
        let request = self.request();
        self.search(*id, Goal::Resolve(request), now);
        request
    }

    /// Sends a request of a protocol above discovery; protocol and message together have at most [`MAX_TALK`] bytes.
    pub fn talk(&mut self, node: &Node, protocol: &[u8], message: &[u8], now: Duration) -> Request {
        if protocol.len() + message.len() > MAX_TALK {
            let request = self.request();
            self.done(request, Outcome::Failed(CallError::TooLarge));
            return request;
        }
        let ask = Ask::Talk { protocol: protocol.to_vec(), message: message.to_vec() };
        self.begin(node, ask, Purpose::Request, now)
    }

    /// Searches for the nodes nearest to an id.
    pub fn lookup(&mut self, target: NodeId, now: Duration) -> Request {
        let request = self.request();
        self.search(target, Goal::Request(request), now);
        request
    }

    /// Takes a node somewhere in the network. `None`: a search has begun; [`Action::RandomReady`] tells when to
    /// come again. Nodes come from searches for random ids, so each is about as likely as any other.
    pub fn random_node(&mut self, now: Duration) -> Option<Node> {
        if let Some(node) = self.random.pop_front() {
            return Some(node);
        }
        if !self.lookups.values().any(|(goal, _)| *goal == Goal::Random) {
            let target = self.random_id();
            self.search(target, Goal::Random, now);
        }
        None
    }

    fn random_id(&mut self) -> NodeId {
        let mut id = NodeId([0; 32]);
        self.rng.fill_bytes(&mut id.0);
        id
    }

    fn done(&mut self, request: Request, outcome: Outcome) {
        self.actions.push_back(Action::Done { request, outcome });
    }

    // --- calls

    /// Starts a request, or lets it wait. False when there is no room.
    fn start(&mut self, node: Node, ask: Ask, purpose: Purpose, now: Duration) -> bool {
        let id = node.id();
        if id == self.id {
            return false;
        }
        let call = Call::new(node, ask, purpose, RequestId::from(self.rng.next_u64()));
        match self.calls.start(call) {
            Started::Active => {
                self.transmit(&id, now);
                true
            }
            Started::Queued => true,
            Started::Refused => false,
        }
    }

    fn transmit(&mut self, id: &NodeId, now: Duration) {
        let Some(call) = self.calls.get(id) else { return };
        let to = Peer { id: *id, addr: call.node.udp() };
        let message = call.message(self.record.seq()).encode();
        let (datagram, nonce) = self.sessions.seal(&to, &message, &mut self.rng);
        self.calls.sent(id, nonce, now + self.config.timeout);
        self.actions.push_back(Action::Contacted(to.addr.ip()));
        self.actions.push_back(Action::Send { to: to.addr, datagram });
    }

    fn finish(&mut self, id: &NodeId, result: Result<Answer, CallError>, now: Duration) {
        let Some((call, next)) = self.calls.finish(id) else { return };
        if next {
            self.transmit(id, now);
        }
        self.concluded(&call.node, call.purpose, result, now);
    }

    fn concluded(&mut self, node: &Node, purpose: Purpose, result: Result<Answer, CallError>, now: Duration) {
        let id = node.id();
        if let Ok(Answer::Pong { .. }) = &result {
            self.actions.push_back(Action::Live(node.clone()));
        }
        if result.is_ok() && !matches!(purpose, Purpose::Check | Purpose::CheckRecord) {
            self.prove(node, now);
        }
        match (purpose, result) {
            (Purpose::Request(request), result) => {
                let outcome = match result {
                    Ok(Answer::Pong { enr_seq }) => Outcome::Pong { enr_seq },
                    Ok(Answer::Nodes { nodes, .. }) => Outcome::Nodes(nodes),
                    Ok(Answer::Talk(message)) => Outcome::Talk(message),
                    Err(error) => Outcome::Failed(error),
                };
                self.done(request, outcome);
            }
            (Purpose::Record(request), result) => {
                let outcome = match result.map(|answer| own_record(answer, &id)) {
                    Ok(Some(node)) => Outcome::Record(node),
                    Ok(None) => Outcome::Failed(CallError::NoRecord),
                    Err(error) => Outcome::Failed(error),
                };
                self.done(request, outcome);
            }
            (Purpose::Resolve(request), result) => {
                match result.ok().and_then(|answer| own_record(answer, &id)) {
                    Some(node) => self.done(request, Outcome::Record(node)),
                    None => self.search(id, Goal::Resolve(request), now),
                }
            }
            (Purpose::Check, Ok(Answer::Pong { enr_seq })) if enr_seq > node.seq() => {
                let ask = Ask::Nodes(DISTANCES_SELF.to_vec());
                if !self.start(node.clone(), ask, Purpose::CheckRecord, now) {
                    self.table.answered(&id, None, &mut self.rng);
                }
            }
            (Purpose::Check, Ok(_)) => self.table.answered(&id, None, &mut self.rng),
            (Purpose::Check, Err(_)) => drop(self.table.failed(&id, &mut self.rng)),
            (Purpose::CheckRecord, result) => {
                let newer = result.ok().and_then(|answer| own_record(answer, &id));
                self.table.answered(&id, newer, &mut self.rng);
            }
            (Purpose::Update, result) => {
                if let Some(newer) = result.ok().and_then(|answer| own_record(answer, &id)) {
                    self.learn(&newer);
                }
            }
            (Purpose::Lookup(lookup), result) => self.looked(lookup, &id, result, now),
        }
    }

    // --- searches

    fn search(&mut self, target: NodeId, goal: Goal, now: Duration) {
        let start = self.table.closest(&target, super::lookup::RESULT);
        let lookup = Lookup::new(self.id, target, start);
        if self.lookups.len() >= MAX_LOOKUPS {
            self.found(goal, target, Err(CallError::Busy));
            return;
        }
        if !lookup.done() {
            self.counters.lookups += 1;
        } else if goal != Goal::Random {
            // Nobody to ask: the table is filled first, as soon as it may be. Searches for random ids wait for its own
            // time: they are begun again and again while there is nobody.
            self.refresh_at = self.refresh_at.min(now);
        }
        self.serial += 1;
        self.lookups.insert(self.serial, (goal, lookup));
        self.advance(self.serial, now);
    }

    fn advance(&mut self, number: u64, now: Duration) {
        while let Some((node, distances)) =
            self.lookups.get_mut(&number).and_then(|(_, lookup)| lookup.next())
        {
            let id = node.id();
            if !self.start(node, Ask::Nodes(distances), Purpose::Lookup(number), now)
                && let Some((_, lookup)) = self.lookups.get_mut(&number)
            {
                lookup.give_up(&id);
            }
        }
        if self.lookups.get(&number).is_some_and(|(_, lookup)| lookup.done())
            && let Some((goal, lookup)) = self.lookups.remove(&number)
        {
            let target = lookup.target();
            self.found(goal, target, Ok(lookup.result()));
        }
    }

    fn looked(&mut self, number: u64, id: &NodeId, result: Result<Answer, CallError>, now: Duration) {
        let (nodes, end) = match result {
            Ok(Answer::Nodes { nodes, whole: true }) => (nodes, Question::Answered),
            Ok(Answer::Nodes { nodes, whole: false }) => (nodes, Question::Partly),
            _ => (Vec::new(), Question::Unanswered),
        };
        self.count_fails(id, end != Question::Unanswered);
        let mut fresh = Vec::new();
        for node in &nodes {
            if self.lookups.get_mut(&number).is_some_and(|(_, lookup)| lookup.hear(node.clone())) {
                fresh.push(node.clone());
            }
        }
        if let Some((_, lookup)) = self.lookups.get_mut(&number) {
            lookup.over(id, end);
        }
        fresh.iter().for_each(|node| self.learn(node));
        self.advance(number, now);
    }

    fn count_fails(&mut self, id: &NodeId, answered: bool) {
        if answered {
            self.fails.remove(id);
            return;
        }
        let fails = self.fails.peek(id).copied().unwrap_or_default().saturating_add(1);
        self.fails.insert(*id, fails);
        if fails >= MAX_FAILS {
            self.table.drop_unhelpful(id, &mut self.rng);
        }
    }

    fn found(&mut self, goal: Goal, target: NodeId, result: Result<Vec<Node>, CallError>) {
        match (goal, result) {
            (Goal::Request(request), Ok(nodes)) => self.done(request, Outcome::Nodes(nodes)),
            (Goal::Resolve(request), Ok(nodes)) => {
                let node = nodes.into_iter().find(|node| node.id() == target);
                let outcome = node.map_or(Outcome::Failed(CallError::NotFound), Outcome::Record);
                self.done(request, outcome);
            }
            (Goal::Request(request) | Goal::Resolve(request), Err(error)) => {
                self.done(request, Outcome::Failed(error));
            }
            (Goal::Random, Ok(nodes)) => {
                let empty = self.random.is_empty();
                self.random.extend(nodes.into_iter().take(MAX_RANDOM - self.random.len().min(MAX_RANDOM)));
                if empty && !self.random.is_empty() {
                    self.actions.push_back(Action::RandomReady);
                }
            }
            (Goal::Random | Goal::Refresh, _) => {}
        }
    }

    // --- time

    /// When [`V5::tick`] has something to do next.
    #[must_use]
    pub fn next_wake(&self) -> Duration {
        let due = self.table.next_due();
        self.calls.next_deadline().into_iter().chain(due).fold(self.refresh_at, Duration::min)
    }

    /// Does what is due: requests whose time is up, checks of the table, a refresh.
    pub fn tick(&mut self, now: Duration) {
        self.sessions.expire(now);
        while let Some(id) = self.calls.overdue(now) {
            let Some((call, next)) = self.calls.finish(&id) else { break };
            if next {
                self.transmit(&id, now);
            }
            let (node, purpose, result) = call.timed_out();
            self.concluded(&node, purpose, result, now);
        }
        while let Some(node) = self.table.due(now, &mut self.rng) {
            // When there is no room for the check, the table makes it due again.
            self.start(node, Ask::Ping, Purpose::Check, now);
        }
        if self.refresh_at <= now {
            self.refresh(now);
        }
    }

    fn refresh(&mut self, now: Duration) {
        for node in self.bootnodes.clone() {
            self.learn(&node);
        }
        if self.table.is_empty() {
            (self.refresh_at, self.pause) = (now + LONELY, FIRST_PAUSE);
            return;
        }
        self.refresh_at = now + self.pause.min(self.config.refresh);
        self.pause = (self.pause * 2).min(self.config.refresh);
        if self.lookups.values().any(|(goal, _)| *goal == Goal::Refresh) {
            return;
        }
        self.search(self.id, Goal::Refresh, now);
        for _ in 0..REFRESH_LOOKUPS {
            let target = self.random_id();
            self.search(target, Goal::Refresh, now);
        }
    }
}

fn allowed(restrict: &[IpNet], ip: IpAddr) -> bool {
    restrict.is_empty() || restrict.iter().any(|net| net.contains(&ip))
}

/// The node of a record, which is checked unless the same bytes were checked before.
fn read_record(seen: &mut Lru<Vec<u8>, Node>, record: &[u8]) -> Option<Node> {
    let key = record.to_vec();
    if let Some(node) = seen.get_mut(&key) {
        return Some(node.clone());
    }
    let node = Node::from_record(Arc::new(Record::decode(record).ok()?))?;
    seen.insert(key, node.clone());
    Some(node)
}

/// What a node says of itself in an answer.
fn own_record(answer: Answer, id: &NodeId) -> Option<Node> {
    match answer {
        Answer::Nodes { nodes, .. } => nodes.into_iter().find(|node| node.id() == *id),
        _ => None,
    }
}

#[cfg(test)]
impl V5 {
    /// A packet with any message, under the session with a peer.
    pub(super) fn seal_for_tests(&mut self, to: &Peer, message: &[u8]) -> Vec<u8> {
        self.sessions.seal(to, message, &mut self.rng).0
    }

    /// What a packet under a session says.
    pub(super) fn opened_for_tests(
        &mut self,
        from: SocketAddr,
        datagram: &[u8],
        now: Duration,
    ) -> super::message::Message {
        match self.sessions.open(from, datagram, now) {
            Ok(super::session::Incoming::Message { plain, .. }) => {
                super::message::Message::decode(&plain).unwrap()
            }
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn set_config_for_tests(&mut self, config: Config) {
        self.config = config;
    }
}
