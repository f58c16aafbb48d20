//! Slots of `cast` filled with announces that cost their sender nothing.
//!
//! Held when an honest cast still goes through, nothing is on disk of files no chunk of which came, and a restarted node with a
//! cast of its own runs and casts it.

use super::{Trying, hostile};
use crate::crossing::Crossing;
use crate::files::{Bogus, CastPeer, announce};
use crate::node::{Launch, Node};
use crate::stranger::linger;
use crate::trial::{STOP, Trial};
use crate::world::World;
use std::sync::Arc;
use std::time::Duration;
use switchboard_cast::{CastId, Header};
use tokio::task::JoinSet;
use tokio::time::sleep;

const ANNOUNCES: u64 = 64;
/// How long an honest cast of 1 MiB may take meanwhile.
const CAST: f64 = 5.0;

pub(crate) fn run(world: &Arc<World>) -> Trying<'_> {
    Box::pin(async move {
        let mut trial = Trial::begin(world, Launch::new(world)?).await?;
        let crossing = Crossing::join(world, &trial.node).await?;
        trial.press()?;
        let mut sessions = JoinSet::new();
        let mut empty = CastPeer::dial(world, &trial.node, hostile(0, 0)).await?;
        for n in 0..ANNOUNCES {
            empty.put(&announce(&Header::new(0, 1_024, &format!("empty-{n}"), &[])?, 0))?;
        }
        let mut absent = CastPeer::dial(world, &trial.node, hostile(0, 1)).await?;
        let mut ids = Vec::new();
        for n in 0..ANNOUNCES {
            let bogus = Bogus::new(n, 1, 65_536)?;
            ids.push(bogus.header.id());
            absent.put(&announce(&bogus.header, 0))?;
        }
        for mut peer in [empty, absent] {
            peer.talker.flush().await?;
            let (talker, listener, _) = peer.split();
            sessions.spawn(linger(talker, listener));
        }
        sleep(world.hold / 2).await;
        let took = crossing.cast(&world.file(1 << 20)?).await?;
        sleep(world.hold / 2).await;
        let written = written(&trial.launch.data.join("cast"), &ids)?;
        crossing.leave().await;
        let launch = trial.launch.clone();
        let mut report = trial.finish().await?;
        report.seconds("honest cast of 1 MiB", took.unwrap_or(Duration::from_secs(20)), CAST * world.slack);
        report.most("files of casts without a chunk", written, 0);

        let own = world.file(1 << 20)?;
        let launch = launch.flag("--cast", own.display().to_string());
        match Node::try_start(world, &launch, Duration::from_secs(10)).await? {
            Err(not) => {
                report.check("restart with --cast", not.why, "ready".to_owned(), false);
            }
            Ok(mut node) => {
                let started =
                    node.wait(Duration::from_secs(5), |event| event["event"] == "cast_started").await;
                report.must("own cast starts after a restart", started.is_some());
                report.must("the restarted node runs on", node.runs());
                report.seconds("stop after the restart", node.stop().await?.after, STOP * world.slack);
            }
        }
        Ok(report)
    })
}

/// How many files of a folder belong to these casts.
fn written(folder: &std::path::Path, ids: &[CastId]) -> anyhow::Result<usize> {
    let mut found = 0;
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        found += usize::from(ids.iter().any(|id| name.starts_with(&id.to_string()[..32])));
    }
    Ok(found)
}
