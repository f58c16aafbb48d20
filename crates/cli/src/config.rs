//! A node's settings: a TOML file, the environment, and flags, in rising order of strength.

use crate::fail::Fail;
use crate::wires::{KeyFile, KeySource, Kind};
use serde::Deserialize;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use switchboard::AccessList;

/// Run a node. It stops on SIGINT, SIGTERM, and with --stdin-stop at the end of standard input.
///
/// Example: switchboard node --wire devp2p,comet --listen 0.0.0.0:30303 --data ./data --protocol cast
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A TOML file with the same names as these flags.
    #[arg(long, env = "SWITCHBOARD_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Wires to serve, separated by commas (default: all).
    #[arg(long, env = "SWITCHBOARD_WIRE", value_delimiter = ',')]
    wire: Vec<Kind>,
    /// Where to listen, for all wires on one port, or as WIRE=ADDRESS for one; may be repeated.
    #[arg(long, env = "SWITCHBOARD_LISTEN", value_delimiter = ',')]
    listen: Vec<ListenAt>,
    /// A key file, as WIRE=PATH; may be repeated.
    #[arg(long, env = "SWITCHBOARD_KEY_FILE", value_delimiter = ',')]
    key_file: Vec<KeyFile>,
    /// Folder for keys and received files; without it keys are thrown away at the end.
    #[arg(long, env = "SWITCHBOARD_DATA")]
    data: Option<PathBuf>,
    /// Network name (chain id) on wires that have one (default: switchboard).
    #[arg(long, env = "SWITCHBOARD_NETWORK")]
    network: Option<String>,
    /// MSP id of our organisation on the fabric wire (default: Org1MSP).
    #[arg(long, env = "SWITCHBOARD_ORG")]
    org: Option<String>,
    /// Gossip channel that casts ride on, on the fabric wire (default: cast).
    #[arg(long, env = "SWITCHBOARD_CHANNEL")]
    channel: Option<String>,
    /// A peer to keep connected, by URL; may be repeated.
    #[arg(long, env = "SWITCHBOARD_PEER", value_delimiter = ',')]
    peer: Vec<String>,
    /// Protocols to run: bench, cast; may be repeated (default: cast).
    #[arg(long, env = "SWITCHBOARD_PROTOCOL", value_delimiter = ',')]
    protocol: Vec<ProtocolName>,
    /// Most peers that may connect to this node, and that it looks for (default: 50).
    #[arg(long, env = "SWITCHBOARD_MAX_PEERS")]
    max_peers: Option<usize>,
    /// Bytes a second sent to one peer at most (default: no limit; so is 0).
    #[arg(long, env = "SWITCHBOARD_SEND_RATE")]
    send_rate: Option<u64>,
    /// Bytes a second taken from one peer at most (default: no limit; so is 0).
    #[arg(long, env = "SWITCHBOARD_RECV_RATE")]
    recv_rate: Option<u64>,
    /// A file to cast to the network; may be repeated.
    #[arg(long, env = "SWITCHBOARD_CAST", value_delimiter = ',')]
    cast: Vec<PathBuf>,
    /// Folder for received files (default: DATA/cast, or a temporary one).
    #[arg(long, env = "SWITCHBOARD_CAST_DIR")]
    cast_dir: Option<PathBuf>,
    /// Networks that may connect and be dialled, as in 10.0.0.0/8; may be repeated.
    #[arg(long, alias = "allow", env = "SWITCHBOARD_ACCESS_ALLOW", value_delimiter = ',')]
    access_allow: Vec<Net>,
    /// Networks that may not; may be repeated.
    #[arg(long, alias = "deny", env = "SWITCHBOARD_ACCESS_DENY", value_delimiter = ',')]
    access_deny: Vec<Net>,
    /// Stop when standard input ends.
    #[arg(long, env = "SWITCHBOARD_STDIN_STOP", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_parser = clap::builder::BoolishValueParser::new())]
    stdin_stop: Option<bool>,
}

/// A protocol the command can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ProtocolName {
    Bench,
    Cast,
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

