//! What a session offers a protocol and an operator: taps, times of arrival, delays, and which protocol's return ends it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

mod common;

use bytes::Bytes;
use common::net::Net;
use common::*;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use switchboard::net::memory::MemoryWire;
use switchboard::protocol::{Info, Value};
use switchboard::session::tap::{Flow, Seen, Tap};
use switchboard::wire::{Liveness, Rules, WhenDone};
use switchboard::{
    BoxFuture, ChannelId, ChannelIo, ChannelSpec, Peer, PeerId, Protocol, ProtocolError, ProtocolSpec, Reason,
};
use tokio::time::Instant;

/// Writes down what it sees.
#[derive(Default)]
struct Notes(Mutex<Vec<(PeerId, Flow, String, Instant)>>);

impl Tap for Notes {
    fn frame(&self, peer: &Peer, flow: Flow, at: Instant, frame: Seen<'_>) {
        let told = match frame {
            Seen::Data { data, .. } => String::from_utf8_lossy(data).into_owned(),
            Seen::Goodbye(reason) => format!("goodbye {reason}"),
            other => format!("{other:?}"),
        };
        self.0.lock().push((peer.id(), flow, told, at));
    }
}

#[tokio::test(start_paused = true)]
async fn a_tap_sees_every_frame_both_ways() {
    let (net, notes) = (Net::default(), Arc::new(Notes::default()));
    let liveness = Liveness::default().with(|alive| alive.ping_every = Some(Duration::from_secs(3)));
    let hub = living(&net.host([10, 0, 0, 1]), 1, liveness);
    let hub = hub.protocol(echo("echo")).tap(Arc::clone(&notes) as Arc<dyn Tap>).start().await.unwrap();
    let (asks, mut handed) = handed("echo", vec![ChannelSpec::new(0, 1)]);
    let other = builder(&net.host([10, 0, 0, 2]), 2).protocol(asks).start().await.unwrap();
    join(&other, &hub).await;
    let mut io = handed.recv().await.unwrap().1;
    let start = Instant::now();
    round_trip(&mut io, b"hello").await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    other.stop().await;
    settle().await;
    let seen: Vec<_> = notes.0.lock().iter().map(|(_, flow, told, _)| (*flow, told.clone())).collect();
    let expected = [
        (Flow::In, "hello"),
        (Flow::Out, "hello"),
        (Flow::Out, "Ping"),
        (Flow::In, "Pong"),
        (Flow::In, "goodbye quitting"),
    ];
    let expected: Vec<_> = expected.map(|(flow, told)| (flow, told.to_owned())).to_vec();
    assert_eq!(seen.get(..expected.len()), Some(&expected[..]), "{seen:?}");
    assert!(notes.0.lock().iter().all(|(who, _, _, at)| *who == id(2) && *at >= start));
    finish(&[&hub]).await;
}

