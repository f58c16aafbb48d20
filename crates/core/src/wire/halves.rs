//! The two halves of an established connection, and how each of them ends.
//!
//! ```text
//!   ReadHalf    poll_read  ─▶ Read::Bytes │ Read::Pong │ Read::Over(End)      or the Fault of the peer
//!   WriteHalf   poll_write, poll_flush ─▶ done          or Broken::Over(End) │ Broken::Fault
//!               poll_close(reason)     ─▶ says why, where the transport has words for it
//! ```
//!
//! Every byte stream of tokio is a half: it ends with [`Reason::RemoteClosed`] or [`Reason::NetworkError`], and closes
//! without giving a reason. A wire whose transport has more to say (a status at the end of a stream, a ping of its own)
//! implements the two traits itself.
//!
//! Limits: a half keeps no lent buffer between calls. The session bounds how long a call may wait.

use super::Fault;
use crate::reason::Reason;
use crate::switch::peer::{By, End};
use crate::text::printable;
use bytes::{Buf, BytesMut};
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

/// What a read gave.
#[derive(Debug)]
pub enum Read {
    /// So many bytes were appended, at least one.
    Bytes(usize),
    /// The answer to [`WriteHalf::ping`] came, on a transport with pings of its own.
    Pong,
    /// Nothing more will come, and this is why.
    Over(End),
}

/// Why nothing more can be written.
#[derive(Debug)]
pub enum Broken {
    /// The peer broke a rule of the transport.
    Fault(Fault),
    /// The connection is over.
    Over(End),
}

impl From<Broken> for End {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Fault(fault) => Self::from(&fault),
            Broken::Over(end) => end,
        }
    }
}

impl From<&Fault> for End {
    fn from(fault: &Fault) -> Self {
        let detail = Some(printable(&fault.detail.to_string()));
        Self { reason: fault.reason.clone(), by: By::Us, detail }
    }
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fault(fault) => fault.fmt(f),
            Self::Over(end) => f.write_str(end.detail.as_deref().unwrap_or(end.reason.code())),
        }
    }
}

/// The end that an IO error means: the peer is gone without a word, or the network is to blame.
#[must_use]
pub fn io_end(error: &io::Error) -> End {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let (reason, by) = match error.kind() {
        ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof => (Reason::RemoteClosed, By::Peer),
        _ => (Reason::NetworkError, By::Network),
    };
    End { reason, by, detail: Some(printable(&error.to_string())) }
}

/// The reading half.
pub trait ReadHalf: Send + Sync {
    /// Appends up to `most` bytes to the free room of `buf`. A buffer lent to a call that answers `Pending` is not used
    /// after it.
    ///
    /// # Errors
    /// [`Fault`] when the peer broke a rule of the transport: the session ends with its reason.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut BytesMut,
        most: usize,
    ) -> Poll<Result<Read, Fault>>;
}

/// The writing half.
pub trait WriteHalf: Send + Sync {
    /// Takes some of `data`; answers how many bytes, at least one.
    ///
    /// # Errors
    /// [`Broken`] when nothing more can be written.
    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, Broken>>;

    /// The same for bytes the caller gives up: what was taken is gone from the front of `data`. A transport that queues what it
    /// takes keeps them without a copy.
    ///
    /// # Errors
    /// [`Broken`] when nothing more can be written.
    fn poll_take(&mut self, cx: &mut Context<'_>, data: &mut BytesMut) -> Poll<Result<usize, Broken>> {
        let n = ready!(self.poll_write(cx, data))?;
        data.advance(n.min(data.len()));
        Poll::Ready(Ok(n))
    }

    /// Sends what was taken and is held back.
    ///
    /// # Errors
    /// [`Broken`] when nothing more can be written.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>>;

