//! `switchboard_comet::decoders::address_book`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| switchboard_comet::decoders::address_book(bytes));
