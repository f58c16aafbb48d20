//! One node: all parts put together, and the way of each of the 21 contents.
//!
//! ```text
//!   alive 5, mem_req 6, mem_res 7 ─────────────────────────▶ membership
//!   data_msg 8, state_info 15 … 17, leadership 20 ─────────▶ the channel (by its name, by its MAC)
//!   hello 9 … data_update 12 ──kind──▶ identities, or the channel's blocks
//!   state_request 18, state_response 19, private 23 … 25 ──▶ told as `Deliver`, of readers of a joined channel
//!   peer_identity 21 alone, conn 14, ack 22, empty 13 ─────▶ refused: they have no place here
//! ```
//! The tag is checked first, as in Go (not of private data and acknowledgements). Every nested field is
//! optional until checked. A refused message is counted and told, and costs its sender nothing else.
//!
//! Limits: those of the parts, and [`MAX_CHANNELS`] channels.

mod api;
mod certs;
mod route;

pub use api::{PeerSignature, SendCriteria, SendRefusal};

use crate::actions::{Action, Actions, CloseReason, Event};
use crate::channel::ChannelState;
use crate::config::{Config, ConfigFault};
use crate::cx::{Cx, Me, Refusals};
use crate::dissemination::{Emitted, Emitter, Kind, select, spread};
use crate::host::Host;
use crate::identity::{IdentityRefusal, IdentityStore};
use crate::membership::disclose::{self, Sides};
use crate::membership::{ConnectKind, Membership, SelfInfo};
use crate::msgstore::AuthorStore;
use crate::signed::SignedMessage;
use crate::types::{Channel, Endpoint, Member, Now, PkiId, StreamId, Ticket};
use bytes::Bytes;
use certs::Certs;
use rand::SeedableRng;
use rand_chacha::ChaCha12Rng;
use std::collections::BTreeMap;
use std::time::Duration;
use switchboard_fabric::message::Envelope;

/// Channels joined at a time.
pub const MAX_CHANNELS: usize = 1_024;

/// Something that happened, told by the shell.
#[derive(Debug, Clone)]
pub enum Input {
    /// A message came on an authenticated connection. `ack`s are taken out before.
    Received {
        /// The PKI-ID that the connection proved.
        from: PkiId,
        /// The stream, to answer on.
        stream: StreamId,
        /// The message.
        message: SignedMessage,
    },
    /// A [`Action::Handshake`] ended.
    Handshaken {
        /// Which.
        ticket: Ticket,
        /// The identity that was proven, or why not.
        result: Result<(PkiId, Bytes), String>,
    },
    /// A [`Action::Ping`] ended.
    Ponged {
        /// Which.
        ticket: Ticket,
        /// Whether it was answered.
        answered: bool,
    },
    /// A [`Action::SendWithAck`] ended.
    Acked {
        /// Which.
        ticket: Ticket,
        /// How many acknowledged.
        acks: usize,
        /// What the others said.
        nacks: Vec<String>,
    },
    /// A connection broke, or could not be made. Whoever was heard of since is not dead: it is we that do not reach it, or a machine
    /// too busy for a handshake.
    PresumedDead {
        /// With whom.
        pki_id: PkiId,
        /// When that was tried, in the time of [`Now::mono`].
        since: Duration,
    },
    /// A peer that was expected under this PKI-ID came with another one of its organisation.
    IdentitySwitch(PkiId),
    /// The time of [`Gossip::wake`] has come.
    Tick,
}

/// Why a node does not start; the operator is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartFault {
    /// Options that do not go together.
    #[error(transparent)]
    Config(#[from] ConfigFault),
    /// Our own identity.
    #[error("our own identity: {0}")]
    Identity(#[from] IdentityRefusal),
    /// `bootstrap` holds something else than host:port.
    #[error("bootstrap: {0:?} is not host:port")]
    Bootstrap(String),
}

/// What a node starts with.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Keys, organisations, channels.
    pub host: Host,
    /// Options.
    pub config: Config,
    /// Our serialized identity.
    pub identity: Bytes,
    /// Where we are reached.
    pub info: SelfInfo,
    /// From the system's randomness; a simulation's own choice.
    pub seed: [u8; 32],
}

/// Gossip of one node.
#[derive(Debug)]
pub struct Gossip {
    host: Host,
    config: Config,
    me: Me,
    ids: IdentityStore,
    rng: ChaCha12Rng,
    emit: Emitter,
    refusals: Refusals,
    members: Membership,
    certs: Certs,
    channels: BTreeMap<Channel, ChannelState>,
    /// StateInfos of channels we are not in, by their MAC: forwarded once.
    others: AuthorStore<()>,
    next_ticket: u64,
    /// When something is due, as it was after the last thing that changed anything.
    due: Duration,
}

