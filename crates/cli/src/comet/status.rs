//! `comet status`: who a node is, by what it says of itself.

use super::whom;
use crate::fail::Fail;
use crate::output::Output;
use crate::wires::{self, Client};
use serde_json::Value;
use switchboard::Env;
use switchboard_node::kit::KeySource;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The node, as ID@HOST:PORT.
    url: String,
    /// How long it may take, as in 500ms.
    #[arg(long, default_value = "10s", value_parser = crate::config::span)]
    timeout: std::time::Duration,
}

pub(crate) async fn run(args: Args, output: &Output) -> Result<(), Fail> {
    let whom = whom(&args.url)?;
    let env = Env::system().map_err(Fail::job)?;
    let client = Client::new(KeySource::Throwaway, &[]);
    let probe = tokio::time::timeout(args.timeout, client.probe(&whom, 0, &env)).await;
    let probe = probe.map_err(|_| Fail::job(format!("{whom}: no answer within {:?}", args.timeout)))??;
    let mut status = wires::describe(&probe);
    let pex =
        status["capabilities"].as_array().is_some_and(|all| all.iter().any(|channel| channel == "0x00"));
    if let Some(fields) = status.as_object_mut() {
        fields.insert("event".into(), "status".into());
        fields.insert("address".into(), format!("{}@{}", probe.id, whom.authority()).into());
        fields.insert("pex".into(), pex.into());
    }
    output.event(&status, &lines(&status));
    Ok(())
}

fn lines(status: &Value) -> String {
    let fields = status.as_object().into_iter().flatten().filter(|(name, _)| *name != "event");
    let line = |(name, value): (&String, &Value)| match value {
        Value::String(text) => format!("{name:<13} {text}"),
        other => format!("{name:<13} {other}"),
    };
    fields.map(line).collect::<Vec<_>>().join("\n")
}
