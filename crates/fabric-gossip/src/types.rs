//! The names all modules use: who, where, which channel, when.
//!
//! Each is checked once, where it enters, and has a size limit in its type. Text of remote peers prints escaped.

use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use switchboard::text::printable;
use switchboard_fabric::message::PeerTime;

/// Longest endpoint: a host name of 253 bytes, a colon, five digits.
pub const MAX_ENDPOINT: usize = 259;
/// Longest channel name (fabric common/configtx/validator.go).
pub const MAX_CHANNEL: usize = 249;
/// Longest MSP id taken.
pub const MAX_ORG: usize = 256;

/// A peer's id: SHA-256 over its serialized identity's parts.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PkiId(pub [u8; 32]);

/// By its bytes, eight at a time: maps by PKI-ID are looked up for every message.
impl Ord for PkiId {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.words().cmp(&other.words())
    }
}

impl PartialOrd for PkiId {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PkiId {
    /// An id as it travels; `None` unless it has 32 bytes.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The id as it travels.
    #[must_use]
    pub fn to_bytes(self) -> Bytes {
        Bytes::copy_from_slice(&self.0)
    }

    /// Its bytes as numbers that are in the same order.
    fn words(&self) -> [u64; 4] {
        let (words, _) = self.0.as_chunks::<8>();
        let mut numbers = [0; 4];
        for (number, word) in numbers.iter_mut().zip(words) {
            *number = u64::from_be_bytes(*word);
        }
        numbers
    }

    /// Its first eight bytes as a number: equally spread, for orders that all nodes agree on.
    pub(crate) fn head(&self) -> u64 {
        self.0.first_chunk().map_or(0, |head| u64::from_be_bytes(*head))
    }
}

impl fmt::Display for PkiId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for PkiId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0.get(..4).unwrap_or_default()))
    }
}

/// host:port, with one colon (Fabric's rule: no bare IPv6 address).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint(Arc<str>);

impl Endpoint {
    /// Reads host:port; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.split_once(':')?;
        let fits = text.len() <= MAX_ENDPOINT && !host.is_empty() && port.parse::<u16>().is_ok_and(|p| p > 0);
        (fits && host.bytes().all(|b| b.is_ascii_graphic())).then(|| Self(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An organisation: its MSP id. Two that share one text are equal without reading it: see `IdentityStore::put`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Org(Arc<str>);

impl Org {
    /// An MSP id; `None` when it is empty or too long.
    #[must_use]
    pub fn parse(mspid: &str) -> Option<Self> {
        (!mspid.is_empty() && mspid.len() <= MAX_ORG).then(|| Self(mspid.into()))
    }

    /// The MSP id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Org {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.0))
    }
}

impl fmt::Debug for Org {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A gossip channel's name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channel(Bytes);

impl Channel {
    /// A name as it travels; `None` when it is empty or too long. Names we do not serve are told apart by lookup.
    #[must_use]
    pub fn parse(name: &[u8]) -> Option<Self> {
        (!name.is_empty() && name.len() <= MAX_CHANNEL).then(|| Self(Bytes::copy_from_slice(name)))
    }

    /// The name's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name's bytes, shared.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        self.0.clone()
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&String::from_utf8_lossy(&self.0)))
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A peer to send to: the connection of its PKI-ID, or one dialled to its endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// Where it can be dialled, when that is known.
    pub endpoint: Option<Endpoint>,
    /// Who it is.
    pub pki_id: PkiId,
}

/// A stream on which a message came, as the shell numbers them; an answer goes back on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// Ties the result of a handshake, a ping or an acknowledged send to who asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// The time at which something is handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Monotonic time since any fixed moment.
    pub mono: Duration,
    /// Wall clock, in nanoseconds since 1970: for timestamps on the wire and the expiry of certificates only.
    pub wall: u64,
}

/// A logical time: newer by incarnation, then by sequence (fabric gossip/protoext/comparators).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stamp {
    /// Nanoseconds since 1970 when the process started.
    pub inc: u64,
    /// Grows with each message.
    pub seq: u64,
}

impl From<PeerTime> for Stamp {
    fn from(time: PeerTime) -> Self {
        Self { inc: time.inc_num, seq: time.seq_num }
    }
}

impl From<Stamp> for PeerTime {
    fn from(stamp: Stamp) -> Self {
        Self { inc_num: stamp.inc, seq_num: stamp.seq }
    }
}

/// A member of the network, as this node knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub pki_id: PkiId,
    /// Its organisation.
    pub org: Org,
    /// Where other organisations reach it.
    pub external: Option<Endpoint>,
    /// Where its own organisation reaches it.
    pub internal: Option<Endpoint>,
    /// Whatever its program put there.
    pub metadata: Bytes,
}

impl Member {
    /// The internal endpoint, else the external one.
    #[must_use]
    pub fn preferred(&self) -> Option<&Endpoint> {
        self.internal.as_ref().or(self.external.as_ref())
    }

    /// The member as one to send to.
    #[must_use]
    pub fn remote(&self) -> Remote {
        Remote { endpoint: self.preferred().cloned(), pki_id: self.pki_id }
    }
}
