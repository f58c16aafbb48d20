//! How fast a late member gets the blocks that two others hold, over TLS on loopback, onto its disk.
//!
//! By hand: `cargo test --release -p switchboard-fabric-gossip --test catch_up -- --ignored --nocapture`. Beside Fabric's own code,
//! in processes of their own: `benches/run.sh --only catch-up`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)] // tests

mod common;

use common::{CHANNEL, Keys, ORG, PATIENCE, Plan, chain, fill};
use std::sync::Arc;
use std::time::Duration;
use switchboard::Env;
use switchboard_fabric_gossip::ledger::{BlockStore, DiskLedger, Options};
use switchboard_fabric_gossip::shell::ShellEvent;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout};

/// Bytes of a block's transaction, as in the benches.
const BYTES: usize = 2_000;

async fn catches_up(count: u64) {
    let env = Env::system().unwrap();
    let keys = Keys::new(ORG, 3, &env);
    let blocks = chain(count, BYTES);
    let disk = |n: usize| {
        let folder = keys.dir.path().join(format!("ledger{n}"));
        Arc::new(DiskLedger::open(&folder, CHANNEL, Options::default()).unwrap())
    };
    let mut members = Vec::new();
    for n in 0..2 {
        let store = disk(n);
        fill(&*store, &blocks);
        let plan = Plan::new(members.first()).with(|plan| {
            plan.config.state.enabled = true;
            plan.store = Some(store as Arc<dyn BlockStore>);
        });
        members.push(plan.start(&keys, n, &env).await);
    }
    for member in &members {
        common::until("the two meet", || member.shell.look(|gossip| gossip.peers().count()) == Some(1)).await;
    }
    let (begun, store) = (Instant::now(), disk(2));
    let plan = Plan::new(members.first()).with(|plan| {
        plan.config.state.enabled = true;
        plan.store = Some(Arc::clone(&store) as Arc<dyn BlockStore>);
    });
    let mut late = plan.start(&keys, 2, &env).await;
    let mut first = None;
    let all = async {
        loop {
            match late.events.recv().await {
                Ok(ShellEvent::Block { number, .. }) => {
                    first.get_or_insert_with(Instant::now);
                    if number == count {
                        return;
                    }
                }
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => panic!("the late member stopped"),
            }
        }
    };
    timeout(PATIENCE, all).await.unwrap();
    let (took, whole) = (first.unwrap().elapsed(), begun.elapsed());
    assert_eq!(store.height(), count + 1);
    let same = |at: u64| store.block(at).unwrap().as_ref() == Some(blocks[at as usize - 1].raw());
    assert!((1..=count).all(same), "the blocks that were sent");
    let figures = late.job().figures();
    let commits = figures.durations.commit_block;
    eprintln!(
        "{count} blocks: {took:?} from the first to the last ({:.0} a second), {whole:?} from the start; {} commits in {:?}; {:?}",
        (count - 1) as f64 / took.max(Duration::from_micros(1)).as_secs_f64(),
        commits.count(),
        commits.sum,
        figures.state
    );
    late.stop().await;
    for member in members {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_member_gets_every_block() {
    catches_up(300).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "to measure by hand"]
async fn a_late_member_gets_many_blocks() {
    catches_up(5_000).await;
}
