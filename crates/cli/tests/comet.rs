//! CometBFT's seed node and a node's part in its network, as an operator runs them: the built program in real time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)] // a test of a real program

mod common;

use bytes::{Buf, BytesMut};
use common::{Program, bad, must, run, text, until};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};
use switchboard_comet::node_info::NodeInfo;
use switchboard_comet::pex::Message;
use switchboard_comet::secret_connection::{Handshake, Secured};
use switchboard_comet::{CometConfig, NodeKey, proto};

const NETWORK: &str = "cli-net";

/// A program in a role, with its address.
fn start(role: &str, more: &[&str]) -> (Program, String) {
    let mut args = vec![role, "--json", "--stdin-stop", "--network", NETWORK, "--allow-local"];
    if role == "node" {
        args.extend(["--wire", "comet"]);
    }
    if !more.contains(&"--listen") {
        args.extend(["--listen", "127.0.0.1:0"]);
    }
    args.extend(more);
    let mut program = Program::start(&args, &[]);
    let ready = program.wait("ready");
    let address = ready["comet"]["address"].as_str().unwrap_or_else(|| panic!("{ready:#}")).to_owned();
    assert!(address.starts_with(ready["comet"]["id"].as_str().unwrap()), "{ready:#}");
    (program, address)
}

fn id(address: &str) -> &str {
    address.split('@').next().unwrap()
}

fn host(address: &str) -> &str {
    address.split('@').nth(1).unwrap()
}

/// Whom a node says it knows; empty while it does not answer.
fn told(address: &str) -> BTreeSet<String> {
    let ended = run(&["comet", "pex", address, "--json"]);
    let answers = ended.json().into_iter().filter(|v| v["event"] == "pex");
    let all: Vec<Value> =
        answers.flat_map(|v| v["addresses"].as_array().cloned().unwrap_or_default()).collect();
    all.iter().filter_map(Value::as_str).map(|address| id(address).to_owned()).collect()
}

/// The next line of this event about a peer.
fn of(program: &mut Program, event: &str, peer: &str) -> Value {
    such(program, event, |value| value["id"] == id(peer))
}

/// The next line of this event that is such.
fn such(program: &mut Program, event: &str, is: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end {
        let value = program.wait(event);
        if is(&value) {
            return value;
        }
    }
    panic!("no such {event}; it said {:#?}", program.seen());
}

/// Entries of a book's file: IDs, and how many buckets each is in.
fn book(path: &Path) -> Vec<(String, usize)> {
    let book: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let entry = |entry: &Value| {
        (entry["addr"]["id"].as_str().unwrap().to_owned(), entry["buckets"].as_array().unwrap().len())
    };
    book["addrs"].as_array().unwrap().iter().map(entry).collect()
}

