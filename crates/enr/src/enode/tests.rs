use super::*;
use serde_json::Value;

#[test]
fn the_urls_geth_knows() {
    let v: Value = serde_json::from_str(include_str!("../../tests/vectors/enode_urls.json")).unwrap();
    let cases = v["cases"].as_array().unwrap();
    for case in cases {
        let url = case["url"].as_str().unwrap();
        assert_eq!(Enode::parse(url).is_ok(), case["ok"] == true, "{url}: {:?}", Enode::parse(url));
    }
    assert_eq!(cases.len(), 18);
}

#[test]
fn urls_are_printed_as_they_were_written() {
    let key = "1dd9d65c4552b5eb43d5ad55a2ee3f56c6cbc1c64a5c8d659f51fcd51bace24351232b8d7821617d2b29b54b81cdefb9b3e9c37d7fd5f63270bcc9e1a6f6a439";
    for tail in ["", "@127.0.0.1:52150", "@[::1]:52150", "@node.example:30303?discport=0"] {
        let url = format!("enode://{key}{tail}");
        assert_eq!(Enode::parse(&url).unwrap().to_string(), url);
    }
    let off_curve = "01".repeat(64);
    assert_eq!(Enode::parse(&format!("enode://{off_curve}@1.2.3.4:1")).unwrap_err(), EnodeError::KeyPoint);
    for bad in ["", "enode://", "http://x", "enode://@1.2.3.4:1"] {
        assert!(Enode::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn errors_say_what_is_wrong() {
    let key = "1dd9d65c4552b5eb43d5ad55a2ee3f56c6cbc1c64a5c8d659f51fcd51bace24351232b8d7821617d2b29b54b81cdefb9b3e9c37d7fd5f63270bcc9e1a6f6a439";
    let wrong = format!("{}0", &key[..127]);
    for (text, says) in [
        (key.to_owned(), "missing enode://"),
        ("01010101".to_owned(), "missing enode://"),
        ("http://foobar".to_owned(), "expected enode://"),
        (format!("enode://{}@1.2.3.4:1", &key[..126]), "126 characters"),
        (format!("enode://{}@1.2.3.4:1", "zz".repeat(64)), "not hex"),
        (format!("enode://{wrong}@1.2.3.4:1"), "probably wrong"),
        ("enode://@1.2.3.4:1".to_owned(), "no public key"),
        (format!("enode://{key}@1.2.3.4"), "invalid port"),
        (format!("enode://{key}@1.2.3.4:65536"), "invalid port"),
        (format!("enode://{key}@1.2.3.4:foo"), "invalid port"),
        (format!("enode://{key}@:30303"), "the host"),
        (format!("enode://{key}@::1:30303"), "the host"),
        (format!("enode://{key}@[::1:30303"), "the host"),
        (format!("enode://{key}@a b:30303"), "the host"),
        (format!("enode://{key}@1.2.3.4:1?discport=foo"), "invalid discport"),
        (format!("enode://{key}@1.2.3.4:1?discport=-1"), "invalid discport"),
        ("enr:x".to_owned(), "node record"),
        ("x".repeat(1_025), "so long"),
    ] {
        let error = Enode::parse(&text).unwrap_err().to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
    let slash = Enode::parse(&format!("enode://{key}@1.2.3.4:1/?discport=2")).unwrap();
    assert_eq!(slash.endpoint, Some(Endpoint { host: "1.2.3.4".into(), tcp: 1, udp: 2 }));
}

#[test]
fn records_give_what_they_know() {
    let key = crate::NodeKey::from_bytes(&[3; 32]).unwrap();
    let of = |tcp, udp| Record::signed(&key, 1, "1.2.3.4".parse().unwrap(), tcp, udp).to_string();
    let endpoint = |text: &str| Enode::parse(text).unwrap().endpoint.map(|e| (e.tcp, e.udp));
    assert_eq!(endpoint(&of(Some(1), Some(2))), Some((1, 2)));
    assert_eq!(endpoint(&of(None, Some(2))), Some((0, 2)), "a node for discovery only");
    assert_eq!(endpoint(&of(None, None)), None);
    assert_eq!(Enode::parse(&of(None, None)).unwrap().node_id(), key.public().node_id());
}
