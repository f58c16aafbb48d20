//! From a socket to a session: accept and dial tasks, the sniffing listener, and the questions they
//! ask the Switch's task.

use super::access::is_lan;
use super::actor::{Admission, Command, Proven, Ticket};
use super::dial::Miss;
use super::filter::{self, Filter, Newcomer};
use super::peer::{By, Peer};
use super::pending::{Number, Pending};
use super::source::{Resolver, Wake};
use crate::BoxFuture;
use crate::candidate::{Candidate, Provenance};
use crate::env::Env;
use crate::event::{Event, Publisher};
use crate::id::{Direction, PeerId, WireName};
use crate::net::{Connection, Datagrams, Listener, connect_any};
use crate::preset::{HandshakeRules, Preset};
use crate::reason::Reason;
use crate::session::ledger::Ledger;
use crate::session::tap::Tap;
use crate::text::printable;
use crate::wire::{Established, Fault, Gate, HandshakeError, Offer, Sniff, Stage, Upgrade, Wire};
use bytes::BytesMut;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// No handshake is given up earlier for want of an identity.
const LEAST_IDENTITY: Duration = Duration::from_secs(5);
/// Addresses of one host that are tried.
const MAX_ADDRS: usize = 16;
/// Pause after the system refused to accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Why [`crate::Switch::connect`] gives no peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address cannot be read.
    #[error("{0}")]
    Address(String),
    /// The peer refused us and said why.
    #[error("refused by the peer: {reason}{}", .words.as_ref().map_or_else(String::new, |words| format!(" ({words})")))]
    RefusedByThem {
        /// What it gave as its reason.
        reason: Reason,
        /// Its own words, escaped, where it had any.
        words: Option<String>,
    },
    /// Our own rules refused.
    #[error("refused by us: {0}")]
    RefusedByUs(Reason),
    /// Another identity answered than the one dialled.
    #[error("wrong identity: {0}")]
    WrongIdentity(String),
    /// The peer broke a rule, or is of another network.
    #[error("{reason}: {detail}")]
    AtFault {
        /// Which.
        reason: Reason,
        /// The error's words, escaped.
        detail: String,
    },
    /// A step took too long.
    #[error("the {} handshake timed out", .0.as_str())]
    TimedOut(Stage),
    /// The peer closed without a word.
    #[error("the peer closed the connection in the {} handshake", .0.as_str())]
    Closed(Stage),
    /// The connection could not be made, or broke.
    #[error("{0}")]
    Network(String),
    /// The candidate has no address, and nobody could find one.
    #[error("no address of this peer is known")]
    NoAddress,
    /// A fault of ours.
    #[error("{0}")]
    Local(String),
    /// The Switch stopped.
    #[error("the switch stopped")]
    Stopped,
}

impl From<&HandshakeError> for ConnectError {
    fn from(error: &HandshakeError) -> Self {
        let detail = || printable(&error.to_string());
        match error {
            HandshakeError::Peer { fault, .. } if fault.reason == Reason::WrongIdentity => {
                Self::WrongIdentity(printable(&fault.detail.to_string()))
            }
            HandshakeError::Peer { fault, .. } => {
                Self::AtFault { reason: fault.reason.clone(), detail: printable(&fault.detail.to_string()) }
            }
            HandshakeError::RefusedByPeer { reason, words } => {
                Self::RefusedByThem { reason: reason.clone(), words: words.clone() }
            }
            HandshakeError::RefusedByUs(Reason::WrongIdentity) => Self::WrongIdentity(detail()),
            HandshakeError::RefusedByUs(reason) => Self::RefusedByUs(reason.clone()),
            HandshakeError::Timeout(stage) => Self::TimedOut(*stage),
            HandshakeError::Closed(stage) => Self::Closed(*stage),
            HandshakeError::Io { .. } => Self::Network(detail()),
            HandshakeError::Probed(_) | HandshakeError::Local(_) => Self::Local(detail()),
        }
    }
}

