//! What a Switch counts from its start on, by fixed words: what metrics are made of.
//!
//! ```text
//!   events (also those that readers get summed) ─▶ Tally ┐
//!   sessions that ended ─▶ their channels' counters ─────┼─▶ Switch::census
//!   sessions that live  ─▶ their channels' counters ─────┘
//! ```
//! A live session costs nothing here. Its own counters are added to each answer while it lives, and to the totals when it
//! ends, so no total ever decreases.
//!
//! Limits: the maps have keys of wires, protocols and channels that this program registered, and of words of this
//! program; nothing a stranger says becomes a key.

use crate::event::{Cause, Event};
use crate::id::{Direction, WireName};
use crate::protocol::channel::ChannelId;
use crate::session::flow::Traffic;
use crate::session::outgoing::{DELAY_BOUNDS, Delays};
use crate::switch::peer::{By, Peer};
use crate::wire::Stage;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Bounds of a handshake's stages, in milliseconds; what is above the last counts in a further place.
pub const STAGE_BOUNDS: [u64; 12] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 10_000];

/// How often something took how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Times {
    /// One count for each of [`STAGE_BOUNDS`], one for above.
    pub counts: [u64; STAGE_BOUNDS.len() + 1],
    /// All together.
    pub sum: Duration,
}

impl Times {
    fn add(&mut self, took: Duration) {
        let place = STAGE_BOUNDS.iter().position(|bound| took.as_millis() < u128::from(*bound));
        if let Some(count) = self.counts.get_mut(place.unwrap_or(STAGE_BOUNDS.len())) {
            *count += 1;
        }
        self.sum += took;
    }
}

/// How long messages waited to be sent on a channel, or on all channels of a protocol that share a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waits {
    /// One count for each of [`DELAY_BOUNDS`], one for above.
    pub counts: [u64; DELAY_BOUNDS.len() + 1],
    /// All together.
    pub sum: Duration,
    /// Messages dropped because their time was over.
    pub late: u64,
    /// Messages that waited too long while others were sent.
    pub starved: u64,
    /// Messages that wait now.
    pub queued: u64,
}

/// A channel of a protocol on a wire.
pub type ChannelKey = (WireName, String, ChannelId);
/// A lane: `None` where all channels of the protocol share one.
pub type LaneKey = (WireName, String, Option<ChannelId>);

/// What happened since the start, and what is now.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Census {
    /// Sessions that began.
    pub began: BTreeMap<(WireName, Direction), u64>,
    /// Sessions that ended: by direction, reason and who ended them.
    pub ended: BTreeMap<(WireName, Direction, &'static str, &'static str), u64>,
    /// What has a cause: refusals, failed handshakes, probes, failed dials.
    pub causes: BTreeMap<(&'static str, Option<WireName>, &'static str), u64>,
    /// Bans that were made.
    pub bans: u64,
    /// Failures of services, by service.
    pub service_failures: BTreeMap<String, u64>,
    /// Handshakes that led to a session, by stage.
    pub stages: BTreeMap<(WireName, Direction, &'static str), Times>,
    /// Messages and bytes by channel.
    pub channels: BTreeMap<ChannelKey, Traffic>,
    /// Send queues by lane.
    pub lanes: BTreeMap<LaneKey, Waits>,
    /// Bytes of sockets, in and out, by wire.
    pub sockets: BTreeMap<WireName, (u64, u64)>,
    /// Messages dropped because an inbox was full, by wire.
    pub dropped: BTreeMap<WireName, u64>,
}

impl Census {
    fn event(&mut self, event: &Event) {
        match event {
            Event::PeerAdded(peer) => {
                *self.began.entry((peer.id().wire(), peer.direction())).or_default() += 1;
            }
            Event::PeerDropped { peer, end } => {
                let by = match end.by {
                    By::Us => "us",
                    By::Peer => "peer",
                    By::Network => "network",
                };
                let key = (peer.id().wire(), peer.direction(), end.reason.code(), by);
                *self.ended.entry(key).or_default() += 1;
            }
            Event::BanAdded(_) => self.bans += 1,
            Event::ServiceFailed { service, .. } => {
                *self.service_failures.entry(service.clone()).or_default() += 1;
            }
            other => {
                if let Some(Cause { kind, wire, reason }) = other.cause() {
                    *self.causes.entry((kind, wire, reason)).or_default() += 1;
                }
            }
        }
    }

    /// Adds what a session counted; what waits now only while it lives.
    fn session(&mut self, peer: &Peer, lives: bool) {
        let (wire, inner) = (peer.id().wire(), &peer.inner);
        let outgoing = &inner.outgoing;
        for flow in outgoing.flows().all() {
            let key = (wire, flow.protocol.to_owned(), flow.channel);
            *self.channels.entry(key).or_default() += flow.traffic;
        }
        for lane in 0..outgoing.lanes() {
            let mut of_lane = outgoing.flows().all().filter(|flow| flow.lane == lane);
            let Some(first) = of_lane.next() else { continue };
            let channel = of_lane.next().is_none().then_some(first.channel);
            let Some(stats) = outgoing.stats(lane) else { continue };
            let waits = self.lanes.entry((wire, first.protocol.to_owned(), channel)).or_default();
            let Delays(counts) = stats.delays;
            waits.counts.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            waits.sum += outgoing.delayed(lane);
            waits.late += stats.late;
            waits.starved += stats.starved;
            waits.queued += if lives { stats.queued as u64 } else { 0 };
        }
        let sockets = self.sockets.entry(wire).or_default();
        sockets.0 += inner.stats.bytes_in.load(Ordering::Relaxed);
        sockets.1 += inner.stats.bytes_out.load(Ordering::Relaxed);
        *self.dropped.entry(wire).or_default() += inner.stats.dropped.load(Ordering::Relaxed);
    }
}

/// What is counted once and for all.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    kept: Mutex<Census>,
}

impl Tally {
    pub(crate) fn event(&self, event: &Event) {
        self.kept.lock().event(event);
    }

    /// A handshake led to a session, with the time of each stage.
    pub(crate) fn stage(&self, wire: WireName, direction: Direction, stage: Stage, took: Duration) {
        self.kept.lock().stages.entry((wire, direction, stage.as_str())).or_default().add(took);
    }

    /// A session is over: what it counted stays. Its peer may still be among the peers.
    pub(crate) fn fold(&self, peer: &Peer) {
        let mut kept = self.kept.lock();
        if !peer.inner.about.folded.swap(true, Ordering::Relaxed) {
            kept.session(peer, false);
        }
    }

    /// What is kept, and what `peers` have counted so far.
    pub(crate) fn census(&self, peers: &[Peer]) -> Census {
        let kept = self.kept.lock();
        let mut all = kept.clone();
        // Under the lock: none of them is folded meanwhile, so none counts twice or not at all.
        for peer in peers.iter().filter(|peer| !peer.inner.about.folded.load(Ordering::Relaxed)) {
            all.session(peer, true);
        }
        all
    }
}
