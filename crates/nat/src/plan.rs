//! What is to be asked of the router next. No IO, no clock: time is passed in.
//!
//! ```text
//!   Find ─▶ Address each 2 min ─┐ changed: every mapping is made again
//!     ▲                         │ 5 failures: the router is gone
//!     └─────────────────────────┘
//!   Map ─▶ again after 8 of its 10 min; after a failure in 5 min; after 5 failures Unmap, then from the start
//! ```
//! (go-ethereum p2p/server_nat.go) Limit: [`MAX_MAPPINGS`] mappings.

use crate::Protocol;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tokio::time::Instant;

/// Mappings of one node.
pub const MAX_MAPPINGS: usize = 16;
/// Failures in a row after which a mapping, or the router, is given up and sought anew.
pub const MAX_FAILURES: u32 = 5;

/// How long and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Times {
    /// For how long a mapping is asked.
    pub life: Duration,
    /// When it is refreshed.
    pub refresh: Duration,
    /// When a failed request, or a failed search, is made again.
    pub retry: Duration,
    /// How often the external address is asked for.
    pub address: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            life: Duration::from_secs(600),
            refresh: Duration::from_secs(480),
            retry: Duration::from_secs(300),
            address: Duration::from_secs(120),
        }
    }
}

/// A mapping: transport and our port.
pub type Key = (Protocol, u16);

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// Look for a router.
    Find,
    /// Ask for the external address.
    Address,
    /// Make or refresh a mapping.
    Map {
        /// Which.
        key: Key,
        /// The port we would like outside.
        wanted: u16,
        /// What the router's list of mappings shows.
        name: String,
    },
    /// Delete a mapping.
    Unmap {
        /// Which.
        key: Key,
        /// The port outside.
        external: u16,
    },
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// This, now.
    Now(Job),
    /// Nothing until then.
    At(Instant),
}

#[derive(Debug)]
struct State {
    name: String,
    external: Option<u16>,
    due: Instant,
    failures: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Router {
    SoughtAt(Instant),
    Found { maps: bool },
}

/// Everything that is to be kept mapped.
#[derive(Debug)]
pub struct Plan {
    times: Times,
    router: Router,
    address_due: Instant,
    address_failures: u32,
    mappings: BTreeMap<Key, State>,
    unmap: VecDeque<(Key, u16)>,
}

impl Plan {
    /// An empty plan; a router is sought at once.
    #[must_use]
    pub fn new(times: Times, now: Instant) -> Self {
        Self {
            times,
            router: Router::SoughtAt(now),
            address_due: now,
            address_failures: 0,
            mappings: BTreeMap::new(),
            unmap: VecDeque::new(),
        }
    }

    /// Keeps a port mapped from now on. False when there are too many.
    pub fn add(&mut self, key: Key, name: String, now: Instant) -> bool {
        if self.mappings.len() >= MAX_MAPPINGS && !self.mappings.contains_key(&key) {
            return false;
        }
        self.mappings.entry(key).or_insert(State { name, external: None, due: now, failures: 0 });
        true
    }

    /// Keeps a port mapped no longer.
    pub fn remove(&mut self, key: Key) {
        if let Some(external) = self.mappings.remove(&key).and_then(|state| state.external) {
            self.delete_later(key, external);
        }
    }

    fn delete_later(&mut self, key: Key, external: u16) {
        if self.unmap.len() < MAX_MAPPINGS {
            self.unmap.push_back((key, external));
        }
    }

    /// What is to be done.
    pub fn next(&mut self, now: Instant) -> Next {
        let maps = match self.router {
            Router::SoughtAt(at) if at > now => return Next::At(at),
            Router::SoughtAt(_) => return Next::Now(Job::Find),
            Router::Found { maps } => maps,
        };
        if let Some((key, external)) = self.unmap.pop_front() {
            return Next::Now(Job::Unmap { key, external });
        }
        if self.address_due <= now {
            return Next::Now(Job::Address);
        }
        let first = self.mappings.iter().filter(|_| maps).min_by_key(|(_, state)| state.due);
        match first {
            Some((key, state)) if state.due <= now => Next::Now(Job::Map {
                key: *key,
                wanted: state.external.unwrap_or(key.1),
                name: state.name.clone(),
            }),
            Some((_, state)) => Next::At(state.due.min(self.address_due)),
            None => Next::At(self.address_due),
        }
    }

    /// A router was found; `maps`: it can map ports.
    pub fn found(&mut self, maps: bool, now: Instant) {
        self.router = Router::Found { maps };
        (self.address_due, self.address_failures) = (now, 0);
        self.mappings.values_mut().for_each(|state| (state.due, state.failures) = (now, 0));
    }

    /// No router was found.
    pub fn not_found(&mut self, now: Instant) {
        self.router = Router::SoughtAt(now + self.times.retry);
    }

    /// The external address was told; `changed`: it is another than before.
    pub fn address_told(&mut self, changed: bool, now: Instant) {
        (self.address_due, self.address_failures) = (now + self.times.address, 0);
        if changed {
            self.mappings.values_mut().for_each(|state| state.due = now);
        }
    }

    /// The external address was not told.
    pub fn address_failed(&mut self, now: Instant) {
        self.address_due = now + self.times.address;
        self.address_failures += 1;
        if self.address_failures >= MAX_FAILURES {
            self.router = Router::SoughtAt(now);
            self.mappings.values_mut().for_each(|state| state.external = None);
            self.unmap.clear();
        }
    }

    /// A mapping stands. False when nobody wants it any more; it is deleted next.
    pub fn mapped(&mut self, key: Key, external: u16, life: Duration, now: Instant) -> bool {
        let Some(state) = self.mappings.get_mut(&key) else {
            self.delete_later(key, external);
            return false;
        };
        // A router may grant less than was asked for, but does not make us ask all the time.
        let refresh = self.times.refresh.min(life * 4 / 5).max(self.times.refresh / 60);
        (state.external, state.failures, state.due) = (Some(external), 0, now + refresh);
        true
    }

    /// A mapping was refused. True when the port outside is not ours any more.
    pub fn map_failed(&mut self, key: Key, now: Instant) -> bool {
        let Some(state) = self.mappings.get_mut(&key) else { return false };
        state.failures += 1;
        state.due = now + self.times.retry;
        if state.failures < MAX_FAILURES {
            return false;
        }
        (state.failures, state.due) = (0, now);
        let external = state.external.take();
        match external {
            Some(external) => self.delete_later(key, external),
            // It never stood: there is nothing to start over.
            None => {
                self.mappings.values_mut().for_each(|state| state.due = state.due.max(now + self.times.retry))
            }
        }
        external.is_some()
    }

    /// What stands, for deletion at the end.
    #[must_use]
    pub fn standing(&self) -> Vec<(Key, u16)> {
        let mapped = self.mappings.iter().filter_map(|(key, state)| Some((*key, state.external?)));
        self.unmap.iter().copied().chain(mapped).collect()
    }
}

#[cfg(test)]
mod tests;
