//! Finds nodes in DNS lists. No IO, no clock: time and answers are passed in.
//!
//! ```text
//!   step ─▶ Ask(question)  ─▶ the caller looks TXT records up ─▶ answered or failed
//!        ─▶ Node(record)       one random node of one random list
//!        ─▶ Wait(until)        for the answer, the rate limit, or a root that fails
//!
//!   a list:  root ─▶ links (to the end) ─▶ records, at random, again and again
//!              ▲ each 30 min, and after more than 5 failures below it
//! ```
//! (spec: EIP-1459; go-ethereum p2p/dnsdisc/client.go, sync.go)
//!
//! The caller drives: only while it wants a node does it call [`Client::step`], and only then is anything asked.
//! One question is open at a time. Lists that the given lists link to are used as well, for as long as they are
//! reachable; links may form loops.
//!
//! Limits: 3 steps a second after a burst of 10, those answered from the cache included; a cache of
//! [`CACHE`] entries; [`MAX_LISTS`] lists, further links are ignored; [`MAX_ANSWERS`] texts of an answer are looked
//! at; [`super::MAX_TXT`], [`super::MAX_ENTRIES`] and [`super::MAX_DEPTH`] bound a list.
//!
//! Does not protect from a publisher who lists nodes of its own: a list is as honest as the key that signs it.

use super::entry::{Entry, EntryError, Hash, Link, Root};
use super::walk::{Half, ShapeError, Walk};
use crate::lru::Lru;
use crate::pace::Pace;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use switchboard_enr::Record;

/// Entries kept (go-ethereum: `CacheLimit`).
pub const CACHE: usize = 1000;
/// Lists followed, linked ones included.
pub const MAX_LISTS: usize = 64;
/// TXT records of one answer that are looked at.
pub const MAX_ANSWERS: usize = 16;
/// How long an answer is waited for (go-ethereum: `Timeout`).
pub const PATIENCE: Duration = Duration::from_secs(5);
/// How often a root is read again (go-ethereum: `RecheckInterval`).
pub const RECHECK: Duration = Duration::from_secs(30 * 60);
/// One step each so often (go-ethereum: `RateLimit`, 3 a second) …
const EVERY: Duration = Duration::from_millis(333);
/// … after so many at once.
const BURST: u32 = 10;
/// Failures below a root after which it is read early (go-ethereum: `rootRecheckFailCount`).
const EARLY: u32 = 5;

/// Which question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct QuestionId(u64);

impl QuestionId {
    pub(super) fn new(number: u64) -> Self {
        Self(number)
    }
}

/// "Which TXT records does this name have?"
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// To be given back with the answer.
    pub id: QuestionId,
    /// The DNS name.
    pub name: String,
    /// After this an answer comes too late.
    pub until: Duration,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Look TXT records up, then call [`Client::answered`] or [`Client::failed`], then step again.
    Ask(Question),
    /// A node.
    Node(Box<Record>),
    /// Nothing until then; never, when there is no list.
    Wait(Option<Duration>),
}

/// Why an answer is of no use. The list's publisher is at fault, or the resolver.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    /// The resolver gave no answer in time, or an error.
    #[error("no answer for {name}")]
    NoAnswer {
        /// The name asked for.
        name: String,
    },
    /// No text there is an entry.
    #[error("no entry at {name}")]
    NoEntry {
        /// The name asked for.
        name: String,
    },
    /// The text is another than its name says.
    #[error("the text at {name} does not have the hash in its name")]
    Hash {
        /// The name asked for.
        name: String,
    },
    /// The text is malformed.
    #[error("bad entry at {name}: {error}")]
    Entry {
        /// The name asked for.
        name: String,
        /// What is wrong.
        error: EntryError,
    },
    /// The entry does not belong there.
    #[error("bad entry at {name}: {error}")]
    Shape {
        /// The name asked for.
        name: String,
        /// What is wrong.
        error: ShapeError,
    },
}

