//! Our numbers once more, under the names that operators of geth, CometBFT and Fabric have on their dashboards.
//!
//! Names: go-ethereum p2p/metrics.go (a meter is a gauge in its Prometheus exporter), cometbft p2p/metrics.go, fabric
//! gossip/metrics/metrics.go. A label that names a peer there is left out here, and its numbers are summed. A counter of
//! theirs without `_total` is told as a gauge: a counter's name must end so in OpenMetrics.

use super::{Family, Form, Labels, Sample};

const GETH: &str = "devp2p";
const COMET: &str = "comet";
const FABRIC: &str = "fabric";

/// One of our families, looked at.
struct Ours<'a>(&'a [Family]);

impl Ours<'_> {
    fn points(&self, name: &str) -> impl Iterator<Item = (&Labels, f64)> {
        let found =
            self.0.iter().filter(move |family| family.name.strip_prefix("switchboard_") == Some(name));
        found.flat_map(|family| &family.points).filter_map(|(labels, sample)| match sample {
            Sample::Number(value) => Some((labels, *value)),
            Sample::Histogram(..) => None,
        })
    }

    /// The histograms of this name, with their labels.
    fn histograms(&self, name: &str) -> Vec<(Labels, Sample)> {
        let found = self.0.iter().filter(|family| family.name.strip_prefix("switchboard_") == Some(name));
        let points = found.flat_map(|family| family.points.iter().cloned());
        points.filter(|(_, sample)| matches!(sample, Sample::Histogram(..))).collect()
    }

    /// The sum of all numbers that have these labels.
    fn sum(&self, name: &str, wanted: &[(&str, &str)]) -> f64 {
        let fits = |labels: &Labels| {
            wanted.iter().all(|(name, value)| labels.iter().any(|(n, v)| n == name && v == value))
        };
        // An empty sum of this kind is below zero, by its sign.
        self.points(name).filter(|(labels, _)| fits(labels)).map(|(_, value)| value).sum::<f64>() + 0.0
    }

    fn has(&self, wire: &str) -> bool {
        self.points("peers").any(|(labels, _)| labels.iter().any(|(name, of)| *name == "wire" && of == wire))
    }
}

fn label<'a>(labels: &'a Labels, name: &str) -> &'a str {
    labels.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
}

pub(super) fn all(families: &[Family]) -> Vec<Family> {
    let ours = Ours(families);
    let mut told = Vec::new();
    if ours.has(GETH) {
        geth(&ours, &mut told);
    }
    if ours.has(COMET) {
        comet(&ours, &mut told);
    }
    if ours.has(FABRIC) {
        fabric(&ours, &mut told);
    }
    told
}

fn geth(ours: &Ours<'_>, told: &mut Vec<Family>) {
    let wire = ("wire", GETH);
    let mut gauge = |name: &str, help: &str, value: f64| {
        told.push(Family::one(Form::Gauge, name, &format!("As in geth: {help}"), value));
    };
    gauge("p2p_peers", "sessions now", ours.sum("peers", &[wire]));
    for direction in ["inbound", "outbound"] {
        let count = ours.sum("peers", &[wire, ("direction", direction)]);
        gauge(&format!("p2p_peers_{direction}"), "sessions now", count);
    }
    gauge("p2p_ingress", "bytes read", ours.sum("socket_bytes", &[wire, ("flow", "in")]));
    gauge("p2p_egress", "bytes written", ours.sum("socket_bytes", &[wire, ("flow", "out")]));
    let served = ours.sum("sessions", &[wire, ("direction", "inbound")]);
    let turned = ours.sum("refused", &[wire]) + ours.sum("handshakes_failed", &[wire]);
    gauge("p2p_serves", "inbound connections", served + turned);
    gauge("p2p_serves_success", "inbound sessions", served);
    let dialled = ours.sum("sessions", &[wire, ("direction", "outbound")]);
    gauge("p2p_dials", "dials", dialled + ours.sum("dials_failed", &[wire]));
    gauge("p2p_dials_success", "dials that became sessions", dialled);
    for (name, reasons) in [
        ("connection", &["network_error"][..]),
        ("saturated", &["too_many_peers"]),
        ("known", &["already_connected"]),
        ("self", &["self_connection"]),
        ("useless", &["useless"]),
    ] {
        let count =
            reasons.iter().map(|reason| ours.sum("dials_failed", &[wire, ("reason", reason)])).sum::<f64>()
                + 0.0;
        gauge(&format!("p2p_dials_error_{name}"), "dials that failed", count);
    }
}

