//! Node records (EIP-778): a signed list of facts about a node.
//!
//! ```text
//!   RLP [signature 64, sequence, key, value, key, value …]     keys sorted, each once; at most 300 bytes
//!   text: "enr:" and base64url without padding
//!
//!   id "v4"   secp256k1 33   ip 4   ip6 16   tcp udp tcp6 udp6 quic quic6 (ports)   eth [[fork hash 4, next] …]
//! ```
//! The signature (identity scheme "v4") is over keccak256 of the list without it. A record proves that
//! its facts were stated by the key in it, not that they are true.
//!
//! [`Entries`] are facts without a signature; [`Entries::sign`] makes a [`Record`] of them. A value is one RLP item of
//! any kind. An entry of a known name but another form than its own reads as absent, and is kept as it is.

use crate::keccak::keccak256;
use crate::key::{NodeKey, NodePublic};
use crate::rlp::{self, RlpError};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Largest record (EIP-778).
pub const MAX_RECORD: usize = 300;
const PREFIX: &str = "enr:";
const ID: &str = "id";
const KEY: &str = "secp256k1";

/// Why a record is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Not "enr:" and base64url.
    #[error("not a node record: expected enr: and base64url text")]
    Text,
    /// Over 300 bytes.
    #[error("node record over {MAX_RECORD} bytes")]
    TooLarge,
    /// The list is malformed.
    #[error("malformed node record: {0}")]
    Rlp(#[from] RlpError),
    /// Keys out of order or twice.
    #[error("node record keys are not sorted and unique")]
    Order,
    /// Another identity scheme than v4, or no key, or the key of another node than was asked for.
    #[error("node record without a v4 identity")]
    Identity,
    /// The signature does not fit.
    #[error("node record with a wrong signature")]
    Signature,
    /// This entry is not set by name.
    #[error("the entries id, secp256k1, ip, ip6, udp and udp6 of the own record are not set by name")]
    Reserved,
}

/// The ports a record can name. Those of IPv6 are written only where they differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// Connections.
    Tcp,
    /// Discovery.
    Udp,
    /// QUIC.
    Quic,
    /// Connections by IPv6.
    Tcp6,
    /// Discovery by IPv6.
    Udp6,
    /// QUIC by IPv6.
    Quic6,
}

impl Port {
    /// The entry's key.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Quic => "quic",
            Self::Tcp6 => "tcp6",
            Self::Udp6 => "udp6",
            Self::Quic6 => "quic6",
        }
    }
}

/// Which chain an Ethereum node follows (EIP-2124), from the entry `eth`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForkId {
    /// Checksum of genesis and all forks passed.
    pub hash: [u8; 4],
    /// Block or time of the next fork; 0 for none known.
    pub next: u64,
}

