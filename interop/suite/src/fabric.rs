//! Networks of fabric members of both kinds, and blocks for them.

use crate::{Program, must, text};
use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use switchboard_fabric_gossip::block::{Block, build};

/// The channel of all networks here.
pub const CHANNEL: &str = "mychannel";
/// The chaincode of private data here.
pub const CHAINCODE: &str = "cc";

/// A length-delimited field of a protobuf message.
#[must_use]
pub fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 128 {
        out.push(length as u8 | 128);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend(bytes);
    out
}

/// A private set that a transaction names by hash: collection and contents.
pub type Private<'a> = (&'a str, &'a [u8]);

/// An encoded envelope of an endorser transaction of [`CHAINCODE`] with this id and these private sets.
#[must_use]
pub fn transaction(tx_id: &str, private: &[Private<'_>], filling: usize) -> Bytes {
    let mut namespace = field(1, CHAINCODE.as_bytes());
    for (collection, set) in private {
        let hashed =
            [field(1, collection.as_bytes()), field(2, b"\x12\x00"), field(3, &Sha256::digest(set))].concat();
        namespace.extend(field(3, &hashed));
    }
    let action = [field(1, &field(2, &namespace)), field(2, &vec![7; filling])].concat();
    let endorsed = field(1, &field(2, &action));
    let data = field(1, &field(2, &field(2, &endorsed)));
    let channel_header = [vec![8, 3], field(4, CHANNEL.as_bytes()), field(5, tx_id.as_bytes())].concat();
    let header = [field(1, &channel_header), field(2, &field(1, b"creator"))].concat();
    let payload = [field(1, &header), field(2, &data)].concat();
    [field(1, &payload), field(2, b"signature")].concat().into()
}

/// Blocks from 1 on that chain, with these transactions.
///
/// # Panics
/// When a transaction is none.
#[must_use]
pub fn chain_of(transactions: impl IntoIterator<Item = Vec<Bytes>>) -> Vec<Bytes> {
    let mut previous = vec![7; 32];
    let mut blocks = Vec::new();
    for (transactions, number) in transactions.into_iter().zip(1..) {
        let block = build(number, &previous, &transactions, &[]);
        let decoded = Block::decode(block.clone()).unwrap_or_else(|e| panic!("block {number}: {e}"));
        previous = decoded.header_hash().to_vec();
        blocks.push(block);
    }
    blocks
}

/// Blocks 1 … count with a transaction of about so many bytes each.
#[must_use]
pub fn chain(count: u64, bytes: usize) -> Vec<Bytes> {
    chain_of((1..=count).map(|number| vec![transaction(&format!("tx{number}"), &[], bytes)]))
}

/// An encoded `TxPvtReadWriteSet`.
#[must_use]
pub fn private_sets(private: &[Private<'_>]) -> Vec<u8> {
    let mut namespace = field(1, CHAINCODE.as_bytes());
    for (collection, set) in private {
        namespace.extend(field(2, &[field(1, collection.as_bytes()), field(2, set)].concat()));
    }
    field(2, &namespace)
}

/// SHA-256 as hex.
#[must_use]
pub fn hex_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Puts a file into a folder by rename.
///
/// # Panics
/// When it cannot be written.
pub fn put(folder: &Path, name: &str, content: &[u8]) {
    let part = folder.join("part");
    std::fs::write(&part, content).unwrap_or_else(|e| panic!("cannot write {name}: {e}"));
    std::fs::rename(&part, folder.join(name)).unwrap_or_else(|e| panic!("cannot place {name}: {e}"));
}

/// Puts blocks 1, 2, … into a folder.
pub fn put_blocks(folder: &Path, blocks: &[Bytes]) {
    for (block, number) in blocks.iter().zip(1..) {
        put(folder, &format!("{number}.block"), block);
    }
}

/// Organisations with keys, and folders.
pub struct Net {
    dir: tempfile::TempDir,
    orgs: usize,
}

impl Net {
    /// Organisations `Org1MSP`, `Org2MSP`, … with so many peers each.
    ///
    /// # Panics
    /// When keys cannot be made.
    #[must_use]
    pub fn new(orgs: usize, peers: usize) -> Self {
        let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("no temporary folder: {e}"));
        for org in 1..=orgs {
            let out = dir.path().join(format!("org{org}")).display().to_string();
            let (name, count) = (format!("Org{org}MSP"), peers.to_string());
            let args = ["keygen", "--json", "--wire", "fabric", "--out", &out, "--org", &name];
            let _ = must("switchboard", &[&args[..], &["--peers", &count]].concat());
        }
        Self { dir, orgs }
    }

    /// A new folder.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn folder(&self, name: &str) -> PathBuf {
        let folder = self.dir.path().join(name);
        std::fs::create_dir(&folder).unwrap_or_else(|e| panic!("no folder {name}: {e}"));
        folder
    }

    /// A file's path.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn file(&self, name: &str, content: &str) -> String {
        let file = self.dir.path().join(name);
        std::fs::write(&file, content).unwrap_or_else(|e| panic!("cannot write {name}: {e}"));
        file.display().to_string()
    }

    fn key(&self, org: usize, peer: usize) -> String {
        self.dir.path().join(format!("org{org}/peer{peer}")).display().to_string()
    }

    /// `--org` and the other organisations.
    fn organisations(&self, org: usize) -> Vec<String> {
        let mut args = vec!["--org".to_owned(), format!("Org{org}MSP")];
        for other in (1..=self.orgs).filter(|other| *other != org) {
            let msp = self.dir.path().join(format!("org{other}/msp"));
            args.extend(["--trust".to_owned(), format!("Org{other}MSP={}", msp.display())]);
        }
        args
    }

    /// Starts a member of ours.
    #[must_use]
    pub fn ours(&self, (org, peer): (usize, usize), bootstrap: &str, more: &[&str]) -> Member {
        let (key, orgs) = (format!("fabric={}", self.key(org, peer)), self.organisations(org));
        let mut args = vec!["fabric", "peer", "--json", "--stdin-stop", "--listen", "127.0.0.1:0"];
        args.extend(["--channel", CHANNEL, "--verify-blocks", "hash", "--key-file", &key]);
        args.extend(orgs.iter().map(String::as_str));
        if !bootstrap.is_empty() {
            args.extend(["--bootstrap", bootstrap]);
        }
        args.extend(more);
        Member::of(Program::start("switchboard", &args), false)
    }

    /// Starts a member on Fabric's own code.
    #[must_use]
    pub fn go(&self, (org, peer): (usize, usize), bootstrap: &str, more: &[&str]) -> Member {
        let (key, orgs) = (self.key(org, peer), self.organisations(org));
        let mut args = vec!["gossip", "--key", &key, "--channel", CHANNEL];
        args.extend(orgs.iter().map(String::as_str));
        if !bootstrap.is_empty() {
            args.extend(["--bootstrap", bootstrap]);
        }
        args.extend(more);
        Member::of(Program::start("fabricpeer", &args), true)
    }
}

