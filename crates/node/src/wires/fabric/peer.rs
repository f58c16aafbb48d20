//! The role `fabric peer`: a member that joins channels and stores their blocks. `fabric observe` is one that stores nothing.
//!
//! ```text
//!   settings ─▶ keys, organisations ─▶ Fabric wire + MSP host ─▶ Shell as a service ─▶ Switch ─▶ FabricPeer
//!                                      ledger, verifier, source, collections of each channel ─┘
//! ```
//!
//! Everything is checked before anything starts; what is wrong is named with its flag.

use super::options::{gossip_config, wire_config};
use super::{DEFAULT_ORG, folder, one};
use crate::config::{ListenAt, NodeConfig};
use crate::data::DataFolder;
use crate::error::NodeError;
use crate::kit::{External as Place, KeySource, Reload};
use crate::settings::{Form, Setting, Source, Values};
use crate::slots::OwnSlots;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use switchboard::wire::Wire;
use switchboard::{Env, Limits, Switch, SwitchBuilder};
use switchboard_fabric::message::Chaincode;
use switchboard_fabric::msp::Trust;
use switchboard_fabric::msp::folder::load_organisation;
use switchboard_fabric::{FABRIC, Fabric, FabricConfig, MspPolicy, PeerPolicy};
use switchboard_fabric_gossip::block::{BlockFolder, Level, OrdererPolicy, Verifier};
use switchboard_fabric_gossip::config::ConfigFault;
use switchboard_fabric_gossip::ledger::{self, BlockStore, DiskLedger, MemoryLedger};
use switchboard_fabric_gossip::privdata::collections::{MAX_FILE, from_json};
use switchboard_fabric_gossip::privdata::{Collections, Subject};
use switchboard_fabric_gossip::shell::crypto::subject;
use switchboard_fabric_gossip::shell::{
    Beginning, ChannelSetup, External, GossipService, Joining, KnownPeers, MspCrypto, Shell, ShellEvent,
};
use switchboard_fabric_gossip::{Channel, Config, Endpoint, JoinConfig, Org};
use tokio::sync::broadcast::Receiver;

const fn list(name: &'static str, form: Form, help: &'static str) -> Setting {
    Setting::list(FABRIC, name, form, help)
}

/// What a member is told, whether it stores blocks or not.
pub const MEMBER_SETTINGS: &[Setting] = &[
    one("org", Form::Text, "MSP id of our organisation (default: Org1MSP)"),
    list("channel", Form::Text, "A channel to join; may be repeated"),
    list("trust", Form::Text, "Another organisation, as MSPID=DIR with its MSP folder; may be repeated"),
    one("verify-clients", Form::Switch, "Take TLS client certificates only from trusted TLS CAs"),
    list("bootstrap", Form::Text, "Peers of our organisation to connect to first, as HOST:PORT"),
    list("anchor", Form::Text, "Anchor peers, as HOST:PORT or MSPID=HOST:PORT; may be repeated"),
    one(
        "external",
        Form::Text,
        "Where other organisations reach this peer: same, or HOST:PORT (default: they do not see it)",
    ),
];

/// What only a peer that stores blocks is told.
pub const STORE_SETTINGS: &[Setting] = &[
    one("verify-blocks", Form::Text, "What is checked of blocks: none, hash or signed (default: signed)"),
    list(
        "orderer",
        Form::Text,
        "An orderer organisation whose signatures count, as MSPID=DIR; may be repeated",
    ),
    one("orderer-signatures", Form::Number, "Orderers that must have signed a block (default: 1)"),
    one(
        "blocks-from",
        Form::Path,
        "Folder with blocks to be gossiped, 1.block, 2.block, …; with several channels one folder each in it",
    ),
    one("election", Form::Switch, "Elect a leader: only it reads --blocks-from"),
    one("leader", Form::Switch, "Lead without election (default: true, unless --election)"),
    list("chaincode", Form::Text, "A chaincode we say we have, as CHANNEL=NAME:VERSION; may be repeated"),
    list(
        "collection",
        Form::Text,
        "Collections of a chaincode, as FILE with its collections_config.json (then named CHAINCODE.json), \
         CHAINCODE=FILE or CHANNEL/CHAINCODE=FILE; may be repeated",
    ),
    one(
        "private-from",
        Form::Path,
        "Folder with private data to be pushed, TXID.private, an encoded TxPvtReadWriteSet each; with several channels \
         one folder each in it",
    ),
];

