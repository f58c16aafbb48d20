//! Discovery beside the devp2p wire: a service that finds nodes, and a source of candidates for dialling.
//!
//! ```text
//!   --discovery v4,v5   --bootnode URL…   --dns URL…   --nat SPEC
//!        │ UDP on the TCP listener's address and port
//!        ▼
//!   v4, v5, DNS lists ─▶ by turns ─▶ queue of 8 ─▶ the Switch dials while a slot is free
//!   router (NAT)      ─▶ external address and ports ─▶ our record
//! ```
//! Limits: [`AHEAD`] candidates wait; a node without a TCP port is no candidate, nor one whose record names another fork than
//! the operator's chain.

use super::chain::{self, Chain};
use crate::error::NodeError;
use crate::kit::Gauge;
use crate::settings::{Form, Setting, Values};
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use switchboard::net::names::{NameServers, WithNameServers};
use switchboard::service::{Service, ServiceContext, ServiceError};
use switchboard::store::Space;
use switchboard::switch::source::{Producer, Source, queue};
use switchboard::{BoxFuture, Candidate, Env, WireName};
use switchboard_devp2p::DEVP2P;
use switchboard_discv::Node;
use switchboard_discv::dns::{Client, Link};
use switchboard_discv::udp::{Bootnode, Discovery, DiscoveryConfig, DnsNodes, Event, Mix, Version, Versions};
use switchboard_enr::{NodeKey, rlp};
use switchboard_nat::{Mapper, Mapping, NatConfig, NatSpec, Protocol};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;

/// Candidates that wait to be dialled.
pub const AHEAD: usize = 8;
/// How long the router may take to delete our mappings when we stop.
const FAREWELL: Duration = Duration::from_millis(1_500);
/// Name of the service, and of its space in the node's store.
pub(super) const NAME: &str = "discovery";

/// The settings.
pub(super) const SETTINGS: &[Setting] = &[
    Setting::list(
        "devp2p",
        "discovery",
        Form::Text,
        "Versions of node discovery to run, on the UDP port of the TCP listener's number: v4, v5 or v4,v5 (default: none)",
    ),
    Setting::list(
        "devp2p",
        "bootnode",
        Form::Text,
        "A node that discovery starts from, as an enode URL or a record (enr:…); may be repeated",
    ),
    Setting::list(
        "devp2p",
        "dns",
        Form::Text,
        "A list of nodes in DNS, as enrtree://KEY@DOMAIN; may be repeated",
    ),
    Setting::list(
        "devp2p",
        "dns-server",
        Form::Text,
        "A name server to ask for such lists, as IP:PORT (default: the system's); may be repeated",
    ),
    Setting::list(
        "devp2p",
        "enr-entry",
        Form::Text,
        "A further entry of the node's record, as KEY=HEX of its RLP, as in eth=c7c684fc64ec0480; may be repeated",
    ),
    chain::CHAIN,
    chain::FORKS,
    chain::REQUIRED,
];

/// A version, as flags name it.
#[derive(Debug, Clone, Copy)]
struct VersionName(Version);

impl FromStr for VersionName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "v4" => Ok(Self(Version::V4)),
            "v5" => Ok(Self(Version::V5)),
            other => Err(format!("there is no discovery {other:?}: use v4, v5 or v4,v5")),
        }
    }
}

#[derive(Debug, Clone)]
struct List(Link);

impl FromStr for List {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |e| format!("{text:?} is no DNS list: {e}: expected enrtree://KEY@DOMAIN");
        Link::parse(text).map(Self).map_err(wrong)
    }
}

/// An entry of the record, as flags give it.
#[derive(Debug, Clone)]
struct EntryText(String, Vec<u8>);

impl FromStr for EntryText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not KEY=HEX, as in eth=c7c684fc64ec0480");
        let (key, value) = text.split_once('=').ok_or_else(wrong)?;
        let value = hex::decode(value).map_err(|_| wrong())?;
        let mut rest = value.as_slice();
        if rlp::skip(&mut rest).is_err() || !rest.is_empty() {
            return Err(format!("the value of {text:?} is not one RLP item: {}", wrong()));
        }
        let taken = ["id", "secp256k1", "ip", "ip6", "tcp", "udp", "tcp6", "udp6"].contains(&key);
        match key {
            _ if taken => Err(format!("the entry {key} is the node's own")),
            "" => Err(wrong()),
            _ => Ok(Self(key.to_owned(), value)),
        }
    }
}

