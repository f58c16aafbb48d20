//! What is kept of one channel: blocks in order, their private data, and who is asked for what is missing.
//!
//! ```text
//!   gossiped, offered, messages ─▶ StateTransfer ─Commit─▶ PrivateData ─Commit─▶ ledger.append on a blocking thread
//!                                        ▲                                                   │
//!                                        └──────────────── Committed ─▶ Height ◀─────────────┘
//! ```
//! One task a channel owns both states; whatever waits for the disk is done on a blocking thread and comes back as an input.
//!
//! Limits: [`MAX_INPUTS`] inputs wait; more are dropped and counted, and asked for again by the protocols themselves.

use super::durations::{Durations, Times};
use super::events::{ShellEvent, StateSaid};
use super::node::{Shell, bounded};
use super::{private_source, source};
use crate::block::{Block, BlockFolder, Verifier};
use crate::config::Config;
use crate::ledger::{BlockStore, Commit, LedgerError, Slot};
use crate::privdata::{
    self, Collection, CollectionFault, Collections, PrivateData, PrivateSet, PushFault, PushId, Subject,
    Unacked,
};
use crate::signed::SignedMessage;
use crate::state::{self, StateTransfer};
use crate::types::{Channel, PkiId, StreamId};
use bytes::Bytes;
use rand::SeedableRng;
use rand_chacha::ChaCha12Rng;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use switchboard_fabric::message::{Content, Payload};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

/// Inputs that wait for the channel's task.
pub const MAX_INPUTS: usize = 4_096;
/// Bytes of messages that wait for the channel's task, but for one that is longer.
pub const MAX_INPUT_BYTES: usize = 128 << 20;

/// How a channel is kept.
#[derive(Clone)]
#[non_exhaustive]
pub struct ChannelSetup {
    /// Where its blocks lie.
    pub store: Arc<dyn BlockStore>,
    /// How blocks are judged.
    pub verifier: Verifier,
    /// Options of gossip; those of state transfer and private data are read.
    pub config: Config,
    /// Who we are to collection policies.
    pub own: Subject,
    /// The channel's collections.
    pub collections: Collections,
    /// Where blocks come from, if not from peers only.
    pub source: Option<BlockFolder>,
    /// Where private data to be pushed comes from, if not from the API only.
    pub private_source: Option<PathBuf>,
}

impl ChannelSetup {
    /// A channel whose blocks and private data come from peers only.
    #[must_use]
    pub fn new(
        store: Arc<dyn BlockStore>,
        verifier: Verifier,
        config: Config,
        own: Subject,
        collections: Collections,
    ) -> Self {
        Self { store, verifier, config, own, collections, source: None, private_source: None }
    }

    /// Changes some of it.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

/// Something for the channel's task.
#[derive(Debug)]
pub(super) enum JobInput {
    Peer { pki_id: PkiId, height: u64 },
    Gone(PkiId),
    Gossiped { from: PkiId, payload: Payload },
    Message { from: PkiId, stream: StreamId, message: SignedMessage },
    Offered(Block),
    Push { tx_id: String, sets: Vec<PrivateSet>, height: u64, reply: PushReply },
    Define { namespace: String, collections: Vec<Collection>, reply: DefineReply },
    Acked { ticket: u64, result: Result<(), Unacked> },
    Stored { told: Vec<(u64, [u8; 32])>, result: Result<(), LedgerError> },
    Took(Measure, Duration),
    StateServed { to: PkiId, stream: StreamId, message: Option<SignedMessage> },
    PrivateServed { to: PkiId, stream: StreamId, message: Option<SignedMessage> },
    Failed(LedgerError),
}

/// Which duration something counts as.
pub(super) type Measure = fn(&mut Durations) -> &mut Times;

/// Where the result of a push goes.
pub(super) type PushReply = oneshot::Sender<Result<Vec<usize>, PushFault>>;

/// Where the result of a definition goes.
pub(super) type DefineReply = oneshot::Sender<Result<(), CollectionFault>>;

impl JobInput {
    fn bytes(&self) -> usize {
        match self {
            Self::Gossiped { payload, .. } => payload.data.len(),
            Self::Message { message, .. } => message.size(),
            _ => 0,
        }
    }
}

/// What a channel's task did, for metrics: Fabric's `gossip_state_*`, `gossip_payload_buffer_size` and `gossip_privdata_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChannelFigures {
    /// The number of the block that is stored next.
    pub height: u64,
    /// The greatest height that a peer states.
    pub highest: u64,
    /// Blocks that wait for an earlier one.
    pub buffered: usize,
    /// How long what took.
    pub durations: Durations,
    /// What state transfer did.
    pub state: state::Figures,
    /// What private data did.
    pub private: privdata::Figures,
}

