//! Discovery against go-ethereum: its acceptance suites, its tool's queries, and a network of both.
#![allow(clippy::disallowed_methods)] // real programs, in real time
#![cfg(test)]

use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use switchboard_interop::{Program, line, must, program, text};

/// Cases of the suites of v1.17.10.
const V4_CASES: usize = 15;
const V5_CASES: usize = 10;
/// How long any run of the tool may take.
const TOOL_WITHIN: Duration = Duration::from_secs(180);

/// Runs the tool; gives its exit code and everything it printed.
fn tool(args: &[&str]) -> (i32, String) {
    let mut child = Command::new(program("devp2p"))
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("cannot start devp2p: {e}"));
    let read = |mut from: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut said = String::new();
            let _ = from.read_to_string(&mut said);
            said
        })
    };
    let out = read(Box::new(child.stdout.take().unwrap()));
    let err = read(Box::new(child.stderr.take().unwrap()));
    let start = Instant::now();
    let code = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status.code().unwrap_or(-1),
            None if start.elapsed() > TOOL_WITHIN => {
                let _ = child.kill();
                break -1;
            }
            None => std::thread::park_timeout(Duration::from_millis(20)),
        }
    };
    (code, out.join().unwrap() + &err.join().unwrap())
}

fn boot(listen: &str, more: &[&str]) -> (Program, String, String) {
    let mut args = vec!["bootnode", "--json", "--stdin-stop", "--listen", listen];
    args.extend(more);
    let mut node = Program::start("switchboard", &args);
    let ready = node.wait("ready");
    let (enode, enr) = (text(&ready, "devp2p.enode").to_owned(), text(&ready, "devp2p.enr").to_owned());
    (node, enode, enr)
}

/// The suite's last line tells how many passed, as in `15/15 tests passed`. It waits 300 ms for each answer, which a busy machine
/// may miss: it has three tries.
fn passes(args: &[&str], cases: usize) {
    let (mut code, mut said) = tool(args);
    for _ in 1..3 {
        if code != 0 {
            println!("{said}");
            (code, said) = tool(args);
        }
    }
    let shown = said.lines().filter(|l| l.starts_with("-- ") || l.contains("passed"));
    println!("{}", shown.collect::<Vec<_>>().join("\n"));
    assert_eq!(code, 0, "{said}");
    assert!(said.contains(&format!("{cases}/{cases} tests passed")), "{said}");
}

#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn the_acceptance_suite_of_discv4_passes() {
    let (node, enode, _) = boot("127.0.0.1:0", &[]);
    passes(
        &["discv4", "test", "--remote", &enode, "--listen1", "127.0.0.1", "--listen2", "127.0.0.2"],
        V4_CASES,
    );
    assert_eq!(node.stop(), 0);
}

#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn the_acceptance_suite_of_discv5_passes() {
    let (node, _, enr) = boot("127.0.0.1:0", &[]);
    passes(&["discv5", "test", "--listen1", "127.0.0.1", "--listen2", "127.0.0.2", &enr], V5_CASES);
    assert_eq!(node.stop(), 0);
}

/// The tool's queries of one node, by its URL and by its record.
#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn the_tools_queries_are_answered() {
    let (node, enode, enr) = boot("127.0.0.1:0", &[]);
    for (what, whom) in [
        ("discv4 ping", &enode),
        ("discv4 ping", &enr),
        ("discv4 requestenr", &enode),
        ("discv4 resolve", &enode),
        ("discv5 ping", &enr),
        ("discv5 resolve", &enr),
    ] {
        let (version, query) = what.split_once(' ').unwrap();
        let (code, said) = tool(&[version, query, "--addr", "127.0.0.1:0", "--bootnodes", whom, whom]);
        assert_eq!(code, 0, "{what} {whom}: {said}");
        if what == "discv5 ping" {
            // The tool prints the error, which is none.
            assert!(said.contains("<nil>"), "{what}: {said}");
        } else if query == "ping" {
            assert!(said.contains("node responded to ping"), "{what}: {said}");
        } else {
            assert!(said.contains(&enr), "{what} {whom} gives the record: {said}");
        }
    }
    assert_eq!(node.stop(), 0);
}

#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn the_tools_rlpx_ping_is_answered() {
    let args = [
        "node",
        "--json",
        "--stdin-stop",
        "--wire",
        "devp2p",
        "--listen",
        "127.0.0.1:0",
        "--discovery",
        "v4,v5",
    ];
    let mut node = Program::start("switchboard", &args);
    let ready = node.wait("ready");
    let (code, said) = tool(&["rlpx", "ping", text(&ready, "devp2p.enode")]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("snappy") || said.contains("5"), "{said}");
    assert_eq!(node.stop(), 0);
}

