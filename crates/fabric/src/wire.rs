//! The wire: from a connection to a session.
//!
//! ```text
//!   dialler                                           listener
//!     │ ═══ TLS 1.2/1.3, a certificate on both sides, ALPN h2 ═══ │   5 s
//!     │ ── unary Ping ───────────────────▶ ◀──────── Empty ────── │   2 s
//!     │ ── GossipStream: ConnEstablish ──▶ ◀── ConnEstablish ──── │   2 s, both at once
//!     │     identity valid, TLS hash, signature; the Switch's gate │
//!     │ ◀──────────────────── envelopes ────────────────────────▶ │
//! ```
//! (fabric gossip/comm/comm_impl.go)
//!
//! Limits: first messages of at most 128 KiB, [`MAX_STREAMS`] streams a connection, of which one is a GossipStream; headers of
//! at most 16 KiB. A probe is authenticated, answered and ended with OK; it becomes no session and is told as
//! what it is. It keeps its place among the handshakes for up to [`PROBE_LINGER`], so that the prober can
//! measure round trips. A dialled peer that proves another PKI-ID than the one asked for is refused, also one of the
//! same organisation, which Go peers would go on with: whoever dials by PKI-ID means that peer. A peer we refuse is told by status:
//! 16 when it proved nothing, 7 when the Switch does not want it, 2 when it breaks a rule in its session.
//!
//! Not protected from: a ConnEstablish names a TLS certificate, not a TLS session, so whoever holds a peer's TLS key can
//! present its recorded ConnEstablish; a trusted peer sees who else is connected to whom by probing.

use crate::cast::ChannelName;
use crate::conn_establish::{Established, MAX_FIRST, build, certificate_hash, verify};
use crate::grpc::{
    self, CONTENT_TYPE, PING_PATH, STATUS_OK, STATUS_PERMISSION_DENIED, STATUS_UNAUTHENTICATED,
    STATUS_UNIMPLEMENTED, STATUS_UNKNOWN, STREAM_PATH,
};
use crate::h2io::{
    CONNECTION_WINDOW, DRIVER_LINGER, DriverGuard, STREAM_WINDOW, StreamReader, StreamWriter, Verdict, drive,
    io_of, is_alert, released, rule_broken,
};
use crate::identity::TrustBundle;
use crate::msp::PeerFolder;
use crate::session::{EnvelopeDecoder, EnvelopeEncoder};
use crate::tls::{TlsConfigs, TlsMaterial, configs};
use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use h2::server::SendResponse;
use http::{Method, Request, Response};
use rustls::pki_types::ServerName;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use switchboard::net::Connection;
use switchboard::text::printable;
use switchboard::wire::{
    AddressError, Fault, HandshakeError, Liveness, Offer, RemoteInfo, Session, SessionChannel, Sniff, Stage,
    Upgrade, Wire,
};
use switchboard::{BoxFuture, Candidate, Direction, Env, PeerId, Reason, WireName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};

/// The wire's name.
pub const FABRIC: WireName = "fabric";
/// Streams a peer may have open on one connection.
pub const MAX_STREAMS: u32 = 16;
/// Largest header list.
const MAX_HEADERS: u32 = 16 * 1024;
/// Time for TLS (fabric internal/pkg/comm/config.go, ConnectionTimeout).
const TLS_WITHIN: Duration = Duration::from_secs(5);
/// Time for a Ping and for the first message (fabric gossip.connTimeout).
const CONN_WITHIN: Duration = Duration::from_secs(2);
/// Time from TLS to the GossipStream on a connection we accepted.
const STREAM_WITHIN: Duration = Duration::from_secs(10);
/// How long a probed connection is kept for further Pings.
pub const PROBE_LINGER: Duration = Duration::from_secs(10);
/// An HTTP/2 ping after this long (fabric peer.keepalive.client.interval).
const KEEPALIVE_EVERY: Duration = Duration::from_secs(60);
/// How long its answer may take (fabric peer.keepalive.client.timeout).
const KEEPALIVE_WITHIN: Duration = Duration::from_secs(20);