/// An address to listen on, for one wire or for all.
#[derive(Debug, Clone)]
pub(crate) struct ListenAt {
    pub(crate) wire: Option<Kind>,
    pub(crate) addr: SocketAddr,
}

impl FromStr for ListenAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (wire, addr) = match text.split_once('=') {
            Some((wire, addr)) => (Some(wire.parse()?), addr),
            None => (None, text),
        };
        let addr =
            addr.parse().map_err(|_| format!("{addr:?} is not IP:PORT, as in 0.0.0.0:30303 or [::]:0"))?;
        Ok(Self { wire, addr })
    }
}

/// A network in CIDR form; a plain address is a network of one.
#[derive(Debug, Clone)]
pub(crate) struct Net(ipnet::IpNet);

impl FromStr for Net {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let single = || text.parse::<std::net::IpAddr>().map(ipnet::IpNet::from).ok();
        let net = text.parse().ok().or_else(single);
        net.map(Self).ok_or_else(|| format!("{text:?} is not a network, as in 10.0.0.0/8"))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct File {
    wire: Vec<String>,
    listen: Vec<String>,
    key_file: Vec<String>,
    data: Option<PathBuf>,
    network: Option<String>,
    org: Option<String>,
    channel: Option<String>,
    peer: Vec<String>,
    protocol: Vec<ProtocolName>,
    max_peers: Option<usize>,
    send_rate: Option<u64>,
    recv_rate: Option<u64>,
    cast: Vec<PathBuf>,
    cast_dir: Option<PathBuf>,
    access_allow: Vec<String>,
    access_deny: Vec<String>,
    stdin_stop: Option<bool>,
}

/// A node's settings, decided.
#[derive(Debug)]
pub(crate) struct NodeConfig {
    pub(crate) wires: Vec<Kind>,
    pub(crate) listen: Vec<ListenAt>,
    pub(crate) key_files: Vec<KeyFile>,
    pub(crate) data: Option<PathBuf>,
    pub(crate) network: String,
    pub(crate) org: String,
    pub(crate) channel: String,
    pub(crate) peers: Vec<String>,
    pub(crate) protocols: Vec<ProtocolName>,
    pub(crate) max_peers: usize,
    pub(crate) send_rate: Option<NonZeroU64>,
    pub(crate) recv_rate: Option<NonZeroU64>,
    pub(crate) cast: Vec<PathBuf>,
    pub(crate) cast_dir: Option<PathBuf>,
    pub(crate) access: AccessList,
    pub(crate) stdin_stop: bool,
}

/// The MSP id where none is given.
pub(crate) const DEFAULT_ORG: &str = "Org1MSP";
/// The gossip channel where none is given.
pub(crate) const DEFAULT_CHANNEL: &str = switchboard_fabric::cast::CHANNEL;
/// The network name where none is given.
pub(crate) const DEFAULT_NETWORK: &str = "switchboard";

fn read(path: &PathBuf) -> Result<File, Fail> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|e| {
        Fail::usage(format!("cannot read the configuration {name}: {e}: give another --config"))
    })?;
    toml::from_str(&text).map_err(|e| {
        let start = e.span().map_or(0, |span| span.start);
        let line = text.bytes().take(start).filter(|b| *b == b'\n').count() + 1;
        Fail::usage(format!("{name}, line {line}: {}: correct that line", e.message()))
    })
}

/// The flags' values, or else the file's.
fn stronger<T: FromStr<Err = String>>(
    flags: Vec<T>,
    values: &[String],
    name: &str,
    from: &str,
) -> Result<Vec<T>, Fail> {
    if !flags.is_empty() {
        return Ok(flags);
    }
    let read = |text: &String| text.parse().map_err(|e| Fail::usage(format!("{from}: {name}: {e}")));
    values.iter().map(read).collect()
}

impl Args {
    /// Runs this protocol and no other, whatever is given.
    pub(crate) fn only(mut self, protocol: ProtocolName) -> Self {
        self.protocol = vec![protocol];
        self
    }

