#![allow(clippy::unwrap_used)] // tests

mod network;
mod policies;

use super::collections::{decode_package, from_json};
use super::push::order;
use super::rwset::hash;
use super::*;
use crate::block::tests::fixtures::{CHANNEL, Private, transaction};
use crate::block::{Block, build};
use crate::config::{ImplicitCollection, PvtData};
use crate::ledger::{BlockStore, Commit, MemoryLedger, Slot};
use crate::signed::SignedMessage;
use crate::state::Ready;
use crate::types::{Channel, Now, PkiId, StreamId};
use bytes::Bytes;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use switchboard_fabric::message::{
    Content, GossipMessage, PrivateDataMessage, PrivatePayload, PvtDataDigest, PvtDataElement,
    RemotePvtDataRequest, RemotePvtDataResponse, SerializedIdentity, Tag,
};

fn member(mspid: &str) -> Subject {
    Subject { mspid: mspid.into(), role: Some(Role::Peer) }
}

fn id(n: u8) -> PkiId {
    PkiId([n; 32])
}

const FILE: &str = r#"[
  {"name": "secret", "policy": "OR('Org1MSP.member', 'Org2MSP.member')", "requiredPeerCount": 1, "maxPeerCount": 2,
   "blockToLive": 3, "memberOnlyRead": true, "endorsementPolicy": {"signaturePolicy": "OR('Org1MSP.member')"}},
  {"name": "own", "policy": "OR('Org1MSP.member')"}
]"#;

fn collections(own: &str, file: &str) -> Collections {
    let mut collections = Collections::new(own, ImplicitCollection::default());
    collections.define("cc", from_json("cc", file).unwrap()).unwrap();
    collections
}

// One channel's private data, driven by hand.

struct One {
    state: PrivateData,
    store: MemoryLedger,
    rng: ChaCha20Rng,
    now: Duration,
}

impl One {
    fn new(own: &str, file: &str) -> Self {
        let options = Options { pvt_data: PvtData::default(), own: member(own) };
        let channel = Channel::parse(CHANNEL.as_bytes()).unwrap();
        let state = PrivateData::new(channel, options, collections(own, file));
        Self {
            state,
            store: MemoryLedger::default(),
            rng: ChaCha20Rng::seed_from_u64(5),
            now: Duration::ZERO,
        }
    }

    fn give(&mut self, input: Input) -> Vec<Action> {
        let mut out = Vec::new();
        let now = Now { mono: self.now, wall: 0 };
        self.state.handle(input, &self.store, now, &mut self.rng, &mut out).unwrap();
        out
    }

    fn peer(&mut self, n: u8, mspid: &str, height: u64) -> Vec<Action> {
        self.give(Input::Peer { pki_id: id(n), subject: member(mspid), height })
    }

    fn message(&mut self, from: u8, mspid: &str, nonce: u64, content: Content) -> Vec<Action> {
        let message = GossipMessage::new(Tag::ChanOnly, CHANNEL.as_bytes(), nonce, content);
        let (message, stream) = (SignedMessage::unsigned(message), StreamId(from.into()));
        self.give(Input::Message { from: id(from), stream, subject: member(mspid), message, reader: true })
    }

    fn push(&mut self, collection: &str, out: &mut Vec<Action>) -> Result<PushId, PushFault> {
        let set = PrivateSet {
            namespace: "cc".into(),
            collection: collection.into(),
            rwset: Bytes::from_static(b"set"),
        };
        self.state.push("tx", vec![set], 4, Now { mono: self.now, wall: 0 }, &mut self.rng, out)
    }

    fn tick(&mut self, seconds: u64) -> Vec<Action> {
        self.now += Duration::from_secs(seconds);
        self.give(Input::Tick)
    }
}

fn sends(actions: &[Action]) -> Vec<(u64, PkiId)> {
    let of = |action: &Action| match action {
        Action::SendWithAck { ticket, to, .. } => Some((*ticket, *to)),
        _ => None,
    };
    actions.iter().filter_map(of).collect()
}

fn pushed(actions: &[Action]) -> Option<Result<Vec<usize>, PushFault>> {
    actions.iter().find_map(|action| match action {
        Action::Pushed { result, .. } => Some(result.clone()),
        _ => None,
    })
}

