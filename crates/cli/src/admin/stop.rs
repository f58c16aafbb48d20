//! `stop`: lets a running node say goodbye and stop.

use super::At;
use crate::fail::Fail;
use crate::output::Output;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;
use switchboard_admin::client::{Client, ClientError};
use switchboard_node::data::is_used;
use tokio::time::{Instant, sleep, timeout_at};

/// Stop a running node, and wait until it is gone and its data folder is free.
///
/// Example: switchboard stop --data ./data
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    at: At,
}

/// How often it is looked whether the node is gone.
const LOOK: Duration = Duration::from_millis(50);

/// The node's data folder, where this machine has it.
async fn folder(at: &At, client: &Client) -> Option<PathBuf> {
    match client {
        Client::Folder(folder) => Some(folder.clone()),
        Client::Addr(addr, _) if addr.ip().is_loopback() => {
            let told = at.within(client.get("/v1/node")).await.ok()?;
            let folder = PathBuf::from(told["data"].as_str()?);
            folder.is_absolute().then_some(folder)
        }
        Client::Addr(..) => None,
    }
}

pub(crate) async fn run(args: &Args, output: &Output) -> Result<(), Fail> {
    let client = args.at.client()?;
    let folder = folder(&args.at, &client).await;
    let end = Instant::now() + args.at.patience();
    args.at.within(client.post("/v1/stop", &json!({}))).await?;
    let gone = async {
        loop {
            match client.text("/health").await {
                Err(
                    ClientError::NoSocket(_)
                    | ClientError::NotServed { .. }
                    | ClientError::Unreachable { .. },
                ) => return,
                _ => sleep(LOOK).await,
            }
        }
    };
    let late = |what: String| {
        Fail::job(format!("the node {what} after {:?}: give it more with --timeout", args.at.patience()))
    };
    timeout_at(end, gone).await.map_err(|_| late("was told to stop and still answers".to_owned()))?;
    // Its process ends a moment later: whoever starts another on this folder need not be refused.
    while let Some(folder) = folder.as_ref().filter(|folder| is_used(folder).unwrap_or(false)) {
        if Instant::now() >= end {
            return Err(late(format!("does not answer any more and still holds {}/lock", folder.display())));
        }
        sleep(LOOK).await;
    }
    output.event(&json!({"event": "stopped"}), "stopped");
    Ok(())
}
