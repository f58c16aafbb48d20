//! What the task is told.

use crate::addr::is_special;
use crate::{Node, NodeId};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use switchboard::Env;
use switchboard::store::{Space, StoreError};
use switchboard_enr::enode::EnodeError;
use switchboard_enr::{Enode, NodeKey, Record};
use tokio::time::timeout;

/// How long a start node's name may take to be looked up.
const NAME_WITHIN: Duration = Duration::from_secs(5);

/// Which versions run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// discv4.
    pub v4: bool,
    /// discv5.
    pub v5: bool,
}

impl Versions {
    /// Both.
    pub const BOTH: Self = Self { v4: true, v5: true };
}

/// A node to start from, as an operator writes it: an enode URL, or a record, which says more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bootnode {
    /// Who and where.
    pub enode: Enode,
    /// The record, where one was given.
    pub record: Option<Arc<Record>>,
}

/// Why a text is no start node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BootnodeError {
    /// It is no address at all.
    #[error(transparent)]
    Address(#[from] EnodeError),
    /// It does not say where discovery packets go.
    #[error("names no address with a UDP port, so nobody can be asked there")]
    NoEndpoint,
}

impl FromStr for Bootnode {
    type Err = BootnodeError;

    fn from_str(text: &str) -> Result<Self, BootnodeError> {
        let enode = Enode::parse(text)?;
        if enode.endpoint.as_ref().is_none_or(|at| at.udp == 0) {
            return Err(BootnodeError::NoEndpoint);
        }
        let record = text.starts_with("enr:").then(|| Record::parse(text).ok()).flatten().map(Arc::new);
        Ok(Self { enode, record })
    }
}

impl std::fmt::Display for Bootnode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.record {
            Some(record) => write!(f, "{record}"),
            None => write!(f, "{}", self.enode),
        }
    }
}

impl Bootnode {
    /// The node; a DNS name is looked up, for up to 5 seconds. `None` when it has no address.
    pub async fn node(&self, env: &Env) -> Option<Node> {
        if let Some(record) = &self.record {
            return Node::from_record(Arc::clone(record));
        }
        if let Some(node) = Node::from_enode(&self.enode) {
            return Some(node);
        }
        let at = self.enode.endpoint.as_ref()?;
        let found = timeout(NAME_WITHIN, env.net().resolve(&at.host, at.udp)).await.ok()?.ok()?;
        let ip = found.first()?.ip();
        Some(Node::new(self.enode.key.to_bytes(), ip, at.udp, at.tcp))
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        NodeId(self.enode.key.node_id())
    }
}

/// What discovery is set up with.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DiscoveryConfig {
    /// The node's key.
    pub key: Arc<NodeKey>,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Which versions run.
    pub versions: Versions,
    /// Nodes to start from.
    pub bootnodes: Vec<Bootnode>,
    /// The TCP port that the record names; none for a node that takes no connections.
    pub tcp: Option<u16>,
    /// The address that the record names whatever others say, and its UDP port where that is another than ours.
    pub external: Option<(IpAddr, Option<u16>)>,
    /// Further entries of the record, RLP by key.
    pub entries: Vec<(String, Vec<u8>)>,
    /// Where the records of nodes are kept; without it they are forgotten at the end.
    pub store: Option<Space>,
    /// Networks to talk to; empty: all.
    pub restrict: Vec<IpNet>,
    /// Longest time between two refreshes of the tables.
    pub refresh: Duration,
}

impl DiscoveryConfig {
    /// Changes some of it.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Both versions, nobody to start from.
    #[must_use]
    pub fn new(key: Arc<NodeKey>, listen: SocketAddr) -> Self {
        Self {
            key,
            listen,
            versions: Versions::BOTH,
            bootnodes: Vec::new(),
            tcp: None,
            external: None,
            entries: Vec::new(),
            store: None,
            restrict: Vec::new(),
            refresh: Duration::from_secs(30 * 60),
        }
    }

    /// The address to name while none is set or predicted: where we listen, or this machine.
    pub(super) fn fallback(&self) -> IpAddr {
        let ip = self.listen.ip().to_canonical();
        match ip {
            ip if !ip.is_unspecified() && !is_special(ip) => ip,
            IpAddr::V4(_) => IpAddr::from([127, 0, 0, 1]),
            IpAddr::V6(_) => IpAddr::from(std::net::Ipv6Addr::LOCALHOST),
        }
    }
}

/// Why discovery does not start. Always a local matter.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// No socket at the address.
    #[error("cannot listen on UDP {addr}: {error}")]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// No version was chosen.
    #[error("neither discv4 nor discv5 was chosen")]
    NoVersion,
    /// An entry cannot be in a record.
    #[error("the record cannot hold {key}: {error}")]
    Entry {
        /// The entry.
        key: String,
        /// Why.
        error: switchboard_enr::record::RecordError,
    },
    /// The records of nodes cannot be read.
    #[error("cannot read the records of nodes: {0}")]
    Store(#[from] StoreError),
}
