//! Blocks and gossip messages as JSON, for `fabric inspect`.
//!
//! ```text
//!   block     { number, previous_hash, data_hash, data_hash_fits, hash, size, transactions […], last_config, signatures […] }
//!   message   { nonce, channel, tag, content: name, its name: { fields as on the wire } }
//!   envelope  a message, with { signature, secret }
//! ```
//! Bytes are hex; those over [`MAX_SHOWN`] are told by length and SHA-256. Remote text is escaped and cut. What cannot be decoded
//! inside something that can is shown as bytes with the fault beside it.
//!
//! Limits: [`MAX_BLOCK`] bytes, [`MAX_DEPTH`] envelopes in each other, [`MAX_LISTED`] entries of a list; how
//! many there are is told all the same.

use super::decoded::{Block, MAX_BLOCK};
use super::signatures::{OrdererSigned, Signer};
use super::transaction::{CONFIG, ENDORSER_TRANSACTION, Transaction};
use crate::privdata::rwset::{self, TxPrivate};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use switchboard::text::{printable, printable_bytes};
use switchboard_fabric::identity::Identity;
use switchboard_fabric::message::{
    Content, DataUpdate, Envelope, GossipMessage, Member, Payload, PeerTime, PullMsgType, PvtDataDigest,
    Secret, SecretContent, Tag, decode_envelope, decode_message,
};

/// Bytes shown in full.
pub const MAX_SHOWN: usize = 4_096;
/// Envelopes decoded in each other.
pub const MAX_DEPTH: usize = 3;
/// Entries of a list that are shown.
pub const MAX_LISTED: usize = 1_024;

/// Nothing that Fabric's gossip sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("neither a block, nor an envelope, nor a gossip message")]
pub struct Unknown;

/// Shows bytes as whichever they are: a block, an envelope with a gossip message in it, or a gossip message.
///
/// # Errors
/// [`Unknown`].
pub fn inspect(bytes: &Bytes) -> Result<Value, Unknown> {
    if bytes.is_empty() || bytes.len() > MAX_BLOCK {
        return Err(Unknown);
    }
    // An envelope reads as a block with nothing in it, so a block must have a hash and a transaction to be one.
    if let Ok(decoded) = Block::decode(bytes.clone())
        && !decoded.stated_data_hash().is_empty()
        && !decoded.transactions().is_empty()
    {
        return Ok(json!({ "kind": "block", "block": block(&decoded) }));
    }
    if let Ok(found) = decode_envelope(bytes.clone())
        && !found.payload.is_empty()
        && decode_message(found.payload.clone()).is_ok_and(|message| message.content.is_some())
    {
        return Ok(json!({ "kind": "envelope", "envelope": envelope(&found, 0) }));
    }
    match decode_message(bytes.clone()) {
        Ok(found) if found.content.is_some() => Ok(json!({ "kind": "message", "message": message(&found) })),
        _ => Err(Unknown),
    }
}

fn octets(bytes: &[u8]) -> Value {
    if bytes.len() <= MAX_SHOWN {
        return hex::encode(bytes).into();
    }
    json!({ "len": bytes.len(), "sha256": hex::encode(Sha256::digest(bytes)) })
}

fn list<T>(entries: &[T], show: impl Fn(&T) -> Value) -> Value {
    let mut shown: Vec<_> = entries.iter().take(MAX_LISTED).map(show).collect();
    if entries.len() > MAX_LISTED {
        shown.push(json!({ "not_shown": entries.len() - MAX_LISTED }));
    }
    shown.into()
}

fn identity(serialized: &Bytes) -> Value {
    if serialized.is_empty() {
        return Value::Null;
    }
    match Identity::decode(serialized.clone()) {
        Ok(identity) => json!({
            "mspid": printable(identity.mspid()),
            "subject": printable(identity.subject()),
            "pki_id": hex::encode(identity.pki_id()),
            "expires": identity.expires_unix(),
        }),
        Err(fault) => json!({ "fault": printable(&fault.to_string()), "bytes": octets(serialized) }),
    }
}

