//! Identities: a certificate of an organisation, its PKI-ID, and what it signs.
//!
//! ```text
//!   serialized identity   protobuf { mspid 1, id_bytes 2 }       id_bytes: the certificate in PEM
//!   PKI-ID                SHA-256(mspid ‖ id_bytes), 32 bytes     (another line end in the PEM is another PKI-ID)
//!   slot key              SHA-256(tbsCertificate)                 (the same however the certificate is wrapped)
//!   signature             ECDSA over SHA-256, DER, s in the lower half; or Ed25519 over the message
//! ```
//! (fabric msp/identities.go, internal/peer/gossip/mcs.go)
//!
//! Limits: a serialized identity is at most [`MAX_IDENTITY`] bytes. P-256, P-384 and Ed25519 keys are known; we sign with
//! P-256 and Ed25519. A certificate must come in its one encoding ([`encoding`]). Not judged here: who issued it
//! ([`crate::msp`]).

pub(crate) mod ecdsa;
pub mod encoding;

pub use encoding::{pem_certificate, slot_key};

use crate::message::SerializedIdentity;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA256_ASN1, ED25519, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair, UnparsedPublicKey,
};
use bytes::Bytes;
use ecdsa::{Curve, EcdsaSignature};
use prost::Message;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_NIST_EC_P521, OID_SIG_ED25519,
};
use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo, X509Certificate};

/// Largest serialized identity.
pub const MAX_IDENTITY: usize = 64 * 1024;
/// Most organisational units read from a certificate.
pub const MAX_UNITS: usize = 64;

/// Why an identity, or what it signed, is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityFault {
    /// Not a serialized identity with one certificate.
    #[error("malformed identity: {0}")]
    Malformed(&'static str),
    /// A certificate in another encoding than the one that counts.
    #[error("a certificate has one encoding as an identity: {0}")]
    Encoding(&'static str),
    /// Its key is of a kind not known here.
    #[error("the certificate's key is neither P-256 nor P-384 nor Ed25519")]
    Key,
    /// No trusted organisation has this MSP id.
    #[error("organisation {0:?} is not trusted here: add it with --trust {0}=DIR")]
    UnknownOrganisation(String),
    /// The certificate does not lead to the organisation's CA.
    // Log lines are cut: what to do stands before the names, which are the peer's.
    #[error(
        "not of its organisation's CA: --trust {mspid}=DIR adds another ({error}; issued by {issuer} for {subject})"
    )]
    Chain {
        /// The organisation.
        mspid: String,
        /// Whose certificate.
        subject: String,
        /// Who issued it, by its own word.
        issuer: String,
        /// What the check of the chain said.
        error: String,
    },
    /// The certificate is that of a CA.
    #[error("the certificate is that of a CA: a CA is no member")]
    Authority,
    /// The CA issues certificates for other CAs only.
    #[error(
        "the certificate was issued by {0}, which has CAs below it: only those issue certificates of members"
    )]
    InnerAuthority(String),
    /// A revocation list of its CA names it.
    #[error("revoked by its CA: enroll again for a new certificate (that of {0})")]
    Revoked(String),
    /// The certificate says nothing, or too much, of the member's role.
    #[error("wrong organisational units: {rule}: the certificate has {units:?}")]
    Units {
        /// What it says.
        units: Vec<String>,
        /// What it must say.
        rule: String,
    },
    /// Too late.
    #[error(
        "the certificate of {subject} expired at {not_after_unix} (seconds since 1970): it has to be renewed"
    )]
    Expired {
        /// Whose certificate.
        subject: String,
        /// Its last second.
        not_after_unix: u64,
    },
    /// The signature does not fit.
    #[error("wrong signature")]
    Signature,
    /// The signature fits, but its s is in the upper half.
    #[error("signature with a high s")]
    HighS,
    /// The host's own policy refuses it.
    #[error("refused by policy: {0}")]
    Policy(String),
}

/// What a member signs with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyKind {
    Ecdsa(Curve),
    Ed25519,
}

impl KeyKind {
    fn of(key: &SubjectPublicKeyInfo<'_>) -> Option<Self> {
        if key.algorithm.algorithm == OID_SIG_ED25519 {
            return Some(Self::Ed25519);
        }
        curve_of(key).filter(|curve| *curve != Curve::P521).map(Self::Ecdsa)
    }
}

/// The curve an EC key says it is on.
pub(crate) fn curve_of(key: &SubjectPublicKeyInfo<'_>) -> Option<Curve> {
    if key.algorithm.algorithm != OID_KEY_TYPE_EC_PUBLIC_KEY {
        return None;
    }
    match key.algorithm.parameters.as_ref()?.as_oid().ok()? {
        curve if curve == OID_EC_P256 => Some(Curve::P256),
        curve if curve == OID_NIST_EC_P384 => Some(Curve::P384),
        curve if curve == OID_NIST_EC_P521 => Some(Curve::P521),
        _ => None,
    }
}

