//! What the comet wire brings beyond itself: peer exchange, the monitor, kept, unconditional and private peers.

use crate::error::NodeError;
use crate::kit::{BuildRequest, Roles};
use crate::settings::Values;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use switchboard::{Candidate, PeerId};
use switchboard_comet::fuzz_conn::{FuzzConfig, Mode};
use switchboard_comet::key::NodeId;
use switchboard_comet::monitor::Monitor;
use switchboard_comet::netaddress::NetAddress;
use switchboard_comet::packet::Era;
use switchboard_comet::pex::{Options, PeerAddress, Pex, book::Book};
use switchboard_comet::{COMET, CometConfig};

/// Inbound and outbound peers of a node that looks for peers (cometbft config/config.go).
const SLOTS: (usize, usize) = (40, 10);
/// Inbound and outbound peers of a seed: they stay for moments.
const SEED_SLOTS: (usize, usize) = (256, 32);
/// The book's file in a data folder (cometbft config/config.go).
const BOOK: &str = "addrbook.json";

/// `ID@HOST:PORT`, also as a URL.
#[derive(Debug, Clone)]
struct Address(NetAddress);

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text.strip_prefix("comet://").unwrap_or(text);
        let wrong = |error: &dyn std::fmt::Display| {
            let shown = switchboard::text::printable(text);
            format!("{shown:?} is not ID@HOST:PORT with an ID of 40 hex digits: {error}")
        };
        let address = NetAddress::parse(bare).map_err(|error| wrong(&error))?;
        if address.port() == 0 { Err(wrong(&"the port is 0")) } else { Ok(Self(address)) }
    }
}

#[derive(Debug, Clone, Copy)]
struct Id(NodeId);

impl FromStr for Id {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let id = NodeId::parse(text).map(Self);
        id.ok_or_else(|| format!("{:?} is no ID of 40 hex digits", switchboard::text::printable(text)))
    }
}

#[derive(Debug, Clone, Copy)]
struct Chance(f64);

impl FromStr for Chance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let chance = text.parse().ok().filter(|chance| (0.0..=1.0).contains(chance));
        chance.map(Self).ok_or_else(|| format!("{text:?} is no chance between 0 and 1"))
    }
}

#[derive(Debug, Clone, Copy)]
struct EraName(Era);

impl FromStr for EraName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "protobuf" => Ok(Self(Era::Protobuf)),
            "go-wire" => Ok(Self(Era::GoWire)),
            _ => Err(format!("{text:?} is no era: use protobuf or go-wire")),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct ModeName(Mode);

impl FromStr for ModeName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "drop" => Ok(Self(Mode::Drop)),
            "delay" => Ok(Self(Mode::Delay)),
            _ => Err(format!("{text:?} is no way to misbehave: use drop or delay")),
        }
    }
}

/// Applies what concerns the wire itself.
pub(super) fn configure(values: &Values, config: &mut CometConfig) -> Result<(), NodeError> {
    config.allow_duplicate_ip = values.switch("allow-local")?;
    if let Some(EraName(era)) = values.parse("era")? {
        config.era = era;
    }
    if let Some(within) = values.above_zero("handshake-timeout", Values::duration)? {
        (config.secure_within, config.node_info_within) = (within, within);
    }
    if let Some(within) = values.above_zero("dial-timeout", Values::duration)? {
        config.dial_within = within;
    }
    config.redial.give_up = values.switch("persistent-peers-give-up")?;
    config.redial.most = values.duration("persistent-peers-max-dial-period")?;
    if let Some(ModeName(mode)) = values.parse("test-fuzz")? {
        let usual = FuzzConfig::default();
        let chance = |name| Ok::<_, NodeError>(values.parse::<Chance>(name)?.map(|chance| chance.0));
        let time = |name, usual: Duration| Ok::<_, NodeError>(values.duration(name)?.unwrap_or(usual));
        let (max_delay, start_after) = (
            time("test-fuzz-max-delay", usual.max_delay)?,
            time("test-fuzz-start-after", usual.start_after)?,
        );
        let (drop_rw, drop_conn) = (chance("test-fuzz-drop-rw")?, chance("test-fuzz-drop-conn")?);
        config.test_fuzz = Some(usual.with(|fuzz| {
            (fuzz.mode, fuzz.max_delay, fuzz.start_after) = (mode, max_delay, start_after);
            fuzz.drop_rw = drop_rw.unwrap_or(fuzz.drop_rw);
            fuzz.drop_conn = drop_conn.unwrap_or(fuzz.drop_conn);
        }));
    }
    Ok(())
}

fn candidate(address: &NetAddress) -> Option<Candidate> {
    let id = PeerId::new(COMET, &address.id()?.0)?;
    Some(Candidate::new(COMET, address.host().to_string(), address.port()).id(id))
}

/// What the wire brings beyond itself: the exchange, the monitor, kept and unconditional peers, slots.
pub(super) fn roles(request: &BuildRequest<'_>, id: NodeId) -> Result<Roles, NodeError> {
    let values = request.values;
    let mut roles = Roles::default();
    let persistent: Vec<Address> = values.parse_all("persistent-peers")?;
    roles.statics = persistent.iter().filter_map(|address| candidate(&address.0)).collect();
    let unconditional: Vec<Id> = values.parse_all("unconditional-peer-ids")?;
    roles.unconditional = unconditional.iter().filter_map(|id| PeerId::new(COMET, &id.0.0)).collect();
    if values.switch("monitor")? {
        roles.services.push(Arc::new(Monitor::new()));
    }
    let seed_mode = values.switch("seed-mode")?;
    if !seed_mode && !values.switch("pex")? {
        if let Some(name) = ["seed", "addrbook"].into_iter().find(|name| values.has(name)) {
            return Err(NodeError::usage(format!("--{name} has no use without peer exchange: add --pex")));
        }
        return Ok(roles);
    }
    roles.slots = Some(if seed_mode { SEED_SLOTS } else { SLOTS });
    let mut options = Options::new(id);
    options.strict = !values.switch("allow-local")?;
    options.outbound = roles.slots.map_or(options.outbound, |(_, outbound)| outbound);
    options.state.seed_mode = seed_mode;
    options.state.seeds = values.parse_all::<Address>("seed")?.into_iter().map(|seed| seed.0).collect();
    options.private = values.parse_all::<Id>("private-peer-ids")?.into_iter().map(|id| id.0).collect();
    let external = request.external.and_then(|at| at.addr());
    options.own.extend(external.map(|at| PeerAddress::new(id, at.ip(), at.port())));
    let file = values.path("addrbook").or_else(|| values.path("data").map(|data| data.join(BOOK)));
    let pex = match file {
        Some(file) => open(file, options, request)?,
        None => {
            let key = hex::encode(request.env.random::<12>());
            Pex::new(Book::with_key(key, options.strict), options, request.env.clone())
        }
    };
    roles.services.push(Arc::new(pex));
    Ok(roles)
}

fn open(file: PathBuf, options: Options, request: &BuildRequest<'_>) -> Result<Pex, NodeError> {
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|e| {
            NodeError::usage(format!("cannot make {}: {e}: choose another --addrbook", folder.display()))
        })?;
    }
    Pex::open(&file, options, request.env.clone())
        .map_err(|error| NodeError::usage(format!("{error}: choose another --addrbook")))
}