/// What every connection task shares.
pub(crate) struct Context {
    pub(crate) env: Env,
    pub(crate) wires: BTreeMap<WireName, Arc<dyn Wire>>,
    pub(crate) offers: BTreeMap<WireName, Arc<Offer>>,
    pub(crate) attributes: BTreeMap<WireName, Vec<(&'static str, Vec<u8>)>>,
    pub(crate) commands: mpsc::WeakSender<Command>,
    pub(crate) events: Arc<Publisher>,
    pub(crate) listening: Vec<(SocketAddr, Vec<WireName>)>,
    /// Datagram sockets that share a listener's number, by the listener, until a service takes them.
    pub(crate) beside: Mutex<BTreeMap<SocketAddr, Arc<dyn Datagrams>>>,
    pub(crate) tap: Option<Arc<dyn Tap>>,
    pub(crate) presets: BTreeMap<WireName, Preset>,
    pub(crate) resolvers: Vec<Arc<dyn Resolver>>,
    pub(crate) filters: Vec<Arc<dyn Filter>>,
    pub(crate) pending: Mutex<Pending>,
    pub(crate) wake: Wake,
    pub(crate) ledger: Arc<Ledger>,
}

impl Context {
    /// The rules of a wire.
    pub(crate) fn preset(&self, wire: WireName) -> Preset {
        self.presets.get(wire).cloned().unwrap_or_default()
    }

    /// Gets a peer, or dials it.
    pub(crate) async fn connect(&self, candidate: Candidate) -> Result<Peer, ConnectError> {
        let asked = self.ask(|reply| Command::Connect(Box::new(candidate), reply)).await;
        asked.unwrap_or(Err(ConnectError::Stopped))
    }

    /// Tells the Switch's task something.
    pub(crate) async fn tell(&self, command: Command) {
        if let Some(commands) = self.commands.upgrade() {
            let _ = commands.send(command).await;
        }
    }

    /// Asks the Switch's task a question; `None` when it is gone.
    pub(crate) async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.commands.upgrade()?.send(question(reply)).await.ok()?;
        answer.await.ok()
    }

    pub(crate) fn emit(&self, event: Event) {
        self.events.emit(&event);
    }

    /// What the program's filters say; a no to whoever dialled us is told here.
    async fn filtered(
        &self,
        remote: SocketAddr,
        direction: Direction,
        newcomer: Option<Newcomer>,
    ) -> Result<(), Reason> {
        let answer = filter::all(&self.filters, |filter| match &newcomer {
            Some(newcomer) => filter.peer(newcomer),
            None => filter.connection(remote, direction),
        });
        let answer = answer.await;
        if let (Err(reason), Direction::Inbound) = (&answer, direction) {
            let id = newcomer.map(|newcomer| newcomer.id);
            self.emit(Event::Refused { remote, direction, id, reason: reason.clone() });
        }
        answer
    }

    fn upgrade(
        self: &Arc<Self>,
        wire: WireName,
        Ends { remote, local }: Ends,
        candidate: Option<Candidate>,
        pending: Option<Number>,
        proven: &Arc<OnceLock<Instant>>,
    ) -> Upgrade {
        let proven = Arc::clone(proven);
        let ours = self.listening.iter().find(|(_, wires)| wires.contains(&wire));
        Upgrade {
            env: self.env.clone(),
            offer: self.offers.get(wire).cloned().unwrap_or_default(),
            gate: Arc::new(SwitchGate { context: Arc::clone(self), remote, candidate, pending, proven }),
            listen: ours.map(|(addr, _)| reachable(*addr, local, remote)),
        }
    }

    fn failed(
        &self,
        remote: SocketAddr,
        direction: Direction,
        wire: Option<WireName>,
        error: &HandshakeError,
    ) {
        let reason = error.reason();
        let detail = printable(&error.to_string());
        tracing::debug!(target: "switchboard::switch", %remote, direction = direction.as_str(), %detail, "handshake failed");
        if direction == Direction::Outbound || matches!(error, HandshakeError::RefusedByUs(_)) {
            // A dial is told as DialFailed; a refusal as Refused, by the checkpoint that refused.
            return;
        }
        self.emit(Event::HandshakeFailed { remote, direction, wire, reason, detail });
    }

    /// Counts the stages of a handshake that led to a session.
    fn stages(&self, wire: WireName, direction: Direction, since: Instant, proven: &OnceLock<Instant>) {
        let (now, tally) = (Instant::now(), &self.events.tally);
        let proven = proven.get().copied().unwrap_or(now);
        tally.stage(wire, direction, Stage::Secure, proven.saturating_duration_since(since));
        tally.stage(wire, direction, Stage::Protocol, now.saturating_duration_since(proven));
    }

