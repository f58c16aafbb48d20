//! What is remembered of nodes over a restart: who answered from where, when, and our own sequence number.
//!
//! ```text
//!   "n" ‖ node id      1 ‖ RLP [key 64, ip, udp, tcp, record or empty,
//!                               [[ip, last ping, last pong, failures v4, failures v5] …]]    times: seconds since 1970
//!   "s" ‖ own id       1 ‖ RLP sequence number
//! ```
//! The first byte is the version of the form; what has another, or cannot be read, is removed when the records are
//! opened.
//!
//! Times are precise to a minute: a second answer within the same minute costs no write.
//!
//! A record is made only for a node that answered us. All are held in memory and written through to a
//! [`KeyValue`]. Limits: a number of nodes given by the caller, of which the one whose last answer is oldest goes
//! first; [`MAX_ADDRESSES`] addresses a node. A node that has not answered for 24 hours is removed
//! (go-ethereum p2p/enode/nodedb.go).

use crate::hash::HashMap;
use crate::node::{Node, NodeId};
use crate::time::Now;
use rand::{Rng, RngExt};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use switchboard_enr::Record;
use switchboard_enr::rlp::{self, RlpError};

/// A node that has not answered for so long is forgotten; a proof of an address is as old at most.
pub const EXPIRY: Duration = Duration::from_secs(24 * 3_600);
/// Addresses remembered of one node.
pub const MAX_ADDRESSES: usize = 4;
/// Nodes remembered, if the caller says nothing else.
pub const MAX_NODES: usize = 10_000;
/// Times are kept to so many seconds.
const PRECISION: u64 = 60;
/// Clocks that are set back by no more than this do not void what was remembered.
const CLOCK_SLACK: u64 = 600;
const VERSION: u8 = 1;
const NODE: u8 = b'n';
const SEQ: u8 = b's';

/// A place where bytes are kept. Calls must return at once: what writes to a disk gathers changes and writes them
/// in the background.
pub trait KeyValue: Debug + Send {
    /// Everything there is.
    fn all(&self) -> Vec<(Vec<u8>, Vec<u8>)>;
    /// Keeps a value in place of the one that was there.
    fn put(&mut self, key: &[u8], value: &[u8]);
    /// Forgets a value.
    fn remove(&mut self, key: &[u8]);
}

/// What happened at one address of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contact {
    /// Where.
    pub ip: IpAddr,
    /// When it last pinged us and was answered; 0 for never.
    pub last_ping: u64,
    /// When it last answered a ping of ours; 0 for never.
    pub last_pong: u64,
    /// Queries of version 4 in a row that it did not answer.
    pub fails_v4: u8,
    /// Queries of version 5 in a row that it did not answer.
    pub fails_v5: u8,
}

/// What is remembered of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Who it is and where it was last.
    pub node: Node,
    /// By address, at most [`MAX_ADDRESSES`].
    pub contacts: Vec<Contact>,
}

impl Facts {
    /// When it last answered, from anywhere.
    #[must_use]
    pub fn last_pong(&self) -> u64 {
        self.contacts.iter().map(|c| c.last_pong).max().unwrap_or(0)
    }

    fn marks(&self) -> Marks {
        let mut proven = [None; MAX_ADDRESSES];
        let contacts = self.contacts.iter().filter(|c| c.last_pong != 0);
        proven.iter_mut().zip(contacts).for_each(|(mark, contact)| *mark = Some(contact.ip));
        (self.last_pong(), proven)
    }

