//! Events of a Switch, as JSON and as text. All remote text is escaped.

use serde_json::{Value, json};
use std::time::SystemTime;
use switchboard::session::outgoing::{ChannelStats, Delays};
use switchboard::text::printable;
use switchboard::{Event, Peer};

fn peer(peer: &Peer) -> Value {
    let info = peer.info();
    json!({
        "wire": peer.id().wire(),
        "id": peer.id().to_string(),
        "direction": peer.direction().as_str(),
        "remote": peer.remote_addr().to_string(),
        "name": printable(&info.name),
        "capabilities": info.capabilities.iter().map(|c| printable(c)).collect::<Vec<_>>(),
    })
}

/// How long messages of each channel that sent any had waited for their turn: half of them, and all but one in a
/// hundred, were faster than this.
fn channels(peer: &Peer) -> Value {
    let seconds = |delays: &Delays, share| delays.below(share).map(|delay| delay.as_secs_f64());
    let used = |stats: &ChannelStats| *stats != ChannelStats::default();
    let all = peer.channel_stats().into_iter().filter(|(_, _, stats)| used(stats));
    all.map(|(protocol, channel, stats)| {
        let sent: u64 = stats.delays.0.iter().sum();
        json!({"protocol": protocol, "channel": channel.0, "sent": sent, "queued": stats.queued,
            "delay_p50": seconds(&stats.delays, 0.5), "delay_p99": seconds(&stats.delays, 0.99),
            "late": stats.late, "starved": stats.starved})
    })
    .collect()
}

fn with<const N: usize>(mut value: Value, more: [(&str, Value); N]) -> Value {
    if let Some(fields) = value.as_object_mut() {
        fields.extend(more.map(|(k, v)| (k.to_owned(), v)));
    }
    value
}

/// A Switch's event; `None` for one that has no words.
#[must_use]
pub fn switch_event(event: &Event) -> Option<(Value, String)> {
    Some(match event {
        Event::PeerAdded(p) => {
            let text =
                format!("+ {} {} {} {}", p.id().wire(), p.direction().as_str(), p.id(), p.remote_addr());
            (with(peer(p), [("event", "peer_added".into())]), text)
        }
        Event::PeerDropped { peer: p, end } => {
            let stats = p.stats();
            let more = [
                ("event", "peer_dropped".into()),
                ("reason", end.reason.code().into()),
                ("text", end.reason.to_string().into()),
                ("by", end.by.as_str().into()),
                ("detail", end.detail.clone().into()),
                ("seconds", p.lifetime().as_secs_f64().into()),
                ("bytes_in", stats.bytes_in.into()),
                ("bytes_out", stats.bytes_out.into()),
                ("messages_in", stats.messages_in.into()),
                ("messages_out", stats.messages_out.into()),
                ("dropped", stats.dropped.into()),
                ("channels", channels(p)),
            ];
            let text = format!("- {} {} {} (by {})", p.id().wire(), p.id(), end.reason, end.by.as_str());
            (with(peer(p), more), text)
        }
        Event::ChannelStarved { peer: p, channel: (protocol, channel), waited } => (
            json!({"event": "channel_starved", "wire": p.id().wire(), "id": p.id().to_string(),
                "protocol": protocol, "channel": channel.0, "waited": waited.as_secs_f64()}),
            format!(
                "channel {:#04x} of {protocol} with {} had no turn to send for {:.1} s: others of a higher priority leave no room",
                channel.0,
                p.id(),
                waited.as_secs_f64()
            ),
        ),
        Event::Refused { remote, direction, id, reason } => (
            json!({"event": "refused", "remote": remote.to_string(), "direction": direction.as_str(),
                "wire": id.map(|id| id.wire()), "id": id.map(|id| id.to_string()), "reason": reason.code(),
                "text": reason.to_string()}),
            format!("refused {remote}: {reason}"),
        ),
        Event::HandshakeFailed { remote, direction, wire, reason, detail } => (
            json!({"event": "handshake_failed", "remote": remote.to_string(), "direction": direction.as_str(),
                "wire": wire, "reason": reason.code(), "text": reason.to_string(), "detail": detail}),
            format!("handshake with {remote} failed: {detail}"),
        ),
        Event::Probed { remote, id } => (
            json!({"event": "probed", "wire": id.wire(), "id": id.to_string(), "remote": remote.to_string()}),
            format!("{remote} asked who we are: {} {id}", id.wire()),
        ),
        Event::AcceptFailed { listening, detail } => (
            json!({"event": "accept_failed", "listening": listening.to_string(), "detail": detail}),
            format!(
                "cannot accept connections on {listening}: {detail}: if files ran out, raise the limit (ulimit -n)"
            ),
        ),
        Event::DialFailed { candidate, reason, detail, retry_in } => (
            json!({"event": "dial_failed", "wire": candidate.wire, "to": candidate.to_string(),
                "reason": reason.code(), "text": reason.to_string(), "detail": detail,
                "retry_in": retry_in.map(|d| d.as_secs_f64())}),
            format!("dialling {candidate} failed: {detail}"),
        ),
        Event::Summed { cause, count, first, last, since } => (
            json!({"event": "summed", "of": cause.kind, "wire": cause.wire, "reason": cause.reason, "count": count,
                "seconds": since.as_secs_f64(), "first": sample(first), "last": sample(last)}),
            format!("{count} more of {} ({}) in {:.1} s", cause.kind, cause.reason, since.as_secs_f64()),
        ),
        Event::IdentitySwitched { candidate, id } => (
            json!({"event": "identity_switched", "wire": id.wire(), "to": candidate.to_string(), "id": id.to_string()}),
            format!("dialled {candidate}, {id} answered and stays"),
        ),
        Event::BanAdded(ban) => (
            json!({"event": "ban_added", "who": ban.who.to_string(), "why": ban.why,
                "until_unix": ban.until.duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs())}),
            format!("banned {}: {}", ban.who, ban.why),
        ),
        Event::Service(event) => {
            let fields: serde_json::Map<_, _> =
                event.fields.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
            let text: Vec<_> = event.fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let value = json!({"event": event.what, "service": event.service, "fields": fields});
            (value, format!("{} {} {}", event.service, event.what, text.join(" ")))
        }
        Event::ServiceFailed { service, detail, restart_in } => (
            json!({"event": "service_failed", "service": service, "detail": detail,
                "restart_in": restart_in.map(|d| d.as_secs_f64())}),
            format!("{service} failed: {detail}"),
        ),
        _ => return None,
    })
}

/// An event within a sum.
fn sample(event: &Event) -> Value {
    switch_event(event).map_or(Value::Null, |(value, _)| value)
}

/// Gives an event the time it was told, behind its name.
pub fn stamp(event: &mut Value, at: SystemTime) {
    if let Some(fields) = event.as_object_mut() {
        fields.entry("time").or_insert_with(|| crate::time::rfc3339(at).into());
    }
}
