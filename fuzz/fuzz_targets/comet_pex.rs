//! `switchboard_comet::decoders::pex`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| switchboard_comet::decoders::pex(bytes));
