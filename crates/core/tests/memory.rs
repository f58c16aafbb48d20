//! What strangers make a node hold (patterns P20, P23, P25): messages that never end, a full ledger, small messages in large
//! buffers. The node ends those at fault, in time, and the honest are served as before.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

mod common;

use bytes::{BufMut, BytesMut};
use common::net::Net;
use common::*;
use std::collections::BTreeSet;
use std::time::Duration;
use switchboard::event::Events;
use switchboard::net::Connection;
use switchboard::net::memory::MemoryWire;
use switchboard::protocol::channel::{ChannelSpec, Overflow};
use switchboard::wire::{Incomplete, Rules};
use switchboard::{By, ChannelIo, Event, Limits, Reason, Switch, SwitchBuilder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

const MIB: usize = 1 << 20;

fn hello(id: u8) -> BytesMut {
    let mut out = BytesMut::from(&b"mem1\x01"[..]);
    out.put_slice(&[id, 1, 4]);
    out.put_slice(b"echo");
    out.put_u32(1);
    out
}

/// The beginning of a message of `declared` bytes.
fn begun(declared: usize, come: usize) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_u8(0);
    out.put_u64(0);
    out.put_u32(declared as u32);
    out.put_bytes(7, come);
    out
}

struct House {
    net: Net,
    switch: Switch,
    friend: Switch,
    io: ChannelIo,
    events: Events,
}

/// A node with an honest friend on a protocol that echoes.
async fn house(limits: Limits, rules: Rules) -> House {
    house_of(limits, rules, |builder| {
        builder.protocol(made("echo", vec![large()], |_, mut io| async move {
            while let Some((channel, message)) = io.recv().await {
                if io.send(channel, message).await.is_err() {
                    break;
                }
            }
            Ok(())
        }))
    })
    .await
}

fn large() -> ChannelSpec {
    ChannelSpec::new(0, 1).recv_limit(16 * MIB).overflow(Overflow::Wait(Duration::from_secs(5)))
}

async fn house_of(limits: Limits, rules: Rules, with: impl FnOnce(SwitchBuilder) -> SwitchBuilder) -> House {
    let net = Net::default();
    let wire = MemoryWire::new(&[1]).rules(rules);
    let switch = with(with_wire(&net.host([10, 0, 0, 1]), 1, wire).limits(limits)).start().await.unwrap();
    let (asks, mut handed) = handed("echo", vec![ChannelSpec::new(0, 1)]);
    let friend = builder(&net.host([10, 0, 0, 2]), 2).protocol(asks).start().await.unwrap();
    join(&friend, &switch).await;
    let io = handed.recv().await.unwrap().1;
    let events = switch.events();
    House { net, switch, friend, io, events }
}

impl House {
    /// A session of a stranger.
    async fn stranger(&mut self, who: u8) -> Connection {
        let addr = self.switch.listening()[0].0;
        let mut stranger = self.net.host([10, 0, 1, who]).connect(addr).await.unwrap();
        stranger.writer.write_all(&hello(who)).await.unwrap();
        let mut theirs = vec![0; hello(1).len()];
        stranger.reader.read_exact(&mut theirs).await.unwrap();
        assert_eq!(added(&mut self.events).await.id(), id(who));
        stranger
    }
}

