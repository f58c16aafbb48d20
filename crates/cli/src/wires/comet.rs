//! comet for the command line.

use super::{BenchDriver, Built, KeySource, Kind, Settings};
use crate::fail::Fail;
use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use switchboard::wire::{Established, HandshakeError};
use switchboard::{Candidate, Env, Protocol};
use switchboard_cast::{ChannelMap, Framing, Lane};
use switchboard_comet::bench::Bench;
use switchboard_comet::{Comet, CometConfig, NodeKey, proto};
use tokio::sync::mpsc;

/// First of the three channels of `cast` (docs/cast.md).
const CAST_BASE: u16 = 0x74;

fn key(source: &KeySource, env: &Env) -> Result<NodeKey, Fail> {
    match source {
        KeySource::File(path) => NodeKey::load(path).map_err(Fail::usage),
        KeySource::Data(data) => {
            let path = KeySource::in_data(data, "node_key.json")?;
            NodeKey::load_or_create(&path, || env.random()).map_err(KeySource::data_fails)
        }
        KeySource::Throwaway => NodeKey::from_seed(&env.random()).map_err(Fail::job),
    }
}

fn config(settings: &Settings, env: &Env) -> Result<CometConfig, Fail> {
    Ok(CometConfig::new(Arc::new(key(&settings.key, env)?), &settings.network))
}

pub(super) fn build(settings: &Settings, env: &Env) -> Result<Built, Fail> {
    let config = config(settings, env)?;
    let id = config.key.id().to_string();
    let wire = Arc::new(Comet::new(config).map_err(Fail::usage)?);
    let (for_ready, for_url) = (Arc::clone(&wire), Arc::clone(&wire));
    Ok(Built {
        kind: Kind::Comet,
        wire,
        ready: Box::new(move |at| match at {
            Some(at) => json!({"address": for_ready.address(at).to_string(), "id": id}),
            None => json!({"id": id}),
        }),
        url: Box::new(move |at| format!("comet://{}", for_url.address(at))),
        bench: Bench::server(),
        cast: ChannelMap::wrapped(CAST_BASE, BytesValue),
    })
}

/// Messages as the bytes of a `BytesValue`.
struct BytesValue;

impl Framing for BytesValue {
    fn prefix(&self, _: Lane, len: usize, out: &mut BytesMut) {
        out.put_u8(0x0a);
        proto::put_uvarint(len as u64, out);
    }

    fn unwrap(&self, message: Bytes) -> Result<Bytes, &'static str> {
        proto::unwrap(&message).map_err(|_| "cast: not a BytesValue")
    }
}

pub(super) fn keygen(out: &Path, env: &Env) -> Result<Value, Fail> {
    let key = NodeKey::from_seed(&env.random()).map_err(Fail::job)?;
    key.save_new(out).map_err(Fail::usage)?;
    Ok(json!({"id": key.id().to_string()}))
}

pub(super) fn public_forms(path: &Path, at: SocketAddr) -> Result<Value, Fail> {
    let key = NodeKey::load(path).map_err(Fail::usage)?;
    let id = key.id().to_string();
    Ok(json!({"id": id, "address": format!("{id}@{at}"), "url": format!("comet://{id}@{at}")}))
}

pub(super) async fn probe(
    whom: &Candidate,
    settings: &Settings,
    env: &Env,
) -> Result<Result<Established, HandshakeError>, Fail> {
    let config = config(settings, env)?;
    let probe =
        async { switchboard_comet::probe(super::connect(env, whom).await?, whom, &config, env).await };
    Ok(probe.await)
}

pub(super) fn bench_client() -> (Arc<dyn Protocol>, mpsc::Receiver<Box<dyn BenchDriver>>) {
    let (bench, drivers) = Bench::driven();
    (bench, super::forward(drivers))
}