    /// Misbehaviour in a handshake, on an address that may be scored.
    async fn judge(&self, remote: SocketAddr, error: &HandshakeError) {
        if let HandshakeError::Peer { fault: Fault { reason: Reason::Breach(rule), .. }, .. } = error {
            self.tell(Command::Breach { id: None, ip: Some(remote.ip()), rule }).await;
        }
    }
}

/// The second checkpoint, for one connection.
struct SwitchGate {
    context: Arc<Context>,
    remote: SocketAddr,
    candidate: Option<Candidate>,
    pending: Option<Number>,
    /// When the identity was proven.
    proven: Arc<OnceLock<Instant>>,
}

impl Gate for SwitchGate {
    fn identity(&self, id: PeerId, direction: Direction) -> BoxFuture<'_, Result<(), Reason>> {
        self.identity_of(id, id, direction)
    }

    fn identity_of(
        &self,
        holder: PeerId,
        id: PeerId,
        direction: Direction,
    ) -> BoxFuture<'_, Result<(), Reason>> {
        Box::pin(async move {
            let _ = self.proven.set(Instant::now());
            let who =
                Proven { id, holder, direction, remote: self.remote, candidate: self.candidate.clone() };
            let asked = self.context.ask(|reply| Command::Identity { who, reply }).await;
            let verdict = asked.unwrap_or(Err(Reason::Quitting));
            if let (Ok(()), Some(number)) = (&verdict, self.pending) {
                self.context.pending.lock().proven(number, id);
            }
            verdict
        })
    }
}

