//! Ethereum's wire for the front door: enode and ENR, geth's key file, discovery, the bootnode.

pub mod bootnode;
mod chain;
pub mod discovery;
pub mod info;

use crate::error::NodeError;
use crate::kit::{
    BenchClient, BuildRequest, Built, External, Gauge, KeyPlan, KeySource, Kit, Reload, Roles, Upkeep,
    forward, reload_identity,
};
use crate::settings::Setting;
use chain::Followed;
use discovery::{DiscoveryService, DiscoverySettings};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use switchboard::service::Service;
use switchboard::text::{printable, printable_bytes};
use switchboard::wire::AddressError;
use switchboard::{BoxFuture, Candidate, Env, WireName};
use switchboard_cast::ChannelMap;
use switchboard_devp2p::bench::Bench;
use switchboard_devp2p::{DEVP2P, Devp2p, Devp2pConfig};
use switchboard_enr::enode::Endpoint;
use switchboard_enr::{Enode, NodeKey, Record};

/// The kit.
#[derive(Debug, Clone, Copy)]
pub struct Devp2pKit;

/// File of the key in a data folder (go-ethereum node/config.go, datadirPrivateKey).
const KEY_FILE: &str = "nodekey";

fn key(source: &KeySource, env: &Env) -> Result<NodeKey, NodeError> {
    match source {
        KeySource::File(path) => NodeKey::load(path).map_err(NodeError::usage),
        KeySource::Data(data) => {
            let path = KeySource::in_data(data, KEY_FILE)?;
            NodeKey::load_or_create(&path, || env.random()).map_err(KeySource::data_fails)
        }
        KeySource::Throwaway => Ok(NodeKey::generate(|| env.random())),
    }
}

fn config(request: &BuildRequest<'_>) -> Result<Devp2pConfig, NodeError> {
    Ok(Devp2pConfig::new(Arc::new(key(request.key, request.env)?)))
}

/// A record's entries: those everybody knows by their value, the others in hexadecimal.
fn record(record: &Record) -> Value {
    let (entries, key) = (record.entries(), record.key());
    let raw: serde_json::Map<_, _> =
        entries.iter().map(|(name, value)| (printable_bytes(name), hex::encode(value).into())).collect();
    let mut fields = json!({"id": hex::encode(key.node_id()), "public_key": format!("{key:?}"),
        "compressed": hex::encode(key.compressed()), "seq": record.seq(), "entries": raw});
    for (name, endpoint) in
        [("tcp", entries.tcp_endpoint()), ("udp", entries.udp_endpoint()), ("quic", entries.quic_endpoint())]
    {
        if let Some(at) = endpoint {
            fields[name] = at.to_string().into();
        }
    }
    if let Some(at) = entries.tcp_endpoint() {
        (fields["host"], fields["port"]) = (at.ip().to_string().into(), at.port().into());
    }
    fields
}

fn enode(wire: &Devp2p, at: &External, udp: u16) -> Enode {
    let any = SocketAddr::from(([127, 0, 0, 1], at.port));
    let mut enode = wire.enode(at.addr().unwrap_or(any));
    enode.endpoint = Some(Endpoint { host: at.host.clone(), tcp: at.port, udp });
    enode
}

/// The node's key while it runs, which another one replaces at the next start, and its discovery.
struct Kept {
    id: [u8; 32],
    discovery: Option<Arc<DiscoveryService>>,
}

impl Upkeep for Kept {
    fn reload(&self, request: &BuildRequest<'_>) -> Result<Reload, NodeError> {
        reload_identity(DEVP2P, request.key, |source| {
            Ok(key(source, request.env)?.public().node_id() == self.id)
        })
    }

    fn gauges(&self) -> BoxFuture<'_, Vec<Gauge>> {
        Box::pin(async {
            match self.discovery.as_ref().and_then(|found| found.running()) {
                Some(running) => discovery::gauges(&running).await,
                None => Vec::new(),
            }
        })
    }
}

impl Kit for Devp2pKit {
    fn name(&self) -> WireName {
        DEVP2P
    }

