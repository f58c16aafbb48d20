use super::*;
use crate::testing::{at, id, ip, key, keys_at, node};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;
use switchboard_enr::{NodeKey, Record};

const OWN: u64 = 0;

fn table() -> (Table, ChaCha8Rng) {
    (Table::new(id(OWN), TableLimits::default()), ChaCha8Rng::seed_from_u64(1))
}

/// Nodes of one bucket, each in a subnet of its own.
fn far(count: usize, distance: u16) -> Vec<Node> {
    let keys = keys_at(id(OWN), distance, 1, count);
    keys.into_iter().enumerate().map(|(i, n)| node(n, &format!("50.{}.{}.1", i / 200, i % 200))).collect()
}

/// The counts of subnets are what the entries say.
fn consistent(table: &Table) {
    for bucket in &table.buckets {
        assert!(bucket.entries.len() <= BUCKET_SIZE && bucket.spares.len() <= REPLACEMENTS);
    }
    let live = table.entries().filter(|e| e.live);
    let mut counted = Subnets::default();
    live.for_each(|e| counted.add(e.node.ip()));
    assert_eq!(counted, table.live);
}

#[test]
fn a_bucket_takes_sixteen_and_ten_wait() {
    let (mut table, mut rng) = table();
    let nodes = far(30, 256);
    let offered: Vec<_> = nodes.iter().map(|n| table.proven(n.clone(), Duration::ZERO)).collect();
    assert!(offered[..16].iter().all(|o| *o == Offered::Added));
    assert!(offered[16..].iter().all(|o| *o == Offered::Waiting));
    assert_eq!(table.sizes()[16], (16, 10));
    assert_eq!((table.len(), table.live_len()), (16, 16));
    assert_eq!(table.proven(nodes[3].clone(), Duration::ZERO), Offered::Known);
    // A removed one's place goes to one that waits, which has to prove itself again.
    table.remove(&nodes[3].id(), &mut rng);
    assert_eq!((table.sizes()[16], table.live_len()), ((16, 9), 15));
    consistent(&table);
}

#[test]
fn unfit_nodes_are_refused() {
    let (mut table, _) = table();
    for bad in ["0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "ff02::1"] {
        assert_eq!(table.heard(node(1, bad)), Offered::Unfit, "{bad}");
        assert_eq!(table.proven(node(1, bad), Duration::ZERO), Offered::Unfit, "{bad}");
    }
    assert_eq!(table.heard(node(OWN, "50.1.1.1")), Offered::Unfit);
    assert_eq!(table.heard(Node::new(key(1), ip("50.1.1.1"), 0, 1)), Offered::Unfit);
    assert!(table.is_empty());
}

#[test]
fn near_nodes_share_the_lowest_bucket() {
    let (table, _) = table();
    for (distance, bucket) in [(0u16, 0), (1, 0), (240, 0), (241, 1), (255, 15), (256, 16)] {
        let mut other = id(OWN);
        if distance > 0 {
            let bit = 256 - usize::from(distance);
            other.0[bit / 8] ^= 0x80 >> (bit % 8);
        }
        assert_eq!(table.index(&other), bucket, "{distance}");
    }
}

#[test]
fn few_of_one_subnet_are_live() {
    let (mut table, _) = table();
    let keys = keys_at(id(OWN), 256, 1, 5);
    let offered: Vec<_> =
        keys.iter().map(|n| table.proven(node(*n, &format!("50.1.1.{n}")), Duration::ZERO)).collect();
    assert_eq!(offered.iter().filter(|o| **o == Offered::Added).count(), 2, "two in a bucket");
    for distance in (248..256).rev() {
        for n in keys_at(id(OWN), distance, 1, 3) {
            table.proven(node(n, &format!("50.1.1.{}", n % 250)), Duration::ZERO);
        }
    }
    assert_eq!(table.live_len(), 10, "ten in the table");
    consistent(&table);
    // A local network is exempt.
    for n in keys_at(id(OWN), 256, 1_000, 10) {
        assert_eq!(table.proven(node(n, "127.0.0.1"), Duration::ZERO), Offered::Added);
    }
}

#[test]
fn hearsay_takes_nothing_from_a_subnets_true_nodes() {
    let (mut table, _) = table();
    let keys = keys_at(id(OWN), 256, 1, 40);
    // One who tells of made-up nodes in a subnet gets two of them into the bucket.
    let heard = keys[..20].iter().filter(|n| table.heard(node(**n, "50.1.1.1")) == Offered::Added).count();
    assert_eq!(heard, 2);
    // Its true nodes are taken all the same.
    assert_eq!(table.proven(node(keys[30], "50.1.1.2"), Duration::ZERO), Offered::Added);
    assert_eq!(table.proven(node(keys[31], "50.1.1.3"), Duration::ZERO), Offered::Added);
    assert_eq!(table.proven(node(keys[32], "50.1.1.4"), Duration::ZERO), Offered::SubnetFull);
    consistent(&table);
}

