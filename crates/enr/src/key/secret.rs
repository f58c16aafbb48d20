//! What is done with a secret, without a new blinding of the library's context each time.
//!
//! libsecp256k1 hides the bits of a secret from who can measure time or power by a random point that is part of every
//! multiplication. The safe functions of `secp256k1` draw that point anew after each use of a secret, which costs as
//! much as the use. A node signs each packet of discovery, so here it is drawn anew after [`BLINDED_FOR`] uses. The
//! functions themselves run in constant time either way.

use hmac::{Hmac, KeyInit, Mac};
use secp256k1::ecdsa::RecoverableSignature;
use secp256k1::ffi::{self, CPtr, recovery};
use secp256k1::{Message, PublicKey, SecretKey, with_raw_global_context};
use sha2::Sha256;
use std::cell::Cell;
use std::ffi::{c_int, c_uchar, c_uint, c_void};
use std::ptr;
use zeroize::Zeroizing;

/// Uses of one blinding.
const BLINDED_FOR: u32 = 64;

thread_local! {
    /// Uses of secrets by this thread; each thread has a context of its own.
    static USES: Cell<u32> = const { Cell::new(0) };
}

/// Whether the safe function has its turn, which draws a new blinding.
fn blind_anew() -> bool {
    let uses = USES.get();
    USES.set(uses.wrapping_add(1));
    uses.is_multiple_of(BLINDED_FOR)
}

/// A signature r ‖ s ‖ v by RFC 6979.
pub(super) fn sign(secret: &SecretKey, digest: [u8; 32]) -> [u8; 65] {
    let message = Message::from_digest(digest);
    let blinded = if blind_anew() { None } else { sign_blinded(secret, &message) };
    let signature = blinded.unwrap_or_else(|| RecoverableSignature::sign_ecdsa_recoverable(message, secret));
    let (v, rs) = signature.serialize_compact();
    let mut out = [v.to_u8(); 65];
    out[..64].copy_from_slice(&rs);
    out
}

/// The public key of a secret.
pub(super) fn public(secret: &SecretKey) -> PublicKey {
    let blinded = if blind_anew() { None } else { public_blinded(secret) };
    blinded.unwrap_or_else(|| PublicKey::from_secret_key(secret))
}

/// With the blinding that the context has; `None` cannot be with a secret that is one.
#[allow(unsafe_code)] // the library's own call of this function, without the blinding that follows it
fn sign_blinded(secret: &SecretKey, message: &Message) -> Option<RecoverableSignature> {
    let mut signature = recovery::RecoverableSignature::new();
    // SAFETY: the context can sign; all pointers are to live values of the types that the function takes, and it keeps none.
    let sign = |context: ptr::NonNull<ffi::Context>| unsafe {
        recovery::secp256k1_ecdsa_sign_recoverable(
            context.as_ptr(),
            &mut signature,
            message.as_c_ptr(),
            secret.as_c_ptr(),
            Some(nonce),
            ptr::null(),
        )
    };
    let made = with_raw_global_context(sign, None);
    (made == 1).then(|| signature.into())
}

/// The same for a public key.
#[allow(unsafe_code)] // as above
fn public_blinded(secret: &SecretKey) -> Option<PublicKey> {
    // SAFETY: as above; a key of zeros is only written to.
    let make = |context: ptr::NonNull<ffi::Context>| unsafe {
        let mut public = ffi::PublicKey::new();
        let made = ffi::secp256k1_ec_pubkey_create(context.as_ptr(), &mut public, secret.as_c_ptr());
        (made == 1).then(|| public.into())
    };
    with_raw_global_context(make, None)
}

type Secret = Zeroizing<[u8; 32]>;

fn hmac(key: &Secret, parts: &[&[u8]]) -> Secret {
    // A key shorter than a block is filled up with zeros (spec: RFC 2104).
    let mut block = Zeroizing::new([0; 64]);
    block.iter_mut().zip(key.iter()).for_each(|(out, byte)| *out = *byte);
    let mut mac = Hmac::<Sha256>::new((&*block).into());
    parts.iter().for_each(|part| mac.update(part));
    Zeroizing::new(mac.finalize().into_bytes().into())
}

/// The number a signature is made with (spec: RFC 6979, 3.2): the one that the library makes, by code that uses the processor's
/// instructions for SHA-256, which is 3 of the 20 us that a signature takes.
fn rfc6979(secret: &Secret, digest: &[u8; 32], attempt: u32) -> Secret {
    let (mut k, mut v) = (Zeroizing::new([0; 32]), Zeroizing::new([1; 32]));
    for step in [0, 1] {
        k = hmac(&k, &[&*v, &[step], &**secret, digest]);
        v = hmac(&k, &[&*v]);
    }
    v = hmac(&k, &[&*v]);
    for _ in 0..attempt {
        k = hmac(&k, &[&*v, &[0]]);
        v = hmac(&k, &[&*v]);
        v = hmac(&k, &[&*v]);
    }
    v
}

/// The same as the library asks for it.
#[allow(unsafe_code)] // called by the library only, with pointers to 32 bytes each
unsafe extern "C" fn nonce(
    nonce: *mut c_uchar,
    digest: *const c_uchar,
    secret: *const c_uchar,
    _: *const c_uchar,
    _: *mut c_void,
    attempt: c_uint,
) -> c_int {
    // SAFETY: the library's contract (secp256k1.h, secp256k1_nonce_function): three values of 32 bytes, not kept.
    let (digest, secret) =
        unsafe { (*digest.cast::<[u8; 32]>(), Zeroizing::new(*secret.cast::<[u8; 32]>())) };
    let made = rfc6979(&secret, &digest, attempt);
    // SAFETY: as above.
    unsafe { *nonce.cast::<[u8; 32]>() = *made };
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The library's own, on the same input.
    #[allow(unsafe_code)]
    fn theirs(secret: &[u8; 32], digest: &[u8; 32], attempt: u32) -> [u8; 32] {
        let mut out = [0; 32];
        // SAFETY: as the library calls it.
        unsafe {
            let make = ffi::secp256k1_nonce_function_rfc6979.unwrap();
            let (digest, secret) = (digest.as_ptr(), secret.as_ptr());
            assert_eq!(make(out.as_mut_ptr(), digest, secret, ptr::null(), ptr::null_mut(), attempt), 1);
        }
        out
    }

    #[test]
    fn nonces_are_those_of_the_library() {
        for n in 0..=255_u8 {
            let (secret, digest) = ([n.wrapping_add(1); 32], [n / 2; 32]);
            for attempt in 0..3 {
                let ours = rfc6979(&Zeroizing::new(secret), &digest, attempt);
                assert_eq!(*ours, theirs(&secret, &digest, attempt), "{n} {attempt}");
            }
        }
    }
}
