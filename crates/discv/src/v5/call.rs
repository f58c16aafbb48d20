//! Requests under way: one a node, the others wait for it. What is checked of answers stands here.
//!
//! ```text
//!   start ─▶ queued ─▶ active ─ packet ─▶ WHOAREYOU (once) ─ handshake ─▶ answer ─▶ done
//!                        └ 700 ms without any part of the answer ─▶ TimedOut
//! ```
//! (go-ethereum p2p/discover/v5_udp.go) An answer must come from the address that was asked, with the request's
//! id and of its kind. Of NODES, a record counts when it is valid, at a distance that was asked for, at an address
//! that its teller may name, with a UDP port over 1024, and not a second time.
//!
//! Limits: [`MAX_ACTIVE`] requests, [`MAX_QUEUED_PER_NODE`] waiting for one node, [`MAX_QUEUED`] in all; at most
//! [`MAX_PARTS`] packets and [`MAX_NODES`] nodes of an answer.

use super::message::{Message, RequestId};
use super::packet::Nonce;
use super::state::Purpose;
use crate::addr::may_relay;
use crate::{Node, NodeId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Requests under way.
pub const MAX_ACTIVE: usize = 1024;
/// Requests waiting for one node.
pub const MAX_QUEUED_PER_NODE: usize = 16;
/// Requests waiting in all.
pub const MAX_QUEUED: usize = 1024;
/// Packets of an answer that are read (go-ethereum: `totalNodesResponseLimit`).
pub(super) const MAX_PARTS: u8 = 5;
/// Nodes of an answer that are taken (go-ethereum: `findnodeResultLimit`).
pub(super) const MAX_NODES: usize = 16;
/// UDP ports up to this are not believed (go-ethereum: `errLowPort`).
const LOW_PORT: u16 = 1024;

/// Why a request has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// Nobody answered in time.
    #[error("no answer in time")]
    TimedOut,
    /// Too much is under way already.
    #[error("too many requests are under way")]
    Busy,
    /// It does not fit a packet.
    #[error("the request does not fit a packet")]
    TooLarge,
    /// The node told no record of its own, or none with an address.
    #[error("the node told no record with an address")]
    NoRecord,
    /// The node's key is no point on the curve: nothing can be sealed for it.
    #[error("the node's key is not a secp256k1 key")]
    BadKey,
    /// It was not found.
    #[error("no node with this id was found")]
    NotFound,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ask {
    Ping,
    Nodes(Vec<u64>),
    Talk { protocol: Vec<u8>, message: Vec<u8> },
}

/// What was answered.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    Pong {
        enr_seq: u64,
    },
    Nodes {
        nodes: Vec<Node>,
        /// Every packet of the answer has come.
        whole: bool,
    },
    Talk(Vec<u8>),
}

#[derive(Debug)]
pub(super) struct Call {
    pub(super) node: Node,
    pub(super) ask: Ask,
    pub(super) purpose: Purpose,
    pub(super) id: RequestId,
    pub(super) nonce: Nonce,
    pub(super) challenged: bool,
    deadline: Duration,
    nodes: Vec<Node>,
    seen: BTreeSet<NodeId>,
    parts: u8,
    total: Option<u8>,
}

/// What a part of an answer means.
#[derive(Debug, PartialEq)]
pub(super) enum Progress {
    /// All parts have come.
    Done(Answer),
    /// More is to come.
    More,
}

impl Call {
    pub(super) fn new(node: Node, ask: Ask, purpose: Purpose, id: RequestId) -> Self {
        Self {
            node,
            ask,
            purpose,
            id,
            nonce: [0; 12],
            challenged: false,
            deadline: Duration::ZERO,
            nodes: Vec::new(),
            seen: BTreeSet::new(),
            parts: 0,
            total: None,
        }
    }

    /// The request.
    pub(super) fn message(&self, enr_seq: u64) -> Message {
        let id = self.id;
        match &self.ask {
            Ask::Ping => Message::Ping { id, enr_seq },
            Ask::Nodes(distances) => Message::FindNode { id, distances: distances.clone() },
            Ask::Talk { protocol, message } => {
                Message::TalkReq { id, protocol: protocol.clone(), message: message.clone() }
            }
        }
    }

    /// Whether an answer has this request's id, kind and address.
    pub(super) fn fits(&self, from: SocketAddr, answer: &Message) -> bool {
        let kind = matches!(
            (&self.ask, answer),
            (Ask::Ping, Message::Pong { .. })
                | (Ask::Nodes(_), Message::Nodes { .. })
                | (Ask::Talk { .. }, Message::TalkResp { .. })
        );
        kind && answer.id() == Some(self.id) && from == self.node.udp()
    }

