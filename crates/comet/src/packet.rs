//! MConnection packets: slices of messages, pings and pongs, as a byte stream inside the frames (which
//! they do not align with).
//!
//! ```text
//! today       uvarint length ‖ one of   0a 00                       ping
//!                                       12 00                       pong
//!                                       1a len ‖ { 08 channel ‖ 10 01 if last ‖ 1a len ‖ data }
//! go-wire era 01                        ping
//!             02                        pong
//!             03 ‖ channel ‖ 01 if last, else 00 ‖ go-wire varint length ‖ data
//! go-wire varint = number of length bytes (0, 1, 2 …) ‖ length, big-endian
//! ```
//! (cometbft p2p/conn/connection.go, proto/tendermint/p2p/conn.proto; tendermint 0.x p2p/connection.go)
//!
//! proto3 leaves out what is zero: channel 0, `last` = false, empty data.
//!
//! Limits: we put at most 1024 bytes of a message in a packet. A Go receiver takes packets of up to
//! 1034 bytes, which is the size of a full *last* packet on a channel below 0x80; on higher ones the channel
//! takes a byte more and a full last packet would be refused, so there it carries 1023. We accept
//! [`MAX_PACKET`] bytes, one more than Go, so that such a packet from a Go peer is not lost.
//! A packet that passes the limit, has no kind, or names a channel outside 0..=255 is a breach.
//!
//! Encoding and decoding allocate nothing: a packet is a short head ([`Head`]) and borrowed data.

use crate::proto::{self, Fields, ProtoError, uvarint_len};
use bytes::BufMut;

/// Bytes of a message in one packet (cometbft config `max_packet_msg_payload_size`).
pub const MAX_PAYLOAD: usize = 1024;
/// Longest packet accepted, without its delimiter.
pub const MAX_PACKET: usize = 1035;
/// Longest packet accepted with its delimiter, over both eras.
pub const MAX_ENCODED: usize = MAX_PACKET + proto::MAX_UVARINT;

/// A packet that breaks the wire's rules: the peer's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// Not the protobuf it should be, or longer than [`MAX_PACKET`].
    #[error("packet: {0}")]
    Proto(#[from] ProtoError),
    /// Neither ping, pong nor message.
    #[error("a packet of no known kind")]
    Kind,
    /// A channel that is no byte.
    #[error("channel {0} is not in 0..=255")]
    Channel(i32),
    /// A go-wire packet with more than 1024 bytes of data.
    #[error("a packet with more than {MAX_PAYLOAD} bytes of data")]
    TooLong,
    /// A go-wire length or flag that nobody would write so.
    #[error("a go-wire value in a form nobody writes")]
    GoWire,
}

impl PacketError {
    /// The broken rule's name, for [`switchboard::Reason::Breach`].
    #[must_use]
    pub fn rule(self) -> &'static str {
        match self {
            Self::Proto(ProtoError::TooLong { .. }) | Self::TooLong => "packet length",
            Self::Proto(ProtoError::VarintOverflow) => "varint overflow",
            Self::Proto(_) | Self::GoWire => "packet encoding",
            Self::Kind => "packet kind",
            Self::Channel(_) => "channel number",
        }
    }
}

/// A packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet<'a> {
    /// "Are you there?"
    Ping,
    /// "I am."
    Pong,
    /// A slice of a message.
    Msg {
        /// The channel.
        channel: u8,
        /// Whether the message ends here.
        last: bool,
        /// The slice.
        data: &'a [u8],
    },
}

/// Everything of a packet that stands before its data.
#[derive(Debug, Clone, Copy, Default)]
pub struct Head {
    bytes: [u8; 16],
    len: usize,
}

impl Head {
    fn of(bytes: &[u8]) -> Self {
        let mut head = Self::default();
        head.push(bytes);
        head
    }

    /// Longest head: 2 + 1 + 2 + 3 + 2 + 3 bytes.
    fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if let Some(slot) = self.bytes.get_mut(self.len) {
                *slot = *byte;
                self.len += 1;
            }
        }
    }

    fn push_uvarint(&mut self, value: u64) {
        let mut bytes = [0; proto::MAX_UVARINT];
        let mut rest = &mut bytes[..];
        proto::put_uvarint(value, &mut rest);
        self.push(bytes.get(..uvarint_len(value)).unwrap_or_default());
    }

    /// The head's bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }
}

