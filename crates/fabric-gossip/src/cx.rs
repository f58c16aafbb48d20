//! What every part of a node's state works with while it handles one input.

use crate::actions::{Actions, Event};
use crate::config::Config;
use crate::dissemination::Emitter;
use crate::host::Host;
use crate::identity::IdentityStore;
use crate::signed::SignedMessage;
use crate::types::{Now, Org, PkiId};
use bytes::Bytes;
use prost::Message;
use rand::Rng;
use rand_chacha::ChaCha12Rng;
use std::collections::BTreeMap;
use std::time::Duration;
use switchboard_fabric::message::{Envelope, GossipMessage, Secret, SecretContent, SecretEnvelope};

/// A timestamp farther ahead of our clock than this is refused: signed by a broken clock, it would shut its author out later.
pub(crate) const AHEAD: Duration = Duration::from_secs(86_400);
/// A refusal of one kind by one peer is told once in this time, with its count.
pub(crate) const TELL_AGAIN: Duration = Duration::from_secs(60);
/// Refusals remembered for that; when there are more, all are forgotten and told anew.
const MAX_TOLD: usize = 1_024;

/// Who this node is.
#[derive(Debug, Clone)]
pub(crate) struct Me {
    pub(crate) pki_id: PkiId,
    pub(crate) org: Org,
    pub(crate) identity: Bytes,
}

/// Refusals, summed up.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    told: BTreeMap<(PkiId, &'static str), (Duration, u64)>,
    pub(crate) counts: BTreeMap<&'static str, u64>,
}

pub(crate) struct Cx<'a> {
    pub(crate) now: Now,
    pub(crate) config: &'a Config,
    pub(crate) host: &'a Host,
    pub(crate) me: &'a Me,
    pub(crate) ids: &'a mut IdentityStore,
    pub(crate) rng: &'a mut ChaCha12Rng,
    pub(crate) out: &'a mut Actions,
    pub(crate) emit: &'a mut Emitter,
    pub(crate) refusals: &'a mut Refusals,
}

/// Why an envelope is not taken as its author's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unverified {
    /// Its author's identity is not known here, which is nobody's fault.
    Unknown,
    /// It is wrong.
    Wrong(&'static str),
}

impl Cx<'_> {
    /// Counts a refused message and tells it, unless the same was told lately.
    pub(crate) fn refuse(&mut self, from: PkiId, why: &'static str) {
        *self.refusals.counts.entry(why).or_default() += 1;
        let now = self.now.mono;
        let told = &mut self.refusals.told;
        if told.len() >= MAX_TOLD && !told.contains_key(&(from, why)) {
            told.clear();
        }
        let known = told.get_mut(&(from, why));
        let count = match known {
            Some((at, count)) if now < *at + TELL_AGAIN => {
                *count += 1;
                return;
            }
            Some((at, count)) => {
                *at = now;
                std::mem::take(count) + 1
            }
            None => {
                told.insert((from, why), (now, 0));
                1
            }
        };
        self.out.tell(Event::Refused { from, why, count });
    }

    /// Whether a signed time is too far ahead.
    pub(crate) fn is_ahead(&self, nanos: u64) -> bool {
        nanos > self.now.wall.saturating_add(AHEAD.as_nanos() as u64)
    }

    /// Checks the signatures of an envelope as its author's (fabric gossip/protoext/signing.go).
    pub(crate) fn verify(&mut self, author: PkiId, envelope: &Envelope) -> Result<(), Unverified> {
        if envelope.payload.is_empty() || envelope.signature.is_empty() {
            return Err(Unverified::Wrong("an envelope without payload or signature"));
        }
        let known = self.ids.get(&author, self.now).ok_or(Unverified::Unknown)?;
        let crypto = &self.host.crypto;
        crypto
            .verify(author, &known.identity, &envelope.payload, &envelope.signature)
            .map_err(|_| Unverified::Wrong("a wrong signature"))?;
        let Some(secret) = &envelope.secret_envelope else { return Ok(()) };
        if secret.payload.is_empty() || secret.signature.is_empty() {
            return Err(Unverified::Wrong("a secret part without payload or signature"));
        }
        crypto
            .verify(author, &known.identity, &secret.payload, &secret.signature)
            .map_err(|_| Unverified::Wrong("a wrong signature of the secret part"))
    }

    /// Signs a message of ours; with an internal endpoint in its secret part when one is given.
    pub(crate) fn sign(&mut self, message: GossipMessage, internal: Option<&str>) -> Option<SignedMessage> {
        let payload = Bytes::from(message.encode_to_vec());
        let signed = self.host.crypto.sign(&payload).and_then(|signature| {
            let secret_envelope = internal
                .map(|endpoint| {
                    let content = Some(SecretContent::InternalEndpoint(endpoint.to_owned()));
                    let payload = Bytes::from(Secret { content }.encode_to_vec());
                    let signature = self.host.crypto.sign(&payload)?;
                    Ok(SecretEnvelope { payload, signature })
                })
                .transpose()?;
            Ok(Envelope { payload, signature, secret_envelope })
        });
        match signed {
            Ok(envelope) => Some(SignedMessage::with(message, envelope)),
            Err(why) => {
                self.out.tell(Event::SigningFailed(why.0));
                None
            }
        }
    }

    /// A number nobody can guess, never 0.
    pub(crate) fn nonce(&mut self) -> u64 {
        self.rng.next_u64().max(1)
    }

    /// Whether a peer is of our organisation.
    pub(crate) fn is_mine(&self, id: &PkiId) -> bool {
        self.ids.org_of(id) == Some(&self.me.org)
    }
}

/// A random number below `end`, which is not 0.
pub(crate) fn below(rng: &mut impl Rng, end: usize) -> usize {
    // The bias of the remainder is 2^-50 for any list that fits in memory.
    (rng.next_u64() % (end.max(1) as u64)) as usize
}
