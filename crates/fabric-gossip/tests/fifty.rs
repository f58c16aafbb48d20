//! Fifty members in one process over TLS on loopback: how long until all know all, and until a block is everywhere.
//!
//! By hand, as it takes a minute and says something only with optimisation:
//! `cargo test --release -p switchboard-fabric-gossip --test fifty -- --ignored --nocapture`
//! With `FABRICPEER` (the path of `interop/bin/fabricpeer`) Fabric's own gossip does the same in the same run.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)] // tests

mod common;

use common::{Keys, Member, ORG, Plan, block, channel};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use switchboard::Env;
use switchboard_fabric_gossip::Gossip;
use switchboard_fabric_gossip::block::Block;
use switchboard_fabric_gossip::shell::{Shell, ShellEvent};
use tokio::sync::broadcast::Receiver;
use tokio::time::{Instant, timeout};

/// Bounds each of its stages.
const STAGE: Duration = Duration::from_secs(60);
const BLOCKS: u64 = 5;

async fn stored(events: &mut Receiver<ShellEvent>, wanted: u64) -> Instant {
    loop {
        if let ShellEvent::Block { number, .. } = events.recv().await.unwrap()
            && number == wanted
        {
            return Instant::now();
        }
    }
}

/// Processor time and memory of this process so far, for each node.
fn cost(nodes: usize) -> String {
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    let stat = read("/proc/self/stat");
    // After the name, which is in brackets: user and system time are fields 14 and 15, in hundredths of a second.
    let fields: Vec<u64> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .map(|f| f.parse().unwrap_or(0))
        .collect();
    let millis = 10 * (fields.get(11).unwrap_or(&0) + fields.get(12).unwrap_or(&0)) / nodes as u64;
    let resident = read("/proc/self/status");
    let resident = resident.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let kib = resident.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) / nodes as u64;
    format!("{millis} ms of processor and {kib} KiB a node")
}

/// What went wrong at all nodes so far, by kind.
fn trouble(members: &[Member]) -> BTreeMap<String, u64> {
    let mut sum: BTreeMap<String, u64> = BTreeMap::new();
    let mut add = |name: &str, count: u64| *sum.entry(name.to_owned()).or_default() += count;
    for member in members {
        let deaths = member.shell.look(|gossip| gossip.deaths()).unwrap();
        add("thought dead: silent", deaths.silent);
        add("thought dead: unreachable", deaths.unreachable);
        let unsent = member.shell.load().unsent;
        add("unsent: busy", unsent.busy);
        add("unsent: absent", unsent.absent);
        add("unsent: stuck", unsent.stuck);
        add("unsent: unasked", unsent.unasked);
        add("overflow", member.shell.overflow());
        let census = member.switch.census();
        census.began.values().for_each(|count| add("sessions began", *count));
        for ((_, _, reason, by), count) in &census.ended {
            add(&format!("session ended: {reason} by {by}"), *count);
        }
        for ((kind, _, reason), count) in &census.causes {
            add(&format!("{kind}: {reason}"), *count);
        }
    }
    sum.retain(|_, count| *count > 0);
    sum
}

/// Runs a stage as a task of its own; if it takes too long, prints what each node knows and waits for.
async fn stage<T: Send + 'static>(
    name: &str,
    members: &[Member],
    work: impl Future<Output = T> + Send + 'static,
) -> T {
    let task = tokio::spawn(work);
    let Ok(done) = timeout(STAGE, task).await else {
        for (index, member) in members.iter().enumerate() {
            let look = |gossip: &Gossip| (gossip.peers().count(), gossip.peers_of_channel(&channel()).len());
            let (known, informed) = member.shell.look(look).unwrap();
            eprintln!("{index}: knows {known}, of the channel {informed}, {:?}", member.shell.load());
        }
        panic!("{name} took longer than {STAGE:?}: {:?}", trouble(members));
    };
    done.unwrap()
}

