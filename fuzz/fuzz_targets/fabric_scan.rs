//! The scanner that tells where a message goes, against the full decoder: they must agree.
#![no_main]

use bytes::Bytes;
use switchboard_fabric::gossip::Received;
use switchboard_fabric::message::{decode_envelope, decode_message};
use switchboard_fabric::scan::{payload, scan};
use switchboard_fabric::tags::check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let (Ok(found), Ok(message)) = (scan(bytes), decode_message(Bytes::copy_from_slice(bytes))) {
        assert_eq!(found.nonce, message.nonce);
        assert_eq!(found.channel, &message.channel[..]);
        assert_eq!(found.content.is_some(), message.content.is_some());
    }
    let envelope = Bytes::copy_from_slice(bytes);
    if let Ok(received) = Received::of(&envelope)
        && let Ok(message) = received.decode()
    {
        let _ = check(&message);
    }
    if let (Ok(found), Ok(envelope)) = (payload(bytes), decode_envelope(Bytes::copy_from_slice(bytes))) {
        assert_eq!(found, &envelope.payload[..]);
    }
});
