//! What waits to be sent to one peer, and the task that sends it in order.
//!
//! ```text
//!   send, respond ─▶ queue (sendBuffSize messages, MAX_QUEUED bytes) ─▶ session, dialled if there is none ─▶ its lanes
//! ```
//! Full: the message is dropped and counted, as in Go. A peer that cannot be dialled is presumed dead, and what waits for it is
//! dropped; a message that gets no turn to dial is dropped alone. The task ends after [`IDLE`] without a message.

use super::dials::Missed;
use super::node::Shell;
use crate::signed::SignedMessage;
use crate::types::{Endpoint, PkiId, StreamId};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use switchboard_fabric::gossip::GossipPeer;
use switchboard_fabric::message::GossipMessage;
use switchboard_fabric::scan;
use tokio::sync::Notify;

/// Bytes that may wait for one peer, but for one message that is longer.
pub const MAX_QUEUED: usize = 64 << 20;
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

/// The queue of one peer.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: VecDeque<Out>,
    bytes: usize,
    /// Somebody waits for what is added.
    pub(super) added: Arc<Notify>,
    /// Being sent.
    pub(super) sending: bool,
}

impl Outbox {
    /// Adds a message; `false` when there is no room.
    pub(super) fn push(&mut self, out: Out, most: usize) -> bool {
        let size = out.message.size();
        if self.waiting.len() >= most || (self.bytes > 0 && self.bytes + size > MAX_QUEUED) {
            return false;
        }
        self.bytes += size;
        self.waiting.push_back(out);
        self.added.notify_one();
        true
    }

    pub(super) fn pop(&mut self) -> Option<Out> {
        let out = self.waiting.pop_front();
        self.bytes -= out.as_ref().map_or(0, |out| out.message.size());
        self.sending = out.is_some();
        out
    }

    pub(super) fn clear(&mut self) -> usize {
        self.bytes = 0;
        let gone = self.waiting.len();
        self.waiting.clear();
        gone
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

/// Sends one message on a session.
async fn put(session: &GossipPeer, message: &SignedMessage) -> bool {
    let content = content_of(message.message(), &message.envelope().payload);
    let sent = session.send(content, message.bytes());
    matches!(tokio::time::timeout(SEND_LIMIT, sent).await, Ok(Ok(())))
}

/// The task of one peer.
pub(super) async fn run(shell: Arc<Shell>, id: PkiId, added: Arc<Notify>) {
    loop {
        let Some(out) = shell.next_out(&id) else {
            if tokio::time::timeout(IDLE, added.notified()).await.is_err() && shell.end_outbox(&id) {
                return;
            }
            continue;
        };
        let mut sent = deliver(&shell, id, &out).await;
        if sent == Err(Unsent::Absent) && shell.live(&id).is_some() {
            // It dialled us after we gave up.
            sent = deliver(&shell, id, &out).await;
        }
        if let Err(why) = sent {
            shell.unsent(id, why);
        }
    }
}

/// Why a message was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsent {
    /// An answer, and who asked has gone. That says nothing of its receiver.
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
        // An answer has no use on another stream: who asked has gone.
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
