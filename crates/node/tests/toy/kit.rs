//! The toy wire's kit: all that the front door has to know of it.

use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use switchboard::wire::AddressError;
use switchboard::{Candidate, Env, WireName};
use switchboard_node::NodeError;
use switchboard_node::kit::{BuildRequest, Built, KeyPlan, KeySource, Kit};
use switchboard_node::settings::{Form, Setting};
use switchboard_toy::{TOY, Toy, ToyKey, parse};

/// The kit.
pub(crate) struct ToyKit;

/// File of the key in a data folder.
const KEY_FILE: &str = "toykey";

const SETTINGS: &[Setting] = &[Setting::one(
    TOY,
    "toy-ping-every",
    Form::Duration,
    "How often a session of the toy wire pings (default: 30s)",
)];

fn key(source: &KeySource, env: &Env) -> Result<ToyKey, NodeError> {
    let load = |path: &Path| ToyKey::load(path).map_err(NodeError::usage);
    match source {
        KeySource::File(path) => load(path),
        KeySource::Data(data) => {
            let path = KeySource::in_data(data, KEY_FILE)?;
            if !path.exists() {
                ToyKey::save_new(&env.random(), &path).map_err(KeySource::data_fails)?;
            }
            load(&path)
        }
        KeySource::Throwaway => ToyKey::from_seed(&env.random()).map_err(NodeError::job),
    }
}

impl Kit for ToyKit {
    fn name(&self) -> WireName {
        TOY
    }

    fn settings(&self) -> &'static [Setting] {
        SETTINGS
    }

    fn forms(&self) -> &'static str {
        "toy://KEY@HOST:PORT"
    }

    fn claims(&self, url: &str) -> bool {
        url.starts_with("toy:")
    }

    fn parse(&self, url: &str) -> Result<Candidate, AddressError> {
        parse(url)
    }

    fn build(&self, request: &BuildRequest<'_>) -> Result<Built, NodeError> {
        let key = Arc::new(key(request.key, request.env)?);
        let mut wire = Toy::new(Arc::clone(&key)).ok_or_else(|| NodeError::job("no identity"))?;
        if let Some(every) = request.values.duration("toy-ping-every")? {
            wire = wire.ping_every(every);
        }
        let id = hex::encode(key.public());
        Ok(Built::new(Arc::new(wire), move |at| format!("toy://{id}@{at}")))
    }

    fn keygen(&self, plan: &KeyPlan, env: &Env) -> Result<Value, NodeError> {
        ToyKey::save_new(&env.random(), &plan.out).map_err(NodeError::usage)?;
        let key = ToyKey::load(&plan.out).map_err(NodeError::usage)?;
        Ok(json!({"id": hex::encode(key.public())}))
    }

    fn public_forms(&self, key: &Path, _: &str, at: SocketAddr) -> Result<Value, NodeError> {
        let id = hex::encode(ToyKey::load(key).map_err(NodeError::usage)?.public());
        Ok(json!({"url": format!("toy://{id}@{at}"), "id": id}))
    }

    fn decode(&self, url: &str) -> Result<Value, AddressError> {
        let candidate = self.parse(url)?;
        let id = candidate.id.map(|id| id.to_string());
        Ok(json!({"id": id, "host": candidate.host, "port": candidate.port}))
    }
}
