//! Nodes of our own on loopback: ping, bench, cast, refusals, and how a node ends.
#![cfg(test)]

mod common;
use common::{Ended, Program, failed, must, noise, run, text, url};
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;

const WIRES: [&str; 3] = ["devp2p", "comet", "fabric"];

/// An organisation's folder, for the wire that wants one.
fn organisation(dir: &Path) -> [String; 3] {
    let org = dir.join("org");
    must(&["keygen", "--wire", "fabric", "--out", text(&org), "--peers", "3"]);
    ["peer0", "peer1", "peer2"].map(|peer| format!("fabric={}/{peer}", text(&org)))
}

/// What a client of a wire adds to its command line.
fn key<'a>(wire: &str, file: &'a str) -> Vec<&'a str> {
    if wire == "fabric" { vec!["--key-file", file] } else { Vec::new() }
}

fn client(wire: &str, file: &str, args: &[&str]) -> Ended {
    let ended = run(&[args, &key(wire, file), &["--json"]].concat());
    assert_eq!(ended.code, 0, "{args:?}: {ended:#?}");
    ended
}

#[test]
fn ping_and_bench_on_one_port() {
    let dir = tempfile::tempdir().unwrap();
    let [ours, theirs, _] = organisation(dir.path());
    let (mut node, ready) = Program::node(&[
        "--listen",
        "127.0.0.1:0",
        "--key-file",
        &ours,
        "--protocol",
        "bench",
        "--protocol",
        "cast",
        "--max-peers",
        "100",
    ]);
    for wire in WIRES {
        let url = url(&ready, wire);
        let ping = client(wire, &theirs, &["ping", &url, "--count", "2"]);
        let peer = ping.event("peer");
        let shown = ready[wire].get("pki_id").or(ready[wire].get("id")).unwrap();
        assert_eq!((&peer["wire"], &peer["id"]), (&wire.into(), shown), "{peer:#}");
        let rtts: Vec<_> = ping.json().into_iter().filter(|v| v["event"] == "ping").collect();
        assert!(rtts.len() == 2 && rtts.iter().all(|v| v["rtt_us"].as_f64().unwrap() > 0.0), "{rtts:#?}");

        let echo = ["bench", "echo", &url, "--count", "50", "--size", "1024", "--in-flight", "8"];
        let echo = client(wire, &theirs, &echo).event("echo");
        assert_eq!((&echo["count"], &echo["size"], &echo["ok"]), (&50.into(), &1024.into(), &true.into()));
        assert!(echo["p50_us"].as_f64() <= echo["p99_us"].as_f64(), "{echo:#}");

        let bulk = ["bench", "bulk", &url, "--bytes", "1000001", "--size", "65536", "--payload", "zeros"];
        let bulk = client(wire, &theirs, &bulk).event("bulk");
        assert_eq!((&bulk["sent_bytes"], &bulk["sent_msgs"]), (&1_000_001.into(), &16.into()), "{bulk:#}");
        if wire != "fabric" {
            assert_eq!(bulk["report_bytes"], bulk["sent_bytes"], "{bulk:#}");
        }
        let shakes = ["bench", "handshakes", &url, "--count", "6", "--parallel", "2"];
        let shakes = client(wire, &theirs, &shakes).event("handshakes");
        assert_eq!(shakes["count"], 6);
        assert!(shakes["rate"].as_f64().unwrap() > 0.0, "{shakes:#}");
        // Over what any wire carries to this channel, or this wire to any.
        let large = [&["bench", "echo", &url, "--size", "134217728"][..], &key(wire, &theirs)].concat();
        failed(&run(&large), &large, 2, "choose a smaller --size");
    }
    assert_eq!(node.stop(), 0);
    for wire in WIRES {
        let of =
            |event: &str| node.seen().iter().filter(|v| v["event"] == event && v["wire"] == wire).count();
        assert!(of("peer_added") >= 2, "{wire}: {:#?}", node.seen());
        assert_eq!(of("peer_added"), of("peer_dropped"), "{wire}: {:#?}", node.seen());
    }
    assert_eq!(node.seen().last().unwrap()["event"], "stopped");
    assert_eq!(node.log(), "", "a quiet night logs nothing");
}

