//! Memory: messages that never end, small messages in large buffers, pages without chunks.

use super::{Trying, hostile};
use crate::files::{Bogus, CastPeer, announce, noise};
use crate::node::Launch;
use crate::stranger::{Offering, OldPeer, Talker, dial};
use crate::trial::{NOISE, PER_STRANGER, Trial};
use crate::world::World;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use switchboard::ChannelId;
use switchboard_cast::manifest::PAGE_CHUNKS;
use switchboard_cast::{Message, Part};
use switchboard_devp2p::bench::REQUEST;
use switchboard_devp2p::frame::MAX_BODY;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

/// Channels of `bench` on comet; each takes messages of 21 MiB (`switchboard_comet::bench`).
const CHANNELS: [u16; 3] = [0x70, 0x71, 0x72];
/// Bytes of each message that never ends: all channels together stay below what one peer may make the node hold.
const UNENDED: usize = (20 << 20) + (1 << 19);
/// So many of them are over the ledger's total of 1 GiB.
const IDENTITIES: usize = 17;

/// Sends the beginning of a message on each channel, then a byte now and then.
async fn unending(mut talker: Talker, until: Instant) -> anyhow::Result<()> {
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
    while Instant::now() < until {
        for channel in CHANNELS.map(ChannelId) {
            talker.put(channel, &[0], false)?;
        }
        talker.flush().await?;
        sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

/// Held when honest sessions live and keep their latency, and memory stays within the cap of each identity.
pub(crate) fn endless(world: &Arc<World>) -> Trying<'_> {
    Box::pin(async move {
        let mut trial = Trial::begin(world, Launch::new(world)?).await?;
        trial.press()?;
        let identities = world.scaled(IDENTITIES, 4);
        let hold = if world.short { world.hold } else { world.hold.max(Duration::from_secs(25)) };
        let until = Instant::now() + hold;
        let mut attackers = JoinSet::new();
        let mut drains = JoinSet::new();
        for n in 0..identities {
            let (talker, listener, _) =
                dial(world, &trial.node, "comet", Offering::Bench, hostile(0, n)).await?;
            attackers.spawn(async move { timeout_at(until, unending(talker, until)).await });
            drains.spawn(listener.drain());
        }
        let mut ended = 0;
        while let Some(done) = attackers.join_next().await {
            ended += usize::from(matches!(done, Ok(Ok(Err(_)))));
        }
        let growth = trial.vitals().growth();
        drop(drains);
        let mut report = trial.finish().await?;
        report.bytes("memory grown", growth, identities as u64 * PER_STRANGER + NOISE);
        report.notes.push(format!("{ended} of {identities} attackers were shown out"));
        Ok(report)
    })
}

/// A code of the base protocol that is read and dropped.
const DROPPED: u64 = 9;
/// Requests that fill the way back, and leave room in the inbox (4 MiB, `switchboard_devp2p::bench`).
const FILL: usize = 2 << 20;
const FILL_PIECE: usize = 4 * 1024;

/// Held when one stranger's messages of one byte cost no more than its cap.
pub(crate) fn pinned(world: &Arc<World>) -> Trying<'_> {
    Box::pin(async move {
        let mut trial = Trial::begin(world, Launch::new(world)?).await?;
        trial.press()?;
        let mut peer = OldPeer::dial(world, &trial.node, hostile(0, 0)).await?;
        // Echoes that nobody reads fill the way back: from here on requests wait in the inbox, which has room for more.
        let filler = noise(2, MAX_BODY - 64);
        let until = Instant::now() + world.hold;
        let (mut sent, mut filled) = (0, 0);
        let attack = async {
            while filled < FILL {
                peer.put_bench(REQUEST, &filler[..FILL_PIECE])?;
                peer.flush().await?;
                filled += FILL_PIECE;
            }
            while Instant::now() < until {
                peer.put_bench(REQUEST, &[7])?;
                peer.put(DROPPED, &filler)?;
                peer.put_bench(REQUEST, &[7])?;
                peer.flush().await?;
                sent += 1;
            }
            anyhow::Ok(())
        };
        let ended = timeout_at(until, attack).await;
        let growth = trial.vitals().growth();
        let mut report = trial.finish().await?;
        report.bytes("memory grown by one stranger", growth, PER_STRANGER + NOISE);
        report.notes.push(format!(
            "{sent} large buffers sent, each with two messages of one byte; {} KiB before",
            filled / 1024
        ));
        if let Ok(Err(error)) = ended {
            report.notes.push(format!("then: {error}"));
        }
        Ok(report)
    })
}

/// Held when one stranger's pages cost no more than its cap, in memory and on disk.
pub(crate) fn quota(world: &Arc<World>) -> Trying<'_> {
    Box::pin(async move {
        let (casts, pages) = (world.scaled(32, 12) as u64, 512);
        let mut bogus = BTreeMap::new();
        for seed in 0..casts {
            let one = Bogus::new(seed, pages, 1_024)?;
            bogus.insert(one.header.id(), one);
        }
        let mut trial = Trial::begin(world, Launch::new(world)?).await?;
        trial.press()?;
        let mut peer = CastPeer::dial(world, &trial.node, hostile(0, 0)).await?;
        for one in bogus.values() {
            let (id, count) = (one.header.id(), one.header.chunks());
            peer.put(&announce(&one.header, count))?;
            // One chunk of each page: a node that misses it soon asks for the next page.
            for page in 0..u32::from(pages) {
                peer.put(&Message::Have { id, first: page * PAGE_CHUNKS, count: 1 })?;
            }
            peer.talker.flush().await?;
        }
        let until = Instant::now() + world.hold.max(Duration::from_secs(4));
        let (mut given, mut ended) = (0, None);
        while Instant::now() < until {
            let Ok(heard) = timeout_at(until, peer.hear()).await else { break };
            let answered = match heard {
                Ok(Message::WantPage { id, page }) => match bogus.get(&id) {
                    Some(one) => {
                        given += 1;
                        peer.say(&Message::Page { id, page, hashes: one.page(page) }).await
                    }
                    None => Ok(()),
                },
                Ok(Message::WantChunk { id, first, count }) => {
                    let missing = (first..first.saturating_add(count.into()))
                        .map(|index| Message::Missing { id, what: Part::Chunk(index) });
                    missing
                        .into_iter()
                        .try_for_each(|message| peer.put(&message))
                        .and(peer.talker.flush().await)
                }
                Ok(_) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = answered {
                ended = Some(error.to_string());
                break;
            }
        }
        let growth = trial.vitals().growth();
        let disk = taken(&trial.launch.data.join("cast"))?;
        let mut report = trial.finish().await?;
        report.bytes("memory grown by one stranger", growth, PER_STRANGER + NOISE);
        report.bytes("disk taken by one stranger", disk, PER_STRANGER);
        report.notes.push(format!("{given} pages of 32 KiB were taken"));
        report.notes.extend(ended);
        Ok(report)
    })
}

/// Bytes a folder's files take on disk.
fn taken(folder: &Path) -> anyhow::Result<u64> {
    let mut all = 0;
    for entry in std::fs::read_dir(folder)? {
        all += entry?.metadata()?.blocks() * 512;
    }
    Ok(all)
}
