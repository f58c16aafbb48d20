//! Networks, and the throttle with time given by hand.

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn nets(list: &[&str]) -> Vec<IpNet> {
    list.iter().map(|net| net.parse().unwrap()).collect()
}

#[test]
fn denied_wins_and_allowed_is_all_when_there_is_any() {
    let list = AccessList { allow: nets(&["10.0.0.0/8", "fd00::/8"]), deny: nets(&["10.1.0.0/16"]) };
    for (text, permitted) in [
        ("10.0.0.1", true),
        ("10.1.0.1", false),
        ("::ffff:10.0.0.1", true),
        ("::ffff:10.1.0.1", false),
        ("fd00::1", true),
        ("8.8.8.8", false),
        ("2001:db8::1", false),
    ] {
        assert_eq!(list.permits(ip(text)), permitted, "{text}");
    }
    assert!(AccessList::default().permits(ip("8.8.8.8")));
}

/// A v4 network may be written as v6, a v6 network of everything means v6 only.
#[test]
fn networks_of_one_family_do_not_hold_the_other() {
    let deny = |net: &str| AccessList { allow: Vec::new(), deny: nets(&[net]) };
    assert!(!deny("::ffff:10.0.0.0/104").permits(ip("10.9.9.9")));
    assert!(deny("::ffff:10.0.0.0/104").permits(ip("11.0.0.1")));
    assert!(!deny("::ffff:0.0.0.0/96").permits(ip("1.2.3.4")));
    assert!(deny("::/0").permits(ip("1.2.3.4")));
    assert!(!deny("::/0").permits(ip("2001:db8::1")));
    assert!(!deny("0.0.0.0/0").permits(ip("::ffff:1.2.3.4")));
    assert!(deny("0.0.0.0/0").permits(ip("::1")));
}

#[test]
fn lan_addresses() {
    for text in
        ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.1.1", "::1", "fe80::1", "fd00::1"]
    {
        assert!(is_lan(ip(text)), "{text}");
        let IpAddr::V4(v4) = ip(text) else { continue };
        assert!(is_lan(v4.to_ipv6_mapped().into()), "{text} as v6");
    }
    for text in ["8.8.8.8", "172.32.0.1", "100.64.0.1", "2001:db8::1"] {
        assert!(!is_lan(ip(text)), "{text}");
    }
}

#[test]
fn an_address_waits_for_its_interval_and_the_local_network_does_not() {
    let (mut throttle, now, interval) = (Throttle::default(), Instant::now(), Duration::from_secs(30));
    let mut admit = |text, at| throttle.admit(("w", ip(text)), at, interval, false);
    assert!(admit("8.8.8.8", now));
    let almost = now + interval - Duration::from_nanos(1);
    assert!(!admit("8.8.8.8", almost));
    assert!(!admit("::ffff:8.8.8.8", almost), "the same address, written otherwise");
    assert!(admit("8.8.4.4", almost));
    assert!(admit("8.8.8.8", now + interval), "a refusal does not make the wait longer");
    assert!(admit("2001:db8::1", now));
    assert!(!admit("2001:db8::2:0:0:9", now), "a v6 host has a whole /64");
    assert!(admit("2001:db8:0:1::1", now));
    for _ in 0..3 {
        assert!(admit("192.168.0.1", now));
    }
    let mut with = |wire, interval, strict| throttle.admit((wire, ip("192.168.0.1")), now, interval, strict);
    assert!(with("w", Duration::ZERO, true), "no interval, no throttle");
    assert!(with("w", interval, true));
    assert!(!with("w", interval, true), "strict: the local network, too");
    assert!(with("other", interval, true), "each wire has its own");
}

#[test]
fn the_throttle_never_remembers_more_than_it_may() {
    let (mut throttle, now, interval) = (Throttle::default(), Instant::now(), Duration::from_secs(30));
    for n in 0..MAX_REMEMBERED as u32 + 10 {
        assert!(throttle.admit(("w", IpAddr::V4((0x0b00_0000 + n).into())), now, interval, false));
        assert!(throttle.last.len() <= MAX_REMEMBERED && throttle.last.len() == throttle.order.len());
    }
}
