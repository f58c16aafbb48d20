//! Putting a Switch together: wires, protocols, limits, listeners; then `start`.

use super::actor::{Actor, Command, Made, Served};
use super::connect::Context;
use super::filter::Filter;
use super::handle::{Handle, PeerSet, ProtocolStatus, Switch, tokio_stop::Stop};
use super::score::{MAX_BANS, ScoreBook};
use super::source::{Resolver, Source, Wake};
use crate::candidate::Candidate;
use crate::env::Env;
use crate::event::Publisher;
use crate::id::WireName;
use crate::net::{Datagrams, Listener};
use crate::protocol::Protocol;
use crate::service::run::{Prepared, Services};
use crate::service::{Service, ServiceContext, ServiceError};
use crate::session::ledger::Ledger;
use crate::session::tap::Tap;
use crate::store::{MemoryStore, Space, Store, StoreError};
use crate::switch::access::{AccessList, Limits};
use crate::wire::{Offer, Offered, Placement, Wire};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// Where bans are kept.
const BANS: &str = "switch.bans";
/// Commands that may wait for the Switch's task.
const COMMAND_BACKLOG: usize = 256;

/// How often the system draws a number that is to be free for TCP and UDP.
const DRAWS: usize = 32;

/// An address to listen on and the wires served there (all of the Switch's when empty).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ListenSpec {
    /// The address; port 0 takes a free one.
    pub addr: SocketAddr,
    /// The wires served there.
    pub wires: Vec<WireName>,
}

/// A registered protocol with the wires it is offered on.
pub(crate) struct Registered {
    pub(crate) protocol: Arc<dyn Protocol>,
    pub(crate) only: Option<WireName>,
    pub(crate) offered: Offered,
}

/// What is needed to start a [`Switch`].
pub struct SwitchBuilder {
    env: Env,
    wires: Vec<Arc<dyn Wire>>,
    protocols: Vec<Registered>,
    limits: Limits,
    access: AccessList,
    listen: Vec<ListenSpec>,
    statics: Vec<Candidate>,
    tap: Option<Arc<dyn Tap>>,
    sources: Vec<Arc<dyn Source>>,
    resolvers: Vec<Arc<dyn Resolver>>,
    services: Vec<Arc<dyn Service>>,
    store: Arc<dyn Store>,
    filters: Vec<Arc<dyn Filter>>,
}

/// Why a Switch does not start. Every text names what to change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// No wire was added.
    #[error("no wire is configured: add at least one")]
    NoWire,
    /// Two wires of one name.
    #[error("wire {0} is configured twice")]
    WireTwice(WireName),
    /// A listener, protocol or static peer names a wire the Switch does not have.
    #[error("{what} names wire {wire}, which is not configured")]
    UnknownWire {
        /// Which listener, protocol or static peer.
        what: String,
        /// The wire.
        wire: WireName,
    },
    /// Two protocols of one name and version on one wire.
    #[error("protocol {name}/{version} is registered twice")]
    ProtocolTwice {
        /// Its name.
        name: String,
        /// Its version.
        version: u32,
    },
    /// A protocol declares a channel twice.
    #[error("protocol {name} declares channel {channel} twice")]
    ChannelTwice {
        /// The protocol.
        name: String,
        /// The channel.
        channel: crate::protocol::channel::ChannelId,
    },
    /// A wire cannot carry the protocols registered for it.
    #[error("these protocols do not fit: {0}")]
    Unfit(String),
    /// An address cannot be bound.
    #[error("cannot listen on {addr}: {error}{}", hint(.error))]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
    /// Two services of one name.
    #[error("service {0} is registered twice")]
    ServiceTwice(String),
    /// A service does not start.
    #[error("service {name} does not start: {error}")]
    Service {
        /// Its name.
        name: String,
        /// What is wrong.
        error: ServiceError,
    },
    /// What must survive a restart cannot be read.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// Listens on an address; where the system draws the number and datagrams `share` it, on one that is free for both, with the