    /// Takes a part of NODES; counts refused records. `read` decodes and checks a record.
    pub(super) fn take_nodes(
        &mut self,
        total: u8,
        records: &[Vec<u8>],
        read: &mut dyn FnMut(&[u8]) -> Option<Node>,
        allowed: &dyn Fn(IpAddr) -> bool,
        refused: &mut u64,
    ) -> Progress {
        // An answer of no packets is one that came all the same.
        let total = *self.total.get_or_insert(total.clamp(1, MAX_PARTS));
        for record in records {
            match self.check(record, read, allowed) {
                Some(node) if self.nodes.len() < MAX_NODES => self.nodes.push(node),
                _ => *refused += 1,
            }
        }
        self.parts += 1;
        if self.parts < total {
            return Progress::More;
        }
        Progress::Done(Answer::Nodes { nodes: std::mem::take(&mut self.nodes), whole: true })
    }

    /// The node of a record that this call's node may tell of.
    fn check(
        &mut self,
        record: &[u8],
        read: &mut dyn FnMut(&[u8]) -> Option<Node>,
        allowed: &dyn Fn(IpAddr) -> bool,
    ) -> Option<Node> {
        // Signatures cost most: an answer that is full already is not worth one.
        if self.nodes.len() >= MAX_NODES {
            return None;
        }
        let Ask::Nodes(distances) = &self.ask else { return None };
        let node = read(record)?;
        let distance = u64::from(self.node.id().log_distance(&node.id()));
        let fits = distances.contains(&distance)
            && may_relay(self.node.ip(), node.ip())
            && allowed(node.ip())
            && node.udp().port() > LOW_PORT;
        (fits && self.seen.insert(node.id())).then_some(node)
    }

    /// What came of an answer until time was up: some nodes are better than none.
    pub(super) fn timed_out(self) -> (Node, Purpose, Result<Answer, CallError>) {
        let result = match self.parts {
            0 => Err(CallError::TimedOut),
            _ => Ok(Answer::Nodes { nodes: self.nodes, whole: false }),
        };
        (self.node, self.purpose, result)
    }
}

/// Every request.
#[derive(Debug, Default)]
pub(super) struct Calls {
    active: BTreeMap<NodeId, Call>,
    by_nonce: BTreeMap<Nonce, NodeId>,
    deadlines: BTreeSet<(Duration, NodeId)>,
    queued: BTreeMap<NodeId, VecDeque<Call>>,
    waiting: usize,
}

/// What became of a new request.
pub(super) enum Started {
    /// It is the active one: send it.
    Active,
    /// It waits.
    Queued,
    /// There is no room.
    Refused,
}

impl Calls {
    pub(super) fn start(&mut self, call: Call) -> Started {
        let id = call.node.id();
        if self.active.contains_key(&id) {
            let queue = self.queued.entry(id).or_default();
            if self.waiting >= MAX_QUEUED || queue.len() >= MAX_QUEUED_PER_NODE {
                return Started::Refused;
            }
            queue.push_back(call);
            self.waiting += 1;
            return Started::Queued;
        }
        if self.active.len() >= MAX_ACTIVE {
            return Started::Refused;
        }
        self.active.insert(id, call);
        Started::Active
    }

    pub(super) fn get(&self, id: &NodeId) -> Option<&Call> {
        self.active.get(id)
    }

    pub(super) fn get_mut(&mut self, id: &NodeId) -> Option<&mut Call> {
        self.active.get_mut(id)
    }

    /// Whose packet had this nonce.
    pub(super) fn by_nonce(&self, nonce: &Nonce) -> Option<NodeId> {
        self.by_nonce.get(nonce).copied()
    }

    /// A request was sent, in a packet with this nonce.
    pub(super) fn sent(&mut self, id: &NodeId, nonce: Nonce, deadline: Duration) {
        let Some(call) = self.active.get_mut(id) else { return };
        self.by_nonce.remove(&call.nonce);
        self.by_nonce.insert(nonce, *id);
        call.nonce = nonce;
        self.wait_until(id, deadline);
    }

    /// The answer is waited for until then.
    pub(super) fn wait_until(&mut self, id: &NodeId, deadline: Duration) {
        let Some(call) = self.active.get_mut(id) else { return };
        self.deadlines.remove(&(call.deadline, *id));
        self.deadlines.insert((deadline, *id));
        call.deadline = deadline;
    }

    /// Ends the active request of a node. With true when another one waits and is active now: send it.
    pub(super) fn finish(&mut self, id: &NodeId) -> Option<(Call, bool)> {
        let call = self.active.remove(id)?;
        self.by_nonce.remove(&call.nonce);
        self.deadlines.remove(&(call.deadline, *id));
        let Some(queue) = self.queued.get_mut(id) else { return Some((call, false)) };
        let next = queue.pop_front();
        if queue.is_empty() {
            self.queued.remove(id);
        }
        let Some(next) = next else { return Some((call, false)) };
        self.waiting -= 1;
        self.active.insert(*id, next);
        Some((call, true))
    }

    /// A node whose time is up.
    pub(super) fn overdue(&self, now: Duration) -> Option<NodeId> {
        self.deadlines.first().filter(|(deadline, _)| *deadline <= now).map(|(_, id)| *id)
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    pub(super) fn held(&self) -> (usize, usize) {
        (self.active.len(), self.waiting)
    }
}