/// How a node behaves on this wire.
#[derive(Debug)]
pub struct FabricConfig {
    /// Keys and certificates.
    pub folder: PeerFolder,
    /// Organisations whose peers are accepted; starts with our own.
    pub trust: TrustBundle,
    /// Whether client certificates must lead to a TLS root (fabric peer.tls.clientAuthRequired).
    pub verify_clients: bool,
    /// Gossip channel that `cast` rides on.
    pub cast_channel: ChannelName,
}

impl FabricConfig {
    /// Trust in our own organisation only.
    #[must_use]
    pub fn new(folder: PeerFolder) -> Self {
        let trust = folder.trust();
        Self { folder, trust, verify_clients: false, cast_channel: ChannelName::default() }
    }
}

/// The Fabric wire.
#[derive(Debug, Clone)]
pub struct Fabric {
    config: Arc<FabricConfig>,
    tls: TlsConfigs,
    own_hash: [u8; 32],
    id: PeerId,
}

fn peer_id(pki_id: &[u8; 32]) -> PeerId {
    PeerId::new(FABRIC, pki_id).unwrap_or_else(|| unreachable!("a PKI-ID has 32 bytes"))
}

trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

/// What TLS said of the other side.
struct Shown {
    hash: Option<[u8; 32]>,
    version: String,
    alpn: String,
}

fn shown(connection: &rustls::CommonState) -> Shown {
    let first = connection.peer_certificates().and_then(<[_]>::first);
    let version = connection.protocol_version().map_or_else(String::new, |v| format!("{v:?}"));
    let alpn = connection.alpn_protocol().map(switchboard::text::printable_bytes).unwrap_or_default();
    Shown { hash: first.map(|der| certificate_hash(der)), version, alpn }
}

fn refused(
    stage: Stage,
    reason: Reason,
    detail: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> HandshakeError {
    HandshakeError::Peer { stage, fault: Fault { reason, detail: detail.into() } }
}

fn tls_failed(error: io::Error) -> HandshakeError {
    match error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            refused(Stage::Secure, Reason::InvalidIdentity, error)
        }
        Some(rustls::Error::AlertReceived(_)) => refused(Stage::Secure, Reason::AccessDenied, error),
        Some(_) => HandshakeError::breach(Stage::Secure, "TLS", error),
        None => HandshakeError::io(Stage::Secure, error),
    }
}

fn h2_failed(error: h2::Error) -> HandshakeError {
    if let Some(rule) = rule_broken(&error) {
        return HandshakeError::breach(Stage::Secure, rule, error);
    }
    match io_of(error) {
        // With TLS 1.3 a server may refuse our certificate after our side of its handshake is done.
        Some(error) if is_alert(&error) => refused(Stage::Secure, Reason::AccessDenied, error),
        Some(error) => HandshakeError::io(Stage::Secure, error),
        // They reset the stream or went away.
        None => HandshakeError::Closed(Stage::Secure),
    }
}

/// Why a connection ended before it came to anything.
fn over(verdict: &Verdict) -> HandshakeError {
    let closed = HandshakeError::Closed(Stage::Secure);
    verdict.fault().map_or(closed, |fault| HandshakeError::Peer { stage: Stage::Secure, fault })
}

async fn within<T>(
    limit: Duration,
    step: impl Future<Output = Result<T, HandshakeError>>,
) -> Result<T, HandshakeError> {
    timeout(limit, step).await.unwrap_or(Err(HandshakeError::Timeout(Stage::Secure)))
}

