//! What the channels of a session are: numbers, limits, priorities and places, which do not change while it runs.
//!
//! ```text
//!   lane      0 ─ priority, queue length        channel   0 ─ wire number, protocol, its spec, its lane
//!   lane      1 ─ …                             channel   1 ─ …
//! ```
//!
//! Sessions that share the same channels share one [`Layout`]; a session itself keeps only what differs, and that only for channels
//! that were used. Limits: [`KEPT`] layouts are looked for to be shared. Where there are more, a session has its own.

use super::outgoing::Route;
use super::scheduler::are_ranked;
use crate::protocol::channel::{ChannelId, ChannelSpec};
use std::num::NonZeroU32;
use std::sync::{Arc, Weak};

/// Layouts that new sessions may share.
const KEPT: usize = 16;

/// A channel's place in a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Which of the layout's protocols.
    pub(crate) protocol: usize,
    /// Index of the channel in its protocol.
    pub(crate) index: usize,
    pub(crate) spec: ChannelSpec,
    pub(crate) route: Route,
}

/// A protocol of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ordered {
    /// Its index in the Switch's registry.
    pub(crate) registered: usize,
    pub(crate) name: Arc<str>,
    /// Its channels.
    pub(crate) specs: Arc<[ChannelSpec]>,
    /// Where each of them goes.
    pub(crate) routes: Arc<[(ChannelId, Route)]>,
}

/// The lanes, protocols and channels of a session.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Priority and queue length of each lane.
    lanes: Box<[(NonZeroU32, usize)]>,
    protocols: Box<[Ordered]>,
    /// Numbers on the wire, in the order of `places`: what is looked for with each message stands together.
    wire_ids: Box<[u64]>,
    places: Box<[Place]>,
    ranked_lanes: bool,
    ranked_channels: bool,
}

impl Layout {
    /// Lanes in this order, and protocols with their channels.
    pub(crate) fn new(lanes: &[(NonZeroU32, usize)], protocols: Vec<Ordered>) -> Self {
        let place =
            |protocol: usize, ordered: &Ordered| {
                let routed = ordered.specs.iter().zip(ordered.routes.iter()).enumerate();
                let place = |(index, (spec, (_, route))): (usize, (&ChannelSpec, &(ChannelId, Route)))| {
                    Place { protocol, index, spec: *spec, route: *route }
                };
                routed.map(place).collect::<Vec<_>>()
            };
        let places: Box<[_]> = protocols.iter().enumerate().flat_map(|(n, of)| place(n, of)).collect();
        Self {
            lanes: lanes.into(),
            wire_ids: places.iter().map(|place| place.route.wire_id).collect(),
            ranked_lanes: are_ranked(lanes.iter().map(|(priority, _)| *priority)),
            ranked_channels: are_ranked(places.iter().map(|place| place.spec.priority)),
            protocols: protocols.into(),
            places,
        }
    }

    /// Priority and queue length of each lane.
    pub(crate) fn lanes(&self) -> &[(NonZeroU32, usize)] {
        &self.lanes
    }

    /// The protocols.
    pub(crate) fn protocols(&self) -> &[Ordered] {
        &self.protocols
    }

    /// The channels of all protocols.
    pub(crate) fn places(&self) -> &[Place] {
        &self.places
    }

    /// Which of [`Layout::places`] has this number on the wire. Sessions share few channels, so a scan is the fastest map.
    pub(crate) fn find(&self, wire_id: u64) -> Option<usize> {
        self.wire_ids.iter().position(|id| *id == wire_id)
    }

    /// Some messages to send are more urgent than others.
    pub(crate) fn lanes_are_ranked(&self) -> bool {
        self.ranked_lanes
    }

    /// Some received messages are more urgent than others.
    pub(crate) fn channels_are_ranked(&self) -> bool {
        self.ranked_channels
    }
}

/// The layouts of living sessions, for those that come.
#[derive(Debug, Default)]
pub(crate) struct Layouts(Vec<Weak<Layout>>);

impl Layouts {
    /// The same layout as a living session has, where there is one; else this one, for sessions that come.
    pub(crate) fn shared(&mut self, layout: Layout) -> Arc<Layout> {
        self.0.retain(|kept| kept.strong_count() > 0);
        let same = self.0.iter().filter_map(Weak::upgrade).find(|kept| **kept == layout);
        same.unwrap_or_else(|| {
            let layout = Arc::new(layout);
            if self.0.len() < KEPT {
                self.0.push(Arc::downgrade(&layout));
            }
            layout
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(limit: usize) -> Layout {
        let specs: Arc<[_]> = Arc::new([ChannelSpec::new(3, 1).recv_limit(limit), ChannelSpec::new(4, 5)]);
        let route = |spec: &ChannelSpec| {
            (spec.id, Route { lane: 0, wire_id: 0x10 + u64::from(spec.id.0), max_message: 100 })
        };
        let routes = specs.iter().map(route).collect();
        let protocol = Ordered { registered: 7, name: "echo".into(), specs, routes };
        Layout::new(&[(NonZeroU32::MIN, 64)], vec![protocol])
    }

    #[test]
    fn channels_are_found_by_their_number() {
        let layout = layout(10);
        assert_eq!((layout.find(0x13), layout.find(0x14), layout.find(3)), (Some(0), Some(1), None));
        assert_eq!(layout.places()[1].spec.id, ChannelId(4));
        assert!(layout.channels_are_ranked() && !layout.lanes_are_ranked());
    }

    #[test]
    fn equal_layouts_are_one_and_no_more_are_kept_than_live() {
        let mut layouts = Layouts::default();
        let (one, other) = (layouts.shared(layout(10)), layouts.shared(layout(20)));
        assert!(Arc::ptr_eq(&one, &layouts.shared(layout(10))) && !Arc::ptr_eq(&one, &other));
        drop(one);
        let all: Vec<_> = (100..200).map(|limit| layouts.shared(layout(limit))).collect();
        assert_eq!(layouts.0.len(), KEPT, "what is beyond has its own");
        drop((all, other));
        let _ = layouts.shared(layout(10));
        assert_eq!(layouts.0.len(), 1);
    }
}
