//! Cuts, crashes and hosts that are not there.
#![allow(clippy::unwrap_used)] // helpers of tests

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;
use switchboard::net::{Connection, Listener, Network};
use switchboard_simnet::net::CONNECT_LIMIT;
use switchboard_simnet::{Link, SimNet, run};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};

const A: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const B: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
const C: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 3));

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

async fn listen(net: &SimNet, ip: IpAddr) -> std::sync::Arc<dyn Listener> {
    net.host(ip).listen((ip, 7_000).into()).await.unwrap()
}

async fn pair(net: &SimNet, to: IpAddr) -> (Connection, Connection) {
    let listener = listen(net, to).await;
    let dialled = net.host(A).connect(listener.local_addr()).await.unwrap();
    (dialled, listener.accept().await.unwrap())
}

#[test]
fn bytes_stall_across_a_cut_and_arrive_after_it() {
    run::twice(1, |net| async move {
        net.every_link(Link::new().latency(ms(50)));
        let (mut a, mut b) = pair(&net, B).await;
        let (mut other, mut c) = pair(&net, C).await;
        a.writer.write_all(b"1").await.unwrap();
        sleep(ms(60)).await;
        a.writer.write_all(b"2").await.unwrap();
        sleep(ms(10)).await;
        net.cut(&[A], &[B]);
        a.writer.write_all(b"3").await.unwrap();
        // What had arrived is there; what was on its way and what came later is not.
        assert_eq!(b.reader.read_u8().await.unwrap(), b'1');
        assert!(timeout(Duration::from_secs(3_600), b.reader.read_u8()).await.is_err());
        // Others are not touched.
        other.writer.write_all(b"c").await.unwrap();
        assert_eq!(timeout(ms(60), c.reader.read_u8()).await.unwrap().unwrap(), b'c');
        net.heal();
        let healed = Instant::now();
        assert_eq!(b.reader.read_u8().await.unwrap(), b'2');
        assert_eq!(b.reader.read_u8().await.unwrap(), b'3');
        assert_eq!(healed.elapsed(), ms(50));
    });
}

#[test]
fn a_cut_fills_the_buffer_and_then_holds_the_writer_back() {
    run::twice(2, |net| async move {
        net.every_link(Link::new().buffer(20_000));
        let (mut a, mut b) = pair(&net, B).await;
        net.cut(&[A], &[B]);
        let mut writing = tokio::spawn(async move {
            a.writer.write_all(&[9; 100_000]).await.unwrap();
            a
        });
        assert!(timeout(Duration::from_secs(60), &mut writing).await.is_err());
        net.heal();
        let mut all = vec![0; 100_000];
        b.reader.read_exact(&mut all).await.unwrap();
        drop(writing.await.unwrap());
    });
}

#[test]
fn a_new_connection_waits_for_the_cut_to_heal_or_times_out() {
    run::twice(3, |net| async move {
        net.every_link(Link::new().latency(ms(50)));
        let listener = listen(&net, B).await;
        net.cut(&[A], &[B, C]);
        let start = Instant::now();
        let error = net.host(A).connect(listener.local_addr()).await.err().unwrap();
        assert_eq!((error.kind(), start.elapsed()), (ErrorKind::TimedOut, CONNECT_LIMIT));
        let (host, addr) = (net.host(A), listener.local_addr());
        let waiting = tokio::spawn(async move { host.connect(addr).await.map(|_| Instant::now()) });
        sleep(Duration::from_secs(5)).await;
        net.heal();
        let healed = Instant::now();
        let connected = waiting.await.unwrap().unwrap();
        assert_eq!(connected - healed, ms(100));
    });
}

#[test]
fn a_one_way_cut_lets_the_other_way_pass() {
    run::twice(4, |net| async move {
        let (mut a, mut b) = pair(&net, B).await;
        net.cut_one_way(A, B);
        b.writer.write_all(b"heard").await.unwrap();
        let mut word = [0; 5];
        a.reader.read_exact(&mut word).await.unwrap();
        a.writer.write_all(b"unheard").await.unwrap();
        assert!(timeout(ms(1_000), b.reader.read_u8()).await.is_err());
    });
}

#[test]
fn a_crash_resets_and_refuses_until_the_restart() {
    run::twice(5, |net| async move {
        net.every_link(Link::new().latency(ms(20)));
        let listener = listen(&net, B).await;
        let addr = listener.local_addr();
        let mut a = net.host(A).connect(addr).await.unwrap();
        let mut b = listener.accept().await.unwrap();
        b.writer.write_all(b"lost").await.unwrap();
        net.crash(B);
        assert_eq!(a.reader.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(b.writer.write_all(b"x").await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        let start = Instant::now();
        let refused = net.host(A).connect(addr).await.err().unwrap();
        assert_eq!((refused.kind(), start.elapsed()), (ErrorKind::ConnectionRefused, ms(40)));
        let cut_off = net.host(B).connect((A, 1).into()).await.err().unwrap();
        assert_eq!(cut_off.kind(), ErrorKind::NetworkUnreachable);
        net.restart(B);
        assert!(net.host(A).connect(addr).await.is_ok());
    });
}

#[test]
fn listeners_ports_names_and_nobody() {
    run::twice(6, |net| async move {
        let (a, b) = (net.host(A), net.host(B));
        let listener = a.listen("0.0.0.0:0".parse().unwrap()).await.unwrap();
        assert_eq!(listener.local_addr().ip(), A);
        let twice = a.listen(listener.local_addr()).await.err().unwrap();
        assert_eq!(twice.kind(), ErrorKind::AddrInUse);
        let foreign = b.listen((A, 9).into()).await.err().unwrap();
        assert_eq!(foreign.kind(), ErrorKind::AddrNotAvailable);
        net.name("seed.example", A);
        assert_eq!(b.resolve("seed.example", 5).await.unwrap(), [(A, 5).into()]);
        assert_eq!(b.resolve("no.example", 5).await.unwrap_err().kind(), ErrorKind::NotFound);
        let connection = b.connect(listener.local_addr()).await.unwrap();
        let accepted = listener.accept().await.unwrap();
        assert_eq!((accepted.remote, accepted.local), (connection.local, connection.remote));
        assert_eq!(accepted.remote.ip(), B);
        drop(listener);
        assert_eq!(b.connect(connection.remote).await.err().unwrap().kind(), ErrorKind::ConnectionRefused);
        let nobody = b.connect("10.9.9.9:1".parse().unwrap()).await.err().unwrap();
        assert_eq!(nobody.kind(), ErrorKind::TimedOut);
    });
}
