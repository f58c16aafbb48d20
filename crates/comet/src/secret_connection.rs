//! SecretConnection: the key exchange and the encrypted frames under everything else on this wire.
//!
//! ```text
//! both sides at once   22 0a 20 ‖ X25519 ephemeral 32                      35 bytes, plain
//! both sides at once   one frame around
//!                      66 0a 22 0a 20 ‖ ed25519 public 32 ‖ 12 40 ‖ signature 64
//! then                 frames
//!
//! frame, sealed 1044   ChaCha20-Poly1305( LE u32 length ≤ 1024 ‖ data ‖ zeros up to 1028 ) ‖ tag 16
//! nonce 12             00 00 00 00 ‖ LE u64 counter from 0, one counter a direction
//!
//! lo, hi    = the two ephemerals in bytewise order;  dh = X25519(ours, theirs)
//! challenge = Merlin(TENDERMINT_SECRET_CONNECTION_TRANSCRIPT_HASH; lo, hi, dh) → 32 bytes, signed by both
//! okm 64    = HKDF-SHA256(dh, no salt, TENDERMINT_SECRET_CONNECTION_KEY_AND_CHALLENGE_GEN)
//!             lo's side receives with okm[0..32] and sends with okm[32..64], hi's the other way round
//! ```
//! (cometbft p2p/conn/secret_connection.go)
//!
//! Limits: the ephemeral message at most [`MAX_HELLO`] bytes, the signature message [`MAX_AUTH`] (the Go code lets both
//! declare 1 MiB); data 1024 bytes a frame. A frame that declares more, or whose tag is wrong, ends
//! the session. A counter that reaches its end is [`SecretError::Exhausted`], never a repeated nonce.
//!
//! Stricter than the Go code, where no honest peer can tell: an ephemeral that is not 32 bytes is
//! refused (Go pads or cuts it); padding is always zero (Go leaves old plaintext there).
//!
//! Provided: secrecy with fresh keys each session, integrity, order, mutual proof of the ed25519 key.
//! Not provided: *whom* one speaks with (the caller compares the ID with the one it dialled), hiding
//! of identities from a man in the middle of the first exchange, rekeying, a signed end (a cut connection
//! looks like a closed one), hiding of sizes beyond 1 KiB steps.

#[cfg(target_arch = "x86_64")]
mod eight;

use crate::key::{self, NodeId, NodeKey};
use crate::proto::{self, Fields, ProtoError};
use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey, X25519};
use aws_lc_rs::hkdf;
use bytes::{Buf, BufMut, BytesMut};
use zeroize::Zeroizing;

/// Data bytes a frame holds (cometbft `dataMaxSize`).
pub const DATA_MAX: usize = 1024;
/// Bytes before the data: its length.
const LENGTH: usize = 4;
/// A frame before sealing (cometbft `totalFrameSize`).
const PLAIN_FRAME: usize = LENGTH + DATA_MAX;
/// Poly1305's tag (cometbft `aeadSizeOverhead`).
const TAG: usize = 16;
/// A frame on the wire; always this long.
pub const FRAME: usize = PLAIN_FRAME + TAG;
/// An ephemeral message as it stands on the wire.
pub const HELLO: usize = 35;
/// Longest ephemeral message accepted, without its delimiter: room for fields a later version may add.
pub const MAX_HELLO: usize = 64;
/// A signature message with its delimiter.
pub const AUTH: usize = 103;
/// Longest signature message accepted: room for the other key types there are, so that they are refused by name.
pub const MAX_AUTH: usize = 8192;

const TRANSCRIPT: &[u8] = b"TENDERMINT_SECRET_CONNECTION_TRANSCRIPT_HASH";
const LABEL_LOWER: &[u8] = b"EPHEMERAL_LOWER_PUBLIC_KEY";
const LABEL_UPPER: &[u8] = b"EPHEMERAL_UPPER_PUBLIC_KEY";
const LABEL_DH: &[u8] = b"DH_SECRET";
const LABEL_MAC: &[u8] = b"SECRET_CONNECTION_MAC";
const KEY_GEN: &[u8] = b"TENDERMINT_SECRET_CONNECTION_KEY_AND_CHALLENGE_GEN";

