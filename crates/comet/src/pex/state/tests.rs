use super::*;
use crate::pex::book::{Kind, MAX_SELECTION};
use crate::pex::message::{MAX_ADDRESSES, Message};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

mod network;

const WALL: Stamp = Stamp::from_secs(1_795_000_000);

/// A clock that only the test moves.
#[derive(Clone, Copy)]
struct Clock(Now);

impl Clock {
    fn new() -> Self {
        Self(Now { at: Instant::now(), wall: WALL })
    }

    fn pass(&mut self, span: Duration) -> Now {
        self.0 = Now { at: self.0.at + span, wall: self.0.wall.plus(span) };
        self.0
    }

    fn secs(&mut self, secs: u64) -> Now {
        self.pass(Duration::from_secs(secs))
    }
}

fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

fn id(n: u32) -> NodeId {
    let mut id = [0; 20];
    id[..4].copy_from_slice(&n.to_be_bytes());
    NodeId(id)
}

/// Node n, each in a /16 of its own (of 20,000).
fn at(n: u32) -> PeerAddress {
    let [a, b] = (0x1000 + (n % 20_000) as u16).to_be_bytes();
    PeerAddress::new(id(n), [a, b, (n / 20_000) as u8, 1].into(), 26_656)
}

fn peer(address: PeerAddress, direction: Direction) -> Peer {
    let listen_addr = format!("tcp://{}", address.to_net_address().dial_string());
    let port = if direction == Direction::Outbound { address.port } else { 50_000 };
    Peer { id: address.id, direction, ip: address.ip, port, listen_addr, persistent: false }
}

fn slots(outbound: usize) -> Slots {
    Slots { outbound, dialing: 0, max_outbound: 10 }
}

fn state(config: Config, known: std::ops::Range<u32>, now: Now, rng: &mut ChaCha20Rng) -> State {
    let mut book = Book::new(true, rng);
    book.set_own_id(id(u32::MAX));
    for n in known {
        book.add(at(n), at(n + 5_000), now.wall, rng).unwrap();
    }
    let trust = trust::Store::new(config.trust, now.at);
    State::new(config, book, trust, now)
}

fn seed_mode() -> Config {
    Config { seed_mode: true, ..Config::default() }
}

fn answer(range: std::ops::Range<u32>) -> bytes::Bytes {
    Message::answer(&range.map(at).collect::<Vec<_>>())
}

fn breach(actions: &[Action]) -> Option<(&'static str, Option<Duration>)> {
    match actions {
        [Action::Breach { rule, ban, .. }] => Some((*rule, *ban)),
        _ => None,
    }
}

#[test]
fn two_requests_are_free_then_one_in_ten_seconds() {
    let (mut clock, mut rng) = (Clock::new(), rng(1));
    let mut state = state(Config::default(), 0..50, clock.0, &mut rng);
    state.connected(peer(at(100), Direction::Inbound), clock.0, &mut rng);
    let mut request = |now| state.received(&id(100), &Message::request(), now, &mut rng);
    for now in [clock.0, clock.0, clock.secs(10), clock.secs(11)] {
        let actions = request(now);
        let [Action::Answer { peer, addresses }] = &actions[..] else { panic!("{actions:?}") };
        assert!(*peer == id(100) && (31..=32).contains(&addresses.len()));
        assert!(addresses.iter().all(|address| address.id != id(100)), "not the asker itself");
    }
    let now = clock.pass(Duration::from_millis(9_999));
    assert_eq!(breach(&request(now)), Some(("pex request too soon", Some(BAN))));
    assert!(request(now).is_empty(), "nothing more for who is being hung up on");
    assert!(state.book().is_banned(&id(100), now.wall));
    // A new session begins anew.
    state.disconnected(&id(100), now);
    state.connected(peer(at(100), Direction::Inbound), now, &mut rng);
    assert!(matches!(
        state.received(&id(100), &Message::request(), now, &mut rng)[..],
        [Action::Answer { .. }]
    ));
}

