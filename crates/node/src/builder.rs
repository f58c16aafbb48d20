//! A node put together: wires with their keys, protocols, limits and listeners behind one handle.
//!
//! ```text
//!   Values or builder calls ─▶ NodeConfig ─▶ data folder (locked) ─▶ keys ─▶ wires ─▶ Switch ─▶ Node
//! ```

use crate::config::{ListenAt, NodeConfig, ProtocolName};
use crate::data::{DataFolder, scratch};
use crate::error::NodeError;
use crate::kit::{BuildRequest, Built, CastPlace, External, KeySource, Kit, Reload};
use crate::settings::{Source, Values};
use crate::slots::OwnSlots;
use crate::store::DiskStore;
use crate::wires::Kits;
use serde_json::{Map, Value, json};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use switchboard::service::Service;
use switchboard::text::printable;
use switchboard::wire::Probe;
use switchboard::{Candidate, Env, Limits, Peer, Protocol, Switch, SwitchBuilder, WireName};
use switchboard_cast::{Cast, FileStores};

/// Puts a node together. Everything has a default: all wires, no listener, keys for this once.
#[derive(Default)]
pub struct NodeBuilder {
    kits: Kits,
    values: Values,
    env: Option<Env>,
    protocols: Vec<(Option<WireName>, Arc<dyn Protocol>)>,
    services: Vec<Arc<dyn Service>>,
    keys: Vec<(WireName, KeySource)>,
    limits: Option<Limits>,
    /// Folders that must live as long as the node.
    keep: Vec<Arc<tempfile::TempDir>>,
}

impl NodeBuilder {
    /// Adds a wire of the program's own to those it may serve, with its settings, keys and addresses.
    #[must_use]
    pub fn kit(mut self, kit: &'static dyn Kit) -> Self {
        self.kits = self.kits.with(kit);
        self
    }

    /// Uses these settings, as flags, variables and a file gave them.
    #[must_use]
    pub fn values(mut self, values: Values) -> Self {
        self.values = self.values.over(values);
        self
    }

