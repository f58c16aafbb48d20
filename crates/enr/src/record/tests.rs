use super::*;
use serde_json::Value;

fn example() -> Value {
    serde_json::from_str(include_str!("../../tests/vectors/enr_eip778.json")).unwrap()
}

#[test]
fn the_example_of_eip_778() {
    let v = example();
    let record = Record::parse(v["text"].as_str().unwrap()).unwrap();
    assert_eq!(hex::encode(record.key().node_id()), v["node_id"].as_str().unwrap());
    assert_eq!(hex::encode(record.key().compressed()), v["secp256k1"].as_str().unwrap());
    assert_eq!(hex::encode(record.signature()), v["signature"].as_str().unwrap());
    assert_eq!(record.seq(), 1);
    assert_eq!(record.port(Port::Udp), Some(30303));
    assert_eq!(record.to_string(), v["text"].as_str().unwrap());
    let key =
        NodeKey::from_bytes(&hex::decode(v["private_key"].as_str().unwrap()).unwrap().try_into().unwrap());
    let made = Record::signed(&key.unwrap(), 1, "127.0.0.1".parse().unwrap(), None, Some(30303));
    assert_eq!(made.to_string(), v["text"].as_str().unwrap(), "signatures are deterministic");
}

#[test]
fn bad_records_are_refused() {
    let text = example()["text"].as_str().unwrap().to_owned();
    let bytes = Record::parse(&text).unwrap().encode();
    for length in 0..bytes.len() {
        assert!(Record::decode(&bytes[..length]).is_err(), "length {length}");
    }
    for byte in 0..bytes.len() {
        let mut bent = bytes.clone();
        bent[byte] ^= 1;
        assert!(Record::decode(&bent).is_err(), "byte {byte}");
    }
    assert_eq!(Record::decode(&[0; 301]).unwrap_err(), RecordError::TooLarge);
    assert_eq!(Record::parse("enode:").unwrap_err(), RecordError::Text);
}

fn key() -> NodeKey {
    NodeKey::from_bytes(&[9; 32]).unwrap()
}

#[test]
fn endpoints() {
    for (ip, port) in [("1.2.3.4", 30303), ("2001:db8::1", 80), ("::ffff:1.2.3.4", 1)] {
        let ip: IpAddr = ip.parse().unwrap();
        let record = Record::signed(&key(), 7, ip, Some(port), Some(port));
        let again = Record::parse(&record.to_string()).unwrap();
        assert_eq!(again.tcp_endpoint(), Some(SocketAddr::new(ip.to_canonical(), port)));
        assert_eq!(again.udp_endpoint(), again.tcp_endpoint());
        assert_eq!(again.quic_endpoint(), None);
    }
    let none = Record::signed(&key(), 7, "1.2.3.4".parse().unwrap(), Some(0), None);
    assert_eq!((none.tcp_endpoint(), none.port(Port::Tcp)), (None, Some(0)));
}

#[test]
fn the_more_public_address_is_used() {
    for (four, six, chosen) in [
        ("1.2.3.4", "2a00::1", "1.2.3.4"),
        ("10.0.0.1", "2a00::1", "2a00::1"),
        ("10.0.0.1", "fd00::1", "10.0.0.1"),
        ("127.0.0.1", "fe80::1", "fe80::1"),
        ("0.0.0.0", "::1", "::1"),
        ("127.0.0.1", "::", "127.0.0.1"),
        ("224.0.0.1", "::1", "::1"),
        ("10.0.0.1", "::ffff:8.8.8.8", "8.8.8.8"),
    ] {
        let mut entries = Entries::default();
        entries.set("ip", &four.parse::<Ipv4Addr>().unwrap().octets());
        entries.set("ip6", &six.parse::<Ipv6Addr>().unwrap().octets());
        assert_eq!(entries.ip(), Some(chosen.parse().unwrap()), "{four} {six}");
    }
    let mut entries = Entries::default();
    entries.set_ip("2a00::1".parse().unwrap());
    entries.set_port(Port::Udp, Some(1));
    entries.set_port(Port::Tcp, Some(2));
    entries.set_port(Port::Tcp6, Some(3));
    assert_eq!(entries.udp_endpoint().unwrap().port(), 1, "IPv6 falls back to the common port");
    assert_eq!(entries.tcp_endpoint().unwrap().port(), 3);
}

