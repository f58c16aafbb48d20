//! Identities: a certificate of an organisation, its PKI-ID, and what it signs.
//!
//! ```text
//!   serialized identity   protobuf { mspid 1, id_bytes 2 }       id_bytes: the certificate in PEM
//!   PKI-ID                SHA-256(mspid ‖ id_bytes), 32 bytes     (another line end in the PEM is another PKI-ID)
//!   signature             ECDSA over SHA-256, DER, s in the lower half
//! ```
//! (fabric msp/identities.go, internal/peer/gossip/mcs.go)
//!
//! Limits: a serialized identity is at most [`MAX_IDENTITY`] bytes. P-256 and P-384 keys are known.
//! Not checked: revocation lists, organisational units, Ed25519 identities of Fabric 3.

use crate::message::SerializedIdentity;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA256_ASN1, EcdsaKeyPair,
    UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use prost::Message;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter};
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384};
use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo, X509Certificate};

/// Largest serialized identity.
pub const MAX_IDENTITY: usize = 64 * 1024;

/// Why an identity, or what it signed, is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityFault {
    /// Not a serialized identity with one certificate.
    #[error("malformed identity: {0}")]
    Malformed(&'static str),
    /// Its key is of a kind not known here.
    #[error("the certificate's key is neither P-256 nor P-384")]
    Key,
    /// No trusted organisation has this MSP id.
    #[error("organisation {0:?} is not trusted here")]
    UnknownOrganisation(String),
    /// The certificate does not lead to the organisation's CA.
    #[error("the certificate is not of its organisation's CA: {0}")]
    Chain(String),
    /// Too early or too late.
    #[error("the certificate is expired or not yet valid")]
    Expired,
    /// The signature does not fit.
    #[error("wrong signature")]
    Signature,
    /// The signature fits, but its s is in the upper half.
    #[error("signature with a high s")]
    HighS,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Curve {
    P256,
    P384,
}

/// Order of the curve P-256 (SEC 2, 2.4.2).
const ORDER_256: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
    0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];
/// Order of the curve P-384 (SEC 2, 2.5.1).
const ORDER_384: [u8; 48] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xc7, 0x63, 0x4d, 0x81, 0xf4, 0x37, 0x2d, 0xdf, 0x58, 0x1a,
    0x0d, 0xb2, 0x48, 0xb0, 0xa7, 0x7a, 0xec, 0xec, 0x19, 0x6a, 0xcc, 0xc5, 0x29, 0x73,
];

impl Curve {
    /// The curve a key says it is on.
    fn of(key: &SubjectPublicKeyInfo<'_>) -> Option<Self> {
        if key.algorithm.algorithm != OID_KEY_TYPE_EC_PUBLIC_KEY {
            return None;
        }
        match key.algorithm.parameters.as_ref()?.as_oid().ok()? {
            curve if curve == OID_EC_P256 => Some(Self::P256),
            curve if curve == OID_NIST_EC_P384 => Some(Self::P384),
            _ => None,
        }
    }

    fn order(self) -> &'static [u8] {
        match self {
            Self::P256 => &ORDER_256,
            Self::P384 => &ORDER_384,
        }
    }
}