/// Why there is no secure channel, or no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// Peer: not the protobuf it should be.
    #[error("handshake message: {0}")]
    Proto(#[from] ProtoError),
    /// Peer: an ephemeral key that is not 32 bytes.
    #[error("the ephemeral key has {0} bytes, not 32")]
    EphemeralLength(usize),
    /// Peer: an ephemeral key that forces the shared secret to zero.
    #[error("the ephemeral key is a point of low order")]
    LowOrder,
    /// Peer: no identity key.
    #[error("no identity key")]
    NoKey,
    /// Peer: an identity key of another type (2 secp256k1, 3 bls12381, 4 mldsa65).
    #[error("identity key of type {0}: only ed25519 is spoken here")]
    KeyType(u32),
    /// Peer: an ed25519 key that is not 32 bytes.
    #[error("the identity key has {0} bytes, not 32")]
    KeyLength(usize),
    /// Peer: a signature that is not 64 bytes.
    #[error("the signature has {0} bytes, not 64")]
    SignatureLength(usize),
    /// Peer: the signature does not prove the key.
    #[error("the signature over the challenge is wrong")]
    Signature,
    /// Peer (or somebody in between): the frame is not what the other end sealed.
    #[error("a frame is not authentic")]
    NotAuthentic,
    /// Peer: more data than a frame holds.
    #[error("a frame declares {0} bytes of data; it holds at most 1024")]
    FrameLength(u32),
    /// Nobody: 2^64 - 1 frames went by.
    #[error("the frame counter is used up")]
    Exhausted,
    /// Us: a slice of the wrong size, or a primitive that failed.
    #[error("local fault: {0}")]
    Local(&'static str),
}

impl SecretError {
    /// The broken rule's name, for [`switchboard::Reason::Breach`].
    #[must_use]
    pub fn rule(self) -> &'static str {
        match self {
            Self::Proto(ProtoError::VarintOverflow) => "varint overflow",
            Self::Proto(ProtoError::TooLong { .. }) => "handshake message length",
            Self::Proto(_) => "handshake message encoding",
            Self::EphemeralLength(_) => "ephemeral key length",
            Self::LowOrder => "low-order ephemeral key",
            Self::NoKey | Self::KeyType(_) | Self::KeyLength(_) => "identity key",
            Self::SignatureLength(_) | Self::Signature => "signature",
            Self::NotAuthentic => "frame authentication",
            Self::FrameLength(_) => "frame length",
            Self::Exhausted => "frame counter",
            Self::Local(_) => "local",
        }
    }
}

/// Our half of the key exchange.
pub struct Ephemeral {
    secret: PrivateKey,
    public: [u8; 32],
}

impl Ephemeral {
    /// A key from 32 random bytes, to be used once.
    ///
    /// # Errors
    /// [`SecretError::Local`] should the crypto library refuse them.
    pub fn from_secret(secret: &[u8; 32]) -> Result<Self, SecretError> {
        let fault = SecretError::Local("the ephemeral secret is not usable");
        let secret = PrivateKey::from_private_key(&X25519, secret).map_err(|_| fault)?;
        let public = secret.compute_public_key().map_err(|_| fault)?;
        let public = public.as_ref().try_into().map_err(|_| fault)?;
        Ok(Self { secret, public })
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// Meets the other's public half.
    ///
    /// # Errors
    /// [`SecretError::LowOrder`].
    pub fn agree(self, theirs: &[u8; 32]) -> Result<Agreed, SecretError> {
        let theirs_parsed = UnparsedPublicKey::new(&X25519, theirs);
        agreement::agree(&self.secret, theirs_parsed, SecretError::LowOrder, |dh| {
            let dh: &[u8; 32] = dh.try_into().map_err(|_| SecretError::Local("X25519 gave no 32 bytes"))?;
            // The library refuses an all-zero result itself; this rule is too important to be inherited.
            if dh.iter().fold(0, |all, byte| all | byte) == 0 {
                return Err(SecretError::LowOrder);
            }
            Agreed::new(&self.public, theirs, dh)
        })
    }
}

impl std::fmt::Debug for Ephemeral {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ephemeral")
    }
}

