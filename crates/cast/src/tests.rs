//! Whole nodes over the wire in memory: rings, late joiners, restarts, hostile peers.

use super::*;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use switchboard::net::memory::{MemoryNetwork, MemoryWire};
use switchboard::session::outgoing::SendError;
use switchboard::{
    BoxFuture, ChannelId, ChannelIo, Env, Event, Limits, Peer, Protocol, ProtocolError, ProtocolSpec, Reason,
    Switch, SwitchBuilder,
};
use tokio::sync::broadcast::Receiver;

const PATIENT: Duration = Duration::from_secs(60);

/// A wrapping as comet has it: a tag and a varint length.
struct Tagged;

impl Framing for Tagged {
    fn prefix(&self, _: Flow, len: usize, out: &mut BytesMut) {
        out.put_u8(10);
        out.put_u32(len as u32);
    }

    fn unwrap(&self, mut bytes: Bytes) -> Result<Bytes, &'static str> {
        match bytes.try_get_u8() {
            Ok(10) if bytes.try_get_u32().is_ok_and(|len| len as usize == bytes.len()) => Ok(bytes),
            _ => Err("wrapping"),
        }
    }
}

fn map() -> ChannelMap {
    ChannelMap::wrapped(0x74, Tagged)
}

struct Node {
    cast: Cast,
    events: Receiver<CastEvent>,
    switch: Switch,
}

fn bytes_of(size: usize) -> Vec<u8> {
    switchboard_bench::Messages::new(size, switchboard_bench::Payload::Random).get(1).to_vec()
}

async fn switch(net: &MemoryNetwork, name: u8, protocol: Arc<dyn Protocol>) -> Switch {
    let env = Env::seeded(Arc::new(net.clone()), 0, u64::from(name));
    SwitchBuilder::new(env)
        .wire(Arc::new(MemoryWire::new(&[name])))
        .protocol(protocol)
        .limits(Limits::default())
        .listen("127.0.0.1:0".parse().unwrap(), &[])
        .start()
        .await
        .unwrap()
}

impl Node {
    async fn with(net: &MemoryNetwork, name: u8, config: Config, factory: Arc<dyn StoreFactory>) -> Self {
        let cast = Cast::new(config, factory);
        let events = cast.events();
        cast.resume().await.unwrap();
        let switch = switch(net, name, cast.protocol(map())).await;
        Self { cast, events, switch }
    }

    async fn new(net: &MemoryNetwork, name: u8, dir: &Path) -> Self {
        Self::with(net, name, Config::default(), FileStores::new(dir).unwrap()).await
    }

    async fn dial(&self, other: &Node) {
        dial(&self.switch, &other.switch).await;
    }

    /// The next event that is not mere progress.
    async fn event(&mut self) -> CastEvent {
        loop {
            match tokio::time::timeout(PATIENT, self.events.recv()).await.expect("an event in time").unwrap()
            {
                CastEvent::Progress { .. } => {}
                event => return event,
            }
        }
    }

    async fn done(&mut self) -> (CastId, Hash, u8, Option<PathBuf>) {
        loop {
            match self.event().await {
                CastEvent::Done { id, sha256, hops, path, .. } => return (id, sha256, hops, path),
                CastEvent::Failed { error, .. } => panic!("{error}"),
                _ => {}
            }
        }
    }
}

async fn dial(from: &Switch, to: &Switch) {
    let url = format!("memory://{}", to.listening()[0].0);
    let _ = from.offer(from.parse(&url).unwrap()).await;
}

