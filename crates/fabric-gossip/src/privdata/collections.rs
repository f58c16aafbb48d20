//! Collections: what of a chaincode's data is private, who may have it, how it is spread and how long it lives.
//!
//! ```text
//!   file      [ { "name", "policy", "requiredPeerCount", "maxPeerCount", "blockToLive", "memberOnlyRead", … }, … ]
//!   protobuf  CollectionConfigPackage { config 1 { static_collection_config 1 { name 1, member_orgs_policy 2 {
//!             signature_policy 1 }, required_peer_count 3, maximum_peer_count 4, block_to_live 5, member_only_read 6, member_only_write 7 } } }
//! ```
//! (Fabric's collections_config.json; fabric-protos peer/collection.proto) The file does not say of which chaincode it is: its
//! operator does. A collection `_implicit_org_ORG` is there without a file (fabric core/chaincode/implicitcollection).
//!
//! Limits: [`MAX_FILE`] bytes, [`MAX_COLLECTIONS`] of a chaincode, [`MAX_NAMESPACES`] chaincodes.

use super::policy::{Policy, PolicyFault, Subject};
use crate::block::Malformed;
use crate::block::transaction::MAX_NAME;
use crate::block::walk::{Writer, bytes_of, every, number_of};
use crate::config::ImplicitCollection;
use bytes::Bytes;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Longest file.
pub const MAX_FILE: usize = 1 << 20;
/// Collections of a chaincode.
pub const MAX_COLLECTIONS: usize = 1_024;
/// Chaincodes with collections in a channel.
pub const MAX_NAMESPACES: usize = 1_024;
/// How the names of implicit collections begin.
pub const IMPLICIT: &str = "_implicit_org_";

/// A collection of a chaincode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collection {
    /// Namespace: the chaincode.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Who may have its data.
    pub policy: Policy,
    /// Peers that must acknowledge a push.
    pub required_peers: usize,
    /// Peers that are pushed to.
    pub maximum_peers: usize,
    /// Blocks after which data goes; 0 for never.
    pub block_to_live: u64,
    /// Only clients of members may read it.
    pub member_only_read: bool,
    /// Only clients of members may write it.
    pub member_only_write: bool,
}

/// Why a collection is refused. Whoever wrote it is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CollectionFault {
    /// Not JSON of the right form.
    #[error("not a collections_config.json: {0}")]
    Json(String),
    /// Over a limit.
    #[error("over {limit} {what}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// How many.
        limit: usize,
    },
    /// A name that no collection can have.
    #[error("{0:?} is no name of a collection or chaincode")]
    Name(String),
    /// The same name twice.
    #[error("collection {0:?} stands twice")]
    Twice(String),
    /// Less at most than at least.
    #[error("collection {0:?}: maxPeerCount is less than requiredPeerCount")]
    Counts(String),
    /// The policy of a collection.
    #[error("policy of collection {name:?}: {fault}")]
    Policy {
        /// Which collection.
        name: String,
        /// What is wrong.
        fault: PolicyFault,
    },
    /// Not an encoded package.
    #[error("not an encoded collection configuration: {0}")]
    Encoding(#[from] Malformed),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    name: String,
    policy: String,
    #[serde(default)]
    required_peer_count: u32,
    max_peer_count: Option<u32>,
    #[serde(default)]
    block_to_live: u64,
    #[serde(default)]
    member_only_read: bool,
    #[serde(default)]
    member_only_write: bool,
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(|b| b.is_ascii_graphic())
}

impl Collection {
    /// Whether this member may have its data.
    #[must_use]
    pub fn admits(&self, subject: &Subject) -> bool {
        self.policy.admits(subject)
    }

    /// The block with whose commit the data of a block ends; `None` when it never does.
    #[must_use]
    pub fn ends_at(&self, block: u64) -> Option<u64> {
        // fabric core/ledger/pvtdatapolicy/btlpolicy.go: data of a block lives through that many blocks after it.
        if self.block_to_live == 0 { None } else { block.checked_add(self.block_to_live)?.checked_add(1) }
    }

    fn implicit(namespace: &str, name: &str, own: &str, options: &ImplicitCollection) -> Option<Self> {
        let mspid = name.strip_prefix(IMPLICIT).filter(|mspid| !mspid.is_empty())?;
        // Only the own organisation's are spread; one of another organisation goes to that one's peers.
        let (required_peers, maximum_peers) = match mspid == own {
            true => (options.required_peer_count, options.max_peer_count),
            false => (0, 1),
        };
        Some(Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            policy: Policy::member_of(mspid),
            required_peers,
            maximum_peers,
            block_to_live: 0,
            member_only_read: false,
            member_only_write: false,
        })
    }

    fn checked(self) -> Result<Self, CollectionFault> {
        if !is_name(&self.name) {
            return Err(CollectionFault::Name(switchboard::text::printable(&self.name)));
        }
        if self.maximum_peers < self.required_peers {
            return Err(CollectionFault::Counts(self.name));
        }
        Ok(self)
    }

    /// Encodes it as a package of one, as it travels with pushed data.
    #[must_use]
    pub fn package(&self) -> Bytes {
        let policy = Writer::default().message(1, &self.policy.encode()).done();
        let collection = Writer::default().bytes(1, self.name.as_bytes()).message(2, &policy);
        let collection =
            collection.number(3, self.required_peers as u64).number(4, self.maximum_peers as u64);
        let collection = collection.number(5, self.block_to_live).number(6, self.member_only_read.into());
        let collection = collection.number(7, self.member_only_write.into()).done();
        let config = Writer::default().message(1, &collection).done();
        Writer::default().message(1, &config).done().into()
    }
}