fn refusals(actions: &[Action]) -> Vec<Refused> {
    let of = |action: &Action| match action {
        Action::Refused { why, .. } => Some(why.clone()),
        _ => None,
    };
    actions.iter().filter_map(of).collect()
}

/// Requests: to whom, under which nonce, for what.
fn requests(actions: &[Action]) -> Vec<(PkiId, u64, Vec<PvtDataDigest>)> {
    let of = |action: &Action| match action {
        Action::Send { to, message } => match message.content() {
            Some(Content::PrivateReq(request)) => {
                Some((*to, message.message().nonce, request.digests.clone()))
            }
            _ => None,
        },
        _ => None,
    };
    actions.iter().filter_map(of).collect()
}

fn commits(actions: &[Action]) -> Option<&Vec<Commit>> {
    actions.iter().find_map(|action| match action {
        Action::Commit(commits) => Some(commits),
        _ => None,
    })
}

// 12.1: push.

#[test]
fn one_peer_of_each_organisation_comes_first() {
    let peers: BTreeMap<_, _> = (0..9).map(|n| (id(n), member(["A", "B", "C"][n as usize % 3]))).collect();
    let mut firsts = BTreeSet::new();
    for seed in 0..40 {
        let chosen = order(&peers, &mut ChaCha20Rng::seed_from_u64(seed));
        assert_eq!(chosen.iter().collect::<BTreeSet<_>>().len(), 9, "each once");
        let orgs: BTreeSet<_> = chosen[..3].iter().map(|id| &peers[id].mspid).collect();
        assert_eq!(orgs.len(), 3);
        firsts.insert(chosen[0]);
    }
    assert!(firsts.len() > 5, "by chance");
    assert!(order(&BTreeMap::new(), &mut ChaCha20Rng::seed_from_u64(0)).is_empty());
}

#[test]
fn a_push_reaches_the_maximum_and_needs_the_required_acks() {
    let mut one = One::new("Org1MSP", FILE);
    let mut out = Vec::new();
    let too_few = PushFault::TooFew { collection: "secret".into(), required: 1, eligible: 0 };
    one.peer(1, "Org3MSP", 1);
    assert_eq!(one.push("secret", &mut out), Err(too_few));
    assert_eq!(one.push("unknown", &mut out), Err(PushFault::Collection("unknown".into())));
    assert!(out.is_empty(), "nothing is sent");
    for n in 2..6 {
        one.peer(n, ["Org1MSP", "Org2MSP"][usize::from(n) % 2], 1);
    }
    one.push("secret", &mut out).unwrap();
    let to = sends(&out);
    assert_eq!(to.len(), 2, "maxPeerCount");
    assert_ne!(to[0].1.0[0] % 2, to[1].1.0[0] % 2, "of two organisations");
    assert!(
        matches!(&out[0], Action::Keep { entry, reply: None } if entry.from.is_none()),
        "kept for our own commit"
    );
    let Some(Action::SendWithAck { message, timeout, .. }) =
        out.iter().find(|a| matches!(a, Action::SendWithAck { .. }))
    else {
        panic!()
    };
    assert_eq!(*timeout, Duration::from_secs(3));
    let Some(Content::PrivateData(PrivateDataMessage { payload: Some(payload) })) = message.content() else {
        panic!()
    };
    assert_eq!(
        (&payload.tx_id[..], payload.private_sim_height, message.message().tag),
        ("tx", 4, Tag::ChanOnly as i32)
    );
    assert_eq!(decode_package("cc", &payload.collection_configs).unwrap()[0].name, "secret");
    let refused = Err(Unacked::Refused("no".into()));
    let more = one.give(Input::Acked { ticket: to[0].0, result: refused });
    let replaced = sends(&more);
    assert_eq!(replaced.len(), 1, "one that refused is replaced");
    assert!(pushed(&more).is_none());
    assert!(pushed(&one.give(Input::Acked { ticket: to[1].0, result: Ok(()) })).is_none(), "one is open");
    assert!(one.give(Input::Acked { ticket: to[1].0, result: Ok(()) }).is_empty(), "twice");
    let ended = one.give(Input::Acked { ticket: replaced[0].0, result: Err(Unacked::Timeout) });
    assert_eq!(pushed(&ended), Some(Ok(vec![1])), "one ack is enough");
}

