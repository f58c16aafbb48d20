//! What the hostile tests share: a node with an honest friend, and a peer made by hand that can break every rule.
//!
//! The peer's RLPx is written from the specification, apart from the crate's own; of the crate it has ECIES, keccak,
//! the reading half and the codecs of messages.
#![allow(dead_code, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

use aes::Aes256;
use alloy_rlp::Header;
use bytes::{Bytes, BytesMut};
use cipher::{BlockCipherEncrypt, KeyInit, KeyIvInit, StreamCipher};
use ctr::Ctr64BE;
use secp256k1::{PublicKey, SecretKey, ecdh};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use switchboard::net::memory::MemoryNetwork;
use switchboard::net::{Connection, Listener, Network};
use switchboard::switch::score::ScoreRules;
use switchboard::{
    BoxFuture, By, ChannelId, ChannelIo, ChannelSpec, Env, Event, Limits, Peer, PeerId, Protocol,
    ProtocolError, ProtocolSpec, Reason, Switch, SwitchBuilder,
};
use switchboard_devp2p::frame::{FrameKeys, MAX_BODY, Opener};
use switchboard_devp2p::handshake::decode_ack;
use switchboard_devp2p::message::{Capability, DISCONNECT, HELLO, Hello, VERSION};
use switchboard_devp2p::{DEVP2P, Devp2p, Devp2pConfig, NodeKey, NodePublic, ecies};
use switchboard_enr::keccak::{Keccak256, keccak256_of};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

pub const VICTIM: u8 = 1;
pub const FRIEND: u8 = 2;
pub const HOSTILE: u8 = 66;
/// Codes of the echo protocol's channels, and what each accepts.
pub const SMALL: u64 = 16;
pub const SMALL_LIMIT: usize = 1024;
pub const LARGE: u64 = 17;
pub const LARGE_LIMIT: usize = 8192;
/// More virtual time than any test may take to see one event.
const PATIENCE: Duration = Duration::from_secs(600);

pub fn key(seed: u8) -> NodeKey {
    NodeKey::from_bytes(&[seed; 32]).unwrap()
}

pub fn public(seed: u8) -> NodePublic {
    key(seed).public()
}

pub fn id(seed: u8) -> PeerId {
    PeerId::new(DEVP2P, &public(seed).node_id()).unwrap()
}

/// A node's address.
pub fn enode(seed: u8, addr: SocketAddr) -> String {
    Devp2p::new(Devp2pConfig::new(Arc::new(key(seed)))).enode(addr).to_string()
}

pub fn string(bytes: &[u8]) -> Vec<u8> {
    alloy_rlp::encode(bytes)
}

pub fn number(number: u64) -> Vec<u8> {
    alloy_rlp::encode(number)
}

pub fn list(items: &[Vec<u8>]) -> Vec<u8> {
    let content = items.concat();
    let mut out = Vec::new();
    Header { list: true, payload_length: content.len() }.encode(&mut out);
    [out, content].concat()
}

fn xor<const N: usize>(a: [u8; N], b: &[u8]) -> [u8; N] {
    std::array::from_fn(|i| a[i] ^ b[i])
}

fn agree(secret: u8, with: &[u8; 64]) -> [u8; 32] {
    let mut point = [4; 65];
    point[1..].copy_from_slice(with);
    let point = PublicKey::from_byte_array_uncompressed(point).unwrap();
    let secret = SecretKey::from_secret_bytes([secret; 32]).unwrap();
    ecdh::shared_secret_point(&point, &secret)[..32].try_into().unwrap()
}

/// What an initiator's packet holds, to be bent.
pub struct Auth {
    pub signature: Vec<u8>,
    pub key: Vec<u8>,
    pub nonce: Vec<u8>,
    pub version: u64,
}

const EPHEMERAL: u8 = 7;
const NONCE: [u8; 32] = [8; 32];

impl Auth {
    /// What the holder of a key sends to another's.
    pub fn of(seed: u8, to: &NodePublic) -> Self {
        let signed = xor(agree(seed, &to.to_bytes()), &NONCE);
        let signature = key(EPHEMERAL).sign_recoverable(signed).to_vec();
        Self { signature, key: public(seed).to_bytes().to_vec(), nonce: NONCE.to_vec(), version: 4 }
    }

    pub fn items(&self) -> Vec<Vec<u8>> {
        vec![string(&self.signature), string(&self.key), string(&self.nonce), number(self.version)]
    }

    /// The packet, padded as the specification asks.
    pub fn packet(&self, to: &NodePublic) -> Vec<u8> {
        packet(to, &[list(&self.items()), vec![0; 100]].concat())
    }
}

