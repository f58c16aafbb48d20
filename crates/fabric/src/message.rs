//! The messages of Fabric gossip (package `gossip`), every field as it stands on the wire.
//!
//! ```text
//!   Envelope { payload 1, signature 2, secret_envelope 3 }        payload = GossipMessage, signature over the payload's bytes
//!   GossipMessage { nonce 1, channel 2, tag 3, one of contents 5 … 25 }
//! ```
//! (fabric-protos gossip/message.proto)
//!
//! Every nested message is optional: what is absent is told apart from what is empty, and nothing here panics on it.
//! Limits: the caller bounds the bytes before decoding ([`crate::grpc`]); the entries of all lists of a message are counted
//! before it is decoded ([`scan::MAX_ENTRIES`]). A signed envelope is never encoded again: forward the bytes that came.

use crate::scan;
use prost::{Enumeration, Message, Oneof};

/// Bytes that travel, with a signature over `payload`.
#[derive(Clone, PartialEq, Message)]
pub struct Envelope {
    /// An encoded [`GossipMessage`].
    #[prost(bytes = "bytes", tag = "1")]
    pub payload: bytes::Bytes,
    /// By the sender's or author's identity; absent on unsigned messages.
    #[prost(bytes = "bytes", tag = "2")]
    pub signature: bytes::Bytes,
    /// For the own organisation only.
    #[prost(message, optional, tag = "3")]
    pub secret_envelope: Option<SecretEnvelope>,
}

/// The part of an envelope that stays in the organisation.
#[derive(Clone, PartialEq, Message)]
pub struct SecretEnvelope {
    /// An encoded [`Secret`].
    #[prost(bytes = "bytes", tag = "1")]
    pub payload: bytes::Bytes,
    /// Signature over the payload.
    #[prost(bytes = "bytes", tag = "2")]
    pub signature: bytes::Bytes,
}

/// What stays in the organisation.
#[derive(Clone, PartialEq, Message)]
pub struct Secret {
    /// The content.
    #[prost(oneof = "SecretContent", tags = "1")]
    pub content: Option<SecretContent>,
}

/// The one content of a secret.
#[derive(Clone, PartialEq, Oneof)]
pub enum SecretContent {
    /// The endpoint inside the organisation's network.
    #[prost(string, tag = "1")]
    InternalEndpoint(String),
}

/// Who a message may go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum Tag {
    /// Not said.
    Undefined = 0,
    /// Anybody.
    Empty = 1,
    /// The own organisation.
    OrgOnly = 2,
    /// The channel's peers.
    ChanOnly = 3,
    /// The channel's peers of the own organisation.
    ChanAndOrg = 4,
    /// The channel's peers, or the own organisation.
    ChanOrOrg = 5,
}

/// What a pull is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum PullMsgType {
    /// Not said.
    Undefined = 0,
    /// Blocks.
    BlockMsg = 1,
    /// Identities.
    IdentityMsg = 2,
}

/// The message inside an envelope.
#[derive(Clone, PartialEq, Message)]
pub struct GossipMessage {
    /// Ties an answer to its question; 0 where there is none.
    #[prost(uint64, tag = "1")]
    pub nonce: u64,
    /// The channel's name, or nothing.
    #[prost(bytes = "bytes", tag = "2")]
    pub channel: bytes::Bytes,
    /// Who it may go to.
    #[prost(enumeration = "Tag", tag = "3")]
    pub tag: i32,
    /// The content.
    #[prost(
        oneof = "Content",
        tags = "5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25"
    )]
    pub content: Option<Content>,
}

/// The one content of a message; the names are those of the wire.
#[derive(Clone, PartialEq, Oneof)]
#[allow(missing_docs)] // each is described at its type
pub enum Content {
    #[prost(message, tag = "5")]
    AliveMsg(AliveMessage),
    #[prost(message, tag = "6")]
    MemReq(MembershipRequest),
    #[prost(message, tag = "7")]
    MemRes(MembershipResponse),
    #[prost(message, tag = "8")]
    DataMsg(DataMessage),
    #[prost(message, tag = "9")]
    Hello(GossipHello),
    #[prost(message, tag = "10")]
    DataDig(DataDigest),
    #[prost(message, tag = "11")]
    DataReq(DataRequest),
    #[prost(message, tag = "12")]
    DataUpdate(DataUpdate),
    #[prost(message, tag = "13")]
    Empty(Empty),
    #[prost(message, tag = "14")]
    Conn(ConnEstablish),
    #[prost(message, tag = "15")]
    StateInfo(StateInfo),
    #[prost(message, tag = "16")]
    StateSnapshot(StateInfoSnapshot),
    #[prost(message, tag = "17")]
    StateInfoPullReq(StateInfoPullRequest),
    #[prost(message, tag = "18")]
    StateRequest(RemoteStateRequest),
    #[prost(message, tag = "19")]
    StateResponse(RemoteStateResponse),
    #[prost(message, tag = "20")]
    LeadershipMsg(LeadershipMessage),
    #[prost(message, tag = "21")]
    PeerIdentity(PeerIdentity),
    #[prost(message, tag = "22")]
    Ack(Acknowledgement),
    #[prost(message, tag = "23")]
    PrivateReq(RemotePvtDataRequest),
    #[prost(message, tag = "24")]
    PrivateRes(RemotePvtDataResponse),
    #[prost(message, tag = "25")]
    PrivateData(PrivateDataMessage),
}

