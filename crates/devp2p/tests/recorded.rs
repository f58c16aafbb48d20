//! What go-ethereum sent over RLPx, byte for byte: we open its handshakes, read every frame of its session, and send
//! the same bytes ourselves.
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests

use bytes::BytesMut;
use serde_json::Value;
use sha2::{Digest, Sha256};
use switchboard::Reason;
use switchboard::wire::{Decoder, InFrame};
use switchboard_devp2p::ecies;
use switchboard_devp2p::frame::{FrameKeys, MAX_BODY, Opener, Sealer};
use switchboard_devp2p::handshake::{
    HandshakeFault, Initiator, Randomness, decode_ack, decode_auth, packet_len, respond,
};
use switchboard_devp2p::message::{DISCONNECT, HELLO, Hello, PING, PONG, VERSION};
use switchboard_devp2p::session::{Code, RlpxDecoder};
use switchboard_enr::key::{NodeKey, NodePublic};

fn recorded() -> Value {
    serde_json::from_str(include_str!("vectors/recorded_geth.json")).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(text(value)).unwrap()
}

/// Recorded bytes; of long payloads the recording has only what identifies them.
fn blob(value: &Value, what: &str) -> Vec<u8> {
    let len = value["len"].as_u64().unwrap() as usize;
    let blob = match value.get("hex") {
        Some(hex) => bytes(hex),
        None if what.ends_with("zeros") => vec![0; len],
        None if what.ends_with("pattern") => (0..len).map(|i| (7 * i + 3) as u8).collect(),
        None => {
            assert_eq!(len, 0, "{what}");
            Vec::new()
        }
    };
    assert_eq!(blob.len(), len, "{what}");
    assert_eq!(hex::encode(Sha256::digest(&blob)), text(&value["sha256"]), "{what}");
    blob
}

struct Frame {
    initiator: bool,
    what: String,
    code: u64,
    payload: Vec<u8>,
    wire: Vec<u8>,
}

fn frames(all: &Value) -> Vec<Frame> {
    let frame = |frame: &Value| {
        let what = text(&frame["what"]).to_owned();
        let (payload, wire) = (blob(&frame["payload"], &what), blob(&frame["wire"], &what));
        let code = frame["code"].as_u64().unwrap();
        assert_eq!(frame["snappy"], code != HELLO, "all but hello is compressed");
        Frame { initiator: text(&frame["from"]) == "initiator", what, code, payload, wire }
    };
    let frames: Vec<_> = all["frames"].as_array().unwrap().iter().map(frame).collect();
    assert_eq!(frames.len(), 27);
    frames
}

/// What seals the frames of one side and opens them on the other.
fn halves(all: &Value, initiator: bool) -> (Sealer, Opener) {
    let secret = |name: &str| -> [u8; 32] { bytes(&all["secrets"][name]).try_into().unwrap() };
    let seed = |name: &str| bytes(&all["secrets"][name]);
    let (out, back) = (seed("initiator_egress_seed"), seed("initiator_ingress_seed"));
    let (egress, ingress) = if initiator { (out, back) } else { (back, out) };
    let keys = |a: &[u8], b: &[u8]| FrameKeys::from_secrets(secret("aes"), secret("mac"), a, b).split();
    (keys(&egress, &ingress).0, keys(&ingress, &egress).1)
}

/// Both directions, each as its receiver reads it: hello, then the running session.
#[test]
fn every_frame_means_what_was_sent() {
    let all = recorded();
    for initiator in [true, false] {
        let mine: Vec<_> = frames(&all).into_iter().filter(|frame| frame.initiator == initiator).collect();
        let (_, mut opener) = halves(&all, initiator);
        let (first, rest) = mine.split_first().unwrap();
        let mut src = BytesMut::from(&first.wire[..]);
        let message = opener.open(&mut src, MAX_BODY).unwrap().unwrap();
        assert_eq!((message.code, &message.payload[..]), (HELLO, &first.payload[..]));
        check_hello(&Hello::decode(&message.payload).unwrap(), initiator);

        let codes = [16, 17, 127, 128, 300].map(|code| Code { code, limit: 65_536 });
        let mut decoder = RlpxDecoder::new(opener, true, codes.to_vec(), false);
        for Frame { what, code, payload, wire, .. } in rest {
            // One byte short it is no frame yet.
            let (start, last) = wire.split_at(wire.len() - 1);
            src.extend_from_slice(start);
            assert_eq!(decoder.decode(&mut src).unwrap(), None, "{what}");
            src.extend_from_slice(last);
            let meaning = match *code {
                PING => InFrame::Ping,
                PONG => InFrame::Pong,
                DISCONNECT if what == "disconnect 8" => InFrame::Goodbye(Reason::Quitting),
                DISCONNECT => InFrame::Goodbye(Reason::Requested),
                wire_id => InFrame::Message { wire_id, data: payload.clone().into() },
            };
            assert_eq!(decoder.decode(&mut src).unwrap(), Some(meaning), "{what}");
            assert!(src.is_empty(), "{what}");
        }
    }
}