impl Fabric {
    /// A wire with the given configuration.
    ///
    /// # Errors
    /// When the TLS material does not fit together.
    pub fn new(config: FabricConfig) -> Result<Self, TlsMaterial> {
        let tls = configs(&config.folder, &config.trust, config.verify_clients)?;
        let own_hash = config.folder.tls_chain.first().map_or([0; 32], |der| certificate_hash(der));
        let id = peer_id(&config.folder.identity.identity().pki_id());
        Ok(Self { config: Arc::new(config), tls, own_hash, id })
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &FabricConfig {
        &self.config
    }

    fn first_message(&self, probe: bool) -> Result<Bytes, HandshakeError> {
        let built = build(&self.config.folder.identity, self.own_hash, probe);
        let mut framed = BytesMut::new();
        grpc::put_message(&built.map_err(|e| HandshakeError::Local(e.into()))?, &mut framed);
        Ok(framed.freeze())
    }

    fn check(&self, first: Bytes, hash: Option<[u8; 32]>, env: &Env) -> Result<Established, HandshakeError> {
        let hash =
            hash.ok_or_else(|| refused(Stage::Secure, Reason::InvalidIdentity, "no TLS certificate"))?;
        verify(first, hash, &self.config.trust, env.wall())
            .map_err(|fault| refused(Stage::Secure, Reason::InvalidIdentity, fault))
    }

    async fn accept_stream(
        &self,
        connection: Connection,
        upgrade: Upgrade,
    ) -> Result<Session, HandshakeError> {
        let io = tokio::io::join(connection.reader, connection.writer);
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(&self.tls.server));
        let tls = within(TLS_WITHIN, async { acceptor.accept(io).await.map_err(tls_failed) }).await?;
        let shown = shown(tls.get_ref().1);
        let mut builder = h2::server::Builder::new();
        builder
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEADERS);
        let http2 = within(TLS_WITHIN, async { builder.handshake(tls).await.map_err(h2_failed) }).await?;
        let (streams, mut opened) = mpsc::channel(1);
        let guard = drive(|signal, verdict| drive_server(http2, streams, signal, verdict));
        let stream = async { opened.recv().await.ok_or_else(|| over(guard.verdict())) };
        let (request, mut respond) = within(STREAM_WITHIN, stream).await?;
        if shown.hash.is_none() {
            answer(&mut respond, STATUS_UNAUTHENTICATED);
            return Err(refused(Stage::Secure, Reason::InvalidIdentity, "no TLS certificate"));
        }
        let send = respond.send_response(head(), false).map_err(h2_failed)?;
        let mut recv = request.into_body();
        let mut writer = StreamWriter::new(send, true, guard.clone());
        let first = within(CONN_WITHIN, async {
            writer.send_first(self.first_message(false)?).map_err(h2_failed)?;
            let (first, rest) = read_first(&mut recv).await?;
            Ok((self.check(first, shown.hash, &upgrade.env)?, rest))
        });
        let (established, rest) = match first.await {
            Ok(first) => first,
            Err(error) => {
                writer.end_with(STATUS_UNAUTHENTICATED);
                return Err(error);
            }
        };
        let peer = peer_id(&established.identity.pki_id());
        if established.probe {
            writer.end_with(STATUS_OK);
            // The driver answers further Pings; nobody can open a stream any more, so this waits for its end.
            let _ = timeout(PROBE_LINGER, opened.recv()).await;
            return Err(HandshakeError::Probed(peer));
        }
        if let Err(reason) = upgrade.gate.identity(peer, Direction::Inbound).await {
            writer.end_with(STATUS_PERMISSION_DENIED);
            return Err(HandshakeError::RefusedByUs(reason));
        }
        let reader = StreamReader::new(recv, rest, guard);
        Ok(self.session(&established, &shown, &upgrade.offer, reader, writer))
    }

    /// Connects up to the proof of both identities.
    async fn open(
        &self,
        connection: Connection,
        whom: &Candidate,
        env: &Env,
        probe: bool,
    ) -> Result<Open, HandshakeError> {
        let name = ServerName::try_from(whom.host.clone())
            .map_err(|e| HandshakeError::Local(format!("{:?} is no host name: {e}", whom.host).into()))?;
        let io = tokio::io::join(connection.reader, connection.writer);
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(&self.tls.client));
        let tls = within(TLS_WITHIN, async { connector.connect(name, io).await.map_err(tls_failed) }).await?;
        let shown = shown(tls.get_ref().1);
        let mut builder = h2::client::Builder::new();
        builder
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEADERS)
            .enable_push(false);
        let (mut requests, http2) =
            within(TLS_WITHIN, async { builder.handshake::<_, Bytes>(tls).await.map_err(h2_failed) }).await?;
        let guard = drive(|signal, verdict| drive_client(http2, signal, verdict));
        within(CONN_WITHIN, unary_ping(&mut requests, &whom.authority())).await?;
        let (established, writer, reader) = within(CONN_WITHIN, async {
            let request = request(STREAM_PATH, &whom.authority())?;
            requests = requests.clone().ready().await.map_err(h2_failed)?;
            let (response, mut send) = requests.send_request(request, false).map_err(h2_failed)?;
            send.send_data(self.first_message(probe)?, false).map_err(h2_failed)?;
            let response = accepted(response.await.map_err(h2_failed)?)?;
            let mut recv = response.into_body();
            let (first, rest) = read_first(&mut recv).await?;
            let established = self.check(first, shown.hash, env)?;
            let writer = StreamWriter::new(send, false, guard.clone());
            Ok((established, writer, StreamReader::new(recv, rest, guard.clone())))
        })
        .await?;
        let peer = peer_id(&established.identity.pki_id());
        if let Some(wanted) = whom.id.filter(|wanted| *wanted != peer) {
            return Err(refused(
                Stage::Secure,
                Reason::WrongIdentity,
                format!("asked for {wanted}, they proved {peer}"),
            ));
        }
        Ok(Open { established, shown, writer, reader, requests, guard })
    }

    fn session(
        &self,
        established: &Established,
        shown: &Shown,
        offer: &Offer,
        reader: StreamReader,
        writer: StreamWriter,
    ) -> Session {
        let (mut channels, mut limits) = (Vec::new(), Vec::new());
        for protocol in &offer.protocols {
            for spec in &protocol.channels {
                let wire_id = u64::from(spec.id.0);
                channels.push(SessionChannel { protocol: protocol.index, channel: spec.id, wire_id });
                limits.push((wire_id, spec.recv_limit));
            }
        }
        Session {
            peer: peer_id(&established.identity.pki_id()),
            info: info(established, shown),
            channels,
            encoder: Box::new(EnvelopeEncoder::new(writer.farewell().clone())),
            decoder: Box::new(EnvelopeDecoder::new(limits).cast_on(self.config.cast_channel.clone())),
            reader: Box::new(reader),
            writer: Box::new(writer),
            leftover: BytesMut::new(),
            liveness: Liveness::default(),
        }
    }
}

