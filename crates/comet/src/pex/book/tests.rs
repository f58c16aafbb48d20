use super::file::{self, FileError, FormatError, MAX_FILE};
use super::*;
use crate::key::NodeId;
use crate::pex::address::{Group, PeerAddress};
use crate::pex::stamp::Stamp;
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const NOW: Stamp = Stamp::from_secs(1_795_000_000);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

fn id(n: u32) -> NodeId {
    let mut id = [0; 20];
    id[..4].copy_from_slice(&n.to_be_bytes());
    NodeId(id)
}

/// An address of its own ID in the given /16.
fn at(group: u16, n: u32) -> PeerAddress {
    let [a, b] = group.to_be_bytes();
    let [_, _, c, d] = n.to_be_bytes();
    PeerAddress::new(id(u32::from(group) << 16 | n), [a, b, c, d].into(), 26_656)
}

/// A public /16, spread over the address space.
fn public(n: u32) -> u16 {
    0x1000 + (n % 0x5000) as u16
}

/// A book with `count` addresses told by sources in many groups.
fn full(count: u32, rng: &mut ChaCha20Rng) -> Book {
    let mut book = Book::new(true, rng);
    for n in 0..count {
        let source = at(public(n / 50 * 31), 1);
        let _ = book.add(at(public(n * 7), n), source, NOW, rng);
    }
    book
}

/// Everything that must hold between the parts of a book.
fn check(book: &Book) {
    let all = book.sorted();
    assert_eq!(all.len(), book.len());
    assert_eq!(book.count(Kind::New) + book.count(Kind::Old), book.len());
    let mut load = BTreeMap::new();
    for known in &all {
        let buckets = known.buckets();
        assert!(!buckets.is_empty(), "in no bucket");
        assert!(buckets.len() <= if known.kind == Kind::Old { 1 } else { MAX_BUCKETS_PER_ADDRESS });
        assert_eq!(buckets.iter().collect::<BTreeSet<_>>().len(), buckets.len());
        assert_eq!(book.get(&known.address.id), Some(*known));
        for bucket in buckets {
            *load.entry((known.kind, *bucket)).or_insert(0) += 1;
        }
    }
    for ((kind, bucket), count) in load {
        assert!(count <= BUCKET_SIZE, "{kind:?} {bucket} has {count}");
        assert!(kind == Kind::New || usize::from(bucket) < OLD_BUCKETS);
    }
}

#[test]
fn what_is_not_taken() {
    let rng = &mut rng(1);
    let mut book = Book::new(true, rng);
    let source = at(public(9), 9);
    book.set_own_id(id(1));
    book.add_own(at(public(3), 3));
    book.add_private([id(2), id(7)]);
    book.mark_bad(&id(4), NOW.plus(DAY));
    let with = |id, ip: &str, port| PeerAddress::new(id, ip.parse().unwrap(), port);
    let mut add = |address, source| book.add(address, source, NOW, rng);
    assert_eq!(add(with(id(5), "0.0.0.0", 1), source), Err(Refused::Invalid));
    assert_eq!(add(with(id(5), "255.255.255.255", 1), source), Err(Refused::Invalid));
    assert_eq!(add(with(id(5), "2001:db8::1", 1), source), Err(Refused::Invalid));
    assert_eq!(add(with(id(5), "1.2.3.4", 0), source), Err(Refused::Invalid));
    assert_eq!(add(with(id(4), "1.2.3.4", 1), source), Err(Refused::Banned));
    assert_eq!(add(with(id(2), "1.2.3.4", 1), source), Err(Refused::Private));
    assert_eq!(add(with(id(5), "1.2.3.4", 1), with(id(7), "9.9.9.9", 1)), Err(Refused::PrivateSource));
    assert_eq!(add(with(id(1), "1.2.3.4", 1), source), Err(Refused::Own));
    assert_eq!(add(PeerAddress { id: id(5), ..at(public(3), 3) }, source), Err(Refused::Own));
    for ip in ["127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "169.254.0.1", "fc00::1", "fe80::1"] {
        assert_eq!(add(with(id(5), ip, 1), source), Err(Refused::NotRoutable), "{ip}");
    }
    assert_eq!(add(with(id(5), "1.2.3.4", 1), source), Ok(Added::New));
    let mut lax = Book::new(false, rng);
    assert_eq!(lax.add(with(id(5), "127.0.0.1", 1), source, NOW, rng), Ok(Added::New));
    assert_eq!(lax.add(with(id(6), "0.0.0.0", 1), source, NOW, rng), Err(Refused::Invalid));
}

