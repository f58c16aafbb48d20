//! Admission as living networks need it: slow strangers, slots of each wire, subnets, bans that survive a crash,
//! sources that are asked only while there is room, and `connect`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

use parking_lot::Mutex;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use switchboard::candidate::Provenance;
use switchboard::net::memory::{MEMORY, MemoryWire};
use switchboard::net::{Connection, Network};
use switchboard::preset::{Keep, OtherIdentity, Preset};
use switchboard::switch::score::{BanError, Banned};
use switchboard::switch::source::{Mark, Outcome, Pull, Room, Skip, queue};
use switchboard::wire::Wire;
use switchboard::{
    Ban, BoxFuture, Candidate, ChannelIo, ChannelSpec, ConnectError, Direction, Event, Limits, MemoryStore,
    Misbehaviour, Peer, PeerId, Protocol, ProtocolError, ProtocolSpec, Reason, Source, Switch, SwitchBuilder,
    WireName,
};
use switchboard_comet::{Comet, CometConfig, NodeKey};
use switchboard_simnet::{Link, SimNet, run};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep, timeout};

const PORT: u16 = 9_000;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A host that is not of the local network.
fn far(net: u8, host: u8) -> IpAddr {
    Ipv4Addr::new(20, net, 0, host).into()
}

fn id(n: u8) -> PeerId {
    PeerId::new(MEMORY, &[n]).unwrap()
}

struct Idle;

impl Protocol for Idle {
    fn spec(&self) -> ProtocolSpec {
        ProtocolSpec::new("idle", 1, vec![ChannelSpec::new(0, 1)])
    }

    fn run(self: Arc<Self>, _: Peer, mut io: ChannelIo) -> BoxFuture<'static, Result<(), ProtocolError>> {
        Box::pin(async move {
            while io.recv().await.is_some() {}
            Ok(())
        })
    }
}

fn builder(net: &SimNet, ip: IpAddr, n: u8, preset: Preset) -> SwitchBuilder {
    SwitchBuilder::new(net.host(ip).env())
        .wire(Arc::new(MemoryWire::new(&[n]).preset(preset)))
        .protocol(Arc::new(Idle))
        .listen((ip, PORT).into(), &[])
}

async fn node(net: &SimNet, ip: IpAddr, n: u8) -> Switch {
    builder(net, ip, n, Preset::new()).start().await.unwrap()
}

fn at(ip: IpAddr) -> Candidate {
    Candidate::new(MEMORY, ip.to_string(), PORT)
}

/// 100 connections a second from one network that say nothing, or say a little and stop: honest nodes 150 ms away each
/// way get in.
#[test]
fn honest_nodes_get_in_under_a_hundred_slow_connections_a_second() {
    run::once(21, |net| async move {
        net.every_link(Link::new().latency(ms(150)));
        let limits = Limits::default().with(|limits| limits.inbound = 5_000);
        let hub = builder(&net, far(0, 1), 255, Preset::new()).limits(limits).start().await.unwrap();
        let to = hub.listening()[0].0;
        let attack = tokio::spawn({
            let net = net.clone();
            async move {
                let held = Arc::<Mutex<Vec<Connection>>>::default();
                for n in 0..6_000_u32 {
                    // 64 addresses of one /24.
                    let host = net.host(Ipv4Addr::new(66, 6, 6, (n % 64) as u8));
                    let held = Arc::clone(&held);
                    tokio::spawn(async move {
                        if let Ok(mut connection) = host.connect(to).await {
                            let _ = connection.writer.write_all(&b"mem1"[..(n % 5) as usize]).await;
                            let _ = connection.writer.flush().await;
                            held.lock().push(connection);
                        }
                    });
                    sleep(ms(10)).await;
                }
                held
            }
        });
        sleep(secs(10)).await;
        let (mut tried, mut in_time) = (0, 0);
        for n in 0..200_u8 {
            let honest = builder(&net, far(1 + n, 7), n, Preset::new()).start().await.unwrap();
            let began = Instant::now();
            tried += 1;
            if honest.connect_to(at(far(0, 1))).await.is_ok() && began.elapsed() < secs(2) {
                in_time += 1;
            }
            honest.stop().await;
            sleep(ms(100)).await;
        }
        assert!(in_time * 100 >= tried * 99, "{in_time} of {tried}");
        attack.abort();
        hub.stop().await;
    });
}

