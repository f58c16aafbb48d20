//! What a service is given.

use crate::candidate::Candidate;
use crate::env::Env;
use crate::event::{Event, PeerFeed, ServiceEvent};
use crate::id::{PeerId, WireName};
use crate::net::Datagrams;
use crate::reason::Reason;
use crate::session::ledger::Ledger;
use crate::store::Space;
use crate::switch::PeerSet;
use crate::switch::actor::Command;
use crate::switch::connect::{ConnectError, Context};
use crate::switch::peer::{End, Peer};
use crate::switch::score::Misbehaviour;
use crate::switch::source::Mark;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::sync::watch;

/// A service's view of its Switch. Cheap to clone; does not keep the Switch running.
#[derive(Clone)]
pub struct ServiceContext {
    pub(crate) name: Arc<str>,
    pub(crate) context: Arc<Context>,
    pub(crate) peers: PeerSet,
    pub(crate) space: Space,
    pub(crate) stopping: watch::Receiver<bool>,
}

impl ServiceContext {
    /// Network, wall clock and randomness.
    #[must_use]
    pub fn env(&self) -> &Env {
        &self.context.env
    }

    /// What must survive a restart: a space of the service's own.
    #[must_use]
    pub fn store(&self) -> &Space {
        &self.space
    }

    /// Our identity on a wire.
    #[must_use]
    pub fn local_id(&self, wire: WireName) -> Option<PeerId> {
        self.context.wires.get(wire).map(|wire| wire.local_id())
    }

    /// What the protocols on a wire put into the node's record ([`crate::Protocol::attributes`]).
    #[must_use]
    pub fn attributes(&self, wire: WireName) -> &[(&'static str, Vec<u8>)] {
        self.context.attributes.get(wire).map_or(&[], Vec::as_slice)
    }

    /// The node's ledger: what a service keeps in memory for others belongs below it ([`Ledger::child`]), and a holder that is
    /// [told](Ledger::told) gives its bytes back.
    #[must_use]
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.context.ledger
    }

    /// The addresses listened on, with the wires served there.
    #[must_use]
    pub fn listening(&self) -> &[(SocketAddr, Vec<WireName>)] {
        &self.context.listening
    }

    /// The datagram socket that was bound with the number of the listener at this address, where the system drew that number
    /// ([`datagrams_beside`](super::Service::datagrams_beside)); once.
    #[must_use]
    pub fn datagrams(&self, at: SocketAddr) -> Option<Arc<dyn Datagrams>> {
        self.context.beside.lock().remove(&at)
    }

    /// The connected peers.
    #[must_use]
    pub fn peers(&self) -> &PeerSet {
        &self.peers
    }

    /// Every session that begins or ends, beginning with those there are.
    #[must_use]
    pub fn feed(&self) -> PeerFeed {
        self.context.events.feed(&self.peers)
    }

    /// Resolves when the service has to stop.
    pub async fn stopping(&self) {
        // An error means that nobody can tell us any more.
        let _ = self.stopping.clone().wait_for(|stop| *stop).await;
    }

    /// Whether the service has to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// The peer of this identity, or else at this address; dialled when it is not connected.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(&self, candidate: Candidate) -> Result<Peer, ConnectError> {
        self.context.connect(candidate).await
    }

    /// Ends a session when what is queued was sent (bounded); returns when it has ended.
    pub async fn disconnect(&self, peer: &Peer, reason: Reason) -> End {
        peer.disconnect(reason);
        let mut feed = self.feed();
        while self.peers.get(&peer.id()).is_some_and(|now| now == *peer) {
            if feed.next().await.is_none() {
                break;
            }
        }
        peer.end_so_far()
    }

    /// Says of a candidate or peer whether it is good, bad, or was tried; every source of its wire hears it.
    pub async fn mark(&self, candidate: Candidate, mark: Mark) {
        self.context.tell(Command::Mark(candidate, mark)).await;
    }

    /// Reports misbehaviour of a connected peer: points for its identity and address; a ban ends the session.
    pub async fn report(&self, peer: &Peer, wrong: Misbehaviour) {
        let command = Command::Report { id: Some(peer.id()), ip: Some(peer.remote_addr().ip()), wrong };
        self.context.tell(command).await;
    }

    /// Reports misbehaviour of an address that has no session, such as a sender of datagrams.
    pub async fn report_address(&self, ip: IpAddr, wrong: Misbehaviour) {
        self.context.tell(Command::Report { id: None, ip: Some(ip), wrong }).await;
    }

    /// Whether an address may be talked to: the access list and the bans.
    pub async fn permits(&self, addr: SocketAddr) -> bool {
        let asked = self.context.ask(|reply| Command::Permitted { addrs: vec![addr], reply }).await;
        asked.is_some_and(|left| !left.is_empty())
    }

    /// Asks the sources again now.
    pub fn dial_now(&self) {
        self.context.wake.now();
    }

    /// Sets the slots of a wire, where membership decides how many peers there are.
    pub async fn set_slots(&self, wire: WireName, inbound: usize, outbound: usize) {
        self.context.tell(Command::Slots { wire, inbound, outbound }).await;
    }

    /// Tells an event of the service's own. Remote text must be escaped already.
    pub fn emit(&self, what: &'static str, fields: Vec<(&'static str, String)>) {
        let service = self.name.to_string();
        self.context.emit(Event::Service(ServiceEvent { service, what, fields }));
    }
}

impl std::fmt::Debug for ServiceContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ServiceContext({})", self.name)
    }
}