#[test]
fn private_ids_and_own_addresses_leave_the_book() {
    let rng = &mut rng(2);
    let mut book = Book::new(true, rng);
    let (a, b, c) = (at(public(1), 1), at(public(2), 2), at(public(3), 3));
    book.add(a, a, NOW, rng).unwrap();
    book.add(b, a, NOW, rng).unwrap();
    book.add(c, c, NOW, rng).unwrap();
    book.add_private([a.id]);
    assert_eq!(book.sorted().iter().map(|known| known.address).collect::<Vec<_>>(), [c]);
    book.add_own(c);
    assert!(book.is_empty() && book.is_own(&c));
    check(&book);
}

#[test]
fn an_address_gets_four_buckets_at_most() {
    let rng = &mut rng(3);
    let mut book = Book::new(true, rng);
    let address = at(public(1), 1);
    let mut again = 0;
    for n in 0..2_000 {
        again += u32::from(book.add(address, at(public(n), n), NOW, rng) == Ok(Added::Again));
    }
    assert_eq!((again, book.len()), (3, 1));
    assert_eq!(book.get(&address.id).unwrap().buckets().len(), MAX_BUCKETS_PER_ADDRESS);
    check(&book);
}

#[test]
fn an_old_id_keeps_its_address() {
    let rng = &mut rng(4);
    let mut book = Book::new(true, rng);
    let address = at(public(1), 1);
    book.add(address, address, NOW, rng).unwrap();
    book.mark_good(&address.id, NOW);
    assert!(book.is_good(&address.id));
    let lie = PeerAddress { id: address.id, ..at(public(66), 66) };
    for n in 0..100 {
        assert_eq!(book.add(lie, at(public(n), n), NOW, rng), Ok(Added::Known));
    }
    assert_eq!(book.get(&address.id).unwrap().address, address);
    assert_eq!((book.count(Kind::New), book.count(Kind::Old)), (0, 1));
    check(&book);
}

#[test]
fn one_source_group_fills_32_buckets_however_much_it_tells() {
    let rng = &mut rng(5);
    let mut book = Book::new(true, rng);
    for n in 0..60_000 {
        let _ = book.add(at(public(n), n), at(public(1), n), NOW, rng);
    }
    let buckets: BTreeSet<u8> = book.sorted().iter().flat_map(|known| known.buckets().to_vec()).collect();
    assert!(buckets.len() <= NEW_BUCKETS_PER_GROUP, "{}", buckets.len());
    assert!(book.len() <= NEW_BUCKETS_PER_GROUP * BUCKET_SIZE);
    check(&book);
}

#[test]
fn one_group_becomes_old_in_four_buckets() {
    let rng = &mut rng(6);
    let mut book = Book::new(true, rng);
    for n in 0..2_000 {
        let address = at(public(1), n);
        book.add(address, at(public(n), n), NOW, rng).unwrap();
        book.mark_good(&address.id, NOW.plus(Duration::from_secs(n.into())));
    }
    assert!(book.count(Kind::Old) <= OLD_BUCKETS_PER_GROUP * BUCKET_SIZE, "{}", book.count(Kind::Old));
    // Who had to leave is new again, not forgotten.
    assert!(book.count(Kind::New) > 500, "{}", book.count(Kind::New));
    check(&book);
}

