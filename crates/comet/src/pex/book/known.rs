//! What the book knows of one address.

use super::MAX_BUCKETS_PER_ADDRESS;
use crate::pex::address::PeerAddress;
use crate::pex::stamp::Stamp;
use std::time::Duration;

/// After this time without an attempt a new address counts as gone (cometbft p2p/pex/params.go `numMissingDays`).
pub const MISSING_AFTER: Duration = Duration::from_secs(7 * 86_400);
/// Attempts without any success after which a new address is bad (cometbft `numRetries`).
pub const MAX_RETRIES: u32 = 3;
/// Attempts since the last success after which a new address is bad, if that was long ago (cometbft `maxFailures`).
pub const MAX_FAILURES: u32 = 10;
/// How long ago that is (cometbft `minBadDays`).
pub const BAD_AFTER: Duration = Duration::from_secs(7 * 86_400);
/// An address that was tried this recently is not judged (cometbft p2p/pex/known_address.go).
pub const JUST_TRIED: Duration = Duration::from_secs(60);

/// Which half of the book an address is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Told by somebody.
    New,
    /// Proven by a session.
    Old,
}

/// An address and its history, in 120 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Who is where.
    pub address: PeerAddress,
    /// Who told it.
    pub source: PeerAddress,
    /// The last attempt; when it was learnt, if there was none.
    pub last_attempt: Stamp,
    /// The last time it was marked good.
    pub last_success: Stamp,
    /// When its last ban ends.
    pub last_ban: Stamp,
    /// Attempts since the last success.
    pub attempts: u32,
    buckets: [u8; MAX_BUCKETS_PER_ADDRESS],
    count: u8,
    /// New or old.
    pub kind: Kind,
    /// Where it stands in the book's list of its kind.
    pub(super) place: u16,
}

impl Known {
    /// A new address, in no bucket yet.
    #[must_use]
    pub fn new(address: PeerAddress, source: PeerAddress, now: Stamp) -> Self {
        Self {
            address,
            source,
            last_attempt: now,
            last_success: Stamp::NEVER,
            last_ban: Stamp::NEVER,
            attempts: 0,
            buckets: [0; MAX_BUCKETS_PER_ADDRESS],
            count: 0,
            kind: Kind::New,
            place: 0,
        }
    }

    /// The buckets it is in: at most four new ones, or one old one.
    #[must_use]
    pub fn buckets(&self) -> &[u8] {
        self.buckets.get(..usize::from(self.count)).unwrap_or_default()
    }

    /// Remembers a bucket; `false` when it is there already, or there is no room.
    pub(super) fn add_bucket(&mut self, bucket: u8) -> bool {
        if self.buckets().contains(&bucket) {
            return false;
        }
        let Some(slot) = self.buckets.get_mut(usize::from(self.count)) else { return false };
        *slot = bucket;
        self.count += 1;
        true
    }

    pub(super) fn remove_bucket(&mut self, bucket: u8) {
        let (kept, count) = (self.buckets, self.count);
        self.clear_buckets();
        for other in kept.into_iter().take(usize::from(count)).filter(|other| *other != bucket) {
            self.add_bucket(other);
        }
    }

    pub(super) fn clear_buckets(&mut self) {
        self.buckets = [0; MAX_BUCKETS_PER_ADDRESS];
        self.count = 0;
    }

    /// Whether a new address is worthless: it was not tried in the last minute, and it has not been tried for a
    /// week, or never answered in three attempts, or not within a week and ten attempts.
    #[must_use]
    pub fn is_bad(&self, now: Stamp) -> bool {
        let since_attempt = now.since(self.last_attempt);
        if self.kind == Kind::Old || since_attempt < JUST_TRIED {
            return false;
        }
        since_attempt > MISSING_AFTER
            || (self.last_success.is_never() && self.attempts >= MAX_RETRIES)
            || (now.since(self.last_success) > BAD_AFTER && self.attempts >= MAX_FAILURES)
    }
}
