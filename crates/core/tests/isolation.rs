//! A protocol that does not read: nobody else notices, and each overflow rule does what it says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

mod common;

use bytes::Bytes;
use common::net::Net;
use common::*;
use std::sync::Arc;
use std::time::Duration;
use switchboard::env::Env;
use switchboard::net::TcpNetwork;
use switchboard::net::memory::MemoryWire;
use switchboard::protocol::channel::{ChannelSpec, Overflow};
use switchboard::wire::Liveness;
use switchboard::{By, Reason, SendError, Switch, SwitchBuilder};
use tokio::time::Instant;

const WINDOW: usize = 64 * 1024;

fn narrow(overflow: Overflow) -> Vec<ChannelSpec> {
    vec![ChannelSpec::new(0, 1).recv_limit(16 * 1024).recv_window(WINDOW).overflow(overflow).send_queue(64)]
}

/// Round trips of the echo channel, slowest of a hundred last.
async fn latencies(io: &mut switchboard::ChannelIo) -> Vec<Duration> {
    let mut all = Vec::new();
    for n in 0..200 {
        all.push(round_trip(io, b"how long?").await);
        if n % 10 == 0 {
            // The clock moves, so that a flood beside this goes on.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    all.sort();
    all
}

/// Echo latencies without and with a stuck protocol beside it, which the peer floods past its window.
async fn beside_a_stuck_protocol(
    node: impl Fn(u8, MemoryWire) -> SwitchBuilder,
) -> (Vec<Duration>, Vec<Duration>, Switch, Switch) {
    let liveness = Liveness::default().with(|alive| {
        alive.ping_every = Some(Duration::from_millis(20));
        alive.pong_within = Some(Duration::from_secs(5));
        alive.idle_limit = None;
    });
    let (asks, mut handed) = handed("echo", vec![ChannelSpec::new(0, 5)]);
    let flooding = narrow(Overflow::DropNew);
    let here = node(1, MemoryWire::new(&[1]).liveness(liveness))
        .protocol(asks)
        .protocol(sink("bulk", flooding.clone()))
        .start()
        .await
        .unwrap();
    let there = node(2, MemoryWire::new(&[2]))
        .protocol(echo("echo"))
        .protocol(stuck("bulk", flooding))
        .start()
        .await
        .unwrap();
    let (peer, far) = join(&here, &there).await;
    let (_, mut io) = handed.recv().await.unwrap();
    let before = latencies(&mut io).await;
    // Within the window first: nothing is dropped, nothing waits.
    for _ in 0..4 {
        peer.send("bulk", C0, Bytes::from(vec![0; 16 * 1024])).await.unwrap();
    }
    while there.bytes_held() < WINDOW {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(far.stats().dropped, 0);
    assert_eq!(there.bytes_held(), WINDOW);
    let bulk = peer.channels("bulk").unwrap();
    let flood = tokio::spawn(async move {
        for _ in 0..2_000 {
            if bulk.send(C0, vec![0; 8 * 1024]).await.is_err() {
                break;
            }
        }
    });
    let after = latencies(&mut io).await;
    assert!(there.bytes_held() <= 2 * WINDOW, "{} held", there.bytes_held());
    flood.await.unwrap();
    while far.stats().dropped <= 50 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    while peer.stats().rtt.is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // A disconnect is heard at once, though the protocol hangs.
    let (mut events, start) = (here.events(), Instant::now());
    far.disconnect(Reason::Requested);
    let (_, end) = dropped(&mut events).await;
    assert_eq!((end.reason, end.by), (Reason::Requested, By::Peer));
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    (before, after, here, there)
}

#[tokio::test(start_paused = true)]
async fn a_stuck_protocol_delays_nobody_in_virtual_time() {
    let net = Net::default().host([127, 0, 0, 1]);
    let node = |id, wire| with_wire(&net, id, wire);
    let (before, after, here, there) = beside_a_stuck_protocol(node).await;
    assert_eq!(before[198], Duration::ZERO);
    assert_eq!(after[198], Duration::ZERO);
    finish(&[&here, &there]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_protocol_delays_nobody_on_tcp() {
    let node = |_, wire| {
        SwitchBuilder::new(Env::system().unwrap().with_network(Arc::new(TcpNetwork)))
            .wire(Arc::new(wire))
            .limits(open_limits())
            .listen(([127, 0, 0, 1], 0).into(), &[])
    };
    let (before, after, here, there) = beside_a_stuck_protocol(node).await;
    // Generous: the machine is shared. A reader that waited would take for ever.
    let bound = before[198] * 50 + Duration::from_secs(5);
    assert!(after[198] < bound, "p99 {:?} beside a flood, {:?} alone", after[198], before[198]);
    finish(&[&here, &there]).await;
}

/// Two nodes; the second's protocol reads nothing, with the given rule.
async fn against(overflow: Overflow) -> (Switch, Switch) {
    let net = Net::default().host([127, 0, 0, 1]);
    let liveness = Liveness::default().with(|alive| {
        alive.ping_every = Some(Duration::from_secs(1));
        alive.pong_within = Some(Duration::from_secs(2));
        alive.idle_limit = Some(Duration::from_secs(4));
    });
    let here = builder(&net, 1).protocol(sink("p", narrow(overflow))).start().await.unwrap();
    let there = living(&net, 2, liveness).protocol(stuck("p", narrow(overflow))).start().await.unwrap();
    join(&here, &there).await;
    (here, there)
}

#[tokio::test(start_paused = true)]
async fn overflow_close_ends_with_slow_protocol() {
    let (here, there) = against(Overflow::Close).await;
    let (mut near, mut far) = (here.events(), there.events());
    let peer = here.peers().get(&id(2)).unwrap();
    // Exactly the window fits.
    for _ in 0..4 {
        peer.send("p", C0, Bytes::from(vec![0; 16 * 1024])).await.unwrap();
    }
    settle().await;
    assert_eq!(there.bytes_held(), WINDOW);
    peer.send("p", C0, Bytes::from_static(b"one more")).await.unwrap();
    let (_, end) = dropped(&mut far).await;
    assert_eq!((end.reason, end.by), (Reason::SlowProtocol, By::Us));
    let (_, end) = dropped(&mut near).await;
    assert_eq!((end.reason, end.by), (Reason::SlowProtocol, By::Peer));
    assert_eq!(there.bytes_held(), 0);
    finish(&[&here, &there]).await;
}

/// Longer than each liveness limit (who is not heard because we do not read is not dead), shorter than the
/// 20 s after which the sender's own write limit ends the session.
#[tokio::test(start_paused = true)]
async fn overflow_wait_is_back_pressure_then_closes() {
    let patience = Duration::from_secs(15);
    let (here, there) = against(Overflow::Wait(patience)).await;
    let mut far = there.events();
    let peer = here.peers().get(&id(2)).unwrap();
    let start = Instant::now();
    let mut sent = 0_usize;
    // The pipe, the lanes and the window fill up; then the sender waits.
    let refused = loop {
        match peer.try_send("p", C0, Bytes::from(vec![0; 16 * 1024])) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        settle().await;
    };
    assert_eq!(refused, SendError::Full);
    assert!((4 + 16 + 64..120).contains(&sent), "{sent} messages on their way");
    let (_, end) = dropped(&mut far).await;
    assert_eq!((end.reason, end.by), (Reason::SlowProtocol, By::Us));
    assert!((15..19).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    finish(&[&here, &there]).await;
}

#[tokio::test(start_paused = true)]
async fn overflow_wait_loses_nothing_when_the_protocol_reads_late() {
    let net = Net::default().host([127, 0, 0, 1]);
    let rule = Overflow::Wait(Duration::from_secs(30));
    let (protocol, mut handed) = handed("p", narrow(rule));
    let here = builder(&net, 1).protocol(sink("p", narrow(rule))).start().await.unwrap();
    let there = builder(&net, 2).protocol(protocol).start().await.unwrap();
    let (peer, far) = join(&here, &there).await;
    let (_, mut io) = handed.recv().await.unwrap();
    let sending = tokio::spawn(async move {
        for n in 0..500_u16 {
            let mut message = vec![0; 8 * 1024];
            message[..2].copy_from_slice(&n.to_be_bytes());
            peer.send("p", C0, message.into()).await.unwrap();
        }
    });
    tokio::time::sleep(Duration::from_secs(8)).await;
    for n in 0..500_u16 {
        assert_eq!(io.recv().await.unwrap().1[..2], n.to_be_bytes());
    }
    sending.await.unwrap();
    assert_eq!((far.stats().messages_in, far.stats().dropped), (500, 0));
    finish(&[&here, &there]).await;
}

/// What waits to be sent does not cost the session what it receives: the ledger keeps a share for that.
#[tokio::test(start_paused = true)]
async fn full_lanes_do_not_end_a_session_that_receives() {
    let world = Net::default();
    let net = world.host([127, 0, 0, 1]);
    let channels = vec![ChannelSpec::new(0, 1).send_queue(1000)];
    let (protocol, mut handed) = handed("p", channels.clone());
    let limits = open_limits().with(|limits| {
        limits.bytes_per_peer = 1 << 20;
        limits.bytes_total = 2 << 20;
    });
    let here = builder(&net, 1).limits(limits).protocol(protocol).start().await.unwrap();
    let there = builder(&net, 2).protocol(stuck("p", channels)).start().await.unwrap();
    world.pipe(1024);
    world.gate(true);
    let _ = here.offer(address(&there)).await;
    settle().await;
    let line = world.lines().pop().unwrap();
    // The far side hears the hello and nothing after it.
    line.to_dialler.allow(u64::MAX);
    line.to_listener.allow(14);
    let (peer, mut io) = handed.recv().await.unwrap();
    while io.try_send(C0, vec![0; 10_000]).is_ok() {}
    assert!(here.bytes_held() > 700_000 && here.bytes_held() <= 3 << 18, "{}", here.bytes_held());
    let far = there.peers().get(&id(1)).unwrap();
    far.send("p", C0, Bytes::from(vec![0; 100_000])).await.unwrap();
    assert_eq!(io.recv().await.unwrap().1.len(), 100_000);
    assert!(!peer.is_over());
    line.to_listener.allow(u64::MAX);
    finish(&[&here, &there]).await;
}

#[tokio::test(start_paused = true)]
async fn over_the_ledger_the_session_ends_and_nothing_stays() {
    let net = Net::default().host([127, 0, 0, 1]);
    let channels = vec![ChannelSpec::new(0, 1)];
    let limits = open_limits().with(|limits| limits.bytes_per_peer = 100_000);
    let here = builder(&net, 1).protocol(sink("p", channels.clone())).start().await.unwrap();
    let there = builder(&net, 2).limits(limits).protocol(stuck("p", channels)).start().await.unwrap();
    let (peer, _) = join(&here, &there).await;
    let mut far = there.events();
    peer.send("p", C0, Bytes::from(vec![0; 90_000])).await.unwrap();
    settle().await;
    // It counts as the buffer it came in.
    assert!((90_000..150_000).contains(&there.bytes_held()), "{}", there.bytes_held());
    peer.send("p", C0, Bytes::from(vec![0; 10_001])).await.unwrap();
    let (_, end) = dropped(&mut far).await;
    assert_eq!((end.reason, end.by), (Reason::MemoryCap, By::Us));
    assert_eq!(there.bytes_held(), 0);
    finish(&[&here, &there]).await;
}

/// A protocol that panics ends its session and nothing else.
#[tokio::test(start_paused = true)]
async fn a_panic_in_a_protocol_ends_one_session() {
    let net = Net::default().host([127, 0, 0, 1]);
    let hub = builder(&net, 9)
        .protocol(made("p", narrow(Overflow::Close), |_, mut io| async move {
            let message = io.recv().await;
            assert!(message.is_none_or(|(_, m)| m != b"panic"[..]), "asked to");
            Ok(())
        }))
        .protocol(echo("echo"))
        .start()
        .await
        .unwrap();
    let (asks, mut handed) = handed("echo", vec![ChannelSpec::new(0, 1)]);
    let bad = builder(&net, 1).protocol(sink("p", narrow(Overflow::Close))).start().await.unwrap();
    let good = builder(&net, 2).protocol(asks).start().await.unwrap();
    let (peer, _) = join(&bad, &hub).await;
    join(&good, &hub).await;
    let mut events = hub.events();
    peer.send("p", C0, Bytes::from_static(b"panic")).await.unwrap();
    let (dead, end) = dropped(&mut events).await;
    assert_eq!((dead.id(), end.reason), (id(1), Reason::ProtocolError));
    assert!(end.detail.unwrap().contains("asked to"));
    round_trip(&mut handed.recv().await.unwrap().1, b"still here").await;
    finish(&[&hub, &bad, &good]).await;
}
