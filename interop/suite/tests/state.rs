//! fabric's state transfer, private data and leader election among our peers and peers on Hyperledger Fabric v1.4.12's own code.
#![cfg(test)]
#![allow(clippy::disallowed_methods)] // real programs, in real time

use bytes::Bytes;
use serde_json::{Value, json};
use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use switchboard_interop::fabric::{
    CHAINCODE, CHANNEL, Member, Net, Private, chain, chain_of, hex_of, private_sets, put, put_blocks,
    transaction,
};
use switchboard_interop::text;

/// Blocks of a catch-up.
const BLOCKS: u64 = 500;

/// Three members of one kind hold 500 blocks; one of the other kind comes late.
fn late(late_is_go: bool) {
    let (net, blocks) = (Net::new(1, 4), chain(BLOCKS, 1_000));
    let folder = net.folder("blocks");
    put_blocks(&folder, &blocks);
    let from = folder.display().to_string();
    let data = net.folder("data").display().to_string();
    let ours = ["--state.enabled"];
    let start = |n: usize, boot: &str, go: bool, more: &[&str]| match go {
        true => net.go((1, n), boot, &[&["--state"], more].concat()),
        false => net.ours((1, n), boot, &[&ours[..], more].concat()),
    };
    let mut members = vec![start(0, "", !late_is_go, &["--blocks-from", &from])];
    let boot = members[0].endpoint.clone();
    for n in [1, 2] {
        members.push(start(n, &boot, !late_is_go, &["--blocks-from", &from]));
    }
    for member in &mut members {
        member.has(BLOCKS, &blocks[BLOCKS as usize - 1]);
    }
    let begun = Instant::now();
    let more: &[&str] = if late_is_go { &[] } else { &["--data", &data] };
    let mut late = start(3, &boot, late_is_go, more);
    let mut first = None;
    for (block, number) in blocks.iter().zip(1..) {
        // In order, each once.
        let told = late.program.wait("block");
        assert_eq!((&told["number"], text(&told, "sha256")), (&json!(number), &hex_of(block)[..]));
        first.get_or_insert_with(Instant::now);
    }
    let took = first.map(|first| first.elapsed()).unwrap_or_default();
    println!(
        "{BLOCKS} blocks caught up by {} from {}: {:?} from the start, {took:?} from the first block to the last",
        if late_is_go { "Go" } else { "ours" },
        if late_is_go { "ours" } else { "Go" },
        begun.elapsed()
    );
    late.stop();
    members.into_iter().for_each(Member::stop);
}

#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn a_late_rust_node_catches_up_from_go_nodes() {
    late(false);
}

#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn a_late_go_node_catches_up_from_ours() {
    late(true);
}

fn collection(name: &str, orgs: &[usize], required: usize, most: usize) -> Value {
    let members: Vec<_> = orgs.iter().map(|org| format!("'Org{org}MSP.member'")).collect();
    json!({"name": name, "policy": format!("OR({})", members.join(",")), "requiredPeerCount": required,
        "maxPeerCount": most, "blockToLive": 0, "memberOnlyRead": true})
}

/// Options of a member for private data: its collections, and short waits.
fn private_options(go: bool, file: &str) -> Vec<String> {
    let collections = format!("{CHANNEL}/{CHAINCODE}={file}");
    let options: &[&str] = match go {
        true => &["--state", "--state-interval", "10m", "--pull-retry", "2s", "--reconcile", "2s"],
        false => &["--pvtData.pullRetryThreshold", "2s", "--pvtData.reconcileSleepInterval", "2s"],
    };
    let mut args: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
    args.extend(["--external", "same", "--collection", &collections].map(str::to_owned));
    args
}

struct Four {
    net: Net,
    folder: PathBuf,
}

impl Four {
    fn start(&self, place: (usize, usize), go: bool, boot: &str, file: &str, more: &[&str]) -> Member {
        let from = self.folder.display().to_string();
        let options = private_options(go, file);
        let mut args: Vec<&str> = options.iter().map(String::as_str).collect();
        args.extend(["--blocks-from", &from]);
        args.extend(more);
        if go { self.net.go(place, boot, &args) } else { self.net.ours(place, boot, &args) }
    }
}

/// Waits until a member tells that a private set is here.
fn told(member: &mut Member, tx_id: &str, source: &str) {
    let what = format!("private_data {tx_id} {source}");
    let told = member.program.wait_where(&what, |v| {
        v["event"] == "private_data"
            && v["source"] == source
            && (v["tx_id"] == tx_id || source == "reconciled")
    });
    assert_eq!((&told["channel"], &told["namespace"]), (&json!(CHANNEL), &json!(CHAINCODE)));
}