#[test]
fn what_is_bad() {
    let mut known = Known::new(at(1, 1), at(1, 1), NOW);
    let later = |days: u32| NOW.plus(DAY * days);
    assert!(!known.is_bad(NOW) && !known.is_bad(later(7)) && known.is_bad(later(7).plus(MINUTE)));
    known.attempts = 2;
    assert!(!known.is_bad(later(1)));
    known.attempts = 3;
    assert!(!known.is_bad(NOW.plus(MINUTE / 2)) && known.is_bad(NOW.plus(MINUTE)));
    known.last_success = NOW;
    assert!(!known.is_bad(later(1)));
    known.last_attempt = later(8);
    known.attempts = 9;
    assert!(!known.is_bad(later(9)));
    known.attempts = 10;
    assert!(known.is_bad(later(9)));
    known.kind = Kind::Old;
    assert!(!known.is_bad(later(900)));
}

#[test]
fn a_full_bucket_loses_a_bad_address_first_then_the_oldest() {
    let rng = &mut rng(7);
    let mut book = Book::new(true, rng);
    let (source, group) = (at(public(1), 1), public(40));
    // One group from one source goes into one bucket.
    for n in 0..64 {
        let at_time = NOW.plus(Duration::from_secs(n.into()));
        book.add(at(group, n), source, at_time, rng).unwrap();
    }
    let bad = id(u32::from(group) << 16 | 40);
    (0..3).for_each(|_| book.mark_attempt(&bad, NOW.plus(MINUTE)));
    let now = NOW.plus(MINUTE * 3);
    book.add(at(group, 64), source, now, rng).unwrap();
    assert!(book.get(&bad).is_none() && book.len() == 64);
    book.add(at(group, 65), source, now, rng).unwrap();
    assert!(book.get(&at(group, 0).id).is_none() && book.get(&at(group, 1).id).is_some());
    assert_eq!(book.len(), 64);
    check(&book);
}

#[test]
fn bans_end_and_bring_the_address_back() {
    let rng = &mut rng(8);
    let mut book = Book::new(true, rng);
    let (a, b) = (at(public(1), 1), at(public(2), 2));
    book.add(a, b, NOW, rng).unwrap();
    book.mark_good(&a.id, NOW);
    book.mark_bad(&a.id, NOW.plus(DAY));
    book.mark_bad(&a.id, NOW.plus(MINUTE));
    book.mark_bad(&b.id, NOW.plus(MINUTE));
    assert!(book.is_empty());
    assert_eq!(book.bans().collect::<Vec<_>>(), [(a.id, NOW.plus(DAY)), (b.id, NOW.plus(MINUTE))]);
    assert_eq!(book.reinstate(NOW.plus(MINUTE * 2)), 0, "the ban of who was not in the book just ends");
    assert!(book.is_banned(&a.id, NOW.plus(MINUTE * 2)) && !book.is_banned(&b.id, NOW.plus(MINUTE * 2)));
    assert_eq!(book.reinstate(NOW.plus(DAY)), 1);
    assert_eq!(book.get(&a.id).map(|known| (known.address, known.kind)), Some((a, Kind::New)));
    check(&book);
}

#[test]
fn bans_are_bounded_and_the_first_to_end_goes() {
    let mut book = Book::new(true, &mut rng(9));
    for n in 0..MAX_BANNED as u32 + 10 {
        book.mark_bad(&id(n), NOW.plus(MINUTE * (n + 1)));
    }
    assert_eq!(book.bans().count(), MAX_BANNED);
    assert!(!book.is_banned(&id(9), NOW) && book.is_banned(&id(10), NOW));
}

#[test]
fn picks_follow_the_bias() {
    let rng = &mut rng(10);
    let mut book = full(2_000, rng);
    let ids: Vec<_> = book.sorted().iter().map(|known| known.address.id).collect();
    ids.iter().step_by(2).for_each(|id| book.mark_good(id, NOW));
    let mut new = |bias| {
        let kind = |known: Option<&Known>| known.unwrap().kind;
        (0..4_000).filter(|_| kind(book.pick(bias, rng)) == Kind::New).count()
    };
    assert_eq!((new(0), new(100), new(255)), (0, 4_000, 4_000));
    assert!((1_700..2_300).contains(&new(50)) && (250..550).contains(&new(10)) && new(90) > 3_450);
    let mut empty = Book::new(true, rng);
    assert!(empty.pick(50, rng).is_none());
    let one = at(public(1), 1);
    empty.add(one, one, NOW, rng).unwrap();
    assert_eq!(empty.pick(30, rng).unwrap().address, one);
    empty.mark_good(&one.id, NOW);
    assert!(empty.pick(100, rng).is_none(), "only new ones wanted, none there");
    assert_eq!(empty.pick(30, rng).unwrap().address, one);
}

