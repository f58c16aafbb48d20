//! Peers with state transfer, private data and a ledger each, in a virtual network: the shell's work done by hand.

use super::*;
use crate::block::Verifier;
use crate::block::tests::fixtures::{private_chain, secret};
use crate::config;
use crate::state::{self, StateTransfer};
use std::collections::VecDeque;
use switchboard_fabric::message::Payload;

const FILE: &str = r#"[{"name": "secret", "policy": "OR('Org1MSP.member', 'Org2MSP.member')",
  "requiredPeerCount": 1, "maxPeerCount": 1}]"#;

struct Node {
    subject: Subject,
    state: StateTransfer,
    private: PrivateData,
    store: MemoryLedger,
    /// Nonces of pushes that wait for an acknowledgement, and their tickets.
    acks: BTreeMap<u64, u64>,
    sources: Vec<(Option<u64>, Source)>,
    pushed: Option<Result<Vec<usize>, PushFault>>,
}

struct Net {
    nodes: Vec<Node>,
    queue: VecDeque<(usize, usize, SignedMessage)>,
    now: Duration,
    nonce: u64,
    rng: ChaCha20Rng,
}

impl Net {
    fn new(orgs: &[&str]) -> Self {
        let node = |org: &&str| {
            let channel = Channel::parse(CHANNEL.as_bytes()).unwrap();
            let state = config::State { enabled: true, ..Default::default() };
            let options = state::Options { state, ..Default::default() };
            let state = StateTransfer::new(channel.clone(), options, Verifier::hash(CHANNEL), 1, None);
            let options = Options { pvt_data: PvtData::default(), own: member(org) };
            Node {
                subject: member(org),
                state,
                private: PrivateData::new(channel, options, collections(org, FILE)),
                store: MemoryLedger::default(),
                acks: BTreeMap::new(),
                sources: Vec::new(),
                pushed: None,
            }
        };
        let (nodes, rng) = (orgs.iter().map(node).collect(), ChaCha20Rng::seed_from_u64(11));
        Self { nodes, queue: VecDeque::new(), now: Duration::ZERO, nonce: 1_000, rng }
    }

    fn id(n: usize) -> PkiId {
        id(n as u8 + 1)
    }

    /// Tells some nodes of each other.
    fn meet(&mut self, nodes: &[usize]) {
        for node in nodes {
            for other in nodes.iter().filter(|other| *other != node) {
                let (subject, height) =
                    (self.nodes[*other].subject.clone(), self.nodes[*other].state.height());
                self.private(*node, Input::Peer { pki_id: Self::id(*other), subject, height });
                self.state(*node, state::Input::Peer { pki_id: Self::id(*other), height });
            }
        }
    }

    fn state(&mut self, node: usize, input: state::Input) {
        let mut out = Vec::new();
        let now = Now { mono: self.now, wall: 0 };
        self.nodes[node].state.handle(input, now, &mut self.rng, &mut out);
        for action in out {
            match action {
                state::Action::Send { to, message } | state::Action::Respond { to, message, .. } => {
                    self.send(node, to, message);
                }
                state::Action::Serve(serve) => {
                    let place = usize::from(serve.to.0[0] - 1);
                    let asker = self.nodes[place].subject.clone();
                    let channel = Channel::parse(CHANNEL.as_bytes()).unwrap();
                    let of = &self.nodes[node];
                    let may = |slot: &Slot| of.private.may_have(slot, &asker);
                    let message = state::answer(&channel, &serve, &of.store, may).unwrap();
                    self.send(node, serve.to, message);
                    self.state(node, state::Input::Served);
                }
                state::Action::Commit(ready) => self.private(node, Input::Blocks(ready)),
                state::Action::Height(height) => assert_eq!(height, self.nodes[node].store.height()),
                other => panic!("{other:?}"),
            }
        }
    }

    fn private(&mut self, node: usize, input: Input) {
        let mut out = Vec::new();
        let (now, of) = (Now { mono: self.now, wall: 0 }, &mut self.nodes[node]);
        of.private.handle(input, &of.store, now, &mut self.rng, &mut out).unwrap();
        self.act(node, out);
    }

