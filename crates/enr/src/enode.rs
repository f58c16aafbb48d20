//! Node addresses as users write them: enode URLs, and records in their place.
//!
//! ```text
//!   enode://<128 hex digits>@host:port[?discport=udp]        enr:<base64url>
//!   enode://<128 hex digits>   a key without an address
//! ```
//! (go-ethereum p2p/enode/urlv4.go) The host is an IP address (IPv6 in brackets) or a DNS name, looked
//! up at each dial.

use crate::key::NodePublic;
use crate::record::{Record, RecordError};
use std::net::IpAddr;

/// Longest text read.
const MAX_TEXT: usize = 1024;

/// Where a node listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// IP address or DNS name.
    pub host: String,
    /// TCP port.
    pub tcp: u16,
    /// UDP port.
    pub udp: u16,
}

/// A node's key and, where it is known, its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enode {
    /// The key it must prove.
    pub key: NodePublic,
    /// Where it listens.
    pub endpoint: Option<Endpoint>,
}

/// Why a text is no node address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnodeError {
    /// Neither form.
    #[error("expected enode://<128 hex digits>@host:port or enr:…")]
    Form,
    /// The record is bad.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The key is not 128 hex digits, or no point on the curve.
    #[error("the node's public key must be 128 hex digits that name a point on the curve")]
    Key,
    /// The host is empty or malformed.
    #[error("the host must be an IP address (IPv6 in brackets) or a DNS name")]
    Host,
    /// The TCP port.
    #[error("invalid port: expected a number from 0 to 65535 after the host")]
    Port,
    /// The UDP port.
    #[error("invalid discport in query: expected a number from 0 to 65535")]
    DiscPort,
}

impl Enode {
    /// Reads an enode URL or a record.
    ///
    /// # Errors
    /// [`EnodeError`].
    pub fn parse(text: &str) -> Result<Self, EnodeError> {
        if text.len() > MAX_TEXT {
            return Err(EnodeError::Form);
        }
        if text.starts_with("enr:") {
            let record = Record::parse(text)?;
            let udp = record.udp().unwrap_or(0);
            let endpoint = record.tcp().map(|(ip, tcp)| Endpoint { host: ip.to_string(), tcp, udp });
            return Ok(Self { key: record.key(), endpoint });
        }
        let Some(rest) = text.strip_prefix("enode://") else {
            return Err(EnodeError::Form);
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let Some((user, authority)) = rest.split_once('@') else {
            return Ok(Self { key: key(rest)?, endpoint: None });
        };
        let (host, port) = authority.rsplit_once(':').ok_or(EnodeError::Port)?;
        let tcp = number(port).ok_or(EnodeError::Port)?;
        let host = checked_host(host)?;
        let key = key(user)?;
        let udp = match query.split('&').find_map(|pair| pair.strip_prefix("discport=")) {
            Some(text) => number(text).ok_or(EnodeError::DiscPort)?,
            None => tcp,
        };
        Ok(Self { key, endpoint: Some(Endpoint { host, tcp, udp }) })
    }
}

fn number(text: &str) -> Option<u16> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) { None } else { text.parse().ok() }
}

fn key(text: &str) -> Result<NodePublic, EnodeError> {
    let mut bytes = [0; 64];
    hex::decode_to_slice(text.strip_prefix("0x").unwrap_or(text), &mut bytes).map_err(|_| EnodeError::Key)?;
    NodePublic::from_bytes(&bytes).map_err(|_| EnodeError::Key)
}

fn checked_host(host: &str) -> Result<String, EnodeError> {
    if let Some(inner) = host.strip_prefix('[') {
        let ip: IpAddr = inner.strip_suffix(']').and_then(|h| h.parse().ok()).ok_or(EnodeError::Host)?;
        return Ok(ip.to_string());
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    if host.is_empty() || host.len() > 253 || !host.bytes().all(plain) {
        return Err(EnodeError::Host);
    }
    Ok(host.to_owned())
}

impl std::fmt::Display for Enode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "enode://{:?}", self.key)?;
        let Some(Endpoint { host, tcp, udp }) = &self.endpoint else { return Ok(()) };
        if host.contains(':') {
            write!(f, "@[{host}]:{tcp}")?
        } else {
            write!(f, "@{host}:{tcp}")?
        }
        if udp == tcp { Ok(()) } else { write!(f, "?discport={udp}") }
    }
}

#[cfg(test)]
mod tests;
