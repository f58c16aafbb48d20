//! Peer exchange against CometBFT's own reactor and book: v0.34, v0.38 and v0.40.
#![cfg(test)]

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};
use switchboard_interop::{Program, line, must, number, run, text};

const NETWORK: &str = "interop-net";
const GO: [&str; 2] = ["cometpeer", "cometpeer040"];
/// The two, and the line before them.
const GO_ALL: [&str; 3] = ["cometpeer", "cometpeer040", "cometpeer034"];

/// Real programs keep real time.
#[allow(clippy::disallowed_methods)]
fn clock() -> Instant {
    Instant::now()
}

/// Our node in a role: `seed`, or `node` with the exchange.
fn ours(role: &str, more: &[&str]) -> (Program, String) {
    let mut args = vec![role, "--json", "--stdin-stop", "--listen", "127.0.0.1:0", "--network", NETWORK];
    args.push("--allow-local");
    if role == "node" {
        args.extend(["--wire", "comet", "--pex", "--protocol", "bench"]);
    }
    args.extend(more);
    let mut program = Program::start("switchboard", &args);
    let address = text(&program.wait("ready"), "comet.address").to_owned();
    (program, address)
}

/// A Go node with book and exchange.
fn theirs(go: &str, more: &[&str]) -> (Program, String) {
    let mut args = vec!["serve", "--pex", "--protocols", "none", "--network", NETWORK];
    args.extend(more);
    let mut program = Program::start(go, &args);
    let address = text(&program.wait("ready"), "address").to_owned();
    (program, address)
}

fn id(address: &str) -> &str {
    address.split('@').next().unwrap_or_default()
}

/// Addresses of a `pex` line.
fn addresses(value: &Value) -> Vec<String> {
    let all = value["addresses"].as_array().cloned().unwrap_or_default();
    all.iter().filter_map(|address| address.as_str().map(str::to_owned)).collect()
}

/// The entries of an address book's file, by ID, with their buckets.
fn book(path: &Path) -> BTreeMap<String, usize> {
    let text = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let book: Value = serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let entries = book["addrs"].as_array().cloned().unwrap_or_default();
    let entry = |entry: &Value| {
        let buckets = entry["buckets"].as_array().map_or(0, Vec::len);
        (entry["addr"]["id"].as_str().unwrap_or_default().to_owned(), buckets)
    };
    entries.iter().map(entry).collect()
}

/// A book of ours with one address, made by our own command.
fn one_address(dir: &Path, address: &str) -> String {
    let (list, file) = (dir.join("peers.txt"), dir.join("addrbook.json"));
    std::fs::write(&list, address).unwrap_or_else(|e| panic!("{e}"));
    let (list, file) = (list.display().to_string(), file.display().to_string());
    let args = ["comet", "addrbook", "import", &file, "--from", &list, "--allow-local", "--json"];
    assert_eq!(number(line(&must("switchboard", &args), "import"), "added"), 1);
    file
}

/// Waits until every id of `wanted` was told as a peer by `program`.
fn peers(program: &mut Program, want: usize, until: Instant) -> BTreeSet<String> {
    let mut now = BTreeSet::new();
    while now.len() < want {
        let left = until.saturating_duration_since(clock());
        let event = |v: &Value| v["event"] == "peer_added" || v["event"] == "peer_dropped";
        let Some(event) = program.try_wait(left, event) else { break };
        let id = text(&event, "id").to_owned();
        if event["event"] == "peer_added" {
            now.insert(id)
        } else {
            now.remove(&id)
        };
    }
    now
}

#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn request_and_answer_both_ways() {
    for go in GO_ALL {
        // They ask us.
        let dir = tempfile::tempdir().unwrap();
        let known = format!("{}@127.0.0.9:26656", "0a".repeat(20));
        let (node, address) = ours("node", &["--addrbook", &one_address(dir.path(), &known)]);
        let args = ["dial", &address, "--do", "pex", "--protocols", "none", "--network", NETWORK];
        let lines = must(go, &[&args[..], &["--count", "1", "--seconds", "0.1"]].concat());
        assert!(addresses(line(&lines, "pex")).contains(&known), "{lines:#?}");
        assert_eq!(node.stop(), 0);
        // We ask them.
        let dir = tempfile::tempdir().unwrap();
        let file = one_address(dir.path(), &known);
        let (peer, address) = theirs(go, &["--addrbook", &file]);
        let lines = must("switchboard", &["comet", "pex", &address, "--json"]);
        assert!(addresses(line(&lines, "pex")).contains(&known), "{go} reads the book we wrote: {lines:#?}");
        let lines = must("switchboard", &["comet", "status", &address, "--json"]);
        let status = line(&lines, "status");
        assert_eq!((&status["pex"], text(status, "network")), (&Value::Bool(true), NETWORK));
        assert_eq!(peer.stop(), 0);
    }
}