fn source_file(dir: &Path, size: usize) -> (PathBuf, Hash) {
    let (path, bytes) = (dir.join("source file.bin"), bytes_of(size));
    std::fs::write(&path, &bytes).unwrap();
    (path, Sha256::digest(&bytes).into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ring_of_four() {
    let megabytes = std::env::var("CAST_MB").ok().and_then(|n| n.parse().ok()).unwrap_or(3);
    let (net, dir) = (MemoryNetwork::default(), tempfile::tempdir().unwrap());
    let (path, want) = source_file(dir.path(), megabytes * 1_000_000 + 7);
    let mut nodes = Vec::new();
    for name in 1..=4 {
        nodes.push(Node::new(&net, name, &dir.path().join(name.to_string())).await);
    }
    for i in 0..4 {
        nodes[i].dial(&nodes[(i + 1) % 4]).await;
    }
    for node in &nodes {
        while node.switch.peers().len() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let begin = tokio::time::Instant::now();
    let id = nodes[0].cast.start(path).await.unwrap();
    println!("started after {:?}", begin.elapsed());
    for (node, distance) in nodes[1..].iter_mut().zip([1, 2, 1]) {
        let (done, sum, hops, path) = node.done().await;
        println!("{hops} hops after {:?}", begin.elapsed());
        assert_eq!((done, sum), (id, want));
        let file = path.unwrap();
        assert_eq!(hash_file(&file), want);
        assert!(file.file_name().unwrap().to_str().unwrap().ends_with("-source_file.bin"), "{file:?}");
        // The first announce counts, and it may have gone the long way round.
        assert!((distance..4).contains(&hops));
    }
}

fn hash_file(path: &Path) -> Hash {
    Sha256::digest(std::fs::read(path).unwrap()).into()
}

fn memory(net: &MemoryNetwork, name: u8) -> impl Future<Output = Node> {
    Node::with(net, name, Config { chunk_size: 1024, ..Config::default() }, MemoryStores::new(64 << 20))
}

fn start_bytes(node: &Node, bytes: &[u8]) -> CastId {
    let manifest = Manifest::build(bytes, 1024, "memory").unwrap();
    let store = MemoryStore::full(Bytes::copy_from_slice(bytes), 1024);
    node.cast.start_with(manifest, Arc::new(store)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn late_joiners_and_several_casts_on_a_paused_clock() {
    let net = MemoryNetwork::default();
    let (mut a, mut b) = (memory(&net, 1).await, memory(&net, 2).await);
    let files: Vec<Vec<u8>> = [0, 1, 1024, 1024 * 1024 + 1].map(bytes_of).to_vec();
    let first = start_bytes(&a, &files[3]);
    assert!(matches!(a.event().await, CastEvent::Started { id, .. } if id == first));
    b.dial(&a).await;
    assert!(matches!(b.event().await, CastEvent::Learned { id, hops: 1, .. } if id == first));
    assert_eq!(b.done().await.0, first);
    let mut rest: Vec<CastId> = files[..3].iter().map(|bytes| start_bytes(&a, bytes)).collect();
    let mut got = [b.done().await.0, b.done().await.0, b.done().await.0];
    rest.sort();
    got.sort();
    assert_eq!(got[..], rest[..]);

    // Late, and the source is gone.
    a.switch.stop().await;
    let mut c = memory(&net, 3).await;
    c.dial(&b).await;
    for _ in 0..4 {
        let (id, sum, hops, path) = c.done().await;
        let status = b.cast.status().into_iter().find(|s| s.id == id).unwrap();
        assert_eq!((Some(sum), hops, path), (status.sha256, 2, None));
        assert_eq!(status.held, status.chunks);
    }
}

/// A source that cannot read what lies beyond some offset.
struct Half(Arc<dyn Store>, u64);

impl Store for Half {
    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        if offset < self.1 { self.0.read(offset, out) } else { Err(std::io::ErrorKind::NotFound.into()) }
    }

    fn write(&self, _: u64, _: &[u8]) -> std::io::Result<()> {
        Err(std::io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

/// Waits until this many chunks of the first cast are held.
async fn until_held(node: &Node, chunks: u32) {
    while node.cast.status().first().is_none_or(|status| status.held < chunks) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_restarted_midway_fetches_only_the_rest() {
    let (net, dir) = (MemoryNetwork::default(), tempfile::tempdir().unwrap());
    let (path, want) = source_file(dir.path(), 3_000_000);
    let half = Node::new(&net, 1, &dir.path().join("1")).await;
    let (store, manifest) = SourceStore::open(&path, 1024).unwrap();
    let total = manifest.header.chunks();
    let id = half.cast.start_with(manifest, Arc::new(Half(Arc::new(store), 2000 * 1024))).unwrap();
    let casts = dir.path().join("2");
    let node = Node::new(&net, 2, &casts).await;
    node.dial(&half).await;
    until_held(&node, 2000).await;
    node.switch.stop().await;
    node.cast.stop().await;
    drop(node);

    let mut again = Node::new(&net, 2, &casts).await;
    assert_eq!(again.event().await, CastEvent::Resumed { id, held: 2000, total });
    let source = Node::with(
        &net,
        3,
        Config { chunk_size: 1024, ..Config::default() },
        FileStores::new(dir.path().join("3")).unwrap(),
    )
    .await;
    assert_eq!(source.cast.start(path).await.unwrap(), id);
    again.dial(&source).await;
    let (_, sum, hops, path) = again.done().await;
    assert_eq!((sum, hops, hash_file(&path.unwrap())), (want, 1, want));

    // Once more, with the whole file: it is served to somebody who never met a source.
    again.switch.stop().await;
    drop(again);
    source.switch.stop().await;
    half.switch.stop().await;
    let mut third = Node::new(&net, 2, &casts).await;
    assert_eq!(third.event().await, CastEvent::Resumed { id, held: total, total });
    assert_eq!(third.done().await.1, want);
    let mut fourth = Node::new(&net, 4, &dir.path().join("4")).await;
    fourth.dial(&third).await;
    let (_, sum, hops, _) = fourth.done().await;
    assert_eq!((sum, hops), (want, 2));
}

/// The end of a chain gets what its middle has, though the middle never gets it all.
#[tokio::test(start_paused = true)]
async fn a_chain_passes_on_what_it_has() {
    let net = MemoryNetwork::default();
    let bytes = Bytes::from(bytes_of(2_000_000));
    let (source, middle, last) = (memory(&net, 1).await, memory(&net, 2).await, memory(&net, 3).await);
    middle.dial(&source).await;
    last.dial(&middle).await;
    let manifest = Manifest::build(bytes.as_ref(), 1024, "").unwrap();
    let store = Half(Arc::new(MemoryStore::full(bytes, 1024)), 1500 * 1024);
    source.cast.start_with(manifest, Arc::new(store)).unwrap();
    until_held(&last, 1500).await;
    assert_eq!(middle.cast.status()[0].held, 1500);
}

/// One node on two networks that wrap messages differently, as devp2p and comet do.
#[tokio::test(start_paused = true)]
async fn one_cast_bridges_two_wires() {
    let (left, right) = (MemoryNetwork::default(), MemoryNetwork::default());
    let source = memory(&left, 1).await;
    let bridge = memory(&left, 2).await;
    let plain = Cast::new(Config::default(), MemoryStores::new(1 << 20));
    let mut events = plain.events();
    let other_side = switch(&right, 2, bridge.cast.protocol(ChannelMap::plain(0))).await;
    let last = switch(&right, 3, plain.protocol(ChannelMap::plain(0))).await;
    bridge.dial(&source).await;
    dial(&last, &other_side).await;
    let want = start_bytes(&source, &bytes_of(100_000));
    loop {
        if let CastEvent::Done { id, hops, .. } = events.recv().await.unwrap() {
            assert_eq!((id, hops), (want, 2));
            break;
        }
    }
}

#[tokio::test]
async fn a_node_that_does_not_receive_still_gives() {
    let net = MemoryNetwork::default();
    let config = Config { receive: false, chunk_size: 1024, ..Config::default() };
    let giver = Node::with(&net, 1, config, MemoryStores::new(0)).await;
    let mut taker = memory(&net, 2).await;
    taker.dial(&giver).await;
    let theirs = start_bytes(&taker, &bytes_of(3000));
    let ours = start_bytes(&giver, &bytes_of(4000));
    assert_eq!(taker.done().await.0, ours);
    let known: Vec<CastId> = giver.cast.status().into_iter().map(|s| s.id).collect();
    assert_eq!(known, [ours]);
    assert_ne!(ours, theirs);
}

#[tokio::test]
async fn a_store_that_fails_ends_the_cast_and_not_the_session() {
    let net = MemoryNetwork::default();
    let config = Config { chunk_size: 1024, ..Config::default() };
    let mut small = Node::with(&net, 1, config, MemoryStores::new(1000)).await;
    let other = memory(&net, 2).await;
    other.dial(&small).await;
    let large = start_bytes(&other, &bytes_of(1001));
    loop {
        if let CastEvent::Failed { id, error } = small.event().await {
            assert_eq!(id, large);
            assert!(error.contains("1000"), "{error}");
            break;
        }
    }
    let fits = start_bytes(&other, &bytes_of(1000));
    assert_eq!(small.done().await.0, fits);
}

/// Announces a file of four chunks and answers every request in its own way.
struct Liar {
    manifest: Manifest,
    answer: fn(&Manifest, Message) -> Message,
}

fn wrapped(message: &Message) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(10);
    out.put_u32(message.encoded_len() as u32);
    message.encode(&mut out);
    out.freeze()
}

impl Protocol for Liar {
    fn spec(&self) -> ProtocolSpec {
        Cast::new(Config::default(), MemoryStores::new(0)).protocol(map()).spec()
    }

    fn run(self: Arc<Self>, _: Peer, mut io: ChannelIo) -> BoxFuture<'static, Result<(), ProtocolError>> {
        Box::pin(async move {
            let header = self.manifest.header.raw().clone();
            let id = self.manifest.header.id();
            let hello =
                [Message::Announce { id, hops: 0, held: 4, header }, Message::Done { id, sha256: [0; 32] }];
            for message in hello {
                let _ = io.send(ChannelId(0x74), wrapped(&message)).await;
            }
            while let Some((channel, mut bytes)) = io.recv().await {
                bytes.advance(5);
                if channel == ChannelId(0x75) {
                    let request = Message::decode(Flow::Request, bytes, 1024).unwrap();
                    let answer = (self.answer)(&self.manifest, request);
                    let channel = 0x74 + answer.flow() as u16;
                    let _ = io.send(ChannelId(channel), wrapped(&answer)).await;
                }
            }
            Ok(())
        })
    }
}

fn honest_page(manifest: &Manifest) -> Message {
    Message::Page { id: manifest.header.id(), page: 0, hashes: manifest.pages[0].clone() }
}

#[tokio::test]
async fn liars_are_named_and_shown_out_and_the_file_still_comes() {
    type Answer = fn(&Manifest, Message) -> Message;
    let answers: [(Answer, &str); 7] = [
        (
            |_, request| Message::Page { id: request.id(), page: 0, hashes: vec![0; 128].into() },
            "page differs from its header",
        ),
        (
            |_, request| Message::Page { id: request.id(), page: 1, hashes: vec![0; 128].into() },
            "an answer nobody asked for",
        ),
        (
            |_, request| Message::Chunk { id: request.id(), index: 0, data: vec![0; 1024].into() },
            "an answer nobody asked for",
        ),
        (|_, request| Message::Have { id: request.id(), first: 4, count: 1 }, "range out of bounds"),
        (|_, request| Message::WantChunk { id: request.id(), first: 4, count: 1 }, "range out of bounds"),
        (
            |manifest, request| match request {
                Message::WantChunk { id, first, .. } => {
                    Message::Chunk { id, index: first, data: vec![0; 1024].into() }
                }
                _ => honest_page(manifest),
            },
            "chunk differs from its page",
        ),
        (
            |manifest, request| match request {
                Message::WantChunk { id, .. } => Message::Chunk { id, index: 3, data: vec![0; 1024].into() },
                _ => honest_page(manifest),
            },
            "chunk length differs from the header",
        ),
    ];
    let bytes = bytes_of(3 * 1024 + 1);
    let manifest = Manifest::build(bytes.as_slice(), 1024, "").unwrap();
    for (answer, rule) in answers {
        let net = MemoryNetwork::default();
        let mut victim = memory(&net, 1).await;
        let mut told = victim.switch.events();
        let liar = switch(&net, 2, Arc::new(Liar { manifest: manifest.clone(), answer })).await;
        dial(&victim.switch, &liar).await;
        let end = loop {
            if let Event::PeerDropped { end, .. } = told.recv().await.unwrap() {
                break end;
            }
        };
        assert_eq!(end.reason, Reason::Breach(rule), "{:?}", end.detail);
        let honest = memory(&net, 3).await;
        let id = start_bytes(&honest, &bytes);
        victim.dial(&honest).await;
        assert_eq!(victim.done().await.0, id);
    }
}

/// Sends what a stranger likes, then stays.
struct Stranger(Vec<Message>, tokio::sync::mpsc::Sender<()>);

impl Protocol for Stranger {
    fn spec(&self) -> ProtocolSpec {
        Cast::new(Config::default(), MemoryStores::new(0)).protocol(map()).spec()
    }

    fn run(self: Arc<Self>, _: Peer, mut io: ChannelIo) -> BoxFuture<'static, Result<(), ProtocolError>> {
        Box::pin(async move {
            for message in &self.0 {
                let channel = ChannelId(0x74 + message.flow() as u16);
                while let Err(SendError::Full | SendError::Timeout) = io.send(channel, wrapped(message)).await
                {
                }
            }
            let _ = self.1.send(()).await;
            while io.recv().await.is_some() {}
            Ok(())
        })
    }
}

fn empty(n: u32) -> Message {
    let header = Header::new(0, 1024 + n, "", &[]).unwrap();
    Message::Announce { id: header.id(), hops: 0, held: 0, header: header.raw().clone() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_files_neither_switch_casts_off_nor_survive_a_restart() {
    let (net, dir) = (MemoryNetwork::default(), tempfile::tempdir().unwrap());
    let casts = dir.path().join("casts");
    let victim = Node::new(&net, 1, &casts).await;
    let (said, mut all_said) = tokio::sync::mpsc::channel(1);
    let stranger = switch(&net, 2, Arc::new(Stranger((0..64).map(empty).collect(), said))).await;
    dial(&victim.switch, &stranger).await;
    all_said.recv().await.unwrap();
    let honest = Node::new(&net, 3, &dir.path().join("3")).await;
    let (path, want) = source_file(dir.path(), 100_000);
    let id = honest.cast.start(&path).await.unwrap();
    victim.dial(&honest).await;
    let sum = |node: &Node| node.cast.status().iter().find(|cast| cast.id == id).and_then(|cast| cast.sha256);
    while sum(&victim).is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(sum(&victim), Some(want));
    assert!(victim.cast.start(&path).await.is_ok(), "and own casts have their place");
    let names =
        std::fs::read_dir(&casts).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let id = id.to_string();
    assert!(names.into_iter().all(|name| name.starts_with(&id[..32])), "nothing of the empty files");
    victim.switch.stop().await;
    drop(victim);
    let again = Node::new(&net, 4, &casts).await;
    assert_eq!(again.cast.status().len(), 1);
}

/// The flood is read at the rate of one peer, while another's file comes as if there were none.
#[tokio::test(start_paused = true)]
async fn a_flood_of_news_waits_and_an_honest_cast_does_not() {
    let net = MemoryNetwork::default();
    let config = Config { chunk_size: 1024, ..Config::default() };
    let mut victim = Node::with(&net, 1, config, MemoryStores::new(2 << 30)).await;
    let honest = memory(&net, 3).await;
    victim.dial(&honest).await;
    let pages: Vec<Hash> = (0..1024).map(|n| [n as u8; 32]).collect();
    let header = Header::new(1 << 30, 1024, "", &pages).unwrap();
    let id = header.id();
    let mut flood = vec![Message::Announce { id, hops: 0, held: 0, header: header.raw().clone() }];
    let count = 3 * BURST as u32;
    flood.extend((0..count).map(|n| Message::Have { id, first: n * 2, count: 1 }));
    // The victim has this one when it has read all before it.
    flood.push(empty(1));
    let last = empty(1).id();
    let (said, _all_said) = tokio::sync::mpsc::channel(1);
    let stranger = switch(&net, 2, Arc::new(Stranger(flood, said))).await;
    let begin = tokio::time::Instant::now();
    dial(&victim.switch, &stranger).await;
    let want = start_bytes(&honest, &bytes_of(2_000_000));
    let mut took = Vec::new();
    while took.len() < 2 {
        let (id, ..) = victim.done().await;
        took.push((id, begin.elapsed()));
    }
    let [(first, honest_took), (second, flood_took)] = took[..] else { panic!() };
    assert_eq!((first, second), (want, last));
    let least = Duration::from_secs((u64::from(count) - BURST) / RATE);
    assert!(honest_took < flood_took && flood_took >= least, "{honest_took:?} {flood_took:?}");
}