#[test]
fn a_seed_answers_once_hangs_up_and_saves_its_book() {
    let dir = tempfile::tempdir().unwrap();
    let (file, theirs) = (dir.path().join("addrbook.json"), dir.path().join("node.json"));
    let (mut seed, at_seed) = start("seed", &["--addrbook", text(&file)]);
    let (mut one, at_one) = start("node", &["--pex", "--seed", &at_seed, "--addrbook", text(&theirs)]);
    let (mut two, at_two) = start("node", &["--pex", "--seed", &at_seed]);
    // By the address they listen at, not the one they dialled from.
    let both: BTreeSet<_> = [&at_one, &at_two].map(|address| id(address).to_owned()).into();
    until("both are told", || both.is_subset(&told(&at_seed)));
    // Redials every 3 s are welcome, each is answered once, and hung up on within 5 s.
    for _ in 0..3 {
        sleep(Duration::from_secs(3));
        let asked = Instant::now();
        let ended = run(&["comet", "pex", &at_seed, "--requests", "2", "--json"]);
        let answers = ended.json().iter().filter(|v| v["event"] == "pex").count();
        assert_eq!((ended.code, answers), (1, 1), "{ended:#?}");
        assert!(ended.stderr.contains("after 1 answers"), "{ended:#?}");
        assert!(asked.elapsed() < Duration::from_secs(30), "{:?}", asked.elapsed());
    }
    until("the nodes meet", || run(&["comet", "pex", &at_one, "--json"]).stdout.contains(id(&at_two)));
    let end = Instant::now();
    seed.close_stdin();
    assert_eq!(seed.exit(), 0);
    assert!(end.elapsed() < Duration::from_secs(30), "{:?}", end.elapsed());
    let figures = seed.seen().iter().find(|v| v["event"] == "figures" && v["service"] == "pex");
    let answered = figures.unwrap()["figures"]["answered"].as_str().unwrap().parse::<u64>().unwrap();
    assert!(answered >= 5, "{figures:#?}");
    let entries = book(&file);
    assert!(
        both.iter().all(|id| entries.iter().any(|(known, buckets)| known == id && *buckets > 0)),
        "{entries:?}"
    );
    // A book that has nodes needs no seed.
    assert_eq!(one.stop(), 0);
    assert!(book(&theirs).iter().any(|(known, _)| known == id(&at_two)), "{:?}", book(&theirs));
    let (mut again, _) = start("node", &["--pex", "--addrbook", text(&theirs)]);
    of(&mut again, "peer_added", &at_two);
    assert_eq!((again.stop(), two.stop()), (0, 0));
}

/// What a node learned is lost with it then: its end is a failure, in one line.
#[test]
fn a_book_that_cannot_be_saved_at_the_end_is_a_failed_job() {
    let dir = tempfile::tempdir().unwrap();
    for role in ["seed", "node"] {
        let folder = dir.path().join(role);
        let file = folder.join("addrbook.json");
        let (mut program, _) = start(role, &["--pex", "--addrbook", text(&file)]);
        std::fs::remove_dir_all(&folder).unwrap();
        let code = program.stop();
        let log = program.log();
        assert_eq!((code, log.lines().count()), (1, 1), "{role}: {log}");
        assert!(log.contains("pex: address book") && log.contains("addrbook.json"), "{role}: {log}");
    }
}

/// A file that is no book is the wrong file: bad use.
#[test]
fn what_is_no_book_is_refused_by_its_commands() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("junk");
    std::fs::write(&file, "junk").unwrap();
    for job in ["show", "check", "export", "import"] {
        bad(&["comet", "addrbook", job, text(&file)], "it is no address book in JSON");
    }
    bad(&["comet", "addrbook", "show", text(dir.path())], "give another file");
}

#[test]
fn damaged_books_are_put_aside_with_one_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("addrbook.json");
    for (n, role) in [(1, "seed"), (2, "node")] {
        // Of the second nothing is read: 100 MB of zeros.
        match n {
            1 => std::fs::write(&file, "{\"key\":\"00\",\"addrs\":[{").unwrap(),
            _ => std::fs::File::create(&file).unwrap().set_len(100_000_000).unwrap(),
        }
        let more: &[&str] = if role == "node" { &["--pex"] } else { &[] };
        let began = Instant::now();
        let (mut program, _) = start(role, &[&["--addrbook", text(&file)], more].concat());
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        let told = program.wait("book_put_aside");
        assert_eq!(told["fields"]["now"], format!("addrbook.json.corrupt-{n}"), "{told:#}");
        assert!(!told["fields"]["detail"].as_str().unwrap().is_empty(), "{told:#}");
        assert_eq!(program.stop(), 0);
        let log = program.log();
        assert_eq!(log.lines().count(), 1, "{log}");
        assert!(log.contains("addrbook.json") && log.contains("a fresh book begins"), "{log}");
        assert!(dir.path().join(format!("addrbook.json.corrupt-{n}")).exists());
        assert_eq!(book(&file), [], "a fresh book stands there");
    }
}

