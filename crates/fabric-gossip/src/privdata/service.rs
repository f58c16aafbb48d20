//! One channel's private data as a state machine.

use super::collections::Collections;
use super::commit::{Gathered, Gathering};
use super::fetch::{Fetch, Peer, Request, Want};
use super::policy::Subject;
use super::push::{Part, Push};
use super::rwset::PrivateSet;
use super::types::{
    Action, Figures, Input, MAX_DIGESTS, MAX_PEERS, MAX_PUSHES, MAX_REQUESTS, Options, PushFault, PushId,
    RETRY_REST, Refused, Reply, Serve, Source, Unacked,
};
use crate::block::transaction::MAX_NAME;
use crate::ledger::{BlockStore, LedgerError, Slot, Transient};
use crate::signed::SignedMessage;
use crate::state::Ready;
use crate::types::{Channel, Now, PkiId};
use rand::Rng;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use switchboard::text::printable;
use switchboard_fabric::message::{
    Content, GossipMessage, PrivateDataMessage, PrivatePayload, RemotePvtDataRequest, RemotePvtDataResponse,
    Tag,
};

/// The part of the request queue that one peer may fill.
const SHARE: usize = 4;
/// Batches of the reconciler that are looked at without a pause.
const BATCHES_AT_ONCE: usize = 16;

/// Private data of one channel.
pub struct PrivateData {
    channel: Channel,
    options: Options,
    collections: Collections,
    peers: BTreeMap<PkiId, Peer>,
    pushes: BTreeMap<PushId, Push>,
    tickets: BTreeMap<u64, (PushId, usize)>,
    next_ticket: u64,
    /// Blocks whose private data is gathered, and what is asked of peers for them.
    gathering: Option<(Gathering, Fetch)>,
    reconciling: Option<Fetch>,
    /// Below which block the reconciler looks next; `None` between two passes.
    below: Option<u64>,
    next_pass: Option<Duration>,
    /// Since when the pass under way goes on.
    pass_since: Option<Duration>,
    requests: VecDeque<Serve>,
    serving: bool,
    figures: Figures,
}

impl std::fmt::Debug for PrivateData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PrivateData({}, {} peers)", self.channel, self.peers.len())
    }
}

impl PrivateData {
    /// Private data of a channel with these collections.
    #[must_use]
    pub fn new(channel: Channel, options: Options, collections: Collections) -> Self {
        Self {
            channel,
            options,
            collections,
            peers: BTreeMap::new(),
            pushes: BTreeMap::new(),
            tickets: BTreeMap::new(),
            next_ticket: 1,
            gathering: None,
            reconciling: None,
            below: None,
            next_pass: None,
            pass_since: None,
            requests: VecDeque::new(),
            serving: false,
            figures: Figures::default(),
        }
    }

    /// The collections.
    #[must_use]
    pub fn collections(&self) -> &Collections {
        &self.collections
    }

    /// The collections, to be changed while it runs.
    pub fn collections_mut(&mut self) -> &mut Collections {
        &mut self.collections
    }