#[test]
fn a_cast_goes_through_a_node() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    let content = noise(300_001);
    std::fs::write(&file, &content).unwrap();
    let keys = organisation(dir.path());
    for wire in WIRES {
        let node = |n: usize, args: &[&str]| {
            // On fabric casts ride on a channel of the network's choice.
            let common = ["--wire", wire, "--listen", "127.0.0.1:0", "--channel", "files.of-ours"];
            Program::node(&[&common[..], &key(wire, &keys[n]), args].concat())
        };
        let (mut source, ready) = node(0, &["--cast", text(&file)]);
        let (first, last) = (url(&ready, wire), dir.path().join(format!("last-{wire}")));
        let (mut middle, ready) = node(1, &["--peer", &first]);
        let (mut end, _) = node(2, &["--peer", &url(&ready, wire), "--data", text(&last)]);
        let (at_middle, at_end) = (middle.wait("cast_done"), end.wait("cast_done"));
        assert_eq!((&at_middle["hops"], &at_end["hops"]), (&1.into(), &2.into()));
        assert_eq!(at_middle["sha256"], at_end["sha256"]);
        let kept = Path::new(at_end["file"].as_str().unwrap());
        assert!(kept.starts_with(last.join("cast")), "{at_end:#}");
        assert_eq!(std::fs::read(kept).unwrap(), content);
        for node in [&mut end, &mut middle, &mut source] {
            assert_eq!(node.stop(), 0);
        }
    }
}

/// 600 kB at 500 kB/s take a second; there is no upper bound, as the machine may be busy.
#[test]
fn a_rate_is_kept() {
    for rate in ["--send-rate", "--recv-rate"] {
        let args = ["--wire", "comet", "--listen", "127.0.0.1:0", "--protocol", "bench", rate, "500000"];
        let (mut node, ready) = Program::node(&args);
        let to = url(&ready, "comet");
        let echo = ["bench", "echo", &to, "--count", "60", "--size", "10000", "--in-flight", "8"];
        let took = client("comet", "", &echo).event("echo")["seconds"].as_f64().unwrap();
        assert!(took > 0.9, "{rate}: {took} s");
        assert_eq!(node.stop(), 0);
    }
}

#[test]
fn refusals_are_told_on_both_sides() {
    let common = ["--wire", "comet", "--listen", "127.0.0.1:0"];
    let (mut closed, ready) = Program::node(&[&common[..], &["--access-deny", "127.0.0.0/8"]].concat());
    let to = url(&ready, "comet");
    let (mut dialler, _) = Program::node(&["--wire", "comet", "--peer", &to]);
    let refused = closed.wait("refused");
    assert_eq!(refused["reason"], "access_denied", "{refused:#}");
    let failed = dialler.wait("dial_failed");
    assert!(failed["retry_in"].as_f64().is_some_and(|s| s > 0.0), "{failed:#}");
    assert_eq!((dialler.stop(), closed.stop()), (0, 0));

    let (mut other, ready) = Program::node(&[&common[..], &["--network", "elsewhere"]].concat());
    let to = url(&ready, "comet");
    let (mut dialler, _) = Program::node(&["--wire", "comet", "--peer", &to]);
    assert_eq!(dialler.wait("dial_failed")["reason"], "incompatible");
    assert_eq!(other.wait("handshake_failed")["wire"], "comet");
    assert_eq!((dialler.stop(), other.stop()), (0, 0));
}

