//! What a protocol task holds: its channels to one peer, to receive and to send.
//!
//! ```text
//!   ChannelIo      recv, recv_of, receive, try_recv, take      one a protocol and peer
//!   ChannelSender  send, try_send, send_within        cheap to clone, for other tasks
//! ```
//!
//! Limits: those of [`crate::ChannelSpec`]. A full lane makes `send` wait and `try_send` answer
//! [`SendError::Full`]; a full inbox is the channel's [`crate::Overflow`] case.

use crate::protocol::channel::ChannelId;
use crate::protocol::pair::PairEnd;
use crate::session::inbox::{Inbox, Inboxes, Received};
use crate::session::outgoing::{ChannelStats, Outgoing, Route, SendError};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// The channels of one protocol to one peer.
#[derive(Debug)]
pub struct ChannelIo {
    pub(crate) inboxes: Arc<Inboxes>,
    pub(crate) sender: ChannelSender,
}

impl ChannelIo {
    /// The next message on any channel, in order of arrival; `None` when the session is over and all was read.
    /// Safe to drop half-way (in a `select!`).
    pub async fn recv(&mut self) -> Option<(ChannelId, Bytes)> {
        self.recv_of(|_| true).await
    }

    /// The next message on a wanted channel, in order of arrival; what waits on others stays there. `None` when the session
    /// is over and nothing waits on a wanted channel. Safe to drop half-way.
    pub async fn recv_of(&mut self, wanted: impl Fn(ChannelId) -> bool) -> Option<(ChannelId, Bytes)> {
        let Received { channel, data, .. } = self.inboxes.recv(wanted).await?;
        Some((channel, data))
    }

    /// As [`ChannelIo::recv`], with when the message came.
    pub async fn receive(&mut self) -> Option<Received> {
        self.inboxes.recv(|_| true).await
    }

    /// A message that waits already, if there is one.
    pub fn try_recv(&mut self) -> Option<(ChannelId, Bytes)> {
        let Received { channel, data, .. } = self.inboxes.try_recv()?;
        Some((channel, data))
    }

    /// Takes one channel's inbox out, to be read by a task of its own. `None` for an unknown channel or one already taken.
    pub fn take(&mut self, channel: ChannelId) -> Option<Inbox> {
        Inbox::take(&self.inboxes, channel)
    }

    /// Queues a message, waiting for room for as long as the session's rules allow.
    ///
    /// # Errors
    /// [`SendError`], never `Full`.
    pub async fn send(&self, channel: ChannelId, message: impl Into<Bytes> + Send) -> Result<(), SendError> {
        self.sender.send(channel, message).await
    }

    /// Queues a message if there is room at once.
    ///
    /// # Errors
    /// [`SendError`], `Full` when there is no room.
    pub fn try_send(&self, channel: ChannelId, message: impl Into<Bytes>) -> Result<(), SendError> {
        self.sender.try_send(channel, message)
    }

    /// A sender that other tasks may hold.
    #[must_use]
    pub fn sender(&self) -> ChannelSender {
        self.sender.clone()
    }
}

/// Where a sender's messages go.
#[derive(Debug, Clone)]
enum Target {
    Session(Arc<Outgoing>),
    Pair(Arc<PairEnd>),
}

/// Sends on the channels of one protocol to one peer; cheap to clone.
#[derive(Debug, Clone)]
pub struct ChannelSender {
    target: Target,
    /// Where each channel of the protocol goes.
    routes: Arc<[(ChannelId, Route)]>,
}

impl ChannelSender {
    pub(crate) fn of_session(outgoing: Arc<Outgoing>, routes: Arc<[(ChannelId, Route)]>) -> Self {
        Self { target: Target::Session(outgoing), routes }
    }

    pub(crate) fn of_pair(end: Arc<PairEnd>, routes: Arc<[(ChannelId, Route)]>) -> Self {
        Self { target: Target::Pair(end), routes }
    }

    pub(crate) fn is_pair(&self) -> bool {
        matches!(self.target, Target::Pair(_))
    }

    fn route(&self, channel: ChannelId) -> Result<Route, SendError> {
        self.routes.iter().find(|(id, _)| *id == channel).map(|(_, r)| *r).ok_or(SendError::NotShared)
    }

    /// Queues a message, waiting for room for as long as the session's rules allow.
    ///
    /// # Errors
    /// [`SendError`], never `Full`.
    pub async fn send(&self, channel: ChannelId, message: impl Into<Bytes> + Send) -> Result<(), SendError> {
        self.queue(channel, message.into(), None).await
    }

    /// Queues a message that is of no use later: if it has not begun to leave within this time, it is dropped and counted
    /// in [`ChannelStats::late`].
    ///
    /// # Errors
    /// As for [`ChannelSender::send`].
    pub async fn send_within(
        &self,
        channel: ChannelId,
        message: impl Into<Bytes> + Send,
        limit: Duration,
    ) -> Result<(), SendError> {
        self.queue(channel, message.into(), Some(limit)).await
    }

    async fn queue(
        &self,
        channel: ChannelId,
        message: Bytes,
        within: Option<Duration>,
    ) -> Result<(), SendError> {
        let route = self.route(channel)?;
        match &self.target {
            Target::Session(outgoing) => outgoing.send(route, message, within).await,
            Target::Pair(end) => end.send(route, message).await,
        }
    }

    /// Queues a message if there is room at once.
    ///
    /// # Errors
    /// [`SendError`], `Full` when there is no room.
    pub fn try_send(&self, channel: ChannelId, message: impl Into<Bytes>) -> Result<(), SendError> {
        let (route, message) = (self.route(channel)?, message.into());
        match &self.target {
            Target::Session(outgoing) => outgoing.try_send(route, message, None),
            Target::Pair(end) => end.try_send(route, message),
        }
    }

    /// Its channels.
    pub fn ids(&self) -> impl Iterator<Item = ChannelId> {
        self.routes.iter().map(|(id, _)| *id)
    }

    /// The first channel that uses a lane.
    pub(crate) fn of_lane(&self, lane: usize) -> Option<ChannelId> {
        self.routes.iter().find(|(_, route)| route.lane == lane).map(|(id, _)| *id)
    }

    /// Messages waiting in the lane of a channel.
    #[must_use]
    pub fn queued(&self, channel: ChannelId) -> usize {
        self.stats(channel).map_or(0, |stats| stats.queued)
    }

    /// What the lane of a channel has seen; `None` when the peer does not share the channel.
    #[must_use]
    pub fn stats(&self, channel: ChannelId) -> Option<ChannelStats> {
        let route = self.route(channel).ok()?;
        match &self.target {
            Target::Session(outgoing) => outgoing.stats(route.lane),
            Target::Pair(_) => Some(ChannelStats::default()),
        }
    }
}
