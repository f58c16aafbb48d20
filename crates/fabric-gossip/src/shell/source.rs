//! Blocks from a folder: what an orderer gives a Fabric peer.
//!
//! ```text
//!   1.block, 2.block … as they appear ─▶ judged ─▶ state transfer, and gossiped where this peer leads
//! ```
//! The folder is looked at every [`LOOK`]; files come by rename, so one that is there is whole. A file that is of no use is told once and
//! looked at again every [`AGAIN`]: whoever wrote it may replace it. A leader whose source stays of no use for [`PATIENCE`] looks
//! yields: another may do better (fabric core/peer, a deliver client that reaches no orderer). A block that does not follow the one
//! before is of no use either: it is neither stored nor gossiped.
//!
//! Limits: [`AHEAD`] blocks are read before they are stored. Without leadership nothing is read.

use super::channel::ChannelJob;
use super::events::ShellEvent;
use super::node::Shell;
use crate::block::hash::Hash;
use crate::block::{Block, BlockFolder, Verifier};
use crate::host::CryptoService;
use crate::ledger::BlockStore;
use crate::types::Channel;
use std::sync::{Arc, Weak};
use std::time::Duration;
use switchboard_fabric::message::Payload;
use tokio::time::{sleep, timeout};

/// How often the folder is looked at.
pub const LOOK: Duration = Duration::from_millis(100);
/// How often a file that is of no use is looked at.
pub const AGAIN: Duration = Duration::from_secs(1);
/// How often the same file is found to be of no use before an elected leader yields.
pub const PATIENCE: u32 = 10;
/// Looks without a new block after which those that are not stored are read once more.
pub const READ_AGAIN: u32 = 100;
/// Blocks read that are not stored yet.
pub const AHEAD: u64 = 16;

/// Where the blocks come from, and what they must follow.
#[derive(Clone)]
pub(super) struct Source {
    pub channel: Channel,
    pub folder: BlockFolder,
    pub store: Arc<dyn BlockStore>,
    pub verifier: Verifier,
}

/// Reads until the channel is left.
pub(super) async fn run(shell: Arc<Shell>, job: Weak<ChannelJob>, source: Source) {
    let channel = source.channel.clone();
    let mut next = 0;
    // The last block that was read, which need not be stored yet.
    let mut last: Option<(u64, Hash)> = None;
    let (mut told, mut failures, mut idle) = (String::new(), 0, 0);
    loop {
        let Some(job) = job.upgrade() else { return };
        if !job.leads() {
            let mut led = job.led();
            drop(job);
            if led.wait_for(|led| *led).await.is_err() {
                return;
            }
            continue;
        }
        let mut heights = job.heights();
        let height = *heights.borrow_and_update();
        next = height.max(next);
        if next >= height + AHEAD {
            drop(job);
            if matches!(timeout(AGAIN, heights.changed()).await, Ok(Err(_))) {
                return;
            }
            // What was offered may have been refused: then it is read once more.
            next = height;
            continue;
        }
        match read(&shell, &source, next, last).await {
            Ok(Some(block)) => {
                told.clear();
                (failures, idle) = (0, 0);
                last = Some((next, block.header_hash()));
                let payload = Payload { seq_num: next, data: block.raw().clone(), private_data: Vec::new() };
                job.offer(block).await;
                shell.call(|gossip, now, out| gossip.gossip_block(&channel, payload, now, out));
                next += 1;
            }
            Ok(None) => {
                drop(job);
                idle += 1;
                // What was read and is not stored after that long may have been refused.
                if idle >= READ_AGAIN && next > height {
                    (next, last, idle) = (height, None, 0);
                }
                sleep(LOOK).await;
            }
            Err(why) => {
                drop(job);
                if why != told {
                    told.clone_from(&why);
                    shell.tell(ShellEvent::Source { channel: channel.clone(), why });
                }
                failures += 1;
                if failures >= PATIENCE {
                    failures = 0;
                    shell.call(|gossip, now, out| gossip.yield_leadership(&channel, now, out));
                }
                sleep(AGAIN).await;
            }
        }
    }
}

/// Reads and judges one block; `None` when it is not there yet.
async fn read(
    shell: &Arc<Shell>,
    source: &Source,
    number: u64,
    last: Option<(u64, Hash)>,
) -> Result<Option<Block>, String> {
    let (crypto, source) = (Arc::clone(shell.crypto()), source.clone());
    let work = move || {
        let Source { channel, folder, store, verifier } = source;
        let Some(block) = folder.block(number).map_err(|fault| fault.to_string())? else { return Ok(None) };
        let wrong = |why: &dyn std::fmt::Display| format!("{}: {why}", folder.path(number).display());
        // What is stored counts: what was read before may have been refused, and another block taken in its place.
        let read = last.filter(|(last, _)| last.checked_add(1) == Some(number)).map(|(_, hash)| hash);
        let tip = if store.height() == number { store.tip() } else { read };
        // By the verifier first, which tells the reason each time.
        let judged =
            verifier.check(number, &block).and_then(|()| verifier.link(number, tip).check(&block, &verifier));
        judged.map_err(|fault| wrong(&fault))?;
        crypto.verify_block(&channel, number, block.raw()).map_err(|why| wrong(&why))?;
        Ok(Some(block))
    };
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|broken| Err(broken.to_string()))
}
