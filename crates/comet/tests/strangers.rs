//! Every bad input of a stranger against a whole node with peer exchange: one session (or none) ends with its reason, a ban
//! comes where one is due, and nothing else moves: an honest session stays, the book keeps what it had, no byte stays held.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

use bytes::BytesMut;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use switchboard::net::memory::MemoryNetwork;
use switchboard::net::{Connection, Listener, Network};
use switchboard::{BoxFuture, Candidate, Env, Event, Events, Peer, PeerId, Reason, Switch, SwitchBuilder};
use switchboard_comet::bench::Bench;
use switchboard_comet::node_info::NodeInfo;
use switchboard_comet::pex::book::Book;
use switchboard_comet::pex::{Message, Options, PeerAddress, Pex, Stamp};
use switchboard_comet::secret_connection::{Auth, Ephemeral, Opener, Sealer, decode_hello, encode_hello};
use switchboard_comet::{COMET, Comet, CometConfig, NodeKey, proto};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

const NETWORK: &str = "strange-net";
const PORT: u16 = 26_656;

fn key(n: u8) -> NodeKey {
    NodeKey::from_seed(&[n; 32]).unwrap()
}

fn at(n: u8) -> PeerAddress {
    PeerAddress::new(key(n).id(), IpAddr::from([10, n, 0, 1]), PORT)
}

fn config(n: u8) -> CometConfig {
    let mut config = CometConfig::new(Arc::new(key(n)), NETWORK);
    // In this network all who dial come from one address, a private one: identities are banned, it is not.
    config.allow_duplicate_ip = true;
    config
}

/// A network that counts the names it is asked to look up.
#[derive(Clone, Default)]
struct Watched {
    inner: MemoryNetwork,
    looked_up: Arc<AtomicUsize>,
}

impl Network for Watched {
    fn listen(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Arc<dyn Listener>>> {
        self.inner.listen(addr)
    }

    fn connect(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Connection>> {
        self.inner.connect(addr)
    }

    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        if host.parse::<IpAddr>().is_err() {
            self.looked_up.fetch_add(1, Ordering::Relaxed);
        }
        self.inner.resolve(host, port)
    }
}

/// The node under attack, an honest peer of it, and its events.
struct Scene {
    net: Watched,
    node: Switch,
    pex: Pex,
    env: Env,
    honest: Switch,
    with_honest: Peer,
    events: Events,
}

async fn start(net: &Watched, n: u8) -> (Switch, Pex, Env) {
    let env = Env::seeded(Arc::new(net.clone()), 1_700_000_000, n.into());
    let pex = Pex::new(Book::with_key(format!("{n:024x}"), true), Options::new(key(n).id()), env.clone());
    let switch = SwitchBuilder::new(env.clone())
        .wire(Arc::new(Comet::new(config(n)).unwrap()))
        .protocol(Bench::server())
        .service(Arc::new(pex.clone()))
        .listen(SocketAddr::new(at(n).ip, PORT), &[])
        .start()
        .await
        .unwrap();
    (switch, pex, env)
}

async fn scene() -> Scene {
    let net = Watched::default();
    let (node, pex, env) = start(&net, 1).await;
    let (honest, _, _) = start(&net, 2).await;
    let whom = Candidate::new(COMET, at(1).ip.to_string(), PORT).id(PeerId::new(COMET, &at(1).id.0).unwrap());
    let with_honest = honest.connect_to(whom).await.unwrap();
    let events = node.events().in_full();
    tokio::time::sleep(Duration::from_secs(1)).await;
    Scene { net, node, pex, env, honest, with_honest, events }
}

impl Scene {
    /// The reason for which the stranger's connection or session ended.
    async fn ended(&mut self) -> Reason {
        let end = async {
            loop {
                match self.events.recv().await.unwrap() {
                    Event::PeerDropped { end, .. } => return end.reason,
                    Event::HandshakeFailed { reason, .. } | Event::Refused { reason, .. } => return reason,
                    _ => {}
                }
            }
        };
        timeout(Duration::from_secs(60), end).await.expect("nothing ended")
    }

    /// Whether a stranger is banned, by the Switch and in the book.
    async fn banned(&self, n: u8) -> bool {
        let bans = self.node.bans().await;
        let by_switch = bans.iter().any(|ban| ban.who.to_string().contains(&key(n).id().to_string()));
        let now = Stamp::from(self.env.wall());
        assert_eq!(by_switch, self.pex.look(|state| state.book().is_banned(&key(n).id(), now)));
        assert_eq!(bans.len(), usize::from(by_switch), "nobody else is banned: {bans:?}");
        by_switch
    }

