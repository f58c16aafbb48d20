//! RLPx frames: every message of a session, encrypted and chained to all before it.
//!
//! ```text
//!   header 16        header MAC 16   body, padded to 16     body MAC 16
//!   ┌───────────────┬───────────────┬──────────────────────┬───────────────┐
//!   │ size u24 c2 80│               │ code (RLP) ‖ payload │               │
//!   │ 80 00 …       │               │ ‖ zero padding       │               │
//!   └───────────────┴───────────────┴──────────────────────┴───────────────┘
//!     AES-256-CTR, one stream per direction, IV 0        the payload is snappy after hello
//! ```
//! (spec: rlpx.md, "Framing")
//!
//! Limits: code and payload take at most [`MAX_BODY`] bytes, and so does a payload before compression.
//! The header's MAC is checked before the header is decrypted, its size against the caller's limit before
//! the body is waited for, the declared snappy length against the caller's limit before it is decompressed. Memory
//! for a body grows as the body comes: a header alone costs at most 64 KiB.
//! Any failure is final: the streams are out of step.
//!
//! Not protected: both directions use one key stream (a known flaw of the wire), the length of a
//! message shows, and there is no rekeying.

use aes::Aes256Enc as Aes256;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use cipher::{BlockCipherEncrypt, KeyInit, KeyIvInit, StreamCipher};
use ctr::Ctr64BE;
use subtle::ConstantTimeEq;
use switchboard_enr::keccak::Keccak256;
use switchboard_enr::rlp;
use zeroize::Zeroizing;

/// Most bytes of code and payload in a frame, and of a payload before compression (the size is 24 bits).
pub const MAX_BODY: usize = 0xff_ffff;
/// Bytes of header and header MAC.
const HEADER: usize = 32;
const MAC: usize = 16;
/// What follows the size in a header: an empty list of two (spec: rlpx.md, header-data).
const HEADER_DATA: [u8; 3] = [0xc2, 0x80, 0x80];
/// Most bytes [`put_literal`] adds: the length as a varint of 24 bits, a tag and the length again.
pub(crate) const LITERAL_HEADER: usize = 4 + 1 + 3;
/// Room made for a body at least, before it has come.
const BODY_CHUNK: usize = 64 * 1024;

/// The keys and MAC states a handshake ends with.
pub struct FrameKeys {
    pub(crate) aes: Zeroizing<[u8; 32]>,
    pub(crate) mac: Zeroizing<[u8; 32]>,
    pub(crate) egress: Keccak256,
    pub(crate) ingress: Keccak256,
}

impl std::fmt::Debug for FrameKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FrameKeys")
    }
}

impl FrameKeys {
    /// Keys from known secrets, each MAC state having absorbed the bytes given: for recorded sessions and tools.
    #[must_use]
    pub fn from_secrets(aes: [u8; 32], mac: [u8; 32], egress: &[u8], ingress: &[u8]) -> Self {
        let state = |seed: &[u8]| {
            let mut state = Keccak256::new();
            state.update(seed);
            state
        };
        let (aes, mac) = (Zeroizing::new(aes), Zeroizing::new(mac));
        Self { aes, mac, egress: state(egress), ingress: state(ingress) }
    }

    /// The two directions.
    #[must_use]
    pub fn split(self) -> (Sealer, Opener) {
        let stream = || Ctr64BE::<Aes256>::new(&(*self.aes).into(), &[0; 16].into());
        let cipher = || Aes256::new(&(*self.mac).into());
        let sealer =
            Sealer { stream: stream(), mac: FrameMac { hash: self.egress.clone(), cipher: cipher() } };
        let mac = FrameMac { hash: self.ingress.clone(), cipher: cipher() };
        (sealer, Opener { stream: stream(), mac, waiting: None })
    }
}

/// What a MAC state is made of; a test puts a stub in its place.
pub trait Hash {
    /// Absorbs bytes.
    fn absorb(&mut self, bytes: &[u8]);
    /// The digest so far.
    fn digest_now(&self) -> [u8; 32];
}

impl Hash for Keccak256 {
    fn absorb(&mut self, bytes: &[u8]) {
        self.update(bytes);
    }

    fn digest_now(&self) -> [u8; 32] {
        self.digest()
    }
}

/// The running MAC of one direction.
struct FrameMac<H = Keccak256> {
    hash: H,
    cipher: Aes256,
}

type Block = [u8; 16];

