//! The first message in both directions: a signed statement of who speaks on this TLS connection.
//!
//! ```text
//!   Envelope { payload: GossipMessage { tag EMPTY, conn { pki_id, identity, tls_cert_hash, probe } }, signature }
//!   order of checks: a conn · a PKI-ID · identity valid, and the PKI-ID its own · TLS certificate's hash · signature
//! ```
//! (fabric gossip/comm/comm_impl.go) The hash binds the statement to the certificate, not to the TLS session.

use crate::identity::{Identity, IdentityFault, SigningIdentity};
use crate::message::{ConnEstablish, Content, GossipMessage, Tag, decode_envelope, decode_message};
use crate::msp::Role;
use crate::policy::PeerPolicy;
use crate::sign::{self, SignFault};
use bytes::Bytes;
use prost::Message;
use sha2::{Digest, Sha256};
use std::time::SystemTime;

/// Largest first message: an identity and what goes with it.
pub const MAX_FIRST: usize = 128 * 1024;

/// Hash of a TLS certificate, as it is stated.
#[must_use]
pub fn certificate_hash(der: &[u8]) -> [u8; 32] {
    Sha256::digest(der).into()
}

/// Why a first message is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnFault {
    /// Not an envelope with a conn.
    #[error("the first message is not a ConnEstablish: {0}")]
    Content(&'static str),
    /// The identity is bad.
    #[error(transparent)]
    Identity(#[from] IdentityFault),
    /// The signature is bad.
    #[error(transparent)]
    Signature(#[from] SignFault),
    /// The PKI-ID is not the identity's.
    #[error("the stated PKI-ID is not that of the identity")]
    PkiId,
    /// The hash is not that of the certificate seen in TLS.
    #[error("the stated TLS certificate is not the one used on this connection")]
    TlsHash,
}

/// Makes our first message; `tls` is the hash of the certificate we use on this connection, `None` without TLS.
///
/// # Errors
/// When signing fails.
pub fn build(identity: &SigningIdentity, tls: Option<[u8; 32]>, probe: bool) -> Result<Bytes, IdentityFault> {
    let own = identity.identity();
    let conn = ConnEstablish {
        pki_id: Bytes::copy_from_slice(&own.pki_id()),
        identity: own.serialized().clone(),
        tls_cert_hash: tls.map(|hash| Bytes::copy_from_slice(&hash)).unwrap_or_default(),
        probe,
    };
    let envelope = sign::sign(identity, &GossipMessage::new(Tag::Empty, &[], 0, Content::Conn(conn)))?;
    Ok(envelope.encode_to_vec().into())
}

/// Who the other side proved to be.
#[derive(Debug, Clone)]
pub struct Proven {
    /// Its identity.
    pub identity: Identity,
    /// Its role in its organisation.
    pub role: Role,
    /// It only wants to know who we are.
    pub probe: bool,
}

/// Checks their first message; `tls` is the hash of the certificate they showed in TLS, `None` without TLS: then what they
/// state of it is not looked at, as in Fabric.
///
/// # Errors
/// [`ConnFault`].
pub fn verify(
    bytes: Bytes,
    tls: Option<[u8; 32]>,
    policy: &dyn PeerPolicy,
    now: SystemTime,
) -> Result<Proven, ConnFault> {
    if bytes.len() > MAX_FIRST {
        return Err(ConnFault::Content("over 128 KiB"));
    }
    let envelope = decode_envelope(bytes).map_err(|_| ConnFault::Content("not an envelope"))?;
    let message =
        decode_message(envelope.payload.clone()).map_err(|_| ConnFault::Content("not a gossip message"))?;
    let Some(Content::Conn(conn)) = message.content else {
        return Err(ConnFault::Content("another content"));
    };
    if conn.pki_id.is_empty() {
        return Err(ConnFault::Content("no PKI-ID"));
    }
    let identity = Identity::decode(conn.identity)?;
    let role = policy.validate(&identity, now)?;
    if identity.pki_id()[..] != conn.pki_id[..] {
        return Err(ConnFault::PkiId);
    }
    if tls.is_some_and(|tls| conn.tls_cert_hash[..] != tls[..]) {
        return Err(ConnFault::TlsHash);
    }
    sign::verify_by(policy, &identity, &envelope)?;
    Ok(Proven { identity, role, probe: conn.probe })
}

#[cfg(test)]
mod tests;