/// What both sides know after the exchange of ephemerals.
#[derive(Debug)]
pub struct Agreed {
    /// To be signed by both.
    pub challenge: [u8; 32],
    /// For what we send.
    pub sealer: Sealer,
    /// For what we receive.
    pub opener: Opener,
}

impl Agreed {
    fn new(ours: &[u8; 32], theirs: &[u8; 32], dh: &[u8; 32]) -> Result<Self, SecretError> {
        let secrets = Secrets::derive(dh, ours < theirs)?;
        Ok(Self {
            challenge: challenge(ours, theirs, dh),
            sealer: Sealer(Half::new(&secrets.send)?),
            opener: Opener(Half::new(&secrets.receive)?),
        })
    }
}

/// The 32 bytes both sides sign.
#[must_use]
pub fn challenge(one: &[u8; 32], other: &[u8; 32], dh: &[u8; 32]) -> [u8; 32] {
    let mut transcript = merlin::Transcript::new(TRANSCRIPT);
    transcript.append_message(LABEL_LOWER, one.min(other));
    transcript.append_message(LABEL_UPPER, one.max(other));
    transcript.append_message(LABEL_DH, dh);
    let mut out = [0; 32];
    transcript.challenge_bytes(LABEL_MAC, &mut out);
    out
}

/// The two frame keys.
pub struct Secrets {
    /// Opens what we receive.
    pub receive: Zeroizing<[u8; 32]>,
    /// Seals what we send.
    pub send: Zeroizing<[u8; 32]>,
}

impl Secrets {
    /// Derives the keys; `ours_is_lower` when our ephemeral sorts before theirs.
    ///
    /// # Errors
    /// [`SecretError::Local`] should the crypto library fail.
    pub fn derive(dh: &[u8; 32], ours_is_lower: bool) -> Result<Self, SecretError> {
        let mut okm = Zeroizing::new([0_u8; 64]);
        hkdf::Salt::new(hkdf::HKDF_SHA256, &[])
            .extract(dh)
            .expand(&[KEY_GEN], TwoKeys)
            .and_then(|okm_out| okm_out.fill(okm.as_mut_slice()))
            .map_err(|_| SecretError::Local("HKDF failed"))?;
        let (mut first, mut second) = (Zeroizing::new([0; 32]), Zeroizing::new([0; 32]));
        first.iter_mut().chain(second.iter_mut()).zip(okm.iter()).for_each(|(to, from)| *to = *from);
        Ok(if ours_is_lower {
            Self { receive: first, send: second }
        } else {
            Self { receive: second, send: first }
        })
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets")
    }
}

struct TwoKeys;

impl hkdf::KeyType for TwoKeys {
    fn len(&self) -> usize {
        64
    }
}

/// One direction's key and counter.
struct Half {
    key: Key,
    counter: u64,
}

/// A key as this processor uses it. The library's own form takes half a kilobyte, which an idle session does not need.
enum Key {
    /// The library's, for one frame at a time.
    One(Box<LessSafeKey>),
    /// For eight frames at a time; the library's is made from it for fewer.
    #[cfg(target_arch = "x86_64")]
    Eight(eight::Eight),
}

impl Key {
    fn new(bytes: &[u8; 32]) -> Result<Self, SecretError> {
        #[cfg(target_arch = "x86_64")]
        if let Some(eight) = eight::Eight::new(bytes) {
            return Ok(Self::Eight(eight));
        }
        Ok(Self::One(Box::new(by_library(bytes)?)))
    }

    /// Works on one frame.
    fn one<T>(&self, work: impl FnOnce(&LessSafeKey) -> T) -> Result<T, SecretError> {
        match self {
            Self::One(key) => Ok(work(key)),
            #[cfg(target_arch = "x86_64")]
            Self::Eight(eight) => Ok(work(&by_library(&eight.key())?)),
        }
    }
}

fn by_library(bytes: &[u8; 32]) -> Result<LessSafeKey, SecretError> {
    let key = UnboundKey::new(&CHACHA20_POLY1305, bytes)
        .map_err(|_| SecretError::Local("ChaCha20-Poly1305 took no 32-byte key"))?;
    Ok(LessSafeKey::new(key))
}

