//! The codec of an established connection: frames to bytes and bytes to frames. No IO, no clock.
//!
//! ```text
//!   OutFrame ─▶ Encoder ─▶ bytes          bytes ─▶ Decoder ─▶ InFrame, or the Fault that ends the session
//! ```
//!
//! Limits: a decoder checks a declared length against the channel's receive limit before it allocates.
//! A message cut into parts is put together by the session, not by the decoder.

use crate::reason::Reason;
use bytes::{Bytes, BytesMut};

/// A frame to be sent.
#[derive(Debug)]
pub enum OutFrame<'a> {
    /// A slice of a message; `last` on its final slice. A message may be empty.
    Data {
        /// The channel's number on the wire.
        wire_id: u64,
        /// At most [`Encoder::slice`] bytes.
        data: &'a [u8],
        /// Whether the message ends here.
        last: bool,
    },
    /// "Are you there?"
    Ping,
    /// "I am."
    Pong,
    /// The session ends, and why. A wire without such a frame writes nothing.
    Goodbye(&'a Reason),
}

/// Turns frames into bytes. No IO, no clock.
pub trait Encoder: Send {
    /// How many bytes of a message with `remaining` bytes left go into the next frame (whole messages: `remaining`).
    fn slice(&self, wire_id: u64, remaining: usize) -> usize;

    /// Bytes that frame costs in the scheduler's account.
    fn cost(&self, wire_id: u64, len: usize, last: bool) -> usize;

    /// Largest message this channel can carry to this peer, in bytes.
    fn max_message(&self, wire_id: u64) -> usize;

    /// Appends one frame to `out`. What was appended may change until [`Encoder::finish`]: up to it, `out` is the same buffer, and
    /// nobody else touches it.
    ///
    /// # Errors
    /// Only for frames a caller should not have made (too large) or when the session's key stream is used up.
    fn encode(&mut self, frame: OutFrame<'_>, out: &mut BytesMut) -> Result<(), EncodeError>;

    /// Completes what `encode` appended. Called before each write.
    ///
    /// # Errors
    /// When the session's key stream is used up.
    fn finish(&mut self, out: &mut BytesMut) -> Result<(), EncodeError> {
        let _ = out;
        Ok(())
    }
}

/// A frame that cannot be encoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// More bytes than the wire can carry in one message.
    #[error("message of {len} bytes is larger than the wire's limit of {limit}")]
    TooLarge {
        /// The message's bytes.
        len: usize,
        /// The wire's limit.
        limit: usize,
    },
    /// The channel is not one of this session.
    #[error("channel {0:#x} is not shared with this peer")]
    NotShared(u64),
    /// A counter or key stream is used up.
    #[error("the session's key stream is used up")]
    Exhausted,
}

/// A received frame.
#[derive(Debug, PartialEq, Eq)]
pub enum InFrame<'a> {
    /// A slice of a message, borrowed; the reassembly is this crate's.
    Part {
        /// The channel's number on the wire.
        wire_id: u64,
        /// The slice.
        data: &'a [u8],
        /// Whether the message ends here.
        last: bool,
    },
    /// A whole message.
    Message {
        /// The channel's number on the wire.
        wire_id: u64,
        /// The message.
        data: Bytes,
    },
    /// Answered by the session at once.
    Ping,
    /// An answer to our ping, or unsolicited.
    Pong,
    /// The peer ends the session.
    Goodbye(Reason),
    /// A frame the wire knows and ignores.
    Skip,
}

/// Turns bytes into frames. No IO, no clock. Knows the receive limit of each channel and judges
/// declared lengths before it spends memory.
pub trait Decoder: Send {
    /// Takes the next frame from the front of `src`; `None` when more bytes are needed. For a large frame it then makes room
    /// in `src`, in steps with what has come: a declared length alone costs no memory.
    ///
    /// # Errors
    /// [`Fault`] when the peer broke the wire's rules: the session ends with its reason.
    fn decode<'a>(&'a mut self, src: &'a mut BytesMut) -> Result<Option<InFrame<'a>>, Fault>;
}

/// What a peer did wrong: the reason told to it and the operator, and the detail for the log.
#[derive(Debug, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Fault {
    /// Why the session ends.
    pub reason: Reason,
    /// The codec's own error.
    pub detail: Box<dyn std::error::Error + Send + Sync>,
}

impl Fault {
    /// A breach of the named rule.
    pub fn breach(rule: &'static str, detail: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { reason: Reason::Breach(rule), detail: detail.into() }
    }
}
