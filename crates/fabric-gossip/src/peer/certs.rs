//! The pull of identities: how the identity of a member is learnt whose alive messages do not carry it any more.
//!
//! ```text
//!   digest = raw PKI-IDs; item = a PeerIdentity message, signed by the identity in it, passed on as it came
//! ```
//! (fabric gossip/gossip/certstore.go) To another organisation go identities of its own and ours only, and only of live peers with an
//! external endpoint. An identity that is known from a connection or an alive message is pulled as well: only with its signed item can it be
//! passed on.
//!
//! Besides every 4 s, a peer that told of a member whose identity is unknown here is asked at once: a node that joins late knows all in a
//! second or two.
//!
//! Limits: those of [`crate::pull`]; [`MAX_ITEMS`] identities per answer; one early pull in [`EARLY_EVERY`].

use crate::config::Config;
use crate::cx::Cx;
use crate::dissemination::select;
use crate::id_map::IdMap;
use crate::membership::Membership;
use crate::pull::{Counts, Engine, Out, Times};
use crate::signed::SignedMessage;
use crate::types::{Now, PkiId, StreamId};
use bytes::Bytes;
use std::time::Duration;
use switchboard_fabric::message::{
    Content, DataDigest, DataRequest, DataUpdate, GossipHello, GossipMessage, PeerIdentity, PullMsgType, Tag,
};

/// Identities taken, and given, in one answer.
pub(crate) const MAX_ITEMS: usize = 4_096;
/// An early pull happens at most once in this time.
pub(crate) const EARLY_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(crate) struct Certs {
    pull: Engine<PkiId>,
    next: Duration,
    wanted: Option<PkiId>,
    early_after: Duration,
    learnt_from: Option<PkiId>,
    /// Signed items, as they are sent on.
    items: IdMap<SignedMessage>,
}

impl Certs {
    pub(crate) fn pulls(&self) -> Counts {
        self.pull.counts()
    }

    pub(crate) fn new(config: &Config, now: Now) -> Self {
        let times = Times {
            digest: config.digest_wait_time,
            request: config.request_wait_time,
            response: config.response_wait_time,
        };
        Self {
            pull: Engine::new(times),
            next: now.mono + config.pull_interval,
            wanted: None,
            early_after: now.mono,
            learnt_from: None,
            items: IdMap::default(),
        }
    }

    pub(crate) fn forget(&mut self, id: &PkiId) {
        self.items.remove(id);
    }

    /// A peer told of members whose identities are not known.
    pub(crate) fn want(&mut self, peer: PkiId, now: Duration) {
        if self.wanted.is_none() {
            self.wanted = Some(peer);
            self.early_after = self.early_after.max(now);
        }
    }

    /// Starts what is due. Returns a peer from which identities came since the last time.
    pub(crate) fn tick(&mut self, members: &Membership, cx: &mut Cx<'_>) -> Option<PkiId> {
        let now = cx.now.mono;
        if now >= self.next {
            self.next = now + cx.config.pull_interval;
            let peers = select(members.alive(), cx.config.pull_peer_num, cx.rng, |_| true);
            let outs = self.pull.start(&peers, now, cx.rng);
            self.send(outs, members, cx);
        }
        if let Some(peer) = self.wanted.take_if(|_| now >= self.early_after) {
            self.early_after = now + EARLY_EVERY;
            let outs = self.pull.start(&[peer], now, cx.rng);
            self.send(outs, members, cx);
        }
        let outs = self.pull.tick(now, cx.rng);
        self.send(outs, members, cx);
        self.learnt_from.take()
    }

    pub(crate) fn wake(&self) -> Duration {
        let early = self.wanted.map(|_| self.early_after);
        [Some(self.next), early, self.pull.wake()].into_iter().flatten().min().unwrap_or_default()
    }

    fn send(&mut self, outs: Vec<Out<PkiId>>, members: &Membership, cx: &mut Cx<'_>) {
        for out in outs {
            let (to, content) = match out {
                Out::Hello { to, nonce } => {
                    (to, Content::Hello(GossipHello { nonce, metadata: Bytes::new(), msg_type: KIND }))
                }
                Out::Request { to, nonce, items } => {
                    let digests = items.into_iter().map(PkiId::to_bytes).collect();
                    (to, Content::DataReq(DataRequest { nonce, digests, msg_type: KIND }))
                }
            };
            cx.out.send(members.remote(to), message(content));
        }
    }

