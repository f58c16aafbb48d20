//! Bad use: exit code 2 and one line that says what is wrong and what to change. Failed jobs: 1, and one line.
#![cfg(test)]

mod common;
use common::{Program, bad, bad_with, failed, must, run, text};
use std::fs::Permissions;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

const ID: &str = "5ac6dfb8b80d66d4632966bdd63dbe2a789e13b3";

#[test]
fn commands_and_flags() {
    for (args, what) in [
        (&[][..], "no command given: see switchboard --help"),
        (&["fly"], "unrecognized subcommand 'fly': see switchboard --help"),
        (&["bench"], "no command given: see switchboard bench --help"),
        (&["node", "--wings"], "unexpected argument '--wings'"),
        (&["node", "--wire", "morse"], "there is no wire \"morse\": use devp2p or comet or fabric"),
        (&["node", "--protocol", "telepathy"], "use bench or cast"),
        (&["node", "--max-peers", "many"], "see switchboard node --help"),
        (&["node", "--listen", "here"], "is not IP:PORT"),
        (&["node", "--access-deny", "everybody"], "is not a network, as in 10.0.0.0/8"),
        (&["node", "--key-file", "nodekey"], "is not WIRE=PATH"),
        (&["node", "--log", "switchboard=verbosely"], "--log"),
        (&["node", "--wire", "comet", "--listen", "devp2p=127.0.0.1:0"], "--listen names wire devp2p"),
        (&["node", "--wire", "comet", "--key-file", "devp2p=x"], "--key-file names wire devp2p"),
        (&["node", "--wire", "devp2p", "--protocol", "bench", "--cast", "/bin/sh"], "add --protocol cast"),
        (
            &["node", "--wire", "fabric", "--channel", "No Channel"],
            "--channel \"No Channel\": a channel name is",
        ),
        (&["node", "--protocol", "bench,cast", "--channel", "echo"], "choose another --channel"),
        (&["seed", "--listen", "127.0.0.1:0"], "which network it serves: add --network NAME"),
        (&["seed", "--network", "my-chain"], "a seed must be told where: add --listen IP:PORT"),
        (&["keygen", "--wire", "comet"], "--out <OUT>: see switchboard keygen --help"),
        (&["bench", "echo"], "see switchboard bench echo --help"),
        (&["bench", "echo", "comet://x", "--count", "0"], "--count"),
        (&["bench", "handshakes", "comet://x", "--parallel", "0"], "--parallel"),
        (&["bench", "echo", "comet://x", "--in-flight", "0"], "--in-flight"),
        (&["bench", "echo", "comet://x", "--size", "9999999999999"], "--size"),
        (&["bench", "bulk", "comet://x", "--size", "0"], "--size"),
        (&["bench", "bulk", "comet://x", "--bytes", "0"], "--bytes"),
        (
            &["keygen", "--wire", "comet", "--out", "/nowhere/key", "--org", "Org1MSP"],
            "--org is for wire fabric",
        ),
        (
            &["seed", "--wire", "devp2p"],
            "--wire devp2p: a seed is of wire comet: see switchboard seed --help",
        ),
        // What is of no use as nothing.
        (&["node", "--cast-max-bytes", "0"], "--cast-max-bytes: \"0\" is of no use: give more than 0"),
        (
            &["node", "--wire", "comet", "--handshake-timeout", "0s"],
            "--handshake-timeout: \"0s\" is of no use",
        ),
        (&["node", "--wire", "comet", "--dial-timeout", "0"], "--dial-timeout: \"0\" is of no use"),
        (&["discv4", "crawl", "--out", "-", "--timeout", "0"], "--timeout"),
        (&["peers", "--data", "x", "--watch", "--every", "0"], "--every"),
        (&["peer", "ban", "203.0.113.7", "--for", "0s", "--data", "x"], "--for"),
        (&["nodeset", "filter", "x", "--limit", "0"], "--limit"),
        (&["up", "--timeout", "0"], "--timeout"),
        (&["bench", "bulk", "comet://x", "--payload", "gold"], "random, zeros"),
        (&["up", "--nodes", "1"], "use 2 to 100"),
        (&["up", "--nodes", "101"], "use 2 to 100"),
        (&["up", "--cast", "/nowhere"], "give another --cast"),
        (&["up", "--cast", "/"], "give another --cast"),
    ] {
        bad(args, what);
    }
}

