//! A network of nodes in one thread: a queue of events in virtual time, a keyed hash for signatures. Same seed, same run.

use crate::actions::{Action, Actions, Event};
use crate::block::{Block, Verifier};
use crate::host::{ChannelPolicy, CryptoService, Host, JoinConfig, Refusal, SecurityAdvisor};
use crate::ledger::{BlockStore, Commit, MemoryLedger};
use crate::signed::SignedMessage;
use crate::state::{self, StateTransfer};
use crate::types::{Channel, Endpoint, Now, Org, PkiId, StreamId};
use crate::{Config, Gossip, Input, SelfInfo, Setup};
use bytes::Bytes;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;
use sha2::{Digest, Sha256};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use switchboard_fabric::message::{Content, Payload};

/// Wall clock at the start of every world.
pub(crate) const EPOCH: u64 = 1_700_000_000_000_000_000;

/// An identity of the simulation: `org/name/expiry in seconds of virtual time`.
pub(crate) fn identity(org: &str, name: &str, expires: u64) -> Bytes {
    format!("{org}/{name}/{expires}").into()
}

pub(crate) fn pki_id(identity: &[u8]) -> PkiId {
    PkiId(Sha256::digest(identity).into())
}

fn part(identity: &Bytes, at: usize) -> Option<String> {
    String::from_utf8(identity.to_vec()).ok()?.split('/').nth(at).map(str::to_owned)
}

fn keyed(key: &PkiId, payload: &[u8]) -> Bytes {
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(&key.0);
    hasher.write(payload);
    Bytes::copy_from_slice(&hasher.finish().to_be_bytes())
}

/// Everything a host supplies; what is revoked is shared by all nodes.
#[derive(Clone)]
pub(crate) struct Toy {
    pub(crate) key: PkiId,
    pub(crate) revoked: Arc<Mutex<BTreeSet<PkiId>>>,
}

impl CryptoService for Toy {
    fn sign(&self, payload: &[u8]) -> Result<Bytes, Refusal> {
        Ok(keyed(&self.key, payload))
    }

    fn verify(&self, who: PkiId, _: &Bytes, payload: &[u8], signature: &[u8]) -> Result<(), Refusal> {
        if keyed(&who, payload) == signature { Ok(()) } else { Err(Refusal("wrong signature".into())) }
    }

    fn validate_identity(&self, identity: &Bytes, _: u64) -> Result<(), Refusal> {
        let revoked = self.revoked.lock().unwrap().contains(&pki_id(identity));
        let known = part(identity, 0).is_some_and(|org| org.starts_with("Org"));
        if known && !revoked { Ok(()) } else { Err(Refusal("not trusted".into())) }
    }

    fn pki_id_of(&self, identity: &Bytes) -> Option<PkiId> {
        part(identity, 2).map(|_| pki_id(identity))
    }

    fn expires(&self, identity: &Bytes) -> Option<u64> {
        let seconds: u64 = part(identity, 2)?.parse().ok()?;
        (seconds > 0).then(|| EPOCH + seconds * 1_000_000_000)
    }

    /// Either the block that [`block_of`] gives, or a real one.
    fn verify_block(&self, _: &Channel, number: u64, block: &Bytes) -> Result<(), Refusal> {
        let whole =
            || Block::decode(block.clone()).is_ok_and(|block| verifier().check(number, &block).is_ok());
        if **block == *block_of(number) || whole() { Ok(()) } else { Err(Refusal("not the block".into())) }
    }
}

impl SecurityAdvisor for Toy {
    fn org_by_peer_identity(&self, identity: &Bytes) -> Option<Org> {
        Org::parse(&part(identity, 0)?)
    }
}

impl ChannelPolicy for Toy {
    /// Who is named `outsider` may not read.
    fn is_reader(&self, _: &Channel, _: PkiId, identity: &Bytes) -> bool {
        part(identity, 1).is_some_and(|name| !name.starts_with("outsider"))
    }
}

