//! The Switch's one task: owns the peer set, the slots and the dial plan; answers every checkpoint.

use super::builder::Registered;
use super::connect::{Context, accept_loop, outbound};
use super::handle::PeerSet;
use super::rules::{self, Candidature, Counts, Existing, Verdict};
use crate::access::{AccessList, Limits, Throttle};
use crate::candidate::Candidate;
use crate::channel::ChannelSpec;
use crate::dial::DialPlan;
use crate::event::Event;
use crate::id::{Direction, PeerId};
use crate::inbox::Inboxes;
use crate::io::{ChannelIo, ChannelSender};
use crate::ledger::Ledger;
use crate::net::Listener;
use crate::outgoing::{Outgoing, Route};
use crate::peer::{End, Inner, Peer, Shared, Stats};
use crate::reason::Reason;
use crate::session::{self, Parts, RecvLane, Task};
use crate::wire::{Lanes, Session, Wire};
use bytes::BytesMut;
use parking_lot::RwLock;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How long a stop waits for sessions to end before it leaves them.
const STOP_LIMIT: Duration = Duration::from_secs(8);

/// A listener with the wires served on it.
pub(crate) type Served = (Arc<dyn Listener>, Vec<Arc<dyn Wire>>);

/// The reply to an admission: a refused session comes back, to be told why.
pub(crate) type Admitted = Result<(), (Reason, Box<Admission>)>;

/// What tasks and handles ask of the Switch.
pub(crate) enum Command {
    Accepted { remote: SocketAddr, reply: oneshot::Sender<Result<Ticket, Reason>> },
    Permitted { ip: IpAddr, reply: oneshot::Sender<bool> },
    Identity { id: PeerId, direction: Direction, reply: oneshot::Sender<Result<(), Reason>> },
    Admit { admission: Box<Admission>, reply: oneshot::Sender<Admitted> },
    Released(Direction),
    DialFailed { candidate: Candidate, reason: Reason, detail: String },
    AddStatic(Candidate),
    RemoveStatic(Candidate),
    Offer(Candidate),
    Trust(PeerId, bool),
    Stopped(oneshot::Sender<()>),
}

/// A finished handshake that wants to become a peer.
pub(crate) struct Admission {
    pub(crate) session: Session,
    pub(crate) direction: Direction,
    pub(crate) remote: SocketAddr,
    pub(crate) candidate: Option<Candidate>,
    /// Held for its drop: the pending slot is free when the admission is decided.
    #[allow(dead_code)]
    pub(crate) ticket: Ticket,
}

/// A pending slot, given back when dropped.
pub(crate) struct Ticket {
    direction: Direction,
    commands: mpsc::WeakSender<Command>,
    stopped: watch::Receiver<bool>,
}

impl Ticket {
    /// Resolves when the Switch stops.
    pub(crate) fn cancelled(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stopped = self.stopped.clone();
        async move {
            let _ = stopped.wait_for(|stop| *stop).await;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Some(commands) = self.commands.upgrade() else { return };
        let direction = self.direction;
        if commands.try_send(Command::Released(direction)).is_err() {
            // The queue is full: give the slot back as soon as there is room.
            tokio::spawn(async move { commands.send(Command::Released(direction)).await });
        }
    }
}

struct Entry {
    peer: Peer,
    candidate: Option<Candidate>,
    counted: bool,
    /// A session that takes this one's place when it has ended.
    successor: Option<Box<Admission>>,
}

pub(crate) struct Actor {
    context: Arc<Context>,
    peers: PeerSet,
    registry: Vec<Registered>,
    limits: Limits,
    access: AccessList,
    throttle: Throttle,
    plan: DialPlan,
    entries: BTreeMap<PeerId, Entry>,
    counts: Counts,
    pending_inbound: usize,
    ledger: Arc<Ledger>,
    sessions: JoinSet<(PeerId, End)>,
    stopped: Option<watch::Receiver<bool>>,
}

impl Actor {
    pub(crate) fn new(
        context: Arc<Context>,
        peers: PeerSet,
        registry: Vec<Registered>,
        limits: Limits,
        access: AccessList,
        statics: Vec<Candidate>,
        ledger: Arc<Ledger>,
    ) -> Self {
        let mut plan = DialPlan::default();
        statics.into_iter().for_each(|candidate| plan.add_static(candidate, Instant::now()));
        Self {
            context,
            peers,
            registry,
            limits,
            access,
            throttle: Throttle::default(),
            plan,
            entries: BTreeMap::new(),
            counts: Counts::default(),
            pending_inbound: 0,
            ledger,
            sessions: JoinSet::new(),
            stopped: None,
        }
    }