    /// The bytes that are kept.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (node, mut items, mut contacts) = (&self.node, Vec::new(), Vec::new());
        rlp::put_string(node.key(), &mut items);
        put_ip(node.ip(), &mut items);
        rlp::put_number(node.udp().port().into(), &mut items);
        rlp::put_number(node.tcp().map_or(0, |at| at.port()).into(), &mut items);
        rlp::put_string(&node.record().map(|r| r.encode()).unwrap_or_default(), &mut items);
        for contact in &self.contacts {
            let mut one = Vec::new();
            put_ip(contact.ip, &mut one);
            let numbers =
                [contact.last_ping, contact.last_pong, contact.fails_v4.into(), contact.fails_v5.into()];
            numbers.into_iter().for_each(|n| rlp::put_number(n, &mut one));
            rlp::put_list(&one, &mut contacts);
        }
        rlp::put_list(&contacts, &mut items);
        let mut out = vec![VERSION];
        rlp::put_list(&items, &mut out);
        out
    }

    /// Reads what [`Facts::encode`] wrote. A record that is bad or another node's is passed over.
    ///
    /// # Errors
    /// [`RlpError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, RlpError> {
        let (VERSION, mut rest) = bytes.split_first().map_or((0, bytes), |(v, rest)| (*v, rest)) else {
            return Err(RlpError("another version"));
        };
        let mut items = rlp::list(&mut rest)?;
        let key = rlp::array(&mut items)?;
        let (ip, udp, tcp) = (ip(&mut items)?, port(&mut items)?, port(&mut items)?);
        let record = rlp::string(&mut items)?;
        let mut list = rlp::list(&mut items)?;
        let mut contacts = Vec::new();
        while !list.is_empty() {
            if contacts.len() >= MAX_ADDRESSES {
                return Err(RlpError("too many addresses"));
            }
            let mut one = rlp::list(&mut list)?;
            contacts.push(Contact {
                ip: self::ip(&mut one)?,
                last_ping: rlp::number(&mut one)?,
                last_pong: rlp::number(&mut one)?,
                fails_v4: byte(&mut one)?,
                fails_v5: byte(&mut one)?,
            });
        }
        if !rest.is_empty() || !items.is_empty() {
            return Err(RlpError("bytes after the end"));
        }
        let node = Node::new(key, ip, udp, tcp);
        let node = match Record::decode(record) {
            Ok(record) => node.with_record(Arc::new(record)),
            Err(_) => node,
        };
        Ok(Self { node, contacts })
    }
}

/// By what a node is found: its last answer, and the addresses it has proven.
type Marks = (u64, [Option<IpAddr>; MAX_ADDRESSES]);

fn put_ip(ip: IpAddr, out: &mut Vec<u8>) {
    match ip {
        IpAddr::V4(ip) => rlp::put_string(&ip.octets(), out),
        IpAddr::V6(ip) => rlp::put_string(&ip.octets(), out),
    }
}

fn ip(input: &mut &[u8]) -> Result<IpAddr, RlpError> {
    let bytes = rlp::string(input)?;
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let ip = four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
    ip.map(|ip| ip.to_canonical()).map_err(|_| RlpError("an address is 4 or 16 bytes"))
}

fn port(input: &mut &[u8]) -> Result<u16, RlpError> {
    u16::try_from(rlp::number(input)?).map_err(|_| RlpError("number too large"))
}

fn byte(input: &mut &[u8]) -> Result<u8, RlpError> {
    u8::try_from(rlp::number(input)?).map_err(|_| RlpError("number too large"))
}

/// Which protocol a failure belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// discv4.
    V4,
    /// discv5.
    V5,
}

/// The records of all nodes.
#[derive(Debug)]
pub struct NodeDb {
    /// Only ever asked for a node: walks go by age.
    nodes: HashMap<NodeId, Facts>,
    /// Who answered last, oldest first.
    by_age: BTreeSet<(u64, NodeId)>,
    /// How many proofs there are from each address.
    addresses: HashMap<IpAddr, usize>,
    seqs: BTreeMap<[u8; 32], u64>,
    max: usize,
    /// Where they are kept over a restart, if they are.
    store: Option<Box<dyn KeyValue>>,
}

fn key_of(kind: u8, id: &[u8; 32]) -> [u8; 33] {
    let mut key = [kind; 33];
    key.iter_mut().skip(1).zip(id).for_each(|(key, id)| *key = *id);
    key
}

impl NodeDb {
    /// Opens the records of at most `max` nodes. What cannot be read is removed.
    #[must_use]
    pub fn open(mut store: Box<dyn KeyValue>, max: usize) -> Self {
        let mut db = Self::forgetful(max);
        for (key, value) in store.all() {
            if db.load(&key, &value).is_none() {
                store.remove(&key);
            }
        }
        db.store = Some(store);
        db.evict(&mut |_| false);
        db
    }

    /// Records that are gone when they are dropped.
    #[must_use]
    pub fn forgetful(max: usize) -> Self {
        Self {
            nodes: HashMap::default(),
            by_age: BTreeSet::new(),
            addresses: HashMap::default(),
            seqs: BTreeMap::new(),
            max,
            store: None,
        }
    }

    fn load(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let (kind, id) = key.split_first()?;
        let id: [u8; 32] = id.try_into().ok()?;
        match *kind {
            NODE => {
                let facts = Facts::decode(value).ok().filter(|facts| facts.node.id().0 == id)?;
                self.index(&NodeId(id), None, Some(facts.marks()));
                self.nodes.insert(NodeId(id), facts);
            }
            SEQ => {
                let (VERSION, mut rest) = value.split_first().map(|(v, rest)| (*v, rest))? else {
                    return None;
                };
                self.seqs.insert(id, rlp::number(&mut rest).ok()?);
            }
            _ => return None,
        }
        Some(())
    }

