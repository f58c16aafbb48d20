use super::*;
use proptest::prelude::*;
use serde_json::Value;

fn pair() -> (Sealer, Opener) {
    let keys = |egress, ingress| FrameKeys::from_secrets([1; 32], [2; 32], egress, ingress);
    (keys(b"there", b"back").split().0, keys(b"back", b"there").split().1)
}

/// A hash that ignores its input, as in the golden frame.
struct Ones;

impl Hash for Ones {
    fn absorb(&mut self, _: &[u8]) {}
    fn digest_now(&self) -> [u8; 32] {
        [1; 32]
    }
}

fn unhashed(key: [u8; 32]) -> (Sealer<Ones>, Opener<Ones>) {
    let stream = || Ctr64BE::<Aes256>::new(&key.into(), &[0; 16].into());
    let mac = || FrameMac { hash: Ones, cipher: Aes256::new(&key.into()) };
    (Sealer { stream: stream(), mac: mac() }, Opener { stream: stream(), mac: mac(), waiting: None })
}

#[test]
fn the_golden_frame() {
    let v: Value = serde_json::from_str(include_str!("../../tests/vectors/rlpx_frame_golden.json")).unwrap();
    let get = |name: &str| hex::decode(v[name].as_str().unwrap()).unwrap();
    let key: [u8; 32] = get("aes_secret").try_into().unwrap();
    let (mut sealer, mut opener) = unhashed(key);
    let mut out = BytesMut::new();
    sealer.seal(v["msg_code"].as_u64().unwrap(), &get("msg_payload"), None, &mut out).unwrap();
    assert_eq!(hex::encode(&out), v["frame"].as_str().unwrap());
    let message = opener.open(&mut out, MAX_BODY).unwrap().unwrap();
    assert_eq!((message.code, &message.payload[..]), (8, &get("msg_payload")[..]));
}

/// Frames that go-ethereum made after the EIP-8 handshake (auth2, ack2), plain, then snappy; read as the recipient.
#[test]
fn recorded_frames_are_read() {
    let v: Value =
        serde_json::from_str(include_str!("../../tests/vectors/gen_rlpx_session_frames.json")).unwrap();
    let h: Value =
        serde_json::from_str(include_str!("../../tests/vectors/rlpx_eip8_handshake.json")).unwrap();
    let bytes = |name: &str| hex::decode(h[name].as_str().unwrap()).unwrap();
    let array = |name: &str| -> [u8; 32] { bytes(name).try_into().unwrap() };
    let derived = &h["derived_from_auth2_ack2_on_recipient"];
    let secret = |name: &str| -> [u8; 32] {
        hex::decode(derived[name].as_str().unwrap()).unwrap().try_into().unwrap()
    };
    let seed = |nonce: &str, packet: &str| {
        let mut seed: Vec<u8> = secret("mac_secret").iter().zip(array(nonce)).map(|(a, b)| a ^ b).collect();
        seed.extend(hex::decode(h[packet]["packet"].as_str().unwrap()).unwrap());
        seed
    };
    let (egress, ingress) = (seed("nonce_a", "ack2"), seed("nonce_b", "auth2"));
    let keys = FrameKeys::from_secrets(secret("aes_secret"), secret("mac_secret"), &egress, &ingress);
    let (_, mut opener) = keys.split();
    let frames = v["frames"].as_array().unwrap();
    for (n, frame) in frames.iter().enumerate() {
        let mut wire = BytesMut::from(&hex::decode(frame["frame"].as_str().unwrap()).unwrap()[..]);
        let message = opener.open(&mut wire, MAX_BODY).unwrap().unwrap();
        assert!(wire.is_empty());
        let payload = hex::decode(frame["payload"].as_str().unwrap()).unwrap();
        assert_eq!(message.code, frame["code"].as_u64().unwrap(), "frame {n}");
        if frame["snappy"] == true {
            assert_eq!(decompress(message.code, &message.payload, MAX_BODY).unwrap(), payload, "frame {n}");
        } else {
            assert_eq!(message.payload, payload, "frame {n}");
        }
    }
    assert_eq!(frames.len(), 13);
}

#[test]
fn sizes_on_the_wire() {
    let (mut sealer, _) = pair();
    for (len, wire) in [(0, 64), (1, 64), (15, 64), (16, 80), (1024, 1024 + 16 + 48)] {
        let mut out = BytesMut::new();
        sealer.seal(1, &vec![0; len], None, &mut out).unwrap();
        assert_eq!(out.len(), wire, "payload of {len}");
        assert_eq!(frame_len(len + 1), wire);
    }
}

