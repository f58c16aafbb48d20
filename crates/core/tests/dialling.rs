//! Simultaneous dials in every order of arrival, static peers over minutes, limits and access.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

mod common;

use common::net::Net;
use common::*;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;
use switchboard::net::memory::MEMORY;
use switchboard::{AccessList, Direction, Event, Limits, Reason, Switch, SwitchBuilder};
use tokio::time::Instant;

fn count(events: &[Event]) -> (usize, usize) {
    let added = events.iter().filter(|e| matches!(e, Event::PeerAdded(_))).count();
    let dropped = events.iter().filter(|e| matches!(e, Event::PeerDropped { .. })).count();
    (added, dropped)
}

fn node(net: &Net, n: u8) -> SwitchBuilder {
    builder(&net.host([10, 0, 0, n]), n).protocol(echo("p"))
}

/// Both are given each other as static peers, with or without identity; the first message of each direction
/// of both connections arrives in the given order, what follows at once or only when all four have.
async fn cross(order: [usize; 4], with_id: bool, hold_rest: bool) {
    let net = Net::default();
    let (a, b) = (node(&net, 1).start().await.unwrap(), node(&net, 2).start().await.unwrap());
    let (mut at_a, mut at_b) = (a.events(), b.events());
    net.gate(true);
    let target = |switch: &Switch| if with_id { known(switch) } else { address(switch) };
    a.add_static(target(&b)).await;
    b.add_static(target(&a)).await;
    settle().await;
    let lines = net.lines();
    assert_eq!(lines.len(), 2);
    let gates: Vec<_> = lines.iter().flat_map(|l| [&l.to_listener, &l.to_dialler]).collect();
    net.gate(false);
    // "mem1", a length, an identity of one byte, a count and "p" with its version.
    let hello = 4 + 1 + 1 + 1 + 1 + 1 + 4;
    for n in order {
        gates[n].allow(if hold_rest { hello } else { u64::MAX });
        settle().await;
    }
    gates.iter().for_each(|gate| gate.allow(u64::MAX));
    tokio::time::sleep(Duration::from_secs(300)).await;
    let what = format!("{order:?} with_id {with_id} hold_rest {hold_rest}");
    let (here, there) = (a.peers().list(), b.peers().list());
    assert_eq!((here.len(), there.len()), (1, 1), "{what}");
    assert_ne!(here[0].direction(), there[0].direction(), "{what}: two halves of different connections");
    assert!(!here[0].is_over() && here[0].lifetime() > Duration::from_secs(280), "{what}: it flaps");
    for events in [drain(&mut at_a), drain(&mut at_b)] {
        let (added, dropped) = count(&events);
        assert!(added <= 3 && added == dropped + 1, "{what}: {events:?}");
        assert!(events.len() < 20, "{what}: {} events in five minutes", events.len());
    }
    finish(&[&a, &b]).await;
}

