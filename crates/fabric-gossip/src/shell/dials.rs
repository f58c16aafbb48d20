//! Dials: who may begin one, how a session is waited for, and probes.
//!
//! ```text
//!   no session ─▶ a turn (ours: MAX_DIALS, others: half of them) ─▶ the Switch dials ─▶ the session is told
//!        └───────────────┴──────────── they dialled us meanwhile ──────────┴──────────────────▲
//! ```
//! Limits: [`MAX_DIALS`] sessions dialled at once, half of the turns for our own organisation alone, so that endpoints of
//! others that never answer do not stop it; a dial that runs out of time keeps its turn for [`CROSSED_WITHIN`] more, so that a
//! machine too busy for handshakes begins fewer of them; [`MAX_PROBES`] probes at once. A dial that gets no turn within [`TURN_WITHIN`] is told that
//! we are busy, which says nothing of the peer.

use super::links;
use super::node::Shell;
use crate::types::{Endpoint, PkiId, Remote};
use std::time::Duration;
use switchboard::Candidate;
use switchboard_fabric::gossip::GossipPeer;
use switchboard_fabric::policy::PeerPolicy;
use switchboard_fabric::{CONNECT_WITHIN, probe};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

/// Dials under way; more wait. A node that meets a whole network at once would otherwise have every handshake run out of time.
pub const MAX_DIALS: usize = 8;
/// Probes under way; more wait.
pub const MAX_PROBES: usize = 8;
/// How long a dial or a probe waits for its turn.
pub const TURN_WITHIN: Duration = Duration::from_secs(15);
/// How long after a dial its session may take to be told: an earlier session of the same peer ends first.
const TOLD_WITHIN: Duration = Duration::from_secs(5);
/// A dial that failed after so long ran out of time: steps of a handshake have two seconds and more.
const SLOW: Duration = Duration::from_secs(1);
/// How long after a dial that failed a session may come that the peer dialled.
pub const CROSSED_WITHIN: Duration = Duration::from_secs(5);

/// Why there is no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missed {
    /// It could not be dialled.
    Absent,
    /// There was no turn to dial it.
    Busy,
}

/// Turns to dial and to probe.
#[derive(Debug)]
pub(super) struct Turns {
    /// For our own organisation.
    own: Semaphore,
    any: Semaphore,
    probes: Semaphore,
}

impl Default for Turns {
    fn default() -> Self {
        let any = MAX_DIALS / 2;
        Self {
            own: Semaphore::new(MAX_DIALS - any),
            any: Semaphore::new(any),
            probes: Semaphore::new(MAX_PROBES),
        }
    }
}

impl Turns {
    /// A turn to dial somebody, of our own organisation or another.
    pub(super) async fn dial(&self, own: bool) -> Option<SemaphorePermit<'_>> {
        let turn = async {
            tokio::select! {
                biased;
                turn = self.own.acquire(), if own => turn.ok(),
                turn = self.any.acquire() => turn.ok(),
            }
        };
        timeout(TURN_WITHIN, turn).await.ok().flatten()
    }

    async fn probe(&self) -> Option<SemaphorePermit<'_>> {
        timeout(TURN_WITHIN, self.probes.acquire()).await.ok()?.ok()
    }

    /// Turns that nobody has: dials of our own organisation, of anybody, probes.
    pub(super) fn free(&self) -> [usize; 3] {
        [&self.own, &self.any, &self.probes].map(Semaphore::available_permits)
    }
}

/// What leads to a session: it is there, or it is our turn to dial.
pub(super) enum Way<'a> {
    Session(GossipPeer),
    Turn(Candidate, SemaphorePermit<'a>),
}

impl Shell {
    /// A session with a peer, dialled if there is none.
    pub(super) async fn connect(&self, id: PkiId, endpoint: Option<&Endpoint>) -> Result<GossipPeer, Missed> {
        let way = self.way(id, endpoint).await?;
        self.take(id, way).await
    }

