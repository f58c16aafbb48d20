//! The contract of services, shown by a toy exchange of addresses and a toy membership, and what follows when a
//! service fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use switchboard::event::Change;
use switchboard::net::memory::{MEMORY, MemoryWire};
use switchboard::service::{OnFailure, Service, ServiceContext, ServiceError, State};
use switchboard::store::StoreError;
use switchboard::switch::source::{Outcome, Pull, Room, Wake};
use switchboard::wire::Liveness;
use switchboard::{
    BoxFuture, Candidate, ChannelIo, ChannelSpec, Event, Events, MemoryStore, Peer, PeerId, Protocol,
    ProtocolError, ProtocolSpec, Reason, Source, Switch, SwitchBuilder, WireName,
};
use switchboard_simnet::{Link, SimNet, run};
use tokio::time::{Instant, sleep, timeout};

const PORT: u16 = 9_000;

fn ip(n: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, n).into()
}

fn id(n: u8) -> PeerId {
    PeerId::new(MEMORY, &[n; 8]).unwrap()
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn builder(net: &SimNet, n: u8) -> SwitchBuilder {
    let liveness = Liveness::default().with(|alive| {
        alive.ping_every = Some(secs(2));
        alive.pong_within = Some(secs(4));
        alive.idle_limit = None;
    });
    SwitchBuilder::new(net.host(ip(n)).env())
        .wire(Arc::new(MemoryWire::new(&[n; 8]).liveness(liveness)))
        .listen((ip(n), PORT).into(), &[])
}

/// Peers tell each other whom they know. What a stranger may make us keep is capped.
struct Exchange {
    book: Mutex<Book>,
    seeds: Vec<u8>,
}

#[derive(Default)]
struct Book {
    /// Every known node; one octet is an address in this world.
    known: BTreeSet<u8>,
    turn: VecDeque<u8>,
    wake: Option<Wake>,
    connected: usize,
    asked_without_room: bool,
}

impl Exchange {
    fn new(seeds: &[u8]) -> Arc<Self> {
        Arc::new(Self { book: Mutex::default(), seeds: seeds.to_vec() })
    }

    fn learn(&self, nodes: &[u8]) {
        let mut book = self.book.lock();
        for node in nodes.iter().filter(|node| **node != 0) {
            if book.known.len() < 200 && book.known.insert(*node) {
                book.turn.push_back(*node);
            }
        }
        if let Some(wake) = &book.wake {
            wake.now();
        }
    }
}

/// The protocol of an [`Exchange`]: says once whom it knows, then listens.
struct Tell(Arc<Exchange>);

impl Protocol for Tell {
    fn spec(&self) -> ProtocolSpec {
        ProtocolSpec::new("tell", 1, vec![ChannelSpec::new(0, 1)])
    }

    fn run(self: Arc<Self>, peer: Peer, mut io: ChannelIo) -> BoxFuture<'static, Result<(), ProtocolError>> {
        Box::pin(async move {
            if let IpAddr::V4(ip) = peer.remote_addr().ip() {
                self.0.learn(&ip.octets()[3..]);
            }
            let known: Vec<u8> = self.0.book.lock().known.iter().copied().collect();
            let _ = io.send(switchboard::ChannelId(0), known).await;
            while let Some((_, told)) = io.recv().await {
                if told.len() > 200 {
                    return Err(ProtocolError::Breach("too many addresses"));
                }
                self.0.learn(&told);
            }
            Ok(())
        })
    }
}

/// The source of an [`Exchange`].
struct FromBook(Arc<Exchange>);

impl Source for FromBook {
    fn name(&self) -> &'static str {
        "book"
    }

    fn wire(&self) -> WireName {
        MEMORY
    }

    fn attach(&self, wake: Wake) {
        self.0.book.lock().wake = Some(wake);
    }

    fn next(&self, room: &Room, now: Instant) -> Pull {
        let mut book = self.0.book.lock();
        book.asked_without_room |= room.free == 0;
        match book.turn.pop_front() {
            Some(node) => Pull::Candidate(Candidate::new(MEMORY, ip(node).to_string(), PORT).id(id(node))),
            None => {
                // Once round: again in a while.
                book.turn = book.known.iter().copied().collect();
                Pull::Until(now + secs(5))
            }
        }
    }

    fn outcome(&self, _: &Candidate, outcome: &Outcome, _: Instant) {
        let mut book = self.0.book.lock();
        match outcome {
            Outcome::Connected { .. } => book.connected += 1,
            Outcome::Ended { .. } => book.connected -= 1,
            _ => {}
        }
    }
}

/// The service of an [`Exchange`]: the book survives a restart.
struct Keeper(Arc<Exchange>);

impl Service for Keeper {
    fn name(&self) -> &str {
        "exchange"
    }

