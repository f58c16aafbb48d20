//! The checkpoints: what is decided after accept, after the proof of an identity, and after the handshake.

use super::actor::{Actor, Admission, Admitted, Entry, Proven, Successor, Ticket};
use super::builder::Registered;
use super::connect::{Ends, Failure, inbound};
use super::peer::{self, End, Peer};
use super::rules::{self, Candidature, Existing, Slots, Verdict};
use super::source::Outcome;
use crate::candidate::Candidate;
use crate::event::Event;
use crate::id::{Direction, PeerId, WireName};
use crate::net::Connection;
use crate::preset::{AdmissionRules, OtherIdentity};
use crate::reason::Reason;
use crate::session::assemble::{Terms, assemble};
use crate::session::supervise::{self as session, Rates};
use crate::switch::access::{is_lan, network_of};
use crate::switch::peer::By;
use crate::text::printable;
use crate::wire::{HandshakeError, Lanes, Wire};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::task;
use tokio::time::Instant;

impl Actor {
    /// A new connection: to its handshake, or closed without a word. Nothing was proven, nothing is owed.
    pub(super) fn connection_accepted(&mut self, connection: Connection, wires: Arc<[Arc<dyn Wire>]>) {
        let remote = connection.remote;
        let only = match &wires[..] {
            [only] => Some(only.name()),
            _ => None,
        };
        match self.accepted(remote, only) {
            Ok(ticket) => {
                let context = Arc::clone(&self.context);
                self.handshakes.spawn(inbound(context, connection, wires, ticket));
            }
            Err(reason) => self.refused(remote, Direction::Inbound, None, &reason),
        }
    }

    /// The first checkpoint. The throttle is the wire's: where a port serves several, it waits until that is known.
    fn accepted(&mut self, remote: SocketAddr, only: Option<WireName>) -> Result<Ticket, Reason> {
        if !self.permits(remote.ip()) {
            return Err(Reason::AccessDenied);
        }
        if let Some(wire) = only {
            self.throttled(wire, remote)?;
        }
        let mut pending = self.context.pending.lock();
        let entered = pending.enter(remote.ip(), self.limits.pending_inbound, Instant::now());
        let (number, evicted) = entered.ok_or(Reason::TooManyPeers)?;
        drop(pending);
        let pending = Some((Arc::clone(&self.context), number, evicted));
        Ok(Ticket { pending, stopped: self.quit.subscribe() })
    }

    pub(super) fn throttled(&mut self, wire: WireName, remote: SocketAddr) -> Result<(), Reason> {
        let preset = self.context.presets.get(wire).map(|preset| preset.admission.throttle);
        let interval = self.limits.per_ip_interval.or(preset).unwrap_or_default();
        let from = (wire, remote.ip());
        match self.throttle.admit(from, Instant::now(), interval, self.limits.strict_addresses) {
            true => Ok(()),
            false => Err(Reason::Throttled),
        }
    }

    /// Whether an address may connect and be dialled: the access list and the bans.
    pub(super) fn permits(&self, ip: IpAddr) -> bool {
        self.access.permits(ip)
            && self.book.banned_ip(ip, self.limits.strict_addresses, self.wall()).is_none_or(|_| {
                // A trusted peer has the address: it is not to be kept out by what others did from there.
                self.entries.values().any(|entry| {
                    entry.peer.is_trusted()
                        && entry.peer.remote_addr().ip().to_canonical() == ip.to_canonical()
                })
            })
    }

    /// The second checkpoint.
    pub(super) fn identity_proven(&mut self, who: &Proven) -> Result<(), Reason> {
        let Proven { id, holder, direction, remote, candidate } = who;
        let verdict = match self.judge((*id, *holder, *direction), *remote, candidate.as_ref()) {
            Verdict::Refuse(reason) => Err(reason),
            Verdict::Admit | Verdict::Replace => Ok(()),
        };
        if let Some(candidate) = candidate {
            self.proven.insert(super::dial::key(candidate), *id);
            if let Some(net) = self.nets.get_mut(candidate.wire) {
                net.plan.identified(candidate, *id);
            }
        }
        if let Err(reason) = &verdict {
            self.refused(*remote, *direction, Some(*id), reason);
        }
        verdict
    }

