//! The six packets of discv4.
//!
//! ```text
//!   hash 32            signature 65            kind 1   RLP list
//!   keccak256(rest)    over keccak256(kind ‖ list)
//!
//!   1 ping         [4, from, to, expiration, enr-seq?]        endpoint: [ip 4 or 16 bytes, udp, tcp]
//!   2 pong         [to, hash of the ping, expiration, enr-seq?]
//!   3 findnode     [target key 64, expiration]
//!   4 neighbours   [[[ip, udp, tcp, key 64] …], expiration]
//!   5 enr-request  [expiration]
//!   6 enr-response [hash of the request, record]
//! ```
//! (spec: discv4.md) The sender is whose key the signature gives. As EIP-8 asks, the version of a ping is not looked at,
//! and further items and bytes after the list are passed over.
//!
//! Limits: 1,280 bytes a packet; [`MAX_NEIGHBOURS`] neighbours are read of one, more are an error. The hash only
//! finds damage, and packets that are none of this protocol's: anybody can make it.

use crate::identity::Identity;
use crate::node::{Node, NodeId};
use crate::table::BUCKET_SIZE;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use switchboard_enr::record::{Record, RecordError};
use switchboard_enr::rlp::{self, RlpError};

/// Largest packet (spec: discv4.md, "Wire Protocol").
pub const MAX_PACKET: usize = 1_280;
/// Neighbours read from one packet; the network sends 12 (go-ethereum p2p/discover/v4wire).
pub const MAX_NEIGHBOURS: usize = BUCKET_SIZE;
/// Neighbours written into one packet.
pub const NEIGHBOURS_PER_PACKET: usize = 12;
/// The version that pings carry; nobody checks it.
pub const VERSION: u64 = 4;
const HASH: usize = 32;
const SIGNATURE: usize = 65;
const HEAD: usize = HASH + SIGNATURE;

/// A packet's hash, by which pongs and records answer.
pub type Hash = [u8; 32];

/// An address as packets carry it: what its sender believes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// IP address.
    pub ip: IpAddr,
    /// UDP port.
    pub udp: u16,
    /// TCP port; 0 when it takes no connections, or it is not known.
    pub tcp: u16,
}

impl Endpoint {
    /// The endpoint of a UDP address. An IPv4 address in IPv6 form becomes IPv4.
    #[must_use]
    pub fn new(at: SocketAddr, tcp: u16) -> Self {
        Self { ip: at.ip().to_canonical(), udp: at.port(), tcp }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self.ip {
            IpAddr::V4(ip) => rlp::put_string(&ip.octets(), out),
            IpAddr::V6(ip) => rlp::put_string(&ip.octets(), out),
        }
        rlp::put_number(self.udp.into(), out);
        rlp::put_number(self.tcp.into(), out);
    }

    /// Reads the three fields off the front. An empty address is read as 0.0.0.0, which some clients send for "not
    /// known".
    fn decode(items: &mut &[u8]) -> Result<Self, RlpError> {
        let bytes = rlp::string(items)?;
        let ip = match (bytes, <[u8; 4]>::try_from(bytes), <[u8; 16]>::try_from(bytes)) {
            ([], ..) => Ipv4Addr::UNSPECIFIED.into(),
            (_, Ok(four), _) => four.into(),
            (_, _, Ok(six)) => IpAddr::from(six).to_canonical(),
            _ => return Err(RlpError("an IP address is 4 or 16 bytes")),
        };
        Ok(Self { ip, udp: port(items)?, tcp: port(items)? })
    }
}

fn port(items: &mut &[u8]) -> Result<u16, RlpError> {
    u16::try_from(rlp::number(items)?).map_err(|_| RlpError("port over 65535"))
}

/// A node as neighbours packets carry it: its key was not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Neighbour {
    /// Where it is said to be.
    pub endpoint: Endpoint,
    /// Its public key X ‖ Y.
    pub key: [u8; 64],
}

impl From<&Node> for Neighbour {
    fn from(node: &Node) -> Self {
        let tcp = node.tcp().map_or(0, |at| at.port());
        Self { endpoint: Endpoint::new(node.udp(), tcp), key: *node.key() }
    }
}

impl From<&Neighbour> for Node {
    fn from(told: &Neighbour) -> Self {
        Self::new(told.key, told.endpoint.ip, told.endpoint.udp, told.endpoint.tcp)
    }
}

