//! `fabric inspect`: a block or a message, decoded.

use crate::fail::Fail;
use crate::output::Output;
use bytes::Bytes;
use std::io::Read;
use std::path::PathBuf;
use switchboard_fabric_gossip::block::{MAX_BLOCK, json::inspect};

/// Show a block, an envelope or a gossip message as JSON.
///
/// Example: switchboard fabric inspect 7.block
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A file with the encoded block or message.
    #[arg(value_name = "MESSAGE|BLOCK")]
    file: PathBuf,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Fail> {
    let shown = args.file.display();
    let unreadable = |error| Fail::usage(format!("cannot read {shown}: {error}"));
    let mut bytes = Vec::new();
    let file = std::fs::File::open(&args.file).map_err(unreadable)?;
    file.take(MAX_BLOCK as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    let mut found =
        inspect(&Bytes::from(bytes)).map_err(|unknown| Fail::usage(format!("{shown}: {unknown}")))?;
    let text = serde_json::to_string_pretty(&found).unwrap_or_default();
    if let Some(fields) = found.as_object_mut() {
        fields.insert("event".into(), "inspected".into());
    }
    output.event(&found, &text);
    Ok(())
}
