//! The cryptography of discv5's handshake and messages.
//!
//! ```text
//!   keys          HKDF-SHA256(ikm = compressed ECDH point, salt = challenge data,
//!                   info = "discovery v5 key agreement" ‖ initiator ‖ recipient) ─▶ initiator key 16 ‖ recipient key 16
//!   id signature  over SHA256("discovery v5 identity proof" ‖ challenge data ‖ ephemeral key ‖ receiver), r ‖ s
//!   message       AES-128-GCM, nonce from the header, covering masking-iv ‖ header
//! ```
//! (spec: discv5-theory.md, discv5-wire.md)

use super::packet::Nonce;
use crate::NodeId;
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, UnboundKey};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use switchboard_enr::{NodeKey, NodePublic};
use zeroize::Zeroizing;

const AGREEMENT: &[u8] = b"discovery v5 key agreement";
const PROOF: &[u8] = b"discovery v5 identity proof";
/// Bytes a sealed message is longer than the plain one.
pub const TAG: usize = 16;

/// A symmetric key; wiped when dropped.
pub type Key = Zeroizing<[u8; 16]>;

/// What both sides derive from a handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionKeys {
    /// Seals what the side that sent the handshake packet writes.
    pub initiator: Key,
    /// Seals what the side that sent the WHOAREYOU writes.
    pub recipient: Key,
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut mac = match Hmac::<Sha256>::new_from_slice(key) {
        Ok(mac) => mac,
        Err(_) => unreachable!("HMAC takes keys of any length"),
    };
    parts.iter().for_each(|part| mac.update(part));
    Zeroizing::new(mac.finalize().into_bytes().into())
}

/// Derives the keys of a session.
#[must_use]
pub fn derive(
    secret: &[u8; 33],
    initiator: &NodeId,
    recipient: &NodeId,
    challenge_data: &[u8],
) -> SessionKeys {
    let extracted = hmac(challenge_data, &[secret]);
    // One block of HKDF's expansion is 32 bytes: both keys.
    let expanded = hmac(&*extracted, &[AGREEMENT, &initiator.0, &recipient.0, &[1]]);
    let mut keys = SessionKeys { initiator: Key::default(), recipient: Key::default() };
    let (first, second) = expanded.split_at(16);
    keys.initiator.copy_from_slice(first);
    keys.recipient.copy_from_slice(second);
    keys
}

fn proof(challenge_data: &[u8], ephemeral: &[u8; 33], receiver: &NodeId) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [PROOF, challenge_data, ephemeral, &receiver.0] {
        hash.update(part);
    }
    hash.finalize().into()
}

/// Signs a challenge: proves that the ephemeral key is this node's.
#[must_use]
pub fn sign(key: &NodeKey, challenge_data: &[u8], ephemeral: &[u8; 33], receiver: &NodeId) -> [u8; 64] {
    let [rs @ .., _] = key.sign_recoverable(proof(challenge_data, ephemeral, receiver));
    rs
}

/// Checks an id signature.
#[must_use]
pub fn verify(
    key: &NodePublic,
    signature: &[u8; 64],
    challenge_data: &[u8],
    ephemeral: &[u8; 33],
    receiver: &NodeId,
) -> bool {
    key.verifies(proof(challenge_data, ephemeral, receiver), signature)
}

fn cipher(key: &[u8; 16]) -> LessSafeKey {
    match UnboundKey::new(&AES_128_GCM, key) {
        Ok(key) => LessSafeKey::new(key),
        Err(_) => unreachable!("the key has AES-128's length"),
    }
}

/// Seals a message in place of `message`: ciphertext ‖ tag.
#[must_use]
pub fn seal(key: &[u8; 16], nonce: &Nonce, head: &[u8], mut message: Vec<u8>) -> Vec<u8> {
    let nonce = aws_lc_rs::aead::Nonce::assume_unique_for_key(*nonce);
    match cipher(key).seal_in_place_append_tag(nonce, Aad::from(head), &mut message) {
        Ok(()) => message,
        Err(_) => unreachable!("a packet is far below AES-GCM's limit"),
    }
}

/// Opens a sealed message; `None` when key, nonce, head or bytes do not belong together.
#[must_use]
pub fn unseal(key: &[u8; 16], nonce: &Nonce, head: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let nonce = aws_lc_rs::aead::Nonce::assume_unique_for_key(*nonce);
    let mut bytes = sealed.to_vec();
    let length = cipher(key).open_in_place(nonce, Aad::from(head), &mut bytes).ok()?.len();
    bytes.truncate(length);
    Some(bytes)
}
