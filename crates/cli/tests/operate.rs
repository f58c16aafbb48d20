//! A running node under its operator, as one would use it: asked, told, reloaded, supervised, stopped.
#![cfg(test)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)] // a test
#![allow(clippy::disallowed_methods)] // it waits for other processes, in real time

mod common;
use common::{Program, bad, failed, must, run, run_with, text, until};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

/// Runs a command about a node with JSON; the object it prints.
fn ask(command: &[&str], data: &Path) -> Value {
    let args = [command, &["--data", text(data), "--json"]].concat();
    let told = must(&args).json();
    assert_eq!(told.len(), 1, "{args:?}: {told:#?}");
    assert!(told[0]["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{told:#?}");
    told.into_iter().next().unwrap()
}

#[test]
fn a_node_is_asked_told_and_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    let wires = ["--wire", "devp2p,comet", "--listen", "127.0.0.1:0", "--protocol", "bench,cast"];
    let start =
        |data: &Path, more: &[&str]| Program::node(&[&wires[..], &["--data", text(data)], more].concat());
    let (mut first, _) = start(&one, &["--admin", "127.0.0.1:0"]);
    let (mut second, ready) = start(&two, &[]);
    let http = first.wait("admin")["http"].as_str().unwrap().to_owned();
    let status = ask(&["status"], &one);
    assert_eq!(
        (status["role"].as_str(), status["ready"].as_bool()),
        (Some("node"), Some(true)),
        "{status:#}"
    );
    assert_eq!(status["peers"]["comet"]["inbound_slots"], 50);
    // What go-ethereum's admin_nodeInfo says.
    let native = &status["native"]["devp2p"];
    assert_eq!(native["id"], status["wires"]["devp2p"]["id"], "{status:#}");
    assert!(native["ports"]["listener"].as_u64().is_some_and(|port| port > 0), "{status:#}");

    assert_eq!(ask(&["log", "switchboard=trace"], &one)["log"], "switchboard=trace");
    let url = common::url(&ready, "comet");
    assert_eq!(ask(&["peer", "add", &url], &one)["wire"], "comet");
    first.wait("peer_added");
    // What a protocol tells of a peer comes when its task has begun.
    let told = |peers: &Value| {
        let protocols = peers["peers"][0]["protocols"].as_array().cloned().unwrap_or_default();
        protocols.iter().any(|one| one["name"] == "cast" && one["info"].is_object())
    };
    until("cast tells of the peer", || told(&ask(&["peers"], &one)));
    let peers = ask(&["peers"], &one);
    let peer = &peers["peers"][0];
    assert_eq!(
        (peer["wire"].as_str(), peer["direction"].as_str()),
        (Some("comet"), Some("outbound")),
        "{peers:#}"
    );
    assert_eq!((peer["static"].as_bool(), peer["trusted"].as_bool()), (Some(true), Some(false)));
    assert!(peer["protocols"][0]["channels"].as_array().is_some_and(|all| !all.is_empty()), "{peers:#}");
    // What a protocol tells of this peer.
    let cast = peer["protocols"].as_array().unwrap().iter().find(|one| one["name"] == "cast").unwrap();
    assert_eq!(
        (&cast["info"]["announced"], &cast["info"]["asked"]),
        (&Value::from(0), &Value::from(0)),
        "{peers:#}"
    );
    let id = peer["id"].as_str().unwrap().to_owned();
    let short = &id[..10];
    // Over HTTP as well.
    let shown = must(&["peers", short, "--admin", &http, "--json"]).event("peer");
    assert_eq!(shown["id"], id.as_str());
    let table = must(&["peers", "--admin", &http]).stdout;
    assert!(table.starts_with("1 peers\n") && table.contains(&id[..12]), "{table}");

    // Trusted peers are not banned.
    assert_eq!(ask(&["peer", "trust", short], &one)["trusted"], true);
    let args = ["peer", "ban", short, "--data", text(&one)];
    failed(&run(&args), &args, 1, "trust it no longer first");
    assert_eq!(ask(&["peer", "trust", short, "--not"], &one)["trusted"], false);
    let banned = ask(&["peer", "ban", short, "--for", "1h", "--why", "a test"], &one);
    assert_eq!(banned["banned"]["who"], format!("comet:{id}"));
    first.wait("peer_dropped");
    assert_eq!(ask(&["peer", "bans"], &one)["bans"][0]["why"], "a test");
    // With its wire, the beginning of an id means the same peer, and nobody who is not there.
    let of_wire = format!("comet:{short}");
    for begun in ["comet:5ac6dfb8b80d", &format!("fabric:{short}")] {
        let args = ["peer", "ban", begun, "--data", text(&one)];
        assert_ne!(run(&args).code, 0, "{begun}");
    }
    assert_eq!(ask(&["peer", "unban", &of_wire], &one)["unbanned"], format!("comet:{id}"));
    assert_eq!(ask(&["peer", "bans"], &one)["bans"], serde_json::json!([]));
    first.wait("peer_added");

    // Removing ends the session, unless it is to be kept.
    let removed = ask(&["peer", "remove", &url, "--keep-session"], &one);
    assert_eq!(
        (removed["was_static"].as_bool(), removed["session_ended"].as_bool()),
        (Some(true), Some(false))
    );
    assert_eq!(ask(&["peers"], &one)["peers"].as_array().unwrap().len(), 1);
    assert_eq!(ask(&["peer", "remove", short], &one)["session_ended"], true);
    first.wait("peer_dropped");

    bad(&["log", "switchboard=loudly", "--data", text(&one)], "is no log filter");
    bad(&["peer", "add", "http://x", "--data", text(&one)], "is not the address of a node");
    let args = ["peer", "unban", "10.0.0.0/8", "--data", text(&one)];
    failed(&run(&args), &args, 1, "is not banned");

    let began = Instant::now();
    must(&["stop", "--data", text(&one)]);
    assert_eq!(first.exit(), 0);
    assert!(began.elapsed() < Duration::from_secs(20));
    assert_eq!(first.seen().last().unwrap()["event"], "stopped");
    let log = first.log();
    for what in ["banned", "peer{id=", "protocol=\"bench\"", "starts", "returned"] {
        assert!(log.contains(what), "no {what} in {log}");
    }
    let args = ["status", "--data", text(&one)];
    failed(&run(&args), &args, 1, "no node runs on the data folder");
    assert!(!one.join("admin.sock").exists());
    assert_eq!(second.stop(), 0);
}