    /// Runs until stopped or until the last handle is gone.
    pub(crate) async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Command>,
        listeners: Vec<Served>,
        mut stopped: watch::Receiver<bool>,
    ) {
        self.stopped = Some(stopped.clone());
        let mut accepting = JoinSet::new();
        for (listener, wires) in listeners {
            accepting.spawn(accept_loop(Arc::clone(&self.context), listener, wires));
        }
        let mut waiters = Vec::new();
        loop {
            // Without a free slot nothing is due: whatever frees one comes as a command or an end.
            let wake = if self.dial_due() { self.plan.wake() } else { None };
            tokio::select! {
                biased;
                // An error means the last handle is gone.
                _ = stopped.wait_for(|stop| *stop) => break,
                command = inbox.recv() => match command {
                    Some(Command::Stopped(reply)) => waiters.push(reply),
                    Some(command) => self.handle(command),
                    None => break,
                },
                Some(ended) = self.sessions.join_next() => self.session_ended(ended),
                () = sleep_until(wake) => {}
            }
        }
        accepting.shutdown().await;
        self.wind_down(&mut inbox, &mut waiters).await;
        inbox.close();
        for reply in waiters {
            let _ = reply.send(());
        }
        tracing::debug!(target: "switchboard::switch", "stopped");
    }

