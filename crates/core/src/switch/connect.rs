//! From a socket to a session: accept and dial tasks, the sniffing listener, and the questions they
//! ask the Switch's task.

use super::actor::{Admission, Command, Proven, Ticket};
use crate::BoxFuture;
use crate::candidate::Candidate;
use crate::env::Env;
use crate::event::Event;
use crate::id::{Direction, PeerId, WireName};
use crate::net::{Connection, Listener, connect_any};
use crate::reason::Reason;
use crate::session::tap::Tap;
use crate::text::printable;
use crate::wire::{Established, Gate, HandshakeError, Offer, Sniff, Stage, Upgrade, Wire};
use bytes::BytesMut;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::Instant;

/// How long a dial may take to connect (`go-ethereum p2p/server.go`, defaultDialTimeout).
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// How long an initiator may take to send its first bytes.
const FIRST_BYTES_LIMIT: Duration = Duration::from_secs(5);
/// How long a port with several wires stays silent before it offers the wire whose listener speaks first.
const SPEAK_FIRST_AFTER: Duration = Duration::from_millis(400);
/// Bound over all steps of a handshake, whatever the wire's own bounds are.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(30);
/// Addresses of one host that are tried.
const MAX_ADDRS: usize = 16;
/// Pause after the system refused to accept (`go-ethereum p2p/server.go`: 200 ms).
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What every connection task shares.
pub(crate) struct Context {
    pub(crate) env: Env,
    pub(crate) wires: BTreeMap<WireName, Arc<dyn Wire>>,
    pub(crate) offers: BTreeMap<WireName, Arc<Offer>>,
    pub(crate) commands: mpsc::WeakSender<Command>,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) listening: Vec<(SocketAddr, Vec<WireName>)>,
    pub(crate) tap: Option<Arc<dyn Tap>>,
}