#[test]
fn a_third_quick_request_is_a_breach() {
    let (clock, mut rng) = (Clock::new(), rng(2));
    let mut state = state(Config::default(), 0..5, clock.0, &mut rng);
    state.connected(peer(at(7), Direction::Inbound), clock.0, &mut rng);
    let mut request = || state.received(&id(7), &Message::request(), clock.0, &mut rng);
    assert!(breach(&request()).is_none() && breach(&request()).is_none() && breach(&request()).is_some());
}

#[test]
fn a_flood_of_requests_costs_three_answers() {
    let (clock, mut rng) = (Clock::new(), rng(3));
    let mut state = state(Config::default(), 0..900, clock.0, &mut rng);
    state.connected(peer(at(1_000), Direction::Inbound), clock.0, &mut rng);
    let mut actions = Vec::new();
    for _ in 0..10_000 {
        actions.extend(state.received(&id(1_000), &Message::request(), clock.0, &mut rng));
    }
    assert_eq!(actions.len(), 3, "two answers, one breach");
    assert_eq!(state.counters().breaches, 1);
}

#[test]
fn an_answer_is_taken_once_and_only_if_asked_for() {
    let (mut clock, mut rng) = (Clock::new(), rng(4));
    let mut state = state(Config::default(), 0..0, clock.0, &mut rng);
    let actions = state.connected(peer(at(1), Direction::Outbound), clock.0, &mut rng);
    assert_eq!(actions, [Action::Ask(id(1))]);
    let actions = state.received(&id(1), &answer(10..30), clock.secs(1), &mut rng);
    assert_eq!(actions, [Action::Wake]);
    assert_eq!(state.book().len(), 21);
    let source = state.book().get(&id(15)).unwrap().source;
    assert_eq!(source, at(1));
    let actions = state.received(&id(1), &answer(30..31), clock.0, &mut rng);
    assert_eq!(breach(&actions), Some(("pex answer without request", Some(BAN))));
    assert!(state.book().get(&id(30)).is_none() && state.book().is_banned(&id(1), clock.0.wall));

    state.connected(peer(at(2), Direction::Inbound), clock.0, &mut rng);
    let actions = state.received(&id(2), &answer(0..0), clock.0, &mut rng);
    assert_eq!(breach(&actions), Some(("pex answer without request", Some(BAN))));
}

#[test]
fn malformed_messages_end_the_session_and_bad_addresses_ban() {
    let (clock, mut rng) = (Clock::new(), rng(5));
    let mut state = state(Config::default(), 0..0, clock.0, &mut rng);
    let mut told = |n: u32, message: &[u8]| {
        state.connected(peer(at(n), Direction::Outbound), clock.0, &mut rng);
        breach(&state.received(&id(n), message, clock.0, &mut rng))
    };
    assert_eq!(told(1, &[0xff]), Some(("pex encoding", None)));
    assert_eq!(told(2, &[]), Some(("pex encoding", None)));
    assert_eq!(told(3, &[0x12, 2, 0x0a, 0]), Some(("pex address", Some(BAN))));
    let many: Vec<u8> = std::iter::repeat_n([0x0a, 4, 0x12, 2, b':', b':'], 2_001).flatten().collect();
    let mut message = vec![0x12];
    crate::proto::put_uvarint(many.len() as u64, &mut message);
    message.extend(many);
    assert_eq!(told(4, &message), Some(("pex address count", Some(BAN))));
    let mut whole = answer(0..2).to_vec();
    whole.pop();
    for end in 0..whole.len() as u32 {
        assert!(told(100 + end, &whole[..end as usize]).is_some(), "cut at {end}");
    }
    assert!(!state.book().is_banned(&id(1), clock.0.wall) && state.book().is_banned(&id(4), clock.0.wall));
}