    /// Sets one setting by its name, as its flag would: of a list, several values stand between commas.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl Into<String>) -> Self {
        self.values.set(name, vec![value.into()], Source::Flag);
        self
    }

    /// Serves these wires only.
    #[must_use]
    pub fn wires(mut self, names: &[WireName]) -> Self {
        self.values.set("wire", names.iter().map(|&name| name.to_owned()).collect(), Source::Flag);
        self
    }

    /// Listens on an address, with all wires on one port.
    #[must_use]
    pub fn listen(mut self, addr: impl std::fmt::Display) -> Self {
        self.values.set("listen", vec![addr.to_string()], Source::Flag);
        self
    }

    /// Keeps keys and what else must survive in this folder.
    #[must_use]
    pub fn data(mut self, folder: impl Into<PathBuf>) -> Self {
        self.values.set("data", vec![folder.into().display().to_string()], Source::Flag);
        self
    }

    /// Adds a protocol that knows nothing of wires, on every wire: each finds a place for it.
    #[must_use]
    pub fn protocol(mut self, protocol: impl Protocol) -> Self {
        self.protocols.push((None, Arc::new(protocol)));
        self
    }

    /// Adds a protocol of one wire: its channel numbers and messages are that wire's own.
    #[must_use]
    pub fn protocol_on(mut self, wire: WireName, protocol: Arc<dyn Protocol>) -> Self {
        self.protocols.push((Some(wire), protocol));
        self
    }

    /// Adds background work with the protocol, source and resolver it owns, and leaves the node's own protocols as they are.
    #[must_use]
    pub fn service(mut self, service: Arc<dyn Service>) -> Self {
        self.services.push(service);
        self
    }

    /// Takes the key of a wire from here.
    #[must_use]
    pub fn key(mut self, wire: WireName, source: KeySource) -> Self {
        self.keys.push((wire, source));
        self
    }

    /// Sets limits beyond those that have settings.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Takes network, clock and randomness from here in place of the system.
    #[must_use]
    pub fn env(mut self, env: Env) -> Self {
        self.env = Some(env);
        self
    }

    /// Checks everything, takes the data folder, reads or makes the keys, and starts.
    ///
    /// # Errors
    /// [`NodeError`]: the first thing that must be changed; then nothing is left running.
    pub async fn start(mut self) -> Result<Node, NodeError> {
        self.values.split_lists(&self.kits.all_settings());
        let mut config = NodeConfig::decide_among(self.kits, self.values)?;
        for line in config.without_effect() {
            tracing::warn!(target: "switchboard::config", "{line}");
        }
        let env = match self.env {
            Some(env) => env,
            None => Env::system().map_err(NodeError::job)?,
        };
        let data = config.data.as_deref().map(DataFolder::take).transpose()?;
        let reached = crate::nat::reach(config.nat.clone(), &config.listen, &env).await;
        if let Some(reached) = &reached {
            for &name in &config.wires {
                let mut ports = config.listen.iter().filter(|at| at.wire.is_none_or(|wire| wire == name));
                let place = ports.find_map(|at| {
                    reached
                        .places
                        .iter()
                        .find(|(port, _)| *port == at.addr.port())
                        .map(|(_, place)| place.clone())
                });
                // What the operator says is stronger than what a router says.
                let given = config.external.iter().any(|(wire, _)| *wire == name);
                config.external.extend(place.filter(|_| !given).map(|place| (name, place)));
            }
        }
        let mut built = Vec::new();
        for &name in &config.wires {
            let Some(kit) = config.kits.get(name) else { continue };
            let given = self.keys.iter().rev().find(|(wire, _)| *wire == name).map(|(_, key)| key.clone());
            let key = given.unwrap_or_else(|| config.key(name));
            let external = config.external.iter().find(|(wire, _)| *wire == name).map(|(_, at)| at);
            built.push(kit.build(&BuildRequest {
                values: &config.values,
                key: &key,
                external,
                env: &env,
            })?);
        }
        // A program that brings protocols of its own wants those, and no others it did not name.
        let own = self.protocols.is_empty() || config.values.has("protocol");
        let mut scratches = self.keep;
        let (cast, has_earlier_casts) = match own && config.protocols.contains(&ProtocolName::Cast) {
            true => start_cast(&config, &mut scratches).map(|(cast, used)| (Some(cast), used))?,
            false => (None, false),
        };
        let mut limits = self.limits.unwrap_or_default().with(|limits| {
            (limits.inbound, limits.outbound) = (config.max_peers, config.max_peers.max(1));
            limits.send_rate = config.send_rate;
            limits.recv_rate = config.recv_rate;
            limits.strict_addresses = config.strict_addresses;
        });
        let given = config.values.has("max-peers");
        for part in &built {
            let own = OwnSlots::of(&*part.wire, part.roles.slots);
            // What the program itself set for a wire stays, unless the operator says otherwise.
            if given || part.roles.slots.is_some() || !limits.wires.contains_key(own.wire) {
                own.lay(&mut limits, config.max_peers, given);
            }
            limits.trusted.extend(config.trusted.iter().copied());
            limits.unconditional.extend(part.roles.unconditional.iter().copied());
        }
        let mut builder = SwitchBuilder::new(env.clone()).limits(limits).access(config.access.clone());
        if let Some(data) = &data {
            let store = DiskStore::open(data.path()).map_err(KeySource::data_fails)?;
            builder = builder.store(Arc::new(store));
        }
        for part in &built {
            let name = part.wire.name();
            builder = builder.wire(Arc::clone(&part.wire));
            for service in &part.roles.services {
                builder = builder.service(Arc::clone(service));
            }
            for candidate in &part.roles.statics {
                builder = builder.static_peer(candidate.clone());
            }
            let bench = part.bench.clone().filter(|_| config.protocols.contains(&ProtocolName::Bench));
            if let Some(bench) = bench.filter(|_| own) {
                builder = builder.protocol_on(name, bench);
            }
            for protocol in &part.protocols {
                builder = builder.protocol_on(name, Arc::clone(protocol));
            }
            if let Some(cast) = &cast {
                let protocol = cast.protocol(part.cast.map());
                builder = match part.cast {
                    CastPlace::Native(_) => builder.protocol_on(name, protocol),
                    CastPlace::Plain => builder.plain_protocol_on(name, protocol),
                };
            }
        }
        for (wire, protocol) in self.protocols {
            builder = match wire {
                Some(wire) => builder.protocol_on(wire, protocol),
                None => builder.plain_protocol(protocol),
            };
        }
        for service in self.services {
            builder = builder.service(service);
        }
        for ListenAt { wire, addr } in &config.listen {
            builder = builder.listen(*addr, wire.as_slice());
        }
        let switch = builder.start().await.map_err(NodeError::usage)?;
        if let Some(cast) = cast.as_ref().filter(|_| has_earlier_casts) {
            // What an earlier run left is checked while the node listens already.
            cast.resume_soon();
        }
        let mapper = tokio::sync::Mutex::new(reached.map(|reached| reached.mapper));
        let node = Node {
            env,
            switch,
            built,
            cast,
            config,
            keys: self.keys,
            mapper,
            _data: data,
            _scratches: scratches,
        };
        for peer in &node.config.peers {
            let (_, candidate) = node.config.kits.parse(peer)?;
            node.switch.add_static(candidate).await;
        }
        Ok(node)
    }
}