    /// Ends our side. A transport with words for it says why.
    ///
    /// # Errors
    /// [`Broken`] when it was over already.
    fn poll_close(&mut self, cx: &mut Context<'_>, why: &Reason) -> Poll<Result<(), Broken>>;

    /// Sends the transport's own ping, where it has one; [`Read::Pong`] is the answer. Wires that ping by a frame of their
    /// own do nothing here.
    fn ping(&mut self) {}
}

impl<T: AsyncRead + Send + Sync + Unpin> ReadHalf for T {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut BytesMut,
        most: usize,
    ) -> Poll<Result<Read, Fault>> {
        let mut limited = AsyncReadExt::take(&mut *self, most as u64);
        let read = pin!(limited.read_buf(buf));
        Poll::Ready(Ok(match ready!(read.poll(cx)) {
            Ok(0) => Read::Over(End { reason: Reason::RemoteClosed, by: By::Peer, detail: None }),
            Ok(n) => Read::Bytes(n),
            Err(error) => Read::Over(io_end(&error)),
        }))
    }
}

fn over(error: io::Error) -> Broken {
    Broken::Over(io_end(&error))
}

impl<T: AsyncWrite + Send + Sync + Unpin> WriteHalf for T {
    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, Broken>> {
        Poll::Ready(match ready!(Pin::new(self).poll_write(cx, data)) {
            Ok(0) => Err(over(io::ErrorKind::WriteZero.into())),
            other => other.map_err(over),
        })
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Pin::new(self).poll_flush(cx).map_err(over)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, _: &Reason) -> Poll<Result<(), Broken>> {
        Pin::new(self).poll_shutdown(cx).map_err(over)
    }
}

/// Writes all of `data` and flushes.
pub(crate) async fn write_all(half: &mut dyn WriteHalf, data: &[u8]) -> Result<(), Broken> {
    let mut rest = data;
    while !rest.is_empty() {
        let n = poll_fn(|cx| half.poll_write(cx, rest)).await?;
        rest = rest.get(n..).unwrap_or_default();
    }
    poll_fn(|cx| half.poll_flush(cx)).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Error, ErrorKind};
    use tokio::io::AsyncWriteExt;

    #[test]
    fn who_broke_a_connection() {
        for (error, reason, by) in [
            (Error::from(ErrorKind::ConnectionReset), Reason::RemoteClosed, By::Peer),
            (ErrorKind::UnexpectedEof.into(), Reason::RemoteClosed, By::Peer),
            (ErrorKind::HostUnreachable.into(), Reason::NetworkError, By::Network),
        ] {
            let end = io_end(&error);
            assert_eq!((end.reason, end.by), (reason, by), "{error}");
        }
        let end = End::from(Broken::Fault(Fault::breach("rule", "said\nso")));
        assert_eq!(
            (end.reason, end.by, end.detail.as_deref()),
            (Reason::Breach("rule"), By::Us, Some("said\\u{a}so"))
        );
    }

    #[tokio::test]
    async fn a_byte_stream_is_a_half() {
        let (mut ours, mut theirs) = tokio::io::duplex(8);
        let mut buf = BytesMut::with_capacity(64);
        theirs.write_all(b"12345").await.unwrap();
        let read = poll_fn(|cx| ReadHalf::poll_read(&mut ours, cx, &mut buf, 3)).await.unwrap();
        assert!(matches!(read, Read::Bytes(3)) && buf == b"123"[..], "no more than was asked for");
        let mut half: Box<dyn WriteHalf> = Box::new(ours);
        half.ping();
        write_all(&mut *half, b"words").await.unwrap();
        poll_fn(|cx| half.poll_close(cx, &Reason::Quitting)).await.unwrap();
        buf.clear();
        let read = poll_fn(|cx| ReadHalf::poll_read(&mut theirs, cx, &mut buf, usize::MAX)).await.unwrap();
        assert!(matches!(read, Read::Bytes(5)), "{read:?}");
        let read = poll_fn(|cx| ReadHalf::poll_read(&mut theirs, cx, &mut buf, usize::MAX)).await.unwrap();
        assert!(matches!(read, Read::Over(End { reason: Reason::RemoteClosed, .. })), "{read:?}");
    }
}
