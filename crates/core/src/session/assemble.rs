//! From a finished handshake to a session that can run: lanes, inboxes, the peer, the parts of its tasks.
//!
//! ```text
//!   Established ─▶ shared channels ─┬─▶ lanes (one a channel, or one a protocol) ─▶ Outgoing ─▶ Peer
//!                                   └─▶ inboxes (one a channel) ─▶ ChannelIo ─▶ Task (one a protocol)
//! ```
//!
//! A channel that was negotiated but not registered is left out. Nothing is started here.

use super::flow::Flow;
use super::inbox::Inboxes;
use super::ledger::Ledger;
use super::outgoing::{Outgoing, Route};
use super::reader::RecvLane;
use super::supervise::{Parts, Rates, Task};
use super::tap::Tap;
use crate::event::Publisher;
use crate::id::Direction;
use crate::protocol::Protocol;
use crate::protocol::channel::ChannelSpec;
use crate::protocol::io::{ChannelIo, ChannelSender};
use crate::switch::peer::{About, Ending, Inner, Peer, SharedProtocol, Stats};
use crate::wire::{Established, Lanes, Offered};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use tokio::time::Instant;

/// What the Switch knows of a session, beside its handshake.
pub(crate) struct Terms {
    pub(crate) direction: Direction,
    pub(crate) remote: SocketAddr,
    pub(crate) lanes: Lanes,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) rates: Rates,
    pub(crate) tap: Option<Arc<dyn Tap>>,
    pub(crate) events: Arc<Publisher>,
}

/// Makes a peer and the parts of its session. `registered` gives a protocol by its index.
pub(crate) fn assemble<'a>(
    established: Established,
    terms: Terms,
    registered: impl Fn(usize) -> Option<(&'a Arc<dyn Protocol>, &'a Offered)>,
) -> (Peer, Parts) {
    let Established {
        peer: id,
        holder: _,
        info,
        channels,
        encoder,
        decoder,
        reader,
        writer,
        leftover,
        rules,
    } = established;
    let Terms { direction, remote, lanes: kind, ledger, rates, tap, events } = terms;
    let known = |c: &crate::wire::SessionChannel| {
        let (_, offered) = registered(c.protocol)?;
        let spec = offered.channels.iter().find(|spec| spec.id == c.channel)?;
        Some((c.protocol, c.wire_id, *spec))
    };
    let (mut lanes, mut lane_of) = (Vec::<(NonZeroU32, usize)>::new(), BTreeMap::new());
    let mut protocols: BTreeMap<usize, Vec<(Route, ChannelSpec)>> = BTreeMap::new();
    for (protocol, wire_id, spec) in channels.iter().filter_map(known) {
        let group = (protocol, (kind == Lanes::PerChannel).then_some(wire_id));
        let lane = *lane_of.entry(group).or_insert(lanes.len());
        match lanes.get_mut(lane) {
            Some((priority, queue)) => {
                (*priority, *queue) = ((*priority).max(spec.priority), *queue + spec.send_queue);
            }
            None => lanes.push((spec.priority, spec.send_queue)),
        }
        let route = Route { lane, wire_id, max_message: encoder.max_message(wire_id) };
        protocols.entry(protocol).or_default().push((route, spec));
    }
    // Exactly as long as they get: they last as long as the session.
    let count = protocols.values().map(Vec::len).sum();
    let mut flows = Vec::with_capacity(count);
    for (index, channels) in &protocols {
        let Some((_, offered)) = registered(*index) else { continue };
        let name: Arc<str> = offered.name.as_str().into();
        let flow = |(route, spec): &(Route, ChannelSpec)| {
            Flow::new(Arc::clone(&name), spec.id, route.lane, route.wire_id)
        };
        flows.extend(channels.iter().map(flow));
    }
    let outgoing = Arc::new(Outgoing::new(&lanes, Arc::clone(&ledger), rules).counting(flows));
    let (mut tasks, mut recv, mut listed) = (Vec::new(), Vec::with_capacity(count), Vec::new());
    for (index, channels) in protocols {
        let Some((protocol, offered)) = registered(index) else { continue };
        let specs: Vec<_> = channels.iter().map(|(_, spec)| *spec).collect();
        let inboxes = Arc::new(Inboxes::new(&specs, Arc::clone(&ledger)));
        for (index, (route, spec)) in channels.iter().enumerate() {
            recv.push(RecvLane::new(route.wire_id, spec, Arc::clone(&inboxes), index));
        }
        let routes = channels.iter().map(|(route, spec)| (spec.id, *route)).collect();
        let sender = ChannelSender::of_session(Arc::clone(&outgoing), routes);
        let protocol = Arc::clone(protocol);
        listed.push(SharedProtocol {
            name: offered.name.clone(),
            version: offered.version,
            sender: sender.clone(),
            protocol: Some(Arc::clone(&protocol)),
        });
        tasks.push(Task { name: offered.name.as_str().into(), protocol, io: ChannelIo { inboxes, sender } });
    }
    let inner = Inner {
        id,
        direction,
        remote,
        info,
        since: Instant::now(),
        shared: listed.into(),
        outgoing,
        end: Ending::default(),
        data: RwLock::default(),
        stats: Stats::default(),
        about: About::default(),
    };
    let peer = Peer { inner: Arc::new(inner) };
    let parts = Parts {
        peer: peer.clone(),
        encoder,
        decoder,
        reader,
        writer,
        leftover,
        rules,
        lanes: recv,
        tasks,
        ledger,
        rates,
        tap,
        events,
    };
    (peer, parts)
}
