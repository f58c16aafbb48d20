//! What the hostile tests share: a node with an honest friend on a network in memory, and peers that speak TLS,
//! HTTP/2 and gRPC by hand.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

pub mod proof;
pub mod raw;

use bytes::{Bytes, BytesMut};
use h2::{RecvStream, SendStream, client};
use http::{Method, Request, Response};
use prost::Message;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use switchboard::net::memory::MemoryNetwork;
use switchboard::net::{BoxRead, BoxWrite, Connection, Network};
use switchboard::protocol::channel::ChannelSpec;
use switchboard::protocol::io::ChannelIo;
use switchboard::protocol::{Protocol, ProtocolError, ProtocolSpec};
use switchboard::{BoxFuture, By, Env, Event, Limits, Peer, Reason, Switch, SwitchBuilder};
use switchboard_bench::{Drive, EchoPlan};
use switchboard_fabric::conn_establish::{build, certificate_hash};
use switchboard_fabric::grpc::{CONTENT_TYPE, STREAM_PATH, put_message, take_message};
use switchboard_fabric::keygen::keygen;
use switchboard_fabric::message::{Content, DataMessage, GossipMessage, Payload, Tag};
use switchboard_fabric::{Fabric, FabricConfig, PeerFolder, bench, cast, tls};
use tokio::io::Join;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

pub const ORG: &str = "Org1MSP";
/// More virtual time than any test may take to see one thing.
pub const PATIENCE: Duration = Duration::from_secs(600);
/// Most bytes of a message on the lane of `cast`.
pub const LANE_LIMIT: usize = 1000;

pub type Tls = TlsStream<Join<BoxRead, BoxWrite>>;

#[allow(clippy::disallowed_methods)] // TLS judges certificates by the system's clock
pub fn now() -> SystemTime {
    SystemTime::now()
}

pub fn peers(out: &Path, count: usize) -> Vec<PeerFolder> {
    let made = keygen(out, ORG, count, now()).unwrap();
    made.iter().map(|peer| PeerFolder::load(peer, ORG).unwrap()).collect()
}

/// How a peer that belongs to the organisation dials.
pub fn client_tls(folder: &PeerFolder) -> ClientConfig {
    (*tls::configs(folder, &folder.trust(), false).unwrap().client).clone()
}

/// How a client that shows no certificate dials.
pub fn without_certificate(victim: &Victim) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(victim.folder.tls_roots[0].clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

/// How the hostile member dials with a TLS certificate of somebody else's making.
pub fn with_foreign_certificate(victim: &Victim, expired: bool) -> (ClientConfig, [u8; 32]) {
    let long_ago = now() - Duration::from_secs(if expired { 20 * 365 * 24 * 3600 } else { 0 });
    let out = victim.dir.path().join(if expired { "expired" } else { "foreign" });
    let made = keygen(&out, ORG, 1, long_ago).unwrap();
    let mut foreign = PeerFolder::load(&made[0], ORG).unwrap();
    foreign.tls_roots = victim.folder.tls_roots.clone();
    let mut trust = foreign.trust();
    victim.folder.tls_roots.iter().for_each(|root| trust.tls_root(root.clone()));
    let config = tls::configs(&foreign, &trust, false).unwrap();
    ((*config.client).clone(), hash(&foreign))
}

/// Hash of the TLS certificate that `folder` shows.
pub fn hash(folder: &PeerFolder) -> [u8; 32] {
    certificate_hash(&folder.tls.chain[0])
}

/// A ConnEstablish of `folder` for its own TLS certificate.
pub fn establish(folder: &PeerFolder) -> Bytes {
    build(&folder.identity, Some(hash(folder)), false).unwrap()
}

pub fn framed(message: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    put_message(message, &mut out);
    out.freeze()
}

/// An unsigned envelope with a block on the gossip channel `channel`.
pub fn block(channel: &[u8], nonce: u64, data: Vec<u8>) -> Vec<u8> {
    let payload = Payload { seq_num: 0, data: data.into(), private_data: Vec::new() };
    let content = Content::DataMsg(DataMessage { payload: Some(payload) });
    GossipMessage::new(Tag::ChanAndOrg, channel, nonce, content).unsigned().encode_to_vec()
}

/// A protocol on the first lane of `cast`, which takes little.
struct Lane;

impl Protocol for Lane {
    fn spec(&self) -> ProtocolSpec {
        ProtocolSpec::new("lane", 1, vec![ChannelSpec::new(cast::BASE, 1).recv_limit(LANE_LIMIT)])
    }

    fn run(self: Arc<Self>, _: Peer, mut io: ChannelIo) -> BoxFuture<'static, Result<(), ProtocolError>> {
        Box::pin(async move {
            while io.recv().await.is_some() {}
            Ok(())
        })
    }
}

