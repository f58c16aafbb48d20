//! Our own families, in the order of `docs/metrics.md`.

use super::{Family, Form, Lag, Sample, process};
use crate::control::{About, Control, Kind};
use crate::time::unix;
use std::collections::BTreeMap;
use switchboard::census::{Census, STAGE_BOUNDS, Times};
use switchboard::service::State;
use switchboard::session::outgoing::DELAY_BOUNDS;
use switchboard::switch::score::Banned;
use switchboard::{Direction, Switch};

const PREFIX: &str = "switchboard_";

fn family(form: Form, name: &str, help: &str) -> Family {
    Family::new(form, &format!("{PREFIX}{name}"), help)
}

/// Every family.
pub(super) async fn all(control: &dyn Control, lag: &Lag) -> Vec<Family> {
    let mut families = node(&control.about());
    let mut ready = family(Form::Gauge, "ready", "Whether the node listens and its services run");
    ready.add(&[], f64::from(u8::from(control.ready().is_ok())));
    families.push(ready);
    let (sum, buckets) = lag.buckets();
    let mut late =
        family(Form::Histogram, "event_loop_lag_seconds", "How late a task that slept came to run");
    late.points.push((Vec::new(), Sample::Histogram(sum, buckets)));
    families.push(late);
    families.extend(process::all());
    if let Some(switch) = control.switch() {
        families.extend(peers(&switch));
        families.extend(counted(&switch.census()));
        families.extend(held(&switch).await);
        families.extend(services(&switch));
    }
    figures(&mut families, control.figures().await);
    families
}

fn node(about: &About) -> Vec<Family> {
    let mut build = family(Form::Gauge, "build_info", "The version that runs, and in which role; always 1");
    build.add(&[("version", about.version), ("role", about.role)], 1.0);
    let mut started =
        family(Form::Gauge, "start_time_seconds", "When the node started, in seconds since 1970");
    started.add(&[], unix(about.started) as f64);
    let mut expiry = family(
        Form::Gauge,
        "certificate_expiry_timestamp_seconds",
        "When a certificate of this node expires, in seconds since 1970",
    );
    for found in &about.certificates {
        expiry.add(&[("wire", found.wire), ("what", found.what)], unix(found.expires) as f64);
    }
    vec![build, started, expiry]
}

fn peers(switch: &Switch) -> Vec<Family> {
    let mut count = BTreeMap::new();
    for wire in switch.wires() {
        for direction in [Direction::Inbound, Direction::Outbound] {
            count.insert((wire, direction.as_str()), 0.0);
        }
    }
    for peer in switch.peers().list() {
        *count.entry((peer.id().wire(), peer.direction().as_str())).or_insert(0.0) += 1.0;
    }
    let mut peers = family(Form::Gauge, "peers", "Sessions now");
    for ((wire, direction), count) in count {
        peers.add(&[("wire", wire), ("direction", direction)], count);
    }
    let mut pending = family(Form::Gauge, "handshakes_inbound", "Inbound handshakes under way");
    pending.add(&[], switch.handshaking() as f64);
    vec![peers, pending]
}

fn seconds(millis: u64) -> f64 {
    millis as f64 / 1e3
}

fn stage(times: &Times) -> Sample {
    let bounds = STAGE_BOUNDS.into_iter().map(seconds).chain([f64::INFINITY]);
    Sample::Histogram(times.sum.as_secs_f64(), bounds.zip(times.counts).collect())
}

