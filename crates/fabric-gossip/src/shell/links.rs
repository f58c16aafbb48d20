//! How the shell comes to a session with somebody: through the Switch, which decides who may connect.
//!
//! The shell never opens a session itself. It names whom it wants, and finds the session among those that began.

use crate::types::{Endpoint, PkiId};
use bytes::Bytes;
use std::time::Duration;
use switchboard::{BoxFuture, Candidate, Event, PeerId, Reason, Switch};
use switchboard_fabric::FABRIC;
use tokio::sync::broadcast::error::RecvError;

/// How long a dial may take: connecting, TLS, a Ping, the first messages.
pub const DIAL_LIMIT: Duration = Duration::from_secs(12);

/// Makes and ends sessions.
pub trait Links: Send + Sync + 'static {
    /// Has a session with this peer, dialled if there is none. The error is text for logs.
    fn connect<'a>(&'a self, candidate: &'a Candidate) -> BoxFuture<'a, Result<(), String>>;

    /// Ends the session with a peer, if there is one.
    fn disconnect(&self, id: PkiId, reason: Reason);
}

/// Whom to dial; `None` for an endpoint that is not host:port.
#[must_use]
pub fn candidate(id: Option<PkiId>, endpoint: &Endpoint) -> Option<Candidate> {
    let (host, port) = endpoint.as_str().rsplit_once(':')?;
    let port = port.parse().ok()?;
    let id = id.and_then(|id| PeerId::new(FABRIC, &id.0));
    Some(Candidate { wire: FABRIC, id, host: host.to_owned(), port, key: Bytes::new() })
}

impl Links for Switch {
    fn connect<'a>(&'a self, candidate: &'a Candidate) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let mut events = self.events();
            let has = || candidate.id.is_some_and(|id| self.peers().has(&id));
            if has() {
                return Ok(());
            }
            // Kept until this one dial is over: only a peer that is to be kept is dialled at once, however lately it was.
            self.add_static(candidate.clone()).await;
            let dialled = async {
                loop {
                    match events.recv().await {
                        Ok(Event::PeerAdded(peer)) if candidate.id.is_none_or(|id| peer.id() == id) => {
                            return Ok(());
                        }
                        Ok(Event::DialFailed { candidate: failed, detail, .. }) if failed == *candidate => {
                            return if has() { Ok(()) } else { Err(detail) };
                        }
                        Ok(_) => {}
                        Err(RecvError::Lagged(_)) if has() => return Ok(()),
                        Err(RecvError::Lagged(_)) => {}
                        Err(RecvError::Closed) => return Err("this node stops".to_owned()),
                    }
                }
            };
            let result = tokio::time::timeout(DIAL_LIMIT, dialled).await;
            self.remove_static(candidate.clone()).await;
            result.unwrap_or_else(|_| if has() { Ok(()) } else { Err("no answer in time".to_owned()) })
        })
    }

    fn disconnect(&self, id: PkiId, reason: Reason) {
        if let Some(id) = PeerId::new(FABRIC, &id.0) {
            Self::disconnect(self, &id, reason);
        }
    }
}