    /// A node is found under other marks from now on.
    fn index(&mut self, id: &NodeId, before: Option<Marks>, after: Option<Marks>) {
        if let Some((age, proven)) = before {
            self.by_age.remove(&(age, *id));
            for ip in proven.into_iter().flatten() {
                let left = self.addresses.get(&ip).map_or(0, |count| count.saturating_sub(1));
                match left {
                    0 => drop(self.addresses.remove(&ip)),
                    left => drop(self.addresses.insert(ip, left)),
                }
            }
        }
        if let Some((age, proven)) = after {
            self.by_age.insert((age, *id));
            proven.into_iter().flatten().for_each(|ip| *self.addresses.entry(ip).or_default() += 1);
        }
    }

    /// Changes what is remembered of a node, and writes it.
    fn change(&mut self, id: &NodeId, change: impl FnOnce(&mut Facts)) -> bool {
        let Some(facts) = self.nodes.get_mut(id) else { return false };
        let before = facts.marks();
        change(facts);
        let after = facts.marks();
        if let Some(store) = &mut self.store {
            store.put(&key_of(NODE, &id.0), &facts.encode());
        }
        if before != after {
            self.index(id, Some(before), Some(after));
        }
        true
    }

    fn contact(&self, id: &NodeId, ip: IpAddr) -> Option<&Contact> {
        self.nodes.get(id)?.contacts.iter().find(|c| c.ip == ip.to_canonical())
    }

    /// A node answered a ping from its address. Nodes for which `keep` is true are not given up for it.
    pub fn ponged(&mut self, node: &Node, now: Now, keep: &mut dyn FnMut(&NodeId) -> bool) {
        let (id, ip) = (node.id(), node.ip());
        match self.nodes.get(&id) {
            Some(facts) => {
                let known = facts.contacts.iter().any(|c| c.ip == ip && is_recent(c.last_pong, now));
                if known && facts.node.same_place(node) && node.seq() <= facts.node.seq() {
                    return;
                }
            }
            None => {
                let facts = Facts { node: node.clone(), contacts: Vec::with_capacity(1) };
                self.index(&id, None, Some(facts.marks()));
                self.nodes.insert(id, facts);
            }
        }
        self.change(&id, |facts| {
            let record = facts.node.record().filter(|old| node.seq() < old.seq()).cloned();
            facts.node = match record {
                Some(record) => node.clone().with_record(record),
                None => node.clone(),
            };
            match facts.contacts.iter_mut().find(|c| c.ip == ip) {
                Some(contact) => contact.last_pong = now.unix,
                None => {
                    facts.contacts.sort_by_key(|c| std::cmp::Reverse(c.last_pong));
                    facts.contacts.truncate(MAX_ADDRESSES - 1);
                    facts.contacts.push(Contact {
                        ip,
                        last_ping: 0,
                        last_pong: now.unix,
                        fails_v4: 0,
                        fails_v5: 0,
                    });
                }
            }
        });
        self.evict(&mut |other| *other == id || keep(other));
    }

    /// Removes who answered longest ago until the limit is kept; looks past at most 64 that are kept.
    fn evict(&mut self, keep: &mut dyn FnMut(&NodeId) -> bool) {
        while self.nodes.len() > self.max {
            let victim = self.by_age.iter().take(64).map(|(_, id)| *id).find(|id| !keep(id));
            let Some(victim) = victim.or_else(|| self.by_age.first().map(|(_, id)| *id)) else { return };
            self.forget(&victim);
        }
    }

    /// A node pinged us and was answered. Only of nodes that have answered us before is this remembered; else the
    /// answer is false.
    pub fn pinged(&mut self, id: &NodeId, ip: IpAddr, now: Now) -> bool {
        match self.contact(id, ip) {
            None => return false,
            Some(contact) if is_recent(contact.last_ping, now) => return true,
            Some(_) => {}
        }
        self.change(id, |facts| {
            let contact = facts.contacts.iter_mut().find(|c| c.ip == ip.to_canonical());
            contact.into_iter().for_each(|c| c.last_ping = now.unix);
        })
    }

    /// Whether a node has answered from this address in the last 24 hours.
    #[must_use]
    pub fn is_proven(&self, id: &NodeId, ip: IpAddr, now: Now) -> bool {
        self.contact(id, ip).is_some_and(|c| is_fresh(c.last_pong, now, EXPIRY))
    }