#[test]
fn an_address_book_is_shown_checked_filled_and_listed() {
    let dir = tempfile::tempdir().unwrap();
    let (file, list) = (dir.path().join("addrbook.json"), dir.path().join("peers.txt"));
    let known = format!("{}@8.8.4.4:26656", "0a".repeat(20));
    let private = format!("{}@10.0.0.1:26656", "0b".repeat(20));
    std::fs::write(&list, format!("{known}\n{private}\nno address\n")).unwrap();
    let import = ["comet", "addrbook", "import", text(&file), "--from", text(&list), "--json"];
    let done = must(&import).event("import");
    assert_eq!(
        (&done["added"], &done["refused"], &done["unreadable"]),
        (&1.into(), &1.into(), &1.into()),
        "{done:#}"
    );
    let done = must(&[&import[..], &["--allow-local"]].concat()).event("import");
    assert_eq!((&done["added"], &done["known"]), (&1.into(), &1.into()), "{done:#}");
    let shown = must(&["comet", "addrbook", "show", text(&file), "--json"]);
    assert_eq!(shown.event("addrbook")["addresses"], 2, "{shown:#?}");
    assert!(shown.json().iter().any(|v| v["address"] == known && v["kind"] == "new"), "{shown:#?}");
    assert_eq!(must(&["comet", "addrbook", "check", text(&file), "--json"]).event("check")["ok"], true);
    let listed: BTreeSet<_> =
        must(&["comet", "addrbook", "export", text(&file)]).stdout.lines().map(str::to_owned).collect();
    assert_eq!(listed, BTreeSet::from([known, private]));
    // A book brought into another, and one that is none.
    let other = dir.path().join("other.json");
    let done = must(&[
        "comet",
        "addrbook",
        "import",
        text(&other),
        "--from",
        text(&file),
        "--allow-local",
        "--json",
    ]);
    assert_eq!(done.event("import")["added"], 2);
    std::fs::write(&file, "{").unwrap();
    for command in ["show", "check", "export"] {
        let ended = run(&["comet", "addrbook", command, text(&file)]);
        assert_eq!((ended.code, ended.stderr.lines().count()), (2, 1), "{ended:#?}");
    }
}

/// A fuzzed connection, from the command line: only what is dialled, from the time that is said, with a reason for each end.
#[test]
fn fuzzed_connections() {
    let (mut hub, at_hub) = start("node", &["--protocol", "bench"]);
    let fuzz = |more: &[&str]| {
        let args = ["--persistent-peers", &at_hub, "--protocol", "bench"];
        start("node", &[&args[..], more].concat())
    };
    // All is well before it starts.
    let (mut calm, at_calm) = fuzz(&["--test-fuzz", "drop", "--test-fuzz-drop-conn", "1"]);
    of(&mut calm, "peer_added", &at_hub);
    of(&mut hub, "peer_added", &at_calm);
    // Connections that are dropped at once.
    let at_once = ["--test-fuzz-start-after", "0s"];
    let drop = ["--test-fuzz", "drop", "--test-fuzz-drop-rw", "0", "--test-fuzz-drop-conn", "1"];
    let (mut dropping, _) = fuzz(&[&drop[..], &at_once].concat());
    let failed = dropping.wait("dial_failed");
    assert!(matches!(failed["reason"].as_str(), Some("remote_closed" | "network_error")), "{failed:#}");
    assert!(failed["retry_in"].as_f64().unwrap() <= 8.0, "{failed:#}");
    // Bytes that vanish: the secure channel cannot begin, and the other end does not wait for ever.
    // It waits longer than the hub, whose time is over first then.
    let silent = ["--test-fuzz", "drop", "--test-fuzz-drop-rw", "1", "--handshake-timeout", "20s"];
    let (mut holes, _) = fuzz(&[&silent[..], &at_once].concat());
    holes.wait("dial_failed");
    such(&mut hub, "handshake_failed", |failed| failed["reason"] == "handshake_timeout");
    // Delays: late, and whole.
    let late = ["--test-fuzz", "delay", "--test-fuzz-max-delay", "100ms"];
    let (mut late, at_late) = fuzz(&[&late[..], &at_once].concat());
    of(&mut late, "peer_added", &at_hub);
    of(&mut hub, "peer_added", &at_late);
    assert!(!calm.seen().iter().any(|v| v["event"] == "peer_dropped"));
    for program in [&mut hub, &mut calm, &mut dropping, &mut holes, &mut late] {
        assert_eq!(program.stop(), 0);
    }
    bad(
        &["node", "--wire", "comet", "--test-fuzz", "delay", "--test-fuzz-max-delay", "soon"],
        "test-fuzz-max-delay",
    );
    bad(&["node", "--wire", "comet", "--test-fuzz", "sometimes"], "--test-fuzz: \"sometimes\" is no way");
    bad(&["node", "--wire", "comet", "--test-fuzz", "drop", "--test-fuzz-drop-rw", "2"], "between 0 and 1");
}