/// Seals any content into a handshake packet.
pub fn packet(to: &NodePublic, content: &[u8]) -> Vec<u8> {
    let size = ((content.len() + ecies::OVERHEAD) as u16).to_be_bytes();
    [&size[..], &ecies::seal(to, &key(9), [10; 16], content, &size)].concat()
}

/// Frames as they go out, with each part in the test's hand.
pub struct Raw {
    stream: Ctr64BE<Aes256>,
    cipher: Aes256,
    mac: Keccak256,
}

impl Raw {
    fn digest(&self) -> [u8; 16] {
        self.mac.digest()[..16].try_into().unwrap()
    }

    fn mix(&mut self, with: &[u8; 16]) -> [u8; 16] {
        let mut seed = self.digest().into();
        self.cipher.encrypt_block(&mut seed);
        self.mac.update(&xor(seed.into(), with));
        self.digest()
    }

    pub fn header(&mut self, size: usize, data: &[u8]) -> Vec<u8> {
        let mut block = [0; 16];
        block[..3].copy_from_slice(&(size as u32).to_be_bytes()[1..]);
        block[3..3 + data.len()].copy_from_slice(data);
        self.stream.apply_keystream(&mut block);
        [block, self.mix(&block)].concat()
    }

    pub fn body(&mut self, mut body: Vec<u8>) -> Vec<u8> {
        self.stream.apply_keystream(&mut body);
        self.mac.update(&body);
        let digest = self.digest();
        body.extend(self.mix(&digest));
        body
    }

    pub fn frame(&mut self, body: &[u8]) -> Vec<u8> {
        let mut padded = body.to_vec();
        padded.resize(body.len().next_multiple_of(16), 0);
        [self.header(body.len(), &[0xc2, 0x80, 0x80]), self.body(padded)].concat()
    }

    /// A frame with a message as it is.
    pub fn plain(&mut self, code: u64, payload: &[u8]) -> Vec<u8> {
        self.frame(&[&number(code), payload].concat())
    }

    /// A frame with a compressed message.
    pub fn packed(&mut self, code: u64, payload: &[u8]) -> Vec<u8> {
        self.plain(code, &pack(payload))
    }
}

/// Bytes in their place on the wire.
pub type Make = fn(&mut Raw) -> Vec<u8>;

pub fn pack(payload: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(payload).unwrap()
}

pub fn cap(name: &str, version: u64) -> Capability {
    Capability { name: name.into(), version }
}

pub fn hello() -> Hello {
    let key = public(HOSTILE).to_bytes();
    Hello { version: VERSION, name: "hostile".into(), capabilities: vec![cap("echo", 1)], port: 0, key }
}

/// A peer with a key and no manners.
pub struct Hostile {
    pub connection: Connection,
    pub raw: Raw,
    pub snappy: bool,
    opener: Opener,
    src: BytesMut,
}

impl Hostile {
    /// Runs RLPx as initiator; hello is still to come.
    pub async fn shake(mut connection: Connection, seed: u8, auth: &[u8]) -> Self {
        connection.writer.write_all(auth).await.unwrap();
        let mut ack = vec![0; 2];
        connection.reader.read_exact(&mut ack).await.expect("no ack");
        ack.resize(2 + usize::from(u16::from_be_bytes([ack[0], ack[1]])), 0);
        connection.reader.read_exact(&mut ack[2..]).await.unwrap();
        let content = ecies::open(&key(seed), &ack[2..], &ack[..2]).unwrap();
        let theirs = decode_ack(&content).unwrap();

        let agreed = agree(EPHEMERAL, &theirs.ephemeral);
        let shared = keccak256_of(&[&agreed, &keccak256_of(&[&theirs.nonce, &NONCE])]);
        let aes = keccak256_of(&[&agreed, &shared]);
        let mac = keccak256_of(&[&agreed, &aes]);
        let egress = [&xor(mac, &theirs.nonce)[..], auth].concat();
        let ingress = [&xor(mac, &NONCE)[..], &ack].concat();
        let (_, opener) = FrameKeys::from_secrets(aes, mac, &egress, &ingress).split();
        let stream = Ctr64BE::<Aes256>::new(&aes.into(), &[0; 16].into());
        let mut raw = Raw { stream, cipher: Aes256::new(&mac.into()), mac: Keccak256::new() };
        raw.mac.update(&egress);
        Self { connection, raw, snappy: false, opener, src: BytesMut::new() }
    }

    /// Writes; a victim that has left already is no matter.
    pub async fn write(&mut self, bytes: &[u8]) {
        let _ = self.connection.writer.write_all(bytes).await;
    }

