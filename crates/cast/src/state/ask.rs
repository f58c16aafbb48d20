//! What to ask of whom: the first missing chunks this peer holds and nobody was asked for, page first.
//!
//! ```text
//!   claims.todo ∩ loaded      ─▶ chunks of the first such page     nothing open there: the page leaves todo
//!   claims.todo − loaded      ─▶ read the page from the store, or ask for it
//! ```
//!
//! A page comes back into `todo` when the peer says it holds more of it, or when a question about it is free
//! again. So each look at a page is paid for by one message or one question, and a peer that says a lot makes
//! nothing slower.

use super::{
    CastState, IN_FLIGHT, IN_FLIGHT_BYTES, MAX_LOADED, PAGE_CREDIT, PATIENCE, PeerKey, PeerState, Phase,
    Slot, State, UNASKED, claims::PAGE_WORDS,
};
use crate::manifest::{CastId, Malformed, PAGE_CHUNKS, page_of};
use crate::message::{MAX_WANT, Message, Part};
use bytes::Bytes;
use tokio::time::Instant;

/// With this many unanswered, few more are worth a message of their own.
const DEEP: usize = IN_FLIGHT * 3 / 4;
/// Pages of one cast asked for at once.
const PAGES_AHEAD: usize = 2;

/// What a peer's writer could do for a cast.
#[derive(Debug, PartialEq, Eq)]
enum Pick {
    /// Ask for a page.
    Page(u16),
    /// Have a page read from the store.
    Load(u16),
    /// Ask for chunks in a row.
    Chunks(u32, u32),
}

/// What [`State::next_request`] found.
pub(super) enum Request {
    /// Send this.
    Send(Message),
    /// Have this page read from the store.
    Load(Slot, u16),
}

impl CastState {
    fn ask(&mut self, part: Part, of: PeerKey, now: Instant) {
        if let Some((_, before)) = self.asked.insert(part, (of, now)) {
            self.deadlines.remove(&(before, part));
        }
        self.deadlines.insert((now, part));
        if let Part::Chunk(index) = part {
            self.asked_chunks.set(index);
        }
    }

    /// Gives up a question to that peer, if it still is the one.
    fn unask(&mut self, part: Part, of: PeerKey) -> bool {
        let is = self.asked.get(&part).is_some_and(|(whom, _)| *whom == of);
        if is {
            self.forget_ask(part);
        }
        is
    }

    /// Gives up all questions to that peer and names them.
    pub(super) fn unask_all(&mut self, of: PeerKey) -> Vec<Part> {
        let parts: Vec<_> =
            self.asked.iter().filter(|(_, (whom, _))| *whom == of).map(|(part, _)| *part).collect();
        parts.iter().for_each(|part| self.forget_ask(*part));
        parts
    }

    fn forget_ask(&mut self, part: Part) {
        if let Some((_, at)) = self.asked.remove(&part) {
            self.deadlines.remove(&(at, part));
        }
        if let Part::Chunk(index) = part {
            self.asked_chunks.clear(index);
        }
    }

    /// Frees a place for one more page in memory, if there is none. A page that answers are on their way for stays.
    fn make_room(&mut self) -> bool {
        if self.loaded.len() < MAX_LOADED {
            return true;
        }
        let idle = |page: &u16| {
            let first = u32::from(*page) * PAGE_CHUNKS;
            self.asked.range(Part::Chunk(first)..Part::Chunk(first + PAGE_CHUNKS)).next().is_none()
        };
        let Some(page) = self.loaded.keys().copied().find(idle) else { return false };
        self.unload(page);
        true
    }

    fn unload(&mut self, page: u16) {
        self.loaded.remove(&page);
        self.loaded_set.clear(page);
    }