/// A certificate's place in an organisation, as it was received.
#[derive(Debug, Clone)]
pub struct Identity {
    mspid: String,
    serialized: Bytes,
    pki_id: [u8; 32],
    slot: [u8; 32],
    certificate: CertificateDer<'static>,
    public_key: Vec<u8>,
    kind: KeyKind,
    subject: String,
    issuer: String,
    units: Vec<String>,
    authority: bool,
    not_before: SystemTime,
    not_after: SystemTime,
}

/// PKI-ID of an identity.
#[must_use]
pub fn pki_id(mspid: &str, id_bytes: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(mspid).chain_update(id_bytes).finalize().into()
}

/// What a StateInfo says instead of a channel's name (fabric gossip/gossip/channel/channel.go, GenerateMAC).
#[must_use]
pub fn channel_mac(pki_id: &[u8], channel: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(pki_id).chain_update(channel).finalize().into()
}

fn seconds(time: i64) -> SystemTime {
    match u64::try_from(time) {
        Ok(after) => UNIX_EPOCH + Duration::from_secs(after),
        Err(_) => UNIX_EPOCH,
    }
}

impl Identity {
    /// Reads a serialized identity.
    ///
    /// # Errors
    /// [`IdentityFault`]; nothing is said of trust or time here.
    pub fn decode(serialized: Bytes) -> Result<Self, IdentityFault> {
        if serialized.len() > MAX_IDENTITY {
            return Err(IdentityFault::Malformed("over 64 KiB"));
        }
        let SerializedIdentity { mspid, id_bytes } = SerializedIdentity::decode(serialized.clone())
            .map_err(|_| IdentityFault::Malformed("not a serialized identity"))?;
        if mspid.is_empty() {
            return Err(IdentityFault::Malformed("no MSP id"));
        }
        let certificate = CertificateDer::from_pem_slice(&id_bytes)
            .map_err(|_| IdentityFault::Malformed("no PEM certificate"))?
            .into_owned();
        if pem_certificate(&certificate).as_bytes() != &id_bytes[..] {
            return Err(IdentityFault::Encoding("PEM as Go writes it, and nothing else"));
        }
        let (rest, parsed) = X509Certificate::from_der(&certificate)
            .map_err(|_| IdentityFault::Malformed("not an X.509 certificate"))?;
        if !rest.is_empty() {
            return Err(IdentityFault::Encoding("DER without bytes after it"));
        }
        let slot = slot_key(&certificate).ok_or(IdentityFault::Encoding("DER in its shortest form"))?;
        let kind = KeyKind::of(parsed.public_key()).ok_or(IdentityFault::Key)?;
        let public_key = parsed.public_key().subject_public_key.data.to_vec();
        let units = parsed.subject().iter_organizational_unit().take(MAX_UNITS + 1);
        let units: Vec<_> = units.map(|unit| unit.as_str().unwrap_or_default().to_owned()).collect();
        if units.len() > MAX_UNITS {
            return Err(IdentityFault::Malformed("over 64 organisational units"));
        }
        let (subject, issuer) = (parsed.subject().to_string(), parsed.issuer().to_string());
        let (authority, validity) = (parsed.is_ca(), parsed.validity());
        let (not_before, not_after) =
            (seconds(validity.not_before.timestamp()), seconds(validity.not_after.timestamp()));
        let pki_id = pki_id(&mspid, &id_bytes);
        Ok(Self {
            mspid,
            serialized,
            pki_id,
            slot,
            certificate,
            public_key,
            kind,
            subject,
            issuer,
            units,
            authority,
            not_before,
            not_after,
        })
    }

    /// The organisation.
    #[must_use]
    pub fn mspid(&self) -> &str {
        &self.mspid
    }

    /// The identity as it travels.
    #[must_use]
    pub fn serialized(&self) -> &Bytes {
        &self.serialized
    }

    /// Its PKI-ID.
    #[must_use]
    pub fn pki_id(&self) -> [u8; 32] {
        self.pki_id
    }

    /// What slots are counted by: the same for one certificate, whatever the identity says around it.
    #[must_use]
    pub fn slot_key(&self) -> [u8; 32] {
        self.slot
    }

    /// The certificate.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The certificate's subject, remote text.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Who issued the certificate, by its own word: remote text.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The organisational units of the subject, in order: remote text.
    #[must_use]
    pub fn units(&self) -> &[String] {
        &self.units
    }

