//! `switchboard_comet::decoders::node_key`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| switchboard_comet::decoders::node_key(bytes));
