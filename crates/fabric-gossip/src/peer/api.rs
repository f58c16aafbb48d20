//! What a program calls: the counterparts of Go's gossip service.

use super::{Cx, Gossip, MAX_CHANNELS, cx};
use crate::actions::{Action, Actions, Event};
use crate::channel::{ChannelState, StateView};
use crate::dissemination::select;
use crate::host::JoinConfig;
use crate::identity::Known;
use crate::membership::{ConnectKind, Deaths, SelfInfo, Standing};
use crate::pull::Counts;
use crate::signed::SignedMessage;
use crate::types::{Channel, Endpoint, Member, Now, Org, PkiId, Remote, Ticket};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use switchboard_fabric::message::{Chaincode, Content, GossipMessage, Payload};

/// To whom [`Gossip::send_by_criteria`] sends, and what it waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SendCriteria {
    /// How long acknowledgements are waited for.
    pub timeout: Duration,
    /// How many are enough.
    pub min_ack: usize,
    /// To how many peers at most.
    pub max_peers: usize,
    /// Only to peers of this channel.
    pub channel: Option<Channel>,
}

impl SendCriteria {
    /// To so many peers of whatever channel, of which none need acknowledge.
    #[must_use]
    pub fn new(max_peers: usize) -> Self {
        Self { timeout: Duration::ZERO, min_ack: 0, max_peers, channel: None }
    }

    /// Changes some of it.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

/// Why a message is not sent; the caller is at fault, or the network too small.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendRefusal {
    /// No time to wait.
    #[error("a timeout must be given")]
    NoTimeout,
    /// Not joined.
    #[error("channel {0} is not joined")]
    NoChannel(Channel),
    /// Too few.
    #[error("at least {wanted} peers are wanted, {found} suit")]
    TooFew {
        /// How many must acknowledge.
        wanted: usize,
        /// How many peers suit.
        found: usize,
    },
    /// A channel too many.
    #[error("{MAX_CHANNELS} channels are joined already")]
    TooManyChannels,
    /// A channel of no organisation.
    #[error("a channel without organisations cannot be joined")]
    NoOrgs,
}

/// What a policy is evaluated over: a peer's signed StateInfo (`api.PeerSignature`).
#[derive(Debug, Clone)]
pub struct PeerSignature {
    /// Over what.
    pub message: Bytes,
    /// The signature.
    pub signature: Bytes,
    /// The signer's serialized identity.
    pub identity: Bytes,
}

impl Gossip {
    /// Our PKI-ID.
    #[must_use]
    pub fn pki_id(&self) -> PkiId {
        self.me.pki_id
    }

    /// Our organisation.
    #[must_use]
    pub fn org(&self) -> &Org {
        &self.me.org
    }

    /// Joins a channel or takes its new configuration; connects to its anchor peers. `JoinChan`.
    ///
    /// # Errors
    /// [`SendRefusal::TooManyChannels`], [`SendRefusal::NoOrgs`].
    pub fn join_channel(
        &mut self,
        name: &Channel,
        config: JoinConfig,
        now: Now,
        out: &mut Actions,
    ) -> Result<(), SendRefusal> {
        if config.orgs.is_empty() {
            return Err(SendRefusal::NoOrgs);
        }
        if self.channels.len() >= MAX_CHANNELS && !self.channels.contains_key(name) {
            return Err(SendRefusal::TooManyChannels);
        }
        let mut cx = cx!(self, now, out);
        let fresh = !self.channels.contains_key(name);
        let state = ChannelState::new(name.clone(), config.clone(), &cx);
        let channel = self.channels.entry(name.clone()).or_insert(state);
        let rejoined = channel.has_left();
        if !fresh && !channel.configure(config, &mut cx) {
            return Ok(());
        }
        if cx.config.use_leader_election || cx.config.observes_leaders {
            channel.elect(&self.members, &cx);
        } else if cx.config.org_leader && (fresh || rejoined) {
            let pki_id = Some(cx.me.pki_id);
            cx.out.tell(Event::Leader { channel: name.clone(), pki_id, us: true });
        }
        self.update_anchors(now, out);
        Ok(())
    }

    /// Takes the anchor peers of all channels as they are now: connects to new ones, lets go of old ones.
    fn update_anchors(&mut self, now: Now, out: &mut Actions) {
        let mut cx = cx!(self, now, out);
        let bootstrap: Vec<_> = cx.config.bootstrap.iter().filter_map(|text| Endpoint::parse(text)).collect();
        let joined = self.channels.values().filter(|channel| !channel.has_left());
        let anchors: BTreeMap<Endpoint, Org> = joined
            .flat_map(|channel| channel.config().orgs.iter())
            .flat_map(|(org, anchors)| anchors.iter().map(|anchor| (anchor.clone(), org.clone())))
            .collect();
        let lasting: BTreeSet<_> = anchors.keys().cloned().chain(bootstrap).collect();
        self.members.set_lasting(lasting);
        let known: BTreeSet<Endpoint> = self
            .members
            .members(Standing::Alive)
            .flat_map(|member| [member.internal.clone(), member.external.clone()])
            .flatten()
            .collect();
        for (endpoint, org) in anchors {
            if !known.contains(&endpoint) {
                self.members.connect(endpoint, ConnectKind::Anchor(org), &mut cx);
            }
        }
    }

