//! Who is in the network and alive.
//!
//! ```text
//!             alive message, newer                    unseen 25 s, or its connection broke
//!   unknown ───────────────────────▶ alive ◀────────────────────────────▶ dead ──500 s──▶ forgotten ──500 s──▶ unknown
//!                                       newer alive message resurrects                    (its time still refuses replays)
//!
//!   bootstrap, anchor:  handshake ─▶ mem_req(nonce) ─▶ mem_res(nonce) ─▶ done       again until it answers
//!   every 4 s:          mem_req(0) to 3 alive members ─▶ mem_res
//!   every 25 s:         ping dead members; who answers gets a mem_req
//! ```
//! (fabric gossip/discovery/discovery_impl.go) An alive message is signed by its member and travels as it came; its secret part, with the
//! endpoint inside the organisation, is taken off for others. [`disclose`] says who may see whom.
//!
//! Go buries a member as soon as one dial fails. Here one that was heard of while it was dialled lives on: where many nodes meet at
//! once, handshakes run out of time between members that are well, and each false death closes a session and makes another.
//!
//! Limits: [`MAX_MEMBERS`] members, more are refused; [`MAX_ELEMENTS`] elements looked at per answer; only an answer that was asked for is
//! read; [`MAX_PINGS`] dead members pinged per round; [`REQUESTS`] membership requests answered per peer at once, then one per
//! [`REQUEST_EVERY`]; [`connect::MAX_CONNECTING`] bootstrap and anchor peers tried at a time.
//!
//! Not protected from: a member that says of itself what is not so (its endpoint, its metadata), and replays of alive messages of a
//! member that was forgotten twice over: they make it alive for 25 s.

mod connect;
pub mod disclose;
mod sync;

pub use connect::{ConnectKind, MAX_CONNECTING};
pub use sync::{MAX_ELEMENTS, REQUEST_EVERY, REQUESTS};

use crate::actions::{Action, CloseReason, Event};
use crate::cx::{Cx, Unverified};
use crate::dissemination::{Kind, select};
use crate::id_map::IdMap;
use crate::signed::{SignedMessage, nested};
use crate::throttle::Throttle;
use crate::types::{Endpoint, Member, Now, PkiId, Remote, Stamp, Ticket};
use bytes::Bytes;
use connect::Connecting;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use switchboard_fabric::message::{
    AliveMessage, Content, Envelope, GossipMessage, Member as WireMember, PeerTime, Tag,
};

/// Members known, dead and forgotten ones too.
pub const MAX_MEMBERS: usize = 16_384;
/// Dead members pinged per round.
pub const MAX_PINGS: usize = 64;
/// Largest alive message taken, secret part and identity included.
pub const MAX_ALIVE: usize = 192 * 1024;

/// How a member stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Heard of lately.
    Alive,
    /// Not heard of for `aliveExpirationTimeout`.
    Dead,
    /// Not to be seen any more; its time is kept against replays.
    Forgotten,
}

/// In the order in which it is asked for: most messages tell nothing new, which the stamp says.
#[derive(Debug)]
#[repr(C)]
struct Entry {
    stamp: Stamp,
    seen: Duration,
    standing: Standing,
    message: SignedMessage,
    member: Member,
}

/// How often members were thought dead, by why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Deaths {
    /// Nothing was heard of them for `aliveExpirationTimeout`.
    pub silent: u64,
    /// They could not be reached, and nothing was heard of them meanwhile.
    pub unreachable: u64,
}

/// Where this node is reached.
#[derive(Debug, Clone)]
pub struct SelfInfo {
    /// Inside the organisation.
    pub endpoint: Endpoint,
    /// From other organisations; none: they do not see us.
    pub external: Option<Endpoint>,
    /// Whatever the program wants members to know.
    pub metadata: Bytes,
}

