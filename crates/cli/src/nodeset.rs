//! `nodeset`: files of crawled nodes, in the form of go-ethereum's `devp2p` tool (cmd/devp2p/nodeset.go).
//!
//! ```text
//!   { "<id, 64 hex digits>": { "seq": 3, "record": "enr:…", "score": 10,
//!                              "firstResponse": "2026-11-21T18:00:00Z", "lastResponse": …, "lastCheck": … }, … }
//! ```
//! `crawl --eth` adds `"eth"`: what a node said of its chain, by name. The tool passes over it.
//!
//! Limits: a file of at most 256 MiB.

use crate::fail::Fail;
use crate::output::Output;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use switchboard_discv::{Node, NodeId};
use switchboard_enr::Record;

/// Largest file that is read.
const MAX_FILE: u64 = 256 << 20;
/// The time of a check that never was, as Go writes it.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Look at a file of crawled nodes, or choose from it.
///
/// Example: switchboard nodeset info nodes.json
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    job: Job,
}

#[derive(clap::Subcommand)]
enum Job {
    /// Say how many nodes there are, and what their records hold.
    #[command(after_help = "Example: switchboard nodeset info nodes.json --json")]
    Info {
        /// The file.
        file: PathBuf,
    },
    /// Choose nodes.
    #[command(
        after_help = "Example: switchboard nodeset filter nodes.json --dialable --limit 50 --out some.json"
    )]
    Filter {
        /// The file.
        file: PathBuf,
        /// Only nodes that take connections.
        #[arg(long)]
        dialable: bool,
        /// Only nodes of this network, as in 203.0.113.0/24.
        #[arg(long)]
        ip: Option<ipnet::IpNet>,
        /// Only nodes whose record has this entry, as in eth.
        #[arg(long)]
        entry: Option<String>,
        /// Only nodes that said they follow this network (crawl --eth), by its number.
        #[arg(long)]
        eth_network: Option<u64>,
        /// At most so many, those of the highest score.
        #[arg(long)]
        limit: Option<NonZeroUsize>,
        /// Where to write them: a file, or - for standard output.
        #[arg(long)]
        out: PathBuf,
    },
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    seq: u64,
    record: String,
    #[serde(default, skip_serializing_if = "is_zero")]
    score: i64,
    #[serde(default = "never")]
    first_response: String,
    #[serde(default = "never")]
    last_response: String,
    #[serde(default = "never")]
    last_check: String,
    /// What it said of its chain, where it was asked: names and values of its status.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    eth: BTreeMap<String, String>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
fn is_zero(score: &i64) -> bool {
    *score == 0
}

pub(crate) fn never() -> String {
    NEVER.to_owned()
}

impl Entry {
    /// A node that nobody has asked yet.
    pub(crate) fn untried(record: &Record) -> Self {
        let (seq, record) = (record.seq(), record.to_string());
        let [first_response, last_response, last_check] = [never(), never(), never()];
        let eth = BTreeMap::new();
        Self { seq, record, score: 0, first_response, last_response, last_check, eth }
    }

    /// The record, where it is one.
    pub(crate) fn parsed(&self) -> Option<Record> {
        Record::parse(&self.record).ok()
    }

    /// The node, where its record says where it is.
    pub(crate) fn node(&self) -> Option<Node> {
        Node::from_record(Arc::new(self.parsed()?))
    }
}

/// A file's nodes by id.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct NodeSet {
    pub(crate) nodes: BTreeMap<String, Entry>,
}

pub(crate) fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Whether a file's name means standard output.
pub(crate) fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Writes a file anew: whole, or not at all.
pub(crate) fn replace(path: &Path, text: &[u8]) -> Result<(), Fail> {
    let failed = |e: &dyn std::fmt::Display| Fail::usage(format!("cannot write {}: {e}", shown(path)));
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|e| failed(&e))?;
    file.write_all(text).map_err(|e| failed(&e))?;
    file.persist(path).map_err(|e| failed(&e))?;
    Ok(())
}

impl NodeSet {
    pub(crate) fn read(path: &Path) -> Result<Self, Fail> {
        let failed =
            |e: &dyn std::fmt::Display| Fail::usage(format!("cannot read nodes from {}: {e}", shown(path)));
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).map_err(|e| failed(&e))?;
        file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|e| failed(&e))?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(failed(&"over 256 MiB"));
        }
        serde_json::from_slice(&bytes).map_err(|e| failed(&e))
    }

    /// Writes the file anew: whole, or not at all.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Fail> {
        let text = serde_json::to_vec_pretty(self).map_err(Fail::job)?;
        replace(path, &text)
    }

    /// Writes the file, or prints the nodes where `-` is named; whether they were printed.
    pub(crate) fn give(&self, path: &Path, output: &Output) -> Result<bool, Fail> {
        if !is_stdout(path) {
            return self.write(path).map(|()| false);
        }
        let text = serde_json::to_string_pretty(self).map_err(Fail::job)?;
        output.event(&json!({"event": "nodes", "nodes": self}), &text);
        Ok(true)
    }

    /// A node answered: it counts more. What it said of its chain, if anything, replaces what it said before.
    pub(crate) fn answered(&mut self, record: &Record, eth: BTreeMap<String, String>, unix: u64) {
        let now = rfc3339(unix);
        let id = NodeId(record.key().node_id()).to_string();
        let old = self.nodes.get(&id);
        let first = old.map(|old| old.first_response.clone()).filter(|first| first != NEVER);
        let entry = Entry {
            seq: record.seq(),
            record: record.to_string(),
            score: old.map_or(0, |old| old.score).saturating_add(1),
            first_response: first.unwrap_or_else(|| now.clone()),
            last_response: now.clone(),
            last_check: now,
            eth: if eth.is_empty() { old.map(|old| old.eth.clone()).unwrap_or_default() } else { eth },
        };
        self.nodes.insert(id, entry);
    }

    /// A node that once answered did not: it counts half, and is dropped at nothing.
    pub(crate) fn silent(&mut self, id: &NodeId, unix: u64) {
        let id = id.to_string();
        if let Some(entry) = self.nodes.get_mut(&id) {
            entry.score /= 2;
            entry.last_check = rfc3339(unix);
            if entry.score <= 0 {
                self.nodes.remove(&id);
            }
        }
    }
}

