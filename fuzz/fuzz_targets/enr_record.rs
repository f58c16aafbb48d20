//! Node records, as bytes and as text; a record that is taken is one that encodes to itself.
#![no_main]

use switchboard_enr::Record;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(record) = Record::decode(bytes) {
        assert_eq!(record.encode(), bytes);
        let _ = (record.tcp_endpoint(), record.udp_endpoint(), record.key());
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Record::parse(text);
    }
});
