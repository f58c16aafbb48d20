//! Members that mean harm, over real sessions with TLS: what they send is refused with a reason, counted and bounded, and the
//! session stays.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)] // tests

mod common;

use bytes::Bytes;
use common::{CHANNEL, Keys, Member, ORG, PATIENCE, Plan, block, chain, channel, ledger_of, until};
use prost::Message;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use switchboard::{BoxFuture, Env, ProtocolError};
use switchboard_fabric::gossip::{GossipPeer, Handler, Received};
use switchboard_fabric::message::{
    Content, Envelope, GossipMessage, LeadershipMessage, Payload, PeerTime, PrivateDataMessage,
    PrivatePayload, PvtDataDigest, PvtDataElement, RemotePvtDataRequest, RemotePvtDataResponse,
    RemoteStateRequest, RemoteStateResponse, Tag,
};
use switchboard_fabric_gossip::block::Block;
use switchboard_fabric_gossip::privdata::collections::from_json;
use switchboard_fabric_gossip::privdata::{Collections, MAX_DIGESTS, MAX_REQUESTS};
use switchboard_fabric_gossip::shell::{ShellEvent, StateSaid};
use tokio::sync::mpsc;
use tokio::time::timeout;

const STATE_REQUEST: u32 = 18;
const STATE_RESPONSE: u32 = 19;
const LEADERSHIP: u32 = 20;
const PRIVATE_REQUEST: u32 = 23;
const PRIVATE_RESPONSE: u32 = 24;
const PRIVATE_DATA: u32 = 25;

/// Takes one content away from its member's gossip, and remembers its session.
struct Spy {
    content: u32,
    session: Mutex<Option<GossipPeer>>,
    taken: mpsc::Sender<GossipMessage>,
}

impl Spy {
    fn new(content: u32) -> (Arc<Self>, mpsc::Receiver<GossipMessage>) {
        let (taken, messages) = mpsc::channel(4_096);
        (Arc::new(Self { content, session: Mutex::default(), taken }), messages)
    }

    async fn session(&self) -> GossipPeer {
        let session = || self.session.lock().unwrap().clone();
        until("a session", || session().is_some()).await;
        session().unwrap()
    }

    async fn send(&self, content: u32, message: &GossipMessage) {
        let bytes = Bytes::from(message.unsigned().encode_to_vec());
        self.session().await.send(content, bytes).await.unwrap();
    }
}

impl Handler for Spy {
    fn started(&self, with: &GossipPeer) {
        *self.session.lock().unwrap() = Some(with.clone());
    }

    fn wants(&self, content: u32, _: &[u8]) -> bool {
        content == self.content
    }

    fn handle<'a>(
        &'a self,
        _: &'a GossipPeer,
        received: Received<'a>,
    ) -> BoxFuture<'a, Result<(), ProtocolError>> {
        Box::pin(async move {
            let _ = self.taken.try_send(received.decode()?);
            Ok(())
        })
    }
}

async fn next(messages: &mut mpsc::Receiver<GossipMessage>, what: &str) -> GossipMessage {
    let next = timeout(PATIENCE, messages.recv()).await;
    next.unwrap_or_else(|_| panic!("no {what} in time")).expect("the spy lives")
}

fn state(nonce: u64, content: Content) -> GossipMessage {
    GossipMessage::new(Tag::ChanOrOrg, CHANNEL.as_bytes(), nonce, content)
}

fn request(nonce: u64, start: u64, end: u64) -> GossipMessage {
    state(nonce, Content::StateRequest(RemoteStateRequest { start_seq_num: start, end_seq_num: end }))
}

fn payload(block: &Block) -> Payload {
    Payload { seq_num: block.number(), data: block.raw().clone(), private_data: Vec::new() }
}

/// Waits until everybody knows everybody.
async fn met(members: &[&Member]) {
    for member in members {
        let all = || member.shell.look(|gossip| gossip.peers().count()) == Some(members.len() - 1);
        until("full membership", all).await;
    }
}

