//! What two nodes do with each other.

use super::*;
use crate::v5::message::{Message, RequestId};
use crate::v5::session::Dropped;

#[test]
fn a_handshake_makes_a_session_and_the_next_packet_needs_none() {
    let (mut a, mut b) = pair();
    assert_eq!((a.counters().handshakes, b.counters().handshakes), (0, 1));
    assert_eq!(b.counters().challenges, 1);
    a.ping(&node(2), START);
    let told = settle(&mut [(addr(1), &mut a), (addr(2), &mut b)], START);
    assert_eq!(b.counters().challenges, 1);
    assert!(told[0].contains(&Action::Stated { by: addr(2).ip(), endpoint: addr(1) }));
    assert!(told[0].contains(&Action::Live(node(2))));
    // The other direction uses the same session.
    b.ping(&node(1), START);
    let told = settle(&mut [(addr(1), &mut a), (addr(2), &mut b)], START);
    assert_eq!(outcomes(&told[1]), [Outcome::Pong { enr_seq: 1 }]);
    assert_eq!(a.counters().challenges, 0);
}

#[test]
fn a_peer_that_forgot_the_session_is_met_again() {
    let (mut a, mut b) = pair();
    b.forget_session(&Peer { id: a.id(), addr: addr(1) });
    a.ping(&node(2), START);
    let told = settle(&mut [(addr(1), &mut a), (addr(2), &mut b)], START);
    assert_eq!(outcomes(&told[0]), [Outcome::Pong { enr_seq: 1 }]);
    assert_eq!(b.counters().handshakes, 2);
}

#[test]
fn both_sides_may_start_at_once() {
    let (mut a, mut b) = (v5(1), v5(2));
    a.ping(&node(2), START);
    b.ping(&node(1), START);
    let told = settle(&mut [(addr(1), &mut a), (addr(2), &mut b)], START);
    assert_eq!(outcomes(&told[0]), [Outcome::Pong { enr_seq: 1 }]);
    assert_eq!(outcomes(&told[1]), [Outcome::Pong { enr_seq: 1 }]);
    // Whatever keys each ended with, both directions work without another handshake.
    let challenges = (a.counters().challenges, b.counters().challenges);
    a.ping(&node(2), START);
    b.ping(&node(1), START);
    let told = settle(&mut [(addr(1), &mut a), (addr(2), &mut b)], START);
    assert_eq!((outcomes(&told[0]).len(), outcomes(&told[1]).len()), (1, 1));
    assert_eq!((a.counters().challenges, b.counters().challenges), challenges);
}

#[test]
fn while_a_challenge_is_open_it_is_repeated_byte_for_byte() {
    let (mut a, mut b) = (v5(1), v5(2));
    let mut c = v5(1);
    a.ping(&node(2), START);
    c.ping(&node(2), START + Duration::from_millis(1));
    let first = one(&mut a);
    b.packet(addr(1), &first, START).unwrap();
    let challenge = one(&mut b);
    c.forget_session(&Peer { id: b.id(), addr: addr(2) });
    b.packet(addr(1), &one(&mut c), START).unwrap();
    assert_eq!(one(&mut b), challenge);
    // A second later it is another one.
    b.packet(addr(1), &first, START + CHALLENGE_LIFE).unwrap();
    assert_ne!(one(&mut b), challenge);
}

#[test]
fn a_session_belongs_to_an_address() {
    let (mut a, mut b) = pair();
    a.ping(&node(2), START);
    let datagram = one(&mut a);
    b.packet(addr(9), &datagram, START).unwrap();
    let (to, answer) = sent(&mut b).remove(0);
    assert_eq!((to, answer.len()), (addr(9), packet::MIN_PACKET));
}

#[test]
fn a_replayed_handshake_is_dropped() {
    let (mut a, mut b) = (v5(1), v5(2));
    a.ping(&node(2), START);
    b.packet(addr(1), &one(&mut a), START).unwrap();
    a.packet(addr(2), &one(&mut b), START).unwrap();
    let handshake = one(&mut a);
    b.packet(addr(1), &handshake, START).unwrap();
    assert_eq!(sent(&mut b).len(), 1);
    assert_eq!(b.packet(addr(1), &handshake, START), Err(Dropped::UnaskedHandshake));
    assert_eq!(b.packet(addr(3), &handshake, START), Err(Dropped::UnaskedHandshake));
    assert!(sent(&mut b).is_empty());
    assert_eq!(b.counters().unasked_handshakes, 2);
}

