//! What to ask of whom: the first missing chunks this peer holds and nobody was asked for, page first.

use super::{
    CastState, IN_FLIGHT, IN_FLIGHT_BYTES, PATIENCE, PeerKey, PeerState, Phase, Slot, State, UNASKED,
};
use crate::manifest::{CastId, Malformed, PAGE_CHUNKS, page_of};
use crate::message::{MAX_WANT, Message, Part};
use bytes::Bytes;
use tokio::time::Instant;

/// With this many unanswered, few more are worth a message of their own.
const DEEP: usize = IN_FLIGHT * 3 / 4;
/// Pages of one cast asked for at once.
const PAGES_AHEAD: usize = 2;

impl CastState {
    pub(super) fn ask(&mut self, part: Part, of: PeerKey, now: Instant) {
        self.asked.insert(part, (of, now));
        if let Part::Chunk(index) = part {
            self.asked_chunks.set(index);
        }
    }

    /// Gives up a question to that peer, if it still is the one.
    pub(super) fn unask(&mut self, part: Part, of: PeerKey) {
        if self.asked.get(&part).is_some_and(|(whom, _)| *whom == of) {
            self.forget_ask(part);
        }
    }

    pub(super) fn unask_all(&mut self, of: PeerKey) {
        let parts: Vec<_> =
            self.asked.iter().filter(|(_, (whom, _))| *whom == of).map(|(part, _)| *part).collect();
        parts.into_iter().for_each(|part| self.forget_ask(part));
    }

    fn forget_ask(&mut self, part: Part) {
        self.asked.remove(&part);
        if let Part::Chunk(index) = part {
            self.asked_chunks.clear(index);
        }
    }

    fn has_page(&self, page: u16) -> bool {
        self.pages.get(usize::from(page)).is_some_and(Option::is_some)
    }

    /// What this peer could be asked for now: a page, or up to `most` chunks in a row.
    fn pick(&self, slot: Slot, peer: &PeerState, most: u32) -> Option<(Part, u32)> {
        let has = peer.has.get(&slot)?;
        let pages_asked = self.asked.range(..=Part::Page(u16::MAX)).count();
        let mut at = self.low;
        while at < has.len() {
            let word = has.word(at / 64) & !self.held.word(at / 64) & !self.asked_chunks.word(at / 64);
            let open = word >> (at % 64);
            if open == 0 {
                at = (at | 63) + 1;
                continue;
            }
            at += open.trailing_zeros();
            let page = page_of(at);
            if !self.has_page(page) {
                let part = Part::Page(page);
                let free = !self.asked.contains_key(&part) && !peer.outstanding.contains(&(slot, part));
                if free && pages_asked < PAGES_AHEAD {
                    return Some((part, 1));
                }
                at = (at / PAGE_CHUNKS + 1) * PAGE_CHUNKS;
                continue;
            }
            // Late ones are still outstanding with this peer and must not be asked of it twice.
            let end = ((at / PAGE_CHUNKS + 1) * PAGE_CHUNKS).min(has.len());
            let open = |i: &u32| {
                has.has(*i)
                    && !self.held.has(*i)
                    && !self.asked_chunks.has(*i)
                    && !peer.outstanding.contains(&(slot, Part::Chunk(*i)))
            };
            let count = (at..end).take(most as usize).take_while(open).count() as u32;
            if count > 0 {
                return Some((Part::Chunk(at), count));
            }
            at += 1;
        }
        None
    }
}

impl State {
    /// The next request to this peer, marked as asked.
    pub(super) fn next_request(&mut self, key: PeerKey, now: Instant) -> Option<Message> {
        let peer = self.peers.get_mut(&key)?;
        for (slot, cast) in self.casts.iter_mut().enumerate() {
            if cast.phase != Phase::Ready || cast.held.all() {
                continue;
            }
            let unanswered = peer.outstanding.len();
            let room = (IN_FLIGHT - unanswered.min(IN_FLIGHT)) as u64;
            let room_bytes = IN_FLIGHT_BYTES.saturating_sub(peer.outstanding_bytes);
            let fit = (room_bytes / u64::from(cast.header.chunk_size())).max(u64::from(unanswered == 0));
            let most = room.min(fit).min(u64::from(MAX_WANT)) as u32;
            if most == 0 {
                return None;
            }
            let Some((part, count)) = cast.pick(slot, peer, most) else { continue };
            if unanswered > DEEP && count == most && matches!(part, Part::Chunk(_)) {
                return None;
            }
            let id = cast.header.id();
            self.expiry.get_or_insert(now + PATIENCE);
            return Some(match part {
                Part::Page(page) => {
                    cast.ask(part, key, now);
                    peer.outstanding.insert((slot, part));
                    Message::WantPage { id, page }
                }
                Part::Chunk(first) => {
                    for index in first..first + count {
                        cast.ask(Part::Chunk(index), key, now);
                        peer.outstanding.insert((slot, Part::Chunk(index)));
                        peer.outstanding_bytes += cast.header.chunk_len(index) as u64;
                    }
                    Message::WantChunk { id, first, count: count as u16 }
                }
            });
        }
        None
    }

