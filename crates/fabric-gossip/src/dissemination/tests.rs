use super::*;
use rand::SeedableRng;
use rand_chacha::ChaCha12Rng;
use std::collections::BTreeSet;
use switchboard_fabric::message::{Content, DataMessage, GossipMessage, Tag};

fn id(n: u16) -> PkiId {
    let mut id = [n as u8; 32];
    id[..2].copy_from_slice(&n.wrapping_mul(40_503).to_be_bytes());
    PkiId(id)
}

fn message() -> SignedMessage {
    let content = Content::DataMsg(DataMessage::default());
    SignedMessage::unsigned(GossipMessage::new(Tag::ChanAndOrg, b"c", 0, content))
}

fn kind() -> Kind {
    Kind::Alive(id(1))
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Row 7.1: after 10 ms, or at once with ten messages; as often as is said; 0 turns it off.
#[test]
fn the_emitter_gathers_by_time_and_number() {
    let mut emitter = Emitter::new(ms(10), 10, 1);
    emitter.add(message(), kind(), None, ms(0));
    emitter.add(message(), kind(), None, ms(5));
    assert_eq!(emitter.wake(), Some(ms(10)));
    assert!(emitter.due(ms(9)).is_empty());
    assert_eq!(emitter.due(ms(10)).len(), 2);
    assert_eq!((emitter.wake(), emitter.due(ms(20)).len()), (None, 0));
    for _ in 0..10 {
        emitter.add(message(), kind(), None, ms(30));
    }
    assert_eq!(emitter.due(ms(30)).len(), 10);

    let mut twice = Emitter::new(ms(10), 10, 2);
    twice.add(message(), kind(), None, ms(0));
    assert_eq!((twice.due(ms(10)).len(), twice.due(ms(20)).len(), twice.due(ms(30)).len()), (1, 1, 0));

    let mut off = Emitter::new(ms(10), 10, 0);
    off.add(message(), kind(), None, ms(0));
    assert_eq!(off.wake(), None);
}

#[test]
fn the_emitter_is_bounded() {
    let mut emitter = Emitter::new(ms(10), usize::MAX, 1);
    for _ in 0..CAPACITY + 5 {
        emitter.add(message(), kind(), None, ms(0));
    }
    assert_eq!((emitter.overflow, emitter.due(ms(10)).len()), (5, CAPACITY));
}

#[test]
fn selection_is_even_and_without_repeats() {
    let mut rng = ChaCha12Rng::seed_from_u64(1);
    let peers: Vec<u16> = (0..200).collect();
    let mut hits = vec![0; 200];
    for _ in 0..4_000 {
        let chosen = select(&peers, 3, &mut rng, |_| true);
        assert_eq!(chosen.iter().collect::<BTreeSet<_>>().len(), 3);
        chosen.iter().for_each(|peer| hits[usize::from(*peer)] += 1);
    }
    assert!(hits.iter().all(|h| (25..110).contains(h)), "{hits:?}");
    for few in [0, 1, 2, 5] {
        for _ in 0..50 {
            let fits = |peer: &u16| usize::from(*peer) < few;
            assert_eq!(select(&peers, 3, &mut rng, fits).len(), few.min(3), "also rare ones are found");
        }
    }
    assert_eq!(select(&peers, 500, &mut rng, |p| p % 2 == 0).len(), 100);
    assert!(select::<u16>(&[], 3, &mut rng, |_| true).is_empty());
}

/// Following the ring from any peer passes every other one: no peer is left out, whatever the random copies do.
#[test]
fn the_ring_passes_everyone_and_turns_with_the_block() {
    let peers: Vec<_> = (0..50).map(id).collect();
    let mut first = BTreeSet::new();
    for number in 0..20 {
        let (mut at, mut seen) = (peers[0], BTreeSet::new());
        for _ in 0..peers.len() {
            assert!(seen.insert(at));
            at = successors(&peers, at, number, None, 1)[0];
        }
        assert_eq!((seen.len(), at), (50, peers[0]));
        first.insert(successors(&peers, peers[0], number, None, 1)[0]);
    }
    assert!(first.len() > 10, "each block has its own order");
    let two = successors(&peers, peers[0], 3, None, 2);
    assert_eq!(successors(&peers, peers[0], 3, Some(two[0]), 1), [two[1]], "not back to the sender");
    assert!(successors(&peers[..1], peers[0], 3, None, 2).is_empty());
}

#[test]
fn a_block_goes_to_as_many_as_is_said() {
    let mut rng = ChaCha12Rng::seed_from_u64(1);
    let peers: Vec<_> = (0..50).map(id).collect();
    for count in 0..6 {
        let chosen = spread(&peers, peers[0], 9, Some(peers[1]), count, &mut rng);
        let set: BTreeSet<_> = chosen.iter().collect();
        assert_eq!((chosen.len(), set.len()), (count, count));
        assert!(!set.contains(&peers[0]) && !set.contains(&peers[1]));
    }
    assert_eq!(spread(&peers[..2], peers[0], 9, None, 3, &mut rng), [peers[1]]);
}
