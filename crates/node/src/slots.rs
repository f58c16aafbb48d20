//! How many peers a wire may have: what `max-peers` says, or else the wire's own numbers.
//!
//! ```text
//!   max-peers given     each direction has that many; a wire that counts both together has that many in all
//!   max-peers not given the wire's own slots, as CometBFT's 40 and 10, or else the default of max-peers
//! ```

use switchboard::preset::SlotRule;
use switchboard::wire::Wire;
use switchboard::{Limits, WireName};

/// A wire's own numbers, and how it counts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OwnSlots {
    pub(crate) wire: WireName,
    own: Option<(usize, usize)>,
    rule: SlotRule,
}

impl OwnSlots {
    /// Those of a wire; `own` where it has numbers of its own.
    pub(crate) fn of(wire: &dyn Wire, own: Option<(usize, usize)>) -> Self {
        Self { wire: wire.name(), own, rule: wire.preset().admission.slots }
    }

    /// Inbound and outbound slots with this setting, which the operator gave or not.
    pub(crate) fn slots(self, max_peers: usize, given: bool) -> (usize, usize) {
        match (self.own, self.rule) {
            (Some(own), _) if !given => own,
            (_, SlotRule::Together) => (max_peers, max_peers),
            // A node that takes nobody in still dials those it is to keep.
            (_, SlotRule::Split) => (max_peers, max_peers.max(1)),
        }
    }

    /// Puts them among the limits.
    pub(crate) fn lay(self, limits: &mut Limits, max_peers: usize, given: bool) {
        limits.wires.insert(self.wire, self.slots(max_peers, given));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use switchboard::net::memory::MemoryWire;
    use switchboard::preset::Preset;

    #[test]
    fn what_the_operator_says_counts_and_nothing_leaves_the_wires_own() {
        let wire = |rule| {
            Arc::new(MemoryWire::new(&[1]).preset(Preset::new().admission(|rules| rules.slots = rule)))
        };
        let split = OwnSlots::of(&*wire(SlotRule::Split), Some((40, 10)));
        assert_eq!(
            (split.slots(50, false), split.slots(7, true), split.slots(0, true)),
            ((40, 10), (7, 7), (0, 1))
        );
        let together = OwnSlots::of(&*wire(SlotRule::Together), None);
        assert_eq!((together.slots(50, false), together.slots(0, true)), ((50, 50), (0, 0)));
    }
}
