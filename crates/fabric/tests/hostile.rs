//! Peers that mean harm: each ends its own handshake or session within its limit, with the right reason, one event
//! and the right word to the peer, and the node serves its friend on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

mod common;

use bytes::Bytes;
use common::proof::*;
use common::raw::*;
use common::*;
use prost::Message;
use rustls::ClientConnection;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;
use switchboard::{By, Event, Reason};
use switchboard_fabric::PeerFolder;
use switchboard_fabric::bench::ECHO;
use switchboard_fabric::conn_establish::build;
use switchboard_fabric::grpc::{PING_PATH, STREAM_PATH};
use switchboard_fabric::identity::pki_id;
use switchboard_fabric::keygen::keygen;
use switchboard_fabric::message::{
    Acknowledgement, ConnEstablish, Content, Empty, Envelope, PeerIdentity, SecretEnvelope, decode_envelope,
    decode_message,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

const TLS: Reason = Reason::Breach("TLS");

// TLS.

/// The first flight of an honest client.
fn client_hello(victim: &Victim) -> Vec<u8> {
    let config = Arc::new(client_tls(&victim.folder));
    let mut client = ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
    let mut out = Vec::new();
    client.write_tls(&mut out).unwrap();
    out
}

#[tokio::test(start_paused = true)]
async fn what_is_no_client_hello_gets_an_alert() {
    let mut victim = Victim::new().await;
    let mut bent = client_hello(&victim);
    bent[20..40].fill(0xff);
    let cases: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n",
        &[0; 600],
        &[0xff; 600],
        &[0x16, 3, 1, 0xff, 0xff, 1],
        &[0x17, 3, 3, 0, 1, 0],
        PREFACE,
    ];
    for bytes in cases {
        let mut hostile = victim.connect().await;
        hostile.writer.write_all(bytes).await.unwrap();
        victim.fails(TLS, "").await;
        let mut heard = Vec::new();
        hostile.reader.read_to_end(&mut heard).await.unwrap();
        assert_eq!((heard[0], heard.len()), (0x15, 7), "an alert: {heard:x?}");
    }
    victim.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_hello_cut_anywhere_ends_with_its_connection() {
    let mut victim = Victim::new().await;
    let hello = client_hello(&victim);
    for cut in (0..hello.len()).step_by(13) {
        let mut hostile = victim.connect().await;
        hostile.writer.write_all(&hello[..cut]).await.unwrap();
        drop(hostile);
        victim.fails(Reason::RemoteClosed, "").await;
    }
    victim.finish().await;
}

#[tokio::test(start_paused = true)]
async fn silence_and_slow_drip_in_tls_end_after_five_seconds() {
    let mut victim = Victim::new().await;
    let hello = client_hello(&victim);
    for (first, drip) in [(0, 0), (1, 0), (hello.len() - 1, 0), (0, 1), (hello.len() - 4, 1)] {
        let mut hostile = victim.connect().await;
        let start = Instant::now();
        hostile.writer.write_all(&hello[..first]).await.unwrap();
        let dripping = async {
            for byte in hello[first..].chunks(1).take(drip * 99) {
                tokio::time::sleep(Duration::from_secs(2)).await;
                let _ = hostile.writer.write_all(byte).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = victim.fails(Reason::HandshakeTimeout, "secure") => {}
            () = dripping => unreachable!(),
        }
        assert_eq!(start.elapsed().as_secs(), 5);
    }
    victim.finish().await;
}

/// A TLS certificate proves a key; who has it is said in the ConnEstablish. So any will do, but one there must be.
#[tokio::test(start_paused = true)]
async fn any_client_certificate_will_do_but_none_is_refused_with_a_status() {
    let mut victim = Victim::new().await;
    for expired in [false, true] {
        let (config, hash) = with_foreign_certificate(&victim, expired);
        let mut call = Grpc::over(victim.tls_with(config).await.unwrap()).await.stream().await;
        let first = build(&victim.folder.identity, Some(hash), false).unwrap();
        call.say(&first);
        victim.added().await;
        call.hear().await.expect("a ConnEstablish");
        call.lives().await;
        drop(call);
        victim.ends(Reason::RemoteClosed, By::Peer, "").await;
    }
    let tls = victim.tls_with(without_certificate(&victim)).await.unwrap();
    let mut call = Grpc::over(tls).await.stream().await;
    call.say(&establish(&victim.folder));
    assert_eq!(call.hear().await, None, "nothing is said to whom shows nothing");
    assert_eq!(call.status().await, Some(16));
    victim.fails(Reason::InvalidIdentity, "no TLS certificate").await;
    victim.finish().await;
}

#[tokio::test(start_paused = true)]
async fn with_verify_clients_the_certificate_must_lead_to_a_root() {
    let mut victim = Victim::with(true).await;
    let cases = [
        (with_foreign_certificate(&victim, false).0, "fatal alert"),
        (with_foreign_certificate(&victim, true).0, "fatal alert"),
        (without_certificate(&victim), "CertificateRequired"),
    ];
    for (config, alert) in cases {
        // In TLS 1.3 the client is done before it is judged.
        let mut tls = victim.tls_with(config).await.unwrap();
        let refused = tls.read_u8().await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidData);
        assert!(refused.to_string().contains(alert), "{refused}");
        victim.fails(Reason::InvalidIdentity, "").await;
    }
    victim.finish().await;
}

#[tokio::test(start_paused = true)]
async fn other_protocols_are_refused_and_none_is_taken_as_h2() {
    let mut victim = Victim::new().await;
    let mut config = client_tls(&victim.folder);
    config.alpn_protocols = vec![b"http/1.1".to_vec(), b"h3".to_vec()];
    let refused = victim.tls_with(config.clone()).await.err().unwrap();
    assert!(refused.to_string().contains("NoApplicationProtocol"), "{refused}");
    victim.fails(TLS, "").await;
    config.alpn_protocols.clear();
    let mut call = Grpc::over(victim.tls_with(config).await.unwrap()).await.stream().await;
    call.say(&establish(&victim.folder));
    victim.added().await;
    call.hear().await.expect("a ConnEstablish");
    call.lives().await;
    drop(call);
    victim.ends(Reason::RemoteClosed, By::Peer, "").await;
    victim.finish().await;
}

#[tokio::test(start_paused = true)]
async fn after_tls_each_step_has_its_time() {
    let mut victim = Victim::new().await;
    let settings = frame(SETTINGS, 0, 0, &[]);
    let cases: [(Vec<u8>, u64); 4] = [
        (Vec::new(), 5),
        (PREFACE[..23].to_vec(), 5),
        (PREFACE.to_vec(), 10),
        ([PREFACE, &settings, &frame(SETTINGS, ACK, 0, &[])].concat(), 10),
    ];
    for (bytes, seconds) in cases {
        let mut tls = victim.tls().await;
        let start = Instant::now();
        tls.write_all(&bytes).await.unwrap();
        tls.flush().await.unwrap();
        victim.fails(Reason::HandshakeTimeout, "secure").await;
        assert_eq!(start.elapsed().as_secs(), seconds, "{} bytes", bytes.len());
        // It is closed, with what h2 says or without.
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, tls.read_to_end(&mut rest)).await.expect("still open");
    }
    // Not HTTP/2, and not TLS any more.
    let mut tls = victim.tls().await;
    tls.write_all(b"GET /gossip HTTP/1.1\r\n\r\n").await.unwrap();
    tls.flush().await.unwrap();
    victim.fails(Reason::Breach("HTTP/2"), "").await;
    for opening in [&[][..], PREFACE] {
        let mut tls = victim.tls().await;
        tls.write_all(opening).await.unwrap();
        tls.flush().await.unwrap();
        settle().await;
        let io = &mut tls.get_mut().0;
        io.write_all(&[0x17, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0])
            .await
            .unwrap();
        victim.fails(TLS, "").await;
    }
    victim.finish().await;
}