fn missing(member: &mut Member, block: u64) {
    let what = format!("private_missing {block}");
    let _ = member.program.wait_where(&what, |v| v["event"] == "private_missing" && v["block"] == block);
}

/// Two members of Org1 may have the data, one of each kind, and one of them pushes it; two of Org2 may not, and pretend they may.
fn private_data(pusher_is_go: bool) {
    let four = Four { net: Net::new(2, 3), folder: PathBuf::new() };
    let four = Four { folder: four.net.folder("blocks"), ..four };
    let net = &four.net;
    let sets: [Private<'_>; 3] =
        [("pushed", b"first secret"), ("kept", b"second secret"), ("kept", b"third secret")];
    let blocks = chain_of((0..3).map(|at| vec![transaction(&format!("tx{}", at + 1), &sets[at..=at], 10)]));
    let file = json!([collection("pushed", &[1], 1, 2), collection("kept", &[1], 0, 0)]);
    let file = net.file("collections.json", &file.to_string());
    // It asks all four others to acknowledge, so that ours is among them whoever is chosen first.
    let lie = json!([collection("pushed", &[1, 2], 4, 4), collection("kept", &[1, 2], 0, 0)]);
    let lie = net.file("lie.json", &lie.to_string());
    let (good, bad) = (net.folder("good"), net.folder("bad"));
    let (from, bad_from) = (good.display().to_string(), bad.display().to_string());
    let mut liar = four.start((2, 0), false, "", &lie, &[]);
    let mut go_liar = four.start((2, 1), true, &liar.endpoint, &lie, &["--private-from", &bad_from]);
    let anchor = format!("Org2MSP={}", liar.endpoint);
    let pushes = ["--private-from", &from];
    let pushes = |it: bool| if it { &pushes[..] } else { &[] };
    let more = [&["--anchor", &anchor], pushes(!pusher_is_go)].concat();
    let mut ours = four.start((1, 0), false, "", &file, &more);
    let mut go = four.start((1, 1), true, &ours.endpoint, &file, pushes(pusher_is_go));
    let ids = [&ours, &go, &liar, &go_liar].map(|member| member.pki_id.clone());
    for member in [&mut ours, &mut go, &mut liar, &mut go_liar] {
        member.knows(&ids);
    }

    // Pushed, with the acknowledgement that it must have.
    put(&good, "tx1.private", &private_sets(&sets[..1]));
    {
        let (pusher, other) = if pusher_is_go { (&mut go, &mut ours) } else { (&mut ours, &mut go) };
        told(other, "tx1", "pushed");
        let pushed = pusher
            .program
            .wait_where("private_pushed", |v| v["event"] == "private_pushed" && v["ok"] == true);
        assert_eq!(pushed["tx_id"], "tx1");
        if !pusher_is_go {
            assert_eq!(pushed["acks"], json!([1]), "{pushed:#}");
        }
        // Kept: a collection that is pushed to nobody is there for whoever asks.
        put(&good, "tx2.private", &private_sets(&sets[1..2]));
        pusher
            .program
            .wait_where("private_pushed", |v| v["event"] == "private_pushed" && v["tx_id"] == "tx2");
        put(&four.folder, "1.block", &blocks[0]);
        told(other, "tx1", "transient");
        told(pusher, "tx1", "transient");
        // Pulled at commit.
        put(&four.folder, "2.block", &blocks[1]);
        told(pusher, "tx2", "transient");
        told(other, "tx2", "pulled");
    }
    // Missed at commit, as nobody has it; reconciled when one comes who has.
    put(&four.folder, "3.block", &blocks[2]);
    missing(&mut ours, 3);
    missing(&mut go, 3);
    let held = net.folder("held");
    put(&held, "tx3.private", &private_sets(&sets[2..]));
    let from = held.display().to_string();
    let options = private_options(pusher_is_go, &file);
    let more: Vec<&str> = options.iter().map(String::as_str).chain(["--private-from", &from]).collect();
    let mut holder = match pusher_is_go {
        true => net.go((1, 2), &ours.endpoint, &more),
        false => net.ours((1, 2), &ours.endpoint, &more),
    };
    told(&mut holder, "tx3", "transient");
    told(&mut ours, "", "reconciled");
    told(&mut go, "", "reconciled");
    // Refused to who may not have it, whatever it says of itself: at the same blocks, asked for and not given.
    for liar in [&mut liar, &mut go_liar] {
        // Several blocks may be committed together: in any order.
        let told = |v: &Value| v["event"] == "block" || v["event"] == "private_missing";
        let mut left: BTreeSet<_> = (1..=3).flat_map(|n| [("block", n), ("private_missing", n)]).collect();
        while !left.is_empty() {
            let event = liar.program.wait_where("block or private_missing", told);
            left.retain(|(name, n)| event["event"] != *name || event["number"] != *n && event["block"] != *n);
        }
        assert!(!liar.program.seen.iter().any(|v| v["event"] == "private_data"), "{:#?}", liar.program.seen);
    }
    // What such a one pushes is refused with a text.
    put(&bad, "evil.private", &private_sets(&[("pushed", b"forged")]));
    let refused = go_liar.program.wait("private_pushed");
    assert_eq!((&refused["ok"], &refused["tx_id"]), (&json!(false), &json!("evil")));
    let why = ours
        .program
        .wait_where("refused", |v| v["event"] == "refused" && text(v, "reason").contains("no member"));
    assert_eq!(text(&why, "pki_id"), go_liar.pki_id);
    for member in [ours, go, holder, liar, go_liar] {
        member.stop();
    }
}

#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn private_data_that_ours_push() {
    private_data(false);
}

