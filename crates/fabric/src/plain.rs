//! Protocols that know nothing of this wire, on it: each rides on a gossip channel of its own name.
//!
//! ```text
//!   GossipStream   header switchboard-protocols: greet/1,chat/2        both ways; Go peers pass it over
//!   message        Envelope 0a n ‖ GossipMessage { 12 n NAME ‖ 18 04 ‖ 42 n ‖ DataMessage 0a n ‖ Payload { 08 CHANNEL ‖ 12 n ‖ bytes } }
//! ```
//! NAME is the protocol's name, CHANNEL its channel's number (left out when 0, as protobuf does), the tag CHAN_AND_ORG. The
//! envelope is unsigned: the session proves who sent it, and nobody forwards it.
//!
//! A plain protocol is shared with a peer whose header names it in the same version. A peer without the header, a Go peer
//! for one, shares none.
//!
//! Limits: a name is one of a gossip channel, no two protocols share one ([`Unplaceable`]); [`MAX_PLAIN`] protocols; a header
//! of [`MAX_HEADER`] bytes is read, a longer one names nothing.

use crate::cast::{ChannelName, data_prefix, open_data};
use bytes::{Bytes, BytesMut};
use switchboard::wire::{Offer, Offered, Placement};

/// The header that names plain protocols.
pub const HEADER: &str = "switchboard-protocols";
/// Plain protocols of one node.
pub const MAX_PLAIN: usize = 64;
/// Bytes of the header that are read.
pub const MAX_HEADER: usize = 4_096;
/// Number on the wire of the first channel of the first plain protocol: beyond contents and casts.
const BASE: u64 = 1 << 20;
/// Numbers kept for each plain protocol: its channels.
const SPAN: u64 = 1 << 16;

/// A protocol for which there is no place on this wire.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unplaceable {
    /// Its name cannot be that of a gossip channel.
    #[error("fabric: protocol {name:?} rides on a gossip channel of its name, which must be {rule}")]
    Name {
        /// The name.
        name: String,
        /// What it must be.
        rule: &'static str,
    },
    /// Two would ride on one gossip channel.
    #[error("fabric: two protocols would ride on the gossip channel {0:?}: rename one")]
    Twice(String),
    /// There are too many.
    #[error("fabric: more than {MAX_PLAIN} protocols: register fewer")]
    TooMany,
}

/// One plain protocol with its place.
#[derive(Debug, Clone)]
struct Place {
    /// Index in the Switch's registry.
    index: usize,
    version: u32,
    channel: ChannelName,
}

/// The plain protocols of a session, or of an offer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places(Vec<Place>);

fn is_plain(offered: &Offered) -> bool {
    offered.placement == Placement::Plain
}

impl Places {
    /// Finds a place for each plain protocol of an offer; `taken` is a gossip channel that something else rides on.
    pub(crate) fn of(offer: &Offer, taken: &[&[u8]]) -> Result<Self, Unplaceable> {
        let mut places = Vec::<Place>::new();
        for offered in offer.protocols.iter().filter(|offered| is_plain(offered)) {
            let rule = "a lower-case letter, then up to 248 lower-case letters, digits, dots and dashes";
            let named = offered.name.parse::<ChannelName>();
            let channel = named.map_err(|_| Unplaceable::Name { name: offered.name.clone(), rule })?;
            let earlier = places.iter().find(|place| place.channel == channel);
            // Versions of one protocol share its channel; a session has one of them.
            let again = earlier.is_some_and(|earlier| earlier.version == offered.version);
            if again || taken.contains(&channel.as_bytes()) {
                return Err(Unplaceable::Twice(offered.name.clone()));
            }
            places.push(Place { index: offered.index, version: offered.version, channel });
        }
        if places.len() > MAX_PLAIN { Err(Unplaceable::TooMany) } else { Ok(Self(places)) }
    }

    /// The header's value; none where nothing is offered.
    pub(crate) fn header(&self) -> Option<http::HeaderValue> {
        let name = |place: &Place| {
            let name = String::from_utf8_lossy(place.channel.as_bytes()).into_owned();
            format!("{name}/{}", place.version)
        };
        let names: Vec<_> = self.0.iter().map(name).collect();
        if names.is_empty() { None } else { http::HeaderValue::from_str(&names.join(",")).ok() }
    }

