use super::*;
use crate::testing::{at, id, ip, key, node};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::sync::Mutex;
use switchboard_enr::NodeKey;

/// Bytes that outlive the records.
#[derive(Debug, Clone, Default)]
struct Shared(Arc<Mutex<BTreeMap<Vec<u8>, Vec<u8>>>>);

impl KeyValue for Shared {
    fn all(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.0.lock().unwrap().iter().map(|(k, v)| (k.clone(), v.clone())).collect()
    }

    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.0.lock().unwrap().insert(key.to_vec(), value.to_vec());
    }

    fn remove(&mut self, key: &[u8]) {
        self.0.lock().unwrap().remove(key);
    }
}

const DAY: u64 = 24 * 3_600;

fn open(store: &Shared) -> NodeDb {
    NodeDb::open(Box::new(store.clone()), MAX_NODES)
}

fn keep_none(_: &NodeId) -> bool {
    false
}

#[test]
fn proofs_are_by_id_and_address_and_last_a_day() {
    let mut db = NodeDb::forgetful(MAX_NODES);
    let one = node(1, "50.0.0.1");
    assert!(!db.is_proven(&id(1), one.ip(), at(0)));
    db.ponged(&one, at(0), &mut keep_none);
    assert!(db.is_proven(&id(1), one.ip(), at(DAY - 1)) && !db.is_proven(&id(1), one.ip(), at(DAY)));
    assert!(db.is_proven(&id(1), ip("::ffff:50.0.0.1"), at(1)));
    assert!(!db.is_proven(&id(1), ip("50.0.0.2"), at(1)) && !db.is_proven(&id(2), one.ip(), at(1)));
    assert!(db.knows_address(one.ip()) && !db.knows_address(ip("50.0.0.2")));
    assert!(db.pinged(&id(1), one.ip(), at(2)) && !db.pinged(&id(2), one.ip(), at(2)));
    assert!(db.has_pinged(&id(1), one.ip(), at(3)) && !db.has_pinged(&id(1), one.ip(), at(DAY + 2)));
    db.expire(at(DAY - 1));
    assert_eq!(db.len(), 1);
    db.expire(at(DAY));
    assert!(db.is_empty() && !db.knows_address(one.ip()));
}

#[test]
fn everything_outlives_a_restart() {
    let store = Shared::default();
    let secret = NodeKey::from_bytes(&[3; 32]).unwrap();
    let record = Arc::new(Record::signed(&secret, 9, ip("50.0.0.9"), Some(1), Some(2)));
    let with_record = Node::from_record(record.clone()).unwrap();
    let mut db = open(&store);
    db.ponged(&node(1, "50.0.0.1"), at(0), &mut keep_none);
    db.ponged(&node(1, "2a00::1"), at(5), &mut keep_none);
    db.pinged(&id(1), ip("50.0.0.1"), at(6));
    db.set_fails(&id(1), ip("50.0.0.1"), Version::V4, 3);
    db.set_fails(&id(1), ip("2a00::1"), Version::V5, 4);
    db.ponged(&with_record, at(7), &mut keep_none);
    db.set_local_seq(&id(0), 77);
    let again = open(&store);
    assert_eq!(
        (again.get(&id(1)), again.get(&with_record.id())),
        (db.get(&id(1)), db.get(&with_record.id()))
    );
    assert_eq!(again.get(&with_record.id()).unwrap().node.record(), Some(&record));
    let fails = |ip_, version| again.fails(&id(1), ip(ip_), version);
    assert_eq!((fails("50.0.0.1", Version::V4), fails("50.0.0.1", Version::V5)), (3, 0));
    assert_eq!((fails("2a00::1", Version::V4), fails("2a00::1", Version::V5)), (0, 4));
    assert!(
        again.is_proven(&id(1), ip("50.0.0.1"), at(10)) && again.has_pinged(&id(1), ip("50.0.0.1"), at(10))
    );
    assert_eq!((again.local_seq(&id(0)), again.local_seq(&id(1))), (Some(77), None));
}