#[test]
fn events_are_followed_and_have_times() {
    let dir = tempfile::tempdir().unwrap();
    let (mut node, _) =
        Program::node(&["--wire", "comet", "--listen", "127.0.0.1:0", "--data", text(dir.path())]);
    let args =
        ["events", "--data", text(dir.path()), "--json", "--only", "subscribed,ban_added", "--count", "1"];
    let mut follower = Program::start(&args, &[]);
    follower.wait("subscribed");
    ask(&["peer", "ban", "203.0.113.0/24"], dir.path());
    let told = follower.wait("ban_added");
    assert_eq!((told["who"].as_str(), told["time"].is_string()), (Some("203.0.113.0/24"), true));
    assert_eq!(follower.exit(), 0);
    assert_eq!(node.stop(), 0);
    assert!(node.seen().iter().all(|event| event["time"].is_string()), "{:#?}", node.seen());
}

#[test]
fn a_reload_takes_over_what_it_can_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (data, file) = (dir.path().join("data"), dir.path().join("node.toml"));
    let write = |limits: &str| {
        let text = format!("[node]\nwire = [\"comet\"]\nlisten = [\"127.0.0.1:0\"]\n\n[limits]\n{limits}\n");
        fs::write(&file, text).unwrap();
    };
    write("max-peers = 5");
    let (mut node, _) = Program::node(&["--config", text(&file), "--data", text(&data)]);
    assert_eq!(ask(&["reload"], &data)["changes"].as_array().unwrap().len(), 0);
    let trusted = format!("comet:{}", "ab".repeat(20));
    write(&format!(
        "max-peers = 7\naccess-deny = [\"10.0.0.0/8\"]\ntrusted = [\"{trusted}\"]\ncast-max-bytes = \"1GB\""
    ));
    node.signal("HUP");
    let told = node.wait("reloaded")["changes"].to_string();
    for what in [
        "max-peers is 7 now, it was 5",
        "10.0.0.0/8",
        "is trusted now",
        "cast-max-bytes is another than what runs: it counts from the next start",
    ] {
        assert!(told.contains(what), "{what} in {told}");
    }
    let slots = || ask(&["status"], &data)["peers"]["comet"]["inbound_slots"].clone();
    assert_eq!(slots(), 7);
    // It still waits for the next start; the same in other words, and a default that is given, do not.
    write("max-peers = 7\ncast-max-bytes = \"1000MB\"\nstrict-addresses = false");
    let told = ask(&["reload"], &data)["changes"].to_string();
    assert!(told.contains("cast-max-bytes is another") && !told.contains("strict-addresses"), "{told}");
    write("max-peers = 7\ncast-max-bytes = \"64 GiB\"");
    assert_eq!(ask(&["reload"], &data)["changes"], serde_json::json!([]), "as it runs");
    // Without max-peers a wire has its own slots again.
    write("cast-max-bytes = \"1GB\"");
    let told = ask(&["reload"], &data)["changes"].to_string();
    assert!(told.contains("max-peers is not given now") && told.contains("comet 50 and 50"), "{told}");
    assert_eq!(slots(), 50);
    write("max-peers = 7");
    ask(&["reload"], &data);
    // What is wrong changes nothing.
    write("max-peers = 9\naccess-deny = [\"everybody\"]");
    let args = ["reload", "--data", text(&data)];
    failed(&run(&args), &args, 1, "is not a network");
    node.signal("HUP");
    assert!(node.wait("reload_failed")["reason"].to_string().contains("is not a network"));
    assert_eq!(ask(&["status"], &data)["peers"]["comet"]["inbound_slots"], 7);
    // SIGTERM, as a supervisor would.
    node.signal("TERM");
    let began = Instant::now();
    assert_eq!(node.exit(), 0);
    assert!(began.elapsed() < Duration::from_secs(30));
}

