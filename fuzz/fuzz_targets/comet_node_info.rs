//! `switchboard_comet::decoders::node_info`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| switchboard_comet::decoders::node_info(bytes));
