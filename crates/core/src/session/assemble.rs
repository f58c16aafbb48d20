//! From a finished handshake to a session that can run: lanes, inboxes, the peer, the parts of its tasks.
//!
//! ```text
//!   Established ─▶ shared channels ─┬─▶ lanes (one a channel, or one a protocol) ─▶ Outgoing ─▶ Peer
//!                                   └─▶ inboxes (one a channel) ─▶ ChannelIo ─▶ Task (one a protocol)
//! ```
//!
//! A channel that was negotiated but not registered is left out. Nothing is started here.

use super::inbox::Inboxes;
use super::layout::{Layout, Layouts, Ordered};
use super::ledger::Ledger;
use super::outgoing::{Outgoing, Route};
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

/// Makes a peer and the parts of its session, whose channels may be laid out as those of another. `registered` gives a protocol by its index.
pub(crate) fn assemble<'a>(
    established: Established,
    terms: Terms,
    layouts: &mut Layouts,
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
    let ordered = |(index, channels): (usize, Vec<(Route, ChannelSpec)>)| {
        let (_, offered) = registered(index)?;
        Some(Ordered {
            registered: index,
            name: offered.name.as_str().into(),
            specs: channels.iter().map(|(_, spec)| *spec).collect(),
            routes: channels.iter().map(|(route, spec)| (spec.id, *route)).collect(),
        })
    };
    let layout = layouts.shared(Layout::new(&lanes, protocols.into_iter().filter_map(ordered).collect()));
    let outgoing = Arc::new(Outgoing::new(Arc::clone(&layout), Arc::clone(&ledger), rules));
    let (mut tasks, mut listed) = (Vec::new(), Vec::new());
    for Ordered { registered: index, name, specs, routes } in layout.protocols() {
        let Some((protocol, offered)) = registered(*index) else { continue };
        let inboxes = Arc::new(Inboxes::new(Arc::clone(specs), Arc::clone(&ledger)));
        let sender = ChannelSender::of_session(Arc::clone(&outgoing), Arc::clone(routes));
        let protocol = Arc::clone(protocol);
        listed.push(SharedProtocol {
            name: offered.name.clone(),
            version: offered.version,
            sender: sender.clone(),
            protocol: Some(Arc::clone(&protocol)),
        });
        tasks.push(Task { name: Arc::clone(name), protocol, io: ChannelIo { inboxes, sender } });
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
        tasks,
        ledger,
        rates,
        tap,
        events,
    };
    (peer, parts)
}
