//! What a wire's network expects of a Switch: its numbers and its rules of admission, as data.
//!
//! ```text
//!   Wire::preset() ─▶ Preset { admission, dial, handshake }
//!                        │         │        └ deadlines until a session exists
//!                        │         └ when, and how often, somebody is dialled
//!                        └ who becomes a peer, and who wins a duplicate
//! ```
//!
//! The defaults are neutral: they name no network. A wire changes what its network does differently:
//!
//! ```
//! use std::time::Duration;
//! use switchboard::preset::{Keep, Preset};
//!
//! let preset = Preset::new()
//!     .admission(|rules| rules.duplicate = Keep::Newer)
//!     .dial(|rules| rules.history = Duration::from_secs(35));
//! assert_eq!(preset.admission.duplicate, Keep::Newer);
//! ```
//!
//! The rules of a running session come with its handshake: [`crate::wire::Rules`]. What an operator sets (slots, trusted
//! peers, access lists) is in [`crate::Limits`].

use std::time::Duration;

/// The rules of one wire. Each Switch asks once, at its start.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Preset {
    /// Who becomes a peer.
    pub admission: AdmissionRules,
    /// When somebody is dialled.
    pub dial: DialRules,
    /// How long a handshake may take.
    pub handshake: HandshakeRules,
}

impl Preset {
    /// The neutral defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Changes rules of admission.
    #[must_use]
    pub fn admission(mut self, change: impl FnOnce(&mut AdmissionRules)) -> Self {
        change(&mut self.admission);
        self
    }

    /// Changes rules of dialling.
    #[must_use]
    pub fn dial(mut self, change: impl FnOnce(&mut DialRules)) -> Self {
        change(&mut self.dial);
        self
    }

    /// Changes deadlines of the handshake.
    #[must_use]
    pub fn handshake(mut self, change: impl FnOnce(&mut HandshakeRules)) -> Self {
        change(&mut self.handshake);
        self
    }
}

/// Which of two sessions with one identity stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Keep {
    /// The one that exists; the new one is refused.
    Older,
    /// The new one; the one that exists is ended first.
    Newer,
}

/// What happens when a dialled peer proves another identity than the one that was dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OtherIdentity {
    /// It is refused as [`crate::Reason::WrongIdentity`].
    Refuse,
    /// It stays, and is told as [`crate::Event::IdentitySwitched`].
    Switch,
}

/// How slots are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SlotRule {
    /// Inbound and outbound sessions have slots of their own.
    Split,
    /// One number for both: the larger of the two.
    Together,
}

/// Who becomes a peer.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AdmissionRules {
    /// Who wins a duplicate.
    pub duplicate: Keep,
    /// Two sessions in opposite directions of which the older is younger than this crossed: the one that
    /// the larger identity dialled stays, whatever `duplicate` says. `None`: `duplicate` decides that too.
    pub crossing_within: Option<Duration>,
    /// Whether another identity than the dialled one may stay.
    pub other_identity: OtherIdentity,
    /// At most one session with an address outside the local network.
    pub one_per_address: bool,
    /// How slots are counted.
    pub slots: SlotRule,
    /// Sessions with one subnet (v4 /24, v6 /64) outside the local network; `None` is no cap.
    pub per_subnet: Option<usize>,
    /// Least time between two inbound connections from one address (v4) or /64 (v6) outside the local network.
    pub throttle: Duration,
}

impl Default for AdmissionRules {
    fn default() -> Self {
        Self {
            duplicate: Keep::Older,
            crossing_within: Some(Duration::from_secs(10)),
            other_identity: OtherIdentity::Refuse,
            one_per_address: false,
            slots: SlotRule::Split,
            per_subnet: Some(8),
            throttle: Duration::ZERO,
        }
    }
}

