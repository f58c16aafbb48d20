//! Peers that mean harm: each input pattern, what it does, and that nothing panics, hangs or grows.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

use bytes::{Buf, BytesMut};
use proptest::prelude::*;
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use switchboard::net::memory::MemoryNetwork;
use switchboard::net::{Connection, Network};
use switchboard::wire::Wire;
use switchboard::{Env, Event, Reason, Switch, SwitchBuilder};
use switchboard_comet::bench::Bench;
use switchboard_comet::key::NodeKey;
use switchboard_comet::node_info::NodeInfo;
use switchboard_comet::packet::{PacketCodec, Protobuf};
use switchboard_comet::proto;
use switchboard_comet::secret_connection::{
    Auth, Handshake, MAX_AUTH, SecretError, Secured, decode_hello, encode_hello,
};
use switchboard_comet::{Comet, CometConfig, decoders};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

fn vector() -> Value {
    let all: Value = serde_json::from_str(include_str!("vectors/secret_connection_handshake.json")).unwrap();
    all["cases"][0].clone()
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn key(seed: u8) -> NodeKey {
    NodeKey::from_seed(&[seed; 32]).unwrap()
}

/// Our side of the recorded handshake, fed with `wire`.
fn answer(wire: &[u8]) -> Result<Option<Secured>, SecretError> {
    let case = vector();
    let mut out = BytesMut::new();
    let secret: [u8; 32] = bytes(&case["a"]["eph_priv"]).try_into().unwrap();
    Handshake::start(&secret, &mut out)?.advance(&key(1), &mut BytesMut::from(wire), &mut out)
}

#[test]
fn every_truncation_of_a_handshake_waits_for_more() {
    let wire = bytes(&vector()["b"]["handshake_wire"]);
    for cut in 0..wire.len() {
        assert!(answer(&wire[..cut]).unwrap().is_none(), "{cut} bytes");
    }
    assert!(answer(&wire).unwrap().is_some());
}

#[test]
fn every_changed_byte_of_a_handshake_is_found() {
    let wire = bytes(&vector()["b"]["handshake_wire"]);
    for at in 0..wire.len() {
        for bit in [0x01, 0x80] {
            let mut bad = wire.clone();
            bad[at] ^= bit;
            assert!(!matches!(answer(&bad), Ok(Some(_))), "byte {at}");
        }
    }
}

#[test]
fn identity_keys_of_other_kinds_and_lengths() {
    let auth = |kind: u32, len: usize, signature: usize| {
        let (mut key, mut message) = (Vec::new(), Vec::new());
        proto::put_message_field(kind, &vec![7; len], &mut key);
        proto::put_message_field(1, &key, &mut message);
        proto::put_message_field(2, &vec![9; signature], &mut message);
        Auth::decode(&proto::delimit(&message)).map(|found| found.is_some())
    };
    assert_eq!(auth(1, 32, 64), Ok(true));
    assert_eq!(auth(2, 33, 64), Err(SecretError::KeyType(2)));
    assert_eq!(auth(3, 96, 96), Err(SecretError::KeyType(3)));
    assert_eq!(auth(4, 1952, 3309), Err(SecretError::KeyType(4)));
    for len in [0, 31, 33, 64] {
        assert_eq!(auth(1, len, 64), Err(SecretError::KeyLength(len)));
    }
    for len in [0, 63, 65] {
        assert_eq!(auth(1, 32, len), Err(SecretError::SignatureLength(len)));
    }
    assert_eq!(Auth::decode(&[0]).unwrap_err(), SecretError::NoKey);
    assert_eq!(Auth::decode(&[2, 0x0a, 0]).unwrap_err(), SecretError::NoKey);
    let mut long = Vec::new();
    proto::put_uvarint(MAX_AUTH as u64 + 1, &mut long);
    assert!(matches!(Auth::decode(&long), Err(SecretError::Proto(_))));
}

#[test]
fn ephemerals_of_other_lengths_and_bloated_ones() {
    for len in [0, 1, 31, 33, 60] {
        let wire = proto::delimit(&proto::wrap(&vec![1; len]));
        assert_eq!(decode_hello(&wire).unwrap_err(), SecretError::EphemeralLength(len));
    }
    // Unknown fields beside the key, up to the limit; then not.
    let mut message = proto::wrap(&[1; 32]).to_vec();
    proto::put_bytes_field(9, &[0; 28], &mut message);
    assert!(decode_hello(&proto::delimit(&message)).unwrap().is_some());
    message.push(0);
    assert!(matches!(decode_hello(&proto::delimit(&message)), Err(SecretError::Proto(_))));
    assert!(matches!(decode_hello(&[0xff; 10]), Err(SecretError::Proto(proto::ProtoError::VarintOverflow))));
}

#[test]
fn decoders_are_listed_once_each() {
    let mut names: Vec<_> = decoders::ALL.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), decoders::ALL.len());
    assert!(names.iter().all(|name| name.starts_with("comet_")));
}

