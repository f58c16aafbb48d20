//! The host that gossip asks, over the wire's own keys and MSPs.
//!
//! ```text
//!   verify(who, payload, signature) ─▶ remembered? ─▶ the identity's key ─▶ remembered
//! ```
//! Verdicts are remembered, so what was checked before the state's lock was taken (`super::precheck`) costs a hash under it.
//! A change of the organisations makes a remembered validity worthless: its number is part of the key. Expiry is looked at each time.

use super::known::{KnownPeers, Memo};
use crate::block::{Block, Verifier};
use crate::host::{ChannelPolicy, CryptoService, Host, Refusal, SecurityAdvisor};
use crate::privdata::{self, Subject};
use crate::types::{Channel, Org, PkiId};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use prost::Message;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use switchboard_fabric::Fabric;
use switchboard_fabric::identity::{Identity, pki_id};
use switchboard_fabric::message::SerializedIdentity;
use switchboard_fabric::msp::Role;
use switchboard_fabric::policy::PeerPolicy;

fn refusal(why: impl std::fmt::Display) -> Refusal {
    Refusal(switchboard::text::printable(&why.to_string()))
}

/// The PKI-ID of a serialized identity, whose certificate is not read for it.
fn named(identity: &Bytes) -> Option<PkiId> {
    let SerializedIdentity { mspid, id_bytes } = SerializedIdentity::decode(identity.clone()).ok()?;
    Some(PkiId(pki_id(&mspid, &id_bytes)))
}

/// One key of parts: each with its length, so that no two lists of parts are alike.
fn key(kind: u8, parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update([kind]);
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// Signs with the node's key, and judges by its MSPs.
pub struct MspCrypto {
    wire: Arc<Fabric>,
    known: Arc<KnownPeers>,
    memo: Mutex<Memo>,
    verifiers: RwLock<BTreeMap<Channel, Verifier>>,
    wall: Box<dyn Fn() -> SystemTime + Send + Sync>,
}

impl std::fmt::Debug for MspCrypto {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MspCrypto({} known)", self.known.len())
    }
}

impl MspCrypto {
    /// A host with the keys of `wire`; `known` is the wire's own policy.
    #[must_use]
    pub fn new(
        wire: Arc<Fabric>,
        known: Arc<KnownPeers>,
        wall: impl Fn() -> SystemTime + Send + Sync + 'static,
    ) -> Arc<Self> {
        let (memo, verifiers) = (Mutex::default(), RwLock::default());
        Arc::new(Self { wire, known, memo, verifiers, wall: Box::new(wall) })
    }

    /// All three services in one.
    #[must_use]
    pub fn host(self: &Arc<Self>) -> Host {
        Host {
            crypto: Arc::clone(self) as Arc<dyn CryptoService>,
            advisor: Arc::clone(self) as Arc<dyn SecurityAdvisor>,
            policy: Arc::clone(self) as Arc<dyn ChannelPolicy>,
        }
    }

    /// Whom it knows.
    #[must_use]
    pub fn known(&self) -> &Arc<KnownPeers> {
        &self.known
    }

    /// Judges the blocks of a channel so from now on. Blocks of other channels are refused.
    pub fn set_verifier(&self, channel: &Channel, verifier: Verifier) {
        self.verifiers.write().insert(channel.clone(), verifier);
    }

    /// Our own serialized identity.
    #[must_use]
    pub fn own_identity(&self) -> Bytes {
        self.wire.config().folder.identity.identity().serialized().clone()
    }

    /// Who somebody is to collection policies.
    #[must_use]
    pub fn subject(&self, id: &PkiId) -> Option<Subject> {
        let known = self.known.get(id)?;
        Some(subject(&known.identity, known.role))
    }

    fn number(&self) -> [u8; 8] {
        let changes = self.known.changes();
        let number = *changes.borrow();
        number.to_be_bytes()
    }

    fn remembered(&self, key: [u8; 32], judge: impl FnOnce() -> Result<(), Refusal>) -> Result<(), Refusal> {
        if let Some(verdict) = self.memo.lock().get(&key) {
            return if verdict { Ok(()) } else { Err(Refusal("refused before".into())) };
        }
        let verdict = judge();
        self.memo.lock().put(key, verdict.is_ok());
        verdict
    }