/// Borrows the parts of a node that all of them work with.
macro_rules! cx {
    ($node:ident, $now:expr, $out:expr) => {
        Cx {
            now: $now,
            config: &$node.config,
            host: &$node.host,
            me: &$node.me,
            ids: &mut $node.ids,
            rng: &mut $node.rng,
            out: $out,
            emit: &mut $node.emit,
            refusals: &mut $node.refusals,
        }
    };
}
use cx;

impl Gossip {
    /// A node that knows nobody yet; it connects to its bootstrap peers with the first tick.
    ///
    /// # Errors
    /// [`StartFault`].
    pub fn new(setup: Setup, now: Now) -> Result<Self, StartFault> {
        let Setup { host, config, identity, info, seed } = setup;
        config.check()?;
        let ids = IdentityStore::new(&host, &identity, now)?;
        let me = ids.own();
        let org = ids.org_of(&me).cloned().ok_or(IdentityRefusal::NoOrg)?;
        let bootstrap = config.bootstrap.iter().filter(|text| !text.is_empty());
        let bootstrap: Vec<_> = bootstrap
            .map(|text| Endpoint::parse(text).ok_or_else(|| StartFault::Bootstrap(text.clone())))
            .collect::<Result<_, _>>()?;
        let emit = Emitter::new(
            config.max_propagation_burst_latency,
            config.max_propagation_burst_size,
            config.propagate_iterations,
        );
        let mut node = Self {
            members: Membership::new(info, &config, now),
            certs: Certs::new(&config, now),
            others: AuthorStore::new(
                Some(config.publish_state_info_interval * 100),
                crate::channel::MAX_INFOS,
            ),
            me: Me { pki_id: me, org, identity },
            ids,
            rng: ChaCha12Rng::from_seed(seed),
            emit,
            refusals: Refusals::default(),
            channels: BTreeMap::new(),
            host,
            config,
            // Membership counts its own from below.
            next_ticket: 1 << 63,
            due: Duration::ZERO,
        };
        // Nothing is sent here: connecting only notes the endpoints.
        let mut out = Actions::default();
        let mut cx = cx!(node, now, &mut out);
        for endpoint in bootstrap {
            node.members.connect(endpoint, ConnectKind::Bootstrap, &mut cx);
        }
        Ok(node)
    }

    /// Handles what happened, and whatever is due by now. Returns whether that changed anything: if not, [`Gossip::wake`] would say
    /// what it said before.
    pub fn handle(&mut self, input: Input, now: Now, out: &mut Actions) -> bool {
        match input {
            Input::Received { from, stream, message } => {
                // Of each alive message as many copies come as are sent of it: all but the first tell nothing.
                if !self.receive(from, stream, &message, now, out) && now.mono < self.due {
                    return false;
                }
            }
            Input::Handshaken { ticket, result } => {
                self.members.on_handshaken(ticket, result, &mut cx!(self, now, out));
            }
            Input::Ponged { ticket, answered } => {
                self.members.on_ponged(ticket, answered, &mut cx!(self, now, out));
            }
            Input::Acked { ticket, acks, nacks } => {
                let nacks = nacks.iter().map(|nack| switchboard::text::printable(nack)).collect();
                out.tell(Event::Acked { ticket, acks, nacks });
            }
            Input::PresumedDead { pki_id, since } => {
                self.members.presume_dead(&pki_id, since, &mut cx!(self, now, out));
            }
            Input::IdentitySwitch(old) => self.purge(old, "replaced by another identity", now, out),
            Input::Tick => {}
        }
        self.tick(now, out);
        self.due = self.wake(now).unwrap_or(now.mono);
        true
    }

    /// Takes the identity that a connection proved, before its messages are handled.
    ///
    /// # Errors
    /// [`IdentityRefusal`]: the connection is to be refused.
    pub fn authenticated(&mut self, id: PkiId, identity: &Bytes, now: Now) -> Result<(), IdentityRefusal> {
        self.ids.put(&self.host, id, identity, now).map(drop)
    }

    /// Forgets an identity, its member, and closes its connection (row 5.3).
    fn purge(&mut self, id: PkiId, why: &'static str, now: Now, out: &mut Actions) {
        self.ids.remove(&id);
        self.after_purge(id, why, now, out);
    }

