//! A network in memory for tests: hosts at chosen addresses, names that resolve to what the test says, every
//! write counted, and bytes held back until the test lets them pass.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use switchboard::BoxFuture;
use switchboard::net::{Connection, Listener, Network};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;

/// How a direction's bytes pass: as many as `allowed`, counted from its start.
#[derive(Default)]
pub struct Gate(Mutex<(u64, u64, Option<Waker>)>);

impl Gate {
    pub fn allow(&self, bytes: u64) {
        let mut state = self.0.lock();
        state.0 = state.0.max(bytes);
        if let Some(waker) = state.2.take() {
            waker.wake();
        }
    }
}

/// One connection: who dialled, and its two directions' gates.
#[derive(Clone)]
pub struct Line {
    pub from: IpAddr,
    pub to: SocketAddr,
    pub to_listener: Arc<Gate>,
    pub to_dialler: Arc<Gate>,
}

#[derive(Default)]
struct World {
    listeners: BTreeMap<SocketAddr, mpsc::Sender<Connection>>,
    names: BTreeMap<String, Vec<SocketAddr>>,
    lines: Vec<Line>,
    port: u16,
    gated: bool,
    pipe: usize,
}

/// The network; a [`Host`] is its view from one address.
#[derive(Clone, Default)]
pub struct Net {
    world: Arc<Mutex<World>>,
    pub writes: Arc<AtomicU64>,
    pub connects: Arc<AtomicU64>,
}

pub struct Host {
    net: Net,
    ip: IpAddr,
}

impl Net {
    pub fn host(&self, ip: [u8; 4]) -> Arc<dyn Network> {
        Arc::new(Host { net: self.clone(), ip: ip.into() })
    }

    pub fn name(&self, name: &str, addrs: Vec<SocketAddr>) {
        self.world.lock().names.insert(name.to_owned(), addrs);
    }

    /// From now on connections pass nothing until their gates are opened.
    pub fn gate(&self, on: bool) {
        self.world.lock().gated = on;
    }

    pub fn pipe(&self, bytes: usize) {
        self.world.lock().pipe = bytes;
    }

    pub fn lines(&self) -> Vec<Line> {
        self.world.lock().lines.clone()
    }
}

struct Ear {
    addr: SocketAddr,
    incoming: tokio::sync::Mutex<mpsc::Receiver<Connection>>,
    world: Arc<Mutex<World>>,
}

impl Listener for Ear {
    fn accept(&self) -> BoxFuture<'_, io::Result<Connection>> {
        Box::pin(async {
            self.incoming.lock().await.recv().await.ok_or_else(|| io::ErrorKind::NotConnected.into())
        })
    }

    fn local_addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.world.lock().listeners.remove(&self.addr);
    }
}

impl Network for Host {
    fn listen(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Arc<dyn Listener>>> {
        Box::pin(async move {
            let mut world = self.net.world.lock();
            world.port += 1;
            let port = if addr.port() == 0 { 10_000 + world.port } else { addr.port() };
            let addr = SocketAddr::new(self.ip, port);
            if world.listeners.contains_key(&addr) {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            let (tx, rx) = mpsc::channel(1024);
            world.listeners.insert(addr, tx);
            let incoming = tokio::sync::Mutex::new(rx);
            Ok(Arc::new(Ear { addr, incoming, world: Arc::clone(&self.net.world) }) as Arc<dyn Listener>)
        })
    }

    fn connect(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Connection>> {
        Box::pin(async move {
            self.net.connects.fetch_add(1, Ordering::Relaxed);
            if addr.port() == 1 {
                // A host that swallows packets.
                std::future::pending::<()>().await;
            }
            let (listener, local, line, pipe) = {
                let mut world = self.net.world.lock();
                let listener = world.listeners.get(&addr).cloned().ok_or(io::ErrorKind::ConnectionRefused)?;
                world.port += 1;
                let local = SocketAddr::new(self.ip, 30_000 + world.port);
                let line =
                    Line { from: self.ip, to: addr, to_listener: Arc::default(), to_dialler: Arc::default() };
                if !world.gated {
                    line.to_listener.allow(u64::MAX);
                    line.to_dialler.allow(u64::MAX);
                }
                world.lines.push(line.clone());
                (listener, local, line, if world.pipe == 0 { 256 * 1024 } else { world.pipe })
            };
            let (ours, theirs) = tokio::io::duplex(pipe);
            let end = |stream, gate, local, remote| {
                let (reader, writer) = tokio::io::split(stream);
                Connection {
                    reader: Box::new(GatedRead { inner: reader, gate }),
                    writer: Box::new(CountedWrite { inner: writer, writes: Arc::clone(&self.net.writes) }),
                    remote,
                    local,
                }
            };
            let accepted = end(theirs, line.to_listener, addr, local);
            listener.send(accepted).await.map_err(|_| io::ErrorKind::ConnectionRefused)?;
            Ok(end(ours, line.to_dialler, local, addr))
        })
    }

    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            if let Some(addrs) = self.net.world.lock().names.get(host) {
                return Ok(addrs.clone());
            }
            let ip = host.parse().map_err(|_| io::Error::new(io::ErrorKind::NotFound, "no such name"))?;
            Ok(vec![SocketAddr::new(ip, port)])
        })
    }
}

struct GatedRead<R> {
    inner: R,
    gate: Arc<Gate>,
}

impl<R: AsyncRead + Unpin> AsyncRead for GatedRead<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = {
            let mut state = self.gate.0.lock();
            let room = state.0 - state.1;
            if room == 0 {
                state.2 = Some(cx.waker().clone());
                return Poll::Pending;
            }
            room
        };
        let most = buf.remaining().min(usize::try_from(room).unwrap_or(usize::MAX));
        let mut part = vec![0; most];
        let mut part = ReadBuf::new(&mut part);
        std::task::ready!(Pin::new(&mut self.inner).poll_read(cx, &mut part))?;
        buf.put_slice(part.filled());
        self.gate.0.lock().1 += part.filled().len() as u64;
        Poll::Ready(Ok(()))
    }
}

struct CountedWrite<W> {
    inner: W,
    writes: Arc<AtomicU64>,
}

impl<W: AsyncWrite + Unpin> AsyncWrite for CountedWrite<W> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let n = std::task::ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        self.writes.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
