//! Private read-write sets as they come with blocks: what is read is written and read again as the same.
#![no_main]

use bytes::Bytes;
use switchboard_fabric_gossip::privdata::TxPrivate;
use switchboard_fabric_gossip::privdata::rwset::{decode_sets, encode_sets};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(sets) = decode_sets(&Bytes::copy_from_slice(bytes)) {
        assert_eq!(decode_sets(&encode_sets(&sets).into()), Ok(sets));
    }
    if let Ok(found) = TxPrivate::decode(&Bytes::copy_from_slice(bytes)) {
        assert_eq!(TxPrivate::decode(&found.encode()), Ok(found));
    }
});
