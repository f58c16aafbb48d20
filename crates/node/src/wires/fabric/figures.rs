//! What a member tells for metrics: see `docs/metrics.md`.

use crate::operate::Figure;
use switchboard_fabric_gossip::pull::Counts;
use switchboard_fabric_gossip::shell::{ChannelJob, Shell, Times, UnsentCounts};
use switchboard_fabric_gossip::{Channel, Gossip};

/// What the state is asked for, under its lock.
struct Seen {
    alive: usize,
    dead: usize,
    identities: usize,
    channels: Vec<(Channel, usize)>,
    refusals: Vec<(&'static str, u64)>,
    deaths: [(&'static str, u64); 2],
    pulls: [(&'static str, Counts); 2],
}

impl Seen {
    fn of(gossip: &Gossip) -> Self {
        let members = |name: &Channel| gossip.peers_of_channel(name).len();
        let deaths = gossip.deaths();
        Self {
            alive: gossip.peers().count(),
            dead: gossip.dead_peers().count(),
            identities: gossip.identities().count(),
            channels: gossip.channels().map(|(name, _)| (name.clone(), members(name))).collect(),
            refusals: gossip.refusals().collect(),
            deaths: [("silent", deaths.silent), ("unreachable", deaths.unreachable)],
            pulls: gossip.pulls(),
        }
    }
}

/// The figures of a member.
pub(crate) fn of(shell: &Shell) -> Vec<Figure> {
    let Some(seen) = shell.look(Seen::of) else { return Vec::new() };
    let mut figures = Vec::new();
    let members = "Members of the network that gossip knows";
    for (state, count) in [("alive", seen.alive), ("dead", seen.dead)] {
        figures.push(Figure::gauge("gossip_members", members, count as f64).label("state", state));
    }
    let known = "Identities that gossip knows";
    figures.push(Figure::gauge("gossip_identities", known, seen.identities as f64));
    let overflow = "Messages dropped because a queue was full";
    figures.push(Figure::counter("gossip_overflow", overflow, shell.overflow()));
    for (name, help, counts) in [
        ("gossip_deaths", "How often members were thought dead", &seen.deaths[..]),
        ("gossip_refused", "Gossip messages that were refused", &seen.refusals),
    ] {
        let counts =
            counts.iter().map(|(why, count)| Figure::counter(name, help, *count).label("reason", *why));
        figures.extend(counts);
    }
    let pulls = "Pulls that began; items they asked for, and got in time";
    for (kind, counts) in seen.pulls {
        for (what, count) in [("begun", counts.begun), ("asked", counts.asked), ("answered", counts.answered)]
        {
            let figure = Figure::counter("gossip_pulls", pulls, count);
            figures.push(figure.label("kind", kind).label("what", what));
        }
    }
    load(shell, &mut figures);
    for (name, members) in seen.channels {
        channel(shell, &name, members, &mut figures);
    }
    figures
}

/// What its sends are busy with.
fn load(shell: &Shell, figures: &mut Vec<Figure>) {
    let load = shell.load();
    let turns = "Dials and probes that could begin at once";
    for (kind, free) in ["own", "any", "probe"].into_iter().zip(load.free_turns) {
        figures.push(Figure::gauge("gossip_free_turns", turns, free as f64).label("kind", kind));
    }
    let peers = "Peers for whom messages wait";
    figures.push(Figure::gauge("gossip_outboxes", peers, load.outboxes.len() as f64));
    let waiting = load.outboxes.values().sum::<usize>() as f64;
    figures.push(Figure::gauge("gossip_outbox_messages", "Messages that wait to be sent", waiting));
    let UnsentCounts { unasked, busy, absent, stuck, .. } = load.unsent;
    let unsent = "Messages that could not be sent";
    for (why, count) in [("unasked", unasked), ("busy", busy), ("absent", absent), ("stuck", stuck)] {
        figures.push(Figure::counter("gossip_unsent", unsent, count).label("reason", why));
    }
}

fn channel(shell: &Shell, channel: &Channel, members: usize, figures: &mut Vec<Figure>) {
    let name = channel.to_string();
    let mut add = |figure: Figure| figures.push(figure.label("channel", name.clone()));
    add(Figure::gauge("gossip_channel_members", "Members of a channel", members as f64));
    if let Some(job) = shell.job(channel) {
        ledger(&job, &mut add);
    }
}

fn ledger(job: &ChannelJob, add: &mut impl FnMut(Figure)) {
    add(Figure::gauge("gossip_height", "Blocks of a channel's ledger", job.height() as f64));
    let leader = f64::from(u8::from(job.leads()));
    add(Figure::gauge("gossip_leader", "Whether this peer leads a channel", leader));
    let dropped = "Blocks and requests dropped because too many waited";
    add(Figure::counter("gossip_dropped", dropped, job.dropped()));
    let figures = job.figures();
    let waiting = "Blocks that wait for an earlier one";
    add(Figure::gauge("gossip_buffered_blocks", waiting, figures.buffered as f64));
    let private = "Private sets: pushed, received, pulled, reconciled, missing at commit";
    for (what, count) in [
        ("pushed", figures.private.pushed),
        ("received", figures.private.received),
        ("pulled", figures.private.pulled),
        ("reconciled", figures.private.reconciled),
        ("missing", figures.private.missing),
    ] {
        add(Figure::counter("gossip_private_sets", private, count).label("what", what));
    }
    let refused = "Messages of state transfer and private data that were refused";
    for (what, count) in [("state", figures.state.refused), ("private", figures.private.refused)] {
        add(Figure::counter("gossip_ledger_refused", refused, count).label("what", what));
    }
    for (phase, times) in figures.durations.named() {
        add(histogram(phase, &times));
    }
}

fn histogram(phase: &str, times: &Times) -> Figure {
    let help = "How long a phase of a block's or a private set's way took";
    Figure::histogram(
        &format!("gossip_{phase}_seconds"),
        help,
        times.sum.as_secs_f64(),
        times.buckets().collect(),
    )
}
