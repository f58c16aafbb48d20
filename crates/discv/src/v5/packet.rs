//! Packets of discv5: what stands around a message, and the masking that hides it from those who do not know the
//! receiver's id.
//!
//! ```text
//!   masking-iv 16 ‖ masked(static header 23 ‖ authdata) ‖ message ciphertext
//!   static header   "discv5" ‖ version 0001 ‖ flag 1 ‖ nonce 12 ‖ authdata-size 2
//!   mask            AES-128-CTR, key = first 16 bytes of the receiver's id, counter block = masking-iv
//!
//!   flag 0 message    src-id 32
//!   flag 1 whoareyou  id-nonce 16 ‖ enr-seq 8                                     no message
//!   flag 2 handshake  src-id 32 ‖ 40 ‖ 21 ‖ id-signature 64 ‖ ephemeral key 33 ‖ record, or nothing
//! ```
//! (spec: discv5-wire.md; go-ethereum p2p/discover/v5wire/encoding.go)
//!
//! Limits: [`MIN_PACKET`] to [`MAX_PACKET`] bytes; a record of at most 300. Nothing is copied but the header. What
//! is read here is not authenticated: the header is proven by the message's tag, and a WHOAREYOU by its nonce.

use crate::NodeId;
use aes::Aes128;
use cipher::{KeyIvInit, StreamCipher};
use switchboard_enr::record::MAX_RECORD;

type Mask = ctr::Ctr128BE<Aes128>;

/// Smallest packet: a WHOAREYOU without a message.
pub const MIN_PACKET: usize = 63;
/// Largest packet: IPv6's smallest guaranteed datagram.
pub const MAX_PACKET: usize = 1280;
/// Bytes of a random message that only provokes a WHOAREYOU (go-ethereum: `randomPacketMsgSize`).
pub const RANDOM_MESSAGE: usize = 20;
/// Bytes of masking-iv and static header.
const FIXED: usize = IV + STATIC;
const IV: usize = 16;
const STATIC: usize = 23;
/// After the static header, a message or handshake has at least this many bytes: id and tag.
const MIN_MESSAGE: usize = 48;
const PROTOCOL: [u8; 8] = *b"discv5\x00\x01";
/// Authdata of a handshake without the record.
const HANDSHAKE: usize = 32 + 2 + 64 + 33;

/// A packet's nonce: identifies it to a WHOAREYOU, and is the AES-GCM nonce.
pub type Nonce = [u8; 12];

/// What a packet says beside its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// A message under a session, or a random one.
    Message {
        /// Who sent it.
        src: NodeId,
    },
    /// "I cannot read that: prove who you are."
    WhoAreYou {
        /// To be signed.
        id_nonce: [u8; 16],
        /// The sequence number of the record we are known by; 0: unknown.
        enr_seq: u64,
    },
    /// A message and the proof a WHOAREYOU asked for.
    Handshake {
        /// Who sent it.
        src: NodeId,
        /// Signature r ‖ s of the id proof.
        signature: [u8; 64],
        /// The ephemeral key, compressed.
        ephemeral: [u8; 33],
        /// The sender's record, not checked yet; empty when the receiver has it.
        record: Vec<u8>,
    },
}

/// A packet's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The packet's nonce; of a WHOAREYOU the nonce of the packet it answers.
    pub nonce: Nonce,
    /// The rest, by kind.
    pub auth: Auth,
}

/// A packet whose header was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The header.
    pub header: Header,
    /// masking-iv ‖ header, unmasked: what the tag covers; of a WHOAREYOU the challenge data.
    pub head: Vec<u8>,
    /// The sealed message.
    pub message: &'a [u8],
}

/// Why bytes are no discv5 packet for us. The sender is at fault, or speaks another protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// Under 63 or over 1280 bytes.
    #[error("packet of {0} bytes: a discv5 packet has {MIN_PACKET} to {MAX_PACKET}")]
    Size(usize),
    /// Not discv5, or masked for another id.
    #[error("not a discv5 packet for this node")]
    Protocol,
    /// The authdata does not fit its flag or its size.
    #[error("malformed discv5 header: {0}")]
    Header(&'static str),
}

fn mask(receiver: &NodeId, iv: &[u8; IV], bytes: &mut [u8]) {
    let mut key = [0; 16];
    key.copy_from_slice(receiver.0.split_at(16).0);
    Mask::new(&key.into(), &(*iv).into()).apply_keystream(bytes);
}

/// Whether a datagram is a discv5 packet masked for this node: 24 bytes are looked at, nothing is kept.
///
/// A discv4 packet passes with probability 2⁻⁶⁴: a shared socket asks this first and gives what is left to discv4.
#[must_use]
pub fn is_v5(local: &NodeId, datagram: &[u8]) -> bool {
    if !(MIN_PACKET..=MAX_PACKET).contains(&datagram.len()) {
        return false;
    }
    let Some((iv, rest)) = datagram.split_first_chunk::<IV>() else { return false };
    let Some(mut start) = rest.first_chunk::<8>().copied() else { return false };
    mask(local, iv, &mut start);
    start == PROTOCOL
}