/// What a packet says. Expirations are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// Are you there?
    Ping {
        /// Where the sender believes to be; only the TCP port is of use.
        from: Endpoint,
        /// Where the sender sends it.
        to: Endpoint,
        /// When it stops to count.
        expiration: u64,
        /// Sequence number of the sender's record.
        seq: Option<u64>,
    },
    /// Yes.
    Pong {
        /// Where the ping came from.
        to: Endpoint,
        /// The ping's hash.
        ping: Hash,
        /// When it stops to count.
        expiration: u64,
        /// Sequence number of the sender's record.
        seq: Option<u64>,
    },
    /// Who is near this key's id?
    FindNode {
        /// A public key; need not be on the curve.
        target: [u8; 64],
        /// When it stops to count.
        expiration: u64,
    },
    /// These are.
    Neighbours {
        /// Nearest first.
        nodes: Vec<Neighbour>,
        /// When it stops to count.
        expiration: u64,
    },
    /// What is your record?
    EnrRequest {
        /// When it stops to count.
        expiration: u64,
    },
    /// This is.
    EnrResponse {
        /// The request's hash.
        request: Hash,
        /// The record, as bytes whose form was checked; its signature was not.
        record: Vec<u8>,
    },
}

/// Why bytes are not a packet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// Shorter than a packet can be, longer than it may be, or its hash is wrong: not discv4 at all.
    #[error("not a packet of discv4")]
    Foreign,
    /// No key made this signature.
    #[error("the packet's signature is nobody's")]
    Signature,
    /// A kind that does not exist.
    #[error("unknown kind of packet: {0}")]
    Kind(u8),
    /// The list is malformed.
    #[error("malformed packet: {0}")]
    Malformed(#[from] RlpError),
    /// More neighbours than anybody sends.
    #[error("over {MAX_NEIGHBOURS} neighbours in a packet")]
    TooMany,
}

/// A packet with its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The sender's public key.
    pub key: [u8; 64],
    /// The sender's id.
    pub id: NodeId,
    /// The packet's hash.
    pub hash: Hash,
    /// What it says.
    pub packet: Packet,
}

impl Packet {
    /// The number that stands for the kind of packet.
    #[must_use]
    pub fn kind(&self) -> u8 {
        match self {
            Self::Ping { .. } => 1,
            Self::Pong { .. } => 2,
            Self::FindNode { .. } => 3,
            Self::Neighbours { .. } => 4,
            Self::EnrRequest { .. } => 5,
            Self::EnrResponse { .. } => 6,
        }
    }

    /// When it stops to count; `None` for a kind that always does.
    #[must_use]
    pub fn expiration(&self) -> Option<u64> {
        match self {
            Self::Ping { expiration, .. }
            | Self::Pong { expiration, .. }
            | Self::FindNode { expiration, .. }
            | Self::Neighbours { expiration, .. }
            | Self::EnrRequest { expiration } => Some(*expiration),
            Self::EnrResponse { .. } => None,
        }
    }

    /// The signed packet, and its hash. A sequence number of 0 is left out, as go-ethereum does.
    ///
    /// A packet with more than [`NEIGHBOURS_PER_PACKET`] neighbours may be longer than receivers take.
    #[must_use]
    pub fn encode(&self, by: &(impl Identity + ?Sized)) -> (Vec<u8>, Hash) {
        let mut out = vec![0; HEAD];
        out.push(self.kind());
        rlp::put_list(&self.items(), &mut out);
        let digest = by.digest(out.get(HEAD..).unwrap_or_default());
        let signature = by.sign(digest);
        if let Some(place) = out.get_mut(HASH..HEAD) {
            place.copy_from_slice(&signature);
        }
        let hash = by.digest(out.get(HASH..).unwrap_or_default());
        if let Some(place) = out.get_mut(..HASH) {
            place.copy_from_slice(&hash);
        }
        (out, hash)
    }

    fn items(&self) -> Vec<u8> {
        let mut items = Vec::new();
        let endpoint = |endpoint: &Endpoint, items: &mut Vec<u8>| {
            let mut one = Vec::new();
            endpoint.encode(&mut one);
            rlp::put_list(&one, items);
        };
        match self {
            Self::Ping { from, to, .. } => {
                rlp::put_number(VERSION, &mut items);
                endpoint(from, &mut items);
                endpoint(to, &mut items);
            }
            Self::Pong { to, ping, .. } => {
                endpoint(to, &mut items);
                rlp::put_string(ping, &mut items);
            }
            Self::FindNode { target, .. } => rlp::put_string(target, &mut items),
            Self::Neighbours { nodes, .. } => {
                let mut all = Vec::new();
                for node in nodes {
                    let mut one = Vec::new();
                    node.endpoint.encode(&mut one);
                    rlp::put_string(&node.key, &mut one);
                    rlp::put_list(&one, &mut all);
                }
                rlp::put_list(&all, &mut items);
            }
            Self::EnrRequest { .. } => {}
            Self::EnrResponse { request, record } => {
                rlp::put_string(request, &mut items);
                items.extend_from_slice(record);
            }
        }
        if let Some(expiration) = self.expiration() {
            rlp::put_number(expiration, &mut items);
        }
        if let Self::Ping { seq: Some(seq), .. } | Self::Pong { seq: Some(seq), .. } = self
            && *seq != 0
        {
            rlp::put_number(*seq, &mut items);
        }
        items
    }

