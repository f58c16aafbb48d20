//! What strangers can make the state keep, and what that costs (P18, P23, P24, P25).

use super::*;

/// Every cast that was learnt gets a store with nothing in it.
fn learn(w: &mut World, key: PeerKey, said: Message) -> Option<Slot> {
    let Ok(Action::Open { slot, header, .. }) = w.receive(key, said) else { return None };
    w.state.opened(slot, PageSet::default(), Bits::new(header.chunks()), 1);
    Some(slot)
}

/// A file of nothing but zeros, of so many pages.
fn zeros(pages: usize) -> World {
    let page: Bytes = hash(&[0; CHUNK]).repeat(1024).into();
    let size = pages * 1024 * CHUNK;
    let header = Header::new(size as u64, CHUNK as u32, "", &vec![hash(&page); pages]).unwrap();
    let manifest = Manifest { header, pages: vec![page; pages], sha256: [0; 32] };
    World { bytes: vec![0; size], manifest, ..World::new(0) }
}

#[test]
fn a_peer_that_announces_empty_files_takes_nobodys_place() {
    let mut w = World::new(10 * CHUNK);
    let stranger = w.attach();
    for n in 0..1_000 {
        if let Some(slot) = learn(&mut w, stranger, announce(0, n)) {
            w.state.finished(slot, [0; 32]);
        }
        assert!(w.state.casts.len() <= MAX_PER_PEER, "the oldest of its own yield");
    }
    let header = Arc::new(Manifest::build(&[1; 5000][..], 1024, "own").unwrap().header);
    assert!(w.state.start(header, [0; 32]).is_some(), "our own have places of their own");
    let seed = w.seed();
    w.serve(&[seed]);
    assert!(w.state.status().iter().any(|cast| cast.id == w.id() && cast.held == 10));
}

#[test]
fn many_identities_that_take_all_places_yield_to_a_newcomer() {
    let mut w = World::new(10 * CHUNK);
    for n in 0..MAX_CASTS as u32 {
        let stranger = w.attach();
        learn(&mut w, stranger, announce(1 << 30, n)).unwrap();
    }
    let honest = w.attach();
    let said = w.announce();
    assert!(learn(&mut w, honest, said.clone()).is_none(), "not before they had their time");
    w.now += Duration::from_secs(11);
    assert!(learn(&mut w, honest, said).is_some());
    assert_eq!(w.state.casts.len(), MAX_CASTS);
    w.tell(honest, w.have(0, 10)).unwrap();
    w.serve(&[honest]);
    assert!(w.state.status().iter().any(|cast| cast.id == w.id() && cast.held == 10));
}

#[test]
fn our_own_casts_have_a_limit_of_their_own() {
    let mut w = World::new(3);
    for n in 0..=MAX_OWN as u32 {
        let header = Header::new(0, 1024, &n.to_string(), &[]).unwrap();
        let started = w.state.start(Arc::new(header), [0; 32]);
        assert_eq!(started.is_some(), n < MAX_OWN as u32);
    }
    w.seed();
    assert_eq!(w.state.status().len(), MAX_OWN + 1);
}

#[test]
fn casts_that_nobody_serves_are_forgotten() {
    let mut w = World::new(3);
    let (gone, stays) = (w.attach(), w.attach());
    learn(&mut w, gone, announce(1 << 30, 1)).unwrap();
    learn(&mut w, stays, announce(1 << 30, 2)).unwrap();
    w.sent(stays);
    w.state.detach(gone);
    w.now += UNSERVED + Duration::from_secs(1);
    w.sent(stays);
    assert_eq!(w.state.casts.len(), 1);
    w.now += STALLED;
    w.sent(stays);
    assert_eq!(w.state.casts.len(), 0, "nor what is claimed and never given");
    assert_eq!(w.state.take_gone().len(), 2);
    assert!(matches!(w.state.next(stays, w.now), Due::Wait(None)), "and nothing wakes for it any more");

    // A part stays for a day, and a store that failed for a minute.
    let mut w = World::new(10 * CHUNK);
    let seed = w.seed();
    w.requests(seed);
    w.tell(seed, w.page(0)).unwrap();
    w.wanted(seed);
    w.tell(seed, w.chunk(0)).unwrap();
    w.now += ABANDONED - Duration::from_secs(60);
    w.sent(seed);
    assert_eq!(w.state.casts.len(), 1);
    w.now += Duration::from_secs(61);
    w.sent(seed);
    assert!(w.state.take_gone()[0].delete);
    let failing = w.seed();
    let slot = *w.state.casts.keys().next().unwrap();
    w.state.failed(slot);
    w.now += UNSERVED + Duration::from_secs(30);
    w.sent(failing);
    assert!(w.state.casts.is_empty());
}

