//! What names a cast and proves its parts: header, id, pages.
//!
//! ```text
//!   0        8        12        13          13+n      15+n              15+n+32·pages
//!   ┌────────┬────────┬─────────┬───────────┬─────────┬──────────────────┐
//!   │ size   │ chunk  │ n       │ name      │ pages   │ page hash × pages│
//!   │ u64    │ u32    │ u8      │ n bytes   │ u16     │ 32 bytes each    │
//!   └────────┴────────┴─────────┴───────────┴─────────┴──────────────────┘
//!   cast id   = SHA-256("switchboard cast 1" ‖ header)
//!   page hash = SHA-256(hashes of up to 1,024 chunks)      chunk hash = SHA-256(chunk)
//! ```
//!
//! Limits: size up to 2^40 bytes, chunks of 1 KiB … 1 MiB, at most 1,024 pages of 1,024 chunks, a name of
//! at most 255 bytes. A header over a limit, or whose fields disagree, is [`Malformed`].
//!
//! Does not protect from a name that misleads: it is a label for people, never a path.

use bytes::{BufMut, Bytes, BytesMut};
use sha2::{Digest, Sha256};
use std::fmt;
use std::io::{self, Read};

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// Chunks a page covers.
pub const PAGE_CHUNKS: u32 = 1_024;
/// Most pages of a cast.
pub const MAX_PAGES: u32 = 1_024;
/// Largest file.
pub const MAX_SIZE: u64 = 1 << 40;
/// Smallest chunk size.
pub const MIN_CHUNK: u32 = 1_024;
/// Largest chunk size.
pub const MAX_CHUNK: u32 = 1 << 20;
/// Chunk size unless told otherwise.
pub const DEFAULT_CHUNK: u32 = 65_536;
/// Longest name in bytes.
pub const MAX_NAME: usize = 255;
/// Longest header in bytes.
pub const MAX_HEADER: usize = 15 + MAX_NAME + 32 * MAX_PAGES as usize;
const ID_PREFIX: &[u8] = b"switchboard cast 1";

/// The rule that some bytes break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// Names a cast: the hash of its header.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CastId(pub Hash);

impl CastId {
    /// The id of a header's bytes.
    #[must_use]
    pub fn of(header: &[u8]) -> Self {
        Self(Sha256::new().chain_update(ID_PREFIX).chain_update(header).finalize().into())
    }
}

impl fmt::Display for CastId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for CastId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// SHA-256 of some bytes.
#[must_use]
pub fn hash(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// A checked header. All its numbers agree with each other.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    id: CastId,
    size: u64,
    chunk_size: u32,
    name: String,
    chunks: u32,
    pages: Vec<Hash>,
    raw: Bytes,
}

/// Takes the first `N` bytes off the front.
fn take<const N: usize>(bytes: &mut &[u8], rule: &'static str) -> Result<[u8; N], Malformed> {
    let (head, rest) = bytes.split_first_chunk::<N>().ok_or(Malformed(rule))?;
    *bytes = rest;
    Ok(*head)
}

/// Chunks of a file of this size, when both numbers are within their limits.
fn chunk_count(size: u64, chunk_size: u32) -> Result<u32, Malformed> {
    if size > MAX_SIZE {
        return Err(Malformed("cast of more than 2^40 bytes"));
    }
    if !(MIN_CHUNK..=MAX_CHUNK).contains(&chunk_size) {
        return Err(Malformed("chunk size out of bounds"));
    }
    let chunks = size.div_ceil(u64::from(chunk_size));
    u32::try_from(chunks)
        .ok()
        .filter(|chunks| chunks.div_ceil(PAGE_CHUNKS) <= MAX_PAGES)
        .ok_or(Malformed("cast of more than 1,024 pages"))
}

/// Whether a name may stand in a header.
#[must_use]
pub fn name_allowed(name: &str) -> bool {
    name.len() <= MAX_NAME && !name.contains(|c: char| c == '/' || c == '\\' || c.is_control())
}

impl Header {
    /// A header of the given fields; it is checked as a received one is.
    ///
    /// # Errors
    /// [`Malformed`] when a field is over its limit or they disagree.
    pub fn new(size: u64, chunk_size: u32, name: &str, pages: &[Hash]) -> Result<Self, Malformed> {
        let mut raw = BytesMut::with_capacity(15 + name.len() + 32 * pages.len());
        raw.put_u64(size);
        raw.put_u32(chunk_size);
        raw.put_u8(u8::try_from(name.len()).map_err(|_| Malformed("name over 255 bytes"))?);
        raw.put_slice(name.as_bytes());
        raw.put_u16(u16::try_from(pages.len()).map_err(|_| Malformed("cast of more than 1,024 pages"))?);
        pages.iter().for_each(|page| raw.put_slice(page));
        Self::decode(raw.freeze(), MAX_HEADER)
    }

    /// Reads and checks a header of at most `limit` bytes. All bytes must belong to it.
    ///
    /// # Errors
    /// [`Malformed`] names the rule that is broken.
    pub fn decode(raw: Bytes, limit: usize) -> Result<Self, Malformed> {
        if raw.len() > limit.min(MAX_HEADER) {
            return Err(Malformed("header too long"));
        }
        let mut rest: &[u8] = &raw;
        let size = u64::from_be_bytes(take(&mut rest, "header too short")?);
        let chunk_size = u32::from_be_bytes(take(&mut rest, "header too short")?);
        let [name_len] = take(&mut rest, "header too short")?;
        let (name, mut rest) =
            rest.split_at_checked(usize::from(name_len)).ok_or(Malformed("header too short"))?;
        let count = u16::from_be_bytes(take(&mut rest, "header too short")?);
        let chunks = chunk_count(size, chunk_size)?;
        if u32::from(count) != chunks.div_ceil(PAGE_CHUNKS) {
            return Err(Malformed("page count disagrees with size and chunk size"));
        }
        let (pages, odd) = rest.as_chunks::<32>();
        if !odd.is_empty() || pages.len() != usize::from(count) {
            return Err(Malformed("header length disagrees with its page count"));
        }
        let name = std::str::from_utf8(name).map_err(|_| Malformed("name is not UTF-8"))?;
        if !name_allowed(name) {
            return Err(Malformed("name with a separator or control character"));
        }
        let (name, pages) = (name.to_owned(), pages.to_vec());
        Ok(Self { id: CastId::of(&raw), size, chunk_size, name, chunks, pages, raw })
    }

