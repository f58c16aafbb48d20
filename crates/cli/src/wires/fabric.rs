//! fabric for the command line.

use super::{BenchDriver, Built, KeySource, Kind, Settings};
use crate::fail::{Fail, scratch};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use switchboard::wire::{HandshakeError, Wire};
use switchboard::{Candidate, Env, Protocol};
use switchboard_fabric::bench::{driven, server};
use switchboard_fabric::cast::ChannelName;
use switchboard_fabric::keygen;
use switchboard_fabric::wire::Probed;
use switchboard_fabric::{Fabric, FabricConfig, PeerFolder};
use tokio::sync::mpsc;

/// Folder of the organisation made in a data folder.
const OWN_ORG: &str = "fabric";

fn folder(source: &KeySource, org: &str, env: &Env) -> Result<PeerFolder, Fail> {
    let load = |peer: &Path| PeerFolder::load(peer, org).map_err(Fail::usage);
    match source {
        KeySource::File(path) => load(path),
        KeySource::Data(data) => {
            let own = KeySource::in_data(data, OWN_ORG)?;
            if !own.exists() {
                keygen::keygen(&own, org, 1, env.wall()).map_err(KeySource::data_fails)?;
            }
            load(&own.join("peer0"))
        }
        KeySource::Throwaway => {
            let scratch = scratch()?;
            let own = scratch.path().join(OWN_ORG);
            keygen::keygen(&own, org, 1, env.wall()).map_err(Fail::usage)?;
            load(&own.join("peer0"))
        }
    }
}

fn wire(settings: &Settings, env: &Env) -> Result<Fabric, Fail> {
    let mut config = FabricConfig::new(folder(&settings.key, &settings.org, env)?);
    config.cast_channel = channel(settings)?;
    Fabric::new(config).map_err(Fail::usage)
}

fn channel(settings: &Settings) -> Result<ChannelName, Fail> {
    settings.channel.parse().map_err(|e| Fail::usage(format!("--channel {:?}: {e}", settings.channel)))
}

pub(super) fn build(settings: &Settings, env: &Env) -> Result<Built, Fail> {
    let wire = Arc::new(wire(settings, env)?);
    let (pki_id, org) = (wire.local_id().to_string(), settings.org.clone());
    Ok(Built {
        kind: Kind::Fabric,
        wire,
        ready: Box::new(move |at| match at {
            Some(at) => json!({"endpoint": at.to_string(), "pki_id": pki_id, "msp": org}),
            None => json!({"pki_id": pki_id, "msp": org}),
        }),
        url: Box::new(|at| format!("fabric://{at}")),
        bench: server(),
        cast: switchboard_fabric::cast::channels(&channel(settings)?),
    })
}

pub(super) fn keygen(out: &Path, org: &str, peers: usize, env: &Env) -> Result<Value, Fail> {
    let made = keygen::keygen(out, org, peers, env.wall()).map_err(Fail::usage)?;
    let peers: Vec<_> = made.iter().map(|peer| peer.display().to_string()).collect();
    Ok(json!({"org": org, "peers": peers}))
}

/// One organisation, a peer's folder for each node.
pub(super) fn network_keys(data: &Path, count: usize, env: &Env) -> Result<Vec<KeySource>, Fail> {
    let org = data.join(OWN_ORG);
    let made = keygen::keygen(&org, crate::config::DEFAULT_ORG, count, env.wall()).map_err(Fail::job)?;
    Ok(made.into_iter().map(KeySource::File).collect())
}

pub(super) fn public_forms(path: &Path, org: &str) -> Result<Value, Fail> {
    let folder = PeerFolder::load(path, org).map_err(Fail::usage)?;
    let identity = folder.identity.identity();
    Ok(json!({
        "pki_id": hex::encode(identity.pki_id()),
        "msp": identity.mspid(),
        "subject": identity.subject(),
        "expires_unix": identity.expires_unix(),
    }))
}

pub(super) async fn probe(
    whom: &Candidate,
    settings: &Settings,
    env: &Env,
) -> Result<Result<Probed, HandshakeError>, Fail> {
    let wire = wire(settings, env)?;
    let probe = async { switchboard_fabric::probe(super::connect(env, whom).await?, whom, &wire, env).await };
    Ok(probe.await)
}

pub(super) fn bench_client() -> (Arc<dyn Protocol>, mpsc::Receiver<Box<dyn BenchDriver>>) {
    let (bench, drivers) = driven();
    (bench, super::forward(drivers))
}
