//! Compressed payloads: never more than the limit comes out.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(out) = switchboard_devp2p::frame::decompress(16, bytes, 4_096) {
        assert!(out.len() <= 4_096);
    }
});
