//! Callback style over the same channels: a Reactor is a set of functions, run as a [`Protocol`].
//!
//! ```text
//!   init_peer ─▶ (session starts) ─▶ add_peer ─▶ receive* ─▶ remove_peer
//! ```
//!
//! `init_peer` of all reactors is called before `add_peer` of any, so that one reactor may use what another stored in the
//! peer. Each reactor whose `add_peer` was called gets one `remove_peer`, however the session ends.
//!
//! Each peer's messages are handled one after the other, in a task of that peer and reactor. A slow
//! `receive` delays only this reactor with this peer.

use crate::BoxFuture;
use crate::protocol::channel::ChannelId;
use crate::protocol::info::Info;
use crate::protocol::io::ChannelIo;
use crate::protocol::{Protocol, ProtocolError, ProtocolSpec};
use crate::reason::Reason;
use crate::switch::peer::{By, End, Peer};
use bytes::Bytes;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// A protocol written as callbacks. Only `spec` and `receive` must be given.
pub trait Reactor: Send + Sync + 'static {
    /// Name, version and channels.
    fn spec(&self) -> ProtocolSpec;

    /// What there is to tell of this reactor on this node; `None` when there is nothing.
    fn node_info(&self) -> Option<Info> {
        None
    }

    /// As [`Protocol::attributes`].
    fn attributes(&self) -> Vec<(&'static str, Vec<u8>)> {
        Vec::new()
    }

    /// What there is to tell of a peer; `None` when there is nothing.
    fn peer_info(&self, peer: &Peer) -> Option<Info> {
        let _ = peer;
        None
    }

    /// Before any reactor or protocol of this peer is called: a place to put typed data on it. Must not wait.
    fn init_peer(&self, peer: &Peer) {
        let _ = peer;
    }

    /// The peer can be sent to.
    fn add_peer(&self, peer: &Peer) {
        let _ = peer;
    }

    /// A message came. May wait; an error ends the session, but for [`ProtocolError::Closed`]: then this
    /// reactor is done with this peer.
    fn receive<'a>(
        &'a self,
        peer: &'a Peer,
        channel: ChannelId,
        message: Bytes,
    ) -> BoxFuture<'a, Result<(), ProtocolError>>;

    /// The session is over.
    fn remove_peer(&self, peer: &Peer, end: &End) {
        let _ = (peer, end);
    }
}

/// Runs a [`Reactor`] as a [`Protocol`].
#[derive(Debug)]
pub struct Adapter<R>(pub R);

impl<R: Reactor> Protocol for Adapter<R> {
    fn spec(&self) -> ProtocolSpec {
        self.0.spec()
    }

    fn node_info(&self) -> Option<Info> {
        self.0.node_info()
    }

    fn attributes(&self) -> Vec<(&'static str, Vec<u8>)> {
        self.0.attributes()
    }

    fn peer_info(&self, peer: &Peer) -> Option<Info> {
        self.0.peer_info(peer)
    }

    fn prepare(&self, peer: &Peer) {
        self.0.init_peer(peer);
    }

    fn run(self: Arc<Self>, peer: Peer, mut io: ChannelIo) -> BoxFuture<'static, Result<(), ProtocolError>> {
        Box::pin(async move {
            let present = Present { reactor: Arc::clone(&self), peer };
            self.0.add_peer(&present.peer);
            while let Some((channel, message)) = io.recv().await {
                let received = self.0.receive(&present.peer, channel, message).await;
                if let Err(error) = received {
                    // The end is settled before remove_peer, so that it is given the true reason.
                    if !matches!(error, ProtocolError::Closed) {
                        present.peer.end(End::from_protocol(&self.0.spec().name, &error));
                    }
                    return Err(error);
                }
            }
            Ok(())
        })
    }
}

/// Calls `remove_peer` however the task ends, also when it is aborted.
struct Present<R: Reactor> {
    reactor: Arc<Adapter<R>>,
    peer: Peer,
}

impl<R: Reactor> Drop for Present<R> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // A callback panicked: the session ends for that, and remove_peer is told.
            let detail = Some("a callback of the reactor panicked".to_owned());
            self.peer.end(End { reason: Reason::ProtocolError, by: By::Us, detail });
        }
        let remove = || self.reactor.0.remove_peer(&self.peer, &self.peer.end_so_far());
        // A second panic that left this drop would end the whole program. The hook has told of it.
        if catch_unwind(AssertUnwindSafe(remove)).is_err() {
            tracing::warn!(target: "switchboard::session", peer = %self.peer.id(), "remove_peer panicked");
        }
    }
}
