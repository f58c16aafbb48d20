//! Node records (EIP-778): a signed list of facts about a node.
//!
//! ```text
//!   RLP [signature 64, sequence, key, value, key, value …]     keys sorted, each once; at most 300 bytes
//!   text: "enr:" and base64url without padding
//! ```
//! The signature (identity scheme "v4") is over keccak256 of the list without it. A record proves that
//! its facts were stated by the key in it, not that they are true.

use crate::keccak::keccak256;
use crate::key::{NodeKey, NodePublic};
use crate::rlp::{self, RlpError};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

/// Largest record (EIP-778).
pub const MAX_RECORD: usize = 300;
const PREFIX: &str = "enr:";

/// A record whose signature was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Sequence number: grows with each change.
    pub seq: u64,
    /// Values by key, as RLP.
    pairs: BTreeMap<Vec<u8>, Vec<u8>>,
    signature: [u8; 64],
    key: NodePublic,
}

/// Why a record is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Not `enr:` and base64url.
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
    /// Another identity scheme than v4, or no key.
    #[error("node record without a v4 identity")]
    Identity,
    /// The signature does not fit.
    #[error("node record with a wrong signature")]
    Signature,
}

fn content(seq: u64, pairs: &BTreeMap<Vec<u8>, Vec<u8>>) -> Vec<u8> {
    let mut items = Vec::new();
    rlp::put_number(seq, &mut items);
    for (key, value) in pairs {
        rlp::put_string(key, &mut items);
        items.extend_from_slice(value);
    }
    items
}

fn digest(items: &[u8]) -> [u8; 32] {
    let mut list = Vec::new();
    rlp::put_list(items, &mut list);
    keccak256(&list)
}

impl Record {
    /// A signed record for an endpoint.
    #[must_use]
    pub fn signed(key: &NodeKey, seq: u64, ip: IpAddr, tcp: Option<u16>, udp: Option<u16>) -> Self {
        let mut pairs = BTreeMap::new();
        let mut put = |name: &str, bytes: &[u8]| {
            let mut value = Vec::new();
            rlp::put_string(bytes, &mut value);
            pairs.insert(name.as_bytes().to_vec(), value);
        };
        put("id", b"v4");
        put("secp256k1", &key.public().compressed());
        let six = match ip.to_canonical() {
            IpAddr::V4(ip) => {
                put("ip", &ip.octets());
                ""
            }
            IpAddr::V6(ip) => {
                put("ip6", &ip.octets());
                "6"
            }
        };
        for (name, port) in [("tcp", tcp), ("udp", udp)] {
            if let Some(port) = port {
                let bytes = port.to_be_bytes();
                let short = if bytes[0] == 0 { &bytes[1..] } else { &bytes[..] };
                put(&format!("{name}{six}"), if port == 0 { &[] } else { short });
            }
        }
        let [rs @ .., _] = key.sign_recoverable(digest(&content(seq, &pairs)));
        Self { seq, pairs, signature: rs, key: key.public() }
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
        let raw = |name: &[u8]| -> Option<&[u8]> {
            let mut value: &[u8] = pairs.get(name)?;
            rlp::string(&mut value).ok()
        };
        let key = raw(b"secp256k1").filter(|_| raw(b"id") == Some(b"v4")).ok_or(RecordError::Identity)?;
        let key: &[u8; 33] = key.try_into().map_err(|_| RecordError::Identity)?;
        let key = NodePublic::from_compressed(key).map_err(|_| RecordError::Identity)?;
        if !key.verifies(signed, &signature) {
            return Err(RecordError::Signature);
        }
        Ok(Self { seq, pairs, signature, key })
    }

    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut items = Vec::new();
        rlp::put_string(&self.signature, &mut items);
        items.extend(content(self.seq, &self.pairs));
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

    /// The key that signed it.
    #[must_use]
    pub fn key(&self) -> NodePublic {
        self.key
    }

    /// A value that is a byte string.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        let mut value: &[u8] = self.pairs.get(key.as_bytes())?;
        rlp::string(&mut value).ok()
    }

    fn port(&self, key: &str) -> Option<u16> {
        match self.get(key)? {
            [] => Some(0),
            [low] => Some(u16::from(*low)),
            [high, low] => Some(u16::from_be_bytes([*high, *low])),
            _ => None,
        }
    }

    /// The addresses with a TCP port, the more public one first; IPv4 first of two alike. Without a port of its
    /// own IPv6 uses the common one (go-ethereum p2p/enode/node.go).
    fn endpoints(&self) -> Vec<(IpAddr, u16, Option<u16>)> {
        let four = self.get("ip").and_then(|ip| <[u8; 4]>::try_from(ip).ok()).map(IpAddr::from);
        let six = self.get("ip6").and_then(|ip| <[u8; 16]>::try_from(ip).ok());
        let six = six.map(|ip| Ipv6Addr::from(ip).to_canonical());
        let at = |ip: IpAddr| {
            let port = |common: &str, own: &str| {
                let own = if ip.is_ipv6() { self.port(own) } else { None };
                own.or_else(|| self.port(common))
            };
            Some((ip, port("tcp", "tcp6")?, port("udp", "udp6")))
        };
        let mut found: Vec<_> = [four, six].into_iter().flatten().filter_map(at).collect();
        found.sort_by_key(|(ip, ..)| std::cmp::Reverse(publicity(*ip)));
        found
    }

    /// The TCP endpoint to dial.
    #[must_use]
    pub fn tcp(&self) -> Option<(IpAddr, u16)> {
        self.endpoints().first().map(|(ip, tcp, _)| (*ip, *tcp))
    }

    /// The UDP port that goes with [`Record::tcp`].
    #[must_use]
    pub fn udp(&self) -> Option<u16> {
        self.endpoints().first().and_then(|(.., udp)| *udp)
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
