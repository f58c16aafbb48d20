//! CometBFT's wire for the front door: `ID@HOST:PORT`, `node_key.json`, the network's name.

mod roles;
mod settings;

use crate::error::NodeError;
use crate::kit::{
    BenchClient, BuildRequest, Built, External, KeyPlan, KeySource, Kit, Reload, Upkeep, forward,
    reload_identity,
};
use crate::settings::{Setting, Values};
use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use switchboard::wire::AddressError;
use switchboard::{Candidate, Env, WireName};
use switchboard_cast::{ChannelMap, Flow, Framing};
use switchboard_comet::bench::Bench;
use switchboard_comet::key::NodeId;
use switchboard_comet::{COMET, Comet, CometConfig, NodeKey, proto};

/// The kit.
#[derive(Debug, Clone, Copy)]
pub struct CometKit;

/// The network's name where none is given.
pub const DEFAULT_NETWORK: &str = "switchboard";
/// First of the three channels of `cast` (docs/cast.md).
const CAST_BASE: u16 = 0x74;
/// File of the key in a data folder (cometbft config/config.go).
const KEY_FILE: &str = "node_key.json";
/// Hex digits of an ID.
const ID_DIGITS: usize = 40;

fn key(source: &KeySource, env: &Env) -> Result<NodeKey, NodeError> {
    match source {
        KeySource::File(path) => NodeKey::load(path).map_err(NodeError::usage),
        KeySource::Data(data) => {
            let path = KeySource::in_data(data, KEY_FILE)?;
            NodeKey::load_or_create(&path, || env.random()).map_err(KeySource::data_fails)
        }
        KeySource::Throwaway => NodeKey::from_seed(&env.random()).map_err(NodeError::job),
    }
}

fn config(request: &BuildRequest<'_>) -> Result<CometConfig, NodeError> {
    let network = request.values.text("network").unwrap_or(DEFAULT_NETWORK);
    let mut config = CometConfig::new(Arc::new(key(request.key, request.env)?), network);
    if let Some(moniker) = request.values.text("moniker") {
        moniker.clone_into(&mut config.moniker);
    }
    roles::configure(request.values, &mut config)?;
    config.listen_addr = request.external.map(|external| format!("tcp://{external}"));
    Ok(config)
}

/// Messages as the bytes of a `BytesValue`.
struct BytesValue;

impl Framing for BytesValue {
    fn prefix(&self, _: Flow, len: usize, out: &mut BytesMut) {
        out.put_u8(0x0a);
        proto::put_uvarint(len as u64, out);
    }

    fn unwrap(&self, message: Bytes) -> Result<Bytes, &'static str> {
        proto::unwrap(&message).map_err(|_| "cast: not a BytesValue")
    }
}

/// The node's key while it runs: another one counts from the next start.
struct KeptKey(NodeId);

impl Upkeep for KeptKey {
    fn reload(&self, request: &BuildRequest<'_>) -> Result<Reload, NodeError> {
        reload_identity(COMET, request.key, |source| Ok(key(source, request.env)?.id() == self.0))
    }
}

impl Kit for CometKit {
    fn name(&self) -> WireName {
        COMET
    }

    fn settings(&self) -> &'static [Setting] {
        settings::SETTINGS
    }

    fn forms(&self) -> &'static str {
        "comet://ID@HOST:PORT or ID@HOST:PORT"
    }

    fn claims(&self, url: &str) -> bool {
        // The network's own form: 40 hex digits and an at sign.
        let native = url
            .split_once('@')
            .is_some_and(|(id, _)| id.len() == ID_DIGITS && id.bytes().all(|b| b.is_ascii_hexdigit()));
        native || url.starts_with("comet:")
    }

    fn parse(&self, url: &str) -> Result<Candidate, AddressError> {
        if url.starts_with("comet:") {
            return switchboard_comet::wire::parse(url);
        }
        switchboard_comet::wire::parse(&format!("comet://{url}"))
    }

    fn stands_alone(&self, values: &Values) -> Result<bool, NodeError> {
        values.switch("seed-mode")
    }

    fn build(&self, request: &BuildRequest<'_>) -> Result<Built, NodeError> {
        let config = config(request)?;
        let (node_id, kept) = (config.key.id(), config.key.id());
        let id = node_id.to_string();
        let wire = Arc::new(Comet::new(config).map_err(NodeError::usage)?);
        let for_url = id.clone();
        Ok(Built::new(wire, move |at| format!("comet://{for_url}@{at}"))
            .ready(move |at| match at {
                Some(at) => json!({"address": format!("{id}@{at}"), "id": id}),
                None => json!({"id": id}),
            })
            .bench(Bench::server())
            .cast(ChannelMap::wrapped(CAST_BASE, BytesValue))
            .roles(roles::roles(request, node_id)?)
            .upkeep(KeptKey(kept)))
    }

    fn keygen(&self, plan: &KeyPlan, env: &Env) -> Result<Value, NodeError> {
        let key = NodeKey::from_seed(&env.random()).map_err(NodeError::job)?;
        key.save_new(&plan.out).map_err(NodeError::usage)?;
        Ok(json!({"id": key.id().to_string()}))
    }

    fn public_forms(&self, path: &Path, _: &str, at: SocketAddr) -> Result<Value, NodeError> {
        let key = NodeKey::load(path).map_err(NodeError::usage)?;
        let id = key.id().to_string();
        Ok(json!({"id": id, "address": format!("{id}@{at}"), "url": format!("comet://{id}@{at}")}))
    }

    fn decode(&self, url: &str) -> Result<Value, AddressError> {
        let candidate = self.parse(url)?;
        let id = candidate.id.map(|id| id.to_string());
        let address = id.as_ref().map(|id| format!("{id}@{}", candidate.authority()));
        Ok(json!({"id": id, "host": candidate.host, "port": candidate.port, "address": address}))
    }

    fn bench_client(&self) -> Option<BenchClient> {
        let (bench, drivers) = Bench::driven();
        Some((bench, forward(drivers)))
    }
}

/// Our address at a place, in the network's own form.
#[must_use]
pub fn address(id: &str, at: &External) -> String {
    format!("{id}@{at}")
}
