//! Messages of discv5, as they stand inside a sealed packet.
//!
//! ```text
//!   type 1 ‖ RLP list
//!   1 PING      [request-id, enr-seq]                  2 PONG      [request-id, enr-seq, ip, port]
//!   3 FINDNODE  [request-id, [distance…]]              4 NODES     [request-id, total, [record…]]
//!   5 TALKREQ   [request-id, protocol, message]        6 TALKRESP  [request-id, message]
//!   7..10 topics: in the specification, in no implementation; known and ignored
//! ```
//! (spec: discv5-wire.md; go-ethereum p2p/discover/v5wire/msg.go)
//!
//! Limits: a request id has 0 to 8 bytes; a message fits a packet, so lists are short. More than
//! [`MAX_DISTANCES`] distances are refused: there are only 257. Records are handed on as bytes: whoever asked for
//! them checks their signatures, so that nobody makes us check what we did not ask for.

use super::packet::MAX_PACKET;
use std::net::IpAddr;
use switchboard_enr::rlp::{self, RlpError};

/// Distances one FINDNODE may name.
pub const MAX_DISTANCES: usize = 257;
/// What a sealed ordinary packet takes beside its message: masking-iv, header, source id, tag.
pub(super) const OVERHEAD: usize = 16 + 23 + 32 + 16;
/// Longest TALKREQ (protocol and message together) or TALKRESP that fits a packet, whatever the request id.
pub const MAX_TALK: usize = MAX_PACKET - OVERHEAD - 1 - 3 - 9 - 3 - 3;

/// Binds an answer to its request: 0 to 8 bytes that the asker chose.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RequestId {
    bytes: [u8; 8],
    length: u8,
}

impl RequestId {
    /// An id; `None` over 8 bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut id = Self { bytes: [0; 8], length: u8::try_from(bytes.len()).ok()? };
        id.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(id)
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}

impl From<u64> for RequestId {
    fn from(number: u64) -> Self {
        Self { bytes: number.to_be_bytes(), length: 8 }
    }
}

impl std::fmt::Debug for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.as_bytes()))
    }
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// "Are you there? My record has this number."
    Ping {
        /// Binds the answer.
        id: RequestId,
        /// The sender's record.
        enr_seq: u64,
    },
    /// The answer to a PING.
    Pong {
        /// Of the PING.
        id: RequestId,
        /// The sender's record.
        enr_seq: u64,
        /// Where the PING came from, as its receiver saw it.
        ip: IpAddr,
        /// The port it came from.
        port: u16,
    },
    /// "Which nodes do you know at these distances from yourself?"
    FindNode {
        /// Binds the answer.
        id: RequestId,
        /// Log distances, 0 to 256; larger ones are ignored by the receiver.
        distances: Vec<u64>,
    },
    /// A part of the answer to a FINDNODE.
    Nodes {
        /// Of the FINDNODE.
        id: RequestId,
        /// Parts in all.
        total: u8,
        /// Records as bytes, not checked.
        records: Vec<Vec<u8>>,
    },
    /// A request of a protocol above this one.
    TalkReq {
        /// Binds the answer.
        id: RequestId,
        /// The protocol's name; remote bytes.
        protocol: Vec<u8>,
        /// The request.
        message: Vec<u8>,
    },
    /// The answer to a TALKREQ; empty when the protocol is unknown.
    TalkResp {
        /// Of the TALKREQ.
        id: RequestId,
        /// The answer.
        message: Vec<u8>,
    },
    /// A topic message: known, and ignored.
    Topic {
        /// 7 to 10.
        kind: u8,
    },
}

/// Why a message is refused. The peer is at fault: it was sealed with its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Nothing there.
    #[error("empty message")]
    Empty,
    /// No message of discv5.
    #[error("unknown message type {0}")]
    Kind(u8),
    /// A request id over 8 bytes.
    #[error("request id over 8 bytes")]
    RequestId,
    /// Not the list it should be.
    #[error(transparent)]
    Rlp(#[from] RlpError),
}

fn request_id(body: &mut &[u8]) -> Result<RequestId, MessageError> {
    RequestId::new(rlp::string(body)?).ok_or(MessageError::RequestId)
}

fn small<T: TryFrom<u64>>(body: &mut &[u8]) -> Result<T, MessageError> {
    T::try_from(rlp::number(body)?).map_err(|_| RlpError("number too large").into())
}

