//! `id`: every public form of a key.

use crate::fail::Fail;
use crate::output::Output;
use crate::wires::Kind;
use std::net::SocketAddr;
use std::path::PathBuf;
use switchboard_node::wires::Kits;

/// Show every public form of a key: node id, enode and ENR; CometBFT ID and address; PKI-ID and MSP. Or decode an
/// address or record of any wire.
///
/// Example: switchboard id --wire devp2p --key nodekey --at 203.0.113.7:30303
#[derive(clap::Args)]
pub(crate) struct Args {
    /// An address or record to decode, in any wire's form.
    #[arg(conflicts_with_all = ["wire", "key"], required_unless_present_all = ["wire", "key"])]
    url: Option<String>,
    /// The wire.
    #[arg(long, requires = "key")]
    wire: Option<Kind>,
    /// The key file, or a Fabric peer's folder.
    #[arg(long, requires = "wire")]
    key: Option<PathBuf>,
    /// MSP id of the organisation (fabric).
    #[arg(long, default_value = crate::config::DEFAULT_ORG, conflicts_with = "url")]
    org: String,
    /// The address that goes into the forms that have one; on devp2p its number is that of TCP and UDP.
    #[arg(long, default_value = "127.0.0.1:30303")]
    at: SocketAddr,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Fail> {
    let (kind, mut forms) = match (&args.url, args.wire, &args.key) {
        (Some(url), ..) => {
            // A record without an address is still one.
            let kind = Kind(Kits::builtin().claiming(url)?);
            (kind, kind.0.decode(url).map_err(Fail::usage)?)
        }
        (None, Some(kind), Some(key)) => (kind, kind.0.public_forms(key, &args.org, args.at)?),
        _ => return Err(Fail::usage("give a URL, or --wire and --key: see switchboard id --help")),
    };
    let text = forms.as_object().map(|fields| {
        let line = |(name, value): (&String, &serde_json::Value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            format!("{name:<12} {text}")
        };
        fields.iter().map(line).collect::<Vec<_>>().join("\n")
    });
    if let Some(fields) = forms.as_object_mut() {
        fields.insert("event".into(), "id".into());
        fields.insert("wire".into(), kind.name().into());
    }
    output.event(&forms, &text.unwrap_or_default());
    Ok(())
}