/// The handle of a channel's task; the task ends when the node stops or the channel is left.
pub struct ChannelJob {
    inputs: mpsc::Sender<JobInput>,
    waiting: Arc<AtomicU64>,
    dropped: AtomicU64,
    height: watch::Receiver<u64>,
    figures: watch::Receiver<ChannelFigures>,
    leads: AtomicBool,
    led: watch::Sender<bool>,
}

impl std::fmt::Debug for ChannelJob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ChannelJob(height {})", self.height())
    }
}

impl ChannelJob {
    pub(super) fn start(shell: Arc<Shell>, channel: Channel, setup: ChannelSetup) -> Arc<Self> {
        let (inputs, queue) = mpsc::channel(MAX_INPUTS);
        let (height, heights) = watch::channel(setup.store.height());
        let (figures, all_figures) = watch::channel(ChannelFigures::default());
        let waiting = Arc::new(AtomicU64::new(0));
        let leads = !setup.config.use_leader_election;
        let job = Arc::new(Self {
            inputs: inputs.clone(),
            waiting: Arc::clone(&waiting),
            dropped: AtomicU64::new(0),
            height: heights,
            figures: all_figures,
            leads: AtomicBool::new(leads),
            led: watch::channel(leads).0,
        });
        if let Some(folder) = setup.source.clone() {
            let (store, verifier) = (Arc::clone(&setup.store), setup.verifier.clone());
            let source = source::Source { channel: channel.clone(), folder, store, verifier };
            let task = source::run(Arc::clone(&shell), Arc::downgrade(&job), source);
            tokio::spawn(bounded(Arc::clone(&shell), task));
        }
        if let Some(folder) = setup.private_source.clone() {
            let task = private_source::run(Arc::clone(&shell), Arc::downgrade(&job), channel.clone(), folder);
            tokio::spawn(bounded(Arc::clone(&shell), task));
        }
        // Weak: whoever drops the handle ends the task.
        let back = inputs.downgrade();
        tokio::spawn(Task::new(shell, channel, setup, (height, figures), back, waiting).run(queue));
        job
    }

    /// The number of the block that is stored next.
    #[must_use]
    pub fn height(&self) -> u64 {
        *self.height.borrow()
    }

    /// The height as it changes.
    #[must_use]
    pub fn heights(&self) -> watch::Receiver<u64> {
        self.height.clone()
    }

    /// What it did so far.
    #[must_use]
    pub fn figures(&self) -> ChannelFigures {
        *self.figures.borrow()
    }

