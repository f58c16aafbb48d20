//! The channel's blocks: pushed, pulled, kept for a while.

use super::{ChannelState, EARLY, Early};
use crate::actions::Event;
use crate::cx::Cx;
use crate::dissemination::Kind;
use crate::membership::Membership;
use crate::pull::Out;
use crate::signed::SignedMessage;
use crate::types::{PkiId, StreamId};
use bytes::Bytes;
use switchboard_fabric::message::{
    Content, DataDigest, DataMessage, DataRequest, DataUpdate, GossipHello, GossipMessage, Payload,
    PullMsgType, Tag,
};

/// A block's name in a digest is its number in decimal: at most 20 digits.
fn read_digest(digest: &[u8]) -> Option<u64> {
    let plain = (1..=20).contains(&digest.len()) && digest.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digest).ok().filter(|_| plain)?.parse().ok()
}

fn write_digest(number: u64) -> Bytes {
    number.to_string().into()
}

impl ChannelState {
    fn pull_message(&self, content: Content) -> SignedMessage {
        SignedMessage::unsigned(GossipMessage::new(Tag::ChanAndOrg, self.name.as_bytes(), 0, content))
    }

    /// A block of ours, from the orderers or a file, is gossiped. Returns whether it is new.
    pub(crate) fn gossip_block(&mut self, payload: Payload, cx: &mut Cx<'_>) -> bool {
        let number = payload.seq_num;
        let message = self.pull_message(Content::DataMsg(DataMessage { payload: Some(payload) }));
        if !self.blocks.add(number, message.clone(), cx.now.mono) {
            return false;
        }
        cx.emit.add(message, Kind::Block(self.name.clone(), number), None, cx.now.mono);
        true
    }

