//! The `bench` capability: echoes and one-way flows, to measure a session with a peer of any make.
//!
//! ```text
//!   code 0  request        ▶   code 1  the same payload back
//!   code 2  bytes          ▶   counted
//!   code 3  (anything)     ▶   code 3  RLP [bytes, messages, nanoseconds]; the counters start over
//! ```
//! The rules stand in `interop/README.md`.
//!
//! Limits: a flow that comes faster than it is counted is held back by TCP, for at most [`PATIENCE`]. Replies and
//! reports are dropped where no driver took the session. Whoever is connected may make us echo: serve this to measure, not in production.

use crate::session::MAX_MESSAGE;
use bytes::Bytes;
use std::sync::Arc;
use switchboard::{
    BoxFuture, ChannelId, ChannelIo, ChannelSpec, Overflow, Peer, Protocol, ProtocolError, ProtocolSpec,
};
use switchboard_bench::{
    BenchError, BulkPlan, BulkResult, Counter, Drive, Drivers, EchoPlan, EchoResult, Ends, PATIENCE, Report,
    run_bulk, run_echo,
};
use switchboard_enr::rlp;
use tokio::sync::mpsc;

/// Requests to be echoed.
pub const REQUEST: ChannelId = ChannelId(0);
/// Echoes.
pub const REPLY: ChannelId = ChannelId(1);
/// One-way flows.
pub const DATA: ChannelId = ChannelId(2);
/// Requests for a report, and reports: the driving side asks, the serving side answers.
pub const REPORT: ChannelId = ChannelId(3);
/// Bytes that may wait to be counted or echoed.
const RECV_WINDOW: usize = 4 << 20;

/// The protocol: answers everybody, or hands sessions to a driver.
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

    /// Gives a [`Driver`] for each session that begins (the first 64 that wait), which asks and is not asked.
    #[must_use]
    pub fn driven() -> (Arc<Self>, mpsc::Receiver<Driver>) {
        let (drivers, sessions) = Drivers::waiting();
        (Arc::new(Self { drivers }), sessions)
    }
}

impl Protocol for Bench {
    fn spec(&self) -> ProtocolSpec {
        let channel = |id: ChannelId| {
            ChannelSpec::new(id.0, 1)
                .recv_limit(MAX_MESSAGE)
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
            REQUEST => (REPLY, message),
            DATA => {
                counter.count(message.len());
                continue;
            }
            REPORT => (REPORT, encode_report(counter.take())),
            _ => continue,
        };
        io.send(answer.0, answer.1).await?;
    }
    Ok(())
}

fn encode_report(report: Report) -> Bytes {
    let mut items = Vec::new();
    [report.bytes, report.messages, report.nanos].into_iter().for_each(|n| rlp::put_number(n, &mut items));
    let mut out = Vec::new();
    rlp::put_list(&items, &mut out);
    out.into()
}

/// Reads a report.
///
/// # Errors
/// [`BenchError::Malformed`].
pub fn decode_report(mut payload: &[u8]) -> Result<Report, BenchError> {
    let mut read = || {
        let mut items = rlp::list(&mut payload)?;
        let (bytes, messages) = (rlp::number(&mut items)?, rlp::number(&mut items)?);
        Ok::<_, rlp::RlpError>(Report { bytes, messages, nanos: rlp::number(&mut items)? })
    };
    read().map_err(|_| BenchError::Malformed("the report is no RLP list of three numbers"))
}

/// Measures one session.
#[derive(Debug)]
pub struct Driver(Ends);

impl Driver {
    /// The peer that is measured.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.0.peer
    }
}

impl Drive for Driver {
    async fn echo(&mut self, plan: EchoPlan) -> Result<EchoResult, BenchError> {
        let Ends { sender, replies, .. } = &mut self.0;
        run_echo(plan, &mut (sender.clone(), REQUEST), replies).await
    }

    async fn bulk(&mut self, plan: BulkPlan) -> Result<BulkResult, BenchError> {
        let Ends { sender, reports, .. } = &mut self.0;
        // A count left from before would be in the way; the answer shows that it is gone.
        sender.send(REPORT, Bytes::from_static(&[0xc0])).await?;
        reports.recv().await.ok_or(BenchError::Ended)?;
        let report = async {
            sender.send(REPORT, Bytes::from_static(&[0xc0])).await?;
            decode_report(&reports.recv().await.ok_or(BenchError::Ended)?).map(Some)
        };
        run_bulk(plan, &mut (sender.clone(), DATA), report).await
    }
}