// HTTP/2 and gRPC.

#[tokio::test(start_paused = true)]
async fn calls_that_are_not_ours_are_answered_and_the_connection_lives() {
    let mut victim = Victim::new().await;
    let mut grpc = victim.grpc().await;
    for path in
        ["/gossip.Gossip/Nothing", "/protos.Endorser/ProcessProposal", "/", "/gossip.Gossip/GossipStream/"]
    {
        assert_eq!(grpc.call(post(path)).await, (200, Some(12)), "{path}");
    }
    for path in [STREAM_PATH, PING_PATH, "/"] {
        let mut request = post(path);
        request.headers_mut().remove("content-type");
        assert_eq!(grpc.call(request).await, (415, None));
        let mut request = post(path);
        request.headers_mut().insert("content-type", "text/html".parse().unwrap());
        assert_eq!(grpc.call(request).await, (415, None));
    }
    let mut request = post(PING_PATH);
    request.headers_mut().insert("content-type", "application/grpc+proto".parse().unwrap());
    assert_eq!(grpc.call(request).await, (200, Some(0)));
    victim.echoes().await;
    let mut call = grpc.stream().await;
    call.say(&establish(&victim.folder));
    victim.added().await;
    call.hear().await.expect("a ConnEstablish");
    call.lives().await;
    // Nor does it harm a session.
    assert_eq!(call.grpc.call(post("/nothing")).await, (200, Some(12)));
    call.lives().await;
    drop(call);
    victim.ends(Reason::RemoteClosed, By::Peer, "").await;
    victim.finish().await;
}

