//! The Switch's scores and bans.
//!
//! ```text
//!   ban, lift ─▶ score book, at once ─▶ queue ─▶ keeper: one batch, flushed ─▶ whoever waits is told
//! ```
//! An operator's change is acknowledged when it is on disk. When [`BACKLOG`] changes wait, the next one takes effect but is not
//! stored; whoever asked for it gets an error.

use super::access::{AccessList, is_lan};
use super::actor::Actor;
use super::score::{Ban, BanError, Banned, Misbehaviour, Stored};
use crate::event::Event;
use crate::id::PeerId;
use crate::reason::Reason;
use crate::store::{Changes, Space, StoreError};
use std::net::IpAddr;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

impl Actor {
    /// Misbehaviour: points, and the bans that follow. Trusted peers have no points.
    pub(super) fn report(&mut self, id: Option<PeerId>, ip: Option<IpAddr>, wrong: &Misbehaviour) {
        let holder = |id| (id, self.entries.get(&id).map_or(id, |entry| entry.holder));
        self.report_holder(id.map(holder), ip, wrong);
    }

    /// The same of an identity and its holder, who gets the points.
    pub(super) fn report_holder(
        &mut self,
        who: Option<(PeerId, PeerId)>,
        ip: Option<IpAddr>,
        wrong: &Misbehaviour,
    ) {
        if who.is_some_and(|(id, _)| self.limits.trusted.contains(&id)) {
            return;
        }
        let holder = who.map(|(_, holder)| holder);
        let (strict, now) = (self.limits.strict_addresses, self.wall());
        let bans = self.book.report((holder, ip), wrong, &self.limits.score, strict, now);
        for mut ban in bans {
            if let (Banned::Id(banned), Some((id, _))) = (ban.who, who) {
                ban.seen_as = Some(id).filter(|id| *id != banned);
            }
            // Nobody waits for it; that it cannot be stored is logged.
            let _ = self.ban(ban, None);
        }
    }

    /// Bans somebody: sessions end, and the ban is stored. Of a peer its holder is banned: the same certificate in other words
    /// would be another identity.
    pub(super) fn ban(&mut self, mut ban: Ban, done: Option<Done>) -> Result<Ban, BanError> {
        if let Banned::Id(id) = ban.who {
            if let Some(entry) = self.entries.get(&id).filter(|entry| entry.holder != id) {
                (ban.who, ban.seen_as) = (Banned::Id(entry.holder), Some(id));
            }
            let known = [Some(id), ban.seen_as];
            if known.into_iter().flatten().any(|id| self.limits.trusted.contains(&id)) {
                return Err(BanError::Trusted);
            }
        }
        // A ban that no connection would feel is not to be believed in.
        if let Banned::Net(net) = &ban.who
            && !self.limits.strict_addresses
            && is_lan(net.network())
            && is_lan(net.broadcast())
        {
            return Err(BanError::Local);
        }
        let rows = self.book.ban(ban.clone(), self.wall());
        self.store(rows, done);
        tracing::info!(target: "switchboard::switch", who = %ban.who, why = %ban.why, "banned");
        let (strict, now) = (self.limits.strict_addresses, self.wall());
        for entry in self.entries.values().filter(|entry| !entry.peer.is_trusted()) {
            let (id, ip) = (entry.peer.id(), entry.peer.remote_addr().ip());
            let banned = self.book.banned_holder(&id, &entry.holder, now).is_some()
                || self.book.banned_ip(ip, strict, now).is_some();
            if banned {
                entry.peer.disconnect(Reason::AccessDenied);
            }
        }
        self.context.emit(Event::BanAdded(ban.clone()));
        Ok(ban)
    }

    /// Other networks may connect from now on. Sessions with addresses that may not any more end, trusted peers stay.
    pub(super) fn set_access(&mut self, access: AccessList) {
        self.access = access;
        for entry in self.entries.values().filter(|entry| !entry.peer.is_trusted()) {
            if !self.access.permits(entry.peer.remote_addr().ip()) {
                entry.peer.disconnect(Reason::AccessDenied);
            }
        }
    }

    /// Lifts a ban and forgets the points. `false` when there was none.
    pub(super) fn lift(&mut self, who: &Banned, done: Option<Done>) -> bool {
        let rows = self.book.lift(who);
        let was = !rows.is_empty();
        if was {
            self.store(rows, done);
            if let Banned::Id(id) = who
                && let Some(net) = self.nets.get_mut(id.wire())
            {
                net.plan.dial_now(id, Instant::now());
            }
        }
        was
    }

    /// Whether an identity is banned, and not trusted.
    pub(super) fn is_banned(&self, id: &PeerId) -> bool {
        !self.limits.trusted.contains(id) && self.book.banned_id(id, self.wall()).is_some()
    }

    fn store(&self, rows: Vec<Stored>, done: Option<Done>) {
        if let Err(full) = self.stored.try_send(Write { rows, done }) {
            let error = StoreError::Io("it is too slow: too many changes of bans wait for it".into());
            tracing::warn!(target: "switchboard::switch", %error, "a ban is not stored");
            if let Some(done) = full.into_inner().done {
                let _ = done.send(Err(error));
            }
        }
    }
}

/// Changes of bans that may wait for the store.
pub(crate) const BACKLOG: usize = 256;

/// Who waits until a change is on disk.
pub(crate) type Done = oneshot::Sender<Result<(), StoreError>>;

/// Rows that are stored together, and who waits for them.
pub(crate) struct Write {
    rows: Vec<Stored>,
    done: Option<Done>,
}

/// Writes bans to the store, in order, until the Switch is gone. Those that wait together are one batch.
pub(crate) async fn keep(space: Space, mut writes: mpsc::Receiver<Write>) {
    let mut batch = Vec::new();
    while writes.recv_many(&mut batch, BACKLOG).await > 0 {
        let rows = batch.iter_mut().flat_map(|write| std::mem::take(&mut write.rows));
        let changes = rows.fold(Changes::new(), |changes, (key, value)| match value {
            Some(value) => changes.put(space.name(), key, value),
            None => changes.delete(space.name(), key),
        });
        let written = match space.apply(changes).await {
            Ok(()) => space.flush().await,
            failed => failed,
        };
        if let Err(error) = &written {
            tracing::warn!(target: "switchboard::switch", %error, "a ban is not stored");
        }
        for done in batch.drain(..).filter_map(|write| write.done) {
            let _ = done.send(written.clone());
        }
    }
}