/// Whole frames, in a buffer.
type Frames = [[u8; FRAME]];

impl Half {
    fn new(key: &[u8; 32]) -> Result<Self, SecretError> {
        Ok(Self { key: Key::new(key)?, counter: 0 })
    }

    /// The next nonce, used once and never after the counter's end.
    fn nonce(&mut self) -> Result<Nonce, SecretError> {
        let next = self.counter.checked_add(1).ok_or(SecretError::Exhausted)?;
        let mut nonce = [0; 12];
        nonce.iter_mut().skip(4).zip(self.counter.to_le_bytes()).for_each(|(to, from)| *to = from);
        self.counter = next;
        Ok(Nonce::assume_unique_for_key(nonce))
    }

    /// Opens one frame in place.
    fn open(&self, nonce: Nonce, frame: &mut [u8]) -> Result<(), SecretError> {
        let opened = self.key.one(|key| key.open_in_place(nonce, Aad::empty(), frame).map(drop))?;
        opened.map_err(|_| SecretError::NotAuthentic)
    }

    /// Seals the frames at the front that can be sealed together; how many they were.
    #[cfg(target_arch = "x86_64")]
    fn seal_together(&mut self, frames: &mut Frames) -> usize {
        let (Key::Eight(eight), Some(next)) = (&self.key, self.counter.checked_add(eight::LANES as u64))
        else {
            return 0;
        };
        let Some(first) = frames.first_chunk_mut() else { return 0 };
        eight.seal(self.counter, first);
        self.counter = next;
        eight::LANES
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn seal_together(&mut self, _: &mut Frames) -> usize {
        0
    }

    /// Opens the frames at the front that can be opened together, up to one that is not authentic; how many, or `None` where
    /// they have to be opened one by one.
    #[cfg(target_arch = "x86_64")]
    fn open_together(&mut self, frames: &mut Frames) -> Option<usize> {
        let Key::Eight(eight) = &self.key else { return None };
        self.counter.checked_add(eight::LANES as u64)?;
        let good = eight.open(self.counter, frames.first_chunk_mut()?);
        self.counter += good as u64;
        Some(good)
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn open_together(&mut self, _: &mut Frames) -> Option<usize> {
        None
    }
}

/// Appends a frame that is not sealed yet, with at most [`DATA_MAX`] bytes of data.
fn lay(data: &[u8], out: &mut impl BufMut) {
    out.put_u32_le(data.len() as u32);
    out.put_slice(data);
    out.put_bytes(0, DATA_MAX - data.len() + TAG);
}

/// The data of a frame that was opened.
fn content(frame: &[u8]) -> Result<&[u8], SecretError> {
    let opened = frame.get(..PLAIN_FRAME).and_then(<[u8]>::split_first_chunk::<LENGTH>);
    let (length, data) = opened.ok_or(SecretError::Local("a frame without length"))?;
    let length = u32::from_le_bytes(*length);
    data.get(..length as usize).ok_or(SecretError::FrameLength(length))
}

/// Data on its way into frames: laid out where they will stand, and sealed there, eight at a time.
///
/// The buffer that is given is the same from the first call to [`Outbound::finish`], and nothing else touches it.
#[derive(Debug, Default)]
pub(crate) struct Outbound {
    /// Where the frames begin that are not sealed, and where the last of them ends so far; none when nothing waits.
    open: Option<std::ops::Range<usize>>,
    /// Bytes of data in the last frame, while it can take more.
    used: Option<usize>,
}

/// Frames that are laid out before they are sealed.
const LAID: usize = 8;

impl Outbound {
    /// Takes data; frames that are full may be sealed.
    pub(crate) fn push(
        &mut self,
        mut data: &[u8],
        sealer: &mut Sealer,
        out: &mut BytesMut,
    ) -> Result<(), SecretError> {
        let mut start = match &self.open {
            Some(open) if open.end != out.len() => return Err(SecretError::Local("another buffer")),
            Some(open) => open.start,
            None => out.len(),
        };
        while !data.is_empty() {
            let used = match self.used {
                Some(used) => used,
                None => {
                    if out.len() - start >= LAID * FRAME {
                        self.open = None;
                        sealer.seal_laid(start, out)?;
                        start = out.len();
                    }
                    out.reserve(FRAME);
                    out.put_bytes(0, LENGTH);
                    0
                }
            };
            let (now, later) = data.split_at(data.len().min(DATA_MAX - used));
            out.put_slice(now);
            self.used = Some(used + now.len());
            data = later;
            if used + now.len() == DATA_MAX {
                self.close(out);
            }
            self.open = Some(start..out.len());
        }
        Ok(())
    }

    /// Ends the frame that can take more.
    fn close(&mut self, out: &mut BytesMut) {
        let Some(used) = self.used.take() else { return };
        let start = out.len().saturating_sub(LENGTH + used);
        if let Some(length) = out.get_mut(start..).and_then(<[u8]>::first_chunk_mut::<LENGTH>) {
            *length = (used as u32).to_le_bytes();
        }
        out.put_bytes(0, DATA_MAX - used + TAG);
    }

    /// Seals what there is, the last frame as full as it is.
    pub(crate) fn finish(&mut self, sealer: &mut Sealer, out: &mut BytesMut) -> Result<(), SecretError> {
        match self.open.take() {
            None => Ok(()),
            Some(open) if open.end != out.len() => Err(SecretError::Local("another buffer")),
            Some(open) => {
                self.close(out);
                sealer.seal_laid(open.start, out)
            }
        }
    }
}

/// Seals frames.
pub struct Sealer(Half);

impl Sealer {
    /// Appends one frame with `data` (at most [`DATA_MAX`] bytes) to `out`.
    ///
    /// # Errors
    /// [`SecretError::Exhausted`]; [`SecretError::Local`] for too much data.
    pub fn seal(&mut self, data: &[u8], out: &mut BytesMut) -> Result<(), SecretError> {
        if data.len() > DATA_MAX {
            return Err(SecretError::Local("more data than a frame holds"));
        }
        let start = out.len();
        out.reserve(FRAME);
        lay(data, out);
        self.seal_laid(start, out)
    }

    /// Seals the frames from `start` on; after an error they are gone.
    fn seal_laid(&mut self, start: usize, out: &mut BytesMut) -> Result<(), SecretError> {
        let sealed = self.seal_frames(out.get_mut(start..).unwrap_or_default().as_chunks_mut().0);
        if sealed.is_err() {
            out.truncate(start);
        }
        sealed
    }

    /// Seals frames as [`lay`] leaves them, where they lie.
    fn seal_frames(&mut self, mut frames: &mut Frames) -> Result<(), SecretError> {
        loop {
            let together = self.0.seal_together(frames);
            frames = frames.get_mut(together..).unwrap_or_default();
            if together > 0 {
                continue;
            }
            let Some((frame, rest)) = frames.split_first_mut() else { return Ok(()) };
            let nonce = self.0.nonce()?;
            let (plain, place) = frame.split_at_mut(PLAIN_FRAME);
            let tag = self.0.key.one(|key| key.seal_in_place_separate_tag(nonce, Aad::empty(), plain))?;
            let tag = tag.map_err(|_| SecretError::Local("sealing failed"))?;
            place.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
            frames = rest;
        }
    }

    /// Seals `data` as a stream: as many full frames as it fills, then one for the rest.
    ///
    /// # Errors
    /// [`SecretError::Exhausted`].
    pub fn seal_all(&mut self, data: &[u8], out: &mut BytesMut) -> Result<(), SecretError> {
        let begin = out.len();
        out.reserve(data.len().div_ceil(DATA_MAX) * FRAME);
        // Sealed while they are in the nearest cache.
        for together in data.chunks(LAID * DATA_MAX) {
            let start = out.len();
            together.chunks(DATA_MAX).for_each(|chunk| lay(chunk, out));
            if let Err(error) = self.seal_laid(start, out) {
                out.truncate(begin);
                return Err(error);
            }
        }
        Ok(())
    }

    #[cfg(test)]
    fn set_counter(&mut self, counter: u64) {
        self.0.counter = counter;
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealer({} frames)", self.0.counter)
    }
}

/// Opens frames.
pub struct Opener(Half);

impl Opener {
    /// Opens one whole frame in place: its data, which may be empty.
    ///
    /// # Errors
    /// When the frame is not authentic, or declares more than it holds.
    pub fn open<'a>(&mut self, frame: &'a mut [u8]) -> Result<&'a [u8], SecretError> {
        if frame.len() != FRAME {
            return Err(SecretError::Local("a frame is 1044 bytes"));
        }
        let nonce = self.0.nonce()?;
        self.0.open(nonce, frame)?;
        content(frame)
    }

