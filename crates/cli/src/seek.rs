//! What `discv4` and `discv5` share: asking one node, and walking a network.

use crate::fail::Fail;
use crate::node::stop_signal;
use crate::nodeset::{self, Entry, NodeSet};
use crate::output::{Output, reader_gone};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use switchboard::Env;
use switchboard::net::connect_host;
use switchboard_devp2p::Devp2pConfig;
use switchboard_discv::udp::{AskError, Bootnode, Discovery, DiscoveryConfig, Version, Versions};
use switchboard_discv::{Node, NodeId};
use switchboard_enr::{NodeKey, Record};
use switchboard_node::wires::devp2p::bootnode::not_started;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

/// Nodes that a crawl remembers; further ones are passed over.
const MAX_CRAWLED: usize = 100_000;
/// How often a question of discv5 is asked.
const TRIES: u32 = 3;
/// How long a node may take to say which chain it follows.
const STATUS_WITHIN: Duration = Duration::from_secs(10);
/// How often each node of a crawl is asked for others, with other targets.
const ROUNDS: u64 = 4;

/// How a query is made.
#[derive(clap::Args, Debug, Clone)]
pub(crate) struct Common {
    /// A node to start from, as an enode URL or a record; may be repeated. No others are asked first.
    #[arg(long, value_delimiter = ',')]
    bootnode: Vec<Bootnode>,
    /// Where to listen (UDP): nodes elsewhere are reached with 0.0.0.0:0 or [::]:0 (default: loopback, of the
    /// first node's family).
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// How long the whole run may take, as in 5s or 2m.
    #[arg(long, default_value = "10s", value_parser = crate::config::some_time)]
    timeout: Duration,
}

/// A question to one node.
#[derive(Debug, Clone)]
pub(crate) enum Question {
    Ping,
    RequestEnr,
    Resolve,
    Talk { protocol: Vec<u8>, message: Vec<u8> },
}

/// Where to listen for these nodes; an address that reaches none of them is refused, as nobody would answer.
fn listen_for(given: Option<SocketAddr>, nodes: &[SocketAddr]) -> Result<SocketAddr, Fail> {
    let loopback = |v6| if v6 { (Ipv6Addr::LOCALHOST, 0).into() } else { (Ipv4Addr::LOCALHOST, 0).into() };
    let at = given.unwrap_or_else(|| loopback(nodes.first().is_some_and(SocketAddr::is_ipv6)));
    let family = |node: &SocketAddr| at.is_ipv4() == node.is_ipv4() || at.ip() == Ipv6Addr::UNSPECIFIED;
    let reaches = |node: &SocketAddr| family(node) && (node.ip().is_loopback() || !at.ip().is_loopback());
    match nodes.first().filter(|_| !nodes.iter().any(reaches)) {
        Some(node) => {
            let any = if node.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
            Err(Fail::usage(format!("{node} cannot be reached from {}: add --listen {any}", at.ip())))
        }
        None => Ok(at),
    }
}

/// Starts discovery of one version, for this run only, to reach these nodes.
async fn start(
    common: &Common,
    nodes: &[SocketAddr],
    version: Version,
    env: &Env,
) -> Result<Discovery, Fail> {
    let key = Arc::new(NodeKey::generate(|| env.random()));
    let mut config = DiscoveryConfig::new(key, listen_for(common.listen, nodes)?);
    config.versions = Versions { v4: version == Version::V4, v5: version == Version::V5 };
    config.bootnodes.clone_from(&common.bootnode);
    Ok(Discovery::start(config, env.clone()).await.map_err(not_started)?)
}

fn record_text(node: &Node) -> String {
    node.record().map(|record: &Arc<Record>| record.to_string()).unwrap_or_default()
}