/// Settings of the node that these roles have, too.
const OF_NODE: [&str; 15] = [
    "admin",
    "admin-token",
    "metric-names",
    "trusted",
    "peer",
    "listen",
    "key-file",
    "data",
    "stdin-stop",
    "max-peers",
    "send-rate",
    "recv-rate",
    "access-allow",
    "access-deny",
    "strict-addresses",
];

/// All settings of a role.
#[must_use]
pub fn settings(stores: bool) -> Vec<Setting> {
    let node = crate::config::SETTINGS.iter().filter(|setting| OF_NODE.contains(&setting.name));
    let stored = STORE_SETTINGS.iter().filter(|_| stores);
    let options = super::options::WIRE_OPTIONS.iter().chain(super::options::OPTIONS);
    node.chain(MEMBER_SETTINGS).chain(stored).chain(options).copied().collect()
}

/// Peers that may connect where nothing is said: a member has a session with whom it gossips.
const MAX_PEERS: &str = "1000";

/// Handshakes others may have under way with a member.
const PENDING_INBOUND: usize = 256;

fn usage(flag: &str, text: &str, why: impl std::fmt::Display) -> NodeError {
    NodeError::usage(format!("--{flag} {text}: {why}"))
}

fn own_identity(fault: impl std::fmt::Display) -> NodeError {
    NodeError::usage(format!("our own identity: {fault}"))
}

/// `NAME=VALUE`.
fn pair<'a>(flag: &str, text: &'a str, form: &str) -> Result<(&'a str, &'a str), NodeError> {
    let found = text.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty());
    found.ok_or_else(|| usage(flag, text, format!("write {form}")))
}

fn endpoint(flag: &str, text: &str) -> Result<Endpoint, NodeError> {
    Endpoint::parse(text).ok_or_else(|| usage(flag, text, "not HOST:PORT, as in 127.0.0.1:7051"))
}

/// Everything that is decided before the wire is made.
struct Plan {
    config: Config,
    channels: Vec<Channel>,
    external: External,
    orgs: BTreeMap<Org, Vec<Endpoint>>,
    orderers: Option<Arc<OrdererPolicy>>,
    level: Level,
}

fn channels(values: &Values) -> Result<Vec<Channel>, NodeError> {
    let read = |text: &String| {
        let named = text.parse::<switchboard_fabric::cast::ChannelName>();
        named.map_err(|why| usage("channel", text, why))?;
        Channel::parse(text.as_bytes()).ok_or_else(|| usage("channel", text, "no name of a channel"))
    };
    values.texts("channel").iter().map(read).collect()
}

fn trust_of(own: Trust, values: &Values) -> Result<Trust, NodeError> {
    let mut trust = own;
    for text in values.texts("trust") {
        let (mspid, dir) = pair("trust", text, "MSPID=DIR")?;
        let msp = load_organisation(Path::new(dir), mspid).map_err(|why| usage("trust", text, why))?;
        if trust.add(msp).is_some() {
            return Err(usage("trust", text, "this organisation is known already: name each once"));
        }
    }
    Ok(trust)
}