/// Nothing.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Empty {}

/// A logical time: process start and a counter.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct PeerTime {
    /// Nanoseconds since the epoch when the process started.
    #[prost(uint64, tag = "1")]
    pub inc_num: u64,
    /// Grows with each message.
    #[prost(uint64, tag = "2")]
    pub seq_num: u64,
}

/// A member of the network.
#[derive(Clone, PartialEq, Message)]
pub struct Member {
    /// host:port as seen from outside the organisation.
    #[prost(string, tag = "1")]
    pub endpoint: String,
    /// Whatever the program puts there.
    #[prost(bytes = "bytes", tag = "2")]
    pub metadata: bytes::Bytes,
    /// The member's PKI-ID.
    #[prost(bytes = "bytes", tag = "3")]
    pub pki_id: bytes::Bytes,
}

/// "I am alive."
#[derive(Clone, PartialEq, Message)]
pub struct AliveMessage {
    /// Who.
    #[prost(message, optional, tag = "1")]
    pub membership: Option<Member>,
    /// When.
    #[prost(message, optional, tag = "2")]
    pub timestamp: Option<PeerTime>,
    /// The identity, in the first seconds after a start.
    #[prost(bytes = "bytes", tag = "4")]
    pub identity: bytes::Bytes,
}

/// "Who else is there?"
#[derive(Clone, PartialEq, Message)]
pub struct MembershipRequest {
    /// A signed [`AliveMessage`] of the asker.
    #[prost(message, optional, tag = "1")]
    pub self_information: Option<Envelope>,
    /// Always empty.
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub known: Vec<bytes::Bytes>,
}

/// Who is there: signed alive messages.
#[derive(Clone, PartialEq, Message)]
pub struct MembershipResponse {
    /// Of the living.
    #[prost(message, repeated, tag = "1")]
    pub alive: Vec<Envelope>,
    /// Of those not heard of lately.
    #[prost(message, repeated, tag = "2")]
    pub dead: Vec<Envelope>,
}

/// A block.
#[derive(Clone, PartialEq, Message)]
pub struct DataMessage {
    /// Its content.
    #[prost(message, optional, tag = "1")]
    pub payload: Option<Payload>,
}

/// A block with its number.
#[derive(Clone, PartialEq, Message)]
pub struct Payload {
    /// Block number.
    #[prost(uint64, tag = "1")]
    pub seq_num: u64,
    /// An encoded block.
    #[prost(bytes = "bytes", tag = "2")]
    pub data: bytes::Bytes,
    /// Private data of the block's transactions.
    #[prost(bytes = "bytes", repeated, tag = "3")]
    pub private_data: Vec<bytes::Bytes>,
}

/// Starts a pull.
#[derive(Clone, PartialEq, Message)]
pub struct GossipHello {
    /// Names the pull.
    #[prost(uint64, tag = "1")]
    pub nonce: u64,
    /// Unused.
    #[prost(bytes = "bytes", tag = "2")]
    pub metadata: bytes::Bytes,
    /// What is pulled.
    #[prost(enumeration = "PullMsgType", tag = "3")]
    pub msg_type: i32,
}

/// What one side of a pull has.
#[derive(Clone, PartialEq, Message)]
pub struct DataDigest {
    /// Names the pull.
    #[prost(uint64, tag = "1")]
    pub nonce: u64,
    /// Names of items.
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub digests: Vec<bytes::Bytes>,
    /// What is pulled.
    #[prost(enumeration = "PullMsgType", tag = "3")]
    pub msg_type: i32,
}

/// What the other side wants.
#[derive(Clone, PartialEq, Message)]
pub struct DataRequest {
    /// Names the pull.
    #[prost(uint64, tag = "1")]
    pub nonce: u64,
    /// Names of items.
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub digests: Vec<bytes::Bytes>,
    /// What is pulled.
    #[prost(enumeration = "PullMsgType", tag = "3")]
    pub msg_type: i32,
}

