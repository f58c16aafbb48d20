//! Score and ban: misbehaviour adds points, time takes them away, and a peer with too many is banned for a while.
//!
//! ```text
//!   report ─▶ points of the identity ─┐  half every half_life
//!         └─▶ points of the address ──┴─▶ at the threshold: Ban { until, why } ─▶ Store ─▶ expires, or is lifted
//! ```
//!
//! An address is a v4 address or a v6 /64. It keeps its points when a new identity comes from it, so a liar does
//! not start anew with a new key. Addresses of the local network have no points and no bans, unless
//! `strict_addresses`; trusted peers have neither.
//!
//! On a wire where one holder may show several identities ([`crate::wire::Established::holder`]) the holder is banned. Its
//! ban remembers under which identity it was seen, so that this one is not dialled, and names the ban when it is lifted.
//!
//! Limits: [`MAX_SCORED`] identities and as many addresses have points; when there are more, those with the fewest
//! points are forgotten. [`MAX_BANS`] bans; when there are more, the one that expires first goes. Not protected:
//! an attacker with many networks has many scores.

use crate::id::{PeerId, WireName};
use crate::store::StoreError;
use crate::switch::access::{is_lan, network_of};
use crate::text::printable;
use bytes::Bytes;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Identities, and addresses, that may have points.
pub const MAX_SCORED: usize = 4_096;
/// Bans that may exist.
pub const MAX_BANS: usize = 4_096;
/// Longest text of a ban, in bytes.
pub const MAX_WHY: usize = 200;

/// How points are counted.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ScoreRules {
    /// Points at which a ban follows.
    pub threshold: u32,
    /// The time in which half of the points go.
    pub half_life: Duration,
    /// How long such a ban lasts.
    pub ban_for: Duration,
    /// Points for a breach of the wire's or a protocol's rules, in a handshake or session.
    pub breach: u32,
}

impl Default for ScoreRules {
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self { threshold: 1_000, half_life: 10 * minute, ban_for: 60 * minute, breach: 50 }
    }
}

/// What somebody did wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misbehaviour {
    /// Points it adds; [`Misbehaviour::FATAL`] bans at once.
    pub points: u32,
    /// What it was: stands in the ban.
    pub what: &'static str,
}

impl Misbehaviour {
    /// Points that ban at once, whatever the threshold is.
    pub const FATAL: u32 = u32::MAX;
}

/// Who is scored or banned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Banned {
    /// An identity.
    Id(PeerId),
    /// Addresses.
    Net(IpNet),
}

impl Banned {
    /// The address as it is scored: itself (v4) or its /64 (v6).
    #[must_use]
    pub fn address(ip: IpAddr) -> Self {
        Self::Net(network_of(ip, 32, 64))
    }

    /// The key under which it is stored.
    fn key(&self) -> Bytes {
        match self {
            Self::Id(id) => format!("id/{}/{id}", id.wire()).into(),
            Self::Net(net) => format!("net/{net}").into(),
        }
    }

    fn from_key(key: &[u8], wires: &[WireName]) -> Option<Self> {
        let key = std::str::from_utf8(key).ok()?;
        if let Some(net) = key.strip_prefix("net/") {
            return Some(Self::Net(net.parse().ok()?));
        }
        let (wire, id) = key.strip_prefix("id/")?.split_once('/')?;
        let wire = wires.iter().find(|known| **known == wire)?;
        Some(Self::Id(identity(wire, id)?))
    }
}

impl fmt::Display for Banned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{}:{id}", id.wire()),
            Self::Net(net) => write!(f, "{net}"),
        }
    }
}

/// A ban.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ban {
    /// The identity or network; for a peer, the identity's holder.
    pub who: Banned,
    /// The identity under which a holder was seen, where that is another.
    pub seen_as: Option<PeerId>,
    /// Until when.
    pub until: SystemTime,
    /// Why, in words fit for a terminal.
    pub why: String,
}

/// Why somebody is not banned, or not for longer than this process runs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BanError {
    /// Trusted peers are never banned.
    #[error("this peer is trusted, and those are never banned: trust it no longer first")]
    Trusted,
    /// Addresses of the local network have no bans, unless the limits say `strict_addresses`.
    #[error(
        "addresses of the local network are not banned, unless --strict-addresses: ban the peer by its id"
    )]
    Local,
    /// The Switch is down.
    #[error("the Switch is down")]
    Stopped,
    /// The ban counts, but a restart forgets it.
    #[error("the ban counts now, but a restart forgets it: {0}")]
    NotStored(StoreError),
}

