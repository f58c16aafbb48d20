//! The handle of a node's casts, and what its sessions share.
//!
//! One lock guards the state; hashing, copying, disk and network happen outside it. The whole file's hash follows
//! the chunks as they come in order ([`Shared::follow`]), so that little is left to do when the last one is there.
//!
//! Everything that takes long (hashing a file, checking what an earlier run left) looks at one [`Stop`] between
//! chunks: [`Cast::stop`] ends it, and so does dropping the future that waits for it.

use super::manifest::{CastId, DEFAULT_CHUNK, Hash, Header, Manifest, hash};
use super::protocol::{CastProtocol, ChannelMap};
use super::state::{CastStatus, PeerKey, Slot, State};
use super::store::{SourceStore, Stop, Store, StoreFactory};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use switchboard::id::PeerId;
use switchboard::protocol::ProtocolError;
use switchboard::text::printable;
use tokio::sync::{Notify, broadcast};

/// Events kept for a slow listener.
pub const EVENT_BACKLOG: usize = 256;

/// What a node does with casts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Whether casts that others start are taken. Off: this node only gives.
    pub receive: bool,
    /// Largest file taken from others, in bytes.
    pub max_bytes: u64,
    /// Chunk size of the casts started here.
    pub chunk_size: u32,
}

impl Config {
    /// Changes some of it.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

impl Default for Config {
    fn default() -> Self {
        Self { receive: true, max_bytes: super::manifest::MAX_SIZE, chunk_size: DEFAULT_CHUNK }
    }
}

/// What happens to casts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CastEvent {
    /// A cast started here.
    Started {
        /// The cast.
        id: CastId,
        /// Hash of the file.
        sha256: Hash,
        /// Bytes of the file.
        bytes: u64,
    },
    /// A peer announced a cast that is new here.
    Learned {
        /// The cast.
        id: CastId,
        /// Its label, escaped.
        name: String,
        /// Bytes of the file.
        bytes: u64,
        /// Our distance from the source.
        hops: u8,
        /// Who told us.
        from: PeerId,
    },
    /// A cast of an earlier run was found.
    Resumed {
        /// The cast.
        id: CastId,
        /// Chunks held.
        held: u32,
        /// Chunks in all.
        total: u32,
    },
    /// Another hundredth of the chunks is held.
    Progress {
        /// The cast.
        id: CastId,
        /// Chunks held.
        held: u32,
        /// Chunks in all.
        total: u32,
    },
    /// The whole file is here.
    Done {
        /// The cast.
        id: CastId,
        /// Hash of the file.
        sha256: Hash,
        /// Bytes of the file.
        bytes: u64,
        /// Our distance from the source.
        hops: u8,
        /// Where it is, if it is a file.
        path: Option<PathBuf>,
    },
    /// An announced cast is not taken (told once a cause).
    Ignored {
        /// The cast.
        id: CastId,
        /// Why.
        why: &'static str,
    },
    /// A file could not be cast. The node goes on.
    NotStarted {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: String,
    },
    /// A cast was forgotten, by a rule or because [`Cast::remove`] was called.
    Forgotten {
        /// The cast.
        id: CastId,
        /// Why.
        why: &'static str,
    },
    /// The store failed: this node gives up on the cast.
    Failed {
        /// The cast.
        id: CastId,
        /// What the file system said.
        error: String,
    },
}

/// Why a cast does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The file cannot be read, or passes a limit.
    #[error("cannot cast {path}: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: io::Error,
    },
    /// The node started as many casts as it may.
    #[error("this node started {} casts already", super::MAX_OWN)]
    TooMany,
}

/// One cast's store, and how far the whole file is hashed.
pub(super) struct Hold {
    pub(super) header: Arc<Header>,
    pub(super) store: Arc<dyn Store>,
    /// The pages of a cast that was started here; a learnt one's are in its store.
    pages: Vec<Bytes>,
    whole: Mutex<Whole>,
}

impl Hold {
    /// A page, checked. May block.
    pub(super) fn page(&self, page: u16) -> Option<Bytes> {
        if let Some(own) = self.pages.get(usize::from(page)) {
            return Some(own.clone());
        }
        let mut bytes = vec![0; self.header.page_chunks(page) as usize * 32];
        self.store.read_page(page, &mut bytes).ok()?;
        self.header.page_fits(page, &bytes).then(|| bytes.into())
    }
}

