//! Who may connect: limits of slots, an access list of networks, and a throttle per address.
//!
//! Order of judgement for an inbound connection: access list and bans, throttle, pending slots; after the
//! identity is proven: self, bans, duplicate, address, subnet, slots. Trusted peers pass the slot limits, unconditional
//! peers pass them and do not count; neither is judged by its address.
//!
//! Limits: the throttle remembers at most [`MAX_REMEMBERED`] addresses; when it is full, the oldest is
//! forgotten. It does not protect from many addresses: the slots do.

use crate::id::{PeerId, WireName};
use crate::switch::score::ScoreRules;
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::time::Duration;
use tokio::time::Instant;

/// Slots and what goes around them.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// Sessions others opened, on each wire.
    pub inbound: usize,
    /// Sessions we opened, on each wire.
    pub outbound: usize,
    /// Inbound and outbound slots of single wires, in place of the two above.
    pub wires: BTreeMap<WireName, (usize, usize)>,
    /// Slots of each direction and wire that wait for static peers that are not connected, at most one for each.
    pub reserve: usize,
    /// Inbound handshakes under way, on all wires. When all are taken the oldest of the network that has most yields.
    pub pending_inbound: usize,
    /// Dials under way, on each wire.
    pub pending_outbound: usize,
    /// Least time between two inbound connections from one address (v6: /64) outside the local network; `None`: as
    /// the wire's preset says.
    pub per_ip_interval: Option<Duration>,
    /// Sessions of one wire with one subnet; `None`: as the wire's preset says, `Some(0)`: no cap.
    pub per_subnet: Option<usize>,
    /// Rules by address hold for the local network, too.
    pub strict_addresses: bool,
    /// How misbehaviour is counted.
    pub score: ScoreRules,
    /// Accepted beyond the slots, but counted.
    pub trusted: BTreeSet<PeerId>,
    /// Accepted beyond the slots and not counted.
    pub unconditional: BTreeSet<PeerId>,
    /// Bytes a second that may be sent to one peer (`cometbft p2p/conn/connection.go`, SendRate); none is no limit.
    pub send_rate: Option<NonZeroU64>,
    /// Bytes a second that are taken from one peer (`cometbft p2p/conn/connection.go`, RecvRate); none is no limit.
    pub recv_rate: Option<NonZeroU64>,
    /// Bytes that may be held for one peer.
    pub bytes_per_peer: usize,
    /// Bytes that may be held for all peers.
    pub bytes_total: usize,
}

impl Limits {
    /// Changes some of it.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            inbound: 34,
            outbound: 16,
            wires: BTreeMap::new(),
            reserve: 2,
            pending_inbound: 512,
            pending_outbound: 50,
            per_ip_interval: None,
            per_subnet: None,
            strict_addresses: false,
            score: ScoreRules::default(),
            trusted: BTreeSet::new(),
            unconditional: BTreeSet::new(),
            send_rate: None,
            recv_rate: None,
            bytes_per_peer: 64 << 20,
            bytes_total: 1 << 30,
        }
    }
}

impl Limits {
    /// Slots of a wire: inbound and outbound.
    #[must_use]
    pub fn slots(&self, wire: WireName) -> (usize, usize) {
        self.wires.get(wire).copied().unwrap_or((self.inbound, self.outbound))
    }
}

/// Networks that may, or may not, connect and be dialled. A denied network wins over an allowed one;
/// with no allowed network everything not denied may.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct AccessList {
    /// Only these, if there are any.
    pub allow: Vec<IpNet>,
    /// Never these.
    pub deny: Vec<IpNet>,
}

impl AccessList {
    /// Changes some of it.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Only `allow`, if it names any, and never `deny`.
    #[must_use]
    pub fn new(allow: Vec<IpNet>, deny: Vec<IpNet>) -> Self {
        Self { allow, deny }
    }

    /// Whether an address may connect or be dialled.
    #[must_use]
    pub fn permits(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        let within = |nets: &[IpNet]| nets.iter().any(|net| contains(net, ip));
        !within(&self.deny) && (self.allow.is_empty() || within(&self.allow))
    }
}

/// Whether a network holds an address, which is in its canonical form. A network of v4 addresses written as
/// v6 (`::ffff:10.0.0.0/104`) means the v4 one; `::/0` means v6 only.
fn contains(net: &IpNet, ip: IpAddr) -> bool {
    match (net, ip) {
        (IpNet::V6(v6), IpAddr::V4(ip)) => {
            v6.prefix_len() >= 96 && v6.addr().to_ipv4_mapped().is_some() && v6.contains(&ip.to_ipv6_mapped())
        }
        _ => net.contains(&ip),
    }
}

/// Addresses the throttle remembers.
pub const MAX_REMEMBERED: usize = 16_384;

/// Remembers when an address last connected, by wire. An IPv6 host has a whole /64.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    last: BTreeMap<(WireName, IpNet), Instant>,
    order: BTreeSet<(Instant, WireName, IpNet)>,
}

impl Throttle {
    /// Whether the address may connect now; if so, it is remembered. Local networks always may, unless `strict`.
    pub(crate) fn admit(
        &mut self,
        (wire, ip): (WireName, IpAddr),
        now: Instant,
        interval: Duration,
        strict: bool,
    ) -> bool {
        if interval.is_zero() || (!strict && is_lan(ip)) {
            return true;
        }
        let key = (wire, network_of(ip, 32, 64));
        if self.last.get(&key).is_some_and(|at| now.duration_since(*at) < interval) {
            return false;
        }
        if self.last.len() >= MAX_REMEMBERED
            && let Some((at, wire, oldest)) = self.order.pop_first()
        {
            debug_assert_eq!(self.last.get(&(wire, oldest)), Some(&at));
            self.last.remove(&(wire, oldest));
        }
        if let Some(before) = self.last.insert(key, now) {
            self.order.remove(&(before, key.0, key.1));
        }
        self.order.insert((now, key.0, key.1));
        true
    }
}

/// The network of an address with the given prefix lengths; a v4 address written as v6 is a v4 one.
#[must_use]
pub fn network_of(ip: IpAddr, v4: u8, v6: u8) -> IpNet {
    let ip = ip.to_canonical();
    let prefix = if ip.is_ipv4() { v4.min(32) } else { v6.min(128) };
    // The prefix fits the family, so there is always a network; a host of its own otherwise.
    IpNet::new(ip, prefix).map_or_else(|_| IpNet::from(ip), |net| net.trunc())
}

/// Loopback, private and link-local addresses (`go-ethereum p2p/netutil/net.go`, IsLAN).
#[must_use]
pub fn is_lan(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests;