/// The items.
#[derive(Clone, PartialEq, Message)]
pub struct DataUpdate {
    /// Names the pull.
    #[prost(uint64, tag = "1")]
    pub nonce: u64,
    /// The items' envelopes.
    #[prost(message, repeated, tag = "2")]
    pub data: Vec<Envelope>,
    /// What is pulled.
    #[prost(enumeration = "PullMsgType", tag = "3")]
    pub msg_type: i32,
}

/// The first message of a connection, in both directions.
#[derive(Clone, PartialEq, Message)]
pub struct ConnEstablish {
    /// The sender's PKI-ID.
    #[prost(bytes = "bytes", tag = "1")]
    pub pki_id: bytes::Bytes,
    /// The sender's serialized identity.
    #[prost(bytes = "bytes", tag = "2")]
    pub identity: bytes::Bytes,
    /// SHA-256 of the TLS certificate the sender uses on this connection.
    #[prost(bytes = "bytes", tag = "3")]
    pub tls_cert_hash: bytes::Bytes,
    /// "Only tell me who you are."
    #[prost(bool, tag = "4")]
    pub probe: bool,
}

/// What a peer says of its state in a channel.
#[derive(Clone, PartialEq, Message)]
pub struct StateInfo {
    /// When.
    #[prost(message, optional, tag = "2")]
    pub timestamp: Option<PeerTime>,
    /// Who.
    #[prost(bytes = "bytes", tag = "3")]
    pub pki_id: bytes::Bytes,
    /// Which channel, for those who know its name (SHA-256 of PKI-ID and name).
    #[prost(bytes = "bytes", tag = "4")]
    pub channel_mac: bytes::Bytes,
    /// What.
    #[prost(message, optional, tag = "5")]
    pub properties: Option<Properties>,
}

/// A peer's state in a channel.
#[derive(Clone, PartialEq, Message)]
pub struct Properties {
    /// Blocks held.
    #[prost(uint64, tag = "1")]
    pub ledger_height: u64,
    /// It left.
    #[prost(bool, tag = "2")]
    pub left_channel: bool,
    /// Installed chaincodes.
    #[prost(message, repeated, tag = "3")]
    pub chaincodes: Vec<Chaincode>,
}

/// An installed chaincode.
#[derive(Clone, PartialEq, Message)]
pub struct Chaincode {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its version.
    #[prost(string, tag = "2")]
    pub version: String,
    /// Its metadata.
    #[prost(bytes = "bytes", tag = "3")]
    pub metadata: bytes::Bytes,
}

/// Many [`StateInfo`]s.
#[derive(Clone, PartialEq, Message)]
pub struct StateInfoSnapshot {
    /// Their envelopes.
    #[prost(message, repeated, tag = "1")]
    pub elements: Vec<Envelope>,
}

/// Asks for a [`StateInfoSnapshot`].
#[derive(Clone, PartialEq, Message)]
pub struct StateInfoPullRequest {
    /// Which channel.
    #[prost(bytes = "bytes", tag = "1")]
    pub channel_mac: bytes::Bytes,
}

/// Asks for blocks.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct RemoteStateRequest {
    /// First.
    #[prost(uint64, tag = "1")]
    pub start_seq_num: u64,
    /// Last.
    #[prost(uint64, tag = "2")]
    pub end_seq_num: u64,
}

/// The blocks.
#[derive(Clone, PartialEq, Message)]
pub struct RemoteStateResponse {
    /// Each with its number.
    #[prost(message, repeated, tag = "1")]
    pub payloads: Vec<Payload>,
}

/// Part of a leader election.
#[derive(Clone, PartialEq, Message)]
pub struct LeadershipMessage {
    /// Who.
    #[prost(bytes = "bytes", tag = "1")]
    pub pki_id: bytes::Bytes,
    /// When.
    #[prost(message, optional, tag = "2")]
    pub timestamp: Option<PeerTime>,
    /// "I am the leader", else "I would be".
    #[prost(bool, tag = "3")]
    pub is_declaration: bool,
}

/// An identity to be spread.
#[derive(Clone, PartialEq, Message)]
pub struct PeerIdentity {
    /// Its PKI-ID.
    #[prost(bytes = "bytes", tag = "1")]
    pub pki_id: bytes::Bytes,
    /// The serialized identity.
    #[prost(bytes = "bytes", tag = "2")]
    pub cert: bytes::Bytes,
    /// Unused.
    #[prost(bytes = "bytes", tag = "3")]
    pub metadata: bytes::Bytes,
}

