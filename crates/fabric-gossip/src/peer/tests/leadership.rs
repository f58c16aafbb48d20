//! Leadership messages that should count for nothing: replayed, of the future, forged, of others.

use crate::config::Config;
use crate::peer::Input;
use crate::signed::SignedMessage;
use crate::sim::{EPOCH, World, channel, host, identity, join_config, pki_id, to_first};
use crate::types::{PkiId, Stamp, StreamId};
use bytes::Bytes;
use prost::Message;
use switchboard_fabric::message::{Content, Envelope, GossipMessage, LeadershipMessage, Tag};

/// What somebody says in the name of `author`, signed with the key of `by`.
fn said(by: &Bytes, author: PkiId, stamp: Stamp, is_declaration: bool) -> SignedMessage {
    let body = LeadershipMessage { pki_id: author.to_bytes(), timestamp: Some(stamp.into()), is_declaration };
    let message = GossipMessage::new(Tag::ChanAndOrg, b"mychannel", 0, Content::LeadershipMsg(body));
    let payload = Bytes::from(message.encode_to_vec());
    let signature = host(by, &std::sync::Arc::default()).crypto.sign(&payload).unwrap();
    let envelope = Envelope { payload, signature, secret_envelope: None };
    SignedMessage::decode(envelope.encode_to_vec().into()).unwrap()
}

fn at(seconds: u64, seq: u64) -> Stamp {
    Stamp { inc: EPOCH + seconds * 1_000_000_000, seq }
}

/// Two electing peers of Org1; the one with the lower PKI-ID leads, the other is looked at.
struct Two {
    world: World,
    lower: usize,
    higher: usize,
}

impl Two {
    fn new() -> Self {
        let config = Config { use_leader_election: true, org_leader: false, ..to_first() };
        let mut world = World::new(9);
        for name in ["peer0", "peer1"] {
            world.add("Org1", name, true, config.clone());
        }
        for node in 0..2 {
            let join = join_config(&["Org1", "Org2"]);
            world.with(node, |gossip, now, out| gossip.join_channel(&channel(), join, now, out).unwrap());
        }
        let (lower, higher) = if world.id(0) < world.id(1) { (0, 1) } else { (1, 0) };
        world.run(60.0);
        let two = Self { world, lower, higher };
        assert_eq!(two.leader(), Some(two.world.id(lower)));
        two
    }

    fn leader(&self) -> Option<PkiId> {
        self.world.nodes[self.higher].gossip.leader(&channel())
    }

    /// Gives it a message of somebody with a session.
    fn give(&mut self, from: &Bytes, message: SignedMessage) {
        let id = pki_id(from);
        self.world.with(self.higher, |gossip, now, out| {
            gossip.authenticated(id, from, now).unwrap();
            gossip.handle(Input::Received { from: id, stream: StreamId(1), message }, now, out);
        });
    }

    fn refusals(&self) -> Vec<(&'static str, u64)> {
        self.world.nodes[self.higher].gossip.refusals().collect()
    }
}

#[test]
fn leadership_messages_of_others_and_of_the_future_are_refused_and_counted() {
    let mut two = Two::new();
    let (leader, ours) = (two.world.id(two.lower), two.world.nodes[two.lower].identity.clone());
    let (foreign, mallory) = (identity("Org2", "peer", 0), identity("Org1", "mallory", 0));
    let now = two.world.now.as_secs();
    // Of another organisation; and of our own, but passed on by another.
    two.give(&foreign, said(&foreign, pki_id(&foreign), at(now, 1), true));
    two.give(&foreign, said(&ours, leader, at(now, 1), true));
    // Two days ahead: it would shut out whatever its author says until then.
    two.give(&ours, said(&ours, leader, at(now + 2 * 86_400, 1), true));
    // A member of the organisation that nobody heard of as alive, and one that forges another's name.
    two.give(&mallory, said(&mallory, pki_id(&mallory), at(now, 1), true));
    two.give(&mallory, said(&mallory, leader, at(now, 9), true));
    assert_eq!(
        two.refusals(),
        [
            ("a leadership message from the future", 1),
            ("a leadership message of a peer that is not alive", 1),
            ("a leadership message of another organisation", 2),
            ("a wrong signature", 1),
        ]
    );
    assert_eq!(two.leader(), Some(leader), "nothing of it counts");
    for seq in 2..2_000 {
        two.give(&foreign, said(&foreign, pki_id(&foreign), at(now, seq), true));
    }
    assert_eq!(two.refusals()[2].1, 2_000, "each is counted");
    two.world.run(30.0);
    assert_eq!(two.leader(), Some(leader), "and the leader is still heard");
}

#[test]
fn a_replayed_declaration_keeps_no_leader_alive() {
    let mut two = Two::new();
    let (lower, now) = (two.world.nodes[two.lower].identity.clone(), two.world.now.as_secs());
    let declaration = said(&lower, pki_id(&lower), at(now, 1_000), true);
    two.give(&lower, declaration.clone());
    two.world.nodes[two.lower].up = false;
    let own = two.world.id(two.higher);
    let mut led = None;
    for second in 0..60 {
        two.world.run(1.0);
        two.give(&lower, declaration.clone());
        if led.is_none() && two.leader() == Some(own) {
            led = Some(second);
        }
    }
    // 10 s without a declaration, 5 s of proposals.
    assert!(led.is_some_and(|second| second <= 20), "leads after {led:?} seconds");
    assert_eq!(two.leader(), Some(own), "and goes on");
    assert_eq!(two.refusals(), [], "a replay is nobody's fault: gossip repeats");
}
