//! The Switch's dials: static peers, offers and sources, and what becomes of them.

use super::actor::{Actor, Asking, Feeder, Net, Ticket};
use super::connect::{ConnectError, Failure, outbound};
use super::dial::{self, DialRoom};
use super::source::{MAX_PULLS, Mark, Outcome, PULL_REST, Pull, Room, Skip};
use crate::candidate::{Candidate, Provenance};
use crate::event::Event;
use crate::id::{Direction, PeerId, WireName};
use crate::reason::Reason;
use crate::switch::access::{is_lan, network_of};
use crate::text::printable;
use crate::wire::HandshakeError;
use ipnet::IpNet;
use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::task;
use tokio::time::Instant;

impl Actor {
    /// Starts the dials that are due; says when to look again, unless something frees a slot before.
    pub(super) fn dial_due(&mut self) -> Option<Instant> {
        if !self.open {
            return None;
        }
        // A node that nobody gave anyone to dial has nothing to think about, however many come to it.
        let idle = |net: &Net| net.plan.is_empty() && net.sources.is_empty() && net.full_since.is_none();
        let wires: Vec<_> = self.nets.iter().filter(|(_, net)| !idle(net)).map(|(wire, _)| *wire).collect();
        wires.into_iter().filter_map(|wire| self.dial_due_on(wire)).min()
    }

    fn dial_due_on(&mut self, wire: WireName) -> Option<Instant> {
        let now = Instant::now();
        let turn = self.rotate(wire, now);
        let slots = self.slots(wire);
        let rules = self.context.presets.get(wire).map(|preset| &preset.dial).cloned().unwrap_or_default();
        let admission = self.context.presets.get(wire).map(|preset| preset.admission.slots);
        let rule = admission.unwrap_or(crate::preset::SlotRule::Split);
        let mut net = std::mem::take(self.nets.get_mut(wire)?);
        let under_way = net.plan.dialling();
        let free = slots.free(rule, Direction::Outbound, true);
        let room = DialRoom {
            free: (free * rules.per_slot.max(1)).saturating_sub(under_way),
            reserved: slots.reserved,
            pending: self.limits.pending_outbound.saturating_sub(under_way),
        };
        let pending = &self.context.pending;
        let busy =
            |id: &PeerId| self.entries.contains_key(id) || pending.lock().arriving(id) || self.is_banned(id);
        let passes = |id: &PeerId| self.passes(id);
        let mut due = net.plan.statics(now, room, busy, passes);
        let started = due.len();
        let open =
            room.free.saturating_sub(started + room.reserved).min(room.pending.saturating_sub(started));
        let asked = Room {
            free: open,
            slots: slots.most_outbound,
            dialling: under_way + started,
            inbound: slots.inbound,
            outbound: slots.outbound,
        };
        let wide = RefCell::new(rules.per_wide_subnet.map(|most| (most, self.wide_subnets(wire))));
        let skip = |candidate: &Candidate| {
            let why = self.skip(wire, candidate, wide.borrow().as_ref());
            // Those of this very turn count, too.
            if let (None, Some((_, taken))) = (why, wide.borrow_mut().as_mut()) {
                taken.extend(candidate.host.parse().map(|ip| network_of(ip, 16, 32)));
            }
            why
        };
        let told = RefCell::new(Vec::new());
        let (feeders, turn_of) = (RefCell::new(&mut net.sources), RefCell::new(&mut net.turn));
        let pull = || pull(&mut feeders.borrow_mut(), &mut turn_of.borrow_mut(), &asked, now);
        let mut left = MAX_PULLS;
        let pull = || {
            left = left.checked_sub(1)?;
            pull()
        };
        due.extend(net.plan.others(now, open, skip, pull, |candidate, why| {
            told.borrow_mut().push((candidate.clone(), why));
        }));
        let told = told.into_inner();
        let started = due.len();
        let mut wake = match room.pending > started {
            true if room.free > started => net.plan.wake(|_| true),
            true => net.plan.wake(|id| id.is_some_and(passes)),
            false => None,
        };
        if open > started && left == 0 {
            // Only candidates that are not dialled: no tight loop.
            wake = Some(wake.map_or(now + PULL_REST, |at| at.min(now + PULL_REST)));
        } else if open > 0 && room.pending > started && room.free > started {
            let resting =
                net.sources.iter().filter_map(|feeder| feeder.rests_until).filter(|at| *at > now).min();
            wake = [wake, resting].into_iter().flatten().min();
        }
        self.nets.insert(wire, net);
        for (candidate, why) in told {
            self.tell_source_of(wire, &candidate, &Outcome::Skipped(why));
        }
        due.into_iter().for_each(|candidate| self.dial(candidate));
        [wake, turn].into_iter().flatten().min()
    }