/// When a message came is when it was read from the socket, not when the protocol took it.
#[tokio::test(start_paused = true)]
async fn a_message_tells_when_it_came() {
    let net = Net::default();
    let (reads, mut handed_in) = handed("echo", vec![ChannelSpec::new(0, 1), ChannelSpec::new(1, 1)]);
    let hub = builder(&net.host([10, 0, 0, 1]), 1).protocol(reads).start().await.unwrap();
    let sink = sink("echo", vec![ChannelSpec::new(0, 1), ChannelSpec::new(1, 1)]);
    let other = builder(&net.host([10, 0, 0, 2]), 2).protocol(sink).start().await.unwrap();
    let (_, peer) = {
        let (there, here) = join(&other, &hub).await;
        (here, there)
    };
    let mut io = handed_in.recv().await.unwrap().1;
    let mut apart = io.take(C1).unwrap();
    let mut sent = Vec::new();
    for channel in [C0, C1, C0] {
        sent.push(Instant::now());
        peer.send("echo", channel, Bytes::from("x")).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let near = |at: Instant, sent: Instant| at.duration_since(sent) < Duration::from_millis(500);
    let (first, third) = (io.receive().await.unwrap(), io.receive().await.unwrap());
    let second = apart.receive().await.unwrap();
    assert_eq!((first.channel, second.channel, third.channel), (C0, C1, C0));
    assert!(near(first.at, sent[0]) && near(second.at, sent[1]) && near(third.at, sent[2]));
    finish(&[&hub, &other]).await;
}

/// Two protocols of which one returns at once: what that means is a rule of the wire.
#[tokio::test(start_paused = true)]
async fn the_first_protocol_that_returns_ends_the_session_where_the_wire_says_so() {
    for when in [WhenDone::First, WhenDone::Last] {
        let net = Net::default();
        let short = || made("short", vec![ChannelSpec::new(0, 1)], |_, _io| async { Ok(()) });
        let wire = MemoryWire::new(&[1]).rules(Rules::default().when_done(when));
        let hub = with_wire(&net.host([10, 0, 0, 1]), 1, wire).protocol(echo("echo")).protocol(short());
        let hub = hub.start().await.unwrap();
        let other = builder(&net.host([10, 0, 0, 2]), 2).protocol(echo("echo"));
        let other = other.protocol(sink("short", vec![ChannelSpec::new(0, 1)])).start().await.unwrap();
        let mut events = hub.events();
        let (_, peer) = join(&other, &hub).await;
        match when {
            WhenDone::First => assert_eq!(dropped(&mut events).await.1.reason, Reason::Quitting),
            WhenDone::Last => {
                tokio::time::sleep(Duration::from_secs(60)).await;
                assert!(!peer.is_over());
            }
        }
        finish(&[&hub, &other]).await;
    }
}

struct Telling;

impl Protocol for Telling {
    fn spec(&self) -> ProtocolSpec {
        ProtocolSpec::new("tells", 1, vec![ChannelSpec::new(0, 1)])
    }

    fn node_info(&self) -> Option<Info> {
        Some(vec![("height", Value::from(7))])
    }

    fn peer_info(&self, peer: &Peer) -> Option<Info> {
        // Absent until it has shaken hands.
        peer.get::<String>().map(|head| vec![("head", Value::from(head.as_str()))])
    }

    fn run(self: Arc<Self>, peer: Peer, mut io: ChannelIo) -> BoxFuture<'static, Result<(), ProtocolError>> {
        Box::pin(async move {
            io.send(ChannelId(0), "head\u{7}").await?;
            let (_, head) = io.recv().await.ok_or(ProtocolError::Closed)?;
            peer.set(String::from_utf8(head.to_vec()).map_err(ProtocolError::failed)?);
            while io.recv().await.is_some() {}
            Ok(())
        })
    }
}

#[tokio::test(start_paused = true)]
async fn protocols_tell_of_themselves_and_of_peers() {
    let net = Net::default();
    let node = |n: u8| builder(&net.host([10, 0, 0, n]), n).protocol(Arc::new(Telling));
    let (one, other) = (node(1).start().await.unwrap(), node(2).start().await.unwrap());
    let (peer, _) = join(&other, &one).await;
    assert_eq!(Telling.node_info().unwrap(), [("height", Value::Number(7))]);
    settle().await;
    let told = peer.protocol_infos();
    assert_eq!(told, [("tells", Some(vec![("head", Value::Text("head\\u{7}".into()))]))]);
    finish(&[&one, &other]).await;
}

/// Delays are counted for each channel, and a message that is of no use later is dropped, not sent late.
#[tokio::test(start_paused = true)]
async fn delays_and_late_messages_are_counted_by_channel() {
    let net = Net::default();
    let (asks, mut handed) = handed("echo", vec![ChannelSpec::new(0, 1), ChannelSpec::new(1, 1)]);
    let one = builder(&net.host([10, 0, 0, 1]), 1).protocol(asks).start().await.unwrap();
    let reads = sink("echo", vec![ChannelSpec::new(0, 1), ChannelSpec::new(1, 1)]);
    let other = builder(&net.host([10, 0, 0, 2]), 2).protocol(reads).start().await.unwrap();
    join(&one, &other).await;
    let io = handed.recv().await.unwrap().1;
    let sender = io.sender();
    for _ in 0..3 {
        sender.send_within(C0, "soon", Duration::from_secs(1)).await.unwrap();
        settle().await;
    }
    // Before the writer runs its time is over.
    sender.send_within(C1, "never", Duration::ZERO).await.unwrap();
    settle().await;
    let (zero, first) = (sender.stats(C0).unwrap(), sender.stats(C1).unwrap());
    assert_eq!((zero.delays.0.iter().sum::<u64>(), zero.late, zero.queued), (3, 0, 0));
    assert_eq!((first.delays.0.iter().sum::<u64>(), first.late, first.queued), (0, 1, 0));
    assert!(sender.stats(ChannelId(9)).is_none());
    finish(&[&one, &other]).await;
}
