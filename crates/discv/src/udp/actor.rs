//! The task that owns the socket, both states and our record.

use super::config::{DiscoveryConfig, StartError};
use super::handle::{AskError, Counters, Event};
use super::keep::Keep;
use crate::node::{Node, NodeId};
use crate::nodes::{MAX_NODES, NodeDb, Version};
use crate::table::Table;
use crate::time::Now;
use crate::v4::packet::Endpoint;
use crate::{v4, v5};
use bytes::Bytes;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use switchboard::Env;
use switchboard::net::{Datagram, Datagrams};
use switchboard::store::StoreError;
use switchboard_enr::local::Prediction;
use switchboard_enr::{LocalRecord, Record};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

/// Jobs of handles that wait.
pub const MAX_JOBS: usize = 256;
/// Requests of handles under way, and handles that wait for a candidate, of each version.
pub const MAX_PENDING: usize = 1_024;
/// How often the records of nodes are written, if they changed.
pub const SAVE_EVERY: Duration = Duration::from_secs(10);
/// How often the record is looked at even if nobody said anything: statements grow old.
const RECORD_EVERY: Duration = Duration::from_secs(10);
/// How soon it is looked at after somebody said something.
const RECORD_SOON: Duration = Duration::from_millis(200);
/// A record may change again after a millisecond; what was set meanwhile is signed after this.
const RECORD_PAUSE: Duration = Duration::from_millis(2);
/// So many datagrams at once are a flood.
const MANY: usize = 16;
/// How long the socket is left alone after it failed.
const SOCKET_REST: Duration = Duration::from_secs(1);
/// The kind of a discv4 packet stands behind its hash and signature; a ping is 1 (spec: discv4.md).
const KIND_AT: usize = 97;
/// Remembered nodes that discv5 begins with, and how old their last answer may be.
const SEEDS: usize = 30;
const SEED_AGE: Duration = Duration::from_secs(5 * 24 * 3_600);

/// Something a handle wants done in the task.
pub(super) type Job = Box<dyn FnOnce(&mut Actor) + Send>;

/// Both versions behind one socket.
pub(super) struct Actor {
    env: Env,
    start: Instant,
    socket: Arc<dyn Datagrams>,
    local: LocalRecord,
    tcp: u16,
    own_udp: u16,
    external: Option<IpAddr>,
    v4: Option<v4::State>,
    pub(super) v5: Option<v5::V5>,
    /// Node records where version 4, which owns them else, does not run.
    db: Option<NodeDb>,
    keep: Option<Keep>,
    jobs: mpsc::Receiver<Job>,
    stop: watch::Receiver<bool>,
    events: broadcast::Sender<Event>,
    record: watch::Sender<Arc<Record>>,
    pending4: BTreeMap<v4::Op, oneshot::Sender<v4::Outcome>>,
    pending5: BTreeMap<v5::Request, oneshot::Sender<v5::Outcome>>,
    waiting4: VecDeque<oneshot::Sender<Node>>,
    waiting5: VecDeque<oneshot::Sender<Node>>,
    out: Vec<Datagram>,
    record_at: Duration,
    save_at: Duration,
    received: u64,
    foreign: u64,
    sent: u64,
    lost: u64,
}

