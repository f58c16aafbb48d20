//! One gRPC stream as an ordinary reader and writer.
//!
//! ```text
//!   reader ◀─ DATA frames, window given back as bytes are read        writer ─▶ DATA frames, as the peer's window allows
//!   shutdown: a server ends with trailers `grpc-status: 0`, a client with END_STREAM
//! ```
//! Limits: what is read waits in HTTP/2's window ([`STREAM_WINDOW`]), nothing is read ahead here. A task drives the
//! connection; it ends when both halves are gone, within [`DRIVER_LINGER`].

use crate::grpc::STATUS_OK;
use bytes::{Buf, Bytes};
use h2::{RecvStream, SendStream};
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
/// How long a finished connection is driven on, to get its last frames out.
pub const DRIVER_LINGER: Duration = Duration::from_secs(1);

/// Ends the connection's task when the last holder is gone.
#[derive(Debug, Clone)]
pub struct DriverGuard(#[allow(dead_code)] Arc<watch::Sender<()>>);

/// A guard and the signal of its end.
#[must_use]
pub fn driver_guard() -> (DriverGuard, watch::Receiver<()>) {
    let (tx, rx) = watch::channel(());
    (DriverGuard(Arc::new(tx)), rx)
}

/// Resolves when every [`DriverGuard`] is gone.
pub async fn released(mut guard: watch::Receiver<()>) {
    while guard.changed().await.is_ok() {}
}

fn broken(error: h2::Error) -> io::Error {
    if error.is_io() {
        return error.into_io().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into());
    }
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}

/// Reads a stream's data.
pub struct StreamReader {
    recv: RecvStream,
    chunk: Bytes,
    guard: DriverGuard,
}

impl StreamReader {
    /// A reader; `chunk` is data that was taken off already.
    #[must_use]
    pub fn new(recv: RecvStream, chunk: Bytes, guard: DriverGuard) -> Self {
        Self { recv, chunk, guard }
    }
}

impl AsyncRead for StreamReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.chunk.is_empty() {
            match ready!(self.recv.poll_data(cx)) {
                Some(Ok(chunk)) => {
                    let _ = self.recv.flow_control().release_capacity(chunk.len());
                    self.chunk = chunk;
                }
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let n = self.chunk.len().min(buf.remaining());
        buf.put_slice(self.chunk.get(..n).unwrap_or_default());
        self.chunk.advance(n);
        let _ = &self.guard;
        Poll::Ready(Ok(()))
    }
}

/// Writes a stream's data.
pub struct StreamWriter {
    send: SendStream<Bytes>,
    server: bool,
    ended: bool,
    guard: DriverGuard,
}

impl StreamWriter {
    /// A writer; a server's ends with trailers.
    #[must_use]
    pub fn new(send: SendStream<Bytes>, server: bool, guard: DriverGuard) -> Self {
        Self { send, server, ended: false, guard }
    }

    /// Sends the first message, whatever the peer's window: it is small.
    pub(crate) fn send_first(&mut self, data: Bytes) -> Result<(), h2::Error> {
        self.send.send_data(data, false)
    }

    /// Ends the stream; a server's with this status.
    pub(crate) fn end_with(&mut self, status: u32) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        // An error means the stream has ended already.
        let _ = if self.server {
            self.send.send_trailers(crate::grpc::trailers(status))
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
        self.send.reserve_capacity(buf.len());
        loop {
            match ready!(self.send.poll_capacity(cx)) {
                Some(Ok(0)) => {}
                Some(Ok(n)) => {
                    let n = n.min(buf.len());
                    let data = Bytes::copy_from_slice(buf.get(..n).unwrap_or_default());
                    self.send.send_data(data, false).map_err(broken)?;
                    let _ = &self.guard;
                    return Poll::Ready(Ok(n));
                }
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection's task writes as soon as there is something to write.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end_with(STATUS_OK);
        Poll::Ready(Ok(()))
    }
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        self.end_with(STATUS_OK);
    }
}
