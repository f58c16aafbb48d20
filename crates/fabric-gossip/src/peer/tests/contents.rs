//! What a peer can send: every content with every nested field absent, wrong tags, forgeries, replays, floods.

use crate::actions::{Action, Actions, Event};
use crate::channel::channel_mac;
use crate::cx::AHEAD;
use crate::membership::MAX_ELEMENTS;
use crate::sim::{EPOCH, World, channel, host, identity, payload, pki_id};
use crate::types::{Now, PkiId, Stamp, StreamId};
use crate::{Config, Gossip, Input, SignedMessage};
use bytes::Bytes;
use prost::Message;
use std::time::Duration;
use switchboard_fabric::message::*;

const NONE: &[u8] = b"";

/// A node and a peer of the same organisation whose connection is authenticated.
struct Pair {
    world: World,
    peer: Bytes,
    at: Duration,
}

impl Pair {
    fn new() -> Self {
        let mut world = World::new(1);
        world.add("Org1", "node", true, Config { bootstrap: vec![], ..Config::default() });
        world.join_all(&["Org1"]);
        let mut pair = Self { world, peer: identity("Org1", "peer", 0), at: Duration::ZERO };
        let (now, mut out) = (pair.now(), Actions::default());
        pair.node().handle(Input::Tick, now, &mut out);
        pair.admit(&pair.peer.clone());
        pair
    }

    fn now(&self) -> Now {
        Now { mono: self.at, wall: EPOCH + self.at.as_nanos() as u64 }
    }

    fn node(&mut self) -> &mut Gossip {
        &mut self.world.nodes[0].gossip
    }

    fn admit(&mut self, identity: &Bytes) -> PkiId {
        let now = self.now();
        self.node().authenticated(pki_id(identity), identity, now).unwrap();
        pki_id(identity)
    }

    fn id(&self) -> PkiId {
        pki_id(&self.peer)
    }

    fn give(&mut self, message: SignedMessage) -> Vec<Action> {
        let id = self.id();
        self.give_from(id, message)
    }

    fn give_from(&mut self, from: PkiId, message: SignedMessage) -> Vec<Action> {
        let (now, mut out) = (self.now(), Actions::default());
        self.node().handle(Input::Received { from, stream: StreamId(1), message }, now, &mut out);
        out.drain().collect()
    }

    fn give_plain(&mut self, tag: Tag, name: &[u8], content: Content) -> Vec<Action> {
        self.give(SignedMessage::unsigned(GossipMessage::new(tag, name, 0, content)))
    }

    fn refusals(&self) -> u64 {
        self.world.nodes[0].gossip.refusals().map(|(_, count)| count).sum()
    }

    fn reasons(&self) -> Vec<&'static str> {
        self.world.nodes[0].gossip.refusals().map(|(why, _)| why).collect()
    }
}

fn signed_by(identity: &Bytes, message: GossipMessage) -> SignedMessage {
    let payload = Bytes::from(message.encode_to_vec());
    let crypto = host(identity, &std::sync::Arc::default()).crypto;
    let signature = crypto.sign(&payload).unwrap();
    let envelope = Envelope { payload, signature, secret_envelope: None };
    SignedMessage::decode(envelope.encode_to_vec().into()).unwrap()
}

fn stamp(n: u64) -> Option<PeerTime> {
    Some(Stamp { inc: EPOCH, seq: n }.into())
}

fn alive_body(identity: &Bytes, seq: u64) -> AliveMessage {
    let member =
        Member { endpoint: "there:7051".into(), metadata: Bytes::new(), pki_id: pki_id(identity).to_bytes() };
    AliveMessage { membership: Some(member), timestamp: stamp(seq), identity: identity.clone() }
}

fn alive_of(identity: &Bytes, body: AliveMessage) -> SignedMessage {
    signed_by(identity, GossipMessage::new(Tag::Empty, NONE, 0, Content::AliveMsg(body)))
}

fn info_of(identity: &Bytes, time: Option<PeerTime>) -> StateInfo {
    let id = pki_id(identity);
    let properties = Properties { ledger_height: 5, ..Default::default() };
    StateInfo {
        timestamp: time,
        pki_id: id.to_bytes(),
        channel_mac: Bytes::copy_from_slice(&channel_mac(&id, &channel())),
        properties: Some(properties),
    }
}