impl Actor {
    pub(super) async fn new(
        socket: Arc<dyn Datagrams>,
        config: DiscoveryConfig,
        env: Env,
        jobs: mpsc::Receiver<Job>,
        events: broadcast::Sender<Event>,
        stop: watch::Receiver<bool>,
    ) -> Result<(Self, watch::Receiver<Arc<Record>>), StartError> {
        let super::Versions { v4: with4, v5: with5 } = config.versions;
        if !with4 && !with5 {
            return Err(StartError::NoVersion);
        }
        let own_udp = socket.local_addr().port();
        let keep = match config.store.clone() {
            Some(space) => Some(Keep::open(space).await?),
            None => None,
        };
        let mut db = match &keep {
            Some(keep) => NodeDb::open(Box::new(keep.clone()), MAX_NODES),
            None => NodeDb::forgetful(MAX_NODES),
        };
        let wall = env.wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = Now { mono: Duration::ZERO, unix: wall.as_secs() };
        let id = NodeId(config.key.public().node_id());
        let millis = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
        let key = Arc::clone(&config.key);
        let mut local = LocalRecord::new(key, db.local_seq(&id), millis, Prediction::default());
        for (key, value) in &config.entries {
            let failed = |error| StartError::Entry { key: key.clone(), error };
            local.set_raw(key, value).map_err(failed)?;
        }
        let failed = |error| StartError::Entry { key: "tcp".to_owned(), error };
        local.set_tcp(config.tcp).map_err(failed)?;
        local.set_fallback_ip(config.fallback());
        local.set_fallback_udp(own_udp);
        if let Some((ip, udp)) = config.external {
            local.set_static_ip(ip);
            local.set_fallback_udp(udp.unwrap_or(own_udp));
        }
        local.update(Duration::ZERO);
        let first = local.current().clone();
        // Kept before anybody sees the record.
        db.set_local_seq(&id, first.seq());
        if let Some(keep) = &keep {
            report(keep.save().await);
        }
        let nodes = futures_util::future::join_all(config.bootnodes.iter().map(|b| b.node(&env))).await;
        let nodes: Vec<Node> = nodes.into_iter().flatten().filter(|node| node.id() != id).collect();
        if nodes.len() < config.bootnodes.len() {
            tracing::warn!(
                given = config.bootnodes.len(),
                usable = nodes.len(),
                "not every start node has an address"
            );
        }
        let v5 = with5.then(|| {
            let settings = v5::Config {
                refresh: config.refresh,
                restrict: config.restrict.clone(),
                ..v5::Config::default()
            };
            let mut v5 = v5::V5::new(Arc::clone(&config.key), first.clone(), settings, env.random());
            nodes.iter().for_each(|node| v5.add_bootnode(node.clone()));
            let mut rng = ChaCha20Rng::from_seed(env.random());
            db.seeds(SEEDS, SEED_AGE, now, &mut rng).iter().for_each(|node| v5.add_known(node));
            v5
        });
        let (v4, db) = if with4 {
            let mut settings = v4::Config::new(nodes, env.random());
            settings.refresh = config.refresh;
            let nets = config.restrict.clone();
            if !nets.is_empty() {
                let allow = move |ip: IpAddr| nets.iter().any(|net| net.contains(&ip));
                settings.allow = Some(v4::state::Allow(Arc::new(allow)));
            }
            let at = Endpoint::new(socket.local_addr(), config.tcp.unwrap_or(0));
            (Some(v4::State::new(config.key.clone(), at, db, settings, now)), None)
        } else {
            (None, Some(db))
        };
        let (record, records) = watch::channel(first);
        let mut actor = Self {
            env,
            start: Instant::now(),
            socket,
            local,
            tcp: config.tcp.unwrap_or(0),
            own_udp,
            external: config.external.map(|(ip, _)| ip),
            v4,
            v5,
            db,
            keep,
            jobs,
            stop,
            events,
            record,
            pending4: BTreeMap::new(),
            pending5: BTreeMap::new(),
            waiting4: VecDeque::new(),
            waiting5: VecDeque::new(),
            out: Vec::new(),
            record_at: RECORD_EVERY,
            save_at: SAVE_EVERY,
            received: 0,
            foreign: 0,
            sent: 0,
            lost: 0,
        };
        actor.tell_record();
        Ok((actor, records))
    }

    pub(super) fn id(&self) -> NodeId {
        NodeId(self.local.current().key().node_id())
    }

    pub(super) fn local_addr(&self) -> SocketAddr {
        self.socket.local_addr()
    }

    fn now(&self) -> Now {
        let unix = self.env.wall().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Now { mono: self.start.elapsed(), unix }
    }

