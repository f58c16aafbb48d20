//! devp2p against go-ethereum.
#![cfg(test)]

mod common;
use common::Case;
use serde_json::json;
use switchboard_interop::{Program, line, number, run, text};

fn geth() -> Case {
    Case { wire: "devp2p", go: "gethpeer", ours: vec![], theirs: vec![] }
}

#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn they_dial_echo() {
    geth().they_dial_echo();
}

#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn we_dial_echo() {
    geth().we_dial_echo();
}

#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn they_dial_bulk() {
    geth().they_dial_bulk();
}

#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn we_dial_bulk() {
    geth().we_dial_bulk();
}

#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn ping() {
    geth().ping();
}

/// Every reason geth can send reaches our operator by its name.
#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn their_goodbye_is_understood() {
    let reasons = [
        (0, "requested"),
        (1, "network_error"),
        (2, "breach"),
        (3, "useless"),
        (4, "too_many_peers"),
        (5, "already_connected"),
        (6, "incompatible"),
        (7, "invalid_identity"),
        (8, "quitting"),
        (9, "wrong_identity"),
        (10, "self_connection"),
        (11, "idle_timeout"),
        (16, "protocol_error"),
    ];
    let (mut node, url, _) = geth().our_node(&["bench"], &[]);
    for (code, ours) in reasons {
        let args = ["dial", &url, "--do", "connect", "--reason", &code.to_string()];
        let (lines, exit) = run("gethpeer", &args);
        assert_eq!(exit, 0, "reason {code}: {lines:#?}");
        let dropped = node.wait("peer_dropped");
        assert_eq!(dropped["reason"], ours, "code {code}: {dropped:#}");
        assert_eq!(dropped["by"], "peer", "code {code}: {dropped:#}");
    }
    assert_eq!(node.stop(), 0);
}

/// When our node stops, geth reads "client quitting" (8).
#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn our_goodbye_is_understood() {
    let (mut node, url, _) = geth().our_node(&["bench"], &[]);
    let mut go = Program::start("gethpeer", &["dial", &url, "--do", "idle", "--seconds", "30"]);
    go.wait("peer_added");
    // It adds us at our hello, we add it at its own: until then a stop is only the end of a handshake.
    node.wait("peer_added");
    assert_eq!(node.stop(), 0);
    let closed = go.wait("closed");
    assert_eq!(text(&closed, "reason"), "client quitting", "{closed:#}");
    assert_eq!(go.exit_code(), 0);
}

/// A full node says "too many peers" (4).
#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn a_full_node_says_so() {
    let (mut node, url, _) = geth().our_node(&["bench"], &["--max-peers", "1"]);
    let mut first = Program::start("gethpeer", &["dial", &url, "--do", "idle", "--seconds", "30"]);
    first.wait("peer_added");
    node.wait("peer_added");
    let (lines, code) = run("gethpeer", &["dial", &url, "--do", "connect"]);
    assert_eq!(code, 1, "{lines:#?}");
    assert_eq!(number(line(&lines, "failed"), "code"), 4, "{lines:#?}");
    let refused = node.wait("refused");
    assert_eq!(refused["reason"], "too_many_peers");
    assert_eq!(node.stop(), 0);
    first.wait("closed");
}

/// Wrong identities: a wrong static key fails in RLPx on either side; a wrong node id ends with 9.
#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn a_wrong_identity_is_refused() {
    let (mut node, url, ready) = geth().our_node(&["bench"], &[]);
    // Another valid public key than ours: the generator point's.
    let other = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8";
    let enode = text(&ready, "devp2p.enode");
    let (lines, code) = run("gethpeer", &["dial", &url, "--do", "connect", "--expect-id", other]);
    assert_eq!(code, 1, "{enode}: {lines:#?}");
    line(&lines, "failed");
    let failed = node.wait("handshake_failed");
    assert_eq!(failed["direction"], "inbound", "{failed:#}");
    assert_eq!(node.stop(), 0);

    let (go, url) = geth().go_node(&["--protocols", "bench"]);
    let (_, at) = url.split_once('@').unwrap_or_default();
    let wrong = format!("enode://{other}@{at}");
    let (lines, code) = run("switchboard", &["bench", "--json", "echo", &wrong, "--count", "1"]);
    assert_eq!(code, 1, "{lines:#?}");
    let (lines, code) = run("switchboard", &["ping", "--json", &wrong]);
    assert_eq!(code, 1, "{lines:#?}");
    assert_eq!(go.stop(), 0);
    let _ = json!(null);
}
