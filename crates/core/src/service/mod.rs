//! Background work that lives with the Switch: discovery, exchange, membership.
//!
//! ```text
//!   SwitchBuilder::service ─▶ start (in order of registration; an error keeps the node from starting)
//!        ─▶ run ─▶ returned: done ┐
//!              └─▶ failed ────────┴─▶ OnFailure: Restart with back-off | StopNode | GiveUp
//!   Switch stops ─▶ ServiceContext::stopping, last registered first, each up to STOP_WITHIN;
//!                   sessions live until all services are done, so a service can say goodbye to its peers
//! ```
//!
//! A service may bring a [`Protocol`] and a [`Source`] that share its state. Through its [`ServiceContext`] it has
//! the peers (a [`PeerFeed`](crate::event::PeerFeed) without loss), can get or dial a peer, end sessions, mark and report peers, ask for
//! dials, tell events and keep what must survive a restart.
//!
//! ```
//! use std::sync::Arc;
//! use switchboard::BoxFuture;
//! use switchboard::event::Change;
//! use switchboard::service::{Service, ServiceContext, ServiceError};
//!
//! /// Tells how many peers there are, whenever that changes.
//! struct Census;
//!
//! impl Service for Census {
//!     fn name(&self) -> &str {
//!         "census"
//!     }
//!
//!     fn run(self: Arc<Self>, context: ServiceContext) -> BoxFuture<'static, Result<(), ServiceError>> {
//!         Box::pin(async move {
//!             let mut feed = context.feed();
//!             loop {
//!                 tokio::select! {
//!                     () = context.stopping() => return Ok(()),
//!                     change = feed.next() => match change {
//!                         Some(_) => context.emit("count", vec![("peers", context.peers().len().to_string())]),
//!                         None => return Ok(()),
//!                     },
//!                 }
//!             }
//!         })
//!     }
//! }
//! ```
//!
//! Limits: [`STOP_WITHIN`] for each service to stop, [`START_WITHIN`] to start. A panic counts as a failure. A
//! service that blocks a thread is not detected.

mod context;
pub(crate) mod run;

use crate::BoxFuture;
use crate::id::WireName;
use crate::protocol::Protocol;
use crate::switch::source::{Resolver, Source};
use crate::wire::Placement;
use std::sync::Arc;
use std::time::Duration;

pub use context::ServiceContext;

/// How long a service may take to start.
pub const START_WITHIN: Duration = Duration::from_secs(10);
/// How long each service may take to stop before it is aborted.
pub const STOP_WITHIN: Duration = Duration::from_secs(2);

/// Why a service could not go on.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub struct ServiceError {
    /// What is wrong, and what to change.
    pub detail: String,
}

impl ServiceError {
    /// An error of the given words.
    #[must_use]
    pub fn new(detail: impl Into<String>) -> Self {
        Self { detail: detail.into() }
    }
}

impl From<crate::store::StoreError> for ServiceError {
    fn from(error: crate::store::StoreError) -> Self {
        Self::new(error.to_string())
    }
}

/// What follows when a service fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// It runs again, after a wait that doubles and starts anew once it ran for longer than `most`.
    Restart {
        /// The first wait.
        first: Duration,
        /// The longest wait.
        most: Duration,
    },
    /// The Switch stops.
    StopNode,
    /// The node goes on without it.
    GiveUp,
}

impl Default for OnFailure {
    fn default() -> Self {
        Self::Restart { first: Duration::from_secs(1), most: Duration::from_secs(60) }
    }
}

/// Work that lives with the Switch.
pub trait Service: Send + Sync + 'static {
    /// Its name: names its events and its space in the store.
    fn name(&self) -> &str;

    /// A protocol it owns, with the wire it is offered on (all when none).
    fn protocol(&self) -> Option<(Arc<dyn Protocol>, Option<WireName>)> {
        None
    }

    /// How the protocol it owns rides on its wires: with numbers and messages of the wire's own, or wherever each wire
    /// puts a protocol that knows nothing of it.
    fn placement(&self) -> Placement {
        Placement::Native
    }

    /// A source of candidates it owns.
    fn source(&self) -> Option<Arc<dyn Source>> {
        None
    }

    /// A resolver of identities it owns.
    fn resolver(&self) -> Option<Arc<dyn Resolver>> {
        None
    }

    /// The wire whose listener's number it needs for datagrams, too. Where the system draws that number (port 0), the
    /// Switch draws again until one is free for both, and [`ServiceContext::datagrams`] gives the socket.
    fn datagrams_beside(&self) -> Option<WireName> {
        None
    }

    /// What follows when it fails.
    fn on_failure(&self) -> OnFailure {
        OnFailure::default()
    }

    /// Figures for the operator, by name.
    fn figures(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// What must be done before the node counts as started: binding a socket, reading the store. Listeners
    /// are bound already; no connection is accepted yet.
    ///
    /// # Errors
    /// Keeps the node from starting.
    fn start<'a>(&'a self, context: &'a ServiceContext) -> BoxFuture<'a, Result<(), ServiceError>> {
        let _ = context;
        Box::pin(std::future::ready(Ok(())))
    }

    /// Does the work until [`ServiceContext::stopping`]. Returning earlier is no failure: it is done. Called again
    /// when it failed and is to be restarted.
    fn run(self: Arc<Self>, context: ServiceContext) -> BoxFuture<'static, Result<(), ServiceError>>;
}

/// What a service does now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// It runs.
    Running,
    /// It failed and waits to be started again.
    Waiting {
        /// Its last words.
        detail: String,
        /// How often it failed in a row.
        failures: u32,
    },
    /// It returned.
    Done,
    /// It failed and is not started again.
    Failed {
        /// Its last words.
        detail: String,
    },
}

/// A service as the operator sees it.
#[derive(Debug, Clone)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// What it does.
    pub state: State,
    /// Its own figures.
    pub figures: Vec<(&'static str, String)>,
}
