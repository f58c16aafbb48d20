//! The one protocol of this wire: takes every content and hands it to whoever wants it.
//!
//! ```text
//!   inbox of ack (22) ───────▶ the sender that waits for its nonce
//!   inbox of each content ─┬─ (content, gossip channel) ─▶ the first handler that wants it
//!                          └─ one message of a content at a time: it runs to its end before the next
//! ```
//! A slow handler delays messages of the same content from the same peer, nothing else; it may wait for an
//! acknowledgement. Messages of one content keep their order, those of two contents need not (Go peers send each
//! message in a goroutine of its own, so nothing relies on it).
//!
//! Limits: [`MAX_ACKS`] acknowledgements waited for at a time per peer, more are refused here; a message up to 100 MiB per
//! content; [`WINDOW`] bytes of a content wait, then the session is not read for up to [`FULL_INBOX`], then it ends.
//! Not judged here: tags (`crate::tags`) and signatures (`crate::sign`) of contents are for their handlers.

use crate::message::{Acknowledgement, Content, GossipMessage, Tag, decode_message};
use crate::scan::{self, CONTENTS, Scanned};
use crate::session::MAX_MESSAGE;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::OptionFuture;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use prost::Message;
use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use switchboard::{
    BoxFuture, ChannelId, ChannelIo, ChannelSender, ChannelSpec, Overflow, Peer, Protocol, ProtocolError,
    ProtocolSpec, SendError,
};
use tokio::sync::oneshot;

/// The protocol's name.
pub const GOSSIP: &str = "gossip";
/// Acknowledgements waited for at a time per peer.
pub const MAX_ACKS: usize = 1_024;
/// Field number of the content `data_msg`.
pub const DATA: u32 = 8;
/// Field number of the content `ack`.
pub const ACK: u32 = 22;
/// How long a full inbox may hold the session up.
pub const FULL_INBOX: Duration = Duration::from_secs(30);
/// Bytes of one content that may wait.
pub const WINDOW: usize = 8 << 20;

/// What became of a message sent with a nonce.
pub type Acked = Result<(), AckError>;

/// Why a message was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AckError {
    /// The peer refused it, and said why (remote text, escaped).
    #[error("refused by the peer: {0}")]
    Refused(String),
    /// Nothing came in time.
    #[error("no acknowledgement in time")]
    Timeout,
    /// Too many are waited for.
    #[error("{MAX_ACKS} acknowledgements are waited for already")]
    TooMany,
    /// The nonce is 0, which means none, or one that is waited for already.
    #[error("the nonce {0} cannot tell an acknowledgement from others: take a random one")]
    Nonce(u64),
    /// It could not be sent.
    #[error(transparent)]
    Send(#[from] SendError),
}

/// The waiting requests by nonce; `None` when the session is over.
#[derive(Debug)]
struct Waiting(Mutex<Option<HashMap<u64, oneshot::Sender<Acked>>>>);

impl Waiting {
    fn enter(&self, nonce: u64) -> Result<(Waiter<'_>, oneshot::Receiver<Acked>), AckError> {
        let mut table = self.0.lock();
        let table = table.as_mut().ok_or(AckError::Send(SendError::Closed))?;
        if nonce == 0 || table.contains_key(&nonce) {
            return Err(AckError::Nonce(nonce));
        }
        if table.len() >= MAX_ACKS {
            return Err(AckError::TooMany);
        }
        let (tell, told) = oneshot::channel();
        table.insert(nonce, tell);
        Ok((Waiter { waiting: self, nonce }, told))
    }

    fn take(&self, nonce: u64) -> Option<oneshot::Sender<Acked>> {
        self.0.lock().as_mut()?.remove(&nonce)
    }
}

/// A place in the table, given back however the wait ends.
struct Waiter<'a> {
    waiting: &'a Waiting,
    nonce: u64,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        drop(self.waiting.take(self.nonce));
    }
}

