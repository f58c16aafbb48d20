//! `comet pex`: whom a node knows.

use super::{asker, whom};
use crate::fail::Fail;
use crate::output::Output;
use serde_json::json;
use switchboard::Env;
use switchboard::text::printable;
use tokio::time::timeout;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The node, as ID@HOST:PORT.
    url: String,
    /// How often to ask in a row. A node allows two; a third closes the session, and a seed closes after the first.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    requests: u32,
    /// How long each answer may take, as in 500ms.
    #[arg(long, default_value = "10s", value_parser = crate::config::span)]
    timeout: std::time::Duration,
}

pub(crate) async fn run(args: Args, output: &Output) -> Result<(), Fail> {
    let whom = whom(&args.url)?;
    let env = Env::system().map_err(Fail::job)?;
    let mut asker = asker(&whom, &env).await.map_err(|error| Fail::job(format!("{whom}: {error}")))?;
    for seq in 0..args.requests {
        let answer = timeout(args.timeout, asker.ask()).await;
        let answer = answer.map_err(|_| Fail::job(format!("{whom}: no answer within {:?}", args.timeout)))?;
        match answer {
            Ok(answer) => {
                let all: Vec<_> = answer.addresses.iter().map(ToString::to_string).collect();
                output.event(
                    &json!({"event": "pex", "seq": seq, "addresses": all, "without_id": answer.without_id}),
                    &all.join("\n"),
                );
            }
            Err(error) => {
                let error = printable(&error.to_string());
                return Err(Fail::job(format!("{whom}: after {seq} answers: {error}")));
            }
        }
    }
    asker.close().await;
    Ok(())
}
