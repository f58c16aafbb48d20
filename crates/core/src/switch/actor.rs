//! The Switch's one task: owns the peer set, the slots and the dial plans; answers every checkpoint.

use super::bans::{Done, Write};
use super::builder::Registered;
use super::connect::{ConnectError, Context, Ends, Failure, accept_loop};
use super::dial::{self, CandidateStatus, DialPlan, Key};
use super::handle::PeerSet;
use super::pending::Number;
use super::score::{Ban, BanError, Banned, Misbehaviour, ScoreBook};
use super::source::{Mark, Skip, Source};
use crate::candidate::Candidate;
use crate::event::Event;
use crate::id::{Direction, PeerId, WireName};
use crate::net::{Connection, Listener};
use crate::reason::Reason;
use crate::service::run::{Running, stop_all};
use crate::session::layout::Layouts;
use crate::session::ledger::Ledger;
use crate::switch::access::{AccessList, Limits, Throttle};
use crate::switch::peer::{End, Peer};
use crate::wire::{Established, Wire};
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::{self, JoinSet};
use tokio::time::Instant;

/// How long a stop waits for sessions to end before it leaves them.
const STOP_LIMIT: Duration = Duration::from_secs(8);
/// How long a stop waits for all services.
const SERVICES_LIMIT: Duration = Duration::from_secs(5);

/// How long a stop waits for the store.
const STORE_LIMIT: Duration = Duration::from_secs(2);

/// A listener with the wires served on it.
pub(crate) type Served = (Arc<dyn Listener>, Vec<Arc<dyn Wire>>);

/// The reply to an admission: a refused session comes back, to be told why.
pub(crate) type Admitted = Result<(), (Reason, Box<Admission>)>;

/// Who waits for a dial.
pub(super) type Asking = oneshot::Sender<Result<Peer, ConnectError>>;

/// A change of the limits.
pub(crate) type LimitsChange = Box<dyn FnOnce(&mut Limits) + Send>;

/// What tasks and handles ask of the Switch.
pub(crate) enum Command {
    /// Services have started: connections are accepted and dialled from now on.
    Open {
        listeners: Vec<Served>,
        services: Vec<Running>,
    },
    Accepted {
        connection: Connection,
        wires: Arc<[Arc<dyn Wire>]>,
        reply: oneshot::Sender<()>,
    },
    Throttle {
        wire: WireName,
        remote: SocketAddr,
        reply: oneshot::Sender<Result<(), Reason>>,
    },
    Permitted {
        addrs: Vec<SocketAddr>,
        reply: oneshot::Sender<Vec<SocketAddr>>,
    },
    Identity {
        who: Proven,
        reply: oneshot::Sender<Result<(), Reason>>,
    },
    Admit {
        admission: Box<Admission>,
        reply: oneshot::Sender<Admitted>,
    },
    Connect(Box<Candidate>, Asking),
    AddStatic(Candidate),
    RemoveStatic(Candidate),
    Offer(Candidate, oneshot::Sender<Result<(), Skip>>),
    Trust(PeerId, bool),
    Unconditional(PeerId, bool),
    Slots {
        wire: WireName,
        inbound: usize,
        outbound: usize,
    },
    Limits(oneshot::Sender<Limits>),
    SetLimits(LimitsChange),
    Access(oneshot::Sender<AccessList>),
    SetAccess(AccessList),
    Candidates(oneshot::Sender<Vec<CandidateStatus>>),
    Mark(Candidate, Mark),
    Report {
        id: Option<PeerId>,
        ip: Option<IpAddr>,
        wrong: Misbehaviour,
    },
    Breach {
        id: Option<PeerId>,
        ip: Option<IpAddr>,
        rule: &'static str,
    },
    Ban {
        ban: Ban,
        reply: oneshot::Sender<Result<Ban, BanError>>,
        /// Told when it is on disk.
        stored: Done,
    },
    Lift {
        who: Banned,
        reply: oneshot::Sender<bool>,
        /// Told when it is on disk, if there was a ban.
        stored: Done,
    },
    Bans(oneshot::Sender<Vec<Ban>>),
    Stopped(oneshot::Sender<()>),
}

/// An identity proven in the middle of a handshake.
pub(crate) struct Proven {
    pub(crate) id: PeerId,
    pub(crate) holder: PeerId,
    pub(crate) direction: Direction,
    pub(crate) remote: SocketAddr,
    /// Whom we dialled.
    pub(crate) candidate: Option<Candidate>,
}

