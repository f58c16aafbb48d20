//! Makes a list: from node records and links to signed TXT records.
//!
//! ```text
//!   records, sorted by node id        links, as given
//!         │ 13 a branch, branches of branches …   │
//!         └──▶ e ◀── root, signed ──▶ l ◀─────────┘
//! ```
//! (go-ethereum p2p/dnsdisc/tree.go, `MakeTree`) One entry stands alone, without a branch; none at all is an
//! empty branch. The same records, links and sequence number make the same texts.
//!
//! Limits: [`MAX_NODES`] records.

use super::entry::{Entry, Hash, Link, Root};
use std::collections::BTreeMap;
use switchboard_enr::{NodeKey, Record};

/// Children of a branch: 370 bytes less the prefix, 26 letters and a comma each (go-ethereum: `maxChildren`).
pub const MAX_CHILDREN: usize = 13;
/// Records a list may have here.
pub const MAX_NODES: usize = 100_000;

/// Why no list was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// Too many records.
    #[error("a list has at most {MAX_NODES} records, {0} were given")]
    TooMany(usize),
    /// Two records of one node.
    #[error("two records of one node were given")]
    Twice,
}

/// A list that is not signed yet.
#[derive(Debug, Clone)]
pub struct Tree {
    entries: BTreeMap<Hash, String>,
    records: Hash,
    links: Hash,
    seq: u64,
}

/// A signed list.
#[derive(Debug, Clone)]
pub struct Signed {
    /// Where it is to stand: what users are given.
    pub url: Link,
    /// The text at the list's own name.
    pub root: Root,
    entries: BTreeMap<Hash, String>,
}

impl Tree {
    /// Builds a list.
    ///
    /// # Errors
    /// [`TreeError`].
    pub fn make(seq: u64, records: Vec<Record>, links: Vec<Link>) -> Result<Self, TreeError> {
        if records.len() > MAX_NODES {
            return Err(TreeError::TooMany(records.len()));
        }
        let count = records.len();
        let by_id: BTreeMap<_, _> = records.into_iter().map(|r| (r.key().node_id(), r)).collect();
        if by_id.len() < count {
            return Err(TreeError::Twice);
        }
        let mut tree = Self { entries: BTreeMap::new(), records: Hash::of(""), links: Hash::of(""), seq };
        let records = by_id.into_values().map(|record| Entry::Record(Box::new(record)).to_string()).collect();
        tree.records = tree.build(records);
        tree.links = tree.build(links.into_iter().map(|link| link.to_string()).collect());
        Ok(tree)
    }

    fn put(&mut self, text: String) -> Hash {
        let hash = Hash::of(&text);
        self.entries.insert(hash.clone(), text);
        hash
    }

    fn build(&mut self, mut level: Vec<String>) -> Hash {
        loop {
            if let [only] = level.as_mut_slice() {
                return self.put(std::mem::take(only));
            }
            if level.len() <= MAX_CHILDREN {
                let branch = self.branch(level);
                return self.put(branch);
            }
            let mut above = Vec::with_capacity(level.len() / MAX_CHILDREN + 1);
            let mut rest = level.into_iter();
            loop {
                let mut group: Vec<_> = rest.by_ref().take(MAX_CHILDREN).collect();
                match group.as_mut_slice() {
                    [] => break,
                    [only] => above.push(std::mem::take(only)),
                    _ => above.push(self.branch(group)),
                }
            }
            level = above;
        }
    }

    fn branch(&mut self, children: Vec<String>) -> String {
        Entry::Branch(children.into_iter().map(|text| self.put(text)).collect()).to_string()
    }

    /// Signs the list for the domain in which it will stand.
    ///
    /// # Errors
    /// When `domain` is no DNS name.
    pub fn sign(self, key: &NodeKey, domain: &str) -> Result<Signed, super::EntryError> {
        let url = Link::new(key.public(), domain)?;
        let root = Root::signed(key, self.records, self.links, self.seq);
        Ok(Signed { url, root, entries: self.entries })
    }
}

impl Tree {
    /// The list with a signature that was made before; `url` says by whom and where it stands.
    ///
    /// # Errors
    /// [`super::EntryError::Signature`]: the list is another than the one that was signed.
    pub fn signed_before(self, url: Link, signature: &str) -> Result<Signed, super::EntryError> {
        let root = Root::signed_by(&url.key(), self.records, self.links, self.seq, signature)?;
        Ok(Signed { url, root, entries: self.entries })
    }
}

impl Signed {
    /// Every TXT record by its full name.
    #[must_use]
    pub fn to_txt(&self) -> BTreeMap<String, String> {
        let domain = self.url.domain();
        let mut out: BTreeMap<_, _> =
            self.entries.iter().map(|(hash, text)| (hash.name(domain), text.clone())).collect();
        out.insert(domain.to_owned(), self.root.to_string());
        out
    }
}