/// What the Switch counts.
fn counted(census: &Census) -> Vec<Family> {
    let mut began = family(Form::Counter, "sessions", "Sessions that began");
    for ((wire, direction), count) in &census.began {
        began.add(&[("wire", wire), ("direction", direction.as_str())], *count as f64);
    }
    let mut ended = family(Form::Counter, "sessions_ended", "Sessions that ended, by reason and by whom");
    for ((wire, direction, reason, by), count) in &census.ended {
        let labels = [("wire", *wire), ("direction", direction.as_str()), ("reason", *reason), ("by", *by)];
        ended.add(&labels, *count as f64);
    }
    let mut refused = family(Form::Counter, "refused", "Inbound connections that our rules refused");
    let mut failed = family(Form::Counter, "handshakes_failed", "Inbound handshakes that failed");
    let mut dials = family(Form::Counter, "dials_failed", "Dials that led to no session");
    let mut probed = family(Form::Counter, "probes", "Strangers that asked who we are, and left");
    let mut accepts = family(Form::Counter, "accept_failures", "Times the system gave us no connections");
    for ((kind, wire, reason), count) in &census.causes {
        let wire = wire.unwrap_or("unknown");
        let family = match *kind {
            "refused" => &mut refused,
            "handshake_failed" => &mut failed,
            "dial_failed" => &mut dials,
            "probed" => {
                probed.add(&[("wire", wire)], *count as f64);
                continue;
            }
            _ => {
                accepts.add(&[], *count as f64);
                continue;
            }
        };
        family.add(&[("wire", wire), ("reason", reason)], *count as f64);
    }
    let mut stages =
        family(Form::Histogram, "handshake_seconds", "Handshakes that led to a session, by stage");
    for ((wire, direction, name), times) in &census.stages {
        let labels = [("wire", *wire), ("direction", direction.as_str()), ("stage", *name)];
        let labels = labels.map(|(name, value)| (name, value.to_owned())).to_vec();
        stages.points.push((labels, stage(times)));
    }
    let mut families = vec![began, ended, refused, failed, dials, probed, accepts, stages];
    families.extend(traffic(census));
    families.push(Family::one(
        Form::Counter,
        &format!("{PREFIX}bans_made"),
        "Bans that were made, by points or by the operator",
        census.bans as f64,
    ));
    let mut broken = family(Form::Counter, "service_failures", "Failures of services");
    for (service, count) in &census.service_failures {
        broken.add(&[("service", service)], *count as f64);
    }
    families.push(broken);
    families
}

/// Bytes, messages and waits by channel.
fn traffic(census: &Census) -> Vec<Family> {
    let mut sockets = family(Form::Counter, "socket_bytes", "Bytes of sessions' sockets");
    for (wire, (inbound, outbound)) in &census.sockets {
        sockets.add(&[("wire", wire), ("flow", "in")], *inbound as f64);
        sockets.add(&[("wire", wire), ("flow", "out")], *outbound as f64);
    }
    let mut messages = family(Form::Counter, "messages", "Messages by channel");
    let mut bytes = family(Form::Counter, "message_bytes", "Bytes of messages by channel, without framing");
    for ((wire, protocol, channel), count) in &census.channels {
        let channel = channel.0.to_string();
        let labels =
            |flow| [("wire", *wire), ("protocol", protocol.as_str()), ("channel", &channel), ("flow", flow)];
        messages.add(&labels("in"), count.messages_in as f64);
        messages.add(&labels("out"), count.messages_out as f64);
        bytes.add(&labels("in"), count.bytes_in as f64);
        bytes.add(&labels("out"), count.bytes_out as f64);
    }
    let help = "How long messages waited between send and the writer; channel is all where a protocol's channels share a queue";
    let mut delays = family(Form::Histogram, "send_delay_seconds", help);
    let mut queued = family(Form::Gauge, "send_queue_messages", "Messages that wait to be sent");
    let mut late = family(Form::Counter, "messages_late", "Messages dropped because their time was over");
    let mut starved =
        family(Form::Counter, "messages_starved", "Messages that waited too long while others were sent");
    for ((wire, protocol, channel), waits) in &census.lanes {
        let channel = channel.map_or_else(|| "all".to_owned(), |channel| channel.0.to_string());
        let labels = [("wire", *wire), ("protocol", protocol.as_str()), ("channel", channel.as_str())];
        let bounds = DELAY_BOUNDS.into_iter().map(|micros| micros as f64 / 1e6).chain([f64::INFINITY]);
        let owned = labels.map(|(name, value)| (name, value.to_owned())).to_vec();
        let sample = Sample::Histogram(waits.sum.as_secs_f64(), bounds.zip(waits.counts).collect());
        delays.points.push((owned, sample));
        queued.add(&labels, waits.queued as f64);
        late.add(&labels, waits.late as f64);
        starved.add(&labels, waits.starved as f64);
    }
    let mut dropped = family(Form::Counter, "inbox_dropped", "Messages dropped because an inbox was full");
    for (wire, count) in &census.dropped {
        dropped.add(&[("wire", wire)], *count as f64);
    }
    vec![sockets, messages, bytes, delays, queued, late, starved, dropped]
}

