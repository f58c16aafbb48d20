//! Work for the state that all casts share: floods of `have`, and pages, beside an honest cast.
//!
//! Held when the honest cast takes no more than thrice its calm time, or a second.

use super::{Trying, hostile};
use crate::crossing::Crossing;
use crate::files::{Bogus, CastPeer, announce, noise, put};
use crate::node::Launch;
use crate::trial::Trial;
use crate::world::World;
use std::sync::Arc;
use std::time::Duration;
use switchboard_cast::manifest::hash;
use switchboard_cast::{Hash, Header, Message};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

const ATTACKERS: usize = 6;
/// Casts each of them announces; all together stay within what a node takes from one peer (32), so that the honest ones find
/// their places at the taker, which hears of all of them from the node.
const CASTS: usize = 4;
/// `have` messages between two flushes.
const BATCH: usize = 256;
const FILE: usize = 4 << 20;

/// A header of 1,024 pages that nobody has.
fn vast(seed: u64) -> anyhow::Result<Header> {
    let pages: Vec<Hash> = (0..1_024_u32).map(|n| hash(&noise(seed << 32 | u64::from(n), 32))).collect();
    Ok(Header::new(1 << 30, 1_024, &format!("vast-{seed}"), &pages)?)
}

/// What one attacker announces: a cast whose pages it has, and vast ones.
struct Lies {
    paged: Bogus,
    headers: Vec<Header>,
}

impl Lies {
    fn new(n: usize) -> anyhow::Result<Self> {
        let paged = Bogus::new(1_000 + n as u64, 64, 1_024)?;
        let mut headers = vec![paged.header.clone()];
        for cast in 1..CASTS {
            headers.push(vast((n * CASTS + cast) as u64)?);
        }
        Ok(Self { paged, headers })
    }
}

/// Floods until the time is over; gives how many messages it sent.
async fn flood(peer: CastPeer, lies: Lies, n: usize, until: Instant) -> anyhow::Result<usize> {
    let (mut talker, mut listener, map) = peer.split();
    let Lies { paged, headers } = lies;
    for header in &headers {
        put(&mut talker, &map, &announce(header, header.chunks()))?;
        talker.flush().await?;
    }
    let (asked, mut pages) = mpsc::channel(64);
    let (id, their_map) = (paged.header.id(), map.clone());
    let hears = tokio::spawn(async move {
        use crate::stranger::Heard;
        use switchboard_cast::Flow;
        loop {
            let Heard::Message(channel, data) = listener.next().await? else { continue };
            if channel == their_map.channel(Flow::Request)
                && let Message::WantPage { id: of, page } =
                    Message::decode(Flow::Request, data, Flow::Request.limit())?
                && of == id
                && asked.send(page).await.is_err()
            {
                return anyhow::Ok(());
            }
        }
    });
    let (mut sent, mut at) = (0, n as u32);
    while Instant::now() < until && !hears.is_finished() {
        for _ in 0..BATCH {
            at = at.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let header = &headers[(at >> 16) as usize % headers.len()];
            let have = Message::Have { id: header.id(), first: at % header.chunks(), count: 1 };
            put(&mut talker, &map, &have)?;
        }
        while let Ok(page) = pages.try_recv() {
            put(&mut talker, &map, &Message::Page { id, page, hashes: paged.page(page) })?;
        }
        talker.flush().await?;
        sent += BATCH;
    }
    hears.abort();
    Ok(sent)
}

pub(crate) fn run(world: &Arc<World>) -> Trying<'_> {
    Box::pin(async move {
        // Made before anybody dials: hashing would hold up their handshakes.
        let lies: Vec<Lies> = (0..ATTACKERS).map(Lies::new).collect::<Result<_, _>>()?;
        let mut trial = Trial::begin(world, Launch::new(world)?).await?;
        let crossing = Crossing::join(world, &trial.node).await?;
        let calm = crossing.cast(&world.file(FILE)?).await?;
        let mut peers = Vec::new();
        for n in 0..ATTACKERS {
            peers.push(CastPeer::dial(world, &trial.node, hostile(n as u8, 0)).await?);
        }
        let mut attackers = JoinSet::new();
        let until = Instant::now() + world.hold.max(Duration::from_secs(4));
        for (n, (peer, lies)) in peers.into_iter().zip(lies).enumerate() {
            attackers.spawn(flood(peer, lies, n, until));
        }
        trial.press()?;
        sleep(world.hold / 2).await;
        let pressed = crossing.cast(&world.file(FILE)?).await?;
        let (mut sent, mut ends) = (0, Vec::new());
        while let Some(done) = attackers.join_next().await {
            match done? {
                Ok(n) => sent += n,
                Err(error) => ends.push(format!("an attacker: {error}")),
            }
        }
        crossing.leave().await;
        let mut report = trial.finish().await?;
        let calm = calm.unwrap_or(Duration::from_secs(20));
        let most = (calm.as_secs_f64() * 3.0).max(1.0) * world.slack;
        report.seconds(
            "honest cast of 4 MiB",
            pressed.unwrap_or(Duration::from_secs(20)),
            (most * 100.0).round() / 100.0,
        );
        report.notes.push(format!("calm: {:.2} s; {sent} messages sent", calm.as_secs_f64()));
        report.notes.extend(ends);
        Ok(report)
    })
}
