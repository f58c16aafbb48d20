use super::*;
use serde_json::Value;

fn example() -> Value {
    serde_json::from_str(include_str!("../../tests/vectors/enr_eip778.json")).unwrap()
}

#[test]
fn the_example_of_eip_778() {
    let v = example();
    let record = Record::parse(v["text"].as_str().unwrap()).unwrap();
    assert_eq!(hex::encode(record.key().node_id()), v["node_id"].as_str().unwrap());
    assert_eq!(hex::encode(record.key().compressed()), v["secp256k1"].as_str().unwrap());
    assert_eq!(hex::encode(record.signature), v["signature"].as_str().unwrap());
    assert_eq!(record.seq, 1);
    assert_eq!(record.port("udp"), Some(30303));
    assert_eq!(record.to_string(), v["text"].as_str().unwrap());
    let key =
        NodeKey::from_bytes(&hex::decode(v["private_key"].as_str().unwrap()).unwrap().try_into().unwrap());
    let made = Record::signed(&key.unwrap(), 1, "127.0.0.1".parse().unwrap(), None, Some(30303));
    assert_eq!(made.to_string(), v["text"].as_str().unwrap(), "signatures are deterministic");
}

#[test]
fn bad_records_are_refused() {
    let text = example()["text"].as_str().unwrap().to_owned();
    let bytes = Record::parse(&text).unwrap().encode();
    for length in 0..bytes.len() {
        assert!(Record::decode(&bytes[..length]).is_err(), "length {length}");
    }
    for byte in 0..bytes.len() {
        let mut bent = bytes.clone();
        bent[byte] ^= 1;
        assert!(Record::decode(&bent).is_err(), "byte {byte}");
    }
    assert_eq!(Record::decode(&[0; 301]).unwrap_err(), RecordError::TooLarge);
    assert_eq!(Record::parse("enode:").unwrap_err(), RecordError::Text);
}

#[test]
fn endpoints() {
    let key = NodeKey::from_bytes(&[9; 32]).unwrap();
    for (ip, port) in [("1.2.3.4", 30303), ("2001:db8::1", 80), ("::ffff:1.2.3.4", 0)] {
        let ip: IpAddr = ip.parse().unwrap();
        let record = Record::signed(&key, 7, ip, Some(port), Some(port));
        let again = Record::parse(&record.to_string()).unwrap();
        assert_eq!(again.tcp(), Some((ip.to_canonical(), port)));
    }
}
