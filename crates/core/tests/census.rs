//! What a Switch counts for its operator: it never goes back, whoever comes and goes; and what an operator changes while it
//! runs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

mod common;

use common::net::Net;
use common::*;
use switchboard::switch::dial::CandidateState;
use switchboard::{AccessList, ChannelSpec, Direction, Reason};

#[tokio::test(start_paused = true)]
async fn what_a_session_counted_stays_when_it_is_gone() {
    let net = Net::default();
    let hub = builder(&net.host([10, 0, 0, 1]), 1).protocol(echo("echo")).start().await.unwrap();
    let (asks, mut handed) = handed("echo", vec![ChannelSpec::new(0, 1)]);
    let other = builder(&net.host([10, 0, 0, 2]), 2).protocol(asks).start().await.unwrap();
    let (there, _) = join(&other, &hub).await;
    let mut io = handed.recv().await.unwrap().1;
    for _ in 0..3 {
        round_trip(&mut io, b"hello").await;
    }
    settle().await;
    let of = |census: &switchboard::census::Census| {
        let (key, traffic) = census.channels.iter().next().unwrap();
        assert_eq!((key.1.as_str(), key.2), ("echo", C0));
        let waits = census.lanes.values().next().unwrap();
        (
            traffic.messages_in,
            traffic.bytes_in,
            traffic.messages_out,
            traffic.bytes_out,
            waits.counts.iter().sum::<u64>(),
        )
    };
    let before = hub.census();
    assert_eq!(of(&before), (3, 15, 3, 15, 3));
    let traffic = there.traffic();
    assert_eq!((traffic[0].traffic.messages_out, traffic[0].traffic.bytes_in), (3, 15));
    let wire = id(1).wire();
    assert_eq!(before.began.get(&(wire, Direction::Inbound)), Some(&1));
    let stages: Vec<_> =
        other.census().stages.keys().map(|(_, direction, stage)| (*direction, *stage)).collect();
    assert_eq!(stages, ["connect", "protocol", "secure"].map(|stage| (Direction::Outbound, stage)));
    // The session goes; its counts stay.
    other.stop().await;
    settle().await;
    let after = hub.census();
    assert!(hub.peers().is_empty());
    assert_eq!(of(&after), of(&before));
    assert!(after.sockets.values().next().unwrap().0 >= before.sockets.values().next().unwrap().0);
    assert_eq!(
        after.ended.get(&(wire, Direction::Inbound, "quitting", "peer")),
        Some(&1),
        "{:?}",
        after.ended
    );
    finish(&[&hub]).await;
}

#[tokio::test(start_paused = true)]
async fn an_operator_changes_slots_access_and_whom_is_kept() {
    let net = Net::default();
    let hub = builder(&net.host([10, 0, 0, 1]), 1).protocol(echo("echo")).start().await.unwrap();
    let other = builder(&net.host([10, 0, 0, 2]), 2).protocol(echo("echo")).start().await.unwrap();
    join(&other, &hub).await;
    hub.change_limits(|limits| limits.inbound = 7).await;
    assert_eq!(hub.limits().await.unwrap().slots(id(1).wire()).0, 7);
    // Who may not be here any more is ended, and not let in again; but for those that are trusted.
    let deny = AccessList::new(Vec::new(), vec!["10.0.0.2/32".parse().unwrap()]);
    hub.set_trusted(id(2), true).await;
    hub.set_access(deny.clone()).await;
    settle().await;
    assert_eq!(hub.peers().len(), 1, "a trusted peer stays");
    hub.set_trusted(id(2), false).await;
    let peer = hub.peers().get(&id(2)).unwrap();
    hub.set_access(deny).await;
    assert_eq!(peer.ended().await.reason, Reason::AccessDenied);
    assert_eq!(hub.access().await.unwrap().deny.len(), 1);
    settle().await;
    hub.add_static(known(&other)).await;
    settle().await;
    let found = hub.candidates().await;
    assert_eq!(found.len(), 1);
    assert!(found[0].is_static && found[0].id == Some(id(2)));
    assert!(matches!(found[0].state, CandidateState::Waiting(_)), "{:?}", found[0].state);
    assert!(found[0].failures >= 1);
    finish(&[&hub, &other]).await;
}