/// Asks one node and prints its answer.
pub(crate) async fn ask(
    common: &Common,
    version: Version,
    whom: &Bootnode,
    question: Question,
    output: &Output,
) -> Result<(), Fail> {
    let env = Env::system().map_err(Fail::job)?;
    let late = || Fail::job(format!("{whom}: no answer within {:?}", common.timeout));
    let end = Instant::now() + common.timeout;
    let node = timeout_at(end, whom.node(&env)).await.map_err(|_| late())?;
    let node = node.ok_or_else(|| Fail::job(format!("{whom}: no address was found")))?;
    let discovery =
        timeout_at(end, start(common, &[node.udp()], version, &env)).await.map_err(|_| late())??;
    let once = || async {
        let id = node.id().to_string();
        let said: (Value, String) = match &question {
            Question::Ping => {
                let pong = discovery.ping(version, &node).await?;
                let ms = pong.rtt.as_secs_f64() * 1e3;
                (
                    json!({"event": "pong", "id": id, "seq": pong.seq, "rtt_ms": ms}),
                    format!("{id} answered in {ms:.1} ms"),
                )
            }
            Question::RequestEnr | Question::Resolve => {
                let found = match question {
                    Question::Resolve => discovery.resolve(version, &node).await?,
                    _ => discovery.request_record(version, &node).await?,
                };
                let record = record_text(&found);
                (json!({"event": "record", "id": id, "seq": found.seq(), "record": record}), record)
            }
            Question::Talk { protocol, message } => {
                let answer = hex::encode(discovery.talk(&node, protocol, message).await?);
                (json!({"event": "talk", "id": id, "answer": answer}), answer)
            }
        };
        Ok::<_, AskError>(said)
    };
    // discv4's requests are repeated by the state; those of discv5, of which one lost packet is the end, are here.
    let asked = async {
        let mut tries = if version == Version::V5 { TRIES } else { 1 };
        loop {
            tries -= 1;
            match once().await {
                Err(AskError::NoAnswer) if tries > 0 => {}
                result => return result,
            }
        }
    };
    let result = timeout_at(end, asked).await;
    // It keeps nothing that could be lost.
    let _ = discovery.stop().await;
    match result {
        Ok(Ok((value, text))) => {
            output.event(&value, &text);
            Ok(())
        }
        Ok(Err(error)) => Err(Fail::job(format!("{}: {error}", node.udp()))),
        Err(_) => Err(Fail::job(format!("{}: no answer within {:?}", node.udp(), common.timeout))),
    }
}

/// What one node of a crawl answered: first who it is, which counts at once, then whom it knows.
enum Visit {
    Answered {
        node: Node,
        record: Option<Node>,
        /// What it said of its chain.
        eth: BTreeMap<String, String>,
    },
    Told(Vec<Node>),
}

/// Asks a node over TCP which chain it follows; nothing where it cannot be reached or does not speak `eth`.
async fn status(node: &Node, env: &Env) -> BTreeMap<String, String> {
    let asked = async {
        let whom =
            node.to_enode().and_then(|enode| switchboard_devp2p::wire::parse(&enode.to_string()).ok())?;
        let config = Devp2pConfig::new(Arc::new(NodeKey::generate(|| env.random())));
        let connection = connect_host(&**env.net(), &whom.host, whom.port, STATUS_WITHIN).await.ok()?;
        let session = switchboard_devp2p::probe(connection, &whom, &config, env).await.ok()?;
        let fields = session.info.fields.clone();
        session.refuse(&switchboard::Reason::Quitting).await;
        Some(fields)
    };
    let fields = timeout(STATUS_WITHIN, asked).await.ok().flatten().unwrap_or_default();
    let eth =
        fields.into_iter().filter_map(|(name, value)| Some((name.strip_prefix("eth_")?.to_owned(), value)));
    eth.filter(|(name, _)| name != "status").collect()
}

async fn visit(discovery: Discovery, version: Version, node: Node, eth: Option<Env>) -> Visit {
    let record = discovery.request_record(version, &node).await.ok();
    let eth = match (&eth, &record) {
        (Some(env), Some(record)) => status(record, env).await,
        _ => BTreeMap::new(),
    };
    Visit::Answered { node, record, eth }
}

async fn neighbours(discovery: Discovery, version: Version, node: Node, targets: Vec<[u8; 64]>) -> Visit {
    let mut told = Vec::new();
    for (round, target) in (0..).zip(targets) {
        let nodes = match version {
            Version::V4 => discovery.find_near(&node, target).await,
            // Three of the farthest distances a round: there most nodes are.
            Version::V5 => {
                let far = 256_u64.saturating_sub(3 * round);
                discovery.find_at(&node, &[far, far.saturating_sub(1), far.saturating_sub(2)]).await
            }
        };
        told.extend(nodes.unwrap_or_default());
    }
    Visit::Told(told)
}

