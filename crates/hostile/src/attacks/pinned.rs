//! Messages of one byte, each in a large buffer of its own: one stranger on each wire.
//!
//! ```text
//!   first    echoes that nobody reads, until the node reads no more; some are then read, which makes room in its inbox
//!   devp2p   a frame of 16 MiB that is read and dropped │ a request of one byte │ a frame …
//!   fabric   16 MiB of a content that nobody knows │ a request of one byte │ …
//!   comet    64 KiB of pings │ a request of one byte │ …            now and then one more echo is read
//! ```
//! What follows a large frame comes in the buffer that had grown for it. Held when the three strangers cost no more than their
//! caps.

use super::{Trying, hostile};
use crate::files::noise;
use crate::gossip::Gossip;
use crate::node::Launch;
use crate::stranger::{Heard, Listener, Offering, OldPeer, Talker, dial_deaf};
use crate::trial::{NOISE, PER_STRANGER, Trial};
use crate::world::{ORG, World};
use anyhow::Context;
use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use switchboard_devp2p::bench::REQUEST;
use switchboard_devp2p::frame::MAX_BODY;
use switchboard_fabric::PeerFolder;
use switchboard_fabric::bench::ECHO;
use switchboard_fabric::grpc::put_message;
use switchboard_fabric::identity::pem_certificate;
use switchboard_fabric::message::{Content, DataMessage, Envelope, GossipMessage, Payload, Tag};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

/// A code of devp2p's base protocol that is read and dropped.
const DROPPED: u64 = 9;
/// Bytes of a request that fills the way back.
const PIECE: usize = 4 * 1024;
/// Most requests of that kind.
const PIECES: usize = 8_192;
/// A node that takes nothing for so long reads no more.
const STALLED: Duration = Duration::from_millis(400);
/// Echoes are read until so many bytes are owed: they fit into the inbox (4 MiB, `bench` on each wire), and not into what
/// waits to be sent.
const OWED: usize = 3 << 20;
/// What one read takes.
const READ: usize = 64 * 1024;
const LARGE: usize = 16 << 20;
/// So many large buffers, one each; a node that keeps them has 1.6 GiB then.
const MOST: usize = 100;

/// How many messages of one byte each of them sent.
type Sent = AtomicUsize;

async fn devp2p(mut peer: OldPeer, filler: Bytes, sent: &Sent) -> anyhow::Result<()> {
    let mut owed: usize = 0;
    for _ in 0..PIECES {
        peer.put_bench(REQUEST, &filler[..PIECE])?;
        owed += PIECE;
        // The rest of a frame that was cut by the stall goes first below.
        match timeout(STALLED, peer.flush()).await {
            Ok(done) => done?,
            Err(_) => break,
        }
    }
    peer.read(owed.saturating_sub(OWED)).await?;
    for _ in 0..MOST {
        peer.put(DROPPED, &filler)?;
        peer.put_bench(REQUEST, &[7])?;
        peer.flush().await?;
        sent.fetch_add(1, Ordering::Relaxed);
        peer.read(PIECE).await?;
    }
    std::future::pending().await
}

async fn comet(mut peer: Talker, mut listener: Listener, sent: &Sent) -> anyhow::Result<()> {
    use switchboard_comet::bench::REQUEST;
    use switchboard_comet::proto::wrap;
    let (large, small) = (wrap(&noise(4, PIECE)), wrap(&[7]));
    let put = |peer: &mut Talker, message: &[u8]| -> anyhow::Result<()> {
        let mut at = 0;
        while at < message.len() {
            let n = peer.slice(REQUEST, message.len() - at)?.min(message.len() - at);
            peer.put(REQUEST, &message[at..at + n], at + n == message.len())?;
            at += n;
        }
        Ok(())
    };
    let mut owed: usize = 0;
    for _ in 0..PIECES {
        put(&mut peer, &large)?;
        owed += PIECE;
        match timeout(STALLED, peer.flush()).await {
            Ok(done) => done?,
            Err(_) => break,
        }
    }
    while owed > OWED {
        // A part of a message: as much as a packet carries.
        if let Heard::Nothing = listener.next().await? {
            owed = owed.saturating_sub(1_024);
        }
    }
    loop {
        while peer.waiting() < READ {
            peer.ping()?;
        }
        put(&mut peer, &small)?;
        peer.flush().await?;
        if sent.fetch_add(1, Ordering::Relaxed).is_multiple_of(64) {
            listener.next().await?;
        }
    }
}

