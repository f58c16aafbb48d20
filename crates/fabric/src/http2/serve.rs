//! The work of a connection: calls answered, pings sent, and its end.

use super::flood::Counted;
use super::stream::{CONNECTION_WINDOW, ConnectionHandle, LINGER, Pings, STREAM_WINDOW, spawn};
use super::verdict::{Verdict, h2_failed};
use crate::grpc::call::{answer, answer_ping, is_grpc, not_grpc};
use crate::grpc::{PING_PATH, STATUS_UNAVAILABLE, STATUS_UNIMPLEMENTED, STREAM_PATH};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use h2::RecvStream;
use h2::server::SendResponse;
use http::Request;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use switchboard::wire::HandshakeError;
use switchboard::{BoxFuture, Reason};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::timeout;

/// Streams a peer may have open on one connection.
pub const MAX_STREAMS: u32 = 16;
/// Largest header list.
const MAX_HEADERS: u32 = 16 * 1024;
/// What a call that comes too late is told.
pub(crate) const SHUTTING_DOWN: &str = "shutting down";
const FLOOD: &str = "HTTP/2 flood";

/// What a connection runs over.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static> Stream for T {}

/// A GossipStream that was opened to us.
pub(crate) type Opened = (Request<RecvStream>, SendResponse<Bytes>);

/// Resolves, with the reason and a sentence, when the peer of a running session may not stay.
pub(crate) type Standing = BoxFuture<'static, (Reason, String)>;

/// Where the standing of a connection's peer is put, once it is known who that is.
pub(crate) type StandingSlot = oneshot::Sender<Standing>;

/// What ends the work of a connection, other than the connection itself.
enum Ends {
    /// Nobody holds it any more.
    Released,
    /// Too many frames without data came.
    Flooded,
}

/// Waits for what ends the work. A peer that may not stay gets its verdict: the reader finds it and ends the session, with a
/// status that says why.
async fn ends(
    mut handles: watch::Receiver<()>,
    flooded: Arc<Notify>,
    standing: oneshot::Receiver<Standing>,
    verdict: Verdict,
) -> Ends {
    let lost = lost(standing);
    tokio::pin!(lost);
    let mut stands = true;
    loop {
        tokio::select! {
            biased;
            () = flooded.notified() => return Ends::Flooded,
            changed = handles.changed() => if changed.is_err() { return Ends::Released },
            (reason, why) = &mut lost, if stands => {
                stands = false;
                verdict.give(reason, why);
            }
        }
    }
}

/// `ends` as a stream, which polls it only after it was woken. The connection itself is polled for each message.
/// While it is polled its wake-ups go through the stream's own waker, and the stream wakes the connection's poller again after
/// each: the reader, which then finds the verdict.
fn watch_for<F: Future<Output = Ends>>(ends: F) -> FuturesUnordered<F> {
    [ends].into_iter().collect()
}

/// Waits for the slot to be filled, then for the standing to be lost.
async fn lost(slot: oneshot::Receiver<Standing>) -> (Reason, String) {
    match slot.await {
        Ok(standing) => standing.await,
        Err(_) => std::future::pending().await,
    }
}

/// A connection we accepted, whose task runs.
pub(crate) struct Accepted {
    pub(crate) handle: ConnectionHandle,
    /// Gives the one GossipStream; closes when the connection is over.
    pub(crate) opened: oneshot::Receiver<Opened>,
    /// Closes when the connection is over.
    pub(crate) over: oneshot::Receiver<Infallible>,
    pub(crate) standing: StandingSlot,
}

/// The HTTP/2 handshake of a connection we accepted.
pub(crate) async fn accepted<T: Stream>(io: T, ping_within: Duration) -> Result<Accepted, HandshakeError> {
    let (io, flooded) = Counted::new(io, true);
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADERS);
    let mut http2 = builder.handshake(io).await.map_err(h2_failed)?;
    let pings = Pings::new(http2.ping_pong());
    // Not a queue, however short: those have room for 32, which is 8 KiB of each session.
    let (stream, opened) = oneshot::channel();
    let (end, over) = oneshot::channel();
    let (slot, standing) = oneshot::channel();
    let server = Server { stream, end, flooded, ping_within, standing };
    let handle = spawn(pings, |released, verdict| server.run(http2, released, verdict));
    Ok(Accepted { handle, opened, over, standing: slot })
}

