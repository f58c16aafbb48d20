//! The rules of admission, as functions of what is known: no tasks, no clock of their own.

use crate::id::{Direction, PeerId};
use crate::reason::Reason;
use crate::switch::access::Limits;
use std::time::Duration;

/// Two sessions in opposite directions count as a simultaneous dial when the older is younger than this.
pub const SIMULTANEOUS: Duration = Duration::from_secs(10);

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
}

/// Sessions counted against the slots.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) inbound: usize,
    pub(crate) outbound: usize,
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
    counts: Counts,
    limits: &Limits,
) -> Verdict {
    if who.id == local {
        return Verdict::Refuse(Reason::SelfConnection);
    }
    if let Some(existing) = existing {
        return duplicate(who, local, existing);
    }
    if limits.trusted.contains(&who.id) || limits.unconditional.contains(&who.id) {
        return Verdict::Admit;
    }
    let full = match who.direction {
        Direction::Inbound => counts.inbound >= limits.inbound,
        Direction::Outbound => counts.outbound >= limits.outbound,
    };
    if full { Verdict::Refuse(Reason::TooManyPeers) } else { Verdict::Admit }
}

fn duplicate(who: Candidature, local: PeerId, existing: Existing) -> Verdict {
    if existing.ending {
        return Verdict::Replace;
    }
    let crossing = existing.direction != who.direction && existing.age < SIMULTANEOUS;
    // The session that the larger identity dialled stays. Seen from here, we dialled the outbound one.
    let ours_stays = local > who.id;
    let new_stays = ours_stays == (who.direction == Direction::Outbound);
    if crossing && new_stays { Verdict::Replace } else { Verdict::Refuse(Reason::AlreadyConnected) }
}
