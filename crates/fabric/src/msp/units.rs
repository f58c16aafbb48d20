//! Roles by organisational unit, as `config.yaml` turns them on.
//!
//! ```text
//!   on:   exactly one OU of the subject is one of client, peer, admin, orderer (by the names given there)
//!   off:  if OrganizationalUnitIdentifiers are given, one of the subject's OUs is one of them, under the CA named there
//! ```
//! (fabric msp/mspimplvalidate.go, validateIdentityOUsV142 and V1)

use super::Role;
use crate::identity::{Identity, IdentityFault};
use rustls_pki_types::CertificateDer;

/// An organisational unit, and the CA it counts under; without one it counts under any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// The OU's text.
    pub name: String,
    /// The CA that must have issued the certificate.
    pub issuer: Option<CertificateDer<'static>>,
}

/// The units that an organisation knows.
#[derive(Debug, Clone, Default)]
pub struct Units {
    /// Whether a role is asked of each certificate (`NodeOUs: Enable`).
    pub enforced: bool,
    /// The unit of each role, where one is given.
    pub roles: Vec<(Role, Unit)>,
    /// Units of which a certificate needs one when roles are not asked for; empty means no rule.
    pub required: Vec<Unit>,
}

impl Units {
    /// The role of an identity whose certificate `issuer` has issued.
    ///
    /// # Errors
    /// [`IdentityFault::Units`].
    pub(crate) fn role(
        &self,
        identity: &Identity,
        issuer: &CertificateDer<'_>,
    ) -> Result<Role, IdentityFault> {
        let refused = |rule: String| {
            let printable = |unit: &String| switchboard::text::printable(unit);
            Err(IdentityFault::Units { units: identity.units().iter().map(printable).collect(), rule })
        };
        // As in Fabric, node OUs without a single one given are off.
        if !self.enforced || self.roles.is_empty() {
            let fits = self.required.is_empty()
                || identity.units().iter().any(|unit| self.is_required(unit, issuer));
            if fits {
                return Ok(Role::Member);
            }
            return refused("none is one of those that config.yaml asks for".to_owned());
        }
        let mut found = None;
        for unit in identity.units() {
            // Of two roles with one name the later counts, as in Go's map.
            let Some((role, rule)) = self.roles.iter().rev().find(|(_, rule)| rule.name == *unit) else {
                continue;
            };
            if rule.issuer.as_ref().is_some_and(|ca| ca != issuer) {
                return refused(format!("{:?} counts under another CA only", rule.name));
            }
            if found.replace(*role).is_some() {
                return refused("more than one of them is a role: exactly one must be".to_owned());
            }
        }
        match found {
            Some(role) => Ok(role),
            None => refused(format!("none of them is a role: exactly one must be one of {}", self.names())),
        }
    }

    fn is_required(&self, unit: &str, issuer: &CertificateDer<'_>) -> bool {
        self.required
            .iter()
            .any(|rule| rule.name == unit && rule.issuer.as_ref().is_none_or(|ca| ca == issuer))
    }

    fn names(&self) -> String {
        let names: Vec<_> = self.roles.iter().map(|(_, unit)| format!("{:?}", unit.name)).collect();
        names.join(", ")
    }
}
