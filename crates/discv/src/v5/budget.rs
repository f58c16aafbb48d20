//! How often packets are answered that no session proves.
//!
//! An address outside local networks: 20 at once, then 20 a second; all together: 1,000 at once, then 1,000 a second. What
//! is over is dropped and counted. Nodes with a session need none of it, so a flood does not reach them.

use crate::addr::is_lan;
use crate::lru::Lru;
use crate::pace::Pace;
use std::net::IpAddr;
use std::time::Duration;

/// Addresses remembered; the one seen longest ago leaves.
pub(super) const MAX_ADDRESSES: usize = 4096;
const EVERY: Duration = Duration::from_millis(50);
const BURST: u32 = 20;
const EVERY_ALL: Duration = Duration::from_millis(1);
const BURST_ALL: u32 = 1000;

#[derive(Debug)]
pub(super) struct Budget {
    each: Lru<[u8; 8], Pace>,
    all: Pace,
}

/// What counts as one address: an IPv4 address, a /64 of IPv6.
fn owner(ip: IpAddr) -> [u8; 8] {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            [0, 0, 0, 0, a, b, c, d]
        }
        IpAddr::V6(ip) => {
            let [a, b, c, d, e, f, g, h, ..] = ip.octets();
            [a, b, c, d, e, f, g, h]
        }
    }
}

impl Budget {
    pub(super) fn new() -> Self {
        Self { each: Lru::new(MAX_ADDRESSES), all: Pace::new(EVERY_ALL, BURST_ALL) }
    }

    /// Whether a packet from there may be answered.
    pub(super) fn take(&mut self, ip: IpAddr, now: Duration) -> bool {
        if self.all.wait(now).is_some() {
            return false;
        }
        if !is_lan(ip) {
            let owner = owner(ip);
            if self.each.get_mut(&owner).is_none() {
                self.each.insert(owner, Pace::new(EVERY, BURST));
            }
            if !self.each.get_mut(&owner).is_some_and(|pace| pace.take(now)) {
                return false;
            }
        }
        self.all.take(now)
    }

    pub(super) fn held(&self) -> usize {
        self.each.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_and_all_together_are_bounded() {
        let now = Duration::from_secs(1);
        let mut budget = Budget::new();
        let count = |budget: &mut Budget, ip: IpAddr| (0..100).filter(|_| budget.take(ip, now)).count();
        assert_eq!(count(&mut budget, [8, 8, 8, 8].into()), 20);
        assert_eq!(count(&mut budget, [8, 8, 8, 9].into()), 20);
        assert_eq!(count(&mut budget, [127, 0, 0, 1].into()), 100);
        let from = |n: u32| IpAddr::from((0x0900_0000 + n).to_be_bytes());
        let all = (0..100_000).filter(|n| budget.take(from(*n), now)).count();
        assert_eq!(all, 1000 - 140);
        let later = now + Duration::from_secs(3600);
        assert!((0..100_000).all(|n| budget.take(from(n), later + Duration::from_millis(n.into()))));
        assert_eq!(budget.held(), MAX_ADDRESSES);
    }
}
