//! Sockets and connections.
//!
//! ```text
//!   socket ─▶ CONNECTIONS at once, PER_ADDRESS of one (one more is closed) ─▶ HTTP/1 with HEADERS_WITHIN and WRITE_WITHIN ─▶ guard ─▶ api
//! ```
//! The Unix socket stands in the data folder as `admin.sock`. The folder's lock says that nobody else uses it, so what an
//! earlier process left there is replaced.
//!
//! Limits: [`CONNECTIONS`], of which one address has [`PER_ADDRESS`] (v6: a /64; loopback [`PER_LOOPBACK`]) and [`STREAMS`] may follow events; [`MAX_HEADERS`] headers in [`MAX_HEAD`] bytes; bodies of
//! [`MAX_BODY`] bytes within [`BODY_WITHIN`]; an answer within [`ANSWER_WITHIN`], and a reader that takes nothing for
//! [`WRITE_WITHIN`] is left.

use crate::api;
use crate::control::Control;
use crate::guard::{Door, Guard, Token};
use crate::metrics::{Lag, Names};
use crate::stall::Stalling;
use axum::body::Body;
use axum::http::Request;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use ipnet::IpNet;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use switchboard::switch::access::network_of;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

/// Connections at once, of each socket.
pub const CONNECTIONS: usize = 64;
/// Connections of one address.
pub const PER_ADDRESS: usize = 16;
/// Connections of a loopback address: programs of this machine share it.
pub const PER_LOOPBACK: usize = 48;
/// Connections that may follow events.
pub const STREAMS: usize = 16;
/// Headers of a request.
pub const MAX_HEADERS: usize = 64;
/// Bytes of a request's head.
pub const MAX_HEAD: usize = 16 * 1024;
/// Bytes of a request's body.
pub const MAX_BODY: usize = 64 * 1024;
/// How long a head may take, and how long a connection may be idle.
pub const HEADERS_WITHIN: Duration = Duration::from_secs(10);
/// How long a body may take.
pub const BODY_WITHIN: Duration = Duration::from_secs(5);
/// How long an answer may take.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// How long a reader may take nothing.
pub const WRITE_WITHIN: Duration = Duration::from_secs(30);
/// How long answers that are being written may take once the node stops.
pub const STOP_WITHIN: Duration = Duration::from_millis(300);
/// The socket's name in a data folder.
pub const SOCKET: &str = "admin.sock";
/// Longest path of a Unix socket, in bytes (unix(7), sun_path).
const MAX_PATH: usize = 107;
/// Pause after the system refused to accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Where a node is administered.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Config {
    /// A folder that gets the Unix socket.
    pub folder: Option<PathBuf>,
    /// An address for HTTP.
    pub listen: Option<SocketAddr>,
    /// The token that HTTP asks for. Other addresses than loopback need one.
    pub token: Option<Token>,
    /// Which names metrics have.
    pub names: Names,
}

impl Config {
    /// Changes some of it.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

/// Why there is no administration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The address is reached by others and no token is asked for.
    #[error(
        "--admin {0} can be reached from other machines: give a token with --admin-token FILE, or use 127.0.0.1"
    )]
    NeedsToken(SocketAddr),
    /// The address cannot be bound.
    #[error("cannot serve --admin on {addr}: {error}{}", hint(.error))]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The socket cannot be made.
    #[error("cannot make {path}: {error}: choose another --data")]
    Socket {
        /// Where.
        path: String,
        /// What the system said.
        error: io::Error,
    },
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another program uses this port: choose another with --admin, or port 0"
        }
        _ => "; choose another with --admin",
    }
}

/// A socket in a folder by a path that is short enough, whatever the folder's own; the file keeps it valid.
pub(crate) fn socket_path(folder: &Path) -> io::Result<(PathBuf, Option<File>)> {
    let path = folder.join(SOCKET);
    if path.as_os_str().len() <= MAX_PATH {
        return Ok((path, None));
    }
    let folder = File::open(folder)?;
    Ok((format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()).into(), Some(folder)))
}

/// Administration at work. It ends when this is dropped.
#[derive(Debug)]
pub struct Admin {
    addr: Option<SocketAddr>,
    socket: Option<PathBuf>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

/// What every connection of a socket shares.
struct Shared {
    guard: Arc<Guard>,
    state: Arc<api::State>,
    places: Arc<Semaphore>,
    addresses: Addresses,
}

/// Connections by address. There are no more addresses than connections.
#[derive(Clone, Default)]
struct Addresses(Arc<Mutex<BTreeMap<IpNet, usize>>>);

/// A connection counted with its address, until it is dropped.
struct OfAddress {
    all: Addresses,
    net: IpNet,
}

impl Addresses {
    /// Counts one more, if the address may have it.
    fn enter(&self, ip: IpAddr) -> Option<OfAddress> {
        let ip = ip.to_canonical();
        let most = if ip.is_loopback() { PER_LOOPBACK } else { PER_ADDRESS };
        let net = network_of(ip, 32, 64);
        let mut counts = self.0.lock();
        let taken = counts.get(&net).copied().unwrap_or_default();
        if taken >= most {
            return None;
        }
        counts.insert(net, taken + 1);
        Some(OfAddress { all: self.clone(), net })
    }
}

impl Drop for OfAddress {
    fn drop(&mut self) {
        let mut counts = self.all.0.lock();
        if let Some(count) = counts.get_mut(&self.net) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.net);
            }
        }
    }
}

