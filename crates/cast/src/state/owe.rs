//! What is owed to a peer: news of casts, requests, news of chunks, and what it asked for.
//!
//! An announce may find no place at the peer, which does not say so. A peer that has not announced the cast itself, as it
//! does with its first chunk, hears of it again after [`REPEAT`], then after twice that time, up to [`REPEAT_MOST`].

use super::ask::Request;
use super::{CastState, GATHER, Part, PeerKey, Phase, Slot, State};
use crate::manifest::CastId;
use crate::message::Message;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use tokio::time::Instant;

/// Chunks whose news are gathered at once, so that the queue below stays small.
const GATHER_MOST: usize = 4_096;

/// After this time an announce is repeated for the first time.
pub const REPEAT: Duration = Duration::from_secs(2);
/// The longest time between two announces of one cast to one peer.
pub const REPEAT_MOST: Duration = Duration::from_secs(600);

/// How far a peer has heard of one cast.
#[derive(Debug)]
struct Told {
    /// Up to which chunk it has heard of those held when the cast was announced to it.
    swept: Option<u32>,
    /// Its place in the order in which chunks came after that.
    place: usize,
    done: bool,
}

/// How far a peer has heard of everything.
#[derive(Debug, Default)]
pub(super) struct Owed {
    told: BTreeMap<Slot, Told>,
    /// Casts to announce.
    fresh: BTreeSet<Slot>,
    /// Announced casts with news.
    due: BTreeSet<Slot>,
    haves: VecDeque<Message>,
    /// When casts are announced again, and how long after the announce before.
    repeats: BTreeMap<(Instant, Slot), Duration>,
    gathered: Option<Instant>,
    /// Whether its writer wakes by itself to tell of new chunks.
    pub(super) armed: bool,
}

impl Owed {
    pub(super) fn new(fresh: impl Iterator<Item = Slot>) -> Self {
        Self { fresh: fresh.collect(), ..Self::default() }
    }

    /// The cast starts anew, or is no more.
    pub(super) fn forget(&mut self, slot: Slot) {
        self.told.remove(&slot);
        self.fresh.remove(&slot);
        self.due.remove(&slot);
        self.repeats.retain(|(_, of), _| *of != slot);
    }

    /// There is a cast to announce.
    pub(super) fn fresh(&mut self, slot: Slot) {
        self.fresh.insert(slot);
    }

    /// There is news of a cast.
    pub(super) fn due(&mut self, slot: Slot) {
        if self.told.contains_key(&slot) {
            self.due.insert(slot);
        }
    }
}

/// What a peer's writer should do.
#[derive(Debug)]
pub(crate) enum Due {
    /// Send this.
    Send(Message),
    /// Read this page from the store, then call [`State::page_loaded`].
    Load(Slot, u16),
    /// Nothing to do before this time, unless woken.
    Wait(Option<Instant>),
    /// The session is over.
    Gone,
}

/// What a peer asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Upload {
    /// A page, to be read from the store.
    Page { id: CastId, slot: Slot, page: u16 },
    /// A chunk, to be read from the store.
    Chunk { id: CastId, slot: Slot, index: u32, offset: u64, len: usize },
    /// We do not hold it.
    Missing { id: CastId, what: Part },
}

fn announce(cast: &CastState) -> Message {
    let header = cast.header.raw().clone();
    Message::Announce { id: cast.header.id(), hops: cast.hops, held: cast.held.ones(), header }
}

/// As few `have`s as cover these chunks.
fn ranges(id: CastId, news: &[u32], out: &mut VecDeque<Message>) {
    let mut news = news.to_vec();
    news.sort_unstable();
    for run in news.chunk_by(|a, b| a + 1 == *b) {
        if let Some(first) = run.first() {
            out.push_back(Message::Have { id, first: *first, count: run.len() as u32 });
        }
    }
}

impl Owed {
    /// The first announce of a cast to this peer.
    fn announce(&mut self, slot: Slot, cast: &CastState, now: Instant) -> Option<Message> {
        // Another's cast is announced further once a chunk of it was checked: announces of files that nobody has take places
        // only at the announcer's own peers.
        let something = cast.own || cast.sum.is_some() || cast.held.ones() > 0;
        if cast.phase != Phase::Ready || !something || self.told.contains_key(&slot) {
            return None;
        }
        self.told.insert(slot, Told { swept: Some(0), place: cast.order.len(), done: false });
        self.due.insert(slot);
        self.repeat_after(slot, REPEAT, now);
        Some(announce(cast))
    }

    fn repeat_after(&mut self, slot: Slot, after: Duration, now: Instant) {
        if let Some(at) = now.checked_add(after) {
            self.repeats.insert((at, slot), after);
        }
    }

    /// The next announce whose time has come, and after what time it had been repeated.
    fn repeat(&mut self, now: Instant) -> Option<(Slot, Duration)> {
        let first = self.repeats.first_entry().filter(|entry| entry.key().0 <= now)?;
        let ((_, slot), after) = first.remove_entry();
        Some((slot, after))
    }

