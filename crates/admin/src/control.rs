//! What a node must offer to be administered: itself, and what only it can do.

use futures_util::Stream;
use serde_json::Value;
use std::pin::Pin;
use std::time::SystemTime;
use switchboard::{BoxFuture, Candidate, Peer, Switch};

/// Events as JSON objects, each with an `event` and a `time`. It ends with the node.
pub type EventStream = Pin<Box<dyn Stream<Item = Value> + Send>>;

/// What a node says of itself.
#[derive(Debug, Clone)]
pub struct About {
    /// `node`, `seed`, `bootnode`, `fabric-peer` or `fabric-observer`.
    pub role: &'static str,
    /// Its version.
    pub version: &'static str,
    /// When it started.
    pub started: SystemTime,
    /// Its data folder.
    pub data: Option<String>,
    /// What each wire shows of itself, as in the ready line.
    pub ready: Value,
    /// Its certificates.
    pub certificates: Vec<Certificate>,
}

/// A certificate of the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The wire it is shown on.
    pub wire: &'static str,
    /// What it is for: a fixed word such as `identity`, `tls` or `tls-client`.
    pub what: &'static str,
    /// Whose it is.
    pub subject: String,
    /// From when it counts.
    pub not_before: SystemTime,
    /// When it expires.
    pub expires: SystemTime,
}

/// What a figure may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grow.
    Counter,
    /// Grow and shrink.
    Gauge,
    /// Tell how often something was how large.
    Histogram,
}

/// A number that a part of the node tells, for metrics.
#[derive(Debug, Clone)]
pub struct Figure {
    /// Its name, without prefix: lower case with underscores, as in `discovery_table_nodes`.
    pub name: String,
    /// One line for people.
    pub help: &'static str,
    /// What it may do.
    pub kind: Kind,
    /// Labels, of which only few values exist.
    pub labels: Vec<(&'static str, String)>,
    /// The number; of a histogram the sum.
    pub value: f64,
    /// Of a histogram: how many within each upper bound and over the one before; the last bound is infinite.
    pub buckets: Vec<(f64, u64)>,
}

impl Figure {
    /// A number that only grows.
    #[must_use]
    pub fn counter(name: &str, help: &'static str, value: u64) -> Self {
        Self::new(name, help, Kind::Counter, value as f64)
    }

    /// A number that grows and shrinks.
    #[must_use]
    pub fn gauge(name: &str, help: &'static str, value: f64) -> Self {
        Self::new(name, help, Kind::Gauge, value)
    }

    /// How often something was how large: the sum, and how many were within each upper bound and over the one before.
    #[must_use]
    pub fn histogram(name: &str, help: &'static str, sum: f64, buckets: Vec<(f64, u64)>) -> Self {
        Self { buckets, ..Self::new(name, help, Kind::Histogram, sum) }
    }

    fn new(name: &str, help: &'static str, kind: Kind, value: f64) -> Self {
        Self { name: name.to_owned(), help, kind, labels: Vec::new(), value, buckets: Vec::new() }
    }

    /// With a label. The name and its values must be words of this program or its configuration.
    #[must_use]
    pub fn label(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.labels.push((name, value.into()));
        self
    }
}

/// A node that can be asked and told.
pub trait Control: Send + Sync + 'static {
    /// What it says of itself.
    fn about(&self) -> About;

    /// Its Switch; `None` for one that has no sessions, such as a bootnode.
    fn switch(&self) -> Option<Switch>;

    /// What the node is in the shape of a wire's own programs, by wire (devp2p: go-ethereum's `admin_nodeInfo`).
    fn native(&self) -> Value {
        Value::Object(serde_json::Map::new())
    }

    /// A peer in that shape (devp2p: `admin_peers`); `None` on a wire without one.
    fn native_peer(&self, peer: &Peer) -> Option<Value> {
        let _ = peer;
        None
    }

    /// What the node's clock shows.
    fn now(&self) -> SystemTime;

    /// Whether it listens and its services run.
    ///
    /// # Errors
    /// What is missing.
    fn ready(&self) -> Result<(), String>;

    /// What its discovery, exchange and gossip do.
    fn figures(&self) -> BoxFuture<'_, Vec<Figure>>;

    /// What happens from now on.
    fn events(&self) -> EventStream;

    /// Reads an address in any form of its wires.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    fn parse(&self, text: &str) -> Result<Candidate, String>;

    /// Every setting with its value and where that was given. Holds no secrets.
    fn configuration(&self) -> Value;

    /// Reads keys, certificates, trust, access lists and limits anew; says what changed.
    ///
    /// # Errors
    /// What must be corrected; then nothing has changed.
    fn reload(&self) -> BoxFuture<'_, Result<Vec<String>, String>>;

    /// What is logged now.
    fn log(&self) -> String;

    /// Sets what is logged.
    ///
    /// # Errors
    /// A filter that cannot be.
    fn set_log(&self, filter: &str) -> Result<(), String>;

    /// Stops the node, soon.
    fn stop(&self);
}