#[tokio::test(start_paused = true)]
async fn an_opened_stream_has_two_seconds_for_its_first_message() {
    let mut victim = Victim::new().await;
    let first = framed(&establish(&victim.folder));
    for drip in [false, true] {
        let mut call = victim.grpc().await.stream().await;
        let start = Instant::now();
        let dripping = async {
            for byte in first.chunks(1).filter(|_| drip) {
                call.send_raw(byte);
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = victim.fails(Reason::HandshakeTimeout, "secure") => {}
            () = dripping => unreachable!(),
        }
        assert_eq!(start.elapsed().as_secs(), 2);
        assert_eq!(call.status().await, Some(16));
    }
    victim.finish().await;
}

/// Of many streams one is the GossipStream; calls run beside it.
#[tokio::test(start_paused = true)]
async fn many_streams_at_once_leave_one() {
    let mut victim = Victim::new().await;
    let mut raw = Raw::connect(&victim).await;
    let opened: Vec<u8> =
        (0..100).flat_map(|n| frame(HEADERS, END_HEADERS, 2 * n + 1, &head(STREAM_PATH))).collect();
    raw.send(&opened).await;
    let mut refused = Vec::new();
    while refused.len() < 99 {
        let reset = raw.await_kind(RST_STREAM).await.unwrap();
        assert_eq!(reset.payload, [0, 0, 0, 7], "REFUSED_STREAM");
        refused.push(reset.stream);
    }
    refused.sort_unstable();
    assert!(refused.iter().copied().eq((1..100).map(|n| 2 * n + 1)));
    raw.send(&frame(DATA, 0, 1, &framed(&establish(&victim.folder)))).await;
    victim.added().await;
    raw.lives().await;
    drop(raw);
    victim.ends(Reason::RemoteClosed, By::Peer, "").await;

    // Pings that never end leave their places to others after a while.
    let mut raw = Raw::session(&mut victim).await;
    let pings: Vec<u8> =
        (1..18).flat_map(|n| frame(HEADERS, END_HEADERS, 2 * n + 1, &head(PING_PATH))).collect();
    raw.send(&pings).await;
    assert_eq!(raw.reset().await, Some(7), "one over the limit of 16, with the session's");
    tokio::time::sleep(Duration::from_secs(3)).await;
    raw.send(&frame(HEADERS, END_HEADERS | END_STREAM, 101, &head(PING_PATH))).await;
    while raw.await_kind(HEADERS).await.unwrap().stream != 101 {}
    raw.lives().await;
    drop(raw);
    victim.ends(Reason::RemoteClosed, By::Peer, "").await;
    victim.finish().await;
}

/// A header block in frames of 16 KiB.
fn long_head(stream: u32, bytes: usize) -> Vec<u8> {
    let mut block = head(STREAM_PATH);
    while block.len() < bytes {
        field(&mut block, "x-filler", &"f".repeat(2000));
    }
    let frames = block.chunks(16_384);
    let last = frames.len() - 1;
    let kind = |n| if n == 0 { HEADERS } else { CONTINUATION };
    let flags = |n| if n == last { END_HEADERS } else { 0 };
    frames.enumerate().flat_map(|(n, part)| frame(kind(n), flags(n), stream, part)).collect()
}

#[tokio::test(start_paused = true)]
async fn headers_over_the_limit_are_refused_and_far_over_end_the_connection() {
    let mut victim = Victim::new().await;
    let mut grpc = victim.grpc().await;
    let mut request = post(PING_PATH);
    request.headers_mut().insert("x-filler", "f".repeat(20_000).parse().unwrap());
    assert_eq!(grpc.call(request).await, (431, None));
    let mut call = grpc.stream().await;
    call.say(&establish(&victim.folder));
    victim.added().await;
    drop(call);
    victim.ends(Reason::RemoteClosed, By::Peer, "").await;
    for bytes in [1 << 17, 1 << 20] {
        let mut raw = Raw::connect(&victim).await;
        raw.send(&long_head(1, bytes)).await;
        assert_eq!(raw.goaway().await, Some(COMPRESSION_ERROR));
        victim.fails(Reason::Breach("HTTP/2"), "error detected").await;
    }
    victim.finish().await;
}

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;
const CALM: u32 = 11;

/// What ends a connection, and the code it is told.
fn breaches() -> Vec<(&'static str, Vec<u8>, u32)> {
    let rapid =
        |n| [frame(HEADERS, END_HEADERS, n, &head(PING_PATH)), frame(RST_STREAM, 0, n, &[0, 0, 0, 8])];
    let more = frame(CONTINUATION, 0, 3, &[0, 1, b'x', 1, b'y']);
    vec![
        ("rapid reset", (1..500).flat_map(|n| rapid(2 * n + 1).concat()).collect(), CALM),
        ("reset of an idle stream", frame(RST_STREAM, 0, 99, &[0, 0, 0, 8]), PROTOCOL_ERROR),
        ("empty data", frame(DATA, 0, 1, &[]).repeat(200), CALM),
        ("headers of 1 MiB", long_head(3, 1 << 20), COMPRESSION_ERROR),
        ("continuations without end", [frame(HEADERS, 0, 3, &[0x83]), more.repeat(10_000)].concat(), CALM),
        ("a continuation of nothing", frame(CONTINUATION, 0, 1, &[0x83]), PROTOCOL_ERROR),
        (
            "another frame within a header block",
            [frame(HEADERS, 0, 3, &[0x83]), frame(DATA, 0, 1, &[])].concat(),
            PROTOCOL_ERROR,
        ),
        ("a header block that is no HPACK", frame(HEADERS, END_HEADERS, 3, &[0xff; 20]), PROTOCOL_ERROR),
        ("a frame over 16 KiB", frame(DATA, 0, 1, &[0; 16_385]), FRAME_SIZE_ERROR),
        ("data of stream 0", frame(DATA, 0, 0, b"x"), PROTOCOL_ERROR),
        ("data of an idle stream", frame(DATA, 0, 99, b"x"), PROTOCOL_ERROR),
        ("a stream of ours", frame(HEADERS, END_HEADERS, 2, &head(PING_PATH)), PROTOCOL_ERROR),
        ("a push", frame(5, END_HEADERS, 1, &[0, 0, 0, 2, 0x83]), PROTOCOL_ERROR),
        ("settings acknowledged twice", frame(SETTINGS, ACK, 0, &[]), PROTOCOL_ERROR),
        ("a window over 2^31", frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]), FLOW_CONTROL_ERROR),
        ("a ping of 7 bytes", frame(PING, 0, 0, &[0; 7]), PROTOCOL_ERROR),
        ("a preface again", PREFACE.to_vec(), FRAME_SIZE_ERROR),
    ]
}

