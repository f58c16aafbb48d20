use super::*;
use serde_json::Value;
use switchboard_enr::NodeKey;
use switchboard_enr::keccak::keccak256;

fn unhex(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn recorded() -> (NodeKey, Vec<Value>) {
    let v: Value = serde_json::from_str(include_str!("../../../tests/vectors/discv4_packets.json")).unwrap();
    let key = NodeKey::from_bytes(&unhex(&v["signing_key"]).try_into().unwrap()).unwrap();
    (key, v["packets"].as_array().unwrap().clone())
}

fn made_by_geth() -> (NodeKey, Vec<Vec<u8>>) {
    let v: Value =
        serde_json::from_str(include_str!("../../../tests/vectors/gen_discv4_packets.json")).unwrap();
    let key = NodeKey::from_bytes(&unhex(&v["signing_key"]).try_into().unwrap()).unwrap();
    (key, v["packets"].as_array().unwrap().iter().map(|p| unhex(&p["raw"])).collect())
}

fn endpoint(ip: &str, udp: u16, tcp: u16) -> Endpoint {
    Endpoint { ip: ip.parse().unwrap(), udp, tcp }
}

fn key_n(n: u8) -> [u8; 64] {
    NodeKey::from_bytes(&[n; 32]).unwrap().public().to_bytes()
}

#[test]
fn what_geth_makes_we_make() {
    let (key, raws) = made_by_geth();
    let (from, to) = (endpoint("127.0.0.1", 3322, 5544), endpoint("::1", 2222, 3333));
    let expiration = 4_102_444_800;
    let nodes = (1..=12u16).map(|n| Neighbour {
        endpoint: endpoint(&format!("10.0.0.{n}"), 29_999 + n, 30_999 + n),
        key: key_n(u8::try_from(n).unwrap()),
    });
    let ip = "192.0.2.1".parse().unwrap();
    let record = Record::signed(&key, 7, ip, Some(30_303), Some(30_304)).encode();
    let ours = [
        Packet::Ping { from, to, expiration, seq: Some(7) },
        Packet::Ping { from, to, expiration, seq: Some(0) },
        Packet::Pong { to, ping: [0xab; 32], expiration, seq: Some(7) },
        Packet::FindNode { target: key.public().to_bytes(), expiration },
        Packet::Neighbours { nodes: nodes.collect(), expiration },
        Packet::Neighbours { nodes: vec![], expiration },
        Packet::EnrRequest { expiration },
        Packet::EnrResponse { request: [0xab; 32], record },
    ];
    assert_eq!(ours.len(), raws.len());
    for (ours, raw) in ours.into_iter().zip(raws) {
        let (bytes, hash) = ours.encode(&key);
        assert_eq!(hex::encode(&bytes), hex::encode(&raw), "{ours:?}");
        let back = Packet::decode(&raw, &key).unwrap();
        assert_eq!((back.hash, back.key), (hash, key.public().to_bytes()));
        let without_zero = match ours {
            Packet::Ping { from, to, expiration, seq: Some(0) } => {
                Packet::Ping { from, to, expiration, seq: None }
            }
            other => other,
        };
        assert_eq!(back.packet, without_zero);
        assert!(bytes.len() <= MAX_PACKET);
    }
}

#[test]
fn packets_with_more_than_is_known_are_read() {
    let (key, packets) = recorded();
    assert!(packets.len() >= 4);
    for case in packets {
        let got = Packet::decode(&unhex(&case["raw"]), &key).unwrap();
        assert_eq!(got.key, key.public().to_bytes());
        let at = |v: &Value| {
            let port = |n: usize| u16::try_from(v[n].as_u64().unwrap()).unwrap();
            endpoint(v[0].as_str().unwrap(), port(1), port(2))
        };
        assert_eq!(got.packet.expiration(), case["expiration"].as_u64());
        match (case["type"].as_str().unwrap(), got.packet) {
            ("ping", Packet::Ping { from, to, seq, .. }) => {
                assert_eq!((from, to), (at(&case["from"]), at(&case["to"])));
                assert_eq!(seq, case["enr_seq"].as_u64());
            }
            ("findnode", Packet::FindNode { target, .. }) => {
                assert_eq!(target.to_vec(), unhex(&case["target"]))
            }
            ("neighbors", Packet::Neighbours { nodes, .. }) => {
                assert_eq!(nodes.len(), case["nodes"].as_array().unwrap().len());
            }
            (kind, other) => panic!("{kind}: {other:?}"),
        }
    }
}

#[test]
fn every_truncation_is_refused() {
    let (key, raws) = made_by_geth();
    for raw in raws {
        for length in 0..raw.len() {
            assert_eq!(Packet::decode(&raw[..length], &key).unwrap_err(), PacketError::Foreign, "{length}");
        }
        // With a hash that fits, so that what is behind it is reached.
        for length in HEAD..raw.len() {
            let mut cut = raw[..length].to_vec();
            let hash = keccak256(&cut[HASH..]);
            cut[..HASH].copy_from_slice(&hash);
            assert!(Packet::decode(&cut, &key).is_err(), "{length}");
        }
    }
}

#[test]
fn every_recovery_id_is_judged() {
    let (key, raws) = made_by_geth();
    for raw in raws {
        let right = raw[HEAD - 1];
        for v in 0..=255 {
            let mut bent = raw.clone();
            bent[HEAD - 1] = v;
            let hash = keccak256(&bent[HASH..]);
            bent[..HASH].copy_from_slice(&hash);
            match Packet::decode(&bent, &key) {
                Ok(got) => {
                    assert!(v < 4, "{v}");
                    assert_eq!(got.key == key.public().to_bytes(), v == right, "{v}");
                }
                Err(error) => assert_eq!(error, PacketError::Signature, "{v}"),
            }
        }
    }
}

fn sealed(kind: u8, list: &[u8], key: &NodeKey) -> Vec<u8> {
    let mut out = vec![0; HEAD];
    out.push(kind);
    out.extend_from_slice(list);
    let signature = key.sign_recoverable(keccak256(&out[HEAD..]));
    out[HASH..HEAD].copy_from_slice(&signature);
    let hash = keccak256(&out[HASH..]);
    out[..HASH].copy_from_slice(&hash);
    out
}

#[test]
fn sizes_kinds_and_counts() {
    let key = NodeKey::from_bytes(&[5; 32]).unwrap();
    let mut list = Vec::new();
    rlp::put_list(&[0x01], &mut list);
    for kind in [0, 7, 255] {
        let got = Packet::decode(&sealed(kind, &list, &key), &key);
        assert_eq!(got.unwrap_err(), PacketError::Kind(kind));
    }
    // The longest packet, and one byte more.
    let mut longest = list.clone();
    longest.resize(MAX_PACKET - HEAD - 1, 0);
    assert!(Packet::decode(&sealed(5, &longest, &key), &key).is_ok());
    longest.push(0);
    assert_eq!(Packet::decode(&sealed(5, &longest, &key), &key).unwrap_err(), PacketError::Foreign);

    let node = Neighbour { endpoint: endpoint("1.2.3.4", 30303, 1), key: key_n(1) };
    for count in [0, 1, 12, 13, 14] {
        let packet = Packet::Neighbours { nodes: vec![node; count], expiration: 9 };
        let bytes = packet.encode(&key).0;
        assert_eq!(Packet::decode(&bytes, &key).unwrap().packet, packet);
    }
    // Sixteen fit into a packet only when something is left out; the decoder's limit stands for itself.
    let nodes = |count| Packet::Neighbours { nodes: vec![node; count], expiration: 9 }.items();
    let of = |items: Vec<u8>| {
        let mut list = Vec::new();
        rlp::put_list(&items, &mut list);
        list
    };
    assert!(Packet::content(4, &of(nodes(16))).is_ok());
    assert_eq!(Packet::content(4, &of(nodes(17))).unwrap_err(), PacketError::TooMany);
}

#[test]
fn fields_of_other_lengths_are_refused() {
    for length in (0..70).filter(|l| *l != 64) {
        let mut items = Vec::new();
        rlp::put_string(&vec![1; length], &mut items);
        rlp::put_number(9, &mut items);
        let mut list = Vec::new();
        rlp::put_list(&items, &mut list);
        assert!(Packet::content(3, &list).is_err(), "{length}");
    }
    for length in 0..20 {
        let mut items = Vec::new();
        rlp::put_string(&vec![1; length], &mut items);
        rlp::put_number(65_535, &mut items);
        rlp::put_number(0, &mut items);
        let ok = Endpoint::decode(&mut items.as_slice()).is_ok();
        assert_eq!(ok, matches!(length, 0 | 4 | 16), "{length}");
    }
    let mut over = Vec::new();
    rlp::put_string(&[1; 4], &mut over);
    rlp::put_number(65_536, &mut over);
    rlp::put_number(0, &mut over);
    assert!(Endpoint::decode(&mut over.as_slice()).is_err());
}

proptest::proptest! {
    #[test]
    fn any_bytes_do_no_harm(kind in 0u8..8, list: Vec<u8>) {
        let _ = Packet::content(kind, &list);
    }
}
