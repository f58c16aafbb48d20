//! The frames of a running session: the core's encoder and decoder for this wire.
//!
//! ```text
//!   code = offset of the capability + channel id      payload = snappy(message), if both sides are of version 5
//! ```
//!
//! Limits: a channel's receive limit is judged by the declared snappy length, before memory is spent; a frame by
//! the largest limit of the session. A code that no channel has is a breach; 4 to 15 are dropped.

use crate::frame::{self, FrameFault, MAX_BODY, Opener, Sealer, frame_len};
use crate::message::{self, BASE_LENGTH, DISCONNECT, HELLO, PING, PONG};
use bytes::{Bytes, BytesMut};
use std::cell::RefCell;
use switchboard::wire::{Decoder, EncodeError, Encoder, Fault, InFrame, OutFrame};

/// RLP of an empty list: the payload of ping and pong.
const EMPTY_LIST: [u8; 1] = [0xc0];
/// Most bytes of a message, so that it fits beside any code even where snappy finds nothing to compress.
pub const MAX_MESSAGE: usize = MAX_BODY - 9 - frame::LITERAL_HEADER;
/// Most bytes of a base protocol message after hello, as it was before compression.
const MAX_BASE: usize = message::MAX_HELLO;

/// Frames out.
pub struct RlpxEncoder {
    sealer: Sealer,
    snappy: bool,
}

thread_local! {
    /// A compressor keeps tables of 2 to 34 KiB and nothing of a message, so that all sessions of a thread share one.
    static COMPRESSOR: RefCell<snap::raw::Encoder> = RefCell::new(snap::raw::Encoder::new());
}

impl RlpxEncoder {
    /// An encoder; `snappy` when both sides are of version 5.
    #[must_use]
    pub fn new(sealer: Sealer, snappy: bool) -> Self {
        Self { sealer, snappy }
    }
}

impl Encoder for RlpxEncoder {
    fn slice(&self, _: u64, remaining: usize) -> usize {
        remaining
    }

    fn cost(&self, _: u64, len: usize, _: bool) -> usize {
        frame_len(len + 1)
    }

    fn max_message(&self, _: u64) -> usize {
        MAX_MESSAGE
    }

    fn encode(&mut self, frame: OutFrame<'_>, out: &mut BytesMut) -> Result<(), EncodeError> {
        let goodbye;
        let (code, payload): (u64, &[u8]) = match frame {
            OutFrame::Data { wire_id, data, .. } => (wire_id, data),
            OutFrame::Ping => (PING, &EMPTY_LIST),
            OutFrame::Pong => (PONG, &EMPTY_LIST),
            OutFrame::Goodbye(reason) => {
                goodbye = message::encode_disconnect(message::code_of(reason));
                (DISCONNECT, &goodbye)
            }
        };
        let sealed = match self.snappy {
            true => COMPRESSOR.with_borrow_mut(|snappy| self.sealer.seal(code, payload, Some(snappy), out)),
            false => self.sealer.seal(code, payload, None, out),
        };
        sealed.map_err(|_| EncodeError::TooLarge { len: payload.len(), limit: MAX_MESSAGE })
    }
}

/// A channel as the decoder knows it.
#[derive(Debug, Clone, Copy)]
pub struct Code {
    /// The message code.
    pub code: u64,
    /// Most bytes of a message.
    pub limit: usize,
}

/// Frames in.
pub struct RlpxDecoder {
    opener: Opener,
    snappy: bool,
    codes: Vec<Code>,
    frame_limit: usize,
    /// Unknown codes are dropped: for a mirror, which shares the peer's capabilities in name only.
    lenient: bool,
}

impl RlpxDecoder {
    /// A decoder for the given channels.
    #[must_use]
    pub fn new(opener: Opener, snappy: bool, codes: Vec<Code>, lenient: bool) -> Self {
        let most = codes.iter().map(|c| c.limit).max().unwrap_or(0).max(MAX_BASE);
        let grown = if snappy { snap::raw::max_compress_len(most) } else { most };
        let frame_limit = if lenient { MAX_BODY } else { grown.saturating_add(9).clamp(MAX_BASE, MAX_BODY) };
        Self { opener, snappy, codes, frame_limit, lenient }
    }

    fn payload(&self, code: u64, payload: Bytes, limit: usize) -> Result<Bytes, Fault> {
        if self.snappy {
            return Ok(frame::decompress(code, &payload, limit).map_err(fault)?.into());
        }
        if payload.len() > limit {
            return Err(fault(FrameFault::Payload { code, size: payload.len(), limit }));
        }
        Ok(payload)
    }
}

/// What a bad frame is called.
pub(crate) fn fault(error: FrameFault) -> Fault {
    let rule = match error {
        FrameFault::HeaderMac | FrameFault::BodyMac => "frame MAC",
        FrameFault::Size { .. } => "frame size",
        FrameFault::Code => "message code",
        FrameFault::Payload { .. } => "message over the channel's receive limit",
        FrameFault::Snappy => "snappy",
    };
    Fault::breach(rule, error)
}

impl Decoder for RlpxDecoder {
    fn decode<'a>(&'a mut self, src: &'a mut BytesMut) -> Result<Option<InFrame<'a>>, Fault> {
        let Some(message) = self.opener.open(src, self.frame_limit).map_err(fault)? else { return Ok(None) };
        let code = message.code;
        if let Some(known) = self.codes.iter().find(|c| c.code == code) {
            let data = self.payload(code, message.payload, known.limit)?;
            return Ok(Some(InFrame::Message { wire_id: code, data }));
        }
        Ok(Some(match code {
            HELLO => return Err(Fault::breach("second hello", "a hello after the handshake")),
            DISCONNECT => {
                // Some nodes never compress it, and an unreadable goodbye is a goodbye all the same. No plain
                // disconnect reads as snappy: its first byte would be the length of more than is there.
                let plain = message.payload.clone();
                let payload = self.payload(code, message.payload, MAX_BASE).unwrap_or(plain);
                InFrame::Goodbye(message::reason_of(message::decode_disconnect(&payload)))
            }
            PING => InFrame::Ping,
            PONG => InFrame::Pong,
            4..BASE_LENGTH => InFrame::Skip,
            _ if self.lenient => InFrame::Skip,
            _ => {
                return Err(Fault::breach(
                    "unknown message code",
                    format!("code {code:#x} is of no shared capability"),
                ));
            }
        }))
    }
}
