//! One gRPC stream as an ordinary reader and writer.
//!
//! ```text
//!   reader ◀─ DATA frames, window given back as bytes are read        writer ─▶ DATA frames, as the peer's window allows
//!   shutdown: a server ends with trailers `grpc-status: 0` (2 when the peer is at fault), a client with END_STREAM
//! ```
//! Limits: what is read waits in HTTP/2's window ([`STREAM_WINDOW`]), nothing is read ahead here. The connection is
//! driven (`driver.rs`) until both halves are gone, and then for up to [`DRIVER_LINGER`].
//!
//! What breaks is the network's doing or the peer's. Only who drives the connection sees which; a [`Verdict`] keeps it,
//! and reads and writes that fail give it as a [`Fault`].

use crate::driver::Driver;
use bytes::{Buf, Bytes};
use h2::{RecvStream, SendStream};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use switchboard::Reason;
use switchboard::wire::Fault;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

/// Bytes a peer may send ahead on a stream.
pub const STREAM_WINDOW: u32 = 4 << 20;
/// Bytes a peer may send ahead on a connection.
pub const CONNECTION_WINDOW: u32 = 8 << 20;
/// A write of up to this many bytes (a TLS record) goes into the socket at once.
const AT_ONCE: usize = 16 * 1024;
/// How long a finished connection is driven on, to get its last frames out.
pub const DRIVER_LINGER: Duration = Duration::from_secs(1);

/// Why we gave a connection up, if it is not that it ended or broke. The first that is given counts.
#[derive(Debug, Clone, Default)]
pub struct Verdict(Arc<OnceLock<(Reason, String)>>);

impl Verdict {
    pub(crate) fn give(&self, reason: Reason, detail: impl Into<String>) {
        // Whatever else is found is a consequence.
        let _ = self.0.set((reason, detail.into()));
    }

    /// Gives what is the peer's fault in an error, if anything is.
    pub(crate) fn judge(&self, error: &h2::Error) {
        if let Some(rule) = rule_broken(error) {
            self.give(Reason::Breach(rule), error.to_string());
        }
    }

    /// What was given.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        let (reason, detail) = self.0.get()?;
        Some(Fault { reason: reason.clone(), detail: detail.as_str().into() })
    }
}

/// Which layer's rules the peer broke, where an error says that.
pub(crate) fn rule_broken(error: &h2::Error) -> Option<&'static str> {
    let garbled = |e: &io::Error| e.kind() == io::ErrorKind::InvalidData && !is_alert(e);
    match error.get_io() {
        Some(error) => garbled(error).then_some("TLS"),
        None => error.is_library().then_some("HTTP/2"),
    }
}

/// Whether TLS says that the peer gave the connection up; HTTP/2 hands on no more than its words.
pub(crate) fn is_alert(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData && error.to_string().starts_with("received fatal alert")
}

/// Lets the connection end when the last holder is gone.
#[derive(Clone)]
pub struct DriverGuard {
    verdict: Verdict,
    driver: Arc<Driver>,
    #[allow(dead_code)] // held for its drop
    held: Arc<watch::Sender<()>>,
}

impl DriverGuard {
    /// The connection's verdict.
    #[must_use]
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }
}

impl std::fmt::Debug for DriverGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DriverGuard").field("verdict", &self.verdict).finish_non_exhaustive()
    }
}

/// Drives a connection: `work` is given the signal that nobody holds it any more, and where to say what it found.
#[must_use]
pub(crate) fn drive<F: Future<Output = ()> + Send + 'static>(
    work: impl FnOnce(watch::Receiver<()>, Verdict) -> F,
) -> DriverGuard {
    let (held, signal) = watch::channel(());
    let verdict = Verdict::default();
    let driver = Driver::spawn(work(signal, verdict.clone()));
    DriverGuard { verdict, driver, held: Arc::new(held) }
}

/// Resolves when every [`DriverGuard`] is gone.
pub(crate) async fn released(mut guard: watch::Receiver<()>) {
    while guard.changed().await.is_ok() {}
}

/// The connection's own error, if it is one.
pub(crate) fn io_of(error: h2::Error) -> Option<io::Error> {
    let error = error.into_io()?;
    // An end within a frame has no kind of its own there.
    let cut = error.kind() == io::ErrorKind::Other && error.to_string() == "bytes remaining on stream";
    Some(if cut { io::Error::new(io::ErrorKind::UnexpectedEof, error) } else { error })
}

fn broken(error: h2::Error, verdict: &Verdict) -> io::Error {
    verdict.judge(&error);
    if let Some(fault) = verdict.fault() {
        return io::Error::other(fault);
    }
    if !error.is_io() || error.get_io().is_some_and(is_alert) {
        return io::Error::new(io::ErrorKind::ConnectionReset, error);
    }
    io_of(error).unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())
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
            let Self { recv, guard, .. } = &mut *self;
            let turn = guard.driver.turn();
            turn.work();
            let data = turn.read(cx, |cx| {
                let data = recv.poll_data(cx);
                if let Poll::Ready(Some(Ok(chunk))) = &data {
                    let _ = recv.flow_control().release_capacity(chunk.len());
                }
                data
            });
            match ready!(data) {
                Some(Ok(chunk)) => self.chunk = chunk,
                Some(Err(error)) => return Poll::Ready(Err(broken(error, self.guard.verdict()))),
                None => return Poll::Ready(Ok(())),
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
        self.guard.driver.detach();
    }
}

/// The status a server's stream will end with: 0 unless another is set.
#[derive(Debug, Clone, Default)]
pub struct Farewell(Arc<AtomicU32>);

impl Farewell {
    pub(crate) fn set(&self, status: u32) {
        self.0.store(status, Ordering::Relaxed);
    }
}

/// Writes a stream's data.
pub struct StreamWriter {
    send: SendStream<Bytes>,
    farewell: Farewell,
    server: bool,
    ended: bool,
    guard: DriverGuard,
}

impl StreamWriter {
    /// A writer; a server's ends with trailers.
    #[must_use]
    pub fn new(send: SendStream<Bytes>, server: bool, guard: DriverGuard) -> Self {
        Self { send, farewell: Farewell::default(), server, ended: false, guard }
    }

    /// What it will end with.
    #[must_use]
    pub fn farewell(&self) -> &Farewell {
        &self.farewell
    }

    fn end(&mut self) {
        let status = self.farewell.0.load(Ordering::Relaxed);
        self.end_with(status);
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
        let Self { send, guard, .. } = &mut *self;
        let turn = guard.driver.turn();
        send.reserve_capacity(buf.len());
        loop {
            match ready!(send.poll_capacity(cx)) {
                Some(Ok(0)) => {}
                Some(Ok(n)) => {
                    let n = n.min(buf.len());
                    let data = Bytes::copy_from_slice(buf.get(..n).unwrap_or_default());
                    send.send_data(data, false).map_err(|error| broken(error, guard.verdict()))?;
                    // A large one goes out beside what is written next; a small one is on its way sooner like this.
                    if n <= AT_ONCE {
                        turn.work();
                    }
                    return Poll::Ready(Ok(n));
                }
                Some(Err(error)) => return Poll::Ready(Err(broken(error, guard.verdict()))),
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
