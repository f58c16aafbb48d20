//! A listener that a network inside this process feeds.

use super::{Connection, Listener};
use crate::BoxFuture;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::{Mutex, mpsc};

struct Fed<G: Fn(SocketAddr) + Send + Sync> {
    addr: SocketAddr,
    incoming: Mutex<mpsc::Receiver<Connection>>,
    gone: G,
}

/// A listener at `addr` that gives the connections of a channel, and calls `gone` when it is dropped. It fails with
/// `NotConnected` when nobody can feed it any more.
pub fn fed_listener(
    addr: SocketAddr,
    incoming: mpsc::Receiver<Connection>,
    gone: impl Fn(SocketAddr) + Send + Sync + 'static,
) -> Arc<dyn Listener> {
    Arc::new(Fed { addr, incoming: Mutex::new(incoming), gone })
}

impl<G: Fn(SocketAddr) + Send + Sync> Listener for Fed<G> {
    fn accept(&self) -> BoxFuture<'_, io::Result<Connection>> {
        Box::pin(async {
            let next = self.incoming.lock().await.recv().await;
            next.ok_or_else(|| io::ErrorKind::NotConnected.into())
        })
    }

    fn local_addr(&self) -> SocketAddr {
        self.addr
    }
}

impl<G: Fn(SocketAddr) + Send + Sync> Drop for Fed<G> {
    fn drop(&mut self) {
        (self.gone)(self.addr);
    }
}
