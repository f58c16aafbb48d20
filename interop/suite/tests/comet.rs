//! comet against CometBFT v0.34, v0.38 and v0.40.
#![cfg(test)]

mod common;
use common::Case;
use switchboard_interop::{Program, line, run, text};

const NETWORK: &str = "interop-net";

fn comet(go: &'static str) -> Case {
    let network = || vec!["--network".to_owned(), NETWORK.to_owned()];
    Case { wire: "comet", go, ours: network(), theirs: network() }
}

fn both(check: impl Fn(&Case)) {
    for go in ["cometpeer", "cometpeer040", "cometpeer034"] {
        eprintln!("against {go}");
        check(&comet(go));
    }
}

#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn they_dial_echo() {
    both(Case::they_dial_echo);
}

#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn we_dial_echo() {
    both(Case::we_dial_echo);
}

#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn they_dial_bulk() {
    both(Case::they_dial_bulk);
}

#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn we_dial_bulk() {
    both(Case::we_dial_bulk);
}

/// The probe answers with what the node says of itself, so any network's node can be asked.
#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn ping() {
    both(|case| Case { ours: vec![], ..comet(case.go) }.ping());
}

/// This wire has no goodbye: each side sees the connection close.
#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn each_side_sees_the_close() {
    both(|case| {
        let (mut node, url, _) = case.our_node(&["bench"], &[]);
        let (lines, code) = run(case.go, &["dial", &url, "--do", "connect", "--network", NETWORK]);
        assert_eq!(code, 0, "{lines:#?}");
        line(&lines, "closed");
        let dropped = node.wait("peer_dropped");
        assert_eq!(dropped["reason"], "remote_closed", "{dropped:#}");
        let args = ["dial", &url, "--do", "idle", "--seconds", "30", "--network", NETWORK];
        let mut go = Program::start(case.go, &args);
        go.wait("peer_added");
        assert_eq!(node.stop(), 0);
        let closed = go.wait("closed");
        assert!(text(&closed, "reason").contains("EOF"), "{closed:#}");
        go.exit_code();
    });
}

#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn another_network_is_refused() {
    both(|case| {
        let (mut node, url, _) = case.our_node(&["bench"], &[]);
        let (lines, code) = run(case.go, &["dial", &url, "--do", "connect", "--network", "other"]);
        assert_eq!(code, 1, "{lines:#?}");
        let failed = node.wait("handshake_failed");
        assert!(matches!(failed["reason"].as_str(), Some("incompatible" | "remote_closed")), "{failed:#}");
        assert_eq!(node.stop(), 0);
    });
}

#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn a_wrong_identity_is_refused() {
    both(|case| {
        let other = "00112233445566778899aabbccddeeff00112233";
        let (node, url, _) = case.our_node(&["bench"], &[]);
        let args = ["dial", &url, "--do", "connect", "--network", NETWORK, "--expect-id", other];
        let (lines, code) = run(case.go, &args);
        assert_eq!(code, 1, "{lines:#?}");
        line(&lines, "failed");
        assert_eq!(node.stop(), 0);

        let (go, url) = case.go_node(&["--protocols", "bench"]);
        let (_, at) = url.split_once('@').unwrap_or_default();
        let wrong = format!("comet://{other}@{at}");
        let (lines, code) =
            run("switchboard", &["bench", "--json", "echo", &wrong, "--count", "1", "--network", NETWORK]);
        assert_eq!(code, 1, "{lines:#?}");
        assert!(
            format!("{lines:?}").contains("wrong_identity")
                || format!("{lines:?}").contains("wrong identity"),
            "{lines:#?}"
        );
        assert_eq!(go.stop(), 0);
    });
}
