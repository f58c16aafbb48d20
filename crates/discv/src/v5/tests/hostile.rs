//! What strangers and peers may send: nothing of it is stored without bound, answered with more, or a panic.

use super::*;
use crate::v5::call::MAX_NODES;
use crate::v5::message::{MAX_DISTANCES, Message, MessageError, RequestId};
use crate::v5::session::{Dropped, MAX_TRIES};
use proptest::prelude::*;
use std::net::IpAddr;
use switchboard_enr::rlp;

fn id() -> RequestId {
    RequestId::new(&[1, 2, 3]).unwrap()
}

fn every_message() -> Vec<Message> {
    let nodes = |records: Vec<Vec<u8>>| Message::Nodes { id: id(), total: 1, records };
    vec![
        Message::Ping { id: id(), enr_seq: 300 },
        Message::Pong { id: id(), enr_seq: 1, ip: [127, 0, 0, 1].into(), port: 30303 },
        Message::Pong { id: id(), enr_seq: 1, ip: "2a00::1".parse().unwrap(), port: 1 },
        Message::FindNode { id: id(), distances: vec![0, 1, 256] },
        nodes(Vec::new()),
        nodes(vec![record(1, 1).encode(), record(2, 1).encode()]),
        Message::TalkReq { id: id(), protocol: b"p".to_vec(), message: b"question".to_vec() },
        Message::TalkResp { id: id(), message: b"answer".to_vec() },
    ]
}

