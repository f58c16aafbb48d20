//! Those we dial may mean harm too: each dial ends within its limit, with the right reason and one event, and the node
//! serves its friend on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

mod common;

use bytes::Bytes;
use common::proof::*;
use common::raw::*;
use common::*;
use h2::RecvStream;
use h2::server::{self, SendResponse};
use http::{Request, Response};
use prost::Message;
use rustls::ServerConfig;
use std::sync::Arc;
use std::time::Duration;
use switchboard::net::Connection;
use switchboard::{Event, Reason};
use switchboard_fabric::conn_establish::build;
use switchboard_fabric::grpc::{PING_PATH, trailers};
use switchboard_fabric::message::Content;
use switchboard_fabric::tls;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

/// A member of the organisation who listens, and whom the victim dials.
struct Dialled {
    victim: Victim,
    tls: ServerConfig,
}

impl Dialled {
    async fn new() -> Self {
        let victim = Victim::new().await;
        let tls = tls::configs(&victim.folder, &victim.folder.trust(), false).unwrap();
        Self { victim, tls: (*tls.server).clone() }
    }

    /// Listens at a new address each time: one that failed is not dialled again for a while.
    async fn connection(&self) -> Connection {
        let listener = self.victim.net.listen(([127, 0, 0, 1], 0).into()).await.unwrap();
        let at = format!("fabric://{}", listener.local_addr());
        let _ = self.victim.switch.offer(self.victim.switch.parse(&at).unwrap()).await;
        tokio::time::timeout(PATIENCE, listener.accept()).await.expect("not dialled").unwrap()
    }

    async fn tls_with(
        &self,
        config: ServerConfig,
    ) -> std::io::Result<impl AsyncRead + AsyncWrite + Unpin + use<>> {
        let connection = self.connection().await;
        let io = tokio::io::join(connection.reader, connection.writer);
        tokio_rustls::TlsAcceptor::from(Arc::new(config)).accept(io).await
    }

    async fn tls(&self) -> impl AsyncRead + AsyncWrite + Unpin + use<> {
        self.tls_with(self.tls.clone()).await.unwrap()
    }

    /// The one event of the dial; its detail holds `told`.
    async fn fails(&mut self, expected: Reason, told: &str) {
        match self.victim.event().await {
            Event::DialFailed { reason, detail, .. } => {
                assert_eq!(reason, expected, "{detail}");
                assert!(detail.contains(told), "{told:?} in {detail:?}");
            }
            other => panic!("{other:?}"),
        }
        self.victim.serves().await;
    }

    /// Runs a gRPC server of which `ping` and `stream` answer the calls, until the dial has failed.
    async fn served(&mut self, ping: Answer, stream: Answer, expected: Reason, told: &str) {
        let mut http2 = server::handshake(self.tls().await).await.unwrap();
        let serving = async {
            let mut kept = Vec::new();
            while let Some(Ok((request, respond))) = http2.accept().await {
                let answer = if request.uri().path() == PING_PATH { &ping } else { &stream };
                kept.push((answer.give(respond), request));
            }
            std::future::pending::<Vec<(Kept, Request<RecvStream>)>>().await
        };
        tokio::select! {
            _ = serving => unreachable!(),
            () = self.fails(expected, told) => {}
        }
    }
}

/// What keeps a call open.
type Kept = (Option<h2::SendStream<Bytes>>, SendResponse<Bytes>);

/// How a call is answered: HTTP status, data, then gRPC status; or not at all.
#[derive(Clone)]
enum Answer {
    Silence,
    Reset(u32),
    Say(u16, Bytes, Option<u32>),
}

impl Answer {
    fn give(&self, mut respond: SendResponse<Bytes>) -> Kept {
        let (http, data, status) = match self {
            Self::Silence => return (None, respond),
            Self::Reset(code) => {
                respond.send_reset((*code).into());
                return (None, respond);
            }
            Self::Say(http, data, status) => (*http, data.clone(), *status),
        };
        let response = Response::builder().status(http).header("content-type", "application/grpc").body(());
        let mut send = respond.send_response(response.unwrap(), false).unwrap();
        send.send_data(data, false).unwrap();
        if let Some(status) = status {
            send.send_trailers(trailers(status, "")).unwrap();
        }
        (Some(send), respond)
    }
}

