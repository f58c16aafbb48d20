#![allow(clippy::unwrap_used)] // tests

pub(crate) mod net;

use super::buffer::{Buffer, Held};
use super::*;
use crate::block::tests::fixtures::{CHANNEL, chain, chain_of, transaction};
use crate::block::{Block, Verifier, VerifyFault, build};
use crate::config;
use crate::ledger::{BlockStore, Commit, MemoryLedger, Slot};
use crate::privdata::rwset::TxPrivate;
use crate::signed::SignedMessage;
use crate::types::{Channel, Now, PkiId, StreamId};
use bytes::Bytes;
use net::{Manner, Net, id};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use std::time::Duration;
use switchboard_fabric::message::{
    Content, GossipMessage, Payload, RemoteStateRequest, RemoteStateResponse, Tag,
};

fn channel() -> Channel {
    Channel::parse(CHANNEL.as_bytes()).unwrap()
}

fn options(enabled: bool) -> Options {
    Options { state: config::State { enabled, ..Default::default() }, ..Default::default() }
}

fn payload(block: &Block) -> Payload {
    Payload { seq_num: block.number(), data: block.raw().clone(), private_data: Vec::new() }
}

/// One state transfer, driven by hand.
struct One {
    state: StateTransfer,
    rng: ChaCha20Rng,
    now: Duration,
}

impl One {
    fn new(options: Options, verifier: Verifier) -> Self {
        let state = StateTransfer::new(channel(), options, verifier, 1, None);
        Self { state, rng: ChaCha20Rng::seed_from_u64(1), now: Duration::ZERO }
    }

    fn give(&mut self, input: Input) -> Vec<Action> {
        let mut out = Vec::new();
        self.state.handle(input, Now { mono: self.now, wall: 0 }, &mut self.rng, &mut out);
        out
    }

    fn gossip(&mut self, block: &Block) -> Vec<Action> {
        self.give(Input::Gossiped { from: id(9), payload: payload(block) })
    }

    fn message(&mut self, from: PkiId, nonce: u64, content: Content) -> Vec<Action> {
        let message = GossipMessage::new(Tag::ChanOrOrg, CHANNEL.as_bytes(), nonce, content);
        let message = SignedMessage::unsigned(message);
        self.give(Input::Message { from, stream: StreamId(1), message, reader: true })
    }

    fn request(&mut self, from: PkiId, start: u64, end: u64) -> Vec<Action> {
        let request = RemoteStateRequest { start_seq_num: start, end_seq_num: end };
        self.message(from, 7, Content::StateRequest(request))
    }

    fn respond(&mut self, from: PkiId, nonce: u64, payloads: Vec<Payload>) -> Vec<Action> {
        self.message(from, nonce, Content::StateResponse(RemoteStateResponse { payloads }))
    }
}

fn refusals(actions: &[Action]) -> Vec<Refused> {
    let why = |action: &Action| match action {
        Action::Refused { why, .. } => Some(why.clone()),
        _ => None,
    };
    actions.iter().filter_map(why).collect()
}

fn committed(actions: &[Action]) -> Vec<u64> {
    let numbers = |action: &Action| match action {
        Action::Commit(ready) => ready.iter().map(|ready| ready.block.number()).collect(),
        _ => Vec::new(),
    };
    actions.iter().flat_map(numbers).collect()
}

const NONE: [u64; 0] = [];

/// To whom, under which nonce, for which blocks.
fn asked(actions: &[Action]) -> Vec<(PkiId, u64, u64, u64)> {
    let of = |action: &Action| match action {
        Action::Send { to, message } => match message.content() {
            Some(Content::StateRequest(request)) => {
                Some((*to, message.message().nonce, request.start_seq_num, request.end_seq_num))
            }
            _ => None,
        },
        _ => None,
    };
    actions.iter().filter_map(of).collect()
}

// 11.4: ordered buffer.