/// Free identities of one wire take their wire's slots, and no other's; where addresses count, not even those.
#[test]
fn sixty_free_identities_leave_the_other_wires_their_slots() {
    run::once(22, |net| async move {
        net.every_link(Link::new().latency(ms(20)));
        let comet = |n: u8| {
            let key = NodeKey::from_seed(&[n; 32]).unwrap();
            Arc::new(Comet::new(CometConfig::new(Arc::new(key), "net")).unwrap())
        };
        let hub_wire = comet(255);
        let target = hub_wire.parse(&hub_wire.own_url((far(0, 1), PORT).into())).unwrap();
        let hub = SwitchBuilder::new(net.host(far(0, 1)).env())
            .wire(hub_wire)
            .wire(Arc::new(MemoryWire::new(&[255])))
            .protocol(Arc::new(Idle))
            .listen((far(0, 1), PORT).into(), &[]);
        let hub = hub.start().await.unwrap();
        let mut crowd = Vec::new();
        for n in 0..60 {
            let stranger =
                SwitchBuilder::new(net.host(far(1, n)).env()).wire(comet(n)).protocol(Arc::new(Idle));
            let stranger = stranger.start().await.unwrap();
            let _ = stranger.connect_to(target.clone()).await;
            crowd.push(stranger);
        }
        sleep(secs(2)).await;
        assert_eq!(hub.peers().len(), 8, "the cap of one /24");
        for n in 0..30 {
            let stranger = SwitchBuilder::new(net.host(far(2 + n, 1)).env()).wire(comet(100 + n));
            let stranger = stranger.protocol(Arc::new(Idle)).start().await.unwrap();
            let _ = stranger.connect_to(target.clone()).await;
            crowd.push(stranger);
        }
        sleep(secs(2)).await;
        assert_eq!(hub.peers().len(), 34, "the wire's inbound slots");
        for n in 0..30 {
            let honest = node(&net, far(100 + n, 1), n).await;
            honest.connect_to(at(far(0, 1))).await.unwrap();
            crowd.push(honest);
        }
        assert_eq!(hub.peers().len(), 64);
        for switch in crowd.iter().chain([&hub]) {
            switch.stop().await;
        }
    });
}

#[test]
fn a_ban_survives_a_crash_is_listed_and_lifted_and_spares_the_trusted() {
    run::once(23, |net| async move {
        net.every_link(Link::new().latency(ms(20)));
        let store = MemoryStore::new();
        let hub = || builder(&net, far(0, 1), 255, Preset::new()).store(Arc::new(store.clone()));
        let first = hub().start().await.unwrap();
        let liar = node(&net, far(1, 1), 1).await;
        liar.connect_to(at(far(0, 1))).await.unwrap();
        sleep(secs(1)).await;
        let peer = first.peers().get(&id(1)).unwrap();
        let mut events = first.events();
        first.report(&peer, Misbehaviour { points: Misbehaviour::FATAL, what: "sent a forged block" }).await;
        let mut seen = (0, None);
        while seen.1.is_none() {
            match events.recv().await.unwrap() {
                Event::BanAdded(ban) => {
                    assert_eq!(ban.why, "sent a forged block");
                    seen.0 += 1;
                }
                Event::PeerDropped { end, .. } => seen.1 = Some(end.reason),
                _ => {}
            }
        }
        assert_eq!(seen, (2, Some(Reason::AccessDenied)), "the identity and its address");
        sleep(secs(1)).await;
        // The machine loses power: what was not flushed is gone.
        drop(first);
        sleep(secs(10)).await;
        store.crash();
        let again = hub().start().await.unwrap();
        let banned: Vec<_> = again.bans().await.into_iter().map(|ban| ban.who).collect();
        assert_eq!(banned, [Banned::Id(id(1)), Banned::address(far(1, 1))]);
        assert!(liar.connect_to(at(far(0, 1))).await.is_err());
        liar.stop().await;
        // A new key from the same address, and the old key from another.
        let new_key = builder(&net, far(1, 1), 2, Preset::new()).start().await.unwrap();
        assert!(new_key.connect_to(at(far(0, 1))).await.is_err());
        let moved = node(&net, far(9, 9), 1).await;
        // On this wire the dialler has a session until it reads the refusal.
        let _ = moved.connect_to(at(far(0, 1))).await;
        sleep(secs(5)).await;
        assert!(!again.peers().has(&id(1)) && !moved.peers().has(&id(255)));
        let back = again.connect_to(at(far(9, 9))).await.unwrap_err();
        assert_eq!(back, ConnectError::RefusedByUs(Reason::AccessDenied));
        assert_eq!(again.lift_ban(Banned::address(far(1, 1))).await, Ok(true));
        assert_eq!(again.lift_ban(Banned::address(far(1, 1))).await, Ok(false));
        new_key.connect_to(at(far(0, 1))).await.unwrap();
        // Who becomes trusted is not banned any more, and will not be.
        again.set_trusted(id(1), true).await;
        let until = net.host(far(0, 1)).env().wall() + secs(60);
        assert_eq!(again.ban(Ban::new(Banned::Id(id(1)), until, "again")).await, Err(BanError::Trusted));
        moved.connect_to(at(far(0, 1))).await.unwrap();
        sleep(secs(1)).await;
        assert!(again.peers().get(&id(1)).unwrap().is_trusted());
        assert_eq!(again.bans().await, []);
        for switch in [&again, &new_key, &moved] {
            switch.stop().await;
        }
        sleep(secs(1)).await;
        assert!(store.is_empty(), "what was lifted is stored no more");
    });
}

