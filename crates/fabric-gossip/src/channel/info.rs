//! What peers say of themselves in a channel.

use super::{ChannelState, channel_mac};
use crate::actions::Event;
use crate::cx::{Cx, Unverified};
use crate::dissemination::{Kind, select};
use crate::membership::Membership;
use crate::signed::{SignedMessage, nested};
use crate::types::{PkiId, Stamp, StreamId};
use bytes::Bytes;
use std::time::Duration;
use switchboard_fabric::message::{
    Chaincode, Content, Envelope, GossipMessage, Properties, StateInfo, StateInfoPullRequest,
    StateInfoSnapshot, Tag,
};

/// Largest StateInfo taken.
pub const MAX_STATE_INFO: usize = 256 * 1024;
/// Elements of one snapshot that are looked at.
pub const MAX_ELEMENTS: usize = 4_096;
/// Elements of one snapshot that may be wrong before the rest is not looked at.
const MAX_WRONG: usize = 16;
/// How long a snapshot that was asked for is taken.
const ANSWER: Duration = Duration::from_secs(30);

/// A StateInfo that is held.
#[derive(Debug)]
pub(crate) struct Info {
    pub(crate) message: SignedMessage,
    pub(crate) height: u64,
    pub(crate) left: bool,
}

/// What a peer says of itself in a channel.
#[derive(Debug, Clone, PartialEq)]
pub struct StateView {
    /// Who.
    pub pki_id: PkiId,
    /// Blocks held.
    pub height: u64,
    /// Its chaincodes.
    pub chaincodes: Vec<Chaincode>,
}

/// The parts of a StateInfo that everything else needs.
pub(crate) struct Parsed<'a> {
    pub(crate) author: PkiId,
    pub(crate) stamp: Stamp,
    pub(crate) mac: PkiId,
    pub(crate) properties: Option<&'a Properties>,
}

pub(crate) fn parse(body: &StateInfo) -> Result<Parsed<'_>, &'static str> {
    let author = PkiId::parse(&body.pki_id).ok_or("a StateInfo without PKI-ID")?;
    let stamp = body.timestamp.map(Stamp::from).ok_or("a StateInfo without timestamp")?;
    let mac = PkiId::parse(&body.channel_mac).ok_or("a StateInfo without channel MAC")?;
    Ok(Parsed { author, stamp, mac, properties: body.properties.as_ref() })
}

fn chaincodes(message: &SignedMessage) -> &[Chaincode] {
    match message.content() {
        Some(Content::StateInfo(StateInfo { properties: Some(properties), .. })) => &properties.chaincodes,
        _ => &[],
    }
}

impl Info {
    pub(crate) fn view(&self, pki_id: PkiId) -> StateView {
        StateView { pki_id, height: self.height, chaincodes: chaincodes(&self.message).to_vec() }
    }
}

impl ChannelState {
    /// Whether exactly these bytes are held: told without decoding them.
    pub(crate) fn is_held(&self, envelope: &Envelope) -> bool {
        let author = nested(&envelope.payload, &[15, 3]).and_then(PkiId::parse);
        let info = author.and_then(|author| self.infos.get(&author));
        info.is_some_and(|info| info.message.envelope().payload == envelope.payload)
    }

