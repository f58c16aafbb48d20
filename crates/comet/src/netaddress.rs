//! Addresses as nodes of this network write them.
//!
//! ```text
//! [proto://]ID@host:port      ID: 40 hex digits; port: 0..65535, decimal, no sign
//! 34750f98bd59fcfc946da45aaabe933be154a4b5@203.0.113.7:26656
//! 34750f98bd59fcfc946da45aaabe933be154a4b5@[2001:4860::1]:26656
//! ```
//! (cometbft p2p/netaddress.go)
//!
//! Whatever stands before the first `://` is dropped, and what stands behind a second one too; exactly
//! one `@`. An IPv4 address inside IPv6 (`::ffff:1.2.3.4`) becomes IPv4.
//!
//! Where this differs from the Go code: a host *name* is not looked up while parsing. It is kept as
//! [`Host::Name`] and resolved at each dial by whoever dials, so a peer that tells us names cannot make us ask
//! DNS, and a moved host is found again. Whatever depends on an IP ([`NetAddress::routable`] …) answers
//! "no" for names.
//!
//! Limits: names of 1..=253 letters, digits, `-`, `_` and `.`. Not checked: whether anybody is there.

use crate::key::NodeId;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest host name (RFC 1035).
pub const MAX_NAME: usize = 253;

/// What is wrong with an address: the fault of whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetAddressError {
    /// Not exactly one `@`.
    #[error("no node ID before the host: expected ID@host:port")]
    NoId,
    /// Empty ID, not hex or not 20 bytes.
    #[error("the node ID is not 40 hex digits")]
    InvalidId,
    /// No `:port` behind the host.
    #[error("no port: expected host:port")]
    NoPort,
    /// Nothing before the port.
    #[error("no host: expected host:port")]
    NoHost,
    /// Colons without brackets, brackets out of place, or characters no host name has.
    #[error("the host is neither an IP address nor a name; IPv6 addresses stand in brackets")]
    InvalidHost,
    /// Not a number in 0..=65535.
    #[error("the port is not a number from 0 to 65535")]
    InvalidPort,
}

/// Why [`NetAddress::valid`] says no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the address is of no host: unspecified, broadcast, or reserved for documentation")]
pub struct NotAHost;

/// Where a node is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// An address.
    Ip(IpAddr),
    /// A name, for the caller to resolve.
    Name(String),
}

impl Host {
    /// Reads an address or a name, without brackets.
    ///
    /// # Errors
    /// [`NetAddressError::NoHost`], [`NetAddressError::InvalidHost`].
    pub fn parse(text: &str) -> Result<Self, NetAddressError> {
        if text.is_empty() {
            return Err(NetAddressError::NoHost);
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self::Ip(ip.to_canonical()));
        }
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if text.len() > MAX_NAME || !text.bytes().all(legal) {
            return Err(NetAddressError::InvalidHost);
        }
        Ok(Self::Name(text.to_owned()))
    }

    /// The address, if it is one.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(ip) => Some(*ip),
            Self::Name(_) => None,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// A node's ID and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NetAddress {
    id: String,
    host: Host,
    port: u16,
}

impl NetAddress {
    /// An address from its parts.
    #[must_use]
    pub fn new(id: NodeId, host: Host, port: u16) -> Self {
        Self { id: id.to_string(), host, port }
    }

