//! The RLPx handshake: who both sides are, and the keys of the session (EIP-8 form).
//!
//! ```text
//!   initiator ── auth ──▶ recipient      size u16 ‖ ECIES([signature 65, public key 64, nonce 32, version 4, …] ‖ padding)
//!   initiator ◀── ack ─── recipient      size u16 ‖ ECIES([ephemeral key 64, nonce 32, version 4, …] ‖ padding)
//!   the ECIES tag covers the size; padding is 100 to 199 zero bytes; further items and bytes are ignored
//!
//!   signature  by the ephemeral key, over static ECDH ^ nonce: proves both keys of the initiator
//!   shared = K(ephemeral ECDH ‖ K(recipient nonce ‖ initiator nonce))     aes = K(ephemeral ECDH ‖ shared)
//!   mac = K(ephemeral ECDH ‖ aes)     egress and ingress MAC states absorb mac ^ their nonce ‖ our packet, and the reverse
//! ```
//! (spec: rlpx.md, "Initial Handshake"; EIP-8)
//!
//! Limits: a packet is at most [`MAX_PACKET`] bytes, judged by its size prefix before it is read. The
//! pre-EIP-8 form is not accepted. A state machine on bytes: the caller gives randomness and does the IO.
//!
//! Not protected: whoever knows a static key can read who dials it; there is no forward secrecy for identities.

use crate::ecies::{self, CannotOpen};
use crate::frame::FrameKeys;
use switchboard_enr::keccak::{Keccak256, keccak256_of};
use switchboard_enr::key::{NodeKey, NodePublic, recover};
use switchboard_enr::rlp::{self, RlpError};
use zeroize::{Zeroize, Zeroizing};

/// Largest handshake packet, without its size prefix (go-ethereum p2p/rlpx/rlpx.go, maxHandshakeSize).
pub const MAX_PACKET: usize = 2048;
/// Least bytes a packet can have: an empty ECIES message.
pub const MIN_PACKET: usize = ecies::OVERHEAD;
/// The version both sides state and ignore (spec: rlpx.md).
const VERSION: u64 = 4;

/// What a handshake consumes of randomness. Use once.
#[derive(Clone)]
pub struct Randomness {
    /// Secret of the session's ephemeral key.
    pub ephemeral: [u8; 32],
    /// Our nonce.
    pub nonce: [u8; 32],
    /// Secret of the key that seals our packet.
    pub sealing: [u8; 32],
    /// IV of our packet.
    pub iv: [u8; 16],
    /// Decides the length of the padding.
    pub padding: u8,
}

impl Drop for Randomness {
    fn drop(&mut self) {
        self.ephemeral.zeroize();
        self.sealing.zeroize();
    }
}

/// What went wrong, and it was the other side's doing unless it says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeFault {
    /// The size prefix is out of bounds.
    #[error("handshake packet of {0} bytes: must be {MIN_PACKET} to {MAX_PACKET}")]
    Size(usize),
    /// The packet was not sealed to our key, or is not what the ECIES form demands.
    #[error("the handshake packet cannot be opened with our key")]
    Sealed,
    /// What was sealed is not the list it should be.
    #[error("in the handshake packet: {0}")]
    Content(RlpError),
    /// A public key is not on the curve.
    #[error("a public key in the handshake is not a point on the curve")]
    Point,
    /// The signature proves nothing.
    #[error("the signature in the handshake proves no key")]
    Signature,
    /// Ours: the random bytes are no key (happens once in 2^128).
    #[error("the random bytes given make no key")]
    Randomness,
}

impl From<CannotOpen> for HandshakeFault {
    fn from(_: CannotOpen) -> Self {
        Self::Sealed
    }
}

impl From<RlpError> for HandshakeFault {
    fn from(error: RlpError) -> Self {
        Self::Content(error)
    }
}

/// Bytes that follow a size prefix.
///
/// # Errors
/// [`HandshakeFault::Size`].
pub fn packet_len(prefix: [u8; 2]) -> Result<usize, HandshakeFault> {
    let len = usize::from(u16::from_be_bytes(prefix));
    if (MIN_PACKET..=MAX_PACKET).contains(&len) { Ok(len) } else { Err(HandshakeFault::Size(len)) }
}