#[test]
fn gossiped_blocks_are_committed_in_order() {
    let blocks = chain(1, 6);
    let mut one = One::new(options(false), Verifier::hash(CHANNEL));
    assert_eq!(committed(&one.gossip(&blocks[2])), NONE);
    assert_eq!(committed(&one.gossip(&blocks[1])), NONE);
    assert_eq!(committed(&one.gossip(&blocks[0])), [1, 2, 3]);
    assert_eq!(committed(&one.gossip(&blocks[3])), NONE, "one commit at a time");
    let actions = one.give(Input::Committed);
    assert!(matches!(actions[0], Action::Height(4)), "{actions:?}");
    assert_eq!(committed(&actions), [4]);
    assert_eq!(refusals(&one.gossip(&blocks[0])), [Refused::Known(1)]);
    assert_eq!(refusals(&one.gossip(&blocks[3])), [Refused::Known(4)], "not yet stored, but on its way");
    one.gossip(&blocks[5]);
    assert_eq!(refusals(&one.gossip(&blocks[5])), [Refused::Known(6)]);
    assert_eq!(one.state.waiting(), 1);
}

#[test]
fn gossiped_blocks_further_ahead_than_the_buffer_are_refused() {
    let blocks = chain(1, 25);
    let mut one = One::new(options(false), Verifier::hash(CHANNEL));
    assert_eq!(refusals(&one.gossip(&blocks[19])), [], "block 20 is 19 ahead of height 1");
    assert_eq!(refusals(&one.gossip(&blocks[20])), [Refused::Ahead { number: 21, height: 1 }]);
    let far = Payload { seq_num: u64::MAX, ..payload(&blocks[0]) };
    let refused = refusals(&one.give(Input::Gossiped { from: id(1), payload: far }));
    assert_eq!(refused, [Refused::Ahead { number: u64::MAX, height: 1 }]);
}

#[test]
fn our_own_source_waits_while_the_buffer_is_full() {
    let blocks = chain(1, 60);
    let mut one = One::new(options(false), Verifier::hash(CHANNEL));
    // Block 1 is missing: the others wait, up to 2 × 20 and one.
    for block in &blocks[1..42] {
        assert!(one.state.has_room());
        assert_eq!(refusals(&one.give(Input::Offered(block.clone()))), []);
    }
    assert!(!one.state.has_room());
    assert_eq!(refusals(&one.give(Input::Offered(blocks[42].clone()))), [Refused::Full(43)]);
    // The one that comes next is taken all the same, and makes room.
    let actions = one.give(Input::Offered(blocks[0].clone()));
    assert_eq!(committed(&actions).len(), 42);
    assert!(actions.iter().any(|action| matches!(action, Action::Room)));
    one.give(Input::Committed);
    assert_eq!(one.state.height(), 43);
    // Non-blocking mode refuses instead.
    let mut one = One::new(Options { non_blocking: true, ..options(false) }, Verifier::hash(CHANNEL));
    let refused = refusals(&one.give(Input::Offered(blocks[30].clone())));
    assert_eq!(refused, [Refused::Ahead { number: 31, height: 1 }]);
}

#[test]
fn blocks_that_are_not_what_they_should_be_are_refused() {
    let (blocks, other) = (chain(1, 3), chain_of(CHANNEL, 1, 3, "other", false));
    let mut one = One::new(options(false), Verifier::hash(CHANNEL));
    let gossip = |one: &mut One, payload| refusals(&one.give(Input::Gossiped { from: id(9), payload }));
    assert_eq!(gossip(&mut one, Payload { seq_num: 1, ..Payload::default() }), [Refused::Absent]);
    let number = VerifyFault::Number { found: 1, announced: 2 };
    assert_eq!(gossip(&mut one, Payload { seq_num: 2, ..payload(&blocks[0]) }), [number.into()]);
    let foreign = chain_of("elsewhere", 1, 1, "tx", false);
    assert_eq!(refusals(&one.gossip(&foreign[0])), [VerifyFault::Channel(1).into()]);
    let private = Payload { private_data: vec![Bytes::new(); 2], ..payload(&blocks[0]) };
    assert_eq!(gossip(&mut one, private), [Refused::PrivateData(1)]);
    // Right by itself, but it does not follow: the place is free for the right one.
    one.gossip(&other[1]);
    let actions = one.gossip(&blocks[0]);
    assert_eq!((committed(&actions), refusals(&actions)), (vec![1], vec![VerifyFault::Chain(2).into()]));
    one.give(Input::Committed);
    assert_eq!(committed(&one.gossip(&blocks[1])), [2]);
    let whole = payload(&blocks[2]).data;
    // The last two bytes are empty metadata, which no hash covers.
    for len in 0..whole.len() - 2 {
        let cut = Payload { data: whole.slice(..len), ..payload(&blocks[2]) };
        assert_eq!(gossip(&mut one, cut).len(), 1, "cut to {len} bytes");
    }
}

