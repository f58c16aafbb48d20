//! The Switch's scores and bans.

use super::access::AccessList;
use super::actor::Actor;
use super::score::{Ban, Banned, Misbehaviour, Stored};
use crate::event::Event;
use crate::id::PeerId;
use crate::reason::Reason;
use crate::store::Space;
use std::net::IpAddr;
use tokio::sync::mpsc;

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
        bans.into_iter().for_each(|ban| self.ban(ban));
    }

    /// Bans somebody: sessions end, and the ban is stored.
    pub(super) fn ban(&mut self, ban: Ban) {
        if matches!(&ban.who, Banned::Id(id) if self.limits.trusted.contains(id)) {
            return;
        }
        let stored = self.book.ban(ban.clone(), self.wall());
        self.store(stored);
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
        self.context.emit(Event::BanAdded(ban));
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
    pub(super) fn lift(&mut self, who: &Banned) -> bool {
        let stored = self.book.lift(who);
        let was = stored.is_some();
        self.store(stored);
        was
    }

    fn store(&self, rows: impl IntoIterator<Item = Stored>) {
        for row in rows {
            if self.stored.try_send(row).is_err() {
                tracing::warn!(target: "switchboard::switch", "a ban is not stored: the store is too slow or fails");
            }
        }
    }
}

/// Writes bans to the store, in order, until the Switch is gone. Each is on disk before the next.
pub(crate) async fn keep(space: Space, mut rows: mpsc::Receiver<Stored>) {
    while let Some((key, value)) = rows.recv().await {
        let written = match value {
            Some(value) => space.put(key, value).await,
            None => space.delete(key).await,
        };
        let written = match written {
            Ok(()) if rows.is_empty() => space.flush().await,
            other => other,
        };
        if let Err(error) = written {
            tracing::warn!(target: "switchboard::switch", %error, "a ban is not stored");
        }
    }
}
