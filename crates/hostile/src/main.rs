//! A hostile-peer kit: attacks a node of its own, and says what they did to it and to honest peers.
//!
//! ```text
//!   keys, folders ─▶ a node (child process) ─▶ honest peers on every wire, calm ─▶ one attack beside them
//!                                                                                └▶ SIGTERM ─▶ figures, verdict
//!   one such trial for each attack; then one table; exit code 1 when a bound is broken, 2 when a trial could not run
//! ```
//!
//! | module | holds |
//! |---|---|
//! | `world` | what all trials share: keys, folders, settings |
//! | [`node`] [`vitals`] | the node as a child process, and its memory, CPU time and descriptors |
//! | [`honest`] [`crossing`] | honest peers: sessions that stay, visitors, a cast from wire to wire |
//! | [`stranger`] [`gossip`] [`files`] | hostile peers: sessions whose frames are made by hand; casts that are none |
//! | [`proxy`] | connections from any loopback address; a proxy that delays |
//! | [`trial`] [`report`] | one attack from start to end, and what is printed |
//! | [`attacks`] | the attacks |
//!
//! Everything runs on 127.0.0.0/8 and is bounded in time ([`trial::LIMIT`] an attack). Only processes that were started here
//! are ended. Nothing here protects a machine that is too small: attackers, honest peers and node share its CPUs, so
//! latencies are judged with room ([`Args::latency_ms`]).

mod attacks;
mod crossing;
mod files;
mod gossip;
mod honest;
mod node;
mod proxy;
mod report;
mod stranger;
mod trial;
mod vitals;
mod world;

use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;

/// Attack a node of our own, and measure honest peers beside it.
///
/// Example: switchboard-hostile --binary target/release/switchboard --only slots,slow
#[derive(Debug, Clone, Parser)]
#[command(name = "switchboard-hostile", version)]
struct Args {
    /// All attacks in less than 90 s, each with less force; bounds of time are four times as wide.
    #[arg(long)]
    short: bool,
    /// One JSON object an attack, in place of the table.
    #[arg(long)]
    json: bool,
    /// Only these attacks, separated by commas (--list shows them).
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Seconds each attack is kept up (default: 15; 2 with --short).
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: Option<u64>,
    /// The node's program.
    #[arg(long, default_value = "target/release/switchboard")]
    binary: PathBuf,
    /// Run the node on one CPU only.
    #[arg(long)]
    one_cpu: bool,
    /// Most milliseconds within which 99 of 100 echoes of honest sessions must come back (default: 250; 3000 with --short).
    #[arg(long)]
    latency_ms: Option<u64>,
    /// Show the attacks and end.
    #[arg(long)]
    list: bool,
}

/// More than there are CPUs: an attacker that is busy must not hold up the honest peers in this process.
const WORKERS: usize = 8;

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build();
    let run = async {
        if args.list {
            return report::list(attacks::ALL);
        }
        run(&args).await
    };
    match runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("switchboard-hostile: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Runs the chosen attacks; whether every bound held.
async fn run(args: &Args) -> anyhow::Result<bool> {
    if let Some(name) = args.only.iter().find(|name| !attacks::ALL.iter().any(|a| a.name == **name)) {
        anyhow::bail!("there is no attack {name:?}: see --list");
    }
    let world = std::sync::Arc::new(world::World::new(args)?);
    let mut reports = Vec::new();
    for attack in attacks::ALL {
        if !args.only.is_empty() && !args.only.iter().any(|name| name == attack.name) {
            continue;
        }
        eprintln!("{:<10} {}", attack.name, attack.what);
        let report = trial::run(attack, &world).await;
        if args.json {
            report::json(&report)?;
        }
        reports.push(report);
    }
    if !args.json {
        report::table(&reports)?;
    }
    Ok(reports.iter().all(|report| report.holds()))
}
