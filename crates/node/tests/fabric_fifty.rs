//! Fifty Fabric members in one process over TLS on loopback: how long until all know all, and until a block is everywhere.
//!
//! By hand, as it takes a minute and says something only with optimisation:
//! `cargo test --release -p switchboard-node --test fabric_fifty -- --ignored --nocapture`
#![cfg(test)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)] // tests

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use switchboard::Env;
use switchboard_fabric_gossip::shell::ShellEvent;
use switchboard_fabric_gossip::{Channel, Event, Gossip};
use switchboard_node::settings::{Source, Values};
use switchboard_node::wires::fabric::FabricPeer;
use tokio::sync::broadcast::Receiver;
use tokio::time::{Instant, timeout};

const CHANNEL: &str = "mychannel";
/// Bounds the whole test.
const PATIENCE: Duration = Duration::from_secs(180);
/// Bounds each of its stages.
const STAGE: Duration = Duration::from_secs(60);
const BLOCKS: u64 = 5;

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    assert!(bytes.len() < 128);
    [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
}

fn block(number: u64, previous: &[u8]) -> bytes::Bytes {
    let header = [vec![8, 3], field(4, CHANNEL.as_bytes())].concat();
    let header = [field(1, &header), field(2, &field(1, b"creator"))].concat();
    let payload = [field(1, &header), field(2, &number.to_be_bytes())].concat();
    let envelope = [field(1, &payload), field(2, b"signature")].concat();
    switchboard_fabric_gossip::block::build(number, previous, &[envelope.into()], &[])
}

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

/// Runs a stage as a task of its own; if it takes too long, prints what each node knows and waits for.
async fn stage<T: Send + 'static>(
    name: &str,
    peers: &[Arc<FabricPeer>],
    work: impl Future<Output = T> + Send + 'static,
) -> T {
    let task = tokio::spawn(work);
    let Ok(done) = timeout(STAGE, task).await else {
        let channel = Channel::parse(CHANNEL.as_bytes()).unwrap();
        for (index, peer) in peers.iter().enumerate() {
            let look = |gossip: &Gossip| (gossip.peers().count(), gossip.peers_of_channel(&channel).len());
            let (known, informed) = peer.shell().look(look).unwrap();
            eprintln!("{index}: knows {known}, of the channel {informed}, {:?}", peer.shell().load());
        }
        panic!("{name} took longer than {STAGE:?}");
    };
    done.unwrap()
}

/// Waits until each node counts as many as there are others.
async fn all_count(peers: Vec<Arc<FabricPeer>>, count: impl Fn(&Gossip) -> usize) {
    for peer in &peers {
        while peer.shell().look(&count).unwrap() < peers.len() - 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// `most_lost`: how often a member may be thought dead that is alive; `None` where that is only told.
async fn all_meet(nodes: usize, most_lost: Option<usize>) {
    let dir = tempfile::tempdir().unwrap();
    let env = Env::system().unwrap();
    let made =
        switchboard_fabric::keygen::keygen(&dir.path().join("org"), "Org1MSP", nodes, env.wall()).unwrap();
    let folder = dir.path().join("blocks");
    std::fs::create_dir(&folder).unwrap();
    let began = Instant::now();
    let mut peers: Vec<Arc<FabricPeer>> = Vec::new();
    for key in &made {
        let mut values = Values::default();
        let mut set = |name: &str, text: String| values.set(name, vec![text], Source::Flag);
        set("listen", "127.0.0.1:0".to_owned());
        set("key-file", format!("fabric={}", key.display()));
        set("channel", CHANNEL.to_owned());
        set("verify-blocks", "hash".to_owned());
        match peers.first() {
            None => set("blocks-from", folder.display().to_string()),
            Some(first) => {
                set("bootstrap", first.ready()["fabric"]["endpoint"].as_str().unwrap().to_owned());
            }
        }
        peers.push(Arc::new(FabricPeer::start(&values, true, env.clone()).await.unwrap()));
    }
    let lost = Arc::new(AtomicUsize::new(0));
    for peer in &peers {
        let (mut events, lost) = (peer.events(), Arc::clone(&lost));
        tokio::spawn(async move {
            while let Ok(event) = events.recv().await {
                if matches!(event, ShellEvent::Gossip(Event::MemberDead(_))) {
                    lost.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
    let started = began.elapsed();
    stage("membership", &peers, all_count(peers.clone(), |gossip| gossip.peers().count())).await;
    let met = began.elapsed();
    eprintln!("{nodes} nodes: started in {started:?}, full membership after {met:?} ({})", cost(nodes));
    eprintln!("members that were thought dead meanwhile: {}", lost.load(Ordering::Relaxed));
    // Everybody's StateInfo is everywhere.
    let channel = Channel::parse(CHANNEL.as_bytes()).unwrap();
    let informed = move |gossip: &Gossip| gossip.peers_of_channel(&channel).len();
    stage("StateInfo", &peers, all_count(peers.clone(), informed)).await;
    let informed = began.elapsed();
    eprintln!("full StateInfo after {informed:?} ({})", cost(nodes));
    let mut previous = vec![7; 32];
    let mut spreads = Vec::new();
    for number in 1..=BLOCKS {
        let mut waits = tokio::task::JoinSet::new();
        for peer in &peers {
            let mut events = peer.shell().events();
            waits.spawn(async move { stored(&mut events, number).await });
        }
        let bytes = block(number, &previous);
        previous =
            switchboard_fabric_gossip::block::Block::decode(bytes.clone()).unwrap().header_hash().to_vec();
        std::fs::write(dir.path().join("part"), &bytes).unwrap();
        std::fs::rename(dir.path().join("part"), folder.join(format!("{number}.block"))).unwrap();
        let mut times = stage("a block", &peers, waits.join_all()).await;
        times.sort();
        // From the first that stored it, which is the one that read it, to the last.
        spreads.push(*times.last().unwrap() - times[0]);
    }
    spreads.sort();
    let median = spreads[spreads.len() / 2];
    eprintln!("members that were thought dead in all: {}", lost.load(Ordering::Relaxed));
    eprintln!("block at all nodes: median {median:?}, worst {:?} ({})", spreads.last().unwrap(), cost(nodes));
    let lost = lost.load(Ordering::Relaxed);
    assert!(most_lost.is_none_or(|most| lost <= most), "{lost} times a member was thought dead");
    let mut stops = tokio::task::JoinSet::new();
    for peer in peers {
        stops.spawn(async move { peer.stop().await });
    }
    stops.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_meet_and_share_blocks() {
    timeout(PATIENCE, all_meet(8, Some(0))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a minute of both cores: to measure by hand"]
async fn fifty_meet_and_share_blocks() {
    timeout(PATIENCE, all_meet(50, None)).await.unwrap();
}