/// "I have it", or why not.
#[derive(Clone, PartialEq, Message)]
pub struct Acknowledgement {
    /// Empty for success.
    #[prost(string, tag = "1")]
    pub error: String,
}

/// Asks for private data.
#[derive(Clone, PartialEq, Message)]
pub struct RemotePvtDataRequest {
    /// Which.
    #[prost(message, repeated, tag = "1")]
    pub digests: Vec<PvtDataDigest>,
}

/// Names private data.
#[derive(Clone, PartialEq, Message)]
pub struct PvtDataDigest {
    /// Transaction.
    #[prost(string, tag = "1")]
    pub tx_id: String,
    /// Namespace.
    #[prost(string, tag = "2")]
    pub namespace: String,
    /// Collection.
    #[prost(string, tag = "3")]
    pub collection: String,
    /// Block.
    #[prost(uint64, tag = "4")]
    pub block_seq: u64,
    /// Place in the block.
    #[prost(uint64, tag = "5")]
    pub seq_in_block: u64,
}

/// The private data.
#[derive(Clone, PartialEq, Message)]
pub struct RemotePvtDataResponse {
    /// Each with its name.
    #[prost(message, repeated, tag = "1")]
    pub elements: Vec<PvtDataElement>,
}

/// Private data with its name.
#[derive(Clone, PartialEq, Message)]
pub struct PvtDataElement {
    /// Its name.
    #[prost(message, optional, tag = "1")]
    pub digest: Option<PvtDataDigest>,
    /// Its content.
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub payload: Vec<bytes::Bytes>,
}

/// Private data pushed at endorsement.
#[derive(Clone, PartialEq, Message)]
pub struct PrivateDataMessage {
    /// Its content.
    #[prost(message, optional, tag = "1")]
    pub payload: Option<PrivatePayload>,
}

/// Private data of one collection.
#[derive(Clone, PartialEq, Message)]
pub struct PrivatePayload {
    /// Collection.
    #[prost(string, tag = "1")]
    pub collection_name: String,
    /// Namespace.
    #[prost(string, tag = "2")]
    pub namespace: String,
    /// Transaction.
    #[prost(string, tag = "3")]
    pub tx_id: String,
    /// The data.
    #[prost(bytes = "bytes", tag = "4")]
    pub private_rwset: bytes::Bytes,
    /// Ledger height at simulation.
    #[prost(uint64, tag = "5")]
    pub private_sim_height: u64,
    /// Collection configuration, encoded.
    #[prost(bytes = "bytes", tag = "6")]
    pub collection_configs: bytes::Bytes,
}

/// A serialized identity (package `msp`).
#[derive(Clone, PartialEq, Message)]
pub struct SerializedIdentity {
    /// The organisation's MSP id.
    #[prost(string, tag = "1")]
    pub mspid: String,
    /// The certificate, in PEM.
    #[prost(bytes = "bytes", tag = "2")]
    pub id_bytes: bytes::Bytes,
}

impl GossipMessage {
    /// A message with a content.
    #[must_use]
    pub fn new(tag: Tag, channel: &[u8], nonce: u64, content: Content) -> Self {
        let channel = bytes::Bytes::copy_from_slice(channel);
        Self { nonce, channel, tag: tag.into(), content: Some(content) }
    }

    /// The message in an envelope without a signature.
    #[must_use]
    pub fn unsigned(&self) -> Envelope {
        Envelope { payload: self.encode_to_vec().into(), ..Envelope::default() }
    }
}

/// Decodes an envelope.
///
/// # Errors
/// What prost says.
pub fn decode_envelope(bytes: bytes::Bytes) -> Result<Envelope, prost::DecodeError> {
    Envelope::decode(bytes)
}

/// A message that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageFault {
    /// Not a gossip message.
    #[error("not a gossip message")]
    Malformed,
    /// Its lists have more entries than any network needs.
    #[error("over {0} entries in the lists of one message")]
    Entries(usize),
}

/// Decodes the message in an envelope, whose lists may have [`scan::MAX_ENTRIES`] entries together.
///
/// # Errors
/// [`MessageFault`], before anything is decoded where there are too many entries.
pub fn decode_message(payload: bytes::Bytes) -> Result<GossipMessage, MessageFault> {
    let entries = scan::entries(&payload, scan::MAX_ENTRIES).map_err(|_| MessageFault::Malformed)?;
    if entries > scan::MAX_ENTRIES {
        return Err(MessageFault::Entries(scan::MAX_ENTRIES));
    }
    GossipMessage::decode(payload).map_err(|_| MessageFault::Malformed)
}

#[cfg(test)]
mod tests;
