//! Fabric's wire for the front door: peer folders, organisations, gossip channels.

pub mod events;
#[cfg(feature = "admin")]
pub(crate) mod figures;
pub mod options;
pub mod peer;

pub use peer::FabricPeer;

use crate::error::NodeError;
use crate::kit::{
    BenchClient, BuildRequest, Built, Certificate, KeyPlan, KeySource, Kit, Reload, RenewPlan, Upkeep,
    forward,
};
use crate::settings::{Form, Setting, Values};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use switchboard::wire::{AddressError, Wire};
use switchboard::{Candidate, Env, WireName};
use switchboard_fabric::bench::{ECHO, driven, server};
use switchboard_fabric::cast::{CHANNEL, ChannelName};
use switchboard_fabric::keygen;
use switchboard_fabric::msp::Trust;
use switchboard_fabric::{FABRIC, Fabric, FabricConfig, PeerFolder};

/// The kit.
#[derive(Debug, Clone, Copy)]
pub struct FabricKit;

/// The MSP id where none is given.
pub const DEFAULT_ORG: &str = "Org1MSP";
/// Folder of the organisation made in a data folder.
const OWN_ORG: &str = "fabric";

/// A setting of this wire with one value.
const fn one(name: &'static str, form: Form, help: &'static str) -> Setting {
    Setting::one(FABRIC, name, form, help)
}

const SETTINGS: &[Setting] = &[
    one("org", Form::Text, "MSP id of our organisation on the fabric wire (default: Org1MSP)"),
    one("channel", Form::Text, "Gossip channel that casts ride on, on the fabric wire (default: cast)"),
];

fn org(values: &Values) -> &str {
    values.text("org").unwrap_or(DEFAULT_ORG)
}

fn folder(source: &KeySource, org: &str, env: &Env) -> Result<PeerFolder, NodeError> {
    let load = |peer: &Path| PeerFolder::load(peer, org).map_err(NodeError::usage);
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
            let scratch = crate::data::scratch()?;
            let own = scratch.path().join(OWN_ORG);
            keygen::keygen(&own, org, 1, env.wall()).map_err(NodeError::usage)?;
            load(&own.join("peer0"))
        }
    }
}

fn channel(values: &Values) -> Result<ChannelName, NodeError> {
    let name = values.text("channel").unwrap_or(CHANNEL);
    name.parse().map_err(|e| NodeError::usage(format!("--channel {name:?}: {e}")))
}

fn wire(request: &BuildRequest<'_>) -> Result<Fabric, NodeError> {
    let mut config = FabricConfig::new(folder(request.key, org(request.values), request.env)?);
    config.cast_channel = channel(request.values)?;
    Fabric::new(config).map_err(NodeError::usage)
}

/// Certificates of a wire, as what operators see.
pub(crate) fn certificates(wire: &Fabric) -> Vec<Certificate> {
    let shown = |own: switchboard_fabric::wire::OwnCertificate| Certificate {
        wire: FABRIC,
        what: own.what,
        subject: own.subject,
        not_before: own.not_before,
        expires: own.not_after,
    };
    wire.certificates().into_iter().map(shown).collect()
}

/// What a reload takes over of a folder and of the organisations, checked together; it says what changed. With
/// `same_identity` only a folder of the identity that the wire has is taken.
pub(crate) fn reload(
    wire: &Fabric,
    folder: PeerFolder,
    trust: Trust,
    same_identity: bool,
) -> Result<Reload, NodeError> {
    let other = folder.identity.identity().pki_id() != *wire.local_id().as_bytes();
    let stays = other && same_identity;
    let renewal = wire.renewal((!stays).then_some(folder), Some(trust)).map_err(NodeError::usage)?;
    let wire = wire.clone();
    Ok(Box::new(move || {
        let before = certificates(&wire);
        renewal.take_over();
        if stays {
            return vec![
                "the identity of fabric is another: gossip keeps the one it has until the peer is started again, and so \
                 do its TLS certificates"
                    .to_owned(),
            ];
        }
        told(&wire, &before, other)
    }))
}

/// What is another now than it was.
fn told(wire: &Fabric, before: &[Certificate], other: bool) -> Vec<String> {
    let after = certificates(wire);
    let mut changes = Vec::new();
    for new in &after {
        let old = before.iter().find(|old| old.what == new.what);
        if old.is_none_or(|old| (old.expires, old.not_before) != (new.expires, new.not_before)) {
            let days = new.expires.duration_since(new.not_before).unwrap_or_default().as_secs() / 86_400;
            changes.push(format!(
                "fabric {} certificate taken over: {}, for {days} days",
                new.what, new.subject
            ));
        }
    }
    if other {
        changes.push(format!("fabric PKI-ID is {} now: new sessions show it", wire.local_id()));
    }
    changes
}

/// The wire's keys and certificates while it runs.
struct KeptFolder {
    wire: Arc<Fabric>,
    org: String,
}

impl Upkeep for KeptFolder {
    fn certificates(&self) -> Vec<Certificate> {
        certificates(&self.wire)
    }

    fn reload(&self, request: &BuildRequest<'_>) -> Result<Reload, NodeError> {
        if matches!(request.key, KeySource::Throwaway) {
            return Ok(Box::new(Vec::new));
        }
        let folder = folder(request.key, &self.org, request.env)?;
        // What stands in the folder may be another, such as a list of revoked certificates.
        let trust = folder.trust();
        reload(&self.wire, folder, trust, false)
    }
}

