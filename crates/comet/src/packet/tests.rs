use super::*;
use proptest::prelude::*;
use serde_json::Value;

fn encode(codec: Era, packet: &Packet<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    codec.encode(packet, &mut out);
    if let Packet::Msg { channel, last, data } = *packet {
        assert_eq!(out.len(), codec.encoded_len(channel, data.len(), last));
    }
    out
}

#[test]
fn recorded_packets() {
    let vectors: Value = serde_json::from_str(include_str!("../../tests/vectors/packets.json")).unwrap();
    let packets = &vectors["packets_delimited"];
    let msg = |channel, last, data| Packet::Msg { channel, last, data };
    let zeros = [0; 1024];
    let cases: [(&str, Packet<'_>); 7] = [
        ("ping", Packet::Ping),
        ("pong", Packet::Pong),
        ("msg_ch0_eof_empty", msg(0, true, b"")),
        ("msg_ch0x70_eof_hi", msg(0x70, true, b"hi")),
        ("msg_ch0xff_eof_1", msg(0xff, true, &[1])),
        ("msg_ch1_noeof_text", msg(1, false, b"data transmitted over the wire")),
        ("msg_max_1024", msg(1, true, &zeros)),
    ];
    assert_eq!(cases.len(), packets.as_object().unwrap().len());
    for (name, packet) in cases {
        let wire = hex::decode(packets[name].as_str().unwrap()).unwrap();
        assert_eq!(encode(Era::Protobuf, &packet), wire, "{name}");
        assert_eq!(Protobuf.decode(&wire), Ok(Some((packet, wire.len()))), "{name}");
        for cut in 0..wire.len() {
            assert_eq!(Protobuf.decode(&wire[..cut]), Ok(None), "{name}");
        }
    }
}

#[test]
fn recorded_messages_of_two_release_lines() {
    use aws_lc_rs::digest::{SHA256, digest};
    for text in [
        include_str!("../../tests/vectors/recorded_comet038.json"),
        include_str!("../../tests/vectors/recorded_comet040.json"),
    ] {
        let vectors: Value = serde_json::from_str(text).unwrap();
        for case in vectors["messages"].as_array().unwrap() {
            let what = case["what"].as_str().unwrap();
            let number = what.rsplit(' ').next().unwrap().parse().unwrap();
            let pattern: Vec<u8> = (0..number).map(|i: usize| (7 * i + 3) as u8).collect();
            let message =
                if what.starts_with("BytesValue") { proto::wrap(&pattern).to_vec() } else { pattern };
            let channel = u8::from_str_radix(case["channel"].as_str().unwrap(), 16).unwrap();
            let (mut wire, mut rest) = (Vec::new(), &message[..]);
            loop {
                let (data, after) = rest.split_at(Protobuf.slice(channel, rest.len()));
                Protobuf.encode(&Packet::Msg { channel, last: after.is_empty(), data }, &mut wire);
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            assert_eq!(wire.len() as u64, case["wire"]["len"].as_u64().unwrap(), "{what} on {channel:#x}");
            let hash = hex::encode(digest(&SHA256, &wire));
            assert_eq!(hash, case["wire"]["sha256"].as_str().unwrap(), "{what} on {channel:#x}");
        }
        for case in vectors["control"].as_array().unwrap() {
            let packet = if case["what"] == "ping" { Packet::Ping } else { Packet::Pong };
            assert_eq!(hex::encode(encode(Era::Protobuf, &packet)), case["wire"]["hex"].as_str().unwrap());
        }
    }
}

#[test]
fn a_go_receiver_takes_every_packet_we_make() {
    // What the Go code reads at most: the size of a full last packet on channel 1, without delimiter.
    const GO_LIMIT: usize = 1034;
    for channel in [0, 1, 0x7f, 0x80, 0xff] {
        for total in [0, 1, 1022, 1023, 1024, 1025, 2047, 2048, 2049, 4096] {
            let mut rest = total;
            loop {
                let len = Protobuf.slice(channel, rest);
                rest -= len;
                let encoded = Protobuf.encoded_len(channel, len, rest == 0);
                assert!(encoded - 2 <= GO_LIMIT, "channel {channel:#x}, {len} of {total}");
                if rest == 0 {
                    break;
                }
                assert!(len > 0);
            }
        }
    }
    assert_eq!(Protobuf.slice(0x80, 1024), 1023);
    assert_eq!(Protobuf.slice(0x7f, 1024), 1024);
    // And we take what a Go sender makes of 1024 bytes there.
    let wire = encode(Era::Protobuf, &Packet::Msg { channel: 0xff, last: true, data: &[5; 1024] });
    assert_eq!(wire.len() - 2, MAX_PACKET);
    assert!(Protobuf.decode(&wire).unwrap().is_some());
}

#[test]
fn breaches_have_names() {
    let rule = |message: &[u8]| Protobuf.decode(&proto::delimit(message)).unwrap_err().rule();
    assert_eq!(rule(&[]), "packet kind");
    assert_eq!(rule(&[0x22, 0]), "packet kind");
    assert_eq!(rule(&[0x1a, 3, 0x08, 0x80, 0x02]), "channel number");
    assert_eq!(
        rule(&[0x1a, 11, 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
        "channel number"
    );
    assert_eq!(rule(&[0x0a, 1, 0x80]), "packet encoding");
    assert_eq!(rule(&[0x08, 1]), "packet encoding");
    assert_eq!(rule(&[0x1a, 2, 0x0a, 0]), "packet encoding");
    assert_eq!(rule(&[0x1a, 9, 0]), "packet encoding");
    assert_eq!(
        rule(&[0x1a, 11, 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]),
        "varint overflow"
    );
    // 1036 declared: refused by the delimiter alone.
    assert_eq!(Protobuf.decode(&[0x8c, 0x08]).unwrap_err().rule(), "packet length");
    assert_eq!(Protobuf.decode(&[0x8b, 0x08]), Ok(None));
    assert_eq!(Protobuf.decode(&[0xff; 10]).unwrap_err().rule(), "varint overflow");
}

#[test]
fn unknown_fields_are_skipped_and_the_last_kind_counts() {
    let mut message = vec![0x0a, 0];
    proto::put_bytes_field(15, &[1; 900], &mut message);
    message.extend([0x1a, 4, 0x08, 7, 0x10, 1]);
    let wire = proto::delimit(&message);
    let packet = Packet::Msg { channel: 7, last: true, data: &[] };
    assert_eq!(Protobuf.decode(&wire), Ok(Some((packet, wire.len()))));
}

#[test]
fn go_wire_packets() {
    let msg = |channel, last, data| Packet::Msg { channel, last, data };
    let kilobyte = [9; 1024];
    let mut full = vec![3, 0x20, 0, 2, 4, 0];
    full.extend(kilobyte);
    let cases: [(Packet<'_>, Vec<u8>); 6] = [
        (Packet::Ping, vec![1]),
        (Packet::Pong, vec![2]),
        (msg(0, true, b""), vec![3, 0, 1, 0]),
        (msg(0xff, true, b"hi"), vec![3, 0xff, 1, 1, 2, b'h', b'i']),
        (msg(0x20, false, &kilobyte), full),
        (msg(1, true, &kilobyte[..255]), [&[3, 1, 1, 1, 255][..], &kilobyte[..255]].concat()),
    ];
    for (packet, wire) in cases {
        assert_eq!(encode(Era::GoWire, &packet), wire);
        assert_eq!(GoWire.decode(&wire), Ok(Some((packet, wire.len()))));
        for cut in 0..wire.len() {
            assert_eq!(GoWire.decode(&wire[..cut]), Ok(None));
        }
    }
    for (wire, error) in [
        (&[0][..], PacketError::Kind),
        (&[4], PacketError::Kind),
        (&[3, 0, 2], PacketError::GoWire),
        (&[3, 0, 1, 2, 4, 1], PacketError::TooLong),
        (&[3, 0, 1, 3], PacketError::TooLong),
        (&[3, 0, 1, 9], PacketError::GoWire),
        (&[3, 0, 1, 0xf1], PacketError::GoWire),
        (&[3, 0, 1, 1, 0], PacketError::GoWire),
        (&[3, 0, 1, 2, 0, 9], PacketError::GoWire),
    ] {
        assert_eq!(GoWire.decode(wire), Err(error), "{wire:?}");
    }
}

proptest! {
    #[test]
    fn round_trip(channel: u8, last: bool, data in proptest::collection::vec(any::<u8>(), 0..=1024), old: bool) {
        let codec = if old { Era::GoWire } else { Era::Protobuf };
        let packet = Packet::Msg { channel, last, data: &data };
        let wire = encode(codec, &packet);
        prop_assert_eq!(codec.decode(&wire), Ok(Some((packet, wire.len()))));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..1100)) {
        for codec in [Era::Protobuf, Era::GoWire] {
            if let Ok(Some((packet, used))) = codec.decode(&bytes) {
                prop_assert!(used <= bytes.len() && used <= MAX_ENCODED);
                if let Packet::Msg { data, .. } = packet {
                    prop_assert!(data.len() <= MAX_PACKET);
                }
            }
        }
        let _ = Protobuf.decode(&proto::delimit(&bytes));
    }
}