/// Notes what it is asked and told.
struct Diary {
    name: &'static str,
    give: Mutex<Vec<Candidate>>,
    rooms: Mutex<Vec<usize>>,
    told: Mutex<Vec<String>>,
}

impl Diary {
    fn new(name: &'static str, give: Vec<Candidate>) -> Arc<Self> {
        let give = Mutex::new(give.into_iter().rev().collect());
        Arc::new(Self { name, give, rooms: Mutex::default(), told: Mutex::default() })
    }
}

impl Source for Diary {
    fn name(&self) -> &'static str {
        self.name
    }

    fn wire(&self) -> WireName {
        MEMORY
    }

    fn next(&self, room: &Room, _: Instant) -> Pull {
        self.rooms.lock().push(room.free);
        self.give.lock().pop().map_or(Pull::Nothing, Pull::Candidate)
    }

    fn outcome(&self, candidate: &Candidate, outcome: &Outcome, _: Instant) {
        assert_eq!(candidate.provenance, Provenance::Source(self.name));
        let word = match outcome {
            Outcome::Skipped(why) => format!("{why:?}"),
            Outcome::Failed { reason, proven, .. } => format!("{} {}", reason.code(), proven.is_some()),
            Outcome::Connected { .. } => "connected".into(),
            Outcome::Ended { reason, lifetime, .. } => {
                format!("ended {} {}", reason.code(), lifetime.as_secs())
            }
            _ => "?".into(),
        };
        self.told.lock().push(format!("{} {word}", candidate.host));
    }

    fn marked(&self, candidate: &Candidate, mark: Mark, _: Instant) {
        self.told.lock().push(format!("{} {mark:?}", candidate.host));
    }
}

