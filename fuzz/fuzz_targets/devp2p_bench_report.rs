//! Reports of the bench capability.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = switchboard_devp2p::bench::decode_report(bytes);
});
