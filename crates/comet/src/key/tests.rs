use super::*;

fn vectors() -> Vec<serde_json::Value> {
    serde_json::from_str(include_str!("../../tests/vectors/node_id.json")).unwrap()
}

fn seed(n: u8) -> [u8; 32] {
    [n; 32]
}

#[test]
fn ids_and_key_files_are_the_recorded_ones() {
    for case in vectors() {
        let seed: [u8; 32] = hex::decode(case["seed"].as_str().unwrap()).unwrap().try_into().unwrap();
        let key = NodeKey::from_seed(&seed).unwrap();
        assert_eq!(hex::encode(key.public()), case["pub"].as_str().unwrap());
        assert_eq!(key.id().to_string(), case["id"].as_str().unwrap());
        assert_eq!(key.to_json().as_str(), case["node_key_json"].as_str().unwrap());
        assert_eq!(
            NodeKey::from_json(case["node_key_json"].as_str().unwrap()).unwrap().public(),
            key.public()
        );
    }
}

#[test]
fn id_of_a_key_recorded_elsewhere() {
    let case: serde_json::Value =
        serde_json::from_str(include_str!("../../tests/vectors/tendermint_rs_pubkey.json")).unwrap();
    let public: [u8; 32] = hex::decode(case["pub"].as_str().unwrap()).unwrap().try_into().unwrap();
    assert_eq!(NodeId::of(&public).to_string(), case["id"].as_str().unwrap());
}

#[test]
fn a_damaged_key_file_is_named() {
    let good = NodeKey::from_seed(&seed(1)).unwrap().to_json();
    assert!(matches!(NodeKey::from_json(""), Err(KeyFormatError::Json(_))));
    assert!(matches!(NodeKey::from_json(&good.replace("Ed25519", "Bls")), Err(KeyFormatError::Type(_))));
    assert_eq!(NodeKey::from_json(&good.replace("AQEB", "!!!!")).unwrap_err(), KeyFormatError::Base64);
    assert_eq!(NodeKey::from_json(&good.replacen("AQEB", "", 1)).unwrap_err(), KeyFormatError::Length(61));
    assert_eq!(
        NodeKey::from_json(&good.replacen("AQEB", "AQEC", 1)).unwrap_err(),
        KeyFormatError::Inconsistent
    );
    for cut in 0..good.len() {
        assert!(NodeKey::from_json(&good[..cut]).is_err());
    }
    // No error text carries key material.
    assert!(!format!("{:?}", NodeKey::from_json(&good[..90]).unwrap_err()).contains("AQEB"));
}

#[test]
fn key_files_are_made_once_and_for_the_owner_only() {
    let dir = std::env::temp_dir().join(format!("comet-key-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("node_key.json");
    let _ = std::fs::remove_file(&path);
    let key = NodeKey::load_or_create(&path, || seed(9)).unwrap();
    assert_eq!(NodeKey::load_or_create(&path, || panic!("made twice")).unwrap().id(), key.id());
    assert!(key.save_new(&path).is_err(), "an existing key is never overwritten");
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, *key.to_json());
    assert!(!text.ends_with('\n'));
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }
    std::fs::write(&path, "x".repeat(5000)).unwrap();
    let error = NodeKey::load(&path).unwrap_err();
    assert!(matches!(error, KeyError::Content { error: KeyFormatError::TooLarge, .. }));
    assert!(error.to_string().contains("node_key.json"));
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn signatures() {
    let key = NodeKey::from_seed(&seed(3)).unwrap();
    let mut signature = key.sign(b"challenge");
    assert!(verify(key.public(), b"challenge", &signature));
    assert!(!verify(key.public(), b"challengf", &signature));
    signature[0] ^= 1;
    assert!(!verify(key.public(), b"challenge", &signature));
}

#[test]
fn work_targets() {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../tests/vectors/pow_target.json")).unwrap();
    for case in vectors["cases"].as_array().unwrap() {
        let target = pow_target(case[0].as_u64().unwrap() as u32, 160);
        assert_eq!(hex::encode(target), case[1].as_str().unwrap());
    }
}