/// Facts about a node, not signed: RLP values by key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entries {
    pairs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Entries {
    /// A value as RLP.
    #[must_use]
    pub fn get_raw(&self, key: &str) -> Option<&[u8]> {
        self.pairs.get(key.as_bytes()).map(Vec::as_slice)
    }

    /// A value that is a byte string.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        rlp::string(&mut self.get_raw(key)?).ok()
    }

    /// Sets a value to a byte string.
    pub fn set(&mut self, key: &str, value: &[u8]) {
        let mut raw = Vec::new();
        rlp::put_string(value, &mut raw);
        self.pairs.insert(key.as_bytes().to_vec(), raw);
    }

    /// Sets a value to one RLP item of any kind.
    ///
    /// # Errors
    /// [`RlpError`] when `raw` is not exactly one item.
    pub fn set_raw(&mut self, key: &str, raw: &[u8]) -> Result<(), RlpError> {
        let mut rest = raw;
        rlp::skip(&mut rest)?;
        if !rest.is_empty() {
            return Err(RlpError("more than one item"));
        }
        self.pairs.insert(key.as_bytes().to_vec(), raw.to_vec());
        Ok(())
    }

    /// Removes a value.
    pub fn remove(&mut self, key: &str) {
        self.pairs.remove(key.as_bytes());
    }

    /// All keys and their values as RLP, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.pairs.iter().map(|(key, value)| (key.as_slice(), value.as_slice()))
    }

    /// The IPv4 address.
    #[must_use]
    pub fn ip4(&self) -> Option<Ipv4Addr> {
        <[u8; 4]>::try_from(self.get("ip")?).ok().map(Ipv4Addr::from)
    }

    /// The IPv6 address.
    #[must_use]
    pub fn ip6(&self) -> Option<Ipv6Addr> {
        <[u8; 16]>::try_from(self.get("ip6")?).ok().map(Ipv6Addr::from)
    }

    /// Sets the address of its family. An IPv4 address in IPv6 form is IPv4.
    pub fn set_ip(&mut self, ip: IpAddr) {
        match ip.to_canonical() {
            IpAddr::V4(ip) => self.set("ip", &ip.octets()),
            IpAddr::V6(ip) => self.set("ip6", &ip.octets()),
        }
    }

    /// A port.
    #[must_use]
    pub fn port(&self, port: Port) -> Option<u16> {
        let number = rlp::number(&mut self.get_raw(port.key())?).ok()?;
        number.try_into().ok()
    }

    /// Sets or removes a port.
    pub fn set_port(&mut self, port: Port, number: Option<u16>) {
        match number {
            Some(number) => {
                let mut raw = Vec::new();
                rlp::put_number(number.into(), &mut raw);
                self.pairs.insert(port.key().as_bytes().to_vec(), raw);
            }
            None => self.remove(port.key()),
        }
    }

    /// The chain an Ethereum node follows.
    #[must_use]
    pub fn eth(&self) -> Option<ForkId> {
        let mut items = rlp::list(&mut self.get_raw("eth")?).ok()?;
        let mut id = rlp::list(&mut items).ok()?;
        Some(ForkId { hash: rlp::array(&mut id).ok()?, next: rlp::number(&mut id).ok()? })
    }

    /// Sets the chain an Ethereum node follows.
    pub fn set_eth(&mut self, id: ForkId) {
        let (mut items, mut inner, mut outer) = (Vec::new(), Vec::new(), Vec::new());
        rlp::put_string(&id.hash, &mut items);
        rlp::put_number(id.next, &mut items);
        rlp::put_list(&items, &mut inner);
        rlp::put_list(&inner, &mut outer);
        self.pairs.insert(b"eth".to_vec(), outer);
    }

    /// The address to use: the one that can be reached from further away, IPv4 of two alike
    /// (go-ethereum p2p/enode/node.go). An IPv4 address in the IPv6 entry counts as IPv4. Multicast is none.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        let six = self.ip6().map(|ip| IpAddr::V6(ip).to_canonical());
        let both = [six, self.ip4().map(IpAddr::V4)];
        // The last of those that are alike is taken.
        both.into_iter().flatten().filter(|ip| !ip.is_multicast()).max_by_key(|ip| publicity(*ip))
    }

    fn endpoint(&self, common: Port, six: Port) -> Option<SocketAddr> {
        let ip = self.ip().filter(|ip| !ip.is_unspecified())?;
        let own = if ip.is_ipv6() { self.port(six) } else { None };
        let port = own.or_else(|| self.port(common))?;
        (port != 0).then(|| SocketAddr::new(ip, port))
    }

    /// Where connections go.
    #[must_use]
    pub fn tcp_endpoint(&self) -> Option<SocketAddr> {
        self.endpoint(Port::Tcp, Port::Tcp6)
    }

    /// Where discovery packets go.
    #[must_use]
    pub fn udp_endpoint(&self) -> Option<SocketAddr> {
        self.endpoint(Port::Udp, Port::Udp6)
    }

    /// Where QUIC goes.
    #[must_use]
    pub fn quic_endpoint(&self) -> Option<SocketAddr> {
        self.endpoint(Port::Quic, Port::Quic6)
    }

    /// Whether both say the same, identity aside.
    #[must_use]
    pub fn says_what(&self, other: &Self) -> bool {
        let facts = |entries: &Self| {
            let mut pairs = entries.pairs.clone();
            pairs.remove(ID.as_bytes());
            pairs.remove(KEY.as_bytes());
            pairs
        };
        facts(self) == facts(other)
    }

    /// Signs the facts; `id` and the key are set to the signer's.
    ///
    /// # Errors
    /// [`RecordError::TooLarge`].
    pub fn sign(mut self, key: &NodeKey, seq: u64) -> Result<Record, RecordError> {
        self.set(ID, b"v4");
        self.set(KEY, &key.public().compressed());
        let record =
            Record { seq, signature: key.sign(digest(&self.content(seq))), key: key.public(), entries: self };
        if record.encode().len() > MAX_RECORD { Err(RecordError::TooLarge) } else { Ok(record) }
    }

    fn content(&self, seq: u64) -> Vec<u8> {
        let mut items = Vec::new();
        rlp::put_number(seq, &mut items);
        for (key, value) in &self.pairs {
            rlp::put_string(key, &mut items);
            items.extend_from_slice(value);
        }
        items
    }
}