pub(crate) fn host(identity: &Bytes, revoked: &Arc<Mutex<BTreeSet<PkiId>>>) -> Host {
    let toy = Arc::new(Toy { key: pki_id(identity), revoked: Arc::clone(revoked) });
    Host { crypto: toy.clone(), advisor: toy.clone(), policy: toy }
}

pub(crate) fn block_of(number: u64) -> Vec<u8> {
    format!("block {number}").into_bytes()
}

pub(crate) fn payload(number: u64) -> Payload {
    Payload { seq_num: number, data: block_of(number).into(), private_data: vec![] }
}

pub(crate) fn channel() -> Channel {
    Channel::parse(b"mychannel").unwrap()
}

pub(crate) fn join_config(orgs: &[&str]) -> JoinConfig {
    let orgs = orgs.iter().map(|org| (Org::parse(org).unwrap(), vec![])).collect();
    JoinConfig { sequence: 1, orgs }
}

/// Small, as the queue moves it about: what is rare is boxed.
#[derive(Debug)]
enum Happening {
    Deliver {
        from: usize,
        stream: StreamId,
        message: SignedMessage,
    },
    Input(Box<Input>),
    Wake,
    /// For the node's ledger.
    Kept(Box<state::Input>),
    KeptWake,
}

/// Something at a time; the number keeps the order of what happens at once.
struct Due {
    at: Duration,
    number: u64,
    node: usize,
    what: Happening,
}

impl Due {
    fn order(&self) -> (Duration, u64) {
        (self.at, self.number)
    }
}

/// What is due, by time. A heap of all of it would be too large for the processor's caches; so what comes later waits, unsorted,
/// with what is due in the same millisecond.
#[derive(Default)]
struct Queue {
    /// Of the millisecond that runs, and what came to it since: the next one last.
    near: Vec<Due>,
    /// The millisecond that runs.
    at: u128,
    far: BTreeMap<u128, Vec<Due>>,
    spare: Vec<Vec<Due>>,
}

impl Queue {
    fn push(&mut self, due: Due) {
        let at = due.at.as_millis();
        if at <= self.at {
            let place = self.near.partition_point(|other| other.order() > due.order());
            return self.near.insert(place, due);
        }
        self.far.entry(at).or_insert_with(|| self.spare.pop().unwrap_or_default()).push(due);
    }

    /// Takes what is due first, if it is due by `end`.
    fn pop(&mut self, end: Duration) -> Option<Due> {
        if self.near.is_empty() {
            let first = self.far.first_entry().filter(|first| *first.key() <= end.as_millis())?;
            self.at = *first.key();
            let mut due = first.remove();
            due.sort_unstable_by_key(|due| Reverse(due.order()));
            self.spare.push(std::mem::replace(&mut self.near, due));
        }
        self.near.pop_if(|due| due.at <= end)
    }
}

pub(crate) struct Node {
    pub(crate) gossip: Gossip,
    pub(crate) identity: Bytes,
    pub(crate) up: bool,
    /// Only nodes of the same side reach each other.
    pub(crate) side: u8,
    pub(crate) events: Vec<(Duration, Event)>,
    /// When each block came first.
    pub(crate) blocks: BTreeMap<u64, Duration>,
    wake: Option<Duration>,
    /// Its ledger with state transfer, where it has one.
    pub(crate) kept: Option<Kept>,
    internal: Endpoint,
    external: Option<Endpoint>,
}

/// A node's ledger.
pub(crate) struct Kept {
    pub(crate) state: StateTransfer,
    pub(crate) store: MemoryLedger,
    wake: Option<Duration>,
}

/// How long a commit takes.
const COMMIT: Duration = Duration::from_millis(5);

fn verifier() -> Verifier {
    Verifier::hash("mychannel")
}

