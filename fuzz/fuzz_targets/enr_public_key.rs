//! Points and signatures.
#![no_main]

use switchboard_enr::key::{NodeKey, NodePublic, recover};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some(xy) = bytes.first_chunk::<64>() {
        if let Ok(key) = NodePublic::from_bytes(xy) {
            assert_eq!(&key.to_bytes(), xy);
            let _ = (key.node_id(), key.verifies([9; 32], xy));
        }
    }
    if let Some(short) = bytes.first_chunk::<33>() {
        let _ = NodePublic::from_compressed(short);
    }
    if let Some(secret) = bytes.first_chunk::<32>() {
        let _ = NodeKey::from_bytes(secret);
    }
    if let Some(signature) = bytes.first_chunk::<65>() {
        let _ = recover([9; 32], signature);
    }
});
