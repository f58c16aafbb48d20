//! Private data from a folder: what an endorser's simulation leaves for its transaction.
//!
//! ```text
//!   TXID.private ─▶ pushed to those who may have it ─▶ acknowledged as the collections demand ─▶ renamed to TXID.pushed
//! ```
//! A file holds an encoded `TxPvtReadWriteSet` (fabric-protos ledger/rwset/rwset.proto), its name is the transaction's id. Files come by
//! rename, so one that is there is whole. The folder is looked at every [`LOOK`]. A file that cannot be pushed is told once for each
//! reason and tried again every [`AGAIN`]: peers that may have its data may come yet.
//!
//! Limits: files of up to [`MAX_FILE`] bytes; the first [`MOST`] names of the folder are looked at, files beyond wait for these.

use super::channel::ChannelJob;
use super::events::ShellEvent;
use super::node::Shell;
use super::source::{AGAIN, LOOK};
use crate::block::transaction::MAX_NAME;
use crate::privdata::PrivateSet;
use crate::privdata::rwset::decode_sets;
use crate::types::Channel;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use tokio::time::sleep;

/// Bytes of a file.
pub const MAX_FILE: usize = 16 << 20;
/// Files that are looked at.
pub const MOST: usize = 1_024;
const SUFFIX: &str = ".private";
const PUSHED: &str = ".pushed";

/// The files that wait, by transaction id.
fn waiting(folder: &Path) -> Result<BTreeSet<String>, String> {
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", folder.display());
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let tx_id = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
        if let Some(tx_id) = tx_id.filter(|id| !id.is_empty() && id.len() <= MAX_NAME) {
            found.insert(tx_id.to_owned());
            if found.len() > MOST {
                found.pop_last();
            }
        }
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<PrivateSet>, String> {
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let mut content = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MAX_FILE as u64 + 1).read_to_end(&mut content).map_err(failed)?;
    if content.len() > MAX_FILE {
        return Err(format!("{} has more than {MAX_FILE} bytes", path.display()));
    }
    let sets = decode_sets(&Bytes::from(content)).ok().filter(|sets| !sets.is_empty());
    sets.ok_or_else(|| {
        format!("{} holds no private data: write an encoded TxPvtReadWriteSet", path.display())
    })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|broken| Err(broken.to_string()))
}

/// Pushes one file's sets; gives the acknowledgements of each.
async fn push(job: &ChannelJob, folder: &Path, tx_id: &str) -> Result<Vec<usize>, String> {
    let path = folder.join(format!("{tx_id}{SUFFIX}"));
    let from = path.clone();
    let sets = blocking(move || read(&from)).await?;
    let acks = job.push(tx_id, sets, job.height()).await.map_err(|fault| fault.to_string())?;
    let to = folder.join(format!("{tx_id}{PUSHED}"));
    blocking(move || {
        let why = |error| format!("{} was pushed, and cannot be renamed: {error}", path.display());
        std::fs::rename(&path, &to).map_err(why)
    })
    .await?;
    Ok(acks)
}

/// Reads until the channel is left.
pub(super) async fn run(shell: Arc<Shell>, job: Weak<ChannelJob>, channel: Channel, folder: PathBuf) {
    let tell = |tx_id: &str, result| {
        let (channel, tx_id) = (channel.clone(), tx_id.to_owned());
        shell.tell(ShellEvent::PrivatePushed { channel, tx_id, result });
    };
    let mut told: BTreeMap<String, String> = BTreeMap::new();
    loop {
        let looked = folder.clone();
        let names = match blocking(move || waiting(&looked)).await {
            Ok(names) => {
                told.remove("");
                names
            }
            Err(why) => {
                if told.insert(String::new(), why.clone()).as_ref() != Some(&why) {
                    tell("", Err(why));
                }
                BTreeSet::new()
            }
        };
        told.retain(|tx_id, _| tx_id.is_empty() || names.contains(tx_id));
        for tx_id in names {
            let Some(job) = job.upgrade() else { return };
            match push(&job, &folder, &tx_id).await {
                Ok(acks) => tell(&tx_id, Ok(acks)),
                Err(why) => {
                    if told.insert(tx_id.clone(), why.clone()).as_ref() != Some(&why) {
                        tell(&tx_id, Err(why));
                    }
                }
            }
        }
        if job.strong_count() == 0 {
            return;
        }
        sleep(if told.is_empty() { LOOK } else { AGAIN }).await;
    }
}
