use super::*;
use crate::message::{Content, DataMessage, Envelope, GossipMessage, Payload, Tag};
use prost::Message;

/// An envelope on the channel of `cast` with these bytes in it, and a signature around them.
fn envelope(data: &'static [u8], signature: usize) -> Vec<u8> {
    let payload =
        Payload { seq_num: 0, data: Bytes::from_static(data), private_data: vec![Bytes::from(vec![1; 100])] };
    let content = Content::DataMsg(DataMessage { payload: Some(payload) });
    let channel = cast::ChannelName::default();
    let message = GossipMessage::new(Tag::ChanAndOrg, channel.as_bytes(), 0, content).unsigned();
    Envelope { signature: Bytes::from(vec![2; signature]), ..message }.encode_to_vec()
}

/// Bytes in memory behind a message.
fn holds(data: Bytes) -> usize {
    data.try_into_mut().unwrap().capacity()
}

/// P20: however much stands around a message in its envelope, the message holds little more than itself, or the buffer it was
/// read into, which is counted.
#[test]
fn what_is_unwrapped_does_not_hold_its_envelope() {
    for signature in [0, 50, 2_000, 3_800] {
        let mut decoder = EnvelopeDecoder::new([(u64::from(cast::BASE), 1 << 20)]);
        let mut src = BytesMut::new();
        put_message(&envelope(b"one", signature), &mut src);
        let frame = decoder.decode(&mut src).unwrap();
        let Some(InFrame::Message { wire_id, data }) = frame else { panic!("{signature}") };
        assert_eq!((wire_id, &data[..]), (u64::from(cast::BASE), &b"one"[..]));
        assert!(holds(data) < 16, "{signature}");
        assert!(src.is_empty());
    }
}

/// A small message does not hold the buffer it was read into, a large one is a part of it.
#[test]
fn small_messages_leave_the_read_buffer() {
    for len in [0, 1, SMALL, SMALL + 1] {
        let mut src = BytesMut::with_capacity(64 << 10);
        put_message(&vec![7; len], &mut src);
        let range = src.as_ptr_range();
        let taken = take_message(&mut src, MAX_MESSAGE).unwrap().unwrap();
        assert_eq!(taken, vec![7; len]);
        assert_eq!(len > SMALL, range.contains(&taken.as_ptr()), "{len}");
    }
}
