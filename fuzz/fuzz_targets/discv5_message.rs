//! Messages of discv5: what is read is written again as the same bytes, topics aside.
#![no_main]

use switchboard_discv::v5::message::Message;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    match Message::decode(bytes) {
        // An address in IPv6 form of IPv4 is written as IPv4.
        Ok(Message::Topic { .. } | Message::Pong { .. }) | Err(_) => {}
        Ok(message) => assert_eq!(message.encode(), bytes),
    }
});
