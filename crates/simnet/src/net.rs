//! Hosts, listeners, connecting, partitions and crashes.
//!
//! ```text
//!   connect   SYN crosses ─▶ a listener? ─▶ answer crosses ─▶ connected, or refused
//! ```
//!
//! | what happens | connections that live | new connections |
//! |---|---|---|
//! | [`SimNet::cut`] | bytes wait until [`SimNet::heal`] | wait, and fail with `TimedOut` after [`CONNECT_LIMIT`] |
//! | [`SimNet::crash`] | reset at both ends at once | to the host: refused; from it: unreachable |
//! | no such host | | fail with `TimedOut` after [`CONNECT_LIMIT`] |
//!
//! Limits: [`BACKLOG`] connections of a listener wait to be accepted; a further one is refused.

use crate::audit::{Audit, Auditor};
use crate::datagrams::{self, Post};
use crate::link::Link;
use crate::path::Path;
use crate::pipe::{Pipe, halves};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use switchboard::net::{Connection, Datagrams, Listener, Network, fed_listener};
use switchboard::{BoxFuture, Env};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How long a connection attempt goes unanswered before it fails.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(60);
/// Connections that may wait to be accepted.
pub const BACKLOG: usize = 128;
/// The wall clock's start: a fixed day, so that certificates and timestamps have a time to be valid at.
pub const EPOCH: u64 = 1_800_000_000;

/// A virtual network. Clones share it.
#[derive(Clone)]
pub struct SimNet {
    pub(crate) world: Arc<World>,
}

pub(crate) struct World {
    seed: u64,
    pub(crate) start: Instant,
    pub(crate) auditor: Arc<Auditor>,
    state: Mutex<State>,
    pub(crate) post: Mutex<Post>,
}

#[derive(Default)]
struct State {
    every: Link,
    links: BTreeMap<(IpAddr, IpAddr), Link>,
    paths: BTreeMap<(IpAddr, IpAddr), Arc<Path>>,
    cuts: BTreeSet<(IpAddr, IpAddr)>,
    hosts: BTreeMap<IpAddr, HostState>,
    names: BTreeMap<String, Vec<IpAddr>>,
    listeners: BTreeMap<SocketAddr, mpsc::Sender<Connection>>,
}

struct HostState {
    up: bool,
    port: u16,
}

impl HostState {
    fn port(&mut self) -> u16 {
        self.port = if self.port == u16::MAX { 49_152 } else { self.port + 1 };
        self.port
    }
}