#[test]
fn a_proven_node_takes_the_place_of_hearsay() {
    let (mut table, _) = table();
    let nodes = far(20, 256);
    nodes[..16].iter().for_each(|n| assert_eq!(table.heard(n.clone()), Offered::Added));
    for proven in &nodes[16..] {
        assert_eq!(table.proven(proven.clone(), Duration::ZERO), Offered::Added);
    }
    assert_eq!((table.sizes()[16], table.live_len()), ((16, 4), 4));
    consistent(&table);
}

#[test]
fn an_eclipse_from_one_subnet_gets_ten_places() {
    let (mut table, mut rng) = table();
    let honest = far(16, 256);
    honest.iter().for_each(|n| assert_eq!(table.proven(n.clone(), Duration::ZERO), Offered::Added));
    for n in 10_000..14_000 {
        let one = node(n, &format!("66.6.6.{}", n % 256));
        table.heard(one.clone());
        table.proven(one, Duration::ZERO);
    }
    let bad = table.nodes().filter(|(n, live)| *live && n.ip().to_string().starts_with("66.")).count();
    assert!(bad <= 10, "{bad}");
    assert!(honest.iter().all(|n| table.get(&n.id()).is_some()));
    // Also when honest ones go, the attacker's do not take more than their share.
    honest.iter().for_each(|n| table.remove(&n.id(), &mut rng));
    let now = at(0).mono;
    for _ in 0..100 {
        let due: Vec<_> = std::iter::from_fn(|| table.due(now + FAST_INTERVAL * 4, &mut rng)).collect();
        due.iter().for_each(|n| table.answered(&n.id(), None, &mut rng));
    }
    let live = table.nodes().filter(|(n, live)| *live && n.ip().to_string().starts_with("66.")).count();
    assert!(live <= 10, "{live}");
    consistent(&table);
}

#[test]
fn checks_are_two_speed_and_failures_cost() {
    let (mut table, mut rng) = table();
    let nodes = far(17, 256);
    table.heard(nodes[0].clone());
    let now = at(100).mono;
    assert_eq!(table.next_due(), Some(Duration::ZERO));
    assert_eq!(table.due(now, &mut rng), Some(nodes[0].clone()));
    assert_eq!(table.due(now + SLOW_INTERVAL, &mut rng), None, "its check is under way");
    table.answered(&nodes[0].id(), None, &mut rng);
    assert_eq!((table.live_len(), table.checks(&nodes[0].id())), (1, Some(1)));
    let entry = |table: &Table| table.entries().next().map(|e| e.slow);
    assert_eq!(entry(&table), Some(true));
    for _ in 0..5 {
        table.answered(&nodes[0].id(), None, &mut rng);
    }
    assert_eq!(table.checks(&nodes[0].id()), Some(6));
    assert!(!table.failed(&nodes[0].id(), &mut rng));
    assert_eq!((table.checks(&nodes[0].id()), entry(&table)), (Some(2), Some(false)));
    assert!(table.failed(&nodes[0].id(), &mut rng));
    assert!(table.is_empty());
    consistent(&table);
}

#[test]
fn each_entry_is_checked_in_time() {
    let (mut table, mut rng) = table();
    let nodes = far(10, 255);
    nodes.iter().for_each(|n| _ = table.proven(n.clone(), Duration::ZERO));
    let (mut now, mut seen) = (Duration::ZERO, std::collections::BTreeSet::new());
    let mut checks = 0;
    while now < Duration::from_secs(600) {
        now = now.max(table.next_due().unwrap());
        while let Some(node) = table.due(now, &mut rng) {
            seen.insert(node.id());
            checks += 1;
            table.answered(&node.id(), None, &mut rng);
        }
        now += Duration::from_millis(1);
    }
    assert_eq!(seen.len(), 10);
    assert!((100..260).contains(&checks), "one in 4.5 s on average: {checks}");
}

#[test]
fn who_has_just_proven_its_address_is_left_alone() {
    let (mut table, mut rng) = table();
    let node = far(1, 256).remove(0);
    table.proven(node.clone(), at(2).mono);
    assert_eq!(table.next_due(), Some(at(2).mono + REST));
    assert_eq!(table.due(at(6).mono, &mut rng), None);
    assert_eq!(table.due(at(7).mono, &mut rng).map(|n| n.id()), Some(node.id()));
    // So with each answer.
    table.proven(node.clone(), at(8).mono);
    table.answered(&node.id(), None, &mut rng);
    assert!(table.next_due().unwrap() >= at(8).mono + REST);
}

#[test]
fn a_check_that_nobody_ends_is_forgotten() {
    let (mut table, mut rng) = table();
    table.proven(far(1, 256).remove(0), Duration::ZERO);
    assert!(table.due(at(5).mono, &mut rng).is_some());
    assert_eq!(table.next_due(), Some(at(5).mono + CHECK_LIMIT));
    assert!(table.due(at(34).mono, &mut rng).is_none());
    assert!(table.due(at(36).mono, &mut rng).is_some());
}