/// Without the hash, which takes long over 16 MiB and has no part in it.
#[test]
fn a_message_over_24_bits_is_not_sent() {
    let (mut sealer, mut opener) = unhashed([1; 32]);
    let mut out = BytesMut::new();
    let large = vec![0; MAX_BODY];
    assert_eq!(sealer.seal(1, &large, None, &mut out), Err(TooLarge(MAX_BODY)));
    assert!(out.is_empty());
    sealer.seal(1, &large[1..], None, &mut out).unwrap();
    let message = opener.open(&mut out, MAX_BODY).unwrap().unwrap();
    assert_eq!(message.payload.len(), MAX_BODY - 1);
}

#[test]
fn every_bent_byte_is_found() {
    let mut whole = BytesMut::new();
    pair().0.seal(5, b"a payload of more than sixteen bytes", None, &mut whole).unwrap();
    for byte in 0..whole.len() {
        let mut bent = whole.clone();
        bent[byte] ^= 1;
        let fault = pair().1.open(&mut bent, MAX_BODY).unwrap_err();
        assert_eq!(fault, if byte < 32 { FrameFault::HeaderMac } else { FrameFault::BodyMac }, "byte {byte}");
    }
    for length in 0..whole.len() {
        let mut cut = BytesMut::from(&whole[..length]);
        assert_eq!(pair().1.open(&mut cut, MAX_BODY).unwrap(), None, "length {length}");
    }
}

/// The limit is judged by the header alone, before the body is there.
#[test]
fn an_oversized_frame_is_refused_by_its_header() {
    let mut out = BytesMut::new();
    pair().0.seal(5, &[0; 4000], None, &mut out).unwrap();
    out.truncate(32);
    let fault = pair().1.open(&mut out, 2048).unwrap_err();
    assert_eq!(fault, FrameFault::Size { size: 4001, limit: 2048 });
}

/// EIP-706 and ethrex#6956: a declared length is judged before anything is allocated.
#[test]
fn forged_snappy_lengths_are_refused() {
    let four_gib = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
    let limit = MAX_BODY;
    let fault = decompress(7, &four_gib, limit).unwrap_err();
    assert_eq!(fault, FrameFault::Payload { code: 7, size: 0xffff_ffff, limit });
    // Within the limit, but more than these bytes can unfold to.
    let sixteen_mib = [0xff, 0xff, 0xff, 0x07, 0x00];
    assert_eq!(decompress(7, &sixteen_mib, limit).unwrap_err(), FrameFault::Snappy);
    assert_eq!(decompress(7, &[], limit).unwrap_err(), FrameFault::Snappy);
    assert_eq!(decompress(7, &[0xff; 11], limit).unwrap_err(), FrameFault::Snappy);
    let mut encoder = snap::raw::Encoder::new();
    for size in [0, 1, 64, 1000, 65_536, 1 << 20] {
        let zeros = vec![0; size];
        let packed = encoder.compress_vec(&zeros).unwrap();
        assert_eq!(decompress(7, &packed, size).unwrap(), zeros);
        for cut in 0..packed.len().min(100) {
            let _ = decompress(7, &packed[..cut], size);
        }
    }
}

proptest! {
    #[test]
    fn what_is_sealed_is_opened(messages in proptest::collection::vec((0u64..1 << 40, proptest::collection::vec(any::<u8>(), 0..700), any::<bool>()), 1..8), chunk in 1usize..200) {
        let (mut sealer, mut opener) = pair();
        let mut encoder = snap::raw::Encoder::new();
        let mut wire = BytesMut::new();
        for (code, payload, snappy) in &messages {
            sealer.seal(*code, payload, snappy.then_some(&mut encoder), &mut wire).unwrap();
        }
        let (mut src, mut read) = (BytesMut::new(), Vec::new());
        for part in wire.chunks(chunk) {
            src.extend_from_slice(part);
            while let Some(message) = opener.open(&mut src, MAX_BODY).unwrap() {
                read.push(message);
            }
        }
        prop_assert_eq!(read.len(), messages.len());
        for (message, (code, payload, snappy)) in read.iter().zip(&messages) {
            prop_assert_eq!(message.code, *code);
            if *snappy {
                prop_assert_eq!(&decompress(*code, &message.payload, 700).unwrap(), payload);
            } else {
                prop_assert_eq!(&message.payload[..], &payload[..]);
            }
        }
    }

    #[test]
    fn noise_is_refused(noise in proptest::collection::vec(any::<u8>(), 32..200)) {
        let mut src = BytesMut::from(&noise[..]);
        prop_assert_eq!(pair().1.open(&mut src, MAX_BODY).unwrap_err(), FrameFault::HeaderMac);
    }
}
