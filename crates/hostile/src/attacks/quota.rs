//! Pages of casts whose chunks nobody has.

use super::{Trying, hostile};
use crate::files::{Bogus, CastPeer, announce};
use crate::node::Launch;
use crate::trial::{NOISE, PER_STRANGER, Trial};
use crate::world::World;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use switchboard_cast::manifest::PAGE_CHUNKS;
use switchboard_cast::{Message, Part};
use tokio::time::{Instant, timeout_at};

/// Held when one stranger's pages cost no more than its cap, in memory and on disk.
pub(crate) fn run(world: &Arc<World>) -> Trying<'_> {
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
