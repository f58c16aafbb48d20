//! Bytes held, by whom: every message that waits in a lane, a reassembly or an inbox is on its peer's
//! ledger, and every peer's ledger is on the node's.
//!
//! When a cap is reached a sender waits (or is told `Full`), and a received message ends that one
//! session with [`crate::Reason::MemoryCap`]. Senders fill a ledger to [`SEND_SHARE`] of its cap only, so that
//! what waits to be sent never costs a session what it receives. A single message always fits into an empty
//! ledger, so that a cap below a channel's limit cannot block for ever. What has come of an incomplete frame counts when
//! it is more than one read's 64 KiB. Bytes inside sockets are not counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

/// What senders may fill of a cap, in quarters; the rest is for what is received.
pub const SEND_SHARE: usize = 3;

/// A counter of held bytes with a cap, below an optional parent.
#[derive(Debug)]
pub struct Ledger {
    held: AtomicUsize,
    cap: usize,
    parent: Option<Arc<Ledger>>,
    freed: Notify,
}

/// Which share of each cap a taker may use.
#[derive(Clone, Copy)]
enum Share {
    All,
    Sending,
}

impl Ledger {
    /// A ledger with a cap in bytes.
    #[must_use]
    pub fn new(cap: usize) -> Arc<Self> {
        Arc::new(Self { held: AtomicUsize::new(0), cap, parent: None, freed: Notify::new() })
    }

    /// A ledger below another: what it holds counts on both.
    #[must_use]
    pub fn child(self: &Arc<Self>, cap: usize) -> Arc<Self> {
        Arc::new(Self {
            held: AtomicUsize::new(0),
            cap,
            parent: Some(Arc::clone(self)),
            freed: Notify::new(),
        })
    }

    /// Bytes held now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// The cap in bytes.
    #[must_use]
    pub fn cap(&self) -> usize {
        self.cap
    }

    /// Takes `bytes` if they fit here and above.
    #[must_use]
    pub fn try_take(&self, bytes: usize) -> bool {
        self.claim(bytes, Share::All).is_ok()
    }

    /// Takes `bytes` if they fit into the senders' share here and above.
    #[must_use]
    pub fn try_take_to_send(&self, bytes: usize) -> bool {
        self.claim(bytes, Share::Sending).is_ok()
    }

    /// Takes `bytes`, or gives the ledger that is full.
    fn claim(&self, bytes: usize, share: Share) -> Result<(), &Self> {
        if bytes == 0 {
            return Ok(());
        }
        let cap = match share {
            Share::All => self.cap,
            Share::Sending => self.cap / 4 * SEND_SHARE,
        };
        let fits = |held: usize| {
            let sum = held.checked_add(bytes)?;
            (held == 0 || sum <= cap).then_some(sum)
        };
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).map_err(|_| self)?;
        let above = self.parent.as_ref().map_or(Ok(()), |parent| parent.claim(bytes, share));
        if above.is_err() {
            self.held.fetch_sub(bytes, Ordering::Relaxed);
            // Somebody may have found this ledger full in between: it was not.
            self.freed.notify_waiters();
        }
        above
    }

    /// Takes `bytes` to send, waiting for room in the senders' share. The caller bounds the wait.
    pub async fn take(&self, bytes: usize) {
        let mut full = match self.claim(bytes, Share::Sending) {
            Ok(()) => return,
            Err(full) => full,
        };
        loop {
            let freed = full.freed.notified();
            tokio::pin!(freed);
            // From here on nothing freed there is missed; what was freed before, the second try finds.
            freed.as_mut().enable();
            match self.claim(bytes, Share::Sending) {
                Ok(()) => return,
                Err(now) if std::ptr::eq(now, full) => freed.await,
                Err(other) => full = other,
            }
        }
    }

    /// Gives `bytes` back.
    pub fn give(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        self.freed.notify_waiters();
        if let Some(parent) = &self.parent {
            parent.give(bytes);
        }
    }
}

#[cfg(test)]
mod tests;
