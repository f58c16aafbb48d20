//! An address in the book: an ID, an IP address, a port, in 40 bytes; and the network group it belongs to.
//!
//! ```text
//! group   strict     "local", "unroutable"
//!         IPv4       /16                                          1.2.0.0
//!         IPv6 that carries an IPv4 address: that one's /16       2002::/16, 2001::/32, 64:ff9b::/96, ::ffff:0:0:0/96
//!         OnionCat   the low 4 bits of byte 6                     tor:2
//!         he.net     /36 of 2001:470::/32                         2001:470:1000::
//!         IPv6       /32                                          2602:100::
//! ```
//! (cometbft p2p/pex/addrbook.go `groupKeyFor`)
//!
//! Host names never stand here: what a stranger tells is an IP address, or it is refused.

use crate::key::NodeId;
use crate::netaddress::{Host, NetAddress, ip_local, ip_routable, ip_valid, top};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whose node is where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerAddress {
    /// The identity it must prove.
    pub id: NodeId,
    /// Its IP address; an IPv4 address is never written as IPv6.
    pub ip: IpAddr,
    /// Its TCP port.
    pub port: u16,
}

impl PeerAddress {
    /// An address from its parts.
    #[must_use]
    pub fn new(id: NodeId, ip: IpAddr, port: u16) -> Self {
        Self { id, ip: ip.to_canonical(), port }
    }

    /// The address, if its host is no name.
    #[must_use]
    pub fn of(address: &NetAddress) -> Option<Self> {
        Some(Self::new(address.id()?, address.host().ip()?, address.port()))
    }

    /// The address as the rest of the wire has it.
    #[must_use]
    pub fn to_net_address(&self) -> NetAddress {
        NetAddress::new(self.id, Host::Ip(self.ip), self.port)
    }

    /// Whether a node can be there and be dialled: [`NetAddress::valid`], and a port.
    #[must_use]
    pub fn dialable(&self) -> bool {
        ip_valid(self.ip) && self.port != 0
    }

    /// [`NetAddress::routable`].
    #[must_use]
    pub fn routable(&self) -> bool {
        ip_routable(self.ip)
    }

    /// Its network group.
    #[must_use]
    pub fn group(&self, strict: bool) -> Group {
        Group::of(self.ip, strict)
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            IpAddr::V4(ip) => write!(f, "{}@{ip}:{}", self.id, self.port),
            IpAddr::V6(ip) => write!(f, "{}@[{ip}]:{}", self.id, self.port),
        }
    }
}

/// The part of the network an address lies in: the addresses of one attacker lie in few groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Group {
    /// This machine (strict books only).
    Local,
    /// Not reachable from outside (strict books only).
    Unroutable,
    /// A /16 of IPv4.
    V4([u8; 2]),
    /// A sixteenth of OnionCat's addresses.
    Tor(u8),
    /// A /32 of IPv6, or a /36; the other bits are 0.
    V6([u8; 5]),
}

impl Group {
    /// The group of an IP address. A book that is not strict treats private addresses like any other.
    #[must_use]
    pub fn of(ip: IpAddr, strict: bool) -> Self {
        if strict && ip_local(ip) {
            return Self::Local;
        }
        if strict && !ip_routable(ip) {
            return Self::Unroutable;
        }
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::v4(ip),
            IpAddr::V6(ip) => Self::v6(ip),
        }
    }

    fn v4(ip: Ipv4Addr) -> Self {
        let [a, b, ..] = ip.octets();
        Self::V4([a, b])
    }

    fn v6(ip: Ipv6Addr) -> Self {
        let bits = ip.to_bits();
        // RFC 6145 and RFC 6052: the last four bytes.
        if top(ip, 96) == 0xffff_0000 || top(ip, 96) == 0x0064_ff9b << 64 {
            return Self::v4(Ipv4Addr::from_bits(bits as u32));
        }
        // 6to4 (RFC 3964): bytes 2 to 5.
        if top(ip, 16) == 0x2002 {
            return Self::v4(Ipv4Addr::from_bits((bits >> 80) as u32));
        }
        // Teredo (RFC 4380): the last four bytes, inverted.
        if top(ip, 32) == 0x2001_0000 {
            return Self::v4(Ipv4Addr::from_bits(!(bits as u32)));
        }
        if top(ip, 48) == 0xfd87_d87e_eb43 {
            return Self::Tor((bits >> 72) as u8 & 0xf);
        }
        let kept = if top(ip, 32) == 0x2001_0470 { 36 } else { 32 };
        let [_, _, _, a, b, c, d, e] = ((top(ip, kept) << (40 - kept)) as u64).to_be_bytes();
        Self::V6([a, b, c, d, e])
    }

    /// Bytes that no other group has.
    pub(crate) fn to_bytes(self) -> [u8; 6] {
        match self {
            Self::Local => [0; 6],
            Self::Unroutable => [1, 0, 0, 0, 0, 0],
            Self::V4([a, b]) => [2, a, b, 0, 0, 0],
            Self::Tor(n) => [3, n, 0, 0, 0, 0],
            Self::V6([a, b, c, d, e]) => [4, a, b, c, d, e],
        }
    }
}

/// The key as the Go code writes it.
impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Local => f.write_str("local"),
            Self::Unroutable => f.write_str("unroutable"),
            Self::V4([a, b]) => Ipv4Addr::new(a, b, 0, 0).fmt(f),
            Self::Tor(n) => write!(f, "tor:{n}"),
            Self::V6([a, b, c, d, e]) => {
                let bits = u64::from_be_bytes([a, b, c, d, e, 0, 0, 0]);
                Ipv6Addr::from_bits(u128::from(bits) << 64).fmt(f)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recorded_group_key() {
        let text = include_str!("../../tests/vectors/addrbook_group_key.json");
        let cases: serde_json::Value = serde_json::from_str(text).unwrap();
        let mut seen = 0;
        for (name, strict) in [("non_strict", false), ("strict", true)] {
            for case in cases[name].as_array().unwrap() {
                let ip = case[0].as_str().unwrap();
                let key = Group::of(ip.parse().unwrap(), strict).to_string();
                assert_eq!(key, case[1].as_str().unwrap(), "{ip}, strict: {strict}");
                seen += 1;
            }
        }
        assert_eq!(seen, 26);
    }

    #[test]
    fn strict_or_not_public_addresses_have_the_same_group() {
        for ip in ["12.1.2.3", "2602:100::1", "2002:c01:203::"] {
            let ip = ip.parse().unwrap();
            assert_eq!(Group::of(ip, true), Group::of(ip, false));
        }
        let private = "10.1.2.3".parse().unwrap();
        assert_eq!(Group::of(private, false).to_string(), "10.1.0.0");
    }

    #[test]
    fn forty_bytes_and_both_ways() {
        assert_eq!(size_of::<PeerAddress>(), 40);
        let address = PeerAddress::new(NodeId([7; 20]), "::ffff:1.2.3.4".parse().unwrap(), 26656);
        assert_eq!(address.to_string(), format!("{}@1.2.3.4:26656", "07".repeat(20)));
        assert_eq!(PeerAddress::of(&address.to_net_address()), Some(address));
        let name = NetAddress::parse(&format!("{}@seed.example.com:1", address.id)).unwrap();
        assert_eq!(PeerAddress::of(&name), None);
        assert!(address.dialable() && !PeerAddress { port: 0, ..address }.dialable());
    }
}