/// The waits of a static peer one by one, for a network whose nodes redial by a plan of their own.
///
/// ```text
/// lost or failed for the n-th time ─▶ waits[n] + 0..jitter     beyond the list: after + 0..jitter, or never again
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Redial {
    /// The wait before each try.
    pub waits: Vec<Duration>,
    /// A random time up to this comes on top of each wait.
    pub jitter: Duration,
    /// The wait before each try beyond the list. `None`: the peer is given up, until it comes by itself or is named again.
    pub after: Option<Duration>,
}

impl Redial {
    /// These waits, then this one for ever.
    #[must_use]
    pub fn new(waits: Vec<Duration>, after: Duration) -> Self {
        Self { waits, jitter: Duration::ZERO, after: Some(after) }
    }

    /// Sets what comes on top of each wait.
    #[must_use]
    pub fn jitter(mut self, jitter: Duration) -> Self {
        self.jitter = jitter;
        self
    }

    /// Ends after the list.
    #[must_use]
    pub fn then_never(mut self) -> Self {
        self.after = None;
        self
    }

    /// The wait after so many failures before this one; `None` for never again. `random` is below 1,000.
    pub(crate) fn wait(&self, failures: u32, random: u64) -> Option<Duration> {
        let wait = self.waits.get(failures as usize).copied().or(self.after)?;
        Some(wait + self.jitter / 1_000 * (random % 1_000) as u32)
    }
}

/// When somebody is dialled.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DialRules {
    /// A candidate is not dialled again within this time.
    pub history: Duration,
    /// How many dials may be under way for each free slot.
    pub per_slot: usize,
    /// First wait of a static peer after a failed dial or a lost session; it doubles.
    pub backoff_first: Duration,
    /// Longest wait of a static peer.
    pub backoff_most: Duration,
    /// The waits of a static peer one by one, in place of those that double.
    pub redial: Option<Redial>,
    /// Static peers known at the start are first dialled at random moments within this time, so that nodes that start
    /// together do not dial each other at once.
    pub spread: Duration,
    /// After a session this long the waits of a static peer start anew.
    pub steady: Duration,
    /// First wait after an identity had no address; it doubles.
    pub resolve_first: Duration,
    /// Longest wait after an identity had no address.
    pub resolve_most: Duration,
    /// How long it may take to resolve a name and to connect to one of its addresses.
    pub connect_within: Duration,
    /// Outbound sessions, and dials under way, with one network (v4 /16, v6 /32) outside the local network, for
    /// candidates of sources; `None` is no cap.
    pub per_wide_subnet: Option<usize>,
    /// When all outbound slots were taken for this long, the oldest session that a source gave is ended, so
    /// that others get a turn. `None`: never.
    pub rotate: Option<Duration>,
}

impl Default for DialRules {
    fn default() -> Self {
        Self {
            history: Duration::from_secs(30),
            per_slot: 1,
            backoff_first: Duration::from_millis(500),
            backoff_most: Duration::from_secs(60),
            redial: None,
            spread: Duration::ZERO,
            steady: Duration::from_secs(30),
            resolve_first: Duration::from_secs(60),
            resolve_most: Duration::from_secs(3600),
            connect_within: Duration::from_secs(15),
            per_wide_subnet: None,
            rotate: None,
        }
    }
}

/// How long a handshake may take, whatever each of its steps allows.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HandshakeRules {
    /// On a port that serves several wires, how long an initiator may be silent. Then it is offered the wire whose
    /// listener speaks first, if there is one; else the connection ends. Bytes that are late by one or two lost
    /// packets must still count: to a dialler of another wire our words would be garbage.
    pub first_bytes_within: Duration,
    /// From the accepted connection to a proven identity. At least 5 s.
    pub identity_within: Duration,
    /// From the accepted or dialled connection to the session.
    pub whole_within: Duration,
}

impl Default for HandshakeRules {
    fn default() -> Self {
        Self {
            first_bytes_within: Duration::from_secs(5),
            identity_within: Duration::from_secs(10),
            whole_within: Duration::from_secs(30),
        }
    }
}