fn request(number: u64, data: Bytes) -> Vec<u8> {
    let payload = Payload { seq_num: number, data, private_data: Vec::new() };
    let content = Content::DataMsg(DataMessage { payload: Some(payload) });
    GossipMessage::new(Tag::ChanAndOrg, ECHO, 0, content).unsigned().encode_to_vec()
}

/// An envelope with a message of a content that no version knows.
fn unknown() -> Vec<u8> {
    // Field 60, length-delimited.
    let mut payload = BytesMut::from(&[0xe2, 0x03][..]);
    prost::encoding::encode_varint(LARGE as u64, &mut payload);
    payload.put_bytes(0, LARGE);
    Envelope { payload: payload.freeze(), ..Envelope::default() }.encode_to_vec()
}

async fn fabric(mut peer: Gossip, sent: &Sent) -> anyhow::Result<()> {
    let (large, unknown) = (noise(5, PIECE), unknown());
    let mut framed = BytesMut::new();
    let mut rest = Bytes::new();
    let mut owed: usize = 0;
    for n in 0..PIECES {
        owed += PIECE;
        put_message(&request(n as u64, large.clone()), &mut framed);
        rest = framed.split().freeze();
        match timeout(STALLED, peer.put(&mut rest)).await {
            Ok(done) => done?,
            Err(_) => break,
        }
    }
    while owed > OWED {
        owed = owed.saturating_sub(peer.hear().await.context("the stream is over")??.len());
    }
    peer.put(&mut rest).await?;
    for _ in 0..MOST {
        put_message(&unknown, &mut framed);
        put_message(&request(1, Bytes::from_static(&[7])), &mut framed);
        peer.put(&mut framed.split().freeze()).await?;
        sent.fetch_add(1, Ordering::Relaxed);
        let _ = timeout(Duration::from_millis(1), peer.hear()).await;
    }
    std::future::pending().await
}

pub(crate) fn run(world: &Arc<World>) -> Trying<'_> {
    Box::pin(async move {
        let filler = noise(2, MAX_BODY - 64);
        let mut trial = Trial::begin(world, Launch::new(world)?).await?;
        trial.press()?;
        let old = OldPeer::dial(world, &trial.node, hostile(0, 0)).await?;
        let (talker, listener) =
            dial_deaf(world, &trial.node, "comet", Offering::Bench, hostile(1, 0)).await?;
        let folder = PeerFolder::load(world.hostile_peer(0), ORG)?;
        let written = pem_certificate(folder.identity.identity().certificate());
        let gossip = Gossip::open(&folder, &trial.node, hostile(2, 0), written).await?;
        let until = Instant::now() + world.hold.max(Duration::from_secs(4));
        let sent: Arc<[Sent; 3]> = Arc::default();
        let mut attackers = JoinSet::new();
        let of = Arc::clone(&sent);
        attackers.spawn(async move { ("devp2p", timeout_at(until, devp2p(old, filler, &of[0])).await) });
        let of = Arc::clone(&sent);
        attackers.spawn(async move { ("comet", timeout_at(until, comet(talker, listener, &of[1])).await) });
        let of = Arc::clone(&sent);
        attackers.spawn(async move { ("fabric", timeout_at(until, fabric(gossip, &of[2])).await) });
        let mut ends = Vec::new();
        while let Some(done) = attackers.join_next().await {
            if let (wire, Ok(Err(error))) = done? {
                ends.push(format!("{wire}: {error}"));
            }
        }
        let growth = trial.vitals().growth();
        let mut report = trial.finish().await?;
        report.bytes("memory grown by three strangers", growth, 3 * PER_STRANGER + NOISE);
        let [a, b, c] = [0, 1, 2].map(|n: usize| sent[n].load(Ordering::Relaxed));
        report.notes.push(format!("messages of one byte sent: {a} devp2p, {b} comet, {c} fabric"));
        report.notes.extend(ends);
        Ok(report)
    })
}
