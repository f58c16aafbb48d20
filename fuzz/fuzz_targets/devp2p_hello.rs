//! Hello messages.
#![no_main]

use switchboard_devp2p::message::Hello;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(hello) = Hello::decode(bytes) {
        assert_eq!(Hello::decode(&hello.encode()), Ok(hello));
    }
});