#[test]
fn a_handshake_that_comes_late_is_dropped() {
    let (mut a, mut b) = (v5(1), v5(2));
    a.ping(&node(2), START);
    b.packet(addr(1), &one(&mut a), START).unwrap();
    a.packet(addr(2), &one(&mut b), START).unwrap();
    let late = START + CHALLENGE_LIFE;
    assert_eq!(b.packet(addr(1), &one(&mut a), late), Err(Dropped::UnaskedHandshake));
}

#[test]
fn a_request_is_challenged_once_and_times_out() {
    let (mut a, mut b) = (v5(1), v5(2));
    a.ping(&node(2), START);
    b.packet(addr(1), &one(&mut a), START).unwrap();
    let challenge = one(&mut b);
    // From elsewhere it is not taken, and not twice.
    assert_eq!(a.packet(addr(3), &challenge, START), Err(Dropped::UnaskedAnswer));
    a.packet(addr(2), &challenge, START).unwrap();
    assert_eq!(a.packet(addr(2), &challenge, START), Err(Dropped::UnaskedAnswer));
    assert_eq!(sent(&mut a).len(), 1);
    a.tick(START + Duration::from_millis(699));
    assert!(outcomes(&actions(&mut a)).is_empty());
    a.tick(START + Duration::from_millis(700));
    assert_eq!(outcomes(&actions(&mut a)), [Outcome::Failed(CallError::TimedOut)]);
    assert_eq!(a.under_way()[..2], [0, 0]);
}

#[test]
fn requests_to_one_node_wait_for_each_other_and_are_bounded() {
    let (mut a, mut b) = pair();
    for _ in 0..MAX_QUEUED_PER_NODE + 5 {
        a.ping(&node(2), START);
    }
    assert_eq!(a.under_way()[..2], [1, MAX_QUEUED_PER_NODE]);
    let told = settle(&mut [(addr(1), &mut a), (addr(2), &mut b)], START);
    let outcomes = outcomes(&told[0]);
    let busy = outcomes.iter().filter(|o| **o == Outcome::Failed(CallError::Busy)).count();
    assert_eq!((busy, outcomes.len()), (4, MAX_QUEUED_PER_NODE + 5));
    for number in 10..10 + MAX_ACTIVE as u32 + 10 {
        a.ping(&Node::new([1; 64], [127, 1, (number >> 8) as u8, number as u8].into(), 30303, 0), START);
    }
    assert_eq!(a.under_way()[..2], [1, MAX_QUEUED_PER_NODE]);
}

#[test]
fn nodes_tell_what_they_know_at_a_distance() {
    let (mut a, mut b) = pair();
    for number in 10..60 {
        b.add_known(&node(number));
    }
    let config = Config { tell_unchecked: true, ..Config::default() };
    b.set_config_for_tests(config);
    a.find_node(&node(2), &[0, 256, 256, 255, 999], START);
    let told = settle(&mut [(addr(1), &mut a), (addr(2), &mut b)], START);
    let Outcome::Nodes(nodes) = &outcomes(&told[0])[0] else { panic!("{told:?}") };
    assert_eq!(nodes.len(), 16);
    assert_eq!(nodes[0].id(), b.id());
    assert!(nodes.iter().skip(1).all(|n| b.id().log_distance(&n.id()) >= 255));
    // Nobody that answered yet: of others nothing is told by default.
    b.set_config_for_tests(Config::default());
    a.find_node(&node(2), &[256], START);
    let told = settle(&mut [(addr(1), &mut a), (addr(2), &mut b)], START);
    assert_eq!(outcomes(&told[0]), [Outcome::Nodes(Vec::new())]);
}

#[test]
fn a_record_is_asked_for_and_a_ping_tells_of_a_newer_one() {
    let (mut a, mut b) = pair();
    b.set_record(Arc::new(record(2, 7)));
    a.request_record(&node(2), START);
    let told = settle(&mut [(addr(1), &mut a), (addr(2), &mut b)], START);
    let Outcome::Record(newer) = &outcomes(&told[0])[0] else { panic!("{told:?}") };
    assert_eq!((newer.seq(), newer.id()), (7, b.id()));

    a.add_known(&node(2));
    b.set_record(Arc::new(record(2, 9)));
    b.ping(&node(1), START);
    settle(&mut [(addr(1), &mut a), (addr(2), &mut b)], START);
    assert_eq!(a.table().get(&b.id()).unwrap().seq(), 9);
}

