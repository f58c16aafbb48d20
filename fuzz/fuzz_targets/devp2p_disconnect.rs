//! Disconnect messages in every form they come in.
#![no_main]

use switchboard_devp2p::message::{decode_disconnect, reason_of};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = reason_of(decode_disconnect(bytes));
});
