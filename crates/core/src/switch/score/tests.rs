//! Points decay, bans expire, are stored and read back; a new key does not wash an address.

use super::*;
use crate::switch::access::Limits;

const T: &str = "test";

fn id(n: u32) -> PeerId {
    PeerId::new(T, &n.to_be_bytes()).unwrap()
}

fn at(secs: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000 + secs)
}

fn wrong(points: u32) -> Misbehaviour {
    Misbehaviour { points, what: "lied" }
}

fn far(n: u8) -> Option<IpAddr> {
    Some([8, 8, 8, n].into())
}

#[test]
fn points_add_up_to_a_ban_and_half_of_them_go_in_each_half_life() {
    let (rules, mut book) = (ScoreRules::default(), ScoreBook::default());
    let half = rules.threshold / 2;
    assert_eq!(book.report((Some(id(1)), None), &wrong(half), &rules, false, at(0)), []);
    let later = at(rules.half_life.as_secs());
    assert!((book.value(&Banned::Id(id(1)), &rules, later) - f64::from(half) / 2.0).abs() < 0.01);
    assert_eq!(book.report((Some(id(1)), None), &wrong(half), &rules, false, later), []);
    let bans = book.report((Some(id(1)), None), &wrong(half), &rules, false, later);
    let ban = Ban::new(Banned::Id(id(1)), later + rules.ban_for, "lied");
    assert_eq!(bans, std::slice::from_ref(&ban));
    // A clock that goes back adds nothing and panics nowhere.
    assert_eq!(book.report((Some(id(2)), None), &wrong(half), &rules, false, later), []);
    assert!(book.value(&Banned::Id(id(2)), &rules, UNIX_EPOCH) <= f64::from(half));
    let fatal = book.report((Some(id(3)), None), &wrong(Misbehaviour::FATAL), &rules, false, later);
    assert_eq!(fatal.len(), 1);
}

#[test]
fn a_liar_with_new_keys_is_known_by_its_address_but_not_on_the_local_network() {
    let rules = ScoreRules::default();
    let third = rules.threshold / 3 + 1;
    let lie = |ip: IpAddr, strict| {
        let mut book = ScoreBook::default();
        let report = |n| book.report((Some(id(n)), Some(ip)), &wrong(third), &rules, strict, at(0));
        (0..3).map(report).last().unwrap()
    };
    let banned = lie([8, 8, 8, 8].into(), false);
    assert_eq!(banned.iter().map(|ban| ban.who).collect::<Vec<_>>(), [Banned::address([8, 8, 8, 8].into())]);
    assert_eq!(lie([127, 0, 0, 1].into(), false), []);
    assert_eq!(lie([10, 1, 2, 3].into(), false), []);
    assert_eq!(lie([127, 0, 0, 1].into(), true).len(), 1);
    // A v6 host has a whole /64 of addresses.
    let mut book = ScoreBook::default();
    let six = |n: u16| IpAddr::from([0x2001, 0xdb8, 0, 7, n, 0, 0, n]);
    let last = (0..3).map(|n| {
        let who = (None, Some(six(n)));
        book.report(who, &wrong(third), &rules, false, at(0))
    });
    let ban = last.last().unwrap().remove(0);
    book.ban(ban, at(1));
    assert!(book.banned_ip(six(99), false, at(1)).is_some());
    assert!(book.banned_ip([0x2001, 0xdb8, 0, 8, 0, 0, 0, 1].into(), false, at(1)).is_none());
}

#[test]
fn bans_are_read_back_expire_and_are_lifted() {
    let (mut book, now) = (ScoreBook::default(), at(0));
    let nets: IpNet = "9.9.0.0/16".parse().unwrap();
    let ban = |who, secs| Ban::new(who, at(secs), "told lies \u{1b}[31m");
    let mut rows = book.ban(ban(Banned::Id(id(1)), 100), now);
    rows.extend(book.ban(ban(Banned::Net(nets), 200), now));
    let mut again = ScoreBook::default();
    for (key, value) in &rows {
        assert!(again.load(key, value.as_ref().unwrap(), &[T], now));
        assert!(!ScoreBook::default().load(key, value.as_ref().unwrap(), &[], at(300)));
    }
    assert_eq!(again.list(now), book.list(now));
    assert!(!again.list(now)[0].why.contains('\u{1b}'));
    assert!(again.banned_id(&id(1), now).is_some());
    assert!(again.banned_id(&id(1), at(100)).is_none());
    assert!(again.banned_ip([9, 9, 3, 4].into(), false, now).is_some());
    assert!(again.banned_ip([9, 8, 3, 4].into(), false, now).is_none());
    assert_eq!(again.lift(&Banned::Net(nets))[0].1, None);
    assert!(again.lift(&Banned::Net(nets)).is_empty());
    assert!(again.banned_ip([9, 9, 3, 4].into(), false, now).is_none());
}