    fn protocol(&self) -> Option<(Arc<dyn Protocol>, Option<WireName>)> {
        Some((Arc::new(Tell(Arc::clone(&self.0))), Some(MEMORY)))
    }

    fn source(&self) -> Option<Arc<dyn Source>> {
        Some(Arc::new(FromBook(Arc::clone(&self.0))))
    }

    fn figures(&self) -> Vec<(&'static str, String)> {
        vec![("known", self.0.book.lock().known.len().to_string())]
    }

    fn start<'a>(&'a self, context: &'a ServiceContext) -> BoxFuture<'a, Result<(), ServiceError>> {
        Box::pin(async move {
            self.0.learn(&self.0.seeds);
            let book = context.store().get(b"book").await?;
            self.0.learn(&book.unwrap_or_default());
            Ok(())
        })
    }

    fn run(self: Arc<Self>, context: ServiceContext) -> BoxFuture<'static, Result<(), ServiceError>> {
        Box::pin(async move {
            loop {
                tokio::select! {
                    () = context.stopping() => {}
                    () = sleep(secs(10)) => {}
                }
                let known: Vec<u8> = self.0.book.lock().known.iter().copied().collect();
                context.store().put("book", known).await?;
                context.store().flush().await?;
                if context.is_stopping() {
                    return Ok(());
                }
            }
        })
    }
}

async fn exchanging(net: &SimNet, n: u8, seeds: &[u8], store: &MemoryStore) -> (Switch, Arc<Exchange>) {
    let exchange = Exchange::new(seeds);
    let keeper = Arc::new(Keeper(Arc::clone(&exchange)));
    let node = builder(net, n).service(keeper).store(Arc::new(store.clone()));
    (node.start().await.unwrap(), exchange)
}

#[test]
fn nodes_that_know_one_seed_find_each_other_and_remember_it() {
    const NODES: u8 = 12;
    let scenario = |net: SimNet| async move {
        net.every_link(Link::new().latency(Duration::from_millis(30)));
        let stores: Vec<_> = (0..NODES).map(|_| MemoryStore::new()).collect();
        let mut nodes = Vec::new();
        for n in 1..=NODES {
            nodes.push(exchanging(&net, n, &[1], &stores[usize::from(n - 1)]).await);
        }
        sleep(secs(60)).await;
        for (switch, exchange) in &nodes {
            assert!(switch.peers().len() >= 8, "{} peers", switch.peers().len());
            let book = exchange.book.lock();
            assert_eq!(book.known.len(), usize::from(NODES));
            assert!(!book.asked_without_room);
            let dialled = switch.peers().list().iter().filter(|peer| peer.provenance().is_some()).count();
            assert_eq!(book.connected, dialled, "every outcome was told");
        }
        assert_eq!(nodes[0].0.services()[0].figures, [("known", NODES.to_string())]);
        assert_eq!(nodes[0].0.services()[0].state, State::Running);
        // A node that loses power knows its network without any seed; the seed is gone, too.
        nodes[0].0.stop().await;
        let (lost, _) = nodes.remove(4);
        drop(lost);
        sleep(secs(20)).await;
        stores[4].crash();
        let (again, _) = exchanging(&net, 5, &[], &stores[4]).await;
        sleep(secs(30)).await;
        assert!(again.peers().len() >= 5, "{} peers", again.peers().len());
        again.stop().await;
        for (switch, _) in &nodes {
            switch.stop().await;
        }
        switch_count(&nodes)
    };
    run::twice(11, scenario);
}

fn switch_count(nodes: &[(Switch, Arc<Exchange>)]) -> usize {
    nodes.iter().map(|(switch, _)| switch.peers().len()).sum()
}

/// Says goodbye with a message, so that the others need not wait for a time-out.
struct Leave(Arc<Mutex<Vec<PeerId>>>);

impl Protocol for Leave {
    fn spec(&self) -> ProtocolSpec {
        ProtocolSpec::new("member", 1, vec![ChannelSpec::new(0, 1)])
    }

    fn run(self: Arc<Self>, peer: Peer, mut io: ChannelIo) -> BoxFuture<'static, Result<(), ProtocolError>> {
        Box::pin(async move {
            while let Some((_, message)) = io.recv().await {
                if message == "leave" {
                    self.0.lock().push(peer.id());
                }
            }
            Ok(())
        })
    }
}

/// Keeps every member connected, and tells who is there.
struct Membership {
    members: Vec<u8>,
    view: Mutex<BTreeMap<PeerId, u64>>,
    left: Arc<Mutex<Vec<PeerId>>>,
    stopped: Arc<Mutex<Vec<&'static str>>>,
}