fn info(established: &Established, shown: &Shown) -> RemoteInfo {
    let identity = &established.identity;
    RemoteInfo {
        name: identity.mspid().to_owned(),
        capabilities: vec!["gossip".to_owned()],
        network: None,
        listen: None,
        fields: vec![
            ("msp", identity.mspid().to_owned()),
            ("pki_id", hex::encode(identity.pki_id())),
            ("subject", identity.subject().to_owned()),
            ("expires_unix", identity.expires_unix().to_string()),
            ("tls", shown.version.clone()),
            ("alpn", shown.alpn.clone()),
        ],
    }
}

/// A dialled connection whose other end has proven itself.
struct Open {
    established: Established,
    shown: Shown,
    writer: StreamWriter,
    reader: StreamReader,
    requests: h2::client::SendRequest<Bytes>,
    guard: DriverGuard,
}

fn request(path: &str, authority: &str) -> Result<Request<()>, HandshakeError> {
    Request::builder()
        .method(Method::POST)
        .uri(format!("https://{authority}{path}"))
        .header("content-type", CONTENT_TYPE)
        .header("te", "trailers")
        .header("user-agent", concat!("switchboard/", env!("CARGO_PKG_VERSION")))
        .body(())
        .map_err(|e| HandshakeError::Local(e.into()))
}

fn head() -> Response<()> {
    let mut response = Response::new(());
    response.headers_mut().insert("content-type", http::HeaderValue::from_static(CONTENT_TYPE));
    response
}

