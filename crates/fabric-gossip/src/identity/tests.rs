use super::*;
use crate::sim::{EPOCH, host, identity, pki_id};
use std::sync::{Arc, Mutex};

fn at(seconds: u64) -> Now {
    Now { mono: Duration::from_secs(seconds), wall: EPOCH + seconds * 1_000_000_000 }
}

struct Rig {
    host: Host,
    store: IdentityStore,
    revoked: Arc<Mutex<BTreeSet<PkiId>>>,
}

fn rig() -> Rig {
    let own = identity("Org1", "own", 0);
    let revoked = Arc::default();
    let host = host(&own, &revoked);
    let store = IdentityStore::new(&host, &own, at(0)).unwrap();
    Rig { host, store, revoked }
}

/// Row 5.1: valid, of its PKI-ID, not expired.
#[test]
fn put_validates() {
    let mut rig = rig();
    let good = identity("Org1", "peer", 100);
    let id = pki_id(&good);
    assert_eq!(rig.store.put(&rig.host, id, &good, at(1)), Ok(true));
    assert_eq!(rig.store.put(&rig.host, id, &good, at(2)), Ok(false));
    assert_eq!(rig.store.org_of(&id).map(Org::as_str), Some("Org1"));
    let refused = |store: &mut IdentityStore, identity: &Bytes, id| {
        store.put(&rig.host, id, identity, at(3)).unwrap_err()
    };
    assert_eq!(refused(&mut rig.store, &good, PkiId([7; 32])), IdentityRefusal::PkiId);
    assert_eq!(refused(&mut rig.store, &Bytes::new(), id), IdentityRefusal::Size(0));
    let huge = Bytes::from(vec![b'/'; MAX_IDENTITY + 1]);
    assert_eq!(refused(&mut rig.store, &huge, pki_id(&huge)), IdentityRefusal::Size(MAX_IDENTITY + 1));
    let old = identity("Org1", "old", 2);
    assert_eq!(refused(&mut rig.store, &old, pki_id(&old)), IdentityRefusal::Expired);
    let evil = identity("Evil", "peer", 100);
    assert!(matches!(refused(&mut rig.store, &evil, pki_id(&evil)), IdentityRefusal::Invalid(_)));
    let bad = identity("Org1", "bad", 100);
    rig.revoked.lock().unwrap().insert(pki_id(&bad));
    assert!(matches!(refused(&mut rig.store, &bad, pki_id(&bad)), IdentityRefusal::Invalid(_)));
    assert_eq!(rig.store.iter().count(), 2);
}

/// Row 5.1: purged a millisecond after the end, and not before; the store wakes for it.
#[test]
fn an_identity_ends_with_its_certificate() {
    let mut rig = rig();
    let peer = identity("Org1", "peer", 10);
    let id = pki_id(&peer);
    rig.store.put(&rig.host, id, &peer, at(0)).unwrap();
    assert_eq!(rig.store.wake(at(0)), Duration::from_millis(10_001));
    let mut end = at(10);
    assert!(rig.store.tick(end).is_empty() && rig.store.get(&id, end).is_some());
    end.wall += EXPIRY_MARGIN;
    assert!(rig.store.get(&id, end).is_none(), "not given out any more");
    assert_eq!(rig.store.tick(end), [(id, "the certificate expired")]);
    assert!(rig.store.put(&rig.host, id, &peer, end).is_err());
    let renewed = identity("Org1", "peer", 1_000);
    assert_eq!(rig.store.put(&rig.host, pki_id(&renewed), &renewed, end), Ok(true));
}

/// Row 5.2: an hour unused, looked for each six minutes; our own stays.
#[test]
fn what_is_not_used_goes() {
    let mut rig = rig();
    let (a, b) = (identity("Org1", "a", 0), identity("Org1", "b", 0));
    let (ia, ib) = (pki_id(&a), pki_id(&b));
    rig.store.put(&rig.host, ia, &a, at(0)).unwrap();
    rig.store.put(&rig.host, ib, &b, at(0)).unwrap();
    for seconds in (360..3_600).step_by(360) {
        assert!(rig.store.tick(at(seconds)).is_empty());
        rig.store.get(&ib, at(seconds)).unwrap();
    }
    assert_eq!(rig.store.tick(at(3_600)), [(ia, "not used for an hour")]);
    assert_eq!(rig.store.tick(at(20_000)), [(ib, "not used for an hour")]);
    let own = rig.store.own();
    assert!(rig.store.get(&own, at(20_001)).is_some() && !rig.store.remove(&own));
}

/// Row 5.2: only the suspected are looked at, only the invalid go.
#[test]
fn the_suspected_are_validated_again() {
    let mut rig = rig();
    let all: Vec<_> = ["a", "b", "c"].iter().map(|name| identity("Org1", name, 0)).collect();
    for identity in &all {
        rig.store.put(&rig.host, pki_id(identity), identity, at(0)).unwrap();
    }
    rig.revoked.lock().unwrap().extend([pki_id(&all[0]), pki_id(&all[1])]);
    let suspected = pki_id(&all[0]);
    let purged = rig.store.suspect(&rig.host, |id, _| *id == suspected, at(1));
    assert_eq!(purged, [(suspected, "not valid any more")]);
    assert_eq!(rig.store.suspect(&rig.host, |_, _| true, at(1)).len(), 1);
    assert_eq!(rig.store.iter().count(), 2);
}

#[test]
fn a_full_store_lets_go_of_the_least_used() {
    let mut rig = rig();
    rig.store.set_capacity(4);
    let all: Vec<_> = (0..10).map(|n| identity("Org1", &format!("p{n}"), 1_000 + n)).collect();
    for (second, identity) in all.iter().enumerate() {
        rig.store.put(&rig.host, pki_id(identity), identity, at(second as u64)).unwrap();
        rig.store.get(&pki_id(&all[0]), at(second as u64));
        assert!(rig.store.iter().count() <= 4 && rig.store.ends.len() <= 4);
    }
    assert!(rig.store.peek(&pki_id(&all[0])).is_some() && rig.store.peek(&rig.store.own()).is_some());
    assert!(rig.store.peek(&pki_id(&all[1])).is_none());
}