/// socket that has it.
async fn listen(
    env: &Env,
    addr: SocketAddr,
    share: bool,
) -> Result<(Arc<dyn Listener>, Option<Arc<dyn Datagrams>>), StartError> {
    let failed = |error| StartError::Listen { addr, error };
    // Held until one fits: the system could draw the same number again.
    let mut taken = Vec::new();
    loop {
        let listener = env.net().listen(addr).await.map_err(failed)?;
        if addr.port() != 0 || !share {
            return Ok((listener, None));
        }
        match env.net().bind(listener.local_addr()).await {
            Ok(socket) => return Ok((listener, Some(socket))),
            Err(error) if error.kind() != std::io::ErrorKind::AddrInUse => return Ok((listener, None)),
            Err(error) if taken.len() + 1 >= DRAWS => return Err(failed(error)),
            Err(_) => taken.push(listener),
        }
    }
}

fn hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            "; another program uses this port: choose another with --listen, or port 0"
        }
        std::io::ErrorKind::AddrNotAvailable => {
            "; this machine does not have that address: choose another with --listen"
        }
        std::io::ErrorKind::PermissionDenied => {
            "; this port needs privileges: choose one above 1023 with --listen"
        }
        _ => "",
    }
}

impl SwitchBuilder {
    /// Starts with nothing configured but default limits.
    #[must_use]
    pub fn new(env: Env) -> Self {
        Self {
            env,
            wires: Vec::new(),
            protocols: Vec::new(),
            limits: Limits::default(),
            access: AccessList::default(),
            listen: Vec::new(),
            statics: Vec::new(),
            tap: None,
            sources: Vec::new(),
            resolvers: Vec::new(),
            services: Vec::new(),
            store: Arc::new(MemoryStore::new()),
            filters: Vec::new(),
        }
    }

    /// Adds a wire.
    #[must_use]
    pub fn wire(mut self, wire: Arc<dyn Wire>) -> Self {
        self.wires.push(wire);
        self
    }

    /// Registers a protocol on every wire.
    #[must_use]
    pub fn protocol(self, protocol: Arc<dyn Protocol>) -> Self {
        self.register(protocol, None, Placement::Native)
    }

    /// Registers a protocol on one wire (channel numbers mean different things on different wires).
    #[must_use]
    pub fn protocol_on(self, wire: WireName, protocol: Arc<dyn Protocol>) -> Self {
        self.register(protocol, Some(wire), Placement::Native)
    }

    /// Registers a protocol that knows nothing of wires, on every wire: each finds a place for it.
    #[must_use]
    pub fn plain_protocol(self, protocol: Arc<dyn Protocol>) -> Self {
        self.register(protocol, None, Placement::Plain)
    }

    /// Registers a protocol that knows nothing of wires, on one wire.
    #[must_use]
    pub fn plain_protocol_on(self, wire: WireName, protocol: Arc<dyn Protocol>) -> Self {
        self.register(protocol, Some(wire), Placement::Plain)
    }

    fn register(mut self, protocol: Arc<dyn Protocol>, only: Option<WireName>, placement: Placement) -> Self {
        let spec = protocol.spec();
        let least = spec.channels.iter().map(|c| u64::from(c.id.0) + 1).max().unwrap_or(0);
        let offered = Offered {
            index: self.protocols.len(),
            name: spec.name,
            version: spec.version,
            length: spec.length.max(least),
            channels: spec.channels,
            placement,
        };
        self.protocols.push(Registered { protocol, only, offered });
        self
    }

    /// Sets the limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets the access list.
    #[must_use]
    pub fn access(mut self, access: AccessList) -> Self {
        self.access = access;
        self
    }

    /// Listens on an address, for all wires or some.
    #[must_use]
    pub fn listen(mut self, addr: SocketAddr, wires: &[WireName]) -> Self {
        self.listen.push(ListenSpec { addr, wires: wires.to_vec() });
        self
    }

    /// Watches every frame of every session.
    #[must_use]
    pub fn tap(mut self, tap: Arc<dyn Tap>) -> Self {
        self.tap = Some(tap);
        self
    }

    /// Adds a filter: the program's own word on who may connect.
    #[must_use]
    pub fn filter(mut self, filter: Arc<dyn Filter>) -> Self {
        self.filters.push(filter);
        self
    }