fn orderers(values: &Values, level: Level) -> Result<Option<Arc<OrdererPolicy>>, NodeError> {
    let mut trust = Trust::default();
    for text in values.texts("orderer") {
        let (mspid, dir) = pair("orderer", text, "MSPID=DIR")?;
        let msp = load_organisation(Path::new(dir), mspid).map_err(|why| usage("orderer", text, why))?;
        trust.add(msp);
    }
    if level < Level::Signed {
        return Ok(None);
    }
    let needed = values.number("orderer-signatures")?.unwrap_or(1);
    let policy = OrdererPolicy::new(trust, usize::try_from(needed).unwrap_or(usize::MAX));
    let policy = policy.map_err(|fault| {
        NodeError::usage(format!(
            "--verify-blocks signed: {fault}: name the orderers with --orderer MSPID=DIR (how many must have signed: \
             --orderer-signatures), or take --verify-blocks hash"
        ))
    })?;
    Ok(Some(Arc::new(policy)))
}

impl Plan {
    fn decide(values: &Values, own: &Org, trust: &Trust, stores: bool) -> Result<Self, NodeError> {
        let mut config = gossip_config(values)?;
        for text in values.texts("bootstrap") {
            endpoint("bootstrap", text)?;
        }
        if !config.endpoint.is_empty() {
            endpoint("endpoint", &config.endpoint)?;
        }
        config.use_leader_election = values.switch("election")?;
        config.org_leader = match values.has("leader") {
            true => values.switch("leader")?,
            false => !config.use_leader_election,
        };
        config.check().map_err(|fault| match fault {
            ConfigFault::BothLeaders => {
                NodeError::usage(format!("{fault}: leave out --election or --leader"))
            }
            fault => NodeError::usage(format!("{fault}: give the option of that name another value")),
        })?;
        let channels = channels(values)?;
        if stores && channels.is_empty() {
            return Err(NodeError::usage("a peer joins channels: name at least one with --channel"));
        }
        let external = match values.text("external") {
            None => External::None,
            Some("same") => External::Same,
            Some(text) => {
                let place = text.parse::<Place>().map_err(|why| usage("external", text, why))?;
                External::At(endpoint("external", &place.to_string())?)
            }
        };
        let level = match values.text("verify-blocks") {
            None => Level::default(),
            Some(text) => text.parse().map_err(|expected| usage("verify-blocks", text, expected))?,
        };
        let orderers = if stores { orderers(values, level)? } else { None };
        let orgs = Self::orgs(values, own, trust, external != External::None)?;
        Ok(Self { config, channels, external, orgs, orderers, level })
    }

    /// The organisations of all channels, with their anchors.
    fn orgs(
        values: &Values,
        own: &Org,
        trust: &Trust,
        seen: bool,
    ) -> Result<BTreeMap<Org, Vec<Endpoint>>, NodeError> {
        let known = trust.organisations().filter_map(|msp| Org::parse(msp.id()));
        let mut orgs: BTreeMap<Org, Vec<Endpoint>> = known.map(|org| (org, Vec::new())).collect();
        let foreign = orgs.keys().find(|org| *org != own).cloned();
        // Who answers at an anchor of our own organisation must be of it; of others that is not checked, as in Fabric.
        let any = foreign.filter(|_| seen).unwrap_or_else(|| own.clone());
        for text in values.texts("anchor") {
            let (org, at) = match text.split_once('=') {
                Some((mspid, at)) => {
                    let org = Org::parse(mspid).filter(|org| orgs.contains_key(org));
                    let unknown = "of an organisation that is not known: name it with --trust MSPID=DIR";
                    (org.ok_or_else(|| usage("anchor", text, unknown))?, at)
                }
                None => (any.clone(), text.as_str()),
            };
            orgs.entry(org).or_default().push(endpoint("anchor", at)?);
        }
        Ok(orgs)
    }

    fn verifier(&self, channel: &Channel) -> Verifier {
        let name = channel.to_string();
        match (&self.orderers, self.level) {
            (Some(policy), Level::Signed) => Verifier::signed(&name, Arc::clone(policy) as _),
            (_, Level::None) => Verifier::none(&name),
            _ => Verifier::hash(&name),
        }
    }

    /// The folder that a setting names, or with several channels this channel's in it.
    fn source(&self, values: &Values, setting: &str, channel: &Channel) -> Option<PathBuf> {
        let folder = values.path(setting)?;
        Some(if self.channels.len() > 1 { folder.join(channel.to_string()) } else { folder })
    }
}