#[tokio::test(start_paused = true)]
async fn breaches_of_http2_end_the_connection_with_their_code() {
    let mut victim = Victim::new().await;
    for (what, bytes, code) in breaches() {
        let mut raw = Raw::session(&mut victim).await;
        raw.send(&bytes).await;
        assert_eq!(raw.goaway().await, Some(code), "{what}");
        victim.ends(Reason::Breach("HTTP/2"), By::Us, "error detected").await;
        // In the handshake too.
        let mut raw = Raw::connect(&victim).await;
        raw.send(&frame(HEADERS, END_HEADERS, 1, &head(STREAM_PATH))).await;
        raw.send(&bytes).await;
        assert_eq!(raw.goaway().await, Some(code), "{what}");
        victim.fails(Reason::Breach("HTTP/2"), "error detected").await;
    }
    victim.finish().await;
}

#[tokio::test(start_paused = true)]
async fn floods_that_are_read_do_no_harm_and_unread_ones_end_at_the_keepalive() {
    let mut victim = Victim::new().await;
    let unknown = [frame(0x42, 0, 0, b"what?"), frame(2, 0, 1, &[0, 0, 0, 0, 9])].concat();
    for flood in [frame(PING, 0, 0, b"12345678"), frame(SETTINGS, 0, 0, &[]), unknown] {
        let mut raw = Raw::session(&mut victim).await;
        for _ in 0..100 {
            raw.send(&flood.repeat(20)).await;
        }
        raw.lives().await;
        drop(raw);
        victim.ends(Reason::RemoteClosed, By::Peer, "").await;
    }
    let mut raw = Raw::session(&mut victim).await;
    let start = Instant::now();
    // Fewer than what is cut off as a flood.
    let flood = frame(PING, 0, 0, b"12345678").repeat(200);
    let flooding = async {
        loop {
            raw.send(&flood).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::select! {
        () = victim.ends(Reason::PongTimeout, By::Us, "ping") => {}
        () = flooding => unreachable!(),
    }
    assert!((80..83).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    victim.finish().await;
}

/// A peer that reads its echoes never, and sends whatever its window says.
#[tokio::test(start_paused = true)]
async fn data_beyond_the_window_is_cut_off() {
    let mut victim = Victim::new().await;
    let mut raw = Raw::session(&mut victim).await;
    let request = framed(&block(ECHO, 0, vec![7; 16_000]));
    // Its echoes stop at its window, the inbox takes 8 MiB, HTTP/2 the next 4.
    for _ in 0..1000 {
        raw.send(&frame(DATA, 0, 1, &request)).await;
        assert!(victim.switch.bytes_held() < 10 << 20, "{} bytes held", victim.switch.bytes_held());
    }
    assert_eq!(raw.reset().await, Some(FLOW_CONTROL_ERROR));
    victim.ends(Reason::Breach("HTTP/2"), By::Us, "flow-control protocol violated").await;
    victim.finish().await;
}

#[tokio::test(start_paused = true)]
async fn grpc_messages_are_judged_by_their_prefix() {
    let mut victim = Victim::new().await;
    let limit = "message over the channel's receive limit";
    for (bytes, rule) in [
        (&[0, 0xff, 0xff, 0xff, 0xff, 1][..], limit),
        (&[0, 0x06, 0x40, 0, 1], limit),
        (&[1, 0, 0, 0, 2, 10, 0], "gRPC compression"),
        (&[0xff; 5], "gRPC compression"),
    ] {
        let mut call = victim.session().await;
        call.send_raw(bytes);
        victim.ends(Reason::Breach(rule), By::Us, "").await;
        assert_eq!(call.status().await, Some(2));
    }
    for prefix in [[0, 0, 2, 0, 1], [0, 0xff, 0xff, 0xff, 0xff], [1, 0, 0, 0, 9]] {
        let mut call = victim.grpc().await.stream().await;
        call.send_raw(&prefix);
        victim.fails(Reason::Breach("first message"), "").await;
        assert_eq!(call.status().await, Some(16));
    }
    // A message that stops half-way, with its stream.
    for bytes in [&[0][..], &[0, 0, 0, 0], &[0, 0, 0, 0, 9], &[0, 0, 0, 0, 9, 1]] {
        let mut call = victim.session().await;
        let _ = call.send.send_data(bytes.to_vec().into(), true);
        victim.ends(Reason::RemoteClosed, By::Peer, "").await;
        assert_eq!(call.status().await, Some(0));
        let mut call = victim.grpc().await.stream().await;
        let _ = call.send.send_data(bytes.to_vec().into(), true);
        victim.fails(Reason::RemoteClosed, "").await;
        assert_eq!(call.status().await, Some(16));
    }
    victim.finish().await;
}

/// Neither does it count as the answer, nor is the ping given up for it.
#[tokio::test(start_paused = true)]
async fn streams_opened_while_a_ping_is_out_change_nothing() {
    let mut victim = Victim::new().await;
    let mut raw = Raw::session(&mut victim).await;
    let start = Instant::now();
    let call = |n| frame(HEADERS, END_HEADERS | END_STREAM, n, &head(PING_PATH));
    let ping = raw.await_kind(PING).await.unwrap();
    raw.send(&call(3)).await;
    raw.await_kind(HEADERS).await.unwrap();
    raw.send(&frame(PING, ACK, 0, &ping.payload)).await;
    raw.lives().await;
    raw.await_kind(PING).await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 120);
    for n in 2..6 {
        raw.send(&call(2 * n + 1)).await;
        tokio::time::sleep(Duration::from_secs(6)).await;
    }
    victim.ends(Reason::PongTimeout, By::Us, "ping").await;
    raw.closed().await;
    victim.finish().await;
}

// ConnEstablish.

/// A first message is refused: identities unproven, status 16 and one event.
async fn refused(victim: &mut Victim, first: &[u8], told: &str) {
    let mut call = victim.grpc().await.stream().await;
    call.say(first);
    victim.fails(Reason::InvalidIdentity, told).await;
    assert_eq!(call.status().await, Some(16), "{told}");
}

#[tokio::test(start_paused = true)]
async fn every_truncation_of_the_first_message_is_refused() {
    let mut victim = Victim::new().await;
    let first = establish(&victim.folder);
    for cut in 0..first.len() {
        refused(&mut victim, &first[..cut], "").await;
    }
    let mut call = victim.session().await;
    call.lives().await;
    victim.finish().await;
}

#[tokio::test(start_paused = true)]
async fn absent_and_false_statements_are_refused() {
    let mut victim = Victim::new().await;
    let (own, theirs) = (conn(&victim.folder), victim.switch.local_id("fabric").unwrap());
    let none = Bytes::new();
    let foreign = peers(&victim.dir.path().join("other"), 1).remove(0);
    let cases = [
        (ConnEstablish::default(), "no PKI-ID"),
        (ConnEstablish { pki_id: none.clone(), ..own.clone() }, "no PKI-ID"),
        (ConnEstablish { pki_id: vec![7; 32].into(), ..own.clone() }, "PKI-ID is not that"),
        (ConnEstablish { pki_id: own.pki_id.slice(..31), ..own.clone() }, "PKI-ID is not that"),
        (ConnEstablish { pki_id: theirs.as_bytes().to_vec().into(), ..own.clone() }, "PKI-ID is not that"),
        (ConnEstablish { identity: none.clone(), ..own.clone() }, "malformed identity"),
        (ConnEstablish { identity: own.identity.slice(..99), ..own.clone() }, "malformed identity"),
        (ConnEstablish { identity: vec![0; 70_000].into(), ..own.clone() }, "over 64 KiB"),
        (ConnEstablish { tls_cert_hash: none.clone(), ..own.clone() }, "TLS certificate is not"),
        (ConnEstablish { tls_cert_hash: vec![7; 32].into(), ..own.clone() }, "TLS certificate is not"),
        (
            ConnEstablish { tls_cert_hash: hash(&foreign).to_vec().into(), ..own.clone() },
            "TLS certificate is not",
        ),
    ];
    for (conn, told) in cases {
        let first = envelope(&victim.folder.identity, Content::Conn(conn));
        refused(&mut victim, &first.encode_to_vec(), told).await;
    }
    // What the victim itself said, on another connection. It says it to those only whom it takes.
    let mut call = victim.grpc().await.stream().await;
    call.say(&establish(&victim.folder));
    let said = call.hear().await.unwrap();
    victim.added().await;
    drop(call);
    assert!(matches!(victim.event().await, Event::PeerDropped { .. }));
    let mut call = victim.grpc().await.stream().await;
    call.say(&said);
    victim.fails(Reason::InvalidIdentity, "TLS certificate is not").await;

    let good = envelope(&victim.folder.identity, Content::Conn(own.clone()));
    let secret = |signature: Bytes| Some(SecretEnvelope { payload: good.payload.clone(), signature });
    let mut bent = good.signature.to_vec();
    bent[40] ^= 1;
    let signatures = [
        (Envelope { signature: none.clone(), ..good.clone() }, "no signature"),
        (Envelope { payload: none.clone(), ..good.clone() }, "another content"),
        (Envelope { signature: bent.into(), ..good.clone() }, "wrong signature"),
        (Envelope { signature: vec![0; 71].into(), ..good.clone() }, "wrong signature"),
        (Envelope { signature: high_s(&victim, &good), ..good.clone() }, "high s"),
        (envelope(&foreign.identity, Content::Conn(own)), "wrong signature"),
        (
            Envelope { secret_envelope: secret(none.clone()), ..good.clone() },
            "no signature in its secret part",
        ),
        (Envelope { secret_envelope: secret(vec![0; 71].into()), ..good.clone() }, "the secret part"),
    ];
    for (first, told) in signatures {
        refused(&mut victim, &first.encode_to_vec(), told).await;
    }
    victim.finish().await;
}

#[tokio::test(start_paused = true)]
async fn identities_that_are_not_of_the_organisation_now_are_refused() {
    let mut victim = Victim::new().await;
    let year = Duration::from_secs(365 * 24 * 3600);
    let other_ca = peers(&victim.dir.path().join("other"), 1).remove(0).identity;
    let made = keygen(&victim.dir.path().join("org2"), "Org2MSP", 1, now()).unwrap();
    let other_org = PeerFolder::load(&made[0], "Org2MSP").unwrap().identity;
    let cases = [
        (other_ca, "not of its organisation's CA"),
        (other_org, "not trusted"),
        (issued(&victim, now() - year * 2, now() - year), "expired"),
    ];
    for (identity, told) in cases {
        let first = build(&identity, Some(hash(&victim.folder)), false).unwrap();
        refused(&mut victim, &first, told).await;
    }
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap();
    let serialized = serialized(&certificate(&victim, &key, now() - year, now() + year));
    let pki_id = Bytes::copy_from_slice(&pki_id(ORG, &serialized.id_bytes));
    let conn = ConnEstablish { pki_id, identity: serialized.encode_to_vec().into(), ..conn(&victim.folder) };
    let first = envelope(&victim.folder.identity, Content::Conn(conn));
    refused(&mut victim, &first.encode_to_vec(), "neither P-256 nor P-384").await;
    // A well dated one of the same making is welcome, and, as in Fabric, one that begins later.
    for from in [now(), now() + year] {
        let identity = issued(&victim, from, now() + year * 2);
        let mut call = victim.grpc().await.stream().await;
        call.say(&build(&identity, Some(hash(&victim.folder)), false).unwrap());
        assert!(matches!(victim.event().await, Event::PeerAdded(_)));
        call.hear().await.expect("a ConnEstablish");
        call.lives().await;
        drop(call);
        victim.ends(Reason::RemoteClosed, By::Peer, "").await;
    }
    victim.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_first_message_of_another_kind_is_refused_and_a_second_statement_is_passed_over() {
    let mut victim = Victim::new().await;
    let by = &victim.folder.identity;
    let others = [
        block(ECHO, 0, b"echo?".to_vec()),
        envelope(by, Content::Empty(Empty {})).encode_to_vec(),
        envelope(by, Content::Ack(Acknowledgement { error: String::new() })).encode_to_vec(),
        envelope(by, Content::PeerIdentity(PeerIdentity::default())).encode_to_vec(),
        Envelope { payload: Bytes::from_static(&[0x18, 1]), ..Envelope::default() }.encode_to_vec(),
    ];
    for first in others {
        refused(&mut victim, &first, "another content").await;
    }
    for garbage in
        [vec![0xff; 50], Envelope { payload: vec![0xff; 50].into(), ..Envelope::default() }.encode_to_vec()]
    {
        refused(&mut victim, &garbage, "not a").await;
    }
    let other = conn(&peers(&victim.dir.path().join("other"), 1)[0]);
    let other = envelope(&victim.folder.identity, Content::Conn(other)).encode_to_vec();
    let mut call = victim.session().await;
    call.say(&establish(&victim.folder));
    call.say(&other);
    call.lives().await;
    // The newer stream of one identity takes the place of the older one, as in Fabric.
    let mut twin = victim.grpc().await.stream().await;
    twin.say(&establish(&victim.folder));
    match victim.event().await {
        Event::PeerDropped { end, .. } => {
            assert_eq!((end.reason, end.by), (Reason::AlreadyConnected, By::Us))
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(victim.event().await, Event::PeerAdded(_)));
    drop(call);
    twin.hear().await.expect("a ConnEstablish");
    twin.lives().await;
    drop(twin);
    victim.ends(Reason::RemoteClosed, By::Peer, "").await;
    victim.finish().await;
}

// The running session.

#[tokio::test(start_paused = true)]
async fn what_is_no_gossip_or_too_much_ends_the_session() {
    let mut victim = Victim::new().await;
    let limit = "message over the channel's receive limit";
    let with =
        |payload: &[u8]| Envelope { payload: payload.to_vec().into(), ..Envelope::default() }.encode_to_vec();
    let cases = [
        (vec![0xff; 50], "undecodable envelope"),
        (vec![0x0a, 9, 1], "undecodable envelope"),
        (vec![0x0b], "undecodable envelope"),
        (with(&[0xff; 50]), "undecodable envelope"),
        (with(&[0x42, 9, 1]), "undecodable envelope"),
        (with(&[0x40, 9]), "undecodable envelope"),
        (with(&[8; 11]), "undecodable envelope"),
        (with(&[0, 0]), "undecodable envelope"),
        (block(b"cast", 0, vec![7; LANE_LIMIT + 1]), limit),
    ];
    for (envelope, rule) in cases {
        let mut call = victim.session().await;
        call.say(&envelope);
        victim.ends(Reason::Breach(rule), By::Us, "").await;
        assert_eq!(call.status().await, Some(2));
    }
    victim.finish().await;
}

#[tokio::test(start_paused = true)]
async fn what_nobody_wants_is_passed_over_or_acknowledged() {
    let mut victim = Victim::new().await;
    let mut call = victim.session().await;
    let with =
        |payload: &[u8]| Envelope { payload: payload.to_vec().into(), ..Envelope::default() }.encode_to_vec();
    call.say(&[]);
    call.say(&with(&[]));
    // A content of the future, fields of the future, and no content.
    call.say(&with(&[0xd2, 1, 2, 1, 2]));
    call.say(&with(&[0xf8, 7, 1, 0xf1, 7, 1, 2, 3, 4, 5, 6, 7, 8]));
    call.say(&with(&[8, 1, 18, 1, b'x', 24, 99]));
    // Every content, with nothing or nonsense in it.
    for content in 5..=25_u32 {
        let key = [(content << 3 | 2) as u8 | 0x80, (content >> 4) as u8];
        call.say(&with(&[&key[..], &[0]].concat()));
        call.say(&with(&[&key[..], &[3, 0xff, 0xff, 0xff]].concat()));
    }
    call.say(&block(b"cast", 0, vec![7; LANE_LIMIT]));
    call.say(&block(b"nowhere", 0, b"x".to_vec()));
    call.say(&block(b"nowhere", 9, b"x".to_vec()));
    let ack = decode_message(decode_envelope(call.hear().await.unwrap()).unwrap().payload).unwrap();
    assert_eq!((ack.nonce, ack.content), (9, Some(Content::Ack(Acknowledgement::default()))));
    call.lives().await;
    drop(call);
    victim.ends(Reason::RemoteClosed, By::Peer, "").await;
    victim.finish().await;
}
