//! An organisation's CAs: roots, and those that lead to them.

use crate::identity::curve_of;
use crate::identity::ecdsa::Curve;
use crate::identity::encoding::Signed;
use rustls_pki_types::CertificateDer;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Most CAs on the way to a root.
pub(crate) const MAX_CHAIN: usize = 8;

/// A CA's certificate, and what is asked of it again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authority {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) subject: String,
    subject_raw: Vec<u8>,
    issuer_raw: Vec<u8>,
    /// The serial number, without leading zeros.
    pub(crate) serial: Vec<u8>,
    /// Its key's identifier; Fabric takes no CA without one.
    pub(crate) key_id: Vec<u8>,
    /// SubjectPublicKeyInfo.
    pub(crate) key: Vec<u8>,
    /// The curve of its key, if it is on one.
    pub(crate) curve: Option<Curve>,
    /// From when to when it is valid, in seconds since 1970.
    span: (i64, i64),
}

/// Why a certificate is no CA's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoAuthority {
    Malformed,
    NotCa,
    NoKeyId,
}

/// A serial number without leading zeros.
pub(crate) fn serial(raw: &[u8]) -> Vec<u8> {
    raw.iter().copied().skip_while(|byte| *byte == 0).collect()
}

impl Authority {
    pub(crate) fn read(certificate: &CertificateDer<'static>) -> Result<Self, NoAuthority> {
        let (rest, parsed) = X509Certificate::from_der(certificate).map_err(|_| NoAuthority::Malformed)?;
        if !rest.is_empty() {
            return Err(NoAuthority::Malformed);
        }
        if !parsed.is_ca() {
            return Err(NoAuthority::NotCa);
        }
        let key_id = parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        });
        Ok(Self {
            subject: parsed.subject().to_string(),
            subject_raw: parsed.subject().as_raw().to_vec(),
            issuer_raw: parsed.issuer().as_raw().to_vec(),
            serial: serial(parsed.raw_serial()),
            key_id: key_id.ok_or(NoAuthority::NoKeyId)?,
            key: parsed.public_key().raw.to_vec(),
            curve: curve_of(parsed.public_key()),
            span: (parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp()),
            certificate: certificate.clone(),
        })
    }

    /// Whether it is valid then, in seconds since 1970.
    pub(crate) fn is_valid_at(&self, seconds: u64) -> bool {
        i64::try_from(seconds).is_ok_and(|at| (self.span.0..=self.span.1).contains(&at))
    }

    fn issued(&self, other: &Self) -> bool {
        other.issuer_raw == self.subject_raw
            && Signed::parse(&other.certificate).is_some_and(|signed| signed.is_signed_by(&self.key))
    }
}

/// The CAs above `authority`, the root last; `None` if it leads to no root.
pub(crate) fn chain<'a>(
    authority: &'a Authority,
    roots: &'a [Authority],
    intermediates: &'a [Authority],
) -> Option<Vec<&'a Authority>> {
    let mut above: Vec<&Authority> = Vec::new();
    let mut last = authority;
    while above.len() < MAX_CHAIN {
        if let Some(root) = roots.iter().find(|root| root.issued(last)) {
            above.push(root);
            return Some(above);
        }
        last = intermediates.iter().find(|ca| *ca != last && !above.contains(ca) && ca.issued(last))?;
        above.push(last);
    }
    None
}
