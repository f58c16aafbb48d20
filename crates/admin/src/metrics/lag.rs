//! How late the runtime's tasks come to run: a task that sleeps for a moment and looks how much longer it was.

use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// How long it sleeps.
const EVERY: Duration = Duration::from_millis(500);
/// Upper bounds in seconds.
pub(super) const BOUNDS: [f64; 8] = [0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0];

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    counts: [u64; BOUNDS.len() + 1],
    sum: f64,
}

/// What it saw. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Lag(Arc<Mutex<Seen>>);

impl Lag {
    /// Watches until stopped.
    pub(crate) async fn watch(self, mut stopped: watch::Receiver<bool>) {
        loop {
            let due = Instant::now() + EVERY;
            tokio::select! {
                _ = stopped.changed() => return,
                () = sleep(EVERY) => self.note(Instant::now().saturating_duration_since(due)),
            }
        }
    }

    fn note(&self, late: Duration) {
        let late = late.as_secs_f64();
        let mut seen = self.0.lock();
        let place = BOUNDS.iter().position(|bound| late <= *bound).unwrap_or(BOUNDS.len());
        if let Some(count) = seen.counts.get_mut(place) {
            *count += 1;
        }
        seen.sum += late;
    }

    /// The sum, and each bucket with its bound.
    pub(super) fn buckets(&self) -> (f64, Vec<(f64, u64)>) {
        let seen = *self.0.lock();
        let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
        (seen.sum, bounds.zip(seen.counts).collect())
    }
}