    fn dial(&mut self, candidate: Candidate) {
        tracing::debug!(target: "switchboard::dial", %candidate, "dialling");
        let ticket = Ticket { pending: None, stopped: self.quit.subscribe() };
        let dial = self.dials.spawn(outbound(Arc::clone(&self.context), candidate.clone(), ticket));
        self.dialled.insert(dial.id(), candidate);
    }

    /// Why a candidate is not dialled, by what the plan does not know.
    fn skip(
        &self,
        wire: WireName,
        candidate: &Candidate,
        wide: Option<&(usize, Vec<IpNet>)>,
    ) -> Option<Skip> {
        if candidate.wire != wire {
            return Some(Skip::OtherWire);
        }
        if let Some(id) = &candidate.id {
            if self.context.wires.get(wire).is_some_and(|wire| wire.local_id() == *id) {
                return Some(Skip::Ourselves);
            }
            if self.entries.contains_key(id) {
                return Some(Skip::Connected);
            }
            if self.context.pending.lock().arriving(id) {
                return Some(Skip::Arriving);
            }
            if self.is_banned(id) {
                return Some(Skip::Denied);
            }
        }
        let known = candidate.addresses().next().is_some();
        if !known && !self.context.resolvers.iter().any(|resolver| resolver.wire() == wire) {
            return Some(Skip::NoAddress);
        }
        if !matches!(candidate.provenance, Provenance::Source(_)) {
            return None;
        }
        let ips: Vec<IpAddr> = candidate.addresses().filter_map(|(host, _)| host.parse().ok()).collect();
        let (most, taken) = wide?;
        let crowded = |ip: &IpAddr| {
            let by_address = self.limits.strict_addresses || !is_lan(*ip);
            let net = network_of(*ip, 16, 32);
            by_address && taken.iter().filter(|other| **other == net).count() >= *most
        };
        ips.iter().any(crowded).then_some(Skip::Subnet)
    }

    /// The wide networks (v4 /16, v6 /32) of outbound sessions and dials that sources gave.
    fn wide_subnets(&self, wire: WireName) -> Vec<IpNet> {
        let ours = |candidate: &&Candidate| {
            candidate.wire == wire && matches!(candidate.provenance, Provenance::Source(_))
        };
        let live = self.entries.values().filter(|entry| entry.candidate.as_ref().filter(ours).is_some());
        let live = live.map(|entry| entry.peer.remote_addr().ip());
        let dialled = self.dialled.values().filter(ours);
        let dialled = dialled.filter_map(|candidate| candidate.host.parse::<IpAddr>().ok());
        live.chain(dialled).map(|ip| network_of(ip, 16, 32)).collect()
    }

    /// Ends the oldest outbound session that a source gave, when all slots were taken for as long as the preset says.
    fn rotate(&mut self, wire: WireName, now: Instant) -> Option<Instant> {
        let after = self.context.presets.get(wire)?.dial.rotate?;
        let slots = self.slots(wire);
        let net = self.nets.get_mut(wire)?;
        if slots.outbound < slots.most_outbound || net.sources.is_empty() {
            net.full_since = None;
            return None;
        }
        let due = *net.full_since.get_or_insert(now) + after;
        if due > now {
            return Some(due);
        }
        net.full_since = Some(now);
        let sourced = self.entries.values().filter(|entry| {
            let source = entry.candidate.as_ref().map(|candidate| candidate.provenance);
            let id = entry.peer.id();
            let kept = self.passes(&id) || entry.peer.is_static() || entry.peer.is_over();
            id.wire() == wire && matches!(source, Some(Provenance::Source(_))) && !kept
        });
        if let Some(oldest) = sourced.max_by_key(|entry| entry.peer.lifetime()) {
            oldest.peer.disconnect(Reason::TooManyPeers);
        }
        Some(now + after)
    }

