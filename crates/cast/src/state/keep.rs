//! Which casts of others are kept: slots, who yields when they are full, and when a cast is forgotten.
//!
//! | cast | forgotten |
//! |---|---|
//! | its store failed | after [`UNSERVED`] |
//! | no chunk here, and nobody connected announced it | after [`UNSERVED`] |
//! | no chunk here, though somebody says there are | after [`STALLED`] |
//! | part of it here, and it does not move on | after [`ABANDONED`], with its files |
//! | whole | when its slot is needed; its files stay |
//!
//! When [`MAX_CASTS`] are taken a new one takes the place of, in this order: one that failed; of the peer that brought most
//! among those with whole ones, the one that is whole for longest; one of the peer that brought most, when that are at
//! least two more than the newcomer has; one without a chunk that is older than [`GRACE`]; one that has not moved for a
//! minute. A peer that brought [`MAX_PER_PEER`] may replace its own whole ones only. Forgetting for a slot never deletes
//! files, so that a part goes on where it was when it is announced again; how many bytes stay on disk is the store's limit.
//!
//! A cast that was whole here, or that the user removed, is not taken a second time: the ids of the last [`MAX_HAD`] are kept.
//! Without them, neighbours with more casts than places would announce to each other what the other has just
//! forgotten, without end.
//!
//! Does not protect from somebody with many identities who keeps many casts moving: limit the peers.

use super::{CastState, Phase, Slot, State};
use crate::manifest::{CastId, Header};
use std::cmp::Reverse;
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;
use switchboard::id::PeerId;
use tokio::time::Instant;

/// Casts of others a node keeps at once.
pub const MAX_CASTS: usize = 64;
/// Casts one peer may have brought.
pub const MAX_PER_PEER: usize = 32;
/// Casts a node starts.
pub const MAX_OWN: usize = 64;
/// A cast without a chunk that nobody connected announced is forgotten after this time.
pub const UNSERVED: Duration = Duration::from_secs(60);
/// A cast without a chunk is forgotten after this time, whoever announced it.
pub const STALLED: Duration = Duration::from_secs(600);
/// A cast that is not whole and got no chunk for this time is forgotten and deleted.
pub const ABANDONED: Duration = Duration::from_secs(24 * 3600);
/// Casts that were whole or removed, and are not taken again (about 100 bytes each).
pub const MAX_HAD: usize = 4_096;
/// How often that is looked for.
pub(super) const SWEEP: Duration = Duration::from_secs(30);
/// A new cast does not yield to others before this time.
const GRACE: Duration = Duration::from_secs(10);
/// A cast that got no chunk for this time yields to others.
const IDLE: Duration = Duration::from_secs(60);

/// A cast that was forgotten.
#[derive(Debug)]
pub(crate) struct Gone {
    pub(crate) slot: Slot,
    pub(crate) id: CastId,
    pub(crate) why: &'static str,
    /// Whether its files go too.
    pub(crate) delete: bool,
}

/// What was here and is not taken again: the last [`MAX_HAD`].
#[derive(Debug, Default)]
pub(super) struct Had {
    ids: BTreeSet<CastId>,
    order: VecDeque<CastId>,
}

impl Had {
    fn note(&mut self, id: CastId) {
        if !self.ids.insert(id) {
            return;
        }
        self.order.push_back(id);
        if self.order.len() > MAX_HAD
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }
}

impl CastState {
    fn idle(&self, now: Instant) -> Duration {
        self.moved.map_or(Duration::ZERO, |at| now.saturating_duration_since(at))
    }

    fn whole(&self) -> bool {
        self.phase == Phase::Ready && self.sum.is_some()
    }
}

impl State {
    /// Casts of others.
    pub(super) fn received(&self) -> usize {
        self.casts.values().filter(|cast| !cast.own).count()
    }

    /// Casts that this peer brought; nobody brought those of an earlier run.
    fn brought(&self, origin: Option<PeerId>) -> usize {
        self.casts.values().filter(|cast| !cast.own && cast.origin == origin).count()
    }

