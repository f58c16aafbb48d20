use super::*;
use crate::manifest::{Manifest, hash};
use crate::message::MAX_WANT;

struct World {
    state: State,
    peers: u16,
    now: Instant,
    bytes: Vec<u8>,
    manifest: Manifest,
}

const CHUNK: usize = 1024;

impl World {
    /// A node that knows nothing, and a file of `size` bytes somewhere else.
    fn new(size: usize) -> Self {
        let bytes: Vec<u8> = (0..size).map(|n| (n / CHUNK * 7 + n) as u8).collect();
        let manifest = Manifest::build(bytes.as_slice(), CHUNK as u32, "file").unwrap();
        Self { state: State::new(true, u64::MAX), peers: 0, now: Instant::now(), bytes, manifest }
    }

    /// A session with somebody new.
    fn attach(&mut self) -> PeerKey {
        self.peers += 1;
        self.state.attach(PeerId::new("memory", &self.peers.to_be_bytes()).unwrap())
    }

    fn receive(&mut self, key: PeerKey, message: Message) -> Result<Action, Malformed> {
        self.state.receive(key, Heard::of(message)?, self.now)
    }

    fn id(&self) -> CastId {
        self.manifest.header.id()
    }

    fn announce(&self) -> Message {
        let (id, header) = (self.id(), self.manifest.header.raw().clone());
        Message::Announce { id, hops: 4, held: 0, header }
    }

    fn have(&self, first: u32, count: u32) -> Message {
        Message::Have { id: self.id(), first, count }
    }

    fn chunk(&self, index: u32) -> Message {
        let at = index as usize * CHUNK;
        let data = Bytes::copy_from_slice(&self.bytes[at..(at + CHUNK).min(self.bytes.len())]);
        Message::Chunk { id: self.id(), index, data }
    }

    fn page(&self, page: u16) -> Message {
        Message::Page { id: self.id(), page, hashes: self.manifest.pages[usize::from(page)].clone() }
    }

    fn missing(&self, what: Part) -> Message {
        Message::Missing { id: self.id(), what }
    }

    /// A peer that announced the cast and holds all of it.
    fn seed(&mut self) -> PeerKey {
        let key = self.attach();
        let announce = self.announce();
        if let Action::Open { slot, header, .. } = self.receive(key, announce).unwrap() {
            self.state.opened(slot, PageSet::default(), Bits::new(header.chunks()), 5);
        }
        if self.manifest.header.chunks() > 0 {
            let have = self.have(0, self.manifest.header.chunks());
            self.tell(key, have).unwrap();
        }
        key
    }

    /// Gives the state a message and does what it asks, as the shell would.
    fn tell(&mut self, key: PeerKey, message: Message) -> Result<(), Malformed> {
        match self.receive(key, message)? {
            Action::Page { slot, page, hashes } => {
                if !self.manifest.header.page_fits(page, &hashes) {
                    return Err(Malformed("page differs from its header"));
                }
                self.state.page_stored(slot, page, hashes);
            }
            Action::Chunk { slot, index, want, data, offset } => {
                assert_eq!(offset, u64::from(index) * CHUNK as u64);
                if hash(&data) != want {
                    return Err(Malformed("chunk differs from its page"));
                }
                assert!(self.state.stored(slot, index));
            }
            _ => {}
        }
        Ok(())
    }

    /// Everything the node would send to this peer now.
    fn sent(&mut self, key: PeerKey) -> Vec<Message> {
        let mut out = Vec::new();
        loop {
            match self.state.next(key, self.now) {
                Due::Send(message) => out.push(message),
                Due::Load(slot, page) => {
                    let found = self.manifest.pages[usize::from(page)].clone();
                    self.state.page_loaded(slot, page, Some(found));
                }
                _ => return out,
            }
            assert!(out.len() < 10_000);
        }
    }

    fn requests(&mut self, key: PeerKey) -> Vec<Message> {
        let flow = crate::Flow::Request;
        self.sent(key).into_iter().filter(|message| message.flow() == flow).collect()
    }

    /// The chunks asked of this peer now.
    fn wanted(&mut self, key: PeerKey) -> Vec<u32> {
        let range = |message| match message {
            Message::WantChunk { first, count, .. } => first..first + u32::from(count),
            _ => 0..0,
        };
        self.requests(key).into_iter().flat_map(range).collect()
    }