fn front(digest: &[u8; 32]) -> Block {
    let mut out = [0; 16];
    out.iter_mut().zip(digest).for_each(|(out, byte)| *out = *byte);
    out
}

impl<H: Hash> FrameMac<H> {
    /// Mixes 16 bytes in and gives the MAC.
    fn mix(&mut self, digest: &Block, with: &Block) -> Block {
        let mut seed = (*digest).into();
        self.cipher.encrypt_block(&mut seed);
        seed.iter_mut().zip(with).for_each(|(seed, with)| *seed ^= with);
        self.hash.absorb(&seed);
        front(&self.hash.digest_now())
    }

    fn header(&mut self, ciphertext: &Block) -> Block {
        let digest = front(&self.hash.digest_now());
        self.mix(&digest, ciphertext)
    }

    fn body(&mut self, ciphertext: &[u8]) -> Block {
        self.hash.absorb(ciphertext);
        let digest = front(&self.hash.digest_now());
        self.mix(&digest, &digest)
    }
}

/// Makes frames.
pub struct Sealer<H = Keccak256> {
    stream: Ctr64BE<Aes256>,
    mac: FrameMac<H>,
}

/// A message too large for a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("message of {0} bytes: a frame takes {MAX_BODY}")]
pub struct TooLarge(pub usize);

/// Bytes a frame takes for a body of `len` bytes.
#[must_use]
pub fn frame_len(len: usize) -> usize {
    HEADER + len.next_multiple_of(16) + MAC
}

impl<H: Hash> Sealer<H> {
    /// Appends a frame to `out`; with a compressor the payload is snappy.
    ///
    /// # Errors
    /// [`TooLarge`]; then nothing was appended.
    pub fn seal(
        &mut self,
        code: u64,
        payload: &[u8],
        snappy: Option<&mut snap::raw::Encoder>,
        out: &mut BytesMut,
    ) -> Result<(), TooLarge> {
        let too_large = TooLarge(payload.len());
        let code_len = rlp::number_len(code);
        if payload.len() > MAX_BODY - code_len {
            return Err(too_large);
        }
        let start = out.len();
        let most = if snappy.is_some() { snap::raw::max_compress_len(payload.len()) } else { payload.len() };
        out.reserve(frame_len(code_len + most));
        out.resize(start + HEADER, 0);
        rlp::put_number(code, out);
        let body_at = start + HEADER + code_len;
        match snappy {
            None => out.extend_from_slice(payload),
            Some(encoder) => {
                out.resize(body_at + most, 0);
                let space = out.get_mut(body_at..).unwrap_or_default();
                // The space is as large as snappy says it may need, so this cannot fail.
                let written = encoder.compress(payload, space).unwrap_or(usize::MAX - body_at);
                out.truncate(body_at + written);
                if written > MAX_BODY - code_len {
                    out.truncate(body_at);
                    put_literal(payload, out);
                }
                if out.len() - body_at > MAX_BODY - code_len {
                    out.truncate(start);
                    return Err(too_large);
                }
            }
        }
        let size = out.len() - start - HEADER;
        out.resize(start + HEADER + size.next_multiple_of(16), 0);
        let frame = out.get_mut(start..).unwrap_or_default();
        let (header, body) = frame.split_at_mut(HEADER);
        let [_, high, mid, low] = (size as u32).to_be_bytes();
        let mut block = [0; 16];
        block[..6].copy_from_slice(&[high, mid, low, HEADER_DATA[0], HEADER_DATA[1], HEADER_DATA[2]]);
        self.stream.apply_keystream(&mut block);
        let mac = self.mac.header(&block);
        header.iter_mut().zip(block.iter().chain(&mac)).for_each(|(out, byte)| *out = *byte);
        self.stream.apply_keystream(body);
        let mac = self.mac.body(body);
        out.extend_from_slice(&mac);
        Ok(())
    }
}

