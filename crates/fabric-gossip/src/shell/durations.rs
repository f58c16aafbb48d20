//! How long the work of a channel took, in the buckets that Fabric's histograms have.
//!
//! Fabric measures each phase of a block's way by itself (gossip/metrics/metrics.go). `validation_duration` has no counterpart: here
//! transactions are not validated, that is the endorser's. [`Durations::state_commit`] counts groups of blocks, as they are committed.

use std::time::Duration;

/// Upper bounds of the buckets, in milliseconds: those of Prometheus' own client, which Fabric leaves as they are.
pub const BOUNDS_MS: [u64; 11] = [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000];

/// How often something took how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Times {
    /// How often it was within each of [`BOUNDS_MS`] and over the one before; the last is beyond all.
    pub counts: [u64; BOUNDS_MS.len() + 1],
    /// How long it took, together.
    pub sum: Duration,
}

impl Times {
    /// Counts one.
    pub fn add(&mut self, took: Duration) {
        let over = |bound: &&u64| took > Duration::from_millis(**bound);
        let bucket = BOUNDS_MS.iter().take_while(over).count();
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.sum = self.sum.saturating_add(took);
    }

    /// How often.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The buckets, each with its upper bound in seconds.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = BOUNDS_MS.into_iter().map(|millis| millis as f64 / 1e3).chain([f64::INFINITY]);
        bounds.zip(self.counts)
    }
}

/// What is measured of a channel; Fabric's names are `gossip_state_commit_duration` and `gossip_privdata_*_duration`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Durations {
    /// From blocks that are next to their place on the disk.
    pub state_commit: Times,
    /// Finding out which private data blocks need and which of it is at hand.
    pub list_missing: Times,
    /// Gathering what was not at hand.
    pub fetch: Times,
    /// Writing blocks with their private data.
    pub commit_block: Times,
    /// Purging the transient store.
    pub purge: Times,
    /// Sending a private set to a peer, until it acknowledged.
    pub send: Times,
    /// A pass of the reconciler.
    pub reconciliation: Times,
    /// Pulling private data from peers for blocks that are next.
    pub pull: Times,
    /// Reading private data that a peer asked for.
    pub retrieve: Times,
}

impl Durations {
    /// All of them, with the part of Fabric's name before `_duration`.
    #[must_use]
    pub fn named(&self) -> [(&'static str, Times); 9] {
        [
            ("state_commit", self.state_commit),
            ("privdata_list_missing", self.list_missing),
            ("privdata_fetch", self.fetch),
            ("privdata_commit_block", self.commit_block),
            ("privdata_purge", self.purge),
            ("privdata_send", self.send),
            ("privdata_reconciliation", self.reconciliation),
            ("privdata_pull", self.pull),
            ("privdata_retrieve", self.retrieve),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_fall_into_their_buckets() {
        let mut times = Times::default();
        for millis in [0, 5, 6, 10_000, 10_001, 3_600_000] {
            times.add(Duration::from_millis(millis));
        }
        assert_eq!(times.count(), 6);
        assert_eq!(times.sum, Duration::from_millis(5 + 6 + 10_000 + 10_001 + 3_600_000));
        let told: Vec<_> = times.buckets().filter(|(_, count)| *count > 0).collect();
        assert_eq!(told, [(0.005, 2), (0.01, 1), (10.0, 1), (f64::INFINITY, 2)]);
    }
}