/// Reads a `collections_config.json` of a chaincode.
///
/// # Errors
/// [`CollectionFault`].
pub fn from_json(namespace: &str, text: &str) -> Result<Vec<Collection>, CollectionFault> {
    if text.len() > MAX_FILE {
        return Err(CollectionFault::Limit { what: "bytes", limit: MAX_FILE });
    }
    let written: Vec<Written> =
        serde_json::from_str(text).map_err(|error| CollectionFault::Json(error.to_string()))?;
    let read = |written: Written| {
        let policy = written.policy.parse();
        let policy = policy.map_err(|fault| CollectionFault::Policy { name: written.name.clone(), fault })?;
        let collection = Collection {
            namespace: namespace.to_owned(),
            name: written.name,
            policy,
            required_peers: written.required_peer_count as usize,
            // Fabric's command takes 1 when it is not said.
            maximum_peers: written.max_peer_count.unwrap_or(1) as usize,
            block_to_live: written.block_to_live,
            member_only_read: written.member_only_read,
            member_only_write: written.member_only_write,
        };
        collection.checked()
    };
    written.into_iter().map(read).collect()
}

/// Reads an encoded CollectionConfigPackage of a chaincode.
///
/// # Errors
/// [`CollectionFault`].
pub fn decode_package(namespace: &str, bytes: &[u8]) -> Result<Vec<Collection>, CollectionFault> {
    let mut found = Vec::new();
    for config in every(bytes, 1) {
        if found.len() == MAX_COLLECTIONS {
            return Err(CollectionFault::Limit { what: "collections", limit: MAX_COLLECTIONS });
        }
        let collection = bytes_of(config?, 1)?.ok_or(Malformed)?;
        let name = bytes_of(collection, 1)?.unwrap_or_default();
        let name = std::str::from_utf8(name).map_err(|_| Malformed)?.to_owned();
        let policy = bytes_of(bytes_of(collection, 2)?.unwrap_or_default(), 1)?.unwrap_or_default();
        let policy = Policy::decode(policy);
        let policy = policy.map_err(|fault| CollectionFault::Policy { name: name.clone(), fault })?;
        let count = |field| -> Result<usize, Malformed> {
            let value = u32::try_from(number_of(collection, field)?).map_err(|_| Malformed)?;
            Ok(value as usize)
        };
        let collection = Collection {
            namespace: namespace.to_owned(),
            name,
            policy,
            required_peers: count(3)?,
            maximum_peers: count(4)?,
            block_to_live: number_of(collection, 5)?,
            member_only_read: number_of(collection, 6)? != 0,
            member_only_write: number_of(collection, 7)? != 0,
        };
        found.push(collection.checked()?);
    }
    Ok(found)
}

/// The collections of a channel.
#[derive(Debug, Clone)]
pub struct Collections {
    own: String,
    implicit: ImplicitCollection,
    by_namespace: BTreeMap<String, BTreeMap<String, Arc<Collection>>>,
}

impl Collections {
    /// None but the implicit ones; `own` is our MSP id.
    #[must_use]
    pub fn new(own: &str, implicit: ImplicitCollection) -> Self {
        Self { own: own.to_owned(), implicit, by_namespace: BTreeMap::new() }
    }

    /// Sets the collections of a chaincode, in place of those it had.
    ///
    /// # Errors
    /// [`CollectionFault`]; nothing is changed then.
    pub fn define(&mut self, namespace: &str, collections: Vec<Collection>) -> Result<(), CollectionFault> {
        if !is_name(namespace) {
            return Err(CollectionFault::Name(switchboard::text::printable(namespace)));
        }
        if collections.len() > MAX_COLLECTIONS {
            return Err(CollectionFault::Limit { what: "collections", limit: MAX_COLLECTIONS });
        }
        if self.by_namespace.len() >= MAX_NAMESPACES && !self.by_namespace.contains_key(namespace) {
            return Err(CollectionFault::Limit { what: "chaincodes", limit: MAX_NAMESPACES });
        }
        let mut defined = BTreeMap::new();
        for collection in collections {
            let mut collection = collection.checked()?;
            namespace.clone_into(&mut collection.namespace);
            let name = collection.name.clone();
            if defined.insert(name.clone(), Arc::new(collection)).is_some() {
                return Err(CollectionFault::Twice(switchboard::text::printable(&name)));
            }
        }
        self.by_namespace.insert(namespace.to_owned(), defined);
        Ok(())
    }

    /// A collection by name; `None` when it is not known.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<Collection>> {
        if let Some(found) = self.by_namespace.get(namespace).and_then(|named| named.get(name)) {
            return Some(found.clone());
        }
        Collection::implicit(namespace, name, &self.own, &self.implicit).map(Arc::new)
    }
}