/// Whether a request says that it is gRPC, in one of its encodings.
fn is_grpc(request: &Request<RecvStream>) -> bool {
    let kind = request.headers().get("content-type");
    kind.is_some_and(|kind| kind.as_bytes().starts_with(CONTENT_TYPE.as_bytes()))
}

/// Answers what is no gRPC in HTTP's own words, as gRPC over HTTP/2 asks for.
fn not_grpc(respond: &mut SendResponse<Bytes>) {
    let mut response = Response::new(());
    *response.status_mut() = http::StatusCode::UNSUPPORTED_MEDIA_TYPE;
    let _ = respond.send_response(response, true);
}

/// Answers a call with a status and nothing else.
fn answer(respond: &mut SendResponse<Bytes>, status: u32) {
    if let Ok(mut send) = respond.send_response(head(), false) {
        let _ = send.send_trailers(grpc::trailers(status));
    }
}

/// Answers a Ping with an empty message, once it was read whole: an answer before its end would reset the stream.
async fn answer_ping(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let mut body = request.into_body();
    while let Some(Ok(chunk)) = body.data().await {
        let _ = body.flow_control().release_capacity(chunk.len());
    }
    if let Ok(mut send) = respond.send_response(head(), false) {
        let _ = send.send_data(Bytes::from_static(&[0; grpc::PREFIX]), false);
        let _ = send.send_trailers(grpc::trailers(STATUS_OK));
    }
}

/// Calls Ping and waits for the answer's end.
async fn unary_ping(
    requests: &mut h2::client::SendRequest<Bytes>,
    authority: &str,
) -> Result<(), HandshakeError> {
    let request = request(PING_PATH, authority)?;
    *requests = requests.clone().ready().await.map_err(h2_failed)?;
    let (response, mut send) = requests.send_request(request, false).map_err(h2_failed)?;
    send.send_data(Bytes::from_static(&[0; grpc::PREFIX]), true).map_err(h2_failed)?;
    let mut body = accepted(response.await.map_err(h2_failed)?)?.into_body();
    while let Some(chunk) = body.data().await {
        let len = chunk.map_err(h2_failed)?.len();
        let _ = body.flow_control().release_capacity(len);
    }
    let status = body.trailers().await.map_err(h2_failed)?.and_then(|t| t.get("grpc-status").cloned());
    match status.as_ref().map(http::HeaderValue::as_bytes) {
        Some(b"0") => Ok(()),
        other => {
            let told = printable(&String::from_utf8_lossy(other.unwrap_or(b"nothing")));
            Err(HandshakeError::breach(Stage::Secure, "gossip Ping", format!("answered with status {told}")))
        }
    }
}

/// What a gRPC status means for a handshake. A Go peer that does not take our ConnEstablish says 2 with a sentence.
fn status_failed(headers: &http::HeaderMap) -> HandshakeError {
    let text = |name| headers.get(name).map(|v| switchboard::text::printable_bytes(v.as_bytes()));
    let status = text("grpc-status").and_then(|status| status.parse::<u32>().ok());
    tracing::debug!(target: "switchboard::fabric", ?status, message = ?text("grpc-message"), "the peer ended the stream");
    match status {
        None | Some(STATUS_OK) => HandshakeError::Closed(Stage::Secure),
        Some(STATUS_UNKNOWN | STATUS_PERMISSION_DENIED | STATUS_UNAUTHENTICATED) => {
            HandshakeError::RefusedByPeer(Reason::AccessDenied)
        }
        Some(STATUS_UNIMPLEMENTED) => {
            HandshakeError::RefusedByPeer(Reason::Incompatible("no gossip service"))
        }
        Some(other) => HandshakeError::RefusedByPeer(Reason::Unknown(other.into())),
    }
}

/// The response's head, when it is one of gRPC and not an end already (a status in the headers).
fn accepted(response: Response<RecvStream>) -> Result<Response<RecvStream>, HandshakeError> {
    if response.status() != http::StatusCode::OK {
        let told = format!("HTTP status {}", response.status().as_u16());
        return Err(HandshakeError::breach(Stage::Secure, "gRPC response", told));
    }
    if response.headers().get("grpc-status").is_some_and(|status| status != "0") {
        return Err(status_failed(response.headers()));
    }
    Ok(response)
}