#[test]
fn typed_entries_and_any_other() {
    let mut entries = Entries::default();
    entries.set("custom", b"value");
    entries.set_raw("snap", &[0xc0]).unwrap();
    assert!(entries.set_raw("two", &[1, 1]).is_err() && entries.set_raw("none", &[]).is_err());
    let fork = ForkId { hash: [1, 2, 3, 4], next: 1_700_000_000 };
    entries.set_eth(fork);
    for port in [Port::Tcp, Port::Udp, Port::Quic, Port::Tcp6, Port::Udp6, Port::Quic6] {
        entries.set_port(port, Some(65_535));
        assert_eq!(entries.port(port), Some(65_535));
        entries.set_port(port, None);
        assert_eq!(entries.port(port), None);
    }
    let record = Record::decode(&entries.sign(&key(), 3).unwrap().encode()).unwrap();
    assert_eq!((record.get("custom"), record.get_raw("snap")), (Some(&b"value"[..]), Some(&[0xc0][..])));
    assert_eq!((record.eth(), record.get("snap"), record.seq()), (Some(fork), None, 3));
    let keys: Vec<_> = record.iter().map(|(key, _)| key.to_vec()).collect();
    assert_eq!(keys, [&b"custom"[..], b"eth", b"id", b"secp256k1", b"snap"]);
}

#[test]
fn known_names_in_other_forms_read_as_absent() {
    let mut entries = Entries::default();
    entries.set("ip", &[1, 2, 3]);
    entries.set("ip6", &[1; 4]);
    for (port, raw) in [(Port::Tcp, &[0x82, 0, 1][..]), (Port::Udp, &[0x83, 1, 0, 0]), (Port::Tcp6, &[0])] {
        entries.set_raw(port.key(), raw).unwrap();
        assert_eq!(entries.port(port), None, "{raw:?}");
    }
    entries.set_raw("eth", &[0xc1, 0xc0]).unwrap();
    assert_eq!((entries.ip4(), entries.ip6(), entries.ip(), entries.eth()), (None, None, None, None));
}

/// A signed list of any items, whether or not they make a record.
fn forged(items: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    rlp::put_string(&key().sign(digest(items)), &mut all);
    all.extend_from_slice(items);
    let mut out = Vec::new();
    rlp::put_list(&all, &mut out);
    out
}

fn items(pairs: &[(&str, &[u8])]) -> Vec<u8> {
    let mut items = Vec::new();
    rlp::put_number(1, &mut items);
    for (key, value) in pairs {
        rlp::put_string(key.as_bytes(), &mut items);
        rlp::put_string(value, &mut items);
    }
    items
}

#[test]
fn rules_of_the_list() {
    let public = key().public().compressed();
    let decode = |pairs: &[(&str, &[u8])]| Record::decode(&forged(&items(pairs)));
    assert!(decode(&[("id", b"v4"), ("secp256k1", &public)]).is_ok());
    assert_eq!(decode(&[("secp256k1", &public), ("id", b"v4")]), Err(RecordError::Order));
    assert_eq!(decode(&[("id", b"v4"), ("id", b"v4"), ("secp256k1", &public)]), Err(RecordError::Order));
    assert_eq!(decode(&[("id", b"v5"), ("secp256k1", &public)]), Err(RecordError::Identity));
    assert_eq!(decode(&[("secp256k1", &public)]), Err(RecordError::Identity));
    assert_eq!(decode(&[("id", b"v4")]), Err(RecordError::Identity));
    assert_eq!(decode(&[("id", b"v4"), ("secp256k1", &public[1..])]), Err(RecordError::Identity));
    let other = NodeKey::from_bytes(&[8; 32]).unwrap().public().compressed();
    assert_eq!(decode(&[("id", b"v4"), ("secp256k1", &other)]), Err(RecordError::Signature));
    let mut odd = items(&[("id", b"v4"), ("secp256k1", &public)]);
    rlp::put_string(b"zz", &mut odd);
    assert!(matches!(Record::decode(&forged(&odd)), Err(RecordError::Rlp(_))), "a key without a value");
    let mut empty = Vec::new();
    rlp::put_list(&[], &mut empty);
    assert!(matches!(Record::decode(&empty), Err(RecordError::Rlp(_))), "no signature, no sequence");
    assert!(matches!(Record::decode(&forged(&[])), Err(RecordError::Rlp(_))), "no sequence");
}

#[test]
fn exactly_300_bytes() {
    let sized = |extra: usize| {
        let mut entries = Entries::default();
        entries.set("pad", &vec![7; extra]);
        entries.sign(&key(), 1)
    };
    let fits = (56..300).take_while(|n| sized(*n).is_ok()).last().unwrap();
    let record = sized(fits).unwrap();
    assert_eq!(record.encode().len(), MAX_RECORD);
    assert_eq!(Record::decode(&record.encode()).unwrap(), record);
    assert_eq!(Record::parse(&record.to_string()).unwrap(), record);
    assert_eq!(sized(fits + 1), Err(RecordError::TooLarge));
    let public = key().public().compressed();
    let one_more = forged(&items(&[("id", b"v4"), ("pad", &vec![7; fits + 1]), ("secp256k1", &public)]));
    assert_eq!(one_more.len(), 301);
    assert_eq!(Record::decode(&one_more), Err(RecordError::TooLarge));
}
