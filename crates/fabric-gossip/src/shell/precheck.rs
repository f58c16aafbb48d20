//! Signatures of a received message, checked before the state's lock is taken.
//!
//! Nothing is decided here: the verdicts are remembered by the host, and the state asks for them again in its own order. What the
//! state will not look at because it knows as much is left out; what it passes over for another reason may be checked in vain, so
//! at most [`MOST`] signatures of a message are.

use super::crypto::MspCrypto;
use crate::host::CryptoService;
use crate::signed::SignedMessage;
use crate::types::{Channel, PkiId};
use bytes::Bytes;
use switchboard_fabric::message::{Content, Envelope};

/// Signatures of one message that are checked ahead.
pub(super) const MOST: usize = 256;

struct Ahead<'a> {
    crypto: &'a MspCrypto,
    left: usize,
    wall: u64,
    news: &'a dyn Fn(&[Envelope]) -> Vec<Envelope>,
}

/// Checks what of a message the state is likely to ask for. `news` are those of some envelopes that may tell it more than it knows.
pub(super) fn precheck(
    crypto: &MspCrypto,
    message: &SignedMessage,
    wall: u64,
    news: &dyn Fn(&[Envelope]) -> Vec<Envelope>,
) {
    let alone = matches!(message.content(), Some(Content::AliveMsg(_) | Content::StateInfo(_)));
    if !alone || !news(std::slice::from_ref(message.envelope())).is_empty() {
        Ahead { crypto, left: MOST, wall, news }.message(message);
    }
}

impl Ahead<'_> {
    fn message(&mut self, message: &SignedMessage) {
        if self.left == 0 {
            return;
        }
        let envelope = message.envelope();
        match message.content() {
            Some(Content::AliveMsg(alive)) => {
                self.identity(&alive.identity);
                let author = alive.membership.as_ref().map(|member| &member.pki_id);
                self.signature(author, envelope);
            }
            Some(Content::StateInfo(info)) => self.signature(Some(&info.pki_id), envelope),
            Some(Content::LeadershipMsg(said)) => self.signature(Some(&said.pki_id), envelope),
            Some(Content::PeerIdentity(peer)) => {
                self.identity(&peer.cert);
                self.signature(Some(&peer.pki_id), envelope);
            }
            Some(Content::MemReq(request)) => self.inner(request.self_information.as_slice()),
            Some(Content::MemRes(response)) => {
                self.inner(&response.alive);
                self.inner(&response.dead);
            }
            Some(Content::StateSnapshot(snapshot)) => self.inner(&snapshot.elements),
            Some(Content::DataUpdate(update)) => self.inner(&update.data),
            Some(Content::DataMsg(data)) => {
                let channel = Channel::parse(&message.message().channel);
                if let (Some(channel), Some(payload)) = (channel, &data.payload) {
                    self.left -= 1;
                    let _ = self.crypto.verify_block(&channel, payload.seq_num, &payload.data);
                }
            }
            _ => {}
        }
    }

    fn inner(&mut self, envelopes: &[Envelope]) {
        if envelopes.is_empty() {
            return;
        }
        for envelope in &(self.news)(envelopes) {
            if self.left == 0 {
                return;
            }
            // What cannot be decoded voids the rest in most messages.
            let Ok(message) = SignedMessage::from_envelope(envelope) else { return };
            // One level only: these three hold no envelopes.
            if matches!(
                message.content(),
                Some(
                    Content::AliveMsg(_)
                        | Content::StateInfo(_)
                        | Content::PeerIdentity(_)
                        | Content::DataMsg(_)
                )
            ) {
                self.message(&message);
            }
        }
    }

    fn identity(&mut self, identity: &Bytes) {
        if !identity.is_empty() {
            self.left = self.left.saturating_sub(1);
            let _ = self.crypto.validate_identity(identity, self.wall);
        }
    }

    fn signature(&mut self, author: Option<&Bytes>, envelope: &Envelope) {
        let Some(author) = author.and_then(|id| PkiId::parse(id)) else { return };
        // Of somebody unknown nothing can be said.
        let Some(known) = self.crypto.known().get(&author) else { return };
        let identity = known.identity.serialized();
        let mut check = |payload: &Bytes, signature: &Bytes| {
            if self.left > 0 && !payload.is_empty() && !signature.is_empty() {
                self.left -= 1;
                let _ = self.crypto.verify(author, identity, payload, signature);
            }
        };
        check(&envelope.payload, &envelope.signature);
        if let Some(secret) = &envelope.secret_envelope {
            check(&secret.payload, &secret.signature);
        }
    }
}