#[test]
fn every_bucket_is_picked_alike() {
    let rng = &mut rng(11);
    let mut book = Book::new(true, rng);
    // One address alone in its bucket, 64 in another.
    let lone = at(public(1), 1);
    book.add(lone, lone, NOW, rng).unwrap();
    for n in 0..64 {
        book.add(at(public(500), n), at(public(77), 1), NOW, rng).unwrap();
    }
    let hits = (0..4_000).filter(|_| book.pick(100, rng).unwrap().address == lone).count();
    assert!((1_800..2_200).contains(&hits), "{hits}");
}

#[test]
fn selections_have_the_right_shares() {
    let rng = &mut rng(12);
    let mut book = full(900, rng);
    let size = book.len();
    let ids: Vec<_> = book.sorted().iter().map(|known| known.address.id).collect();
    ids.iter().take(size / 2).for_each(|id| book.mark_good(id, NOW));
    let len = selection_len(size);
    let distinct = |found: &[PeerAddress]| found.iter().collect::<BTreeSet<_>>().len();
    let all = book.selection(rng);
    assert_eq!((all.len(), distinct(&all)), (len, len));
    for bias in [0, 30, 50, 100] {
        let found = book.selection_with_bias(bias, rng);
        let new = found.iter().filter(|address| !book.is_good(&address.id)).count();
        assert_eq!(new, (f64::from(bias) / 100.0 * len as f64).round() as usize, "{bias}");
        assert_eq!((found.len(), distinct(&found)), (len, len));
    }
    // Too few old ones: new ones take their place.
    let fresh = full(100, rng);
    assert_eq!(fresh.selection_with_bias(30, rng).len(), 32);
    // Too few new ones: the rest is old.
    ids.iter().for_each(|id| book.mark_good(id, NOW));
    let found = book.selection_with_bias(100, rng);
    assert_eq!(found.len(), selection_len(book.len()));
    assert!(Book::new(true, rng).selection(rng).is_empty());
    assert!(Book::new(true, rng).selection_with_bias(30, rng).is_empty());
}

#[test]
fn need_more_below_a_thousand() {
    let rng = &mut rng(13);
    let mut book = full(900, rng);
    assert!(book.need_more());
    let mut n = 10_000;
    while book.len() < NEED_MORE_BELOW {
        n += 1;
        let _ = book.add(at(public(n), n), at(public(n * 3), n), NOW, rng);
    }
    assert!(!book.need_more());
}

