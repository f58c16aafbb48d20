//! Peers that mean harm: each ends its own session within its limit, with the right reason and one event, and
//! the node serves on. And what counts as life.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

mod common;

use bytes::{BufMut, BytesMut};
use common::net::Net;
use common::*;
use std::time::Duration;
use switchboard::net::Connection;
use switchboard::protocol::channel::ChannelSpec;
use switchboard::wire::Liveness;
use switchboard::{By, ChannelIo, Event, Limits, Reason, Switch};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

fn hello(id: u8) -> BytesMut {
    let mut out = BytesMut::from(&b"mem1\x01"[..]);
    out.put_slice(&[id, 1, 4]);
    out.put_slice(b"echo");
    out.put_u32(1);
    out
}

fn frame(kind: u8, channel: u64, declared: u32, data: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_u8(kind);
    out.put_u64(channel);
    out.put_u32(declared);
    out.put_slice(data);
    out
}

struct Victim {
    net: Net,
    switch: Switch,
    friend: Switch,
    io: ChannelIo,
    events: switchboard::Events,
}

/// A node with an honest friend, whose echo goes on whatever the others do.
async fn victim(liveness: Liveness, limits: Limits) -> Victim {
    let net = Net::default();
    let switch = living(&net.host([10, 0, 0, 1]), 1, liveness).limits(limits);
    let switch = switch.protocol(echo("echo")).start().await.unwrap();
    let (asks, mut handed) = handed("echo", vec![ChannelSpec::new(0, 1)]);
    let friend = builder(&net.host([10, 0, 0, 2]), 2).protocol(asks).start().await.unwrap();
    join(&friend, &switch).await;
    let io = handed.recv().await.unwrap().1;
    let events = switch.events();
    Victim { net, switch, friend, io, events }
}

impl Victim {
    async fn connect(&self) -> Connection {
        let addr = self.switch.listening()[0].0;
        self.net.host([10, 0, 0, 66]).connect(addr).await.unwrap()
    }

    /// A session of the hostile peer.
    async fn session(&mut self) -> Connection {
        let mut hostile = self.connect().await;
        hostile.writer.write_all(&hello(66)).await.unwrap();
        let mut theirs = vec![0; hello(1).len()];
        hostile.reader.read_exact(&mut theirs).await.unwrap();
        assert_eq!(added(&mut self.events).await.id(), id(66));
        hostile
    }

    /// The hostile session's one event, with its reason; afterwards the friend is served and nothing is held.
    async fn ends(mut self, reason: Reason, by: By) {
        let (peer, end) = dropped(&mut self.events).await;
        assert_eq!((peer.id(), &end.reason, end.by), (id(66), &reason, by), "{:?}", end.detail);
        self.serves_on().await;
    }

