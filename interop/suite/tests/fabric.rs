//! fabric against Hyperledger Fabric v1.4.12, over TLS 1.3 and 1.2, with keys made by either side.
#![cfg(test)]

mod common;
use common::Case;
use std::path::Path;
use switchboard_interop::{Program, line, must, run};

/// Whose tool made the peer folders.
#[derive(Clone, Copy, PartialEq)]
enum Maker {
    Ours,
    Go,
}

struct Org {
    #[allow(dead_code)] // removed when dropped
    dir: tempfile::TempDir,
    ours: String,
    theirs: String,
}

fn org(maker: Maker) -> Org {
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("no temporary folder: {e}"));
    let out = dir.path().join("org1").display().to_string();
    match maker {
        Maker::Ours => {
            let args =
                ["keygen", "--json", "--wire", "fabric", "--out", &out, "--org", "Org1MSP", "--peers", "2"];
            let (lines, code) = run("switchboard", &args);
            assert_eq!(code, 0, "{lines:#?}");
        }
        Maker::Go => {
            let (lines, code) =
                run("fabricpeer", &["keygen", "--out", &out, "--org", "Org1MSP", "--peers", "2"]);
            assert_eq!(code, 0, "{lines:#?}");
        }
    }
    let peer = |n: u8| Path::new(&out).join(format!("peer{n}")).display().to_string();
    Org { ours: peer(0), theirs: peer(1), dir }
}

fn case(org: &Org, tls12: bool) -> Case {
    let ours = vec!["--key-file".into(), format!("fabric={}", org.ours), "--org".into(), "Org1MSP".into()];
    let mut theirs = vec!["--key".to_owned(), org.theirs.clone(), "--org".to_owned(), "Org1MSP".to_owned()];
    if tls12 {
        theirs.push("--tls12".into());
    }
    Case { wire: "fabric", go: "fabricpeer", ours, theirs }
}

fn all(check: impl Fn(&Case)) {
    for (maker, tls12) in [(Maker::Ours, false), (Maker::Go, false), (Maker::Ours, true)] {
        let org = org(maker);
        eprintln!(
            "keys by {}, TLS 1.{}",
            if maker == Maker::Ours { "us" } else { "Go" },
            if tls12 { 2 } else { 3 }
        );
        check(&case(&org, tls12));
    }
}

#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn they_dial_echo() {
    all(Case::they_dial_echo);
}

#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn we_dial_echo() {
    all(Case::we_dial_echo);
}

#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn they_dial_bulk() {
    let org = org(Maker::Ours);
    case(&org, false).they_dial_bulk();
}

#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn we_dial_bulk() {
    let org = org(Maker::Ours);
    case(&org, false).we_dial_bulk();
}

#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn ping() {
    all(Case::ping);
}

/// Fabric's own MSP code reads the folders our `keygen` writes.
#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn fabric_reads_our_msp_folders() {
    let org = org(Maker::Ours);
    for dir in [&org.ours, &org.theirs] {
        let (lines, code) = run("fabricpeer", &["msp-check", "--key", dir, "--org", "Org1MSP"]);
        assert_eq!(code, 0, "{lines:#?}");
    }
}

/// When our node stops, the Go peer sees its stream end; when the Go peer goes, we see it close.
#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn each_side_sees_the_close() {
    let org = org(Maker::Ours);
    let case = case(&org, false);
    let (mut node, url, _) = case.our_node(&["bench"], &[]);
    let mut args = vec!["dial", &url, "--do", "echo", "--count", "1", "--size", "10"];
    args.extend(case.theirs.iter().map(String::as_str));
    line(&must("fabricpeer", &args), "echo");
    let dropped = node.wait("peer_dropped");
    assert!(matches!(dropped["reason"].as_str(), Some("remote_closed" | "network_error")), "{dropped:#}");
    let (mut go, go_url) = case.go_node(&["--protocols", "bench"]);
    let mut args =
        vec!["node", "--json", "--stdin-stop", "--wire", "fabric", "--protocol", "bench", "--peer", &go_url];
    args.extend(case.ours.iter().map(String::as_str));
    let mut second = Program::start("switchboard", &args);
    second.wait("peer_added");
    assert_eq!(second.stop(), 0);
    assert_eq!(node.stop(), 0);
    let dropped = go.wait("peer_dropped");
    // The end of a stream that gRPC closed in order.
    assert_eq!(dropped["reason"], "EOF", "{dropped:#}");
    assert_eq!(go.stop(), 0);
}

/// A peer of an organisation that is not trusted is refused, whichever side dials.
#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn a_foreign_organisation_is_refused() {
    let (home, foreign) = (org(Maker::Ours), org(Maker::Go));
    let case = case(&home, false);
    let (mut node, url, _) = case.our_node(&["bench"], &[]);
    let args = ["dial", &url, "--do", "connect", "--key", &foreign.theirs, "--org", "Org1MSP"];
    let (lines, code) = run("fabricpeer", &args);
    assert_eq!(code, 1, "{lines:#?}");
    let failed = node.wait("handshake_failed");
    assert!(failed["reason"].is_string(), "{failed:#}");
    assert_eq!(node.stop(), 0);
    let args = ["serve", "--key", &foreign.theirs, "--org", "Org1MSP"];
    let mut go = Program::start("fabricpeer", &args);
    let ready = go.wait("ready");
    let url = format!("fabric://{}", switchboard_interop::text(&ready, "endpoint"));
    let key = format!("fabric={}", home.ours);
    let (lines, code) = run("switchboard", &["ping", "--json", &url, "--key-file", &key]);
    assert_eq!(code, 1, "{lines:#?}");
    assert_eq!(go.stop(), 0);
}
