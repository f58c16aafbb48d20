//! Who may connect: limits of slots, an access list of networks, and a throttle per address.
//!
//! Order of judgement for an inbound connection: access list, pending slots, throttle; after the
//! identity is proven: self, duplicate, slots. Trusted peers pass the slot limits, unconditional
//! peers pass them and do not count.
//!
//! Limits: the throttle remembers at most [`MAX_REMEMBERED`] addresses; when it is full, the oldest is
//! forgotten. It does not protect from many addresses: the slots do.

use crate::id::PeerId;
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::time::Duration;
use tokio::time::Instant;

/// Slots and what goes around them.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Sessions others opened.
    pub inbound: usize,
    /// Sessions we opened.
    pub outbound: usize,
    /// Inbound handshakes under way.
    pub pending_inbound: usize,
    /// Dials under way.
    pub pending_outbound: usize,
    /// Least time between two inbound connections from one address outside the local network
    /// (`go-ethereum p2p/server.go`, inboundThrottleTime).
    pub per_ip_interval: Duration,
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

impl Default for Limits {
    fn default() -> Self {
        Self {
            inbound: 34,
            outbound: 16,
            pending_inbound: 50,
            pending_outbound: 50,
            per_ip_interval: Duration::from_secs(30),
            trusted: BTreeSet::new(),
            unconditional: BTreeSet::new(),
            send_rate: None,
            recv_rate: None,
            bytes_per_peer: 64 << 20,
            bytes_total: 1 << 30,
        }
    }
}

/// Networks that may, or may not, connect and be dialled. A denied network wins over an allowed one;
/// with no allowed network everything not denied may.
#[derive(Debug, Clone, Default)]
pub struct AccessList {
    /// Only these, if there are any.
    pub allow: Vec<IpNet>,
    /// Never these.
    pub deny: Vec<IpNet>,
}

impl AccessList {
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

/// Remembers when an address last connected.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    last: BTreeMap<IpAddr, Instant>,
    order: BTreeSet<(Instant, IpAddr)>,
}

impl Throttle {
    /// Whether the address may connect now; if so, it is remembered. Local networks always may.
    pub(crate) fn admit(&mut self, ip: IpAddr, now: Instant, interval: Duration) -> bool {
        let ip = ip.to_canonical();
        if is_lan(ip) || interval.is_zero() {
            return true;
        }
        while let Some(&(at, oldest)) = self.order.first() {
            if now.duration_since(at) < interval && self.last.len() < MAX_REMEMBERED {
                break;
            }
            self.order.remove(&(at, oldest));
            self.last.remove(&oldest);
        }
        if self.last.contains_key(&ip) {
            return false;
        }
        self.last.insert(ip, now);
        self.order.insert((now, ip));
        true
    }
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
