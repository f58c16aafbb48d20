//! `keygen`: a new key where none was.

use crate::fail::Fail;
use crate::output::Output;
use crate::wires::{self, Kind};
use serde_json::{Value, json};
use std::path::PathBuf;
use switchboard::Env;

/// Make a node key. Never writes over an existing file.
///
/// Example: switchboard keygen --wire devp2p --out nodekey
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The wire: devp2p (geth's hex file) or comet (CometBFT's node_key.json).
    #[arg(long)]
    wire: Kind,
    /// The file to write.
    #[arg(long)]
    out: PathBuf,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Fail> {
    let env = Env::system().map_err(Fail::job)?;
    if args.out.exists() {
        let out = args.out.display();
        return Err(Fail::usage(format!(
            "{out} is there already: choose another --out, or remove it yourself"
        )));
    }
    let mut made = wires::keygen(args.wire, &args.out, &env)?;
    let id = made["id"].as_str().unwrap_or_default().to_owned();
    if let Some(fields) = made.as_object_mut() {
        fields.insert("event".into(), "key".into());
        fields.insert("wire".into(), args.wire.name().into());
        fields.insert("file".into(), Value::from(args.out.display().to_string()));
    }
    output.event(&json!(made), &format!("{} key {} for {id}", args.wire, args.out.display()));
    Ok(())
}
