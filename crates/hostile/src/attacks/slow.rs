//! Handshakes as slow as each step allows, and connections that are opened and left.
//!
//! ```text
//!   silent │ devp2p: a size, then a byte each 300 ms │ comet: a key, then nothing │ TLS: a ClientHello, byte by byte
//! ```
//! From four networks of 256 addresses. Held when honest peers get in, also those 150 ms away each way.

use super::{Trying, hostile};
use crate::node::Launch;
use crate::proxy::{Proxy, connect};
use crate::trial::Trial;
use crate::world::World;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, sleep_until, timeout_at};

/// Connections a second.
const RATE: u32 = 100;
/// Connections that are held open beside them.
const HALF_OPEN: usize = 2_000;
const NETWORKS: usize = 4;
const BYTE_EVERY: Duration = Duration::from_millis(300);
/// How far away honest peers are, each way.
const AWAY: Duration = Duration::from_millis(150);

/// What one of them says at once, and then byte by byte.
fn words(n: usize) -> (Vec<u8>, usize) {
    match n % 4 {
        0 => (Vec::new(), 0),
        1 => (vec![0x01, 0x90, 4], 400),
        2 => ([&[0x22, 0x0a, 0x20][..], &[9; 32]].concat(), 0),
        _ => (vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3], 500),
    }
}

/// One slow connection, until the node closes it.
async fn slow(n: usize, addr: SocketAddr, until: Instant) -> std::io::Result<()> {
    let mut stream = connect(hostile((n % NETWORKS) as u8, n / NETWORKS), addr).await?;
    let (at_once, drip) = words(n);
    stream.write_all(&at_once).await?;
    let (mut read, mut write) = stream.split();
    let dripping = async {
        for n in 0..drip {
            sleep(BYTE_EVERY).await;
            write.write_all(&[n as u8]).await?;
        }
        std::future::pending::<std::io::Result<()>>().await
    };
    let closed = async {
        let mut rest = [0; 512];
        while read.read(&mut rest).await? > 0 {}
        Ok(())
    };
    tokio::select! {
        done = dripping => done,
        done = closed => done,
        () = sleep_until(until) => Ok(()),
    }
}

/// Honest peers alone. What is broken here is not the attackers' doing.
pub(crate) fn calm(world: &Arc<World>) -> Trying<'_> {
    Box::pin(async move {
        let mut trial = Trial::begin(world, Launch::new(world)?).await?;
        let proxy = Proxy::start(trial.node.addr()?, AWAY, 30).await?;
        trial.press()?;
        trial.press_far(&proxy)?;
        sleep(world.hold.max(Duration::from_secs(3))).await;
        trial.finish().await
    })
}

pub(crate) fn run(world: &Arc<World>) -> Trying<'_> {
    Box::pin(async move {
        let mut trial = Trial::begin(world, Launch::new(world)?).await?;
        let addr = trial.node.addr()?;
        let proxy = Proxy::start(addr, AWAY, 30).await?;
        trial.press()?;
        trial.press_far(&proxy)?;
        let until = Instant::now() + world.hold.max(Duration::from_secs(3));
        let mut crowd = JoinSet::new();
        let crowd_size = world.scaled(HALF_OPEN, 600);
        for n in 0..crowd_size {
            // As soon as one is closed the next comes.
            crowd.spawn(async move {
                while Instant::now() < until {
                    if slow(n, addr, until).await.is_err() {
                        sleep(BYTE_EVERY).await;
                    }
                }
            });
        }
        let mut ticks = interval(Duration::from_secs(1) / RATE);
        let mut n = 0;
        let _ = timeout_at(until, async {
            loop {
                ticks.tick().await;
                n += 1;
                crowd.spawn(async move {
                    let _ = slow(n, addr, until).await;
                });
            }
        })
        .await;
        crowd.abort_all();
        let mut report = trial.finish().await?;
        report.notes.push(format!(
            "{n} slow connections beside {} half-open ones; far visitors count, too",
            crowd_size
        ));
        Ok(report)
    })
}
