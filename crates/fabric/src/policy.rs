//! Who may be a peer: the question the wire asks, and the answer of the MSPs.
//!
//! ```text
//!   handshake ─▶ PeerPolicy::validate        session ─▶ standing_lost: asked again at expiry and after each change
//! ```
//! [`MspPolicy`] answers from a [`Trust`] that can be exchanged while the node runs. After an exchange
//! [`PeerPolicy::changes`] tells a new number, and whoever holds identities validates them again (Fabric: SuspectPeers).
//! It also keeps the organisations of channels. The gossip layer's three traits (crypto service, security advisor,
//! channel policy) are built on it.
//!
//! What was found valid is remembered: an identity's chain until the organisations are exchanged, a signature for good. So a peer that
//! comes again with the same first message costs no elliptic curves here; expiry is looked at each time.
//!
//! Limits: [`MspPolicy`] remembers [`MAX_SEEN`] organisations, chains and signatures each, the last ones. What is
//! forgotten is unknown, never wrong. Channels are named by the host program, so their number is its own.

use crate::identity::{Identity, IdentityFault};
use crate::msp::{Role, Trust};
use parking_lot::{Mutex, RwLock};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::watch;

/// Most identities of which [`MspPolicy`] knows the organisation, or the verdict; most signatures that it knows.
pub const MAX_SEEN: usize = 4_096;

/// Judges peers, and what they sign in the handshake.
pub trait PeerPolicy: Send + Sync {
    /// Whether an identity is valid now, and in which role.
    ///
    /// # Errors
    /// [`IdentityFault`].
    fn validate(&self, identity: &Identity, now: SystemTime) -> Result<Role, IdentityFault>;

    /// Checks a signature over `message`. The identity is valid already.
    ///
    /// # Errors
    /// [`IdentityFault`].
    fn verify(&self, identity: &Identity, message: &[u8], signature: &[u8]) -> Result<(), IdentityFault> {
        identity.verify(message, signature)
    }

    /// A number that changes whenever identities that were valid may no longer be.
    fn changes(&self) -> watch::Receiver<u64>;

    /// The organisation of a peer of which only the PKI-ID is known.
    fn organisation_by_id(&self, pki_id: &[u8; 32]) -> Option<String>;

    /// A peer answered with another identity than the one it was dialled by, both of one organisation: its certificate was
    /// renewed (fabric gossip/comm, IdentitySwitch).
    fn switched(&self, old: &[u8; 32], new: &Identity);
}

/// What was found out about the last few, the oldest forgotten first.
#[derive(Debug)]
struct Recent<V> {
    values: BTreeMap<[u8; 32], V>,
    order: VecDeque<[u8; 32]>,
}

impl<V> Default for Recent<V> {
    fn default() -> Self {
        Self { values: BTreeMap::new(), order: VecDeque::new() }
    }
}

impl<V> Recent<V> {
    fn note(&mut self, key: [u8; 32], value: V) {
        if self.values.insert(key, value).is_some() {
            return;
        }
        self.order.push_back(key);
        while self.order.len() > MAX_SEEN {
            if let Some(oldest) = self.order.pop_front() {
                self.values.remove(&oldest);
            }
        }
    }
}

/// The organisations, and whom they found valid: exchanged together, so that no verdict outlives them.
#[derive(Debug)]
struct Judges {
    trust: Arc<Trust>,
    valid: Mutex<Recent<Role>>,
}

impl Judges {
    fn new(trust: Trust) -> Arc<Self> {
        Arc::new(Self { trust: Arc::new(trust), valid: Mutex::default() })
    }

    /// As [`Trust::validate`]. All but the expiry depends on the identity and the organisations alone.
    fn validate(&self, identity: &Identity, now: SystemTime) -> Result<Role, IdentityFault> {
        let key = Sha256::digest(identity.serialized()).into();
        let known = self.valid.lock().values.get(&key).copied();
        if let Some(role) = known.filter(|_| now <= identity.not_after()) {
            return Ok(role);
        }
        let role = self.trust.validate(identity, now)?;
        self.valid.lock().note(key, role);
        Ok(role)
    }
}