fn info_message(identity: &Bytes, body: StateInfo) -> SignedMessage {
    signed_by(identity, GossipMessage::new(Tag::ChanOrOrg, NONE, 0, Content::StateInfo(body)))
}

/// Makes the peer a member of the network and of the channel.
fn settled() -> Pair {
    let mut pair = Pair::new();
    let peer = pair.peer.clone();
    pair.give(alive_of(&peer, alive_body(&peer, 1)));
    pair.give(info_message(&peer, info_of(&peer, stamp(1))));
    assert_eq!(pair.node().peers_of_channel(&channel()).len(), 1);
    assert_eq!(pair.refusals(), 0);
    pair
}

/// Every content as it is with nothing in it, and with each nested field absent in turn; with a pull's kinds.
fn hollow() -> Vec<(Tag, Content)> {
    let (block, ident) = (PullMsgType::BlockMsg as i32, PullMsgType::IdentityMsg as i32);
    let peer = identity("Org1", "peer", 0);
    let alive = alive_body(&peer, 2);
    let nested_member = AliveMessage { membership: Some(Member::default()), ..alive.clone() };
    let info = info_of(&peer, stamp(2));
    let bad = Envelope { payload: Bytes::from_static(b"\xff\xff"), ..Default::default() };
    let mut all = vec![
        (Tag::Empty, Content::AliveMsg(AliveMessage::default())),
        (Tag::Empty, Content::AliveMsg(AliveMessage { membership: None, ..alive.clone() })),
        (Tag::Empty, Content::AliveMsg(AliveMessage { timestamp: None, ..alive.clone() })),
        (Tag::Empty, Content::AliveMsg(AliveMessage { identity: Bytes::new(), ..alive })),
        (Tag::Empty, Content::AliveMsg(nested_member)),
        (Tag::Empty, Content::MemReq(MembershipRequest::default())),
        (
            Tag::Empty,
            Content::MemReq(MembershipRequest { self_information: Some(bad.clone()), known: vec![] }),
        ),
        (
            Tag::Empty,
            Content::MemReq(MembershipRequest { self_information: Some(Envelope::default()), known: vec![] }),
        ),
        (Tag::Empty, Content::MemRes(MembershipResponse::default())),
        (
            Tag::Empty,
            Content::MemRes(MembershipResponse { alive: vec![bad.clone()], dead: vec![bad.clone()] }),
        ),
        (Tag::ChanAndOrg, Content::DataMsg(DataMessage::default())),
        (Tag::ChanAndOrg, Content::DataMsg(DataMessage { payload: Some(Payload::default()) })),
        (Tag::Empty, Content::Empty(Empty {})),
        (Tag::Empty, Content::Conn(ConnEstablish::default())),
        (Tag::ChanOrOrg, Content::StateInfo(StateInfo::default())),
        (Tag::ChanOrOrg, Content::StateInfo(StateInfo { timestamp: None, ..info.clone() })),
        (Tag::ChanOrOrg, Content::StateInfo(StateInfo { pki_id: Bytes::new(), ..info.clone() })),
        (Tag::ChanOrOrg, Content::StateInfo(StateInfo { channel_mac: Bytes::new(), ..info.clone() })),
        (Tag::ChanOrOrg, Content::StateInfo(StateInfo { properties: None, ..info })),
        (Tag::ChanOrOrg, Content::StateSnapshot(StateInfoSnapshot::default())),
        (Tag::ChanOrOrg, Content::StateSnapshot(StateInfoSnapshot { elements: vec![bad.clone()] })),
        (Tag::ChanOrOrg, Content::StateInfoPullReq(StateInfoPullRequest::default())),
        (Tag::ChanAndOrg, Content::LeadershipMsg(LeadershipMessage::default())),
        (
            Tag::ChanAndOrg,
            Content::LeadershipMsg(LeadershipMessage {
                pki_id: pki_id(&peer).to_bytes(),
                ..Default::default()
            }),
        ),
        (Tag::OrgOnly, Content::PeerIdentity(PeerIdentity::default())),
        (Tag::Undefined, Content::Ack(Acknowledgement::default())),
    ];
    for (tag, kind) in [(Tag::ChanAndOrg, block), (Tag::Empty, ident), (Tag::Empty, 0), (Tag::Empty, 9)] {
        all.push((tag, Content::DataDig(DataDigest { msg_type: kind, ..Default::default() })));
        all.push((tag, Content::DataReq(DataRequest { msg_type: kind, ..Default::default() })));
        all.push((
            tag,
            Content::DataUpdate(DataUpdate { msg_type: kind, data: vec![bad.clone()], nonce: 1 }),
        ));
    }
    all
}

