//! The frames of a running session: envelopes, each in a gRPC message.
//!
//! ```text
//!   0 ‖ length u32 ‖ Envelope      channel = the field number of the GossipMessage's content (5 … 25)
//!                                  or a flow of `cast` (crate::cast) or a channel of a plain protocol
//!                                  (crate::plain), told by gossip channel and number
//! ```
//! Envelopes pass as the bytes they came as; a scan of the top level tells the channel.
//! Limits: the stated length against the largest channel limit before anything is waited for, then the message against its own
//! channel's. A content no channel is for is skipped; a payload that is no gossip message is a breach, as in the Go code.

use crate::grpc::{GrpcFault, PREFIX, SMALL, put_message, put_parts, take_message};
use crate::plain::Places;
use crate::{cast, gossip, scan};
use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use switchboard::wire::{Decoder, EncodeError, Encoder, Fault, InFrame, OutFrame};

/// Largest envelope sent (fabric internal/pkg/comm/config.go, 100 MiB with its prefix).
pub const MAX_MESSAGE: usize = 100 << 20;

/// Envelopes out.
#[derive(Debug)]
pub struct EnvelopeEncoder {
    limit: usize,
    plain: Places,
    /// Where an envelope of a plain protocol is put together.
    wrapped: BytesMut,
}

impl Default for EnvelopeEncoder {
    fn default() -> Self {
        Self { limit: MAX_MESSAGE, plain: Places::default(), wrapped: BytesMut::new() }
    }
}

impl EnvelopeEncoder {
    /// Sends no larger envelopes.
    #[must_use]
    pub fn limited(mut self, limit: usize) -> Self {
        self.limit = limit.min(MAX_MESSAGE);
        self
    }

    /// Wraps the messages of these plain protocols.
    #[must_use]
    pub(crate) fn wrapping(mut self, plain: Places) -> Self {
        self.plain = plain;
        self
    }
}

impl Encoder for EnvelopeEncoder {
    fn slice(&self, _: u64, remaining: usize) -> usize {
        remaining
    }

    fn cost(&self, _: u64, len: usize, _: bool) -> usize {
        len + PREFIX
    }

    fn max_message(&self, _: u64) -> usize {
        self.limit
    }

    fn encode(&mut self, frame: OutFrame<'_>, out: &mut BytesMut) -> Result<(), EncodeError> {
        match frame {
            OutFrame::Data { data, .. } if data.len() > self.limit => {
                return Err(EncodeError::TooLarge { len: data.len(), limit: self.limit });
            }
            OutFrame::Data { wire_id, data, .. } => {
                self.wrapped.clear();
                match self.plain.prefix(wire_id, data.len(), &mut self.wrapped) {
                    Some(()) => put_parts(&self.wrapped, data, out),
                    None => put_message(data, out),
                }
            }
            // Pings are HTTP/2's; the end of the stream is the goodbye (`crate::http2::stream`).
            OutFrame::Goodbye(_) | OutFrame::Ping | OutFrame::Pong => {}
        }
        Ok(())
    }
}

/// Envelopes in.
#[derive(Debug)]
pub struct EnvelopeDecoder {
    /// Content number and receive limit of each channel.
    channels: Arc<[(u64, usize)]>,
    limit: usize,
    /// Where `cast` rides.
    cast: cast::ChannelName,
    plain: Places,
}

impl EnvelopeDecoder {
    /// A decoder for the given contents and their limits.
    #[must_use]
    pub fn new(channels: impl Into<Arc<[(u64, usize)]>>) -> Self {
        let channels = channels.into();
        let limit = channels.iter().map(|(_, limit)| *limit).max().unwrap_or(0).min(MAX_MESSAGE);
        Self { channels, limit, cast: cast::ChannelName::default(), plain: Places::default() }
    }

    /// Takes `cast` from another gossip channel.
    #[must_use]
    pub fn cast_on(mut self, channel: cast::ChannelName) -> Self {
        self.cast = channel;
        self
    }

    /// Unwraps the messages of these plain protocols.
    #[must_use]
    pub(crate) fn unwrapping(mut self, plain: Places) -> Self {
        self.plain = plain;
        self
    }
}

impl Decoder for EnvelopeDecoder {
    fn decode<'a>(&'a mut self, src: &'a mut BytesMut) -> Result<Option<InFrame<'a>>, Fault> {
        let taken = take_message(src, self.limit).map_err(|fault| match fault {
            GrpcFault::Compressed => Fault::breach("gRPC compression", fault),
            GrpcFault::TooLarge { .. } => Fault::breach("message over the channel's receive limit", fault),
        })?;
        let Some(data) = taken else { return Ok(None) };
        let undecodable = |error: scan::NotAMessage| Fault::breach("undecodable envelope", error);
        let payload = scan::payload(&data).map_err(undecodable)?;
        let head = scan::scan(payload).map_err(undecodable)?;
        let is_data = head.content == Some(gossip::DATA);
        let opened = match is_data && head.channel == self.cast.as_bytes() {
            true => cast::open(data.slice_ref(payload)),
            false if is_data => self.plain.open(head.channel, || data.slice_ref(payload)),
            false => None,
        };
        let (number, data) = match opened {
            Some((number, inner)) if self.channels.iter().any(|(id, _)| *id == number) => {
                // A little in a copied envelope: what waits must not hold the rest, which nobody counts.
                let alone = data.len() <= SMALL && 2 * inner.len() < data.len();
                (Some(number), if alone { Bytes::copy_from_slice(&inner) } else { inner })
            }
            _ => (head.content.map(u64::from), data),
        };
        let Some((wire_id, limit)) = self.channels.iter().find(|(id, _)| number == Some(*id)) else {
            return Ok(Some(InFrame::Skip));
        };
        if data.len() > *limit {
            let fault = GrpcFault::TooLarge { len: data.len(), limit: *limit };
            return Err(Fault::breach("message over the channel's receive limit", fault));
        }
        Ok(Some(InFrame::Message { wire_id: *wire_id, data }))
    }
}

#[cfg(test)]
mod tests;