/// A finished handshake that wants to become a peer.
pub(crate) struct Admission {
    pub(crate) session: Established,
    pub(crate) direction: Direction,
    pub(crate) ends: Ends,
    pub(crate) candidate: Option<Candidate>,
    /// Held for its drop: the pending slot is free when the admission is decided.
    #[allow(dead_code)]
    pub(crate) ticket: Ticket,
}

/// A pending slot (of inbound handshakes; the dial plans count the others), given back when dropped.
pub(crate) struct Ticket {
    pub(super) pending: Option<(Arc<Context>, Number, Arc<Notify>)>,
    pub(super) stopped: watch::Receiver<bool>,
}

impl Ticket {
    /// Resolves when the Switch stops.
    pub(crate) fn cancelled(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stopped = self.stopped.clone();
        async move {
            let _ = stopped.wait_for(|stop| *stop).await;
        }
    }

    /// Resolves when the slot was given to another.
    pub(crate) fn evicted(&self) -> impl Future<Output = ()> + Send + 'static {
        let evicted = self.pending.as_ref().map(|(_, _, evicted)| Arc::clone(evicted));
        async move {
            match evicted {
                Some(evicted) => evicted.notified().await,
                None => std::future::pending().await,
            }
        }
    }

    /// The handshake's number.
    pub(crate) fn number(&self) -> Option<Number> {
        self.pending.as_ref().map(|(_, number, _)| *number)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some((context, number, _)) = &self.pending {
            context.pending.lock().leave(*number);
        }
    }
}

pub(super) struct Entry {
    pub(super) peer: Peer,
    /// Has at most one entry.
    pub(super) holder: PeerId,
    pub(super) candidate: Option<Candidate>,
    /// The slot it takes, if it counts. A successor inherits it, whatever its own direction: else a peer
    /// we dialled could dial back and leave us a free slot each time.
    pub(super) slot: Option<Direction>,
    pub(super) successor: Option<Successor>,
}

/// A session that takes another's place when that has ended.
pub(super) struct Successor {
    pub(super) admission: Box<Admission>,
    pub(super) since: Instant,
}

/// Sessions of one wire counted against its slots.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) inbound: usize,
    pub(super) outbound: usize,
}

/// One wire's part of the Switch.
#[derive(Default)]
pub(super) struct Net {
    pub(super) plan: DialPlan,
    pub(super) counts: Counts,
    pub(super) sources: Vec<Feeder>,
    /// Which source is asked next.
    pub(super) turn: usize,
    /// Since when every outbound slot is taken.
    pub(super) full_since: Option<Instant>,
}

/// A source and when it may be asked again.
pub(super) struct Feeder {
    pub(super) source: Arc<dyn Source>,
    pub(super) rests_until: Option<Instant>,
}

pub(crate) struct Actor {
    pub(super) context: Arc<Context>,
    pub(super) peers: PeerSet,
    pub(super) registry: Vec<Registered>,
    pub(super) layouts: Layouts,
    pub(super) limits: Limits,
    pub(super) access: AccessList,
    pub(super) throttle: Throttle,
    pub(super) nets: BTreeMap<WireName, Net>,
    pub(super) entries: BTreeMap<PeerId, Entry>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) book: ScoreBook,
    /// Where changes of bans are stored, in order, and the task that does it.
    pub(super) stored: mpsc::Sender<Write>,
    keeper: task::JoinHandle<()>,
    pub(super) sessions: JoinSet<(PeerId, End)>,
    /// Inbound handshakes, and goodbyes to those refused.
    pub(super) handshakes: JoinSet<()>,
    pub(super) dials: JoinSet<Option<Failure>>,
    pub(super) dialled: HashMap<task::Id, Candidate>,
    /// Who answered the dials under way.
    pub(super) proven: BTreeMap<Key, PeerId>,
    pub(super) asking: BTreeMap<Key, Vec<Asking>>,
    /// Nothing is accepted or dialled before and after.
    pub(super) open: bool,
    pub(super) quit: watch::Sender<bool>,
}

/// What an [`Actor`] is made of.
pub(crate) struct Made {
    pub(crate) context: Arc<Context>,
    pub(crate) peers: PeerSet,
    pub(crate) registry: Vec<Registered>,
    pub(crate) limits: Limits,
    pub(crate) access: AccessList,
    pub(crate) statics: Vec<Candidate>,
    pub(crate) sources: Vec<Arc<dyn Source>>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) book: ScoreBook,
    pub(crate) stored: mpsc::Sender<Write>,
    pub(crate) keeper: task::JoinHandle<()>,
}

