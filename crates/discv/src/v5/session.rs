//! Sessions and handshakes: who may be written to and read from with which keys.
//!
//! ```text
//!   we ask      random packet ─▶            they ask    unreadable packet ◀─
//!               WHOAREYOU     ◀─                        WHOAREYOU         ─▶   challenge kept 1 s
//!               handshake     ─▶  session               handshake         ◀─   session
//! ```
//! (spec: discv5-theory.md; go-ethereum p2p/discover/v5wire/session.go, encoding.go)
//!
//! A session belongs to a node id *and* the address it was made with: whoever replays its packets from elsewhere
//! gets a WHOAREYOU. While a challenge is open, each further unreadable packet of the same id and address gets the
//! same WHOAREYOU again, byte for byte, so that the answer to the first one still fits.
//!
//! Both sides may start a handshake at once, and each then ends with the keys the other made first. So the reading
//! key before the present one stays valid until it is replaced.
//!
//! Limits: [`MAX_SESSIONS`] sessions, the one used longest ago leaves; [`MAX_CHALLENGES`] challenges for
//! [`CHALLENGE_LIFE`], the oldest leaves. A handshake that fails its proof leaves the challenge as it is, so that
//! somebody who fakes an address cannot disturb the handshake of the node there; after [`MAX_TRIES`] the challenge
//! is gone, so that signature checks stay bounded.

use super::Peer;
use super::crypto::{self, Key};
use super::message::MessageError;
use super::packet::{self, Auth, Header, MAX_PACKET, Nonce, PacketError, RANDOM_MESSAGE};
use crate::NodeId;
use crate::lru::Lru;
use rand::Rng;
use rand_chacha::ChaCha20Rng;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use switchboard_enr::{NodeKey, NodePublic, Record};

/// Sessions held (go-ethereum p2p/discover/v5_udp.go, `lruSessionLimit` of v5wire: 1024).
pub const MAX_SESSIONS: usize = 1024;
/// Challenges open at once.
pub const MAX_CHALLENGES: usize = 1024;
/// How long a challenge may be answered (go-ethereum v5wire/session.go, `handshakeTimeout`).
pub const CHALLENGE_LIFE: Duration = Duration::from_secs(1);
/// Answers with a wrong proof after which a challenge is gone.
pub const MAX_TRIES: u8 = 4;

#[derive(Debug)]
struct Session {
    write: Key,
    read: Key,
    /// The reading key before this one.
    before: Option<Key>,
    counter: u32,
}

#[derive(Debug)]
struct Challenge {
    data: Vec<u8>,
    datagram: Vec<u8>,
    record: Option<Arc<Record>>,
    sent: Duration,
    tries: u8,
}

/// A WHOAREYOU we got, to be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WhoAreYou {
    /// The nonce of the packet of ours it answers.
    pub(super) nonce: Nonce,
    /// Which of our records the asker has.
    pub(super) enr_seq: u64,
    /// masking-iv ‖ header.
    pub(super) data: Vec<u8>,
}

/// What a datagram was.
#[derive(Debug)]
pub(super) enum Incoming {
    /// A message that its session proves.
    Message {
        peer: Peer,
        plain: Vec<u8>,
        /// The sender's record, when the message came with a handshake.
        record: Option<Arc<Record>>,
    },
    /// Not readable: the sender must prove itself first.
    Unreadable { peer: Peer, nonce: Nonce },
    /// A challenge for us.
    WhoAreYou(WhoAreYou),
}