/// Two nodes that speak packets of the era before protobuf, and one that does not.
#[test]
fn two_nodes_of_the_old_era() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file.bin");
    std::fs::write(&file, common::noise(300_000)).unwrap();
    let old = ["--era", "go-wire", "--protocol", "cast"];
    let (mut giver, at_giver) = start("node", &[&old[..], &["--cast", text(&file)]].concat());
    let (mut taker, _) = start("node", &[&old[..], &["--persistent-peers", &at_giver]].concat());
    assert_eq!(taker.wait("cast_done")["bytes"], 300_000);
    let (mut young, _) = start("node", &["--protocol", "cast", "--persistent-peers", &at_giver]);
    let dropped = young.wait("peer_dropped");
    assert_ne!(dropped["reason"], "requested", "{dropped:#}");
    assert!(!giver.has_ended() && !taker.seen().iter().any(|v| v["event"] == "peer_dropped"));
    for program in [&mut giver, &mut taker, &mut young] {
        assert_eq!(program.stop(), 0);
    }
    bad(&["node", "--wire", "comet", "--era", "amino"], "protobuf or go-wire");
}

/// A monitor announces CometBFT's own channels, counts what comes, and answers nothing.
#[test]
fn a_monitor_counts_what_flows() {
    let (mut monitor, at_monitor) = start("node", &["--monitor", "--protocol", "bench"]);
    let status = must(&["comet", "status", &at_monitor, "--json"]).event("status");
    let channels: Vec<_> =
        status["capabilities"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(channels[..9], ["0x20", "0x21", "0x22", "0x23", "0x30", "0x38", "0x40", "0x60", "0x61"]);
    assert!(!channels.contains(&"0x00"));
    let mut validator = Stranger::connect(host(&at_monitor), &[0x20, 0x22]).unwrap();
    for _ in 0..10 {
        validator.say(0x22, &[7; 500]).unwrap();
    }
    validator.say(0x20, &[7; 100]).unwrap();
    validator.send(&[2, 0x0a, 0]).unwrap();
    assert_eq!(validator.hear().unwrap(), [2, 0x12, 0], "a pong, and nothing else");
    assert_eq!(monitor.stop(), 0);
    let figures =
        monitor.seen().iter().find(|v| v["event"] == "figures" && v["service"] == "monitor").unwrap();
    assert_eq!(figures["figures"]["consensus_vote"], "10 messages, 5000 bytes");
    assert_eq!(figures["figures"]["consensus_state"], "1 messages, 100 bytes");
    // Not unless asked for.
    let (mut node, at_node) = start("node", &["--pex", "--protocol", "bench"]);
    let status = must(&["comet", "status", &at_node, "--json"]).event("status");
    assert!(!status["capabilities"].to_string().contains("0x22"), "{status:#}");
    assert_eq!(node.stop(), 0);
}

#[test]
fn persistent_unconditional_and_private_peers() {
    let dir = tempfile::tempdir().unwrap();
    let keys = ["a", "b"].map(|name| dir.path().join(name));
    let ids = keys.each_ref().map(|key| {
        let made = must(&["keygen", "--wire", "comet", "--out", text(key), "--json"]);
        made.json()[0]["id"].as_str().unwrap().to_owned()
    });
    let key_files = keys.each_ref().map(|key| format!("comet={}", key.display()));
    let named = |n: usize| ["--key-file", key_files[n].as_str(), "--protocol", "bench"];
    // One slot, which `a` needs not, and `b` is told to nobody.
    let hub = ["--pex", "--max-peers", "1", "--protocol", "bench"];
    let special = ["--unconditional-peer-ids", &ids[0], "--private-peer-ids", &ids[1]];
    let (mut hub, at_hub) = start("node", &[&hub[..], &special].concat());
    let peer = ["--persistent-peers", &at_hub, "--persistent-peers-max-dial-period", "2s", "--pex"];
    let (mut b, at_b) = start("node", &[&named(1)[..], &peer].concat());
    of(&mut hub, "peer_added", &at_b);
    let (mut a, at_a) = start("node", &[&named(0)[..], &peer].concat());
    of(&mut hub, "peer_added", &at_a);
    let (mut c, _) = start("node", &[&peer[..], &["--protocol", "bench"]].concat());
    such(&mut hub, "refused", |refused| refused["reason"] == "too_many_peers");
    // Whoever asks beyond the slots is sent away, so `a` asks for us: what it learnt of `b`, it learnt elsewhere.
    for program in [&mut a, &mut c] {
        assert_eq!(program.stop(), 0);
    }
    assert_eq!(b.stop(), 0);
    of(&mut hub, "peer_dropped", &at_b);
    until("the hub tells of others, not of the private one", || told(&at_hub).contains(&ids[0]));
    assert!(!told(&at_hub).contains(&ids[1]));
    assert_eq!(hub.stop(), 0);
}

/// A persistent peer that comes back is dialled again, by the wire's plan; one that is given up is not.
#[test]
fn persistent_peers_are_dialled_again() {
    let dir = tempfile::tempdir().unwrap();
    let key = format!("comet={}", dir.path().join("key").display());
    must(&["keygen", "--wire", "comet", "--out", text(&dir.path().join("key"))]);
    let (mut first, address) = start("node", &["--key-file", &key, "--protocol", "bench"]);
    let keeper =
        ["--persistent-peers", &address, "--protocol", "bench", "--persistent-peers-max-dial-period", "1s"];
    let (mut keeper, _) = start("node", &keeper);
    of(&mut keeper, "peer_added", &address);
    assert_eq!(first.stop(), 0);
    of(&mut keeper, "peer_dropped", &address);
    let failed = keeper.wait("dial_failed");
    assert!(failed["retry_in"].as_f64().unwrap() <= 4.0, "{failed:#}");
    let (mut again, _) =
        start("node", &["--key-file", &key, "--protocol", "bench", "--listen", host(&address)]);
    of(&mut keeper, "peer_added", &address);
    assert_eq!((again.stop(), keeper.stop()), (0, 0));
}

/// The time-outs of the configuration are those of the wire.
#[test]
fn the_time_for_a_handshake_is_as_set() {
    // It accepts, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = format!("{}@{}", "0a".repeat(20), silent.local_addr().unwrap());
    let (mut took, mut held) = (Vec::new(), Vec::new());
    for limit in ["1s", "5s"] {
        let peer = ["--persistent-peers", &at, "--protocol", "bench", "--handshake-timeout", limit];
        let began = Instant::now();
        let (mut node, _) = start("node", &peer);
        held.push(silent.accept().unwrap());
        let failed = node.wait("dial_failed");
        assert_eq!(failed["reason"], "handshake_timeout", "{failed:#}");
        took.push(began.elapsed());
        assert_eq!(node.stop(), 0);
    }
    // The default is 3 s, which is between them.
    assert!(took[0] >= Duration::from_secs(1) && took[1] >= Duration::from_secs(5), "{took:?}");
}

/// What the router says is what a seed and a node announce.
#[test]
fn nat_on_seed_and_node() {
    for role in ["seed", "node"] {
        // A port that was free a moment ago: one the system chooses cannot be mapped beforehand.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (mut program, address) =
            start(role, &["--nat", "extip:203.0.113.9", "--listen", &free.to_string()]);
        assert!(address.ends_with(&format!("@203.0.113.9:{}", free.port())), "{role}: {address}");
        assert_eq!(program.stop(), 0);
    }
    bad(&["seed", "--network", NETWORK, "--listen", "127.0.0.1:0", "--nat", "magic"], "nat");
}

/// Peers with keys and no manners.
struct Stranger {
    stream: TcpStream,
    secured: Secured,
    src: BytesMut,
}

static STRANGERS: AtomicU64 = AtomicU64::new(1);

impl Stranger {
    /// Becomes a peer, with a key of its own.
    fn connect(addr: &str, channels: &[u8]) -> std::io::Result<Self> {
        let n = STRANGERS.fetch_add(1, Ordering::Relaxed).to_le_bytes();
        let mut seed = [5; 32];
        seed[..8].copy_from_slice(&n);
        let key = NodeKey::from_seed(&seed).unwrap();
        let mut stream = TcpStream::connect(addr)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.set_write_timeout(Some(Duration::from_secs(20)))?;
        let (mut src, mut out) = (BytesMut::new(), BytesMut::new());
        let broken = |_| std::io::Error::other("broken handshake");
        let mut handshake = Handshake::start(&seed, &mut out).unwrap();
        let mut secured = loop {
            let done = handshake.advance(&key, &mut src, &mut out).map_err(broken)?;
            stream.write_all(&out)?;
            out.clear();
            match done {
                Some(secured) => break secured,
                None => more(&mut stream, &mut src)?,
            }
        };
        let info = CometConfig::new(Arc::new(key), NETWORK).node_info(channels.to_vec(), None);
        secured.sealer.seal_all(&info.encode(), &mut out).map_err(broken)?;
        stream.write_all(&out)?;
        let used = loop {
            if let Some((_, used)) = NodeInfo::decode(&secured.plain).map_err(std::io::Error::other)? {
                break used;
            }
            if !secured.opener.open_next(&mut src, &mut secured.plain).map_err(broken)? {
                more(&mut stream, &mut src)?;
            }
        };
        secured.plain.advance(used);
        Ok(Self { stream, secured, src })
    }

    fn send(&mut self, plain: &[u8]) -> std::io::Result<()> {
        let mut out = BytesMut::new();
        self.secured.sealer.seal_all(plain, &mut out).map_err(std::io::Error::other)?;
        self.stream.write_all(&out)
    }

    /// One short message on a channel.
    fn say(&mut self, channel: u8, message: &[u8]) -> std::io::Result<()> {
        let mut inner = Vec::new();
        if channel > 0 {
            proto::put_varint_field(1, channel.into(), &mut inner);
        }
        proto::put_varint_field(2, 1, &mut inner);
        proto::put_bytes_field(3, message, &mut inner);
        let mut packet = Vec::new();
        proto::put_message_field(3, &inner, &mut packet);
        self.send(&proto::delimit(&packet))
    }

    /// The next bytes of plain text.
    fn hear(&mut self) -> std::io::Result<Vec<u8>> {
        while self.secured.plain.is_empty() {
            let Secured { opener, plain, .. } = &mut self.secured;
            if !opener.open_next(&mut self.src, plain).map_err(std::io::Error::other)? {
                more(&mut self.stream, &mut self.src)?;
            }
        }
        Ok(self.secured.plain.split().to_vec())
    }
}

fn more(stream: &mut TcpStream, src: &mut BytesMut) -> std::io::Result<()> {
    let mut buf = [0; 4_096];
    let n = stream.read(&mut buf)?;
    if n == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    src.extend_from_slice(&buf[..n]);
    Ok(())
}

/// What a process holds, in MiB, and the seconds of processor it took.
fn vitals(program: &Program) -> (u64, f64) {
    let path = |file: &str| format!("/proc/{}/{file}", program.id());
    let status = std::fs::read_to_string(path("status")).unwrap();
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let rss = rss.trim().split(' ').next().unwrap().parse::<u64>().unwrap() / 1_024;
    let stat = std::fs::read_to_string(path("stat")).unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    (rss, ticks / 100.0)
}

/// A seed under floods of requests, answers, pings and connections goes on answering honest askers, and holds little.
#[test]
fn a_seed_under_floods_answers_honest_peers() {
    let (mut seed, at_seed) = start("seed", &[]);
    let (mut node, at_node) = start("node", &["--pex", "--seed", &at_seed]);
    until("the node is known", || told(&at_seed).contains(id(&at_node)));
    let (stop, addr) = (Arc::new(AtomicBool::new(false)), host(&at_seed).to_owned());
    let (before, _) = vitals(&seed);
    let flood = |attack: fn(&str) -> std::io::Result<()>| {
        let (stop, addr) = (Arc::clone(&stop), addr.clone());
        std::thread::spawn(move || {
            let mut rounds = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                // The seed may close at any byte.
                let _ = attack(&addr);
                rounds += 1;
            }
            rounds
        })
    };
    let floods = [
        // Requests without end, in a session that is over after the first.
        flood(|addr| {
            let mut stranger = Stranger::connect(addr, &[0])?;
            loop {
                stranger.say(0, &Message::request())?;
            }
        }),
        // Answers nobody asked for.
        flood(|addr| {
            let mut stranger = Stranger::connect(addr, &[0])?;
            stranger.say(0, &Message::answer(&[]))?;
            stranger.hear().map(drop)
        }),
        // Pings by the thousand.
        flood(|addr| {
            let mut stranger = Stranger::connect(addr, &[0])?;
            for _ in 0..200 {
                stranger.send(&[2, 0x0a, 0].repeat(1_000))?;
                stranger.hear()?;
            }
            Ok(())
        }),
        // Connections that say nothing, or little.
        flood(|addr| {
            for _ in 0..20 {
                let mut stream = TcpStream::connect(addr)?;
                stream.write_all(&[0x22, 0x0a])?;
            }
            sleep(Duration::from_millis(50));
            Ok(())
        }),
    ];
    let (mut answered, mut slowest) = (0, Duration::ZERO);
    for _ in 0..10 {
        let asked = Instant::now();
        let found = (0..5).any(|_| told(&at_seed).contains(id(&at_node)));
        (answered, slowest) = (answered + u32::from(found), slowest.max(asked.elapsed()));
        sleep(Duration::from_millis(500));
    }
    let (after, cpu) = vitals(&seed);
    stop.store(true, Ordering::Relaxed);
    let end = Instant::now();
    assert_eq!(seed.stop(), 0);
    let stopped = end.elapsed();
    let rounds: Vec<u64> = floods.into_iter().map(|flood| flood.join().unwrap()).collect();
    eprintln!(
        "{answered} of 10 honest askers answered, slowest {slowest:?}; {before} to {after} MiB; {cpu:.1} s of CPU; \
        stopped in {stopped:?}; rounds of each flood {rounds:?}"
    );
    assert_eq!(answered, 10, "slowest {slowest:?}");
    assert!(slowest < Duration::from_secs(60), "{slowest:?}");
    assert!(after < before + 64, "{before} to {after} MiB");
    assert!(stopped < Duration::from_secs(30), "{stopped:?}");
    assert!(rounds.iter().all(|rounds| *rounds > 0), "{rounds:?}");
    assert!(!node.has_ended());
    assert_eq!(node.stop(), 0);
}