/// How packets stand on the wire.
pub trait PacketCodec {
    /// What stands before the data of `packet`.
    fn head(&self, packet: &Packet<'_>) -> Head;

    /// Bytes a packet with `len` bytes of data takes, delimiter and all.
    fn encoded_len(&self, channel: u8, len: usize, last: bool) -> usize;

    /// Most data the next packet of a message with `remaining` bytes left may carry.
    fn slice(&self, channel: u8, remaining: usize) -> usize;

    /// The bytes the packet at the front of `src` takes, or `None` when more are needed.
    ///
    /// # Errors
    /// When it breaks a rule; judged as early as the bytes allow.
    fn whole(&self, src: &[u8]) -> Result<Option<usize>, PacketError>;

    /// Takes a packet from the front of `src`: it and the bytes it took, or `None` when more are needed.
    ///
    /// # Errors
    /// When it breaks a rule; judged as early as the bytes allow.
    fn decode<'a>(&self, src: &'a [u8]) -> Result<Option<(Packet<'a>, usize)>, PacketError>;

    /// Appends a whole packet.
    fn encode(&self, packet: &Packet<'_>, out: &mut impl BufMut)
    where
        Self: Sized,
    {
        out.put_slice(self.head(packet).as_slice());
        if let Packet::Msg { data, .. } = packet {
            out.put_slice(data);
        }
    }
}

/// Which packets a network speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Era {
    /// Tendermint 0.33 and all later ones, CometBFT.
    #[default]
    Protobuf,
    /// Before: [`GoWire`] packets. The rest of the session is today's.
    GoWire,
}

impl PacketCodec for Era {
    fn head(&self, packet: &Packet<'_>) -> Head {
        match self {
            Self::Protobuf => Protobuf.head(packet),
            Self::GoWire => GoWire.head(packet),
        }
    }

    fn encoded_len(&self, channel: u8, len: usize, last: bool) -> usize {
        match self {
            Self::Protobuf => Protobuf.encoded_len(channel, len, last),
            Self::GoWire => GoWire.encoded_len(channel, len, last),
        }
    }

    fn slice(&self, channel: u8, remaining: usize) -> usize {
        match self {
            Self::Protobuf => Protobuf.slice(channel, remaining),
            Self::GoWire => GoWire.slice(channel, remaining),
        }
    }

    fn whole(&self, src: &[u8]) -> Result<Option<usize>, PacketError> {
        match self {
            Self::Protobuf => Protobuf.whole(src),
            Self::GoWire => GoWire.whole(src),
        }
    }

    fn decode<'a>(&self, src: &'a [u8]) -> Result<Option<(Packet<'a>, usize)>, PacketError> {
        match self {
            Self::Protobuf => Protobuf.decode(src),
            Self::GoWire => GoWire.decode(src),
        }
    }
}

/// Today's packets.
#[derive(Debug, Clone, Copy, Default)]
pub struct Protobuf;

impl Protobuf {
    /// Bytes of the inner message before the data's own bytes, and with them.
    fn inner_len(channel: u8, len: usize, last: bool) -> usize {
        let channel = if channel == 0 { 0 } else { 1 + uvarint_len(channel.into()) };
        let data = if len == 0 { 0 } else { 1 + uvarint_len(len as u64) + len };
        channel + if last { 2 } else { 0 } + data
    }
}

impl PacketCodec for Protobuf {
    fn head(&self, packet: &Packet<'_>) -> Head {
        let (channel, last, len) = match *packet {
            Packet::Ping => return Head::of(&[2, 0x0a, 0]),
            Packet::Pong => return Head::of(&[2, 0x12, 0]),
            Packet::Msg { channel, last, data } => (channel, last, data.len()),
        };
        let inner = Self::inner_len(channel, len, last) as u64;
        let mut head = Head::default();
        head.push_uvarint(1 + uvarint_len(inner) as u64 + inner);
        head.push(&[0x1a]);
        head.push_uvarint(inner);
        if channel != 0 {
            head.push(&[0x08]);
            head.push_uvarint(channel.into());
        }
        if last {
            head.push(&[0x10, 1]);
        }
        if len != 0 {
            head.push(&[0x1a]);
            head.push_uvarint(len as u64);
        }
        head
    }

    fn encoded_len(&self, channel: u8, len: usize, last: bool) -> usize {
        let inner = Self::inner_len(channel, len, last);
        let outer = 1 + uvarint_len(inner as u64) + inner;
        uvarint_len(outer as u64) + outer
    }

    fn slice(&self, channel: u8, remaining: usize) -> usize {
        if channel >= 0x80 && remaining == MAX_PAYLOAD { MAX_PAYLOAD - 1 } else { remaining.min(MAX_PAYLOAD) }
    }

