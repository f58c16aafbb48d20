//! The `switchboard` command: run a node, make keys, look at peers, measure, and see it all work.
//!
//! Exit codes: 0 the job was done, 1 it failed, 2 bad use. Results go to standard output (with `--json`
//! one object a line), logs to standard error.

mod bench;
mod config;
mod events;
mod fail;
mod id;
mod keygen;
mod node;
mod output;
mod ping;
mod ring;
mod up;
mod wires;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use fail::Fail;
use output::Output;
use std::process::ExitCode;

/// One peer-to-peer stack for Ethereum devp2p, CometBFT and Hyperledger Fabric networks.
#[derive(Parser)]
#[command(version, propagate_version = true)]
struct Args {
    /// Results as JSON, one object a line.
    #[arg(long, global = true)]
    json: bool,
    /// What to log to standard error, as in `info` or `switchboard::session=debug`.
    #[arg(long, global = true, env = "SWITCHBOARD_LOG", default_value = "warn")]
    log: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a node key, or an organisation's keys and certificates.
    Keygen(keygen::Args),
    /// Show every public form of a key.
    Id(id::Args),
    /// Run a node.
    Node(Box<config::Args>),
    /// Shake hands with a node, say who it is, and measure round trips.
    Ping(ping::Args),
    /// Measure a node that serves the protocol `bench`.
    Bench(bench::Args),
    /// Start a local network on every wire, cast a file through it, and prove that every node got it.
    Up(up::Args),
}

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return bad_arguments(&error),
    };
    let output = Output::new(args.json);
    if let Err(fail) = start_log(&args.log) {
        return output.failed(&fail);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return output.failed(&Fail::job(format!("cannot start: {error}"))),
    };
    let result = runtime.block_on(async {
        match args.command {
            Command::Keygen(args) => keygen::run(&args, &output),
            Command::Id(args) => id::run(&args, &output),
            Command::Node(args) => node::run(*args, &output).await,
            Command::Ping(args) => ping::run(args, &output).await,
            Command::Bench(args) => bench::run(args, &output).await,
            Command::Up(args) => up::run(args, &output).await,
        }
    });
    // Whatever a task still holds is not worth waiting for.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(fail) => output.failed(&fail),
    }
}

/// Help and version as they are; anything else in one line, with where to look.
fn bad_arguments(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Output::new(false).failed(&Fail::usage("no command given: see switchboard --help"));
    }
    let text = error.to_string();
    let lines: Vec<_> = text
        .lines()
        .take_while(|l| !l.starts_with("Usage:") && !l.starts_with("For more"))
        .map(str::trim)
        .collect();
    let said = lines.join(" ");
    let said = said.trim().strip_prefix("error: ").unwrap_or(said.trim());
    Output::new(false).failed(&Fail::usage(format!("{}: see --help", said.trim_end())))
}

fn start_log(filter: &str) -> Result<(), Fail> {
    let wrong =
        |e| Fail::usage(format!("--log {filter:?} is no log filter ({e}): try info or switchboard=debug"));
    let filter = tracing_subscriber::EnvFilter::try_new(filter).map_err(wrong)?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    Ok(())
}
