//! Answers to state requests, out of a store.

use super::types::Serve;
use crate::ledger::{BlockStore, LedgerError, Slot};
use crate::privdata::rwset::{PrivateSet, TxPrivate};
use crate::signed::SignedMessage;
use crate::types::Channel;
use bytes::Bytes;
use switchboard_fabric::message::{Content, GossipMessage, Payload, RemoteStateResponse, Tag};

/// Bytes of blocks and private data in an answer, but for one block that is longer. Fabric's largest message has 100 MiB.
pub const MAX_ANSWER: usize = 32 << 20;

/// The message that answers a request.
pub(crate) fn response(channel: &Channel, nonce: u64, payloads: Vec<Payload>) -> SignedMessage {
    let content = Content::StateResponse(RemoteStateResponse { payloads });
    SignedMessage::unsigned(GossipMessage::new(Tag::ChanOrOrg, channel.as_bytes(), nonce, content))
}

/// Private sets of a block as they travel, by transaction.
fn items(sets: Vec<(Slot, Bytes)>) -> Vec<Bytes> {
    let by_transaction = sets.chunk_by(|(a, _), (b, _)| a.transaction == b.transaction);
    let item = |sets: &[(Slot, Bytes)]| {
        let seq_in_block = sets.first().map(|(slot, _)| slot.transaction).unwrap_or_default();
        let set = |(slot, rwset): &(Slot, Bytes)| PrivateSet {
            namespace: slot.namespace.clone(),
            collection: slot.collection.clone(),
            rwset: rwset.clone(),
        };
        TxPrivate { seq_in_block, sets: sets.iter().map(set).collect() }.encode()
    };
    by_transaction.map(item).collect()
}

/// Answers a request with blocks of a store, and with such of their private data as `may_have` allows the asker.
///
/// The answer ends at [`MAX_ANSWER`] bytes: whoever asked then asks for the rest.
///
/// # Errors
/// [`LedgerError::Storage`].
pub fn answer(
    channel: &Channel,
    serve: &Serve,
    store: &dyn BlockStore,
    may_have: impl Fn(&Slot) -> bool,
) -> Result<SignedMessage, LedgerError> {
    let mut payloads = Vec::new();
    let mut bytes = 0;
    let any = store.has_private(serve.start, serve.end)?;
    for (number, block) in store.range(serve.start, serve.end, MAX_ANSWER)? {
        let mut sets = if any { store.private_of(number)? } else { Vec::new() };
        sets.retain(|(slot, _)| may_have(slot));
        let private_data = items(sets);
        bytes += block.len() + private_data.iter().map(Bytes::len).sum::<usize>();
        if bytes > MAX_ANSWER && !payloads.is_empty() {
            break;
        }
        payloads.push(Payload { seq_num: number, data: block, private_data });
    }
    Ok(response(channel, serve.nonce, payloads))
}
