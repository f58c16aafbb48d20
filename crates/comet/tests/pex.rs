//! Peer exchange through whole Switches: seeds, books, misbehaviour, over pipes in memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

use bytes::Bytes;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use switchboard::net::Network;
use switchboard::net::memory::MemoryNetwork;
use switchboard::{Candidate, Env, Event, Events, Limits, PeerId, Reason, Switch, SwitchBuilder};
use switchboard_comet::pex::ask::{AskError, Asker};
use switchboard_comet::pex::book::{Book, file};
use switchboard_comet::pex::{Options, PeerAddress, Pex, Stamp};
use switchboard_comet::{COMET, Comet, CometConfig, NodeId, NodeKey};
use tokio::time::timeout;

const NETWORK: &str = "pex-net";
const PORT: u16 = 26_656;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

struct Node {
    switch: Switch,
    pex: Pex,
    at: PeerAddress,
    env: Env,
}

fn key(n: u8) -> NodeKey {
    NodeKey::from_seed(&[n; 32]).unwrap()
}

fn at(n: u8) -> PeerAddress {
    PeerAddress::new(key(n).id(), IpAddr::from([20, n, 0, 1]), PORT)
}

fn options(n: u8, seeds: &[u8]) -> Options {
    let mut options = Options::new(key(n).id());
    options.state.seeds = seeds.iter().map(|seed| at(*seed).to_net_address()).collect();
    options
}

async fn node(net: &MemoryNetwork, n: u8, options: Options, book: Option<&Path>) -> Node {
    limited(net, n, options, book, Limits::default()).await
}

async fn limited(net: &MemoryNetwork, n: u8, options: Options, book: Option<&Path>, limits: Limits) -> Node {
    let env = Env::seeded(Arc::new(net.clone()), 1_700_000_000, n.into());
    let pex = match book {
        Some(book) => Pex::open(book, options, env.clone()).unwrap(),
        None => Pex::new(Book::with_key(format!("{n:024x}"), options.strict), options, env.clone()),
    };
    let mut config = CometConfig::new(Arc::new(key(n)), NETWORK);
    // In this network all who dial come from one address.
    config.allow_duplicate_ip = true;
    let comet = Comet::new(config).unwrap();
    let switch = SwitchBuilder::new(env.clone())
        .wire(Arc::new(comet))
        .service(Arc::new(pex.clone()))
        .limits(limits)
        .listen(SocketAddr::new(at(n).ip, PORT), &[])
        .start()
        .await
        .unwrap();
    Node { switch, pex, at: at(n), env }
}

async fn seed(net: &MemoryNetwork, n: u8, seeds: &[u8]) -> Node {
    let mut options = options(n, seeds);
    options.state.seed_mode = true;
    node(net, n, options, None).await
}

fn candidate(at: PeerAddress) -> Candidate {
    Candidate::new(COMET, at.ip.to_string(), at.port).id(PeerId::new(COMET, &at.id.0).unwrap())
}

/// A stranger with a key of its own, who asks.
async fn stranger(net: &MemoryNetwork, n: u8, whom: PeerAddress) -> Asker {
    let env = Env::seeded(Arc::new(net.clone()), 1_700_000_000, n.into());
    let config = CometConfig::new(Arc::new(key(n)), "another name");
    let connection = net.connect(SocketAddr::new(whom.ip, whom.port)).await.unwrap();
    Asker::connect(connection, &candidate(whom), &config, &env).await.unwrap()
}

async fn until(what: &str, limit: Duration, done: impl Fn() -> bool) {
    let waiting = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    assert!(timeout(limit, waiting).await.is_ok(), "{what}: not within {limit:?}");
}

async fn dropped(events: &mut Events) -> Reason {
    let end = async {
        loop {
            if let Event::PeerDropped { end, .. } = events.recv().await.unwrap() {
                return end.reason;
            }
        }
    };
    timeout(secs(60), end).await.expect("no session ended")
}

fn knows(node: &Node, id: &NodeId) -> bool {
    node.pex.look(|state| state.book().get(id).is_some())
}