    /// Runs until it is stopped, or no handle is left; then says whether the records of nodes are saved.
    pub(super) async fn run(mut self) -> Result<(), StoreError> {
        let socket = Arc::clone(&self.socket);
        let mut inbox = Vec::new();
        let mut rest_until: Option<Instant> = None;
        self.wake();
        loop {
            self.settle();
            let wake = self.start + self.next_wake();
            let receive = async {
                if let Some(until) = rest_until {
                    sleep_until(until).await;
                }
                socket.recv(&mut inbox).await
            };
            tokio::select! {
                biased;
                changed = self.stop.changed() => {
                    if changed.is_err() || *self.stop.borrow() {
                        break;
                    }
                }
                job = self.jobs.recv() => match job {
                    Some(job) => job(&mut self),
                    None => break,
                },
                result = receive => {
                    rest_until = None;
                    if let Err(error) = result {
                        tracing::warn!(%error, "the discovery socket failed; it is read again in a second");
                        rest_until = Some(Instant::now() + SOCKET_REST);
                    }
                }
                () = sleep_until(wake) => self.wake(),
            }
            // What was received before a job came or a timer rang waits in here too.
            let now = self.now();
            let many = inbox.len() >= MANY;
            for datagram in inbox.drain(..) {
                self.take(&datagram, now);
            }
            if many {
                // In a flood there is always more: others of this runtime have their turn between.
                self.settle();
                tokio::task::yield_now().await;
            }
            if wake <= Instant::now() {
                self.wake();
            }
        }
        self.settle();
        match self.keep.take() {
            Some(keep) => keep.close().await,
            None => Ok(()),
        }
    }

    fn take(&mut self, datagram: &Datagram, now: Now) {
        self.received += 1;
        let (from, bytes) = (datagram.remote, &datagram.bytes);
        if let Some(v5) = self.v5.as_mut().filter(|v5| v5.is_mine(bytes)) {
            // What was dropped, it has counted.
            let _ = v5.packet(from, bytes, now.mono);
            return;
        }
        let taken = self.v4.as_mut().map_or(v4::state::Taken::Foreign, |v4| v4.receive(now, from, bytes));
        self.foreign += u64::from(taken == v4::state::Taken::Foreign);
    }

    fn next_wake(&self) -> Duration {
        let four = self.v4.as_ref().map(v4::State::next_wake);
        let five = self.v5.as_ref().map(v5::V5::next_wake);
        let save = self.keep.is_some().then_some(self.save_at);
        four.into_iter().chain(five).chain(save).fold(self.record_at, Duration::min)
    }

    fn wake(&mut self) {
        let now = self.now();
        if let Some(v4) = &mut self.v4 {
            v4.wake(now);
        }
        if let Some(v5) = &mut self.v5 {
            v5.tick(now.mono);
        }
        if self.record_at <= now.mono {
            self.update_record(now);
        }
        if self.save_at <= now.mono {
            self.save_at = now.mono + SAVE_EVERY;
            if let Some(db) = &mut self.db {
                db.expire(now);
            }
            if let Some(keep) = self.keep.clone() {
                tokio::spawn(async move { report(keep.save().await) });
            }
        }
    }

    /// Takes every action of both states, then sends what is to be sent.
    fn settle(&mut self) {
        let now = self.now();
        let mut stated = false;
        while let Some(action) = self.v4.as_mut().and_then(v4::State::next_action) {
            stated |= self.act4(action, now);
        }
        while let Some(action) = self.v5.as_mut().and_then(v5::V5::next_action) {
            stated |= self.act5(action, now);
        }
        if stated {
            // Each look goes through all statements: once for many of them.
            self.record_at = self.record_at.min(now.mono + RECORD_SOON);
        }
        self.serve_candidates(now);
        let went = self.socket.send(&self.out);
        self.sent += went as u64;
        self.lost += (self.out.len() - went.min(self.out.len())) as u64;
        self.out.clear();
    }