impl Ban {
    /// A ban of `who` until then.
    #[must_use]
    pub fn new(who: Banned, until: SystemTime, why: impl Into<String>) -> Self {
        Self { who, seen_as: None, until, why: why.into() }
    }

    /// The row of the store: `UNTIL WHY`, or `UNTIL@SEEN_AS WHY`.
    fn row(&self) -> (Bytes, Bytes) {
        let seen_as = self.seen_as.map(|id| format!("@{id}")).unwrap_or_default();
        (self.who.key(), format!("{}{seen_as} {}", secs(self.until), self.why).into())
    }

    fn from_row(key: &[u8], value: &[u8], wires: &[WireName]) -> Option<Self> {
        let who = Banned::from_key(key, wires)?;
        let (head, why) = std::str::from_utf8(value).ok()?.split_once(' ')?;
        let (until, seen_as) = match (head.split_once('@'), &who) {
            (None, _) => (head, None),
            (Some((until, id)), Banned::Id(holder)) => (until, Some(identity(holder.wire(), id)?)),
            (Some(_), Banned::Net(_)) => return None,
        };
        let until = UNIX_EPOCH.checked_add(Duration::from_secs(until.parse().ok()?))?;
        Some(Self { who, seen_as, until, why: words(why) })
    }
}

/// An identity of a wire from its hex digits.
fn identity(wire: WireName, digits: &str) -> Option<PeerId> {
    let bytes = digits.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(pair, 16).ok().filter(|_| pair.len() == 2)
    });
    PeerId::new(wire, &bytes.collect::<Option<Vec<_>>>()?)
}

