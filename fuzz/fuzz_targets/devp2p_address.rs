//! Addresses as users write them, as the wire reads them: a candidate that can be dialled, or an error.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = switchboard_devp2p::wire::parse(text);
});