    fn whole(&self, src: &[u8]) -> Result<Option<usize>, PacketError> {
        Ok(proto::delimited(src, MAX_PACKET)?.map(|(_, used)| used))
    }

    fn decode<'a>(&self, src: &'a [u8]) -> Result<Option<(Packet<'a>, usize)>, PacketError> {
        let Some((message, used)) = proto::delimited(src, MAX_PACKET)? else { return Ok(None) };
        let mut packet = None;
        let mut fields = Fields::new(message);
        while let Some((field, value)) = fields.next()? {
            packet = match field {
                1 => check_empty(value.bytes()?).map(|()| Some(Packet::Ping))?,
                2 => check_empty(value.bytes()?).map(|()| Some(Packet::Pong))?,
                3 => Some(decode_msg(value.bytes()?)?),
                _ => packet,
            };
        }
        packet.map(|packet| Some((packet, used))).ok_or(PacketError::Kind)
    }
}

/// Ping and pong have no fields; unknown ones are walked so that they are protobuf at least.
fn check_empty(message: &[u8]) -> Result<(), ProtoError> {
    let mut fields = Fields::new(message);
    while fields.next()?.is_some() {}
    Ok(())
}

fn decode_msg(message: &[u8]) -> Result<Packet<'_>, PacketError> {
    let (mut channel, mut last, mut data): (i32, bool, &[u8]) = (0, false, &[]);
    let mut fields = Fields::new(message);
    while let Some((field, value)) = fields.next()? {
        match field {
            // An int32 travels as 64 bits, of which the lower half counts.
            1 => channel = value.varint()? as i32,
            2 => last = value.varint()? != 0,
            3 => data = value.bytes()?,
            _ => {}
        }
    }
    let channel = u8::try_from(channel).map_err(|_| PacketError::Channel(channel))?;
    Ok(Packet::Msg { channel, last, data })
}

/// The packets of the go-wire era.
#[derive(Debug, Clone, Copy, Default)]
pub struct GoWire;

impl PacketCodec for GoWire {
    fn head(&self, packet: &Packet<'_>) -> Head {
        let (channel, last, len) = match *packet {
            Packet::Ping => return Head::of(&[1]),
            Packet::Pong => return Head::of(&[2]),
            Packet::Msg { channel, last, data } => (channel, last, data.len() as u64),
        };
        let mut head = Head::of(&[3, channel, u8::from(last)]);
        let size = go_wire_size(len);
        head.push(&[size as u8]);
        head.push(len.to_be_bytes().get(8 - size..).unwrap_or_default());
        head
    }

    fn encoded_len(&self, _: u8, len: usize, _: bool) -> usize {
        4 + go_wire_size(len as u64) + len
    }

    fn slice(&self, _: u8, remaining: usize) -> usize {
        remaining.min(MAX_PAYLOAD)
    }

    fn whole(&self, src: &[u8]) -> Result<Option<usize>, PacketError> {
        Ok(self.decode(src)?.map(|(_, used)| used))
    }

    fn decode<'a>(&self, src: &'a [u8]) -> Result<Option<(Packet<'a>, usize)>, PacketError> {
        let (channel, last, size, rest) = match src {
            [] => return Ok(None),
            [1, ..] => return Ok(Some((Packet::Ping, 1))),
            [2, ..] => return Ok(Some((Packet::Pong, 1))),
            [3, channel, last @ (0 | 1), size, rest @ ..] => (*channel, *last == 1, *size, rest),
            [3, _, last, ..] if *last > 1 => return Err(PacketError::GoWire),
            [3, ..] => return Ok(None),
            _ => return Err(PacketError::Kind),
        };
        let (len, data) = match (size, rest) {
            (0, data) => (0, data),
            (1, [0, ..]) | (2, [0, ..]) => return Err(PacketError::GoWire),
            (1, [len, data @ ..]) => (usize::from(*len), data),
            (2, [high, low, data @ ..]) => (usize::from(u16::from_be_bytes([*high, *low])), data),
            (1 | 2, _) => return Ok(None),
            (3..=8, _) => return Err(PacketError::TooLong),
            _ => return Err(PacketError::GoWire),
        };
        if len > MAX_PAYLOAD {
            return Err(PacketError::TooLong);
        }
        let packet = data.get(..len).map(|data| Packet::Msg { channel, last, data });
        Ok(packet.map(|packet| (packet, 4 + usize::from(size) + len)))
    }
}

/// How many bytes a go-wire varint has behind its first.
fn go_wire_size(value: u64) -> usize {
    8 - value.leading_zeros() as usize / 8
}

#[cfg(test)]
mod tests;
