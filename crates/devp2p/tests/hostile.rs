//! Peers that mean harm on this wire: each ends its own connection within its limit, with the right reason, one
//! event and the goodbye the wire has for it, and the node serves on. And what is merely odd.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

mod common;

use common::*;
use std::time::Duration;
use switchboard::{Event, Reason};
use switchboard_devp2p::handshake::{MAX_PACKET, MIN_PACKET};
use switchboard_devp2p::message::HELLO;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep};

const STEP: Duration = Duration::from_secs(5);

fn auth() -> Vec<u8> {
    let to = public(VICTIM);
    Auth::of(HOSTILE, &to).packet(&to)
}

// --- RLPx: the packet auth.

#[tokio::test(start_paused = true)]
async fn an_auth_cut_at_any_byte_and_closed() {
    let mut victim = Victim::new().await;
    let auth = auth();
    for cut in 0..=auth.len() {
        drop(victim.sent(&auth[..cut]).await);
        victim.failed(Reason::RemoteClosed).await;
    }
    victim.finish().await;
}

#[tokio::test(start_paused = true)]
async fn an_auth_cut_at_any_byte_and_then_silence() {
    let mut limits = open_limits();
    limits.pending_inbound = 1000;
    let mut victim = Victim::with(limits).await;
    let (auth, start) = (auth(), Instant::now());
    let mut silent = Vec::new();
    for cut in 0..=auth.len() {
        silent.push(victim.sent(&auth[..cut]).await);
    }
    // The last one is whole: there it is the hello that does not come.
    for _ in &silent {
        match victim.event().await {
            Event::HandshakeFailed { reason, .. } => assert_eq!(reason, Reason::HandshakeTimeout),
            other => panic!("{other:?}"),
        }
        took(start, STEP);
    }
    victim.serves_on().await;
    victim.finish().await;
}

/// Judged by the two bytes alone, before anything is waited for.
#[tokio::test(start_paused = true)]
async fn sizes_no_auth_can_have() {
    let mut victim = Victim::new().await;
    for size in [0, 1, MIN_PACKET - 1, MAX_PACKET + 1, 0xffff] {
        let start = Instant::now();
        let _open = victim.sent(&(size as u16).to_be_bytes()).await;
        victim.failed(Reason::Breach("handshake packet size")).await;
        took(start, Duration::ZERO);
    }
    for size in [MIN_PACKET, MAX_PACKET] {
        let start = Instant::now();
        let prefix = (size as u16).to_be_bytes();
        let _open = victim.sent(&prefix).await;
        victim.failed(Reason::HandshakeTimeout).await;
        took(start, STEP);
        let _open = victim.sent(&[&prefix[..], &vec![4; size]].concat()).await;
        victim.failed(Reason::Breach("handshake packet")).await;
    }
    victim.finish().await;
}

