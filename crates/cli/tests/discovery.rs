//! The discovery commands of the built program, against a bootnode of its own.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)] // a test of a real program, in real time

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn run(args: &[&str]) -> (Option<i32>, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_switchboard")).args(args).output().unwrap();
    (
        out.status.code(),
        String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr),
    )
}

#[test]
fn a_bootnode_answers_both_versions_is_crawled_and_is_gone_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut boot = Command::new(env!("CARGO_BIN_EXE_switchboard"))
        .args(["bootnode", "--listen", "127.0.0.1:0", "--json", "--stdin-stop", "--data"])
        .arg(&data)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(boot.stdout.take().unwrap()).lines();
    let ready: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    let (enode, enr) = (ready["devp2p"]["enode"].as_str().unwrap(), ready["devp2p"]["enr"].as_str().unwrap());
    let file = dir.path().join("nodes.json");
    for version in ["discv4", "discv5"] {
        for url in [enode, enr] {
            let (code, said) = run(&[version, "ping", url, "--json"]);
            assert_eq!(code, Some(0), "{version} {url}: {said}");
            let (code, said) = run(&[version, "request-enr", url]);
            assert_eq!((code, said.trim()), (Some(0), enr), "{version} {url}");
        }
        let out = file.to_str().unwrap();
        let (code, said) = run(&[version, "crawl", "--bootnode", enode, "--out", out, "--timeout", "5s"]);
        assert_eq!(code, Some(0), "{said}");
        let found: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        assert_eq!(found[ready["devp2p"]["id"].as_str().unwrap()]["record"], enr, "{found:#}");
        // On standard output there is nothing but the nodes.
        let (code, said) = run(&[version, "crawl", "--bootnode", enode, "--out", "-", "--timeout", "5s"]);
        assert_eq!(code, Some(0), "{said}");
        let found: Value = serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}"));
        assert_eq!(found[ready["devp2p"]["id"].as_str().unwrap()]["record"], enr, "{found:#}");
    }
    assert!(!std::path::Path::new("-").exists());
    let began = Instant::now();
    drop(boot.stdin.take());
    assert_eq!(boot.wait().unwrap().code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert!(data.join("node.redb").exists() && data.join("nodekey").exists(), "its state is saved");
    let (code, said) = run(&["discv4", "ping", enode, "--timeout", "3s"]);
    assert_eq!(code, Some(1), "nobody is there any more: {said}");
}

#[test]
fn every_help_of_discovery_has_an_example() {
    for path in [
        "bootnode",
        "discv4",
        "discv4 ping",
        "discv4 resolve",
        "discv4 request-enr",
        "discv4 crawl",
        "discv4 listen",
        "discv5",
        "discv5 ping",
        "discv5 resolve",
        "discv5 request-enr",
        "discv5 crawl",
        "discv5 listen",
        "discv5 talk",
        "nodeset",
        "nodeset info",
        "nodeset filter",
        "rlpx",
        "rlpx ping",
        "dns",
        "dns sign",
        "dns sync",
        "dns to-txt",
    ] {
        let args: Vec<_> = path.split(' ').chain(["--help"]).collect();
        let (code, said) = run(&args);
        assert_eq!(code, Some(0));
        assert!(said.contains("Example") && said.contains(&format!("switchboard {path}")), "{path}: {said}");
    }
}

#[test]
fn bad_use_is_one_line_and_exit_code_2() {
    for args in [
        &["bootnode"][..],
        &["bootnode", "--listen", "127.0.0.1:0", "--bootnode", "foo"],
        &["bootnode", "--listen", "127.0.0.1:0", "--discovery", "v6"],
        &["bootnode", "--listen", "127.0.0.1:0", "--nat", "router"],
        &["node", "--wire", "devp2p", "--bootnode", "enode://aa@127.0.0.1:1"],
        &["node", "--wire", "devp2p", "--discovery", "v4"],
        &["discv4", "crawl", "--out", "/nowhere/nodes.json"],
    ] {
        let (code, said) = run(args);
        assert_eq!(code, Some(2), "{args:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{args:?}: {said}");
    }
}