/// A certificate's place in an organisation, as it was received.
#[derive(Debug, Clone)]
pub struct Identity {
    mspid: String,
    serialized: Bytes,
    pki_id: [u8; 32],
    certificate: CertificateDer<'static>,
    public_key: Vec<u8>,
    curve: Curve,
    subject: String,
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

/// A certificate in PEM, byte for byte as Go's `encoding/pem` writes it.
#[must_use]
pub fn pem_certificate(der: &[u8]) -> String {
    let mut out = String::from("-----BEGIN CERTIFICATE-----\n");
    let text = STANDARD.encode(der);
    let mut rest = text.as_str();
    while let Some((line, more)) =
        rest.split_at_checked(rest.len().min(64)).filter(|(line, _)| !line.is_empty())
    {
        out.push_str(line);
        out.push('\n');
        rest = more;
    }
    out.push_str("-----END CERTIFICATE-----\n");
    out
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
        let (rest, parsed) = X509Certificate::from_der(&certificate)
            .map_err(|_| IdentityFault::Malformed("not an X.509 certificate"))?;
        if !rest.is_empty() {
            return Err(IdentityFault::Malformed("bytes after the certificate"));
        }
        let curve = Curve::of(parsed.public_key()).ok_or(IdentityFault::Key)?;
        let public_key = parsed.public_key().subject_public_key.data.to_vec();
        let (subject, validity) = (parsed.subject().to_string(), parsed.validity());
        let (not_before, not_after) =
            (seconds(validity.not_before.timestamp()), seconds(validity.not_after.timestamp()));
        let pki_id = pki_id(&mspid, &id_bytes);
        Ok(Self { mspid, serialized, pki_id, certificate, public_key, curve, subject, not_before, not_after })
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

    /// The certificate's subject, remote text.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// When the certificate expires, in seconds since 1970.
    #[must_use]
    pub fn expires_unix(&self) -> u64 {
        self.not_after().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
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
        let (_, s) = split_der(signature).ok_or(IdentityFault::Signature)?;
        if is_high(s, self.curve.order()) {
            return Err(IdentityFault::HighS);
        }
        let result =
            match self.curve {
                Curve::P256 => UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.public_key)
                    .verify(payload, signature),
                Curve::P384 => UnparsedPublicKey::new(&ECDSA_P384_SHA256_ASN1, &self.public_key)
                    .verify(payload, signature),
            };
        result.map_err(|_| IdentityFault::Signature)
    }
}

/// Takes r and s out of a DER signature, without leading zeros; `None` for anything but the shortest form.
fn split_der(signature: &[u8]) -> Option<(&[u8], &[u8])> {
    fn element<'a>(input: &mut &'a [u8], kind: u8) -> Option<&'a [u8]> {
        let ([tag, len], rest) = input.split_first_chunk::<2>()?;
        // Lengths over 127 do not occur for the curves known here.
        if *tag != kind || *len > 0x7f {
            return None;
        }
        let (content, rest) = rest.split_at_checked(usize::from(*len))?;
        *input = rest;
        Some(content)
    }
    fn integer<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
        match element(input, 2)? {
            [] => None,
            [0, rest @ ..] => rest.first().is_some_and(|b| b & 0x80 != 0).then_some(rest),
            [first, ..] if first & 0x80 != 0 => None,
            positive => Some(positive),
        }
    }
    let mut input = signature;
    let mut body = element(&mut input, 0x30)?;
    let (r, s) = (integer(&mut body)?, integer(&mut body)?);
    (input.is_empty() && body.is_empty()).then_some((r, s))
}

/// Whether s is over half the order: twice s is compared, so that no second constant is needed.
fn is_high(s: &[u8], order: &[u8]) -> bool {
    let mut twice = Vec::with_capacity(s.len() + 1);
    let mut carry = 0;
    for byte in s.iter().rev() {
        twice.push(byte << 1 | carry);
        carry = byte >> 7;
    }
    twice.push(carry);
    twice.reverse();
    let trimmed = twice.iter().position(|b| *b != 0).and_then(|at| twice.get(at..)).unwrap_or_default();
    trimmed.len() > order.len() || (trimmed.len() == order.len() && trimmed > order)
}

/// The same signature with s in the lower half.
fn lower(signature: &[u8], order: &[u8]) -> Option<Vec<u8>> {
    let (r, s) = split_der(signature)?;
    if !is_high(s, order) {
        return Some(signature.to_vec());
    }
    // order − s, bytewise from the right.
    let mut borrow = 0i16;
    let mut low = Vec::with_capacity(order.len());
    let digits = s.iter().rev().copied().chain(std::iter::repeat(0));
    for (n, s) in order.iter().rev().zip(digits) {
        let mut digit = i16::from(*n) - i16::from(s) - borrow;
        borrow = i16::from(digit < 0);
        digit += borrow * 256;
        low.push(digit as u8);
    }
    low.reverse();
    let integer = |value: &[u8]| {
        let start = value.iter().position(|b| *b != 0).unwrap_or(value.len());
        let digits = value.get(start..).unwrap_or_default();
        let pad = digits.first().is_none_or(|b| b & 0x80 != 0);
        let mut out = vec![2, (digits.len() + usize::from(pad)) as u8];
        out.extend(pad.then_some(0));
        out.extend_from_slice(digits);
        out
    };
    let body = [integer(r), integer(&low)].concat();
    let mut out = vec![0x30, body.len() as u8];
    out.extend(body);
    Some(out)
}

