//! `switchboard_comet::decoders::trust_metrics`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| switchboard_comet::decoders::trust_metrics(bytes));
