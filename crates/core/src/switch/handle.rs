//! What programs hold: the Switch's handle and its view of the peers.

use super::access::{AccessList, Limits};
use super::actor::Command;
use super::connect::{ConnectError, Context};
use super::dial::CandidateStatus;
use super::score::{Ban, BanError, Banned, Misbehaviour};
use super::source::{Mark, Skip};
use crate::candidate::Candidate;
use crate::census::Census;
use crate::event::{Change, Events, PeerFeed, Publisher};
use crate::id::{Direction, PeerId, WireName};
use crate::preset::SlotRule;
use crate::protocol::channel::ChannelId;
use crate::protocol::{Info, Protocol};
use crate::reason::Reason;
use crate::service::ServiceStatus;
use crate::service::run::Services;
use crate::session::ledger::Ledger;
use crate::session::outgoing::SendError;
use crate::store::StoreError;
use crate::switch::peer::{End, Peer};
use crate::wire::{AddressError, Wire};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// The connected peers, as a snapshot to be read at any time. Only the Switch changes it.
#[derive(Clone, Default)]
pub struct PeerSet {
    map: Arc<RwLock<Peers>>,
}

#[derive(Default)]
struct Peers {
    peers: BTreeMap<PeerId, Peer>,
    /// How many changes there were.
    revision: u64,
}

impl std::fmt::Debug for PeerSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PeerSet({})", self.len())
    }
}

impl PeerSet {
    /// All peers, ordered by identity.
    #[must_use]
    pub fn list(&self) -> Vec<Peer> {
        self.map.read().peers.values().cloned().collect()
    }

    /// The peers of one direction.
    #[must_use]
    pub fn directed(&self, direction: Direction) -> Vec<Peer> {
        self.map.read().peers.values().filter(|p| p.direction() == direction).cloned().collect()
    }

    /// One peer.
    #[must_use]
    pub fn get(&self, id: &PeerId) -> Option<Peer> {
        self.map.read().peers.get(id).cloned()
    }

    /// Whether this peer is connected.
    #[must_use]
    pub fn has(&self, id: &PeerId) -> bool {
        self.map.read().peers.contains_key(id)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.map.read().peers.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.map.read().peers.is_empty()
    }

    /// Reads one state: nothing changes meanwhile.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&BTreeMap<PeerId, Peer>, u64) -> T) -> T {
        let map = self.map.read();
        look(&map.peers, map.revision)
    }

    /// A session began. The feeds hear it in the same step.
    pub(super) fn add_peer(&self, peer: &Peer, events: &Publisher) {
        let mut map = self.map.write();
        map.revision += 1;
        map.peers.insert(peer.id(), peer.clone());
        events.change(&Change::Added { peer: peer.clone(), revision: map.revision });
    }

    /// A session ended; with a successor its identity stays in the set until that begins.
    pub(super) fn drop_peer(&self, id: &PeerId, peer: &Peer, end: &End, events: &Publisher, succeeded: bool) {
        let mut map = self.map.write();
        map.revision += 1;
        if !succeeded {
            map.peers.remove(id);
        }
        let (peer, end) = (peer.clone(), end.clone());
        events.change(&Change::Dropped { peer, end, revision: map.revision });
    }
}

/// A registered protocol, for an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProtocolStatus {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// The wires it is offered on.
    pub wires: Vec<WireName>,
    /// What it has to tell of itself.
    pub info: Option<Info>,
}

/// A running Switch. Cheap to clone; when the last handle is dropped the Switch stops, [`Switch::stop`] waits for it.
///
/// ```
/// use std::sync::Arc;
/// use switchboard::net::memory::{MEMORY, MemoryNetwork, MemoryWire};
/// use switchboard::{Env, Switch, SwitchBuilder};
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
/// # runtime.block_on(async {
/// let net = Arc::new(MemoryNetwork::default());
/// let node = |id: u8| {
///     let env = Env::seeded(Arc::<MemoryNetwork>::clone(&net), 1_800_000_000, u64::from(id));
///     SwitchBuilder::new(env).wire(Arc::new(MemoryWire::new(&[id]))).listen(([127, 0, 0, 1], 0).into(), &[])
/// };
/// let (alice, bob): (Switch, Switch) = (node(1).start().await?, node(2).start().await?);
/// let peer = bob.connect(&alice.own_url(MEMORY).expect("it listens")).await?;
/// assert_eq!(Some(peer.id()), alice.local_id(MEMORY));
/// bob.stop().await;
/// alice.stop().await;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Switch {
    pub(super) inner: Arc<Handle>,
}