    /// The header's bytes.
    #[must_use]
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// The id these bytes hash to.
    #[must_use]
    pub fn id(&self) -> CastId {
        self.id
    }

    /// Bytes of the file.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of every chunk but the last.
    #[must_use]
    pub fn chunk_size(&self) -> u32 {
        self.chunk_size
    }

    /// The label. Remote text: print it through [`switchboard::text::printable`], never open it as a path.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many chunks there are.
    #[must_use]
    pub fn chunks(&self) -> u32 {
        self.chunks
    }

    /// The hash of each page.
    #[must_use]
    pub fn pages(&self) -> &[Hash] {
        &self.pages
    }

    /// Where a chunk starts in the file.
    #[must_use]
    pub fn offset(&self, index: u32) -> u64 {
        u64::from(index) * u64::from(self.chunk_size)
    }

    /// Bytes of a chunk; 0 for one that does not exist.
    #[must_use]
    pub fn chunk_len(&self, index: u32) -> usize {
        let left = self.size.saturating_sub(self.offset(index));
        left.min(u64::from(self.chunk_size)) as usize
    }

    /// How many chunks a page covers; 0 for one that does not exist.
    #[must_use]
    pub fn page_chunks(&self, page: u16) -> u32 {
        self.chunks.saturating_sub(u32::from(page) * PAGE_CHUNKS).min(PAGE_CHUNKS)
    }

    /// Whether these bytes are that page.
    #[must_use]
    pub fn page_fits(&self, page: u16, hashes: &[u8]) -> bool {
        self.pages
            .get(usize::from(page))
            .is_some_and(|want| hashes.len() == self.page_chunks(page) as usize * 32 && hash(hashes) == *want)
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Header")
            .field("id", &self.id)
            .field("size", &self.size)
            .field("chunk_size", &self.chunk_size)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The page a chunk belongs to.
#[must_use]
pub fn page_of(index: u32) -> u16 {
    u16::try_from(index / PAGE_CHUNKS).unwrap_or(u16::MAX)
}

/// A chunk's hash out of its page's bytes.
#[must_use]
pub fn hash_in_page(page: &[u8], index: u32) -> Option<Hash> {
    page.as_chunks::<32>().0.get((index % PAGE_CHUNKS) as usize).copied()
}

/// A header with all its pages, and the hash of the whole file: what a source knows.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The header.
    pub header: Header,
    /// Each page's bytes.
    pub pages: Vec<Bytes>,
    /// SHA-256 of the file.
    pub sha256: Hash,
}

/// Hashes of consecutive chunks, gathered into pages.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    pages: Vec<BytesMut>,
}

impl Pages {
    pub(crate) fn push(&mut self, hash: &Hash) {
        match self.pages.last_mut() {
            Some(page) if page.len() < PAGE_CHUNKS as usize * 32 => page.put_slice(hash),
            _ => self.pages.push(BytesMut::from(&hash[..])),
        }
    }

    pub(crate) fn finish(self) -> Vec<Bytes> {
        self.pages.into_iter().map(BytesMut::freeze).collect()
    }
}

/// Fills `buffer` as far as the reader goes.
pub(crate) fn read_full(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

impl Manifest {
    /// Reads a file to its end and hashes it: each chunk, and the whole. Reading and the chunk hashes run on
    /// this thread, the whole file's hash on a second one.
    ///
    /// # Errors
    /// What the reader says, or `InvalidInput` when a limit is passed; the text names it.
    pub fn build(mut reader: impl Read, chunk_size: u32, name: &str) -> io::Result<Self> {
        let invalid = |e: Malformed| io::Error::new(io::ErrorKind::InvalidInput, e);
        chunk_count(0, chunk_size).map_err(invalid)?;
        let (mut pages, mut size) = (Pages::default(), 0u64);
        let sha256 = std::thread::scope(|scope| {
            let (feed, fed) = std::sync::mpsc::sync_channel::<Bytes>(8);
            let whole = scope.spawn(move || fed.iter().fold(Sha256::new(), Digest::chain_update).finalize());
            loop {
                let mut buffer = vec![0; chunk_size as usize];
                let n = read_full(&mut reader, &mut buffer)?;
                buffer.truncate(n);
                if n == 0 {
                    break;
                }
                size += n as u64;
                chunk_count(size, chunk_size).map_err(invalid)?;
                let chunk = Bytes::from(buffer);
                // The other thread only ends early by a panic, which join reports.
                let _ = feed.send(chunk.clone());
                pages.push(&hash(&chunk));
                if n < chunk_size as usize {
                    break;
                }
            }
            drop(feed);
            whole.join().map_err(|_| io::Error::other("the hashing thread failed"))
        })?;
        let pages = pages.finish();
        let hashes: Vec<Hash> = pages.iter().map(|page| hash(page)).collect();
        let header = Header::new(size, chunk_size, name, &hashes).map_err(invalid)?;
        Ok(Self { header, pages, sha256: sha256.into() })
    }
}

#[cfg(test)]
mod tests;