    /// Leaves a channel: that is published, and blocks and peers of it are asked for no more. `LeaveChan`.
    pub fn leave_channel(&mut self, name: &Channel, now: Now, out: &mut Actions) {
        let mut cx = cx!(self, now, out);
        if let Some(channel) = self.channels.get_mut(name).filter(|channel| !channel.has_left()) {
            // At once: a node that stops has no time to wait for the interval.
            channel.leave();
            channel.publish(&mut cx);
            self.update_anchors(now, out);
        }
    }

    /// Changes our metadata; the next alive message carries it. `UpdateMetadata`.
    pub fn update_metadata(&mut self, metadata: Bytes) {
        self.members.info_mut().metadata = metadata;
    }

    /// Changes our endpoint as others see it. `UpdateEndpoint`.
    pub fn update_endpoint(&mut self, external: Option<Endpoint>) {
        self.members.info_mut().external = external;
    }

    /// Changes our height in a channel, published with the next interval. `UpdateLedgerHeight`.
    pub fn update_ledger_height(&mut self, name: &Channel, height: u64) {
        if let Some(channel) = self.channels.get_mut(name) {
            channel.update_height(height);
        }
    }

    /// Changes our chaincodes in a channel, published at once. `UpdateChaincodes`.
    pub fn update_chaincodes(
        &mut self,
        name: &Channel,
        chaincodes: Vec<Chaincode>,
        now: Now,
        out: &mut Actions,
    ) {
        let mut cx = cx!(self, now, out);
        if let Some(channel) = self.channels.get_mut(name) {
            channel.update_chaincodes(chaincodes, &mut cx);
        }
    }

    /// The alive members. `Peers`.
    pub fn peers(&self) -> impl Iterator<Item = &Member> {
        self.members.members(Standing::Alive)
    }

    /// The members not heard of lately.
    pub fn dead_peers(&self) -> impl Iterator<Item = &Member> {
        self.members.members(Standing::Dead)
    }

    /// A member, alive or dead.
    #[must_use]
    pub fn member(&self, id: &PkiId) -> Option<&Member> {
        self.members.lookup(id)
    }

    /// The alive peers of a channel that did not leave it, with their heights and chaincodes. `PeersOfChannel`.
    #[must_use]
    pub fn peers_of_channel(&self, name: &Channel) -> Vec<StateView> {
        let channel = self.channels.get(name);
        channel.map(|c| c.peers(&self.members).map(|(id, info)| info.view(id)).collect()).unwrap_or_default()
    }

    /// The alive peers of a channel whose signed StateInfo satisfies a policy. `PeerFilter`.
    pub fn peer_filter(&self, name: &Channel, mut policy: impl FnMut(&PeerSignature) -> bool) -> Vec<PkiId> {
        let Some(channel) = self.channels.get(name) else { return Vec::new() };
        let fits = |(id, info): (PkiId, &crate::channel::Info)| {
            let envelope = info.message.envelope();
            let signature = PeerSignature {
                message: envelope.payload.clone(),
                signature: envelope.signature.clone(),
                identity: self.ids.peek(&id)?.identity.clone(),
            };
            policy(&signature).then_some(id)
        };
        channel.peers(&self.members).filter_map(fits).collect()
    }

    /// What we say of ourselves to members. `SelfMembershipInfo`.
    #[must_use]
    pub fn self_info(&self) -> &SelfInfo {
        self.members.info()
    }

    /// Our own StateInfo of a channel as last published. `SelfChannelInfo`.
    #[must_use]
    pub fn self_channel_info(&self, name: &Channel) -> Option<&SignedMessage> {
        self.channels.get(name)?.own()
    }

    /// The channels joined, with our height; those that were left not.
    pub fn channels(&self) -> impl Iterator<Item = (&Channel, u64)> {
        let joined = self.channels.iter().filter(|(_, channel)| !channel.has_left());
        joined.map(|(name, channel)| (name, channel.height()))
    }

    /// The known identities. `IdentityInfo`.
    pub fn identities(&self) -> impl Iterator<Item = (&PkiId, &Known)> {
        self.ids.iter()
    }

    /// The organisation of a peer whose identity is known.
    #[must_use]
    pub fn org_of(&self, id: &PkiId) -> Option<&Org> {
        self.ids.org_of(id)
    }