    /// Checks a StateInfo of this channel and takes it if it is newer. Returns whether it was taken.
    pub(crate) fn take_info(
        &mut self,
        message: &SignedMessage,
        parsed: &Parsed<'_>,
        cx: &mut Cx<'_>,
    ) -> Result<bool, Unverified> {
        let Parsed { author, stamp, .. } = *parsed;
        if author == cx.me.pki_id || !self.infos.check(author, stamp) {
            return Ok(false);
        }
        let wrong = |why| Err(Unverified::Wrong(why));
        if message.size() > MAX_STATE_INFO {
            return wrong("a StateInfo that is too large");
        }
        if cx.is_ahead(stamp.inc) || cx.is_ahead(stamp.seq) {
            return wrong("a StateInfo from the future");
        }
        let known = cx.ids.get(&author, cx.now).ok_or(Unverified::Unknown)?;
        if !self.has_org(&known.org) {
            return wrong("a StateInfo of an organisation that is not in the channel");
        }
        let identity = known.identity.clone();
        cx.verify(author, message.envelope())?;
        if !cx.host.policy.is_reader(&self.name, author, &identity) {
            return wrong("a StateInfo of a peer that may not read the channel");
        }
        let none = Properties::default();
        let properties = parsed.properties.unwrap_or(&none);
        let info = Info {
            message: message.clone(),
            height: properties.ledger_height,
            left: properties.left_channel,
        };
        self.infos.add(author, stamp, info, cx.now.mono);
        cx.out.tell(Event::StateInfo {
            channel: self.name.clone(),
            pki_id: author,
            stamp,
            height: properties.ledger_height,
            left: properties.left_channel,
            chaincodes: properties.chaincodes.clone(),
        });
        if !properties.left_channel {
            self.compare_height(author, properties.ledger_height, cx);
        }
        Ok(true)
    }

    /// A StateInfo of this channel came by gossip.
    pub(crate) fn on_info(
        &mut self,
        from: PkiId,
        message: &SignedMessage,
        parsed: &Parsed<'_>,
        cx: &mut Cx<'_>,
    ) {
        if !self.has_org_of(&from, cx) {
            return cx.refuse(from, "a channel message of a peer whose organisation is not in the channel");
        }
        match self.take_info(message, parsed, cx) {
            Ok(true) => {
                let kind = Kind::StateInfo(parsed.author, Some(self.name.clone()));
                cx.emit.add(message.clone(), kind, Some(from), cx.now.mono);
            }
            Ok(false) | Err(Unverified::Unknown) => {}
            Err(Unverified::Wrong(why)) => cx.refuse(from, why),
        }
    }

    /// Asked for a snapshot: answers with all that the peer may see.
    pub(crate) fn on_pull_request(
        &mut self,
        from: PkiId,
        stream: StreamId,
        members: &Membership,
        cx: &mut Cx<'_>,
    ) {
        let Some(org) = cx.ids.org_of(&from).filter(|org| self.has_org(org)) else {
            return cx.refuse(from, "a channel message of a peer whose organisation is not in the channel");
        };
        let same = *org == cx.me.org;
        if !self.snapshots.allows(from, cx.now.mono) {
            return cx.refuse(from, "StateInfo requests too often");
        }
        let told = self.infos.get(&cx.me.pki_id).map(|info| (info.height, info.left));
        if self.changed && told != Some((self.height, self.left)) {
            // The answer has our height of now; everybody else is told at the interval.
            self.make_own(cx);
        }
        let seen = |id: &PkiId| same || !cx.is_mine(id) || members.has_external(id, &cx.me.pki_id);
        let elements = self.infos.iter().filter(|(id, _)| seen(id));
        let elements = elements.map(|(_, info)| info.message.envelope().clone()).collect();
        let content = Content::StateSnapshot(StateInfoSnapshot { elements });
        let snapshot = GossipMessage::new(Tag::ChanOrOrg, self.name.as_bytes(), 0, content);
        cx.out.respond(stream, from, SignedMessage::unsigned(snapshot));
    }

    pub(super) fn request_infos(&mut self, members: &Membership, cx: &mut Cx<'_>) {
        let peers = select(members.alive(), cx.config.pull_peer_num, cx.rng, |id| {
            cx.ids.org_of(id).is_some_and(|org| self.has_org(org))
        });
        if peers.is_empty() {
            return;
        }
        let channel_mac = Bytes::copy_from_slice(&channel_mac(&cx.me.pki_id, &self.name));
        let content = Content::StateInfoPullReq(StateInfoPullRequest { channel_mac });
        let request = SignedMessage::unsigned(GossipMessage::new(Tag::ChanOrOrg, &[], 0, content));
        for peer in peers {
            self.asked_infos.insert(peer, cx.now.mono + ANSWER);
            cx.out.send(members.remote(peer), request.clone());
        }
    }

