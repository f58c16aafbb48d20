//! Raw bytes in place of frames: what anybody on the way can reach.
#![no_main]

use bytes::BytesMut;
use switchboard::wire::Decoder;
use switchboard_fuzz::{rlpx, rlpx_decoder};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut decoder = rlpx_decoder(rlpx().1, true);
    let mut wire = BytesMut::from(bytes);
    while let Ok(Some(_)) = decoder.decode(&mut wire) {}
});