/// Each is refused with a reason, changes nothing, and the peer stays.
#[test]
fn hollow_contents_are_refused() {
    for (tag, content) in hollow() {
        for named in [true, false] {
            let mut pair = settled();
            let name = if named { &b"mychannel"[..] } else { NONE };
            let before = pair.refusals();
            let message = GossipMessage::new(tag, name, 0, content.clone());
            let actions = pair.give(SignedMessage::unsigned(message));
            assert!(pair.refusals() > before, "{content:?}");
            let closes = actions.iter().any(|a| matches!(a, Action::Close { .. } | Action::Send { .. }));
            assert!(!closes, "{content:?}: {actions:?}");
            assert_eq!(pair.node().peers_of_channel(&channel()).len(), 1);
        }
    }
}

/// What is for the state and private data modules is told to them, whatever it holds; of readers of a joined channel only.
#[test]
fn state_and_private_contents_are_delivered() {
    let others = [
        (Tag::ChanOrOrg, Content::StateRequest(RemoteStateRequest::default())),
        (Tag::ChanOrOrg, Content::StateResponse(RemoteStateResponse::default())),
        (Tag::ChanOnly, Content::PrivateReq(RemotePvtDataRequest::default())),
        (Tag::ChanOnly, Content::PrivateRes(RemotePvtDataResponse::default())),
        (Tag::ChanOnly, Content::PrivateData(PrivateDataMessage::default())),
    ];
    for (tag, content) in others {
        let mut pair = settled();
        let delivered =
            |actions: &[Action]| actions.iter().any(|a| matches!(a, Action::Tell(Event::Deliver { .. })));
        assert!(delivered(&pair.give_plain(tag, b"mychannel", content.clone())));
        assert!(!delivered(&pair.give_plain(tag, b"other", content.clone())));
        assert!(!delivered(&pair.give_plain(tag, NONE, content.clone())));
        let outsider = pair.admit(&identity("Org1", "outsider", 0));
        let foreign = pair.admit(&identity("Org2", "peer", 0));
        for from in [outsider, foreign] {
            let message = GossipMessage::new(tag, b"mychannel", 0, content.clone());
            assert!(!delivered(&pair.give_from(from, SignedMessage::unsigned(message))));
        }
        assert_eq!(pair.refusals(), 4);
    }
}

/// Row 3.4: with any other tag than its own a content is refused.
#[test]
fn wrong_tags_are_refused() {
    for (right, content) in hollow() {
        if matches!(content, Content::Ack(_) | Content::Conn(_) | Content::Empty(_)) {
            continue;
        }
        for tag in [Tag::Undefined, Tag::Empty, Tag::OrgOnly, Tag::ChanOnly, Tag::ChanAndOrg, Tag::ChanOrOrg]
        {
            if tag == right {
                continue;
            }
            let mut pair = settled();
            pair.give_plain(tag, b"mychannel", content.clone());
            assert_eq!(pair.reasons(), ["a message without a content or with a wrong tag"], "{content:?}");
        }
    }
    let mut pair = settled();
    let nothing = GossipMessage { nonce: 0, channel: Bytes::new(), tag: 77, content: None };
    pair.give(SignedMessage::unsigned(nothing));
    assert_eq!(pair.refusals(), 1);
}

#[test]
fn forged_alive_messages_are_refused() {
    let (peer, other) = (identity("Org1", "peer", 0), identity("Org1", "other", 0));
    let cases: Vec<(&str, SignedMessage)> = vec![
        (
            "another's PKI-ID, our signature",
            alive_of(&peer, AliveMessage { identity: Bytes::new(), ..alive_body(&other, 2) }),
        ),
        (
            "another's identity, our PKI-ID",
            alive_of(&peer, AliveMessage { identity: other.clone(), ..alive_body(&peer, 2) }),
        ),
        ("another's PKI-ID and identity, our signature", alive_of(&peer, alive_body(&other, 2))),
        (
            "no signature",
            SignedMessage::unsigned(GossipMessage::new(
                Tag::Empty,
                NONE,
                0,
                Content::AliveMsg(alive_body(&peer, 2)),
            )),
        ),
        (
            "a short PKI-ID",
            alive_of(&peer, {
                let mut body = alive_body(&peer, 2);
                body.membership.as_mut().unwrap().pki_id.truncate(31);
                body
            }),
        ),
        ("of an organisation nobody knows", {
            let stranger = identity("Evil", "peer", 0);
            alive_of(&stranger, alive_body(&stranger, 2))
        }),
    ];
    for (what, message) in cases {
        let mut pair = settled();
        pair.admit(&other);
        let count = pair.node().peers().count();
        pair.give(message);
        assert_eq!((pair.refusals(), pair.node().peers().count()), (1, count), "{what}");
    }
}

