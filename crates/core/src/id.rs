//! Who a peer is: the name of its wire and the bytes the wire proves.

use std::fmt;

/// The name of a wire, as it stands in configuration, events and URLs.
pub type WireName = &'static str;

/// Which side opened the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// They dialled us.
    Inbound,
    /// We dialled them.
    Outbound,
}

impl Direction {
    /// `inbound` or `outbound`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// The longest identity any wire may use, in bytes.
pub const MAX_ID: usize = 32;

/// A proven identity on one wire: at most [`MAX_ID`] bytes, ordered bytewise within a wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId {
    wire: WireName,
    len: u8,
    bytes: [u8; MAX_ID],
}

impl PeerId {
    /// An identity from its bytes; `None` when it is empty or longer than [`MAX_ID`].
    #[must_use]
    pub fn new(wire: WireName, id: &[u8]) -> Option<Self> {
        let mut bytes = [0; MAX_ID];
        if id.is_empty() {
            return None;
        }
        bytes.get_mut(..id.len())?.copy_from_slice(id);
        Some(Self { wire, len: id.len() as u8, bytes })
    }

    /// The wire on which this identity was proven.
    #[must_use]
    pub fn wire(&self) -> WireName {
        self.wire
    }

    /// The identity's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&self.bytes)
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
        let mut text = [[0; 2]; MAX_ID];
        for (pair, byte) in text.iter_mut().zip(self.as_bytes()) {
            *pair = [digit(byte >> 4), digit(byte & 15)];
        }
        let digits = text.as_flattened().get(..2 * self.as_bytes().len()).unwrap_or_default();
        f.write_str(std::str::from_utf8(digits).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{self}", self.wire)
    }
}
