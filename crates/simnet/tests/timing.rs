//! Latency, bandwidth, loss and back-pressure, measured in virtual time; and the audit hash.
#![allow(clippy::unwrap_used)] // helpers of tests

use std::io::ErrorKind;
use std::time::Duration;
use switchboard::net::{Connection, Network};
use switchboard_simnet::{Link, SimNet, run};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

const A: [u8; 4] = [10, 0, 0, 1];
const B: [u8; 4] = [10, 0, 0, 2];

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A connection from A to B: the dialling end, then the accepted one.
async fn pair(net: &SimNet) -> (Connection, Connection) {
    let listener = net.host(B).listen("10.0.0.2:0".parse().unwrap()).await.unwrap();
    let dialled = net.host(A).connect(listener.local_addr()).await.unwrap();
    (dialled, listener.accept().await.unwrap())
}

/// Sends `total` bytes and gives the time from the first write to the last read.
async fn transfer(net: &SimNet, total: usize) -> Duration {
    let (mut from, mut to) = pair(net).await;
    let start = Instant::now();
    let writing = tokio::spawn(async move {
        from.writer.write_all(&vec![7; total]).await.unwrap();
        from.writer.shutdown().await.unwrap();
        from
    });
    let mut all = Vec::new();
    to.reader.read_to_end(&mut all).await.unwrap();
    assert_eq!(all.len(), total);
    drop(writing.await.unwrap());
    start.elapsed()
}

#[test]
fn connecting_takes_a_round_trip_and_a_byte_half_of_it() {
    let (times, _) = run::twice(1, |net| async move {
        net.link_one_way(A, B, Link::new().latency(ms(30)));
        net.link_one_way(B, A, Link::new().latency(ms(70)));
        let start = Instant::now();
        let (mut a, mut b) = pair(&net).await;
        let connected = start.elapsed();
        a.writer.write_all(b"x").await.unwrap();
        b.reader.read_u8().await.unwrap();
        let there = start.elapsed();
        b.writer.write_all(b"y").await.unwrap();
        a.reader.read_u8().await.unwrap();
        (connected, there, start.elapsed())
    });
    assert_eq!(times, (ms(100), ms(130), ms(200)));
}

#[test]
fn bandwidth_is_shared_by_the_connections_of_a_direction() {
    let (times, _) = run::twice(2, |net| async move {
        net.every_link(Link::new().bandwidth(1_000_000).latency(ms(10)));
        let alone = transfer(&net, 2_000_000).await;
        let start = Instant::now();
        let (one, two) = tokio::join!(transfer(&net, 1_000_000), transfer(&net, 1_000_000));
        (alone, one, two, start.elapsed())
    });
    let (alone, one, two, both) = times;
    assert!((ms(2_005)..ms(2_050)).contains(&alone), "{alone:?}");
    assert!((ms(2_005)..ms(2_070)).contains(&both), "{both:?}");
    // Neither is served before the other.
    assert!(one > ms(1_700) && two > ms(1_700), "{one:?} {two:?}");
}

#[test]
fn a_full_buffer_holds_the_writer_back() {
    run::twice(3, |net| async move {
        net.every_link(Link::new().buffer(50_000));
        let (mut a, mut b) = pair(&net).await;
        let stuck = timeout(ms(1_000), a.writer.write_all(&[1; 50_001])).await;
        assert!(stuck.is_err(), "one byte more than the buffer was taken");
        let mut some = vec![0; 10_000];
        b.reader.read_exact(&mut some).await.unwrap();
        timeout(ms(10), a.writer.write_all(&[2; 10_000])).await.unwrap().unwrap();
    });
    // A window of 50 kB over 100 ms carries 500 kB a second, whatever the bandwidth.
    let (took, _) = run::twice(3, |net| async move {
        net.every_link(Link::new().buffer(50_000).latency(ms(100)));
        transfer(&net, 1_000_000).await
    });
    assert!((ms(1_900)..ms(2_300)).contains(&took), "{took:?}");
}

#[test]
fn losses_delay_and_lose_nothing() {
    let lossy = |seed| {
        run::twice(seed, |net| async move {
            net.every_link(Link::new().latency(ms(10)).loss(50_000));
            transfer(&net, 4_000_000).await
        })
    };
    let clean = run::once(4, |net| async move {
        net.every_link(Link::new().latency(ms(10)));
        transfer(&net, 4_000_000).await
    });
    let (took, audit) = lossy(4);
    assert!(took > clean.0 + ms(200), "{took:?} against {:?}", clean.0);
    assert_eq!(audit.bytes, 4_000_000);
}

#[test]
fn same_seed_same_hash_and_another_seed_another() {
    let jittery = |net: SimNet| async move {
        net.every_link(Link::new().latency(ms(20)).jitter(ms(15)));
        transfer(&net, 500_000).await
    };
    let (_, one) = run::twice(5, jittery);
    let (_, two) = run::twice(6, jittery);
    assert_ne!(one.hash, two.hash);
    assert_eq!(one.bytes, two.bytes);
}

#[test]
fn a_stream_keeps_its_order_under_jitter() {
    run::twice(8, |net| async move {
        net.every_link(Link::new().latency(ms(5)).jitter(ms(50)).loss(100_000));
        let (mut a, mut b) = pair(&net).await;
        let sent: Vec<u8> = (0..200_000u32).map(|n| (n / 7) as u8).collect();
        let copy = sent.clone();
        let writing = tokio::spawn(async move {
            a.writer.write_all(&copy).await.unwrap();
            a
        });
        let mut got = vec![0; sent.len()];
        b.reader.read_exact(&mut got).await.unwrap();
        assert!(got == sent, "bytes came in another order");
        drop(writing.await.unwrap());
    });
}

#[test]
fn a_closed_end_is_noticed_by_reader_and_writer() {
    run::twice(9, |net| async move {
        net.every_link(Link::new().latency(ms(10)));
        let (mut a, mut b) = pair(&net).await;
        a.writer.write_all(b"last words").await.unwrap();
        drop(a);
        let mut all = Vec::new();
        b.reader.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"last words");
        assert_eq!(b.writer.write_all(b"?").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
}
