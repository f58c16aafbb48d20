//! Which member may be told of which.
//!
//! ```text
//!   asker of our organisation:      alive messages of our organisation, as they are
//!   asker of another organisation:  those of its own, and ours if both sides have an external endpoint; no secret parts
//!   asker of an unknown one:        nothing
//!
//!   forwarding an alive message of our organisation:   to everybody; without an external endpoint, within the organisation
//!                      of another organisation:        to ours and to its own, and only to peers with an external endpoint
//! ```
//! (fabric gossip/gossip/gossip_impl.go, disclosurePolicy, peersByOriginOrgPolicy, sendAndFilterSecrets)

use crate::types::Org;

/// What a decision is made from.
#[derive(Debug, Clone, Copy)]
pub struct Sides<'a> {
    /// Our organisation.
    pub ours: &'a Org,
    /// That of the alive message's author.
    pub author: &'a Org,
    /// Whether the author has an external endpoint.
    pub author_external: bool,
    /// That of the peer it may go to.
    pub peer: &'a Org,
    /// Whether that peer has an external endpoint.
    pub peer_external: bool,
}

/// Whether a membership answer to this peer may hold this author's alive message.
#[must_use]
pub fn in_answer(s: Sides<'_>) -> bool {
    let concerns = s.author == s.peer || s.author == s.ours;
    concerns && (s.author == s.peer || (s.author_external && s.peer_external))
}

/// Whether this author's alive message may be gossiped to this peer.
#[must_use]
pub fn by_gossip(s: Sides<'_>) -> bool {
    if s.author == s.ours {
        // Without an external endpoint it stays in the organisation.
        return s.peer == s.ours || s.author_external;
    }
    // A foreign peer without external endpoint is of no use to others; nor is a foreign message to one of ours without.
    s.author_external && (s.peer == s.ours || s.peer == s.author) && s.peer_external
}

/// Whether the secret part goes to this peer.
#[must_use]
pub fn with_secret(ours: &Org, peer: &Org) -> bool {
    ours == peer
}