    fn settings(&self) -> &'static [Setting] {
        discovery::SETTINGS
    }

    fn forms(&self) -> &'static str {
        "enode://KEY@HOST:PORT, enr:…"
    }

    fn claims(&self, url: &str) -> bool {
        url.starts_with("enode:") || url.starts_with("enr:")
    }

    fn parse(&self, url: &str) -> Result<Candidate, AddressError> {
        switchboard_devp2p::wire::parse(url)
    }

    fn build(&self, request: &BuildRequest<'_>) -> Result<Built, NodeError> {
        let config = config(request)?;
        let kept = config.key.public().node_id();
        let id = hex::encode(kept);
        let external = request.external.and_then(External::addr);
        let Followed { chain, protocols } = chain::read(request.values)?;
        let found = DiscoverySettings::read(request.values)?
            .map(|settings| DiscoveryService::new(Arc::clone(&config.key), settings, external, chain));
        let wire = Arc::new(Devp2p::new(config));
        let (for_ready, for_url) = (Arc::clone(&wire), Arc::clone(&wire));
        let service = found.clone().map(|found| -> Arc<dyn Service> { found });
        let (answering, discovered) = (found.clone(), found.clone());
        // The UDP port where discovery answers: the external one, where that is set; 0 for none.
        let udp = move |at: &External| {
            let running = answering.as_ref().and_then(|found| found.running());
            running.map_or(0, |running| external.map_or(running.local_addr().port(), |_| at.port))
        };
        let for_ready_udp = udp.clone();
        Ok(Built::new(wire, move |at| enode(&for_url, at, udp(at)).to_string())
            .ready(move |at| {
                let mut fields = json!({"id": id});
                if let Some(at) = at {
                    fields["enode"] = enode(&for_ready, at, for_ready_udp(at)).to_string().into();
                }
                if let Some(running) = found.as_ref().and_then(|found| found.running()) {
                    fields["enr"] = running.record().to_string().into();
                }
                fields
            })
            .bench(Bench::server())
            .protocols(protocols)
            .cast(ChannelMap::plain(0))
            .roles(Roles { services: service.into_iter().collect(), ..Roles::default() })
            .upkeep(Kept { id: kept, discovery: discovered }))
    }

    fn keygen(&self, plan: &KeyPlan, env: &Env) -> Result<Value, NodeError> {
        let key = NodeKey::generate(|| env.random());
        key.save(&plan.out).map_err(NodeError::usage)?;
        Ok(json!({"id": hex::encode(key.public().node_id())}))
    }

    fn public_forms(&self, path: &Path, _: &str, at: SocketAddr) -> Result<Value, NodeError> {
        let key = NodeKey::load(path).map_err(NodeError::usage)?;
        // One number for TCP and UDP, as a node has it that runs discovery, so that the address is one to start from, too.
        let record = Record::signed(&key, 1, at.ip(), Some(at.port()), Some(at.port()));
        let wire = Devp2p::new(Devp2pConfig::new(Arc::new(key)));
        let place = External { host: at.ip().to_canonical().to_string(), port: at.port() };
        let enode = enode(&wire, &place, at.port());
        Ok(json!({
            "id": hex::encode(enode.key.node_id()),
            "public_key": format!("{:?}", enode.key),
            "compressed": hex::encode(enode.key.compressed()),
            "enode": enode.to_string(),
            "enr": record.to_string(),
        }))
    }

    fn decode(&self, url: &str) -> Result<Value, AddressError> {
        let wrong = |error: &dyn std::fmt::Display| AddressError(format!("{}: {error}", printable(url)));
        if url.starts_with("enr:") {
            return Ok(record(&Record::parse(url).map_err(|error| wrong(&error))?));
        }
        let Enode { key, endpoint } = Enode::parse(url).map_err(|error| wrong(&error))?;
        let mut fields = json!({"id": hex::encode(key.node_id()), "public_key": format!("{key:?}"),
            "compressed": hex::encode(key.compressed())});
        if let Some(Endpoint { host, tcp, udp }) = endpoint {
            (fields["host"], fields["port"], fields["udp"]) = (host.into(), tcp.into(), udp.into());
        }
        Ok(fields)
    }

    fn bench_client(&self) -> Option<BenchClient> {
        let (bench, drivers) = Bench::driven();
        Some((bench, forward(drivers)))
    }
}
