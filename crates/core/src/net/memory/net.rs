//! Connections inside one process: pipes of a fixed size between addresses.

use crate::BoxFuture;
use crate::net::{Connection, Listener, Network, fed_listener};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Bytes a pipe holds in one direction.
const PIPE: usize = 256 * 1024;
/// Connections that may wait to be accepted.
const BACKLOG: usize = 64;

/// A set of listeners in one process. Clones share it.
#[derive(Clone, Default)]
pub struct MemoryNetwork {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    listeners: BTreeMap<SocketAddr, mpsc::Sender<Connection>>,
    next_port: u16,
}

impl State {
    /// The next port of 40,001 to 60,000.
    fn port(&mut self) -> u16 {
        self.next_port = self.next_port % 20_000 + 1;
        40_000 + self.next_port
    }
}

impl Network for MemoryNetwork {
    fn listen(&self, mut addr: SocketAddr) -> BoxFuture<'_, io::Result<Arc<dyn Listener>>> {
        Box::pin(async move {
            let (tx, rx) = mpsc::channel(BACKLOG);
            let mut state = self.state.lock();
            if addr.port() == 0 {
                // With all ports taken the last one tried is refused below.
                for _ in 0..20_000 {
                    addr.set_port(state.port());
                    if !state.listeners.contains_key(&addr) {
                        break;
                    }
                }
            }
            if state.listeners.contains_key(&addr) {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            state.listeners.insert(addr, tx);
            drop(state);
            let state = Arc::clone(&self.state);
            Ok(fed_listener(addr, rx, move |addr| drop(state.lock().listeners.remove(&addr))))
        })
    }

    fn connect(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Connection>> {
        Box::pin(async move {
            let (listener, local) = {
                let mut state = self.state.lock();
                let listener = state.listeners.get(&addr).cloned();
                let mut local = addr;
                local.set_port(state.port());
                (listener.ok_or(io::ErrorKind::ConnectionRefused)?, local)
            };
            let (ours, theirs) = tokio::io::duplex(PIPE);
            let accepted = Connection::from_stream(theirs, addr, local);
            listener.send(accepted).await.map_err(|_| io::ErrorKind::ConnectionRefused)?;
            Ok(Connection::from_stream(ours, local, addr))
        })
    }

    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            let ip = host.parse().map_err(|_| io::ErrorKind::NotFound)?;
            Ok(vec![SocketAddr::new(ip, port)])
        })
    }
}