/// Honest peers may ask twice at once. The third time ends the session, on both sides.
#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn a_third_quick_request_ends_the_session() {
    for go in GO_ALL {
        let (mut node, address) = ours("node", &[]);
        let args = ["dial", &address, "--do", "pex", "--protocols", "none", "--network", NETWORK];
        let lines = must(go, &[&args[..], &["--count", "3"]].concat());
        let closed = line(&lines, "closed");
        assert_eq!((text(closed, "by"), number(closed, "after")), ("peer", 2), "{lines:#?}");
        let dropped = node.wait("peer_dropped");
        assert_eq!((text(&dropped, "reason"), text(&dropped, "by")), ("breach", "us"), "{dropped:#}");
        assert!(text(&dropped, "text").contains("pex request too soon"), "{dropped:#}");
        // Another identity at the same address is welcome: loopback is never banned.
        let lines = must(go, &[&args[..], &["--count", "2", "--seconds", "0.1"]].concat());
        assert_eq!(lines.iter().filter(|v| v["event"] == "pex").count(), 2, "{lines:#?}");
        // Nobody asked for an answer.
        let lines = must(go, &[&args[..], &["--count", "1", "--unsolicited"]].concat());
        assert_eq!(text(line(&lines, "closed"), "by"), "peer", "{lines:#?}");
        assert_eq!(node.stop(), 0);

        let (peer, address) = theirs(go, &[]);
        let (lines, code) = run("switchboard", &["comet", "pex", &address, "--requests", "3", "--json"]);
        assert_eq!(code, 1, "{lines:#?}");
        assert_eq!(lines.iter().filter(|v| v["event"] == "pex").count(), 2, "{lines:#?}");
        assert_eq!(peer.stop(), 0);
    }
}

/// Six Go nodes that know only our seed find one another.
#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn go_nodes_that_know_only_our_seed_find_one_another() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("addrbook.json");
    let (seed, address) = ours("seed", &["--addrbook", &file.display().to_string()]);
    let until = clock() + Duration::from_secs(60);
    let mut nodes: Vec<_> = (0..6).map(|n| theirs(GO[n % 2], &["--seeds", &address])).collect();
    let began = clock();
    let ids: BTreeSet<_> = nodes.iter().map(|(_, address)| id(address).to_owned()).collect();
    for (node, own) in &mut nodes {
        let mut found = BTreeSet::new();
        while found.len() < 3 {
            let more = peers(node, 1, until);
            assert!(!more.is_empty(), "{own} has only {found:?} within 60 s");
            found.extend(more.into_iter().filter(|id| ids.contains(id)));
        }
    }
    eprintln!("all have three peers after {:?}", began.elapsed());
    assert_eq!(seed.stop(), 0);
    let book = book(&file);
    for id in &ids {
        assert!(book.get(id).is_some_and(|buckets| *buckets > 0), "{id} in {book:?}");
    }
    nodes.into_iter().for_each(|(node, _)| assert_eq!(node.stop(), 0));
}

/// Our node joins a Go network through a Go seed, and needs none the second time. Each reads the other's book.
#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn our_node_joins_through_a_go_seed_and_comes_back_by_its_book() {
    for go in GO_ALL {
        let dir = tempfile::tempdir().unwrap();
        let (seed_file, our_file) = (dir.path().join("seed.json"), dir.path().join("ours.json"));
        let (seed, seed_at) = theirs(go, &["--seed-mode", "--addrbook", &seed_file.display().to_string()]);
        let mut nodes: Vec<_> = (0..3).map(|_| theirs(go, &["--seeds", &seed_at])).collect();
        // The seed knows them once they were there.
        nodes.iter_mut().for_each(|(node, _)| drop(node.wait("peer_added")));
        let ids: BTreeSet<_> = nodes.iter().map(|(_, address)| id(address).to_owned()).collect();
        let book_at = our_file.display().to_string();
        let (mut node, _) = ours("node", &["--seed", &seed_at, "--addrbook", &book_at]);
        let until = clock() + Duration::from_secs(60);
        let mut found = BTreeSet::new();
        while found.intersection(&ids).count() < 3 {
            let more = peers(&mut node, 1, until);
            assert!(!more.is_empty(), "only {found:?} of {ids:?}; it said {:#?}", node.seen);
            found.extend(more);
        }
        assert_eq!(node.stop(), 0);
        let ours_now = book(&our_file);
        assert!(ids.iter().all(|id| ours_now.get(id).is_some_and(|buckets| *buckets > 0)), "{ours_now:?}");
        assert_eq!(seed.stop(), 0);
        // The seed is gone: the book suffices, ours or theirs.
        for file in [&our_file, &seed_file] {
            let (mut node, _) = ours("node", &["--addrbook", &file.display().to_string()]);
            let found = peers(&mut node, 1, clock() + Duration::from_secs(60));
            assert!(!found.is_empty(), "{} was of no use: {:#?}", file.display(), node.seen);
            assert_eq!(node.stop(), 0);
        }
        let lines =
            must("switchboard", &["comet", "addrbook", "check", &seed_file.display().to_string(), "--json"]);
        assert_eq!(line(&lines, "check")["ok"], true, "{lines:#?}");
        // A Go node starts on the book we wrote, and dials out of it.
        let (mut peer, _) = theirs(go, &["--addrbook", &book_at, "--ensure-period", "2s"]);
        let found = peers(&mut peer, 1, clock() + Duration::from_secs(60));
        assert!(!found.is_empty(), "{go} has no use for our book");
        assert_eq!(peer.stop(), 0);
        nodes.into_iter().for_each(|(node, _)| assert_eq!(node.stop(), 0));
    }
}

