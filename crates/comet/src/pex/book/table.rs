//! The book itself: what is told, tried, proven and banned.

use super::buckets::Buckets;
use super::hash::Placement;
use super::known::{Kind, Known};
use super::{
    BUCKET_SIZE, MAX_BANNED, MAX_BUCKETS_PER_ADDRESS, MAX_OWN, MAX_PRIVATE, NEED_MORE_BELOW, NEW_BUCKETS,
    OLD_BUCKETS,
};
use crate::key::NodeId;
use crate::pex::address::{Group, PeerAddress};
use crate::pex::stamp::Stamp;
use crate::pex::{below, unit};
use rand::Rng;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

/// Why an address was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Nobody can be there.
    #[error("no node can be at that address")]
    Invalid,
    /// Its ID is banned.
    #[error("its ID is banned")]
    Banned,
    /// Its ID is private.
    #[error("its ID is private")]
    Private,
    /// Who told it is private.
    #[error("who told it is private")]
    PrivateSource,
    /// It is our own.
    #[error("it is our own address")]
    Own,
    /// It is not reachable from the public internet, and the book is strict.
    #[error("it is not reachable from outside; allow local addresses to keep it")]
    NotRoutable,
}

/// What became of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// The book did not know it.
    New,
    /// It has one more bucket now.
    Again,
    /// Nothing changed.
    Known,
}

#[derive(Debug, Clone)]
pub(super) struct Banned {
    pub(super) until: Stamp,
    pub(super) known: Option<Box<Known>>,
}

/// An address book.
#[derive(Debug, Clone)]
pub struct Book {
    pub(super) key: String,
    placement: Placement,
    strict: bool,
    slots: Vec<Option<Known>>,
    vacant: Vec<u16>,
    /// Only looked up, never walked.
    by_id: HashMap<NodeId, u16>,
    new: Buckets,
    old: Buckets,
    /// The same addresses without buckets, for drawing one.
    lists: [Vec<u16>; 2],
    own_id: Option<NodeId>,
    own: BTreeSet<(IpAddr, u16)>,
    private: BTreeSet<NodeId>,
    pub(super) banned: BTreeMap<NodeId, Banned>,
    ban_ends: BTreeSet<(Stamp, NodeId)>,
    changed: bool,
}

impl Book {
    /// An empty book. A strict one takes only addresses that are reachable from the public internet.
    #[must_use]
    pub fn new<R: Rng + ?Sized>(strict: bool, rng: &mut R) -> Self {
        let mut key = [0; 12];
        rng.fill_bytes(&mut key);
        Self::with_key(hex::encode(key), strict)
    }

    /// An empty book with the given key: 24 hex digits where the Go code made it.
    #[must_use]
    pub fn with_key(key: String, strict: bool) -> Self {
        Self {
            placement: Placement::new(&key),
            key,
            strict,
            slots: Vec::new(),
            vacant: Vec::new(),
            by_id: HashMap::new(),
            new: Buckets::new(NEW_BUCKETS),
            old: Buckets::new(OLD_BUCKETS),
            lists: [Vec::new(), Vec::new()],
            own_id: None,
            own: BTreeSet::new(),
            private: BTreeSet::new(),
            banned: BTreeMap::new(),
            ban_ends: BTreeSet::new(),
            changed: false,
        }
    }

    // What is known.

    /// Whether only addresses reachable from the public internet are taken.
    #[must_use]
    pub fn strict(&self) -> bool {
        self.strict
    }

