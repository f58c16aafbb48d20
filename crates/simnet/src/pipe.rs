//! One direction of one connection: a byte stream whose bytes arrive when their path says so.
//!
//! ```text
//!   poll_write ─▶ segment (≤ 16 KiB), arrival set by the path ─▶ queue ─▶ poll_read, not before the arrival
//! ```
//!
//! Limits: bytes written and not yet read are at most the link's buffer; beyond it the writer waits.
//! Closing is a segment of its own and arrives after all bytes. A reset is seen by both ends at once and drops what was
//! on its way. When both halves of the reading end are gone, writing fails as on a closed socket.

use crate::audit::Auditor;
use crate::link::SEGMENT;
use crate::path::{self, Path};
use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

pub(crate) struct Pipe {
    state: Mutex<State>,
    path: Arc<Path>,
    from: SocketAddr,
    to: SocketAddr,
    auditor: Arc<Auditor>,
    /// Virtual time is counted from here.
    start: Instant,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Segment>,
    /// Bytes written and not yet read.
    held: usize,
    /// Arrivals keep their order.
    last: Option<Instant>,
    closed: bool,
    reset: bool,
    deaf: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

struct Segment {
    /// Empty for the close.
    data: Bytes,
    /// `None` while the path is cut.
    arrival: Option<Instant>,
    counted: bool,
}

impl State {
    fn push(&mut self, path: &mut path::State, data: Bytes) -> Option<Waker> {
        let arrival = self.arrival(path, data.len());
        self.held += data.len();
        self.queue.push_back(Segment { data, arrival, counted: false });
        if self.queue.len() == 1 { self.reader.take() } else { None }
    }

    fn arrival(&mut self, path: &mut path::State, len: usize) -> Option<Instant> {
        let at = path.arrival(len, Instant::now())?;
        let at = self.last.map_or(at, |last| at.max(last));
        self.last = Some(at);
        Some(at)
    }
}

impl Pipe {
    pub(crate) fn new(
        path: &Arc<Path>,
        from: SocketAddr,
        to: SocketAddr,
        auditor: &Arc<Auditor>,
        start: Instant,
    ) -> Arc<Self> {
        let (path_, auditor, state) = (Arc::clone(path), Arc::clone(auditor), Mutex::default());
        let pipe = Arc::new(Self { state, path: path_, from, to, auditor, start });
        path.add(&pipe);
        pipe
    }

    /// The path was cut: what has not arrived waits.
    pub(crate) fn hold(&self, now: Instant) {
        let mut state = self.state.lock();
        state.last = None;
        for segment in &mut state.queue {
            if segment.arrival.is_some_and(|at| at > now) {
                segment.arrival = None;
            }
        }
    }

    /// The path healed: what waited departs.
    pub(crate) fn release(&self, path: &mut path::State) -> Option<Waker> {
        let mut state = self.state.lock();
        let mut queue = std::mem::take(&mut state.queue);
        for segment in queue.iter_mut().filter(|segment| segment.arrival.is_none()) {
            segment.arrival = state.arrival(path, segment.data.len());
        }
        state.queue = queue;
        state.reader.take()
    }

    /// The connection breaks.
    pub(crate) fn reset(&self) {
        let wakers = {
            let mut state = self.state.lock();
            state.reset = true;
            state.queue.clear();
            [state.reader.take(), state.writer.take()]
        };
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// The end that reads is gone.
    fn deafen(&self) {
        let waker = {
            let mut state = self.state.lock();
            state.deaf = true;
            state.queue.clear();
            state.writer.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    fn close(&self) {
        let waker = {
            let mut path = self.path.state.lock();
            let mut state = self.state.lock();
            if state.closed || state.reset || state.deaf {
                return;
            }
            state.closed = true;
            state.push(&mut path, Bytes::new())
        };
        waker.into_iter().for_each(Waker::wake);
    }

    fn write(&self, cx: &Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let (waker, written) = {
            let mut path = self.path.state.lock();
            let mut state = self.state.lock();
            if state.reset {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            if state.closed || state.deaf {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let room = path.link.buffer.saturating_sub(state.held);
            if room == 0 && !bytes.is_empty() {
                state.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let now = bytes.get(..room.min(SEGMENT)).unwrap_or(bytes);
            if now.is_empty() {
                return Poll::Ready(Ok(0));
            }
            (state.push(&mut path, Bytes::copy_from_slice(now)), now.len())
        };
        waker.into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(written))
    }

    fn read(&self, cx: &Context<'_>, out: &mut ReadBuf<'_>) -> Read {
        let now = Instant::now();
        let mut state = self.state.lock();
        if state.reset {
            return Read::Broken;
        }
        let before = out.filled().len();
        let next = loop {
            if out.remaining() == 0 {
                break None;
            }
            let Some(segment) = state.queue.front_mut() else { break Some(None) };
            let Some(at) = segment.arrival else { break Some(None) };
            if at > now {
                break Some(Some(at));
            }
            if segment.data.is_empty() {
                break None;
            }
            if !std::mem::replace(&mut segment.counted, true) {
                self.auditor.delivered(now - self.start, self.from, self.to, &segment.data);
            }
            let n = segment.data.len().min(out.remaining());
            out.put_slice(segment.data.get(..n).unwrap_or_default());
            segment.data.advance(n);
            if segment.data.is_empty() {
                state.queue.pop_front();
            }
            state.held -= n;
        };
        if out.filled().len() > before {
            let waker = state.writer.take();
            drop(state);
            return Read::Some(waker);
        }
        match next {
            None => Read::Some(None),
            Some(wait) => {
                state.reader = Some(cx.waker().clone());
                Read::Wait(wait)
            }
        }
    }
}

/// What a look into the queue gave.
enum Read {
    /// Bytes, or the end; and the writer that has room now.
    Some(Option<Waker>),
    /// Nothing yet: until then, or until woken.
    Wait(Option<Instant>),
    Broken,
}

/// Both halves of one end. When the last goes, the other side's writing fails.
struct End {
    incoming: Arc<Pipe>,
}

impl Drop for End {
    fn drop(&mut self) {
        self.incoming.deafen();
    }
}

/// The two halves of one end of a connection.
pub(crate) fn halves(incoming: &Arc<Pipe>, outgoing: &Arc<Pipe>) -> (ReadHalf, WriteHalf) {
    let end = Arc::new(End { incoming: Arc::clone(incoming) });
    let reader = ReadHalf { pipe: Arc::clone(incoming), timer: None, _end: Arc::clone(&end) };
    (reader, WriteHalf { pipe: Arc::clone(outgoing), _end: end })
}

pub(crate) struct ReadHalf {
    pipe: Arc<Pipe>,
    timer: Option<Pin<Box<Sleep>>>,
    _end: Arc<End>,
}

impl AsyncRead for ReadHalf {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            match self.pipe.read(cx, out) {
                Read::Some(writer) => {
                    writer.into_iter().for_each(Waker::wake);
                    return Poll::Ready(Ok(()));
                }
                Read::Broken => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                Read::Wait(None) => return Poll::Pending,
                Read::Wait(Some(at)) => {
                    let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
                    if timer.deadline() != at {
                        timer.as_mut().reset(at);
                    }
                    std::task::ready!(timer.as_mut().poll(cx));
                }
            }
        }
    }
}

pub(crate) struct WriteHalf {
    pipe: Arc<Pipe>,
    _end: Arc<End>,
}

impl AsyncWrite for WriteHalf {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.pipe.write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pipe.close();
        Poll::Ready(Ok(()))
    }
}

impl Drop for WriteHalf {
    fn drop(&mut self) {
        self.pipe.close();
    }
}