    /// Whether a node has pinged us from this address in the last 24 hours, so that it holds a proof of ours.
    #[must_use]
    pub fn has_pinged(&self, id: &NodeId, ip: IpAddr, now: Now) -> bool {
        self.contact(id, ip).is_some_and(|c| is_fresh(c.last_ping, now, EXPIRY))
    }

    /// Whether anybody has proven this address.
    #[must_use]
    pub fn knows_address(&self, ip: IpAddr) -> bool {
        self.addresses.contains_key(&ip.to_canonical())
    }

    /// Queries in a row that a node did not answer.
    #[must_use]
    pub fn fails(&self, id: &NodeId, ip: IpAddr, version: Version) -> u8 {
        self.contact(id, ip).map_or(0, |c| match version {
            Version::V4 => c.fails_v4,
            Version::V5 => c.fails_v5,
        })
    }

    /// Sets the number of queries in a row that a node did not answer.
    pub fn set_fails(&mut self, id: &NodeId, ip: IpAddr, version: Version, fails: u8) {
        if self.contact(id, ip).is_none() || self.fails(id, ip, version) == fails {
            return;
        }
        self.change(id, |facts| {
            let contact = facts.contacts.iter_mut().find(|c| c.ip == ip.to_canonical());
            contact.into_iter().for_each(|c| match version {
                Version::V4 => c.fails_v4 = fails,
                Version::V5 => c.fails_v5 = fails,
            });
        });
    }

    /// Keeps a node's newer record.
    pub fn set_record(&mut self, id: &NodeId, record: &Arc<Record>) {
        if self.nodes.get(id).is_some_and(|facts| facts.node.seq() < record.seq()) {
            self.change(id, |facts| facts.node = facts.node.clone().with_record(record.clone()));
        }
    }

    /// What is remembered of a node.
    #[must_use]
    pub fn get(&self, id: &NodeId) -> Option<&Facts> {
        self.nodes.get(id)
    }

    /// Nodes remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether none is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Up to `count` random nodes that answered within `age`, for the start.
    pub fn seeds<R: Rng>(&self, count: usize, age: Duration, now: Now, rng: &mut R) -> Vec<Node> {
        let known = self.by_age.iter().filter_map(|(_, id)| self.nodes.get(id));
        let fresh = known.filter(|facts| is_fresh(facts.last_pong(), now, age));
        let mut seeds: Vec<Node> = Vec::new();
        for (seen, facts) in fresh.enumerate() {
            let place = rng.random_range(0..=seen);
            if seeds.len() < count {
                seeds.push(facts.node.clone());
            } else if let Some(slot) = seeds.get_mut(place) {
                *slot = facts.node.clone();
            }
        }
        seeds
    }

    /// Removes nodes that have not answered for 24 hours.
    pub fn expire(&mut self, now: Now) {
        while let Some((last_pong, id)) = self.by_age.first().copied() {
            if is_fresh(last_pong, now, EXPIRY) {
                break;
            }
            self.forget(&id);
        }
        // A wrong clock wrote these.
        while let Some((last_pong, id)) = self.by_age.last().copied() {
            if is_fresh(last_pong, now, EXPIRY) {
                return;
            }
            self.forget(&id);
        }
    }

    fn forget(&mut self, id: &NodeId) {
        if let Some(facts) = self.nodes.remove(id) {
            self.index(id, Some(facts.marks()), None);
            if let Some(store) = &mut self.store {
                store.remove(&key_of(NODE, &id.0));
            }
        }
    }

    /// The sequence number our own record had last.
    #[must_use]
    pub fn local_seq(&self, own: &NodeId) -> Option<u64> {
        self.seqs.get(&own.0).copied()
    }

    /// Keeps our own record's sequence number.
    pub fn set_local_seq(&mut self, own: &NodeId, seq: u64) {
        let mut value = vec![VERSION];
        rlp::put_number(seq, &mut value);
        if let Some(store) = &mut self.store {
            store.put(&key_of(SEQ, &own.0), &value);
        }
        self.seqs.insert(own.0, seq);
    }
}

/// Whether a moment is so near to now that writing another one is not worth it: they count for a day.
fn is_recent(then: u64, now: Now) -> bool {
    then <= now.unix && now.unix - then < PRECISION
}

/// Whether a moment is within `age` of now. One that is far in the future was written by a wrong clock.
fn is_fresh(then: u64, now: Now, age: Duration) -> bool {
    then != 0 && then <= now.unix.saturating_add(CLOCK_SLACK) && now.unix.saturating_sub(then) < age.as_secs()
}

#[cfg(test)]
mod tests;
