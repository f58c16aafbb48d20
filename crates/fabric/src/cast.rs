//! `cast` on this wire: its messages ride in DataMessages on a gossip channel, `cast` unless a network has another name for it.
//!
//! ```text
//!   Envelope 0a n ‖ GossipMessage { 12 04 "cast" ‖ 18 04 ‖ 42 n ‖ DataMessage 0a n ‖ Payload { 08 flow ‖ 12 n ‖ message } }
//!   flow = block number: 0 announce (left out, as protobuf does), 1 request, 2 chunk
//! ```
//! (`docs/cast.md`, "On fabric") The envelope is unsigned: every page and chunk is checked by hash. What is
//! above is a prefix, so a message is encoded in one piece without a copy.
//!
//! Within this program the three flows are channels [`BASE`] and up, beyond any content's number.

use crate::message::{Content, DataMessage, Payload, decode_message};
use bytes::{BufMut, Bytes, BytesMut};
use prost::encoding::{encode_varint, encoded_len_varint};
use switchboard_cast::{ChannelMap, Flow, Framing};

/// The gossip channel where none is named.
pub const CHANNEL: &str = "cast";
/// Our number of the first flow.
pub const BASE: u16 = 0x100;
/// Number of flows.
const FLOWS: u64 = 3;

/// The channels of `cast` on this wire, riding on `gossip_channel`; the wire must be told the same one.
#[must_use]
pub fn channels(gossip_channel: &ChannelName) -> ChannelMap {
    ChannelMap::wrapped(BASE, DataMessages { gossip_channel: gossip_channel.clone() })
}

struct DataMessages {
    gossip_channel: ChannelName,
}

impl Framing for DataMessages {
    fn prefix(&self, flow: Flow, len: usize, out: &mut BytesMut) {
        data_prefix(self.gossip_channel.as_bytes(), flow as u64, len, out);
    }

    /// The decoder took the message out of its envelope already, as it must look inside for the flow.
    fn unwrap(&self, bytes: Bytes) -> Result<Bytes, &'static str> {
        Ok(bytes)
    }
}

/// What stands before a message of `len` bytes in a DataMessage on a gossip channel; nothing stands behind it.
pub(crate) fn data_prefix(channel: &[u8], number: u64, len: usize, out: &mut BytesMut) {
    let with_len = |inner: usize| 1 + encoded_len_varint(inner as u64) + inner;
    let payload = if number == 0 { 0 } else { 1 + encoded_len_varint(number) } + with_len(len);
    let data_message = with_len(payload);
    // Channel and tag (2 bytes) stand before the content.
    let gossip = with_len(channel.len()) + 2 + with_len(data_message);
    put(0x0a, gossip, out);
    put(0x12, channel.len(), out);
    out.put_slice(channel);
    out.put_slice(&[0x18, 4]);
    put(0x42, data_message, out);
    put(0x0a, payload, out);
    if number > 0 {
        put(0x08, number as usize, out);
    }
    put(0x12, len, out);
}

fn put(key: u8, number: usize, out: &mut BytesMut) {
    out.put_u8(key);
    encode_varint(number as u64, out);
}

/// The name of a gossip channel: a lower-case letter, then up to 248 lower-case letters, digits, dots and dashes
/// (fabric common/configtx/validator.go).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelName(Bytes);

impl ChannelName {
    /// The name's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Default for ChannelName {
    fn default() -> Self {
        Self(Bytes::from_static(CHANNEL.as_bytes()))
    }
}

/// No name of a gossip channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a channel name is a lower-case letter, then up to 248 lower-case letters, digits, dots and dashes")]
pub struct BadChannelName;

impl std::str::FromStr for ChannelName {
    type Err = BadChannelName;

    fn from_str(text: &str) -> Result<Self, BadChannelName> {
        let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-');
        match text.as_bytes() {
            [first, rest @ ..]
                if first.is_ascii_lowercase() && rest.len() < 249 && rest.iter().all(inner) =>
            {
                Ok(Self(Bytes::copy_from_slice(text.as_bytes())))
            }
            _ => Err(BadChannelName),
        }
    }
}

/// The flow's number and the message in a DataMessage's gossip message; `None` when it is not of this protocol.
pub(crate) fn open(payload: Bytes) -> Option<(u64, Bytes)> {
    let (number, data) = open_data(payload)?;
    (number < FLOWS).then(|| (u64::from(BASE) + number, data))
}

/// The number and the data of a DataMessage's gossip message.
pub(crate) fn open_data(payload: Bytes) -> Option<(u64, Bytes)> {
    match decode_message(payload).ok()?.content? {
        Content::DataMsg(DataMessage { payload: Some(Payload { seq_num, data, .. }) }) => {
            Some((seq_num, data))
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
        let long = format!("a{}", "-".repeat(248));
        for (flow, number, channel) in
            [(Flow::Announce, 0, CHANNEL), (Flow::Request, 1, "c"), (Flow::Chunk, 2, &long)]
        {
            let framing = DataMessages { gossip_channel: channel.parse().unwrap() };
            for len in [1, 90, 100, 110, 120, 127, 128, 16_350, 16_383, 16_384, 65_573, 1 << 20] {
                let data = Bytes::from(vec![7; len]);
                let mut ours = BytesMut::new();
                framing.prefix(flow, len, &mut ours);
                ours.put_slice(&data);
                let payload = Payload { seq_num: number, data: data.clone(), private_data: vec![] };
                let content = Content::DataMsg(DataMessage { payload: Some(payload) });
                let envelope: Envelope =
                    GossipMessage::new(Tag::ChanAndOrg, channel.as_bytes(), 0, content).unsigned();
                assert!(ours[..] == envelope.encode_to_vec()[..], "flow {number}, {len} bytes");
                assert_eq!(open(envelope.payload), Some((u64::from(BASE) + number, data)));
            }
        }
    }

    #[test]
    fn names_follow_fabric() {
        for good in ["c", "cast", "my.channel-1"] {
            assert_eq!(good.parse::<ChannelName>().unwrap().as_bytes(), good.as_bytes());
        }
        for bad in ["", "1c", "Cast", "a_b", "-a", "a b", &"a".repeat(250)] {
            assert_eq!(bad.parse::<ChannelName>(), Err(BadChannelName), "{bad}");
        }
        assert_eq!(ChannelName::default(), CHANNEL.parse().unwrap());
    }
}