pub(crate) struct World {
    pub(crate) now: Duration,
    pub(crate) nodes: Vec<Node>,
    queue: Queue,
    /// Its room is used again.
    out: Actions,
    next: u64,
    // Looked up only: its order is never seen.
    by_id: HashMap<PkiId, usize, BuildHasherDefault<Head>>,
    /// Who has a connection with whom, both ways.
    connected: Vec<Vec<bool>>,
    rng: ChaCha12Rng,
    pub(crate) loss: f64,
    pub(crate) revoked: Arc<Mutex<BTreeSet<PkiId>>>,
    /// Messages delivered, by content as in [`CONTENTS`].
    sent: [u64; CONTENTS.len()],
    pub(crate) keep_events: bool,
    pub(crate) audit: u64,
}

/// The first eight bytes of a PKI-ID, which is a hash already.
#[derive(Default)]
struct Head(u64);

impl Hasher for Head {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(head) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*head);
        }
    }
}

/// Contents that are counted.
const CONTENTS: [&str; 10] = [
    "alive",
    "mem_req",
    "mem_res",
    "block",
    "state_info",
    "leadership",
    "state request",
    "state response",
    "state_info pull",
    "pull",
];

/// Its place in [`CONTENTS`].
fn content_place(message: &SignedMessage) -> usize {
    match message.content() {
        Some(Content::AliveMsg(_)) => 0,
        Some(Content::MemReq(_)) => 1,
        Some(Content::MemRes(_)) => 2,
        Some(Content::DataMsg(_)) => 3,
        Some(Content::StateInfo(_)) => 4,
        Some(Content::LeadershipMsg(_)) => 5,
        Some(Content::StateRequest(_)) => 6,
        Some(Content::StateResponse(_)) => 7,
        Some(Content::StateSnapshot(_) | Content::StateInfoPullReq(_)) => 8,
        _ => 9,
    }
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            now: Duration::ZERO,
            nodes: Vec::new(),
            queue: Queue::default(),
            out: Actions::default(),
            next: 0,
            by_id: HashMap::default(),
            connected: Vec::new(),
            rng: ChaCha12Rng::seed_from_u64(seed),
            loss: 0.0,
            revoked: Arc::default(),
            sent: [0; CONTENTS.len()],
            keep_events: true,
            audit: 0,
        }
    }

    pub(crate) fn time(&self) -> Now {
        Now { mono: self.now, wall: EPOCH + self.now.as_nanos() as u64 }
    }

    /// Adds a node; node 0 is the bootstrap peer of its organisation's others unless `config` says otherwise.
    pub(crate) fn add(&mut self, org: &str, name: &str, external: bool, config: Config) -> usize {
        self.add_with(identity(org, name, 0), external, config)
    }

    pub(crate) fn add_with(&mut self, identity: Bytes, external: bool, config: Config) -> usize {
        let index = self.nodes.len();
        let internal = Endpoint::parse(&format!("in{index}:7051")).unwrap();
        let external = external.then(|| Endpoint::parse(&format!("out{index}:7051")).unwrap());
        let info =
            SelfInfo { endpoint: internal.clone(), external: external.clone(), metadata: Bytes::new() };
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let setup =
            Setup { host: host(&identity, &self.revoked), config, identity: identity.clone(), info, seed };
        let gossip = Gossip::new(setup, self.time()).unwrap();
        self.by_id.insert(gossip.pki_id(), index);
        self.connected.iter_mut().for_each(|with| with.push(false));
        self.connected.push(vec![false; index + 1]);
        self.nodes.push(Node {
            gossip,
            identity,
            up: true,
            side: 0,
            events: Vec::new(),
            blocks: BTreeMap::new(),
            wake: None,
            kept: None,
            internal,
            external,
        });
        self.push(self.now, index, Happening::Wake);
        self.nodes[index].wake = Some(self.now);
        index
    }

    pub(crate) fn id(&self, node: usize) -> PkiId {
        self.nodes[node].gossip.pki_id()
    }

    fn push(&mut self, at: Duration, node: usize, what: Happening) {
        self.next += 1;
        self.queue.push(Due { at, number: self.next, node, what });
    }

    fn latency(&mut self) -> Duration {
        Duration::from_micros(500 + self.rng.next_u64() % 4_500)
    }

    fn reaches(&self, a: usize, b: usize) -> bool {
        self.nodes[a].up && self.nodes[b].up && self.nodes[a].side == self.nodes[b].side
    }

    /// Authenticates both sides, once per connection.
    fn connect(&mut self, a: usize, b: usize) -> bool {
        if !self.reaches(a, b) {
            self.set_connected(a, b, false);
            return false;
        }
        if self.connected[a][b] {
            return true;
        }
        let now = self.time();
        let (ia, ib) = (self.nodes[a].identity.clone(), self.nodes[b].identity.clone());
        let ok = self.nodes[b].gossip.authenticated(pki_id(&ia), &ia, now).is_ok()
            && self.nodes[a].gossip.authenticated(pki_id(&ib), &ib, now).is_ok();
        if ok {
            self.set_connected(a, b, true);
        }
        ok
    }

    fn set_connected(&mut self, a: usize, b: usize, connected: bool) {
        self.connected[a][b] = connected;
        self.connected[b][a] = connected;
    }

    fn send(&mut self, from: usize, to: PkiId, message: SignedMessage) {
        let latency = self.latency();
        let target = self.by_id.get(&to).copied();
        let Some(target) = target.filter(|t| *t != from).filter(|t| self.connect(from, *t)) else {
            let input = Box::new(Input::PresumedDead { pki_id: to, since: self.now });
            return self.push(self.now + latency, from, Happening::Input(input));
        };
        self.sent[content_place(&message)] += 1;
        if self.loss > 0.0 && (self.rng.next_u64() as f64) < self.loss * u64::MAX as f64 {
            return;
        }
        let stream = StreamId(self.next);
        self.push(self.now + latency, target, Happening::Deliver { from, stream, message });
    }

    pub(crate) fn carry_out(&mut self, node: usize, out: &mut Actions) {
        for action in out.drain() {
            match action {
                Action::Send { to, message } => self.send(node, to.pki_id, message),
                Action::Respond { to, message, .. } => self.send(node, to, message),
                Action::Handshake { ticket, endpoint } => {
                    let at = |n: &Node| n.internal == endpoint || n.external.as_ref() == Some(&endpoint);
                    // The newest node at an address is the one that listens there.
                    let found = self.nodes.iter().rposition(at).filter(|n| self.connect(node, *n));
                    let result = found.map(|n| (self.id(n), self.nodes[n].identity.clone()));
                    let result = result.ok_or_else(|| "connection refused".to_owned());
                    let at = self.now + self.latency();
                    self.push(at, node, Happening::Input(Box::new(Input::Handshaken { ticket, result })));
                }
                Action::Ping { ticket, to } => {
                    let target = self.by_id.get(&to.pki_id).copied();
                    let answered = target.is_some_and(|t| self.reaches(node, t));
                    let at = self.now + self.latency();
                    self.push(at, node, Happening::Input(Box::new(Input::Ponged { ticket, answered })));
                }
                Action::Close { pki_id, .. } => {
                    if let Some(peer) = self.by_id.get(&pki_id).copied() {
                        self.set_connected(node, peer, false);
                    }
                }
                Action::SendWithAck { ticket, to, .. } => {
                    let acks = to.len();
                    let acked = Input::Acked { ticket, acks, nacks: vec![] };
                    self.push(self.now, node, Happening::Input(Box::new(acked)));
                }
                Action::Tell(event) => {
                    if let Event::Block { payload, .. } = &event {
                        self.nodes[node].blocks.entry(payload.seq_num).or_insert(self.now);
                    }
                    self.hand_to_ledger(node, &event);
                    if self.keep_events {
                        self.nodes[node].events.push((self.now, event));
                    }
                }
            }
        }
        let now = self.time();
        let due = self.nodes[node].gossip.wake(now);
        if let Some(due) = due
            && self.nodes[node].wake.is_none_or(|at| due < at)
        {
            let due = due.max(self.now);
            self.nodes[node].wake = Some(due);
            self.push(due, node, Happening::Wake);
        }
    }

    /// Gives a node a ledger with state transfer.
    pub(crate) fn give_ledger(&mut self, node: usize) {
        let options = state::Options {
            depends_on_peers: true,
            non_blocking: false,
            state: crate::config::State { enabled: true, ..Default::default() },
        };
        let store = MemoryLedger::default();
        let state = StateTransfer::new(channel(), options, verifier(), store.height(), store.tip());
        self.nodes[node].kept = Some(Kept { state, store, wake: None });
        self.keep(node, state::Input::Tick);
        self.with(node, |gossip, _, _| gossip.update_ledger_height(&channel(), 1));
    }

    /// As the shell hands events to a channel's ledger.
    fn hand_to_ledger(&mut self, node: usize, event: &Event) {
        if self.nodes[node].kept.is_none() {
            return;
        }
        let input = match event {
            Event::Block { from, payload, .. } => {
                state::Input::Gossiped { from: *from, payload: payload.clone() }
            }
            Event::Deliver { from, stream, message, .. } => {
                let (from, stream, message) = (*from, *stream, message.clone());
                state::Input::Message { from, stream, message, reader: true }
            }
            Event::StateInfo { pki_id, height, left, .. } => match left {
                true => state::Input::PeerGone(*pki_id),
                false => state::Input::Peer { pki_id: *pki_id, height: *height },
            },
            Event::MemberAlive(member) => {
                let views = self.nodes[node].gossip.peers_of_channel(&channel());
                let Some(view) = views.iter().find(|view| view.pki_id == member.pki_id) else { return };
                state::Input::Peer { pki_id: view.pki_id, height: view.height }
            }
            Event::MemberDead(member) => state::Input::PeerGone(member.pki_id),
            _ => return,
        };
        self.push(self.now, node, Happening::Kept(Box::new(input)));
    }

    /// Gives something to a node's ledger and does what it asks for.
    pub(crate) fn keep(&mut self, node: usize, input: state::Input) {
        let (now, mut out) = (self.time(), Vec::new());
        let Some(kept) = &mut self.nodes[node].kept else { return };
        kept.state.handle(input, now, &mut self.rng, &mut out);
        for action in out {
            let Some(kept) = &self.nodes[node].kept else { return };
            match action {
                state::Action::Send { to, message } | state::Action::Respond { to, message, .. } => {
                    self.send(node, to, message);
                }
                state::Action::Serve(serve) => {
                    let message = state::answer(&channel(), &serve, &kept.store, |_| true).unwrap();
                    self.send(node, serve.to, message);
                    self.push(self.now, node, Happening::Kept(Box::new(state::Input::Served)));
                }
                state::Action::Commit(ready) => {
                    let commits: Vec<_> = ready.into_iter().map(|ready| Commit::of(ready.block)).collect();
                    kept.store.append(&commits).unwrap();
                    self.push(self.now + COMMIT, node, Happening::Kept(Box::new(state::Input::Committed)));
                }
                state::Action::Height(height) => {
                    self.with(node, |gossip, _, _| gossip.update_ledger_height(&channel(), height));
                }
                _ => {}
            }
        }
        let Some(kept) = &mut self.nodes[node].kept else { return };
        if let Some(due) = kept.state.deadline(now)
            && kept.wake.is_none_or(|at| due < at)
        {
            let due = due.max(self.now);
            kept.wake = Some(due);
            self.push(due, node, Happening::KeptWake);
        }
    }

    /// The heights of the ledgers of all nodes that are up.
    pub(crate) fn heights(&self) -> BTreeSet<u64> {
        let up = self.nodes.iter().filter(|node| node.up);
        up.filter_map(|node| node.kept.as_ref()).map(|kept| kept.store.height()).collect()
    }

    /// Calls a method of a node and does what it asks for.
    pub(crate) fn with<T>(
        &mut self,
        node: usize,
        call: impl FnOnce(&mut Gossip, Now, &mut Actions) -> T,
    ) -> T {
        let mut out = Actions::default();
        let now = self.time();
        let result = call(&mut self.nodes[node].gossip, now, &mut out);
        self.carry_out(node, &mut out);
        result
    }

    pub(crate) fn run_until(&mut self, end: Duration) {
        while let Some(Due { at, node, what, .. }) = self.queue.pop(end) {
            self.now = at;
            if !self.nodes[node].up {
                continue;
            }
            let input = match what {
                Happening::Kept(input) => {
                    self.keep(node, *input);
                    continue;
                }
                Happening::KeptWake => {
                    let due = self.nodes[node].kept.as_mut().filter(|kept| kept.wake == Some(at));
                    if let Some(kept) = due {
                        kept.wake = None;
                        self.keep(node, state::Input::Tick);
                    }
                    continue;
                }
                Happening::Wake if self.nodes[node].wake != Some(at) => continue,
                Happening::Wake => {
                    self.nodes[node].wake = None;
                    Input::Tick
                }
                Happening::Deliver { from, stream, message } => {
                    Input::Received { from: self.id(from), stream, message }
                }
                Happening::Input(input) => *input,
            };
            self.audit = self.audit.rotate_left(5) ^ (at.as_nanos() as u64) ^ ((node as u64) << 48);
            let mut out = std::mem::take(&mut self.out);
            let now = self.time();
            if self.nodes[node].gossip.handle(input, now, &mut out) || !out.is_empty() {
                self.carry_out(node, &mut out);
            }
            self.out = out;
        }
        self.now = end;
    }

    pub(crate) fn run(&mut self, seconds: f64) {
        self.run_until(self.now + Duration::from_secs_f64(seconds));
    }

    /// Runs until a condition holds; the time it took, or `None` after `limit` seconds.
    pub(crate) fn run_while(&mut self, limit: f64, mut going: impl FnMut(&Self) -> bool) -> Option<Duration> {
        let (start, end) = (self.now, self.now + Duration::from_secs_f64(limit));
        while going(self) {
            if self.now >= end {
                return None;
            }
            self.run(0.05);
        }
        Some(self.now - start)
    }

    pub(crate) fn join_all(&mut self, orgs: &[&str]) {
        for node in 0..self.nodes.len() {
            self.with(node, |g, now, out| g.join_channel(&channel(), join_config(orgs), now, out).unwrap());
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        let up = self.nodes.iter().filter(|node| node.up).count();
        self.nodes.iter().filter(|n| n.up).all(|node| node.gossip.peers().count() == up - 1)
    }

    pub(crate) fn knows(&self, node: usize, other: usize) -> bool {
        let id = self.id(other);
        self.nodes[node].gossip.peers().any(|member| member.pki_id == id)
    }

    pub(crate) fn total_sent(&self) -> u64 {
        self.sent.iter().sum()
    }

    /// Messages delivered, by content.
    pub(crate) fn sent(&self) -> BTreeMap<&'static str, u64> {
        CONTENTS.into_iter().zip(self.sent).collect()
    }
}

/// Options of a node that bootstraps at node 0.
pub(crate) fn to_first() -> Config {
    Config { bootstrap: vec!["in0:7051".to_owned()], ..Config::default() }
}

/// So many peers of one organisation, joined to the channel.
pub(crate) fn world(peers: usize, seed: u64, config: &Config) -> World {
    let mut world = World::new(seed);
    for n in 0..peers {
        world.add("Org1", &format!("peer{n}"), true, config.clone());
    }
    world.join_all(&["Org1"]);
    world
}
