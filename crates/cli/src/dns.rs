//! `dns`: makes lists of nodes for DNS (EIP-1459).

use crate::fail::Fail;
use crate::nodeset::{Entry, NodeSet};
use crate::output::Output;
use serde_json::json;
use std::path::PathBuf;
use switchboard_discv::dns::{Link, Tree};
use switchboard_enr::NodeKey;

/// Make lists of nodes for DNS.
///
/// Example: switchboard dns sign nodes.json --key nodekey --domain nodes.example.org --seq 1 --out zone.json
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    job: Job,
}

#[derive(clap::Subcommand)]
enum Job {
    /// Make a list of the nodes of a file, sign it, and write every TXT record by its name.
    #[command(
        after_help = "Example: switchboard dns sign nodes.json --key nodekey --domain nodes.example.org --seq 1 \
        --out zone.json"
    )]
    Sign {
        /// The file of nodes, as crawl writes it.
        nodes: PathBuf,
        /// The key that signs.
        #[arg(long)]
        key: PathBuf,
        /// Where the list will stand.
        #[arg(long)]
        domain: String,
        /// Its sequence number: higher than that of the list before.
        #[arg(long)]
        seq: u64,
        /// Another list to link to, as enrtree://KEY@DOMAIN; may be repeated.
        #[arg(long, value_parser = Link::parse)]
        link: Vec<Link>,
        /// Where to write the TXT records.
        #[arg(long)]
        out: PathBuf,
    },
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Fail> {
    let Job::Sign { nodes, key, domain, seq, link, out } = &args.job;
    let set = NodeSet::read(nodes)?;
    let given = set.nodes.len();
    let records: Vec<_> = set.nodes.values().filter_map(Entry::parsed).collect();
    let count = records.len();
    if count < given {
        return Err(Fail::usage(format!("{} of {given} records are no signed records", given - count)));
    }
    let key = NodeKey::load(key).map_err(Fail::usage)?;
    let signed = Tree::make(*seq, records, link.clone())
        .map_err(Fail::usage)?
        .sign(&key, domain)
        .map_err(|error| Fail::usage(format!("--domain {domain:?}: {error}")))?;
    let zone = signed.to_txt();
    let text = serde_json::to_vec_pretty(&zone).map_err(Fail::job)?;
    std::fs::write(out, text).map_err(|e| Fail::usage(format!("cannot write {}: {e}", out.display())))?;
    let (url, records) = (signed.url.to_string(), zone.len());
    output.event(
        &json!({"event": "signed", "url": url, "nodes": count, "txt": records, "out": out.display().to_string()}),
        &format!("{url}\n{count} nodes in {records} TXT records are in {}", out.display()),
    );
    Ok(())
}
