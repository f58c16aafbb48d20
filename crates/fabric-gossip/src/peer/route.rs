//! Each content to its part.

use super::{Cx, Gossip, cx};
use crate::actions::{Actions, Event};
use crate::channel::{ChannelState, channel_mac};
use crate::cx::Unverified;
use crate::dissemination::Kind;
use crate::signed::SignedMessage;
use crate::types::{Channel, Now, PkiId, Stamp, StreamId};
use switchboard_fabric::message::{
    Content, DataDigest, DataRequest, DataUpdate, GossipHello, PullMsgType, StateInfo,
};
use switchboard_fabric::tags;

impl Gossip {
    /// Returns whether the message may have changed anything.
    pub(super) fn receive(
        &mut self,
        from: PkiId,
        stream: StreamId,
        message: &SignedMessage,
        now: Now,
        out: &mut Actions,
    ) -> bool {
        match message.content() {
            Some(Content::AliveMsg(_)) => self.alive(from, message, now, out),
            _ => {
                self.other(from, stream, message, now, out);
                true
            }
        }
    }

    /// Whether it comes of a peer that is known, and has the tag that it should have; else it is refused.
    fn is_fit(from: PkiId, message: &SignedMessage, cx: &mut Cx<'_>) -> bool {
        if from == cx.me.pki_id || cx.ids.get(&from, cx.now).is_none() {
            // The shell authenticates before it hands over; an identity purged since then ends the connection.
            cx.refuse(from, "a message of a peer whose identity is not known");
            return false;
        }
        if tags::check(message.message()).is_err() {
            cx.refuse(from, "a message without a content or with a wrong tag");
            return false;
        }
        true
    }

    fn alive(&mut self, from: PkiId, message: &SignedMessage, now: Now, out: &mut Actions) -> bool {
        let mut cx = cx!(self, now, out);
        !Self::is_fit(from, message, &mut cx) || self.members.on_alive(from, message, &mut cx)
    }

    fn other(&mut self, from: PkiId, stream: StreamId, message: &SignedMessage, now: Now, out: &mut Actions) {
        let mut cx = cx!(self, now, out);
        if !Self::is_fit(from, message, &mut cx) {
            return;
        }
        let Some(content) = message.content() else { return };
        match content {
            Content::MemReq(request) => {
                self.members.on_request(from, message.message().nonce, request, &mut cx);
            }
            Content::MemRes(response) => {
                self.members.on_response(from, message.message().nonce, response, &mut cx);
            }
            Content::Hello(GossipHello { msg_type, .. })
            | Content::DataDig(DataDigest { msg_type, .. })
            | Content::DataReq(DataRequest { msg_type, .. })
            | Content::DataUpdate(DataUpdate { msg_type, .. })
                if *msg_type == PullMsgType::IdentityMsg as i32 =>
            {
                self.certs.on_pull(from, stream, content, &self.members, &mut cx);
            }
            Content::StateInfo(body) => self.state_info(from, message, body, now, out),
            Content::StateInfoPullReq(request) => {
                let mac = &request.channel_mac;
                let asked = |channel: &&mut ChannelState| mac[..] == channel_mac(&from, &channel.name);
                match self.channels.values_mut().find(asked) {
                    Some(channel) => channel.on_pull_request(from, stream, &self.members, &mut cx),
                    None => cx.refuse(from, "a message of a channel that is not joined"),
                }
            }
            Content::DataMsg(_)
            | Content::Hello(_)
            | Content::DataDig(_)
            | Content::DataReq(_)
            | Content::DataUpdate(_)
            | Content::StateSnapshot(_)
            | Content::LeadershipMsg(_)
            | Content::StateRequest(_)
            | Content::StateResponse(_)
            | Content::PrivateReq(_)
            | Content::PrivateRes(_)
            | Content::PrivateData(_) => self.channel_message(from, stream, message, content, now, out),
            Content::AliveMsg(_)
            | Content::PeerIdentity(_)
            | Content::Conn(_)
            | Content::Ack(_)
            | Content::Empty(_) => {
                cx.refuse(from, "a content that has no place on a running connection");
            }
        }
    }

    /// A StateInfo names its channel by a MAC that only members can compute.
    fn state_info(
        &mut self,
        from: PkiId,
        message: &SignedMessage,
        body: &StateInfo,
        now: Now,
        out: &mut Actions,
    ) {
        let mut cx = cx!(self, now, out);
        if self.channels.values().any(|channel| channel.is_held(message.envelope())) {
            return;
        }
        let parsed = match crate::channel::parse(body) {
            Ok(parsed) => parsed,
            Err(why) => return cx.refuse(from, why),
        };
        let of = |channel: &&mut ChannelState| parsed.mac.0 == channel_mac(&parsed.author, &channel.name);
        if let Some(channel) = self.channels.values_mut().find(of) {
            return channel.on_info(from, message, &parsed, &mut cx);
        }
        // Of a channel we are not in: passed on within our organisation, on first sight (row 9.6).
        if !cx.is_mine(&from) || !self.others.check(parsed.mac, parsed.stamp) {
            return;
        }
        let Stamp { inc, seq } = parsed.stamp;
        if cx.is_ahead(inc) || cx.is_ahead(seq) || message.size() > crate::channel::MAX_STATE_INFO {
            return cx.refuse(from, "a StateInfo from the future, or too large");
        }
        match cx.verify(parsed.author, message.envelope()) {
            Ok(()) => {
                self.others.add(parsed.mac, parsed.stamp, (), now.mono);
                cx.emit.add(message.clone(), Kind::StateInfo(parsed.author, None), Some(from), now.mono);
            }
            Err(Unverified::Unknown) => {}
            Err(Unverified::Wrong(why)) => cx.refuse(from, why),
        }
    }

    fn channel_message(
        &mut self,
        from: PkiId,
        stream: StreamId,
        message: &SignedMessage,
        content: &Content,
        now: Now,
        out: &mut Actions,
    ) {
        let mut cx = cx!(self, now, out);
        let name = Channel::parse(&message.message().channel);
        let Some(channel) = name.and_then(|name| self.channels.get_mut(&name)) else {
            return cx.refuse(from, "a message of a channel that is not joined");
        };
        if !channel.has_org_of(&from, &cx) {
            return cx.refuse(from, "a channel message of a peer whose organisation is not in the channel");
        }
        match content {
            Content::DataMsg(body) => channel.on_block(from, message, body, &mut cx),
            Content::StateSnapshot(snapshot) => channel.on_snapshot(from, snapshot, &self.members, &mut cx),
            Content::LeadershipMsg(body) => {
                channel.on_leadership(from, message, body, &self.members, &mut cx);
            }
            Content::Hello(_) | Content::DataDig(_) | Content::DataReq(_) | Content::DataUpdate(_) => {
                channel.on_pull(from, stream, content, &self.members, &mut cx);
            }
            _ => deliver(from, stream, message, channel, &mut cx),
        }
    }
}

/// State transfer and private data are for others; of a reader of the channel (rows 11.3, 12.2).
fn deliver(from: PkiId, stream: StreamId, message: &SignedMessage, channel: &ChannelState, cx: &mut Cx<'_>) {
    let reads = cx
        .ids
        .peek(&from)
        .is_some_and(|known| cx.host.policy.is_reader(&channel.name, from, &known.identity));
    if !reads || channel.has_left() {
        return cx
            .refuse(from, "a channel message of a peer that may not read the channel, or after it was left");
    }
    let (channel, message) = (channel.name.clone(), message.clone());
    cx.out.tell(Event::Deliver { channel, from, stream, message });
}
