//! Somebody we may dial: where they are and, where it is known, who they must turn out to be.

use crate::id::{PeerId, WireName};
use bytes::Bytes;
use std::fmt;

/// A dial target. Two candidates of one wire with the same known id, or else with the same host and port, are the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// The wire to speak.
    pub wire: WireName,
    /// The identity they must prove; `None` takes whoever answers.
    pub id: Option<PeerId>,
    /// IP address or host name, resolved at each dial.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// What the wire needs to dial beyond the id (a public key), opaque here; may be empty.
    pub key: Bytes,
}

impl Candidate {
    /// `host:port`, with brackets around an IPv6 address.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.id {
            Some(id) => write!(f, "{}://{id}@{}", self.wire, self.authority()),
            None => write!(f, "{}://{}", self.wire, self.authority()),
        }
    }
}
