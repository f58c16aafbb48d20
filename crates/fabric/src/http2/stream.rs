//! One gRPC stream as the two halves of a session.
//!
//! ```text
//!   reader ◀─ DATA frames, window given back as bytes are read        writer ─▶ DATA frames, as the peer's window allows
//!          ◀─ trailers: the reason they end the session           close: a server says its reason in trailers,
//!          ◀─ PONG of HTTP/2                               PING            a client ends with END_STREAM
//! ```
//! Limits: what is read waits in HTTP/2's window ([`STREAM_WINDOW`]), nothing is read ahead here. The connection is
//! polled (`connection.rs`) until both halves are gone, and then for up to [`LINGER`].

use super::connection::SharedConnection;
use super::serve::SHUTTING_DOWN;
use super::verdict::{Verdict, broken};
use crate::grpc::{
    STATUS_OK, STATUS_PERMISSION_DENIED, STATUS_UNAUTHENTICATED, STATUS_UNAVAILABLE, STATUS_UNKNOWN,
    take_front,
};
use bytes::{Buf, Bytes, BytesMut};
use h2::{RecvStream, SendStream};
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use switchboard::wire::{Broken, Fault, Read, ReadHalf, WriteHalf, io_end};
use switchboard::{By, End, Reason};
use tokio::sync::watch;

/// Bytes a peer may send ahead on a stream.
pub const STREAM_WINDOW: u32 = 4 << 20;
/// Bytes a peer may send ahead on a connection.
pub const CONNECTION_WINDOW: u32 = 8 << 20;
/// A write of up to this many bytes, which is many small messages, goes into the socket at once: to hand it to the reader's task costs
/// more than what that could do beside.
const AT_ONCE: usize = 64 * 1024;
/// What is handed on at a time where a buffer has less room.
const LEAST_READ: usize = 4096;
/// How long a finished connection is polled on, to get its last frames out.
pub const LINGER: Duration = Duration::from_secs(1);

/// Lets the connection end when the last holder is gone.
#[derive(Clone)]
pub struct ConnectionHandle {
    verdict: Verdict,
    connection: Arc<SharedConnection>,
    pings: Pings,
    #[allow(dead_code)] // held for its drop
    held: Arc<watch::Sender<()>>,
}

impl ConnectionHandle {
    /// The connection's verdict.
    #[must_use]
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }
}

impl std::fmt::Debug for ConnectionHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectionHandle").field("verdict", &self.verdict).finish_non_exhaustive()
    }
}

/// Polls a connection in a task of its own: `work` is given the signal that nobody holds it any more, and where to say what it found.
#[must_use]
pub(crate) fn spawn<F: Future<Output = ()> + Send + 'static>(
    pings: Pings,
    work: impl FnOnce(watch::Receiver<()>, Verdict) -> F,
) -> ConnectionHandle {
    let (held, signal) = watch::channel(());
    let verdict = Verdict::default();
    let connection = SharedConnection::spawn(work(signal, verdict.clone()));
    ConnectionHandle { verdict, connection, pings, held: Arc::new(held) }
}

/// Reads a stream's data.
pub struct StreamReader {
    recv: RecvStream,
    chunk: Bytes,
    handle: ConnectionHandle,
}

impl StreamReader {
    /// A reader; `chunk` is data that was taken off already.
    #[must_use]
    pub fn new(recv: RecvStream, chunk: Bytes, handle: ConnectionHandle) -> Self {
        Self { recv, chunk, handle }
    }

    /// How a stream without more data ended: with the reason in its trailers, if they name one.
    fn ended(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let trailers = ready!(self.recv.poll_trailers(cx)).ok().flatten();
        let said = trailers.and_then(|trailers| crate::grpc::call::dismissed(&trailers));
        Poll::Ready(said.unwrap_or(End { reason: Reason::RemoteClosed, by: By::Peer, detail: None }))
    }
}

/// What a turn of the connection gave the reader.
enum Came {
    Data(Option<Result<Bytes, h2::Error>>),
    Pong,
}

impl ReadHalf for StreamReader {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut BytesMut,
        most: usize,
    ) -> Poll<Result<Read, Fault>> {
        while self.chunk.is_empty() {
            let Self { recv, handle, .. } = &mut *self;
            let turn = handle.connection.turn();
            turn.work();
            if let Some(fault) = handle.verdict.fault() {
                return Poll::Ready(Err(fault));
            }
            let came = turn.read(cx, |cx| {
                if handle.pings.poll_pong(cx) {
                    return Poll::Ready(Came::Pong);
                }
                let data = ready!(recv.poll_data(cx));
                if let Some(Ok(chunk)) = &data {
                    let _ = recv.flow_control().release_capacity(chunk.len());
                }
                Poll::Ready(Came::Data(data))
            });
            match ready!(came) {
                Came::Pong => return Poll::Ready(Ok(Read::Pong)),
                Came::Data(Some(Ok(chunk))) => self.chunk = chunk,
                Came::Data(Some(Err(error))) => {
                    return Poll::Ready(match broken(error, handle.verdict()) {
                        Broken::Fault(fault) => Err(fault),
                        Broken::Over(end) => Ok(Read::Over(end)),
                    });
                }
                Came::Data(None) => return self.ended(cx).map(|end| Ok(Read::Over(end))),
            }
        }
        let room = (buf.capacity() - buf.len()).max(LEAST_READ);
        let n = self.chunk.len().min(room).min(most);
        buf.extend_from_slice(self.chunk.get(..n).unwrap_or_default());
        self.chunk.advance(n);
        Poll::Ready(Ok(Read::Bytes(n)))
    }
}