    fn act4(&mut self, action: v4::Action, now: Now) -> bool {
        match action {
            v4::Action::Send { to, bytes } => {
                if bytes.get(KIND_AT) == Some(&1) {
                    self.local.contacted(to.ip(), now.mono);
                }
                self.out.push(Datagram { remote: to, bytes: Bytes::from(bytes) });
            }
            v4::Action::Done { op, outcome } => {
                if let Some(tell) = self.pending4.remove(&op) {
                    let _ = tell.send(outcome);
                }
            }
            v4::Action::Stated { by, endpoint } => {
                self.local.stated(by, endpoint, now.mono);
                return true;
            }
            v4::Action::Added(node) => self.tell(Event::Added(Version::V4, node)),
            v4::Action::Record(node) => self.tell(Event::Record(Version::V4, node)),
            v4::Action::ClockDoubt => self.tell(Event::ClockDoubt),
            v4::Action::Candidates => {}
        }
        false
    }

    fn act5(&mut self, action: v5::Action, now: Now) -> bool {
        match action {
            v5::Action::Send { to, datagram } => {
                self.out.push(Datagram { remote: to, bytes: Bytes::from(datagram) });
            }
            v5::Action::Contacted(ip) => self.local.contacted(ip, now.mono),
            v5::Action::Stated { by, endpoint } => {
                self.local.stated(by, endpoint, now.mono);
                return true;
            }
            v5::Action::Live(node) => {
                let db = self.v4.as_mut().map(v4::State::db).or(self.db.as_mut());
                let table = self.v5.as_ref().map(v5::V5::table);
                if let Some(db) = db {
                    db.ponged(&node, now, &mut |id| table.is_some_and(|table| table.get(id).is_some()));
                }
            }
            v5::Action::Found(node) => self.tell(Event::Added(Version::V5, node)),
            v5::Action::Done { request, outcome } => {
                if let Some(tell) = self.pending5.remove(&request) {
                    let _ = tell.send(outcome);
                }
            }
            v5::Action::RandomReady => {}
        }
        false
    }

    fn tell(&self, event: Event) {
        // Without a listener there is nobody to tell.
        let _ = self.events.send(event);
    }

    // --- our record

    fn update_record(&mut self, now: Now) {
        self.record_at = now.mono + RECORD_EVERY;
        if self.local.update(now.mono).is_some() {
            let (id, seq) = (self.id(), self.local.current().seq());
            if let Some(db) = self.v4.as_mut().map(v4::State::db).or(self.db.as_mut()) {
                db.set_local_seq(&id, seq);
            }
            // Soon, and not with the next round: a record that was told must not come again with another content.
            self.save_at = now.mono;
            self.tell_record();
        }
    }

    /// Signs what was set by hand: now, or as soon as the record may change again.
    fn renew_record(&mut self) {
        let now = self.now();
        self.update_record(now);
        self.record_at = now.mono + RECORD_PAUSE;
    }

    fn tell_record(&mut self) {
        let record = self.local.current().clone();
        if let Some(v4) = &mut self.v4 {
            let own = SocketAddr::new(self.socket.local_addr().ip(), self.own_udp);
            let at = record.entries().udp_endpoint().unwrap_or(own);
            v4.set_local(Endpoint::new(at, self.tcp), Some(record.clone()));
        }
        if let Some(v5) = &mut self.v5 {
            v5.set_record(record.clone());
        }
        self.record.send_replace(record.clone());
        self.tell(Event::Local(record));
    }

    pub(super) fn set_external(&mut self, ip: Option<IpAddr>, udp: Option<u16>) {
        if let Some(old) = self.external.take() {
            self.local.remove_static_ip(old);
        }
        if let Some(ip) = ip {
            self.local.set_static_ip(ip);
        }
        self.external = ip;
        self.local.set_fallback_udp(udp.unwrap_or(self.own_udp));
        self.renew_record();
    }

    pub(super) fn set_tcp(&mut self, port: Option<u16>) {
        // A port always has room in the record.
        if self.local.set_tcp(port).is_ok() {
            self.tcp = port.unwrap_or(0);
            self.renew_record();
        }
    }

