//! Two ends of a protocol's channels without a session, and a made-up peer: to test a protocol without a Switch.
//!
//! ```text
//!   ChannelIo ─send─▶ the other's inbox          no wire, no task, no clock
//! ```
//!
//! ```
//! use std::sync::Arc;
//! use switchboard::{BoxFuture, ChannelId, ChannelIo, ChannelSpec, Peer, Protocol, ProtocolError, ProtocolSpec};
//!
//! struct Echo;
//! impl Protocol for Echo {
//!     fn spec(&self) -> ProtocolSpec {
//!         ProtocolSpec::new("echo", 1, vec![ChannelSpec::new(0, 1)])
//!     }
//!     fn run(self: Arc<Self>, _: Peer, mut io: ChannelIo) -> BoxFuture<'static, Result<(), ProtocolError>> {
//!         Box::pin(async move {
//!             while let Some((channel, message)) = io.recv().await {
//!                 io.send(channel, message).await?;
//!             }
//!             Ok(())
//!         })
//!     }
//! }
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
//! # runtime.block_on(async {
//! let (ours, mut theirs) = ChannelIo::pair(&Echo.spec().channels);
//! let running = tokio::spawn(Arc::new(Echo).run(Peer::made_up(), ours));
//! theirs.send(ChannelId(0), "hello").await.unwrap();
//! assert_eq!(theirs.recv().await.unwrap().1, "hello");
//! drop(theirs);
//! assert!(running.await.unwrap().is_ok());
//! # });
//! ```
//!
//! Limits: an inbox's window, as in a session; a full one makes `send` wait and `try_send` answer
//! [`SendError::Full`], whatever the channel's [`crate::Overflow`] is. When all senders of one end are dropped, the other
//! receives the end. A made-up peer has no shared protocols; a test ends it with [`Peer::disconnect`].

use crate::id::{Direction, PeerId};
use crate::protocol::channel::{ChannelSpec, Overflow};
use crate::protocol::io::{ChannelIo, ChannelSender};
use crate::session::inbox::{Delivery, Inboxes, Incoming};
use crate::session::ledger::Ledger;
use crate::session::outgoing::{Outgoing, Route, SendError};
use crate::switch::peer::{About, Ending, Inner, Peer, Stats};
use crate::wire::{RemoteInfo, Rules};
use bytes::Bytes;
use parking_lot::RwLock;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};

/// The way to the other end of a pair; the other receives the end when it is dropped.
#[derive(Debug)]
pub(crate) struct PairEnd {
    other: Arc<Inboxes>,
}

impl PairEnd {
    fn put(&self, route: Route, message: Bytes) -> Result<Option<Bytes>, SendError> {
        if message.len() > route.max_message {
            return Err(SendError::TooLarge { len: message.len(), limit: route.max_message });
        }
        match self.other.deliver(route.lane, Incoming::new(message, Instant::now())) {
            Delivery::Queued { .. } => Ok(None),
            Delivery::Full(back, _) => Ok(Some(back.data)),
            Delivery::Ignored | Delivery::OverCap => Err(SendError::Closed),
        }
    }

    pub(crate) fn try_send(&self, route: Route, message: Bytes) -> Result<(), SendError> {
        self.put(route, message)?.map_or(Ok(()), |_| Err(SendError::Full))
    }

    pub(crate) async fn send(&self, route: Route, mut message: Bytes) -> Result<(), SendError> {
        let deadline = Instant::now() + Rules::default().send_within;
        while let Some(back) = self.put(route, message)? {
            message = back;
            timeout_at(deadline, self.other.room()).await.map_err(|_| SendError::Timeout)?;
        }
        Ok(())
    }
}

impl Drop for PairEnd {
    fn drop(&mut self) {
        self.other.close();
    }
}

impl Drop for ChannelIo {
    /// Of a pair, what comes from now on is refused: nobody reads it. A session decides by itself when it is over.
    fn drop(&mut self) {
        if self.sender.is_pair() {
            self.inboxes.leave();
        }
    }
}

