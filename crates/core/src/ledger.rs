//! Bytes held, by whom: every message that waits in a lane, a reassembly or an inbox is on its peer's
//! ledger, and every peer's ledger is on the node's.
//!
//! When a cap is reached a sender waits (or is told `Full`), and a received message ends that one
//! session with [`crate::Reason::MemoryCap`]. A single message always fits into an empty ledger, so that a cap below a
//! channel's limit cannot block for ever. Bytes inside sockets and codecs are not counted: those are
//! bounded by the codecs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

/// A counter of held bytes with a cap, below an optional parent.
#[derive(Debug)]
pub struct Ledger {
    held: AtomicUsize,
    cap: usize,
    parent: Option<Arc<Ledger>>,
    freed: Notify,
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
        let fits = |held: usize| (held == 0 || held.saturating_add(bytes) <= self.cap).then(|| held + bytes);
        if self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_err() {
            return false;
        }
        if self.parent.as_ref().is_some_and(|parent| !parent.try_take(bytes)) {
            self.held.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// Takes `bytes`, waiting for room. The caller bounds the wait.
    pub async fn take(&self, bytes: usize) {
        loop {
            let here = self.freed.notified();
            let above = async {
                match &self.parent {
                    Some(parent) => parent.freed.notified().await,
                    None => std::future::pending().await,
                }
            };
            tokio::pin!(here, above);
            here.as_mut().enable();
            if self.try_take(bytes) {
                return;
            }
            tokio::select! {
                () = here => {}
                () = above => {}
                // A freed() between the check and the wait above is caught by this re-check.
                () = tokio::time::sleep(std::time::Duration::from_millis(20)) => {}
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
