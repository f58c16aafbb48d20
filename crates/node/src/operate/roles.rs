//! What each role offers its operator.

use super::{Certificate, Figure, Operated, event};
use crate::builder::Node;
use crate::config::NodeConfig;
use crate::error::NodeError;
use crate::events::cast_event;
use crate::kit::Gauge;
use crate::settings::{Setting, Values};
use crate::slots::OwnSlots;
use crate::wires::Kits;
use crate::wires::devp2p::bootnode::Bootnode;
use crate::wires::devp2p::info;
use crate::wires::fabric::FabricPeer;
use crate::wires::fabric::events::shell_event;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use switchboard::{BoxFuture, Candidate, Event, Events, Peer, PeerId, Switch, WireName};
use switchboard_admin::Kind;
use switchboard_admin::control::EventStream;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

impl From<Gauge> for Figure {
    fn from(gauge: Gauge) -> Self {
        let Gauge { name, help, grows, labels, value } = gauge;
        let kind = if grows { Kind::Counter } else { Kind::Gauge };
        let buckets = Vec::new();
        Self { name: name.to_owned(), help, kind, labels, value, buckets }
    }
}

impl From<crate::kit::Certificate> for Certificate {
    fn from(found: crate::kit::Certificate) -> Self {
        let crate::kit::Certificate { wire, what, subject, not_before, expires } = found;
        Self { wire, what, subject, not_before, expires }
    }
}

/// Events of a Switch as JSON.
fn switch_events(events: Events) -> EventStream {
    let next = |mut events: Events| async move {
        loop {
            let value = match events.recv().await.ok()? {
                Event::Behind { missed, .. } => json!({"event": "missed", "count": missed}),
                found => match event::switch_event(&found) {
                    Some((value, _)) => value,
                    None => continue,
                },
            };
            return Some((value, events));
        }
    };
    stream::unfold(events, next).boxed()
}

/// Events of a broadcast as JSON.
fn told<T: Clone + Send + 'static>(
    events: Receiver<T>,
    words: impl Fn(&T) -> Option<Value> + Send + Copy + 'static,
) -> EventStream {
    let next = move |mut events: Receiver<T>| async move {
        loop {
            let value = match events.recv().await {
                Ok(found) => words(&found),
                Err(RecvError::Lagged(count)) => Some(json!({"event": "missed", "count": count})),
                Err(RecvError::Closed) => return None,
            };
            if let Some(value) = value {
                return Some((value, events));
            }
        }
    };
    stream::unfold(events, next).boxed()
}