#[tokio::test(start_paused = true)]
async fn nodes_that_know_only_a_seed_find_one_another() {
    let net = MemoryNetwork::default();
    let seed = seed(&net, 1, &[]).await;
    let mut nodes = Vec::new();
    for n in 2..8 {
        nodes.push(node(&net, n, options(n, &[1]), None).await);
    }
    until("three peers each", secs(60), || nodes.iter().all(|node| node.switch.peers().len() >= 3)).await;
    assert!(nodes.iter().all(|node| knows(&seed, &node.at.id)), "learnt by their listening address");
    for node in nodes {
        node.switch.stop().await;
    }
    seed.switch.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_seed_that_knows_only_a_seed_knows_the_network() {
    let net = MemoryNetwork::default();
    let first = seed(&net, 1, &[]).await;
    let mut nodes = Vec::new();
    for n in 3..10 {
        nodes.push(node(&net, n, options(n, &[1]), None).await);
    }
    let second = seed(&net, 2, &[1]).await;
    until("the network", secs(40), || nodes.iter().all(|node| knows(&second, &node.at.id))).await;
    assert!(knows(&first, &second.at.id) || knows(&second, &first.at.id));
}

#[tokio::test(start_paused = true)]
async fn a_seed_answers_once_hangs_up_and_takes_the_next_dial() {
    let net = MemoryNetwork::default();
    let node = seed(&net, 1, &[]).await;
    let known = at(50);
    let (now, env) = (Stamp::from(node.env.wall()), node.env.clone());
    let mut rng = <rand_chacha::ChaCha20Rng as rand::SeedableRng>::from_seed(env.random());
    node.pex.change_book(|book| book.add(known, known, now, &mut rng)).unwrap();
    for _ in 0..4 {
        let mut asker = stranger(&net, 9, node.at).await;
        let answer = asker.ask().await.unwrap();
        assert_eq!(answer.addresses, [known]);
        let gone = timeout(secs(5), asker.ask()).await.expect("still there after 5 s");
        assert!(matches!(gone, Err(AskError::Closed)), "{gone:?}");
        until("the seed's own end", secs(5), || node.switch.peers().is_empty()).await;
        tokio::time::sleep(secs(3)).await;
    }
    let answered = node.pex.look(|state| state.counters().answered);
    assert_eq!(answered, 4);
    assert!(node.switch.bans().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_third_quick_request_is_a_breach_and_a_ban() {
    let net = MemoryNetwork::default();
    let node = node(&net, 1, options(1, &[]), None).await;
    let mut events = node.switch.events();
    let mut asker = stranger(&net, 9, node.at).await;
    asker.ask().await.unwrap();
    asker.ask().await.unwrap();
    assert!(matches!(asker.ask().await, Err(AskError::Closed)));
    assert_eq!(dropped(&mut events).await, Reason::Breach("pex request too soon"));
    let bans = node.switch.bans().await;
    assert!(bans.iter().any(|ban| ban.who.to_string().contains(&key(9).id().to_string())), "{bans:?}");
    assert!(node.pex.look(|state| state.book().is_banned(&key(9).id(), Stamp::from(node.env.wall()))));
    assert_eq!(node.pex.look(|state| state.counters().breaches), 1);
}

#[tokio::test(start_paused = true)]
async fn the_book_is_saved_and_needs_no_seed_afterwards() {
    let net = MemoryNetwork::default();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("addrbook.json");
    let other = node(&net, 2, options(2, &[]), None).await;
    let seed = seed(&net, 1, &[]).await;
    other.switch.connect_to(candidate(seed.at)).await.unwrap();
    until("the seed", secs(10), || knows(&seed, &other.at.id)).await;
    let first = node(&net, 3, options(3, &[1]), Some(&path)).await;
    until("a peer", secs(60), || first.switch.peers().has(&candidate(other.at).id.unwrap())).await;
    // Every two minutes, not only at the end.
    tokio::time::sleep(secs(125)).await;
    let now = Stamp::from(first.env.wall());
    let saved = |path: &Path| file::load(path, true, now).unwrap().unwrap().0;
    assert!(saved(&path).get(&other.at.id).is_some_and(|known| !known.buckets().is_empty()));
    first.switch.stop().await;
    seed.switch.stop().await;
    until("the end", secs(10), || other.switch.peers().is_empty()).await;
    let again = node(&net, 3, options(3, &[]), Some(&path)).await;
    until("a peer out of the book", secs(60), || again.switch.peers().len() == 1).await;
    again.switch.stop().await;
    assert!(dir.path().join("trust_metric.json").exists());
}

#[tokio::test(start_paused = true)]
async fn a_corrupt_book_is_put_aside_and_told() {
    let net = MemoryNetwork::default();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("addrbook.json");
    std::fs::write(&path, "{\"key\": 7").unwrap();
    let node = node(&net, 1, options(1, &[]), Some(&path)).await;
    assert!(dir.path().join("addrbook.json.corrupt-1").exists());
    assert_eq!(node.pex.look(|state| state.book().len()), 0);
    node.switch.stop().await;
    assert!(file::load(&path, true, Stamp::NEVER).unwrap().is_some(), "a fresh book stands there");
}

#[tokio::test(start_paused = true)]
async fn a_missed_pong_lowers_trust_and_score() {
    let net = MemoryNetwork::default();
    // As many points as one missed pong gives are a ban here, so that the score shows.
    let mut limits = Limits::default();
    limits.score.threshold = 100;
    let node = limited(&net, 1, options(1, &[]), None, limits).await;
    let mut events = node.switch.events();
    // It answers no ping, as nobody reads for it.
    let _silent = stranger(&net, 9, node.at).await;
    let reason = {
        let end = async {
            loop {
                if let Event::PeerDropped { end, .. } = events.recv().await.unwrap() {
                    return end.reason;
                }
            }
        };
        timeout(secs(300), end).await.unwrap()
    };
    assert_eq!(reason, Reason::PongTimeout);
    until("its worth", secs(5), || node.pex.look(|state| state.trust().score(&key(9).id())) < 100).await;
    let bans = node.switch.bans().await;
    let id = key(9).id().to_string();
    assert!(
        bans.iter().any(|ban| ban.who.to_string().contains(&id) && ban.why.contains("missed pong")),
        "{bans:?}"
    );
}

/// Bytes that are no message end the session, and ban nobody.
#[tokio::test(start_paused = true)]
async fn garbage_ends_one_session() {
    let net = MemoryNetwork::default();
    let (a, b) = (node(&net, 1, options(1, &[]), None).await, node(&net, 2, options(2, &[]), None).await);
    let mut events = a.switch.events();
    let peer = b.switch.connect_to(candidate(a.at)).await.unwrap();
    peer.send("pex", switchboard::ChannelId(0), Bytes::from_static(b"\xff\xff")).await.unwrap();
    assert!(matches!(dropped(&mut events).await, Reason::Breach(_)));
    assert!(a.switch.bans().await.is_empty());
}