    fn verify(&self, payload: &Payload, cx: &Cx<'_>) -> Result<(), &'static str> {
        if cx.config.skip_block_verification {
            return Ok(());
        }
        let verdict = cx.host.crypto.verify_block(&self.name, payload.seq_num, &payload.data);
        verdict.map_err(|_| "a block that the channel's policy refuses")
    }

    /// A block came by gossip.
    pub(crate) fn on_block(
        &mut self,
        from: PkiId,
        message: &SignedMessage,
        body: &DataMessage,
        cx: &mut Cx<'_>,
    ) {
        if !self.has_org_of(&from, cx) {
            return cx.refuse(from, "a channel message of a peer whose organisation is not in the channel");
        }
        let Some(payload) = &body.payload else {
            return cx.refuse(from, "a block message without payload");
        };
        if self.left || !self.blocks.check(payload.seq_num) {
            return;
        }
        if let Err(why) = self.verify(payload, cx) {
            return cx.refuse(from, why);
        }
        let number = payload.seq_num;
        self.blocks.add(number, message.clone(), cx.now.mono);
        cx.emit.add(message.clone(), Kind::Block(self.name.clone(), number), Some(from), cx.now.mono);
        self.tell(from, payload, cx);
        self.look_for_gap(from, number, cx);
    }

    fn tell(&mut self, from: PkiId, payload: &Payload, cx: &mut Cx<'_>) {
        cx.out.tell(Event::Block { channel: self.name.clone(), from, payload: payload.clone() });
    }

    /// Whether a block between our height and `number`, near enough to be held by others, is missing.
    fn misses_before(&self, number: u64, cx: &Cx<'_>) -> bool {
        let window = cx.config.max_block_count_to_store as u64;
        let first = self.height.max(number.saturating_sub(window));
        // Without a height that grows (nothing is committed here), only what came counts.
        let first = self.blocks.iter().next().map_or(first, |(oldest, _)| first.max(oldest));
        (first..number).any(|missing| !self.blocks.knows(missing))
    }

    fn look_for_gap(&mut self, peer: PkiId, number: u64, cx: &mut Cx<'_>) {
        if self.misses_before(number, cx) {
            self.pull_early(peer, cx);
        }
    }

    /// A peer says how many blocks it has.
    pub(super) fn compare_height(&mut self, peer: PkiId, height: u64, cx: &mut Cx<'_>) {
        let Some(last) = height.checked_sub(1) else { return };
        if last >= self.height && !self.blocks.knows(last) && cx.is_mine(&peer) {
            self.pull_early(peer, cx);
        }
    }

    fn pull_early(&mut self, peer: PkiId, cx: &mut Cx<'_>) {
        if self.early.is_none() && !self.left {
            let at = (cx.now.mono + EARLY).max(self.early_after);
            self.early = Some(Early { at, peer });
        }
    }

    pub(super) fn tick_blocks(&mut self, members: &Membership, cx: &mut Cx<'_>) {
        let now = cx.now.mono;
        if let Some(early) = self.early.take_if(|early| early.at <= now) {
            // The push may have come meanwhile.
            let newest = self.blocks.newest().unwrap_or(0);
            let told = self.infos.get(&early.peer).map_or(0, |info| info.height);
            let behind = told > self.height.max(newest.saturating_add(1)) || self.misses_before(newest, cx);
            if behind && self.is_eligible(&early.peer, cx) && members.is_alive(&early.peer) {
                self.early_pause = (self.early_pause * 2).min(cx.config.pull_interval);
                self.early_after = now + self.early_pause;
                self.start_pull(&[early.peer], members, cx);
            }
        }
        let outs = self.pull.tick(now, cx.rng);
        self.send_pulls(outs, members, cx);
    }

    pub(super) fn start_pull(&mut self, peers: &[PkiId], members: &Membership, cx: &mut Cx<'_>) {
        let outs = self.pull.start(peers, cx.now.mono, cx.rng);
        self.send_pulls(outs, members, cx);
    }

    fn send_pulls(&mut self, outs: Vec<Out<u64>>, members: &Membership, cx: &mut Cx<'_>) {
        let msg_type = PullMsgType::BlockMsg.into();
        for out in outs {
            let (to, content) = match out {
                Out::Hello { to, nonce } => {
                    (to, Content::Hello(GossipHello { nonce, metadata: Bytes::new(), msg_type }))
                }
                Out::Request { to, nonce, items } => {
                    let digests = items.into_iter().map(write_digest).collect();
                    (to, Content::DataReq(DataRequest { nonce, digests, msg_type }))
                }
            };
            let message = self.pull_message(content);
            cx.out.send(members.remote(to), message);
        }
    }

    /// A message of a pull of blocks came.
    pub(crate) fn on_pull(
        &mut self,
        from: PkiId,
        stream: StreamId,
        content: &Content,
        members: &Membership,
        cx: &mut Cx<'_>,
    ) {
        if self.left {
            return;
        }
        if self.infos.get(&from).is_none() && cx.is_mine(&from) {
            // Its StateInfo is still on the way, which is nobody's fault: it will ask again.
            return;
        }
        if !self.is_eligible(&from, cx) {
            return cx.refuse(from, "a pull of blocks by a peer that may not have them");
        }
        let now = cx.now.mono;
        let msg_type = PullMsgType::BlockMsg.into();
        match content {
            Content::Hello(GossipHello { nonce, .. }) => {
                if self.pull.on_hello(from, *nonce, now).is_err() {
                    return cx.refuse(from, "too many pulls at once");
                }
                let digests: Vec<_> = self.blocks.iter().map(|(number, _)| write_digest(number)).collect();
                if !digests.is_empty() {
                    let digest = DataDigest { nonce: *nonce, digests, msg_type };
                    let message = self.pull_message(Content::DataDig(digest));
                    cx.out.respond(stream, from, message);
                }
            }
            Content::DataDig(DataDigest { nonce, digests, .. }) => {
                let numbers = digests.iter().filter_map(|digest| read_digest(digest));
                let wanted = |n: &u64| *n >= self.height && self.blocks.check(*n) && !self.pull.is_asked(n);
                let missing: Vec<_> = numbers.filter(wanted).take(crate::pull::MAX_DIGESTS).collect();
                match self.pull.on_digest(from, *nonce, missing, now, cx.rng) {
                    Ok(outs) => self.send_pulls(outs, members, cx),
                    Err(_) => cx.refuse(from, "a pull message with an unknown nonce"),
                }
            }
            Content::DataReq(DataRequest { nonce, digests, .. }) => {
                if self.pull.on_request(from, *nonce, now).is_err() {
                    return cx.refuse(from, "a pull message with an unknown nonce");
                }
                let numbers: std::collections::BTreeSet<u64> =
                    digests.iter().filter_map(|digest| read_digest(digest)).collect();
                let held = numbers.into_iter().filter_map(|number| self.blocks.get(number));
                let data: Vec<_> = held.map(|block| block.envelope().clone()).collect();
                if !data.is_empty() {
                    let update = DataUpdate { nonce: *nonce, data, msg_type };
                    let message = self.pull_message(Content::DataUpdate(update));
                    cx.out.respond(stream, from, message);
                }
            }
            Content::DataUpdate(update) => self.on_update(from, update, cx),
            _ => {}
        }
    }

    /// Blocks that were asked for came. One that is wrong voids them all, as in Go.
    fn on_update(&mut self, from: PkiId, update: &DataUpdate, cx: &mut Cx<'_>) {
        let Ok(asked) = self.pull.on_update(from, update.nonce, cx.now.mono) else {
            return cx.refuse(from, "a pull message with an unknown nonce");
        };
        let mut taken = Vec::new();
        for envelope in &update.data {
            let Ok(message) = SignedMessage::from_envelope(envelope) else {
                return cx.refuse(from, "blocks of which one is undecodable");
            };
            if message.message().channel != self.name.as_bytes() {
                return cx.refuse(from, "blocks of which one is of another channel");
            }
            let Some(Content::DataMsg(DataMessage { payload: Some(payload) })) = message.content() else {
                return cx.refuse(from, "blocks of which one is no block");
            };
            if !asked.contains(&payload.seq_num) {
                return cx.refuse(from, "a block that was not asked for");
            }
            if !self.blocks.check(payload.seq_num) {
                continue;
            }
            if let Err(why) = self.verify(payload, cx) {
                return cx.refuse(from, why);
            }
            taken.push(message);
        }
        for message in taken {
            if let Some(Content::DataMsg(DataMessage { payload: Some(payload) })) = message.content()
                && self.blocks.add(payload.seq_num, message.clone(), cx.now.mono)
            {
                self.early_pause = EARLY;
                self.tell(from, payload, cx);
            }
        }
    }
}
