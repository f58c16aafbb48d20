//! Requests of protocols above discovery (TALKREQ), by the protocol's name.
//!
//! A handler answers at once, or later through a ticket; nobody waits for it meanwhile. Limits: [`MAX_TALKS`]
//! answers outstanding, each for [`TALK_LIFE`]; an answer has at most [`super::MAX_TALK`] bytes, a longer one is sent
//! empty. A request for a protocol that is not there gets an empty answer, as the specification says.

use super::Peer;
use super::message::RequestId;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Answers outstanding (go-ethereum p2p/discover/v5_talk.go, `talkHandlerLaunchTimeout` and its 1024 slots).
pub const MAX_TALKS: usize = 1024;
/// How long an answer may take; the asker has long given up then.
pub const TALK_LIFE: Duration = Duration::from_secs(10);

/// Names an answer that comes later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TalkTicket(u64);

/// What a handler says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TalkAnswer {
    /// This.
    Now(Vec<u8>),
    /// The answer will be given with [`super::V5::answer_talk`].
    Later,
}

/// A protocol above discovery.
pub trait TalkHandler: Send {
    /// Answers a request. It is called between packets, so it must not take long.
    fn asked(&mut self, peer: &Peer, message: &[u8], ticket: TalkTicket) -> TalkAnswer;
}

impl<F: FnMut(&Peer, &[u8], TalkTicket) -> TalkAnswer + Send> TalkHandler for F {
    fn asked(&mut self, peer: &Peer, message: &[u8], ticket: TalkTicket) -> TalkAnswer {
        self(peer, message, ticket)
    }
}

/// What a request came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Talked {
    Answer(Vec<u8>),
    Later,
    Overload,
}

#[derive(Default)]
pub(super) struct Talks {
    handlers: BTreeMap<Vec<u8>, Box<dyn TalkHandler>>,
    open: BTreeMap<TalkTicket, (Peer, RequestId)>,
    /// In the order of their end.
    ends: VecDeque<(Duration, TalkTicket)>,
    next: u64,
}

impl std::fmt::Debug for Talks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Talks")
            .field("handlers", &self.handlers.len())
            .field("open", &self.open.len())
            .finish()
    }
}

impl Talks {
    pub(super) fn register(&mut self, protocol: &[u8], handler: Box<dyn TalkHandler>) {
        self.handlers.insert(protocol.to_vec(), handler);
    }

    pub(super) fn unregister(&mut self, protocol: &[u8]) {
        self.handlers.remove(protocol);
    }

    pub(super) fn asked(
        &mut self,
        peer: Peer,
        id: RequestId,
        protocol: &[u8],
        message: &[u8],
        now: Duration,
    ) -> Talked {
        while let Some((end, ticket)) = self.ends.front().copied()
            && (end <= now || !self.open.contains_key(&ticket))
        {
            self.ends.pop_front();
            self.open.remove(&ticket);
        }
        let Some(handler) = self.handlers.get_mut(protocol) else { return Talked::Answer(Vec::new()) };
        if self.ends.len() >= MAX_TALKS {
            return Talked::Overload;
        }
        self.next += 1;
        let ticket = TalkTicket(self.next);
        match handler.asked(&peer, message, ticket) {
            TalkAnswer::Now(answer) => Talked::Answer(answer),
            TalkAnswer::Later => {
                self.open.insert(ticket, (peer, id));
                self.ends.push_back((now + TALK_LIFE, ticket));
                Talked::Later
            }
        }
    }

    /// Whom an answer is for; `None` when it comes too late.
    pub(super) fn answered(&mut self, ticket: TalkTicket) -> Option<(Peer, RequestId)> {
        self.open.remove(&ticket)
    }

    pub(super) fn open(&self) -> usize {
        self.ends.len()
    }
}