    async fn serves_on(mut self) {
        round_trip(&mut self.io, b"still here?").await;
        assert!(drain(&mut self.events).is_empty(), "more than one event");
        assert_eq!(self.switch.bytes_held(), 0);
        assert_eq!(self.switch.peers().len(), 1);
        finish(&[&self.switch, &self.friend]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn breaches_end_one_session() {
    let cases = [
        (frame(0, 99, 1, b"x"), "unknown channel"),
        (frame(0, u64::MAX, 0, b""), "unknown channel"),
        (frame(0, 0, u32::MAX, b""), "frame size"),
        (frame(0, 0, (1 << 20) + 1, &vec![0; (1 << 20) + 1]), "message over the channel's receive limit"),
        (frame(9, 0, 0, b""), "frame kind"),
    ];
    for (bytes, rule) in cases {
        let mut victim = victim(Liveness::default(), open_limits()).await;
        let mut hostile = victim.session().await;
        let _ = hostile.writer.write_all(&bytes).await;
        victim.ends(Reason::Breach(rule), By::Us).await;
    }
}

#[tokio::test(start_paused = true)]
async fn leaving_without_a_word_or_in_mid_frame() {
    for bytes in [BytesMut::new(), frame(0, 0, 100, b"half")] {
        let mut victim = victim(Liveness::default(), open_limits()).await;
        let mut hostile = victim.session().await;
        hostile.writer.write_all(&bytes).await.unwrap();
        drop(hostile);
        victim.ends(Reason::RemoteClosed, By::Peer).await;
    }
}

/// What waits for the rest of its frame is on the ledger: many peers that each begin a large one meet the cap.
#[tokio::test(start_paused = true)]
async fn incomplete_frames_count_and_end_at_the_cap() {
    let begun = |victim: &Victim| victim.switch.bytes_held();
    let mut victim = victim(Liveness::default(), open_limits()).await;
    let mut hostile = victim.session().await;
    hostile.writer.write_all(&frame(0, 0, 1 << 20, &vec![0; 1_000_000])).await.unwrap();
    settle().await;
    // Counted is the buffer, which doubles as it grows.
    assert!((1_000_000..2_200_000).contains(&begun(&victim)), "{} bytes", begun(&victim));
    hostile.writer.write_all(&vec![0; (1 << 20) - 1_000_000]).await.unwrap();
    settle().await;
    assert_eq!(begun(&victim), 0, "the whole message was taken");
    hostile.writer.write_all(&frame(0, 0, 1 << 20, &vec![0; 1_000_000])).await.unwrap();
    settle().await;
    drop(hostile);
    victim.ends(Reason::RemoteClosed, By::Peer).await;

    let limits = open_limits().with(|limits| limits.bytes_per_peer = 500_000);
    let mut victim = self::victim(Liveness::default(), limits).await;
    victim.net.pipe(4096);
    let mut hostile = victim.session().await;
    // An echo that is not read waits behind another, so that the frame is not the one message that always fits.
    for _ in 0..2 {
        hostile.writer.write_all(&frame(0, 0, 100_000, &[0; 100_000])).await.unwrap();
        settle().await;
    }
    assert!(begun(&victim) >= 100_000);
    let _ = hostile.writer.write_all(&frame(0, 0, 1 << 20, &vec![0; 1_000_000])).await;
    victim.ends(Reason::MemoryCap, By::Us).await;
}

#[tokio::test(start_paused = true)]
async fn silence_and_slow_drip_in_the_handshake_end_at_its_limit() {
    for drip in [false, true] {
        let mut victim = victim(Liveness::default(), open_limits()).await;
        let mut hostile = victim.connect().await;
        let start = Instant::now();
        let dripping = async {
            for byte in hello(66) {
                if !drip || hostile.writer.write_all(&[byte]).await.is_err() {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let failed = until(&mut victim.events, |e| match e {
            Event::HandshakeFailed { remote, reason, .. } => Some((*remote, reason.clone())),
            other => panic!("{other:?}"),
        });
        let (remote, reason) = tokio::select! {
            failed = failed => failed,
            () = dripping => panic!("it dripped to the end"),
        };
        assert_eq!((remote, reason), (hostile.local, Reason::HandshakeTimeout));
        assert_eq!(start.elapsed().as_secs(), 5);
        victim.serves_on().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_connections_stays_within_the_pending_slots() {
    let limits = open_limits().with(|limits| limits.pending_inbound = 10);
    let mut victim = victim(Liveness::default(), limits).await;
    let mut crowd = Vec::new();
    for _ in 0..100 {
        crowd.push(victim.connect().await);
    }
    // All are of one network: the older yield to the newer.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let yielded = drain(&mut victim.events);
    let timed_out = |e: &Event| match e {
        Event::HandshakeFailed { reason, .. } => *reason == Reason::HandshakeTimeout,
        Event::Summed { cause, .. } => {
            (cause.kind, cause.reason) == ("handshake_failed", "handshake_timeout")
        }
        _ => false,
    };
    assert!(yielded.iter().all(timed_out), "{yielded:?}");
    assert_eq!(counted(&yielded), 90);
    // The friend is served meanwhile; after the handshake's limit the slots are free again.
    round_trip(&mut victim.io, b"and now?").await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(drain(&mut victim.events).len(), 10);
    let hostile = victim.session().await;
    drop(hostile);
    victim.ends(Reason::RemoteClosed, By::Peer).await;
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_pings_shares_its_pongs() {
    let mut victim = victim(Liveness::default(), open_limits()).await;
    let mut hostile = victim.session().await;
    let pings: Vec<u8> = (0..10_000).flat_map(|_| frame(1, 0, 0, b"")).collect();
    hostile.writer.write_all(&pings).await.unwrap();
    hostile.writer.write_all(&frame(0, 0, 3, b"end")).await.unwrap();
    let (mut heard, end) = (Vec::new(), frame(0, 0, 3, b"end"));
    while !heard.ends_with(&end) {
        assert!(hostile.reader.read_buf(&mut heard).await.unwrap() > 0);
    }
    let pongs = (heard.len() - end.len()) / 13;
    assert!((1..1_000).contains(&pongs), "{pongs} pongs for 10,000 pings");
    drop(hostile);
    victim.ends(Reason::RemoteClosed, By::Peer).await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_reads_ends_at_the_write_limit_with_bounded_memory() {
    let mut victim = victim(Liveness::default(), open_limits()).await;
    victim.net.pipe(4096);
    let mut hostile = victim.session().await;
    let start = Instant::now();
    let asking = async {
        let request = frame(0, 0, 10_000, &[0; 10_000]);
        // In steps, as the paused clock stands still while anybody is busy.
        while hostile.writer.write_all(&request).await.is_ok() {
            settle().await;
        }
        std::future::pending::<()>().await;
    };
    let end = tokio::select! {
        end = dropped(&mut victim.events) => end.1,
        () = asking => unreachable!(),
    };
    // Its echoes fill the lane, then the inbox, before the write limit is met.
    assert_eq!((end.reason, end.by), (Reason::SlowProtocol, By::Us));
    assert!(start.elapsed() < Duration::from_secs(30));
    victim.serves_on().await;

    let mut victim = self::victim(Liveness::default(), open_limits()).await;
    victim.net.pipe(4096);
    let mut hostile = victim.session().await;
    let start = Instant::now();
    hostile.writer.write_all(&frame(0, 0, 20_000, &[0; 20_000])).await.unwrap();
    let (_, end) = dropped(&mut victim.events).await;
    assert_eq!((end.reason, end.by), (Reason::WriteTimeout, By::Us));
    assert!((20..25).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    victim.serves_on().await;
}

fn liveness(ping: u64, pong: u64, idle: u64) -> Liveness {
    let some = |secs: u64| (secs > 0).then(|| Duration::from_secs(secs));
    Liveness::default().with(|alive| {
        alive.ping_every = some(ping);
        alive.pong_within = some(pong);
        alive.idle_limit = some(idle);
    })
}

#[tokio::test(start_paused = true)]
async fn silence_ends_at_the_idle_limit_or_without_a_pong() {
    for (rules, reason, after) in [
        (liveness(0, 0, 30), Reason::IdleTimeout, 30),
        (liveness(15, 10, 0), Reason::PongTimeout, 25),
        (liveness(15, 20, 30), Reason::IdleTimeout, 30),
        (liveness(5, 8, 0), Reason::PongTimeout, 13),
    ] {
        let mut victim = victim(rules, open_limits()).await;
        // The friend answers pings; with an idle limit alone it must be heard too.
        let hostile = victim.session().await;
        let start = Instant::now();
        let (end, took) = loop {
            tokio::select! {
                (peer, end) = dropped(&mut victim.events) => {
                    assert_eq!(peer.id(), id(66));
                    break (end, start.elapsed());
                }
                () = tokio::time::sleep(Duration::from_secs(4)) => {
                    round_trip(&mut victim.io, b"alive").await;
                }
            }
        };
        assert_eq!((end.reason, end.by), (reason, By::Us));
        // The goodbye and its linger come on top.
        assert!((after..after + 3).contains(&took.as_secs()), "{took:?}");
        drop(hostile);
        victim.serves_on().await;
    }
}

/// Not a pong, not even a whole frame: any byte is life.
#[tokio::test(start_paused = true)]
async fn any_byte_counts_as_life() {
    let mut victim = victim(liveness(10, 5, 12), open_limits()).await;
    let mut hostile = victim.session().await;
    for n in 0..100 {
        if n % 5 == 0 {
            // A frame may be this slow, but not for ever.
            hostile.writer.write_all(&frame(0, 0, 5, b"")).await.unwrap();
        }
        hostile.writer.write_all(&[7]).await.unwrap();
        tokio::time::sleep(Duration::from_secs(4)).await;
        round_trip(&mut victim.io, b"alive").await;
    }
    assert!(drain(&mut victim.events).is_empty());
    assert!(victim.friend.peers().get(&id(1)).is_some());
    let rtt = victim.switch.peers().get(&id(2)).unwrap().stats().rtt;
    assert!(rtt.is_some_and(|rtt| rtt < Duration::from_millis(5)), "{rtt:?}");
    drop(hostile);
    victim.ends(Reason::RemoteClosed, By::Peer).await;
}