fn pong() -> Answer {
    Answer::Say(200, framed(&[]), Some(0))
}

fn ends(status: u32) -> Answer {
    Answer::Say(200, Bytes::new(), Some(status))
}

#[tokio::test(start_paused = true)]
async fn what_is_no_tls_server_or_says_nothing() {
    let mut dialled = Dialled::new().await;
    for (bytes, reason, seconds) in [
        (&b""[..], Reason::HandshakeTimeout, 5),
        (&[0x16, 3, 3, 0, 99], Reason::HandshakeTimeout, 5),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", Reason::Breach("TLS"), 0),
        (&[0x15, 3, 3, 0, 2, 2, 40], Reason::AccessDenied, 0),
    ] {
        let start = Instant::now();
        let mut connection = dialled.connection().await;
        connection.writer.write_all(bytes).await.unwrap();
        dialled.fails(reason, "").await;
        assert_eq!(start.elapsed().as_secs(), seconds);
    }
    drop(dialled.connection().await);
    dialled.fails(Reason::RemoteClosed, "").await;
    dialled.victim.finish().await;
}

#[tokio::test(start_paused = true)]
async fn servers_with_the_wrong_certificate_and_those_that_refuse_ours() {
    let mut dialled = Dialled::new().await;
    let out = dialled.victim.dir.path().join("other");
    let other = peers(&out, 1).remove(0);
    let config = tls::configs(&other, &other.trust(), false).unwrap();
    let foreign = dialled.tls_with((*config.server).clone()).await;
    assert!(foreign.err().unwrap().to_string().contains("fatal alert"), "we say why");
    dialled.fails(Reason::InvalidIdentity, "certificate").await;
    // Its own certificate is good, ours is not to it: in TLS 1.3 told after our side is done.
    for versions in [&[&rustls::version::TLS13][..], &[&rustls::version::TLS12]] {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(other.tls_roots[0].clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            rustls::server::WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
        let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        let builder = builder.with_client_cert_verifier(verifier.build().unwrap());
        let mut config = builder.with_cert_resolver(dialled.tls.cert_resolver.clone());
        config.alpn_protocols = vec![b"h2".to_vec()];
        assert!(dialled.tls_with(config).await.is_err());
        dialled.fails(Reason::AccessDenied, "fatal alert").await;
    }
    let mut config = dialled.tls.clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    assert!(dialled.tls_with(config).await.is_err());
    dialled.fails(Reason::AccessDenied, "NoApplicationProtocol").await;
    dialled.victim.finish().await;
}

#[tokio::test(start_paused = true)]
async fn servers_that_do_not_speak_http2() {
    let mut dialled = Dialled::new().await;
    let settings = frame(SETTINGS, 0, 0, &[]);
    let away = [settings.clone(), frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 11])].concat();
    for (bytes, reason, seconds) in [
        (Vec::new(), Reason::HandshakeTimeout, 2),
        (settings, Reason::HandshakeTimeout, 2),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), Reason::Breach("HTTP/2"), 0),
        (frame(RST_STREAM, 0, 99, &[0, 0, 0, 8]), Reason::Breach("HTTP/2"), 0),
        (away, Reason::RemoteClosed, 0),
    ] {
        let start = Instant::now();
        let mut tls = dialled.tls().await;
        tls.write_all(&bytes).await.unwrap();
        tls.flush().await.unwrap();
        dialled.fails(reason, "").await;
        assert_eq!(start.elapsed().as_secs(), seconds);
        // The dialler hangs up.
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, tls.read_to_end(&mut rest)).await.expect("still open");
    }
    dialled.victim.finish().await;
}