    fn after_purge(&mut self, id: PkiId, why: &'static str, now: Now, out: &mut Actions) {
        self.members.purge(&id, &mut cx!(self, now, out));
        self.certs.forget(&id);
        self.channels.values_mut().for_each(|channel| channel.forget(&id));
        out.tell(Event::IdentityPurged { pki_id: id, why });
        out.push(Action::Close { pki_id: id, reason: CloseReason::IdentityPurged });
    }

    fn tick(&mut self, now: Now, out: &mut Actions) {
        for (id, why) in self.ids.tick(now) {
            self.after_purge(id, why, now, out);
        }
        let mut cx = cx!(self, now, out);
        self.members.tick(&mut cx);
        if let Some(peer) = self.members.identities_wanted.take() {
            self.certs.want(peer, now.mono);
        }
        if let Some(peer) = self.certs.tick(&self.members, &mut cx) {
            // Whose identities came may be told of again.
            self.members.request(peer, 0, &mut cx);
        }
        for channel in self.channels.values_mut() {
            if now.mono >= channel.wake() || channel.meets(&self.members) {
                channel.tick(&self.members, &mut cx);
            }
        }
        self.others.sweep(now.mono);
        let batch = self.emit.due(now.mono);
        for emitted in batch {
            self.gossip(&emitted, out);
        }
    }

    /// Whether an envelope that came may tell more than is known here. Told without decoding it, so that signatures of what will be
    /// passed over need not be checked.
    #[must_use]
    pub fn is_news(&self, envelope: &Envelope) -> bool {
        self.members.is_news(envelope) && !self.channels.values().any(|channel| channel.is_held(envelope))
    }

    /// When [`Input::Tick`] is due next, in the time of [`Now::mono`].
    #[must_use]
    pub fn wake(&self, now: Now) -> Option<Duration> {
        let fixed = [self.members.wake(), self.certs.wake(), self.ids.wake(now)];
        let channels = self.channels.values().map(ChannelState::wake);
        let maybe = [self.emit.wake(), self.others.wake()];
        fixed.into_iter().chain(channels).chain(maybe.into_iter().flatten()).min()
    }

    /// Sends one gathered message to the peers that may have it (rows 6.11, 7.2).
    fn gossip(&mut self, emitted: &Emitted, out: &mut Actions) {
        let Self { members, channels, rng, ids, me, config, .. } = self;
        let count = config.propagate_peer_num;
        let from = emitted.from;
        let org_of = |id: &PkiId| ids.org_of(id);
        let mine = |id: &PkiId| ids.org_of(id) == Some(&me.org);
        // Borrowed parts only: `is_eligible` wants all of them.
        let eligible = |channel: &ChannelState| -> Vec<PkiId> {
            let fits = |id: &&PkiId| channel.info(id).is_some() && mine(id) && channel.has_org(&me.org);
            members.alive().iter().filter(fits).copied().collect()
        };
        let chosen = match &emitted.kind {
            Kind::Alive(author) => {
                let author_org = if *author == me.pki_id { Some(&me.org) } else { org_of(author) };
                let Some(author_org) = author_org else { return };
                let author_external = members.has_external(author, &me.pki_id);
                let sides = |peer: &Member| {
                    let (peer, peer_external) = (&peer.org, peer.external.is_some());
                    let (ours, author) = (&me.org, author_org);
                    disclose::by_gossip(Sides { ours, author, author_external, peer, peer_external })
                };
                select(members.alive(), count, rng, |id| {
                    Some(*id) != from && id != author && members.lookup(id).is_some_and(sides)
                })
            }
            Kind::StateInfo(author, channel) => {
                let channel = channel.as_ref().and_then(|name| channels.get(name));
                let wide = channel.filter(|_| members.has_external(author, &me.pki_id));
                select(members.alive(), count, rng, |id| {
                    let fits = match wide {
                        Some(channel) => org_of(id).is_some_and(|org| channel.has_org(org)),
                        None => mine(id),
                    };
                    Some(*id) != from && id != author && fits
                })
            }
            Kind::Block(name, number) => {
                let Some(channel) = channels.get(name) else { return };
                spread(&eligible(channel), me.pki_id, *number, from, count, rng)
            }
            Kind::Leadership(name) => {
                let Some(channel) = channels.get(name) else { return };
                eligible(channel)
            }
        };
        let open = std::cell::OnceCell::new();
        for id in chosen {
            let Some(member) = members.lookup(&id) else { continue };
            let secret = !matches!(emitted.kind, Kind::Alive(_)) || member.org == me.org;
            let open = || open.get_or_init(|| emitted.message.without_secret()).clone();
            let message = if secret { emitted.message.clone() } else { open() };
            out.send(member.remote(), message);
        }
    }
}

#[cfg(test)]
mod tests;
