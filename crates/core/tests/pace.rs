//! Rates: what a session sends and takes a second, and that it stays alive meanwhile.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

mod common;

use bytes::Bytes;
use common::net::Net;
use common::*;
use std::num::NonZeroU64;
use std::time::Duration;
use switchboard::protocol::channel::ChannelSpec;
use switchboard::wire::Liveness;
use switchboard::{By, Limits, Reason};
use tokio::time::Instant;

const RATE: Option<NonZeroU64> = NonZeroU64::new(100_000);

/// Seconds until a million bytes, in tens of thousands, have come back as echoes.
async fn seconds(ours: Limits, theirs: Limits) -> f64 {
    let net = Net::default();
    let alive = Liveness::default().with(|alive| {
        alive.ping_every = Some(Duration::from_secs(2));
        alive.pong_within = Some(Duration::from_secs(1));
        alive.idle_limit = Some(Duration::from_secs(3));
    });
    let (asks, mut handed) = handed("echo", vec![ChannelSpec::new(0, 1)]);
    let a = living(&net.host([10, 0, 0, 1]), 1, alive).limits(ours).protocol(asks).start().await.unwrap();
    let b = living(&net.host([10, 0, 0, 2]), 2, alive).limits(theirs).protocol(echo("echo"));
    let b = b.start().await.unwrap();
    let (peer, _) = join(&a, &b).await;
    let mut io = handed.recv().await.unwrap().1;
    let start = Instant::now();
    let sender = io.sender();
    let sending = tokio::spawn(async move {
        for _ in 0..100 {
            sender.send(C0, Bytes::from_static(&[7; 10_000])).await.unwrap();
        }
    });
    for _ in 0..100 {
        assert_eq!(io.recv().await.unwrap().1.len(), 10_000);
    }
    sending.await.unwrap();
    let took = start.elapsed().as_secs_f64();
    assert!(peer.stats().rtt.is_none_or(|rtt| rtt < Duration::from_millis(500)), "{:?}", peer.stats());
    finish(&[&a, &b]).await;
    took
}

#[tokio::test(start_paused = true)]
async fn sending_keeps_its_rate_and_the_peer_is_heard_all_the_while() {
    let took = seconds(open_limits().with(|limits| limits.send_rate = RATE), open_limits()).await;
    assert!((9.8..10.5).contains(&took), "{took} s");
}

#[tokio::test(start_paused = true)]
async fn receiving_keeps_its_rate_and_the_sender_waits() {
    let took = seconds(open_limits(), open_limits().with(|limits| limits.recv_rate = RATE)).await;
    assert!((9.8..10.5).contains(&took), "{took} s");
}

#[tokio::test(start_paused = true)]
async fn without_rates_nothing_waits() {
    let took = seconds(open_limits(), open_limits()).await;
    assert!(took < 1.0, "{took} s");
}

/// A slow rate holds up neither the goodbye nor the stop.
#[tokio::test(start_paused = true)]
async fn the_goodbye_does_not_wait_for_its_turn() {
    let net = Net::default();
    let limits = open_limits().with(|limits| limits.send_rate = NonZeroU64::new(10));
    let a = builder(&net.host([10, 0, 0, 1]), 1).limits(limits).protocol(echo("echo")).start().await.unwrap();
    let b = builder(&net.host([10, 0, 0, 2]), 2).protocol(echo("echo")).start().await.unwrap();
    let (peer, _) = join(&a, &b).await;
    peer.send("echo", C0, vec![7; 10_000].into()).await.unwrap();
    settle().await;
    let mut events = b.events();
    let start = Instant::now();
    a.stop().await;
    let (_, end) = dropped(&mut events).await;
    assert_eq!((end.reason, end.by), (Reason::Quitting, By::Peer));
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    finish(&[&b]).await;
}

/// A message that takes a minute at this rate holds up no ping and no pong: neither side takes the other for dead.
#[tokio::test(start_paused = true)]
async fn a_large_message_at_a_slow_rate_does_not_hold_up_pings() {
    let net = Net::default();
    let alive = Liveness::default().with(|alive| {
        alive.ping_every = Some(Duration::from_secs(2));
        alive.pong_within = Some(Duration::from_secs(1));
        alive.idle_limit = Some(Duration::from_secs(3));
    });
    let limits = open_limits().with(|limits| limits.send_rate = NonZeroU64::new(1000));
    let (asks, mut handed) = handed("echo", vec![ChannelSpec::new(0, 1)]);
    let a = living(&net.host([10, 0, 0, 1]), 1, alive).limits(limits).protocol(asks).start().await.unwrap();
    let b = living(&net.host([10, 0, 0, 2]), 2, alive).protocol(echo("echo")).start().await.unwrap();
    let (peer, _) = join(&a, &b).await;
    let mut io = handed.recv().await.unwrap().1;
    let start = Instant::now();
    io.send(C0, Bytes::from_static(&[7; 60_000])).await.unwrap();
    io.send(C0, Bytes::from_static(b"after")).await.unwrap();
    assert_eq!(io.recv().await.unwrap().1.len(), 60_000);
    assert_eq!(io.recv().await.unwrap().1, b"after"[..]);
    assert!((59..63).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    assert!(!peer.is_over());
    assert!(peer.stats().rtt.is_some_and(|rtt| rtt < Duration::from_millis(100)), "{:?}", peer.stats());
    finish(&[&a, &b]).await;
}
