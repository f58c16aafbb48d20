//! A wire's kit: everything the front door needs to know of one wire, in one folder.
//!
//! ```text
//!   settings ─▶ flags, variables, section of the file        parse, claims ─▶ addresses as users write them
//!   build    ─▶ the wire, its ready line, its own URL,        keygen, public_forms ─▶ keys
//!               where bench and cast ride, its roles          decode ─▶ what an address says
//! ```
//!
//! A wire of this repository is added by one folder in [`crate::wires`] with a type that implements [`Kit`], and one
//! line in [`crate::wires::Kits::builtin`]. A program adds a wire of its own with [`crate::NodeBuilder::kit`].

use crate::error::NodeError;
use crate::settings::{Setting, Values};
use serde_json::{Value, json};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use switchboard::service::Service;
use switchboard::wire::{AddressError, Wire};
use switchboard::{BoxFuture, Candidate, Env, PeerId, Protocol, WireName};
use switchboard_bench::{BenchError, BulkPlan, BulkResult, Drive, EchoPlan, EchoResult, UrgentPlan};
use switchboard_cast::ChannelMap;
use tokio::sync::mpsc;

/// Where a node's key comes from.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// This file or folder, which must be there.
    File(PathBuf),
    /// This data folder, where the key is made on first use.
    Data(PathBuf),
    /// Made now, never stored.
    Throwaway,
}

impl KeySource {
    /// The key file's path in a data folder, which is made if it is not there.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn in_data(data: &Path, name: &str) -> Result<PathBuf, NodeError> {
        std::fs::create_dir_all(data).map_err(|e| {
            let data = data.display();
            NodeError::usage(format!("cannot use the data folder {data}: {e}: choose another with --data"))
        })?;
        Ok(data.join(name))
    }

    /// A key that cannot be made or read in the data folder.
    pub fn data_fails(error: impl fmt::Display) -> NodeError {
        NodeError::usage(format!("{error}: correct that, or choose another --data"))
    }
}

/// What is to be made by `keygen`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct KeyPlan {
    /// The file, or the folder on wires whose identities are folders.
    pub out: PathBuf,
    /// The organisation's MSP id, on wires that have organisations.
    pub org: String,
    /// Peers of the organisation.
    pub peers: usize,
    /// Users of the organisation.
    pub users: usize,
    /// Its administrators.
    pub admins: usize,
    /// Names and addresses that peers are dialled by, beside loopback.
    pub hosts: Vec<String>,
    /// Whether certificates tell roles.
    pub node_ous: bool,
    /// Days that certificates are valid; `None` for ten years.
    pub days: Option<u64>,
}

impl KeyPlan {
    /// Changes some of it.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// One key, or an organisation with so many peers.
    #[must_use]
    pub fn new(out: &Path, org: &str, peers: usize) -> Self {
        let (out, org, hosts) = (out.to_owned(), org.to_owned(), Vec::new());
        Self { out, org, peers, users: 0, admins: 0, hosts, node_ous: false, days: None }
    }
}

/// What is to be renewed by `keygen --renew`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RenewPlan {
    /// The member's folder.
    pub member: PathBuf,
    /// The organisation's folder, with its CAs; where none is given, that above the member's.
    pub authority: Option<PathBuf>,
    /// Whether the member gets new keys, too.
    pub new_key: bool,
    /// Whether only the TLS certificate is renewed, so that the identity stays the same.
    pub tls_only: bool,
    /// Days that certificates are valid; `None` for ten years.
    pub days: Option<u64>,
}

impl RenewPlan {
    /// Renews the identity and TLS certificates of this member, with the keys it has.
    #[must_use]
    pub fn new(member: &Path) -> Self {
        Self { member: member.to_owned(), authority: None, new_key: false, tls_only: false, days: None }
    }

    /// Changes some of it.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

/// Everything the front door needs to know of one wire.
pub trait Kit: Send + Sync {
    /// The wire's name, as in flags, events and URLs.
    fn name(&self) -> WireName;

    /// The wire's own settings, all of the section with its name.
    fn settings(&self) -> &'static [Setting];

    /// The forms of its addresses, for people.
    fn forms(&self) -> &'static str;

