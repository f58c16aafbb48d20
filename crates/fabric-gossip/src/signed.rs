//! A message with the envelope it came in: decoded once, forwarded as received.
//!
//! ```text
//!   Envelope bytes ─▶ { envelope (payload, signature, secret part), message } behind one counted pointer
//! ```
//! Cheap to clone, so that a simulation hands one to many nodes and a node to many peers. The bytes of what came
//! from the wire are kept; those of what was made here are made when first asked for.
//!
//! Limits: whoever receives bounds the bytes before [`SignedMessage::decode`]. Nothing is verified here.

use crate::types::Endpoint;
use bytes::Bytes;
use prost::Message;
use std::sync::{Arc, OnceLock};
use switchboard_fabric::message::{
    Content, Envelope, GossipMessage, Secret, SecretContent, SecretEnvelope, decode_envelope, decode_message,
};

#[derive(Debug)]
struct Inner {
    message: GossipMessage,
    envelope: OnceLock<Envelope>,
    bytes: OnceLock<Bytes>,
    endpoints: OnceLock<Box<Endpoints>>,
}

/// Where the author of an alive message is reached, as the message says.
#[derive(Debug, Default)]
pub(crate) struct Endpoints {
    pub(crate) external: Option<Endpoint>,
    /// From its secret part.
    pub(crate) internal: Option<Endpoint>,
}

/// A gossip message and its envelope.
#[derive(Debug, Clone)]
pub struct SignedMessage(Arc<Inner>);

/// Bytes that are no envelope with a gossip message; whoever sent them is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    /// The envelope.
    #[error("undecodable envelope")]
    Envelope,
    /// The message in it.
    #[error("undecodable gossip message")]
    Message,
}

impl SignedMessage {
    /// Decodes an envelope and the message in it.
    ///
    /// # Errors
    /// [`Undecodable`].
    pub fn decode(bytes: Bytes) -> Result<Self, Undecodable> {
        let envelope = decode_envelope(bytes.clone()).map_err(|_| Undecodable::Envelope)?;
        let message = decode_message(envelope.payload.clone()).map_err(|_| Undecodable::Message)?;
        let decoded = Self::with(message, envelope);
        // Kept, so that what is forwarded is what came, also where a field was written in an unusual way.
        let _ = decoded.0.bytes.set(bytes);
        Ok(decoded)
    }

    /// Decodes the message in an envelope that came inside another message. Its bytes are copied, so that keeping it does not
    /// keep the whole of the other one.
    ///
    /// # Errors
    /// [`Undecodable`].
    pub fn from_envelope(envelope: &Envelope) -> Result<Self, Undecodable> {
        let copy = |bytes: &Bytes| Bytes::copy_from_slice(bytes);
        let secret_envelope = envelope.secret_envelope.as_ref();
        let secret_envelope = secret_envelope.map(|secret| SecretEnvelope {
            payload: copy(&secret.payload),
            signature: copy(&secret.signature),
        });
        let (payload, signature) = (copy(&envelope.payload), copy(&envelope.signature));
        let envelope = Envelope { payload, signature, secret_envelope };
        let message = decode_message(envelope.payload.clone()).map_err(|_| Undecodable::Message)?;
        Ok(Self::with(message, envelope))
    }

    /// A message of ours without a signature.
    #[must_use]
    pub fn unsigned(message: GossipMessage) -> Self {
        Self::new(message, OnceLock::new())
    }

    /// A message with the envelope that was made of it.
    pub(crate) fn with(message: GossipMessage, envelope: Envelope) -> Self {
        Self::new(message, OnceLock::from(envelope))
    }

    fn new(message: GossipMessage, envelope: OnceLock<Envelope>) -> Self {
        let (bytes, endpoints) = (OnceLock::new(), OnceLock::new());
        Self(Arc::new(Inner { message, envelope, bytes, endpoints }))
    }

    /// The endpoints of an alive message: read once, and shared by all who keep them.
    pub(crate) fn endpoints(&self) -> &Endpoints {
        self.0.endpoints.get_or_init(|| {
            let external = match self.content() {
                Some(Content::AliveMsg(alive)) => alive.membership.as_ref(),
                _ => None,
            };
            let external = external.and_then(|member| Endpoint::parse(&member.endpoint));
            Box::new(Endpoints { external, internal: internal_endpoint(self.envelope()) })
        })
    }

    /// The message.
    #[must_use]
    pub fn message(&self) -> &GossipMessage {
        &self.0.message
    }

    /// Its content.
    #[must_use]
    pub fn content(&self) -> Option<&Content> {
        self.0.message.content.as_ref()
    }

    /// The envelope.
    #[must_use]
    pub fn envelope(&self) -> &Envelope {
        self.0.envelope.get_or_init(|| self.0.message.unsigned())
    }

    /// The envelope's bytes: those that came, or those of one made here.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.0.bytes.get_or_init(|| self.envelope().encode_to_vec().into()).clone()
    }

    /// Bytes of its parts that are kept with it.
    #[must_use]
    pub fn size(&self) -> usize {
        let envelope = self.envelope();
        let secret = envelope.secret_envelope.as_ref().map_or(0, |s| s.payload.len() + s.signature.len());
        envelope.payload.len() + envelope.signature.len() + secret
    }

    /// The same message without the part that is for the own organisation.
    #[must_use]
    pub fn without_secret(&self) -> Self {
        let envelope = self.envelope();
        if envelope.secret_envelope.is_none() {
            return self.clone();
        }
        let open = Envelope {
            payload: envelope.payload.clone(),
            signature: envelope.signature.clone(),
            secret_envelope: None,
        };
        Self::with(self.0.message.clone(), open)
    }
}

/// The endpoint in a secret part; `None` when there is none that can be used.
fn internal_endpoint(envelope: &Envelope) -> Option<Endpoint> {
    let secret = Secret::decode(envelope.secret_envelope.as_ref()?.payload.clone()).ok()?;
    let SecretContent::InternalEndpoint(endpoint) = secret.content?;
    Endpoint::parse(&endpoint)
}

/// The length-delimited field at a path of field numbers in an encoded message, found without decoding the rest; of a repeated
/// field the last. `None` when there is none or the bytes are not protobuf.
#[must_use]
pub fn nested<'a>(mut bytes: &'a [u8], path: &[u64]) -> Option<&'a [u8]> {
    for wanted in path {
        let mut found = None;
        while !bytes.is_empty() {
            let key = varint(&mut bytes)?;
            match key & 7 {
                0 => drop(varint(&mut bytes)?),
                1 => bytes = bytes.get(8..)?,
                2 => {
                    let len = usize::try_from(varint(&mut bytes)?).ok()?;
                    let (field, rest) = bytes.split_at_checked(len)?;
                    bytes = rest;
                    if key >> 3 == *wanted {
                        found = Some(field);
                    }
                }
                5 => bytes = bytes.get(4..)?,
                _ => return None,
            }
        }
        bytes = found?;
    }
    Some(bytes)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