/// Appends a snappy block of one literal: for payloads near the limit that snappy would make larger than a frame
/// (spec: snappy format description, literals with a 3-byte length).
fn put_literal(payload: &[u8], out: &mut BytesMut) {
    let mut rest = payload.len();
    while rest >= 0x80 {
        out.put_u8(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.put_u8(rest as u8);
    out.put_u8(62 << 2);
    out.put_uint_le(payload.len().saturating_sub(1) as u64, 3);
    out.put_slice(payload);
}

/// What is wrong with a frame; all of it the sender's doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameFault {
    /// The header's MAC does not fit.
    #[error("the frame header's MAC does not fit")]
    HeaderMac,
    /// The body's MAC does not fit.
    #[error("the frame body's MAC does not fit")]
    BodyMac,
    /// The frame is larger than allowed at this point.
    #[error("frame of {size} bytes: at most {limit} are allowed here")]
    Size {
        /// The stated size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The body has no message code.
    #[error("the frame has no message code")]
    Code,
    /// The payload would decompress to more than allowed.
    #[error("payload of {size} bytes before compression: at most {limit} are allowed for code {code:#x}")]
    Payload {
        /// The message code.
        code: u64,
        /// The stated length.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The payload is not snappy.
    #[error("the payload is not snappy")]
    Snappy,
}

/// A message out of a frame, its payload still as it came.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    /// The message code.
    pub code: u64,
    /// The payload, compressed if the session is.
    pub payload: Bytes,
}

/// Reads frames.
pub struct Opener<H = Keccak256> {
    stream: Ctr64BE<Aes256>,
    mac: FrameMac<H>,
    /// Size of the body whose header was read.
    waiting: Option<usize>,
}

impl<H: Hash> Opener<H> {
    /// Takes a frame off the front of `src`, whose size may be at most `limit`; `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`FrameFault`]: the session cannot go on.
    pub fn open(&mut self, src: &mut BytesMut, limit: usize) -> Result<Option<Message>, FrameFault> {
        let size = match self.waiting {
            Some(size) => size,
            None => match self.header(src, limit)? {
                Some(size) => size,
                None => return Ok(None),
            },
        };
        let padded = size.next_multiple_of(16);
        let missing = (padded + MAC).saturating_sub(src.len());
        if missing > 0 {
            // Room grows with what has come, not with what a header of 32 bytes says will come.
            src.reserve(missing.min(src.len().max(BODY_CHUNK)));
            return Ok(None);
        }
        self.waiting = None;
        let mut body = src.split_to(padded);
        let theirs = src.split_to(MAC);
        if !bool::from(self.mac.body(&body).ct_eq(&theirs)) {
            return Err(FrameFault::BodyMac);
        }
        self.stream.apply_keystream(&mut body);
        body.truncate(size);
        let mut rest: &[u8] = &body;
        let code = rlp::number(&mut rest).map_err(|_| FrameFault::Code)?;
        let code_len = size - rest.len();
        body.advance(code_len);
        Ok(Some(Message { code, payload: body.freeze() }))
    }

    fn header(&mut self, src: &mut BytesMut, limit: usize) -> Result<Option<usize>, FrameFault> {
        let Some((head, _)) = src.split_first_chunk::<HEADER>() else { return Ok(None) };
        let (ciphertext, theirs) = head.split_at(16);
        let mut block: Block = ciphertext.try_into().map_err(|_| FrameFault::HeaderMac)?;
        if !bool::from(self.mac.header(&block).ct_eq(theirs)) {
            return Err(FrameFault::HeaderMac);
        }
        self.stream.apply_keystream(&mut block);
        let [high, mid, low, ..] = block;
        let size = u32::from_be_bytes([0, high, mid, low]) as usize;
        if size > limit {
            return Err(FrameFault::Size { size, limit });
        }
        src.advance(HEADER);
        self.waiting = Some(size);
        Ok(Some(size))
    }
}

/// Decompresses a payload whose stated length may be at most `limit`.
///
/// # Errors
/// [`FrameFault::Payload`] before anything is allocated, [`FrameFault::Snappy`].
pub fn decompress(code: u64, payload: &[u8], limit: usize) -> Result<Vec<u8>, FrameFault> {
    let size = snap::raw::decompress_len(payload).map_err(|_| FrameFault::Snappy)?;
    if size > limit {
        return Err(FrameFault::Payload { code, size, limit });
    }
    // A block cannot unfold to more than 64 bytes for each 3 of its own (a copy element): a longer claim is a lie
    // that would only cost us memory (spec: snappy format description, copies with 2-byte offset).
    if size > payload.len().saturating_mul(22).saturating_add(64) {
        return Err(FrameFault::Snappy);
    }
    let mut out = vec![0; size];
    match snap::raw::Decoder::new().decompress(payload, &mut out) {
        Ok(written) if written == size => Ok(out),
        _ => Err(FrameFault::Snappy),
    }
}

#[cfg(test)]
mod tests;
