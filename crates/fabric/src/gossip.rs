//! The one protocol of this wire: takes every content and hands it to whoever wants it.
//!
//! ```text
//!   envelope ─ scan ─┬─ ack ──────────▶ the sender that waits for its nonce
//!                    └─ (content, gossip channel) ─▶ the first handler that wants it
//! ```
//! Handlers of one peer run one after the other in that peer's task: a slow one delays that peer's other
//! contents, nobody else. Limits: [`MAX_ACKS`] acknowledgements waited for at a time per peer; a message up to 100 MiB per content.
//! Tags and signatures of contents are for their handlers to judge.

use crate::message::{Acknowledgement, Content, GossipMessage, Tag, decode_message};
use crate::scan::{self, CONTENTS, Scanned};
use crate::session::MAX_MESSAGE;
use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message;
use std::collections::HashMap;
use std::sync::Arc;
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
const FULL_INBOX: Duration = Duration::from_secs(30);
/// Bytes of one content that may wait.
const WINDOW: usize = 8 << 20;

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
    /// It could not be sent.
    #[error(transparent)]
    Send(#[from] SendError),
}

#[derive(Debug, Default)]
struct Waiting(Mutex<HashMap<u64, oneshot::Sender<Acked>>>);

/// A session, as handlers use it; cheap to clone.
#[derive(Debug, Clone)]
pub struct Link {
    peer: Peer,
    sender: ChannelSender,
    waiting: Arc<Waiting>,
}

impl Link {
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

    /// Sends a message that carries `nonce` and waits for its acknowledgement.
    ///
    /// # Errors
    /// [`AckError`].
    pub async fn send_with_ack(&self, content: u32, envelope: Bytes, nonce: u64, limit: Duration) -> Acked {
        let (tell, told) = oneshot::channel();
        {
            let mut waiting = self.waiting.0.lock();
            if waiting.len() >= MAX_ACKS {
                return Err(AckError::TooMany);
            }
            waiting.insert(nonce, tell);
        }
        let acked = async {
            self.send(content, envelope).await?;
            told.await.unwrap_or(Err(AckError::Send(SendError::Closed)))
        };
        let result = tokio::time::timeout(limit, acked).await.unwrap_or(Err(AckError::Timeout));
        self.waiting.0.lock().remove(&nonce);
        result
    }

    fn acknowledged(&self, envelope: &Bytes, nonce: u64) {
        // An acknowledgement nobody waits for is late, and harmless.
        let Some(tell) = self.waiting.0.lock().remove(&nonce) else { return };
        let message = scan::payload(envelope).map(|payload| decode_message(envelope.slice_ref(payload)));
        let result = match message {
            Ok(Ok(GossipMessage { content: Some(Content::Ack(ack)), .. })) if ack.error.is_empty() => Ok(()),
            Ok(Ok(GossipMessage { content: Some(Content::Ack(ack)), .. })) => {
                Err(AckError::Refused(switchboard::text::printable(&ack.error)))
            }
            _ => Err(AckError::Refused("malformed acknowledgement".into())),
        };
        let _ = tell.send(result);
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

impl Received<'_> {
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
    fn started(&self, link: &Link) {
        let _ = link;
    }

    /// Whether messages with this content on this gossip channel are for this handler.
    fn wants(&self, content: u32, channel: &[u8]) -> bool;

    /// A message came.
    fn handle<'a>(
        &'a self,
        link: &'a Link,
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
            let link = Link { peer, sender: io.sender(), waiting: Arc::default() };
            self.handlers.iter().for_each(|handler| handler.started(&link));
            while let Some((_, envelope)) = io.recv().await {
                let malformed = |_| ProtocolError::Breach("undecodable envelope");
                let payload = scan::payload(&envelope).map_err(malformed)?;
                let received =
                    Received { envelope: &envelope, payload, head: scan::scan(payload).map_err(malformed)? };
                let content = received.content();
                if content == ACK {
                    link.acknowledged(&envelope, received.head.nonce);
                    continue;
                }
                let handler = self.handlers.iter().find(|h| h.wants(content, received.head.channel));
                if let Some(handler) = handler {
                    handler.handle(&link, received).await?;
                }
            }
            Ok(())
        })
    }
}