    /// Nothing but the stranger's session has moved.
    async fn all_is_well(&self, what: &str) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!self.with_honest.is_over(), "{what}: the honest session ended");
        assert_eq!(self.node.peers().len(), 1, "{what}");
        assert_eq!(self.node.bytes_held(), 0, "{what}: bytes stay held");
        let known: Vec<_> =
            self.pex.look(|state| state.book().sorted().iter().map(|known| known.address.id).collect());
        assert!(known.iter().all(|id| *id == key(2).id()), "{what}: {known:?}");
        assert_eq!(self.net.looked_up.load(Ordering::Relaxed), 0, "{what}: a name was looked up");
    }
}

/// A stranger: as far into the handshake as each step is called.
struct Stranger {
    connection: Connection,
    n: u8,
    src: BytesMut,
    plain: BytesMut,
    keys: Option<(Sealer, Opener, [u8; 32])>,
}

impl Stranger {
    async fn connect(net: &Watched, n: u8) -> Self {
        let connection = net.connect(SocketAddr::new(at(1).ip, PORT)).await.unwrap();
        Self { connection, n, src: BytesMut::new(), plain: BytesMut::new(), keys: None }
    }

    async fn raw(&mut self, bytes: &[u8]) {
        let _ = self.connection.writer.write_all(bytes).await;
    }

    /// Exchanges ephemeral keys, as one should.
    async fn agree(mut self) -> Self {
        let ephemeral = Ephemeral::from_secret(&[6; 32]).unwrap();
        self.raw(&encode_hello(ephemeral.public())).await;
        let theirs = loop {
            if let Some((theirs, used)) = decode_hello(&self.src).unwrap() {
                let _ = self.src.split_to(used);
                break theirs;
            }
            assert!(self.connection.reader.read_buf(&mut self.src).await.unwrap() > 0);
        };
        let agreed = ephemeral.agree(&theirs).unwrap();
        self.keys = Some((agreed.sealer, agreed.opener, agreed.challenge));
        self
    }

    async fn send(&mut self, plain: &[u8]) {
        let mut out = BytesMut::new();
        self.keys.as_mut().unwrap().0.seal_all(plain, &mut out).unwrap();
        self.raw(&out).await;
    }

    /// Reads until `decode` has what it wants.
    async fn hear<T>(&mut self, decode: impl Fn(&[u8]) -> Option<(T, usize)>) -> T {
        loop {
            if let Some((found, used)) = decode(&self.plain) {
                let _ = self.plain.split_to(used);
                return found;
            }
            if !self.keys.as_mut().unwrap().1.open_next(&mut self.src, &mut self.plain).unwrap() {
                assert!(self.connection.reader.read_buf(&mut self.src).await.unwrap() > 0);
            }
        }
    }

    /// Proves its key, as one should.
    async fn prove(mut self) -> Self {
        let auth = Auth::sign(&key(self.n), &self.keys.as_ref().unwrap().2);
        self.send(&auth.encode()).await;
        self.hear(|plain| Auth::decode(plain).unwrap()).await;
        self
    }

    fn info(&self) -> NodeInfo {
        let config = CometConfig::new(Arc::new(key(self.n)), NETWORK);
        // Channel 0x00, and one of bench.
        config.node_info(vec![0x00, 0x70], None)
    }

    /// Becomes a peer.
    async fn join(mut self, info: &NodeInfo) -> Self {
        self.send(&info.encode()).await;
        self.hear(|plain| NodeInfo::decode(plain).unwrap()).await;
        self
    }

    async fn peer(net: &Watched, n: u8) -> Self {
        let stranger = Self::connect(net, n).await.agree().await.prove().await;
        let info = stranger.info();
        stranger.join(&info).await
    }

    /// Sends one message on the exchange's channel.
    async fn exchange(&mut self, message: &[u8]) {
        let pieces = message.chunks(1_000).chain(message.is_empty().then_some(message));
        for (n, piece) in pieces.enumerate() {
            let last = (n + 1) * 1_000 >= message.len();
            let mut inner = Vec::new();
            if last {
                inner.extend([0x10, 1]);
            }
            proto::put_bytes_field(3, piece, &mut inner);
            let mut packet = Vec::new();
            proto::put_message_field(3, &inner, &mut packet);
            self.send(&proto::delimit(&packet)).await;
        }
    }
}

