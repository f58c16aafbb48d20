//! Identities that were validated, and verdicts that need not be found twice.
//!
//! ```text
//!   handshake, gossip ─▶ PeerPolicy::validate ─▶ MspPolicy ─▶ noted: PKI-ID ─▶ identity, role
//! ```
//! The wire tells a peer's PKI-ID only; gossip wants its serialized identity, and collection policies its role. [`KnownPeers`] stands
//! between the wire and the MSPs and remembers both.
//!
//! Limits: [`MAX_KNOWN`] identities, the first noted is forgotten first; [`MAX_SWITCHES`] identity switches wait; a [`Memo`] holds
//! twice [`MAX_VERDICTS`] verdicts. What is forgotten is computed again.

use crate::types::PkiId;
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;
use switchboard_fabric::MspPolicy;
use switchboard_fabric::identity::{Identity, IdentityFault};
use switchboard_fabric::msp::Role;
use switchboard_fabric::policy::PeerPolicy;
use tokio::sync::{Notify, watch};

/// Identities remembered.
pub const MAX_KNOWN: usize = 16_384;
/// Identity switches that wait to be handled; the wire tells one a dial.
pub const MAX_SWITCHES: usize = 1_024;
/// Verdicts remembered, half of them at least.
pub const MAX_VERDICTS: usize = 16_384;

/// Verdicts by what they were found for. When it is full, the older half is forgotten at once.
#[derive(Debug, Default)]
pub struct Memo {
    young: HashMap<[u8; 32], bool>,
    old: HashMap<[u8; 32], bool>,
}

impl Memo {
    /// The verdict, if it is remembered.
    #[must_use]
    pub fn get(&self, key: &[u8; 32]) -> Option<bool> {
        self.young.get(key).or_else(|| self.old.get(key)).copied()
    }

    /// Remembers a verdict.
    pub fn put(&mut self, key: [u8; 32], verdict: bool) {
        if self.young.len() >= MAX_VERDICTS {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, verdict);
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A validated identity, decoded.
#[derive(Debug, Clone)]
pub struct KnownPeer {
    /// The identity.
    pub identity: Arc<Identity>,
    /// Its role in its organisation.
    pub role: Role,
}

#[derive(Debug, Default)]
struct Table {
    peers: BTreeMap<PkiId, KnownPeer>,
    order: VecDeque<PkiId>,
}

/// The MSPs' policy, and whom it found valid.
#[derive(Debug)]
pub struct KnownPeers {
    policy: Arc<MspPolicy>,
    table: RwLock<Table>,
    switched: Mutex<VecDeque<PkiId>>,
    /// Tells that an identity was switched.
    pub(super) switch: Notify,
}

impl KnownPeers {
    /// Knows nobody yet. Give it to the wire as its `peers`.
    #[must_use]
    pub fn new(policy: Arc<MspPolicy>) -> Arc<Self> {
        let (table, switched) = (RwLock::default(), Mutex::default());
        Arc::new(Self { policy, table, switched, switch: Notify::new() })
    }

    /// The MSPs.
    #[must_use]
    pub fn policy(&self) -> &Arc<MspPolicy> {
        &self.policy
    }

    /// Somebody who was found valid. The certificate may have expired or been revoked since.
    #[must_use]
    pub fn get(&self, id: &PkiId) -> Option<KnownPeer> {
        self.table.read().peers.get(id).cloned()
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.read().peers.len()
    }

    /// Whether nobody is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn take_switched(&self) -> VecDeque<PkiId> {
        std::mem::take(&mut self.switched.lock())
    }

    fn note(&self, identity: &Identity, role: Role) {
        let id = PkiId(identity.pki_id());
        if self.table.read().peers.get(&id).is_some_and(|known| known.role == role) {
            return;
        }
        let mut table = self.table.write();
        if table.peers.insert(id, KnownPeer { identity: Arc::new(identity.clone()), role }).is_none() {
            table.order.push_back(id);
        }
        while table.order.len() > MAX_KNOWN {
            if let Some(oldest) = table.order.pop_front() {
                table.peers.remove(&oldest);
            }
        }
    }
}

impl PeerPolicy for KnownPeers {
    fn validate(&self, identity: &Identity, now: SystemTime) -> Result<Role, IdentityFault> {
        let role = self.policy.validate(identity, now)?;
        self.note(identity, role);
        Ok(role)
    }

    fn verify(&self, identity: &Identity, message: &[u8], signature: &[u8]) -> Result<(), IdentityFault> {
        self.policy.verify(identity, message, signature)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.policy.changes()
    }

    fn organisation_by_id(&self, pki_id: &[u8; 32]) -> Option<String> {
        let known = self.get(&PkiId(*pki_id)).map(|known| known.identity.mspid().to_owned());
        known.or_else(|| self.policy.organisation_by_id(pki_id))
    }

    fn switched(&self, old: &[u8; 32], new: &Identity) {
        self.policy.switched(old, new);
        let mut waiting = self.switched.lock();
        if waiting.len() < MAX_SWITCHES {
            waiting.push_back(PkiId(*old));
        }
        drop(waiting);
        self.switch.notify_one();
    }
}