fn secs(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn words(text: &str) -> String {
    let mut words = printable(text);
    while words.len() > MAX_WHY {
        words.pop();
    }
    words
}

/// A change to be stored: the key, and the value of a new ban.
pub(crate) type Stored = (Bytes, Option<Bytes>);

#[derive(Debug, Clone, Copy)]
struct Points {
    value: f64,
    at: SystemTime,
}

/// Everybody's points and bans. The caller gives the time.
#[derive(Debug, Default)]
pub(crate) struct ScoreBook {
    points: BTreeMap<Banned, Points>,
    identities: usize,
    bans: BTreeMap<Banned, Ban>,
    /// The banned holder by the identity it was seen under: at most one entry for each ban.
    seen_as: BTreeMap<PeerId, Banned>,
}

impl ScoreBook {
    /// Takes a stored ban over; what cannot be read, or is over, is not taken.
    pub(crate) fn load(&mut self, key: &[u8], value: &[u8], wires: &[WireName], now: SystemTime) -> bool {
        let ban = Ban::from_row(key, value, wires).filter(|ban| ban.until > now);
        let room = self.bans.len() < MAX_BANS;
        if let Some(ban) = ban.filter(|_| room) {
            self.insert(ban);
            return true;
        }
        false
    }

    /// Adds points to the identity and to its address, where it may have some. Gives the bans that follow.
    pub(crate) fn report(
        &mut self,
        (id, ip): (Option<PeerId>, Option<IpAddr>),
        wrong: &Misbehaviour,
        rules: &ScoreRules,
        strict_addresses: bool,
        now: SystemTime,
    ) -> Vec<Ban> {
        let ip = ip.filter(|ip| strict_addresses || !is_lan(*ip));
        let who = id.map(Banned::Id).into_iter().chain(ip.map(Banned::address));
        let mut bans = Vec::new();
        for who in who {
            let fatal = wrong.points == Misbehaviour::FATAL;
            let sum = self.value(&who, rules, now) + f64::from(wrong.points);
            if fatal || sum >= f64::from(rules.threshold) {
                self.forget(&who);
                bans.push(Ban::new(who, now + rules.ban_for, words(wrong.what)));
            } else {
                self.keep(who, Points { value: sum, at: now }, rules, now);
            }
        }
        bans
    }

    /// The points of somebody now.
    pub(crate) fn value(&self, who: &Banned, rules: &ScoreRules, now: SystemTime) -> f64 {
        let Some(points) = self.points.get(who) else { return 0.0 };
        // A clock that went back leaves the points as they are.
        let age = now.duration_since(points.at).unwrap_or_default().as_secs_f64();
        points.value * (-age / rules.half_life.as_secs_f64().max(1.0)).exp2()
    }

    fn forget(&mut self, who: &Banned) {
        if self.points.remove(who).is_some() && matches!(who, Banned::Id(_)) {
            self.identities -= 1;
        }
    }

    fn keep(&mut self, who: Banned, points: Points, rules: &ScoreRules, now: SystemTime) {
        let is_id = matches!(who, Banned::Id(_));
        let of_kind = if is_id { self.identities } else { self.points.len() - self.identities };
        if of_kind >= MAX_SCORED && !self.points.contains_key(&who) {
            // A quarter at once, so that a flood of reports does not sort the whole book each time.
            let mut kind: Vec<_> =
                self.points.keys().filter(|k| matches!(k, Banned::Id(_)) == is_id).copied().collect();
            kind.sort_by(|a, b| self.value(a, rules, now).total_cmp(&self.value(b, rules, now)));
            kind.iter().take(MAX_SCORED / 4).for_each(|fewest| self.forget(fewest));
        }
        if self.points.insert(who, points).is_none() && is_id {
            self.identities += 1;
        }
    }

    /// Bans somebody. What is to be stored: the ban, and the one that goes for it.
    pub(crate) fn ban(&mut self, mut ban: Ban, now: SystemTime) -> Vec<Stored> {
        ban.why = words(&ban.why);
        let mut stored = self.expire(now);
        if self.bans.len() >= MAX_BANS && !self.bans.contains_key(&ban.who) {
            let first = self.bans.values().min_by_key(|ban| ban.until).map(|ban| ban.who);
            stored.extend(first.and_then(|first| self.remove(&first)));
        }
        let (key, value) = ban.row();
        stored.push((key, Some(value)));
        self.insert(ban);
        stored
    }

    fn insert(&mut self, ban: Ban) {
        self.remove(&ban.who);
        if let Some(id) = ban.seen_as {
            self.seen_as.insert(id, ban.who);
        }
        self.bans.insert(ban.who, ban);
    }

    fn remove(&mut self, who: &Banned) -> Option<Stored> {
        self.forget(who);
        let ban = self.bans.remove(who)?;
        if let Some(id) = ban.seen_as.filter(|id| self.seen_as.get(id) == Some(who)) {
            self.seen_as.remove(&id);
        }
        Some((ban.who.key(), None))
    }

    /// Lifts a ban, and that of the holder who was seen under this identity, and forgets the points. Nothing is to be
    /// stored when there was no ban.
    pub(crate) fn lift(&mut self, who: &Banned) -> Vec<Stored> {
        let holder = match who {
            Banned::Id(id) => self.seen_as.get(id).copied(),
            Banned::Net(_) => None,
        };
        [Some(*who), holder].into_iter().flatten().filter_map(|who| self.remove(&who)).collect()
    }

    fn expire(&mut self, now: SystemTime) -> Vec<Stored> {
        let over: Vec<_> = self.bans.values().filter(|ban| ban.until <= now).map(|ban| ban.who).collect();
        over.iter().filter_map(|who| self.remove(who)).collect()
    }

    /// The ban on an identity, or on the holder who was seen under it.
    pub(crate) fn banned_id(&self, id: &PeerId, now: SystemTime) -> Option<&Ban> {
        let of = |who: &Banned| self.bans.get(who).filter(|ban| ban.until > now);
        of(&Banned::Id(*id)).or_else(|| of(self.seen_as.get(id)?))
    }

    /// The ban on an identity or its holder.
    pub(crate) fn banned_holder(&self, id: &PeerId, holder: &PeerId, now: SystemTime) -> Option<&Ban> {
        self.banned_id(id, now).or_else(|| self.banned_id(holder, now))
    }

    /// The ban on an address: one of all of its networks.
    pub(crate) fn banned_ip(&self, ip: IpAddr, strict_addresses: bool, now: SystemTime) -> Option<&Ban> {
        let ip = ip.to_canonical();
        if !strict_addresses && is_lan(ip) {
            return None;
        }
        let longest = if ip.is_ipv4() { 32 } else { 128 };
        let mut nets = (0..=longest).rev().filter_map(|prefix| IpNet::new(ip, prefix).ok());
        nets.find_map(|net| self.bans.get(&Banned::Net(net.trunc())).filter(|ban| ban.until > now))
    }

    /// Every ban that counts now.
    pub(crate) fn list(&self, now: SystemTime) -> Vec<Ban> {
        self.bans.values().filter(|ban| ban.until > now).cloned().collect()
    }
}

#[cfg(test)]
mod tests;