    /// Whether the certificate is that of a CA.
    #[must_use]
    pub fn is_authority(&self) -> bool {
        self.authority
    }

    /// When the certificate expires, in seconds since 1970.
    #[must_use]
    pub fn expires_unix(&self) -> u64 {
        self.not_after().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
    }

    /// When the certificate begins to be valid.
    #[must_use]
    pub fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// When the certificate expires.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Checks a signature over `payload`.
    ///
    /// # Errors
    /// [`IdentityFault::Signature`], [`IdentityFault::HighS`].
    pub fn verify(&self, payload: &[u8], signature: &[u8]) -> Result<(), IdentityFault> {
        let algorithm: &'static dyn aws_lc_rs::signature::VerificationAlgorithm = match self.kind {
            KeyKind::Ed25519 => &ED25519,
            // Fabric hashes with SHA-256 whatever the curve (fabric msp/identities.go, the default hash family).
            KeyKind::Ecdsa(Curve::P256) => &ECDSA_P256_SHA256_ASN1,
            KeyKind::Ecdsa(_) => &ECDSA_P384_SHA256_ASN1,
        };
        if let KeyKind::Ecdsa(curve) = self.kind {
            let parsed = EcdsaSignature::from_der(signature).ok_or(IdentityFault::Signature)?;
            if !parsed.is_low(curve) {
                return Err(IdentityFault::HighS);
            }
        }
        let key = UnparsedPublicKey::new(algorithm, &self.public_key);
        key.verify(payload, signature).map_err(|_| IdentityFault::Signature)
    }
}

/// A certificate's subject, and from when and until when it is valid; `None` for what is no certificate.
#[must_use]
pub(crate) fn validity(der: &[u8]) -> Option<(String, SystemTime, SystemTime)> {
    let (_, parsed) = X509Certificate::from_der(der).ok()?;
    let span = parsed.validity();
    let time = |at: i64| seconds(at);
    Some((parsed.subject().to_string(), time(span.not_before.timestamp()), time(span.not_after.timestamp())))
}

/// A secret key. The library wipes it when it is dropped.
enum SecretKey {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Box<Ed25519KeyPair>),
}

/// An identity with its secret key.
pub struct SigningIdentity {
    identity: Identity,
    key: SecretKey,
}

impl SigningIdentity {
    /// An identity from an MSP id, a certificate and its private key (PKCS#8 or SEC 1, DER).
    ///
    /// # Errors
    /// [`IdentityFault`], also when the key is not the certificate's.
    pub fn new(mspid: &str, certificate: &[u8], key: &[u8]) -> Result<Self, IdentityFault> {
        let id_bytes = pem_certificate(certificate).into_bytes().into();
        let serialized = SerializedIdentity { mspid: mspid.to_owned(), id_bytes }.encode_to_vec();
        let identity = Identity::decode(serialized.into())?;
        let of_kind = |_| IdentityFault::Malformed("the private key is not of the certificate's kind");
        let (key, public) = match identity.kind {
            KeyKind::Ecdsa(Curve::P256) => {
                let pair = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_ASN1_SIGNING, key);
                let pair = pair.map_err(of_kind)?;
                let public = pair.public_key().as_ref().to_vec();
                (SecretKey::Ecdsa(pair), public)
            }
            KeyKind::Ed25519 => {
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(key).map_err(of_kind)?;
                let public = pair.public_key().as_ref().to_vec();
                (SecretKey::Ed25519(Box::new(pair)), public)
            }
            KeyKind::Ecdsa(_) => {
                let why = "our own key must be P-256 or Ed25519: P-384 can be checked, not signed with";
                return Err(IdentityFault::Malformed(why));
            }
        };
        if public != identity.public_key {
            return Err(IdentityFault::Malformed("the private key is not that of the certificate"));
        }
        Ok(Self { identity, key })
    }

    /// The public part.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Signs, with s in the lower half.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn sign(&self, payload: &[u8]) -> Result<Bytes, IdentityFault> {
        let pair = match &self.key {
            SecretKey::Ed25519(pair) => return Ok(Bytes::copy_from_slice(pair.sign(payload).as_ref())),
            SecretKey::Ecdsa(pair) => pair,
        };
        let signature = pair.sign(&SystemRandom::new(), payload).map_err(|_| IdentityFault::Signature)?;
        let low = EcdsaSignature::from_der(signature.as_ref()).and_then(|s| s.lowered(Curve::P256)?.to_der());
        low.map(Bytes::from).ok_or(IdentityFault::Signature)
    }
}

impl std::fmt::Debug for SigningIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningIdentity({}, {})", self.identity.mspid, self.identity.subject)
    }
}

#[cfg(test)]
mod tests;