/// Takes over limits, access lists and trust.
async fn apply(switch: &Switch, own: &[OwnSlots], old: &NodeConfig, new: &NodeConfig) -> Vec<String> {
    let mut changes = Vec::new();
    let slots = |config: &NodeConfig| -> Vec<(WireName, (usize, usize))> {
        let given = config.values.has("max-peers");
        own.iter().map(|own| (own.wire, own.slots(config.max_peers, given))).collect()
    };
    let (were, are) = (slots(old), slots(new));
    if were != are && new.values.has("max-peers") {
        let was =
            if old.values.has("max-peers") { old.max_peers.to_string() } else { "not given".to_owned() };
        changes.push(format!("max-peers is {} now, it was {was}", new.max_peers));
    } else if were != are {
        let each: Vec<_> = are.iter().map(|(wire, (i, o))| format!("{wire} {i} and {o}")).collect();
        changes.push(format!(
            "max-peers is not given now: inbound and outbound slots are {}, each wire's own",
            each.join(", ")
        ));
    }
    for (name, was, is) in
        [("send-rate", old.send_rate, new.send_rate), ("recv-rate", old.recv_rate, new.recv_rate)]
    {
        if was != is {
            let shown =
                |rate: Option<std::num::NonZeroU64>| rate.map_or("none".to_owned(), |rate| rate.to_string());
            changes.push(format!("{name} is {} now for new sessions, it was {}", shown(is), shown(was)));
        }
    }
    let (most, sends, recvs) = (new.max_peers, new.send_rate, new.recv_rate);
    let served = switch.wires();
    let gone: Vec<PeerId> = old.trusted.iter().filter(|id| !new.trusted.contains(id)).copied().collect();
    let come: Vec<PeerId> = new.trusted.iter().filter(|id| !old.trusted.contains(id)).copied().collect();
    if !changes.is_empty() {
        switch
            .change_limits(move |limits| {
                (limits.send_rate, limits.recv_rate) = (sends, recvs);
                if were != are {
                    (limits.inbound, limits.outbound) = (most, most.max(1));
                    limits.wires.extend(are);
                }
            })
            .await;
    }
    for (ids, on, word) in [(gone, false, "trusted no longer"), (come, true, "trusted now")] {
        for id in ids {
            switch.set_trusted(id, on).await;
            changes.push(format!("{}:{id} is {word}", id.wire()));
        }
    }
    let nets = |nets: &[ipnet::IpNet]| nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let same = old.access.allow == new.access.allow && old.access.deny == new.access.deny;
    if !same {
        switch.set_access(new.access.clone()).await;
        let (allow, deny) = (nets(&new.access.allow), nets(&new.access.deny));
        changes.push(format!("access lists: allow [{allow}], deny [{deny}]"));
    }
    let (before, after): (BTreeSet<_>, BTreeSet<_>) =
        (old.peers.iter().collect(), new.peers.iter().collect());
    for (peers, on) in [(before.difference(&after), false), (after.difference(&before), true)] {
        for peer in peers {
            // They were checked when the settings were decided. A wire that is new with them is served from the next start.
            let Ok((_, candidate)) = new.kits.parse(peer) else { continue };
            if !served.contains(&candidate.wire) {
                continue;
            }
            match on {
                true => switch.add_static(candidate).await,
                false => switch.remove_static(candidate).await,
            }
            let word = if on { "is kept connected now" } else { "is not kept connected any more" };
            changes.push(format!("peer {peer} {word}"));
        }
    }
    changes
}

impl Operated for Node {
    fn role(&self) -> &'static str {
        if self.config().values.switch("seed-mode").unwrap_or(false) { "seed" } else { "node" }
    }

    fn switch(&self) -> Option<Switch> {
        Some(Self::switch(self).clone())
    }

    fn shown(&self) -> Value {
        self.ready()
    }

    fn native(&self) -> Value {
        match info::node_info(self) {
            Some(told) => json!({"devp2p": told}),
            None => json!({}),
        }
    }

    fn native_peer(&self, peer: &Peer) -> Option<Value> {
        info::peer_info(peer)
    }

    fn certificates(&self) -> Vec<Certificate> {
        self.built()
            .iter()
            .filter_map(|built| built.upkeep.as_ref())
            .flat_map(|upkeep| upkeep.certificates())
            .map(Certificate::from)
            .collect()
    }

    fn figures(&self) -> BoxFuture<'_, Vec<Figure>> {
        Box::pin(async {
            let mut figures = Vec::new();
            for upkeep in self.built().iter().filter_map(|built| built.upkeep.as_ref()) {
                figures.extend(upkeep.gauges().await.into_iter().map(Figure::from));
            }
            figures
        })
    }

    fn events(&self) -> EventStream {
        let switch = switch_events(Self::switch(self).events());
        match self.cast() {
            Some(cast) => {
                let casts = told(cast.events(), |found| cast_event(found).map(|(value, _)| value));
                stream::select(switch, casts).boxed()
            }
            None => switch,
        }
    }

    fn parse(&self, text: &str) -> Result<Candidate, String> {
        Self::parse(self, text).map_err(|error| error.to_string())
    }

    fn settings(&self) -> Vec<Setting> {
        self.config().kits.all_settings()
    }

    fn reload<'a>(
        &'a self,
        old: &'a Values,
        new: &'a Values,
    ) -> BoxFuture<'a, Result<Vec<String>, NodeError>> {
        Box::pin(async move {
            let kits = &self.config().kits;
            let decide = |values: &Values| NodeConfig::decide_among(kits.clone(), values.clone());
            let (was, is) = (decide(old)?, decide(new)?);
            let mut changes = self.reload_keys(&is)?();
            changes.extend(apply(Self::switch(self), &self.own_slots(), &was, &is).await);
            Ok(changes)
        })
    }
}

