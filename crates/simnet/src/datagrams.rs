//! Datagram sockets in virtual time, and the address translation (NAT) they may sit behind.
//!
//! ```text
//!   send ─▶ translation of the sender's host ─▶ loss, duplication, latency + jitter ─▶ filter and translation
//!        of the receiver's host ─▶ queue, ordered by arrival ─▶ recv
//! ```
//!
//! Each datagram takes its own time, so jitter reorders them. Loss and duplication are the link's, a million parts.
//! Across a cut, or to a host that is down, a datagram is lost without a word.
//!
//! | translation ([`Nat`]) | outside port | who may send to it |
//! |---|---|---|
//! | [`Nat::FullCone`] | one an inside socket | anybody |
//! | [`Nat::Restricted`] | one an inside socket | addresses the inside socket has sent to |
//! | [`Nat::Symmetric`] | one an inside socket and destination | that destination |
//!
//! [`SimNet::rebind`] forgets all mappings of a host, as a router that restarts does: the next datagram gets a new port.
//!
//! Limits: [`QUEUE`] datagrams wait in a socket, a further one is lost; [`MAPPINGS`] mappings a host, then the oldest goes.
//! Streams are not translated.

use crate::net::{Host, SimNet, World};
use parking_lot::Mutex;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use switchboard::BoxFuture;
use switchboard::net::datagrams::{BATCH, MAX_DATAGRAM};
use switchboard::net::{Datagram, Datagrams};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Datagrams that may wait in one socket, as in a system's receive buffer.
pub const QUEUE: usize = 4_096;
/// Mappings of one translating host.
pub const MAPPINGS: usize = 4_096;

/// How a host's address is translated for datagrams that leave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nat {
    /// One outside port for each inside socket; anybody may send to it.
    FullCone,
    /// One outside port for each inside socket; only addresses it has sent to may answer.
    Restricted,
    /// One outside port for each inside socket and destination.
    Symmetric,
}

/// The datagram side of a virtual network.
#[derive(Default)]
pub(crate) struct Post {
    sockets: BTreeMap<SocketAddr, Arc<Queue>>,
    /// Translation by inside address.
    routers: BTreeMap<IpAddr, Router>,
    /// Which inside address stands behind an outside one.
    outside: BTreeMap<IpAddr, IpAddr>,
    txt: BTreeMap<String, Vec<String>>,
    sent: u64,
}

struct Router {
    kind: Nat,
    outside: IpAddr,
    next_port: u16,
    mappings: BTreeMap<(SocketAddr, Option<SocketAddr>), u16>,
    order: VecDeque<(SocketAddr, Option<SocketAddr>)>,
    /// Whom each inside socket has sent to.
    asked: BTreeSet<(SocketAddr, SocketAddr)>,
}

impl Router {
    /// The address a datagram from `inside` to `to` seems to come from.
    fn out(&mut self, inside: SocketAddr, to: SocketAddr) -> SocketAddr {
        if self.asked.len() >= MAPPINGS {
            self.asked.clear();
        }
        self.asked.insert((inside, to));
        let key = (inside, (self.kind == Nat::Symmetric).then_some(to));
        if let Some(port) = self.mappings.get(&key) {
            return SocketAddr::new(self.outside, *port);
        }
        if self.order.len() >= MAPPINGS
            && let Some(oldest) = self.order.pop_front()
        {
            self.mappings.remove(&oldest);
        }
        self.next_port = if self.next_port == u16::MAX { 20_000 } else { self.next_port + 1 };
        self.mappings.insert(key, self.next_port);
        self.order.push_back(key);
        SocketAddr::new(self.outside, self.next_port)
    }

    /// The inside socket for a datagram to `port` from `from`, if the translation lets it in.
    fn into(&self, port: u16, from: SocketAddr) -> Option<SocketAddr> {
        let ((inside, bound), _) = self.mappings.iter().find(|(_, mapped)| **mapped == port)?;
        let allowed = match self.kind {
            Nat::FullCone => true,
            Nat::Restricted => self.asked.contains(&(*inside, from)),
            Nat::Symmetric => *bound == Some(from),
        };
        allowed.then_some(*inside)
    }
}

impl Post {
    fn source(&mut self, from: SocketAddr, to: SocketAddr) -> SocketAddr {
        self.routers.get_mut(&from.ip()).map_or(from, |router| router.out(from, to))
    }

    fn destination(&self, from: SocketAddr, to: SocketAddr) -> Option<SocketAddr> {
        match self.outside.get(&to.ip()).and_then(|inside| self.routers.get(inside)) {
            Some(router) => router.into(to.port(), from),
            None => Some(to),
        }
    }
}

impl SimNet {
    /// Puts a host behind a translation: its datagrams seem to come from `outside`, an address no host has.
    pub fn nat(&self, inside: impl Into<IpAddr>, outside: impl Into<IpAddr>, kind: Nat) {
        let (inside, outside) = (inside.into(), outside.into());
        let mut post = self.world.post.lock();
        post.outside.insert(outside, inside);
        let (mappings, order, asked) = (BTreeMap::new(), VecDeque::new(), BTreeSet::new());
        post.routers.insert(inside, Router { kind, outside, next_port: 20_000, mappings, order, asked });
    }

