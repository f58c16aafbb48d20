use super::*;
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../tests/vectors/rlpx_eip8_handshake.json")).unwrap()
}

fn bytes<const N: usize>(v: &Value, name: &str) -> [u8; N] {
    let mut out = [0; N];
    hex::decode_to_slice(v[name].as_str().unwrap(), &mut out).unwrap();
    out
}

fn key(v: &Value, name: &str) -> NodeKey {
    NodeKey::from_bytes(&bytes(v, name)).unwrap()
}

fn randomness(n: u8) -> Randomness {
    Randomness { ephemeral: [n; 32], nonce: [n + 1; 32], sealing: [n + 2; 32], iv: [n + 3; 16], padding: n }
}

/// EIP-8's packets, among them later versions with items we do not know.
#[test]
fn known_packets_are_read() {
    let v = vectors();
    let (a, b) = (key(&v, "static_key_a_initiator"), key(&v, "static_key_b_recipient"));
    for name in ["auth2", "auth3"] {
        let packet = hex::decode(v[name]["packet"].as_str().unwrap()).unwrap();
        let auth = decode_auth(&open(&b, &packet).unwrap()).unwrap();
        assert_eq!(auth.signature, bytes(&v, "auth_signature"), "{name}");
        assert_eq!(auth.key, a.public().to_bytes());
        assert_eq!(auth.nonce, bytes(&v, "nonce_a"));
        assert_eq!(auth.version, v[name]["version"].as_u64().unwrap());
        let signed = xor(&b.agree(&a.public()), &auth.nonce);
        let ephemeral = recover(*signed, &auth.signature).unwrap();
        assert_eq!(ephemeral, key(&v, "ephemeral_key_a").public());
    }
    for name in ["ack2", "ack3"] {
        let packet = hex::decode(v[name]["packet"].as_str().unwrap()).unwrap();
        let ack = decode_ack(&open(&a, &packet).unwrap()).unwrap();
        assert_eq!(ack.ephemeral, key(&v, "ephemeral_key_b").public().to_bytes(), "{name}");
        assert_eq!(ack.nonce, bytes(&v, "nonce_b"));
        assert_eq!(ack.version, v[name]["version"].as_u64().unwrap());
    }
}

/// The secrets and the MAC state that EIP-8 gives for (auth2, ack2).
#[test]
fn known_secrets_are_derived() {
    let v = vectors();
    let auth = hex::decode(v["auth2"]["packet"].as_str().unwrap()).unwrap();
    let ack = hex::decode(v["ack2"]["packet"].as_str().unwrap()).unwrap();
    let nonces = Nonces { initiator: bytes(&v, "nonce_a"), recipient: bytes(&v, "nonce_b") };
    let theirs = key(&v, "ephemeral_key_a").public();
    let (mut from_initiator, _, aes, mac) =
        derive(&key(&v, "ephemeral_key_b"), &theirs, &nonces, &auth, &ack);
    let derived = &v["derived_from_auth2_ack2_on_recipient"];
    assert_eq!(*aes, bytes(derived, "aes_secret"));
    assert_eq!(*mac, bytes(derived, "mac_secret"));
    from_initiator.update(b"foo");
    assert_eq!(from_initiator.digest(), bytes(derived, "keccak_of_ingress_mac_state_plus_foo"));
}

#[test]
fn both_sides_agree() {
    let (a, b) = (NodeKey::from_bytes(&[1; 32]).unwrap(), NodeKey::from_bytes(&[2; 32]).unwrap());
    let initiator = Initiator::start(&a, &b.public(), &randomness(10)).unwrap();
    let answer = respond(&b, initiator.auth(), &randomness(20)).unwrap();
    assert_eq!(answer.remote, a.public());
    let keys = initiator.finish(&answer.ack).unwrap();
    assert_eq!(keys.aes, answer.keys.aes);
    assert_eq!(keys.mac, answer.keys.mac);
    assert_eq!(keys.egress.digest(), answer.keys.ingress.digest());
    assert_eq!(keys.ingress.digest(), answer.keys.egress.digest());
}

/// Every length of both packets, every size prefix, every bent byte: an error, never a panic.
#[test]
fn bad_packets_are_refused() {
    let (a, b) = (NodeKey::from_bytes(&[1; 32]).unwrap(), NodeKey::from_bytes(&[2; 32]).unwrap());
    let auth = Initiator::start(&a, &b.public(), &randomness(10)).unwrap().auth().to_vec();
    for length in 0..auth.len() {
        assert!(respond(&b, &auth[..length], &randomness(20)).is_err(), "length {length}");
        let mut relabelled = auth[..length].to_vec();
        if let Some(sealed) = length.checked_sub(2) {
            relabelled[..2].copy_from_slice(&(sealed as u16).to_be_bytes());
            assert!(respond(&b, &relabelled, &randomness(20)).is_err(), "relabelled {length}");
        }
    }
    for prefix in 0..=u16::MAX {
        let fits = (MIN_PACKET..=MAX_PACKET).contains(&usize::from(prefix));
        assert_eq!(packet_len(prefix.to_be_bytes()).is_ok(), fits);
    }
    let ack = respond(&b, &auth, &randomness(20)).unwrap().ack;
    for byte in (0..ack.len()).step_by(7) {
        let mut bent = ack.clone();
        bent[byte] ^= 0x40;
        let initiator = Initiator::start(&a, &b.public(), &randomness(10)).unwrap();
        assert!(initiator.finish(&bent).is_err(), "byte {byte}");
    }
}

/// All 256 recovery ids, keys off the curve, lists cut at every byte.
#[test]
fn bad_contents_are_refused() {
    let (a, b) = (NodeKey::from_bytes(&[1; 32]).unwrap(), NodeKey::from_bytes(&[2; 32]).unwrap());
    let good =
        decode_auth(&open(&b, Initiator::start(&a, &b.public(), &randomness(10)).unwrap().auth()).unwrap())
            .unwrap();
    let packet = |signature: [u8; 65], key: [u8; 64]| {
        let mut items = Vec::new();
        rlp::put_string(&signature, &mut items);
        rlp::put_string(&key, &mut items);
        rlp::put_string(&good.nonce, &mut items);
        rlp::put_number(VERSION, &mut items);
        seal(&b.public(), &items, &randomness(30)).unwrap()
    };
    for v in 0..=255u8 {
        let mut signature = good.signature;
        signature[64] = v;
        let result = respond(&b, &packet(signature, good.key), &randomness(20));
        if v > 3 {
            assert_eq!(result.unwrap_err(), HandshakeFault::Signature, "v {v}");
        }
    }
    assert_eq!(
        respond(&b, &packet(good.signature, [9; 64]), &randomness(20)).unwrap_err(),
        HandshakeFault::Point
    );
    assert_eq!(
        respond(&b, &packet([0; 65], good.key), &randomness(20)).unwrap_err(),
        HandshakeFault::Signature
    );
    let mut content = Vec::new();
    let mut items = Vec::new();
    rlp::put_string(&good.signature, &mut items);
    rlp::put_string(&good.key, &mut items);
    rlp::put_string(&good.nonce, &mut items);
    rlp::put_number(VERSION, &mut items);
    rlp::put_list(&items, &mut content);
    assert!(decode_auth(&content).is_ok());
    for length in 0..content.len() {
        assert!(decode_auth(&content[..length]).is_err(), "length {length}");
    }
}