#[test]
fn blocks_that_could_not_be_stored_are_taken_again() {
    let blocks = chain(1, 3);
    let mut one = One::new(options(false), Verifier::hash(CHANNEL));
    assert_eq!(committed(&one.gossip(&blocks[0])), [1]);
    one.give(Input::CommitFailed);
    assert_eq!(one.state.height(), 1);
    assert_eq!(committed(&one.gossip(&blocks[0])), [1]);
    assert!(one.give(Input::Committed).iter().any(|action| matches!(action, Action::Height(2))));
    assert!(one.give(Input::Committed).is_empty(), "nothing was being stored");
}

#[test]
fn a_straggler_is_warned_when_nothing_can_help_it() {
    let blocks = chain(1, 130);
    let warned = |options: Options, block: &Block| {
        let mut one = One::new(options, Verifier::hash(CHANNEL));
        let first = one.gossip(block).iter().filter(|a| matches!(a, Action::Straggler { .. })).count();
        let again = one.gossip(block).iter().filter(|a| matches!(a, Action::Straggler { .. })).count();
        assert_eq!(again, 0, "once in a while");
        one.now = Duration::from_secs(10);
        assert_eq!(one.gossip(block).iter().filter(|a| matches!(a, Action::Straggler { .. })).count(), first);
        first == 1
    };
    let dependent = Options { depends_on_peers: true, ..options(false) };
    assert!(warned(dependent.clone(), &blocks[101]), "height 1, block 102");
    assert!(!warned(dependent, &blocks[100]));
    assert!(!warned(options(false), &blocks[120]), "it has a source of its own");
    assert!(!warned(Options { depends_on_peers: true, ..options(true) }, &blocks[120]));
}

// 11.1, 11.2: asking.

#[test]
fn nothing_is_asked_when_transfer_is_off() {
    let mut one = One::new(options(false), Verifier::hash(CHANNEL));
    assert!(one.give(Input::Peer { pki_id: id(1), height: 500 }).is_empty());
    one.now = Duration::from_secs(100);
    assert!(one.give(Input::Tick).is_empty());
    assert_eq!(one.state.deadline(Now::default()), None);
}

#[test]
fn a_small_lag_waits_for_the_check_a_large_one_does_not() {
    let mut one = One::new(options(true), Verifier::hash(CHANNEL));
    assert_eq!(
        asked(&one.give(Input::Peer { pki_id: id(1), height: 11 })),
        [],
        "ten blocks may be on their way"
    );
    one.now = Duration::from_secs(10);
    let requests = asked(&one.give(Input::Tick));
    assert_eq!(requests.iter().map(|(to, _, a, b)| (*to, *a, *b)).collect::<Vec<_>>(), [(id(1), 1, 10)]);
    let mut one = One::new(options(true), Verifier::hash(CHANNEL));
    let requests = asked(&one.give(Input::Peer { pki_id: id(1), height: 1_000 }));
    let ranges: Vec<_> = requests.iter().map(|(_, _, start, end)| (*start, *end)).collect();
    assert_eq!(ranges, [(1, 11), (12, 22), (23, 33), (34, 44)], "a batch and one, four at a time");
    let more = asked(&one.give(Input::Peer { pki_id: id(2), height: 30 }));
    assert_eq!(more, [], "the second peer does not have what comes next");
    let more = asked(&one.give(Input::Peer { pki_id: id(2), height: 50 }));
    assert_eq!(more.iter().map(|(to, _, a, b)| (*to, *a, *b)).collect::<Vec<_>>(), [(id(2), 45, 49)]);
}

