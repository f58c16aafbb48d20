//! Bytes held, by whom: every message that waits in a lane, a reassembly or an inbox is on its peer's
//! ledger, and every peer's ledger is on the node's. So is what services keep for peers without a session.
//!
//! ```text
//!   node  ────────── cap ──────────┐        above 7/8 of it: the holder of most is told to end
//!    ├─ peer  ── cap ──┐           │        (Reason::MemoryCap); the others go on
//!    ├─ peer  ── cap ──┴ lanes, reassembly, inboxes
//!    └─ service ─ cap ── what waits for one peer
//! ```
//!
//! What is counted is what the process holds: a buffer counts by its capacity, not by the bytes in it. Not counted are
//! one read buffer of 64 KiB a session, while it is being read, one such buffer for each inbox whose first message
//! came in it, and bytes inside sockets.
//!
//! When a peer's own cap is reached, a sender waits (or is told `Full`), and a received message ends that one session with
//! [`crate::Reason::MemoryCap`]. Senders fill a ledger to [`SEND_SHARE`] of its cap only, so that messages that wait to be sent
//! never leave a session without room to receive. While the node's ledger is full, each peer can still send within its part
//! of the last eighth. When received bytes fill the node's ledger above [`PRESSURE`], the peer that holds most is told to
//! end, one at a time. The other peers use the eighth above until its bytes are back.
//! A single message always fits into an empty ledger, so that a cap below a channel's limit cannot block for ever.
//!
//! This does not protect from many peers that each hold little: slots bound how many there are.

use parking_lot::Mutex;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Weak};
use tokio::sync::Notify;

/// What senders may fill of a cap, in quarters; the rest is for what is received.
pub const SEND_SHARE: usize = 3;
/// What may be filled of a shared cap, in eighths, before the largest holder is told to end.
pub const PRESSURE: usize = 7;