impl ChannelIo {
    /// Two ends of the same channels: what one sends the other receives.
    #[must_use]
    pub fn pair(channels: &[ChannelSpec]) -> (Self, Self) {
        // A pair waits where a session would act on an overflow.
        let specs: Arc<[_]> = channels.iter().map(|spec| spec.overflow(Overflow::Close)).collect();
        let inboxes = || Arc::new(Inboxes::new(Arc::clone(&specs), Ledger::new(usize::MAX)));
        let route = |(index, spec): (usize, &ChannelSpec)| {
            (spec.id, Route { lane: index, wire_id: u64::from(spec.id.0), max_message: spec.recv_limit })
        };
        let routes: Arc<[_]> = channels.iter().enumerate().map(route).collect();
        let (ours, theirs) = (inboxes(), inboxes());
        let sender = |other: &Arc<Inboxes>| {
            ChannelSender::of_pair(Arc::new(PairEnd { other: Arc::clone(other) }), Arc::clone(&routes))
        };
        let (there, back) = (sender(&theirs), sender(&ours));
        (Self { inboxes: ours, sender: there }, Self { inboxes: theirs, sender: back })
    }
}

impl Peer {
    /// A peer that nobody is, to hand to a protocol in a test: no shared protocols, no session.
    #[must_use]
    pub fn made_up() -> Self {
        let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let id = PeerId::new("made-up", &[1]).unwrap_or_else(|| unreachable!("one byte is an identity"));
        let inner = Inner {
            id,
            direction: Direction::Inbound,
            remote: nobody,
            info: RemoteInfo::default(),
            since: Instant::now(),
            shared: Box::default(),
            outgoing: Arc::new(Outgoing::new(Arc::default(), Ledger::new(0), Rules::default())),
            end: Ending::default(),
            data: RwLock::default(),
            stats: Stats::default(),
            about: About::default(),
        };
        Self { inner: Arc::new(inner) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ChannelId;

    const A: ChannelId = ChannelId(3);

    fn pair() -> (ChannelIo, ChannelIo) {
        ChannelIo::pair(&[ChannelSpec::new(3, 1).recv_limit_within(10, 20), ChannelSpec::new(9, 1)])
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_sends_the_other_receives_until_it_leaves() {
        let (one, mut other) = pair();
        let sender = one.sender();
        one.send(A, "first").await.unwrap();
        sender.try_send(ChannelId(9), "second").unwrap();
        assert_eq!(other.recv().await, Some((A, Bytes::from("first"))));
        drop(one);
        sender.try_send(A, "third").unwrap();
        drop(sender);
        let rest: Vec<_> = [other.recv().await, other.recv().await, other.recv().await]
            .into_iter()
            .map(|got| got.map(|(channel, _)| channel.0))
            .collect();
        assert_eq!(rest, [Some(9), Some(3), None]);
        assert_eq!(other.try_send(A, "nobody"), Err(SendError::Closed));
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_inbox_makes_the_other_wait() {
        let (one, mut other) = pair();
        (0..2).for_each(|_| one.try_send(A, vec![0; 10]).unwrap());
        assert_eq!(one.try_send(A, "x"), Err(SendError::Full));
        assert_eq!(one.try_send(A, vec![0; 11]), Err(SendError::TooLarge { len: 11, limit: 10 }));
        assert_eq!(one.try_send(ChannelId(4), "x"), Err(SendError::NotShared));
        assert_eq!(one.send(A, "x").await, Err(SendError::Timeout));
        let (sent, got) = tokio::join!(one.send(A, "x"), other.recv());
        assert_eq!((sent, got.is_some()), (Ok(()), true));
    }

    #[tokio::test]
    async fn a_made_up_peer_ends_when_the_test_says_so() {
        let peer = Peer::made_up();
        assert!(!peer.is_over() && peer.protocols().next().is_none());
        peer.disconnect(crate::Reason::Useless);
        assert_eq!(peer.ended().await.reason, crate::Reason::Useless);
    }
}
