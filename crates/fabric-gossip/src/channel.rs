//! One channel: who is in it and how far, its last blocks, who leads.
//!
//! ```text
//!   StateInfo { time, PKI-ID, MAC = SHA-256(PKI-ID ‖ channel), height, left, chaincodes }     signed, hides the channel's name
//!     published every 4 s after a change (chaincodes: at once), pushed on first sight, pulled as snapshots every 4 s
//!   block ─▶ held already, or too old? ─▶ verified by the host ─▶ kept ─▶ pushed on ─▶ told
//!   StateInfos of others are asked for as soon as members are known, again after 100 ms, 200 ms … 4 s
//!   pull of blocks every 4 s; and 100 ms after a gap shows: a block with none before it, or a peer that is higher than us
//! ```
//! (fabric gossip/gossip/channel/channel.go) Who may have blocks: a member of an organisation of the channel whose StateInfo is held here,
//! which it is only if its identity satisfies the readers policy; and only of our own organisation.
//!
//! Limits: [`MAX_INFOS`] StateInfos of up to [`MAX_STATE_INFO`] bytes; a snapshot is read up to [`MAX_ELEMENTS`] elements and only if it was
//! asked for; blocks: `maxBlockCountToStore` and one more; pulls as in [`crate::pull`]; answers to one peer by [`Throttle`].
//!
//! Not protected from: a reader of the own organisation that claims a great height costs early pulls that bring
//! nothing, each twice as late as the one before.

mod blocks;
mod info;

pub use info::{MAX_ELEMENTS, MAX_STATE_INFO, StateView};

use crate::actions::Event;
use crate::cx::{Cx, Unverified};
use crate::dissemination::{Kind, select};
use crate::election::{Election, Step};
use crate::host::JoinConfig;
use crate::membership::Membership;
use crate::msgstore::{AuthorStore, BlockStore};
use crate::pull::{Counts, Engine, Times};
use crate::signed::SignedMessage;
use crate::throttle::Throttle;
use crate::types::{Channel, Org, PkiId, Stamp};
pub(crate) use info::{Info, parse};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::time::Duration;
use switchboard_fabric::message::{Chaincode, Content, GossipMessage, LeadershipMessage, Tag};

/// StateInfos held per channel.
pub const MAX_INFOS: usize = 16_384;
/// How long after a gap shows blocks are pulled: a push on its way arrives before.
pub const EARLY: Duration = Duration::from_millis(100);

/// How long after the first members are known StateInfos are asked for; then after twice as long, up to the interval. Go waits the
/// whole interval, and a peer that comes late knows nobody's height before.
pub const FIRST_REQUEST: Duration = Duration::from_millis(100);

/// The MAC that stands for a channel in messages of a peer (GenerateMAC).
#[must_use]
pub fn channel_mac(id: &PkiId, channel: &Channel) -> [u8; 32] {
    Sha256::new().chain_update(id.0).chain_update(channel.as_bytes()).finalize().into()
}

/// A pull that a gap calls for.
#[derive(Debug)]
struct Early {
    at: Duration,
    peer: PkiId,
}

#[derive(Debug)]
pub(crate) struct ChannelState {
    pub(crate) name: Channel,
    config: JoinConfig,
    left: bool,
    inc: u64,
    height: u64,
    chaincodes: Vec<Chaincode>,
    own: Option<SignedMessage>,
    changed: bool,
    infos: AuthorStore<Info>,
    blocks: BlockStore<SignedMessage>,
    pull: Engine<u64>,
    leaders: AuthorStore<()>,
    pub(crate) election: Option<Election>,
    leadership: Stamp,
    asked_infos: BTreeMap<PkiId, Duration>,
    snapshots: Throttle,
    early: Option<Early>,
    early_pause: Duration,
    early_after: Duration,
    next_publish: Duration,
    next_request: Duration,
    /// From that request to the one after it.
    request_pause: Duration,
    /// No member was known so far.
    alone: bool,
    next_pull: Duration,
    next_sweep: Duration,
}