#[test]
fn responses_come_in_any_order_and_with_holes() {
    let blocks = chain(1, 22);
    let mut one = One::new(options(true), Verifier::hash(CHANNEL));
    let requests = asked(&one.give(Input::Peer { pki_id: id(1), height: 23 }));
    assert_eq!(requests.len(), 2);
    let part = |range: std::ops::Range<usize>| blocks[range].iter().rev().map(payload).collect::<Vec<_>>();
    assert_eq!(committed(&one.respond(id(1), requests[1].1, part(11..22))), NONE);
    // 1 to 4 and 8 to 11: 5 to 7 are asked for again.
    let actions = one.respond(id(1), requests[0].1, [part(0..4), part(7..11)].concat());
    assert_eq!(committed(&actions), [1, 2, 3, 4]);
    let again = asked(&actions);
    assert_eq!(again.iter().map(|(_, _, a, b)| (*a, *b)).collect::<Vec<_>>(), [(5, 7)]);
    one.give(Input::Committed);
    assert_eq!(committed(&one.respond(id(1), again[0].1, part(4..7))), (5..=22).collect::<Vec<_>>());
    one.give(Input::Committed);
    assert_eq!((one.state.height(), one.state.figures().refused), (23, 0));
}

#[test]
fn responses_that_answer_nothing_are_refused() {
    let blocks = chain(1, 40);
    let mut one = One::new(options(true), Verifier::hash(CHANNEL));
    assert_eq!(refusals(&one.respond(id(1), 5, vec![payload(&blocks[0])])), [Refused::Unsolicited]);
    let requests = asked(&one.give(Input::Peer { pki_id: id(1), height: 41 }));
    let (_, nonce, ..) = requests[0];
    let of_other = refusals(&one.respond(id(2), nonce, vec![payload(&blocks[0])]));
    assert_eq!(of_other, [Refused::Unsolicited], "another peer answers");
    let actions = one.respond(id(1), nonce, vec![payload(&blocks[0]), payload(&blocks[20])]);
    assert_eq!((committed(&actions), refusals(&actions)), (vec![1], vec![Refused::NotAsked(21)]));
    assert_eq!(
        refusals(&one.respond(id(1), nonce, vec![payload(&blocks[1])])),
        [Refused::Unsolicited],
        "twice"
    );
    assert_eq!(refusals(&one.respond(id(1), requests[1].1, vec![])), [Refused::Empty]);
    let forged = Payload { seq_num: 23, ..payload(&blocks[0]) };
    let refused = refusals(&one.respond(id(1), requests[2].1, vec![forged]));
    assert_eq!(refused, [VerifyFault::Number { found: 1, announced: 23 }.into()]);
}

#[test]
fn a_batch_that_is_late_is_asked_of_another_and_still_taken() {
    let blocks = chain(1, 11);
    let mut one = One::new(options(true), Verifier::hash(CHANNEL));
    let first = asked(&one.give(Input::Peer { pki_id: id(1), height: 12 }));
    assert_eq!(first.len(), 1);
    one.give(Input::Peer { pki_id: id(2), height: 12 });
    assert_eq!(one.state.deadline(Now::default()), Some(Duration::from_secs(3)));
    one.now = Duration::from_secs(3);
    let again = asked(&one.give(Input::Tick));
    assert!(!again.is_empty() && again.iter().all(|(to, ..)| *to == id(2)), "{again:?}");
    assert!(again[0].3 - again[0].2 < 10, "batches become shorter: {again:?}");
    assert_eq!(one.state.figures().late, 1);
    let late = one.respond(id(1), first[0].1, blocks.iter().map(payload).collect());
    assert_eq!(committed(&late), (1..=11).collect::<Vec<_>>());
}

#[test]
fn blocks_that_nobody_gives_are_told_and_tried_again_later() {
    let mut one = One::new(options(true), Verifier::hash(CHANNEL));
    let mut requests = asked(&one.give(Input::Peer { pki_id: id(1), height: 12 })).len();
    let mut stalled = 0;
    for _ in 0..200 {
        let Some(at) = one.state.deadline(Now { mono: one.now, wall: 0 }) else { break };
        assert!(at > one.now, "time goes on");
        one.now = at;
        let actions = one.give(Input::Tick);
        requests += asked(&actions).len();
        stalled += actions.iter().filter(|action| matches!(action, Action::Stalled { next: 1, .. })).count();
    }
    assert!(stalled >= 1 && requests >= 4, "{stalled} {requests}");
    let patience = one.now.as_secs() / 3;
    assert!((requests as u64) < patience, "it asks less and less: {requests} in {:?}", one.now);
}