    /// A message of a pull of identities came.
    pub(crate) fn on_pull(
        &mut self,
        from: PkiId,
        stream: StreamId,
        content: &Content,
        members: &Membership,
        cx: &mut Cx<'_>,
    ) {
        let now = cx.now.mono;
        let Some(org) = cx.ids.org_of(&from).cloned() else { return };
        let foreign = org != cx.me.org;
        let may = |id: &PkiId, cx: &Cx<'_>| {
            let concerns = cx.is_mine(id) || cx.ids.org_of(id) == Some(&org);
            !foreign || (concerns && members.has_external(id, &cx.me.pki_id))
        };
        match content {
            Content::Hello(GossipHello { nonce, .. }) => {
                if self.pull.on_hello(from, *nonce, now).is_err() {
                    return cx.refuse(from, "too many pulls at once");
                }
                self.make_own(cx);
                let ids = self.items.keys().filter(|id| may(id, cx));
                let digests: Vec<_> = ids.map(|id| id.to_bytes()).collect();
                if !digests.is_empty() {
                    let digest = DataDigest { nonce: *nonce, digests, msg_type: KIND };
                    cx.out.respond(stream, from, message(Content::DataDig(digest)));
                }
            }
            Content::DataDig(DataDigest { nonce, digests, .. }) => {
                let ids =
                    digests.iter().take(crate::pull::MAX_DIGESTS).filter_map(|digest| PkiId::parse(digest));
                let missing: Vec<_> = ids.filter(|id| !self.items.contains_key(id)).collect();
                match self.pull.on_digest(from, *nonce, missing, now, cx.rng) {
                    Ok(outs) => self.send(outs, members, cx),
                    Err(_) => cx.refuse(from, "a pull message with an unknown nonce"),
                }
            }
            Content::DataReq(DataRequest { nonce, digests, .. }) => {
                if self.pull.on_request(from, *nonce, now).is_err() {
                    return cx.refuse(from, "a pull message with an unknown nonce");
                }
                let ids: std::collections::BTreeSet<_> =
                    digests.iter().take(MAX_ITEMS).filter_map(|digest| PkiId::parse(digest)).collect();
                let items = ids.iter().filter(|id| may(id, cx)).filter_map(|id| self.items.get(id));
                let data: Vec<_> = items.map(|item| item.envelope().clone()).collect();
                if !data.is_empty() {
                    let update = DataUpdate { nonce: *nonce, data, msg_type: KIND };
                    cx.out.respond(stream, from, message(Content::DataUpdate(update)));
                }
            }
            Content::DataUpdate(update) => self.on_update(from, update, cx),
            _ => {}
        }
    }

    /// Makes the item of our own identity, once.
    fn make_own(&mut self, cx: &mut Cx<'_>) {
        let id = cx.me.pki_id;
        if !self.items.contains_key(&id) {
            let cert = cx.me.identity.clone();
            let body = PeerIdentity { pki_id: id.to_bytes(), cert, metadata: Bytes::new() };
            let message = GossipMessage::new(Tag::Empty, &[], 0, Content::PeerIdentity(body));
            if let Some(item) = cx.sign(message, None) {
                self.items.insert(id, item);
            }
        }
    }

    fn on_update(&mut self, from: PkiId, update: &DataUpdate, cx: &mut Cx<'_>) {
        let Ok(asked) = self.pull.on_update(from, update.nonce, cx.now.mono) else {
            return cx.refuse(from, "a pull message with an unknown nonce");
        };
        for envelope in update.data.iter().take(MAX_ITEMS) {
            let Ok(message) = SignedMessage::from_envelope(envelope) else {
                return cx.refuse(from, "identities of which one is undecodable");
            };
            let Some(Content::PeerIdentity(body)) = message.content() else {
                return cx.refuse(from, "identities of which one is another message");
            };
            let Some(id) = PkiId::parse(&body.pki_id).filter(|id| asked.contains(id)) else {
                return cx.refuse(from, "an identity that was not asked for");
            };
            match cx.ids.put(cx.host, id, &body.cert, cx.now) {
                Ok(new) if cx.verify(id, message.envelope()).is_ok() => {
                    if self.items.len() >= crate::identity::CAPACITY {
                        self.items.retain(|id, _| cx.ids.peek(id).is_some());
                    }
                    self.items.insert(id, message);
                    if new {
                        self.learnt_from = Some(from);
                    }
                }
                _ => cx.refuse(from, "an identity that is not valid"),
            }
        }
    }
}

const KIND: i32 = PullMsgType::IdentityMsg as i32;

fn message(content: Content) -> SignedMessage {
    SignedMessage::unsigned(GossipMessage::new(Tag::Empty, &[], 0, content))
}
