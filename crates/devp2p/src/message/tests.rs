use super::*;

fn hello() -> Hello {
    let cap = |name: &str, version| Capability { name: name.into(), version };
    Hello {
        version: 5,
        name: "vector/1".into(),
        capabilities: vec![cap("eth", 68), cap("bench", 1)],
        port: 0,
        key: [7; 64],
    }
}

#[test]
fn hello_round_trips_sorted() {
    let decoded = Hello::decode(&hello().encode()).unwrap();
    let names: Vec<_> = decoded.capabilities.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["bench", "eth"]);
    assert_eq!(
        (decoded.version, decoded.name.as_str(), decoded.port, decoded.key),
        (5, "vector/1", 0, [7; 64])
    );
}

#[test]
fn hello_ignores_what_later_versions_add() {
    let encoded = hello().encode();
    let mut payload = &encoded[..];
    let mut items = rlp::list(&mut payload).unwrap().to_vec();
    rlp::put_string(b"more", &mut items);
    let mut longer = Vec::new();
    rlp::put_list(&items, &mut longer);
    longer.extend_from_slice(b"trailing");
    assert!(Hello::decode(&longer).is_ok());
}

#[test]
fn bad_hellos_are_refused() {
    let encoded = hello().encode();
    for length in 0..encoded.len() {
        assert!(Hello::decode(&encoded[..length]).is_err(), "length {length}");
    }
    assert!(Hello::decode(&Hello { key: [0; 64], ..hello() }.encode()).is_err());
    let many = Capability { name: "x".into(), version: 1 };
    assert!(Hello::decode(&Hello { capabilities: vec![many; MAX_CAPS + 1], ..hello() }.encode()).is_err());
    assert!(Hello::decode(&Hello { name: "n".repeat(2100), ..hello() }.encode()).is_err());
}

#[test]
fn disconnects_are_read_in_both_forms() {
    assert_eq!(hex::encode(encode_disconnect(0)), "c180");
    assert_eq!(hex::encode(encode_disconnect(16)), "c110");
    for code in (0..=11).chain([16]) {
        assert_eq!(decode_disconnect(&encode_disconnect(code)), code);
        let mut bare = Vec::new();
        rlp::put_number(code, &mut bare);
        assert_eq!(decode_disconnect(&bare), code);
        assert_eq!(code_of(&reason_of(code)), code, "each code means one reason and back");
    }
    // Zero written as a byte is not RLP's zero; nothing, nonsense and large numbers are "invalid".
    for bad in ["c100", "", "ff", "c3ffffff", "c0", "c482ffff80"] {
        assert_eq!(decode_disconnect(&hex::decode(bad).unwrap()), INVALID_REASON, "{bad}");
    }
}

#[test]
fn no_bytes_panic() {
    for len in 0..64usize {
        for fill in 0..=255u8 {
            let noise = vec![fill; len];
            let _ = Hello::decode(&noise);
            let _ = decode_disconnect(&noise);
        }
    }
}
