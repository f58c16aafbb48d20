//! Standard output and standard error that nobody reads, on one CPU, and connections that each are worth a line.
//!
//! Held when honest peers are served and SIGTERM ends the node in time.

use super::{Trying, hostile};
use crate::node::Launch;
use crate::proxy::connect;
use crate::trial::Trial;
use crate::world::World;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// The node once hung after 1,264.
const CONNECTIONS: usize = 1_400;
const AT_ONCE: usize = 8;
/// How long they may take in all.
const MOST: Duration = Duration::from_secs(15);

pub(crate) fn run(world: &Arc<World>) -> Trying<'_> {
    Box::pin(async move {
        let mut launch = Launch::new(world)?;
        (launch.read, launch.one_cpu) = (false, true);
        let mut trial = Trial::begin(world, launch).await?;
        trial.press()?;
        let (addr, mut bad) = (trial.node.addr()?, JoinSet::new());
        for worker in 0..AT_ONCE {
            bad.spawn(async move {
                let mut closed = 0;
                for n in 0..CONNECTIONS / AT_ONCE {
                    let one = async {
                        let mut stream = connect(hostile(worker as u8, n), addr).await?;
                        stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await?;
                        let mut rest = Vec::new();
                        let _ = stream.read_to_end(&mut rest).await;
                        std::io::Result::Ok(())
                    };
                    closed += usize::from(matches!(timeout(Duration::from_secs(2), one).await, Ok(Ok(()))));
                }
                closed
            });
        }
        let closed: usize = timeout(MOST.max(world.hold), async {
            let mut all = 0;
            while let Some(Ok(closed)) = bad.join_next().await {
                all += closed;
            }
            all
        })
        .await
        .unwrap_or(0);
        sleep(world.hold / 2).await;
        let mut report = trial.finish().await?;
        report.check(
            "bad connections answered in time",
            format!("{closed}/{CONNECTIONS}"),
            format!("≥ {}", CONNECTIONS / 100 * 99),
            closed >= CONNECTIONS / 100 * 99,
        );
        Ok(report)
    })
}
