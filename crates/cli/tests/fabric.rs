//! `switchboard fabric` as an operator uses it: members over TLS on loopback, blocks from a folder, what is stored.
#![cfg(test)]
#![allow(clippy::unwrap_used, clippy::panic)] // tests

mod common;

use bytes::Bytes;
use common::{Program, bad, must};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::path::Path;
use switchboard_fabric_gossip::block::{Block, build};

const CHANNEL: &str = "mychannel";

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    assert!(bytes.len() < 128);
    [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
}

/// The same for up to 16 KiB.
fn long(number: u8, bytes: &[u8]) -> Vec<u8> {
    let length = bytes.len();
    match length {
        0..128 => field(number, bytes),
        _ => [&[number << 3 | 2, length as u8 | 128, (length >> 7) as u8], bytes].concat(),
    }
}

/// A transaction in an envelope: payload { header { channel header, signature header }, data }, signature.
fn transaction(of: &str, data: &[u8]) -> Bytes {
    let channel_header = [vec![8, 3], field(4, of.as_bytes())].concat();
    let header = [field(1, &channel_header), field(2, &field(1, b"creator"))].concat();
    let payload = [field(1, &header), field(2, data)].concat();
    [field(1, &payload), field(2, b"signature")].concat().into()
}

/// A chain of blocks 1 … count.
fn chain(count: u64) -> Vec<Bytes> {
    let mut previous = [7; 32].to_vec();
    let mut blocks = Vec::new();
    for number in 1..=count {
        let transactions = [transaction(CHANNEL, format!("block {number}").as_bytes())];
        let block = build(number, &previous, &transactions, &[]);
        previous = Block::decode(block.clone()).unwrap().header_hash().to_vec();
        blocks.push(block);
    }
    blocks
}

/// Files come by rename.
fn put(folder: &Path, number: u64, block: &[u8]) {
    let part = folder.join("part");
    std::fs::write(&part, block).unwrap();
    std::fs::rename(part, folder.join(format!("{number}.block"))).unwrap();
}

struct Org {
    dir: tempfile::TempDir,
}

impl Org {
    fn new(peers: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("org");
        must(&["keygen", "--wire", "fabric", "--out", text(&out), "--peers", &peers.to_string()]);
        Self { dir }
    }

    fn key(&self, n: usize) -> String {
        format!("fabric={}", text(&self.dir.path().join("org").join(format!("peer{n}"))))
    }

    fn peer(&self, n: usize, more: &[&str]) -> Member {
        let key = self.key(n);
        let mut args = vec!["fabric", "peer", "--json", "--stdin-stop", "--listen", "127.0.0.1:0"];
        args.extend(["--channel", CHANNEL, "--key-file", &key]);
        args.extend(more);
        Member::start(&args)
    }
}

struct Member {
    program: Program,
    endpoint: String,
    pki_id: String,
}

impl Member {
    fn start(args: &[&str]) -> Self {
        let mut program = Program::start(args, &[]);
        let ready = program.wait("ready");
        let of = |key: &str| ready["fabric"][key].as_str().unwrap().to_owned();
        assert_eq!(of("msp"), "Org1MSP");
        assert_eq!(ready["listening"][0]["address"].as_str().unwrap(), of("endpoint"));
        Self { program, endpoint: of("endpoint"), pki_id: of("pki_id") }
    }

    fn sees(&mut self, other: &Member) {
        loop {
            let alive = self.program.wait("member_alive");
            if alive["pki_id"] == other.pki_id.as_str() {
                assert_eq!(alive["endpoint"], other.endpoint.as_str());
                assert_eq!(alive["org"], "Org1MSP");
                return;
            }
        }
    }

    fn stores(&mut self, blocks: &[Bytes]) {
        for block in blocks {
            let told = self.program.wait("block");
            assert_eq!(told["channel"], CHANNEL);
            assert_eq!(told["number"], Block::decode(block.clone()).unwrap().number());
            assert_eq!(told["sha256"], hex::encode(Sha256::digest(block)));
        }
    }

    fn stop(mut self) {
        assert_eq!(self.program.stop(), 0);
    }
}

