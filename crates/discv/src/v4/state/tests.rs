//! One node, whose peers are played by the test: every packet is made by hand.

mod network;

use super::*;
use crate::testing::{HashIdentity, at, id, ip, key, keys_at, node};
use crate::v4::packet::{Hash, MAX_PACKET, Neighbour};
use switchboard_enr::NodeKey;

const OWN: u64 = 0;

fn endpoint(text: &str) -> Endpoint {
    Endpoint::new(text.parse().unwrap(), 30_303)
}

fn config() -> Config {
    Config::new(Vec::new(), [7; 32])
}

fn state_with(config: Config) -> State {
    let identity = Arc::new(HashIdentity(OWN));
    State::new(identity, endpoint("40.0.0.1:30303"), NodeDb::forgetful(1_000), config, at(0))
}

fn state() -> State {
    state_with(config())
}

/// A peer that the test plays.
#[derive(Clone, Copy)]
struct Peer {
    n: u64,
    at: SocketAddr,
}

fn peer(n: u64, at: &str) -> Peer {
    Peer { n, at: at.parse().unwrap() }
}

impl Peer {
    fn node(&self) -> Node {
        Node::new(key(self.n), self.at.ip(), self.at.port(), 30_303)
    }

    /// Sends a packet; gives its size and hash.
    fn send(&self, state: &mut State, packet: &Packet, now: Now) -> (usize, Hash) {
        let (bytes, hash) = packet.encode(&HashIdentity(self.n));
        assert_eq!(state.receive(now, self.at, &bytes), Taken::Ours);
        (bytes.len(), hash)
    }

    fn ping(&self, state: &mut State, now: Now) -> (usize, Hash) {
        let (from, to) = (Endpoint::new(self.at, 30_303), endpoint("40.0.0.1:30303"));
        self.send(state, &Packet::Ping { from, to, expiration: now.unix + 20, seq: None }, now)
    }

    fn pong(&self, state: &mut State, ping: Hash, now: Now) {
        let to = endpoint("40.0.0.1:30303");
        self.send(state, &Packet::Pong { to, ping, expiration: now.unix + 20, seq: None }, now);
    }

    fn find(&self, state: &mut State, now: Now) -> usize {
        self.send(state, &Packet::FindNode { target: key(9), expiration: now.unix + 20 }, now).0
    }

    /// Both sides prove their address.
    fn bond(&self, state: &mut State, now: Now) {
        self.ping(state, now);
        for (_, got) in sent(state) {
            if let Packet::Ping { .. } = got.packet {
                self.pong(state, got.hash, now);
            }
        }
        assert!(state.db.is_proven(&id(self.n), self.at.ip(), now));
        sent(state);
    }

    fn tell(&self, state: &mut State, nodes: Vec<Neighbour>, now: Now) {
        self.send(state, &Packet::Neighbours { nodes, expiration: now.unix + 20 }, now);
    }
}

fn actions(state: &mut State) -> Vec<Action> {
    std::iter::from_fn(|| state.next_action()).collect()
}

/// What was sent: where to, and what.
fn sent(state: &mut State) -> Vec<(SocketAddr, Received)> {
    packets(&actions(state))
}

fn packets(actions: &[Action]) -> Vec<(SocketAddr, Received)> {
    let sends = actions.iter().filter_map(|action| match action {
        Action::Send { to, bytes } => {
            assert!(bytes.len() <= MAX_PACKET);
            Some((*to, Packet::decode(bytes, &HashIdentity(OWN)).unwrap()))
        }
        _ => None,
    });
    sends.collect()
}

fn outcomes(actions: &[Action]) -> Vec<Outcome> {
    let done = actions.iter().filter_map(|action| match action {
        Action::Done { outcome, .. } => Some(outcome.clone()),
        _ => None,
    });
    done.collect()
}

fn kinds(sent: &[(SocketAddr, Received)]) -> Vec<u8> {
    sent.iter().map(|(_, got)| got.packet.kind()).collect()
}

fn ms(now: Now, ms: u64) -> Now {
    Now { mono: now.mono + Duration::from_millis(ms), ..now }
}

