//! `id`: every public form of a key.

use crate::fail::Fail;
use crate::output::Output;
use crate::wires::{self, Kind};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Show every public form of a key: node id, enode and ENR; CometBFT ID and address; PKI-ID and MSP.
///
/// Example: switchboard id --wire devp2p --key nodekey --at 203.0.113.7:30303
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The wire.
    #[arg(long)]
    wire: Kind,
    /// The key file, or a Fabric peer's folder.
    #[arg(long)]
    key: PathBuf,
    /// MSP id of the organisation (fabric).
    #[arg(long, default_value = crate::config::DEFAULT_ORG)]
    org: String,
    /// The address that goes into the forms that have one.
    #[arg(long, default_value = "127.0.0.1:30303")]
    at: SocketAddr,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Fail> {
    let mut forms = wires::public_forms(args.wire, &args.key, &args.org, args.at)?;
    let text = forms.as_object().map(|fields| {
        let line = |(name, value): (&String, &serde_json::Value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            format!("{name:<12} {text}")
        };
        fields.iter().map(line).collect::<Vec<_>>().join("\n")
    });
    if let Some(fields) = forms.as_object_mut() {
        fields.insert("event".into(), "id".into());
        fields.insert("wire".into(), args.wire.name().into());
    }
    output.event(&forms, &text.unwrap_or_default());
    Ok(())
}
