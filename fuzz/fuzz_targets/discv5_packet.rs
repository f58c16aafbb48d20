//! Packets of discv5: what is read is written again as the same bytes.
#![no_main]

use switchboard_discv::NodeId;
use switchboard_discv::v5::packet;

const LOCAL: NodeId = NodeId([0x5a; 32]);

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = packet::decode(&LOCAL, bytes);
    // The mask is taken off for the fuzzer: it writes headers in the clear.
    let masked = packet::encode(&LOCAL, bytes, &[]);
    if let Ok(read) = packet::decode(&LOCAL, &masked) {
        let mut iv = [0; 16];
        iv.copy_from_slice(&masked[..16]);
        assert_eq!(packet::head(&iv, &read.header), read.head);
        assert_eq!(packet::encode(&LOCAL, &read.head, read.message), masked);
    }
});