    /// A snapshot came.
    pub(crate) fn on_snapshot(
        &mut self,
        from: PkiId,
        snapshot: &StateInfoSnapshot,
        members: &Membership,
        cx: &mut Cx<'_>,
    ) {
        if self.asked_infos.remove(&from).is_none_or(|until| until <= cx.now.mono) {
            return cx.refuse(from, "a StateInfo snapshot nobody asked for");
        }
        if snapshot.elements.len() > MAX_ELEMENTS {
            cx.refuse(from, "a StateInfo snapshot with too many elements");
        }
        let mut wrong = 0;
        for envelope in snapshot.elements.iter().take(MAX_ELEMENTS) {
            if self.is_held(envelope) {
                continue;
            }
            let taken = self.take_element(envelope, members, cx);
            if let Err(Unverified::Wrong(why)) = taken {
                cx.refuse(from, why);
                wrong += 1;
                if wrong >= MAX_WRONG {
                    return;
                }
            }
        }
    }

    fn take_element(
        &mut self,
        envelope: &Envelope,
        members: &Membership,
        cx: &mut Cx<'_>,
    ) -> Result<bool, Unverified> {
        let message = SignedMessage::from_envelope(envelope)
            .map_err(|_| Unverified::Wrong("a StateInfo snapshot with an undecodable message"))?;
        let Some(Content::StateInfo(body)) = message.content() else {
            return Err(Unverified::Wrong("a StateInfo snapshot with another message"));
        };
        let parsed = parse(body).map_err(Unverified::Wrong)?;
        if parsed.mac.0 != channel_mac(&parsed.author, &self.name) {
            return Err(Unverified::Wrong("a StateInfo with a wrong channel MAC"));
        }
        // Of a peer that is no member any more nothing is kept, as it would never be swept.
        if members.lookup(&parsed.author).is_none() {
            return Ok(false);
        }
        self.take_info(&message, &parsed, cx)
    }

    /// Our height changed.
    pub(crate) fn update_height(&mut self, height: u64) {
        self.changed |= self.height != height;
        self.height = height;
    }

    /// Our chaincodes changed: published at once.
    pub(crate) fn update_chaincodes(&mut self, chaincodes: Vec<Chaincode>, cx: &mut Cx<'_>) {
        self.chaincodes = chaincodes;
        self.publish(cx);
    }

    /// Leaves: that is published, and nothing is pulled or told any more.
    pub(crate) fn leave(&mut self) {
        self.left = true;
        self.changed = true;
        self.election = None;
        self.early = None;
    }

    pub(crate) fn publish(&mut self, cx: &mut Cx<'_>) {
        let Some(message) = self.make_own(cx) else { return };
        self.changed = false;
        let kind = Kind::StateInfo(cx.me.pki_id, Some(self.name.clone()));
        cx.emit.add(message, kind, None, cx.now.mono);
    }

    /// Makes our own StateInfo as of now, which answers have from here on.
    fn make_own(&mut self, cx: &mut Cx<'_>) -> Option<SignedMessage> {
        let stamp = Stamp { inc: self.inc, seq: cx.now.wall };
        let properties = Properties {
            ledger_height: self.height,
            left_channel: self.left,
            chaincodes: self.chaincodes.clone(),
        };
        let body = StateInfo {
            timestamp: Some(stamp.into()),
            pki_id: cx.me.pki_id.to_bytes(),
            channel_mac: Bytes::copy_from_slice(&channel_mac(&cx.me.pki_id, &self.name)),
            properties: Some(properties),
        };
        let message = GossipMessage::new(Tag::ChanOrOrg, &[], 0, Content::StateInfo(body));
        let message = cx.sign(message, None)?;
        let info = Info { message: message.clone(), height: self.height, left: self.left };
        self.infos.add(cx.me.pki_id, stamp, info, cx.now.mono);
        self.own = Some(message.clone());
        Some(message)
    }

    /// Our own StateInfo as it was made last.
    pub(crate) fn own(&self) -> Option<&SignedMessage> {
        self.own.as_ref()
    }
}
