//! NodeInfo: what two nodes tell each other of themselves, once, after the keys are proven.
//!
//! ```text
//! uvarint length ≤ 10240 ‖ DefaultNodeInfo
//!   1 ProtocolVersion { 1 p2p, 2 block, 3 app: uint64 }      always written, `0a 00` when all are 0
//!   2 default_node_id   3 listen_addr   4 network   5 version   6 channels (one byte each)   7 moniker
//!   8 other { 1 tx_index, 2 rpc_address }                    always written, `42 00` when both are empty
//! ```
//! (cometbft p2p/node_info.go, proto/tendermint/p2p/types.proto)
//!
//! Limits: 10,240 bytes, judged by the delimiter. [`NodeInfo::validate`] allows 16 channels.
//!
//! Unlike the Go code, a host name in `listen_addr` is not looked up, and text that is not UTF-8 is
//! refused while decoding. Everything in here is a claim: only the ID is checked, against the key (by the session).

use crate::netaddress::{NetAddress, NetAddressError};
use crate::proto::{self, Fields, ProtoError};

/// Longest NodeInfo accepted (cometbft p2p/node_info.go `maxNodeInfoSize`).
pub const MAX_NODE_INFO: usize = 10_240;
/// Most channels a node may have (cometbft p2p/node_info.go `maxNumChannels`).
pub const MAX_CHANNELS: usize = 16;
/// The p2p version the 0.38 line announces; nobody compares it (cometbft version/version.go).
pub const P2P_VERSION: u64 = 8;
/// The block version all lines from 0.34 to 1.0 announce; it must be equal (cometbft version/version.go).
pub const BLOCK_VERSION: u64 = 11;

/// Bytes that are no NodeInfo: the peer's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeInfoError {
    /// Not the protobuf it should be, or too long.
    #[error("node info: {0}")]
    Proto(#[from] ProtoError),
    /// A text field that is not UTF-8.
    #[error("node info: {0} is not UTF-8")]
    NotText(&'static str),
}

/// A NodeInfo that breaks the network's rules: the peer's fault, or ours when it is our own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidNodeInfo {
    /// ID and listening address do not make an address.
    #[error("id and listen address: {0}")]
    Address(#[from] NetAddressError),
    /// The version is not printable ASCII.
    #[error("the version is not printable ASCII")]
    Version,
    /// Too many channels.
    #[error("{0} channels; at most 16 are allowed")]
    TooManyChannels(usize),
    /// A channel stands there twice.
    #[error("channel {0:#04x} stands there twice")]
    DuplicateChannel(u8),
    /// The moniker is empty, blank or not printable ASCII.
    #[error("the moniker is not printable, non-blank ASCII")]
    Moniker,
    /// Not `on`, `off` or empty.
    #[error("tx_index is not \"on\", \"off\" or empty")]
    TxIndex,
    /// The RPC address is not printable ASCII.
    #[error("the RPC address is not printable ASCII")]
    RpcAddress,
}

/// Two valid nodes that cannot work together; nobody's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Incompatible {
    /// Another block version.
    #[error("another block version")]
    BlockVersion,
    /// Another network.
    #[error("another network")]
    Network,
    /// No channel in common.
    #[error("no common channel")]
    Channels,
}

impl Incompatible {
    /// The field's name, for [`switchboard::Reason::Incompatible`].
    #[must_use]
    pub fn field(self) -> &'static str {
        match self {
            Self::BlockVersion => "block version",
            Self::Network => "network",
            Self::Channels => "channels",
        }
    }
}

/// The three version numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProtocolVersion {
    /// Of the p2p layer; not compared.
    pub p2p: u64,
    /// Of blocks; must be equal.
    pub block: u64,
    /// Of the application; not compared.
    pub app: u64,
}

impl Default for ProtocolVersion {
    fn default() -> Self {
        Self { p2p: P2P_VERSION, block: BLOCK_VERSION, app: 0 }
    }
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeInfo {
    /// Versions.
    pub protocol: ProtocolVersion,
    /// Its ID, as text: compared as text with the one its key proves.
    pub id: String,
    /// Where it listens: `[proto://]host:port`.
    pub listen_addr: String,
    /// The network's name (chain id).
    pub network: String,
    /// Software version.
    pub version: String,
    /// Its channels, a byte each.
    pub channels: Vec<u8>,
    /// Its name.
    pub moniker: String,
    /// Whether it indexes transactions: `on`, `off` or empty.
    pub tx_index: String,
    /// Where its RPC listens.
    pub rpc_address: String,
}

impl NodeInfo {
    /// The message with its delimiter.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (mut versions, mut other, mut out) = (Vec::new(), Vec::new(), Vec::new());
        proto::put_varint_field(1, self.protocol.p2p, &mut versions);
        proto::put_varint_field(2, self.protocol.block, &mut versions);
        proto::put_varint_field(3, self.protocol.app, &mut versions);
        proto::put_bytes_field(1, self.tx_index.as_bytes(), &mut other);
        proto::put_bytes_field(2, self.rpc_address.as_bytes(), &mut other);
        proto::put_message_field(1, &versions, &mut out);
        proto::put_bytes_field(2, self.id.as_bytes(), &mut out);
        proto::put_bytes_field(3, self.listen_addr.as_bytes(), &mut out);
        proto::put_bytes_field(4, self.network.as_bytes(), &mut out);
        proto::put_bytes_field(5, self.version.as_bytes(), &mut out);
        proto::put_bytes_field(6, &self.channels, &mut out);
        proto::put_bytes_field(7, self.moniker.as_bytes(), &mut out);
        proto::put_message_field(8, &other, &mut out);
        proto::delimit(&out)
    }