    /// Answers everything that is asked of these peers until nothing more is.
    fn serve(&mut self, peers: &[PeerKey]) {
        loop {
            let mut quiet = true;
            for key in peers {
                for request in self.requests(*key) {
                    quiet = false;
                    match request {
                        Message::WantPage { page, .. } => self.tell(*key, self.page(page)).unwrap(),
                        Message::WantChunk { first, count, .. } => {
                            for index in first..first + u32::from(count) {
                                self.tell(*key, self.chunk(index)).unwrap();
                            }
                        }
                        other => panic!("{other:?}"),
                    }
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn held(&self) -> (u32, u32) {
        self.state.progress(0)
    }
}

#[test]
fn files_of_edge_sizes_are_fetched_whole() {
    for size in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 64 * CHUNK, 1024 * CHUNK, 1025 * CHUNK, 1025 * CHUNK + 1]
    {
        let mut w = World::new(size);
        let seed = w.seed();
        w.serve(&[seed]);
        let chunks = w.manifest.header.chunks();
        assert_eq!(w.held(), (chunks, chunks), "{size} bytes");
        assert_eq!(w.state.held_upto(0, 0), chunks);
        w.state.finished(0, [1; 32]);
        assert!(matches!(w.sent(seed).last(), Some(Message::Done { sha256, .. }) if *sha256 == [1; 32]));
        assert_eq!(w.state.status()[0].hops, 5);
    }
}

#[test]
fn a_page_comes_before_its_chunks_and_windows_are_kept() {
    let mut w = World::new(1025 * CHUNK);
    let seed = w.seed();
    let requests = w.requests(seed);
    let page = |page| Message::WantPage { id: w.id(), page };
    assert_eq!(requests, [page(0), page(1)], "no chunk can be checked yet");
    w.tell(seed, w.page(0)).unwrap();
    let wanted = w.wanted(seed);
    assert_eq!(wanted, (0..63).collect::<Vec<_>>(), "64 in flight, one of them the second page");
    // One answer is not worth a request yet; a quarter of the window is.
    w.tell(seed, w.chunk(0)).unwrap();
    assert!(w.wanted(seed).is_empty());
    (1..16).for_each(|i| w.tell(seed, w.chunk(i)).unwrap());
    assert_eq!(w.wanted(seed), (63..79).collect::<Vec<_>>());
}

#[test]
fn large_chunks_are_bounded_by_bytes() {
    let mut w = World::new(1);
    let size = 40u64 << 20;
    let page: Bytes = vec![0; 40 * 32].into();
    let header = Header::new(size, 1 << 20, "", &[hash(&page)]).unwrap();
    let slot = w.state.resume(header.clone()).unwrap();
    w.state.opened(slot, PageSet::default(), Bits::new(40), 0);
    w.state.page_stored(slot, 0, page);
    let key = w.attach();
    let id = header.id();
    let raw = header.raw().clone();
    w.tell(key, Message::Announce { id, hops: 0, held: 40, header: raw }).unwrap();
    w.tell(key, Message::Done { id, sha256: [0; 32] }).unwrap();
    assert_eq!(w.wanted(key).len() as u64, IN_FLIGHT_BYTES >> 20);
}

#[test]
fn each_chunk_is_asked_of_one_peer() {
    let mut w = World::new(200 * CHUNK);
    let (a, b) = (w.seed(), w.seed());
    w.requests(a);
    assert!(w.requests(b).is_empty(), "the page is asked of a");
    w.tell(a, w.page(0)).unwrap();
    let (of_a, of_b) = (w.wanted(a), w.wanted(b));
    assert_eq!((of_a.len(), of_b.len()), (64, 64));
    assert!(of_b.iter().all(|i| !of_a.contains(i)));
}

#[test]
fn a_lost_peer_s_chunks_are_asked_of_another() {
    let mut w = World::new(64 * CHUNK);
    let (a, b) = (w.seed(), w.seed());
    w.requests(a);
    w.tell(a, w.page(0)).unwrap();
    assert_eq!(w.wanted(a).len(), 64);
    assert!(w.wanted(b).is_empty());
    // One chunk is being checked when the peer goes.
    let nine = w.chunk(9);
    assert!(matches!(w.receive(a, nine), Ok(Action::Chunk { .. })));
    w.state.take_wakes();
    w.state.detach(a);
    assert!(w.state.take_wakes().contains(&b), "the other is woken");
    assert_eq!(w.wanted(b).len(), 64);
    assert!(matches!(w.state.next(a, w.now), Due::Gone));
    w.state.stored(0, 9);
    for i in 0..64 {
        w.tell(b, w.chunk(i)).unwrap();
    }
    assert_eq!(w.held(), (64, 64));
}

#[test]
fn after_ten_seconds_another_is_asked_and_a_late_answer_is_welcome() {
    let mut w = World::new(10 * CHUNK);
    let (a, b) = (w.seed(), w.seed());
    w.requests(a);
    w.tell(a, w.page(0)).unwrap();
    assert_eq!(w.wanted(a).len(), 10);
    w.now += PATIENCE - Duration::from_millis(1);
    assert!(w.wanted(b).is_empty());
    let Due::Wait(Some(at)) = w.state.next(b, w.now) else { panic!("it must wake by itself") };
    assert_eq!(at, w.now + Duration::from_millis(1));
    w.now = at;
    assert!(w.wanted(a).is_empty(), "not twice of the same");
    assert_eq!(w.wanted(b).len(), 10);
    w.tell(a, w.chunk(3)).unwrap();
    assert_eq!(w.held(), (1, 10));
    w.tell(b, w.chunk(3)).unwrap();
    assert_eq!(w.held(), (1, 10), "the second copy is dropped");
    assert_eq!(w.tell(a, w.chunk(3)), Err(UNASKED), "but only once");
    (0..10).filter(|i| *i != 3).for_each(|i| w.tell(b, w.chunk(i)).unwrap());
    assert_eq!(w.held(), (10, 10));
}

#[test]
fn missing_moves_a_chunk_or_a_page_elsewhere() {
    let mut w = World::new(10 * CHUNK);
    let (a, b) = (w.seed(), w.seed());
    w.requests(a);
    w.tell(a, w.missing(Part::Page(0))).unwrap();
    assert!(w.requests(a).is_empty(), "without the page it is of no use");
    assert_eq!(w.requests(b).len(), 1);
    w.tell(b, w.page(0)).unwrap();
    w.wanted(b);
    w.tell(b, w.missing(Part::Chunk(4))).unwrap();
    assert!(w.wanted(b).is_empty());
    assert!(w.wanted(a).is_empty());
    w.tell(a, w.have(4, 1)).unwrap();
    assert_eq!(w.wanted(a), [4]);
    assert_eq!(w.tell(b, w.missing(Part::Chunk(4))), Err(UNASKED));
}

#[test]
fn breaches() {
    let mut w = World::new(1025 * CHUNK);
    let seed = w.seed();
    let id = w.id();
    assert_eq!(w.tell(seed, w.page(0)), Err(UNASKED));
    assert_eq!(w.tell(seed, w.chunk(0)), Err(UNASKED));
    assert_eq!(w.tell(seed, w.missing(Part::Chunk(0))), Err(UNASKED));
    w.requests(seed);
    let bad_page = Message::Page { id, page: 0, hashes: vec![0; 32 * 1024].into() };
    assert!(w.tell(seed, bad_page).is_err());

    let seed = w.seed();
    w.now += PATIENCE;
    w.requests(seed);
    w.tell(seed, w.page(0)).unwrap();
    w.wanted(seed);
    let wrong = Message::Chunk { id, index: 0, data: vec![0; CHUNK].into() };
    assert_eq!(w.tell(seed, wrong), Err(Malformed("chunk differs from its page")));
    let short = Message::Chunk { id, index: 1, data: vec![0; CHUNK - 1].into() };
    assert_eq!(w.tell(seed, short), Err(Malformed("chunk length differs from the header")));
    assert_eq!(w.tell(seed, Message::Chunk { id, index: u32::MAX, data: vec![0; 1].into() }), Err(UNASKED));
    assert_eq!(w.tell(seed, Message::Page { id, page: u16::MAX, hashes: vec![0; 32].into() }), Err(UNASKED));

    let bounds = Err(Malformed("range out of bounds"));
    for (first, count) in
        [(1025, 1), (0, 1026), (1024, 2), (u32::MAX, 1), (1, u32::MAX), (u32::MAX, u32::MAX)]
    {
        assert_eq!(w.tell(seed, w.have(first, count)), bounds, "{first} {count}");
    }
    for (first, count) in [(1025, 1), (1000, MAX_WANT), (u32::MAX, MAX_WANT)] {
        assert_eq!(w.tell(seed, Message::WantChunk { id, first, count }), bounds);
    }
    assert_eq!(w.tell(seed, Message::WantPage { id, page: 2 }), bounds);

    let header = w.manifest.header.raw().clone();
    let forged = Message::Announce { id: CastId([1; 32]), hops: 0, held: 0, header: header.clone() };
    assert_eq!(w.tell(seed, forged), Err(Malformed("header differs from its id")));
    let greedy = Message::Announce { id, hops: 0, held: 1026, header };
    assert_eq!(w.tell(seed, greedy), Err(Malformed("holds more chunks than there are")));
    let raw = Bytes::from_static(&[0; 15]);
    let senseless = Message::Announce { id: CastId::of(&raw), hops: 0, held: 0, header: raw };
    assert_eq!(w.tell(seed, senseless), Err(Malformed("chunk size out of bounds")));
}

#[test]
fn uploads_are_bounded_and_what_is_not_held_is_missing() {
    let mut w = World::new(1025 * CHUNK);
    let manifest = w.manifest.clone();
    let slot = w.state.start(Arc::new(manifest.header), manifest.sha256).unwrap();
    let key = w.attach();
    let id = w.id();
    for _ in 0..16 {
        w.tell(key, Message::WantChunk { id, first: 961, count: MAX_WANT }).unwrap();
    }
    let status = |w: &World, n: u16| w.state.peer_status(&PeerId::new("memory", &n.to_be_bytes()).unwrap());
    assert_eq!(status(&w, 1).unwrap().to_send, 16 * MAX_WANT as usize);
    assert_eq!(status(&w, 2), None, "nobody");
    let one_more = Message::WantPage { id, page: 1 };
    assert_eq!(w.tell(key, one_more.clone()), Err(Malformed("more than 1,024 chunks asked for at once")));
    let batch = w.state.next_uploads(key, 8, 5 * CHUNK);
    assert_eq!(batch.len(), 5, "bounded by bytes");
    let offset = 961 * CHUNK as u64;
    assert_eq!(batch[0], Upload::Chunk { id, slot, index: 961, offset, len: CHUNK });
    w.tell(key, one_more).unwrap();
    while w.state.next_uploads(key, 100, usize::MAX).len() == 100 {}
    // Casts nobody knows here.
    let unknown = CastId([3; 32]);
    w.tell(key, Message::WantChunk { id: unknown, first: 7, count: 1 }).unwrap();
    let missing = |id, what| Upload::Missing { id, what };
    assert_eq!(w.state.next_uploads(key, 9, 9), [missing(unknown, Part::Chunk(7))]);
    // A store that failed.
    w.tell(key, Message::WantPage { id, page: 0 }).unwrap();
    w.tell(key, Message::WantChunk { id, first: 0, count: 1 }).unwrap();
    w.state.failed(slot);
    let gone = [missing(id, Part::Page(0)), missing(id, Part::Chunk(0))];
    assert_eq!(w.state.next_uploads(key, 9, 9), gone);
}

#[test]
fn news_are_gathered_and_told_in_order() {
    let mut w = World::new(10 * CHUNK);
    let (seed, other) = (w.seed(), w.attach());
    assert!(w.sent(other).is_empty(), "nothing was checked yet");
    w.requests(seed);
    w.tell(seed, w.page(0)).unwrap();
    w.wanted(seed);
    assert!(w.sent(other).is_empty(), "a page is no chunk");
    for i in [4, 2, 3] {
        w.tell(seed, w.chunk(i)).unwrap();
    }
    let sent = w.sent(other);
    assert!(matches!(sent[0], Message::Announce { hops: 5, held: 3, .. }), "{sent:?}");
    assert_eq!(sent[1..], [w.have(2, 3)]);
    w.tell(seed, w.chunk(5)).unwrap();
    assert_eq!(w.sent(other), [w.have(5, 1)]);
    w.tell(seed, w.chunk(9)).unwrap();
    let Due::Wait(Some(at)) = w.state.next(other, w.now) else { panic!("news are due") };
    assert_eq!(at, w.now + GATHER);
    w.now = at;
    assert_eq!(w.sent(other), [w.have(9, 1)]);
    // Who comes later hears of what is held, then of what comes.
    let late = w.attach();
    let sent = w.sent(late);
    assert!(matches!(sent[0], Message::Announce { held: 5, .. }));
    assert_eq!(sent[1..], [w.have(2, 4), w.have(9, 1)]);
    for i in [0, 1, 6, 7, 8] {
        w.tell(seed, w.chunk(i)).unwrap();
    }
    w.state.finished(0, [2; 32]);
    let done = Message::Done { id: w.id(), sha256: [2; 32] };
    assert_eq!(w.sent(late), [w.have(0, 2), w.have(6, 3), done], "with the file whole nothing waits");
}

#[test]
fn nothing_is_sent_or_asked_before_the_store_is_open_or_after_it_failed() {
    let mut w = World::new(10 * CHUNK);
    let key = w.attach();
    let announce = w.announce();
    let Ok(Action::Open { slot, hops: 5, .. }) = w.receive(key, announce.clone()) else { panic!() };
    w.tell(key, w.have(0, 10)).unwrap();
    assert!(w.sent(key).is_empty());
    w.state.opened(slot, PageSet::default(), Bits::new(10), 5);
    assert_eq!(w.sent(key).len(), 1, "a request; it is announced with the first chunk");
    w.state.failed(slot);
    w.tell(key, w.page(0)).unwrap();
    assert!(w.sent(key).is_empty());
    assert!(w.state.status()[0].failed);
    assert!(matches!(w.receive(key, announce), Ok(Action::None)), "and it is not tried again");
}

#[test]
fn casts_beyond_the_limit_are_ignored_and_told_once() {
    let mut w = World::new(3);
    for _ in 0..2 {
        let key = w.attach();
        for n in 0..MAX_PER_PEER as u32 {
            let n = w.peers as u32 * 100 + n;
            assert!(matches!(w.receive(key, announce(1, n)), Ok(Action::Open { hops: 255, .. })));
        }
    }
    let key = w.attach();
    // Both brought more than the newcomer, so one of theirs yields; they get no more.
    assert!(matches!(w.receive(key, announce(1, 1)), Ok(Action::Open { .. })));
    let greedy = 1;
    let full = Action::Ignored { id: announce(1, 3).id(), why: "too many casts" };
    assert_eq!(format!("{:?}", w.receive(greedy, announce(1, 3)).unwrap()), format!("{full:?}"));
    assert!(matches!(w.receive(greedy, announce(1, 4)), Ok(Action::None)));
    assert!(matches!(w.receive(key, announce(1, 1)), Ok(Action::None)), "known ones stay known");

    let mut deaf = World::new(3);
    deaf.state = State::new(false, u64::MAX);
    let key = deaf.attach();
    let said = deaf.announce();
    assert!(matches!(deaf.receive(key, said), Ok(Action::None)));
    deaf.tell(key, deaf.have(0, 1)).unwrap();
    deaf.tell(key, deaf.have(5, 1)).unwrap(); // of an ignored cast: of no interest
    assert!(deaf.sent(key).is_empty());

    let mut small = World::new(3);
    small.state = State::new(true, 2);
    let key = small.attach();
    let said = small.announce();
    assert!(matches!(small.receive(key, said), Ok(Action::Ignored { .. })));
}

/// The announce of a cast of which nothing more is there.
fn announce(size: u64, n: u32) -> Message {
    let pages: Vec<Hash> = (0..size.div_ceil(1 << 20)).map(|page| [page as u8; 32]).collect();
    let header = Header::new(size, 1024, &n.to_string(), &pages).unwrap();
    Message::Announce { id: header.id(), hops: 255, held: 0, header: header.raw().clone() }
}

mod hostile;

/// Peers that answer, keep silent, say missing, leave and come: in the end every chunk is here, and no
/// chunk was ever asked of two peers at once.
#[test]
fn a_restless_crowd() {
    use rand::{Rng, SeedableRng};
    for seed in 0..20 {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(seed);
        let mut below = |n: u64| rng.next_u64() % n;
        let mut w = World::new(1100 * CHUNK);
        let mut peers = [w.seed(), w.seed(), w.seed()];
        for round in 0..100_000 {
            assert!(round < 99_999, "seed {seed}: {:?}", w.held());
            if w.held().0 == w.held().1 {
                break;
            }
            let at = below(peers.len() as u64) as usize;
            let key = peers[at];
            if below(200) == 0 {
                w.state.detach(key);
                peers[at] = w.seed();
                continue;
            }
            for request in w.requests(key) {
                let parts: Vec<Part> = match request {
                    Message::WantPage { page, .. } => vec![Part::Page(page)],
                    Message::WantChunk { first, count, .. } => {
                        (first..first + u32::from(count)).map(Part::Chunk).collect()
                    }
                    other => panic!("{other:?}"),
                };
                for part in parts {
                    match (below(50), part) {
                        (0, _) => {} // never answered
                        (1, _) => w.tell(key, w.missing(part)).unwrap(),
                        (_, Part::Page(page)) => w.tell(key, w.page(page)).unwrap(),
                        (_, Part::Chunk(index)) => {
                            // A copy that came late from another may be there already.
                            let chunk = w.chunk(index);
                            if let Action::Chunk { slot, index, .. } = w.receive(key, chunk).unwrap() {
                                w.state.stored(slot, index);
                            }
                        }
                    }
                }
            }
            if below(20) == 0 {
                w.now += Duration::from_secs(below(11));
            }
        }
    }
}