#[test]
fn inbound_peers_are_learnt_by_what_they_say() {
    let (clock, mut rng) = (Clock::new(), rng(6));
    let mut state = state(Config::default(), 0..0, clock.0, &mut rng);
    let mut learn = |n: u32, listen_addr: &str| {
        let seen = Peer { listen_addr: listen_addr.to_owned(), ..peer(at(n), Direction::Inbound) };
        let actions = state.connected(seen, clock.0, &mut rng);
        assert!(actions.iter().all(|action| *action == Action::Wake), "inbound peers are not asked at once");
        state.book().get(&id(n)).map(|known| known.address.to_net_address().dial_string())
    };
    assert_eq!(learn(1, "tcp://5.6.7.8:26656").as_deref(), Some("5.6.7.8:26656"));
    assert_eq!(learn(2, "5.6.7.8:1").as_deref(), Some("5.6.7.8:1"));
    let seen = PeerAddress { port: 7, ..at(3) }.to_net_address().dial_string();
    assert_eq!(learn(3, "tcp://0.0.0.0:7"), Some(seen), "where we see it");
    for (n, listen_addr) in
        ["seed.example.com:1", "", "tcp://0.0.0.0:0", "127.0.0.1:1", "x"].iter().enumerate()
    {
        assert_eq!(learn(10 + n as u32, listen_addr), None, "{listen_addr}");
    }
    // Whatever it claims, it counts as told from where it is.
    assert_eq!(state.book().get(&id(1)).unwrap().source.ip, at(1).ip);
}

#[test]
fn a_seed_answers_once_and_hangs_up() {
    let (mut clock, mut rng) = (Clock::new(), rng(7));
    let mut state = state(seed_mode(), 0..400, clock.0, &mut rng);
    for id in (0..200).map(id) {
        state.good(&id, clock.0);
    }
    // The same peer may come again and again, every three seconds.
    for _ in 0..5 {
        let now = clock.secs(3);
        state.connected(peer(at(1_000), Direction::Inbound), now, &mut rng);
        let actions = state.received(&id(1_000), &Message::request(), now, &mut rng);
        let [Action::Answer { addresses, .. }, hang_up] = &actions[..] else { panic!("{actions:?}") };
        // 28 of 92 are new, 30 %; the asker may have been one of them.
        let new = addresses.iter().filter(|address| !state.book().is_good(&address.id)).count();
        assert!((27..=28).contains(&new) && addresses.len() - new == 64, "{new} of {}", addresses.len());
        assert_eq!(*hang_up, Action::HangUp { peer: id(1_000), why: HangUp::Answered, flush: true });
        assert!(state.received(&id(1_000), &Message::request(), now, &mut rng).is_empty());
        state.disconnected(&id(1_000), now);
    }
    // One that reads nothing is cut off within five seconds.
    state.connected(peer(at(1_001), Direction::Inbound), clock.0, &mut rng);
    state.received(&id(1_001), &Message::request(), clock.0, &mut rng);
    let now = clock.secs(5);
    let cut = Action::HangUp { peer: id(1_001), why: HangUp::Answered, flush: false };
    assert!(state.tick(slots(0), now, &mut rng).contains(&cut));
}

#[test]
fn a_seed_crawls_takes_the_answer_and_leaves() {
    let (mut clock, mut rng) = (Clock::new(), rng(8));
    let mut state = state(seed_mode(), 0..3, clock.0, &mut rng);
    state.tick(slots(0), clock.0, &mut rng);
    let mut crawled = Vec::new();
    while let Some(dial) = state.next(slots(0), clock.0, &mut rng) {
        assert_eq!(dial.origin, Origin::Crawl);
        crawled.push(dial.address);
    }
    assert_eq!(crawled.len(), 3);
    state.outcome(&crawled[0], DialResult::Connected, clock.0);
    let first = PeerAddress::of(&crawled[0]).unwrap();
    let actions = state.connected(peer(first, Direction::Outbound), clock.0, &mut rng);
    assert_eq!(actions, [Action::Ask(first.id)]);
    let actions = state.received(&first.id, &answer(10..12), clock.secs(1), &mut rng);
    let left = Action::HangUp { peer: first.id, why: HangUp::Crawled, flush: false };
    assert_eq!(actions, [Action::Wake, left]);
    assert!(state.book().is_good(&first.id));
    state.disconnected(&first.id, clock.0);
    // What it told is crawled at once.
    assert!(
        state.next(slots(0), clock.0, &mut rng).is_some()
            && state.next(slots(0), clock.0, &mut rng).is_some()
    );
    // One that does not answer is left too.
    let second = PeerAddress::of(&crawled[1]).unwrap();
    state.outcome(&crawled[1], DialResult::Connected, clock.0);
    state.connected(peer(second, Direction::Outbound), clock.0, &mut rng);
    let now = clock.pass(CRAWL_ANSWER_WITHIN);
    let silent = Action::HangUp { peer: second.id, why: HangUp::Silent, flush: false };
    assert!(state.tick(slots(0), now, &mut rng).contains(&silent));
    state.disconnected(&second.id, now);
    state.outcome(&crawled[2], DialResult::Failed, now);
    // Nobody is crawled again before two minutes have passed.
    let again = |state: &mut State, now, rng: &mut ChaCha20Rng| {
        state.tick(slots(0), now, rng);
        std::iter::from_fn(|| state.next(slots(0), now, rng))
            .map(|dial| dial.address.id())
            .collect::<Vec<_>>()
    };
    let now = clock.secs(60);
    assert!(!again(&mut state, now, &mut rng).contains(&Some(first.id)));
    let now = clock.secs(61);
    assert!(again(&mut state, now, &mut rng).contains(&Some(first.id)));
}