impl Actor {
    pub(crate) fn new(made: Made) -> Self {
        let Made { context, peers, registry, limits, access, statics, sources, ledger, book, stored, keeper } =
            made;
        let plan = |wire: &WireName| DialPlan::new(context.preset(wire).dial);
        let net = |wire: &WireName| (*wire, Net { plan: plan(wire), ..Net::default() });
        let mut nets: BTreeMap<_, _> = context.wires.keys().map(net).collect();
        for candidate in statics {
            let spread = context.preset(candidate.wire).dial.spread;
            let at = Instant::now() + spread / 1_000 * context.env.below(1_000) as u32;
            nets.entry(candidate.wire).or_default().plan.add_static(candidate, at);
        }
        for source in sources {
            source.attach(context.wake.clone());
            let net = nets.entry(source.wire()).or_default();
            net.sources.push(Feeder { source, rests_until: None });
        }
        Self {
            context,
            peers,
            registry,
            layouts: Layouts::default(),
            limits,
            access,
            throttle: Throttle::default(),
            nets,
            entries: BTreeMap::new(),
            ledger,
            book,
            stored,
            keeper,
            sessions: JoinSet::new(),
            handshakes: JoinSet::new(),
            dials: JoinSet::new(),
            dialled: HashMap::new(),
            proven: BTreeMap::new(),
            asking: BTreeMap::new(),
            open: false,
            quit: watch::Sender::new(false),
        }
    }