/// Real messages of each kind, to be damaged.
fn specimens() -> Vec<Vec<u8>> {
    let infos: Value = serde_json::from_str(include_str!("vectors/node_info.json")).unwrap();
    let packets: Value = serde_json::from_str(include_str!("vectors/packets.json")).unwrap();
    let mut all = vec![
        bytes(&vector()["b"]["handshake_wire"]),
        encode_hello(&[9; 32]),
        Auth::sign(&key(1), &[0; 32]).encode(),
        key(1).to_json().as_bytes().to_vec(),
        format!("tcp://{}@[::1]:26656", key(1).id()).into_bytes(),
        proto::wrap(br#"{"bytes":1,"msgs":2,"ns":3}"#).to_vec(),
    ];
    all.extend(infos["encodings"].as_array().unwrap().iter().map(|case| bytes(&case["delimited"])));
    all.extend(packets["packets_delimited"].as_object().unwrap().values().map(bytes));
    all
}

#[test]
fn every_truncation_of_everything_into_every_decoder() {
    for specimen in specimens() {
        for cut in 0..=specimen.len().min(200) {
            decoders::ALL.iter().for_each(|(_, decode)| decode(&specimen[..cut]));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn damaged_messages_into_every_decoder(
        which in any::<prop::sample::Index>(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let all = specimens();
        let mut specimen = which.get(&all).clone();
        for (at, byte) in damage {
            let at = at.index(specimen.len());
            specimen[at] = byte;
        }
        decoders::ALL.iter().for_each(|(_, decode)| decode(&specimen));
    }

    #[test]
    fn noise_into_every_decoder(noise in proptest::collection::vec(any::<u8>(), 0..2500)) {
        decoders::ALL.iter().for_each(|(_, decode)| decode(&noise));
    }
}

/// A peer with a key and no manners.
struct Hostile {
    connection: Connection,
    secured: Secured,
    src: BytesMut,
}

impl Hostile {
    async fn connect(net: &MemoryNetwork, addr: SocketAddr) -> Self {
        let mut connection = net.connect(addr).await.unwrap();
        let (key, mut src, mut out) = (key(66), BytesMut::new(), BytesMut::new());
        let mut handshake = Handshake::start(&[6; 32], &mut out).unwrap();
        let mut secured = loop {
            let done = handshake.advance(&key, &mut src, &mut out).unwrap();
            connection.writer.write_all(&out).await.unwrap();
            out.clear();
            match done {
                Some(secured) => break secured,
                None => assert!(connection.reader.read_buf(&mut src).await.unwrap() > 0),
            }
        };
        let config = CometConfig::new(Arc::new(key), "hostile-net");
        let info = config.node_info(vec![0x70, 0x72, 0x73, 0x20], None);
        secured.sealer.seal_all(&info.encode(), &mut out).unwrap();
        connection.writer.write_all(&out).await.unwrap();
        let used = loop {
            if let Some((_, used)) = NodeInfo::decode(&secured.plain).unwrap() {
                break used;
            }
            if !secured.opener.open_next(&mut src, &mut secured.plain).unwrap() {
                assert!(connection.reader.read_buf(&mut src).await.unwrap() > 0);
            }
        };
        secured.plain.advance(used);
        Self { connection, secured, src }
    }

    async fn send(&mut self, plain: &[u8]) {
        let mut out = BytesMut::new();
        self.secured.sealer.seal_all(plain, &mut out).unwrap();
        let _ = self.connection.writer.write_all(&out).await;
    }

    async fn send_raw(&mut self, bytes: &[u8]) {
        let _ = self.connection.writer.write_all(bytes).await;
    }

    /// The next bytes of plain text.
    async fn hear(&mut self) -> Vec<u8> {
        while self.secured.plain.is_empty() {
            let Secured { opener, plain, .. } = &mut self.secured;
            if !opener.open_next(&mut self.src, plain).unwrap() {
                assert!(self.connection.reader.read_buf(&mut self.src).await.unwrap() > 0);
            }
        }
        self.secured.plain.split().to_vec()
    }
}

async fn victim(net: &MemoryNetwork) -> Switch {
    let config = CometConfig::new(Arc::new(key(1)), "hostile-net");
    SwitchBuilder::new(Env::seeded(Arc::new(net.clone()), 1_700_000_000, 1))
        .wire(Arc::new(Comet::new(config).unwrap()) as Arc<dyn Wire>)
        .protocol(Bench::server())
        .listen(SocketAddr::from(([10, 0, 0, 1], 26_656)), &[])
        .start()
        .await
        .unwrap()
}

fn packet(channel: &[u8], rest: &[u8]) -> Vec<u8> {
    let mut message = vec![0x08];
    message.extend(channel);
    message.extend(rest);
    let mut outer = Vec::new();
    proto::put_message_field(3, &message, &mut outer);
    proto::delimit(&outer)
}

async fn ended(events: &mut switchboard::Events) -> Reason {
    let end = async {
        loop {
            if let Event::PeerDropped { end, .. } = events.recv().await.unwrap() {
                return end.reason;
            }
        }
    };
    timeout(Duration::from_secs(40), end).await.expect("the session went on")
}

#[tokio::test(start_paused = true)]
async fn what_ends_a_session_and_by_which_rule() {
    let negative = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    let overflow = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
    let mut bloated = vec![0x8c, 0x08, 0x0a, 0x00];
    bloated.resize(1036, 0x7a);
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (packet(&[0x21], &[0x10, 1]), "unknown channel"),
        (packet(&[0x80, 0x02], &[0x10, 1]), "channel number"),
        (packet(&negative, &[0x10, 1]), "channel number"),
        (packet(&overflow, &[0x10, 1]), "varint overflow"),
        (vec![0], "packet kind"),
        (vec![2, 0x22, 0], "packet kind"),
        (vec![0xff; 10], "varint overflow"),
        (bloated, "packet length"),
        (vec![2, 0x0a, 1], "packet encoding"),
        (packet(&[0x70], &[0x1a, 0xff, 0x07]), "packet encoding"),
        (packet(&[0x70], &[0x10, 1, 0x1a, 1, 0x08]), "bench: not a BytesValue"),
        (packet(&[0x72], &[0x10, 1]), "bench: data message of unknown kind"),
    ];
    let net = MemoryNetwork::default();
    let switch = victim(&net).await;
    for (plain, rule) in cases {
        let mut events = switch.events().in_full();
        let mut hostile = Hostile::connect(&net, switch.listening()[0].0).await;
        hostile.send(&plain).await;
        assert_eq!(ended(&mut events).await, Reason::Breach(rule));
    }
    let mut events = switch.events().in_full();
    let mut hostile = Hostile::connect(&net, switch.listening()[0].0).await;
    hostile.send_raw(&[5; 1044]).await;
    assert_eq!(ended(&mut events).await, Reason::Breach("frame authentication"));
    assert_eq!(switch.bytes_held(), 0, "nothing stays on the ledger");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_never_ends_is_cut_off() {
    let net = MemoryNetwork::default();
    let switch = victim(&net).await;
    let mut events = switch.events().in_full();
    let mut hostile = Hostile::connect(&net, switch.listening()[0].0).await;
    let mut piece = vec![0x1a, 0x80, 0x08];
    piece.extend([0; 1024]);
    let many = packet(&[0x70], &piece).repeat(64);
    // 21 MiB are allowed on this channel; 24 are sent, all of one message.
    for _ in 0..384 {
        hostile.send(&many).await;
    }
    assert_eq!(ended(&mut events).await, Reason::Breach("message over the channel's receive limit"));
    assert_eq!(switch.bytes_held(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_merely_odd_does_not_end_a_session() {
    let net = MemoryNetwork::default();
    let switch = victim(&net).await;
    let mut hostile = Hostile::connect(&net, switch.listening()[0].0).await;
    // Floods of pings, of pongs nobody asked for, of frames without data and of empty slices.
    hostile.send(&[2, 0x0a, 0].repeat(5000)).await;
    hostile.send(&[2, 0x12, 0].repeat(5000)).await;
    hostile.send(&packet(&[0x70], &[]).repeat(5000)).await;
    let mut empty = BytesMut::new();
    (0..5000).for_each(|_| hostile.secured.sealer.seal(&[], &mut empty).unwrap());
    hostile.send_raw(&empty).await;
    // A channel both sides have, but that they did not announce: skipped.
    hostile.send(&packet(&[0x71], &[0x10, 1])).await;
    // A packet bloated with unknown fields, and a data message in it that still counts.
    let mut message = Vec::new();
    proto::put_bytes_field(15, &[1; 900], &mut message);
    message.extend([0x1a, 10, 0x08, 0x72, 0x10, 1, 0x1a, 4, 0x0a, 2, 0, 9]);
    hostile.send(&proto::delimit(&message)).await;
    hostile.send(&packet(&[0x72], &[0x10, 1, 0x1a, 3, 0x0a, 1, 2])).await;
    let mut heard = Vec::new();
    let report = br#"{"bytes":2,"msgs":1"#;
    let listening = async {
        while !heard.windows(report.len()).any(|window| window == report) {
            heard.extend(hostile.hear().await);
        }
    };
    timeout(Duration::from_secs(10), listening).await.expect("no report");
    let (mut pongs, mut rest) = (0, &heard[..]);
    while let Some((found, used)) = Protobuf.decode(rest).unwrap() {
        pongs += usize::from(found == switchboard_comet::packet::Packet::Pong);
        rest = &rest[used..];
    }
    assert!((1..5000).contains(&pongs), "pings that come together share a pong: {pongs}");
    assert_eq!(switch.peers().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_crowd_that_says_nothing_leaves_after_three_seconds() {
    let net = MemoryNetwork::default();
    let switch = victim(&net).await;
    let mut events = switch.events().in_full();
    let mut silent = Vec::new();
    for _ in 0..10 {
        silent.push(net.connect(switch.listening()[0].0).await.unwrap());
    }
    let start = tokio::time::Instant::now();
    let mut gone = 0;
    while gone < silent.len() {
        match timeout(Duration::from_secs(10), events.recv()).await.expect("still there").unwrap() {
            Event::HandshakeFailed { reason, .. } => assert_eq!(reason, Reason::HandshakeTimeout),
            Event::Refused { .. } => {}
            event => panic!("{event:?}"),
        }
        gone += 1;
    }
    assert!(start.elapsed() <= Duration::from_millis(3100), "{:?}", start.elapsed());
}
