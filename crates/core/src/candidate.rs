//! Somebody we may dial: where they are and, where it is known, who they must turn out to be.

use crate::id::{PeerId, WireName};
use bytes::Bytes;
use std::fmt;

/// Further addresses a candidate may have.
pub const MAX_MORE: usize = 15;

/// Where a candidate came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Provenance {
    /// Offered by the program.
    #[default]
    Offered,
    /// To be kept connected.
    Static,
    /// Asked for by `connect`.
    Asked,
    /// A source of this name.
    Source(&'static str),
}

impl Provenance {
    /// `offered`, `static`, `asked` or the source's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Offered => "offered",
            Self::Static => "static",
            Self::Asked => "asked",
            Self::Source(name) => name,
        }
    }
}

/// A dial target. Two candidates of one wire with the same known id, or else with the same host and port, are the
/// same.
///
/// ```
/// use switchboard::Candidate;
///
/// let candidate = Candidate::new("memory", "10.0.0.1", 9_000).also("10.0.0.2", 9_000);
/// assert_eq!(candidate.to_string(), "memory://10.0.0.1:9000");
/// assert_eq!(candidate.addresses().count(), 2);
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Candidate {
    /// The wire to speak.
    pub wire: WireName,
    /// The identity they must prove; `None` takes whoever answers.
    pub id: Option<PeerId>,
    /// IP address or host name, resolved at each dial. Empty: not known, to be found by a resolver.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Further addresses, dialled in order when the first does not answer.
    pub more: Vec<(String, u16)>,
    /// What the wire needs to dial beyond the id (a public key), opaque here; may be empty.
    pub key: Bytes,
    /// Who gave it. The Switch sets it.
    pub provenance: Provenance,
}

impl Candidate {
    /// Whoever answers at an address.
    #[must_use]
    pub fn new(wire: WireName, host: impl Into<String>, port: u16) -> Self {
        let (more, key, provenance) = (Vec::new(), Bytes::new(), Provenance::default());
        Self { wire, id: None, host: host.into(), port, more, key, provenance }
    }

    /// An identity whose addresses a resolver has to find.
    #[must_use]
    pub fn unresolved(id: PeerId) -> Self {
        Self::new(id.wire(), "", 0).id(id)
    }

    /// Says who they must turn out to be.
    #[must_use]
    pub fn id(mut self, id: PeerId) -> Self {
        self.id = Some(id);
        self
    }

    /// Says who they must turn out to be, if that is known.
    #[must_use]
    pub fn maybe_id(mut self, id: Option<PeerId>) -> Self {
        self.id = id;
        self
    }

    /// Adds what the wire needs beyond the id.
    #[must_use]
    pub fn key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = key.into();
        self
    }

    /// Adds a further address; beyond [`MAX_MORE`] it is ignored.
    #[must_use]
    pub fn also(mut self, host: impl Into<String>, port: u16) -> Self {
        if self.more.len() < MAX_MORE {
            self.more.push((host.into(), port));
        }
        self
    }

    /// Every known address, in the order they are dialled.
    pub fn addresses(&self) -> impl Iterator<Item = (&str, u16)> {
        let first = (!self.host.is_empty()).then_some((self.host.as_str(), self.port));
        first.into_iter().chain(self.more.iter().map(|(host, port)| (host.as_str(), *port)))
    }

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
            Some(id) if self.host.is_empty() => write!(f, "{}://{id}", self.wire),
            Some(id) => write!(f, "{}://{id}@{}", self.wire, self.authority()),
            None => write!(f, "{}://{}", self.wire, self.authority()),
        }
    }
}

impl fmt::Debug for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        match self.more.len() {
            0 => Ok(()),
            more => write!(f, " (+{more} addresses)"),
        }
    }
}