#[test]
fn a_forgotten_cast_can_be_answered_for_and_learnt_again() {
    let mut w = World::new(10 * CHUNK);
    let (seed, other) = (w.seed(), w.seed());
    w.requests(seed);
    w.sent(other);
    w.tell(seed, w.page(0)).unwrap();
    assert_eq!(w.wanted(seed).len(), 10);
    w.now += STALLED;
    w.sent(other);
    assert!(w.state.casts.is_empty());
    (0..10).for_each(|i| w.tell(seed, w.chunk(i)).unwrap());
    assert_eq!(w.tell(seed, w.chunk(0)), Err(UNASKED));
    w.tell(other, w.have(0, 10)).unwrap();
    w.tell(other, Message::WantChunk { id: w.id(), first: 0, count: 1 }).unwrap();
    let missing = Upload::Missing { id: w.id(), what: Part::Chunk(0) };
    assert_eq!(w.state.next_uploads(other, 9, 9), [missing]);
    let again = w.seed();
    w.serve(&[again]);
    assert_eq!(w.state.status()[0].held, 10);
}

#[test]
fn what_the_user_removed_is_not_taken_again() {
    let mut w = World::new(10 * CHUNK);
    w.seed();
    assert!(w.state.remove(w.id()) && !w.state.remove(w.id()));
    w.seed();
    assert!(w.state.casts.is_empty());
}

#[test]
fn what_is_not_taken_again_is_bounded() {
    let mut w = World::new(0);
    let stranger = w.attach();
    for n in 0..(MAX_HAD + 2 * MAX_PER_PEER) as u32 {
        let slot = learn(&mut w, stranger, announce(0, n)).unwrap();
        w.state.finished(slot, [0; 32]);
    }
    assert!(learn(&mut w, stranger, announce(0, MAX_PER_PEER as u32 * 2)).is_none(), "it was whole");
    assert!(learn(&mut w, stranger, announce(0, 0)).is_some(), "that one is past");
}

/// Three nodes in a row, 60 ms from each other, the one in the middle beside strangers with more files than there are places.
/// Each told the others of what they had just forgotten, without end, and honest casts found no place for longer than a moment.
#[test]
fn neighbours_with_more_casts_than_places_come_to_rest() {
    const LATENCY: u32 = 60;
    let id = |n: u16| PeerId::new("memory", &n.to_be_bytes()).unwrap();
    let (start, mut dice) = (Instant::now(), 7_u64);
    let mut nodes: Vec<State> = (0..3).map(|_| State::new(true, u64::MAX)).collect();
    let (empty, absent) = (nodes[1].attach(id(8)), nodes[1].attach(id(9)));
    let links = [(0, 1), (1, 0), (1, 2), (2, 1)];
    let keys = links.map(|(of, to)| nodes[of].attach(id(to as u16)));
    // Stores that are being made, which takes its time.
    let mut opening: Vec<(usize, Slot, u32, u8)> = Vec::new();
    let mut under_way: VecDeque<(u32, usize, PeerKey, Message)> = VecDeque::new();
    (0..MAX_PER_PEER as u32).for_each(|n| under_way.push_back((0, 1, absent, announce(1 << 20, n))));
    (0..128).for_each(|n| under_way.push_back((n, 1, empty, announce(0, n))));
    let mut said = 0;
    for tick in 0.. {
        let now = start + Duration::from_millis(tick.into());
        let mut quiet = opening.is_empty() && under_way.is_empty();
        while under_way.front().is_some_and(|(at, ..)| *at <= tick) {
            let (_, at, key, message) = under_way.pop_front().unwrap();
            let heard = Heard::of(message).unwrap();
            if let Action::Open { slot, header, hops } = nodes[at].receive(key, heard, now).unwrap() {
                opening.push((at, slot, header.chunks(), hops));
            }
        }
        for (at, (from, to)) in links.into_iter().enumerate() {
            let back = links.iter().position(|link| *link == (to, from)).unwrap();
            for _ in 0..8 {
                let Due::Send(message) = nodes[from].next(keys[at], now) else { break };
                (quiet, said) = (false, said + 1);
                under_way.push_back((tick + LATENCY, to, keys[back], message));
            }
        }
        under_way.make_contiguous().sort_by_key(|(at, ..)| *at);
        for _ in 0..opening.len().min(8) {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (at, slot, chunks, hops) = opening.swap_remove((dice >> 33) as usize % opening.len());
            nodes[at].opened(slot, PageSet::default(), Bits::new(chunks), hops);
            if chunks == 0 {
                nodes[at].finished(slot, [0; 32]);
            }
        }
        if quiet {
            break;
        }
        assert!(said < 4_000, "they go round");
    }
    assert!(said > 128 * 2, "everybody heard of nearly everything: {said}");
}

