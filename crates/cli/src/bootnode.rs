//! `bootnode`: discovery only, until told to stop.

use crate::config;
use crate::fail::Fail;
use crate::node::{End, either, stop_signal};
use crate::operate;
use crate::output::{self, Output};
use serde_json::json;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use switchboard::Env;
use switchboard_discv::udp::{Bootnode as StartNode, Versions};
use switchboard_nat::NatSpec;
use switchboard_node::config::KeyFile;
use switchboard_node::kit::{External, KeySource};
use switchboard_node::operate::{AdminSettings, Operated};
use switchboard_node::settings::{Source, Values};
use switchboard_node::wires::devp2p::bootnode::{Bootnode, BootnodeConfig};

/// Run a bootnode: discovery of Ethereum nodes and nothing else.
///
/// Example: switchboard bootnode --listen 0.0.0.0:30303 --data ./boot
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to listen (UDP); port 0 takes a free one.
    #[arg(long)]
    listen: SocketAddr,
    /// Versions of discovery, separated by commas (default: v4,v5).
    #[arg(long, value_delimiter = ',', value_parser = ["v4", "v5"])]
    discovery: Vec<String>,
    /// Folder for the key and the records of nodes; without it both are thrown away at the end.
    #[arg(long)]
    data: Option<PathBuf>,
    /// The key file, as devp2p=PATH (default: DATA/nodekey).
    #[arg(long)]
    key_file: Option<KeyFile>,
    /// Another node to start from, as an enode URL or a record; may be repeated.
    #[arg(long, value_delimiter = ',')]
    bootnode: Vec<StartNode>,
    /// The address others should use, as HOST:PORT.
    #[arg(long)]
    external: Option<External>,
    /// How this node is reached: none, any, extip:IP, upnp, pmp[:GATEWAY], pcp[:GATEWAY] or stun[:HOST[:PORT]].
    #[arg(long, default_value = "none")]
    nat: NatSpec,
    /// Where HTTP for administration and metrics is served, as 127.0.0.1:PORT; off: no socket in the data folder either.
    #[arg(long, env = "SWITCHBOARD_ADMIN")]
    admin: Option<String>,
    /// File with the token that HTTP asks for, readable by its owner only.
    #[arg(long, env = "SWITCHBOARD_ADMIN_TOKEN")]
    admin_token: Option<PathBuf>,
    /// Names of metrics: own, or native for those of geth beside them.
    #[arg(long)]
    metric_names: Option<String>,
    /// Stop when standard input ends.
    #[arg(long)]
    stdin_stop: bool,
}

/// The versions that were named; both when none was.
pub(crate) fn versions(named: &[String]) -> Versions {
    let has = |name: &str| named.is_empty() || named.iter().any(|given| given == name);
    Versions { v4: has("v4"), v5: has("v5") }
}

pub(crate) async fn run(args: Args, output: &Output) -> Result<(), Fail> {
    let key = match (args.key_file, &args.data) {
        (Some(file), _) if file.wire == "devp2p" => KeySource::File(file.path),
        (Some(file), _) => {
            return Err(Fail::usage(format!("--key-file is for wire {}: a bootnode's is devp2p", file.wire)));
        }
        (None, Some(data)) => KeySource::Data(data.clone()),
        (None, None) => KeySource::Throwaway,
    };
    let mut values = Values::default();
    let data = args.data.as_ref().map(|data| data.display().to_string());
    let token = args.admin_token.as_ref().map(|token| token.display().to_string());
    let given =
        [("data", data), ("admin", args.admin), ("admin-token", token), ("metric-names", args.metric_names)];
    for (name, text) in given.into_iter().filter_map(|(name, text)| Some((name, text?))) {
        values.set(name, vec![text], Source::Flag);
    }
    let settings = AdminSettings::read(&values).map_err(|error| config::named(error, "bootnode"))?;
    let env = Env::system().map_err(Fail::job)?;
    output::never_wait();
    // Taken before anything starts, so that no signal is missed.
    let stop = stop_signal(args.stdin_stop)?;
    tokio::pin!(stop);
    let config = BootnodeConfig::new(args.listen, key).with(|config| {
        config.versions = versions(&args.discovery);
        config.data = args.data;
        config.bootnodes = args.bootnode;
        config.external = args.external;
        config.nat = args.nat;
    });
    let start = Bootnode::start(config, &env);
    let Some(started) = operate::unless_stopped(start, &mut stop, *output).await else { return Ok(()) };
    let node = Arc::new(started?);
    let operated = Arc::clone(&node) as Arc<dyn Operated>;
    let again = values.clone();
    let operating = match operate::start(
        operated,
        values,
        settings,
        Box::new(move || Ok(again.clone())),
        *output,
    )
    .await
    {
        Ok(operating) => operating,
        Err(fail) => {
            let _ = node.stop().await;
            return Err(fail);
        }
    };
    output.event(&node.ready(), &node.ready_text());
    operating.ready(*output);
    either(stop, operating.stop_asked()).await;
    // Within the bound of a stop, as all that follows.
    let mut saved = Ok(());
    let role = async {
        let counters = node.discovery().counters().await.ok();
        let known = counters.map_or([0, 0], |counters| counters.tables.map(|(all, _)| all));
        let text = format!("knew {} nodes by v4, {} by v5", known[0], known[1]);
        output.told(&json!({"event": "known", "v4": known[0], "v5": known[1]}), &text);
        saved = node.stop().await;
    };
    operating.stop(End::Asked, role, *output).await;
    Ok(saved?)
}