    fn rules(&self, wire: WireName) -> AdmissionRules {
        self.context.presets.get(wire).map(|preset| preset.admission.clone()).unwrap_or_default()
    }

    /// A wire's slots and how many are taken.
    pub(super) fn slots(&self, wire: WireName) -> Slots {
        let (most_inbound, most_outbound) = self.most(wire);
        let net = self.nets.get(wire);
        let counts = net.map(|net| net.counts).unwrap_or_default();
        let waiting = net.map_or(0, |net| net.plan.waiting());
        let per_subnet = match self.limits.per_subnet {
            Some(0) => None,
            Some(most) => Some(most),
            None => self.rules(wire).per_subnet,
        };
        let (inbound, outbound) = (counts.inbound, counts.outbound);
        let reserved = waiting.min(self.limits.reserve);
        Slots { inbound, outbound, most_inbound, most_outbound, reserved, per_subnet }
    }

    /// The second checkpoint's decision, and part of the third's. Another than the one we dialled is wrong, whoever it
    /// is, unless the wire goes on with it.
    fn judge(
        &self,
        (id, holder, direction): (PeerId, PeerId, Direction),
        remote: SocketAddr,
        dialled: Option<&Candidate>,
    ) -> Verdict {
        let Some(wire) = self.context.wires.get(id.wire()) else {
            return Verdict::Refuse(Reason::LocalFault);
        };
        let rules = self.rules(id.wire());
        let other = dialled.and_then(|candidate| candidate.id).is_some_and(|wanted| wanted != id);
        if other && rules.other_identity == OtherIdentity::Refuse {
            return Verdict::Refuse(Reason::WrongIdentity);
        }
        let (trusted, passes) = (self.limits.trusted.contains(&id), self.passes(&id));
        let banned = || self.book.banned_holder(&id, &holder, self.wall()).is_some();
        if !trusted && id != wire.local_id() && banned() {
            return Verdict::Refuse(Reason::AccessDenied);
        }
        // A successor is what the existing session will be: the newcomer has to beat that one.
        let place = self.place_of(&id, &holder);
        let existing = place.and_then(|place| self.entries.get(&place)).map(|entry| match &entry.successor {
            Some(Successor { admission, since }) => {
                Existing { direction: admission.direction, age: since.elapsed(), ending: false }
            }
            None => Existing {
                direction: entry.peer.direction(),
                age: entry.peer.lifetime(),
                ending: entry.peer.is_over(),
            },
        });
        let (ip, slots) = (remote.ip().to_canonical(), self.slots(id.wire()));
        let by_address = self.limits.strict_addresses || !is_lan(ip);
        let of_wire = || self.entries.values().filter(|entry| entry.peer.id().wire() == id.wire());
        let same = |entry: &Entry| entry.peer.remote_addr().ip().to_canonical() == ip;
        let subnet = network_of(ip, 24, 64);
        let near = |entry: &&Entry| subnet.contains(&entry.peer.remote_addr().ip().to_canonical());
        let who = Candidature {
            id,
            direction,
            passes,
            keeps: self.nets.get(id.wire()).is_some_and(|net| net.plan.is_static(&id)),
            same_address: rules.one_per_address && by_address && of_wire().any(same),
            in_subnet: (by_address && slots.per_subnet.is_some()).then(|| of_wire().filter(near).count()),
        };
        rules::admit(who, wire.local_id(), existing, slots, &rules)
    }

    /// Where the holder of an identity has its entry: under this identity or another.
    fn place_of(&self, id: &PeerId, holder: &PeerId) -> Option<PeerId> {
        let own = self.entries.contains_key(id).then_some(*id);
        own.or_else(|| self.entries.iter().find(|(_, entry)| entry.holder == *holder).map(|(id, _)| *id))
    }