    /// What this peer could be asked for now: a page, or up to `most` chunks in a row. Counts what it looks at.
    fn pick(&mut self, slot: Slot, peer: &mut PeerState, most: u32, work: &mut u64) -> Option<Pick> {
        let id = self.header.id();
        let claims = peer.has.get_mut(&slot)?;
        *work += 1;
        while let Some(page) = claims.todo.and(&self.loaded_set).first() {
            for at in 0..PAGE_WORDS {
                *work += 1;
                let place = u32::from(page) * PAGE_WORDS + at;
                let mut open =
                    claims.word(page, at) & !self.held.word(place) & !self.asked_chunks.word(place);
                while open != 0 {
                    let first = place * 64 + open.trailing_zeros();
                    // Late ones are still outstanding with this peer and must not be asked of it twice.
                    let end = (u32::from(page) + 1) * PAGE_CHUNKS;
                    let free = |i: &u32| {
                        let (at, bit) = (*i % PAGE_CHUNKS / 64, *i % 64);
                        claims.word(page, at) >> bit & 1 == 1
                            && !self.held.has(*i)
                            && !self.asked_chunks.has(*i)
                            && !peer.outstanding.contains_key(&(id, Part::Chunk(*i)))
                    };
                    let count = (first..end).take(most as usize).take_while(free).count() as u32;
                    *work += u64::from(count);
                    if count > 0 {
                        return Some(Pick::Chunks(first, count));
                    }
                    open &= open - 1;
                }
            }
            claims.todo.clear(page);
        }
        let others = claims.todo.without(&self.loaded_set).without(&self.loading);
        let mut on_disk = others.and(&self.known);
        while let Some(page) = on_disk.first() {
            *work += 1;
            if !self.page_done(page) {
                return self.make_room().then_some(Pick::Load(page));
            }
            on_disk.clear(page);
            let claims = peer.has.get_mut(&slot)?;
            claims.todo.clear(page);
        }
        let claims = peer.has.get(&slot)?;
        let mut wanted = claims.todo.without(&self.loaded_set).without(&self.known);
        if wanted.is_empty()
            || peer.page_credit == 0
            || self.asked.range(..=Part::Page(u16::MAX)).count() >= PAGES_AHEAD
        {
            return None;
        }
        for (part, _) in self.asked.range(..=Part::Page(u16::MAX)) {
            if let Part::Page(page) = part {
                wanted.clear(*page);
            }
        }
        let late = peer.outstanding.range((id, Part::Page(0))..=(id, Part::Page(u16::MAX)));
        for ((_, part), _) in late {
            *work += 1;
            if let Part::Page(page) = part {
                wanted.clear(*page);
            }
        }
        let page = wanted.first()?;
        self.make_room().then_some(Pick::Page(page))
    }
}

impl State {
    /// Something about these parts can be asked again: whoever holds them may be the one.
    pub(super) fn reopen(&mut self, slot: Slot, parts: &[Part]) {
        if parts.is_empty() {
            return;
        }
        let mut pages = super::PageSet::default();
        for part in parts {
            pages.set(match part {
                Part::Page(page) => *page,
                Part::Chunk(index) => page_of(*index),
            });
        }
        for peer in self.peers.values_mut() {
            if peer.has.get_mut(&slot).is_some_and(|claims| claims.reopen(pages)) {
                peer.active.insert(slot);
            }
        }
        self.worked((self.peers.len() * parts.len()) as u64);
    }

    /// The next request to this peer, marked as asked.
    pub(super) fn next_request(&mut self, key: PeerKey, now: Instant) -> Option<Request> {
        let mut work = 0;
        let found = self.find_request(key, now, &mut work);
        self.worked(work);
        found
    }

    fn find_request(&mut self, key: PeerKey, now: Instant, work: &mut u64) -> Option<Request> {
        let peer = self.peers.get_mut(&key)?;
        let mut from = 0;
        while let Some(slot) = peer.active.range(from..).next().copied() {
            *work += 1;
            from = slot + 1;
            let ready = |cast: &&mut CastState| cast.phase == Phase::Ready && !cast.held.all();
            let Some(cast) = self.casts.get_mut(&slot).filter(ready) else {
                peer.active.remove(&slot);
                continue;
            };
            let unanswered = peer.outstanding.len();
            let room = (IN_FLIGHT - unanswered.min(IN_FLIGHT)) as u64;
            let room_bytes = IN_FLIGHT_BYTES.saturating_sub(peer.outstanding_bytes);
            let fit = (room_bytes / u64::from(cast.header.chunk_size())).max(u64::from(unanswered == 0));
            let most = room.min(fit).min(u64::from(MAX_WANT)) as u32;
            if most == 0 {
                return None;
            }
            let Some(pick) = cast.pick(slot, peer, most, work) else {
                if peer.has.get(&slot).is_none_or(|claims| claims.todo.is_empty()) {
                    peer.active.remove(&slot);
                }
                continue;
            };
            let id = cast.header.id();
            match pick {
                Pick::Chunks(_, count) if unanswered > DEEP && count == most => return None,
                Pick::Load(page) => {
                    cast.loading.set(page);
                    return Some(Request::Load(slot, page));
                }
                Pick::Page(page) => {
                    cast.ask(Part::Page(page), key, now);
                    peer.outstanding.insert((id, Part::Page(page)), 0);
                    peer.page_credit -= 1;
                    self.expiry.get_or_insert(now + PATIENCE);
                    return Some(Request::Send(Message::WantPage { id, page }));
                }
                Pick::Chunks(first, count) => {
                    for index in first..first + count {
                        cast.ask(Part::Chunk(index), key, now);
                        let len = cast.header.chunk_len(index) as u64;
                        peer.outstanding.insert((id, Part::Chunk(index)), len);
                        peer.outstanding_bytes += len;
                    }
                    self.expiry.get_or_insert(now + PATIENCE);
                    return Some(Request::Send(Message::WantChunk { id, first, count: count as u16 }));
                }
            }
        }
        None
    }

