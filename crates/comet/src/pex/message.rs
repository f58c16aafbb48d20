//! What two nodes say on channel 0x00.
//!
//! ```text
//! Message     = 0a ‖ length ‖ PexRequest {}           `0a 00`
//!             | 12 ‖ length ‖ PexAddrs { 1 repeated NetAddress }
//! NetAddress  = 1 id: 40 hex digits   2 ip: text   3 port: uint32
//! ```
//! (cometbft proto/tendermint/p2p/pex.proto, p2p/pex/pex_reactor.go)
//!
//! Limits: a message of at most [`MAX_MESSAGE`] bytes with at most [`MAX_ADDRESSES`] addresses; no more are
//! looked at and the sender is at fault, as it is with an IP address that is none or a port beyond 65535. An
//! address whose ID is none is left out and counted: the Go code refuses it later, and punishes nobody. Every
//! address takes 40 bytes here, so a message costs at most 10 kB beyond its own bytes.
//!
//! Not checked here: whether the answer was asked for, whether the addresses are of use (the book does).

use super::address::PeerAddress;
use crate::key::NodeId;
use crate::proto::{self, Fields, ProtoError};
use bytes::{Bytes, BytesMut};
use std::net::IpAddr;

/// The channel (cometbft p2p/pex/pex_reactor.go `PexChannel`).
pub const CHANNEL: u8 = 0x00;
/// Most addresses in an answer (cometbft p2p/pex/params.go `maxGetSelection`).
pub const MAX_ADDRESSES: usize = 250;
/// Longest message (cometbft p2p/pex/pex_reactor.go `maxMsgSize`: 256 bytes an address).
pub const MAX_MESSAGE: usize = 256 * MAX_ADDRESSES;

/// A message that breaks the rules: the sender's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PexError {
    /// Not the protobuf it should be.
    #[error("pex: {0}")]
    Proto(#[from] ProtoError),
    /// Neither a request nor addresses.
    #[error("pex: neither a request nor addresses")]
    Kind,
    /// Longer than any message.
    #[error("pex: a message of {0} bytes; the limit is {MAX_MESSAGE}")]
    TooLong(usize),
    /// More addresses than anybody may send.
    #[error("pex: more than {MAX_ADDRESSES} addresses in one answer")]
    TooMany,
    /// An address that is none.
    #[error("pex: address {0} of the answer has no IP address")]
    Ip(usize),
    /// A port that is none.
    #[error("pex: address {0} of the answer has port {1}")]
    Port(usize, u64),
}

impl PexError {
    /// The rule that was broken, for a `Reason`.
    #[must_use]
    pub fn rule(&self) -> &'static str {
        match self {
            Self::Proto(_) | Self::Kind => "pex encoding",
            Self::TooLong(_) => "pex message length",
            Self::TooMany => "pex address count",
            Self::Ip(_) | Self::Port(..) => "pex address",
        }
    }

    /// Whether the Go code bans for it (a bad address), or only hangs up (bytes that are no message).
    #[must_use]
    pub fn bans(&self) -> bool {
        matches!(self, Self::TooMany | Self::Ip(_) | Self::Port(..))
    }
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// "Whom do you know?"
    Request,
    /// "These."
    Addresses(Answer),
}

/// The addresses of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// At most [`MAX_ADDRESSES`].
    pub addresses: Vec<PeerAddress>,
    /// Addresses left out because their ID is none.
    pub without_id: usize,
}

impl Message {
    /// Reads a whole message.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(message: &[u8]) -> Result<Self, PexError> {
        if message.len() > MAX_MESSAGE {
            return Err(PexError::TooLong(message.len()));
        }
        let mut found = None;
        let mut fields = Fields::new(message);
        while let Some((field, value)) = fields.next()? {
            found = match field {
                1 => Some((false, value.bytes()?)),
                2 => Some((true, value.bytes()?)),
                _ => found,
            };
        }
        match found {
            Some((true, body)) => Ok(Self::Addresses(decode_answer(body)?)),
            Some((false, body)) => {
                let mut fields = Fields::new(body);
                while fields.next()?.is_some() {}
                Ok(Self::Request)
            }
            None => Err(PexError::Kind),
        }
    }

    /// The bytes of a request.
    #[must_use]
    pub fn request() -> Bytes {
        Bytes::from_static(&[0x0a, 0])
    }

    /// The bytes of an answer; addresses beyond [`MAX_ADDRESSES`] are left out.
    #[must_use]
    pub fn answer(addresses: &[PeerAddress]) -> Bytes {
        let mut body = BytesMut::new();
        for address in addresses.iter().take(MAX_ADDRESSES) {
            let mut item = BytesMut::new();
            proto::put_bytes_field(1, address.id.to_string().as_bytes(), &mut item);
            proto::put_bytes_field(2, address.ip.to_string().as_bytes(), &mut item);
            proto::put_varint_field(3, address.port.into(), &mut item);
            proto::put_message_field(1, &item, &mut body);
        }
        let mut out = BytesMut::with_capacity(1 + proto::MAX_UVARINT + body.len());
        proto::put_message_field(2, &body, &mut out);
        out.freeze()
    }

    /// The message's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Request => Self::request(),
            Self::Addresses(answer) => Self::answer(&answer.addresses),
        }
    }
}

fn decode_answer(body: &[u8]) -> Result<Answer, PexError> {
    let (mut answer, mut count) = (Answer::default(), 0);
    let mut fields = Fields::new(body);
    while let Some((field, value)) = fields.next()? {
        if field != 1 {
            continue;
        }
        count += 1;
        if count > MAX_ADDRESSES {
            return Err(PexError::TooMany);
        }
        match decode_address(value.bytes()?, count)? {
            Some(address) => answer.addresses.push(address),
            None => answer.without_id += 1,
        }
    }
    Ok(answer)
}

fn decode_address(item: &[u8], place: usize) -> Result<Option<PeerAddress>, PexError> {
    let (mut id, mut ip, mut port): (&[u8], &[u8], u64) = (&[], &[], 0);
    let mut fields = Fields::new(item);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => id = value.bytes()?,
            2 => ip = value.bytes()?,
            // A uint32 travels as 64 bits, of which the lower half counts.
            3 => port = value.varint()? & 0xffff_ffff,
            _ => {}
        }
    }
    let ip: Option<IpAddr> = std::str::from_utf8(ip).ok().and_then(|ip| ip.parse().ok());
    let ip = ip.ok_or(PexError::Ip(place))?;
    let port = u16::try_from(port).map_err(|_| PexError::Port(place, port))?;
    let id = std::str::from_utf8(id).ok().and_then(NodeId::parse);
    Ok(id.map(|id| PeerAddress::new(id, ip, port)))
}

#[cfg(test)]
mod tests;