impl Kit for FabricKit {
    fn name(&self) -> WireName {
        FABRIC
    }

    fn settings(&self) -> &'static [Setting] {
        SETTINGS
    }

    fn forms(&self) -> &'static str {
        "fabric://HOST:PORT"
    }

    fn claims(&self, url: &str) -> bool {
        url.starts_with("fabric:")
    }

    fn parse(&self, url: &str) -> Result<Candidate, AddressError> {
        switchboard_fabric::wire::parse(url)
    }

    fn has_organisations(&self) -> bool {
        true
    }

    fn build(&self, request: &BuildRequest<'_>) -> Result<Built, NodeError> {
        let runs = |name: &str| request.values.texts("protocol").iter().any(|protocol| protocol == name);
        let echoed = request.values.text("channel").is_some_and(|name| name.as_bytes() == ECHO);
        if echoed && runs("bench") && runs("cast") {
            return Err(NodeError::usage("the protocol bench echoes that channel: choose another --channel"));
        }
        let wire = Arc::new(wire(request)?);
        let (pki_id, org) = (wire.local_id().to_string(), org(request.values).to_owned());
        let (kept, own) = (Arc::clone(&wire), org.clone());
        Ok(Built::new(wire, |at| format!("fabric://{at}"))
            .ready(move |at| match at {
                Some(at) => json!({"endpoint": at.to_string(), "pki_id": pki_id, "msp": org}),
                None => json!({"pki_id": pki_id, "msp": org}),
            })
            .bench(server())
            .cast(switchboard_fabric::cast::channels(&channel(request.values)?))
            .upkeep(KeptFolder { wire: kept, org: own }))
    }

    fn keygen(&self, plan: &KeyPlan, env: &Env) -> Result<Value, NodeError> {
        let mut wanted = keygen::Plan::new(&plan.org, plan.peers)
            .with_members(plan.users, plan.admins)
            .with_hosts(plan.hosts.iter().cloned());
        if plan.node_ous {
            wanted = wanted.with_node_ous();
        }
        if let Some(days) = plan.days {
            wanted = wanted.valid_for(Duration::from_secs(days.saturating_mul(86_400)));
        }
        let made = wanted.make(&plan.out, env.wall()).map_err(NodeError::usage)?;
        let shown = |folders: &[PathBuf]| -> Vec<String> {
            folders.iter().map(|folder| folder.display().to_string()).collect()
        };
        Ok(json!({"org": plan.org, "msp": made.msp.display().to_string(), "peers": shown(&made.peers),
            "users": shown(&made.users), "admins": shown(&made.admins)}))
    }

    fn renew(&self, plan: &RenewPlan, env: &Env) -> Result<Value, NodeError> {
        let above = plan.member.parent().filter(|above| !above.as_os_str().is_empty());
        let org = plan.authority.clone().unwrap_or_else(|| above.unwrap_or(Path::new(".")).to_owned());
        let ca = if org.join("ica").is_dir() { org.join("ica") } else { org.join("ca") };
        let tlsca = org.join("tlsca");
        let missing = |folder: &Path| {
            let folder = folder.display();
            NodeError::usage(format!(
                "there is no CA in {folder}: name the organisation's folder with --authority"
            ))
        };
        if let Some(folder) = [&ca, &tlsca].into_iter().find(|folder| !folder.is_dir()) {
            return Err(missing(folder));
        }
        let mut renewal = keygen::Renewal::default();
        if plan.new_key {
            renewal = renewal.with_new_key();
        }
        if let Some(days) = plan.days {
            renewal = renewal.valid_for(Duration::from_secs(days.saturating_mul(86_400)));
        }
        let mut renewed = vec!["tls"];
        keygen::renew_tls(&tlsca, &plan.member, renewal, env.wall()).map_err(NodeError::usage)?;
        if !plan.tls_only {
            keygen::renew(&ca, &plan.member, renewal, env.wall()).map_err(NodeError::usage)?;
            renewed.push("identity");
        }
        Ok(json!({"folder": plan.member.display().to_string(), "renewed": renewed}))
    }

    /// One organisation, a peer's folder for each node.
    fn network_keys(&self, data: &Path, count: usize, env: &Env) -> Result<Vec<KeySource>, NodeError> {
        let org = data.join(OWN_ORG);
        let made = keygen::keygen(&org, DEFAULT_ORG, count, env.wall()).map_err(NodeError::job)?;
        Ok(made.into_iter().map(KeySource::File).collect())
    }

    fn public_forms(&self, path: &Path, org: &str, _: SocketAddr) -> Result<Value, NodeError> {
        let folder = PeerFolder::load(path, org).map_err(NodeError::usage)?;
        let identity = folder.identity.identity();
        Ok(json!({
            "pki_id": hex::encode(identity.pki_id()),
            "msp": identity.mspid(),
            "subject": identity.subject(),
            "expires_unix": identity.expires_unix(),
        }))
    }

    fn decode(&self, url: &str) -> Result<Value, AddressError> {
        let candidate = self.parse(url)?;
        Ok(json!({"endpoint": candidate.authority(), "host": candidate.host, "port": candidate.port}))
    }

    fn bench_client(&self) -> Option<BenchClient> {
        let (bench, drivers) = driven();
        Some((bench, forward(drivers)))
    }
}