#[test]
fn a_hundred_thousand_addresses() {
    let rng = &mut rng(14);
    let mut book = Book::new(true, rng);
    let start = tokio::time::Instant::now();
    for n in 0..100_000_u32 {
        let random = rng.next_u32();
        let _ = book.add(at(public(random), n & 0xffff), at(public(n / 100 * 13), n), NOW, rng);
        if n % 5 == 0 {
            book.mark_good(&at(public(random), n & 0xffff).id, NOW);
        }
    }
    let added = start.elapsed();
    check(&book);
    let start = tokio::time::Instant::now();
    let picked = (0..100_000).filter(|_| book.pick(50, rng).is_some()).count();
    println!(
        "100,000 told: {} kept in {} kB ({} bytes each); told in {added:?}, {picked} picked in {:?}",
        book.len(),
        book.memory() / 1_000,
        book.memory() / book.len(),
        start.elapsed()
    );
    assert!(book.len() > 15_000 && book.len() <= (NEW_BUCKETS + OLD_BUCKETS) * BUCKET_SIZE);
    assert!(book.memory() < 5_000_000, "{}", book.memory());
    assert!(book.to_json().len() as u64 * 2 < MAX_FILE, "a full book fits into its file");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever happens in whatever order, the parts of a book agree, and a file holds all of it.
    #[test]
    fn parts_agree(steps in prop::collection::vec((0_u8..7, 0_u32..400, 0_u32..9), 1..600), seed: u64) {
        let rng = &mut rng(seed);
        let mut book = Book::new(true, rng);
        let mut now = NOW;
        for (step, n, source) in steps {
            now = now.plus(MINUTE);
            // Few groups, so that buckets fill.
            let address = at(public(n % 3), n);
            match step {
                0..=2 => {
                    let _ = book.add(address, at(public(source), source), now, rng);
                }
                3 => book.mark_good(&address.id, now),
                4 => book.mark_attempt(&address.id, now),
                5 => book.mark_bad(&address.id, now.plus(MINUTE * 5)),
                _ => {
                    book.reinstate(now);
                }
            }
        }
        check(&book);
        let (again, report) = Book::from_json(&book.to_json(), true, now).unwrap();
        check(&again);
        prop_assert_eq!(again.sorted().len(), report.kept);
        for known in book.sorted() {
            let read = again.get(&known.address.id).unwrap();
            prop_assert_eq!((read.source, read.kind, read.attempts), (known.source, known.kind, known.attempts));
            prop_assert_eq!(read.buckets(), known.buckets());
            prop_assert_eq!((read.last_attempt, read.last_success), (known.last_attempt, known.last_success));
        }
        let holding = |book: &Book| book.bans().filter(|(_, until)| *until > now).collect::<Vec<_>>();
        prop_assert_eq!(holding(&book), holding(&again));
    }

    #[test]
    fn any_text_is_no_panic(text in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Book::from_json(&text, true, NOW);
    }
}

// The file.

const SAMPLE: &str = include_str!("../../../tests/vectors/addrbook_sample.json");

#[test]
fn a_book_of_go_is_read_and_written_byte_for_byte() {
    let now = Stamp::parse("2026-11-22T00:00:00Z").unwrap();
    let (book, report) = Book::from_json(SAMPLE.as_bytes(), true, now).unwrap();
    assert_eq!((report.entries, report.kept, report.misplaced), (2, 2, 0));
    let new = book.get(&NodeId([2; 20])).unwrap();
    assert_eq!((new.kind, new.buckets(), new.attempts), (Kind::New, &[57][..], 1));
    let old = book.get(&NodeId([3; 20])).unwrap();
    assert_eq!((old.kind, old.buckets(), old.address.port), (Kind::Old, &[21][..], 26_657));
    assert_eq!(String::from_utf8(book.to_json()).unwrap(), SAMPLE);
    let rng = &mut rng(1);
    assert!((0..50).all(|_| book.pick(50, rng).is_some()));
}

#[test]
fn an_empty_book_is_what_go_writes() {
    let book = Book::with_key("5472fa544703d6169d0e6a3d".to_owned(), true);
    let text = "{\n\t\"key\": \"5472fa544703d6169d0e6a3d\",\n\t\"addrs\": []\n}";
    assert_eq!(String::from_utf8(book.to_json()).unwrap(), text);
    let (book, _) = Book::from_json(br#"{"key":"ab","addrs":null}"#, true, NOW).unwrap();
    assert!(book.is_empty());
}

#[test]
fn a_file_cut_anywhere_is_corrupt() {
    for end in 0..SAMPLE.len() {
        let cut = Book::from_json(&SAMPLE.as_bytes()[..end], true, NOW);
        assert!(matches!(cut, Err(FormatError::Json(_))), "cut at {end}");
    }
}

/// A book's text with these entries.
fn text(entries: &[String]) -> Vec<u8> {
    format!(r#"{{"key":"ab","addrs":[{}]}}"#, entries.join(",")).into_bytes()
}

fn entry(id: &str, ip: &str, buckets: &str, kind: u8) -> String {
    format!(
        r#"{{"addr":{{"id":"{id}","ip":"{ip}","port":1}},"src":{{"id":"{id}","ip":"{ip}","port":1}},
        "buckets":{buckets},"attempts":-1,"bucket_type":{kind},"last_attempt":"2999-01-01T00:00:00Z","x":[{{}}]}}"#
    )
}