/// A mixed network of thirty is known whole to a seed that was told only of another seed, and to a crawl.
#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn a_seed_that_knows_only_a_seed_knows_the_network() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("addrbook.json");
    let (first, first_at) = ours("seed", &[]);
    let mut network: Vec<_> = (0..20).map(|n| theirs(GO_ALL[n % 3], &["--seeds", &first_at])).collect();
    network.extend((0..10).map(|_| ours("node", &["--seed", &first_at])));
    let began = clock();
    let ids: BTreeSet<_> = network.iter().map(|(_, address)| id(address).to_owned()).collect();
    let (second, second_at) =
        ours("seed", &["--seeds", &first_at, "--addrbook", &file.display().to_string()]);
    let until = clock() + Duration::from_secs(120);
    let mut told = BTreeSet::new();
    while !ids.is_subset(&told) {
        assert!(clock() < until, "the second seed tells of {} of {} nodes", told.len(), ids.len());
        let (lines, _) = run("switchboard", &["comet", "pex", &second_at, "--json"]);
        let answers = lines.iter().filter(|v| v["event"] == "pex").flat_map(addresses);
        told.extend(answers.map(|address| id(&address).to_owned()));
        std::thread::park_timeout(Duration::from_secs(1));
    }
    eprintln!("the second seed tells of all {} after {:?}", ids.len(), began.elapsed());
    let until = clock() + Duration::from_secs(60);
    let (mut reached, began) = (BTreeSet::new(), clock());
    while !ids.is_subset(&reached) {
        assert!(clock() < until, "only {} of {} reached", reached.len(), ids.len());
        let lines = must("switchboard", &["comet", "crawl", &second_at, "--json"]);
        let nodes = lines.iter().filter(|v| v["event"] == "node");
        reached.extend(nodes.map(|node| text(node, "id").to_owned()));
        std::thread::park_timeout(Duration::from_secs(1));
    }
    eprintln!("a crawl reached all {} in {:?}", ids.len(), began.elapsed());
    assert_eq!(second.stop(), 0);
    let known = book(&file);
    let missing: Vec<_> = ids.iter().filter(|id| !known.contains_key(*id)).collect();
    assert!(missing.is_empty(), "the second seed does not know {missing:?}");
    network.into_iter().for_each(|(node, _)| assert_eq!(node.stop(), 0));
    assert_eq!(first.stop(), 0);
}

/// A monitor is kept by a Go node with a validator's channels, counts what that sends, and says nothing.
#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn a_monitor_is_kept_and_counts_what_flows() {
    for go in GO {
        let mut peer = Program::start(go, &["serve", "--protocols", "consensus", "--network", NETWORK]);
        let address = text(&peer.wait("ready"), "address").to_owned();
        let (mut node, _) = {
            let args = ["node", "--json", "--stdin-stop", "--wire", "comet", "--listen", "127.0.0.1:0"];
            let more = ["--network", NETWORK, "--monitor", "--persistent-peers", &address];
            let mut node = Program::start("switchboard", &[&args[..], &more].concat());
            let ready = node.wait("ready");
            (node, ready)
        };
        assert_eq!(number(&peer.wait("flowed"), "messages"), 100);
        // It is still there, and what came is told at the end.
        assert!(!peer.seen.iter().any(|v| v["event"] == "peer_dropped"), "{:#?}", peer.seen);
        let gone = peer.try_wait(Duration::from_secs(1), |v| v["event"] == "peer_dropped");
        assert!(gone.is_none(), "{gone:#?}");
        let figures = {
            node.close_stdin();
            node.wait("figures")
        };
        // 300 bytes, and what a BytesValue adds.
        for channel in ["consensus_vote", "consensus_data"] {
            assert_eq!(figures["figures"][channel], "50 messages, 15150 bytes", "{figures:#}");
        }
        assert_eq!(node.exit_code(), 0);
        assert_eq!(peer.stop(), 0);
    }
}