#[test]
fn a_ping_is_answered_and_sent_back_until_there_is_a_proof() {
    let (mut state, one) = (state(), peer(1, "50.0.0.1:1111"));
    let (_, hash) = one.ping(&mut state, at(1));
    let got = sent(&mut state);
    assert_eq!(kinds(&got), [2, 1]);
    assert!(got.iter().all(|(to, _)| *to == one.at));
    let Packet::Pong { to, ping, .. } = &got[0].1.packet else { panic!() };
    assert_eq!((*to, *ping), (endpoint("50.0.0.1:1111"), hash));
    assert!(state.table.is_empty(), "not before it has answered");
    one.pong(&mut state, got[1].1.hash, at(1));
    assert_eq!(state.table.live_len(), 1);
    let done = actions(&mut state);
    assert!(done.contains(&Action::Added(one.node())), "{done:?}");
    let stated = Action::Stated { by: one.at.ip(), endpoint: "40.0.0.1:30303".parse().unwrap() };
    assert!(done.contains(&stated));
    one.ping(&mut state, at(2));
    assert_eq!(kinds(&sent(&mut state)), [2], "the proof stands");
    one.ping(&mut state, at(1 + 24 * 3_600));
    assert_eq!(kinds(&sent(&mut state)), [2, 1], "it is a day old");
}

#[test]
fn requests_without_a_proof_meet_silence() {
    let (mut state, one) = (state(), peer(1, "50.0.0.1:1111"));
    one.find(&mut state, at(1));
    one.send(&mut state, &Packet::EnrRequest { expiration: at(20).unix }, at(1));
    assert_eq!((sent(&mut state).len(), state.counters.unproven), (0, 2));
    one.bond(&mut state, at(1));
    one.find(&mut state, at(2));
    assert_eq!(kinds(&sent(&mut state)), [4]);
    // The same key from another address has proven nothing; from another port of the same it has.
    peer(1, "50.0.0.2:1111").find(&mut state, at(2));
    assert_eq!(sent(&mut state), []);
    peer(1, "50.0.0.1:2222").find(&mut state, at(2));
    assert_eq!(kinds(&sent(&mut state)), [4]);
    // Another key from that address has not.
    peer(2, "50.0.0.1:1111").find(&mut state, at(2));
    assert_eq!(sent(&mut state), []);
    one.find(&mut state, at(2 + 24 * 3_600));
    assert_eq!(sent(&mut state), []);
}

#[test]
fn pongs_count_once_and_from_the_right_place() {
    let (mut state, one) = (state(), peer(1, "50.0.0.1:1111"));
    let ping = |state: &mut State| {
        state.ping(one.node(), at(1));
        sent(state).remove(0).1.hash
    };
    let hash = ping(&mut state);
    one.pong(&mut state, [9; 32], at(1));
    peer(2, "50.0.0.1:1111").pong(&mut state, hash, at(1));
    peer(1, "50.0.0.2:1111").pong(&mut state, hash, at(1));
    assert_eq!((state.counters.unsolicited, state.table.len(), state.db.len()), (3, 0, 0));
    // Another port of the same address is taken: gateways change it.
    peer(1, "50.0.0.1:4444").pong(&mut state, hash, ms(at(1), 40));
    let rtt = Duration::from_millis(40);
    assert_eq!(outcomes(&actions(&mut state)), [Outcome::Pong { seq: 0, rtt }]);
    one.pong(&mut state, hash, at(1));
    assert_eq!(state.counters.unsolicited, 4, "once");
    let hash = ping(&mut state);
    // A second later, so that the packet is another one.
    let later = at(2);
    state.wake(later);
    let again = packets(&actions(&mut state)).into_iter().find(|(_, got)| got.packet.kind() == 1).unwrap();
    one.pong(&mut state, hash, later);
    assert_eq!(state.counters.unsolicited, 5, "too late");
    one.pong(&mut state, again.1.hash, later);
    assert_eq!(state.counters.unsolicited, 5);
}