impl Operated for FabricPeer {
    fn role(&self) -> &'static str {
        if self.stores() { "fabric-peer" } else { "fabric-observer" }
    }

    fn switch(&self) -> Option<Switch> {
        Some(Self::switch(self).clone())
    }

    fn shown(&self) -> Value {
        self.ready().clone()
    }

    fn certificates(&self) -> Vec<Certificate> {
        crate::wires::fabric::certificates(self.wire()).into_iter().map(Certificate::from).collect()
    }

    fn figures(&self) -> BoxFuture<'_, Vec<Figure>> {
        Box::pin(async { crate::wires::fabric::figures::of(self.shell()) })
    }

    fn events(&self) -> EventStream {
        let gossip = told(self.shell().events(), |found| shell_event(found).map(|(value, _)| value));
        stream::select(switch_events(Self::switch(self).events()), gossip).boxed()
    }

    fn parse(&self, text: &str) -> Result<Candidate, String> {
        let (kit, candidate) = Kits::builtin().parse(text).map_err(|error| error.to_string())?;
        match kit.name() {
            switchboard_fabric::FABRIC => Ok(candidate),
            other => Err(format!("{text} is of wire {other}, which this peer does not serve")),
        }
    }

    fn settings(&self) -> Vec<Setting> {
        crate::wires::fabric::peer::settings(self.stores())
    }

    fn reload<'a>(
        &'a self,
        old: &'a Values,
        new: &'a Values,
    ) -> BoxFuture<'a, Result<Vec<String>, NodeError>> {
        Box::pin(async move {
            let (was, is) = (Self::decide(old)?, Self::decide(new)?);
            let mut changes = self.reload_keys(&is, old, new)?();
            let own = OwnSlots::of(self.wire(), None);
            changes.extend(apply(Self::switch(self), &[own], &was, &is).await);
            Ok(changes)
        })
    }
}

impl Operated for Bootnode {
    fn role(&self) -> &'static str {
        "bootnode"
    }

    fn switch(&self) -> Option<Switch> {
        None
    }

    fn shown(&self) -> Value {
        self.ready()
    }

    fn certificates(&self) -> Vec<Certificate> {
        Vec::new()
    }

    fn figures(&self) -> BoxFuture<'_, Vec<Figure>> {
        Box::pin(async {
            let told = crate::wires::devp2p::discovery::gauges(self.discovery()).await;
            told.into_iter().map(Figure::from).collect()
        })
    }

    fn events(&self) -> EventStream {
        use switchboard_discv::udp::Event;
        told(self.discovery().events(), |found| match found {
            Event::Added(version, node) => {
                Some(json!({"event": "node_added", "version": format!("{version:?}").to_lowercase(),
                "id": node.id().to_string(), "address": node.udp().to_string()}))
            }
            Event::Local(record) => Some(json!({"event": "own_record", "enr": record.to_string()})),
            Event::ClockDoubt => Some(json!({"event": "clock_doubt"})),
            _ => None,
        })
    }

    fn parse(&self, text: &str) -> Result<Candidate, String> {
        Kits::builtin().parse(text).map(|(_, candidate)| candidate).map_err(|error| error.to_string())
    }

    fn settings(&self) -> Vec<Setting> {
        Vec::new()
    }

    fn reload<'a>(&'a self, _: &'a Values, _: &'a Values) -> BoxFuture<'a, Result<Vec<String>, NodeError>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}