#[derive(Default)]
struct Whole {
    sha: Sha256,
    next: u32,
    over: bool,
}

/// What wakes the two writers of a session.
#[derive(Default)]
pub(super) struct Doors {
    pub(super) news: Notify,
    pub(super) uploads: Notify,
}

pub(super) struct Inner {
    pub(super) state: State,
    doors: BTreeMap<PeerKey, Arc<Doors>>,
}

/// What all sessions of a node share.
pub(super) struct Shared {
    factory: Arc<dyn StoreFactory>,
    inner: Mutex<Inner>,
    holds: RwLock<BTreeMap<Slot, Arc<Hold>>>,
    events: broadcast::Sender<CastEvent>,
    pub(super) stop: Stop,
}

/// Stops long work when the future that waits for it is dropped.
struct StopOnDrop(Stop);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Shared {
    /// Works on the state, then wakes whoever has something new to do.
    pub(super) fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        let mut inner = self.inner.lock();
        let result = f(&mut inner.state);
        for key in inner.state.take_wakes() {
            if let Some(doors) = inner.doors.get(&key) {
                doors.news.notify_one();
                doors.uploads.notify_one();
            }
        }
        result
    }

    pub(super) fn attach(&self, peer: PeerId) -> (PeerKey, Arc<Doors>) {
        let mut inner = self.inner.lock();
        let (key, doors) = (inner.state.attach(peer), Arc::new(Doors::default()));
        inner.doors.insert(key, Arc::clone(&doors));
        (key, doors)
    }

    pub(super) fn detach(&self, key: PeerKey) {
        self.inner.lock().doors.remove(&key);
        self.with(|state| state.detach(key));
    }

    /// Tells the listeners, if there are any.
    pub(super) fn tell(&self, event: CastEvent) {
        let _ = self.events.send(event);
    }

    pub(super) fn hold(&self, slot: Slot) -> Option<Arc<Hold>> {
        self.holds.read().get(&slot).cloned()
    }

    /// Gives a cast up, unless that was done already or this store is not its store any more.
    fn fail(&self, slot: Slot, hold: &Arc<Hold>, error: &io::Error) {
        let mut holds = self.holds.write();
        if !holds.get(&slot).is_some_and(|now| Arc::ptr_eq(now, hold)) {
            return;
        }
        holds.remove(&slot);
        self.with(|state| state.failed(slot));
        drop(holds);
        self.gave_up(hold.header.id(), error);
    }

    fn gave_up(&self, id: CastId, error: &io::Error) {
        tracing::warn!(target: "switchboard_cast", %id, %error, "the store failed: giving up on this cast");
        self.tell(CastEvent::Failed { id, error: error.to_string() });
    }

    /// Closes the casts that the state has forgotten.
    pub(super) fn settle(self: &Arc<Self>) {
        for gone in self.with(State::take_gone) {
            let hold = self.holds.write().remove(&gone.slot);
            tracing::info!(target: "switchboard_cast", id = %gone.id, gone.why, "cast forgotten");
            self.tell(CastEvent::Forgotten { id: gone.id, why: gone.why });
            let Some(hold) = hold else { continue };
            let close = move || {
                if gone.delete
                    && let Err(error) = hold.store.remove()
                {
                    tracing::warn!(target: "switchboard_cast", id = %gone.id, %error, "cannot delete a cast");
                }
            };
            // Dropping a store may write, too.
            match tokio::runtime::Handle::try_current() {
                Ok(runtime) if !self.factory.inline() => drop(runtime.spawn_blocking(close)),
                _ => close(),
            }
        }
    }

    /// Keeps something, and when there is no room for it, after others made some. May block.
    fn keep(&self, slot: Slot, keep: impl Fn() -> io::Result<()>) -> io::Result<()> {
        loop {
            match keep() {
                Err(error) if error.kind() == io::ErrorKind::QuotaExceeded => {
                    if !self.with(|state| state.yield_bytes(slot)) {
                        return Err(error);
                    }
                    for gone in self.with(State::take_gone) {
                        let hold = self.holds.write().remove(&gone.slot);
                        self.tell(CastEvent::Forgotten { id: gone.id, why: gone.why });
                        if let Some(hold) = hold.filter(|_| gone.delete) {
                            hold.store.remove()?;
                        }
                    }
                }
                kept => return kept,
            }
        }
    }

    /// Reads a page for the state. May block.
    pub(super) fn load_page(&self, slot: Slot, page: u16) {
        let found = self.hold(slot).and_then(|hold| hold.page(page));
        self.with(|state| state.page_loaded(slot, page, found));
    }

    /// Reads a page for the state, without blocking the caller.
    pub(super) fn load_page_soon(self: &Arc<Self>, slot: Slot, page: u16) {
        if self.factory.inline() {
            return self.load_page(slot, page);
        }
        let shared = Arc::clone(self);
        tokio::task::spawn_blocking(move || shared.load_page(slot, page));
    }

    /// Makes or finds the store of a cast, unless it is started here meanwhile. May block.
    fn open(&self, slot: Slot, header: Arc<Header>, hops: u8, stop: &Stop, resumed: bool) {
        let id = header.id();
        let opened = match self.factory.open(&header, hops, stop) {
            Ok(opened) => opened,
            Err(_) if stop.check().is_err() => return,
            Err(error) if self.with(|state| state.unopened(slot)) => return self.gave_up(id, &error),
            Err(_) => return,
        };
        let hold = Hold { header, store: opened.store, pages: Vec::new(), whole: Mutex::default() };
        // A peer that learns of it now and asks for the store waits until it is there.
        let mut holds = self.holds.write();
        if !self.with(|state| state.opened(slot, opened.pages.0, opened.held, opened.hops)) {
            return;
        }
        holds.insert(slot, Arc::new(hold));
        drop(holds);
        let (held, total) = self.with(|state| state.progress(slot));
        if resumed || held > 0 {
            self.tell(CastEvent::Resumed { id, held, total });
        }
        self.follow(slot);
    }

    /// Makes or finds the store of a cast that was just learnt, without blocking the caller.
    pub(super) fn open_soon(self: &Arc<Self>, slot: Slot, header: Arc<Header>, hops: u8) {
        if self.factory.inline() {
            return self.open(slot, header, hops, &self.stop, false);
        }
        let shared = Arc::clone(self);
        tokio::task::spawn_blocking(move || shared.open(slot, header, hops, &shared.stop, false));
    }

    /// Checks a page and keeps it. May block.
    pub(super) fn take_page(&self, slot: Slot, page: u16, hashes: &Bytes) -> Result<(), ProtocolError> {
        let Some(hold) = self.hold(slot) else { return Ok(()) };
        if !hold.header.page_fits(page, hashes) {
            return Err(ProtocolError::Breach("page differs from its header"));
        }
        if let Err(error) = self.keep(slot, || hold.store.write_page(page, hashes)) {
            self.fail(slot, &hold, &error);
            return Ok(());
        }
        // A copy, so that the message it came in is freed.
        let own = Bytes::copy_from_slice(hashes);
        self.with(|state| state.page_stored(slot, page, own));
        Ok(())
    }

    /// Checks a chunk and keeps it. May block.
    pub(super) fn take_chunk(
        &self,
        slot: Slot,
        index: u32,
        offset: u64,
        want: &Hash,
        data: &Bytes,
    ) -> Result<(), ProtocolError> {
        let Some(hold) = self.hold(slot) else { return Ok(()) };
        if hash(data) != *want {
            return Err(ProtocolError::Breach("chunk differs from its page"));
        }
        if let Err(error) = self.keep(slot, || hold.store.write(offset, data)) {
            self.fail(slot, &hold, &error);
            return Ok(());
        }
        let (fresh, (held, total)) = self.with(|state| (state.stored(slot, index), state.progress(slot)));
        let hundredth = |n: u32| u64::from(n) * 100 / u64::from(total.max(1));
        if fresh && hundredth(held) != hundredth(held - 1) {
            self.tell(CastEvent::Progress { id: hold.header.id(), held, total });
        }
        self.follow(slot);
        Ok(())
    }

    /// Hashes the whole file as far as it is held, unless somebody is at it already; with the last chunk the
    /// cast is done. May block.
    fn follow(&self, slot: Slot) {
        let Some(hold) = self.hold(slot) else { return };
        let chunks = hold.header.chunks();
        loop {
            let Some(mut whole) = hold.whole.try_lock() else { return };
            if whole.over {
                return;
            }
            let held = self.inner.lock().state.held_upto(slot, whole.next);
            match whole.advance(&hold, held, &self.stop) {
                Ok(()) => {}
                Err(_) if self.stop.check().is_err() => return,
                Err(error) => return self.fail(slot, &hold, &error),
            }
            if whole.next == chunks {
                whole.over = true;
                let sum = std::mem::take(&mut whole.sha).finalize().into();
                drop(whole);
                return self.finish(slot, &hold, sum);
            }
            // Let go first, then look again: a chunk stored meanwhile found the lock taken and left it to us.
            let next = whole.next;
            drop(whole);
            if self.inner.lock().state.held_upto(slot, next) == next {
                return;
            }
        }
    }

    fn finish(&self, slot: Slot, hold: &Arc<Hold>, sha256: Hash) {
        if let Err(error) = hold.store.finish() {
            return self.fail(slot, hold, &error);
        }
        self.with(|state| state.finished(slot, sha256));
        let hops = self.with(|state| state.describe(slot)).map_or(u8::MAX, |(_, hops)| hops);
        let (id, bytes) = (hold.header.id(), hold.header.size());
        self.tell(CastEvent::Done { id, sha256, bytes, hops, path: hold.store.path() });
    }
}