fn chaincodes(values: &Values, channels: &[Channel]) -> Result<BTreeMap<Channel, Vec<Chaincode>>, NodeError> {
    let mut found: BTreeMap<Channel, Vec<Chaincode>> = BTreeMap::new();
    for text in values.texts("chaincode") {
        let (channel, chaincode) = pair("chaincode", text, "CHANNEL=NAME:VERSION")?;
        let named =
            chaincode.split_once(':').filter(|(name, version)| !name.is_empty() && !version.is_empty());
        let (name, version) = named.ok_or_else(|| usage("chaincode", text, "write CHANNEL=NAME:VERSION"))?;
        let channel = channels.iter().find(|known| known.as_bytes() == channel.as_bytes());
        let channel =
            channel.ok_or_else(|| usage("chaincode", text, "of a channel that --channel does not name"))?;
        let chaincode =
            Chaincode { name: name.to_owned(), version: version.to_owned(), ..Chaincode::default() };
        found.entry(channel.clone()).or_default().push(chaincode);
    }
    Ok(found)
}

/// What a value of `--collection` names.
#[derive(Debug, PartialEq)]
struct CollectionFile<'a> {
    /// Only this channel; `None`: each.
    of: Option<&'a Channel>,
    chaincode: &'a str,
    file: &'a str,
}

impl<'a> CollectionFile<'a> {
    fn parse(text: &'a str, channels: &'a [Channel]) -> Result<Self, NodeError> {
        let wrong = |why: &str| usage("collection", text, why);
        let Some((place, file)) = text.split_once('=') else {
            let stem = Path::new(text).file_stem().and_then(|stem| stem.to_str());
            let chaincode =
                stem.ok_or_else(|| wrong("write FILE, CHAINCODE=FILE or CHANNEL/CHAINCODE=FILE"))?;
            return Ok(Self { of: None, chaincode, file: text });
        };
        let (of, chaincode) = match place.split_once('/') {
            None => (None, place),
            Some((of, chaincode)) => {
                let known = channels.iter().find(|known| known.as_bytes() == of.as_bytes());
                (Some(known.ok_or_else(|| wrong("of a channel that --channel does not name"))?), chaincode)
            }
        };
        if chaincode.is_empty() || file.is_empty() {
            return Err(wrong("write FILE, CHAINCODE=FILE or CHANNEL/CHAINCODE=FILE"));
        }
        Ok(Self { of, chaincode, file })
    }
}

fn collections(
    values: &Values,
    channels: &[Channel],
    channel: &Channel,
    own: &Org,
    config: &Config,
) -> Result<Collections, NodeError> {
    let implicit = config.pvt_data.implicit_collection_dissemination_policy.clone();
    let mut collections = Collections::new(own.as_str(), implicit);
    for text in values.texts("collection") {
        let CollectionFile { of, chaincode, file } = CollectionFile::parse(text, channels)?;
        if of.is_some_and(|of| of != channel) {
            continue;
        }
        let wrong = |why: &dyn std::fmt::Display| usage("collection", text, why);
        let size = std::fs::metadata(file).map_err(|error| wrong(&error))?.len();
        if size > MAX_FILE as u64 {
            return Err(wrong(&format!("{file} has {size} bytes, more than {MAX_FILE}")));
        }
        let json = std::fs::read_to_string(file).map_err(|error| wrong(&error))?;
        let read = from_json(chaincode, &json).and_then(|found| collections.define(chaincode, found));
        read.map_err(|fault| wrong(&fault))?;
    }
    Ok(collections)
}

