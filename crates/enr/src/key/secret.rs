//! What is done with a secret, without a new blinding of the library's context each time.
//!
//! libsecp256k1 hides the bits of a secret from who can measure time or power by a random point that is part of every
//! multiplication. The safe functions of `secp256k1` draw that point anew after each use of a secret, which costs as
//! much as the use. A node signs each packet of discovery, so here it is drawn anew after [`BLINDED_FOR`] uses. The
//! functions themselves run in constant time either way.

use secp256k1::ecdsa::RecoverableSignature;
use secp256k1::ffi::{self, CPtr, recovery};
use secp256k1::{Message, PublicKey, SecretKey, with_raw_global_context};
use std::cell::Cell;
use std::ptr;

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
            ffi::secp256k1_nonce_function_rfc6979,
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