#[test]
fn messages_are_what_they_were_and_every_cut_is_refused() {
    for message in every_message() {
        let bytes = message.encode();
        assert_eq!(Message::decode(&bytes).unwrap(), message);
        for cut in 0..bytes.len() {
            assert!(Message::decode(&bytes[..cut]).is_err(), "{message:?} cut to {cut}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(Message::decode(&longer).is_err());
    }
    for kind in 0..=255 {
        match Message::decode(&[kind, 0xc0]) {
            Ok(Message::Topic { kind: topic }) => assert!(topic == kind && (7..=10).contains(&kind)),
            Ok(other) => panic!("{other:?}"),
            Err(MessageError::Kind(of)) => assert!(of == kind && !(1..=10).contains(&kind)),
            Err(_) => assert!((1..=6).contains(&kind)),
        }
    }
}

#[test]
fn request_ids_of_every_length() {
    for length in 0..=255_usize {
        let mut body = Vec::new();
        rlp::put_string(&vec![9; length], &mut body);
        rlp::put_number(1, &mut body);
        let mut message = vec![1];
        rlp::put_list(&body, &mut message);
        match Message::decode(&message) {
            Ok(ping) => assert!(length <= 8 && ping.id().unwrap().as_bytes() == vec![9; length], "{length}"),
            Err(error) => assert!(length > 8 && error == MessageError::RequestId, "{length}"),
        }
    }
}

#[test]
fn more_distances_than_there_are_and_more_elements_are_refused() {
    let asks = |count| Message::FindNode { id: id(), distances: vec![256; count] }.encode();
    assert!(Message::decode(&asks(MAX_DISTANCES)).is_ok());
    assert!(Message::decode(&asks(MAX_DISTANCES + 1)).is_err());
    let mut body = Vec::new();
    [1, 2, 3].into_iter().for_each(|number| rlp::put_number(number, &mut body));
    let mut message = vec![1];
    rlp::put_list(&body, &mut message);
    assert!(Message::decode(&message).is_err());
}

#[test]
fn packets_of_every_length_cut_at_every_byte() {
    let (mut a, mut b) = pair();
    let datagram = sealed(&mut a, &every_message()[5]);
    for cut in 0..datagram.len() {
        let result = b.packet(addr(1), &datagram[..cut], START);
        // With a whole header it is a packet that cannot be read, and is answered as such.
        assert!(cut >= 87 || matches!(result, Err(Dropped::Packet(_))), "{cut}: {result:?}");
        for (_, out) in sent(&mut b) {
            assert!(out.len() <= cut);
        }
    }
    for length in 0..1400 {
        let _ = b.packet(addr(1), &vec![0x55; length], START);
        assert!(sent(&mut b).is_empty());
    }
    b.packet(addr(1), &datagram, START).unwrap_err();
}

#[test]
fn a_handshake_cut_or_changed_at_every_byte_makes_no_session() {
    let (mut a, mut b) = (v5(1), v5(2));
    a.ping(&node(2), START);
    let first = one(&mut a);
    b.packet(addr(1), &first, START).unwrap();
    a.packet(addr(2), &one(&mut b), START).unwrap();
    let handshake = one(&mut a);
    let mut tries = 0;
    for at in 0..handshake.len() {
        let mut changed = handshake.clone();
        changed[at] ^= 1;
        for bad in [&changed[..], &handshake[..at]] {
            tries += 1;
            let mut b = v5(2);
            b.packet(addr(1), &first, START).unwrap();
            let _ = sent(&mut b);
            let result = b.packet(addr(1), bad, START);
            // A changed mask shows as another header; an unreadable message is answered with the same challenge.
            let answers = sent(&mut b);
            assert!(answers.iter().all(|(_, out)| out.len() <= bad.len()), "{result:?}");
            assert_eq!((b.counters().handshakes, b.held()[0]), (0, 0), "{result:?}");
        }
    }
    assert_eq!(tries, 2 * handshake.len());
    b.packet(addr(1), &handshake, START).unwrap();
    assert_eq!(b.counters().handshakes, 1);
}

#[test]
fn wrong_proofs_leave_the_challenge_but_not_forever() {
    let (mut a, mut b) = (v5(1), v5(2));
    a.ping(&node(2), START);
    b.packet(addr(1), &one(&mut a), START).unwrap();
    a.packet(addr(2), &one(&mut b), START).unwrap();
    let handshake = one(&mut a);
    let mut bad = handshake.clone();
    *bad.last_mut().unwrap() ^= 1;
    for _ in 1..MAX_TRIES {
        assert!(matches!(b.packet(addr(1), &bad, START), Err(Dropped::Proof(_))));
    }
    // The true one still fits.
    b.packet(addr(1), &handshake, START).unwrap();

    let (mut a, mut b) = (v5(1), v5(2));
    a.ping(&node(2), START);
    b.packet(addr(1), &one(&mut a), START).unwrap();
    a.packet(addr(2), &one(&mut b), START).unwrap();
    let handshake = one(&mut a);
    let mut bad = handshake.clone();
    *bad.last_mut().unwrap() ^= 1;
    (0..MAX_TRIES).for_each(|_| assert!(b.packet(addr(1), &bad, START).is_err()));
    assert_eq!(b.packet(addr(1), &handshake, START), Err(Dropped::UnaskedHandshake));
    assert_eq!(b.counters().bad_proofs, u64::from(MAX_TRIES));
}

/// A packet of a stranger, who makes up an id.
fn strange(number: u32, to: &V5, size: usize) -> Vec<u8> {
    let mut src = [0xee; 32];
    src[..4].copy_from_slice(&number.to_be_bytes());
    let auth = packet::Auth::Message { src: NodeId(src) };
    let head = packet::head(&[3; 16], &packet::Header { nonce: [4; 12], auth });
    packet::encode(&to.id(), &head, &vec![0; size])
}

#[test]
fn a_flood_of_strangers_is_bounded_in_memory_and_in_answers() {
    let (_, mut b) = pair();
    let (mut bytes_in, mut bytes_out, mut answers) = (0, 0, 0);
    // A hundred thousand ids from as many addresses, in ten seconds.
    for number in 0..100_000_u32 {
        let from = SocketAddr::from((IpAddr::from((0x0800_0000 + number).to_be_bytes()), 9000));
        let datagram = strange(number, &b, 16);
        bytes_in += datagram.len();
        let _ = b.packet(from, &datagram, START + Duration::from_micros(100) * number);
        for (to, out) in sent(&mut b) {
            assert!(to == from && out.len() <= datagram.len());
            bytes_out += out.len();
            answers += 1;
        }
        let [sessions, challenges, addresses, talks] = b.held();
        assert!(sessions <= 1 && challenges <= MAX_CHALLENGES && talks == 0);
        assert!(addresses <= super::super::budget::MAX_ADDRESSES);
    }
    assert!((9_000..=11_001).contains(&answers), "{answers}");
    assert!(bytes_out <= bytes_in);
    assert_eq!(b.counters().over_budget + answers, 100_000);
    // One address gets its share and no more; who has a session is served all the same.
    let mut answered = 0;
    let now = START + Duration::from_secs(60);
    for number in 0..1000 {
        let _ = b.packet("9.9.9.9:1".parse().unwrap(), &strange(number, &b, 16), now);
        answered += sent(&mut b).len();
    }
    assert_eq!(answered, 20);
}

#[test]
fn sessions_are_bounded_and_the_oldest_leaves() {
    let mut b = v5(2);
    let mut first = None;
    for number in 10..10 + MAX_SESSIONS as u32 + 20 {
        let mut a = v5(number);
        let now = START + Duration::from_millis(5) * number;
        a.ping(&node(2), now);
        let told = settle(&mut [(addr(number), &mut a), (addr(2), &mut b)], now);
        assert_eq!(outcomes(&told[0]), [Outcome::Pong { enr_seq: 1 }], "{number}");
        first.get_or_insert(a);
    }
    assert_eq!(b.held()[0], MAX_SESSIONS);
    let mut a = first.unwrap();
    let datagram = sealed(&mut a, &every_message()[0]);
    b.packet(addr(10), &datagram, START + Duration::from_secs(60)).unwrap();
    assert_eq!(one(&mut b).len(), packet::MIN_PACKET);
}

/// What becomes of an answer of node 2 to a FINDNODE of node 1 at all distances given.
fn answered(distances: &[u64], parts: &[(u8, Vec<Vec<u8>>)]) -> (Vec<NodeId>, u64) {
    let (mut a, mut b) = pair();
    a.find_node(&node(2), distances, START);
    let ask = one(&mut a);
    b.packet(addr(1), &ask, START).unwrap();
    let read = b.opened_for_tests(addr(1), &ask, START);
    for (total, records) in parts {
        let nodes = Message::Nodes { id: read.id().unwrap(), total: *total, records: records.clone() };
        let to = Peer { id: a.id(), addr: addr(1) };
        let datagram = b.seal_for_tests(&to, &nodes.encode());
        let _ = a.packet(addr(2), &datagram, START);
    }
    a.tick(START + Duration::from_millis(700));
    match outcomes(&actions(&mut a)).remove(0) {
        Outcome::Nodes(nodes) => (nodes.iter().map(Node::id).collect(), a.counters().refused_records),
        other => panic!("{other:?}"),
    }
}

/// Numbers of nodes at this distance from node 2.
fn at(distance: u16) -> impl Iterator<Item = u32> {
    let own = v5(2).id();
    (1000..).filter(move |number| own.log_distance(&NodeId(key(*number).public().node_id())) == distance)
}

fn encoded(number: u32) -> Vec<u8> {
    record(number, 1).encode()
}

#[test]
fn no_sixteen_and_seventeen_nodes() {
    let numbers: Vec<u32> = at(256).take(17).collect();
    let records = |count: usize| numbers.iter().take(count).map(|n| encoded(*n)).collect::<Vec<_>>();
    assert_eq!(answered(&[256], &[(1, Vec::new())]), (Vec::new(), 0));
    let chunks = |count: usize, total: u8| -> Vec<(u8, Vec<Vec<u8>>)> {
        records(count).chunks(4).map(|chunk| (total, chunk.to_vec())).collect()
    };
    let (nodes, refused) = answered(&[256], &chunks(16, 4));
    assert_eq!((nodes.len(), refused), (MAX_NODES, 0));
    let (nodes, refused) = answered(&[256], &chunks(17, 5));
    assert_eq!((nodes.len(), refused), (MAX_NODES, 1));
}

#[test]
fn totals_of_none_and_of_many() {
    let numbers: Vec<u32> = at(256).take(8).collect();
    let part = |total: u8, n: usize| (total, vec![encoded(numbers[n])]);
    // None at all: one packet came, so that is the answer.
    assert_eq!(answered(&[256], &[part(0, 0), part(0, 1)]).0.len(), 1);
    // 255: five are waited for; what comes later belongs to nothing.
    let parts: Vec<_> = (0..8).map(|n| part(255, n)).collect();
    assert_eq!(answered(&[256], &parts).0.len(), 5);
    // Fewer than announced: when time is up, what came is the answer.
    assert_eq!(answered(&[256], &[part(3, 0), part(3, 1)]).0.len(), 2);
}

#[test]
fn records_that_do_not_belong_are_refused() {
    let good = at(256).next().unwrap();
    let near = at(255).next().unwrap();
    let mut forged = encoded(good);
    *forged.last_mut().unwrap() ^= 1;
    // A list of 301 bytes that holds one string.
    let mut long = vec![0xf9, 0x01, 0x2a, 0xb9, 0x01, 0x27];
    long.resize(301, 0);
    let elsewhere = |at: &str| record_at(good, 1, at.parse().unwrap()).encode();
    for bad in [
        encoded(near),
        forged,
        long,
        elsewhere("127.0.0.9:80"),
        elsewhere("0.0.0.0:30303"),
        elsewhere("255.255.255.255:30303"),
        elsewhere("224.0.0.1:30303"),
    ] {
        assert_eq!(answered(&[256], &[(1, vec![bad])]), (Vec::new(), 1));
    }
    let (nodes, refused) = answered(&[256], &[(1, vec![encoded(good), encoded(good)])]);
    assert_eq!((nodes.len(), refused), (1, 1));
}

#[test]
fn neighbours_on_loopback_are_not_believed_from_afar() {
    let far: SocketAddr = "8.8.4.4:30303".parse().unwrap();
    let teller = Node::from_record(Arc::new(record_at(2, 1, far))).unwrap();
    let ask = super::super::call::Ask::Nodes(vec![256]);
    let mut call = super::super::call::Call::new(teller, ask, super::super::state::Purpose::Check, id());
    let records: Vec<_> = ["127.0.0.1:30303", "10.0.0.1:30303", "169.254.0.1:30303", "1.1.1.1:30303"]
        .into_iter()
        .zip(at(256))
        .map(|(addr, number)| record_at(number, 1, addr.parse().unwrap()).encode())
        .collect();
    let mut refused = 0;
    let mut read = |record: &[u8]| Node::from_record(Arc::new(Record::decode(record).ok()?));
    let progress = call.take_nodes(1, &records, &mut read, &|_| true, &mut refused);
    let super::super::call::Progress::Done(super::super::call::Answer::Nodes { nodes, .. }) = progress else {
        panic!()
    };
    assert_eq!((nodes.len(), refused), (1, 3));
    assert_eq!(nodes[0].ip(), IpAddr::from([1, 1, 1, 1]));
}

#[test]
fn answers_nobody_asked_for_are_dropped() {
    let (mut a, mut b) = pair();
    for message in every_message().into_iter().filter(|message| {
        matches!(message, Message::Pong { .. } | Message::Nodes { .. } | Message::TalkResp { .. })
    }) {
        assert_eq!(b.packet(addr(1), &sealed(&mut a, &message), START), Err(Dropped::UnaskedAnswer));
    }
    assert!(b.table().get(&node(2).id()).is_none() && actions(&mut b).is_empty());
    // Nothing is told of topics, nor said.
    let topic = a.seal_for_tests(&Peer { id: b.id(), addr: addr(2) }, &[7, 0xc0]);
    b.packet(addr(1), &topic, START).unwrap();
    assert_eq!((b.counters().topics, actions(&mut b).len()), (1, 0));
    let bad = a.seal_for_tests(&Peer { id: b.id(), addr: addr(2) }, &[1]);
    assert!(matches!(b.packet(addr(1), &bad, START), Err(Dropped::Message(_))));
}

#[test]
fn challenges_nobody_provoked_are_dropped() {
    let (mut a, b) = pair();
    let id = packet::Auth::WhoAreYou { id_nonce: [1; 16], enr_seq: 0 };
    for nonce in 0..200 {
        let head = packet::head(&[9; 16], &packet::Header { nonce: [nonce; 12], auth: id.clone() });
        let datagram = packet::encode(&a.id(), &head, &[]);
        assert_eq!(a.packet(addr(2), &datagram, START), Err(Dropped::UnaskedAnswer));
    }
    assert!(sent(&mut a).is_empty());
    assert_eq!((a.held()[0], b.held()[0]), (1, 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_messages_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Message::decode(&bytes);
        let (mut a, mut b) = pair();
        let datagram = a.seal_for_tests(&Peer { id: b.id(), addr: addr(2) }, &bytes);
        let _ = b.packet(addr(1), &datagram, START);
        let _ = b.packet(addr(1), &bytes, START);
    }
}
