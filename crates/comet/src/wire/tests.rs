use super::*;
use crate::secret_connection::encode_hello;
use switchboard::net::memory::MemoryNetwork;
use switchboard::protocol::channel::ChannelSpec;
use switchboard::wire::{Gate, InFrame, Offered, OpenGate, OutFrame};
use tokio::io::DuplexStream;

fn env(seed: u64) -> Env {
    Env::seeded(Arc::new(MemoryNetwork::default()), 1_700_000_000, seed)
}

fn config(seed: u8) -> CometConfig {
    CometConfig::new(Arc::new(NodeKey::from_seed(&[seed; 32]).unwrap()), "test-chain")
}

fn offer(channels: &[u16]) -> Arc<Offer> {
    let specs: Vec<_> = channels.iter().map(|id| ChannelSpec::new(*id, 1)).collect();
    let protocol = Offered {
        index: 4,
        name: "p".into(),
        version: 1,
        length: 256,
        channels: specs,
        placement: Default::default(),
    };
    Arc::new(Offer { protocols: vec![protocol] })
}

fn upgrade(seed: u64, channels: &[u16]) -> Upgrade {
    Upgrade { env: env(seed), offer: offer(channels), gate: Arc::new(OpenGate), listen: None }
}

fn addr(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Two ends of a pipe; small, so that whoever waits where nobody may wait is found out.
fn pipe() -> (Connection, Connection) {
    let (a, b) = tokio::io::duplex(16);
    (Connection::from_stream(a, addr(1), addr(2)), Connection::from_stream(b, addr(2), addr(1)))
}

fn raw_pipe() -> (Connection, DuplexStream) {
    let (a, b) = tokio::io::duplex(65_536);
    (Connection::from_stream(a, addr(1), addr(2)), b)
}

fn candidate(config: &CometConfig) -> Candidate {
    parse(&format!("comet://{}@127.0.0.1:2", config.key.id())).unwrap()
}

async fn meet(
    left: CometConfig,
    ours: &[u16],
    right: CometConfig,
    theirs: &[u16],
) -> (Result<Established, HandshakeError>, Result<Established, HandshakeError>) {
    let (a, b) = pipe();
    let whom = candidate(&right);
    let (left, right) = (Comet::new(left).unwrap(), Comet::new(right).unwrap());
    tokio::join!(left.dial(a, whom, upgrade(1, ours)), right.accept(b, upgrade(2, theirs)))
}

#[tokio::test(start_paused = true)]
async fn two_nodes_meet() {
    let mut ours = config(1);
    ours.moniker = "left".into();
    let (left, right) = meet(ours, &[0x70, 0x20, 0x01], config(2), &[0x00, 0x20, 0x70]).await;
    let (left, right) = (left.unwrap(), right.unwrap());
    assert_eq!(right.peer.to_string(), config(1).key.id().to_string());
    assert_eq!(right.info.name, "left");
    assert_eq!(right.info.network.as_deref(), Some("test-chain"));
    assert_eq!(right.info.capabilities, ["0x70", "0x20", "0x01"]);
    assert_eq!(right.info.listen.as_deref(), Some("tcp://0.0.0.0:0"));
    // Each side keeps its own order of registration.
    let ids = |session: &Established| session.channels.iter().map(|c| c.wire_id).collect::<Vec<_>>();
    assert_eq!((ids(&left), ids(&right)), (vec![0x70, 0x20], vec![0x20, 0x70]));
    assert!(left.channels.iter().all(|c| c.protocol == 4 && u64::from(c.channel.0) == c.wire_id));
    assert_eq!(left.rules.liveness.ping_every, Some(Duration::from_secs(60)));
}

#[tokio::test(start_paused = true)]
async fn differences_that_matter() {
    let with = |change: fn(&mut CometConfig)| {
        let mut config = config(2);
        change(&mut config);
        config
    };
    let cases = [
        (with(|c| c.network = "other".into()), "network"),
        (with(|c| c.protocol.block = 10), "block version"),
        (with(|_| {}), "channels"),
    ];
    for (theirs, field) in cases {
        let channels: &[u16] = if field == "channels" { &[9] } else { &[1] };
        let (left, right) = meet(config(1), &[1], theirs, channels).await;
        assert_eq!(left.unwrap_err().reason(), Reason::Incompatible(field));
        assert_eq!(right.unwrap_err().reason(), Reason::Incompatible(field));
    }
    let theirs = with(|c| (c.protocol.app, c.protocol.p2p) = (77, 9));
    assert!(meet(config(1), &[1], theirs, &[1]).await.0.is_ok());
    // We have no channels: we take them; they do not take us.
    let (left, right) = meet(config(1), &[], config(2), &[1]).await;
    assert!(left.is_ok());
    assert_eq!(right.unwrap_err().reason(), Reason::Incompatible("channels"));
}

#[tokio::test(start_paused = true)]
async fn somebody_else_answers() {
    let (a, b) = pipe();
    let (left, right) = (Comet::new(config(1)).unwrap(), Comet::new(config(2)).unwrap());
    let (left, right) = tokio::join!(
        left.dial(a, candidate(&config(3)), upgrade(1, &[1])),
        right.accept(b, upgrade(2, &[1]))
    );
    let error = left.unwrap_err();
    assert_eq!(error.reason(), Reason::WrongIdentity);
    assert!(error.to_string().contains(&config(3).key.id().to_string()), "{error}");
    assert_eq!(right.unwrap_err().reason(), Reason::RemoteClosed);
    // Without an ID whoever answers is taken; ourselves we are not.
    let (a, b) = pipe();
    let whom = parse("comet://localhost:5").unwrap();
    let node = Comet::new(config(1)).unwrap();
    let (left, right) = tokio::join!(node.dial(a, whom, upgrade(1, &[1])), node.accept(b, upgrade(2, &[1])));
    assert_eq!(left.unwrap_err().reason(), Reason::SelfConnection);
    assert_eq!(right.unwrap_err().reason(), Reason::SelfConnection);
}

#[tokio::test(start_paused = true)]
async fn the_gate_stands_between_key_and_node_info() {
    struct Shut;
    impl Gate for Shut {
        fn identity(&self, _: PeerId, direction: Direction) -> BoxFuture<'_, Result<(), Reason>> {
            assert_eq!(direction, Direction::Inbound);
            Box::pin(std::future::ready(Err(Reason::TooManyPeers)))
        }
    }
    let (a, b) = pipe();
    let (left, right) = (Comet::new(config(1)).unwrap(), Comet::new(config(2)).unwrap());
    let mut shut = upgrade(2, &[1]);
    shut.gate = Arc::new(Shut);
    let dialled = left.dial(a, candidate(&config(2)), upgrade(1, &[1]));
    let (left, right) = tokio::join!(dialled, right.accept(b, shut));
    assert!(matches!(right, Err(HandshakeError::RefusedByUs(Reason::TooManyPeers))));
    assert!(matches!(left, Err(HandshakeError::Closed(Stage::Protocol))));
}