#[test]
fn certificates_warn_and_are_taken_over_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (org, data) = (dir.path().join("org1"), dir.path().join("data"));
    must(&["keygen", "--wire", "fabric", "--out", text(&org), "--days", "20"]);
    let (peer, key) = (org.join("peer0"), format!("fabric={}", text(&org.join("peer0"))));
    let args = ["--wire", "fabric", "--listen", "127.0.0.1:0", "--data", text(&data), "--key-file", &key];
    let (mut node, ready) = Program::node(&args);
    let found = ask(&["status"], &data)["certificates"].clone();
    let all = found.as_array().unwrap();
    assert_eq!(all.len(), 2, "{found:#}");
    assert!(
        all.iter().all(|one| one["warning"] == true && one["days_left"].as_i64().unwrap() < 20),
        "{found:#}"
    );
    must(&["keygen", "--wire", "fabric", "--renew", text(&peer), "--tls-only"]);
    let told = ask(&["reload"], &data)["changes"].to_string();
    assert!(told.contains("fabric tls certificate taken over"), "{told}");
    assert!(!told.contains("PKI-ID"), "{told}");
    must(&["keygen", "--wire", "fabric", "--renew", text(&peer)]);
    let told = ask(&["reload"], &data)["changes"].to_string();
    assert!(told.contains("fabric identity certificate taken over") && told.contains("PKI-ID is"), "{told}");
    let found = ask(&["status"], &data)["certificates"].clone();
    assert!(found.as_array().unwrap().iter().all(|one| one["warning"] == false), "{found:#}");
    // A peer of the same organisation handshakes with the new ones.
    let shown = must(&["ping", &common::url(&ready, "fabric"), "--key-file", &key, "--count", "1", "--json"]);
    assert_eq!(shown.event("ping_summary")["answered"], 1);
    // A certificate that does not fit its key is refused, and the node goes on with what it has.
    let other = dir.path().join("org2");
    must(&["keygen", "--wire", "fabric", "--out", text(&other)]);
    fs::copy(other.join("peer0/tls/server.key"), peer.join("tls/server.key")).unwrap();
    let args = ["reload", "--data", text(&data)];
    let said = failed(&run(&args), &args, 1, "key");
    assert_eq!(said.lines().count(), 1);
    assert_eq!(ask(&["status"], &data)["ready"], true);
    assert_eq!(node.stop(), 0);
    let log = node.log();
    assert!(log.contains("a certificate expires soon"), "{log}");
}

