//! The wires this command knows, each behind the same few functions.

mod comet;
mod devp2p;
mod fabric;

use crate::fail::Fail;
use serde_json::{Value, json};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use switchboard::net::{Connection, connect_host};
use switchboard::wire::{Established, HandshakeError, OpenGate, Stage, Upgrade, Wire};
use switchboard::{BoxFuture, Candidate, Env, Protocol};
use switchboard_bench::{BenchError, BulkPlan, BulkResult, Drive, EchoPlan, EchoResult};
use switchboard_cast::ChannelMap;
use tokio::sync::mpsc;

/// How long connecting to somebody named on the command line may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// A wire by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Devp2p,
    Comet,
    Fabric,
}

impl Kind {
    /// Every wire, in the order things are shown.
    pub(crate) const ALL: [Self; 3] = [Self::Devp2p, Self::Comet, Self::Fabric];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Devp2p => switchboard_devp2p::DEVP2P,
            Self::Comet => switchboard_comet::COMET,
            Self::Fabric => switchboard_fabric::FABRIC,
        }
    }

    fn of(candidate: &Candidate) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == candidate.wire)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| {
            format!("there is no wire {text:?}: use {}", Self::ALL.map(Self::name).join(" or "))
        })
    }
}

/// `devp2p=PATH`: a key file for one wire.
#[derive(Debug, Clone)]
pub(crate) struct KeyFile {
    pub(crate) wire: Kind,
    pub(crate) path: PathBuf,
}

impl FromStr for KeyFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (wire, path) = text.split_once('=').ok_or_else(|| format!("{text:?} is not WIRE=PATH"))?;
        Ok(Self { wire: wire.parse()?, path: path.into() })
    }
}

/// Where a node's key comes from.
#[derive(Debug, Clone)]
pub(crate) enum KeySource {
    /// This file, which must be there.
    File(PathBuf),
    /// This folder, where it is made on first use.
    Data(PathBuf),
    /// Made now, never stored.
    Throwaway,
}

impl KeySource {
    /// The key file's path in a data folder.
    fn in_data(data: &Path, name: &str) -> Result<PathBuf, Fail> {
        std::fs::create_dir_all(data).map_err(|e| {
            Fail::usage(format!(
                "cannot use the data folder {}: {e}: choose another with --data",
                data.display()
            ))
        })?;
        Ok(data.join(name))
    }

    /// A key that cannot be made or read in the data folder.
    fn data_fails(error: impl fmt::Display) -> Fail {
        Fail::usage(format!("{error}: correct that, or choose another --data"))
    }
}

/// The key of a client of one wire: its file, or one for this once where strangers are welcome.
pub(crate) fn client_key(kind: Kind, file: Option<&KeyFile>) -> Result<KeySource, Fail> {
    match file {
        Some(file) if file.wire == kind => Ok(KeySource::File(file.path.clone())),
        Some(file) => Err(Fail::usage(format!("--key-file is for wire {}, the node's is {kind}", file.wire))),
        None if kind == Kind::Fabric => Err(Fail::usage(
            "a Fabric peer answers only its own organisations: give a peer's folder with --key-file fabric=FOLDER",
        )),
        None => Ok(KeySource::Throwaway),
    }
}

/// What a wire needs to be told.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) key: KeySource,
    /// Network name, for wires that have one.
    pub(crate) network: String,
    /// MSP id of our organisation, for wires that have one.
    pub(crate) org: String,
    /// Name of the gossip channel that `cast` rides on, for wires that have them.
    pub(crate) channel: String,
}

/// What a wire gives to a node.
pub(crate) struct Built {
    pub(crate) kind: Kind,
    pub(crate) wire: Arc<dyn Wire>,
    /// The node's public forms, given where it listens.
    pub(crate) ready: Box<dyn Fn(Option<SocketAddr>) -> Value + Send + Sync>,
    /// How others dial it.
    pub(crate) url: Box<dyn Fn(SocketAddr) -> String + Send + Sync>,
    pub(crate) bench: Arc<dyn Protocol>,
    /// The channels of `cast`.
    pub(crate) cast: ChannelMap,
}

/// Makes a wire.
pub(crate) fn build(kind: Kind, settings: &Settings, env: &Env) -> Result<Built, Fail> {
    match kind {
        Kind::Devp2p => devp2p::build(settings, env),
        Kind::Comet => comet::build(settings, env),
        Kind::Fabric => fabric::build(settings, env),
    }
}

/// Makes a key file, or an organisation's folder, that was not there.
pub(crate) fn keygen(kind: Kind, out: &Path, org: &str, peers: usize, env: &Env) -> Result<Value, Fail> {
    match kind {
        Kind::Devp2p => devp2p::keygen(out, env),
        Kind::Comet => comet::keygen(out, env),
        Kind::Fabric => fabric::keygen(out, org, peers, env),
    }
}

/// Keys for nodes of one network that must accept one another, kept below `data`.
pub(crate) fn network_keys(kind: Kind, data: &Path, count: usize, env: &Env) -> Result<Vec<KeySource>, Fail> {
    match kind {
        Kind::Fabric => fabric::network_keys(data, count, env),
        Kind::Devp2p | Kind::Comet => {
            Ok((0..count).map(|n| KeySource::Data(data.join(format!("{kind}-{n}")))).collect())
        }
    }
}

/// Every public form of a key.
pub(crate) fn public_forms(kind: Kind, key: &Path, org: &str, at: SocketAddr) -> Result<Value, Fail> {
    match kind {
        Kind::Devp2p => devp2p::public_forms(key, at),
        Kind::Comet => comet::public_forms(key, at),
        Kind::Fabric => fabric::public_forms(key, org),
    }
}

