//! Both ends ours against both ends Go, in turn, in one run; prints the ratio.
//!
//! ```text
//!   round 1:  ours ⇄ ours   Go ⇄ Go     round 2:  Go ⇄ Go   ours ⇄ ours     …
//! ```
//!
//! Every measurement starts a server and a client as processes of their own on loopback, so that both
//! sides pay for the same things; the order alternates, so that a machine that grows slower does not
//! favour either. `--against PROGRAM` puts another build of ours in the place of Go, to see what a change costs.
//! The table shows medians and the range of each side. The last line is what the machine itself gives. It does not measure networks with delay or loss, nor many peers at once.
#![allow(clippy::print_stdout, clippy::panic)] // a report for people; a failed measurement ends the run

mod cases;
mod catch_up;
mod idle;
mod machine;
mod parts;
mod table;

use cases::{Case, all_cases};
use clap::Parser;
use machine::{Awake, round_trips};
use std::path::PathBuf;
use std::process::ExitCode;
use table::Row;

/// Runs our programs and the Go originals in turn and prints the ratios.
///
/// Example: benches/run.sh --rounds 5 --only devp2p
#[derive(Parser)]
struct Args {
    /// Rounds; each runs both sides once.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Only cases whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// A tenth of the work, to see that everything runs.
    #[arg(long)]
    quick: bool,
    /// Keep the processors awake, as on a machine that does other things too (needs `nice` and `sh`).
    #[arg(long)]
    awake: bool,
    /// Compare with another build of our program in place of the Go originals; cases it does not know are left out.
    #[arg(long, value_name = "PROGRAM")]
    against: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let wanted = |case: &Case| args.only.as_ref().is_none_or(|only| case.name.contains(only.as_str()));
    let _awake = args.awake.then(|| Awake::new().unwrap_or_else(|e| panic!("cannot start nice: {e}")));
    let bare: Vec<f64> = (0..args.rounds.max(1))
        .map(|_| round_trips(20_000).unwrap_or_else(|e| panic!("no loopback: {e}")))
        .collect();
    let mut rows = Vec::new();
    let other = args.against.as_ref().map(|path| {
        let path = path.canonicalize().unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        path.to_str().unwrap_or_else(|| panic!("{}: not UTF-8", path.display())).to_owned()
    });
    let theirs_of = |case: &Case| other.as_ref().map_or_else(|| case.theirs(), |program| case.of(program));
    let comparable = |case: &Case| other.as_ref().is_none_or(|program| case.known_to(program));
    for case in all_cases(args.quick).into_iter().filter(wanted).filter(comparable) {
        eprintln!("{} …", case.name);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..args.rounds.max(1) {
            if round % 2 == 0 {
                ours.push(case.ours());
                theirs.push(theirs_of(&case));
            } else {
                theirs.push(theirs_of(&case));
                ours.push(case.ours());
            }
        }
        rows.extend(Row::all(&case, &ours, &theirs));
    }
    let part = |name: &str| args.only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    if other.is_none() {
        rows.extend(parts::rows(args.rounds.max(1), args.quick, part));
    }
    table::print(&rows, if other.is_some() { "other build (range)" } else { "Go (range)" });
    table::print_limit(bare);
    ExitCode::SUCCESS
}