/// Arguments need not be text, and folders need not be there.
#[test]
fn what_the_system_hands_over() {
    let odd = std::ffi::OsStr::from_bytes(b"\xff\x1b[2J");
    for args in [["node", "--network"], ["up", "--nodes"], ["ping", "--count"]] {
        let ended = Command::new(env!("CARGO_BIN_EXE_switchboard")).args(args).arg(odd).output().unwrap();
        assert_eq!(ended.status.code(), Some(2), "{ended:?}");
        assert_eq!(ended.stderr.iter().filter(|b| **b == b'\n' || **b == 0x1b).count(), 1, "{ended:?}");
    }
    for args in [&["up"][..], &["node", "--protocol", "cast"]] {
        bad_with(args, &[("TMPDIR", "/nowhere")], "set TMPDIR to a folder that can be written");
    }
    // A disk that is full; a reader that had enough.
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut help = Command::new(env!("CARGO_BIN_EXE_switchboard"));
    let ended = help.args(["id", "--help"]).stdout(full.try_clone().unwrap()).status().unwrap();
    assert_eq!(ended.code(), Some(0), "help that nobody reads");
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key");
    must(&["keygen", "--wire", "comet", "--out", text(&key)]);
    let id = ["id", "--wire", "comet", "--key", text(&key)];
    let told = Command::new(env!("CARGO_BIN_EXE_switchboard")).args(id).stdout(full).output().unwrap();
    assert_eq!(told.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&told.stderr).contains("cannot write to standard output"), "{told:?}");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let told = Command::new(env!("CARGO_BIN_EXE_switchboard")).args(id).stdout(writer).output().unwrap();
    assert_eq!((told.status.code(), told.stderr.len()), (Some(0), 0), "{told:?}");
}

#[test]
fn addresses() {
    let comet = format!("comet://{ID}@127.0.0.1");
    for (url, what) in [
        ("http://127.0.0.1:1", "is not the address of a node: expected enode://"),
        ("enode://abcd@127.0.0.1:1", "128 hex digits"),
        ("comet://abcd@127.0.0.1:1", "abcd"),
        (comet.as_str(), "comet://"),
        ("fabric://127.0.0.1", "fabric://"),
        ("fabric://127.0.0.1:7051", "--key-file fabric=FOLDER"),
    ] {
        bad(&["ping", url], what);
        bad(&["bench", "echo", url], what);
    }
    bad(&["ping", &format!("{comet}:1"), "--key-file", "devp2p=x"], "--key-file is for wire devp2p");
    bad(&["node", "--peer", "http://127.0.0.1:1"], "is not the address of a node");
    bad(&["node", "--wire", "devp2p", "--peer", &format!("{comet}:1")], "--wire does not serve");
}

#[test]
fn a_busy_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    for command in [&["node"][..], &["bench", "serve"]] {
        let args = [command, &["--wire", "comet", "--listen", &addr]].concat();
        let said = bad(&args, "choose another with --listen");
        assert!(said.contains(&addr), "{said}");
    }
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    for args in [&["bootnode", "--listen", &addr][..], &["discv4", "listen", "--listen", &addr]] {
        let said = bad(args, "choose another with --listen");
        assert!(said.contains(&addr), "{said}");
    }
}

/// Queries listen on loopback unless told otherwise: whom they cannot reach from there is not told to be silent.
#[test]
fn nodes_out_of_reach_are_named_with_the_flag() {
    let key = "c27c3b42903ce09a4c5fa0b1915bdba15d06959a934e0b1df67de1d7c2c9e2b1\
        75979b4760ad463adf816707464384b9d2e9bb5028822b0de55ef78c1199324c";
    for (at, listen, what) in [
        ("203.0.113.7", None, "203.0.113.7:30303 cannot be reached from 127.0.0.1: add --listen 0.0.0.0:0"),
        ("[2001:db8::7]", None, "cannot be reached from ::1: add --listen [::]:0"),
        ("127.0.0.1", Some("[::1]:0"), "127.0.0.1:30303 cannot be reached from ::1: add --listen 0.0.0.0:0"),
    ] {
        let url = format!("enode://{key}@{at}:30303");
        let listen = listen.map_or(Vec::new(), |at| vec!["--listen", at]);
        for version in ["discv4", "discv5"] {
            bad(&[&[version, "ping", &url][..], &listen].concat(), what);
            bad(&[&[version, "crawl", "--bootnode", &url, "--out", "-"][..], &listen].concat(), what);
            bad(&[&[version, "listen", "--bootnode", &url][..], &listen].concat(), what);
        }
    }
}

#[test]
fn key_files() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "neither\nkey nor folder\u{1b}[2J\n").unwrap();
    std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    for wire in ["devp2p", "comet", "fabric"] {
        let key = format!("{wire}={}", text(&file));
        bad(&["id", "--wire", wire, "--key", text(&file)], "file");
        bad(&["id", "--wire", wire, "--key", "/nowhere/key"], "/nowhere/key");
        bad(&["node", "--wire", wire, "--key-file", &key], "file");
        bad(&["node", "--wire", wire, "--data", text(&file)], "--data");
        let wrong = if wire == "fabric" { "0" } else { "2" };
        let out = dir.path().join(wire);
        bad(&["keygen", "--wire", wire, "--out", text(&out), "--peers", wrong], "--peers");
        bad(&["keygen", "--wire", wire, "--out", text(&file)], "is there already");
        bad(&["keygen", "--wire", wire, "--out", "/nowhere/key"], "there is no folder /nowhere");
    }
    let out = dir.path().join("org");
    bad(&["keygen", "--wire", "fabric", "--out", text(&out), "--org", "a/b"], "--org");
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["file"], "nothing half-written stays");
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("neither"), "nothing was overwritten");
}

