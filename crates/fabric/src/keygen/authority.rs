//! CAs, made and read again, and what they issue.

use super::{KeygenError, put};
use crate::identity::ecdsa::Curve;
use crate::identity::encoding::{pem_certificate, with_low_s};
use crate::msp::MspError;
use crate::msp::authority::Authority as CaCertificate;
use crate::msp::files::{PUBLIC, SECRET, certificates, private_key};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::path::Path;
use std::time::SystemTime;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::AttributeTypeAndValue;
use zeroize::Zeroizing;

const NO_CA: KeygenError = KeygenError::Request("the certificate is not that of a CA");

/// The first of a name's texts.
pub(super) fn first<'a>(mut names: impl Iterator<Item = &'a AttributeTypeAndValue<'a>>) -> String {
    names.next().and_then(|name| name.as_str().ok()).unwrap_or_default().to_owned()
}

/// Whose certificate.
pub(super) struct Subject<'a> {
    pub(super) name: &'a str,
    pub(super) org: &'a str,
    pub(super) units: &'a [String],
}

impl Subject<'_> {
    /// Its certificate's parameters; `span` is from when to when it is valid.
    pub(super) fn params(&self, span: (SystemTime, SystemTime)) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.not_before = span.0.into();
        params.not_after = span.1.into();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, self.org);
        // The library keeps one value a type, and takes the type's number for another type.
        for (unit, kind) in self.units.iter().zip([DnType::OrganizationalUnitName, second_unit()]) {
            params.distinguished_name.push(kind, unit.as_str());
        }
        params.distinguished_name.push(DnType::CommonName, self.name);
        params.use_authority_key_identifier_extension = true;
        params
    }
}

/// Most organisational units in a certificate we make.
pub(super) const MAX_UNITS: usize = 2;

/// The type of organisational units once more (X.520, 2.5.4.11).
fn second_unit() -> DnType {
    DnType::CustomDnType(vec![2, 5, 4, 11])
}

/// A certificate and its key, in PEM.
pub(super) struct Issued {
    pub(super) certificate: String,
    pub(super) key: Zeroizing<String>,
}

/// A CA with its key.
pub(super) struct Authority {
    pub(super) pem: String,
    key_pem: Zeroizing<String>,
    pub(super) issuer: Issuer<'static, KeyPair>,
}

/// A certificate in PEM, with a low s of a P-256 issuer.
fn low(der: &CertificateDer<'_>) -> String {
    pem_certificate(&with_low_s(der, Curve::P256).unwrap_or_else(|| der.to_vec()))
}

fn authority_params(name: &str, org: &str, span: (SystemTime, SystemTime)) -> CertificateParams {
    let mut params = Subject { name, org, units: &[] }.params(span);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages =
        vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn new_key() -> Result<KeyPair, rcgen::Error> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
}

/// A random serial number: positive, 16 bytes.
fn serial() -> SerialNumber {
    let mut bytes: [u8; 16] = rand::random();
    if let Some(first) = bytes.first_mut() {
        *first = *first & 0x7f | 0x40;
    }
    SerialNumber::from_slice(&bytes)
}

impl Authority {
    pub(super) fn root(name: &str, org: &str, span: (SystemTime, SystemTime)) -> Result<Self, KeygenError> {
        let (key, mut params) = (new_key()?, authority_params(name, org, span));
        params.use_authority_key_identifier_extension = false;
        let pem = low(params.self_signed(&key)?.der());
        let key_pem = Zeroizing::new(key.serialize_pem());
        Ok(Self { pem, key_pem, issuer: Issuer::new(params, key) })
    }

    /// A CA below this one.
    pub(super) fn below(
        &self,
        name: &str,
        org: &str,
        span: (SystemTime, SystemTime),
    ) -> Result<Self, KeygenError> {
        let (key, params) = (new_key()?, authority_params(name, org, span));
        let pem = low(params.signed_by(&key, &self.issuer)?.der());
        let key_pem = Zeroizing::new(key.serialize_pem());
        Ok(Self { pem, key_pem, issuer: Issuer::new(params, key) })
    }

    /// Issues a certificate for `key`, or for a new one. Its serial number is its own: one made from the key would be that of each
    /// renewal, and a revocation list that names the old certificate would name the new one.
    pub(super) fn issue(
        &self,
        params: &mut CertificateParams,
        key: Option<KeyPair>,
    ) -> Result<Issued, rcgen::Error> {
        let key = key.map_or_else(new_key, Ok)?;
        params.serial_number = Some(serial());
        let certificate = low(params.signed_by(&key, &self.issuer)?.der());
        Ok(Issued { certificate, key: Zeroizing::new(key.serialize_pem()) })
    }

    pub(super) fn save(&self, folder: &Path, stem: &str) -> Result<(), KeygenError> {
        put(&folder.join(format!("{stem}.pem")), self.pem.as_bytes(), PUBLIC)?;
        put(&folder.join(format!("{stem}.key")), self.key_pem.as_bytes(), SECRET)
    }

    /// Reads a CA that [`Authority::save`] wrote: the folder's one certificate and its key beside it.
    pub(super) fn load(folder: &Path) -> Result<Self, KeygenError> {
        let files = crate::msp::files::files(folder, "a folder with a CA's certificate and key")?;
        let pem = files.iter().find(|path| path.extension().is_some_and(|e| e == "pem"));
        let missing =
            || MspError::Missing { path: folder.to_owned(), expected: "a CA's certificate (*.pem)" };
        let pem = pem.ok_or_else(missing)?;
        let certificate = certificates(pem)?.swap_remove(0);
        let key = private_key(&pem.with_extension("key"), &mut Vec::new())?;
        let pair = KeyPair::try_from(&key.0)?;
        let key_pem = Zeroizing::new(pair.serialize_pem());
        let unreadable = |_| KeygenError::Request("the CA's certificate cannot be read");
        let (_, parsed) = X509Certificate::from_der(&certificate).map_err(unreadable)?;
        let (name, org) =
            (first(parsed.subject().iter_common_name()), first(parsed.subject().iter_organization()));
        let mut params = authority_params(&name, &org, (SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH));
        params.key_identifier_method =
            KeyIdMethod::PreSpecified(CaCertificate::read(&certificate).map_err(|_| NO_CA)?.key_id);
        // What it issues must name it as it names itself.
        let own = low(params.self_signed(&pair)?.der());
        let own = CertificateDer::from_pem_slice(own.as_bytes()).map_err(|_| NO_CA)?;
        let (_, own) = X509Certificate::from_der(&own).map_err(unreadable)?;
        if own.subject().as_raw() != parsed.subject().as_raw() {
            return Err(KeygenError::Request("only a CA that keygen made can be used here"));
        }
        Ok(Self { pem: pem_certificate(&certificate), key_pem, issuer: Issuer::new(params, pair) })
    }

    /// Its public key, SubjectPublicKeyInfo.
    pub(super) fn key(&self) -> Vec<u8> {
        self.issuer.key().subject_public_key_info()
    }

    /// Its key's identifier.
    pub(super) fn key_id(&self) -> Result<Vec<u8>, KeygenError> {
        let certificate = CertificateDer::from_pem_slice(self.pem.as_bytes()).map_err(|_| NO_CA)?;
        Ok(CaCertificate::read(&certificate).map_err(|_| NO_CA)?.key_id)
    }
}
