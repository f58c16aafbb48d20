//! `fabric ledger`: what is stored, walked through and checked.

use crate::fail::Fail;
use crate::output::Output;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use switchboard_fabric_gossip::ledger::{BlockStore, DiskLedger, LedgerError, Walk, channels};
use switchboard_node::wires::fabric::peer::ledger_folder;

/// Blocks whose missing private data is read at a time.
const MISSING_AT_ONCE: usize = 1_000;

/// Show every block of the ledgers in a peer's data folder, and check that they chain. The peer must not run.
///
/// Example: switchboard fabric ledger ./data
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The data folder, as it was given with --data.
    dir: PathBuf,
    /// Only this channel.
    #[arg(long)]
    channel: Option<String>,
    /// Do not check hashes: for ledgers kept with --verify-blocks none.
    #[arg(long)]
    unchained: bool,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Fail> {
    let own = ledger_folder(&args.dir);
    let folder = if own.is_dir() { own } else { args.dir.clone() };
    let shown = folder.display().to_string();
    let unreadable =
        |error: &dyn std::fmt::Display| Fail::usage(format!("cannot read ledgers in {shown}: {error}"));
    let mut found = channels(&folder).map_err(|error| unreadable(&error))?;
    found.retain(|name| args.channel.as_ref().is_none_or(|wanted| wanted == name));
    if found.is_empty() {
        return Err(Fail::usage(format!("{shown} holds no ledger of that name: give the folder of --data")));
    }
    let mut broken = Vec::new();
    for channel in found {
        let ledger = DiskLedger::open_existing(&folder, &channel).map_err(|error| unreadable(&error))?;
        let mut fault = None;
        for step in Walk::new(&ledger, !args.unchained) {
            match step {
                Ok(report) => {
                    let (number, block) = (report.block.number(), &report.block);
                    let value = json!({"event": "block", "channel": channel, "number": number,
                        "sha256": hex::encode(Sha256::digest(block.raw())), "hash": hex::encode(report.hash),
                        "bytes": block.raw().len(), "transactions": block.transactions().len(),
                        "private": report.private, "private_bytes": report.private_bytes});
                    let text = format!(
                        "{channel} {number:>8} {:>10} bytes {:>6} transactions {}",
                        block.raw().len(),
                        block.transactions().len(),
                        hex::encode(report.hash)
                    );
                    output.event(&value, &text);
                }
                Err(error) => fault = Some(error.to_string()),
            }
        }
        let (first, height) = (ledger.first(), ledger.height());
        let missing = missing(&ledger).map_err(|error| unreadable(&error))?;
        let value = json!({"event": "ledger", "channel": channel, "first": first, "height": height,
            "transient": ledger.transient_len(), "private_missing": missing, "whole": fault.is_none(), "fault": fault});
        let state = fault.as_deref().unwrap_or("whole");
        output.event(&value, &format!("{channel}: blocks {first} to {}, {state}", height.saturating_sub(1)));
        if let Some(fault) = fault {
            broken.push(format!("{channel}: {fault}"));
        }
    }
    if broken.is_empty() { Ok(()) } else { Err(Fail::job(broken.join("; "))) }
}

/// How many private sets the ledger should hold and does not.
fn missing(ledger: &DiskLedger) -> Result<usize, LedgerError> {
    let (mut below, mut count) = (u64::MAX, 0);
    loop {
        let found = ledger.missing(below, MISSING_AT_ONCE)?;
        let Some(last) = found.last() else { return Ok(count) };
        (below, count) = (last.slot.block, count + found.len());
    }
}