#[test]
fn a_push_that_nobody_acknowledges_fails_in_time() {
    let mut one = One::new("Org1MSP", FILE);
    one.peer(2, "Org1MSP", 1);
    one.peer(3, "Org2MSP", 1);
    let mut out = Vec::new();
    one.push("secret", &mut out).unwrap();
    assert_eq!(one.state.deadline(), Some(Duration::from_secs(3)));
    assert!(pushed(&one.tick(2)).is_none());
    let ended = one.tick(1);
    let Some(Err(PushFault::TooFewAcks { required: 1, acks: 0, .. })) = pushed(&ended) else {
        panic!("{ended:?}")
    };
    assert!(sends(&ended).is_empty(), "one that did not answer may hold it");
    for _ in 0..MAX_PUSHES {
        one.push("secret", &mut out).unwrap();
    }
    assert_eq!(one.push("secret", &mut out), Err(PushFault::Busy));
    one.tick(3);
    assert!(one.push("secret", &mut out).is_ok());
}

#[test]
fn a_collection_that_needs_no_peer_is_pushed_as_far_as_it_goes() {
    let mut one = One::new("Org1MSP", FILE);
    let mut out = Vec::new();
    one.push("own", &mut out).unwrap();
    assert_eq!(pushed(&out), Some(Ok(vec![0])), "nobody is there, and nobody is needed");
    one.peer(2, "Org1MSP", 1);
    let mut out = Vec::new();
    one.push("_implicit_org_Org1MSP", &mut out).unwrap();
    assert_eq!(sends(&out).len(), 1);
}

// 12.2: receive.

fn data(collection: &str, set: &'static [u8]) -> PrivatePayload {
    PrivatePayload {
        collection_name: collection.into(),
        namespace: "cc".into(),
        tx_id: "tx".into(),
        private_rwset: Bytes::from_static(set),
        private_sim_height: u64::MAX,
        collection_configs: Bytes::new(),
    }
}

#[test]
fn pushed_data_is_kept_and_acknowledged_or_refused_with_a_text() {
    let mut one = One::new("Org1MSP", FILE);
    let content = |payload| Content::PrivateData(PrivateDataMessage { payload });
    let actions = one.message(2, "Org2MSP", 77, content(Some(data("secret", b"set"))));
    let kept = actions.iter().find_map(|action| match action {
        Action::Keep { entry, reply: Some(reply) } => Some((entry.clone(), *reply)),
        _ => None,
    });
    let (entry, reply) = kept.unwrap();
    assert_eq!(
        (entry.received_at, entry.from, reply.nonce),
        (1, Some(id(2)), 77),
        "our height, not the sender's word"
    );
    let accepted = ack(77, Ok(()));
    assert_eq!((accepted.message().nonce, accepted.message().tag), (77, 0));
    let mut refused = |from, payload| {
        let actions = one.message(2, from, 78, content(payload));
        let nack = actions.iter().any(|action| {
            matches!(action, Action::Respond { message, .. }
                if matches!(message.content(), Some(Content::Ack(ack)) if !ack.error.is_empty()) && message.message().nonce == 78)
        });
        assert!(nack && !actions.iter().any(|action| matches!(action, Action::Keep { .. })));
        refusals(&actions)
    };
    assert_eq!(refused("Org2MSP", None), [Refused::Absent("payload")]);
    assert_eq!(refused("Org2MSP", Some(data("secret", b""))), [Refused::Absent("private data")]);
    let none = PrivatePayload { tx_id: String::new(), ..data("secret", b"set") };
    assert_eq!(refused("Org2MSP", Some(none)), [Refused::Absent("transaction id")]);
    let long = PrivatePayload { tx_id: "x".repeat(1_000), ..data("secret", b"set") };
    assert_eq!(refused("Org2MSP", Some(long)), [Refused::Name]);
    assert_eq!(refused("Org2MSP", Some(data("none", b"set"))), [Refused::Collection("none".into())]);
    let not = Refused::SenderNotEligible("secret".into());
    assert_eq!(refused("Org3MSP", Some(data("secret", b"set"))), [not]);
    let not = Refused::SenderNotEligible("own".into());
    assert_eq!(refused("Org2MSP", Some(data("own", b"set"))), [not]);
    let mut other = One::new("Org3MSP", FILE);
    let actions = other.message(2, "Org2MSP", 79, content(Some(data("secret", b"set"))));
    assert_eq!(refusals(&actions), [Refused::WeAreNotEligible("secret".into())]);
    assert_eq!(one.state.figures().received, 1);
}