fn store(data: Option<&DataFolder>, channel: &Channel) -> Result<Arc<dyn BlockStore>, NodeError> {
    let options = ledger::Options::default();
    let Some(data) = data else { return Ok(Arc::new(MemoryLedger::new(options))) };
    let folder = ledger_folder(data.path());
    let failed = |error: &dyn std::fmt::Display| {
        let shown = folder.display();
        NodeError::usage(format!(
            "cannot keep the ledger of {channel} in {shown}: {error}: choose another --data"
        ))
    };
    std::fs::create_dir_all(&folder).map_err(|error| failed(&error))?;
    let ledger = DiskLedger::open(&folder, &channel.to_string(), options);
    Ok(Arc::new(ledger.map_err(|error| failed(&error))?))
}

/// Where a data folder has its ledgers.
#[must_use]
pub fn ledger_folder(data: &Path) -> PathBuf {
    data.join("ledger")
}

/// A running member.
#[cfg_attr(not(feature = "admin"), allow(dead_code))] // what only a reload needs
pub struct FabricPeer {
    env: Env,
    wire: Arc<Fabric>,
    stores: bool,
    switch: Switch,
    shell: Arc<Shell>,
    ready: Value,
    /// What happened since the start, until somebody takes it.
    events: Mutex<Option<Receiver<ShellEvent>>>,
    stdin_stop: bool,
    org: String,
    data: Option<DataFolder>,
}

impl std::fmt::Debug for FabricPeer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FabricPeer").field("ready", &self.ready).finish_non_exhaustive()
    }
}

impl FabricPeer {
    /// What of the settings is the node's.
    pub(crate) fn decide(values: &Values) -> Result<NodeConfig, NodeError> {
        let mut of_node = Values::default();
        for (name, given) in values.iter().filter(|(name, _)| OF_NODE.contains(name)) {
            of_node.set(name, given.texts.clone(), given.source.clone());
        }
        of_node.set("wire", vec![FABRIC.to_owned()], Source::Flag);
        if !of_node.has("max-peers") {
            of_node.set("max-peers", vec![MAX_PEERS.to_owned()], Source::Flag);
        }
        NodeConfig::decide(of_node)
    }

    /// Reads keys, certificates and organisations anew and checks them together. The organisation and the data folder are
    /// those of the start.
    #[cfg_attr(not(feature = "admin"), allow(dead_code))]
    pub(crate) fn reload_keys(
        &self,
        node: &NodeConfig,
        old: &Values,
        new: &Values,
    ) -> Result<Reload, NodeError> {
        let key = node.key_beside(FABRIC, self.data.as_ref().map(DataFolder::path));
        if matches!(key, KeySource::Throwaway) {
            return Ok(Box::new(Vec::new));
        }
        let keys = folder(&key, &self.org, &self.env)?;
        let trust = trust_of(keys.trust(), new)?;
        let running = self.wire.folder();
        let same = keys.identity.identity().pki_id() == *self.wire.local_id().as_bytes();
        let own = if same { &keys.identity } else { &running.identity };
        trust.validate(own.identity(), self.env.wall()).map_err(own_identity)?;
        let names =
            |trust: &Trust| -> Vec<String> { trust.organisations().map(|msp| msp.id().to_owned()).collect() };
        let (was, is) = (names(&self.wire.config().policy.trust()), names(&trust));
        let others = was != is || old.texts("trust") != new.texts("trust");
        let keys = super::reload(&self.wire, keys, trust, true)?;
        Ok(Box::new(move || {
            let mut changes = keys();
            if others {
                changes.push(format!("organisations trusted now: {}", is.join(", ")));
            }
            changes
        }))
    }

