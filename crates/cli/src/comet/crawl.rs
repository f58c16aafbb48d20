//! `comet crawl`: everybody who can be reached from one node, by asking each whom it knows.
//!
//! Limits: so many addresses as `--most` says are tried, sixteen at a time, each once, within `--timeout`.

use super::{NODE_LIMIT, asker, whom};
use crate::fail::Fail;
use crate::output::Output;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use switchboard::text::printable;
use switchboard::{Candidate, Env, PeerId};
use switchboard_comet::COMET;
use switchboard_comet::pex::PeerAddress;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

/// Nodes asked at a time.
const AT_ONCE: usize = 16;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The node to begin with, as ID@HOST:PORT.
    url: String,
    /// Most addresses to try.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    most: u32,
    /// How long the crawl may take, as in 60s.
    #[arg(long, default_value = "60s", value_parser = crate::config::span)]
    timeout: std::time::Duration,
}

/// What one node said.
struct Node {
    id: String,
    name: String,
    network: String,
    version: String,
    knows: Vec<PeerAddress>,
    error: Option<String>,
}

async fn visit(whom: Candidate, env: Env) -> (Candidate, Result<Node, String>) {
    let visit = async {
        let mut asker = asker(&whom, &env).await?;
        let info = asker.info();
        let version = info.fields.iter().find(|(name, _)| *name == "version").map(|(_, version)| version);
        let mut node = Node {
            id: asker.id().to_string(),
            name: printable(&info.name),
            network: printable(info.network.as_deref().unwrap_or_default()),
            version: printable(version.map_or("", |version| version)),
            knows: Vec::new(),
            error: None,
        };
        match timeout(NODE_LIMIT, asker.ask()).await {
            Ok(Ok(answer)) => node.knows = answer.addresses,
            Ok(Err(error)) => node.error = Some(printable(&error.to_string())),
            Err(_) => node.error = Some("no answer".to_owned()),
        }
        asker.close().await;
        Ok(node)
    };
    let visited = visit.await;
    (whom, visited)
}

pub(crate) async fn run(args: Args, output: &Output) -> Result<(), Fail> {
    let first = whom(&args.url)?;
    let env = Env::system().map_err(Fail::job)?;
    let most = args.most as usize;
    let deadline = Instant::now() + args.timeout;
    let (mut waiting, mut tried) = (VecDeque::from([first.clone()]), BTreeSet::from([first.to_string()]));
    let (mut under_way, mut reached, mut failed) = (JoinSet::new(), BTreeMap::new(), 0_usize);
    let mut late = false;
    loop {
        while under_way.len() < AT_ONCE
            && let Some(next) = waiting.pop_front()
        {
            under_way.spawn(visit(next, env.clone()));
        }
        let Ok(ended) = timeout_at(deadline, under_way.join_next()).await else {
            late = true;
            break;
        };
        let Some(ended) = ended else { break };
        let (whom, visited) = ended.map_err(Fail::job)?;
        match visited {
            Ok(node) => {
                for known in &node.knows {
                    let Some(id) = PeerId::new(COMET, &known.id.0) else { continue };
                    let next = Candidate::new(COMET, known.ip.to_string(), known.port).id(id);
                    if known.dialable() && tried.len() < most && tried.insert(next.to_string()) {
                        waiting.push_back(next);
                    }
                }
                output.event(
                    &json!({"event": "node", "id": node.id, "address": format!("{}@{}", node.id, whom.authority()),
                        "name": node.name, "network": node.network, "version": node.version,
                        "knows": node.knows.len(), "error": node.error}),
                    &format!("{}@{} {} {} knows {}", node.id, whom.authority(), node.name, node.version, node.knows.len()),
                );
                reached.insert(node.id, whom.authority());
            }
            Err(error) => {
                failed += 1;
                output.event(
                    &json!({"event": "unreachable", "address": whom.to_string(), "reason": error}),
                    &format!("{whom}: {error}"),
                );
            }
        }
    }
    output.event(
        &json!({"event": "crawl", "reached": reached.len(), "failed": failed, "tried": tried.len(),
            "in_time": !late}),
        &format!("{} nodes reached, {failed} not", reached.len()),
    );
    if reached.is_empty() { Err(Fail::job(format!("{first} was not reached"))) } else { Ok(()) }
}
