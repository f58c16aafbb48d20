//! `switchboard_comet::decoders::auth`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| switchboard_comet::decoders::auth(bytes));
