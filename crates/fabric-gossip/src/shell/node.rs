//! One node's gossip among real peers.
//!
//! ```text
//!   session ─▶ Handler ─▶ decoded, signatures checked ─▶ ┌ lock ┐ ─▶ actions: outboxes, tasks, channel jobs, events
//!   clock ─▶ one timer at the state's next deadline ───▶ │state │
//!   results of handshakes, pings, acks ────────────────▶ └──────┘
//! ```
//! Nothing is waited for under the lock: what takes time is a task, and its result comes back as an input.
//!
//! Limits: those of [`super::dials`]; [`MAX_TASKS`] handshakes, pings and acknowledged sends under way, more are answered as failed at
//! once; an outbox's own; a program that falls [`EVENTS`] events behind loses the oldest and is told how many.

use super::channel::{ChannelJob, ChannelSetup, JobInput};
use super::crypto::MspCrypto;
use super::dials::{Missed, Turns};
use super::events::ShellEvent;
use super::links::Links;
use super::outbox::{self, Out, Outbox, Unsent};
use super::precheck::precheck;
use crate::actions::{Action, Actions, CloseReason, Event};
use crate::config::Config;
use crate::host::JoinConfig;
use crate::membership::SelfInfo;
use crate::peer::{Gossip, Input, SendRefusal, Setup, StartFault};
use crate::signed::SignedMessage;
use crate::types::{Channel, Endpoint, Now, PkiId, Remote, StreamId};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, UNIX_EPOCH};
use switchboard::{BoxFuture, Env, ProtocolError, Reason};
use switchboard_fabric::Fabric;
use switchboard_fabric::gossip::{self, GossipPeer, Handler, Received};
use switchboard_fabric::message::Envelope;
use switchboard_fabric::policy::PeerPolicy;
use tokio::sync::{Notify, broadcast, watch};
use tokio::time::{Instant, sleep_until, timeout};

/// Handshakes, pings and acknowledged sends under way.
pub const MAX_TASKS: usize = 1_024;
/// Events kept for a program that is slow to take them.
pub const EVENTS: usize = 8_192;
/// The first and last contents that gossip takes: all but `conn` and `ack`.
const CONN: u32 = 14;
/// How long a node that stops waits for its last messages.
const LAST_WORDS: Duration = Duration::from_secs(6);
/// How long it waits for peers without a session: who left before us answers no dial, and the others are to be told goodbye.
const LAST_DIALS: Duration = Duration::from_millis(300);

struct State {
    gossip: Gossip,
    out: Actions,
    /// Until when the task that ticks sleeps; `None`: until it is woken.
    sleeps: Option<Duration>,
}

#[derive(Default)]
struct Streams {
    last: u64,
    by_stream: BTreeMap<StreamId, GossipPeer>,
    by_peer: BTreeMap<PkiId, BTreeSet<StreamId>>,
}

/// A task under way, counted until it is dropped, which a panic does, too.
struct Counted(Arc<Shell>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.tasks.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a node is busy with.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Load {
    /// Turns that nobody has: dials of our own organisation, of anybody, probes.
    pub free_turns: [usize; 3],
    /// Messages that wait, of peers for whom there are any.
    pub outboxes: BTreeMap<PkiId, usize>,
    /// Messages that were given up since the start.
    pub unsent: UnsentCounts,
}

/// Messages that could not be sent, by why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct UnsentCounts {
    /// Answers to peers whose session was over.
    pub unasked: u64,
    /// There was no turn to dial their receiver.
    pub busy: u64,
    /// Their receiver could not be dialled.
    pub absent: u64,
    /// Their receiver's session did not take them.
    pub stuck: u64,
}

/// Which stream a session is.
#[derive(Debug, Clone, Copy)]
struct Stream(StreamId);