/// What all clones of a Switch hold.
pub(super) struct Handle {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) peers: PeerSet,
    pub(super) events: Arc<Publisher>,
    pub(super) context: std::sync::Weak<Context>,
    pub(super) services: Services,
    pub(super) protocols: Vec<(Arc<dyn Protocol>, ProtocolStatus)>,
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
    pub fn events(&self) -> Events {
        self.inner.events.subscribe(&self.inner.peers)
    }

    /// Every session that begins or ends, beginning with those there are: in order and without loss.
    #[must_use]
    pub fn feed(&self) -> PeerFeed {
        self.inner.events.feed(&self.inner.peers)
    }

    /// The services, in order of registration.
    #[must_use]
    pub fn services(&self) -> Vec<ServiceStatus> {
        self.inner.services.status()
    }

    /// The registered protocols, in order of registration, with what each has to tell of itself
    /// ([`Protocol::node_info`]). What they tell of a peer: [`Peer::protocol_infos`].
    #[must_use]
    pub fn protocols(&self) -> Vec<ProtocolStatus> {
        let told = |(protocol, status): &(Arc<dyn Protocol>, ProtocolStatus)| ProtocolStatus {
            info: protocol.node_info(),
            ..status.clone()
        };
        self.inner.protocols.iter().map(told).collect()
    }

    /// The peer at an address as users write it; dialled when it is not connected. It counts against the slots.
    ///
    /// # Errors
    /// [`ConnectError`] says who refused, and why.
    pub async fn connect(&self, url: &str) -> Result<Peer, ConnectError> {
        let candidate = self.parse(url).map_err(|error| ConnectError::Address(error.to_string()))?;
        self.connect_to(candidate).await
    }

    /// The peer of this identity, or else at this address; dialled when it is not connected.
    ///
    /// # Errors
    /// [`ConnectError`] says who refused, and why.
    pub async fn connect_to(&self, candidate: Candidate) -> Result<Peer, ConnectError> {
        match self.inner.context.upgrade() {
            Some(context) => context.connect(candidate).await,
            None => Err(ConnectError::Stopped),
        }
    }

    /// Our own address on a wire as users and peers write it, where we listen.
    #[must_use]
    pub fn own_url(&self, wire: WireName) -> Option<String> {
        let (addr, _) = self.inner.listening.iter().find(|(_, wires)| wires.contains(&wire))?;
        Some(self.inner.wires.iter().find(|w| w.name() == wire)?.own_url(*addr))
    }

    /// Says of a candidate or peer whether it is good, bad, or was tried; every source of its wire hears it.
    pub async fn mark(&self, candidate: Candidate, mark: Mark) {
        self.tell(Command::Mark(candidate, mark)).await;
    }

    /// Reports misbehaviour of a peer: points for its identity and address.
    pub async fn report(&self, peer: &Peer, wrong: Misbehaviour) {
        let (id, ip) = (Some(peer.id()), Some(peer.remote_addr().ip()));
        self.tell(Command::Report { id, ip, wrong }).await;
    }

    /// Bans an identity or addresses; sessions end. Returns when the ban is on disk, with whom it concerns: of a peer that is
    /// connected that is its holder.
    ///
    /// # Errors
    /// [`BanError`]; with [`BanError::NotStored`] the ban counts until the Switch stops.
    pub async fn ban(&self, ban: Ban) -> Result<Ban, BanError> {
        let (stored, done) = oneshot::channel();
        let made = self.ask(|reply| Command::Ban { ban, reply, stored }).await.ok_or(BanError::Stopped)??;
        done.await.unwrap_or(Err(StoreError::Closed)).map_err(BanError::NotStored)?;
        Ok(made)
    }

    /// Lifts a ban and forgets the points; `false` when there was no such ban. Returns when that is on disk.
    ///
    /// # Errors
    /// [`StoreError`]: the ban is lifted, but a restart brings it back.
    pub async fn lift_ban(&self, who: Banned) -> Result<bool, StoreError> {
        let (stored, done) = oneshot::channel();
        let was = self.ask(|reply| Command::Lift { who, reply, stored }).await.unwrap_or(false);
        if was {
            done.await.unwrap_or(Err(StoreError::Closed))?;
        }
        Ok(was)
    }

    /// Every ban that counts now.
    pub async fn bans(&self) -> Vec<Ban> {
        self.ask(Command::Bans).await.unwrap_or_default()
    }

    /// Sets the slots of a wire.
    pub async fn set_slots(&self, wire: WireName, inbound: usize, outbound: usize) {
        self.tell(Command::Slots { wire, inbound, outbound }).await;
    }

    /// How the slots of a wire are counted.
    #[must_use]
    pub fn slot_rule(&self, wire: &str) -> Option<SlotRule> {
        self.inner.wires.iter().find(|known| known.name() == wire).map(|known| known.preset().admission.slots)
    }

    /// The limits as they are now.
    pub async fn limits(&self) -> Option<Limits> {
        self.ask(Command::Limits).await
    }

    /// Changes limits. Slots and trust count from now on; rates and bytes of a peer for sessions that begin; the bytes of
    /// all peers together stay as they were at the start.
    pub async fn change_limits(&self, change: impl FnOnce(&mut Limits) + Send + 'static) {
        self.tell(Command::SetLimits(Box::new(change))).await;
    }

    /// Exchanges the access list. Sessions with addresses that may not connect any more end.
    pub async fn set_access(&self, access: AccessList) {
        self.tell(Command::SetAccess(access)).await;
    }

    /// The access list as it is now.
    pub async fn access(&self) -> Option<AccessList> {
        self.ask(Command::Access).await
    }

    /// The wires' names, in the order they were added.
    #[must_use]
    pub fn wires(&self) -> Vec<WireName> {
        self.inner.wires.iter().map(|wire| wire.name()).collect()
    }

    /// Everybody who is to be dialled, as far as the Switch knows them; sources know more.
    pub async fn candidates(&self) -> Vec<CandidateStatus> {
        self.ask(Command::Candidates).await.unwrap_or_default()
    }

    /// What was counted since the start.
    #[must_use]
    pub fn census(&self) -> Census {
        self.inner.events.tally.census(&self.inner.peers.list())
    }

    /// Bytes that may be held for all peers.
    #[must_use]
    pub fn bytes_cap(&self) -> usize {
        self.inner.ledger.cap()
    }

    /// Inbound handshakes under way.
    #[must_use]
    pub fn handshaking(&self) -> usize {
        self.inner.context.upgrade().map_or(0, |context| context.pending.lock().len())
    }

    /// Asks the sources again now.
    pub fn dial_now(&self) {
        if let Some(context) = self.inner.context.upgrade() {
            context.wake.now();
        }
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
    ///
    /// # Errors
    /// [`Skip`]: why it will not be dialled.
    #[allow(clippy::must_use_candidate)]
    pub async fn offer(&self, candidate: Candidate) -> Result<(), Skip> {
        self.ask(|reply| Command::Offer(candidate, reply)).await.unwrap_or(Err(Skip::Stopped))
    }

    /// Accepts this peer beyond the slots from now on (`true`), or no longer (`false`).
    pub async fn set_trusted(&self, id: PeerId, trusted: bool) {
        self.tell(Command::Trust(id, trusted)).await;
    }

    /// Accepts this peer beyond the slots, uncounted, from now on (`true`), or no longer (`false`).
    pub async fn set_unconditional(&self, id: PeerId, unconditional: bool) {
        self.tell(Command::Unconditional(id, unconditional)).await;
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

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.inner.commands.send(question(reply)).await.ok()?;
        answer.await.ok()
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