#[test]
fn sources_are_asked_in_turn_only_while_there_is_room_and_told_what_became_of_it() {
    run::once(24, |net| async move {
        net.every_link(Link::new().latency(ms(20)));
        let mut others = Vec::new();
        for n in 1..=6 {
            others.push(node(&net, far(n, 1), n).await);
        }
        let to = |n: u8| at(far(n, 1)).id(id(n));
        let one = Diary::new("one", vec![to(1), to(1), to(255), at(far(2, 1)).id(id(77)), to(3), to(5)]);
        let two = Diary::new(
            "two",
            vec![to(4), Candidate::unresolved(id(8)), Candidate::new("other", "x", 1), to(6)],
        );
        let limits = Limits::default().with(|limits| limits.outbound = 3);
        let hub = builder(&net, far(0, 1), 255, Preset::new()).limits(limits);
        let hub =
            hub.source(Arc::clone(&one) as Arc<_>).source(Arc::clone(&two) as Arc<_>).start().await.unwrap();
        sleep(secs(5)).await;
        let ids: Vec<_> = hub.peers().list().iter().map(Peer::id).collect();
        assert_eq!(ids.len(), 3, "{ids:?} {:?} {:?}", one.told.lock(), two.told.lock());
        assert!(ids.contains(&id(1)) && ids.contains(&id(4)), "both had a turn: {ids:?}");
        let asked = (one.rooms.lock().len(), two.rooms.lock().len());
        sleep(secs(600)).await;
        assert_eq!(asked, (one.rooms.lock().len(), two.rooms.lock().len()), "asked without room");
        assert!(one.rooms.lock().iter().chain(two.rooms.lock().iter()).all(|free| *free > 0));
        hub.mark(to(1), Mark::Good).await;
        hub.disconnect(&id(1), Reason::Requested);
        sleep(secs(30)).await;
        assert_eq!(hub.peers().len(), 3, "the slot was filled again");
        let told = one.told.lock().clone();
        for line in
            ["20.1.0.1 connected", "20.1.0.1 Good", "20.1.0.1 ended requested 60", "20.255.0.1 Ourselves"]
        {
            assert!(told.iter().any(|t| t.starts_with(line)), "{line}: {told:?}");
        }
        assert!(told.iter().any(|t| t.starts_with("20.1.0.1 Dialling")), "{told:?}");
        assert!(told.iter().any(|t| t == "20.2.0.1 wrong_identity true"), "{told:?}");
        let told = two.told.lock().clone();
        assert!(
            told.iter().any(|t| t == " NoAddress") && told.iter().any(|t| t == "x OtherWire"),
            "{told:?}"
        );
        for switch in others.iter().chain([&hub]) {
            switch.stop().await;
        }
    });
}

/// One /16 that gives all candidates gets its share of the outbound slots; a task that finds them is held back; slots
/// change hands.
#[test]
fn outbound_slots_are_spread_over_networks_and_change_hands() {
    run::once(25, |net| async move {
        net.every_link(Link::new().latency(ms(20)));
        let mut others = Vec::new();
        for n in 1..=40 {
            others.push(node(&net, far(1, n), n).await);
        }
        for n in 41..=44 {
            others.push(node(&net, far(n, 1), n).await);
        }
        let (producer, source) = queue("walk", MEMORY, 4);
        let given = Arc::new(Mutex::new(0));
        let walk = tokio::spawn({
            let given = Arc::clone(&given);
            async move {
                loop {
                    for n in 1..=40 {
                        producer.give(at(far(1, n)).id(id(n))).await;
                        *given.lock() += 1;
                    }
                    for n in 41..=44 {
                        producer.give(at(far(n, 1)).id(id(n))).await;
                        *given.lock() += 1;
                    }
                }
            }
        });
        let preset = Preset::new().admission(|rules| rules.per_subnet = None).dial(|rules| {
            rules.per_wide_subnet = Some(3);
            rules.rotate = Some(secs(60));
        });
        let limits = Limits::default().with(|limits| limits.outbound = 6);
        let hub = builder(&net, far(0, 1), 255, preset).limits(limits).source(source).start().await.unwrap();
        sleep(secs(30)).await;
        let of_one = |hub: &Switch| {
            let near = |peer: &&Peer| peer.id() <= id(40);
            hub.peers().list().iter().filter(near).count()
        };
        assert_eq!((of_one(&hub), hub.peers().len()), (3, 6));
        let before: Vec<_> = hub.peers().list().iter().map(Peer::id).collect();
        assert!(*given.lock() < 1_000, "the walk was not held back: {}", given.lock());
        sleep(secs(600)).await;
        assert!(of_one(&hub) <= 3);
        let after: Vec<_> = hub.peers().list().iter().map(Peer::id).collect();
        assert_ne!(before, after, "slots froze");
        walk.abort();
        for switch in others.iter().chain([&hub]) {
            switch.stop().await;
        }
    });
}