fn transaction(number: usize, envelope: &Bytes, valid: Option<bool>) -> Value {
    match Transaction::decode(envelope) {
        Ok(found) => json!({
            "type": match found.kind {
                CONFIG => "config".to_owned(),
                ENDORSER_TRANSACTION => "endorser_transaction".to_owned(),
                other => other.to_string(),
            },
            "number": number,
            "size": envelope.len(),
            "channel": printable(&found.channel),
            "tx_id": printable(&found.tx_id),
            "creator": identity(&found.creator),
            "signed": found.signed,
            "valid": valid,
            "endorsers": list(&found.endorsers, identity),
            "private": list(&found.private, |private| json!({
                "namespace": printable(&private.namespace),
                "collection": printable(&private.collection),
                "sha256": hex::encode(private.hash),
            })),
        }),
        Err(fault) => json!({ "number": number, "size": envelope.len(), "fault": fault.to_string() }),
    }
}

/// A block.
#[must_use]
pub fn block(block: &Block) -> Value {
    let signatures = match OrdererSigned::of(block) {
        Ok(signed) => list(signed.signatures(), |signature| {
            let by = match &signature.signer {
                Signer::Identity(serialized) => identity(serialized),
                Signer::Consenter(number) => json!({ "consenter": number }),
            };
            json!({ "by": by, "signature": octets(&signature.signature) })
        }),
        Err(_) => Value::Null,
    };
    let mut transactions: Vec<_> = block.transactions().iter().take(MAX_LISTED).enumerate().collect();
    let left = block.transactions().len() - transactions.len();
    let mut shown: Vec<_> = transactions
        .drain(..)
        .map(|(number, bytes)| transaction(number, bytes, block.is_valid(number)))
        .collect();
    if left > 0 {
        shown.push(json!({ "not_shown": left }));
    }
    json!({
        "number": block.number(),
        "channel": block.channel().ok().map(printable_bytes),
        "hash": hex::encode(block.header_hash()),
        "previous_hash": hex::encode(block.previous_hash()),
        "data_hash": hex::encode(block.stated_data_hash()),
        "data_hash_fits": block.data_hash() == block.stated_data_hash(),
        "size": block.raw().len(),
        "last_config": block.last_config().ok(),
        "signatures": signatures,
        "metadata": list(block.metadata(), |entry| octets(entry)),
        "transactions": shown,
    })
}

fn time(time: Option<PeerTime>) -> Value {
    time.map_or(Value::Null, |time| json!({ "inc_num": time.inc_num, "seq_num": time.seq_num }))
}

fn member(member: Option<&Member>) -> Value {
    member.map_or(Value::Null, |member| {
        json!({
            "endpoint": printable(&member.endpoint),
            "metadata": octets(&member.metadata),
            "pki_id": octets(&member.pki_id),
        })
    })
}

fn private_set(bytes: &Bytes) -> Value {
    match TxPrivate::decode(bytes) {
        Ok(found) => json!({
            "tx_seq_in_block": found.seq_in_block,
            "sets": list(&found.sets, |set| json!({
                "namespace": printable(&set.namespace),
                "collection": printable(&set.collection),
                "sha256": hex::encode(rwset::hash(&set.rwset)),
                "rwset": octets(&set.rwset),
            })),
        }),
        Err(fault) => json!({ "fault": fault.to_string(), "bytes": octets(bytes) }),
    }
}

fn payload(payload: &Payload) -> Value {
    let data = match Block::decode(payload.data.clone()) {
        Ok(decoded) => block(&decoded),
        Err(fault) => json!({ "fault": fault.to_string(), "bytes": octets(&payload.data) }),
    };
    json!({
        "seq_num": payload.seq_num,
        "data_sha256": hex::encode(Sha256::digest(&payload.data)),
        "block": data,
        "private_data": list(&payload.private_data, private_set),
    })
}

fn digest(digest: Option<&PvtDataDigest>) -> Value {
    digest.map_or(Value::Null, |digest| {
        json!({
            "tx_id": printable(&digest.tx_id),
            "namespace": printable(&digest.namespace),
            "collection": printable(&digest.collection),
            "block_seq": digest.block_seq,
            "seq_in_block": digest.seq_in_block,
        })
    })
}

