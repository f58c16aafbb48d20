//! Peers that mean harm on this wire: each ends its own connection within its limit, with the right reason, one
//! event and the goodbye the wire has for it, and the node serves on. And what is merely odd.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

mod common;

use common::*;
use std::time::Duration;
use switchboard::{By, Event, Reason};
use switchboard_devp2p::handshake::{MAX_PACKET, MIN_PACKET};
use switchboard_devp2p::message::{DISCONNECT, HELLO, Hello, MAX_HELLO, PING, PONG};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep};

const STEP: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(30);

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

// --- Hello.

#[tokio::test(start_paused = true)]
async fn a_hello_cut_at_any_byte() {
    let mut victim = Victim::new().await;
    let whole = hello().encode();
    for cut in 0..whole.len() {
        let mut hostile = victim.shaken().await;
        hostile.send(|raw| raw.plain(HELLO, &whole[..cut])).await;
        victim.failed(Reason::Breach("hello")).await;
        hostile.hear_hello(&hello()).await;
        assert_eq!(hostile.goodbye().await, None, "go-ethereum says nothing either");
    }
    victim.finish().await;
}

#[tokio::test(start_paused = true)]
async fn hellos_that_are_none() {
    let key = public(HOSTILE).to_bytes();
    let hello =
        |caps: Vec<u8>, key: &[u8]| list(&[number(5), string(b"hostile"), caps, number(0), string(key)]);
    let caps = |n| list(&vec![list(&[string(b"x"), number(1)]); n]);
    let cases = [
        ("a string", string(&[7; 300])),
        ("no items", list(&[])),
        ("a key cut", hello(caps(1), &key[..63])),
        ("a key too long", hello(caps(1), &[&key[..], &[0]].concat())),
        ("a key of zeros", hello(caps(1), &[0; 64])),
        ("capabilities that are a string", hello(string(b"echo/1"), &key)),
        ("a capability that is a string", hello(list(&[string(b"echo/1")]), &key)),
        ("a capability without a version", hello(list(&[list(&[string(b"echo")])]), &key)),
        ("a version over 64 bits", hello(list(&[list(&[string(b"echo"), string(&[1; 9])])]), &key)),
        ("129 capabilities", hello(caps(129), &key)),
        ("a list that says it is longer", vec![0xfb, 0xff, 0xff, 0xff, 0xff]),
        ("a list that says it is longer than memory", vec![0xff; 32]),
    ];
    let mut victim = Victim::new().await;
    for (what, payload) in cases {
        let mut hostile = victim.shaken().await;
        hostile.send(|raw| raw.plain(HELLO, &payload)).await;
        victim.failed(Reason::Breach("hello")).await;
        hostile.hear_hello(&self::hello()).await;
        assert_eq!(hostile.goodbye().await, None, "{what}");
    }
    victim.finish().await;
}

/// A hello padded with an item of later versions, to a total length.
fn padded_hello(len: usize) -> Vec<u8> {
    let key = public(HOSTILE).to_bytes();
    let caps = list(&[list(&[string(b"echo"), number(1)])]);
    let items = [number(5), string(b"hostile"), caps, number(0), string(&key), string(&vec![7; len - 90])];
    let hello = list(&items);
    assert_eq!(hello.len(), len);
    hello
}

/// The header tells the size, and that is enough.
#[tokio::test(start_paused = true)]
async fn a_hello_over_the_limit() {
    let mut victim = Victim::new().await;
    for size in [MAX_HELLO + 2, 0xffff, 0xff_ffff] {
        let start = Instant::now();
        let mut hostile = victim.shaken().await;
        hostile.send(|raw| raw.header(size, &[])).await;
        victim.failed(Reason::Breach("frame size")).await;
        took(start, Duration::ZERO);
    }
    let mut hostile = victim.shaken().await;
    hostile.send(|raw| raw.plain(HELLO, &padded_hello(MAX_HELLO + 1))).await;
    victim.failed(Reason::Breach("frame size")).await;
    // The code does not count.
    let mut hostile = victim.shaken().await;
    hostile.send(|raw| raw.plain(HELLO, &padded_hello(MAX_HELLO))).await;
    hostile.hear_hello(&hello()).await;
    hostile.send(|raw| raw.packed(SMALL, b"as long as it may be")).await;
    assert_eq!(hostile.hear().await, Some((SMALL, b"as long as it may be".to_vec())));
    assert!(matches!(victim.event().await, Event::PeerAdded(_)));
    drop(hostile);
    victim.dropped(Reason::RemoteClosed, By::Peer).await;
    victim.finish().await;
}