/// The membership of a node.
#[derive(Debug)]
pub(crate) struct Membership {
    info: SelfInfo,
    own: Stamp,
    own_alive: Option<SignedMessage>,
    with_identity_until: Duration,
    members: IdMap<Entry>,
    /// The alive ones, sorted: what is chosen from.
    alive: Vec<PkiId>,
    connecting: Vec<Connecting>,
    /// Endpoints of bootstrap and anchor peers: never forgotten.
    lasting: BTreeSet<Endpoint>,
    pings: BTreeMap<Ticket, (PkiId, Duration)>,
    ping_after: Option<PkiId>,
    /// Requests that wait for an answer: how many, until when.
    asked: BTreeMap<PkiId, (u8, Duration)>,
    served: Throttle,
    next_alive: Duration,
    next_check: Duration,
    next_reconnect: Duration,
    next_sync: Duration,
    next_ticket: u64,
    announced: bool,
    pub(crate) deaths: Deaths,
    /// A peer that told of members whose identities are not known here.
    pub(crate) identities_wanted: Option<PkiId>,
}

/// The parts of an alive message that everything else needs.
struct Alive<'a> {
    body: &'a AliveMessage,
    member: &'a WireMember,
    id: PkiId,
    stamp: Stamp,
}

fn read_alive(message: &GossipMessage) -> Result<Alive<'_>, &'static str> {
    let Some(Content::AliveMsg(body)) = &message.content else { return Err("not an alive message") };
    let member = body.membership.as_ref().ok_or("an alive message without member")?;
    let id = PkiId::parse(&member.pki_id).ok_or("an alive message without PKI-ID")?;
    let stamp = body.timestamp.map(Stamp::from).ok_or("an alive message without timestamp")?;
    Ok(Alive { body, member, id, stamp })
}

impl Membership {
    pub(crate) fn new(info: SelfInfo, config: &crate::Config, now: Now) -> Self {
        let mono = now.mono;
        Self {
            info,
            own: Stamp { inc: now.wall, seq: 0 },
            own_alive: None,
            with_identity_until: mono + config.publish_cert_period,
            members: IdMap::default(),
            alive: Vec::new(),
            connecting: Vec::new(),
            lasting: BTreeSet::new(),
            pings: BTreeMap::new(),
            ping_after: None,
            asked: BTreeMap::new(),
            served: Throttle::new(REQUESTS, REQUEST_EVERY),
            next_alive: mono + config.alive_time_interval,
            next_check: mono + config.alive_expiration_timeout / 10,
            next_reconnect: mono + config.reconnect_interval,
            next_sync: mono,
            next_ticket: 0,
            announced: false,
            deaths: Deaths::default(),
            identities_wanted: None,
        }
    }

    pub(crate) fn info(&self) -> &SelfInfo {
        &self.info
    }

    pub(crate) fn info_mut(&mut self) -> &mut SelfInfo {
        &mut self.info
    }

    /// The alive members, sorted by PKI-ID.
    pub(crate) fn alive(&self) -> &[PkiId] {
        &self.alive
    }

    /// A member that is not forgotten.
    pub(crate) fn lookup(&self, id: &PkiId) -> Option<&Member> {
        let entry = self.members.get(id).filter(|entry| entry.standing != Standing::Forgotten)?;
        Some(&entry.member)
    }

    pub(crate) fn standing(&self, id: &PkiId) -> Option<Standing> {
        self.members.get(id).map(|entry| entry.standing)
    }

    pub(crate) fn is_alive(&self, id: &PkiId) -> bool {
        self.standing(id) == Some(Standing::Alive)
    }

    pub(crate) fn members(&self, standing: Standing) -> impl Iterator<Item = &Member> {
        self.members.values().filter(move |entry| entry.standing == standing).map(|entry| &entry.member)
    }

    /// Whether a member, or this node, tells other organisations where it is.
    pub(crate) fn has_external(&self, id: &PkiId, me: &PkiId) -> bool {
        match id == me {
            true => self.info.external.is_some(),
            false => self.lookup(id).is_some_and(|member| member.external.is_some()),
        }
    }

