//! The rules of admission, as functions of what is known: no tasks, no clock of their own.

use crate::id::{Direction, PeerId};
use crate::preset::{AdmissionRules, Keep, SlotRule};
use crate::reason::Reason;
use std::time::Duration;

/// What is known of a session that exists already.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Existing {
    pub(crate) direction: Direction,
    pub(crate) age: Duration,
    /// It is ending, or will be replaced.
    pub(crate) ending: bool,
}

/// What is known of a session that wants in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidature {
    pub(crate) id: PeerId,
    pub(crate) direction: Direction,
    /// Trusted or unconditional: no slot, address or subnet stops it.
    pub(crate) passes: bool,
    /// We keep it connected: it may take a reserved slot.
    pub(crate) keeps: bool,
    /// Another peer has its address, where the wire allows one for each.
    pub(crate) same_address: bool,
    /// Sessions with its subnet, where they are capped and it is not of the local network.
    pub(crate) in_subnet: Option<usize>,
}

/// The sessions of one wire counted against its slots, and the slots.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Slots {
    pub(crate) inbound: usize,
    pub(crate) outbound: usize,
    pub(crate) most_inbound: usize,
    pub(crate) most_outbound: usize,
    /// Slots of each direction that wait for static peers.
    pub(crate) reserved: usize,
    /// Sessions with one subnet.
    pub(crate) per_subnet: Option<usize>,
}

impl Slots {
    /// Free slots of a direction, but those reserved.
    pub(crate) fn free(&self, rule: SlotRule, direction: Direction, keeps: bool) -> usize {
        let (taken, most) = match (rule, direction) {
            (SlotRule::Split, Direction::Inbound) => (self.inbound, self.most_inbound),
            (SlotRule::Split, Direction::Outbound) => (self.outbound, self.most_outbound),
            (SlotRule::Together, _) => {
                (self.inbound + self.outbound, self.most_inbound.max(self.most_outbound))
            }
        };
        most.saturating_sub(taken + if keeps { 0 } else { self.reserved })
    }
}

/// What admission decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Admit,
    /// Admit once the existing session has ended; end that now.
    Replace,
    Refuse(Reason),
}

/// The whole decision about an identity, used at the second and third checkpoint.
pub(crate) fn admit(
    who: Candidature,
    local: PeerId,
    existing: Option<Existing>,
    slots: Slots,
    rules: &AdmissionRules,
) -> Verdict {
    if who.id == local {
        return Verdict::Refuse(Reason::SelfConnection);
    }
    if let Some(existing) = existing {
        return duplicate(who, local, existing, rules);
    }
    if who.passes {
        return Verdict::Admit;
    }
    if who.same_address {
        return Verdict::Refuse(Reason::AlreadyConnected);
    }
    let crowded = slots.per_subnet.zip(who.in_subnet).is_some_and(|(most, taken)| taken >= most);
    if crowded || slots.free(rules.slots, who.direction, who.keeps) == 0 {
        return Verdict::Refuse(Reason::TooManyPeers);
    }
    Verdict::Admit
}

fn duplicate(who: Candidature, local: PeerId, existing: Existing, rules: &AdmissionRules) -> Verdict {
    if existing.ending {
        return Verdict::Replace;
    }
    let crossing = existing.direction != who.direction
        && rules.crossing_within.is_some_and(|within| existing.age < within);
    let new_stays = if crossing {
        // The session that the larger identity dialled stays. Seen from here, we dialled the outbound one.
        (local > who.id) == (who.direction == Direction::Outbound)
    } else {
        rules.duplicate == Keep::Newer
    };
    if new_stays { Verdict::Replace } else { Verdict::Refuse(Reason::AlreadyConnected) }
}
