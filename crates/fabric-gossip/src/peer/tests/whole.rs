//! Membership, election, dissemination and state transfer together: the blocks of an orderer that only leaders read.

use crate::block::Block;
use crate::block::tests::fixtures::chain;
use crate::sim::{World, channel, to_first};
use crate::{Config, state};
use std::collections::BTreeSet;
use std::time::Duration;
use switchboard_fabric::message::Payload;

fn leaders(world: &World) -> Vec<usize> {
    let leads = |n: &usize| world.nodes[*n].gossip.leader(&channel()) == Some(world.id(*n));
    (0..world.nodes.len()).filter(|n| world.nodes[*n].up).filter(leads).collect()
}

/// Whether all have one leader, and know it.
fn agree(world: &World) -> bool {
    let known: BTreeSet<_> = world.nodes.iter().map(|node| node.gossip.leader(&channel())).collect();
    leaders(world).len() == 1 && known.len() == 1
}

/// For so many seconds the orderer cuts a block a second; it is reached from one side of the network only.
fn order(world: &mut World, blocks: &[Block], ordered: &mut usize, seconds: usize, side: u8) {
    for _ in 0..seconds {
        *ordered += 1;
        for leader in leaders(world) {
            if world.nodes[leader].side != side {
                continue;
            }
            // A new leader goes on where its own ledger ends.
            let height = world.nodes[leader].kept.as_ref().map_or(1, |kept| kept.state.height());
            for block in &blocks[height as usize - 1..*ordered] {
                world.keep(leader, state::Input::Offered(block.clone()));
                let data = block.raw().clone();
                let payload = Payload { seq_num: block.number(), data, private_data: Vec::new() };
                world.with(leader, |gossip, now, out| gossip.gossip_block(&channel(), payload, now, out));
            }
        }
        world.run(1.0);
    }
}

/// Peers through a partition: one leader, then one a side, and only one side has new blocks; healed, one leader and equal heights.
fn through_a_partition(peers: usize) {
    #[allow(clippy::disallowed_methods)] // real time is what is measured
    let real = std::time::Instant::now();
    let config = Config { use_leader_election: true, org_leader: false, ..to_first() };
    let mut world = World::new(300);
    world.keep_events = false;
    for n in 0..peers {
        world.add("Org1", &format!("peer{n}"), true, config.clone());
    }
    world.join_all(&["Org1"]);
    (0..peers).for_each(|node| world.give_ledger(node));
    let met = world.run_while(60.0, |w| !w.is_full()).expect("full membership");
    let elected = world.run_while(90.0, |w| !agree(w)).expect("one leader, known to all");
    let (blocks, mut ordered) = (chain(1, 140), 0);
    order(&mut world, &blocks, &mut ordered, 20, 0);
    world.run_while(10.0, |w| w.heights() != BTreeSet::from([21])).expect("blocks at all");
    let before = world.total_sent();

    // The leader's side has no orderer: 100 blocks come to the other side only, more than gossip keeps or buffers.
    let leader = leaders(&world)[0];
    let cut = |n: usize| (n % 2 == leader % 2) != (n == 0);
    (0..peers).for_each(|n| world.nodes[n].side = u8::from(cut(n) || n == leader));
    world.run(60.0);
    let of_both: BTreeSet<_> = leaders(&world).iter().map(|n| world.nodes[*n].side).collect();
    assert_eq!((leaders(&world).len(), of_both.len()), (2, 2), "one a side");
    order(&mut world, &blocks, &mut ordered, 100, 0);
    world.run(10.0);
    assert_eq!(world.heights(), BTreeSet::from([21, 121]), "only one side has the new blocks");

    world.nodes.iter_mut().for_each(|node| node.side = 0);
    let sent = world.total_sent();
    let whole = world.run_while(300.0, |w| !w.is_full()).expect("one membership again");
    let one = world.run_while(120.0, |w| !agree(w)).expect("one leader again");
    let equal = world.run_while(120.0, |w| w.heights() != BTreeSet::from([121])).expect("equal heights");
    let healed = world.total_sent() - sent;
    order(&mut world, &blocks, &mut ordered, 10, 0);
    world.run_while(20.0, |w| w.heights() != BTreeSet::from([131])).expect("and it goes on");
    println!(
        "{peers} peers: membership {met:?}, leader {elected:?} later; healed: membership {whole:?}, leader {one:?} later, \
         heights {equal:?} later, {healed} messages; {} messages in all, {before} before the partition; {:?} virtual \
         in {:?}; {:?}",
        world.total_sent(),
        world.now,
        real.elapsed(),
        world.sent()
    );
    assert!(world.now < Duration::from_secs(900));
}

#[test]
fn forty_peers_through_a_partition() {
    through_a_partition(40);
}

/// Issue 11: in `.ci/run --long`.
#[test]
#[ignore = "long: .ci/run --long"]
fn three_hundred_peers_through_a_partition() {
    through_a_partition(300);
}