/// Accepts connections until aborted.
pub(crate) async fn accept_loop(
    context: Arc<Context>,
    listener: Arc<dyn Listener>,
    wires: Vec<Arc<dyn Wire>>,
) {
    let wires: Arc<[Arc<dyn Wire>]> = wires.into();
    let (listening, mut told) = (listener.local_addr(), false);
    loop {
        let connection = match listener.accept().await {
            Ok(connection) => connection,
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(target: "switchboard::switch", %listening, %error, "cannot accept connections: trying again");
                    context.emit(Event::AcceptFailed { listening, detail: printable(&error.to_string()) });
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        told = false;
        let wires = Arc::clone(&wires);
        // One at a time: a flood waits in the system's queue, not in ours.
        if context.ask(|reply| Command::Accepted { connection, wires, reply }).await.is_none() {
            return;
        }
    }
}

/// Takes an accepted connection through its handshake to admission.
pub(crate) async fn inbound(
    context: Arc<Context>,
    connection: Connection,
    wires: Arc<[Arc<dyn Wire>]>,
    ticket: Ticket,
) {
    let (remote, local) = (connection.remote, connection.local);
    let (accepted, proven) = (Instant::now(), Arc::default());
    let rules = |wire: &Arc<dyn Wire>| context.presets.get(wire.name()).map(|preset| &preset.handshake);
    // Until the wire is known, the longest of those served here.
    let longest = |pick: fn(&HandshakeRules) -> Duration| wires.iter().filter_map(rules).map(pick).max();
    let whole = longest(|rules| rules.whole_within).unwrap_or_default();
    let identity = longest(|rules| rules.identity_within).unwrap_or_default().max(LEAST_IDENTITY);
    // The wire whose listener speaks first says how long it waits for others to speak.
    let talker = wires.iter().find(|wire| wire.listener_speaks_first()).and_then(rules);
    let first_bytes = talker.map(|rules| rules.first_bytes_within);
    let first_bytes = first_bytes.or(longest(|rules| rules.first_bytes_within)).unwrap_or_default();
    let (identity, whole) = (accepted + identity.min(whole), accepted + whole);
    let mut wire_name = None;
    let handshake = async {
        let allowed = context.filtered(remote, Direction::Inbound, None).await;
        allowed.map_err(HandshakeError::RefusedByUs)?;
        let (wire, connection) = choose(connection, &wires, first_bytes).await?;
        wire_name = Some(wire.name());
        if wires.len() > 1 {
            let wire = wire.name();
            let asked = context.ask(|reply| Command::Throttle { wire, remote, reply }).await;
            asked.unwrap_or(Err(Reason::Quitting)).map_err(HandshakeError::RefusedByUs)?;
        }
        let ends = Ends { remote, local };
        wire.accept(connection, context.upgrade(wire.name(), ends, None, ticket.number(), &proven)).await
    };
    let unproven = async {
        tokio::time::sleep_until(identity).await;
        if ticket.number().is_none_or(|number| context.pending.lock().is_proven(number)) {
            tokio::time::sleep_until(whole).await;
            return Stage::Protocol;
        }
        Stage::Secure
    };
    let (stopped, evicted) = (ticket.cancelled(), ticket.evicted());
    let result = tokio::select! {
        biased;
        result = handshake => result,
        stage = unproven => Err(HandshakeError::Timeout(stage)),
        () = evicted => Err(HandshakeError::Timeout(Stage::Secure)),
        () = stopped => return,
    };
    match result {
        Ok(session) => {
            context.stages(session.peer.wire(), Direction::Inbound, accepted, &proven);
            let from = Ends { remote, local };
            let _ = admit(&context, session, Direction::Inbound, from, None, ticket).await;
        }
        Err(HandshakeError::Probed(id)) => context.emit(Event::Probed { remote, id }),
        Err(error) => {
            context.failed(remote, Direction::Inbound, wire_name, &error);
            context.judge(remote, &error).await;
        }
    }
}

/// Finds out which wire the initiator speaks.
async fn choose(
    mut connection: Connection,
    wires: &[Arc<dyn Wire>],
    patience: Duration,
) -> Result<(&Arc<dyn Wire>, Connection), HandshakeError> {
    if let [only] = wires {
        return Ok((only, connection));
    }
    let mut first = BytesMut::with_capacity(16);
    let talker = wires.iter().find(|w| w.listener_speaks_first());
    let reading = async {
        loop {
            let n = connection
                .reader
                .read_buf(&mut first)
                .await
                .map_err(|e| HandshakeError::io(Stage::Connect, e))?;
            if n == 0 {
                return Err(HandshakeError::Closed(Stage::Connect));
            }
            let mut undecided = false;
            for wire in wires {
                match wire.sniff(&first) {
                    Sniff::Yes => return Ok(wire),
                    Sniff::More => undecided = true,
                    Sniff::No => {}
                }
            }
            if !undecided {
                let detail = "the first bytes are of no wire served here";
                return Err(HandshakeError::breach(Stage::Connect, "unknown wire", detail));
            }
        }
    };
    let wire = match tokio::time::timeout(patience, reading).await {
        Ok(chosen) => chosen?,
        // Whoever has said the beginning of another wire's first message is late, and not the silent peer we speak to.
        Err(_) => talker
            .filter(|wire| first.is_empty() || wire.sniff(&first) != Sniff::No)
            .ok_or(HandshakeError::Timeout(Stage::Connect))?,
    };
    Ok((wire, connection.unread(first)))
}

/// Where a peer may dial us: a node that listens on every address is reached at the one this connection has. From
/// outside our network a local address is of no use, so the peer has to go by where it sees us.
fn reachable(listen: SocketAddr, local: SocketAddr, remote: SocketAddr) -> SocketAddr {
    let (ip, theirs) = (local.ip().to_canonical(), remote.ip().to_canonical());
    let useful = !is_lan(ip) || is_lan(theirs);
    if listen.ip().is_unspecified() && !ip.is_unspecified() && useful {
        return SocketAddr::new(ip, listen.port());
    }
    listen
}

/// The two ends of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends {
    pub(crate) remote: SocketAddr,
    pub(crate) local: SocketAddr,
}

/// Why a dial did not lead to a session.
pub(crate) struct Failure {
    pub(crate) error: ConnectError,
    pub(crate) reason: Reason,
    pub(crate) stage: Stage,
    pub(crate) by: By,
    pub(crate) detail: String,
    pub(crate) miss: Miss,
    /// Where it went wrong, if the fault is theirs.
    pub(crate) breach: Option<(IpAddr, &'static str)>,
}

impl Failure {
    pub(crate) fn new(error: &HandshakeError) -> Self {
        let by = match error {
            HandshakeError::RefusedByUs(_) | HandshakeError::Local(_) | HandshakeError::Timeout(_) => By::Us,
            HandshakeError::Io { .. } => By::Network,
            _ => By::Peer,
        };
        let miss = match error {
            HandshakeError::RefusedByUs(Reason::SelfConnection) => Miss::Hopeless,
            _ => Miss::Again,
        };
        let (reason, stage) = (error.reason(), error.stage());
        let detail = printable(&error.to_string());
        Self { error: error.into(), reason, stage, by, detail, miss, breach: None }
    }