/// The content of an auth packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// r ‖ s ‖ v by the initiator's ephemeral key.
    pub signature: [u8; 65],
    /// The initiator's static key.
    pub key: [u8; 64],
    /// The initiator's nonce.
    pub nonce: [u8; 32],
    /// Stated version; not compared.
    pub version: u64,
}

/// The content of an ack packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// The recipient's ephemeral key.
    pub ephemeral: [u8; 64],
    /// The recipient's nonce.
    pub nonce: [u8; 32],
    /// Stated version; not compared.
    pub version: u64,
}

/// Reads the opened content of an auth packet.
///
/// # Errors
/// [`RlpError`].
pub fn decode_auth(mut content: &[u8]) -> Result<Auth, RlpError> {
    let mut items = rlp::list(&mut content)?;
    Ok(Auth {
        signature: rlp::array(&mut items)?,
        key: rlp::array(&mut items)?,
        nonce: rlp::array(&mut items)?,
        version: rlp::number(&mut items)?,
    })
}

/// Reads the opened content of an ack packet.
///
/// # Errors
/// [`RlpError`].
pub fn decode_ack(mut content: &[u8]) -> Result<Ack, RlpError> {
    let mut items = rlp::list(&mut content)?;
    Ok(Ack {
        ephemeral: rlp::array(&mut items)?,
        nonce: rlp::array(&mut items)?,
        version: rlp::number(&mut items)?,
    })
}

/// Opens a packet given with its size prefix.
fn open(key: &NodeKey, packet: &[u8]) -> Result<Zeroizing<Vec<u8>>, HandshakeFault> {
    let (prefix, sealed) = packet.split_first_chunk::<2>().ok_or(HandshakeFault::Size(0))?;
    if packet_len(*prefix)? != sealed.len() {
        return Err(HandshakeFault::Size(sealed.len()));
    }
    Ok(ecies::open(key, sealed, prefix)?)
}

/// Seals a list of encoded items into a packet with its size prefix.
fn seal(to: &NodePublic, items: &[u8], randomness: &Randomness) -> Result<Vec<u8>, HandshakeFault> {
    let sealing = NodeKey::from_bytes(&randomness.sealing).ok_or(HandshakeFault::Randomness)?;
    let mut content = Vec::new();
    rlp::put_list(items, &mut content);
    let padding = 100 + usize::from(randomness.padding) % 100;
    content.resize(content.len() + padding, 0);
    let size =
        u16::try_from(content.len() + ecies::OVERHEAD).map_err(|_| HandshakeFault::Size(content.len()))?;
    let mut packet = size.to_be_bytes().to_vec();
    packet.extend(ecies::seal(to, &sealing, randomness.iv, &content, &size.to_be_bytes()));
    Ok(packet)
}

fn xor(a: &[u8; 32], b: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    let mut out = Zeroizing::new(*a);
    out.iter_mut().zip(b).for_each(|(out, b)| *out ^= b);
    out
}

/// The initiator between its auth and their ack.
pub struct Initiator<'a> {
    key: &'a NodeKey,
    ephemeral: NodeKey,
    nonce: [u8; 32],
    auth: Vec<u8>,
}

impl<'a> Initiator<'a> {
    /// Makes the auth packet for `remote`.
    ///
    /// # Errors
    /// [`HandshakeFault::Randomness`].
    pub fn start(
        key: &'a NodeKey,
        remote: &NodePublic,
        randomness: &Randomness,
    ) -> Result<Self, HandshakeFault> {
        let ephemeral = NodeKey::from_bytes(&randomness.ephemeral).ok_or(HandshakeFault::Randomness)?;
        let signed = xor(&key.agree(remote), &randomness.nonce);
        let mut items = Vec::new();
        rlp::put_string(&ephemeral.sign_recoverable(*signed), &mut items);
        rlp::put_string(&key.public().to_bytes(), &mut items);
        rlp::put_string(&randomness.nonce, &mut items);
        rlp::put_number(VERSION, &mut items);
        let auth = seal(remote, &items, randomness)?;
        Ok(Self { key, ephemeral, nonce: randomness.nonce, auth })
    }

