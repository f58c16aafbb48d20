//! What every wire must show, against a Go peer, in both directions of dialling.
#![allow(dead_code)] // each test file uses its part

use serde_json::Value;
use switchboard_interop::{ECHO_SIZES, Program, line, must, number, text};

/// One wire and the Go program that speaks it.
pub(crate) struct Case {
    /// The wire's name in our command line.
    pub(crate) wire: &'static str,
    /// The Go program.
    pub(crate) go: &'static str,
    /// Further arguments for our node and client.
    pub(crate) ours: Vec<String>,
    /// Further arguments for the Go program.
    pub(crate) theirs: Vec<String>,
}

/// 64 MiB of bulk.
const BULK_BYTES: &str = "67108864";
/// Messages of 64 KiB in it.
const BULK_MESSAGES: u64 = 1024;

fn joined<'a>(fixed: &[&'a str], more: &'a [String]) -> Vec<&'a str> {
    fixed.iter().copied().chain(more.iter().map(String::as_str)).collect()
}

impl Case {
    /// Starts our node; gives it and the URL to dial.
    pub(crate) fn our_node(&self, protocols: &[&str], more: &[&str]) -> (Program, String, Value) {
        let mut args = vec!["node", "--json", "--stdin-stop", "--wire", self.wire, "--listen", "127.0.0.1:0"];
        protocols.iter().for_each(|p| args.extend(["--protocol", p]));
        args.extend(more);
        let args = joined(&args, &self.ours);
        let mut node = Program::start("switchboard", &args);
        let ready = node.wait("ready");
        let url = match self.wire {
            "devp2p" => text(&ready, "devp2p.enode").to_owned(),
            "comet" => format!("comet://{}", text(&ready, "comet.address")),
            _ => format!("fabric://{}", text(&ready, "fabric.endpoint")),
        };
        (node, url, ready)
    }

    /// Starts the Go node; gives it and the URL to dial.
    pub(crate) fn go_node(&self, more: &[&str]) -> (Program, String) {
        let mut args = vec!["serve"];
        args.extend(more);
        let mut node = Program::start(self.go, &joined(&args, &self.theirs));
        let ready = node.wait("ready");
        let url = match self.wire {
            "devp2p" => text(&ready, "enode").to_owned(),
            "comet" => format!("comet://{}", text(&ready, "address")),
            _ => format!("fabric://{}", text(&ready, "endpoint")),
        };
        (node, url)
    }

    /// Handshake, identity and every echo size; they dial.
    pub(crate) fn they_dial_echo(&self) {
        let (mut node, url, _) = self.our_node(&["bench"], &[]);
        let sizes = ECHO_SIZES.map(|s| s.to_string()).join(",");
        let args = joined(
            &["dial", &url, "--do", "echo", "--sizes", &sizes, "--count", "3", "--in-flight", "1"],
            &self.theirs,
        );
        let lines = must(self.go, &args);
        check_echoes(&lines);
        let added = node.wait("peer_added");
        assert_eq!(added["direction"], "inbound", "{added:#}");
        assert_eq!(&added["id"], id_of(self.wire, line(&lines, "ready")), "the Go peer's own id: {added:#}");
        node.wait("peer_dropped");
        assert_eq!(node.stop(), 0);
    }

    /// Handshake, identity and every echo size; we dial.
    pub(crate) fn we_dial_echo(&self) {
        let (mut go, url) = self.go_node(&["--protocols", "bench"]);
        for size in ECHO_SIZES {
            let size = size.to_string();
            let args = joined(
                &["bench", "--json", "echo", &url, "--count", "3", "--size", &size, "--in-flight", "1"],
                &self.ours,
            );
            check_echo(line(&must("switchboard", &args), "echo"), &size);
        }
        go.wait("peer_added");
        assert_eq!(go.stop(), 0);
    }

    /// 64 MiB with the right count; they dial.
    pub(crate) fn they_dial_bulk(&self) {
        let (mut node, url, _) = self.our_node(&["bench"], &[]);
        let args = joined(
            &["dial", &url, "--do", "bulk", "--bytes", BULK_BYTES, "--size", "65536", "--payload", "random"],
            &self.theirs,
        );
        let lines = must(self.go, &args);
        check_bulk(line(&lines, "bulk"), self.wire);
        let dropped = node.wait("peer_dropped");
        // No message was lost on the way in: the flow, and what opens a session and asks for the count.
        assert!(number(&dropped, "messages_in") > BULK_MESSAGES, "{dropped:#}");
        assert!(number(&dropped, "messages_in") <= BULK_MESSAGES + 4, "{dropped:#}");
        assert_eq!(node.stop(), 0);
    }

    /// 64 MiB with the right count; we dial.
    pub(crate) fn we_dial_bulk(&self) {
        let (mut go, url) = self.go_node(&["--protocols", "bench"]);
        let args =
            joined(&["bench", "--json", "bulk", &url, "--bytes", BULK_BYTES, "--size", "65536"], &self.ours);
        check_bulk(line(&must("switchboard", &args), "bulk"), self.wire);
        if self.wire == "fabric" {
            // The wire has no report, so the Go program tells what it counted.
            let counted = go.wait("counted");
            assert_eq!(number(&counted, "bytes").to_string(), BULK_BYTES, "{counted:#}");
            assert_eq!(number(&counted, "msgs"), BULK_MESSAGES, "{counted:#}");
        }
        assert_eq!(go.stop(), 0);
    }

    /// `ping` says who they are and measures round trips.
    pub(crate) fn ping(&self) {
        let (go, url) = self.go_node(&["--protocols", "bench"]);
        let lines = must("switchboard", &joined(&["ping", "--json", &url, "--count", "3"], &self.ours));
        assert!(lines.iter().any(|v| v["event"] == "identity" || v["event"] == "peer"), "{lines:#?}");
        assert_eq!(lines.iter().filter(|v| v["event"] == "ping").count(), 3, "{lines:#?}");
        assert_eq!(go.stop(), 0);
    }
}

fn id_of<'a>(wire: &str, ready: &'a Value) -> &'a Value {
    match wire {
        "fabric" => &ready["pki_id"],
        _ => &ready["id"],
    }
}

fn check_echoes(lines: &[Value]) {
    let echoes: Vec<_> = lines.iter().filter(|v| v["event"] == "echo").collect();
    assert_eq!(echoes.len(), ECHO_SIZES.len(), "{lines:#?}");
    for (echo, size) in echoes.iter().zip(ECHO_SIZES) {
        check_echo(echo, &size.to_string());
    }
}

fn check_echo(echo: &Value, size: &str) {
    assert_eq!(number(echo, "size").to_string(), size);
    assert_eq!(number(echo, "count"), 3);
    assert!(echo["ok"] == true, "{echo:#}");
}

fn check_bulk(bulk: &Value, wire: &str) {
    assert_eq!(number(bulk, "sent_bytes").to_string(), BULK_BYTES);
    assert_eq!(number(bulk, "sent_msgs"), BULK_MESSAGES);
    if wire == "fabric" {
        assert_eq!(bulk["acked"], true, "{bulk:#}");
    } else {
        assert_eq!(number(bulk, "report_bytes"), number(bulk, "sent_bytes"), "{bulk:#}");
        assert_eq!(number(bulk, "report_msgs"), number(bulk, "sent_msgs"), "{bulk:#}");
    }
}