    /// News of one cast's chunks; `Err` says when there will be some.
    fn news(&mut self, slot: Slot, cast: &CastState, now: Instant) -> Result<Option<Message>, Instant> {
        let Some(told) = self.told.get_mut(&slot).filter(|_| cast.phase == Phase::Ready) else {
            return Ok(None);
        };
        let id = cast.header.id();
        if let Some(from) = told.swept {
            if let Some((first, count)) = cast.held.next_run(from) {
                told.swept = Some(first + count);
                return Ok(Some(Message::Have { id, first, count }));
            }
            told.swept = None;
        }
        if let Some(news) = cast.order.get(told.place..).filter(|news| !news.is_empty()) {
            let next = self.gathered.map(|at| at + GATHER).filter(|at| *at > now && cast.sum.is_none());
            if let Some(at) = next {
                return Err(at);
            }
            let news = news.get(..GATHER_MOST).unwrap_or(news);
            told.place += news.len();
            self.gathered = Some(now);
            ranges(id, news, &mut self.haves);
            return Ok(self.haves.pop_front());
        }
        Ok(match cast.sum {
            Some(sha256) if !told.done => {
                told.done = true;
                Some(Message::Done { id, sha256 })
            }
            _ => None,
        })
    }
}

impl State {
    /// What to send next to this peer: news of casts, our requests, news of chunks, in this order.
    pub(crate) fn next(&mut self, key: PeerKey, now: Instant) -> Due {
        self.clock = Some(now);
        self.expire(now);
        self.sweep(now);
        let Some(peer) = self.peers.get_mut(&key) else { return Due::Gone };
        peer.owed.armed = false;
        while let Some(slot) = peer.owed.fresh.pop_first() {
            let message = self.casts.get(&slot).and_then(|cast| peer.owed.announce(slot, cast, now));
            if let Some(message) = message {
                return Due::Send(message);
            }
        }
        while let Some((slot, after)) = peer.owed.repeat(now) {
            let knows = peer.has.contains_key(&slot);
            let cast = self.casts.get(&slot).filter(|cast| cast.phase == Phase::Ready && !knows);
            if let Some(cast) = cast {
                peer.owed.repeat_after(slot, (after * 2).min(REPEAT_MOST), now);
                return Due::Send(announce(cast));
            }
        }
        match self.next_request(key, now) {
            Some(Request::Send(message)) => return Due::Send(message),
            Some(Request::Load(slot, page)) => return Due::Load(slot, page),
            None => {}
        }
        let Some(peer) = self.peers.get_mut(&key) else { return Due::Gone };
        if let Some(message) = peer.owed.haves.pop_front() {
            return Due::Send(message);
        }
        let repeat_at = peer.owed.repeats.first_key_value().map(|((at, _), _)| *at);
        let mut wait = [self.expiry, self.sweep_at, repeat_at].into_iter().flatten().min();
        let mut from = 0;
        while let Some(slot) = peer.owed.due.range(from..).next().copied() {
            from = slot + 1;
            let news = self.casts.get(&slot).map_or(Ok(None), |cast| peer.owed.news(slot, cast, now));
            match news {
                Ok(Some(message)) => return Due::Send(message),
                Ok(None) => {
                    peer.owed.due.remove(&slot);
                }
                Err(at) => {
                    peer.owed.armed = true;
                    wait = Some(wait.map_or(at, |wait| wait.min(at)));
                }
            }
        }
        Due::Wait(wait)
    }

    /// Up to `most` of the things this peer asked for, at least one if there is any, as long as they stay
    /// below `bytes`.
    pub(crate) fn next_uploads(&mut self, key: PeerKey, most: usize, bytes: usize) -> Vec<Upload> {
        let Some(peer) = self.peers.get_mut(&key) else { return Vec::new() };
        let (mut out, mut taken) = (Vec::new(), 0);
        while out.len() < most && (taken < bytes || out.is_empty()) {
            let Some((id, slot, what)) = peer.uploads.pop_front() else { break };
            let missing = Upload::Missing { id, what };
            let Some((slot, cast)) = slot.and_then(|slot| Some((slot, self.casts.get(&slot)?))) else {
                out.push(missing);
                continue;
            };
            out.push(match what {
                Part::Page(page) if cast.known.has(page) => {
                    taken += cast.header.page_chunks(page) as usize * 32;
                    Upload::Page { id, slot, page }
                }
                Part::Page(_) => missing,
                Part::Chunk(index) if cast.held.has(index) => {
                    let len = cast.header.chunk_len(index);
                    taken += len;
                    Upload::Chunk { id, slot, index, offset: cast.header.offset(index), len }
                }
                Part::Chunk(_) => missing,
            });
        }
        out
    }
}