/// The protocol, and whether its folder holds anything of an earlier run.
fn start_cast(
    config: &NodeConfig,
    scratches: &mut Vec<Arc<tempfile::TempDir>>,
) -> Result<(Cast, bool), NodeError> {
    let dir = match (&config.cast_dir, &config.data) {
        (Some(dir), _) => dir.clone(),
        (None, Some(data)) => data.join("cast"),
        (None, None) => {
            let dir = Arc::new(scratch()?);
            let path = dir.path().to_owned();
            scratches.push(dir);
            path
        }
    };
    let used = std::fs::read_dir(&dir).is_ok_and(|mut entries| entries.next().is_some());
    let wrong = |e| {
        NodeError::usage(format!("cannot keep casts in {}: {e}: choose another --cast-dir", dir.display()))
    };
    let quota = config.cast_max_bytes;
    let rules = switchboard_cast::Config::default().with(|rules| {
        rules.receive = config.receive;
        rules.max_bytes = quota;
    });
    Ok((Cast::new(rules, FileStores::with_quota(&dir, quota).map_err(wrong)?), used))
}

/// A running node.
///
/// ```
/// use switchboard_node::Node;
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
/// # runtime.block_on(async {
/// let node = Node::builder().wires(&["devp2p", "comet"]).listen("127.0.0.1:0").start().await?;
/// assert_eq!(node.urls().len(), 2);
/// assert_eq!(node.switch().protocols()[0].name, "cast");
/// node.stop().await;
/// # Ok::<(), switchboard_node::NodeError>(())
/// # }).unwrap();
/// ```
pub struct Node {
    env: Env,
    switch: Switch,
    built: Vec<Built>,
    cast: Option<Cast>,
    config: NodeConfig,
    keys: Vec<(WireName, KeySource)>,
    mapper: tokio::sync::Mutex<Option<switchboard_nat::Mapper>>,
    _data: Option<DataFolder>,
    /// Removed at the end, where nobody named a folder.
    _scratches: Vec<Arc<tempfile::TempDir>>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("switch", &self.switch).finish_non_exhaustive()
    }
}

impl Node {
    /// A node to be put together.
    #[must_use]
    pub fn builder() -> NodeBuilder {
        NodeBuilder::default()
    }

    /// Nodes on loopback that accept one another on every wire, with keys for this once: for examples and tests.
    ///
    /// # Errors
    /// When keys cannot be made.
    pub fn local<const N: usize>() -> Result<[NodeBuilder; N], NodeError> {
        let env = Env::system().map_err(NodeError::job)?;
        let folder = Arc::new(scratch()?);
        let mut keys = Vec::new();
        for kit in Kits::builtin().iter() {
            keys.push((kit.name(), kit.network_keys(folder.path(), N, &env)?));
        }
        Ok(std::array::from_fn(|n| {
            let mut builder = Self::builder().listen("127.0.0.1:0");
            builder.keep.push(Arc::clone(&folder));
            for (wire, keys) in &keys {
                if let Some(key) = keys.get(n) {
                    builder = builder.key(wire, key.clone());
                }
            }
            builder
        }))
    }

    /// Its Switch: peers, events, dialling.
    #[must_use]
    pub fn switch(&self) -> &Switch {
        &self.switch
    }

    /// The protocol `cast`, where it runs.
    #[must_use]
    pub fn cast(&self) -> Option<&Cast> {
        self.cast.as_ref()
    }

    /// Its wires.
    #[must_use]
    pub fn built(&self) -> &[Built] {
        &self.built
    }

    /// Reads the keys and certificates of every wire anew and checks them; called, what this gives takes over those that may
    /// change while the node runs, and says what changed. The data folder and what the wires are made of are those of the
    /// start.
    ///
    /// # Errors
    /// What cannot be read, or does not fit together.
    pub fn reload_keys(&self, config: &NodeConfig) -> Result<Reload, NodeError> {
        let mut checked = Vec::new();
        for built in &self.built {
            let name = built.wire.name();
            let given = self.keys.iter().rev().find(|(wire, _)| *wire == name).map(|(_, key)| key.clone());
            let key = given.unwrap_or_else(|| config.key_beside(name, self.config.data.as_deref()));
            let external = self.config.external.iter().find(|(wire, _)| *wire == name).map(|(_, at)| at);
            let request = BuildRequest { values: &self.config.values, key: &key, external, env: &self.env };
            if let Some(upkeep) = &built.upkeep {
                checked.push(upkeep.reload(&request)?);
            }
        }
        Ok(Box::new(move || checked.into_iter().flat_map(|take_over| take_over()).collect()))
    }