#[test]
fn members_meet_and_blocks_reach_them_all() {
    let (org, blocks) = (Org::new(4), chain(6));
    let folder = org.dir.path().join("blocks");
    std::fs::create_dir(&folder).unwrap();
    let data = org.dir.path().join("data");
    let hash = ["--verify-blocks", "hash"];
    let with = |more: &[&'static str]| [&hash[..], more].concat();
    let mut first = org.peer(0, &[&hash[..], &["--blocks-from", text(&folder)]].concat());
    let boot = first.endpoint.clone();
    let mut second = org.peer(1, &[&with(&[])[..], &["--bootstrap", &boot, "--data", text(&data)]].concat());
    // Whoever it is: the third knows only the second.
    let boot = second.endpoint.clone();
    let mut third = org.peer(2, &[&hash[..], &["--bootstrap", &boot]].concat());
    first.sees(&second);
    second.sees(&third);
    third.sees(&first);
    put(&folder, 1, &blocks[0]);
    put(&folder, 2, &blocks[1]);
    first.stores(&blocks[..2]);
    second.stores(&blocks[..2]);
    third.stores(&blocks[..2]);
    // One that comes late has them by pull.
    let mut late = org.peer(3, &[&hash[..], &["--bootstrap", &boot]].concat());
    late.stores(&blocks[..2]);
    put(&folder, 3, &blocks[2]);
    for member in [&mut first, &mut second, &mut third, &mut late] {
        member.stores(&blocks[2..3]);
    }
    // Whoever leaves says so, and is dead to the others.
    let gone = third.pki_id.clone();
    third.stop();
    loop {
        let info = late.program.wait("state_info");
        if info["pki_id"] == gone.as_str() && info["left"] == true {
            break;
        }
    }
    // What was stored is there after a restart, and goes on.
    second.stop();
    let walked = must(&["fabric", "ledger", "--json", text(&data)]);
    let numbers: Vec<_> =
        walked.json().into_iter().filter(|v| v["event"] == "block").map(|v| v["number"].clone()).collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert_eq!(walked.event("ledger")["whole"], true);
    let boot = first.endpoint.clone();
    let mut second = org.peer(1, &[&hash[..], &["--bootstrap", &boot, "--data", text(&data)]].concat());
    put(&folder, 4, &blocks[3]);
    second.stores(&blocks[3..4]);
    late.stores(&blocks[3..4]);
    for member in [first, second, late] {
        member.stop();
    }
}

/// A block that does not follow the one before is told with its reason and goes nowhere; the right one takes its place.
#[test]
fn a_wrong_block_of_the_source_can_be_replaced() {
    let (org, blocks) = (Org::new(1), chain(3));
    let folder = org.dir.path().join("blocks");
    std::fs::create_dir(&folder).unwrap();
    let mut peer = org.peer(0, &["--verify-blocks", "hash", "--blocks-from", text(&folder)]);
    put(&folder, 1, &blocks[0]);
    peer.stores(&blocks[..1]);
    put(&folder, 2, &build(2, &[1; 32], &[transaction(CHANNEL, b"elsewhere")], &[]));
    let told = peer.program.wait("block_source");
    let reason = told["reason"].as_str().unwrap();
    assert!(reason.contains("2.block: block 2 does not have the hash of the block before"), "{reason}");
    put(&folder, 2, b"no block");
    let told = peer.program.wait("block_source");
    assert!(told["reason"].as_str().unwrap().ends_with("then rename it into the folder"), "{told}");
    put(&folder, 2, &blocks[1]);
    put(&folder, 3, &blocks[2]);
    peer.stores(&blocks[1..]);
    peer.stop();
}

/// A member that left before us answers no dial: the farewell of those who stay does not wait for it.
#[test]
fn a_member_stops_in_time_after_others_left() {
    let org = Org::new(2);
    let mut stays = org.peer(0, &["--verify-blocks", "none"]);
    let mut leaves = org.peer(1, &["--verify-blocks", "none", "--bootstrap", &stays.endpoint]);
    leaves.sees(&stays);
    stays.sees(&leaves);
    loop {
        // Both have published what they have, so that leaving is a change.
        let info = stays.program.wait("state_info");
        if info["pki_id"] == leaves.pki_id.as_str() {
            break;
        }
    }
    leaves.stop();
    stays.program.wait("peer_dropped");
    assert_eq!(stays.program.stop(), 0);
    let stopped = stays.program.seen().iter().find(|value| value["event"] == "stopped").unwrap();
    assert_eq!(stopped["in_time"], true, "{stopped}");
}

#[test]
fn an_observer_sees_members_and_heights() {
    let (org, blocks) = (Org::new(2), chain(1));
    let folder = org.dir.path().join("blocks");
    std::fs::create_dir(&folder).unwrap();
    let mut peer = org.peer(0, &["--verify-blocks", "hash", "--blocks-from", text(&folder)]);
    let key = org.key(1);
    let mut args = vec!["fabric", "observe", "--json", "--stdin-stop", "--listen", "127.0.0.1:0"];
    args.extend(["--channel", CHANNEL, "--key-file", &key, "--bootstrap", &peer.endpoint]);
    let mut observer = Member::start(&args);
    observer.sees(&peer);
    put(&folder, 1, &blocks[0]);
    peer.stores(&blocks);
    loop {
        let info = observer.program.wait("state_info");
        if info["height"] == 2 {
            assert_eq!(info["pki_id"], peer.pki_id.as_str());
            break;
        }
    }
    observer.stop();
    peer.stop();
}

#[test]
fn an_observer_sees_who_leads_and_who_lags() {
    let (org, blocks) = (Org::new(2), chain(2));
    let folder = org.dir.path().join("blocks");
    std::fs::create_dir(&folder).unwrap();
    let grace =
        ["--election", "--election.startupGracePeriod", "1s", "--election.leaderElectionDuration", "1s"];
    let mut peer =
        org.peer(0, &[&["--verify-blocks", "hash", "--blocks-from", text(&folder)], &grace[..]].concat());
    let key = org.key(1);
    let mut args = vec!["fabric", "observe", "--json", "--stdin-stop", "--listen", "127.0.0.1:0"];
    args.extend(["--channel", CHANNEL, "--key-file", &key, "--bootstrap", &peer.endpoint]);
    let mut observer = Member::start(&args);
    put(&folder, 1, &blocks[0]);
    put(&folder, 2, &blocks[1]);
    peer.stores(&blocks);
    loop {
        let seen = observer.program.wait("channel");
        if seen["leader"] == peer.pki_id.as_str() && seen["height"] == 3 {
            assert_eq!(seen["channel"], CHANNEL);
            let of = |key: &str| seen["peers"][0][key].clone();
            assert_eq!(
                (of("pki_id"), of("endpoint")),
                (peer.pki_id.clone().into(), peer.endpoint.clone().into())
            );
            assert_eq!((of("org"), of("height"), of("lag")), ("Org1MSP".into(), 3.into(), 0.into()));
            break;
        }
    }
    assert!(!observer.program.seen().iter().any(|v| v["event"] == "leader" && v["us"] == true));
    observer.stop();
    peer.stop();
}

/// What `--private-from` and `--collection` do, between peers of ours: pushed with its acknowledgement, and put to its block.
#[test]
fn private_data_of_a_folder_reaches_its_collection() {
    let org = Org::new(2);
    let folders = ["blocks", "private", "data"].map(|name| {
        let folder = org.dir.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        folder
    });
    let [blocks, private, data] = &folders;
    let set = |collection: &str, content: &[u8]| {
        let one = field(2, &[field(1, collection.as_bytes()), field(2, content)].concat());
        field(2, &[field(1, b"marbles"), one].concat())
    };
    let file = org.dir.path().join("marbles.json");
    let config = r#"[{"name": "secret", "policy": "OR('Org1MSP.member')", "requiredPeerCount": 1, "maxPeerCount": 1}]"#;
    std::fs::write(&file, config).unwrap();
    let common = ["--verify-blocks", "hash", "--collection", text(&file)];
    let from = ["--private-from", text(private), "--blocks-from", text(blocks)];
    let mut first = org.peer(0, &[&common[..], &from].concat());
    // Nobody is there yet: said once, and tried again.
    std::fs::write(private.join("part"), set("secret", b"one")).unwrap();
    std::fs::rename(private.join("part"), private.join("tx1.private")).unwrap();
    let early = first.program.wait("private_pushed");
    assert_eq!((&early["ok"], &early["tx_id"]), (&false.into(), &"tx1".into()));
    assert!(early["reason"].as_str().unwrap().contains("must reach 1 peers"), "{early:#}");
    let boot = first.endpoint.clone();
    let mut second = org.peer(1, &[&common[..], &["--bootstrap", &boot, "--data", text(data)]].concat());
    // Each other reason for which it did not go is told, too.
    let pushed = loop {
        let pushed = first.program.wait("private_pushed");
        if pushed["ok"] == true {
            break pushed;
        }
    };
    assert_eq!((&pushed["ok"], &pushed["acks"]), (&true.into(), &serde_json::json!([1])), "{pushed:#}");
    assert!(private.join("tx1.pushed").is_file() && !private.join("tx1.private").exists());
    let here = second.program.wait("private_data");
    assert_eq!(
        (&here["source"], &here["namespace"], &here["collection"]),
        (&"pushed".into(), &"marbles".into(), &"secret".into())
    );
    // Its transaction comes in a block.
    let hashed = [field(1, b"secret"), field(2, &field(2, b"")), field(3, &Sha256::digest(b"one"))].concat();
    let results = field(2, &[field(1, b"marbles"), field(3, &hashed)].concat());
    let endorsed = field(1, &field(2, &field(1, &results)));
    let header = [vec![8, 3], field(4, CHANNEL.as_bytes()), field(5, b"tx1")].concat();
    let header = [field(1, &header), field(2, &field(1, b"creator"))].concat();
    let payload = [field(1, &header), long(2, &field(1, &field(2, &field(2, &endorsed))))].concat();
    let transaction = [long(1, &payload), field(2, b"signature")].concat();
    put(blocks, 1, &build(1, &[7; 32], &[transaction.into()], &[]));
    for member in [&mut first, &mut second] {
        let committed = member.program.wait("private_data");
        assert_eq!(
            (&committed["source"], &committed["block"]),
            (&"transient".into(), &1.into()),
            "{committed:#}"
        );
        assert_eq!(member.program.wait("block")["number"], 1);
    }
    // What is no private data is named.
    std::fs::write(private.join("tx2.private"), b"nonsense").unwrap();
    let wrong = first.program.wait("private_pushed");
    assert!(wrong["reason"].as_str().unwrap().contains("TxPvtReadWriteSet"), "{wrong:#}");
    first.stop();
    second.stop();
    let walked = must(&["fabric", "ledger", "--json", text(data)]);
    assert_eq!(walked.event("block")["private"], 1);
    assert_eq!(walked.event("ledger")["private_missing"], 0);
}

#[test]
fn one_of_those_with_blocks_leads() {
    let org = Org::new(2);
    let quick = [
        "--verify-blocks",
        "hash",
        "--election",
        "--election.startupGracePeriod",
        "2s",
        "--election.leaderElectionDuration",
        "1s",
    ];
    let mut first = org.peer(0, &quick);
    let boot = first.endpoint.clone();
    let mut second = org.peer(1, &[&quick[..], &["--bootstrap", &boot]].concat());
    // Two that start apart may both lead for a moment: in the end it is the one with the lower id.
    let lower = first.pki_id.clone().min(second.pki_id.clone());
    for member in [&mut first, &mut second] {
        loop {
            let leader = member.program.wait("leader");
            if leader["pki_id"] == lower.as_str() {
                assert_eq!(leader["us"], member.pki_id == lower);
                break;
            }
        }
    }
    first.stop();
    second.stop();
}

#[test]
fn what_is_missing_is_named() {
    let org = Org::new(1);
    let key = org.key(0);
    let base = ["fabric", "peer", "--listen", "127.0.0.1:0", "--key-file", &key];
    let with = |more: &[&'static str]| -> Vec<String> {
        base.iter().chain(more).map(|arg| (*arg).to_owned()).collect()
    };
    let refused = |more: &[&'static str], what: &str| {
        let args = with(more);
        bad(&args.iter().map(String::as_str).collect::<Vec<_>>(), what);
    };
    refused(&["--channel", "mychannel"], "--orderer");
    refused(&["--verify-blocks", "hash"], "--channel");
    refused(&["--channel", "mychannel", "--verify-blocks", "much"], "--verify-blocks");
    refused(&["--channel", "mychannel", "--verify-blocks", "hash", "--pullInterval", "4"], "--pullInterval");
    refused(&["--channel", "mychannel", "--verify-blocks", "hash", "--election", "--leader"], "--election");
    refused(
        &["--channel", "mychannel", "--verify-blocks", "hash", "--pullInterval", "0s"],
        "pullInterval must be more than zero: give the option of that name another value",
    );
    refused(
        &["--channel", "mychannel", "--verify-blocks", "hash", "--state.batchSize", "0"],
        "state.batchSize must be more than zero",
    );
    refused(&["--channel", "mychannel", "--trust", "Org2MSP=/nowhere"], "--trust");
    refused(
        &["--channel", "mychannel", "--verify-blocks", "hash", "--collection", "/nowhere.json"],
        "--collection",
    );
    refused(
        &["--channel", "mychannel", "--verify-blocks", "hash", "--collection", "other/cc=/nowhere"],
        "--collection",
    );
    refused(&["--channel", "mychannel", "--verify-blocks", "hash", "--bootstrap", "here"], "--bootstrap");
    bad(&["fabric", "ledger", "/nowhere"], "/nowhere");
    bad(&["fabric", "inspect", "/nowhere"], "/nowhere");
}

#[test]
fn a_block_is_shown_as_json() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("1.block");
    std::fs::write(&file, &chain(1)[0]).unwrap();
    let shown = must(&["fabric", "inspect", "--json", text(&file)]).event("inspected");
    assert_eq!(shown["kind"], "block");
    assert_eq!(shown["block"]["number"], 1);
}