/// One node's gossip: a [`Handler`] of the wire's protocol, and the tasks behind it.
pub struct Shell {
    me: Weak<Self>,
    env: Env,
    wire: Arc<Fabric>,
    crypto: Arc<MspCrypto>,
    epoch: Instant,
    links: OnceLock<Arc<dyn Links>>,
    state: Mutex<Option<State>>,
    started: watch::Sender<bool>,
    streams: RwLock<Streams>,
    /// A session began.
    pub(super) began: Notify,
    pub(super) outboxes: Mutex<BTreeMap<PkiId, Outbox>>,
    jobs: RwLock<BTreeMap<Channel, Arc<ChannelJob>>>,
    events: broadcast::Sender<ShellEvent>,
    tasks: AtomicUsize,
    /// Turns to dial.
    pub(super) turns: Turns,
    pub(super) overflow: AtomicU64,
    unsent: Mutex<UnsentCounts>,
    send_buffer: AtomicUsize,
    /// The state's next deadline may have changed.
    wake: Notify,
    stopping: watch::Sender<bool>,
}

impl std::fmt::Debug for Shell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shell")
    }
}

impl Shell {
    /// A node that waits for [`Shell::start`]. `crypto` has the keys of `wire`.
    #[must_use]
    pub fn new(env: Env, wire: Arc<Fabric>, crypto: Arc<MspCrypto>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            env,
            wire,
            crypto,
            epoch: Instant::now(),
            links: OnceLock::new(),
            state: Mutex::default(),
            started: watch::channel(false).0,
            streams: RwLock::default(),
            began: Notify::new(),
            outboxes: Mutex::default(),
            jobs: RwLock::default(),
            events: broadcast::channel(EVENTS).0,
            tasks: AtomicUsize::new(0),
            turns: Turns::default(),
            overflow: AtomicU64::new(0),
            unsent: Mutex::default(),
            send_buffer: AtomicUsize::new(0),
            wake: Notify::new(),
            stopping: watch::channel(false).0,
        })
    }

    /// The wire's protocol with this node behind it, to be registered with the Switch.
    #[must_use]
    pub fn protocol(self: &Arc<Self>) -> Arc<gossip::Gossip> {
        gossip::Gossip::new(vec![Arc::clone(self) as Arc<dyn Handler>])
    }

    /// Begins: sessions are made through `links`, and others reach us as `info` says. Messages that came before waited.
    ///
    /// # Errors
    /// [`StartFault`].
    pub fn start(
        self: &Arc<Self>,
        links: Arc<dyn Links>,
        config: Config,
        info: SelfInfo,
    ) -> Result<(), StartFault> {
        self.send_buffer.store(config.send_buff_size.max(1), Ordering::Relaxed);
        let setup = Setup {
            host: self.crypto.host(),
            config,
            identity: self.crypto.own_identity(),
            info,
            seed: self.env.random(),
        };
        let gossip = Gossip::new(setup, self.now())?;
        let _ = self.links.set(links);
        *self.state.lock() = Some(State { gossip, out: Actions::default(), sleeps: None });
        // Whoever connected before.
        let early: Vec<_> = self.streams.read().by_peer.keys().copied().collect();
        for id in early {
            self.authenticated(id);
        }
        self.started.send_replace(true);
        tokio::spawn(Arc::clone(self).run());
        Ok(())
    }

    /// What happens from now on.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<ShellEvent> {
        self.events.subscribe()
    }

    /// The host's keys and policies.
    #[must_use]
    pub fn crypto(&self) -> &Arc<MspCrypto> {
        &self.crypto
    }

    /// Messages dropped because too many waited for one peer.
    #[must_use]
    pub fn overflow(&self) -> u64 {
        self.overflow.load(Ordering::Relaxed)
    }

    /// What it is busy with.
    #[must_use]
    pub fn load(&self) -> Load {
        let waiting = self.outboxes.lock();
        let waiting = waiting.iter().filter(|(_, outbox)| !outbox.is_empty());
        let outboxes = waiting.map(|(id, outbox)| (*id, outbox.len())).collect();
        Load { free_turns: self.turns.free(), outboxes, unsent: *self.unsent.lock() }
    }

    /// The time as the state counts it.
    #[must_use]
    pub fn now(&self) -> Now {
        let wall = self.env.wall().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        Now { mono: self.epoch.elapsed(), wall: u64::try_from(wall).unwrap_or(u64::MAX) }
    }

    /// Looks at the state; `None` before the start. Must not take long.
    pub fn look<T>(&self, look: impl FnOnce(&Gossip) -> T) -> Option<T> {
        self.state.lock().as_ref().map(|state| look(&state.gossip))
    }

    /// Calls the state, then does what it asks for; `None` before the start.
    pub fn call<T>(&self, call: impl FnOnce(&mut Gossip, Now, &mut Actions) -> T) -> Option<T> {
        let mut guard = self.state.lock();
        let state = guard.as_mut()?;
        let now = self.now();
        let result = call(&mut state.gossip, now, &mut state.out);
        // Whatever the call made due.
        state.gossip.handle(Input::Tick, now, &mut state.out);
        self.perform(state);
        self.hurry(state, now);
        Some(result)
    }

    fn input(&self, input: Input) {
        let mut guard = self.state.lock();
        let Some(state) = guard.as_mut() else { return };
        let now = self.now();
        if state.gossip.handle(input, now, &mut state.out) {
            self.hurry(state, now);
        }
        self.perform(state);
    }

    /// Wakes the task that ticks where something is due before it would wake.
    fn hurry(&self, state: &State, now: Now) {
        let sooner = match (state.gossip.wake(now), state.sleeps) {
            (Some(due), Some(sleeps)) => due < sleeps,
            (due, None) => due.is_some(),
            (None, Some(_)) => false,
        };
        if sooner {
            self.wake.notify_one();
        }
    }

    /// Joins a channel, or takes its new configuration. With a setup, blocks are stored.
    ///
    /// # Errors
    /// [`SendRefusal`].
    pub fn join(
        self: &Arc<Self>,
        channel: &Channel,
        config: JoinConfig,
        setup: Option<ChannelSetup>,
    ) -> Result<(), SendRefusal> {
        let orgs = config.orgs.keys().map(|org| org.as_str().to_owned());
        self.crypto.known().policy().set_channel(channel.as_bytes(), orgs);
        if let Some(setup) = setup {
            self.crypto.set_verifier(channel, setup.verifier.clone());
            let job = ChannelJob::start(Arc::clone(self), channel.clone(), setup);
            self.jobs.write().insert(channel.clone(), job);
        }
        let height = self.jobs.read().get(channel).map(|job| job.height());
        let joined = self.call(|gossip, now, out| {
            gossip.join_channel(channel, config, now, out)?;
            if let Some(height) = height {
                gossip.update_ledger_height(channel, height);
            }
            Ok(())
        });
        joined.unwrap_or(Ok(()))
    }

    /// Leaves a channel; others are told.
    pub fn leave(&self, channel: &Channel) {
        self.call(|gossip, now, out| gossip.leave_channel(channel, now, out));
        self.jobs.write().remove(channel);
    }

    /// The job that keeps a channel's ledger, where it is kept.
    #[must_use]
    pub fn job(&self, channel: &Channel) -> Option<Arc<ChannelJob>> {
        self.jobs.read().get(channel).cloned()
    }

    /// The channels whose ledgers are kept, in order of their names.
    #[must_use]
    pub fn jobs(&self) -> Vec<(Channel, Arc<ChannelJob>)> {
        self.jobs.read().iter().map(|(channel, job)| (channel.clone(), Arc::clone(job))).collect()
    }

    /// Leaves all channels, waits (bounded) until that is sent, then stops. The Switch is to be stopped afterwards.
    pub async fn stop(&self) {
        if *self.stopping.borrow() {
            return;
        }
        let channels: Vec<Channel> =
            self.look(|gossip| gossip.channels().map(|(name, _)| name.clone()).collect()).unwrap_or_default();
        for channel in &channels {
            self.leave(channel);
        }
        let dialled = Instant::now() + LAST_DIALS;
        let said = async {
            while !self.has_said(&channels, Instant::now() < dialled) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let _ = timeout(LAST_WORDS, said).await;
        self.stopping.send_replace(true);
    }

    /// Whether the last StateInfo of each channel tells that we left, and nothing waits to be sent: to peers with a session, and with
    /// `dialling` to others, too.
    fn has_said(&self, channels: &[Channel], dialling: bool) -> bool {
        use switchboard_fabric::message::Content;
        let left = |message: &SignedMessage| match message.content() {
            Some(Content::StateInfo(info)) => info.properties.as_ref().is_some_and(|p| p.left_channel),
            _ => false,
        };
        let told = self.look(|gossip| {
            channels.iter().all(|channel| gossip.self_channel_info(channel).is_none_or(left))
                && gossip.gathers_nothing()
        });
        let full: Vec<PkiId> =
            self.outboxes.lock().iter().filter(|(_, outbox)| !outbox.is_empty()).map(|(id, _)| *id).collect();
        told.unwrap_or(true) && !full.iter().any(|id| dialling || self.live(id).is_some())
    }

    /// Resolves when the node stops.
    pub(super) async fn stopped(&self) {
        let _ = self.stopping.subscribe().wait_for(|stop| *stop).await;
    }

    pub(super) fn tell(&self, event: ShellEvent) {
        // Nobody listens: nobody wants to know.
        let _ = self.events.send(event);
    }

    pub(super) fn links(&self) -> Option<&Arc<dyn Links>> {
        self.links.get()
    }

    /// A moment of the state's time.
    pub(super) fn at(&self, mono: Duration) -> Instant {
        self.epoch + mono
    }

    pub(super) fn wire(&self) -> &Fabric {
        &self.wire
    }

    pub(super) fn env(&self) -> &Env {
        &self.env
    }

    /// The timer, and what the wire tells without a message.
    async fn run(self: Arc<Self>) {
        let mut changes = self.crypto.known().changes();
        loop {
            let at = self.state.lock().as_mut().and_then(|state| {
                state.sleeps = state.gossip.wake(self.now());
                state.sleeps
            });
            let at = at.map(|wake| self.at(wake));
            let timer = async {
                match at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.stopped() => return,
                () = timer => self.input(Input::Tick),
                () = self.wake.notified() => {}
                () = self.crypto.known().switch.notified() => {
                    for old in self.crypto.known().take_switched() {
                        self.input(Input::IdentitySwitch(old));
                    }
                }
                changed = changes.changed() => if changed.is_ok() {
                    self.call(|gossip, now, out| gossip.suspect_peers(|_, _| true, now, out));
                },
            }
        }
    }

    /// Takes the identity that a session proved; `false` when it is refused.
    fn authenticated(&self, id: PkiId) -> bool {
        let Some(known) = self.crypto.known().get(&id) else { return false };
        let identity = known.identity.serialized().clone();
        let taken = self.call(|gossip, now, _| gossip.authenticated(id, &identity, now).is_ok());
        taken.unwrap_or(true)
    }

    pub(super) fn live(&self, id: &PkiId) -> Option<GossipPeer> {
        let streams = self.streams.read();
        let newest = streams.by_peer.get(id)?.iter().rev();
        newest.filter_map(|stream| streams.by_stream.get(stream)).find(|s| !s.peer().is_over()).cloned()
    }

    pub(super) fn stream(&self, stream: StreamId) -> Option<GossipPeer> {
        self.streams.read().by_stream.get(&stream).filter(|s| !s.peer().is_over()).cloned()
    }

    /// A message could not be sent; `since` when that was tried.
    pub(super) fn unsent(&self, id: PkiId, why: Unsent, since: Duration) {
        {
            let mut counts = self.unsent.lock();
            *match why {
                Unsent::Unasked => &mut counts.unasked,
                Unsent::Busy => &mut counts.busy,
                Unsent::Absent => &mut counts.absent,
                Unsent::Stuck => &mut counts.stuck,
            } += 1;
        }
        self.overflow.fetch_add(u64::from(why == Unsent::Busy), Ordering::Relaxed);
        if matches!(why, Unsent::Unasked | Unsent::Busy) {
            return;
        }
        self.call(|gossip, now, out| {
            // Under the lock: what begins later is told to the state later.
            if why == Unsent::Absent && self.live(&id).is_some() {
                return;
            }
            if let Some(outbox) = self.outboxes.lock().get_mut(&id) {
                self.overflow.fetch_add(outbox.clear() as u64, Ordering::Relaxed);
            }
            gossip.handle(Input::PresumedDead { pki_id: id, since }, now, out);
        });
    }

    fn post(&self, id: PkiId, out: Out) {
        let mut outboxes = self.outboxes.lock();
        let fresh = !outboxes.contains_key(&id);
        let outbox = outboxes.entry(id).or_insert_with(|| Outbox::new(outbox::ledger(self.links())));
        if !outbox.push(out, self.send_buffer.load(Ordering::Relaxed)) {
            self.overflow.fetch_add(1, Ordering::Relaxed);
        }
        if fresh && let Some(me) = self.me.upgrade() {
            tokio::spawn(bounded(Arc::clone(&me), outbox::run(me, id, Arc::clone(&outbox.added))));
        }
    }

    /// Sends to a peer in the order of the calls.
    pub(super) fn send(&self, to: Remote, message: SignedMessage) {
        self.post(to.pki_id, Out { message, endpoint: to.endpoint, stream: None });
    }

    /// Answers on a stream.
    pub(super) fn respond(&self, stream: StreamId, to: PkiId, message: SignedMessage) {
        self.post(to, Out { message, endpoint: None, stream: Some(stream) });
    }

    /// Does what the state asks for. Called with the lock held, so that sends keep their order; nothing waits here.
    fn perform(&self, state: &mut State) {
        let actions: Vec<Action> = state.out.drain().collect();
        for action in actions {
            match action {
                Action::Send { to, message } => self.send(to, message),
                Action::Respond { stream, to, message } => self.respond(stream, to, message),
                Action::SendWithAck { ticket, to, message, min_ack, timeout } => {
                    let failed = Input::Acked { ticket, acks: 0, nacks: vec!["too busy".to_owned()] };
                    self.task(failed, move |shell| async move {
                        let (acks, nacks) = shell.send_acked(to, message, min_ack, timeout).await;
                        Input::Acked { ticket, acks, nacks }
                    });
                }
                Action::Handshake { ticket, endpoint } => {
                    let met = self.met(&endpoint, &state.gossip);
                    let failed = Input::Handshaken { ticket, result: Err("too busy".to_owned()) };
                    self.task(failed, move |shell| async move {
                        let result = shell.handshake(&endpoint, met).await;
                        Input::Handshaken { ticket, result }
                    });
                }
                Action::Ping { ticket, to } => {
                    self.task(Input::Ponged { ticket, answered: false }, move |shell| async move {
                        Input::Ponged { ticket, answered: shell.ping(to).await }
                    });
                }
                Action::Close { pki_id, reason } => self.close(pki_id, reason),
                Action::Tell(event) => self.told(event, &state.gossip),
            }
        }
    }

    /// Runs something that takes time and gives its result to the state; `failed` when too much is under way.
    fn task<F: Future<Output = Input> + Send + 'static>(
        &self,
        failed: Input,
        work: impl FnOnce(Arc<Self>) -> F + Send + 'static,
    ) {
        let Some(me) = self.me.upgrade() else { return };
        let busy = self.tasks.fetch_add(1, Ordering::Relaxed) >= MAX_TASKS;
        let counted = Counted(Arc::clone(&me));
        tokio::spawn(bounded(Arc::clone(&me), async move {
            let input = if busy { failed } else { work(Arc::clone(&me)).await };
            drop(counted);
            me.input(input);
        }));
    }

    fn close(&self, id: PkiId, reason: CloseReason) {
        if let Some(outbox) = self.outboxes.lock().get_mut(&id) {
            outbox.clear();
        }
        let reason = match reason {
            CloseReason::IdentityPurged => Reason::InvalidIdentity,
            CloseReason::Dead | CloseReason::NotDisclosed => Reason::Requested,
        };
        if let Some(links) = self.links() {
            links.disconnect(id, reason);
        }
    }

    /// Whom we have a session with at an endpoint already.
    fn met(&self, endpoint: &Endpoint, gossip: &Gossip) -> Option<PkiId> {
        let at = |member: &&crate::types::Member| {
            member.internal.as_ref() == Some(endpoint) || member.external.as_ref() == Some(endpoint)
        };
        let member = gossip.peers().find(at)?;
        self.live(&member.pki_id).map(|_| member.pki_id)
    }

    /// Learns who is at an endpoint. Whoever we have a session with there proved it already: a second connection may cost us the
    /// first (fabric gossip/comm/conn.go closes what it has when another comes).
    async fn handshake(&self, endpoint: &Endpoint, met: Option<PkiId>) -> Result<(PkiId, Bytes), String> {
        let proven = match met {
            Some(id) => id,
            None => self.probe(None, endpoint).await?,
        };
        let known = self.crypto.known().get(&proven).ok_or("its identity was forgotten")?;
        Ok((proven, known.identity.serialized().clone()))
    }

    /// Sends to some peers under fresh nonces and counts acknowledgements, until enough came or all have answered.
    async fn send_acked(
        self: Arc<Self>,
        to: Vec<Remote>,
        message: SignedMessage,
        min_ack: usize,
        limit: Duration,
    ) -> (usize, Vec<String>) {
        let mut tasks = tokio::task::JoinSet::new();
        for remote in to {
            let (shell, message) = (Arc::clone(&self), message.clone());
            tasks.spawn(async move { shell.acked(remote, &message, limit).await });
        }
        let (mut acks, mut nacks) = (0, Vec::new());
        while let Some(done) = tasks.join_next().await {
            match done {
                Ok(Ok(())) => acks += 1,
                Ok(Err(why)) => nacks.push(why.to_string()),
                Err(broken) => nacks.push(broken.to_string()),
            }
            if acks >= min_ack && min_ack > 0 {
                break;
            }
        }
        (acks, nacks)
    }

    /// Sends one message under a fresh nonce and waits for its acknowledgement.
    pub(super) async fn acked(
        &self,
        to: Remote,
        message: &SignedMessage,
        limit: Duration,
    ) -> Result<(), crate::privdata::Unacked> {
        use crate::privdata::Unacked;
        let mut fresh = message.message().clone();
        fresh.nonce = u64::from_be_bytes(self.env.random()).max(1);
        let (nonce, fresh) = (fresh.nonce, SignedMessage::unsigned(fresh));
        let content = outbox::content_of(fresh.message(), &fresh.envelope().payload);
        let missed = |missed| match missed {
            Missed::Absent => Unacked::NotSent("no session".to_owned()),
            Missed::Busy => Unacked::NotSent("too busy".to_owned()),
        };
        // Waiting for a turn has its own bound: it is not the peer that is slow.
        let way = self.way(to.pki_id, to.endpoint.as_ref()).await.map_err(missed)?;
        let sent = async {
            let session = self.take(to.pki_id, way).await.map_err(missed)?;
            session.send_with_ack(content, fresh.bytes(), nonce, limit).await.map_err(|error| match error {
                gossip::AckError::Refused(why) => Unacked::Refused(why),
                gossip::AckError::Timeout => Unacked::Timeout,
                other => Unacked::NotSent(other.to_string()),
            })
        };
        timeout(limit, sent).await.unwrap_or(Err(Unacked::Timeout))
    }

    /// Hands an event on to channel jobs and to the program.
    fn told(&self, event: Event, gossip: &Gossip) {
        let jobs = self.jobs.read();
        match &event {
            Event::Block { channel, from, payload } => {
                if let Some(job) = jobs.get(channel) {
                    job.give(JobInput::Gossiped { from: *from, payload: payload.clone() });
                }
            }
            Event::Deliver { channel, from, stream, message } => {
                if let Some(job) = jobs.get(channel) {
                    let (from, stream, message) = (*from, *stream, message.clone());
                    job.give(JobInput::Message { from, stream, message });
                }
                return;
            }
            Event::StateInfo { channel, pki_id, height, left, .. } => {
                if let Some(job) = jobs.get(channel) {
                    let gone = *left || gossip.member(pki_id).is_none();
                    job.give(if gone {
                        JobInput::Gone(*pki_id)
                    } else {
                        JobInput::Peer { pki_id: *pki_id, height: *height }
                    });
                }
            }
            Event::MemberAlive(member) => {
                for (channel, job) in jobs.iter() {
                    let views = gossip.peers_of_channel(channel);
                    if let Some(view) = views.iter().find(|view| view.pki_id == member.pki_id) {
                        job.give(JobInput::Peer { pki_id: view.pki_id, height: view.height });
                    }
                }
            }
            Event::MemberDead(member) => {
                jobs.values().for_each(|job| job.give(JobInput::Gone(member.pki_id)));
            }
            Event::MemberForgotten(id) | Event::IdentityPurged { pki_id: id, .. } => {
                jobs.values().for_each(|job| job.give(JobInput::Gone(*id)));
            }
            Event::Leader { channel, us, .. } => {
                if let Some(job) = jobs.get(channel) {
                    job.lead(*us);
                }
            }
            _ => {}
        }
        drop(jobs);
        self.tell(ShellEvent::Gossip(event));
    }

    fn ended(&self, stream: StreamId, id: PkiId) {
        let mut streams = self.streams.write();
        streams.by_stream.remove(&stream);
        if let Some(of) = streams.by_peer.get_mut(&id) {
            of.remove(&stream);
            if of.is_empty() {
                streams.by_peer.remove(&id);
            }
        }
    }

    async fn received(&self, with: &GossipPeer, received: Received<'_>) -> Result<(), ProtocolError> {
        let Some(from) = PkiId::parse(with.peer().id().as_bytes()) else { return Ok(()) };
        let Some(stream) = with.peer().get::<Stream>() else { return Ok(()) };
        let message = SignedMessage::decode(received.envelope.clone())
            .map_err(|_| ProtocolError::Breach("undecodable gossip message"))?;
        if !*self.started.borrow() {
            let _ = self.started.subscribe().wait_for(|started| *started).await;
        }
        let news = |envelopes: &[Envelope]| {
            let news = |gossip: &Gossip| envelopes.iter().filter(|e| gossip.is_news(e)).cloned().collect();
            self.look(news).unwrap_or_default()
        };
        precheck(&self.crypto, &message, self.now().wall, &news);
        self.input(Input::Received { from, stream: stream.0, message });
        Ok(())
    }
}

