//! What a state asks of its shell.
//!
//! ```text
//!   handle(input, now, &mut Actions)  then the shell drains them, in order:
//!   Send · Respond · SendWithAck · Handshake · Ping · Close · Tell
//! ```
//! Sends to one peer are made in the order of their actions. A shell that cannot send drops and counts.

use crate::signed::SignedMessage;
use crate::types::{Channel, Endpoint, Member, PkiId, Remote, Stamp, StreamId, Ticket};
use std::time::Duration;
use switchboard_fabric::message::{Chaincode, Payload};

/// One thing to do.
#[derive(Debug, Clone)]
pub enum Action {
    /// Send without waiting: over the peer's connection, else dial its endpoint.
    Send {
        /// To whom.
        to: Remote,
        /// What.
        message: SignedMessage,
    },
    /// Answer on the stream a message came by.
    Respond {
        /// The stream.
        stream: StreamId,
        /// Whose stream it is.
        to: PkiId,
        /// What.
        message: SignedMessage,
    },
    /// Send and wait for acknowledgements (the shell puts a fresh nonce), then give back how many came.
    SendWithAck {
        /// Names the result.
        ticket: Ticket,
        /// To whom.
        to: Vec<Remote>,
        /// What.
        message: SignedMessage,
        /// How many are enough.
        min_ack: usize,
        /// How long to wait.
        timeout: Duration,
    },
    /// Dial, authenticate and give the identity back.
    Handshake {
        /// Names the result.
        ticket: Ticket,
        /// Where.
        endpoint: Endpoint,
    },
    /// Dial and call `Ping`; give back whether it answered.
    Ping {
        /// Names the result.
        ticket: Ticket,
        /// Whom.
        to: Remote,
    },
    /// Close the peer's connection.
    Close {
        /// Whose.
        pki_id: PkiId,
        /// Why.
        reason: CloseReason,
    },
    /// Tell the program.
    Tell(Event),
}

/// Why a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// Not heard of for `aliveExpirationTimeout`.
    Dead,
    /// Its identity expired, was revoked or went unused.
    IdentityPurged,
    /// It asked for a membership that may not be disclosed to it.
    NotDisclosed,
}

/// Something the program may want to know.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A member is alive that was not.
    MemberAlive(Member),
    /// A member was not heard of for too long.
    MemberDead(Member),
    /// A dead member is forgotten, or one whose identity ended.
    MemberForgotten(PkiId),
    /// Another uses this node's PKI-ID with another endpoint.
    SamePkiId {
        /// The endpoint it claims.
        endpoint: Option<Endpoint>,
    },
    /// A block came, for the first time.
    Block {
        /// Channel.
        channel: Channel,
        /// From whom it came.
        from: PkiId,
        /// The block with its number.
        payload: Payload,
    },
    /// A member's state in a channel changed.
    StateInfo {
        /// Channel.
        channel: Channel,
        /// Whose.
        pki_id: PkiId,
        /// When it said so.
        stamp: Stamp,
        /// Blocks held.
        height: u64,
        /// It left the channel.
        left: bool,
        /// Its chaincodes.
        chaincodes: Vec<Chaincode>,
    },
    /// The leader of a channel, as far as this node knows, changed.
    Leader {
        /// Channel.
        channel: Channel,
        /// Who leads; `None` when nobody is known to.
        pki_id: Option<PkiId>,
        /// Whether that is this node.
        us: bool,
    },
    /// A channel message for state transfer or private data: contents 18, 19, 23, 24, 25.
    Deliver {
        /// Channel; of a private data message possibly one that is not joined here.
        channel: Channel,
        /// From whom.
        from: PkiId,
        /// The stream to answer on.
        stream: StreamId,
        /// The message.
        message: SignedMessage,
    },
    /// An acknowledged send came to its end.
    Acked {
        /// Which.
        ticket: Ticket,
        /// How many acknowledged.
        acks: usize,
        /// What the others said (escaped).
        nacks: Vec<String>,
    },
    /// A message was refused. Floods of equal ones are summed up: `count` since the last was told.
    Refused {
        /// Who sent it.
        from: PkiId,
        /// Why.
        why: &'static str,
        /// How often since this was last told.
        count: u64,
    },
    /// An identity is no more.
    IdentityPurged {
        /// Whose.
        pki_id: PkiId,
        /// Why.
        why: &'static str,
    },
    /// A bootstrap or anchor peer was refused or given up.
    ConnectFailed {
        /// Which.
        endpoint: Endpoint,
        /// Why.
        why: String,
    },
    /// The identity of this node's own signer could not sign: nothing more is published.
    SigningFailed(String),
}

/// Actions in order.
#[derive(Debug, Default)]
pub struct Actions(Vec<Action>);

impl Actions {
    /// Adds one.
    pub fn push(&mut self, action: Action) {
        self.0.push(action);
    }

    /// Sends a message to a peer.
    pub fn send(&mut self, to: Remote, message: SignedMessage) {
        self.push(Action::Send { to, message });
    }

    /// Answers on a stream.
    pub fn respond(&mut self, stream: StreamId, to: PkiId, message: SignedMessage) {
        self.push(Action::Respond { stream, to, message });
    }

    /// Tells the program.
    pub fn tell(&mut self, event: Event) {
        self.push(Action::Tell(event));
    }

    /// Takes all of them, in order; the room is kept.
    pub fn drain(&mut self) -> std::vec::Drain<'_, Action> {
        self.0.drain(..)
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