    /// Those the peer named too; of several versions of one name the highest.
    pub(crate) fn shared(mut self, theirs: Option<&[u8]>) -> Self {
        let theirs = theirs.filter(|header| header.len() <= MAX_HEADER).unwrap_or_default();
        let named: Vec<_> = theirs.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).collect();
        self.0.retain(|place| {
            let version = place.version.to_string();
            let own = [place.channel.as_bytes(), b"/", version.as_bytes()].concat();
            named.contains(&own.as_slice())
        });
        let best = |place: &Place, all: &[Place]| {
            !all.iter().any(|other| other.channel == place.channel && other.version > place.version)
        };
        let all = self.0.clone();
        self.0.retain(|place| best(place, &all));
        self
    }

    /// The number on the wire of a plain protocol's channel; `None` when the protocol is not shared.
    pub(crate) fn wire_id(&self, protocol: usize, channel: u16) -> Option<u64> {
        let place = self.0.iter().position(|place| place.index == protocol)?;
        Some(BASE + place as u64 * SPAN + u64::from(channel))
    }

    /// Appends what stands before a message of `len` bytes. `None` for a number that is none of a plain protocol.
    pub(crate) fn prefix(&self, wire_id: u64, len: usize, out: &mut BytesMut) -> Option<()> {
        let number = wire_id.checked_sub(BASE)?;
        let place = self.0.get(usize::try_from(number / SPAN).ok()?)?;
        data_prefix(place.channel.as_bytes(), number % SPAN, len, out);
        Some(())
    }

    /// The number on the wire and the message in a DataMessage that came on a gossip channel.
    pub(crate) fn open(&self, channel: &[u8], payload: impl FnOnce() -> Bytes) -> Option<(u64, Bytes)> {
        let place = self.0.iter().position(|place| place.channel.as_bytes() == channel)?;
        let (number, data) = open_data(payload())?;
        (number < SPAN).then(|| (BASE + place as u64 * SPAN + number, data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Content, DataMessage, Envelope, GossipMessage, Payload, Tag};
    use prost::Message;

    fn offer(names: &[(&str, u32)]) -> Offer {
        let offered = |(index, (name, version)): (usize, &(&str, u32))| Offered {
            index,
            name: (*name).to_owned(),
            version: *version,
            length: 1,
            channels: Vec::new(),
            placement: Placement::Plain,
        };
        Offer { protocols: names.iter().enumerate().map(offered).collect() }
    }

    #[test]
    fn names_are_those_of_gossip_channels_and_nobody_elses() {
        assert!(matches!(Places::of(&offer(&[("Greet", 1)]), &[]), Err(Unplaceable::Name { .. })));
        assert!(matches!(Places::of(&offer(&[("greet", 1), ("greet", 1)]), &[]), Err(Unplaceable::Twice(_))));
        assert!(matches!(Places::of(&offer(&[("cast", 1)]), &[b"cast"]), Err(Unplaceable::Twice(_))));
        assert!(Places::of(&offer(&[("greet", 1), ("greet", 2)]), &[b"cast"]).is_ok());
    }

    #[test]
    fn what_both_name_is_shared_in_the_highest_version() {
        let ours = Places::of(&offer(&[("greet", 1), ("greet", 2), ("chat", 1)]), &[]).unwrap();
        assert_eq!(ours.header().unwrap(), "greet/1,greet/2,chat/1");
        let shared = |theirs: Option<&[u8]>| {
            let shared = ours.clone().shared(theirs);
            (0..3).filter(|protocol| shared.wire_id(*protocol, 0).is_some()).collect::<Vec<_>>()
        };
        assert_eq!(shared(Some(b"greet/1, greet/2 ,other/1")), [1]);
        assert_eq!(shared(Some(b"greet/1,chat/1")), [0, 2]);
        for nothing in [None, Some(&b""[..]), Some(b"greet"), Some(b"greet/01"), Some(&[b'a'; 5_000][..])] {
            assert_eq!(shared(nothing), [0; 0], "{nothing:?}");
        }
    }

    #[test]
    fn a_message_is_plain_protobuf_and_comes_out_again() {
        let places = Places::of(&offer(&[("chat", 1), ("greet", 1)]), &[]).unwrap();
        for (channel, len) in [(0, 0), (1, 5), (127, 127), (128, 200), (u16::MAX, 70_000)] {
            let data = Bytes::from(vec![7; len]);
            let wire_id = places.wire_id(1, channel).unwrap();
            let mut ours = BytesMut::new();
            places.prefix(wire_id, len, &mut ours).unwrap();
            ours.extend_from_slice(&data);
            let payload = Payload { seq_num: channel.into(), data: data.clone(), private_data: vec![] };
            let content = Content::DataMsg(DataMessage { payload: Some(payload) });
            let envelope: Envelope = GossipMessage::new(Tag::ChanAndOrg, b"greet", 0, content).unsigned();
            if len > 0 {
                assert!(ours[..] == envelope.encode_to_vec()[..], "channel {channel}, {len} bytes");
            }
            let ours = crate::message::decode_envelope(ours.freeze()).unwrap();
            assert_eq!(places.open(b"greet", || ours.payload), Some((wire_id, data)));
        }
        assert_eq!(places.open(b"other", Bytes::new), None);
        assert_eq!(places.open(b"greet", || Bytes::from_static(b"\xff")), None);
        assert!(places.prefix(5, 1, &mut BytesMut::new()).is_none(), "a content's number");
    }
}