    /// Frees what was not answered in time, so that another may be asked. A late answer stays welcome.
    pub(super) fn expire(&mut self, now: Instant) {
        if self.expiry.is_none_or(|at| now < at) {
            return;
        }
        let (mut oldest, mut freed) = (None, Vec::new());
        for (slot, cast) in &mut self.casts {
            let mut late = Vec::new();
            while let Some((at, part)) = cast.deadlines.first().copied() {
                if at + PATIENCE > now {
                    oldest = Some(oldest.map_or(at, |oldest: Instant| oldest.min(at)));
                    break;
                }
                cast.forget_ask(part);
                late.push(part);
            }
            if !late.is_empty() {
                freed.push((*slot, late));
            }
        }
        self.worked(self.casts.len() as u64);
        self.expiry = oldest.map(|at| at + PATIENCE);
        if !freed.is_empty() {
            freed.into_iter().for_each(|(slot, late)| self.reopen(slot, &late));
            self.wake_all();
        }
    }

    /// An answer came: was it asked for? It stays marked as asked until it is checked and stored. `None` when
    /// its cast was forgotten since.
    pub(super) fn answered(
        &mut self,
        key: PeerKey,
        id: CastId,
        part: Part,
    ) -> Result<Option<(Slot, &mut CastState)>, Malformed> {
        let peer = self.peers.get_mut(&key).ok_or(UNASKED)?;
        let len = peer.outstanding.remove(&(id, part)).ok_or(UNASKED)?;
        peer.outstanding_bytes = peer.outstanding_bytes.saturating_sub(len);
        if matches!(part, Part::Chunk(_)) {
            peer.page_credit = (peer.page_credit + 1).min(4 * PAGE_CREDIT);
        }
        let Some(slot) = self.ids.get(&id).copied() else { return Ok(None) };
        // What was late and dropped may be asked of this peer again.
        let mut page = super::PageSet::default();
        page.set(match part {
            Part::Page(page) => page,
            Part::Chunk(index) => page_of(index),
        });
        if peer.has.get_mut(&slot).is_some_and(|claims| claims.reopen(page)) {
            peer.active.insert(slot);
        }
        Ok(self.casts.get_mut(&slot).map(|cast| (slot, cast)))
    }

    pub(super) fn on_missing(&mut self, key: PeerKey, id: CastId, what: Part) -> Result<(), Malformed> {
        let Some((slot, cast)) = self.answered(key, id, what)? else { return Ok(()) };
        let freed = cast.unask(what, key);
        if let Some(peer) = self.peers.get_mut(&key)
            && let Some(claims) = peer.has.get_mut(&slot)
        {
            match what {
                // Without the page none of its chunks can be checked: do not ask this peer for them.
                Part::Page(page) => claims.remove_page(page, &mut peer.partial),
                Part::Chunk(index) => claims.remove(index, &mut peer.partial),
            }
        }
        if freed {
            self.reopen(slot, &[what]);
            self.wake_all();
        }
        Ok(())
    }

    /// A page was checked and is kept. The bytes must own no more than themselves.
    pub(crate) fn page_stored(&mut self, slot: Slot, page: u16, hashes: Bytes) {
        let Some(cast) = self.casts.get_mut(&slot).filter(|cast| cast.phase == Phase::Ready) else { return };
        cast.forget_ask(Part::Page(page));
        cast.known.set(page);
        self.keep_page(slot, page, hashes);
    }

    /// A page was read from the store; none when the store does not have it after all.
    pub(crate) fn page_loaded(&mut self, slot: Slot, page: u16, hashes: Option<Bytes>) {
        let Some(cast) = self.casts.get_mut(&slot).filter(|cast| cast.phase == Phase::Ready) else { return };
        cast.loading.clear(page);
        match hashes {
            Some(hashes) => self.keep_page(slot, page, hashes),
            None => {
                cast.known.clear(page);
                self.reopen(slot, &[Part::Page(page)]);
                self.wake_all();
            }
        }
    }

    fn keep_page(&mut self, slot: Slot, page: u16, hashes: Bytes) {
        let Some(cast) = self.casts.get_mut(&slot) else { return };
        if cast.make_room() {
            cast.loaded.insert(page, hashes);
            cast.loaded_set.set(page);
        }
        self.reopen(slot, &[Part::Page(page)]);
        self.wake_all();
    }

    /// A chunk was checked and is kept. `true` when it was the first time.
    pub(crate) fn stored(&mut self, slot: Slot, index: u32) -> bool {
        let clock = self.clock;
        let Some(cast) = self.casts.get_mut(&slot).filter(|cast| cast.phase == Phase::Ready) else {
            return false;
        };
        cast.forget_ask(Part::Chunk(index));
        let fresh = cast.held.set(index);
        if fresh {
            cast.order.push(index);
            cast.moved = clock;
            let page = page_of(index);
            if cast.page_done(page) {
                cast.unload(page);
            }
            // With its first chunk the cast goes on to everybody.
            let first = cast.held.ones() == 1;
            for (key, peer) in &mut self.peers {
                if first {
                    peer.owed.fresh(slot);
                }
                peer.owed.due(slot);
                if first || !peer.owed.armed {
                    self.wake.insert(*key);
                }
            }
        }
        fresh
    }
}