#[test]
fn connect_says_who_refused_and_why() {
    run::once(26, |net| async move {
        net.every_link(Link::new().latency(ms(20)));
        let limits = Limits::default().with(|limits| limits.inbound = 1);
        let hub = builder(&net, far(0, 1), 255, Preset::new()).limits(limits).start().await.unwrap();
        let one = node(&net, far(1, 1), 1).await;
        let two = node(&net, far(2, 1), 2).await;
        let url = hub.own_url(MEMORY).unwrap();
        let (first, again) = tokio::join!(one.connect(&url), one.connect(&url));
        let (first, again) = (first.unwrap(), again.unwrap());
        assert!(first == again, "two dials for one peer");
        assert_eq!((first.id(), first.direction()), (id(255), Direction::Outbound));
        assert_eq!((first.provenance(), first.is_static()), (Some(Provenance::Asked), false));
        assert_eq!(first.local_addr().unwrap().ip(), far(1, 1));
        assert!(one.connect(&url).await.unwrap() == first, "got, not dialled");
        // The other way round it is known by its identity.
        assert_eq!(hub.connect_to(at(far(1, 1)).id(id(1))).await.unwrap().direction(), Direction::Inbound);
        assert!(two.connect("memory://nonsense").await.unwrap_err().to_string().contains("nonsense"));
        let wrong = two.connect_to(at(far(1, 1)).id(id(9))).await.unwrap_err();
        assert!(matches!(wrong, ConnectError::WrongIdentity(_)), "{wrong:?}");
        let ourselves = two.connect_to(at(far(2, 1))).await.unwrap_err();
        assert_eq!(ourselves, ConnectError::RefusedByUs(Reason::SelfConnection));
        let nobody = two.connect_to(Candidate::new(MEMORY, far(1, 1).to_string(), 1)).await.unwrap_err();
        assert!(matches!(nobody, ConnectError::Network(_)), "{nobody:?}");
        let silent = two.connect_to(at(far(200, 1))).await.unwrap_err();
        assert!(matches!(silent, ConnectError::TimedOut(_)), "{silent:?}");
        let lost = two.connect_to(Candidate::unresolved(id(77))).await.unwrap_err();
        assert_eq!(lost, ConnectError::NoAddress);
        assert_eq!(two.offer(Candidate::unresolved(id(77))).await, Err(Skip::NoAddress));
        // Further addresses are tried in order.
        let reached = two
            .connect_to(Candidate::new(MEMORY, far(200, 1).to_string(), 1).also(far(1, 1).to_string(), PORT));
        assert_eq!(reached.await.unwrap().id(), id(1));
        hub.set_unconditional(id(2), true).await;
        assert_eq!(two.connect(&url).await.unwrap().id(), id(255));
        sleep(secs(1)).await;
        assert!(hub.peers().get(&id(2)).unwrap().is_unconditional());
        for switch in [&hub, &one, &two] {
            switch.stop().await;
        }
        assert_eq!(one.connect(&url).await.unwrap_err(), ConnectError::Stopped);
    });
}

/// As Fabric has it: the newer session wins, so a peer that vanished comes back at once; another identity than the
/// dialled one may stay, and is told.
#[test]
fn a_wire_whose_network_decides_otherwise() {
    run::once(27, |net| async move {
        net.every_link(Link::new().latency(ms(20)));
        let preset = || {
            Preset::new().admission(|rules| {
                rules.duplicate = Keep::Newer;
                rules.other_identity = OtherIdentity::Switch;
            })
        };
        let hub = builder(&net, far(0, 1), 255, preset()).start().await.unwrap();
        let first = builder(&net, far(1, 1), 1, preset()).start().await.unwrap();
        let mut events = first.events();
        let peer = first.connect_to(at(far(0, 1)).id(id(99))).await.unwrap();
        assert_eq!(peer.id(), id(255));
        let switched = async {
            loop {
                if let Event::IdentitySwitched { candidate, id } = events.recv().await.unwrap() {
                    return (candidate.id, id);
                }
            }
        };
        let switched = timeout(secs(10), switched).await.unwrap();
        assert_eq!(switched, (Some(id(99)), id(255)));
        // It vanishes without a word, and comes back under the same key.
        sleep(secs(1)).await;
        net.cut(&[far(1, 1)], &[far(0, 1)]);
        sleep(secs(60)).await;
        assert_eq!(hub.peers().len(), 1, "nobody noticed");
        let old = hub.peers().get(&id(1)).unwrap();
        let moved = builder(&net, far(7, 7), 1, preset()).start().await.unwrap();
        let began = Instant::now();
        moved.connect_to(at(far(0, 1))).await.unwrap();
        sleep(secs(6)).await;
        let new = hub.peers().get(&id(1)).unwrap();
        assert!(old != new && !new.is_over(), "the older one stayed");
        assert!(began.elapsed() < secs(10));
        assert_eq!(hub.peers().len(), 1);
        for switch in [&hub, &moved] {
            switch.stop().await;
        }
    });
}
