//! A stop leaves nothing: no task, no port, no peer that was not told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

mod common;

use common::net::Net;
use common::*;
use std::sync::Arc;
use std::time::Duration;
use switchboard::env::Env;
use switchboard::net::TcpNetwork;
use switchboard::net::memory::MemoryWire;
use switchboard::protocol::channel::ChannelSpec;
use switchboard::{By, Reason, SwitchBuilder};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

/// Tasks of this runtime that live; those that have just ended are let go first.
async fn tasks() -> usize {
    settle().await;
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

#[tokio::test(start_paused = true)]
async fn peers_hear_quitting_and_every_task_ends() {
    let net = Net::default();
    let before = tasks().await;
    let a = builder(&net.host([10, 0, 0, 1]), 1)
        .protocol(echo("echo"))
        .protocol(stuck("stuck", vec![ChannelSpec::new(0, 1)]));
    let a = a.start().await.unwrap();
    let b = builder(&net.host([10, 0, 0, 2]), 2).protocol(echo("echo")).protocol(echo("stuck"));
    let b = b.start().await.unwrap();
    let (peer, _) = join(&b, &a).await;
    peer.send("stuck", C0, vec![0; 1000].into()).await.unwrap();
    settle().await;
    assert_eq!(a.bytes_held(), 1000);
    let mut events = b.events();
    a.stop().await;
    a.stop().await;
    let (_, end) = dropped(&mut events).await;
    assert_eq!((end.reason, end.by), (Reason::Quitting, By::Peer));
    finish(&[&a, &b]).await;
    assert_eq!(tasks().await, before, "tasks outlive the stop");
}

/// A far end that stops reading in mid-write keeps no writer alive.
#[tokio::test(start_paused = true)]
async fn a_writer_in_mid_write_ends_with_its_session() {
    let net = Net::default();
    let before = tasks().await;
    let a = builder(&net.host([10, 0, 0, 1]), 1).protocol(echo("echo")).start().await.unwrap();
    let b = builder(&net.host([10, 0, 0, 2]), 2).protocol(echo("echo")).start().await.unwrap();
    net.pipe(64);
    net.gate(true);
    let _ = a.offer(address(&b)).await;
    settle().await;
    let line = net.lines().pop().unwrap();
    line.to_dialler.allow(u64::MAX);
    line.to_listener.allow(17);
    let mut events = a.events();
    let peer = loop {
        settle().await;
        if let Some(peer) = a.peers().get(&id(2)) {
            break peer;
        }
    };
    peer.send("echo", C0, vec![0; 100_000].into()).await.unwrap();
    peer.send("echo", C0, vec![0; 100_000].into()).await.unwrap();
    let start = Instant::now();
    peer.disconnect(Reason::Requested);
    dropped(&mut events).await;
    assert!(start.elapsed() < Duration::from_secs(3));
    a.stop().await;
    assert_eq!(a.bytes_held(), 0);
    line.to_listener.allow(u64::MAX);
    finish(&[&b]).await;
    assert_eq!(tasks().await, before);
}

#[tokio::test(start_paused = true)]
async fn a_stop_during_handshakes_and_dials_ends_them() {
    let net = Net::default();
    let before = tasks().await;
    let a = builder(&net.host([10, 0, 0, 1]), 1).protocol(echo("echo")).start().await.unwrap();
    let b = builder(&net.host([10, 0, 0, 2]), 2).protocol(echo("echo")).start().await.unwrap();
    net.gate(true);
    let mut silent = net.host([10, 0, 0, 3]).connect(a.listening()[0].0).await.unwrap();
    silent.writer.write_all(b"mem").await.unwrap();
    let _ = a.offer(address(&b)).await;
    let _ = a.offer(at("10.0.0.9".into(), 1, None)).await;
    settle().await;
    let start = Instant::now();
    a.stop().await;
    assert!(start.elapsed() < Duration::from_millis(10), "{:?}", start.elapsed());
    finish(&[&b]).await;
    drop(silent);
    assert_eq!(tasks().await, before);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_stops_too() {
    let net = Net::default();
    let before = tasks().await;
    let a = builder(&net.host([10, 0, 0, 1]), 1).protocol(echo("echo")).start().await.unwrap();
    let b = builder(&net.host([10, 0, 0, 2]), 2).protocol(echo("echo")).start().await.unwrap();
    join(&a, &b).await;
    let mut events = b.events();
    let second = a.clone();
    drop(a);
    settle().await;
    assert_eq!(b.peers().len(), 1);
    drop(second);
    let (_, end) = dropped(&mut events).await;
    assert_eq!((end.reason, end.by), (Reason::Quitting, By::Peer));
    finish(&[&b]).await;
    assert_eq!(tasks().await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_tcp_the_port_is_free_at_once_and_the_peer_is_told() {
    let node = |id: u8, port: u16| {
        SwitchBuilder::new(Env::system().unwrap().with_network(Arc::new(TcpNetwork)))
            .wire(Arc::new(MemoryWire::new(&[id])))
            .limits(open_limits())
            .protocol(echo("echo"))
            .listen(([127, 0, 0, 1], port).into(), &[])
            .start()
    };
    let b = node(2, 0).await.unwrap();
    let mut port = 0;
    for _ in 0..3 {
        let a = node(1, port).await.unwrap();
        port = a.listening()[0].0.port();
        let refused = node(3, port).await.unwrap_err().to_string();
        assert!(refused.contains("another program uses this port"), "{refused}");
        // The new node dials: the old one would wait before it dials the same address again.
        join(&a, &b).await;
        let mut events = b.events();
        a.stop().await;
        let (_, end) = dropped(&mut events).await;
        assert_eq!((end.reason, end.by), (Reason::Quitting, By::Peer));
    }
    finish(&[&b]).await;
}
