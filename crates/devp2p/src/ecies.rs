//! ECIES as RLPx uses it: one message sealed to a public key.
//!
//! ```text
//!   04 ‖ X ‖ Y    IV    ciphertext    tag          overhead 113 bytes
//!   65            16    n             32
//!   S = ECDH(ephemeral, recipient).X       K = KDF(S, 32)
//!   AES-128-CTR key = K[..16]              MAC key = SHA-256(K[16..])
//!   tag = HMAC-SHA-256(MAC key, IV ‖ ciphertext ‖ shared data)
//! ```
//! (spec: rlpx.md, "ECIES Encryption")
//!
//! Limits: the caller bounds the message. A point that is not on the curve, a message that is too
//! short and a wrong tag give one and the same error, so that nobody learns which it was; a bad point costs
//! the same work as a wrong tag.
//! The ephemeral key is all that hides the message: nothing proves who sealed it.

use aes::Aes128;
use cipher::{KeyIvInit, StreamCipher};
use ctr::Ctr64BE;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use switchboard_enr::key::{NodeKey, NodePublic};
use zeroize::Zeroizing;

/// Bytes a sealed message is longer than its content.
pub const OVERHEAD: usize = 65 + 16 + 32;

/// The message cannot be opened: wrong key, wrong bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message cannot be opened with this key")]
pub struct CannotOpen;

/// Concatenation KDF (spec: NIST SP 800-56A 5.8.1) over SHA-256.
fn kdf(secret: &[u8], out: &mut [u8]) {
    for (counter, chunk) in (1u32..).zip(out.chunks_mut(32)) {
        let block = Sha256::new().chain_update(counter.to_be_bytes()).chain_update(secret).finalize();
        chunk.iter_mut().zip(block).for_each(|(out, byte)| *out = byte);
    }
}

struct Keys {
    cipher: Zeroizing<[u8; 16]>,
    mac: Zeroizing<[u8; 32]>,
}

fn keys(ours: &NodeKey, theirs: &NodePublic) -> Keys {
    let mut material = Zeroizing::new([0; 32]);
    kdf(&*ours.agree(theirs), &mut *material);
    let (mut cipher, mut mac) = (Zeroizing::new([0; 16]), Zeroizing::new([0; 32]));
    let (first, second) = material.split_at(16);
    cipher.copy_from_slice(first);
    mac.copy_from_slice(&Sha256::digest(second));
    Keys { cipher, mac }
}

fn tag(keys: &Keys, sealed: &[u8], shared: &[u8]) -> [u8; 32] {
    // An HMAC key may have any length, so this cannot fail; an empty tag would match nothing.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&*keys.mac) else { return [0; 32] };
    mac.update(sealed);
    mac.update(shared);
    mac.finalize().into_bytes().into()
}

/// Seals `content` to a public key, with an ephemeral key and IV used only once; `shared` is bound in, not sent.
#[must_use]
pub fn seal(to: &NodePublic, ephemeral: &NodeKey, iv: [u8; 16], content: &[u8], shared: &[u8]) -> Vec<u8> {
    let keys = keys(ephemeral, to);
    let mut out = Vec::with_capacity(content.len() + OVERHEAD);
    out.push(4);
    out.extend_from_slice(&ephemeral.public().to_bytes());
    out.extend_from_slice(&iv);
    let mut body = content.to_vec();
    Ctr64BE::<Aes128>::new(&(*keys.cipher).into(), &iv.into()).apply_keystream(&mut body);
    out.append(&mut body);
    let tag = tag(&keys, out.get(65..).unwrap_or_default(), shared);
    out.extend_from_slice(&tag);
    out
}

/// Opens a message sealed to our key.
///
/// # Errors
/// [`CannotOpen`], whatever is wrong.
pub fn open(key: &NodeKey, message: &[u8], shared: &[u8]) -> Result<Zeroizing<Vec<u8>>, CannotOpen> {
    let (point, rest) = message.split_first_chunk::<65>().ok_or(CannotOpen)?;
    let (sealed, their_tag) = rest.split_last_chunk::<32>().ok_or(CannotOpen)?;
    let (iv, body) = sealed.split_first_chunk::<16>().ok_or(CannotOpen)?;
    // A bad point costs what a wrong tag costs: our own key stands in for it, and the tag is computed all the same.
    let [form, xy @ ..] = point;
    let sender = NodePublic::from_bytes(xy).ok().filter(|_| *form == 4);
    let keys = keys(key, &sender.unwrap_or(key.public()));
    let fits = bool::from(tag(&keys, sealed, shared).ct_eq(their_tag));
    if !fits || sender.is_none() {
        return Err(CannotOpen);
    }
    let mut content = Zeroizing::new(body.to_vec());
    Ctr64BE::<Aes128>::new(&(*keys.cipher).into(), &(*iv).into()).apply_keystream(&mut content);
    Ok(content)
}

#[cfg(test)]
mod tests;