/// A peer that refuses us says why, and the command ends with that at once on every wire.
#[test]
fn bench_ends_with_the_reason_of_a_peer_that_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let [ours, _, _] = organisation(dir.path());
    let full = ["--listen", "127.0.0.1:0", "--max-peers", "0", "--protocol", "bench", "--key-file", &ours];
    let without = ["--listen", "127.0.0.1:0", "--protocol", "cast", "--key-file", &ours];
    // Fabric refuses whoever is not of its organisations.
    let elsewhere = tempfile::tempdir().unwrap();
    let [foreign, ..] = organisation(elsewhere.path());
    for (node, reasons) in [
        (&full[..], &[("devp2p", "too many peers"), ("comet", "closed"), ("fabric", "invalid identity")][..]),
        (&without[..], &[("devp2p", "useless"), ("comet", "channel")]),
    ] {
        let (mut node, ready) = Program::node(node);
        for &(wire, reason) in reasons {
            let to = url(&ready, wire);
            let args = [&["bench", "echo", &to][..], &key(wire, &foreign)].concat();
            let began = tokio::time::Instant::now();
            let said = failed(&run(&args), &args, 1, reason);
            assert!(began.elapsed().as_secs() < 14, "{wire}: {:?}: {said}", began.elapsed());
        }
        assert_eq!(node.stop(), 0);
    }
}

#[test]
fn a_wrong_key_is_told_as_such() {
    let (mut node, ready) = Program::node(&["--wire", "devp2p", "--listen", "127.0.0.1:0"]);
    let dir = tempfile::tempdir().unwrap();
    let other = dir.path().join("key");
    must(&["keygen", "--wire", "devp2p", "--out", text(&other)]);
    let forms = must(&["id", "--json", "--wire", "devp2p", "--key", text(&other)]).event("id");
    let (_, at) = url(&ready, "devp2p").rsplit_once('@').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let (key, _) = forms["enode"].as_str().unwrap().rsplit_once('@').unwrap();
    let wrong = format!("{key}@{at}");
    for args in [["ping", &wrong, "--count"].as_slice(), &["bench", "echo", &wrong, "--count"]] {
        let args = [args, &["1"]].concat();
        failed(&run(&args), &args, 1, "the public key in its address is probably wrong");
    }
    assert_eq!(node.stop(), 0);
}

/// On every address nobody is told an address that leads nowhere; what is printed can be dialled.
#[test]
fn a_node_on_every_address_can_be_dialled_where_it_says() {
    let common = ["--listen", "0.0.0.0:0", "--wire", "devp2p,comet", "--protocol", "bench"];
    let (mut node, ready) = Program::node(&common);
    for wire in ["devp2p", "comet"] {
        let to = url(&ready, wire);
        assert!(!to.contains("0.0.0.0"), "{to}");
        let found = client(wire, "", &["ping", &to, "--count", "1"]);
        assert!(
            !found.event("peer")["listen"].as_str().unwrap_or_default().contains("0.0.0.0"),
            "{found:#?}"
        );
    }
    assert_eq!(node.stop(), 0);
    let named = ["--external", "devp2p=203.0.113.7:30303", "--external", "comet=node.example.org:26656"];
    let (mut node, ready) = Program::node(&[&common[..], &named].concat());
    assert!(url(&ready, "devp2p").contains("@203.0.113.7:30303?discport=0"), "{ready:#}");
    assert!(url(&ready, "comet").ends_with("@node.example.org:26656"), "{ready:#}");
    assert_eq!(node.stop(), 0);
}

/// Rules by address spare the machine's own network, unless told otherwise.
#[test]
fn strict_addresses_hold_for_loopback() {
    for (strict, refused) in [(&[][..], false), (&["--strict-addresses"][..], true)] {
        let common = ["--wire", "comet", "--listen", "127.0.0.1:0", "--protocol", "bench"];
        let (mut node, ready) = Program::node(&[&common[..], strict].concat());
        let to = url(&ready, "comet");
        let dialler = || Program::node(&["--wire", "comet", "--protocol", "bench", "--peer", &to]).0;
        let first = dialler();
        node.wait("peer_added");
        let second = dialler();
        // One peer an address is CometBFT's rule.
        match refused {
            true => assert_eq!(node.wait("refused")["reason"], "already_connected"),
            false => drop(node.wait("peer_added")),
        }
        for mut program in [first, second, node] {
            assert_eq!(program.stop(), 0);
        }
    }
}