/// What the settings say of discovery.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DiscoverySettings {
    /// Which versions run.
    pub versions: Versions,
    /// Nodes to start from.
    pub bootnodes: Vec<Bootnode>,
    /// DNS lists.
    pub lists: Vec<Link>,
    /// Further entries of the record, raw RLP by key.
    pub entries: Vec<(String, Vec<u8>)>,
    /// How the node is reached.
    pub nat: NatSpec,
    /// Servers that are asked for DNS lists; none: the system's.
    pub name_servers: Vec<SocketAddr>,
}

impl DiscoverySettings {
    /// Reads the settings; `None` when no version is chosen.
    ///
    /// # Errors
    /// A value that cannot be, or one that is of no use without `--discovery`.
    pub fn read(values: &Values) -> Result<Option<Self>, NodeError> {
        let names: Vec<VersionName> = values.parse_all("discovery")?;
        let has = |version| names.iter().any(|name| name.0 == version);
        let versions = Versions { v4: has(Version::V4), v5: has(Version::V5) };
        let lists: Vec<List> = values.parse_all("dns")?;
        let entries: Vec<EntryText> = values.parse_all("enr-entry")?;
        let settings = Self {
            versions,
            bootnodes: values.parse_all("bootnode")?,
            entries: entries.into_iter().map(|EntryText(key, value)| (key, value)).collect(),
            lists: lists.into_iter().map(|list| list.0).collect(),
            nat: values.parse("nat")?.unwrap_or_default(),
            name_servers: values.parse_all("dns-server")?,
        };
        if names.is_empty() {
            let idle =
                ["bootnode", "dns", "dns-server", "enr-entry"].into_iter().find(|name| values.has(name));
            return match idle {
                Some(name) => {
                    Err(NodeError::usage(format!("--{name} needs discovery: add --discovery v4,v5")))
                }
                None => Ok(None),
            };
        }
        Ok(Some(settings))
    }
}

/// Discovery, run by the Switch.
pub(super) struct DiscoveryService {
    key: Arc<NodeKey>,
    settings: DiscoverySettings,
    /// What peers are told to dial in place of the address we listen on.
    external: Option<SocketAddr>,
    /// The chain that candidates must not be known to leave.
    chain: Option<Chain>,
    producer: Producer,
    source: Arc<dyn Source>,
    running: Mutex<Option<Discovery>>,
}

impl DiscoveryService {
    pub(super) fn new(
        key: Arc<NodeKey>,
        settings: DiscoverySettings,
        external: Option<SocketAddr>,
        chain: Option<Chain>,
    ) -> Arc<Self> {
        let (producer, source) = queue(NAME, DEVP2P, AHEAD);
        Arc::new(Self { key, settings, external, chain, producer, source, running: Mutex::new(None) })
    }

    /// It, once it has started.
    pub(super) fn running(&self) -> Option<Discovery> {
        self.running.lock().clone()
    }
}

/// The same world, where names are asked of the given servers, if any.
fn naming(env: &Env, servers: &[SocketAddr]) -> Env {
    if servers.is_empty() {
        return env.clone();
    }
    let named = WithNameServers::new(env, NameServers::new(servers.iter().copied()));
    env.clone().with_network(Arc::new(named))
}

/// What discovery at an address is told.
pub(super) fn configured(
    key: Arc<NodeKey>,
    settings: &DiscoverySettings,
    listen: SocketAddr,
    tcp: Option<u16>,
    external: Option<SocketAddr>,
    store: Option<Space>,
) -> DiscoveryConfig {
    let mut config = DiscoveryConfig::new(key, listen);
    config.versions = settings.versions;
    config.bootnodes.clone_from(&settings.bootnodes);
    config.tcp = tcp.map(|port| external.map_or(port, |at| at.port()));
    config.external = external.map(|at| (at.ip(), Some(at.port())));
    config.entries.clone_from(&settings.entries);
    config.store = store;
    config
}

/// A router that keeps our ports mapped, and tells our record how it is reached.
pub(super) struct Router {
    mapper: Mapper,
    udp: Mapping,
    tcp: Option<Mapping>,
}

impl Router {
    /// `None` when nobody is to be asked, or nobody outside could reach the address anyway.
    pub(super) async fn start(
        settings: &DiscoverySettings,
        at: SocketAddr,
        tcp: Option<u16>,
        env: &Env,
    ) -> Option<Self> {
        let told = match &settings.nat {
            NatSpec::ExtIp(_) | NatSpec::Stun { .. } => true,
            // A router on this machine reaches what listens there.
            NatSpec::Pmp { gateway } | NatSpec::Pcp { gateway } => gateway.is_some_and(|ip| ip.is_loopback()),
            _ => false,
        };
        if at.ip().is_loopback() && !told {
            return None;
        }
        let mapper = Mapper::start(settings.nat.clone(), NatConfig::new(env.random()))?;
        let udp = mapper.map(Protocol::Udp, at.port(), "ethereum discovery").await;
        let tcp = match tcp {
            Some(port) => Some(mapper.map(Protocol::Tcp, port, "ethereum p2p").await),
            None => None,
        };
        Some(Self { mapper, udp, tcp })
    }

