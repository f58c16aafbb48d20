use super::*;

#[test]
fn the_channel_mac_of_a_real_peer() {
    let line = include_str!("../../tests/vectors/messages.jsonl")
        .lines()
        .find(|l| l.contains("channel_mac"))
        .unwrap();
    let vector: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(hex::encode(channel_mac(&[1, 2, 3, 4], b"mychannel")), vector["hex"].as_str().unwrap());
}

fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
    let integer = |v: &[u8]| [&[2, v.len() as u8], v].concat();
    let body = [integer(r), integer(s)].concat();
    [&[0x30, body.len() as u8], &body[..]].concat()
}

#[test]
fn high_s_is_found_and_lowered() {
    // n − 1 is as high as can be; lowered it is 1.
    let mut top = ORDER_256.to_vec();
    *top.last_mut().unwrap() -= 1;
    let high = der(&[5], &[&[0], &top[..]].concat());
    assert!(!has_low_s(&high));
    assert_eq!(lower(&high, &ORDER_256).unwrap(), der(&[5], &[1]));
    assert!(has_low_s(&der(&[5], &[1])));
    // Half the order, rounded down, is the last low one.
    let mut half = Vec::new();
    let mut carry = 0;
    for byte in ORDER_256 {
        half.push(byte >> 1 | carry);
        carry = byte << 7;
    }
    assert!(has_low_s(&der(&[5], &half)));
    *half.last_mut().unwrap() += 1;
    assert!(!has_low_s(&der(&[5], &half)));
}

#[test]
fn bad_signatures_are_not_taken_apart() {
    for bad in [
        "",
        "30",
        "3000",
        "300602010502010",
        "3006020105020100",
        "30060201050201ff",
        "300702010502020001",
        "30060201050201010a",
    ] {
        let bytes = hex::decode(bad).unwrap_or_default();
        let taken = split_der(&bytes);
        assert!(taken.is_none() || bad == "3006020105020100", "{bad}: {taken:?}");
    }
}

#[test]
fn malformed_identities_are_refused() {
    for bytes in [&b""[..], b"\x0a\x00", b"\xff\xff", &[0x0a, 3, b'O', b'r', b'g']] {
        assert!(Identity::decode(Bytes::copy_from_slice(bytes)).is_err());
    }
    assert!(Identity::decode(vec![0; MAX_IDENTITY + 1].into()).is_err());
}
