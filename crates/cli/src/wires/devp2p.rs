//! devp2p for the command line.

use super::{BenchDriver, Built, KeySource, Kind, Settings};
use crate::fail::Fail;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use switchboard::wire::{Established, HandshakeError};
use switchboard::{Candidate, Env, Protocol};
use switchboard_cast::ChannelMap;
use switchboard_devp2p::bench::Bench;
use switchboard_devp2p::enr::Record;
use switchboard_devp2p::{Devp2p, Devp2pConfig, NodeKey};
use tokio::sync::mpsc;

fn key(source: &KeySource, env: &Env) -> Result<NodeKey, Fail> {
    match source {
        KeySource::File(path) => NodeKey::load(path).map_err(Fail::usage),
        KeySource::Data(data) => {
            let path = KeySource::in_data(data, "nodekey")?;
            NodeKey::load_or_create(&path, || env.random()).map_err(KeySource::data_fails)
        }
        KeySource::Throwaway => Ok(NodeKey::generate(|| env.random())),
    }
}

fn config(settings: &Settings, env: &Env) -> Result<Devp2pConfig, Fail> {
    Ok(Devp2pConfig::new(Arc::new(key(&settings.key, env)?)))
}

pub(super) fn build(settings: &Settings, env: &Env) -> Result<Built, Fail> {
    let config = config(settings, env)?;
    let wire = Arc::new(Devp2p::new(config.clone()));
    let (for_ready, for_url) = (Arc::clone(&wire), Arc::clone(&wire));
    Ok(Built {
        kind: Kind::Devp2p,
        wire,
        ready: Box::new(move |at| {
            let id = hex::encode(config.key.public().node_id());
            match at {
                Some(at) => json!({"enode": for_ready.enode(at).to_string(), "id": id}),
                None => json!({"id": id}),
            }
        }),
        url: Box::new(move |at| for_url.enode(at).to_string()),
        bench: Bench::server(),
        cast: ChannelMap::plain(0),
    })
}

pub(super) fn keygen(out: &Path, env: &Env) -> Result<Value, Fail> {
    let key = NodeKey::generate(|| env.random());
    key.save(out).map_err(Fail::usage)?;
    Ok(json!({"id": hex::encode(key.public().node_id())}))
}

pub(super) fn public_forms(path: &Path, at: SocketAddr) -> Result<Value, Fail> {
    let key = NodeKey::load(path).map_err(Fail::usage)?;
    // No UDP port, as in the enode: nothing answers discovery there.
    let record = Record::signed(&key, 1, at.ip(), Some(at.port()), None);
    let wire = Devp2p::new(Devp2pConfig::new(Arc::new(key)));
    let enode = wire.enode(at);
    Ok(json!({
        "id": hex::encode(enode.key.node_id()),
        "public_key": format!("{:?}", enode.key),
        "compressed": hex::encode(enode.key.compressed()),
        "enode": enode.to_string(),
        "enr": record.to_string(),
    }))
}

pub(super) async fn probe(
    whom: &Candidate,
    settings: &Settings,
    env: &Env,
) -> Result<Result<Established, HandshakeError>, Fail> {
    let config = config(settings, env)?;
    let probe =
        async { switchboard_devp2p::probe(super::connect(env, whom).await?, whom, &config, env).await };
    Ok(probe.await)
}

pub(super) fn bench_client() -> (Arc<dyn Protocol>, mpsc::Receiver<Box<dyn BenchDriver>>) {
    let (bench, drivers) = Bench::driven();
    (bench, super::forward(drivers))
}