    /// The slots that each wire has of its own.
    #[cfg(feature = "admin")]
    pub(crate) fn own_slots(&self) -> Vec<OwnSlots> {
        self.built.iter().map(|built| OwnSlots::of(&*built.wire, built.roles.slots)).collect()
    }

    /// Its settings.
    #[must_use]
    pub fn config(&self) -> &NodeConfig {
        &self.config
    }

    /// Where peers may dial a wire: the external address, or everywhere it listens.
    fn places(&self, wire: WireName) -> Vec<External> {
        if let Some((_, external)) = self.config.external.iter().find(|(name, _)| *name == wire) {
            return vec![external.clone()];
        }
        let listening = self.switch.listening().iter().filter(|(_, wires)| wires.contains(&wire));
        listening
            .map(|(addr, _)| reachable(*addr))
            .map(|at| External { host: at.ip().to_string(), port: at.port() })
            .collect()
    }

    /// The addresses peers may dial, in each wire's own form.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        let of = |built: &Built| -> Vec<String> {
            self.places(built.wire.name()).iter().map(|at| (built.url)(at)).collect()
        };
        self.built.iter().flat_map(of).collect()
    }

    /// The first address of one wire.
    #[must_use]
    pub fn url(&self, wire: WireName) -> Option<String> {
        let built = self.built.iter().find(|built| built.wire.name() == wire)?;
        self.places(wire).first().map(|at| (built.url)(at))
    }

    /// The ready line: what each wire shows of itself, and where the node listens.
    #[must_use]
    pub fn ready(&self) -> Value {
        let mut fields = Map::new();
        fields.insert("event".into(), "ready".into());
        for built in &self.built {
            let name = built.wire.name();
            fields.insert(name.into(), (built.ready)(self.places(name).first()));
        }
        let at =
            |(addr, wires): &(SocketAddr, Vec<&str>)| json!({"address": addr.to_string(), "wires": wires});
        fields.insert("listening".into(), self.switch.listening().iter().map(at).collect());
        Value::Object(fields)
    }

    /// The ready line for people.
    #[must_use]
    pub fn ready_text(&self) -> String {
        let mut lines = Vec::new();
        for built in &self.built {
            let (name, places) = (built.wire.name(), self.places(built.wire.name()));
            if places.is_empty() {
                lines.push(format!("{name:<7} does not listen"));
            }
            lines.extend(places.iter().map(|at| format!("{name:<7} {}", (built.url)(at))));
        }
        lines.join("\n")
    }

    /// Connects to a peer by its address, on whichever wire that is.
    ///
    /// # Errors
    /// An address that cannot be read, or why there is no session.
    pub async fn connect(&self, url: &str) -> Result<Peer, NodeError> {
        let candidate = self.parse(url)?;
        self.switch.connect_to(candidate).await.map_err(|error| NodeError::job(format!("{url}: {error}")))
    }

    /// Shakes hands with a node only to learn who it is and how far away, with the identity of this node.
    ///
    /// # Errors
    /// An address that cannot be read, or why nobody was found there.
    pub async fn probe(&self, url: &str, pings: u32) -> Result<Probe, NodeError> {
        let candidate = self.parse(url)?;
        let wire = self.built.iter().find(|built| built.wire.name() == candidate.wire);
        let wire = wire.ok_or_else(|| NodeError::usage(format!("{url}: no such wire here")))?;
        let probed = wire.wire.probe(candidate, self.env.clone(), pings).await;
        probed.map_err(|error| NodeError::job(format!("{url}: {}", printable(&error.to_string()))))
    }

    /// Reads an address of any of its wires.
    ///
    /// # Errors
    /// A sentence that says what is wrong, or that the node does not serve that wire.
    pub fn parse(&self, url: &str) -> Result<Candidate, NodeError> {
        let (kit, candidate) = self.config.kits.parse(url)?;
        if self.config.wires.contains(&kit.name()) {
            return Ok(candidate);
        }
        Err(NodeError::usage(format!("{url} is of wire {}, which this node does not serve", kit.name())))
    }

    /// Ends every session with a goodbye and stops.
    pub async fn stop(&self) {
        self.switch.stop().await;
        if let Some(cast) = &self.cast {
            cast.stop().await;
        }
        if let Some(mapper) = self.mapper.lock().await.take() {
            mapper.stop().await;
        }
    }
}

/// An address that can be dialled: a node that listens everywhere is reached on this machine, at least.
fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}
