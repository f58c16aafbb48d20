//! The wires as flags name them, and what clients of one peer need of them.

use crate::fail::Fail;
use serde_json::{Value, json};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use switchboard::text::printable;
use switchboard::wire::{OpenGate, Probe, Upgrade};
use switchboard::{Candidate, Env, Protocol};
use switchboard_node::config::KeyFile;
use switchboard_node::kit::{BuildRequest, Built, KeySource, Kit};
use switchboard_node::settings::{Source, Values};
use switchboard_node::wires::Kits;

/// A wire by name.
#[derive(Clone, Copy)]
pub(crate) struct Kind(pub(crate) &'static dyn Kit);

impl Kind {
    /// Every wire, in the order things are shown.
    pub(crate) fn all() -> Vec<Self> {
        Kits::builtin().iter().map(Self).collect()
    }

    pub(crate) fn name(self) -> &'static str {
        self.0.name()
    }

    /// Whether the wire has a setting of this name.
    pub(crate) fn has(self, setting: &str) -> bool {
        self.0.settings().iter().any(|own| own.name == setting)
    }

    /// These wires in the order things are shown, or all where none is named.
    pub(crate) fn chosen(named: &[Self]) -> Vec<Self> {
        Self::all().into_iter().filter(|kind| named.is_empty() || named.contains(kind)).collect()
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
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
        Kits::builtin().named(text).map(Self)
    }
}

/// Reads a URL of any wire.
pub(crate) fn parse(url: &str) -> Result<(Kind, Candidate), Fail> {
    let (kit, candidate) = Kits::builtin().parse(url)?;
    Ok((Kind(kit), candidate))
}

/// The key of a client of one wire: its file, or one for this once where strangers are welcome.
pub(crate) fn client_key(kind: Kind, file: Option<&KeyFile>) -> Result<KeySource, Fail> {
    match file {
        Some(file) if file.wire == kind.name() => Ok(KeySource::File(file.path.clone())),
        Some(file) => Err(Fail::usage(format!("--key-file is for wire {}, the node's is {kind}", file.wire))),
        None if kind.0.has_organisations() => Err(Fail::usage(
            "a Fabric peer answers only its own organisations: give a peer's folder with --key-file fabric=FOLDER",
        )),
        None => Ok(KeySource::Throwaway),
    }
}

/// What a client of one peer was told: its key and the wires' settings.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) key: KeySource,
    pub(crate) values: Values,
}

impl Client {
    /// Settings of a wire other than the peer's have no effect, so that one command line serves peers of all wires.
    pub(crate) fn new(key: KeySource, settings: &[(&str, &str)]) -> Self {
        let mut values = Values::default();
        for (name, value) in settings {
            values.set(name, vec![(*value).to_owned()], Source::Flag);
        }
        Self { key, values }
    }

    pub(crate) fn request<'a>(&'a self, env: &'a Env) -> BuildRequest<'a> {
        BuildRequest::new(&self.values, &self.key, env)
    }

    pub(crate) fn build(&self, kind: Kind, env: &Env) -> Result<Built, Fail> {
        Ok(kind.0.build(&self.request(env))?)
    }

    /// Asks a node who it is, and measures round trips.
    pub(crate) async fn probe(&self, whom: &Candidate, pings: u32, env: &Env) -> Result<Probe, Fail> {
        let kind: Kind = whom.wire.parse().map_err(Fail::job)?;
        let wire = self.build(kind, env)?.wire;
        let probed = wire.probe(whom.clone(), env.clone(), pings).await;
        probed.map_err(|error| Fail::job(format!("{whom}: {}", printable(&error.to_string()))))
    }
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
        placement: switchboard::wire::Placement::Native,
    };
    let offer = Arc::new(switchboard::wire::Offer { protocols: vec![offered] });
    Upgrade { env: env.clone(), offer, gate: Arc::new(OpenGate), listen: None }
}

/// What a handshake told, as JSON.
pub(crate) fn describe(probe: &Probe) -> Value {
    let Probe { id: peer, info, .. } = probe;
    let clean = printable;
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