    fn no_address() -> Self {
        let (error, reason, stage) = (ConnectError::NoAddress, Reason::NetworkError, Stage::Connect);
        let detail = error.to_string();
        Self { error, reason, stage, by: By::Network, detail, miss: Miss::NoAddress, breach: None }
    }
}

/// Dials one candidate; `None` when it became a session, or the Switch stopped.
pub(crate) async fn outbound(context: Arc<Context>, candidate: Candidate, ticket: Ticket) -> Option<Failure> {
    let stopped = ticket.cancelled();
    tokio::select! {
        biased;
        () = stopped => None,
        failure = dial(Arc::clone(&context), candidate, ticket) => failure,
    }
}

/// Connects to the first permitted address of a candidate that answers. Gives the candidate as it was reached: its
/// first address is the one that answered.
async fn connect(
    context: &Context,
    candidate: &Candidate,
    deadline: Instant,
) -> Result<(Connection, Candidate), HandshakeError> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::TimedOut => HandshakeError::Timeout(Stage::Connect),
        _ => HandshakeError::Io { stage: Stage::Connect, error },
    };
    let net = &**context.env.net();
    let mut last = HandshakeError::Timeout(Stage::Connect);
    let left = candidate.addresses().count();
    for (tried, (host, port)) in candidate.addresses().enumerate() {
        // An even share of the time for each address, so that one that swallows packets does not hide the others.
        let now = Instant::now();
        let share = u32::try_from(left - tried).unwrap_or(u32::MAX);
        let until = now + deadline.saturating_duration_since(now) / share;
        let found = tokio::time::timeout_at(until, net.resolve(host, port)).await;
        let mut addrs = match found.map_err(|_| HandshakeError::Timeout(Stage::Connect)) {
            Ok(Ok(addrs)) => addrs,
            Ok(Err(error)) => {
                last = failed(error);
                continue;
            }
            Err(timeout) => {
                last = timeout;
                continue;
            }
        };
        let any = !addrs.is_empty();
        addrs.truncate(MAX_ADDRS);
        // A denied address is not even connected to.
        let addrs = context.ask(|reply| Command::Permitted { addrs, reply }).await;
        let addrs = addrs.ok_or(HandshakeError::RefusedByUs(Reason::Quitting))?;
        if any && addrs.is_empty() {
            last = HandshakeError::RefusedByUs(Reason::AccessDenied);
            continue;
        }
        match connect_any(net, &addrs, until).await {
            Ok(connection) => {
                let mut reached = candidate.clone();
                (reached.host, reached.port) = (host.to_owned(), port);
                return Ok((connection, reached));
            }
            Err(error) => last = failed(error),
        }
    }
    Err(last)
}

/// Asks whoever knows identities of this wire for the addresses of one.
async fn resolve(context: &Context, candidate: &Candidate, deadline: Instant) -> Option<Candidate> {
    let resolvers = context.resolvers.iter().filter(|resolver| resolver.wire() == candidate.wire);
    for resolver in resolvers {
        let found = tokio::time::timeout_at(deadline, resolver.resolve(candidate)).await.ok().flatten();
        let fits = |found: &Candidate| found.wire == candidate.wire && found.id == candidate.id;
        if let Some(mut found) = found.filter(|found| fits(found) && found.addresses().next().is_some()) {
            found.provenance = candidate.provenance;
            return Some(found);
        }
    }
    None
}