/// The answers of the MSPs.
#[derive(Debug)]
pub struct MspPolicy {
    judges: RwLock<Arc<Judges>>,
    channels: RwLock<BTreeMap<Vec<u8>, BTreeSet<String>>>,
    changed: watch::Sender<u64>,
    /// The organisations of identities seen.
    seen: Mutex<Recent<String>>,
    /// Signatures that fit.
    proven: Mutex<Recent<()>>,
    switches: watch::Sender<Option<([u8; 32], [u8; 32])>>,
}

impl MspPolicy {
    /// Answers from these organisations. No channel is known yet.
    #[must_use]
    pub fn new(trust: Trust) -> Self {
        Self {
            judges: RwLock::new(Judges::new(trust)),
            channels: RwLock::default(),
            changed: watch::channel(0).0,
            seen: Mutex::default(),
            proven: Mutex::default(),
            switches: watch::channel(None).0,
        }
    }

    /// The organisations known now.
    #[must_use]
    pub fn trust(&self) -> Arc<Trust> {
        Arc::clone(&self.judges.read().trust)
    }

    fn judges(&self) -> Arc<Judges> {
        Arc::clone(&self.judges.read())
    }

    /// Exchanges the organisations: after a new certificate, revocation list or channel configuration.
    pub fn set_trust(&self, trust: Trust) {
        *self.judges.write() = Judges::new(trust);
        self.changed.send_modify(|number| *number += 1);
    }

    /// Names a channel's organisations, in place of those named before.
    pub fn set_channel(&self, channel: &[u8], organisations: impl IntoIterator<Item = String>) {
        self.channels.write().insert(channel.to_vec(), organisations.into_iter().collect());
        self.changed.send_modify(|number| *number += 1);
    }

    /// A channel's organisations; `None` for a channel that is not known.
    #[must_use]
    pub fn channel(&self, channel: &[u8]) -> Option<BTreeSet<String>> {
        self.channels.read().get(channel).cloned()
    }

    /// Whether an organisation takes part in a channel.
    #[must_use]
    pub fn is_org_in_channel(&self, channel: &[u8], mspid: &str) -> bool {
        self.channels.read().get(channel).is_some_and(|members| members.contains(mspid))
    }

    /// Whether an identity may read a channel: it is valid, and of one of its organisations (Fabric's default Readers).
    #[must_use]
    pub fn is_reader(&self, channel: &[u8], identity: &Identity, now: SystemTime) -> bool {
        self.is_org_in_channel(channel, identity.mspid()) && self.judges().validate(identity, now).is_ok()
    }

    /// The last switch of identity: the PKI-ID dialled and the one that answered.
    #[must_use]
    pub fn switches(&self) -> watch::Receiver<Option<([u8; 32], [u8; 32])>> {
        self.switches.subscribe()
    }
}

impl PeerPolicy for MspPolicy {
    fn validate(&self, identity: &Identity, now: SystemTime) -> Result<Role, IdentityFault> {
        let role = self.judges().validate(identity, now)?;
        self.seen.lock().note(identity.pki_id(), identity.mspid().to_owned());
        Ok(role)
    }