impl Context {
    /// Asks the Switch's task a question; `None` when it is gone.
    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.commands.upgrade()?.send(question(reply)).await.ok()?;
        answer.await.ok()
    }

    pub(crate) fn emit(&self, event: Event) {
        let _ = self.events.send(event);
    }

    fn upgrade(
        self: &Arc<Self>,
        wire: WireName,
        remote: SocketAddr,
        candidate: Option<Candidate>,
    ) -> Upgrade {
        Upgrade {
            env: self.env.clone(),
            offer: self.offers.get(wire).cloned().unwrap_or_default(),
            gate: Arc::new(SwitchGate { context: Arc::clone(self), remote, candidate }),
            listen: self.listening.iter().find(|(_, wires)| wires.contains(&wire)).map(|(addr, _)| *addr),
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
}

/// The second checkpoint, for one connection.
struct SwitchGate {
    context: Arc<Context>,
    remote: SocketAddr,
    candidate: Option<Candidate>,
}

impl Gate for SwitchGate {
    fn identity(&self, id: PeerId, direction: Direction) -> BoxFuture<'_, Result<(), Reason>> {
        Box::pin(async move {
            let who = Proven { id, direction, remote: self.remote, candidate: self.candidate.clone() };
            let asked = self.context.ask(|reply| Command::Identity { who, reply }).await;
            asked.unwrap_or(Err(Reason::Quitting))
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
    let remote = connection.remote;
    let mut wire_name = None;
    let handshake = async {
        let (wire, connection) = choose(connection, &wires).await?;
        wire_name = Some(wire.name());
        wire.accept(connection, context.upgrade(wire.name(), remote, None)).await
    };
    let stopped = ticket.cancelled();
    let result = tokio::select! {
        biased;
        result = tokio::time::timeout(HANDSHAKE_LIMIT, handshake) => result,
        () = stopped => return,
    };
    match result.unwrap_or(Err(HandshakeError::Timeout(Stage::Protocol))) {
        Ok(session) => {
            let _ = admit(&context, session, Direction::Inbound, remote, None, ticket).await;
        }
        Err(HandshakeError::Probed(id)) => context.emit(Event::Probed { remote, id }),
        Err(error) => context.failed(remote, Direction::Inbound, wire_name, &error),
    }
}

/// Finds out which wire the initiator speaks.
async fn choose(
    mut connection: Connection,
    wires: &[Arc<dyn Wire>],
) -> Result<(&Arc<dyn Wire>, Connection), HandshakeError> {
    if let [only] = wires {
        return Ok((only, connection));
    }
    let mut first = BytesMut::with_capacity(16);
    let talker = wires.iter().find(|w| w.listener_speaks_first());
    let patience = if talker.is_some() { SPEAK_FIRST_AFTER } else { FIRST_BYTES_LIMIT };
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
        Err(_) => talker.ok_or(HandshakeError::Timeout(Stage::Connect))?,
    };
    Ok((wire, connection.unread(first)))
}

/// Why a dial did not lead to a session.
pub(crate) struct Failure {
    pub(crate) reason: Reason,
    pub(crate) detail: String,
    /// It never will: by our own judgement it is ourselves.
    pub(crate) hopeless: bool,
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

/// Resolves a candidate's host and connects to the first of its permitted addresses that answers.
async fn connect(context: &Context, candidate: &Candidate) -> Result<Connection, HandshakeError> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::TimedOut => HandshakeError::Timeout(Stage::Connect),
        _ => HandshakeError::Io { stage: Stage::Connect, error },
    };
    let (net, deadline) = (&**context.env.net(), Instant::now() + CONNECT_LIMIT);
    let found = tokio::time::timeout_at(deadline, net.resolve(&candidate.host, candidate.port)).await;
    let mut addrs = found.map_err(|_| HandshakeError::Timeout(Stage::Connect))?.map_err(failed)?;
    let any = !addrs.is_empty();
    addrs.truncate(MAX_ADDRS);
    // A denied address is not even connected to.
    let addrs = context.ask(|reply| Command::Permitted { addrs, reply }).await;
    let addrs = addrs.ok_or(HandshakeError::RefusedByUs(Reason::Quitting))?;
    if any && addrs.is_empty() {
        return Err(HandshakeError::RefusedByUs(Reason::AccessDenied));
    }
    connect_any(net, &addrs, deadline).await.map_err(failed)
}

async fn dial(context: Arc<Context>, candidate: Candidate, ticket: Ticket) -> Option<Failure> {
    let result = async {
        let Some(wire) = context.wires.get(candidate.wire) else {
            return Err(HandshakeError::Local("no such wire on this node".into()));
        };
        let connection = connect(&context, &candidate).await?;
        let remote = connection.remote;
        let upgrade = context.upgrade(candidate.wire, remote, Some(candidate.clone()));
        let handshake = wire.dial(connection, candidate.clone(), upgrade);
        let session = tokio::time::timeout(HANDSHAKE_LIMIT, handshake).await;
        let session =
            session.unwrap_or(Err(HandshakeError::Timeout(Stage::Protocol))).inspect_err(|error| {
                context.failed(remote, Direction::Outbound, Some(candidate.wire), error);
            })?;
        Ok((session, remote))
    };
    let error = match result.await {
        Ok((session, remote)) => {
            let admitted = admit(&context, session, Direction::Outbound, remote, Some(candidate), ticket);
            HandshakeError::RefusedByUs(admitted.await.err()?)
        }
        Err(error) => error,
    };
    let hopeless = matches!(error, HandshakeError::RefusedByUs(Reason::SelfConnection));
    Some(Failure { reason: error.reason(), detail: printable(&error.to_string()), hopeless })
}

/// The third checkpoint; a refused session gets its goodbye.
async fn admit(
    context: &Context,
    session: Established,
    direction: Direction,
    remote: SocketAddr,
    candidate: Option<Candidate>,
    ticket: Ticket,
) -> Result<(), Reason> {
    let admission = Box::new(Admission { session, direction, remote, candidate, ticket });
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