struct Server {
    stream: oneshot::Sender<Opened>,
    end: oneshot::Sender<Infallible>,
    flooded: Arc<Notify>,
    ping_within: Duration,
    standing: oneshot::Receiver<Standing>,
}

impl Server {
    /// Answers Pings, hands the first GossipStream on, refuses the rest.
    // A block rather than an async fn, which would keep its arguments twice.
    #[allow(clippy::manual_async_fn)]
    fn run<T: Stream>(
        self,
        mut http2: h2::server::Connection<T, Bytes>,
        released: watch::Receiver<()>,
        verdict: Verdict,
    ) -> impl Future<Output = ()> + Send {
        async move {
            let Self { stream, end: _end, flooded, ping_within, standing } = self;
            let mut stream = Some(stream);
            let mut watched = watch_for(ends(released, flooded, standing, verdict.clone()));
            loop {
                tokio::select! {
                    biased;
                    Some(ends) = watched.next() => match ends {
                        Ends::Released => break,
                        Ends::Flooded => {
                            verdict.give(Reason::Breach(FLOOD), "too many frames without data");
                            http2.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM);
                            return drop(timeout(LINGER, async { while let Some(Ok(_)) = http2.accept().await {} }).await);
                        }
                    },
                    accepted = http2.accept() => {
                        let (request, mut respond) = match accepted {
                            Some(Ok(opened)) => opened,
                            Some(Err(error)) => return verdict.judge(&error),
                            None => return,
                        };
                        match request.uri().path() {
                            _ if !is_grpc(&request) => not_grpc(&mut respond),
                            PING_PATH => drop(tokio::spawn(timeout(ping_within, answer_ping(request, respond)))),
                            STREAM_PATH => match stream.take() {
                                // The handshake may have timed out: then nobody waits.
                                Some(stream) => drop(stream.send((request, respond))),
                                None => respond.send_reset(h2::Reason::REFUSED_STREAM),
                            },
                            _ => answer(&mut respond, STATUS_UNIMPLEMENTED, "only gossip.Gossip is served here"),
                        }
                    }
                }
            }
            http2.graceful_shutdown();
            // A connection that broke gives its error for ever: that is its end too.
            let last = async {
                while let Some(Ok((_, mut respond))) = http2.accept().await {
                    answer(&mut respond, STATUS_UNAVAILABLE, SHUTTING_DOWN);
                }
            };
            let _ = timeout(LINGER, last).await;
        }
    }
}

/// The HTTP/2 handshake of a connection we dialled, and its task.
pub(crate) async fn dialled<T: Stream>(
    io: T,
) -> Result<(h2::client::SendRequest<Bytes>, ConnectionHandle, StandingSlot), HandshakeError> {
    let (io, flooded) = Counted::new(io, false);
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEADERS)
        .enable_push(false);
    let (requests, mut http2) = builder.handshake::<_, Bytes>(io).await.map_err(h2_failed)?;
    let pings = Pings::new(http2.ping_pong());
    let (slot, standing) = oneshot::channel();
    let handle = spawn(pings, |released, verdict| run_dialled(http2, released, verdict, flooded, standing));
    Ok((requests, handle, slot))
}

async fn run_dialled<T: Stream>(
    http2: h2::client::Connection<T, Bytes>,
    released: watch::Receiver<()>,
    verdict: Verdict,
    flooded: Arc<Notify>,
    standing: oneshot::Receiver<Standing>,
) {
    let mut watched = watch_for(ends(released, flooded, standing, verdict.clone()));
    tokio::pin!(http2);
    tokio::select! {
        biased;
        Some(ends) = watched.next() => match ends {
            Ends::Released => drop(timeout(LINGER, http2).await),
            Ends::Flooded => verdict.give(Reason::Breach(FLOOD), "too many frames without data"),
        },
        ended = &mut http2 => ended.unwrap_or_else(|error| verdict.judge(&error)),
    }
}
