//! Who holds what, what to ask of whom, what is owed to whom. No IO, no clock: time is passed in.
//!
//! ```text
//!   learn ─▶ opening ─▶ asking pages, then chunks ─▶ every chunk held ─▶ finished (hash of the whole)
//!              │store fails        ▲ 10 s, missing, peer gone: ask another      source: starts here
//!              ▼                   └──────┘
//!            failed ─▶ forgotten after a minute
//! ```
//!
//! What is owed to a peer is not queued but worked out when its writer is free ([`State::next`]), so a slow peer
//! costs no memory: a place in the order in which chunks came, and what it says it holds (`claims`).
//!
//! The cost of a message does not grow with what was said before: a `have` looks at no more than 64 words, and
//! what to ask next is found through sets of at most 1,024 pages a cast (`ask`). What is scanned more widely
//! is bounded by [`MAX_CASTS`], the peers, and the questions that are open.
//!
//! Limits: [`MAX_CASTS`] casts of others, [`MAX_PER_PEER`] of them brought by one peer, and [`MAX_OWN`] of our
//! own; `keep` says which yields when they are full. [`MAX_LOADED`] pages of a cast in memory; at most
//! [`MAX_PARTIAL`] pages of which a peer says that it holds some chunks and not all. [`MAX_UPLOADS`] pages and
//! chunks asked for by one peer, more are a breach; [`IN_FLIGHT`] and [`IN_FLIGHT_BYTES`] asked of one peer,
//! late answers included, so that whoever does not answer is soon asked nothing; [`PAGE_CREDIT`] pages asked of
//! a peer that gives no chunks. Every announced number is checked against the header first.
//!
//! Does not protect from a peer that says it holds what it does not: it costs 10 s, then another is asked.

mod ask;
mod claims;
mod keep;
mod owe;
mod pace;

pub(crate) use claims::PageSet;
pub(crate) use keep::Gone;
pub use keep::{ABANDONED, MAX_CASTS, MAX_HAD, MAX_OWN, MAX_PER_PEER, STALLED, UNSERVED};
pub(crate) use owe::{Due, Upload};
pub use owe::{REPEAT, REPEAT_MOST};
pub(crate) use pace::Pace;
pub use pace::{BURST, RATE};

use super::bits::Bits;
use super::manifest::{CastId, Hash, Header, MAX_HEADER, Malformed, PAGE_CHUNKS, hash_in_page, page_of};
use super::message::{Message, Part};
use bytes::Bytes;
use claims::Claims;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use switchboard::id::PeerId;
use tokio::time::Instant;

/// Pages and chunks one peer may have asked for without having got them.
pub const MAX_UPLOADS: usize = 1_024;
/// Pages and chunks asked of one peer at once.
pub const IN_FLIGHT: usize = 64;
/// Bytes asked of one peer at once (one chunk always may be).
pub const IN_FLIGHT_BYTES: u64 = 8 << 20;
/// After this time another peer is asked.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long news of chunks are gathered.
pub const GATHER: Duration = Duration::from_millis(20);
/// Pages of one cast kept in memory (32 KiB each); the store has the others.
pub const MAX_LOADED: usize = 8;
/// Pages, over all casts, of which one peer may hold some chunks and not all (128 bytes each).
pub const MAX_PARTIAL: usize = 1_024;
/// Pages asked of a peer before it gave a chunk; each chunk is worth one more.
pub const PAGE_CREDIT: u32 = 64;

/// A session that shares the protocol.
pub(crate) type PeerKey = u64;
/// A cast's place in the order they were learnt. Never given twice.
pub(crate) type Slot = usize;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The store is being made or checked.
    Opening,
    /// Fetching, or whole.
    Ready,
    /// The store failed: nothing more is done for this cast.
    Failed,
}

#[derive(Debug)]
struct CastState {
    header: Arc<Header>,
    hops: u8,
    phase: Phase,
    /// Who brought it; nobody for our own and those of an earlier run.
    origin: Option<PeerId>,
    /// Started here.
    own: bool,
    /// When it was learnt or last moved on; set when the clock is first seen.
    moved: Option<Instant>,
    /// Pages the store keeps.
    known: PageSet,
    /// Pages in memory, and which those are.
    loaded: BTreeMap<u16, Bytes>,
    loaded_set: PageSet,
    /// Pages being read from the store.
    loading: PageSet,
    held: Bits,
    /// Chunks in the order they came since the store was opened.
    order: Vec<u32>,
    asked: BTreeMap<Part, (PeerKey, Instant)>,
    /// `asked` by its time.
    deadlines: BTreeSet<(Instant, Part)>,
    /// The chunks in `asked`, for a quick scan.
    asked_chunks: Bits,
    sum: Option<Hash>,
}

