//! A budget for HTTP/2 frames that carry no data, below the `h2` crate.
//!
//! ```text
//!   length u24 ‖ type u8 ‖ flags u8 ‖ stream u32 ‖ payload      only these 9 bytes of each frame are looked at
//!   PING, SETTINGS, PRIORITY, RST_STREAM, WINDOW_UPDATE, GOAWAY, CONTINUATION, unknown types, empty DATA: 1 each
//! ```
//! `h2` answers every PING and SETTINGS, which costs the sender 17 bytes and us a frame and a system call.
//! A peer has [`BURST`] such frames at once, and gets back [`PER_SECOND`]. Moving data earns more, one for
//! each [`EARNS`] bytes either way: Go's gRPC pings to measure its bandwidth while data moves, and gives windows back.
//! When the budget is used up nothing more is read, and whoever polls the connection is told to end it.
//!
//! Not protected from: many small DATA and HEADERS frames. Those are bounded by windows, message limits and
//! `max_concurrent_streams`.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Control frames that may come at once.
pub const BURST: u64 = 10_000;
/// Control frames given back each second.
pub const PER_SECOND: u64 = 500;
/// Bytes of data, sent or received, that earn one control frame.
pub const EARNS: u64 = 128;
/// The client's connection preface (RFC 9113, 3.4).
const PREFACE: u64 = 24;
const HEADER: usize = 9;

/// What is left of the budget; a pure count, time is passed in.
#[derive(Debug, Clone)]
struct Budget {
    /// Thousandths of a frame.
    left: u64,
    at: Instant,
}

impl Budget {
    fn new(now: Instant) -> Self {
        Self { left: BURST * 1_000, at: now }
    }

    fn earn(&mut self, thousandths: u64) {
        self.left = self.left.saturating_add(thousandths).min(BURST * 1_000);
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_millis();
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        // What is less than a millisecond counts the next time.
        self.at += Duration::from_millis(passed);
        self.earn(passed.saturating_mul(PER_SECOND));
    }

    /// Whether there was one more.
    fn spend(&mut self, now: Instant) -> bool {
        self.refill(now);
        let Some(left) = self.left.checked_sub(1_000) else { return false };
        self.left = left;
        true
    }
}

/// Walks over frames without keeping them.
#[derive(Debug, Clone)]
struct Walk {
    /// Bytes to pass over before the next header.
    skip: u64,
    header: [u8; HEADER],
    filled: usize,
}

impl Walk {
    fn new(preface: bool) -> Self {
        Self { skip: if preface { PREFACE } else { 0 }, header: [0; HEADER], filled: 0 }
    }

    /// Passes over `bytes`; false when the budget is used up.
    fn pass(&mut self, mut bytes: &[u8], budget: &mut Budget) -> bool {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let step = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
                bytes = bytes.get(step..).unwrap_or_default();
                self.skip -= step as u64;
                continue;
            }
            let step = (HEADER - self.filled).min(bytes.len());
            let (taken, rest) = bytes.split_at_checked(step).unwrap_or((bytes, &[]));
            if let Some(slot) = self.header.get_mut(self.filled..self.filled + step) {
                slot.copy_from_slice(taken);
            }
            self.filled += step;
            bytes = rest;
            if self.filled < HEADER {
                continue;
            }
            self.filled = 0;
            let [a, b, c, kind, ..] = self.header;
            let len = u32::from_be_bytes([0, a, b, c]);
            self.skip = u64::from(len);
            // DATA with bytes in it earns; HEADERS are judged elsewhere.
            match kind {
                0 if len > 0 => budget.earn(u64::from(len) * 1_000 / EARNS),
                1 => {}
                // The clock is asked only where it counts.
                _ if !budget.spend(Instant::now()) => return false,
                _ => {}
            }
        }
        true
    }
}

/// A connection whose control frames are counted.
#[derive(Debug)]
pub struct Counted<T> {
    io: T,
    walk: Walk,
    budget: Budget,
    flooded: bool,
    tell: Arc<Notify>,
}

impl<T> Counted<T> {
    /// Counts what comes in on `io`; `preface` on the accepting side. The `Notify` gets a permit when it is too much.
    pub fn new(io: T, preface: bool) -> (Self, Arc<Notify>) {
        let tell = Arc::new(Notify::new());
        let (walk, budget) = (Walk::new(preface), Budget::new(Instant::now()));
        (Self { io, walk, budget, flooded: false, tell: Arc::clone(&tell) }, tell)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.flooded {
            // The connection is ended by whoever was told.
            return Poll::Pending;
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        let new = buf.filled().get(before..).unwrap_or_default();
        if !this.walk.pass(new, &mut this.budget) {
            this.flooded = true;
            this.tell.notify_one();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> Counted<T> {
    fn wrote(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(n)) = &written {
            self.budget.earn(*n as u64 * 1_000 / EARNS);
        }
        written
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
