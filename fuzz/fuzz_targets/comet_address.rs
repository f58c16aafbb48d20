//! `switchboard_comet::decoders::address`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| switchboard_comet::decoders::address(bytes));