    /// Reads a packet and finds its sender. The expiration is the caller's to judge.
    ///
    /// # Errors
    /// [`PacketError`].
    pub fn decode(bytes: &[u8], scheme: &(impl Identity + ?Sized)) -> Result<Received, PacketError> {
        Framed::read(bytes, scheme).ok_or(PacketError::Foreign)?.open(scheme, None)
    }

    fn content(kind: u8, mut list: &[u8]) -> Result<Self, PacketError> {
        let mut items = rlp::list(&mut list)?;
        let items = &mut items;
        let packet = match kind {
            1 => {
                rlp::skip(items)?;
                let mut from = rlp::list(items)?;
                let mut to = rlp::list(items)?;
                let (from, to) = (Endpoint::decode(&mut from)?, Endpoint::decode(&mut to)?);
                Self::Ping { from, to, expiration: rlp::number(items)?, seq: seq(items) }
            }
            2 => {
                let mut to = rlp::list(items)?;
                let (to, ping) = (Endpoint::decode(&mut to)?, rlp::array(items)?);
                Self::Pong { to, ping, expiration: rlp::number(items)?, seq: seq(items) }
            }
            3 => Self::FindNode { target: rlp::array(items)?, expiration: rlp::number(items)? },
            4 => {
                let mut all = rlp::list(items)?;
                let mut nodes = Vec::new();
                while !all.is_empty() {
                    if nodes.len() == MAX_NEIGHBOURS {
                        return Err(PacketError::TooMany);
                    }
                    let mut one = rlp::list(&mut all)?;
                    let endpoint = Endpoint::decode(&mut one)?;
                    nodes.push(Neighbour { endpoint, key: rlp::array(&mut one)? });
                }
                Self::Neighbours { nodes, expiration: rlp::number(items)? }
            }
            5 => Self::EnrRequest { expiration: rlp::number(items)? },
            6 => {
                let request = rlp::array(items)?;
                let before = *items;
                rlp::list(items)?;
                let record = before.get(..before.len() - items.len()).unwrap_or_default();
                Self::EnrResponse { request, record: record.to_vec() }
            }
            other => return Err(PacketError::Kind(other)),
        };
        Ok(packet)
    }
}

/// The optional sequence number: anything else in its place is a later version's, and passed over.
fn seq(items: &mut &[u8]) -> Option<u64> {
    rlp::number(items).ok()
}

/// A packet of discv4 by its size and hash; what it says and who signed it was not looked at.
#[derive(Debug, Clone, Copy)]
pub struct Framed<'a> {
    hash: Hash,
    signature: &'a [u8; SIGNATURE],
    kind: u8,
    list: &'a [u8],
    signed: &'a [u8],
}

impl<'a> Framed<'a> {
    /// `None` for what is no packet of discv4: it may be of another protocol on the same port.
    #[must_use]
    pub fn read(bytes: &'a [u8], scheme: &(impl Identity + ?Sized)) -> Option<Self> {
        if bytes.len() > MAX_PACKET {
            return None;
        }
        let (hash, rest) = bytes.split_first_chunk::<HASH>()?;
        let (signature, signed) = rest.split_first_chunk::<SIGNATURE>()?;
        let (kind, list) = signed.split_first()?;
        (scheme.digest(rest) == *hash).then_some(Self { hash: *hash, signature, kind: *kind, list, signed })
    }

    /// Reads what it says and finds its sender, in less time where that is the node it probably is. The expiration is the
    /// caller's to judge.
    ///
    /// # Errors
    /// [`PacketError`], never [`PacketError::Foreign`].
    pub fn open(
        &self,
        scheme: &(impl Identity + ?Sized),
        probably: Option<&Node>,
    ) -> Result<Received, PacketError> {
        // The content is judged before the signature, which costs a hundred times as much.
        let packet = Packet::content(self.kind, self.list)?;
        let digest = scheme.digest(self.signed);
        if let Some(node) = probably.filter(|node| scheme.is_signer(digest, self.signature, node.key())) {
            return Ok(Received { key: *node.key(), id: node.id(), hash: self.hash, packet });
        }
        let key = scheme.recover(digest, self.signature).ok_or(PacketError::Signature)?;
        Ok(Received { key, id: NodeId::of_key(&key), hash: self.hash, packet })
    }
}

/// Reads the record of a response; it must be the node's own.
///
/// # Errors
/// [`RecordError`].
pub fn record_of(bytes: &[u8], id: &NodeId) -> Result<Record, RecordError> {
    let record = Record::decode(bytes)?;
    if record.key().node_id() == id.0 { Ok(record) } else { Err(RecordError::Identity) }
}

#[cfg(test)]
mod tests;
