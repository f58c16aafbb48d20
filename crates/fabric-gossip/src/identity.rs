//! The identities this node knows: validated once, forgotten when they end.
//!
//! ```text
//!   put ─ validate (MSP) ─ PKI-ID as claimed ─ not expired ─▶ known ──expiry + 1 ms, 1 h unused, suspected and invalid──▶ purged
//! ```
//! (fabric gossip/identity/identity.go) A renewed certificate has another PKI-ID, so it is simply another identity; the old one
//! is purged when it expires, or at once when the shell says that a peer came back with a new one (fabric#5111).
//!
//! Limits: [`CAPACITY`] identities of up to [`MAX_IDENTITY`] bytes; when full, the one unused for longest goes. Only validated
//! identities are kept, so a stranger fills nothing. Our own is never purged.

use crate::host::Host;
use crate::id_map::IdMap;
use crate::types::{Now, Org, PkiId};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::time::Duration;
pub use switchboard_fabric::identity::MAX_IDENTITY;

/// Identities known at a time.
pub const CAPACITY: usize = 16_384;
/// An identity unused for this long is purged (gossip/identity/identity.go).
pub const UNUSED: Duration = Duration::from_secs(3_600);
/// How often that is looked for.
pub const UNUSED_CHECK: Duration = Duration::from_secs(360);
/// How long after its end an identity is purged, in nanoseconds.
const EXPIRY_MARGIN: u64 = 1_000_000;

/// Why an identity is not taken; whoever presented it is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityRefusal {
    /// Empty or too long.
    #[error("an identity of {0} bytes")]
    Size(usize),
    /// Unreadable, or of another PKI-ID than claimed.
    #[error("the PKI-ID is not that of the identity")]
    PkiId,
    /// Its time is over.
    #[error("the identity is expired")]
    Expired,
    /// No organisation is known for it.
    #[error("the identity is of no known organisation")]
    NoOrg,
    /// The host refused it.
    #[error("the identity is not valid: {0}")]
    Invalid(String),
}

/// A known identity.
#[derive(Debug, Clone)]
pub struct Known {
    /// As it travels.
    pub identity: Bytes,
    /// Its organisation.
    pub org: Org,
    expires: Option<u64>,
    used: Duration,
}

/// The identities of a node.
#[derive(Debug)]
pub struct IdentityStore {
    own: PkiId,
    known: IdMap<Known>,
    ends: BTreeSet<(u64, PkiId)>,
    next_check: Duration,
    capacity: usize,
}

impl IdentityStore {
    /// A store with our own identity in it.
    ///
    /// # Errors
    /// When our own identity is not valid: the operator is at fault.
    pub fn new(host: &Host, own: &Bytes, now: Now) -> Result<Self, IdentityRefusal> {
        let id = host.crypto.pki_id_of(own).ok_or(IdentityRefusal::PkiId)?;
        let next_check = now.mono + UNUSED_CHECK;
        let mut store =
            Self { own: id, known: IdMap::default(), ends: BTreeSet::new(), next_check, capacity: CAPACITY };
        store.put(host, id, own, now)?;
        Ok(store)
    }

    /// Our own PKI-ID.
    #[must_use]
    pub fn own(&self) -> PkiId {
        self.own
    }

    /// Takes an identity that is claimed to be that of `id`. Returns whether it is new.
    ///
    /// # Errors
    /// [`IdentityRefusal`].
    pub fn put(
        &mut self,
        host: &Host,
        id: PkiId,
        identity: &Bytes,
        now: Now,
    ) -> Result<bool, IdentityRefusal> {
        if let Some(known) = self.known.get_mut(&id)
            && known.identity == *identity
        {
            known.used = now.mono;
            return Ok(false);
        }
        if identity.is_empty() || identity.len() > MAX_IDENTITY {
            return Err(IdentityRefusal::Size(identity.len()));
        }
        if host.crypto.pki_id_of(identity) != Some(id) {
            return Err(IdentityRefusal::PkiId);
        }
        let expires = host.crypto.expires(identity);
        if expires.is_some_and(|end| end <= now.wall) {
            return Err(IdentityRefusal::Expired);
        }
        host.crypto.validate_identity(identity, now.wall).map_err(|why| IdentityRefusal::Invalid(why.0))?;
        let org = host.advisor.org_by_peer_identity(identity).ok_or(IdentityRefusal::NoOrg)?;
        // One text for our own organisation, so that its members are told apart from others without reading it.
        let own_org = self.known.get(&self.own).map(|known| &known.org);
        let org = own_org.filter(|own| **own == org).cloned().unwrap_or(org);
        if self.known.len() >= self.capacity {
            let own = self.own;
            let oldest = self.known.iter().filter(|(id, _)| **id != own).min_by_key(|(_, known)| known.used);
            if let Some(oldest) = oldest.map(|(id, _)| *id) {
                self.remove(&oldest);
            }
        }
        self.ends.extend(expires.map(|end| (end, id)));
        // A copy, so that the identity does not keep the whole message it came in.
        let identity = Bytes::copy_from_slice(identity);
        self.known.insert(id, Known { identity, org, expires, used: now.mono });
        Ok(true)
    }