#[test]
fn killed_at_once_a_node_keeps_its_bans_and_starts_again() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["--wire", "comet", "--listen", "127.0.0.1:0", "--data", text(dir.path())];
    let (mut node, ready) = Program::node(&args);
    ask(&["peer", "ban", "203.0.113.0/24", "--for", "1h"], dir.path());
    // It was acknowledged: it is on the disk.
    node.signal("KILL");
    assert_ne!(node.exit(), 0);
    assert!(dir.path().join("admin.sock").exists(), "nobody could remove it");
    let (mut again, ready_again) = Program::node(&args);
    assert_eq!(ready["comet"]["id"], ready_again["comet"]["id"]);
    assert_eq!(ask(&["peer", "bans"], dir.path())["bans"][0]["who"], "203.0.113.0/24");
    ask(&["peer", "unban", "203.0.113.0/24"], dir.path());
    again.signal("KILL");
    assert_ne!(again.exit(), 0);
    let (mut last, _) = Program::node(&args);
    assert_eq!(ask(&["peer", "bans"], dir.path())["bans"], serde_json::json!([]));
    assert_eq!(last.stop(), 0);
}

/// Starts a command whose standard output is a pipe; the pipe's other end.
fn piped(
    args: &[&str],
    vars: &[(&str, &str)],
) -> (std::process::Child, BufReader<std::process::ChildStdout>) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_switchboard"));
    command.args(args).envs(vars.iter().copied()).stdout(std::process::Stdio::piped());
    let mut child = command.stdin(std::process::Stdio::null()).spawn().unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    (child, out)
}

#[test]
fn who_follows_ends_with_its_reader_and_not_with_the_next_event() {
    let dir = tempfile::tempdir().unwrap();
    let (mut node, _) = Program::node(&["--wire", "comet", "--data", text(dir.path())]);
    for args in [&["events"][..], &["peers", "--watch", "--every", "1h"]] {
        let (mut child, mut out) = piped(&[args, &["--data", text(dir.path())]].concat(), &[]);
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "{args:?}");
        // As head -1 does.
        drop(out);
        // Nothing happens in this node, so only the end of the pipe can end the command.
        until("the command ends", || child.try_wait().unwrap().is_some());
        assert!(child.wait().unwrap().success(), "{args:?}");
    }
    assert_eq!(node.stop(), 0);
}

#[test]
fn a_stop_waits_for_nobody_who_does_not_read_and_leaves_the_folder_free() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["--wire", "comet", "--data", text(dir.path()), "--admin", "127.0.0.1:0"];
    for by_command in [true, false] {
        let (mut node, _) = Program::node(&args);
        let http = node.wait("admin")["http"].as_str().unwrap().to_owned();
        // Follows events and never reads, a request that never ends, and one that says nothing.
        let held =
            ["GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n", "POST /v1/reload HTTP/1.1\r\nHost: l", ""];
        let held = held.map(|said| {
            let mut stream = std::net::TcpStream::connect(&http).unwrap();
            stream.write_all(said.as_bytes()).unwrap();
            stream
        });
        ask(&["status"], dir.path());
        let began = Instant::now();
        if by_command {
            must(&["stop", "--data", text(dir.path())]);
            let lock = fs::File::open(dir.path().join("lock")).unwrap();
            lock.try_lock().expect("the folder is free when the command returns");
        } else {
            node.signal("TERM");
        }
        assert_eq!(node.exit(), 0);
        // Every limit that one of them could hold it by is longer, but this machine may be slow.
        assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
        drop(held);
    }
}