    pub async fn send(&mut self, make: impl FnOnce(&mut Raw) -> Vec<u8>) {
        let bytes = make(&mut self.raw);
        self.write(&bytes).await;
    }

    /// The next message as it was before compression; `None` when the victim closes.
    pub async fn hear(&mut self) -> Option<(u64, Vec<u8>)> {
        loop {
            if let Some(message) = self.opener.open(&mut self.src, MAX_BODY).unwrap() {
                let payload = match self.snappy {
                    true => snap::raw::Decoder::new().decompress_vec(&message.payload).unwrap(),
                    false => message.payload.to_vec(),
                };
                return Some((message.code, payload));
            }
            if !matches!(self.connection.reader.read_buf(&mut self.src).await, Ok(n) if n > 0) {
                return None;
            }
        }
    }

    /// The victim's hello; what both send from now on is compressed if both can.
    pub async fn hear_hello(&mut self, ours: &Hello) -> Hello {
        let (code, payload) = self.hear().await.expect("no hello");
        assert_eq!(code, HELLO);
        self.snappy = ours.version >= VERSION;
        Hello::decode(&payload).unwrap()
    }

    /// The code of the victim's goodbye, after which it closes; `None` when it closes without.
    pub async fn goodbye(&mut self) -> Option<u64> {
        while let Some((code, payload)) = self.hear().await {
            if code == DISCONNECT {
                assert_eq!(self.hear().await, None, "nothing follows a goodbye");
                return Some(match payload[..] {
                    [0xc1, 0x80] => 0,
                    [0xc1, code @ 1..0x80] | [0xc2, 0x81, code @ 0x80..=0xff] => code.into(),
                    _ => panic!("no disconnect: {payload:02x?}"),
                });
            }
        }
        None
    }
}

/// A protocol of two channels that echoes, or hands its io to the test.
struct Echo(Option<mpsc::Sender<ChannelIo>>);

impl Protocol for Echo {
    fn spec(&self) -> ProtocolSpec {
        let channel = |id, limit| ChannelSpec::new(id, 1).recv_limit(limit);
        ProtocolSpec::new("echo", 1, vec![channel(0, SMALL_LIMIT), channel(1, LARGE_LIMIT)])
    }

    fn run(self: Arc<Self>, peer: Peer, mut io: ChannelIo) -> BoxFuture<'static, Result<(), ProtocolError>> {
        Box::pin(async move {
            if let Some(handed) = &self.0 {
                let _ = handed.send(io).await;
                peer.ended().await;
                return Ok(());
            }
            while let Some((channel, message)) = io.recv().await {
                if io.send(channel, message).await.is_err() {
                    break;
                }
            }
            Ok(())
        })
    }
}

pub fn open_limits() -> Limits {
    // One hostile identity breaks many rules in these tests; bans have tests of their own.
    let mut score = ScoreRules::default();
    score.breach = 0;
    Limits::default().with(|limits| {
        limits.per_ip_interval = Some(Duration::ZERO);
        limits.score = score;
    })
}

async fn node(net: &MemoryNetwork, seed: u8, echo: Echo, limits: Limits) -> Switch {
    SwitchBuilder::new(Env::seeded(Arc::new(net.clone()), 1_800_000_000, u64::from(seed)))
        .wire(Arc::new(Devp2p::new(Devp2pConfig::new(Arc::new(key(seed))))))
        .protocol(Arc::new(echo))
        .limits(limits)
        .listen(SocketAddr::from(([10, 0, 0, seed], 30_303)), &[])
        .start()
        .await
        .unwrap()
}

/// A node with an honest friend, whose echo goes on whatever the others do.
pub struct Victim {
    pub net: MemoryNetwork,
    pub switch: Switch,
    friend: Switch,
    io: ChannelIo,
    events: switchboard::Events,
}

impl Victim {
    pub async fn new() -> Self {
        Self::with(open_limits()).await
    }

    pub async fn with(limits: Limits) -> Self {
        let net = MemoryNetwork::default();
        let switch = node(&net, VICTIM, Echo(None), limits).await;
        let (handed, mut given) = mpsc::channel(1);
        let friend = node(&net, FRIEND, Echo(Some(handed)), open_limits()).await;
        let mut events = switch.events().in_full();
        let _ = friend.offer(friend.parse(&enode(VICTIM, switch.listening()[0].0)).unwrap()).await;
        let io = given.recv().await.unwrap();
        assert!(matches!(events.recv().await.unwrap(), Event::PeerAdded(peer) if peer.id() == id(FRIEND)));
        Self { net, switch, friend, io, events }
    }

