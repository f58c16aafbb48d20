//! A running session's two halves: packets to frames and frames to packets. No IO, no clock.
//!
//! ```text
//! encode   packet head ‖ data ─▶ frames laid out ─▶ eight sealed at a time    finish: the rest, sealed at once
//! decode   whole frames ─▶ opened in place ─▶ ≤ 2 KiB of plain bytes ─▶ packet, borrowed
//! ```
//!
//! Limits: memory is [`PLAIN`] bytes received, whatever the peer does, and none while nothing is read; what is sent is sealed where
//! it stands. Frames
//! without data are legal here and come out as [`InFrame::Skip`], one a call, so a flood of them costs the sender
//! 1044 bytes each and us one decryption each, as any other frame.
//!
//! A packet on a channel that we announced but the peer did not is skipped, as nobody here waits for
//! it; on any other channel it is a breach. How long a reassembled message may get is the core's matter.

use crate::packet::{Era, MAX_ENCODED, Packet, PacketCodec, PacketError};
use crate::secret_connection::{DATA_MAX, FRAME, Opener, Outbound, Sealer, SecretError};
use bytes::{Buf, BytesMut};
use switchboard::Reason;
use switchboard::wire::{Decoder, EncodeError, Encoder, Fault, InFrame, OutFrame};

/// Plain bytes held between frames: the longest unfinished packet and one frame's data.
pub const PLAIN: usize = MAX_ENCODED + DATA_MAX;
/// Largest message a peer takes on a channel that says nothing else, 21 MiB
/// (cometbft p2p/conn/connection.go `defaultRecvMessageCapacity`).
pub const MAX_MESSAGE: usize = 22_020_096;

/// A set of channel bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChannelSet([u64; 4]);

impl ChannelSet {
    /// Every channel there can be.
    pub const ALL: Self = Self([u64::MAX; 4]);

    /// Adds one.
    pub fn insert(&mut self, channel: u8) {
        if let Some(word) = self.0.get_mut(usize::from(channel >> 6)) {
            *word |= 1 << (channel & 63);
        }
    }

    /// Whether it is in the set.
    #[must_use]
    pub fn contains(&self, channel: u8) -> bool {
        self.0.get(usize::from(channel >> 6)).is_some_and(|word| word >> (channel & 63) & 1 == 1)
    }
}

impl FromIterator<u8> for ChannelSet {
    fn from_iter<I: IntoIterator<Item = u8>>(channels: I) -> Self {
        let mut set = Self::default();
        channels.into_iter().for_each(|channel| set.insert(channel));
        set
    }
}

/// Frames to bytes.
pub struct CometEncoder {
    sealer: Sealer,
    era: Era,
    /// The shared channels and the largest message of each.
    channels: Vec<(u8, usize)>,
    /// Empty between two writes.
    pending: Outbound,
}

impl CometEncoder {
    /// An encoder for the given channels; the number beside each is the largest message it carries.
    #[must_use]
    pub fn new(sealer: Sealer, era: Era, channels: Vec<(u8, usize)>) -> Self {
        Self { sealer, era, channels, pending: Outbound::default() }
    }

    /// The wire numbers given to the core are channel bytes.
    fn shared(&self, wire_id: u64) -> Option<(u8, usize)> {
        self.channels.iter().find(|(channel, _)| u64::from(*channel) == wire_id).copied()
    }

    fn push(&mut self, bytes: &[u8], out: &mut BytesMut) -> Result<(), EncodeError> {
        self.pending.push(bytes, &mut self.sealer, out).map_err(|_| EncodeError::Exhausted)
    }
}

impl Encoder for CometEncoder {
    fn slice(&self, wire_id: u64, remaining: usize) -> usize {
        self.era.slice(channel_byte(wire_id), remaining)
    }

    fn cost(&self, wire_id: u64, len: usize, last: bool) -> usize {
        self.era.encoded_len(channel_byte(wire_id), len, last)
    }

    fn max_message(&self, wire_id: u64) -> usize {
        self.shared(wire_id).map_or(0, |(_, most)| most)
    }

    fn encode(&mut self, frame: OutFrame<'_>, out: &mut BytesMut) -> Result<(), EncodeError> {
        let packet = match frame {
            OutFrame::Ping => Packet::Ping,
            OutFrame::Pong => Packet::Pong,
            // This wire has no word for it: the connection is closed.
            OutFrame::Goodbye(_) => return Ok(()),
            OutFrame::Data { wire_id, data, last } => {
                let (channel, _) = self.shared(wire_id).ok_or(EncodeError::NotShared(wire_id))?;
                let limit = self.era.slice(channel, data.len() + usize::from(!last));
                if data.len() > limit {
                    return Err(EncodeError::TooLarge { len: data.len(), limit });
                }
                Packet::Msg { channel, last, data }
            }
        };
        let head = self.era.head(&packet);
        self.push(head.as_slice(), out)?;
        match packet {
            Packet::Msg { data, .. } => self.push(data, out),
            Packet::Ping | Packet::Pong => Ok(()),
        }
    }

