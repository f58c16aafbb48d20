//! The messages of `cast`, on its three channels.
//!
//! ```text
//!   announce  0 announce    id 32 ‖ hops u8 ‖ held u32 ‖ header
//!             1 have        id 32 ‖ first u32 ‖ count u32
//!             2 done        id 32 ‖ sha256 32
//!   request   0 want_page   id 32 ‖ page u16
//!             1 want_chunk  id 32 ‖ first u32 ‖ count u16
//!   chunk     0 page        id 32 ‖ page u16 ‖ hashes (32 × n)
//!             1 chunk       id 32 ‖ index u32 ‖ bytes
//!             2 missing     id 32 ‖ what u8 ‖ index u32
//! ```
//!
//! The kind byte comes first; integers are big-endian. Limits: [`Flow::limit`] bytes a message, 1 … 64
//! chunks a request, 1 … 1,024 hashes a page, 1 byte … 1 MiB a chunk. A message shorter, longer or out
//! of these bounds is [`Malformed`], which ends the session. Whether numbers fit the cast they speak of
//! is judged by the state machine (`state.rs`).

use super::manifest::{CastId, Hash, MAX_CHUNK, Malformed, PAGE_CHUNKS};
use bytes::{BufMut, Bytes, BytesMut};

/// Most chunks one request may name.
pub const MAX_WANT: u16 = 64;
/// Bytes before the data of a chunk message.
pub const CHUNK_HEAD: usize = 37;

/// Which of the three channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Flow {
    /// News of casts.
    Announce,
    /// Requests.
    Request,
    /// Answers.
    Chunk,
}

impl Flow {
    /// All flows, in the order of their channel numbers.
    pub const ALL: [Self; 3] = [Self::Announce, Self::Request, Self::Chunk];

    /// Largest message in bytes.
    #[must_use]
    pub fn limit(self) -> usize {
        match self {
            Self::Announce => 40_000,
            Self::Request => 1_024,
            Self::Chunk => 1_048_640,
        }
    }
}

/// A page or a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// A page of hashes.
    Page(u16),
    /// A chunk.
    Chunk(u32),
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// This cast exists; the sender is `hops` from its source and holds `held` chunks.
    Announce {
        /// The cast.
        id: CastId,
        /// The sender's distance from the source.
        hops: u8,
        /// Chunks the sender holds.
        held: u32,
        /// The header's bytes, not checked yet.
        header: Bytes,
    },
    /// The sender now holds these chunks too.
    Have {
        /// The cast.
        id: CastId,
        /// First chunk.
        first: u32,
        /// How many, at least 1.
        count: u32,
    },
    /// The sender holds the whole file.
    Done {
        /// The cast.
        id: CastId,
        /// Hash of the whole file.
        sha256: Hash,
    },
    /// Send me this page.
    WantPage {
        /// The cast.
        id: CastId,
        /// The page.
        page: u16,
    },
    /// Send me these chunks.
    WantChunk {
        /// The cast.
        id: CastId,
        /// First chunk.
        first: u32,
        /// How many, 1 … [`MAX_WANT`].
        count: u16,
    },
    /// A page.
    Page {
        /// The cast.
        id: CastId,
        /// The page.
        page: u16,
        /// Its bytes.
        hashes: Bytes,
    },
    /// A chunk.
    Chunk {
        /// The cast.
        id: CastId,
        /// The chunk.
        index: u32,
        /// Its bytes.
        data: Bytes,
    },
    /// I do not hold that.
    Missing {
        /// The cast.
        id: CastId,
        /// What was asked for.
        what: Part,
    },
}

/// Reads fields off the front of a message; every step is checked.
struct Fields(Bytes);

impl Fields {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let head = *self.0.first_chunk::<N>().ok_or(Malformed("message too short"))?;
        let _ = self.0.split_to(N);
        Ok(head)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.take().map(u32::from_be_bytes)
    }

    fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed("message too long")) }
    }
}

impl Message {
    /// The cast it speaks of.
    #[must_use]
    pub fn id(&self) -> CastId {
        match self {
            Self::Announce { id, .. }
            | Self::Have { id, .. }
            | Self::Done { id, .. }
            | Self::WantPage { id, .. }
            | Self::WantChunk { id, .. }
            | Self::Page { id, .. }
            | Self::Chunk { id, .. }
            | Self::Missing { id, .. } => *id,
        }
    }

    /// The channel it travels on.
    #[must_use]
    pub fn flow(&self) -> Flow {
        match self {
            Self::Announce { .. } | Self::Have { .. } | Self::Done { .. } => Flow::Announce,
            Self::WantPage { .. } | Self::WantChunk { .. } => Flow::Request,
            Self::Page { .. } | Self::Chunk { .. } | Self::Missing { .. } => Flow::Chunk,
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Announce { .. } | Self::WantPage { .. } | Self::Page { .. } => 0,
            Self::Have { .. } | Self::WantChunk { .. } | Self::Chunk { .. } => 1,
            Self::Done { .. } | Self::Missing { .. } => 2,
        }
    }

