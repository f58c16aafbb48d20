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

/// Writes a field that holds `bytes`.
fn wrap(field: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::encode_varint(u64::from(field << 3 | 2), &mut out);
    prost::encoding::encode_varint(bytes.len() as u64, &mut out);
    out.extend_from_slice(bytes);
    out
}

/// Each list of each content, as the fields that lead to it.
const LISTS: [&[u32]; 14] = [
    &[6, 2],
    &[7, 1],
    &[7, 2],
    &[8, 1, 3],
    &[10, 2],
    &[11, 2],
    &[12, 2],
    &[15, 5, 3],
    &[16, 1],
    &[19, 1],
    &[19, 1, 3],
    &[23, 1],
    &[24, 1],
    &[24, 1, 2],
];

/// P3: entries of two bytes would be a hundred and more once decoded. They are counted first, however they are spread.
#[test]
fn tiny_entries_are_counted_before_they_are_decoded() {
    let lists = include_str!("../message.rs").matches(", repeated, tag").count();
    assert_eq!(lists + 1, LISTS.len(), "a payload's private data is a list in two contents");
    for path in LISTS {
        let (list, parents) = path.split_last().unwrap();
        let most = crate::scan::MAX_ENTRIES - path.iter().rev().skip(1).filter(|_| path.len() == 3).count();
        let inner = |entries: usize| wrap(*list, b"").repeat(entries);
        let whole =
            |entries: usize| parents.iter().rev().fold(inner(entries), |body, field| wrap(*field, &body));
        let count = |bytes: &[u8]| crate::scan::entries(bytes, crate::scan::MAX_ENTRIES).unwrap();
        let counted = count(&whole(3));
        assert!((3..=4).contains(&counted), "{path:?}: {counted}");
        let message = decode_message(whole(most).into());
        assert!(message.is_ok(), "{path:?}");
        for flood in [
            whole(crate::scan::MAX_ENTRIES + 1),
            // The same content twice: its lists are joined.
            [whole(crate::scan::MAX_ENTRIES), whole(1)].concat(),
            whole(10 * crate::scan::MAX_ENTRIES),
        ] {
            let fault = MessageFault::Entries(crate::scan::MAX_ENTRIES);
            assert_eq!(decode_message(flood.into()).unwrap_err(), fault, "{path:?}");
        }
    }
    // Not a list: as many empty fields as one likes.
    let payload = wrap(8, &wrap(1, &wrap(2, b"").repeat(crate::scan::MAX_ENTRIES + 1)));
    assert!(decode_message(payload.into()).is_ok());
}