#[test]
fn the_variables_of_a_node_and_of_its_commands_are_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let vars = [("SWITCHBOARD_DATA", text(dir.path())), ("SWITCHBOARD_ADMIN", "127.0.0.1:0")];
    let mut node = Program::start(&["node", "--wire", "comet", "--json", "--stdin-stop"], &vars);
    node.wait("ready");
    let http = node.wait("admin")["http"].as_str().unwrap().to_owned();
    let role = |args: &[&str], vars: &[(&str, &str)]| {
        let ended = run_with(&[&["status", "--json"], args].concat(), vars);
        assert_eq!(ended.code, 0, "{ended:#?}");
        ended.event("status")["role"].clone()
    };
    assert_eq!(role(&[], &vars), "node", "of two variables the folder counts");
    assert_eq!(role(&["--admin", &http], &vars), "node", "a flag counts over a variable");
    assert_eq!(role(&["--data", text(dir.path())], &[("SWITCHBOARD_ADMIN", "off")]), "node");
    assert_eq!(role(&[], &[("SWITCHBOARD_ADMIN", &http)]), "node");
    bad(&["status", "--data", text(dir.path()), "--admin", &http], "give one of them");
    common::bad_with(&["status"], &[("SWITCHBOARD_ADMIN", "off")], "give the data folder with --data");
    bad(&["status", "--admin", "here"], "is not IP:PORT");
    assert_eq!(node.stop(), 0);
}

/// systemd's side of sd_notify(3): a datagram socket that hears one state a line.
fn heard(socket: &UnixDatagram, wanted: &str) {
    let mut bytes = [0; 4_096];
    until(wanted, || {
        let Ok(n) = socket.recv(&mut bytes) else { return false };
        String::from_utf8_lossy(&bytes[..n]).lines().any(|line| line.starts_with(wanted))
    });
}

#[test]
fn a_supervisor_is_told_that_the_node_is_ready_lives_reloads_and_stops() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let vars = [("NOTIFY_SOCKET", text(&path)), ("WATCHDOG_USEC", "200000")];
    let args = ["node", "--json", "--stdin-stop", "--wire", "comet", "--listen", "127.0.0.1:0"];
    let mut node = Program::start(&args, &vars);
    heard(&socket, "READY=1");
    heard(&socket, "WATCHDOG=1");
    heard(&socket, "WATCHDOG=1");
    node.signal("HUP");
    heard(&socket, "RELOADING=1");
    heard(&socket, "READY=1");
    node.signal("TERM");
    heard(&socket, "STOPPING=1");
    assert_eq!(node.exit(), 0);
}

#[test]
fn every_role_is_administered() {
    let dir = tempfile::tempdir().unwrap();
    let org = dir.path().join("org1");
    must(&["keygen", "--wire", "fabric", "--out", text(&org)]);
    let key = format!("fabric={}", text(&org.join("peer0")));
    let roles: [(&str, Vec<&str>); 4] = [
        ("seed", vec!["seed", "--network", "x", "--listen", "127.0.0.1:0"]),
        ("bootnode", vec!["bootnode", "--listen", "127.0.0.1:0"]),
        ("fabric-observer", vec!["fabric", "observe", "--listen", "127.0.0.1:0", "--key-file", &key]),
        (
            "fabric-peer",
            vec![
                "fabric",
                "peer",
                "--listen",
                "127.0.0.1:0",
                "--key-file",
                &key,
                "--channel",
                "c",
                "--verify-blocks",
                "hash",
            ],
        ),
    ];
    for (role, args) in roles {
        let data = dir.path().join(role);
        let mut program = Program::start(
            &[&args[..], &["--data", text(&data), "--admin", "127.0.0.1:0", "--json"]].concat(),
            &[],
        );
        program.wait("ready");
        let http = program.wait("admin")["http"].as_str().unwrap().to_owned();
        assert_eq!(ask(&["status"], &data)["role"], role);
        assert_eq!(must(&["status", "--admin", &http, "--json"]).event("status")["role"], role);
        ask(&["peers"], &data);
        ask(&["reload"], &data);
        must(&["stop", "--data", text(&data)]);
        assert_eq!(program.exit(), 0, "{role}");
    }
}

