//! The opened content of auth.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = switchboard_devp2p::handshake::decode_auth(bytes);
});