/// What is wrong with a handshake before there is an identity.
#[tokio::test(start_paused = true)]
async fn handshakes_that_prove_nothing_end_alone() {
    let mut scene = scene().await;
    let (sk, dsa) = (vec![7; 33], vec![7; 1_952]);
    let auth = |kind: u32, public: &[u8], signature: &[u8]| {
        let (mut key, mut message) = (Vec::new(), Vec::new());
        proto::put_message_field(kind, public, &mut key);
        proto::put_message_field(1, &key, &mut message);
        proto::put_message_field(2, signature, &mut message);
        proto::delimit(&message)
    };
    // Points of low order: their product is zero, whatever the other key is.
    let one = {
        let mut one = [0; 32];
        one[0] = 1;
        one
    };
    for public in [[0; 32], one] {
        let mut stranger = Stranger::connect(&scene.net, 9).await;
        stranger.raw(&encode_hello(&public)).await;
        assert_eq!(scene.ended().await, Reason::Breach("low-order ephemeral key"));
    }
    let mut stranger = Stranger::connect(&scene.net, 9).await;
    stranger.raw(&[0x22, 0x0a, 0x20]).await;
    assert_eq!(scene.ended().await, Reason::HandshakeTimeout, "a third of a handshake");
    for (what, sent) in [
        ("secp256k1", auth(2, &sk, &[9; 64])),
        ("ml-dsa-65", auth(4, &dsa, &[9; 64])),
        ("a signature of nothing", auth(1, &[7; 32], &[9; 64])),
        ("no key", vec![0]),
        ("a length that overflows", vec![0xff; 10]),
    ] {
        let mut stranger = Stranger::connect(&scene.net, 9).await.agree().await;
        stranger.send(&sent).await;
        let reason = scene.ended().await;
        assert!(matches!(reason, Reason::Breach(_)), "{what}: {reason:?}");
        scene.all_is_well(what).await;
    }
    // Who signed another challenge holds the key, and is somebody in the middle.
    let mut stranger = Stranger::connect(&scene.net, 9).await.agree().await;
    let auth = Auth::sign(&key(9), &[1; 32]);
    stranger.send(&auth.encode()).await;
    assert!(matches!(scene.ended().await, Reason::Breach(_)));
    // A frame that says it is longer than a frame can be.
    let mut stranger = Stranger::connect(&scene.net, 9).await.agree().await;
    stranger.raw(&[5; 1_044]).await;
    assert_eq!(scene.ended().await, Reason::Breach("frame authentication"));
    scene.all_is_well("a broken frame").await;
    assert!(!scene.banned(9).await, "no identity was proven, so none is banned");
    scene.honest.stop().await;
}

/// NodeInfos that are too long, that lie, or that name a host.
#[tokio::test(start_paused = true)]
async fn node_infos_of_strangers() {
    let mut scene = scene().await;
    // The longest that is read has 10,240 bytes; what declares one more is refused before it has come.
    let mut stranger = Stranger::connect(&scene.net, 9).await.agree().await.prove().await;
    let mut long = Vec::new();
    proto::put_uvarint(10_241, &mut long);
    stranger.send(&long).await;
    assert_eq!(scene.ended().await, Reason::Breach("node info encoding"));
    type Lie = fn(&mut NodeInfo);
    let cases: [(&str, Lie, Reason); 5] = [
        ("somebody else's ID", |info| info.id = key(2).id().to_string(), Reason::Breach("node info id")),
        ("17 channels", |info| info.channels = (0..17).collect(), Reason::Breach("node info")),
        ("a channel twice", |info| info.channels = vec![0, 0], Reason::Breach("node info")),
        ("another network", |info| info.network = "other".into(), Reason::Incompatible("network")),
        ("a moniker with an escape", |info| info.moniker = "\u{1b}[2J".into(), Reason::Breach("node info")),
    ];
    for (what, lie, reason) in cases {
        let mut stranger = Stranger::connect(&scene.net, 9).await.agree().await.prove().await;
        let mut info = stranger.info();
        lie(&mut info);
        stranger.send(&info.encode()).await;
        assert_eq!(scene.ended().await, reason, "{what}");
        scene.all_is_well(what).await;
    }
    // A name is legal, but nobody looks it up for a stranger, nor takes it into the book.
    let stranger = Stranger::connect(&scene.net, 9).await.agree().await.prove().await;
    let mut info = stranger.info();
    info.listen_addr = "tcp://evil.example.org:26656".into();
    let stranger = stranger.join(&info).await;
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert_eq!(scene.net.looked_up.load(Ordering::Relaxed), 0);
    drop(stranger);
    scene.ended().await;
    scene.all_is_well("a name to listen at").await;
    scene.honest.stop().await;
}