fn pull_kind(kind: i32) -> Value {
    PullMsgType::try_from(kind).map_or_else(|_| kind.into(), |kind| format!("{kind:?}").into())
}

/// Digests of a pull: numbers of blocks, or PKI-IDs.
fn digests(kind: i32, digests: &[Bytes]) -> Value {
    let blocks = kind == i32::from(PullMsgType::BlockMsg);
    list(digests, |digest| if blocks { printable_bytes(digest).into() } else { octets(digest) })
}

fn envelopes(envelopes: &[Envelope], depth: usize) -> Value {
    list(envelopes, |inner| envelope(inner, depth + 1))
}

/// An envelope and the message in it.
fn envelope(envelope: &Envelope, depth: usize) -> Value {
    let decoded = decode_message(envelope.payload.clone()).ok().filter(|_| depth < MAX_DEPTH);
    let mut shown = match decoded {
        Some(found) => fields(&found, depth),
        None => Map::from_iter([("payload".to_owned(), octets(&envelope.payload))]),
    };
    shown.insert("signature".to_owned(), octets(&envelope.signature));
    if let Some(secret) = &envelope.secret_envelope {
        let content = match <Secret as prost::Message>::decode(secret.payload.clone()) {
            Ok(Secret { content: Some(SecretContent::InternalEndpoint(endpoint)) }) => {
                json!({ "internal_endpoint": printable(&endpoint) })
            }
            _ => octets(&secret.payload),
        };
        let secret = json!({ "content": content, "signature": octets(&secret.signature) });
        shown.insert("secret".to_owned(), secret);
    }
    shown.into()
}

/// A gossip message.
#[must_use]
pub fn message(message: &GossipMessage) -> Value {
    fields(message, 0).into()
}

fn fields(message: &GossipMessage, depth: usize) -> Map<String, Value> {
    let tag = Tag::try_from(message.tag).map_or_else(|_| message.tag.to_string(), |tag| format!("{tag:?}"));
    let (name, shown) = match &message.content {
        Some(found) => content(found, depth),
        None => ("none", Value::Null),
    };
    Map::from_iter([
        ("nonce".to_owned(), message.nonce.into()),
        ("channel".to_owned(), printable_bytes(&message.channel).into()),
        ("tag".to_owned(), tag.into()),
        ("content".to_owned(), name.into()),
        (name.to_owned(), shown),
    ])
}

fn update(update: &DataUpdate, depth: usize) -> Value {
    json!({
        "nonce": update.nonce,
        "msg_type": pull_kind(update.msg_type),
        "data": envelopes(&update.data, depth),
    })
}