/// Bytes held, bans, candidates.
async fn held(switch: &Switch) -> Vec<Family> {
    let gauge = |name: &str, help, value| Family::one(Form::Gauge, &format!("{PREFIX}{name}"), help, value);
    let mut bans = family(Form::Gauge, "bans", "Bans that count now");
    let (mut ids, mut nets) = (0.0, 0.0);
    for ban in switch.bans().await {
        match ban.who {
            Banned::Id(_) => ids += 1.0,
            Banned::Net(_) => nets += 1.0,
        }
    }
    bans.add(&[("kind", "id")], ids);
    bans.add(&[("kind", "network")], nets);
    let mut count: BTreeMap<(&str, &str), f64> = BTreeMap::new();
    for found in switch.candidates().await {
        let kind = if found.is_static { "static" } else { "offered" };
        *count.entry((found.candidate.wire, kind)).or_default() += 1.0;
    }
    let mut candidates =
        family(Form::Gauge, "candidates", "Those that the Switch is to dial, or keeps connected");
    for ((wire, kind), count) in count {
        candidates.add(&[("wire", wire), ("kind", kind)], count);
    }
    let mut slots = family(Form::Gauge, "slots", "Sessions there may be");
    if let Some(limits) = switch.limits().await {
        for wire in switch.wires() {
            let (inbound, outbound) = limits.slots(wire);
            slots.add(&[("wire", wire), ("direction", "inbound")], inbound as f64);
            slots.add(&[("wire", wire), ("direction", "outbound")], outbound as f64);
        }
    }
    vec![
        gauge(
            "held_bytes",
            "Bytes held for all peers: queued, being put together, waiting in inboxes",
            switch.bytes_held() as f64,
        ),
        gauge("held_bytes_limit", "Bytes that may be held for all peers", switch.bytes_cap() as f64),
        bans,
        candidates,
        slots,
    ]
}

/// A word as a part of a metric's name.
fn word(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            'A'..='Z' => {
                if out.ends_with(|c: char| c.is_ascii_lowercase()) {
                    out.push('_');
                }
                out.push(c.to_ascii_lowercase());
            }
            'a'..='z' | '0'..='9' => out.push(c),
            _ if !out.ends_with('_') && !out.is_empty() => out.push('_'),
            _ => {}
        }
    }
    out.trim_end_matches('_').to_owned()
}

/// Whether each service runs, and its figures that are numbers.
fn services(switch: &Switch) -> Vec<Family> {
    let mut up = family(Form::Gauge, "service_up", "Whether a service runs, or has done its work");
    let mut families = Vec::new();
    for service in switch.services() {
        let runs = matches!(service.state, State::Running | State::Done);
        up.add(&[("service", &service.name)], f64::from(u8::from(runs)));
        for (name, value) in service.figures {
            let Ok(value) = value.parse::<f64>() else { continue };
            let name = format!("{}_{}", word(&service.name), word(name));
            let help = "A figure of a service: see docs/metrics.md";
            families.push(Family::one(Form::Gauge, &format!("{PREFIX}{name}"), help, value));
        }
    }
    families.push(up);
    families
}

/// What parts of the node tell; those of one name stand together.
fn figures(families: &mut Vec<Family>, figures: Vec<crate::control::Figure>) {
    for figure in figures {
        let form = match figure.kind {
            Kind::Counter => Form::Counter,
            Kind::Gauge => Form::Gauge,
            Kind::Histogram => Form::Histogram,
        };
        let name = format!("{PREFIX}{}", figure.name);
        let at = families.iter().position(|family| family.name == name).unwrap_or_else(|| {
            families.push(Family::new(form, &name, figure.help));
            families.len() - 1
        });
        if let Some(family) = families.get_mut(at) {
            let sample = match form {
                Form::Histogram => Sample::Histogram(figure.value, figure.buckets),
                _ => Sample::Number(figure.value),
            };
            family.points.push((figure.labels, sample));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::word;

    #[test]
    fn names_are_made_of_words() {
        for (text, made) in
            [("tablesV4", "tables_v4"), ("in flight", "in_flight"), ("-x-", "x"), ("a.b", "a_b")]
        {
            assert_eq!(word(text), made);
        }
    }
}