#[derive(Debug)]
struct PeerState {
    origin: PeerId,
    /// What this peer holds, of the casts it announced.
    has: BTreeMap<Slot, Claims>,
    /// Those where something may be open to ask it for.
    active: BTreeSet<Slot>,
    /// Partial pages in `has`.
    partial: usize,
    /// Asked and not answered, late ones too, with their bytes. It outlives the cast.
    outstanding: BTreeMap<(CastId, Part), u64>,
    outstanding_bytes: u64,
    page_credit: u32,
    owed: owe::Owed,
    uploads: VecDeque<(CastId, Option<Slot>, Part)>,
}

/// What there is between us and a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PeerStatus {
    /// Casts it announced that are known.
    pub(crate) announced: usize,
    /// Pages and chunks it was asked for and has not sent.
    pub(crate) asked: usize,
    /// Their bytes.
    pub(crate) asked_bytes: u64,
    /// Pages and chunks it asked for that are still to be sent.
    pub(crate) to_send: usize,
}

/// A message whose own claims were checked: for an announce that is dear, so it is done before the lock is taken.
#[derive(Debug)]
pub(crate) enum Heard {
    /// Its header fits its id.
    Announce { header: Header, hops: u8 },
    /// Anything else.
    Other(Message),
}

impl Heard {
    /// Checks an announce's header.
    ///
    /// # Errors
    /// The rule it breaks.
    pub(crate) fn of(message: Message) -> Result<Self, Malformed> {
        let Message::Announce { id, hops, held, header: raw } = message else {
            return Ok(Self::Other(message));
        };
        if CastId::of(&raw) != id {
            return Err(Malformed("header differs from its id"));
        }
        // The announce must not keep the whole message buffer alive.
        let header = Header::decode(Bytes::copy_from_slice(&raw), MAX_HEADER)?;
        if held > header.chunks() {
            return Err(Malformed("holds more chunks than there are"));
        }
        Ok(Self::Announce { header, hops })
    }

    /// What it counts against the peer's [`Pace`]: an announce is dear, as its header is hashed and may make a cast.
    pub(crate) fn cost(&self) -> u64 {
        match self {
            Self::Announce { header, .. } => 32 + header.raw().len() as u64 / 256,
            Self::Other(_) => 1,
        }
    }
}

/// What a received message asks of the shell.
#[derive(Debug)]
pub(crate) enum Action {
    /// Nothing.
    None,
    /// Make the store of a new cast, then call [`State::opened`] or [`State::unopened`].
    Open { slot: Slot, header: Arc<Header>, hops: u8 },
    /// An announce was ignored; told once.
    Ignored { id: CastId, why: &'static str },
    /// Check the page with [`Header::page_fits`], then call [`State::page_stored`].
    Page { slot: Slot, page: u16, hashes: Bytes },
    /// Check the chunk's hash, keep it, then call [`State::stored`].
    Chunk { slot: Slot, index: u32, offset: u64, want: Hash, data: Bytes },
}

/// How a cast stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CastStatus {
    /// Its id.
    pub id: CastId,
    /// Its label; remote text.
    pub name: String,
    /// Bytes of the file.
    pub size: u64,
    /// Chunks in all.
    pub chunks: u32,
    /// Chunks held.
    pub held: u32,
    /// Distance from the source, 0 there.
    pub hops: u8,
    /// Hash of the file, once it is whole.
    pub sha256: Option<Hash>,
    /// Whether it was started here.
    pub own: bool,
    /// Whether its store failed.
    pub failed: bool,
}

/// Every cast and every peer of a node.
#[derive(Debug)]
pub(crate) struct State {
    receive: bool,
    max_bytes: u64,
    casts: BTreeMap<Slot, CastState>,
    ids: BTreeMap<CastId, Slot>,
    next_slot: Slot,
    peers: BTreeMap<PeerKey, PeerState>,
    next_key: PeerKey,
    /// When the oldest question may have been open for long enough.
    expiry: Option<Instant>,
    /// When to look for casts that nobody serves; none when there are no casts of others.
    sweep_at: Option<Instant>,
    /// The latest time that was passed in.
    clock: Option<Instant>,
    wake: BTreeSet<PeerKey>,
    /// Casts forgotten by a rule, for the shell to close.
    gone: Vec<Gone>,
    /// Those of them that are not taken again.
    had: keep::Had,
    told_full: bool,
    told_large: bool,
    /// Words and entries looked at so far: what tests count instead of time.
    #[cfg(test)]
    pub(crate) work: u64,
}

