//! How a peer may leave, and what a session is told when it ends: one event with the right reason each time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

mod common;

use common::raw::*;
use common::*;
use std::sync::Arc;
use std::time::Duration;
use switchboard::net::{Connection, TcpNetwork};
use switchboard::{By, Reason};
use switchboard_fabric::bench::ECHO;
use switchboard_fabric::grpc::STREAM_PATH;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const TLS: Reason = Reason::Breach("TLS");

/// How a peer may leave; each way is its own doing.
fn goodbyes() -> Vec<Vec<u8>> {
    let half = framed(&block(ECHO, 0, vec![7; 100]));
    let mut all = vec![frame(DATA, END_STREAM, 1, &[]), frame(DATA, END_STREAM, 1, &half[..50])];
    // An end in trailers.
    all.push(frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0, 1, b'x', 1, b'y']));
    all.extend((0..15).map(|code| frame(RST_STREAM, 0, 1, &[0, 0, 0, code])));
    all.push(frame(RST_STREAM, 0, 1, &[0xff; 4]));
    // In the middle of a frame's head, of its payload, of a message.
    let data = frame(DATA, 0, 1, &half);
    all.extend([0, 5, 9, 40].map(|cut| data[..cut].to_vec()));
    all.push(frame(DATA, 0, 1, &half[..50]));
    all
}

#[tokio::test(start_paused = true)]
async fn every_way_to_leave_is_told_as_the_peers_own() {
    let mut victim = Victim::new().await;
    let ends = |bytes: &[u8]| matches!(bytes, [_, _, _, RST_STREAM, ..] | [_, _, _, _, 1 | 5, ..]);
    for bytes in goodbyes() {
        for notify in [false, true] {
            let mut raw = Raw::session(&mut victim).await;
            raw.send(&bytes).await;
            if ends(&bytes) {
                // It need not close: we do.
                victim.ends(Reason::RemoteClosed, By::Peer, "").await;
                raw.closed().await;
            } else {
                if notify {
                    raw.tls.shutdown().await.unwrap();
                }
                drop(raw);
                victim.ends(Reason::RemoteClosed, By::Peer, "").await;
            }
        }
        let mut raw = Raw::connect(&victim).await;
        raw.send(&frame(HEADERS, END_HEADERS, 1, &head(STREAM_PATH))).await;
        raw.send(&bytes).await;
        let kept = ends(&bytes).then_some(raw);
        victim.fails(Reason::RemoteClosed, "closed the connection").await;
        drop(kept);
    }
    victim.finish().await;
}

/// A client that goes away opens no more streams; those it has run on.
#[tokio::test(start_paused = true)]
async fn going_away_ends_nothing_by_itself() {
    let mut victim = Victim::new().await;
    for code in [0, 1, 2, 11, 99] {
        let mut raw = Raw::session(&mut victim).await;
        raw.send(&frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, code, b'\x1b', b'!'])).await;
        raw.lives().await;
        raw.send(&frame(DATA, END_STREAM, 1, &[])).await;
        victim.ends(Reason::RemoteClosed, By::Peer, "").await;
    }
    victim.finish().await;
}

#[tokio::test(start_paused = true)]
async fn garbled_records_end_a_session() {
    let mut victim = Victim::new().await;
    let mut raw = Raw::session(&mut victim).await;
    raw.lives().await;
    let record = [&[0x17, 3, 3, 0, 40][..], &[7; 40]].concat();
    raw.tls.get_mut().0.write_all(&record).await.unwrap();
    victim.ends(TLS, By::Us, "decrypt").await;
    victim.finish().await;
}

/// On real sockets and a real clock: what was sent is lost, and the kernel says so.
#[tokio::test]
async fn a_reset_of_the_socket_is_told_as_the_peers_own() {
    let mut victim = Victim::on(Arc::new(TcpNetwork), false).await;
    for session in [false, true] {
        let stream = TcpStream::connect(victim.switch.listening()[0].0).await.unwrap();
        stream.set_zero_linger().unwrap();
        let tls = tls_over(Connection::tcp(stream).unwrap(), client_tls(&victim.folder)).await.unwrap();
        let mut raw = Raw::open(tls).await;
        raw.send(&frame(HEADERS, END_HEADERS, 1, &head(STREAM_PATH))).await;
        if session {
            raw.send(&frame(DATA, 0, 1, &framed(&establish(&victim.folder)))).await;
            victim.added().await;
            drop(raw);
            victim.ends(Reason::RemoteClosed, By::Peer, "").await;
        } else {
            drop(raw);
            victim.fails(Reason::RemoteClosed, "").await;
        }
    }
    victim.finish().await;
}

/// The session pings by HTTP/2, so that an operator sees the round trip as on every wire.
#[tokio::test(start_paused = true)]
async fn round_trips_are_known_from_the_pings_of_http2() {
    let mut victim = Victim::new().await;
    let friend = victim.switch.peers().list().remove(0);
    assert_eq!(friend.stats().rtt, None, "none is out yet");
    tokio::time::sleep(Duration::from_secs(61)).await;
    let rtt = friend.stats().rtt.expect("a pong came");
    assert!(rtt < Duration::from_secs(1), "{rtt:?}");
    victim.serves().await;
    victim.finish().await;
}
