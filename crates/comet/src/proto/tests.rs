use super::*;
use proptest::prelude::*;

#[test]
fn varints_at_their_edges() {
    for value in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
        let mut out = Vec::new();
        put_uvarint(value, &mut out);
        assert_eq!(out.len(), uvarint_len(value));
        assert_eq!(uvarint(&out), Ok(Some((value, out.len()))));
        for cut in 0..out.len() {
            assert_eq!(uvarint(&out[..cut]), Ok(None));
        }
    }
    assert_eq!(
        uvarint(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]),
        Err(ProtoError::VarintOverflow)
    );
    assert_eq!(uvarint(&[0x80; 11]), Err(ProtoError::VarintOverflow));
    // Longer than needed, but in range: Go's reader takes it too.
    assert_eq!(uvarint(&[0x81, 0x00]), Ok(Some((1, 2))));
}

#[test]
fn a_declared_length_is_judged_before_the_body() {
    assert_eq!(delimited(&[0x0b], 10), Err(ProtoError::TooLong { len: 11, limit: 10 }));
    assert_eq!(delimited(&[0x03, 1, 2], 10), Ok(None));
    assert_eq!(delimited(&[0x02, 1, 2, 9], 10), Ok(Some((&[1, 2][..], 3))));
    let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
    assert_eq!(
        delimited(&huge, usize::MAX - 1),
        Err(ProtoError::TooLong { len: u64::MAX, limit: usize::MAX - 1 })
    );
    // A field that says it is longer than its message.
    let mut fields = Fields::new(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f, 1]);
    assert_eq!(fields.next(), Err(ProtoError::Truncated));
}

#[test]
fn unknown_fields_are_skipped_and_odd_types_refused() {
    let message = [0x08, 1, 0x11, 0, 0, 0, 0, 0, 0, 0, 0, 0x1d, 0, 0, 0, 0, 0x0a, 1, 7];
    assert_eq!(unwrap_slice(&message[2..]), Ok(&[7][..]));
    assert_eq!(unwrap_slice(&message), Err(ProtoError::WrongType));
    assert_eq!(unwrap_slice(&[0x0b]), Err(ProtoError::WireType(3)));
    assert_eq!(unwrap_slice(&[0x0c]), Err(ProtoError::WireType(4)));
    assert_eq!(unwrap_slice(&[0x0f]), Err(ProtoError::WireType(7)));
    assert_eq!(unwrap_slice(&[0x02, 0]), Err(ProtoError::FieldNumber(0)));
}

#[test]
fn bytes_value_vectors() {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../tests/vectors/packets.json")).unwrap();
    let cases = [("00", vec![0]), ("200x7a", vec![0x7a; 200]), ("empty", vec![]), ("hi", b"hi".to_vec())];
    for (name, bytes) in cases {
        let wire = hex::decode(vectors["bytes_value"][name].as_str().unwrap()).unwrap();
        assert_eq!(wrap(&bytes), wire, "{name}");
        assert_eq!(unwrap(&Bytes::from(wire)).unwrap(), bytes, "{name}");
    }
}

proptest! {
    #[test]
    fn wrapped_bytes_come_back(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        prop_assert_eq!(unwrap(&wrap(&bytes)).unwrap(), bytes);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = unwrap_slice(&bytes);
        let _ = delimited(&bytes, 100);
    }
}