const UNASKED: Malformed = Malformed("an answer nobody asked for");

impl State {
    pub(crate) fn new(receive: bool, max_bytes: u64) -> Self {
        Self {
            receive,
            max_bytes,
            casts: BTreeMap::new(),
            ids: BTreeMap::new(),
            next_slot: 0,
            peers: BTreeMap::new(),
            next_key: 0,
            expiry: None,
            sweep_at: None,
            clock: None,
            wake: BTreeSet::new(),
            gone: Vec::new(),
            had: keep::Had::default(),
            told_full: false,
            told_large: false,
            #[cfg(test)]
            work: 0,
        }
    }

    /// Counts what was looked at.
    #[inline]
    fn worked(&mut self, n: u64) {
        #[cfg(test)]
        {
            self.work += n;
        }
        let _ = n;
    }

    /// A new session with that peer.
    pub(crate) fn attach(&mut self, origin: PeerId) -> PeerKey {
        self.next_key += 1;
        let ready = self.casts.iter().filter(|(_, cast)| cast.phase == Phase::Ready);
        let peer = PeerState {
            origin,
            has: BTreeMap::new(),
            active: BTreeSet::new(),
            partial: 0,
            outstanding: BTreeMap::new(),
            outstanding_bytes: 0,
            page_credit: PAGE_CREDIT,
            owed: owe::Owed::new(ready.map(|(slot, _)| *slot)),
            uploads: VecDeque::new(),
        };
        self.peers.insert(self.next_key, peer);
        self.next_key
    }

    /// The session is over: others may be asked.
    pub(crate) fn detach(&mut self, key: PeerKey) {
        if self.peers.remove(&key).is_none() {
            return;
        }
        // A chunk that is being checked is not outstanding any more, but still asked of this peer.
        let slots: Vec<Slot> = self.casts.keys().copied().collect();
        for slot in slots {
            let freed = self.casts.get_mut(&slot).map(|cast| cast.unask_all(key)).unwrap_or_default();
            self.reopen(slot, &freed);
        }
        self.wake_all();
    }

    /// The peers whose writers should look again; each is named once.
    pub(crate) fn take_wakes(&mut self) -> BTreeSet<PeerKey> {
        std::mem::take(&mut self.wake)
    }

    fn wake_all(&mut self) {
        self.wake.extend(self.peers.keys());
    }

    fn find(&self, id: CastId) -> Option<Slot> {
        self.ids.get(&id).copied()
    }

    fn add(&mut self, cast: CastState) -> Slot {
        let slot = self.next_slot;
        self.next_slot += 1;
        self.ids.insert(cast.header.id(), slot);
        self.casts.insert(slot, cast);
        slot
    }

    /// A cast that is whole from the start. `None` when there are too many of our own.
    pub(crate) fn start(&mut self, header: Arc<Header>, sum: Hash) -> Option<Slot> {
        let known = self.find(header.id());
        let own = |slot: &Slot| self.casts.get(slot).is_some_and(|cast| cast.own);
        if !known.as_ref().is_some_and(own) && self.casts.keys().filter(|slot| own(slot)).count() >= MAX_OWN {
            return None;
        }
        let mut cast = CastState::new(header, 0, None);
        cast.phase = Phase::Ready;
        cast.own = true;
        cast.known = PageSet::range(0, cast.header.pages().len() as u16);
        cast.held = Bits::full(cast.header.chunks());
        cast.sum = Some(sum);
        let slot = match known {
            Some(slot) => {
                self.casts.insert(slot, cast);
                slot
            }
            None => self.add(cast),
        };
        self.peers.values_mut().for_each(|peer| peer.owed.forget(slot));
        self.ready(slot);
        Some(slot)
    }

    /// Every peer is told.
    fn ready(&mut self, slot: Slot) {
        for peer in self.peers.values_mut() {
            peer.owed.fresh(slot);
            if peer.has.get(&slot).is_some_and(|claims| !claims.todo.is_empty()) {
                peer.active.insert(slot);
            }
        }
        self.wake_all();
    }

    /// A cast of an earlier run; `None` when it is known already or there are too many.
    pub(crate) fn resume(&mut self, header: Header) -> Option<Slot> {
        if self.find(header.id()).is_some() || self.received() >= MAX_CASTS {
            return None;
        }
        self.sweep_at = self.sweep_at.or(self.clock);
        Some(self.add(CastState::new(Arc::new(header), u8::MAX, None)))
    }

