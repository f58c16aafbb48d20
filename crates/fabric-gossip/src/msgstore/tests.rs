use super::*;
use proptest::prelude::*;

fn id(n: u8) -> PkiId {
    PkiId([n; 32])
}

fn stamp(inc: u64, seq: u64) -> Stamp {
    Stamp { inc, seq }
}

const TTL: Duration = Duration::from_secs(100);

/// Row 7.5: each kind against itself and another.
#[test]
fn comparison_follows_the_table() {
    use Verdict::{Invalidated, Invalidates, NoAction};
    for kind in [Subject::Alive, Subject::StateInfo, Subject::Leadership] {
        let held = kind(id(1), stamp(5, 5));
        for (new, want) in [
            (kind(id(1), stamp(5, 5)), Invalidated),
            (kind(id(1), stamp(5, 4)), Invalidated),
            (kind(id(1), stamp(4, 9)), Invalidated),
            (kind(id(1), stamp(5, 6)), Invalidates),
            (kind(id(1), stamp(6, 0)), Invalidates),
            (kind(id(2), stamp(1, 1)), NoAction),
            (Subject::Block(3), NoAction),
        ] {
            assert_eq!(compare(new, held, 10), want, "{new:?}");
        }
    }
    for (new, held, want) in [
        (7, 7, Invalidated),
        (17, 7, NoAction),
        (7, 17, NoAction),
        (18, 7, Invalidates),
        (7, 18, Invalidated),
        (u64::MAX, 0, Invalidates),
        (0, u64::MAX, Invalidated),
    ] {
        assert_eq!(compare(Subject::Block(new), Subject::Block(held), 10), want, "{new} {held}");
    }
    assert_eq!(compare(Subject::Identity(id(1)), Subject::Identity(id(1)), 10), Invalidated);
    assert_eq!(compare(Subject::Identity(id(1)), Subject::Identity(id(2)), 10), NoAction);
    assert_eq!(compare(Subject::Other, Subject::Other, 10), NoAction);
}

/// A store as Go's: compares with every message it holds.
fn add_by_rule(held: &mut Vec<Subject>, new: Subject, window: u64) -> bool {
    if held.iter().any(|h| compare(new, *h, window) == Verdict::Invalidated) {
        return false;
    }
    held.retain(|h| compare(new, *h, window) != Verdict::Invalidates);
    held.push(new);
    true
}

proptest! {
    /// The indexed stores hold what the rule leaves.
    #[test]
    fn stores_keep_what_the_rule_leaves(blocks in proptest::collection::vec(0u64..60, 0..80), window in 0u64..12,
            authors in proptest::collection::vec((0u8..4, 0u64..4, 0u64..4), 0..60)) {
        let (mut store, mut plain) = (BlockStore::new(TTL, window), Vec::new());
        for n in blocks {
            let want = add_by_rule(&mut plain, Subject::Block(n), window);
            prop_assert_eq!(store.check(n), want);
            prop_assert_eq!(store.add(n, n, Duration::ZERO), want);
            let mut left: Vec<_> = plain.iter().map(|s| match s { Subject::Block(n) => *n, _ => 0 }).collect();
            left.sort_unstable();
            prop_assert_eq!(store.iter().map(|(n, _)| n).collect::<Vec<_>>(), left);
        }
        let (mut store, mut plain) = (AuthorStore::new(None, 100), Vec::new());
        for (author, inc, seq) in authors {
            let (author, stamp) = (id(author), stamp(inc, seq));
            let want = add_by_rule(&mut plain, Subject::Alive(author, stamp), window);
            prop_assert_eq!(store.add(author, stamp, stamp, Duration::ZERO), want);
            prop_assert_eq!(store.len(), plain.len());
        }
    }
}

/// Row 7.6: hidden at TTL but still in the way, gone at twice the TTL.
#[test]
fn expiry_hides_then_removes() {
    let s = Duration::from_secs;
    let mut store = AuthorStore::new(Some(TTL), 10);
    assert!(store.add(id(1), stamp(1, 1), 'a', s(0)));
    assert_eq!(store.wake(), Some(s(1)));
    assert!(store.sweep(s(99)).is_empty());
    assert_eq!(store.get(&id(1)), Some(&'a'));
    assert_eq!(store.sweep(s(100)), [id(1)]);
    assert_eq!((store.get(&id(1)), store.iter().count()), (None, 0));
    assert!(!store.add(id(1), stamp(1, 1), 'a', s(101)), "a replay of what was hidden");
    assert!(store.sweep(s(150)).is_empty(), "hidden once");
    store.sweep(s(200));
    assert!(store.is_empty() && store.wake().is_none());
    assert!(store.add(id(1), stamp(1, 1), 'a', s(201)));

    let mut blocks = BlockStore::new(TTL, 10);
    assert!(blocks.add(5, 'b', s(0)));
    blocks.sweep(s(100));
    assert_eq!(blocks.get(5), None);
    assert!(!blocks.add(5, 'b', s(100)) && blocks.knows(5));
    blocks.sweep(s(200));
    assert!(blocks.add(5, 'b', s(200)));
}

#[test]
fn a_full_store_refuses_new_authors_only() {
    let mut store = AuthorStore::new(None, 2);
    assert!(store.add(id(1), stamp(1, 1), (), Duration::ZERO));
    assert!(store.add(id(2), stamp(1, 1), (), Duration::ZERO));
    assert!(!store.add(id(3), stamp(1, 1), (), Duration::ZERO));
    assert!(store.add(id(1), stamp(1, 2), (), Duration::ZERO));
    assert_eq!(store.len(), 2);
    store.remove(&id(2));
    assert!(store.add(id(3), stamp(1, 1), (), Duration::ZERO));
}

/// Numbers at the end of the range neither overflow nor grow the store.
#[test]
fn block_numbers_at_the_ends() {
    let mut store = BlockStore::new(TTL, 10);
    for n in [0, 1, u64::MAX - 1, u64::MAX, 2] {
        store.add(n, (), Duration::ZERO);
    }
    assert_eq!(store.iter().map(|(n, ())| n).collect::<Vec<_>>(), [u64::MAX - 1, u64::MAX]);
    for n in 0..1_000 {
        store.add(u64::MAX - 1_000 + n, (), Duration::ZERO);
    }
    assert!(store.iter().count() <= 11);
}