    /// Forgets a host's mappings, and gives it another outside address if one is named.
    pub fn rebind(&self, inside: impl Into<IpAddr>, outside: Option<IpAddr>) {
        let inside = inside.into();
        let mut post = self.world.post.lock();
        let Some(router) = post.routers.get_mut(&inside) else { return };
        router.mappings.clear();
        router.order.clear();
        router.asked.clear();
        if let Some(new) = outside {
            let old = std::mem::replace(&mut router.outside, new);
            post.outside.remove(&old);
            post.outside.insert(new, inside);
        }
    }

    /// Sets the TXT records of a name.
    pub fn txt(&self, name: &str, records: Vec<String>) {
        self.world.post.lock().txt.insert(name.to_ascii_lowercase(), records);
    }
}

/// The TXT records of a name.
pub(crate) fn txt(world: &World, name: &str) -> io::Result<Vec<String>> {
    let post = world.post.lock();
    let records = post.txt.get(&name.to_ascii_lowercase()).ok_or(io::ErrorKind::NotFound)?;
    Ok(records.iter().take(switchboard::net::MAX_TXT).cloned().collect())
}

/// Ordered by arrival, then by when it was sent.
type Arrival = Reverse<(Instant, u64)>;

#[derive(Default)]
struct Waiting {
    order: BinaryHeap<Arrival>,
    datagrams: BTreeMap<u64, Datagram>,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    came: Notify,
}

struct SimSocket {
    host: Host,
    addr: SocketAddr,
    queue: Arc<Queue>,
}

/// Binds a socket of a host.
pub(crate) fn bind(host: &Host, addr: SocketAddr) -> io::Result<Arc<dyn Datagrams>> {
    if !addr.ip().is_unspecified() && addr.ip() != host.ip() {
        return Err(io::ErrorKind::AddrNotAvailable.into());
    }
    let port = if addr.port() == 0 { host.free_port() } else { addr.port() };
    let addr = SocketAddr::new(host.ip(), port);
    let queue = Arc::new(Queue::default());
    let mut post = host.net.world.post.lock();
    if post.sockets.contains_key(&addr) {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    post.sockets.insert(addr, Arc::clone(&queue));
    drop(post);
    Ok(Arc::new(SimSocket { host: host.clone(), addr, queue }))
}

impl SimSocket {
    fn send_one(&self, datagram: &Datagram) {
        let world = &self.host.net.world;
        if !self.host.is_up() || datagram.bytes.len() > MAX_DATAGRAM {
            return;
        }
        let (seen_from, to) = {
            let mut post = world.post.lock();
            let seen_from = post.source(self.addr, datagram.remote);
            let Some(to) = post.destination(seen_from, datagram.remote) else { return };
            (seen_from, to)
        };
        let arrivals = world.path(self.addr.ip(), to.ip()).datagram(datagram.bytes.len(), Instant::now());
        if !world.is_up(to.ip()) {
            return;
        }
        let mut post = world.post.lock();
        for at in arrivals {
            post.sent += 1;
            let number = post.sent;
            let Some(queue) = post.sockets.get(&to) else { return };
            let mut waiting = queue.waiting.lock();
            if waiting.datagrams.len() >= QUEUE {
                continue;
            }
            waiting.order.push(Reverse((at, number)));
            waiting.datagrams.insert(number, Datagram { remote: seen_from, bytes: datagram.bytes.clone() });
            queue.came.notify_one();
        }
    }

    /// Takes what has arrived; else says when the next does.
    fn take(&self, into: &mut Vec<Datagram>) -> Option<Instant> {
        let (now, world) = (Instant::now(), &self.host.net.world);
        let mut waiting = self.queue.waiting.lock();
        let most = into.len() + BATCH;
        while into.len() < most
            && let Some(Reverse((at, number))) = waiting.order.peek().copied()
            && at <= now
        {
            waiting.order.pop();
            if let Some(datagram) = waiting.datagrams.remove(&number) {
                world.auditor.delivered(
                    now.duration_since(world.start),
                    datagram.remote,
                    self.addr,
                    &datagram.bytes,
                );
                into.push(datagram);
            }
        }
        waiting.order.peek().map(|Reverse((at, _))| *at)
    }
}

impl Datagrams for SimSocket {
    fn recv<'a>(&'a self, into: &'a mut Vec<Datagram>) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let before = into.len();
            loop {
                let next = self.take(into);
                if into.len() > before {
                    return Ok(());
                }
                let arrival = async {
                    match next {
                        Some(at) => tokio::time::sleep_until(at).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    () = self.queue.came.notified() => {}
                    () = arrival => {}
                }
            }
        })
    }

    fn send(&self, out: &[Datagram]) -> usize {
        out.iter().for_each(|datagram| self.send_one(datagram));
        out.len()
    }

    fn local_addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for SimSocket {
    fn drop(&mut self) {
        self.host.net.world.post.lock().sockets.remove(&self.addr);
    }
}