/// Reads the first message of a stream; what came after it is given too.
async fn read_first(recv: &mut RecvStream) -> Result<(Bytes, Bytes), HandshakeError> {
    let mut src = BytesMut::new();
    loop {
        let taken = grpc::take_message(&mut src, MAX_FIRST);
        let taken = taken.map_err(|fault| HandshakeError::breach(Stage::Secure, "first message", fault))?;
        if let Some(first) = taken {
            return Ok((first, src.freeze()));
        }
        let Some(chunk) = recv.data().await else {
            return Err(status_failed(&recv.trailers().await.map_err(h2_failed)?.unwrap_or_default()));
        };
        let chunk = chunk.map_err(h2_failed)?;
        let _ = recv.flow_control().release_capacity(chunk.len());
        src.extend_from_slice(&chunk);
    }
}

/// A GossipStream that was opened to us.
type Opened = (Request<RecvStream>, SendResponse<Bytes>);

/// Drives a connection we accepted: answers Pings, hands the first GossipStream on, refuses the rest. `streams` closes
/// when the connection is over.
async fn drive_server<T: Stream>(
    mut http2: h2::server::Connection<T, Bytes>,
    streams: mpsc::Sender<Opened>,
    guard: watch::Receiver<()>,
    verdict: Verdict,
) {
    let mut taken = false;
    // Both run on while streams are accepted: a ping given up half-way could not be sent again.
    let (released, unanswered) = (released(guard), keep_alive(http2.ping_pong()));
    tokio::pin!(released, unanswered);
    loop {
        tokio::select! {
            biased;
            () = &mut released => break,
            () = &mut unanswered => return verdict.give(Reason::PongTimeout, NO_PONG),
            accepted = http2.accept() => {
                let (request, mut respond) = match accepted {
                    Some(Ok(opened)) => opened,
                    Some(Err(error)) => return verdict.judge(&error),
                    None => return,
                };
                match request.uri().path() {
                    _ if !is_grpc(&request) => not_grpc(&mut respond),
                    PING_PATH => drop(tokio::spawn(timeout(CONN_WITHIN, answer_ping(request, respond)))),
                    STREAM_PATH if std::mem::replace(&mut taken, true) => {
                        respond.send_reset(h2::Reason::REFUSED_STREAM);
                    }
                    // The handshake may have timed out: then nobody waits.
                    STREAM_PATH => drop(streams.try_send((request, respond))),
                    _ => answer(&mut respond, STATUS_UNIMPLEMENTED),
                }
            }
        }
    }
    http2.graceful_shutdown();
    // A connection that broke gives its error for ever: that is its end too.
    let _ = timeout(DRIVER_LINGER, async { while let Some(Ok(_)) = http2.accept().await {} }).await;
}

/// Drives a connection we dialled.
async fn drive_client<T: Stream>(
    mut http2: h2::client::Connection<T, Bytes>,
    guard: watch::Receiver<()>,
    verdict: Verdict,
) {
    let (released, unanswered) = (released(guard), keep_alive(http2.ping_pong()));
    tokio::pin!(http2);
    tokio::select! {
        biased;
        ended = &mut http2 => return ended.map_or_else(|error| verdict.judge(&error), drop),
        () = released => {}
        () = unanswered => return verdict.give(Reason::PongTimeout, NO_PONG),
    }
    let _ = timeout(DRIVER_LINGER, http2).await;
}

const NO_PONG: &str = "no answer to an HTTP/2 ping";

/// Sends HTTP/2 pings; resolves when one was not answered in time.
async fn keep_alive(pings: Option<h2::PingPong>) {
    let Some(mut pings) = pings else { return std::future::pending().await };
    loop {
        tokio::time::sleep(KEEPALIVE_EVERY).await;
        match timeout(KEEPALIVE_WITHIN, pings.ping(h2::Ping::opaque())).await {
            Ok(Ok(_)) => {}
            // The connection broke: its driver finds out why.
            Ok(Err(_)) => return std::future::pending().await,
            Err(_) => return,
        }
    }
}

