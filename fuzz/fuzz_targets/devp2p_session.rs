//! Properly sealed frames with any code and payload: what a hostile peer can reach.
#![no_main]

use bytes::BytesMut;
use switchboard::wire::Decoder;
use switchboard_fuzz::{rlpx, rlpx_decoder};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((&[how, cut], rest)) = bytes.split_first_chunk::<2>() else { return };
    let (mut sealer, opener) = rlpx();
    let mut wire = BytesMut::new();
    for piece in rest.chunks(usize::from(cut) + 1) {
        let (code, payload) = piece.split_first().map_or((0, piece), |(code, payload)| (*code % 20, payload));
        let _ = sealer.seal(code.into(), payload, None, &mut wire);
    }
    let mut decoder = rlpx_decoder(opener, how & 1 == 1);
    while let Ok(Some(_)) = decoder.decode(&mut wire) {}
});