#[test]
fn a_seed_lets_idle_peers_go_but_not_persistent_ones() {
    let (mut clock, mut rng) = (Clock::new(), rng(9));
    let config = Config { seed_wait: Duration::from_secs(60), ..seed_mode() };
    let mut state = state(config, 0..0, clock.0, &mut rng);
    let named = Peer { persistent: true, ..peer(at(2), Direction::Inbound) };
    state.connected(peer(at(1), Direction::Inbound), clock.0, &mut rng);
    state.connected(named, clock.0, &mut rng);
    let waited = |actions: Vec<Action>| actions.iter().filter(|a| matches!(a, Action::HangUp { .. })).count();
    let now = clock.secs(59);
    assert_eq!(waited(state.tick(slots(0), now, &mut rng)), 0);
    let now = clock.secs(1);
    assert_eq!(waited(state.tick(slots(0), now, &mut rng)), 1);
    let now = clock.secs(9);
    assert_eq!(waited(state.tick(slots(0), now, &mut rng)), 0, "told once");
}

#[test]
fn a_round_dials_by_the_free_slots() {
    let (mut clock, mut rng) = (Clock::new(), rng(10));
    let mut state = state(Config::default(), 0..500, clock.0, &mut rng);
    assert!(state.next(slots(0), clock.0, &mut rng).is_none(), "no round yet");
    state.tick(slots(8), clock.0, &mut rng);
    assert!(state.next(slots(10), clock.0, &mut rng).is_none(), "no slot");
    let mut dialled = Vec::new();
    while let Some(dial) = state.next(slots(8), clock.0, &mut rng) {
        assert_eq!(dial.origin, Origin::Book);
        assert!(!dialled.contains(&dial.address), "twice");
        dialled.push(dial.address);
    }
    assert!(
        (5..=6).contains(&dialled.len()),
        "three for each of two slots, duplicates aside: {}",
        dialled.len()
    );
    dialled.iter().for_each(|address| state.outcome(address, DialResult::Failed, clock.0));
    assert!(state.next(slots(8), clock.0, &mut rng).is_none(), "the budget is spent");
    let now = clock.secs(34);
    assert!(state.tick(slots(8), now, &mut rng).contains(&Action::Wake));
    assert!(state.next(slots(8), now, &mut rng).is_some());
}

#[test]
fn the_bias_grows_with_the_outbound_peers() {
    let biases: Vec<u8> = [0, 1, 5, 8, 9, 100].map(State::bias).into();
    assert_eq!(biases, [10, 20, 60, 90, 90, 90]);
}

