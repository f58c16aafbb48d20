//! Who holds what, what to ask of whom, what is owed to whom. No IO, no clock: time is passed in.
//!
//! ```text
//!   learn ─▶ opening ─▶ asking pages, then chunks ─▶ every chunk held ─▶ finished (hash of the whole)
//!              │store fails        ▲ 10 s, missing, peer gone: ask another      source: starts here
//!              ▼                   └──────┘
//!            failed
//! ```
//!
//! What is owed to a peer is not queued but worked out when its writer is free ([`State::next`]), so a slow peer
//! costs no memory: a place in the order in which chunks came, and a bitmap of what it holds.
//!
//! Limits: [`MAX_CASTS`] casts, more are ignored; [`MAX_UPLOADS`] pages and chunks asked for by one peer,
//! more are a breach; [`IN_FLIGHT`] and [`IN_FLIGHT_BYTES`] asked of one peer, late answers included, so that
//! whoever does not answer is soon asked nothing. Every announced number is checked against the header first.
//!
//! Does not protect from a peer that says it holds what it does not: it costs 10 s, then another is asked.

mod ask;
mod owe;

pub(crate) use owe::{Due, Upload};

use super::bits::Bits;
use super::manifest::{CastId, Hash, Header, MAX_HEADER, Malformed, PAGE_CHUNKS, hash_in_page, page_of};
use super::message::{Message, Part};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Casts a node keeps.
pub const MAX_CASTS: usize = 64;
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

/// A session that shares the protocol.
pub(crate) type PeerKey = u64;
/// A cast's place in the order they were learnt.
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
    pages: Vec<Option<Bytes>>,
    held: Bits,
    /// Chunks in the order they came since the store was opened.
    order: Vec<u32>,
    /// The first chunk not held.
    low: u32,
    asked: BTreeMap<Part, (PeerKey, Instant)>,
    /// The chunks in `asked`, for a quick scan.
    asked_chunks: Bits,
    sum: Option<Hash>,
}

#[derive(Debug, Default)]
struct PeerState {
    /// What this peer holds, of the casts it announced.
    has: BTreeMap<Slot, Bits>,
    /// Asked and not answered, late ones too.
    outstanding: BTreeSet<(Slot, Part)>,
    outstanding_bytes: u64,
    owed: owe::Owed,
    uploads: VecDeque<(CastId, Option<Slot>, Part)>,
}

/// What a received message asks of the shell.
#[derive(Debug)]
pub(crate) enum Action {
    /// Nothing.
    None,
    /// Make the store of a new cast, then call [`State::opened`] or [`State::failed`].
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
    /// Whether its store failed.
    pub failed: bool,
}

/// Every cast and every peer of a node.
#[derive(Debug)]
pub(crate) struct State {
    receive: bool,
    max_bytes: u64,
    casts: Vec<CastState>,
    peers: BTreeMap<PeerKey, PeerState>,
    next_key: PeerKey,
    /// When the oldest question may have been open for long enough.
    expiry: Option<Instant>,
    wake: BTreeSet<PeerKey>,
    told_full: bool,
    told_large: bool,
}

const UNASKED: Malformed = Malformed("an answer nobody asked for");

impl State {
    pub(crate) fn new(receive: bool, max_bytes: u64) -> Self {
        Self {
            receive,
            max_bytes,
            casts: Vec::new(),
            peers: BTreeMap::new(),
            next_key: 0,
            expiry: None,
            wake: BTreeSet::new(),
            told_full: false,
            told_large: false,
        }
    }

    /// A new session.
    pub(crate) fn attach(&mut self) -> PeerKey {
        self.next_key += 1;
        self.peers.insert(self.next_key, PeerState::default());
        self.next_key
    }

    /// The session is over: others may be asked.
    pub(crate) fn detach(&mut self, key: PeerKey) {
        let Some(peer) = self.peers.remove(&key) else { return };
        for (slot, part) in peer.outstanding {
            if let Some(cast) = self.casts.get_mut(slot) {
                cast.unask(part, key);
            }
        }
        // A chunk that was being checked is not outstanding any more, but still asked of this peer.
        self.casts.iter_mut().for_each(|cast| cast.unask_all(key));
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
        self.casts.iter().position(|cast| cast.header.id() == id)
    }