#[test]
fn rows_that_are_damaged_are_passed_over() {
    let (mut book, mut wrong) = (ScoreBook::default(), 0);
    let good = Ban::new(Banned::Id(id(7)), at(5), "x").row();
    let all = [
        (&b""[..], &b""[..]),
        (b"id/test/", &good.1),
        (b"id/other/00", &good.1),
        (b"id/test/0", &good.1),
        (b"id/test/\xff\xff", &good.1),
        (b"net/1.2.3.4/33", &good.1),
        (&good.0, b""),
        (&good.0, b"-1 x"),
        (&good.0, b"18446744073709551615 x"),
        (&good.0, b"99999999999999999999 x"),
        (&good.0, b"1900000000@0 x"),
        (&good.0, b"1900000000@ x"),
        (b"net/9.9.9.9/32", b"1900000000@00 x"),
    ];
    for (key, value) in all {
        wrong += usize::from(!book.load(key, value, &[T], at(0)));
    }
    for cut in 0..good.0.len() {
        // A shorter key may be another, shorter identity; nothing panics.
        book.load(&good.0[..cut], &good.1, &[T], at(0));
    }
    assert!(wrong >= all.len() - 1, "{wrong}");
}

#[test]
fn nothing_grows_without_end() {
    let (rules, mut book) = (ScoreRules::default(), ScoreBook::default());
    for n in 0..3 * MAX_SCORED as u32 {
        let ip = IpAddr::from([20, (n >> 16) as u8, (n >> 8) as u8, n as u8]);
        book.report((Some(id(n)), Some(ip)), &wrong(1 + n % 7), &rules, false, at(u64::from(n)));
        assert!(book.points.len() <= 2 * MAX_SCORED);
    }
    assert_eq!(book.identities, book.points.keys().filter(|who| matches!(who, Banned::Id(_))).count());
    let mut stored = 0;
    for n in 0..2 * MAX_BANS as u32 {
        let ban = Ban::new(Banned::Id(id(n)), at(u64::MAX >> 36), "x".repeat(900));
        for (_, value) in book.ban(ban, at(0)) {
            stored = if value.is_some() { stored + 1 } else { stored - 1 };
        }
    }
    assert_eq!((book.list(at(0)).len(), stored), (MAX_BANS, MAX_BANS));
    assert!(book.list(at(0)).iter().all(|ban| ban.why.len() <= MAX_WHY));
    assert!(!Limits::default().strict_addresses);
    assert!(book.report((None, far(1)), &wrong(1), &rules, false, at(9)).is_empty());
}

#[test]
fn a_holders_ban_is_found_and_lifted_by_the_identity_it_was_seen_under() {
    let (mut book, now) = (ScoreBook::default(), at(0));
    let (holder, seen) = (id(7), id(70));
    let mut ban = Ban::new(Banned::Id(holder), at(100), "lied");
    ban.seen_as = Some(seen);
    let rows = book.ban(ban, now);
    let mut again = ScoreBook::default();
    assert!(again.load(&rows[0].0, rows[0].1.as_ref().unwrap(), &[T], now));
    for book in [&mut book, &mut again] {
        assert_eq!(book.list(now)[0].seen_as, Some(seen));
        assert!(book.banned_id(&seen, now).is_some() && book.banned_id(&holder, now).is_some());
        assert!(book.banned_id(&seen, at(100)).is_none(), "it is over");
        // The identity may be banned for itself, too: both go.
        book.ban(Ban::new(Banned::Id(seen), at(100), "again"), now);
        assert_eq!(book.lift(&Banned::Id(seen)).len(), 2);
        assert!(book.banned_id(&seen, now).is_none() && book.banned_id(&holder, now).is_none());
        assert!(book.seen_as.is_empty());
    }
    // What is remembered goes with the bans.
    for n in 0..2 * MAX_BANS as u32 {
        let mut ban = Ban::new(Banned::Id(id(n)), at(u64::from(n) + 1_000), "x");
        ban.seen_as = Some(id(n + 1_000_000));
        book.ban(ban, now);
        assert!(book.seen_as.len() <= MAX_BANS);
    }
    book.ban(Ban::new(Banned::Id(id(1)), at(900_000), "x"), at(800_000));
    assert_eq!(book.seen_as.len(), 0, "those that are over are forgotten");
}