#[test]
fn failed_dials_back_off_twice_as_long_each_time_and_end_in_a_ban() {
    let (mut clock, mut rng) = (Clock::new(), rng(11));
    let config = Config { ensure_every: Duration::from_millis(500), ..Config::default() };
    let mut state = state(config, 0..1, clock.0, &mut rng);
    let mut waits = Vec::new();
    let mut last = clock.0.at;
    for _ in 0..=MAX_ATTEMPTS {
        // Ever longer looks, so that the test ends.
        let step = Duration::from_secs((1_u64 << waits.len()).div_ceil(256)).min(Duration::from_secs(200));
        loop {
            let now = clock.pass(step);
            state.tick(slots(0), now, &mut rng);
            if let Some(dial) = state.next(slots(0), now, &mut rng) {
                state.outcome(&dial.address, DialResult::Failed, now);
                waits.push(now.at - last);
                last = now.at;
                break;
            }
        }
    }
    for (n, wait) in waits.iter().enumerate().skip(1) {
        let least = Duration::from_secs(1 << n);
        assert!(*wait >= least && *wait < least * 2 + Duration::from_secs(205), "{n}: {wait:?}");
    }
    assert_eq!(state.book().get(&at(0).id).unwrap().attempts, MAX_ATTEMPTS + 1);
    let now = clock.secs(400_000);
    state.tick(slots(0), now, &mut rng);
    assert!(state.next(slots(0), now, &mut rng).is_none());
    assert!(state.book().is_banned(&at(0).id, now.wall));
    let now = clock.pass(BAN);
    state.tick(slots(0), now, &mut rng);
    assert!(state.book().get(&at(0).id).is_some(), "back after its ban");
}

#[test]
fn sessions_that_end_at_once_back_off_and_long_ones_become_good() {
    let (mut clock, mut rng) = (Clock::new(), rng(12));
    let mut state = state(Config::default(), 0..2, clock.0, &mut rng);
    state.connected(peer(at(0), Direction::Outbound), clock.0, &mut rng);
    state.disconnected(&id(0), clock.secs(2));
    assert_eq!(state.book().get(&id(0)).unwrap().attempts, 1);
    state.connected(peer(at(1), Direction::Outbound), clock.0, &mut rng);
    let now = clock.pass(GOOD_AFTER);
    state.tick(slots(1), now, &mut rng);
    state.disconnected(&id(1), now);
    let known = state.book().get(&id(1)).unwrap();
    assert_eq!((known.kind, known.attempts), (Kind::Old, 0));
}

#[test]
fn outcomes_of_a_dial() {
    let (clock, mut rng) = (Clock::new(), rng(13));
    let mut state = state(Config::default(), 0..5, clock.0, &mut rng);
    let tell = |state: &mut State, n: u32, result| state.outcome(&at(n).to_net_address(), result, clock.0);
    tell(&mut state, 0, DialResult::WrongIdentity);
    assert!(state.book().get(&id(0)).is_none() && !state.book().is_banned(&id(0), clock.0.wall));
    tell(&mut state, 1, DialResult::Incompatible);
    assert!(state.book().is_banned(&id(1), clock.0.wall));
    tell(&mut state, 2, DialResult::Own);
    assert!(state.book().is_own(&at(2)) && state.book().get(&id(2)).is_none());
    tell(&mut state, 3, DialResult::Busy);
    tell(&mut state, 4, DialResult::Failed);
    let attempts = |n| state.book().get(&id(n)).unwrap().attempts;
    assert_eq!((attempts(3), attempts(4)), (0, 1));
}

#[test]
fn dead_seeds_are_tried_in_turn_and_never_fatal() {
    let (mut clock, mut rng) = (Clock::new(), rng(14));
    let name = format!("{}@seed.example.com:26656", id(902));
    let seeds = vec![at(900).to_net_address(), at(901).to_net_address(), NetAddress::parse(&name).unwrap()];
    let mut state = state(Config { seeds, ..Config::default() }, 0..0, clock.0, &mut rng);
    for round in 0..20 {
        state.tick(slots(0), clock.0, &mut rng);
        let mut tried = Vec::new();
        while let Some(dial) = state.next(slots(0), clock.0, &mut rng) {
            assert_eq!(dial.origin, Origin::Seed);
            assert!(state.next(slots(0), clock.0, &mut rng).is_none(), "one at a time");
            state.outcome(&dial.address, DialResult::Failed, clock.0);
            tried.push(dial.address.to_string());
        }
        tried.sort();
        tried.dedup();
        assert_eq!(tried.len(), 3, "round {round}");
        clock.secs(34);
    }
}