impl ChannelState {
    pub(crate) fn new(name: Channel, config: JoinConfig, cx: &Cx<'_>) -> Self {
        let options = cx.config;
        let mono = cx.now.mono;
        let times = Times {
            digest: options.digest_wait_time,
            request: options.request_wait_time,
            response: options.response_wait_time,
        };
        let leadership_ttl = options.election.leader_alive_threshold * 10;
        Self {
            name,
            config,
            left: false,
            inc: cx.now.wall,
            height: 1,
            chaincodes: Vec::new(),
            own: None,
            changed: true,
            infos: AuthorStore::new(None, MAX_INFOS),
            blocks: BlockStore::new(options.pull_interval * 100, options.max_block_count_to_store as u64),
            pull: Engine::new(times),
            leaders: AuthorStore::new(Some(leadership_ttl), MAX_INFOS),
            election: None,
            leadership: Stamp { inc: cx.now.wall, seq: 0 },
            asked_infos: BTreeMap::new(),
            snapshots: Throttle::new(8, Duration::from_millis(500)),
            early: None,
            early_pause: EARLY,
            early_after: mono,
            next_publish: mono + options.publish_state_info_interval,
            next_request: mono + options.request_state_info_interval,
            request_pause: options.request_state_info_interval,
            alone: true,
            next_pull: mono + options.pull_interval,
            next_sweep: mono + options.pull_interval * 5,
        }
    }

    /// Takes a new configuration, unless it is older than the one known.
    pub(crate) fn configure(&mut self, config: JoinConfig, cx: &mut Cx<'_>) -> bool {
        if config.orgs.is_empty() || config.sequence < self.config.sequence {
            return false;
        }
        self.config = config;
        if std::mem::take(&mut self.left) {
            self.changed = true;
        }
        let (orgs, name) = (&self.config.orgs, &self.name);
        self.infos.retain(|id, _| {
            let Some(known) = cx.ids.peek(id) else { return false };
            orgs.contains_key(&known.org)
                && (*id == cx.me.pki_id || cx.host.policy.is_reader(name, *id, &known.identity))
        });
        true
    }

    pub(crate) fn config(&self) -> &JoinConfig {
        &self.config
    }

    pub(crate) fn pulls(&self) -> Counts {
        self.pull.counts()
    }

    pub(crate) fn has_left(&self) -> bool {
        self.left
    }

    pub(crate) fn height(&self) -> u64 {
        self.height
    }

    pub(crate) fn has_org(&self, org: &Org) -> bool {
        self.config.orgs.contains_key(org)
    }

    /// Whether a peer's organisation is in the channel.
    pub(crate) fn has_org_of(&self, id: &PkiId, cx: &Cx<'_>) -> bool {
        cx.ids.org_of(id).is_some_and(|org| self.has_org(org))
    }

    /// Whether blocks may go to a peer, and be pulled from it.
    pub(crate) fn is_eligible(&self, id: &PkiId, cx: &Cx<'_>) -> bool {
        self.infos.get(id).is_some() && cx.is_mine(id) && self.has_org(&cx.me.org)
    }