#[test]
fn only_a_newer_record_or_a_proof_moves_a_node() {
    let key = NodeKey::from_bytes(&[7; 32]).unwrap();
    let of = |seq, at: &str| {
        let record = Record::signed(&key, seq, ip(at), Some(1), Some(30_303));
        Node::from_record(Arc::new(record)).unwrap()
    };
    let (mut table, mut rng) = table();
    let here = |table: &Table| table.nodes().next().map(|(n, live)| (n.ip().to_string(), live)).unwrap();
    table.proven(of(5, "50.0.0.1"), Duration::ZERO);
    table.heard(of(5, "50.0.0.2"));
    table.heard(of(4, "50.0.0.2"));
    table.heard(Node::new(key.public().to_bytes(), ip("50.0.0.3"), 1, 1));
    assert_eq!(here(&table), ("50.0.0.1".into(), true));
    table.answered(&NodeId(key.public().node_id()), Some(of(6, "50.0.0.2")), &mut rng);
    assert_eq!(here(&table), ("50.0.0.2".into(), false), "it has to answer from there");
    table.proven(Node::new(key.public().to_bytes(), ip("50.0.0.9"), 1, 1), Duration::ZERO);
    assert_eq!(here(&table), ("50.0.0.9".into(), true));
    assert_eq!(table.nodes().next().unwrap().0.seq(), 6, "the record is kept");
    consistent(&table);
}

#[test]
fn nearest_first_and_live_ones_if_there_are() {
    let (mut table, _) = table();
    for n in 1..200 {
        table.heard(node(n, &format!("50.{n}.0.1")));
    }
    let target = id(777);
    let all: Vec<_> = table.nodes().map(|(n, _)| n.id()).collect();
    let mut want = all.clone();
    want.sort_by_key(|id| id.distance(&target));
    let ids = |nodes: Vec<Node>| nodes.iter().map(Node::id).collect::<Vec<_>>();
    assert_eq!(ids(table.closest(&target, 16)), want[..16]);
    assert_eq!(ids(table.closest_to_tell(&target, 16)), want[..16], "while none is live, all are told");
    assert_eq!(table.closest(&target, 0), []);
    assert_eq!(table.closest(&target, 10_000).len(), all.len());
    let known = table.get(&want[20]).unwrap().clone();
    table.proven(known, Duration::ZERO);
    assert_eq!(ids(table.closest_to_tell(&target, 16)), [want[20]]);
    let distance = id(OWN).log_distance(&want[20]);
    assert_eq!(ids(table.live_at(distance)), [want[20]]);
    assert!(
        table.live_at(distance - 1).is_empty()
            && table.live_at(0).is_empty()
            && table.live_at(257).is_empty()
    );
}

#[test]
fn unhelpful_nodes_go_only_while_others_are_left() {
    let (mut table, mut rng) = table();
    let nodes = far(4, 256);
    nodes.iter().for_each(|n| _ = table.proven(n.clone(), Duration::ZERO));
    assert!(table.drop_unhelpful(&nodes[0].id(), &mut rng));
    assert!(!table.drop_unhelpful(&nodes[1].id(), &mut rng));
    assert_eq!(table.len(), 3);
}

#[test]
fn the_nearest_are_found_bucket_by_bucket() {
    let (mut table, _) = table();
    for n in 1..3_000 {
        table.proven(node(n, "10.0.0.1"), Duration::ZERO);
    }
    for n in 5_000..5_300 {
        let target = id(n);
        let mut want: Vec<NodeId> = table.entries().map(|e| e.id).collect();
        want.sort_by_key(|id| id.distance(&target));
        for count in [1, 16, 40] {
            let got: Vec<NodeId> = table.closest(&target, count).iter().map(Node::id).collect();
            assert_eq!(got, want[..count.min(want.len())], "{count}");
        }
    }
}

#[test]
fn what_is_due_next_is_what_the_entries_say() {
    let (mut table, mut rng) = table();
    let mut now = Duration::ZERO;
    for n in 1..400 {
        now += Duration::from_millis(90);
        table.heard(node(n, "10.0.0.1"));
        if n % 3 == 0 {
            table.proven(node(n / 2 + 1, "10.0.0.1"), now);
        }
        if let Some(due) = table.due(now, &mut rng) {
            match n % 4 {
                0 => drop(table.failed(&due.id(), &mut rng)),
                1 => {}
                _ => table.answered(&due.id(), None, &mut rng),
            }
        }
        let soonest = |slow, list: Duration| {
            table.entries().filter(|e| e.slow == slow).map(|e| e.free_at().max(list)).min()
        };
        let want = soonest(false, table.next_fast).into_iter().chain(soonest(true, table.next_slow)).min();
        assert_eq!(table.next_due(), want);
    }
}
