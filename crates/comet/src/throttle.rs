//! Readers and writers held to a [`FlowRate`]: they wait instead of moving bytes, so that TCP pushes back
//! on the peer (reading) or on our own send queues (writing).
//!
//! Limits: a write that waits counts against the core's write timeout of 20 s; a sample lasts 100 ms, so
//! only a rate of a few bytes a second comes near it.

use crate::flow_rate::{Allowance, FlowRate};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use switchboard::net::{BoxRead, BoxWrite};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// The waiting shared by both directions.
struct Pace {
    rate: FlowRate,
    start: Instant,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    fn new(rate: u64) -> Self {
        Self { rate: FlowRate::new(rate), start: Instant::now(), waiting: None }
    }

    fn poll(&mut self, want: usize, cx: &mut Context<'_>) -> Poll<usize> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                ready!(waiting.as_mut().poll(cx));
                self.waiting = None;
            }
            match self.rate.allowance(self.start.elapsed(), want) {
                Allowance::Bytes(bytes) => return Poll::Ready(bytes),
                Allowance::NotBefore(then) => {
                    self.waiting = Some(Box::pin(sleep_until(self.start + then)));
                }
            }
        }
    }

    fn moved(&mut self, bytes: usize) {
        self.rate.moved(self.start.elapsed(), bytes);
    }
}

struct SlowRead {
    inner: BoxRead,
    pace: Pace,
}

/// Holds a reader to `rate` bytes a second; 0 leaves it alone.
#[must_use]
pub fn limit_read(inner: BoxRead, rate: u64) -> BoxRead {
    if rate == 0 { inner } else { Box::new(SlowRead { inner, pace: Pace::new(rate) }) }
}

impl AsyncRead for SlowRead {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let want = buf.remaining();
        if want == 0 {
            return Poll::Ready(Ok(()));
        }
        let allowed = ready!(self.pace.poll(want, cx));
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(allowed.min(want)));
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut part))?;
        let read = part.filled().len();
        buf.advance(read);
        self.pace.moved(read);
        Poll::Ready(Ok(()))
    }
}

struct SlowWrite {
    inner: BoxWrite,
    pace: Pace,
}

/// Holds a writer to `rate` bytes a second; 0 leaves it alone.
#[must_use]
pub fn limit_write(inner: BoxWrite, rate: u64) -> BoxWrite {
    if rate == 0 { inner } else { Box::new(SlowWrite { inner, pace: Pace::new(rate) }) }
}

impl AsyncWrite for SlowWrite {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let allowed = ready!(self.pace.poll(buf.len(), cx));
        let part = buf.get(..allowed).unwrap_or(buf);
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, part))?;
        self.pace.moved(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