impl Whole {
    fn advance(&mut self, hold: &Hold, upto: u32, stop: &Stop) -> io::Result<()> {
        let mut buffer = Vec::new();
        while self.next < upto {
            stop.check()?;
            buffer.resize(hold.header.chunk_len(self.next), 0);
            hold.store.read(hold.header.offset(self.next), &mut buffer)?;
            self.sha.update(&buffer);
            self.next += 1;
        }
        Ok(())
    }
}

/// A node's casts. Cheap to clone; one serves all wires.
#[derive(Clone)]
pub struct Cast {
    shared: Arc<Shared>,
    config: Config,
}

impl Cast {
    /// No casts yet. `factory` makes the stores of those that are learnt.
    #[must_use]
    pub fn new(config: Config, factory: Arc<dyn StoreFactory>) -> Self {
        let inner = Inner { state: State::new(config.receive, config.max_bytes), doors: BTreeMap::new() };
        let (events, _) = broadcast::channel(EVENT_BACKLOG);
        let shared = Shared {
            factory,
            inner: Mutex::new(inner),
            holds: RwLock::default(),
            events,
            stop: Stop::default(),
        };
        Self { shared: Arc::new(shared), config }
    }

    /// The protocol as one wire carries it.
    #[must_use]
    pub fn protocol(&self, map: ChannelMap) -> Arc<CastProtocol> {
        Arc::new(CastProtocol::new(Arc::clone(&self.shared), map))
    }