#[test]
fn entries_of_no_use_are_counted() {
    let ids: Vec<String> = (1..=9_u8).map(|n| hex::encode([n; 20])).collect();
    let entries = [
        entry(&ids[0], "1.2.3.4", "[7]", 1),
        entry(&ids[0], "1.2.3.5", "[8]", 2),
        entry("zz", "1.2.3.4", "[7]", 1),
        entry(&ids[1], "host", "[7]", 1),
        entry(&ids[2], "127.0.0.1", "[7]", 1),
        entry(&ids[3], "1.2.3.4", "[]", 1),
        entry(&ids[4], "1.2.3.4", "null", 2),
        entry(&ids[5], "1.2.3.4", "[99]", 2),
        entry(&ids[6], "1.2.3.4", "[-1, 256, 99999999999]", 1),
        entry(&ids[7], "1.2.3.4", "[1,1,1,2,3,4,5,6,7]", 1),
        entry(&ids[8], "1.2.3.4", "[7]", 3),
        r#"{"bucket_type":1}"#.to_owned(),
    ];
    let (book, report) = Book::from_json(&text(&entries), true, NOW).unwrap();
    check(&book);
    assert_eq!(report.entries, 12);
    assert_eq!((report.kept, report.unusable, report.duplicates), (6, 4, 1));
    assert_eq!((report.not_routable, report.misplaced, report.no_room), (1, 4, 0));
    let first = book.get(&NodeId([1; 20])).unwrap();
    assert_eq!((first.attempts, first.last_attempt), (0, NOW), "no attempt lies in the future");
    assert_eq!(book.get(&NodeId([8; 20])).unwrap().buckets(), [1, 2, 3, 4]);
}

#[test]
fn a_cycle_of_duplicates_is_one_address() {
    let id = hex::encode([1; 20]);
    let entries: Vec<_> = (0..5_000).map(|n| entry(&id, "1.2.3.4", &format!("[{}]", n % 256), 1)).collect();
    let (book, report) = Book::from_json(&text(&entries), true, NOW).unwrap();
    assert_eq!((book.len(), report.duplicates), (1, 4_999));
    check(&book);
}

#[test]
fn a_bucket_that_overflows_in_a_file() {
    let id = |n: u32| hex::encode(super::tests::id(n).0);
    let entries: Vec<_> = (0..200).map(|n| entry(&id(n), "1.2.3.4", "[7]", 1)).collect();
    let (mut book, report) = Book::from_json(&text(&entries), true, NOW).unwrap();
    assert_eq!((report.kept, report.no_room), (65, 135), "the Go code lets one too many in");
    let rng = &mut rng(1);
    for n in 0..2_000 {
        let _ = book.add(at(public(n), n), at(public(n), n), NOW, rng);
    }
    let in_bucket = book.sorted().iter().filter(|k| k.kind == Kind::New && k.buckets().contains(&7)).count();
    assert!(in_bucket <= 65, "it never grows");
}