    /// What was done so far.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.figures
    }

    /// Whether blocks are being gathered for: then the next group waits.
    #[must_use]
    pub fn is_gathering(&self) -> bool {
        self.gathering.is_some()
    }

    /// Whether a member may have what lies in a slot: for answers to state requests.
    #[must_use]
    pub fn may_have(&self, slot: &Slot, subject: &Subject) -> bool {
        super::serve::may_have(&self.collections, &slot.namespace, &slot.collection, subject)
    }

    /// When [`Input::Tick`] is due; `None` when nothing is to be waited for.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let pushes = self.pushes.values().map(|push| push.until);
        let fetches =
            self.gathering.iter().map(|(_, fetch)| fetch).chain(&self.reconciling).map(Fetch::wakes);
        pushes.chain(fetches).chain(self.next_pass).min()
    }

    /// Pushes private sets of a transaction to those who may have them, and keeps them for its block. What comes of it is told by
    /// [`Action::Pushed`]. `height` is the ledger's at simulation.
    ///
    /// # Errors
    /// [`PushFault`]; nothing is sent then.
    pub fn push(
        &mut self,
        tx_id: &str,
        sets: Vec<PrivateSet>,
        height: u64,
        now: Now,
        rng: &mut dyn Rng,
        out: &mut Vec<Action>,
    ) -> Result<PushId, PushFault> {
        if sets.is_empty() {
            return Err(PushFault::Nothing);
        }
        if self.pushes.len() >= MAX_PUSHES {
            return Err(PushFault::Busy);
        }
        let mut parts = Vec::new();
        for set in sets {
            let known = self.collections.get(&set.namespace, &set.collection);
            let collection = known.ok_or_else(|| PushFault::Collection(printable(&set.collection)))?;
            let able = self.peers.iter().filter(|(_, peer)| collection.admits(&peer.subject));
            let eligible = able.map(|(id, peer)| (*id, peer.subject.clone())).collect();
            let payload = PrivatePayload {
                collection_name: set.collection,
                namespace: set.namespace,
                tx_id: tx_id.to_owned(),
                private_rwset: set.rwset,
                private_sim_height: height,
                collection_configs: collection.package(),
            };
            parts.push(Part::new(collection, payload, &eligible, rng)?);
        }
        for part in &parts {
            let entry = self.entry(&part.payload, height, None);
            out.push(Action::Keep { entry: Box::new(entry), reply: None });
        }
        let id = PushId(self.ticket());
        let timeout = self.options.pvt_data.push_ack_timeout;
        self.pushes.insert(id, Push { parts, until: now.mono.saturating_add(timeout) });
        self.advance(id, now, out);
        Ok(id)
    }

    fn ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket - 1
    }

    fn entry(&self, payload: &PrivatePayload, received_at: u64, from: Option<PkiId>) -> Transient {
        Transient {
            tx_id: payload.tx_id.clone(),
            namespace: payload.namespace.clone(),
            collection: payload.collection_name.clone(),
            rwset: payload.private_rwset.clone(),
            configs: payload.collection_configs.clone(),
            simulated_at: payload.private_sim_height,
            received_at,
            from,
        }
    }

    /// Sends what a push has to send, or ends it.
    fn advance(&mut self, id: PushId, now: Now, out: &mut Vec<Action>) {
        let Some(push) = self.pushes.get_mut(&id) else { return };
        let left = push.until.saturating_sub(now.mono);
        for (place, part) in push.parts.iter_mut().enumerate() {
            while let Some(to) = part.take() {
                let content =
                    Content::PrivateData(PrivateDataMessage { payload: Some(part.payload.clone()) });
                let message = GossipMessage::new(Tag::ChanOnly, self.channel.as_bytes(), 0, content);
                let ticket = self.next_ticket;
                self.next_ticket += 1;
                self.tickets.insert(ticket, (id, place));
                let message = SignedMessage::unsigned(message);
                out.push(Action::SendWithAck { ticket, to, message, timeout: left });
            }
        }
        if let Some(result) = push.result() {
            self.figures.pushed += u64::from(result.is_ok());
            self.pushes.remove(&id);
            self.tickets.retain(|_, (of, _)| *of != id);
            out.push(Action::Pushed { push: id, result });
        }
    }

    /// Takes what happened; adds what is to be done.
    ///
    /// # Errors
    /// [`LedgerError::Storage`] when the store cannot be read; blocks that were given are then not committed.
    pub fn handle(
        &mut self,
        input: Input,
        store: &dyn BlockStore,
        now: Now,
        rng: &mut dyn Rng,
        out: &mut Vec<Action>,
    ) -> Result<(), LedgerError> {
        match input {
            Input::Tick => self.tick(now, out),
            Input::Peer { pki_id, subject, height } => {
                if self.peers.len() < MAX_PEERS || self.peers.contains_key(&pki_id) {
                    self.peers.insert(pki_id, Peer { subject, height });
                }
            }
            Input::PeerGone(pki_id) => {
                self.peers.remove(&pki_id);
                self.requests.retain(|request| request.reply.to != pki_id);
                let fetches = self.gathering.iter_mut().map(|(_, fetch)| fetch).chain(&mut self.reconciling);
                fetches.for_each(|fetch| fetch.gone(&pki_id));
            }
            Input::Blocks(blocks) => self.blocks(blocks, store, now)?,
            Input::Message { from, stream, subject, message, reader } => {
                let message = message.message();
                let reply = Reply { stream, to: from, nonce: message.nonce };
                if let Err(why) = self.message(reply, subject, message, reader, store, out) {
                    self.figures.refused += 1;
                    out.push(Action::Refused { from, why });
                }
            }
            Input::Acked { ticket, result } => self.acked(ticket, &result, now, out),
            Input::Served => {
                self.serving = false;
                self.figures.served += 1;
                self.serve(out);
            }
        }
        self.pull(now, rng, out);
        self.reconcile(store, now, rng, out)
    }

    fn acked(&mut self, ticket: u64, result: &Result<(), Unacked>, now: Now, out: &mut Vec<Action>) {
        let Some((id, place)) = self.tickets.remove(&ticket) else { return };
        if let Some(part) = self.pushes.get_mut(&id).and_then(|push| push.parts.get_mut(place)) {
            part.answered(result);
        }
        self.advance(id, now, out);
    }

    fn tick(&mut self, now: Now, out: &mut Vec<Action>) {
        let over: BTreeSet<_> =
            self.pushes.iter().filter(|(_, push)| push.until <= now.mono).map(|(id, _)| *id).collect();
        let open: Vec<_> =
            self.tickets.iter().filter(|(_, (id, _))| over.contains(id)).map(|(ticket, _)| *ticket).collect();
        for ticket in open {
            self.acked(ticket, &Err(Unacked::Timeout), now, out);
        }
    }

    fn message(
        &mut self,
        reply: Reply,
        subject: Subject,
        message: &GossipMessage,
        reader: bool,
        store: &dyn BlockStore,
        out: &mut Vec<Action>,
    ) -> Result<(), Refused> {
        if message.channel != self.channel.as_bytes() {
            return Err(Refused::Channel);
        }
        match &message.content {
            Some(Content::PrivateData(data)) => {
                let taken = self.received(reply, &subject, data, reader, store, out);
                if let Err(why) = &taken {
                    let message = super::types::ack(reply.nonce, Err(why.to_string()));
                    out.push(Action::Respond { stream: reply.stream, to: reply.to, message });
                }
                taken
            }
            Some(Content::PrivateReq(request)) if reader => self.request(reply, subject, request, out),
            Some(Content::PrivateReq(_)) => Err(Refused::NotAReader),
            Some(Content::PrivateRes(response)) => self.response(reply, response, out),
            _ => Err(Refused::Content),
        }
    }

    /// A pushed private set.
    fn received(
        &mut self,
        reply: Reply,
        subject: &Subject,
        data: &PrivateDataMessage,
        reader: bool,
        store: &dyn BlockStore,
        out: &mut Vec<Action>,
    ) -> Result<(), Refused> {
        if !reader {
            return Err(Refused::NotAReader);
        }
        let payload = data.payload.as_ref().ok_or(Refused::Absent("payload"))?;
        if payload.private_rwset.is_empty() {
            return Err(Refused::Absent("private data"));
        }
        if payload.tx_id.is_empty() {
            return Err(Refused::Absent("transaction id"));
        }
        let names = [&payload.tx_id, &payload.namespace, &payload.collection_name];
        if names.into_iter().any(|name| name.len() > MAX_NAME) {
            return Err(Refused::Name);
        }
        let name = || printable(&payload.collection_name);
        let known = self.collections.get(&payload.namespace, &payload.collection_name);
        let collection = known.ok_or_else(|| Refused::Collection(name()))?;
        if !collection.admits(subject) {
            return Err(Refused::SenderNotEligible(name()));
        }
        if !collection.admits(&self.options.own) {
            return Err(Refused::WeAreNotEligible(name()));
        }
        self.figures.received += 1;
        // Our own height, not the sender's: what the sender says must not decide how long it is kept.
        let entry = self.entry(payload, store.height(), Some(reply.to));
        out.push(Action::Here {
            tx_id: entry.tx_id.clone(),
            namespace: entry.namespace.clone(),
            collection: entry.collection.clone(),
            block: None,
            source: Source::Pushed,
        });
        out.push(Action::Keep { entry: Box::new(entry), reply: Some(reply) });
        Ok(())
    }

    fn request(
        &mut self,
        reply: Reply,
        subject: Subject,
        request: &RemotePvtDataRequest,
        out: &mut Vec<Action>,
    ) -> Result<(), Refused> {
        if request.digests.len() > MAX_DIGESTS {
            return Err(Refused::Digests(request.digests.len()));
        }
        let of_peer = self.requests.iter().filter(|request| request.reply.to == reply.to).count();
        if self.requests.len() >= MAX_REQUESTS || of_peer >= MAX_REQUESTS / SHARE {
            return Err(Refused::Busy);
        }
        self.requests.push_back(Serve { reply, subject, digests: request.digests.clone() });
        self.serve(out);
        Ok(())
    }

    fn serve(&mut self, out: &mut Vec<Action>) {
        if self.serving {
            return;
        }
        if let Some(serve) = self.requests.pop_front() {
            self.serving = true;
            out.push(Action::Serve(serve));
        }
    }

    fn response(
        &mut self,
        reply: Reply,
        response: &RemotePvtDataResponse,
        out: &mut Vec<Action>,
    ) -> Result<(), Refused> {
        if let Some((_, fetch)) = self.gathering.as_mut().filter(|(_, f)| f.is_of(&reply.to, reply.nonce)) {
            let (count, fault) = fetch.answered(reply.nonce, &response.elements);
            self.figures.pulled += count as u64;
            return fault.map_or(Ok(()), Err);
        }
        if let Some(fetch) = self.reconciling.as_mut().filter(|fetch| fetch.is_of(&reply.to, reply.nonce)) {
            let (count, fault) = fetch.answered(reply.nonce, &response.elements);
            let found = fetch.take_found();
            self.figures.reconciled += count as u64;
            if !found.is_empty() {
                out.extend(found.iter().map(|(slot, _)| here(slot, "", Source::Reconciled)));
                out.push(Action::Reconcile(found));
            }
            return fault.map_or(Ok(()), Err);
        }
        Err(Refused::Unsolicited)
    }

    fn blocks(&mut self, blocks: Vec<Ready>, store: &dyn BlockStore, now: Now) -> Result<(), LedgerError> {
        let options = &self.options.pvt_data;
        let skip = options.skip_pulling_invalid_transactions_during_commit;
        let gathering = Gathering::of(blocks, &self.collections, &self.options.own, skip, store)?;
        let deadline = now.mono.saturating_add(options.pull_retry_threshold);
        let wants = gathering.wanted.values().cloned().collect();
        let fetch = Fetch::new(wants, true, deadline, options.btl_pull_margin);
        self.gathering = Some((gathering, fetch));
        Ok(())
    }

    fn send(&self, requests: Vec<Request>, out: &mut Vec<Action>) {
        for Request { to, nonce, digests } in requests {
            let content = Content::PrivateReq(RemotePvtDataRequest { digests });
            let message = GossipMessage::new(Tag::ChanOnly, self.channel.as_bytes(), nonce, content);
            out.push(Action::Send { to, message: SignedMessage::unsigned(message) });
        }
    }

    /// Goes on with the blocks that are gathered for; commits them when nothing more is to be had.
    fn pull(&mut self, now: Now, rng: &mut dyn Rng, out: &mut Vec<Action>) {
        let Some((mut gathering, mut fetch)) = self.gathering.take() else { return };
        let requests = fetch.step(&self.peers, now.mono, rng);
        gathering.take(fetch.take_found());
        if let Some(requests) = requests {
            self.gathering = Some((gathering, fetch));
            return self.send(requests, out);
        }
        out.extend(fetch.asking().map(|since| Action::Pulled(now.mono.saturating_sub(since))));
        let Gathered { commits, missing, here: came } = gathering.finish();
        out.extend(came.iter().map(|(slot, tx_id, source)| here(slot, tx_id, *source)));
        for (block, count) in missing {
            self.figures.missing += count as u64;
            out.push(Action::Missing { block, count });
        }
        let last = commits.last().map(|commit| commit.block.number());
        let first = commits.first().map(|commit| commit.block.number());
        out.push(Action::Commit(commits));
        // As Fabric: once every so many blocks.
        let retention = self.options.pvt_data.transientstore_max_block_retention.max(1);
        if let (Some(first), Some(last)) = (first, last)
            && last / retention > first.saturating_sub(1) / retention
            && last > retention
        {
            out.push(Action::Purge(last - retention));
        }
    }

    /// Asks for what old blocks miss: a batch of blocks after the other, newest first, then rests.
    fn reconcile(
        &mut self,
        store: &dyn BlockStore,
        now: Now,
        rng: &mut dyn Rng,
        out: &mut Vec<Action>,
    ) -> Result<(), LedgerError> {
        let options = &self.options.pvt_data;
        if !options.reconciliation_enabled {
            return Ok(());
        }
        let due = *self.next_pass.get_or_insert(now.mono.saturating_add(options.reconcile_sleep_interval));
        if due <= now.mono {
            self.next_pass = Some(now.mono.saturating_add(options.reconcile_sleep_interval));
            if self.reconciling.is_none() && self.below.is_none() {
                self.below = Some(u64::MAX);
                self.pass_since = Some(now.mono);
            }
        }
        for _ in 0..BATCHES_AT_ONCE {
            if let Some(mut fetch) = self.reconciling.take()
                && let Some(requests) = fetch.step(&self.peers, now.mono, rng)
            {
                self.reconciling = Some(fetch);
                self.send(requests, out);
                return Ok(());
            }
            let Some(below) = self.below else {
                let since = self.pass_since.take();
                out.extend(since.map(|since| Action::Reconciled(now.mono.saturating_sub(since))));
                return Ok(());
            };
            let options = &self.options.pvt_data;
            let missing = store.missing(below, options.reconcile_batch_size.max(1))?;
            self.below = missing.iter().map(|missing| missing.slot.block).min();
            let mut wants = Vec::new();
            for missing in missing {
                let known = self.collections.get(&missing.slot.namespace, &missing.slot.collection);
                let Some(collection) = known.filter(|known| known.admits(&self.options.own)) else {
                    continue;
                };
                let (slot, hash) = (missing.slot, missing.hash);
                let (tx_id, endorsers) = (String::new(), Vec::new());
                wants.push(Want { slot, tx_id, hash, collection, endorsers });
            }
            if !wants.is_empty() {
                let deadline = now.mono.saturating_add(options.pull_retry_threshold);
                self.reconciling = Some(Fetch::new(wants, false, deadline, options.btl_pull_margin));
            }
        }
        // Many batches of what we may not have: the rest of the walk is for later, so that nothing else waits for it.
        self.next_pass = Some(now.mono.saturating_add(RETRY_REST));
        Ok(())
    }
}

fn here(slot: &Slot, tx_id: &str, source: Source) -> Action {
    Action::Here {
        tx_id: tx_id.to_owned(),
        namespace: slot.namespace.clone(),
        collection: slot.collection.clone(),
        block: Some(slot.block),
        source,
    }
}
