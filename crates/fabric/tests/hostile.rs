//! Peers that mean harm: each ends its own handshake or session within its limit, with the right reason, one event
//! and the right word to the peer, and the node serves its friend on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

mod common;

use common::raw::*;
use common::*;
use rustls::ClientConnection;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;
use switchboard::{By, Reason};
use switchboard_fabric::conn_establish::build;
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
        let first = build(&victim.folder.identity, hash, false).unwrap();
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