    /// Whether this text looks like one of its addresses.
    fn claims(&self, url: &str) -> bool;

    /// Reads an address.
    ///
    /// # Errors
    /// A sentence that says what is wrong and what is expected.
    fn parse(&self, url: &str) -> Result<Candidate, AddressError>;

    /// Whether identities of this wire are organisations with folders, so that a client needs one that the peer trusts.
    fn has_organisations(&self) -> bool {
        false
    }

    /// Whether these settings make a node that is there for this wire's own work, so that it runs no protocol that was
    /// not named (a seed, for example).
    ///
    /// # Errors
    /// A setting that must be changed.
    fn stands_alone(&self, values: &Values) -> Result<bool, NodeError> {
        let _ = values;
        Ok(false)
    }

    /// Makes the wire.
    ///
    /// # Errors
    /// A key or setting that must be changed.
    fn build(&self, request: &BuildRequest<'_>) -> Result<Built, NodeError>;

    /// Makes a key and says what it is.
    ///
    /// # Errors
    /// A place that cannot be written, a name that cannot be.
    fn keygen(&self, plan: &KeyPlan, env: &Env) -> Result<Value, NodeError>;

    /// Renews certificates in place, from the CA that issued them; says what was renewed.
    ///
    /// # Errors
    /// A wire without certificates, folders that cannot be used, another CA.
    fn renew(&self, plan: &RenewPlan, env: &Env) -> Result<Value, NodeError> {
        let _ = (plan, env);
        Err(NodeError::usage(format!("{} has no certificates: nothing of it expires", self.name())))
    }

    /// Keys for nodes of one network that must accept one another, kept below `data`.
    ///
    /// # Errors
    /// A place that cannot be written.
    fn network_keys(&self, data: &Path, count: usize, env: &Env) -> Result<Vec<KeySource>, NodeError> {
        let _ = env;
        Ok((0..count).map(|n| KeySource::Data(data.join(format!("{}-{n}", self.name())))).collect())
    }

    /// Every public form of a key.
    ///
    /// # Errors
    /// A key that cannot be read.
    fn public_forms(&self, key: &Path, org: &str, at: SocketAddr) -> Result<Value, NodeError>;

    /// What an address says, decoded.
    ///
    /// # Errors
    /// As for [`Kit::parse`].
    fn decode(&self, url: &str) -> Result<Value, AddressError>;

    /// The protocol `bench` as a client, where the wire has one.
    fn bench_client(&self) -> Option<BenchClient> {
        None
    }
}

impl fmt::Debug for dyn Kit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kit({})", self.name())
    }
}

/// A protocol that measures, and where its sessions come out.
pub type BenchClient = (Arc<dyn Protocol>, mpsc::Receiver<Box<dyn BenchDriver>>);

/// What a wire is made from.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct BuildRequest<'a> {
    /// All settings given.
    pub values: &'a Values,
    /// Where the key comes from.
    pub key: &'a KeySource,
    /// The address peers should dial, where it is not the one we listen on.
    pub external: Option<&'a External>,
    /// Network, clock, randomness.
    pub env: &'a Env,
}

impl<'a> BuildRequest<'a> {
    /// A wire that is dialled, if at all, where it listens.
    #[must_use]
    pub fn new(values: &'a Values, key: &'a KeySource, env: &'a Env) -> Self {
        Self { values, key, external: None, env }
    }
}

/// A host and port that peers may dial, as the operator wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct External {
    /// IP address or host name.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl External {
    /// As a socket address, where the host is an IP address.
    #[must_use]
    pub fn addr(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.host.parse().ok()?, self.port))
    }
}

impl fmt::Display for External {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl std::str::FromStr for External {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is not HOST:PORT, as in 203.0.113.7:30303 or node.example.org:26656");
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let ip = host.parse::<std::net::IpAddr>().ok();
        if ip.is_some_and(|ip| ip.is_unspecified()) {
            return Err(format!("{host} is no address that peers can dial: give one they can reach"));
        }
        let named = !host.is_empty() && host.len() <= 253 && host.chars().all(plain);
        if ip.is_some() || named { Ok(Self { host: host.to_owned(), port }) } else { Err(wrong()) }
    }
}