    fn verify(&self, identity: &Identity, message: &[u8], signature: &[u8]) -> Result<(), IdentityFault> {
        let mut hash = Sha256::new();
        for part in [&identity.serialized()[..], message, signature] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let key = hash.finalize().into();
        if self.proven.lock().values.contains_key(&key) {
            return Ok(());
        }
        identity.verify(message, signature)?;
        self.proven.lock().note(key, ());
        Ok(())
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn organisation_by_id(&self, pki_id: &[u8; 32]) -> Option<String> {
        self.seen.lock().values.get(pki_id).cloned()
    }

    fn switched(&self, old: &[u8; 32], new: &Identity) {
        self.switches.send_replace(Some((*old, new.pki_id())));
    }
}

/// Resolves, with what is wrong, when an identity that is valid no longer is: it expired, or the rules changed.
///
/// `wall` tells the time. An expiry is seen within a second of it, or at the next change of the rules if the wall clock
/// was set meanwhile.
pub async fn standing_lost(
    policy: Arc<dyn PeerPolicy>,
    identity: Arc<Identity>,
    wall: impl Fn() -> SystemTime + Send,
) -> IdentityFault {
    let mut changes = policy.changes();
    // A change between the handshake and now is seen as well.
    loop {
        changes.borrow_and_update();
        let now = wall();
        if let Err(fault) = policy.validate(&identity, now) {
            return fault;
        }
        let left = identity.not_after().duration_since(now).unwrap_or_default();
        // One millisecond later, as Fabric does (fabric gossip/identity/identity.go). Timers reach no further than this.
        let left = left.min(LONGEST_TIMER) + std::time::Duration::from_millis(1);
        tokio::select! {
            () = tokio::time::sleep(left) => {}
            changed = changes.changed() => {
                if changed.is_err() {
                    // No further change can come; expiry still can.
                    tokio::time::sleep(left).await;
                }
            }
        }
    }
}

/// A year: then the clock is looked at again.
const LONGEST_TIMER: std::time::Duration = std::time::Duration::from_secs(365 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_first_is_forgotten_first() {
        let mut seen = Recent::default();
        let id = |n: u32| {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&n.to_be_bytes());
            id
        };
        for n in 0..MAX_SEEN as u32 + 10 {
            seen.note(id(n), "Org1MSP");
            seen.note(id(n), "Org1MSP");
        }
        assert_eq!((seen.values.len(), seen.order.len()), (MAX_SEEN, MAX_SEEN));
        assert!(!seen.values.contains_key(&id(9)) && seen.values.contains_key(&id(10)));
    }

    /// What was remembered as valid is valid no longer once its time is over or its organisation is not trusted any more; a signature
    /// is remembered of its own identity, message and bytes only.
    #[test]
    fn a_remembered_verdict_does_not_outlive_its_grounds() {
        let dir = tempfile::tempdir().unwrap();
        #[allow(clippy::disallowed_methods)]
        let now = SystemTime::now();
        let folders = crate::keygen::keygen(&dir.path().join("org"), "Org1MSP", 2, now).unwrap();
        let [ours, other] =
            [0, 1].map(|n: usize| crate::msp::PeerFolder::load(&folders[n], "Org1MSP").unwrap());
        let (identity, policy) = (ours.identity.identity(), MspPolicy::new(ours.trust()));
        for _ in 0..2 {
            policy.validate(identity, now).unwrap();
            let late = identity.not_after() + std::time::Duration::from_secs(1);
            assert!(matches!(policy.validate(identity, late), Err(IdentityFault::Expired { .. })));
        }
        policy.set_trust(Trust::default());
        assert!(matches!(policy.validate(identity, now), Err(IdentityFault::UnknownOrganisation(_))));

        let signature = ours.identity.sign(b"said").unwrap();
        for _ in 0..2 {
            policy.verify(identity, b"said", &signature).unwrap();
            assert!(policy.verify(other.identity.identity(), b"said", &signature).is_err());
            assert!(policy.verify(identity, b"sai", &signature).is_err());
            assert!(policy.verify(identity, b"said", signature.get(1..).unwrap()).is_err());
        }
    }

    #[test]
    fn channels_are_read_by_their_organisations() {
        let policy = MspPolicy::new(Trust::default());
        let changes = policy.changes();
        assert_eq!(policy.channel(b"ch"), None);
        policy.set_channel(b"ch", ["Org1MSP".to_owned()]);
        assert_eq!(policy.channel(b"ch").unwrap().len(), 1);
        assert!(policy.is_org_in_channel(b"ch", "Org1MSP") && !policy.is_org_in_channel(b"ch", "Org2MSP"));
        assert!(changes.has_changed().unwrap());
    }
}