/// Row 3.2: a secret part must be whole and of the same identity; an alive message is passed on as it came.
#[test]
fn secret_parts_are_checked() {
    let peer = identity("Org1", "peer", 0);
    let crypto = host(&peer, &std::sync::Arc::default()).crypto;
    let secret = Bytes::from(
        Secret { content: Some(SecretContent::InternalEndpoint("inside:7051".into())) }.encode_to_vec(),
    );
    let good = SecretEnvelope { signature: crypto.sign(&secret).unwrap(), payload: secret.clone() };
    for (part, taken) in [
        (good.clone(), true),
        (SecretEnvelope { signature: Bytes::new(), ..good.clone() }, false),
        (SecretEnvelope { payload: Bytes::new(), ..good.clone() }, false),
        (SecretEnvelope { signature: Bytes::from_static(b"12345678"), ..good }, false),
    ] {
        let mut pair = settled();
        let mut envelope = alive_of(&peer, alive_body(&peer, 2)).envelope().clone();
        envelope.secret_envelope = Some(part);
        pair.give(SignedMessage::decode(envelope.encode_to_vec().into()).unwrap());
        let id = pair.id();
        let inside = pair.node().member(&id).unwrap().internal.as_ref().map(|e| e.to_string());
        assert_eq!(
            (inside.as_deref(), pair.refusals()),
            if taken { (Some("inside:7051"), 0) } else { (None, 1) }
        );
        if taken {
            // Row 6.9: it is kept when later messages have none.
            pair.give(alive_of(&peer, alive_body(&peer, 3)));
            assert!(pair.node().member(&id).unwrap().internal.is_some());
        }
    }
}

/// Rows 6.1, 9.2: old times are ignored, far future ones refused, for alive, StateInfo and leadership messages.
#[test]
fn replays_and_future_times() {
    let peer = identity("Org1", "peer", 0);
    let future = Stamp { inc: EPOCH + AHEAD.as_nanos() as u64 + 1_000, seq: 1 };
    let leadership = |time: Option<PeerTime>, declares| {
        let body =
            LeadershipMessage { pki_id: pki_id(&peer).to_bytes(), timestamp: time, is_declaration: declares };
        signed_by(&peer, GossipMessage::new(Tag::ChanAndOrg, b"mychannel", 0, Content::LeadershipMsg(body)))
    };
    let mut pair = settled();
    let late = AliveMessage { timestamp: Some(future.into()), ..alive_body(&peer, 0) };
    pair.give(alive_of(&peer, late));
    pair.give(info_message(&peer, info_of(&peer, Some(future.into()))));
    let seq = Stamp { inc: EPOCH, seq: u64::MAX };
    pair.give(info_message(&peer, info_of(&peer, Some(seq.into()))));
    pair.give(leadership(Some(future.into()), true));
    let most = PeerTime { inc_num: u64::MAX, seq_num: u64::MAX };
    pair.give(alive_of(&peer, AliveMessage { timestamp: Some(most), ..alive_body(&peer, 0) }));
    assert_eq!(pair.refusals(), 5, "{:?}", pair.reasons());

    // Replayed for ten minutes, the same message keeps nobody alive and is forwarded once.
    let message = alive_of(&peer, alive_body(&peer, 9));
    let (mut forwarded, id) = (0, pair.id());
    pair.give(message.clone());
    for second in 1..600 {
        pair.at = Duration::from_secs(second);
        let actions = pair.give(message.clone());
        forwarded += actions.iter().filter(|a| matches!(a, Action::Send { message: m, .. }
            if matches!(m.content(), Some(Content::AliveMsg(a)) if a.membership.as_ref().unwrap().pki_id[..] == id.0[..]))).count();
        let alive = pair.node().peers().any(|m| m.pki_id == id);
        assert_eq!(alive, second < 27 || (second < 30 && alive), "at {second}");
    }
    assert_eq!(forwarded, 0, "there is nobody else to forward to");
    assert!(pair.node().member(&id).is_none(), "forgotten");
    pair.give(message.clone());
    assert!(pair.node().member(&id).is_none(), "and a replay does not bring it back");
    pair.give(alive_of(&peer, alive_body(&peer, 10)));
    assert!(pair.node().member(&id).is_some(), "a newer one does");
}

