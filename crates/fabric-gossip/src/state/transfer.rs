//! One channel's state transfer as a state machine.

use super::ask::Asking;
use super::buffer::{Buffer, Held};
use super::types::{
    Action, COMMIT_BYTES, COMMIT_GROUP, Figures, Input, MEMORY, Options, Ready, Refused, STRAGGLER, Serve,
    WINDOW,
};
use crate::block::hash::Hash;
use crate::block::{Block, Link, Verifier, VerifyFault};
use crate::signed::SignedMessage;
use crate::types::{Channel, Now, PkiId, StreamId};
use bytes::Bytes;
use rand::Rng;
use std::collections::VecDeque;
use std::time::Duration;
use switchboard_fabric::message::{
    Content, GossipMessage, Payload, RemoteStateRequest, RemoteStateResponse, Tag,
};
use switchboard_fabric::tags;

/// The part of the request queue that one peer may fill.
const SHARE: usize = 4;

/// State transfer of one channel.
pub struct StateTransfer {
    channel: Channel,
    options: Options,
    verifier: Verifier,
    buffer: Buffer,
    /// The end of what is stored.
    stored: Link,
    /// The end of what is stored or about to be.
    link: Link,
    committing: usize,
    asking: Asking,
    /// Up to which height blocks are transferred; nothing is, when it is not above ours.
    target: u64,
    next_check: Option<Duration>,
    /// Until when nothing is asked for, after it was in vain.
    holds_until: Option<Duration>,
    /// How often the block that comes next was asked for in vain.
    vain: u32,
    warned: Option<Duration>,
    full: bool,
    requests: VecDeque<Serve>,
    serving: bool,
    figures: Figures,
}

impl std::fmt::Debug for StateTransfer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StateTransfer({}, height {}, {} held)", self.channel, self.height(), self.buffer.len())
    }
}

impl StateTransfer {
    /// A channel's state transfer over a store with this height and last header hash.
    #[must_use]
    pub fn new(
        channel: Channel,
        options: Options,
        verifier: Verifier,
        height: u64,
        tip: Option<Hash>,
    ) -> Self {
        let link = verifier.link(height, tip);
        Self {
            channel,
            options,
            verifier,
            buffer: Buffer::default(),
            stored: link,
            link,
            committing: 0,
            asking: Asking::new(),
            target: 0,
            next_check: None,
            holds_until: None,
            vain: 0,
            warned: None,
            full: false,
            requests: VecDeque::new(),
            serving: false,
            figures: Figures::default(),
        }
    }

    /// Our height: the number of the block that is stored next.
    #[must_use]
    pub fn height(&self) -> u64 {
        self.stored.next()
    }

    /// The greatest height that a peer states.
    #[must_use]
    pub fn highest(&self) -> u64 {
        self.asking.highest()
    }

