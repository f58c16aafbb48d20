//! The writing side of a session: what the scheduler picks, encoded into one buffer, in one write.
//!
//! ```text
//!   control frames ─┐
//!   lanes ─ pick ───┴─▶ encoder ─▶ lent buffer ─▶ write, flush ─▶ socket        after the goodbye: close(reason)
//! ```
//!
//! A buffer is lent when there is something to write and goes back after it. Pongs and pings stand first in each write.
//!
//! Limits: [`BATCH_BYTES`] of messages (or one slice) a write; a write without progress for [`crate::wire::Rules::write_within`] ends
//! the session with [`Reason::WriteTimeout`].

use super::buffers::{self, TURN};
use super::outgoing::{BATCH_BYTES, Batch, Outgoing};
use super::pace::Pace;
use super::supervise::EndsWith;
use super::tap::{Flow, Seen, Tap};
use crate::reason::Reason;
use crate::switch::peer::{By, End, Peer};
use crate::wire::{Broken, EncodeError, Encoder, OutFrame, WriteHalf};
use bytes::BytesMut;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// How long a failed write waits for the reader to find the peer's goodbye, which tells more.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// The writer's state.
pub(crate) struct Writing {
    pub(crate) peer: Peer,
    pub(crate) outgoing: Arc<Outgoing>,
    pub(crate) encoder: Box<dyn Encoder>,
    pub(crate) writer: Box<dyn WriteHalf>,
    pub(crate) pace: Pace,
    /// How long a write may make no progress ([`crate::wire::Rules::write_within`]).
    pub(crate) write_within: Duration,
    pub(crate) tap: Option<Arc<dyn Tap>>,
}

/// Why a write did not go out.
enum Failed {
    Stuck,
    Broken(Broken),
}

/// Waits for a step of a write. Most are done at once and need no timer.
async fn progress<T>(
    within: Duration,
    mut step: impl FnMut(&mut Context<'_>) -> Poll<Result<T, Broken>>,
) -> Result<T, Failed> {
    if let Poll::Ready(done) = poll_fn(|cx| Poll::Ready(step(cx))).await {
        return done.map_err(Failed::Broken);
    }
    let done = tokio::time::timeout(within, poll_fn(step)).await;
    done.map_err(|_| Failed::Stuck)?.map_err(Failed::Broken)
}

impl Writing {
    /// Empties the lanes into the socket until the goodbye is said or the socket fails.
    pub(crate) async fn run(&mut self) {
        let _ends = EndsWith(self.peer.clone());
        let mut batch = Batch::default();
        // Until when messages wait for their turn; pings and pongs do not.
        let mut rest = None;
        // Bytes that left since this task last waited, or gave others a turn.
        let mut gone = 0;
        loop {
            let most = if rest.is_some() { 0 } else { self.pace.step(BATCH_BYTES) };
            self.outgoing.fill(&mut batch, &*self.encoder, most);
            if batch.is_empty() {
                gone = 0;
                batch.rest();
                let Some(until) = rest else {
                    self.outgoing.wake.notified().await;
                    continue;
                };
                tokio::select! {
                    biased;
                    // The goodbye, and what goes before it, is not held up.
                    _ = self.peer.ended() => (self.pace, rest) = (Pace::new(None), None),
                    () = tokio::time::sleep_until(until) => rest = None,
                    () = self.outgoing.wake.notified() => {}
                }
                continue;
            }
            let mut out = buffers::lend();
            let encoded = self.encode(&mut batch, &mut out);
            let leaving = batch.control.goodbye.take();
            if let Err(error) = encoded {
                self.peer.end(End {
                    reason: Reason::LocalFault,
                    by: By::Us,
                    detail: Some(error.to_string()),
                });
                break;
            }
            let written = out.len();
            match self.write(&mut out).await {
                Ok(()) => {}
                Err(Failed::Stuck) => {
                    self.peer.end(End { reason: Reason::WriteTimeout, by: By::Us, detail: None });
                    break;
                }
                Err(Failed::Broken(broken)) => {
                    let _ = tokio::time::timeout(LAST_WORDS, self.peer.ended()).await;
                    self.peer.end(broken.into());
                    break;
                }
            }
            rest = self.pace.moved(written, Instant::now());
            buffers::take_back(out);
            if let Some(reason) = leaving {
                let _ = poll_fn(|cx| self.writer.poll_close(cx, &reason)).await;
                break;
            }
            gone += written;
            if batch.more && gone >= TURN {
                gone = 0;
                // The system takes all we give it. A task that was given room to send would wait until this one waits, and
                // its urgent message with it.
                tokio::task::yield_now().await;
            }
        }
    }

    /// Writes all of `out`.
    async fn write(&mut self, out: &mut BytesMut) -> Result<(), Failed> {
        let Self { writer, peer, write_within, .. } = self;
        while !out.is_empty() {
            let n = progress(*write_within, |cx| writer.poll_take(cx, out)).await?;
            peer.inner.stats.bytes_out.fetch_add(n as u64, Ordering::Relaxed);
        }
        progress(*write_within, |cx| writer.poll_flush(cx)).await
    }

    fn encode(&mut self, batch: &mut Batch, out: &mut BytesMut) -> Result<(), EncodeError> {
        let Self { peer, outgoing, encoder, writer, tap, .. } = self;
        // Given back first: whatever becomes of the encoder, nothing stays on the ledger.
        outgoing.sent(&batch.picks);
        let at = tap.as_ref().map(|_| Instant::now());
        let watch = |frame: Seen<'_>| {
            if let Some((tap, at)) = tap.as_ref().zip(at) {
                tap.frame(peer, Flow::Out, at, frame);
            }
        };
        if std::mem::take(&mut batch.control.pong) {
            watch(Seen::Pong);
            encoder.encode(OutFrame::Pong, out)?;
        }
        if std::mem::take(&mut batch.control.ping) {
            watch(Seen::Ping);
            encoder.encode(OutFrame::Ping, out)?;
            writer.ping();
        }
        for pick in batch.picks.drain(..) {
            let (wire_id, data, last) = (pick.wire_id, &pick.data[..], pick.last);
            watch(Seen::Data { wire_id, data, last });
            encoder.encode(OutFrame::Data { wire_id, data, last }, out)?;
        }
        if let Some(reason) = &batch.control.goodbye {
            watch(Seen::Goodbye(reason));
            encoder.encode(OutFrame::Goodbye(reason), out)?;
        }
        encoder.finish(out)
    }
}