    /// Opens whole frames at the front of `src` in place, as many as can be opened together, and gives their number: 0 when
    /// no frame is all there. Their data is [`Opener::data`]; from the first that is not authentic on, nothing is opened.
    ///
    /// # Errors
    /// [`SecretError::NotAuthentic`] when that is the first; [`SecretError::Exhausted`].
    pub fn open_front(&mut self, src: &mut [u8]) -> Result<usize, SecretError> {
        let frames = src.as_chunks_mut::<FRAME>().0;
        match self.0.open_together(frames) {
            Some(0) => Err(SecretError::NotAuthentic),
            Some(opened) => Ok(opened),
            None => {
                let Some(frame) = frames.first_mut() else { return Ok(0) };
                let nonce = self.0.nonce()?;
                self.0.open(nonce, frame).map(|()| 1)
            }
        }
    }

    /// The data of a frame that [`Opener::open_front`] opened.
    ///
    /// # Errors
    /// [`SecretError::FrameLength`].
    pub fn data(frame: &[u8]) -> Result<&[u8], SecretError> {
        content(frame)
    }

    /// Opens the frame at the front of `src`, if it is all there, and appends its data to `plain`.
    ///
    /// # Errors
    /// As [`Opener::open`].
    pub fn open_next(&mut self, src: &mut BytesMut, plain: &mut BytesMut) -> Result<bool, SecretError> {
        let Some(frame) = src.get_mut(..FRAME) else { return Ok(false) };
        plain.extend_from_slice(self.open(frame)?);
        src.advance(FRAME);
        Ok(true)
    }
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Opener({} frames)", self.0.counter)
    }
}