    /// Whether a new cast is not taken; the inner text is there when that was not told before.
    pub(super) fn refuses(
        &mut self,
        header: &Header,
        origin: PeerId,
        now: Instant,
    ) -> Option<Option<&'static str>> {
        let first = |told: &mut bool| !std::mem::replace(told, true);
        if !self.receive || self.had.ids.contains(&header.id()) {
            return Some(None);
        }
        if header.size() > self.max_bytes {
            return Some(first(&mut self.told_large).then_some("larger than this node takes"));
        }
        let victim = match (self.brought(Some(origin)), self.received()) {
            (MAX_PER_PEER.., _) => self.oldest_whole(Some(origin)),
            (mine, MAX_CASTS..) => self.victim(mine, now),
            _ => return None,
        };
        match victim {
            Some(slot) => self.forget(slot, "its place was needed", false),
            None => return Some(first(&mut self.told_full).then_some("too many casts")),
        }
        None
    }

    /// The cast that is whole for longest: of one peer, or of the one that brought most of those with whole ones. Those of
    /// an earlier run count as one peer's.
    fn oldest_whole(&self, of: Option<PeerId>) -> Option<Slot> {
        let others = || self.casts.iter().filter(|(_, cast)| !cast.own);
        let fits = |cast: &CastState| cast.whole() && (of.is_none() || cast.origin == of);
        let whole = others().filter(|(_, cast)| fits(cast));
        let first = |cast: &CastState| (Reverse(self.brought(cast.origin)), cast.moved);
        whole.min_by_key(|(_, cast)| first(cast)).map(|(slot, _)| *slot)
    }

    /// Who makes place for a cast of a peer that brought `mine`.
    fn victim(&self, mine: usize, now: Instant) -> Option<Slot> {
        let others = || self.casts.iter().filter(|(_, cast)| !cast.own);
        let failed = others().find(|(_, cast)| cast.phase == Phase::Failed).map(|(slot, _)| *slot);
        let greedy = || {
            let of = |cast: &CastState| cast.origin.map_or(0, |origin| self.brought(Some(origin)));
            let most = others().map(|(_, cast)| of(cast)).max().filter(|most| *most > mine + 1)?;
            let theirs = others().filter(|(_, cast)| of(cast) == most);
            theirs.min_by_key(|(slot, cast)| (cast.held.ones(), **slot)).map(|(slot, _)| *slot)
        };
        let idle = |after: Duration, empty: bool| {
            let stuck =
                others().filter(|(_, cast)| cast.idle(now) > after && (!empty || cast.held.ones() == 0));
            stuck.max_by_key(|(_, cast)| cast.idle(now)).map(|(slot, _)| *slot)
        };
        failed
            .or_else(|| self.oldest_whole(None))
            .or_else(greedy)
            .or_else(|| idle(GRACE, true))
            .or_else(|| idle(IDLE, false))
    }

    /// A cast whose bytes make room on disk for those of another: a whole one, or one that does not move.
    pub(crate) fn yield_bytes(&mut self, for_slot: Slot) -> bool {
        let now = self.clock;
        let stuck = || {
            let of = |cast: &CastState| now.map(|now| cast.idle(now)).filter(|idle| *idle > STALLED);
            let others = self.casts.iter().filter(|(_, cast)| !cast.own && cast.held.ones() > 0);
            others.filter_map(|(slot, cast)| Some((of(cast)?, *slot))).max().map(|(_, slot)| slot)
        };
        let found = self.oldest_whole(None).or_else(stuck).filter(|slot| *slot != for_slot);
        if let Some(slot) = found {
            self.forget(slot, "its bytes were needed", true);
        }
        found.is_some()
    }

    /// Forgets what nobody serves.
    pub(super) fn sweep(&mut self, now: Instant) {
        if self.sweep_at.is_none_or(|at| now < at) {
            return;
        }
        self.casts.values_mut().filter(|cast| cast.moved.is_none()).for_each(|cast| cast.moved = Some(now));
        let due: Vec<(Slot, &'static str, bool)> = self
            .casts
            .iter()
            .filter(|(_, cast)| !cast.own && cast.phase != Phase::Opening && !cast.whole())
            .filter_map(|(slot, cast)| {
                let served = || self.peers.values().any(|peer| peer.has.contains_key(slot));
                let idle = cast.idle(now);
                match cast.phase {
                    Phase::Failed => (idle >= UNSERVED).then_some((*slot, "its store failed", false)),
                    _ if cast.held.ones() > 0 => {
                        (idle >= ABANDONED).then_some((*slot, "nobody serves it", true))
                    }
                    _ if idle >= STALLED || (idle >= UNSERVED && !served()) => {
                        Some((*slot, "nobody serves it", true))
                    }
                    _ => None,
                }
            })
            .collect();
        due.into_iter().for_each(|(slot, why, delete)| self.forget(slot, why, delete));
        self.sweep_at = self.casts.values().any(|cast| !cast.own).then_some(now + SWEEP);
    }

    /// Forgets a cast by its id, with its files. `false` when there is none.
    pub(crate) fn remove(&mut self, id: CastId) -> bool {
        let slot = self.find(id);
        if let Some(slot) = slot {
            self.forget(slot, "removed", true);
            self.had.note(id);
        }
        slot.is_some()
    }

    fn forget(&mut self, slot: Slot, why: &'static str, delete: bool) {
        let Some(cast) = self.casts.remove(&slot) else { return };
        let id = cast.header.id();
        if !cast.own && cast.whole() {
            self.had.note(id);
        }
        self.ids.remove(&id);
        for peer in self.peers.values_mut() {
            if let Some(claims) = peer.has.remove(&slot) {
                peer.partial = peer.partial.saturating_sub(claims.partial());
            }
            peer.active.remove(&slot);
            peer.owed.forget(slot);
        }
        // There is room again: the next refusal is news.
        self.told_full = false;
        self.gone.push(Gone { slot, id, why, delete: delete && !cast.own });
    }

    /// Whether something was forgotten since the last [`State::take_gone`].
    pub(crate) fn has_gone(&self) -> bool {
        !self.gone.is_empty()
    }

    /// What was forgotten since the last call.
    pub(crate) fn take_gone(&mut self) -> Vec<Gone> {
        std::mem::take(&mut self.gone)
    }
}
