//! What waits to be sent to one peer, and the task that sends it in order.
//!
//! ```text
//!   send, respond ─▶ queue (sendBuffSize messages, MAX_QUEUED bytes) ─▶ session, dialled if there is none ─▶ its lanes
//!                     └ on the node's ledger, until the session has it
//! ```
//! Full: the message is dropped and counted, as in Go. So is all that waits for one peer when it is most of a full ledger. A peer
//! that cannot be dialled is presumed dead, unless it was heard of while we tried, and what waits for it is dropped; a message
//! that gets no turn to dial is dropped alone. The task ends after [`IDLE`] without a message.

use super::dials::Missed;
use super::links::Links;
use super::node::Shell;
use crate::signed::SignedMessage;
use crate::types::{Endpoint, PkiId, StreamId};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use switchboard::session::ledger::{Claim, Ledger, SEND_SHARE};
use switchboard_fabric::gossip::GossipPeer;
use switchboard_fabric::message::GossipMessage;
use switchboard_fabric::scan;
use tokio::sync::Notify;

/// Bytes that may wait for one peer, but for one message that is longer.
pub const MAX_QUEUED: usize = CAP / 4 * SEND_SHARE;
/// The cap of a peer's ledger, of which senders may fill a share.
const CAP: usize = 64 << 20;
/// How long a task waits for something to send before it ends.
pub const IDLE: Duration = Duration::from_secs(60);
/// How long a session may hold up one message.
const SEND_LIMIT: Duration = Duration::from_secs(30);

/// One message on its way.
#[derive(Debug)]
pub(super) struct Out {
    pub(super) message: SignedMessage,
    pub(super) endpoint: Option<Endpoint>,
    /// The stream it must go back on.
    pub(super) stream: Option<StreamId>,
}

/// A message that waits, with its place on the ledger.
#[derive(Debug)]
pub(super) struct Waiting {
    out: Out,
    #[allow(dead_code)] // held for its drop
    claim: Claim,
}

/// The queue of one peer.
#[derive(Debug)]
pub(super) struct Outbox {
    waiting: VecDeque<Waiting>,
    ledger: Arc<Ledger>,
    /// Somebody waits for what is added.
    pub(super) added: Arc<Notify>,
    /// Being sent.
    pub(super) sending: bool,
}

/// A ledger for what waits for one peer.
pub(super) fn ledger(links: Option<&Arc<dyn Links>>) -> Arc<Ledger> {
    links.map_or_else(|| Ledger::new(CAP), |links| links.ledger(CAP))
}

impl Outbox {
    pub(super) fn new(ledger: Arc<Ledger>) -> Self {
        Self { waiting: VecDeque::new(), ledger, added: Arc::default(), sending: false }
    }

    /// Adds a message; `false` when there is no room.
    pub(super) fn push(&mut self, out: Out, most: usize) -> bool {
        if self.waiting.len() >= most {
            return false;
        }
        let Some(claim) = self.ledger.claim_to_send(out.message.size()) else { return false };
        self.waiting.push_back(Waiting { out, claim });
        self.added.notify_one();
        true
    }

    pub(super) fn pop(&mut self) -> Option<Waiting> {
        let next = self.waiting.pop_front();
        self.sending = next.is_some();
        next
    }

    pub(super) fn clear(&mut self) -> usize {
        let gone = self.waiting.len();
        self.waiting.clear();
        gone
    }

    /// The ledger it is on.
    pub(super) fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// Drops what waits, as it was most of a full ledger, and goes on with another; how many messages are gone.
    pub(super) fn give_way(&mut self, ledger: Arc<Ledger>) -> usize {
        self.ledger = ledger;
        self.clear()
    }

    /// Messages that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && !self.sending
    }
}

/// The content's number, by which a session has its lanes.
pub(super) fn content_of(message: &GossipMessage, payload: &[u8]) -> u32 {
    debug_assert!(message.content.is_some());
    scan::scan(payload).ok().and_then(|head| head.content).unwrap_or(0)
}

impl Shell {
    /// The next message for a peer, and the ledger that it is on.
    fn next_out(&self, id: &PkiId) -> Option<(Waiting, Arc<Ledger>)> {
        let mut outboxes = self.outboxes.lock();
        let outbox = outboxes.get_mut(id)?;
        Some((outbox.pop()?, Arc::clone(outbox.ledger())))
    }

    /// The messages for a peer were most of a full ledger: they and the one under way are dropped.
    fn give_way(&self, id: &PkiId) {
        let fresh = ledger(self.links());
        let gone = self.outboxes.lock().get_mut(id).map_or(0, |outbox| outbox.give_way(fresh));
        self.overflow.fetch_add(gone as u64 + 1, Ordering::Relaxed);
    }

    /// Ends an outbox that nothing waits in.
    fn end_outbox(&self, id: &PkiId) -> bool {
        let mut outboxes = self.outboxes.lock();
        let over = outboxes.get(id).is_none_or(Outbox::is_empty);
        if over {
            outboxes.remove(id);
        }
        over
    }
}

/// Sends one message on a session.
async fn put(session: &GossipPeer, message: &SignedMessage) -> bool {
    let content = content_of(message.message(), &message.envelope().payload);
    let sent = session.send(content, message.bytes());
    matches!(tokio::time::timeout(SEND_LIMIT, sent).await, Ok(Ok(())))
}

/// The task of one peer.
pub(super) async fn run(shell: Arc<Shell>, id: PkiId, added: Arc<Notify>) {
    loop {
        let Some((next, ledger)) = shell.next_out(&id) else {
            if tokio::time::timeout(IDLE, added.notified()).await.is_err() && shell.end_outbox(&id) {
                return;
            }
            continue;
        };
        let since = shell.now().mono;
        let sending = async {
            let sent = deliver(&shell, id, &next.out).await;
            if sent == Err(Unsent::Absent) && shell.live(&id).is_some() {
                // It dialled us after we gave up.
                return deliver(&shell, id, &next.out).await;
            }
            sent
        };
        let sent = tokio::select! {
            biased;
            sent = sending => sent,
            () = ledger.told() => {
                drop(next);
                shell.give_way(&id);
                continue;
            }
        };
        if let Err(why) = sent {
            shell.unsent(id, why, since);
        }
    }
}

/// Why a message was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsent {
    /// An answer, and the peer that asked has gone. That says nothing of its receiver.
    Unasked,
    /// We had no turn to dial its receiver.
    Busy,
    /// There is no session with its receiver.
    Absent,
    /// The session did not take it.
    Stuck,
}

/// Sends one message.
async fn deliver(shell: &Arc<Shell>, id: PkiId, out: &Out) -> Result<(), Unsent> {
    if let Some(stream) = out.stream {
        // An answer has no use on another stream: the peer that asked has gone.
        return match shell.stream(stream) {
            Some(session) if put(&session, &out.message).await => Ok(()),
            _ => Err(Unsent::Unasked),
        };
    }
    if let Some(session) = shell.live(&id)
        && put(&session, &out.message).await
    {
        return Ok(());
    }
    // It may have ended between two messages: once more, over a new one.
    match shell.connect(id, out.endpoint.as_ref()).await {
        Ok(session) if put(&session, &out.message).await => Ok(()),
        Ok(_) => Err(Unsent::Stuck),
        Err(Missed::Absent) => Err(Unsent::Absent),
        Err(Missed::Busy) => Err(Unsent::Busy),
    }
}