fn digest(items: &[u8]) -> [u8; 32] {
    let mut list = Vec::new();
    rlp::put_list(items, &mut list);
    keccak256(&list)
}

/// A record whose signature was checked, or made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    seq: u64,
    entries: Entries,
    signature: [u8; 64],
    key: NodePublic,
}

impl std::ops::Deref for Record {
    type Target = Entries;

    fn deref(&self) -> &Entries {
        &self.entries
    }
}

impl Record {
    /// A record that says only who made it.
    #[must_use]
    pub fn minimal(key: &NodeKey, seq: u64) -> Self {
        let mut entries = Entries::default();
        entries.set(ID, b"v4");
        entries.set(KEY, &key.public().compressed());
        Self { seq, signature: key.sign(digest(&entries.content(seq))), key: key.public(), entries }
    }

    /// A signed record for an endpoint. The ports go with the address's family.
    #[must_use]
    pub fn signed(key: &NodeKey, seq: u64, ip: IpAddr, tcp: Option<u16>, udp: Option<u16>) -> Self {
        let mut entries = Entries::default();
        entries.set_ip(ip);
        let six = ip.to_canonical().is_ipv6();
        entries.set_port(if six { Port::Tcp6 } else { Port::Tcp }, tcp);
        entries.set_port(if six { Port::Udp6 } else { Port::Udp }, udp);
        // One address and two ports are far below the limit.
        entries.sign(key, seq).unwrap_or_else(|_| Self::minimal(key, seq))
    }

    /// Reads a record and checks its signature.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn decode(mut bytes: &[u8]) -> Result<Self, RecordError> {
        if bytes.len() > MAX_RECORD {
            return Err(RecordError::TooLarge);
        }
        let mut items = rlp::list(&mut bytes)?;
        if !bytes.is_empty() {
            return Err(RlpError("bytes after the record").into());
        }
        let signature = rlp::array(&mut items)?;
        let signed = digest(items);
        let seq = rlp::number(&mut items)?;
        let mut pairs = BTreeMap::new();
        let mut last: Option<&[u8]> = None;
        while !items.is_empty() {
            let key = rlp::string(&mut items)?;
            if last.is_some_and(|last| last >= key) {
                return Err(RecordError::Order);
            }
            last = Some(key);
            let before = items;
            rlp::skip(&mut items)?;
            let value = before.get(..before.len() - items.len()).unwrap_or_default();
            pairs.insert(key.to_vec(), value.to_vec());
        }
        let entries = Entries { pairs };
        let key = entries.get(KEY).filter(|_| entries.get(ID) == Some(b"v4")).ok_or(RecordError::Identity)?;
        let key: &[u8; 33] = key.try_into().map_err(|_| RecordError::Identity)?;
        let key = NodePublic::from_compressed(key).map_err(|_| RecordError::Identity)?;
        if !key.verifies(signed, &signature) {
            return Err(RecordError::Signature);
        }
        Ok(Self { seq, entries, signature, key })
    }

    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut items = Vec::new();
        rlp::put_string(&self.signature, &mut items);
        items.extend(self.entries.content(self.seq));
        let mut out = Vec::new();
        rlp::put_list(&items, &mut out);
        out
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn parse(text: &str) -> Result<Self, RecordError> {
        let encoded = text.strip_prefix(PREFIX).ok_or(RecordError::Text)?;
        if encoded.len() > MAX_RECORD * 4 / 3 + 4 {
            return Err(RecordError::TooLarge);
        }
        Self::decode(&URL_SAFE_NO_PAD.decode(encoded).map_err(|_| RecordError::Text)?)
    }

    /// Sequence number: grows with each change.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The key that signed it.
    #[must_use]
    pub fn key(&self) -> NodePublic {
        self.key
    }

    /// The signature r ‖ s.
    #[must_use]
    pub fn signature(&self) -> &[u8; 64] {
        &self.signature
    }

    /// What it says.
    #[must_use]
    pub fn entries(&self) -> &Entries {
        &self.entries
    }
}

/// How far away an address may be reached from.
fn publicity(ip: IpAddr) -> u8 {
    let (loopback, unspecified) = (ip.is_loopback(), ip.is_unspecified());
    let (link_local, private) = match ip {
        IpAddr::V4(ip) => (ip.is_link_local(), ip.is_private()),
        IpAddr::V6(ip) => (ip.is_unicast_link_local(), ip.is_unique_local()),
    };
    match () {
        () if unspecified => 0,
        () if loopback => 1,
        () if link_local => 2,
        () if private => 3,
        () => 4,
    }
}

impl std::fmt::Display for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(self.encode()))
    }
}

#[cfg(test)]
mod tests;
