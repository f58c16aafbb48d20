//! The Switch's one task: owns the peer set, the slots and the dial plan; answers every checkpoint.

use super::builder::Registered;
use super::connect::{Context, Failure, accept_loop, inbound, outbound};
use super::handle::PeerSet;
use super::rules::{self, Candidature, Counts, Existing, Verdict};
use crate::candidate::Candidate;
use crate::event::Event;
use crate::id::{Direction, PeerId};
use crate::net::{Connection, Listener};
use crate::reason::Reason;
use crate::session::assemble::{Terms, assemble};
use crate::session::ledger::Ledger;
use crate::session::supervise::{self as session, Rates};
use crate::switch::access::{AccessList, Limits, Throttle};
use crate::switch::dial::{DialPlan, Room};
use crate::switch::peer::{End, Peer};
use crate::text::printable;
use crate::wire::{Established, HandshakeError, Lanes, Wire};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{self, JoinSet};
use tokio::time::Instant;

/// How long a stop waits for sessions to end before it leaves them.
const STOP_LIMIT: Duration = Duration::from_secs(8);

/// A listener with the wires served on it.
pub(crate) type Served = (Arc<dyn Listener>, Vec<Arc<dyn Wire>>);

/// The reply to an admission: a refused session comes back, to be told why.
pub(crate) type Admitted = Result<(), (Reason, Box<Admission>)>;

/// What tasks and handles ask of the Switch.
pub(crate) enum Command {
    Accepted { connection: Connection, wires: Arc<[Arc<dyn Wire>]>, reply: oneshot::Sender<()> },
    Permitted { addrs: Vec<SocketAddr>, reply: oneshot::Sender<Vec<SocketAddr>> },
    Identity { who: Proven, reply: oneshot::Sender<Result<(), Reason>> },
    Admit { admission: Box<Admission>, reply: oneshot::Sender<Admitted> },
    AddStatic(Candidate),
    RemoveStatic(Candidate),
    Offer(Candidate),
    Trust(PeerId, bool),
    Stopped(oneshot::Sender<()>),
}

/// An identity proven in the middle of a handshake.
pub(crate) struct Proven {
    pub(crate) id: PeerId,
    pub(crate) direction: Direction,
    pub(crate) remote: SocketAddr,
    /// Whom we dialled.
    pub(crate) candidate: Option<Candidate>,
}

/// A finished handshake that wants to become a peer.
pub(crate) struct Admission {
    pub(crate) session: Established,
    pub(crate) direction: Direction,
    pub(crate) remote: SocketAddr,
    pub(crate) candidate: Option<Candidate>,
    /// Held for its drop: the pending slot is free when the admission is decided.
    #[allow(dead_code)]
    pub(crate) ticket: Ticket,
}