/// One list.
#[derive(Debug)]
struct List {
    link: Link,
    root: Option<Root>,
    /// When the root was last asked for.
    asked: Option<Duration>,
    leaf_failures: u32,
    root_failures: u32,
    links: Option<Walk>,
    records: Option<Walk>,
    /// Lists this one links to, by the links read completely …
    linked: BTreeMap<String, Link>,
    /// … and by those read so far.
    gathering: BTreeMap<String, Link>,
}

impl List {
    fn new(link: Link) -> Self {
        Self {
            link,
            root: None,
            asked: None,
            leaf_failures: 0,
            root_failures: 0,
            links: None,
            records: None,
            linked: BTreeMap::new(),
            gathering: BTreeMap::new(),
        }
    }

    /// When the root may be asked for again; `None`: at once. Only meaningful when it is due.
    fn root_wait(&self, now: Duration) -> Option<Duration> {
        let delay = match self.root_failures {
            0..=5 => return None,
            6..=20 => Duration::from_secs(5),
            _ => Duration::from_secs(10),
        };
        Some(self.asked? + delay).filter(|at| *at > now)
    }

    fn root_due(&self, now: Duration) -> bool {
        self.root.is_none()
            || self.leaf_failures > EARLY
            || self.asked.is_none_or(|asked| now >= asked + RECHECK)
    }

    /// Whether a step of this list can do anything now; else when.
    fn wait(&self, now: Duration) -> Result<(), Duration> {
        if self.root_due(now) {
            return self.root_wait(now).map_or(Ok(()), Err);
        }
        let open = |walk: &Option<Walk>| walk.as_ref().is_some_and(|walk| !walk.done() || walk.leaves > 0);
        if self.links.as_ref().is_some_and(|links| !links.done()) || open(&self.records) {
            return Ok(());
        }
        // An empty list: until its root is read again.
        Err(self.asked.unwrap_or(now) + RECHECK)
    }

    fn take_root(&mut self, root: Root) {
        (self.root_failures, self.leaf_failures) = (0, 0);
        if self.links.as_ref().is_none_or(|walk| *walk.root() != root.links) {
            self.links = Some(Walk::new(root.links.clone()));
            self.gathering.clear();
        }
        if self.records.as_ref().is_none_or(|walk| *walk.root() != root.records) {
            self.records = Some(Walk::new(root.records.clone()));
        }
        self.root = Some(root);
    }

    fn walk(&mut self, half: Half) -> Option<&mut Walk> {
        match half {
            Half::Links => self.links.as_mut(),
            Half::Records => self.records.as_mut(),
        }
    }
}

#[derive(Debug)]
enum Target {
    Root,
    Entry(Half, Hash),
}

#[derive(Debug)]
struct Asked {
    question: Question,
    list: String,
    target: Target,
}

/// Every list of a node.
#[derive(Debug)]
pub struct Client {
    given: BTreeMap<String, Link>,
    lists: BTreeMap<String, List>,
    cache: Lru<Hash, Entry>,
    pace: Pace,
    asked: Option<Asked>,
    ready: Option<Box<Record>>,
    questions: u64,
    rng: ChaCha20Rng,
}

impl Client {
    /// A client of the given lists; at most [`MAX_LISTS`] are used.
    #[must_use]
    pub fn new(lists: impl IntoIterator<Item = Link>, seed: [u8; 32]) -> Self {
        let given = lists.into_iter().take(MAX_LISTS).map(|link| (link.to_string(), link)).collect();
        let mut client = Self {
            given,
            lists: BTreeMap::new(),
            cache: Lru::new(CACHE),
            pace: Pace::new(EVERY, BURST),
            asked: None,
            ready: None,
            questions: 0,
            rng: ChaCha20Rng::from_seed(seed),
        };
        client.relink();
        client
    }

    /// The addresses of the lists in use.
    pub fn lists(&self) -> impl Iterator<Item = &Link> {
        self.lists.values().map(|list| &list.link)
    }

