//! Envelopes as gossip takes them in, and the names in them: what came is what is passed on.
#![no_main]

use bytes::Bytes;
use switchboard_fabric_gossip::config::parse_duration;
use switchboard_fabric_gossip::{Channel, Endpoint, Org, PkiId, SignedMessage};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let envelope = Bytes::copy_from_slice(bytes);
    if let Ok(message) = SignedMessage::decode(envelope.clone()) {
        assert_eq!(message.bytes(), envelope);
        let _ = message.without_secret().bytes();
    }
    if let Some(channel) = Channel::parse(bytes) {
        assert_eq!(channel.as_bytes(), bytes);
    }
    if let Some(id) = PkiId::parse(bytes) {
        assert_eq!(&id.to_bytes()[..], bytes);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = (Endpoint::parse(text), Org::parse(text), parse_duration(text));
    }
});