#[tokio::test(start_paused = true)]
async fn servers_that_answer_calls_as_they_like() {
    let mut dialled = Dialled::new().await;
    let (breach, incompatible) = (Reason::Breach, Reason::Incompatible("no gossip service"));
    let flood = Answer::Say(200, vec![0; 60_000].into(), None);
    for (answer, reason) in [
        (Answer::Silence, Reason::HandshakeTimeout),
        (flood, Reason::HandshakeTimeout),
        (Answer::Reset(7), Reason::RemoteClosed),
        (Answer::Say(404, Bytes::new(), None), breach("gRPC response")),
        (ends(12), breach("gossip Ping")),
    ] {
        dialled.served(answer, pong(), reason, "").await;
    }
    let first = |bytes: &'static [u8]| Answer::Say(200, Bytes::from_static(bytes), None);
    for (answer, reason) in [
        (Answer::Silence, Reason::HandshakeTimeout),
        (first(&[]), Reason::HandshakeTimeout),
        (Answer::Reset(7), Reason::RemoteClosed),
        (Answer::Say(415, Bytes::new(), None), breach("gRPC response")),
        (ends(0), Reason::RemoteClosed),
        (ends(2), Reason::AccessDenied),
        (ends(7), Reason::AccessDenied),
        (ends(16), Reason::AccessDenied),
        (ends(12), incompatible),
        (ends(99), Reason::Unknown(99)),
        (first(&[0, 0xff, 0xff, 0xff, 0xff]), breach("first message")),
        (first(&[1, 0, 0, 0, 0]), breach("first message")),
        (first(&[0, 0, 0, 0, 0]), Reason::InvalidIdentity),
    ] {
        let start = Instant::now();
        dialled.served(pong(), answer, reason, "").await;
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    }
    dialled.victim.finish().await;
}

#[tokio::test(start_paused = true)]
async fn servers_that_prove_nothing() {
    let mut dialled = Dialled::new().await;
    let folder = &dialled.victim.folder;
    let other = peers(&dialled.victim.dir.path().join("other"), 1).remove(0);
    let mut unhashed = conn(folder);
    unhashed.tls_cert_hash = Bytes::new();
    let year = Duration::from_secs(365 * 24 * 3600);
    let expired = issued(&dialled.victim, now() - year * 2, now() - year);
    let cases = [
        (build(&folder.identity, Some([7; 32]), false).unwrap(), "TLS certificate is not"),
        (
            envelope(&folder.identity, Content::Conn(unhashed)).encode_to_vec().into(),
            "TLS certificate is not",
        ),
        (envelope(&other.identity, Content::Conn(conn(folder))).encode_to_vec().into(), "wrong signature"),
        (build(&other.identity, Some(hash(folder)), false).unwrap(), "not of its organisation's CA"),
        (build(&expired, Some(hash(folder)), false).unwrap(), "expired"),
    ];
    for (first, told) in cases {
        let answer = Answer::Say(200, framed(&first), None);
        dialled.served(pong(), answer, Reason::InvalidIdentity, told).await;
    }
    dialled.victim.finish().await;
}

/// Its first message is good, and then we are not wanted: no session begins.
#[tokio::test(start_paused = true)]
async fn a_listener_that_greets_and_refuses_is_told_as_a_refusal() {
    let mut dialled = Dialled::new().await;
    let folder = &dialled.victim.folder;
    let first = build(&folder.identity, Some(hash(folder)), false).unwrap();
    for (status, reason) in [(7, Reason::AccessDenied), (14, Reason::Quitting), (16, Reason::AccessDenied)] {
        let answer = Answer::Say(200, framed(&first), Some(status));
        dialled.served(pong(), answer, reason, "").await;
    }
    dialled.victim.finish().await;
}

/// The refusal may come a moment after the greeting: that is no session either, and the status's sentence is told.
#[tokio::test(start_paused = true)]
async fn a_refusal_soon_after_the_greeting_is_no_session() {
    let mut dialled = Dialled::new().await;
    let folder = &dialled.victim.folder;
    let first = build(&folder.identity, Some(hash(folder)), false).unwrap();
    let mut http2 = server::handshake(dialled.tls().await).await.unwrap();
    let serving = async {
        let mut streams = tokio::task::JoinSet::new();
        while let Some(Ok((request, respond))) = http2.accept().await {
            if request.uri().path() == PING_PATH {
                pong().give(respond);
                continue;
            }
            let answer = Answer::Say(200, framed(&first), None);
            streams.spawn(async move {
                let (send, respond) = answer.give(respond);
                // It verifies what the dialler said, and finds that it has no room.
                tokio::time::sleep(Duration::from_millis(10)).await;
                send.unwrap().send_trailers(trailers(7, "no room: come back later")).unwrap();
                drop((request, respond));
            });
        }
        std::future::pending::<()>().await
    };
    tokio::select! {
        () = serving => unreachable!(),
        () = dialled.fails(Reason::AccessDenied, "status 7: no room: come back later") => {}
    }
    dialled.victim.finish().await;
}