#[tokio::test(start_paused = true)]
async fn other_frames_in_place_of_hello() {
    let mut victim = Victim::new().await;
    let cases: [(Make, &str); 9] = [
        (|raw| raw.plain(PING, &[0xc0]), "hello expected"),
        (|raw| raw.plain(PONG, &[0xc0]), "hello expected"),
        (|raw| raw.plain(4, &[0xc0]), "hello expected"),
        (|raw| raw.plain(SMALL, b"data"), "hello expected"),
        (|raw| raw.plain(u64::MAX, &[]), "hello expected"),
        (|raw| raw.packed(HELLO, &hello().encode()), "hello"),
        (|raw| raw.frame(&[]), "message code"),
        (|raw| raw.frame(&[0xc0, 0xc0]), "message code"),
        (|raw| bent(raw.plain(HELLO, &hello().encode()), 40), "frame MAC"),
    ];
    for (make, rule) in cases {
        let mut hostile = victim.shaken().await;
        hostile.send(make).await;
        victim.failed(Reason::Breach(rule)).await;
        hostile.hear_hello(&hello()).await;
        assert_eq!(hostile.goodbye().await, None);
    }
    victim.finish().await;
}

fn bent(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
    bytes[at] ^= 1;
    bytes
}

#[tokio::test(start_paused = true)]
async fn a_disconnect_in_place_of_hello() {
    let mut victim = Victim::new().await;
    for (payload, reason) in disconnects() {
        let mut hostile = victim.shaken().await;
        hostile.send(|raw| raw.plain(DISCONNECT, &payload)).await;
        victim.failed(reason).await;
        hostile.hear_hello(&hello()).await;
        assert_eq!(hostile.goodbye().await, None);
    }
    victim.finish().await;
}

/// What each code means to the operator (spec: rlpx.md, "Disconnect").
fn meaning(code: u64) -> Reason {
    match code {
        0 => Reason::Requested,
        1 => Reason::NetworkError,
        2 => Reason::Breach("said by the peer"),
        3 => Reason::Useless,
        4 => Reason::TooManyPeers,
        5 => Reason::AlreadyConnected,
        6 => Reason::Incompatible("protocol version"),
        7 => Reason::InvalidIdentity,
        8 => Reason::Quitting,
        9 => Reason::WrongIdentity,
        10 => Reason::SelfConnection,
        11 => Reason::IdleTimeout,
        16 => Reason::ProtocolError,
        _ => Reason::Unknown(code),
    }
}

/// Disconnects in both forms, and what is none but ends the session all the same.
fn disconnects() -> Vec<(Vec<u8>, Reason)> {
    let mut all = Vec::new();
    for code in (0..=0x11).chain([0x7f, 0x80, 0xff]) {
        all.push((list(&[number(code)]), meaning(code)));
        all.push((list(&[number(code), string(b"more")]), meaning(code)));
        all.push((number(code), meaning(code)));
    }
    let garbage: [&[u8]; 9] = [
        &[],
        &[0],
        &[0xc0],
        &[0xff],
        &[0xc1, 0],
        &[0xc3, 0xff, 0xff, 0xff],
        &[0xc3, 0x82, 1, 0],
        &[0xc1, 0xc0],
        &[7; 2000][..],
    ];
    all.extend(garbage[..8].iter().map(|payload| (payload.to_vec(), meaning(0xff))));
    all.push((garbage[8].to_vec(), meaning(7)));
    all
}

