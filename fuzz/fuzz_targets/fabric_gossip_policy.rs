//! Signature policies and collections, as text and encoded: what is read is written and read again as the same.
#![no_main]

use switchboard_fabric_gossip::privdata::Policy;
use switchboard_fabric_gossip::privdata::collections::{decode_package, from_json};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Ok(policy) = text.parse::<Policy>() {
            assert_eq!(policy.to_string().parse().as_ref(), Ok(&policy));
            // Its encoding may be over the limit where its text is not.
            if let Ok(decoded) = Policy::decode(&policy.encode()) {
                assert_eq!(decoded, policy);
            }
        }
        let _ = from_json("cc", text);
    }
    if let Ok(policy) = Policy::decode(bytes) {
        let _ = (policy.organisations().len(), policy.to_string());
    }
    if let Ok(collections) = decode_package("cc", bytes) {
        for collection in collections {
            assert_eq!(decode_package("cc", &collection.package()), Ok(vec![collection]));
        }
    }
});
