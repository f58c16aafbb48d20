//! The tasks of one session: two readers and two writers, none of which waits for another.
//!
//! ```text
//!   announce, request ─▶ read_news ──▶ state ──▶ write_news ────▶ announce, request
//!   chunk ─▶ read_chunks ─▶ check ─▶ store ──▶ state ──▶ write_chunks ─▶ chunk
//! ```
//!
//! A reader never sends, so two nodes that send to each other cannot both wait. Chunks are read from disk
//! a batch ahead of the send queue; hashing and disk run on the runtime's blocking threads, unless the
//! store is [`super::Store::inline`].
//!
//! A message is read, and an announce's header hashed, before the state's lock is taken. A peer that sends news and
//! requests faster than [`super::RATE`] is read no faster: it waits, and nobody else.
//!
//! Limits: [`JOBS`] chunks of a session checked at once; a batch of [`BATCH`] uploads or [`BATCH_BYTES`].
//! The chunk inbox holds what may be in flight, so only answers nobody asked for can fill it.

use super::message::{CHUNK_HEAD, Flow, Message, put_chunk_head};
use super::node::{Doors, Shared};
use super::state::{Action, Due, Heard, IN_FLIGHT_BYTES, Pace, PeerKey, Upload};
use crate::manifest::MAX_CHUNK;
use crate::{CastEvent, Part};
use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use std::time::Duration;
use switchboard::BoxFuture;
use switchboard::id::PeerId;
use switchboard::protocol::channel::{ChannelId, ChannelSpec, Overflow};
use switchboard::protocol::io::{ChannelIo, ChannelSender};
use switchboard::protocol::{Info, Protocol, ProtocolError, ProtocolSpec};
use switchboard::session::inbox::Inbox;
use switchboard::session::outgoing::SendError;
use switchboard::switch::peer::Peer;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Chunks of one session that are checked at the same time.
const JOBS: usize = 4;
/// Things read for a peer at once.
const BATCH: usize = 8;
/// Bytes of chunks read for a peer at once (one chunk always is).
const BATCH_BYTES: usize = 512 * 1024;
/// Chunk messages that wait in the send queue: the read-ahead.
const CHUNK_QUEUE: usize = 16;
/// How long a full inbox may hold up the session.
const FULL_INBOX: Duration = Duration::from_secs(10);

/// How a wire wraps each message, where it does.
pub trait Framing: Send + Sync + 'static {
    /// Appends what stands before a message of so many bytes on this flow. Nothing may stand behind it.
    fn prefix(&self, flow: Flow, len: usize, out: &mut BytesMut);

    /// Takes the message out.
    ///
    /// # Errors
    /// The name of the broken rule.
    fn unwrap(&self, bytes: Bytes) -> Result<Bytes, &'static str>;
}

/// Which channels a wire carries the protocol on: `base`, `base` + 1, `base` + 2.
#[derive(Clone)]
pub struct ChannelMap {
    base: u16,
    framing: Option<Arc<dyn Framing>>,
}

impl ChannelMap {
    /// Messages as they stand.
    #[must_use]
    pub fn plain(base: u16) -> Self {
        Self { base, framing: None }
    }

    /// Messages wrapped as the wire wants it.
    #[must_use]
    pub fn wrapped(base: u16, framing: impl Framing) -> Self {
        Self { base, framing: Some(Arc::new(framing)) }
    }

    /// The channel of a flow.
    #[must_use]
    pub fn channel(&self, flow: Flow) -> ChannelId {
        ChannelId(self.base.saturating_add(flow as u16))
    }

    fn flow(&self, channel: ChannelId) -> Option<Flow> {
        Flow::ALL.into_iter().find(|flow| self.channel(*flow) == channel)
    }

    /// An empty buffer for a message of `len` bytes, with what stands before it.
    fn start(&self, flow: Flow, len: usize) -> BytesMut {
        let mut out = BytesMut::with_capacity(len + 64);
        if let Some(framing) = &self.framing {
            framing.prefix(flow, len, &mut out);
        }
        out
    }

    fn encode(&self, message: &Message) -> Bytes {
        let mut out = self.start(message.flow(), message.encoded_len());
        message.encode(&mut out);
        out.freeze()
    }

    fn decode(&self, flow: Flow, bytes: Bytes) -> Result<Message, ProtocolError> {
        let bytes = match &self.framing {
            Some(framing) => framing.unwrap(bytes).map_err(ProtocolError::Breach)?,
            None => bytes,
        };
        Message::decode(flow, bytes, flow.limit()).map_err(|rule| ProtocolError::Breach(rule.0))
    }
}

/// `cast` on one wire. Made by [`super::Cast::protocol`].
pub struct CastProtocol {
    shared: Arc<Shared>,
    map: ChannelMap,
}

impl CastProtocol {
    pub(super) fn new(shared: Arc<Shared>, map: ChannelMap) -> Self {
        Self { shared, map }
    }
}

