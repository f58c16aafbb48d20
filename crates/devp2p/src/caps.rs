//! Which capabilities both sides share and where their message codes begin.
//!
//! ```text
//!   0 … 15   base protocol
//!   16 …     first shared capability in bytewise order of names, our length of it
//!   …        the next one
//! ```
//! (go-ethereum p2p/peer.go, matchProtocols) Of several shared versions of one name the highest
//! counts; what is not shared takes no codes.

use crate::message::{BASE_LENGTH, Capability};
use switchboard::wire::Offer;

/// A shared capability with its codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    /// Index of the protocol in the registry.
    pub protocol: usize,
    /// First code.
    pub offset: u64,
    /// How many codes.
    pub length: u64,
}

/// Finds the shared capabilities, in order of their codes.
#[must_use]
pub fn shared(offer: &Offer, theirs: &[Capability]) -> Vec<Shared> {
    let known = |name: &str, version: u32| {
        theirs.iter().any(|cap| cap.name == name && cap.version == u64::from(version))
    };
    let mut common: Vec<_> = offer.protocols.iter().filter(|p| known(&p.name, p.version)).collect();
    common.sort_by(|a, b| a.name.as_bytes().cmp(b.name.as_bytes()).then(b.version.cmp(&a.version)));
    common.dedup_by(|next, kept| next.name == kept.name);
    let mut offset = BASE_LENGTH;
    let place = |protocol: &&switchboard::wire::Offered| {
        let placed = Shared { protocol: protocol.index, offset, length: protocol.length };
        offset = offset.saturating_add(protocol.length);
        placed
    };
    common.iter().map(place).collect()
}

#[cfg(test)]
mod tests;