    /// Runs until stopped or until the last handle is gone. `halted` is a service's word that the node must stop.
    pub(crate) async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Command>,
        mut stopped: watch::Receiver<bool>,
        mut halted: watch::Receiver<bool>,
    ) {
        let (mut accepting, mut services, mut waiters) = (JoinSet::new(), Vec::new(), Vec::new());
        let woken = Arc::clone(&self.context.wake.notify);
        loop {
            let wake = self.dial_due();
            tokio::select! {
                biased;
                // An error means the last handle is gone.
                _ = stopped.wait_for(|stop| *stop) => break,
                Ok(_) = halted.wait_for(|halt| *halt) => break,
                // What ends is bounded by the slots, so it comes before commands, which need not be.
                Some(ended) = self.sessions.join_next() => self.session_ended(ended),
                Some(ended) = self.dials.join_next_with_id() => self.dial_ended(ended),
                Some(_) = self.handshakes.join_next() => {}
                command = inbox.recv() => match command {
                    Some(Command::Stopped(reply)) => waiters.push(reply),
                    Some(Command::Open { listeners, services: started }) => {
                        (self.open, services) = (true, started);
                        for (listener, wires) in listeners {
                            accepting.spawn(accept_loop(Arc::clone(&self.context), listener, wires));
                        }
                    }
                    Some(command) => self.handle(command),
                    None => break,
                },
                () = woken.notified() => self.sources_woken(),
                () = sleep_until(wake) => {}
            }
        }
        self.open = false;
        accepting.shutdown().await;
        self.stop_services(services, &mut inbox, &mut waiters).await;
        self.quit.send_replace(true);
        self.wind_down(&mut inbox, &mut waiters).await;
        self.asking.clear();
        let Self { context, stored, keeper, .. } = self;
        drop(stored);
        // Decisions are on disk before anybody is told that the Switch is down.
        let _ = tokio::time::timeout(STORE_LIMIT, keeper).await;
        inbox.close();
        context.events.close();
        for reply in waiters {
            let _ = reply.send(());
        }
        tracing::debug!(target: "switchboard::switch", "stopped");
    }

    /// Services stop while their peers are still there and their questions are answered.
    async fn stop_services(
        &mut self,
        services: Vec<Running>,
        inbox: &mut mpsc::Receiver<Command>,
        waiters: &mut Vec<oneshot::Sender<()>>,
    ) {
        if services.is_empty() {
            return;
        }
        let mut stopping = task::spawn(stop_all(services, SERVICES_LIMIT));
        loop {
            tokio::select! {
                biased;
                _ = &mut stopping => return,
                Some(ended) = self.sessions.join_next() => self.session_ended(ended),
                Some(ended) = self.dials.join_next_with_id() => self.dial_ended(ended),
                Some(_) = self.handshakes.join_next() => {}
                Some(command) = inbox.recv() => match command {
                    Command::Stopped(reply) => waiters.push(reply),
                    Command::Admit { admission, .. } => self.dismiss(*admission, Reason::Quitting),
                    // Answered by dropping the reply: the Switch is going.
                    Command::Connect(..) | Command::Identity { .. } | Command::Accepted { .. } => {}
                    command => self.handle(command),
                },
            }
        }
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
            let end = entry.peer.end_so_far();
            self.context.events.tally.fold(&entry.peer);
            self.peers.drop_peer(&id, &entry.peer, &end, &self.context.events, false);
            self.context.emit(Event::PeerDropped { peer: entry.peer, end });
        }
    }

    /// Says goodbye to a session that does not become a peer.
    pub(super) fn dismiss(&mut self, admission: Admission, reason: Reason) {
        let Admission { session, ticket, .. } = admission;
        self.handshakes.spawn(async move {
            session.refuse(&reason).await;
            drop(ticket);
        });
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::Accepted { connection, wires, reply } => {
                self.connection_accepted(connection, wires);
                let _ = reply.send(());
            }
            Command::Throttle { wire, remote, reply } => {
                let verdict = self.throttled(wire, remote);
                if let Err(reason) = &verdict {
                    self.refused(remote, Direction::Inbound, None, reason);
                }
                let _ = reply.send(verdict);
            }
            Command::Permitted { mut addrs, reply } => {
                addrs.retain(|addr| self.permits(addr.ip()));
                let _ = reply.send(addrs);
            }
            Command::Identity { who, reply } => {
                let _ = reply.send(self.identity_proven(&who));
            }
            Command::Admit { admission, reply } => {
                let verdict = self.admit(admission);
                let _ = reply.send(verdict);
            }
            Command::Connect(candidate, reply) => self.connect(*candidate, reply),
            Command::AddStatic(candidate) => {
                if let Some(net) = self.nets.get_mut(candidate.wire) {
                    net.plan.add_static(candidate, Instant::now());
                } else {
                    self.unknown_wire(candidate);
                }
                self.remark();
            }
            Command::RemoveStatic(candidate) => {
                if let Some(net) = self.nets.get_mut(candidate.wire) {
                    net.plan.remove_static(&candidate);
                }
                self.remark();
            }
            Command::Offer(candidate, reply) => {
                let _ = reply.send(self.offered(candidate));
            }
            Command::Trust(id, true) => {
                self.limits.trusted.insert(id);
                self.remark();
                self.lift(&Banned::Id(id), None);
            }
            Command::Trust(id, false) => {
                self.limits.trusted.remove(&id);
                self.remark();
            }
            Command::Unconditional(id, on) => {
                match on {
                    true => self.limits.unconditional.insert(id),
                    false => self.limits.unconditional.remove(&id),
                };
                self.remark();
            }
            Command::Slots { wire, inbound, outbound } => {
                self.limits.wires.insert(wire, (inbound, outbound));
            }
            Command::Limits(reply) => drop(reply.send(self.limits.clone())),
            Command::SetLimits(change) => {
                change(&mut self.limits);
                self.remark();
            }
            Command::Access(reply) => drop(reply.send(self.access.clone())),
            Command::SetAccess(access) => self.set_access(access),
            Command::Candidates(reply) => {
                let now = Instant::now();
                let all = self.nets.values().flat_map(|net| net.plan.status(now)).collect();
                let _ = reply.send(all);
            }
            Command::Mark(candidate, mark) => self.mark(&candidate, mark),
            Command::Report { id, ip, wrong } => self.report(id, ip, &wrong),
            Command::Breach { id, ip, rule } => {
                let wrong = Misbehaviour { points: self.limits.score.breach, what: rule };
                self.report(id, ip, &wrong);
            }
            Command::Ban { ban, reply, stored } => {
                let made = self.ban(ban, Some(stored));
                let _ = reply.send(made);
            }
            Command::Lift { who, reply, stored } => {
                let was = self.lift(&who, Some(stored));
                let _ = reply.send(was);
            }
            Command::Bans(reply) => {
                let _ = reply.send(self.book.list(self.wall()));
            }
            Command::Open { .. } | Command::Stopped(_) => {}
        }
    }

    pub(super) fn wall(&self) -> SystemTime {
        self.context.env.wall()
    }

    /// Slots of a wire: inbound and outbound.
    pub(super) fn most(&self, wire: WireName) -> (usize, usize) {
        self.limits.slots(wire)
    }

    /// Whether slots, addresses and bans do not concern an identity.
    pub(super) fn passes(&self, id: &PeerId) -> bool {
        self.limits.trusted.contains(id) || self.limits.unconditional.contains(id)
    }

    /// Answers those that wait for a dial of this candidate, or for this identity.
    pub(super) fn answer(&mut self, candidate: &Candidate, answer: &Result<Peer, ConnectError>) {
        for waiting in self.asking.remove(&dial::key(candidate)).into_iter().flatten() {
            let _ = waiting.send(answer.clone());
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