#[test]
fn messages_of_others_or_of_another_kind_are_refused() {
    let mut one = One::new("Org1MSP", FILE);
    let mut give = |channel: &str, content, reader| {
        let message =
            SignedMessage::unsigned(GossipMessage::new(Tag::ChanOnly, channel.as_bytes(), 1, content));
        let (from, stream, subject) = (id(2), StreamId(2), member("Org2MSP"));
        refusals(&one.give(Input::Message { from, stream, subject, message, reader }))
    };
    let pushed = || Content::PrivateData(PrivateDataMessage { payload: Some(data("secret", b"set")) });
    let request = |digests| Content::PrivateReq(RemotePvtDataRequest { digests });
    assert_eq!(give("other", pushed(), true), [Refused::Channel]);
    assert_eq!(give(CHANNEL, pushed(), false), [Refused::NotAReader]);
    assert_eq!(give(CHANNEL, request(vec![]), false), [Refused::NotAReader]);
    assert_eq!(
        give(CHANNEL, Content::Empty(switchboard_fabric::message::Empty {}), true),
        [Refused::Content]
    );
    let many = vec![PvtDataDigest::default(); MAX_DIGESTS + 1];
    assert_eq!(give(CHANNEL, request(many), true), [Refused::Digests(MAX_DIGESTS + 1)]);
    let response = Content::PrivateRes(RemotePvtDataResponse::default());
    assert_eq!(give(CHANNEL, response, true), [Refused::Unsolicited]);
}

// 12.3: pull at commit.

