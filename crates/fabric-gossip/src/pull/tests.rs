use super::*;
use rand::SeedableRng;
use rand_chacha::ChaCha12Rng;

const TIMES: Times = Times {
    digest: Duration::from_secs(1),
    request: Duration::from_millis(1_500),
    response: Duration::from_secs(2),
};

fn id(n: u8) -> PkiId {
    PkiId([n; 32])
}

fn rng() -> ChaCha12Rng {
    ChaCha12Rng::seed_from_u64(7)
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn nonce_to(outs: &[Out<u64>], peer: PkiId) -> u64 {
    outs.iter()
        .find_map(|out| match out {
            Out::Hello { to, nonce } | Out::Request { to, nonce, .. } if *to == peer => Some(*nonce),
            _ => None,
        })
        .unwrap()
}

/// Rows 8.1 and 8.2, initiator: digests are gathered for a second, each item is asked of one owner.
#[test]
fn an_item_is_asked_of_one_of_its_owners() {
    let (mut engine, mut rng) = (Engine::new(TIMES), rng());
    let hellos = engine.start(&[id(1), id(2), id(3)], ms(0), &mut rng);
    assert_eq!(hellos.len(), 3);
    let (n1, n2) = (nonce_to(&hellos, id(1)), nonce_to(&hellos, id(2)));
    assert_eq!(engine.on_digest(id(1), n1, [1, 2, 3], ms(10), &mut rng), Ok(vec![]));
    assert_eq!(engine.on_digest(id(2), n2, [2, 3, 4], ms(20), &mut rng), Ok(vec![]));
    assert!(engine.tick(ms(999), &mut rng).is_empty(), "the third has not answered");
    let requests = engine.tick(ms(1_000), &mut rng);
    let mut all = Vec::new();
    for request in &requests {
        let Out::Request { to, nonce, items } = request else { panic!("{request:?}") };
        assert_eq!(*nonce, if *to == id(1) { n1 } else { n2 });
        all.extend(items.iter().copied());
    }
    all.sort_unstable();
    assert_eq!(all, [1, 2, 3, 4]);
    assert!(engine.is_asked(&1));
    let taken = engine.on_update(id(1), n1, ms(2_999)).unwrap();
    assert!(taken.contains(&1));
    assert_eq!(engine.on_update(id(1), n1, ms(2_999)), Err(PullRefusal::Nonce), "answered once");
    engine.tick(ms(3_000), &mut rng);
    assert_eq!(engine.on_update(id(2), n2, ms(3_000)), Err(PullRefusal::Nonce), "too late");
    assert_eq!(engine.wake(), None);
    assert_eq!(engine.counts(), Counts { begun: 1, asked: 4, answered: taken.len() as u64 });
}

#[test]
fn gathering_ends_when_all_have_answered() {
    let (mut engine, mut rng) = (Engine::new(TIMES), rng());
    let hellos = engine.start(&[id(1), id(2)], ms(0), &mut rng);
    engine.on_digest(id(1), nonce_to(&hellos, id(1)), [], ms(5), &mut rng).unwrap();
    let requests = engine.on_digest(id(2), nonce_to(&hellos, id(2)), [9], ms(6), &mut rng).unwrap();
    assert!(matches!(&requests[..], [Out::Request { items, .. }] if *items == [9]));
}

/// Row 8.2, responder: the nonce is kept 1.5 s, for the peer that sent it only.
#[test]
fn requests_need_a_fresh_nonce_of_their_own() {
    let mut engine = Engine::<u64>::new(TIMES);
    engine.on_hello(id(1), 5, ms(0)).unwrap();
    assert_eq!(engine.on_request(id(1), 5, ms(1_499)), Ok(()));
    assert_eq!(engine.on_request(id(2), 5, ms(1)), Err(PullRefusal::Nonce));
    assert_eq!(engine.on_request(id(1), 6, ms(1)), Err(PullRefusal::Nonce));
    assert_eq!(engine.on_request(id(1), 5, ms(1_500)), Err(PullRefusal::Nonce));
    assert_eq!(engine.on_hello(id(2), 5, ms(10)), Err(PullRefusal::TooMany), "another's nonce");
}

#[test]
fn strangers_and_floods_are_bounded() {
    let (mut engine, mut rng) = (Engine::new(TIMES), rng());
    let hellos = engine.start(&[id(1)], ms(0), &mut rng);
    let nonce = nonce_to(&hellos, id(1));
    assert_eq!(engine.on_digest(id(2), nonce, [1], ms(1), &mut rng), Err(PullRefusal::Nonce));
    assert_eq!(engine.on_digest(id(1), nonce ^ 1, [1], ms(1), &mut rng), Err(PullRefusal::Nonce));
    assert_eq!(engine.on_update(id(1), nonce, ms(1)), Err(PullRefusal::Nonce), "nothing was asked");
    let flood = engine.on_digest(id(1), nonce, 0..10_000_000, ms(1), &mut rng).unwrap();
    assert!(matches!(&flood[..], [Out::Request { items, .. }] if items.len() == MAX_DIGESTS));
    let taken = (0..1_000).filter(|n| engine.on_hello(id(9), *n, ms(0)).is_ok()).count();
    assert_eq!(taken, MAX_NONCES_OF_ONE);
    for peer in 0..10_000u32 {
        let mut name = [0; 32];
        name[..4].copy_from_slice(&peer.to_be_bytes());
        let _ = engine.on_hello(PkiId(name), u64::from(peer) + 5_000, ms(0));
    }
    assert_eq!(engine.incoming.len(), MAX_NONCES);
    for _ in 0..100 {
        engine.start(&[id(1)], ms(0), &mut rng);
    }
    assert_eq!(engine.rounds.len(), MAX_ROUNDS);
}
