//! The frames after the handshake. No IO.
//!
//! ```text
//!   M 3 5⏎hello      PING⏎      PONG⏎      BYE too_many_peers⏎
//! ```
//! Limits: a line of [`MAX_HEAD`] bytes; a message of [`MAX_MESSAGE`] bytes, and of what its channel takes.

use bytes::{Buf, BytesMut};
use std::collections::BTreeMap;
use switchboard::Reason;
use switchboard::wire::{Decoder, EncodeError, Encoder, Fault, InFrame, OutFrame};

/// Largest message.
pub const MAX_MESSAGE: usize = 4 << 20;
/// Longest line of a frame.
pub(crate) const MAX_HEAD: usize = 64;

/// The reasons that have a word of their own; each other reason is told as the last of them.
const TOLD: [Reason; 8] = [
    Reason::Requested,
    Reason::Quitting,
    Reason::TooManyPeers,
    Reason::AlreadyConnected,
    Reason::SelfConnection,
    Reason::AccessDenied,
    Reason::Useless,
    Reason::ProtocolError,
];

/// A reason's word.
pub(crate) fn word(reason: &Reason) -> &'static str {
    TOLD.iter().find(|told| *told == reason).map_or("protocol_error", Reason::code)
}

/// The reason of a word.
pub(crate) fn reason(word: &str) -> Reason {
    TOLD.iter().find(|told| told.code() == word).cloned().unwrap_or(Reason::Unknown(0))
}

/// Frames to lines.
#[derive(Debug, Default)]
pub struct ToyEncoder;

impl Encoder for ToyEncoder {
    fn slice(&self, _: u64, remaining: usize) -> usize {
        remaining
    }

    fn cost(&self, _: u64, len: usize, _: bool) -> usize {
        len + MAX_HEAD / 4
    }

    fn max_message(&self, _: u64) -> usize {
        MAX_MESSAGE
    }

    fn encode(&mut self, frame: OutFrame<'_>, out: &mut BytesMut) -> Result<(), EncodeError> {
        match frame {
            OutFrame::Data { data, .. } if data.len() > MAX_MESSAGE => {
                return Err(EncodeError::TooLarge { len: data.len(), limit: MAX_MESSAGE });
            }
            OutFrame::Data { wire_id, data, .. } => {
                out.extend_from_slice(format!("M {wire_id} {}\n", data.len()).as_bytes());
                out.extend_from_slice(data);
            }
            OutFrame::Ping => out.extend_from_slice(b"PING\n"),
            OutFrame::Pong => out.extend_from_slice(b"PONG\n"),
            OutFrame::Goodbye(reason) => out.extend_from_slice(format!("BYE {}\n", word(reason)).as_bytes()),
        }
        Ok(())
    }
}

/// Lines to frames; knows the largest message of each channel.
#[derive(Debug, Default)]
pub struct ToyDecoder {
    /// `None` takes every channel.
    limits: Option<BTreeMap<u64, usize>>,
}

impl ToyDecoder {
    /// For channels with these limits, by their number on the wire.
    #[must_use]
    pub fn new(limits: BTreeMap<u64, usize>) -> Self {
        Self { limits: Some(limits) }
    }

    /// For a probe: whatever channel a message is on.
    #[must_use]
    pub fn any() -> Self {
        Self { limits: None }
    }
}

impl Decoder for ToyDecoder {
    fn decode<'a>(&'a mut self, src: &'a mut BytesMut) -> Result<Option<InFrame<'a>>, Fault> {
        let Some(end) = src.iter().take(MAX_HEAD).position(|byte| *byte == b'\n') else {
            return match src.len() < MAX_HEAD {
                true => Ok(None),
                false => Err(Fault::breach("line length", format!("no line ends within {MAX_HEAD} bytes"))),
            };
        };
        let line = src.get(..end).and_then(|line| std::str::from_utf8(line).ok()).unwrap_or_default();
        let mut words = line.split(' ');
        let frame = match (words.next(), words.next(), words.next(), words.next()) {
            (Some("PING"), None, ..) => InFrame::Ping,
            (Some("PONG"), None, ..) => InFrame::Pong,
            (Some("BYE"), Some(why), None, _) => InFrame::Goodbye(reason(why)),
            (Some("M"), Some(channel), Some(length), None) => {
                let number = |word: &str| word.parse::<u64>().ok().filter(|_| !word.starts_with('+'));
                let wrong = || Fault::breach("message head", "not M CHANNEL LENGTH");
                let wire_id = number(channel).ok_or_else(wrong)?;
                let length = number(length).and_then(|n| usize::try_from(n).ok()).ok_or_else(wrong)?;
                let unshared = || Fault::breach("channel", format!("channel {wire_id} is not shared"));
                let limit = match &self.limits {
                    Some(limits) => limits.get(&wire_id).copied().ok_or_else(unshared)?.min(MAX_MESSAGE),
                    None => MAX_MESSAGE,
                };
                if length > limit {
                    return Err(Fault::breach("message size", format!("{length} bytes, at most {limit}")));
                }
                let whole = end + 1 + length;
                if src.len() < whole {
                    let step = src.len().max(MAX_HEAD);
                    src.reserve((whole - src.len()).min(step));
                    return Ok(None);
                }
                src.advance(end + 1);
                return Ok(Some(InFrame::Message { wire_id, data: src.split_to(length).freeze() }));
            }
            _ => return Err(Fault::breach("frame", "no frame of this wire")),
        };
        src.advance(end + 1);
        Ok(Some(frame))
    }
}