/// The node set of a crawl, by id.
fn set(file: &Path) -> serde_json::Map<String, Value> {
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

/// Their crawler finds a network of ours.
#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn their_crawl_finds_our_nodes() {
    let (node, enode, _) = boot("127.0.0.1:0", &[]);
    let others: Vec<_> = (0..3).map(|_| boot("127.0.0.1:0", &["--bootnode", &enode])).collect();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("nodes.json");
    let path = file.to_str().unwrap();
    let crawl = ["discv4", "crawl", "--addr", "127.0.0.1:0", "--bootnodes", &enode, "--timeout", "15s", path];
    let (code, said) = tool(&crawl);
    assert_eq!(code, 0, "{said}");
    let found = set(&file);
    assert_eq!(found.len(), 4, "{found:#?}\n{said}");
    for (other, _, _) in others {
        assert_eq!(other.stop(), 0);
    }
    assert_eq!(node.stop(), 0);
}

/// A go-ethereum server with both versions that shakes hands as its own nodes do.
fn geth(more: &[&str]) -> (Program, String, String) {
    let mut args = vec!["serve", "--protocols", "bench,eth", "--discovery", "v4,v5"];
    args.extend(more);
    let mut node = Program::start("gethpeer", &args);
    let ready = node.wait("ready");
    let (enode, enr) = (text(&ready, "enode").to_owned(), text(&ready, "enr").to_owned());
    (node, enode, enr)
}

/// Runs one of our commands that must succeed; gives the line of an event.
fn ask(args: &[&str], event: &str) -> Value {
    let lines = must("switchboard", &[args, &["--json"]].concat());
    line(&lines, event).clone()
}

/// Every query of ours, of a go-ethereum server: by its URL and by its record.
#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn our_queries_are_answered_by_theirs() {
    let (theirs, enode, enr) = geth(&[]);
    let id = text(&ask(&["discv5", "ping", &enr], "pong"), "id").to_owned();
    for (version, whom) in [("discv4", &enode), ("discv4", &enr), ("discv5", &enr), ("discv5", &enode)] {
        let pong = ask(&[version, "ping", whom], "pong");
        assert_eq!(text(&pong, "id"), id);
        assert!(pong["seq"].as_u64().unwrap() > 0 && pong["rtt_ms"].as_f64().unwrap() < 2_000.0, "{pong:#}");
        for query in ["request-enr", "resolve"] {
            let record = ask(&[version, query, whom], "record");
            assert_eq!(text(&record, "record"), enr, "{version} {query} {whom}");
        }
    }
    // They know no protocol of this name: an empty answer.
    let talk = ask(&["discv5", "talk", &enr, "--protocol", "none", "--message", "00ff"], "talk");
    assert_eq!(text(&talk, "answer"), "");
    // Who listens finds them.
    for (version, whom) in [("discv4", &enode), ("discv5", &enr)] {
        let listen = [version, "listen", "--bootnode", whom, "--timeout", "5s"];
        assert_eq!(text(&ask(&listen, "node"), "id"), id);
    }
    // The handshake of `eth`, with their code.
    for command in [&["rlpx", "ping"][..], &["ping"]] {
        let peer = ask(&[command, &[enode.as_str(), "--count", "2"]].concat(), "peer");
        assert_eq!((text(&peer, "eth_network"), text(&peer, "eth_latest")), ("1337", "20000000"), "{peer:#}");
        assert_eq!(text(&peer, "eth_version"), "72");
    }
    // They took our answer, too.
    let mut theirs = theirs;
    let taken = theirs.wait("eth_status");
    assert_eq!(taken["latest"], 0, "we follow no chain and say so");
    assert_eq!(theirs.stop(), 0);
}

/// Crawls of both sides over a network of both, each continued by the other; chains are asked for over TCP.
#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn crawls_are_continued_by_either_side() {
    let (first, enode, enr) = geth(&[]);
    let theirs: Vec<_> = (0..3).map(|_| geth(&["--bootnode", &enode])).collect();
    let ours: Vec<_> = (0..3).map(|_| boot("127.0.0.1:0", &["--bootnode", &enode])).collect();
    let dir = tempfile::tempdir().unwrap();
    for (version, whom) in [("discv4", &enode), ("discv5", &enr)] {
        let file = dir.path().join(format!("{version}.json"));
        let path = file.to_str().unwrap();
        // They need some seconds to know one another.
        let start = Instant::now();
        let mut found = serde_json::Map::new();
        let speak = |found: &serde_json::Map<String, Value>| {
            found.values().filter(|node| node["eth"]["network"] == "1337").count()
        };
        while (found.len(), speak(&found)) != (7, 4) && start.elapsed() < Duration::from_secs(90) {
            let crawl = [version, "crawl", "--bootnode", whom, "--out", path, "--timeout", "5s", "--eth"];
            let began = Instant::now();
            ask(&crawl, "crawl");
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "the whole run is bounded: {:?}",
                began.elapsed()
            );
            found = set(&file);
        }
        assert_eq!(found.len(), 7, "{version}: {found:#?}");
        assert_eq!(speak(&found), 4, "go-ethereum's nodes told their chain: {found:#?}");
        // Their tool reads it, goes on with it, and ours goes on with theirs.
        let (code, said) = tool(&["nodeset", "info", path]);
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("Set contains 7 nodes"), "{said}");
        // It passes over nodes that were seen a moment ago.
        let mut old = found.clone();
        old.values_mut().for_each(|node| node["lastCheck"] = "2026-01-01T00:00:00Z".into());
        std::fs::write(&file, serde_json::to_vec(&old).unwrap()).unwrap();
        let (code, said) =
            tool(&[version, "crawl", "--addr", "127.0.0.1:0", "--bootnodes", whom, "--timeout", "10s", path]);
        assert_eq!(code, 0, "{said}");
        let (before, after) = (found, set(&file));
        assert_eq!(after.len(), 7, "{after:#?}");
        let score = |node: &Value| node["score"].as_u64().unwrap_or(0);
        assert!(after.iter().any(|(id, node)| score(node) > score(&before[id])), "it was continued");
        for (id, node) in &after {
            assert_eq!(
                node["firstResponse"].as_str().map(|t| &t[..19]),
                before[id]["firstResponse"].as_str().map(|t| &t[..19])
            );
        }
        let grew = |last: &serde_json::Map<String, Value>| {
            last.iter().all(|(id, node)| score(node) > score(&after[id]))
        };
        let mut last = after.clone();
        for _ in 0..5 {
            if !grew(&last) {
                ask(&[version, "crawl", "--bootnode", whom, "--out", path, "--timeout", "5s"], "crawl");
                last = set(&file);
            }
        }
        assert!(grew(&last), "{last:#?}");
    }
    for (node, _, _) in theirs.into_iter().chain(ours) {
        assert_eq!(node.stop(), 0);
    }
    assert_eq!(first.stop(), 0);
}