    /// The store is there, with what it held already. `false` when the cast was started here or forgotten meanwhile.
    pub(crate) fn opened(&mut self, slot: Slot, known: PageSet, held: Bits, hops: u8) -> bool {
        let Some(cast) = self.casts.get_mut(&slot) else { return false };
        if cast.phase != Phase::Opening || held.len() != cast.header.chunks() {
            return false;
        }
        cast.phase = Phase::Ready;
        (cast.known, cast.held, cast.hops) = (known, held, hops);
        self.ready(slot);
        true
    }

    /// The store cannot be made. `false` when the cast was started here meanwhile.
    pub(crate) fn unopened(&mut self, slot: Slot) -> bool {
        let opening = self.casts.get(&slot).is_some_and(|cast| cast.phase == Phase::Opening);
        if opening {
            self.failed(slot);
        }
        opening
    }

    /// The store failed. Peers that ask hear `missing`.
    pub(crate) fn failed(&mut self, slot: Slot) {
        let Some(cast) = self.casts.get_mut(&slot) else { return };
        let mut failed = CastState::new(Arc::clone(&cast.header), cast.hops, cast.origin);
        failed.phase = Phase::Failed;
        failed.own = cast.own;
        failed.moved = self.clock;
        *cast = failed;
    }

    /// The whole file was hashed.
    pub(crate) fn finished(&mut self, slot: Slot, sum: Hash) {
        let Some(cast) = self.casts.get_mut(&slot).filter(|cast| cast.phase == Phase::Ready) else { return };
        cast.sum = Some(sum);
        cast.moved = self.clock;
        for peer in self.peers.values_mut() {
            peer.owed.fresh(slot);
            peer.owed.due(slot);
        }
        self.wake_all();
    }

    /// The first chunk from `from` on that is not held; the number of chunks when all are.
    pub(crate) fn held_upto(&self, slot: Slot, from: u32) -> u32 {
        let cast = self.casts.get(&slot).filter(|cast| cast.phase == Phase::Ready);
        cast.map_or(from, |cast| cast.held.next_clear(from).unwrap_or(cast.held.len()))
    }

    /// Chunks held, and in all.
    pub(crate) fn progress(&self, slot: Slot) -> (u32, u32) {
        self.casts.get(&slot).map_or((0, 0), |cast| (cast.held.ones(), cast.held.len()))
    }

    /// The header and hops of a cast.
    pub(crate) fn describe(&self, slot: Slot) -> Option<(Arc<Header>, u8)> {
        self.casts.get(&slot).map(|cast| (Arc::clone(&cast.header), cast.hops))
    }

    /// What there is between us and a peer; `None` without a session.
    pub(crate) fn peer_status(&self, of: &PeerId) -> Option<PeerStatus> {
        let peer = self.peers.values().find(|peer| peer.origin == *of)?;
        Some(PeerStatus {
            announced: peer.has.len(),
            asked: peer.outstanding.len(),
            asked_bytes: peer.outstanding_bytes,
            to_send: peer.uploads.len(),
        })
    }

    /// How every cast stands, in the order they were learnt.
    pub(crate) fn status(&self) -> Vec<CastStatus> {
        let status = |cast: &CastState| CastStatus {
            id: cast.header.id(),
            name: cast.header.name().to_owned(),
            size: cast.header.size(),
            chunks: cast.header.chunks(),
            held: cast.held.ones(),
            hops: cast.hops,
            sha256: cast.sum,
            own: cast.own,
            failed: cast.phase == Phase::Failed,
        };
        self.casts.values().map(status).collect()
    }

    /// Takes a received message.
    ///
    /// # Errors
    /// The rule it breaks: the session must end.
    pub(crate) fn receive(&mut self, key: PeerKey, heard: Heard, now: Instant) -> Result<Action, Malformed> {
        self.clock = Some(now);
        self.wake.insert(key);
        let message = match heard {
            Heard::Announce { header, hops } => return Ok(self.on_announce(key, hops, header, now)),
            Heard::Other(message) => message,
        };
        match message {
            // Never made by [`Heard::of`].
            Message::Announce { .. } => return Err(Malformed("header not checked")),
            Message::Have { id, first, count } => self.on_have(key, id, Some((first, count)))?,
            Message::Done { id, .. } => self.on_have(key, id, None)?,
            Message::WantPage { id, page } => self.on_want(key, id, Part::Page(page), 1)?,
            Message::WantChunk { id, first, count } => {
                self.on_want(key, id, Part::Chunk(first), u32::from(count))?;
            }
            Message::Page { id, page, hashes } => {
                let Some((slot, cast)) = self.answered(key, id, Part::Page(page))? else {
                    return Ok(Action::None);
                };
                if cast.phase == Phase::Ready && !cast.loaded_set.has(page) && !cast.page_done(page) {
                    return Ok(Action::Page { slot, page, hashes });
                }
            }
            Message::Chunk { id, index, data } => {
                let Some((slot, cast)) = self.answered(key, id, Part::Chunk(index))? else {
                    return Ok(Action::None);
                };
                if data.len() != cast.header.chunk_len(index) {
                    return Err(Malformed("chunk length differs from the header"));
                }
                if let Some(want) =
                    cast.loaded.get(&page_of(index)).and_then(|page| hash_in_page(page, index))
                    && !cast.held.has(index)
                {
                    let offset = cast.header.offset(index);
                    return Ok(Action::Chunk { slot, index, offset, want, data });
                }
            }
            Message::Missing { id, what } => self.on_missing(key, id, what)?,
        }
        Ok(Action::None)
    }

