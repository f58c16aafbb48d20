//! Without an attacker: a disk that is full, and a process that is killed.

use super::Trying;
use crate::crossing::{Crossing, member};
use crate::node::{Launch, Node};
use crate::report::Report;
use crate::trial::{STOP, Trial};
use crate::world::World;
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::sleep;

const DISK: u64 = 4 << 20;
const READY: f64 = 1.0;

/// Whether this process may mount a file system in a namespace of its own.
async fn may_mount(world: &World) -> anyhow::Result<bool> {
    let at = world.folder("mount")?;
    let script = format!("mount -t tmpfs -o size=65536 tmpfs '{}'", at.display());
    let tried = Command::new("unshare")
        .args(["-m", "sh", "-c", &script])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .await;
    Ok(tried.is_ok_and(|status| status.success()))
}

/// Held when a node whose disk fills up serves on, and one that starts on a full disk serves or says why not.
pub(crate) fn full(world: &Arc<World>) -> Trying<'_> {
    Box::pin(async move {
        if !may_mount(world).await? {
            return Ok(Report::skipped(
                "no file system can be mounted here (unshare -m, as root)".to_owned(),
            ));
        }
        let mut launch = Launch::new(world)?;
        launch.disk = Some((DISK, 0));
        let mut trial = Trial::begin(world, launch).await?;
        let crossing = Crossing::join(world, &trial.node).await?;
        trial.press()?;
        let giver = {
            let file = world.file(4 * DISK as usize)?;
            let crossing = &crossing;
            async move { crossing.cast(&file).await }
        };
        // It cannot pass through a node that cannot keep it; that is no fault.
        let _ = tokio::time::timeout(world.hold, giver).await;
        let failed = trial.node.wait(Duration::from_secs(5), |event| event["event"] == "cast_failed").await;
        sleep(world.hold / 2).await;
        crossing.leave().await;
        let mut report = trial.finish().await?;
        report.notes.push(match failed {
            Some(event) => format!("the node says: {event}"),
            None => "the node gave no cast up".to_owned(),
        });

        let mut launch = Launch::new(world)?;
        launch.disk = Some((DISK, DISK * 2));
        match Node::try_start(world, &launch, Duration::from_secs(5)).await? {
            Ok(mut node) => report.seconds(
                "stop on a disk full from the start",
                node.stop().await?.after,
                STOP * world.slack,
            ),
            Err(not) => {
                let said = not.ended.code.is_some_and(|code| code != 0 && code != 101);
                report.check(
                    "start on a full disk",
                    not.why,
                    "runs, or ends with a sentence".to_owned(),
                    said,
                );
            }
        }
        Ok(report)
    })
}

/// Held when a node that was killed in the middle of a cast is soon back and gets the rest of it.
pub(crate) fn kill(world: &Arc<World>) -> Trying<'_> {
    Box::pin(async move {
        let mut trial = Trial::begin(world, Launch::new(world)?).await?;
        trial.press()?;
        let from = Ipv4Addr::new(127, 2, 3, 1);
        let file = world.file(if world.short { 24 << 20 } else { 256 << 20 })?;
        let giver = member(world, &trial.node, "comet", world.taker_key("comet"), from).await?;
        if let Some(cast) = giver.cast() {
            cast.start(&file).await?;
        }
        let begun = trial.node.wait(Duration::from_secs(20), |event| event["event"] == "cast_progress").await;
        let whole = trial.node.count(|event| event["event"] == "cast_done") > 0;
        let launch = trial.launch.clone();
        trial.node.kill().await?;
        giver.stop().await;
        drop(trial);

        let mut trial = Trial::begin(world, launch).await?;
        let ready = trial.node.ready_after;
        let giver = member(world, &trial.node, "comet", world.taker_key("comet"), from).await?;
        if let Some(cast) = giver.cast() {
            cast.start(&file).await?;
        }
        let done = trial.node.wait(Duration::from_secs(30), |event| event["event"] == "cast_done").await;
        giver.stop().await;
        trial.press()?;
        sleep(world.hold / 2).await;
        let mut report = trial.finish().await?;
        report.seconds("ready after kill -9", ready, READY * world.slack);
        report.must("the cast had begun", begun.is_some());
        report.must("the cast is whole in the end", done.is_some());
        report.notes.push(format!("whole before the kill: {whole}"));
        Ok(report)
    })
}