    /// A peer as one to send to.
    #[must_use]
    pub fn remote(&self, id: PkiId) -> Remote {
        self.members.remote(id)
    }

    /// Validates suspected identities again; those that are not valid any more are purged. `SuspectPeers`.
    pub fn suspect_peers(
        &mut self,
        suspected: impl FnMut(&PkiId, &Known) -> bool,
        now: Now,
        out: &mut Actions,
    ) {
        for (id, why) in self.ids.suspect(&self.host, suspected, now) {
            self.after_purge(id, why, now, out);
        }
    }

    /// Gossips a block of ours. Returns whether it is new and its channel joined. `Gossip` of a DataMessage.
    pub fn gossip_block(&mut self, name: &Channel, payload: Payload, now: Now, out: &mut Actions) -> bool {
        let mut cx = cx!(self, now, out);
        let channel = self.channels.get_mut(name).filter(|channel| !channel.has_left());
        channel.is_some_and(|channel| channel.gossip_block(payload, &mut cx))
    }

    /// Sends an unsigned message to peers. `Send`.
    pub fn send(&self, message: GossipMessage, to: &[PkiId], out: &mut Actions) {
        let message = SignedMessage::unsigned(message);
        to.iter().for_each(|id| out.send(self.members.remote(*id), message.clone()));
    }

    /// Sends a message to some peers that suit, and waits for acknowledgements: [`Event::Acked`] names the ticket.
    /// `SendByCriteria`; the shell's comm layer is `SendWithAck`.
    ///
    /// # Errors
    /// [`SendRefusal`].
    pub fn send_by_criteria(
        &mut self,
        message: GossipMessage,
        criteria: &SendCriteria,
        mut eligible: impl FnMut(&Member) -> bool,
        out: &mut Actions,
    ) -> Result<Option<Ticket>, SendRefusal> {
        if criteria.max_peers == 0 {
            return Ok(None);
        }
        if criteria.timeout.is_zero() {
            return Err(SendRefusal::NoTimeout);
        }
        let among: Vec<PkiId> = match &criteria.channel {
            Some(name) => {
                let channel = self.channels.get(name).ok_or_else(|| SendRefusal::NoChannel(name.clone()))?;
                channel.peers(&self.members).map(|(id, _)| id).collect()
            }
            None => self.members.alive().to_vec(),
        };
        let members = &self.members;
        let chosen = select(&among, criteria.max_peers, &mut self.rng, |id| {
            members.lookup(id).is_some_and(&mut eligible)
        });
        if chosen.len() < criteria.min_ack {
            return Err(SendRefusal::TooFew { wanted: criteria.min_ack, found: chosen.len() });
        }
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        out.push(Action::SendWithAck {
            ticket,
            to: chosen.into_iter().map(|id| self.members.remote(id)).collect(),
            message: SignedMessage::unsigned(message),
            min_ack: criteria.min_ack,
            timeout: criteria.timeout,
        });
        Ok(Some(ticket))
    }

    /// Gives up leading a channel for a while. `Yield`.
    pub fn yield_leadership(&mut self, name: &Channel, now: Now, out: &mut Actions) {
        let mut cx = cx!(self, now, out);
        if let Some(channel) = self.channels.get_mut(name) {
            channel.yield_leadership(&mut cx);
        }
    }

    /// The leader of a channel: elected, or without election ourselves if `orgLeader` is set. `IsLeader` by comparison.
    #[must_use]
    pub fn leader(&self, name: &Channel) -> Option<PkiId> {
        let channel = self.channels.get(name).filter(|channel| !channel.has_left())?;
        match &channel.election {
            Some(election) => election.leader(),
            None => self.config.org_leader.then_some(self.me.pki_id),
        }
    }

    /// How often messages were refused, by reason.
    pub fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.refusals.counts.iter().map(|(why, count)| (*why, *count))
    }

    /// How often members were thought dead.
    #[must_use]
    pub fn deaths(&self) -> Deaths {
        self.members.deaths
    }

    /// What pulls did, by what they pull: identities, and blocks of all channels.
    #[must_use]
    pub fn pulls(&self) -> [(&'static str, Counts); 2] {
        let mut blocks = Counts::default();
        self.channels.values().for_each(|channel| blocks += channel.pulls());
        [("identities", self.certs.pulls()), ("blocks", blocks)]
    }

    /// Messages that were not gossiped because too many waited.
    #[must_use]
    pub fn overflow(&self) -> u64 {
        self.emit.overflow
    }

    /// Whether nothing waits to be gossiped.
    #[must_use]
    pub fn gathers_nothing(&self) -> bool {
        self.emit.wake().is_none()
    }

    /// Whether a content is one that the shell must take out before [`Input::Received`](super::Input::Received).
    #[must_use]
    pub fn is_intercepted(content: &Content) -> bool {
        matches!(content, Content::Ack(_))
    }
}
