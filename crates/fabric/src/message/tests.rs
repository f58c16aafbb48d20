use super::*;
use bytes::Bytes;
use prost::Message;
use std::collections::BTreeSet;

fn vectors() -> Vec<(String, Bytes)> {
    let lines = include_str!("../../tests/vectors/messages.jsonl").lines();
    let parsed = lines.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let message = |v: serde_json::Value| {
        let name = v["vector"].as_str().unwrap().to_owned();
        let bytes = hex::decode(v["hex"].as_str()?).unwrap();
        (!name.starts_with("channel_mac")).then(|| (name, bytes.into()))
    };
    parsed.filter_map(message).collect()
}

/// Every content that a Fabric peer of today encodes is read and written to the same bytes.
#[test]
fn every_content_round_trips() {
    let mut contents = BTreeSet::new();
    for (name, bytes) in vectors() {
        let message = decode_message(bytes.clone()).unwrap();
        assert_eq!(hex::encode(message.encode_to_vec()), hex::encode(&bytes), "{name}");
        let scanned = crate::scan::scan(&bytes).unwrap();
        assert_eq!(scanned.nonce, message.nonce, "{name}");
        assert_eq!(scanned.channel, &message.channel[..], "{name}");
        assert_eq!(scanned.tag, message.tag as u64, "{name}");
        contents.insert(scanned.content.unwrap());
    }
    assert_eq!(contents, (5..=25).collect());
}

/// GHSA-72x4-cq6r-jp4p and its kin: every truncation and every single content without its body is read or refused, never a panic.
#[test]
fn cut_and_empty_messages_do_no_harm() {
    for (_, bytes) in vectors() {
        for length in 0..bytes.len() {
            let cut = bytes.slice(..length);
            let _ = decode_message(cut.clone());
            let _ = decode_envelope(cut.clone());
            let _ = crate::scan::scan(&cut);
        }
    }
    for content in 5u32..=25 {
        let mut empty = Vec::new();
        prost::encoding::encode_varint(u64::from(content << 3 | 2), &mut empty);
        empty.push(0);
        let message = decode_message(empty.clone().into()).unwrap();
        assert!(message.content.is_some());
        assert_eq!(crate::scan::scan(&empty).unwrap().content, Some(content));
    }
}
