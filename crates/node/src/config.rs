//! What a node is told, decided: which wires, where it listens, whom it keeps, how much it takes.

use crate::error::NodeError;
use crate::kit::{External, KeySource, Kit};
use crate::settings::{Form, Setting, Values};
use crate::wires::Kits;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::str::FromStr;
use switchboard::{AccessList, PeerId, WireName};

/// The node's own settings and its limits; each wire's stand in its folder.
pub const SETTINGS: &[Setting] = &[
    Setting::list("node", "wire", Form::Text, "Wires to serve, separated by commas (default: all)"),
    Setting::list(
        "node",
        "listen",
        Form::Text,
        "Where to listen, for all wires on one port, or as WIRE=ADDRESS for one; may be repeated",
    ),
    Setting::list(
        "node",
        "external",
        Form::Text,
        "The address peers should dial, as WIRE=HOST:PORT, or HOST:PORT where one wire is served; may be repeated",
    ),
    Setting::list("node", "key-file", Form::Path, "A key file, as WIRE=PATH; may be repeated"),
    Setting::one(
        "node",
        "data",
        Form::Path,
        "Folder for keys and received files; without it keys are thrown away at the end",
    ),
    Setting::one(
        "node",
        "admin",
        Form::Text,
        "Where HTTP for administration and metrics is served, as 127.0.0.1:PORT; off: no socket in the data folder either (default: only that socket)",
    ),
    Setting::one(
        "node",
        "admin-token",
        Form::Path,
        "File with the token that HTTP asks for, readable by its owner only; other addresses than loopback need one",
    ),
    Setting::one(
        "node",
        "metric-names",
        Form::Text,
        "Names of metrics: own, or native for those of geth, CometBFT and Fabric beside them (default: own)",
    ),
    Setting::list("node", "peer", Form::Text, "A peer to keep connected, by URL; may be repeated"),
    Setting::list(
        "node",
        "protocol",
        Form::Text,
        "Protocols to run: bench, cast; may be repeated (default: cast)",
    ),
    Setting::list("node", "cast", Form::Path, "A file to cast to the network; may be repeated"),
    Setting::one(
        "node",
        "cast-dir",
        Form::Path,
        "Folder for received files (default: DATA/cast, or a temporary one)",
    ),
    Setting::one("node", "no-receive", Form::Switch, "Take no files that others cast; give only"),
    Setting::one(
        "node",
        "nat",
        Form::Text,
        "How a router is asked for the port: any, upnp, pmp, pcp, extip:IP or stun (default: none)",
    ),
    Setting::one("node", "stdin-stop", Form::Switch, "Stop when standard input ends"),
    Setting::one(
        "limits",
        "max-peers",
        Form::Number,
        "Most peers that may connect to this node, and that it looks for (default: 50)",
    ),
    Setting::one(
        "limits",
        "send-rate",
        Form::Bytes,
        "Bytes a second sent to one peer at most, as in 5MB (default: no limit; so is 0)",
    ),
    Setting::one(
        "limits",
        "recv-rate",
        Form::Bytes,
        "Bytes a second taken from one peer at most (default: no limit; so is 0)",
    ),
    Setting::one(
        "limits",
        "cast-max-bytes",
        Form::Bytes,
        "Bytes of disk for all received files together, as in 10GB; the oldest make room (default: 64 GiB)",
    ),
    Setting::list(
        "limits",
        "trusted",
        Form::Text,
        "Peers let in beyond the slots and never banned, as WIRE:ID or an address with an identity; may be repeated",
    ),
    Setting::list(
        "limits",
        "access-allow",
        Form::Text,
        "Networks that may connect and be dialled, as in 10.0.0.0/8; may be repeated",
    ),
    Setting::list("limits", "access-deny", Form::Text, "Networks that may not; may be repeated"),
    Setting::one(
        "limits",
        "strict-addresses",
        Form::Switch,
        "Hold loopback and private addresses to every rule by address: one for each, subnets, throttle, bans",
    ),
];

/// A protocol that comes with the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ProtocolName {
    /// Measuring.
    Bench,
    /// Sending a file to every node.
    Cast,
}

impl ProtocolName {
    /// Its name, as flags give it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bench => "bench",
            Self::Cast => "cast",
        }
    }
}

