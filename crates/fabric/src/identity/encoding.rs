//! The encodings of a certificate, of which an identity has exactly one.
//!
//! ```text
//!   PEM   -----BEGIN CERTIFICATE-----\n  64 columns of base64, \n after each line  -----END CERTIFICATE-----\n
//!   DER   SEQUENCE { tbsCertificate, signatureAlgorithm, BIT STRING signature }      nothing after it
//! ```
//! A PKI-ID covers the PEM text, so each further way to write one certificate would be a further identity. Two more
//! things are outside the issuer's signature: the outer DER, checked here, and the high or low s of that
//! signature, checked where the issuer is known ([`crate::msp::Msp::validate`]). What the issuer signed names the
//! certificate whatever its wrapping: [`slot_key`].

use super::ecdsa::{Curve, EcdsaSignature};
use asn1_rs::{Any, BitString, FromDer, Sequence, Tag, ToDer};
use pem::{EncodeConfig, LineEnding, Pem};
use sha2::{Digest, Sha256};

/// A certificate in PEM, byte for byte as Go's `encoding/pem` writes it.
#[must_use]
pub fn pem_certificate(der: &[u8]) -> String {
    pem("CERTIFICATE", der)
}

pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF).set_line_wrap(64);
    pem::encode_config(&Pem::new(label, der), config)
}

/// SHA-256 of a certificate's `tbsCertificate`, the part its issuer signed: what slots are counted by. `None` for what is
/// no certificate in its one DER form.
#[must_use]
pub fn slot_key(der: &[u8]) -> Option<[u8; 32]> {
    Some(Sha256::digest(Signed::parse(der)?.tbs).into())
}

/// Something signed by a CA: a certificate or a revocation list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signed<'a> {
    /// What the signature covers.
    pub(crate) tbs: &'a [u8],
    /// The whole AlgorithmIdentifier.
    algorithm: &'a [u8],
    /// Its content, as libraries compare it.
    pub(crate) algorithm_id: &'a [u8],
    /// The signature.
    pub(crate) signature: &'a [u8],
}

impl<'a> Signed<'a> {
    /// Takes apart the one DER form; `None` for anything else.
    pub(crate) fn parse(der: &'a [u8]) -> Option<Self> {
        let (after, outer) = Any::from_der(der).ok()?;
        let content = outer.data;
        let (after_tbs, _) = Any::from_der(content).ok()?;
        let (after_algorithm, algorithm_any) = Any::from_der(after_tbs).ok()?;
        let (end, bits) = Any::from_der(after_algorithm).ok()?;
        let (unused, signature) = bits.data.split_first()?;
        let signed = Self {
            tbs: content.get(..content.len() - after_tbs.len())?,
            algorithm: after_tbs.get(..after_tbs.len() - after_algorithm.len())?,
            algorithm_id: algorithm_any.data,
            signature,
        };
        let whole = after.is_empty() && end.is_empty() && *unused == 0 && bits.tag() == Tag::BitString;
        // Whatever the parser lets pass, there is one form.
        (whole && signed.to_der(signature)? == der).then_some(signed)
    }

    /// The same with another signature.
    fn to_der(self, signature: &[u8]) -> Option<Vec<u8>> {
        let mut content = [self.tbs, self.algorithm].concat();
        BitString::new(0, signature).write_der(&mut content).ok()?;
        Sequence::new(content.into()).to_der_vec().ok()
    }

    /// Whether `issuer`, a SubjectPublicKeyInfo in DER, made the signature.
    pub(crate) fn is_signed_by(&self, issuer: &[u8]) -> bool {
        let Some((key_algorithm, key)) = key_parts(issuer) else { return false };
        webpki::ALL_VERIFICATION_ALGS.iter().any(|algorithm| {
            algorithm.public_key_alg_id().as_ref() == key_algorithm
                && algorithm.signature_alg_id().as_ref() == self.algorithm_id
                && algorithm.verify_signature(key, self.tbs, self.signature).is_ok()
        })
    }
}

/// Algorithm and key of a SubjectPublicKeyInfo.
fn key_parts(info: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, outer) = Any::from_der(info).ok()?;
    let (rest, algorithm) = Any::from_der(outer.data).ok()?;
    let (_, bits) = Any::from_der(rest).ok()?;
    let (unused, key) = bits.data.split_first()?;
    (*unused == 0).then_some((algorithm.data, key))
}

/// A certificate with the s of its issuer's signature in the lower half, as Fabric rewrites its own on load
/// (fabric msp/cert.go); `None` if the signature is no ECDSA signature of that curve.
pub(crate) fn with_low_s(der: &[u8], issuer: Curve) -> Option<Vec<u8>> {
    let signed = Signed::parse(der)?;
    let low = EcdsaSignature::from_der(signed.signature)?.lowered(issuer)?;
    signed.to_der(&low.to_der()?)
}

/// Whether the issuer's signature on a certificate has its s in the lower half, where the issuer's key is on a curve.
pub(crate) fn has_low_s(der: &[u8], issuer: Curve) -> bool {
    let signature = Signed::parse(der).and_then(|signed| EcdsaSignature::from_der(signed.signature));
    signature.is_some_and(|signature| signature.is_low(issuer))
}

/// The other form of the same signature, as tests need it.
#[cfg(test)]
pub(crate) fn with_high_s(der: &[u8]) -> Option<Vec<u8>> {
    let signed = Signed::parse(der)?;
    signed.to_der(&EcdsaSignature::from_der(signed.signature)?.raised(Curve::P256).to_der()?)
}

#[cfg(test)]
mod tests;
