//! `rlpx`: what `ping` does, for an Ethereum node only, under the name people know from go-ethereum's tool.

use crate::fail::Fail;
use crate::output::Output;
use crate::{ping, wires};

/// Shake hands with an Ethereum node over TCP and show its hello.
///
/// Example: switchboard rlpx ping enode://KEY@203.0.113.7:30303
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    job: Job,
}

#[derive(clap::Subcommand)]
enum Job {
    /// Shake hands, show the hello, measure round trips.
    #[command(after_help = "Example: switchboard rlpx ping enode://KEY@203.0.113.7:30303")]
    Ping(ping::Args),
}

pub(crate) async fn run(args: Args, output: &Output) -> Result<(), Fail> {
    let Job::Ping(args) = args.job;
    let (kind, _) = wires::parse(args.url())?;
    if kind.name() != "devp2p" {
        return Err(Fail::usage(format!("{} is of wire {kind}: expected enode:// or enr:", args.url())));
    }
    ping::run(args, output).await
}