async fn dial(context: Arc<Context>, candidate: Candidate, ticket: Ticket) -> Option<Failure> {
    let preset = context.preset(candidate.wire);
    let within = preset.dial.connect_within;
    let mut target = candidate.clone();
    if target.addresses().next().is_none() {
        match resolve(&context, &candidate, Instant::now() + within).await {
            Some(found) => target = found,
            None => return Some(Failure::no_address()),
        }
    }
    let mut reached = None;
    let result = async {
        let Some(wire) = context.wires.get(candidate.wire) else {
            return Err(HandshakeError::Local("no such wire on this node".into()));
        };
        let began = Instant::now();
        let mut connected = connect(&context, &target, Instant::now() + within).await;
        if connected.is_err() && candidate.provenance == Provenance::Static && candidate.id.is_some() {
            // It may have moved.
            let found = resolve(&context, &candidate, Instant::now() + within).await;
            if let Some(found) = found.filter(|found| !found.addresses().eq(target.addresses())) {
                connected = connect(&context, &found, Instant::now() + within).await;
            }
        }
        let (connection, whom) = connected?;
        let ends = Ends { remote: connection.remote, local: connection.local };
        reached = Some(ends.remote.ip());
        let allowed = context.filtered(ends.remote, Direction::Outbound, None).await;
        allowed.map_err(HandshakeError::RefusedByUs)?;
        let (connected, proven) = (Instant::now(), Arc::default());
        let took = connected.saturating_duration_since(began);
        let upgrade = context.upgrade(candidate.wire, ends, Some(candidate.clone()), None, &proven);
        let handshake = wire.dial(connection, whom, upgrade);
        let session = tokio::time::timeout(preset.handshake.whole_within, handshake).await;
        let session =
            session.unwrap_or(Err(HandshakeError::Timeout(Stage::Protocol))).inspect_err(|error| {
                context.failed(ends.remote, Direction::Outbound, Some(candidate.wire), error);
            })?;
        context.events.tally.stage(candidate.wire, Direction::Outbound, Stage::Connect, took);
        context.stages(candidate.wire, Direction::Outbound, connected, &proven);
        Ok((session, ends))
    };
    let error = match result.await {
        Ok((session, ends)) => {
            let admitted = admit(&context, session, Direction::Outbound, ends, Some(candidate), ticket);
            HandshakeError::RefusedByUs(admitted.await.err()?)
        }
        Err(error) => error,
    };
    let mut failure = Failure::new(&error);
    if let (HandshakeError::Peer { fault: Fault { reason: Reason::Breach(rule), .. }, .. }, Some(ip)) =
        (&error, reached)
    {
        failure.breach = Some((ip, rule));
    }
    Some(failure)
}

/// The third checkpoint; a refused session gets its goodbye.
async fn admit(
    context: &Context,
    session: Established,
    direction: Direction,
    ends: Ends,
    candidate: Option<Candidate>,
    ticket: Ticket,
) -> Result<(), Reason> {
    if !context.filters.is_empty() {
        let (id, remote, info) = (session.peer, ends.remote, session.info.clone());
        let newcomer = Newcomer { id, direction, remote, info };
        if let Err(reason) = context.filtered(remote, direction, Some(newcomer)).await {
            session.refuse(&reason).await;
            return Err(reason);
        }
    }
    let admission = Box::new(Admission { session, direction, ends, candidate, ticket });
    let answer = context.ask(|reply| Command::Admit { admission, reply }).await;
    match answer {
        Some(Ok(())) => Ok(()),
        Some(Err((reason, admission))) => {
            admission.session.refuse(&reason).await;
            Err(reason)
        }
        None => Err(Reason::Quitting),
    }
}

#[cfg(test)]
mod tests {
    use super::reachable;

    #[test]
    fn an_unspecified_address_becomes_that_of_the_connection() {
        for (listen, local, remote, told) in [
            ("0.0.0.0:1", "203.0.113.7:9", "198.51.100.1:5", "203.0.113.7:1"),
            ("0.0.0.0:1", "192.168.0.7:9", "192.168.0.8:5", "192.168.0.7:1"),
            ("[::]:1", "[2001:db8::7]:9", "[2001:db8::8]:5", "[2001:db8::7]:1"),
            ("0.0.0.0:1", "192.168.0.7:9", "198.51.100.1:5", "0.0.0.0:1"),
            ("10.0.0.1:1", "192.168.0.7:9", "192.168.0.8:5", "10.0.0.1:1"),
        ] {
            let addr = |text: &str| text.parse().unwrap();
            assert_eq!(
                reachable(addr(listen), addr(local), addr(remote)),
                addr(told),
                "{listen} {local} {remote}"
            );
        }
    }
}