impl SimNet {
    /// An empty network of perfect links. Must be made on a runtime whose clock is paused, as [`crate::run`] does.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let (auditor, state, post) = (Arc::default(), Mutex::default(), Mutex::default());
        Self { world: Arc::new(World { seed, start: Instant::now(), auditor, state, post }) }
    }

    /// A host with the given address. Asking twice gives the same host.
    #[must_use]
    pub fn host(&self, ip: impl Into<IpAddr>) -> Host {
        let ip = ip.into();
        self.world.state.lock().hosts.entry(ip).or_insert(HostState { up: true, port: 49_151 });
        Host { net: self.clone(), ip }
    }

    /// Gives a host a name, to be resolved. A name may have several addresses.
    pub fn name(&self, name: &str, ip: impl Into<IpAddr>) {
        self.world.state.lock().names.entry(name.to_owned()).or_default().push(ip.into());
    }

    /// Sets what every link is like that has no setting of its own.
    pub fn every_link(&self, link: Link) {
        let mut state = self.world.state.lock();
        state.every = link;
        let plain = state.paths.iter().filter(|(ends, _)| !state.links.contains_key(*ends));
        plain.for_each(|(_, path)| path.set_link(link));
    }

    /// Sets what the link between two hosts is like, both ways.
    pub fn link(&self, a: impl Into<IpAddr>, b: impl Into<IpAddr>, link: Link) {
        let (a, b) = (a.into(), b.into());
        self.link_one_way(a, b, link);
        self.link_one_way(b, a, link);
    }

    /// Sets what one direction is like. Bytes under way keep their arrival.
    pub fn link_one_way(&self, from: impl Into<IpAddr>, to: impl Into<IpAddr>, link: Link) {
        let ends = (from.into(), to.into());
        let mut state = self.world.state.lock();
        state.links.insert(ends, link);
        if let Some(path) = state.paths.get(&ends) {
            path.set_link(link);
        }
    }

    /// Cuts every link between the two groups, both ways.
    pub fn cut(&self, a: &[IpAddr], b: &[IpAddr]) {
        for (a, b) in a.iter().flat_map(|a| b.iter().map(move |b| (*a, *b))) {
            self.cut_one_way(a, b);
            self.cut_one_way(b, a);
        }
    }

    /// Cuts one direction.
    pub fn cut_one_way(&self, from: IpAddr, to: IpAddr) {
        let mut state = self.world.state.lock();
        if state.cuts.insert((from, to))
            && let Some(path) = state.paths.get(&(from, to))
        {
            path.cut();
        }
    }

    /// Heals every cut.
    pub fn heal(&self) {
        let paths: Vec<_> = {
            let mut state = self.world.state.lock();
            let cuts = std::mem::take(&mut state.cuts);
            cuts.iter().filter_map(|ends| state.paths.get(ends).cloned()).collect()
        };
        paths.iter().for_each(|path| path.heal());
    }

    /// A host goes down: its connections are reset at both ends, nobody reaches it and it reaches nobody. Its
    /// listeners are there again after [`SimNet::restart`].
    pub fn crash(&self, ip: impl Into<IpAddr>) {
        let ip = ip.into();
        let paths: Vec<_> = {
            let mut state = self.world.state.lock();
            if let Some(host) = state.hosts.get_mut(&ip) {
                host.up = false;
            }
            let touched = state.paths.iter().filter(|((from, to), _)| *from == ip || *to == ip);
            touched.map(|(_, path)| Arc::clone(path)).collect()
        };
        paths.iter().flat_map(|path| path.pipes()).for_each(|pipe| pipe.reset());
    }

    /// A host that was down is there again.
    pub fn restart(&self, ip: impl Into<IpAddr>) {
        if let Some(host) = self.world.state.lock().hosts.get_mut(&ip.into()) {
            host.up = true;
        }
    }

    /// What was delivered so far.
    #[must_use]
    pub fn audit(&self) -> Audit {
        self.world.auditor.so_far()
    }

    /// Virtual time since the network was made.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.world.start.elapsed()
    }
}

impl World {
    pub(crate) fn is_up(&self, ip: IpAddr) -> bool {
        self.state.lock().hosts.get(&ip).is_some_and(|host| host.up)
    }

    pub(crate) fn path(&self, from: IpAddr, to: IpAddr) -> Arc<Path> {
        let mut state = self.state.lock();
        let link = state.links.get(&(from, to)).copied().unwrap_or(state.every);
        let cut = state.cuts.contains(&(from, to));
        let new = || Arc::new(Path::new(self.seed, from, to, link, cut));
        Arc::clone(state.paths.entry((from, to)).or_insert_with(new))
    }
}

impl std::fmt::Debug for SimNet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SimNet(seed {}, {})", self.world.seed, self.audit())
    }
}

/// One machine of a [`SimNet`]: listens and connects with its own address. Clones are the same host.
#[derive(Debug, Clone)]
pub struct Host {
    pub(crate) net: SimNet,
    ip: IpAddr,
}

impl Host {
    /// Its address.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// Everything a node on this host takes from outside. Its randomness is seeded with the network's seed and the address.
    #[must_use]
    pub fn env(&self) -> Env {
        let mix = Sha256::digest(format!("{} {}", self.net.world.seed, self.ip));
        let seed = mix.iter().take(8).fold(0, |seed, byte| seed << 8 | u64::from(*byte));
        Env::seeded(Arc::new(self.clone()), EPOCH, seed)
    }