/// Ends all waits with the session.
struct Ending(Arc<Waiting>);

impl Drop for Ending {
    fn drop(&mut self) {
        drop(self.0.0.lock().take());
    }
}

/// A session, as handlers use it; cheap to clone.
#[derive(Debug, Clone)]
pub struct GossipPeer {
    peer: Peer,
    sender: ChannelSender,
    waiting: Arc<Waiting>,
}

impl GossipPeer {
    /// The other side.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Sends an envelope as it is, on the lane of its content.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn send(&self, content: u32, envelope: Bytes) -> Result<(), SendError> {
        self.sender.send(ChannelId(content as u16), envelope).await
    }

    /// Acknowledges a message by its nonce; an empty error means success.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn ack(&self, nonce: u64, error: &str) -> Result<(), SendError> {
        let content = Content::Ack(Acknowledgement { error: error.to_owned() });
        let envelope = GossipMessage::new(Tag::Undefined, &[], nonce, content).unsigned();
        self.send(ACK, envelope.encode_to_vec().into()).await
    }

    /// Sends a message that carries `nonce` and waits for its acknowledgement. May be dropped half-way.
    ///
    /// # Errors
    /// [`AckError`].
    pub async fn send_with_ack(&self, content: u32, envelope: Bytes, nonce: u64, limit: Duration) -> Acked {
        let (_place, told) = self.waiting.enter(nonce)?;
        let acked = async {
            self.send(content, envelope).await?;
            told.await.unwrap_or(Err(AckError::Send(SendError::Closed)))
        };
        tokio::time::timeout(limit, acked).await.unwrap_or(Err(AckError::Timeout))
    }

    fn acknowledged(&self, received: Received<'_>) -> Result<(), ProtocolError> {
        // An acknowledgement nobody waits for is late, and harmless: not even decoded.
        let Some(tell) = self.waiting.take(received.head.nonce) else { return Ok(()) };
        let Some(Content::Ack(ack)) = received.decode()?.content else {
            return Err(ProtocolError::Breach("undecodable gossip message"));
        };
        let refused = || AckError::Refused(switchboard::text::printable(&ack.error));
        let _ = tell.send(if ack.error.is_empty() { Ok(()) } else { Err(refused()) });
        Ok(())
    }
}

/// A received message.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// The envelope's bytes as they came: forward these.
    pub envelope: &'a Bytes,
    /// The encoded message in it.
    pub payload: &'a [u8],
    /// What is known without decoding.
    pub head: Scanned<'a>,
}

impl<'a> Received<'a> {
    /// Looks at an envelope.
    ///
    /// # Errors
    /// A breach: the session should end with it.
    pub fn of(envelope: &'a Bytes) -> Result<Self, ProtocolError> {
        let malformed = |_| ProtocolError::Breach("undecodable envelope");
        let payload = scan::payload(envelope).map_err(malformed)?;
        Ok(Self { envelope, payload, head: scan::scan(payload).map_err(malformed)? })
    }

    /// The content's field number.
    #[must_use]
    pub fn content(&self) -> u32 {
        self.head.content.unwrap_or(0)
    }

    /// Decodes the message.
    ///
    /// # Errors
    /// A breach: the session should end with it.
    pub fn decode(&self) -> Result<GossipMessage, ProtocolError> {
        decode_message(self.envelope.slice_ref(self.payload))
            .map_err(|_| ProtocolError::Breach("undecodable gossip message"))
    }
}

/// Takes some of the messages.
pub trait Handler: Send + Sync + 'static {
    /// A session began.
    fn started(&self, with: &GossipPeer) {
        let _ = with;
    }

    /// Whether messages with this content on this gossip channel are for this handler.
    fn wants(&self, content: u32, channel: &[u8]) -> bool;

    /// A message came.
    fn handle<'a>(
        &'a self,
        with: &'a GossipPeer,
        received: Received<'a>,
    ) -> BoxFuture<'a, Result<(), ProtocolError>>;
}

