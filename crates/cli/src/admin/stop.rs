//! `stop`: lets a running node say goodbye and stop.

use super::At;
use crate::fail::Fail;
use crate::output::Output;
use serde_json::json;
use std::time::Duration;
use switchboard_admin::client::ClientError;
use tokio::time::sleep;

/// Stop a running node, and wait until it is gone.
///
/// Example: switchboard stop --data ./data
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    at: At,
}

/// How often it is looked whether the node is gone.
const LOOK: Duration = Duration::from_millis(50);

pub(crate) async fn run(args: &Args, output: &Output) -> Result<(), Fail> {
    let client = args.at.client()?;
    args.at.within(client.post("/v1/stop", &json!({}))).await?;
    let gone = async {
        loop {
            match client.text("/health").await {
                Err(
                    ClientError::NoSocket(_)
                    | ClientError::NotServed { .. }
                    | ClientError::Unreachable { .. },
                ) => {
                    return Ok(());
                }
                _ => sleep(LOOK).await,
            }
        }
    };
    args.at.within(gone).await?;
    output.event(&json!({"event": "stopped"}), "stopped");
    Ok(())
}
