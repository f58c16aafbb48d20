//! What the host supplies: keys and certificates, organisations, channel policy. Small traits, so that simulations memoise.
//!
//! | trait | Go's counterpart |
//! |---|---|
//! | [`CryptoService`] | `api.MessageCryptoService` |
//! | [`SecurityAdvisor`] | `api.SecurityAdvisor` |
//! | [`ChannelPolicy`] | `MessageCryptoService.VerifyByChannel` |
//! | [`JoinConfig`] | `api.JoinChannelMessage`: handed over with the join and each change |
//!
//! All calls are synchronous and must be quick (a signature's check, a map's look-up).

use crate::types::{Channel, Endpoint, Org, PkiId};
use bytes::Bytes;
use std::sync::Arc;

/// Why the host refuses: text for logs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

/// Signs, and checks what others signed.
pub trait CryptoService: Send + Sync {
    /// Signs with this node's identity.
    ///
    /// # Errors
    /// When the system gives no randomness or the key is gone.
    fn sign(&self, payload: &[u8]) -> Result<Bytes, Refusal>;

    /// Checks a signature over `payload` by a serialized identity that was validated before.
    ///
    /// # Errors
    /// When the signature is not of this identity.
    fn verify(&self, who: PkiId, identity: &Bytes, payload: &[u8], signature: &[u8]) -> Result<(), Refusal>;

    /// Validates a serialized identity: chain, revocation, organisational units, time.
    ///
    /// # Errors
    /// When it is not a valid peer of a trusted organisation at `wall` (nanoseconds since 1970).
    fn validate_identity(&self, identity: &Bytes, wall: u64) -> Result<(), Refusal>;

    /// The PKI-ID of a serialized identity; `None` when it cannot be read.
    fn pki_id_of(&self, identity: &Bytes) -> Option<PkiId>;

    /// When a serialized identity expires, in nanoseconds since 1970; `None` when it never does.
    fn expires(&self, identity: &Bytes) -> Option<u64>;

    /// Checks a block (its `common.Block` bytes) as the channel's block policy demands.
    ///
    /// # Errors
    /// When number, hashes or signatures do not fit.
    fn verify_block(&self, channel: &Channel, number: u64, block: &Bytes) -> Result<(), Refusal>;
}

/// Tells the organisation of an identity.
pub trait SecurityAdvisor: Send + Sync {
    /// The organisation of a serialized identity.
    fn org_by_peer_identity(&self, identity: &Bytes) -> Option<Org>;
}

/// A channel's configuration, as far as gossip needs it (`api.JoinChannelMessage`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct JoinConfig {
    /// Grows with each change; one that is not newer is ignored.
    pub sequence: u64,
    /// The organisations with their anchor peers.
    pub orgs: std::collections::BTreeMap<Org, Vec<Endpoint>>,
}

impl JoinConfig {
    /// A configuration with this number and these organisations.
    #[must_use]
    pub fn new(sequence: u64, orgs: std::collections::BTreeMap<Org, Vec<Endpoint>>) -> Self {
        Self { sequence, orgs }
    }
}

/// What channels demand.
pub trait ChannelPolicy: Send + Sync {
    /// Whether the identity satisfies the channel's readers policy.
    fn is_reader(&self, channel: &Channel, who: PkiId, identity: &Bytes) -> bool;
}

/// Everything of the host; cheap to clone.
#[derive(Clone)]
pub struct Host {
    /// Keys and certificates.
    pub crypto: Arc<dyn CryptoService>,
    /// Organisations.
    pub advisor: Arc<dyn SecurityAdvisor>,
    /// Channels.
    pub policy: Arc<dyn ChannelPolicy>,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Host")
    }
}
