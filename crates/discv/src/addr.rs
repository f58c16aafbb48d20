//! Addresses: which of them a node may name to which other, and how many of one subnet there are.
//!
//! A node that tells of others could make everyone send packets to a victim, or to hosts inside the network of
//! whoever asks. So an address counts only if it could be meant: [`may_relay`].
//!
//! One who owns a subnet owns all its addresses, so tables hold few of each ([`Subnets`]): /24 of IPv4, /32 of IPv6 (the
//! smallest block that registries give to a provider). Addresses of a local network are exempt.

use crate::hash::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address belongs to this host or a local network: loopback, private, link-local.
#[must_use]
pub fn is_lan(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// Whether an address can be nobody's on the open internet, local networks aside: unspecified, multicast, broadcast,
/// documentation, benchmarks and other reserved blocks (spec: RFC 6890).
#[must_use]
pub fn is_special(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => special4(ip),
        IpAddr::V6(ip) => special6(ip),
    }
}

fn special4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    matches!(
        (a, b, c),
        (0 | 240..=255, ..)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    ) || ip.is_multicast()
}

fn special6(ip: Ipv6Addr) -> bool {
    let [a, b, c, d, ..] = ip.segments();
    let discard = (a, b, c, d) == (0x100, 0, 0, 0);
    // 2001::/23 holds protocol assignments, Teredo (2001::/32) among them; 2001:db8::/32 is documentation.
    let assigned = a == 0x2001 && (b < 0x200 || b == 0xdb8);
    // ::/96 but loopback, 6to4, deprecated site-local.
    let old = (ip.segments().iter().take(6).all(|s| *s == 0) && !ip.is_loopback())
        || a == 0x2002
        || a & 0xffc0 == 0xfec0;
    ip.is_unspecified() || ip.is_multicast() || discard || assigned || old
}

/// Whether a node at `teller` may name `told` as another node's address (go-ethereum p2p/netutil, relay check):
/// nothing special; loopback only from loopback, a local network only from a local network or loopback.
#[must_use]
pub fn may_relay(teller: IpAddr, told: IpAddr) -> bool {
    let (teller, told) = (teller.to_canonical(), told.to_canonical());
    if is_special(told) {
        return false;
    }
    if told.is_loopback() {
        return teller.is_loopback();
    }
    !is_lan(told) || is_lan(teller)
}

/// A subnet that counts as one owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subnet {
    /// A /24.
    V4([u8; 3]),
    /// A /32.
    V6([u8; 4]),
}

impl Subnet {
    /// The subnet of an address; `None` for local networks, which are not counted.
    #[must_use]
    pub fn of(ip: IpAddr) -> Option<Self> {
        if is_lan(ip) {
            return None;
        }
        Some(match ip.to_canonical() {
            IpAddr::V4(ip) => {
                let [a, b, c, _] = ip.octets();
                Self::V4([a, b, c])
            }
            IpAddr::V6(ip) => {
                let [a, b, c, d, ..] = ip.octets();
                Self::V6([a, b, c, d])
            }
        })
    }
}

/// How many addresses of each subnet there are. Holds no more entries than addresses that were added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subnets {
    /// Only ever asked for a subnet.
    counts: HashMap<Subnet, usize>,
}

impl Subnets {
    /// Whether one more address fits below `limit`; always for a local network's.
    #[must_use]
    pub fn has_room(&self, ip: IpAddr, limit: usize) -> bool {
        Subnet::of(ip).is_none_or(|net| self.counts.get(&net).copied().unwrap_or(0) < limit)
    }

    /// Counts an address.
    pub fn add(&mut self, ip: IpAddr) {
        if let Some(net) = Subnet::of(ip) {
            *self.counts.entry(net).or_default() += 1;
        }
    }

    /// Takes an address that was added away again.
    pub fn remove(&mut self, ip: IpAddr) {
        if let Some(net) = Subnet::of(ip)
            && let Some(count) = self.counts.get_mut(&net)
        {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&net);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_may_be_told_by_whom() {
        for (teller, told, may) in [
            ("127.0.0.1", "127.0.0.2", true),
            ("10.0.0.1", "127.0.0.1", false),
            ("8.8.8.8", "127.0.0.1", false),
            ("8.8.8.8", "::ffff:127.0.0.1", false),
            ("8.8.8.8", "10.0.0.1", false),
            ("8.8.8.8", "169.254.1.1", false),
            ("10.0.0.1", "192.168.1.1", true),
            ("127.0.0.1", "192.168.1.1", true),
            ("10.0.0.1", "8.8.8.8", true),
            ("8.8.8.8", "1.1.1.1", true),
            ("8.8.8.8", "0.0.0.0", false),
            ("8.8.8.8", "224.0.0.1", false),
            ("8.8.8.8", "255.255.255.255", false),
            ("8.8.8.8", "203.0.113.9", false),
            ("127.0.0.1", "0.1.2.3", false),
            ("::1", "::1", true),
            ("2a00::1", "::1", false),
            ("2a00::1", "::", false),
            ("2a00::1", "ff02::1", false),
            ("2a00::1", "fe80::1", false),
            ("2a00::1", "2001:db8::1", false),
            ("2a00::1", "2a01::1", true),
            ("fd00::1", "fd00::2", true),
        ] {
            assert_eq!(may_relay(ip(teller), ip(told)), may, "{teller} tells of {told}");
        }
    }

    #[test]
    fn counts_go_up_and_down_and_spare_local_networks() {
        let mut nets = Subnets::default();
        for _ in 0..2 {
            assert!(nets.has_room(ip("1.2.3.4"), 2));
            nets.add(ip("1.2.3.4"));
        }
        assert!(!nets.has_room(ip("1.2.3.200"), 2));
        assert!(nets.has_room(ip("1.2.4.4"), 2));
        nets.remove(ip("1.2.3.9"));
        assert!(nets.has_room(ip("1.2.3.200"), 2));
        nets.remove(ip("1.2.3.9"));
        assert!(nets.counts.is_empty());
        (0..99).for_each(|_| nets.add(ip("127.0.0.1")));
        assert!(nets.has_room(ip("127.0.0.1"), 1) && nets.counts.is_empty());
        nets.add(ip("2a00:1:2::1"));
        assert!(!nets.has_room(ip("2a00:1:3::1"), 1) && nets.has_room(ip("2a00:2::1"), 1));
    }
}