    /// Bytes of the encoded message.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        33 + match self {
            Self::Announce { header, .. } => 5 + header.len(),
            Self::Have { .. } => 8,
            Self::Done { .. } => 32,
            Self::WantPage { .. } => 2,
            Self::WantChunk { .. } => 6,
            Self::Page { hashes, .. } => 2 + hashes.len(),
            Self::Chunk { data, .. } => 4 + data.len(),
            Self::Missing { .. } => 5,
        }
    }

    /// Appends the message to `out`.
    pub fn encode(&self, out: &mut BytesMut) {
        out.reserve(self.encoded_len());
        out.put_u8(self.kind());
        out.put_slice(&self.id().0);
        match self {
            Self::Announce { hops, held, header, .. } => {
                out.put_u8(*hops);
                out.put_u32(*held);
                out.put_slice(header);
            }
            Self::Have { first, count, .. } => {
                out.put_u32(*first);
                out.put_u32(*count);
            }
            Self::Done { sha256, .. } => out.put_slice(sha256),
            Self::WantPage { page, .. } => out.put_u16(*page),
            Self::WantChunk { first, count, .. } => {
                out.put_u32(*first);
                out.put_u16(*count);
            }
            Self::Page { page, hashes, .. } => {
                out.put_u16(*page);
                out.put_slice(hashes);
            }
            Self::Chunk { index, data, .. } => {
                out.put_u32(*index);
                out.put_slice(data);
            }
            Self::Missing { what: Part::Page(page), .. } => {
                out.put_u8(0);
                out.put_u32(u32::from(*page));
            }
            Self::Missing { what: Part::Chunk(index), .. } => {
                out.put_u8(1);
                out.put_u32(*index);
            }
        }
    }

    /// Reads a message of at most `limit` bytes that came on `flow`. Data stays a slice of `bytes`.
    ///
    /// # Errors
    /// [`Malformed`] names the rule that is broken.
    pub fn decode(flow: Flow, bytes: Bytes, limit: usize) -> Result<Self, Malformed> {
        if bytes.len() > limit.min(flow.limit()) {
            return Err(Malformed("message too long"));
        }
        let mut fields = Fields(bytes);
        let [kind] = fields.take()?;
        let id = CastId(fields.take()?);
        let message = match (flow, kind) {
            (Flow::Announce, 0) => {
                let ([hops], held) = (fields.take()?, fields.u32()?);
                return Ok(Self::Announce { id, hops, held, header: fields.0 });
            }
            (Flow::Announce, 1) => match (fields.u32()?, fields.u32()?) {
                (_, 0) => return Err(Malformed("empty range")),
                (first, count) => Self::Have { id, first, count },
            },
            (Flow::Announce, 2) => Self::Done { id, sha256: fields.take()? },
            (Flow::Request, 0) => Self::WantPage { id, page: fields.u16()? },
            (Flow::Request, 1) => match (fields.u32()?, fields.u16()?) {
                (_, 0) => return Err(Malformed("empty range")),
                (first, count @ 1..=MAX_WANT) => Self::WantChunk { id, first, count },
                _ => return Err(Malformed("request of more than 64 chunks")),
            },
            (Flow::Chunk, 0) => {
                let page = fields.u16()?;
                let n = fields.0.len();
                if n == 0 || !n.is_multiple_of(32) || n > PAGE_CHUNKS as usize * 32 {
                    return Err(Malformed("page length"));
                }
                return Ok(Self::Page { id, page, hashes: fields.0 });
            }
            (Flow::Chunk, 1) => {
                let index = fields.u32()?;
                if fields.0.is_empty() || fields.0.len() > MAX_CHUNK as usize {
                    return Err(Malformed("chunk length"));
                }
                return Ok(Self::Chunk { id, index, data: fields.0 });
            }
            (Flow::Chunk, 2) => {
                let what = match (fields.take()?, fields.u32()?) {
                    ([0], page) => {
                        Part::Page(u16::try_from(page).map_err(|_| Malformed("page out of bounds"))?)
                    }
                    ([1], index) => Part::Chunk(index),
                    _ => return Err(Malformed("missing what?")),
                };
                Self::Missing { id, what }
            }
            _ => return Err(Malformed("unknown kind")),
        };
        fields.end()?;
        Ok(message)
    }
}

/// Appends what comes before a chunk's data, so that the data can be read from disk right behind it.
pub(crate) fn put_chunk_head(id: CastId, index: u32, out: &mut BytesMut) {
    out.put_u8(1);
    out.put_slice(&id.0);
    out.put_u32(index);
}

#[cfg(test)]
mod tests;
