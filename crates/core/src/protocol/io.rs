//! What a protocol task holds: its channels to one peer, to receive and to send.

use crate::protocol::channel::ChannelId;
use crate::session::inbox::{Inbox, Inboxes};
use crate::session::outgoing::{Outgoing, Route, SendError};
use bytes::Bytes;
use std::sync::Arc;

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
        self.inboxes.recv().await
    }

    /// A message that waits already, if there is one.
    pub fn try_recv(&mut self) -> Option<(ChannelId, Bytes)> {
        self.inboxes.try_recv()
    }

    /// Takes one channel's inbox out, to be read by a task of its own. `None` for an unknown channel or one already taken.
    pub fn take(&mut self, channel: ChannelId) -> Option<Inbox> {
        Inbox::take(&self.inboxes, channel)
    }

    /// Queues a message, waiting up to [`crate::session::outgoing::SEND_TIMEOUT`] for room.
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

/// Sends on the channels of one protocol to one peer; cheap to clone.
#[derive(Debug, Clone)]
pub struct ChannelSender {
    pub(crate) outgoing: Arc<Outgoing>,
    /// Where each channel of the protocol goes.
    pub(crate) routes: Arc<[(ChannelId, Route)]>,
}

impl ChannelSender {
    fn route(&self, channel: ChannelId) -> Result<Route, SendError> {
        self.routes.iter().find(|(id, _)| *id == channel).map(|(_, r)| *r).ok_or(SendError::NotShared)
    }

    /// Queues a message, waiting up to [`crate::session::outgoing::SEND_TIMEOUT`] for room.
    ///
    /// # Errors
    /// [`SendError`], never `Full`.
    pub async fn send(&self, channel: ChannelId, message: impl Into<Bytes> + Send) -> Result<(), SendError> {
        self.outgoing.send(self.route(channel)?, message.into()).await
    }

    /// Queues a message if there is room at once.
    ///
    /// # Errors
    /// [`SendError`], `Full` when there is no room.
    pub fn try_send(&self, channel: ChannelId, message: impl Into<Bytes>) -> Result<(), SendError> {
        self.outgoing.try_send(self.route(channel)?, message.into())
    }

    /// Messages waiting in the lane of a channel.
    #[must_use]
    pub fn queued(&self, channel: ChannelId) -> usize {
        self.route(channel).map_or(0, |route| self.outgoing.queued(route.lane))
    }
}