impl Message {
    /// Reads a message.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let (&kind, mut rest) = bytes.split_first().ok_or(MessageError::Empty)?;
        match kind {
            1..=6 => {}
            7..=10 => return Ok(Self::Topic { kind }),
            _ => return Err(MessageError::Kind(kind)),
        }
        let mut body = rlp::list(&mut rest)?;
        if !rest.is_empty() {
            return Err(RlpError("bytes after the message").into());
        }
        let body = &mut body;
        let id = request_id(body)?;
        let message = match kind {
            1 => Self::Ping { id, enr_seq: rlp::number(body)? },
            2 => {
                let enr_seq = rlp::number(body)?;
                let ip = rlp::string(body)?;
                let four = <[u8; 4]>::try_from(ip).map(IpAddr::from);
                let ip = four.or_else(|_| <[u8; 16]>::try_from(ip).map(IpAddr::from));
                let ip = ip.map_err(|_| RlpError("an IP address of neither 4 nor 16 bytes"))?;
                Self::Pong { id, enr_seq, ip, port: small(body)? }
            }
            3 => {
                let mut list = rlp::list(body)?;
                let mut distances = Vec::new();
                while !list.is_empty() {
                    if distances.len() == MAX_DISTANCES {
                        return Err(RlpError("more distances than there are").into());
                    }
                    distances.push(rlp::number(&mut list)?);
                }
                Self::FindNode { id, distances }
            }
            4 => {
                let total = small(body)?;
                let mut list = rlp::list(body)?;
                let mut records = Vec::new();
                while !list.is_empty() {
                    let before = list;
                    rlp::list(&mut list)?;
                    records.push(before.get(..before.len() - list.len()).unwrap_or_default().to_vec());
                }
                Self::Nodes { id, total, records }
            }
            5 => {
                let protocol = rlp::string(body)?.to_vec();
                Self::TalkReq { id, protocol, message: rlp::string(body)?.to_vec() }
            }
            _ => Self::TalkResp { id, message: rlp::string(body)?.to_vec() },
        };
        if body.is_empty() { Ok(message) } else { Err(RlpError("more elements than the message has").into()) }
    }

    /// The message's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        let kind = match self {
            Self::Ping { id, enr_seq } => {
                rlp::put_string(id.as_bytes(), &mut body);
                rlp::put_number(*enr_seq, &mut body);
                1
            }
            Self::Pong { id, enr_seq, ip, port } => {
                rlp::put_string(id.as_bytes(), &mut body);
                rlp::put_number(*enr_seq, &mut body);
                match ip.to_canonical() {
                    IpAddr::V4(ip) => rlp::put_string(&ip.octets(), &mut body),
                    IpAddr::V6(ip) => rlp::put_string(&ip.octets(), &mut body),
                }
                rlp::put_number(u64::from(*port), &mut body);
                2
            }
            Self::FindNode { id, distances } => {
                rlp::put_string(id.as_bytes(), &mut body);
                let mut list = Vec::new();
                distances.iter().for_each(|distance| rlp::put_number(*distance, &mut list));
                rlp::put_list(&list, &mut body);
                3
            }
            Self::Nodes { id, total, records } => {
                rlp::put_string(id.as_bytes(), &mut body);
                rlp::put_number(u64::from(*total), &mut body);
                rlp::put_list(&records.concat(), &mut body);
                4
            }
            Self::TalkReq { id, protocol, message } => {
                rlp::put_string(id.as_bytes(), &mut body);
                rlp::put_string(protocol, &mut body);
                rlp::put_string(message, &mut body);
                5
            }
            Self::TalkResp { id, message } => {
                rlp::put_string(id.as_bytes(), &mut body);
                rlp::put_string(message, &mut body);
                6
            }
            // Never sent: nobody answers it.
            Self::Topic { kind } => return vec![*kind, 0xc0],
        };
        let mut out = vec![kind];
        rlp::put_list(&body, &mut out);
        out
    }

    /// The request id; none of a topic message.
    #[must_use]
    pub fn id(&self) -> Option<RequestId> {
        match self {
            Self::Ping { id, .. }
            | Self::Pong { id, .. }
            | Self::FindNode { id, .. }
            | Self::Nodes { id, .. }
            | Self::TalkReq { id, .. }
            | Self::TalkResp { id, .. } => Some(*id),
            Self::Topic { .. } => None,
        }
    }
}