    fn act(&mut self, node: usize, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send { to, message } | Action::Respond { to, message, .. } => {
                    self.send(node, to, message)
                }
                Action::SendWithAck { ticket, to, message, .. } => {
                    self.nonce += 1;
                    self.nodes[node].acks.insert(self.nonce, ticket);
                    let message = GossipMessage { nonce: self.nonce, ..message.message().clone() };
                    self.send(node, to, SignedMessage::unsigned(message));
                }
                Action::Keep { entry, reply } => {
                    let kept = self.nodes[node].store.put_transient(&entry);
                    if let Some(reply) = reply {
                        self.send(node, reply.to, ack(reply.nonce, kept.map_err(|error| error.to_string())));
                    }
                }
                Action::Serve(serve) => {
                    let of = &self.nodes[node];
                    let channel = Channel::parse(CHANNEL.as_bytes()).unwrap();
                    let message = answer(&channel, &serve, of.private.collections(), &of.store).unwrap();
                    self.send(node, serve.reply.to, message);
                    self.private(node, Input::Served);
                }
                Action::Commit(commits) => {
                    self.nodes[node].store.append(&commits).unwrap();
                    self.state(node, state::Input::Committed);
                }
                Action::Reconcile(found) => {
                    assert_eq!(self.nodes[node].store.reconcile(&found).unwrap().len(), found.len());
                }
                Action::Pushed { result, .. } => self.nodes[node].pushed = Some(result),
                Action::Here { block, source, .. } => self.nodes[node].sources.push((block, source)),
                Action::Missing { .. } | Action::Purge(_) | Action::Pulled(_) | Action::Reconciled(_) => {}
                Action::Refused { why, .. } => panic!("{why}"),
            }
        }
    }

    fn send(&mut self, from: usize, to: PkiId, message: SignedMessage) {
        self.queue.push_back((
            from,
            usize::from(to.0[0] - 1),
            SignedMessage::decode(message.bytes()).unwrap(),
        ));
    }

    /// Delivers until nothing is under way.
    fn settle(&mut self) {
        while let Some((from, to, message)) = self.queue.pop_front() {
            let (pki_id, stream) = (Self::id(from), StreamId(from as u64));
            match message.content() {
                Some(Content::Ack(ack)) => {
                    let ticket = self.nodes[to].acks.remove(&message.message().nonce).unwrap();
                    let refused = Err(Unacked::Refused(ack.error.clone()));
                    let result = if ack.error.is_empty() { Ok(()) } else { refused };
                    self.private(to, Input::Acked { ticket, result });
                }
                Some(Content::StateRequest(_) | Content::StateResponse(_)) => {
                    self.state(to, state::Input::Message { from: pki_id, stream, message, reader: true });
                }
                _ => {
                    let subject = self.nodes[from].subject.clone();
                    self.private(to, Input::Message { from: pki_id, stream, subject, message, reader: true });
                }
            }
        }
    }

    fn gossip(&mut self, node: usize, block: &Block) {
        let payload = Payload { seq_num: block.number(), data: block.raw().clone(), private_data: vec![] };
        self.state(node, state::Input::Gossiped { from: Self::id(0), payload });
        self.settle();
    }

    fn secrets(&self, node: usize) -> Vec<u64> {
        let store = &self.nodes[node].store;
        let has = |block: &u64| {
            let sets = store.private_of(*block).unwrap();
            sets.iter().for_each(|(_, set)| assert_eq!(set, &secret(*block)));
            !sets.is_empty()
        };
        (1..store.height()).filter(has).collect()
    }
}

#[test]
fn private_data_reaches_every_member_and_nobody_else() {
    // Three members, one that is none, and two of each kind that come late.
    let mut net = Net::new(&["Org1MSP", "Org1MSP", "Org2MSP", "Org3MSP", "Org2MSP", "Org3MSP"]);
    net.meet(&[0, 1, 2, 3]);
    let blocks = private_chain(1, 40);
    for block in &blocks {
        let number = block.number();
        let set =
            PrivateSet { namespace: "cc".into(), collection: "secret".into(), rwset: secret(number).into() };
        let mut out = Vec::new();
        let (now, of) = (Now { mono: net.now, wall: 0 }, &mut net.nodes[0]);
        of.private.push(&format!("tx{number}"), vec![set], number, now, &mut net.rng, &mut out).unwrap();
        net.act(0, out);
        net.settle();
        assert_eq!(net.nodes[0].pushed.take(), Some(Ok(vec![1])));
        (0..4).for_each(|node| net.gossip(node, block));
        assert!((0..4).all(|node| net.nodes[node].store.height() == number + 1));
    }
    let all: Vec<u64> = (1..=40).collect();
    for node in 0..3 {
        assert_eq!(net.secrets(node), all, "node {node}");
        assert_eq!(net.nodes[node].store.transient_len(), 0, "what served is gone");
    }
    let count =
        |node: usize, wanted| net.nodes[node].sources.iter().filter(|(_, source)| *source == wanted).count();
    assert_eq!(count(0, Source::Transient), 40);
    for node in 1..3 {
        assert_eq!(count(node, Source::Transient) + count(node, Source::Pulled), 40);
        assert!(count(node, Source::Pulled) > 5, "only one of the two was pushed to");
    }
    assert_eq!((net.secrets(3), net.nodes[3].sources.len()), (vec![], 0));
    assert_eq!(net.nodes[3].store.missing(u64::MAX, 100).unwrap().len(), 40);
    // Late nodes: blocks come with the private data that each may have.
    net.meet(&[0, 1, 2, 3, 4, 5]);
    net.settle();
    assert_eq!((net.nodes[4].store.height(), net.nodes[5].store.height()), (41, 41));
    assert_eq!((net.secrets(4), net.secrets(5)), (all.clone(), vec![]));
    assert!(
        net.nodes[4].sources.iter().all(|(_, source)| matches!(source, Source::WithBlock | Source::Pulled))
    );
    assert!(net.nodes[4].sources.iter().any(|(_, source)| *source == Source::WithBlock));
    // A peer that becomes a member gets the rest by reconciliation.
    let everybody = FILE.replace("'Org2MSP.member'", "'Org2MSP.member', 'Org3MSP.member'");
    for node in 0..6 {
        net.nodes[node].private.collections_mut().define("cc", from_json("cc", &everybody).unwrap()).unwrap();
    }
    net.now += Duration::from_secs(61);
    for node in [3, 5] {
        net.private(node, Input::Tick);
        net.settle();
        net.now += Duration::from_secs(61);
        net.private(node, Input::Tick);
        net.settle();
        assert_eq!(net.secrets(node), all, "node {node}");
        assert!(net.nodes[node].store.missing(u64::MAX, 100).unwrap().is_empty());
    }
}
