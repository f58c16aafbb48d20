//! `switchboard_comet::decoders::go_wire_message`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| switchboard_comet::decoders::go_wire_message(bytes));
