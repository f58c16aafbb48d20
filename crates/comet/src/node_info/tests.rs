use super::*;
use proptest::prelude::*;
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../tests/vectors/node_info.json")).unwrap()
}

fn from_json(json: &Value) -> NodeInfo {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let number = |name: &str| json["protocol_version"][name].as_u64().unwrap();
    NodeInfo {
        protocol: ProtocolVersion { p2p: number("p2p"), block: number("block"), app: number("app") },
        id: text(&json["id"]),
        listen_addr: text(&json["listen_addr"]),
        network: text(&json["network"]),
        version: text(&json["version"]),
        channels: hex::decode(json["channels"].as_str().unwrap()).unwrap(),
        moniker: text(&json["moniker"]),
        tx_index: text(&json["other"]["tx_index"]),
        rpc_address: text(&json["other"]["rpc_address"]),
    }
}

fn check_validation(info: &NodeInfo, expected: &str, case: &str) {
    let verdict = info.validate();
    let agrees = match &verdict {
        Ok(()) => expected.is_empty(),
        Err(InvalidNodeInfo::Address(_)) => expected.starts_with("invalid address"),
        Err(InvalidNodeInfo::Version) => expected.starts_with("info.Version"),
        Err(InvalidNodeInfo::TooManyChannels(n)) => expected.contains(&format!("too long ({n})")),
        Err(InvalidNodeInfo::DuplicateChannel(n)) => expected.ends_with(&format!("duplicate channel id {n}")),
        Err(InvalidNodeInfo::Moniker) => expected.starts_with("info.Moniker"),
        Err(InvalidNodeInfo::TxIndex) => expected.starts_with("info.Other.TxIndex"),
        Err(InvalidNodeInfo::RpcAddress) => expected.starts_with("info.Other.RPCAddress"),
    };
    assert!(agrees, "{case}: {verdict:?}, recorded {expected:?}");
}

#[test]
fn recorded_encodings() {
    for case in vectors()["encodings"].as_array().unwrap() {
        let info = from_json(&case["json"]);
        let wire = hex::decode(case["delimited"].as_str().unwrap()).unwrap();
        assert_eq!(info.encode(), wire);
        assert_eq!(NodeInfo::decode(&wire), Ok(Some((info.clone(), wire.len()))));
        for cut in 0..wire.len() {
            assert_eq!(NodeInfo::decode(&wire[..cut]), Ok(None));
        }
        check_validation(&info, case["validate_error"].as_str().unwrap(), "encoding");
    }
}

#[test]
fn recorded_rules() {
    let vectors = vectors();
    let rules = vectors["rules"].as_array().unwrap();
    let ours = from_json(&rules[0]["info"]);
    assert_eq!(rules.len(), 31);
    for rule in rules {
        let case = rule["case"].as_str().unwrap();
        let info = from_json(&rule["info"]);
        check_validation(&info, rule["validate_error"].as_str().unwrap(), case);
        let expected = match rule["compatible_error"].as_str().unwrap() {
            "" => Ok(()),
            error if error.contains("network") => Err(Incompatible::Network),
            error if error.contains("Block version") => Err(Incompatible::BlockVersion),
            error if error.contains("common channels") => Err(Incompatible::Channels),
            error => panic!("{error}"),
        };
        assert_eq!(ours.compatible(&info), expected, "{case}");
    }
}

#[test]
fn recorded_nodes_of_two_release_lines() {
    for text in [
        include_str!("../../tests/vectors/recorded_comet038.json"),
        include_str!("../../tests/vectors/recorded_comet040.json"),
    ] {
        let vectors: Value = serde_json::from_str(text).unwrap();
        for node in vectors["nodes"].as_array().unwrap() {
            let wire = hex::decode(node["node_info_wire"]["hex"].as_str().unwrap()).unwrap();
            let info = from_json(&node["node_info"]);
            assert_eq!(info.encode(), wire);
            assert_eq!(info.validate(), Ok(()));
            let key = crate::key::NodeKey::from_json(&node["node_key_file"].to_string()).unwrap();
            assert_eq!(key.id().to_string(), info.id);
        }
    }
}

#[test]
fn the_limit_is_judged_by_the_delimiter() {
    let mut head = Vec::new();
    proto::put_uvarint(MAX_NODE_INFO as u64 + 1, &mut head);
    assert!(matches!(NodeInfo::decode(&head), Err(NodeInfoError::Proto(ProtoError::TooLong { .. }))));
    // Unknown fields up to the limit are skipped.
    let mut message = Vec::new();
    proto::put_bytes_field(99, &vec![0; MAX_NODE_INFO - 4], &mut message);
    assert_eq!(message.len(), MAX_NODE_INFO);
    let (info, _) = NodeInfo::decode(&proto::delimit(&message)).unwrap().unwrap();
    assert!(info.validate().is_err());
}

#[test]
fn wrong_types_and_text() {
    let decode = |message: &[u8]| NodeInfo::decode(&proto::delimit(message)).map(|_| ());
    assert_eq!(decode(&[0x08, 1]), Err(NodeInfoError::Proto(ProtoError::WrongType)));
    assert_eq!(decode(&[0x10, 1]), Err(NodeInfoError::Proto(ProtoError::WrongType)));
    assert_eq!(decode(&[0x22, 1, 0xff]), Err(NodeInfoError::NotText("network")));
    assert_eq!(decode(&[0x0a, 2, 0x08]), Err(NodeInfoError::Proto(ProtoError::Truncated)));
    assert_eq!(decode(&[0x0a, 2, 0x0a, 0]), Err(NodeInfoError::Proto(ProtoError::WrongType)));
}

#[test]
fn a_node_without_channels_takes_any_peer() {
    let channels = |channels: &[u8]| NodeInfo { channels: channels.to_vec(), ..NodeInfo::default() };
    assert_eq!(channels(&[]).compatible(&channels(&[1])), Ok(()));
    assert_eq!(channels(&[1]).compatible(&channels(&[])), Err(Incompatible::Channels));
}

proptest! {
    #[test]
    fn round_trip(
        (p2p, block, app) in any::<(u64, u64, u64)>(),
        id in "[0-9a-f]{40}", listen_addr in ".{0,30}", network in ".{0,50}",
        channels in proptest::collection::vec(any::<u8>(), 0..20), moniker in ".{0,40}",
    ) {
        let protocol = ProtocolVersion { p2p, block, app };
        let info = NodeInfo { protocol, id, listen_addr, network, channels, moniker, ..NodeInfo::default() };
        let wire = info.encode();
        prop_assert_eq!(NodeInfo::decode(&wire), Ok(Some((info, wire.len()))));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(Some((info, _))) = NodeInfo::decode(&proto::delimit(&bytes)) {
            let _ = info.validate();
            let _ = NodeInfo::decode(&bytes);
        }
    }
}
