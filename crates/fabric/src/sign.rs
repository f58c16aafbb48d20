//! Envelopes signed and checked.
//!
//! ```text
//!   Envelope { payload 1 ◀── signature 2      secret_envelope 3 { payload 1 ◀── signature 2 } }
//!              GossipMessage                                      Secret, of the own organisation
//! ```
//! (fabric gossip/protoext/signing.go) Both signatures are of the same identity, each over the bytes of its payload as
//! they came. So an envelope is forwarded as received, never encoded again; only the secret part may be
//! taken off, for another organisation: the outer signature does not cover it.
//!
//! Limits: those of the message the envelope came in. Not protected from: a signature holds for ever and for any
//! receiver, so old messages can be sent again; what is newer is told by a content's own timestamp.

use crate::identity::{Identity, IdentityFault, SigningIdentity};
use crate::message::{Envelope, GossipMessage, Secret, SecretEnvelope};
use crate::policy::PeerPolicy;
use prost::Message;

/// Why an envelope is not taken as its author's word. The peer that sent it is at fault, unless it only forwarded it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignFault {
    /// A payload or signature that must be there is not.
    #[error("the envelope has no {0}")]
    Absent(&'static str),
    /// The signature over the message is bad.
    #[error("the message: {0}")]
    Message(IdentityFault),
    /// The signature over the secret part is bad.
    #[error("the secret part: {0}")]
    Secret(IdentityFault),
}

/// Signs a message.
///
/// # Errors
/// When the system gives no randomness.
pub fn sign(identity: &SigningIdentity, message: &GossipMessage) -> Result<Envelope, IdentityFault> {
    let payload = bytes::Bytes::from(message.encode_to_vec());
    let signature = identity.sign(&payload)?;
    Ok(Envelope { payload, signature, secret_envelope: None })
}

/// Adds a signed secret part, in place of one that was there.
///
/// # Errors
/// When the system gives no randomness.
pub fn add_secret(
    identity: &SigningIdentity,
    envelope: &mut Envelope,
    secret: &Secret,
) -> Result<(), IdentityFault> {
    let payload = bytes::Bytes::from(secret.encode_to_vec());
    let signature = identity.sign(&payload)?;
    envelope.secret_envelope = Some(SecretEnvelope { payload, signature });
    Ok(())
}

/// Checks the signature of an envelope, and that of its secret part where it has one.
///
/// # Errors
/// [`SignFault`].
pub fn verify(identity: &Identity, envelope: &Envelope) -> Result<(), SignFault> {
    verify_with(envelope, |message, signature| identity.verify(message, signature))
}

/// As [`verify`], by the host's own policy.
///
/// # Errors
/// [`SignFault`].
pub fn verify_by(policy: &dyn PeerPolicy, identity: &Identity, envelope: &Envelope) -> Result<(), SignFault> {
    verify_with(envelope, |message, signature| policy.verify(identity, message, signature))
}

fn verify_with(
    envelope: &Envelope,
    check: impl Fn(&[u8], &[u8]) -> Result<(), IdentityFault>,
) -> Result<(), SignFault> {
    if envelope.payload.is_empty() {
        return Err(SignFault::Absent("payload"));
    }
    if envelope.signature.is_empty() {
        return Err(SignFault::Absent("signature"));
    }
    check(&envelope.payload, &envelope.signature).map_err(SignFault::Message)?;
    let Some(secret) = &envelope.secret_envelope else { return Ok(()) };
    if secret.payload.is_empty() {
        return Err(SignFault::Absent("payload in its secret part"));
    }
    if secret.signature.is_empty() {
        return Err(SignFault::Absent("signature in its secret part"));
    }
    check(&secret.payload, &secret.signature).map_err(SignFault::Secret)
}

#[cfg(test)]
mod tests;