    /// The third checkpoint.
    pub(super) fn admit(&mut self, admission: Box<Admission>) -> Admitted {
        let (id, direction) = (admission.session.peer, admission.direction);
        let holder = admission.session.holder;
        let offers = self.context.offers.get(id.wire());
        let idle = offers.is_none_or(|offer| offer.protocols.is_empty());
        let verdict = if admission.session.channels.is_empty() && !idle {
            Verdict::Refuse(Reason::Useless)
        } else {
            self.judge((id, holder, direction), admission.ends.remote, admission.candidate.as_ref())
        };
        match verdict {
            Verdict::Admit => self.start(*admission, None),
            Verdict::Replace => {
                let place = self.place_of(&id, &holder);
                let Some(entry) = place.and_then(|place| self.entries.get_mut(&place)) else {
                    self.start(*admission, None);
                    return Ok(());
                };
                entry.peer.disconnect(Reason::AlreadyConnected);
                let since = Instant::now();
                if let Some(earlier) = entry.successor.replace(Successor { admission, since }) {
                    self.turn_away(*earlier.admission, Reason::AlreadyConnected);
                }
            }
            Verdict::Refuse(reason) => {
                self.refused(admission.ends.remote, direction, Some(id), &reason);
                return Err((reason, admission));
            }
        }
        Ok(())
    }

    /// Takes back an admission that was given: a better session came before it started.
    pub(super) fn turn_away(&mut self, admission: Admission, reason: Reason) {
        let (id, direction) = (admission.session.peer, admission.direction);
        self.refused(admission.ends.remote, direction, Some(id), &reason);
        if let Some(candidate) = admission.candidate.clone() {
            self.dial_failed(candidate, Failure::new(&HandshakeError::RefusedByUs(reason.clone())));
        }
        self.dismiss(admission, reason);
    }

    /// Makes a peer of a session and starts its tasks. It takes a slot of its own, or that of the session it replaces.
    pub(super) fn start(&mut self, admission: Admission, inherited: Option<Option<Direction>>) {
        let Admission { session, direction, ends, candidate, ticket } = admission;
        drop(ticket);
        let Ends { remote, local } = ends;
        let (id, holder) = (session.peer, session.holder);
        let ledger = self.ledger.child(self.limits.bytes_per_peer);
        let lanes = self.context.wires.get(id.wire()).map_or(Lanes::PerChannel, |wire| wire.lanes());
        let rates = Rates { send: self.limits.send_rate, recv: self.limits.recv_rate };
        let (tap, events) = (self.context.tap.clone(), Arc::clone(&self.context.events));
        let terms = Terms { direction, remote, lanes, ledger, rates, tap, events };
        let registered = |index: usize| {
            let Registered { protocol, offered, .. } = self.registry.get(index)?;
            Some((protocol, offered))
        };
        let (peer, parts) = assemble(session, terms, &mut self.layouts, registered);
        let _ = peer.inner.about.local.set(local);
        if let Some(candidate) = &candidate {
            let _ = peer.inner.about.provenance.set(candidate.provenance);
        }
        let slot = inherited.unwrap_or_else(|| {
            let slot = (!self.limits.unconditional.contains(&id)).then_some(direction);
            slot.into_iter().for_each(|slot| *self.count(id.wire(), slot) += 1);
            slot
        });
        tracing::info!(target: "switchboard::switch", peer = %id, wire = id.wire(), %remote,
            direction = direction.as_str(), name = %printable(&peer.info().name), "peer added");
        let entry = Entry { peer: peer.clone(), holder, candidate: candidate.clone(), slot, successor: None };
        self.entries.insert(id, entry);
        self.mark_peer(&peer);
        self.peers.add_peer(&peer, &self.context.events);
        self.context.emit(Event::PeerAdded(peer.clone()));
        if let Some(candidate) = &candidate {
            if let Some(net) = self.nets.get_mut(candidate.wire) {
                net.plan.connected(candidate);
            }
            self.proven.remove(&super::dial::key(candidate));
            if candidate.id.is_some_and(|wanted| wanted != id) {
                self.context.emit(Event::IdentitySwitched { candidate: candidate.clone(), id });
            }
            self.tell_source(candidate, &Outcome::Connected { id });
            self.answer(candidate, &Ok(peer.clone()));
        }
        // Somebody may wait for this identity while it dialled us.
        self.answer(&Candidate::unresolved(id), &Ok(peer));
        self.sessions.spawn(session::run(id, Box::new(parts)));
    }