#[test]
fn an_announce_that_found_no_place_is_repeated_until_the_peer_has_it() {
    let mut w = World::new(10 * CHUNK);
    let seed = w.seed();
    w.serve(&[seed]);
    let other = w.attach();
    let announces = |w: &mut World| {
        let sent = w.sent(other);
        sent.iter().filter(|message| matches!(message, Message::Announce { .. })).count()
    };
    assert_eq!(announces(&mut w), 1);
    w.now += REPEAT;
    assert_eq!(announces(&mut w), 1, "it may have had no place");
    w.now += REPEAT;
    assert_eq!(announces(&mut w), 0, "the next time it is twice as long");
    let mut count = 0;
    for _ in 0..3_600 {
        w.now += Duration::from_secs(1);
        count += announces(&mut w);
    }
    assert!((9..20).contains(&count), "{count} in an hour");
    let said = w.announce();
    w.tell(other, said).unwrap();
    w.now += REPEAT_MOST;
    assert_eq!(announces(&mut w), 0, "it has it");
    assert!(
        !matches!(w.state.next(other, w.now), Due::Wait(Some(at)) if at < w.now + Duration::from_secs(1))
    );
}

#[test]
fn pages_in_memory_are_bounded_and_come_back_from_the_store() {
    let mut w = zeros(20);
    let seed = w.seed();
    // Chunks come of every page, and no page is finished.
    for page in 0..20u16 {
        w.state.page_stored(0, page, w.manifest.pages[usize::from(page)].clone());
        assert!(w.state.casts[&0].loaded.len() <= MAX_LOADED);
    }
    w.serve(&[seed]);
    assert_eq!(w.held(), (20 * 1024, 20 * 1024));
    assert!(w.state.casts[&0].loaded.is_empty(), "what is whole needs no pages");
}

#[test]
fn a_page_that_the_store_lost_is_asked_for_again() {
    let mut w = World::new(10 * CHUNK);
    let slot = w.state.resume(w.manifest.header.clone()).unwrap();
    w.state.opened(slot, PageSet::range(0, 1), Bits::new(10), 1);
    let seed = w.seed();
    let Due::Load(_, page) = w.state.next(seed, w.now) else { panic!("the page is read first") };
    w.state.page_loaded(slot, page, None);
    assert_eq!(w.requests(seed), [Message::WantPage { id: w.id(), page }]);
}

#[test]
fn a_peer_that_gives_pages_and_never_a_chunk_is_soon_asked_for_none() {
    let mut w = zeros(100);
    let seed = w.seed();
    let mut asked = 0;
    for _ in 0..200 {
        for request in w.requests(seed) {
            if let Message::WantPage { page, .. } = request {
                asked += 1;
                w.tell(seed, w.page(page)).unwrap();
            }
        }
        w.now += PATIENCE;
    }
    assert!(asked <= PAGE_CREDIT, "{asked} pages asked");
}

/// 64 casts of 2^20 chunks, of which strangers said that they hold whatever they like: a `have` costs what it cost
/// when nothing had been said. The form before this one looked at 16,384 words for each of the 64 casts.
#[test]
fn the_cost_of_a_have_does_not_grow_with_what_strangers_said() {
    let mut w = World::new(3);
    let huge = |n: u32| announce(1 << 30, n);
    let (first, strangers) = (w.attach(), [w.attach(), w.attach(), w.attach(), w.attach()]);
    learn(&mut w, first, huge(0)).unwrap();
    w.sent(first);
    let ids: Vec<CastId> = (0..MAX_CASTS as u32).map(|n| huge(n).id()).collect();
    let have = |n: u32, first: u32, count: u32| Message::Have { id: ids[n as usize], first, count };
    let cost = |w: &mut World, key: PeerKey, message: Message| {
        let before = w.state.work;
        w.tell(key, message).unwrap();
        w.sent(key);
        w.state.work - before
    };
    let alone = cost(&mut w, first, have(0, 77_777, 1));
    for (at, key) in strangers.into_iter().enumerate() {
        for n in 0..MAX_CASTS as u32 {
            learn(&mut w, key, huge(n));
            let _ = w.receive(key, huge(n));
            // Every second chunk of many pages, then the rest of some.
            for chunk in (0..400).map(|i| i * 2_000 + at as u32 * 2) {
                w.tell(key, have(n, chunk, 1)).unwrap();
            }
        }
        w.sent(key);
        assert!(w.state.peers[&key].partial <= MAX_PARTIAL);
    }
    let mut most = 0;
    for i in 0..2_000u32 {
        let key = strangers[i as usize % 4];
        most = most.max(cost(&mut w, key, have(i % 64, 1_000_000 - i * 100, 1 + i % 40_000)));
        most = most.max(cost(&mut w, key, have(i % 64, 0, 1 << 20)));
    }
    assert!(alone <= 200 && most <= 1_000, "{alone} alone, {most} at most; before: {}", 64 * (1 << 20) / 64);
    println!("words looked at: {alone} alone, {most} at most; before 1,048,576");
}
