use super::*;

const KEY: Key = (Protocol::Tcp, 30303);

fn found(start: Instant) -> Plan {
    let mut plan = Plan::new(Times::default(), start);
    assert_eq!(plan.next(start), Next::Now(Job::Find));
    plan.found(true, start);
    assert_eq!(plan.next(start), Next::Now(Job::Address));
    plan.address_told(true, start);
    plan
}

fn map(wanted: u16) -> Next {
    Next::Now(Job::Map { key: KEY, wanted, name: "node".to_owned() })
}

#[test]
fn a_mapping_is_made_refreshed_and_deleted() {
    let start = Instant::now();
    let mut plan = found(start);
    assert!(plan.add(KEY, "node".to_owned(), start));
    assert_eq!(plan.next(start), map(30303));
    assert!(plan.mapped(KEY, 41000, Duration::from_secs(600), start));
    assert_eq!(plan.standing(), [(KEY, 41000)]);
    // The address is asked for in between.
    let address = start + Duration::from_secs(120);
    assert_eq!(plan.next(start), Next::At(address));
    assert_eq!(plan.next(address), Next::Now(Job::Address));
    let refresh = start + Duration::from_secs(480);
    plan.address_told(false, refresh);
    assert_eq!(plan.next(refresh - Duration::from_millis(1)), Next::At(refresh));
    // It asks for the port it has.
    assert_eq!(plan.next(refresh), map(41000));
    plan.remove(KEY);
    assert_eq!(plan.next(refresh), Next::Now(Job::Unmap { key: KEY, external: 41000 }));
    assert!(!plan.mapped(KEY, 41000, Duration::from_secs(600), refresh));
    assert_eq!(plan.standing(), [(KEY, 41000)]);
}

#[test]
fn a_short_life_is_refreshed_sooner_but_not_all_the_time() {
    let start = Instant::now();
    for (life, due) in [(100, 80), (0, 8), (100_000, 480)] {
        let mut plan = found(start);
        plan.add(KEY, "node".to_owned(), start);
        plan.mapped(KEY, 1, Duration::from_secs(life), start);
        plan.address_due = start + Duration::from_secs(9999);
        assert_eq!(plan.next(start), Next::At(start + Duration::from_secs(due)), "{life}");
    }
}

#[test]
fn after_five_failed_refreshes_it_is_deleted_and_made_anew() {
    let start = Instant::now();
    let mut plan = found(start);
    plan.address_due = start + Duration::from_secs(999_999);
    plan.add(KEY, "node".to_owned(), start);
    plan.mapped(KEY, 41000, Duration::from_secs(600), start);
    let mut now = start + Duration::from_secs(480);
    for failure in 1..=5 {
        assert_eq!(plan.next(now), map(41000));
        assert_eq!(plan.map_failed(KEY, now), failure == 5);
        if failure < 5 {
            assert_eq!(plan.next(now), Next::At(now + Duration::from_secs(300)));
            now += Duration::from_secs(300);
        }
    }
    assert_eq!(plan.next(now), Next::Now(Job::Unmap { key: KEY, external: 41000 }));
    assert_eq!(plan.next(now), map(30303));
    // What never stood is tried each five minutes, whatever happens.
    for _ in 0..20 {
        assert!(!plan.map_failed(KEY, now));
        assert_eq!(plan.next(now), Next::At(now + Duration::from_secs(300)));
        now += Duration::from_secs(300);
        assert_eq!(plan.next(now), map(30303));
    }
}

#[test]
fn another_address_makes_every_mapping_anew_and_a_silent_router_is_sought_again() {
    let start = Instant::now();
    let mut plan = found(start);
    plan.add(KEY, "node".to_owned(), start);
    plan.mapped(KEY, 41000, Duration::from_secs(600), start);
    let mut now = start + Duration::from_secs(120);
    plan.address_told(true, now);
    assert_eq!(plan.next(now), map(41000));
    plan.mapped(KEY, 41000, Duration::from_secs(6000), now);
    for _ in 0..MAX_FAILURES {
        now += Duration::from_secs(120);
        plan.address_failed(now);
    }
    assert_eq!(plan.next(now), Next::Now(Job::Find));
    assert_eq!(plan.standing(), []);
    plan.not_found(now);
    assert_eq!(plan.next(now), Next::At(now + Duration::from_secs(300)));
}

#[test]
fn a_source_of_addresses_only_maps_nothing_and_mappings_are_bounded() {
    let start = Instant::now();
    let mut plan = Plan::new(Times::default(), start);
    plan.found(false, start);
    plan.address_told(true, start);
    for port in 0..100 {
        assert_eq!(plan.add((Protocol::Udp, port), String::new(), start), usize::from(port) < MAX_MAPPINGS);
    }
    assert_eq!(plan.next(start), Next::At(start + Duration::from_secs(120)));
}