/// A node that listens, its friend that keeps asking, and the keys of a member that means harm.
pub struct Victim {
    pub dir: tempfile::TempDir,
    pub net: Arc<dyn Network>,
    pub switch: Switch,
    pub wire: Fabric,
    pub events: switchboard::Events,
    pub folder: PeerFolder,
    friend: Switch,
    driver: bench::Driver,
}

/// Lets everything that can run, run: with a paused clock the sleep ends when nothing else moves.
pub async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

pub fn env(net: &Arc<dyn Network>, seed: u64) -> Env {
    let now = now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    Env::seeded(Arc::clone(net), now, seed)
}

impl Victim {
    pub async fn new() -> Self {
        Self::with(false).await
    }

    pub async fn with(verify_clients: bool) -> Self {
        Self::on(Arc::new(MemoryNetwork::default()), verify_clients).await
    }

    pub async fn on(net: Arc<dyn Network>, verify_clients: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut folders = peers(&dir.path().join("org"), 3);
        let mut config = FabricConfig::new(folders.pop().unwrap());
        config.verify_clients = verify_clients;
        let wire = Fabric::new(config).unwrap();
        let victims = wire.clone();
        // One hostile identity breaks many rules in these tests; bans have tests of their own.
        let mut limits = Limits::default();
        limits.score.breach = 0;
        let switch = SwitchBuilder::new(env(&net, 1))
            .wire(Arc::new(wire))
            .limits(limits)
            .protocol(bench::server())
            .protocol(Arc::new(Lane) as Arc<dyn Protocol>)
            .listen(([127, 0, 0, 1], 0).into(), &[])
            .start();
        let switch = switch.await.unwrap();
        let (protocol, mut drivers) = bench::driven();
        let wire = Arc::new(Fabric::new(FabricConfig::new(folders.pop().unwrap())).unwrap());
        let friend = SwitchBuilder::new(env(&net, 2)).wire(wire).protocol(protocol).start().await.unwrap();
        let mut events = switch.events().in_full();
        let _ = friend.offer(switch.parse(&format!("fabric://{}", switch.listening()[0].0)).unwrap()).await;
        let driver = drivers.recv().await.unwrap();
        assert!(matches!(events.recv().await, Ok(Event::PeerAdded(_))));
        Self { dir, net, switch, wire: victims, events, folder: folders.pop().unwrap(), friend, driver }
    }

    pub async fn connect(&self) -> Connection {
        self.net.connect(self.switch.listening()[0].0).await.unwrap()
    }

    pub async fn tls_with(&self, config: ClientConfig) -> std::io::Result<Tls> {
        tls_over(self.connect().await, config).await
    }

    pub async fn tls(&self) -> Tls {
        self.tls_with(client_tls(&self.folder)).await.unwrap()
    }

    pub async fn grpc(&self) -> Grpc {
        Grpc::over(self.tls().await).await
    }

    /// A session of the hostile member, over the `h2` crate.
    pub async fn session(&mut self) -> Call {
        let mut call = self.grpc().await.stream().await;
        call.say(&establish(&self.folder));
        call.hear().await.expect("a ConnEstablish");
        self.added().await;
        call
    }

    pub async fn event(&mut self) -> Event {
        timeout(PATIENCE, self.events.recv()).await.expect("no event").unwrap()
    }

    /// The hostile member's session begins.
    pub async fn added(&mut self) {
        match self.event().await {
            Event::PeerAdded(peer) => {
                assert_eq!(peer.id().as_bytes()[..], self.folder.identity.identity().pki_id());
            }
            other => panic!("{other:?}"),
        }
    }

    /// The one event of a handshake; its detail holds `told`. The friend is served on.
    pub async fn fails(&mut self, expected: Reason, told: &str) {
        match self.event().await {
            Event::HandshakeFailed { reason, detail, wire, .. } => {
                assert_eq!((reason, wire), (expected, Some("fabric")), "{detail}");
                assert!(detail.contains(told), "{told:?} in {detail:?}");
            }
            other => panic!("{other:?}"),
        }
        self.serves().await;
    }

    /// The one event of a session's end; its detail holds `told`. The friend is served on.
    pub async fn ends(&mut self, expected: Reason, by: By, told: &str) {
        match self.event().await {
            Event::PeerDropped { end, .. } => {
                assert_eq!((end.reason, end.by), (expected, by), "{:?}", end.detail);
                assert!(
                    end.detail.clone().unwrap_or_default().contains(told),
                    "{told:?} in {:?}",
                    end.detail
                );
            }
            other => panic!("{other:?}"),
        }
        self.serves().await;
    }

    /// Nothing else happened, nothing is held, and the friend is served.
    pub async fn serves(&mut self) {
        self.echoes().await;
        assert_eq!(self.switch.peers().len(), 1);
        assert_eq!(self.switch.bytes_held(), 0);
    }