    /// Reads a delimited NodeInfo from the front of `src`: it and the bytes it took, or `None` when more are needed.
    ///
    /// # Errors
    /// When it is too long or not one.
    pub fn decode(src: &[u8]) -> Result<Option<(Self, usize)>, NodeInfoError> {
        match proto::delimited(src, MAX_NODE_INFO)? {
            Some((message, used)) => Ok(Some((Self::decode_message(message)?, used))),
            None => Ok(None),
        }
    }

    fn decode_message(message: &[u8]) -> Result<Self, NodeInfoError> {
        let mut info = Self { protocol: ProtocolVersion { p2p: 0, block: 0, app: 0 }, ..Self::default() };
        let mut fields = Fields::new(message);
        while let Some((field, value)) = fields.next()? {
            match field {
                1 => read_versions(value.bytes()?, &mut info.protocol)?,
                2 => info.id = text(value.bytes()?, "id")?,
                3 => info.listen_addr = text(value.bytes()?, "listen_addr")?,
                4 => info.network = text(value.bytes()?, "network")?,
                5 => info.version = text(value.bytes()?, "version")?,
                6 => info.channels = value.bytes()?.to_vec(),
                7 => info.moniker = text(value.bytes()?, "moniker")?,
                8 => {
                    let mut other = Fields::new(value.bytes()?);
                    while let Some((field, value)) = other.next()? {
                        match field {
                            1 => info.tx_index = text(value.bytes()?, "tx_index")?,
                            2 => info.rpc_address = text(value.bytes()?, "rpc_address")?,
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(info)
    }

    /// ID and listening address as one address.
    ///
    /// # Errors
    /// When they make none.
    pub fn address(&self) -> Result<NetAddress, NetAddressError> {
        NetAddress::parse(&format!("{}@{}", self.id, self.listen_authority()))
    }

    /// The listening address without its `proto://`.
    fn listen_authority(&self) -> &str {
        self.listen_addr.split("://").nth(1).unwrap_or(&self.listen_addr)
    }

    /// The rules every NodeInfo keeps, in the order the Go code checks them.
    ///
    /// # Errors
    /// The first broken rule.
    pub fn validate(&self) -> Result<(), InvalidNodeInfo> {
        self.address()?;
        if !self.version.is_empty() && !is_ascii_text(&self.version) {
            return Err(InvalidNodeInfo::Version);
        }
        if self.channels.len() > MAX_CHANNELS {
            return Err(InvalidNodeInfo::TooManyChannels(self.channels.len()));
        }
        for (n, channel) in self.channels.iter().enumerate() {
            if self.channels.iter().take(n).any(|earlier| earlier == channel) {
                return Err(InvalidNodeInfo::DuplicateChannel(*channel));
            }
        }
        if !is_ascii_text(&self.moniker) {
            return Err(InvalidNodeInfo::Moniker);
        }
        if !matches!(self.tx_index.as_str(), "" | "on" | "off") {
            return Err(InvalidNodeInfo::TxIndex);
        }
        if !self.rpc_address.is_empty() && !is_ascii_text(&self.rpc_address) {
            return Err(InvalidNodeInfo::RpcAddress);
        }
        Ok(())
    }

    /// Whether we (`self`) can work with `other`. A node without channels of its own takes any.
    ///
    /// # Errors
    /// The first difference that matters.
    pub fn compatible(&self, other: &Self) -> Result<(), Incompatible> {
        if self.protocol.block != other.protocol.block {
            return Err(Incompatible::BlockVersion);
        }
        if self.network != other.network {
            return Err(Incompatible::Network);
        }
        let common = self.channels.iter().any(|channel| other.channels.contains(channel));
        if self.channels.is_empty() || common { Ok(()) } else { Err(Incompatible::Channels) }
    }
}

fn read_versions(message: &[u8], versions: &mut ProtocolVersion) -> Result<(), ProtoError> {
    let mut fields = Fields::new(message);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => versions.p2p = value.varint()?,
            2 => versions.block = value.varint()?,
            3 => versions.app = value.varint()?,
            _ => {}
        }
    }
    Ok(())
}

fn text(bytes: &[u8], field: &'static str) -> Result<String, NodeInfoError> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| NodeInfoError::NotText(field))
}

/// Printable ASCII, not empty and not only spaces (cometbft libs/strings `IsASCIIText`, `ASCIITrim`).
fn is_ascii_text(text: &str) -> bool {
    text.bytes().all(|b| (0x20..=0x7e).contains(&b)) && text.bytes().any(|b| b != b' ')
}

#[cfg(test)]
mod tests;