#[test]
fn the_table_checks_its_nodes_and_drops_the_silent() {
    let (mut a, mut b) = (v5(1), v5(2));
    a.add_known(&node(2));
    a.add_known(&node(3));
    let mut now = START;
    for _ in 0..200 {
        a.tick(now);
        settle(&mut [(addr(1), &mut a), (addr(2), &mut b)], now);
        now = a.next_wake().max(now + Duration::from_millis(1));
        if now > START + Duration::from_secs(60) {
            break;
        }
    }
    assert!(a.table().checks(&b.id()).is_some_and(|checks| checks > 1));
    assert_eq!((a.table().live_len(), a.table().len()), (1, 1));
}

#[test]
fn talk_requests_are_answered_at_once_later_or_with_nothing() {
    let (mut a, mut b) = pair();
    b.register_talk(b"echo", Box::new(|_: &Peer, message: &[u8], _| TalkAnswer::Now(message.to_vec())));
    let tickets = Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = tickets.clone();
    b.register_talk(
        b"later",
        Box::new(move |_: &Peer, _: &[u8], ticket: TalkTicket| {
            kept.lock().unwrap().push(ticket);
            TalkAnswer::Later
        }),
    );
    b.register_talk(b"huge", Box::new(|_: &Peer, _: &[u8], _| TalkAnswer::Now(vec![1; MAX_TALK + 1])));
    a.talk(&node(2), b"echo", b"hello", START);
    a.talk(&node(2), b"none", b"hello", START);
    a.talk(&node(2), b"huge", b"", START);
    let told = settle(&mut [(addr(1), &mut a), (addr(2), &mut b)], START);
    let talk = |bytes: &[u8]| Outcome::Talk(bytes.to_vec());
    assert_eq!(outcomes(&told[0]), [talk(b"hello"), talk(b""), talk(b"")]);

    a.talk(&node(2), b"later", b"", START);
    settle(&mut [(addr(1), &mut a), (addr(2), &mut b)], START);
    let ticket = tickets.lock().unwrap()[0];
    assert!(b.answer_talk(ticket, b"now".to_vec()) && !b.answer_talk(ticket, b"again".to_vec()));
    let told = settle(&mut [(addr(1), &mut a), (addr(2), &mut b)], START);
    assert_eq!(outcomes(&told[0]), [talk(b"now")]);

    // Answers that never come are bounded, and make room when their time is up.
    for _ in 0..MAX_TALKS {
        let id = RequestId::default();
        let request = Message::TalkReq { id, protocol: b"later".to_vec(), message: Vec::new() };
        b.packet(addr(1), &sealed(&mut a, &request), START).unwrap();
    }
    let request =
        Message::TalkReq { id: RequestId::default(), protocol: b"later".to_vec(), message: Vec::new() };
    assert_eq!(b.packet(addr(1), &sealed(&mut a, &request), START), Err(Dropped::Overload));
    assert_eq!(b.held()[3], MAX_TALKS);
    b.packet(addr(1), &sealed(&mut a, &request), START + Duration::from_secs(11)).unwrap();
    assert_eq!(b.held()[3], 1);
}

#[test]
fn the_longest_talk_request_fits_also_when_it_needs_a_handshake() {
    let (mut a, mut b) = (v5(1), v5(2));
    b.register_talk(b"echo", Box::new(|_: &Peer, message: &[u8], _| TalkAnswer::Now(message.to_vec())));
    let message = vec![9; MAX_TALK - 4];
    a.talk(&node(2), b"echo", &message, START);
    let told = settle(&mut [(addr(1), &mut a), (addr(2), &mut b)], START);
    assert_eq!(outcomes(&told[0]), [Outcome::Talk(message)]);
    a.talk(&node(2), b"echo", &vec![9; MAX_TALK], START);
    assert_eq!(outcomes(&actions(&mut a)), [Outcome::Failed(CallError::TooLarge)]);
}

#[test]
fn a_node_that_knows_nobody_sleeps_between_its_searches() {
    let mut lonely = v5(1);
    let mut now = Duration::from_secs(1);
    for _ in 0..20 {
        lonely.tick(now);
        assert!(lonely.random_node(now).is_none());
        let next = lonely.next_wake();
        assert!(next >= now + Duration::from_secs(1), "{now:?} to {next:?}");
        now = next;
    }
    assert_eq!(lonely.counters().lookups, 0);
}

#[test]
fn only_allowed_networks_are_used() {
    let config = Config { restrict: vec!["127.0.0.0/24".parse().unwrap()], ..Config::default() };
    let mut a = V5::new(key(1), Arc::new(record(1, 1)), config, [0; 32]);
    a.add_known(&node(2));
    a.add_known(&node(70_000));
    assert_eq!(a.table().len(), 1);
}