impl FromStr for ProtocolName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "bench" => Ok(Self::Bench),
            "cast" => Ok(Self::Cast),
            other => Err(format!("there is no protocol {other:?}: use bench or cast")),
        }
    }
}

/// `WIRE=VALUE`, or the value for whichever wire it concerns.
struct ForWire<T> {
    wire: Option<WireName>,
    value: T,
}

impl<T: FromStr<Err = String>> ForWire<T> {
    fn all(values: &Values, name: &str, kits: &Kits) -> Result<Vec<Self>, NodeError> {
        values.read(name, |text| {
            let (wire, value) = match text.split_once('=') {
                Some((wire, value)) => (Some(kits.named(wire)?.name()), value),
                None => (None, text),
            };
            Ok(Self { wire, value: value.parse()? })
        })
    }
}

#[derive(Debug, Clone)]
struct ListenAddr(SocketAddr);

impl FromStr for ListenAddr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |_| format!("{text:?} is not IP:PORT, as in 0.0.0.0:30303 or [::]:0");
        text.parse().map(Self).map_err(wrong)
    }
}

/// Whom a text names: `WIRE:ID`, or an address with an identity.
fn whom(kits: &Kits, text: &str) -> Result<PeerId, String> {
    let named = text.split_once(':').and_then(|(wire, digits)| {
        let wire = kits.get(wire)?.name();
        PeerId::new(wire, &hex::decode(digits).ok()?)
    });
    if let Some(id) = named {
        return Ok(id);
    }
    let (_, candidate) = kits.parse(text).map_err(|error| error.to_string())?;
    let shown = switchboard::text::printable(text);
    candidate
        .id
        .ok_or_else(|| format!("{shown:?} names no identity: write WIRE:ID, or an address that has one"))
}

/// A network in CIDR form; a plain address is a network of one.
#[derive(Debug, Clone)]
struct Net(ipnet::IpNet);

impl FromStr for Net {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let single = || text.parse::<std::net::IpAddr>().map(ipnet::IpNet::from).ok();
        let net = text.parse().ok().or_else(single);
        net.map(Self).ok_or_else(|| format!("{text:?} is not a network, as in 10.0.0.0/8"))
    }
}

/// An address to listen on, for one wire or for all.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct ListenAt {
    /// The wire; none for all.
    pub wire: Option<WireName>,
    /// The address.
    pub addr: SocketAddr,
}

/// A node's settings, decided.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NodeConfig {
    /// Wires to serve, in the order things are shown.
    pub wires: Vec<WireName>,
    /// Where to listen.
    pub listen: Vec<ListenAt>,
    /// The address peers should dial, by wire.
    pub external: Vec<(WireName, External)>,
    /// Key files, by wire.
    pub key_files: Vec<(WireName, PathBuf)>,
    /// The data folder.
    pub data: Option<PathBuf>,
    /// Peers to keep connected.
    pub peers: Vec<String>,
    /// Protocols that come with the node.
    pub protocols: Vec<ProtocolName>,
    /// Files to cast.
    pub cast: Vec<PathBuf>,
    /// Folder for received files.
    pub cast_dir: Option<PathBuf>,
    /// Whether files that others cast are taken.
    pub receive: bool,
    /// Bytes of disk for all received files together.
    pub cast_max_bytes: u64,
    /// Most peers in each direction.
    pub max_peers: usize,
    /// Bytes a second to one peer.
    pub send_rate: Option<NonZeroU64>,
    /// Bytes a second from one peer.
    pub recv_rate: Option<NonZeroU64>,
    /// Peers let in beyond the slots and never banned.
    pub trusted: BTreeSet<PeerId>,
    /// Who may connect and be dialled.
    pub access: AccessList,
    /// Whether rules by address hold for loopback and private addresses, too.
    pub strict_addresses: bool,
    /// How the node is reached behind a router.
    pub nat: switchboard_nat::NatSpec,
    /// Whether the end of standard input is a reason to stop.
    pub stdin_stop: bool,
    /// Everything that was given, for the wires' own settings.
    pub values: Values,
    /// The wires there are.
    pub kits: Kits,
}

/// Peers in each direction where nothing is said.
const MAX_PEERS: u64 = 50;
/// Bytes of received files where nothing is said.
const CAST_MAX_BYTES: u64 = 64 << 30;