    /// Follows the router for ever.
    pub(super) async fn follow(&self, discovery: &Discovery, own_tcp: Option<u16>) {
        let (mut ip, mut udp) = (self.mapper.external_ip(), self.udp.port());
        let mut tcp = self.tcp.as_ref().map(Mapping::port);
        loop {
            let (now_ip, now_udp) = (*ip.borrow_and_update(), *udp.borrow_and_update());
            let now_tcp = tcp.as_mut().and_then(|tcp| *tcp.borrow_and_update());
            if let Some(found) = now_ip {
                let mapped = discovery.set_external(Some(found), now_udp).await;
                let named = discovery.set_tcp(now_tcp.or(own_tcp)).await;
                if mapped.is_err() || named.is_err() {
                    return;
                }
            }
            let tcp_changed = async {
                match &mut tcp {
                    Some(tcp) => tcp.changed().await.is_ok(),
                    None => std::future::pending().await,
                }
            };
            let goes_on = tokio::select! {
                changed = ip.changed() => changed.is_ok(),
                changed = udp.changed() => changed.is_ok(),
                goes_on = tcp_changed => goes_on,
            };
            if !goes_on {
                return std::future::pending().await;
            }
        }
    }

    /// Deletes the mappings.
    pub(super) async fn stop(self) {
        if timeout(FAREWELL, self.mapper.stop()).await.is_err() {
            tracing::warn!("the router did not confirm in time that port mappings are deleted");
        }
    }
}

/// A node that was found, as somebody to dial; `None` for one that takes no connections.
fn candidate(node: &Node) -> Option<Candidate> {
    node.tcp()?;
    switchboard_devp2p::wire::parse(&node.to_enode()?.to_string()).ok()
}

/// How long discovery's task may take to tell its figures.
const TELL_WITHIN: Duration = Duration::from_secs(2);

