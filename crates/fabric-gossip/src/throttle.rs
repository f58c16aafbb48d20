//! How often one peer is answered: some at once, then one in a time.
//!
//! Limits: [`CAPACITY`] peers are remembered; those that have their whole burst back are forgotten first, and if nobody has, all are.

use crate::types::PkiId;
use std::collections::BTreeMap;
use std::time::Duration;

/// Peers remembered.
pub const CAPACITY: usize = 4_096;

/// A bucket per peer.
#[derive(Debug)]
pub struct Throttle {
    /// When each peer's bucket is full again.
    full_at: BTreeMap<PkiId, Duration>,
    burst: u32,
    every: Duration,
}

impl Throttle {
    /// `burst` at once, then one `every` so often.
    #[must_use]
    pub fn new(burst: u32, every: Duration) -> Self {
        Self { full_at: BTreeMap::new(), burst, every }
    }

    /// Whether one more of a peer is allowed now.
    pub fn allows(&mut self, peer: PkiId, now: Duration) -> bool {
        if self.full_at.len() >= CAPACITY && !self.full_at.contains_key(&peer) {
            self.full_at.retain(|_, at| *at > now);
            if self.full_at.len() >= CAPACITY {
                self.full_at.clear();
            }
        }
        let at = self.full_at.entry(peer).or_insert(now);
        let after = (*at).max(now) + self.every;
        let allowed = after <= now + self.every * self.burst;
        if allowed {
            *at = after;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_one_in_a_time() {
        let ms = Duration::from_millis;
        let mut throttle = Throttle::new(3, ms(100));
        let peer = PkiId([1; 32]);
        let allowed = |throttle: &mut Throttle, at| (0..10).filter(|_| throttle.allows(peer, ms(at))).count();
        assert_eq!(allowed(&mut throttle, 0), 3);
        assert_eq!(allowed(&mut throttle, 99), 0);
        assert_eq!(allowed(&mut throttle, 100), 1);
        assert_eq!(allowed(&mut throttle, 10_000), 3);
        assert!(throttle.allows(PkiId([2; 32]), ms(10_000)), "another peer has its own");
    }

    #[test]
    fn memory_is_bounded() {
        let mut throttle = Throttle::new(1, Duration::from_secs(1_000));
        for n in 0..CAPACITY as u32 * 3 {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&n.to_be_bytes());
            throttle.allows(PkiId(id), Duration::ZERO);
            assert!(throttle.full_at.len() <= CAPACITY);
        }
    }
}
