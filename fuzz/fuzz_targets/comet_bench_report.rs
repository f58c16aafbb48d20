//! `switchboard_comet::decoders::bench_report`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| switchboard_comet::decoders::bench_report(bytes));
