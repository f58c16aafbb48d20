//! `reload`: lets a running node read its settings, keys and certificates anew, as SIGHUP does.

use super::{At, event};
use crate::fail::Fail;
use crate::output::Output;
use serde_json::{Value, json};

/// Let a running node read keys, certificates, trust, access lists and limits anew; says what changed.
///
/// Example: switchboard reload --data ./data
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    at: At,
}

pub(crate) async fn run(args: &Args, output: &Output) -> Result<(), Fail> {
    let told = args.at.post("/v1/reload", &json!({})).await?;
    let words = changes(&told);
    output.event(&event("reloaded", told), &words);
    Ok(())
}

/// One change a line.
pub(crate) fn changes(told: &Value) -> String {
    let lines: Vec<_> = told["changes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if lines.is_empty() { "nothing changed".to_owned() } else { lines.join("\n") }
}