    /// A cast that is whole from the start. `None` when there are too many casts.
    pub(crate) fn start(&mut self, header: Arc<Header>, pages: Vec<Bytes>, sum: Hash) -> Option<Slot> {
        let known = self.find(header.id());
        if known.is_none() && self.casts.len() >= MAX_CASTS {
            return None;
        }
        let mut cast = CastState::new(header, 0);
        cast.phase = Phase::Ready;
        cast.pages = pages.into_iter().map(Some).collect();
        cast.held = Bits::full(cast.header.chunks());
        cast.low = cast.header.chunks();
        cast.sum = Some(sum);
        let slot = known.unwrap_or(self.casts.len());
        match self.casts.get_mut(slot) {
            Some(old) => *old = cast,
            None => self.casts.push(cast),
        }
        self.peers.values_mut().for_each(|peer| peer.owed.forget(slot));
        self.wake_all();
        Some(slot)
    }

    /// A cast of an earlier run; `None` when it is known already or there are too many.
    pub(crate) fn resume(&mut self, header: Header) -> Option<Slot> {
        if self.find(header.id()).is_some() || self.casts.len() >= MAX_CASTS {
            return None;
        }
        self.casts.push(CastState::new(Arc::new(header), u8::MAX));
        Some(self.casts.len() - 1)
    }

    /// The store is there, with what it held already. `false` when the cast was started here meanwhile.
    pub(crate) fn opened(&mut self, slot: Slot, pages: Vec<Option<Bytes>>, held: Bits, hops: u8) -> bool {
        let Some(cast) = self.casts.get_mut(slot) else { return false };
        let fits = pages.len() == cast.header.pages().len() && held.len() == cast.header.chunks();
        if cast.phase != Phase::Opening || !fits {
            return false;
        }
        cast.phase = Phase::Ready;
        cast.low = held.next_clear(0).unwrap_or(held.len());
        (cast.pages, cast.held, cast.hops) = (pages, held, hops);
        self.wake_all();
        true
    }

    /// The store cannot be made. `false` when the cast was started here meanwhile.
    pub(crate) fn unopened(&mut self, slot: Slot) -> bool {
        let opening = self.casts.get(slot).is_some_and(|cast| cast.phase == Phase::Opening);
        if opening {
            self.failed(slot);
        }
        opening
    }

    /// The store failed. Peers that ask hear `missing`.
    pub(crate) fn failed(&mut self, slot: Slot) {
        let Some(cast) = self.casts.get_mut(slot) else { return };
        let chunks = cast.header.chunks();
        cast.phase = Phase::Failed;
        cast.pages.iter_mut().for_each(|page| *page = None);
        cast.held = Bits::new(chunks);
        cast.asked.clear();
        cast.asked_chunks = Bits::new(chunks);
    }

    /// The whole file was hashed.
    pub(crate) fn finished(&mut self, slot: Slot, sum: Hash) {
        if let Some(cast) = self.casts.get_mut(slot).filter(|cast| cast.phase == Phase::Ready) {
            cast.sum = Some(sum);
            self.wake_all();
        }
    }

    /// The first chunk from `from` on that is not held; the number of chunks when all are.
    pub(crate) fn held_upto(&self, slot: Slot, from: u32) -> u32 {
        let cast = self.casts.get(slot).filter(|cast| cast.phase == Phase::Ready);
        cast.map_or(from, |cast| cast.held.next_clear(from).unwrap_or(cast.held.len()))
    }

    /// Chunks held, and in all.
    pub(crate) fn progress(&self, slot: Slot) -> (u32, u32) {
        self.casts.get(slot).map_or((0, 0), |cast| (cast.held.ones(), cast.held.len()))
    }