impl Drop for StreamReader {
    fn drop(&mut self) {
        self.handle.connection.detach();
    }
}

/// What the end of a server's stream says of its reason: a status and a sentence, which a Go peer logs. `None` where the
/// peer ended it, or the connection did: nobody reads what is said.
fn farewell(why: &Reason) -> Option<(u32, String)> {
    let status = match why {
        Reason::Requested | Reason::Quitting => return Some((STATUS_UNAVAILABLE, SHUTTING_DOWN.to_owned())),
        Reason::InvalidIdentity => STATUS_UNAUTHENTICATED,
        Reason::TooManyPeers | Reason::AlreadyConnected | Reason::AccessDenied => STATUS_PERMISSION_DENIED,
        Reason::RemoteClosed | Reason::NetworkError => return None,
        _ => STATUS_UNKNOWN,
    };
    Some((status, why.to_string()))
}

/// Writes a stream's data.
pub struct StreamWriter {
    send: SendStream<Bytes>,
    server: bool,
    ended: bool,
    handle: ConnectionHandle,
}

impl StreamWriter {
    /// A writer; a server's ends with trailers.
    #[must_use]
    pub fn new(send: SendStream<Bytes>, server: bool, handle: ConnectionHandle) -> Self {
        Self { send, server, ended: false, handle }
    }

    /// Sends the first message, whatever the peer's window: it is small.
    pub(crate) fn send_first(&mut self, data: Bytes) -> Result<(), h2::Error> {
        self.send.send_data(data, false)
    }

    /// Ends the stream; a server's with this status and sentence.
    pub(crate) fn end_with(&mut self, status: u32, message: &str) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        // An error means the stream has ended already.
        let _ = if self.server {
            self.send.send_trailers(crate::grpc::trailers(status, message))
        } else {
            self.send.send_data(Bytes::new(), true)
        };
    }
}

impl StreamWriter {
    /// Hands over as much of `len` bytes as the peer's window has room for: `data` gives so many from the front.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        len: usize,
        data: impl FnOnce(usize) -> Bytes,
    ) -> Poll<Result<usize, Broken>> {
        let Self { send, handle, .. } = self;
        let turn = handle.connection.turn();
        send.reserve_capacity(len);
        loop {
            match ready!(send.poll_capacity(cx)) {
                Some(Ok(0)) => {}
                Some(Ok(n)) => {
                    let n = n.min(len);
                    send.send_data(data(n), false).map_err(|error| broken(error, handle.verdict()))?;
                    // A large one goes out beside what is written next; a small one is on its way sooner like this.
                    if n <= AT_ONCE {
                        turn.work();
                    }
                    return Poll::Ready(Ok(n));
                }
                Some(Err(error)) => return Poll::Ready(Err(broken(error, handle.verdict()))),
                None => return Poll::Ready(Err(Broken::Over(io_end(&io::ErrorKind::BrokenPipe.into())))),
            }
        }
    }
}

impl WriteHalf for StreamWriter {
    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, Broken>> {
        self.poll_send(cx, data.len(), |n| Bytes::copy_from_slice(data.get(..n).unwrap_or_default()))
    }

    /// A small message is copied, so that the session's buffer can serve again; the bytes of a large one are handed on.
    fn poll_take(&mut self, cx: &mut Context<'_>, data: &mut BytesMut) -> Poll<Result<usize, Broken>> {
        self.poll_send(cx, data.len(), |n| take_front(data, n))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        // A write puts its bytes into the socket; what did not fit the connection writes as soon as it can.
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, _: &mut Context<'_>, why: &Reason) -> Poll<Result<(), Broken>> {
        let (status, message) = farewell(why).unwrap_or_default();
        self.end_with(status, &message);
        Poll::Ready(Ok(()))
    }

    fn ping(&mut self) {
        let turn = self.handle.connection.turn();
        self.handle.pings.ping();
        turn.work();
    }
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        self.end_with(STATUS_OK, "");
    }
}

/// The pings of a connection: sent by the writer, their answers found by the reader.
#[derive(Clone)]
pub(crate) struct Pings(Arc<Mutex<Option<h2::PingPong>>>);

impl Pings {
    pub(crate) fn new(pings: Option<h2::PingPong>) -> Self {
        Self(Arc::new(Mutex::new(pings)))
    }

    /// Sends one, unless one is out.
    fn ping(&self) {
        if let Some(pings) = &mut *self.0.lock() {
            let _ = pings.send_ping(h2::Ping::opaque());
        }
    }

    /// Whether an answer came; else the task is woken when one does.
    fn poll_pong(&self, cx: &mut Context<'_>) -> bool {
        let mut pings = self.0.lock();
        let Some(pings) = &mut *pings else { return false };
        // An error means that the connection is over: its own task finds out why.
        matches!(pings.poll_pong(cx), Poll::Ready(Ok(_)))
    }
}
