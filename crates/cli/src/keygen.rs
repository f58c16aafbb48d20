//! `keygen`: a new key where none was.

use crate::fail::Fail;
use crate::output::Output;
use crate::wires::{self, Kind};
use serde_json::{Value, json};
use std::path::PathBuf;
use switchboard::Env;

/// Make a node key, or for fabric an organisation: a CA and peers' folders. Never writes over anything.
///
/// Examples: switchboard keygen --wire devp2p --out nodekey;
/// switchboard keygen --wire fabric --out org1 --org Org1MSP --peers 2
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The wire: devp2p (geth's hex file), comet (CometBFT's node_key.json) or fabric (MSP and TLS folders).
    #[arg(long)]
    wire: Kind,
    /// The file or, for fabric, the folder to make.
    #[arg(long)]
    out: PathBuf,
    /// MSP id of the organisation (fabric).
    #[arg(long, default_value = crate::config::DEFAULT_ORG)]
    org: String,
    /// Peers of the organisation (fabric).
    #[arg(long, default_value_t = 1)]
    peers: usize,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Fail> {
    let env = Env::system().map_err(Fail::job)?;
    if args.out.exists() {
        let out = args.out.display();
        return Err(Fail::usage(format!(
            "{out} is there already: choose another --out, or remove it yourself"
        )));
    }
    let mut made = wires::keygen(args.wire, &args.out, &args.org, args.peers, &env)?;
    let id = made["id"].as_str().unwrap_or(&args.org).to_owned();
    if let Some(fields) = made.as_object_mut() {
        fields.insert("event".into(), "key".into());
        fields.insert("wire".into(), args.wire.name().into());
        fields.insert("file".into(), Value::from(args.out.display().to_string()));
    }
    output.event(&json!(made), &format!("{} key {} for {id}", args.wire, args.out.display()));
    Ok(())
}