#[test]
fn peers_that_are_gone_are_asked_nothing() {
    let mut one = One::new(options(true), Verifier::hash(CHANNEL));
    let first = asked(&one.give(Input::Peer { pki_id: id(1), height: 100 }));
    assert_eq!(first.len(), PER_PEER);
    let again = asked(&one.give(Input::PeerGone(id(1))));
    assert_eq!((again.len(), one.state.highest()), (0, 0));
    let other = asked(&one.give(Input::Peer { pki_id: id(2), height: 100 }));
    assert_eq!((other.len(), other[0].2), (PER_PEER, 1), "the blocks are asked of another");
}

#[test]
fn the_peers_that_are_known_have_a_limit() {
    let mut one = One::new(options(false), Verifier::hash(CHANNEL));
    for n in 0..MAX_PEERS + 10 {
        one.give(Input::Peer { pki_id: id(n), height: n as u64 });
    }
    assert_eq!(one.state.highest(), MAX_PEERS as u64 + 9, "the lowest go");
}

// 11.3: answering.

#[test]
fn requests_are_checked_cut_and_answered_one_at_a_time() {
    let mut one = One::new(options(false), Verifier::hash(CHANNEL));
    for block in chain(1, 30) {
        one.give(Input::Offered(block));
        one.give(Input::Committed);
    }
    assert_eq!(one.state.height(), 31);
    let serves = |actions: &[Action]| -> Vec<(u64, u64)> {
        let of = |action: &Action| match action {
            Action::Serve(serve) => Some((serve.start, serve.end)),
            _ => None,
        };
        actions.iter().filter_map(of).collect()
    };
    assert_eq!(serves(&one.request(id(1), 25, 35)), [(25, 30)]);
    assert_eq!(serves(&one.request(id(1), 1, 11)), [], "after the first");
    assert_eq!(serves(&one.give(Input::Served)), [(1, 11)]);
    one.give(Input::Served);
    assert_eq!(refusals(&one.request(id(1), 5, 4)), [Refused::Backwards { start: 5, end: 4 }]);
    assert_eq!(refusals(&one.request(id(1), 1, 12)), [Refused::TooMany { start: 1, end: 12, batch: 10 }]);
    let many = Refused::TooMany { start: 1, end: 1_000_000, batch: 10 };
    assert_eq!(refusals(&one.request(id(1), 1, 1_000_000)), [many]);
    let most = Refused::TooMany { start: 0, end: u64::MAX, batch: 10 };
    assert_eq!(refusals(&one.request(id(1), 0, u64::MAX)), [most]);
    // We have nothing of it: told at once, so that the asker need not wait.
    let actions = one.request(id(1), u64::MAX, u64::MAX);
    let Action::Respond { message, .. } = &actions[0] else { panic!("{actions:?}") };
    assert_eq!(message.message().nonce, 7);
    assert_eq!(message.content(), Some(&Content::StateResponse(RemoteStateResponse::default())));
}

#[test]
fn a_flood_of_requests_is_bounded_for_each_peer_and_all() {
    let mut one = One::new(options(false), Verifier::hash(CHANNEL));
    one.give(Input::Offered(chain(1, 1).remove(0)));
    one.give(Input::Committed);
    let taken =
        |one: &mut One, from| (0..200).filter(|_| refusals(&one.request(id(from), 1, 1)).is_empty()).count();
    assert_eq!(taken(&mut one, 1), 26, "a quarter of the queue, and the one that is being answered");
    assert_eq!(taken(&mut one, 2), 25);
    assert_eq!((taken(&mut one, 3), taken(&mut one, 4), taken(&mut one, 5)), (25, 25, 0));
    one.give(Input::PeerGone(id(2)));
    assert_eq!(taken(&mut one, 5), 25);
}

