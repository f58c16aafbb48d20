//! Messages of `cast` on all three lanes; what is read is written the same.
#![no_main]

use bytes::{Bytes, BytesMut};
use switchboard_cast::{Flow, Message};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((lane, rest)) = bytes.split_first() else { return };
    let lane = Flow::ALL[usize::from(*lane) % 3];
    if let Ok(message) = Message::decode(lane, Bytes::copy_from_slice(rest), lane.limit()) {
        let mut again = BytesMut::new();
        message.encode(&mut again);
        assert_eq!(&again[..], rest);
    }
});
