//! Messages that never end, from 17 identities on each wire at once: together they are more than twice the ledger's total.
//!
//! ```text
//!   devp2p   a frame of 16 MiB, but for its last bytes                          17 × 16 MiB
//!   comet    a message on each of three channels, packet after packet           17 × 61.5 MiB
//!   fabric   a gRPC message whose prefix says 60 MiB, but for its last bytes    17 × 60 MiB
//!   then a byte of it a second
//! ```
//! Held when honest sessions live and keep their latency, and memory stays within the node's ledger.

use super::{Trying, hostile};
use crate::files::noise;
use crate::gossip::Gossip;
use crate::node::Launch;
use crate::stranger::{Offering, OldPeer, Talker, dial};
use crate::trial::{LEDGER, NOISE, PER_STRANGER, Trial};
use crate::world::{ORG, World};
use bytes::{BufMut, Bytes, BytesMut};
use std::sync::Arc;
use std::time::Duration;
use switchboard::ChannelId;
use switchboard_devp2p::bench::REQUEST;
use switchboard_devp2p::frame::MAX_BODY;
use switchboard_fabric::PeerFolder;
use switchboard_fabric::identity::pem_certificate;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

/// Channels of `bench` on comet; each takes messages of 21 MiB (`switchboard_comet::bench`).
const CHANNELS: [u16; 3] = [0x70, 0x71, 0x72];
/// Bytes of each message that never ends there: all channels together stay below what one peer may make the node hold.
const UNENDED: usize = (20 << 20) + (1 << 19);
/// What a Fabric message says it has.
const SAID: usize = 60 << 20;
const IDENTITIES: usize = 17;
const DRIP: Duration = Duration::from_secs(1);
/// What is kept back, and then sent byte by byte.
const TAIL: usize = 4_096;

async fn comet(mut talker: Talker, until: Instant) -> anyhow::Result<()> {
    let filler = noise(1, 64 * 1024);
    for channel in CHANNELS.map(ChannelId) {
        let mut left = UNENDED;
        while left > 0 && Instant::now() < until {
            let n = talker.slice(channel, left)?.min(left).min(filler.len());
            talker.put(channel, &filler[..n], false)?;
            left -= n;
            if talker.waiting() > 128 * 1024 {
                talker.flush().await?;
            }
        }
    }
    loop {
        for channel in CHANNELS.map(ChannelId) {
            talker.put(channel, &[0], false)?;
        }
        talker.flush().await?;
        sleep(DRIP).await;
    }
}

async fn devp2p(mut peer: OldPeer, body: Bytes) -> anyhow::Result<()> {
    peer.put_bench(REQUEST, &body)?;
    for kept in (0..TAIL).rev() {
        peer.flush_but(kept).await?;
        sleep(DRIP).await;
    }
    Ok(())
}

async fn fabric(mut peer: Gossip) -> anyhow::Result<()> {
    let mut prefix = BytesMut::from(&[0][..]);
    prefix.put_u32(SAID as u32);
    peer.put(&mut prefix.freeze()).await?;
    let filler = noise(2, 64 * 1024);
    let mut left = SAID - TAIL;
    while left > 0 {
        let n = left.min(filler.len());
        peer.put(&mut filler.slice(..n)).await?;
        left -= n;
    }
    loop {
        peer.put(&mut Bytes::from_static(&[0])).await?;
        sleep(DRIP).await;
    }
}

pub(crate) fn run(world: &Arc<World>) -> Trying<'_> {
    Box::pin(async move {
        let body = noise(3, MAX_BODY - 64);
        let mut trial = Trial::begin(world, Launch::new(world)?).await?;
        trial.press()?;
        let identities = world.scaled(IDENTITIES, 2);
        let hold = if world.short { world.hold } else { world.hold.max(Duration::from_secs(25)) };
        let until = Instant::now() + hold;
        let (mut attackers, mut drains) = (JoinSet::new(), JoinSet::new());
        let mut refused = 0;
        for n in 0..identities {
            match dial(world, &trial.node, "comet", Offering::Bench, hostile(0, n)).await {
                Ok((talker, listener, _)) => {
                    attackers.spawn(async move { timeout_at(until, comet(talker, until)).await });
                    drains.spawn(async move {
                        listener.drain().await;
                    });
                }
                Err(_) => refused += 1,
            }
            match OldPeer::dial(world, &trial.node, hostile(1, n)).await {
                Ok(peer) => {
                    let body = body.clone();
                    attackers.spawn(async move { timeout_at(until, devp2p(peer, body)).await });
                }
                Err(_) => refused += 1,
            }
            let folder = PeerFolder::load(world.hostile_peer(n), ORG)?;
            let written = pem_certificate(folder.identity.identity().certificate());
            match Gossip::open(&folder, &trial.node, hostile(2, n), written).await {
                Ok(peer) => {
                    attackers.spawn(async move { timeout_at(until, fabric(peer)).await });
                }
                Err(_) => refused += 1,
            }
        }
        let mut ended = 0;
        while let Some(done) = attackers.join_next().await {
            ended += usize::from(matches!(done, Ok(Ok(Err(_)))));
        }
        let growth = trial.vitals().growth();
        drop(drains);
        let mut report = trial.finish().await?;
        let most = (3 * identities as u64 * PER_STRANGER).min(LEDGER);
        report.bytes("memory grown", growth, most + NOISE);
        report.notes.push(format!(
            "{ended} of {} attackers were shown out, {refused} found no place",
            3 * identities - refused
        ));
        Ok(report)
    })
}