#[test]
fn what_cannot_be_read_is_removed() {
    let store = Shared::default();
    let mut db = open(&store);
    db.ponged(&node(1, "50.0.0.1"), at(0), &mut keep_none);
    db.set_local_seq(&id(0), 5);
    let good = store.all();
    {
        let mut bytes = store.0.lock().unwrap();
        bytes.insert(b"x".to_vec(), vec![1]);
        bytes.insert(vec![], vec![]);
        bytes.insert(key_of(NODE, &id(2).0).to_vec(), good[0].1.clone()); // another node's
        bytes.insert(key_of(NODE, &id(3).0).to_vec(), vec![2, 0xc0]); // another version
        bytes.insert(key_of(SEQ, &id(3).0).to_vec(), vec![1]);
    }
    assert_eq!((open(&store).len(), store.all()), (1, good));
}

#[test]
fn facts_are_judged_at_every_byte() {
    let mut db = NodeDb::forgetful(9);
    let secret = NodeKey::from_bytes(&[3; 32]).unwrap();
    let record = Record::signed(&secret, 9, ip("50.0.0.9"), Some(1), Some(2));
    db.ponged(&Node::from_record(Arc::new(record)).unwrap(), at(0), &mut keep_none);
    let facts = db.nodes.values().next().unwrap().clone();
    let bytes = facts.encode();
    assert_eq!(Facts::decode(&bytes).unwrap(), facts);
    for length in 0..bytes.len() {
        assert!(Facts::decode(&bytes[..length]).is_err(), "{length}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(Facts::decode(&longer).is_err());
    for at in 0..bytes.len() {
        let mut bent = bytes.clone();
        bent[at] ^= 0x80;
        let _ = Facts::decode(&bent);
    }
    let contact = facts.contacts[0];
    let many = Facts { contacts: vec![contact; MAX_ADDRESSES + 1], ..facts };
    assert!(Facts::decode(&many.encode()).is_err());
}

#[test]
fn the_oldest_makes_room_but_not_for_the_table() {
    let mut db = NodeDb::forgetful(100);
    for n in 0..100 {
        db.ponged(&node(n, &format!("50.0.{n}.1")), at(n), &mut keep_none);
    }
    db.ponged(&node(0, "50.0.0.1"), at(100), &mut keep_none);
    for n in 1_000..1_050 {
        db.ponged(&node(n, "60.0.0.1"), at(200), &mut |other| *other == id(1));
        assert_eq!((db.len(), db.by_age.len()), (100, 100));
    }
    assert!(db.get(&id(0)).is_some(), "it answered again");
    assert!(db.get(&id(1)).is_some(), "it is kept");
    assert!(db.get(&id(2)).is_none() && db.get(&id(51)).is_none() && db.get(&id(52)).is_some());
    assert_eq!(db.addresses.len(), 51);
}

#[test]
fn addresses_of_one_node_are_few() {
    let mut db = NodeDb::forgetful(10);
    for n in 0..50u8 {
        db.ponged(&node(1, &format!("50.0.0.{n}")), at(n.into()), &mut keep_none);
    }
    assert_eq!((db.get(&id(1)).unwrap().contacts.len(), db.addresses.len()), (MAX_ADDRESSES, MAX_ADDRESSES));
    assert!(db.is_proven(&id(1), ip("50.0.0.49"), at(60)) && !db.is_proven(&id(1), ip("50.0.0.1"), at(60)));
}

#[test]
fn seeds_are_random_and_young() {
    let mut db = NodeDb::forgetful(1_000);
    for n in 0..200 {
        db.ponged(&node(n, "50.0.0.1"), at(n * DAY / 20), &mut keep_none);
    }
    let draw = |seed| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let seeds = db.seeds(30, Duration::from_secs(5 * DAY), at(199 * DAY / 20), &mut rng);
        seeds.iter().map(Node::id).collect::<BTreeSet<_>>()
    };
    let young: BTreeSet<_> = (99..200).map(id).collect();
    let (a, b) = (draw(1), draw(2));
    assert!(a.len() == 30 && a != b && a == draw(1) && a.is_subset(&young) && b.is_subset(&young));
}

#[test]
fn a_clock_set_back_voids_what_lies_ahead() {
    let mut db = NodeDb::forgetful(10);
    db.ponged(&node(1, "50.0.0.1"), at(10 * DAY), &mut keep_none);
    assert!(db.is_proven(&id(1), ip("50.0.0.1"), at(10 * DAY - 60)), "a little is nothing");
    assert!(!db.is_proven(&id(1), ip("50.0.0.1"), at(0)));
    db.expire(at(0));
    assert!(db.is_empty());
    assert_eq!(Node::new(key(1), ip("50.0.0.1"), 1, 1).id(), id(1));
}
