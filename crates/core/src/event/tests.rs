//! A flood of refusals is summed, sessions are not, and a reader that sleeps gets all peers.

use super::*;
use crate::switch::handle::PeerSet;
use std::time::Duration;

fn refused(n: u16, reason: Reason) -> Event {
    let remote = SocketAddr::from(([10, 0, 0, 1], n));
    Event::Refused { remote, direction: Direction::Inbound, id: None, reason }
}

fn service(n: u64) -> Event {
    let fields = vec![("n", n.to_string())];
    Event::Service(ServiceEvent { service: "s".into(), what: "count", fields })
}

fn port(event: &Event) -> u16 {
    match event {
        Event::Refused { remote, .. } => remote.port(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn few_are_told_one_by_one_and_a_flood_is_counted_by_second_and_cause() {
    let (publisher, peers) = (Publisher::default(), PeerSet::default());
    let mut events = publisher.subscribe(&peers);
    for n in 0..1_000 {
        publisher.emit(&refused(n, Reason::Throttled));
        if n % 100 == 0 {
            publisher.emit(&refused(n, Reason::AccessDenied));
        }
    }
    let mut told = 0;
    while events.try_recv().is_ok() {
        told += 1;
    }
    assert_eq!(told, PLAIN_A_SECOND + 10);
    match events.recv().await.unwrap() {
        Event::Summed { cause, count, first, last, since } => {
            assert_eq!((cause.kind, cause.reason), ("refused", "throttled"));
            assert_eq!(count, 1_000 - PLAIN_A_SECOND);
            assert_eq!((u64::from(port(&first)), port(&last)), (PLAIN_A_SECOND, 999));
            assert!(since >= Duration::from_secs(1));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(events.try_recv().unwrap_err(), TryRecv::Empty);
    // In a later second they are told one by one again.
    publisher.emit(&refused(7, Reason::Throttled));
    assert_eq!(port(&events.try_recv().unwrap()), 7);
    drop(publisher);
    assert!(events.recv().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn services_are_never_summed_and_keep_their_order_in_a_flood() {
    let (publisher, peers) = (Publisher::default(), PeerSet::default());
    let mut events = publisher.subscribe(&peers);
    let kept = MOST_KEPT as u64 - PLAIN_A_SECOND;
    for n in 0..kept {
        publisher.emit(&service(n));
        publisher.emit(&refused(1, Reason::Throttled));
    }
    let mut next = 0;
    while let Ok(event) = events.try_recv() {
        if let Event::Service(event) = event {
            assert_eq!(event.fields, [("n", next.to_string())]);
            next += 1;
        }
    }
    assert_eq!(next, kept);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_sleeps_is_told_that_it_is_behind() {
    let (publisher, peers) = (Publisher::default(), PeerSet::default());
    let (mut events, mut feed) = (publisher.subscribe(&peers), publisher.feed(&peers));
    for n in 0..=MOST_KEPT as u64 + 5 {
        publisher.emit(&service(n));
    }
    match events.recv().await.unwrap() {
        Event::Behind { peers, revision: 0, missed } => {
            assert!(peers.is_empty());
            assert_eq!(missed, MOST_KEPT as u64 + 6);
        }
        other => panic!("{other:?}"),
    }
    publisher.emit(&service(1));
    assert!(matches!(events.try_recv(), Ok(Event::Service(_))));
    assert!(matches!(feed.next().await, Some(Change::All { revision: 0, .. })));
    assert!(feed.try_next().is_none());
    publisher.close();
    assert!(feed.next().await.is_none());
}

/// Services run before a program has its Switch: what they tell meanwhile waits for the first reader, the newest of it.
#[tokio::test(start_paused = true)]
async fn what_services_tell_before_there_is_a_reader_waits_for_the_first() {
    let (publisher, peers) = (Publisher::default(), PeerSet::default());
    for n in 0..100 {
        publisher.emit(&service(n));
        publisher.emit(&refused(7, Reason::Throttled));
    }
    let (mut first, mut second) = (publisher.subscribe(&peers), publisher.subscribe(&peers));
    publisher.emit(&service(100));
    let mut numbers = Vec::new();
    while let Ok(Event::Service(event)) = first.try_recv() {
        numbers.push(event.fields[0].1.clone());
    }
    assert_eq!(numbers, (36..=100).map(|n| n.to_string()).collect::<Vec<_>>());
    assert!(matches!(second.try_recv(), Ok(Event::Service(event)) if event.fields[0].1 == "100"));
    assert!(second.try_recv().is_err());
}