    /// The friend is served, and nothing happened.
    pub async fn echoes(&mut self) {
        let plan = EchoPlan::new(1, 10, 1);
        let echoed = timeout(Duration::from_secs(5), self.driver.echo(plan)).await;
        assert_eq!(echoed.expect("no echo").unwrap().count, 1);
        assert!(self.events.is_empty(), "one event more: {:?}", self.events.try_recv());
    }

    pub async fn finish(self) {
        self.friend.stop().await;
        self.switch.stop().await;
        assert_eq!(self.switch.bytes_held(), 0);
    }
}

pub async fn tls_over(connection: Connection, config: ClientConfig) -> std::io::Result<Tls> {
    let io = tokio::io::join(connection.reader, connection.writer);
    let name = ServerName::try_from("localhost").unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, io).await
}

/// The `h2` crate's client, driven by a task of its own.
pub struct Grpc {
    pub requests: client::SendRequest<Bytes>,
    pub connection: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

pub fn post(path: &str) -> Request<()> {
    let request = Request::builder().method(Method::POST).uri(format!("https://localhost{path}"));
    request.header("content-type", CONTENT_TYPE).header("te", "trailers").body(()).unwrap()
}

impl Grpc {
    pub async fn over(tls: Tls) -> Self {
        let (requests, connection) = client::handshake(tls).await.unwrap();
        Self { requests, connection: tokio::spawn(connection) }
    }

    pub async fn send(
        &mut self,
        request: Request<()>,
        end: bool,
    ) -> (client::ResponseFuture, SendStream<Bytes>) {
        self.requests = self.requests.clone().ready().await.unwrap();
        self.requests.send_request(request, end).unwrap()
    }

    /// A call without a message, to its end: HTTP status and gRPC status.
    pub async fn call(&mut self, request: Request<()>) -> (u16, Option<u32>) {
        let response = self.send(request, true).await.0.await.unwrap();
        ending(response).await.unwrap()
    }

    /// Opens a GossipStream.
    pub async fn stream(mut self) -> Call {
        let (response, send) = self.send(post(STREAM_PATH), false).await;
        let recv = response.await.unwrap().into_body();
        Call { grpc: self, send, recv, heard: BytesMut::new() }
    }
}

fn status(headers: &http::HeaderMap) -> Option<u32> {
    headers.get("grpc-status").map(|status| status.to_str().unwrap().parse().unwrap())
}

/// HTTP status and gRPC status of a response read to its end.
pub async fn ending(response: Response<RecvStream>) -> Result<(u16, Option<u32>), h2::Error> {
    let (head, mut body) = response.into_parts();
    while let Some(chunk) = body.data().await {
        let len = chunk?.len();
        let _ = body.flow_control().release_capacity(len);
    }
    let trailers = body.trailers().await?.unwrap_or_default();
    Ok((head.status.as_u16(), status(&trailers).or(status(&head.headers))))
}

/// An open GossipStream.
pub struct Call {
    pub grpc: Grpc,
    pub send: SendStream<Bytes>,
    recv: RecvStream,
    heard: BytesMut,
}

impl Call {
    pub fn say(&mut self, message: &[u8]) {
        self.send_raw(&framed(message));
    }

    pub fn send_raw(&mut self, bytes: &[u8]) {
        // The victim may have closed already.
        let _ = self.send.send_data(Bytes::copy_from_slice(bytes), false);
    }

    /// The next message; `None` when the stream ended.
    pub async fn hear(&mut self) -> Option<Bytes> {
        loop {
            if let Some(message) = take_message(&mut self.heard, 1 << 20).unwrap() {
                return Some(message);
            }
            let chunk = self.recv.data().await?.ok()?;
            let _ = self.recv.flow_control().release_capacity(chunk.len());
            self.heard.extend_from_slice(&chunk);
        }
    }

    /// The gRPC status the stream ends with; what comes before is passed over.
    pub async fn status(&mut self) -> Option<u32> {
        while self.hear().await.is_some() {}
        timeout(PATIENCE, self.recv.trailers()).await.expect("no end").ok()?.as_ref().and_then(status)
    }

    /// As [`Call::status`], with the sentence.
    pub async fn ending(&mut self) -> (Option<u32>, String) {
        while self.hear().await.is_some() {}
        let trailers =
            timeout(PATIENCE, self.recv.trailers()).await.expect("no end").unwrap().unwrap_or_default();
        let told = trailers.get("grpc-message").map(|told| told.to_str().unwrap().to_owned());
        (status(&trailers), told.unwrap_or_default())
    }

    /// Our echo comes back: the session lives.
    pub async fn lives(&mut self) {
        let request = block(bench::ECHO, 0, b"alive?".to_vec());
        self.say(&request);
        let heard = timeout(PATIENCE, self.hear()).await.expect("no echo");
        assert_eq!(heard.as_deref(), Some(&request[..]));
    }
}