#[test]
fn a_seed_is_asked_its_addresses_dialled_at_once_and_it_is_left_alone_then() {
    let (mut clock, mut rng) = (Clock::new(), rng(15));
    let config = Config { seeds: vec![at(900).to_net_address()], ..Config::default() };
    let mut state = state(config, 0..0, clock.0, &mut rng);
    state.tick(slots(0), clock.0, &mut rng);
    let dial = state.next(slots(0), clock.0, &mut rng).unwrap();
    state.outcome(&dial.address, DialResult::Connected, clock.0);
    assert_eq!(
        state.connected(peer(at(900), Direction::Outbound), clock.0, &mut rng),
        [Action::Ask(id(900))]
    );
    assert!(state.book().get(&id(900)).is_none(), "a seed is no address of the book");
    let now = clock.secs(1);
    assert_eq!(state.received(&id(900), &answer(0..20), now, &mut rng), [Action::Wake]);
    assert_eq!(state.wake_at(), now.at, "a round at once");
    state.disconnected(&id(900), now);
    state.tick(slots(0), now, &mut rng);
    let dial = state.next(slots(0), now, &mut rng).unwrap();
    assert_eq!(dial.origin, Origin::Book);
}

#[test]
fn who_has_nobody_dials_at_once_whom_it_learns_of() {
    let (mut clock, mut rng) = (Clock::new(), rng(22));
    let mut state = state(Config::default(), 0..0, clock.0, &mut rng);
    state.tick(slots(0), clock.0, &mut rng);
    assert!(state.next(slots(0), clock.0, &mut rng).is_none());
    let now = clock.secs(2);
    assert_eq!(state.connected(peer(at(1), Direction::Inbound), now, &mut rng), [Action::Wake]);
    let actions = state.tick(slots(0), now, &mut rng);
    assert!(actions.contains(&Action::Ask(id(1))), "a round: {actions:?}");
    state.received(&id(1), &answer(5..6), now, &mut rng);
    let now = clock.secs(1);
    state.tick(slots(0), now, &mut rng);
    assert_eq!(state.next(slots(0), now, &mut rng).map(|dial| dial.address.id()), Some(Some(id(5))));
    // With an outbound peer there is time until the next round.
    state.connected(peer(at(5), Direction::Outbound), now, &mut rng);
    state.received(&id(5), &answer(6..7), now, &mut rng);
    assert!(state.wake_at() > now.at);
}

#[test]
fn a_random_peer_is_asked_each_round_but_never_too_often() {
    let (mut clock, mut rng) = (Clock::new(), rng(16));
    let mut state = state(Config::default(), 0..0, clock.0, &mut rng);
    state.connected(peer(at(1), Direction::Inbound), clock.0, &mut rng);
    let mut asked: Vec<Instant> = Vec::new();
    for _ in 0..600 {
        let now = clock.secs(1);
        if now.at < state.wake_at() {
            continue;
        }
        let actions = state.tick(slots(0), now, &mut rng);
        if actions.contains(&Action::Ask(id(1))) {
            asked.push(now.at);
            state.received(&id(1), &answer(5..6), now, &mut rng);
        }
    }
    assert!((18..=23).contains(&asked.len()), "{}", asked.len());
    assert!(asked.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_secs(12)));
    // No request while one is open, and none when there is no slot for what it would bring.
    let now = clock.secs(60);
    assert!(!state.tick(slots(10), now, &mut rng).contains(&Action::Ask(id(1))));
}

#[test]
fn distrust_is_hung_up_on_and_hardly_picked() {
    let (mut clock, mut rng) = (Clock::new(), rng(17));
    let mut state = state(Config::default(), 0..2, clock.0, &mut rng);
    state.connected(peer(at(0), Direction::Outbound), clock.0, &mut rng);
    state.bad(&id(0), 50);
    let gone = Action::HangUp { peer: id(0), why: HangUp::Distrusted, flush: false };
    let now = clock.secs(2);
    assert!(state.tick(slots(0), now, &mut rng).contains(&gone));
    state.disconnected(&id(0), now);
    let mut picked = [0, 0];
    for _ in 0..500 {
        let now = clock.secs(40);
        state.tick(slots(0), now, &mut rng);
        let dial = state.next(slots(0), now, &mut rng).unwrap();
        picked[usize::from(dial.address.id() == Some(id(1)))] += 1;
        state.outcome(&dial.address, DialResult::Busy, now);
    }
    assert!(picked[0] > 0 && picked[0] < 40, "a way back, but a narrow one: {picked:?}");
}

