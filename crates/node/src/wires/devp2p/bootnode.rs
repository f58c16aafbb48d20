//! A bootnode: discovery and nothing else, on one UDP port.
//!
//! Its URL has one port, as people write it: discovery answers there. No TCP connection is taken, and its record says so.

use super::discovery::{self, DiscoverySettings, NAME, Router};
use crate::data::DataFolder;
use crate::error::NodeError;
use crate::kit::{External, KeySource};
use crate::store::DiskStore;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use switchboard::Env;
use switchboard::store::{Space, StoreError};
use switchboard_discv::udp::{Bootnode as StartNode, Discovery, StartError, Versions};
use switchboard_enr::enode::Endpoint;
use switchboard_enr::{Enode, NodePublic};
use switchboard_nat::NatSpec;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// What a bootnode is told.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BootnodeConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Which versions run.
    pub versions: Versions,
    /// Folder for its key and the records of nodes.
    pub data: Option<PathBuf>,
    /// Where its key comes from.
    pub key: KeySource,
    /// Further bootnodes.
    pub bootnodes: Vec<StartNode>,
    /// What others are told to use in place of the address it listens on.
    pub external: Option<External>,
    /// How it is reached.
    pub nat: NatSpec,
}

impl BootnodeConfig {
    /// Changes some of it.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// A bootnode at an address, with both versions and nobody to start from.
    #[must_use]
    pub fn new(listen: SocketAddr, key: KeySource) -> Self {
        let (versions, nat) = (Versions { v4: true, v5: true }, NatSpec::default());
        Self { listen, versions, data: None, key, bootnodes: Vec::new(), external: None, nat }
    }
}

/// What to change when discovery does not start.
#[must_use]
pub fn not_started(error: StartError) -> NodeError {
    match &error {
        StartError::Bind { error: why, .. } if why.kind() == std::io::ErrorKind::AddrInUse => {
            NodeError::usage(format!(
                "{error}; another program uses this port: choose another with --listen, or port 0"
            ))
        }
        StartError::Bind { .. } => NodeError::usage(format!("{error}: choose another --listen")),
        StartError::Store(_) => NodeError::usage(format!("{error}: choose another --data")),
        _ => NodeError::usage(error),
    }
}

/// A running bootnode.
#[derive(Debug)]
pub struct Bootnode {
    discovery: Discovery,
    public: NodePublic,
    external: Option<External>,
    router: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
    _data: Option<DataFolder>,
}

impl Bootnode {
    /// Takes the data folder, reads or makes the key, binds the port and starts.
    ///
    /// # Errors
    /// What the operator must change.
    pub async fn start(config: BootnodeConfig, env: &Env) -> Result<Self, NodeError> {
        let data = config.data.as_deref().map(DataFolder::take).transpose()?;
        let key = Arc::new(super::key(&config.key, env)?);
        let settings = DiscoverySettings {
            versions: config.versions,
            bootnodes: config.bootnodes,
            lists: Vec::new(),
            entries: Vec::new(),
            nat: config.nat,
            name_servers: Vec::new(),
        };
        let store = match &data {
            Some(data) => {
                let store = DiskStore::open(data.path()).map_err(KeySource::data_fails)?;
                Some(Space::new(Arc::new(store), NAME))
            }
            None => None,
        };
        let external = config.external.as_ref().and_then(External::addr);
        let public = key.public();
        let told = discovery::configured(key, &settings, config.listen, None, external, store);
        let discovery = Discovery::start(told, env.clone()).await.map_err(not_started)?;
        let router = Router::start(&settings, discovery.local_addr(), None, env).await.map(|router| {
            let (stop, stopped) = oneshot::channel();
            let follows = discovery.clone();
            let task = tokio::spawn(async move {
                tokio::select! {
                    () = router.follow(&follows, None) => {}
                    _ = stopped => {}
                }
                router.stop().await;
            });
            (stop, task)
        });
        let router = Mutex::new(router);
        Ok(Self { discovery, public, external: config.external, router, _data: data })
    }

    /// Discovery.
    #[must_use]
    pub fn discovery(&self) -> &Discovery {
        &self.discovery
    }

    /// Its URL.
    #[must_use]
    pub fn enode(&self) -> Enode {
        let record = self.discovery.record();
        let own = self.discovery.local_addr();
        let at = record.entries().udp_endpoint().unwrap_or(own);
        let (host, port) = match &self.external {
            Some(external) => (external.host.clone(), external.port),
            None => (at.ip().to_string(), at.port()),
        };
        Enode { key: self.public, endpoint: Some(Endpoint { host, tcp: port, udp: port }) }
    }

    /// The ready line.
    #[must_use]
    pub fn ready(&self) -> Value {
        let id = self.discovery.id().to_string();
        let own = self.discovery.local_addr().to_string();
        json!({
            "event": "ready",
            "devp2p": {
                "enode": self.enode().to_string(),
                "enr": self.discovery.record().to_string(),
                "id": id,
            },
            "listening": [{"address": own, "wires": ["devp2p"]}],
        })
    }

    /// The ready line for people.
    #[must_use]
    pub fn ready_text(&self) -> String {
        format!("{}\n{}", self.enode(), self.discovery.record())
    }

    /// Stops; the records of nodes are saved when it returns.
    ///
    /// # Errors
    /// When they are not; it has stopped all the same.
    pub async fn stop(&self) -> Result<(), NodeError> {
        let saved = self.discovery.stop().await;
        let router = self.router.lock().take();
        if let Some((stop, task)) = router {
            let _ = stop.send(());
            let _ = task.await;
        }
        saved.map_err(|error| NodeError::job(not_saved(&error)))
    }
}

/// What to say of records of nodes that are lost with the process.
pub(super) fn not_saved(error: &StoreError) -> String {
    format!("the records of nodes are not saved: {error}")
}