    pub(crate) fn is_up(&self) -> bool {
        self.net.world.is_up(self.ip)
    }

    /// A port nobody was given yet.
    pub(crate) fn free_port(&self) -> u16 {
        self.net.world.state.lock().hosts.get_mut(&self.ip).map_or(0, HostState::port)
    }

    async fn knock(&self, addr: SocketAddr) -> io::Result<Connection> {
        let world = &self.net.world;
        if !self.is_up() {
            return Err(io::ErrorKind::NetworkUnreachable.into());
        }
        let (there, back) = (world.path(self.ip, addr.ip()), world.path(addr.ip(), self.ip));
        there.cross().await;
        let answer = {
            let mut state = world.state.lock();
            match state.hosts.get(&addr.ip()).map(|host| host.up) {
                None => None,
                Some(false) => Some(Err(io::ErrorKind::ConnectionRefused)),
                Some(true) => {
                    let listener = state.listeners.get(&addr).cloned();
                    let port = state.hosts.get_mut(&self.ip).map_or(0, HostState::port);
                    let local = SocketAddr::new(self.ip, port);
                    Some(listener.map(|l| (l, local)).ok_or(io::ErrorKind::ConnectionRefused))
                }
            }
        };
        let Some(answer) = answer else {
            // Nobody there to answer: the caller's patience, or CONNECT_LIMIT, ends this.
            return std::future::pending().await;
        };
        let answer = answer.and_then(|(listener, local)| {
            let pipe = |path, from, to| Pipe::new(path, from, to, &world.auditor, world.start);
            let (out, into) = (pipe(&there, local, addr), pipe(&back, addr, local));
            let (reader, writer) = halves(&out, &into);
            let accepted =
                Connection { reader: Box::new(reader), writer: Box::new(writer), remote: local, local: addr };
            let (reader, writer) = halves(&into, &out);
            listener.try_send(accepted).map_err(|_| io::ErrorKind::ConnectionRefused)?;
            Ok(Connection { reader: Box::new(reader), writer: Box::new(writer), remote: addr, local })
        });
        back.cross().await;
        Ok(answer?)
    }
}

impl Network for Host {
    fn listen(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Arc<dyn Listener>>> {
        Box::pin(async move {
            if !addr.ip().is_unspecified() && addr.ip() != self.ip {
                return Err(io::ErrorKind::AddrNotAvailable.into());
            }
            let mut state = self.net.world.state.lock();
            let port = match (addr.port(), state.hosts.get_mut(&self.ip)) {
                (0, Some(host)) => host.port(),
                (port, _) => port,
            };
            let addr = SocketAddr::new(self.ip, port);
            if state.listeners.contains_key(&addr) {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            let (tx, rx) = mpsc::channel(BACKLOG);
            state.listeners.insert(addr, tx);
            let world = Arc::clone(&self.net.world);
            Ok(fed_listener(addr, rx, move |addr| drop(world.state.lock().listeners.remove(&addr))))
        })
    }

    fn connect(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Connection>> {
        Box::pin(async move {
            let knocked = tokio::time::timeout(CONNECT_LIMIT, self.knock(addr)).await;
            knocked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        })
    }

    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            if let Ok(ip) = host.parse() {
                return Ok(vec![SocketAddr::new(ip, port)]);
            }
            let state = self.net.world.state.lock();
            let ips = state.names.get(host).ok_or(io::ErrorKind::NotFound)?;
            Ok(ips.iter().take(16).map(|ip| SocketAddr::new(*ip, port)).collect())
        })
    }

    fn bind(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Arc<dyn Datagrams>>> {
        Box::pin(async move { datagrams::bind(self, addr) })
    }

    fn txt<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<String>>> {
        Box::pin(async move { datagrams::txt(&self.net.world, name) })
    }
}