    /// Starts a member with these settings: one that stores blocks, or one that only looks on.
    ///
    /// # Errors
    /// [`NodeError`]: the first thing that must be changed; then nothing is left running.
    pub async fn start(values: &Values, stores: bool, env: Env) -> Result<Self, NodeError> {
        let node = Self::decide(values)?;
        if node.listen.is_empty() {
            return Err(NodeError::usage(
                "a peer must be reached: say where it listens with --listen HOST:PORT",
            ));
        }
        if node.listen.iter().all(|at| at.addr.ip().is_unspecified()) && !values.has("endpoint") {
            let at = node.listen.first().map(|at| at.addr.to_string()).unwrap_or_default();
            return Err(NodeError::usage(format!(
                "--listen {at} is no address that members can dial: tell them one with --endpoint HOST:PORT"
            )));
        }
        if values.switch("no-tls")?
            && let Some(at) = node.listen.iter().find(|at| !at.addr.ip().to_canonical().is_loopback())
        {
            return Err(NodeError::usage(format!(
                "--no-tls speaks plain text, between loopback addresses only: --listen {} is none, take 127.0.0.1 or leave out \
                 --no-tls",
                at.addr
            )));
        }
        for name in ["recvBuffSize", "membershipTrackerInterval", "stateInfoRetentionInterval"] {
            if values.has(name) {
                tracing::warn!(target: "switchboard::fabric", "{name} has no effect here: see docs/facts/fabric.md, section 13");
            }
        }
        let own = values.text("org").unwrap_or(DEFAULT_ORG);
        let own_org = Org::parse(own).ok_or_else(|| usage("org", own, "no MSP id"))?;
        let data = node.data.as_deref().map(DataFolder::take).transpose()?;
        let keys = folder(&node.key(FABRIC), own, &env)?;
        let trust = trust_of(keys.trust(), values)?;
        let mut plan = Plan::decide(values, &own_org, &trust, stores)?;
        if !stores {
            // It looks on: it is no leader, and sees who is.
            (plan.config.org_leader, plan.config.use_leader_election) = (false, false);
            plan.config.observes_leaders = true;
        }
        let role = trust.validate(keys.identity.identity(), env.wall());
        let role = role.map_err(own_identity)?;
        let subject = subject(keys.identity.identity(), role);
        let mut joining = Vec::new();
        let mut chaincodes = chaincodes(values, &plan.channels)?;
        for channel in &plan.channels {
            let setup = match stores {
                true => Some(Self::setup(values, &plan, channel, &own_org, &subject, data.as_ref())?),
                false => None,
            };
            let config = JoinConfig::new(1, plan.orgs.clone());
            let chaincodes = chaincodes.remove(channel).unwrap_or_default();
            joining.push(Joining::new(channel.clone(), config).with(|joining| {
                joining.setup = setup;
                joining.chaincodes = chaincodes;
            }));
        }
        let (wire, crypto) = Self::made(values, keys, trust, &env)?;
        let (kept, clock) = (Arc::clone(&wire), env.clone());
        let shell = Shell::new(env.clone(), Arc::clone(&wire), crypto);
        let events = Mutex::new(Some(shell.events()));
        let beginning = Beginning::new(plan.config, plan.external, joining);
        let service = GossipService::new(Arc::clone(&shell), beginning);
        let limits = Limits::default().with(|limits| {
            OwnSlots::of(&*wire, None).lay(limits, node.max_peers, true);
            // A whole organisation may start at once, and each member probes before it connects.
            limits.pending_inbound = PENDING_INBOUND;
            limits.trusted.clone_from(&node.trusted);
            limits.send_rate = node.send_rate;
            limits.recv_rate = node.recv_rate;
            limits.strict_addresses = node.strict_addresses;
        });
        let mut builder = SwitchBuilder::new(env).limits(limits).access(node.access.clone());
        builder = builder.wire(wire).service(service);
        for ListenAt { wire, addr } in &node.listen {
            builder = builder.listen(*addr, wire.as_slice());
        }
        let switch = builder.start().await.map_err(NodeError::usage)?;
        for peer in &node.peers {
            let (_, candidate) = node.kits.parse(peer)?;
            switch.add_static(candidate).await;
        }
        let endpoint = shell.look(|gossip| gossip.self_info().endpoint.to_string());
        let pki_id = shell.look(|gossip| gossip.pki_id().to_string());
        let listening: Vec<_> = switch
            .listening()
            .iter()
            .map(|(addr, wires)| json!({"address": addr.to_string(), "wires": wires}))
            .collect();
        let ready = json!({
            "event": "ready",
            "fabric": {"endpoint": endpoint, "pki_id": pki_id, "msp": own},
            "listening": listening,
        });
        let stdin_stop = node.stdin_stop;
        let org = own.to_owned();
        Ok(Self { env: clock, wire: kept, stores, switch, shell, ready, events, stdin_stop, org, data })
    }

