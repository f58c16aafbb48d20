//! `log`: shows or sets what a running node logs.

use super::{At, event, text};
use crate::fail::Fail;
use crate::output::Output;
use serde_json::json;

/// Set what a running node logs, or show it.
///
/// Example: switchboard log switchboard::switch=debug --data ./data
#[derive(clap::Args)]
pub(crate) struct Args {
    /// As for --log: a level, or targets with levels. Without it what is logged now is shown.
    filter: Option<String>,
    #[command(flatten)]
    at: At,
}

pub(crate) async fn run(args: &Args, output: &Output) -> Result<(), Fail> {
    let told = match &args.filter {
        Some(filter) => args.at.within(args.at.client()?.put("/v1/log", &json!({"log": filter}))).await?,
        None => args.at.get("/v1/log").await?,
    };
    let words = text(&told, "log").to_owned();
    output.event(&event("log", told), &words);
    Ok(())
}
