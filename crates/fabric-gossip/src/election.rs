//! Which peer of an organisation leads a channel: that is, fetches blocks from the orderers for the others.
//!
//! ```text
//!   stabilising ──view stable for 1 s, 15 s at most, or a leader declares──▶ following
//!   following ──no declaration for 10 s (at the start: at once)──▶ collecting: proposes itself, 5 s
//!   collecting ──a declaration, or a lower PKI-ID proposed──▶ following
//!              ──else──▶ leading: declares itself every 5 s ──declaration of a lower PKI-ID, or yield──▶ following
//! ```
//! (fabric gossip/election/election.go) Yielding: not a leader until another one declares itself, or for six times the threshold.
//! While it yields a peer does not propose itself: a low PKI-ID among the proposals would keep the others from leading. A peer that only
//! observes never proposes itself at all: it follows whoever declares itself, and knows of nobody when none did for 10 s.
//!
//! | Go's `gossip/election` | here |
//! |---|---|
//! | `NewLeaderElectionService` | [`Election::new`], with the peers seen |
//! | `IsLeader`, the callback | [`Election::leads`], [`Step::Leader`] |
//! | `Yield`, `Stop` | [`Election::yield_leadership`]; drop it |
//! | `NewAdapter`; its `Gossip`, `CreateMessage` | the channel carries out [`Step::Propose`] and [`Step::Declare`], signed and numbered |
//! | its `Accept`, `Peers`, `ReportMetrics` | [`Election::on_message`]; `view` of [`Election::tick`]; [`Election::leads`] read by the shell |
//!
//! Pure: the channel verifies messages and hands them in; what is returned is to be gossiped and told. Memory does not grow with the
//! number of peers. Not protected from: a member of the own organisation with a low PKI-ID that declares itself and does
//! nothing.

use crate::config::Election as Options;
use crate::types::PkiId;
use std::time::Duration;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Gossip a proposal.
    Propose,
    /// Gossip a declaration.
    Declare,
    /// The known leader changed.
    Leader(Option<PkiId>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Stabilising { until: Duration, sample: Duration, view: usize },
    Following { until: Duration },
    Collecting { until: Duration },
    Leading { declare: Duration },
}

/// The election of one channel, as one peer takes part in it.
#[derive(Debug)]
pub struct Election {
    me: PkiId,
    options: Options,
    phase: Phase,
    leader: Option<PkiId>,
    lower_proposed: bool,
    yields: Option<Duration>,
    stands: bool,
}

impl Election {
    /// Starts to look; `view` is the number of peers seen now.
    #[must_use]
    pub fn new(me: PkiId, options: Options, view: usize, now: Duration) -> Self {
        let sample = now + options.membership_sample_interval;
        let phase = Phase::Stabilising { until: now + options.startup_grace_period, sample, view };
        Self { me, options, phase, leader: None, lower_proposed: false, yields: None, stands: true }
    }

    /// Follows the leaders of others without ever being one.
    #[must_use]
    pub fn observing(me: PkiId, options: Options, now: Duration) -> Self {
        let phase = Phase::Following { until: now + options.leader_alive_threshold };
        Self { me, options, phase, leader: None, lower_proposed: false, yields: None, stands: false }
    }

    /// Whether this peer leads.
    #[must_use]
    pub fn leads(&self) -> bool {
        matches!(self.phase, Phase::Leading { .. })
    }

    /// The leader, as far as it is known.
    #[must_use]
    pub fn leader(&self) -> Option<PkiId> {
        self.leader
    }

    fn set_leader(&mut self, leader: Option<PkiId>, steps: &mut Vec<Step>) {
        if self.leader != leader {
            self.leader = leader;
            steps.push(Step::Leader(leader));
        }
    }

    fn follow(&mut self, until: Duration) {
        self.phase = Phase::Following { until };
        self.lower_proposed = false;
    }

    /// A verified leadership message of another peer came.
    pub fn on_message(&mut self, from: PkiId, declaration: bool, now: Duration) -> Vec<Step> {
        let mut steps = Vec::new();
        if from == self.me {
            return steps;
        }
        if !declaration {
            self.lower_proposed |= from < self.me;
            return steps;
        }
        if self.leads() && from > self.me {
            // It will hear of us and step down.
            return steps;
        }
        self.yields = None;
        // Of two that declare themselves the lower one stays, so only a lower one, or the same again, is believed.
        let lower = self.leader.is_none_or(|leader| from <= leader || leader == self.me);
        if lower {
            self.follow(now + self.options.leader_alive_threshold);
            self.set_leader(Some(from), &mut steps);
        }
        steps
    }

    /// Gives up leading, for now.
    pub fn yield_leadership(&mut self, now: Duration) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.leads() {
            self.yields = Some(now + self.options.leader_alive_threshold * 6);
            self.follow(now + self.options.leader_alive_threshold);
            self.set_leader(None, &mut steps);
        }
        steps
    }

    /// Does what is due; `view` is the number of peers seen now.
    pub fn tick(&mut self, view: usize, now: Duration) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.yields.is_some_and(|until| now >= until) {
            self.yields = None;
        }
        match self.phase {
            Phase::Stabilising { until, sample, view: before } if now >= sample => {
                if view == before || now >= until {
                    self.follow(now);
                    self.propose(now, &mut steps);
                } else {
                    let sample = now + self.options.membership_sample_interval;
                    self.phase = Phase::Stabilising { until, sample, view };
                }
            }
            Phase::Following { until } if now >= until => {
                self.set_leader(None, &mut steps);
                self.propose(now, &mut steps);
            }
            Phase::Collecting { until } if now >= until => {
                if self.lower_proposed || self.yields.is_some() {
                    self.follow(now + self.options.leader_alive_threshold);
                } else {
                    self.phase = Phase::Leading { declare: now + self.options.leader_alive_threshold / 2 };
                    self.set_leader(Some(self.me), &mut steps);
                    steps.push(Step::Declare);
                }
            }
            Phase::Leading { declare } if now >= declare => {
                self.phase = Phase::Leading { declare: now + self.options.leader_alive_threshold / 2 };
                steps.push(Step::Declare);
            }
            _ => {}
        }
        steps
    }

    fn propose(&mut self, now: Duration, steps: &mut Vec<Step>) {
        if self.yields.is_some() || !self.stands {
            return self.follow(now + self.options.leader_alive_threshold);
        }
        self.phase = Phase::Collecting { until: now + self.options.leader_election_duration };
        steps.push(Step::Propose);
    }

    /// When to tick next.
    #[must_use]
    pub fn wake(&self) -> Duration {
        match self.phase {
            Phase::Stabilising { sample, .. } => sample,
            Phase::Following { until } | Phase::Collecting { until } => until,
            Phase::Leading { declare } => declare,
        }
    }
}

#[cfg(test)]
mod tests;