    /// The alive peers of the channel that have not left it, with what they say of themselves.
    pub(crate) fn peers<'a>(&'a self, members: &'a Membership) -> impl Iterator<Item = (PkiId, &'a Info)> {
        let peers = if self.left { &[] } else { members.alive() };
        let info = |id: &PkiId| Some((*id, self.infos.get(id)?));
        peers.iter().filter_map(info).filter(|(_, info)| !info.left)
    }

    pub(crate) fn info(&self, id: &PkiId) -> Option<&Info> {
        self.infos.get(id)
    }

    pub(crate) fn forget(&mut self, id: &PkiId) {
        self.infos.remove(id);
    }

    /// A leadership message came.
    pub(crate) fn on_leadership(
        &mut self,
        from: PkiId,
        message: &SignedMessage,
        body: &LeadershipMessage,
        members: &Membership,
        cx: &mut Cx<'_>,
    ) {
        let Some(author) = PkiId::parse(&body.pki_id) else {
            return cx.refuse(from, "a leadership message without PKI-ID");
        };
        let Some(stamp) = body.timestamp.map(Stamp::from) else {
            return cx.refuse(from, "a leadership message without timestamp");
        };
        if author == cx.me.pki_id || !self.leaders.check(author, stamp) {
            return;
        }
        if cx.is_ahead(stamp.inc) {
            return cx.refuse(from, "a leadership message from the future");
        }
        if !cx.is_mine(&from) || !cx.is_mine(&author) {
            return cx.refuse(from, "a leadership message of another organisation");
        }
        if !members.is_alive(&author) {
            return cx.refuse(from, "a leadership message of a peer that is not alive");
        }
        match cx.verify(author, message.envelope()) {
            Ok(()) => {}
            Err(Unverified::Unknown) => return,
            Err(Unverified::Wrong(why)) => return cx.refuse(from, why),
        }
        self.leaders.add(author, stamp, (), cx.now.mono);
        if let Some(election) = &mut self.election {
            let steps = election.on_message(author, body.is_declaration, cx.now.mono);
            self.take_steps(steps, cx);
        }
    }

    /// Carries out what an election decided.
    pub(crate) fn take_steps(&mut self, steps: Vec<Step>, cx: &mut Cx<'_>) {
        for step in steps {
            let is_declaration = match step {
                Step::Propose => false,
                Step::Declare => true,
                Step::Leader(pki_id) => {
                    let us = pki_id == Some(cx.me.pki_id);
                    cx.out.tell(Event::Leader { channel: self.name.clone(), pki_id, us });
                    continue;
                }
            };
            self.leadership.seq += 1;
            let timestamp = Some(self.leadership.into());
            let body = LeadershipMessage { pki_id: cx.me.pki_id.to_bytes(), timestamp, is_declaration };
            let message =
                GossipMessage::new(Tag::ChanAndOrg, self.name.as_bytes(), 0, Content::LeadershipMsg(body));
            if let Some(message) = cx.sign(message, None) {
                cx.emit.add(message, Kind::Leadership(self.name.clone()), None, cx.now.mono);
            }
        }
    }

    /// Starts the election, or to observe it, once.
    pub(crate) fn elect(&mut self, members: &Membership, cx: &Cx<'_>) {
        if self.election.is_none() {
            let (options, now) = (cx.config.election.clone(), cx.now.mono);
            self.election = Some(match cx.config.observes_leaders {
                true => Election::observing(cx.me.pki_id, options, now),
                false => Election::new(cx.me.pki_id, options, self.peers(members).count(), now),
            });
        }
    }

    pub(crate) fn yield_leadership(&mut self, cx: &mut Cx<'_>) {
        if let Some(election) = &mut self.election {
            let steps = election.yield_leadership(cx.now.mono);
            self.take_steps(steps, cx);
        }
    }

    /// Whether members are known since the last tick.
    pub(crate) fn meets(&self, members: &Membership) -> bool {
        self.alone && !members.alive().is_empty()
    }

    pub(crate) fn tick(&mut self, members: &Membership, cx: &mut Cx<'_>) {
        let now = cx.now.mono;
        if self.meets(members) {
            self.alone = false;
            self.request_pause = FIRST_REQUEST.min(cx.config.request_state_info_interval);
            self.next_request = self.next_request.min(now + self.request_pause);
        }
        if self.election.as_ref().is_some_and(|election| now >= election.wake()) {
            let view = self.peers(members).count();
            let steps = self.election.as_mut().map(|e| e.tick(view, now)).unwrap_or_default();
            self.take_steps(steps, cx);
        }
        if now >= self.next_publish {
            self.next_publish = now + cx.config.publish_state_info_interval;
            if self.changed && !members.alive().is_empty() {
                self.publish(cx);
            }
        }
        if now >= self.next_request && !self.left {
            self.next_request = now + self.request_pause;
            self.request_pause = (self.request_pause * 2).min(cx.config.request_state_info_interval);
            self.request_infos(members, cx);
        }
        if now >= self.next_pull && !self.left {
            self.next_pull = now + cx.config.pull_interval;
            let peers = select(members.alive(), cx.config.pull_peer_num, cx.rng, |id| {
                // Borrowed parts only: `cx.rng` is in use.
                self.infos.get(id).is_some() && cx.ids.org_of(id) == Some(&cx.me.org)
            });
            self.start_pull(&peers, members, cx);
        }
        self.tick_blocks(members, cx);
        if now >= self.next_sweep {
            self.next_sweep = now + cx.config.pull_interval * 5;
            self.infos.retain(|id, _| *id == cx.me.pki_id || members.lookup(id).is_some());
            self.asked_infos.retain(|_, until| *until > now);
        }
        self.leaders.sweep(now);
        self.blocks.sweep(now);
    }

    pub(crate) fn wake(&self) -> Duration {
        let running = [self.next_request, self.next_pull].into_iter().filter(|_| !self.left);
        let fixed = [self.next_publish, self.next_sweep];
        let rest = [
            self.pull.wake(),
            self.blocks.wake(),
            self.leaders.wake(),
            self.early.as_ref().map(|early| early.at),
            self.election.as_ref().map(Election::wake),
        ];
        running.chain(fixed).chain(rest.into_iter().flatten()).min().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