    /// Keeps a peer connected.
    #[must_use]
    pub fn static_peer(mut self, candidate: Candidate) -> Self {
        self.statics.push(candidate);
        self
    }

    /// Adds a source of candidates.
    #[must_use]
    pub fn source(mut self, source: Arc<dyn Source>) -> Self {
        self.sources.push(source);
        self
    }

    /// Adds somebody who finds the addresses of identities.
    #[must_use]
    pub fn resolver(mut self, resolver: Arc<dyn Resolver>) -> Self {
        self.resolvers.push(resolver);
        self
    }

    /// Adds a service, with the protocol, the source and the resolver it owns.
    #[must_use]
    pub fn service(mut self, service: Arc<dyn Service>) -> Self {
        self.sources.extend(service.source());
        self.resolvers.extend(service.resolver());
        if let Some((protocol, only)) = service.protocol() {
            self = self.register(protocol, only, service.placement());
        }
        self.services.push(service);
        self
    }

    /// Sets where everything is kept that must survive a restart (default: in memory, so nothing does).
    #[must_use]
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = store;
        self
    }

    fn check(&self) -> Result<(), StartError> {
        if self.wires.is_empty() {
            return Err(StartError::NoWire);
        }
        let mut names = BTreeSet::new();
        if let Some(twice) = self.wires.iter().find(|w| !names.insert(w.name())) {
            return Err(StartError::WireTwice(twice.name()));
        }
        let known = |wire: WireName, what: String| {
            if names.contains(wire) { Ok(()) } else { Err(StartError::UnknownWire { what, wire }) }
        };
        for listen in &self.listen {
            listen.wires.iter().try_for_each(|w| known(w, format!("listener {}", listen.addr)))?;
        }
        self.statics.iter().try_for_each(|c| known(c.wire, format!("static peer {c}")))?;
        self.sources.iter().try_for_each(|s| known(s.wire(), format!("source {}", s.name())))?;
        let mut services = BTreeSet::new();
        if let Some(twice) = self.services.iter().find(|s| !services.insert(s.name())) {
            return Err(StartError::ServiceTwice(twice.name().to_owned()));
        }
        let mut seen = BTreeSet::new();
        for Registered { only, offered, .. } in &self.protocols {
            only.map_or(Ok(()), |w| known(w, format!("protocol {}", offered.name)))?;
            let mut channels = BTreeSet::new();
            if let Some(twice) = offered.channels.iter().find(|c| !channels.insert(c.id)) {
                return Err(StartError::ChannelTwice { name: offered.name.clone(), channel: twice.id });
            }
            for wire in names.iter().filter(|w| only.is_none_or(|o| o == **w)) {
                if !seen.insert((*wire, offered.name.clone(), offered.version)) {
                    let (name, version) = (offered.name.clone(), offered.version);
                    return Err(StartError::ProtocolTwice { name, version });
                }
            }
        }
        Ok(())
    }

    /// Checks everything, binds the listeners and starts the Switch.
    ///
    /// # Errors
    /// [`StartError`]; then nothing is left listening.
    pub async fn start(self) -> Result<Switch, StartError> {
        self.check()?;
        let (mut offers, mut attributes) = (BTreeMap::new(), BTreeMap::new());
        for wire in &self.wires {
            let fits = |r: &&Registered| r.only.is_none_or(|only| only == wire.name());
            let told = self.protocols.iter().filter(fits).flat_map(|r| r.protocol.attributes());
            attributes.insert(wire.name(), told.collect());
            let protocols = self.protocols.iter().filter(fits).map(|r| r.offered.clone()).collect();
            let offer = Offer { protocols };
            wire.check(&offer).map_err(StartError::Unfit)?;
            offers.insert(wire.name(), Arc::new(offer));
        }
        let status = |registered: &Registered| {
            let Registered { protocol, only, offered } = registered;
            let wires = self.wires.iter().map(|wire| wire.name());
            let wires = wires.filter(|wire| only.is_none_or(|only| only == *wire)).collect();
            let (name, version) = (offered.name.clone(), offered.version);
            (Arc::clone(protocol), ProtocolStatus { name, version, wires, info: None })
        };
        let protocols = self.protocols.iter().map(status).collect();
        let mut listeners: Vec<Served> = Vec::new();
        let mut shared: Vec<_> =
            self.services.iter().filter_map(|service| service.datagrams_beside()).collect();
        let mut beside = BTreeMap::new();
        for ListenSpec { addr, wires } in &self.listen {
            let serves = |wire: &WireName| wires.is_empty() || wires.contains(wire);
            let (listener, socket) = listen(&self.env, *addr, shared.iter().any(serves)).await?;
            // A service has its datagrams at the first listener of its wire.
            shared.retain(|wire| !serves(wire));
            beside.extend(socket.map(|socket| (listener.local_addr(), socket)));
            let served = |w: &&Arc<dyn Wire>| wires.is_empty() || wires.contains(&w.name());
            listeners.push((listener, self.wires.iter().filter(served).cloned().collect()));
        }
        let listening: Vec<_> =
            listeners.iter().map(|(l, w)| (l.local_addr(), w.iter().map(|w| w.name()).collect())).collect();
        let mut book = ScoreBook::default();
        let names: Vec<_> = self.wires.iter().map(|wire| wire.name()).collect();
        let space = Space::new(Arc::clone(&self.store), BANS);
        let now = self.env.wall();
        for (key, value) in space.scan(b"", None, MAX_BANS).await? {
            if !book.load(&key, &value, &names, now) {
                // It is over, or of a wire this node does not have now.
                tracing::debug!(target: "switchboard::switch", "a stored ban is passed over");
            }
        }
        let (commands, inbox) = mpsc::channel(COMMAND_BACKLOG);
        let events = Arc::<Publisher>::default();
        let (stop, stopped) = Stop::new();
        let peers = PeerSet::default();
        let ledger = Ledger::new(self.limits.bytes_total);
        let context = Arc::new(Context {
            env: self.env,
            wires: self.wires.iter().map(|w| (w.name(), Arc::clone(w))).collect(),
            offers,
            attributes,
            commands: commands.downgrade(),
            events: Arc::clone(&events),
            listening: listening.clone(),
            beside: Mutex::new(beside),
            tap: self.tap,
            presets: self.wires.iter().map(|w| (w.name(), w.preset())).collect(),
            resolvers: self.resolvers,
            filters: self.filters,
            pending: Mutex::default(),
            wake: Wake::default(),
            ledger: Arc::clone(&ledger),
        });
        let (stored, writes) = mpsc::channel(super::bans::BACKLOG);
        let keeper = tokio::spawn(super::bans::keep(space, writes));
        let actor = Actor::new(Made {
            context: Arc::clone(&context),
            peers: peers.clone(),
            registry: self.protocols,
            limits: self.limits,
            access: self.access,
            statics: self.statics,
            sources: self.sources,
            ledger: Arc::clone(&ledger),
            book,
            stored,
            keeper,
        });
        let (halt, halted) = watch::channel(false);
        tokio::spawn(actor.run(inbox, stopped, halted));
        let services = Services::default();
        let handle = Handle {
            protocols,
            commands,
            peers: peers.clone(),
            events,
            context: Arc::downgrade(&context),
            services: services.clone(),
            wires: self.wires,
            listening,
            ledger,
            stopping: stop,
            broadcasting: Mutex::default(),
        };
        let switch = Switch { inner: Arc::new(handle) };
        let mut prepared = Vec::new();
        for service in self.services {
            let name = service.name().to_owned();
            let made = |stopping| ServiceContext {
                name: name.as_str().into(),
                context: Arc::clone(&context),
                peers: peers.clone(),
                space: Space::new(Arc::clone(&self.store), &name),
                stopping,
            };
            match Prepared::start(service, made).await {
                Ok(ready) => prepared.push(ready),
                Err(error) => {
                    switch.stop().await;
                    return Err(StartError::Service { name, error });
                }
            }
        }
        let running = prepared.into_iter().map(|ready| ready.run(&services, halt.clone())).collect();
        let open = Command::Open { listeners, services: running };
        // It cannot have stopped: we hold its handle.
        let _ = switch.inner.commands.send(open).await;
        Ok(switch)
    }
}
