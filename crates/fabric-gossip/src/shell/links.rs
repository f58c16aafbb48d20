//! How the shell comes to a session with somebody: through the Switch, which decides who may connect.
//!
//! The shell never opens a session itself. It names whom it wants, and finds the session among those that began.

use crate::types::{Endpoint, PkiId};
use std::sync::Arc;
use std::time::Duration;
use switchboard::session::ledger::Ledger;
use switchboard::{BoxFuture, Candidate, PeerId, Reason, ServiceContext};
use switchboard_fabric::FABRIC;

/// How long a dial may take: connecting, TLS, a Ping, the first messages.
pub const DIAL_LIMIT: Duration = Duration::from_secs(12);

/// Makes and ends sessions.
pub trait Links: Send + Sync + 'static {
    /// Has a session with this peer, dialled if there is none, and says who answered: another than was asked for, when it
    /// renewed its certificate. The error is text for logs.
    fn connect<'a>(&'a self, candidate: &'a Candidate) -> BoxFuture<'a, Result<PeerId, String>>;

    /// Ends the session with a peer, if there is one.
    fn disconnect(&self, id: PkiId, reason: Reason);

    /// Where what waits for one peer is counted, up to `cap` bytes.
    fn ledger(&self, cap: usize) -> Arc<Ledger> {
        Ledger::new(cap)
    }
}

/// Whom to dial; `None` for an endpoint that is not host:port.
#[must_use]
pub fn candidate(id: Option<PkiId>, endpoint: &Endpoint) -> Option<Candidate> {
    let (host, port) = endpoint.as_str().rsplit_once(':')?;
    let port = port.parse().ok()?;
    let id = id.and_then(|id| PeerId::new(FABRIC, &id.0));
    Some(Candidate::new(FABRIC, host, port).maybe_id(id))
}

impl Links for ServiceContext {
    fn connect<'a>(&'a self, candidate: &'a Candidate) -> BoxFuture<'a, Result<PeerId, String>> {
        Box::pin(async move {
            let dialled = Self::connect(self, candidate.clone());
            match tokio::time::timeout(DIAL_LIMIT, dialled).await {
                Ok(connected) => connected.map(|peer| peer.id()).map_err(|error| error.to_string()),
                Err(_) => Err("no answer in time".to_owned()),
            }
        })
    }

    fn ledger(&self, cap: usize) -> Arc<Ledger> {
        Self::ledger(self).child(cap)
    }

    fn disconnect(&self, id: PkiId, reason: Reason) {
        let peer = PeerId::new(FABRIC, &id.0).and_then(|id| self.peers().get(&id));
        if let Some(peer) = peer {
            peer.disconnect(reason);
        }
    }
}
