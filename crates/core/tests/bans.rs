//! A ban that was acknowledged is on disk, and so is its lifting: a machine that loses power at once keeps both.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

mod common;
use bytes::Bytes;
use common::net::Net;
use common::*;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use switchboard::net::Network;
use switchboard::store::{Changes, MemoryStore, Row, Store, StoreError};
use switchboard::switch::score::{BanError, Banned, Misbehaviour};
use switchboard::{Ban, BoxFuture, Event, Switch};

/// A disk that takes its time.
struct Slow(MemoryStore);

impl Store for Slow {
    fn get<'a>(&'a self, space: &'a str, key: &'a [u8]) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>> {
        self.0.get(space, key)
    }

    fn scan<'a>(
        &'a self,
        space: &'a str,
        prefix: &'a [u8],
        after: Option<&'a [u8]>,
        most: usize,
    ) -> BoxFuture<'a, Result<Vec<Row>, StoreError>> {
        self.0.scan(space, prefix, after, most)
    }

    fn apply(&self, changes: Changes) -> BoxFuture<'_, Result<(), StoreError>> {
        self.0.apply(changes)
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            self.0.flush().await
        })
    }
}

fn net() -> Arc<dyn Network> {
    Net::default().host([127, 0, 0, 1])
}

async fn node(net: &Arc<dyn Network>, store: &MemoryStore) -> Switch {
    builder(net, 1).store(Arc::new(Slow(store.clone()))).start().await.unwrap()
}

fn ban(who: Banned) -> Ban {
    Ban::new(who, UNIX_EPOCH + Duration::from_secs(1_900_000_000), "a test")
}

#[tokio::test(start_paused = true)]
async fn what_is_acknowledged_survives_power_that_goes_at_once() {
    let (net, store) = (net(), MemoryStore::new());
    let first = node(&net, &store).await;
    let who = Banned::Id(id(9));
    first.ban(ban(who)).await.unwrap();
    // Whatever was not flushed by now is gone.
    store.crash();
    assert_eq!(store.len(), 1);
    assert_eq!(first.lift_ban(who).await, Ok(true));
    store.crash();
    assert!(store.is_empty());
    first.ban(ban(who)).await.unwrap();
    store.crash();
    drop(first);
    settle().await;
    let again = node(&net, &store).await;
    assert_eq!(again.bans().await, [ban(who)]);
    again.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_ban_that_would_not_count_is_refused() {
    let (net, store) = (net(), MemoryStore::new());
    let hub = node(&net, &store).await;
    let networks = ["127.0.0.1/32", "10.1.2.0/24", "192.168.0.0/16", "fd00::/64"];
    for local in networks {
        let who = Banned::Net(local.parse().unwrap());
        assert_eq!(hub.ban(ban(who)).await, Err(BanError::Local), "{local}");
    }
    // One that reaches beyond the local network counts there.
    hub.ban(ban(Banned::Net("0.0.0.0/0".parse().unwrap()))).await.unwrap();
    hub.change_limits(|limits| limits.strict_addresses = true).await;
    for local in networks {
        hub.ban(ban(Banned::Net(local.parse().unwrap()))).await.unwrap();
    }
    hub.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_told_and_the_ban_counts_until_the_stop() {
    let (net, store) = (net(), MemoryStore::new());
    let first = node(&net, &store).await;
    store.fail(Some(StoreError::Full), 0);
    let who = Banned::Id(id(9));
    let told = first.ban(ban(who)).await.unwrap_err();
    assert_eq!(told, BanError::NotStored(StoreError::Full));
    assert_eq!(first.bans().await.len(), 1);
    assert_eq!(first.lift_ban(who).await, Err(StoreError::Full));
    store.fail(None, 0);
    first.ban(ban(who)).await.unwrap();
    first.stop().await;
    assert_eq!(first.ban(ban(who)).await, Err(BanError::Stopped));
    assert_eq!(store.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_banned_static_peer_is_dialled_when_the_ban_is_lifted() {
    let (net, store) = (net(), MemoryStore::new());
    let hub = node(&net, &store).await;
    let leaf = builder(&net, 2).start().await.unwrap();
    let mut events = hub.events();
    hub.ban(ban(Banned::Id(id(2)))).await.unwrap();
    hub.add_static(known(&leaf)).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let tried = |event: &Event| matches!(event, Event::DialFailed { .. } | Event::PeerAdded { .. });
    while let Ok(event) = events.try_recv() {
        assert!(!tried(&event), "{event:?}");
    }
    assert_eq!(hub.lift_ban(Banned::Id(id(2))).await, Ok(true));
    let added = async { while !matches!(events.recv().await.unwrap(), Event::PeerAdded { .. }) {} };
    tokio::time::timeout(Duration::from_secs(1), added).await.expect("not dialled at once");
    hub.stop().await;
    leaf.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_bans_that_points_made() {
    let (net, store) = (net(), MemoryStore::new());
    let hub =
        builder(&net, 1).store(Arc::new(Slow(store.clone()))).protocol(echo("echo")).start().await.unwrap();
    let leaf = builder(&net, 2).protocol(echo("echo")).start().await.unwrap();
    leaf.connect_to(known(&hub)).await.unwrap();
    settle().await;
    let peer = hub.peers().get(&id(2)).unwrap();
    hub.report(&peer, Misbehaviour { points: Misbehaviour::FATAL, what: "lied" }).await;
    assert_eq!(hub.bans().await.len(), 1);
    hub.stop().await;
    store.crash();
    assert_eq!(store.len(), 1);
    leaf.stop().await;
}