/// A content by its name on the wire.
fn content(content: &Content, depth: usize) -> (&'static str, Value) {
    match content {
        Content::AliveMsg(alive) => (
            "alive_msg",
            json!({
                "membership": member(alive.membership.as_ref()),
                "timestamp": time(alive.timestamp),
                "identity": identity(&alive.identity),
            }),
        ),
        Content::MemReq(request) => (
            "mem_req",
            json!({
                "self_information": request.self_information.as_ref().map(|own| envelope(own, depth + 1)),
                "known": list(&request.known, |known| octets(known)),
            }),
        ),
        Content::MemRes(response) => (
            "mem_res",
            json!({ "alive": envelopes(&response.alive, depth), "dead": envelopes(&response.dead, depth) }),
        ),
        Content::DataMsg(data) => ("data_msg", json!({ "payload": data.payload.as_ref().map(payload) })),
        Content::Hello(hello) => (
            "hello",
            json!({
                "nonce": hello.nonce,
                "metadata": octets(&hello.metadata),
                "msg_type": pull_kind(hello.msg_type),
            }),
        ),
        Content::DataDig(found) => (
            "data_dig",
            json!({
                "nonce": found.nonce,
                "digests": digests(found.msg_type, &found.digests),
                "msg_type": pull_kind(found.msg_type),
            }),
        ),
        Content::DataReq(found) => (
            "data_req",
            json!({
                "nonce": found.nonce,
                "digests": digests(found.msg_type, &found.digests),
                "msg_type": pull_kind(found.msg_type),
            }),
        ),
        Content::DataUpdate(found) => ("data_update", update(found, depth)),
        Content::Empty(_) => ("empty", json!({})),
        Content::Conn(conn) => (
            "conn",
            json!({
                "pki_id": octets(&conn.pki_id),
                "identity": identity(&conn.identity),
                "tls_cert_hash": octets(&conn.tls_cert_hash),
                "probe": conn.probe,
            }),
        ),
        Content::StateInfo(info) => (
            "state_info",
            json!({
                "timestamp": time(info.timestamp),
                "pki_id": octets(&info.pki_id),
                "channel_mac": octets(&info.channel_mac),
                "properties": info.properties.as_ref().map(|properties| json!({
                    "ledger_height": properties.ledger_height,
                    "left_channel": properties.left_channel,
                    "chaincodes": list(&properties.chaincodes, |chaincode| json!({
                        "name": printable(&chaincode.name),
                        "version": printable(&chaincode.version),
                        "metadata": octets(&chaincode.metadata),
                    })),
                })),
            }),
        ),
        Content::StateSnapshot(snapshot) => {
            ("state_snapshot", json!({ "elements": envelopes(&snapshot.elements, depth) }))
        }
        Content::StateInfoPullReq(request) => {
            ("state_info_pull_req", json!({ "channel_mac": octets(&request.channel_mac) }))
        }
        Content::StateRequest(request) => (
            "state_request",
            json!({ "start_seq_num": request.start_seq_num, "end_seq_num": request.end_seq_num }),
        ),
        Content::StateResponse(response) => {
            ("state_response", json!({ "payloads": list(&response.payloads, payload) }))
        }
        Content::LeadershipMsg(leadership) => (
            "leadership_msg",
            json!({
                "pki_id": octets(&leadership.pki_id),
                "timestamp": time(leadership.timestamp),
                "is_declaration": leadership.is_declaration,
            }),
        ),
        Content::PeerIdentity(found) => (
            "peer_identity",
            json!({
                "pki_id": octets(&found.pki_id),
                "cert": identity(&found.cert),
                "metadata": octets(&found.metadata),
            }),
        ),
        Content::Ack(ack) => ("ack", json!({ "error": printable(&ack.error) })),
        Content::PrivateReq(request) => {
            ("private_req", json!({ "digests": list(&request.digests, |wanted| digest(Some(wanted))) }))
        }
        Content::PrivateRes(response) => (
            "private_res",
            json!({ "elements": list(&response.elements, |element| json!({
                "digest": digest(element.digest.as_ref()),
                "payload": list(&element.payload, |set| octets(set)),
            })) }),
        ),
        Content::PrivateData(data) => (
            "private_data",
            json!({ "payload": data.payload.as_ref().map(|payload| json!({
                "collection_name": printable(&payload.collection_name),
                "namespace": printable(&payload.namespace),
                "tx_id": printable(&payload.tx_id),
                "private_rwset_sha256": hex::encode(rwset::hash(&payload.private_rwset)),
                "private_rwset": octets(&payload.private_rwset),
                "private_sim_height": payload.private_sim_height,
                "collection_configs": collections(&payload.collection_configs),
            })) }),
        ),
    }
}

/// A package of collection configurations.
fn collections(package: &Bytes) -> Value {
    match crate::privdata::collections::decode_package("", package) {
        Ok(found) => list(&found, |collection| {
            json!({
                "name": printable(&collection.name),
                "policy": printable(&collection.policy.to_string()),
                "required_peer_count": collection.required_peers,
                "maximum_peer_count": collection.maximum_peers,
                "block_to_live": collection.block_to_live,
                "member_only_read": collection.member_only_read,
                "member_only_write": collection.member_only_write,
            })
        }),
        Err(fault) => json!({ "fault": printable(&fault.to_string()), "bytes": octets(package) }),
    }
}