/// The ephemeral message with its delimiter.
#[must_use]
pub fn encode_hello(public: &[u8; 32]) -> Vec<u8> {
    proto::delimit(&proto::wrap(public))
}

/// Reads an ephemeral message: the key and the bytes it took, or `None` when more are needed.
///
/// # Errors
/// When it is not one.
pub fn decode_hello(src: &[u8]) -> Result<Option<([u8; 32], usize)>, SecretError> {
    let Some((message, used)) = proto::delimited(src, MAX_HELLO)? else { return Ok(None) };
    let key = proto::unwrap_slice(message)?;
    let key = key.try_into().map_err(|_| SecretError::EphemeralLength(key.len()))?;
    Ok(Some((key, used)))
}

/// Somebody's claim to an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// Their ed25519 key.
    pub public: [u8; 32],
    /// Its signature over the challenge.
    pub signature: [u8; 64],
}

impl Auth {
    /// Signs a challenge.
    #[must_use]
    pub fn sign(key: &NodeKey, challenge: &[u8; 32]) -> Self {
        Self { public: *key.public(), signature: key.sign(challenge) }
    }

    /// The message with its delimiter.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (mut key, mut message) = (Vec::new(), Vec::new());
        proto::put_bytes_field(1, &self.public, &mut key);
        proto::put_message_field(1, &key, &mut message);
        proto::put_bytes_field(2, &self.signature, &mut message);
        proto::delimit(&message)
    }

    /// Reads a signature message and the bytes it took, or `None` when more are needed.
    ///
    /// # Errors
    /// When it is not one, or claims a key that is not ed25519.
    pub fn decode(src: &[u8]) -> Result<Option<(Self, usize)>, SecretError> {
        let Some((message, used)) = proto::delimited(src, MAX_AUTH)? else { return Ok(None) };
        let (mut key, mut signature): (Option<(u32, &[u8])>, &[u8]) = (None, &[]);
        let mut fields = Fields::new(message);
        while let Some((field, value)) = fields.next()? {
            match field {
                1 => {
                    let mut kinds = Fields::new(value.bytes()?);
                    while let Some((kind, value)) = kinds.next()? {
                        key = Some((kind, value.bytes()?));
                    }
                }
                2 => signature = value.bytes()?,
                _ => {}
            }
        }
        let public = match key {
            None => return Err(SecretError::NoKey),
            Some((1, public)) => public.try_into().map_err(|_| SecretError::KeyLength(public.len()))?,
            Some((kind, _)) => return Err(SecretError::KeyType(kind)),
        };
        let signature = signature.try_into().map_err(|_| SecretError::SignatureLength(signature.len()))?;
        Ok(Some((Self { public, signature }, used)))
    }

    /// Checks the claim.
    ///
    /// # Errors
    /// [`SecretError::Signature`].
    pub fn verify(&self, challenge: &[u8; 32]) -> Result<NodeId, SecretError> {
        if key::verify(&self.public, challenge, &self.signature) {
            Ok(NodeId::of(&self.public))
        } else {
            Err(SecretError::Signature)
        }
    }
}

