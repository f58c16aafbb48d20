//! Several identities of one holder are one peer where slots, scores and bans are counted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

mod common;

use common::net::Net;
use common::*;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use switchboard::net::memory::{MEMORY, MemoryWire};
use switchboard::preset::{Keep, Preset};
use switchboard::switch::score::{Banned, Misbehaviour};
use switchboard::switch::source::Skip;
use switchboard::{Ban, Event, PeerId, Reason, Switch, SwitchBuilder};

/// Node `host` whose identity is number `number` of the holder `holder`.
fn node(net: &Net, host: u8, (holder, number): (u8, u8)) -> SwitchBuilder {
    let preset = Preset::new().admission(|rules| rules.duplicate = Keep::Newer);
    SwitchBuilder::new(env(net.host([10, 0, 0, host]), u64::from(host)))
        .wire(Arc::new(MemoryWire::new(&[holder, number]).holders(1).preset(preset)))
        .limits(open_limits())
        .listen(([10, 0, 0, host], 0).into(), &[])
}

fn identity(holder: u8, number: u8) -> PeerId {
    PeerId::new(MEMORY, &[holder, number]).unwrap()
}

async fn refused(events: &mut switchboard::Events) -> (Option<PeerId>, Reason) {
    until(events, |event| match event {
        Event::Refused { id, reason, .. } => Some((*id, reason.clone())),
        _ => None,
    })
    .await
}

async fn dials(from: &Switch, to: &Switch) {
    let _ = from.offer(address(to)).await;
}

#[tokio::test(start_paused = true)]
async fn a_holder_has_one_session_and_one_slot_whatever_its_identities() {
    let net = Net::default();
    let hub =
        node(&net, 1, (1, 0)).limits(open_limits().with(|limits| limits.inbound = 2)).start().await.unwrap();
    let mut events = hub.events();
    let mut twins = Vec::new();
    for number in 0..3 {
        let twin = node(&net, 10 + number, (7, number)).start().await.unwrap();
        dials(&twin, &hub).await;
        if number > 0 {
            assert_eq!(dropped(&mut events).await.0.id(), identity(7, number - 1));
        }
        assert_eq!(added(&mut events).await.id(), identity(7, number));
        let there: Vec<_> = hub.peers().list().iter().map(|peer| peer.id()).collect();
        assert_eq!(there, [identity(7, number)], "the newer of one holder's sessions stays");
        twins.push(twin);
    }
    // Another holder still finds a slot, and then there is none.
    let other = node(&net, 20, (8, 0)).start().await.unwrap();
    dials(&other, &hub).await;
    assert_eq!(added(&mut events).await.id(), identity(8, 0));
    let late = node(&net, 21, (9, 0)).start().await.unwrap();
    dials(&late, &hub).await;
    assert_eq!(refused(&mut events).await, (Some(identity(9, 0)), Reason::TooManyPeers));
    finish(&twins.iter().chain([&hub, &other, &late]).collect::<Vec<_>>()).await;
}

#[tokio::test(start_paused = true)]
async fn points_and_bans_are_the_holders() {
    let net = Net::default();
    let hub = node(&net, 1, (1, 0)).start().await.unwrap();
    let mut events = hub.events();
    let (first, second) = (node(&net, 10, (7, 0)), node(&net, 11, (7, 1)));
    let (first, second) = (first.start().await.unwrap(), second.start().await.unwrap());
    dials(&first, &hub).await;
    let peer = added(&mut events).await;
    hub.report(&peer, Misbehaviour { points: Misbehaviour::FATAL, what: "lied" }).await;
    assert_eq!(dropped(&mut events).await.1.reason, Reason::AccessDenied);
    let holder = Banned::Id(PeerId::new(MEMORY, &[7]).unwrap());
    assert!(hub.bans().await.iter().any(|ban| ban.who == holder), "{:?}", hub.bans().await);
    dials(&second, &hub).await;
    assert_eq!(refused(&mut events).await, (Some(identity(7, 1)), Reason::AccessDenied));
    // Under the identity it was seen under it is not dialled, and its ban is lifted.
    assert_eq!(hub.offer(address(&first).id(identity(7, 0))).await, Err(Skip::Denied));
    assert_eq!(hub.lift_ban(Banned::Id(identity(7, 0))).await, Ok(true));
    assert_eq!(hub.lift_ban(holder).await, Ok(false), "one ban, one lifting");
    // An operator bans the identity that is shown: the holder is meant.
    let third = node(&net, 13, (7, 3)).start().await.unwrap();
    dials(&third, &hub).await;
    added(&mut events).await;
    let until = UNIX_EPOCH + Duration::from_secs(1_900_000_000);
    let made = hub.ban(Ban::new(Banned::Id(identity(7, 3)), until, "a test")).await.unwrap();
    assert_eq!((made.who, made.seen_as), (holder, Some(identity(7, 3))));
    assert_eq!(dropped(&mut events).await.1.reason, Reason::AccessDenied);
    let fourth = node(&net, 14, (7, 4)).start().await.unwrap();
    dials(&fourth, &hub).await;
    assert_eq!(refused(&mut events).await, (Some(identity(7, 4)), Reason::AccessDenied));
    assert_eq!(hub.lift_ban(Banned::Id(identity(7, 3))).await, Ok(true));
    finish(&[&third, &fourth]).await;
    let third = node(&net, 12, (7, 2)).start().await.unwrap();
    dials(&third, &hub).await;
    assert_eq!(added(&mut events).await.id(), identity(7, 2));
    finish(&[&hub, &first, &second, &third]).await;
}
