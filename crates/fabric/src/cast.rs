//! `cast` on this wire: its messages ride in DataMessages on the gossip channel `cast`.
//!
//! ```text
//!   Envelope 0a n ‖ GossipMessage { 12 04 "cast" ‖ 18 04 ‖ 42 n ‖ DataMessage 0a n ‖ Payload { 08 lane ‖ 12 n ‖ message } }
//!   lane = block number: 0 announce (left out, as protobuf does), 1 request, 2 chunk
//! ```
//! (`docs/cast.md`, "On fabric") The envelope is unsigned: every page and chunk is checked by hash. What is
//! above is a prefix, so a message is encoded in one piece without a copy.
//!
//! Within this program the three lanes are channels [`BASE`] and up, beyond any content's number.

use crate::message::{Content, DataMessage, Payload, decode_message};
use bytes::{BufMut, Bytes, BytesMut};
use prost::encoding::{encode_varint, encoded_len_varint};
use switchboard::cast::{ChannelMap, Framing, Lane};

/// The gossip channel.
pub const CHANNEL: &[u8] = b"cast";
/// Our number of the first lane.
pub const BASE: u16 = 0x100;
/// Number of lanes.
const LANES: u64 = 3;

/// The channels of `cast` on this wire.
#[must_use]
pub fn channels() -> ChannelMap {
    // The decoder takes the message out of its envelope, as it must look inside for the lane.
    ChannelMap::wrapped(BASE, Framing { prefix, unwrap: Ok })
}

fn prefix(lane: Lane, len: usize, out: &mut BytesMut) {
    let number = lane as u64;
    let with_len = |inner: usize| 1 + encoded_len_varint(inner as u64) + inner;
    let payload = if number == 0 { 0 } else { 2 } + with_len(len);
    let data_message = with_len(payload);
    // Channel (6 bytes) and tag (2 bytes) stand before the content.
    let gossip = 8 + with_len(data_message);
    let mut put = |key: u8, len: usize| {
        out.put_u8(key);
        encode_varint(len as u64, out);
    };
    put(0x0a, gossip);
    put(0x12, CHANNEL.len());
    out.put_slice(CHANNEL);
    out.put_slice(&[0x18, 4]);
    let mut put = |key: u8, len: usize| {
        out.put_u8(key);
        encode_varint(len as u64, out);
    };
    put(0x42, data_message);
    put(0x0a, payload);
    if number > 0 {
        put(0x08, number as usize);
    }
    put(0x12, len);
}

/// The lane's number and the message in a DataMessage's gossip message; `None` when it is not of this protocol.
pub(crate) fn open(payload: Bytes) -> Option<(u64, Bytes)> {
    match decode_message(payload).ok()?.content? {
        Content::DataMsg(DataMessage { payload: Some(Payload { seq_num, data, .. }) }) if seq_num < LANES => {
            Some((u64::from(BASE) + seq_num, data))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Envelope, GossipMessage, Tag};
    use prost::Message;

    /// The prefix is what a protobuf library writes, at every change of a length's own length.
    #[test]
    fn the_prefix_is_plain_protobuf() {
        for (lane, number) in [(Lane::Announce, 0), (Lane::Request, 1), (Lane::Chunk, 2)] {
            for len in [1, 90, 100, 110, 120, 127, 128, 16_350, 16_383, 16_384, 65_573, 1 << 20] {
                let data = Bytes::from(vec![7; len]);
                let mut ours = BytesMut::new();
                prefix(lane, len, &mut ours);
                ours.put_slice(&data);
                let payload = Payload { seq_num: number, data: data.clone(), private_data: vec![] };
                let content = Content::DataMsg(DataMessage { payload: Some(payload) });
                let envelope: Envelope = GossipMessage::new(Tag::ChanAndOrg, CHANNEL, 0, content).unsigned();
                assert!(ours[..] == envelope.encode_to_vec()[..], "lane {number}, {len} bytes");
                assert_eq!(open(envelope.payload), Some((u64::from(BASE) + number, data)));
            }
        }
    }
}
