//! Blocks from a folder: what an orderer gives a Fabric peer.
//!
//! ```text
//!   1.block, 2.block … as they appear ─▶ judged ─▶ state transfer, and gossiped where this peer leads
//! ```
//! The folder is looked at every [`LOOK`]; files come by rename, so one that is there is whole. A file that is of no use is told once and
//! looked at again every [`AGAIN`]: whoever wrote it may replace it. A leader whose source stays of no use for [`PATIENCE`] looks
//! yields: another may do better (fabric core/peer, a deliver client that reaches no orderer).
//!
//! Limits: [`AHEAD`] blocks are read before they are stored. Without leadership nothing is read.

use super::channel::ChannelJob;
use super::events::ShellEvent;
use super::node::Shell;
use crate::block::{Block, BlockFolder};
use crate::host::CryptoService;
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
/// Blocks read that are not stored yet.
pub const AHEAD: u64 = 16;

/// Reads until the channel is left.
pub(super) async fn run(shell: Arc<Shell>, job: Weak<ChannelJob>, channel: Channel, folder: BlockFolder) {
    let mut next = 0;
    let (mut told, mut failures) = (String::new(), 0);
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
        match read(&shell, &channel, &folder, next).await {
            Ok(Some(block)) => {
                told.clear();
                failures = 0;
                let payload = Payload { seq_num: next, data: block.raw().clone(), private_data: Vec::new() };
                job.offer(block).await;
                shell.call(|gossip, now, out| gossip.gossip_block(&channel, payload, now, out));
                next += 1;
            }
            Ok(None) => {
                drop(job);
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
    channel: &Channel,
    folder: &BlockFolder,
    number: u64,
) -> Result<Option<Block>, String> {
    let (crypto, channel, folder) = (Arc::clone(shell.crypto()), channel.clone(), folder.clone());
    let work = move || {
        let Some(block) = folder.block(number).map_err(|fault| fault.to_string())? else { return Ok(None) };
        let judged = crypto.verify_block(&channel, number, block.raw());
        let wrong = |why: crate::Refusal| format!("{}: {why}", folder.path(number).display());
        judged.map(|()| Some(block)).map_err(wrong)
    };
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|broken| Err(broken.to_string()))
}