/// A counter of held bytes with a cap, below an optional parent.
#[derive(Debug)]
pub struct Ledger {
    held: AtomicUsize,
    cap: usize,
    parent: Option<Arc<Ledger>>,
    freed: Notify,
    /// Senders that wait for room: without any, nobody is told of it.
    waiting: AtomicUsize,
    /// Those below it, in the order they came.
    children: Mutex<Vec<Weak<Ledger>>>,
    /// It held most when the ledger above came under pressure.
    told: AtomicBool,
    tell: Notify,
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
        Arc::new(Self::made(cap, None))
    }

    fn made(cap: usize, parent: Option<Arc<Self>>) -> Self {
        Self {
            held: AtomicUsize::new(0),
            cap,
            parent,
            freed: Notify::new(),
            waiting: AtomicUsize::new(0),
            children: Mutex::default(),
            told: AtomicBool::new(false),
            tell: Notify::new(),
        }
    }

    /// A ledger below another: what it holds counts on both.
    #[must_use]
    pub fn child(self: &Arc<Self>, cap: usize) -> Arc<Self> {
        let child = Arc::new(Self::made(cap, Some(Arc::clone(self))));
        let mut children = self.children.lock();
        children.retain(|child| child.strong_count() > 0);
        children.push(Arc::downgrade(&child));
        child
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

    /// Takes `bytes` if they fit here and above. Under pressure above, whoever holds most is told to end; it gets nothing.
    #[must_use]
    pub fn try_take(&self, bytes: usize) -> bool {
        if bytes == 0 {
            return true;
        }
        if self.claim(bytes, Share::All).is_err() {
            return false;
        }
        let Some(parent) = &self.parent else { return true };
        if parent.held() <= parent.cap / 8 * PRESSURE || parent.press(self) {
            return true;
        }
        self.give(bytes);
        false
    }

    /// What each child has of the eighth above [`PRESSURE`].
    fn reserve(&self) -> usize {
        self.cap / 8 / self.children.lock().len().max(1)
    }

    /// Tells the child that holds most to end, unless one that was told still holds bytes. Whether `taker` goes on.
    fn press(&self, taker: &Self) -> bool {
        let children: Vec<_> = self.children.lock().iter().filter_map(Weak::upgrade).collect();
        let mut most: Option<&Arc<Self>> = None;
        let mut holders = 0;
        for child in children.iter().filter(|child| child.held() > 0) {
            if child.told.load(Ordering::Relaxed) {
                // Its bytes are on their way back.
                return Arc::as_ptr(child) != std::ptr::from_ref(taker);
            }
            holders += 1;
            if most.is_none_or(|most| child.held() > most.held()) {
                most = Some(child);
            }
        }
        // A peer that is alone with its bytes keeps to the cap only.
        let Some(most) = most.filter(|_| holders > 1) else { return true };
        most.told.store(true, Ordering::Relaxed);
        most.tell.notify_one();
        Arc::as_ptr(most) != std::ptr::from_ref(taker)
    }

    /// Resolves when this holder is told to end. It is told once: a holder that goes on after giving its bytes back does so on a new
    /// child.
    pub async fn told(&self) {
        while !self.told.load(Ordering::Relaxed) {
            self.tell.notified().await;
        }
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
        let above = self.parent.as_ref().map_or(Ok(()), |parent| match share {
            Share::All => parent.claim(bytes, share),
            // A holder of no more than its part of the last eighth can always send: others cannot block it.
            Share::Sending => {
                parent.claim(bytes, share).or_else(|full| match self.held() <= parent.reserve() {
                    true => parent.claim(bytes, Share::All),
                    false => Err(full),
                })
            }
        });
        if above.is_err() {
            self.held.fetch_sub(bytes, Ordering::Relaxed);
            // Somebody may have found this ledger full in between: it was not.
            self.tell_freed();
        }
        above
    }

    /// Takes `bytes` to send if they fit, until the claim is dropped.
    #[must_use]
    pub fn claim_to_send(self: &Arc<Self>, bytes: usize) -> Option<Claim> {
        self.try_take_to_send(bytes).then(|| Claim::of(Arc::clone(self), bytes))
    }

    /// Takes `bytes` to send, waiting for room in the senders' share. The caller bounds the wait.
    pub async fn take(&self, bytes: usize) {
        let mut full = match self.claim(bytes, Share::Sending) {
            Ok(()) => return,
            Err(full) => full,
        };
        loop {
            let _waits = Waits::on(full);
            let freed = full.freed.notified();
            tokio::pin!(freed);
            // From here on nothing freed there is missed; what was freed before, the second try finds.
            freed.as_mut().enable();
            fence(Ordering::SeqCst);
            match self.claim(bytes, Share::Sending) {
                Ok(()) => return,
                Err(now) if std::ptr::eq(now, full) => freed.await,
                Err(other) => full = other,
            }
        }
    }

    /// Something was given back. Whoever waits has counted itself before it looks at what is held, and this looks at the count after what
    /// is held has changed: one of the two sees the other.
    fn tell_freed(&self) {
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.freed.notify_waiters();
        }
    }

    /// Gives `bytes` back.
    pub fn give(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        self.tell_freed();
        if let Some(parent) = &self.parent {
            parent.give(bytes);
        }
    }
}

/// A sender that waits for room on a ledger, until it is dropped.
struct Waits<'a>(&'a Ledger);

impl<'a> Waits<'a> {
    fn on(ledger: &'a Ledger) -> Self {
        ledger.waiting.fetch_add(1, Ordering::SeqCst);
        Self(ledger)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Bytes on a ledger until it is dropped. `L` is how it has the ledger: its own share of it, or borrowed.
#[derive(Debug)]
pub struct Claim<L: Deref<Target = Ledger> = Arc<Ledger>> {
    ledger: L,
    bytes: usize,
}

impl<L: Deref<Target = Ledger>> Claim<L> {
    /// Takes over bytes that are on the ledger already.
    pub(super) fn of(ledger: L, bytes: usize) -> Self {
        Self { ledger, bytes }
    }

    /// Somebody else gives the bytes back.
    pub(super) fn hand_over(&mut self) {
        self.bytes = 0;
    }
}

impl<L: Deref<Target = Ledger>> Drop for Claim<L> {
    fn drop(&mut self) {
        self.ledger.give(self.bytes);
    }
}

#[cfg(test)]
mod tests;