/// What a wire shows of itself at an address, or without one.
pub type Ready = Box<dyn Fn(Option<&External>) -> Value + Send + Sync>;

/// A certificate that a node shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The wire.
    pub wire: WireName,
    /// `identity`, `tls` or `tls-client`.
    pub what: &'static str,
    /// Its subject.
    pub subject: String,
    /// From when it counts.
    pub not_before: SystemTime,
    /// When it expires.
    pub expires: SystemTime,
}

/// A number that a part of a node tells its operator.
#[derive(Debug, Clone)]
pub struct Gauge {
    /// Its name, as in `discovery_table_nodes`.
    pub name: &'static str,
    /// One line for people.
    pub help: &'static str,
    /// Whether it only grows.
    pub grows: bool,
    /// Labels, of which only few values exist.
    pub labels: Vec<(&'static str, String)>,
    /// The number.
    pub value: f64,
}

/// What a reload will change, checked already. Called it cannot fail, and says what changed.
pub type Reload = Box<dyn FnOnce() -> Vec<String> + Send>;

/// The reload of a key that is the node's identity: a running node does not take another over, it says so. `same` tells whether
/// the key file still holds the node's key.
pub(crate) fn reload_identity(
    wire: WireName,
    key: &KeySource,
    same: impl FnOnce(&KeySource) -> Result<bool, NodeError>,
) -> Result<Reload, NodeError> {
    if matches!(key, KeySource::Throwaway) || same(key)? {
        return Ok(Box::new(Vec::new));
    }
    let told = format!("the key of {wire} is another: the node keeps its identity until it is started again");
    Ok(Box::new(move || vec![told]))
}

/// What is done with a wire while it runs.
pub trait Upkeep: Send + Sync {
    /// Certificates that it shows.
    fn certificates(&self) -> Vec<Certificate> {
        Vec::new()
    }

    /// Reads keys and certificates anew and checks them. Nothing changes before the [`Reload`] is called: a node calls those of
    /// its wires when all are checked.
    ///
    /// # Errors
    /// What cannot be read or does not fit.
    fn reload(&self, request: &BuildRequest<'_>) -> Result<Reload, NodeError>;

    /// Figures for metrics.
    fn gauges(&self) -> BoxFuture<'_, Vec<Gauge>> {
        Box::pin(std::future::ready(Vec::new()))
    }
}

/// A wire that was made, with what the front door shows of it.
#[non_exhaustive]
pub struct Built {
    /// The wire.
    pub wire: Arc<dyn Wire>,
    /// Its part of the ready line: addresses where it listens (or is reached), and its id.
    pub ready: Ready,
    /// Its URL at an address.
    pub url: Box<dyn Fn(&External) -> String + Send + Sync>,
    /// The protocol `bench`, as a server, where the wire has one.
    pub bench: Option<Arc<dyn Protocol>>,
    /// Protocols of the wire's own that the settings ask for.
    pub protocols: Vec<Arc<dyn Protocol>>,
    /// Where `cast` rides.
    pub cast: CastPlace,
    /// What it brings beyond the wire itself.
    pub roles: Roles,
    /// What is done with it while it runs.
    pub upkeep: Option<Box<dyn Upkeep>>,
}

/// Where the protocol `cast` rides on a wire.
#[derive(Clone)]
pub enum CastPlace {
    /// On these channels of the wire's own.
    Native(ChannelMap),
    /// Wherever the wire puts a protocol that knows nothing of it.
    Plain,
}

impl CastPlace {
    /// The channels, and what wraps the messages.
    #[must_use]
    pub fn map(&self) -> ChannelMap {
        match self {
            Self::Native(map) => map.clone(),
            Self::Plain => ChannelMap::plain(0),
        }
    }
}

impl Built {
    /// A wire that shows its id and `url`, carries `cast` as any plain protocol, has no `bench` and no roles.
    #[must_use]
    pub fn new(
        wire: Arc<dyn Wire>,
        url: impl Fn(&External) -> String + Clone + Send + Sync + 'static,
    ) -> Self {
        let (id, shown) = (wire.local_id().to_string(), url.clone());
        let ready: Ready = Box::new(move |at| match at {
            Some(at) => json!({"id": id, "url": shown(at)}),
            None => json!({"id": id}),
        });
        Self {
            wire,
            ready,
            url: Box::new(url),
            bench: None,
            protocols: Vec::new(),
            cast: CastPlace::Plain,
            roles: Roles::default(),
            upkeep: None,
        }
    }

