//! Peer exchange as a state machine: what happens to sessions, answers and dials, and what is to be done about it.
//!
//! ```text
//! connected ──▶ outbound: ask it, if the book wants more; inbound: learn its listening address
//! received  ──▶ a request: answer, or breach (too soon); an answer: into the book, or breach (nobody asked)
//! tick      ──▶ a round every 30 s: ask a random peer, allow new dials; peers that stayed become good
//! next      ──▶ whom to dial while slots are free: out of the book, by the round's budget; else a seed
//! outcome   ──▶ what became of a dial: back-off of 2^n s, forgotten after 16
//!
//! seed mode: an inbound peer is answered once and hung up on; every 30 s a part of the book is crawled:
//!            dial, ask, take the answer, hang up
//! ```
//! (cometbft p2p/pex/pex_reactor.go)
//!
//! No socket, no clock, no randomness of its own: time and a random generator are passed in. The shell calls
//! [`State::tick`] at [`State::wake_at`] and does what the [`Action`]s say, in order.
//!
//! Limits: a peer's requests: two are free, then one in 10 s, as Go peers expect it. A round hands out at most three
//! dials for each free slot. [`MAX_CRAWL_QUEUE`] addresses wait to be crawled, [`MAX_CRAWLED`] are remembered. What is kept
//! of peers is bounded by the sessions there are.
//!
//! The guard against an eclipse: what a peer tells counts as told by the address we see it at, not by the one it
//! claims; and in a strict book one network group gets at most a tenth of the outbound slots (at least one). While the book
//! has too few groups to fill the slots so, one gets half of them; once it has enough, and others hold half
//! of the slots or all are taken, a round ends the newest session of a group that has more than its share.
//!
//! Where this differs from the Go code: a failed dial is replaced within the round; a session that ends within
//! [`SHORT_SESSION`] counts as a failed dial; an outbound peer becomes good after [`GOOD_AFTER`] or, for a seed, by its
//! answer (there, only consensus says so); a seed hangs up on whom it crawled; seeds that have nothing new are asked
//! less often; an address where another key answers is forgotten, not its ID banned; the asker is left out of the answer.
//!
//! Does not protect a seed from clients that take a new ID for each request: that is for the limits on accepting.

mod dial;
mod peers;

pub use dial::{Dial, DialResult, Origin};

use super::address::PeerAddress;
use super::book::Book;
use super::stamp::Stamp;
use crate::key::NodeId;
use crate::netaddress::NetAddress;
use crate::trust;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;
use switchboard::Direction;
use tokio::time::Instant;