    /// The session with a peer, or a turn to dial it.
    pub(super) async fn way(&self, id: PkiId, endpoint: Option<&Endpoint>) -> Result<Way<'_>, Missed> {
        if let Some(live) = self.live(&id) {
            return Ok(Way::Session(live));
        }
        let candidate = endpoint.and_then(|endpoint| links::candidate(Some(id), endpoint));
        let candidate = candidate.ok_or(Missed::Absent)?;
        let own = self.is_own(&id);
        tokio::select! {
            biased;
            session = self.begun(&id) => Ok(Way::Session(session)),
            turn = self.turns.dial(own) => Ok(Way::Turn(candidate, turn.ok_or(Missed::Busy)?)),
        }
    }

    /// Goes that way: dials, when it is our turn.
    pub(super) async fn take(&self, id: PkiId, way: Way<'_>) -> Result<GossipPeer, Missed> {
        let (candidate, turn) = match way {
            Way::Session(session) => return Ok(session),
            Way::Turn(candidate, turn) => (candidate, turn),
        };
        let begun = Instant::now();
        let dialled = tokio::select! {
            biased;
            session = self.begun(&id) => return Ok(session),
            dialled = self.links().ok_or(Missed::Absent)?.connect(&candidate) => dialled,
        };
        // A dial that ran out of time keeps its turn while it waits: more of them at once would only make a busy machine busier.
        let _turn = (dialled.is_err() && begun.elapsed() >= SLOW).then_some(turn);
        let within = match dialled {
            // It renewed its certificate: nobody will come by the old identity.
            Ok(other) if PkiId::parse(other.as_bytes()).is_none_or(|other| other != id) => {
                return Err(Missed::Absent);
            }
            Ok(_) => TOLD_WITHIN,
            Err(why) => {
                tracing::debug!(target: "switchboard::fabric", "{id:?} at {candidate}: {why}");
                // They may have dialled us meanwhile: of two dials that cross one is refused, maybe before the other is told
                // here.
                CROSSED_WITHIN
            }
        };
        timeout(within, self.begun(&id)).await.map_err(|_| Missed::Absent)
    }

    /// Resolves when there is a session with a peer.
    async fn begun(&self, id: &PkiId) -> GossipPeer {
        loop {
            let mut began = std::pin::pin!(self.began.notified());
            // Counted from here: what begins between the look and the wait is not missed.
            began.as_mut().enable();
            if let Some(live) = self.live(id) {
                return live;
            }
            began.await;
        }
    }

    /// Whether a peer is known to be of our own organisation.
    fn is_own(&self, id: &PkiId) -> bool {
        let own = self.wire().config().folder.identity.identity();
        self.crypto().known().organisation_by_id(&id.0).is_some_and(|org| org == own.mspid())
    }

    /// Learns who is at an endpoint, and leaves no session.
    pub(super) async fn probe(&self, id: Option<PkiId>, endpoint: &Endpoint) -> Result<PkiId, String> {
        let candidate = links::candidate(id, endpoint).ok_or("not an endpoint")?;
        let _turn = self.turns.probe().await.ok_or("too busy")?;
        let probed = async {
            let net = self.env().net();
            let connection =
                switchboard::net::connect_host(&**net, &candidate.host, candidate.port, CONNECT_WITHIN);
            let connection = connection.await.map_err(|error| error.to_string())?;
            let probed = probe(connection, &candidate, self.wire(), self.env()).await;
            let probed = probed.map_err(|error| switchboard::text::printable(&error.to_string()))?;
            PkiId::parse(probed.peer.as_bytes()).ok_or_else(|| "no PKI-ID".to_owned())
        };
        timeout(links::DIAL_LIMIT, probed).await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
    }

    /// Whether a peer answers; whoever has a session with us does.
    pub(super) async fn ping(&self, to: Remote) -> bool {
        if self.live(&to.pki_id).is_some() {
            return true;
        }
        match &to.endpoint {
            Some(endpoint) => self.probe(None, endpoint).await.is_ok(),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests;
