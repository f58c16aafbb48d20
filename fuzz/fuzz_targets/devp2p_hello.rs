//! Hello messages; what was read once is written the same ever after (the first writing sorts capabilities).
#![no_main]

use switchboard_devp2p::message::Hello;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(hello) = Hello::decode(bytes) {
        let written = hello.encode();
        let again = Hello::decode(&written).expect("our own hello");
        assert_eq!(again.encode(), written);
    }
});