#[test]
fn a_changed_book_is_saved_within_seconds_and_the_larger_the_later() {
    let (mut clock, mut rng) = (Clock::new(), rng(18));
    for entries in [1, 200, 2_000] {
        let mut state = state(Config::default(), 0..entries, clock.0, &mut rng);
        let saves =
            |state: &mut State, now, rng: &mut _| state.tick(slots(10), now, rng).contains(&Action::Save);
        let len = u32::try_from(state.book().len()).unwrap();
        let pause = SAVE_SOONEST + SAVE_LATER_EACH * len;
        let early = clock.secs(4);
        assert!(!saves(&mut state, early, &mut rng), "a burst of changes is saved once");
        let due = clock.pass(pause - Duration::from_secs(4));
        assert!(state.wake_at() <= due.at, "it wakes for that");
        assert!(saves(&mut state, due, &mut rng), "{len} entries");
        assert!(!saves(&mut state, clock.pass(SAVE_EVERY), &mut rng), "nothing changed");
        state.book_mut().mark_attempt(&id(0), clock.0.wall);
        assert!(saves(&mut state, clock.secs(0), &mut rng), "a change after a long pause is saved at once");
    }
}

#[test]
fn private_addresses_only_where_they_are_allowed() {
    let (clock, mut rng) = (Clock::new(), rng(19));
    let local = |n: u16| PeerAddress::new(id(n.into()), [127, 0, 0, 1].into(), 20_000 + n);
    for (strict, expected) in [(true, 0), (false, 6)] {
        let mut book = Book::new(strict, &mut rng);
        book.set_own_id(id(u32::MAX));
        let trust = trust::Store::new(trust::Config::default(), clock.0.at);
        let mut state = State::new(Config::default(), book, trust, clock.0);
        for n in 0..6 {
            state.connected(peer(local(n), Direction::Inbound), clock.0, &mut rng);
            state.disconnected(&id(n.into()), clock.0);
        }
        assert_eq!(state.book().len(), expected);
        state.tick(slots(0), clock.0, &mut rng);
        let dials = std::iter::from_fn(|| state.next(slots(0), clock.0, &mut rng)).count();
        assert!(dials == expected || (dials > 3 && !strict), "one group is no obstacle then: {dials}");
    }
}

/// An attacker with all of one /16 tells its addresses to a victim for hours and takes every dial; honest nodes come and go.
#[test]
fn one_group_holds_a_tenth_of_the_outbound_slots() {
    let (mut clock, mut rng) = (Clock::new(), rng(20));
    let mut state = state(Config::default(), 0..300, clock.0, &mut rng);
    let evil = |n: u16| {
        let [c, d] = n.to_be_bytes();
        PeerAddress::new(id(1_000_000 + u32::from(n)), [6, 6, c, d].into(), 26_656)
    };
    let is_evil = |address: &PeerAddress| address.ip.to_string().starts_with("6.6.");
    // Inbound sessions of the attacker, which claim to listen in other groups.
    for n in 0..30 {
        let liar = Peer { listen_addr: format!("{}.1.1.1:1", 20 + n), ..peer(evil(n), Direction::Inbound) };
        state.connected(liar, clock.0, &mut rng);
    }
    let (mut picked, mut picked_evil, mut worst, mut told) = (0, 0, 0, 0_u16);
    let mut outbound: BTreeMap<NodeId, (PeerAddress, u32)> = BTreeMap::new();
    for _ in 0..600 {
        let now = clock.secs(34);
        for action in state.tick(slots(outbound.len()), now, &mut rng) {
            if let Action::Ask(asked) = action
                && asked >= id(1_000_000)
            {
                let lies: Vec<_> = (0..MAX_ADDRESSES as u16).map(|n| evil(told.wrapping_add(n))).collect();
                told = told.wrapping_add(MAX_ADDRESSES as u16);
                state.received(&asked, &Message::answer(&lies), now, &mut rng);
            }
        }
        while let Some(dial) = state.next(slots(outbound.len()), now, &mut rng) {
            let address = PeerAddress::of(&dial.address).unwrap();
            picked += 1;
            picked_evil += usize::from(is_evil(&address));
            // Half of the honest nodes are there at a time; the attacker always is.
            if is_evil(&address) || crate::pex::below(&mut rng, 2) == 0 {
                state.outcome(&dial.address, DialResult::Connected, now);
                state.connected(peer(address, Direction::Outbound), now, &mut rng);
                outbound.insert(address.id, (address, 0));
            } else {
                state.outcome(&dial.address, DialResult::Failed, now);
            }
        }
        worst = worst.max(outbound.values().filter(|(address, _)| is_evil(address)).count());
        let mut left = Vec::new();
        for (id, (address, rounds)) in &mut outbound {
            *rounds += 1;
            if *rounds > 20 && !is_evil(address) {
                left.push(*id);
            }
        }
        for id in left {
            outbound.remove(&id);
            state.disconnected(&id, now);
        }
    }
    let known = state.book().sorted().iter().filter(|known| is_evil(&known.address)).count();
    println!(
        "{picked} picks, {picked_evil} of the attacker; it told {told} addresses, {known} are in the book"
    );
    assert!(picked > 200 && known > 30, "{picked} picks, {known} known");
    assert!(worst <= 1, "{worst} of 10 slots");
    assert!(picked_evil * 10 <= picked, "{picked_evil} of {picked}");
}

