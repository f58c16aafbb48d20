//! `switchboard_comet::decoders::bytes_value`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| switchboard_comet::decoders::bytes_value(bytes));