/// Reads a packet masked for `local`.
///
/// # Errors
/// [`PacketError`].
pub fn decode<'a>(local: &NodeId, datagram: &'a [u8]) -> Result<Packet<'a>, PacketError> {
    const SHORT: PacketError = PacketError::Header("shorter than its authdata");
    if !(MIN_PACKET..=MAX_PACKET).contains(&datagram.len()) {
        return Err(PacketError::Size(datagram.len()));
    }
    let (iv, rest) = datagram.split_first_chunk::<IV>().ok_or(SHORT)?;
    let mut fixed = *rest.first_chunk::<STATIC>().ok_or(SHORT)?;
    let mut key = [0; 16];
    key.copy_from_slice(local.0.split_at(16).0);
    let mut stream = Mask::new(&key.into(), &(*iv).into());
    stream.apply_keystream(&mut fixed);
    let Some((&flag, tail)) = fixed.strip_prefix(&PROTOCOL).and_then(<[u8]>::split_first) else {
        return Err(PacketError::Protocol);
    };
    let (nonce, size) = tail.split_first_chunk::<12>().ok_or(SHORT)?;
    let size = usize::from(u16::from_be_bytes(size.try_into().map_err(|_| SHORT)?));
    if flag != 1 && datagram.len() < FIXED + MIN_MESSAGE {
        return Err(PacketError::Header("too short for a message"));
    }
    let masked = rest.get(STATIC..STATIC + size).ok_or(SHORT)?;
    let message = rest.get(STATIC + size..).ok_or(SHORT)?;
    let mut head = Vec::with_capacity(FIXED + size);
    head.extend_from_slice(iv);
    head.extend_from_slice(&fixed);
    head.extend_from_slice(masked);
    let authdata = head.get_mut(FIXED..).ok_or(SHORT)?;
    stream.apply_keystream(authdata);
    let auth = Auth::decode(flag, authdata)?;
    if flag == 1 && !message.is_empty() {
        return Err(PacketError::Header("a message behind a WHOAREYOU"));
    }
    Ok(Packet { header: Header { nonce: *nonce, auth }, head, message })
}

impl Auth {
    fn decode(flag: u8, bytes: &[u8]) -> Result<Self, PacketError> {
        const SIZE: PacketError = PacketError::Header("authdata of the wrong size");
        match flag {
            0 => Ok(Self::Message { src: NodeId(bytes.try_into().map_err(|_| SIZE)?) }),
            1 => {
                let (id_nonce, seq) = bytes.split_first_chunk::<16>().ok_or(SIZE)?;
                let enr_seq = u64::from_be_bytes(seq.try_into().map_err(|_| SIZE)?);
                Ok(Self::WhoAreYou { id_nonce: *id_nonce, enr_seq })
            }
            2 => {
                let (src, rest) = bytes.split_first_chunk::<32>().ok_or(SIZE)?;
                let (sizes, rest) = rest.split_first_chunk::<2>().ok_or(SIZE)?;
                if *sizes != [64, 33] {
                    return Err(PacketError::Header("signature or key of the wrong size"));
                }
                let (signature, rest) = rest.split_first_chunk::<64>().ok_or(SIZE)?;
                let (ephemeral, record) = rest.split_first_chunk::<33>().ok_or(SIZE)?;
                if record.len() > MAX_RECORD {
                    return Err(PacketError::Header("record over 300 bytes"));
                }
                Ok(Self::Handshake {
                    src: NodeId(*src),
                    signature: *signature,
                    ephemeral: *ephemeral,
                    record: record.to_vec(),
                })
            }
            _ => Err(PacketError::Header("unknown flag")),
        }
    }

    fn flag(&self) -> u8 {
        match self {
            Self::Message { .. } => 0,
            Self::WhoAreYou { .. } => 1,
            Self::Handshake { .. } => 2,
        }
    }

    /// Bytes of the authdata.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Message { .. } => 32,
            Self::WhoAreYou { .. } => 24,
            Self::Handshake { record, .. } => HANDSHAKE + record.len(),
        }
    }

    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Message { src } => out.extend_from_slice(&src.0),
            Self::WhoAreYou { id_nonce, enr_seq } => {
                out.extend_from_slice(id_nonce);
                out.extend_from_slice(&enr_seq.to_be_bytes());
            }
            Self::Handshake { src, signature, ephemeral, record } => {
                out.extend_from_slice(&src.0);
                out.extend_from_slice(&[64, 33]);
                out.extend_from_slice(signature);
                out.extend_from_slice(ephemeral);
                out.extend_from_slice(record);
            }
        }
    }
}

/// masking-iv ‖ header, unmasked: what the message's tag covers, and a WHOAREYOU's challenge data.
#[must_use]
pub fn head(iv: &[u8; 16], header: &Header) -> Vec<u8> {
    let size = header.auth.size();
    let mut out = Vec::with_capacity(FIXED + size);
    out.extend_from_slice(iv);
    out.extend_from_slice(&PROTOCOL);
    out.push(header.auth.flag());
    out.extend_from_slice(&header.nonce);
    // A record is at most 300 bytes, so this never saturates.
    out.extend_from_slice(&u16::try_from(size).unwrap_or(u16::MAX).to_be_bytes());
    header.auth.put(&mut out);
    out
}

/// The datagram for `receiver` from an unmasked head and a sealed message.
#[must_use]
pub fn encode(receiver: &NodeId, head: &[u8], message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(head.len() + message.len());
    out.extend_from_slice(head);
    if let Some((iv, masked)) = out.split_first_chunk_mut::<IV>() {
        mask(receiver, iv, masked);
    }
    out.extend_from_slice(message);
    out
}