    fn count(&mut self, wire: WireName, direction: Direction) -> &mut usize {
        let counts = &mut self.nets.entry(wire).or_default().counts;
        match direction {
            Direction::Inbound => &mut counts.inbound,
            Direction::Outbound => &mut counts.outbound,
        }
    }

    pub(super) fn session_ended(&mut self, ended: Result<(PeerId, End), task::JoinError>) {
        // A session task neither panics nor is aborted but at the end of a stop.
        let Ok((id, end)) = ended else { return };
        let Some(entry) = self.entries.remove(&id) else { return };
        let Entry { peer, holder, candidate, slot, successor } = entry;
        let jitter = self.context.env.below(1_000);
        if let Some(net) = self.nets.get_mut(id.wire()) {
            net.plan.lost(candidate.as_ref(), id, peer.lifetime(), Instant::now(), jitter);
        }
        self.context.events.tally.fold(&peer);
        let succeeded = successor.as_ref().is_some_and(|next| next.admission.session.peer == id);
        self.peers.drop_peer(&id, &peer, &end, &self.context.events, succeeded);
        if let (None, Some(slot)) = (&successor, slot) {
            let count = self.count(id.wire(), slot);
            *count = count.saturating_sub(1);
        }
        tracing::info!(target: "switchboard::switch", peer = %id, wire = id.wire(), reason = %end.reason,
            by = end.by.as_str(), "peer dropped");
        self.context.emit(Event::PeerDropped { peer: peer.clone(), end: end.clone() });
        if let Some(candidate) = &candidate {
            let (reason, by, lifetime) = (end.reason.clone(), end.by, peer.lifetime());
            self.tell_source(candidate, &Outcome::Ended { id, reason, by, lifetime });
        }
        if let (Reason::Breach(rule), By::Us) = (&end.reason, end.by) {
            let wrong = super::score::Misbehaviour { points: self.limits.score.breach, what: rule };
            self.report_holder(Some((id, holder)), Some(peer.remote_addr().ip()), &wrong);
        }
        if let Some(successor) = successor {
            self.start(*successor.admission, Some(slot));
        }
        if !succeeded {
            self.not_succeeded(id);
        }
    }

    pub(super) fn refused(
        &self,
        remote: SocketAddr,
        direction: Direction,
        id: Option<PeerId>,
        reason: &Reason,
    ) {
        tracing::debug!(target: "switchboard::switch", %remote, direction = direction.as_str(), %reason, "refused");
        if direction == Direction::Outbound {
            // The dial's own event tells it, with when it is tried again.
            return;
        }
        self.context.emit(Event::Refused { remote, direction, id, reason: reason.clone() });
    }

    /// Says on every peer what it is now, after a command changed it.
    pub(super) fn remark(&self) {
        self.entries.values().for_each(|entry| self.mark_peer(&entry.peer));
    }

    fn mark_peer(&self, peer: &Peer) {
        let (id, about) = (peer.id(), &peer.inner.about);
        about.mark(peer::TRUSTED, self.limits.trusted.contains(&id));
        about.mark(peer::UNCONDITIONAL, self.limits.unconditional.contains(&id));
        let kept = self.nets.get(id.wire()).is_some_and(|net| net.plan.is_static(&id));
        about.mark(peer::STATIC, kept);
    }
}
