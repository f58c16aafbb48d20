//! Sockets on loopback.

use super::*;
use std::time::Duration;
use tokio::time::timeout;

async fn pair() -> (Arc<dyn Datagrams>, Arc<dyn Datagrams>) {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    (bind(any).unwrap(), bind(any).unwrap())
}

#[tokio::test]
async fn many_datagrams_come_in_few_batches_and_in_order() {
    let (a, b) = pair().await;
    let out: Vec<_> = (0..100u8)
        .map(|n| Datagram { remote: b.local_addr(), bytes: Bytes::from(vec![n; usize::from(n) + 1]) })
        .collect();
    assert_eq!(a.send(&out), 100);
    let (mut got, mut calls) = (Vec::new(), 0);
    while got.len() < 100 {
        timeout(Duration::from_secs(10), b.recv(&mut got)).await.unwrap().unwrap();
        calls += 1;
    }
    assert!(calls <= 10, "{calls} wake-ups");
    assert!(got.iter().all(|d| d.remote == a.local_addr()));
    let sent: Vec<_> = out.iter().map(|d| d.bytes.clone()).collect();
    assert_eq!(got.into_iter().map(|d| d.bytes).collect::<Vec<_>>(), sent);
}

#[tokio::test]
async fn what_is_too_long_is_dropped_and_what_is_empty_is_not() {
    let (a, b) = pair().await;
    let to = |len: usize| Datagram { remote: b.local_addr(), bytes: Bytes::from(vec![1; len]) };
    a.send(&[to(MAX_DATAGRAM + 1), to(60_000), to(0), to(MAX_DATAGRAM)]);
    let mut got = Vec::new();
    while got.len() < 2 {
        timeout(Duration::from_secs(10), b.recv(&mut got)).await.unwrap().unwrap();
    }
    assert_eq!(got.iter().map(|d| d.bytes.len()).collect::<Vec<_>>(), [0, MAX_DATAGRAM]);
}

/// A datagram to a closed port brings an ICMP answer, which must not end the socket.
#[tokio::test]
async fn a_closed_port_ends_nothing() {
    let (a, b) = pair().await;
    let gone = {
        let (gone, _) = pair().await;
        gone.local_addr()
    };
    for _ in 0..4 {
        a.send(&[Datagram { remote: gone, bytes: Bytes::from_static(b"?") }]);
    }
    b.send(&[Datagram { remote: a.local_addr(), bytes: Bytes::from_static(b"!") }]);
    let mut got = Vec::new();
    timeout(Duration::from_secs(10), a.recv(&mut got)).await.unwrap().unwrap();
    assert_eq!(got.first().map(|d| d.bytes.clone()), Some(Bytes::from_static(b"!")));
}