impl Membership {
    fn new(members: &[u8], stopped: &Arc<Mutex<Vec<&'static str>>>) -> Arc<Self> {
        let (view, left) = (Mutex::default(), Arc::default());
        Arc::new(Self { members: members.to_vec(), view, left, stopped: Arc::clone(stopped) })
    }

    /// Takes a change over: each has the next revision, or all is told anew.
    fn see(&self, change: &Change, revision: &mut u64, context: &ServiceContext) {
        let mut view = self.view.lock();
        match change {
            Change::All { peers, revision: now } => {
                *view = peers.iter().map(|peer| (peer.id(), *now)).collect();
                *revision = *now;
                return;
            }
            Change::Added { peer, .. } => {
                assert!(view.insert(peer.id(), *revision).is_none(), "added twice");
                context.emit("member_alive", vec![("id", peer.id().to_string())]);
            }
            Change::Dropped { peer, .. } => {
                assert!(view.remove(&peer.id()).is_some(), "dropped, but not there");
                context.emit("member_dead", vec![("id", peer.id().to_string())]);
            }
        }
        *revision += 1;
        assert_eq!(change.revision(), *revision, "a change was lost");
    }
}

impl Service for Membership {
    fn name(&self) -> &str {
        "membership"
    }

    fn protocol(&self) -> Option<(Arc<dyn Protocol>, Option<WireName>)> {
        Some((Arc::new(Leave(Arc::clone(&self.left))), None))
    }

    fn run(self: Arc<Self>, context: ServiceContext) -> BoxFuture<'static, Result<(), ServiceError>> {
        Box::pin(async move {
            let (mut feed, mut revision) = (context.feed(), 0);
            let mut tick = tokio::time::interval(secs(5));
            loop {
                tokio::select! {
                    () = context.stopping() => break,
                    change = feed.next() => match change {
                        Some(change) => self.see(&change, &mut revision, &context),
                        None => return Ok(()),
                    },
                    _ = tick.tick() => {
                        for n in self.members.iter().filter(|n| !context.peers().has(&id(**n))) {
                            let whom = Candidate::new(MEMORY, ip(*n).to_string(), PORT).id(id(*n));
                            // In tasks of their own: a member that does not answer holds up nothing.
                            let context = context.clone();
                            tokio::spawn(async move { context.connect(whom).await });
                        }
                    }
                }
            }
            for peer in context.peers().list() {
                let _ = peer.send("member", switchboard::ChannelId(0), Bytes::from("leave")).await;
                context.disconnect(&peer, Reason::Quitting).await;
                assert!(!context.peers().has(&peer.id()), "gone when disconnect returns");
            }
            self.stopped.lock().push("membership");
            Ok(())
        })
    }
}

async fn told(events: &mut Events, what: &str, who: PeerId) {
    let wait = async {
        loop {
            if let Event::Service(event) = events.recv().await.unwrap()
                && event.what == what
                && event.fields == [("id", who.to_string())]
            {
                return;
            }
        }
    };
    timeout(secs(600), wait).await.unwrap_or_else(|_| panic!("{what} of {who} was never told"));
}

#[test]
fn a_membership_keeps_all_connected_through_a_cut_and_leaves_in_order() {
    const NODES: u8 = 6;
    run::once(12, |net| async move {
        net.every_link(Link::new().latency(Duration::from_millis(30)).jitter(Duration::from_millis(10)));
        let stopped = Arc::default();
        let mut nodes = Vec::new();
        for n in 1..=NODES {
            let others: Vec<u8> = (1..=NODES).filter(|other| *other != n).collect();
            let membership = Membership::new(&others, &stopped);
            let last = Arc::new(Last(Arc::clone(&stopped)));
            let node = builder(&net, n).service(Arc::clone(&membership) as Arc<_>).service(last);
            nodes.push((node.start().await.unwrap(), membership));
        }
        sleep(secs(30)).await;
        for (switch, membership) in &nodes {
            assert_eq!(switch.peers().len(), usize::from(NODES) - 1);
            let ids: Vec<_> = switch.peers().list().iter().map(Peer::id).collect();
            assert_eq!(membership.view.lock().keys().copied().collect::<Vec<_>>(), ids);
        }
        let mut events = nodes[0].0.events();
        let (left, right): (Vec<_>, Vec<_>) = (1..=NODES).map(ip).partition(|i| *i <= ip(3));
        net.cut(&left, &right);
        told(&mut events, "member_dead", id(5)).await;
        net.heal();
        told(&mut events, "member_alive", id(5)).await;
        sleep(secs(120)).await;
        for (switch, membership) in &nodes {
            assert_eq!(switch.peers().len(), usize::from(NODES) - 1);
            assert_eq!(membership.view.lock().len(), usize::from(NODES) - 1);
        }
        // One stops: the others hear its word, which went out before its goodbye.
        let (one, _) = nodes.remove(0);
        let before = Instant::now();
        one.stop().await;
        assert!(before.elapsed() < secs(6), "{:?}", before.elapsed());
        assert_eq!(*stopped.lock(), ["last", "membership"], "the last registered stops first");
        sleep(secs(1)).await;
        for (_, membership) in &nodes {
            assert_eq!(*membership.left.lock(), [id(1)]);
        }
        for (switch, _) in &nodes {
            switch.stop().await;
            assert_eq!(switch.bytes_held(), 0);
        }
    });
}