/// What discovery does, in figures.
pub(crate) async fn gauges(discovery: &Discovery) -> Vec<Gauge> {
    let Ok(Ok(counters)) = timeout(TELL_WITHIN, discovery.counters()).await else { return Vec::new() };
    let mut told = Vec::new();
    let mut tell = |name, help, grows, labels: &[(&'static str, &str)], value: u64| {
        let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        told.push(Gauge { name, help, grows, labels, value: value as f64 });
    };
    for (version, (all, live)) in ["v4", "v5"].into_iter().zip(counters.tables) {
        let nodes = "Nodes in the tables of discovery";
        tell("discovery_table_nodes", nodes, false, &[("version", version), ("state", "all")], all as u64);
        tell("discovery_table_nodes", nodes, false, &[("version", version), ("state", "live")], live as u64);
    }
    let datagrams = "Datagrams of discovery";
    for (flow, count) in [
        ("received", counters.received),
        ("foreign", counters.foreign),
        ("sent", counters.sent),
        ("lost", counters.lost),
    ] {
        tell("discovery_datagrams", datagrams, true, &[("flow", flow)], count);
    }
    let (v4, v5) = (counters.v4, counters.v5);
    let messages = "Messages of discv4 that were handled";
    for (kind, count) in [
        ("ping", v4.pings),
        ("pong", v4.pongs),
        ("find_node", v4.find_nodes),
        ("neighbours", v4.neighbours),
        ("enr_request", v4.enr_requests),
        ("enr_response", v4.enr_responses),
    ] {
        tell("discovery_v4_messages", messages, true, &[("kind", kind)], count);
    }
    let lookups = "Lookups that were started";
    tell("discovery_lookups", lookups, true, &[("version", "v4")], v4.lookups);
    tell("discovery_lookups", lookups, true, &[("version", "v5")], v5.lookups);
    tell("discovery_timeouts", "Requests of discv4 without an answer", true, &[], v4.timeouts);
    let handshakes = "Handshakes of discv5 that others completed, and challenges sent";
    tell("discovery_v5_handshakes", handshakes, true, &[("kind", "completed")], v5.handshakes);
    tell("discovery_v5_handshakes", handshakes, true, &[("kind", "challenged")], v5.challenges);
    let dropped = "Packets of discovery that were dropped";
    for (version, reason, count) in [
        ("v4", "over_budget", v4.over_budget),
        ("v4", "malformed", v4.malformed),
        ("v4", "expired", v4.expired),
        ("v4", "unproven", v4.unproven),
        ("v4", "unsolicited", v4.unsolicited),
        ("v5", "over_budget", v5.over_budget),
        ("v5", "malformed", v5.malformed),
        ("v5", "unsolicited", v5.unasked_answers),
    ] {
        tell("discovery_dropped", dropped, true, &[("version", version), ("reason", reason)], count);
    }
    told
}

impl Service for DiscoveryService {
    fn name(&self) -> &'static str {
        NAME
    }

    fn source(&self) -> Option<Arc<dyn Source>> {
        Some(Arc::clone(&self.source))
    }

    fn datagrams_beside(&self) -> Option<WireName> {
        Some(DEVP2P)
    }

    fn start<'a>(&'a self, context: &'a ServiceContext) -> BoxFuture<'a, Result<(), ServiceError>> {
        Box::pin(async move {
            let mut ours = context.listening().iter().filter(|(_, wires)| wires.contains(&DEVP2P));
            let Some((listen, _)) = ours.next() else {
                return Err(ServiceError::new("--discovery needs an address: add --listen 0.0.0.0:30303"));
            };
            // What protocols tell stands in the record, unless the operator says it otherwise.
            let mut settings = self.settings.clone();
            for (name, value) in context.attributes(DEVP2P) {
                if !settings.entries.iter().any(|(given, _)| given == name) {
                    settings.entries.push(((*name).to_owned(), value.clone()));
                }
            }
            let config = configured(
                Arc::clone(&self.key),
                &settings,
                *listen,
                Some(listen.port()),
                self.external,
                Some(context.store().clone()),
            );
            let env = context.env().clone();
            let started = match context.datagrams(*listen) {
                Some(socket) => Discovery::start_on(socket, config, env).await,
                None => Discovery::start(config, env).await,
            };
            let discovery = started.map_err(|text| {
                ServiceError::new(format!("{text}: discovery needs the UDP port of --listen's number"))
            })?;
            *self.running.lock() = Some(discovery);
            Ok(())
        })
    }

    fn run(self: Arc<Self>, context: ServiceContext) -> BoxFuture<'static, Result<(), ServiceError>> {
        Box::pin(async move {
            let Some(discovery) = self.running() else { return Ok(()) };
            let own_tcp = Some(self.external.map_or(discovery.local_addr().port(), |at| at.port()));
            let at = discovery.local_addr();
            let router = Router::start(&self.settings, at, own_tcp, context.env()).await;
            let mut mix = Mix::new();
            if self.settings.versions.v4 {
                mix.add((discovery.clone(), Version::V4));
            }
            if self.settings.versions.v5 {
                mix.add((discovery.clone(), Version::V5));
            }
            if !self.settings.lists.is_empty() {
                let client = Client::new(self.settings.lists.clone(), context.env().random());
                mix.add(DnsNodes::new(client, naming(context.env(), &self.settings.name_servers)));
            }
            let feed = async {
                while let Some(node) = mix.next().await {
                    if self.chain.as_ref().is_some_and(|chain| !chain.may_follow(&node)) {
                        tracing::debug!(target: "switchboard::discovery", ?node, "of another fork, not dialled");
                        continue;
                    }
                    if let Some(found) = candidate(&node) {
                        self.producer.give(found).await;
                    }
                }
                std::future::pending::<()>().await;
            };
            let follow = async {
                match &router {
                    Some(router) => router.follow(&discovery, own_tcp).await,
                    None => std::future::pending().await,
                }
            };
            let mut events = discovery.events();
            let doubt = async {
                loop {
                    match events.recv().await {
                        Ok(Event::ClockDoubt) => {
                            tracing::warn!(target: "switchboard::discovery",
                                "this machine's clock contradicts those of other nodes: set it, as with an NTP service");
                            let told = "set this machine's clock, as with an NTP service";
                            context.emit("clock_doubt", vec![("remedy", told.to_owned())]);
                        }
                        Ok(_) | Err(RecvError::Lagged(_)) => {}
                        Err(RecvError::Closed) => std::future::pending().await,
                    }
                }
            };
            tokio::select! {
                () = feed => {}
                () = follow => {}
                () = doubt => {}
                () = context.stopping() => {}
            }
            let saved = discovery.stop().await;
            if let Some(router) = router {
                router.stop().await;
            }
            saved.map_err(|error| ServiceError::new(super::bootnode::not_saved(&error)))
        })
    }
}