/// What of state transfer a member refused, until something was refused for each of these reasons.
async fn refusals(member: &mut Member, mut wanted: BTreeSet<&'static str>) {
    while !wanted.is_empty() {
        let what = format!("refusal for {wanted:?}");
        let refused =
            |event: &ShellEvent| matches!(event, ShellEvent::State { said: StateSaid::Refused { .. }, .. });
        if let ShellEvent::State { said: StateSaid::Refused { why, .. }, .. } =
            member.event(&what, refused).await
        {
            wanted.retain(|wanted| !why.contains(wanted));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_requests_that_ask_for_nothing_or_too_much() {
    let env = Env::system().unwrap();
    let keys = Keys::new(ORG, 2, &env);
    let blocks = chain(30, 100);
    let plan = Plan::new(None).with(|plan| {
        plan.store = Some(ledger_of(&blocks));
        plan.config.state.enabled = true;
    });
    let mut victim = plan.start(&keys, 0, &env).await;
    let (spy, mut answers) = Spy::new(STATE_RESPONSE);
    let plan = Plan::new(Some(&victim)).with(|plan| plan.spy = Some(spy.clone()));
    let attacker = plan.start(&keys, 1, &env).await;
    met(&[&victim, &attacker]).await;
    let before = spy.session().await.peer().id();

    for (start, end) in [(5, 3), (1, 1_000_000), (0, u64::MAX), (u64::MAX, 0)] {
        spy.send(STATE_REQUEST, &request(7, start, end)).await;
    }
    refusals(&mut victim, BTreeSet::from(["backwards", "a batch has"])).await;
    // Of a channel that is not joined, and of none.
    for name in [&b"elsewhere"[..], b""] {
        let content = Content::StateRequest(RemoteStateRequest { start_seq_num: 1, end_seq_num: 2 });
        spy.send(STATE_REQUEST, &GossipMessage::new(Tag::ChanOrOrg, name, 8, content)).await;
    }
    until("messages of other channels are refused", || victim.refused("not joined") == 2).await;
    let refused = |victim: &Member| victim.job().figures().state.refused;
    until("four are counted", || refused(&victim) == 4).await;
    assert!(answers.try_recv().is_err(), "none of it is answered");

    // A flood: each is answered or refused, and never do more than a quarter of the queue wait.
    const FLOOD: u64 = 500;
    for nonce in 1..=FLOOD {
        spy.send(STATE_REQUEST, &request(1_000 + nonce, 1, 11)).await;
    }
    let handled = || {
        let figures = victim.job().figures().state;
        figures.served + figures.refused == FLOOD + 4
    };
    until("each of the flood is answered or refused", handled).await;
    while answers.try_recv().is_ok() {}
    // And one that is right is answered on the same session, cut to what is there.
    spy.send(STATE_REQUEST, &request(77, 28, 38)).await;
    loop {
        let answer = next(&mut answers, "answer").await;
        let Some(Content::StateResponse(RemoteStateResponse { payloads })) = answer.content else { continue };
        if answer.nonce == 77 {
            assert_eq!(payloads.iter().map(|payload| payload.seq_num).collect::<Vec<_>>(), [28, 29, 30]);
            break;
        }
    }
    assert_eq!(spy.session().await.peer().id(), before);
    assert_eq!(victim.switch.peers().len(), 1, "the peer stays");
    attacker.stop().await;
    victim.stop().await;
}

/// What a lying peer answers to a request for `start ..= end`, one lie after the other; then nothing more.
fn lies(right: &[Block], request: &GossipMessage, turn: usize) -> Option<GossipMessage> {
    let Some(Content::StateRequest(asked)) = &request.content else { return None };
    let (start, end, nonce) = (asked.start_seq_num, asked.end_seq_num, request.nonce);
    let of = |numbers: &mut dyn Iterator<Item = u64>| -> Vec<Payload> {
        numbers.filter_map(|number| right.get(number as usize - 1)).map(payload).collect()
    };
    let response = |nonce, payloads| state(nonce, Content::StateResponse(RemoteStateResponse { payloads }));
    let forged = |number: u64, filling: usize| Payload {
        seq_num: number,
        data: block(number, &[9; 32], filling),
        private_data: Vec::new(),
    };
    Some(match turn {
        // In another order and with holes: what is right of it counts.
        0 => response(nonce, of(&mut (start..=end).rev().filter(|number| number % 3 != 0))),
        // To nothing that was asked.
        1 => response(nonce.wrapping_add(1), of(&mut (start..=end))),
        // Of another channel.
        2 => {
            let payloads = of(&mut (start..=end));
            let content = Content::StateResponse(RemoteStateResponse { payloads });
            GossipMessage::new(Tag::ChanOrOrg, b"elsewhere", nonce, content)
        }
        // Blocks that were not asked for.
        3 => response(nonce, vec![forged(end + 1_000, 10)]),
        // A block whose payload is none; twenty thousand of them.
        4 => response(nonce, vec![Payload { seq_num: start, ..Payload::default() }; 20_000]),
        // Right by itself, but it does not follow the one before.
        5 => response(nonce, (start..=end).map(|number| forged(number, 10)).collect()),
        // A block under another number.
        6 => response(nonce, vec![Payload { seq_num: start, ..forged(start + 1, 10) }]),
        // Larger than the inbox of a content, and no block.
        7 => {
            let data = Bytes::from(vec![0xff; 20 << 20]);
            response(nonce, vec![Payload { seq_num: start, data, private_data: Vec::new() }])
        }
        // Private data for transactions that the block does not have.
        8 => {
            let private_data = vec![Bytes::from_static(b"set"); 9];
            let mut payloads = of(&mut (start..=start));
            payloads.iter_mut().for_each(|payload| payload.private_data.clone_from(&private_data));
            response(nonce, payloads)
        }
        9 => response(nonce, Vec::new()),
        _ => return None,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_responses_that_lie() {
    let env = Env::system().unwrap();
    let keys = Keys::new(ORG, 3, &env);
    let blocks = chain(400, 100);
    let quick = |plan: &mut Plan| {
        plan.config.state.enabled = true;
        plan.config.state.check_interval = Duration::from_millis(100);
        // Short, so that a peer that lied is soon asked again; what is late counts all the same.
        plan.config.state.response_timeout = Duration::from_millis(20);
        plan.config.publish_state_info_interval = Duration::from_millis(200);
        plan.config.request_state_info_interval = Duration::from_millis(200);
    };
    let mut victim = Plan::new(None).with(quick).start(&keys, 0, &env).await;
    let (spy, mut asked) = Spy::new(STATE_REQUEST);
    let plan = Plan::new(Some(&victim)).with(quick).with(|plan| {
        plan.spy = Some(spy.clone());
        plan.store = None;
    });
    let attacker = plan.start(&keys, 1, &env).await;
    met(&[&victim, &attacker]).await;
    attacker.shell.call(|gossip, _, _| gossip.update_ledger_height(&channel(), 401));

    let lying = {
        let (spy, blocks) = (Arc::clone(&spy), blocks.clone());
        tokio::spawn(async move {
            for turn in 0..10 {
                // After the first lie block 3 is the next. Only there it is seen that a block does not follow, and blocks before it are
                // known. Requests come in any order where many are late, and what is missing is asked for again.
                let fits = |request: &GossipMessage| match &request.content {
                    Some(Content::StateRequest(asked)) => match turn {
                        0..=3 => true,
                        5 => asked.start_seq_num == 3,
                        _ => asked.start_seq_num >= 3,
                    },
                    _ => false,
                };
                let request = loop {
                    let request = next(&mut asked, "request").await;
                    if fits(&request) {
                        break request;
                    }
                };
                let lie = lies(&blocks, &request, turn).unwrap();
                spy.send(STATE_RESPONSE, &lie).await;
            }
            asked
        })
    };
    let reasons = [
        "a response to nothing that was asked",
        "was not asked for",
        "a payload without a block",
        "previous hash",
        "under the number",
        "not a block",
        "more private data",
        "an empty response",
    ];
    refusals(&mut victim, BTreeSet::from(reasons)).await;
    until("the answer of another channel is refused", || victim.refused("not joined") == 1).await;
    let figures = victim.job().figures().state;
    assert!(figures.refused >= reasons.len() as u64 && figures.most_bytes < 64 << 20, "{figures:?}");
    // It is asked again, and answers nothing more; who is honest is asked then.
    let _asked = lying.await.unwrap();
    let plan = Plan::new(Some(&victim)).with(quick).with(|plan| plan.store = Some(ledger_of(&blocks)));
    let honest = plan.start(&keys, 2, &env).await;
    until("the height of the honest peer", || victim.job().height() == 401).await;
    assert!(!attacker.switch.peers().is_empty() && victim.switch.peers().len() == 2, "both peers stay");
    honest.stop().await;
    attacker.stop().await;
    victim.stop().await;
}

/// A leadership message with its author's signature.
fn leadership(author: &Member, inc: u64, seq: u64) -> Bytes {
    let timestamp = Some(PeerTime { inc_num: inc, seq_num: seq });
    let body = LeadershipMessage { pki_id: author.id().to_bytes(), timestamp, is_declaration: true };
    let message = GossipMessage::new(Tag::ChanAndOrg, CHANNEL.as_bytes(), 0, Content::LeadershipMsg(body));
    let payload = Bytes::from(message.encode_to_vec());
    let signature = author.shell.crypto().host().crypto.sign(&payload).unwrap();
    Envelope { payload, signature, secret_envelope: None }.encode_to_vec().into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_that_is_replayed_or_of_the_future_or_of_others() {
    let env = Env::system().unwrap();
    let (keys, other) = (Keys::new(ORG, 2, &env), Keys::new("Org2MSP", 1, &env));
    let elects = |plan: &mut Plan| {
        plan.external = true;
        plan.others = vec![("Org2MSP".to_owned(), other.msp())];
        plan.config.use_leader_election = true;
        plan.config.org_leader = false;
        plan.config.election.startup_grace_period = Duration::from_millis(200);
        plan.config.election.membership_sample_interval = Duration::from_millis(50);
        plan.config.election.leader_election_duration = Duration::from_millis(500);
        plan.config.election.leader_alive_threshold = Duration::from_secs(2);
    };
    let mut victim = Plan::new(None).with(elects).start(&keys, 0, &env).await;
    // The attackers never stand by themselves.
    let idle = |plan: &mut Plan| {
        elects(plan);
        plan.config.use_leader_election = false;
        plan.store = None;
    };
    let (spy, _messages) = Spy::new(LEADERSHIP);
    let plan = Plan::new(Some(&victim)).with(idle).with(|plan| plan.spy = Some(spy.clone()));
    let attacker = plan.start(&keys, 1, &env).await;
    let (stranger_spy, _told) = Spy::new(LEADERSHIP);
    let plan = Plan::new(None).with(idle).with(|plan| {
        plan.others = vec![(ORG.to_owned(), keys.msp())];
        plan.spy = Some(stranger_spy.clone());
    });
    let stranger = plan.start(&other, 0, &env).await;
    let at = stranger.switch.parse(&format!("fabric://{}", victim.endpoint)).unwrap();
    stranger.switch.add_static(at).await;
    met(&[&victim, &attacker]).await;
    let own = victim.id();
    let leads = |event: &ShellEvent, by| matches!(event, ShellEvent::Gossip(switchboard_fabric_gossip::Event::Leader { pki_id, .. }) if *pki_id == by);
    victim.event("leader", |event| leads(event, Some(own))).await;

    let session = spy.session().await;
    let wall = env.wall().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    const YEAR: u64 = 365 * 86_400 * 1_000_000_000;
    session.send(LEADERSHIP, leadership(&attacker, wall + YEAR, 1)).await.unwrap();
    until("one of the future is refused", || victim.refused("from the future") == 1).await;
    // Of another organisation: its own, and one of ours that it passes on.
    let foreign = stranger_spy.session().await;
    foreign.send(LEADERSHIP, leadership(&stranger, wall, 1)).await.unwrap();
    foreign.send(LEADERSHIP, leadership(&attacker, wall, 1)).await.unwrap();
    until("those of others are refused", || victim.refused("of another organisation") == 2).await;
    // Forged: another's name under its own signature.
    let mut forged = Envelope::decode(leadership(&attacker, wall, 2)).unwrap();
    forged.signature = stranger.shell.crypto().host().crypto.sign(&forged.payload).unwrap();
    session.send(LEADERSHIP, forged.encode_to_vec().into()).await.unwrap();
    until("a forged one is refused", || victim.refused("a wrong signature") == 1).await;

    // A right one counts once. Replays keep nobody in office: the victim leads again, whoever has the lower PKI-ID.
    let declared = leadership(&attacker, wall, 3);
    session.send(LEADERSHIP, declared.clone()).await.unwrap();
    if attacker.id() < own {
        let lower = Some(attacker.id());
        victim.event("leader with the lower id", |event| leads(event, lower)).await;
        let replaying = tokio::spawn({
            let (session, declared) = (session.clone(), declared.clone());
            async move {
                loop {
                    let _ = session.send(LEADERSHIP, declared.clone()).await;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        });
        victim.event("leader in spite of replays", |event| leads(event, Some(own))).await;
        replaying.abort();
    } else {
        for _ in 0..1_000 {
            session.send(LEADERSHIP, declared.clone()).await.unwrap();
        }
        // Something that is handled after them shows that they were handled.
        session.send(LEADERSHIP, leadership(&attacker, wall + YEAR, 2)).await.unwrap();
        until("they are handled", || victim.refused("from the future") == 2).await;
    }
    assert_eq!(victim.shell.look(|gossip| gossip.leader(&channel())).unwrap(), Some(own));
    assert_eq!(victim.switch.peers().len(), 2, "both peers stay");
    for member in [attacker, stranger, victim] {
        member.stop().await;
    }
}

const COLLECTIONS: &str = r#"[{"name": "own", "policy": "OR('Org1MSP.member')", "maxPeerCount": 1}]"#;

fn private(nonce: u64, content: Content) -> GossipMessage {
    GossipMessage::new(Tag::ChanOnly, CHANNEL.as_bytes(), nonce, content)
}

fn pushed(nonce: u64, collection: &str, set: &'static [u8]) -> GossipMessage {
    let payload = PrivatePayload {
        collection_name: collection.to_owned(),
        namespace: "cc".to_owned(),
        tx_id: format!("tx{nonce}"),
        private_rwset: Bytes::from_static(set),
        private_sim_height: u64::MAX,
        ..PrivatePayload::default()
    };
    private(nonce, Content::PrivateData(PrivateDataMessage { payload: Some(payload) }))
}

fn digests(nonce: u64, count: usize) -> GossipMessage {
    let digest = |n| PvtDataDigest {
        tx_id: format!("tx{n}"),
        namespace: "cc".to_owned(),
        collection: "own".to_owned(),
        block_seq: n as u64,
        seq_in_block: u64::MAX,
    };
    private(nonce, Content::PrivateReq(RemotePvtDataRequest { digests: (0..count).map(digest).collect() }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn private_data_without_right_or_by_the_thousand() {
    let env = Env::system().unwrap();
    let (keys, other) = (Keys::new(ORG, 1, &env), Keys::new("Org2MSP", 1, &env));
    let blocks = chain(5, 100);
    let plan = Plan::new(None).with(|plan| {
        plan.external = true;
        plan.others = vec![("Org2MSP".to_owned(), other.msp())];
        plan.store = Some(ledger_of(&blocks));
        let mut collections =
            Collections::new(ORG, plan.config.pvt_data.implicit_collection_dissemination_policy.clone());
        collections.define("cc", from_json("cc", COLLECTIONS).unwrap()).unwrap();
        plan.collections = Some(collections);
    });
    let mut victim = plan.start(&keys, 0, &env).await;
    let (spy, mut answers) = Spy::new(PRIVATE_RESPONSE);
    let plan = Plan::new(None).with(|plan| {
        plan.external = true;
        plan.store = None;
        plan.others = vec![(ORG.to_owned(), keys.msp())];
        plan.spy = Some(spy.clone());
    });
    let attacker = plan.start(&other, 0, &env).await;
    let at = attacker.switch.parse(&format!("fabric://{}", victim.endpoint)).unwrap();
    attacker.switch.add_static(at).await;
    let session = spy.session().await;

    // Sets that it may not write, of a collection that nobody knows, without anything in them.
    for (nonce, collection, set, why) in [
        (11, "own", &b"set"[..], "no member of collection"),
        (12, "unheard", b"set", "not known here"),
        (13, "own", b"", "without private data"),
    ] {
        let message = pushed(nonce, collection, set);
        let bytes = Bytes::from(message.unsigned().encode_to_vec());
        let refused = session.send_with_ack(PRIVATE_DATA, bytes, nonce, PATIENCE).await.unwrap_err();
        assert!(refused.to_string().contains(why), "{refused}");
    }
    assert_eq!(victim.job().figures().private.received, 0);
    // Digests by the thousand, in one request and in many.
    spy.send(PRIVATE_REQUEST, &digests(21, MAX_DIGESTS + 1)).await;
    spy.send(PRIVATE_REQUEST, &digests(22, 60_000)).await;
    refusals(&mut victim, BTreeSet::from(["digests in one request"])).await;
    const FLOOD: u64 = 3 * MAX_REQUESTS as u64;
    for nonce in 0..FLOOD {
        spy.send(PRIVATE_REQUEST, &digests(1_000 + nonce, 500)).await;
    }
    let handled = || {
        let figures = victim.job().figures().private;
        figures.served + figures.refused == FLOOD + 5
    };
    until("each of the flood is answered or refused", handled).await;
    // Answers to nothing that was asked.
    let element = PvtDataElement { digest: None, payload: vec![Bytes::from_static(b"set"); 100] };
    let elements = vec![element; 100];
    spy.send(PRIVATE_RESPONSE, &private(31, Content::PrivateRes(RemotePvtDataResponse { elements }))).await;
    refusals(&mut victim, BTreeSet::from(["to nothing that was asked"])).await;
    // Without a right, an answer holds nothing.
    while answers.try_recv().is_ok() {}
    spy.send(PRIVATE_REQUEST, &digests(41, 3)).await;
    loop {
        let answer = next(&mut answers, "answer").await;
        let Some(Content::PrivateRes(RemotePvtDataResponse { elements })) = answer.content else { continue };
        if answer.nonce == 41 {
            assert!(elements.iter().all(|element| element.payload.is_empty()), "{elements:?}");
            break;
        }
    }
    assert_eq!(victim.switch.peers().len(), 1, "the peer stays");
    attacker.stop().await;
    victim.stop().await;
}
