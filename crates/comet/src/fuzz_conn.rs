//! A connection that misbehaves on purpose: late, or with holes.
//!
//! ```text
//! Delay   each read and each write waits 0 to max_delay first
//! Drop    each read and each write: with p(drop_rw) the bytes vanish; else with p(drop_conn) the connection is
//!         gone; else with p(sleep) as Delay
//! ```
//! (cometbft p2p/fuzz.go, config `FuzzConnConfig`)
//!
//! Before `start_after` has passed it does nothing, so that a handshake can succeed.
//!
//! Where this differs from the Go code: `max_delay` is what it says (there, nanoseconds divided by 1,000 are taken as
//! milliseconds, so 3 s become 50 minutes); a dropped read takes bytes away and a dropped write says that all went
//! well (there, a read of nothing is only repeated, and a write of nothing is an error of the writer). A hole
//! in the stream is what the secure channel must notice.
//!
//! Randomness is a generator that the caller gives, so a run can be repeated. For tests and trials, not for a node
//! that should work.

use crate::pex::unit;
use rand::Rng;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Everything is late.
    Delay,
    /// Bytes vanish.
    Drop,
}

/// How much goes wrong. Probabilities are 0.0 to 1.0.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct FuzzConfig {
    /// What goes wrong.
    pub mode: Mode,
    /// Longest delay.
    pub max_delay: Duration,
    /// That a read or write vanishes.
    pub drop_rw: f64,
    /// That the connection does.
    pub drop_conn: f64,
    /// That a read or write is late.
    pub sleep: f64,
    /// How long all is well.
    pub start_after: Duration,
}

impl FuzzConfig {
    /// Changes some of it.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

impl Default for FuzzConfig {
    /// The Go code's (cometbft config/config.go `DefaultFuzzConnConfig`; p2p/peer.go begins after 10 s).
    fn default() -> Self {
        Self {
            mode: Mode::Drop,
            max_delay: Duration::from_secs(3),
            drop_rw: 0.2,
            drop_conn: 0.0,
            sleep: 0.0,
            start_after: Duration::from_secs(10),
        }
    }
}

/// What happens to one read or write.
#[derive(Debug)]
enum Fate {
    Pass,
    Vanish,
    Late(Pin<Box<Sleep>>),
}

/// A connection that misbehaves.
#[derive(Debug)]
pub struct FuzzedConnection<T, R> {
    /// `None` once it was dropped.
    inner: Option<T>,
    config: FuzzConfig,
    rng: R,
    start: Instant,
    read: Option<Fate>,
    write: Option<Fate>,
}

impl<T, R: Rng> FuzzedConnection<T, R> {
    /// Wraps a connection. Needs a runtime with timers.
    pub fn new(inner: T, config: FuzzConfig, rng: R) -> Self {
        let start = Instant::now() + config.start_after;
        Self { inner: Some(inner), config, rng, start, read: None, write: None }
    }

    /// Draws what happens to the next read or write; the connection may be gone afterwards.
    fn draw(&mut self) -> Fate {
        if Instant::now() < self.start {
            return Fate::Pass;
        }
        let FuzzConfig { mode, drop_rw, drop_conn, sleep, .. } = self.config;
        if mode == Mode::Delay {
            return self.late();
        }
        let drawn = unit(&mut self.rng);
        if drawn < drop_rw {
            Fate::Vanish
        } else if drawn < drop_rw + drop_conn {
            self.inner = None;
            Fate::Vanish
        } else if drawn < drop_rw + drop_conn + sleep {
            self.late()
        } else {
            Fate::Pass
        }
    }

    fn late(&mut self) -> Fate {
        Fate::Late(Box::pin(sleep(self.config.max_delay.mul_f64(unit(&mut self.rng)))))
    }

    /// Whether the bytes of this read or write pass; the fate stays until the operation has ended.
    fn poll_fate(&mut self, cx: &mut Context<'_>, which: Which) -> Poll<bool> {
        let mut fate = match which {
            Which::Read => self.read.take(),
            Which::Write => self.write.take(),
        }
        .unwrap_or_else(|| self.draw());
        if let Fate::Late(timer) = &mut fate {
            if timer.as_mut().poll(cx).is_pending() {
                self.keep(which, Some(fate));
                return Poll::Pending;
            }
            fate = Fate::Pass;
        }
        let passes = matches!(fate, Fate::Pass);
        self.keep(which, Some(fate));
        Poll::Ready(passes)
    }

    fn keep(&mut self, which: Which, fate: Option<Fate>) {
        match which {
            Which::Read => self.read = fate,
            Which::Write => self.write = fate,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Which {
    Read,
    Write,
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the fuzzed connection was dropped")
}

impl<T: AsyncRead + Unpin, R: Rng + Unpin> AsyncRead for FuzzedConnection<T, R> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            let passes = ready!(this.poll_fate(cx, Which::Read));
            let before = buf.filled().len();
            let Some(inner) = this.inner.as_mut() else { return Poll::Ready(Err(gone())) };
            ready!(Pin::new(inner).poll_read(cx, buf))?;
            this.read = None;
            // The end of the stream, or a buffer without room, is told as it is.
            if passes || buf.filled().len() == before {
                return Poll::Ready(Ok(()));
            }
            buf.set_filled(before);
        }
    }
}

impl<T: AsyncWrite + Unpin, R: Rng + Unpin> AsyncWrite for FuzzedConnection<T, R> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let passes = ready!(this.poll_fate(cx, Which::Write));
        let Some(inner) = this.inner.as_mut() else { return Poll::Ready(Err(gone())) };
        let result = if passes { ready!(Pin::new(inner).poll_write(cx, bytes)) } else { Ok(bytes.len()) };
        this.write = None;
        Poll::Ready(result)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut().inner.as_mut() {
            Some(inner) => Pin::new(inner).poll_flush(cx),
            None => Poll::Ready(Err(gone())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut().inner.as_mut() {
            Some(inner) => Pin::new(inner).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}

#[cfg(test)]
mod tests;