#[test]
fn expired_and_far_future_packets_are_dropped() {
    let (mut state, one) = (state(), peer(1, "50.0.0.1:1111"));
    one.bond(&mut state, at(1));
    let now = at(100);
    for (expiration, counts) in [
        (0, false),
        (now.unix - 1, false),
        (now.unix, true),
        (now.unix + 10 * 3_600, true),
        (now.unix + MAX_EXPIRATION, true),
        (now.unix + MAX_EXPIRATION + 1, false),
        (u64::MAX, false),
    ] {
        let (from, to) = (endpoint("1.1.1.1:1"), endpoint("1.1.1.1:1"));
        for packet in [
            Packet::Ping { from, to, expiration, seq: None },
            Packet::FindNode { target: key(9), expiration },
        ] {
            one.send(&mut state, &packet, now);
            assert_eq!(sent(&mut state).len(), usize::from(counts), "{packet:?}");
        }
    }
    assert_eq!(state.counters.expired, 8);
}

#[test]
fn bytes_to_strangers_are_bounded_by_theirs() {
    // Spoofed senders of every kind of packet: a victim gets at most three times the bytes.
    let mut state = state();
    let mut came: std::collections::BTreeMap<IpAddr, usize> = Default::default();
    let mut went: std::collections::BTreeMap<IpAddr, usize> = Default::default();
    for n in 0..2_000u64 {
        let now = ms(at(1), n);
        let one = peer(100 + n % 700, &format!("50.0.{}.1:{}", n % 5, 1_025 + n % 9));
        let size = match n % 4 {
            0 => one.find(&mut state, now),
            1 => one.send(&mut state, &Packet::EnrRequest { expiration: now.unix + 9 }, now).0,
            _ => one.ping(&mut state, now).0,
        };
        *came.entry(one.at.ip()).or_default() += size;
        state.wake(now);
        for action in actions(&mut state) {
            if let Action::Send { to, bytes } = action {
                *went.entry(to.ip()).or_default() += bytes.len();
            }
        }
    }
    assert_eq!(came.len(), 5);
    for (ip, bytes) in went {
        assert!(bytes > 1_000 && bytes <= AMPLIFICATION * came[&ip], "{ip}: {bytes} for {}", came[&ip]);
    }
    assert!(state.table.is_empty() && state.db.is_empty());
}

#[test]
fn a_flood_of_strangers_takes_nothing_from_who_is_known() {
    let (mut state, one) = (state(), peer(1, "50.0.0.1:1111"));
    one.bond(&mut state, at(1));
    let now = at(10);
    for n in 0..20_000u64 {
        let [_, _, _, _, _, a, b, c] = n.to_be_bytes();
        let (bytes, _) =
            Packet::FindNode { target: key(9), expiration: now.unix + 9 }.encode(&HashIdentity(5));
        state.receive(now, SocketAddr::new(IpAddr::from([90, a, b, c]), 2_000), &bytes);
    }
    let burst = u64::from(Rates::default().strangers.burst);
    assert_eq!(state.counters.over_budget, 20_000 - burst);
    assert!(sent(&mut state).is_empty());
    for _ in 0..10 {
        one.ping(&mut state, now);
        one.find(&mut state, now);
    }
    assert_eq!(sent(&mut state).len(), 20);
    // Who is known has a budget of its own.
    for _ in 0..1_000 {
        one.ping(&mut state, now);
    }
    assert_eq!(sent(&mut state).len(), 400 - 20);
}

/// One address, of a local network or not, leaves three quarters of what strangers have to others.
#[test]
fn a_flood_from_one_address_leaves_room_for_other_strangers() {
    for flooder in ["90.0.0.1:2000", "127.0.0.2:2000"] {
        let mut state = state();
        let rates = Rates::default();
        // While a proof is awaited from there, its packets count as those of one who has given it.
        let most = u64::from(rates.each_stranger.burst + rates.each_known.burst);
        for n in 0..20_000 {
            peer(n + 10, flooder).ping(&mut state, at(10));
            state.actions.clear();
        }
        let counters = state.counters;
        assert!(counters.pings <= most && counters.over_budget >= 20_000 - most, "{flooder}: {counters:?}");
        assert!(state.asks.len() <= 64, "{flooder}: {}", state.asks.len());
        // A newcomer is heard and pinged back.
        peer(1, "50.0.0.1:1111").ping(&mut state, at(10));
        assert_eq!(sent(&mut state).len(), 2, "{flooder}");
        assert!(state.each_stranger.len() <= MAX_STRANGERS);
    }
}