/// A round comes so often (cometbft p2p/pex/pex_reactor.go `defaultEnsurePeersPeriod`).
pub const ENSURE_EVERY: Duration = Duration::from_secs(30);
/// How often a part of the book is crawled (cometbft `crawlPeerPeriod`).
pub const CRAWL_EVERY: Duration = Duration::from_secs(30);
/// How often one peer is crawled at most (cometbft `minTimeBetweenCrawls`).
pub const CRAWL_AGAIN_AFTER: Duration = Duration::from_secs(120);
/// Failed dials after which an address is banned (cometbft `maxAttemptsToDial`).
pub const MAX_ATTEMPTS: u32 = 16;
/// How long a ban lasts (cometbft `defaultBanTime`).
pub const BAN: Duration = Duration::from_secs(24 * 3_600);
/// Percent of new addresses in a seed's answer (cometbft `biasToSelectNewPeers`).
pub const SEED_BIAS: u8 = 30;
/// How long a seed keeps peers that ask nothing (cometbft node/setup.go `SeedDisconnectWaitPeriod`).
pub const SEED_WAIT: Duration = Duration::from_secs(28 * 3_600);
/// Longest time that a change of the book waits to be saved (cometbft p2p/pex/params.go `dumpAddressInterval`).
pub const SAVE_EVERY: Duration = Duration::from_secs(120);
/// Shortest time from one saving to the next. CometBFT waits [`SAVE_EVERY`], and what it learned since is lost when it is killed.
pub const SAVE_SOONEST: Duration = Duration::from_secs(5);
/// What each address in the book adds to that, so that a large book is written rarely: 11,500 wait for [`SAVE_EVERY`].
pub const SAVE_LATER_EACH: Duration = Duration::from_millis(10);
/// A seed's answer has so long to leave before the session is cut.
pub const HANG_UP_WITHIN: Duration = Duration::from_secs(5);
/// A crawled peer has so long to answer.
pub const CRAWL_ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// An outbound session that lasted so long makes its address good.
pub const GOOD_AFTER: Duration = Duration::from_secs(60);
/// An outbound session that the other end closes sooner was no session.
pub const SHORT_SESSION: Duration = Duration::from_secs(20);
/// A peer worth less than this (in percent) is hung up on.
pub const DISTRUST_BELOW: u8 = 20;
/// Longest time a seed with nothing new is left alone.
pub const SEED_PAUSE: Duration = Duration::from_secs(120);
/// Addresses waiting to be crawled.
pub const MAX_CRAWL_QUEUE: usize = 1_024;
/// Crawled peers remembered.
pub const MAX_CRAWLED: usize = 8_192;
/// Dials whose end was not told are forgotten after this time.
const DIAL_FORGOTTEN: Duration = Duration::from_secs(60);
/// How often peers are looked over.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How the exchange behaves.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// Answer and hang up, crawl.
    pub seed_mode: bool,
    /// Dialled when the book has nobody to dial. Names are fine: whoever dials resolves them.
    pub seeds: Vec<NetAddress>,
    /// How often a round comes; a third of it is the time a peer must leave between requests.
    pub ensure_every: Duration,
    /// How long a seed keeps peers that ask nothing.
    pub seed_wait: Duration,
    /// How trust is counted.
    pub trust: trust::Config,
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
        Self {
            seed_mode: false,
            seeds: Vec::new(),
            ensure_every: ENSURE_EVERY,
            seed_wait: SEED_WAIT,
            trust: trust::Config::default(),
        }
    }
}

/// What time it is, on both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// The runtime's clock: for spans.
    pub at: Instant,
    /// The wall clock: for the book.
    pub wall: Stamp,
}

/// The Switch's slots on this wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slots {
    /// Outbound sessions.
    pub outbound: usize,
    /// Dials under way.
    pub dialing: usize,
    /// Most outbound sessions.
    pub max_outbound: usize,
}

impl Slots {
    /// Dials that may begin now.
    #[must_use]
    pub fn free(&self) -> usize {
        self.max_outbound.saturating_sub(self.outbound + self.dialing)
    }
}

/// A session that shares the channel.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Who it proved to be.
    pub id: NodeId,
    /// Who dialled.
    pub direction: Direction,
    /// Where it is, as we see it.
    pub ip: IpAddr,
    /// The port at that address: the one we dialled, or the other end's of an inbound session.
    pub port: u16,
    /// `listen_addr` of its NodeInfo.
    pub listen_addr: String,
    /// Whether the operator named it.
    pub persistent: bool,
}

/// Why a peer is hung up on; nobody is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HangUp {
    /// A seed answered it.
    Answered,
    /// A seed has its answer.
    Crawled,
    /// A seed got none.
    Silent,
    /// A seed kept it long enough.
    Waited,
    /// It is worth too little.
    Distrusted,
    /// Its network group holds more than its share of the outbound slots, and others have none.
    Crowding,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send a request.
    Ask(NodeId),
    /// Send an answer.
    Answer {
        /// To whom.
        peer: NodeId,
        /// At most 250.
        addresses: Vec<PeerAddress>,
    },
    /// End the session.
    HangUp {
        /// With whom.
        peer: NodeId,
        /// Why.
        why: HangUp,
        /// Whether what was sent must leave first.
        flush: bool,
    },
    /// The peer broke a rule: end the session; the book has its ban already.
    Breach {
        /// Who.
        peer: NodeId,
        /// Which rule.
        rule: &'static str,
        /// How long it is banned, by ID.
        ban: Option<Duration>,
    },
    /// [`State::next`] may have somebody now.
    Wake,
    /// The book changed: save it.
    Save,
}