#[test]
fn messages_of_others_or_of_another_kind_are_refused() {
    let mut one = One::new(options(true), Verifier::hash(CHANNEL));
    let give = |one: &mut One, channel: &str, tag, content, reader| {
        let message = SignedMessage::unsigned(GossipMessage::new(tag, channel.as_bytes(), 1, content));
        refusals(&one.give(Input::Message { from: id(1), stream: StreamId(1), message, reader }))
    };
    let request = || Content::StateRequest(RemoteStateRequest { start_seq_num: 1, end_seq_num: 1 });
    let data = || Content::Ack(switchboard_fabric::message::Acknowledgement::default());
    assert_eq!(give(&mut one, "other", Tag::ChanOrOrg, request(), true), [Refused::Channel]);
    assert_eq!(give(&mut one, CHANNEL, Tag::ChanOrOrg, request(), false), [Refused::NotAReader]);
    assert_eq!(give(&mut one, CHANNEL, Tag::Empty, request(), true), [Refused::Content]);
    assert_eq!(give(&mut one, CHANNEL, Tag::ChanOrOrg, data(), true), [Refused::Content]);
    let none = SignedMessage::unsigned(GossipMessage { channel: CHANNEL.into(), ..Default::default() });
    let refused =
        refusals(&one.give(Input::Message { from: id(1), stream: StreamId(1), message: none, reader: true }));
    assert_eq!(refused, [Refused::Content]);
}

#[test]
fn answers_hold_the_private_data_that_the_asker_may_have() {
    let store = MemoryLedger::default();
    let block = chain(1, 1).remove(0);
    let slot = |transaction, collection: &str| Slot {
        block: 1,
        transaction,
        namespace: "cc".into(),
        collection: collection.into(),
    };
    let mut commit = Commit::of(block.clone());
    for (transaction, collection) in [(0, "a"), (0, "b"), (2, "a")] {
        commit.private.push((slot(transaction, collection), Bytes::from_static(b"set")));
    }
    store.append(&[commit]).unwrap();
    let serve = Serve { to: id(1), stream: StreamId(1), nonce: 9, start: 1, end: 1 };
    let items = |may: fn(&Slot) -> bool| {
        let answer = answer(&channel(), &serve, &store, may).unwrap();
        let Some(Content::StateResponse(response)) = answer.content() else { panic!() };
        assert_eq!((answer.message().nonce, &response.payloads[0].data), (9, block.raw()));
        let read = |item: &Bytes| TxPrivate::decode(item).unwrap();
        response.payloads[0].private_data.iter().map(read).collect::<Vec<_>>()
    };
    let all = items(|_| true);
    assert_eq!(all.iter().map(|tx| (tx.seq_in_block, tx.sets.len())).collect::<Vec<_>>(), [(0, 2), (2, 1)]);
    let some = items(|slot| slot.collection == "b");
    assert_eq!(some.iter().map(|tx| (tx.seq_in_block, tx.sets.len())).collect::<Vec<_>>(), [(0, 1)]);
    assert_eq!(items(|_| false), []);
}

// Bounds on memory.

#[test]
fn the_buffer_drops_what_is_furthest_ahead_first() {
    let blocks = chain(1, 10);
    let held = |n: usize| Held { block: blocks[n].clone(), private_data: vec![], from: None };
    let mut buffer = Buffer::default();
    assert!([1, 5, 9].into_iter().all(|n| buffer.push(held(n))));
    assert!(!buffer.push(held(5)));
    let size = held(1).bytes();
    let limit = buffer.bytes() + size / 2;
    assert!(!buffer.make_room(size, limit, 10), "nothing is further ahead");
    assert_eq!(buffer.len(), 3);
    assert!(buffer.make_room(size, limit, 2));
    assert!(buffer.holds(2) && buffer.holds(6) && !buffer.holds(10));
    assert!(buffer.pop(2).is_some() && buffer.pop(6).is_some() && buffer.pop(6).is_none());
    assert_eq!((buffer.bytes(), buffer.is_empty()), (0, true));
}

#[test]
fn large_blocks_are_asked_for_one_by_one_and_held_within_the_limit() {
    // 8 MiB each: less than eight of them fill the memory.
    let mut previous = [0; 32];
    let mut blocks = Vec::new();
    for number in 1..=12u64 {
        let endorser = Bytes::from(vec![number as u8; 8 << 20]);
        let raw = build(number, &previous, &[transaction(CHANNEL, "t", &[], &[endorser])], &[]);
        let block = Block::decode(raw).unwrap();
        previous = block.header_hash();
        blocks.push(block);
    }
    let part = |start: u64, end: u64| blocks[start as usize - 1..end as usize].iter().map(payload).collect();
    let mut one = One::new(options(true), Verifier::none(CHANNEL));
    let mut open = asked(&one.give(Input::Peer { pki_id: id(1), height: 13 }));
    let (_, nonce, start, end) = open.remove(0);
    assert_eq!((start, end), (1, 11), "it is not known yet how large they are");
    open.extend(asked(&one.respond(id(1), nonce, part(2, 2))));
    // Everything but the block that comes next is answered, until nothing more is asked for.
    while let Some(place) = open.iter().position(|(_, _, start, _)| *start != 1) {
        let (_, nonce, start, end) = open.remove(place);
        assert!(end - start <= 1 || start == 12, "two fit into an answer");
        let actions = one.respond(id(1), nonce, part(start, end));
        assert_eq!(committed(&actions), NONE);
        open.extend(asked(&actions));
    }
    assert_eq!(open.len(), 1, "the one that comes next");
    assert!((6..8).contains(&one.state.waiting()), "{} wait", one.state.waiting());
    assert!(one.state.figures().most_bytes <= MEMORY);
    assert_eq!(committed(&one.respond(id(1), open[0].1, part(1, 1))), [1, 2], "two fill a commit");
}