/// What a connection holds as long as it is served.
type Place = (OwnedSemaphorePermit, Option<OfAddress>);

impl Admin {
    /// Opens the sockets.
    ///
    /// # Errors
    /// [`AdminError`]; then nothing is open.
    pub async fn start(control: Arc<dyn Control>, config: Config) -> Result<Self, AdminError> {
        let lag = Lag::default();
        let state = Arc::new(api::State::new(control, config.names, lag.clone()));
        let (stop, stopped) = watch::channel(false);
        let mut admin = Self { addr: None, socket: None, stop, tasks: JoinSet::new() };
        if let Some(addr) = config.listen {
            if !addr.ip().is_loopback() && config.token.is_none() {
                return Err(AdminError::NeedsToken(addr));
            }
            let failed = |error| AdminError::Listen { addr, error };
            let listener = TcpListener::bind(addr).await.map_err(failed)?;
            let bound = listener.local_addr().map_err(failed)?;
            admin.addr = Some(bound);
            let shared = Shared::new(Door::Tcp(bound, config.token), &state);
            admin.tasks.spawn(accept_tcp(listener, shared, stopped.clone()));
        }
        if let Some(folder) = config.folder {
            let shown = folder.join(SOCKET);
            let failed = |error| AdminError::Socket { path: shown.display().to_string(), error };
            let (path, _open) = socket_path(&folder).map_err(failed)?;
            match std::fs::remove_file(&shown) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                _ => {}
            }
            let listener = UnixListener::bind(&path).map_err(failed)?;
            std::fs::set_permissions(&shown, Permissions::from_mode(0o600)).map_err(failed)?;
            let shared = Shared::new(Door::Unix, &state);
            admin.tasks.spawn(accept_unix(listener, shared, stopped.clone()));
            admin.socket = Some(shown);
        }
        if admin.addr.is_some() || admin.socket.is_some() {
            admin.tasks.spawn(lag.watch(stopped));
        }
        Ok(admin)
    }

    /// Where HTTP is served.
    #[must_use]
    pub fn addr(&self) -> Option<SocketAddr> {
        self.addr
    }

    /// The Unix socket.
    #[must_use]
    pub fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }

    /// Closes the sockets, and lets answers that are being written go out for a moment.
    pub async fn stop(mut self) {
        let _ = self.stop.send(true);
        let over = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(STOP_WITHIN, over).await;
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        if let Some(socket) = &self.socket {
            let _ = std::fs::remove_file(socket);
        }
    }
}

impl Shared {
    fn new(door: Door, state: &Arc<api::State>) -> Self {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let addresses = Addresses::default();
        Self { guard: Arc::new(Guard::new(door)), state: Arc::clone(state), places, addresses }
    }
}

async fn accept_tcp(listener: TcpListener, shared: Shared, mut stopped: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = stopped.changed() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, remote)) => {
                    let _ = stream.set_nodelay(true);
                    if let Some(of) = shared.addresses.enter(remote.ip()) {
                        begin(&mut connections, stream, Some(of), &shared, &stopped);
                    }
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
        }
    }
    while connections.join_next().await.is_some() {}
}

async fn accept_unix(listener: UnixListener, shared: Shared, mut stopped: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    let own = std::fs::metadata("/proc/self").map(|meta| std::os::unix::fs::MetadataExt::uid(&meta)).ok();
    loop {
        tokio::select! {
            _ = stopped.changed() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    // The mode of the socket says the same; a file system may not keep to it.
                    let known = stream.peer_cred().is_ok_and(|peer| peer.uid() == 0 || Some(peer.uid()) == own);
                    if known {
                        begin(&mut connections, stream, None, &shared, &stopped);
                    }
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
        }
    }
    while connections.join_next().await.is_some() {}
}

/// Serves a connection if there is a place for it; else closes it.
fn begin<S>(
    connections: &mut JoinSet<()>,
    stream: S,
    of: Option<OfAddress>,
    shared: &Shared,
    stopped: &watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Ok(place) = Arc::clone(&shared.places).try_acquire_owned() else { return };
    let place = (place, of);
    let (guard, state) = (Arc::clone(&shared.guard), Arc::clone(&shared.state));
    connections.spawn(connection(stream, guard, state, place, stopped.clone()));
}

async fn connection<S>(
    stream: S,
    guard: Arc<Guard>,
    state: Arc<api::State>,
    place: Place,
    mut stopped: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let router = api::router(guard, state, stopped.clone());
    let service = TowerToHyperService::new(router);
    let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        hyper::service::Service::call(&service, request.map(Body::new))
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(Stalling::new(stream, WRITE_WITHIN)), service);
    tokio::pin!(serving);
    let over = tokio::select! {
        _ = serving.as_mut() => true,
        _ = stopped.changed() => false,
    };
    if !over {
        serving.as_mut().graceful_shutdown();
        let _ = serving.await;
    }
    drop(place);
}