/// Seconds since 1970 as Go's JSON has times.
pub(crate) fn rfc3339(unix: u64) -> String {
    let (days, rest) = (unix / 86_400, unix % 86_400);
    // Days of 400-year cycles that begin in March (H. Hinnant, days_from_civil).
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year + era * 400 + next;
    format!("{year:04}-{month:02}-{date:02}T{:02}:{:02}:{:02}Z", rest / 3_600, rest / 60 % 60, rest % 60)
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Fail> {
    match &args.job {
        Job::Info { file } => {
            let set = NodeSet::read(file)?;
            let mut keys: BTreeMap<String, u64> = BTreeMap::new();
            let mut dialable = 0_u64;
            let mut networks: BTreeMap<&str, u64> = BTreeMap::new();
            for network in set.nodes.values().filter_map(|node| node.eth.get("network")) {
                *networks.entry(network).or_default() += 1;
            }
            for record in set.nodes.values().filter_map(Entry::parsed) {
                dialable += u64::from(record.entries().tcp_endpoint().is_some());
                for (key, _) in record.entries().iter() {
                    *keys.entry(switchboard::text::printable(&String::from_utf8_lossy(key))).or_default() +=
                        1;
                }
            }
            let lines = keys.iter().map(|(key, count)| format!("\n{count:>8} {key}")).collect::<String>();
            let shown = |(id, count): (&&str, &u64)| {
                format!("\n{count:>8} on network {}", switchboard::text::printable(id))
            };
            let lines = lines + &networks.iter().map(shown).collect::<String>();
            let text = format!("{} nodes, {dialable} take connections{lines}", set.nodes.len());
            output.event(
                &json!({"event": "nodeset", "nodes": set.nodes.len(), "dialable": dialable, "entries": keys, "eth_networks": networks}),
                &text,
            );
        }
        Job::Filter { file, dialable, ip, entry, eth_network, limit, out } => {
            let set = NodeSet::read(file)?;
            let fits = |(_, node): &(String, Entry)| {
                node.parsed().is_some_and(|record| {
                    let entries = record.entries();
                    (!dialable || entries.tcp_endpoint().is_some())
                        && ip.is_none_or(|net| entries.ip().is_some_and(|ip| net.contains(&ip)))
                        && entry.as_ref().is_none_or(|key| entries.get_raw(key).is_some())
                        && eth_network.is_none_or(|id| node.eth.get("network") == Some(&id.to_string()))
                })
            };
            let before = set.nodes.len();
            let mut chosen: Vec<_> = set.nodes.into_iter().filter(fits).collect();
            chosen.sort_by_key(|(_, node)| std::cmp::Reverse(node.score));
            chosen.truncate(limit.map_or(usize::MAX, NonZeroUsize::get));
            let set = NodeSet { nodes: chosen.into_iter().collect() };
            if set.give(out, output)? {
                return Ok(());
            }
            let after = set.nodes.len();
            output.event(
                &json!({"event": "filtered", "before": before, "nodes": after, "out": shown(out)}),
                &format!("{after} of {before} nodes are in {}", shown(out)),
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchboard_enr::NodeKey;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (unix, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_289_499, "2026-11-21T19:31:39Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(unix), text);
        }
    }

    #[test]
    fn who_answers_gains_and_who_is_silent_goes() {
        let key = NodeKey::from_bytes(&[7; 32]).unwrap();
        let record = Record::signed(&key, 3, [127, 0, 0, 1].into(), Some(9), Some(9));
        let id = NodeId(key.public().node_id());
        let mut set = NodeSet::default();
        set.silent(&id, 5);
        assert!(set.nodes.is_empty());
        let eth: BTreeMap<_, _> = [("network".to_owned(), "1".to_owned())].into();
        set.answered(&record, eth.clone(), 10);
        set.answered(&record, BTreeMap::new(), 20);
        assert_eq!(set.nodes.values().next().unwrap().eth, eth, "who was not asked has not changed");
        let one = set.nodes.values().next().unwrap().clone();
        assert_eq!((one.score, one.first_response == one.last_response), (2, false));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nodes.json");
        set.write(&path).unwrap();
        assert_eq!(NodeSet::read(&path).unwrap(), set);
        set.silent(&id, 30);
        set.silent(&id, 40);
        assert!(set.nodes.is_empty());
    }
}