#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn private_data_that_go_pushes() {
    private_data(true);
}

/// Who leads, once exactly one says so and all of ours know it; `None` when that takes too long.
fn leader(members: &mut [Member]) -> Option<usize> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        for member in members.iter_mut() {
            while member.program.try_wait(Duration::from_millis(200), |v| v["event"] == "leader").is_some() {}
        }
        let last =
            |member: &Member| member.program.seen.iter().rev().find(|v| v["event"] == "leader").cloned();
        let said: Vec<_> = members.iter().map(last).collect();
        let leads = |said: &Option<Value>| said.as_ref().is_some_and(|said| said["us"] == true);
        let leaders: Vec<_> = (0..members.len()).filter(|at| leads(&said[*at])).collect();
        if let [only] = leaders[..] {
            let id = json!(members[only].pki_id);
            let agree = |(member, said): (&Member, &Option<Value>)| {
                member.go || said.as_ref().is_some_and(|said| said["pki_id"] == id)
            };
            if members.iter().zip(&said).all(agree) {
                return Some(only);
            }
        }
    }
    None
}

/// Three of ours and three of theirs agree on one leader; it alone reads blocks; killed, it is replaced, on either side.
#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn a_killed_leader_is_replaced_on_either_side() {
    let (net, blocks) = (Net::new(1, 6), chain(6, 100));
    let folders: Vec<_> = (0..6).map(|n| net.folder(&format!("blocks{n}"))).collect();
    let from: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
    let ours = |n: usize, boot: &str| {
        let grace = ["--election.startupGracePeriod", "5s"];
        net.ours((1, n), boot, &[&["--election", "--blocks-from", &from[n]], &grace[..]].concat())
    };
    let theirs = |n: usize, boot: &str| {
        net.go((1, n), boot, &["--election", "--election-grace", "5s", "--blocks-from", &from[n]])
    };
    let first = ours(0, "");
    let boot = first.endpoint.clone();
    let mut members =
        vec![first, theirs(1, &boot), ours(2, &boot), theirs(3, &boot), ours(4, &boot), theirs(5, &boot)];
    let mut own: Vec<_> = folders.iter().collect();
    let mut killed = Vec::new();
    let mut left: VecDeque<(u64, &Bytes)> = (1..).zip(&blocks).collect();
    loop {
        let at = leader(&mut members).unwrap_or_else(|| panic!("no leader of {} members", members.len()));
        // A block that only others could read is read by nobody.
        let Some((number, bytes)) = left.pop_front() else { break };
        let name = format!("{number}.block");
        own.iter().enumerate().filter(|(n, _)| *n != at).for_each(|(_, folder)| put(folder, &name, bytes));
        let other = (at + 1) % members.len();
        let read = members[other].program.try_wait(Duration::from_secs(2), |v| v["event"] == "block");
        assert_eq!(read, None, "a follower reads blocks");
        put(own[at], &name, bytes);
        for member in &mut members {
            member.has(number, bytes);
        }
        let (one, _) = (members.remove(at), own.remove(at));
        println!("leader {} of ours={} is killed", one.pki_id, !one.go);
        killed.push(one.go);
        one.program.kill();
        let both = killed.contains(&true) && killed.contains(&false);
        if both || members.len() == 1 {
            break;
        }
    }
    assert!(killed.contains(&true) && killed.contains(&false), "leaders killed: go {killed:?}");
    let last = leader(&mut members).unwrap_or_else(|| panic!("no leader of {} members", members.len()));
    println!("the last leader is ours={}", !members[last].go);
    members.into_iter().for_each(Member::stop);
}