// The whole of it, in a virtual network.

const FAR: Duration = Duration::from_secs(600);

#[test]
fn a_late_node_catches_up_500_blocks_at_thrice_gos_rate() {
    let blocks = chain(1, 500);
    let latency = Duration::from_millis(10);
    let mut net = Net::new(7, latency, Vec::new());
    for _ in 0..3 {
        net.add(&blocks, Manner::Honest, options(true), Verifier::hash(CHANNEL));
    }
    net.add(&[], Manner::Honest, options(true), Verifier::hash(CHANNEL));
    net.heights();
    assert!(net.run(3, 501, FAR), "at {}", net.nodes[3].state.height());
    // Go: one batch of eleven a round trip, its blocks stored one by one meanwhile, after 10 s without a check.
    let batches = 500u32.div_ceil(11);
    let go = batches * latency * 2;
    assert!(net.now * 3 <= go, "{:?}, Go's way without its first wait: {go:?}", net.now);
    for number in 1..=500 {
        assert_eq!(
            net.nodes[3].store.block(number).unwrap().as_ref(),
            Some(blocks[number as usize - 1].raw())
        );
    }
    let figures = net.nodes[3].state.figures();
    assert_eq!((figures.committed, figures.refused, figures.late), (500, 0, 0));
    assert!(figures.asked <= u64::from(batches) + 2 && figures.most_bytes <= MEMORY, "{figures:?}");
}

#[test]
fn a_late_node_catches_up_among_silent_and_forging_peers() {
    let blocks = chain(1, 500);
    let forged = chain_of(CHANNEL, 1, 600, "forged", false);
    for seed in 0..5 {
        let mut net = Net::new(seed, Duration::from_millis(20), forged.clone());
        net.add(&[], Manner::Honest, options(true), Verifier::hash(CHANNEL));
        net.add(&blocks, Manner::Honest, options(true), Verifier::hash(CHANNEL));
        // The first block of a chain that is not known decides: here it is.
        net.nodes[0].store.append(&[Commit::of(blocks[0].clone())]).unwrap();
        let tip = net.nodes[0].store.tip();
        let started = StateTransfer::new(channel(), options(true), Verifier::hash(CHANNEL), 2, tip);
        net.nodes[0].state = started;
        net.add(&forged, Manner::Silent, options(true), Verifier::hash(CHANNEL));
        net.add(&forged, Manner::Forger, options(true), Verifier::hash(CHANNEL));
        net.heights();
        assert!(net.run(0, 501, FAR), "seed {seed}: height {} at {:?}", net.nodes[0].state.height(), net.now);
        assert!(net.nodes[0].refused.iter().any(|why| matches!(why, Refused::Block(VerifyFault::Chain(_)))));
        for number in 1..=500 {
            assert_eq!(
                net.nodes[0].store.block(number).unwrap().as_ref(),
                Some(blocks[number as usize - 1].raw())
            );
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let blocks = chain(1, 200);
    let run = |seed| {
        let mut net = Net::new(seed, Duration::from_millis(15), Vec::new());
        for _ in 0..4 {
            net.add(&blocks, Manner::Honest, options(true), Verifier::hash(CHANNEL));
        }
        net.add(&[], Manner::Honest, options(true), Verifier::hash(CHANNEL));
        net.heights();
        assert!(net.run(4, 201, FAR));
        (net.now, net.messages)
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3).0, run(4).0);
}
