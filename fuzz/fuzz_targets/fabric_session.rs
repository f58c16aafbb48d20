//! A stream of gRPC messages with envelopes: what a peer that TLS let in can reach.
#![no_main]

use bytes::BytesMut;
use switchboard::wire::Decoder;
use switchboard_fabric::grpc::take_message;
use switchboard_fabric::session::EnvelopeDecoder;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut src = BytesMut::from(bytes);
    while let Ok(Some(message)) = take_message(&mut src, 4_096) {
        assert!(message.len() <= 4_096);
    }
    let mut decoder = EnvelopeDecoder::new(vec![(5, 1_000), (16, 1 << 16)]);
    let mut src = BytesMut::from(bytes);
    while let Ok(Some(_)) = decoder.decode(&mut src) {}
});
