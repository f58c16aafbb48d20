//! Messages as a protocol's own type instead of bytes.
//!
//! ```text
//!   recv ─▶ (channel, bytes) ─ Codec::decode ─▶ Message         Message ─ Codec::encode ─▶ (channel, bytes) ─▶ send
//! ```
//!
//! ```
//! use bytes::Bytes;
//! use switchboard::{ChannelId, ChannelIo, ChannelSpec};
//! use switchboard::protocol::typed::{Codec, Malformed, Typed};
//!
//! #[derive(Debug, PartialEq)]
//! enum Say { Hello(u8), Bye }
//!
//! struct Words;
//! impl Codec for Words {
//!     type Message = Say;
//!     fn encode(message: &Say) -> (ChannelId, Bytes) {
//!         match message {
//!             Say::Hello(to) => (ChannelId(0), Bytes::copy_from_slice(&[*to])),
//!             Say::Bye => (ChannelId(1), Bytes::new()),
//!         }
//!     }
//!     fn decode(channel: ChannelId, data: Bytes) -> Result<Say, Malformed> {
//!         match (channel.0, &data[..]) {
//!             (0, [to]) => Ok(Say::Hello(*to)),
//!             (1, []) => Ok(Say::Bye),
//!             _ => Err(Malformed("hello has one byte, bye none")),
//!         }
//!     }
//! }
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
//! # runtime.block_on(async {
//! let (one, other) = ChannelIo::pair(&[ChannelSpec::new(0, 1), ChannelSpec::new(1, 1)]);
//! let (one, mut other) = (Typed::<Words>::new(one), Typed::<Words>::new(other));
//! one.send(&Say::Hello(7)).await.unwrap();
//! assert_eq!(other.recv().await.unwrap(), Some(Say::Hello(7)));
//! # });
//! ```
//!
//! Limits: the channel's. A message that does not decode is a breach by the peer: `recv` gives it as
//! [`ProtocolError::Breach`], which ends the session when the protocol returns it.

use crate::protocol::ProtocolError;
use crate::protocol::channel::ChannelId;
use crate::protocol::io::{ChannelIo, ChannelSender};
use crate::session::inbox::Received;
use crate::session::outgoing::SendError;
use bytes::Bytes;
use std::marker::PhantomData;
use tokio::time::Instant;

/// Why bytes are no message; the text names the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed message: {0}")]
pub struct Malformed(pub &'static str);

impl From<Malformed> for ProtocolError {
    fn from(malformed: Malformed) -> Self {
        Self::Breach(malformed.0)
    }
}

/// How a protocol's messages become bytes on its channels, and back.
pub trait Codec {
    /// All messages of the protocol, on all its channels.
    type Message;

    /// The channel a message goes on, and its bytes.
    fn encode(message: &Self::Message) -> (ChannelId, Bytes);

    /// The message in the bytes that came on a channel. `data` has at most the channel's receive limit.
    ///
    /// # Errors
    /// [`Malformed`], with the rule the peer broke.
    fn decode(channel: ChannelId, data: Bytes) -> Result<Self::Message, Malformed>;
}

/// The channels of a protocol, with its own messages.
#[derive(Debug)]
pub struct Typed<C> {
    io: ChannelIo,
    codec: PhantomData<fn() -> C>,
}

impl<C: Codec> Typed<C> {
    /// Puts a codec over channels.
    #[must_use]
    pub fn new(io: ChannelIo) -> Self {
        Self { io, codec: PhantomData }
    }

    /// The next message; `None` when the session is over and all was read. Safe to drop half-way.
    ///
    /// # Errors
    /// [`ProtocolError::Breach`] when the peer sent what is no message.
    pub async fn recv(&mut self) -> Result<Option<C::Message>, ProtocolError> {
        Ok(self.receive().await?.map(|(message, _)| message))
    }

    /// As [`Typed::recv`], with when the message came.
    ///
    /// # Errors
    /// As for [`Typed::recv`].
    pub async fn receive(&mut self) -> Result<Option<(C::Message, Instant)>, ProtocolError> {
        let Some(Received { channel, data, at }) = self.io.receive().await else { return Ok(None) };
        Ok(Some((C::decode(channel, data)?, at)))
    }

    /// Queues a message, as [`ChannelIo::send`] does.
    ///
    /// # Errors
    /// [`SendError`], never `Full`.
    pub async fn send(&self, message: &C::Message) -> Result<(), SendError> {
        let (channel, data) = C::encode(message);
        self.io.send(channel, data).await
    }

    /// Queues a message if there is room at once.
    ///
    /// # Errors
    /// [`SendError`], `Full` when there is no room.
    pub fn try_send(&self, message: &C::Message) -> Result<(), SendError> {
        let (channel, data) = C::encode(message);
        self.io.try_send(channel, data)
    }

    /// A sender that other tasks may hold.
    #[must_use]
    pub fn sender(&self) -> TypedSender<C> {
        TypedSender { sender: self.io.sender(), codec: PhantomData }
    }

    /// The channels without the codec.
    #[must_use]
    pub fn into_io(self) -> ChannelIo {
        self.io
    }
}

/// Sends a protocol's own messages to one peer; cheap to clone.
#[derive(Debug)]
pub struct TypedSender<C> {
    sender: ChannelSender,
    codec: PhantomData<fn() -> C>,
}

impl<C> Clone for TypedSender<C> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), codec: PhantomData }
    }
}

impl<C: Codec> TypedSender<C> {
    /// Puts a codec over a sender.
    #[must_use]
    pub fn new(sender: ChannelSender) -> Self {
        Self { sender, codec: PhantomData }
    }

    /// Queues a message, as [`ChannelSender::send`] does.
    ///
    /// # Errors
    /// [`SendError`], never `Full`.
    pub async fn send(&self, message: &C::Message) -> Result<(), SendError> {
        let (channel, data) = C::encode(message);
        self.sender.send(channel, data).await
    }

    /// Queues a message if there is room at once.
    ///
    /// # Errors
    /// [`SendError`], `Full` when there is no room.
    pub fn try_send(&self, message: &C::Message) -> Result<(), SendError> {
        let (channel, data) = C::encode(message);
        self.sender.try_send(channel, data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ChannelSpec;

    struct Number;

    impl Codec for Number {
        type Message = u16;

        fn encode(message: &u16) -> (ChannelId, Bytes) {
            (ChannelId(0), Bytes::copy_from_slice(&message.to_be_bytes()))
        }

        fn decode(_: ChannelId, data: Bytes) -> Result<u16, Malformed> {
            data[..].try_into().map(u16::from_be_bytes).map_err(|_| Malformed("a number has two bytes"))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn messages_go_both_ways_and_what_is_none_is_a_breach() {
        let (one, other) = ChannelIo::pair(&[ChannelSpec::new(0, 1)]);
        let (mut one, other) = (Typed::<Number>::new(one), Typed::<Number>::new(other));
        other.try_send(&7).unwrap();
        other.sender().clone().send(&8).await.unwrap();
        assert_eq!(one.recv().await.unwrap(), Some(7));
        let now = Instant::now();
        assert_eq!(one.receive().await.unwrap(), Some((8, now)));
        let mut io = other.into_io();
        TypedSender::<Number>::new(one.sender().sender).try_send(&9).unwrap();
        assert_eq!(io.recv().await.unwrap().1[..], [0, 9]);
        io.send(ChannelId(0), "three").await.unwrap();
        let error = one.recv().await.unwrap_err();
        assert!(matches!(error, ProtocolError::Breach("a number has two bytes")), "{error}");
        drop(io);
        assert_eq!(one.recv().await.unwrap(), None);
    }
}
