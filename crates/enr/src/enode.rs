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
    /// A key without what must stand before it.
    #[error("missing enode:// before the public key")]
    Prefix,
    /// Longer than any address is.
    #[error("over {MAX_TEXT} bytes: no node address is so long")]
    TooLong,
    /// The record is bad.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// There is an address, but no key before it.
    #[error("no public key before the @")]
    NoKey,
    /// The key has another length.
    #[error(
        "the public key has {0} characters: expected 128 hex digits; is it cut short or of another network?"
    )]
    KeyLength(usize),
    /// The key is not hex.
    #[error("the public key is not hex: expected 128 digits 0-9 and a-f")]
    KeyDigits,
    /// The key is no point on the curve.
    #[error("the public key is no point on the curve: it is probably wrong or mistyped")]
    KeyPoint,
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
    /// Reads an enode URL or a record. A record without a TCP port gives port 0: it takes no connections.
    ///
    /// # Errors
    /// [`EnodeError`].
    pub fn parse(text: &str) -> Result<Self, EnodeError> {
        if text.len() > MAX_TEXT {
            return Err(EnodeError::TooLong);
        }
        if text.starts_with("enr:") {
            return Ok(Self::from(&Record::parse(text)?));
        }
        let Some(rest) = text.strip_prefix("enode://") else {
            let digits = text.bytes().take_while(u8::is_ascii_hexdigit).count();
            return Err(if digits >= 8 { EnodeError::Prefix } else { EnodeError::Form });
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let Some((user, authority)) = rest.split_once('@') else {
            return Ok(Self { key: key(rest)?, endpoint: None });
        };
        if user.is_empty() {
            return Err(EnodeError::NoKey);
        }
        let key = key(user)?;
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let (host, port) = authority.rsplit_once(':').ok_or(EnodeError::Port)?;
        let tcp = number(port).ok_or(EnodeError::Port)?;
        let host = checked_host(host)?;
        let udp = match query.split('&').find_map(|pair| pair.strip_prefix("discport=")) {
            Some(text) => number(text).ok_or(EnodeError::DiscPort)?,
            None => tcp,
        };
        Ok(Self { key, endpoint: Some(Endpoint { host, tcp, udp }) })
    }

    /// The id that goes with the key.
    #[must_use]
    pub fn node_id(&self) -> [u8; 32] {
        self.key.node_id()
    }
}

impl From<&Record> for Enode {
    fn from(record: &Record) -> Self {
        let port = |at: Option<std::net::SocketAddr>| at.map_or(0, |at| at.port());
        let (tcp, udp) = (port(record.tcp_endpoint()), port(record.udp_endpoint()));
        let host = record.ip().filter(|ip| !ip.is_unspecified() && (tcp, udp) != (0, 0));
        let endpoint = host.map(|ip| Endpoint { host: ip.to_string(), tcp, udp });
        Self { key: record.key(), endpoint }
    }
}

fn number(text: &str) -> Option<u16> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) { None } else { text.parse().ok() }
}

fn key(text: &str) -> Result<NodePublic, EnodeError> {
    let text = text.strip_prefix("0x").unwrap_or(text);
    if text.len() != 128 {
        return Err(EnodeError::KeyLength(text.chars().count()));
    }
    let mut bytes = [0; 64];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| EnodeError::KeyDigits)?;
    NodePublic::from_bytes(&bytes).map_err(|_| EnodeError::KeyPoint)
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