/// Notes when it is stopped.
struct Last(Arc<Mutex<Vec<&'static str>>>);

impl Service for Last {
    fn name(&self) -> &str {
        "last"
    }

    fn run(self: Arc<Self>, context: ServiceContext) -> BoxFuture<'static, Result<(), ServiceError>> {
        Box::pin(async move {
            context.stopping().await;
            self.0.lock().push("last");
            Ok(())
        })
    }
}

/// Fails, panics or hangs as told.
struct Moody {
    name: &'static str,
    runs: AtomicU32,
    policy: OnFailure,
    /// Runs that fail; every second of them by a panic.
    fails: u32,
    hangs: bool,
}

impl Service for Moody {
    fn name(&self) -> &str {
        self.name
    }

    fn on_failure(&self) -> OnFailure {
        self.policy
    }

    fn run(self: Arc<Self>, context: ServiceContext) -> BoxFuture<'static, Result<(), ServiceError>> {
        Box::pin(async move {
            let run = self.runs.fetch_add(1, Ordering::Relaxed);
            if run >= self.fails {
                context.stopping().await;
                if self.hangs {
                    std::future::pending::<()>().await;
                }
                return Ok(());
            }
            assert!(run.is_multiple_of(2), "a panic, as told");
            Err(ServiceError::new("failed, as told"))
        })
    }
}

fn moody(name: &'static str, policy: OnFailure, fails: u32, hangs: bool) -> Arc<Moody> {
    Arc::new(Moody { name, runs: AtomicU32::new(0), policy, fails, hangs })
}

#[test]
fn a_service_that_fails_is_started_again_ever_later() {
    run::once(13, |net| async move {
        let policy = OnFailure::Restart { first: secs(1), most: secs(8) };
        let service = moody("moody", policy, 5, true);
        let gives_up = moody("gives up", OnFailure::GiveUp, 1, false);
        let node = builder(&net, 1).service(Arc::clone(&service) as Arc<_>).service(gives_up);
        let node = node.start().await.unwrap();
        let (mut events, mut waits) = (node.events(), Vec::new());
        while waits.len() < 6 {
            if let Event::ServiceFailed { service, restart_in, detail } = events.recv().await.unwrap() {
                assert!(detail.contains("as told"), "{detail}");
                waits.push((service, restart_in.map(|wait| wait.as_secs())));
            }
        }
        waits.sort();
        let mut expected = vec![("gives up".to_owned(), None)];
        expected.extend([1, 2, 4, 8, 8].map(|wait| ("moody".to_owned(), Some(wait))));
        expected.sort();
        assert_eq!(waits, expected);
        sleep(secs(10)).await;
        assert_eq!(node.services()[0].state, State::Running);
        assert!(matches!(node.services()[1].state, State::Failed { .. }));
        // It does not stop when told: it is aborted.
        let before = Instant::now();
        node.stop().await;
        assert!(before.elapsed() <= secs(3));
        assert_eq!(service.runs.load(Ordering::Relaxed), 6);
    });
}

#[test]
fn a_service_may_end_the_node_or_keep_it_from_starting() {
    run::once(14, |net| async move {
        let node = builder(&net, 1).service(moody("vital", OnFailure::StopNode, 1, false));
        let node = node.start().await.unwrap();
        let mut events = node.events();
        let ended = async { while events.recv().await.is_ok() {} };
        timeout(secs(60), ended).await.expect("the node went on");
        node.stop().await;
        let store = MemoryStore::new();
        store.fail(Some(StoreError::Full), 0);
        let store: Arc<MemoryStore> = Arc::new(store);
        let error = builder(&net, 2).store(Arc::clone(&store) as Arc<_>).start().await.unwrap_err();
        assert!(error.to_string().contains("store is full"), "{error}");
        store.fail(None, 0);
        let twice = || moody("twice", OnFailure::GiveUp, 0, false) as Arc<dyn Service>;
        let error = builder(&net, 3).service(twice()).service(twice()).start().await.unwrap_err();
        assert_eq!(error.to_string(), "service twice is registered twice");
        // What did not start left no listener behind.
        builder(&net, 2).start().await.unwrap().stop().await;
    });
}
