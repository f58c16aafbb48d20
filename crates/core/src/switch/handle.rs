//! What programs hold: the Switch's handle and its view of the peers.

use super::actor::Command;
use crate::candidate::Candidate;
use crate::event::Event;
use crate::id::{Direction, PeerId, WireName};
use crate::protocol::channel::ChannelId;
use crate::reason::Reason;
use crate::session::ledger::Ledger;
use crate::session::outgoing::SendError;
use crate::switch::peer::Peer;
use crate::wire::{AddressError, Wire};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::{broadcast, mpsc, oneshot};

/// The connected peers, as a snapshot to be read at any time. Only the Switch changes it.
#[derive(Debug, Clone, Default)]
pub struct PeerSet {
    pub(super) map: Arc<RwLock<BTreeMap<PeerId, Peer>>>,
}

impl PeerSet {
    /// All peers, ordered by identity.
    #[must_use]
    pub fn list(&self) -> Vec<Peer> {
        self.map.read().values().cloned().collect()
    }

    /// The peers of one direction.
    #[must_use]
    pub fn directed(&self, direction: Direction) -> Vec<Peer> {
        self.map.read().values().filter(|p| p.direction() == direction).cloned().collect()
    }

    /// One peer.
    #[must_use]
    pub fn get(&self, id: &PeerId) -> Option<Peer> {
        self.map.read().get(id).cloned()
    }

    /// Whether this peer is connected.
    #[must_use]
    pub fn has(&self, id: &PeerId) -> bool {
        self.map.read().contains_key(id)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.map.read().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.map.read().is_empty()
    }
}

/// A running Switch. Cheap to clone; when the last handle is dropped the Switch stops, [`Switch::stop`] waits for it.
#[derive(Clone)]
pub struct Switch {
    pub(super) inner: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) peers: PeerSet,
    pub(super) events: broadcast::Sender<Event>,
    pub(super) wires: Vec<Arc<dyn Wire>>,
    pub(super) listening: Vec<(SocketAddr, Vec<WireName>)>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) stopping: tokio_stop::Stop,
    /// Held through a broadcast, so that all peers get several in one order.
    pub(super) broadcasting: Mutex<()>,
}

/// A stop signal that also fires when its owner is dropped.
pub(super) mod tokio_stop {
    use tokio::sync::watch;

    pub(in super::super) struct Stop(pub(super) watch::Sender<bool>);

    impl Stop {
        pub(in super::super) fn new() -> (Self, watch::Receiver<bool>) {
            let (tx, rx) = watch::channel(false);
            (Self(tx), rx)
        }
    }
}

impl Switch {
    /// The connected peers.
    #[must_use]
    pub fn peers(&self) -> &PeerSet {
        &self.inner.peers
    }

    /// What happens from now on.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.inner.events.subscribe()
    }

    /// The addresses listened on, with the wires served there.
    #[must_use]
    pub fn listening(&self) -> &[(SocketAddr, Vec<WireName>)] {
        &self.inner.listening
    }

    /// Our identity on a wire.
    #[must_use]
    pub fn local_id(&self, wire: &str) -> Option<PeerId> {
        self.inner.wires.iter().find(|w| w.name() == wire).map(|w| w.local_id())
    }

    /// Reads an address of any of the Switch's wires.
    ///
    /// # Errors
    /// The first wire's own words when none can read it.
    pub fn parse(&self, url: &str) -> Result<Candidate, AddressError> {
        let mut first = None;
        for wire in &self.inner.wires {
            match wire.parse(url) {
                Ok(candidate) => return Ok(candidate),
                Err(error) => first.get_or_insert(error),
            };
        }
        Err(first.unwrap_or_else(|| AddressError("this node has no wire".into())))
    }

    /// Bytes held for all peers now.
    #[must_use]
    pub fn bytes_held(&self) -> usize {
        self.inner.ledger.held()
    }

    /// Keeps a peer connected, for ever, with back-off.
    pub async fn add_static(&self, candidate: Candidate) {
        self.tell(Command::AddStatic(candidate)).await;
    }

    /// Stops keeping a peer connected. A live session stays.
    pub async fn remove_static(&self, candidate: Candidate) {
        self.tell(Command::RemoveStatic(candidate)).await;
    }

    /// Offers somebody to be dialled once, when a slot is free.
    pub async fn offer(&self, candidate: Candidate) {
        self.tell(Command::Offer(candidate)).await;
    }

    /// Accepts this peer beyond the slots from now on (`true`), or no longer (`false`).
    pub async fn set_trusted(&self, id: PeerId, trusted: bool) {
        self.tell(Command::Trust(id, trusted)).await;
    }

    /// Ends a peer's session. `false` when it is not connected.
    pub fn disconnect(&self, id: &PeerId, reason: Reason) -> bool {
        let peer = self.inner.peers.get(id);
        if let Some(peer) = &peer {
            peer.disconnect(reason);
        }
        peer.is_some()
    }

    /// Queues a message to every peer that shares the protocol, in one order for all, without waiting.
    /// Gives each peer's outcome.
    pub fn broadcast(
        &self,
        protocol: &str,
        channel: ChannelId,
        message: &Bytes,
    ) -> Vec<(PeerId, Result<(), SendError>)> {
        let send = |peer: Peer| {
            let sender = peer.channels(protocol)?;
            Some((peer.id(), sender.try_send(channel, message.clone())))
        };
        let _turn = self.inner.broadcasting.lock();
        self.peers().list().into_iter().filter_map(send).collect()
    }

    /// Stops: listeners close, peers get the goodbye of a node that quits, all tasks end. Returns when all that is done.
    pub async fn stop(&self) {
        let _ = self.inner.stopping.0.send(true);
        let (reply, done) = oneshot::channel();
        // When the command cannot be delivered the Switch is down already.
        if self.inner.commands.send(Command::Stopped(reply)).await.is_ok() {
            let _ = done.await;
        }
        self.inner.commands.closed().await;
    }

    async fn tell(&self, command: Command) {
        let _ = self.inner.commands.send(command).await;
    }
}

impl std::fmt::Debug for Switch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Switch").field("peers", &self.inner.peers.len()).finish_non_exhaustive()
    }
}