#[tokio::test(start_paused = true)]
async fn crossing_dials_leave_exactly_one_session_in_every_order() {
    for a in 0..4 {
        for b in (0..4).filter(|b| *b != a) {
            for c in (0..4).filter(|c| ![a, b].contains(c)) {
                let order = [a, b, c, 6 - a - b - c];
                for flags in 0..4 {
                    cross(order, flags & 1 > 0, flags & 2 > 0).await;
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_dial_to_ourselves_is_tried_once_and_forgotten() {
    let net = Net::default();
    let node = node(&net, 1).start().await.unwrap();
    let mut events = node.events();
    node.add_static(address(&node)).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    let events = drain(&mut events);
    let told = |event: &Event| match event {
        Event::DialFailed { reason, retry_in, detail, .. } => {
            assert_eq!((retry_in, detail.as_str()), (&None, "refused by us: self connection"));
            reason.clone()
        }
        Event::Refused { reason, direction, id: who, remote } => {
            assert_eq!(
                (*direction, *who, remote.ip()),
                (Direction::Inbound, Some(id(1)), [10, 0, 0, 1].into())
            );
            assert_ne!(remote.port(), 0);
            reason.clone()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(events.iter().map(told).collect::<Vec<_>>(), [Reason::SelfConnection, Reason::SelfConnection]);
    assert_eq!(net.connects.load(Ordering::Relaxed), 1);
    finish(&[&node]).await;
}

#[tokio::test(start_paused = true)]
async fn a_wrong_identity_is_told_once_and_tried_again_with_back_off() {
    let net = Net::default();
    let (a, b) = (node(&net, 1).start().await.unwrap(), node(&net, 2).start().await.unwrap());
    let mut events = a.events();
    a.add_static(address(&b).id(id(77))).await;
    let start = Instant::now();
    let mut waits = Vec::new();
    for _ in 0..12 {
        waits.push(
            until(&mut events, |event| match event {
                Event::DialFailed { reason, retry_in, .. } => {
                    assert_eq!(*reason, Reason::WrongIdentity);
                    Some(retry_in.unwrap())
                }
                other => panic!("{other:?}"),
            })
            .await,
        );
    }
    for (n, wait) in waits.iter().enumerate() {
        let base = Duration::from_millis(500 << n.min(7)).min(Duration::from_secs(60));
        assert!(*wait >= base * 3 / 4 && *wait <= base * 5 / 4, "wait {n}: {wait:?}");
    }
    let slept: Duration = waits[..11].iter().sum();
    assert!(start.elapsed() >= slept && slept > Duration::from_secs(200), "{slept:?}");
    assert!(a.peers().is_empty());
    finish(&[&a, &b]).await;
}

#[tokio::test(start_paused = true)]
async fn a_static_peer_comes_back_after_its_restart() {
    let net = Net::default();
    let host = net.host([10, 0, 0, 2]);
    let start = |port: u16| {
        with_wire(&host, 2, switchboard::net::memory::MemoryWire::new(&[2]))
            .protocol(echo("p"))
            .listen(SocketAddr::from(([10, 0, 0, 2], port)), &[])
            .start()
    };
    let a = node(&net, 1).start().await.unwrap();
    let mut events = a.events();
    let b = start(777).await.unwrap();
    a.add_static(at("10.0.0.2".into(), 777, None)).await;
    added(&mut events).await;
    tokio::time::sleep(Duration::from_secs(40)).await;
    b.stop().await;
    let (_, end) = dropped(&mut events).await;
    assert_eq!((end.reason, end.by), (Reason::Quitting, switchboard::By::Peer));
    tokio::time::sleep(Duration::from_secs(300)).await;
    let failed = drain(&mut events).len();
    assert!((5..20).contains(&failed), "{failed} failed dials in five minutes");
    let b = start(777).await.unwrap();
    let from = Instant::now();
    added(&mut events).await;
    assert!(from.elapsed() <= Duration::from_secs(75), "{:?}", from.elapsed());
    finish(&[&a, &b]).await;
}

#[tokio::test(start_paused = true)]
async fn full_slots_refuse_but_trusted_and_unconditional_peers_pass() {
    let net = Net::default();
    let limits = open_limits().with(|limits| {
        limits.inbound = 1;
        limits.trusted = BTreeSet::from([id(50)]);
        limits.unconditional = BTreeSet::from([id(60), id(61)]);
    });
    let hub = node(&net, 9).limits(limits).start().await.unwrap();
    let mut events = hub.events();
    let mut others = Vec::new();
    for (n, enters) in [(60, true), (1, true), (2, false), (50, true), (61, true), (3, false)] {
        let other = node(&net, n).start().await.unwrap();
        let mut told = other.events();
        let _ = other.offer(address(&hub)).await;
        if enters {
            assert_eq!(added(&mut events).await.id(), id(n));
        } else {
            let refused = until(&mut events, |e| match e {
                Event::Refused { remote, direction, id, reason } => {
                    Some((remote.ip(), *direction, *id, reason.clone()))
                }
                other => panic!("{other:?}"),
            });
            let expected = ([10, 0, 0, n].into(), Direction::Inbound, Some(id(n)), Reason::TooManyPeers);
            assert_eq!(refused.await, expected);
            // This wire tells after its hello: a peer that is dropped with our reason.
            assert_eq!(dropped(&mut told).await.1.reason, Reason::TooManyPeers);
        }
        others.push(other);
    }
    // One leaves: its slot is free only when the trusted one does not hold it too.
    assert!(hub.disconnect(&id(1), Reason::Requested));
    dropped(&mut events).await;
    let _ = others[2].offer(at("10.0.0.9".into(), hub.listening()[0].0.port(), Some(id(9)))).await;
    until(&mut events, |e| matches!(e, Event::Refused { .. }).then_some(())).await;
    hub.disconnect(&id(50), Reason::Requested);
    dropped(&mut events).await;
    tokio::time::sleep(Duration::from_secs(40)).await;
    let _ = others[5].offer(address(&hub)).await;
    assert_eq!(added(&mut events).await.id(), id(3));
    finish(&others.iter().chain([&hub]).collect::<Vec<_>>()).await;
}

/// A full node with candidates and static peers due does not spin: a busy loop would stop the paused clock.
#[tokio::test(start_paused = true)]
async fn with_full_outbound_slots_nothing_spins_and_a_freed_slot_is_used() {
    let net = Net::default();
    let limits = open_limits().with(|limits| {
        limits.outbound = 1;
        limits.pending_outbound = 1;
    });
    let hub = node(&net, 9).limits(limits).start().await.unwrap();
    let mut events = hub.events();
    let (a, b) = (node(&net, 1).start().await.unwrap(), node(&net, 2).start().await.unwrap());
    let _ = hub.offer(address(&a)).await;
    added(&mut events).await;
    let _ = hub.offer(address(&b)).await;
    hub.add_static(known(&b)).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(net.connects.load(Ordering::Relaxed), 1);
    assert!(drain(&mut events).is_empty());
    hub.disconnect(&id(1), Reason::Requested);
    assert_eq!(added(&mut events).await.id(), id(2));
    finish(&[&hub, &a, &b]).await;
}

#[tokio::test(start_paused = true)]
async fn failing_dials_keep_a_low_rate() {
    let net = Net::default();
    let node = node(&net, 1).start().await.unwrap();
    let mut events = node.events();
    let _ = node.offer(at("no.such.host".into(), 1, None)).await;
    settle().await;
    for n in 0..20 {
        node.add_static(at("10.9.9.9".into(), 1000 + n, None)).await;
    }
    tokio::time::sleep(Duration::from_secs(600)).await;
    let events = drain(&mut events);
    // Sixteen slots take turns: 7 attempts in the first minute, then one a minute, for each.
    assert!((200..420).contains(&counted(&events)), "{} events", counted(&events));
    assert!(events.len() < 40, "{} events were told one by one", events.len());
    let dns = events.iter().find_map(|e| match e {
        Event::DialFailed { candidate, detail, retry_in, reason } if candidate.host == "no.such.host" => {
            Some((detail.clone(), *retry_in, reason.clone()))
        }
        _ => None,
    });
    let (detail, retry_in, reason) = dns.unwrap();
    assert_eq!((retry_in, reason), (None, Reason::NetworkError));
    assert!(detail.contains("no such name"), "{detail}");
    finish(&[&node]).await;
}

#[tokio::test(start_paused = true)]
async fn an_address_that_swallows_packets_does_not_hide_the_next() {
    let net = Net::default();
    let (a, b) = (node(&net, 1).start().await.unwrap(), node(&net, 2).start().await.unwrap());
    net.name("both", vec![([10, 0, 0, 2], 1).into(), b.listening()[0].0]);
    let mut events = a.events();
    let start = Instant::now();
    let _ = a.offer(at("both".into(), 1, None)).await;
    assert_eq!(added(&mut events).await.id(), id(2));
    assert!(start.elapsed() < Duration::from_secs(8));
    let _ = a.offer(at("10.0.0.3".into(), 1, None)).await;
    let start = Instant::now();
    until(&mut events, |e| match e {
        Event::DialFailed { reason, .. } => {
            assert_eq!(*reason, Reason::HandshakeTimeout);
            Some(())
        }
        _ => None,
    })
    .await;
    assert_eq!(start.elapsed().as_secs(), 15);
    finish(&[&a, &b]).await;
}

#[tokio::test(start_paused = true)]
async fn the_throttle_slows_one_address_and_spares_the_local_network() {
    let net = Net::default();
    let limits = Limits::default().with(|limits| limits.per_ip_interval = Some(Duration::from_secs(30)));
    let hub = node(&net, 9).limits(limits).start().await.unwrap();
    let mut events = hub.events();
    let addr = hub.listening()[0].0;
    let far = net.host([8, 8, 8, 8]);
    let first = far.connect(addr).await.unwrap();
    let second = far.connect(addr).await.unwrap();
    let refused = |e: &Event| match e {
        Event::Refused { remote, reason, id: None, direction: Direction::Inbound } => {
            Some((*remote, reason.clone()))
        }
        _ => None,
    };
    assert_eq!(until(&mut events, refused).await, (second.local, Reason::Throttled));
    tokio::time::sleep(Duration::from_secs(30)).await;
    drain(&mut events);
    let third = far.connect(addr).await.unwrap();
    let near = net.host([192, 168, 1, 1]);
    let close = (near.connect(addr).await.unwrap(), near.connect(addr).await.unwrap());
    settle().await;
    assert!(drain(&mut events).is_empty(), "refused within the limits");
    drop((first, second, third, close));
    finish(&[&hub]).await;
}

#[tokio::test(start_paused = true)]
async fn the_access_list_refuses_both_ways_without_a_connection() {
    let net = Net::default();
    let deny = vec!["10.0.0.2/32".parse().unwrap(), "::ffff:10.0.1.0/120".parse().unwrap()];
    let access = AccessList::new(Vec::new(), deny);
    let hub = node(&net, 9).access(access).start().await.unwrap();
    let b = node(&net, 2).start().await.unwrap();
    let mut events = hub.events();
    let _ = b.offer(address(&hub)).await;
    let refused = |e: &Event| match e {
        Event::Refused { reason, remote, .. } => Some((reason.clone(), remote.ip())),
        other => panic!("{other:?}"),
    };
    assert_eq!(until(&mut events, refused).await, (Reason::AccessDenied, [10, 0, 0, 2].into()));
    let before = net.connects.load(Ordering::Relaxed);
    for host in ["10.0.0.2", "10.0.1.7", "::ffff:10.0.0.2"] {
        let _ = hub.offer(at(host.into(), b.listening()[0].0.port(), None)).await;
        let failed = until(&mut events, |e| match e {
            Event::DialFailed { reason, detail, .. } => Some((reason.clone(), detail.clone())),
            other => panic!("{other:?}"),
        });
        assert_eq!(failed.await, (Reason::AccessDenied, "refused by us: access denied".into()));
    }
    assert_eq!(net.connects.load(Ordering::Relaxed), before, "a denied address was connected to");
    finish(&[&hub, &b]).await;
}

/// A peer we dialled that dials back takes over its own slot: dialling cannot grow the peer set without end.
#[tokio::test(start_paused = true)]
async fn a_session_that_replaces_a_dialled_one_keeps_its_slot() {
    let net = Net::default();
    let limits = open_limits().with(|limits| {
        limits.inbound = 0;
        limits.outbound = 1;
    });
    let hub = node(&net, 1).limits(limits).start().await.unwrap();
    let (a, b) = (node(&net, 8).start().await.unwrap(), node(&net, 9).start().await.unwrap());
    let (mut events, mut at_a) = (hub.events(), a.events());
    let _ = hub.offer(address(&a)).await;
    added(&mut events).await;
    added(&mut at_a).await;
    // By address only, else it would know that it is connected.
    let _ = a.offer(address(&hub)).await;
    let again = added(&mut events).await;
    assert_eq!((again.id(), again.direction()), (id(8), Direction::Inbound));
    let _ = hub.offer(address(&b)).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(hub.peers().len(), 1, "the slot counted as free");
    a.stop().await;
    assert_eq!(added(&mut events).await.id(), id(9));
    assert_eq!(hub.local_id(MEMORY), Some(id(1)));
    finish(&[&hub, &b]).await;
}

/// Trusted and unconditional peers are let in beyond the slots; so they are dialled beyond them, where we are to
/// keep them connected.
#[tokio::test(start_paused = true)]
async fn a_static_peer_that_passes_the_slots_is_dialled_when_they_are_full() {
    let net = Net::default();
    let limits = open_limits().with(|limits| {
        limits.outbound = 1;
        limits.trusted = BTreeSet::from([id(3)]);
        limits.unconditional = BTreeSet::from([id(2)]);
    });
    let hub = node(&net, 9).limits(limits).start().await.unwrap();
    let mut others = Vec::new();
    for n in 1..=4 {
        others.push(node(&net, n).start().await.unwrap());
    }
    let mut events = hub.events();
    let _ = hub.offer(address(&others[0])).await;
    assert_eq!(added(&mut events).await.id(), id(1));
    for other in &others {
        hub.add_static(known(other)).await;
    }
    tokio::time::sleep(Duration::from_secs(600)).await;
    let ids: Vec<_> = hub.peers().list().iter().map(switchboard::Peer::id).collect();
    assert_eq!(ids, [id(1), id(2), id(3)]);
    assert_eq!(net.connects.load(Ordering::Relaxed), 3);
    // Lost, it is dialled again, though no slot is free.
    hub.disconnect(&id(2), Reason::Requested);
    dropped(&mut events).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(hub.peers().has(&id(2)));
    finish(&others.iter().chain([&hub]).collect::<Vec<_>>()).await;
}

/// Whoever answers, it is not the one we asked for: that comes before anything else that is wrong with it. A
/// static peer whose name leads to ourselves for a while is not forgotten.
#[tokio::test(start_paused = true)]
async fn a_wrong_identity_is_wrong_also_when_it_is_ours_or_connected() {
    let net = Net::default();
    let (a, b) = (node(&net, 1).start().await.unwrap(), node(&net, 2).start().await.unwrap());
    let mut events = a.events();
    let _ = a.offer(address(&b)).await;
    added(&mut events).await;
    for (target, told_as_listener) in [(address(&a), 1), (address(&b), 0)] {
        a.add_static(target.clone().id(id(77))).await;
        settle().await;
        let told = drain(&mut events);
        let failed: Vec<_> = told
            .iter()
            .filter_map(|event| match event {
                Event::DialFailed { reason, retry_in, .. } => Some((reason.clone(), retry_in.is_some())),
                _ => None,
            })
            .collect();
        assert_eq!(failed, [(Reason::WrongIdentity, true)]);
        assert_eq!(told.len(), 1 + told_as_listener, "{told:?}");
        a.remove_static(target.id(id(77))).await;
    }
    assert_eq!(a.peers().len(), 1);
    finish(&[&a, &b]).await;
}

/// The Switch's task hears of an end, however many commands it is given.
#[tokio::test(start_paused = true)]
async fn a_flood_of_commands_does_not_hide_an_end() {
    let net = Net::default();
    let (a, b) = (node(&net, 1).start().await.unwrap(), node(&net, 2).start().await.unwrap());
    let mut events = a.events();
    let _ = a.offer(address(&b)).await;
    added(&mut events).await;
    let flood = |switch: Switch| async move {
        for _ in 0..200_000 {
            switch.set_trusted(id(50), true).await;
        }
    };
    let mut floods = tokio::task::JoinSet::new();
    (0..4).for_each(|_| drop(floods.spawn(flood(a.clone()))));
    assert!(a.disconnect(&id(2), Reason::Requested));
    tokio::select! {
        biased;
        _ = dropped(&mut events) => {}
        _ = floods.join_next() => panic!("the end was told after the flood"),
    }
    floods.shutdown().await;
    finish(&[&a, &b]).await;
}

#[tokio::test(start_paused = true)]
async fn a_static_peer_of_a_wire_that_is_not_there_is_told_at_the_start() {
    let net = Net::default();
    let other = switchboard::Candidate::new("other", "10.0.0.2", 7);
    let error = node(&net, 1).static_peer(other.clone()).start().await.unwrap_err().to_string();
    assert_eq!(error, "static peer other://10.0.0.2:7 names wire other, which is not configured");
    // Given later, nobody is connected to for nothing.
    let node = node(&net, 1).start().await.unwrap();
    let mut events = node.events();
    let _ = node.offer(other).await;
    let failed = until(&mut events, |event| match event {
        Event::DialFailed { reason, detail, .. } => Some((reason.clone(), detail.clone())),
        other => panic!("{other:?}"),
    });
    assert_eq!(failed.await, (Reason::LocalFault, "local fault: no such wire on this node".into()));
    assert_eq!(net.connects.load(Ordering::Relaxed), 0);
    finish(&[&node]).await;
}