#[test]
fn without_a_folder_nothing_is_left_and_bad_use_is_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Program::start(
        &["node", "--json", "--stdin-stop", "--wire", "comet"],
        &[("TMPDIR", text(dir.path()))],
    );
    node.wait("ready");
    assert!(
        fs::read_dir(dir.path()).unwrap().all(|entry| !entry.unwrap().path().join("admin.sock").exists())
    );
    assert_eq!(node.stop(), 0);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is persisted");

    bad(&["status"], "which node?");
    let token = dir.path().join("token");
    fs::write(&token, "0123456789abcdef0123456789abcdef\n").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    let node = ["node", "--wire", "comet", "--admin"];
    bad(
        &[&node[..], &["0.0.0.0:0", "--admin-token", text(&token)]].concat(),
        "others may read it (mode 644)",
    );
    bad(&[&node[..], &["0.0.0.0:0"]].concat(), "give a token with --admin-token FILE");
    bad(&[&node[..], &["here"]].concat(), "is not IP:PORT, as in 127.0.0.1:6060, or off");
    bad(&["node", "--admin-token", text(&token)], "others may read it");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let args = [&node[..], &[addr.as_str()]].concat();
    bad(&args, "choose another with --admin");

    // Two wires on one key, a newer folder, a folder in use.
    let key = dir.path().join("nodekey");
    must(&["keygen", "--wire", "devp2p", "--out", text(&key)]);
    let keys = [format!("devp2p={}", text(&key)), format!("comet={}", text(&key))];
    bad(&["node", "--key-file", &keys[0], "--key-file", &keys[1]], "give each wire a key of its own");
    let data = dir.path().join("newer");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("version"), "99\n").unwrap();
    bad(&["node", "--data", text(&data)], "has form 99, this program knows forms up to 1");
    let data = dir.path().join("used");
    let (mut first, _) = Program::node(&["--wire", "comet", "--data", text(&data)]);
    bad(&["node", "--wire", "comet", "--data", text(&data)], "another node uses it");
    assert_eq!(first.stop(), 0);
}

#[test]
fn configurations_are_written_checked_and_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("node.toml");
    fs::write(&file, must(&["config", "default"]).stdout).unwrap();
    assert_eq!(must(&["config", "check", text(&file), "--json"]).event("config_checked")["settings"], 0);
    fs::write(&file, "[limits]\nallow = [\"10.0.0.0/8\"]\n").unwrap();
    bad(
        &["config", "check", text(&file)],
        "line 2: `allow` is no setting any more, its successor is `access-allow`",
    );
    fs::write(&file, "[limits]\nmax-peers = 9\nsend-rate = \"5MB\"\n").unwrap();
    let args = ["config", "show", "--config", text(&file), "--max-peers", "3", "--json"];
    let told = run_with(&args, &[("SWITCHBOARD_WIRE", "comet")]).event("config");
    let of =
        |name: &str| told["settings"].as_array().unwrap().iter().find(|s| s["name"] == name).unwrap().clone();
    assert_eq!(
        (of("max-peers")["value"].as_str(), of("max-peers")["from"]["kind"].as_str()),
        (Some("3"), Some("flag"))
    );
    assert_eq!(
        (of("send-rate")["from"]["line"].as_u64(), of("wire")["from"]["name"].as_str()),
        (Some(3), Some("SWITCHBOARD_WIRE"))
    );
    assert_eq!(of("recv-rate")["from"]["kind"], "default");
}