/// Reads a URL of any wire.
pub(crate) fn parse(url: &str) -> Result<(Kind, Candidate), Fail> {
    let parsed = if url.starts_with("enode:") || url.starts_with("enr:") {
        switchboard_devp2p::wire::parse(url)
    } else if url.starts_with("comet:") {
        switchboard_comet::wire::parse(url)
    } else if url.starts_with("fabric:") {
        switchboard_fabric::wire::parse(url)
    } else {
        let shown = switchboard::text::printable(url);
        let hint = "expected enode://KEY@HOST:PORT, enr:…, comet://ID@HOST:PORT or fabric://HOST:PORT";
        return Err(Fail::usage(format!("{shown:?} is not the address of a node: {hint}")));
    };
    let candidate = parsed.map_err(Fail::usage)?;
    let kind = Kind::of(&candidate)
        .ok_or_else(|| Fail::usage(format!("{url} is of a wire this command does not have")))?;
    Ok((kind, candidate))
}

/// Connects to somebody named on the command line.
pub(crate) async fn connect(env: &Env, whom: &Candidate) -> Result<Connection, HandshakeError> {
    let connection = connect_host(&**env.net(), &whom.host, whom.port, CONNECT_LIMIT).await;
    connection.map_err(|error| match error.kind() {
        std::io::ErrorKind::TimedOut => HandshakeError::Timeout(Stage::Connect),
        _ => HandshakeError::Io { stage: Stage::Connect, error },
    })
}

/// A handshake that any network's node accepts.
pub(crate) async fn probe(
    kind: Kind,
    whom: &Candidate,
    settings: &Settings,
    env: &Env,
) -> Result<Result<Probe, HandshakeError>, Fail> {
    Ok(match kind {
        Kind::Devp2p => devp2p::probe(whom, settings, env).await?.map(Box::new).map(Probe::Session),
        Kind::Comet => comet::probe(whom, settings, env).await?.map(Box::new).map(Probe::Session),
        Kind::Fabric => fabric::probe(whom, settings, env).await?.map(Box::new).map(Probe::Gossip),
    })
}

/// The protocol `bench` as a client: the protocol, and where its sessions come out.
pub(crate) fn bench_client(kind: Kind) -> (Arc<dyn Protocol>, mpsc::Receiver<Box<dyn BenchDriver>>) {
    match kind {
        Kind::Devp2p => devp2p::bench_client(),
        Kind::Comet => comet::bench_client(),
        Kind::Fabric => fabric::bench_client(),
    }
}

/// Somebody who was asked who they are.
pub(crate) enum Probe {
    /// A session whose own ping measures round trips.
    Session(Box<Established>),
    /// A peer that answers a call.
    Gossip(Box<switchboard_fabric::wire::Probed>),
}

/// A session that can be measured.
pub(crate) trait BenchDriver: Send {
    fn echo(&mut self, plan: EchoPlan) -> BoxFuture<'_, Result<EchoResult, BenchError>>;
    fn bulk(&mut self, plan: BulkPlan) -> BoxFuture<'_, Result<BulkResult, BenchError>>;
}

impl<D: Drive> BenchDriver for D {
    fn echo(&mut self, plan: EchoPlan) -> BoxFuture<'_, Result<EchoResult, BenchError>> {
        Box::pin(Drive::echo(self, plan))
    }

    fn bulk(&mut self, plan: BulkPlan) -> BoxFuture<'_, Result<BulkResult, BenchError>> {
        Box::pin(Drive::bulk(self, plan))
    }
}

/// Passes the sessions of a wire's own driver type on under the common trait.
fn forward<D: BenchDriver + 'static>(mut from: mpsc::Receiver<D>) -> mpsc::Receiver<Box<dyn BenchDriver>> {
    let (tx, rx) = mpsc::channel::<Box<dyn BenchDriver>>(1);
    tokio::spawn(async move {
        while let Some(driver) = from.recv().await {
            if tx.send(Box::new(driver)).await.is_err() {
                return;
            }
        }
    });
    rx
}

/// An [`Upgrade`] for a handshake outside any Switch, offering one protocol by name and channels.
pub(crate) fn upgrade(env: &Env, protocol: &dyn Protocol) -> Upgrade {
    let spec = protocol.spec();
    let least = spec.channels.iter().map(|c| u64::from(c.id.0) + 1).max().unwrap_or(0);
    let offered = switchboard::wire::Offered {
        index: 0,
        name: spec.name,
        version: spec.version,
        length: spec.length.max(least),
        channels: spec.channels,
    };
    let offer = Arc::new(switchboard::wire::Offer { protocols: vec![offered] });
    Upgrade { env: env.clone(), offer, gate: Arc::new(OpenGate), listen: None }
}

/// What a handshake told, as JSON.
pub(crate) fn describe(probe: &Probe) -> Value {
    let (peer, info) = match probe {
        Probe::Session(session) => (session.peer, &session.info),
        Probe::Gossip(probed) => (probed.peer, &probed.info),
    };
    let clean = switchboard::text::printable;
    let mut value = json!({
        "wire": peer.wire(),
        "id": peer.to_string(),
        "name": clean(&info.name),
        "capabilities": info.capabilities.iter().map(|c| clean(c)).collect::<Vec<_>>(),
    });
    if let Some(fields) = value.as_object_mut() {
        let more = [("network", &info.network), ("listen", &info.listen)];
        fields.extend(more.into_iter().filter_map(|(k, v)| Some((k.to_owned(), clean(v.as_ref()?).into()))));
        fields.extend(info.fields.iter().map(|(k, v)| ((*k).to_owned(), clean(v).into())));
    }
    value
}
