//! Serialized identities: protobuf, PEM and X.509 of anybody's making.
#![no_main]

use bytes::Bytes;
use switchboard_fabric::identity::Identity;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(identity) = Identity::decode(Bytes::copy_from_slice(bytes)) {
        let _ = (identity.mspid(), identity.pki_id(), identity.subject(), identity.not_after());
        let _ = (identity.slot_key(), identity.units(), identity.is_authority());
        let _ = identity.verify(b"payload", bytes);
    }
});