/// The protocol.
pub struct Gossip {
    handlers: Vec<Arc<dyn Handler>>,
}

impl Gossip {
    /// A protocol with handlers; the first that wants a message gets it, and what nobody wants is dropped.
    #[must_use]
    pub fn new(handlers: Vec<Arc<dyn Handler>>) -> Arc<Self> {
        Arc::new(Self { handlers })
    }
}

impl Gossip {
    /// Hands one message on; says of which content it was.
    async fn serve(
        &self,
        with: &GossipPeer,
        content: ChannelId,
        envelope: Bytes,
    ) -> (ChannelId, Result<(), ProtocolError>) {
        let hand_on = async {
            let received = Received::of(&envelope)?;
            let content = received.content();
            if content == ACK {
                with.acknowledged(received)?;
                return Ok(());
            }
            match self.handlers.iter().find(|h| h.wants(content, received.head.channel)) {
                Some(handler) => handler.handle(with, received).await,
                None => Ok(()),
            }
        };
        let done = hand_on.await;
        (content, done)
    }
}

/// Contents a message of which is being handled; their numbers are below 64.
#[derive(Clone, Copy, Default)]
struct Busy(u64);

impl Busy {
    fn bit(content: ChannelId) -> u64 {
        1_u64.checked_shl(content.0.into()).unwrap_or(0)
    }

    fn is(self, content: ChannelId) -> bool {
        self.0 & Self::bit(content) != 0
    }
}

impl Protocol for Gossip {
    fn spec(&self) -> ProtocolSpec {
        let channel = |content: u32| {
            ChannelSpec::new(content as u16, if content == DATA { 1 } else { 5 })
                .overflow(Overflow::Wait(FULL_INBOX))
                .recv_limit_within(MAX_MESSAGE, WINDOW)
        };
        ProtocolSpec::new(GOSSIP, 1, CONTENTS.map(channel).collect())
    }

    fn run(self: Arc<Self>, peer: Peer, mut io: ChannelIo) -> BoxFuture<'static, Result<(), ProtocolError>> {
        Box::pin(async move {
            let waiting = Arc::new(Waiting(Mutex::new(Some(HashMap::new()))));
            let _ending = Ending(Arc::clone(&waiting));
            let with = GossipPeer { peer, sender: io.sender(), waiting };
            self.handlers.iter().for_each(|handler| handler.started(&with));
            // One message of each content at a time, in order: a handler that waits holds up its own content only.
            let (mut busy, mut handling) = (Busy::default(), FuturesUnordered::new());
            // The future of the message in hand. Its memory is used again, unless the message has to wait.
            let mut place = Box::pin(OptionFuture::from(None));
            loop {
                let next = tokio::select! {
                    biased;
                    Some(Some((content, done))) = handling.next() => {
                        done?;
                        busy.0 &= !Busy::bit(content);
                        continue;
                    }
                    next = io.recv_of(|content| !busy.is(content)) => next,
                };
                if let Some((content, envelope)) = next {
                    place.set(Some(self.serve(&with, content, envelope)).into());
                    // Most are handled without a wait: those need no place among the ones that wait, which would wake this task
                    // for each of them.
                    let polled = poll_fn(|cx| Poll::Ready(place.as_mut().poll(cx))).await;
                    if let Poll::Ready(served) = polled {
                        place.set(None.into());
                        served.map_or(Ok(()), |(_, done)| done)?;
                    } else {
                        busy.0 |= Busy::bit(content);
                        handling.push(std::mem::replace(&mut place, Box::pin(None.into())));
                    }
                    // However many come, other tasks have their turn.
                    tokio::task::coop::consume_budget().await;
                    continue;
                }
                // The session is over; what waits behind a message that is being handled comes after it.
                let Some(Some((content, done))) = handling.next().await else { break };
                done?;
                busy.0 &= !Busy::bit(content);
            }
            Ok(())
        })
    }
}