/// Forgets the session when it ends, however it ends.
struct Attached {
    shared: Arc<Shared>,
    key: PeerKey,
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.shared.detach(self.key);
    }
}

/// What the four tasks of a session share.
struct Session {
    shared: Arc<Shared>,
    map: ChannelMap,
    key: PeerKey,
    peer: PeerId,
    doors: Arc<Doors>,
    sender: ChannelSender,
}

impl Protocol for CastProtocol {
    fn spec(&self) -> ProtocolSpec {
        let channel = |flow: Flow, priority| {
            ChannelSpec::new(self.map.channel(flow).0, priority)
                .recv_limit(flow.limit())
                .overflow(Overflow::Wait(FULL_INBOX))
        };
        // Everything that may be in flight, its heads, and one more.
        let window = IN_FLIGHT_BYTES as usize + 2 * MAX_CHUNK as usize;
        let chunks = channel(Flow::Chunk, 1).recv_window(window).send_queue(CHUNK_QUEUE);
        ProtocolSpec::new("cast", 1, vec![channel(Flow::Announce, 5), channel(Flow::Request, 5), chunks])
            .length(u64::from(self.map.channel(Flow::Chunk).0) + 1)
    }

    fn node_info(&self) -> Option<Info> {
        let casts = self.shared.with(|state| state.status());
        let whole = casts.iter().filter(|cast| cast.held == cast.chunks).count() as u64;
        let bytes = casts.iter().map(|cast| cast.size).sum::<u64>();
        Some(vec![("casts", (casts.len() as u64).into()), ("whole", whole.into()), ("bytes", bytes.into())])
    }

    fn peer_info(&self, peer: &Peer) -> Option<Info> {
        let status = self.shared.with(|state| state.peer_status(&peer.id()))?;
        Some(vec![
            ("announced", (status.announced as u64).into()),
            ("asked", (status.asked as u64).into()),
            ("asked_bytes", status.asked_bytes.into()),
            ("to_send", (status.to_send as u64).into()),
        ])
    }

    fn run(self: Arc<Self>, peer: Peer, mut io: ChannelIo) -> BoxFuture<'static, Result<(), ProtocolError>> {
        Box::pin(async move {
            let (key, doors) = self.shared.attach(peer.id());
            let _attached = Attached { shared: Arc::clone(&self.shared), key };
            let chunks = io.take(self.map.channel(Flow::Chunk)).ok_or(ProtocolError::Closed)?;
            let shared = Arc::clone(&self.shared);
            let session =
                Session { shared, map: self.map.clone(), key, peer: peer.id(), doors, sender: io.sender() };
            let read = async {
                tokio::try_join!(session.read_news(&mut io), session.read_chunks(chunks)).map(|_| ())
            };
            tokio::select! {
                biased;
                // Writers stop at full queues and at what was asked for, which only the readers add to.
                ended = session.write_news() => ended,
                ended = session.write_chunks() => ended,
                ended = read => ended,
            }
        })
    }
}

impl Session {
    /// Queues a message, however long the peer takes to make room. When the session is over this never
    /// returns: the readers take what still is there, and end it.
    async fn send(&self, flow: Flow, message: Bytes) -> Result<(), ProtocolError> {
        loop {
            match self.sender.send(self.map.channel(flow), message.clone()).await {
                Ok(()) => return Ok(()),
                Err(SendError::Full | SendError::Timeout) => {}
                Err(SendError::Closed) => return std::future::pending().await,
                Err(error) => return Err(ProtocolError::Failed(Box::new(error))),
            }
        }
    }

    fn hear(&self, flow: Flow, bytes: Bytes) -> Result<Heard, ProtocolError> {
        Heard::of(self.map.decode(flow, bytes)?).map_err(|rule| ProtocolError::Breach(rule.0))
    }

    fn receive(&self, heard: Heard) -> Result<Action, ProtocolError> {
        let now = Instant::now();
        let action = self.shared.with(|state| state.receive(self.key, heard, now));
        action.map_err(|rule| ProtocolError::Breach(rule.0))
    }

    async fn read_news(&self, io: &mut ChannelIo) -> Result<(), ProtocolError> {
        let mut pace = Pace::new(Instant::now());
        while let Some((channel, bytes)) = io.recv().await {
            let Some(flow) = self.map.flow(channel) else { continue };
            let heard = self.hear(flow, bytes)?;
            let wait = pace.count(heard.cost(), Instant::now());
            match self.receive(heard)? {
                Action::Open { slot, header, hops } => {
                    self.shared.settle();
                    self.shared.learned(&header, hops, self.peer);
                    self.shared.open_soon(slot, header, hops);
                }
                Action::Ignored { id, why } => {
                    tracing::warn!(target: "switchboard_cast", %id, why, peer = %self.peer, "cast ignored");
                    self.shared.tell(CastEvent::Ignored { id, why });
                }
                _ => {}
            }
            if let Some(at) = wait {
                tokio::time::sleep_until(at).await;
            }
        }
        Ok(())
    }