/// CometBFT's label of a channel, as in `0x22`.
fn channel(number: &str) -> String {
    number.parse::<u64>().map_or_else(|_| number.to_owned(), |number| format!("{number:#x}"))
}

fn comet(ours: &Ours<'_>, told: &mut Vec<Family>) {
    let peers = ours.sum("peers", &[("wire", COMET)]);
    told.push(Family::one(Form::Gauge, "cometbft_p2p_peers", "As in CometBFT: number of peers", peers));
    for (name, flow) in [("receive", "in"), ("send", "out")] {
        let help = format!("As in CometBFT, without the label peer_id: bytes of channels, {name}");
        let mut family = Family::new(Form::Counter, &format!("cometbft_p2p_peer_{name}_bytes"), &help);
        let of =
            |labels: &&(&Labels, f64)| label(labels.0, "wire") == COMET && label(labels.0, "flow") == flow;
        let mut sums = std::collections::BTreeMap::new();
        for (labels, value) in ours.points("message_bytes").filter(|point| of(&point)) {
            *sums.entry(channel(label(labels, "channel"))).or_insert(0.0) += value;
        }
        for (channel, sum) in sums {
            family.add(&[("chID", &channel)], sum);
        }
        told.push(family);
    }
}

fn fabric(ours: &Ours<'_>, told: &mut Vec<Family>) {
    for (name, flow) in [("sent", "out"), ("received", "in")] {
        let count = ours.sum("messages", &[("wire", FABRIC), ("flow", flow)]);
        let help = format!("As in Fabric: number of messages {name}");
        told.push(Family::one(Form::Gauge, &format!("gossip_comm_messages_{name}"), &help, count));
    }
    let overflow = ours.sum("gossip_overflow", &[]);
    let help = "As in Fabric: number of outgoing queue buffer overflows";
    told.push(Family::one(Form::Gauge, "gossip_comm_overflow_count", help, overflow));
    for (name, of, help) in [
        ("gossip_membership_total_peers_known", "gossip_channel_members", "total known peers"),
        ("gossip_state_height", "gossip_height", "current ledger height"),
        ("gossip_payload_buffer_size", "gossip_buffered_blocks", "size of the payload buffer"),
        ("gossip_leader_election_leader", "gossip_leader", "peer is leader (1) or follower (0)"),
    ] {
        let mut family = Family::new(Form::Gauge, name, &format!("As in Fabric: {help}"));
        for (labels, value) in ours.points(of) {
            family.add(&[("channel", label(labels, "channel"))], value);
        }
        told.push(family);
    }
    for (phase, help) in [
        ("state_commit", "time it takes to commit blocks"),
        ("privdata_list_missing", "time it takes to list missing private data"),
        ("privdata_fetch", "time it takes to fetch missing private data from peers"),
        ("privdata_commit_block", "time it takes to commit private data and the blocks"),
        ("privdata_purge", "time it takes to purge private data"),
        ("privdata_send", "time it takes to send missing private data"),
        ("privdata_reconciliation", "time it takes for reconciliation to complete"),
        ("privdata_pull", "time it takes to pull a missing private data element"),
        ("privdata_retrieve", "time it takes to retrieve private data from the ledger"),
    ] {
        let help = format!("As in Fabric: {help}, in seconds");
        let mut family = Family::new(Form::Histogram, &format!("gossip_{phase}_duration"), &help);
        family.points = ours.histograms(&format!("gossip_{phase}_seconds"));
        told.push(family);
    }
}
