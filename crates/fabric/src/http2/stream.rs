//! One gRPC stream as an ordinary reader and writer.
//!
//! ```text
//!   reader ◀─ DATA frames, window given back as bytes are read        writer ─▶ DATA frames, as the peer's window allows
//!   shutdown: a server ends with trailers `grpc-status: 0` (2 when the peer is at fault), a client with END_STREAM
//! ```
//! Limits: what is read waits in HTTP/2's window ([`STREAM_WINDOW`]), nothing is read ahead here. The connection is
//! polled (`connection.rs`) until both halves are gone, and then for up to [`LINGER`].

use super::connection::SharedConnection;
use super::verdict::{Verdict, broken};
use bytes::{Buf, Bytes};
use h2::{RecvStream, SendStream};
use parking_lot::Mutex;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

/// Bytes a peer may send ahead on a stream.
pub const STREAM_WINDOW: u32 = 4 << 20;
/// Bytes a peer may send ahead on a connection.
pub const CONNECTION_WINDOW: u32 = 8 << 20;
/// A write of up to this many bytes (a TLS record) goes into the socket at once.
const AT_ONCE: usize = 16 * 1024;
/// How long a finished connection is polled on, to get its last frames out.
pub const LINGER: Duration = Duration::from_secs(1);

/// Lets the connection end when the last holder is gone.
#[derive(Clone)]
pub struct ConnectionHandle {
    verdict: Verdict,
    connection: Arc<SharedConnection>,
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
    work: impl FnOnce(watch::Receiver<()>, Verdict) -> F,
) -> ConnectionHandle {
    let (held, signal) = watch::channel(());
    let verdict = Verdict::default();
    let connection = SharedConnection::spawn(work(signal, verdict.clone()));
    ConnectionHandle { verdict, connection, held: Arc::new(held) }
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

    /// How a stream without more data ended: by a refusal, if its trailers say that.
    fn ended(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Error>> {
        let Ok(Some(trailers)) = ready!(self.recv.poll_trailers(cx)) else { return Poll::Ready(None) };
        Poll::Ready(crate::grpc::call::dismissed(&trailers).map(io::Error::other))
    }
}

impl AsyncRead for StreamReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.chunk.is_empty() {
            let Self { recv, handle, .. } = &mut *self;
            let turn = handle.connection.turn();
            turn.work();
            if let Some(fault) = handle.verdict.fault() {
                return Poll::Ready(Err(io::Error::other(fault)));
            }
            let data = turn.read(cx, |cx| {
                let data = recv.poll_data(cx);
                if let Poll::Ready(Some(Ok(chunk))) = &data {
                    let _ = recv.flow_control().release_capacity(chunk.len());
                }
                data
            });
            match ready!(data) {
                Some(Ok(chunk)) => self.chunk = chunk,
                Some(Err(error)) => return Poll::Ready(Err(broken(error, self.handle.verdict()))),
                None => return self.ended(cx).map(|refused| refused.map_or(Ok(()), Err)),
            }
        }
        let n = self.chunk.len().min(buf.remaining());
        buf.put_slice(self.chunk.get(..n).unwrap_or_default());
        self.chunk.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl Drop for StreamReader {
    fn drop(&mut self) {
        self.handle.connection.detach();
    }
}

/// The status and sentence a server's stream will end with: 0 unless another is set.
#[derive(Debug, Clone, Default)]
pub struct Farewell(Arc<Mutex<(u32, String)>>);

impl Farewell {
    pub(crate) fn set(&self, status: u32, message: impl Into<String>) {
        *self.0.lock() = (status, message.into());
    }
}

/// Writes a stream's data.
pub struct StreamWriter {
    send: SendStream<Bytes>,
    farewell: Farewell,
    server: bool,
    ended: bool,
    handle: ConnectionHandle,
}

impl StreamWriter {
    /// A writer; a server's ends with trailers.
    #[must_use]
    pub fn new(send: SendStream<Bytes>, server: bool, handle: ConnectionHandle) -> Self {
        Self { send, farewell: Farewell::default(), server, ended: false, handle }
    }

    /// What it will end with.
    #[must_use]
    pub fn farewell(&self) -> &Farewell {
        &self.farewell
    }

    fn end(&mut self) {
        let (status, message) = self.farewell.0.lock().clone();
        self.end_with(status, &message);
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

impl AsyncWrite for StreamWriter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let Self { send, handle, .. } = &mut *self;
        let turn = handle.connection.turn();
        send.reserve_capacity(buf.len());
        loop {
            match ready!(send.poll_capacity(cx)) {
                Some(Ok(0)) => {}
                Some(Ok(n)) => {
                    let n = n.min(buf.len());
                    let data = Bytes::copy_from_slice(buf.get(..n).unwrap_or_default());
                    send.send_data(data, false).map_err(|error| broken(error, handle.verdict()))?;
                    // A large one goes out beside what is written next; a small one is on its way sooner like this.
                    if n <= AT_ONCE {
                        turn.work();
                    }
                    return Poll::Ready(Ok(n));
                }
                Some(Err(error)) => return Poll::Ready(Err(broken(error, handle.verdict()))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A write puts its bytes into the socket; what did not fit the connection writes as soon as it can.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end();
        Poll::Ready(Ok(()))
    }
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        self.end();
    }
}
