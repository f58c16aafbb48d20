//! Reaching bootstrap and anchor peers.
//!
//! ```text
//!   waiting ──▶ handshaking ──of the right organisation──▶ asking, mem_req(nonce) ──mem_res(nonce)──▶ done
//!      ▲             │ refused or no answer                    │ 5 s without an answer
//!      └─── 1 s, 2 s, 4 s … reconnectInterval, at most maxConnectionAttempts ───┘
//! ```
//! Go waits the whole reconnectInterval (25 s) after each failure; starting at one second makes a network that starts together whole in
//! seconds, and costs four more handshakes.

use super::Membership;
use crate::actions::{Action, Event};
use crate::cx::Cx;
use crate::types::{Endpoint, Org, PkiId, Remote, Ticket};
use bytes::Bytes;
use std::time::Duration;

/// Bootstrap and anchor peers tried at a time.
pub const MAX_CONNECTING: usize = 1_024;
/// How long a membership request of a new connection waits for its answer (discovery_impl.go).
const ANSWER: Duration = Duration::from_secs(5);
/// First pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Why a peer is connected to, and so of which organisation it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectKind {
    /// A bootstrap peer: of our own organisation.
    Bootstrap,
    /// An anchor peer that is listed for this organisation. Only for our own is that checked, as in Fabric.
    Anchor(Org),
}

#[derive(Debug)]
enum Phase {
    Waiting { at: Duration },
    Handshaking { ticket: Ticket, until: Duration },
    Asking { to: Remote, nonce: u64, until: Duration },
}

#[derive(Debug)]
pub(super) struct Connecting {
    endpoint: Endpoint,
    kind: ConnectKind,
    attempts: u32,
    /// A refusal for a reason that will hardly go away was told.
    told: bool,
    phase: Phase,
}

impl Connecting {
    pub(super) fn wake(&self) -> Duration {
        match self.phase {
            Phase::Waiting { at } => at,
            Phase::Handshaking { until, .. } | Phase::Asking { until, .. } => until,
        }
    }

    fn pause(&self, longest: Duration) -> Duration {
        FIRST_PAUSE.saturating_mul(1 << self.attempts.min(16)).min(longest)
    }
}

impl Membership {
    /// Connects to an endpoint, unless it is our own or tried already.
    pub(crate) fn connect(&mut self, endpoint: Endpoint, kind: ConnectKind, cx: &mut Cx<'_>) {
        let foreign = matches!(&kind, ConnectKind::Anchor(org) if *org != cx.me.org);
        if self.is_own(&endpoint) || (foreign && self.info.external.is_none()) {
            return;
        }
        let known = self.connecting.iter().any(|c| c.endpoint == endpoint);
        if self.connecting.len() >= MAX_CONNECTING {
            cx.out.tell(Event::ConnectFailed { endpoint, why: "too many peers to connect to".to_owned() });
            return;
        }
        self.lasting.insert(endpoint.clone());
        if !known {
            let phase = Phase::Waiting { at: cx.now.mono };
            self.connecting.push(Connecting { endpoint, kind, attempts: 0, told: false, phase });
        }
    }

    /// Replaces the endpoints that are never forgotten.
    pub(crate) fn set_lasting(&mut self, lasting: std::collections::BTreeSet<Endpoint>) {
        self.lasting = lasting;
        self.connecting.retain(|connecting| self.lasting.contains(&connecting.endpoint));
    }

    pub(super) fn tick_connecting(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now.mono;
        let mut at = 0;
        while let Some(connecting) = self.connecting.get_mut(at) {
            if connecting.wake() > now {
                at += 1;
                continue;
            }
            if connecting.attempts >= cx.config.max_connection_attempts {
                let endpoint = self.connecting.swap_remove(at).endpoint;
                let why = "it did not answer, and is not tried any more".to_owned();
                cx.out.tell(Event::ConnectFailed { endpoint, why });
                continue;
            }
            connecting.attempts += 1;
            match &mut connecting.phase {
                Phase::Waiting { .. } => {
                    self.next_ticket += 1;
                    let ticket = Ticket(self.next_ticket);
                    // Longer than the shell may take for a dial, a Ping and the exchange: its answer decides.
                    let limit = (cx.config.dial_timeout + cx.config.conn_timeout) * 4;
                    connecting.phase = Phase::Handshaking { ticket, until: now + limit };
                    cx.out.push(Action::Handshake { ticket, endpoint: connecting.endpoint.clone() });
                    at += 1;
                }
                Phase::Handshaking { .. } => {
                    let pause = connecting.pause(cx.config.reconnect_interval);
                    connecting.phase = Phase::Waiting { at: now + pause };
                    at += 1;
                }
                Phase::Asking { to, nonce, until } => {
                    let (to, nonce) = (to.clone(), *nonce);
                    *until = now + ANSWER.max(cx.config.reconnect_interval.min(ANSWER * connecting.attempts));
                    self.request_of(to, nonce, cx);
                    at += 1;
                }
            }
        }
    }

    /// A handshake ended: with the identity that was proven, or not.
    pub(crate) fn on_handshaken(
        &mut self,
        ticket: Ticket,
        result: Result<(PkiId, Bytes), String>,
        cx: &mut Cx<'_>,
    ) {
        let waits =
            |c: &&mut Connecting| matches!(c.phase, Phase::Handshaking { ticket: t, .. } if t == ticket);
        let Some(connecting) = self.connecting.iter_mut().find(waits) else { return };
        let judged = result.and_then(|(id, identity)| {
            cx.ids.put(cx.host, id, &identity, cx.now).map_err(|why| why.to_string())?;
            let ours = cx.is_mine(&id);
            match &connecting.kind {
                ConnectKind::Bootstrap if !ours => {
                    Err("it is not of our organisation, so it cannot be a bootstrap peer".to_owned())
                }
                ConnectKind::Anchor(org) if *org == cx.me.org && !ours => {
                    Err("it is listed as an anchor peer of our organisation, but is of another".to_owned())
                }
                _ => Ok(id),
            }
        });
        match judged {
            // Behind our own anchor's address may be this node, under a name it does not know.
            Ok(id) if id == cx.me.pki_id => {
                let endpoint = connecting.endpoint.clone();
                self.connecting.retain(|c| c.endpoint != endpoint);
            }
            Ok(id) => {
                let to = Remote { endpoint: Some(connecting.endpoint.clone()), pki_id: id };
                let nonce = cx.nonce();
                connecting.phase = Phase::Asking { to: to.clone(), nonce, until: cx.now.mono + ANSWER };
                self.request_of(to, nonce, cx);
            }
            Err(why) => {
                if !connecting.told {
                    connecting.told = true;
                    cx.out.tell(Event::ConnectFailed { endpoint: connecting.endpoint.clone(), why });
                }
                let pause = connecting.pause(cx.config.reconnect_interval);
                connecting.phase = Phase::Waiting { at: cx.now.mono + pause };
            }
        }
    }

    /// An answer with this nonce came from a peer: whoever was connected to for it is reached.
    pub(super) fn reached(&mut self, from: PkiId, nonce: u64) {
        self.connecting.retain(
            |c| !matches!(&c.phase, Phase::Asking { to, nonce: n, .. } if to.pki_id == from && *n == nonce),
        );
    }
}