#[test]
fn logs_are_json_when_asked_and_heed_rust_log() {
    let args = [
        "node",
        "--wire",
        "comet",
        "--listen",
        "127.0.0.1:0",
        "--json",
        "--stdin-stop",
        "--log-format",
        "json",
    ];
    let mut node = Program::start(&args, &[("RUST_LOG", "switchboard=debug")]);
    node.wait("ready");
    assert_eq!(node.stop(), 0);
    let log = node.log();
    assert!(!log.is_empty(), "RUST_LOG is heeded");
    for line in log.lines() {
        let told: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        assert!(
            told["timestamp"].is_string() && told["level"].is_string() && told["target"].is_string(),
            "{line}"
        );
    }
    let args = ["id", "comet://5ac6dfb8b80d66d4632966bdd63dbe2a789e13b3@127.0.0.1:1"];
    let ended = run_with(&args, &[("RUST_LOG", "x=loudly")]);
    failed(&ended, &args, 2, "RUST_LOG");
}

#[test]
fn a_testnet_runs_from_its_script() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("net");
    // Ports that are free now; whoever takes one of them meanwhile is met by another try with others.
    let free = || {
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().clamp(1_024, 64_000)
    };
    let meets = (0..5).any(|_| {
        let _ = fs::remove_dir_all(&out);
        let (port, admin) = (free().to_string(), free().to_string());
        let args = [
            "testnet",
            "--nodes",
            "2",
            "--out",
            text(&out),
            "--port",
            &port,
            "--admin-port",
            &admin,
            "--json",
        ];
        let ended = run(&args);
        if ended.stderr.contains("overlap") {
            return false;
        }
        assert_eq!(ended.event("testnet")["nodes"], 2);
        for n in 0..2 {
            must(&["config", "check", text(&out.join(format!("node{n}/node.toml")))]);
        }
        bad(&args[..args.len() - 1], "is not empty");
        let mut script = std::process::Command::new(out.join("start.sh"))
            .env("SWITCHBOARD", env!("CARGO_BIN_EXE_switchboard"))
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let data = out.join("node0/data");
        let taken = || {
            let said = |n| fs::read_to_string(out.join(format!("node{n}/err.log"))).unwrap_or_default();
            (0..2).any(|n| said(n).contains("another program uses this port"))
        };
        let mut meets = false;
        until("both nodes have each other on every wire", || {
            let told = run(&["peers", "--data", text(&data), "--json"]);
            meets = told.code == 0
                && told.event("peers")["peers"].as_array().is_some_and(|peers| peers.len() == 3);
            meets || taken()
        });
        assert!(std::process::Command::new("kill").arg(script.id().to_string()).status().unwrap().success());
        script.wait().unwrap();
        until("the nodes are gone", || !data.join("admin.sock").exists());
        meets
    });
    assert!(meets, "no ports were free");
}

#[test]
fn shells_and_manuals_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let text = must(&["completions", shell]).stdout;
        assert!(text.contains("testnet") && text.contains("unban"), "{shell}");
    }
    bad(&["completions", "cmd.exe"], "see switchboard completions --help");
    let dir = tempfile::tempdir().unwrap();
    must(&["man", "--out", text(dir.path())]);
    let names: Vec<_> =
        fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    for name in ["switchboard.1", "switchboard-node.1", "switchboard-peer-ban.1", "switchboard-fabric-peer.1"]
    {
        assert!(names.iter().any(|found| found == name), "{name} in {names:?}");
    }
    assert!(must(&["man"]).stdout.contains(".TH"));
}

#[test]
fn colour_is_for_terminals() {
    let dir = tempfile::tempdir().unwrap();
    let (mut node, _) = Program::node(&["--wire", "comet", "--data", text(dir.path()), "--log", "info"]);
    let told = must(&["status", "--data", text(dir.path())]).stdout;
    assert!(!told.contains('\u{1b}'), "{told}");
    assert_eq!(node.stop(), 0);
    assert!(!node.log().contains('\u{1b}'));
}