#[test]
fn what_strangers_make_us_remember_is_bounded() {
    let mut state = state_with(Config {
        rates: Rates {
            strangers: Rate { per_sec: 1_000_000, burst: 1_000_000 },
            stranger_answers: Rate { per_sec: 1_000_000, burst: 1_000_000 },
            ..Rates::default()
        },
        ..config()
    });
    for n in 0..10_000u64 {
        let [_, _, _, _, _, a, b, c] = n.to_be_bytes();
        peer(n + 10, &format!("90.{a}.{b}.{c}:2000")).ping(&mut state, at(1));
        state.actions.clear();
    }
    assert!(state.asks.len() <= 256 && state.pinged.len() <= MAX_STRANGERS);
    assert!(state.allowance.len() <= MAX_ADDRESSES && state.known.len() <= MAX_ADDRESSES);
    assert!(state.each_stranger.len() <= MAX_STRANGERS);
    assert!(state.table.is_empty() && state.db.is_empty());
    state.wake(at(5));
    assert!(state.asks.len() < 10, "{}", state.asks.len());
}

#[test]
fn a_query_proves_both_sides_first() {
    let (mut state, one) = (state(), peer(1, "50.0.0.1:1111"));
    state.find_node(one.node(), key(9), at(1));
    let got = sent(&mut state);
    assert_eq!(kinds(&got), [1]);
    one.pong(&mut state, got[0].1.hash, at(1));
    assert_eq!(sent(&mut state), [], "its ping is waited for");
    one.ping(&mut state, ms(at(1), 100));
    let got = sent(&mut state);
    assert_eq!(kinds(&got), [2, 3]);
    let told: Vec<_> = (100..105).map(|n| Neighbour::from(&node(n, "51.0.0.1"))).collect();
    one.tell(&mut state, told, ms(at(1), 200));
    let Some(Outcome::Nodes(nodes)) = outcomes(&actions(&mut state)).pop() else { panic!() };
    assert_eq!(nodes.len(), 5);
    // The next one goes out at once.
    state.find_node(one.node(), key(9), at(2));
    assert_eq!(kinds(&sent(&mut state)), [3]);
    // One that does not ping back is asked after the timeout all the same: it may know us.
    let two = peer(2, "52.0.0.1:1111");
    state.find_node(two.node(), key(9), at(3));
    let hash = sent(&mut state)[0].1.hash;
    two.pong(&mut state, hash, at(3));
    state.wake(ms(at(3), 500));
    assert!(kinds(&sent(&mut state)).contains(&3));
}