    fn on_announce(&mut self, key: PeerKey, hops: u8, header: Header, now: Instant) -> Action {
        let Some(origin) = self.peers.get(&key).map(|peer| peer.origin) else { return Action::None };
        let (id, chunks) = (header.id(), header.chunks());
        let (slot, action) = match self.find(id) {
            Some(slot) => (slot, Action::None),
            None => match self.refuses(&header, origin, now) {
                Some(why) => return why.map_or(Action::None, |why| Action::Ignored { id, why }),
                None => {
                    let (header, hops) = (Arc::new(header), hops.saturating_add(1));
                    let mut cast = CastState::new(Arc::clone(&header), hops, Some(origin));
                    cast.moved = Some(now);
                    let slot = self.add(cast);
                    self.sweep_at.get_or_insert(now + keep::SWEEP);
                    (slot, Action::Open { slot, header, hops })
                }
            },
        };
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.has.entry(slot).or_insert_with(|| Claims::new(chunks));
        }
        action
    }

    /// A range, or everything.
    fn on_have(&mut self, key: PeerKey, id: CastId, range: Option<(u32, u32)>) -> Result<(), Malformed> {
        let Some(slot) = self.find(id) else { return Ok(()) };
        let Some(chunks) = self.casts.get(&slot).map(|cast| cast.header.chunks()) else { return Ok(()) };
        let Some(peer) = self.peers.get_mut(&key) else { return Ok(()) };
        let Some(claims) = peer.has.get_mut(&slot) else { return Ok(()) };
        let (first, count) = range.unwrap_or((0, chunks));
        if first.checked_add(count).is_none_or(|end| end > chunks) {
            return Err(Malformed("range out of bounds"));
        }
        claims.add(first, count, &mut peer.partial);
        if !claims.todo.is_empty() {
            peer.active.insert(slot);
        }
        self.worked(3 * u64::from(claims::PAGE_WORDS));
        Ok(())
    }

    fn on_want(&mut self, key: PeerKey, id: CastId, what: Part, count: u32) -> Result<(), Malformed> {
        let slot = self.find(id);
        if let Some(header) = slot.and_then(|slot| self.casts.get(&slot)).map(|cast| &cast.header) {
            let inside = match what {
                Part::Page(page) => usize::from(page) < header.pages().len(),
                Part::Chunk(first) => first.checked_add(count).is_some_and(|end| end <= header.chunks()),
            };
            if !inside {
                return Err(Malformed("range out of bounds"));
            }
        }
        let Some(peer) = self.peers.get_mut(&key) else { return Ok(()) };
        if peer.uploads.len() + count as usize > MAX_UPLOADS {
            return Err(Malformed("more than 1,024 chunks asked for at once"));
        }
        match what {
            Part::Page(_) => peer.uploads.push_back((id, slot, what)),
            Part::Chunk(first) => {
                let each = |n| (id, slot, Part::Chunk(first.saturating_add(n)));
                peer.uploads.extend((0..count).map(each));
            }
        }
        Ok(())
    }
}

impl CastState {
    fn new(header: Arc<Header>, hops: u8, origin: Option<PeerId>) -> Self {
        let chunks = header.chunks();
        Self {
            origin,
            own: false,
            moved: None,
            known: PageSet::default(),
            loaded: BTreeMap::new(),
            loaded_set: PageSet::default(),
            loading: PageSet::default(),
            held: Bits::new(chunks),
            asked_chunks: Bits::new(chunks),
            header,
            hops,
            phase: Phase::Opening,
            order: Vec::new(),
            asked: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            sum: None,
        }
    }

    /// Whether every chunk of a page is held.
    fn page_done(&self, page: u16) -> bool {
        let first = u32::from(page) * PAGE_CHUNKS;
        let end = first + self.header.page_chunks(page);
        self.held.next_clear(first).is_none_or(|at| at >= end)
    }
}

#[cfg(test)]
mod tests;