/// What may not be said in the exchange, and which of it is a ban.
#[tokio::test(start_paused = true)]
async fn the_exchange_of_strangers() {
    let address = |id: &str, ip: &str, port: u64| {
        let mut address = Vec::new();
        proto::put_bytes_field(1, id.as_bytes(), &mut address);
        proto::put_bytes_field(2, ip.as_bytes(), &mut address);
        proto::put_varint_field(3, port, &mut address);
        address
    };
    let answer = |all: &[Vec<u8>]| {
        let (mut list, mut message) = (Vec::new(), Vec::new());
        all.iter().for_each(|address| proto::put_message_field(1, address, &mut list));
        proto::put_message_field(2, &list, &mut message);
        message
    };
    let id = "0a".repeat(20);
    let request = Message::request().to_vec();
    let many: Vec<_> = (0..2_001).map(|_| address("", "1.1.1.1", 1)).collect();
    // What is sent, in order, which rule ends it, and whether that is a ban.
    let cases: Vec<(&str, Vec<Vec<u8>>, &str, bool)> = vec![
        ("a third request", vec![request.clone(); 3], "pex request too soon", true),
        ("a flood", vec![request.clone(); 500], "pex request too soon", true),
        ("an answer nobody asked for", vec![answer(&[])], "pex answer without request", true),
        ("an address that is none", vec![answer(&[address(&id, "no ip", 1)])], "", true),
        ("an ID that is none", vec![answer(&[address("zz", "1.1.1.1", 1)])], "", true),
        ("a port that is none", vec![answer(&[address(&id, "1.1.1.1", 65_536)])], "", true),
        ("2,001 addresses", vec![answer(&many)], "", true),
        ("neither", vec![vec![]], "", false),
        ("noise", vec![vec![0xff; 40]], "", false),
        ("more than the channel takes", vec![vec![0; 64_001]], "", false),
    ];
    for (n, (what, messages, rule, ban)) in (9..).zip(cases) {
        let mut scene = scene().await;
        let mut stranger = Stranger::peer(&scene.net, n).await;
        for message in &messages {
            stranger.exchange(message).await;
        }
        match scene.ended().await {
            Reason::Breach(found) if rule.is_empty() || found == rule => {}
            other => panic!("{what}: {other:?}"),
        }
        scene.all_is_well(what).await;
        assert_eq!(scene.banned(n).await, ban, "{what}");
        if ban {
            let mut again = Stranger::connect(&scene.net, n).await.agree().await;
            let auth = Auth::sign(&key(n), &again.keys.as_ref().unwrap().2);
            again.send(&auth.encode()).await;
            assert_eq!(scene.ended().await, Reason::AccessDenied, "{what}: it is not let in again");
        }
        scene.honest.stop().await;
    }
}

/// Pings and packets without end, with an honest peer beside them whose messages pass.
#[tokio::test(start_paused = true)]
async fn floods_of_strangers_hold_up_nobody() {
    let scene = scene().await;
    let mut stranger = Stranger::peer(&scene.net, 9).await;
    for _ in 0..200 {
        stranger.send(&[2, 0x0a, 0].repeat(1_000)).await;
        let asked = tokio::time::Instant::now();
        let queued = scene.with_honest.try_send("bench", switchboard::ChannelId(0x70), proto::wrap(b"x"));
        assert!(queued.is_ok(), "{queued:?}");
        assert!(asked.elapsed() < Duration::from_secs(1));
        // It reads what it gets: pings that come together share a pong.
        let _ =
            timeout(Duration::from_millis(1), stranger.connection.reader.read_buf(&mut stranger.src)).await;
        stranger.src.clear();
    }
    assert_eq!(scene.node.peers().len(), 2, "a ping is no offence");
    assert!(scene.with_honest.stats().messages_in >= 200, "{:?}", scene.with_honest.stats());
    drop(stranger);
    scene.honest.stop().await;
}