    /// An identity; it counts as used.
    pub fn get(&mut self, id: &PkiId, now: Now) -> Option<&Known> {
        let known = self.known.get_mut(id)?;
        if known.expires.is_some_and(|end| end.saturating_add(EXPIRY_MARGIN) <= now.wall) {
            return None;
        }
        known.used = now.mono;
        Some(known)
    }

    /// An identity, without using it.
    #[must_use]
    pub fn peek(&self, id: &PkiId) -> Option<&Known> {
        self.known.get(id)
    }

    /// The organisation of an identity.
    #[must_use]
    pub fn org_of(&self, id: &PkiId) -> Option<&Org> {
        self.known.get(id).map(|known| &known.org)
    }

    /// All identities, by PKI-ID.
    pub fn iter(&self) -> impl Iterator<Item = (&PkiId, &Known)> {
        self.known.iter()
    }

    /// Forgets an identity; our own stays.
    pub fn remove(&mut self, id: &PkiId) -> bool {
        if *id == self.own {
            return false;
        }
        let Some(known) = self.known.remove(id) else { return false };
        if let Some(end) = known.expires {
            self.ends.remove(&(end, *id));
        }
        true
    }

    /// Purges what ended or went unused, and says why.
    pub fn tick(&mut self, now: Now) -> Vec<(PkiId, &'static str)> {
        let mut purged = Vec::new();
        while let Some((end, id)) = self.ends.first().copied() {
            if end.saturating_add(EXPIRY_MARGIN) > now.wall {
                break;
            }
            self.ends.remove(&(end, id));
            if self.remove(&id) {
                purged.push((id, "the certificate expired"));
            }
        }
        if now.mono >= self.next_check {
            self.next_check = now.mono + UNUSED_CHECK;
            let unused = |known: &Known| now.mono >= known.used + UNUSED;
            let unused: Vec<_> =
                self.known.iter().filter(|(_, known)| unused(known)).map(|(id, _)| *id).collect();
            purged.extend(
                unused.into_iter().filter(|id| self.remove(id)).map(|id| (id, "not used for an hour")),
            );
        }
        purged
    }

    /// Validates again the identities that are suspected, after a change of certificates or revocation lists.
    pub fn suspect(
        &mut self,
        host: &Host,
        mut suspected: impl FnMut(&PkiId, &Known) -> bool,
        now: Now,
    ) -> Vec<(PkiId, &'static str)> {
        let invalid = self.known.iter().filter(|(id, known)| {
            suspected(id, known) && host.crypto.validate_identity(&known.identity, now.wall).is_err()
        });
        let invalid: Vec<_> = invalid.map(|(id, _)| *id).collect();
        invalid.into_iter().filter(|id| self.remove(id)).map(|id| (id, "not valid any more")).collect()
    }

    /// When to tick next.
    #[must_use]
    pub fn wake(&self, now: Now) -> Duration {
        let end = self.ends.first().map(|(end, _)| {
            let left = end.saturating_add(EXPIRY_MARGIN).saturating_sub(now.wall);
            now.mono.saturating_add(Duration::from_nanos(left))
        });
        end.map_or(self.next_check, |end| end.min(self.next_check))
    }

    #[cfg(test)]
    pub(crate) fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity;
    }
}

#[cfg(test)]
mod tests;