    /// A source says that there is somebody again.
    pub(super) fn sources_woken(&mut self) {
        for feeder in self.nets.values_mut().flat_map(|net| &mut net.sources) {
            feeder.rests_until = None;
        }
    }

    /// Tells a source what became of the candidate it gave.
    pub(super) fn tell_source(&self, candidate: &Candidate, outcome: &Outcome) {
        self.tell_source_of(candidate.wire, candidate, outcome);
    }

    /// The same for a source of `wire`, whatever wire its candidate names.
    fn tell_source_of(&self, wire: WireName, candidate: &Candidate, outcome: &Outcome) {
        let Provenance::Source(name) = candidate.provenance else { return };
        let now = Instant::now();
        let sources = self.nets.get(wire).into_iter().flat_map(|net| &net.sources);
        sources.filter(|f| f.source.name() == name).for_each(|f| f.source.outcome(candidate, outcome, now));
    }

    /// Tells every source of the wire what is said of a peer.
    pub(super) fn mark(&self, candidate: &Candidate, mark: Mark) {
        let now = Instant::now();
        let sources = self.nets.get(candidate.wire).into_iter().flat_map(|net| &net.sources);
        sources.for_each(|feeder| feeder.source.marked(candidate, mark, now));
    }

    /// The program offers somebody.
    pub(super) fn offered(&mut self, mut candidate: Candidate) -> Result<(), Skip> {
        candidate.provenance = Provenance::Offered;
        if !self.nets.contains_key(candidate.wire) {
            self.unknown_wire(candidate);
            return Err(Skip::OtherWire);
        }
        if let Some(why) = self.skip(candidate.wire, &candidate, None) {
            return Err(why);
        }
        let net = self.nets.get_mut(candidate.wire).ok_or(Skip::OtherWire)?;
        net.plan.offer(candidate, Instant::now())
    }

    /// A candidate of a wire this node does not have, told as the dial it will never be.
    pub(super) fn unknown_wire(&self, candidate: Candidate) {
        let error = HandshakeError::Local("no such wire on this node".into());
        let (reason, detail) = (error.reason(), printable(&error.to_string()));
        self.context.emit(Event::DialFailed { candidate, reason, detail, retry_in: None });
    }

    /// Gets a peer, or dials it.
    pub(super) fn connect(&mut self, mut candidate: Candidate, reply: Asking) {
        candidate.provenance = Provenance::Asked;
        let wire = candidate.wire;
        if !self.nets.contains_key(wire) {
            let _ = reply.send(Err(ConnectError::Local("no such wire on this node".into())));
            return;
        }
        if let Some(peer) = self.connected(&candidate) {
            let _ = reply.send(Ok(peer));
            return;
        }
        let refused = |reason| Err(ConnectError::RefusedByUs(reason));
        if candidate.id.is_some_and(|id| self.context.wires.get(wire).is_some_and(|w| w.local_id() == id)) {
            let _ = reply.send(refused(Reason::SelfConnection));
            return;
        }
        if candidate.id.is_some_and(|id| self.is_banned(&id)) {
            let _ = reply.send(refused(Reason::AccessDenied));
            return;
        }
        let key = dial::key(&candidate);
        if candidate.id.is_some_and(|id| self.succeeds(&id)) {
            // It is connected as soon as the old session has ended; a dial would be refused as one too many.
            self.asking.entry(key).or_default().push(reply);
            return;
        }
        let arriving = candidate.id.is_some_and(|id| self.context.pending.lock().arriving(&id));
        let slots = self.slots(wire);
        let passes = candidate.id.is_some_and(|id| self.passes(&id));
        let keeps = candidate.id.is_some_and(|id| self.nets.get(wire).is_some_and(|n| n.plan.is_static(&id)));
        let rule = self.context.preset(wire).admission.slots;
        let Some(net) = self.nets.get_mut(wire) else { return };
        let full = net.plan.dialling() >= self.limits.pending_outbound
            || (!passes && slots.free(rule, Direction::Outbound, keeps) == 0);
        if full && !self.asking.contains_key(&key) && !arriving {
            let _ = reply.send(refused(Reason::TooManyPeers));
            return;
        }
        if net.plan.ask(&candidate, Instant::now()) {
            self.dial(candidate);
        }
        self.asking.entry(key).or_default().push(reply);
    }

