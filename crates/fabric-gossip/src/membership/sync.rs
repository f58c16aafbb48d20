//! Membership requests and their answers.

use super::{Membership, Standing, disclose, read_alive};
use crate::actions::{Action, CloseReason};
use crate::cx::{Cx, Unverified};
use crate::signed::SignedMessage;
use crate::types::{Endpoint, Org, PkiId, Remote};
use std::time::Duration;
use switchboard_fabric::message::{
    Content, Envelope, GossipMessage, MembershipRequest, MembershipResponse, Tag,
};

/// Elements of one answer that are looked at, alive and dead ones apart.
pub const MAX_ELEMENTS: usize = 4_096;
/// Elements of one answer that may be wrong before the rest is not looked at.
const MAX_WRONG: usize = 16;
/// Requests of one peer answered at once.
pub const REQUESTS: u32 = 4;
/// Then one is answered in this time.
pub const REQUEST_EVERY: Duration = Duration::from_millis(500);
/// How long an answer to a request is taken.
const ANSWER: Duration = Duration::from_secs(30);

impl Membership {
    /// Asks a known member who is there.
    pub(crate) fn request(&mut self, id: PkiId, nonce: u64, cx: &mut Cx<'_>) {
        let to = self.remote(id);
        self.request_of(to, nonce, cx);
    }

    pub(super) fn request_of(&mut self, to: Remote, nonce: u64, cx: &mut Cx<'_>) {
        // As in Go: a peer without an organisation that we know is told no secrets.
        let secret = cx.is_mine(&to.pki_id);
        let Some(alive) = self.own_alive(cx) else { return };
        let alive = if secret { alive } else { alive.without_secret() };
        let self_information = Some(alive.envelope().clone());
        let content = Content::MemReq(MembershipRequest { self_information, known: Vec::new() });
        let (asked, until) = self.asked.entry(to.pki_id).or_insert((0, Duration::ZERO));
        (*asked, *until) = (asked.saturating_add(1), cx.now.mono + ANSWER);
        cx.out.send(to, SignedMessage::unsigned(GossipMessage::new(Tag::Empty, &[], nonce, content)));
    }

    /// A membership request came on an authenticated connection.
    pub(crate) fn on_request(
        &mut self,
        from: PkiId,
        nonce: u64,
        request: &MembershipRequest,
        cx: &mut Cx<'_>,
    ) {
        if !self.served.allows(from, cx.now.mono) {
            return cx.refuse(from, "membership requests too often");
        }
        let Some(envelope) = &request.self_information else {
            return cx.refuse(from, "a membership request without self information");
        };
        let Ok(message) = SignedMessage::from_envelope(envelope) else {
            return cx.refuse(from, "a membership request with an undecodable message");
        };
        let external = match read_alive(message.message()) {
            Ok(alive) if alive.id != from => {
                return cx.refuse(from, "a membership request for another PKI-ID");
            }
            Ok(alive) => Endpoint::parse(&alive.member.endpoint).is_some(),
            Err(why) => return cx.refuse(from, why),
        };
        let newer = match self.take_alive(&message, Standing::Alive, cx) {
            Ok(newer) => newer.is_some(),
            Err(Unverified::Wrong(why)) => return cx.refuse(from, why),
            Err(Unverified::Unknown) => return self.identities_wanted = Some(from),
        };
        // One that is not newer was not verified above. It is answered all the same (its sender is proven by the
        // connection), unless its signature is wrong.
        if !newer && cx.verify(from, message.envelope()).is_err() {
            return cx.refuse(from, "a membership request with a wrong signature");
        }
        let Some(org) = cx.ids.org_of(&from).cloned() else { return };
        let Some(answer) = self.answer(&org, external, cx) else {
            cx.refuse(from, "a membership request of a peer we may not be disclosed to");
            cx.out.push(Action::Close { pki_id: from, reason: CloseReason::NotDisclosed });
            return;
        };
        let answer = GossipMessage::new(Tag::Empty, &[], nonce, Content::MemRes(answer));
        let to = self.remote(from);
        cx.out.send(to, SignedMessage::unsigned(answer));
    }

    /// Who is there, as far as this peer may know; `None` when it may not even know of us.
    fn answer(&mut self, peer: &Org, external: bool, cx: &mut Cx<'_>) -> Option<MembershipResponse> {
        let ours = &cx.me.org;
        let may = |author: &Org, author_external| {
            let sides = disclose::Sides { ours, author, author_external, peer, peer_external: external };
            disclose::in_answer(sides)
        };
        if !may(ours, self.info.external.is_some()) {
            return None;
        }
        let secret = disclose::with_secret(ours, peer);
        let open = |envelope: &Envelope| Envelope {
            payload: envelope.payload.clone(),
            signature: envelope.signature.clone(),
            secret_envelope: envelope.secret_envelope.clone().filter(|_| secret),
        };
        let (mut alive, mut dead) = (Vec::with_capacity(self.alive.len() + 1), Vec::new());
        for entry in self.members.values() {
            let list = match entry.standing {
                Standing::Alive => &mut alive,
                Standing::Dead => &mut dead,
                Standing::Forgotten => continue,
            };
            if may(&entry.member.org, entry.member.external.is_some()) {
                list.push(open(entry.message.envelope()));
            }
        }
        if self.own_alive.is_none() {
            self.own_alive = self.own_alive(cx);
        }
        alive.push(open(self.own_alive.as_ref()?.envelope()));
        Some(MembershipResponse { alive, dead })
    }

    /// A membership answer came.
    pub(crate) fn on_response(
        &mut self,
        from: PkiId,
        nonce: u64,
        response: &MembershipResponse,
        cx: &mut Cx<'_>,
    ) {
        match self.asked.get_mut(&from) {
            Some((asked, until)) if *asked > 0 && *until > cx.now.mono => *asked -= 1,
            _ => return cx.refuse(from, "a membership answer nobody asked for"),
        }
        self.reached(from, nonce);
        let alive = response.alive.iter().map(|envelope| (envelope, Standing::Alive)).take(MAX_ELEMENTS);
        let dead = response.dead.iter().map(|envelope| (envelope, Standing::Dead)).take(MAX_ELEMENTS);
        if response.alive.len() > MAX_ELEMENTS || response.dead.len() > MAX_ELEMENTS {
            cx.refuse(from, "a membership answer with too many members");
        }
        let mut wrong = 0;
        for (envelope, standing) in alive.chain(dead) {
            if !self.is_news(envelope) {
                continue;
            }
            let Ok(message) = SignedMessage::from_envelope(envelope) else {
                return cx.refuse(from, "a membership answer with an undecodable message");
            };
            match self.take_alive(&message, standing, cx) {
                Ok(_) => {}
                Err(Unverified::Wrong(why)) => {
                    cx.refuse(from, why);
                    wrong += 1;
                    // Each costs a check of a signature: a message with many of them is not read to the end.
                    if wrong >= MAX_WRONG {
                        return;
                    }
                }
                Err(Unverified::Unknown) => self.identities_wanted = Some(from),
            }
        }
    }
}
