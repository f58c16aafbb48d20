use super::*;
use serde_json::Value;

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().unwrap()
}

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../tests/vectors/secret_connection_handshake.json")).unwrap()
}

/// Both ends of a finished handshake.
fn pair() -> (Secured, Secured) {
    let (a, b) = (NodeKey::from_seed(&[1; 32]).unwrap(), NodeKey::from_seed(&[2; 32]).unwrap());
    let (mut to_a, mut to_b) = (BytesMut::new(), BytesMut::new());
    let mut left = Handshake::start(&[3; 32], &mut to_b).unwrap();
    let mut right = Handshake::start(&[4; 32], &mut to_a).unwrap();
    assert!(left.advance(&a, &mut to_a, &mut to_b).unwrap().is_none());
    let right = right.advance(&b, &mut to_b, &mut to_a).unwrap().unwrap();
    let left = left.advance(&a, &mut to_a, &mut to_b).unwrap().unwrap();
    (left, right)
}

#[test]
fn golden_secrets() {
    let vectors: Value =
        serde_json::from_str(include_str!("../../tests/vectors/derive_secrets.json")).unwrap();
    let cases = vectors["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 32);
    for case in cases {
        let secrets =
            Secrets::derive(&array(&case["dh_secret"]), case["local_is_least"].as_bool().unwrap()).unwrap();
        assert_eq!(secrets.receive.as_slice(), bytes(&case["recv_secret"]));
        assert_eq!(secrets.send.as_slice(), bytes(&case["send_secret"]));
    }
}

#[test]
fn whole_handshakes_byte_for_byte() {
    for case in vectors()["cases"].as_array().unwrap() {
        for (us, them) in [("a", "b"), ("b", "a")] {
            let (us, them) = (&case[us], &case[them]);
            let key = NodeKey::from_seed(&array(&us["ed25519_seed"])).unwrap();
            assert_eq!(key.id().to_string(), us["id"].as_str().unwrap());
            let ephemeral = Ephemeral::from_secret(&array(&us["eph_priv"])).unwrap();
            assert_eq!(ephemeral.public(), &array::<32>(&us["eph_pub"]));
            let agreed = ephemeral.agree(&array(&them["eph_pub"])).unwrap();
            assert_eq!(agreed.challenge, array::<32>(&case["merlin_challenge"]));
            let auth = Auth::sign(&key, &agreed.challenge);
            assert_eq!(auth.signature, array::<64>(&us["signature"]));
            assert_eq!(auth.encode().len(), AUTH);

            // One byte at a time, as a slow network would.
            let mut out = BytesMut::new();
            let mut handshake = Handshake::start(&array(&us["eph_priv"]), &mut out).unwrap();
            let (mut src, mut done) = (BytesMut::new(), None);
            for byte in bytes(&them["handshake_wire"]) {
                assert!(done.is_none());
                src.put_u8(byte);
                done = handshake.advance(&key, &mut src, &mut out).unwrap();
            }
            assert_eq!(out, bytes(&us["handshake_wire"]));
            let mut done = done.expect("the handshake ends with its last byte");
            assert_eq!(done.id.to_string(), them["id"].as_str().unwrap());
            assert!(src.is_empty() && done.plain.is_empty());

            // Frames they sent afterwards open to what they said.
            let sent = them["frames"].as_array().map_or(&[][..], Vec::as_slice);
            for frame in sent {
                let (mut src, mut plain) = (BytesMut::from(&bytes(&frame["wire"])[..]), BytesMut::new());
                while done.opener.open_next(&mut src, &mut plain).unwrap() {}
                assert!(src.is_empty());
                assert_eq!(plain, bytes(&frame["plaintext"]));
            }
        }
    }
}

#[test]
fn our_padding_is_zero_and_frames_are_full() {
    let (mut left, mut right) = pair();
    let mut wire = BytesMut::new();
    left.sealer.seal_all(&[7; 2500], &mut wire).unwrap();
    assert_eq!(wire.len(), 3 * FRAME);
    left.sealer.seal(&[], &mut wire).unwrap();
    let mut lengths = vec![];
    for frame in wire.chunks_mut(FRAME) {
        lengths.push(right.opener.open(frame).unwrap().len());
        assert!(frame[4 + lengths.last().unwrap()..PLAIN_FRAME].iter().all(|&b| b == 0));
    }
    assert_eq!(lengths, [1024, 1024, 452, 0]);
    assert!(matches!(left.sealer.seal(&[0; 1025], &mut wire), Err(SecretError::Local(_))));
}

#[test]
fn points_of_low_order_are_refused() {
    // The eight u-coordinates of small order, and their non-canonical forms.
    let points = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    for point in points {
        for top in [0, 0x80] {
            let mut point: [u8; 32] = hex::decode(point).unwrap().try_into().unwrap();
            point[31] |= top;
            let ephemeral = Ephemeral::from_secret(&[5; 32]).unwrap();
            assert_eq!(ephemeral.agree(&point).unwrap_err(), SecretError::LowOrder, "{}", hex::encode(point));
        }
    }
}

#[test]
fn frames_that_lie() {
    let (mut left, mut right) = pair();
    let mut wire = BytesMut::new();
    left.sealer.seal(b"hello", &mut wire).unwrap();
    for at in [0, 4, 500, FRAME - 1] {
        let mut bad = wire.clone();
        bad[at] ^= 1;
        let (_, mut again) = pair();
        assert_eq!(again.opener.open(&mut bad), Err(SecretError::NotAuthentic));
    }
    assert_eq!(right.opener.open(&mut wire.clone()).unwrap(), b"hello");
    assert_eq!(right.opener.open(&mut wire), Err(SecretError::NotAuthentic), "a replayed frame");

    // Sealed by the peer itself, but with a length no frame has.
    for length in [1025_u32, u32::MAX] {
        let (mut left, mut right) = pair();
        let mut frame = length.to_le_bytes().to_vec();
        frame.resize(PLAIN_FRAME, 1);
        let nonce = left.sealer.0.nonce().unwrap();
        left.sealer
            .0
            .key
            .one(|key| key.seal_in_place_append_tag(nonce, Aad::empty(), &mut frame))
            .unwrap()
            .unwrap();
        assert_eq!(right.opener.open(&mut frame), Err(SecretError::FrameLength(length)));
    }
    for len in [0, 1, FRAME - 1, FRAME + 1] {
        assert!(matches!(right.opener.open(&mut vec![0; len]), Err(SecretError::Local(_))));
    }
}

#[test]
fn the_counter_ends_without_reuse() {
    let (mut left, _) = pair();
    left.sealer.set_counter(u64::MAX - 1);
    let mut out = BytesMut::new();
    left.sealer.seal(b"last", &mut out).unwrap();
    assert_eq!(left.sealer.seal(b"no more", &mut out), Err(SecretError::Exhausted));
    assert_eq!(out.len(), FRAME);
    assert_eq!(left.sealer.seal(b"no more", &mut out), Err(SecretError::Exhausted));
    // Of what does not go out whole nothing is left, however many frames were sealed.
    left.sealer.set_counter(u64::MAX - 10);
    assert_eq!(left.sealer.seal_all(&[1; 11 * DATA_MAX], &mut out), Err(SecretError::Exhausted));
    assert_eq!(out.len(), FRAME);
}

#[test]
fn a_signature_over_another_challenge_is_refused() {
    let (a, b) = (NodeKey::from_seed(&[1; 32]).unwrap(), NodeKey::from_seed(&[2; 32]).unwrap());
    let (mut out, mut src) = (BytesMut::new(), BytesMut::new());
    let mut ours = Handshake::start(&[3; 32], &mut out).unwrap();
    let theirs = Ephemeral::from_secret(&[4; 32]).unwrap();
    src.extend_from_slice(&encode_hello(theirs.public()));
    let ours_public: [u8; 32] = out[3..].try_into().unwrap();
    let mut agreed = theirs.agree(&ours_public).unwrap();
    agreed.sealer.seal(&Auth::sign(&b, &[0; 32]).encode(), &mut src).unwrap();
    assert_eq!(ours.advance(&a, &mut src, &mut out).unwrap_err(), SecretError::Signature);
    assert!(
        matches!(ours.advance(&a, &mut src, &mut out), Err(SecretError::Local(_))),
        "a machine that is over"
    );
}

#[test]
fn a_signature_spread_over_frames_and_data_behind_it() {
    let (a, b) = (NodeKey::from_seed(&[1; 32]).unwrap(), NodeKey::from_seed(&[2; 32]).unwrap());
    let (mut out, mut src) = (BytesMut::new(), BytesMut::new());
    let mut ours = Handshake::start(&[3; 32], &mut out).unwrap();
    let theirs = Ephemeral::from_secret(&[4; 32]).unwrap();
    src.extend_from_slice(&encode_hello(theirs.public()));
    let mut agreed = theirs.agree(&out[3..].try_into().unwrap()).unwrap();
    let mut auth = Auth::sign(&b, &agreed.challenge).encode();
    auth.extend_from_slice(b"more");
    for piece in auth.chunks(10) {
        agreed.sealer.seal(&[], &mut src).unwrap();
        agreed.sealer.seal(piece, &mut src).unwrap();
    }
    let done = ours.advance(&a, &mut src, &mut out).unwrap().unwrap();
    assert_eq!((done.id, &done.plain[..]), (b.id(), &b"more"[..]));
}
