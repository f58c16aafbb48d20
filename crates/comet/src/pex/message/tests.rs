use super::*;
use proptest::prelude::*;

fn address(n: u8) -> PeerAddress {
    PeerAddress::new(NodeId([n; 20]), [10, 0, 0, n].into(), 26_656)
}

fn vectors() -> serde_json::Value {
    serde_json::from_str(include_str!("../../../tests/vectors/packets.json")).unwrap()
}

fn item(id: &[u8], ip: &[u8], port: u64) -> Vec<u8> {
    let mut item = Vec::new();
    proto::put_bytes_field(1, id, &mut item);
    proto::put_bytes_field(2, ip, &mut item);
    proto::put_varint_field(3, port, &mut item);
    item
}

fn answer_of(items: &[Vec<u8>]) -> Vec<u8> {
    let (mut body, mut out) = (Vec::new(), Vec::new());
    items.iter().for_each(|item| proto::put_message_field(1, item, &mut body));
    proto::put_message_field(2, &body, &mut out);
    out
}

#[test]
fn recorded_bytes() {
    let pex = &vectors()["pex"];
    let bytes = |name: &str| hex::decode(pex[name].as_str().unwrap()).unwrap();
    assert_eq!(Message::request(), bytes("request"));
    assert_eq!(Message::answer(&[]), bytes("addrs_0"));
    assert_eq!(Message::decode(&bytes("request")), Ok(Message::Request));
    assert_eq!(Message::decode(&bytes("addrs_0")), Ok(Message::Addresses(Answer::default())));
    // The recorded address has the ID "1", which no key has.
    let one = Message::decode(&bytes("addrs_1")).unwrap();
    assert_eq!(one, Message::Addresses(Answer { addresses: vec![], without_id: 1 }));
    assert_eq!(answer_of(&[item(b"1", b"127.0.0.1", 9090)]), bytes("addrs_1"));
}

#[test]
fn a_full_answer_of_the_longest_addresses_fits() {
    let ip = "2001:4860:1111:2222:3333:4444:5555:6666".parse().unwrap();
    let all: Vec<_> = (0..=255).map(|n| PeerAddress::new(NodeId([n; 20]), ip, 65_535)).collect();
    let bytes = Message::answer(&all);
    assert!(bytes.len() <= MAX_MESSAGE, "{}", bytes.len());
    let Ok(Message::Addresses(answer)) = Message::decode(&bytes) else { panic!("no answer") };
    assert_eq!(answer.addresses, all[..MAX_ADDRESSES]);
}

#[test]
fn two_thousand_and_one_addresses() {
    // As small as they can be, so that they stay below the limit of bytes.
    let small = vec![item(b"", b"::", 0); 2_001];
    let bytes = answer_of(&small);
    assert!(bytes.len() < MAX_MESSAGE);
    assert_eq!(Message::decode(&bytes), Err(PexError::TooMany));
    assert!(PexError::TooMany.bans());
    assert!(Message::decode(&answer_of(&small[..MAX_ADDRESSES])).is_ok());
    let real = vec![item("ab".repeat(20).as_bytes(), b"100.100.100.100", 26_656); 2_001];
    let bytes = answer_of(&real);
    assert_eq!(Message::decode(&bytes), Err(PexError::TooLong(bytes.len())));
}

#[test]
fn malformed_addresses() {
    let id = "ab".repeat(20);
    let decode = |ip: &[u8], port| Message::decode(&answer_of(&[item(id.as_bytes(), ip, port)]));
    for ip in ["", "1.2.3", "1.2.3.4:5", "host.example.com", "fe80::1%eth0", "01.2.3.4", "\0"] {
        assert_eq!(decode(ip.as_bytes(), 1), Err(PexError::Ip(1)), "{ip}");
    }
    assert_eq!(decode(&[0xff], 1), Err(PexError::Ip(1)));
    assert_eq!(decode(b"1.2.3.4", 65_536), Err(PexError::Port(1, 65_536)));
    assert!(decode(b"1.2.3.4", 65_535).is_ok());
    assert!(decode(b"1.2.3.4", (1 << 32) + 7).is_ok(), "the lower half of a uint32 counts");
    for id in ["", "ab", &"xy".repeat(20), &"ab".repeat(21)] {
        let answer = Message::decode(&answer_of(&[item(id.as_bytes(), b"1.2.3.4", 1)]));
        assert_eq!(answer, Ok(Message::Addresses(Answer { addresses: vec![], without_id: 1 })), "{id}");
    }
}

#[test]
fn what_is_no_message() {
    assert_eq!(Message::decode(&[]), Err(PexError::Kind));
    assert_eq!(Message::decode(&[0x1a, 0]), Err(PexError::Kind));
    assert_eq!(Message::decode(&[0x08, 0]), Err(PexError::Proto(ProtoError::WrongType)));
    assert_eq!(Message::decode(&[0x0a, 1, 0]), Err(PexError::Proto(ProtoError::FieldNumber(0))));
    assert!(!PexError::Kind.bans());
    // The last one of a oneof counts.
    assert_eq!(Message::decode(&[0x12, 0, 0x0a, 0]), Ok(Message::Request));
}

#[test]
fn cut_anywhere_it_is_an_error_or_shorter() {
    let whole = Message::answer(&[address(1), address(2)]);
    for end in 0..whole.len() {
        assert!(Message::decode(&whole[..end]).is_err(), "cut at {end}");
    }
    assert!(Message::decode(&whole).is_ok());
}

proptest! {
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(message) = Message::decode(&bytes) {
            prop_assert_eq!(Message::decode(&message.encode()).map(|m| m.encode()), Ok(message.encode()));
        }
    }

    #[test]
    fn damaged(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut bytes = Message::answer(&[address(1), address(2), address(3)]).to_vec();
        let at = at.index(bytes.len());
        bytes[at] = to;
        let _ = Message::decode(&bytes);
    }

    #[test]
    fn what_is_written_is_read(ips in prop::collection::vec(any::<u128>(), 0..40), port in any::<u16>()) {
        let ips = ips.into_iter().map(|ip| IpAddr::from(ip.to_be_bytes()));
        let addresses: Vec<_> = ips.map(|ip| PeerAddress::new(NodeId([9; 20]), ip, port)).collect();
        let message = Message::Addresses(Answer { addresses, without_id: 0 });
        prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
    }
}
