//! The base protocol's messages: hello, disconnect, ping, pong, and what reasons mean.
//!
//! ```text
//!   0 hello       [5, client name, [[capability, version] …], listen port, public key 64, …ignored]
//!   1 disconnect  [reason]  (also read: the bare byte of older nodes)
//!   2 ping  []    3 pong  []     4…15 reserved: read and dropped
//! ```
//! (spec: rlpx.md, "p2p" capability)
//!
//! Limits: a hello is at most [`MAX_HELLO`] bytes with at most [`MAX_CAPS`] capabilities, names of at most [`MAX_NAME`]
//! bytes are kept (the rest is cut). A disconnect that cannot be read is one with reason "invalid" (0xff).

use bytes::BytesMut;
use switchboard::Reason;
use switchboard_enr::rlp::{self, RlpError};

/// The base protocol's version: 5 has snappy (spec: rlpx.md).
pub const VERSION: u64 = 5;
/// Message codes.
pub const HELLO: u64 = 0;
/// See [`HELLO`].
pub const DISCONNECT: u64 = 1;
/// See [`HELLO`].
pub const PING: u64 = 2;
/// See [`HELLO`].
pub const PONG: u64 = 3;
/// First code of the capabilities; those below belong to the base protocol (go-ethereum p2p/peer.go, baseProtocolLength).
pub const BASE_LENGTH: u64 = 16;
/// Largest hello (go-ethereum p2p/peer.go, baseProtocolMaxMsgSize).
pub const MAX_HELLO: usize = 2048;
/// Most capabilities read.
pub const MAX_CAPS: usize = 128;
/// Most bytes kept of a name.
pub const MAX_NAME: usize = 256;
/// The reason a disconnect has that cannot be read (go-ethereum p2p/peer_error.go, DiscInvalid).
pub const INVALID_REASON: u64 = 0xff;

/// A capability: a protocol's name and version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Capability {
    /// Its name, compared bytewise.
    pub name: String,
    /// Its version.
    pub version: u64,
}

/// The first message of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Version of the base protocol.
    pub version: u64,
    /// Client name.
    pub name: String,
    /// What is offered.
    pub capabilities: Vec<Capability>,
    /// Listening port; 0 on most nodes of today.
    pub port: u64,
    /// The sender's public key.
    pub key: [u8; 64],
}

impl Hello {
    /// Encodes; capabilities in order of name and version, as every node sends them.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut sorted: Vec<_> = self.capabilities.iter().collect();
        sorted.sort();
        let mut caps = BytesMut::new();
        for capability in sorted {
            let mut one = BytesMut::new();
            rlp::put_string(capability.name.as_bytes(), &mut one);
            rlp::put_number(capability.version, &mut one);
            rlp::put_list(&one, &mut caps);
        }
        let mut items = BytesMut::new();
        rlp::put_number(self.version, &mut items);
        rlp::put_string(self.name.as_bytes(), &mut items);
        rlp::put_list(&caps, &mut items);
        rlp::put_number(self.port, &mut items);
        rlp::put_string(&self.key, &mut items);
        let mut out = Vec::new();
        rlp::put_list(&items, &mut out);
        out
    }

    /// Decodes; items after the known ones are ignored.
    ///
    /// # Errors
    /// [`RlpError`]; a key of another length, or of zeros only, is one.
    pub fn decode(mut payload: &[u8]) -> Result<Self, RlpError> {
        if payload.len() > MAX_HELLO {
            return Err(RlpError("hello over 2048 bytes"));
        }
        let mut items = rlp::list(&mut payload)?;
        let version = rlp::number(&mut items)?;
        let name = text(rlp::string(&mut items)?);
        let mut list = rlp::list(&mut items)?;
        let mut capabilities = Vec::new();
        while !list.is_empty() {
            if capabilities.len() == MAX_CAPS {
                return Err(RlpError("more than 128 capabilities"));
            }
            let mut one = rlp::list(&mut list)?;
            let name = text(rlp::string(&mut one)?);
            capabilities.push(Capability { name, version: rlp::number(&mut one)? });
        }
        let port = rlp::number(&mut items)?;
        let key = rlp::array(&mut items)?;
        if key == [0; 64] {
            return Err(RlpError("a key of zeros"));
        }
        Ok(Self { version, name, capabilities, port, key })
    }
}

/// Bytes that are no text become `?`, so that what we keep is never longer than what came, and reads the same again.
fn text(bytes: &[u8]) -> String {
    let kept = bytes.get(..MAX_NAME).unwrap_or(bytes);
    kept.utf8_chunks().fold(String::new(), |mut text, chunk| {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push('?');
        }
        text
    })
}

/// Encodes a disconnect.
#[must_use]
pub fn encode_disconnect(code: u64) -> Vec<u8> {
    let mut item = Vec::new();
    rlp::put_number(code, &mut item);
    let mut out = Vec::new();
    rlp::put_list(&item, &mut out);
    out
}

/// Reads a disconnect's reason; never fails.
#[must_use]
pub fn decode_disconnect(payload: &[u8]) -> u64 {
    let mut whole = payload;
    let listed = rlp::list(&mut whole).and_then(|mut items| rlp::number(&mut items));
    let bare = || {
        let mut whole = payload;
        rlp::number(&mut whole)
    };
    match listed.or_else(|_| bare()) {
        Ok(code) if code <= INVALID_REASON => code,
        _ => INVALID_REASON,
    }
}

/// What a received code means in the common vocabulary.
#[must_use]
pub fn reason_of(code: u64) -> Reason {
    match code {
        0 => Reason::Requested,
        1 => Reason::NetworkError,
        2 => Reason::Breach("said by the peer"),
        3 => Reason::Useless,
        4 => Reason::TooManyPeers,
        5 => Reason::AlreadyConnected,
        6 => Reason::Incompatible("protocol version"),
        7 => Reason::InvalidIdentity,
        8 => Reason::Quitting,
        9 => Reason::WrongIdentity,
        10 => Reason::SelfConnection,
        11 => Reason::IdleTimeout,
        16 => Reason::ProtocolError,
        other => Reason::Unknown(other),
    }
}

/// The code we say for a reason (go-ethereum p2p/peer_error.go).
#[must_use]
pub fn code_of(reason: &Reason) -> u64 {
    match reason {
        Reason::NetworkError | Reason::RemoteClosed => 1,
        Reason::Breach(_) => 2,
        Reason::Useless => 3,
        Reason::TooManyPeers | Reason::Throttled | Reason::MemoryCap => 4,
        Reason::AlreadyConnected => 5,
        Reason::Incompatible(_) => 6,
        Reason::InvalidIdentity => 7,
        Reason::Quitting => 8,
        Reason::WrongIdentity => 9,
        Reason::SelfConnection => 10,
        Reason::HandshakeTimeout | Reason::PongTimeout | Reason::IdleTimeout | Reason::WriteTimeout => 11,
        Reason::ProtocolError | Reason::SlowProtocol | Reason::LocalFault => 16,
        Reason::Unknown(code) if *code <= INVALID_REASON => *code,
        // Asked for, refused by a list of ours, or a reason added later.
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