/// A membership answer counts only if it was asked for; then it is read up to a bound, however many dead peers it names.
#[test]
fn membership_answers_are_bounded() {
    let peer = identity("Org1", "peer", 0);
    let mut pair = settled();
    let dead: Vec<Envelope> = (0..6_000)
        .map(|n| {
            let other = identity("Org1", &format!("dead{n}"), 0);
            alive_of(&other, alive_body(&other, 1)).envelope().clone()
        })
        .collect();
    let answer = |alive, dead| Content::MemRes(MembershipResponse { alive, dead });
    pair.give_plain(Tag::Empty, NONE, answer(vec![], dead.clone()));
    assert_eq!(pair.node().dead_peers().count(), 0, "nobody asked");
    assert_eq!(pair.reasons(), ["a membership answer nobody asked for"]);

    // The periodic request goes to the only member there is.
    pair.at = Duration::from_secs(4);
    let asked = pair.give(alive_of(&peer, alive_body(&peer, 2)));
    assert!(asked.iter().any(
        |a| matches!(a, Action::Send { message, .. } if matches!(message.content(), Some(Content::MemReq(_))))
    ));
    pair.give_plain(Tag::Empty, NONE, answer(vec![], dead));
    assert_eq!(pair.node().dead_peers().count(), MAX_ELEMENTS);
    // They are pinged in turn, some at a time.
    pair.at = Duration::from_secs(25);
    let pings = pair.give(alive_of(&peer, alive_body(&peer, 3)));
    let pings = pings.iter().filter(|a| matches!(a, Action::Ping { .. })).count();
    assert_eq!(pings, crate::membership::MAX_PINGS);
    // They are not alive for having been named, and go after 500 s.
    assert_eq!(pair.node().peers().count(), 1);
    pair.at = Duration::from_secs(520);
    pair.give(alive_of(&peer, alive_body(&peer, 4)));
    assert_eq!(pair.node().dead_peers().count(), 0);
}

#[test]
fn wrong_elements_end_an_answer() {
    let peer = identity("Org1", "peer", 0);
    let mut pair = settled();
    pair.at = Duration::from_secs(4);
    pair.give(alive_of(&peer, alive_body(&peer, 2)));
    let forged = |n: u32| {
        let other = identity("Org1", &format!("x{n}"), 0);
        alive_of(&peer, alive_body(&other, 1)).envelope().clone()
    };
    let alive = (0..1_000).map(forged).collect();
    pair.give_plain(Tag::Empty, NONE, Content::MemRes(MembershipResponse { alive, dead: vec![] }));
    assert_eq!((pair.refusals(), pair.node().peers().count()), (16, 1));
}

/// Row 6.7: a membership request must be of whom the connection is, and comes not too often.
#[test]
fn membership_requests_are_answered_to_their_sender_only() {
    let (peer, other) = (identity("Org1", "peer", 0), identity("Org1", "other", 0));
    let request = |of: &Bytes, seq| {
        let self_information = Some(alive_of(of, alive_body(of, seq)).envelope().clone());
        let content = Content::MemReq(MembershipRequest { self_information, known: vec![] });
        SignedMessage::unsigned(GossipMessage::new(Tag::Empty, NONE, 77, content))
    };
    let answers = |actions: &[Action]| {
        let answer = |a: &&Action| {
            matches!(a, Action::Send { message, .. }
            if matches!(message.content(), Some(Content::MemRes(_))) && message.message().nonce == 77)
        };
        actions.iter().filter(answer).count()
    };
    let mut pair = settled();
    assert_eq!(answers(&pair.give(request(&other, 1))), 0);
    let mut given = 0;
    for seq in 0..1_000 {
        given += answers(&pair.give(request(&peer, seq + 5)));
    }
    assert!((1..=4).contains(&given), "{given} at once");
    pair.at = Duration::from_secs(10);
    assert_eq!(answers(&pair.give(request(&peer, 2))), 1, "an old time, but its own connection: answered");
}