/// A list's folder that we signed is one to their tool, and makes the same TXT records there.
#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn their_tool_reads_a_signed_list_of_ours() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let mut nodes = serde_json::Map::new();
    for n in 0..30 {
        let key = path(&format!("key{n}"));
        let _ = must("switchboard", &["keygen", "--wire", "devp2p", "--out", &key, "--json"]);
        let shown = must("switchboard", &["id", "--wire", "devp2p", "--key", &key, "--json"]).remove(0);
        nodes.insert(text(&shown, "id").to_owned(), serde_json::json!({"seq": 1, "record": shown["enr"]}));
    }
    std::fs::create_dir(path("list")).unwrap();
    std::fs::write(path("list/nodes.json"), serde_json::to_vec(&nodes).unwrap()).unwrap();
    let sign =
        ["dns", "sign", &path("list"), "--key", &path("key0"), "--domain", "list.example.org", "--seq", "7"];
    ask(&[&sign[..], &["--out", &path("ours.json")]].concat(), "signed");
    let (code, said) = tool(&["dns", "to-txt", &path("list"), &path("theirs.json")]);
    assert_eq!(code, 0, "{said}");
    let read = |name: &str| set(Path::new(&path(name)));
    assert_eq!(read("theirs.json"), read("ours.json"));
    assert!(read("ours.json").len() > 30);
}

/// Five of each find one another from one bootnode of ours.
#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn a_mixed_network_forms_from_one_bootnode() {
    const EACH: usize = 5;
    let (bootnode, enode, _) = boot("127.0.0.1:0", &[]);
    let mut nodes = Vec::new();
    for _ in 0..EACH {
        let args = ["serve", "--protocols", "bench", "--discovery", "v4,v5", "--bootnode", &enode];
        nodes.push(Program::start("gethpeer", &args));
        let args = [
            "node",
            "--json",
            "--stdin-stop",
            "--wire",
            "devp2p",
            "--protocol",
            "bench",
            "--listen",
            "127.0.0.1:0",
            "--discovery",
            "v4,v5",
            "--bootnode",
            &enode,
        ];
        nodes.push(Program::start("switchboard", &args));
    }
    for node in &mut nodes {
        node.wait("ready");
    }
    let start = Instant::now();
    let mut peers: Vec<BTreeSet<String>> = vec![BTreeSet::new(); nodes.len()];
    let mut all = None;
    let mut most = None;
    while all.is_none() && start.elapsed() < Duration::from_secs(90) {
        for (node, peers) in nodes.iter_mut().zip(&mut peers) {
            while let Some(event) = node.try_wait(Duration::from_millis(10), |v| {
                v["event"] == "peer_added" || v["event"] == "peer_dropped"
            }) {
                let id = event["id"].as_str().unwrap_or_default().trim_start_matches("0x").to_owned();
                if event["event"] == "peer_added" {
                    peers.insert(id);
                } else {
                    peers.remove(&id);
                }
            }
        }
        let least = peers.iter().map(BTreeSet::len).min().unwrap();
        if least >= 7 && most.is_none() {
            most = Some(start.elapsed());
        }
        if least >= 2 * EACH - 1 {
            all = Some(start.elapsed());
        }
    }
    let counts: Vec<_> = peers.iter().map(BTreeSet::len).collect();
    println!("7 of 9 peers each after {most:?}, all after {all:?}; peers: {counts:?}");
    assert!(most.is_some_and(|t| t <= Duration::from_secs(30)), "{counts:?}");
    assert!(all.is_some(), "{counts:?}");
    for node in nodes {
        assert_eq!(node.stop(), 0);
    }
    assert_eq!(bootnode.stop(), 0);
}
