//! The metrics of all peers, and the JSON they are saved as.
//!
//! ```text
//! { "<id, 40 hex digits>": { "intervals": n, "history": [0.0 to 1.0, …] }, … }
//! ```
//! (tendermint v0.34 p2p/trust/store.go; there under the key `trustMetricStore` of a database)

use super::metric::{Config, History, Metric};
use crate::key::NodeId;
use std::collections::BTreeMap;
use tokio::time::Instant;

/// Peers remembered.
pub const MAX_PEERS: usize = 4_096;
/// Longest text read.
pub const MAX_TEXT: usize = 4 << 20;
/// Intervals made up for at once after a pause of the whole process.
const MAX_CATCH_UP: u32 = 60;

/// Bytes that are no saved metrics: a local fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("these are no trust metrics in JSON: {0}; start without them")]
pub struct CorruptMetrics(String);

/// The metrics of all peers.
#[derive(Debug, Clone)]
pub struct Store {
    config: Config,
    peers: BTreeMap<NodeId, Metric>,
    interval_ends: Instant,
}

impl Store {
    /// No peer is known.
    #[must_use]
    pub fn new(config: Config, now: Instant) -> Self {
        Self { interval_ends: now + config.interval, config, peers: BTreeMap::new() }
    }

    /// Reads saved metrics; all peers are away. Those with a key that is no ID are left out.
    ///
    /// # Errors
    /// When it is not such JSON.
    pub fn from_json(config: Config, text: &[u8], now: Instant) -> Result<Self, CorruptMetrics> {
        if text.len() > MAX_TEXT {
            return Err(CorruptMetrics(format!("{} bytes", text.len())));
        }
        let saved: BTreeMap<String, History> = serde_json::from_slice(text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            CorruptMetrics(format!("{:?} error at line {line} column {column}", error.classify()))
        })?;
        let mut store = Self::new(config, now);
        for (key, history) in &saved {
            let Some(id) = NodeId::parse(key) else { continue };
            let mut metric = Metric::with_history(&config, history);
            metric.pause();
            store.peers.insert(id, metric);
            store.make_room(&id);
        }
        Ok(store)
    }

    /// The text to save.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let all: BTreeMap<String, History> =
            self.peers.iter().map(|(id, metric)| (id.to_string(), metric.history())).collect();
        serde_json::to_vec(&all).unwrap_or_default()
    }

    /// Peers remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Whether no peer is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// Things went as they should with a peer.
    pub fn good(&mut self, id: &NodeId, events: u32) {
        self.metric(id).good(events);
        self.make_room(id);
    }

    /// Things did not.
    pub fn bad(&mut self, id: &NodeId, events: u32) {
        self.metric(id).bad(events);
        self.make_room(id);
    }

    /// The peer is away: its metric stands still.
    pub fn disconnected(&mut self, id: &NodeId) {
        if let Some(metric) = self.peers.get_mut(id) {
            metric.pause();
        }
    }

    /// What a peer is worth, 0.0 to 1.0; 1.0 when nothing is known.
    #[must_use]
    pub fn value(&self, id: &NodeId) -> f64 {
        self.peers.get(id).map_or(1.0, Metric::value)
    }

    /// What a peer is worth in percent.
    #[must_use]
    pub fn score(&self, id: &NodeId) -> u8 {
        self.peers.get(id).map_or(100, Metric::score)
    }

    /// Ends the intervals that are over.
    pub fn tick(&mut self, now: Instant) {
        for _ in 0..MAX_CATCH_UP {
            if now < self.interval_ends {
                return;
            }
            self.interval_ends += self.config.interval;
            self.peers.values_mut().for_each(Metric::next_interval);
        }
        self.interval_ends = now + self.config.interval;
    }

    fn metric(&mut self, id: &NodeId) -> &mut Metric {
        self.peers.entry(*id).or_insert_with(|| Metric::new(&self.config))
    }

    /// Forgets an eighth of the peers when there are too many: first those that are away, of these those worth
    /// the most. `kept` stays.
    fn make_room(&mut self, kept: &NodeId) {
        if self.peers.len() <= MAX_PEERS {
            return;
        }
        let rank = |(id, metric): (&NodeId, &Metric)| (!metric.paused(), 100 - metric.score(), *id);
        let mut order: Vec<_> = self.peers.iter().filter(|(id, _)| *id != kept).map(rank).collect();
        order.sort_unstable();
        for (_, _, id) in order.into_iter().take(MAX_PEERS / 8) {
            self.peers.remove(&id);
        }
    }
}
