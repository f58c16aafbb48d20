//! Revocation lists: which certificates a CA no longer stands by.
//!
//! ```text
//!   msp/crls/*.pem    -----BEGIN X509 CRL-----       issuer by AuthorityKeyIdentifier · serial numbers · the CA's signature
//! ```
//! As in Fabric a list counts for the CA whose key identifier it names and whose signature it bears, from the moment it
//! is loaded: its dates are not looked at (fabric msp/mspimplvalidate.go, validateCertAgainstChain). A list without an
//! AuthorityKeyIdentifier is an error when it is loaded; Go fails each validation with it.
//!
//! Limits: [`MAX_REVOKED`] entries a list.

use super::authority::{Authority, serial};
use crate::identity::encoding::Signed;
use rustls_pki_types::CertificateRevocationListDer;
use std::collections::BTreeSet;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{CertificateRevocationList, FromDer};

/// Most certificates in one list.
pub const MAX_REVOKED: usize = 1_000_000;

/// Why a revocation list is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CrlFault {
    /// Not a revocation list.
    #[error("not an X.509 revocation list")]
    Malformed,
    /// It does not say whose it is.
    #[error(
        "a revocation list without AuthorityKeyIdentifier: make it anew, as `fabric-ca-client gencrl` does"
    )]
    NoAuthority,
    /// Over [`MAX_REVOKED`].
    #[error("a revocation list of over {MAX_REVOKED} entries")]
    TooLong,
}

/// A loaded list.
#[derive(Debug, Clone)]
pub(crate) struct RevocationList {
    key_id: Vec<u8>,
    serials: BTreeSet<Vec<u8>>,
    der: CertificateRevocationListDer<'static>,
}

impl RevocationList {
    pub(crate) fn read(der: CertificateRevocationListDer<'static>) -> Result<Self, CrlFault> {
        let (rest, list) = CertificateRevocationList::from_der(&der).map_err(|_| CrlFault::Malformed)?;
        if !rest.is_empty() || Signed::parse(&der).is_none() {
            return Err(CrlFault::Malformed);
        }
        let key_id = list.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => Some(id.key_identifier.as_ref()?.0.to_vec()),
            _ => None,
        });
        let key_id = key_id.ok_or(CrlFault::NoAuthority)?;
        if list.iter_revoked_certificates().count() > MAX_REVOKED {
            return Err(CrlFault::TooLong);
        }
        let serials = list.iter_revoked_certificates().map(|entry| serial(entry.raw_serial())).collect();
        Ok(Self { key_id, serials, der })
    }

    /// Whether `issuer` revoked its certificate with this serial number by this list.
    pub(crate) fn revokes(&self, issuer: &Authority, serial: &[u8]) -> bool {
        self.key_id == issuer.key_id && self.serials.contains(serial) && {
            let signed = Signed::parse(&self.der).is_some_and(|signed| signed.is_signed_by(&issuer.key));
            if !signed {
                tracing::warn!(
                    target: "switchboard::fabric",
                    ca = %switchboard::text::printable(&issuer.subject),
                    "a revocation list that names this CA does not bear its signature and is passed over"
                );
            }
            signed
        }
    }
}