    /// Inputs dropped because too many waited.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Whether blocks of the own source are to be gossiped.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.leads.load(Ordering::Relaxed)
    }

    pub(super) fn lead(&self, us: bool) {
        self.leads.store(us, Ordering::Relaxed);
        self.led.send_replace(us);
    }

    pub(super) fn led(&self) -> watch::Receiver<bool> {
        self.led.subscribe()
    }

    /// Gives an input without waiting.
    pub(super) fn give(&self, input: JobInput) {
        let bytes = input.bytes() as u64;
        let before = self.waiting.fetch_add(bytes, Ordering::Relaxed);
        let full = before > 0 && bytes > 0 && before + bytes > MAX_INPUT_BYTES as u64;
        if full || self.inputs.try_send(input).is_err() {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Offers a block of our own source.
    pub(super) async fn offer(&self, block: Block) {
        let _ = self.inputs.send(JobInput::Offered(block)).await;
    }

    /// Pushes private sets of a transaction to those who may have them; gives the acknowledgements of each.
    ///
    /// # Errors
    /// [`PushFault`].
    pub async fn push(
        &self,
        tx_id: &str,
        sets: Vec<PrivateSet>,
        height: u64,
    ) -> Result<Vec<usize>, PushFault> {
        let (reply, done) = oneshot::channel();
        let push = JobInput::Push { tx_id: tx_id.to_owned(), sets, height, reply };
        if self.inputs.send(push).await.is_err() {
            return Err(PushFault::Busy);
        }
        done.await.unwrap_or(Err(PushFault::Busy))
    }

    /// Defines a chaincode's collections anew, as its new definition does; those it had before are gone. `None` when the channel
    /// was left.
    ///
    /// # Errors
    /// [`CollectionFault`]; then it keeps those it had.
    pub async fn define(
        &self,
        chaincode: &str,
        collections: Vec<Collection>,
    ) -> Option<Result<(), CollectionFault>> {
        let (reply, done) = oneshot::channel();
        let define = JobInput::Define { namespace: chaincode.to_owned(), collections, reply };
        self.inputs.send(define).await.ok()?;
        done.await.ok()
    }
}

struct Task {
    shell: Arc<Shell>,
    channel: Channel,
    store: Arc<dyn BlockStore>,
    state: StateTransfer,
    private: PrivateData,
    rng: ChaCha12Rng,
    height: watch::Sender<u64>,
    figures: watch::Sender<ChannelFigures>,
    durations: Durations,
    /// Since when blocks are on their way to the disk.
    committing: Option<Instant>,
    /// Since when their private data is asked of peers.
    fetching: Option<Instant>,
    back: mpsc::WeakSender<JobInput>,
    waiting: Arc<AtomicU64>,
    pushes: BTreeMap<PushId, PushReply>,
}

impl Task {
    fn new(
        shell: Arc<Shell>,
        channel: Channel,
        setup: ChannelSetup,
        (height, figures): (watch::Sender<u64>, watch::Sender<ChannelFigures>),
        back: mpsc::WeakSender<JobInput>,
        waiting: Arc<AtomicU64>,
    ) -> Self {
        let ChannelSetup { store, verifier, config, own, collections, source: _, private_source: _ } = setup;
        let options = state::Options {
            depends_on_peers: config.use_leader_election || !config.org_leader,
            non_blocking: config.non_blocking_commit_mode,
            state: config.state,
        };
        let state = StateTransfer::new(channel.clone(), options, verifier, store.height(), store.tip());
        let options = privdata::Options { pvt_data: config.pvt_data, own };
        let private = PrivateData::new(channel.clone(), options, collections);
        let rng = ChaCha12Rng::from_seed(shell.env().random());
        Self {
            shell,
            channel,
            store,
            state,
            private,
            rng,
            height,
            figures,
            durations: Durations::default(),
            committing: None,
            fetching: None,
            back,
            waiting,
            pushes: BTreeMap::new(),
        }
    }

    async fn run(mut self, mut queue: mpsc::Receiver<JobInput>) {
        loop {
            self.count();
            let now = self.shell.now();
            let due = [self.state.deadline(now), self.private.deadline()].into_iter().flatten().min();
            let timer = async {
                match due {
                    Some(due) => sleep_until(self.shell.at(due)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.shell.stopped() => return,
                input = queue.recv() => match input {
                    Some(input) => {
                        self.waiting.fetch_sub(input.bytes() as u64, Ordering::Relaxed);
                        self.input(input);
                    }
                    None => return,
                },
                () = timer => {
                    self.transfer(state::Input::Tick);
                    self.private(privdata::Input::Tick);
                }
            }
        }
    }

    fn count(&self) {
        self.figures.send_replace(ChannelFigures {
            height: self.state.height(),
            highest: self.state.highest(),
            buffered: self.state.waiting(),
            durations: self.durations,
            state: self.state.figures(),
            private: self.private.figures(),
        });
    }

    fn said(&self, said: StateSaid) {
        self.tell(ShellEvent::State { channel: self.channel.clone(), said });
    }

    /// The figures are published first, so that whoever hears the event finds it counted.
    fn tell(&self, event: ShellEvent) {
        self.count();
        self.shell.tell(event);
    }

    fn input(&mut self, input: JobInput) {
        match input {
            JobInput::Peer { pki_id, height } => {
                self.transfer(state::Input::Peer { pki_id, height });
                if let Some(subject) = self.shell.crypto().subject(&pki_id) {
                    self.private(privdata::Input::Peer { pki_id, subject, height });
                }
            }
            JobInput::Gone(pki_id) => {
                self.transfer(state::Input::PeerGone(pki_id));
                self.private(privdata::Input::PeerGone(pki_id));
            }
            JobInput::Gossiped { from, payload } => self.transfer(state::Input::Gossiped { from, payload }),
            JobInput::Offered(block) => self.transfer(state::Input::Offered(block)),
            JobInput::Message { from, stream, message } => self.message(from, stream, message),
            JobInput::Push { tx_id, sets, height, reply } => {
                let (now, mut out) = (self.shell.now(), Vec::new());
                match self.private.push(&tx_id, sets, height, now, &mut self.rng, &mut out) {
                    Ok(id) => drop(self.pushes.insert(id, reply)),
                    Err(why) => drop(reply.send(Err(why))),
                }
                self.keep(out);
            }
            JobInput::Define { namespace, collections, reply } => {
                let _ = reply.send(self.private.collections_mut().define(&namespace, collections));
            }
            JobInput::Acked { ticket, result } => self.private(privdata::Input::Acked { ticket, result }),
            JobInput::Stored { told, result } => {
                self.measure(|durations| &mut durations.state_commit, self.committing);
                self.stored(told, result);
            }
            JobInput::Took(measure, took) => measure(&mut self.durations).add(took),
            JobInput::StateServed { to, stream, message } => {
                if let Some(message) = message {
                    self.shell.respond(stream, to, message);
                }
                self.transfer(state::Input::Served);
            }
            JobInput::PrivateServed { to, stream, message } => {
                if let Some(message) = message {
                    self.shell.respond(stream, to, message);
                }
                self.private(privdata::Input::Served);
            }
            JobInput::Failed(error) => self.said(StateSaid::Ledger(error.to_string())),
        }
    }

    /// Counts what took from then until now.
    fn measure(&mut self, measure: Measure, since: Option<Instant>) {
        if let Some(since) = since {
            measure(&mut self.durations).add(since.elapsed());
        }
    }

    /// The state told only messages of readers.
    fn message(&mut self, from: PkiId, stream: StreamId, message: SignedMessage) {
        match message.content() {
            Some(Content::StateRequest(_) | Content::StateResponse(_)) => {
                self.transfer(state::Input::Message { from, stream, message, reader: true });
            }
            _ => {
                let Some(subject) = self.shell.crypto().subject(&from) else { return };
                self.private(privdata::Input::Message { from, stream, subject, message, reader: true });
            }
        }
    }

    fn stored(&mut self, told: Vec<(u64, [u8; 32])>, result: Result<(), LedgerError>) {
        if let Err(error) = result {
            self.said(StateSaid::Ledger(error.to_string()));
            return self.transfer(state::Input::CommitFailed);
        }
        self.transfer(state::Input::Committed);
        for (number, sha256) in told {
            self.tell(ShellEvent::Block { channel: self.channel.clone(), number, sha256 });
        }
    }

    fn transfer(&mut self, input: state::Input) {
        let (now, mut out) = (self.shell.now(), Vec::new());
        self.state.handle(input, now, &mut self.rng, &mut out);
        for action in out {
            self.transferred(action);
        }
    }

    fn transferred(&mut self, action: state::Action) {
        match action {
            state::Action::Send { to, message } => self.send(to, message),
            state::Action::Respond { stream, to, message } => self.shell.respond(stream, to, message),
            state::Action::Serve(serve) => self.serve_blocks(serve),
            state::Action::Commit(blocks) => {
                self.committing = Some(Instant::now());
                self.private(privdata::Input::Blocks(blocks));
            }
            state::Action::Height(height) => {
                self.height.send_replace(height);
                self.shell.call(|gossip, _, _| gossip.update_ledger_height(&self.channel, height));
            }
            // Our own source goes by the height.
            state::Action::Room => {}
            state::Action::Straggler { height, seen } => self.said(StateSaid::Straggler { height, seen }),
            state::Action::Stalled { next, .. } => self.said(StateSaid::Stalled { next }),
            // A block that comes twice is what gossip does.
            state::Action::Refused {
                why: state::Refused::Known(_) | state::Refused::Ahead { .. }, ..
            } => {}
            state::Action::Refused { from, why } => {
                self.said(StateSaid::Refused { from, why: why.to_string() });
            }
        }
    }

    fn private(&mut self, input: privdata::Input) {
        let (now, mut out) = (self.shell.now(), Vec::new());
        let blocks = matches!(input, privdata::Input::Blocks(_));
        let store = Arc::clone(&self.store);
        let begun = Instant::now();
        let handled = self.private.handle(input, &*store, now, &mut self.rng, &mut out);
        if blocks {
            self.measure(|durations| &mut durations.list_missing, Some(begun));
            self.fetching = self.private.is_gathering().then(Instant::now);
        }
        self.keep(out);
        if let Err(error) = handled {
            self.said(StateSaid::Ledger(error.to_string()));
            if blocks {
                self.transfer(state::Input::CommitFailed);
            }
        }
    }

    fn send(&self, to: PkiId, message: SignedMessage) {
        if let Some(remote) = self.shell.look(|gossip| gossip.remote(to)) {
            self.shell.send(remote, message);
        }
    }

    fn keep(&mut self, actions: Vec<privdata::Action>) {
        for action in actions {
            self.kept(action);
        }
    }

    fn kept(&mut self, action: privdata::Action) {
        match action {
            privdata::Action::Send { to, message } => self.send(to, message),
            privdata::Action::Respond { stream, to, message } => self.shell.respond(stream, to, message),
            privdata::Action::SendWithAck { ticket, to, message, timeout } => {
                let (shell, back) = (Arc::clone(&self.shell), self.back.clone());
                let remote = shell.look(|gossip| gossip.remote(to));
                tokio::spawn(async move {
                    let begun = Instant::now();
                    let result = match remote {
                        Some(remote) => shell.acked(remote, &message, timeout).await,
                        None => Err(Unacked::NotSent("the node stops".to_owned())),
                    };
                    give_back(&back, JobInput::Took(|durations| &mut durations.send, begun.elapsed())).await;
                    give_back(&back, JobInput::Acked { ticket, result }).await;
                });
            }
            privdata::Action::Keep { entry, reply } => {
                let shell = Arc::clone(&self.shell);
                self.on_disk(None, move |store| {
                    let kept = store.put_transient(&entry);
                    if let Some(reply) = reply {
                        let said = kept.as_ref().copied().map_err(ToString::to_string);
                        shell.respond(reply.stream, reply.to, privdata::ack(reply.nonce, said));
                    }
                    kept.err().map(JobInput::Failed)
                });
            }
            privdata::Action::Serve(serve) => {
                let (channel, collections) = (self.channel.clone(), self.private.collections().clone());
                let (to, stream) = (serve.reply.to, serve.reply.stream);
                self.on_disk(Some(|durations| &mut durations.retrieve), move |store| {
                    let message = privdata::answer(&channel, &serve, &collections, store).ok();
                    Some(JobInput::PrivateServed { to, stream, message })
                });
            }
            privdata::Action::Commit(commits) => {
                let since = self.fetching.take();
                self.measure(|durations| &mut durations.fetch, since);
                self.commit(commits);
            }
            privdata::Action::Reconcile(found) => self.reconcile(found),
            privdata::Action::Purge(below) => {
                self.on_disk(Some(|durations| &mut durations.purge), move |store| {
                    store.purge_transient(below).err().map(JobInput::Failed)
                });
            }
            privdata::Action::Pulled(took) => self.durations.pull.add(took),
            privdata::Action::Reconciled(took) => self.durations.reconciliation.add(took),
            privdata::Action::Pushed { push, result } => {
                if let Some(reply) = self.pushes.remove(&push) {
                    let _ = reply.send(result);
                }
            }
            privdata::Action::Here { tx_id, namespace, collection, block, source } => {
                let channel = self.channel.clone();
                self.tell(ShellEvent::PrivateData { channel, tx_id, namespace, collection, block, source });
            }
            privdata::Action::Missing { block, count } => self.said(StateSaid::Missing { block, count }),
            privdata::Action::Refused { from, why } => {
                self.said(StateSaid::Refused { from: Some(from), why: why.to_string() });
            }
        }
    }

    fn serve_blocks(&self, serve: state::Serve) {
        let (channel, collections) = (self.channel.clone(), self.private.collections().clone());
        let asker = self.shell.crypto().subject(&serve.to);
        self.on_disk(None, move |store| {
            let may_have = |slot: &Slot| {
                let collection = collections.get(&slot.namespace, &slot.collection);
                asker.as_ref().zip(collection).is_some_and(|(asker, of)| of.admits(asker))
            };
            let message = state::answer(&channel, &serve, store, may_have).ok();
            Some(JobInput::StateServed { to: serve.to, stream: serve.stream, message })
        });
    }

    fn commit(&self, commits: Vec<Commit>) {
        self.on_disk(Some(|durations| &mut durations.commit_block), move |store| {
            let told = commits.iter().map(|commit| {
                let block = &commit.block;
                (block.number(), Sha256::digest(block.raw()).into())
            });
            let told = told.collect();
            let result = store.append(&commits);
            Some(JobInput::Stored { told, result })
        });
    }

    fn reconcile(&self, found: Vec<(Slot, Bytes)>) {
        self.on_disk(None, move |store| store.reconcile(&found).err().map(JobInput::Failed));
    }

    /// Does something that may wait for the disk where waiting is allowed; gives back how long it took, if that is asked for,
    /// and what comes of it.
    fn on_disk(
        &self,
        measure: Option<Measure>,
        work: impl FnOnce(&dyn BlockStore) -> Option<JobInput> + Send + 'static,
    ) {
        let (store, back) = (Arc::clone(&self.store), self.back.clone());
        tokio::spawn(async move {
            let done = tokio::task::spawn_blocking(move || {
                let begun = Instant::now();
                let input = work(&*store);
                (input, begun.elapsed())
            });
            let Ok((input, took)) = done.await else { return };
            if let Some(measure) = measure {
                give_back(&back, JobInput::Took(measure, took)).await;
            }
            if let Some(input) = input {
                give_back(&back, input).await;
            }
        });
    }
}

/// Gives a result back to the channel's task, unless that ended.
async fn give_back(back: &mpsc::WeakSender<JobInput>, input: JobInput) {
    if let Some(inputs) = back.upgrade() {
        let _ = inputs.send(input).await;
    }
}