/// Requests that came from a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Requests {
    None,
    One,
    Last(Instant),
}

#[derive(Debug)]
struct PeerState {
    peer: Peer,
    since: Instant,
    requests: Requests,
    /// Our request that is not answered.
    asked: Option<Instant>,
    last_asked: Option<Instant>,
    /// When a seed answered it.
    answered: Option<Instant>,
    hung_up: bool,
    good: bool,
}

#[derive(Debug)]
struct Seed {
    address: NetAddress,
    /// Not dialled before.
    not_before: Instant,
    /// Answers in a row that had nothing new.
    useless: u32,
}

/// What one round allows.
#[derive(Debug, Default)]
struct Round {
    picks: usize,
    handed_out: usize,
    failed: usize,
    /// Seeds in the order they are tried.
    seeds: Vec<usize>,
    few_groups: bool,
}

/// What may have been done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Requests answered.
    pub answered: u64,
    /// Requests sent.
    pub asked: u64,
    /// Addresses told to us.
    pub told: u64,
    /// Addresses of these that were new.
    pub learnt: u64,
    /// Peers that broke a rule.
    pub breaches: u64,
    /// Dials handed out.
    pub dials: u64,
    /// Dials that failed.
    pub failed: u64,
}

/// The state of the exchange.
#[derive(Debug)]
pub struct State {
    config: Config,
    book: Book,
    trust: trust::Store,
    peers: BTreeMap<NodeId, PeerState>,
    seeds: Vec<Seed>,
    round: Round,
    next_round: Instant,
    next_look: Instant,
    saved: Instant,
    dialing: BTreeMap<NodeId, Dialing>,
    to_crawl: VecDeque<PeerAddress>,
    crawled: BTreeMap<NodeId, Instant>,
    counters: Counters,
}

#[derive(Debug)]
struct Dialing {
    since: Instant,
    ip: Option<IpAddr>,
}

impl State {
    /// A state over a book, before any session. The first round comes at once.
    #[must_use]
    pub fn new(config: Config, book: Book, trust: trust::Store, now: Now) -> Self {
        let seed = |address: &NetAddress| Seed { address: address.clone(), not_before: now.at, useless: 0 };
        Self {
            seeds: config.seeds.iter().map(seed).collect(),
            config,
            book,
            trust,
            peers: BTreeMap::new(),
            round: Round::default(),
            next_round: now.at,
            next_look: now.at,
            saved: now.at,
            dialing: BTreeMap::new(),
            to_crawl: VecDeque::new(),
            crawled: BTreeMap::new(),
            counters: Counters::default(),
        }
    }

    /// The book.
    #[must_use]
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// The book, for the operator.
    pub fn book_mut(&mut self) -> &mut Book {
        &mut self.book
    }

    /// The trust in peers.
    #[must_use]
    pub fn trust(&self) -> &trust::Store {
        &self.trust
    }

    /// What was done so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Sessions that share the channel.
    #[must_use]
    pub fn peers(&self) -> usize {
        self.peers.len()
    }

    /// When [`State::tick`] is due.
    #[must_use]
    pub fn wake_at(&self) -> Instant {
        let due = self.next_round.min(self.next_look);
        self.save_at().map_or(due, |save| due.min(save))
    }

    /// When the book is to be saved, if it changed since it was.
    fn save_at(&self) -> Option<Instant> {
        let entries = u32::try_from(self.book.len()).unwrap_or(u32::MAX);
        let pause = SAVE_SOONEST.saturating_add(SAVE_LATER_EACH.saturating_mul(entries)).min(SAVE_EVERY);
        self.book.is_changed().then(|| self.saved + pause)
    }

    fn is_seed(&self, id: &NodeId) -> bool {
        self.seeds.iter().any(|seed| seed.address.id() == Some(*id))
    }
}

#[cfg(test)]
mod tests;