    fn setup(
        values: &Values,
        plan: &Plan,
        channel: &Channel,
        own: &Org,
        subject: &Subject,
        data: Option<&DataFolder>,
    ) -> Result<ChannelSetup, NodeError> {
        let collections = collections(values, &plan.channels, channel, own, &plan.config)?;
        let (store, verifier) = (store(data, channel)?, plan.verifier(channel));
        let setup = ChannelSetup::new(store, verifier, plan.config.clone(), subject.clone(), collections);
        Ok(setup.with(|setup| {
            let blocks = plan.source(values, "blocks-from", channel);
            setup.source = blocks.map(|folder| BlockFolder::new(&folder));
            setup.private_source = plan.source(values, "private-from", channel);
        }))
    }

    fn made(
        values: &Values,
        keys: switchboard_fabric::PeerFolder,
        trust: Trust,
        env: &Env,
    ) -> Result<(Arc<Fabric>, Arc<MspCrypto>), NodeError> {
        let mut config = FabricConfig::trusting(keys, trust);
        let known = KnownPeers::new(Arc::clone(&config.policy) as Arc<MspPolicy>);
        config.peers = Arc::clone(&known) as Arc<dyn PeerPolicy>;
        config.verify_clients = values.switch("verify-clients")?;
        config.identity_switch = true;
        wire_config(values, &mut config)?;
        let wire = Arc::new(Fabric::new(config).map_err(NodeError::usage)?);
        let clock = env.clone();
        let crypto = MspCrypto::new(Arc::clone(&wire), known, move || clock.wall());
        Ok((wire, crypto))
    }

    /// Its gossip: events, members, channels.
    #[must_use]
    pub fn shell(&self) -> &Arc<Shell> {
        &self.shell
    }

    /// Everything that happened since the start; to whoever asks again, what happens from now on.
    #[must_use]
    pub fn events(&self) -> Receiver<ShellEvent> {
        let first = self.events.lock().ok().and_then(|mut events| events.take());
        first.unwrap_or_else(|| self.shell.events())
    }

    /// Its wire.
    #[must_use]
    pub fn wire(&self) -> &Fabric {
        &self.wire
    }

    /// Whether it stores blocks.
    #[must_use]
    pub fn stores(&self) -> bool {
        self.stores
    }

    /// Its Switch.
    #[must_use]
    pub fn switch(&self) -> &Switch {
        &self.switch
    }

    /// The ready line.
    #[must_use]
    pub fn ready(&self) -> &Value {
        &self.ready
    }

    /// Whether the end of standard input is a reason to stop.
    #[must_use]
    pub fn stdin_stop(&self) -> bool {
        self.stdin_stop
    }

    /// Says that it leaves its channels, then ends every session and stops.
    pub async fn stop(&self) {
        self.shell.stop().await;
        self.switch.stop().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collection_files_are_named_in_three_ways() {
        let channels = ["one", "two"].map(|name| Channel::parse(name.as_bytes()).unwrap());
        let parse = |text| CollectionFile::parse(text, &channels);
        let of = |of, chaincode, file| CollectionFile { of, chaincode, file };
        assert_eq!(parse("dir/marbles.json").unwrap(), of(None, "marbles", "dir/marbles.json"));
        assert_eq!(parse("cc=a=b.json").unwrap(), of(None, "cc", "a=b.json"));
        assert_eq!(parse("two/cc=f").unwrap(), of(Some(&channels[1]), "cc", "f"));
        for (wrong, why) in
            [("three/cc=f", "--channel"), ("=f", "write FILE"), ("cc=", "write FILE"), ("..", "write FILE")]
        {
            let error = parse(wrong).unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("--collection"), "{wrong}: {error}");
        }
    }
}