#[test]
fn a_book_with_too_few_groups_is_not_starved() {
    let (clock, mut rng) = (Clock::new(), rng(21));
    let mut state = state(Config::default(), 0..0, clock.0, &mut rng);
    for n in 0..50_u8 {
        let address = PeerAddress::new(id(n.into()), [7, 7, n, 1].into(), 1);
        state.book_mut().add(address, address, clock.0.wall, &mut rng).unwrap();
    }
    state.tick(slots(0), clock.0, &mut rng);
    let dials = std::iter::from_fn(|| state.next(slots(0), clock.0, &mut rng)).count();
    assert_eq!(dials, 5, "half of the slots, and the others stay for whoever is learnt of");
}

/// Who was there before others were known gives its slots back once others are there, one a round, but for its share.
#[test]
fn a_group_that_came_first_gives_its_slots_back() {
    let (mut clock, mut rng) = (Clock::new(), rng(22));
    let mut state = state(Config::default(), 0..100, clock.0, &mut rng);
    let first = |n: u8| PeerAddress::new(id(1_000_000 + u32::from(n)), [7, 7, n, 1].into(), 1);
    for n in 0..5_u8 {
        let persistent = n == 0;
        state.connected(Peer { persistent, ..peer(first(n), Direction::Outbound) }, clock.0, &mut rng);
        clock.secs(1);
    }
    let crowding = |actions: Vec<Action>| -> Vec<NodeId> {
        let hung_up = |action| match action {
            Action::HangUp { peer, why: HangUp::Crowding, .. } => Some(peer),
            _ => None,
        };
        actions.into_iter().filter_map(hung_up).collect()
    };
    for (others, outbound) in [(0..4, 9), (4..5, 10)] {
        let now = clock.secs(40);
        assert_eq!(
            crowding(state.tick(slots(outbound - 1), now, &mut rng)),
            [],
            "there is room, and few others"
        );
        for n in others {
            state.connected(peer(at(n), Direction::Outbound), now, &mut rng);
        }
    }
    for (n, outbound) in [(4, 10), (3, 9), (2, 8)] {
        let now = clock.secs(40);
        assert_eq!(crowding(state.tick(slots(outbound), now, &mut rng)), [first(n).id], "the newest first");
        state.disconnected(&first(n).id, now);
    }
    let now = clock.secs(40);
    assert_eq!(crowding(state.tick(slots(10), now, &mut rng)), [], "one is its share, one was named");
}

#[test]
fn answers_are_never_longer_than_go_takes() {
    assert_eq!(MAX_SELECTION, MAX_ADDRESSES);
}