/// A member of either kind.
pub struct Member {
    /// The program.
    pub program: Program,
    /// Where it listens.
    pub endpoint: String,
    /// Its name.
    pub pki_id: String,
    /// Whether it is on Fabric's own code.
    pub go: bool,
}

impl Member {
    fn of(mut program: Program, go: bool) -> Self {
        let ready = program.wait("ready");
        let said = if go { &ready } else { &ready["fabric"] };
        let (endpoint, pki_id) = (text(said, "endpoint").to_owned(), text(said, "pki_id").to_owned());
        Self { program, endpoint, pki_id, go }
    }

    /// Waits until it sees all of these: PKI-ID and endpoint.
    ///
    /// # Panics
    /// When it sees one of them at another endpoint.
    pub fn sees(&mut self, all: &BTreeSet<(String, String)>) {
        let mut left: BTreeSet<_> = all.iter().filter(|(id, _)| *id != self.pki_id).cloned().collect();
        while !left.is_empty() {
            let alive = self.program.wait_where("member_alive", |v| v["event"] == "member_alive");
            let id = text(&alive, "pki_id").to_owned();
            if let Some(at) = left.iter().find(|(known, _)| *known == id).cloned() {
                assert_eq!(text(&alive, "endpoint"), at.1, "{alive:#}");
                left.remove(&at);
            }
        }
    }

    /// Waits until it heard a StateInfo of the channel from each of these.
    pub fn knows(&mut self, others: &[String]) {
        let mut left: BTreeSet<_> = others.iter().filter(|id| **id != self.pki_id).cloned().collect();
        let heard = |v: &Value| v["event"] == "state_info";
        for info in self.program.seen.iter().filter(|v| heard(v)) {
            left.remove(text(info, "pki_id"));
        }
        while !left.is_empty() {
            let info = self.program.wait_where("state_info", heard);
            left.remove(text(&info, "pki_id"));
        }
    }

    /// Waits until it stored block `number`.
    ///
    /// # Panics
    /// When it stored another.
    pub fn has(&mut self, number: u64, block: &[u8]) {
        let told = self
            .program
            .wait_where(&format!("block {number}"), |v| v["event"] == "block" && v["number"] == number);
        assert_eq!(text(&told, "sha256"), hex_of(block), "block {number} at go={}: {told:#}", self.go);
    }

    /// Ends it in good order.
    ///
    /// # Panics
    /// When its exit code is not 0.
    pub fn stop(self) {
        assert_eq!(self.program.stop(), 0);
    }
}