impl Wire for Fabric {
    fn name(&self) -> WireName {
        FABRIC
    }

    fn local_id(&self) -> PeerId {
        self.id
    }

    /// A TLS handshake record.
    fn sniff(&self, first: &[u8]) -> Sniff {
        match first {
            [0x16, 0x03, ..] => Sniff::Yes,
            [] | [0x16] => Sniff::More,
            _ => Sniff::No,
        }
    }

    fn accept(
        &self,
        connection: Connection,
        upgrade: Upgrade,
    ) -> BoxFuture<'_, Result<Session, HandshakeError>> {
        Box::pin(self.accept_stream(connection, upgrade))
    }

    fn dial(
        &self,
        connection: Connection,
        whom: Candidate,
        upgrade: Upgrade,
    ) -> BoxFuture<'_, Result<Session, HandshakeError>> {
        Box::pin(async move {
            let open = self.open(connection, &whom, &upgrade.env, false).await?;
            let peer = peer_id(&open.established.identity.pki_id());
            upgrade.gate.identity(peer, Direction::Outbound).await.map_err(HandshakeError::RefusedByUs)?;
            Ok(self.session(&open.established, &open.shown, &upgrade.offer, open.reader, open.writer))
        })
    }

    fn parse(&self, url: &str) -> Result<Candidate, AddressError> {
        parse(url)
    }
}

/// Reads `fabric://host:port` or `fabric://PKI-ID@host:port`.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn parse(url: &str) -> Result<Candidate, AddressError> {
    let wrong = |what: &str| AddressError(format!("{}: {what}: expected fabric://HOST:PORT", printable(url)));
    let rest = url.strip_prefix("fabric://").ok_or_else(|| wrong("not an address of this wire"))?;
    let (id, authority) = match rest.split_once('@') {
        Some((id, authority)) => {
            let mut bytes = [0; 32];
            hex::decode_to_slice(id, &mut bytes).map_err(|_| wrong("a PKI-ID is 64 hex digits"))?;
            (Some(peer_id(&bytes)), authority)
        }
        None => (None, rest),
    };
    let (host, port) = authority.rsplit_once(':').ok_or_else(|| wrong("no port"))?;
    let port = port
        .parse()
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(|| wrong("the port is no number from 1 to 65535"))?;
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    if ServerName::try_from(host).is_err() {
        return Err(wrong("the host is neither an IP address nor a DNS name"));
    }
    Ok(Candidate { wire: FABRIC, id, host: host.to_owned(), port, key: Bytes::new() })
}

/// A probed peer: who it is, and its round trips.
pub struct Probed {
    /// Who it proved to be.
    pub peer: PeerId,
    /// What is known of it.
    pub info: RemoteInfo,
    requests: h2::client::SendRequest<Bytes>,
    authority: String,
    #[allow(dead_code)] // the connection lives as long as this
    guard: DriverGuard,
}

impl Probed {
    /// The round trip of a unary Ping.
    ///
    /// # Errors
    /// As for a dial.
    pub async fn ping(&mut self) -> Result<Duration, HandshakeError> {
        let began = Instant::now();
        within(CONN_WITHIN, unary_ping(&mut self.requests, &self.authority)).await?;
        Ok(began.elapsed())
    }
}

/// Dials a peer only to learn who it is: a ConnEstablish with `probe` set.
///
/// # Errors
/// As for any dial.
pub async fn probe(
    connection: Connection,
    candidate: &Candidate,
    wire: &Fabric,
    env: &Env,
) -> Result<Probed, HandshakeError> {
    let open = wire.open(connection, candidate, env, true).await?;
    Ok(Probed {
        peer: peer_id(&open.established.identity.pki_id()),
        info: info(&open.established, &open.shown),
        requests: open.requests,
        authority: candidate.authority(),
        guard: open.guard,
    })
}

/// How others dial a node that listens there.
#[must_use]
pub fn endpoint(at: SocketAddr) -> String {
    at.to_string()
}
