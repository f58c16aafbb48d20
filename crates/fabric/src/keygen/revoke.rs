//! What comes after a certificate was issued: it is renewed, or revoked.

use super::authority::{Authority, Issued, MAX_UNITS, Subject, first};
use super::{BACKDATED, KeygenError, VALIDITY, member_params, put, tls_params};
use crate::identity::encoding::{Signed, pem};
use crate::msp::files::{PUBLIC, SECRET, certificates, files, private_key};
use rcgen::{CertificateRevocationListParams, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber};
use rustls_pki_types::CertificateDer;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

const NOT_ISSUED: KeygenError = KeygenError::Request("the certificate was not issued by this CA");

/// How a certificate is renewed.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Renewal {
    /// Whether the member gets a new key, too.
    pub new_key: bool,
    /// How long the new certificate is valid.
    pub valid_for: Duration,
}

impl Default for Renewal {
    /// The same key, for ten years.
    fn default() -> Self {
        Self { new_key: false, valid_for: VALIDITY }
    }
}

impl Renewal {
    /// With a new key.
    #[must_use]
    pub fn with_new_key(mut self) -> Self {
        self.new_key = true;
        self
    }

    /// Valid for this long.
    #[must_use]
    pub fn valid_for(mut self, time: Duration) -> Self {
        self.valid_for = time;
        self
    }
}

fn parsed<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, KeygenError> {
    let malformed = |_| KeygenError::Request("not an X.509 certificate");
    Ok(X509Certificate::from_der(certificate).map_err(malformed)?.1)
}

fn issued_by(authority: &Authority, certificate: &CertificateDer<'_>) -> bool {
    Signed::parse(certificate).is_some_and(|signed| signed.is_signed_by(&authority.key()))
}

/// Renews a member's enrolment certificate in place: the same subject from the same CA, whose folder is `authority`
/// (`OUT/ca`, or `OUT/ica` with an intermediate CA). The member has another PKI-ID from then on.
///
/// # Errors
/// [`KeygenError`]. Each file is whole at any time; after a failure between two of them the old key may lie beside the
/// new certificate, then renew again.
pub fn renew(authority: &Path, member: &Path, renewal: Renewal, now: SystemTime) -> Result<(), KeygenError> {
    const MEMBER: &str = "a member's folder with msp/ in it";
    let authority = Authority::load(authority)?;
    let msp = member.join("msp");
    let signcert = files(&msp.join("signcerts"), MEMBER)?.swap_remove(0);
    let keystore = files(&msp.join("keystore"), MEMBER)?.swap_remove(0);
    let certificate = certificates(&signcert)?.swap_remove(0);
    if !issued_by(&authority, &certificate) {
        return Err(NOT_ISSUED);
    }
    let old = parsed(&certificate)?;
    let (name, org) = (first(old.subject().iter_common_name()), first(old.subject().iter_organization()));
    let units = old.subject().iter_organizational_unit().map(|unit| first(std::iter::once(unit)));
    let units: Vec<_> = units.collect();
    if units.len() > MAX_UNITS {
        return Err(KeygenError::Request(
            "a certificate with over two organisational units cannot be renewed",
        ));
    }
    let span = (now - BACKDATED, now + renewal.valid_for);
    let mut params = member_params(&Subject { name: &name, org: &org, units: &units }, span);
    let key = match renewal.new_key {
        true => None,
        false => {
            let key = private_key(&keystore, &mut Vec::new())?;
            Some(KeyPair::try_from(&key.0)?)
        }
    };
    let Issued { certificate, key } = authority.issue(&mut params, key)?;
    if renewal.new_key {
        put(&keystore, key.as_bytes(), SECRET)?;
    }
    put(&signcert, certificate.as_bytes(), PUBLIC)
}

/// Renews a member's TLS certificate in place: the same subject and names from the same TLS CA, whose folder is `authority`
/// (`OUT/tlsca`). The member's identity stays as it is.
///
/// # Errors
/// As for [`renew`].
pub fn renew_tls(
    authority: &Path,
    member: &Path,
    renewal: Renewal,
    now: SystemTime,
) -> Result<(), KeygenError> {
    let authority = Authority::load(authority)?;
    let tls = member.join("tls");
    let stem = if tls.join("server.crt").exists() { "server" } else { "client" };
    let (public, secret) = (tls.join(format!("{stem}.crt")), tls.join(format!("{stem}.key")));
    let certificate = certificates(&public)?.swap_remove(0);
    if !issued_by(&authority, &certificate) {
        return Err(NOT_ISSUED);
    }
    let old = parsed(&certificate)?;
    let (name, org) = (first(old.subject().iter_common_name()), first(old.subject().iter_organization()));
    let names = old.subject_alternative_name().ok().flatten();
    let hosts = names.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => Some(IpAddr::from(<[u8; 4]>::try_from(*bytes).ok()?).to_string()),
            16 => Some(IpAddr::from(<[u8; 16]>::try_from(*bytes).ok()?).to_string()),
            _ => None,
        },
        _ => None,
    });
    let span = (now - BACKDATED, now + renewal.valid_for);
    let mut params = tls_params(&Subject { name: &name, org: &org, units: &[] }, hosts.collect(), span)?;
    let key = match renewal.new_key {
        true => None,
        false => {
            let key = private_key(&secret, &mut Vec::new())?;
            Some(KeyPair::try_from(&key.0)?)
        }
    };
    let Issued { certificate, key } = authority.issue(&mut params, key)?;
    if renewal.new_key {
        put(&secret, key.as_bytes(), SECRET)?;
    }
    put(&public, certificate.as_bytes(), PUBLIC)
}

/// A revocation list in PEM for certificates of the CA in the folder `authority`: all that are to be revoked, as a list
/// replaces the one before.
///
/// # Errors
/// [`KeygenError`], also for a certificate of another CA.
pub fn crl(
    authority: &Path,
    revoked: &[CertificateDer<'static>],
    now: SystemTime,
) -> Result<String, KeygenError> {
    let authority = Authority::load(authority)?;
    let mut entries = Vec::new();
    for certificate in revoked {
        if !issued_by(&authority, certificate) {
            return Err(NOT_ISSUED);
        }
        entries.push(RevokedCertParams {
            serial_number: SerialNumber::from_slice(parsed(certificate)?.raw_serial()),
            revocation_time: now.into(),
            reason_code: None,
            invalidity_date: None,
        });
    }
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let params = CertificateRevocationListParams {
        this_update: now.into(),
        next_update: (now + VALIDITY).into(),
        crl_number: SerialNumber::from_slice(&seconds.to_be_bytes()),
        issuing_distribution_point: None,
        revoked_certs: entries,
        key_identifier_method: KeyIdMethod::PreSpecified(authority.key_id()?),
    };
    Ok(pem("X509 CRL", params.signed_by(&authority.issuer)?.der()))
}

/// Writes a list into an MSP folder, in place of the one written before.
///
/// # Errors
/// [`KeygenError::Write`].
pub fn write_crl(msp: &Path, list: &str) -> Result<(), KeygenError> {
    put(&msp.join("crls/crl.pem"), list.as_bytes(), PUBLIC)
}
