//! Answers to requests for private data, out of a store.

use super::collections::Collections;
use super::policy::Subject;
use super::types::{MAX_ANSWER, Serve};
use crate::ledger::{BlockStore, LedgerError, Slot};
use crate::signed::SignedMessage;
use crate::types::Channel;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use switchboard_fabric::message::{
    Content, GossipMessage, PvtDataDigest, PvtDataElement, RemotePvtDataResponse, Tag,
};

/// Whether a member may have the data of a collection; not when it is not known here.
pub(crate) fn may_have(collections: &Collections, namespace: &str, name: &str, subject: &Subject) -> bool {
    collections.get(namespace, name).is_some_and(|collection| collection.admits(subject))
}

fn find(
    digest: &PvtDataDigest,
    store: &dyn BlockStore,
    blocks: &mut BTreeMap<u64, BTreeMap<Slot, Bytes>>,
) -> Result<Vec<Bytes>, LedgerError> {
    if digest.block_seq >= store.height() {
        // Its block has not come here yet. A reconciler asks without a transaction's id, and for older blocks only.
        let mut kept = match digest.tx_id.is_empty() {
            true => Vec::new(),
            false => store.transient_of(&digest.tx_id)?,
        };
        kept.retain(|kept| kept.namespace == digest.namespace && kept.collection == digest.collection);
        return Ok(kept.into_iter().map(|kept| kept.rwset).collect());
    }
    if !blocks.contains_key(&digest.block_seq) {
        // One block at a time, however many are asked for.
        blocks.clear();
        let sets = store.private_of(digest.block_seq)?.into_iter().collect();
        blocks.insert(digest.block_seq, sets);
    }
    let slot = Slot {
        block: digest.block_seq,
        transaction: digest.seq_in_block,
        namespace: digest.namespace.clone(),
        collection: digest.collection.clone(),
    };
    Ok(blocks.get(&digest.block_seq).and_then(|sets| sets.get(&slot)).cloned().into_iter().collect())
}

/// Answers a request out of a store, with what the asker may have. Each element tells the digest with the values it was asked
/// by, which is how the asker knows it again.
///
/// # Errors
/// [`LedgerError::Storage`].
pub fn answer(
    channel: &Channel,
    serve: &Serve,
    collections: &Collections,
    store: &dyn BlockStore,
) -> Result<SignedMessage, LedgerError> {
    let mut digests: Vec<_> = serve.digests.iter().collect();
    digests.sort_by_key(|digest| digest.block_seq);
    let (mut elements, mut seen) = (Vec::new(), BTreeSet::new());
    let (mut blocks, mut bytes) = (BTreeMap::new(), 0);
    for digest in digests {
        let name =
            (digest.block_seq, digest.seq_in_block, &digest.namespace, &digest.collection, &digest.tx_id);
        if !seen.insert(name) || !may_have(collections, &digest.namespace, &digest.collection, &serve.subject)
        {
            continue;
        }
        let payload = find(digest, store, &mut blocks)?;
        if payload.is_empty() {
            continue;
        }
        bytes += payload.iter().map(Bytes::len).sum::<usize>();
        if bytes > MAX_ANSWER && !elements.is_empty() {
            break;
        }
        elements.push(PvtDataElement { digest: Some(digest.clone()), payload });
    }
    let content = Content::PrivateRes(RemotePvtDataResponse { elements });
    let message = GossipMessage::new(Tag::ChanOnly, channel.as_bytes(), serve.reply.nonce, content);
    Ok(SignedMessage::unsigned(message))
}