    /// Reads the file, lays environment and flags over it, and fills in defaults.
    pub(crate) fn decide(self) -> Result<NodeConfig, Fail> {
        let file = self.config.as_ref().map(read).transpose()?.unwrap_or_default();
        let from = self.config.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        let mut wires = stronger(self.wire, &file.wire, "wire", &from)?;
        if wires.is_empty() {
            wires = Kind::ALL.to_vec();
        }
        wires.sort_unstable();
        wires.dedup();
        let nets = |nets: Vec<Net>| nets.into_iter().map(|net| net.0).collect();
        let mut protocols = if self.protocol.is_empty() { file.protocol } else { self.protocol };
        if protocols.is_empty() {
            protocols.push(ProtocolName::Cast);
        }
        protocols.sort_unstable();
        protocols.dedup();
        let config = NodeConfig {
            listen: stronger(self.listen, &file.listen, "listen", &from)?,
            key_files: stronger(self.key_file, &file.key_file, "key-file", &from)?,
            data: self.data.or(file.data),
            network: self.network.or(file.network).unwrap_or_else(|| DEFAULT_NETWORK.to_owned()),
            org: self.org.or(file.org).unwrap_or_else(|| DEFAULT_ORG.to_owned()),
            channel: self.channel.or(file.channel).unwrap_or_else(|| DEFAULT_CHANNEL.to_owned()),
            peers: if self.peer.is_empty() { file.peer } else { self.peer },
            protocols,
            max_peers: self.max_peers.or(file.max_peers).unwrap_or(50),
            send_rate: self.send_rate.or(file.send_rate).and_then(NonZeroU64::new),
            recv_rate: self.recv_rate.or(file.recv_rate).and_then(NonZeroU64::new),
            cast: if self.cast.is_empty() { file.cast } else { self.cast },
            cast_dir: self.cast_dir.or(file.cast_dir),
            access: AccessList {
                allow: nets(stronger(self.access_allow, &file.access_allow, "access-allow", &from)?),
                deny: nets(stronger(self.access_deny, &file.access_deny, "access-deny", &from)?),
            },
            stdin_stop: self.stdin_stop.or(file.stdin_stop).unwrap_or(false),
            wires,
        };
        config.check()
    }
}

/// Whether this is a file that can be read.
fn readable(path: &Path) -> std::io::Result<()> {
    let kind = std::fs::File::open(path)?.metadata()?;
    if kind.is_file() { Ok(()) } else { Err(std::io::Error::other("not a file")) }
}

impl NodeConfig {
    fn check(self) -> Result<Self, Fail> {
        let served = |wire: Kind| self.wires.contains(&wire);
        if let Some(wire) = self.listen.iter().filter_map(|l| l.wire).find(|w| !served(*w)) {
            return Err(Fail::usage(format!("--listen names wire {wire}, which --wire does not serve")));
        }
        if let Some(key) = self.key_files.iter().find(|k| !served(k.wire)) {
            return Err(Fail::usage(format!(
                "--key-file names wire {}, which --wire does not serve",
                key.wire
            )));
        }
        for peer in &self.peers {
            let (wire, _) = crate::wires::parse(peer)?;
            if !served(wire) {
                return Err(Fail::usage(format!(
                    "--peer {peer} is of wire {wire}, which --wire does not serve"
                )));
            }
        }
        if let Some((file, error)) = self.cast.iter().find_map(|f| Some((f, readable(f).err()?))) {
            return Err(Fail::usage(format!("cannot cast {}: {error}: give another --cast", file.display())));
        }
        if !self.cast.is_empty() && !self.protocols.contains(&ProtocolName::Cast) {
            return Err(Fail::usage("--cast needs the protocol cast: add --protocol cast"));
        }
        let both = [ProtocolName::Bench, ProtocolName::Cast].iter().all(|p| self.protocols.contains(p));
        if both && self.channel.as_bytes() == switchboard_fabric::bench::ECHO {
            return Err(Fail::usage("the protocol bench echoes that channel: choose another --channel"));
        }
        Ok(self)
    }

    /// Where the key of a wire comes from.
    pub(crate) fn key(&self, wire: Kind) -> KeySource {
        match self.key_files.iter().find(|k| k.wire == wire) {
            Some(file) => KeySource::File(file.path.clone()),
            None => self.data.clone().map_or(KeySource::Throwaway, KeySource::Data),
        }
    }
}