#[test]
fn limits_of_a_file() {
    assert_eq!(Book::from_json(&vec![b' '; MAX_FILE as usize + 1], true, NOW).err(), {
        Some(FormatError::TooLarge(MAX_FILE + 1))
    });
    let many = vec![r#"{"bucket_type":1}"#.to_owned(); file::MAX_ENTRIES + 1];
    assert!(matches!(Book::from_json(&text(&many), true, NOW), Err(FormatError::Json(_))));
    let (_, report) = Book::from_json(&text(&many[1..]), true, NOW).unwrap();
    assert_eq!(report.unusable, file::MAX_ENTRIES);
    for corrupt in ["", "{}", "[]", "null", r#"{"key":"","addrs":[]}"#, r#"{"key":"ab","addrs":[7]}"#] {
        assert!(Book::from_json(corrupt.as_bytes(), true, NOW).is_err(), "{corrupt}");
    }
    // What nobody knows is read over, however deep it goes; what is known may not go deep at all.
    let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
    let deep = |field: &str| format!(r#"{{"key":"ab","addrs":[],"{field}":{open}{close}}}"#);
    assert!(Book::from_json(deep("x").as_bytes(), true, NOW).is_ok());
    assert!(Book::from_json(deep("banned").as_bytes(), true, NOW).is_err());
}

#[test]
fn bans_survive_in_the_file() {
    let rng = &mut rng(21);
    let mut book = Book::new(true, rng);
    let address = at(public(1), 1);
    book.add(address, address, NOW, rng).unwrap();
    book.mark_bad(&address.id, NOW.plus(DAY));
    book.mark_bad(&id(9), NOW.plus(DAY));
    book.mark_bad(&id(10), NOW.plus(MINUTE));
    let (mut again, report) = Book::from_json(&book.to_json(), true, NOW.plus(MINUTE * 2)).unwrap();
    assert_eq!((report.banned, report.kept), (2, 0));
    assert!(again.is_banned(&address.id, NOW.plus(MINUTE)) && again.is_banned(&id(9), NOW.plus(MINUTE)));
    assert_eq!(again.add(address, address, NOW.plus(MINUTE), rng), Err(Refused::Banned));
    assert_eq!(again.reinstate(NOW.plus(DAY * 2)), 1);
    assert_eq!(again.get(&address.id).unwrap().address, address);
}

#[test]
fn files_are_opened_saved_and_put_aside() {
    let rng = &mut rng(22);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("addrbook.json");
    let mut opened = file::open(&path, true, NOW, rng).unwrap();
    assert!(opened.book.is_empty() && opened.aside.is_none());
    let address = at(public(1), 1);
    opened.book.add(address, address, NOW, rng).unwrap();
    assert!(opened.book.take_changed() && !opened.book.take_changed());
    file::save(&path, &opened.book.to_json()).unwrap();
    file::save(&path, &opened.book.to_json()).unwrap();
    let again = file::open(&path, true, NOW, rng).unwrap();
    assert_eq!((again.book.len(), again.report.kept), (1, 1));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");

    for n in 1..=3 {
        std::fs::write(&path, b"{\"key\": \"ab\", \"addrs\": [").unwrap();
        let fresh = file::open(&path, true, NOW, rng).unwrap();
        assert!(fresh.book.is_empty());
        let (aside, error) = fresh.aside.unwrap();
        assert_eq!(aside, folder.path().join(format!("addrbook.json.corrupt-{n}")));
        assert!(aside.exists() && !path.exists());
        assert!(matches!(error, FileError::Corrupt { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("addrbook.json: it is no address book in JSON: Eof error at line 1"), "{text}");
    }
}

#[test]
fn a_file_of_100_mb_is_refused_by_its_size() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("addrbook.json");
    // Sparse: no byte of it is on the disk, and none is read.
    std::fs::File::create(&path).unwrap().set_len(100 << 20).unwrap();
    let Err(FileError::Corrupt { error, .. }) = file::load(&path, true, NOW) else { panic!("read") };
    assert_eq!(error, FormatError::TooLarge(100 << 20));
    let opened = file::open(&path, true, NOW, &mut rng(1)).unwrap();
    assert!(opened.aside.is_some_and(|(path, _)| path.metadata().unwrap().len() == 100 << 20));
}

#[test]
fn what_the_system_refuses_is_no_corrupt_book() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(file::open(folder.path(), true, NOW, &mut rng(1)), Err(FileError::Io { .. })));
    let nowhere = folder.path().join("no/such/folder/addrbook.json");
    assert!(matches!(file::save(&nowhere, b"{}"), Err(FileError::Io { .. })));
    assert!(file::load(&nowhere, true, NOW).unwrap().is_none());
}

#[test]
fn groups_are_counted_until_there_are_enough() {
    let rng = &mut rng(23);
    let book = full(300, rng);
    let groups: BTreeSet<Group> = book.sorted().iter().map(|known| known.address.group(true)).collect();
    assert!(book.has_groups(1) && book.has_groups(groups.len()) && !book.has_groups(groups.len() + 1));
}