#[test]
fn configuration_files() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("node.toml");
    for (content, what) in [
        ("wire = [\"comet\"]\n\nlissen = []\n", "node.toml, line 3: unknown field `lissen`"),
        ("wire = \"comet\"\n", "node.toml, line 1:"),
        ("max-peers = -1\n", "node.toml, line 1:"),
        ("wire = [\"comet\"]\nwire = []\n", "node.toml, line 2:"),
        ("a b\n", "node.toml, line 1:"),
        ("wire = [\"morse\"]\n", "node.toml: wire: there is no wire \"morse\""),
        ("listen = [\"here\"]\n", "node.toml: listen: \"here\" is not IP:PORT"),
        ("peer = [\"here\"]\n", "is not the address of a node"),
        ("cast = [\"/nowhere\"]\n", "cannot cast /nowhere"),
    ] {
        std::fs::write(&file, content).unwrap();
        bad(&["node", "--config", text(&file)], what);
    }
    bad(&["node", "--config", "/nowhere.toml"], "give another --config");
    // Sections of wires that are not served may stand there, and variables be set; a flag is told of.
    std::fs::write(&file, "wire = [\"comet\"]\n[devp2p]\ndiscovery = [\"v4\"]\n").unwrap();
    for (flags, told) in [
        (&[][..], ""),
        (
            &["--channel", "x", "--discovery", "v5"],
            "--discovery has no effect: it is of wire devp2p, which --wire does not serve\n\
             --channel has no effect: it is of wire fabric, which --wire does not serve",
        ),
    ] {
        let args = [&["--config", text(&file), "--listen", "127.0.0.1:0"], flags].concat();
        let (mut node, ready) = Program::node(&args);
        assert!(ready.get("devp2p").is_none(), "{ready:#}");
        assert_eq!(node.stop(), 0);
        let (said, lines) = (node.log(), told.lines().collect::<Vec<_>>());
        assert_eq!(said.lines().count(), lines.len(), "{said}");
        assert!(said.lines().zip(&lines).all(|(said, line)| said.contains(line)), "{said}");
    }
    let listen = ("SWITCHBOARD_LISTEN", "here");
    bad_with(&["node"], &[listen], "(from SWITCHBOARD_LISTEN): see switchboard node --help");
    let said = bad_with(&["node", "--listen=there"], &[listen], "is not IP:PORT");
    assert!(!said.contains("SWITCHBOARD"), "{said}");
    bad_with(&["node"], &[("SWITCHBOARD_STDIN_STOP", "perhaps")], "(from SWITCHBOARD_STDIN_STOP)");
}

#[test]
fn failed_jobs_are_one_line_and_one_object() {
    let nobody = format!("comet://{ID}@127.0.0.1:1");
    for args in [&["ping", &nobody][..], &["bench", "echo", &nobody], &["bench", "handshakes", &nobody]] {
        failed(&run(args), args, 1, "Connection refused");
        let json = [args, &["--json"]].concat();
        let ended = run(&json);
        failed(&ended, &json, 1, "Connection refused");
        let reason = ended.event("failed")["reason"].as_str().unwrap().to_owned();
        assert!(ended.stderr.contains(&reason), "{ended:#?}");
    }
    let ended = run(&["node", "--wire", "morse", "--json"]);
    assert_eq!((ended.code, ended.event("failed")["event"].as_str()), (2, Some("failed")));
}

#[test]
fn every_help_has_an_example() {
    let commands = [
        "keygen",
        "id",
        "node",
        "seed",
        "comet",
        "nat",
        "ping",
        "bench",
        "up",
        "config",
        "completions",
        "man",
        "testnet",
    ]
    .into_iter()
    .chain(["status", "peers", "peer", "events", "log", "reload", "stop"])
    .map(|c| vec![c]);
    let peer = ["add", "remove", "trust", "ban", "unban", "bans"].map(|c| vec!["peer", c]);
    let commands = commands.chain(peer).chain(["default", "check", "show"].map(|c| vec!["config", c]));
    let books = ["show", "check", "import", "export"].map(|c| vec!["comet", "addrbook", c]);
    let comet = ["status", "pex", "crawl", "addrbook"].map(|c| vec!["comet", c]);
    let commands = commands.chain(comet).chain(books).chain([vec!["nat", "probe"]]);
    for mut args in commands.chain(["serve", "echo", "bulk", "handshakes"].map(|c| vec!["bench", c])) {
        let command = format!("switchboard {}", args.join(" "));
        args.push("--help");
        let help = must(&args).stdout;
        let example = help.split("Example").nth(1).unwrap_or_default();
        assert!(example.contains(&command), "{help}");
    }
    assert!(must(&["--version"]).stdout.starts_with("switchboard "));
}