/// Rows 8.2 to 8.5: digests and requests by the thousand.
#[test]
fn pull_floods_are_bounded() {
    let mut pair = settled();
    let (now, mut out) = (pair.now(), Actions::default());
    for n in 1..=5 {
        pair.node().gossip_block(&channel(), payload(n), now, &mut out);
    }
    let hello = |nonce| {
        Content::Hello(GossipHello { nonce, metadata: Bytes::new(), msg_type: PullMsgType::BlockMsg as i32 })
    };
    let mut digests = 0;
    for nonce in 0..10_000 {
        let actions = pair.give_plain(Tag::ChanAndOrg, b"mychannel", hello(nonce));
        digests += actions.iter().filter(|a| matches!(a, Action::Respond { .. })).count();
    }
    assert_eq!(digests, crate::pull::MAX_NONCES_OF_ONE);
    // A request may name a number a thousand times, or nonsense: each block is sent once.
    let names = ["1", "01", "x", "", "99999999999999999999999", "-1", "3"];
    let digests: Vec<Bytes> = names.iter().cycle().take(7_000).map(|n| Bytes::from(n.as_bytes())).collect();
    let request = |nonce| {
        let digests = digests.clone();
        Content::DataReq(DataRequest { nonce, digests, msg_type: PullMsgType::BlockMsg as i32 })
    };
    let actions = pair.give_plain(Tag::ChanAndOrg, b"mychannel", request(3));
    let sent = actions.iter().find_map(|a| match a {
        Action::Respond { message, .. } => match message.content() {
            Some(Content::DataUpdate(update)) => Some(update.data.len()),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(sent, Some(2));
    assert!(
        pair.give_plain(Tag::ChanAndOrg, b"mychannel", request(999_999))
            .iter()
            .all(|a| !matches!(a, Action::Respond { .. }))
    );
    let digest = DataDigest {
        nonce: 5,
        digests: vec![Bytes::from_static(b"7"); 100_000],
        msg_type: PullMsgType::BlockMsg as i32,
    };
    let before = pair.refusals();
    pair.give_plain(Tag::ChanAndOrg, b"mychannel", Content::DataDig(digest));
    assert_eq!(pair.refusals(), before + 1, "a nonce of nobody");
    let foreign = pair.admit(&identity("Org2", "peer", 0));
    let message = GossipMessage::new(Tag::ChanAndOrg, b"mychannel", 0, hello(1));
    assert!(
        pair.give_from(foreign, SignedMessage::unsigned(message))
            .iter()
            .all(|a| !matches!(a, Action::Respond { .. }))
    );
}

/// A block that the policy refuses, and refusals that are summed up.
#[test]
fn refusals_are_summed_up() {
    let mut pair = settled();
    let wrong = Payload { seq_num: 1, data: Bytes::from_static(b"not block 1"), private_data: vec![] };
    let mut told = Vec::new();
    for _ in 0..500 {
        let content = Content::DataMsg(DataMessage { payload: Some(wrong.clone()) });
        let actions = pair.give_plain(Tag::ChanAndOrg, b"mychannel", content);
        assert!(!actions.iter().any(|a| matches!(a, Action::Tell(Event::Block { .. }))));
        told.extend(actions.into_iter().filter_map(|a| match a {
            Action::Tell(Event::Refused { count, .. }) => Some(count),
            _ => None,
        }));
        pair.at += Duration::from_millis(200);
    }
    // 100 s: at the start, and once a minute.
    assert_eq!((told.len(), told.iter().sum::<u64>()), (2, 301));
    assert_eq!(pair.refusals(), 500);
}

/// Truncated and changed at every byte, a message is undecodable or refused or means the same; nothing breaks.
#[test]
fn every_cut_and_flip_is_survived() {
    let peer = identity("Org1", "peer", 0);
    let messages = [
        alive_of(&peer, alive_body(&peer, 50)).bytes(),
        info_message(&peer, info_of(&peer, stamp(50))).bytes(),
    ];
    let mut pair = settled();
    for bytes in messages {
        for cut in 0..bytes.len() {
            if let Ok(message) = SignedMessage::decode(bytes.slice(..cut)) {
                pair.give(message);
            }
            let mut flipped = bytes.to_vec();
            flipped[cut] ^= 1 << (cut % 8);
            if let Ok(message) = SignedMessage::decode(flipped.into()) {
                pair.give(message);
            }
        }
    }
    assert_eq!(pair.node().peers().count(), 1);
}