    /// What happens from now on.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<CastEvent> {
        self.shared.events.subscribe()
    }

    /// How every cast stands, in the order they were learnt.
    #[must_use]
    pub fn status(&self) -> Vec<CastStatus> {
        self.shared.with(|state| state.status())
    }

    /// Hashes a file and casts it. The file is served in place: leave it as it is.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(&self, path: impl Into<PathBuf>) -> Result<CastId, StartError> {
        let (path, chunk_size, stop) = (path.into(), self.config.chunk_size, Stop::default());
        let _guard = StopOnDrop(stop.clone());
        let open = {
            let (path, all) = (path.clone(), self.shared.stop.clone());
            move || SourceStore::open_until(&path, chunk_size, &stop.or(&all))
        };
        let opened = tokio::task::spawn_blocking(open).await.unwrap_or_else(|e| Err(io::Error::other(e)));
        let (store, manifest) = opened.map_err(|error| StartError::File { path, error })?;
        self.start_with(manifest, Arc::new(store))
    }

    /// Hashes a file and casts it in the background. A failure is a [`CastEvent::NotStarted`]. Call it in a runtime.
    pub fn start_soon(&self, path: impl Into<PathBuf>) {
        let (cast, path) = (self.clone(), path.into());
        tokio::spawn(async move {
            if let Err(error) = cast.start(&path).await {
                tracing::warn!(target: "switchboard_cast", path = %path.display(), %error, "not cast");
                cast.shared.tell(CastEvent::NotStarted { path, error: error.to_string() });
            }
        });
    }

    /// Casts what a store holds. The manifest must be that of the store's chunks.
    ///
    /// # Errors
    /// [`StartError::TooMany`].
    pub fn start_with(&self, manifest: Manifest, store: Arc<dyn Store>) -> Result<CastId, StartError> {
        let Manifest { header, pages, sha256 } = manifest;
        let (id, bytes, header) = (header.id(), header.size(), Arc::new(header));
        // The store must be there before anybody can ask for a chunk.
        let hold = Hold {
            header: Arc::clone(&header),
            store,
            pages,
            whole: Mutex::new(Whole { over: true, ..Whole::default() }),
        };
        let mut holds = self.shared.holds.write();
        let slot = self.shared.with(|state| state.start(header, sha256));
        holds.insert(slot.ok_or(StartError::TooMany)?, Arc::new(hold));
        drop(holds);
        self.shared.tell(CastEvent::Started { id, sha256, bytes });
        Ok(id)
    }

    /// Forgets a cast, and does not take it again from peers until the next run. Files that were received are deleted; the
    /// file of one that was started here stays. `false` when there is no such cast.
    pub fn remove(&self, id: CastId) -> bool {
        let found = self.shared.with(|state| state.remove(id));
        self.shared.settle();
        found
    }

    /// Takes up the casts an earlier run left in the store, the latest first. Gives their number. What they left is
    /// hashed again, which may take long: peers may connect meanwhile, and hear of each cast when it was checked.
    ///
    /// # Errors
    /// What the file system says.
    pub async fn resume(&self) -> io::Result<usize> {
        let (shared, own) = (Arc::clone(&self.shared), Stop::default());
        let _guard = StopOnDrop(own.clone());
        let resume = move || {
            let stop = own.or(&shared.stop);
            let mut count = 0;
            for header in shared.factory.resume()? {
                if stop.check().is_err() {
                    break;
                }
                let slot = shared.with(|state| state.resume(header));
                let found = slot.and_then(|slot| Some((slot, shared.with(|state| state.describe(slot))?)));
                if let Some((slot, (header, hops))) = found {
                    shared.open(slot, header, hops, &stop, true);
                    count += 1;
                }
            }
            Ok(count)
        };
        if self.shared.factory.inline() {
            return resume();
        }
        tokio::task::spawn_blocking(resume).await.unwrap_or_else(|e| Err(io::Error::other(e)))
    }

    /// Does [`Cast::resume`] in the background, so that the node listens at once. Call it in a runtime.
    pub fn resume_soon(&self) {
        let cast = self.clone();
        tokio::spawn(async move {
            if let Err(error) = cast.resume().await {
                tracing::warn!(target: "switchboard_cast", %error, "cannot take up the casts of an earlier run");
            }
        });
    }

    /// Ends hashing and checking in the background at the next chunk, and writes down what a restart needs to know.
    /// Casts that are whole are still served.
    pub async fn stop(&self) {
        self.shared.stop.stop();
        let holds: Vec<_> = self.shared.holds.read().values().cloned().collect();
        let flush = move || {
            for hold in holds {
                if let Err(error) = hold.store.flush() {
                    let id = hold.header.id();
                    tracing::warn!(target: "switchboard_cast", %id, %error, "cannot record what is held");
                }
            }
        };
        if self.shared.factory.inline() {
            return flush();
        }
        let _ = tokio::task::spawn_blocking(flush).await;
    }
}

impl Shared {
    /// Tells of a cast that is new here.
    pub(super) fn learned(&self, header: &Header, hops: u8, from: PeerId) {
        let (id, bytes, name) = (header.id(), header.size(), printable(header.name()));
        self.tell(CastEvent::Learned { id, name, bytes, hops, from });
    }
}

#[cfg(test)]
mod tests;