    fn finish(&mut self, out: &mut BytesMut) -> Result<(), EncodeError> {
        self.pending.finish(&mut self.sealer, out).map_err(|_| EncodeError::Exhausted)
    }
}

impl std::fmt::Debug for CometEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CometEncoder").field("sealer", &self.sealer).finish_non_exhaustive()
    }
}

/// A wire number as a channel byte; numbers beyond it are never shared, so what they become does not matter.
fn channel_byte(wire_id: u64) -> u8 {
    u8::try_from(wire_id).unwrap_or(u8::MAX)
}

/// Bytes to frames.
pub struct CometDecoder {
    opener: Opener,
    era: Era,
    shared: ChannelSet,
    ignored: ChannelSet,
    /// Frames at the front of what was received that are opened already.
    opened: usize,
    /// Opened and not decoded yet; empty while nothing comes.
    plain: Vec<u8>,
    start: usize,
}

impl CometDecoder {
    /// A decoder that delivers what comes on `shared` channels, skips what comes on `ignored` ones, and starts with
    /// plain bytes that were opened during the handshake.
    #[must_use]
    pub fn new(opener: Opener, era: Era, shared: ChannelSet, ignored: ChannelSet, plain: &[u8]) -> Self {
        let mut held = Vec::with_capacity(plain.len() + DATA_MAX);
        held.extend_from_slice(plain);
        Self { opener, era, shared, ignored, opened: 0, plain: held, start: 0 }
    }

    fn held(&self) -> &[u8] {
        self.plain.get(self.start..).unwrap_or_default()
    }

    /// Puts the next frame's data behind the plain bytes; its length, or `None` when it is not all here.
    fn open_next(&mut self, src: &mut BytesMut) -> Result<Option<usize>, Fault> {
        if self.opened == 0 {
            self.opened = self.opener.open_front(src).map_err(secret_fault)?;
        }
        let Some(left) = self.opened.checked_sub(1) else { return Ok(None) };
        let frame = src.get(..FRAME).ok_or_else(|| local("bytes that were opened are gone"))?;
        let data = Opener::data(frame).map_err(secret_fault)?;
        self.opened = left;
        let len = data.len();
        if self.plain.capacity() == 0 {
            // What was opened with this frame goes in without growing: little for one message, more for a stream of them.
            self.plain.reserve_exact(((left + 1) * DATA_MAX).min(PLAIN));
        }
        if self.plain.len() + len > self.plain.capacity() {
            self.plain.drain(..self.start);
            self.start = 0;
        }
        let (needed, room) = (self.plain.len() + len, self.plain.capacity());
        if needed > room.max(PLAIN) {
            return Err(local("plain bytes beyond the longest packet"));
        }
        if needed > room {
            self.plain.reserve_exact((2 * room).clamp(needed, PLAIN) - self.plain.len());
        }
        self.plain.extend_from_slice(data);
        src.advance(FRAME);
        Ok(Some(len))
    }
}

impl Decoder for CometDecoder {
    fn decode<'a>(&'a mut self, src: &'a mut BytesMut) -> Result<Option<InFrame<'a>>, Fault> {
        let used = loop {
            match self.era.whole(self.held()).map_err(packet_fault)? {
                Some(used) => break used,
                None => match self.open_next(src)? {
                    None => {
                        if self.start == self.plain.len() {
                            (self.plain, self.start) = (Vec::new(), 0);
                        }
                        return Ok(None);
                    }
                    Some(0) => return Ok(Some(InFrame::Skip)),
                    Some(_) => {}
                },
            }
        };
        let whole = self.start..self.start + used;
        self.start = whole.end;
        let bytes = self.plain.get(whole).unwrap_or_default();
        let packet = self.era.decode(bytes).map_err(packet_fault)?;
        match packet.map(|(packet, _)| packet) {
            Some(Packet::Ping) => Ok(Some(InFrame::Ping)),
            Some(Packet::Pong) => Ok(Some(InFrame::Pong)),
            Some(Packet::Msg { channel, last, data }) if self.shared.contains(channel) => {
                Ok(Some(InFrame::Part { wire_id: channel.into(), data, last }))
            }
            Some(Packet::Msg { channel, .. }) if self.ignored.contains(channel) => Ok(Some(InFrame::Skip)),
            Some(Packet::Msg { channel, .. }) => {
                Err(Fault::breach("unknown channel", format!("a packet on channel {channel:#04x}")))
            }
            None => Err(local("a whole packet that is not whole")),
        }
    }
}

impl std::fmt::Debug for CometDecoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CometDecoder").field("opener", &self.opener).finish_non_exhaustive()
    }
}

fn packet_fault(error: PacketError) -> Fault {
    Fault::breach(error.rule(), error)
}

fn local(what: &'static str) -> Fault {
    Fault { reason: Reason::LocalFault, detail: what.into() }
}

/// A broken frame as the core tells it.
pub(crate) fn secret_fault(error: SecretError) -> Fault {
    let reason = match error {
        SecretError::Exhausted | SecretError::Local(_) => Reason::LocalFault,
        other => Reason::Breach(other.rule()),
    };
    Fault { reason, detail: error.into() }
}

#[cfg(test)]
mod tests;