    /// Reads `[proto://]ID@host:port`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, NetAddressError> {
        let text = without_protocol(text);
        let (id, authority) = text.split_once('@').ok_or(NetAddressError::NoId)?;
        if authority.contains('@') {
            return Err(NetAddressError::NoId);
        }
        NodeId::parse(id).ok_or(NetAddressError::InvalidId)?;
        let (host, port) = split_authority(authority)?;
        Ok(Self { id: id.to_owned(), host, port })
    }

    /// The ID as it was written. Upper-case digits stay: nodes compare IDs as text, so such an ID
    /// never equals the one a key proves.
    #[must_use]
    pub fn id_text(&self) -> &str {
        &self.id
    }

    /// The ID's bytes.
    #[must_use]
    pub fn id(&self) -> Option<NodeId> {
        NodeId::parse(&self.id)
    }

    /// Host or address.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// TCP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `host:port`, with brackets around an IPv6 address.
    #[must_use]
    pub fn dial_string(&self) -> String {
        match &self.host {
            Host::Ip(IpAddr::V6(ip)) => format!("[{ip}]:{}", self.port),
            host => format!("{host}:{}", self.port),
        }
    }

    /// Whether this can be the address of a host at all. A name can.
    ///
    /// # Errors
    /// [`NotAHost`].
    pub fn valid(&self) -> Result<(), NotAHost> {
        if self.host.ip().is_none_or(ip_valid) { Ok(()) } else { Err(NotAHost) }
    }

    /// Whether the address is this machine: loopback, or 0.0.0.0/8.
    #[must_use]
    pub fn local(&self) -> bool {
        self.host.ip().is_some_and(ip_local)
    }

    /// Whether the address is reachable from the public internet, by the prefixes the network knows.
    #[must_use]
    pub fn routable(&self) -> bool {
        self.host.ip().is_some_and(ip_routable)
    }

    /// Whether the address is a Tor service in OnionCat's clothes (`fd87:d87e:eb43::/48`).
    #[must_use]
    pub fn onion_cat_tor(&self) -> bool {
        matches!(self.host.ip(), Some(IpAddr::V6(ip)) if top(ip, 48) == 0xfd87_d87e_eb43)
    }

    /// Whether both mean the same node: same place, or same ID.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        self.id == other.id || (self.host == other.host && self.port == other.port)
    }
}

impl fmt::Display for NetAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.id, self.dial_string())
    }
}

impl std::str::FromStr for NetAddress {
    type Err = NetAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// The text behind a `proto://`, up to a second one.
fn without_protocol(text: &str) -> &str {
    text.split("://").nth(1).unwrap_or(text)
}

/// Reads `host:port` by the rules of Go's `net.SplitHostPort`.
///
/// # Errors
/// What is wrong with it.
pub fn split_authority(text: &str) -> Result<(Host, u16), NetAddressError> {
    let (host, port) = text.rsplit_once(':').ok_or(NetAddressError::NoPort)?;
    let host = match host.strip_prefix('[') {
        Some(bracketed) => match bracketed.strip_suffix(']') {
            Some(inner) => inner,
            // `[::1]` without a port has its last colon inside the brackets.
            None if text.ends_with(']') => return Err(NetAddressError::NoPort),
            None => return Err(NetAddressError::InvalidHost),
        },
        None if host.contains(':') => return Err(NetAddressError::InvalidHost),
        None => host,
    };
    let host = Host::parse(host)?;
    // `u16::from_str` takes a plus sign, this network does not.
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let port = port.parse().ok().filter(|_| digits).ok_or(NetAddressError::InvalidPort)?;
    Ok((host, port))
}

/// [`NetAddress::valid`] for an IP address.
pub(crate) fn ip_valid(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_broadcast(),
        IpAddr::V6(ip) => !ip.is_unspecified() && top(ip, 32) != 0x2001_0db8,
    }
}

/// [`NetAddress::local`] for an IP address.
pub(crate) fn ip_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback() || starts_with(ip, 0),
        IpAddr::V6(ip) => ip.is_loopback(),
    }
}

/// [`NetAddress::routable`] for an IP address.
pub(crate) fn ip_routable(ip: IpAddr) -> bool {
    let private = match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => {
            top(ip, 64) == 0xfe80 << 48 || top(ip, 7) == 0xfc >> 1 || top(ip, 28) == 0x0200_1001
        }
    };
    !private && !ip_local(ip) && ip_valid(ip)
}

fn starts_with(ip: Ipv4Addr, first: u8) -> bool {
    let [a, ..] = ip.octets();
    a == first
}

/// The first `bits` bits of an address.
pub(crate) fn top(ip: Ipv6Addr, bits: u32) -> u128 {
    ip.to_bits() >> (128 - bits)
}

#[cfg(test)]
mod tests;
