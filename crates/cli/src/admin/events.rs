//! `events`: follows what happens in a running node.

use super::{At, failed, text};
use crate::fail::Fail;
use crate::output::{Output, reader_gone};
use serde_json::Value;

/// Follow what happens in a running node, until Ctrl-C, its end, or the end of whoever reads.
///
/// Example: switchboard events --data ./data --only peer_added,peer_dropped
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    at: At,
    /// Only events of these names.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// End after so many.
    #[arg(long)]
    count: Option<u64>,
}

pub(crate) async fn run(args: &Args, output: &Output) -> Result<(), Fail> {
    let client = args.at.client()?;
    let mut lines = args.at.within(client.follow("/v1/events")).await?;
    let mut left = args.count.unwrap_or(u64::MAX);
    let gone = reader_gone();
    tokio::pin!(gone);
    while left > 0 {
        let next = tokio::select! {
            next = lines.next() => next.map_err(failed)?,
            // Nobody would read the next one: it is not waited for.
            () = &mut gone => return Ok(()),
        };
        let Some(told) = next else { return Err(Fail::job("the node went away")) };
        if args.only.is_empty() || args.only.iter().any(|name| told["event"] == name.as_str()) {
            output.event(&told, &words(&told));
            left -= u64::from(told["event"] != "subscribed");
        }
    }
    Ok(())
}

/// One line: time, name, and what there is in a fixed order.
fn words(told: &Value) -> String {
    let mut line = format!("{} {}", text(told, "time"), text(told, "event"));
    for (name, value) in told.as_object().into_iter().flatten() {
        let shown = match value {
            _ if matches!(name.as_str(), "time" | "event") => continue,
            Value::Null => continue,
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        line.push_str(&format!(" {name}={shown}"));
    }
    line
}
