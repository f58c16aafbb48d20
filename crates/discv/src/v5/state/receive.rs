//! What the state does with datagrams: whom it challenges, answers and believes.

use super::super::call::{Answer, CallError, Progress};
use super::super::lookup::DISTANCES_SELF;
use super::super::message::{MAX_TALK, Message, RequestId};
use super::super::session::{Dropped, Incoming, WhoAreYou};
use super::super::talk::{TalkTicket, Talked};
use super::super::{Peer, packet, serve};
use super::{Action, Ask, Purpose, V5, allowed, read_record};
use crate::addr::may_relay;
use crate::{Node, NodeId};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use switchboard_enr::{NodePublic, Record};

impl V5 {
    /// Takes a datagram.
    ///
    /// # Errors
    /// [`Dropped`], counted already.
    pub fn packet(&mut self, from: SocketAddr, datagram: &[u8], now: Duration) -> Result<(), Dropped> {
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        let result = match self.sessions.open(from, datagram, now) {
            Ok(Incoming::Unreadable { peer, nonce }) => self.unreadable(peer, nonce, now),
            Ok(Incoming::WhoAreYou(challenge)) => self.challenged(from, &challenge, now),
            Ok(Incoming::Message { peer, plain, record }) => {
                if let Some(record) = record {
                    self.counters.handshakes += 1;
                    self.introduced(&peer, record);
                }
                Message::decode(&plain)
                    .map_err(Dropped::from)
                    .and_then(|message| self.message(peer, message, now))
            }
            Err(dropped) => Err(dropped),
        };
        let counter = match &result {
            Ok(()) => return result,
            Err(Dropped::Packet(_)) => &mut self.counters.malformed,
            Err(Dropped::UnaskedHandshake) => &mut self.counters.unasked_handshakes,
            Err(Dropped::Proof(_)) => &mut self.counters.bad_proofs,
            Err(Dropped::UnaskedAnswer) => &mut self.counters.unasked_answers,
            Err(Dropped::Budget) => &mut self.counters.over_budget,
            Err(Dropped::Message(_)) => &mut self.counters.bad_messages,
            Err(Dropped::Overload) => &mut self.counters.refused_talks,
        };
        *counter += 1;
        result
    }

    fn known_record(&self, id: &NodeId) -> Option<Arc<Record>> {
        let node = self.table.get(id).or_else(|| self.calls.get(id).map(|call| &call.node));
        node.and_then(Node::record).cloned()
    }

    fn unreadable(&mut self, peer: Peer, nonce: packet::Nonce, now: Duration) -> Result<(), Dropped> {
        if peer.id == self.id || !self.budget.take(peer.addr.ip(), now) {
            return Err(Dropped::Budget);
        }
        let known = self.known_record(&peer.id);
        let datagram = self.sessions.challenge(peer, nonce, known, now, &mut self.rng);
        self.counters.challenges += 1;
        self.actions.push_back(Action::Send { to: peer.addr, datagram });
        Ok(())
    }

    fn challenged(&mut self, from: SocketAddr, challenge: &WhoAreYou, now: Duration) -> Result<(), Dropped> {
        let id = self.calls.by_nonce(&challenge.nonce).ok_or(Dropped::UnaskedAnswer)?;
        let seq = self.record.seq();
        let call = self.calls.get_mut(&id).ok_or(Dropped::UnaskedAnswer)?;
        if call.node.udp() != from || call.challenged {
            return Err(Dropped::UnaskedAnswer);
        }
        call.challenged = true;
        let message = call.message(seq).encode();
        let Ok(key) = NodePublic::from_bytes(call.node.key()) else {
            self.finish(&id, Err(CallError::BadKey), now);
            return Ok(());
        };
        let to = Peer { id, addr: from };
        let answer = self.sessions.answer(&to, &key, challenge, &self.record, &message, &mut self.rng);
        if let Some((datagram, nonce)) = answer {
            self.calls.sent(&id, nonce, now + self.config.timeout);
            self.actions.push_back(Action::Send { to: from, datagram });
            return Ok(());
        }
        // Handshake and request do not fit one packet: a PING makes the session, the request follows.
        let ping = Message::Ping { id: RequestId::default(), enr_seq: seq }.encode();
        if let Some((datagram, _)) =
            self.sessions.answer(&to, &key, challenge, &self.record, &ping, &mut self.rng)
        {
            self.actions.push_back(Action::Send { to: from, datagram });
            self.transmit(&id, now);
        }
        Ok(())
    }