    /// Blocks that wait for their turn.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.buffer.len()
    }

    /// What was done so far.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.figures
    }

    /// Whether a block of our own source would be taken now.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let ahead = self.buffer.len() <= 2 * self.options.state.block_buffer_size;
        ahead && self.buffer.bytes() < MEMORY
    }

    /// When [`Input::Tick`] is due; `None` when nothing is to be waited for.
    #[must_use]
    pub fn deadline(&self, now: Now) -> Option<Duration> {
        if !self.options.state.enabled {
            return None;
        }
        let asked = self.asking.deadline(self.options.state.response_timeout, now.mono);
        let held = self.holds_until.filter(|until| *until > now.mono);
        // Whoever waits for a batch while nothing may be asked is not woken before.
        held.or(asked).into_iter().chain(self.next_check).min()
    }

    /// Takes what happened; adds what is to be done.
    pub fn handle(&mut self, input: Input, now: Now, rng: &mut dyn Rng, out: &mut Vec<Action>) {
        match input {
            Input::Tick => self.tick(now, out),
            Input::Peer { pki_id, height } => self.asking.peer(pki_id, height),
            Input::PeerGone(pki_id) => {
                self.asking.gone(&pki_id);
                self.requests.retain(|request| request.to != pki_id);
            }
            Input::Gossiped { from, payload } => {
                let taken = self.gossiped(from, payload, now, out);
                self.note(Some(from), taken, out);
            }
            Input::Offered(block) => {
                let taken = self.offered(block);
                self.note(None, taken, out);
            }
            Input::Message { from, stream, message, reader } => {
                let taken = self.message(from, stream, message.message(), reader, now, out);
                self.note(Some(from), taken, out);
            }
            Input::Served => {
                self.serving = false;
                self.figures.served += 1;
                self.serve(out);
            }
            Input::Committed => self.committed(out),
            Input::CommitFailed => self.failed(now),
        }
        self.deliver(now, out);
        self.pump(now, rng, out);
        self.figures.most_bytes = self.figures.most_bytes.max(self.buffer.bytes());
    }

    fn note(&mut self, from: Option<PkiId>, taken: Result<(), Refused>, out: &mut Vec<Action>) {
        if let Err(why) = taken {
            self.figures.refused += 1;
            out.push(Action::Refused { from, why });
        }
    }

    /// Reads a payload's block and checks it by itself. The block gets a buffer of its own, the message's may be much larger.
    fn read(&self, payload: &Payload) -> Result<(Block, Vec<Bytes>), Refused> {
        if payload.data.is_empty() {
            return Err(Refused::Absent);
        }
        let block = Block::decode(Bytes::copy_from_slice(&payload.data)).map_err(VerifyFault::from)?;
        self.verifier.check(payload.seq_num, &block)?;
        if payload.private_data.len() > block.transactions().len() {
            return Err(Refused::PrivateData(block.number()));
        }
        Ok((block, payload.private_data.iter().map(|item| Bytes::copy_from_slice(item)).collect()))
    }

    fn is_known(&self, number: u64) -> bool {
        number < self.link.next() || self.buffer.holds(number)
    }

    fn push(&mut self, held: Held) -> Result<(), Refused> {
        let number = held.block.number();
        // The block that comes next is always taken: it is what makes room.
        if number != self.link.next() && !self.buffer.make_room(held.bytes(), MEMORY, number) {
            return Err(Refused::Full(number));
        }
        if self.buffer.push(held) { Ok(()) } else { Err(Refused::Known(number)) }
    }

    fn gossiped(
        &mut self,
        from: PkiId,
        payload: Payload,
        now: Now,
        out: &mut Vec<Action>,
    ) -> Result<(), Refused> {
        let (number, height) = (payload.seq_num, self.height());
        // The number decides before anything is computed for the block.
        if self.is_known(number) {
            return Err(Refused::Known(number));
        }
        if number - height >= self.options.state.block_buffer_size as u64 {
            self.straggler(number, now, out);
            return Err(Refused::Ahead { number, height });
        }
        let (block, private_data) = self.read(&payload)?;
        self.push(Held { block, private_data, from: Some(from) })
    }

    fn straggler(&mut self, seen: u64, now: Now, out: &mut Vec<Action>) {
        let height = self.height();
        let alone = !self.options.state.enabled && self.options.depends_on_peers;
        let due = self.warned.is_none_or(|last| last + self.options.state.check_interval <= now.mono);
        if alone && due && height.saturating_add(STRAGGLER) < seen {
            self.warned = Some(now.mono);
            out.push(Action::Straggler { height, seen });
        }
    }

    fn offered(&mut self, block: Block) -> Result<(), Refused> {
        let (number, height) = (block.number(), self.height());
        if self.is_known(number) {
            return Err(Refused::Known(number));
        }
        if self.options.non_blocking {
            if number - height >= self.options.state.block_buffer_size as u64 {
                return Err(Refused::Ahead { number, height });
            }
        } else if !self.has_room() && number != self.link.next() {
            self.full = true;
            return Err(Refused::Full(number));
        }
        self.verifier.check(number, &block)?;
        self.push(Held { block, private_data: Vec::new(), from: None })
    }

    fn message(
        &mut self,
        from: PkiId,
        stream: StreamId,
        message: &GossipMessage,
        reader: bool,
        now: Now,
        out: &mut Vec<Action>,
    ) -> Result<(), Refused> {
        if message.channel != self.channel.as_bytes() {
            return Err(Refused::Channel);
        }
        tags::check(message).map_err(|_| Refused::Content)?;
        if !reader {
            return Err(Refused::NotAReader);
        }
        match &message.content {
            Some(Content::StateRequest(request)) => self.request(from, stream, message.nonce, request, out),
            Some(Content::StateResponse(response)) => self.response(from, message.nonce, response, now),
            _ => Err(Refused::Content),
        }
    }

    fn request(
        &mut self,
        to: PkiId,
        stream: StreamId,
        nonce: u64,
        request: &RemoteStateRequest,
        out: &mut Vec<Action>,
    ) -> Result<(), Refused> {
        let RemoteStateRequest { start_seq_num: start, end_seq_num: end } = *request;
        let (batch, most) = (self.options.state.batch_size, self.options.state.channel_size);
        if end < start {
            return Err(Refused::Backwards { start, end });
        }
        if end - start > batch {
            return Err(Refused::TooMany { start, end, batch });
        }
        let of_peer = self.requests.iter().filter(|request| request.to == to).count();
        if self.requests.len() >= most || of_peer >= (most / SHARE).max(1) {
            return Err(Refused::Busy);
        }
        self.requests.push_back(Serve { to, stream, nonce, start, end });
        self.serve(out);
        Ok(())
    }

    /// Has the next request answered. What is over our height is cut off; nothing is left of some.
    fn serve(&mut self, out: &mut Vec<Action>) {
        while !self.serving {
            let Some(mut serve) = self.requests.pop_front() else { return };
            if serve.start < self.height() {
                serve.end = serve.end.min(self.height() - 1);
                self.serving = true;
                out.push(Action::Serve(serve));
            } else {
                // An empty answer tells the asker at once that we have nothing of it.
                let message = super::serve::response(&self.channel, serve.nonce, Vec::new());
                out.push(Action::Respond { stream: serve.stream, to: serve.to, message });
            }
        }
    }

    fn response(
        &mut self,
        from: PkiId,
        nonce: u64,
        response: &RemoteStateResponse,
        now: Now,
    ) -> Result<(), Refused> {
        let batch = self.asking.answered(&from, nonce).ok_or(Refused::Unsolicited)?;
        let timeout = self.options.state.response_timeout;
        let (mut blocks, mut bytes) = (0, 0);
        let mut fault = None;
        for payload in &response.payloads {
            let number = payload.seq_num;
            if !(batch.start..=batch.end).contains(&number) {
                fault = Some(Refused::NotAsked(number));
                break;
            }
            if self.is_known(number) {
                continue;
            }
            let (block, private_data) = match self.read(payload) {
                Ok(read) => read,
                Err(why) => {
                    fault = Some(why);
                    break;
                }
            };
            let held = Held { block, private_data, from: Some(from) };
            let size = held.bytes();
            if self.push(held).is_ok() {
                (blocks, bytes) = (blocks + 1, bytes + size);
            }
        }
        if fault.is_none() && response.payloads.is_empty() {
            fault = Some(Refused::Empty);
        }
        if blocks > 0 {
            self.figures.answered += 1;
            self.asking.of_use(&from, blocks, bytes);
        }
        match fault {
            None => Ok(()),
            Some(why) => {
                self.asking.missed(&from, timeout, now.mono);
                if batch.start <= self.link.next() && self.link.next() <= batch.end {
                    self.vain += 1;
                }
                Err(why)
            }
        }
    }

    /// Hands out what comes next, as far as it follows.
    fn deliver(&mut self, now: Now, out: &mut Vec<Action>) {
        if self.committing > 0 {
            return;
        }
        let (mut ready, mut bytes) = (Vec::new(), 0);
        while ready.len() < COMMIT_GROUP && bytes < COMMIT_BYTES {
            let Some(held) = self.buffer.pop(self.link.next()) else { break };
            if let Err(why) = self.link.check(&held.block, &self.verifier) {
                // It was right by itself but does not follow: it and what else its sender gave are dropped, and asked of
                // somebody else.
                self.vain += 1;
                self.note(held.from, Err(why.into()), out);
                if let Some(from) = held.from {
                    self.buffer.forget(&from);
                    self.asking.missed(&from, self.options.state.response_timeout, now.mono);
                }
                break;
            }
            bytes += held.bytes();
            let Held { block, private_data, from } = held;
            ready.push(Ready { block, private_data, from });
        }
        if !ready.is_empty() {
            self.vain = 0;
            self.committing = ready.len();
            out.push(Action::Commit(ready));
        }
        if self.full && self.has_room() {
            self.full = false;
            out.push(Action::Room);
        }
    }

    fn committed(&mut self, out: &mut Vec<Action>) {
        let blocks = std::mem::take(&mut self.committing);
        if blocks == 0 {
            return;
        }
        self.stored = self.link;
        self.figures.committed += blocks as u64;
        out.push(Action::Height(self.height()));
    }

    fn failed(&mut self, now: Now) {
        if std::mem::take(&mut self.committing) > 0 {
            // Not at once: a disk that is full is full for a while.
            self.link = self.stored;
            self.holds_until = Some(now.mono + self.options.state.check_interval);
        }
    }

    fn tick(&mut self, now: Now, out: &mut Vec<Action>) {
        let state = &self.options.state;
        let (timeout, most) = (state.response_timeout, state.batch_size.saturating_add(1));
        let (late, front) = self.asking.expire(self.link.next(), timeout, most, now.mono);
        self.figures.late += late as u64;
        self.vain += u32::from(front);
        let tries =
            state.max_retries.saturating_add(1).saturating_mul(self.asking.peers().clamp(1, 8) as u32);
        if self.vain >= tries && self.target > self.link.next() {
            out.push(Action::Stalled { next: self.link.next(), tries: self.vain });
            self.vain = 0;
            self.holds_until = Some(now.mono + state.check_interval);
        }
    }

    /// Asks for what is missing: from a lag of more than a batch at once, of less with the next check.
    fn pump(&mut self, now: Now, rng: &mut dyn Rng, out: &mut Vec<Action>) {
        let state = &self.options.state;
        if !state.enabled {
            return;
        }
        let due = *self.next_check.get_or_insert(now.mono + state.check_interval) <= now.mono;
        if due {
            self.next_check = Some(now.mono + state.check_interval);
        }
        if self.holds_until.is_some_and(|until| until > now.mono) {
            return;
        }
        let (highest, next) = (self.asking.highest(), self.link.next());
        let far = highest.saturating_sub(next) > state.batch_size;
        if due || far || self.target > next {
            self.target = highest;
        }
        if self.target <= next {
            return;
        }
        let most = state.batch_size.saturating_add(1).min(WINDOW);
        loop {
            let buffer = &self.buffer;
            let held = |number| buffer.holds(number);
            let from = self.link.next();
            let asked = self.asking.next(from, self.target, most, buffer.bytes(), held, now.mono, rng);
            let Some((nonce, batch)) = asked else { break };
            self.figures.asked += 1;
            let request = RemoteStateRequest { start_seq_num: batch.start, end_seq_num: batch.end };
            let content = Content::StateRequest(request);
            let message = GossipMessage::new(Tag::ChanOrOrg, self.channel.as_bytes(), nonce, content);
            out.push(Action::Send { to: batch.peer, message: SignedMessage::unsigned(message) });
        }
    }
}