    async fn read_chunks(&self, mut inbox: Inbox) -> Result<(), ProtocolError> {
        let mut jobs = JoinSet::new();
        let failed = |e: tokio::task::JoinError| ProtocolError::Failed(Box::new(e));
        loop {
            tokio::select! {
                biased;
                // No more than what was received can be done.
                Some(done) = jobs.join_next(), if !jobs.is_empty() => done.map_err(failed)??,
                bytes = inbox.recv(), if jobs.len() < JOBS => {
                    let Some(bytes) = bytes else { break };
                    let action = self.receive(self.hear(Flow::Chunk, bytes)?)?;
                    self.check(action, &mut jobs)?;
                }
            }
        }
        while let Some(done) = jobs.join_next().await {
            done.map_err(failed)??;
        }
        Ok(())
    }

    /// Checks and keeps what came, here or on a blocking thread.
    fn check(
        &self,
        action: Action,
        jobs: &mut JoinSet<Result<(), ProtocolError>>,
    ) -> Result<(), ProtocolError> {
        let slot = match &action {
            Action::Page { slot, .. } | Action::Chunk { slot, .. } => *slot,
            _ => return Ok(()),
        };
        let inline = self.shared.hold(slot).is_some_and(|hold| hold.store.inline());
        let shared = Arc::clone(&self.shared);
        let job = move || match action {
            Action::Page { slot, page, hashes } => shared.take_page(slot, page, &hashes),
            Action::Chunk { slot, index, offset, want, data } => {
                shared.take_chunk(slot, index, offset, &want, &data)
            }
            _ => Ok(()),
        };
        if inline {
            return job();
        }
        jobs.spawn_blocking(job);
        Ok(())
    }

    async fn write_news(&self) -> Result<(), ProtocolError> {
        loop {
            let now = Instant::now();
            let (due, gone) = self.shared.with(|state| (state.next(self.key, now), state.has_gone()));
            if gone {
                self.shared.settle();
            }
            match due {
                Due::Load(slot, page) => self.shared.load_page_soon(slot, page),
                Due::Send(message) => self.send(message.flow(), self.map.encode(&message)).await?,
                Due::Wait(Some(at)) => {
                    let _ = tokio::time::timeout_at(at, self.doors.news.notified()).await;
                }
                Due::Wait(None) => self.doors.news.notified().await,
                Due::Gone => return Ok(()),
            }
        }
    }

    async fn write_chunks(&self) -> Result<(), ProtocolError> {
        loop {
            let uploads = self.shared.with(|state| state.next_uploads(self.key, BATCH, BATCH_BYTES));
            if uploads.is_empty() {
                self.doors.uploads.notified().await;
                continue;
            }
            for message in self.load(uploads).await? {
                self.send(Flow::Chunk, message).await?;
            }
        }
    }

    /// Turns what was asked for into messages; reads the chunks, here or on a blocking thread.
    async fn load(&self, uploads: Vec<Upload>) -> Result<Vec<Bytes>, ProtocolError> {
        let stored = |upload: &Upload| match upload {
            Upload::Chunk { slot, .. } | Upload::Page { slot, .. } => {
                self.shared.hold(*slot).is_some_and(|hold| !hold.store.inline())
            }
            Upload::Missing { .. } => false,
        };
        let blocking = uploads.iter().any(stored);
        let (shared, map) = (Arc::clone(&self.shared), self.map.clone());
        let load = move || uploads.into_iter().map(|upload| load_one(&shared, &map, upload)).collect();
        if !blocking {
            return Ok(load());
        }
        tokio::task::spawn_blocking(load).await.map_err(|e| ProtocolError::Failed(Box::new(e)))
    }
}

fn load_one(shared: &Shared, map: &ChannelMap, upload: Upload) -> Bytes {
    match upload {
        Upload::Page { id, slot, page } => {
            let hashes = shared.hold(slot).and_then(|hold| hold.page(page));
            let missing = Message::Missing { id, what: Part::Page(page) };
            map.encode(&hashes.map_or(missing, |hashes| Message::Page { id, page, hashes }))
        }
        Upload::Missing { id, what } => map.encode(&Message::Missing { id, what }),
        Upload::Chunk { id, slot, index, offset, len } => {
            let mut out = map.start(Flow::Chunk, CHUNK_HEAD + len);
            put_chunk_head(id, index, &mut out);
            let head = out.len();
            out.resize(head + len, 0);
            let read =
                out.get_mut(head..).zip(shared.hold(slot)).map(|(out, hold)| hold.store.read(offset, out));
            match read {
                Some(Ok(())) => out.freeze(),
                gone => {
                    tracing::warn!(target: "switchboard_cast", %id, index, ?gone, "cannot read a chunk");
                    map.encode(&Message::Missing { id, what: Part::Chunk(index) })
                }
            }
        }
    }
}