    async fn wind_down(
        &mut self,
        inbox: &mut mpsc::Receiver<Command>,
        waiters: &mut Vec<oneshot::Sender<()>>,
    ) {
        for entry in self.entries.values_mut() {
            entry.successor = None;
            entry.peer.disconnect(Reason::Quitting);
        }
        let deadline = Instant::now() + STOP_LIMIT;
        while !self.sessions.is_empty() {
            tokio::select! {
                Some(ended) = self.sessions.join_next() => self.session_ended(ended),
                Some(command) = inbox.recv() => {
                    // Everything else is answered by dropping its reply: the Switch is gone.
                    if let Command::Stopped(reply) = command {
                        waiters.push(reply);
                    }
                }
                () = tokio::time::sleep_until(deadline) => {
                    self.sessions.shutdown().await;
                }
            }
        }
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::Accepted { remote, reply } => {
                let verdict = self.accepted(remote);
                if let Err(reason) = &verdict {
                    self.refused(remote, Direction::Inbound, None, reason);
                }
                let _ = reply.send(verdict);
            }
            Command::Permitted { ip, reply } => drop(reply.send(self.access.permits(ip))),
            Command::Identity { id, direction, reply } => {
                let verdict = match self.judge(Candidature { id, direction }) {
                    Verdict::Refuse(reason) => Err(reason),
                    Verdict::Admit | Verdict::Replace => Ok(()),
                };
                if let Err(reason) = &verdict {
                    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
                    self.refused(unknown, direction, Some(id), reason);
                }
                let _ = reply.send(verdict);
            }
            Command::Admit { admission, reply } => {
                let verdict = self.admit(admission);
                let _ = reply.send(verdict);
            }
            Command::Released(Direction::Inbound) => {
                self.pending_inbound = self.pending_inbound.saturating_sub(1);
            }
            Command::Released(Direction::Outbound) => {}
            Command::DialFailed { candidate, reason, detail } => self.dial_failed(candidate, reason, detail),
            Command::AddStatic(candidate) => self.plan.add_static(candidate, Instant::now()),
            Command::RemoveStatic(candidate) => self.plan.remove_static(&candidate),
            Command::Offer(candidate) => {
                if !self.plan.offer(candidate, Instant::now()) {
                    tracing::trace!(target: "switchboard::dial", "candidate not taken: queue full or dialled lately");
                }
            }
            Command::Trust(id, true) => drop(self.limits.trusted.insert(id)),
            Command::Trust(id, false) => drop(self.limits.trusted.remove(&id)),
            Command::Stopped(_) => {}
        }
    }

    /// The first checkpoint.
    fn accepted(&mut self, remote: SocketAddr) -> Result<Ticket, Reason> {
        if !self.access.permits(remote.ip()) {
            return Err(Reason::AccessDenied);
        }
        if self.pending_inbound >= self.limits.pending_inbound {
            return Err(Reason::TooManyPeers);
        }
        if !self.throttle.admit(remote.ip(), Instant::now(), self.limits.per_ip_interval) {
            return Err(Reason::Throttled);
        }
        self.pending_inbound += 1;
        self.ticket(Direction::Inbound).ok_or(Reason::Quitting)
    }

    fn ticket(&self, direction: Direction) -> Option<Ticket> {
        let stopped = self.stopped.clone()?;
        Some(Ticket { direction, commands: self.context.commands.clone(), stopped })
    }

    /// The second checkpoint, and part of the third.
    fn judge(&self, who: Candidature) -> Verdict {
        let Some(wire) = self.context.wires.get(who.id.wire()) else {
            return Verdict::Refuse(Reason::LocalFault);
        };
        let existing = self.entries.get(&who.id).map(|entry| Existing {
            direction: entry.peer.direction(),
            age: entry.peer.lifetime(),
            ending: entry.peer.is_over(),
        });
        rules::admit(who, wire.local_id(), existing, self.counts, &self.limits)
    }

    /// The third checkpoint.
    fn admit(&mut self, admission: Box<Admission>) -> Admitted {
        let who = Candidature { id: admission.session.peer, direction: admission.direction };
        let offers = self.context.offers.get(who.id.wire());
        let idle = offers.is_none_or(|offer| offer.protocols.is_empty());
        let verdict = if admission.session.channels.is_empty() && !idle {
            Verdict::Refuse(Reason::Useless)
        } else {
            self.judge(who)
        };
        match verdict {
            Verdict::Admit => self.start(*admission),
            Verdict::Replace => {
                let Some(entry) = self.entries.get_mut(&who.id) else {
                    self.start(*admission);
                    return Ok(());
                };
                entry.peer.disconnect(Reason::AlreadyConnected);
                if let Some(earlier) = entry.successor.replace(admission) {
                    // Two successors can only come from one direction twice: the later one stays.
                    self.forget_dial(earlier.candidate.as_ref());
                }
            }
            Verdict::Refuse(reason) => {
                self.refused(admission.remote, admission.direction, Some(who.id), &reason);
                return Err((reason, admission));
            }
        }
        Ok(())
    }

    /// Makes a peer of a session and starts its tasks.
    fn start(&mut self, admission: Admission) {
        let Admission { session, direction, remote, candidate, ticket } = admission;
        drop(ticket);
        let id = session.peer;
        let ledger = self.ledger.child(self.limits.bytes_per_peer);
        let (peer, parts) = self.assemble(session, direction, remote, &ledger);
        let counted = !self.limits.unconditional.contains(&id);
        if counted {
            *self.count(direction) += 1;
        }
        if let Some(candidate) = &candidate {
            self.plan.connected(candidate);
        }
        tracing::info!(target: "switchboard::switch", peer = %id, wire = id.wire(), %remote,
            direction = direction.as_str(), name = %crate::text::printable(&peer.info().name), "peer added");
        self.entries.insert(id, Entry { peer: peer.clone(), candidate, counted, successor: None });
        self.peers.map.write().insert(id, peer.clone());
        self.context.emit(Event::PeerAdded(peer));
        self.sessions.spawn(async move { (id, session::run(parts).await) });
    }

    fn count(&mut self, direction: Direction) -> &mut usize {
        match direction {
            Direction::Inbound => &mut self.counts.inbound,
            Direction::Outbound => &mut self.counts.outbound,
        }
    }

    fn assemble(
        &self,
        session: Session,
        direction: Direction,
        remote: SocketAddr,
        ledger: &Arc<Ledger>,
    ) -> (Peer, Parts) {
        let Session { peer: id, info, channels, encoder, decoder, reader, writer, leftover, liveness } =
            session;
        let known = |c: &crate::wire::SessionChannel| {
            let offered = &self.registry.get(c.protocol)?.offered;
            let spec = offered.channels.iter().find(|spec| spec.id == c.channel)?;
            Some((c.protocol, c.wire_id, *spec))
        };
        let shared: Vec<_> = channels.iter().filter_map(known).collect();
        let kind = self.context.wires.get(id.wire()).map_or(Lanes::PerChannel, |wire| wire.lanes());
        let (mut lanes, mut lane_of) = (Vec::<(NonZeroU32, usize)>::new(), BTreeMap::new());
        let mut protocols: BTreeMap<usize, Vec<(Route, ChannelSpec)>> = BTreeMap::new();
        for (protocol, wire_id, spec) in shared {
            let group = (protocol, (kind == Lanes::PerChannel).then_some(wire_id));
            let lane = *lane_of.entry(group).or_insert(lanes.len());
            match lanes.get_mut(lane) {
                Some((priority, queue)) => {
                    (*priority, *queue) = ((*priority).max(spec.priority), *queue + spec.send_queue);
                }
                None => lanes.push((spec.priority, spec.send_queue)),
            }
            let route = Route { lane, wire_id, max_message: encoder.max_message(wire_id) };
            protocols.entry(protocol).or_default().push((route, spec));
        }
        let outgoing = Arc::new(Outgoing::new(&lanes, Arc::clone(ledger)));
        let (mut tasks, mut recv, mut listed) = (Vec::new(), Vec::new(), Vec::new());
        for (index, channels) in protocols {
            let Some(registered) = self.registry.get(index) else { continue };
            let specs: Vec<_> = channels.iter().map(|(_, spec)| *spec).collect();
            let inboxes = Arc::new(Inboxes::new(&specs, Arc::clone(ledger)));
            for (index, (route, spec)) in channels.iter().enumerate() {
                let inboxes = Arc::clone(&inboxes);
                recv.push(RecvLane {
                    wire_id: route.wire_id,
                    spec: *spec,
                    inboxes,
                    index,
                    partial: BytesMut::new(),
                });
            }
            let routes = channels.iter().map(|(route, spec)| (spec.id, *route)).collect();
            let sender = ChannelSender { outgoing: Arc::clone(&outgoing), routes };
            let name = registered.offered.name.clone();
            listed.push(Shared {
                name: name.clone(),
                version: registered.offered.version,
                sender: sender.clone(),
            });
            let protocol = Arc::clone(&registered.protocol);
            tasks.push(Task { name, protocol, io: ChannelIo { inboxes, sender } });
        }
        let inner = Inner {
            id,
            direction,
            remote,
            info,
            since: Instant::now(),
            shared: listed,
            outgoing,
            end: watch::Sender::new(None),
            data: RwLock::new(HashMap::new()),
            stats: Stats::default(),
        };
        let peer = Peer { inner: Arc::new(inner) };
        let parts = Parts {
            peer: peer.clone(),
            encoder,
            decoder,
            reader,
            writer,
            leftover,
            liveness,
            lanes: recv,
            tasks,
            ledger: Arc::clone(ledger),
        };
        (peer, parts)
    }

    fn session_ended(&mut self, ended: Result<(PeerId, End), tokio::task::JoinError>) {
        // A session task neither panics nor is aborted but at the end of a stop.
        let Ok((id, end)) = ended else { return };
        let Some(entry) = self.entries.remove(&id) else { return };
        let Entry { peer, candidate, counted, successor } = entry;
        if counted {
            let count = self.count(peer.direction());
            *count = count.saturating_sub(1);
        }
        let jitter = self.context.env.below(1_000);
        self.plan.lost(candidate.as_ref(), id, peer.lifetime(), Instant::now(), jitter);
        if successor.is_none() {
            self.peers.map.write().remove(&id);
        }
        tracing::info!(target: "switchboard::switch", peer = %id, wire = id.wire(), reason = %end.reason,
            by = end.by.as_str(), "peer dropped");
        self.context.emit(Event::PeerDropped { peer, end });
        if let Some(successor) = successor {
            self.start(*successor);
        }
    }

    fn refused(&self, remote: SocketAddr, direction: Direction, id: Option<PeerId>, reason: &Reason) {
        tracing::debug!(target: "switchboard::switch", %remote, direction = direction.as_str(), %reason, "refused");
        self.context.emit(Event::Refused { remote, direction, id, reason: reason.clone() });
    }

    /// Starts the dials that are due. `false` when no slot is left for more.
    fn dial_due(&mut self) -> bool {
        let busy = self.counts.outbound + self.plan.dialling();
        let free = self.limits.outbound.saturating_sub(busy);
        let slots = free.min(self.limits.pending_outbound.saturating_sub(self.plan.dialling()));
        let entries = &self.entries;
        let due = self.plan.next(Instant::now(), slots, |id| entries.contains_key(id));
        let left = slots - due.len();
        for candidate in due {
            let Some(ticket) = self.ticket(Direction::Outbound) else { return false };
            tracing::debug!(target: "switchboard::dial", %candidate, "dialling");
            tokio::spawn(outbound(Arc::clone(&self.context), candidate, ticket));
        }
        left > 0
    }

    fn dial_failed(&mut self, candidate: Candidate, reason: Reason, detail: String) {
        let hopeless = reason == Reason::SelfConnection;
        let jitter = self.context.env.below(1_000);
        let retry_in = self.plan.failed(&candidate, Instant::now(), hopeless, jitter);
        tracing::debug!(target: "switchboard::dial", %candidate, %reason, ?retry_in, "dial failed");
        self.context.emit(Event::DialFailed { candidate, reason, detail, retry_in });
    }

    fn forget_dial(&mut self, candidate: Option<&Candidate>) {
        if let Some(candidate) = candidate {
            let jitter = self.context.env.below(1_000);
            self.plan.failed(candidate, Instant::now(), false, jitter);
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
