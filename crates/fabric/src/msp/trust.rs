//! The organisations known here.

use super::organisation::{Msp, Role};
use crate::identity::{Identity, IdentityFault};
use rustls_pki_types::CertificateDer;
use std::collections::BTreeMap;
use std::time::SystemTime;
use switchboard::text::printable;

/// Which organisations are trusted, and who may issue TLS certificates to their peers.
///
/// TLS roots are one pool for all organisations, as in Fabric: what a TLS certificate proves is a host name, not a member.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    organisations: BTreeMap<String, Msp>,
    tls_roots: Vec<CertificateDer<'static>>,
}

impl Trust {
    /// Trusts an organisation, in place of the one with the same MSP id, which is given back.
    pub fn add(&mut self, msp: Msp) -> Option<Msp> {
        self.organisations.insert(msp.id().to_owned(), msp)
    }

    /// Trusts an organisation no longer.
    pub fn remove(&mut self, mspid: &str) -> Option<Msp> {
        self.organisations.remove(mspid)
    }

    /// Takes TLS certificates that lead to this root, whosever they are.
    pub fn tls_root(&mut self, root: CertificateDer<'static>) {
        if !self.tls_roots.contains(&root) {
            self.tls_roots.push(root);
        }
    }

    /// All TLS roots, those of organisations with them.
    pub fn tls_roots(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.tls_roots.iter().chain(self.organisations.values().flat_map(|msp| msp.tls_roots()))
    }

    /// An organisation by its MSP id.
    #[must_use]
    pub fn organisation(&self, mspid: &str) -> Option<&Msp> {
        self.organisations.get(mspid)
    }

    /// The organisations, by MSP id.
    pub fn organisations(&self) -> impl Iterator<Item = &Msp> {
        self.organisations.values()
    }

    /// Checks that an identity is of a trusted organisation, and valid now; tells its role.
    ///
    /// # Errors
    /// [`IdentityFault`].
    pub fn validate(&self, identity: &Identity, now: SystemTime) -> Result<Role, IdentityFault> {
        self.organisation_of(identity)?.validate(identity, now)
    }

    /// As [`Trust::validate`], for signers that are counted by their keys ([`Msp::validate_member`]).
    ///
    /// # Errors
    /// [`IdentityFault`].
    pub fn validate_member(&self, identity: &Identity, now: SystemTime) -> Result<Role, IdentityFault> {
        self.organisation_of(identity)?.validate_member(identity, now)
    }

    fn organisation_of(&self, identity: &Identity) -> Result<&Msp, IdentityFault> {
        let unknown = || IdentityFault::UnknownOrganisation(printable(identity.mspid()));
        self.organisations.get(identity.mspid()).ok_or_else(unknown)
    }
}
