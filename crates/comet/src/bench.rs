//! The `bench` protocol on this wire: echoes and one-way flows, to measure a session with a peer of any make.
//!
//! ```text
//! 0x70  request        ▶   0x71  the same message back; one that asks when it came is told (`switchboard_bench::stamped`)
//! 0x72  00 ‖ bytes     ▶   counted, with its first byte
//!       01             ▶   counters to zero
//!       02             ▶   0x73  {"bytes":…,"msgs":…,"ns":…}
//! ```
//! Every message is a protobuf `BytesValue` around that. The rules stand in `interop/README.md`.
//!
//! Limits: messages of at most [`RECV_LIMIT`] bytes; a flow that comes faster than it is counted is held back
//! by TCP, for at most [`PATIENCE`]. An empty or unknown message on 0x72 is a breach. Replies and reports
//! are dropped where no driver took the session. Whoever is connected may make us echo: serve this to measure, not in production.

use crate::proto::{unwrap, unwrap_slice, wrap};
use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use switchboard::{
    BoxFuture, ChannelId, ChannelIo, ChannelSender, ChannelSpec, Inbox, Overflow, Peer, Protocol,
    ProtocolError, ProtocolSpec,
};
use switchboard_bench::{
    BenchError, BulkPlan, BulkResult, Counter, Drive, Drivers, EchoPlan, EchoResult, Ends, PATIENCE, Report,
    Sink, Source, UrgentPlan, run_bulk, run_echo, run_urgent, stamped,
};
use tokio::sync::mpsc;

/// Requests to be echoed.
pub const REQUEST: ChannelId = ChannelId(0x70);
/// Echoes.
pub const REPLY: ChannelId = ChannelId(0x71);
/// One-way flows.
pub const DATA: ChannelId = ChannelId(0x72);
/// Reports.
pub const REPORT: ChannelId = ChannelId(0x73);
/// Largest message accepted, as the Go peers have it.
pub const RECV_LIMIT: usize = 21 << 20;
/// Bytes that may wait to be counted or echoed.
const RECV_WINDOW: usize = 4 << 20;
/// Messages that may wait to be sent, as the Go peers have it.
const SEND_QUEUE: usize = 100;
/// Priority of echoes; that of flows and reports is 1 (as the Go peers have it).
const URGENT: u32 = 10;
/// Longest report read.
const MAX_REPORT: usize = 1024;

const KIND_DATA: u8 = 0;
const KIND_START: u8 = 1;
const KIND_END: u8 = 2;

#[derive(Serialize, Deserialize)]
struct ReportText {
    bytes: u64,
    msgs: u64,
    ns: u64,
}

/// The protocol: answers everybody, and hands sessions to a driver if there is one.
#[derive(Debug)]
pub struct Bench {
    drivers: Drivers<Driver>,
}

impl Bench {
    /// Answers only.
    #[must_use]
    pub fn server() -> Arc<Self> {
        Arc::new(Self { drivers: Drivers::none() })
    }

    /// Answers, and gives a [`Driver`] for each session that begins (the first 64 that wait).
    #[must_use]
    pub fn driven() -> (Arc<Self>, mpsc::Receiver<Driver>) {
        let (drivers, sessions) = Drivers::waiting();
        (Arc::new(Self { drivers }), sessions)
    }
}

impl Protocol for Bench {
    fn spec(&self) -> ProtocolSpec {
        let channel = |id: ChannelId| {
            ChannelSpec::new(id.0, if [REQUEST, REPLY].contains(&id) { URGENT } else { 1 })
                .send_queue(SEND_QUEUE)
                .recv_limit(RECV_LIMIT)
                .recv_window(RECV_WINDOW)
                .overflow(Overflow::Wait(PATIENCE))
        };
        ProtocolSpec::new("bench", 1, [REQUEST, REPLY, DATA, REPORT].map(channel).to_vec())
    }

    fn run(self: Arc<Self>, peer: Peer, mut io: ChannelIo) -> BoxFuture<'static, Result<(), ProtocolError>> {
        Box::pin(async move {
            self.drivers.offer(|| Ends::take(peer, &mut io, REPLY, REPORT).map(Driver));
            serve(&mut io).await
        })
    }
}

