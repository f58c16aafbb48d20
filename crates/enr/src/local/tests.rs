use super::*;

fn local(last: Option<u64>) -> LocalRecord {
    let key = Arc::new(NodeKey::from_bytes(&[4; 32]).unwrap());
    let mut local = LocalRecord::new(key, last, 1_700_000_000_000, Prediction::default());
    local.set_fallback_ip("127.0.0.1".parse().unwrap());
    local.set_fallback_udp(30_303);
    local
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn peer(n: u8) -> IpAddr {
    IpAddr::from([20, 0, 0, n])
}

fn say(local: &mut LocalRecord, peers: std::ops::Range<u8>, endpoint: &str, at: u64) {
    for n in peers {
        local.stated(peer(n), endpoint.parse().unwrap(), secs(at));
    }
}

#[test]
fn the_sequence_grows_with_each_change_and_only_then() {
    let mut fresh = local(None);
    assert_eq!(fresh.update(secs(1)).unwrap().seq(), 1_700_000_000_000);
    let mut local = local(Some(41));
    assert_eq!(local.update(secs(1)).unwrap().seq(), 42);
    assert!(local.update(secs(2)).is_none(), "nothing has changed");
    local.set_tcp(Some(30_303)).unwrap();
    assert!(local.update(secs(1) + Duration::from_micros(900)).is_none(), "not twice in a millisecond");
    let record = local.update(secs(3)).unwrap();
    assert_eq!((record.seq(), record.tcp_endpoint()), (43, Some("127.0.0.1:30303".parse().unwrap())));
    assert_eq!(Record::decode(&record.encode()).unwrap(), *record);
    local.set("bits", &[1]).unwrap();
    local.remove("bits");
    assert!(local.update(secs(4)).is_none(), "changed there and back");
    assert_eq!(local.current().seq(), 43);
}

#[test]
fn set_by_hand_then_predicted_then_fallback() {
    let mut local = local(None);
    let udp = |local: &mut LocalRecord, at| {
        local.update(secs(at));
        local.current().udp_endpoint().map(|at| at.to_string()).unwrap_or_default()
    };
    assert_eq!(udp(&mut local, 1), "127.0.0.1:30303");
    say(&mut local, 0..9, "9.9.9.9:1111", 2);
    assert_eq!(udp(&mut local, 2), "127.0.0.1:30303", "nine are not enough");
    say(&mut local, 0..9, "9.9.9.9:1111", 3);
    assert_eq!(udp(&mut local, 3), "127.0.0.1:30303", "the same nine again");
    say(&mut local, 9..10, "9.9.9.9:1111", 4);
    assert_eq!(udp(&mut local, 4), "9.9.9.9:1111");
    say(&mut local, 10..21, "8.8.8.8:2222", 5);
    assert_eq!(udp(&mut local, 5), "8.8.8.8:2222", "eleven against ten");
    local.set_static_ip("7.7.7.7".parse().unwrap());
    assert_eq!(udp(&mut local, 6), "7.7.7.7:30303");
    local.remove_static_ip("7.7.7.7".parse().unwrap());
    assert_eq!(udp(&mut local, 7), "8.8.8.8:2222");
    assert_eq!(udp(&mut local, 5 + 300), "127.0.0.1:30303", "statements are old after five minutes");
}

#[test]
fn families_are_apart() {
    let mut local = local(None);
    for n in 0..10u16 {
        local.stated(
            IpAddr::from([0x2a00, 0, 0, 0, 0, 0, 0, n]),
            "[2a01::1]:40000".parse().unwrap(),
            secs(1),
        );
        // What one says of a family it did not reach us by does not count.
        local.stated(IpAddr::from([0x2a00, 0, 0, 0, 0, 0, 0, n]), "6.6.6.6:1".parse().unwrap(), secs(1));
    }
    let record = local.update(secs(1)).unwrap();
    assert_eq!(record.ip4(), Some("127.0.0.1".parse().unwrap()));
    assert_eq!(record.ip6(), Some("2a01::1".parse().unwrap()));
    assert_eq!((record.port(Port::Udp), record.port(Port::Udp6)), (Some(30_303), Some(40_000)));
    // IPv4 in IPv6 form is IPv4, said and saying.
    for n in 0..10 {
        let by = format!("::ffff:20.0.0.{n}").parse().unwrap();
        local.stated(by, "[::ffff:9.9.9.9]:7".parse().unwrap(), secs(2));
    }
    assert_eq!(local.update(secs(2)).unwrap().udp_endpoint(), Some("9.9.9.9:7".parse().unwrap()));
}

#[test]
fn full_cone_is_seen_by_who_was_never_asked() {
    let mut local = local(None);
    local.contacted(peer(1), secs(1));
    local.stated(peer(1), "9.9.9.9:1".parse().unwrap(), secs(2));
    assert!(!local.is_full_cone(false, secs(3)));
    local.stated(peer(2), "9.9.9.9:1".parse().unwrap(), secs(3));
    assert!(local.is_full_cone(false, secs(4)) && !local.is_full_cone(true, secs(4)));
    local.contacted(peer(2), secs(5));
    assert!(local.is_full_cone(false, secs(6)), "contacted only after it spoke");
    assert!(!local.is_full_cone(false, secs(3 + 300)), "forgotten");
}

#[test]
fn strangers_fill_no_memory() {
    let mut local = local(None);
    for n in 0..u16::MAX {
        let [a, b] = n.to_be_bytes();
        let at = Duration::from_millis(n.into());
        local.stated(IpAddr::from([30, 0, a, b]), "9.9.9.9:1".parse().unwrap(), at);
        if n % 8 == 0 {
            local.contacted(IpAddr::from([30, 0, a, b]), at);
        }
    }
    assert_eq!(local.four.tracker.statements.len(), MAX_STATEMENTS);
    assert_eq!(local.four.tracker.contacts.len(), MAX_CONTACTS);
    for bad in ["0.0.0.0:1", "224.0.0.1:1", "9.9.9.9:0"] {
        say(&mut local, 0..20, bad, 100);
        assert!(!local.four.tracker.statements.values().any(|(at, _)| at.to_string() == bad));
    }
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let mut local = local(None);
    assert_eq!(local.set("pad", &[0; 200]), Err(RecordError::TooLarge));
    for reserved in ["id", "secp256k1", "ip", "ip6", "udp", "udp6"] {
        assert_eq!(local.set(reserved, b"x"), Err(RecordError::Reserved));
    }
    assert!(local.set_raw("list", &[0xc1]).is_err());
    local.set_raw("list", &[0xc1, 0x01]).unwrap();
    let largest = (0..200usize).take_while(|n| local.set("pad", &vec![0xff; *n]).is_ok()).last().unwrap();
    assert!(largest > 40);
    local.set_static_ip("2a00::1".parse().unwrap());
    local.set_static_ip("8.8.8.8".parse().unwrap());
    let record = local.update(secs(1)).unwrap();
    assert_eq!(
        (record.get_raw("list"), record.get("pad").unwrap().len()),
        (Some(&[0xc1, 0x01][..]), largest)
    );
}