fn check_hello(hello: &Hello, initiator: bool) {
    let (name, caps): (_, &[_]) = match initiator {
        true => ("gethpeer/initiator", &[("bench", 1), ("cast", 1), ("eth", 69)]),
        false => ("gethpeer/recipient", &[("bench", 1), ("cast", 1)]),
    };
    assert_eq!((hello.version, hello.name.as_str(), hello.port), (VERSION, name, 0));
    let theirs: Vec<_> = hello.capabilities.iter().map(|cap| (cap.name.as_str(), cap.version)).collect();
    assert_eq!(theirs, caps);
    assert!(NodePublic::from_bytes(&hello.key).is_ok());
}

/// Snappy leaves encoders a choice; ours makes the one that Go's makes, so the whole session comes out the same.
#[test]
fn we_send_the_same_bytes() {
    let all = recorded();
    let (mut left, mut right) = (halves(&all, true).0, halves(&all, false).0);
    let mut snappy = snap::raw::Encoder::new();
    for Frame { initiator, what, code, payload, wire } in frames(&all) {
        let sealer = if initiator { &mut left } else { &mut right };
        let mut out = BytesMut::new();
        sealer.seal(code, &payload, (code != HELLO).then_some(&mut snappy), &mut out).unwrap();
        assert_eq!(hex::encode(out), hex::encode(wire), "{what}");
    }
}

/// The recording has the static keys but not the ephemeral ones: each packet is opened, the initiator's signature
/// checked and both sides answered; the keys they agreed on cannot be known.
#[test]
fn handshakes_are_opened_and_answered() {
    let all = recorded();
    let randomness =
        || Randomness { ephemeral: [3; 32], nonce: [4; 32], sealing: [5; 32], iv: [6; 16], padding: 7 };
    let handshakes = all["handshakes"].as_array().unwrap();
    assert_eq!(handshakes.len(), 3);
    for handshake in handshakes {
        let key = |name: &str| NodeKey::from_bytes(&bytes(&handshake[name]).try_into().unwrap()).unwrap();
        let (initiator, recipient) = (key("initiator_key"), key("recipient_key"));
        let (auth, ack) = (blob(&handshake["auth"], "auth"), blob(&handshake["ack"], "ack"));
        let content = |key: &NodeKey, packet: &[u8]| {
            let (prefix, sealed) = packet.split_first_chunk::<2>().unwrap();
            assert_eq!(packet_len(*prefix), Ok(sealed.len()));
            ecies::open(key, sealed, prefix).unwrap().to_vec()
        };
        let opened = decode_auth(&content(&recipient, &auth)).unwrap();
        assert_eq!((opened.key, opened.version), (initiator.public().to_bytes(), 4));
        let answer = respond(&recipient, &auth, &randomness()).unwrap();
        assert_eq!(answer.remote, initiator.public(), "the signature proves the key");
        let wrong = respond(&initiator, &auth, &randomness()).unwrap_err();
        assert_eq!(wrong, HandshakeFault::Sealed, "sealed to the recipient only");

        let opened = decode_ack(&content(&initiator, &ack)).unwrap();
        assert_eq!(opened.version, 4);
        assert!(NodePublic::from_bytes(&opened.ephemeral).is_ok());
        let ours = Initiator::start(&initiator, &recipient.public(), &randomness()).unwrap();
        assert!(ours.finish(&ack).is_ok());
    }
}