/// Answers until the session is over.
async fn serve(io: &mut ChannelIo) -> Result<(), ProtocolError> {
    let mut counter = Counter::default();
    while let Some((channel, message)) = io.recv().await {
        let answer = match channel {
            REQUEST => {
                let asked =
                    unwrap_slice(&message).map_err(|_| ProtocolError::Breach("bench: not a BytesValue"))?;
                let stamped = stamped(asked).map(|answer| wrap(&answer));
                Some((REPLY, stamped.unwrap_or(message)))
            }
            DATA => count(&mut counter, &message)?.map(|report| (REPORT, report)),
            _ => None,
        };
        if let Some((channel, answer)) = answer {
            io.send(channel, answer).await?;
        }
    }
    Ok(())
}

/// Counts one message of the data channel; gives the report when it was asked for.
fn count(counter: &mut Counter, message: &[u8]) -> Result<Option<Bytes>, ProtocolError> {
    let payload = unwrap_slice(message).map_err(|_| ProtocolError::Breach("bench: not a BytesValue"))?;
    match payload.first() {
        Some(&KIND_DATA) => counter.count(payload.len()),
        Some(&KIND_START) => *counter = Counter::default(),
        Some(&KIND_END) => {
            let Report { bytes, messages, nanos } = counter.take();
            let text = serde_json::to_vec(&ReportText { bytes, msgs: messages, ns: nanos });
            return Ok(Some(wrap(&text.map_err(|error| ProtocolError::Failed(error.into()))?)));
        }
        _ => return Err(ProtocolError::Breach("bench: data message of unknown kind")),
    }
    Ok(None)
}

/// Reads a report message.
///
/// # Errors
/// [`BenchError::Malformed`].
pub fn parse_report(message: &[u8]) -> Result<Report, BenchError> {
    let text = unwrap_slice(message).map_err(|_| BenchError::Malformed("the report is no BytesValue"))?;
    if text.len() > MAX_REPORT {
        return Err(BenchError::Malformed("the report is longer than 1024 bytes"));
    }
    let text: ReportText =
        serde_json::from_slice(text).map_err(|_| BenchError::Malformed("the report is not its JSON"))?;
    Ok(Report { bytes: text.bytes, messages: text.msgs, nanos: text.ns })
}

/// Measures one session.
#[derive(Debug)]
pub struct Driver(Ends);

struct Requests<'a>(&'a ChannelSender);

impl Sink for Requests<'_> {
    async fn send(&mut self, payload: Bytes) -> Result<(), BenchError> {
        Ok(self.0.send(REQUEST, wrap(&payload)).await?)
    }
}

struct Replies<'a>(&'a mut Inbox);

impl Source for Replies<'_> {
    async fn recv(&mut self) -> Result<Bytes, BenchError> {
        let message = self.0.recv().await.ok_or(BenchError::Ended)?;
        unwrap(&message).map_err(|_| BenchError::Malformed("the reply is no BytesValue"))
    }
}

struct Flow<'a>(&'a ChannelSender);

impl Sink for Flow<'_> {
    async fn send(&mut self, payload: Bytes) -> Result<(), BenchError> {
        Ok(self.0.send(DATA, data_message(&payload)).await?)
    }
}

/// The payload with its first byte set to "data", wrapped; one copy.
fn data_message(payload: &[u8]) -> Bytes {
    let rest = payload.get(1..).unwrap_or_default();
    let mut out = BytesMut::with_capacity(16 + payload.len());
    out.put_u8(0x0a);
    crate::proto::put_uvarint(rest.len() as u64 + 1, &mut out);
    out.put_u8(KIND_DATA);
    out.put_slice(rest);
    out.freeze()
}

impl Driver {
    /// The peer at the other end.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.0.peer
    }
}

impl Drive for Driver {
    async fn echo(&mut self, plan: EchoPlan) -> Result<EchoResult, BenchError> {
        let Ends { sender, replies, .. } = &mut self.0;
        run_echo(plan, &mut Requests(sender), &mut Replies(replies)).await
    }

    async fn bulk(&mut self, plan: BulkPlan) -> Result<BulkResult, BenchError> {
        let Ends { sender, reports, .. } = &mut self.0;
        sender.send(DATA, wrap(&[KIND_START])).await?;
        let report = async {
            sender.send(DATA, wrap(&[KIND_END])).await?;
            parse_report(&reports.recv().await.ok_or(BenchError::Ended)?).map(Some)
        };
        run_bulk(plan, &mut Flow(sender), report).await
    }
    async fn urgent(&mut self, plan: UrgentPlan) -> Result<EchoResult, BenchError> {
        let Ends { sender, replies, .. } = &mut self.0;
        sender.send(DATA, wrap(&[KIND_START])).await?;
        run_urgent(plan, &mut Requests(sender), &mut Replies(replies), &mut Flow(sender)).await
    }
}