    /// The sequence number of a list, once its root was read.
    #[must_use]
    pub fn seq(&self, link: &Link) -> Option<u64> {
        Some(self.lists.get(&link.to_string())?.root.as_ref()?.seq)
    }

    /// What is to be done to get a node.
    pub fn step(&mut self, now: Duration) -> Step {
        if let Some(node) = self.ready.take() {
            return Step::Node(node);
        }
        if let Some(asked) = &self.asked {
            if now < asked.question.until {
                return Step::Wait(Some(asked.question.until));
            }
            let id = asked.question.id;
            self.failed(id);
        }
        // Steps that the cache answers are made at once; the rate limit bounds them.
        loop {
            let mut soonest: Option<Duration> = None;
            let mut able = Vec::new();
            for (name, list) in &self.lists {
                match list.wait(now) {
                    Ok(()) => able.push(name.clone()),
                    Err(at) => soonest = Some(soonest.map_or(at, |soonest| soonest.min(at))),
                }
            }
            if able.is_empty() {
                return Step::Wait(soonest);
            }
            if let Some(at) = self.pace.wait(now) {
                return Step::Wait(Some(at));
            }
            self.pace.take(now);
            let at = (self.rng.next_u64() % able.len() as u64) as usize;
            let Some(name) = able.get(at) else { return Step::Wait(soonest) };
            if let Some(step) = self.step_list(name, now) {
                return step;
            }
        }
    }

    fn step_list(&mut self, name: &str, now: Duration) -> Option<Step> {
        let list = self.lists.get_mut(name)?;
        if list.root_due(now) {
            list.asked = Some(now);
            let domain = list.link.domain().to_owned();
            return Some(self.ask(name, Target::Root, domain, now));
        }
        let half =
            if list.links.as_ref().is_some_and(|walk| !walk.done()) { Half::Links } else { Half::Records };
        let root = list.root.as_ref()?.records.clone();
        let walk = match half {
            Half::Links => list.links.as_mut()?,
            Half::Records => list.records.as_mut()?,
        };
        if walk.done() {
            // Every node was given once: start over. Entries are cached, here and by resolvers.
            *walk = Walk::new(root);
        }
        let hash = walk.pick(&mut self.rng)?.clone();
        let domain_name = hash.name(list.link.domain());
        match self.cache.get_mut(&hash).cloned() {
            Some(entry) => {
                // It was told when it was fetched if its place is wrong.
                if self.take_entry(name, half, &hash, entry, &domain_name).is_err()
                    && let Some(list) = self.lists.get_mut(name)
                {
                    list.leaf_failures = list.leaf_failures.saturating_add(1);
                }
                self.ready.take().map(Step::Node)
            }
            None => Some(self.ask(name, Target::Entry(half, hash), domain_name, now)),
        }
    }

    fn ask(&mut self, list: &str, target: Target, name: String, now: Duration) -> Step {
        self.questions += 1;
        let question = Question { id: QuestionId::new(self.questions), name, until: now + PATIENCE };
        self.asked = Some(Asked { question: question.clone(), list: list.to_owned(), target });
        Step::Ask(question)
    }

    fn take_asked(&mut self, id: QuestionId) -> Option<Asked> {
        self.asked.take_if(|asked| asked.question.id == id)
    }

    fn count_failure(&mut self, asked: &Asked) {
        let Some(list) = self.lists.get_mut(&asked.list) else { return };
        match asked.target {
            Target::Root => list.root_failures = list.root_failures.saturating_add(1),
            Target::Entry(..) => list.leaf_failures = list.leaf_failures.saturating_add(1),
        }
    }

    /// The resolver gave no answer. Nothing happens when the question is not open any more.
    pub fn failed(&mut self, id: QuestionId) {
        if let Some(asked) = self.take_asked(id) {
            self.count_failure(&asked);
        }
    }

