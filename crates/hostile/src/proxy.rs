//! Where connections come from, and how long they take: any address of 127.0.0.0/8 as the source, and a proxy that holds
//! every byte back for a while in each direction.
//!
//! ```text
//!   honest peer ──▶ proxy (127.0.0.1:n) ──delay──▶ node          each direction: 64 pieces of up to 16 KiB under way
//!               ◀──delay──
//! ```
//! The handshake of TCP itself is not delayed.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use switchboard::BoxFuture;
use switchboard::net::{Connection, Listener, Network};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

/// Connects from an address.
pub(crate) async fn connect(from: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    connect_with(from, to, None).await
}

/// Connects from an address, with room in the system for so many received bytes.
pub(crate) async fn connect_with(from: Ipv4Addr, to: SocketAddr, room: Option<u32>) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if let Some(room) = room {
        socket.set_recv_buffer_size(room)?;
    }
    socket.bind((from, 0).into())?;
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A network whose connections come from this address. It never listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct From(pub(crate) Ipv4Addr);

impl Network for From {
    fn listen(&self, _: SocketAddr) -> BoxFuture<'_, io::Result<Arc<dyn Listener>>> {
        Box::pin(std::future::ready(Err(io::ErrorKind::Unsupported.into())))
    }

    fn connect(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Connection>> {
        Box::pin(async move { Connection::tcp(connect(self.0, addr).await?) })
    }

    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        let parsed = host.parse().map(|ip| vec![SocketAddr::new(ip, port)]);
        Box::pin(std::future::ready(parsed.map_err(io::Error::other)))
    }
}

/// A proxy to one address.
pub(crate) struct Proxy {
    pub(crate) addr: SocketAddr,
    task: JoinHandle<()>,
}

const PIECE: usize = 16 * 1024;
const PIECES: usize = 64;

impl Proxy {
    /// Starts a proxy whose connections come from 127.`second`.n.1, each n in turn.
    pub(crate) async fn start(to: SocketAddr, delay: Duration, second: u8) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let next = AtomicU32::new(0);
        let task = tokio::spawn(async move {
            let mut links = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let n = next.fetch_add(1, Ordering::Relaxed);
                let from = Ipv4Addr::new(127, second, (n % 250) as u8, 1);
                links.spawn(async move {
                    let _ = link(near, from, to, delay).await;
                });
                while links.try_join_next().is_some() {}
            }
        });
        Ok(Self { addr, task })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn link(near: TcpStream, from: Ipv4Addr, to: SocketAddr, delay: Duration) -> io::Result<()> {
    near.set_nodelay(true)?;
    let far = connect(from, to).await?;
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    tokio::try_join!(carry(near_read, far_write, delay), carry(far_read, near_write, delay))?;
    Ok(())
}

/// Carries one direction to its end.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    delay: Duration,
) -> io::Result<()> {
    let (tx, mut pieces) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES);
    let take = async move {
        loop {
            let mut piece = vec![0; PIECE];
            let n = from.read(&mut piece).await?;
            piece.truncate(n);
            let due = Instant::now() + delay;
            if n == 0 || tx.send((due, piece)).await.is_err() {
                return io::Result::Ok(());
            }
        }
    };
    let give = async move {
        while let Some((due, piece)) = pieces.recv().await {
            sleep_until(due).await;
            to.write_all(&piece).await?;
        }
        to.shutdown().await
    };
    tokio::try_join!(take, give)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_take_their_time_each_way() {
        let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = echo.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, from) = echo.accept().await.unwrap();
            let (mut read, mut write) = stream.split();
            tokio::io::copy(&mut read, &mut write).await.unwrap();
            from
        });
        let delay = Duration::from_millis(60);
        let proxy = Proxy::start(to, delay, 77).await.unwrap();
        let mut stream = TcpStream::connect(proxy.addr).await.unwrap();
        let began = Instant::now();
        stream.write_all(b"far away").await.unwrap();
        let mut heard = [0; 8];
        stream.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"far away");
        assert!(began.elapsed() >= 2 * delay);
        drop(stream);
        assert_eq!(server.await.unwrap().ip(), Ipv4Addr::new(127, 77, 0, 1));
    }
}
