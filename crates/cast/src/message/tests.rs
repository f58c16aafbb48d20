use super::*;
use proptest::prelude::*;

fn encoded(message: &Message) -> Bytes {
    let mut out = BytesMut::new();
    message.encode(&mut out);
    assert_eq!(out.len(), message.encoded_len());
    out.freeze()
}

fn one_of_each() -> Vec<Message> {
    let id = CastId([9; 32]);
    vec![
        Message::Announce { id, hops: 3, held: 4, header: Bytes::from_static(b"header") },
        Message::Have { id, first: 5, count: 6 },
        Message::Done { id, sha256: [8; 32] },
        Message::WantPage { id, page: 513 },
        Message::WantChunk { id, first: 7, count: 64 },
        Message::Page { id, page: 2, hashes: Bytes::from(vec![1; 64]) },
        Message::Chunk { id, index: 3, data: Bytes::from_static(b"data") },
        Message::Missing { id, what: Part::Page(1) },
        Message::Missing { id, what: Part::Chunk(70_000) },
    ]
}

#[test]
fn bytes_are_those_of_the_document() {
    let tails: [&[u8]; 9] = [
        b"\x03\x00\x00\x00\x04header",
        b"\x00\x00\x00\x05\x00\x00\x00\x06",
        &[8; 32],
        b"\x02\x01",
        b"\x00\x00\x00\x07\x00\x40",
        b"", // checked below: it is long
        b"\x00\x00\x00\x03data",
        b"\x00\x00\x00\x00\x01",
        b"\x01\x00\x01\x11\x70",
    ];
    let kinds = [0, 1, 2, 0, 1, 0, 1, 2, 2];
    for ((message, tail), kind) in one_of_each().into_iter().zip(tails).zip(kinds) {
        let bytes = encoded(&message);
        assert_eq!(bytes[0], kind);
        assert_eq!(bytes[1..33], [9; 32]);
        if tail.is_empty() {
            assert_eq!(bytes[33..], [&[0, 2][..], &[1; 64]].concat());
        } else {
            assert_eq!(&bytes[33..], tail, "{message:?}");
        }
    }
    let mut head = BytesMut::new();
    put_chunk_head(CastId([9; 32]), 3, &mut head);
    assert_eq!(head.len(), CHUNK_HEAD);
    assert_eq!(encoded(&one_of_each()[6])[..CHUNK_HEAD], head);
}

#[test]
fn cut_anywhere_or_longer_is_never_the_same_message() {
    for message in one_of_each() {
        let (flow, bytes) = (message.flow(), encoded(&message));
        assert_eq!(Message::decode(flow, bytes.clone(), flow.limit()), Ok(message.clone()));
        for cut in 0..bytes.len() {
            // Messages that end in free data stay legal when cut within it, but say something else.
            let got = Message::decode(flow, bytes.slice(..cut), flow.limit());
            let open =
                matches!(message, Message::Announce { .. } | Message::Page { .. } | Message::Chunk { .. });
            assert!(
                got.is_err() || (open && got != Ok(message.clone())),
                "{message:?} cut to {cut}: {got:?}"
            );
        }
        let longer = Bytes::from([bytes.as_ref(), &[0]].concat());
        assert_ne!(Message::decode(flow, longer, flow.limit()), Ok(message.clone()));
        assert!(Message::decode(flow, bytes.clone(), bytes.len() - 1).is_err(), "the limit counts");
    }
}

#[test]
fn bounds() {
    let id = CastId([0; 32]);
    let refused = [
        Message::Have { id, first: 0, count: 0 },
        Message::WantChunk { id, first: 0, count: 0 },
        Message::WantChunk { id, first: 0, count: 65 },
        Message::Page { id, page: 0, hashes: Bytes::new() },
        Message::Page { id, page: 0, hashes: Bytes::from(vec![0; 33]) },
        Message::Page { id, page: 0, hashes: Bytes::from(vec![0; 32 * 1025]) },
        Message::Chunk { id, index: 0, data: Bytes::new() },
        Message::Chunk { id, index: 0, data: Bytes::from(vec![0; (1 << 20) + 1]) },
        Message::Announce { id, hops: 0, held: 0, header: Bytes::from(vec![0; 40_000]) },
    ];
    for message in refused {
        let flow = message.flow();
        assert!(Message::decode(flow, encoded(&message), flow.limit()).is_err(), "{flow:?}");
    }
    let largest = Message::Chunk { id, index: 0, data: Bytes::from(vec![0; 1 << 20]) };
    assert!(Message::decode(Flow::Chunk, encoded(&largest), Flow::Chunk.limit()).is_ok());
    for flow in Flow::ALL {
        for kind in 3..=255u8 {
            let bytes = Bytes::from([vec![kind], vec![0; 40]].concat());
            assert_eq!(Message::decode(flow, bytes, flow.limit()), Err(Malformed("unknown kind")));
        }
    }
    let mut missing = encoded(&Message::Missing { id, what: Part::Page(1) }).to_vec();
    missing[33] = 2;
    assert!(Message::decode(Flow::Chunk, missing.into(), 1_024).is_err());
    assert!(
        Message::decode(Flow::Request, encoded(&largest), usize::MAX).is_err(),
        "each flow has its limit"
    );
}

fn any_message() -> impl Strategy<Value = Message> {
    let id = any::<[u8; 32]>().prop_map(CastId);
    let data = proptest::collection::vec(any::<u8>(), 1..300).prop_map(Bytes::from);
    (id, any::<u32>(), 1..=u32::MAX, any::<u16>(), 1..=MAX_WANT, data, any::<[u8; 32]>(), 0..9).prop_map(
        |(id, first, count, page, few, data, sha256, which)| match which {
            0 => Message::Announce { id, hops: page as u8, held: first, header: data },
            1 => Message::Have { id, first, count },
            2 => Message::Done { id, sha256 },
            3 => Message::WantPage { id, page },
            4 => Message::WantChunk { id, first, count: few },
            5 => Message::Page { id, page, hashes: Bytes::from(vec![page as u8; 32 * usize::from(few)]) },
            6 => Message::Chunk { id, index: first, data },
            7 => Message::Missing { id, what: Part::Page(page) },
            _ => Message::Missing { id, what: Part::Chunk(first) },
        },
    )
}

proptest! {
    #[test]
    fn round_trip(message in any_message()) {
        let flow = message.flow();
        prop_assert_eq!(Message::decode(flow, encoded(&message), flow.limit()), Ok(message));
    }

    #[test]
    fn decode_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0u8..4) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first = kind;
        }
        for flow in Flow::ALL {
            if let Ok(message) = Message::decode(flow, bytes.clone().into(), flow.limit()) {
                prop_assert_eq!(encoded(&message), Bytes::from(bytes.clone()));
            }
        }
    }
}
