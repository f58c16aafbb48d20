//! Datagram sockets behind a trait: many datagrams a wake-up, in both directions.
//!
//! ```text
//!   recv   wait for one ─▶ take what else waits, at most BATCH ─▶ caller's vector
//!   send   caller's slice ─▶ one system call each, until the socket has no room ─▶ how many went out
//! ```
//!
//! Limits: a datagram of more than [`MAX_DATAGRAM`] bytes is cut by the system and then dropped here; [`BATCH`] are taken
//! at a time. A send does not wait for room: a datagram that finds none is lost, as datagrams may be.
//! Senders are not checked: an address is what the packet says.

use crate::BoxFuture;
use bytes::{Bytes, BytesMut};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::UdpSocket;

/// Largest datagram that is taken, in bytes. Discovery's packets end at 1,280.
pub const MAX_DATAGRAM: usize = 2_048;
/// Datagrams taken for one wake-up.
pub const BATCH: usize = 64;
/// What the system may keep for us in one direction, in bytes: bursts of a whole table's answers.
const SOCKET_BUFFER: usize = 1 << 20;

/// A datagram with its other end: whom it came from, or whom it goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// The other end.
    pub remote: SocketAddr,
    /// The bytes.
    pub bytes: Bytes,
}

/// A bound datagram socket.
pub trait Datagrams: Send + Sync {
    /// Waits for a datagram, then appends it and those that wait behind it, at most [`BATCH`]. Safe to drop half-way.
    fn recv<'a>(&'a self, into: &'a mut Vec<Datagram>) -> BoxFuture<'a, io::Result<()>>;

    /// Sends in order and says how many went out. Stops at the first for which the socket has no room. A datagram
    /// that the system refuses for its address is passed over and counts as sent.
    fn send(&self, out: &[Datagram]) -> usize;

    /// The bound address, with the real port.
    fn local_addr(&self) -> SocketAddr;
}

/// The operating system's UDP.
struct SystemSocket {
    inner: UdpSocket,
    /// The same socket for sending: whether there is room is asked of the system each time, never awaited.
    sender: std::net::UdpSocket,
    addr: SocketAddr,
}

/// Binds a UDP socket of the operating system; a v6 socket takes v6 only, so that both can share a port number.
pub(super) fn bind(addr: SocketAddr) -> io::Result<Arc<dyn Datagrams>> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(addr), socket2::Type::DGRAM, None)?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // The system may allow less; that only costs datagrams in bursts.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    let sender = std::net::UdpSocket::from(socket);
    let inner = UdpSocket::from_std(sender.try_clone()?)?;
    let addr = inner.local_addr()?;
    Ok(Arc::new(SystemSocket { inner, sender, addr }))
}

/// An error that belongs to one datagram, not to the socket: an ICMP answer to an earlier one, mostly.
fn concerns_one(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionRefused, ConnectionReset, HostUnreachable, InvalidInput, NetworkUnreachable,
        PermissionDenied,
    };
    matches!(
        error.kind(),
        ConnectionRefused
            | ConnectionReset
            | HostUnreachable
            | NetworkUnreachable
            | PermissionDenied
            | InvalidInput
    )
}

impl Datagrams for SystemSocket {
    fn recv<'a>(&'a self, into: &'a mut Vec<Datagram>) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            // One more byte than a legal datagram, so that a longer one shows.
            let mut buffer = BytesMut::new();
            let before = into.len();
            while into.len() == before {
                self.inner.readable().await?;
                while into.len() < before + BATCH {
                    buffer.clear();
                    buffer.reserve(MAX_DATAGRAM + 1);
                    match self.inner.try_recv_buf_from(&mut buffer) {
                        Ok((len, _)) if len > MAX_DATAGRAM => {}
                        Ok((_, remote)) => into.push(Datagram { remote, bytes: buffer.split().freeze() }),
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                        Err(error) if concerns_one(&error) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            Ok(())
        })
    }

    fn send(&self, out: &[Datagram]) -> usize {
        let refused = |error: &io::Error| error.kind() != io::ErrorKind::WouldBlock;
        let went = |datagram: &&Datagram| match self.sender.send_to(&datagram.bytes, datagram.remote) {
            Ok(_) => true,
            Err(error) => refused(&error),
        };
        out.iter().take_while(went).count()
    }

    fn local_addr(&self) -> SocketAddr {
        self.addr
    }
}

#[cfg(test)]
mod tests;