    /// Sets what it shows of itself.
    #[must_use]
    pub fn ready(mut self, ready: impl Fn(Option<&External>) -> Value + Send + Sync + 'static) -> Self {
        self.ready = Box::new(ready);
        self
    }

    /// Adds the protocol `bench`, as a server.
    #[must_use]
    pub fn bench(mut self, bench: Arc<dyn Protocol>) -> Self {
        self.bench = Some(bench);
        self
    }

    /// Adds protocols of the wire's own.
    #[must_use]
    pub fn protocols(mut self, protocols: Vec<Arc<dyn Protocol>>) -> Self {
        self.protocols = protocols;
        self
    }

    /// Sets the channels of the wire's own that `cast` rides on.
    #[must_use]
    pub fn cast(mut self, map: ChannelMap) -> Self {
        self.cast = CastPlace::Native(map);
        self
    }

    /// Sets what it brings beyond the wire itself.
    #[must_use]
    pub fn roles(mut self, roles: Roles) -> Self {
        self.roles = roles;
        self
    }

    /// Sets what is done with it while it runs.
    #[must_use]
    pub fn upkeep(mut self, upkeep: impl Upkeep + 'static) -> Self {
        self.upkeep = Some(Box::new(upkeep));
        self
    }
}

/// What a wire brings to a node beyond itself, by its settings.
#[derive(Default)]
#[non_exhaustive]
pub struct Roles {
    /// Discovery, exchange, membership, watchers.
    pub services: Vec<Arc<dyn Service>>,
    /// Inbound and outbound slots, where the wire has numbers of its own and the operator gave none.
    pub slots: Option<(usize, usize)>,
    /// Peers to keep connected.
    pub statics: Vec<Candidate>,
    /// Peers let in beyond the slots and not counted.
    pub unconditional: Vec<PeerId>,
}

impl Roles {
    /// Changes some of it.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.services.iter().map(|service| service.name().to_owned()).collect();
        f.debug_struct("Roles").field("services", &names).finish_non_exhaustive()
    }
}

impl fmt::Debug for Built {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Built({})", self.wire.name())
    }
}

/// A session that can be measured.
pub trait BenchDriver: Send {
    /// Runs an echo series.
    fn echo(&mut self, plan: EchoPlan) -> BoxFuture<'_, Result<EchoResult, BenchError>>;
    /// Runs a one-way flow.
    fn bulk(&mut self, plan: BulkPlan) -> BoxFuture<'_, Result<BulkResult, BenchError>>;
    /// Runs echoes that go before a flow, where the wire's `bench` has such channels.
    fn urgent(&mut self, plan: UrgentPlan) -> BoxFuture<'_, Result<EchoResult, BenchError>>;
}

impl<D: Drive> BenchDriver for D {
    fn echo(&mut self, plan: EchoPlan) -> BoxFuture<'_, Result<EchoResult, BenchError>> {
        Box::pin(Drive::echo(self, plan))
    }

    fn bulk(&mut self, plan: BulkPlan) -> BoxFuture<'_, Result<BulkResult, BenchError>> {
        Box::pin(Drive::bulk(self, plan))
    }

    fn urgent(&mut self, plan: UrgentPlan) -> BoxFuture<'_, Result<EchoResult, BenchError>> {
        Box::pin(Drive::urgent(self, plan))
    }
}

/// Passes the sessions of a wire's own driver type on under the common trait.
pub(crate) fn forward<D: BenchDriver + 'static>(
    mut from: mpsc::Receiver<D>,
) -> mpsc::Receiver<Box<dyn BenchDriver>> {
    let (tx, rx) = mpsc::channel::<Box<dyn BenchDriver>>(1);
    tokio::spawn(async move {
        while let Some(driver) = from.recv().await {
            if tx.send(Box::new(driver)).await.is_err() {
                return;
            }
        }
    });
    rx
}