    /// Whether a session of this identity waits for its earlier one to end.
    fn succeeds(&self, id: &PeerId) -> bool {
        let successor = self.entries.get(id).and_then(|entry| entry.successor.as_ref());
        successor.is_some_and(|next| next.admission.session.peer == *id)
    }

    /// Another identity of its holder took the place that somebody waited for: without a dial, nothing else answers them.
    pub(super) fn not_succeeded(&mut self, id: PeerId) {
        let candidate = Candidate::unresolved(id);
        let key = dial::key(&candidate);
        if !self.dialled.values().any(|dialled| dial::key(dialled) == key) {
            self.answer(&candidate, &Err(ConnectError::RefusedByUs(Reason::AlreadyConnected)));
        }
    }

    /// The peer a candidate means, if it is connected: by identity, or else by the address it was dialled at.
    fn connected(&self, candidate: &Candidate) -> Option<crate::Peer> {
        let live = |peer: &crate::Peer| !peer.is_over();
        if let Some(id) = &candidate.id {
            return self.entries.get(id).map(|entry| entry.peer.clone()).filter(live);
        }
        let same = |entry: &&super::actor::Entry| {
            let dialled = entry.candidate.as_ref();
            dialled.is_some_and(|d| d.wire == candidate.wire && d.addresses().eq(candidate.addresses()))
        };
        self.entries.values().find(same).map(|entry| entry.peer.clone()).filter(live)
    }

    pub(super) fn dial_ended(&mut self, ended: Result<(task::Id, Option<Failure>), task::JoinError>) {
        let (id, failure) = match ended {
            Ok((id, failure)) => (id, failure),
            Err(error) => (error.id(), Some(Failure::new(&HandshakeError::Local(error.to_string().into())))),
        };
        let candidate = self.dialled.remove(&id);
        if let Some((candidate, failure)) = candidate.zip(failure) {
            self.dial_failed(candidate, failure);
        }
    }

    pub(super) fn dial_failed(&mut self, candidate: Candidate, failure: Failure) {
        let Failure { error, reason, stage, by, detail, miss, breach } = failure;
        let jitter = self.context.env.below(1_000);
        let net = self.nets.get_mut(candidate.wire);
        let retry_in = net.and_then(|net| net.plan.failed(&candidate, Instant::now(), miss, jitter));
        let proven = self.proven.remove(&dial::key(&candidate));
        // Refused because it is connected: whoever asked for it gets it.
        let there = proven.and_then(|id| self.entries.get(&id)).filter(|entry| !entry.peer.is_over());
        let answer = match (&error, there.map(|entry| entry.peer.clone())) {
            (ConnectError::RefusedByUs(Reason::AlreadyConnected), Some(peer)) => Ok(peer),
            _ => Err(error),
        };
        self.answer(&candidate, &answer);
        if let Some((ip, rule)) = breach {
            let wrong = super::score::Misbehaviour { points: self.limits.score.breach, what: rule };
            self.report(proven, Some(ip), &wrong);
        }
        self.tell_source(&candidate, &Outcome::Failed { stage, reason: reason.clone(), by, proven });
        tracing::debug!(target: "switchboard::dial", %candidate, %reason, ?retry_in, "dial failed");
        self.context.emit(Event::DialFailed { candidate, reason, detail, retry_in });
    }
}

/// Asks the sources in turn for one candidate.
fn pull(sources: &mut [Feeder], turn: &mut usize, room: &Room, now: Instant) -> Option<Candidate> {
    for _ in 0..sources.len() {
        let index = *turn % sources.len();
        *turn = index + 1;
        let feeder = sources.get_mut(index)?;
        if feeder.rests_until.is_some_and(|until| until > now) {
            continue;
        }
        match feeder.source.next(room, now) {
            Pull::Candidate(mut candidate) => {
                candidate.provenance = Provenance::Source(feeder.source.name());
                return Some(candidate);
            }
            Pull::Until(at) => feeder.rests_until = Some(at),
            // Until it is woken.
            Pull::Nothing => feeder.rests_until = Some(now + NEVER),
        }
    }
    None
}

/// Longer than any node runs.
const NEVER: std::time::Duration = std::time::Duration::from_secs(100 * 365 * 86_400);
