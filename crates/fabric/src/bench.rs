//! The `bench` of this wire: echoes on the gossip channel `echo`, acknowledgements on any other.
//!
//! ```text
//!   DataMessage on `echo`                    ▶  the same envelope back
//!   DataMessage elsewhere, nonce not 0       ▶  ack with that nonce
//! ```
//! The rules stand in `interop/README.md`. There is no count to ask for: a one-way flow ends when its last message is acknowledged.
//! Whoever is connected may make us echo: serve this to measure, not in production.

use crate::gossip::{DATA, Gossip, GossipPeer, Handler, Received};
use crate::message::{
    Content, DataMessage, Envelope, GossipMessage, Payload, Tag, decode_envelope, decode_message,
};
use bytes::Bytes;
use prost::Message;
use std::sync::Arc;
use switchboard::{BoxFuture, ProtocolError};
use switchboard_bench::{
    BenchError, BulkPlan, BulkResult, Drive, Drivers, EchoPlan, EchoResult, PATIENCE, Sink, Source, run_bulk,
    run_echo,
};
use tokio::sync::mpsc;

/// Gossip channel of echoes.
pub const ECHO: &[u8] = b"echo";
/// Gossip channel of one-way flows.
pub const BULK: &[u8] = b"bulk";
/// Replies that may wait for their driver; more wait in the session.
const REPLIES: usize = 256;

/// Echoes and acknowledges.
#[derive(Debug)]
struct Server;

impl Handler for Server {
    fn wants(&self, content: u32, _: &[u8]) -> bool {
        content == DATA
    }

    fn handle<'a>(
        &'a self,
        link: &'a GossipPeer,
        received: Received<'a>,
    ) -> BoxFuture<'a, Result<(), ProtocolError>> {
        Box::pin(async move {
            if received.head.channel == ECHO {
                link.send(DATA, received.envelope.clone()).await?;
            } else if received.head.nonce != 0 {
                link.ack(received.head.nonce, "").await?;
            }
            Ok(())
        })
    }
}

/// Answers everybody.
#[must_use]
pub fn server() -> Arc<Gossip> {
    Gossip::new(vec![Arc::new(Server)])
}

/// A client: gives a [`Driver`] for each session that begins (the first 64 that wait).
#[must_use]
pub fn driven() -> (Arc<Gossip>, mpsc::Receiver<Driver>) {
    let (drivers, sessions) = Drivers::waiting();
    (Gossip::new(vec![Arc::new(Client { drivers })]), sessions)
}

struct Client {
    drivers: Drivers<Driver>,
}

/// Where a session's replies go; kept with the peer.
struct Replies(mpsc::Sender<Bytes>);

impl Handler for Client {
    fn started(&self, link: &GossipPeer) {
        let (tx, replies) = mpsc::channel(REPLIES);
        link.peer().set(Replies(tx));
        self.drivers.offer(|| Some(Driver { link: link.clone(), replies }));
    }

    fn wants(&self, content: u32, channel: &[u8]) -> bool {
        content == DATA && channel == ECHO
    }

    fn handle<'a>(
        &'a self,
        link: &'a GossipPeer,
        received: Received<'a>,
    ) -> BoxFuture<'a, Result<(), ProtocolError>> {
        Box::pin(async move {
            if let Some(replies) = link.peer().get::<Replies>() {
                let _ = replies.0.send(received.envelope.clone()).await;
            }
            Ok(())
        })
    }
}

/// Measures one session.
#[derive(Debug)]
pub struct Driver {
    link: GossipPeer,
    replies: mpsc::Receiver<Bytes>,
}

fn data(channel: &[u8], nonce: u64, number: u64, data: Bytes) -> Bytes {
    let payload = Payload { seq_num: number, data, private_data: Vec::new() };
    let content = Content::DataMsg(DataMessage { payload: Some(payload) });
    GossipMessage::new(Tag::ChanAndOrg, channel, nonce, content).unsigned().encode_to_vec().into()
}

struct Requests<'a> {
    link: &'a GossipPeer,
    sent: u64,
}

impl Sink for Requests<'_> {
    async fn send(&mut self, payload: Bytes) -> Result<(), BenchError> {
        self.sent += 1;
        Ok(self.link.send(DATA, data(ECHO, 0, self.sent, payload)).await?)
    }
}

struct Echoes<'a>(&'a mut mpsc::Receiver<Bytes>);

impl Source for Echoes<'_> {
    async fn recv(&mut self) -> Result<Bytes, BenchError> {
        let envelope = self.0.recv().await.ok_or(BenchError::Ended)?;
        let Envelope { payload, .. } =
            decode_envelope(envelope).map_err(|_| BenchError::Malformed("no envelope"))?;
        match decode_message(payload).map(|message| message.content) {
            Ok(Some(Content::DataMsg(DataMessage { payload: Some(payload) }))) => Ok(payload.data),
            _ => Err(BenchError::Malformed("no data message")),
        }
    }
}

struct Flow<'a> {
    link: &'a GossipPeer,
    left: u64,
    number: u64,
}

/// Nonce of the message that is acknowledged.
const LAST: u64 = 1;

impl Sink for Flow<'_> {
    async fn send(&mut self, payload: Bytes) -> Result<(), BenchError> {
        self.left = self.left.saturating_sub(1);
        self.number += 1;
        if self.left > 0 {
            return Ok(self.link.send(DATA, data(BULK, 0, self.number, payload)).await?);
        }
        let last = data(BULK, LAST, self.number, payload);
        let acked = self.link.send_with_ack(DATA, last, LAST, PATIENCE).await;
        acked.map_err(|_| BenchError::Malformed("the last message was not acknowledged"))
    }
}

impl Drive for Driver {
    async fn echo(&mut self, plan: EchoPlan) -> Result<EchoResult, BenchError> {
        run_echo(plan, &mut Requests { link: &self.link, sent: 0 }, &mut Echoes(&mut self.replies)).await
    }

    /// There is no report: this wire has no count.
    async fn bulk(&mut self, plan: BulkPlan) -> Result<BulkResult, BenchError> {
        let mut flow = Flow { link: &self.link, left: plan.messages(), number: 0 };
        run_bulk(plan, &mut flow, async { Ok(None) }).await
    }
}