/// The commands that a help names.
fn commands(help: &str) -> Vec<String> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = listed.take_while(|line| !line.is_empty());
    // What is further in is the rest of a description.
    let names = listed.filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')));
    let names = names.filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_help_has_an_example() {
    let mut waiting: Vec<Vec<String>> = vec![Vec::new()];
    let mut seen = 0;
    while let Some(path) = waiting.pop() {
        let mut args: Vec<&str> = path.iter().map(String::as_str).collect();
        args.push("--help");
        let help = must(&args).stdout;
        let below = commands(&help);
        assert!(path.is_empty() || help.contains("Example"), "no example in switchboard {}", path.join(" "));
        seen += 1;
        waiting.extend(below.into_iter().map(|name| [&path[..], &[name]].concat()));
    }
    assert!(seen > 10, "{seen} commands");
}

#[test]
fn keys_of_an_organisation_with_all_its_members() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("org");
    let args = ["keygen", "--json", "--wire", "fabric", "--out", text(&out), "--users", "1", "--admins", "2"];
    let more = ["--node-ous", "--host", "peer.example.org,192.0.2.7", "--days", "30"];
    let made: Value = must(&[&args[..], &more[..]].concat()).event("key");
    for (kind, count) in [("peers", 1), ("users", 1), ("admins", 2)] {
        let folders = made[kind].as_array().unwrap();
        assert_eq!(folders.len(), count, "{made:#}");
        assert!(
            folders
                .iter()
                .all(|folder| Path::new(folder.as_str().unwrap()).join("msp/config.yaml").is_file())
        );
    }
    let peer = made["peers"][0].as_str().unwrap().to_owned();
    let forms = must(&["id", "--json", "--wire", "fabric", "--key", &peer]).event("id");
    let now = std::fs::metadata(&out).unwrap().modified().unwrap();
    let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let days = (forms["expires_unix"].as_u64().unwrap() - now) / 86_400;
    assert!((28..=31).contains(&days), "{days} days");
}