    /// A peer as one to send to.
    pub(crate) fn remote(&self, id: PkiId) -> Remote {
        let endpoint = self.lookup(&id).and_then(Member::preferred).cloned();
        Remote { endpoint, pki_id: id }
    }

    fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket)
    }

    fn is_own(&self, endpoint: &Endpoint) -> bool {
        let port = |e: &Endpoint| e.as_str().rsplit_once(':').map(|(_, port)| port.to_owned());
        let local = |e: &Endpoint| {
            let host = e.as_str().split_once(':').map(|(host, _)| host);
            matches!(host, Some("127.0.0.1" | "localhost")) && port(e) == port(&self.info.endpoint)
        };
        *endpoint == self.info.endpoint || Some(endpoint) == self.info.external.as_ref() || local(endpoint)
    }

    /// A fresh alive message of ours.
    fn own_alive(&mut self, cx: &mut Cx<'_>) -> Option<SignedMessage> {
        self.own.seq += 1;
        let endpoint = self.info.external.as_ref().map(|e| e.as_str().to_owned()).unwrap_or_default();
        let member =
            WireMember { endpoint, metadata: self.info.metadata.clone(), pki_id: cx.me.pki_id.to_bytes() };
        let identity = match cx.now.mono < self.with_identity_until {
            true => cx.me.identity.clone(),
            false => Bytes::new(),
        };
        let body = AliveMessage { membership: Some(member), timestamp: Some(self.own.into()), identity };
        let message = GossipMessage::new(Tag::Empty, &[], 0, Content::AliveMsg(body));
        cx.sign(message, Some(self.info.endpoint.as_str()))
    }

    /// Says that we are alive, if there is anybody to hear it.
    fn announce(&mut self, cx: &mut Cx<'_>) {
        self.next_alive = cx.now.mono + cx.config.alive_time_interval;
        if self.alive.is_empty() {
            return;
        }
        self.announced = true;
        if let Some(message) = self.own_alive(cx) {
            self.own_alive = Some(message.clone());
            cx.emit.add(message, Kind::Alive(cx.me.pki_id), None, cx.now.mono);
        }
    }

    /// Whether an envelope may tell more than is known: not when it holds an alive message that is no newer than the one held. Told
    /// without decoding it.
    pub(crate) fn is_news(&self, envelope: &Envelope) -> bool {
        let id = nested(&envelope.payload, &[5, 1, 3]).and_then(PkiId::parse);
        let Some(entry) = id.and_then(|id| self.members.get(&id)) else { return true };
        let time = nested(&envelope.payload, &[5, 2]).and_then(|time| PeerTime::decode(time).ok());
        time.is_none_or(|time| Stamp::from(time) > entry.stamp)
    }

    /// An alive message came by gossip. Returns whether it told anything.
    pub(crate) fn on_alive(&mut self, from: PkiId, message: &SignedMessage, cx: &mut Cx<'_>) -> bool {
        match self.take_alive(message, Standing::Alive, cx) {
            Ok(Some(id)) => cx.emit.add(message.clone(), Kind::Alive(id), Some(from), cx.now.mono),
            Ok(None) => return false,
            Err(Unverified::Wrong(why)) => cx.refuse(from, why),
            Err(Unverified::Unknown) => self.identities_wanted = Some(from),
        }
        true
    }

    /// Checks an alive message and, when it is newer than what is known, takes it. `standing` is that of a member not known so far: of
    /// one known, an answer's dead list says nothing new. Returns whose it is if it was taken.
    fn take_alive(
        &mut self,
        message: &SignedMessage,
        standing: Standing,
        cx: &mut Cx<'_>,
    ) -> Result<Option<PkiId>, Unverified> {
        let Alive { body, member, id, stamp } = read_alive(message.message()).map_err(Unverified::Wrong)?;
        let known = self.members.get(&id);
        if known.is_some_and(|entry| stamp <= entry.stamp) {
            return Ok(None);
        }
        let was = known.map(|entry| entry.standing);
        if standing == Standing::Dead && was == Some(Standing::Alive) {
            return Ok(None);
        }
        if message.size() > MAX_ALIVE {
            return Err(Unverified::Wrong("an alive message that is too large"));
        }
        if cx.is_ahead(stamp.inc) {
            return Err(Unverified::Wrong("an alive message from the future"));
        }
        if !body.identity.is_empty() {
            let put = cx.ids.put(cx.host, id, &body.identity, cx.now);
            put.map_err(|_| Unverified::Wrong("an alive message with an invalid identity"))?;
        }
        cx.verify(id, message.envelope())?;
        if id == cx.me.pki_id {
            self.hear_of_ourselves(message, member, cx);
            return Ok(None);
        }
        let org = cx.ids.org_of(&id).cloned().ok_or(Unverified::Unknown)?;
        if was.is_none() && self.members.len() >= MAX_MEMBERS {
            return Err(Unverified::Wrong("too many members"));
        }
        let told = message.endpoints();
        let metadata = Bytes::copy_from_slice(&member.metadata);
        let fresh = match self.members.get_mut(&id) {
            Some(entry) if standing == Standing::Dead => {
                // Another saw it a little later than we did. That is no life: it neither shows a forgotten member again nor keeps
                // a dead one longer, or nodes would remind each other of it for ever.
                (entry.stamp, entry.message) = (stamp, message.clone());
                return Ok(None);
            }
            Some(entry) => {
                (entry.stamp, entry.seen) = (stamp, cx.now.mono);
                entry.message = message.clone();
                let member = &mut entry.member;
                (member.org, member.metadata) = (org, metadata);
                member.external.clone_from(&told.external);
                if told.internal.is_some() {
                    member.internal.clone_from(&told.internal);
                }
                let was = std::mem::replace(&mut entry.standing, standing);
                (was != Standing::Alive).then(|| entry.member.clone())
            }
            None => {
                let (external, internal) = (told.external.clone(), told.internal.clone());
                let member = Member { pki_id: id, org, external, internal, metadata };
                let seen = cx.now.mono;
                let entry = Entry { stamp, seen, standing, message: message.clone(), member: member.clone() };
                self.members.insert(id, entry);
                (standing == Standing::Alive).then_some(member)
            }
        };
        if let Some(member) = fresh {
            if let Err(at) = self.alive.binary_search(&id) {
                self.alive.insert(at, id);
            }
            cx.out.tell(Event::MemberAlive(member));
            if !self.announced {
                // The first member we know should know us at once, not at the next interval.
                self.announce(cx);
            }
        }
        Ok(Some(id))
    }

    /// Somebody passes on an alive message with our PKI-ID.
    fn hear_of_ourselves(&mut self, message: &SignedMessage, member: &WireMember, cx: &mut Cx<'_>) {
        let external = self.info.external.as_ref().map_or("", Endpoint::as_str);
        let internal = message.endpoints().internal.as_ref();
        let other = internal.is_some_and(|internal| *internal != self.info.endpoint);
        if member.endpoint != external || other {
            cx.out.tell(Event::SamePkiId { endpoint: Endpoint::parse(&member.endpoint) });
        }
    }

    /// A connection broke and could not be made again, tried since then.
    pub(crate) fn presume_dead(&mut self, id: &PkiId, since: Duration, cx: &mut Cx<'_>) {
        let heard = self.members.get(id).is_some_and(|entry| entry.seen > since);
        if self.is_alive(id) && !heard {
            self.deaths.unreachable += 1;
            self.bury(*id, cx);
        }
    }

    fn bury(&mut self, id: PkiId, cx: &mut Cx<'_>) {
        let Some(entry) = self.members.get_mut(&id) else { return };
        entry.standing = Standing::Dead;
        if let Ok(at) = self.alive.binary_search(&id) {
            self.alive.remove(at);
        }
        cx.out.tell(Event::MemberDead(entry.member.clone()));
        cx.out.push(Action::Close { pki_id: id, reason: CloseReason::Dead });
    }

    /// Forgets a member whose identity ended or was replaced, at once.
    pub(crate) fn purge(&mut self, id: &PkiId, cx: &mut Cx<'_>) {
        if let Ok(at) = self.alive.binary_search(id) {
            self.alive.remove(at);
        }
        if let Some(entry) = self.members.remove(id)
            && entry.standing != Standing::Forgotten
        {
            cx.out.tell(Event::MemberForgotten(*id));
        }
    }

    pub(crate) fn tick(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now.mono;
        self.tick_connecting(cx);
        if now >= self.next_alive {
            self.announce(cx);
        }
        if now >= self.next_check {
            self.next_check = now + cx.config.alive_expiration_timeout / 10;
            self.check(cx);
        }
        if now >= self.next_reconnect {
            self.next_reconnect = now + cx.config.reconnect_interval;
            self.ping_dead(cx);
        }
        if now >= self.next_sync {
            self.next_sync = now + cx.config.pull_interval;
            let peers = select(&self.alive, cx.config.pull_peer_num, cx.rng, |_| true);
            for peer in peers {
                self.request(peer, 0, cx);
            }
        }
    }

    /// Buries who was not heard of, forgets who is dead for long.
    fn check(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now.mono;
        let silent = |id: &&PkiId| {
            self.members.get(id).is_none_or(|e| now > e.seen + cx.config.alive_expiration_timeout)
        };
        let silent: Vec<_> = self.alive.iter().filter(silent).copied().collect();
        for id in silent {
            self.deaths.silent += 1;
            self.bury(id, cx);
        }
        let forget = cx.config.alive_expiration_timeout * cx.config.msg_expiration_factor;
        let lasting = &self.lasting;
        self.members.retain(|id, entry| {
            let endpoints = [&entry.member.external, &entry.member.internal];
            let lasts = endpoints.into_iter().flatten().any(|endpoint| lasting.contains(endpoint));
            if entry.standing == Standing::Dead && now >= entry.seen + forget && !lasts {
                entry.standing = Standing::Forgotten;
                cx.out.tell(Event::MemberForgotten(*id));
            }
            entry.standing != Standing::Forgotten || now < entry.seen + 2 * forget
        });
        self.asked.retain(|_, (_, until)| *until > now);
        self.pings.retain(|_, (_, until)| *until > now);
    }

    /// Pings dead members, in turn if there are many.
    fn ping_dead(&mut self, cx: &mut Cx<'_>) {
        let dead = |(_, e): &(&PkiId, &Entry)| e.standing == Standing::Dead && e.member.preferred().is_some();
        let mut due: Vec<Remote> =
            self.members.iter().filter(dead).map(|(_, entry)| entry.member.remote()).collect();
        if due.len() > MAX_PINGS {
            let start = due.partition_point(|remote| Some(remote.pki_id) <= self.ping_after);
            due.rotate_left(start);
            due.truncate(MAX_PINGS);
            self.ping_after = due.last().map(|remote| remote.pki_id);
        }
        let until = cx.now.mono + cx.config.reconnect_interval;
        for to in due {
            let ticket = self.ticket();
            self.pings.insert(ticket, (to.pki_id, until));
            cx.out.push(Action::Ping { ticket, to });
        }
    }

    /// A ping's result came.
    pub(crate) fn on_ponged(&mut self, ticket: Ticket, answered: bool, cx: &mut Cx<'_>) {
        if let Some((id, _)) = self.pings.remove(&ticket)
            && answered
        {
            self.request(id, 0, cx);
        }
    }

    pub(crate) fn wake(&self) -> Duration {
        let connecting = self.connecting.iter().map(Connecting::wake);
        let own = [self.next_alive, self.next_check, self.next_reconnect, self.next_sync];
        connecting.chain(own).min().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