/// Whatever is wrong inside, the answer is the same: none.
#[tokio::test(start_paused = true)]
async fn auths_that_prove_nothing() {
    let to = public(VICTIM);
    let whole = auth();
    let bent = |at: usize| {
        let mut bent = whole.clone();
        bent[at] ^= 1;
        bent
    };
    let of = |change: fn(&mut Auth)| {
        let mut auth = Auth::of(HOSTILE, &to);
        change(&mut auth);
        auth.packet(&to)
    };
    let mut relabelled = [&whole[..], &[0]].concat();
    relabelled[..2].copy_from_slice(&(whole.len() as u16 - 1).to_be_bytes());
    let items = Auth::of(HOSTILE, &to).items();
    let content = list(&items);
    let mut cases = vec![
        ("the form of the point", bent(2)),
        ("a point off the curve", bent(3)),
        ("another point", [&whole[..3], &public(5).to_bytes(), &whole[67..]].concat()),
        ("the IV", bent(67)),
        ("the content", bent(83)),
        ("the tag", bent(whole.len() - 1)),
        ("the size, which the tag covers", relabelled),
        ("sealed to another", Auth::of(HOSTILE, &to).packet(&public(FRIEND))),
        ("nothing inside", packet(&to, &[])),
        ("zeros inside", packet(&to, &[0; 300])),
        ("a string inside", packet(&to, &string(&[7; 300]))),
        ("a list that says it is longer", packet(&to, &[0xf9, 0xff, 0xff, 1, 2, 3])),
        ("a list that says it is longer than memory", packet(&to, &[0xff; 64])),
        ("a signature cut", of(|auth| auth.signature.truncate(64))),
        ("a signature of zeros", of(|auth| auth.signature = vec![0; 65])),
        ("a signature of ones", of(|auth| auth.signature = vec![0xff; 65])),
        ("no such recovery id", of(|auth| auth.signature[64] = 4)),
        ("a key off the curve", of(|auth| auth.key = vec![9; 64])),
        ("a key of zeros", of(|auth| auth.key = vec![0; 64])),
        ("a key in full form", of(|auth| auth.key.insert(0, 4))),
        ("a nonce cut", of(|auth| auth.nonce.truncate(31))),
        ("a nonce too long", of(|auth| auth.nonce.push(0))),
        ("a list for a version", packet(&to, &list(&[&items[..3], &[list(&[])]].concat()))),
    ];
    cases.extend((0..items.len()).map(|n| ("items missing", packet(&to, &list(&items[..n])))));
    cases.extend((0..content.len()).step_by(11).map(|n| ("cut", packet(&to, &content[..n]))));
    let mut victim = Victim::new().await;
    for (what, bytes) in cases {
        let start = Instant::now();
        let mut connection = victim.sent(&bytes).await;
        let mut heard = Vec::new();
        assert_eq!(connection.reader.read_to_end(&mut heard).await.unwrap(), 0, "{what}: an answer");
        victim.failed(Reason::Breach("handshake packet")).await;
        took(start, Duration::ZERO);
    }
    victim.finish().await;
}

/// Without the ephemeral key no frame can be made: the session is nobody's.
#[tokio::test(start_paused = true)]
async fn an_auth_replayed_by_a_stranger() {
    let mut victim = Victim::new().await;
    let mut connection = victim.sent(&auth()).await;
    connection.writer.write_all(&[7; 200]).await.unwrap();
    victim.failed(Reason::Breach("frame MAC")).await;
    victim.finish().await;
}

/// A byte now and then does not buy time.
#[tokio::test(start_paused = true)]
async fn a_slow_drip_ends_at_the_step_limit() {
    let mut victim = Victim::new().await;
    let mut connection = victim.connect().await;
    drip(&mut victim, &mut connection.writer, &auth()).await;

    let mut hostile = victim.shaken().await;
    let hello = hostile.raw.plain(HELLO, &hello().encode());
    drip(&mut victim, &mut hostile.connection.writer, &hello).await;
    assert_eq!(hostile.hear().await.unwrap().0, HELLO);
    assert_eq!(hostile.goodbye().await, None);
    victim.finish().await;
}

async fn drip(victim: &mut Victim, writer: &mut switchboard::net::BoxWrite, bytes: &[u8]) {
    let start = Instant::now();
    let dripping = async {
        for byte in bytes {
            let _ = writer.write_all(&[*byte]).await;
            sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        () = victim.failed(Reason::HandshakeTimeout) => took(start, STEP),
        () = dripping => panic!("it dripped to the end"),
    }
}

/// EIP-8: later versions may say more, and the padding is theirs to choose.
#[tokio::test(start_paused = true)]
async fn auths_that_are_merely_odd() {
    let to = public(VICTIM);
    let mut later = Auth::of(HOSTILE, &to);
    later.version = 1 << 40;
    let mut items = later.items();
    items.extend([string(b"more"), list(&[number(1)])]);
    let cases = [
        packet(&to, &list(&Auth::of(HOSTILE, &to).items())),
        packet(&to, &[list(&items), vec![0xff; 200]].concat()),
        packet(&to, &[list(&items), vec![0; MAX_PACKET - MIN_PACKET - list(&items).len()]].concat()),
    ];
    let mut victim = Victim::new().await;
    for auth in cases {
        let mut hostile = Hostile::shake(victim.connect().await, HOSTILE, &auth).await;
        assert_eq!(hostile.hear().await.unwrap().0, HELLO);
        drop(hostile);
        victim.failed(Reason::RemoteClosed).await;
    }
    victim.finish().await;
}
