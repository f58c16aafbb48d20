//! One organisation: its CAs, its rules, and the verdict on an identity.

use super::authority::{Authority, NoAuthority, chain, serial};
use super::revocation::{CrlFault, RevocationList};
use super::units::Units;
use crate::identity::encoding::has_low_s;
use crate::identity::{Identity, IdentityFault};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use switchboard::text::printable;
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter};
use x509_parser::prelude::{FromDer, X509Certificate};

/// What a member is, by its organisational unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// A member of the organisation; more is not said, as its node OUs are off.
    Member,
    /// A client.
    Client,
    /// A peer.
    Peer,
    /// An administrator.
    Admin,
    /// An orderer.
    Orderer,
}

impl Role {
    /// `member`, `client`, `peer`, `admin` or `orderer`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Client => "client",
            Self::Peer => "peer",
            Self::Admin => "admin",
            Self::Orderer => "orderer",
        }
    }
}

/// What an organisation is made of, as its MSP folder holds it.
#[derive(Debug, Clone, Default)]
pub struct MspParts {
    /// Root CAs: at least one.
    pub roots: Vec<CertificateDer<'static>>,
    /// CAs below them.
    pub intermediates: Vec<CertificateDer<'static>>,
    /// Certificates of administrators.
    pub admins: Vec<CertificateDer<'static>>,
    /// Revocation lists.
    pub revoked: Vec<CertificateRevocationListDer<'static>>,
    /// Rules of organisational units.
    pub units: Units,
    /// Who issues TLS certificates; CAs below TLS roots count as roots.
    pub tls_roots: Vec<CertificateDer<'static>>,
}

/// Why the parts make no organisation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MspFault {
    /// Nobody could be trusted.
    #[error("no root CA")]
    NoRoot,
    /// A file among the CAs that is no CA's.
    #[error("{which} CA {subject:?}: {why}")]
    Authority {
        /// Root or intermediate.
        which: &'static str,
        /// Whose certificate, as far as it can be read.
        subject: String,
        /// What is wrong.
        why: &'static str,
    },
    /// A revocation list of no use.
    #[error("{0}")]
    Revocation(#[from] CrlFault),
    /// A unit that counts under a CA of somebody else.
    #[error("the organisational unit {0:?} names a certificate that is none of this MSP's CAs")]
    Unit(String),
}

/// An organisation that can judge identities.
#[derive(Debug, Clone)]
pub struct Msp {
    id: String,
    roots: Vec<Authority>,
    intermediates: Vec<Authority>,
    /// The intermediates' certificates once more, as the chain's check takes them.
    below: Vec<CertificateDer<'static>>,
    /// CAs that have CAs below them: they issue no members' certificates.
    inner: Vec<CertificateDer<'static>>,
    revoked: Vec<RevocationList>,
    units: Units,
    admins: Vec<CertificateDer<'static>>,
    tls_roots: Vec<CertificateDer<'static>>,
}

/// Enrolment certificates may carry any usage, or none.
struct AnyUsage;

impl ExtendedKeyUsageValidator for AnyUsage {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}

