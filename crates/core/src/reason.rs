//! Why something happened: one vocabulary for refusals, disconnects and events, mapped by each wire to its own codes.

use std::fmt;

/// Why a connection was refused or a session ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Asked for by the operator or the program.
    Requested,
    /// The side that says it is shutting down, or done.
    Quitting,
    /// All slots are taken.
    TooManyPeers,
    /// A session with this identity exists already.
    AlreadyConnected,
    /// The other end is this very node.
    SelfConnection,
    /// The access list, a ban or a policy refuses the address or identity.
    AccessDenied,
    /// The address connected too often in too short a time.
    Throttled,
    /// No protocol in common.
    Useless,
    /// Same wire, but another network or version; the text names the field.
    Incompatible(&'static str),
    /// Proved an identity other than the dialled one.
    WrongIdentity,
    /// The identity itself is malformed, expired or not trusted.
    InvalidIdentity,
    /// The peer broke a rule of the wire; the text names it.
    Breach(&'static str),
    /// A handshake step took too long.
    HandshakeTimeout,
    /// No pong came in time.
    PongTimeout,
    /// Nothing at all came in time.
    IdleTimeout,
    /// Writing to the peer made no progress in time.
    WriteTimeout,
    /// Our protocol did not read its inbox and its channel is set to close.
    SlowProtocol,
    /// The bytes held for this peer would pass its cap.
    MemoryCap,
    /// A protocol ended the session with an error of its own.
    ProtocolError,
    /// The connection broke.
    NetworkError,
    /// The peer closed without a word.
    RemoteClosed,
    /// A fault of ours, not the peer's.
    LocalFault,
    /// The peer gave a code this wire does not define.
    Unknown(u64),
}

impl Reason {
    /// A short stable word for events and JSON, such as `too_many_peers`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Quitting => "quitting",
            Self::TooManyPeers => "too_many_peers",
            Self::AlreadyConnected => "already_connected",
            Self::SelfConnection => "self_connection",
            Self::AccessDenied => "access_denied",
            Self::Throttled => "throttled",
            Self::Useless => "useless",
            Self::Incompatible(_) => "incompatible",
            Self::WrongIdentity => "wrong_identity",
            Self::InvalidIdentity => "invalid_identity",
            Self::Breach(_) => "breach",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::PongTimeout => "pong_timeout",
            Self::IdleTimeout => "idle_timeout",
            Self::WriteTimeout => "write_timeout",
            Self::SlowProtocol => "slow_protocol",
            Self::MemoryCap => "memory_cap",
            Self::ProtocolError => "protocol_error",
            Self::NetworkError => "network_error",
            Self::RemoteClosed => "remote_closed",
            Self::LocalFault => "local_fault",
            Self::Unknown(_) => "unknown",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incompatible(what) => write!(f, "incompatible: {what}"),
            Self::Breach(rule) => write!(f, "breach of protocol: {rule}"),
            Self::Unknown(code) => write!(f, "unknown reason {code}"),
            other => f.write_str(&other.code().replace('_', " ")),
        }
    }
}