/// A pending slot (of inbound handshakes; the dial plan counts the others), given back when dropped.
pub(crate) struct Ticket {
    pending: Option<Arc<AtomicUsize>>,
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
        if let Some(pending) = &self.pending {
            pending.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

struct Entry {
    peer: Peer,
    candidate: Option<Candidate>,
    /// The slot it takes, if it counts. A successor inherits it, whatever its own direction: else a peer
    /// we dialled could dial back and leave us a free slot each time.
    slot: Option<Direction>,
    successor: Option<Successor>,
}

/// A session that takes another's place when that has ended.
struct Successor {
    admission: Box<Admission>,
    since: Instant,
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
    pending_inbound: Arc<AtomicUsize>,
    ledger: Arc<Ledger>,
    sessions: JoinSet<(PeerId, End)>,
    /// Inbound handshakes, and goodbyes to those refused.
    handshakes: JoinSet<()>,
    dials: JoinSet<Option<Failure>>,
    dialled: HashMap<task::Id, Candidate>,
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
            pending_inbound: Arc::default(),
            ledger,
            sessions: JoinSet::new(),
            handshakes: JoinSet::new(),
            dials: JoinSet::new(),
            dialled: HashMap::new(),
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
            let wake = self.dial_due();
            tokio::select! {
                biased;
                // An error means the last handle is gone.
                _ = stopped.wait_for(|stop| *stop) => break,
                // What ends is bounded by the slots, so it comes before commands, which need not be.
                Some(ended) = self.sessions.join_next() => self.session_ended(ended),
                Some(ended) = self.dials.join_next_with_id() => self.dial_ended(ended),
                Some(_) = self.handshakes.join_next() => {}
                command = inbox.recv() => match command {
                    Some(Command::Stopped(reply)) => waiters.push(reply),
                    Some(command) => self.handle(command),
                    None => break,
                },
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
        let mut late = Vec::new();
        for entry in self.entries.values_mut() {
            entry.peer.disconnect(Reason::Quitting);
            late.extend(entry.successor.take().map(|successor| successor.admission));
        }
        late.into_iter().for_each(|admission| self.dismiss(*admission, Reason::Quitting));
        let deadline = Instant::now() + STOP_LIMIT;
        while !(self.sessions.is_empty() && self.handshakes.is_empty() && self.dials.is_empty()) {
            tokio::select! {
                biased;
                Some(ended) = self.sessions.join_next() => self.session_ended(ended),
                // What they ended with concerns nobody any more.
                Some(_) = self.dials.join_next() => {}
                Some(_) = self.handshakes.join_next() => {}
                () = tokio::time::sleep_until(deadline) => {
                    self.handshakes.shutdown().await;
                    self.dials.shutdown().await;
                    self.sessions.shutdown().await;
                }
                Some(command) = inbox.recv() => match command {
                    Command::Stopped(reply) => waiters.push(reply),
                    Command::Admit { admission, .. } => self.dismiss(*admission, Reason::Quitting),
                    // Everything else is answered by dropping its reply: the Switch is gone.
                    _ => {}
                },
            }
        }
        for (id, entry) in std::mem::take(&mut self.entries) {
            // Aborted above: a protocol that does not yield held its session.
            self.peers.map.write().remove(&id);
            let end = entry.peer.end_so_far();
            self.context.emit(Event::PeerDropped { peer: entry.peer, end });
        }
    }

    /// Says goodbye to a session that does not become a peer.
    fn dismiss(&mut self, admission: Admission, reason: Reason) {
        let Admission { session, ticket, .. } = admission;
        self.handshakes.spawn(async move {
            session.refuse(&reason).await;
            drop(ticket);
        });
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::Accepted { connection, wires, reply } => {
                let remote = connection.remote;
                match self.accepted(remote) {
                    Ok(ticket) => {
                        let context = Arc::clone(&self.context);
                        self.handshakes.spawn(inbound(context, connection, wires, ticket));
                    }
                    // The socket is closed without a word: nothing was proven, nothing is owed.
                    Err(reason) => self.refused(remote, Direction::Inbound, None, &reason),
                }
                let _ = reply.send(());
            }
            Command::Permitted { mut addrs, reply } => {
                addrs.retain(|addr| self.access.permits(addr.ip()));
                let _ = reply.send(addrs);
            }
            Command::Identity { who: Proven { id, direction, remote, candidate }, reply } => {
                let verdict = match self.judge(Candidature { id, direction }, candidate.as_ref()) {
                    Verdict::Refuse(reason) => Err(reason),
                    Verdict::Admit | Verdict::Replace => Ok(()),
                };
                if let Some(candidate) = &candidate {
                    self.plan.identified(candidate, id);
                }
                if let Err(reason) = &verdict {
                    self.refused(remote, direction, Some(id), reason);
                }
                let _ = reply.send(verdict);
            }
            Command::Admit { admission, reply } => {
                let verdict = self.admit(admission);
                let _ = reply.send(verdict);
            }
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
        if self.pending_inbound.load(Ordering::Relaxed) >= self.limits.pending_inbound {
            return Err(Reason::TooManyPeers);
        }
        if !self.throttle.admit(remote.ip(), Instant::now(), self.limits.per_ip_interval) {
            return Err(Reason::Throttled);
        }
        let stopped = self.stopped.clone().ok_or(Reason::Quitting)?;
        self.pending_inbound.fetch_add(1, Ordering::Relaxed);
        Ok(Ticket { pending: Some(Arc::clone(&self.pending_inbound)), stopped })
    }

    /// The second checkpoint, and part of the third. Another than the one we dialled is wrong, whoever it is.
    fn judge(&self, who: Candidature, dialled: Option<&Candidate>) -> Verdict {
        if dialled.and_then(|candidate| candidate.id).is_some_and(|wanted| wanted != who.id) {
            return Verdict::Refuse(Reason::WrongIdentity);
        }
        let Some(wire) = self.context.wires.get(who.id.wire()) else {
            return Verdict::Refuse(Reason::LocalFault);
        };
        // A successor is what the existing session will be: the newcomer has to beat that one.
        let existing = self.entries.get(&who.id).map(|entry| match &entry.successor {
            Some(Successor { admission, since }) => {
                Existing { direction: admission.direction, age: since.elapsed(), ending: false }
            }
            None => Existing {
                direction: entry.peer.direction(),
                age: entry.peer.lifetime(),
                ending: entry.peer.is_over(),
            },
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
            self.judge(who, admission.candidate.as_ref())
        };
        match verdict {
            Verdict::Admit => self.start(*admission, None),
            Verdict::Replace => {
                let Some(entry) = self.entries.get_mut(&who.id) else {
                    self.start(*admission, None);
                    return Ok(());
                };
                entry.peer.disconnect(Reason::AlreadyConnected);
                let since = Instant::now();
                if let Some(earlier) = entry.successor.replace(Successor { admission, since }) {
                    self.turn_away(*earlier.admission, Reason::AlreadyConnected);
                }
            }
            Verdict::Refuse(reason) => {
                self.refused(admission.remote, admission.direction, Some(who.id), &reason);
                return Err((reason, admission));
            }
        }
        Ok(())
    }

    /// Takes back an admission that was given: a better session came before it started.
    fn turn_away(&mut self, admission: Admission, reason: Reason) {
        self.refused(admission.remote, admission.direction, Some(admission.session.peer), &reason);
        if let Some(candidate) = admission.candidate.clone() {
            let detail = HandshakeError::RefusedByUs(reason.clone()).to_string();
            self.dial_failed(candidate, Failure { reason: reason.clone(), detail, hopeless: false });
        }
        self.dismiss(admission, reason);
    }

    /// Makes a peer of a session and starts its tasks. It takes a slot of its own, or that of the session it replaces.
    fn start(&mut self, admission: Admission, inherited: Option<Option<Direction>>) {
        let Admission { session, direction, remote, candidate, ticket } = admission;
        drop(ticket);
        let id = session.peer;
        let ledger = self.ledger.child(self.limits.bytes_per_peer);
        let lanes = self.context.wires.get(id.wire()).map_or(Lanes::PerChannel, |wire| wire.lanes());
        let rates = Rates { send: self.limits.send_rate, recv: self.limits.recv_rate };
        let terms = Terms { direction, remote, lanes, ledger, rates, tap: self.context.tap.clone() };
        let registered = |index| {
            let Registered { protocol, offered, .. } = self.registry.get(index)?;
            Some((protocol, offered))
        };
        let (peer, parts) = assemble(session, terms, registered);
        let slot = inherited.unwrap_or_else(|| {
            let slot = (!self.limits.unconditional.contains(&id)).then_some(direction);
            slot.into_iter().for_each(|slot| *self.count(slot) += 1);
            slot
        });
        if let Some(candidate) = &candidate {
            self.plan.connected(candidate);
        }
        tracing::info!(target: "switchboard::switch", peer = %id, wire = id.wire(), %remote,
            direction = direction.as_str(), name = %printable(&peer.info().name), "peer added");
        self.entries.insert(id, Entry { peer: peer.clone(), candidate, slot, successor: None });
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

    fn session_ended(&mut self, ended: Result<(PeerId, End), task::JoinError>) {
        // A session task neither panics nor is aborted but at the end of a stop.
        let Ok((id, end)) = ended else { return };
        let Some(entry) = self.entries.remove(&id) else { return };
        let Entry { peer, candidate, slot, successor } = entry;
        let jitter = self.context.env.below(1_000);
        self.plan.lost(candidate.as_ref(), id, peer.lifetime(), Instant::now(), jitter);
        if successor.is_none() {
            self.peers.map.write().remove(&id);
            if let Some(slot) = slot {
                let count = self.count(slot);
                *count = count.saturating_sub(1);
            }
        }
        tracing::info!(target: "switchboard::switch", peer = %id, wire = id.wire(), reason = %end.reason,
            by = end.by.as_str(), "peer dropped");
        self.context.emit(Event::PeerDropped { peer, end });
        if let Some(successor) = successor {
            self.start(*successor.admission, Some(slot));
        }
    }

    fn refused(&self, remote: SocketAddr, direction: Direction, id: Option<PeerId>, reason: &Reason) {
        tracing::debug!(target: "switchboard::switch", %remote, direction = direction.as_str(), %reason, "refused");
        if direction == Direction::Outbound {
            // The dial's own event tells it, with when it is tried again.
            return;
        }
        self.context.emit(Event::Refused { remote, direction, id, reason: reason.clone() });
    }

    /// Starts the dials that are due; says when to look again, unless something frees a slot before.
    fn dial_due(&mut self) -> Option<Instant> {
        let under_way = self.plan.dialling();
        let room = Room {
            free: self.limits.outbound.saturating_sub(self.counts.outbound + under_way),
            pending: self.limits.pending_outbound.saturating_sub(under_way),
        };
        let (entries, limits) = (&self.entries, &self.limits);
        let passes = |id: &PeerId| limits.trusted.contains(id) || limits.unconditional.contains(id);
        let due = self.plan.next(Instant::now(), room, |id| entries.contains_key(id), passes);
        let started = due.len();
        let wake = match room.pending > started {
            true if room.free > started => self.plan.wake(|_| true),
            true => self.plan.wake(|id| id.is_some_and(passes)),
            false => None,
        };
        for candidate in due {
            let stopped = self.stopped.clone()?;
            tracing::debug!(target: "switchboard::dial", %candidate, "dialling");
            let ticket = Ticket { pending: None, stopped };
            let dial = self.dials.spawn(outbound(Arc::clone(&self.context), candidate.clone(), ticket));
            self.dialled.insert(dial.id(), candidate);
        }
        wake
    }

    fn dial_ended(&mut self, ended: Result<(task::Id, Option<Failure>), task::JoinError>) {
        let (id, failure) = match ended {
            Ok((id, failure)) => (id, failure),
            Err(error) => {
                let detail = printable(&error.to_string());
                (error.id(), Some(Failure { reason: Reason::LocalFault, detail, hopeless: false }))
            }
        };
        let candidate = self.dialled.remove(&id);
        if let Some((candidate, failure)) = candidate.zip(failure) {
            self.dial_failed(candidate, failure);
        }
    }

    fn dial_failed(&mut self, candidate: Candidate, failure: Failure) {
        let Failure { reason, detail, hopeless } = failure;
        let jitter = self.context.env.below(1_000);
        let retry_in = self.plan.failed(&candidate, Instant::now(), hopeless, jitter);
        tracing::debug!(target: "switchboard::dial", %candidate, %reason, ?retry_in, "dial failed");
        self.context.emit(Event::DialFailed { candidate, reason, detail, retry_in });
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