    /// The packet to send.
    #[must_use]
    pub fn auth(&self) -> &[u8] {
        &self.auth
    }

    /// Reads their ack (with its size prefix); gives the session's keys.
    ///
    /// # Errors
    /// [`HandshakeFault`].
    pub fn finish(self, packet: &[u8]) -> Result<FrameKeys, HandshakeFault> {
        let ack = decode_ack(&open(self.key, packet)?)?;
        let theirs = NodePublic::from_bytes(&ack.ephemeral).map_err(|_| HandshakeFault::Point)?;
        let nonces = Nonces { initiator: self.nonce, recipient: ack.nonce };
        let (initiator_mac, recipient_mac, aes, mac) =
            derive(&self.ephemeral, &theirs, &nonces, &self.auth, packet);
        Ok(FrameKeys { aes, mac, egress: initiator_mac, ingress: recipient_mac })
    }
}

/// A recipient's answer.
#[derive(Debug)]
pub struct Answer {
    /// Who the initiator proved to be.
    pub remote: NodePublic,
    /// The packet to send.
    pub ack: Vec<u8>,
    /// The session's keys.
    pub keys: FrameKeys,
}

/// Reads an auth packet (with its size prefix) and answers it.
///
/// # Errors
/// [`HandshakeFault`].
pub fn respond(key: &NodeKey, packet: &[u8], randomness: &Randomness) -> Result<Answer, HandshakeFault> {
    let auth = decode_auth(&open(key, packet)?)?;
    let remote = NodePublic::from_bytes(&auth.key).map_err(|_| HandshakeFault::Point)?;
    let signed = xor(&key.agree(&remote), &auth.nonce);
    let theirs = recover(*signed, &auth.signature).ok_or(HandshakeFault::Signature)?;
    let ephemeral = NodeKey::from_bytes(&randomness.ephemeral).ok_or(HandshakeFault::Randomness)?;
    let mut items = Vec::new();
    rlp::put_string(&ephemeral.public().to_bytes(), &mut items);
    rlp::put_string(&randomness.nonce, &mut items);
    rlp::put_number(VERSION, &mut items);
    let ack = seal(&remote, &items, randomness)?;
    let nonces = Nonces { initiator: auth.nonce, recipient: randomness.nonce };
    let (initiator_mac, recipient_mac, aes, mac) = derive(&ephemeral, &theirs, &nonces, packet, &ack);
    Ok(Answer { remote, ack, keys: FrameKeys { aes, mac, egress: recipient_mac, ingress: initiator_mac } })
}

struct Nonces {
    initiator: [u8; 32],
    recipient: [u8; 32],
}

type Derived = (Keccak256, Keccak256, Zeroizing<[u8; 32]>, Zeroizing<[u8; 32]>);

/// The MAC state of what the initiator sends, of what the recipient sends, and the two secrets.
fn derive(ours: &NodeKey, theirs: &NodePublic, nonces: &Nonces, auth: &[u8], ack: &[u8]) -> Derived {
    let agreed = ours.agree(theirs);
    let both = keccak256_of(&[&nonces.recipient, &nonces.initiator]);
    let shared = Zeroizing::new(keccak256_of(&[&*agreed, &both]));
    let aes = Zeroizing::new(keccak256_of(&[&*agreed, &*shared]));
    let mac = Zeroizing::new(keccak256_of(&[&*agreed, &*aes]));
    let state = |nonce: &[u8; 32], packet: &[u8]| {
        let mut state = Keccak256::new();
        state.update(&*xor(&mac, nonce));
        state.update(packet);
        state
    };
    (state(&nonces.recipient, auth), state(&nonces.initiator, ack), aes, mac)
}

#[cfg(test)]
mod tests;
