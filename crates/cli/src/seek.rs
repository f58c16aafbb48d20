//! What `discv4` and `discv5` share: asking one node, and walking a network.

use crate::fail::Fail;
use crate::node::stop_signal;
use crate::nodeset::{self, Entry, NodeSet};
use crate::output::Output;
use serde_json::{Value, json};
use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use switchboard::Env;
use switchboard_discv::udp::{Bootnode, Discovery, DiscoveryConfig, Version, Versions};
use switchboard_discv::{Node, NodeId};
use switchboard_enr::{NodeKey, Record};
use switchboard_node::settings::parse_duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

/// Nodes that a crawl remembers; further ones are passed over.
const MAX_CRAWLED: usize = 100_000;
/// How often each node of a crawl is asked for others, with other targets.
const ROUNDS: u64 = 4;

/// How a query is made.
#[derive(clap::Args, Debug, Clone)]
pub(crate) struct Common {
    /// A node to start from, as an enode URL or a record; may be repeated. No others are asked first.
    #[arg(long, value_delimiter = ',')]
    bootnode: Vec<Bootnode>,
    /// Where to listen (UDP). Nodes elsewhere are reached with 0.0.0.0:0.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// How long the whole run may take, as in 5s or 2m.
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
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

/// Starts discovery of one version, for this run only.
async fn start(common: &Common, version: Version, env: &Env) -> Result<Discovery, Fail> {
    let key = Arc::new(NodeKey::generate(|| env.random()));
    let mut config = DiscoveryConfig::new(key, common.listen);
    config.versions = Versions { v4: version == Version::V4, v5: version == Version::V5 };
    config.bootnodes.clone_from(&common.bootnode);
    Discovery::start(config, env.clone())
        .await
        .map_err(|error| Fail::usage(format!("{error}: choose another --listen")))
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
    let node = whom.node(&env).await.ok_or_else(|| Fail::job(format!("{whom}: no address was found")))?;
    let discovery = start(common, version, &env).await?;
    let asked = async {
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
        Ok::<_, switchboard_discv::udp::AskError>(said)
    };
    let result = timeout(common.timeout, asked).await;
    discovery.stop().await;
    match result {
        Ok(Ok((value, text))) => {
            output.event(&value, &text);
            Ok(())
        }
        Ok(Err(error)) => Err(Fail::job(format!("{}: {error}", node.udp()))),
        Err(_) => Err(Fail::job(format!("{}: no answer within {:?}", node.udp(), common.timeout))),
    }
}

/// What one node of a crawl answered.
struct Visit {
    node: Node,
    record: Option<Node>,
    told: Vec<Node>,
}

async fn visit(discovery: Discovery, version: Version, node: Node, targets: Vec<[u8; 64]>) -> Visit {
    let record = discovery.request_record(version, &node).await.ok();
    let mut told = Vec::new();
    if record.is_some() {
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
    }
    Visit { node, record, told }
}

/// Walks the network from the start nodes, and the nodes of the file if it is there; writes who answered.
pub(crate) async fn crawl(
    common: &Common,
    version: Version,
    out: &Path,
    parallel: usize,
    output: &Output,
) -> Result<(), Fail> {
    let env = Env::system().map_err(Fail::job)?;
    let mut set = match out.exists() {
        true => NodeSet::read(out)?,
        false => NodeSet::default(),
    };
    if common.bootnode.is_empty() && set.nodes.is_empty() {
        return Err(Fail::usage("nobody to start from: add --bootnode URL, or an --out file with nodes"));
    }
    let end = Instant::now() + common.timeout;
    let discovery = start(common, version, &env).await?;
    let mut queue: VecDeque<Node> = VecDeque::new();
    for bootnode in &common.bootnode {
        queue.extend(bootnode.node(&env).await);
    }
    queue.extend(set.nodes.values().filter_map(Entry::node));
    let mut seen: BTreeSet<NodeId> = queue.iter().map(Node::id).collect();
    seen.insert(discovery.id());
    let (mut visits, mut answered, mut silent) = (JoinSet::new(), 0_u64, 0_u64);
    let stop = stop_signal(false)?;
    tokio::pin!(stop);
    loop {
        while visits.len() < parallel.max(1)
            && let Some(node) = queue.pop_front()
        {
            let targets = (0..ROUNDS).map(|_| env.random()).collect();
            visits.spawn(visit(discovery.clone(), version, node, targets));
        }
        let next = tokio::select! {
            next = timeout_at(end, visits.join_next()) => next,
            () = &mut stop => break,
        };
        let Ok(Some(Ok(Visit { node, record, told }))) = next else { break };
        let now = env.wall().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        match record.as_ref().and_then(Node::record) {
            Some(record) => {
                answered += 1;
                set.answered(record, now);
            }
            None => {
                silent += 1;
                set.silent(&node.id(), now);
            }
        }
        for node in told {
            if seen.len() < MAX_CRAWLED && seen.insert(node.id()) {
                queue.push_back(node);
            }
        }
    }
    visits.abort_all();
    discovery.stop().await;
    set.write(out)?;
    let nodes = set.nodes.len();
    output.event(
        &json!({"event": "crawl", "nodes": nodes, "answered": answered, "silent": silent, "out": out.display().to_string()}),
        &format!("{answered} nodes answered, {silent} did not; {nodes} are in {}", nodeset::shown(out)),
    );
    Ok(())
}

/// Listens and prints what is found, for the given time.
pub(crate) async fn listen(common: &Common, version: Version, output: &Output) -> Result<(), Fail> {
    let env = Env::system().map_err(Fail::job)?;
    let stop = stop_signal(false)?;
    let discovery = start(common, version, &env).await?;
    let mut events = discovery.events();
    let record = discovery.record().to_string();
    output.event(
        &json!({"event": "listening", "address": discovery.local_addr().to_string(), "enr": record}),
        &record,
    );
    let end = tokio::time::sleep(common.timeout);
    tokio::pin!(stop, end);
    loop {
        tokio::select! {
            () = &mut stop => break,
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
    discovery.stop().await;
    Ok(())
}