/// Whether this is a file that can be read.
fn readable(path: &std::path::Path) -> std::io::Result<()> {
    let kind = std::fs::File::open(path)?.metadata()?;
    if kind.is_file() { Ok(()) } else { Err(std::io::Error::other("not a file")) }
}

/// Whether two paths lead to one file.
fn same_file(one: &std::path::Path, other: &std::path::Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

impl NodeConfig {
    /// Decides what was given, with the wires of this repository.
    ///
    /// # Errors
    /// The first value that cannot be, or that does not fit the others, with what to change.
    pub fn decide(values: Values) -> Result<Self, NodeError> {
        Self::decide_among(Kits::builtin(), values)
    }

    /// Decides what was given, with these wires.
    ///
    /// # Errors
    /// The first value that cannot be, or that does not fit the others, with what to change.
    pub fn decide_among(kits: Kits, values: Values) -> Result<Self, NodeError> {
        let wires = Self::wires(&values, &kits)?;
        let served = |wire: WireName| wires.contains(&wire);
        let unserved = |flag: &str, wire| {
            NodeError::usage(format!("{flag} names wire {wire}, which --wire does not serve"))
        };
        let listen = ForWire::<ListenAddr>::all(&values, "listen", &kits)?;
        if let Some(wire) = listen.iter().filter_map(|l| l.wire).find(|w| !served(w)) {
            return Err(unserved("--listen", wire));
        }
        let nets =
            |name| Ok::<_, NodeError>(values.parse_all::<Net>(name)?.into_iter().map(|net| net.0).collect());
        let mut protocols: Vec<ProtocolName> = values.parse_all("protocol")?;
        let mut alone = false;
        for name in &wires {
            alone |= kits.get(name).map_or(Ok(false), |kit| kit.stands_alone(&values))?;
        }
        if protocols.is_empty() && !alone {
            protocols.push(ProtocolName::Cast);
        }
        protocols.sort_unstable();
        protocols.dedup();
        let max_peers = values.number("max-peers")?.unwrap_or(MAX_PEERS);
        let config = Self {
            listen: listen.into_iter().map(|l| ListenAt { wire: l.wire, addr: l.value.0 }).collect(),
            external: Self::external(&values, &wires, &kits)?,
            key_files: Self::key_files(&values, &kits)?,
            data: values.path("data"),
            peers: values.texts("peer").to_vec(),
            protocols,
            cast: values.texts("cast").iter().map(PathBuf::from).collect(),
            cast_dir: values.path("cast-dir"),
            receive: !values.switch("no-receive")?,
            cast_max_bytes: values.above_zero("cast-max-bytes", Values::bytes)?.unwrap_or(CAST_MAX_BYTES),
            max_peers: usize::try_from(max_peers).unwrap_or(usize::MAX),
            send_rate: values.bytes("send-rate")?.and_then(NonZeroU64::new),
            recv_rate: values.bytes("recv-rate")?.and_then(NonZeroU64::new),
            trusted: values.read("trusted", |text| whom(&kits, text))?.into_iter().collect(),
            access: AccessList::new(nets("access-allow")?, nets("access-deny")?),
            strict_addresses: values.switch("strict-addresses")?,
            nat: values.parse("nat")?.unwrap_or_default(),
            stdin_stop: values.switch("stdin-stop")?,
            wires,
            values,
            kits,
        };
        config.check()
    }

    fn wires(values: &Values, kits: &Kits) -> Result<Vec<WireName>, NodeError> {
        let chosen = values.read("wire", |text| Ok(kits.named(text)?.name()))?;
        let all = kits.iter().map(Kit::name);
        Ok(all.filter(|name| chosen.is_empty() || chosen.contains(name)).collect())
    }

    /// Flags of wires that are not served, a line each: whoever gave one may expect something of it. A file may hold the
    /// sections of all wires, and variables those of many nodes.
    #[must_use]
    pub fn without_effect(&self) -> Vec<String> {
        let unserved = self.kits.iter().filter(|kit| !self.wires.contains(&kit.name()));
        let settings =
            unserved.flat_map(|kit| kit.settings().iter().map(|setting| (setting.name, kit.name())));
        let given = settings.filter(|(name, _)| self.values.is_flag(name));
        given
            .map(|(name, wire)| {
                format!("--{name} has no effect: it is of wire {wire}, which --wire does not serve")
            })
            .collect()
    }

    fn external(
        values: &Values,
        wires: &[WireName],
        kits: &Kits,
    ) -> Result<Vec<(WireName, External)>, NodeError> {
        let given = ForWire::<External>::all(values, "external", kits)?;
        let place = |given: ForWire<External>| match (given.wire, wires) {
            (Some(wire), _) if wires.contains(&wire) => Ok((wire, given.value)),
            (Some(wire), _) => {
                Err(NodeError::usage(format!("--external names wire {wire}, which --wire does not serve")))
            }
            (None, [only]) => Ok((*only, given.value)),
            (None, _) => Err(NodeError::usage(format!(
                "--external {} does not say for which wire: write WIRE={}",
                given.value, given.value
            ))),
        };
        given.into_iter().map(place).collect()
    }

    fn key_files(values: &Values, kits: &Kits) -> Result<Vec<(WireName, PathBuf)>, NodeError> {
        let given = values.read("key-file", |text| KeyFile::among(kits, text))?;
        Ok(given.into_iter().map(|key| (key.wire, key.path)).collect())
    }

    fn check(self) -> Result<Self, NodeError> {
        let served = |wire: WireName| self.wires.contains(&wire);
        if let Some((wire, _)) = self.key_files.iter().find(|(wire, _)| !served(wire)) {
            return Err(NodeError::usage(format!(
                "--key-file names wire {wire}, which --wire does not serve"
            )));
        }
        for (n, (wire, path)) in self.key_files.iter().enumerate() {
            let same = |other: &PathBuf| other == path || same_file(other, path);
            let twice = self.key_files.iter().take(n).find(|(other, at)| other != wire && same(at));
            if let Some((other, _)) = twice {
                let path = path.display();
                return Err(NodeError::usage(format!(
                    "--key-file gives {other} and {wire} one key, {path}: give each wire a key of its own (switchboard keygen)"
                )));
            }
        }
        for peer in &self.peers {
            let (kit, _) = self.kits.parse(peer)?;
            if !served(kit.name()) {
                let wire = kit.name();
                return Err(NodeError::usage(format!(
                    "--peer {peer} is of wire {wire}, which --wire does not serve"
                )));
            }
        }
        if let Some((file, error)) = self.cast.iter().find_map(|f| Some((f, readable(f).err()?))) {
            return Err(NodeError::usage(format!(
                "cannot cast {}: {error}: give another --cast",
                file.display()
            )));
        }
        if !self.cast.is_empty() && !self.protocols.contains(&ProtocolName::Cast) {
            return Err(NodeError::usage("--cast needs the protocol cast: add --protocol cast"));
        }
        Ok(self)
    }

    /// Where the key of a wire comes from.
    #[must_use]
    pub fn key(&self, wire: WireName) -> KeySource {
        self.key_beside(wire, self.data.as_deref())
    }

    /// The same with another data folder: that of a running node, which keeps the one it has.
    pub(crate) fn key_beside(&self, wire: WireName, data: Option<&std::path::Path>) -> KeySource {
        match self.key_files.iter().find(|(name, _)| *name == wire) {
            Some((_, path)) => KeySource::File(path.clone()),
            None => data.map_or(KeySource::Throwaway, |data| KeySource::Data(data.to_owned())),
        }
    }
}

/// `devp2p=PATH`: a key file for one wire.
#[derive(Debug, Clone)]
pub struct KeyFile {
    /// The wire.
    pub wire: WireName,
    /// The file, or folder.
    pub path: PathBuf,
}

impl KeyFile {
    /// Reads `WIRE=PATH` with one of these wires.
    ///
    /// # Errors
    /// A sentence that says what is expected.
    pub fn among(kits: &Kits, text: &str) -> Result<Self, String> {
        let (wire, path) = text.split_once('=').ok_or_else(|| format!("{text:?} is not WIRE=PATH"))?;
        Ok(Self { wire: kits.named(wire)?.name(), path: path.into() })
    }
}

impl FromStr for KeyFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::among(&Kits::builtin(), text)
    }
}