/// Walks the network from the start nodes, and the nodes of the file if it is there; writes who answered.
pub(crate) async fn crawl(
    common: &Common,
    version: Version,
    out: &Path,
    parallel: usize,
    eth: bool,
    output: &Output,
) -> Result<(), Fail> {
    let env = Env::system().map_err(Fail::job)?;
    let mut set = match out.exists() && !nodeset::is_stdout(out) {
        true => NodeSet::read(out)?,
        false => NodeSet::default(),
    };
    if common.bootnode.is_empty() && set.nodes.is_empty() {
        return Err(Fail::usage("nobody to start from: add --bootnode URL, or an --out file with nodes"));
    }
    let end = Instant::now() + common.timeout;
    // Names that nobody resolves in time are passed over, as nodes that do not answer are.
    let mut known = Common { bootnode: Vec::new(), ..common.clone() };
    let mut queue: VecDeque<Node> = VecDeque::new();
    for bootnode in &common.bootnode {
        if let Ok(Some(node)) = timeout_at(end, bootnode.node(&env)).await {
            queue.push_back(node);
            known.bootnode.push(bootnode.clone());
        }
    }
    queue.extend(set.nodes.values().filter_map(Entry::node));
    let nodes: Vec<_> = queue.iter().map(Node::udp).collect();
    let Ok(started) = timeout_at(end, start(&known, &nodes, version, &env)).await else {
        return set.give(out, output).map(|_| ());
    };
    let discovery = started?;
    let mut seen: BTreeSet<NodeId> = [discovery.id()].into();
    queue.retain(|node| seen.insert(node.id()));
    let (mut visits, mut answered, mut silent, mut speak) = (JoinSet::new(), 0_u64, 0_u64, 0_u64);
    let stop = stop_signal(false)?;
    tokio::pin!(stop);
    loop {
        while visits.len() < parallel.max(1)
            && let Some(node) = queue.pop_front()
        {
            visits.spawn(visit(discovery.clone(), version, node, eth.then(|| env.clone())));
        }
        let next = tokio::select! {
            next = timeout_at(end, visits.join_next()) => next,
            () = &mut stop => break,
        };
        let Ok(Some(Ok(visited))) = next else { break };
        let (node, record, eth) = match visited {
            Visit::Answered { node, record, eth } => (node, record, eth),
            Visit::Told(nodes) => {
                for node in nodes {
                    if seen.len() < MAX_CRAWLED && seen.insert(node.id()) {
                        queue.push_back(node);
                    }
                }
                continue;
            }
        };
        let now = env.wall().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        match record.as_ref().and_then(Node::record) {
            Some(record) => {
                answered += 1;
                speak += u64::from(!eth.is_empty());
                set.answered(record, eth, now);
                let targets = (0..ROUNDS).map(|_| env.random()).collect();
                visits.spawn(neighbours(discovery.clone(), version, node, targets));
            }
            None => {
                silent += 1;
                set.silent(&node.id(), now);
            }
        }
    }
    visits.abort_all();
    // It keeps nothing that could be lost.
    let _ = discovery.stop().await;
    let printed = set.give(out, output)?;
    let nodes = set.nodes.len();
    let text =
        format!("nodes that answered: {answered}, silent: {silent}; in {}: {nodes}", nodeset::shown(out));
    output.event(
        &json!({"event": "crawl", "nodes": nodes, "answered": answered, "silent": silent, "eth": speak, "out": out.display().to_string()}),
        // On standard output the nodes stand alone, so that a program can read them.
        if printed { "" } else { &text },
    );
    Ok(())
}

/// Listens and prints what is found, for the given time.
pub(crate) async fn listen(common: &Common, version: Version, output: &Output) -> Result<(), Fail> {
    let env = Env::system().map_err(Fail::job)?;
    let stop = stop_signal(false)?;
    let end = Instant::now() + common.timeout;
    let mut nodes = Vec::new();
    for bootnode in &common.bootnode {
        nodes.extend(timeout_at(end, bootnode.node(&env)).await.ok().flatten().map(|node| node.udp()));
    }
    let Ok(started) = timeout_at(end, start(common, &nodes, version, &env)).await else { return Ok(()) };
    let discovery = started?;
    let mut events = discovery.events();
    let record = discovery.record().to_string();
    output.event(
        &json!({"event": "listening", "address": discovery.local_addr().to_string(), "enr": record}),
        &record,
    );
    let end = tokio::time::sleep_until(end);
    let gone = reader_gone();
    tokio::pin!(stop, end, gone);
    loop {
        tokio::select! {
            () = &mut stop => break,
            () = &mut gone => break,
            () = &mut end => break,
            event = events.recv() => match event {
                Ok(switchboard_discv::udp::Event::Added(_, node)) => {
                    let (id, at) = (node.id().to_string(), node.udp().to_string());
                    output.event(&json!({"event": "node", "id": id, "address": at}), &format!("{id} {at}"));
                }
                Ok(_) | Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
                Err(tokio::sync::broadcast::error::RecvError::Closed) => break,
            },
        }
    }
    // It keeps nothing that could be lost.
    let _ = discovery.stop().await;
    Ok(())
}