    pub async fn connect(&self) -> Connection {
        self.net.connect(self.switch.listening()[0].0).await.unwrap()
    }

    /// Where a hostile peer listens.
    pub async fn listener(&self) -> Arc<dyn Listener> {
        self.net.listen(SocketAddr::from(([10, 0, 0, HOSTILE], 30_303))).await.unwrap()
    }

    /// The victim dials; an address is dialled again only after a while.
    pub async fn dial(&self, seed: u8, addr: SocketAddr) {
        tokio::time::sleep(Duration::from_secs(35)).await;
        let _ = self.switch.offer(self.switch.parse(&enode(seed, addr)).unwrap()).await;
    }

    /// The one event of a dial that failed.
    pub async fn dial_failed(&mut self, reason: Reason) {
        match self.event().await {
            Event::DialFailed { reason: found, detail, .. } => assert_eq!(found, reason, "{detail}"),
            other => panic!("{reason:?} expected: {other:?}"),
        }
        self.serves_on().await;
    }

    /// A connection on which bytes were sent, and perhaps nothing more will come.
    pub async fn sent(&self, bytes: &[u8]) -> Connection {
        let mut connection = self.connect().await;
        connection.writer.write_all(bytes).await.unwrap();
        connection
    }

    /// A hostile peer after RLPx, before hello.
    pub async fn shaken(&self) -> Hostile {
        self.shaken_as(HOSTILE).await
    }

    pub async fn shaken_as(&self, seed: u8) -> Hostile {
        let to = public(VICTIM);
        let auth = Auth::of(seed, &to).packet(&to);
        Hostile::shake(self.connect().await, seed, &auth).await
    }

    /// A hostile peer with a session.
    pub async fn session(&mut self) -> Hostile {
        self.session_with(hello()).await
    }

    pub async fn session_with(&mut self, ours: Hello) -> Hostile {
        let mut hostile = self.shaken().await;
        hostile.send(|raw| raw.plain(HELLO, &ours.encode())).await;
        hostile.hear_hello(&ours).await;
        match self.event().await {
            Event::PeerAdded(peer) => assert_eq!(peer.id(), id(HOSTILE)),
            other => panic!("{other:?}"),
        }
        hostile
    }

    pub async fn event(&mut self) -> Event {
        timeout(PATIENCE, self.events.recv()).await.expect("the event never came").unwrap()
    }

    /// The one event of a handshake that failed.
    pub async fn failed(&mut self, reason: Reason) {
        match self.event().await {
            Event::HandshakeFailed { reason: found, detail, .. } => assert_eq!(found, reason, "{detail}"),
            other => panic!("{reason:?} expected: {other:?}"),
        }
        self.serves_on().await;
    }

    /// The one event of a peer refused by our rules.
    pub async fn refused(&mut self, seed: u8, reason: Reason) {
        match self.event().await {
            Event::Refused { reason: found, id: who, .. } => {
                assert_eq!((found, who), (reason, Some(id(seed))))
            }
            other => panic!("{reason:?} expected: {other:?}"),
        }
        self.serves_on().await;
    }

    /// The one event of the hostile session's end.
    pub async fn dropped(&mut self, reason: Reason, by: By) {
        match self.event().await {
            Event::PeerDropped { peer, end } => {
                assert_eq!((peer.id(), &end.reason, end.by), (id(HOSTILE), &reason, by), "{:?}", end.detail);
            }
            other => panic!("{reason:?} expected: {other:?}"),
        }
        self.serves_on().await;
    }

    /// The friend is served, nothing else was told, nothing is held.
    pub async fn serves_on(&mut self) {
        self.ask_friend().await;
        assert!(self.events.is_empty(), "more than one event: {:?}", self.events.try_recv());
        assert_eq!(self.switch.peers().len(), 1);
    }

    pub async fn ask_friend(&mut self) {
        let asked = Bytes::from_static(b"still here?");
        self.io.send(ChannelId(0), asked.clone()).await.unwrap();
        let (_, heard) = timeout(PATIENCE, self.io.recv()).await.expect("no echo").expect("closed");
        assert_eq!(heard, asked);
        assert_eq!(self.switch.bytes_held(), 0);
    }

    pub async fn finish(self) {
        for switch in [&self.switch, &self.friend] {
            switch.stop().await;
            assert_eq!(switch.bytes_held(), 0);
            assert!(switch.peers().is_empty());
        }
    }
}

/// Asserts the virtual time since `start`, to within 100 ms.
pub fn took(start: Instant, limit: Duration) {
    let took = start.elapsed();
    assert!((limit..limit + Duration::from_millis(100)).contains(&took), "{took:?} and not {limit:?}");
}