    fn decode(&self, id: Option<PkiId>, identity: &Bytes) -> Result<Arc<Identity>, Refusal> {
        // Reading the certificate takes far longer than naming it.
        let id = id.or_else(|| named(identity));
        let known = id.and_then(|id| self.known.get(&id)).map(|known| known.identity);
        match known.filter(|known| known.serialized() == identity) {
            Some(known) => Ok(known),
            None => Identity::decode(identity.clone()).map(Arc::new).map_err(refusal),
        }
    }
}

/// Who an identity is to collection policies.
#[must_use]
pub fn subject(identity: &Identity, role: Role) -> Subject {
    use privdata::Role as In;
    let role = match role {
        Role::Member => None,
        Role::Client => Some(In::Client),
        Role::Peer => Some(In::Peer),
        Role::Admin => Some(In::Admin),
        Role::Orderer => Some(In::Orderer),
    };
    Subject { mspid: identity.mspid().to_owned(), role }
}

impl CryptoService for MspCrypto {
    fn sign(&self, payload: &[u8]) -> Result<Bytes, Refusal> {
        self.wire.config().folder.identity.sign(payload).map_err(refusal)
    }

    fn verify(&self, who: PkiId, identity: &Bytes, payload: &[u8], signature: &[u8]) -> Result<(), Refusal> {
        self.remembered(key(1, &[&who.0, payload, signature]), || {
            let identity = self.decode(Some(who), identity)?;
            self.known.policy().verify(&identity, payload, signature).map_err(refusal)
        })
    }

    fn validate_identity(&self, identity: &Bytes, wall: u64) -> Result<(), Refusal> {
        if self.expires(identity).is_some_and(|end| end <= wall) {
            return Err(Refusal("the certificate expired".into()));
        }
        self.remembered(key(2, &[identity, &self.number()]), || {
            let decoded = self.decode(None, identity)?;
            let now = UNIX_EPOCH + Duration::from_nanos(wall);
            self.known.validate(&decoded, now).map(drop).map_err(refusal)
        })
    }

    fn pki_id_of(&self, identity: &Bytes) -> Option<PkiId> {
        Some(PkiId(self.decode(None, identity).ok()?.pki_id()))
    }

    fn expires(&self, identity: &Bytes) -> Option<u64> {
        let end = self.decode(None, identity).ok()?.not_after();
        // A time before 1970 is one that is over.
        let left = end.duration_since(UNIX_EPOCH).unwrap_or_default();
        Some(u64::try_from(left.as_nanos()).unwrap_or(u64::MAX))
    }

    fn verify_block(&self, channel: &Channel, number: u64, block: &Bytes) -> Result<(), Refusal> {
        let verifier = self.verifiers.read().get(channel).cloned();
        let verifier = verifier.ok_or_else(|| Refusal(format!("channel {channel} has no block policy")))?;
        self.remembered(key(3, &[channel.as_bytes(), &number.to_be_bytes(), block]), || {
            let block = Block::decode(block.clone()).map_err(refusal)?;
            verifier.check(number, &block).map_err(refusal)
        })
    }
}

impl SecurityAdvisor for MspCrypto {
    fn org_by_peer_identity(&self, identity: &Bytes) -> Option<Org> {
        Org::parse(self.decode(None, identity).ok()?.mspid())
    }
}

impl ChannelPolicy for MspCrypto {
    fn is_reader(&self, channel: &Channel, who: PkiId, identity: &Bytes) -> bool {
        let parts: [&[u8]; 4] = [channel.as_bytes(), &who.0, identity, &self.number()];
        let judged = self.remembered(key(4, &parts), || {
            let identity = self.decode(Some(who), identity)?;
            let reads = self.known.policy().is_reader(channel.as_bytes(), &identity, (self.wall)());
            if reads { Ok(()) } else { Err(Refusal("not a reader".into())) }
        });
        judged.is_ok()
    }
}
