//! Casts of which one chunk came, at the very end: what does a restart cost?
//!
//! ```text
//!   announce (2^40 bytes, chunks of 1 MiB) ─▶   ◀─ want_page 1,023   page ─▶   ◀─ want_chunk   chunk ─▶     1.1 MB in all
//! ```
//! The same again with 1 GiB, as a node may well refuse the first for its size. Held when the next start is ready within a second
//! and heeds SIGTERM.

use super::{Trying, hostile};
use crate::files::{CastPeer, announce, noise};
use crate::node::{Launch, Node};
use crate::stranger::linger;
use crate::trial::{STOP, Trial};
use crate::world::World;
use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use switchboard_cast::manifest::{PAGE_CHUNKS, hash};
use switchboard_cast::{Hash, Header, Message, Part};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

const CHUNK: usize = 1 << 20;
/// How long a node may ask before we take it that it does not want the cast.
const ASKS: Duration = Duration::from_secs(3);
/// How long a restart may take (issue: "ready ≤ 1 s").
const READY: f64 = 1.0;
/// When a restarted node that is not ready gets SIGTERM.
const TOO_LATE: Duration = Duration::from_secs(5);

/// A cast of which we have the last page and the last chunk.
struct Tail {
    header: Header,
    page: Bytes,
    chunk: Bytes,
}

impl Tail {
    fn new(pages: u16, seed: u64) -> anyhow::Result<Self> {
        let chunk = noise(seed, CHUNK);
        let hashes = (PAGE_CHUNKS as usize - 1) * 32;
        let page: Bytes = [&noise(seed + 1, hashes)[..], &hash(&chunk)[..]].concat().into();
        let mut pages: Vec<Hash> = (1..pages).map(|n| hash(&n.to_be_bytes())).collect();
        pages.push(hash(&page));
        let size = pages.len() as u64 * u64::from(PAGE_CHUNKS) * CHUNK as u64;
        Ok(Self { header: Header::new(size, CHUNK as u32, &format!("tail-{seed}"), &pages)?, page, chunk })
    }

    fn last(&self) -> u32 {
        self.header.chunks() - 1
    }

    /// Answers what is asked; whether the chunk was asked for.
    async fn give(&self, peer: &mut CastPeer) -> anyhow::Result<bool> {
        let (id, last) = (self.header.id(), self.last());
        peer.put(&announce(&self.header, 1))?;
        peer.say(&Message::Have { id, first: last, count: 1 }).await?;
        let deadline = Instant::now() + ASKS;
        while let Ok(heard) = timeout_at(deadline, peer.hear()).await {
            match heard? {
                Message::WantPage { id: of, page } if of == id => {
                    let ours = usize::from(page) + 1 == self.header.pages().len();
                    let given = Message::Page { id, page, hashes: self.page.clone() };
                    let answer = if ours { given } else { Message::Missing { id, what: Part::Page(page) } };
                    peer.say(&answer).await?;
                }
                Message::WantChunk { id: of, first, .. } if of == id && first == last => {
                    peer.say(&Message::Chunk { id, index: last, data: self.chunk.clone() }).await?;
                    return Ok(true);
                }
                _ => {}
            }
        }
        Ok(false)
    }

    /// Whether the chunk is on disk, after a while.
    async fn is_kept(&self, folder: &Path) -> bool {
        let part = folder.join(format!("{}.part", self.header.id()));
        let kept = async {
            while std::fs::metadata(&part).map_or(0, |file| file.len()) == 0 {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(3), kept).await.is_ok()
    }
}

pub(crate) fn run(world: &Arc<World>) -> Trying<'_> {
    Box::pin(async move {
        let mut trial = Trial::begin(world, Launch::new(world)?).await?;
        trial.press()?;
        let (mut notes, mut sessions) = (Vec::new(), JoinSet::new());
        for (n, pages) in [1_024, 1].into_iter().enumerate() {
            let tail = Tail::new(pages, n as u64)?;
            let mut peer = CastPeer::dial(world, &trial.node, hostile(0, n)).await?;
            let asked = tail.give(&mut peer).await.unwrap_or(false);
            let kept = asked && tail.is_kept(&trial.launch.data.join("cast")).await;
            notes.push(format!("{} GiB: last chunk asked for: {asked}, kept: {kept}", pages));
            let (talker, listener, _) = peer.split();
            sessions.spawn(linger(talker, listener));
        }
        sleep(world.hold / 2).await;
        let launch = trial.launch.clone();
        let mut report = trial.finish().await?;
        report.notes.extend(notes);
        match Node::try_start(world, &launch, TOO_LATE).await? {
            Err(not) => {
                report.check("ready after a restart", not.why, format!("≤ {READY} s"), false);
                report.seconds("SIGTERM before it is ready", not.ended.after, STOP * world.slack);
            }
            Ok(mut node) => {
                report.seconds("ready after a restart", node.ready_after, READY * world.slack);
                report.seconds("SIGTERM right after that", node.stop().await?.after, STOP * world.slack);
            }
        }
        Ok(report)
    })
}