/// Waits until each node counts as many as there are others.
async fn all_count(shells: Vec<Arc<Shell>>, count: impl Fn(&Gossip) -> usize) {
    for shell in &shells {
        while shell.look(&count).unwrap() < shells.len() - 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// `most_lost`: how often a member may be thought dead that is alive; `None` where that is only told.
async fn all_meet(nodes: usize, most_lost: Option<u64>) {
    let env = Env::system().unwrap();
    let keys = Keys::new(ORG, nodes, &env);
    let folder = keys.dir.path().join("blocks");
    std::fs::create_dir(&folder).unwrap();
    let began = Instant::now();
    let mut members: Vec<Member> = Vec::new();
    for index in 0..nodes {
        let plan = Plan::new(members.first()).with(|plan| {
            plan.source = (index == 0).then(|| folder.clone());
        });
        members.push(plan.start(&keys, index, &env).await);
    }
    let shells: Vec<_> = members.iter().map(|member| Arc::clone(&member.shell)).collect();
    let started = began.elapsed();
    stage("membership", &members, all_count(shells.clone(), |gossip| gossip.peers().count())).await;
    let met = began.elapsed();
    eprintln!("{nodes} nodes: started in {started:?}, full membership after {met:?} ({})", cost(nodes));
    eprintln!("{:?}", trouble(&members));
    // Everybody's StateInfo is everywhere.
    let informed = move |gossip: &Gossip| gossip.peers_of_channel(&channel()).len();
    stage("StateInfo", &members, all_count(shells, informed)).await;
    let informed = began.elapsed();
    eprintln!("full StateInfo after {informed:?} ({})", cost(nodes));
    let mut previous = vec![7; 32];
    let mut spreads = Vec::new();
    for number in 1..=BLOCKS {
        let mut waits = tokio::task::JoinSet::new();
        for member in &members {
            let mut events = member.shell.events();
            waits.spawn(async move { stored(&mut events, number).await });
        }
        let bytes = block(number, &previous, 1_000);
        previous = Block::decode(bytes.clone()).unwrap().header_hash().to_vec();
        std::fs::write(keys.dir.path().join("part"), &bytes).unwrap();
        std::fs::rename(keys.dir.path().join("part"), folder.join(format!("{number}.block"))).unwrap();
        let mut times = stage("a block", &members, waits.join_all()).await;
        times.sort();
        // From the first that stored it, which is the one that read it, to the last.
        spreads.push(*times.last().unwrap() - times[0]);
    }
    spreads.sort();
    let median = spreads[spreads.len() / 2];
    eprintln!("{:?}", trouble(&members));
    eprintln!("block at all nodes: median {median:?}, worst {:?} ({})", spreads.last().unwrap(), cost(nodes));
    let lost = |member: &Member| member.shell.look(|gossip| gossip.deaths()).unwrap();
    let lost: u64 = members.iter().map(lost).map(|deaths| deaths.silent + deaths.unreachable).sum();
    assert!(most_lost.is_none_or(|most| lost <= most), "{lost} times a member was thought dead");
    let mut stops = tokio::task::JoinSet::new();
    for member in members {
        stops.spawn(member.stop());
    }
    stops.join_all().await;
}

/// As many of Fabric's own, in a process of theirs.
fn theirs(program: &str, nodes: usize) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("org").display().to_string();
    let args = ["crowd", "--peers", &nodes.to_string(), "--out", &out];
    let run = std::process::Command::new(program).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    for line in said.lines().filter(|line| line.contains("cpu_ms_a_node")) {
        eprintln!("Go: {line}");
    }
    assert!(run.status.success(), "{}", said.lines().last().unwrap_or_default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_meet_and_share_blocks() {
    all_meet(8, Some(0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a minute of both cores: to measure by hand"]
async fn fifty_meet_and_share_blocks() {
    all_meet(50, None).await;
    if let Ok(program) = std::env::var("FABRICPEER") {
        theirs(&program, 50);
    }
}