    /// The resolver's answer: the texts of all TXT records, each joined from its strings. Nothing happens when the
    /// question is not open any more.
    ///
    /// # Errors
    /// [`ListError`], which is counted already and only to be told to the operator.
    pub fn answered(&mut self, id: QuestionId, texts: &[String]) -> Result<(), ListError> {
        let Some(asked) = self.take_asked(id) else { return Ok(()) };
        let texts = texts.get(..texts.len().min(MAX_ANSWERS)).unwrap_or_default();
        let name = &asked.question.name;
        let result = match &asked.target {
            Target::Root => self.take_root(&asked.list, name, texts),
            Target::Entry(half, hash) => read_entry(hash, name, texts).and_then(|entry| {
                self.cache.insert(hash.clone(), entry.clone());
                self.take_entry(&asked.list, *half, hash, entry, name)
            }),
        };
        if result.is_err() {
            self.count_failure(&asked);
        }
        result
    }

    fn take_root(&mut self, list: &str, name: &str, texts: &[String]) -> Result<(), ListError> {
        let Some(list) = self.lists.get_mut(list) else { return Ok(()) };
        list.take_root(read_root(&list.link, name, texts)?);
        Ok(())
    }

    fn take_entry(
        &mut self,
        list: &str,
        half: Half,
        hash: &Hash,
        entry: Entry,
        name: &str,
    ) -> Result<(), ListError> {
        let Some(list) = self.lists.get_mut(list) else { return Ok(()) };
        let Some(walk) = list.walk(half) else { return Ok(()) };
        let taken = walk.found(half, hash, &entry);
        let done = walk.done();
        let taken = taken.map_err(|error| ListError::Shape { name: name.to_owned(), error });
        match entry {
            Entry::Record(record) if matches!(taken, Ok(true)) => self.ready = Some(record),
            Entry::Link(link) if matches!(taken, Ok(true)) && list.gathering.len() < MAX_LISTS => {
                list.gathering.insert(link.to_string(), link);
            }
            _ => {}
        }
        if half == Half::Links {
            if done {
                // Only now are the links of an earlier root forgotten.
                list.linked = std::mem::take(&mut list.gathering);
            }
            self.relink();
        }
        taken.map(|_| ())
    }

    /// Keeps the lists that can be reached from the given ones.
    fn relink(&mut self) {
        let mut reached: BTreeSet<String> = BTreeSet::new();
        let mut next: Vec<Link> = self.given.values().cloned().collect();
        while let Some(link) = next.pop() {
            let name = link.to_string();
            if reached.len() >= MAX_LISTS || !reached.insert(name.clone()) {
                continue;
            }
            let list = self.lists.entry(name).or_insert_with(|| List::new(link));
            next.extend(list.linked.values().chain(list.gathering.values()).cloned());
        }
        self.lists.retain(|name, _| reached.contains(name));
    }
}

/// The root among the texts of a list's own name.
pub(super) fn read_root(link: &Link, name: &str, texts: &[String]) -> Result<Root, ListError> {
    for text in texts {
        match Root::parse(text) {
            Err(EntryError::Unknown) => {}
            root => {
                return root
                    .and_then(|root| root.verify(&link.key()).map(|()| root))
                    .map_err(|error| ListError::Entry { name: name.to_owned(), error });
            }
        }
    }
    Err(ListError::NoEntry { name: name.to_owned() })
}

/// The entry among the texts of a name; its hash is checked.
pub(super) fn read_entry(hash: &Hash, name: &str, texts: &[String]) -> Result<Entry, ListError> {
    for text in texts {
        match Entry::parse(text) {
            Err(EntryError::Unknown) => {}
            Err(error) => return Err(ListError::Entry { name: name.to_owned(), error }),
            Ok(_) if !hash.fits(text) => return Err(ListError::Hash { name: name.to_owned() }),
            Ok(entry) => return Ok(entry),
        }
    }
    Err(ListError::NoEntry { name: name.to_owned() })
}
