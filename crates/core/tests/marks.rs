//! What a peer tells of its standing, and what changes it while it is connected.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

mod common;
use common::net::Net;
use common::*;
use std::time::{Duration, UNIX_EPOCH};
use switchboard::candidate::Provenance;
use switchboard::switch::score::{BanError, Banned};
use switchboard::{Ban, Direction};

#[tokio::test(start_paused = true)]
async fn a_peer_says_where_it_came_from_and_what_it_is_now() {
    let net = Net::default().host([127, 0, 0, 1]);
    let hub = builder(&net, 1).protocol(echo("echo")).start().await.unwrap();
    let leaf = builder(&net, 2).protocol(echo("echo")).start().await.unwrap();
    let peer = leaf.connect_to(known(&hub)).await.unwrap();
    assert_eq!((peer.provenance(), peer.direction()), (Some(Provenance::Asked), Direction::Outbound));
    assert_eq!(peer.remote_addr(), hub.listening()[0].0);
    assert!(peer.local_addr().is_some_and(|at| at.ip().is_loopback() && at != peer.remote_addr()));
    settle().await;
    let there = hub.peers().get(&id(2)).unwrap();
    assert_eq!(there.provenance(), None, "it dialled us");

    let marks = || (peer.is_static(), peer.is_trusted(), peer.is_unconditional());
    assert_eq!(marks(), (false, false, false));
    leaf.add_static(known(&hub)).await;
    leaf.set_trusted(id(1), true).await;
    leaf.set_unconditional(id(1), true).await;
    settle().await;
    assert_eq!(marks(), (true, true, true));
    let until = UNIX_EPOCH + Duration::from_secs(1_900_000_000);
    let refused = leaf.ban(Ban::new(Banned::Id(id(1)), until, "a test")).await;
    assert_eq!(refused, Err(BanError::Trusted));
    settle().await;
    assert!(!peer.is_over() && leaf.bans().await.is_empty(), "who is trusted is not banned");
    leaf.remove_static(known(&hub)).await;
    leaf.set_trusted(id(1), false).await;
    leaf.set_unconditional(id(1), false).await;
    settle().await;
    assert_eq!(marks(), (false, false, false));
    finish(&[&hub, &leaf]).await;
}