#[test]
fn neighbours_that_cannot_be_meant_are_dropped() {
    let (mut state, one) = (state(), peer(1, "50.0.0.1:1111"));
    one.bond(&mut state, at(1));
    let mut off_curve = Neighbour::from(&node(7, "51.0.0.7"));
    off_curve.key[63] ^= 1;
    let mut told = vec![Neighbour::from(&node(100, "51.0.0.1")), off_curve];
    for bad in
        ["127.0.0.1", "10.0.0.1", "192.168.1.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "169.254.0.1"]
    {
        told.push(Neighbour::from(&node(200, bad)));
    }
    let low = Node::new(key(201), ip("51.0.0.2"), 1_024, 1);
    told.push(Neighbour::from(&low));
    told.push(Neighbour::from(&node(OWN, "40.0.0.1")));
    let before = state.counters;
    state.find_node(one.node(), key(9), at(2));
    one.tell(&mut state, told, at(2));
    let got = outcomes(&actions(&mut state));
    assert_eq!(got, [Outcome::Nodes(vec![node(100, "51.0.0.1")])]);
    assert_eq!(state.counters.bad_neighbours - before.bad_neighbours, 9);
    // Unsolicited ones are not looked at.
    one.tell(&mut state, vec![Neighbour::from(&node(101, "51.0.0.3"))], at(3));
    assert!(state.table.get(&id(101)).is_none());
    assert_eq!(state.counters.unsolicited, before.unsolicited + 1);
}

#[test]
fn sixteen_come_in_two_packets_in_any_order() {
    let told = |from: u64, count: u64| -> Vec<Neighbour> {
        (from..from + count).map(|n| Neighbour::from(&node(n, &format!("51.0.{n}.1")))).collect()
    };
    for (parts, total) in [
        (vec![told(100, 12), told(112, 4)], 16),
        (vec![told(112, 4), told(100, 12)], 16),
        (vec![told(100, 12), told(100, 12), told(112, 4)], 16),
        (vec![told(100, 7)], 7),
        (vec![told(100, 0)], 0),
    ] {
        let (mut state, one) = (state(), peer(1, "50.0.0.1:1111"));
        one.bond(&mut state, at(1));
        state.find_node(one.node(), key(9), at(2));
        sent(&mut state);
        for part in parts {
            let early = outcomes(&actions(&mut state));
            assert_eq!(early, [], "{total}: not before all have come");
            one.tell(&mut state, part, at(2));
        }
        let got = outcomes(&actions(&mut state));
        assert!(matches!(&got[..], [Outcome::Nodes(nodes)] if nodes.len() == total), "{total}: {got:?}");
    }
    // One packet that may be the first of two is waited on for a little.
    let (mut state, one) = (state(), peer(1, "50.0.0.1:1111"));
    one.bond(&mut state, at(1));
    state.find_node(one.node(), key(9), at(2));
    one.tell(&mut state, told(100, 12), at(2));
    assert_eq!(outcomes(&actions(&mut state)), []);
    state.wake(ms(at(2), 100));
    assert!(matches!(&outcomes(&actions(&mut state))[..], [Outcome::Nodes(nodes)] if nodes.len() == 12));
}

#[test]
fn answers_are_split_and_stay_below_the_limit() {
    let (mut state, one) = (state(), peer(1, "50.0.0.1:1111"));
    one.bond(&mut state, at(1));
    for n in 2..100 {
        let at = format!("2a0{:x}:{:x}::1", n % 16, n);
        state.table.proven(Node::new(key(n), ip(&at), 65_535, 65_535), Duration::ZERO);
    }
    one.find(&mut state, at(2));
    let got = sent(&mut state);
    let counts = got.iter().map(|(_, got)| match &got.packet {
        Packet::Neighbours { nodes, .. } => nodes.len(),
        other => panic!("{other:?}"),
    });
    assert_eq!(counts.collect::<Vec<_>>(), [12, 4]);
}

#[test]
fn a_signed_answer_is_sent_again_while_it_is_new_and_still_true() {
    let mut state = state();
    let asker = peer(1, "50.0.0.1:30303");
    asker.bond(&mut state, at(1));
    let ask = |state: &mut State, now: Now| -> Vec<Vec<u8>> {
        asker.find(state, now);
        let sends = actions(state).into_iter().filter_map(|action| match action {
            Action::Send { bytes, .. } => Some(bytes),
            _ => None,
        });
        sends.collect()
    };
    let first = ask(&mut state, at(10));
    assert_eq!(ask(&mut state, at(10 + told::REUSED_FOR - 1)), first, "nothing has changed");
    let later = at(10 + told::REUSED_FOR);
    let second = ask(&mut state, later);
    assert_ne!(second, first, "it would not count for long any more");
    for (bytes, now) in [(&first, at(14)), (&second, later)] {
        let got = Packet::decode(&bytes[0], &HashIdentity(OWN)).unwrap();
        assert!(got.packet.expiration().unwrap() >= now.unix + EXPIRATION);
    }
    // Another node to tell of is told at once.
    peer(2, "50.0.1.1:30303").bond(&mut state, later);
    let third = ask(&mut state, later);
    assert_eq!(
        Packet::decode(&third[0], &HashIdentity(OWN)).map(|got| match got.packet {
            Packet::Neighbours { nodes, .. } => nodes.len(),
            other => panic!("{other:?}"),
        }),
        Ok(2)
    );
    assert_eq!(ask(&mut state, later), third);
}

#[test]
fn signed_answers_that_are_kept_are_bounded() {
    let mut told = told::Told::default();
    for n in 1..=3 * told::MAX_ANSWERS as u64 {
        let packets = told.packets(vec![node(n, "50.0.0.1")], &HashIdentity(OWN), at(1));
        assert_eq!(packets.len(), 1);
        assert!(told.len() <= told::MAX_ANSWERS);
    }
}

#[test]
fn nodes_of_our_network_are_not_told_to_strangers_outside() {
    let mut state = state();
    let (outside, inside) = (peer(1, "50.0.0.1:1111"), peer(2, "10.0.0.2:1111"));
    outside.bond(&mut state, at(1));
    inside.bond(&mut state, at(1));
    state.table.proven(node(3, "127.0.0.1"), Duration::ZERO);
    let told = |state: &mut State, to: Peer| -> Vec<String> {
        to.find(state, at(2));
        let Packet::Neighbours { nodes, .. } = sent(state).remove(0).1.packet else { panic!() };
        let mut ips: Vec<_> = nodes.iter().map(|n| n.endpoint.ip.to_string()).collect();
        ips.sort();
        ips
    };
    assert_eq!(told(&mut state, outside), ["50.0.0.1"]);
    assert_eq!(told(&mut state, inside), ["10.0.0.2", "50.0.0.1"]);
}

#[test]
fn records_are_asked_for_checked_and_kept() {
    let secret = NodeKey::from_bytes(&[5; 32]).unwrap();
    let own = NodeKey::from_bytes(&[6; 32]).unwrap();
    let mut state =
        State::new(Arc::new(own), endpoint("40.0.0.1:30303"), NodeDb::forgetful(9), config(), at(0));
    let mine = Record::signed(&NodeKey::from_bytes(&[6; 32]).unwrap(), 3, ip("40.0.0.1"), None, Some(30_303));
    state.set_local(endpoint("40.0.0.1:30303"), Some(Arc::new(mine.clone())));
    let from: SocketAddr = "50.0.0.1:1111".parse().unwrap();
    let they = Node::new(secret.public().to_bytes(), from.ip(), from.port(), 0);
    let send = |state: &mut State, packet: Packet| {
        let (bytes, hash) = packet.encode(&secret);
        state.receive(at(1), from, &bytes);
        hash
    };
    let next = |state: &mut State| -> Vec<Received> {
        let sends = actions(state).into_iter().filter_map(|action| match action {
            Action::Send { bytes, .. } => Packet::decode(&bytes, &secret).ok(),
            _ => None,
        });
        sends.collect()
    };
    let expiration = at(20).unix;
    let here = endpoint("50.0.0.1:1111");
    send(&mut state, Packet::Ping { from: here, to: here, expiration, seq: None });
    let back = next(&mut state).pop().unwrap();
    assert!(matches!(back.packet, Packet::Ping { seq: Some(3), .. }));
    send(&mut state, Packet::Pong { to: here, ping: back.hash, expiration, seq: Some(8) });
    // What is asked of us.
    let hash = send(&mut state, Packet::EnrRequest { expiration });
    let answer = next(&mut state).pop().unwrap().packet;
    assert_eq!(answer, Packet::EnrResponse { request: hash, record: mine.encode() });
    // What we ask: another's record and one for another request do not count.
    let theirs = Record::signed(&secret, 8, from.ip(), Some(1), Some(1111));
    for (record, request_is_right, good) in
        [(&mine, true, false), (&theirs, false, false), (&theirs, true, true)]
    {
        state.request_record(they.clone(), at(1));
        let asked = next(&mut state).pop().unwrap();
        assert!(matches!(asked.packet, Packet::EnrRequest { .. }));
        let request = if request_is_right { asked.hash } else { [1; 32] };
        send(&mut state, Packet::EnrResponse { request, record: record.encode() });
        let got = actions(&mut state);
        let with_record = they.clone().with_record(Arc::new(theirs.clone()));
        let want = match (good, request_is_right) {
            (true, _) => vec![Outcome::Record(with_record)],
            (false, true) => vec![Outcome::Failed],
            (false, false) => vec![],
        };
        assert_eq!(outcomes(&got), want);
    }
    assert_eq!(state.counters.bad_records, 1);
    assert_eq!(state.table.get(&they.id()).unwrap().seq(), 8);
    assert_eq!(state.db.get(&they.id()).unwrap().node.seq(), 8);
}

#[test]
fn a_check_fetches_a_newer_record_and_failures_remove() {
    let (mut state, one) = (state(), peer(1, "50.0.0.1:1111"));
    one.bond(&mut state, at(1));
    // Its pongs announce a record: a check asks for it, a lookup does not.
    let mut now = at(2);
    let mut asked = false;
    while !asked {
        now = ms(now, 100);
        assert!(now.mono < at(30).mono, "a check comes");
        state.wake(now);
        let pings = sent(&mut state).into_iter().filter(|(_, got)| got.packet.kind() == 1);
        for (_, ping) in pings.collect::<Vec<_>>() {
            let (to, ping, expiration) = (endpoint("40.0.0.1:30303"), ping.hash, now.unix + 9);
            one.send(&mut state, &Packet::Pong { to, ping, expiration, seq: Some(4) }, now);
            asked |= kinds(&sent(&mut state)).contains(&5);
        }
    }
    assert_eq!(state.table.checks(&id(1)), Some(2));
    // Silence from now on: two pings a check, then it is gone.
    let mut pings = 0;
    while !state.table.is_empty() {
        now = Now { mono: state.next_wake().max(now.mono), ..now };
        state.wake(now);
        pings += sent(&mut state).iter().filter(|(_, got)| got.packet.kind() == 1).count();
        assert!(pings < 20);
    }
    assert!(pings >= 2, "{pings}");
}

#[test]
fn not_allowed_addresses_are_neither_heard_nor_asked() {
    let allow = Allow(Arc::new(|ip: IpAddr| ip.to_string().starts_with("50.")));
    let mut state = state_with(Config { allow: Some(allow), ..config() });
    peer(1, "60.0.0.1:1111").ping(&mut state, at(1));
    assert_eq!((sent(&mut state).len(), state.counters.not_allowed), (0, 1));
    let op = state.ping(node(2, "60.0.0.1"), at(1));
    assert_eq!(actions(&mut state), [Action::Done { op, outcome: Outcome::Failed }]);
    assert_eq!(state.add_known(node(2, "60.0.0.1")), Offered::Unfit);
    // Our own key from elsewhere is somebody's copy, or our packet come back.
    let (bytes, _) = Packet::EnrRequest { expiration: at(9).unix }.encode(&HashIdentity(OWN));
    state.receive(at(1), "50.0.0.1:1".parse().unwrap(), &bytes);
    assert_eq!(state.counters.not_allowed, 2);
}

#[test]
fn what_is_not_ours_is_left_to_others() {
    let mut state = state();
    let from = "50.0.0.1:1".parse().unwrap();
    for bytes in [&[][..], &[0; 97], &[0; 98], &[7; 1_280], &[7; 1_281]] {
        assert_eq!(state.receive(at(1), from, bytes), Taken::Foreign);
    }
    assert_eq!(state.counters, Counters::default());
}

#[test]
fn made_up_neighbours_do_not_keep_a_lookup_going_or_aim_it_at_a_victim() {
    let mut state = state();
    let liar = peer(1, "50.0.0.1:1111");
    liar.bond(&mut state, at(1));
    state.lookup(key(9), at(2));
    let target = NodeId::of_key(&key(9));
    let (mut now, mut victim, mut next, mut asked, mut ended) = (at(2), 0, 10_000, 0, false);
    for _ in 0..30_000 {
        let got = actions(&mut state);
        ended |= !outcomes(&got).is_empty();
        if now.mono > at(27).mono {
            break;
        }
        for (to, got) in packets(&got) {
            victim += usize::from(to.ip() == ip("66.6.6.6"));
            if got.packet.kind() == 3 {
                asked += 1;
                // Ever nearer ones, all at one victim.
                let keys = keys_at(target, 250, next, 12);
                next = keys[11] + 1;
                let told = keys.iter().map(|n| Node::new(key(*n), ip("66.6.6.6"), 2_000, 0));
                let told: Vec<_> = told.map(|n| Neighbour::from(&n)).collect();
                liar.tell(&mut state, told, now);
            }
        }
        now = Now { mono: state.next_wake().max(now.mono), ..now };
        state.wake(now);
    }
    assert!(asked >= 5 && ended, "{asked} questions");
    assert!(victim <= 40, "{victim} packets to a victim");
}

#[test]
fn too_many_requests_and_lookups_fail_at_once() {
    let mut state = state();
    state.add_known(node(1, "50.0.0.1"));
    for n in 0..MAX_ASKS as u64 + 10 {
        state.ping(node(100 + n, &format!("51.{}.{}.1", n / 250, n % 250)), at(1));
    }
    assert_eq!(outcomes(&actions(&mut state)).len(), 10);
    let mut state = self::state();
    state.add_known(node(1, "50.0.0.1"));
    (0..MAX_LOOKUPS as u64 + 5).for_each(|n| _ = state.lookup(key(n), at(1)));
    assert_eq!(outcomes(&actions(&mut state)), vec![Outcome::Nodes(vec![]); 5]);
}

#[test]
fn a_wrong_clock_is_suspected_after_many_timeouts() {
    let mut state = state();
    let mut now = at(1);
    let mut doubts = 0;
    for n in 0..40u64 {
        state.ping(node(100 + n, &format!("51.0.{n}.1")), now);
        for _ in 0..3 {
            now = ms(now, 500);
            state.wake(now);
            doubts += actions(&mut state).iter().filter(|a| **a == Action::ClockDoubt).count();
        }
    }
    assert_eq!(doubts, 1);
}

#[test]
fn a_wrong_clock_is_suspected_when_nodes_that_answer_have_another_time() {
    let mut state = state();
    let now = at(100);
    let (here, mut doubts) = (endpoint("1.1.1.1:1"), 0);
    let mut answer = |state: &mut State, n: u64, expiration: u64, ours: bool| {
        let one = peer(300 + n, &format!("52.0.{n}.1:9"));
        state.ping(node(300 + n, &format!("52.0.{n}.1")), now);
        let asked = sent(state).remove(0).1.hash;
        let ping = if ours { asked } else { Hash::default() };
        let pong = Packet::Pong { to: here, ping, expiration, seq: None };
        // Said twice it is one node's word.
        one.send(state, &pong, now);
        one.send(state, &pong, now);
        doubts += actions(state).iter().filter(|a| **a == Action::ClockDoubt).count();
        doubts
    };
    for n in 0..20 {
        assert_eq!(answer(&mut state, n, 5, false), 0, "who was not asked is not heard");
    }
    for n in 20..23 {
        assert_eq!(answer(&mut state, n, u64::MAX, true), 0);
    }
    assert_eq!(answer(&mut state, 23, now.unix + 9, true), 0, "one in time counts against all before it");
    for n in 24..24 + CLOCK_CONTRADICTED as u64 - 1 {
        assert_eq!(answer(&mut state, n, 5, true), 0);
    }
    for n in 40..50 {
        assert_eq!(answer(&mut state, n, 5, true), 1, "told once");
    }
}

#[test]
fn same_seed_same_run() {
    let run = || {
        let mut state = state_with(Config::new(vec![node(1, "50.0.0.1")], [3; 32]));
        let mut now = at(0);
        let mut log = Vec::new();
        for n in 0..200 {
            state.wake(now);
            peer(n % 7 + 1, &format!("50.0.{}.1:2000", n % 7)).ping(&mut state, now);
            log.extend(actions(&mut state).into_iter().map(|a| format!("{a:?}")));
            now = ms(now, 130);
        }
        log
    };
    assert_eq!(run(), run());
}