fn block_with(number: u64, sets: &[Private<'_>], endorsers: &[Bytes]) -> Ready {
    let tx = transaction(CHANNEL, &format!("tx{number}"), sets, endorsers);
    let block = Block::decode(build(number, b"before", &[tx], &[])).unwrap();
    Ready { block, private_data: vec![], from: None }
}

fn slot(block: u64, collection: &str) -> Slot {
    Slot { block, transaction: 0, namespace: "cc".into(), collection: collection.into() }
}

fn element(digest: &PvtDataDigest, set: &[u8]) -> PvtDataElement {
    PvtDataElement { digest: Some(digest.clone()), payload: vec![Bytes::copy_from_slice(set)] }
}

fn response(elements: Vec<PvtDataElement>) -> Content {
    Content::PrivateRes(RemotePvtDataResponse { elements })
}

#[test]
fn a_block_without_private_data_is_committed_at_once() {
    let mut one = One::new("Org1MSP", FILE);
    let actions = one.give(Input::Blocks(vec![block_with(1, &[], &[]), block_with(2, &[], &[])]));
    let commits = commits(&actions).unwrap();
    assert_eq!(commits.iter().map(|commit| commit.block.number()).collect::<Vec<_>>(), [1, 2]);
    assert!(commits.iter().all(|commit| commit.missing.is_empty() && commit.served.is_empty()));
    assert!(!one.state.is_gathering());
}

#[test]
fn private_data_is_taken_from_the_block_then_from_the_transient_store() {
    let mut one = One::new("Org1MSP", FILE);
    one.message(
        2,
        "Org2MSP",
        1,
        Content::PrivateData(PrivateDataMessage { payload: Some(data("secret", b"set")) }),
    )
    .into_iter()
    .for_each(|action| {
        if let Action::Keep { mut entry, .. } = action {
            entry.tx_id = "tx2".into();
            one.store.put_transient(&entry).unwrap();
        }
    });
    let mut first = block_with(1, &[("cc", "secret", b"with"), ("cc", "own", b"own")], &[]);
    let sets = [("secret", &b"with"[..]), ("own", b"forged")];
    let set = |(collection, set): (&str, &[u8])| PrivateSet {
        namespace: "cc".into(),
        collection: collection.into(),
        rwset: Bytes::copy_from_slice(set),
    };
    first.private_data =
        vec![TxPrivate { seq_in_block: 0, sets: sets.map(set).into() }.encode(), Bytes::from_static(b"\x08")];
    let second = block_with(2, &[("cc", "secret", b"set")], &[]);
    let actions = one.give(Input::Blocks(vec![first, second]));
    assert!(commits(&actions).is_none(), "one set is not to be had here");
    one.now = Duration::from_secs(59);
    assert!(commits(&one.give(Input::Tick)).is_none(), "peers may come");
    let actions = one.tick(1);
    let commits = commits(&actions).unwrap();
    assert_eq!(commits[0].private, [(slot(1, "secret"), Bytes::from_static(b"with"))]);
    assert_eq!(commits[0].missing[0].slot, slot(1, "own"), "a forged one does not count");
    assert_eq!(commits[0].expiry[0].at, 5);
    assert_eq!(commits[1].private, [(slot(2, "secret"), Bytes::from_static(b"set"))]);
    assert_eq!(commits[1].served, ["tx2"]);
    assert!(actions.iter().any(|action| matches!(action, Action::Missing { block: 1, count: 1 })));
    let here = |wanted| actions.iter().any(|a| matches!(a, Action::Here { source, .. } if *source == wanted));
    assert!(here(Source::WithBlock) && here(Source::Transient) && !here(Source::Pulled));
}

#[test]
fn private_data_of_others_is_missing_and_not_asked_for() {
    let mut one = One::new("Org3MSP", FILE);
    one.peer(2, "Org2MSP", 9);
    let actions =
        one.give(Input::Blocks(vec![block_with(1, &[("cc", "secret", b"a"), ("xx", "what", b"b")], &[])]));
    let commits = commits(&actions).unwrap();
    let missing: Vec<_> = commits[0].missing.iter().map(|missing| &missing.slot.collection[..]).collect();
    assert_eq!((missing, requests(&actions).len()), (vec!["secret", "what"], 0));
}

#[test]
fn missing_data_is_pulled_of_who_endorsed_it_then_of_others() {
    let identity = SerializedIdentity { mspid: "Org2MSP".into(), id_bytes: Bytes::from_static(b"pem") };
    let endorser = PkiId(switchboard_fabric::identity::pki_id("Org2MSP", b"pem"));
    let mut one = One::new("Org1MSP", FILE);
    one.give(Input::Peer { pki_id: endorser, subject: member("Org2MSP"), height: 0 });
    one.peer(3, "Org1MSP", 0);
    one.peer(4, "Org3MSP", 0);
    let block = block_with(
        20,
        &[("cc", "own", b"o"), ("cc", "secret", b"s")],
        &[prost::Message::encode_to_vec(&identity).into()],
    );
    let actions = one.give(Input::Blocks(vec![block]));
    let asked: BTreeMap<_, _> =
        requests(&actions).into_iter().map(|(to, nonce, digests)| (to, (nonce, digests))).collect();
    assert_eq!(asked.len(), 2);
    let (nonce, digests) = &asked[&endorser];
    assert_eq!(digests.len(), 1);
    let digest = &digests[0];
    assert_eq!((&digest.tx_id[..], digest.block_seq, digest.seq_in_block), ("tx20", 20, 0));
    assert_eq!((&digest.namespace[..], &digest.collection[..]), ("cc", "secret"));
    let (own_nonce, own) = &asked[&id(3)];
    assert_eq!(own[0].collection, "own", "the endorser may not have it");
    // Wrong ones: another peer, another hash, another digest, no digest.
    let message = |one: &mut One, from: PkiId, nonce, content| {
        let message = GossipMessage::new(Tag::ChanOnly, CHANNEL.as_bytes(), nonce, content);
        let (message, subject) = (SignedMessage::unsigned(message), member("Org2MSP"));
        one.give(Input::Message { from, stream: StreamId(1), subject, message, reader: true })
    };
    let stranger = message(&mut one, id(4), *nonce, response(vec![element(digest, b"s")]));
    assert_eq!(refusals(&stranger), [Refused::Unsolicited]);
    let wrong = message(&mut one, endorser, *nonce, response(vec![element(digest, b"forged")]));
    assert_eq!(refusals(&wrong), [Refused::Hash("secret".into())]);
    // So it is asked of the other member.
    let again = requests(&wrong);
    assert_eq!((again[0].0, &again[0].2[0]), (id(3), digest));
    let other = PvtDataDigest { seq_in_block: 9, ..own[0].clone() };
    let wrong =
        message(&mut one, id(3), *own_nonce, response(vec![element(&own[0], b"o"), element(&other, b"o")]));
    assert_eq!(refusals(&wrong), [Refused::NotAsked], "what came before it counts");
    let done = message(&mut one, id(3), again[0].1, response(vec![element(digest, b"s")]));
    let commits = commits(&done).unwrap();
    assert_eq!((commits[0].private.len(), commits[0].missing.len()), (2, 0));
    assert!(done.iter().any(|action| matches!(action, Action::Pulled(_))), "how long it took is told");
    assert_eq!(one.state.figures().pulled, 2);
    let late = message(&mut one, id(3), again[0].1, response(vec![element(digest, b"s")]));
    assert_eq!(refusals(&late), [Refused::Unsolicited]);
}

#[test]
fn peers_are_asked_in_turn_then_again_until_time_is_up() {
    let mut one = One::new("Org1MSP", FILE);
    one.peer(2, "Org1MSP", 0);
    one.peer(3, "Org1MSP", 0);
    let mut all = requests(&one.give(Input::Blocks(vec![block_with(1, &[("cc", "own", b"o")], &[])])));
    let ended = loop {
        one.now = one.state.deadline().unwrap();
        let actions = one.give(Input::Tick);
        all.extend(requests(&actions));
        if commits(&actions).is_some() {
            break actions;
        }
    };
    assert_eq!((one.now, commits(&ended).unwrap()[0].missing.len()), (Duration::from_secs(60), 1));
    assert_ne!(all[0].0, all[1].0, "each once a round");
    // Eleven seconds a round: five for each, one of rest.
    assert_eq!(all.len(), 11, "{all:?}");
    assert_eq!(one.state.figures().missing, 1);
}

#[test]
fn a_peer_that_goes_is_replaced_at_once() {
    let mut one = One::new("Org1MSP", FILE);
    one.peer(2, "Org1MSP", 0);
    let first = requests(&one.give(Input::Blocks(vec![block_with(1, &[("cc", "own", b"o")], &[])])));
    assert_eq!(first[0].0, id(2));
    one.peer(3, "Org1MSP", 0);
    let again = requests(&one.give(Input::PeerGone(id(2))));
    assert_eq!(again[0].0, id(3));
}

// 12.4: block-to-live, access.

#[test]
fn data_that_all_peers_have_dropped_is_not_waited_for() {
    // It lives for three blocks; the margin is ten.
    let ask = |heights: &[u64]| {
        let mut one = One::new("Org1MSP", FILE);
        for (n, height) in heights.iter().enumerate() {
            one.peer(2 + n as u8, "Org2MSP", *height);
        }
        let actions = one.give(Input::Blocks(vec![block_with(20, &[("cc", "secret", b"s")], &[])]));
        (requests(&actions).iter().map(|(to, ..)| *to).collect::<Vec<_>>(), commits(&actions).is_some())
    };
    assert_eq!(ask(&[12]), (vec![id(2)], false), "12 + 10 < 20 + 3");
    assert_eq!(ask(&[13]), (vec![], true));
    assert_eq!(ask(&[u64::MAX, 12]), (vec![id(3)], false), "one that says so does not speak for the others");
    assert_eq!(ask(&[]), (vec![], false), "nobody is there: peers may come");
}

#[test]
fn requests_are_answered_with_what_the_asker_may_have() {
    let mut one = One::new("Org1MSP", FILE);
    let ready = block_with(1, &[("cc", "secret", b"s"), ("cc", "own", b"o")], &[]);
    let mut commit = Commit::of(ready.block);
    commit.private =
        vec![(slot(1, "secret"), Bytes::from_static(b"s")), (slot(1, "own"), Bytes::from_static(b"o"))];
    one.store.append(&[commit]).unwrap();
    let kept = one.message(
        2,
        "Org2MSP",
        1,
        Content::PrivateData(PrivateDataMessage { payload: Some(data("secret", b"t")) }),
    );
    for action in kept {
        if let Action::Keep { entry, .. } = action {
            one.store.put_transient(&entry).unwrap();
        }
    }
    let digest = |tx_id: &str, block_seq, collection: &str| PvtDataDigest {
        tx_id: tx_id.into(),
        namespace: "cc".into(),
        collection: collection.into(),
        block_seq,
        seq_in_block: 0,
    };
    let digests = vec![
        digest("tx", 9, "secret"),
        digest("tx1", 1, "secret"),
        digest("", 1, "own"),
        digest("tx1", 1, "secret"),
        digest("", 9, "secret"),
        digest("tx1", 1, "none"),
        digest("other", 9, "secret"),
        PvtDataDigest::default(),
    ];
    let channel = Channel::parse(CHANNEL.as_bytes()).unwrap();
    let mut ask = |mspid: &str| {
        let content = Content::PrivateReq(RemotePvtDataRequest { digests: digests.clone() });
        let actions = one.message(2, mspid, 42, content);
        let Some(Action::Serve(serve)) = actions.into_iter().find(|a| matches!(a, Action::Serve(_))) else {
            panic!()
        };
        let made = answer(&channel, &serve, one.state.collections(), &one.store).unwrap();
        assert_eq!((made.message().nonce, made.message().tag), (42, Tag::ChanOnly as i32));
        let Some(Content::PrivateRes(response)) = made.content() else { panic!() };
        one.give(Input::Served);
        let of = |element: &PvtDataElement| (element.digest.clone().unwrap(), element.payload[0].clone());
        response.elements.iter().map(of).collect::<Vec<_>>()
    };
    let (t, s, o) = (Bytes::from_static(b"t"), Bytes::from_static(b"s"), Bytes::from_static(b"o"));
    let both = [(digest("tx1", 1, "secret"), s.clone()), (digest("tx", 9, "secret"), t.clone())];
    assert_eq!(ask("Org2MSP"), both, "each once, with the values it was asked by");
    assert_eq!(ask("Org1MSP").len(), 3);
    assert_eq!(ask("Org1MSP")[1], (digest("", 1, "own"), o));
    assert_eq!(ask("Org3MSP"), [], "no member");
}

#[test]
fn a_flood_of_requests_is_bounded_for_each_peer_and_all() {
    let mut one = One::new("Org1MSP", FILE);
    let mut taken = |from| {
        let content =
            || Content::PrivateReq(RemotePvtDataRequest { digests: vec![PvtDataDigest::default()] });
        (0..200).filter(|_| refusals(&one.message(from, "Org2MSP", 1, content())).is_empty()).count()
    };
    assert_eq!((taken(1), taken(2), taken(3), taken(4), taken(5)), (26, 25, 25, 25, 0));
}

// 12.5: reconciliation.

#[test]
fn what_is_missing_is_reconciled_newest_first() {
    let mut one = One::new("Org1MSP", FILE);
    for number in 1..=25 {
        let set = format!("set{number}");
        let ready = block_with(number, &[("cc", "own", set.as_bytes()), ("yy", "others", b"x")], &[]);
        let mut commit = Commit::of(ready.block);
        for (slot, set) in [
            (slot(number, "own"), set.as_bytes()),
            (Slot { namespace: "yy".into(), ..slot(number, "others") }, b"x"),
        ] {
            commit.missing.push(crate::ledger::Missing {
                slot,
                tx_id: format!("tx{number}"),
                hash: hash(set),
            });
        }
        one.store.append(&[commit]).unwrap();
    }
    one.peer(2, "Org1MSP", 26);
    assert!(requests(&one.tick(59)).is_empty());
    let (mut seen, mut passes) = (Vec::new(), 0);
    let mut open = requests(&one.tick(1));
    while let Some((to, nonce, digests)) = open.pop() {
        let blocks: Vec<_> = digests.iter().map(|digest| digest.block_seq).collect();
        assert!(
            digests.iter().all(|digest| digest.tx_id.is_empty() && digest.namespace == "cc"),
            "{digests:?}"
        );
        seen.push(blocks.clone());
        let elements = digests.iter().filter(|digest| digest.block_seq % 5 != 0);
        let elements = elements.map(|digest| element(digest, format!("set{}", digest.block_seq).as_bytes()));
        let actions = one.message(to.0[0], "Org1MSP", nonce, response(elements.collect()));
        for action in &actions {
            match action {
                Action::Reconcile(found) => {
                    assert_eq!(one.store.reconcile(found).unwrap().len(), found.len());
                }
                Action::Reconciled(_) => passes += 1,
                _ => {}
            }
        }
        open.extend(requests(&actions));
        assert!(seen.len() < 10);
    }
    assert_eq!((seen.len(), passes), (3, 1), "ten blocks a batch, one pass");
    assert_eq!((seen[0].clone(), seen[2].clone()), ((16..=25).collect(), (1..=5).collect()));
    let left: Vec<_> =
        one.store.missing(u64::MAX, 99).unwrap().into_iter().filter(|m| m.slot.namespace == "cc").collect();
    assert_eq!(left.iter().map(|missing| missing.slot.block).collect::<Vec<_>>(), [25, 20, 15, 10, 5]);
    assert_eq!(one.state.figures().reconciled, 20);
    // The rest is asked for again a minute later.
    let again = requests(&one.tick(60));
    assert_eq!(again[0].2.iter().map(|digest| digest.block_seq).collect::<Vec<_>>(), [20, 25]);
}

/// Data with another hash than its block names counts nowhere: not when it was pushed, nor pulled, nor reconciled.
#[test]
fn private_data_with_a_wrong_hash_is_never_taken() {
    let mut one = One::new("Org1MSP", FILE);
    // Who pushes it is believed, as no block names its hash yet: the commit passes it over.
    let pushed = Content::PrivateData(PrivateDataMessage { payload: Some(data("own", b"forged")) });
    let kept = one.message(2, "Org1MSP", 1, pushed).into_iter().find_map(|action| match action {
        Action::Keep { entry, .. } => Some(entry),
        _ => None,
    });
    let mut kept = kept.unwrap();
    kept.tx_id = "tx1".into();
    one.store.put_transient(&kept).unwrap();
    one.peer(2, "Org1MSP", 2);
    let mut actions = one.give(Input::Blocks(vec![block_with(1, &[("cc", "own", b"right")], &[])]));
    let (mut answers, own) = (0, || Refused::Hash("own".into()));
    let commit = loop {
        for (to, nonce, digests) in requests(&actions) {
            assert_eq!(to, id(2));
            // Several sets of one element, none of which is it.
            let sets = [&b"forged"[..], b"", b"right and more"].map(Bytes::from_static).to_vec();
            let forged = PvtDataElement { digest: Some(digests[0].clone()), payload: sets };
            let answered = one.message(2, "Org1MSP", nonce, response(vec![forged]));
            assert_eq!((refusals(&answered), commits(&answered).is_none()), (vec![own()], true));
            answers += 1;
        }
        if let Some(commits) = commits(&actions) {
            break commits[0].clone();
        }
        one.now = one.state.deadline().unwrap();
        actions = one.give(Input::Tick);
    };
    assert!(answers > 1 && one.now == Duration::from_secs(60), "asked again until time was up");
    assert_eq!((commit.private.len(), commit.missing.len()), (0, 1));
    one.store.append(&[commit]).unwrap();
    // A minute later it is reconciled.
    let reconciled = |one: &mut One, set: &[u8]| {
        let (to, nonce, digests) = requests(&one.tick(60)).remove(0);
        let actions = one.message(to.0[0], "Org1MSP", nonce, response(vec![element(&digests[0], set)]));
        for action in &actions {
            if let Action::Reconcile(found) = action {
                one.store.reconcile(found).unwrap();
            }
        }
        (refusals(&actions), one.store.missing(u64::MAX, 9).unwrap().len())
    };
    assert_eq!(reconciled(&mut one, b"forged"), (vec![own()], 1));
    assert_eq!(reconciled(&mut one, b"right"), (vec![], 0));
}

#[test]
fn reconciliation_can_be_off() {
    let mut one = One::new("Org1MSP", FILE);
    one.state = {
        let pvt_data = PvtData { reconciliation_enabled: false, ..Default::default() };
        let options = Options { pvt_data, own: member("Org1MSP") };
        PrivateData::new(Channel::parse(CHANNEL.as_bytes()).unwrap(), options, collections("Org1MSP", FILE))
    };
    one.tick(3_600);
    assert_eq!(one.state.deadline(), None);
}

#[test]
fn the_transient_store_is_purged_every_so_many_blocks() {
    let mut one = One::new("Org1MSP", FILE);
    let mut purged = |number| {
        let actions = one.give(Input::Blocks(vec![block_with(number, &[], &[])]));
        actions.iter().find_map(|action| match action {
            Action::Purge(below) => Some(*below),
            _ => None,
        })
    };
    assert_eq!((purged(19_999), purged(20_000), purged(39_999)), (None, None, None));
    assert_eq!((purged(40_000), purged(40_001)), (Some(20_000), None));
}