/// Which lower or higher version is said decides over snappy only: nobody is refused for it.
#[tokio::test(start_paused = true)]
async fn versions_of_hello() {
    let mut victim = Victim::new().await;
    for version in [0, 4, 5, 6, u64::MAX] {
        let mut hostile = victim.session_with(Hello { version, ..hello() }).await;
        let message = vec![7; SMALL_LIMIT];
        assert_eq!(hostile.snappy, version >= 5);
        match hostile.snappy {
            true => hostile.send(|raw| raw.packed(SMALL, &message)).await,
            false => hostile.send(|raw| raw.plain(SMALL, &message)).await,
        }
        assert_eq!(hostile.hear().await, Some((SMALL, message)));
        // Compressed where plain is expected it is too long, plain where compressed is expected it is not snappy.
        match hostile.snappy {
            true => hostile.send(|raw| raw.plain(SMALL, &[0x80; 100])).await,
            false => hostile.send(|raw| raw.plain(SMALL, &[7; SMALL_LIMIT + 1])).await,
        }
        let rule = if hostile.snappy { "snappy" } else { "message over the channel's receive limit" };
        assert_eq!(hostile.goodbye().await, Some(2));
        drop(hostile);
        victim.dropped(Reason::Breach(rule), By::Us).await;
    }
    victim.finish().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_in_common() {
    let mut victim = Victim::new().await;
    let cases = [
        vec![],
        vec![cap("echo", 2)],
        vec![cap("echo", 0)],
        vec![cap("echo", (1 << 32) + 1)],
        vec![cap("Echo", 1), cap("echo\0", 1), cap("ech", 1)],
        (0..128).map(|n| cap("eth", n)).collect(),
    ];
    for capabilities in cases {
        for version in [4, 5] {
            let ours = Hello { version, capabilities: capabilities.clone(), ..hello() };
            let mut hostile = victim.shaken().await;
            hostile.send(|raw| raw.plain(HELLO, &ours.encode())).await;
            hostile.hear_hello(&ours).await;
            assert_eq!(hostile.goodbye().await, Some(3), "compressed as the version has it");
            victim.refused(HOSTILE, Reason::Useless).await;
        }
    }
    victim.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_key_in_hello_that_was_not_proven() {
    let mut victim = Victim::new().await;
    for key in [public(FRIEND).to_bytes(), public(VICTIM).to_bytes(), [9; 64]] {
        for version in [4, 5] {
            let ours = Hello { key, version, ..hello() };
            let mut hostile = victim.shaken().await;
            hostile.send(|raw| raw.plain(HELLO, &ours.encode())).await;
            hostile.hear_hello(&ours).await;
            assert_eq!(hostile.goodbye().await, Some(9), "compressed as the version has it");
            drop(hostile);
            victim.failed(Reason::WrongIdentity).await;
        }
    }
    victim.finish().await;
}

/// Refused once the key is proven: told in place of hello, plain.
#[tokio::test(start_paused = true)]
async fn identities_that_are_refused() {
    let mut limits = open_limits();
    limits.inbound = 1;
    let mut victim = Victim::with(limits).await;
    let cases = [
        (HOSTILE, Reason::TooManyPeers, 4),
        (FRIEND, Reason::AlreadyConnected, 5),
        (VICTIM, Reason::SelfConnection, 10),
    ];
    for (seed, reason, code) in cases {
        let mut hostile = victim.shaken_as(seed).await;
        assert_eq!(hostile.goodbye().await, Some(code));
        victim.refused(seed, reason).await;
    }
    victim.finish().await;
}

// --- The running session.

const OVER: &str = "message over the channel's receive limit";
/// The largest frame that can hold a message of [`LARGE_LIMIT`] bytes and its code.
const FRAME_LIMIT: usize = 32 + LARGE_LIMIT + LARGE_LIMIT / 6 + 9;

/// A snappy block that says how long it is, and what follows.
fn says(mut len: u64, rest: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while len >= 0x80 {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    [&out, rest].concat()
}

#[tokio::test(start_paused = true)]
async fn breaches_end_one_session_with_a_word() {
    let cases: &[(Make, &str)] = &[
        // Lengths before compression that are lies, or too much.
        (|raw| raw.plain(SMALL, &says((16 << 20) + 1, &[0; 9])), OVER),
        (|raw| raw.plain(LARGE, &says((16 << 20) + 1, &[0; 9])), OVER),
        (|raw| raw.plain(SMALL, &says(u64::from(u32::MAX), &[0; 9])), OVER),
        (|raw| raw.plain(SMALL, &says(SMALL_LIMIT as u64 + 1, &[0; 9])), OVER),
        (|raw| raw.packed(SMALL, &[7; SMALL_LIMIT + 1]), OVER),
        (|raw| raw.packed(LARGE, &[7; LARGE_LIMIT + 1]), OVER),
        (|raw| raw.plain(SMALL, &says(1 << 32, &[0; 9])), "snappy"),
        (|raw| raw.plain(SMALL, &[0xff; 11]), "snappy"),
        (|raw| raw.plain(SMALL, &says(SMALL_LIMIT as u64, &[])), "snappy"),
        (|raw| raw.plain(LARGE, &says(LARGE_LIMIT as u64, &[0; 9])), "snappy"),
        // What is no snappy at all.
        (|raw| raw.plain(SMALL, &[]), "snappy"),
        (|raw| raw.plain(SMALL, &says(4, b"\x0cfour+")), "snappy"),
        (|raw| raw.plain(SMALL, &says(5, b"\x0cfour")), "snappy"),
        (|raw| raw.plain(SMALL, &says(3, b"\x0cfour")), "snappy"),
        (|raw| raw.plain(SMALL, &says(4, &[0x01, 0x09])), "snappy"),
        (|raw| raw.plain(SMALL, &says(64, &[0xfe, 0xff, 0xff])), "snappy"),
        // Frames too large: the header is enough.
        (|raw| raw.header(0xff_ffff, &[0xc2, 0x80, 0x80]), "frame size"),
        (|raw| raw.header(FRAME_LIMIT + 1, &[0xc2, 0x80, 0x80]), "frame size"),
        (|raw| raw.plain(LARGE, &[7; FRAME_LIMIT]), "frame size"),
        // Frames that are not from who proved to be there.
        (|raw| bent(raw.packed(SMALL, b"header"), 0), "frame MAC"),
        (|raw| bent(raw.packed(SMALL, b"header MAC"), 31), "frame MAC"),
        (|raw| bent(raw.packed(SMALL, b"body"), 32), "frame MAC"),
        (|raw| bent(raw.packed(SMALL, b"padding"), 47), "frame MAC"),
        (|raw| bent(raw.packed(SMALL, b"body MAC"), 63), "frame MAC"),
        (|raw| raw.packed(SMALL, b"twice").repeat(2), "frame MAC"),
        (|raw| (raw.packed(SMALL, b"left out"), raw.packed(SMALL, b"kept")).1, "frame MAC"),
        (|_| vec![0; 64], "frame MAC"),
        // Codes of nobody, and what is no code.
        (|raw| raw.packed(LARGE + 1, b"no such channel"), "unknown message code"),
        (|raw| raw.packed(127, b""), "unknown message code"),
        (|raw| raw.packed(128, b""), "unknown message code"),
        (|raw| raw.plain(u64::MAX, b"not even snappy"), "unknown message code"),
        (|raw| raw.frame(&[]), "message code"),
        (|raw| raw.frame(&[0xc0]), "message code"),
        (|raw| raw.frame(&[0]), "message code"),
        (|raw| raw.frame(&[0x81, 0x10]), "message code"),
        (|raw| raw.frame(&[0x82, 0, 0x80]), "message code"),
        (|raw| raw.frame(&[0x89, 1, 0, 0, 0, 0, 0, 0, 0, 0]), "message code"),
        (|raw| raw.frame(&[0xbf, 0xff, 0xff]), "message code"),
        // The base protocol.
        (|raw| raw.packed(HELLO, &hello().encode()), "second hello"),
        (|raw| raw.plain(HELLO, &hello().encode()), "second hello"),
    ];
    let mut victim = Victim::new().await;
    for (at, (make, rule)) in cases.iter().enumerate() {
        let start = Instant::now();
        let mut hostile = victim.session().await;
        hostile.send(make).await;
        assert_eq!(hostile.goodbye().await, Some(2), "case {at}: {rule}");
        drop(hostile);
        victim.dropped(Reason::Breach(rule), By::Us).await;
        took(start, Duration::ZERO);
    }
    victim.finish().await;
}

/// In every form, compressed or not, and what cannot be read; the reason is said back.
#[tokio::test(start_paused = true)]
async fn disconnects_are_understood_however_they_come() {
    let mut victim = Victim::new().await;
    for (payload, reason) in disconnects() {
        for compressed in [true, false] {
            let mut hostile = victim.session().await;
            match compressed {
                true => hostile.send(|raw| raw.packed(DISCONNECT, &payload)).await,
                false => hostile.send(|raw| raw.plain(DISCONNECT, &payload)).await,
            }
            // What follows a goodbye is not read.
            hostile.send(|raw| raw.packed(LARGE + 1, b"and another thing")).await;
            let said = hostile.goodbye().await.unwrap();
            assert_eq!(meaning(said), reason, "{payload:02x?}, compressed: {compressed}");
            drop(hostile);
            victim.dropped(reason.clone(), By::Peer).await;
        }
    }
    let mut hostile = victim.session().await;
    hostile.send(|raw| raw.plain(DISCONNECT, &says(u64::from(u32::MAX), &[0; 9]))).await;
    assert_eq!(hostile.goodbye().await, Some(0xff));
    victim.dropped(Reason::Unknown(0xff), By::Peer).await;
    victim.finish().await;
}

#[tokio::test(start_paused = true)]
async fn silence_ends_at_the_idle_limit() {
    let cases: [Make; 6] = [
        |_| vec![],
        |raw| raw.packed(SMALL, b"half a header")[..20].to_vec(),
        |raw| raw.packed(SMALL, b"a header")[..32].to_vec(),
        |raw| raw.packed(SMALL, b"half a body")[..40].to_vec(),
        |raw| raw.packed(SMALL, b"all but a byte")[..63].to_vec(),
        |raw| raw.header(FRAME_LIMIT, &[0xc2, 0x80, 0x80]),
    ];
    let mut victim = Victim::new().await;
    for make in cases {
        let mut hostile = victim.session().await;
        sleep(Duration::from_secs(3)).await;
        let bytes = make(&mut hostile.raw);
        hostile.write(&bytes).await;
        let left = if bytes.is_empty() { IDLE - Duration::from_secs(3) } else { IDLE };
        let start = Instant::now();
        assert_eq!(hostile.hear().await, Some((PING, vec![0xc0])));
        assert_eq!(hostile.goodbye().await, Some(11));
        drop(hostile);
        victim.dropped(Reason::IdleTimeout, By::Us).await;
        took(start, left);
    }
    victim.finish().await;
}

#[tokio::test(start_paused = true)]
async fn leaving_without_a_word_or_in_mid_frame() {
    let mut victim = Victim::new().await;
    for cut in [0, 1, 31, 32, 33, 63] {
        let mut hostile = victim.session().await;
        hostile.send(|raw| raw.packed(SMALL, b"message")[..cut].to_vec()).await;
        drop(hostile);
        victim.dropped(Reason::RemoteClosed, By::Peer).await;
    }
    victim.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_pings_shares_its_pongs() {
    let mut victim = Victim::new().await;
    let mut hostile = victim.session().await;
    hostile.send(|raw| (0..1000).flat_map(|_| raw.packed(PING, &[0xc0])).collect()).await;
    hostile.send(|raw| raw.packed(SMALL, b"end")).await;
    let mut pongs = 0;
    while let (PONG, payload) = hostile.hear().await.expect("closed") {
        assert_eq!(payload, [0xc0]);
        pongs += 1;
    }
    assert!((1..100).contains(&pongs), "{pongs} pongs for 1,000 pings");
    drop(hostile);
    victim.dropped(Reason::RemoteClosed, By::Peer).await;
    victim.finish().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_merely_odd_goes_on() {
    let cases: &[Make] = &[
        |raw| (4..16).flat_map(|code| raw.packed(code, b"reserved")).collect(),
        |raw| (4..16).flat_map(|code| raw.plain(code, &[0xff; 100])).collect(),
        |raw| (0..100).flat_map(|_| raw.packed(PONG, b"unasked")).collect(),
        |raw| raw.plain(PING, &[0xff; 100]),
        |raw| raw.plain(PING, &[]),
        |raw| [raw.header(1, &[]), raw.body([&[5][..], &[0; 15]].concat())].concat(),
        |raw| [raw.header(1, &[0xff; 13]), raw.body([&[5][..], &[7; 15]].concat())].concat(),
        |raw| raw.plain(4, &[7; FRAME_LIMIT - 1]),
        |raw| raw.packed(SMALL, &[]),
        |raw| raw.packed(LARGE, &[7; LARGE_LIMIT]),
        // As long as compression may make it: all literals of one byte.
        |raw| raw.plain(SMALL, &says(SMALL_LIMIT as u64, &[0, 7].repeat(SMALL_LIMIT))),
    ];
    let mut victim = Victim::new().await;
    let mut hostile = victim.session().await;
    for make in cases {
        hostile.send(make).await;
    }
    // A byte at a time.
    for byte in hostile.raw.packed(SMALL, b"still here?") {
        hostile.write(&[byte]).await;
        sleep(Duration::from_millis(300)).await;
    }
    let mut heard = Vec::new();
    while let Some((code, payload)) = hostile.hear().await {
        match code {
            PING | PONG => {}
            _ => heard.push((code, payload)),
        }
        if heard.last().is_some_and(|(_, payload)| payload == b"still here?") {
            break;
        }
    }
    let echoes = [(SMALL, vec![]), (LARGE, vec![7; LARGE_LIMIT]), (SMALL, vec![7; SMALL_LIMIT])];
    assert_eq!(heard[..3], echoes);
    assert_eq!(heard.len(), 4);
    drop(hostile);
    victim.dropped(Reason::RemoteClosed, By::Peer).await;
    victim.finish().await;
}

/// Frames that came with hello are not lost, nor are they judged by hello's limit.
#[tokio::test(start_paused = true)]
async fn all_at_once() {
    let mut victim = Victim::new().await;
    let mut hostile = victim.shaken().await;
    let message: Vec<u8> = (0..LARGE_LIMIT).map(|n| (n * n / 8) as u8).collect();
    hostile
        .send(|raw| {
            let hello = raw.plain(HELLO, &hello().encode());
            [hello, raw.packed(LARGE, &message), raw.packed(DISCONNECT, &list(&[number(8)]))].concat()
        })
        .await;
    hostile.hear_hello(&hello()).await;
    assert!(matches!(victim.event().await, Event::PeerAdded(_)));
    assert_eq!(hostile.goodbye().await, Some(8));
    victim.dropped(Reason::Quitting, By::Peer).await;
    victim.finish().await;
}

// --- A listener we dial.

/// What a listener may answer to our auth with; it needs no key of its own to do so.
#[tokio::test(start_paused = true)]
async fn acks_that_prove_nothing() {
    let to = public(VICTIM);
    let (key, nonce) = (string(&public(7).to_bytes()), string(&[8; 32]));
    let whole = packet(&to, &list(&[key.clone(), nonce.clone(), number(4)]));
    let (broken, size) = (Reason::Breach("handshake packet"), Reason::Breach("handshake packet size"));
    let cases = [
        (vec![], Reason::HandshakeTimeout),
        (whole[..whole.len() - 1].to_vec(), Reason::HandshakeTimeout),
        (vec![0, 0], size.clone()),
        (vec![0xff, 0xff], size),
        (bent(whole.clone(), 3), broken.clone()),
        (bent(whole.clone(), whole.len() - 1), broken.clone()),
        (packet(&public(HOSTILE), &list(&[key.clone(), nonce.clone(), number(4)])), broken.clone()),
        (packet(&to, &list(&[string(&[9; 64]), nonce.clone(), number(4)])), broken.clone()),
        (packet(&to, &list(&[key.clone(), string(&[8; 31]), number(4)])), broken.clone()),
        (packet(&to, &list(&[key, nonce])), broken),
        // Whole, but from somebody without the key we dialled: what it sends next cannot be sealed rightly.
        ([&whole[..], &[7; 200]].concat(), Reason::Breach("frame MAC")),
        (whole, Reason::HandshakeTimeout),
    ];
    let mut victim = Victim::new().await;
    let ear = victim.listener().await;
    for (answer, reason) in cases {
        victim.dial(HOSTILE, ear.local_addr()).await;
        let mut connection = ear.accept().await.unwrap();
        let start = Instant::now();
        connection.writer.write_all(&answer).await.unwrap();
        let limit = if reason == Reason::HandshakeTimeout { STEP } else { Duration::ZERO };
        victim.dial_failed(reason).await;
        took(start, limit);
    }
    victim.finish().await;
}

#[tokio::test(start_paused = true)]
async fn an_ack_cut_and_closed() {
    let to = public(VICTIM);
    let whole = packet(&to, &list(&[string(&public(7).to_bytes()), string(&[8; 32]), number(4)]));
    let mut victim = Victim::new().await;
    let ear = victim.listener().await;
    for cut in (0..whole.len()).step_by(7).chain([1, 2, 3, whole.len()]) {
        victim.dial(HOSTILE, ear.local_addr()).await;
        let mut connection = ear.accept().await.unwrap();
        connection.writer.write_all(&whole[..cut]).await.unwrap();
        drop(connection);
        victim.dial_failed(Reason::RemoteClosed).await;
    }
    victim.finish().await;
}