    /// The header and hops of a cast.
    pub(crate) fn describe(&self, slot: Slot) -> Option<(Arc<Header>, u8)> {
        self.casts.get(slot).map(|cast| (Arc::clone(&cast.header), cast.hops))
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
            failed: cast.phase == Phase::Failed,
        };
        self.casts.iter().map(status).collect()
    }

    /// Takes a received message.
    ///
    /// # Errors
    /// The rule it breaks: the session must end.
    pub(crate) fn receive(&mut self, key: PeerKey, message: Message) -> Result<Action, Malformed> {
        self.wake.insert(key);
        match message {
            Message::Announce { id, hops, held, header } => {
                return self.on_announce(key, id, hops, held, header);
            }
            Message::Have { id, first, count } => self.on_have(key, id, Some((first, count)))?,
            Message::Done { id, .. } => self.on_have(key, id, None)?,
            Message::WantPage { id, page } => self.on_want(key, id, Part::Page(page), 1)?,
            Message::WantChunk { id, first, count } => {
                self.on_want(key, id, Part::Chunk(first), u32::from(count))?;
            }
            Message::Page { id, page, hashes } => {
                let slot = self.answered(key, id, Part::Page(page))?;
                let Some(cast) = self.casts.get(slot) else { return Err(UNASKED) };
                let known = cast.pages.get(usize::from(page)).is_none_or(Option::is_some);
                if cast.phase == Phase::Ready && !known {
                    return Ok(Action::Page { slot, page, hashes });
                }
            }
            Message::Chunk { id, index, data } => {
                let slot = self.answered(key, id, Part::Chunk(index))?;
                let Some(cast) = self.casts.get(slot) else { return Err(UNASKED) };
                if data.len() != cast.header.chunk_len(index) {
                    return Err(Malformed("chunk length differs from the header"));
                }
                let page = cast.pages.get(usize::from(page_of(index))).and_then(Option::as_ref);
                if let Some(want) = page.and_then(|page| hash_in_page(page, index))
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

    fn on_announce(
        &mut self,
        key: PeerKey,
        id: CastId,
        hops: u8,
        held: u32,
        raw: Bytes,
    ) -> Result<Action, Malformed> {
        if CastId::of(&raw) != id {
            return Err(Malformed("header differs from its id"));
        }
        // The announce must not keep the whole message buffer alive.
        let header = Header::decode(Bytes::copy_from_slice(&raw), MAX_HEADER)?;
        if held > header.chunks() {
            return Err(Malformed("holds more chunks than there are"));
        }
        let chunks = header.chunks();
        let (slot, action) = match self.find(id) {
            Some(slot) => (slot, Action::None),
            None => match self.refuses(&header) {
                Some(why) => return Ok(why.map_or(Action::None, |why| Action::Ignored { id, why })),
                None => {
                    let (slot, header, hops) = (self.casts.len(), Arc::new(header), hops.saturating_add(1));
                    self.casts.push(CastState::new(Arc::clone(&header), hops));
                    (slot, Action::Open { slot, header, hops })
                }
            },
        };
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.has.entry(slot).or_insert_with(|| Bits::new(chunks));
        }
        Ok(action)
    }

    /// Whether a new cast is not taken; the inner text is there when that was not told before.
    fn refuses(&mut self, header: &Header) -> Option<Option<&'static str>> {
        let first = |told: &mut bool| !std::mem::replace(told, true);
        if !self.receive {
            Some(None)
        } else if self.casts.len() >= MAX_CASTS {
            Some(first(&mut self.told_full).then_some("too many casts"))
        } else if header.size() > self.max_bytes {
            Some(first(&mut self.told_large).then_some("larger than this node takes"))
        } else {
            None
        }
    }

    /// A range, or everything.
    fn on_have(&mut self, key: PeerKey, id: CastId, range: Option<(u32, u32)>) -> Result<(), Malformed> {
        // What was never announced, or was ignored, is of no interest.
        let Some(slot) = self.find(id) else { return Ok(()) };
        let Some(has) = self.peers.get_mut(&key).and_then(|peer| peer.has.get_mut(&slot)) else {
            return Ok(());
        };
        let (first, count) = range.unwrap_or((0, has.len()));
        if first.checked_add(count).is_none_or(|end| end > has.len()) {
            return Err(Malformed("range out of bounds"));
        }
        has.set_range(first, count);
        Ok(())
    }

    fn on_want(&mut self, key: PeerKey, id: CastId, what: Part, count: u32) -> Result<(), Malformed> {
        let slot = self.find(id);
        if let Some(header) = slot.and_then(|slot| self.casts.get(slot)).map(|cast| &cast.header) {
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
    fn new(header: Arc<Header>, hops: u8) -> Self {
        let chunks = header.chunks();
        Self {
            pages: vec![None; header.pages().len()],
            held: Bits::new(chunks),
            asked_chunks: Bits::new(chunks),
            header,
            hops,
            phase: Phase::Opening,
            order: Vec::new(),
            low: 0,
            asked: BTreeMap::new(),
            sum: None,
        }
    }

    /// The chunks of a page, as (first, count).
    fn page_range(&self, page: u16) -> (u32, u32) {
        (u32::from(page) * PAGE_CHUNKS, self.header.page_chunks(page))
    }
}

#[cfg(test)]
mod tests;