/// Runs a task until it is done or the node stops.
pub(super) async fn bounded(shell: Arc<Shell>, task: impl Future<Output = ()>) {
    tokio::select! {
        () = task => {}
        () = shell.stopped() => {}
    }
}

impl Handler for Shell {
    fn started(&self, with: &GossipPeer) {
        let (peer, Some(me)) = (with.peer(), self.me.upgrade()) else { return };
        let Some(id) = PkiId::parse(peer.id().as_bytes()) else { return };
        let stream = {
            let mut streams = self.streams.write();
            streams.last += 1;
            let stream = StreamId(streams.last);
            streams.by_stream.insert(stream, with.clone());
            streams.by_peer.entry(id).or_default().insert(stream);
            stream
        };
        peer.set(Stream(stream));
        if *self.started.borrow() && !self.authenticated(id) {
            peer.disconnect(Reason::InvalidIdentity);
        }
        self.began.notify_waiters();
        let peer = peer.clone();
        tokio::spawn(async move {
            let _ = peer.ended().await;
            me.ended(stream, id);
        });
    }

    fn wants(&self, content: u32, channel: &[u8]) -> bool {
        let _ = channel;
        content != CONN && content != gossip::ACK
    }

    fn handle<'a>(
        &'a self,
        with: &'a GossipPeer,
        received: Received<'a>,
    ) -> BoxFuture<'a, Result<(), ProtocolError>> {
        Box::pin(self.received(with, received))
    }
}