/// Whether the signature of a CA on a certificate is in the lower half, as Fabric rewrites it to be.
pub(crate) fn has_low_s(signature: &[u8]) -> bool {
    split_der(signature).is_some_and(|(_, s)| !is_high(s, &ORDER_256))
}

/// An identity with its secret key.
pub struct SigningIdentity {
    identity: Identity,
    key: EcdsaKeyPair,
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
        if identity.curve != Curve::P256 {
            return Err(IdentityFault::Malformed(
                "our own key must be P-256: others can be checked, not signed with",
            ));
        }
        let key = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_ASN1_SIGNING, key)
            .map_err(|_| IdentityFault::Malformed("the private key is not of the certificate's kind"))?;
        if aws_lc_rs::signature::KeyPair::public_key(&key).as_ref() != identity.public_key {
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
        let signature = self.key.sign(&SystemRandom::new(), payload).map_err(|_| IdentityFault::Signature)?;
        lower(signature.as_ref(), self.identity.curve.order())
            .map(Bytes::from)
            .ok_or(IdentityFault::Signature)
    }
}

impl std::fmt::Debug for SigningIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningIdentity({}, {})", self.identity.mspid, self.identity.subject)
    }
}

/// Which organisations are trusted, by the certificates of their CAs, and who may issue TLS certificates to their peers.
///
/// TLS roots are one pool for all organisations, as in Fabric: what a TLS certificate proves is a host name, not a member.
#[derive(Debug, Clone, Default)]
pub struct TrustBundle {
    organisations: BTreeMap<String, Organisation>,
    tls_roots: Vec<CertificateDer<'static>>,
}

#[derive(Debug, Clone, Default)]
struct Organisation {
    authorities: Vec<CertificateDer<'static>>,
    intermediates: Vec<CertificateDer<'static>>,
}

/// Enrolment certificates may carry any usage, or none.
struct AnyUsage;

impl ExtendedKeyUsageValidator for AnyUsage {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}

impl TrustBundle {
    /// Trusts an organisation's CA.
    pub fn trust(&mut self, mspid: &str, authority: CertificateDer<'static>) {
        self.organisations.entry(mspid.to_owned()).or_default().authorities.push(authority);
    }

    /// Knows a CA between an organisation's root and its peers. It is not trusted by itself: it must lead to a root.
    pub fn intermediate(&mut self, mspid: &str, authority: CertificateDer<'static>) {
        self.organisations.entry(mspid.to_owned()).or_default().intermediates.push(authority);
    }

    /// Takes TLS certificates that lead to this root.
    pub fn tls_root(&mut self, root: CertificateDer<'static>) {
        self.tls_roots.push(root);
    }

    /// The TLS roots.
    #[must_use]
    pub fn tls_roots(&self) -> &[CertificateDer<'static>] {
        &self.tls_roots
    }

    /// The organisations' MSP ids, in order.
    pub fn organisations(&self) -> impl Iterator<Item = &str> {
        self.organisations.keys().map(String::as_str)
    }

    /// Checks that an identity is of a trusted organisation, and valid now.
    ///
    /// # Errors
    /// [`IdentityFault`].
    pub fn validate(&self, identity: &Identity, now: SystemTime) -> Result<(), IdentityFault> {
        let organisation = self.organisations.get(&identity.mspid);
        let Organisation { authorities, intermediates } =
            organisation.ok_or_else(|| IdentityFault::UnknownOrganisation(identity.mspid.clone()))?;
        if now < identity.not_before || now > identity.not_after {
            return Err(IdentityFault::Expired);
        }
        let chain = |error: webpki::Error| IdentityFault::Chain(format!("{error:?}"));
        let anchors: Vec<_> =
            authorities.iter().filter_map(|ca| webpki::anchor_from_trusted_cert(ca).ok()).collect();
        let leaf = EndEntityCert::try_from(&identity.certificate).map_err(chain)?;
        let now = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or_default());
        let algorithms = webpki::ALL_VERIFICATION_ALGS;
        leaf.verify_for_usage(algorithms, &anchors, intermediates, now, AnyUsage, None, None)
            .map_err(chain)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