    /// A node has proven itself and, if it has changed, its record.
    fn introduced(&mut self, peer: &Peer, record: Arc<Record>) {
        if let Some(node) = Node::from_record(record)
            && may_relay(peer.addr.ip(), node.ip())
        {
            self.learn(&node);
        }
    }

    fn reply(&mut self, to: &Peer, message: &Message) {
        // Without a session this would be a packet that nobody asked for.
        if self.sessions.has(to) {
            let (datagram, _) = self.sessions.seal(to, &message.encode(), &mut self.rng);
            self.actions.push_back(Action::Send { to: to.addr, datagram });
        }
    }

    fn message(&mut self, peer: Peer, message: Message, now: Duration) -> Result<(), Dropped> {
        match message {
            Message::Ping { id, enr_seq } => {
                let pong = Message::Pong {
                    id,
                    enr_seq: self.record.seq(),
                    ip: peer.addr.ip(),
                    port: peer.addr.port(),
                };
                self.reply(&peer, &pong);
                let changed = self.table.get(&peer.id).filter(|node| enr_seq > node.seq()).cloned();
                if let Some(node) = changed
                    && self.calls.get(&peer.id).is_none()
                {
                    self.start(node, Ask::Nodes(DISTANCES_SELF.to_vec()), Purpose::Update, now);
                }
            }
            Message::FindNode { id, distances } => {
                let all = self.config.tell_unchecked;
                let records = serve::records(&self.table, &self.record, peer.addr.ip(), &distances, all);
                for part in serve::pack(id, records) {
                    self.reply(&peer, &part);
                }
            }
            Message::TalkReq { id, protocol, message } => {
                match self.talks.asked(peer, id, &protocol, &message, now) {
                    Talked::Answer(message) => self.reply_talk(&peer, id, message),
                    Talked::Later => {}
                    Talked::Overload => return Err(Dropped::Overload),
                }
            }
            Message::Topic { .. } => self.counters.topics += 1,
            answer @ (Message::Pong { .. } | Message::Nodes { .. } | Message::TalkResp { .. }) => {
                return self.answer(&peer, answer, now);
            }
        }
        Ok(())
    }

    fn reply_talk(&mut self, peer: &Peer, id: RequestId, message: Vec<u8>) {
        let message = if message.len() > MAX_TALK { Vec::new() } else { message };
        self.reply(peer, &Message::TalkResp { id, message });
    }

    /// Gives the answer that a handler promised. False when it comes too late.
    pub fn answer_talk(&mut self, ticket: TalkTicket, message: Vec<u8>) -> bool {
        let Some((peer, id)) = self.talks.answered(ticket) else { return false };
        self.reply_talk(&peer, id, message);
        true
    }

    fn answer(&mut self, peer: &Peer, message: Message, now: Duration) -> Result<(), Dropped> {
        let call = self.calls.get_mut(&peer.id).filter(|call| call.fits(peer.addr, &message));
        let call = call.ok_or(Dropped::UnaskedAnswer)?;
        let answer = match message {
            Message::Pong { enr_seq, ip, port, .. } => {
                let endpoint = SocketAddr::new(ip.to_canonical(), port);
                self.actions.push_back(Action::Stated { by: peer.addr.ip(), endpoint });
                Answer::Pong { enr_seq }
            }
            Message::Nodes { total, records, .. } => {
                let restrict = &self.config.restrict;
                let refused = &mut self.counters.refused_records;
                let seen = &mut self.seen;
                let mut read = |record: &[u8]| read_record(seen, record);
                match call.take_nodes(total, &records, &mut read, &|ip| allowed(restrict, ip), refused) {
                    Progress::Done(answer) => answer,
                    Progress::More => {
                        self.calls.wait_until(&peer.id, now + self.config.timeout);
                        return Ok(());
                    }
                }
            }
            Message::TalkResp { message, .. } => Answer::Talk(message),
            _ => return Err(Dropped::UnaskedAnswer),
        };
        self.finish(&peer.id, Ok(answer), now);
        Ok(())
    }

    /// Forgets the session with a node at an address: the next packet makes a new one.
    pub fn forget_session(&mut self, peer: &Peer) {
        self.sessions.forget(peer);
    }
}