#[test]
fn signals_and_the_end_of_input_stop_a_node() {
    let (mut server, ready) = Program::node(&["--wire", "devp2p", "--listen", "127.0.0.1:0"]);
    let to = url(&ready, "devp2p");
    for signal in ["INT", "TERM"] {
        let (mut node, _) = Program::node(&["--wire", "devp2p", "--peer", &to]);
        server.wait("peer_added");
        // The dialler's side of the handshake may end later; before that there is nobody to say goodbye to.
        node.wait("peer_added");
        node.signal(signal);
        assert_eq!(node.exit(), 0);
        let dropped = server.wait("peer_dropped");
        assert_eq!((&dropped["reason"], &dropped["by"]), (&"quitting".into(), &"peer".into()), "{dropped:#}");
    }
    assert_eq!(server.stop(), 0);
}

/// Whatever comes in: nothing in the output or the log acts on a terminal, and the fullest log breaks nothing.
#[test]
fn what_strangers_say_reaches_no_terminal() {
    let args = ["node", "--log", "trace", "--stdin-stop", "--listen", "127.0.0.1:0"];
    let mut node = Program::start(&args, &[]);
    let urls = [node.line(), node.line(), node.line()];
    let comet =
        urls[1].strip_prefix("comet   ").or(urls[1].strip_prefix("comet ")).unwrap().trim().to_owned();
    let (_, at) = comet.split_once('@').unwrap();
    let starts: [&[u8]; 5] = [b"", b"\x16\x03\x01\x00\x20", b"\x22\x0a\x20", b"\x01\x90\x04", b"GET /"];
    for start in starts {
        let mut stranger = TcpStream::connect(at).unwrap();
        let _ = stranger.write_all(&[start, &b"\x1b[2J\x07\r\n\xff\x9b".repeat(60)].concat());
        drop(stranger);
        let told = node.line();
        assert!(told.contains("127.0.0.1"), "{told}");
    }
    // One that shakes hands: its network's name is told to whom refuses it.
    let name = "\u{1b}[2Jelsewhere\r\u{202e}";
    let (mut dialler, _) =
        Program::node(&["--wire", "comet", "--peer", &comet, "--network", name, "--log", "trace"]);
    let failed = dialler.wait("dial_failed").to_string();
    let told = node.line();
    assert!(told.contains("elsewhere"), "{told}");
    assert_eq!((dialler.stop(), node.stop()), (0, 0));
    let logs = [failed, dialler.log(), node.log()];
    let said = node.seen().iter().filter_map(|line| line.as_str().map(str::to_owned));
    let all: Vec<String> = said.chain(logs).collect();
    assert!(all.last().unwrap().len() > 1_000, "a full log");
    for text in all {
        let acts = |c: &char| (c.is_control() && *c != '\n') || *c == '\u{202e}';
        assert_eq!(text.chars().find(acts), None, "{text}");
    }
}

#[test]
fn bench_ends_when_its_time_is_over() {
    let (mut node, ready) =
        Program::node(&["--wire", "comet", "--listen", "127.0.0.1:0", "--protocol", "bench"]);
    let to = url(&ready, "comet");
    let echo = ["bench", "echo", &to, "--count", "1000000000", "--timeout", "1s"];
    failed(&run(&echo), &echo, 1, "give it more with --timeout");
    assert_eq!(run(&["bench", "echo", &to, "--count", "3", "--timeout", "60s"]).code, 0);
    assert_eq!(node.stop(), 0);
}
