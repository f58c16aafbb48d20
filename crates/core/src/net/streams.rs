//! Sockets behind a trait, so that the same code runs on TCP, on in-memory pipes and in a simulator.

use super::datagrams::{self, Datagrams};
use super::names::{self, NameServers};
use crate::BoxFuture;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// The reading half of a connection.
pub type BoxRead = Box<dyn AsyncRead + Send + Sync + Unpin>;
/// The writing half of a connection.
pub type BoxWrite = Box<dyn AsyncWrite + Send + Sync + Unpin>;

/// An ordered, reliable byte stream with a peer, in two halves that tasks may own apart.
pub struct Connection {
    /// Reads what the peer sent.
    pub reader: BoxRead,
    /// Writes to the peer.
    pub writer: BoxWrite,
    /// The peer's address.
    pub remote: SocketAddr,
    /// Our address on this connection.
    pub local: SocketAddr,
}

impl Connection {
    /// A connection from any stream (behind a lock; TCP has [`Connection::tcp`]).
    pub fn from_stream<S>(stream: S, local: SocketAddr, remote: SocketAddr) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static,
    {
        let (reader, writer) = tokio::io::split(stream);
        Self { reader: Box::new(reader), writer: Box::new(writer), remote, local }
    }

    /// A connection from a TCP socket, with Nagle's delay off and little waiting in the system at both ends.
    ///
    /// # Errors
    /// When the socket is already gone.
    pub fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let (remote, local) = (stream.peer_addr()?, stream.local_addr()?);
        hold_little(&stream, remote);
        let (reader, writer) = stream.into_split();
        Ok(Self { reader: Box::new(reader), writer: Box::new(writer), remote, local })
    }

    /// Puts bytes that were already read in front of the stream again.
    #[must_use]
    pub fn unread(mut self, prefix: bytes::BytesMut) -> Self {
        if !prefix.is_empty() {
            self.reader = Box::new(tokio::io::AsyncReadExt::chain(io::Cursor::new(prefix), self.reader));
        }
        self
    }
}

/// Bytes that the system takes before it has sent those it has. What it has taken no channel can overtake, however urgent.
pub const UNSENT: u32 = 32 * 1024;
/// Bytes that the system keeps for us of a peer on the local network; it takes twice as many, for its own account.
pub const UNREAD: usize = 128 * 1024;

/// Bounds what waits in the system. From afar the network is slower than we are, and its delay times its rate must fit into
/// what the system keeps for us, so that it decides how much that is. From nearby we are slower, and
/// without a bound the system keeps tens of megabytes in front of what is urgent.
fn hold_little(stream: &TcpStream, remote: SocketAddr) {
    let socket = socket2::SockRef::from(stream);
    // A system without these options works as before.
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_notsent_lowat(UNSENT);
    if crate::switch::access::is_lan(remote.ip()) {
        let _ = socket.set_recv_buffer_size(UNREAD);
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({} -> {})", self.local, self.remote)
    }
}

/// Accepts connections on one address.
pub trait Listener: Send + Sync {
    /// Waits for the next connection.
    fn accept(&self) -> BoxFuture<'_, io::Result<Connection>>;
    /// The bound address, with the real port.
    fn local_addr(&self) -> SocketAddr;
}

/// Where listeners and connections come from.
pub trait Network: Send + Sync {
    /// Listens on an address; port 0 takes a free one.
    fn listen(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Arc<dyn Listener>>>;
    /// Connects to an address. The caller bounds the wait.
    fn connect(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Connection>>;
    /// Looks a host name up; at most 16 addresses. The caller bounds the wait.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;

    /// Binds a datagram socket; port 0 takes a free one. `Unsupported` on a network without datagrams.
    fn bind(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Arc<dyn Datagrams>>> {
        let _ = addr;
        Box::pin(std::future::ready(Err(io::ErrorKind::Unsupported.into())))
    }

    /// The TXT records of a DNS name, each with its strings joined; at most [`MAX_TXT`] records. The caller bounds the
    /// wait. `Unsupported` on a network without names, `NotFound` for a name that has none.
    fn txt<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<String>>> {
        let _ = name;
        Box::pin(std::future::ready(Err(io::ErrorKind::Unsupported.into())))
    }
}

/// TXT records of one name that are looked at.
pub const MAX_TXT: usize = 16;

/// The operating system's TCP and UDP.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpNetwork;

struct TcpSocketListener {
    inner: tokio::net::TcpListener,
    addr: SocketAddr,
}

impl Listener for TcpSocketListener {
    fn accept(&self) -> BoxFuture<'_, io::Result<Connection>> {
        Box::pin(async {
            loop {
                let (stream, _) = self.inner.accept().await?;
                // A socket that died between accept and here concerns nobody.
                if let Ok(connection) = Connection::tcp(stream) {
                    return Ok(connection);
                }
            }
        })
    }

    fn local_addr(&self) -> SocketAddr {
        self.addr
    }
}

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

impl Network for TcpNetwork {
    fn listen(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Arc<dyn Listener>>> {
        Box::pin(async move {
            let socket =
                socket2::Socket::new(socket2::Domain::for_address(addr), socket2::Type::STREAM, None)?;
            socket.set_reuse_address(true)?;
            if addr.is_ipv6() {
                // v4 and v6 listeners are separate, so that both can be bound to one port.
                socket.set_only_v6(true)?;
            }
            socket.set_nonblocking(true)?;
            socket.bind(&addr.into())?;
            socket.listen(BACKLOG)?;
            let inner = tokio::net::TcpListener::from_std(socket.into())?;
            let addr = inner.local_addr()?;
            Ok(Arc::new(TcpSocketListener { inner, addr }) as Arc<dyn Listener>)
        })
    }

    fn connect(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Connection>> {
        Box::pin(async move { Connection::tcp(TcpStream::connect(addr).await?) })
    }

    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            if let Ok(ip) = host.parse() {
                return Ok(vec![SocketAddr::new(ip, port)]);
            }
            Ok(tokio::net::lookup_host((host, port)).await?.take(16).collect())
        })
    }

    fn bind(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Arc<dyn Datagrams>>> {
        Box::pin(async move { datagrams::bind(addr) })
    }

    fn txt<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<String>>> {
        Box::pin(async move { NameServers::system().await.txt(self, name, names::system_id).await })
    }
}

/// Resolves a host and connects to the first of its addresses that answers.
///
/// # Errors
/// `TimedOut` when `limit` passed, else the last address's error.
pub async fn connect_host(
    net: &dyn Network,
    host: &str,
    port: u16,
    limit: Duration,
) -> io::Result<Connection> {
    let deadline = Instant::now() + limit;
    let addrs = tokio::time::timeout_at(deadline, net.resolve(host, port)).await;
    connect_any(net, &addrs.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?, deadline).await
}

/// Connects to the first address that answers. Each gets an even share of the time left, so that one that
/// swallows packets does not hide those after it.
///
/// # Errors
/// The last address's error; `TimedOut` when it did not answer, `NotFound` when there is none.
pub async fn connect_any(
    net: &dyn Network,
    addrs: &[SocketAddr],
    deadline: Instant,
) -> io::Result<Connection> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
    for (tried, addr) in addrs.iter().enumerate() {
        let left = u32::try_from(addrs.len() - tried).unwrap_or(u32::MAX);
        let share = deadline.saturating_duration_since(Instant::now()) / left;
        match tokio::time::timeout(share, net.connect(*addr)).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}