#[tokio::test(start_paused = true)]
async fn silence_costs_three_seconds_at_each_step() {
    let node = Comet::new(config(1)).unwrap();
    let (connection, far) = raw_pipe();
    let start = tokio::time::Instant::now();
    let error = node.accept(connection, upgrade(1, &[1])).await.unwrap_err();
    assert!(matches!(error, HandshakeError::Timeout(Stage::Secure)));
    assert_eq!(start.elapsed(), Duration::from_secs(3));
    drop(far);

    let (a, b) = pipe();
    let (other, start) = (config(2), tokio::time::Instant::now());
    let mute = async {
        // Proves a key and says nothing more.
        let secure = Secure::establish(b, &other, &env(2)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(secure);
    };
    let result = tokio::select! {
        result = node.accept(a, upgrade(1, &[1])) => result,
        () = mute => panic!("nobody gave up"),
    };
    assert!(matches!(result, Err(HandshakeError::Timeout(Stage::Protocol))));
    assert_eq!(start.elapsed(), Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn our_ephemeral_is_sent_without_waiting() {
    for inbound in [false, true] {
        let node = Comet::new(config(1)).unwrap();
        let (connection, mut far) = raw_pipe();
        let whom = parse("comet://h:1").unwrap();
        let shake = if inbound {
            node.accept(connection, upgrade(1, &[1]))
        } else {
            node.dial(connection, whom, upgrade(1, &[1]))
        };
        let mut first = [0; 35];
        tokio::select! {
            _ = shake => panic!("it ended"),
            read = far.read_exact(&mut first) => { read.unwrap(); }
        }
        assert_eq!(sniff(&first), Sniff::Yes);
    }
}

#[tokio::test(start_paused = true)]
async fn garbage_is_a_breach_and_an_early_end_is_not() {
    let hello = encode_hello(&[9; 32]);
    let cases: [(&[u8], &str); 6] = [
        (
            b"GET / HTTP/1.1\r\n\r\n padding padding padding padding padding padding",
            "handshake message length",
        ),
        (&[0xff; 12], "varint overflow"),
        (&[2, 0x0a, 0], "ephemeral key length"),
        (&[35, 0x0a, 32], ""),
        (&hello, ""),
        (&encode_hello(&[0; 32]), "low-order ephemeral key"),
    ];
    for (bytes, rule) in cases {
        let node = Comet::new(config(1)).unwrap();
        let (connection, mut far) = raw_pipe();
        far.write_all(bytes).await.unwrap();
        far.shutdown().await.unwrap();
        let error = node.accept(connection, upgrade(1, &[1])).await.unwrap_err();
        let expected = if rule.is_empty() { Reason::RemoteClosed } else { Reason::Breach(rule) };
        assert_eq!(error.reason(), expected, "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn node_infos_that_lie() {
    type Lie = fn(&mut NodeInfo);
    let cases: [(Lie, Reason); 4] = [
        (|info| info.moniker = "\u{7}".into(), Reason::Breach("node info")),
        (|info| info.id = "a".repeat(40), Reason::Breach("node info id")),
        (|info| info.id = info.id.to_uppercase(), Reason::Breach("node info id")),
        (|info| info.moniker = "m".repeat(11_000), Reason::Breach("node info encoding")),
    ];
    for (lie, reason) in cases {
        let (a, b) = pipe();
        let (node, other) = (Comet::new(config(1)).unwrap(), config(2));
        let liar = async {
            let mut secure = Secure::establish(b, &other, &env(2)).await.unwrap();
            let mut info = other.node_info(vec![1], None);
            lie(&mut info);
            let _ = secure.exchange(Some(&info)).await;
            secure
        };
        let (result, _) = tokio::join!(node.accept(a, upgrade(1, &[1])), liar);
        assert_eq!(result.unwrap_err().reason(), reason);
    }
}

#[tokio::test(start_paused = true)]
async fn a_mirror_is_taken_by_any_network_and_answered() {
    let mut theirs = config(2);
    (theirs.network, theirs.protocol.block, theirs.moniker) = ("far-chain".into(), 3, "far".into());
    let whom = candidate(&theirs);
    let (a, b) = pipe();
    let node = Comet::new(theirs).unwrap();
    let (ours, world) = (config(1), env(1));
    let (mirror, them) =
        tokio::join!(probe(a, &whom, &ours, &world), node.accept(b, upgrade(2, &[0x20, 0x21])));
    let (mut mirror, mut them) = (mirror.unwrap(), them.unwrap());
    assert_eq!((mirror.info.name.as_str(), mirror.info.network.as_deref()), ("far", Some("far-chain")));
    assert!(mirror.channels.is_empty());
    // They talk at once on channels they believe are shared; then they answer our ping.
    let mut wire = BytesMut::new();
    them.encoder.encode(OutFrame::Data { wire_id: 0x20, data: b"vote", last: true }, &mut wire).unwrap();
    them.encoder.encode(OutFrame::Pong, &mut wire).unwrap();
    them.encoder.finish(&mut wire).unwrap();
    assert_eq!(mirror.decoder.decode(&mut wire).unwrap(), Some(InFrame::Skip));
    assert_eq!(mirror.decoder.decode(&mut wire).unwrap(), Some(InFrame::Pong));
}

#[test]
fn addresses_as_users_write_them() {
    let id = config(1).key.id();
    for url in [
        format!("comet://{id}@h.example:26656"),
        format!("tcp://{id}@h.example:26656"),
        format!("{id}@h.example:26656"),
    ] {
        let candidate = parse(&url).unwrap();
        assert_eq!((candidate.host.as_str(), candidate.port, candidate.wire), ("h.example", 26656, COMET));
        assert_eq!(candidate.id.unwrap().as_bytes(), id.0);
        assert_eq!(candidate.to_string(), format!("comet://{id}@h.example:26656"));
    }
    let v6 = parse(&format!("{id}@[::1]:5")).unwrap();
    assert_eq!((v6.host.as_str(), v6.authority().as_str()), ("::1", "[::1]:5"));
    assert_eq!(parse("comet://1.2.3.4:5").unwrap().id, None);
    for bad in ["1.2.3.4:5", "enode://aa@1.2.3.4:5", "comet://aa@1.2.3.4:5", "comet://h:0", "comet://", ""] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn first_bytes() {
    assert_eq!(sniff(&[]), Sniff::More);
    assert_eq!(sniff(&[0x22, 0x0a]), Sniff::More);
    assert_eq!(sniff(&[0x22, 0x0a, 0x20, 1]), Sniff::Yes);
    assert_eq!(sniff(&[0x22, 0x0b]), Sniff::No);
    assert_eq!(sniff(&[0x16, 0x03]), Sniff::No);
}

#[test]
fn settings_nobody_would_accept() {
    let bad = |change: fn(&mut CometConfig)| {
        let mut config = config(1);
        change(&mut config);
        Comet::new(config).unwrap_err()
    };
    assert_eq!(bad(|c| c.moniker.clear()), ConfigError::Announced(InvalidNodeInfo::Moniker));
    assert_eq!(bad(|c| c.version = "é".into()), ConfigError::Announced(InvalidNodeInfo::Version));
    assert!(matches!(bad(|c| c.listen_addr = Some("x".into())), ConfigError::Announced(_)));
    let node = Comet::new(config(1)).unwrap();
    assert!(matches!(
        node.channels(&offer(&[0x100])),
        Err(ConfigError::ChannelNumber { channel: 0x100, .. })
    ));
    let seventeen: Vec<u16> = (0..17).collect();
    assert!(node.channels(&offer(&seventeen)).is_err());
    let mut twice = Offer::clone(&offer(&[1]));
    twice.protocols.extend(offer(&[1]).protocols.clone());
    assert_eq!(node.channels(&twice), Err(ConfigError::Announced(InvalidNodeInfo::DuplicateChannel(1))));
    assert_eq!(node.address(addr(9)).to_string(), format!("{}@127.0.0.1:9", config(1).key.id()));
}