/// A message that is begun and never finished ends its session in time, however slowly bytes drip in.
#[tokio::test(start_paused = true)]
async fn what_is_begun_is_finished_in_time() {
    let incomplete = Incomplete::new(Duration::from_secs(10), 1_000);
    for (come, drip) in [(0, false), (5, false), (5, true), (100_000, false)] {
        let mut house = house(open_limits(), Rules::default().incomplete(incomplete)).await;
        let mut stranger = house.stranger(66).await;
        // Time that passes between messages is nobody's.
        tokio::time::sleep(Duration::from_secs(100)).await;
        let start = Instant::now();
        let first = begun(MIB, come);
        stranger.writer.write_all(&first[..first.len() - usize::from(come == 0)]).await.unwrap();
        let dripping = async {
            loop {
                tokio::time::sleep(Duration::from_millis(700)).await;
                if !drip || stranger.writer.write_all(b"d").await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let (peer, end) = tokio::select! {
            () = dripping => unreachable!(),
            ended = dropped(&mut house.events) => ended,
        };
        let rule = Reason::Breach("a message was not completed in time");
        assert_eq!((peer.id(), end.reason, end.by), (id(66), rule, By::Us));
        let allowed = 10.0 + come as f64 / 1_000.0;
        let took = start.elapsed().as_secs_f64();
        assert!((allowed..allowed + 1.0).contains(&took), "{took} s for {come} bytes");
        round_trip(&mut house.io, b"still here?").await;
        finish(&[&house.switch, &house.friend]).await;
    }
}

/// A slow sender that finishes, and one that sends message after message without a pause, stay.
#[tokio::test(start_paused = true)]
async fn slow_and_busy_peers_are_not_late() {
    let incomplete = Incomplete::new(Duration::from_secs(10), 0);
    let mut house = house(open_limits(), Rules::default().incomplete(incomplete)).await;
    let mut stranger = house.stranger(66).await;
    let message = begun(90, 90);
    for _ in 0..10 {
        // Each read ends within a message, and another has begun.
        for part in message.chunks(13) {
            stranger.writer.write_all(part).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    let mut back = vec![0; 10 * message.len()];
    stranger.reader.read_exact(&mut back).await.unwrap();
    assert!(drain(&mut house.events).is_empty());
    drop(stranger);
    finish(&[&house.switch, &house.friend]).await;
}

/// Strangers whose messages never end fill the node's ledger. Those that hold most end; the honest friend never waits.
#[tokio::test(start_paused = true)]
async fn a_full_ledger_costs_the_greedy_their_sessions_and_nobody_else() {
    let limits = open_limits().with(|limits| {
        limits.bytes_total = 16 * MIB;
        limits.bytes_per_peer = 8 * MIB;
        limits.inbound = 64;
    });
    let mut house = house(limits, Rules::default()).await;
    let mut strangers = Vec::new();
    for who in 100..117 {
        strangers.push(house.stranger(who).await);
    }
    let mut ended = BTreeSet::new();
    for step in 0..30_usize {
        for (n, stranger) in strangers.iter_mut().enumerate() {
            let data =
                if step == 0 { begun(8 * MIB, 100_000) } else { BytesMut::from(&vec![7; 100_000][..]) };
            // The later ones send more.
            if step % (n % 3 + 1) == 0 {
                let _ = stranger.writer.write_all(&data).await;
            }
        }
        settle().await;
        assert!(house.switch.bytes_held() <= 16 * MIB, "{} bytes held", house.switch.bytes_held());
        let start = Instant::now();
        house.io.send(C0, &b"honest"[..]).await.unwrap();
        let Some(_) = house.io.recv().await else {
            panic!("the friend lost: {:?}", drain(&mut house.events))
        };
        let took = start.elapsed();
        assert!(took < Duration::from_millis(50), "the friend waited {took:?} in step {step}");
    }
    // Their goodbyes take a moment; their bytes were back at once.
    tokio::time::sleep(Duration::from_secs(5)).await;
    for event in drain(&mut house.events) {
        let Event::PeerDropped { peer, end } = event else { panic!("{event:?}") };
        assert_eq!((&end.reason, end.by), (&Reason::MemoryCap, By::Us), "{:?}", end.detail);
        ended.insert(peer.id());
    }
    assert!((1..17).contains(&ended.len()), "{} ended", ended.len());
    drop(strangers);
    finish(&[&house.switch, &house.friend]).await;
}

/// One-byte messages that came in large buffers: what the ledger says is what they hold.
#[tokio::test(start_paused = true)]
async fn a_small_message_lets_its_large_buffer_go() {
    let spec = large().recv_limit_within(16 * MIB, 64 * MIB);
    let (keeps, mut kept) = handed("echo", vec![spec]);
    let mut house = house_of(open_limits(), Rules::default(), |b| b.protocol(keeps)).await;
    kept.recv().await.unwrap();
    let mut stranger = house.stranger(66).await;
    let mut io = kept.recv().await.unwrap().1;
    for _ in 0..4 {
        // A large message and a small one behind it share a buffer; the large one is read, the small one is kept.
        let mut bytes = begun(4 * MIB, 4 * MIB);
        bytes.extend_from_slice(&begun(1, 1));
        stranger.writer.write_all(&bytes).await.unwrap();
        settle().await;
    }
    let mut small = Vec::new();
    let mut large = 0;
    while let Some((_, message)) = io.try_recv() {
        if message.len() == 1 { small.push(message) } else { large += message.len() }
    }
    assert_eq!((small.len(), large), (4, 16 * MIB));
    assert_eq!(house.switch.bytes_held(), 0);
    // Each is alone in memory: its buffer is its own.
    for message in small {
        assert!(message.try_into_mut().is_ok_and(|own| own.capacity() < 1024), "a large buffer is held");
    }
    drop((io, stranger));
    finish(&[&house.switch, &house.friend]).await;
}