fn authorities(
    which: &'static str,
    certificates: &[CertificateDer<'static>],
) -> Result<Vec<Authority>, MspFault> {
    let read = |certificate| {
        Authority::read(certificate).map_err(|fault| {
            let subject = X509Certificate::from_der(certificate).map(|(_, c)| c.subject().to_string());
            let why = match fault {
                NoAuthority::Malformed => "not an X.509 certificate",
                NoAuthority::NotCa => "the certificate does not say that it is a CA's",
                NoAuthority::NoKeyId => "the certificate has no SubjectKeyIdentifier",
            };
            MspFault::Authority { which, subject: printable(&subject.unwrap_or_default()), why }
        })
    };
    certificates.iter().map(read).collect()
}

impl Msp {
    /// Puts an organisation together, as Fabric sets an MSP up.
    ///
    /// # Errors
    /// [`MspFault`].
    pub fn new(id: &str, parts: MspParts) -> Result<Self, MspFault> {
        let MspParts { roots, intermediates: below, admins, revoked, units, tls_roots } = parts;
        let (roots, intermediates) = (authorities("root", &roots)?, authorities("intermediate", &below)?);
        if roots.is_empty() {
            return Err(MspFault::NoRoot);
        }
        let revoked: Result<Vec<_>, _> = revoked.into_iter().map(RevocationList::read).collect();
        let revoked = revoked?;
        let mut inner = Vec::new();
        for ca in &intermediates {
            let fault =
                |why| MspFault::Authority { which: "intermediate", subject: printable(&ca.subject), why };
            let above = chain(ca, &roots, &intermediates).ok_or(fault("it leads to none of the roots"))?;
            if above.first().is_some_and(|issuer| revoked.iter().any(|list| list.revokes(issuer, &ca.serial)))
            {
                return Err(fault("it was revoked by the CA above it"));
            }
            inner.extend(above.into_iter().map(|ca| ca.certificate.clone()));
        }
        let known =
            |ca: &CertificateDer<'_>| roots.iter().chain(&intermediates).any(|a| a.certificate == *ca);
        let rules = units.roles.iter().map(|(_, unit)| unit).chain(&units.required);
        if let Some(unit) = rules.into_iter().find(|unit| unit.issuer.as_ref().is_some_and(|ca| !known(ca))) {
            return Err(MspFault::Unit(printable(&unit.name)));
        }
        Ok(Self { id: id.to_owned(), roots, intermediates, below, inner, revoked, units, admins, tls_roots })
    }

    /// Its MSP id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Who issues its TLS certificates.
    #[must_use]
    pub fn tls_roots(&self) -> &[CertificateDer<'static>] {
        &self.tls_roots
    }

    /// Whether node OUs are on: then each member has one role.
    #[must_use]
    pub fn has_roles(&self) -> bool {
        self.units.enforced && !self.units.roles.is_empty()
    }

    /// Checks that an identity is of this organisation, and valid now; tells its role.
    ///
    /// As in Fabric, the chain is judged at the moment the certificate began, so a CA that expired since does not matter,
    /// and a certificate from the future is taken; only the certificate's own end counts
    /// (fabric msp/mspimplvalidate.go, getValidityOptsForCert; gossip/identity/identity.go).
    ///
    /// # Errors
    /// [`IdentityFault`].
    pub fn validate(&self, identity: &Identity, now: SystemTime) -> Result<Role, IdentityFault> {
        let (role, issuer) = self.judge(identity, now)?;
        if issuer.curve.is_some_and(|curve| !has_low_s(identity.certificate(), curve)) {
            return Err(IdentityFault::Encoding("its issuer's signature must have a low s"));
        }
        Ok(role)
    }

    /// As [`Msp::validate`], in either encoding of the issuer's signature: for signers that are counted by their keys,
    /// where a second encoding gains nothing. Go's own certificates have both.
    ///
    /// # Errors
    /// [`IdentityFault`].
    pub fn validate_member(&self, identity: &Identity, now: SystemTime) -> Result<Role, IdentityFault> {
        Ok(self.judge(identity, now)?.0)
    }

    /// The role, and who issued the certificate: the chain is checked once.
    fn judge(&self, identity: &Identity, now: SystemTime) -> Result<(Role, &Authority), IdentityFault> {
        if identity.mspid() != self.id {
            return Err(IdentityFault::UnknownOrganisation(printable(identity.mspid())));
        }
        if now > identity.not_after() {
            return Err(IdentityFault::Expired {
                subject: printable(identity.subject()),
                not_after_unix: identity.expires_unix(),
            });
        }
        if identity.is_authority() {
            return Err(IdentityFault::Authority);
        }
        let issuer = self.issuer(identity)?;
        if self.inner.contains(&issuer.certificate) {
            return Err(IdentityFault::InnerAuthority(printable(&issuer.subject)));
        }
        let malformed = |_| IdentityFault::Malformed("not an X.509 certificate");
        let (_, parsed) = X509Certificate::from_der(identity.certificate()).map_err(malformed)?;
        let number = serial(parsed.raw_serial());
        if self.revoked.iter().any(|list| list.revokes(issuer, &number)) {
            return Err(IdentityFault::Revoked(printable(identity.subject())));
        }
        Ok((self.units.role(identity, &issuer.certificate)?, issuer))
    }

    /// Whether anybody can be an administrator: Fabric's peer refuses a local MSP without.
    #[must_use]
    pub fn names_admin(&self) -> bool {
        let by_role = self.has_roles() && self.units.roles.iter().any(|(role, _)| *role == Role::Admin);
        by_role || !self.admins.is_empty()
    }

    /// Whether a valid identity is an administrator's: by its role, or by being listed.
    #[must_use]
    pub fn is_admin(&self, identity: &Identity, role: Role) -> bool {
        role == Role::Admin || self.admins.contains(identity.certificate())
    }

    /// The CA that issued a certificate and leads to a root.
    fn issuer(&self, identity: &Identity) -> Result<&Authority, IdentityFault> {
        let fault = |error: String| IdentityFault::Chain {
            mspid: self.id.clone(),
            subject: printable(identity.subject()),
            issuer: printable(identity.issuer()),
            error,
        };
        let failed = |error: webpki::Error| fault(format!("{error:?}"));
        let anchors: Vec<_> = self
            .roots
            .iter()
            .filter_map(|ca| webpki::anchor_from_trusted_cert(&ca.certificate).ok())
            .collect();
        let leaf = EndEntityCert::try_from(identity.certificate()).map_err(failed)?;
        let began = identity.not_before().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at = UnixTime::since_unix_epoch(began + Duration::from_secs(1));
        let path = leaf
            .verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &self.below, at, AnyUsage, None, None)
            .map_err(failed)?;
        let anchor = path.anchor();
        let is_anchor = |ca: &&Authority| {
            webpki::anchor_from_trusted_cert(&ca.certificate).is_ok_and(|other| other == *anchor)
        };
        let root = self.roots.iter().filter(is_anchor).find(|ca| ca.is_valid_at(at.as_secs()));
        let root = root.ok_or_else(|| fault("the root CA was not valid when it was issued".to_owned()))?;
        let known = match path.intermediate_certificates().next().map(webpki::Cert::der) {
            Some(parent) => self.intermediates.iter().find(|ca| ca.certificate == parent),
            None => Some(root),
        };
        known.ok_or_else(|| fault("no CA of the organisation".to_owned()))
    }

    /// Rewrites a certificate of this organisation to a low s of its issuer's signature, as Fabric does on load
    /// (fabric msp/cert.go): two forms of one certificate would be two identities.
    pub(crate) fn with_low_s(&self, certificate: &CertificateDer<'static>) -> CertificateDer<'static> {
        let signed = crate::identity::encoding::Signed::parse(certificate);
        let issuer = signed
            .and_then(|s| self.roots.iter().chain(&self.intermediates).find(|ca| s.is_signed_by(&ca.key)));
        let curve = issuer.and_then(|ca| ca.curve);
        let low = curve.and_then(|curve| crate::identity::encoding::with_low_s(certificate, curve));
        low.map_or_else(|| certificate.clone(), CertificateDer::from)
    }
}

#[cfg(test)]
mod tests;