/// Why a datagram was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Dropped {
    /// Not a packet.
    #[error(transparent)]
    Packet(#[from] PacketError),
    /// A handshake nobody asked for, or too late.
    #[error("a handshake without an open challenge")]
    UnaskedHandshake,
    /// An answer or a WHOAREYOU that fits no request, or comes a second time.
    #[error("an answer that fits no request")]
    UnaskedAnswer,
    /// More packets without a session than are answered.
    #[error("too many packets without a session")]
    Budget,
    /// More requests of protocols above than are worked on at once.
    #[error("too many requests of protocols above discovery")]
    Overload,
    /// A message that its session proves, and that is malformed.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// A handshake whose record, signature or keys do not fit.
    #[error("a handshake without a valid proof: {0}")]
    Proof(&'static str),
}

/// All sessions and open challenges of a node.
#[derive(Debug)]
pub(super) struct Sessions {
    key: Arc<NodeKey>,
    id: NodeId,
    sessions: Lru<Peer, Session>,
    challenges: BTreeMap<Peer, Challenge>,
    /// In the order they were sent; may name some that are gone.
    order: VecDeque<(Duration, Peer)>,
}

impl Sessions {
    pub(super) fn new(key: Arc<NodeKey>) -> Self {
        let id = NodeId(key.public().node_id());
        Self {
            key,
            id,
            sessions: Lru::new(MAX_SESSIONS),
            challenges: BTreeMap::new(),
            order: VecDeque::new(),
        }
    }

    /// Sessions and challenges held.
    pub(super) fn held(&self) -> (usize, usize) {
        (self.sessions.len(), self.challenges.len())
    }

    pub(super) fn has(&self, peer: &Peer) -> bool {
        self.sessions.peek(peer).is_some()
    }

    /// Forgets a session, as a node that was restarted has.
    pub(super) fn forget(&mut self, peer: &Peer) {
        self.sessions.remove(peer);
    }

    /// Seals a message under the session with `to`; without one it is a random packet that provokes a WHOAREYOU.
    pub(super) fn seal(&mut self, to: &Peer, message: &[u8], rng: &mut ChaCha20Rng) -> (Vec<u8>, Nonce) {
        let (mut iv, mut nonce) = ([0; 16], [0; 12]);
        rng.fill_bytes(&mut iv);
        rng.fill_bytes(&mut nonce);
        let auth = Auth::Message { src: self.id };
        if let Some(session) = self.sessions.get_mut(to) {
            if let Some((write, counter)) = session.next() {
                for (byte, counted) in nonce.iter_mut().zip(counter) {
                    *byte = counted;
                }
                let head = packet::head(&iv, &Header { nonce, auth });
                let sealed = crypto::seal(&write, &nonce, &head, message.to_vec());
                return (packet::encode(&to.id, &head, &sealed), nonce);
            }
            // The counter is used up: a new handshake makes new keys.
            self.sessions.remove(to);
        }
        let mut random = [0; RANDOM_MESSAGE];
        rng.fill_bytes(&mut random);
        let head = packet::head(&iv, &Header { nonce, auth });
        (packet::encode(&to.id, &head, &random), nonce)
    }

    /// The WHOAREYOU for an unreadable packet; the same one while a challenge is open.
    pub(super) fn challenge(
        &mut self,
        peer: Peer,
        nonce: Nonce,
        known: Option<Arc<Record>>,
        now: Duration,
        rng: &mut ChaCha20Rng,
    ) -> Vec<u8> {
        self.expire(now);
        if let Some(open) = self.challenges.get(&peer) {
            return open.datagram.clone();
        }
        while self.challenges.len() >= MAX_CHALLENGES || self.order.len() >= 2 * MAX_CHALLENGES {
            let Some((sent, oldest)) = self.order.pop_front() else { break };
            self.close(&oldest, sent);
        }
        let (mut iv, mut id_nonce) = ([0; 16], [0; 16]);
        rng.fill_bytes(&mut iv);
        rng.fill_bytes(&mut id_nonce);
        let enr_seq = known.as_ref().map_or(0, |record| record.seq());
        let data = packet::head(&iv, &Header { nonce, auth: Auth::WhoAreYou { id_nonce, enr_seq } });
        let datagram = packet::encode(&peer.id, &data, &[]);
        let challenge = Challenge { data, datagram: datagram.clone(), record: known, sent: now, tries: 0 };
        self.challenges.insert(peer, challenge);
        self.order.push_back((now, peer));
        datagram
    }

    fn close(&mut self, peer: &Peer, sent: Duration) {
        if self.challenges.get(peer).is_some_and(|challenge| challenge.sent == sent) {
            self.challenges.remove(peer);
        }
    }

    /// Drops challenges that nobody answered in time.
    pub(super) fn expire(&mut self, now: Duration) {
        while let Some((sent, peer)) = self.order.front().copied() {
            if now < sent + CHALLENGE_LIFE {
                break;
            }
            self.order.pop_front();
            self.close(&peer, sent);
        }
    }

    /// Answers a WHOAREYOU: a handshake packet with `message` in it. The session stands from now on.
    ///
    /// `None` when handshake and message do not fit one packet.
    pub(super) fn answer(
        &mut self,
        to: &Peer,
        key: &NodePublic,
        challenge: &WhoAreYou,
        local: &Record,
        message: &[u8],
        rng: &mut ChaCha20Rng,
    ) -> Option<(Vec<u8>, Nonce)> {
        let ephemeral = NodeKey::generate(|| {
            let mut bytes = [0; 32];
            rng.fill_bytes(&mut bytes);
            bytes
        });
        let public = ephemeral.public().compressed();
        let signature = crypto::sign(&self.key, &challenge.data, &public, &to.id);
        let record = if challenge.enr_seq < local.seq() { local.encode() } else { Vec::new() };
        let auth = Auth::Handshake { src: self.id, signature, ephemeral: public, record };
        if packet_size(&auth, message) > MAX_PACKET {
            return None;
        }
        let keys = crypto::derive(&ephemeral.agree_point(key), &self.id, &to.id, &challenge.data);
        let (mut iv, mut nonce) = ([0; 16], [0; 12]);
        rng.fill_bytes(&mut iv);
        rng.fill_bytes(&mut nonce);
        let head = packet::head(&iv, &Header { nonce, auth });
        let sealed = crypto::seal(&keys.initiator, &nonce, &head, message.to_vec());
        self.store(*to, keys.initiator, keys.recipient);
        Some((packet::encode(&to.id, &head, &sealed), nonce))
    }

    fn store(&mut self, peer: Peer, write: Key, read: Key) {
        let before = self.sessions.remove(&peer).map(|old| old.read);
        self.sessions.insert(peer, Session { write, read, before, counter: 0 });
    }

    /// Reads a datagram.
    ///
    /// # Errors
    /// [`Dropped`].
    pub(super) fn open(
        &mut self,
        from: SocketAddr,
        datagram: &[u8],
        now: Duration,
    ) -> Result<Incoming, Dropped> {
        let packet = packet::decode(&self.id, datagram)?;
        let nonce = packet.header.nonce;
        match packet.header.auth {
            Auth::WhoAreYou { enr_seq, .. } => {
                Ok(Incoming::WhoAreYou(WhoAreYou { nonce, enr_seq, data: packet.head }))
            }
            Auth::Message { src } => {
                let peer = Peer { id: src, addr: from };
                let plain = self
                    .sessions
                    .get_mut(&peer)
                    .and_then(|session| session.unseal(&nonce, &packet.head, packet.message));
                Ok(match plain {
                    Some(plain) => Incoming::Message { peer, plain, record: None },
                    None => Incoming::Unreadable { peer, nonce },
                })
            }
            Auth::Handshake { src, signature, ephemeral, record } => {
                self.expire(now);
                let peer = Peer { id: src, addr: from };
                let challenge = self.challenges.get_mut(&peer).ok_or(Dropped::UnaskedHandshake)?;
                let proof = Proof { src, signature, ephemeral, record };
                let opened = proof.check(&self.key, &self.id, challenge).and_then(|(record, write, read)| {
                    let plain = crypto::unseal(&read, &nonce, &packet.head, packet.message);
                    Ok((record, write, read, plain.ok_or(Dropped::Proof("the message does not open"))?))
                });
                match opened {
                    Ok((record, write, read, plain)) => {
                        self.challenges.remove(&peer);
                        self.store(peer, write, read);
                        Ok(Incoming::Message { peer, plain, record: Some(record) })
                    }
                    Err(dropped) => {
                        challenge.tries += 1;
                        if challenge.tries >= MAX_TRIES {
                            self.challenges.remove(&peer);
                        }
                        Err(dropped)
                    }
                }
            }
        }
    }
}

/// Bytes of a packet with this authdata and message.
fn packet_size(auth: &Auth, message: &[u8]) -> usize {
    16 + 23 + auth.size() + message.len() + crypto::TAG
}

impl Session {
    /// The writing key and the next nonce's counter; `None` when the counter is used up.
    fn next(&mut self) -> Option<(Key, [u8; 4])> {
        self.counter = self.counter.checked_add(1)?;
        Some((self.write.clone(), self.counter.to_be_bytes()))
    }

    fn unseal(&mut self, nonce: &Nonce, head: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        crypto::unseal(&self.read, nonce, head, sealed)
            .or_else(|| crypto::unseal(self.before.as_ref()?, nonce, head, sealed))
    }
}

/// What a handshake packet proves its sender with.
struct Proof {
    src: NodeId,
    signature: [u8; 64],
    ephemeral: [u8; 33],
    record: Vec<u8>,
}

impl Proof {
    /// The sender's record, our writing key and our reading key.
    fn check(
        &self,
        key: &NodeKey,
        local: &NodeId,
        challenge: &Challenge,
    ) -> Result<(Arc<Record>, Key, Key), Dropped> {
        let mut known = challenge.record.clone();
        if !self.record.is_empty() {
            let record = Record::decode(&self.record).map_err(|_| Dropped::Proof("malformed record"))?;
            if NodeId(record.key().node_id()) != self.src {
                return Err(Dropped::Proof("the record of another node"));
            }
            if known.as_ref().is_none_or(|known| known.seq() < record.seq()) {
                known = Some(Arc::new(record));
            }
        }
        let record = known.ok_or(Dropped::Proof("no record"))?;
        let ephemeral = NodePublic::from_compressed(&self.ephemeral)
            .map_err(|_| Dropped::Proof("the ephemeral key is no point"))?;
        if !crypto::verify(&record.key(), &self.signature, &challenge.data, &self.ephemeral, local) {
            return Err(Dropped::Proof("the id signature does not fit"));
        }
        let keys = crypto::derive(&key.agree_point(&ephemeral), &self.src, local, &challenge.data);
        Ok((record, keys.recipient, keys.initiator))
    }
}