    // --- what handles ask for

    pub(super) fn ask4(
        &mut self,
        start: impl FnOnce(&mut v4::State, Now) -> v4::Op,
    ) -> Result<oneshot::Receiver<v4::Outcome>, AskError> {
        let now = self.now();
        let v4 = self.v4.as_mut().ok_or(AskError::NotRunning)?;
        if self.pending4.len() >= MAX_PENDING {
            return Err(AskError::Busy);
        }
        let (tell, told) = oneshot::channel();
        self.pending4.insert(start(v4, now), tell);
        Ok(told)
    }

    pub(super) fn ask5(
        &mut self,
        start: impl FnOnce(&mut v5::V5, Duration) -> v5::Request,
    ) -> Result<oneshot::Receiver<v5::Outcome>, AskError> {
        let now = self.now();
        let v5 = self.v5.as_mut().ok_or(AskError::NotRunning)?;
        if self.pending5.len() >= MAX_PENDING {
            return Err(AskError::Busy);
        }
        let (tell, told) = oneshot::channel();
        self.pending5.insert(start(v5, now.mono), tell);
        Ok(told)
    }

    pub(super) fn candidate(&mut self, version: Version) -> Result<oneshot::Receiver<Node>, AskError> {
        let (runs, waiting) = match version {
            Version::V4 => (self.v4.is_some(), &mut self.waiting4),
            Version::V5 => (self.v5.is_some(), &mut self.waiting5),
        };
        if !runs {
            return Err(AskError::NotRunning);
        }
        waiting.retain(|tell| !tell.is_closed());
        if waiting.len() >= MAX_PENDING {
            return Err(AskError::Busy);
        }
        let (tell, told) = oneshot::channel();
        waiting.push_back(tell);
        Ok(told)
    }

    /// Gives candidates to who waits; asks for more only while somebody does.
    fn serve_candidates(&mut self, now: Now) {
        let Self { v4, v5, waiting4, waiting5, .. } = self;
        serve(waiting4, || v4.as_mut()?.next_candidate(now));
        serve(waiting5, || v5.as_mut()?.random_node(now.mono));
        // A search that began has packets to send.
        while let Some(action) = self.v4.as_mut().and_then(v4::State::next_action) {
            self.act4(action, now);
        }
        while let Some(action) = self.v5.as_mut().and_then(v5::V5::next_action) {
            self.act5(action, now);
        }
    }

    pub(super) fn add_known(&mut self, node: &Node) {
        if let Some(v4) = &mut self.v4 {
            v4.add_known(node.clone());
        }
        if let Some(v5) = &mut self.v5 {
            v5.add_known(node);
        }
    }

    pub(super) fn table(&self, version: Version) -> Option<&Table> {
        match version {
            Version::V4 => self.v4.as_ref().map(v4::State::table),
            Version::V5 => self.v5.as_ref().map(v5::V5::table),
        }
    }

    pub(super) fn counters(&self) -> Counters {
        let size = |version| self.table(version).map_or((0, 0), |table| (table.len(), table.live_len()));
        Counters {
            v4: self.v4.as_ref().map(v4::State::counters).unwrap_or_default(),
            v5: self.v5.as_ref().map(|v5| *v5.counters()).unwrap_or_default(),
            received: self.received,
            foreign: self.foreign,
            sent: self.sent,
            lost: self.lost,
            tables: [size(Version::V4), size(Version::V5)],
        }
    }
}

fn serve(waiting: &mut VecDeque<oneshot::Sender<Node>>, mut next: impl FnMut() -> Option<Node>) {
    waiting.retain(|tell| !tell.is_closed());
    while !waiting.is_empty() {
        let Some(node) = next() else { return };
        if let Some(tell) = waiting.pop_front() {
            let _ = tell.send(node);
        }
    }
}

fn report(saved: Result<(), StoreError>) {
    if let Err(error) = saved {
        tracing::warn!(%error, "the records of nodes were not saved; it is tried again");
    }
}
