//! What is told, as JSON. All remote text is escaped.

use crate::api::VERSION;
use crate::control::{Certificate, Control};
use crate::time::{rfc3339, unix};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use switchboard::preset::SlotRule;
use switchboard::protocol::info;
use switchboard::service::State;
use switchboard::switch::dial::CandidateState;
use switchboard::switch::score::{Ban, Banned};
use switchboard::text::printable;
use switchboard::{Direction, Peer, Switch};

/// From so many days before its end on a certificate is worth a warning.
const WARN_DAYS: u64 = 30;

fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e3).round() / 1e3
}

/// Whole days until a certificate expires; below zero when it has.
fn days_left(expires: SystemTime, now: SystemTime) -> i64 {
    match expires.duration_since(now) {
        Ok(left) => i64::try_from(left.as_secs() / 86_400).unwrap_or(i64::MAX),
        Err(over) => -1 - i64::try_from(over.duration().as_secs() / 86_400).unwrap_or(i64::MAX),
    }
}

fn certificate(certificate: &Certificate, now: SystemTime) -> Value {
    let days = days_left(certificate.expires, now);
    json!({
        "wire": certificate.wire,
        "what": certificate.what,
        "subject": printable(&certificate.subject),
        "expires": rfc3339(certificate.expires),
        "expires_unix": unix(certificate.expires),
        "days_left": days,
        "warning": days < WARN_DAYS as i64,
    })
}

pub(super) async fn node(control: &Arc<dyn Control>) -> Value {
    let (about, now) = (control.about(), control.now());
    let certificates: Vec<_> = about.certificates.iter().map(|found| certificate(found, now)).collect();
    let mut told = json!({
        "api": VERSION,
        "role": about.role,
        "version": about.version,
        "time": rfc3339(now),
        "started": rfc3339(about.started),
        "uptime_seconds": seconds(now.duration_since(about.started).unwrap_or_default()),
        "pid": std::process::id(),
        "data": about.data,
        "ready": control.ready().is_ok(),
        "log": control.log(),
        "wires": about.ready,
        "native": control.native(),
        "certificates": certificates,
    });
    let (Some(switch), Some(fields)) = (control.switch(), told.as_object_mut()) else { return told };
    let limits = switch.limits().await;
    let mut wires = Map::new();
    for wire in switch.wires() {
        let count = |direction| {
            switch.peers().directed(direction).iter().filter(|peer| peer.id().wire() == wire).count()
        };
        let slots = limits.as_ref().map(|limits| limits.slots(wire));
        wires.insert(
            wire.into(),
            json!({
                "inbound": count(Direction::Inbound),
                "outbound": count(Direction::Outbound),
                "inbound_slots": slots.map(|slots| slots.0),
                "outbound_slots": slots.map(|slots| slots.1),
                "slots_together": switch.slot_rule(wire) == Some(SlotRule::Together),
            }),
        );
    }
    fields.insert("peers".into(), wires.into());
    fields.insert("handshaking".into(), switch.handshaking().into());
    fields.insert("held_bytes".into(), switch.bytes_held().into());
    fields.insert("held_bytes_most".into(), switch.bytes_cap().into());
    fields.insert("bans".into(), switch.bans().await.len().into());
    fields.insert("services".into(), services(&switch));
    told
}

fn services(switch: &Switch) -> Value {
    let one = |service: switchboard::service::ServiceStatus| {
        let (state, detail) = match service.state {
            State::Running => ("running", None),
            State::Waiting { detail, .. } => ("waiting", Some(detail)),
            State::Done => ("done", None),
            State::Failed { detail } => ("failed", Some(detail)),
            _ => ("unknown", None),
        };
        let figures: Map<_, _> = service
            .figures
            .into_iter()
            .map(|(name, value)| (name.to_owned(), Value::String(value)))
            .collect();
        json!({"name": service.name, "state": state, "detail": detail, "figures": figures})
    };
    switch.services().into_iter().map(one).collect()
}

pub(super) fn peers(control: &Arc<dyn Control>) -> Value {
    let peers = control.switch().map(|switch| switch.peers().list()).unwrap_or_default();
    json!({"api": VERSION, "peers": peers.iter().map(|found| peer(control, found)).collect::<Vec<_>>()})
}

fn value(value: info::Value) -> Value {
    match value {
        info::Value::Text(text) => text.into(),
        info::Value::Number(number) => number.into(),
        info::Value::Flag(flag) => flag.into(),
        _ => Value::Null,
    }
}