/// The handshake as a machine on bytes: feed what arrives, send what it appends, until it is done.
/// Both sides run the same machine and neither waits to send.
#[derive(Debug)]
pub struct Handshake {
    step: Step,
}

#[derive(Debug)]
enum Step {
    Hello(Ephemeral),
    Auth { agreed: Agreed, plain: BytesMut },
    Over,
}

/// A finished handshake.
#[derive(Debug)]
pub struct Secured {
    /// The proven identity.
    pub id: NodeId,
    /// Its key.
    pub public: [u8; 32],
    /// For what we send.
    pub sealer: Sealer,
    /// For what we receive.
    pub opener: Opener,
    /// Data that came in the same frame as the signature.
    pub plain: BytesMut,
}

impl Handshake {
    /// Begins with 32 random bytes for the ephemeral key; appends our first message to `out`.
    ///
    /// # Errors
    /// [`SecretError::Local`].
    pub fn start(ephemeral_secret: &[u8; 32], out: &mut BytesMut) -> Result<Self, SecretError> {
        let ephemeral = Ephemeral::from_secret(ephemeral_secret)?;
        out.extend_from_slice(&encode_hello(ephemeral.public()));
        Ok(Self { step: Step::Hello(ephemeral) })
    }

    /// Takes what it can from the front of `src`, appends what is to be sent to `out`, and gives the result
    /// when there is one; `None` means more bytes are needed.
    ///
    /// # Errors
    /// When the peer broke the rules; the machine is then over.
    pub fn advance(
        &mut self,
        key: &NodeKey,
        src: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Result<Option<Secured>, SecretError> {
        loop {
            match std::mem::replace(&mut self.step, Step::Over) {
                Step::Hello(ephemeral) => {
                    let Some((theirs, used)) = decode_hello(src)? else {
                        self.step = Step::Hello(ephemeral);
                        return Ok(None);
                    };
                    src.advance(used);
                    let mut agreed = ephemeral.agree(&theirs)?;
                    let auth = Auth::sign(key, &agreed.challenge);
                    agreed.sealer.seal_all(&auth.encode(), out)?;
                    self.step = Step::Auth { agreed, plain: BytesMut::new() };
                }
                Step::Auth { mut agreed, mut plain } => {
                    let Some((auth, used)) = Auth::decode(&plain)? else {
                        let more = agreed.opener.open_next(src, &mut plain)?;
                        self.step = Step::Auth { agreed, plain };
                        if more {
                            continue;
                        }
                        return Ok(None);
                    };
                    plain.advance(used);
                    let id = auth.verify(&agreed.challenge)?;
                    let Agreed { sealer, opener, .. } = agreed;
                    return Ok(Some(Secured { id, public: auth.public, sealer, opener, plain }));
                }
                Step::Over => return Err(SecretError::Local("the handshake is over")),
            }
        }
    }
}

#[cfg(test)]
mod tests;