    /// Addresses in the book.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether the book has no address.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Addresses of one kind.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        self.list(kind).len()
    }

    /// Whether the book wants more addresses.
    #[must_use]
    pub fn need_more(&self) -> bool {
        self.len() < NEED_MORE_BELOW
    }

    /// What is known of an ID.
    #[must_use]
    pub fn get(&self, id: &NodeId) -> Option<&Known> {
        self.known_at(*self.by_id.get(id)?)
    }

    /// Whether the ID was proven by a session.
    #[must_use]
    pub fn is_good(&self, id: &NodeId) -> bool {
        self.get(id).is_some_and(|known| known.kind == Kind::Old)
    }

    /// Everything that is known, sorted by ID. Walks the whole book.
    #[must_use]
    pub fn sorted(&self) -> Vec<&Known> {
        let mut all: Vec<_> = self.slots.iter().flatten().collect();
        all.sort_unstable_by_key(|known| known.address.id);
        all
    }

    /// Whether the addresses lie in at least so many groups. Stops at the last one that counts.
    #[must_use]
    pub fn has_groups(&self, many: usize) -> bool {
        let mut seen = BTreeSet::new();
        self.slots.iter().flatten().any(|known| {
            seen.insert(known.address.group(self.strict));
            seen.len() >= many
        })
    }

    /// Bytes held, as the sizes of its parts.
    #[must_use]
    pub fn memory(&self) -> usize {
        // A map of the standard library: 7 of 8 places are filled, each has a byte beside it.
        let index = self.by_id.capacity() * 8 / 7 * (size_of::<(NodeId, u16)>() + 1);
        let lists: usize = self.lists.iter().map(|list| list.capacity() * 2).sum();
        let banned = self.banned.len() * (size_of::<(NodeId, Banned)>() + size_of::<(Stamp, NodeId)>());
        let kept = self.banned.values().filter(|banned| banned.known.is_some()).count() * size_of::<Known>();
        let slots = self.slots.capacity() * size_of::<Option<Known>>() + self.vacant.capacity() * 2;
        size_of::<Self>() + slots + index + lists + banned + kept + self.new.memory() + self.old.memory()
    }

    /// Whether there is something to save.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    /// Whether there is something to save since the last call.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    // Ourselves and whom we keep to ourselves.

    /// Our ID: no address with it is taken.
    pub fn set_own_id(&mut self, id: NodeId) {
        self.own_id = Some(id);
        self.remove(&id);
    }

    /// One of our own addresses: nothing there is taken.
    pub fn add_own(&mut self, address: PeerAddress) {
        if self.own.len() < MAX_OWN {
            self.own.insert((address.ip, address.port));
        }
        if self.get(&address.id).is_some_and(|known| known.address == address) {
            self.remove(&address.id);
        }
    }

    /// Whether that is one of our own addresses.
    #[must_use]
    pub fn is_own(&self, address: &PeerAddress) -> bool {
        self.own_id == Some(address.id) || self.own.contains(&(address.ip, address.port))
    }

    /// Our ID, where it was told.
    #[must_use]
    pub fn own_id(&self) -> Option<NodeId> {
        self.own_id
    }

    /// Whether that is our own ID.
    #[must_use]
    pub fn is_own_id(&self, id: &NodeId) -> bool {
        self.own_id == Some(*id)
    }

    /// IDs that are neither kept nor told, nor are the addresses they tell.
    pub fn add_private(&mut self, ids: impl IntoIterator<Item = NodeId>) {
        for id in ids {
            if self.private.len() < MAX_PRIVATE {
                self.private.insert(id);
            }
        }
        let told: Vec<NodeId> = self
            .slots
            .iter()
            .flatten()
            .filter(|k| self.private.contains(&k.address.id) || self.private.contains(&k.source.id))
            .map(|known| known.address.id)
            .collect();
        told.iter().for_each(|id| self.remove(id));
    }

    // What is told.

    /// Takes an address that `source` told. A known one may get another bucket, the less likely the more it has.
    ///
    /// # Errors
    /// Why it is not taken; nobody need be at fault.
    pub fn add<R: Rng + ?Sized>(
        &mut self,
        address: PeerAddress,
        source: PeerAddress,
        now: Stamp,
        rng: &mut R,
    ) -> Result<Added, Refused> {
        self.judge(&address, &source, now)?;
        let (slot, added) = match self.by_id.get(&address.id) {
            None => (None, Added::New),
            Some(&slot) => {
                let Some(known) = self.known_at(slot) else { return Ok(Added::Known) };
                let refs = known.buckets().len();
                let full = known.kind == Kind::Old || refs == MAX_BUCKETS_PER_ADDRESS;
                if full || below(rng, 2 * refs) != 0 {
                    return Ok(Added::Known);
                }
                (Some(slot), Added::Again)
            }
        };
        // Where a known address goes is decided by the place that is known, not by the one that is told.
        let place = slot.and_then(|slot| self.known_at(slot)).map_or(address, |known| known.address);
        let bucket = self.new_bucket(&place, &source);
        match slot {
            Some(slot) if self.known_at(slot).is_some_and(|known| known.buckets().contains(&bucket)) => {
                Ok(Added::Known)
            }
            Some(slot) => {
                self.make_room(bucket, now);
                self.enter(slot, bucket);
                Ok(added)
            }
            None => {
                self.make_room(bucket, now);
                self.settle(Known::new(address, source, now), bucket);
                Ok(added)
            }
        }
    }

    fn judge(&self, address: &PeerAddress, source: &PeerAddress, now: Stamp) -> Result<(), Refused> {
        if !address.dialable() {
            return Err(Refused::Invalid);
        }
        if self.is_banned(&address.id, now) {
            return Err(Refused::Banned);
        }
        if self.private.contains(&address.id) {
            return Err(Refused::Private);
        }
        if self.private.contains(&source.id) {
            return Err(Refused::PrivateSource);
        }
        if self.is_own(address) {
            return Err(Refused::Own);
        }
        if self.strict && !address.routable() { Err(Refused::NotRoutable) } else { Ok(()) }
    }

    /// Forgets an address.
    pub fn remove(&mut self, id: &NodeId) {
        if let Some(slot) = self.by_id.get(id).copied() {
            self.take(slot);
        }
    }

    // What became of it.

    /// A session with this ID went well: its address becomes old.
    pub fn mark_good(&mut self, id: &NodeId, now: Stamp) {
        let Some(slot) = self.by_id.get(id).copied() else { return };
        let Some(known) = self.known_at_mut(slot) else { return };
        known.attempts = 0;
        (known.last_attempt, known.last_success) = (now, now);
        self.changed = true;
        if self.known_at(slot).is_some_and(|known| known.kind == Kind::New) {
            self.promote(slot, now);
        }
    }

    /// It was dialled in vain.
    pub fn mark_attempt(&mut self, id: &NodeId, now: Stamp) {
        let Some(known) = self.by_id.get(id).copied().and_then(|slot| self.known_at_mut(slot)) else {
            return;
        };
        known.last_attempt = now;
        known.attempts = known.attempts.saturating_add(1);
        self.changed = true;
    }

    /// The node behaved badly: its address leaves the book and is not taken back until then. A ban is never
    /// shortened.
    pub fn mark_bad(&mut self, id: &NodeId, until: Stamp) {
        let known = self.by_id.get(id).copied().and_then(|slot| self.take(slot)).map(Box::new);
        let (until, known) = match self.banned.remove(id) {
            Some(before) => {
                self.ban_ends.remove(&(before.until, *id));
                (until.max(before.until), known.or(before.known))
            }
            None => (until, known),
        };
        let known = known.map(|mut known| {
            known.last_ban = until;
            known
        });
        self.banned.insert(*id, Banned { until, known });
        self.ban_ends.insert((until, *id));
        while self.banned.len() > MAX_BANNED {
            let Some((_, first)) = self.ban_ends.pop_first() else { break };
            self.banned.remove(&first);
        }
        self.changed = true;
    }

    /// Whether an ID is banned now.
    #[must_use]
    pub fn is_banned(&self, id: &NodeId, now: Stamp) -> bool {
        self.banned.get(id).is_some_and(|banned| banned.until > now)
    }

    /// IDs that are banned and until when, sorted.
    pub fn bans(&self) -> impl Iterator<Item = (NodeId, Stamp)> + '_ {
        self.banned.iter().map(|(id, banned)| (*id, banned.until))
    }

    /// Takes back the addresses whose bans have ended; how many.
    pub fn reinstate(&mut self, now: Stamp) -> usize {
        let mut back = 0;
        while let Some((until, id)) = self.ban_ends.first().copied() {
            if until > now {
                break;
            }
            self.ban_ends.pop_first();
            self.changed = true;
            let Some(Banned { known: Some(mut known), .. }) = self.banned.remove(&id) else { continue };
            if self.by_id.contains_key(&id) || self.judge(&known.address, &known.source, now).is_err() {
                continue;
            }
            let bucket = self.new_bucket(&known.address, &known.source);
            self.make_room(bucket, now);
            known.kind = Kind::New;
            self.settle(*known, bucket);
            back += 1;
        }
        back
    }

    // Whom to dial.

    /// A random address: out of a random bucket, which is new rather than old by `bias` percent and by the square
    /// root of how many of each there are. `None` also when the kind that was drawn has none.
    #[must_use]
    pub fn pick<R: Rng + ?Sized>(&self, bias: u8, rng: &mut R) -> Option<&Known> {
        let bias = f64::from(bias.min(100));
        let weight = |kind, share: f64| (self.count(kind) as f64).sqrt() * share;
        let (old, new) = (weight(Kind::Old, 100.0 - bias), weight(Kind::New, bias));
        let buckets = if (new + old) * unit(rng) < old { &self.old } else { &self.new };
        self.known_at(buckets.pick(rng)?)
    }

    // Inside.

    pub(super) fn list(&self, kind: Kind) -> &[u16] {
        let [new, old] = &self.lists;
        match kind {
            Kind::New => new,
            Kind::Old => old,
        }
    }

    fn list_mut(&mut self, kind: Kind) -> &mut Vec<u16> {
        let [new, old] = &mut self.lists;
        match kind {
            Kind::New => new,
            Kind::Old => old,
        }
    }

    fn buckets_mut(&mut self, kind: Kind) -> &mut Buckets {
        match kind {
            Kind::New => &mut self.new,
            Kind::Old => &mut self.old,
        }
    }

    pub(super) fn known_at(&self, slot: u16) -> Option<&Known> {
        self.slots.get(usize::from(slot)).and_then(Option::as_ref)
    }

    fn known_at_mut(&mut self, slot: u16) -> Option<&mut Known> {
        self.slots.get_mut(usize::from(slot)).and_then(Option::as_mut)
    }

    fn group(&self, address: &PeerAddress) -> Group {
        address.group(self.strict)
    }

    fn new_bucket(&self, address: &PeerAddress, source: &PeerAddress) -> u8 {
        self.placement.new_bucket(self.group(address), self.group(source))
    }

    fn old_bucket(&self, address: &PeerAddress) -> u8 {
        self.placement.old_bucket(address, self.group(address))
    }

    /// Makes sure that a new bucket has room: a bad address goes, else the one tried longest ago.
    fn make_room(&mut self, bucket: u8, now: Stamp) {
        while self.new.get(bucket).len() >= BUCKET_SIZE {
            let slots = self.new.get(bucket);
            let bad = |slot: &&u16| self.known_at(**slot).is_some_and(|known| known.is_bad(now));
            let Some(slot) = slots.iter().find(bad).copied().or_else(|| self.oldest(slots)) else { return };
            self.leave(slot, bucket);
        }
    }

    fn oldest(&self, slots: &[u16]) -> Option<u16> {
        let tried = |slot: &u16| self.known_at(*slot).map_or(Stamp::NEVER, |known| known.last_attempt);
        slots.iter().copied().min_by_key(tried)
    }

    /// Puts an address into a bucket of its kind.
    fn enter(&mut self, slot: u16, bucket: u8) {
        let Some(known) = self.known_at_mut(slot) else { return };
        if known.add_bucket(bucket) {
            let kind = known.kind;
            self.buckets_mut(kind).push(bucket, slot);
            self.changed = true;
        }
    }

    /// Takes an address out of one new bucket; out of the book when it was the last one.
    fn leave(&mut self, slot: u16, bucket: u8) {
        self.new.remove(bucket, slot);
        self.changed = true;
        let Some(known) = self.known_at_mut(slot) else { return };
        known.remove_bucket(bucket);
        if known.buckets().is_empty() {
            self.take(slot);
        }
    }

    /// Takes an address into the book: a place of its own, a line in the list of its kind, its first bucket.
    pub(super) fn settle(&mut self, mut known: Known, bucket: u8) -> Option<u16> {
        known.clear_buckets();
        let (id, kind) = (known.address.id, known.kind);
        let slot = match self.vacant.pop() {
            Some(slot) => slot,
            None => {
                let slot = u16::try_from(self.slots.len()).ok()?;
                if self.slots.len() == self.slots.capacity() {
                    // By an eighth, not by half: most of the book's memory is here.
                    self.slots.reserve_exact(self.slots.len() / 8 + 64);
                }
                self.slots.push(None);
                slot
            }
        };
        *self.slots.get_mut(usize::from(slot))? = Some(known);
        self.by_id.insert(id, slot);
        self.line_up(slot, kind);
        self.enter(slot, bucket);
        Some(slot)
    }

    /// Takes an address out of the book.
    fn take(&mut self, slot: u16) -> Option<Known> {
        self.unlink(slot);
        let known = self.slots.get_mut(usize::from(slot))?.take()?;
        self.by_id.remove(&known.address.id);
        self.vacant.push(slot);
        self.changed = true;
        Some(known)
    }

    /// Takes an address out of all buckets and the list of its kind.
    fn unlink(&mut self, slot: u16) {
        let Some(known) = self.known_at(slot) else { return };
        let (kind, buckets, place) = (known.kind, known.buckets().to_vec(), usize::from(known.place));
        buckets.into_iter().for_each(|bucket| self.buckets_mut(kind).remove(bucket, slot));
        if let Some(known) = self.known_at_mut(slot) {
            known.clear_buckets();
        }
        let list = self.list_mut(kind);
        if place < list.len() {
            list.swap_remove(place);
        }
        if let Some(moved) = list.get(place).copied()
            && let Some(known) = self.known_at_mut(moved)
        {
            known.place = place as u16;
        }
    }

    fn line_up(&mut self, slot: u16, kind: Kind) {
        let list = self.list_mut(kind);
        let place = list.len() as u16;
        list.push(slot);
        if let Some(known) = self.known_at_mut(slot) {
            (known.kind, known.place) = (kind, place);
        }
    }

    /// Moves an address to the other kind, into one bucket.
    fn turn(&mut self, slot: u16, kind: Kind, bucket: u8) {
        self.unlink(slot);
        self.line_up(slot, kind);
        self.enter(slot, bucket);
    }

    /// Makes a new address old. When its bucket is full, the one tried longest ago becomes new again.
    fn promote(&mut self, slot: u16, now: Stamp) {
        let Some(address) = self.known_at(slot).map(|known| known.address) else { return };
        let bucket = self.old_bucket(&address);
        // Out of all buckets first: the room made below must not be that of this address.
        self.unlink(slot);
        while self.old.get(bucket).len() >= BUCKET_SIZE {
            let Some(demoted) = self.oldest(self.old.get(bucket)) else { break };
            let Some(known) = self.known_at(demoted) else { break };
            let back = self.new_bucket(&known.address, &known.source);
            self.make_room(back, now);
            self.turn(demoted, Kind::New, back);
        }
        self.line_up(slot, Kind::Old);
        self.enter(slot, bucket);
    }

    /// Takes an address as a file has it. Its buckets are kept where they are possible.
    pub(super) fn restore(&mut self, known: Known, buckets: &[u8], most: usize) -> bool {
        if self.by_id.contains_key(&known.address.id) {
            return false;
        }
        let kind = known.kind;
        let mut wanted: Vec<u8> = buckets.to_vec();
        if kind == Kind::Old {
            wanted.truncate(1);
        }
        if wanted.is_empty() {
            wanted.push(match kind {
                Kind::New => self.new_bucket(&known.address, &known.source),
                Kind::Old => self.old_bucket(&known.address),
            });
        }
        wanted.retain(|bucket| self.buckets_mut(kind).get(*bucket).len() < most);
        let Some((first, rest)) = wanted.split_first() else { return false };
        let Some(slot) = self.settle(known, *first) else { return false };
        rest.iter().for_each(|bucket| self.enter(slot, *bucket));
        true
    }

    /// Takes a ban as a file has it.
    pub(super) fn restore_ban(&mut self, id: NodeId, until: Stamp, known: Option<Known>) {
        self.mark_bad(&id, until);
        if let Some(banned) = self.banned.get_mut(&id)
            && banned.known.is_none()
        {
            banned.known = known.map(Box::new);
        }
    }

    /// How long ago an address was tried, and how often in vain; a clock that went back counts as just now.
    #[must_use]
    pub fn tried(&mut self, id: &NodeId, now: Stamp) -> Option<(u32, Duration)> {
        let known = self.by_id.get(id).copied().and_then(|slot| self.known_at_mut(slot))?;
        known.last_attempt = known.last_attempt.min(now);
        Some((known.attempts, now.since(known.last_attempt)))
    }
}