/// One peer with all that is known of it.
pub(super) fn peer(control: &Arc<dyn Control>, peer: &Peer) -> Value {
    let (info, stats) = (peer.info(), peer.stats());
    let traffic = peer.traffic();
    let told = peer.protocol_infos();
    let protocol = |(name, version): (&str, u32)| {
        let info = told.iter().find(|(of, _)| *of == name).and_then(|(_, info)| info.clone());
        let info: Option<Map<_, _>> =
            info.map(|info| info.into_iter().map(|(name, found)| (name.to_owned(), value(found))).collect());
        let channels = traffic.iter().filter(|found| found.protocol == name).map(|found| {
            let micros = |share| found.lane.delays.below(share).map(|delay| delay.as_micros() as u64);
            json!({
                "id": found.channel.0,
                "messages_in": found.traffic.messages_in,
                "bytes_in": found.traffic.bytes_in,
                "messages_out": found.traffic.messages_out,
                "bytes_out": found.traffic.bytes_out,
                "queued": found.lane.queued,
                "late": found.lane.late,
                "starved": found.lane.starved,
                "delay_us_p50_below": micros(0.5),
                "delay_us_p99_below": micros(0.99),
            })
        });
        json!({"name": name, "version": version, "info": info, "channels": channels.collect::<Vec<_>>()})
    };
    let fields: Map<_, _> =
        info.fields.iter().map(|(name, text)| ((*name).to_owned(), printable(text).into())).collect();
    // Channels that share a lane share its queue: each lane counts once.
    let mut queued = std::collections::BTreeMap::new();
    for found in &traffic {
        queued.insert(found.lane_index, found.lane.queued);
    }
    json!({
        "id": peer.id().to_string(),
        "wire": peer.id().wire(),
        "direction": peer.direction().as_str(),
        "remote": peer.remote_addr().to_string(),
        "local": peer.local_addr().map(|addr| addr.to_string()),
        "name": printable(&info.name),
        "network": info.network.as_deref().map(printable),
        "listen": info.listen.as_deref().map(printable),
        "capabilities": info.capabilities.iter().map(|text| printable(text)).collect::<Vec<_>>(),
        "fields": fields,
        "provenance": peer.provenance().map(|from| from.as_str()),
        "native": control.native_peer(peer),
        "static": peer.is_static(),
        "trusted": peer.is_trusted(),
        "unconditional": peer.is_unconditional(),
        "age_seconds": seconds(peer.lifetime()),
        "rtt_us": stats.rtt.map(|rtt| rtt.as_micros() as u64),
        "bytes_in": stats.bytes_in,
        "bytes_out": stats.bytes_out,
        "messages_in": stats.messages_in,
        "messages_out": stats.messages_out,
        "dropped": stats.dropped,
        "queued": queued.values().sum::<usize>(),
        "held_bytes": peer.bytes_held(),
        "protocols": peer.protocols().map(protocol).collect::<Vec<_>>(),
    })
}

pub(super) async fn candidates(control: &Arc<dyn Control>) -> Value {
    let found = match control.switch() {
        Some(switch) => switch.candidates().await,
        None => Vec::new(),
    };
    let one = |found: &switchboard::switch::dial::CandidateStatus| {
        let (state, wait) = match found.state {
            CandidateState::Waiting(wait) => ("waiting", Some(seconds(wait))),
            CandidateState::Dialling => ("dialling", None),
            CandidateState::Connected => ("connected", None),
            CandidateState::GivenUp => ("given_up", None),
            CandidateState::Queued => ("queued", None),
        };
        json!({
            "wire": found.candidate.wire,
            "address": printable(&found.candidate.to_string()),
            "id": found.id.map(|id| id.to_string()),
            "provenance": found.candidate.provenance.as_str(),
            "static": found.is_static,
            "state": state,
            "dialled_in_seconds": wait,
            "failures": found.failures,
        })
    };
    json!({"api": VERSION, "candidates": found.iter().map(one).collect::<Vec<_>>()})
}

pub(super) fn ban(ban: &Ban) -> Value {
    let (kind, who) = match &ban.who {
        Banned::Id(id) => ("id", format!("{}:{id}", id.wire())),
        Banned::Net(net) => ("network", net.to_string()),
    };
    let seen_as = ban.seen_as.map(|id| format!("{}:{id}", id.wire()));
    json!({"kind": kind, "who": who, "seen_as": seen_as, "why": ban.why, "until": rfc3339(ban.until),
        "until_unix": unix(ban.until)})
}

pub(super) async fn bans(control: &Arc<dyn Control>) -> Value {
    let found = match control.switch() {
        Some(switch) => switch.bans().await,
        None => Vec::new(),
    };
    json!({"api": VERSION, "bans": found.iter().map(ban).collect::<Vec<_>>()})
}

pub(super) async fn limits(control: &Arc<dyn Control>) -> Value {
    let Some(switch) = control.switch() else { return json!({"api": VERSION}) };
    let (Some(limits), access) = (switch.limits().await, switch.access().await.unwrap_or_default()) else {
        return json!({"api": VERSION});
    };
    let slots: Map<_, _> = switch
        .wires()
        .into_iter()
        .map(|wire| {
            let (inbound, outbound) = limits.slots(wire);
            (wire.to_owned(), json!({"inbound": inbound, "outbound": outbound}))
        })
        .collect();
    let ids = |ids: &std::collections::BTreeSet<switchboard::PeerId>| -> Vec<String> {
        ids.iter().map(|id| format!("{}:{id}", id.wire())).collect()
    };
    json!({
        "api": VERSION,
        "slots": slots,
        "reserved_for_static": limits.reserve,
        "handshakes_inbound": limits.pending_inbound,
        "dials": limits.pending_outbound,
        "per_ip_interval_seconds": limits.per_ip_interval.map(seconds),
        "per_subnet": limits.per_subnet,
        "strict_addresses": limits.strict_addresses,
        "send_rate": limits.send_rate,
        "recv_rate": limits.recv_rate,
        "bytes_per_peer": limits.bytes_per_peer,
        "bytes_total": switch.bytes_cap(),
        "ban_threshold": limits.score.threshold,
        "ban_seconds": seconds(limits.score.ban_for),
        "trusted": ids(&limits.trusted),
        "unconditional": ids(&limits.unconditional),
        "access_allow": access.allow.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "access_deny": access.deny.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_whole_and_negative_afterwards() {
        let now = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let day = Duration::from_secs(86_400);
        assert_eq!(days_left(now + 30 * day, now), 30);
        assert_eq!(days_left(now + day / 2, now), 0);
        assert_eq!(days_left(now - day / 2, now), -1);
        assert_eq!(days_left(now - day * 3 / 2, now), -2);
    }
}