    /// Frees what was not answered in time, so that another may be asked. A late answer stays welcome.
    pub(super) fn expire(&mut self, now: Instant) {
        if self.expiry.is_none_or(|at| now < at) {
            return;
        }
        let mut oldest = None;
        for cast in &mut self.casts {
            let mut late = Vec::new();
            for (part, (_, at)) in &cast.asked {
                if *at + PATIENCE <= now {
                    late.push(*part);
                } else if oldest.is_none_or(|oldest| *at < oldest) {
                    oldest = Some(*at);
                }
            }
            late.into_iter().for_each(|part| cast.forget_ask(part));
        }
        self.expiry = oldest.map(|at| at + PATIENCE);
        self.wake_all();
    }

    /// An answer came: was it asked for? It stays marked as asked until it is checked and stored.
    pub(super) fn answered(&mut self, key: PeerKey, id: CastId, part: Part) -> Result<Slot, Malformed> {
        let slot = self.find(id).ok_or(UNASKED)?;
        let peer = self.peers.get_mut(&key).ok_or(UNASKED)?;
        let cast = self.casts.get(slot).ok_or(UNASKED)?;
        if !peer.outstanding.remove(&(slot, part)) {
            return Err(UNASKED);
        }
        if let Part::Chunk(index) = part {
            let len = cast.header.chunk_len(index) as u64;
            peer.outstanding_bytes = peer.outstanding_bytes.saturating_sub(len);
        }
        Ok(slot)
    }

    pub(super) fn on_missing(&mut self, key: PeerKey, id: CastId, what: Part) -> Result<(), Malformed> {
        let slot = self.answered(key, id, what)?;
        let Some(cast) = self.casts.get_mut(slot) else { return Err(UNASKED) };
        cast.unask(what, key);
        // Without the page none of its chunks can be checked: do not ask this peer for them.
        let (first, count) = match what {
            Part::Page(page) => cast.page_range(page),
            Part::Chunk(index) => (index, 1),
        };
        if let Some(has) = self.peers.get_mut(&key).and_then(|peer| peer.has.get_mut(&slot)) {
            (first..first.saturating_add(count)).for_each(|index| has.clear(index));
        }
        self.wake_all();
        Ok(())
    }

    /// A page was checked and is kept.
    pub(crate) fn page_stored(&mut self, slot: Slot, page: u16, hashes: &[u8]) {
        let Some(cast) = self.casts.get_mut(slot).filter(|cast| cast.phase == Phase::Ready) else { return };
        cast.forget_ask(Part::Page(page));
        if let Some(place) = cast.pages.get_mut(usize::from(page)) {
            // A copy, so that the message it came in is freed.
            *place = Some(Bytes::copy_from_slice(hashes));
        }
        self.wake_all();
    }

    /// A chunk was checked and is kept. `true` when it was the first time.
    pub(crate) fn stored(&mut self, slot: Slot, index: u32) -> bool {
        let Some(cast) = self.casts.get_mut(slot).filter(|cast| cast.phase == Phase::Ready) else {
            return false;
        };
        cast.forget_ask(Part::Chunk(index));
        let fresh = cast.held.set(index);
        if fresh {
            cast.order.push(index);
            cast.low = cast.held.next_clear(cast.low).unwrap_or(cast.held.len());
            let idle = self.peers.iter().filter(|(_, peer)| !peer.owed.armed);
            self.wake.extend(idle.map(|(key, _)| *key));
        }
        fresh
    }
}
