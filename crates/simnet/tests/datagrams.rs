//! Datagrams in virtual time: loss, duplication, order, translation, names.
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests

use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use switchboard::net::{Datagram, Datagrams, Network};
use switchboard_simnet::{Host, Link, Nat, SimNet, run};
use tokio::time::timeout;

async fn socket(host: &Host) -> Arc<dyn Datagrams> {
    host.bind(SocketAddr::new(host.ip(), 30_303)).await.unwrap()
}

fn send(socket: &Arc<dyn Datagrams>, to: SocketAddr, number: u16) {
    socket.send(&[Datagram { remote: to, bytes: Bytes::copy_from_slice(&number.to_be_bytes()) }]);
}

/// Everything that comes within a second.
async fn drain(socket: &Arc<dyn Datagrams>) -> Vec<(SocketAddr, u16)> {
    let mut got = Vec::new();
    while timeout(Duration::from_secs(1), socket.recv(&mut got)).await.is_ok() {}
    let number = |bytes: &Bytes| u16::from_be_bytes(bytes[..].try_into().unwrap());
    got.iter().map(|d| (d.remote, number(&d.bytes))).collect()
}

fn hosts(net: &SimNet) -> (Host, Host) {
    (net.host([10, 0, 0, 1]), net.host([10, 0, 0, 2]))
}

#[test]
fn loss_duplication_and_jitter_are_those_of_the_link_and_the_same_twice() {
    let (got, audit) = run::twice(3, |net| async move {
        let link = Link::new()
            .latency(Duration::from_millis(20))
            .jitter(Duration::from_millis(30))
            .loss(100_000)
            .duplicate(50_000);
        net.every_link(link);
        let (a, b) = hosts(&net);
        let (a, b) = (socket(&a).await, socket(&b).await);
        for number in 0..2_000 {
            send(&a, b.local_addr(), number);
        }
        drain(&b).await
    });
    let mut distinct: Vec<_> = got.iter().map(|(_, number)| *number).collect();
    let in_order = distinct.is_sorted();
    distinct.sort_unstable();
    distinct.dedup();
    assert!((1_700..1_900).contains(&distinct.len()), "{} of 2000 came", distinct.len());
    let twice = got.len() - distinct.len();
    assert!((50..150).contains(&twice), "{twice} came twice");
    assert!(!in_order, "jitter reorders");
    assert_eq!(audit.segments, got.len() as u64);
}

#[test]
fn a_cut_and_a_crash_lose_datagrams_without_a_word() {
    run::once(1, |net| async move {
        let (one, two) = hosts(&net);
        let (a, b) = (socket(&one).await, socket(&two).await);
        net.cut(&[one.ip()], &[two.ip()]);
        send(&a, b.local_addr(), 1);
        net.heal();
        assert_eq!(drain(&b).await, []);
        net.crash(two.ip());
        send(&a, b.local_addr(), 2);
        net.restart(two.ip());
        send(&a, b.local_addr(), 3);
        assert_eq!(drain(&b).await, [(a.local_addr(), 3)]);
    });
}

#[test]
fn translations_let_in_whom_their_kind_lets_in_and_a_rebinding_changes_the_port() {
    for (kind, stranger, answered) in
        [(Nat::FullCone, true, true), (Nat::Restricted, false, true), (Nat::Symmetric, false, true)]
    {
        run::once(1, move |net| async move {
            let (inside, outside) = hosts(&net);
            let third = net.host([10, 0, 0, 3]);
            net.nat(inside.ip(), [203, 0, 113, 1], kind);
            let (a, b, c) = (socket(&inside).await, socket(&outside).await, socket(&third).await);
            send(&a, b.local_addr(), 1);
            let seen = drain(&b).await[0].0;
            assert_eq!(seen.ip().to_string(), "203.0.113.1");
            send(&b, seen, 2);
            assert_eq!(!drain(&a).await.is_empty(), answered, "{kind:?}: the one it sent to");
            send(&c, seen, 3);
            assert_eq!(!drain(&a).await.is_empty(), stranger, "{kind:?}: a stranger");
            send(&b, a.local_addr(), 4);
            // The inside address itself is reachable in this network; only translated traffic is filtered.
            assert_eq!(drain(&a).await.len(), 1);
            net.rebind(inside.ip(), None);
            send(&a, b.local_addr(), 5);
            let again = drain(&b).await[0].0;
            assert_ne!(again, seen, "{kind:?}: a new port");
            send(&b, seen, 6);
            assert_eq!(drain(&a).await, [], "{kind:?}: the old port is nobody's");
        });
    }
}

#[test]
fn names_have_txt_records() {
    run::once(1, |net| async move {
        let (a, _) = hosts(&net);
        net.txt("All.Example.org", vec!["enrtree-root:v1".to_owned()]);
        assert_eq!(a.txt("all.example.org").await.unwrap(), ["enrtree-root:v1"]);
        assert_eq!(a.txt("other.org").await.unwrap_err().kind(), std::io::ErrorKind::NotFound);
    });
}

#[test]
fn a_port_is_bound_once_and_free_again_after() {
    run::once(1, |net| async move {
        let (a, _) = hosts(&net);
        let first = socket(&a).await;
        let again = a.bind(first.local_addr()).await;
        assert_eq!(again.err().map(|e| e.kind()), Some(std::io::ErrorKind::AddrInUse));
        drop(first);
        drop(socket(&a).await);
        let (free, other) =
            (a.bind("10.0.0.1:0".parse().unwrap()).await, a.bind("10.0.0.1:0".parse().unwrap()).await);
        assert_ne!(free.unwrap().local_addr(), other.unwrap().local_addr());
    });
}
